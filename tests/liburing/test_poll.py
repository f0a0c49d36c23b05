"""Polling files through the ring: what is ready, changing and removing polls, exclusive wake-ups."""

from __future__ import annotations

import fcntl
import os
import select
import socket
from collections.abc import Callable, Iterator
from errno import EBADF, ECANCELED, EINVAL, ENOENT
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap

from uring import liburing as L

IN, OUT, ERR, HUP, RDHUP = select.POLLIN, select.POLLOUT, select.POLLERR, select.POLLHUP, select.POLLRDHUP


def start(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> None:
    """Submit a request."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1


def complete(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run one request to its end and return its `res`."""
    start(ring, 0, prepare, *args)
    ((_user_data, res, _flags),) = reap(ring)
    return res


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a connected pair of sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


# Adding


def test_poll_of_what_is_ready_completes_at_once(ring: Any, pipe: tuple[int, int]) -> None:
    """A poll gives those of the events asked for that hold already."""
    reader, writer = pipe
    assert complete(ring, L.io_uring_prep_poll_add, writer, IN | OUT) == OUT
    os.write(writer, b"x")
    assert complete(ring, L.io_uring_prep_poll_add, reader, IN | OUT) == IN


def test_poll_waits_and_fires_once(ring: Any, pipe: tuple[int, int]) -> None:
    """A poll stays in flight until its event comes, and then is over."""
    reader, writer = pipe
    start(ring, 1, L.io_uring_prep_poll_add, reader, IN)
    assert is_empty(ring)
    os.write(writer, b"x")
    assert reap(ring) == [(1, IN, 0)]
    os.write(writer, b"x")
    assert is_empty(ring)


def test_poll_for_writing_waits_for_room(ring: Any, pipe: tuple[int, int]) -> None:
    """A poll for writing of a full pipe fires when somebody reads."""
    reader, writer = pipe
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(size))
    start(ring, 1, L.io_uring_prep_poll_add, writer, OUT)
    assert is_empty(ring)
    os.read(reader, size)
    assert reap(ring) == [(1, OUT, 0)]


