"""The fused calls: one crossing a request, many completions a reap."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uring import fused
from uring import liburing as L

ffi = L.ffi

DEADLINE_S = 10.0
SECOND = 1_000_000_000
TAG = 0x0123_4567_89AB_CDEF

# Every prepare call but the generic one and the one that changes a prepared SQE.
KINDS = sorted(
    {name.removeprefix("io_uring_prep_") for name in dir(L.lib) if name.startswith("io_uring_prep_")}
    - {"rw", "send_set_addr"}
)
BIG = ("nop128", "uring_cmd128")


@pytest.fixture
def attach(make_ring: Callable[..., Any]) -> Callable[..., Any]:
    """A factory of attached rings; `r.ring` is the ring, exited at the end of the test."""

    def make(entries: int = 8, flags: int = 0, room: int = 256, extra: bool = False, **params: int) -> Any:
        return fused.attach(make_ring(entries, flags, **params), room, extra=extra)

    return make


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def in_thread(function: Callable[[], Any]) -> Any:
    """What `function` returns when another thread calls it."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join(DEADLINE_S)
    return answers[0]


def reap_all(r: Any, expected: int) -> list[tuple[int, int, int]]:
    """Wait until `expected` completions were copied out; the test fails when they do not come in time."""
    reaped: list[tuple[int, int, int]] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(reaped) < expected:
        count = fused.uring_wait(r, 1, SECOND)
        assert time.monotonic() < deadline, f"{len(reaped)} of {expected} completions came"
        if count not in (-errno.ETIME, -errno.EINTR):
            assert count >= 0, os.strerror(-count)
            reaped += fused.completions(r, count)
    return reaped


def queue_nops(r: Any, numbers: range) -> None:
    """Queue a NOP for each number, which is its user_data."""
    for number in numbers:
        assert fused.uring_nop(r, number, 0) == 0


def all_calls(r: Any) -> dict[str, int]:
    """What each way to use an attached ring answers, by name; none of it blocks."""
    return {
        "nop": fused.uring_nop(r, 1, 0),
        "read": fused.uring_read(r, 1, 0, 0, ffi.NULL, 0, 0),
        "nop128": fused.uring_nop128(r, 1, 0),
        "submit": fused.uring_submit(r),
        "reap": fused.uring_reap(r),
        "wait": fused.uring_wait(r, 1, 0),
    }


# --- preparing -----------------------------------------------------------------------------------


def sqe_memory(ring: Any, slot: int) -> Any:
    """The bytes of an SQE in ring memory, all 128 on a ring of big ones."""
    size = 128 if ring.flags & L.IORING_SETUP_SQE128 else 64
    return ffi.buffer(ffi.cast("char *", ring.sq.sqes) + slot * size, size)


def distinct(ctype: Any, position: int) -> Any:
    """An argument that differs from its neighbours."""
    if ctype.kind == "pointer":
        return ffi.cast(ctype, 0x7000_0000_1000 + 64 * position)
    return position + 3


def all_ones(ctype: Any, position: int) -> Any:
    """An argument with every bit set: -1, or the largest."""
    if ctype.kind == "pointer":
        return ffi.cast(ctype, 2**64 - 1 - position)
    return int(ffi.cast(ctype, -1))


def test_each_prepare_call_has_a_fused_twin() -> None:
    """All 101 are there, next to the forms that liburing cannot prepare and the calls that submit, wait and reap."""
    assert len(KINDS) == 101
    calls = {name for name in fused.__all__ if name.startswith("uring_")}
    unprepared = {"uring_cancel_opcode", "uring_command", "uring_nop_result", "uring_recv_zc"}
    others = {"uring_check", "uring_reap", "uring_submit", "uring_thread", "uring_wait"}
    assert calls == {f"uring_{kind}" for kind in KINDS} | unprepared | others


