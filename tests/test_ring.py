"""The ring's own methods: submitting, waiting, handing out, counting, mixing with the C names, helpers."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uring
from uring import Completion, Operation, Ring, State
from uring import liburing as L

LONG = 10.0
SHORT = uring.Nanoseconds(1_000_000)


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


# --- submitting ------------------------------------------------------------------------------------


def test_nothing_reaches_the_kernel_before_submit(ring: Ring, pipe: tuple[int, int]) -> None:
    """A builder prepares; submit hands over and tells how many."""
    write = ring.write(pipe[1], b"x")
    assert write.state is State.PREPARED
    assert not select.select([pipe[0]], [], [], 0)[0]
    assert ring.submit() == 1
    assert write.state is not State.PREPARED
    assert select.select([pipe[0]], [], [], LONG)[0]
    assert ring.submit() == 0
    assert write.result(LONG) == 1


def test_a_full_queue_submits_by_itself(ring: Ring) -> None:
    """More operations than entries can be prepared; those before are submitted."""
    operations = [ring.nop() for _ in range(20)]
    assert ring.statistics().submitted == 16
    assert ring.wait(20, LONG) == operations


def test_a_bad_request_does_not_hold_up_the_rest() -> None:
    """Without SUBMIT_ALL the kernel stops at it; submit goes on with what is behind."""
    with Ring(8, uring.Params(submit_all=False)) as ring:
        good = [ring.nop(), ring.nop()]
        bad = ring.nop(personality=77)
        good += [ring.nop(), ring.nop()]
        assert ring.submit() == 5
        assert bad.exception(LONG) is not None
        assert ring.wait(4, LONG) == good


# --- waiting ---------------------------------------------------------------------------------------


def test_wait_returns_at_least_as_many_as_asked_for(ring: Ring, pipe: tuple[int, int]) -> None:
    """All that is complete comes at once, in the order of completion, and only once."""
    blocked = ring.read(pipe[0], bytearray(1))
    ready = [ring.nop() for _ in range(3)]
    assert ring.wait(1, LONG) == ready
    assert ring.wait(0) == []
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [blocked]


def test_wait_ends_when_the_time_is_up(ring: Ring, pipe: tuple[int, int]) -> None:
    """It returns what there is; the blocked operation goes on."""
    blocked, ready = ring.read(pipe[0], bytearray(1)), ring.nop()
    start = time.monotonic_ns()
    assert ring.wait(2, uring.Nanoseconds(20_000_000)) == [ready]
    assert time.monotonic_ns() - start >= 20_000_000
    assert ring.wait(1, 0) == []
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [blocked]


def test_waiting_for_more_than_is_in_flight_is_refused(ring: Ring) -> None:
    """It would never end; nothing is lost by the refusal."""
    with pytest.raises(ValueError, match="waiting for 1 completions, but only 0"):
        ring.wait()
    operation = ring.nop()
    with pytest.raises(ValueError, match="waiting for 2 completions, but only 1"):
        ring.wait(2)
    assert operation.state is State.PREPARED
    assert ring.wait(1, LONG) == [operation]


@pytest.mark.parametrize(("n", "timeout", "error"), [(-1, None, ValueError), (0, -1, ValueError), (0, "1", TypeError)])
def test_bad_arguments_of_wait(ring: Ring, n: int, timeout: Any, error: type[Exception]) -> None:
    """A negative count, no duration."""
    with pytest.raises(error):
        ring.wait(n, timeout)


def test_result_takes_the_operation_out_of_what_wait_returns(ring: Ring) -> None:
    """And so do exception() and callbacks; each operation is handed out once."""
    first, second, third, fourth = (ring.nop() for _ in range(4))
    seen: list[Any] = []
    third.add_done_callback(seen.append)
    assert first.result(LONG) is None
    assert second.exception(LONG) is None
    assert ring.peek() == [fourth]
    assert seen == [third]
    third.add_done_callback(seen.append)
    assert seen == [third, third]
    assert ring.peek() == []


def test_a_result_that_is_late(ring: Ring, pipe: tuple[int, int]) -> None:
    """result() raises TimeoutError that names the operation, which goes on and may be asked again."""
    read = ring.read(pipe[0], bytearray(1))
    with pytest.raises(TimeoutError, match=r"read of 1 bytes on fd \d+ is not complete after"):
        read.result(SHORT)
    assert read.state is State.SUBMITTED
    os.write(pipe[1], b"x")
    assert read.result(LONG) == 1


def test_peek_neither_submits_nor_waits(ring: Ring) -> None:
    """It hands out what is complete."""
    operation = ring.nop()
    assert ring.peek() == []
    assert operation.state is State.PREPARED
    ring.submit()
    deadline = time.monotonic() + LONG
    while not (got := ring.peek()):
        assert time.monotonic() < deadline
    assert got == [operation]


def test_done_takes_in_what_is_ready(ring: Ring) -> None:
    """A loop that only asks done() ends, and the operation is still handed out."""
    operation = ring.nop()
    assert not operation.done()
    ring.submit()
    deadline = time.monotonic() + LONG
    while not operation.done():
        assert time.monotonic() < deadline
    assert ring.peek() == [operation]


# --- iterating -------------------------------------------------------------------------------------


def test_iteration_hands_out_until_nothing_is_in_flight(ring: Ring) -> None:
    """Operations that are prepared meanwhile are included."""
    waiting = {ring.nop() for _ in range(5)}
    more = 3
    for operation in ring:
        assert isinstance(operation, Operation)
        waiting.remove(operation)
        if more:
            waiting.add(ring.nop())
            more -= 1
    assert waiting == set()
    assert list(ring) == []


def test_leaving_an_iteration_early_loses_nothing(ring: Ring) -> None:
    """What was not reached yet is handed out by the next call, in order."""
    operations = [ring.nop() for _ in range(5)]
    for operation in ring:
        assert operation is operations[0]
        break
    assert ring.peek() == operations[1:]


# --- counting and showing --------------------------------------------------------------------------


def test_statistics_count(ring: Ring, pipe: tuple[int, int]) -> None:
    """In flight, submitted, completed and free entries, at each step."""
    assert ring.statistics() == (0, 0, 0, 0, 8)
    blocked = ring.read(pipe[0], bytearray(1))
    ring.nop()
    assert ring.statistics() == (2, 0, 0, 0, 6)
    ring.submit()
    ring.wait(1, LONG)
    assert ring.statistics() == (1, 2, 1, 0, 8)
    os.write(pipe[1], b"x")
    blocked.result(LONG)
    assert ring.statistics() == (0, 2, 2, 0, 8)


def test_repr_tells_the_state(ring: Ring, pipe: tuple[int, int]) -> None:
    """Of a ring, open and closed, and of an operation at each stage."""
    assert repr(ring) == f"<Ring fd={ring.fileno()} entries=8 in_flight=0>"
    read = ring.read(pipe[0], bytearray(4), offset=-1)
    assert repr(read) == f"<Operation read of 4 bytes on fd {pipe[0]}: prepared>"
    assert read.name == "read"
    assert read.opcode == "READ"
    assert read.user_data >> 56 == 0x5A
    ring.submit()
    assert repr(read).endswith(": submitted>")
    os.write(pipe[1], b"xy")
    read.result(LONG)
    assert repr(read).endswith(": completed, res=2>")
    assert read.user_data == 0
    ring.close()
    assert repr(ring) == "<Ring closed>"


def test_an_abandoned_operation_is_not_handed_out(ring: Ring) -> None:
    """It completes all the same, and its state says that nobody wants it."""
    first, second = ring.nop(), ring.nop()
    first.abandon()
    assert first.state is State.ABANDONED
    assert ring.wait(1, LONG) == [second]
    assert ring.peek() == []
    assert ring.statistics().in_flight == 0


def test_the_first_exception_of_callbacks_is_raised(ring: Ring) -> None:
    """The others run, and nothing is lost by it."""
    seen: list[Any] = []

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    operations = [ring.nop() for _ in range(3)]
    operations[0].add_done_callback(fail)
    operations[0].add_done_callback(seen.append)
    operations[1].add_done_callback(seen.append)
    with pytest.raises(ZeroDivisionError):
        ring.wait(3, LONG)
    assert seen == operations[:2]
    assert ring.peek() == [operations[2]]


# --- one ring, three layers ------------------------------------------------------------------------


def test_requests_of_the_c_names_come_as_completions(ring: Ring) -> None:
    """SQEs queued through c_ring mix with operations, and keep their user_data."""
    operation = ring.nop()
    sqe = L.io_uring_get_sqe(ring.c_ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 1234)
    got = ring.wait(2, LONG)
    assert set(got) == {operation, Completion(1234, 0, 0)}
    assert ring.peek() == []


def test_a_wait_for_a_foreign_request_alone(ring: Ring) -> None:
    """Nobody counted it, yet wait knows that there is something to wait for."""
    sqe = L.io_uring_get_sqe(ring.c_ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 5)
    assert ring.wait(1, LONG) == [Completion(5, 0, 0)]


def test_more_completions_than_the_queue_holds(ring: Ring) -> None:
    """A thousand operations on a queue of 16 completions all come, each once."""
    operations = [ring.nop() for _ in range(1000)]
    assert set(ring.wait(1000, LONG)) == set(operations)
    assert ring.statistics().completed == 1000


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("by_eventfd", [False, True])
def test_completions_wake_an_epoll_set(pipe: tuple[int, int], by_eventfd: bool, late: bool) -> None:
    """An eventfd of any ring, and the descriptor of one without defer_taskrun, wakes who waits; peek finds it."""
    params = uring.Params() if by_eventfd else uring.Params(defer_taskrun=False)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        with Ring(8, params) as ring, select.epoll() as poll:
            if by_eventfd:
                ring.register_eventfd(eventfd)
            watched = eventfd if by_eventfd else ring.fileno()
            poll.register(watched, select.EPOLLIN)
            read = ring.read(pipe[0], bytearray(1))
            ring.submit()
            assert poll.poll(0) == []
            writer = threading.Thread(target=os.write, args=(pipe[1], b"x"))
            writer.start()
            if not late:
                writer.join(LONG)
            assert poll.poll(LONG) == [(watched, select.EPOLLIN)]
            writer.join(LONG)
            assert ring.peek() == [read]
            if by_eventfd:
                os.eventfd_read(eventfd)
            assert poll.poll(0) == []
    finally:
        os.close(eventfd)


def test_the_descriptor_of_a_deferring_ring_is_readable_when_asked(ring: Ring, pipe: tuple[int, int]) -> None:
    """With defer_taskrun a look at the descriptor tells that something is there, though no epoll set is woken."""
    read = ring.read(pipe[0], bytearray(1))
    ring.submit()
    assert select.select([ring], [], [], 0) == ([], [], [])
    os.write(pipe[1], b"x")
    assert select.select([ring], [], [], 0) == ([ring], [], [])
    assert ring.peek() == [read]
    assert select.select([ring], [], [], 0) == ([], [], [])


# --- helpers ---------------------------------------------------------------------------------------


def test_read_exactly_continues_short_reads(ring: Ring, pipe: tuple[int, int]) -> None:
    """A pipe gives what it has; the buffer is full in the end."""
    writer = threading.Thread(target=lambda: [os.write(pipe[1], b"ab"), os.write(pipe[1], b"c" * 98)])
    writer.start()
    buffer = bytearray(100)
    ring.read_exactly(pipe[0], buffer)
    writer.join(LONG)
    assert bytes(buffer) == b"ab" + b"c" * 98


def test_read_exactly_at_an_offset_and_at_the_end(ring: Ring, tmp_path: Path) -> None:
    """An offset is kept through; a file that ends too soon is an EOFError, and what was read is there."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    buffer = bytearray(4)
    with path.open("rb") as file:
        ring.read_exactly(file, buffer, 3)
        assert bytes(buffer) == b"3456"
        with pytest.raises(EOFError, match="after 2 of 4 bytes"):
            ring.read_exactly(file, buffer, 8)
        assert bytes(buffer) == b"8956"
        ring.read_exactly(file, bytearray(0))