def test_hangup_is_told_unasked(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """A hang-up comes whether asked for or not: POLLHUP as in poll(2), and unlike there POLLRDHUP too."""
    one, two = pair
    start(ring, 1, L.io_uring_prep_poll_add, one.fileno(), 0)
    assert is_empty(ring)
    two.close()
    assert reap(ring) == [(1, HUP | RDHUP, 0)]


def test_error_is_told_unasked(ring: Any) -> None:
    """POLLERR comes for the writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    start(ring, 1, L.io_uring_prep_poll_add, writer, 0)
    assert is_empty(ring)
    os.close(reader)
    assert reap(ring) == [(1, ERR, 0)]
    os.close(writer)


def test_files_are_always_ready(ring: Any, tmp_path: Path) -> None:
    """A regular file can be polled, and is ready."""
    with (tmp_path / "file").open("w+b") as file:
        assert complete(ring, L.io_uring_prep_poll_add, file.fileno(), IN | OUT) == IN | OUT


def test_closed_descriptor_is_refused(ring: Any, pipe: tuple[int, int]) -> None:
    """A poll of a closed descriptor is -EBADF."""
    closed = os.dup(pipe[0])
    os.close(closed)
    assert complete(ring, L.io_uring_prep_poll_add, closed, IN) == -EBADF


def test_level_is_not_for_adding(ring: Any, pipe: tuple[int, int]) -> None:
    """IORING_POLL_ADD_LEVEL on a single poll is -EINVAL."""
    sqe = get_sqe(ring)
    L.io_uring_prep_poll_add(sqe, pipe[0], IN)
    sqe.len = L.IORING_POLL_ADD_LEVEL
    assert [res for _user_data, res, _flags in reap(ring)] == [-EINVAL]


def test_closing_the_descriptor_does_not_end_the_poll(ring: Any) -> None:
    """A poll keeps its file open: closing the descriptor does not cancel it, and it fires as before."""
    reader, writer = os.pipe()
    start(ring, 1, L.io_uring_prep_poll_add, reader, IN)
    os.close(reader)
    assert is_empty(ring)
    os.write(writer, b"x")
    assert reap(ring) == [(1, IN, 0)]
    os.close(writer)


def test_poll_and_read_can_be_linked(ring: Any, pipe: tuple[int, int]) -> None:
    """A read linked behind a poll runs when the poll has fired."""
    reader, writer = pipe
    buffer = L.ffi.new("char[8]")
    poll, read = get_sqe(ring), get_sqe(ring)
    L.io_uring_prep_poll_add(poll, reader, IN)
    L.io_uring_sqe_set_flags(poll, L.IOSQE_IO_LINK)
    L.io_uring_sqe_set_data64(poll, 1)
    L.io_uring_prep_read(read, reader, buffer, 8, 0)
    L.io_uring_sqe_set_data64(read, 2)
    assert L.io_uring_submit(ring) == 2
    assert is_empty(ring)
    os.write(writer, b"linked")
    assert reap(ring, 2) == [(1, IN, 0), (2, 6, 0)]
    assert L.ffi.string(buffer) == b"linked"


def test_ring_can_be_polled_by_another(ring: Any, make_ring: Callable[..., Any]) -> None:
    """A poll of another ring fires when that has a completion."""
    other = make_ring(4)
    start(ring, 1, L.io_uring_prep_poll_add, other.ring_fd, IN)
    assert is_empty(ring)
    assert complete(other, L.io_uring_prep_nop) == 0
    assert reap(ring) == [(1, IN, 0)]


def test_ring_can_poll_itself(ring: Any) -> None:
    """A poll of the ring's own descriptor fires with the ring's next completion."""
    start(ring, 1, L.io_uring_prep_poll_add, ring.ring_fd, IN)
    start(ring, 2, L.io_uring_prep_nop)
    assert reap(ring, 2) == [(2, 0, 0), (1, IN, 0)]


# Exclusive polls


def test_exclusive_polls_share_their_wakeups(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """Of several exclusive polls of a file one event completes one, and of ordinary ones all."""
    ring = make_ring(8)
    reader, writer = pipe
    for number in (1, 2):
        start(ring, number, L.io_uring_prep_poll_add, reader, IN | select.EPOLLEXCLUSIVE)
    for number in (3, 4):
        start(ring, number, L.io_uring_prep_poll_add, reader, IN)
    os.write(writer, b"x")
    fired = sorted(reap(ring, 3))
    assert fired == [(fired[0][0], IN, 0), (3, IN, 0), (4, IN, 0)]
    assert is_empty(ring)
    os.read(reader, 1)
    os.write(writer, b"x")
    assert sorted([fired[0][0], *(cqe[0] for cqe in reap(ring))]) == [1, 2]


# Removing


def test_removed_poll_is_cancelled(ring: Any, pipe: tuple[int, int]) -> None:
    """A removed poll is -ECANCELED, its removal 0, and later events reach nobody."""
    reader, writer = pipe
    start(ring, 1, L.io_uring_prep_poll_add, reader, IN)
    start(ring, 2, L.io_uring_prep_poll_remove, 1)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]
    os.write(writer, b"x")
    assert is_empty(ring)


def test_removing_takes_the_poll_that_is_named(ring: Any, pipe: tuple[int, int]) -> None:
    """Of several polls of one file only the one with the user_data given is removed."""
    reader, writer = pipe
    for number in (1, 2, 3):
        start(ring, number, L.io_uring_prep_poll_add, reader, IN)
    start(ring, 9, L.io_uring_prep_poll_remove, 2)
    assert sorted(reap(ring, 2)) == [(2, -ECANCELED, 0), (9, 0, 0)]
    os.write(writer, b"x")
    assert sorted(reap(ring, 2)) == [(1, IN, 0), (3, IN, 0)]


def test_nothing_to_remove(ring: Any, pipe: tuple[int, int]) -> None:
    """Removing a poll that was never there or has fired is -ENOENT, and so is removing another kind of request."""
    reader, writer = pipe
    assert complete(ring, L.io_uring_prep_poll_remove, 77) == -ENOENT
    start(ring, 1, L.io_uring_prep_poll_add, writer, OUT)
    assert reap(ring) == [(1, OUT, 0)]
    assert complete(ring, L.io_uring_prep_poll_remove, 1) == -ENOENT
    buffer = L.ffi.new("char[8]")
    start(ring, 2, L.io_uring_prep_read, reader, buffer, 8, 0)
    assert complete(ring, L.io_uring_prep_poll_remove, 2) == -ENOENT
    os.write(writer, b"x")
    assert reap(ring) == [(2, 1, 0)]


# Updating


@pytest.fixture
def updatable(ring: Any) -> Any:
    """Return a ring whose kernel can update polls."""
    if not ring.features & L.IORING_FEAT_RSRC_TAGS:  # of the same release, 5.13
        pytest.skip("this kernel lacks IORING_POLL_UPDATE_EVENTS")
    return ring


def update(ring: Any, old: int, new: int, events: int, flags: int) -> None:
    """Submit an update of a poll, with user_data 9."""
    start(ring, 9, L.io_uring_prep_poll_update, old, new, events, flags)


def test_update_changes_the_events(updatable: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """A poll whose events are changed fires for the new ones."""
    start(updatable, 1, L.io_uring_prep_poll_add, pair[0].fileno(), IN)
    assert is_empty(updatable)
    update(updatable, 1, 0, OUT, L.IORING_POLL_UPDATE_EVENTS)
    assert sorted(reap(updatable, 2)) == [(1, OUT, 0), (9, 0, 0)]


def test_update_drops_the_old_events(updatable: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """A poll whose events are changed fires no more for the old ones."""
    one, two = pair
    start(updatable, 1, L.io_uring_prep_poll_add, one.fileno(), IN)
    update(updatable, 1, 0, RDHUP, L.IORING_POLL_UPDATE_EVENTS)
    assert reap(updatable) == [(9, 0, 0)]
    two.send(b"x")
    assert is_empty(updatable)
    two.shutdown(socket.SHUT_WR)
    assert reap(updatable) == [(1, RDHUP, 0)]


def test_update_changes_the_user_data(updatable: Any, pipe: tuple[int, int]) -> None:
    """A poll whose user_data is changed completes with the new one."""
    reader, writer = pipe
    start(updatable, 1, L.io_uring_prep_poll_add, reader, IN)
    update(updatable, 1, 2, 0, L.IORING_POLL_UPDATE_USER_DATA)
    assert reap(updatable) == [(9, 0, 0)]
    os.write(writer, b"x")
    assert reap(updatable) == [(2, IN, 0)]


def test_update_changes_both(updatable: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """Events and user_data can be changed at once."""
    start(updatable, 1, L.io_uring_prep_poll_add, pair[0].fileno(), IN)
    update(updatable, 1, 2, OUT, L.IORING_POLL_UPDATE_EVENTS | L.IORING_POLL_UPDATE_USER_DATA)
    assert sorted(reap(updatable, 2)) == [(2, OUT, 0), (9, 0, 0)]


def test_update_errors(updatable: Any, pipe: tuple[int, int]) -> None:
    """A poll that is not there is -ENOENT; an unknown flag, and a new user_data without its flag, are -EINVAL."""
    prepare = L.io_uring_prep_poll_update
    assert complete(updatable, prepare, 77, 0, IN, L.IORING_POLL_UPDATE_EVENTS) == -ENOENT
    assert complete(updatable, prepare, 77, 0, IN, 1 << 9) == -EINVAL
    assert complete(updatable, prepare, 77, 5, IN, L.IORING_POLL_UPDATE_EVENTS) == -EINVAL
