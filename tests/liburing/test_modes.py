"""Ways to set a ring up: sizes of entries, whose memory, when work runs, polled I/O, what is refused; and NOPs."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from errno import EBADF, ECANCELED, EFAULT, EINVAL, EIO, ENOMEM, EOPNOTSUPP
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

MakeRing = Callable[..., Any]
DEFERRED = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN
# Flags of NOP that the kernel's header has and liburing's lacks.
NOP_FILE, NOP_FIXED_FILE, NOP_TASK_WORK = 1 << 1, 1 << 2, 1 << 4


def complete(ring: Any, prepare: Callable[..., None], *args: Any, **fields: int) -> int:
    """Run one request, with the given fields of its SQE set, and return its `res`."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    for name, value in fields.items():
        setattr(sqe, name, value)
    ((_user_data, res, _flags),) = reap(ring)
    return res


def queue_nop(ring: Any, user_data: int, **fields: int) -> None:
    """Queue a NOP with the given fields of its SQE set."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, user_data)
    for name, value in fields.items():
        setattr(sqe, name, value)


def run_nops(ring: Any, count: int) -> None:
    """Run NOPs in several rounds, so that the queues wrap around, and check that each comes back in its turn."""
    for start in range(0, count, 3):
        numbers = range(start, min(start + 3, count))
        for number in numbers:
            queue_nop(ring, number)
        assert reap(ring, len(numbers)) == [(number, 0, 0) for number in numbers]


def wait_until(condition: Callable[[], object]) -> None:
    """Try a condition again and again, other system calls in between; the test fails when it does not hold in time."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


# What is refused


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(L.IORING_SETUP_DEFER_TASKRUN, id="DEFER_TASKRUN without SINGLE_ISSUER"),
        pytest.param(DEFERRED | L.IORING_SETUP_SQPOLL, id="DEFER_TASKRUN with SQPOLL"),
        pytest.param(L.IORING_SETUP_COOP_TASKRUN | L.IORING_SETUP_SQPOLL, id="COOP_TASKRUN with SQPOLL"),
        pytest.param(L.IORING_SETUP_TASKRUN_FLAG, id="TASKRUN_FLAG alone"),
        pytest.param(L.IORING_SETUP_SQ_AFF, id="SQ_AFF without SQPOLL"),
        pytest.param(L.IORING_SETUP_HYBRID_IOPOLL, id="HYBRID_IOPOLL without IOPOLL"),
        pytest.param(L.IORING_SETUP_REGISTERED_FD_ONLY, id="REGISTERED_FD_ONLY without NO_MMAP"),
        pytest.param(L.IORING_SETUP_CQE32 | L.IORING_SETUP_CQE_MIXED, id="CQE32 with CQE_MIXED"),
        pytest.param(L.IORING_SETUP_SQE128 | L.IORING_SETUP_SQE_MIXED, id="SQE128 with SQE_MIXED"),
        pytest.param(1 << 31, id="unknown"),
    ],
)
def test_invalid_combinations(flags: int) -> None:
    """Setup flags that contradict or lack each other are -EINVAL, by liburing's call and by the bare one."""
    assert L.io_uring_queue_init(8, L.io_uring(), flags) == -EINVAL
    assert L.io_uring_setup(8, L.io_uring_params(flags=flags)) == -EINVAL


def test_invalid_params() -> None:
    """Reserved fields that are set are -EINVAL, and params that are not in memory -EFAULT."""
    params = L.io_uring_params()
    params.resv[1] = 1
    assert L.io_uring_setup(8, params) == -EINVAL
    assert L.io_uring_setup(8, L.ffi.cast("struct io_uring_params *", 8)) == -EFAULT


# Sizes of entries


def test_sqe128_strides(make_ring: MakeRing) -> None:
    """SQE128 entries lie 128 bytes apart, and requests in them run as ever."""
    ring = make_ring(4, L.IORING_SETUP_SQE128)
    assert L.io_uring_sqe_shift(ring) == L.io_uring_sqe_shift_from_flags(ring.flags) == 1
    first, second = (int(L.ffi.cast("uintptr_t", get_sqe(ring))) for _ in range(2))
    assert second - first == 128
    for sqe in (first, second):
        L.io_uring_prep_nop(L.ffi.cast("struct io_uring_sqe *", sqe))
    assert [res for _user_data, res, _flags in reap(ring, 2)] == [0, 0]
    run_nops(ring, 20)


