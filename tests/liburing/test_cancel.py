"""Cancelling: by user_data, descriptor, registered file and opcode, one or all, as a request and synchronously."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from errno import EALREADY, EBADF, ECANCELED, EINVAL, ENOENT, ETIME
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, skip_without

from uring import liburing as L

ALL, ANY = L.IORING_ASYNC_CANCEL_ALL, L.IORING_ASYNC_CANCEL_ANY
BY_FD, FIXED = L.IORING_ASYNC_CANCEL_FD, L.IORING_ASYNC_CANCEL_FD_FIXED
BY_OP, BY_DATA = L.IORING_ASYNC_CANCEL_OP, L.IORING_ASYNC_CANCEL_USERDATA
CANCEL = 99  # the user_data of every cancel request here
LONG = L.__kernel_timespec(60, 0)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def other_pipe() -> Iterator[tuple[int, int]]:
    """Open a second pipe."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def queue_poll(ring: Any, fd: int, user_data: int, flags: int = 0) -> None:
    """Queue a poll that waits for something to read."""
    sqe = get_sqe(ring)
    L.io_uring_prep_poll_add(sqe, fd, select.POLLIN)
    L.io_uring_sqe_set_flags(sqe, flags)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_read(ring: Any, fd: int, buffer: Any, user_data: int, flags: int = 0) -> None:
    """Queue a read of a whole buffer."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, buffer, len(buffer), 0)
    L.io_uring_sqe_set_flags(sqe, flags)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_timeout(ring: Any, user_data: int) -> None:
    """Queue a timeout that does not expire in a test."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout(sqe, LONG, 0, 0)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_splice(ring: Any, source: int, target: int, user_data: int) -> None:
    """Queue the move of a byte between two pipes. An empty source blocks the worker that runs it."""
    sqe = get_sqe(ring)
    L.io_uring_prep_splice(sqe, source, -1, target, -1, 1, 0)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_cancel(ring: Any, target: int = 0, flags: int = 0, opcode: int = 0) -> None:
    """Queue the cancelling of what has the target as user_data, or of what the flags say."""
    sqe = get_sqe(ring)
    L.io_uring_prep_cancel64(sqe, target, flags)
    sqe.len = opcode
    L.io_uring_sqe_set_data64(sqe, CANCEL)


def queue_cancel_fd(ring: Any, fd: int, flags: int = 0) -> None:
    """Queue the cancelling of what uses a descriptor."""
    sqe = get_sqe(ring)
    L.io_uring_prep_cancel_fd(sqe, fd, flags)
    L.io_uring_sqe_set_data64(sqe, CANCEL)


def results(ring: Any, count: int) -> list[tuple[int, int]]:
    """Reap that many completions, and no more, as sorted (user_data, result)."""
    completions = sorted((user_data, res) for user_data, res, _flags in reap(ring, count))
    assert is_empty(ring)
    return completions


def answer(ring: Any, feature: str) -> int:
    """Reap the cancel request alone; skip when the kernel does not know what it asked for."""
    [(user_data, res)] = results(ring, 1)
    assert user_data == CANCEL
    skip_without(feature, res, EINVAL)
    return res


def require_cancel_flag(ring: Any, feature: str) -> None:
    """Skip the test when this kernel does not know a flag of cancel requests."""
    queue_cancel(ring, 12345, getattr(L, feature))
    answer(ring, feature)


def require_cancel_keys(ring: Any) -> None:
    """Skip the test when this kernel has no cancel by opcode, nor the USERDATA flag, which came with it."""
    queue_cancel(ring, 0, BY_OP, L.IORING_OP_READ)
    answer(ring, "IORING_ASYNC_CANCEL_OP")


def sync_cancel(ring: Any, *, timeout_ns: int | None = None, **fields: int) -> int:
    """Cancel synchronously, waiting without end or for that long; skip on kernels without it."""
    register = L.io_uring_sync_cancel_reg(**fields)
    if timeout_ns is None:
        register.timeout.tv_sec = register.timeout.tv_nsec = -1
    else:
        register.timeout.tv_sec, register.timeout.tv_nsec = divmod(timeout_ns, 10**9)
    ret: int = L.io_uring_register_sync_cancel(ring, register)
    skip_without("IORING_REGISTER_SYNC_CANCEL", ret, EINVAL)
    return ret


