"""Waiting, and many completions a reap, on rings of every kind."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fused_calls import DEADLINE_S, SECOND, queue_nops, reap_all

from uring import fused
from uring import liburing as L

ffi = L.ffi


# --- waiting -------------------------------------------------------------------------------------


def test_wait_times_out(attach: Callable[..., Any]) -> None:
    """With nothing to copy, a timeout is -ETIME, not before its time."""
    r = attach()
    before = time.monotonic()
    assert fused.uring_wait(r, 1, SECOND // 20) == -errno.ETIME
    assert time.monotonic() - before >= 0.05
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME


def test_wait_that_times_out_returns_what_there_is(attach: Callable[..., Any]) -> None:
    """Fewer completions than asked for are copied at the timeout, and those only once."""
    r = attach()
    queue_nops(r, range(2))
    assert fused.uring_wait(r, 3, SECOND // 100) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [0, 1]
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME


def test_wait_submits_even_when_it_times_out(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """What was queued is in the kernel after a wait that copied nothing."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_wait(r, 1, SECOND // 100) in (0, -errno.ETIME)
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]
    assert ffi.buffer(buffer)[:] == b"data"


def test_wait_for_none_submits_and_returns_at_once(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """With `wait_nr` 0 no wait happens, whatever the timeout."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_wait(r, 0, -1) == 0
    assert fused.uring_wait(r, 0, 3600 * SECOND) == 0
    assert L.io_uring_sq_ready(r.ring) == 0
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]


def test_interrupted_wait_returns_and_can_be_taken_up_again(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """A signal ends the wait with -EINTR, Python's handler runs, and nothing in flight is lost."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_submit(r) == 1
    handled: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, _frame: handled.append(number))
    try:
        for timeout in (-1, 3600 * SECOND):
            handled.clear()
            # Repeated, for a signal may come before the wait begins.
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            assert fused.uring_wait(r, 1, timeout) == -errno.EINTR
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert handled
            assert r.error == -errno.EINTR
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]


