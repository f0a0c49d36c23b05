"""Digest a file in the kernel: read it and send it to an AF_ALG socket, both through one ring.

A Python port of liburing's examples/kdigest.c by David Disseldorp and Jens Axboe, MIT licence.

A file is read in blocks, whose reads may end in any order, and sent in the file's order: by one bundle from a buffer
ring where the kernel has bundles (6.10), else by linked sends. The kernel's algorithms are listed in /proc/crypto.

    python examples/kdigest.py ALGORITHM INFILE
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import stat
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from uring.liburing import *

QD = 64
WAIT_BATCH = QD // 8
BS = 64 * 1024

BGID = 1
BID_MASK = QD - 1

SALG_NAME_SIZE = 64  # of struct sockaddr_alg

IO_INIT, IO_READ, IO_READ_COMPLETE, IO_WRITE, IO_WRITE_COMPLETE = range(5)


@dataclass
class Req:
    """One block of the file; its index in `KDigest.reqs` is its user_data and its buffer's id."""

    iov_base: Any
    iov_len: int = 0
    offset: int = 0
    done: int = 0
    state: int = IO_INIT


class KDigestError(Exception):
    """A step failed; the message says which."""


class KDigest:
    """A ring, the blocks in flight, and the memory that they use."""

    def __init__(self, infd: int, outfd: int, *, bundle: bool = True) -> None:
        """Read from `infd` and send to `outfd`; `bundle` allows bundled sends where the kernel has them."""
        self.infd, self.outfd = infd, outfd
        self.bufs = ffi.from_buffer(mmap.mmap(-1, QD * BS))
        self.reqs = [Req(self.bufs + index * BS) for index in range(QD)]
        self.inflight = self.sends = 0
        self.br: Any = None
        self.ring = io_uring()
        for flags in (IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, 0):
            p = io_uring_params(flags=flags)
            ret = io_uring_queue_init_params(QD, self.ring, p)
            if not ret:
                break
        else:
            raise KDigestError(f"queue_init: {os.strerror(-ret)}")

        if bundle and p.features & IORING_FEAT_RECVSEND_BUNDLE:
            err = ffi.new("int *")
            br = io_uring_setup_buf_ring(self.ring, QD, BGID, 0, err)
            if br == ffi.NULL:
                io_uring_queue_exit(self.ring)
                raise KDigestError(f"no buffer ring for bundles: {os.strerror(-err[0])}")
            self.br = br

    def get_sqe(self) -> Any:
        """A free SQE. There are as many as blocks, so one is missing only when the kernel refused to take some."""
        sqe = io_uring_get_sqe(self.ring)
        if sqe == ffi.NULL:
            raise KDigestError("no free SQE")
        return sqe

    def submit_and_wait(self, wait_nr: int) -> None:
        """Submit what is queued and wait; a signal may end the wait early, so that Python can run its handler."""
        ret = io_uring_submit_and_wait(self.ring, wait_nr)
        if ret < 0 and ret != -errno.EINTR:
            raise KDigestError(f"wait cqe: {os.strerror(-ret)}")

    def close(self) -> None:
        """End what an error left in flight, then exit the ring: its exit alone does not wait for reads to end."""
        if self.inflight > io_uring_sq_ready(self.ring):
            everything = io_uring_sync_cancel_reg(flags=IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL)
            everything.timeout.tv_sec = everything.timeout.tv_nsec = -1
            # Kernels before 6.0 cannot: there the loop waits until the requests end by themselves.
            io_uring_register_sync_cancel(self.ring, everything)
        cqe = io_uring_cqe_ptr()
        while self.inflight > io_uring_sq_ready(self.ring):
            if io_uring_wait_cqe(self.ring, cqe) == 0:
                self.inflight -= not cqe[0].flags & IORING_CQE_F_MORE
                io_uring_cqe_seen(self.ring, cqe[0])
        if self.br is not None:
            io_uring_free_buf_ring(self.ring, self.br, QD, BGID)
        io_uring_queue_exit(self.ring)


