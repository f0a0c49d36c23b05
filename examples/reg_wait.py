"""Registered wait regions: the arguments of a wait lie in memory that the kernel was told of once.

A Python port of liburing's examples/reg-wait.c, (C) 2024 Jens Axboe, MIT licence.

Two entries of one region are used. The first waits a second while nothing is in flight. The second waits for two
completions, of which one comes, and gives up on the other as soon as its minimum time is over. Nothing is printed when
both end as they should. A wait that ends too early is an error; a late end, as on a busy machine, is only reported.

    python examples/reg_wait.py
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import time
from typing import Any

from uring.liburing import *


class RegWaitError(Exception):
    """A step failed; the message says which."""


def mtime_since_now(start: float) -> float:
    """Milliseconds since `start`, a reading of the monotonic clock."""
    return (time.monotonic() - start) * 1000


def register_memory(ring: Any, ptr: Any, size: int) -> int:
    """Make `size` bytes at `ptr`, a page boundary, the ring's region for wait arguments."""
    rd = io_uring_region_desc(user_addr=ptr, size=size, flags=IORING_MEM_REGION_TYPE_USER)
    mr = io_uring_mem_region_reg(region_uptr=rd, flags=IORING_MEM_REGION_REG_WAIT_ARG)
    return io_uring_register_region(ring, mr)


def setup_waits(ring: Any, reg: Any, size: int) -> None:
    """Register the entries at `reg`, enable the ring, and fill in the first two.

    The kernel takes a region only while the ring is disabled, but reads an entry at each wait that names it. Neither
    entry has a signal mask: `sigmask` and `sigmask_sz` would set one.
    """
    ret = register_memory(ring, reg, size)
    if ret == -errno.EINVAL:
        raise RegWaitError("this kernel lacks registered waits (6.13 has them)")
    if ret:
        raise RegWaitError(f"registering the region: {os.strerror(-ret)}")
    ret = io_uring_enable_rings(ring)
    if ret:
        raise RegWaitError(f"io_uring_enable_rings: {os.strerror(-ret)}")

    reg[0].ts.tv_sec = 1
    reg[0].flags = IORING_REG_WAIT_TS

    reg[1].ts.tv_nsec = 100_000_000
    reg[1].min_wait_usec = 10_000
    reg[1].flags = IORING_REG_WAIT_TS


def wait_for_nothing(ring: Any) -> None:
    """Wait with entry 0 while nothing is in flight: it times out after a second."""
    cqe = io_uring_cqe_ptr()
    start = time.monotonic()
    ret = io_uring_submit_and_wait_reg(ring, cqe, 1, 0)
    msec = mtime_since_now(start)
    if ret == -errno.EINVAL:
        raise RegWaitError("this kernel lacks registered waits (6.13 has them)")
    if ret != -errno.ETIME:
        raise RegWaitError(f"the first wait returned {ret} instead of timing out")
    if msec < 900:
        raise RegWaitError(f"the first wait took {msec:.0f} msec, not a second")
    if msec > 1100:
        print(f"the first wait took {msec:.0f} msec, not a second", file=sys.stderr)


def wait_for_one_of_two(ring: Any, fds: tuple[int, int]) -> None:
    """Read a pipe that holds one message twice, and wait for both reads with entry 1.

    Its minimum time is 10 msec and its timeout 100 msec. One completion is there when the minimum is over, so the
    wait ends then.
    """
    b1, b2 = ffi.new("char[8]"), ffi.new("char[8]")
    for user_data, b in enumerate((b1, b2)):
        sqe = io_uring_get_sqe(ring)
        io_uring_prep_read(sqe, fds[0], b, len(b), 0)
        io_uring_sqe_set_data64(sqe, user_data)

    os.write(fds[1], b"Hello")

    cqe = io_uring_cqe_ptr()
    start = time.monotonic()
    ret = io_uring_submit_and_wait_reg(ring, cqe, 2, 1)
    msec = mtime_since_now(start)
    if ret != 2:
        raise RegWaitError(f"the second wait submitted {ret} reads, not 2")
    first = cqe[0].res if cqe[0] != ffi.NULL else None

    # The exit of a ring does not wait for its requests: end the second read before its buffer goes.
    everything = io_uring_sync_cancel_reg(flags=IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL)
    everything.timeout.tv_sec = everything.timeout.tv_nsec = -1
    io_uring_register_sync_cancel(ring, everything)
    ret = io_uring_wait_cqe_nr(ring, cqe, 2)
    if ret:
        raise RegWaitError(f"cancelling the second read: {os.strerror(-ret)}")

    if first != len(b"Hello"):
        raise RegWaitError(f"the first read got {first}, not the message")
    if not 8 <= msec <= 12:
        print(f"the second wait took {msec:.0f} msec, not about 10", file=sys.stderr)


def reg_wait() -> None:
    """Set the ring up, wait both ways, clean up."""
    ring = io_uring()
    ret = io_uring_queue_init(8, ring, IORING_SETUP_R_DISABLED)
    if ret:
        raise RegWaitError(f"queue init: {os.strerror(-ret)}")
    # A page of wait entries: a mapping is page aligned, as a region must be.
    page = mmap.mmap(-1, mmap.PAGESIZE)
    fds = os.pipe()
    try:
        setup_waits(ring, ffi.from_buffer("struct io_uring_reg_wait[]", page), mmap.PAGESIZE)
        wait_for_nothing(ring)
        wait_for_one_of_two(ring, fds)
    finally:
        io_uring_queue_exit(ring)
        for fd in fds:
            os.close(fd)


def main(argv: list[str]) -> int:
    """The program: 0 when both waits ended as they should, else 1."""
    if len(argv) > 1:
        print(f"{argv[0]}: no arguments, please", file=sys.stderr)
        return 1
    try:
        reg_wait()
    except (RegWaitError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