def test_wait_lets_other_threads_run(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """The GIL is free during a wait: another Python thread can end it."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    fused.uring_submit(r)
    writer = threading.Thread(target=os.write, args=(pipe[1], b"data"))
    writer.start()
    assert fused.uring_wait(r, 1, int(DEADLINE_S * SECOND)) == 1
    writer.join()
    assert ffi.buffer(buffer)[:] == b"data"


# --- reaping -------------------------------------------------------------------------------------


def test_overflowing_queue_loses_nothing(attach: Callable[..., Any]) -> None:
    """Thousands of completions go through a CQ of 8, each one exactly once."""
    r = attach(8, L.IORING_SETUP_CQSIZE, room=100, cq_entries=8)
    assert r.ring.features & L.IORING_FEAT_NODROP
    total = 4000
    queued, reaped, overflowed = 0, [], False
    while queued < total:
        if fused.uring_nop(r, queued, 0) == 0:
            queued += 1
        elif fused.uring_submit(r) == -errno.EBUSY:
            # Kernels that hold new submissions back until the overflow is reaped.
            reaped += fused.completions(r, fused.uring_reap(r))
        overflowed |= L.io_uring_cq_has_overflow(r.ring)
    assert overflowed
    reaped += reap_all(r, total - len(reaped))
    assert sorted(tag for tag, _, _ in reaped) == list(range(total))
    assert fused.uring_reap(r) == 0
    assert r.reaped == total


def test_one_reap_goes_beyond_the_queues_size(attach: Callable[..., Any]) -> None:
    """A reap with room fetches what the kernel holds back too, not only what the CQ shows."""
    r = attach(8, L.IORING_SETUP_CQSIZE, room=64, cq_entries=8)
    for start in range(0, 32, 8):
        queue_nops(r, range(start, start + 8))
        if fused.uring_submit(r) == -errno.EBUSY:
            pytest.skip("this kernel submits nothing while completions overflow")
    assert fused.uring_reap(r) == 32
    assert sorted(tag for tag, _, _ in fused.completions(r, 32)) == list(range(32))


def test_room_smaller_than_what_is_ready(attach: Callable[..., Any]) -> None:
    """A reap copies as many as fit; the rest waits for the next one, in order."""
    r = attach(8, room=3)
    queue_nops(r, range(8))
    assert fused.uring_wait(r, 8, -1) == 3
    assert [tag for tag, _, _ in fused.completions(r, 3)] == [0, 1, 2]
    assert fused.uring_reap(r) == 3
    assert [tag for tag, _, _ in fused.completions(r, 3)] == [3, 4, 5]
    assert fused.uring_wait(r, 1, -1) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [6, 7]
    assert fused.uring_reap(r) == 0


def nop32(r: Any, tag: int) -> None:
    """Queue a NOP whose completion is a 32-byte one with `tag + 1` and `tag + 2` in its upper half."""
    slot = r.ring.sq.sqe_tail & r.ring.sq.ring_mask
    assert fused.uring_nop(r, tag, 0) == 0
    sqe = r.ring.sq.sqes[slot]
    sqe.nop_flags, sqe.off, sqe.addr = L.IORING_NOP_CQE32, tag + 1, tag + 2


def with_extra(r: Any, count: int) -> list[tuple[int, int, int, int]]:
    """The completions' user_data, result and upper half. A kernel without IORING_NOP_CQE32 skips the test."""
    found = [(tag, res, *r.extra[position]) for position, (tag, res, _) in enumerate(fused.completions(r, count))]
    if any(res == -errno.EINVAL for _, res, _, _ in found):
        pytest.skip("this kernel lacks IORING_NOP_CQE32")
    return found


def test_extra_halves_of_big_completions_are_copied(attach: Callable[..., Any]) -> None:
    """On a CQE32 ring, `extra` has the upper 16 bytes of each completion."""
    r = attach(8, L.IORING_SETUP_CQE32, extra=True)
    for tag in (10, 20, 30):
        nop32(r, tag)
    assert fused.uring_wait(r, 3, -1) == 3
    assert with_extra(r, 3) == [(10, 0, 11, 12), (20, 0, 21, 22), (30, 0, 31, 32)]


def test_big_completions_without_extra(attach: Callable[..., Any]) -> None:
    """A CQE32 ring works without `extra`: the lower halves are copied, each once."""
    r = attach(8, L.IORING_SETUP_CQE32, room=5)
    assert r.extra == ffi.NULL
    for start in range(0, 64, 8):
        queue_nops(r, range(start, start + 8))
        assert [tag for tag, _, _ in reap_all(r, 8)] == list(range(start, start + 8))


def test_mixed_completion_sizes_on_one_ring(attach: Callable[..., Any]) -> None:
    """On a CQE_MIXED ring each size is told from the other, also around the queue's padded end."""
    r = attach(8, L.IORING_SETUP_CQE_MIXED, extra=True)
    for turn in range(40):
        # An odd number of slots a turn, so that a big completion meets the end of the queue at every position.
        nop32(r, 100 * turn)
        assert fused.uring_nop(r, 100 * turn + 50, 0) == 0
        nop32(r, 100 * turn + 60)
        assert fused.uring_wait(r, 3, -1) == 3
        tags = [100 * turn, 100 * turn + 50, 100 * turn + 60]
        big, plain, last = with_extra(r, 3)
        assert big == (tags[0], 0, tags[0] + 1, tags[0] + 2)
        assert plain == (tags[1], 0, 0, 0)
        assert last == (tags[2], 0, tags[2] + 1, tags[2] + 2)
    assert fused.uring_reap(r) == 0


# --- setup flags ---------------------------------------------------------------------------------


def test_sqpoll_ring(attach: Callable[..., Any]) -> None:
    """With a kernel thread that submits, FULL resolves after a submit and each request completes once."""
    r = attach(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=1)
    reaped = []
    deadline = time.monotonic() + DEADLINE_S
    for number in range(200):
        while fused.uring_nop(r, number, 0) == fused.FULL:
            assert fused.uring_submit(r) >= 0
            reaped += fused.completions(r, fused.uring_reap(r))
            assert time.monotonic() < deadline
    reaped += reap_all(r, 200 - len(reaped))
    assert sorted(tag for tag, _, _ in reaped) == list(range(200))


def test_reaping_alone_runs_deferred_work(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """On a DEFER_TASKRUN ring with TASKRUN_FLAG a loop that only reaps gets its completions."""
    flags = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN | L.IORING_SETUP_TASKRUN_FLAG
    r = attach(8, flags)
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_submit(r) == 1
    assert fused.uring_reap(r) == 0
    os.write(pipe[1], b"data")
    deadline = time.monotonic() + DEADLINE_S
    while not (count := fused.uring_reap(r)):
        assert time.monotonic() < deadline, "the completion did not come"
    assert list(fused.completions(r, count)) == [(1, 4, 0)]