# By user_data


def test_cancel_by_user_data(ring: Any, pipe: tuple[int, int]) -> None:
    """The request with the named user_data completes with -ECANCELED, the cancel with 0, and the others stay."""
    for number in (1, 2, 3):
        queue_poll(ring, pipe[0], number)
    queue_cancel(ring, 2)
    assert results(ring, 2) == [(2, -ECANCELED), (CANCEL, 0)]
    os.write(pipe[1], b"x")
    assert results(ring, 2) == [(1, select.POLLIN), (3, select.POLLIN)]


def test_cancelled_read_takes_nothing(ring: Any, pipe: tuple[int, int]) -> None:
    """A cancelled read leaves its buffer as it was, and later bytes in the pipe."""
    buffer = L.ffi.new("char[]", b"....")
    queue_read(ring, pipe[0], buffer, 1)
    queue_cancel(ring, 1)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]
    os.write(pipe[1], b"late")
    assert os.read(pipe[0], 4) == b"late"
    assert L.ffi.string(buffer) == b"...."


def test_cancel_of_an_unknown_request(ring: Any, pipe: tuple[int, int]) -> None:
    """Cancelling what is not in flight completes with -ENOENT and touches nothing else."""
    queue_poll(ring, pipe[0], 1)
    queue_cancel(ring, 2)
    assert results(ring, 1) == [(CANCEL, -ENOENT)]
    os.write(pipe[1], b"x")
    assert results(ring, 1) == [(1, select.POLLIN)]


def test_cancel_of_a_completed_request(ring: Any, pipe: tuple[int, int]) -> None:
    """A request whose completion was posted cannot be cancelled any more: -ENOENT."""
    os.write(pipe[1], b"x")
    queue_poll(ring, pipe[0], 1)
    assert results(ring, 1) == [(1, select.POLLIN)]
    queue_cancel(ring, 1)
    assert results(ring, 1) == [(CANCEL, -ENOENT)]


def test_cancel_takes_one_of_several(ring: Any, pipe: tuple[int, int]) -> None:
    """Without ALL a cancel takes one of the requests with the same user_data, and says 0."""
    for _ in range(3):
        queue_poll(ring, pipe[0], 1)
    queue_cancel(ring, 1)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]
    os.write(pipe[1], b"x")
    assert results(ring, 2) == [(1, select.POLLIN)] * 2


def test_cancel_all_counts(ring: Any, pipe: tuple[int, int]) -> None:
    """With ALL a cancel takes every request with that user_data, says how many, and leaves the others."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_ALL")
    for number in (1, 1, 2, 1):
        queue_poll(ring, pipe[0], number)
    queue_cancel(ring, 1, ALL)
    assert results(ring, 4) == [(1, -ECANCELED)] * 3 + [(CANCEL, 3)]
    os.write(pipe[1], b"x")
    assert results(ring, 1) == [(2, select.POLLIN)]


def test_cancel_all_of_none_counts_zero(ring: Any) -> None:
    """With ALL a cancel that finds nothing completes with 0, the number of what it cancelled."""
    queue_cancel(ring, 1, ALL)
    assert answer(ring, "IORING_ASYNC_CANCEL_ALL") == 0


def test_cancel_ends_a_timeout(ring: Any) -> None:
    """A timeout is cancelled like any other request."""
    queue_timeout(ring, 1)
    queue_cancel(ring, 1)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]


def test_cancel_ends_an_accept(ring: Any) -> None:
    """An accept that waits for a connection is cancelled, and the listener stays usable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sqe = get_sqe(ring)
        L.io_uring_prep_accept(sqe, listener.fileno(), L.ffi.NULL, L.ffi.NULL, 0)
        L.io_uring_sqe_set_data64(sqe, 1)
        queue_cancel(ring, 1)
        assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()


