"""Draining: a request that waits for all before it. And successes that post no completion."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from errno import ECANCELED, EINVAL, ENOENT, EOPNOTSUPP, ETIME
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, skip_without

from uring import liburing as L

DRAIN, SKIP = L.IOSQE_IO_DRAIN, L.IOSQE_CQE_SKIP_SUCCESS
LINK, HARDLINK = L.IOSQE_IO_LINK, L.IOSQE_IO_HARDLINK
LONG = L.__kernel_timespec(60, 0)
SHORT = L.__kernel_timespec(0, 1_000_000)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def skipping(ring: Any) -> Any:
    """Return a ring of a kernel that can skip completions."""
    if not ring.features & L.IORING_FEAT_CQE_SKIP:
        pytest.skip("this kernel lacks IORING_FEAT_CQE_SKIP")
    return ring


def tag(sqe: Any, user_data: int, flags: int = 0) -> None:
    """Set what a prepared SQE answers with, and or its flags in."""
    sqe.flags |= flags
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_nop(ring: Any, user_data: int, flags: int = 0) -> None:
    """Queue a NOP."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    tag(sqe, user_data, flags)


def queue_failing(ring: Any, user_data: int, flags: int = 0) -> None:
    """Queue what is accepted and fails with -ENOENT when it runs: the removal of a timeout that is not there."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout_remove(sqe, 12345, 0)
    tag(sqe, user_data, flags)


def queue_read(ring: Any, fd: int, buffer: Any, user_data: int, flags: int = 0) -> None:
    """Queue a read of a whole buffer."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, buffer, len(buffer), 0)
    tag(sqe, user_data, flags)


def in_order(ring: Any, count: int) -> list[tuple[int, int]]:
    """Reap that many completions, and no more, as (user_data, result)."""
    completions = [(user_data, res) for user_data, res, _flags in reap(ring, count)]
    assert is_empty(ring)
    return completions


# Draining


def test_drained_request_waits_for_all_before_it(ring: Any, pipe: tuple[int, int]) -> None:
    """A request with DRAIN does not start before every earlier one completed."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    queue_nop(ring, 2, DRAIN)
    assert L.io_uring_submit(ring) == 2
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert in_order(ring, 2) == [(1, 1), (2, 0)]


def test_request_behind_a_drained_one_waits_as_well(ring: Any, pipe: tuple[int, int]) -> None:
    """A request behind the one with DRAIN waits for what that one waits for, although it has no flag itself."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    queue_nop(ring, 2, DRAIN)
    queue_nop(ring, 3)
    assert L.io_uring_submit(ring) == 3
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    first, *others = in_order(ring, 3)
    assert first == (1, 1)
    # Kernels differ in whether the second, once it was started, is waited for.
    assert sorted(others) == [(2, 0), (3, 0)]


def test_drain_reaches_over_submits(ring: Any, pipe: tuple[int, int]) -> None:
    """DRAIN waits for requests of earlier submits too."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    assert L.io_uring_submit(ring) == 1
    queue_nop(ring, 2, DRAIN)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert in_order(ring, 2) == [(1, 1), (2, 0)]


def test_drain_with_nothing_in_flight_runs_at_once(ring: Any) -> None:
    """DRAIN costs nothing to wait for when no earlier request is in flight."""
    queue_nop(ring, 1, DRAIN)
    assert in_order(ring, 1) == [(1, 0)]


def test_drain_without_it_overtakes(ring: Any, pipe: tuple[int, int]) -> None:
    """Without DRAIN a later request completes while an earlier one is still in flight."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    queue_nop(ring, 2)
    assert in_order(ring, 1) == [(2, 0)]
    os.write(pipe[1], b"x")
    assert in_order(ring, 1) == [(1, 1)]


