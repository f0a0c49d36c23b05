"""The system calls without liburing's help, rings over mapped or given memory, and reaping by hand."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from errno import EAGAIN, EBADF, EINVAL, ENOMEM, EOPNOTSUPP, ETIME
from typing import Any

import pytest
from c_style import get_sqe, skip_without

from uring import liburing as L

NULL = L.ffi.NULL
SHORT_NS = 20_000_000
ARG_SIZE = L.ffi.sizeof("struct io_uring_getevents_arg")


@pytest.fixture
def map_ring() -> Iterator[Callable[..., Any]]:
    """A factory of rings of 4 entries, each set up and mapped by hand."""
    rings: list[Any] = []

    def make(flags: int = 0) -> Any:
        params = L.io_uring_params(flags=flags)
        fd = L.io_uring_setup(4, params)
        skip_without("IORING_SETUP_NO_SQARRAY", fd, EINVAL)
        assert fd >= 0, os.strerror(-fd)
        ring = L.io_uring()
        ret = L.io_uring_queue_mmap(fd, params, ring)
        if ret < 0:
            os.close(fd)
        assert ret == 0, os.strerror(-ret)
        rings.append(ring)
        return ring

    yield make
    for ring in rings:
        L.io_uring_queue_exit(ring)


@pytest.fixture
def memory() -> Any:
    """Four pages for rings to lie in."""
    return L.ffi.from_buffer(mmap.mmap(-1, 4 * mmap.PAGESIZE))


def queue_nops(ring: Any, *user_data: int) -> None:
    """Queue NOPs, which complete when they are submitted."""
    for number in user_data:
        sqe = get_sqe(ring)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, number)


def ready(ring: Any) -> list[int]:
    """The user_data of the completions that are ready, without consuming them."""
    return [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)]


def publish(ring: Any) -> None:
    """Show the kernel the SQEs that are queued, as a submit does before it enters."""
    ring.sq.ktail[0] = ring.sq.sqe_head = ring.sq.sqe_tail


# io_uring_setup and io_uring_queue_mmap


def test_setup_returns_a_descriptor() -> None:
    """io_uring_setup returns an open descriptor of a ring, and fills in the params."""
    params = L.io_uring_params()
    fd = L.io_uring_setup(4, params)
    try:
        assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[io_uring]"
        assert (params.sq_entries, params.cq_entries) == (4, 8)
    finally:
        os.close(fd)


def test_setup_answers_a_negative_errno() -> None:
    """A refused setup returns the errno, negative, and leaves no descriptor."""
    assert L.io_uring_setup(0, L.io_uring_params()) == -EINVAL
    assert L.io_uring_setup(4, L.io_uring_params(flags=1 << 31)) == -EINVAL


def test_mapped_ring_works_once_its_array_is_filled(map_ring: Callable[..., Any]) -> None:
    """queue_mmap leaves the SQ array at zero, so each entry means the first SQE until the array is filled in."""
    ring = map_ring()
    queue_nops(ring, 1, 2)
    assert L.io_uring_submit(ring) == 2
    assert ready(ring) == [1, 1]
    L.io_uring_cq_advance(ring, 2)
    for index in range(ring.sq.ring_entries):
        ring.sq.array[index] = index
    queue_nops(ring, 3, 4)
    assert L.io_uring_submit(ring) == 2
    assert ready(ring) == [3, 4]


def test_mapped_ring_without_an_array_works(map_ring: Callable[..., Any]) -> None:
    """With NO_SQARRAY, which queue_init asks for by itself, a mapped ring needs no more."""
    ring = map_ring(L.IORING_SETUP_NO_SQARRAY)
    assert ring.sq.array == NULL
    queue_nops(ring, 1, 2)
    assert L.io_uring_submit(ring) == 2
    assert ready(ring) == [1, 2]


def test_queue_mmap_of_another_file_is_refused() -> None:
    """A descriptor that is no ring cannot be mapped, and stays open."""
    with open(os.devnull, "rb") as file:
        ret = L.io_uring_queue_mmap(file.fileno(), L.io_uring_params(sq_entries=4, cq_entries=8), L.io_uring())
        assert ret < 0
        assert os.fstat(file.fileno())


# io_uring_enter and io_uring_enter2


def test_enter_submits_and_waits(ring: Any) -> None:
    """io_uring_enter submits as many as it is told to, waits with GETEVENTS, and returns what it submitted."""
    queue_nops(ring, 1, 2, 3)
    publish(ring)
    assert L.io_uring_enter(ring.ring_fd, 2, 2, L.IORING_ENTER_GETEVENTS, NULL) == 2
    assert ready(ring) == [1, 2]
    assert L.io_uring_enter(ring.ring_fd, 5, 0, 0, NULL) == 1
    assert ready(ring) == [1, 2, 3]


def test_enter_answers_a_negative_errno(ring: Any) -> None:
    """A closed descriptor, another file and an unknown flag are refused."""
    with open(os.devnull, "rb") as file:
        other, enter = file.fileno(), L.io_uring_enter
        assert enter(other, 0, 0, 0, NULL) == -EOPNOTSUPP
    assert enter(other, 0, 0, 0, NULL) == -EBADF
    assert enter(ring.ring_fd, 0, 0, 1 << 31, NULL) == -EINVAL


def timed_enter(ring: Any, nanoseconds: int, flags: int = 0) -> int:
    """Wait for one CQE by io_uring_enter2 with a timeout."""
    ts = L.__kernel_timespec(nanoseconds // 10**9, nanoseconds % 10**9)
    arg = L.io_uring_getevents_arg(ts=ts)
    flags |= L.IORING_ENTER_GETEVENTS | L.IORING_ENTER_EXT_ARG
    return L.io_uring_enter2(ring.ring_fd, 0, 1, flags, arg, ARG_SIZE)


def test_enter2_takes_a_timeout(ring: Any) -> None:
    """With EXT_ARG the argument names a timespec, and a wait without a CQE answers -ETIME when it is over."""
    start = time.monotonic_ns()
    ret = timed_enter(ring, SHORT_NS)
    skip_without("IORING_FEAT_EXT_ARG", ret, EINVAL)
    assert ret == -ETIME
    assert time.monotonic_ns() - start >= SHORT_NS


def test_enter2_checks_the_size_of_its_argument(ring: Any) -> None:
    """An EXT_ARG of another size is refused."""
    arg = L.io_uring_getevents_arg()
    flags = L.IORING_ENTER_GETEVENTS | L.IORING_ENTER_EXT_ARG
    assert L.io_uring_enter2(ring.ring_fd, 0, 1, flags, arg, ARG_SIZE - 8) == -EINVAL


@pytest.mark.parametrize("clock", [time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME], ids=["monotonic", "boottime"])
def test_absolute_wait_on_the_registered_clock(ring: Any, clock: int) -> None:
    """With ABS_TIMER the time is a reading of the clock that is registered: it ends then, and at once when past."""
    ret = L.io_uring_register_clock(ring, L.io_uring_clock_register(clockid=clock))
    skip_without("IORING_REGISTER_CLOCK", ret, EINVAL)
    assert ret == 0
    end = time.clock_gettime_ns(clock) + SHORT_NS
    assert timed_enter(ring, end, L.IORING_ENTER_ABS_TIMER) == -ETIME
    assert time.clock_gettime_ns(clock) >= end
    assert timed_enter(ring, end, L.IORING_ENTER_ABS_TIMER) == -ETIME


def test_wall_clock_cannot_be_registered(ring: Any) -> None:
    """A clock that can be set is refused."""
    assert L.io_uring_register_clock(ring, L.io_uring_clock_register(clockid=time.CLOCK_REALTIME)) == -EINVAL


# io_uring_register


def test_register_probes(ring: Any) -> None:
    """The raw call registers by number: a probe tells the operations of this kernel."""
    memory = L.ffi.new("char[]", L.ffi.sizeof("struct io_uring_probe") + 256 * L.ffi.sizeof("struct io_uring_probe_op"))
    probe = L.ffi.cast("struct io_uring_probe *", memory)
    assert L.io_uring_register(ring.ring_fd, L.IORING_REGISTER_PROBE, probe, 256) == 0
    assert probe.last_op >= L.IORING_OP_STATX
    assert probe.ops[L.IORING_OP_READ].op == L.IORING_OP_READ
    assert probe.ops[L.IORING_OP_READ].flags & L.IO_URING_OP_SUPPORTED


def test_register_answers_a_negative_errno(ring: Any) -> None:
    """A closed descriptor, another file and an unknown opcode are refused."""
    with open(os.devnull, "rb") as file:
        other, probe = file.fileno(), L.IORING_REGISTER_PROBE
        assert L.io_uring_register(other, probe, NULL, 0) == -EOPNOTSUPP
    assert L.io_uring_register(other, probe, NULL, 0) == -EBADF
    assert L.io_uring_register(ring.ring_fd, 9999, NULL, 0) == -EINVAL


# io_uring_queue_init_mem


def test_queue_init_mem_returns_the_bytes_used(memory: Any) -> None:
    """The ring lies in the given memory; the positive return value is where the next ring may begin."""
    rings = [L.io_uring(), L.io_uring()]
    used = L.io_uring_queue_init_mem(4, rings[0], L.io_uring_params(), memory, len(memory))
    skip_without("IORING_SETUP_NO_MMAP", used, EINVAL)
    try:
        assert used == 2 * mmap.PAGESIZE
        assert rings[0].sq.sqes == L.ffi.cast("struct io_uring_sqe *", memory)
        assert L.io_uring_queue_init_mem(4, rings[1], L.io_uring_params(), memory + used, len(memory) - used) == used
        for number, ring in enumerate(rings):
            queue_nops(ring, number)
            assert L.io_uring_submit(ring) == 1
        assert [ready(ring) for ring in rings] == [[0], [1]]
    finally:
        for ring in rings:
            if ring.sq.sqes != NULL:
                L.io_uring_queue_exit(ring)


def test_queue_init_mem_refuses_too_little(memory: Any) -> None:
    """Memory that the ring does not fit into is refused."""
    ret = L.io_uring_queue_init_mem(4, L.io_uring(), L.io_uring_params(), memory, mmap.PAGESIZE)
    assert ret == -ENOMEM


# Peeking, iterating, advancing


def test_peek_of_an_empty_queue_clears_the_slot(ring: Any) -> None:
    """Without a completion peek_cqe answers -EAGAIN and NULL, also where an old pointer stood."""
    slot = L.io_uring_cqe_ptr()
    queue_nops(ring, 1)
    L.io_uring_submit(ring)
    assert L.io_uring_peek_cqe(ring, slot) == 0
    assert slot[0].user_data == 1
    L.io_uring_cqe_seen(ring, slot[0])
    assert L.io_uring_peek_cqe(ring, slot) == -EAGAIN
    assert slot[0] == NULL


def test_peek_batch_gives_no_more_than_there_are(ring: Any) -> None:
    """peek_batch_cqe writes pointers to what is ready, oldest first, and returns their number."""
    slots = L.io_uring_cqe_ptr(8)
    assert L.io_uring_peek_batch_cqe(ring, slots, 8) == 0
    queue_nops(ring, 1, 2, 3)
    L.io_uring_submit(ring)
    assert L.io_uring_peek_batch_cqe(ring, slots, 8) == 3
    assert [slots[index].user_data for index in range(3)] == [1, 2, 3]
    assert slots[3] == NULL


def test_iterator_sees_what_was_ready_at_its_start(ring: Any) -> None:
    """cqe_iter gives the CQEs that were ready at its init, in order, then false; it consumes none."""
    queue_nops(ring, 1, 2)
    L.io_uring_submit(ring)
    iterator = L.io_uring_cqe_iter_init(ring)
    queue_nops(ring, 3)
    L.io_uring_submit(ring)
    slot, found = L.io_uring_cqe_ptr(), []
    while L.io_uring_cqe_iter_next(L.ffi.addressof(iterator), slot):
        found.append(slot[0].user_data)
    assert found == [1, 2]
    assert ready(ring) == [1, 2, 3]


def test_iterator_of_an_empty_queue_leaves_the_slot(ring: Any) -> None:
    """With nothing ready the first step is false and writes nothing."""
    slot = L.io_uring_cqe_ptr()
    iterator = L.io_uring_cqe_iter_init(ring)
    assert not L.io_uring_cqe_iter_next(L.ffi.addressof(iterator), slot)
    assert slot[0] == NULL


def test_cq_advance_consumes_the_oldest(ring: Any) -> None:
    """cq_advance marks as many as it is told to as seen, at once, and none for 0."""
    queue_nops(ring, 1, 2, 3, 4)
    L.io_uring_submit(ring)
    L.io_uring_cq_advance(ring, 0)
    assert ready(ring) == [1, 2, 3, 4]
    L.io_uring_cq_advance(ring, 3)
    assert ready(ring) == [4]
