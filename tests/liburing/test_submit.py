"""What queueing and submitting do: counts, order, a full queue, refused requests, the sizes of the rings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from errno import EAGAIN, EBADF, EBADFD, EINVAL, EOPNOTSUPP, ETIME
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, skip_without

from uring import liburing as L

NO_SUCH_OPCODE = 255


def queue_nop(ring: Any, user_data: int, flags: int = 0) -> Any:
    """Queue a NOP and return its SQE."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_flags(sqe, flags)
    L.io_uring_sqe_set_data64(sqe, user_data)
    return sqe


def queue_with_bad_opcode_second(ring: Any) -> None:
    """Queue four NOPs of which the second gets an opcode that does not exist."""
    for number in range(4):
        sqe = queue_nop(ring, number)
        if number == 1:
            sqe.opcode = NO_SUCH_OPCODE


# The submission queue


def test_full_queue_has_no_sqe(make_ring: Callable[..., Any]) -> None:
    """A full submission queue answers NULL, and has room again once it was submitted."""
    ring = make_ring(4)
    for number in range(4):
        queue_nop(ring, number)
    assert L.io_uring_get_sqe(ring) == L.ffi.NULL
    assert L.io_uring_submit(ring) == 4
    assert L.io_uring_get_sqe(ring) != L.ffi.NULL


def test_ready_and_space_left_mirror_each_other(make_ring: Callable[..., Any]) -> None:
    """Each SQE taken moves one entry from space_left to ready, and a submit moves all back."""
    ring = make_ring(4)
    counts = [(L.io_uring_sq_ready(ring), L.io_uring_sq_space_left(ring))]
    for number in range(4):
        queue_nop(ring, number)
        counts.append((L.io_uring_sq_ready(ring), L.io_uring_sq_space_left(ring)))
    assert counts == [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0)]
    L.io_uring_submit(ring)
    assert (L.io_uring_sq_ready(ring), L.io_uring_sq_space_left(ring)) == (0, 4)


def test_submit_returns_how_many_it_took(ring: Any) -> None:
    """A submit returns the number of SQEs that it handed over, 0 when nothing is queued."""
    for number in range(3):
        queue_nop(ring, number)
    assert L.io_uring_submit(ring) == 3
    assert L.io_uring_submit(ring) == 0
    assert len(reap(ring, 3)) == 3


def test_nothing_completes_before_a_submit(ring: Any) -> None:
    """A queued request is not seen by the kernel until it is submitted."""
    queue_nop(ring, 1)
    L.io_uring_get_events(ring)
    assert is_empty(ring)
    assert L.io_uring_sq_ready(ring) == 1


def test_queue_wraps_around(make_ring: Callable[..., Any]) -> None:
    """Many rounds through a small ring keep every user_data and their order."""
    ring = make_ring(4)
    seen = []
    for start in range(0, 300, 3):
        for number in range(start, start + 3):
            queue_nop(ring, number)
        seen += [user_data for user_data, _res, _flags in reap(ring, 3)]
    assert seen == list(range(300))


def test_user_data_survives_in_the_slot(make_ring: Callable[..., Any]) -> None:
    """get_sqe does not clear user_data: a request that sets none carries that of the slot's previous one."""
    ring = make_ring(1)
    queue_nop(ring, 4711)
    assert reap(ring) == [(4711, 0, 0)]
    L.io_uring_prep_nop(get_sqe(ring))
    assert reap(ring) == [(4711, 0, 0)]


def test_get_sqe_clears_the_flags(make_ring: Callable[..., Any]) -> None:
    """get_sqe clears what the slot's previous request had in flags, ioprio and personality."""
    ring = make_ring(1)
    sqe = queue_nop(ring, 1, L.IOSQE_ASYNC)
    sqe.ioprio = 3
    sqe.personality = 5
    reap(ring)
    again = get_sqe(ring)
    assert again == sqe
    assert (again.flags, again.ioprio, again.personality) == (0, 0, 0)


def test_all_64_bits_of_user_data_come_back(ring: Any) -> None:
    """A user_data of any 64 bits comes back unchanged."""
    values = [0, 1, 2**32, 2**63, 2**64 - 2]
    for value in values:
        queue_nop(ring, value)
    assert [user_data for user_data, _res, _flags in reap(ring, len(values))] == values


