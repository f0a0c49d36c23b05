"""Chains as blocks: what is refused inside, room in the queue, rollback, closing."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chains import LONG, Pipe, assert_empty, kinds

import uring
from uring.builders.timing import NOP128
from uring.fused import lib
from uring.operation import Operation, State

# --- what a block refuses --------------------------------------------------------------------------


def test_too_long_a_chain_is_refused(ring: uring.Ring) -> None:
    """The builder that is one too many raises; nothing is queued and the ring goes on."""
    with pytest.raises(ValueError, match="needs 17 of 16"), ring.chain() as chain:  # noqa: PT012
        for _ in range(17):
            ring.nop()
    assert len(chain) == 16
    assert {link.state for link in chain} == {State.DISCARDED}
    assert_empty(ring)
    assert ring.nop().result(LONG) is None


def test_the_longest_chain_fits(ring: uring.Ring) -> None:
    """As many links as the queue has entries, or half of it with timeouts."""
    with ring.chain() as chain:
        for _ in range(16):
            ring.nop()
    assert kinds(chain) == [None] * 16
    with ring.chain(timeout=LONG) as chain:
        for _ in range(8):
            ring.nop()
    assert kinds(chain) == [None] * 8


def test_a_timeout_for_which_there_is_no_place_is_refused(ring: uring.Ring) -> None:
    """with_timeout counts the entry that it needs; the chain without it is still good."""
    with ring.chain() as chain:
        links = [ring.nop() for _ in range(16)]
        with pytest.raises(ValueError, match="needs 17 of 16"):
            links[3].with_timeout(1)
    assert kinds(chain) == [None] * 16
    with pytest.raises(ValueError, match="needs 18 of 16"), ring.chain(timeout=1):  # noqa: PT012
        for _ in range(9):
            ring.nop()
    assert_empty(ring)


def test_chains_do_not_nest(ring: uring.Ring) -> None:
    """The inner block is refused; the outer one is not hurt if the error is caught."""
    with ring.chain() as chain:
        first = ring.nop()
        with pytest.raises(RuntimeError, match="nest"), ring.chain():
            pytest.fail("not reached")
        second = ring.nop()
    assert list(chain) == [first, second]
    assert kinds(chain) == [None, None]


def test_an_exception_leaves_nothing_queued(ring: uring.Ring, small: int) -> None:
    """The operations are discarded, their memory is released, and their results say why."""
    buffer = bytearray(10)
    with pytest.raises(ZeroDivisionError), ring.chain(timeout=1) as chain:  # noqa: PT012
        read = ring.read(small, buffer, offset=0)
        with pytest.raises(BufferError):
            buffer.append(1)
        raise ZeroDivisionError
    buffer.append(1)
    assert read.state is State.DISCARDED
    with pytest.raises(uring.RingClosed, match="never submitted"):
        read.result()
    with pytest.raises(RuntimeError, match="being recorded"):
        read.with_timeout(1)
    assert len(chain) == 1
    assert_empty(ring)
    assert ring.nop().result(LONG) is None


def test_waiting_inside_an_open_chain_is_refused(ring: uring.Ring) -> None:
    """Nothing is queued yet that could be waited for, so submit, wait and result raise."""
    before = ring.nop()
    with ring.chain():
        link = ring.nop()
        for call in (ring.submit, ring.wait, link.result, before.result, link.exception):
            with pytest.raises(RuntimeError, match="chain is open"):
                call()
        with pytest.raises(ValueError, match="open chain"):
            link.cancel()
    assert len(ring.wait(2, LONG)) == 2


def test_callbacks_wait_for_the_end_of_the_block(ring: uring.Ring) -> None:
    """What a callback queues does not become a link of a chain that happens to be open."""
    queued: list[Operation[Any]] = []
    early = ring.nop()
    early.add_done_callback(lambda _: queued.append(ring.nop()))
    ring.submit()
    with ring.chain() as chain:
        link = ring.nop()
        assert early.done()
        assert queued == []
    assert list(chain) == [link]
    ring.wait(1, LONG)
    assert [operation.result(LONG) for operation in queued] == [None]


def test_a_foreign_thread_cannot_add_a_link(ring: uring.Ring) -> None:
    """An open chain records for the ring's owner alone."""
    errors: list[Any] = []

    def intrude() -> None:
        for call in (ring.nop, ring.chain().__enter__):
            try:
                call()
            except uring.WrongThread as error:
                errors.append(error)

    with ring.chain() as chain:
        link = ring.nop()
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
    assert len(errors) == 2
    assert list(chain) == [link]
    assert link.result(LONG) is None