def test_every_drained_request_keeps_its_place(make_ring: Callable[..., Any]) -> None:
    """Requests in workers complete in order when each has DRAIN."""
    ring = make_ring(32)
    for number in range(32):
        queue_nop(ring, number, DRAIN | L.IOSQE_ASYNC)
    assert in_order(ring, 32) == [(number, 0) for number in range(32)]


def test_drain_waits_for_the_failed_as_well(ring: Any) -> None:
    """A failed request is a completed one: DRAIN behind it runs."""
    queue_failing(ring, 1)
    queue_nop(ring, 2, DRAIN)
    assert in_order(ring, 2) == [(1, -ENOENT), (2, 0)]


def test_drained_chain_starts_after_all_before_it(ring: Any, pipe: tuple[int, int]) -> None:
    """DRAIN on the head of a chain holds the chain back, and what follows the chain."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    queue_nop(ring, 2, DRAIN | LINK)
    queue_nop(ring, 3)
    queue_nop(ring, 4)
    assert L.io_uring_submit(ring) == 4
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert sorted(in_order(ring, 4)) == [(1, 1), (2, 0), (3, 0), (4, 0)]


def test_drain_inside_a_chain_holds_the_whole_chain(ring: Any, pipe: tuple[int, int]) -> None:
    """DRAIN on a later member of a chain makes its head wait, too."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    queue_nop(ring, 2, LINK)
    queue_nop(ring, 3, DRAIN)
    assert L.io_uring_submit(ring) == 3
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert in_order(ring, 3) == [(1, 1), (2, 0), (3, 0)]


def test_drain_waits_for_a_multishot_to_end(ring: Any, pipe: tuple[int, int]) -> None:
    """A multishot request counts as one: DRAIN waits for its last completion, not for its first."""
    sqe = get_sqe(ring)
    L.io_uring_prep_poll_multishot(sqe, pipe[0], select.POLLIN)
    tag(sqe, 1)
    queue_nop(ring, 2, DRAIN)
    os.write(pipe[1], b"x")
    assert reap(ring) == [(1, select.POLLIN, L.IORING_CQE_F_MORE)]
    assert is_empty(ring)
    # A cancel request would wait behind the drained one.
    ret = L.io_uring_register_sync_cancel(ring, _cancel_user_data(1))
    skip_without("IORING_REGISTER_SYNC_CANCEL", ret, EINVAL)
    assert ret == 0
    assert in_order(ring, 2) == [(1, -ECANCELED), (2, 0)]


def _cancel_user_data(user_data: int) -> Any:
    cancel = L.io_uring_sync_cancel_reg(addr=user_data)
    cancel.timeout.tv_sec = cancel.timeout.tv_nsec = -1
    return cancel


# Successes without a completion


def test_skipped_success_posts_nothing(skipping: Any) -> None:
    """A request with CQE_SKIP_SUCCESS that succeeds posts no completion; the others do."""
    queue_nop(skipping, 1, SKIP)
    queue_nop(skipping, 2)
    queue_nop(skipping, 3, SKIP)
    assert in_order(skipping, 1) == [(2, 0)]


def test_skipped_request_does_its_work(skipping: Any, tmp_path: Path) -> None:
    """A skipped write has written when the request that is linked to it completes."""
    text = L.ffi.new("char[]", b"silent")
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        sqe = get_sqe(skipping)
        L.io_uring_prep_write(sqe, file.fileno(), text, 6, 0)
        tag(sqe, 1, SKIP | LINK)
        queue_nop(skipping, 2)
        assert in_order(skipping, 1) == [(2, 0)]
        assert path.read_bytes() == b"silent"


def test_skipped_failure_posts(skipping: Any) -> None:
    """A request with CQE_SKIP_SUCCESS that fails posts its completion."""
    queue_failing(skipping, 1, SKIP)
    assert in_order(skipping, 1) == [(1, -ENOENT)]