def test_pointer_user_data_comes_back(ring: Any) -> None:
    """A pointer set as data is the pointer that the CQE answers."""
    target = L.ffi.new("int *", 5)
    L.io_uring_sqe_set_data(queue_nop(ring, 0), target)
    L.io_uring_submit(ring)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqe(ring, slot) == 0
    assert L.io_uring_cqe_get_data(slot[0]) == target
    assert L.io_uring_cqe_get_data64(slot[0]) == int(L.ffi.cast("uintptr_t", target))
    L.io_uring_cqe_seen(ring, slot[0])


# Requests that the kernel refuses


def test_bad_opcode_ends_the_submit(ring: Any) -> None:
    """Without SUBMIT_ALL a refused request counts and ends the submit; those behind it stay queued."""
    queue_with_bad_opcode_second(ring)
    assert L.io_uring_submit(ring) == 2
    assert L.io_uring_sq_ready(ring) == 2
    assert sorted(reap(ring, 4)) == [(0, 0, 0), (1, -EINVAL, 0), (2, 0, 0), (3, 0, 0)]


def test_submit_all_goes_on_after_a_bad_opcode(make_ring: Callable[..., Any]) -> None:
    """With SUBMIT_ALL a refused request gets its CQE and the rest is submitted all the same."""
    ring = make_ring(8, L.IORING_SETUP_SUBMIT_ALL)
    queue_with_bad_opcode_second(ring)
    assert L.io_uring_submit(ring) == 4
    assert sorted(reap(ring, 4)) == [(0, 0, 0), (1, -EINVAL, 0), (2, 0, 0), (3, 0, 0)]


def test_unknown_sqe_flag_is_refused(ring: Any) -> None:
    """An SQE flag that does not exist completes the request with -EINVAL."""
    queue_nop(ring, 1, 0x80)
    assert reap(ring) == [(1, -EINVAL, 0)]


def test_unknown_personality_is_refused(ring: Any) -> None:
    """A personality that was never registered completes the request with -EINVAL."""
    queue_nop(ring, 1).personality = 9
    assert reap(ring) == [(1, -EINVAL, 0)]


def test_buffer_select_on_an_opcode_without_buffers_is_refused(ring: Any) -> None:
    """BUFFER_SELECT on a request that cannot select a buffer is refused with -EOPNOTSUPP."""
    queue_nop(ring, 1, L.IOSQE_BUFFER_SELECT)
    assert reap(ring) == [(1, -EOPNOTSUPP, 0)]


def test_bad_descriptor_is_a_completion_not_a_submit_error(ring: Any) -> None:
    """A descriptor that is not open lets the submit succeed and the request fail with -EBADF."""
    buffer = L.ffi.new("char[]", 8)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, -1, buffer, 8, 0)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    assert reap(ring) == [(1, -EBADF, 0)]


def test_fixed_file_without_a_table_is_refused(ring: Any) -> None:
    """FIXED_FILE on a ring that has no registered files fails with -EBADF."""
    buffer = L.ffi.new("char[]", 8)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, 0, buffer, 8, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_FIXED_FILE)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert reap(ring) == [(1, -EBADF, 0)]


def test_field_that_the_request_does_not_use_must_be_zero(ring: Any, tmp_path: Path) -> None:
    """A request with a value in a field that it does not have is refused with -EINVAL."""
    with (tmp_path / "file").open("wb") as file:
        sqe = get_sqe(ring)
        L.io_uring_prep_fsync(sqe, file.fileno(), 0)
        sqe.addr = 1
        L.io_uring_sqe_set_data64(sqe, 1)
        assert reap(ring) == [(1, -EINVAL, 0)]


def test_nop_answers_the_injected_result(ring: Any) -> None:
    """A NOP with INJECT_RESULT completes with the result that its len field names."""
    sqe = queue_nop(ring, 1)
    sqe.nop_flags = L.IORING_NOP_INJECT_RESULT
    sqe.len = 1234
    [(_user_data, res, _flags)] = reap(ring)
    skip_without("IORING_NOP_INJECT_RESULT", res, EINVAL)
    assert res == 1234


def test_disabled_ring_takes_nothing(make_ring: Callable[..., Any]) -> None:
    """A ring set up with R_DISABLED refuses a submit with -EBADFD and keeps the SQEs until it is enabled."""
    ring = make_ring(4, L.IORING_SETUP_R_DISABLED)
    queue_nop(ring, 1)
    assert L.io_uring_submit(ring) == -EBADFD
    assert L.io_uring_sq_ready(ring) == 1
    assert L.io_uring_enable_rings(ring) == 0
    assert reap(ring) == [(1, 0, 0)]
    assert L.io_uring_enable_rings(ring) == -EBADFD


