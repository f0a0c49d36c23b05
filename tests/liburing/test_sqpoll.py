"""Rings whose submission queue a kernel thread polls: who submits, when it sleeps, where it runs, who shares it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from errno import EBADF, EBADFD, EINVAL, ENXIO
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap

from uring import liburing as L

DEADLINE_S = 10.0
LONG_MS, SHORT_MS = 60_000, 1
MakeRing = Callable[..., Any]


def queue_nop(ring: Any, user_data: int) -> None:
    """Queue a NOP."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, user_data)


def run_nop(ring: Any) -> None:
    """Run a NOP to its end: afterwards the kernel thread is known to be up."""
    queue_nop(ring, 99)
    assert reap(ring) == [(99, 0, 0)]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Let others run until the condition holds; the test fails when it does not in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        os.sched_yield()


def needs_wakeup(ring: Any) -> bool:
    """Whether the kernel thread has gone to sleep."""
    return bool(ring.sq.kflags[0] & L.IORING_SQ_NEED_WAKEUP)


@contextlib.contextmanager
def without_syscalls(ring: Any) -> Iterator[None]:
    """Make every call that would enter the kernel with this ring return -EBADF."""
    fd, ring.enter_ring_fd = ring.enter_ring_fd, -1
    yield
    ring.enter_ring_fd = fd


def tasks() -> set[int]:
    """Return the ids of all threads of this process, the kernel's own among them."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def poll_threads(before: set[int]) -> set[int]:
    """Return the SQ poll threads that are none of the tasks `before`; each must have run, for its name comes late."""
    found = set()
    for tid in tasks() - before:
        try:
            if Path(f"/proc/self/task/{tid}/comm").read_text().startswith("iou-sqp-"):
                found.add(tid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def new_poll_thread(before: set[int]) -> int:
    """Return the one poll thread that was not there before."""
    found = poll_threads(before)
    if not found:
        pytest.skip("this kernel lacks SQ poll threads inside the process")
    (tid,) = found
    return tid


def test_requests_are_taken_without_a_submit_call(make_ring: MakeRing) -> None:
    """While the thread is awake a submit enters the kernel not at all, and the requests complete."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=LONG_MS)
    run_nop(ring)
    for number in range(3):
        queue_nop(ring, number)
    with without_syscalls(ring):
        assert L.io_uring_submit(ring) == 3
        wait_until(lambda: L.io_uring_cq_ready(ring) == 3, "completing what was published")
    assert [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)] == [0, 1, 2]
    L.io_uring_cq_advance(ring, 3)


def test_submit_returns_the_number_queued(make_ring: MakeRing) -> None:
    """A submit returns how many requests it handed to the thread."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=LONG_MS)
    run_nop(ring)
    for number in range(5):
        queue_nop(ring, number)
    assert L.io_uring_submit(ring) == 5
    assert [user_data for user_data, _res, _flags in reap(ring, 5)] == [0, 1, 2, 3, 4]


def test_idle_thread_sleeps_and_asks_to_be_woken(make_ring: MakeRing) -> None:
    """After its idle time the thread sets NEED_WAKEUP and takes nothing more until it is woken."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=SHORT_MS)
    run_nop(ring)
    wait_until(lambda: needs_wakeup(ring), "going to sleep")
    queue_nop(ring, 1)
    with without_syscalls(ring):
        assert L.io_uring_submit(ring) == -EBADF
        assert needs_wakeup(ring)
        assert L.io_uring_cq_ready(ring) == 0
    assert L.io_uring_submit(ring) == 1
    assert reap(ring) == [(1, 0, 0)]


def test_submit_wakes_the_thread(make_ring: MakeRing) -> None:
    """A submit sees NEED_WAKEUP and wakes the thread by itself, again and again."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=SHORT_MS)
    for number in range(5):
        queue_nop(ring, number)
        assert reap(ring) == [(number, 0, 0)]
        wait_until(lambda: needs_wakeup(ring), "going to sleep")


def test_thread_uses_ordinary_descriptors(make_ring: MakeRing, tmp_path: Path) -> None:
    """The thread reads from descriptors that are not registered, into this process's memory."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=LONG_MS)
    if not ring.features & L.IORING_FEAT_SQPOLL_NONFIXED:
        pytest.skip("this kernel lacks IORING_FEAT_SQPOLL_NONFIXED")
    path = tmp_path / "file"
    path.write_bytes(b"read by the kernel's thread")
    buffer = bytearray(27)
    view = L.ffi.from_buffer(buffer)
    with path.open("rb", buffering=0) as file:
        L.io_uring_prep_read(get_sqe(ring), file.fileno(), view, 27, 0)
        assert [res for _user_data, res, _flags in reap(ring)] == [27]
    assert buffer == b"read by the kernel's thread"


def test_request_that_waits_completes_later(make_ring: MakeRing) -> None:
    """A request that the thread could not finish at once completes when its event comes, the thread asleep."""
    ring = make_ring(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=SHORT_MS)
    if not ring.features & L.IORING_FEAT_SQPOLL_NONFIXED:
        pytest.skip("this kernel lacks IORING_FEAT_SQPOLL_NONFIXED")
    reader, writer = os.pipe()
    try:
        buffer = L.ffi.new("char[8]")
        L.io_uring_prep_read(get_sqe(ring), reader, buffer, 8, 0)
        L.io_uring_submit(ring)
        wait_until(lambda: needs_wakeup(ring), "going to sleep")
        assert is_empty(ring)
        os.write(writer, b"late")
        assert [res for _user_data, res, _flags in reap(ring)] == [4]
        assert L.ffi.string(buffer) == b"late"
    finally:
        os.close(reader)
        os.close(writer)


