"""Signals and exceptions at every moment: a wait goes on or is left, and nothing is lost or handed out twice."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType
from typing import Any

import pytest
from interrupting import Stop, interruption

import uring
from uring import Operation, Ring

LONG = 10.0
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
PACKAGE = os.path.dirname(uring.__file__)


def scaled(n: int) -> int:
    """A storm's size."""
    return max(1, int(n * SCALE))


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 8 entries."""
    with Ring(8, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@contextmanager
def alarms(handler: Callable[[int, FrameType | None], Any], first: float, interval: float = 0.0) -> Iterator[None]:
    """Deliver SIGALRM to `handler` while the block runs."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, first, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raising_once() -> Callable[..., None]:
    """A handler that raises the first time; signals are repeated, since one may come just before the kernel waits."""
    raised = False

    def handler(*_: Any) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise KeyboardInterrupt

    return handler


def assert_idle(ring: Ring) -> None:
    """Nothing is in flight, and every SQE that the kernel took has brought its CQE."""
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.submitted == statistics.completed
    assert not any(ring._table)
    assert not ring._hidden
    assert ring._native.in_flight == 0


def rest_of(ring: Ring) -> list[Any]:
    """What is still handed out; the test fails when that does not end."""
    found: list[Any] = []
    deadline = time.monotonic() + LONG
    while ring._native.in_flight:
        found += ring.wait(0)
        busy = [operation for operation in ring._table if operation is not None]
        numbers = (ring.statistics(), ring._native.managed, len(ring._hidden), ring._has_foreign())
        assert time.monotonic() < deadline, (ring, numbers, busy)
    return found + ring.wait(0)


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


@pytest.mark.parametrize(
    "interval",
    [
        pytest.param(
            50e-6, marks=pytest.mark.xfail(strict=False, reason="a second signal while the first is dealt with")
        ),
        100e-6,
        200e-6,
    ],
)
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
