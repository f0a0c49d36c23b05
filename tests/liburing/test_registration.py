"""What is registered with a ring besides buffers and files: credentials, restrictions, workers, its own fd."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, EBADF, EBADFD, EBUSY, EEXIST, EFAULT, EINVAL, ENODEV, ENXIO, EOPNOTSUPP, ETIME
from pathlib import Path
from typing import Any

import pytest
from c_style import complete, get_sqe, is_empty, reap, require_opcode, run_nop, skip_without

from uring import liburing as L

MakeRing = Callable[..., Any]
DEFERRED = L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN
NOBODY = 20_000 + os.getpid() % 40_000  # a user of its own, as locked memory is counted for each
NO_SUCH = 255
BPF_RET = 6  # linux/bpf_common.h


# Personalities


class Secrets:
    """A folder that everybody may enter, with a file that only its owner may read."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        (folder / "private").touch(0o600)
        (folder / "public").touch(0o644)
        self.fd = os.open(folder, os.O_RDONLY)

    def open(self, ring: Any, name: bytes, personality: int = 0) -> int:
        """Return 0 when the ring can open the file, with a personality, else the error."""
        fd = complete(ring, L.io_uring_prep_openat, self.fd, name, os.O_RDONLY, 0, personality=personality)
        if fd < 0:
            return fd
        os.close(fd)
        return 0


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[Secrets]:
    """Make the folder, and let its owner be root while the test may be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("this process lacks the right to change its user")
    require_opcode("IORING_OP_OPENAT")
    secrets = Secrets(tmp_path)
    yield secrets
    os.seteuid(0)
    os.close(secrets.fd)


def test_personality_takes_rights_away(ring: Any, secrets: Secrets) -> None:
    """A request of root's with the registered personality of nobody opens only what nobody may."""
    os.seteuid(NOBODY)
    nobody = L.io_uring_register_personality(ring)
    os.seteuid(0)
    assert nobody > 0
    assert secrets.open(ring, b"private") == 0
    assert secrets.open(ring, b"private", nobody) == -EACCES
    assert secrets.open(ring, b"public", nobody) == 0


def test_personality_keeps_rights(ring: Any, secrets: Secrets) -> None:
    """A personality registered by root keeps root's rights after the process gave them up."""
    root = L.io_uring_register_personality(ring)
    os.seteuid(NOBODY)
    assert secrets.open(ring, b"private") == -EACCES
    assert secrets.open(ring, b"private", root) == 0


def test_unregistered_personality_is_refused(ring: Any) -> None:
    """A personality works until it is unregistered; then it, and one that never was, is -EINVAL."""
    first = L.io_uring_register_personality(ring)
    second = L.io_uring_register_personality(ring)
    assert first != second
    assert run_nop(ring, personality=first) == 0
    assert L.io_uring_unregister_personality(ring, first) == 0
    assert L.io_uring_unregister_personality(ring, first) == -EINVAL
    assert run_nop(ring, personality=first) == -EINVAL
    assert run_nop(ring, personality=second) == 0


# Restrictions


def restrict(ring: Any, *rules: tuple[int, int]) -> int:
    """Register restrictions, each an IORING_RESTRICTION_ kind and its operand."""
    restrictions = L.io_uring_restriction(max(1, len(rules)))
    for restriction, (kind, operand) in zip(restrictions, rules, strict=False):
        restriction.opcode, restriction.register_op = kind, operand
    return L.io_uring_register_restrictions(ring, restrictions, len(rules))


def test_disabled_ring_takes_no_requests(disabled: Any) -> None:
    """A disabled ring refuses a submit with -EBADFD; the request runs after it was enabled, which works once."""
    L.io_uring_prep_nop(get_sqe(disabled))
    assert L.io_uring_submit(disabled) == -EBADFD
    assert is_empty(disabled)
    assert L.io_uring_enable_rings(disabled) == 0
    assert [res for _user_data, res, _flags in reap(disabled)] == [0]
    assert L.io_uring_enable_rings(disabled) == -EBADFD


