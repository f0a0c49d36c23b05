"""Timeout requests: relative and absolute, by count, repeated, removed, updated, on other clocks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from errno import EALREADY, ECANCELED, EFAULT, EINVAL, ENOENT, ETIME
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, skip_without

from uring import liburing as L

MS = 1_000_000
LONG = L.__kernel_timespec(60, 0)
SHORT = L.__kernel_timespec(0, 5 * MS)
ETIME_SUCCESS = L.IORING_TIMEOUT_ETIME_SUCCESS
MULTISHOT = L.IORING_TIMEOUT_MULTISHOT
MORE = L.IORING_CQE_F_MORE


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def timespec(nanoseconds: int) -> Any:
    """Make the timespec of a number of nanoseconds."""
    return L.__kernel_timespec(*divmod(nanoseconds, 10**9))


def queue_timeout(ring: Any, ts: Any, user_data: int, *, count: int = 0, flags: int = 0, sqe_flags: int = 0) -> None:
    """Queue a timeout; `ts` has to live until the submit."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout(sqe, ts, count, flags)
    L.io_uring_sqe_set_flags(sqe, sqe_flags)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_remove(ring: Any, target: int, user_data: int) -> None:
    """Queue the removal of a timeout."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout_remove(sqe, target, 0)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_update(ring: Any, target: int, ts: Any, user_data: int, flags: int = 0) -> None:
    """Queue a new expiry for a timeout."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout_update(sqe, ts, target, flags)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_nop(ring: Any, user_data: int, flags: int = 0) -> None:
    """Queue a NOP."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_flags(sqe, flags)
    L.io_uring_sqe_set_data64(sqe, user_data)


def results(ring: Any, count: int) -> dict[int, int]:
    """Reap that many completions, and no more, as user_data to result."""
    completions = reap(ring, count)
    assert is_empty(ring)
    return {user_data: res for user_data, res, _flags in completions}


# One timeout


def test_relative_timeout_expires(ring: Any) -> None:
    """A timeout completes with -ETIME, not before its time."""
    started = time.monotonic_ns()
    queue_timeout(ring, SHORT, 1)
    assert reap(ring) == [(1, -ETIME, 0)]
    assert time.monotonic_ns() - started >= 5 * MS


def test_timespec_may_go_after_the_submit(ring: Any) -> None:
    """The kernel copies the timespec at the submit: what is written there afterwards changes nothing."""
    if not ring.features & L.IORING_FEAT_SUBMIT_STABLE:
        pytest.skip("this kernel lacks IORING_FEAT_SUBMIT_STABLE")
    ts = timespec(5 * MS)
    queue_timeout(ring, ts, 1)
    assert L.io_uring_submit(ring) == 1
    ts.tv_sec = 3600
    assert reap(ring) == [(1, -ETIME, 0)]


def test_shorter_timeout_overtakes(ring: Any) -> None:
    """A timeout completes before a longer one that was queued first."""
    queue_timeout(ring, LONG, 1)
    queue_timeout(ring, SHORT, 2)
    assert results(ring, 1) == {2: -ETIME}
    queue_remove(ring, 1, 3)
    assert results(ring, 2) == {1: -ECANCELED, 3: 0}


def test_zero_expires_at_once(ring: Any) -> None:
    """A timeout of no time at all expires."""
    nothing = timespec(0)
    queue_timeout(ring, nothing, 1)
    assert reap(ring) == [(1, -ETIME, 0)]


def test_negative_time_is_refused(ring: Any) -> None:
    """A timespec before zero is refused with -EINVAL."""
    negative = L.__kernel_timespec(-1, 0)
    queue_timeout(ring, negative, 1)
    [(_user_data, res, _flags)] = reap(ring)
    skip_without("the check for negative timeouts", res, ETIME)
    assert res == -EINVAL


def test_null_timespec_is_refused(ring: Any) -> None:
    """A timeout without a timespec is refused with -EFAULT."""
    queue_timeout(ring, L.ffi.NULL, 1)
    assert reap(ring) == [(1, -EFAULT, 0)]


def test_unknown_flag_is_refused(ring: Any) -> None:
    """A timeout flag that does not exist is refused with -EINVAL."""
    queue_timeout(ring, LONG, 1, flags=1 << 30)
    assert reap(ring) == [(1, -EINVAL, 0)]


# Clocks


@pytest.mark.parametrize(
    ("clock", "flag"),
    [
        pytest.param(time.CLOCK_MONOTONIC, 0, id="monotonic"),
        pytest.param(time.CLOCK_BOOTTIME, L.IORING_TIMEOUT_BOOTTIME, id="boottime"),
        pytest.param(time.CLOCK_REALTIME, L.IORING_TIMEOUT_REALTIME, id="realtime"),
    ],
)
def test_absolute_timeout_on_a_clock(ring: Any, clock: int, flag: int) -> None:
    """An absolute timeout expires when its clock says that time, and not before."""
    when = time.clock_gettime_ns(clock) + 5 * MS
    expiry = timespec(when)
    queue_timeout(ring, expiry, 1, flags=L.IORING_TIMEOUT_ABS | flag)
    [(user_data, res, _flags)] = reap(ring)
    if flag:
        skip_without("IORING_TIMEOUT_BOOTTIME and _REALTIME", res, EINVAL)
    assert (user_data, res) == (1, -ETIME)
    assert time.clock_gettime_ns(clock) >= when


def test_absolute_time_in_the_past_expires(ring: Any) -> None:
    """An absolute time that has passed expires at once."""
    expiry = timespec(1)
    queue_timeout(ring, expiry, 1, flags=L.IORING_TIMEOUT_ABS)
    assert reap(ring) == [(1, -ETIME, 0)]


def test_two_clocks_are_refused(ring: Any) -> None:
    """A timeout on two clocks at once is refused with -EINVAL."""
    queue_timeout(ring, LONG, 1, flags=L.IORING_TIMEOUT_BOOTTIME | L.IORING_TIMEOUT_REALTIME)
    assert reap(ring) == [(1, -EINVAL, 0)]


def test_registered_clock_times_the_waits(ring: Any) -> None:
    """A wait on a ring with another clock registered still ends with -ETIME after its time; a bad clock is refused."""
    ret = L.io_uring_register_clock(ring, L.io_uring_clock_register(clockid=time.CLOCK_BOOTTIME))
    skip_without("IORING_REGISTER_CLOCK", ret, EINVAL)
    assert ret == 0
    started = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert L.io_uring_wait_cqe_timeout(ring, L.io_uring_cqe_ptr(), SHORT) == -ETIME
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - started >= 5 * MS
    wrong = L.io_uring_clock_register(clockid=time.CLOCK_REALTIME)
    assert L.io_uring_register_clock(ring, wrong) == -EINVAL


# By count


def test_count_completes_before_the_time(ring: Any) -> None:
    """A timeout with a count completes with 0 once that many other requests completed."""
    queue_timeout(ring, LONG, 1, count=2)
    queue_nop(ring, 2)
    assert L.io_uring_submit(ring) == 2
    assert results(ring, 1) == {2: 0}
    queue_nop(ring, 3)
    assert reap(ring, 2) == [(3, 0, 0), (1, 0, 0)]


def test_count_that_is_not_reached_expires(ring: Any) -> None:
    """A timeout whose count is not reached in time completes with -ETIME."""
    queue_timeout(ring, SHORT, 1, count=2)
    queue_nop(ring, 2)
    assert results(ring, 2) == {1: -ETIME, 2: 0}


def test_counts_are_independent(ring: Any) -> None:
    """Of two timeouts with counts the smaller one completes first, whichever was queued first."""
    queue_timeout(ring, LONG, 1, count=3)
    queue_timeout(ring, LONG, 2, count=1)
    queue_nop(ring, 3)
    assert results(ring, 2) == {3: 0, 2: 0}
    queue_nop(ring, 4)
    queue_nop(ring, 5)
    completions = [user_data for user_data, _res, _flags in reap(ring, 3)]
    assert set(completions) == {1, 4, 5}


# Success or failure


@pytest.mark.parametrize(("flags", "second"), [(0, -ECANCELED), (ETIME_SUCCESS, 0)], ids=["plain", "ETIME_SUCCESS"])
def test_expiry_in_a_chain(ring: Any, flags: int, second: int) -> None:
    """An expired timeout breaks its chain, unless ETIME_SUCCESS counts the -ETIME as a success."""
    queue_timeout(ring, SHORT, 1, flags=flags, sqe_flags=L.IOSQE_IO_LINK)
    queue_nop(ring, 2)
    completed = results(ring, 2)
    if flags:
        skip_without("IORING_TIMEOUT_ETIME_SUCCESS", completed[1], EINVAL)
    assert completed == {1: -ETIME, 2: second}


def test_count_in_a_chain_is_a_success(ring: Any) -> None:
    """A timeout that its count ended lets its chain go on."""
    queue_timeout(ring, LONG, 1, count=1, sqe_flags=L.IOSQE_IO_LINK)
    queue_nop(ring, 2)
    queue_nop(ring, 3)
    assert results(ring, 3) == {1: 0, 2: 0, 3: 0}


# Removing and updating


def test_remove_cancels(ring: Any) -> None:
    """Removing a timeout completes it with -ECANCELED, and the removal with 0."""
    queue_timeout(ring, LONG, 1)
    queue_remove(ring, 1, 2)
    assert results(ring, 2) == {1: -ECANCELED, 2: 0}


def test_remove_of_an_unknown_timeout(ring: Any) -> None:
    """Removing a timeout that there is not completes with -ENOENT."""
    queue_timeout(ring, LONG, 1)
    queue_remove(ring, 99, 2)
    assert results(ring, 1) == {2: -ENOENT}
    queue_remove(ring, 1, 3)
    assert results(ring, 2) == {1: -ECANCELED, 3: 0}


def test_remove_of_an_expired_timeout(ring: Any) -> None:
    """A timeout that has expired cannot be removed: -ENOENT."""
    queue_timeout(ring, SHORT, 1)
    assert results(ring, 1) == {1: -ETIME}
    queue_remove(ring, 1, 2)
    assert results(ring, 1) == {2: -ENOENT}


def test_remove_takes_one_of_several(ring: Any) -> None:
    """Of several timeouts with the same user_data a removal takes one."""
    queue_timeout(ring, LONG, 1)
    queue_timeout(ring, LONG, 1)
    queue_remove(ring, 1, 2)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]
    assert is_empty(ring)
    queue_remove(ring, 1, 2)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]


def test_update_brings_the_expiry_nearer(ring: Any) -> None:
    """Updating a timeout to a shorter time lets it expire then; the update completes with 0."""
    queue_timeout(ring, LONG, 1)
    queue_update(ring, 1, SHORT, 2)
    assert results(ring, 2) == {1: -ETIME, 2: 0}


def test_update_puts_the_expiry_off(ring: Any) -> None:
    """Updating a timeout to a longer time keeps it from expiring at its first time."""
    for attempt in range(4):
        first = timespec(20 * MS * 4**attempt)
        queue_timeout(ring, first, 1)
        queue_update(ring, 1, LONG, 2)
        [(user_data, res, _flags)] = reap(ring)
        if (user_data, res) == (2, 0):
            break
        # On a busy machine a short time runs out before the update comes.
        reap(ring)
    else:
        pytest.fail("every timeout ran out before its update")
    queue_timeout(ring, first, 3)
    assert results(ring, 1) == {3: -ETIME}
    queue_remove(ring, 1, 4)
    assert results(ring, 2) == {1: -ECANCELED, 4: 0}


def test_update_to_an_absolute_time(ring: Any) -> None:
    """An update may give an absolute time to a timeout that was relative."""
    when = time.monotonic_ns() + 5 * MS
    expiry = timespec(when)
    queue_timeout(ring, LONG, 1)
    queue_update(ring, 1, expiry, 2, L.IORING_TIMEOUT_ABS)
    assert results(ring, 2) == {1: -ETIME, 2: 0}
    assert time.monotonic_ns() >= when


def test_update_of_an_unknown_timeout(ring: Any) -> None:
    """Updating a timeout that there is not completes with -ENOENT."""
    queue_update(ring, 99, SHORT, 1)
    assert results(ring, 1) == {1: -ENOENT}


def test_update_of_a_link_timeout(ring: Any, pipe: tuple[int, int]) -> None:
    """A link timeout is updated with LINK_TIMEOUT_UPDATE, and not found without."""
    buffer = L.ffi.new("char[]", 1)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, pipe[0], buffer, 1, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_IO_LINK)
    L.io_uring_sqe_set_data64(sqe, 1)
    sqe = get_sqe(ring)
    L.io_uring_prep_link_timeout(sqe, LONG, 0)
    L.io_uring_sqe_set_data64(sqe, 2)
    queue_update(ring, 2, SHORT, 3)
    assert results(ring, 1) == {3: -ENOENT}
    queue_update(ring, 99, SHORT, 3, L.IORING_LINK_TIMEOUT_UPDATE)
    [(_user_data, ret, _flags)] = reap(ring)
    skip_without("IORING_LINK_TIMEOUT_UPDATE", ret, EINVAL)
    assert ret == -ENOENT
    queue_update(ring, 2, SHORT, 4, L.IORING_LINK_TIMEOUT_UPDATE)
    completed = results(ring, 3)
    assert completed == {1: -ECANCELED, 2: -ETIME, 4: 0}


# Multishot


def test_multishot_repeats_count_times(ring: Any) -> None:
    """A multishot timeout completes with -ETIME at each period, with F_MORE on all but the last of its count."""
    started = time.monotonic_ns()
    queue_timeout(ring, SHORT, 1, count=3, flags=MULTISHOT)
    first = reap(ring)
    skip_without("IORING_TIMEOUT_MULTISHOT", first[0][1], EINVAL)
    assert first + reap(ring, 2) == [(1, -ETIME, MORE), (1, -ETIME, MORE), (1, -ETIME, 0)]
    assert is_empty(ring)
    assert time.monotonic_ns() - started >= 15 * MS


def test_multishot_without_a_count_goes_on_until_it_is_removed(ring: Any) -> None:
    """A multishot timeout without a count repeats until a removal ends it with -ECANCELED and no F_MORE."""
    queue_timeout(ring, SHORT, 1, flags=MULTISHOT)
    first = reap(ring)
    skip_without("IORING_TIMEOUT_MULTISHOT", first[0][1], EINVAL)
    assert first + reap(ring, 9) == [(1, -ETIME, MORE)] * 10
    repeats, ret = remove_multishot(ring, 1)
    assert ret == 0
    assert repeats[-1] == (1, -ECANCELED, 0)
    assert set(repeats[:-1]) <= {(1, -ETIME, MORE)}
    assert is_empty(ring)


def test_multishot_survives_a_full_completion_queue(make_ring: Callable[..., Any]) -> None:
    """Expiries that find no room are kept, like any completion; the multishot may end, and says so."""
    ring = make_ring(2, L.IORING_SETUP_CQSIZE, cq_entries=2)
    period = timespec(1 * MS)
    queue_timeout(ring, period, 1, count=8, flags=MULTISHOT)
    [first] = reap(ring)
    skip_without("IORING_TIMEOUT_MULTISHOT", first[1], EINVAL)
    mark = timespec(20 * MS)
    other = make_ring(1)
    queue_timeout(other, mark, 1)
    reap(other)
    completions = [first]
    while completions[-1][2] & MORE:
        completions += reap(ring)
    assert {res for _user_data, res, _flags in completions} == {-ETIME}
    assert 2 < len(completions) <= 8
    assert is_empty(ring)


def remove_multishot(ring: Any, target: int) -> tuple[list[tuple[int, int, int]], int]:
    """Remove a multishot timeout; return its completions to the last, and the removal's result."""
    # A removal does not find the timeout in the moment in which it expires.
    ret, repeats = -ENOENT, []
    while ret in (-ENOENT, -EALREADY):
        queue_remove(ring, target, 99)
        while (completion := reap(ring)[0])[0] != 99:
            repeats.append(completion)
        ret = completion[1]
    while not repeats or repeats[-1][2] & MORE:
        repeats += reap(ring)
    return repeats, ret


def test_multishot_with_an_absolute_time_is_refused(ring: Any) -> None:
    """A multishot timeout cannot have an absolute time: -EINVAL."""
    queue_timeout(ring, LONG, 1, flags=MULTISHOT | L.IORING_TIMEOUT_ABS)
    assert results(ring, 1) == {1: -EINVAL}