def test_cancel_does_not_reach_another_ring(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """A cancel sees its own ring's requests only, whatever another ring's user_data are."""
    ring, other = make_ring(4), make_ring(4)
    queue_poll(other, pipe[0], 1)
    assert L.io_uring_submit(other) == 1
    queue_cancel(ring, 1)
    assert results(ring, 1) == [(CANCEL, -ENOENT)]
    os.write(pipe[1], b"x")
    assert results(other, 1) == [(1, select.POLLIN)]


def test_unknown_cancel_flag_is_refused(ring: Any) -> None:
    """A cancel flag that does not exist is refused with -EINVAL."""
    queue_cancel(ring, 1, 1 << 20)
    assert results(ring, 1) == [(CANCEL, -EINVAL)]


# By what the request uses


def test_cancel_by_descriptor(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """A cancel by descriptor takes one request that uses it, and none that uses another."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_ALL")
    queue_poll(ring, other_pipe[0], 1)
    queue_poll(ring, pipe[0], 2)
    queue_cancel_fd(ring, pipe[0])
    assert results(ring, 2) == [(2, -ECANCELED), (CANCEL, 0)]
    queue_cancel_fd(ring, pipe[0])
    assert results(ring, 1) == [(CANCEL, -ENOENT)]
    os.write(other_pipe[1], b"x")
    assert results(ring, 1) == [(1, select.POLLIN)]


def test_cancel_all_by_descriptor(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """With ALL a cancel by descriptor takes every request that uses it and counts them."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_ALL")
    buffer = L.ffi.new("char[]", 1)
    queue_poll(ring, other_pipe[0], 1)
    queue_poll(ring, pipe[0], 2)
    queue_read(ring, pipe[0], buffer, 3)
    queue_cancel_fd(ring, pipe[0], ALL)
    assert results(ring, 3) == [(2, -ECANCELED), (3, -ECANCELED), (CANCEL, 2)]
    queue_cancel_fd(ring, other_pipe[0], ALL)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 1)]


def test_cancel_by_descriptor_means_the_open_file(ring: Any, pipe: tuple[int, int]) -> None:
    """A duplicate of the descriptor names the same open file, so it cancels as well."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_FD")
    queue_poll(ring, pipe[0], 1)
    duplicate = os.dup(pipe[0])
    try:
        queue_cancel_fd(ring, duplicate)
        assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]
    finally:
        os.close(duplicate)


def test_cancel_by_a_closed_descriptor(ring: Any) -> None:
    """A cancel by a descriptor that is not open fails with -EBADF."""
    queue_cancel_fd(ring, 1_000_000)
    assert answer(ring, "IORING_ASYNC_CANCEL_FD") == -EBADF


def test_cancel_by_registered_file(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """With FD_FIXED the descriptor is an index of the registered files."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_FD_FIXED")
    assert L.io_uring_register_files(ring, [other_pipe[0], pipe[0]], 2) == 0
    queue_poll(ring, 0, 1, L.IOSQE_FIXED_FILE)
    queue_poll(ring, 1, 2, L.IOSQE_FIXED_FILE)
    queue_cancel_fd(ring, 1, FIXED)
    assert results(ring, 2) == [(2, -ECANCELED), (CANCEL, 0)]
    queue_cancel_fd(ring, 2, FIXED)
    assert results(ring, 1) == [(CANCEL, -EBADF)]
    os.write(other_pipe[1], b"x")
    assert results(ring, 1) == [(1, select.POLLIN)]


