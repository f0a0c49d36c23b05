"""A UDP echo server: multishot recvmsg over a buffer ring, and answers sent from the buffers the datagrams came in.

After `examples/io_uring-udp.c` of liburing, by Dylan Yudaken (MIT licence), written afresh on `uring.liburing`.

    python io_uring_udp.py [-p PORT] [-b LOG2_OF_BUFFER_SIZE] [-6] [-v]

One multishot recvmsg posts a CQE for each datagram. The kernel writes a header, the sender's address and the payload
into a provided buffer; `io_uring_recvmsg_validate` and its companions find these parts. The answer is sent from the
same memory, and the buffer goes back to the buffer ring when the send has ended. A datagram that does not fit its
buffer is reported and dropped. Kernel 6.0 or newer.

What differs from the original:

- When the buffer ring is dry (-ENOBUFS), recvmsg is armed again once a send gives a buffer back, not at once.
- SIGINT and SIGTERM end it: cancel, drain, exit. Then it prints what it did.
- The port is printed also when it was asked for.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import signal
import socket
import sys
from collections import Counter
from typing import Any

from uring import liburing as L

QD = 64
BUF_SHIFT = 12  # 4k
CQES = QD * 16
BUFFERS = CQES
CONTROLLEN = 0
BGID = 0
FDIDX = 0  # the socket's place among the registered files

# The user_data of a send is the id of its buffer.
RECV, CANCEL, SIGNAL = range(BUFFERS + 1, BUFFERS + 4)


def check(ret: int, what: str) -> int:
    """Raise OSError for a negative errno, else pass the result on."""
    if ret < 0:
        raise OSError(-ret, f"{what}: {os.strerror(-ret)}")
    return ret


class Context:
    """The ring, the buffer pool, and the memory that the kernel uses while requests are in flight."""

    def __init__(self, sock: socket.socket, buf_shift: int = BUF_SHIFT, buffers: int = BUFFERS, verbose: bool = False):
        """Set up the ring, the buffer pool and the registered file; `buffers` is a power of 2, BUFFERS at most."""
        self.af, self.buf_shift, self.buffers, self.verbose = sock.family, buf_shift, buffers, verbose
        self.receiving = False  # the multishot recvmsg is armed
        self.held = 0  # buffers that are not in the buffer ring
        self.inflight = 0  # requests whose last CQE has not come
        self.stopping = False
        self.stats = Counter(dict.fromkeys(("received", "sent", "truncated", "nobufs"), 0))
        # For recvmsg only the lengths count: how much room each buffer leaves for the address and control data.
        self.msg = L.msghdr(msg_namelen=L.ffi.sizeof("struct sockaddr_storage"), msg_controllen=CONTROLLEN)
        # A send's msghdr and iovec, one pair for each buffer.
        self.send_msg = L.ffi.new("struct msghdr[]", buffers)
        self.send_iov = L.ffi.new("struct iovec[]", buffers)
        self.cqes = L.io_uring_cqe_ptr(CQES)

        self.ring = L.io_uring()
        flags = L.IORING_SETUP_SUBMIT_ALL | L.IORING_SETUP_COOP_TASKRUN | L.IORING_SETUP_CQSIZE
        params = L.io_uring_params(flags=flags, cq_entries=QD * 8)
        check(L.io_uring_queue_init_params(QD, self.ring, params), "queue_init")
        try:
            self.setup_buffer_pool()
            check(L.io_uring_register_files(self.ring, [sock.fileno()], 1), "register files")
        except OSError:
            L.io_uring_queue_exit(self.ring)
            raise

    def setup_buffer_pool(self) -> None:
        """Register the buffer ring and fill it."""
        self.buffer_base = L.ffi.new("unsigned char[]", self.buffers << self.buf_shift)
        self.buf_ring = L.io_uring_buf_ring(self.buffers)
        L.io_uring_buf_ring_init(self.buf_ring)
        reg = L.io_uring_buf_reg(ring_addr=self.buf_ring, ring_entries=self.buffers, bgid=BGID)
        check(L.io_uring_register_buf_ring(self.ring, reg, 0), "buf_ring init")
        self.mask = L.io_uring_buf_ring_mask(self.buffers)
        for idx in range(self.buffers):
            L.io_uring_buf_ring_add(self.buf_ring, self.get_buffer(idx), 1 << self.buf_shift, idx, self.mask, idx)
        L.io_uring_buf_ring_advance(self.buf_ring, self.buffers)

    def get_buffer(self, idx: int) -> Any:
        """Where a buffer begins."""
        return self.buffer_base + (idx << self.buf_shift)

    def recycle_buffer(self, idx: int) -> None:
        """Give a buffer back to the ring."""
        L.io_uring_buf_ring_add(self.buf_ring, self.get_buffer(idx), 1 << self.buf_shift, idx, self.mask, 0)
        L.io_uring_buf_ring_advance(self.buf_ring, 1)
        self.held -= 1

    def get_sqe(self) -> Any:
        """A free SQE, counted as in flight; a full queue is submitted first."""
        sqe = L.io_uring_get_sqe(self.ring)
        if sqe == L.ffi.NULL:
            check(L.io_uring_submit(self.ring), "submit")
            sqe = L.io_uring_get_sqe(self.ring)
        if sqe == L.ffi.NULL:
            raise RuntimeError("cannot get sqe")
        self.inflight += 1
        return sqe

    def add_recv(self) -> None:
        """Arm recvmsg: one CQE for each datagram, in a buffer that the kernel picks."""
        sqe = self.get_sqe()
        L.io_uring_prep_recvmsg_multishot(sqe, FDIDX, self.msg, socket.MSG_TRUNC)
        sqe.flags |= L.IOSQE_FIXED_FILE | L.IOSQE_BUFFER_SELECT
        sqe.buf_group = BGID
        L.io_uring_sqe_set_data64(sqe, RECV)
        self.receiving = True

    def add_send(self, idx: int, out: Any, length: int) -> None:
        """Send a payload back to where it came from; address and payload stay in the buffer."""
        msg, iov = self.send_msg[idx], self.send_iov[idx]
        iov.iov_base, iov.iov_len = L.io_uring_recvmsg_payload(out, self.msg), length
        msg.msg_name, msg.msg_namelen = L.io_uring_recvmsg_name(out), out.namelen
        msg.msg_iov, msg.msg_iovlen = L.ffi.addressof(self.send_iov, idx), 1
        sqe = self.get_sqe()
        L.io_uring_prep_sendmsg(sqe, FDIDX, L.ffi.addressof(self.send_msg, idx), 0)
        sqe.flags |= L.IOSQE_FIXED_FILE
        L.io_uring_sqe_set_data64(sqe, idx)

    def sender(self, out: Any) -> str:
        """The sender's address as text."""
        if self.af == socket.AF_INET6:
            addr6 = L.ffi.cast("struct sockaddr_in6 *", L.io_uring_recvmsg_name(out))
            packed, port = L.ffi.buffer(L.ffi.addressof(addr6, "sin6_addr")), addr6.sin6_port
        else:
            addr = L.ffi.cast("struct sockaddr_in *", L.io_uring_recvmsg_name(out))
            packed, port = L.ffi.buffer(L.ffi.addressof(addr, "sin_addr")), addr.sin_port
        return f"[{socket.inet_ntop(self.af, packed)}]:{socket.ntohs(port)}"

    def process_cqe_send(self, idx: int, res: int) -> None:
        """An answer is on its way, or it failed: either way its buffer is free."""
        if res < 0:
            print(f"bad send: {os.strerror(-res)}", file=sys.stderr)
        else:
            self.stats["sent"] += 1
        self.recycle_buffer(idx)

    def process_cqe_recv(self, res: int, flags: int) -> None:
        """A datagram came, or recvmsg ended."""
        self.receiving = bool(flags & L.IORING_CQE_F_MORE)
        if res == -errno.ENOBUFS:
            self.stats["nobufs"] += 1
            return
        check(res, "recvmsg")
        idx = flags >> L.IORING_CQE_BUFFER_SHIFT
        self.held += 1
        self.stats["received"] += 1
        out = L.io_uring_recvmsg_validate(self.get_buffer(idx), res, self.msg)
        if out == L.ffi.NULL:
            raise RuntimeError("bad recvmsg")
        length = L.io_uring_recvmsg_payload_length(out, res, self.msg)
        if out.namelen > self.msg.msg_namelen:
            print("truncated name", file=sys.stderr)
            self.recycle_buffer(idx)
        elif out.flags & socket.MSG_TRUNC:
            print(f"truncated datagram: {length} of {out.payloadlen} bytes fit the buffer", file=sys.stderr)
            self.stats["truncated"] += 1
            self.recycle_buffer(idx)
        else:
            if self.verbose:
                print(f"received {length} bytes from {self.sender(out)}", file=sys.stderr)
            self.add_send(idx, out, length)

    def process_cqe(self, user_data: int, res: int, flags: int) -> None:
        """Handle one completion."""
        if user_data < BUFFERS:
            self.process_cqe_send(user_data, res)
        elif user_data == RECV:
            self.process_cqe_recv(res, flags)
        elif user_data == SIGNAL:
            self.stopping = True

    def wait(self) -> list[tuple[int, int, int]]:
        """Submit what is queued, wait, and take the CQEs out of the queue as (user_data, res, flags)."""
        while (ret := L.io_uring_submit_and_wait(self.ring, 1)) == -errno.EINTR:
            pass
        check(ret, "submit_and_wait")
        count = L.io_uring_peek_batch_cqe(self.ring, self.cqes, CQES)
        cqes = [(cqe.user_data, cqe.res, cqe.flags) for cqe in self.cqes[0:count]]
        L.io_uring_cq_advance(self.ring, count)
        self.inflight -= sum(not flags & L.IORING_CQE_F_MORE for _, _, flags in cqes)
        return cqes

    def event_loop(self, signal_fd: int) -> None:
        """Serve until `signal_fd` is readable."""
        sqe = self.get_sqe()
        L.io_uring_prep_poll_add(sqe, signal_fd, select.POLLIN)
        L.io_uring_sqe_set_data64(sqe, SIGNAL)
        while not self.stopping:
            # With no buffer in the ring it would only fail again; a send in flight will bring one.
            if not self.receiving and self.held < self.buffers:
                self.add_recv()
            for cqe in self.wait():
                self.process_cqe(*cqe)

    def cleanup(self) -> None:
        """Cancel everything and wait for its last CQE, since exiting the queue does not wait; then exit it."""
        sqe = self.get_sqe()
        L.io_uring_prep_cancel64(sqe, 0, L.IORING_ASYNC_CANCEL_ANY | L.IORING_ASYNC_CANCEL_ALL)
        L.io_uring_sqe_set_data64(sqe, CANCEL)
        while self.inflight:
            self.wait()
        L.io_uring_unregister_buf_ring(self.ring, BGID)
        L.io_uring_queue_exit(self.ring)


