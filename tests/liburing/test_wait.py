"""The ways to wait: for a number of CQEs, with a timeout, a minimum time, a signal mask, registered arguments."""

from __future__ import annotations

import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EAGAIN, EFAULT, EINTR, EINVAL, EOPNOTSUPP, ETIME
from typing import Any

import pytest
from c_style import get_sqe, reap, skip_without

from uring import liburing as L

NULL = L.ffi.NULL
SHORT_NS = 20_000_000
DEADLINE_S = 10


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's read end and write end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """The signals that Python has handled, of SIGALRM and SIGUSR1."""
    seen: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, lambda received, _frame: seen.append(received))
    yield seen
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def region_ring(make_ring: Callable[..., Any]) -> tuple[Any, Any]:
    """A ring, and the registered page of wait arguments that it has."""
    ring = make_ring(8, L.IORING_SETUP_R_DISABLED)
    reg = L.ffi.from_buffer("struct io_uring_reg_wait[]", mmap.mmap(-1, mmap.PAGESIZE))
    desc = L.io_uring_region_desc(user_addr=reg, size=mmap.PAGESIZE, flags=L.IORING_MEM_REGION_TYPE_USER)
    region = L.io_uring_mem_region_reg(region_uptr=desc, flags=L.IORING_MEM_REGION_REG_WAIT_ARG)
    ret = L.io_uring_register_region(ring, region)
    skip_without("IORING_REGISTER_MEM_REGION", ret, EINVAL)
    assert ret == 0
    assert L.io_uring_enable_rings(ring) == 0
    return ring, reg


def timespec(nanoseconds: int) -> Any:
    """A `struct __kernel_timespec *` of so many nanoseconds."""
    return L.__kernel_timespec(nanoseconds // 10**9, nanoseconds % 10**9)


def queue_nops(ring: Any, *user_data: int) -> None:
    """Queue NOPs, which complete when they are submitted."""
    for number in user_data:
        sqe = get_sqe(ring)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, number)


def submit_nops(ring: Any, *user_data: int) -> None:
    """Have as many completions ready."""
    queue_nops(ring, *user_data)
    assert L.io_uring_submit(ring) == len(user_data)


def submit_read(ring: Any, fd: int, user_data: int = 1) -> Any:
    """Submit a read of one byte; returns its buffer."""
    buffer = L.ffi.new("char[1]")
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, buffer, len(buffer), 0)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1
    return buffer


def submit_poll(ring: Any, fd: int) -> None:
    """Submit a poll for input with user_data 1."""
    sqe = get_sqe(ring)
    L.io_uring_prep_poll_add(sqe, fd, select.POLLIN)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1


@contextmanager
def written_meanwhile(fd: int, data: bytes) -> Iterator[None]:
    """Have another thread write the data."""
    writer = threading.Thread(target=os.write, args=(fd, data))
    writer.start()
    yield
    writer.join()


def ready(ring: Any) -> list[int]:
    """The user_data of the completions that are ready, without consuming them."""
    return [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)]


# Waiting for completions


def test_wait_cqe_waits_for_another_thread_s_write(ring: Any, pipe: tuple[int, int]) -> None:
    """wait_cqe returns 0 with the CQE when one comes, and other Python threads run meanwhile."""
    buffer = submit_read(ring, pipe[0], user_data=9)
    slot = L.io_uring_cqe_ptr()
    with written_meanwhile(pipe[1], b"x"):
        assert L.io_uring_wait_cqe(ring, slot) == 0
    assert (slot[0].user_data, slot[0].res, buffer[0]) == (9, 1, b"x")


def test_wait_cqe_gives_the_same_cqe_until_it_is_seen(ring: Any) -> None:
    """A wait does not consume: only cqe_seen moves it on to the next CQE."""
    submit_nops(ring, 7, 8)
    slot = L.io_uring_cqe_ptr()
    found = []
    for _ in range(2):
        assert L.io_uring_wait_cqe(ring, slot) == 0
        found.append(slot[0].user_data)
    L.io_uring_cqe_seen(ring, slot[0])
    assert L.io_uring_wait_cqe(ring, slot) == 0
    assert [*found, slot[0].user_data] == [7, 7, 8]


def test_wait_cqe_nr_waits_for_as_many(ring: Any, pipe: tuple[int, int]) -> None:
    """wait_cqe_nr returns when that many are ready, and gives the first of them."""
    buffers = [submit_read(ring, pipe[0], user_data) for user_data in (1, 2, 3)]
    slot = L.io_uring_cqe_ptr()
    with written_meanwhile(pipe[1], b"abc"):
        assert L.io_uring_wait_cqe_nr(ring, slot, 3) == 0
    assert sorted(ready(ring)) == [1, 2, 3]
    assert slot[0].user_data == ready(ring)[0]
    assert sorted(buffer[0] for buffer in buffers) == [b"a", b"b", b"c"]


