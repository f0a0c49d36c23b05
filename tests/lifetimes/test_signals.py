"""Signals at every moment: a wait goes on or is left, and nothing is lost or handed out twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from types import FrameType
from typing import Any

import pytest
from interrupting import PACKAGE, Stop, alarms, assert_idle, raising_once, rest_of
from scale import LONG, scaled

import uring
from uring import Operation, Ring


def iterate(ring: Ring, _read: Operation[int]) -> None:
    """Go through all that completes."""
    for _ in ring:
        pass


def fill(ring: Ring, _read: Operation[int]) -> None:
    """Block in builders that must make room: the completion queue is small, so submits are what waits."""
    while True:
        ring.nop().abandon()


def chain(ring: Ring, _read: Operation[int]) -> None:
    """Record and leave chains that must make room, again and again."""
    while True:
        with ring.chain():
            for _ in range(8):
                ring.nop().abandon()


WAITS: dict[str, Callable[[Ring, Operation[int]], Any]] = {
    "wait": lambda ring, _: ring.wait(1),
    "wait with a timeout": lambda ring, _: ring.wait(1, LONG),
    "result": lambda _, read: read.result(),
    "result with a timeout": lambda _, read: read.result(LONG),
    "exception": lambda _, read: read.exception(),
    "iteration": iterate,
}

BUSY = {"full queue": fill, "chain exit": chain}


# --- one signal in each wait -----------------------------------------------------------------------


@pytest.mark.parametrize("name", WAITS)
def test_a_handler_that_returns_lets_the_wait_go_on(ring: Ring, pipe: tuple[int, int], name: str) -> None:
    """It runs during the wait, which ends by the completion that the fifth signal causes."""
    buffer = bytearray(1)
    read = ring.read(pipe[0], buffer)
    count = 0

    def handler(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == 5:
            os.write(pipe[1], b"x")

    with alarms(handler, 0.002, 0.002):
        WAITS[name](ring, read)
    assert count >= 5
    assert read.result() == 1
    assert buffer == b"x"
    assert ring.peek() == []
    assert_idle(ring)


def test_a_timeout_counts_on_through_signals(ring: Ring, pipe: tuple[int, int]) -> None:
    """Neither sooner, because a signal came, nor later, because each began the wait anew."""
    read = ring.read(pipe[0], bytearray(1))
    seen: list[int] = []
    with alarms(lambda number, _: seen.append(number), 0.002, 0.002):
        for late in (False, True):
            start = time.monotonic()
            with pytest.raises(TimeoutError) if late else nullcontext():
                _ = read.result(0.05) if late else ring.wait(1, 0.05)
            assert 0.05 <= time.monotonic() - start < LONG
    assert len(seen) >= 2
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [read]


@pytest.mark.parametrize("name", [*WAITS, *BUSY])
def test_an_interrupt_arrives_and_nothing_is_lost(ring: Ring, pipe: tuple[int, int], name: str) -> None:
    """KeyboardInterrupt leaves each wait; the operations go on, and each is handed out once."""
    buffer = bytearray(1)
    read = ring.read(pipe[0], buffer)
    with pytest.raises(KeyboardInterrupt), alarms(raising_once(), 0.005, 0.005):
        {**WAITS, **BUSY}[name](ring, read)
    assert not read.done()
    with pytest.raises(BufferError):
        buffer.append(0)
    with ring.chain():  # the ring is as good as before
        links = [ring.nop(), ring.nop()]
    os.write(pipe[1], b"x")
    handed: Counter[Any] = Counter()
    while not {read, *links} <= handed.keys():
        handed.update(ring.wait(1, LONG))
    handed.update(rest_of(ring))
    # An operation that was interrupted before its abandon() is handed out as well.
    assert len(handed) <= 3 + (8 if name in BUSY else 0)
    assert set(handed.values()) == {1}
    buffer.append(0)
    assert_idle(ring)


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_from_a_thread(ring: Ring, pipe: tuple[int, int], name: str) -> None:
    """SIGINT, as a terminal sends it, ends each wait as it ends Python's own."""
    read = ring.read(pipe[0], bytearray(1))
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.005):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, raising_once())
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            thread.start()
            WAITS[name](ring, read)
    finally:
        over.set()
        thread.join(LONG)
        signal.signal(signal.SIGINT, before)
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [read]
    assert_idle(ring)


