"""A ring that is resized, and memory that is registered for its waits."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable
from errno import EBUSY, EFAULT, EINVAL, EOVERFLOW, ETIME
from typing import Any

import pytest
from c_style import get_sqe, reap, run_nop, skip_without

from uring import liburing as L

MakeRing = Callable[..., Any]
DEFERRED = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN


# Resizing


def resize(ring: Any, sq: int, cq: int = 0) -> int:
    """Resize a ring; a kernel that cannot skips the test."""
    flags = L.IORING_SETUP_CQSIZE if cq else 0
    ret = L.io_uring_resize_rings(ring, L.io_uring_params(sq_entries=sq, cq_entries=cq, flags=flags))
    if sq == 4:  # the size that the ring has
        skip_without("IORING_REGISTER_RESIZE_RINGS", ret, EINVAL)
    return ret


@pytest.fixture
def resizable(make_ring: MakeRing) -> Any:
    """Make a ring of 4 entries that can be resized."""
    ring = make_ring(4, DEFERRED)
    assert resize(ring, 4) == 0
    return ring


def test_resized_ring_keeps_its_completions(resizable: Any) -> None:
    """A grown ring has more room, and the CQEs that it held, in their order."""
    for number in range(6):
        if L.io_uring_sq_space_left(resizable) == 0:
            L.io_uring_submit(resizable)
        sqe = get_sqe(resizable)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, number)
    L.io_uring_submit(resizable)
    assert resize(resizable, 32, 128) == 0
    assert (resizable.sq.ring_entries, resizable.cq.ring_entries) == (32, 128)
    assert L.io_uring_sq_space_left(resizable) == 32
    assert [user_data for user_data, _res, _flags in reap(resizable, 6)] == list(range(6))
    for _ in range(32):
        L.io_uring_prep_nop(get_sqe(resizable))
    assert len(reap(resizable, 32)) == 32


def test_resize_leaves_requests_in_flight(resizable: Any) -> None:
    """A request in flight during a resize completes in the resized ring."""
    reader, writer = os.pipe()
    buffer = L.ffi.new("char[8]")
    L.io_uring_prep_read(get_sqe(resizable), reader, buffer, 8, 0)
    assert L.io_uring_submit(resizable) == 1
    assert resize(resizable, 64) == 0
    os.write(writer, b"late")
    assert [res for _user_data, res, _flags in reap(resizable)] == [4]
    os.close(reader)
    os.close(writer)


def test_ring_does_not_shrink_below_its_completions(resizable: Any) -> None:
    """A ring that holds more CQEs than would fit is not shrunk: -EOVERFLOW, and nothing is lost."""
    for _ in range(4):
        L.io_uring_prep_nop(get_sqe(resizable))
    L.io_uring_submit(resizable)
    assert resize(resizable, 1, 2) == -EOVERFLOW
    assert len(reap(resizable, 4)) == 4
    assert resize(resizable, 1, 2) == 0
    assert run_nop(resizable) == 0


def test_what_cannot_be_resized(ring: Any, resizable: Any) -> None:
    """A ring without DEFER_TASKRUN, a size of 0, and a CQ smaller than the SQ are -EINVAL."""
    assert resize(ring, 16) == -EINVAL
    assert resize(resizable, 0) == -EINVAL
    assert resize(resizable, 16, 8) == -EINVAL
    assert run_nop(resizable) == 0


# Memory regions and registered waits


def region(memory: Any, size: int, flags: int = 0) -> Any:
    """Describe memory of ours as a region."""
    description = L.io_uring_region_desc(user_addr=memory, size=size, flags=L.IORING_MEM_REGION_TYPE_USER)
    return L.io_uring_mem_region_reg(region_uptr=description, flags=flags)


def register_region(ring: Any, described: Any) -> None:
    """Register a region; a kernel that cannot skips the test."""
    ret = L.io_uring_register_region(ring, described)
    skip_without("IORING_REGISTER_MEM_REGION", ret, EINVAL)
    assert ret == 0


def test_registered_wait_times_out(disabled: Any) -> None:
    """A wait whose timeout lies in a registered region ends with -ETIME, and not before its time."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    view = L.ffi.from_buffer(memory)
    register_region(disabled, region(view, mmap.PAGESIZE, L.IORING_MEM_REGION_REG_WAIT_ARG))
    assert L.io_uring_enable_rings(disabled) == 0
    wait = L.ffi.cast("struct io_uring_reg_wait *", view)[1]
    wait.flags, wait.ts.tv_nsec = L.IORING_REG_WAIT_TS, 20_000_000
    slot, began = L.io_uring_cqe_ptr(), time.monotonic_ns()
    assert L.io_uring_submit_and_wait_reg(disabled, slot, 1, 1) == -ETIME
    assert time.monotonic_ns() - began >= 20_000_000
    L.io_uring_prep_nop(get_sqe(disabled))
    assert L.io_uring_submit_and_wait_reg(disabled, slot, 1, 1) == 1
    assert slot[0].res == 0
    beyond = mmap.PAGESIZE // L.ffi.sizeof("struct io_uring_reg_wait")
    L.io_uring_cqe_seen(disabled, slot[0])
    assert L.io_uring_submit_and_wait_reg(disabled, slot, 1, beyond) == -EFAULT


def test_region_rules(ring: Any, make_ring: MakeRing) -> None:
    """A ring has one region; one for waits must come before it is enabled; unaligned and empty ones are refused."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    view = L.ffi.from_buffer(memory)
    register_region(ring, region(view, mmap.PAGESIZE))
    assert L.io_uring_register_region(ring, region(view, mmap.PAGESIZE)) == -EBUSY
    other = make_ring(4)
    waits = region(view, mmap.PAGESIZE, L.IORING_MEM_REGION_REG_WAIT_ARG)
    assert L.io_uring_register_region(other, waits) == -EINVAL
    assert L.io_uring_register_region(other, region(view + 1, mmap.PAGESIZE)) == -EINVAL
    assert L.io_uring_register_region(other, region(view, 0)) == -EINVAL


def test_kernel_allocates_a_region(ring: Any) -> None:
    """A region without memory of ours is the kernel's, to be mapped from the ring at the offset that it tells."""
    description = L.io_uring_region_desc(size=mmap.PAGESIZE)
    register_region(ring, L.io_uring_mem_region_reg(region_uptr=description))
    with mmap.mmap(ring.ring_fd, mmap.PAGESIZE, offset=description.mmap_offset) as memory:
        assert memory[:] == bytes(mmap.PAGESIZE)
        memory[:4] = b"ours"
        with mmap.mmap(ring.ring_fd, mmap.PAGESIZE, offset=description.mmap_offset) as again:
            assert again[:4] == b"ours"


def test_register_wait_reg_is_a_stub(ring: Any) -> None:
    """The older way to register waits is only a name in liburing: it is -EINVAL."""
    assert L.io_uring_register_wait_reg(ring, L.io_uring_reg_wait(), 1) == -EINVAL
