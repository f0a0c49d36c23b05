"""Polls and epoll sets: what is ready, polls that are changed or removed, events with their data."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import weakref
from collections.abc import Iterator

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders.cancelling import CancelResult
from uring.builders.polling import EpollCtl
from uring.errors import OperationCancelled, Unsupported
from uring.operation import Operation, State
from uring.ring import Ring
from uring.types import FixedFile

IN, OUT, HUP, RDHUP = select.POLLIN, select.POLLOUT, select.POLLHUP, select.POLLRDHUP
Pipe = tuple[int, int]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    """Open an epoll set; skip on kernels whose rings cannot wait on one."""
    require_opcode("IORING_OP_EPOLL_CTL", "IORING_OP_EPOLL_WAIT")
    with select.epoll() as epoll:
        yield epoll


def in_flight(ring: Ring, operation: Operation[object]) -> bool:
    """Submit, and return whether the operation is still waiting."""
    ring.submit()
    ring.wait(0)
    return operation.state is State.SUBMITTED


# Polling


def test_poll_tells_what_is_ready(ring: Ring, pipe: Pipe) -> None:
    """The result is the mask of those events asked for that hold."""
    reader, writer = pipe
    assert ring.poll_add(writer, IN | OUT).result(timeout=10) == OUT
    os.write(writer, b"x")
    assert ring.poll_add(reader, IN | OUT).result(timeout=10) == IN


def test_poll_waits_for_its_event(ring: Ring, pipe: Pipe) -> None:
    """A poll stays in flight until its event comes; the default is something to read."""
    poll = ring.poll_add(pipe[0])
    assert in_flight(ring, poll)
    os.write(pipe[1], b"x")
    assert poll.result(timeout=10) == IN
    assert ring.peek() == []


def test_hangup_is_told_unasked(ring: Ring) -> None:
    """A hang-up is part of every mask."""
    one, two = socket.socketpair()
    with one:
        poll = ring.poll_add(one, 0)
        assert in_flight(ring, poll)
        two.close()
        assert poll.result(timeout=10) == HUP | RDHUP


def test_upper_bits_of_a_mask_count(ring: Ring, pipe: Pipe) -> None:
    """EPOLLEXCLUSIVE, which lies beyond 16 bits, wakes one poll for one event."""
    exclusive = [ring.poll_add(pipe[0], IN | select.EPOLLEXCLUSIVE) for _ in range(2)]
    ordinary = ring.poll_add(pipe[0], IN)
    ring.submit()
    os.write(pipe[1], b"x")
    assert ordinary.result(timeout=10) == IN
    (woken,) = ring.wait(1, timeout=10)
    assert woken in exclusive
    assert sum(poll.cancel().result(timeout=10).count for poll in exclusive) == 1


def test_polled_object_is_kept(ring: Ring, pipe: Pipe) -> None:
    """An object with `fileno()` lives until the poll is complete."""
    file = open(pipe[0], closefd=False)  # noqa: SIM115
    poll = ring.poll_add(file)
    reference = weakref.ref(file)
    del file
    gc.collect()
    assert reference() is not None
    os.write(pipe[1], b"x")
    assert poll.result(timeout=10) == IN
    gc.collect()
    assert reference() is None


def test_registered_file_is_polled(ring: Ring, pipe: Pipe) -> None:
    """A FixedFile can be polled."""
    assert L.io_uring_register_files(ring.c_ring, [pipe[1]], 1) == 0
    assert ring.poll_add(FixedFile(0), OUT).result(timeout=10) == OUT


def test_poll_links_to_a_read(ring: Ring, pipe: Pipe) -> None:
    """A read behind a poll runs when the file is ready; with `skip_success` the poll's result is 0."""
    buffer = bytearray(4)
    with ring.chain():
        poll, read = ring.poll_add(pipe[0], skip_success=True), ring.read(pipe[0], buffer)
    assert in_flight(ring, read)
    os.write(pipe[1], b"data")
    assert read.result(timeout=10) == 4
    assert poll.result() == 0
    assert buffer == b"data"


def test_poll_of_a_closed_descriptor_fails(ring: Ring, pipe: Pipe) -> None:
    """A descriptor that is not open is EBADF, with the number in the message."""
    closed = os.dup(pipe[0])
    os.close(closed)
    with pytest.raises(OSError, match=rf"poll_add on fd {closed}") as caught:
        ring.poll_add(closed).result(timeout=10)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize(
    ("fd", "mask", "error"),
    [
        (-1, IN, ValueError),
        ("pipe", IN, TypeError),
        (0, -1, ValueError),
        (0, 1 << 32, ValueError),
        (0, "IN", TypeError),
    ],
)
def test_bad_polls_are_refused(ring: Ring, fd: int, mask: int, error: type[Exception]) -> None:
    """No descriptor or no mask raises before anything is queued."""
    with pytest.raises(error):
        ring.poll_add(fd, mask)
    assert ring.statistics().in_flight == 0


# Removing and changing polls