def test_a_wrong_argument_while_the_chain_is_written_takes_it_back(ring: uring.Ring) -> None:
    """C refuses an argument of the third link: none of the chain is queued, and what was queued before stays."""
    before = ring.nop()
    with pytest.raises(TypeError), ring.chain(timeout=LONG) as chain:  # noqa: PT012
        ring.nop()
        ring.nop()
        wrong = ring.nop()
        chain._links[2] = (wrong, 0, ("no argument of a nop",))
        ring.nop()
    assert [link.state for link in chain] == [State.DISCARDED] * 4
    assert ring.statistics().sq_space == 15
    assert ring.wait(1, LONG) == [before]
    assert_empty(ring)
    with ring.chain() as chain:
        ring.nop()
        ring.nop()
    assert kinds(chain) == [None, None]


def test_an_opcode_that_the_kernel_lacks_is_refused_at_once(ring: uring.Ring) -> None:
    """The builder raises inside the block, not the block at its end."""
    if not NOP128.missing:
        pytest.skip("this kernel has NOP128")
    with pytest.raises(uring.Unsupported, match=r"6\.19"), ring.chain():
        ring.nop128()
    assert_empty(ring)


# --- never split -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 7, 15, 16])
def test_a_chain_is_never_split(ring: uring.Ring, make_pipe: Callable[[], Pipe], length: int) -> None:
    """However full the queue is: while the head is blocked no other link has run, and then all do."""
    for level in range(17):
        pipe = make_pipe()
        earlier = [ring.nop() for _ in range(level)]
        with ring.chain() as chain:
            head = ring.read(pipe.read, bytearray(1))
            for _ in range(length - 1):
                ring.nop()
        ring.wait(level, LONG)
        ring.peek()
        assert all(operation.done() for operation in earlier)
        assert not any(link.done() for link in chain), f"split with {level} operations before it"
        pipe.fill()
        assert head.result(LONG) == 1
        assert kinds(chain) == [None] * length
        ring.peek()
        assert_empty(ring)


def test_a_full_queue_submits_what_is_before_the_chain(ring: uring.Ring) -> None:
    """Room is made by submitting earlier operations; the chain itself stays prepared."""
    earlier = [ring.nop() for _ in range(12)]
    with ring.chain() as chain:
        for _ in range(6):
            ring.nop()
    assert [operation.state for operation in chain] == [State.PREPARED] * 6
    assert all(operation.state is not State.PREPARED for operation in earlier)
    assert len(ring.wait(18, LONG)) == 18


@pytest.fixture
def shared() -> Iterator[tuple[uring.Ring, uring.Ring]]:
    """Two rings that share a SQPOLL thread."""
    with (
        uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20)) as first,
        uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20, attach_wq=first)) as second,
    ):
        yield first, second


def test_chains_over_a_shared_submission_thread_are_not_split(
    shared: tuple[uring.Ring, uring.Ring], make_pipe: Callable[[], Pipe]
) -> None:
    """The thread takes eight SQEs of a ring in turn: a longer chain is refused, others stay whole behind anything."""
    for ring in shared:
        with pytest.raises(ValueError, match="shared SQPOLL thread"), ring.chain():  # noqa: PT012
            for _ in range(9):
                ring.nop()
        for level in range(20):
            pipe = make_pipe()
            for _ in range(level):
                ring.nop()
            with ring.chain() as chain:
                head = ring.read(pipe.read, bytearray(1))
                for _ in range(7):
                    ring.nop()
            behind = ring.nop()
            ring.wait(level + 1, LONG)
            assert behind.done()
            assert not any(link.done() for link in chain), f"split with {level} operations before it"
            pipe.fill()
            assert head.result(LONG) == 1
            assert kinds(chain) == [None] * 8
            ring.peek()
            pipe.close()


