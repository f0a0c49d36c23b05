"""Read the start of a file past the page cache: four reads in one submit, then their completions.

    python examples/io_uring_test.py FILE

A port of liburing's examples/io_uring-test.c by Jens Axboe (MIT). Two things are stricter than there. A completion is
judged by the offset of its own read, so that a short tail counts as right in whichever order completions arrive. And
a wrong completion ends the program with status 1, after the others have come in too: until then the kernel may still
write to the buffers.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from contextlib import ExitStack
from typing import Any

from uring.liburing import *

QD = 4
BS = 4096


def check(what: str, ret: int) -> int:
    """Pass on what a call returned; a negative errno ends the program with a message."""
    if ret < 0:
        sys.exit(f"{what}: {os.strerror(-ret)}")
    return ret


def setup_context(entries: int) -> Any:
    """Make an initialised ring."""
    ring = io_uring()
    check("queue_init", io_uring_queue_init(entries, ring, 0))
    return ring


def open_file(path: str, flags: int) -> tuple[int, int]:
    """Open for reading; return the descriptor and the size."""
    try:
        fd = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        if error.errno == errno.EINVAL and flags & os.O_DIRECT:
            sys.exit(f"open {path}: this file, or its file system, does not support O_DIRECT")
        sys.exit(f"open {path}: {error.strerror}")
    return fd, os.fstat(fd).st_size


def setup_buffers() -> Any:
    """Make an iovec for each read. A mapping is page-aligned, as O_DIRECT wants its buffers."""
    return iovec(*(mmap.mmap(-1, BS) for _ in range(QD)))


def queue_reads(ring: Any, fd: int, iovecs: Any, end: int) -> int:
    """Prepare reads from 0 up to the offset `end`, as many as there are SQEs; return their number."""
    queued = 0
    while sqe := io_uring_get_sqe(ring):
        io_uring_prep_readv(sqe, fd, iovecs + queued, 1, queued * BS)
        io_uring_sqe_set_data64(sqe, queued)
        queued += 1
        if queued * BS >= end:
            break
    return queued


def submit_reads(ring: Any, queued: int) -> int:
    """Submit; return how many reads the kernel took."""
    submitted = check("io_uring_submit", io_uring_submit(ring))
    if submitted != queued:
        print(f"io_uring_submit submitted less: {submitted} of {queued}", file=sys.stderr)
    return submitted


def wait_cqe(ring: Any, cqe: Any) -> None:
    """Wait for a completion. Python's signal handlers run between two attempts."""
    while (ret := io_uring_wait_cqe(ring, cqe)) == -errno.EINTR:
        pass
    check("io_uring_wait_cqe", ret)


def reap_reads(ring: Any, pending: int, size: int) -> bool:
    """Collect all completions and print the totals; return whether each read got what the file has there."""
    cqe = io_uring_cqe_ptr()
    done = total = 0
    right = True
    while done < pending:
        wait_cqe(ring, cqe)
        offset, res = cqe[0].user_data * BS, cqe[0].res
        io_uring_cqe_seen(ring, cqe[0])
        done += 1
        total += max(res, 0)
        if res < 0:
            print(f"read at {offset}: {os.strerror(-res)}", file=sys.stderr)
            right = False
        elif res not in (BS, size - offset):
            print(f"read at {offset}: ret={res}, wanted {min(BS, size - offset)}", file=sys.stderr)
            right = False
    print(f"Submitted={pending}, completed={done}, bytes={total}")
    return right


def read_start(ring: Any, fd: int, size: int, end: int) -> int:
    """Read the file's first pages, up to the offset `end`; return the program's exit status."""
    iovecs = setup_buffers()
    queued = queue_reads(ring, fd, iovecs, end)
    submitted = submit_reads(ring, queued)
    right = reap_reads(ring, submitted, size)
    return 0 if right and submitted == queued else 1


def main(argv: list[str]) -> int:
    """Read the start of the file named on the command line."""
    if len(argv) != 2:
        print(f"usage: {argv[0]} FILE", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        ring = setup_context(QD)
        stack.callback(io_uring_queue_exit, ring)
        fd, size = open_file(argv[1], os.O_DIRECT)
        stack.callback(os.close, fd)
        return read_start(ring, fd, size, end=size)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
