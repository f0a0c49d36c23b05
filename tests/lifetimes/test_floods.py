"""Many of everything: completions beyond the queue, operations, and strangers in the queue."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

import pytest
from census import queue_foreign, table_size
from scale import LONG, SCALE, scaled

import uring
from uring import Completion, Operation, Params, Ring, State

SETUPS = {
    "plain": Params(single_issuer=False, coop_taskrun=False, defer_taskrun=False),
    "coop": Params(coop_taskrun=True),
    "defer": Params(defer_taskrun=True),
    "defer without the flag": Params(defer_taskrun=True, taskrun_flag=False),
}


# --- the completion queue overflows ------------------------------------------------------------------


@pytest.mark.parametrize("setup", SETUPS)
def test_overflow_loses_and_repeats_nothing(setup: str) -> None:
    """Thousands of completions through a queue of 8, each exactly once and with its own result."""
    count = scaled(4000)
    with Ring(8, Params(**{**vars(SETUPS[setup]), "cq_entries": 8})) as ring:
        operations = [ring.nop(result=number) for number in range(count)]
        seen: list[Any] = []
        deadline = time.monotonic() + LONG
        while len(seen) < count:
            assert time.monotonic() < deadline
            seen += ring.wait(min(100, count - len(seen)), LONG)
        assert Counter(seen) == Counter(operations)
        assert [operation.result() for operation in operations] == list(range(count))
        assert ring.peek() == []
        assert ring.statistics()[:3] == (0, count, count)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("by", ["peek", "done"])
def test_an_overflowed_queue_is_emptied_without_waiting(setup: str, pipe: tuple[int, int], by: str) -> None:
    """Two hundred polls that fire at once on a queue of 8: peek and done() alone get all of them."""
    count = 200
    with Ring(8, Params(**{**vars(SETUPS[setup]), "cq_entries": 8})) as ring:
        polls = [ring.poll_add(pipe[0]) for _ in range(count)]
        ring.submit()
        os.write(pipe[1], b"x")
        seen: list[Any] = []
        deadline = time.monotonic() + LONG
        while len(seen) < count and time.monotonic() < deadline:
            if by == "peek":
                seen += ring.peek()
            else:
                seen = [poll for poll in polls if poll.done()]
        assert Counter(seen) == Counter(polls)
        if by == "done":
            assert Counter(ring.peek()) == Counter(polls)
        assert {poll.result() for poll in polls} == {1}
        assert ring.statistics()[:3] == (0, count, count)


def test_an_overflow_of_operations_and_foreign_requests(ring: Ring) -> None:
    """Both kinds mixed, more than the array that completions are copied to has room for."""
    operations, numbers = [], []
    for number in range(1500):
        if number % 3:
            operations.append(ring.nop(result=number))
        else:
            queue_foreign(ring, number)
            numbers.append(number)
    seen = ring.wait(1500, LONG)
    assert Counter(item.user_data for item in seen if isinstance(item, Completion)) == Counter(numbers)
    assert Counter(item for item in seen if isinstance(item, Operation)) == Counter(operations)
    assert len(seen) == 1500


# --- the submission queue is full ----------------------------------------------------------------------


@pytest.mark.parametrize("entries", [1, 2])
def test_a_tiny_ring_takes_hundreds(entries: int, pipe: tuple[int, int]) -> None:
    """Reads, writes, cancels and nops in the middle of each other; the queue is full nearly all the time."""
    with Ring(entries) as ring:
        total = 0
        for turn in range(150):
            buffer = bytearray(4)
            read = ring.read(pipe[0], buffer)
            nop = ring.nop(result=turn)
            write = ring.write(pipe[1], turn.to_bytes(4, "little"))
            timer = ring.timeout(60)
            cancelled = timer.cancel()
            assert Counter(ring.wait(5, LONG)) == Counter([read, nop, write, timer, cancelled])
            assert int.from_bytes(buffer, "little") == turn
            total += nop.result()
            assert timer.state is State.CANCELLED
        assert total == sum(range(150))
        assert ring.statistics()[:3] == (0, 750, 750)


@pytest.mark.parametrize("entries", [1, 2, 4])
def test_chains_between_what_fills_the_queue(entries: int, pipe: tuple[int, int]) -> None:
    """A chain as long as the queue is never split, though it is full when the chain's block ends."""
    with Ring(entries) as ring:
        for turn in range(100):
            before = [ring.nop() for _ in range(turn % 7)]
            with ring.chain() as chain:
                for place in range(entries):
                    if place % 2:
                        ring.read(pipe[0], bytearray(1))
                    else:
                        ring.write(pipe[1], b"x")
            after = [ring.nop() for _ in range(turn % 5)]
            wanted = [*before, *chain, *after]
            assert Counter(ring.wait(len(wanted), LONG)) == Counter(wanted)
            assert [link.result() for link in chain] == [1] * entries
            if entries == 1:
                assert os.read(pipe[0], 1) == b"x"
            order = [link._slot for link in chain]
            assert len(set(order)) == entries