@pytest.mark.parametrize("kind", KINDS)
def test_fused_call_writes_what_its_twin_writes(attach: Callable[..., Any], kind: str) -> None:
    """The SQE is byte for byte the one of get_sqe, prep and set_data64, whatever was in it before."""
    r = attach(4, L.IORING_SETUP_SQE128 if kind in BIG else 0)
    get_sqe = L.io_uring_get_sqe128 if kind in BIG else L.io_uring_get_sqe
    prepare, call = getattr(L, f"io_uring_prep_{kind}"), getattr(fused, f"uring_{kind}")
    ctypes = ffi.typeof(prepare).args[1:]
    for slot in range(4):
        sqe_memory(r.ring, slot)[:] = b"\xa5" * len(sqe_memory(r.ring, slot))

    for slot, argument in ((0, distinct), (2, all_ones)):
        arguments = [argument(ctype, position) for position, ctype in enumerate(ctypes)]
        sqe = get_sqe(r.ring)
        prepare(sqe, *arguments)
        L.io_uring_sqe_set_data64(sqe, TAG)
        assert call(r, TAG, 0, *arguments) == 0
        assert bytes(sqe_memory(r.ring, slot)) == bytes(sqe_memory(r.ring, slot + 1))
    assert L.io_uring_sq_ready(r.ring) == 4


def test_options_reach_their_fields(attach: Callable[..., Any]) -> None:
    """Flags, ioprio, personality and buffer group lie in the SQE as given, and nothing else is set."""
    r = attach()
    options = fused.options(flags=0x15, ioprio=0x1234, personality=0x4321, buf_group=0xABCD)
    assert fused.uring_nop(r, TAG, options) == 0
    sqe = r.ring.sq.sqes[0]
    assert (sqe.flags, sqe.ioprio, sqe.personality, sqe.buf_group) == (0x15, 0x1234, 0x4321, 0xABCD)
    assert (sqe.opcode, sqe.user_data) == (L.IORING_OP_NOP, TAG)
    assert (sqe.len, sqe.addr, sqe.off, sqe.nop_flags, sqe.file_index, sqe.addr3) == (0, 0, 0, 0, 0, 0)


def test_options_are_added_to_what_the_prepare_call_sets(attach: Callable[..., Any]) -> None:
    """A prepare call's own flags, ioprio and buffer survive the options."""
    r = attach()
    more = fused.options(flags=L.IOSQE_ASYNC, ioprio=L.IORING_RECVSEND_POLL_FIRST)
    assert fused.uring_recv_multishot(r, 1, more, 0, ffi.NULL, 0, 0) == 0
    assert fused.uring_read_multishot(r, 2, more, 0, 0, 0, 5) == 0
    recv, read = r.ring.sq.sqes[0], r.ring.sq.sqes[1]
    assert (recv.flags, recv.ioprio) == (L.IOSQE_ASYNC, L.IORING_RECV_MULTISHOT | L.IORING_RECVSEND_POLL_FIRST)
    assert (read.flags, read.buf_group) == (L.IOSQE_ASYNC | L.IOSQE_BUFFER_SELECT, 5)


def test_options_pack_into_one_word() -> None:
    """The extremes fit, and no option is 0."""
    assert fused.options() == 0
    most = fused.options(flags=0xFF, ioprio=0xFFFF, personality=0xFFFF, buf_group=0xFFFF)
    assert most == 2**56 - 1


@pytest.mark.parametrize(("field", "bits"), [("flags", 8), ("ioprio", 16), ("personality", 16), ("buf_group", 16)])
def test_options_out_of_range_raise(field: str, bits: int) -> None:
    """A value that its field cannot hold is refused instead of spilling into the next."""
    for value in (-1, 1 << bits):
        with pytest.raises(ValueError, match=f"{field} must fit {bits} bits"):
            fused.options(**{field: value})


# --- the way there and back ----------------------------------------------------------------------


