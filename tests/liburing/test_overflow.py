"""A completion queue with too little room: the kernel keeps what does not fit, and loses nothing."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from errno import EAGAIN, EBADF
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap

from uring import liburing as L

CQ_ENTRIES = 8
RING_FLAVOURS = [
    pytest.param(0, id="plain"),
    pytest.param(L.IORING_SETUP_COOP_TASKRUN | L.IORING_SETUP_TASKRUN_FLAG, id="COOP_TASKRUN"),
    pytest.param(L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN, id="DEFER_TASKRUN"),
]


@pytest.fixture(params=RING_FLAVOURS)
def small(request: pytest.FixtureRequest, make_ring: Callable[..., Any]) -> Any:
    """Make a ring of 4 SQEs whose completion queue has 8 entries, in each way to run task work."""
    ring = make_ring(4, request.param | L.IORING_SETUP_CQSIZE, cq_entries=CQ_ENTRIES)
    if not ring.features & L.IORING_FEAT_NODROP:
        pytest.skip("this kernel lacks IORING_FEAT_NODROP")
    return ring


def submit_nops(ring: Any, numbers: range) -> None:
    """Submit a NOP for each number, as many at a time as the queue has room for, and reap none."""
    for number in numbers:
        sqe = L.io_uring_get_sqe(ring)
        if sqe == L.ffi.NULL:
            assert L.io_uring_submit(ring) > 0
            sqe = get_sqe(ring)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, number)
    assert L.io_uring_submit(ring) > 0


def take_ready(ring: Any) -> list[int]:
    """Return the user_data of the CQEs that are in the queue, and mark them seen, without entering the kernel."""
    taken = [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)]
    L.io_uring_cq_advance(ring, len(taken))
    return taken


def peek_all(ring: Any) -> Iterator[int]:
    """Yield the user_data of each CQE that a peek gives, and mark it seen."""
    slot = L.io_uring_cqe_ptr()
    while L.io_uring_peek_cqe(ring, slot) == 0:
        yield slot[0].user_data
        L.io_uring_cqe_seen(ring, slot[0])


def test_queue_that_fits_does_not_overflow(small: Any) -> None:
    """As many completions as the queue has entries cause no overflow."""
    submit_nops(small, range(CQ_ENTRIES))
    assert not L.io_uring_cq_has_overflow(small)
    assert L.io_uring_cq_ready(small) == CQ_ENTRIES
    assert list(peek_all(small)) == list(range(CQ_ENTRIES))


def test_one_too_many_sets_the_overflow_flag(small: Any) -> None:
    """One completion more than there are entries shows as an overflow, until the kernel could flush it."""
    submit_nops(small, range(CQ_ENTRIES + 1))
    assert L.io_uring_cq_has_overflow(small)
    assert small.sq.kflags[0] & L.IORING_SQ_CQ_OVERFLOW
    assert L.io_uring_cq_ready(small) == CQ_ENTRIES
    assert list(peek_all(small)) == list(range(CQ_ENTRIES + 1))
    assert not L.io_uring_cq_has_overflow(small)


def test_nothing_is_counted_as_dropped(small: Any) -> None:
    """A completion that is kept for later does not count as lost."""
    submit_nops(small, range(3 * CQ_ENTRIES))
    assert small.cq.koverflow[0] == 0
    assert len(list(peek_all(small))) == 3 * CQ_ENTRIES
    assert small.cq.koverflow[0] == 0


def test_peek_flushes(small: Any) -> None:
    """Peeking alone brings all completions, each once and in order, however few entries there are."""
    submit_nops(small, range(20))
    assert list(peek_all(small)) == list(range(20))
    assert is_empty(small)


def test_batch_peek_flushes_an_empty_queue(small: Any) -> None:
    """A batch peek returns what is in the queue first, and asks the kernel for the rest when it is empty."""
    submit_nops(small, range(20))
    slots = L.io_uring_cqe_ptr(20)
    rounds = []
    while count := L.io_uring_peek_batch_cqe(small, slots, 20):
        rounds.append([slots[i].user_data for i in range(count)])
        L.io_uring_cq_advance(small, count)
    assert rounds == [list(range(8)), list(range(8, 16)), list(range(16, 20))]


def test_iteration_stops_until_the_events_are_got(small: Any) -> None:
    """Iterating never enters the kernel: it stops at the queue's size until get_events brings more."""
    submit_nops(small, range(20))
    assert take_ready(small) == list(range(8))
    assert take_ready(small) == []
    assert L.io_uring_cq_has_overflow(small)
    assert L.io_uring_get_events(small) >= 0
    assert take_ready(small) == list(range(8, 16))
    assert L.io_uring_get_events(small) >= 0
    assert take_ready(small) == list(range(16, 20))
    assert not L.io_uring_cq_has_overflow(small)