def test_a_long_chain_on_a_submission_thread_of_its_own(pipe: Pipe) -> None:
    """A SQPOLL ring that shares its thread with none takes chains as long as its queue."""
    with uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20)) as ring:
        for level in (0, 30, 63):
            for _ in range(level):
                ring.nop()
            with ring.chain() as chain:
                head = ring.read(pipe.read, bytearray(1))
                for _ in range(63):
                    ring.nop()
            ring.wait(level, LONG)
            assert not any(link.done() for link in chain)
            pipe.fill()
            assert head.result(LONG) == 1
            assert kinds(chain) == [None] * 64
            ring.peek()


# --- closing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("timed", [False, True])
def test_closing_with_a_chain_pending(pipe: Pipe, skip: bool, timed: bool) -> None:
    """The blocked link is cancelled, the rest never runs, and all say that the ring was closed."""
    ring = uring.Ring(16)
    with ring.chain(timeout=LONG if timed else None) as chain:
        first = ring.nop()
        ring.read(pipe.read, bytearray(1), skip_success=skip)
        ring.nop()
    ring.submit()
    assert first.result(LONG) is None
    ring.close()
    for link in list(chain)[1:]:
        assert isinstance(link.exception(), uring.RingClosed)
        assert link._memory is None
        assert link.state is State.CANCELLED
    pipe.fill()
    assert os.read(pipe.read, 10) == b"x"


def test_closing_inside_the_block_discards_it() -> None:
    """Nothing was queued, so nothing is warned of; later builders say that the ring is closed."""
    ring = uring.Ring(16)
    with ring.chain() as chain:
        link = ring.nop()
        ring.close()
        with pytest.raises(uring.RingClosed):
            ring.nop()
    assert link.state is State.DISCARDED
    assert list(chain) == [link]


def test_a_chain_that_was_never_submitted_is_warned_of() -> None:
    """A ring closed with a written chain takes it back, counting links and not their timeouts."""
    ring = uring.Ring(16)
    with ring.chain(timeout=1):
        ring.nop()
        last = ring.nop()
    with pytest.warns(ResourceWarning, match="2 operations were never submitted"):
        ring.close()
    assert last.state is State.DISCARDED


def test_a_chain_can_be_collected(ring: uring.Ring) -> None:
    """Dropping a chain and its links while they run changes nothing; the ring hands them out."""
    with ring.chain():
        ring.nop()
        ring.nop()
    gc.collect()
    assert [operation.result() for operation in ring.wait(2, LONG) if isinstance(operation, Operation)] == [None, None]


def test_chain_needs_a_ring_in_use() -> None:
    """A closed ring opens no chain."""
    ring = uring.Ring(8)
    ring.close()
    with pytest.raises(uring.RingClosed), ring.chain():
        pytest.fail("not reached")


def test_the_flags_are_those_of_the_kernel(ring: uring.Ring) -> None:
    """The SQEs of a chain carry LINK or HARDLINK on all but the last, DRAIN on the first."""
    for hard, link in ((False, lib.IOSQE_IO_LINK), (True, lib.IOSQE_IO_HARDLINK)):
        start = ring.c_ring.sq.sqe_tail
        with ring.chain(hard=hard, drain=True):
            ring.nop()
            ring.nop().with_timeout(LONG)
            ring.nop().with_timeout(LONG)
        sq = ring.c_ring.sq
        flags = [sq.sqes[at & sq.ring_mask].flags for at in range(start, sq.sqe_tail)]
        assert flags == [link | lib.IOSQE_IO_DRAIN, link, link, lib.IOSQE_IO_LINK, 0]
        ring.wait(3, LONG)