def test_a_broken_chain_in_a_full_queue(pipe: tuple[int, int]) -> None:
    """A chain that breaks at its first link cancels exactly its own others."""
    with Ring(4) as ring:
        for _ in range(100):
            nops = [ring.nop() for _ in range(3)]
            with ring.chain() as chain:
                ring.nop(result=-5)
                ring.nop()
                ring.nop()
            nops += [ring.nop() for _ in range(3)]
            assert Counter(ring.wait(9, LONG)) == Counter([*nops, *chain])
            assert [type(link.exception()) for link in chain] == [OSError, uring.ChainBroken, uring.ChainBroken]
            assert [nop.exception() for nop in nops] == [None] * 6


def test_twenty_thousand_nops_at_once(ring: Ring) -> None:
    """They are all in flight or complete before the first is asked for."""
    count = scaled(20_000)
    operations = [ring.nop() for _ in range(count)]
    assert ring.wait(count, LONG * max(1, SCALE)).__len__() == count
    assert all(operation.state is State.COMPLETED for operation in operations)
    assert table_size(ring)[2] == 0


# --- strangers in the queue --------------------------------------------------------------------------------


def test_a_stale_completion_reaches_nobody(ring: Ring, pipe: tuple[int, int]) -> None:
    """A CQE with the user_data of an earlier operation, whose slot a newer one has, is dropped."""
    first = ring.nop(result=1)
    stale = first.user_data
    assert first.result(LONG) == 1
    ring.peek()  # a slot is taken again only after the next reap
    newer = ring.read(pipe[0], bytearray(8))
    assert newer.user_data != stale
    assert newer.user_data & 0xFFFFFF == stale & 0xFFFFFF, "it has the same slot"
    for _ in range(30):
        queue_foreign(ring, stale)
    after = ring.nop(result=2)
    assert after.result(LONG) == 2
    assert ring.peek() == []
    assert newer.state is State.SUBMITTED
    assert ring.statistics().in_flight == 1
    os.write(pipe[1], b"abc")
    assert newer.result(LONG) == 3
    assert ring.peek() == []
    assert table_size(ring)[2] == 0


def test_stale_completions_between_thousands(ring: Ring) -> None:
    """Every earlier user_data is tried while newer operations hold the slots; none gets another's result."""
    old: list[int] = []
    for turn in range(200):
        operations: list[Operation[Any]] = []
        numbers = []
        for place in range(10):
            operations.append(ring.nop(result=100 * turn + place))
            numbers.append(operations[-1].user_data)  # before a full queue submits it
        for stale in old:
            queue_foreign(ring, stale)
        assert set(ring.wait(10, LONG)) == set(operations)
        assert [operation.result() for operation in operations] == [100 * turn + place for place in range(10)]
        assert not set(numbers) & set(old)
        old = [*old, *numbers][-20:]
    assert ring.peek() == []


def test_marks_without_a_slot_are_dropped(ring: Ring) -> None:
    """Slots beyond the table, free ones, and generations that never were."""
    ring.nop().result(LONG)  # the first slot's first generation is over
    blocked = ring.timeout(60)
    ring.submit()
    live = blocked.user_data
    mark = 0x5A << 56
    for number in (mark, mark | 0xFFFFFF, mark | (1 << 56) - 1, mark | 63, live + (1 << 24), live + (1 << 55)):
        queue_foreign(ring, number)
    assert ring.nop(result=2).result(LONG) == 2
    assert ring.peek() == []
    assert blocked.state is State.SUBMITTED
    blocked.cancel().result(LONG)
    assert blocked.exception(LONG) is not None


def test_foreign_user_data_comes_out_as_it_went_in(ring: Ring) -> None:
    """Any 64 bits but those with our mark, 0 and all ones included; the same number twice comes twice."""
    source = random.Random(1)
    numbers = [0, 1, (1 << 64) - 1, (1 << 64) - 2, 1 << 63, 0x59 << 56, 0x5B << 56, 0x5A, 0x5A << 48, 7, 7]
    numbers += [number for number in (source.getrandbits(64) for _ in range(500)) if number >> 56 != 0x5A]
    operations = []
    for number in numbers:
        queue_foreign(ring, number)
        operations.append(ring.nop())
    seen = ring.wait(len(numbers) + len(operations), LONG)
    assert [item for item in seen if isinstance(item, Completion)] == [Completion(number, 0, 0) for number in numbers]
    assert [item for item in seen if isinstance(item, Operation)] == operations
    assert ring.statistics().in_flight == 0
    assert ring.peek() == []
