"""Rings and epoll: epoll driven through a ring, a ring watched by epoll, and eventfds that tell of completions."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from errno import EBADF, EBADFD, EBUSY, ECANCELED, EEXIST, EINVAL, ENOENT, ENXIO, EPERM
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode

from uring import liburing as L

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
DEFERRED = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN
Pipe = tuple[int, int]


def start(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> None:
    """Submit a request; the caller keeps its arguments alive until it completes."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1


def complete(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run one request to its end and return its `res`; its arguments stay alive meanwhile."""
    start(ring, 0, prepare, *args)
    ((_user_data, res, _flags),) = reap(ring)
    return res


def run_nop(ring: Any, flags: int = 0) -> None:
    """Run a NOP to its end."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_flags(sqe, flags)
    assert len(reap(ring)) == 1


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    """Make an epoll set."""
    with select.epoll() as epoll:
        yield epoll


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    """Make two pipes."""
    pipes = [os.pipe(), os.pipe()]
    yield pipes
    for reader, writer in pipes:
        os.close(reader)
        os.close(writer)


# epoll_ctl


def epoll_ctl(ring: Any, epoll: select.epoll, fd: int, op: int, events: int = select.EPOLLIN) -> int:
    """Run an epoll_ctl request and return its result."""
    event = L.epoll_event(events=events, data={"u64": fd})
    return complete(ring, L.io_uring_prep_epoll_ctl, epoll.fileno(), fd, op, event)


def test_epoll_ctl_adds_modifies_and_deletes(ring: Any, epoll: select.epoll, pipes: list[Pipe]) -> None:
    """What a ring puts into an epoll set, changes and takes out is what epoll_wait(2) then sees."""
    require_opcode("IORING_OP_EPOLL_CTL")
    writer = pipes[0][1]
    assert epoll_ctl(ring, epoll, writer, EPOLL_CTL_ADD, select.EPOLLOUT) == 0
    assert epoll.poll(0) == [(writer, select.EPOLLOUT)]
    assert epoll_ctl(ring, epoll, writer, EPOLL_CTL_MOD, select.EPOLLERR) == 0
    assert epoll.poll(0) == []
    assert epoll_ctl(ring, epoll, writer, EPOLL_CTL_MOD, select.EPOLLOUT) == 0
    assert epoll_ctl(ring, epoll, writer, EPOLL_CTL_DEL) == 0
    assert epoll.poll(0) == []


def test_epoll_ctl_errors(ring: Any, epoll: select.epoll, pipes: list[Pipe], tmp_path: Path) -> None:
    """Twice the same file, one that is not there, a file that cannot be polled, and no epoll set are refused."""
    require_opcode("IORING_OP_EPOLL_CTL")
    (reader, _), (other, _) = pipes
    assert epoll_ctl(ring, epoll, reader, EPOLL_CTL_ADD) == 0
    assert epoll_ctl(ring, epoll, reader, EPOLL_CTL_ADD) == -EEXIST
    assert epoll_ctl(ring, epoll, other, EPOLL_CTL_MOD) == -ENOENT
    event = L.epoll_event()
    assert complete(ring, L.io_uring_prep_epoll_ctl, reader, other, EPOLL_CTL_ADD, event) == -EINVAL
    with (tmp_path / "file").open("wb") as file:
        assert epoll_ctl(ring, epoll, file.fileno(), EPOLL_CTL_ADD) == -EPERM


# epoll_wait


def names(events: Any, count: int) -> list[tuple[int, int]]:
    """Return what `select.epoll.poll` would for the events that a wait stored."""
    return sorted((event.data.fd, event.events) for event in events[0:count])


@pytest.fixture
def watched(epoll: select.epoll, pipes: list[Pipe]) -> list[Pipe]:
    """Watch the reading ends of both pipes."""
    require_opcode("IORING_OP_EPOLL_WAIT")
    for reader, _writer in pipes:
        epoll.register(reader, select.EPOLLIN)
    return pipes


def test_epoll_wait_returns_what_is_ready(ring: Any, epoll: select.epoll, watched: list[Pipe]) -> None:
    """An epoll_wait gives the files that are ready, at most as many as there is room for."""
    events = L.epoll_event(4)
    for _reader, writer in watched:
        os.write(writer, b"x")
    assert complete(ring, L.io_uring_prep_epoll_wait, epoll.fileno(), events, 4, 0) == 2
    assert names(events, 2) == sorted((reader, select.EPOLLIN) for reader, _writer in watched)
    assert complete(ring, L.io_uring_prep_epoll_wait, epoll.fileno(), events, 1, 0) == 1


def test_epoll_wait_waits(ring: Any, epoll: select.epoll, watched: list[Pipe]) -> None:
    """An epoll_wait stays in flight until a file becomes ready."""
    events = L.epoll_event(4)
    start(ring, 1, L.io_uring_prep_epoll_wait, epoll.fileno(), events, 4, 0)
    assert is_empty(ring)
    reader, writer = watched[1]
    os.write(writer, b"x")
    assert reap(ring) == [(1, 1, 0)]
    assert names(events, 1) == [(reader, select.EPOLLIN)]


def test_epoll_wait_sees_files_added_later(ring: Any, epoll: select.epoll, watched: list[Pipe]) -> None:
    """A wait in flight completes for a file that was put into the set after it began."""
    events = L.epoll_event(4)
    start(ring, 1, L.io_uring_prep_epoll_wait, epoll.fileno(), events, 4, 0)
    writer = watched[0][1]
    epoll.register(writer, select.EPOLLOUT)
    assert reap(ring) == [(1, 1, 0)]
    assert names(events, 1) == [(writer, select.EPOLLOUT)]


def test_epoll_wait_can_be_cancelled(ring: Any, epoll: select.epoll, watched: list[Pipe]) -> None:
    """A cancelled epoll_wait is -ECANCELED, and takes no event away."""
    events = L.epoll_event(4)
    start(ring, 1, L.io_uring_prep_epoll_wait, epoll.fileno(), events, 4, 0)
    start(ring, 2, L.io_uring_prep_cancel64, 1, 0)
    assert (1, -ECANCELED, 0) in reap(ring, 2)
    os.write(watched[0][1], b"x")
    assert epoll.poll(0) == [(watched[0][0], select.EPOLLIN)]


def test_epoll_wait_errors(ring: Any, epoll: select.epoll, watched: list[Pipe]) -> None:
    """No room, an unknown flag, a file that is no epoll set: -EINVAL; a closed descriptor: -EBADF."""
    events, fd = L.epoll_event(1), epoll.fileno()
    assert complete(ring, L.io_uring_prep_epoll_wait, fd, events, 0, 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_epoll_wait, fd, events, 1, 1) == -EINVAL
    assert complete(ring, L.io_uring_prep_epoll_wait, watched[0][0], events, 1, 0) == -EINVAL
    closed = os.dup(fd)
    os.close(closed)
    assert complete(ring, L.io_uring_prep_epoll_wait, closed, events, 1, 0) == -EBADF


# A ring in an epoll set


def test_ring_is_readable_while_it_has_cqes(ring: Any, epoll: select.epoll) -> None:
    """A ring becomes readable with its first CQE, and stays so until the last one is seen."""
    epoll.register(ring.ring_fd, select.EPOLLIN)
    L.io_uring_prep_nop(get_sqe(ring))
    L.io_uring_prep_nop(get_sqe(ring))
    assert epoll.poll(0) == []
    L.io_uring_submit(ring)
    for _ in range(2):
        assert epoll.poll(10) == [(ring.ring_fd, select.EPOLLIN)]
        L.io_uring_cq_advance(ring, 1)
    assert epoll.poll(0) == []


def test_ring_is_writable_while_it_has_room(make_ring: Callable[..., Any]) -> None:
    """A ring is writable as long as its submission queue is not full."""
    ring = make_ring(1, L.IORING_SETUP_R_DISABLED)
    poll = select.poll()
    poll.register(ring.ring_fd, select.POLLOUT)
    assert poll.poll(0) == [(ring.ring_fd, select.POLLOUT)]
    L.io_uring_prep_nop(get_sqe(ring))
    assert L.io_uring_submit(ring) == -EBADFD
    assert poll.poll(0) == []
    assert L.io_uring_enable_rings(ring) == 0
    assert len(reap(ring)) == 1
    assert poll.poll(0) == [(ring.ring_fd, select.POLLOUT)]


def test_epoll_wakes_for_a_request_that_completes_later(ring: Any, epoll: select.epoll, pipes: list[Pipe]) -> None:
    """A wait in epoll ends when a request of the watched ring completes."""
    epoll.register(ring.ring_fd, select.EPOLLIN)
    reader, writer = pipes[0]
    buffer = L.ffi.new("char[8]")
    start(ring, 1, L.io_uring_prep_read, reader, buffer, 8, 0)
    assert epoll.poll(0) == []
    os.write(writer, b"late")
    assert epoll.poll(10) == [(ring.ring_fd, select.EPOLLIN)]
    assert reap(ring) == [(1, 4, 0)]


def test_deferred_ring_needs_an_enter(make_ring: Callable[..., Any], pipes: list[Pipe]) -> None:
    """A DEFER_TASKRUN ring with work to do is readable and still has no CQE: only an enter posts it."""
    ring = make_ring(8, DEFERRED)
    poll = select.poll()
    poll.register(ring.ring_fd, select.POLLIN)
    reader, writer = pipes[0]
    buffer = L.ffi.new("char[8]")
    start(ring, 1, L.io_uring_prep_read, reader, buffer, 8, 0)
    os.write(writer, b"late")
    assert poll.poll(10_000) == [(ring.ring_fd, select.POLLIN)]
    assert is_empty(ring)
    deadline = time.monotonic() + 10
    while not L.io_uring_cq_ready(ring):  # one enter is enough on newer kernels
        assert L.io_uring_get_events(ring) >= 0
        assert time.monotonic() < deadline
    assert reap(ring) == [(1, 4, 0)]


def test_taskrun_flag_makes_peeking_enough(make_ring: Callable[..., Any], pipes: list[Pipe]) -> None:
    """With TASKRUN_FLAG a DEFER_TASKRUN ring says that it has work, and a peek then enters by itself."""
    ring = make_ring(8, DEFERRED | L.IORING_SETUP_TASKRUN_FLAG)
    reader, writer = pipes[0]
    buffer = L.ffi.new("char[8]")
    start(ring, 1, L.io_uring_prep_read, reader, buffer, 8, 0)
    assert not ring.sq.kflags[0] & L.IORING_SQ_TASKRUN
    os.write(writer, b"late")
    assert ring.sq.kflags[0] & L.IORING_SQ_TASKRUN
    deadline = time.monotonic() + 10
    while is_empty(ring):  # one peek is enough on newer kernels
        assert time.monotonic() < deadline
    assert not ring.sq.kflags[0] & L.IORING_SQ_TASKRUN
    assert reap(ring) == [(1, 4, 0)]


# Eventfds


@pytest.fixture
def eventfd() -> Iterator[int]:
    """Make an eventfd."""
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield fd
    os.close(fd)


def signals(eventfd: int) -> int:
    """Return how often an eventfd was signalled since it was asked last."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


def test_eventfd_is_signalled_by_completions(ring: Any, eventfd: int) -> None:
    """A registered eventfd is signalled by each submit that completes something, until it is unregistered."""
    assert L.io_uring_register_eventfd(ring, eventfd) == 0
    assert signals(eventfd) == 0
    for _ in range(3):
        run_nop(ring)
    assert signals(eventfd) == 3
    assert L.io_uring_unregister_eventfd(ring) == 0
    run_nop(ring)
    assert signals(eventfd) == 0


def test_eventfd_counts_batches_not_completions(ring: Any, eventfd: int) -> None:
    """Completions posted together may be one signal: its count says that something came, not how much."""
    assert L.io_uring_register_eventfd(ring, eventfd) == 0
    for _ in range(4):
        L.io_uring_prep_nop(get_sqe(ring))
    assert len(reap(ring, 4)) == 4
    assert 1 <= signals(eventfd) <= 4


def test_eventfd_registration_errors(ring: Any, eventfd: int, pipes: list[Pipe]) -> None:
    """A second eventfd, another kind of file, a closed one, and unregistering none are refused."""
    assert L.io_uring_unregister_eventfd(ring) == -ENXIO
    assert L.io_uring_register_eventfd(ring, pipes[0][0]) == -EINVAL
    closed = os.dup(eventfd)
    os.close(closed)
    assert L.io_uring_register_eventfd(ring, closed) == -EBADF
    assert L.io_uring_register_eventfd(ring, eventfd) == 0
    assert L.io_uring_register_eventfd(ring, eventfd) == -EBUSY


def test_async_eventfd_ignores_what_completes_at_once(ring: Any, eventfd: int) -> None:
    """An eventfd registered as async is signalled for requests that a worker ran, not for those done at submit."""
    assert L.io_uring_register_eventfd_async(ring, eventfd) == 0
    run_nop(ring)
    assert signals(eventfd) == 0
    run_nop(ring, L.IOSQE_ASYNC)
    poll = select.poll()
    poll.register(eventfd, select.POLLIN)
    assert poll.poll(10_000) == [(eventfd, select.POLLIN)]


def test_eventfd_can_be_switched_off_and_on(ring: Any, eventfd: int) -> None:
    """A toggle stops the signals without unregistering, and starts them again."""
    if not ring.cq.kflags:
        pytest.skip("this kernel lacks IORING_CQ_EVENTFD_DISABLED")
    assert L.io_uring_register_eventfd(ring, eventfd) == 0
    assert L.io_uring_cq_eventfd_enabled(ring)
    assert L.io_uring_cq_eventfd_toggle(ring, False) == 0
    assert not L.io_uring_cq_eventfd_enabled(ring)
    assert ring.cq.kflags[0] & L.IORING_CQ_EVENTFD_DISABLED
    run_nop(ring)
    assert signals(eventfd) == 0
    assert L.io_uring_cq_eventfd_toggle(ring, True) == 0
    run_nop(ring)
    assert signals(eventfd) == 1


def test_eventfd_tells_of_deferred_work(make_ring: Callable[..., Any], eventfd: int, pipes: list[Pipe]) -> None:
    """The eventfd of a DEFER_TASKRUN ring is signalled when there is work, before its CQE is posted."""
    ring = make_ring(8, DEFERRED)
    assert L.io_uring_register_eventfd(ring, eventfd) == 0
    reader, writer = pipes[0]
    buffer = L.ffi.new("char[8]")
    start(ring, 1, L.io_uring_prep_read, reader, buffer, 8, 0)
    assert signals(eventfd) == 0
    os.write(writer, b"late")
    poll = select.poll()
    poll.register(eventfd, select.POLLIN)
    assert poll.poll(10_000) == [(eventfd, select.POLLIN)]
    assert L.io_uring_cq_ready(ring) == 0
    assert reap(ring) == [(1, 4, 0)]