# Where a request runs


@pytest.mark.parametrize("forced", [False, True])
def test_async_runs_in_a_worker(forced: bool) -> None:
    """IOSQE_ASYNC makes an io-wq worker run even a NOP; without it none is started."""
    found: list[bool] = []
    needed: list[int] = []

    # Workers are named after the thread that they work for, so a new thread starts with none.
    def run() -> None:
        ring = L.io_uring()
        assert L.io_uring_queue_init(4, ring, 0) == 0
        needed.append(ring.features & L.IORING_FEAT_NATIVE_WORKERS)
        queue_nop(ring, 1, L.IOSQE_ASYNC if forced else 0)
        if reap(ring) == [(1, 0, 0)]:
            names = [comm.read_text().strip() for comm in Path("/proc/self/task").glob("*/comm")]
            found.append(f"iou-wrk-{threading.get_native_id()}" in names)
        L.io_uring_queue_exit(ring)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not needed[0]:
        pytest.skip("this kernel lacks IORING_FEAT_NATIVE_WORKERS")
    assert found == [forced]


# The completion queue


def test_completions_of_nops_keep_the_order(ring: Any) -> None:
    """Requests that complete at once complete in the order in which they were queued."""
    for number in range(8):
        queue_nop(ring, number)
    assert [user_data for user_data, _res, _flags in reap(ring, 8)] == list(range(8))


def test_cq_ready_counts_what_is_not_seen(ring: Any) -> None:
    """cq_ready counts the CQEs between the kernel's tail and what the program marked as seen."""
    for number in range(4):
        queue_nop(ring, number)
    L.io_uring_submit_and_wait(ring, 4)
    assert L.io_uring_cq_ready(ring) == 4
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_peek_cqe(ring, slot) == 0
    L.io_uring_cqe_seen(ring, slot[0])
    assert L.io_uring_cq_ready(ring) == 3
    L.io_uring_cq_advance(ring, 3)
    assert L.io_uring_cq_ready(ring) == 0


def test_peek_without_a_completion_says_eagain(ring: Any) -> None:
    """A peek at an empty completion queue returns -EAGAIN and a NULL pointer."""
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_peek_cqe(ring, slot) == -EAGAIN
    assert slot[0] == L.ffi.NULL


def test_peek_does_not_consume(ring: Any) -> None:
    """The same CQE is peeked at again until it is marked as seen."""
    queue_nop(ring, 5)
    L.io_uring_submit_and_wait(ring, 1)
    first, second = L.io_uring_cqe_ptr(), L.io_uring_cqe_ptr()
    assert L.io_uring_peek_cqe(ring, first) == 0
    assert L.io_uring_peek_cqe(ring, second) == 0
    assert first[0] == second[0]
    L.io_uring_cqe_seen(ring, first[0])
    assert L.io_uring_peek_cqe(ring, second) == -EAGAIN


def test_batch_peek_fills_what_fits(ring: Any) -> None:
    """A batch peek returns the ready CQEs up to its room, oldest first, and consumes none."""
    for number in range(5):
        queue_nop(ring, number)
    L.io_uring_submit_and_wait(ring, 5)
    slots = L.io_uring_cqe_ptr(8)
    assert L.io_uring_peek_batch_cqe(ring, slots, 3) == 3
    assert [slots[i].user_data for i in range(3)] == [0, 1, 2]
    assert L.io_uring_peek_batch_cqe(ring, slots, 8) == 5
    L.io_uring_cq_advance(ring, 5)
    assert L.io_uring_peek_batch_cqe(ring, slots, 8) == 0


def test_for_each_does_not_advance(ring: Any) -> None:
    """Iterating over the CQEs leaves all of them in the queue."""
    for number in range(3):
        queue_nop(ring, number)
    L.io_uring_submit_and_wait(ring, 3)
    for _ in range(2):
        assert [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)] == [0, 1, 2]
    L.io_uring_cq_advance(ring, 3)
    assert list(L.io_uring_for_each_cqe(ring)) == []


def test_wait_with_a_timeout_says_etime(ring: Any) -> None:
    """A wait in which nothing completes ends with -ETIME."""
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqe_timeout(ring, slot, L.__kernel_timespec(0, 1_000_000)) == -ETIME
    assert slot[0] == L.ffi.NULL