@pytest.mark.parametrize("raising", [False, True])
def test_a_signal_in_read_exactly(ring: Ring, pipe: tuple[int, int], raising: bool) -> None:
    """It goes on after a handler that returns; else what was under way still lands in the buffer."""
    buffer = bytearray(10)
    count = 0
    os.write(pipe[1], b"abc")

    def handler(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            if raising:
                raise KeyboardInterrupt
            os.write(pipe[1], b"d" * 7)

    with alarms(handler, 0.002, 0.002):
        if raising:
            with pytest.raises(KeyboardInterrupt):
                ring.read_exactly(pipe[0], buffer)
        else:
            ring.read_exactly(pipe[0], buffer)
    if raising:
        os.write(pipe[1], b"d" * 7)
        (read,) = ring.wait(1, LONG)
        assert isinstance(read, Operation)
        assert read.result() == 7
    assert buffer == b"abc" + b"d" * 7
    assert_idle(ring)


@pytest.mark.parametrize("raising", [False, True])
def test_a_signal_while_a_block_is_left(pipe: tuple[int, int], raising: bool) -> None:
    """The exit goes on waiting; an interrupt ends it, and cancels what is in flight."""
    buffer = bytearray(1)
    count = 0

    def handler(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            if raising:
                raise KeyboardInterrupt
            os.write(pipe[1], b"x")

    with pytest.raises(KeyboardInterrupt) if raising else nullcontext(), Ring(8) as ring, ExitStack() as stack:
        read = ring.read(pipe[0], buffer)
        signal.signal(signal.SIGALRM, handler)
        stack.callback(signal.setitimer, signal.ITIMER_REAL, 0.005, 0.005)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert ring.closed
    if raising:
        assert isinstance(read.exception(), uring.RingClosed)
    else:
        assert read.result() == 1
    buffer.append(0)


@pytest.mark.parametrize("raising", [False, True])
def test_signals_while_a_ring_is_closed(pipe: tuple[int, int], raising: bool) -> None:
    """close() cancels and drains all the same, or is called once more; memory that is let go is no longer written."""
    for microseconds in range(10, 10 + scaled(200), 4):
        buffers = [bytearray(1) for _ in range(8)]
        ring = Ring(8)
        for buffer in buffers:
            ring.read(pipe[0], buffer)
        ring.submit()
        kept = len(uring.closing._kept_for_good)
        try:
            with alarms(raising_once() if raising else lambda *_: None, microseconds / 1e6):
                ring.close()
        except KeyboardInterrupt:
            ring.close()
        assert ring.closed
        if len(uring.closing._kept_for_good) == kept:  # all of it was waited for
            for buffer in buffers:
                buffer.append(0)
        else:
            assert raising
        del ring


# --- a storm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [50e-6, 100e-6, 200e-6])
def test_a_storm_of_interrupts(interval: float) -> None:
    """Thousands of operations while every wait is interrupted: each is handed out once, by wait or to its callback."""
    total = scaled(5000)
    handed: Counter[Any] = Counter()
    called: Counter[Any] = Counter()
    buffers: list[bytearray] = []
    queued = 0

    def queue(ring: Ring, read: int, write: int) -> None:
        nonlocal queued
        kind = queued % 5
        queued += 1
        if kind == 0:
            for _ in range(8):
                ring.nop()
        elif kind == 1:
            for _ in range(4):
                buffers.append(bytearray(1))
                ring.write(write, b"x")
                ring.read(read, buffers[-1])
        elif kind == 2:
            with ring.chain():
                for _ in range(7):
                    ring.nop()
                ring.timeout(uring.Nanoseconds(1000))
        elif kind == 3:
            for _ in range(8):
                ring.nop().add_done_callback(lambda operation: called.update((operation,)))
        else:
            with ring.chain(timeout=LONG):
                ring.nop()
                ring.nop()
            for _ in range(6):
                ring.timeout(uring.Nanoseconds(1000))

    interrupted = 0
    ends = os.pipe()
    raising = True

    def handler(_: int, frame: FrameType | None) -> None:
        # Not in this file, which counts, and not in a destructor, whose exceptions go nowhere.
        code = None if frame is None else frame.f_code
        if raising and code is not None and code.co_filename.startswith(PACKAGE) and code.co_name != "__del__":
            raise Stop

    try:
        with Ring(16) as ring, alarms(handler, interval, interval):
            while True:
                try:
                    if ring._recording is not None:  # the end of its block was interrupted before it began
                        ring._recording.__exit__(Stop, Stop(), None)
                    while ring.statistics().submitted < total:
                        queue(ring, *ends)
                        ring.submit()
                        for operation in ring.wait(4, LONG):
                            handed[operation] += 1
                            del operation
                    raising = False
                    break
                except ValueError:  # callbacks took what would have been waited for
                    continue
                except Stop:
                    interrupted += 1
            # Reads whose write was interrupted before it was queued.
            os.write(ends[1], bytes(min(len(buffers), 60_000)))
            handed.update(rest_of(ring))
            assert_idle(ring)
            assert ring.statistics().submitted >= total
    finally:
        for fd in ends:
            os.close(fd)
    assert interrupted
    assert set(handed.values()) | set(called.values()) == {1}
    assert not handed.keys() & called.keys()
    for buffer in buffers:
        buffer.append(0)