def test_nop_comes_back_with_its_user_data_and_options(attach: Callable[..., Any]) -> None:
    """Requests with a personality and SQE flags complete; each completion carries its 64-bit user_data."""
    r = attach()
    personality = L.io_uring_register_personality(r.ring)
    assert personality > 0
    with_credentials = fused.options(personality=personality, flags=L.IOSQE_IO_DRAIN)
    tags = [0, 1, TAG, 2**64 - 1]
    for tag in tags:
        assert fused.uring_nop(r, tag, with_credentials) == 0
    assert fused.uring_wait(r, len(tags), -1) == len(tags)
    assert list(fused.completions(r, len(tags))) == [(tag, 0, 0) for tag in tags]


def test_wrong_personality_is_the_kernels_error(attach: Callable[..., Any]) -> None:
    """Options are seen by the kernel: an unknown personality fails the request."""
    r = attach()
    fused.uring_nop(r, 5, fused.options(personality=77))
    assert fused.uring_wait(r, 1, -1) == 1
    assert list(fused.completions(r, 1)) == [(5, -errno.EINVAL, 0)]


def test_counters_and_last_error_are_kept(attach: Callable[..., Any]) -> None:
    """The struct tells how many went and came since attach, and the errno of the last call."""
    r = attach()
    queue_nops(r, range(3))
    assert fused.uring_submit(r) == 3
    assert (r.submitted, r.reaped, r.error) == (3, 0, 0)
    assert fused.uring_reap(r) == 3
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME
    assert (r.submitted, r.reaped, r.error) == (3, 3, -errno.ETIME)
    assert fused.uring_submit(r) == 0
    assert r.error == 0


def test_c_names_and_fused_calls_mix_on_one_ring(attach: Callable[..., Any]) -> None:
    """A request prepared through liburing is reaped by the fused call, and the other way round."""
    r = attach()
    sqe = L.io_uring_get_sqe(r.ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 1)
    fused.uring_nop(r, 2, 0)
    assert fused.uring_wait(r, 2, -1) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [1, 2]
    fused.uring_nop(r, 3, 0)
    fused.uring_submit(r)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqe(r.ring, slot) == 0
    assert slot[0].user_data == 3
    L.io_uring_cqe_seen(r.ring, slot[0])
    assert fused.uring_reap(r) == 0


def test_completions_checks_the_count(attach: Callable[..., Any]) -> None:
    """A count outside the array, such as a negative errno, raises instead of reading beyond it."""
    r = attach(room=4)
    assert list(fused.completions(r, 0)) == []
    assert len(list(fused.completions(r, 4))) == 4
    for count in (-errno.EINTR, -1, 5):
        with pytest.raises(ValueError, match="count must be from 0 to 4"):
            fused.completions(r, count)


# --- refusals ------------------------------------------------------------------------------------


def test_full_queue_answers_full(attach: Callable[..., Any]) -> None:
    """With no free SQE the call changes nothing; after a submit it works again."""
    r = attach(4)
    queue_nops(r, range(4))
    assert fused.uring_nop(r, 9, 0) == fused.FULL
    assert fused.uring_close(r, 9, 0, -1) == fused.FULL
    assert [r.ring.sq.sqes[slot].user_data for slot in range(4)] == [0, 1, 2, 3]
    assert fused.uring_submit(r) == 4
    assert fused.uring_nop(r, 4, 0) == 0
    assert [tag for tag, _, _ in reap_all(r, 5)] == [0, 1, 2, 3, 4]


def test_another_thread_is_refused(attach: Callable[..., Any]) -> None:
    """Each call answers WRONG_THREAD, leaves the queue alone, and the owner goes on."""
    r = attach()
    queue_nops(r, range(2))
    answers = in_thread(lambda: all_calls(r))
    assert answers == dict.fromkeys(answers, fused.WRONG_THREAD)
    assert L.io_uring_sq_ready(r.ring) == 2
    assert [tag for tag, _, _ in reap_all(r, 2)] == [0, 1]