def test_write_all_continues_short_writes(ring: Ring) -> None:
    """A socket takes what fits; everything arrives."""
    left, right = socket.socketpair()
    data = os.urandom(1 << 20)
    received = bytearray()

    def drain() -> None:
        while len(received) < len(data):
            received.extend(right.recv(1 << 16))

    with left, right:
        reader = threading.Thread(target=drain)
        reader.start()
        ring.write_all(left, data)
        reader.join(LONG)
    assert bytes(received) == data


def test_write_all_at_an_offset(ring: Ring, tmp_path: Path) -> None:
    """Any contiguous buffer, at a place of the file."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("r+b") as file:
        ring.write_all(file, memoryview(b"abc"), 2)
    assert path.read_bytes() == b"01abc56789"
    with path.open("rb") as file, pytest.raises(OSError, match="Bad file descriptor"):
        ring.write_all(file, b"x")


# --- leaving ---------------------------------------------------------------------------------------


def test_a_clean_exit_submits_and_waits(tmp_path: Path) -> None:
    """What was only prepared is done when the block is left, and readable afterwards."""
    path = tmp_path / "file"
    with path.open("wb") as file, Ring(8) as ring:
        writes = [ring.write(file, bytes([65 + place]), place) for place in range(20)]
    assert path.read_bytes() == bytes(range(65, 85))
    assert [write.result() for write in writes] == [1] * 20


def test_an_exit_by_an_exception_cancels(pipe: tuple[int, int]) -> None:
    """What is in flight is cancelled, the exception goes on."""
    with pytest.raises(ZeroDivisionError), Ring(8) as ring:  # noqa: PT012
        read = ring.read(pipe[0], bytearray(1))
        ring.submit()
        raise ZeroDivisionError
    with pytest.raises(uring.RingClosed, match="before read of 1 bytes"):
        read.result()


def test_the_exit_timeout_limits_a_clean_exit(pipe: tuple[int, int]) -> None:
    """After it, what is still in flight is cancelled."""
    with Ring(8, exit_timeout=0.001) as ring:
        read = ring.read(pipe[0], bytearray(1))
    assert isinstance(read.exception(), uring.RingClosed)


def test_closing_twice_does_nothing(ring: Ring) -> None:
    """And a known result stays readable."""
    operation = ring.nop()
    ring.wait(1, LONG)
    ring.close()
    ring.close()
    assert ring.closed
    assert operation.result() is None
    assert operation.done()


# --- by whom ---------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Ring, Operation[Any]], Any]] = {
    "nop": lambda ring, _: ring.nop(),
    "read": lambda ring, _: ring.read(0, bytearray(1)),
    "submit": lambda ring, _: ring.submit(),
    "wait": lambda ring, _: ring.wait(0),
    "wait too many": lambda ring, _: ring.wait(100),
    "peek": lambda ring, _: ring.peek(),
    "iteration": lambda ring, _: next(iter(ring)),
    "chain": lambda ring, _: ring.chain().__enter__(),
    "close": lambda ring, _: ring.close(),
    "c_ring": lambda ring, _: ring.c_ring,
    "read_exactly": lambda ring, _: ring.read_exactly(0, bytearray(1)),
    "write_all": lambda ring, _: ring.write_all(1, b"x"),
    "result": lambda _, operation: operation.result(),
    "exception": lambda _, operation: operation.exception(),
    "done": lambda _, operation: operation.done(),
    "cancel": lambda _, operation: operation.cancel(),
}


def outcome(call: Callable[[], Any]) -> Any:
    """What another thread gets: the result, or the exception's class."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except Exception as error:
            got.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    return got[0]


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_is_refused(ring: Ring, pipe: tuple[int, int], name: str) -> None:
    """Each use raises WrongThread and changes nothing."""
    operation = ring.read(pipe[0], bytearray(1))
    assert outcome(lambda: CALLS[name](ring, operation)) is uring.WrongThread
    assert ring.statistics() == (1, 0, 0, 0, 7)
    os.write(pipe[1], b"x")
    assert operation.result(LONG) == 1


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"close", "iteration", "done", "result", "exception"}))
def test_a_closed_ring_is_refused(pipe: tuple[int, int], name: str) -> None:
    """Each use raises RingClosed."""
    ring = Ring(8)
    operation = ring.read(pipe[0], bytearray(1))
    ring.submit()
    ring.close()
    with pytest.raises(uring.RingClosed):
        CALLS[name](ring, operation)
    for call in (ring.fileno, ring.statistics):
        with pytest.raises(uring.RingClosed):
            call()


def test_finished_results_are_for_any_thread(ring: Ring) -> None:
    """A result that is known can be read anywhere, and so can the counters."""
    operation = ring.nop(result=5)
    ring.wait(1, LONG)
    assert outcome(operation.result) == 5
    assert outcome(operation.done) is True
    assert outcome(ring.statistics) == ring.statistics()
    assert outcome(lambda: operation.completion.res) == 5


def test_flags_and_features_are_enums(ring: Ring) -> None:
    """What was really set up, and what this kernel can do."""
    assert isinstance(ring.flags, uring.Setup)
    assert isinstance(ring.features, uring.Feature)
    assert ring.features & uring.Feature.NODROP


def test_a_denied_ring_says_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's refusal becomes an OSError with the reason and what to do."""
    monkeypatch.setattr(Ring, "_init", lambda *_: -errno.EPERM)
    with pytest.raises(PermissionError, match="io_uring cannot be used here"):
        Ring(8)