def test_removed_poll_is_cancelled(ring: Ring, pipe: Pipe) -> None:
    """A removed poll ends with OperationCancelled; a poll that is gone is not found, and no exception."""
    poll = ring.poll_add(pipe[0])
    assert ring.poll_remove(poll).result(timeout=10) == CancelResult.CANCELLED
    assert isinstance(poll.exception(), OperationCancelled)
    again = ring.poll_remove(poll)
    assert again.result(timeout=10) == CancelResult.NOT_FOUND
    assert again.exception() is None


def test_updated_poll_waits_for_the_new_event(ring: Ring, pipe: Pipe) -> None:
    """After an update the poll ends by the new event and not by the old one."""
    reader, writer = socket.socketpair()
    with reader, writer:
        poll = ring.poll_add(reader, select.POLLPRI)
        assert in_flight(ring, poll)
        assert ring.poll_update(poll, RDHUP).result(timeout=10) is True
        writer.send(b"x")
        assert in_flight(ring, poll)
        writer.close()
        assert poll.result(timeout=10) & RDHUP


def test_update_to_what_is_ready_ends_the_poll(ring: Ring, pipe: Pipe) -> None:
    """An update to an event that holds already lets the poll end at once."""
    poll = ring.poll_add(pipe[1], IN)
    assert in_flight(ring, poll)
    assert ring.poll_update(poll, OUT).result(timeout=10) is True
    assert poll.result(timeout=10) == OUT


def test_update_that_is_too_late(ring: Ring, pipe: Pipe) -> None:
    """An update of a poll that is complete is False, and no exception."""
    poll = ring.poll_add(pipe[1], OUT)
    poll.result(timeout=10)
    update = ring.poll_update(poll, IN)
    assert update.result(timeout=10) is False
    assert update.exception() is None
    assert update.description() == f"poll_update of poll_add on fd {pipe[1]}"


def test_only_polls_are_removed_and_updated(ring: Ring) -> None:
    """Another kind of operation is refused, and so is what is no operation."""
    timeout = ring.timeout(600)
    for target, error in ((timeout, ValueError), (5, TypeError)):
        with pytest.raises(error):
            ring.poll_remove(target)  # type: ignore[arg-type]
        with pytest.raises(error):
            ring.poll_update(target, IN)  # type: ignore[arg-type]
    assert timeout.cancel().result(timeout=10)


def test_polls_of_other_rings_and_open_chains_are_refused(ring: Ring, pipe: Pipe) -> None:
    """A poll of another ring, or one that is only recorded, cannot be removed or updated."""
    with Ring(4) as other:
        poll = other.poll_add(pipe[1], OUT)
        with pytest.raises(ValueError, match="another ring"):
            ring.poll_remove(poll)
    with ring.chain():
        poll = ring.poll_add(pipe[1], OUT)
        with pytest.raises(ValueError, match="open chain"):
            ring.poll_update(poll, IN)
    assert poll.result(timeout=10) == OUT