def test_cqe32_strides(make_ring: MakeRing) -> None:
    """CQE32 entries lie 32 bytes apart, and completions in them are as ever."""
    ring = make_ring(4, L.IORING_SETUP_CQE32)
    assert L.io_uring_cqe_shift(ring) == L.io_uring_cqe_shift_from_flags(ring.flags) == 1
    queue_nop(ring, 1)
    queue_nop(ring, 2)
    L.io_uring_submit(ring)
    first, second = (int(L.ffi.cast("uintptr_t", cqe)) for cqe in L.io_uring_for_each_cqe(ring))
    assert second - first == 32
    assert [user_data for user_data, _res, _flags in reap(ring, 2)] == [1, 2]
    run_nops(ring, 20)


def test_both_sizes_doubled(make_ring: MakeRing) -> None:
    """SQE128 and CQE32 go together."""
    run_nops(make_ring(4, L.IORING_SETUP_SQE128 | L.IORING_SETUP_CQE32), 20)


BIG_NOP = {"nop_flags": L.IORING_NOP_CQE32, "off": 0x1111, "addr": 0x2222}


@pytest.mark.usefixtures("nop_flags")
def test_cqe32_carries_16_bytes_more(make_ring: MakeRing) -> None:
    """A 32-byte CQE brings what the request has to say besides its result."""
    ring = make_ring(4, L.IORING_SETUP_CQE32)
    queue_nop(ring, 1, **BIG_NOP)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_submit_and_wait(ring, 1) == 1
    assert L.io_uring_wait_cqe(ring, slot) == 0
    skip_without("IORING_NOP_CQE32", slot[0].res, EINVAL)
    assert (slot[0].user_data, slot[0].res, L.io_uring_cqe_nr(slot[0])) == (1, 0, 1)
    assert (slot[0].big_cqe[0], slot[0].big_cqe[1]) == (0x1111, 0x2222)
    L.io_uring_cqe_seen(ring, slot[0])


@pytest.mark.usefixtures("nop_flags")
def test_big_nop_needs_big_cqes(ring: Any) -> None:
    """A NOP that wants a 32-byte CQE on a ring of 16-byte ones is -EINVAL."""
    assert complete(ring, L.io_uring_prep_nop, **BIG_NOP) == -EINVAL


def test_mixed_cqes_have_their_own_sizes(make_ring: MakeRing) -> None:
    """With CQE_MIXED each CQE says whether it is a big one, and the queue fills up at each wrap with a skipped one."""
    ring = make_ring(4, L.IORING_SETUP_CQE_MIXED)
    seen, skipped = [], 0
    for start in range(0, 60, 3):
        queue_nop(ring, start, **BIG_NOP)
        queue_nop(ring, start + 1)
        queue_nop(ring, start + 2, **BIG_NOP)
        assert L.io_uring_submit(ring) == 3
        advance = 0
        for cqe in L.io_uring_for_each_cqe(ring):
            advance += L.io_uring_cqe_nr(cqe)
            if cqe.flags & L.IORING_CQE_F_SKIP:
                skipped += 1
            elif cqe.flags & L.IORING_CQE_F_32:
                assert L.io_uring_cqe_nr(cqe) == 2
                seen.append((cqe.user_data, cqe.res, cqe.big_cqe[0], cqe.big_cqe[1]))
            else:
                assert L.io_uring_cqe_nr(cqe) == 1
                seen.append((cqe.user_data, cqe.res))
        assert advance == L.io_uring_cq_ready(ring)
        L.io_uring_cq_advance(ring, advance)
    assert seen == [(number, 0) if number % 3 == 1 else (number, 0, 0x1111, 0x2222) for number in range(60)]
    assert skipped > 0


def test_mixed_sqes_have_their_own_sizes(make_ring: MakeRing) -> None:
    """With SQE_MIXED 64- and 128-byte SQEs follow each other in one queue."""
    ring = make_ring(8, L.IORING_SETUP_SQE_MIXED)
    for start in range(0, 60, 3):
        queue_nop(ring, start)
        big = L.io_uring_get_sqe128(ring)
        assert big != L.ffi.NULL
        L.io_uring_prep_nop128(big)
        L.io_uring_sqe_set_data64(big, start + 1)
        queue_nop(ring, start + 2)
        assert reap(ring, 3) == [(start + number, 0, 0) for number in range(3)]


