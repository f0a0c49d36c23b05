"""Cancelling: what ends and what does not, each answer of the kernel, and targets that cannot be named."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders.cancelling import CancelResult
from uring.errors import ChainBroken, OperationCancelled, RingClosed, Unsupported
from uring.operation import Operation, State
from uring.ring import Ring
from uring.types import FixedFile

CANCELLED, NOT_FOUND, ALREADY_RUNNING = CancelResult.CANCELLED, CancelResult.NOT_FOUND, CancelResult.ALREADY_RUNNING
Pipe = tuple[int, int]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


def _pipe() -> Iterator[Pipe]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


pipe = pytest.fixture(_pipe, name="pipe")
other_pipe = pytest.fixture(_pipe, name="other_pipe")


@pytest.fixture
def by_file() -> None:
    """Skip on kernels that cancel by user_data only."""
    require_opcode("IORING_OP_SOCKET")  # as old as cancelling by file, and any


@pytest.fixture
def by_opcode() -> None:
    """Skip on kernels that cannot cancel by opcode."""
    require_opcode("IORING_OP_WAITID")  # one kernel younger than cancelling by opcode


def answer(cancelling: Operation[CancelResult]) -> tuple[str, int]:
    """Return the name and count of a cancel's result."""
    result = cancelling.result(timeout=10)
    return result.name, result.count


def is_cancelled(operation: Operation[object]) -> bool:
    """Return whether an operation ends with ECANCELED."""
    error = operation.exception(timeout=10)
    return isinstance(error, OperationCancelled) and error.errno == errno.ECANCELED


# The answer


def test_answers_compare_by_name() -> None:
    """Answers are equal by their name, whatever their count, and only CANCELLED is true."""
    many = CancelResult("CANCELLED", 3)
    assert many == CANCELLED
    assert many != NOT_FOUND
    assert hash(many) == hash(CANCELLED)
    assert CANCELLED != "CANCELLED"
    assert [bool(answer) for answer in (CANCELLED, NOT_FOUND, ALREADY_RUNNING)] == [True, False, False]
    assert repr(many) == "<CancelResult.CANCELLED: 3>"
    assert repr(NOT_FOUND) == "<CancelResult.NOT_FOUND>"


# One operation


def test_waiting_operation_is_cancelled(ring: Ring, pipe: Pipe) -> None:
    """A submitted operation that waits ends with OperationCancelled, and the cancel says so."""
    buffer = bytearray(4)
    read = ring.read(pipe[0], buffer)
    ring.submit()
    cancelling = ring.cancel(read)
    assert answer(cancelling) == ("CANCELLED", 1)
    assert is_cancelled(read)
    assert read.state is State.CANCELLED
    os.write(pipe[1], b"late")
    assert os.read(pipe[0], 4) == b"late"
    assert buffer == bytes(4)


def test_prepared_operation_is_cancelled(ring: Ring, pipe: Pipe) -> None:
    """An operation that is not submitted yet can be cancelled: both go to the kernel in their order."""
    read = ring.read(pipe[0], bytearray(4))
    assert read.state is State.PREPARED
    cancelling = ring.cancel(read)
    assert read.state is State.PREPARED
    assert answer(cancelling) == ("CANCELLED", 1)
    assert is_cancelled(read)


def test_operation_cancels_itself(ring: Ring, pipe: Pipe) -> None:
    """`Operation.cancel` is the ring's cancel."""
    poll = ring.poll_add(pipe[0])
    assert answer(poll.cancel()) == ("CANCELLED", 1)
    assert is_cancelled(poll)


def test_cancelled_operations_are_handed_out(ring: Ring, pipe: Pipe) -> None:
    """Both the cancel and its target are returned by `wait`, each once."""
    poll = ring.poll_add(pipe[0])
    cancelling = ring.cancel(poll)
    assert set(ring.wait(2, timeout=10)) == {poll, cancelling}
    assert ring.peek() == []


def test_only_the_target_is_cancelled(ring: Ring, pipe: Pipe) -> None:
    """Operations on the same file are left alone."""
    polls = [ring.poll_add(pipe[0]) for _ in range(3)]
    assert answer(ring.cancel(polls[1])) == ("CANCELLED", 1)
    assert is_cancelled(polls[1])
    assert not polls[0].done()
    os.write(pipe[1], b"x")
    assert polls[0].result() == polls[2].result() != 0


