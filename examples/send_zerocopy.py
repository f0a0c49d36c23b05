"""Send as fast as possible, with or without zero copy, over TCP or UDP, and tell how fast it was.

After `examples/send-zerocopy.c` of liburing, by Pavel Begunkov (MIT licence), written afresh on `uring.liburing`.

    python send_zerocopy.py -4 -R tcp                           # the receiver
    python send_zerocopy.py -4 -D 127.0.0.1 -n 1 -z 1 tcp       # the sender; compare with -z 0 and -b 0

A zero-copy send posts two CQEs. The first has the number of bytes, and F_MORE when a second one follows: the
notification (F_NOTIF) that the kernel has done with the buffer. It follows a failure too. Only after it may the buffer
be written to or freed. The sender queues batches of `-n` requests, all from one buffer that it never changes, and
waits for every notification before it ends. Kernel 6.0 or newer.

Zero copy pays for large sends over a real link; small ones cost more than plain sends. Loopback copies in the end, as
`-u` tells.

What differs from the original: no threads, huge pages, pinning and choice of interface; the receiver can verify TCP
data (`-v`), prints its port, which the kernel chooses for `-p 0`, and tells its speed too; a peer that stops reading
cannot keep a sender from ending at SIGINT.
"""

from __future__ import annotations

import argparse
import errno
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from uring import liburing as L

PATTERN = b"abcdefghijklmnopqrstuvwxyz"
ENTRIES = 512
MAX_SUBMIT_NR = ENTRIES
MAX_UDP_PAYLOAD_LEN = 65535 - 40 - 20 - 40  # IP_MAXPACKET minus an IPv6 header, a TCP header, TCP options
NOTIF_SLACK = 128
ROUNDS = 16  # between two looks at the clock
FLUSH_SIZE = 1 << 21
VERIFY_SIZE = 64
RECEIVER_WAIT_S = 0.4

# How long a wait may take before it looks whether SIGINT came: a signal just before a wait does not end it.
TICK = L.__kernel_timespec(1, 0)
POLL_S = 0.1


class FatalError(Exception):
    """The run cannot go on; the text is for the user."""


def check(ret: int, what: str) -> int:
    """Raise FatalError for a negative errno, else pass the result on."""
    if ret < 0:
        raise FatalError(f"{what}: {os.strerror(-ret)}")
    return ret


class Run:
    """What both roles share: the options, the counts, and SIGINT."""

    def __init__(self, cfg: argparse.Namespace) -> None:
        self.cfg = cfg
        self.type = socket.SOCK_STREAM if cfg.protocol == "tcp" else socket.SOCK_DGRAM
        self.packets = self.bytes = 0
        self.dt = 0.0
        self.should_stop = False
        signal.signal(signal.SIGINT, self.sigint_handler)

    def sigint_handler(self, *_: object) -> None:
        """End soon; a second SIGINT kills."""
        self.should_stop = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def report(self) -> None:
        """Print the counts and, unless the run was too short, the speed."""
        line = f"packets={self.packets} bytes={self.bytes}"
        if self.dt:
            line += f" rps={self.packets / self.dt:.0f} MB/s={self.bytes / self.dt / 2**20:.1f}"
        print(line)


