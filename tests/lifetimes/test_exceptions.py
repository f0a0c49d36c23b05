"""Exceptions at every step and in callbacks, and destructors that use the ring: nothing is lost or handed out twice."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from interrupting import Stop, assert_idle, interruption, rest_of
from scale import LONG, scaled

import uring
from uring import Operation, Ring

# --- an exception at every step --------------------------------------------------------------------


def plain(ring: Ring, pipe: tuple[int, int], buffers: list[bytearray], handed: list[Any]) -> None:
    """Queue, submit, wait, iterate, and take a result."""
    ring.write(pipe[1], b"xyz")
    read = ring.read(pipe[0], buffers[0])
    ring.submit()
    try:
        assert read.result(LONG) == 1
        handed.append(read)
    except Stop:
        assert read.result(LONG) == 1  # it may be asked again
        handed.append(read)
        raise
    ring.nop()
    ring.read(pipe[0], buffers[1]).add_done_callback(handed.append)
    for operation in ring:
        handed.append(operation)


def linked(ring: Ring, pipe: tuple[int, int], buffers: list[bytearray], handed: list[Any]) -> None:
    """The same through chains, one with timeouts."""
    with ring.chain(timeout=LONG):
        ring.write(pipe[1], b"xy")
        ring.read(pipe[0], buffers[0])
    with ring.chain():
        ring.nop()
        ring.read(pipe[0], buffers[1])
    for operation in ring.wait(4, LONG):
        handed.append(operation)


@pytest.mark.parametrize("work", [plain, linked])
def test_an_exception_at_every_step(work: Callable[..., None]) -> None:
    """Wherever a handler raises: memory in flight is held, each operation comes once, the ring closes cleanly."""
    number = 0
    finished = False
    while not finished:
        number += 1
        ends = os.pipe()
        buffers = [bytearray(1), bytearray(1)]
        handed: list[Any] = []
        try:
            with Ring(8) as ring:
                try:
                    with interruption(number):
                        work(ring, ends, buffers, handed)
                    finished = True
                except Stop:
                    if ring._recording is not None:  # the block's end itself was interrupted
                        ring._recording.__exit__(Stop, None, None)
                native = ring._native
                assert sum(operation is not None for operation in ring._table) >= native.in_flight, number
                os.write(ends[1], b"12345")
                handed += rest_of(ring)
                assert_idle(ring)
                if sys.version_info >= (3, 11):  # before, a call's own result may be lost on its way to a name
                    assert native.reaped - len(handed) in (0, 2), number  # two link timeouts
                assert len(handed) == len(set(handed)), number
                for buffer in buffers:
                    buffer.append(0)
        finally:
            for fd in ends:
                os.close(fd)
    assert number > 100


# --- callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_exceptions_in_callbacks(ring: Ring, kind: type[BaseException]) -> None:
    """The first of several is raised once all completions are recorded and all callbacks have run."""
    states: list[bool] = []
    operations = [ring.nop() for _ in range(6)]
    errors = [kind(place) for place in range(4)]

    def fail(error: BaseException) -> Callable[[Any], None]:
        def callback(_: Any) -> None:
            states.append(all(operation.done() for operation in operations))
            raise error

        return callback

    for operation, error in zip(operations, errors, strict=False):
        operation.add_done_callback(fail(error))
        operation.add_done_callback(fail(ValueError()))
    with pytest.raises(kind) as caught:
        ring.wait(6, LONG)
    assert caught.value is errors[0]
    assert states == [True] * 8
    assert ring.peek() == operations[4:]
    assert_idle(ring)


def test_callbacks_that_use_the_ring(ring: Ring) -> None:
    """They queue, wait, ask done(), add callbacks, and drop operations; each runs once."""
    seen: Counter[str] = Counter()

    def queue(operation: Operation[None]) -> None:
        seen["queue"] += 1
        assert operation.done()
        if seen["queue"] < scaled(50):
            ring.nop().add_done_callback(queue)

    def wait(operation: Operation[None]) -> None:
        seen["wait"] += 1
        assert ring.nop(result=3).result(LONG) == 3
        operation.add_done_callback(lambda _: seen.update(("late",)))

    for callback in (queue, wait, wait):
        ring.nop().add_done_callback(callback)
    for _ in ring:
        pass
    assert seen == {"queue": scaled(50), "wait": 2, "late": 2}
    assert_idle(ring)


@pytest.mark.parametrize("fails", [False, True])
def test_a_callback_that_closes_the_ring(pipe: tuple[int, int], fails: bool) -> None:
    """The call that reaped raises RingClosed or returns; what was in flight is released."""
    buffer = bytearray(1)
    ring = Ring(8)
    read = ring.read(pipe[0], buffer)
    first, second = ring.nop(), ring.nop()
    seen: list[Any] = []

    def close(_: Any) -> None:
        ring.close()
        if fails:
            raise ZeroDivisionError

    first.add_done_callback(close)
    second.add_done_callback(seen.append)
    with pytest.raises(ZeroDivisionError if fails else uring.RingClosed):  # noqa: PT012
        ring.wait(2, LONG)
        ring.wait(0)
    assert seen == [second]
    assert isinstance(read.exception(), uring.RingClosed)
    buffer.append(0)


class Buffer(bytearray):
    """Memory whose destructor uses the ring."""

    end: Callable[[], None]

    def __del__(self) -> None:
        self.end()


@pytest.mark.parametrize("collected", [False, True])
def test_a_destructor_that_uses_the_ring_while_it_reaps(ring: Ring, pipe: tuple[int, int], collected: bool) -> None:
    """The last reference to a buffer goes as its completion is taken in, with others still to be handed out."""
    ended: list[Any] = []

    def end() -> None:
        ended.append(ring.nop(result=7))
        ring.submit()
        ended[-1].done()

    expected = []
    for _ in range(scaled(20)):
        os.write(pipe[1], b"abc")
        for _ in range(3):
            buffer = Buffer(1)
            buffer.end = end
            if collected:
                buffer.self = buffer  # type: ignore[attr-defined]
            expected.append(ring.read(pipe[0], buffer))
            del buffer
        got = ring.wait(3, LONG)
        if collected:
            gc.collect()
        expected_now = Counter(got)
        for operation in ring:
            expected_now[operation] += 1
        assert set(expected_now.values()) == {1}
        assert set(expected[-3:]) <= expected_now.keys()
    handed = len(expected)
    assert len(ended) == handed
    assert [operation.result(LONG) for operation in ended] == [7] * handed
    assert ring.peek() == []
    assert_idle(ring)
