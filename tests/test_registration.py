"""What is registered with a ring: eventfd, restrictions, workers, credentials, clock, size, cancelling, messages."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uring
from uring import Params, Ring, probe
from uring.fused import lib
from uring.operation import State

LONG = 10.0


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


@pytest.fixture
def eventfd() -> Iterator[int]:
    """An eventfd that does not block."""
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    yield fd
    os.close(fd)


def require(operation: str) -> None:
    """Skip on a kernel without a register operation."""
    if not probe.register_ops()[operation]:
        pytest.skip(f"this kernel lacks IORING_{operation}")


# --- eventfd ---------------------------------------------------------------------------------------


def test_an_eventfd_counts_completions(ring: Ring, eventfd: int) -> None:
    """It becomes readable when a completion is posted, and not any more when it was taken away."""
    ring.register_eventfd(eventfd)
    operation = ring.nop()
    ring.submit()
    assert operation.result(LONG) is None
    assert select.select([eventfd], [], [], LONG)[0]
    assert os.eventfd_read(eventfd) >= 1
    ring.unregister_eventfd()
    ring.nop().result(LONG)
    assert not select.select([eventfd], [], [], 0)[0]


def test_an_eventfd_for_workers_only(eventfd: int) -> None:
    """With async_only a completion during the submit is not announced, one that an io-wq worker posts is."""
    with Ring(8, Params(defer_taskrun=False)) as ring:
        ring.register_eventfd(eventfd, async_only=True)
        ring.nop().result(LONG)
        assert not select.select([eventfd], [], [], 0)[0]
        assert ring.nop(force_async=True).result(LONG) is None
        assert select.select([eventfd], [], [], LONG)[0]


def test_an_eventfd_can_be_silenced(ring: Ring, eventfd: int) -> None:
    """Switching announcements off and on needs no call into the kernel."""
    ring.register_eventfd(eventfd)
    assert ring.eventfd_enabled
    ring.eventfd_enabled = False
    assert not ring.eventfd_enabled
    ring.nop().result(LONG)
    assert not select.select([eventfd], [], [], 0)[0]
    ring.eventfd_enabled = True
    ring.nop().result(LONG)
    assert select.select([eventfd], [], [], LONG)[0]


def test_what_is_no_eventfd_is_refused(ring: Ring, eventfd: int, pipe: tuple[int, int]) -> None:
    """Another descriptor, a second eventfd, none to take away: each has its error."""
    with pytest.raises(OSError, match="register_eventfd") as caught:
        ring.register_eventfd(pipe[0])
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(TypeError):
        ring.register_eventfd("3")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="unregister_eventfd") as caught:
        ring.unregister_eventfd()
    assert caught.value.errno == errno.ENXIO
    ring.register_eventfd(eventfd)
    with pytest.raises(OSError, match="register_eventfd") as caught:
        ring.register_eventfd(eventfd)
    assert caught.value.errno == errno.EBUSY


# --- the ring itself -------------------------------------------------------------------------------


def test_resizing_with_operations_in_flight(ring: Ring, pipe: tuple[int, int]) -> None:
    """Prepared operations are submitted first, blocked ones go on, and the queues have the new sizes."""
    require("REGISTER_RESIZE_RINGS")
    read = ring.read(pipe[0], bytearray(1))
    ready = [ring.nop() for _ in range(5)]
    ring.resize(32, 128)
    assert (ring.c_ring.sq.ring_entries, ring.c_ring.cq.ring_entries) == (32, 128)
    os.write(pipe[1], b"x")
    more = [ring.nop() for _ in range(30)]
    assert set(ring.wait(36, LONG)) == {read, *ready, *more}
    assert ring.statistics().submitted == 36
    assert ring.statistics().sq_space == 32
    ring.resize(4)
    with ring.chain() as chain:
        for _ in range(4):
            ring.nop()
    assert ring.wait(4, LONG) == list(chain)
    assert ring.statistics().submitted == 40


def test_a_resize_that_cannot_be(ring: Ring) -> None:
    """Without defer_taskrun, inside a chain, or to no size: an error, and the ring is as before."""
    require("REGISTER_RESIZE_RINGS")
    with Ring(8, Params(defer_taskrun=False)) as other, pytest.raises(ValueError, match="defer_taskrun"):
        other.resize(16)
    with ring.chain(), pytest.raises(RuntimeError, match="chain is open"):
        ring.resize(16)
    for entries in (0, 1 << 20):
        with pytest.raises(OSError, match="register_resize_rings") as caught:
            ring.resize(entries)
        assert caught.value.errno == errno.EINVAL
    assert ring.nop().result(LONG) is None


def test_a_restricted_ring_does_what_is_allowed() -> None:
    """Listed opcodes and flags work, everything else fails with EACCES."""
    with Ring(8, Params(disabled=True)) as ring:
        ring.restrict(opcodes=[lib.IORING_OP_NOP], sqe_flags_allowed=lib.IOSQE_ASYNC)
        ring.enable()
        assert ring.nop().result(LONG) is None
        assert ring.nop(force_async=True).result(LONG) is None
        for refused in (ring.nop(drain=True), ring.timeout(1)):
            assert isinstance(refused.exception(LONG), PermissionError)
        with pytest.raises(PermissionError, match="register_personality"):
            ring.register_personality()


def test_restrictions_may_allow_registering_and_require_flags() -> None:
    """A register operation that is listed works; a request without a required flag is refused."""
    with Ring(8, Params(disabled=True)) as ring:
        ring.restrict(
            opcodes=[lib.IORING_OP_NOP],
            register_ops=[lib.IORING_REGISTER_PERSONALITY],
            sqe_flags_allowed=lib.IOSQE_ASYNC,
            sqe_flags_required=lib.IOSQE_ASYNC,
        )
        ring.enable()
        assert ring.register_personality() > 0
        assert ring.nop(force_async=True).result(LONG) is None
        assert isinstance(ring.nop().exception(LONG), PermissionError)


def test_a_restricted_ring_closes_with_a_request_in_flight(pipe: tuple[int, int]) -> None:
    """Where cancelling is not allowed either, close keeps the memory for good and says so."""
    ring = Ring(8, Params(disabled=True))
    ring.restrict(opcodes=[lib.IORING_OP_READ])
    ring.enable()
    read = ring.read(pipe[0], bytearray(1))
    ring.submit()
    with pytest.warns(ResourceWarning, match="could not be stopped"):
        ring.close(timeout=0.05)
    assert isinstance(read.exception(), uring.RingClosed)


@pytest.mark.parametrize("required", [0, lib.IOSQE_ASYNC])
def test_a_restricted_ring_cancels_by_requests(pipe: tuple[int, int], required: int) -> None:
    """Close cancels where only requests may, with the flags that each must carry: nothing is kept in memory."""
    buffer = bytearray(1)
    ring = Ring(8, Params(disabled=True))
    ring.restrict(
        opcodes=[lib.IORING_OP_READ, lib.IORING_OP_ASYNC_CANCEL],
        sqe_flags_allowed=lib.IOSQE_ASYNC,
        sqe_flags_required=required,
    )
    ring.enable()
    read = ring.read(pipe[0], buffer, force_async=bool(required))
    ring.submit()
    ring.close(timeout=LONG)
    assert isinstance(read.exception(), uring.RingClosed)
    os.write(pipe[1], b"x")
    assert os.read(pipe[0], 2) == b"x"
    buffer.append(0)  # BufferError while a request holds it


def test_bad_restrictions_are_refused(ring: Ring) -> None:
    """Numbers of more than 8 bits, and a ring that is enabled."""
    with pytest.raises(ValueError, match="sqe_op must fit 8 bits"):
        ring.restrict(opcodes=[256])
    with pytest.raises(ValueError, match="sqe_flags must fit 8 bits"):
        ring.restrict(sqe_flags_allowed=-1)
    with pytest.raises(OSError, match="register_restrictions") as caught:
        ring.restrict(opcodes=[0])
    assert caught.value.errno == errno.EBADFD


def test_iowait_can_be_switched(ring: Ring) -> None:
    """On kernels with the feature both settings are taken, on others Unsupported says so."""
    if not ring.features & uring.Feature.NO_IOWAIT:
        with pytest.raises(uring.Unsupported):
            ring.set_iowait(False)
        return
    ring.set_iowait(False)
    assert ring.c_ring.int_flags
    ring.set_iowait(True)
    assert ring.nop().result(LONG) is None


def test_the_clock_of_waits(ring: Ring, pipe: tuple[int, int]) -> None:
    """Waits time out by either clock; another one is refused."""
    require("REGISTER_CLOCK")
    ring.read(pipe[0], bytearray(1))
    for clock in (time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC):
        ring.register_clock(clock)
        assert ring.wait(1, uring.Nanoseconds(1_000_000)) == []
    with pytest.raises(OSError, match="register_clock") as caught:
        ring.register_clock(time.CLOCK_REALTIME)
    assert caught.value.errno == errno.EINVAL
    os.write(pipe[1], b"x")
    assert len(ring.wait(1, LONG)) == 1


# --- workers, credentials, NAPI --------------------------------------------------------------------


def test_the_affinity_of_workers(ring: Ring) -> None:
    """A worker started afterwards may run on the given CPU alone, until the limit is lifted."""
    cpu = min(os.sched_getaffinity(0))
    ring.iowq_affinity([cpu])
    assert ring.nop(force_async=True).result(LONG) is None
    ring.iowq_affinity(None)
    for wrong in (-1, 1 << 20):
        with pytest.raises(ValueError, match="is not a CPU"):
            ring.iowq_affinity([wrong])


def test_the_number_of_workers(ring: Ring) -> None:
    """The limits before are returned, and 0 leaves one as it is."""
    before = ring.iowq_max_workers()
    assert min(before) > 0
    assert ring.iowq_max_workers(2, 3) == before
    assert ring.iowq_max_workers() == (2, 3)
    assert ring.iowq_max_workers(unbounded=4) == (2, 3)
    assert ring.iowq_max_workers(*before) == (2, 4)
    with pytest.raises(ValueError, match="must not be negative"):
        ring.iowq_max_workers(-1)


def test_personalities(ring: Ring) -> None:
    """An id works as an option until it is unregistered; then the request is refused, and so is a second time."""
    personality = ring.register_personality()
    assert ring.nop(personality=personality).result(LONG) is None
    ring.unregister_personality(personality)
    error = ring.nop(personality=personality).exception(LONG)
    assert isinstance(error, OSError)
    assert error.errno == errno.EINVAL
    with pytest.raises(OSError, match="unregister_personality"):
        ring.unregister_personality(personality)


def test_busy_polling(ring: Ring) -> None:
    """Settings come back when they are replaced, or Unsupported says why there is none."""
    try:
        assert ring.register_napi(50, prefer=True) == (0, False)
    except uring.Unsupported as error:
        assert "network busy polling" in str(error) or error.since == "6.9"  # noqa: PT017
        with pytest.raises(uring.Unsupported):
            ring.unregister_napi()
        return
    assert ring.unregister_napi() == (50, True)


# --- cancelling, query, messages -------------------------------------------------------------------


def test_sync_cancel_of_one_operation(ring: Ring, pipe: tuple[int, int]) -> None:
    """The operation is cancelled when the call returns; another one on the same file is not."""
    first, second = ring.read(pipe[0], bytearray(1)), ring.read(pipe[0], bytearray(1))
    ring.submit()
    ring.sync_cancel(first, timeout=LONG)
    assert isinstance(first.exception(LONG), uring.OperationCancelled)
    os.write(pipe[1], b"x")
    assert second.result(LONG) == 1
    with pytest.raises(FileNotFoundError):
        ring.sync_cancel(first)


@pytest.mark.parametrize("how", ["fd", "object", "any"])
def test_sync_cancel_of_many(ring: Ring, how: str) -> None:
    """By descriptor, by object, or all of the ring."""
    left, right = socket.socketpair()
    with left, right:
        reads = [ring.recv(left, bytearray(1)) for _ in range(3)]
        ring.submit()
        ring.sync_cancel({"fd": left.fileno(), "object": left, "any": None}[how], every=True, timeout=LONG)
        assert {type(read.exception(LONG)) for read in reads} == {uring.OperationCancelled}
        with pytest.raises(FileNotFoundError):
            ring.sync_cancel(right)


def test_sync_cancel_reaches_no_other_ring(ring: Ring, pipe: tuple[int, int]) -> None:
    """An operation of another ring is refused: its number could be that of one of ours."""
    mine = ring.read(pipe[0], bytearray(1))
    ring.submit()
    with Ring(8) as other:
        theirs = other.read(pipe[0], bytearray(1))
        other.submit()
        assert theirs.user_data == mine.user_data
        with pytest.raises(ValueError, match="belongs to another ring"):
            ring.sync_cancel(theirs)
        other.sync_cancel(theirs, timeout=LONG)
        assert theirs.state is not State.CANCELLED or theirs.done()
    assert not mine.done()
    os.write(pipe[1], b"x")
    assert mine.result(LONG) == 1


def test_sync_cancel_of_a_recorded_link(ring: Ring) -> None:
    """What is not queued yet cannot be cancelled."""
    with ring.chain():
        link = ring.nop()
        with pytest.raises(ValueError, match="open chain"):
            ring.sync_cancel(link)
    assert link.result(LONG) is None


def test_the_kernel_says_what_it_knows(ring: Ring) -> None:
    """The numbers of a query agree with what was found out by trying."""
    require("REGISTER_QUERY")
    answer = ring.query()
    assert answer.opcodes >= sum(probe.support().opcodes.values())
    assert answer.register_ops >= 36
    assert answer.features & ring.features == ring.features
    for name, there in probe.setup_flags().items():
        assert bool(answer.setup_flags & getattr(lib, f"IORING_SETUP_{name}")) == there, name
    assert answer.sqe_flags & lib.IOSQE_IO_LINK


def test_a_message_from_another_thread(ring: Ring) -> None:
    """send_message wakes the ring's owner, who gets it as a Completion."""
    require("REGISTER_SEND_MSG_RING")
    fd = ring.fileno()
    thread = threading.Thread(target=lambda: uring.send_message(fd, 7, 42))
    thread.start()
    thread.join(LONG)
    ring._wait_until(1, None, 10**10)
    (got,) = ring.peek()
    assert got == uring.Completion(7, 42, 0)
    uring.send_message(ring, 1 << 55, -1, flags=1 << 20)
    ring._wait_until(1, None, 10**10)
    assert ring.peek() == [uring.Completion(1 << 55, -1, 1 << 20)]


