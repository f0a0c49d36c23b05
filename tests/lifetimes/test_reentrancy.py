"""Signal handlers and destructors that use the ring themselves, at every step of it where they can strike."""

from __future__ import annotations

import gc
import os
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from interrupting import Stop, striking
from scale import LONG

import uring
from uring import Ring


def traffic(ring: Ring, pipe: tuple[int, int], handed: Counter[Any], made: list[Any]) -> None:
    """More requests than the queue has entries, waited for in all the ways there are."""
    for _ in range(3):
        for _ in range(5):
            made.append(ring.nop())
        made.append(ring.write(pipe[1], b"x"))
        made.append(ring.read(pipe[0], bytearray(1)))
        for operation in ring.wait(3, LONG):
            handed[operation] += 1
    last = ring.nop()
    made.append(last)
    last.result(LONG)
    handed[last] += 1


def rest_of(ring: Ring, handed: Counter[Any]) -> None:
    """Hand out what is left."""
    ring.submit()
    for operation in ring:
        handed[operation] += 1


@pytest.mark.parametrize("raising", [False, True], ids=["returns", "raises"])
def test_a_handler_queues_requests_at_every_step(raising: bool) -> None:
    """Requests that a handler queues amid ours mix up nothing: each is handed out once, none is lost."""
    number, left = 0, 0
    while not left:
        number += 1
        handed: Counter[Any] = Counter()
        made: list[Any] = []
        ends = os.pipe()
        try:
            with Ring(4) as ring:

                def action(ring: Ring = ring, made: list[Any] = made) -> None:
                    made.extend(ring.nop() for _ in range(6))
                    if raising:
                        raise Stop

                with striking(number, action) as counter, suppress(Stop):
                    traffic(ring, ends, handed, made)
                left = counter[0]
                os.write(ends[1], bytes(8))  # a read whose write was interrupted before it was queued
                rest_of(ring, handed)
                statistics = ring.statistics()
                assert statistics.in_flight == 0
                assert not any(ring._table)
        finally:
            for end in ends:
                os.close(end)
        if not raising:  # an interrupted call keeps what it would have returned
            assert handed.keys() == set(made), number
        assert set(handed.values()) == {1}, number
        assert all(operation.state is uring.State.COMPLETED for operation in made), number
    assert number > 100


def test_a_handler_waits_or_is_told_why_not() -> None:
    """A wait inside a handler ends: with the result, or with RuntimeError while completions are being handed out."""
    answers: Counter[str] = Counter()
    number, left = 0, 0
    while not left:
        number += 1
        handed: Counter[Any] = Counter()
        made: list[Any] = []
        ends = os.pipe()
        try:
            with Ring(4) as ring:

                def action(ring: Ring = ring, made: list[Any] = made, handed: Counter[Any] = handed) -> None:
                    operation = ring.nop()
                    made.append(operation)
                    try:
                        operation.result(LONG)
                        handed[operation] += 1
                        answers["result"] += 1
                    except RuntimeError:
                        answers["refused"] += 1

                with striking(number, action) as counter:
                    traffic(ring, ends, handed, made)
                left = counter[0]
                rest_of(ring, handed)
        finally:
            for end in ends:
                os.close(end)
        assert handed.keys() == set(made), number
        assert set(handed.values()) == {1}, number
    assert answers["result"] > 50
    assert answers["refused"] > 5


def test_a_ring_is_not_closed_while_it_hands_out() -> None:
    """Closing from a handler that struck amid completions is refused, and harms nothing."""
    for number in range(1, 12):
        refused: list[RuntimeError] = []
        with Ring(8) as ring:

            def action(ring: Ring = ring, refused: list[RuntimeError] = refused) -> None:
                try:
                    ring.close()
                except RuntimeError as error:
                    refused.append(error)

            operations = [ring.nop() for _ in range(4)]
            with striking(number, action, "_hand_out"):
                assert ring.wait(4) == operations
        if not refused:
            break
    assert number > 1


class Cycle:
    """Garbage that only the collector finds, and that queues a request when it goes."""

    def __init__(self, ring: Ring, queued: list[Any]) -> None:
        self.ring, self.queued, self.itself = ring, queued, self

    def __del__(self) -> None:
        self.queued.append(self.ring.nop())


def test_garbage_that_uses_the_ring() -> None:
    """Destructors that the collector runs in the middle of anything may queue requests; all of them complete."""
    before = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    queued: list[Any] = []
    try:
        with Ring(8) as ring:
            completed = 0
            for _ in range(300):
                Cycle(ring, queued)
                for _ in range(10):
                    ring.nop()
                completed += len(ring.wait(10, LONG))
            Cycle(ring, queued)
            gc.collect()
            ring.submit()
            completed += sum(1 for _ in ring)
    finally:
        gc.set_threshold(*before)
    assert len(queued) == 301
    assert completed == 3301