def test_wait_cqes_times_out(ring: Any) -> None:
    """wait_cqes answers -ETIME and NULL when nothing came, not before the time is over."""
    slot = L.io_uring_cqe_ptr()
    start = time.monotonic_ns()
    assert L.io_uring_wait_cqes(ring, slot, 1, timespec(SHORT_NS), NULL) == -ETIME
    assert time.monotonic_ns() - start >= SHORT_NS
    assert slot[0] == NULL


def test_wait_that_times_out_with_too_few_is_a_success(ring: Any) -> None:
    """A wait for two that times out while one is ready returns 0 with that one: cq_ready tells how many came."""
    submit_nops(ring, 5)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqes(ring, slot, 2, timespec(SHORT_NS), NULL) == 0
    assert (slot[0].user_data, L.io_uring_cq_ready(ring)) == (5, 1)


def test_waits_do_not_submit(ring: Any) -> None:
    """A wait leaves what is queued where it is, unlike the submit_and_wait family."""
    if not ring.features & L.IORING_FEAT_EXT_ARG:
        pytest.skip("this kernel lacks IORING_FEAT_EXT_ARG, without which liburing submits for a timeout")
    queue_nops(ring, 1)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqe_timeout(ring, slot, timespec(SHORT_NS)) == -ETIME
    assert L.io_uring_sq_ready(ring) == 1


def test_set_iowait_changes_no_result(ring: Any) -> None:
    """Waits that do not count as iowait still wait and time out."""
    ret = L.io_uring_set_iowait(ring, False)
    skip_without("IORING_FEAT_NO_IOWAIT", ret, EOPNOTSUPP)
    assert ret == 0
    assert L.io_uring_wait_cqes(ring, L.io_uring_cqe_ptr(), 1, timespec(SHORT_NS), NULL) == -ETIME
    assert L.io_uring_set_iowait(ring, True) == 0


# A minimum time


def require_min_timeout(ring: Any) -> None:
    """Skip the test on kernels before 6.12."""
    if not ring.features & L.IORING_FEAT_MIN_TIMEOUT:
        pytest.skip("this kernel lacks IORING_FEAT_MIN_TIMEOUT")