def test_update_needs_its_kernel(ring: Ring, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without the feature bit of 5.13 is told to lack updates, before anything is queued."""
    poll = ring.poll_add(pipe[0])
    with monkeypatch.context() as patch:
        patch.setattr(ring._ring, "features", 0)
        with pytest.raises(Unsupported, match=r"POLL_UPDATE_EVENTS: it needs Linux 5\.13"):
            ring.poll_update(poll, OUT)
    assert poll.cancel().result(timeout=10)


# Epoll


def test_epoll_set_is_filled_and_waited_on(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """What is added is told when it is ready, as (descriptor, events); a wait stays in flight until then."""
    assert ring.epoll_ctl(epoll, pipe[0], EpollCtl.ADD, select.EPOLLIN).result(timeout=10) is None
    wait = ring.epoll_wait(epoll)
    assert in_flight(ring, wait)
    os.write(pipe[1], b"x")
    assert wait.result(timeout=10) == [(pipe[0], select.EPOLLIN)]
    assert epoll.poll(0) == [(pipe[0], select.EPOLLIN)]


def test_epoll_entries_are_changed_and_removed(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """MOD changes the events, DEL takes the descriptor out."""
    os.write(pipe[1], b"x")
    ring.epoll_ctl(epoll, pipe[0], EpollCtl.ADD, select.EPOLLPRI).result(timeout=10)
    assert epoll.poll(0) == []
    ring.epoll_ctl(epoll, pipe[0], EpollCtl.MOD, select.EPOLLIN).result(timeout=10)
    assert epoll.poll(0) == [(pipe[0], select.EPOLLIN)]
    ring.epoll_ctl(epoll, pipe[0], EpollCtl.DEL).result(timeout=10)
    assert epoll.poll(0) == []


def test_entries_of_select_epoll_are_told(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """A set that select.epoll filled is told as select.epoll would."""
    epoll.register(pipe[0], select.EPOLLIN)
    epoll.register(pipe[1], select.EPOLLOUT)
    os.write(pipe[1], b"x")
    assert sorted(ring.epoll_wait(epoll.fileno()).result(timeout=10)) == sorted(epoll.poll(0))


def test_epoll_wait_tells_no_more_than_asked(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """At most `maxevents` are told at a time, and the others the next time."""
    copies = [os.dup(pipe[1]) for _ in range(3)]
    for fd in copies:
        epoll.register(fd, select.EPOLLOUT)
    told = set()
    for _ in copies:
        ((fd, events),) = ring.epoll_wait(epoll, 1).result(timeout=10)
        assert events == select.EPOLLOUT
        told.add(fd)
        epoll.unregister(fd)
    assert told == set(copies)
    for fd in copies:
        os.close(fd)


def test_epoll_data_comes_back(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """64 bits of data come back whole with `data64`, and their lower half as a signed number without."""
    data = 0xFEDC_BA98_FFFF_FFFE
    ring.epoll_ctl(epoll, pipe[1], EpollCtl.ADD, select.EPOLLOUT | select.EPOLLET, data).result(timeout=10)
    assert ring.epoll_wait(epoll, data64=True).result(timeout=10) == [(data, select.EPOLLOUT)]
    ring.epoll_ctl(epoll, pipe[1], EpollCtl.MOD, select.EPOLLOUT, data).result(timeout=10)
    assert ring.epoll_wait(epoll).result(timeout=10) == [(-2, select.EPOLLOUT)]


def test_epoll_result_can_be_read_again(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """The events are kept with the operation: a second `result()` gives the same."""
    epoll.register(pipe[1], select.EPOLLOUT)
    wait = ring.epoll_wait(epoll)
    first = wait.result(timeout=10)
    ring.epoll_wait(epoll).result(timeout=10)
    assert wait.result() == first == [(pipe[1], select.EPOLLOUT)]


def test_epoll_set_may_be_a_registered_file(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """A FixedFile can be waited on, but not be filled: the kernel would take the index for a descriptor."""
    epoll.register(pipe[1], select.EPOLLOUT)
    assert L.io_uring_register_files(ring.c_ring, [epoll.fileno()], 1) == 0
    assert ring.epoll_wait(FixedFile(0)).result(timeout=10) == [(pipe[1], select.EPOLLOUT)]
    with pytest.raises(ValueError, match="ordinary descriptors"):
        ring.epoll_ctl(FixedFile(0), pipe[0], EpollCtl.ADD)
    with pytest.raises(ValueError, match="ordinary descriptors"):
        ring.epoll_ctl(epoll, FixedFile(0), EpollCtl.ADD)
    with pytest.raises(ValueError, match="fixed_file"):
        ring.epoll_ctl(epoll, pipe[0], EpollCtl.ADD, fixed_file=True)


def test_epoll_errors(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """Adding twice, removing what is not there, and a set that is none are the errors of epoll_ctl(2)."""
    ring.epoll_ctl(epoll, pipe[0], EpollCtl.ADD, select.EPOLLIN).result(timeout=10)
    with pytest.raises(FileExistsError):
        ring.epoll_ctl(epoll, pipe[0], EpollCtl.ADD, select.EPOLLIN).result(timeout=10)
    with pytest.raises(FileNotFoundError):
        ring.epoll_ctl(epoll, pipe[1], EpollCtl.DEL).result(timeout=10)
    for operation in (ring.epoll_ctl(pipe[0], pipe[1], EpollCtl.ADD), ring.epoll_wait(pipe[0])):
        error = operation.exception(timeout=10)
        assert isinstance(error, OSError)
        assert error.errno == errno.EINVAL


def test_cancelled_epoll_wait(ring: Ring, pipe: Pipe, epoll: select.epoll) -> None:
    """A cancelled wait ends with OperationCancelled and takes no events."""
    epoll.register(pipe[0], select.EPOLLIN)
    wait = ring.epoll_wait(epoll)
    assert wait.cancel().result(timeout=10)
    assert isinstance(wait.exception(), OperationCancelled)
    os.write(pipe[1], b"x")
    assert ring.epoll_wait(epoll).result(timeout=10) == [(pipe[0], select.EPOLLIN)]


def test_bad_epoll_arguments_are_refused(ring: Ring, epoll: select.epoll) -> None:
    """Numbers out of range, and a set that is closed, raise before anything is queued."""
    with pytest.raises(ValueError, match="maxevents"):
        ring.epoll_wait(epoll, 0)
    with pytest.raises(ValueError, match="maxevents"):
        ring.epoll_wait(epoll, 1 << 20)
    with pytest.raises(ValueError, match="skip_success"):
        ring.epoll_wait(epoll, skip_success=True)
    with pytest.raises(ValueError, match="data"):
        ring.epoll_ctl(epoll, 0, EpollCtl.ADD, 0, 1 << 64)
    with pytest.raises(TypeError):
        ring.epoll_ctl(epoll, None, EpollCtl.ADD)  # type: ignore[arg-type]
    epoll.close()
    with pytest.raises(ValueError, match="closed"):
        ring.epoll_wait(epoll)
    assert ring.statistics().in_flight == 0