def setup_sock(af: int, port: int) -> socket.socket:
    """A UDP socket bound to all addresses; with port 0 the kernel chooses one."""
    sock = socket.socket(af, socket.SOCK_DGRAM)
    try:
        sock.bind(("", port))
    except OSError:
        sock.close()
        raise
    return sock


def catch_signals() -> int:
    """A descriptor that becomes readable at SIGINT and SIGTERM.

    A flag set by a handler would go unseen by a wait that begins just after it was set.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writable)
    return readable


def main() -> int:
    """Parse the options, serve, report."""
    parser = argparse.ArgumentParser(description="UDP echo server on io_uring")
    parser.add_argument("-6", dest="af", action="store_const", const=socket.AF_INET6, default=socket.AF_INET)
    parser.add_argument("-p", "--port", type=int, default=0, help="0, the default: the kernel chooses")
    parser.add_argument("-b", "--buf-shift", type=int, default=BUF_SHIFT, choices=range(8, 21), metavar="LOG2_SIZE")
    parser.add_argument("-n", "--buffers", type=int, default=BUFFERS, help=f"a power of 2, {BUFFERS} at most")
    parser.add_argument("-v", "--verbose", action="store_true", help="print where each datagram came from")
    args = parser.parse_args()
    if not 1 <= args.buffers <= BUFFERS:
        parser.error(f"-n: from 1 to {BUFFERS}")

    signal_fd = catch_signals()
    with setup_sock(args.af, args.port) as sock:
        ctx = Context(sock, args.buf_shift, args.buffers, args.verbose)
        print(f"listening on port {sock.getsockname()[1]}", flush=True)
        try:
            ctx.event_loop(signal_fd)
        finally:
            ctx.cleanup()
    print(*(f"{name}={count}" for name, count in ctx.stats.items()))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(str(error))