class Receiver(Run):
    """Reads and counts; plain system calls, as in the original."""

    def __init__(self, cfg: argparse.Namespace) -> None:
        super().__init__(cfg)
        self.buffer = bytearray(FLUSH_SIZE)
        self.expected = PATTERN * (FLUSH_SIZE // len(PATTERN) + 2)

    def run(self) -> None:
        """Take one connection, or datagrams from everybody, until the end of data, of the time, or SIGINT."""
        with socket.socket(self.cfg.family, self.type) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((self.cfg.address or "", self.cfg.port))
            if self.type == socket.SOCK_DGRAM:
                print(f"listening on port {sock.getsockname()[1]}", flush=True)
                self.do_rx(sock, self.do_flush_datagram)
                return
            sock.listen(1)
            print(f"listening on port {sock.getsockname()[1]}", flush=True)
            if self.do_poll(sock, float("inf")):
                connection, _address = sock.accept()
                with connection:
                    self.do_rx(connection, self.do_flush_tcp)

    def do_poll(self, sock: socket.socket, tstop: float) -> bool:
        """Wait until there is something to read; False at SIGINT and when the time is over."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while not self.should_stop and (left := tstop - time.monotonic()) > 0:
            if poll.poll(1000 * min(left, POLL_S)):
                return True
        return False

    def do_flush_tcp(self, sock: socket.socket) -> bool:
        """Take outstanding bytes; False at the end of the stream. MSG_TRUNC throws them away uncopied."""
        flags = socket.MSG_DONTWAIT | (0 if self.cfg.verify else socket.MSG_TRUNC)
        count = sock.recv_into(self.buffer, FLUSH_SIZE, flags)
        if self.cfg.verify:
            start = self.bytes % len(PATTERN)
            if self.buffer[:count] != self.expected[start : start + count]:
                raise FatalError(f"recv: data mismatch after {self.bytes} bytes")
        self.packets += count > 0
        self.bytes += count
        return count > 0

    def do_flush_datagram(self, sock: socket.socket) -> bool:
        """Take an outstanding datagram, and verify its length and its beginning. MSG_TRUNC tells its full length."""
        count = sock.recv_into(self.buffer, VERIFY_SIZE, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        if count != self.cfg.size:
            raise FatalError(f"recv: a datagram of {count} bytes, expected {self.cfg.size}")
        seen = min(count, VERIFY_SIZE)
        if self.buffer[:seen] != self.expected[:seen]:
            raise FatalError("recv: data mismatch")
        self.packets += 1
        self.bytes += count
        return True

    def do_rx(self, sock: socket.socket, do_flush: Any) -> None:
        """Flush and poll in turn; what has arrived at the end is still counted."""
        tstart, tstop = 0.0, time.monotonic() + self.cfg.runtime + RECEIVER_WAIT_S
        more = True
        while more and time.monotonic() < tstop:
            try:
                more = do_flush(sock)
            except BlockingIOError:
                more = self.do_poll(sock, tstop)
                continue
            except ConnectionResetError:
                more = False
            tstart = tstart or time.monotonic()
            self.dt = time.monotonic() - tstart


class Sender(Run):
    """Sends the pattern over and over through a ring."""

    def __init__(self, cfg: argparse.Namespace) -> None:
        super().__init__(cfg)
        self.sends = 0  # sends in flight
        self.compl_cqes = 0  # notifications that are to come
        self.notifs = self.copied = 0
        self.error = 0  # of the first send that failed
        self.cqe = L.io_uring_cqe_ptr()
        size = cfg.size + len(PATTERN)
        self.memory = mmap.mmap(-1, size)
        self.memory.write((PATTERN * (size // len(PATTERN) + 1))[:size])
        # The kernel reads from here until the last notification.
        self.payload = L.ffi.from_buffer(self.memory)

    def run(self) -> None:
        """Connect, set up the ring, send, and end only when the kernel has done with the payload."""
        self.ring = L.io_uring()
        flags = L.IORING_SETUP_COOP_TASKRUN | L.IORING_SETUP_SINGLE_ISSUER
        if self.cfg.defer_taskrun:
            flags |= L.IORING_SETUP_DEFER_TASKRUN
        with socket.socket(self.cfg.family, self.type) as self.sock:
            loopback = "::1" if self.cfg.family == socket.AF_INET6 else "127.0.0.1"
            self.sock.connect((self.cfg.address or loopback, self.cfg.port))
            check(L.io_uring_queue_init(ENTRIES, self.ring, flags), "queue init")
            try:
                self.register()
                self.do_tx()
                self.drain()
            finally:
                L.io_uring_queue_exit(self.ring)
        if self.error in (errno.ECONNREFUSED, errno.EPIPE, errno.ECONNRESET):
            if not self.should_stop:
                print(f"connection failure: {os.strerror(self.error)}")
        elif self.error:
            raise FatalError(f"send failed: {os.strerror(self.error)}")

    def register(self) -> None:
        """Register the socket, the ring itself and the payload."""
        check(L.io_uring_register_files(self.ring, [self.sock.fileno()], 1), "files registration")
        check(L.io_uring_register_ring_fd(self.ring), "register_ring_fd")
        check(L.io_uring_register_buffers(self.ring, L.iovec(self.payload), 1), "buffer registration")

    def queue_send(self) -> None:
        """Queue one send of the payload, of the kind that the options ask for."""
        buf = self.payload
        if self.cfg.verify and self.type == socket.SOCK_STREAM:
            buf = buf + self.bytes % len(PATTERN)
        sqe = L.io_uring_get_sqe(self.ring)
        if sqe == L.ffi.NULL:
            raise FatalError("cannot get sqe")
        zc_flags = L.IORING_SEND_ZC_REPORT_USAGE if self.cfg.report_usage else 0
        if not self.cfg.zc:
            L.io_uring_prep_send(sqe, 0, buf, self.cfg.size, 0)
        elif self.cfg.fixed_buf:
            L.io_uring_prep_send_zc_fixed(sqe, 0, buf, self.cfg.size, socket.MSG_WAITALL, zc_flags, 0)
        else:
            L.io_uring_prep_send_zc(sqe, 0, buf, self.cfg.size, socket.MSG_WAITALL, zc_flags)
        sqe.flags |= L.IOSQE_FIXED_FILE
        self.sends += 1

    def wait_cqe(self) -> tuple[int, int]:
        """Take the next CQE, as (res, flags). The call looks at the queue first and enters the kernel if it must."""
        while ret := L.io_uring_wait_cqe_timeout(self.ring, self.cqe, TICK):
            if ret not in (-errno.ETIME, -errno.EINTR):
                check(ret, "wait cqe")
            if self.should_stop:
                self.abort()
        res, flags = self.cqe[0].res, self.cqe[0].flags
        L.io_uring_cqe_seen(self.ring, self.cqe[0])
        return res, flags

    def reap(self) -> None:
        """Count one completion: a send's or a notification."""
        res, flags = self.wait_cqe()
        if flags & L.IORING_CQE_F_NOTIF:
            if flags & L.IORING_CQE_F_MORE:
                raise FatalError("a notification with F_MORE")
            self.compl_cqes -= 1
            self.copied += res & 0xFFFFFFFF == L.IORING_NOTIF_USAGE_ZC_COPIED
            return
        self.sends -= 1
        if flags & L.IORING_CQE_F_MORE:
            self.compl_cqes += 1
            self.notifs += 1
        if res >= 0:
            self.packets += 1
            self.bytes += res
        elif res != -errno.EAGAIN:
            self.error = self.error or -res

    def do_tx(self) -> None:
        """Send batch after batch until the time is over."""
        tstart = time.monotonic()
        rounds = 0
        while not (self.error or self.should_stop):
            for _ in range(self.cfg.nr_reqs):
                self.queue_send()
            if self.cfg.defer_taskrun and self.compl_cqes >= NOTIF_SLACK:
                ret = L.io_uring_submit_and_get_events(self.ring)
            else:
                ret = L.io_uring_submit(self.ring)
            if check(ret, "submit") != self.cfg.nr_reqs:
                raise FatalError(f"submitted {ret} of {self.cfg.nr_reqs}")
            while self.sends:
                self.reap()
            rounds += 1
            if rounds % ROUNDS == 0 and time.monotonic() >= tstart + self.cfg.runtime:
                break
        self.dt = time.monotonic() - tstart

    def drain(self) -> None:
        """End the connection and wait for the notifications that are due."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        while self.compl_cqes:
            self.reap()

    def abort(self) -> None:
        """Stop waiting for a peer that does not read.

        A shutdown ends the sends in flight. What they have queued holds back the notifications; closing with a linger
        time of 0 throws it away, once the ring has no reference to the socket.
        """
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        if not self.sends and self.sock.fileno() >= 0:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            check(L.io_uring_unregister_files(self.ring), "files unregistration")
            self.sock.close()

    def report(self) -> None:
        """Print the notifications too, if asked."""
        super().report()
        if self.cfg.report_usage:
            print(f"notifications={self.notifs} copied={self.copied}")


def parse_opts() -> argparse.Namespace:
    """The options, under the original's letters."""
    parser = argparse.ArgumentParser(description="Zero-copy send benchmark on io_uring")
    parser.add_argument("protocol", choices=("tcp", "udp"))
    family = parser.add_mutually_exclusive_group(required=True)
    family.add_argument("-4", dest="family", action="store_const", const=socket.AF_INET, help="use IPv4")
    family.add_argument("-6", dest="family", action="store_const", const=socket.AF_INET6, help="use IPv6")
    parser.add_argument("-R", dest="rx", action="store_true", help="be the receiver")
    parser.add_argument("-D", dest="address", help="destination, or the address to listen on")
    parser.add_argument("-p", dest="port", type=int, default=8000)
    parser.add_argument("-s", dest="size", type=int, default=MAX_UDP_PAYLOAD_LEN, help="bytes a request")
    parser.add_argument("-n", dest="nr_reqs", type=int, default=8, help="requests a batch")
    parser.add_argument("-z", dest="zc", type=int, default=1, help="0: plain sends")
    parser.add_argument("-b", dest="fixed_buf", type=int, default=1, help="0: the payload as an unregistered buffer")
    parser.add_argument("-d", dest="defer_taskrun", action="store_true", help="IORING_SETUP_DEFER_TASKRUN")
    parser.add_argument("-t", dest="runtime", type=float, default=4.2, help=f"seconds; {ROUNDS} batches at least")
    parser.add_argument("-u", dest="report_usage", action="store_true", help="count the sends that were copied")
    parser.add_argument("-v", dest="verify", action="store_true", help="TCP: send, or expect, the pattern unbroken")
    cfg = parser.parse_args()
    if cfg.size < 1 or (cfg.protocol == "udp" and cfg.size > MAX_UDP_PAYLOAD_LEN):
        parser.error(f"-s: at least 1, for UDP at most {MAX_UDP_PAYLOAD_LEN}")
    if not 1 <= cfg.nr_reqs <= MAX_SUBMIT_NR:
        parser.error(f"-n: from 1 to {MAX_SUBMIT_NR}")
    if not cfg.rx and cfg.nr_reqs > 1 and cfg.protocol == "tcp":
        if cfg.verify:
            parser.error("-v: TCP data can only be verified with -n 1, since a batch may be reordered")
        print("warning: the TCP data of a batch (-n above 1) may be reordered", file=sys.stderr)
    return cfg


def main() -> int:
    """Play the role, report."""
    cfg = parse_opts()
    run = Receiver(cfg) if cfg.rx else Sender(cfg)
    try:
        run.run()
    except (FatalError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    run.report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
