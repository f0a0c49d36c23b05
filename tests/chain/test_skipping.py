"""Skipped successes on the real kernel: whatever becomes of a chain, each link is settled."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest
from chains import LONG, NOWHERE, SHORT, Pipe, assert_empty, kinds

import uring
from uring.operation import State


@pytest.mark.parametrize("hard", [False, True])
def test_skipped_successes_are_not_handed_out(ring: uring.Ring, small: int, hard: bool) -> None:
    """Only the last link comes from wait, yet the result of each is known, and none stays in flight."""
    with ring.chain(hard=hard):
        first = ring.read(small, bytearray(4), offset=0, skip_success=True)
        second = ring.nop(skip_success=True)
        last = ring.nop()
    assert ring.statistics().in_flight == 1
    assert ring.wait(1, LONG) == [last]
    assert ring.peek() == []
    assert (first.result(), second.result()) == (4, None)
    assert first.state is State.COMPLETED
    with pytest.raises(RuntimeError, match="has no completion"):
        _ = first.completion
    with pytest.raises(ValueError, match="only 0 operations"):
        ring.wait(1)
    assert_empty(ring)


def test_the_result_of_a_skipped_link_can_be_waited_for(ring: uring.Ring, pipe: Pipe) -> None:
    """Its success is known when the last link completes; before that a wait for it times out."""
    with ring.chain():
        first = ring.nop(skip_success=True)
        last = ring.read(pipe.read, bytearray(1))
    with pytest.raises(TimeoutError):
        first.result(timeout=SHORT)
    pipe.fill()
    assert first.result(LONG) is None
    assert last.result() == 1
    assert_empty(ring)


def test_a_callback_of_a_skipped_success_runs(ring: uring.Ring) -> None:
    """What the kernel does not tell is told all the same to who asked for it."""
    seen: list[Any] = []
    with ring.chain():
        first = ring.nop(skip_success=True)
        first.add_done_callback(seen.append)
        last = ring.nop()
    assert ring.wait(1, LONG) == [last]
    assert seen == [first]


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("failing", range(3))
def test_a_failing_skipped_link_settles_those_behind_it(
    ring: uring.Ring, directory: int, failing: int, timed: bool
) -> None:
    """Its CQE suppresses all that follow; they end as broken, and no slot or timeout stays behind."""
    with ring.chain(timeout=LONG if timed else None) as chain:
        for number in range(4):
            if number == failing:
                ring.read(directory, bytearray(1), skip_success=True)
            else:
                ring.nop(skip_success=number < 3)
    links = list(chain)
    assert kinds(links) == [None] * failing + [IsADirectoryError] + [uring.ChainBroken] * (3 - failing)
    assert all(link.exception().cause is links[failing] for link in links[failing + 1 :])  # type: ignore[union-attr]
    ring._finish_all()
    assert_empty(ring)


def test_a_short_skipped_link_settles_those_behind_it(ring: uring.Ring, small: int) -> None:
    """A short transfer posts in spite of skip_success, and is handed out as the cause."""
    with ring.chain():
        short = ring.read(small, bytearray(100), offset=4, skip_success=True)
        last = ring.nop()
    assert set(ring.wait(1, LONG)) == {short, last}
    assert short.result() == 6
    assert kinds([last]) == [uring.ChainBroken]
    assert_empty(ring)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("skipped", [{0}, {1}, {2}, {0, 1, 2}])
def test_every_malformed_chain_with_skipped_links_ends(
    ring: uring.Ring, bad: int, skipped: set[int], timed: bool, hard: bool
) -> None:
    """Whichever link is malformed and whichever are skipped: all have failed in the end, nothing stays in flight."""
    with ring.chain(hard=hard, timeout=LONG if timed else None) as chain:
        for number in range(4):
            ring.nop(skip_success=number in skipped, personality=NOWHERE if number == bad else 0)
    assert None not in kinds(chain)
    ring._finish_all()
    assert_empty(ring)


@pytest.mark.parametrize("timed", [False, True])
def test_cancelling_a_skipped_head_ends_its_chain(ring: uring.Ring, pipe: Pipe, timed: bool) -> None:
    """A skipped link that is cancelled posts, and those behind it are settled."""
    with ring.chain(timeout=LONG if timed else None):
        head = ring.read(pipe.read, bytearray(1), skip_success=True)
        last = ring.nop()
    ring.submit()
    head.cancel().result(LONG)
    assert kinds([head, last]) == [uring.OperationCancelled, uring.ChainBroken]
    ring._finish_all()
    assert_empty(ring)


def test_a_skipped_link_that_times_out(ring: uring.Ring, pipe: Pipe) -> None:
    """It raises TimeoutError although its success would have been silent."""
    with ring.chain():
        late = ring.read(pipe.read, bytearray(1), skip_success=True).with_timeout(SHORT)
        last = ring.nop()
    assert kinds([late, last]) == [TimeoutError, uring.ChainBroken]
    ring._finish_all()
    assert_empty(ring)


def test_a_failing_skipped_head_does_not_stop_a_hard_chain(ring: uring.Ring, directory: int) -> None:
    """In a hard chain the rest runs, and reports."""
    with ring.chain(hard=True):
        head = ring.read(directory, bytearray(1), skip_success=True)
        second = ring.nop(skip_success=True)
        last = ring.nop()
    assert kinds([head, second, last]) == [IsADirectoryError, None, None]
    assert_empty(ring)


def test_a_drain_after_a_skipped_success_says_why_it_fails(ring: uring.Ring) -> None:
    """The kernel drains no more after the first skipped success of a ring: the error names that, in chains too."""
    assert ring.nop(drain=True).result(LONG) is None
    with ring.chain():
        ring.nop(skip_success=True)
        ring.nop()
    drained = ring.nop(drain=True)
    with ring.chain(drain=True):
        chained, behind = ring.nop(), ring.nop()
    ring.wait(4, LONG)
    for operation in (drained, chained):
        with pytest.raises(OSError, match="if it was to drain: that ends with a ring's first skip_success") as caught:
            operation.result()
        assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(uring.ChainBroken, match="first skip_success") as broken:
        behind.result()
    assert broken.value.cause is chained


def test_what_is_not_supported_where_nothing_was_skipped_is_not_blamed_on_it(ring: uring.Ring) -> None:
    """The same errno on a ring without a skipped success brings no word of one."""
    fd = os.memfd_create("nothing")
    try:
        error = ring.fallocate(fd, 0, 1, mode=0xFF).exception(LONG)
    finally:
        os.close(fd)
    assert isinstance(error, OSError)
    assert error.errno == errno.EOPNOTSUPP
    assert "skip_success" not in str(error)


def test_skip_success_on_the_last_link_is_refused(ring: uring.Ring) -> None:
    """Nothing of the chain is queued then."""
    with pytest.raises(ValueError, match="last link"), ring.chain() as chain:  # noqa: PT012
        ring.nop()
        ring.nop(skip_success=True)
    assert [link.state for link in chain] == [State.DISCARDED] * 2
    assert_empty(ring)


def test_skip_success_outside_a_chain_is_refused(ring: uring.Ring) -> None:
    """Nothing would ever tell that such an operation has ended."""
    with pytest.raises(ValueError, match="skip_success"):
        ring.nop(skip_success=True)
    assert_empty(ring)
