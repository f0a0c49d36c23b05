"""A TCP echo server: multishot accept, and multishot recv over a buffer ring.

After `examples/echo-server.c` of liburing, by Prateek (MIT licence), written afresh on `uring.liburing`.

    python echo_server.py [--port 8000]         # try it with: nc localhost 8000

One multishot accept posts a CQE for each connection, one multishot recv for each connection posts a CQE for each chunk
of data, and the kernel picks the buffers of all chunks from one ring that they return to once they are sent back.
Kernel 6.0 or newer.

What differs from the original:

- Nothing is lost or reordered: a short send goes on where it stopped, a connection has one send in flight at a time,
  and it is closed only after everything that it received went back and no request is left on its fd.
- A recv that found the buffer ring dry (-ENOBUFS) is armed again when any connection gives a buffer back, not only its
  own. All connections share the buffers, so clients that send and never read can still starve the others.
- SIGINT and SIGTERM end it: cancel, drain, exit. Then it prints what it did. With port 0 the kernel chooses one.
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import signal
import socket
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from uring import liburing as L

QD = 64
BUF_SIZE = 4096
BUFFERS = 256  # a power of 2
BGID = 0
DEFAULT_PORT = 8000

EVENT_ACCEPT, EVENT_RECV, EVENT_SEND, EVENT_CANCEL, EVENT_SIGNAL = range(1, 6)

# Accept cannot go on before something is closed; arming it again at once would spin.
OUT_OF_RESOURCES = {-errno.EMFILE, -errno.ENFILE, -errno.ENOBUFS, -errno.ENOMEM}


def encode_userdata(event: int, bid: int, fd: int) -> int:
    """Event type in bits 63-56, buffer id in bits 47-32, file descriptor in bits 31-0."""
    return event << 56 | bid << 32 | fd


def decode_userdata(user_data: int) -> tuple[int, int]:
    """The event type and the file descriptor of a user_data."""
    return user_data >> 56, user_data & 0xFFFFFFFF


def check(ret: int, what: str) -> int:
    """Raise OSError for a negative errno, else pass the result on."""
    if ret < 0:
        raise OSError(-ret, f"{what}: {os.strerror(-ret)}")
    return ret


@dataclass
class Chunk:
    """Received bytes that wait to be sent back: `length` bytes at `offset` of buffer `bid`."""

    bid: int
    offset: int
    length: int


@dataclass
class Conn:
    """A connection. Its fd is closed, and free to be reused, only when no request uses it."""

    fd: int
    receiving: bool = False  # a multishot recv is armed
    ended: bool = False  # nothing more is received: EOF or an error
    unsent: deque[Chunk] = field(default_factory=deque)  # the first one is being sent


class EchoServer:
    """The ring, the buffer ring and the connections."""

    def __init__(self, listener: socket.socket, entries: int = QD, buffers: int = BUFFERS, buf_size: int = BUF_SIZE):
        """Set up the ring and the buffer ring; `buffers` is a power of 2."""
        self.listener = listener
        self.buffers, self.buf_size = buffers, buf_size
        self.conns: dict[int, Conn] = {}
        self.starved: deque[Conn] = deque()  # their recv ended with -ENOBUFS
        self.held = 0  # buffers that are not in the buffer ring
        self.inflight = 0  # requests whose last CQE has not come
        self.accept_paused = False
        self.stopping = False
        self.stats = Counter(dict.fromkeys(("connections", "received", "sent", "short_sends", "nobufs", "rearms"), 0))
        self.handlers = {
            EVENT_ACCEPT: self.handle_accept,
            EVENT_RECV: self.handle_recv,
            EVENT_SEND: self.handle_send,
            EVENT_SIGNAL: self.handle_signal,
            EVENT_CANCEL: lambda *_: None,
        }
        self.setup_ring(entries)
        self.setup_buffer_ring()

    def setup_ring(self, entries: int) -> None:
        """Make the ring; its CQ is large, because multishot requests post many CQEs for one SQE."""
        self.ring = L.io_uring()
        common = L.IORING_SETUP_SUBMIT_ALL | L.IORING_SETUP_CQSIZE
        since_6_1 = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN
        for taskrun in (since_6_1, L.IORING_SETUP_COOP_TASKRUN):
            params = L.io_uring_params(flags=common | taskrun, cq_entries=entries * 8)
            if (ret := L.io_uring_queue_init_params(entries, self.ring, params)) != -errno.EINVAL:
                break
        check(ret, "queue_init")

    def setup_buffer_ring(self) -> None:
        """Register the buffer ring and fill it."""
        self.bufs = L.ffi.new("unsigned char[]", self.buffers * self.buf_size)
        error = L.ffi.new("int *")
        self.buf_ring = L.io_uring_setup_buf_ring(self.ring, self.buffers, BGID, 0, error)
        if self.buf_ring == L.ffi.NULL:
            L.io_uring_queue_exit(self.ring)
            check(error[0], "buffer ring setup")
        self.mask = L.io_uring_buf_ring_mask(self.buffers)
        for bid in range(self.buffers):
            address = self.bufs + bid * self.buf_size
            L.io_uring_buf_ring_add(self.buf_ring, address, self.buf_size, bid, self.mask, bid)
        L.io_uring_buf_ring_advance(self.buf_ring, self.buffers)

    def recycle_buffer(self, bid: int) -> None:
        """Give a buffer back to the ring."""
        address = self.bufs + bid * self.buf_size
        L.io_uring_buf_ring_add(self.buf_ring, address, self.buf_size, bid, self.mask, 0)
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

    def add_multishot_accept(self) -> None:
        """Arm the accept: one CQE for each connection."""
        fd = self.listener.fileno()
        sqe = self.get_sqe()
        L.io_uring_prep_multishot_accept(sqe, fd, L.ffi.NULL, L.ffi.NULL, socket.SOCK_CLOEXEC)
        L.io_uring_sqe_set_data64(sqe, encode_userdata(EVENT_ACCEPT, 0, fd))

    def add_recv(self, conn: Conn) -> None:
        """Arm a connection's recv: one CQE for each chunk, in a buffer that the kernel picks.

        Without POLL_FIRST the kernel takes a buffer before it looks for data: an idle recv could end with -ENOBUFS.
        """
        sqe = self.get_sqe()
        L.io_uring_prep_recv_multishot(sqe, conn.fd, L.ffi.NULL, 0, 0)
        sqe.flags |= L.IOSQE_BUFFER_SELECT
        sqe.buf_group = BGID
        sqe.ioprio |= L.IORING_RECVSEND_POLL_FIRST
        L.io_uring_sqe_set_data64(sqe, encode_userdata(EVENT_RECV, 0, conn.fd))
        conn.receiving = True

    def add_send(self, conn: Conn) -> None:
        """Send the first unsent chunk, or the rest of it, from the buffer that it came in."""
        chunk = conn.unsent[0]
        address = self.bufs + chunk.bid * self.buf_size + chunk.offset
        sqe = self.get_sqe()
        L.io_uring_prep_send(sqe, conn.fd, address, chunk.length, 0)
        L.io_uring_sqe_set_data64(sqe, encode_userdata(EVENT_SEND, chunk.bid, conn.fd))

    def add_cancel(self, user_data: int, flags: int) -> None:
        """Cancel by user_data, or what the flags say."""
        sqe = self.get_sqe()
        L.io_uring_prep_cancel64(sqe, user_data, flags)
        L.io_uring_sqe_set_data64(sqe, encode_userdata(EVENT_CANCEL, 0, 0))

    def close_conn(self, conn: Conn) -> None:
        """Close a connection that ended, unless a request still uses it: then the last CQE leads here again."""
        if conn.receiving or conn.unsent:
            return
        del self.conns[conn.fd]
        os.close(conn.fd)
        if self.accept_paused:
            self.accept_paused = False
            self.add_multishot_accept()

    def handle_accept(self, _fd: int, res: int, flags: int) -> None:
        """A connection came, or accept failed."""
        if res >= 0:
            self.stats["connections"] += 1
            self.conns[res] = conn = Conn(res)
            self.add_recv(conn)
        else:
            print(f"accept: {os.strerror(-res)}", file=sys.stderr)
        if not flags & L.IORING_CQE_F_MORE:
            self.stats["rearms"] += 1
            if res not in OUT_OF_RESOURCES:
                self.add_multishot_accept()
            elif self.conns:
                self.accept_paused = True
            else:
                check(res, "accept")

    def handle_recv(self, fd: int, res: int, flags: int) -> None:
        """A chunk came, or the recv ended: EOF, an error, a dry buffer ring, or a full completion queue."""
        conn = self.conns[fd]
        conn.receiving = bool(flags & L.IORING_CQE_F_MORE)
        if res > 0:
            self.held += 1
            self.stats["received"] += res
            bid = flags >> L.IORING_CQE_BUFFER_SHIFT
            if conn.ended:  # the way back is broken
                self.recycle_buffer(bid)
            else:
                conn.unsent.append(Chunk(bid, 0, res))
                if len(conn.unsent) == 1:
                    self.add_send(conn)
        elif res != -errno.ENOBUFS:
            conn.ended = True

        if conn.ended:
            self.close_conn(conn)
        elif res == -errno.ENOBUFS:
            self.stats["nobufs"] += 1
            self.starved.append(conn)
        elif not conn.receiving:
            self.stats["rearms"] += 1
            self.add_recv(conn)

    def handle_send(self, fd: int, res: int, _flags: int) -> None:
        """A chunk, or a part of it, went back; its buffer is recycled when all of it did."""
        conn = self.conns[fd]
        if res <= 0:
            conn.ended = True
            while conn.unsent:
                self.recycle_buffer(conn.unsent.popleft().bid)
            if conn.receiving:
                self.add_cancel(encode_userdata(EVENT_RECV, 0, conn.fd), 0)
        else:
            self.stats["sent"] += res
            chunk = conn.unsent[0]
            chunk.offset += res
            chunk.length -= res
            if chunk.length:
                self.stats["short_sends"] += 1
            else:
                conn.unsent.popleft()
                self.recycle_buffer(chunk.bid)
            if conn.unsent:
                self.add_send(conn)
        if conn.ended:
            self.close_conn(conn)

    def handle_signal(self, _fd: int, _res: int, _flags: int) -> None:
        """SIGINT or SIGTERM came."""
        self.stopping = True

    def feed_starved(self) -> None:
        """Arm as many of the recvs that found the buffer ring dry as there are buffers in it again.

        Each has data, so each posts a CQE, and the others get their turn after it.
        """
        free = self.buffers - self.held
        while free and self.starved:
            conn = self.starved.popleft()
            if not conn.ended:
                self.add_recv(conn)
                free -= 1

    def wait(self) -> list[tuple[int, int, int]]:
        """Submit what is queued, wait, and take the CQEs out of the queue as (user_data, res, flags)."""
        while (ret := L.io_uring_submit_and_wait(self.ring, 1)) == -errno.EINTR:
            pass
        check(ret, "submit_and_wait")
        cqes = [(cqe.user_data, cqe.res, cqe.flags) for cqe in L.io_uring_for_each_cqe(self.ring)]
        L.io_uring_cq_advance(self.ring, len(cqes))
        self.inflight -= sum(not flags & L.IORING_CQE_F_MORE for _, _, flags in cqes)
        return cqes

    def event_loop(self, signal_fd: int) -> None:
        """Serve until `signal_fd` is readable."""
        sqe = self.get_sqe()
        L.io_uring_prep_poll_add(sqe, signal_fd, select.POLLIN)
        L.io_uring_sqe_set_data64(sqe, encode_userdata(EVENT_SIGNAL, 0, signal_fd))
        self.add_multishot_accept()
        while not self.stopping:
            for user_data, res, flags in self.wait():
                event, fd = decode_userdata(user_data)
                self.handlers[event](fd, res, flags)
            self.feed_starved()

    def close(self) -> None:
        """Cancel everything and wait for its last CQE, since exiting the queue does not wait, then free it."""
        self.add_cancel(0, L.IORING_ASYNC_CANCEL_ANY | L.IORING_ASYNC_CANCEL_ALL)
        while self.inflight:
            for user_data, res, _flags in self.wait():
                if decode_userdata(user_data)[0] == EVENT_ACCEPT and res >= 0:
                    os.close(res)
        for fd in self.conns:
            os.close(fd)
        L.io_uring_free_buf_ring(self.ring, self.buf_ring, self.buffers, BGID)
        L.io_uring_queue_exit(self.ring)


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
    parser = argparse.ArgumentParser(description="TCP echo server on io_uring")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: the kernel chooses (default: %(default)s)")
    parser.add_argument("--entries", type=int, default=QD, help="of the submission queue (default: %(default)s)")
    parser.add_argument("--buffers", type=int, default=BUFFERS, help="a power of 2 (default: %(default)s)")
    parser.add_argument("--buf-size", type=int, default=BUF_SIZE, help="bytes (default: %(default)s)")
    args = parser.parse_args()

    signal_fd = catch_signals()
    with socket.create_server(("", args.port), backlog=1024) as listener:
        server = EchoServer(listener, args.entries, args.buffers, args.buf_size)
        print(f"listening on port {listener.getsockname()[1]}", flush=True)
        try:
            server.event_loop(signal_fd)
        finally:
            server.close()
    print(*(f"{name}={count}" for name, count in server.stats.items()))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(str(error))