def test_thread_may_use_the_ring_that_it_attached(make_ring: Callable[..., Any]) -> None:
    """The owner is the thread that attaches, whoever made the ring; everybody else is refused."""
    ring = make_ring()
    attached = []

    def roundtrip() -> int:
        attached.append(fused.attach(ring))
        fused.uring_nop(attached[0], 1, 0)
        return int(fused.uring_wait(attached[0], 1, int(DEADLINE_S * SECOND)))

    assert in_thread(roundtrip) == 1
    assert fused.uring_nop(attached[0], 2, 0) == fused.WRONG_THREAD
    # A later thread may get the ended one's identifiers from the system, but not its number.
    assert in_thread(lambda: fused.uring_nop(attached[0], 2, 0)) == fused.WRONG_THREAD


def test_threads_have_numbers_of_their_own() -> None:
    """A thread's number stays the same, and is never given again."""
    numbers = [in_thread(lambda: (fused.uring_thread(), fused.uring_thread())) for _ in range(10)]
    assert all(first == second for first, second in numbers)
    assert len({first for first, _ in numbers} | {fused.uring_thread()}) == 11


def in_child(check: Callable[[], bool]) -> bool:
    """Whether `check` is true in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 2
        with contextlib.suppress(BaseException):
            status = 0 if check() else 1
        os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def test_forked_child_is_refused_and_the_parent_unharmed(attach: Callable[..., Any]) -> None:
    """Each call answers FORKED in the child, also after a queue was half filled; the parent loses nothing."""
    r = attach()
    queue_nops(r, range(3))

    def all_refused() -> bool:
        return set(all_calls(r).values()) == {fused.FORKED}

    assert in_child(all_refused)
    queue_nops(r, range(3, 5))
    assert [tag for tag, _, _ in reap_all(r, 5)] == [0, 1, 2, 3, 4]


def test_forked_child_sees_a_detached_ring_as_closed(attach: Callable[..., Any]) -> None:
    """What was closed before the fork stays closed after it."""
    r = attach()
    fused.detach(r)
    assert in_child(lambda: set(all_calls(r).values()) == {fused.CLOSED})


def test_forked_child_may_have_a_ring_of_its_own(attach: Callable[..., Any]) -> None:
    """Refusing the parent's ring does not stop the child from making one."""
    r = attach()

    def roundtrip() -> bool:
        own = L.io_uring()
        if L.io_uring_queue_init(4, own, 0):
            return False
        mine = fused.attach(own)
        return (
            fused.uring_nop(mine, 1, 0) == 0
            and fused.uring_wait(mine, 1, int(DEADLINE_S * SECOND)) == 1
            and fused.uring_nop(r, 1, 0) == fused.FORKED
        )

    assert in_child(roundtrip)


def test_detached_ring_is_closed(attach: Callable[..., Any]) -> None:
    """After detach each call answers CLOSED; the ring can be attached again."""
    r = attach()
    fused.detach(r)
    answers = all_calls(r)
    assert answers == dict.fromkeys(answers, fused.CLOSED)
    assert L.io_uring_sq_ready(r.ring) == 0
    again = fused.attach(r.ring)
    queue_nops(again, range(1))
    assert len(reap_all(again, 1)) == 1
    assert fused.uring_nop(r, 1, 0) == fused.CLOSED


def test_null_is_closed() -> None:
    """A NULL ring is answered, not followed."""
    answers = all_calls(ffi.NULL)
    assert answers == dict.fromkeys(answers, fused.CLOSED)


def test_big_sqe_needs_a_ring_of_big_sqes(attach: Callable[..., Any]) -> None:
    """The 128-byte calls answer NO_BIG_SQE on a ring of 64-byte SQEs, and take no SQE."""
    r = attach()
    assert fused.uring_nop128(r, 1, 0) == fused.NO_BIG_SQE
    assert fused.uring_uring_cmd128(r, 1, 0, 0, 0) == fused.NO_BIG_SQE
    assert L.io_uring_sq_ready(r.ring) == 0