def test_big_sqes_need_a_ring_for_them(ring: Any, make_ring: MakeRing) -> None:
    """Get_sqe128 answers NULL on a ring of 64-byte SQEs, and an SQE on one of 128-byte ones."""
    assert L.io_uring_get_sqe128(ring) == L.ffi.NULL
    big = make_ring(4, L.IORING_SETUP_SQE128)
    sqe = L.io_uring_get_sqe128(big)
    assert sqe != L.ffi.NULL
    L.io_uring_prep_nop(sqe)
    assert [res for _user_data, res, _flags in reap(big)] == [0]


# Who provides the memory


def test_ring_in_memory_of_ours() -> None:
    """Queue_init_mem puts the rings into memory of ours and returns how much it took: as much as memory_size says."""
    for entries, flags in ((1, 0), (64, 0), (1024, 0), (1024, L.IORING_SETUP_CQE32), (256, L.IORING_SETUP_SQE128)):
        params = L.io_uring_params(flags=flags)
        size = L.io_uring_memory_size(entries, flags)
        memory, ring = mmap.mmap(-1, size), L.io_uring()
        view = L.ffi.from_buffer(memory)
        used = L.io_uring_queue_init_mem(entries, ring, params, view, size)
        skip_without("IORING_SETUP_NO_MMAP", used, EINVAL)
        assert used > 0
        assert used == L.io_uring_memory_size(entries, flags | params.flags & L.IORING_SETUP_NO_SQARRAY)
        assert ring.sq.sqes == L.ffi.cast("struct io_uring_sqe *", view)
        run_nops(ring, min(entries, 4))
        L.io_uring_queue_exit(ring)


def test_two_rings_in_one_piece_of_memory() -> None:
    """The second ring can begin where the first one ends."""
    memory = mmap.mmap(-1, 1 << 16)
    view = L.ffi.from_buffer(memory)
    rings, used = [L.io_uring(), L.io_uring()], 0
    for ring in rings:
        ret = L.io_uring_queue_init_mem(8, ring, L.io_uring_params(), view + used, (1 << 16) - used)
        skip_without("IORING_SETUP_NO_MMAP", ret, EINVAL)
        assert ret % mmap.PAGESIZE == 0
        used += ret
    for ring in rings:
        run_nops(ring, 10)
    for ring in rings:
        L.io_uring_queue_exit(ring)


def test_memory_must_be_large_and_aligned(make_ring: MakeRing) -> None:
    """Too little memory is -ENOMEM, memory that does not begin with a page -EINVAL."""
    make_ring(4, L.IORING_SETUP_NO_MMAP)
    memory = mmap.mmap(-1, 1 << 16)
    view = L.ffi.from_buffer(memory)
    assert L.io_uring_queue_init_mem(64, L.io_uring(), L.io_uring_params(), view, mmap.PAGESIZE) == -ENOMEM
    assert L.io_uring_queue_init_mem(8, L.io_uring(), L.io_uring_params(), view + 8, 1 << 15) == -EINVAL


def test_memory_size_follows_the_params() -> None:
    """A larger CQ takes more memory; no entries, or too many without CLAMP, are -EINVAL."""
    params = L.io_uring_params(flags=L.IORING_SETUP_CQSIZE, cq_entries=4096)
    assert L.io_uring_memory_size_params(8, params) > L.io_uring_memory_size(8, 0) > 0
    for size in (L.io_uring_memory_size, L.io_uring_mlock_size):
        assert size(0, 0) == -EINVAL
        assert size(1 << 20, 0) == -EINVAL
    assert L.io_uring_memory_size(1 << 20, L.IORING_SETUP_CLAMP) == L.io_uring_memory_size(32768, 0)


def test_mlock_size_is_nothing_with_native_workers(ring: Any) -> None:
    """Mlock_size is 0 on kernels with native workers, and what a ring takes on older ones."""
    native = bool(ring.features & L.IORING_FEAT_NATIVE_WORKERS)
    for size in (L.io_uring_mlock_size(8, 0), L.io_uring_mlock_size_params(8, L.io_uring_params())):
        assert (size == 0) is native


def test_registered_fd_only_has_no_descriptor(make_ring: MakeRing) -> None:
    """A REGISTERED_FD_ONLY ring has an index instead of a descriptor, and works by it."""
    before = set(os.listdir("/proc/self/fd"))
    ring = make_ring(4, L.IORING_SETUP_NO_MMAP | L.IORING_SETUP_REGISTERED_FD_ONLY)
    assert ring.ring_fd == -1
    assert 0 <= ring.enter_ring_fd < 16
    assert set(os.listdir("/proc/self/fd")) == before
    run_nops(ring, 10)
    assert L.io_uring_register_files(ring, L.ffi.new("int[]", [-1]), 1) == 0
    assert L.io_uring_register_ring_fd(ring) < 0