def test_complete_operation_is_not_found(ring: Ring, pipe: Pipe) -> None:
    """Of a complete operation there is nothing to cancel, whether its result was taken or not."""
    nop = ring.nop()
    ring.wait(1, timeout=10)
    poll = ring.poll_add(pipe[0])
    assert answer(ring.cancel(nop)) == ("NOT_FOUND", 0)
    assert nop.result() is None
    assert answer(ring.cancel(nop)) == ("NOT_FOUND", 0)
    assert not poll.done()
    assert answer(ring.cancel(poll)) == ("CANCELLED", 1)


def test_cancel_that_is_too_late_is_not_found(ring: Ring) -> None:
    """An operation that completes before the cancel is submitted keeps its result."""
    nop = ring.nop()
    cancelling = ring.cancel(nop)
    assert answer(cancelling) == ("NOT_FOUND", 0)
    assert cancelling.exception() is None
    assert cancelling.completion.res == -errno.ENOENT
    assert nop.result() is None


def test_stale_operation_does_not_name_a_newer_one(ring: Ring, pipe: Pipe) -> None:
    """Cancelling an operation whose slot is in use again reaches nobody."""
    nop = ring.nop()
    nop.result()
    ring.peek()  # a slot is taken again only after the next reap
    poll = ring.poll_add(pipe[0])
    assert nop._slot == poll._slot
    assert answer(ring.cancel(nop)) == ("NOT_FOUND", 0)
    assert not poll.done()
    assert answer(ring.cancel(poll)) == ("CANCELLED", 1)


def test_complete_target_does_not_name_a_raw_request(ring: Ring, pipe: Pipe) -> None:
    """Cancelling a complete operation does not reach a request with user_data 0 that was queued through `c_ring`."""
    nop = ring.nop()
    nop.result()
    sqe = L.io_uring_get_sqe(ring.c_ring)
    L.io_uring_prep_poll_add(sqe, pipe[0], 1)
    L.io_uring_sqe_set_data64(sqe, 0)
    assert answer(ring.cancel(nop)) == ("NOT_FOUND", 0)
    os.write(pipe[1], b"x")
    (completion,) = ring.wait(1, timeout=10)
    assert completion == (0, 1, 0)


@pytest.mark.parametrize("kind", ["futex_wait", "waitid"])
def test_answer_of_one_counts_as_cancelled(ring: Ring, kind: str) -> None:
    """Futex and waitid requests, for which the kernel answers 1, are CANCELLED as any other."""
    require_opcode("IORING_OP_FUTEX_WAIT", "IORING_OP_WAITID")
    pid = os.fork()
    if not pid:
        threading.Event().wait()
    try:
        word = mmap.mmap(-1, mmap.PAGESIZE)
        waiting = ring.futex_wait(word, 0) if kind == "futex_wait" else ring.waitid(os.P_PID, pid)
        ring.submit()
        cancelling = ring.cancel(waiting)
        assert answer(cancelling) == ("CANCELLED", 1)
        assert cancelling.completion.res == 1
        assert is_cancelled(waiting)
    finally:
        os.kill(pid, 9)
        assert os.waitpid(pid, 0)[0] == pid


def test_running_work_is_already_running(ring: Ring, pipe: Pipe, other_pipe: Pipe) -> None:
    """What a worker is running is ALREADY_RUNNING, no exception; it is interrupted and ends."""
    source, target = os.pipe()
    deadline = time.monotonic() + 10
    result = CANCELLED
    while result != ALREADY_RUNNING:
        assert time.monotonic() < deadline, f"the last cancel said {result}"
        blocked = ring.splice(pipe[0], -1, other_pipe[1], -1, 1)
        os.write(target, b"x")
        # Workers take their work in order: when the second splice is complete, the first was begun.
        assert ring.splice(source, -1, other_pipe[1], -1, 1).result(timeout=10) == 1
        os.read(other_pipe[0], 1)
        cancelling = ring.cancel(blocked)
        result = cancelling.result(timeout=10)
        assert cancelling.exception() is None
        assert isinstance(blocked.exception(timeout=10), OSError)
    os.close(source)
    os.close(target)
    assert result.count == 0


# Many operations


def test_descriptor_names_its_operations(ring: Ring, pipe: Pipe, other_pipe: Pipe, by_file: None) -> None:
    """A descriptor cancels one operation on its file, with `every` all of them, and none on other files."""
    other = ring.poll_add(other_pipe[0])
    polls = [ring.poll_add(pipe[0]) for _ in range(3)]
    ring.submit()
    assert answer(ring.cancel(pipe[0])) == ("CANCELLED", 1)
    assert len([poll for poll in polls if poll.done()]) == 1
    assert answer(ring.cancel(pipe[0], every=True)) == ("CANCELLED", 2)
    assert all(is_cancelled(poll) for poll in polls)
    assert answer(ring.cancel(pipe[0])) == ("NOT_FOUND", 0)
    assert answer(ring.cancel(pipe[0], every=True)) == ("NOT_FOUND", 0)
    assert not other.done()
    assert answer(ring.cancel(other_pipe[0], every=True)) == ("CANCELLED", 1)