def get_file_size(fd: int) -> int:
    """The size of a regular file or a block device."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise KDigestError("infile is neither a regular file nor a block device")
    return os.lseek(fd, 0, os.SEEK_END)


def queue_read(kdigest: KDigest, index: int) -> None:
    """Prepare the read of what a block still lacks."""
    req = kdigest.reqs[index]
    req.state = IO_READ
    sqe = kdigest.get_sqe()
    io_uring_prep_read(sqe, kdigest.infd, req.iov_base + req.done, req.iov_len - req.done, req.offset + req.done)
    io_uring_sqe_set_data64(sqe, index)
    kdigest.inflight += 1


def complete(kdigest: KDigest, index: int, res: int, flags: int) -> int:
    """Take note of one completion; returns how many bytes it sent."""
    req = kdigest.reqs[index]
    sending = req.state == IO_WRITE
    if not flags & IORING_CQE_F_MORE:
        kdigest.inflight -= 1
        kdigest.sends -= sending
    if res < 0:
        raise KDigestError(f"{'send' if sending else 'read'}: cqe error: {os.strerror(-res)}")
    if sending:
        if not flags & IORING_CQE_F_MORE:
            req.state = IO_WRITE_COMPLETE
        return res

    req.done += res
    if req.done == req.iov_len:
        req.state = IO_READ_COMPLETE
    elif res:
        queue_read(kdigest, index)
    else:
        raise KDigestError("read: the file became shorter meanwhile")
    return 0


def reap_completions(kdigest: KDigest) -> tuple[int, int]:
    """Take what has completed off the ring; returns how many completions, and how many bytes they sent."""
    nr = outsize = 0
    try:
        for cqe in io_uring_for_each_cqe(kdigest.ring):
            nr += 1
            outsize += complete(kdigest, cqe.user_data, cqe.res, cqe.flags)
    finally:
        io_uring_cq_advance(kdigest.ring, nr)
    return nr, outsize


def submit_sends_br(kdigest: KDigest, write_idx: int) -> int:
    """Put the blocks that have been read into the buffer ring, in order, and send them as a single bundle."""
    first, nr = write_idx, 0
    while (req := kdigest.reqs[write_idx]).state == IO_READ_COMPLETE:
        io_uring_buf_ring_add(kdigest.br, req.iov_base, req.iov_len, write_idx, BID_MASK, nr)
        # Only the first is marked as being sent: reads are queued in order, so it keeps them off the others too.
        req.state = IO_WRITE_COMPLETE if nr else IO_WRITE
        nr += 1
        write_idx = (write_idx + 1) % QD
    if nr:
        io_uring_buf_ring_advance(kdigest.br, nr)
        sqe = kdigest.get_sqe()
        io_uring_prep_send_bundle(sqe, kdigest.outfd, 0, socket.MSG_MORE)
        sqe.flags |= IOSQE_BUFFER_SELECT
        sqe.buf_group = BGID
        io_uring_sqe_set_data64(sqe, first)
        kdigest.inflight += 1
        kdigest.sends += 1
    return write_idx


def submit_sends_linked(kdigest: KDigest, write_idx: int) -> int:
    """Send each block that has been read with a request of its own, linked to keep their order.

    A short send breaks a link only if MSG_WAITALL says that it is a failure.
    """
    sqe = None
    while (req := kdigest.reqs[write_idx]).state == IO_READ_COMPLETE:
        if sqe is not None:
            sqe.flags |= IOSQE_IO_LINK
        sqe = kdigest.get_sqe()
        req.state = IO_WRITE
        io_uring_prep_send(sqe, kdigest.outfd, req.iov_base, req.iov_len, socket.MSG_MORE | socket.MSG_WAITALL)
        io_uring_sqe_set_data64(sqe, write_idx)
        kdigest.inflight += 1
        kdigest.sends += 1
        write_idx = (write_idx + 1) % QD
    return write_idx


def submit_sends(kdigest: KDigest, write_idx: int) -> int:
    """Queue what can be sent; returns the index of the block to send next.

    Neither a bundle nor a chain is ordered against the one before it, so that has to end first.
    """
    if kdigest.sends:
        return write_idx
    return (submit_sends_linked if kdigest.br is None else submit_sends_br)(kdigest, write_idx)


def digest_file(kdigest: KDigest, insize: int) -> None:
    """Move `insize` bytes from the file to the socket."""
    outsize = insize
    read_off = read_idx = write_idx = 0
    while outsize:
        write_idx = submit_sends(kdigest, write_idx)

        while insize and kdigest.reqs[read_idx].state in (IO_INIT, IO_WRITE_COMPLETE):
            req = kdigest.reqs[read_idx]
            req.offset, req.iov_len, req.done = read_off, min(insize, BS), 0
            queue_read(kdigest, read_idx)
            read_off += req.iov_len
            insize -= req.iov_len
            read_idx = (read_idx + 1) % QD

        if not kdigest.inflight:
            raise KDigestError("send: the socket took less than it was given")

        # With half of them done there is enough to queue for another round.
        to_wait = kdigest.inflight // 2 | 1
        while to_wait > 0:
            kdigest.submit_and_wait(min(to_wait, WAIT_BATCH))
            nr, sent = reap_completions(kdigest)
            to_wait -= nr
            outsize -= sent


def get_result(kdigest: KDigest) -> bytes:
    """The digest of all that was sent; the buffers are free again, and take it."""
    sqe = kdigest.get_sqe()
    io_uring_prep_recv(sqe, kdigest.outfd, kdigest.bufs, BS, 0)
    io_uring_sqe_set_data64(sqe, 0)
    kdigest.inflight += 1
    cqe = io_uring_cqe_ptr()
    while io_uring_peek_cqe(kdigest.ring, cqe) == -errno.EAGAIN:
        kdigest.submit_and_wait(1)
    res = cqe[0].res
    io_uring_cqe_seen(kdigest.ring, cqe[0])
    kdigest.inflight -= 1
    if res < 0:
        raise KDigestError(f"recv: {os.strerror(-res)}")
    return bytes(ffi.buffer(kdigest.bufs, res))


def alg_socket(alg: str) -> socket.socket:
    """Make an AF_ALG socket for the algorithm: one that gives the digest of what is sent to it."""
    try:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0) as sfd:
            sfd.bind(("hash", alg))
            return sfd.accept()[0]
    except OSError as error:
        reasons = {
            errno.EAFNOSUPPORT: "this kernel lacks AF_ALG: it needs CONFIG_CRYPTO_USER_API_HASH",
            errno.ENOENT: "this kernel has no such hash: /proc/crypto lists those that it has",
        }
        raise KDigestError(reasons.get(error.errno or 0, f"AF_ALG: {error.strerror}")) from None


def run(alg: str, infile: str) -> None:
    """Digest a file and print the result."""
    if len(alg.encode()) >= SALG_NAME_SIZE:
        raise KDigestError("the algorithm's name is too long")
    with (
        open(infile, "rb", buffering=0) as file,
        alg_socket(alg) as outfd,
        closing(KDigest(file.fileno(), outfd.fileno())) as kdigest,
    ):
        digest_file(kdigest, get_file_size(file.fileno()))
        digest = get_result(kdigest)
        bundled = "" if kdigest.br is None else "bundled "
        print(f"uring {bundled}{alg}({infile}) returned(len={len(digest)}): {digest.hex()}")


def main(argv: list[str]) -> int:
    """The program: 0 when the digest was printed, else 1."""
    if len(argv) != 3:
        print(f"usage: {argv[0]} ALGORITHM INFILE", file=sys.stderr)
        return 1
    try:
        run(argv[1], argv[2])
    except (KDigestError, OSError) as error:
        print(f"{argv[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