def test_restricted_opcodes(disabled: Any) -> None:
    """With SQE_OP rules only the requests named run; others are -EACCES, and so is every register call."""
    buffer = L.ffi.new("char[1]")
    assert restrict(disabled, (L.IORING_RESTRICTION_SQE_OP, L.IORING_OP_NOP)) == 0
    assert L.io_uring_enable_rings(disabled) == 0
    assert run_nop(disabled) == 0
    assert complete(disabled, L.io_uring_prep_read, disabled.ring_fd, buffer, 1, 0) == -EACCES
    assert L.io_uring_register_files(disabled, L.ffi.new("int[]", [-1]), 1) == -EACCES


def test_restricted_register_calls(disabled: Any) -> None:
    """With REGISTER_OP rules only the register calls named work; others, and every request, are -EACCES."""
    assert restrict(disabled, (L.IORING_RESTRICTION_REGISTER_OP, L.IORING_REGISTER_FILES)) == 0
    assert L.io_uring_enable_rings(disabled) == 0
    assert L.io_uring_register_files(disabled, L.ffi.new("int[]", [-1]), 1) == 0
    assert L.io_uring_unregister_files(disabled) == -EACCES
    assert run_nop(disabled) == -EACCES


def test_allowed_sqe_flags(disabled: Any) -> None:
    """SQE_FLAGS_ALLOWED names the SQE flags that may be set; others are -EACCES."""
    allowed = (L.IORING_RESTRICTION_SQE_FLAGS_ALLOWED, L.IOSQE_ASYNC)
    assert restrict(disabled, (L.IORING_RESTRICTION_SQE_OP, L.IORING_OP_NOP), allowed) == 0
    assert L.io_uring_enable_rings(disabled) == 0
    assert run_nop(disabled) == 0
    assert run_nop(disabled, flags=L.IOSQE_ASYNC) == 0
    assert run_nop(disabled, flags=L.IOSQE_ASYNC | L.IOSQE_IO_DRAIN) == -EACCES


def test_required_sqe_flags(disabled: Any) -> None:
    """SQE_FLAGS_REQUIRED names the SQE flags that must be set; a request without them is -EACCES."""
    required = (L.IORING_RESTRICTION_SQE_FLAGS_REQUIRED, L.IOSQE_ASYNC)
    assert restrict(disabled, (L.IORING_RESTRICTION_SQE_OP, L.IORING_OP_NOP), required) == 0
    assert L.io_uring_enable_rings(disabled) == 0
    assert run_nop(disabled) == -EACCES
    assert run_nop(disabled, flags=L.IOSQE_ASYNC) == 0
    assert run_nop(disabled, flags=L.IOSQE_ASYNC | L.IOSQE_IO_DRAIN) == -EACCES


def test_restrictions_are_final(ring: Any, disabled: Any, make_ring: MakeRing) -> None:
    """Restrictions can be registered once, only while disabled, and only of a kind and operand that exist."""
    rule = (L.IORING_RESTRICTION_SQE_OP, L.IORING_OP_NOP)
    assert restrict(ring, rule) == -EBADFD
    assert restrict(disabled, rule) == 0
    assert restrict(disabled, rule) == -EBUSY
    other = make_ring(8, L.IORING_SETUP_R_DISABLED)
    assert restrict(other, (L.IORING_RESTRICTION_LAST, 0)) == -EINVAL
    assert restrict(other, (L.IORING_RESTRICTION_REGISTER_OP, NO_SUCH)) == -EINVAL


# Probes and queries


def test_probe_tells_which_opcodes_exist(ring: Any) -> None:
    """A probe names the last opcode, and knows NOP but not one that does not exist."""
    probe = L.io_uring_get_probe_ring(ring)
    assert probe != L.ffi.NULL
    try:
        assert L.IORING_OP_WRITE <= probe.last_op < NO_SUCH
        assert L.io_uring_opcode_supported(probe, L.IORING_OP_NOP)
        assert not L.io_uring_opcode_supported(probe, probe.last_op + 1)
        assert not L.io_uring_opcode_supported(probe, NO_SUCH)
    finally:
        L.io_uring_free_probe(probe)