def test_object_with_fileno_names_its_operations(ring: Ring, pipe: Pipe, by_file: None) -> None:
    """A file object is as good as its descriptor, and is kept until the cancel is complete."""
    poll = ring.poll_add(pipe[0])
    file = open(pipe[0], closefd=False)  # noqa: SIM115
    cancelling = ring.cancel(file)
    reference = weakref.ref(file)
    del file
    assert reference() is not None
    assert answer(cancelling) == ("CANCELLED", 1)
    assert is_cancelled(poll)
    gc.collect()
    assert reference() is None


def test_registered_file_names_its_operations(ring: Ring, pipe: Pipe, other_pipe: Pipe, by_file: None) -> None:
    """A FixedFile is an index into the registered files; so is an int with `fixed_file`."""
    assert L.io_uring_register_files(ring.c_ring, [other_pipe[0], pipe[0]], 2) == 0
    other = ring.poll_add(FixedFile(0))
    polls = [ring.poll_add(FixedFile(1)) for _ in range(2)]
    assert answer(ring.cancel(FixedFile(1))) == ("CANCELLED", 1)
    assert answer(ring.cancel(1, fixed_file=True)) == ("CANCELLED", 1)
    assert all(is_cancelled(poll) for poll in polls)
    assert not other.done()
    assert answer(ring.cancel(other)) == ("CANCELLED", 1)


def test_everything_is_cancelled(ring: Ring, pipe: Pipe, other_pipe: Pipe, by_file: None) -> None:
    """With neither target nor opcode all operations of the ring are cancelled and counted."""
    waiting = [ring.poll_add(pipe[0]), ring.read(other_pipe[0], bytearray(1)), ring.timeout(600)]
    assert answer(ring.cancel(every=True)) == ("CANCELLED", 3)
    assert all(is_cancelled(operation) for operation in waiting)
    assert answer(ring.cancel(every=True)) == ("NOT_FOUND", 0)


def test_opcode_names_operations(ring: Ring, pipe: Pipe, by_opcode: None) -> None:
    """An opcode, by name or number, cancels one of its operations, with `every` all, and no others."""
    poll = ring.poll_add(pipe[0])
    reads = [ring.read(pipe[0], bytearray(1)) for _ in range(3)]
    assert answer(ring.cancel(opcode="READ")) == ("CANCELLED", 1)
    assert answer(ring.cancel(opcode=L.IORING_OP_READ, every=True)) == ("CANCELLED", 2)
    assert all(is_cancelled(read) for read in reads)
    assert answer(ring.cancel(opcode=reads[0].opcode)) == ("NOT_FOUND", 0)
    assert not poll.done()
    assert answer(ring.cancel(opcode="POLL_ADD")) == ("CANCELLED", 1)


def test_opcode_and_descriptor_must_both_match(ring: Ring, pipe: Pipe, other_pipe: Pipe, by_opcode: None) -> None:
    """With a descriptor and an opcode only operations that fit both are cancelled."""
    poll, read = ring.poll_add(pipe[0]), ring.read(pipe[0], bytearray(1))
    other = ring.read(other_pipe[0], bytearray(1))
    assert answer(ring.cancel(pipe[0], opcode="READ", every=True)) == ("CANCELLED", 1)
    assert is_cancelled(read)
    assert not poll.done()
    assert not other.done()
    assert L.io_uring_register_files(ring.c_ring, [pipe[0]], 1) == 0
    assert answer(ring.cancel(FixedFile(0), opcode="READ")) == ("NOT_FOUND", 0)
    assert answer(ring.cancel(FixedFile(0), opcode="POLL_ADD")) == ("CANCELLED", 1)
    assert is_cancelled(poll)
    assert answer(ring.cancel(every=True)) == ("CANCELLED", 1)


def test_closed_descriptor_is_an_error(ring: Ring, pipe: Pipe, by_file: None) -> None:
    """A descriptor that is not open is an exception, not an answer."""
    closed = os.dup(pipe[0])
    os.close(closed)
    error = ring.cancel(closed).exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF


@pytest.mark.parametrize(
    ("arguments", "feature"),
    [
        ({"target": 0}, "IORING_ASYNC_CANCEL_FD"),
        ({"every": True}, "IORING_ASYNC_CANCEL_ANY"),
        ({"opcode": "READ"}, "IORING_ASYNC_CANCEL_OP"),
    ],
)
def test_kernel_that_lacks_the_way_is_named(ring: Ring, arguments: dict[str, object], feature: str) -> None:
    """EINVAL, by which an older kernel answers, becomes Unsupported with the feature's name."""
    cancelling = ring.cancel(**arguments)  # type: ignore[arg-type]
    cancelling.exception(timeout=10)
    cancelling._res = -errno.EINVAL
    with pytest.raises(Unsupported, match=feature):
        cancelling.result()


# Targets that cannot be named


def test_operation_of_another_ring_is_refused(ring: Ring, pipe: Pipe) -> None:
    """An operation of another ring raises, and nothing is queued."""
    with Ring(4) as other:
        poll = other.poll_add(pipe[0])
        with pytest.raises(ValueError, match="another ring"):
            ring.cancel(poll)
        assert answer(other.cancel(poll)) == ("CANCELLED", 1)
    assert ring.statistics().in_flight == 0


def test_operation_of_an_open_chain_is_refused(ring: Ring, pipe: Pipe) -> None:
    """An operation that is recorded only is not there yet; once its chain is written it can be cancelled."""
    with ring.chain():
        poll = ring.poll_add(pipe[0])
        with pytest.raises(ValueError, match="recorded in an open chain"):
            ring.cancel(poll)
        follower = ring.nop()
    assert answer(ring.cancel(poll)) == ("CANCELLED", 1)
    assert is_cancelled(poll)
    assert isinstance(follower.exception(timeout=10), ChainBroken)


def test_cancel_as_a_link(ring: Ring, pipe: Pipe) -> None:
    """A cancel can be a link of a chain; one that finds nothing breaks it."""
    poll = ring.poll_add(pipe[0])
    with ring.chain():
        first, after = ring.cancel(poll), ring.nop()
    assert answer(first) == ("CANCELLED", 1)
    assert after.result(timeout=10) is None
    with ring.chain():
        second, after = ring.cancel(poll), ring.nop()
    assert answer(second) == ("NOT_FOUND", 0)
    error = after.exception(timeout=10)
    assert isinstance(error, ChainBroken)
    assert error.cause is second


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, TypeError),
        ({"target": None}, TypeError),
        ({"target": "pipe"}, TypeError),
        ({"target": -1}, ValueError),
        ({"opcode": "NO_SUCH"}, ValueError),
        ({"opcode": -1}, ValueError),
        ({"opcode": 250}, ValueError),
        ({"opcode": 1.5}, TypeError),
        ({"every": True, "skip_success": True}, ValueError),
        ({"every": True, "no_such_option": True}, TypeError),
    ],
)
def test_bad_arguments_are_refused(ring: Ring, arguments: dict[str, object], error: type[Exception]) -> None:
    """What cannot be a target raises before anything is queued."""
    with pytest.raises(error):
        ring.cancel(**arguments)  # type: ignore[arg-type]
    assert ring.statistics().in_flight == 0


def test_one_operation_takes_no_selection(ring: Ring, pipe: Pipe) -> None:
    """`every` and `opcode` with an operation are refused."""
    poll = ring.poll_add(pipe[0])
    for selection in ({"every": True}, {"opcode": "POLL_ADD"}):
        with pytest.raises(ValueError, match="the target is one"):
            ring.cancel(poll, **selection)  # type: ignore[arg-type]
    assert answer(ring.cancel(poll)) == ("CANCELLED", 1)


def test_closed_ring_is_refused(pipe: Pipe) -> None:
    """Nothing is cancelled on a closed ring."""
    ring = Ring(4)
    poll = ring.poll_add(pipe[0])
    ring.submit()
    ring.close()
    with pytest.raises(RingClosed):
        ring.cancel(poll)


def test_description_names_the_target(ring: Ring, pipe: Pipe) -> None:
    """The cancel's description has the target's; the target is not kept alive by it."""
    poll = ring.poll_add(pipe[0])
    cancelling = ring.cancel(poll)
    assert cancelling.description() == f"cancel of poll_add on fd {pipe[0]}"
    assert answer(cancelling) == ("CANCELLED", 1)
    ring.wait(1, timeout=10)
    reference = weakref.ref(poll)
    del poll
    gc.collect()
    assert reference() is None
