"""Each operation is delivered once, in any order of events."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

import pytest
from census import queue_foreign, table_size
from scale import LONG, scaled

from uring import Completion, Operation, Params, Ring, State


class Model:
    """A ring, and what it should do as plain Python tells: who is owed to whom."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ends = os.pipe()
        self.ring = Ring(4, Params(cq_entries=4))
        self.number = 0
        self.owed: dict[Operation[Any], int] = {}  # not handed out; the result it has or will have
        self.called: Counter[int] = Counter()
        self.to_call: Counter[int] = Counter()
        self.foreign: Counter[int] = Counter()
        self.given_up: list[Operation[Any]] = []
        self.stuck: dict[Operation[Any], int] = {}  # reads of the pipe, in order

    def close(self) -> None:
        """End both."""
        self.ring.close()
        for fd in self.ends:
            os.close(fd)

    def take(self, items: list[Any]) -> None:
        """These were handed out: each was owed, and is not any more."""
        for item in items:
            if isinstance(item, Completion):
                assert self.foreign[item.user_data] == 1
                del self.foreign[item.user_data]
            else:
                wanted = self.owed.pop(item)
                assert item.done()
                assert item.result() == wanted

    def idle(self) -> int:
        """How many of what is owed will complete by themselves."""
        return len(self.owed) - len(self.stuck) + len(self.foreign)

    # Steps

    def prepare(self) -> None:
        """A few nops."""
        for _ in range(self.random.randrange(6)):
            self.number += 1
            self.owed[self.ring.nop(result=self.number)] = self.number

    def block(self) -> None:
        """A read that waits for a byte."""
        if len(self.stuck) < 5:
            read = self.ring.read(self.ends[0], bytearray(1))
            self.owed[read] = self.stuck[read] = 1

    def unblock(self) -> None:
        """Bytes for all who wait; they arrive before another read can take one away."""
        self.ring.submit()
        os.write(self.ends[1], b"x" * len(self.stuck))
        deadline = time.monotonic() + LONG
        while not all(read.done() for read in self.stuck):
            assert time.monotonic() < deadline
        self.stuck.clear()

    def link(self) -> None:
        """A chain of nops."""
        with self.ring.chain() as chain:
            for _ in range(self.random.randrange(1, 5)):
                self.ring.nop()
        self.owed.update(dict.fromkeys(chain, None))  # type: ignore[arg-type]

    def queue(self) -> None:
        """A request through the C names."""
        self.number += 1
        self.foreign[self.number] = 1
        queue_foreign(self.ring, self.number)

    def submit(self) -> None:
        """Hand over."""
        self.ring.submit()

    def peek(self) -> None:
        """Take what is there."""
        self.take(self.ring.peek())

    def wait(self) -> None:
        """Take some, or all that can come."""
        n = self.random.randint(0, self.idle())
        got = self.ring.wait(n, LONG)
        assert len(got) >= n
        self.take(got)

    def wait_too_long(self) -> None:
        """More than can ever come, callbacks included, is refused, and changes nothing."""
        called = sum(self.to_call.values()) - sum(self.called.values())
        if not self.ring._has_foreign() and not self.ring._foreign:
            with pytest.raises(ValueError, match="are in flight"):
                self.ring.wait(len(self.owed) + called + 1)

    def iterate(self) -> None:
        """Take a few one by one, preparing others meanwhile, and leave."""
        if not self.idle():
            return
        left = self.random.randrange(1, 5)
        for item in self.ring:
            self.take([item])
            left -= 1
            if self.random.random() < 0.3:
                self.prepare()
            if not left or not self.idle():
                break

    def choose(self) -> Operation[Any] | None:
        """One that is owed and will complete."""
        free = [operation for operation in self.owed if operation not in self.stuck]
        return self.random.choice(free) if free else None

    def ask(self) -> None:
        """One's own result, or exception, twice."""
        operation = self.choose()
        if operation is not None:
            wanted = self.owed.pop(operation)
            if self.random.random() < 0.5:
                assert operation.exception(LONG) is None
            assert operation.result(LONG) == wanted
            assert operation.result() == wanted

    def call(self) -> None:
        """A callback takes it, once."""
        operation = self.choose()
        if operation is not None:
            number = id(operation)
            self.keep = getattr(self, "keep", [])
            self.keep.append(operation)  # so that the number stays its own
            del self.owed[operation]
            self.to_call[number] += 1
            operation.add_done_callback(lambda done: self.called.update([id(done)]))

    def give_up(self) -> None:
        """Nobody wants it."""
        operation = self.choose()
        if operation is not None:
            del self.owed[operation]
            operation.abandon()
            self.given_up.append(operation)

    def forget(self) -> None:
        """Look whether it is done, without taking it."""
        for operation in self.owed:
            operation.done()

    def finish(self) -> None:
        """All that is owed comes, once, and nothing else."""
        self.unblock()
        deadline = time.monotonic() + LONG
        while self.owed or self.foreign or self.ring._native.in_flight:
            assert time.monotonic() < deadline, (self.owed, self.foreign)
            self.take(self.ring.wait(min(1, self.idle()), LONG))
        assert self.ring.peek() == []
        assert self.called == self.to_call
        assert {operation.state for operation in self.given_up} <= {State.ABANDONED}
        assert self.ring.statistics().in_flight == 0
        assert table_size(self.ring)[2] == 0


STEPS = "prepare block unblock link queue submit peek wait wait_too_long iterate".split()
STEPS += ["ask", "call", "give_up", "forget", "prepare", "link"]


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_delivers_each_once(seed: int) -> None:
    """Thousands of steps in random order, against a model in plain Python."""
    model = Model(seed)
    try:
        for step in range(scaled(1000)):
            getattr(model, model.random.choice(STEPS))()
            if step % 200 == 199:
                model.finish()
        model.finish()
    finally:
        model.close()


def test_waiting_for_too_many_at_every_stage(ring: Ring, pipe: tuple[int, int]) -> None:
    """What is ready, blocked, abandoned, silent or has a callback: only what can be handed out, or called, counts."""
    ready, blocked, dropped = ring.nop(), ring.read(pipe[0], bytearray(1)), ring.read(pipe[0], bytearray(1))
    dropped.abandon()
    assert ready.exception(LONG) is None
    with ring.chain():
        ring.nop(skip_success=True)
        last = ring.nop()
    for n in (3, 100, 1 << 40):
        with pytest.raises(ValueError, match=f"waiting for {n} completions, but only 2"):
            ring.wait(n)
    assert ring.wait(1, LONG) == [last]
    with pytest.raises(ValueError, match="only 1"):
        ring.wait(2)
    os.write(pipe[1], b"xy")
    assert ring.wait(1, LONG) == [blocked]
    with pytest.raises(ValueError, match="only 0"):
        ring.wait(1)