def test_register_probe_fills_as_many_as_asked(ring: Any) -> None:
    """A probe for 4 opcodes fills 4; memory that is not zeroed is refused."""
    size = L.ffi.sizeof("struct io_uring_probe") + 4 * L.ffi.sizeof("struct io_uring_probe_op")
    memory = L.ffi.new("char[]", size)
    probe = L.ffi.cast("struct io_uring_probe *", memory)
    assert L.io_uring_register_probe(ring, probe, 4) == 0
    assert [probe.ops[number].op for number in range(4)] == [0, 1, 2, 3]
    assert all(probe.ops[number].flags & L.IO_URING_OP_SUPPORTED for number in range(4))
    assert L.io_uring_register_probe(ring, probe, 4) == -EINVAL


def query(data: Any, size: int, following: Any = None) -> Any:
    """Query the opcodes into `data`, with another query behind it, and return the header of this one."""
    header = L.io_uring_query_hdr(query_op=L.IO_URING_QUERY_OPCODES, query_data=data, size=size)
    if following is not None:
        header.next_entry = int(L.ffi.cast("uintptr_t", following))
    skip_without("IORING_REGISTER_QUERY", L.io_uring_register_query(header), EINVAL, EBADF)
    return header


def test_query_tells_what_the_kernel_has(ring: Any) -> None:
    """A query needs no ring, and gives the kernel's opcodes, features and flags."""
    opcodes = L.io_uring_query_opcode()
    header = query(opcodes, L.ffi.sizeof(opcodes[0]))
    probe = L.io_uring_get_probe_ring(ring)
    last_op = probe.last_op
    L.io_uring_free_probe(probe)
    assert header.result == 0
    assert opcodes.nr_request_opcodes == last_op + 1
    assert opcodes.nr_register_opcodes > L.IORING_REGISTER_QUERY
    assert opcodes.feature_flags & ring.features == ring.features
    assert opcodes.ring_setup_flags & ring.flags == ring.flags
    assert opcodes.sqe_flags & L.IOSQE_CQE_SKIP_SUCCESS


def test_queries_are_chained(ring: Any) -> None:
    """Queries in a list each get their own result: a short one what fits, an unknown one -EOPNOTSUPP."""
    opcodes = L.io_uring_query_opcode()
    unknown = L.io_uring_query_hdr(query_op=NO_SUCH)
    header = query(opcodes, 8, unknown)
    assert (header.result, header.size) == (0, 8)
    assert opcodes.nr_request_opcodes > L.IORING_OP_NOP
    assert opcodes.feature_flags == 0
    assert unknown.result == -EOPNOTSUPP
    assert L.io_uring_register_query(L.io_uring_query_hdr(query_data=L.ffi.cast("void *", 8), size=8)) == -EFAULT


# Workers


def in_a_thread(function: Callable[[], None]) -> None:
    """Run a function in a thread of its own, to which the workers then belong, and raise what it raised."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(function).result(30)


def workers_of_this_thread() -> list[int]:
    """Return the thread ids of the io-wq workers that serve the calling thread."""
    name, found = f"iou-wrk-{threading.get_native_id()}", []
    for task in Path("/proc/self/task").iterdir():
        try:
            if (task / "comm").read_text().strip() == name:
                found.append(int(task.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_iowq_aff_binds_the_workers(make_ring: MakeRing) -> None:
    """After iowq_aff a worker runs only on the CPUs in the mask; an empty mask size is refused."""
    cpu = max(os.sched_getaffinity(0))

    def check() -> None:
        ring = make_ring(4)
        mask, size = L.cpu_set_t(cpu), L.ffi.sizeof("cpu_set_t")
        skip_without("IORING_REGISTER_IOWQ_AFF", L.io_uring_register_iowq_aff(ring, size, mask), EINVAL)
        assert run_nop(ring, flags=L.IOSQE_ASYNC) == 0
        workers = workers_of_this_thread()
        assert workers
        assert all(os.sched_getaffinity(worker) == {cpu} for worker in workers)
        assert L.io_uring_register_iowq_aff(ring, 0, mask) == -EINVAL
        assert L.io_uring_unregister_iowq_aff(ring) == 0

    in_a_thread(check)


def test_iowq_max_workers_sets_and_tells(make_ring: MakeRing) -> None:
    """Max_workers returns the former limits and sets new ones, a zero leaving one as it is."""

    def check() -> None:
        ring = make_ring(4)
        values = L.ffi.new("unsigned[2]")
        skip_without("IORING_REGISTER_IOWQ_MAX_WORKERS", L.io_uring_register_iowq_max_workers(ring, values), EINVAL)
        assert min(values) > 0
        assert L.io_uring_register_iowq_max_workers(ring, L.ffi.new("unsigned[]", [3, 5])) == 0
        values = L.ffi.new("unsigned[]", [0, 2])
        assert L.io_uring_register_iowq_max_workers(ring, values) == 0
        assert list(values) == [3, 5]
        values = L.ffi.new("unsigned[2]")
        assert L.io_uring_register_iowq_max_workers(ring, values) == 0
        assert list(values) == [3, 2]

    in_a_thread(check)


# The ring's own descriptor


def register_ring_fd(ring: Any) -> None:
    """Register a ring's descriptor; a kernel that cannot skips the test."""
    ret = L.io_uring_register_ring_fd(ring)
    skip_without("IORING_REGISTER_RING_FDS", ret, EINVAL)
    assert ret == 1