# When completion work runs


def test_deferred_work_runs_only_in_waits(make_ring: MakeRing, pipe: tuple[int, int]) -> None:
    """With DEFER_TASKRUN no other system call runs the ring's work, only one that asks for its events."""
    ring, buffer = make_ring(4, DEFERRED), L.ffi.new("char[8]")
    L.io_uring_prep_read(get_sqe(ring), pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1
    os.write(pipe[1], b"late")
    for _ in range(10):
        os.getppid()
    assert L.io_uring_cq_ready(ring) == 0
    wait_until(lambda: L.io_uring_get_events(ring) >= 0 and L.io_uring_cq_ready(ring))
    assert [res for _user_data, res, _flags in reap(ring)] == [4]


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(L.IORING_SETUP_COOP_TASKRUN, id="COOP_TASKRUN"),
        pytest.param(L.IORING_SETUP_COOP_TASKRUN | L.IORING_SETUP_TASKRUN_FLAG, id="COOP_TASKRUN with TASKRUN_FLAG"),
        pytest.param(DEFERRED | L.IORING_SETUP_TASKRUN_FLAG, id="DEFER_TASKRUN with TASKRUN_FLAG"),
    ],
)
def test_peeking_finds_completions(make_ring: MakeRing, pipe: tuple[int, int], flags: int) -> None:
    """With COOP_TASKRUN, or TASKRUN_FLAG, a loop that only peeks finds what completed later."""
    ring, buffer = make_ring(4, flags), L.ffi.new("char[8]")
    L.io_uring_prep_read(get_sqe(ring), pipe[0], buffer, 8, 0)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    os.write(pipe[1], b"late")
    wait_until(lambda: not is_empty(ring))
    assert [res for _user_data, res, _flags in reap(ring)] == [4]


# Polled I/O


POLLED = [
    pytest.param(L.IORING_SETUP_IOPOLL, id="IOPOLL"),
    pytest.param(L.IORING_SETUP_IOPOLL | L.IORING_SETUP_HYBRID_IOPOLL, id="HYBRID_IOPOLL"),
]


@pytest.mark.parametrize("flags", POLLED)
def test_iopoll_refuses_what_cannot_be_polled(
    make_ring: MakeRing, pipe: tuple[int, int], tmp_path: Path, flags: int
) -> None:
    """On an IOPOLL ring a buffered read and a pipe are -EOPNOTSUPP, and requests that transfer nothing -EINVAL."""
    ring, buffer = make_ring(8, flags), L.ffi.new("char[8]")
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        file.write(b"buffered")
        assert complete(ring, L.io_uring_prep_read, file.fileno(), buffer, 8, 0) == -EOPNOTSUPP
        assert complete(ring, L.io_uring_prep_fsync, file.fileno(), 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_read, pipe[0], buffer, 8, 0) == -EOPNOTSUPP
    assert complete(ring, L.io_uring_prep_poll_add, pipe[0], 1) == -EINVAL


@pytest.mark.parametrize("flags", POLLED)
def test_iopoll_reads_from_a_disk_that_can_be_polled(make_ring: MakeRing, tmp_path: Path, flags: int) -> None:
    """On an IOPOLL ring an O_DIRECT read from a disk with poll queues completes when it is waited for."""
    path = tmp_path / "file"
    path.write_bytes(b"polled!!" * 512)
    ring, memory = make_ring(8, flags), mmap.mmap(-1, mmap.PAGESIZE)
    view = L.ffi.from_buffer(memory)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this kernel lacks O_DIRECT on the file system of the tests")
    L.io_uring_prep_read(get_sqe(ring), fd, view, 4096, 0)
    assert L.io_uring_submit(ring) == 1
    # A wait with a timeout may end early on such a ring; each peek enters the kernel and polls the disk.
    slot = L.io_uring_cqe_ptr()
    wait_until(lambda: L.io_uring_peek_cqe(ring, slot) == 0)
    res = slot[0].res
    L.io_uring_cqe_seen(ring, slot[0])
    os.close(fd)
    skip_without("polled reads from the disk of the tests", res, EOPNOTSUPP)
    assert res == 4096
    assert memory[:4096] == path.read_bytes()


# Commands