def test_cancel_any_takes_everything(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """ANY cancels every request of the ring, of any kind, and counts them."""
    require_cancel_flag(ring, "IORING_ASYNC_CANCEL_ALL")
    buffer = L.ffi.new("char[]", 1)
    queue_poll(ring, pipe[0], 1)
    queue_read(ring, other_pipe[0], buffer, 2)
    queue_timeout(ring, 3)
    queue_cancel(ring, 0, ANY)
    assert results(ring, 4) == [(1, -ECANCELED), (2, -ECANCELED), (3, -ECANCELED), (CANCEL, 3)]


def test_cancel_any_with_a_descriptor_is_refused(ring: Any, pipe: tuple[int, int]) -> None:
    """ANY goes with no other key: with FD it is refused."""
    queue_cancel_fd(ring, pipe[0], ANY)
    assert results(ring, 1) == [(CANCEL, -EINVAL)]


def test_cancel_by_opcode(ring: Any, pipe: tuple[int, int]) -> None:
    """With OP a cancel takes the requests of one opcode and leaves the others."""
    require_cancel_keys(ring)
    buffer = L.ffi.new("char[]", 1)
    queue_poll(ring, pipe[0], 1)
    queue_read(ring, pipe[0], buffer, 2)
    queue_read(ring, pipe[0], buffer, 3)
    queue_cancel(ring, 0, BY_OP | ALL, L.IORING_OP_READ)
    assert results(ring, 3) == [(2, -ECANCELED), (3, -ECANCELED), (CANCEL, 2)]
    queue_cancel(ring, 0, BY_OP, L.IORING_OP_POLL_ADD)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 0)]


