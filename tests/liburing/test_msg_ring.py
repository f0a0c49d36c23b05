"""Messages from one ring to another: data, flags and registered files, with and without a sending ring."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator
from errno import EBADF, EBADFD, EINVAL, ENXIO
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

SENT, RECEIVED = 1, 0xFEED_FACE_CAFE
MakeRing = Callable[..., Any]
DEFERRED = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN


def send(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run a request of the sending ring, and return its `res`."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, SENT)
    ((user_data, res, flags),) = reap(ring)
    assert (user_data, flags) == (SENT, 0)
    return res


@pytest.fixture
def source(make_ring: MakeRing) -> Any:
    """Make the ring that sends."""
    require_opcode("IORING_OP_MSG_RING")
    return make_ring(8)


@pytest.fixture
def target(make_ring: MakeRing) -> Any:
    """Make the ring that receives."""
    return make_ring(8)


# Data


def test_message_posts_a_cqe_in_the_target(source: Any, target: Any) -> None:
    """A message of 32 bits and a user_data arrives as a CQE; the sender's own CQE tells success."""
    assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, 42, RECEIVED, 0) == 0
    assert reap(target) == [(RECEIVED, 42, 0)]
    assert is_empty(source)
    assert is_empty(target)


def test_message_carries_cqe_flags(source: Any, target: Any) -> None:
    """A message may set the CQE's flags as well."""
    sqe = get_sqe(source)
    L.io_uring_prep_msg_ring_cqe_flags(sqe, target.ring_fd, 7, RECEIVED, 0, 0x50)
    ((_user_data, res, _flags),) = reap(source)
    skip_without("IORING_MSG_RING_FLAGS_PASS", res, EINVAL)
    assert res == 0
    assert reap(target) == [(RECEIVED, 7, 0x50)]


def test_messages_keep_their_order(source: Any, target: Any) -> None:
    """Messages of one submit arrive in their order."""
    for number in range(8):
        L.io_uring_prep_msg_ring(get_sqe(source), target.ring_fd, number, RECEIVED + number, 0)
    assert [res for _user_data, res, _flags in reap(source, 8)] == [0] * 8
    assert reap(target, 8) == [(RECEIVED + number, number, 0) for number in range(8)]


def test_ring_sends_to_itself(source: Any) -> None:
    """A ring may be its own target: both CQEs come there."""
    sqe = get_sqe(source)
    L.io_uring_prep_msg_ring(sqe, source.ring_fd, 5, RECEIVED, 0)
    L.io_uring_sqe_set_data64(sqe, SENT)
    assert sorted(reap(source, 2)) == [(SENT, 0, 0), (RECEIVED, 5, 0)]


def test_message_wakes_a_waiting_thread(source: Any) -> None:
    """A thread that waits on its own ring is woken by a message to it."""
    descriptors, received = [], []
    ready = threading.Event()

    def wait() -> None:
        ring = L.io_uring()
        assert L.io_uring_queue_init(4, ring, 0) == 0
        descriptors.append(ring.ring_fd)
        ready.set()
        received.extend(reap(ring))
        L.io_uring_queue_exit(ring)

    thread = threading.Thread(target=wait)
    thread.start()
    assert ready.wait(10)
    assert send(source, L.io_uring_prep_msg_ring, descriptors[0], 9, RECEIVED, 0) == 0
    thread.join(10)
    assert received == [(RECEIVED, 9, 0)]


def test_deferred_target_sees_the_message_when_it_enters(source: Any, make_ring: MakeRing) -> None:
    """A DEFER_TASKRUN target has the message in its queue only after it entered the kernel."""
    target = make_ring(8, DEFERRED)
    assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, 3, RECEIVED, 0) == 0
    if L.io_uring_cq_ready(target):
        pytest.skip("this kernel lacks deferred messages: it posts them at once")
    assert L.io_uring_get_events(target) >= 0
    assert L.io_uring_cq_ready(target) == 1
    assert reap(target) == [(RECEIVED, 3, 0)]


@pytest.mark.parametrize("flags", [0, DEFERRED], ids=["plain", "DEFER_TASKRUN"])
def test_messages_overflow_without_loss(source: Any, make_ring: MakeRing, flags: int) -> None:
    """More messages than the target's queue holds all arrive, in their order, once it is emptied."""
    target = make_ring(1, flags | L.IORING_SETUP_CQSIZE, cq_entries=2)
    for number in range(6):
        assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, number, RECEIVED, 0) == 0
    assert L.io_uring_cq_ready(target) <= 2
    assert reap(target, 6) == [(RECEIVED, number, 0) for number in range(6)]


def test_only_an_enabled_ring_receives(source: Any, make_ring: MakeRing) -> None:
    """A target that is no ring is -EBADFD, a closed descriptor -EBADF."""
    reader, writer = os.pipe()
    try:
        assert send(source, L.io_uring_prep_msg_ring, reader, 1, RECEIVED, 0) == -EBADFD
    finally:
        os.close(reader)
        os.close(writer)
    assert send(source, L.io_uring_prep_msg_ring, reader, 1, RECEIVED, 0) == -EBADF


@pytest.mark.parametrize("flags", [0, DEFERRED], ids=["plain", "DEFER_TASKRUN"])
def test_disabled_ring_receives_once_enabled(source: Any, make_ring: MakeRing, flags: int) -> None:
    """A target that is still disabled is -EBADFD, and the same message arrives when it is enabled."""
    target = make_ring(8, flags | L.IORING_SETUP_R_DISABLED)
    assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, 1, RECEIVED, 0) == -EBADFD
    assert L.io_uring_enable_rings(target) == 0
    assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, 1, RECEIVED, 0) == 0
    assert reap(target) == [(RECEIVED, 1, 0)]