def test_files_without_commands(ring: Any, pipe: tuple[int, int], tmp_path: Path) -> None:
    """A uring_cmd for a file that has none is -EOPNOTSUPP, and so is a discard of what is no block device."""
    require_opcode("IORING_OP_URING_CMD")
    with (tmp_path / "file").open("w+b") as file:
        for fd in (file.fileno(), pipe[0]):
            assert complete(ring, L.io_uring_prep_uring_cmd, 0, fd) == -EOPNOTSUPP
        assert complete(ring, L.io_uring_prep_cmd_discard, file.fileno(), 0, 4096) == -EOPNOTSUPP


def test_commands_know_their_flags(ring: Any, pipe: tuple[int, int]) -> None:
    """A uring_cmd with an unknown flag, or for a closed descriptor, is refused before the file is asked."""
    require_opcode("IORING_OP_URING_CMD")
    assert complete(ring, L.io_uring_prep_uring_cmd, 0, pipe[0], uring_cmd_flags=1 << 10) == -EINVAL
    closed = os.dup(pipe[0])
    os.close(closed)
    assert complete(ring, L.io_uring_prep_uring_cmd, 0, closed) == -EBADF


# NOPs


@pytest.fixture
def nop_flags(ring: Any) -> None:
    """Skip on kernels whose NOP takes no flags: some refuse them, the oldest do not look."""
    res = complete(ring, L.io_uring_prep_nop, nop_flags=L.IORING_NOP_INJECT_RESULT, len=1)
    skip_without("IORING_NOP_INJECT_RESULT", res if res == 1 else -EINVAL, EINVAL)


@pytest.mark.usefixtures("nop_flags")
def test_nop_returns_the_result_that_it_was_given(ring: Any) -> None:
    """A NOP with an injected result completes with it, be it a count or an error."""
    for wanted in (1, 4711, 2**31 - 1, -EIO):
        fields = {"nop_flags": L.IORING_NOP_INJECT_RESULT, "len": wanted & 0xFFFF_FFFF}
        assert complete(ring, L.io_uring_prep_nop, **fields) == wanted


@pytest.mark.usefixtures("nop_flags")
def test_injected_error_breaks_a_chain(ring: Any) -> None:
    """An error that a NOP was given is a real one: the request linked behind it is cancelled."""
    queue_nop(ring, 1, nop_flags=L.IORING_NOP_INJECT_RESULT, len=-EIO & 0xFFFF_FFFF, flags=L.IOSQE_IO_LINK)
    queue_nop(ring, 2)
    assert sorted(reap(ring, 2)) == [(1, -EIO, 0), (2, -ECANCELED, 0)]


@pytest.mark.usefixtures("nop_flags")
def test_unknown_nop_flag_is_refused(ring: Any) -> None:
    """A flag of NOP that does not exist is -EINVAL."""
    assert complete(ring, L.io_uring_prep_nop, nop_flags=1 << 31) == -EINVAL


@pytest.mark.usefixtures("nop_flags")
def test_nop_can_take_a_file(ring: Any, pipe: tuple[int, int]) -> None:
    """A NOP that takes a file, ordinary or registered, fails with -EBADF when there is none."""
    take = {"nop_flags": NOP_FILE}
    res = complete(ring, L.io_uring_prep_nop, fd=pipe[0], **take)
    skip_without("IORING_NOP_FILE", res, EINVAL)
    assert res == 0
    assert complete(ring, L.io_uring_prep_nop, fd=-1, **take) == -EBADF
    registered = {"nop_flags": NOP_FILE | NOP_FIXED_FILE}
    assert complete(ring, L.io_uring_prep_nop, fd=0, **registered) == -EBADF
    assert L.io_uring_register_files(ring, L.ffi.new("int[]", [pipe[0]]), 1) == 0
    assert complete(ring, L.io_uring_prep_nop, fd=0, **registered) == 0


@pytest.mark.usefixtures("nop_flags")
def test_nop_can_complete_through_task_work(make_ring: MakeRing) -> None:
    """A NOP that completes through task work waits, on a DEFER_TASKRUN ring, for an enter."""
    ring = make_ring(4, DEFERRED)
    queue_nop(ring, 1, nop_flags=NOP_TASK_WORK | L.IORING_NOP_INJECT_RESULT, len=7)
    assert L.io_uring_submit(ring) == 1
    ((user_data, res, _flags),) = reap(ring)
    skip_without("IORING_NOP_TW", res, EINVAL)
    assert (user_data, res) == (1, 7)