def test_big_sqe_on_a_full_ring_answers_full(attach: Callable[..., Any]) -> None:
    """Where 128-byte SQEs fit, running out of them is FULL."""
    r = attach(2, L.IORING_SETUP_SQE128)
    assert [fused.uring_nop128(r, number, 0) for number in range(3)] == [0, 0, fused.FULL]
    assert fused.uring_nop(r, 3, 0) == fused.FULL


def test_refusals_differ_from_each_other_and_from_success() -> None:
    """A caller can tell them apart by value alone."""
    refusals = {fused.FULL, fused.WRONG_THREAD, fused.FORKED, fused.CLOSED, fused.NO_BIG_SQE}
    assert len(refusals) == 5
    assert max(refusals) < 0


# --- waiting -------------------------------------------------------------------------------------


def test_wait_times_out(attach: Callable[..., Any]) -> None:
    """With nothing to copy, a timeout is -ETIME, not before its time."""
    r = attach()
    before = time.monotonic()
    assert fused.uring_wait(r, 1, SECOND // 20) == -errno.ETIME
    assert time.monotonic() - before >= 0.05
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME


def test_wait_that_times_out_returns_what_there_is(attach: Callable[..., Any]) -> None:
    """Fewer completions than asked for are copied at the timeout, and those only once."""
    r = attach()
    queue_nops(r, range(2))
    assert fused.uring_wait(r, 3, SECOND // 100) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [0, 1]
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME


def test_wait_submits_even_when_it_times_out(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """What was queued is in the kernel after a wait that copied nothing."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_wait(r, 1, SECOND // 100) in (0, -errno.ETIME)
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]
    assert ffi.buffer(buffer)[:] == b"data"


def test_wait_for_none_submits_and_returns_at_once(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """With `wait_nr` 0 no wait happens, whatever the timeout."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_wait(r, 0, -1) == 0
    assert fused.uring_wait(r, 0, 3600 * SECOND) == 0
    assert L.io_uring_sq_ready(r.ring) == 0
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]


def test_interrupted_wait_returns_and_can_be_taken_up_again(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """A signal ends the wait with -EINTR, Python's handler runs, and nothing in flight is lost."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_submit(r) == 1
    handled: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, _frame: handled.append(number))
    try:
        for timeout in (-1, 3600 * SECOND):
            handled.clear()
            # Repeated, for a signal may come before the wait begins.
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            assert fused.uring_wait(r, 1, timeout) == -errno.EINTR
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert handled
            assert r.error == -errno.EINTR
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    os.write(pipe[1], b"data")
    assert reap_all(r, 1) == [(1, 4, 0)]


def test_wait_lets_other_threads_run(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """The GIL is free during a wait: another Python thread can end it."""
    r = attach()
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    fused.uring_submit(r)
    writer = threading.Thread(target=os.write, args=(pipe[1], b"data"))
    writer.start()
    assert fused.uring_wait(r, 1, int(DEADLINE_S * SECOND)) == 1
    writer.join()
    assert ffi.buffer(buffer)[:] == b"data"


# --- reaping -------------------------------------------------------------------------------------


def test_overflowing_queue_loses_nothing(attach: Callable[..., Any]) -> None:
    """Thousands of completions go through a CQ of 8, each one exactly once."""
    r = attach(8, L.IORING_SETUP_CQSIZE, room=100, cq_entries=8)
    assert r.ring.features & L.IORING_FEAT_NODROP
    total = 4000
    queued, reaped, overflowed = 0, [], False
    while queued < total:
        if fused.uring_nop(r, queued, 0) == 0:
            queued += 1
        elif fused.uring_submit(r) == -errno.EBUSY:
            # Kernels that hold new submissions back until the overflow is reaped.
            reaped += fused.completions(r, fused.uring_reap(r))
        overflowed |= L.io_uring_cq_has_overflow(r.ring)
    assert overflowed
    reaped += reap_all(r, total - len(reaped))
    assert sorted(tag for tag, _, _ in reaped) == list(range(total))
    assert fused.uring_reap(r) == 0
    assert r.reaped == total


def test_one_reap_goes_beyond_the_queues_size(attach: Callable[..., Any]) -> None:
    """A reap with room fetches what the kernel holds back too, not only what the CQ shows."""
    r = attach(8, L.IORING_SETUP_CQSIZE, room=64, cq_entries=8)
    for start in range(0, 32, 8):
        queue_nops(r, range(start, start + 8))
        if fused.uring_submit(r) == -errno.EBUSY:
            pytest.skip("this kernel submits nothing while completions overflow")
    assert fused.uring_reap(r) == 32
    assert sorted(tag for tag, _, _ in fused.completions(r, 32)) == list(range(32))


def test_room_smaller_than_what_is_ready(attach: Callable[..., Any]) -> None:
    """A reap copies as many as fit; the rest waits for the next one, in order."""
    r = attach(8, room=3)
    queue_nops(r, range(8))
    assert fused.uring_wait(r, 8, -1) == 3
    assert [tag for tag, _, _ in fused.completions(r, 3)] == [0, 1, 2]
    assert fused.uring_reap(r) == 3
    assert [tag for tag, _, _ in fused.completions(r, 3)] == [3, 4, 5]
    assert fused.uring_wait(r, 1, -1) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [6, 7]
    assert fused.uring_reap(r) == 0


def nop32(r: Any, tag: int) -> None:
    """Queue a NOP whose completion is a 32-byte one with `tag + 1` and `tag + 2` in its upper half."""
    slot = r.ring.sq.sqe_tail & r.ring.sq.ring_mask
    assert fused.uring_nop(r, tag, 0) == 0
    sqe = r.ring.sq.sqes[slot]
    sqe.nop_flags, sqe.off, sqe.addr = L.IORING_NOP_CQE32, tag + 1, tag + 2


def with_extra(r: Any, count: int) -> list[tuple[int, int, int, int]]:
    """The completions' user_data, result and upper half. A kernel without IORING_NOP_CQE32 skips the test."""
    found = [(tag, res, *r.extra[position]) for position, (tag, res, _) in enumerate(fused.completions(r, count))]
    if any(res == -errno.EINVAL for _, res, _, _ in found):
        pytest.skip("this kernel lacks IORING_NOP_CQE32")
    return found


def test_extra_halves_of_big_completions_are_copied(attach: Callable[..., Any]) -> None:
    """On a CQE32 ring, `extra` has the upper 16 bytes of each completion."""
    r = attach(8, L.IORING_SETUP_CQE32, extra=True)
    for tag in (10, 20, 30):
        nop32(r, tag)
    assert fused.uring_wait(r, 3, -1) == 3
    assert with_extra(r, 3) == [(10, 0, 11, 12), (20, 0, 21, 22), (30, 0, 31, 32)]


def test_big_completions_without_extra(attach: Callable[..., Any]) -> None:
    """A CQE32 ring works without `extra`: the lower halves are copied, each once."""
    r = attach(8, L.IORING_SETUP_CQE32, room=5)
    assert r.extra == ffi.NULL
    for start in range(0, 64, 8):
        queue_nops(r, range(start, start + 8))
        assert [tag for tag, _, _ in reap_all(r, 8)] == list(range(start, start + 8))


def test_mixed_completion_sizes_on_one_ring(attach: Callable[..., Any]) -> None:
    """On a CQE_MIXED ring each size is told from the other, also around the queue's padded end."""
    r = attach(8, L.IORING_SETUP_CQE_MIXED, extra=True)
    for turn in range(40):
        # An odd number of slots a turn, so that a big completion meets the end of the queue at every position.
        nop32(r, 100 * turn)
        assert fused.uring_nop(r, 100 * turn + 50, 0) == 0
        nop32(r, 100 * turn + 60)
        assert fused.uring_wait(r, 3, -1) == 3
        tags = [100 * turn, 100 * turn + 50, 100 * turn + 60]
        big, plain, last = with_extra(r, 3)
        assert big == (tags[0], 0, tags[0] + 1, tags[0] + 2)
        assert plain == (tags[1], 0, 0, 0)
        assert last == (tags[2], 0, tags[2] + 1, tags[2] + 2)
    assert fused.uring_reap(r) == 0


# --- setup flags ---------------------------------------------------------------------------------


def test_sqpoll_ring(attach: Callable[..., Any]) -> None:
    """With a kernel thread that submits, FULL resolves after a submit and each request completes once."""
    r = attach(8, L.IORING_SETUP_SQPOLL, sq_thread_idle=1)
    reaped = []
    deadline = time.monotonic() + DEADLINE_S
    for number in range(200):
        while fused.uring_nop(r, number, 0) == fused.FULL:
            assert fused.uring_submit(r) >= 0
            reaped += fused.completions(r, fused.uring_reap(r))
            assert time.monotonic() < deadline
    reaped += reap_all(r, 200 - len(reaped))
    assert sorted(tag for tag, _, _ in reaped) == list(range(200))


def test_reaping_alone_runs_deferred_work(attach: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """On a DEFER_TASKRUN ring with TASKRUN_FLAG a loop that only reaps gets its completions."""
    flags = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN | L.IORING_SETUP_TASKRUN_FLAG
    r = attach(8, flags)
    buffer = ffi.new("char[]", 4)
    fused.uring_read(r, 1, 0, pipe[0], buffer, 4, 0)
    assert fused.uring_submit(r) == 1
    assert fused.uring_reap(r) == 0
    os.write(pipe[1], b"data")
    deadline = time.monotonic() + DEADLINE_S
    while not (count := fused.uring_reap(r)):
        assert time.monotonic() < deadline, "the completion did not come"
    assert list(fused.completions(r, count)) == [(1, 4, 0)]


# --- attaching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, -1])
def test_attach_refuses_no_room(ring: Any, room: int) -> None:
    """A ring without room for one completion could never be reaped."""
    with pytest.raises(ValueError, match=f"room must be at least 1, not {room}"):
        fused.attach(ring, room)


def test_attach_refuses_null() -> None:
    """NULL is not a ring."""
    with pytest.raises(ValueError, match="ring is NULL"):
        fused.attach(ffi.NULL)


@pytest.mark.parametrize("wrong", [None, 3, b"ring", L.io_uring_params()])
def test_attach_refuses_other_types(wrong: Any) -> None:
    """Anything but a pointer to struct io_uring is a TypeError."""
    with pytest.raises(TypeError):
        fused.attach(wrong)


def test_attached_ring_keeps_the_ring_alive() -> None:
    """The `struct io_uring` lives as long as what attach returned, and no longer."""
    ring = L.io_uring()
    assert L.io_uring_queue_init(8, ring, 0) == 0
    alive = weakref.ref(ring)
    r = fused.attach(ring)
    del ring
    gc.collect()
    assert alive() is not None
    assert r.ring == alive()
    L.io_uring_queue_exit(r.ring)
    del r
    gc.collect()
    assert alive() is None


def test_attach_refuses_a_ring_that_is_not_initialised() -> None:
    """A struct that no queue_init has seen points nowhere, and is refused before it is looked into."""
    with pytest.raises(ValueError, match="not initialised"):
        fused.attach(L.io_uring())


def test_attached_ring_keeps_its_arrays_alive(ring: Any) -> None:
    """Memory that completions are copied to is not given to anybody else."""
    r = fused.attach(ring, 64, extra=True)
    written = range(0, 64 * 7, 7)
    for position, number in enumerate(written):
        r.completions[position].user_data = number
        r.extra[position][1] = number
    gc.collect()
    others = [ffi.new("char[]", b"\xff" * size) for size in range(512, 2048)]
    assert len(others) == 1536
    assert [tag for tag, _, _ in fused.completions(r, 64)] == list(written)
    assert [r.extra[position][1] for position in range(64)] == list(written)