def test_skipped_short_read_posts(skipping: Any, tmp_path: Path) -> None:
    """A read with CQE_SKIP_SUCCESS that gets less than it asked for counts as failed and posts."""
    path = tmp_path / "file"
    path.write_bytes(b"four")
    buffer = L.ffi.new("char[]", 10)
    with path.open("rb") as file:
        queue_read(skipping, file.fileno(), buffer, 1, SKIP)
        assert in_order(skipping, 1) == [(1, 4)]


def test_skipped_chain_posts_its_last(skipping: Any) -> None:
    """A chain whose members but the last are skipped posts the last one's completion alone."""
    for number in range(5):
        queue_nop(skipping, number, SKIP | LINK if number < 4 else 0)
    assert in_order(skipping, 1) == [(4, 0)]


@pytest.mark.parametrize("failing", [0, 2, 3])
def test_failing_skipped_member_silences_its_chain(skipping: Any, failing: int) -> None:
    """When a skipped member fails, its failure is the only completion of the chain."""
    for number in range(5):
        queue = queue_failing if number == failing else queue_nop
        queue(skipping, number, SKIP | LINK if number < 4 else 0)
    assert in_order(skipping, 1) == [(failing, -ENOENT)]


def test_failing_unskipped_member_lets_the_cancelled_post(skipping: Any) -> None:
    """When a member without the flag fails, the cancelled ones behind it post, also those with the flag."""
    queue_nop(skipping, 1, SKIP | LINK)
    queue_failing(skipping, 2, LINK)
    queue_nop(skipping, 3, SKIP | LINK)
    queue_nop(skipping, 4)
    assert sorted(in_order(skipping, 3)) == [(2, -ENOENT), (3, -ECANCELED), (4, -ECANCELED)]


def test_failing_skipped_hardlink_silences_nothing(skipping: Any) -> None:
    """A skipped member that fails in a HARDLINK chain posts, and the last member runs and posts."""
    queue_nop(skipping, 1, SKIP | HARDLINK)
    queue_failing(skipping, 2, SKIP | HARDLINK)
    queue_nop(skipping, 3, SKIP | HARDLINK)
    queue_nop(skipping, 4)
    assert in_order(skipping, 2) == [(2, -ENOENT), (4, 0)]


def test_skipped_link_timeout_that_does_not_fire_posts_nothing(skipping: Any) -> None:
    """A skipped link timeout whose request was in time posts no -ECANCELED."""
    queue_nop(skipping, 1, LINK)
    sqe = get_sqe(skipping)
    L.io_uring_prep_link_timeout(sqe, LONG, 0)
    tag(sqe, 2, SKIP)
    assert in_order(skipping, 1) == [(1, 0)]


def test_skipped_timeout_that_expires_posts(skipping: Any) -> None:
    """A skipped timeout posts its -ETIME, which is a failure unless ETIME_SUCCESS says otherwise."""
    sqe = get_sqe(skipping)
    L.io_uring_prep_timeout(sqe, SHORT, 0, 0)
    tag(sqe, 1, SKIP)
    assert in_order(skipping, 1) == [(1, -ETIME)]


def test_drain_after_a_skip_is_refused(skipping: Any) -> None:
    """A ring that has seen CQE_SKIP_SUCCESS refuses every later DRAIN with -EOPNOTSUPP."""
    queue_nop(skipping, 1, DRAIN)
    assert in_order(skipping, 1) == [(1, 0)]
    queue_nop(skipping, 2, SKIP)
    assert L.io_uring_submit(skipping) == 1
    for number in (3, 4):
        queue_nop(skipping, number, DRAIN)
        assert in_order(skipping, 1) == [(number, -EOPNOTSUPP)]
    queue_nop(skipping, 5)
    assert in_order(skipping, 1) == [(5, 0)]


def test_drain_and_skip_in_one_request_are_refused(skipping: Any) -> None:
    """A request with both DRAIN and CQE_SKIP_SUCCESS is refused with -EOPNOTSUPP."""
    queue_nop(skipping, 1, DRAIN | SKIP)
    assert in_order(skipping, 1) == [(1, -EOPNOTSUPP)]