def test_sqring_wait_waits_for_room(make_ring: MakeRing) -> None:
    """Many more requests than the queue holds all go through when a full queue is waited for."""
    ring = make_ring(2, L.IORING_SETUP_SQPOLL | L.IORING_SETUP_CQSIZE, cq_entries=1024, sq_thread_idle=LONG_MS)
    deadline = time.monotonic() + DEADLINE_S
    for number in range(500):
        while L.io_uring_sq_space_left(ring) == 0:
            assert L.io_uring_sqring_wait(ring) >= 0
            assert time.monotonic() < deadline
        queue_nop(ring, number)
        L.io_uring_submit(ring)
    assert [user_data for user_data, _res, _flags in reap(ring, 500)] == list(range(500))


def test_sqring_wait_needs_no_wait_when_there_is_room(make_ring: MakeRing) -> None:
    """Sqring_wait returns 0 at once for a queue with room, and for a ring that no thread polls."""
    polled, plain = make_ring(2, L.IORING_SETUP_SQPOLL), make_ring(1)
    assert L.io_uring_sqring_wait(polled) == 0
    queue_nop(plain, 1)
    assert L.io_uring_sq_space_left(plain) == 0
    assert L.io_uring_sqring_wait(plain) == 0


def test_sq_aff_binds_the_thread_to_a_cpu(make_ring: MakeRing) -> None:
    """With SQ_AFF the thread runs on the CPU that was asked for, and on no other."""
    cpu = max(os.sched_getaffinity(0))
    before = tasks()
    ring = make_ring(4, L.IORING_SETUP_SQPOLL | L.IORING_SETUP_SQ_AFF, sq_thread_cpu=cpu, sq_thread_idle=SHORT_MS)
    run_nop(ring)
    assert os.sched_getaffinity(new_poll_thread(before)) == {cpu}


def test_sq_aff_of_a_missing_cpu_is_refused() -> None:
    """A CPU that does not exist is -EINVAL, and so is SQ_AFF without a thread to bind."""
    params = L.io_uring_params(flags=L.IORING_SETUP_SQPOLL | L.IORING_SETUP_SQ_AFF, sq_thread_cpu=1 << 20)
    assert L.io_uring_queue_init_params(4, L.io_uring(), params) == -EINVAL
    assert L.io_uring_queue_init(4, L.io_uring(), L.IORING_SETUP_SQ_AFF) == -EINVAL


def test_attached_rings_share_one_thread(make_ring: MakeRing) -> None:
    """A ring made with ATTACH_WQ is polled by the first ring's thread, and both work."""
    before = tasks()
    first = make_ring(4, L.IORING_SETUP_SQPOLL, sq_thread_idle=SHORT_MS)
    run_nop(first)
    shared = new_poll_thread(before)
    flags = L.IORING_SETUP_SQPOLL | L.IORING_SETUP_ATTACH_WQ
    second = make_ring(4, flags, wq_fd=first.ring_fd, sq_thread_idle=SHORT_MS)
    run_nop(second)
    assert poll_threads(before) == {shared}
    L.io_uring_queue_exit(first)
    first.ring_fd = first.enter_ring_fd = -1
    run_nop(second)


def test_attaching_needs_a_ring(make_ring: MakeRing) -> None:
    """ATTACH_WQ to a closed descriptor is -ENXIO; to another file, or to a ring without a thread, -EINVAL."""
    plain = make_ring(4)
    flags = L.IORING_SETUP_SQPOLL | L.IORING_SETUP_ATTACH_WQ
    reader, writer = os.pipe()
    os.close(writer)
    try:
        for fd, error in ((writer, ENXIO), (reader, EINVAL), (plain.ring_fd, EINVAL)):
            assert L.io_uring_queue_init_params(4, L.io_uring(), L.io_uring_params(flags=flags, wq_fd=fd)) == -error
    finally:
        os.close(reader)


def test_disabled_ring_is_not_polled(make_ring: MakeRing) -> None:
    """The thread takes nothing from a ring made with R_DISABLED until that is enabled."""
    ring = make_ring(4, L.IORING_SETUP_SQPOLL | L.IORING_SETUP_R_DISABLED, sq_thread_idle=SHORT_MS)
    queue_nop(ring, 1)
    assert L.io_uring_submit(ring) in {1, -EBADFD}
    assert L.io_uring_cq_ready(ring) == 0
    assert L.io_uring_enable_rings(ring) == 0
    assert reap(ring) == [(1, 0, 0)]


def test_thread_ends_with_its_ring(make_ring: MakeRing) -> None:
    """The thread is gone some time after the ring's exit."""
    before = tasks()
    ring = make_ring(4, L.IORING_SETUP_SQPOLL, sq_thread_idle=LONG_MS)
    run_nop(ring)
    tid = new_poll_thread(before)
    L.io_uring_queue_exit(ring)
    ring.ring_fd = ring.enter_ring_fd = -1
    wait_until(lambda: tid not in tasks(), "the end of the thread")