def test_cancel_by_user_data_and_descriptor(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """With USERDATA and FD together both have to match."""
    require_cancel_keys(ring)
    for fd, number in ((pipe[0], 1), (other_pipe[0], 1), (pipe[0], 2)):
        queue_poll(ring, fd, number)
    sqe = get_sqe(ring)
    L.io_uring_prep_cancel64(sqe, 1, ALL | BY_DATA | BY_FD)
    sqe.fd = pipe[0]
    L.io_uring_sqe_set_data64(sqe, CANCEL)
    assert results(ring, 2) == [(1, -ECANCELED), (CANCEL, 1)]
    queue_cancel(ring, 0, ANY)
    assert results(ring, 3) == [(1, -ECANCELED), (2, -ECANCELED), (CANCEL, 2)]


def test_close_does_not_cancel(ring: Any, pipe: tuple[int, int]) -> None:
    """Closing the descriptor ends nothing: the request keeps the file open and completes by its event."""
    buffer = L.ffi.new("char[]", 1)
    reader = os.dup(pipe[0])
    queue_read(ring, reader, buffer, 1)
    assert L.io_uring_submit(ring) == 1
    os.close(reader)
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert results(ring, 1) == [(1, 1)]


# What a worker runs


def block_worker(ring: Any, empty: tuple[int, int], sink: tuple[int, int]) -> None:
    """Have a worker run a splice, with user_data 1, that blocks on an empty pipe."""
    queue_splice(ring, empty[0], sink[1], 1)
    source, target = os.pipe()
    try:
        os.write(target, b"x")
        # Workers take their work in order: when the second splice completed, the first was begun.
        queue_splice(ring, source, sink[1], 2)
        assert reap(ring) == [(2, 1, 0)]
    finally:
        os.close(source)
        os.close(target)


def test_cancel_of_running_work(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """Cancelling what a worker is running says -EALREADY, and the interrupted request ends with an error."""
    deadline = time.monotonic() + 10
    ret = 0
    while ret != -EALREADY:
        assert time.monotonic() < deadline, f"the last cancel said {ret}"
        block_worker(ring, pipe, other_pipe)
        queue_cancel(ring, 1)
        completed = {user_data: res for user_data, res, _flags in reap(ring, 2)}
        ret = completed[CANCEL]
    # Not -ECANCELED always: it is what the interrupted call returned.
    assert completed[1] < 0
    assert is_empty(ring)


def test_cancel_of_work_that_waits_for_a_worker(pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """Work that no worker has begun is cancelled for good: 0, and -ECANCELED."""
    outcome: list[Any] = []

    # The limit on workers belongs to the thread, so it is set in one of its own.
    def run() -> None:
        ring = L.io_uring()
        assert L.io_uring_queue_init(4, ring, 0) == 0
        limits = L.ffi.new("unsigned int[]", [1, 1])
        outcome.append(L.io_uring_register_iowq_max_workers(ring, limits))
        for number in (1, 2):
            queue_splice(ring, pipe[0], other_pipe[1], number)
        queue_cancel(ring, 2)
        outcome.append(results(ring, 2))
        os.write(pipe[1], b"x")
        outcome.append(results(ring, 1))
        L.io_uring_queue_exit(ring)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    skip_without("IORING_REGISTER_IOWQ_MAX_WORKERS", outcome[0], EINVAL)
    assert outcome == [0, [(2, -ECANCELED), (CANCEL, 0)], [(1, 1)]]


# Synchronously


def test_sync_cancel_by_user_data(ring: Any, pipe: tuple[int, int]) -> None:
    """A synchronous cancel returns 0 when the request is done with, and posts no CQE of its own."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1)
    assert L.io_uring_submit(ring) == 1
    assert sync_cancel(ring, addr=1) == 0
    assert results(ring, 1) == [(1, -ECANCELED)]


def test_sync_cancel_of_an_unknown_request(ring: Any) -> None:
    """A synchronous cancel that finds nothing returns -ENOENT, and does not wait."""
    assert sync_cancel(ring, addr=1) == -ENOENT


def test_sync_cancel_counts(ring: Any, pipe: tuple[int, int]) -> None:
    """With ALL or ANY a synchronous cancel returns the number of requests that it cancelled."""
    for number in (1, 1, 2, 3, 4):
        queue_poll(ring, pipe[0], number)
    assert L.io_uring_submit(ring) == 5
    assert sync_cancel(ring, addr=1, flags=ALL) == 2
    assert results(ring, 2) == [(1, -ECANCELED)] * 2
    assert sync_cancel(ring, flags=ANY) == 3
    assert results(ring, 3) == [(number, -ECANCELED) for number in (2, 3, 4)]


def test_sync_cancel_by_descriptor(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """A synchronous cancel by descriptor leaves the requests on others alone."""
    queue_poll(ring, pipe[0], 1)
    queue_poll(ring, other_pipe[0], 2)
    assert L.io_uring_submit(ring) == 2
    assert sync_cancel(ring, fd=pipe[0], flags=BY_FD) == 0
    assert results(ring, 1) == [(1, -ECANCELED)]
    assert sync_cancel(ring, fd=pipe[0], flags=BY_FD) == -ENOENT
    assert sync_cancel(ring, fd=other_pipe[0], flags=BY_FD) == 0
    assert results(ring, 1) == [(2, -ECANCELED)]


def test_sync_cancel_by_opcode(ring: Any, pipe: tuple[int, int]) -> None:
    """A synchronous cancel by opcode takes the requests of that opcode."""
    require_cancel_keys(ring)
    queue_poll(ring, pipe[0], 1)
    queue_timeout(ring, 2)
    assert L.io_uring_submit(ring) == 2
    assert sync_cancel(ring, flags=BY_OP, opcode=L.IORING_OP_TIMEOUT) == 0
    assert results(ring, 1) == [(2, -ECANCELED)]
    assert sync_cancel(ring, flags=BY_OP, opcode=L.IORING_OP_POLL_ADD) == 0
    assert results(ring, 1) == [(1, -ECANCELED)]


def test_sync_cancel_waits_for_running_work(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """A synchronous cancel of what a worker is running waits until it has ended."""
    block_worker(ring, pipe, other_pipe)
    assert sync_cancel(ring, addr=1) == 0
    [(user_data, res)] = results(ring, 1)
    assert user_data == 1
    assert res < 0


def test_sync_cancel_gives_up_at_its_timeout(ring: Any, pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    """A synchronous cancel whose time runs out before the worker has ended says -ETIME; the request ends later."""
    deadline = time.monotonic() + 10
    ret = 0
    # The worker may be faster than the shortest of times.
    while ret != -ETIME:
        assert time.monotonic() < deadline, f"the last cancel said {ret}"
        block_worker(ring, pipe, other_pipe)
        ret = sync_cancel(ring, addr=1, timeout_ns=1)
        assert ret in (0, -ETIME)
        [(user_data, res)] = results(ring, 1)
        assert user_data == 1
        assert res < 0
