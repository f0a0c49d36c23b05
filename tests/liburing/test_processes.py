"""Rings across threads, forks, exec and exit: who may use one, what becomes of its requests, when it is really over."""

from __future__ import annotations

import faulthandler
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from errno import EBADF, EBADFD, ECANCELED, EEXIST, EINVAL
from pathlib import Path
from typing import Any, TypeVar

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

MakeRing = Callable[..., Any]
Answer = TypeVar("Answer")
SINGLE_ISSUER = [
    pytest.param(L.IORING_SETUP_SINGLE_ISSUER, id="SINGLE_ISSUER"),
    pytest.param(L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN, id="DEFER_TASKRUN"),
]
DEADLINE_S = 10.0
EVERYTHING = L.IORING_ASYNC_CANCEL_ANY | L.IORING_ASYNC_CANCEL_ALL


def queue(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> None:
    """Queue a request; the caller keeps its arguments alive."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_nop(ring: Any, user_data: int = 1) -> None:
    """Queue a NOP."""
    queue(ring, user_data, L.io_uring_prep_nop)


def forget(ring: Any) -> None:
    """Exit a ring now, so that the fixture that made it does not."""
    L.io_uring_queue_exit(ring)
    ring.ring_fd = ring.enter_ring_fd = -1


def in_a_thread(function: Callable[[], Answer]) -> Answer:
    """Run a function in a thread, and return what it returned when the kernel's thread has ended too."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join(DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    # A join returns when Python is done with the thread, somewhat before its end.
    while Path(f"/proc/self/task/{thread.native_id}").exists():
        assert time.monotonic() < deadline, "the thread does not end"
        os.sched_yield()
    (answer,) = answers
    return answer


def in_a_child(function: Callable[[], int]) -> int:
    """Run a function in a fork's child and return what it returned, 0 to 127, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            status = function()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a connected pair of sockets, of which the second one gives up after a while."""
    one, two = socket.socketpair()
    with one, two:
        two.settimeout(10)
        yield one, two


# Threads


def test_plain_ring_may_be_handed_from_thread_to_thread(ring: Any) -> None:
    """Without SINGLE_ISSUER another thread may submit, and this one reap."""
    queue_nop(ring, 1)
    assert in_a_thread(lambda: L.io_uring_submit(ring)) == 1
    assert reap(ring) == [(1, 0, 0)]


@pytest.mark.parametrize("flags", SINGLE_ISSUER)
def test_single_issuer_refuses_other_threads(make_ring: MakeRing, flags: int) -> None:
    """Another thread's submit and register calls are -EEXIST, its SQE stays queued, and the owner may submit it."""
    ring = make_ring(4, flags)
    queue_nop(ring, 1)
    assert in_a_thread(lambda: L.io_uring_submit(ring)) == -EEXIST
    assert in_a_thread(lambda: L.io_uring_register_files(ring, L.ffi.new("int[]", [-1]), 1)) == -EEXIST
    assert L.io_uring_sq_ready(ring) == 1
    assert reap(ring) == [(1, 0, 0)]


def test_deferred_ring_is_waited_on_by_its_owner(make_ring: MakeRing) -> None:
    """With DEFER_TASKRUN only the owner may wait: another thread's wait is -EEXIST."""
    ring = make_ring(4, L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN)
    slot, timeout = L.io_uring_cqe_ptr(), L.__kernel_timespec(10, 0)
    assert in_a_thread(lambda: L.io_uring_wait_cqe_timeout(ring, slot, timeout)) == -EEXIST
    assert in_a_thread(lambda: L.io_uring_get_events(ring)) == -EEXIST


@pytest.mark.parametrize("flags", SINGLE_ISSUER)
def test_disabled_ring_belongs_to_who_enables_it(make_ring: MakeRing, flags: int) -> None:
    """A ring made with R_DISABLED belongs to the thread that enables it, not to the one that made it."""
    ring = make_ring(4, flags | L.IORING_SETUP_R_DISABLED)
    queue_nop(ring, 1)
    assert L.io_uring_submit(ring) == -EBADFD

    def enable_and_run() -> tuple[int, list[tuple[int, int, int]]]:
        return L.io_uring_enable_rings(ring), reap(ring)

    assert in_a_thread(enable_and_run) == (0, [(1, 0, 0)])
    queue_nop(ring, 2)
    assert L.io_uring_submit(ring) == -EEXIST


def test_registered_ring_fd_is_the_threads_own(ring: Any) -> None:
    """The index of a registered ring means nothing in another thread or in a child: -EINVAL there."""
    skip_without("IORING_REGISTER_RING_FDS", L.io_uring_register_ring_fd(ring), EINVAL)
    queue_nop(ring, 1)
    assert in_a_thread(lambda: L.io_uring_submit(ring)) == -EINVAL
    assert in_a_child(lambda: -L.io_uring_submit(ring)) == EINVAL
    assert reap(ring) == [(1, 0, 0)]


def test_requests_of_an_ended_thread_are_cancelled_at_their_event(
    ring: Any, pipe: tuple[int, int], pair: tuple[socket.socket, socket.socket]
) -> None:
    """A read, a recv and a poll of a thread that ended give nothing until their event comes, and then -ECANCELED."""
    buffers = [L.ffi.new("char[8]") for _ in range(2)]
    queue(ring, 1, L.io_uring_prep_read, pipe[0], buffers[0], 8, 0)
    queue(ring, 2, L.io_uring_prep_recv, pair[0].fileno(), buffers[1], 8, 0)
    queue(ring, 3, L.io_uring_prep_poll_add, pipe[0], select.POLLIN)
    assert in_a_thread(lambda: L.io_uring_submit(ring)) == 3
    assert is_empty(ring)
    os.write(pipe[1], b"kept")
    pair[1].send(b"kept")
    assert sorted(reap(ring, 3)) == [(number, -ECANCELED, 0) for number in (1, 2, 3)]
    assert [bytes(L.ffi.buffer(buffer)) for buffer in buffers] == [bytes(8)] * 2
    assert os.read(pipe[0], 8) == pair[0].recv(8) == b"kept"


# Forks


def test_child_shares_the_queues(ring: Any) -> None:
    """What a child submits to its parent's ring completes in the parent's queue."""

    def submit() -> int:
        queue_nop(ring, 5)
        return L.io_uring_submit(ring)

    assert in_a_child(submit) == 1
    assert reap(ring) == [(5, 0, 0)]


def test_child_puts_the_parent_out_of_step(ring: Any) -> None:
    """After a child's submit the parent, who still counts from the old tail, gets no SQE any more."""

    def submit() -> int:
        queue_nop(ring, 5)
        return L.io_uring_submit(ring)

    assert L.io_uring_sq_space_left(ring) == 8
    assert in_a_child(submit) == 1
    assert L.io_uring_sq_space_left(ring) > 8
    assert L.io_uring_get_sqe(ring) == L.ffi.NULL


def test_child_with_a_ring_of_its_own_disturbs_nobody(ring: Any, pipe: tuple[int, int]) -> None:
    """A child that makes its own ring works on it, and the parent's request in flight goes on."""
    buffer = L.ffi.new("char[8]")
    queue(ring, 1, L.io_uring_prep_read, pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1

    def write_with_own_ring() -> int:
        own = L.io_uring()
        assert L.io_uring_queue_init(2, own, 0) == 0
        queue(own, 7, L.io_uring_prep_write, pipe[1], b"child", 5, 2**64 - 1)
        return reap(own)[0][1]

    assert in_a_child(write_with_own_ring) == 5
    assert reap(ring) == [(1, 5, 0)]
    assert L.ffi.string(buffer) == b"child"


def test_dontfork_takes_the_queues_from_the_child(ring: Any) -> None:
    """After ring_dontfork a child that touches the queues dies of SIGSEGV, and the parent's ring is unharmed."""
    assert L.io_uring_ring_dontfork(ring) == 0

    def touch() -> int:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return L.io_uring_cq_ready(ring)

    assert in_a_child(touch) == -signal.SIGSEGV
    queue_nop(ring, 1)
    assert reap(ring) == [(1, 0, 0)]


def test_dontfork_needs_queues() -> None:
    """Ring_dontfork of a ring that was never made is -EINVAL."""
    assert L.io_uring_ring_dontfork(L.io_uring()) == -EINVAL


def test_childs_exit_leaves_the_parents_requests(ring: Any, pipe: tuple[int, int]) -> None:
    """A child that exits with a copy of the ring does not cancel what the parent has in flight."""
    buffer = L.ffi.new("char[8]")
    queue(ring, 1, L.io_uring_prep_read, pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1
    assert in_a_child(lambda: L.io_uring_cq_ready(ring)) == 0
    assert is_empty(ring)
    os.write(pipe[1], b"parent")
    assert reap(ring) == [(1, 6, 0)]


def test_exec_ends_the_requests(pair: tuple[socket.socket, socket.socket]) -> None:
    """A process that executes another program has its requests cancelled, and what they held is released."""
    program = shutil.which("sleep")
    assert program is not None
    one, two = pair
    pid = os.fork()
    if pid == 0:
        try:
            two.close()
            ring, buffer = L.io_uring(), L.ffi.new("char[8]")
            L.io_uring_queue_init(2, ring, 0)
            queue(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 8, 0)
            L.io_uring_submit(ring)
            os.execv(program, ["sleep", "60"])
        finally:
            os._exit(1)
    try:
        one.close()
        assert two.recv(8) == b""
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_ring_is_closed_on_exec(ring: Any) -> None:
    """A ring's descriptor is not inherited by other programs."""
    assert not os.get_inheritable(ring.ring_fd)


# Exit


def test_exit_after_cancel_and_drain_leaves_no_writer(make_ring: MakeRing, pipe: tuple[int, int]) -> None:
    """Everything cancelled and every CQE reaped, then exit: nothing writes into the buffers any more."""
    require_opcode("IORING_OP_SOCKET")  # IORING_ASYNC_CANCEL_ANY came with it
    ring = make_ring(8)
    buffers = [L.ffi.new("char[8]") for _ in range(5)]
    for number, buffer in enumerate(buffers):
        queue(ring, number, L.io_uring_prep_read, pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 5
    queue(ring, 9, L.io_uring_prep_cancel64, 0, EVERYTHING)
    assert sorted(cqe[:2] for cqe in reap(ring, 6)) == [*((number, -ECANCELED) for number in range(5)), (9, 5)]
    assert is_empty(ring)
    forget(ring)
    os.write(pipe[1], b"too late")
    assert os.read(pipe[0], 8) == b"too late"
    assert [bytes(L.ffi.buffer(buffer)) for buffer in buffers] == [bytes(8)] * 5


def test_drained_reads_have_landed(make_ring: MakeRing, tmp_path: Path) -> None:
    """Each O_DIRECT read that is cancelled on its way is -ECANCELED or complete, and its bytes are there when told."""
    require_opcode("IORING_OP_SOCKET")  # IORING_ASYNC_CANCEL_ANY came with it
    path, size, count = tmp_path / "file", 256 * 1024, 8
    path.write_bytes(b"\xaa" * size * count)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this kernel lacks O_DIRECT on the file system of the tests")
    ring = make_ring(16)
    memory = [mmap.mmap(-1, size) for _ in range(count)]
    views = [L.ffi.from_buffer(piece) for piece in memory]
    for number, view in enumerate(views):
        queue(ring, number, L.io_uring_prep_read, fd, view, size, number * size)
    assert L.io_uring_submit(ring) == count
    queue(ring, count, L.io_uring_prep_cancel64, 0, EVERYTHING)
    for user_data, res, _flags in reap(ring, count + 1):
        if user_data < count:
            assert res in {size, -ECANCELED}
            assert res != size or memory[user_data][:] == b"\xaa" * size
    before = [piece[:] for piece in memory]
    forget(ring)
    os.close(fd)
    assert [piece[:] for piece in memory] == before


def test_exit_releases_what_requests_held(make_ring: MakeRing, pair: tuple[socket.socket, socket.socket]) -> None:
    """A recv in flight keeps its closed socket open, and the ring's exit, some time later, lets it go."""
    ring, buffer = make_ring(4), L.ffi.new("char[8]")
    one, two = pair
    queue(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1
    one.close()
    assert select.select([two], [], [], 0)[0] == []
    forget(ring)
    assert two.recv(8) == b""


def test_closing_the_ring_fd_leaves_the_mapped_ring(make_ring: MakeRing, pipe: tuple[int, int]) -> None:
    """The mapped queues keep a ring alive without its descriptor: a request in flight still completes there."""
    require_opcode("IORING_OP_MKDIRAT")  # before its time a close cancelled the requests
    ring, buffer = make_ring(4), L.ffi.new("char[8]")
    queue(ring, 1, L.io_uring_prep_read, pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1
    os.close(ring.ring_fd)
    ring.ring_fd = -1
    os.write(pipe[1], b"alive")
    assert select.select([pipe[0]], [], [], 0)[0] == []
    assert [(cqe.user_data, cqe.res) for cqe in L.io_uring_for_each_cqe(ring)] == [(1, 5)]
    assert L.ffi.string(buffer) == b"alive"


def test_ring_does_not_close_itself(ring: Any, make_ring: MakeRing) -> None:
    """A close request for a ring's descriptor, its own or another's, is -EBADF, and the ring works on."""
    other = make_ring(4)
    for fd in (ring.ring_fd, other.ring_fd):
        queue(ring, 1, L.io_uring_prep_close, fd)
        assert reap(ring) == [(1, -EBADF, 0)]
    queue_nop(other, 2)
    assert reap(other) == [(2, 0, 0)]