def test_ring_fd_is_registered_and_unregistered(ring: Any) -> None:
    """A registered ring enters by an index instead of its descriptor, and works as before, until unregistered."""
    register_ring_fd(ring)
    assert 0 <= ring.enter_ring_fd < 16
    assert run_nop(ring) == 0
    assert L.io_uring_register_ring_fd(ring) == -EEXIST
    assert L.io_uring_unregister_ring_fd(ring) == 1
    assert ring.enter_ring_fd == ring.ring_fd
    assert L.io_uring_unregister_ring_fd(ring) == -EINVAL
    assert run_nop(ring) == 0


def test_ring_lives_without_its_descriptor(ring: Any) -> None:
    """After close_ring_fd the ring has no descriptor, and still runs requests and registers by its index."""
    if not ring.features & L.IORING_FEAT_REG_REG_RING:
        pytest.skip("this kernel lacks IORING_FEAT_REG_REG_RING")
    assert L.io_uring_close_ring_fd(ring) == -EINVAL
    register_ring_fd(ring)
    fd = ring.ring_fd
    assert L.io_uring_close_ring_fd(ring) == 1
    assert ring.ring_fd == -1
    with pytest.raises(OSError, match=os.strerror(EBADF)):
        os.fstat(fd)
    assert run_nop(ring) == 0
    assert L.io_uring_register_files(ring, L.ffi.new("int[]", [-1]), 1) == 0
    assert L.io_uring_close_ring_fd(ring) == -EBADF


def test_a_thread_registers_16_rings(make_ring: MakeRing) -> None:
    """A thread can have 16 registered rings; one more is -EBUSY until one is given back."""

    def check() -> None:
        rings = [make_ring(1) for _ in range(17)]
        try:
            register_ring_fd(rings[0])
            assert [L.io_uring_register_ring_fd(ring) for ring in rings[1:]] == [1] * 15 + [-EBUSY]
            assert sorted(ring.enter_ring_fd for ring in rings[:16]) == list(range(16))
            assert L.io_uring_unregister_ring_fd(rings[7]) == 1
            assert L.io_uring_register_ring_fd(rings[16]) == 1
            assert run_nop(rings[16]) == 0
        finally:
            for ring in rings:  # the thread that exits them has other rings under these indices
                L.io_uring_unregister_ring_fd(ring)

    in_a_thread(check)


# Clocks, busy polling, filters, zero-copy receive


def test_waits_use_the_registered_clock(ring: Any) -> None:
    """Waits can use CLOCK_BOOTTIME and CLOCK_MONOTONIC; other clocks are -EINVAL."""
    boottime = L.io_uring_clock_register(clockid=time.CLOCK_BOOTTIME)
    skip_without("IORING_REGISTER_CLOCK", L.io_uring_register_clock(ring, boottime), EINVAL)
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ret = L.io_uring_wait_cqe_timeout(ring, L.io_uring_cqe_ptr(), L.__kernel_timespec(0, 5_000_000))
    assert ret == -ETIME
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began >= 5_000_000
    assert L.io_uring_register_clock(ring, L.io_uring_clock_register(clockid=time.CLOCK_MONOTONIC)) == 0
    assert L.io_uring_register_clock(ring, L.io_uring_clock_register(clockid=time.CLOCK_REALTIME)) == -EINVAL