def test_bad_messages_are_refused(ring: Ring, pipe: tuple[int, int]) -> None:
    """Numbers out of range, our own mark, and what is no ring."""
    for user_data in (-1, 1 << 64, 0x5A << 56):
        with pytest.raises(ValueError, match="user_data"):
            uring.send_message(ring, user_data)
    with pytest.raises(ValueError, match="res must fit"):
        uring.send_message(ring, 1, 1 << 32)
    require("REGISTER_SEND_MSG_RING")
    with pytest.raises(OSError, match="send_message") as caught:
        uring.send_message(pipe[0], 1)
    assert caught.value.errno == errno.EBADFD


# --- by whom ---------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Ring], Any]] = {
    "register_eventfd": lambda ring: ring.register_eventfd(0),
    "unregister_eventfd": lambda ring: ring.unregister_eventfd(),
    "eventfd_enabled": lambda ring: ring.eventfd_enabled,
    "set eventfd_enabled": lambda ring: setattr(ring, "eventfd_enabled", True),
    "resize": lambda ring: ring.resize(8),
    "restrict": lambda ring: ring.restrict(),
    "set_iowait": lambda ring: ring.set_iowait(True),
    "register_clock": lambda ring: ring.register_clock(1),
    "iowq_affinity": lambda ring: ring.iowq_affinity(None),
    "iowq_max_workers": lambda ring: ring.iowq_max_workers(),
    "register_personality": lambda ring: ring.register_personality(),
    "unregister_personality": lambda ring: ring.unregister_personality(1),
    "register_napi": lambda ring: ring.register_napi(1),
    "unregister_napi": lambda ring: ring.unregister_napi(),
    "sync_cancel": lambda ring: ring.sync_cancel(),
}


@pytest.mark.parametrize("call", CALLS)
def test_only_the_owner_registers(ring: Ring, call: str) -> None:
    """Another thread is refused, and so is everybody once the ring is closed."""
    caught: list[type] = []

    def intrude() -> None:
        try:
            CALLS[call](ring)
        except Exception as error:
            caught.append(type(error))

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join(LONG)
    assert caught == [uring.WrongThread]
    ring.close()
    with pytest.raises(uring.RingClosed):
        CALLS[call](ring)


def test_enabling_a_closed_ring(ring: Ring) -> None:
    """It says that the ring is closed."""
    ring.close()
    with pytest.raises(uring.RingClosed):
        ring.enable()