def test_wait_flushes(small: Any) -> None:
    """Waiting brings what was kept, too."""
    submit_nops(small, range(20))
    assert [user_data for user_data, _res, _flags in reap(small, 20)] == list(range(20))
    assert is_empty(small)


def test_results_and_flags_are_kept(small: Any) -> None:
    """A completion that overflowed has the result that it had."""
    for number in range(CQ_ENTRIES + 4):
        sqe = get_sqe(small)
        L.io_uring_prep_read(sqe, -1, L.ffi.NULL, 0, 0)
        L.io_uring_sqe_set_data64(sqe, number)
        L.io_uring_submit(small)
    assert {res for _user_data, res, _flags in reap(small, CQ_ENTRIES + 4)} == {-EBADF}


def test_thousands_come_once_each(small: Any) -> None:
    """Thousands of completions through eight entries each come once, in order, when reaped at the end."""
    submit_nops(small, range(5000))
    assert list(peek_all(small)) == list(range(5000))
    assert is_empty(small)


def test_reaping_while_submitting_loses_nothing(small: Any) -> None:
    """Reaping less than is submitted at every step, and the rest at the end, gives each completion once."""
    seen = []
    slot = L.io_uring_cqe_ptr()
    for start in range(0, 3000, 3):
        submit_nops(small, range(start, start + 3))
        if L.io_uring_peek_cqe(small, slot) == 0:
            seen.append(slot[0].user_data)
            L.io_uring_cqe_seen(small, slot[0])
    assert len(seen) == 1000
    seen += peek_all(small)
    assert sorted(seen) == list(range(3000))


def test_many_polls_that_fire_at_once_all_complete(small: Any) -> None:
    """Requests in flight that complete together, more than the queue has room for, all arrive."""
    reader, writer = os.pipe()
    try:
        for number in range(50):
            sqe = get_sqe(small)
            L.io_uring_prep_poll_add(sqe, reader, select.POLLIN)
            L.io_uring_sqe_set_data64(sqe, number)
            assert L.io_uring_submit(small) == 1
        assert is_empty(small)
        os.write(writer, b"x")
        assert sorted(user_data for user_data, _res, _flags in reap(small, 50)) == list(range(50))
        assert is_empty(small)
    finally:
        os.close(reader)
        os.close(writer)


def test_full_queue_still_takes_submits(small: Any) -> None:
    """A submit while completions are kept back succeeds: nothing has to be reaped first."""
    submit_nops(small, range(30))
    sqe = get_sqe(small)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 30)
    assert L.io_uring_submit(small) == 1
    assert list(peek_all(small)) == list(range(31))


def test_peek_after_the_last_says_eagain(small: Any) -> None:
    """When everything was flushed a peek says -EAGAIN again."""
    submit_nops(small, range(9))
    assert len(list(peek_all(small))) == 9
    assert L.io_uring_peek_cqe(small, L.io_uring_cqe_ptr()) == -EAGAIN