def test_submit_and_wait_timeout_reports_what_it_submitted(ring: Any) -> None:
    """A submit_and_wait_timeout that submitted something returns the count even when the wait timed out."""
    queue_nop(ring, 1)
    slot = L.io_uring_cqe_ptr()
    timeout = L.__kernel_timespec(0, 1_000_000)
    assert L.io_uring_submit_and_wait_timeout(ring, slot, 2, timeout, L.ffi.NULL) == 1
    assert L.io_uring_cq_ready(ring) == 1
    assert reap(ring) == [(1, 0, 0)]


# The sizes and flags of a ring


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (3, 4), (5, 8), (33, 64)])
def test_entries_are_rounded_up(make_ring: Callable[..., Any], asked: int, made: int) -> None:
    """The queue gets the next power of two entries, and the completion queue twice as many."""
    ring = make_ring(asked)
    assert ring.sq.ring_entries == made
    assert ring.cq.ring_entries == 2 * made


@pytest.mark.parametrize("entries", [0, 1 << 20])
def test_entries_out_of_range_are_refused(entries: int) -> None:
    """No entries, and more than the kernel's limit, give -EINVAL."""
    assert L.io_uring_queue_init(entries, L.io_uring(), 0) == -EINVAL


def test_clamp_makes_too_many_entries_the_limit(make_ring: Callable[..., Any]) -> None:
    """With CLAMP a number of entries over the limit means the limit, for both queues."""
    ring = make_ring(1 << 20, L.IORING_SETUP_CLAMP)
    assert ring.sq.ring_entries == 32768
    assert ring.cq.ring_entries == 65536


@pytest.mark.parametrize(("asked", "made"), [(8, 8), (100, 128)])
def test_cqsize_sets_the_completion_queue(make_ring: Callable[..., Any], asked: int, made: int) -> None:
    """With CQSIZE the completion queue has the asked entries, rounded up to a power of two."""
    ring = make_ring(8, L.IORING_SETUP_CQSIZE, cq_entries=asked)
    assert ring.sq.ring_entries == 8
    assert ring.cq.ring_entries == made


@pytest.mark.parametrize("cq_entries", [0, 4])
def test_cqsize_below_the_submission_queue_is_refused(cq_entries: int) -> None:
    """A completion queue smaller than the submission queue is refused with -EINVAL."""
    params = L.io_uring_params(flags=L.IORING_SETUP_CQSIZE, cq_entries=cq_entries)
    assert L.io_uring_queue_init_params(8, L.io_uring(), params) == -EINVAL


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(L.IORING_SETUP_SQ_AFF, id="SQ_AFF without SQPOLL"),
        pytest.param(L.IORING_SETUP_DEFER_TASKRUN, id="DEFER_TASKRUN without SINGLE_ISSUER"),
        pytest.param(L.IORING_SETUP_TASKRUN_FLAG, id="TASKRUN_FLAG alone"),
        pytest.param(L.IORING_SETUP_REGISTERED_FD_ONLY, id="REGISTERED_FD_ONLY without NO_MMAP"),
        pytest.param(1 << 31, id="unknown flag"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: int) -> None:
    """A setup flag without the one that it needs, or an unknown one, gives -EINVAL."""
    assert L.io_uring_queue_init(8, L.io_uring(), flags) == -EINVAL


def test_library_asks_for_no_sqarray(make_ring: Callable[..., Any]) -> None:
    """The library sets NO_SQARRAY where the kernel has it; then the ring maps no index array."""
    ring = make_ring(4, L.IORING_SETUP_CQSIZE, cq_entries=16)
    assert ring.flags & L.IORING_SETUP_CQSIZE
    if not ring.flags & L.IORING_SETUP_NO_SQARRAY:
        pytest.skip("this kernel lacks IORING_SETUP_NO_SQARRAY")
    assert ring.sq.array == L.ffi.NULL


def test_params_come_back_filled_in() -> None:
    """Setting up a ring writes its sizes and the kernel's features into the params."""
    ring, params = L.io_uring(), L.io_uring_params()
    assert L.io_uring_queue_init_params(6, ring, params) == 0
    assert (params.sq_entries, params.cq_entries) == (8, 16)
    assert params.features == ring.features
    # These two came with 5.4 and 5.5, before anything that this package supports.
    assert params.features & L.IORING_FEAT_SINGLE_MMAP
    assert params.features & L.IORING_FEAT_NODROP
    L.io_uring_queue_exit(ring)