def test_data_must_post_a_cqe(source: Any, target: Any) -> None:
    """CQE_SKIP on a data message is -EINVAL: without its CQE nothing would be left of it."""
    skip = L.IORING_MSG_RING_CQE_SKIP
    assert send(source, L.io_uring_prep_msg_ring, target.ring_fd, 1, RECEIVED, skip) == -EINVAL
    assert is_empty(target)


# Without a sending ring


def sync_message(*args: Any) -> int:
    """Send a message from no ring; a kernel that cannot skips the test."""
    require_opcode("IORING_OP_MSG_RING")
    probe = L.io_uring_sqe()
    L.io_uring_prep_msg_ring(probe, -1, 0, 0, 0)
    skip_without("IORING_REGISTER_SEND_MSG_RING", L.io_uring_register_sync_msg(probe), EINVAL)
    sqe = L.io_uring_sqe()
    L.io_uring_prep_msg_ring(sqe, *args)
    return L.io_uring_register_sync_msg(sqe)


def test_sync_msg_needs_no_ring(target: Any) -> None:
    """A message can be sent without a ring; the call itself tells how it went."""
    assert sync_message(target.ring_fd, 8, RECEIVED, 0) == 0
    assert reap(target) == [(RECEIVED, 8, 0)]


def test_sync_msg_takes_messages_to_rings_only(target: Any) -> None:
    """A target that is no ring is -EBADFD, another opcode -EINVAL."""
    reader, writer = os.pipe()
    try:
        assert sync_message(reader, 8, RECEIVED, 0) == -EBADFD
    finally:
        os.close(reader)
        os.close(writer)
    nop = L.io_uring_sqe()
    L.io_uring_prep_nop(nop)
    assert L.io_uring_register_sync_msg(nop) == -EINVAL
    assert is_empty(target)


# Registered files


@pytest.fixture
def writer(source: Any, target: Any) -> Iterator[int]:
    """Give the source a pipe's reading end as its file 1 of 2, the target 3 free slots, the test the writing end."""
    reader, writer = os.pipe()
    assert L.io_uring_register_files(source, L.ffi.new("int[]", [-1, reader]), 2) == 0
    assert L.io_uring_register_files(target, L.ffi.new("int[]", [-1, -1, -1]), 3) == 0
    os.close(reader)
    probe = send(source, L.io_uring_prep_msg_ring_fd, target.ring_fd, 0, 0, RECEIVED, 0)
    skip_without("IORING_MSG_SEND_FD", probe, EINVAL)
    yield writer
    os.close(writer)


def read_registered(ring: Any, index: int, writer: int) -> bytes:
    """Write into the pipe, and return what a read of the ring's registered file gives."""
    os.write(writer, b"through")
    buffer = L.ffi.new("char[16]")
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, index, buffer, 16, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_FIXED_FILE)
    ((_user_data, res, _flags),) = reap(ring)
    assert res == 7
    return L.ffi.string(buffer)


def test_file_is_passed_to_a_slot(source: Any, target: Any, writer: int) -> None:
    """A registered file arrives in the target's slot that was named; the source keeps its own."""
    assert send(source, L.io_uring_prep_msg_ring_fd, target.ring_fd, 1, 2, RECEIVED, 0) == 0
    assert reap(target) == [(RECEIVED, 0, 0)]
    assert read_registered(target, 2, writer) == b"through"
    assert read_registered(source, 1, writer) == b"through"


def test_file_is_passed_to_any_free_slot(source: Any, target: Any, writer: int) -> None:
    """With fd_alloc the target picks a free slot, and both CQEs tell which."""
    slot = send(source, L.io_uring_prep_msg_ring_fd_alloc, target.ring_fd, 1, RECEIVED, 0)
    assert 0 <= slot < 3
    assert reap(target) == [(RECEIVED, slot, 0)]
    assert read_registered(target, slot, writer) == b"through"


def test_file_can_be_passed_silently(source: Any, target: Any, writer: int) -> None:
    """With CQE_SKIP the file arrives and the target gets no CQE."""
    skip = L.IORING_MSG_RING_CQE_SKIP
    assert send(source, L.io_uring_prep_msg_ring_fd, target.ring_fd, 1, 0, RECEIVED, skip) == 0
    assert is_empty(target)
    assert read_registered(target, 0, writer) == b"through"


def test_what_cannot_be_passed(source: Any, target: Any, writer: int, make_ring: MakeRing) -> None:
    """An empty or missing source slot, a missing target slot or table, and the ring itself are refused."""
    prepare = L.io_uring_prep_msg_ring_fd
    assert send(source, prepare, target.ring_fd, 0, 0, RECEIVED, 0) == -EBADF
    assert send(source, prepare, target.ring_fd, 2, 0, RECEIVED, 0) == -EBADF
    assert send(source, prepare, target.ring_fd, 1, 3, RECEIVED, 0) == -EINVAL
    assert send(source, prepare, make_ring(4).ring_fd, 1, 0, RECEIVED, 0) == -ENXIO
    assert send(source, prepare, source.ring_fd, 1, 0, RECEIVED, 0) == -EINVAL
    assert is_empty(target)


def test_passed_file_outlives_its_source(source: Any, target: Any, writer: int) -> None:
    """The target's file stays open when the source drops its own, and closes with the target's slot."""
    assert send(source, L.io_uring_prep_msg_ring_fd, target.ring_fd, 1, 0, RECEIVED, 0) == 0
    reap(target)
    assert L.io_uring_unregister_files(source) == 0
    assert read_registered(target, 0, writer) == b"through"
    assert L.io_uring_unregister_files(target) == 0
    without_reader = select.poll()
    without_reader.register(writer, 0)
    assert without_reader.poll(10_000) == [(writer, select.POLLERR)]