def test_min_timeout_ends_the_wait_with_what_is_there(ring: Any) -> None:
    """When the minimum time is over and one of two is ready, the wait ends: the long timeout is for nothing at all."""
    require_min_timeout(ring)
    submit_nops(ring, 5)
    slot = L.io_uring_cqe_ptr()
    start = time.monotonic_ns()
    assert L.io_uring_wait_cqes_min_timeout(ring, slot, 2, timespec(3600 * 10**9), SHORT_NS // 1000, NULL) == 0
    assert time.monotonic_ns() - start >= SHORT_NS
    assert slot[0].user_data == 5


def test_min_timeout_with_nothing_ready_waits_for_the_whole_time(ring: Any) -> None:
    """Without any completion at the minimum, the wait goes on to its timeout."""
    require_min_timeout(ring)
    start = time.monotonic_ns()
    ret = L.io_uring_wait_cqes_min_timeout(ring, L.io_uring_cqe_ptr(), 2, timespec(2 * SHORT_NS), 1000, NULL)
    assert ret == -ETIME
    assert time.monotonic_ns() - start >= 2 * SHORT_NS


def test_submit_and_wait_min_timeout_submits(ring: Any) -> None:
    """The submitting form returns how many it submitted, also when its minimum time ended it."""
    require_min_timeout(ring)
    queue_nops(ring, 1, 2)
    slot = L.io_uring_cqe_ptr()
    ret = L.io_uring_submit_and_wait_min_timeout(ring, slot, 3, timespec(3600 * 10**9), SHORT_NS // 1000, NULL)
    assert ret == 2
    assert ready(ring) == [1, 2]


# Submitting and waiting in one call


def test_submit_and_wait_returns_the_submitted_count(ring: Any, pipe: tuple[int, int]) -> None:
    """submit_and_wait returns what it submitted, once as many CQEs as asked for are ready."""
    buffer = submit_read(ring, pipe[0])
    queue_nops(ring, 2, 3)
    with written_meanwhile(pipe[1], b"x"):
        assert L.io_uring_submit_and_wait(ring, 3) == 2
    assert sorted(ready(ring)) == [1, 2, 3]
    assert buffer[0] == b"x"


def test_expiring_timeout_request_ends_a_wait_for_more(ring: Any) -> None:
    """submit_and_wait for two returns when a timeout request expires, although its CQE is the only one."""
    ts = timespec(SHORT_NS)
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout(sqe, ts, 0, 0)
    L.io_uring_sqe_set_data64(sqe, 6)
    assert L.io_uring_submit_and_wait(ring, 2) == 1
    assert ready(ring) == [6]


def test_submit_and_wait_timeout_without_anything_times_out(ring: Any) -> None:
    """With nothing to submit and nothing ready, submit_and_wait_timeout answers -ETIME and NULL."""
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_submit_and_wait_timeout(ring, slot, 1, timespec(SHORT_NS), NULL) == -ETIME
    assert slot[0] == NULL


def test_submit_and_wait_timeout_gives_the_first_cqe(ring: Any) -> None:
    """With something to submit it writes the first CQE to the slot, and times out no more."""
    queue_nops(ring, 1, 2)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_submit_and_wait_timeout(ring, slot, 2, timespec(DEADLINE_S * 10**9), NULL) >= 2
    assert slot[0].user_data == 1
    assert L.io_uring_sq_ready(ring) == 0


def test_get_events_runs_deferred_work(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """With DEFER_TASKRUN a completion stays in the kernel, invisible to peeks, until get_events."""
    ring = make_ring(8, L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN)
    submit_poll(ring, pipe[0])
    os.write(pipe[1], b"x")
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_peek_cqe(ring, slot) == -EAGAIN
    assert L.io_uring_get_events(ring) == 0
    assert L.io_uring_peek_cqe(ring, slot) == 0
    assert slot[0].res == select.POLLIN


def test_taskrun_flag_lets_a_peek_run_deferred_work(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """With TASKRUN_FLAG besides, a peek sees that work is waiting and enters the kernel for it."""
    flags = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN | L.IORING_SETUP_TASKRUN_FLAG
    ring = make_ring(8, flags)
    submit_poll(ring, pipe[0])
    os.write(pipe[1], b"x")
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_peek_cqe(ring, slot) == 0
    assert slot[0].res == select.POLLIN


def test_submit_and_get_events_does_both(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """submit_and_get_events submits what is queued, and brings deferred completions, without waiting."""
    ring = make_ring(8, L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN)
    submit_poll(ring, pipe[0])
    os.write(pipe[1], b"x")
    queue_nops(ring, 2)
    assert L.io_uring_submit_and_get_events(ring) == 1
    assert sorted(ready(ring)) == [1, 2]
    assert L.io_uring_submit_and_get_events(ring) == 0


# Registered wait arguments


def test_registered_wait_times_out(region_ring: tuple[Any, Any]) -> None:
    """submit_and_wait_reg takes its timeout from the entry of the region."""
    ring, reg = region_ring
    reg[1].ts.tv_nsec, reg[1].flags = SHORT_NS, L.IORING_REG_WAIT_TS
    start = time.monotonic_ns()
    assert L.io_uring_submit_and_wait_reg(ring, L.io_uring_cqe_ptr(), 1, 1) == -ETIME
    assert time.monotonic_ns() - start >= SHORT_NS


def test_registered_entry_is_read_at_each_wait(region_ring: tuple[Any, Any]) -> None:
    """What is written to an entry holds for the next wait with it."""
    ring, reg = region_ring
    slot = L.io_uring_cqe_ptr()
    reg[0].flags = L.IORING_REG_WAIT_TS
    assert L.io_uring_submit_and_wait_reg(ring, slot, 1, 0) == -ETIME
    reg[0].flags = 1 << 31
    assert L.io_uring_submit_and_wait_reg(ring, slot, 1, 0) == -EINVAL


def test_registered_wait_submits(region_ring: tuple[Any, Any]) -> None:
    """It returns how many it submitted, also when its minimum time ended it with fewer CQEs than asked for."""
    ring, reg = region_ring
    reg[0].ts.tv_sec, reg[0].min_wait_usec, reg[0].flags = 3600, 1000, L.IORING_REG_WAIT_TS
    queue_nops(ring, 4)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_submit_and_wait_reg(ring, slot, 2, 0) == 1
    assert slot[0].user_data == 4


@pytest.mark.parametrize("index", [-1, mmap.PAGESIZE // 64])
def test_index_outside_of_the_region_is_refused(region_ring: tuple[Any, Any], index: int) -> None:
    """An index that the region has no entry for is a bad address."""
    ring, reg = region_ring
    assert len(reg) == mmap.PAGESIZE // 64
    assert L.io_uring_submit_and_wait_reg(ring, L.io_uring_cqe_ptr(), 1, index) == -EFAULT


def test_register_wait_reg_is_gone(ring: Any) -> None:
    """The older way to register wait arguments always answers -EINVAL."""
    assert L.io_uring_register_wait_reg(ring, L.io_uring_reg_wait(2), 2) == -EINVAL


# Signals


def test_signal_interrupts_a_wait(ring: Any, handled: list[int]) -> None:
    """A wait answers -EINTR to a signal, and Python's handler runs when the call has returned."""
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    ret = L.io_uring_wait_cqe(ring, L.io_uring_cqe_ptr())
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert ret == -EINTR
    assert signal.SIGALRM in handled


def test_handler_may_raise_out_of_a_wait(ring: Any, handled: list[int]) -> None:
    """An exception of a handler, such as KeyboardInterrupt, ends the wait, and the ring can still be used."""

    def interrupt(_number: int, _frame: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the signal may come before the wait
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        L.io_uring_wait_cqe(ring, L.io_uring_cqe_ptr())
    queue_nops(ring, 3)
    assert reap(ring) == [(3, 0, 0)]
    assert handled == []


def test_interrupted_wait_that_submitted_returns_the_count(ring: Any, handled: list[int]) -> None:
    """submit_and_wait hides -EINTR behind the number that it submitted: look at cq_ready afterwards."""
    queue_nops(ring, 1)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    ret = L.io_uring_submit_and_wait(ring, 2)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert (ret, L.io_uring_cq_ready(ring)) == (1, 1)
    assert signal.SIGALRM in handled


def test_sigset_keeps_signals_off_a_wait(ring: Any, handled: list[int]) -> None:
    """A signal in the sigset does not end the wait; it is handled when the wait is over."""
    signal.setitimer(signal.ITIMER_REAL, SHORT_NS / 2e9)
    mask = L.sigset_t(signal.SIGALRM)
    assert L.io_uring_wait_cqes(ring, L.io_uring_cqe_ptr(), 1, timespec(2 * SHORT_NS), mask) == -ETIME
    assert handled == [signal.SIGALRM]


def wait_with(name: str, ring: Any, mask: Any) -> int:
    """Wait in one of the ways that take a sigset."""
    slot, ts = L.io_uring_cqe_ptr(), timespec(SHORT_NS)
    if name == "wait_cqes":
        return L.io_uring_wait_cqes(ring, slot, 1, ts, mask)
    if name == "submit_and_wait_timeout":
        return L.io_uring_submit_and_wait_timeout(ring, slot, 1, ts, mask)
    if name == "enter":
        return L.io_uring_enter(ring.ring_fd, 0, 1, L.IORING_ENTER_GETEVENTS, mask)
    require_min_timeout(ring)
    if name == "wait_cqes_min_timeout":
        return L.io_uring_wait_cqes_min_timeout(ring, slot, 1, ts, 1000, mask)
    return L.io_uring_submit_and_wait_min_timeout(ring, slot, 1, ts, 1000, mask)


@pytest.mark.parametrize(
    "name",
    [
        "wait_cqes",
        "wait_cqes_min_timeout",
        "submit_and_wait_timeout",
        "submit_and_wait_min_timeout",
        "enter",
    ],
)
def test_sigset_lets_a_blocked_signal_through(ring: Any, handled: list[int], name: str) -> None:
    """A sigset replaces the thread's mask for the wait only: a pending signal that is not in it gives -EINTR."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert L.io_uring_wait_cqe_timeout(ring, L.io_uring_cqe_ptr(), timespec(SHORT_NS)) == -ETIME
    assert handled == []
    assert wait_with(name, ring, L.sigset_t()) == -EINTR
    assert handled == [signal.SIGUSR1]
    assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_sigset_of_a_registered_entry(region_ring: tuple[Any, Any], handled: list[int]) -> None:
    """An entry of a wait region may name a sigset of its own."""
    ring, reg = region_ring
    mask = L.sigset_t()
    reg[0].ts.tv_nsec, reg[0].flags = SHORT_NS, L.IORING_REG_WAIT_TS
    reg[0].sigmask, reg[0].sigmask_sz = int(L.ffi.cast("uintptr_t", mask)), 8
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert L.io_uring_submit_and_wait_reg(ring, L.io_uring_cqe_ptr(), 1, 0) == -EINTR
    assert handled == [signal.SIGUSR1]