def test_napi_settings_come_back(ring: Any) -> None:
    """Unregistering busy polling returns what was registered."""
    settings = L.io_uring_napi(busy_poll_to=50, prefer_busy_poll=1)
    skip_without("IORING_REGISTER_NAPI", L.io_uring_register_napi(ring, settings), EINVAL, EOPNOTSUPP)
    former = L.io_uring_napi()
    assert L.io_uring_unregister_napi(ring, former) == 0
    assert (former.busy_poll_to, former.prefer_busy_poll) == (50, 1)


def test_iowait_can_be_switched(ring: Any) -> None:
    """Waits work with and without being accounted as iowait; an older kernel refuses the switch."""
    if not ring.features & L.IORING_FEAT_NO_IOWAIT:
        assert L.io_uring_set_iowait(ring, False) == -EOPNOTSUPP
        return
    for enabled in (False, True):
        assert L.io_uring_set_iowait(ring, enabled) == 0
        ret = L.io_uring_wait_cqe_timeout(ring, L.io_uring_cqe_ptr(), L.__kernel_timespec(0, 1_000_000))
        assert ret == -ETIME
        assert run_nop(ring) == 0


def test_bpf_filter_denies_requests(ring: Any) -> None:
    """A filter program that returns 0 for an opcode makes its requests fail with -EACCES."""
    program = L.ffi.new("struct sock_filter[]", [{"code": BPF_RET, "k": 0}])
    address = int(L.ffi.cast("uintptr_t", program))
    denial = {"opcode": L.IORING_OP_SOCKET, "filter_len": 1, "filter_ptr": address}
    described = L.io_uring_bpf(cmd_type=L.IO_URING_BPF_CMD_FILTER, filter=denial)
    skip_without("IORING_REGISTER_BPF_FILTER", L.io_uring_register_bpf_filter(ring, described), EINVAL)
    assert complete(ring, L.io_uring_prep_socket, 1, 1, 0, 0) == -EACCES
    assert run_nop(ring) == 0


def test_unknown_bpf_command_is_refused(ring: Any) -> None:
    """A command to the filters that does not exist is -EINVAL, as are all on kernels that have no filters."""
    unknown = L.io_uring_bpf(cmd_type=0xFFFF)
    assert L.io_uring_register_bpf_filter(ring, unknown) == -EINVAL
    assert L.io_uring_register_bpf_filter_task(unknown) == -EINVAL
    assert run_nop(ring) == 0


def test_zcrx_needs_a_fitting_ring(ring: Any) -> None:
    """Zero-copy receive on a ring without DEFER_TASKRUN and CQE32 is -EINVAL, before anything else is looked at."""
    assert L.io_uring_register_ifq(ring, L.io_uring_zcrx_ifq_reg()) == -EINVAL
    assert L.io_uring_register_zcrx_ctrl(ring, L.zcrx_ctrl()) in {-EINVAL, -ENXIO}


def test_zcrx_needs_a_fitting_interface(make_ring: MakeRing) -> None:
    """An interface that does not exist is -ENODEV, and the loopback, which has no queues for it, -EOPNOTSUPP."""
    area, refill = mmap.mmap(-1, 16 * mmap.PAGESIZE), mmap.mmap(-1, 2 * mmap.PAGESIZE)
    described = L.io_uring_zcrx_area_reg(addr=L.ffi.from_buffer(area), len=len(area))
    memory = L.io_uring_region_desc(
        user_addr=L.ffi.from_buffer(refill), size=len(refill), flags=L.IORING_MEM_REGION_TYPE_USER
    )
    for interface, error in ((1 << 20, ENODEV), (1, EOPNOTSUPP)):
        ring = make_ring(8, DEFERRED | L.IORING_SETUP_CQE32)
        wanted = L.io_uring_zcrx_ifq_reg(if_idx=interface, rq_entries=64, area_ptr=described, region_ptr=memory)
        ret = L.io_uring_register_ifq(ring, wanted)
        skip_without("IORING_REGISTER_ZCRX_IFQ", ret, EINVAL)
        assert ret == -error
