"""Setup parameters: each field really opened, conflicts refused with the reason, fallback for older kernels."""

from __future__ import annotations

import errno
import mmap
import os
import select
import threading
from pathlib import Path
from typing import Any

import pytest

import uring
from uring import Params, Ring, Setup, probe
from uring.fused import lib

ENTRIES = 8

OPENS: list[tuple[dict[str, Any], Setup]] = [
    ({}, Setup(0)),
    ({"cq_entries": 64}, Setup.CQSIZE),
    ({"cq_entries": 5}, Setup.CQSIZE),
    ({"clamp": True}, Setup.CLAMP),
    ({"iopoll": True}, Setup.IOPOLL),
    ({"iopoll": True, "hybrid_iopoll": True}, Setup.IOPOLL | Setup.HYBRID_IOPOLL),
    ({"iopoll": True, "defer_taskrun": True}, Setup.IOPOLL | Setup.DEFER_TASKRUN),
    ({"sqpoll": True}, Setup.SQPOLL),
    ({"sqpoll": True, "sq_idle_ms": 10}, Setup.SQPOLL),
    ({"sqpoll": True, "sq_cpu": 0}, Setup.SQPOLL | Setup.SQ_AFF),
    ({"sqpoll": True, "single_issuer": True}, Setup.SQPOLL | Setup.SINGLE_ISSUER),
    ({"sqpoll": True, "iopoll": True}, Setup.SQPOLL | Setup.IOPOLL),
    ({"sqpoll": True, "no_mmap": True, "registered_fd_only": True}, Setup.SQPOLL | Setup.REGISTERED_FD_ONLY),
    ({"single_issuer": True}, Setup.SINGLE_ISSUER),
    ({"coop_taskrun": True}, Setup.COOP_TASKRUN),
    ({"defer_taskrun": True}, Setup.DEFER_TASKRUN | Setup.SINGLE_ISSUER),
    ({"defer_taskrun": True, "coop_taskrun": True}, Setup.DEFER_TASKRUN | Setup.COOP_TASKRUN),
    ({"taskrun_flag": True}, Setup.TASKRUN_FLAG),
    ({"taskrun_flag": True, "coop_taskrun": False}, Setup.TASKRUN_FLAG | Setup.DEFER_TASKRUN),
    ({"taskrun_flag": True, "defer_taskrun": False}, Setup.TASKRUN_FLAG | Setup.COOP_TASKRUN),
    ({"taskrun_flag": True, "single_issuer": False}, Setup.TASKRUN_FLAG | Setup.COOP_TASKRUN),
    ({"submit_all": True}, Setup.SUBMIT_ALL),
    ({"sqe128": True}, Setup.SQE128),
    ({"cqe32": True}, Setup.CQE32),
    ({"sqe_mixed": True}, Setup.SQE_MIXED),
    ({"cqe_mixed": True}, Setup.CQE_MIXED),
    ({"sqe128": True, "cqe32": True, "no_mmap": True}, Setup.SQE128 | Setup.CQE32 | Setup.NO_MMAP),
    ({"sqe128": True, "cqe_mixed": True}, Setup.SQE128 | Setup.CQE_MIXED),
    ({"no_mmap": True}, Setup.NO_MMAP),
    ({"no_mmap": True, "registered_fd_only": True}, Setup.NO_MMAP | Setup.REGISTERED_FD_ONLY),
    ({"no_sqarray": True}, Setup.NO_SQARRAY),
    ({"sq_rewind": True}, Setup.SQ_REWIND | Setup.NO_SQARRAY),
    ({"disabled": True}, Setup.R_DISABLED),
    ({"disabled": True, "sqpoll": True}, Setup.R_DISABLED | Setup.SQPOLL),
    ({"disabled": True, "no_mmap": True, "registered_fd_only": True}, Setup.R_DISABLED | Setup.NO_MMAP),
]

CONFLICTS: list[tuple[dict[str, Any], str]] = [
    ({"defer_taskrun": True, "sqpoll": True}, "defer_taskrun excludes sqpoll"),
    ({"coop_taskrun": True, "sqpoll": True}, "coop_taskrun excludes sqpoll"),
    ({"taskrun_flag": True, "sqpoll": True}, "taskrun_flag excludes sqpoll"),
    ({"defer_taskrun": True, "single_issuer": False}, "defer_taskrun needs single_issuer"),
    ({"taskrun_flag": True, "coop_taskrun": False, "defer_taskrun": False}, "taskrun_flag needs"),
    ({"taskrun_flag": True, "coop_taskrun": False, "single_issuer": False}, "taskrun_flag needs"),
    ({"hybrid_iopoll": True}, "hybrid_iopoll needs iopoll"),
    ({"sq_cpu": 0}, "sq_cpu needs sqpoll"),
    ({"sq_idle_ms": 5}, "sq_idle_ms needs sqpoll"),
    ({"registered_fd_only": True}, "registered_fd_only needs no_mmap"),
    ({"sqe_mixed": True, "sqe128": True}, "sqe_mixed excludes sqe128"),
    ({"cqe_mixed": True, "cqe32": True}, "cqe_mixed excludes cqe32"),
    ({"sq_rewind": True, "sqpoll": True}, "sq_rewind excludes sqpoll"),
    ({"sqpoll": True, "sq_idle_ms": 0}, "sq_idle_ms must be from 1"),
    ({"sqpoll": True, "sq_idle_ms": 1 << 32}, "sq_idle_ms must be from 1"),
    ({"sqpoll": True, "sq_cpu": -1}, "sq_cpu must be from 0"),
    ({"sqpoll": True, "sq_cpu": 1 << 30}, "sq_cpu must be a CPU of this machine"),
    ({"cq_entries": 4}, "must not be less than entries"),
    ({"cq_entries": 4, "clamp": True}, "must not be less than entries"),
    ({"cq_entries": 0}, "cq_entries must be from 1"),
    ({"cq_entries": 65537}, "use clamp=True"),
]


def open_or_skip(entries: int = ENTRIES, **fields: Any) -> Ring:
    """A ring, or a skip that names the flag which this kernel lacks."""
    try:
        return Ring(entries, Params(**fields))
    except uring.Unsupported as error:
        pytest.skip(str(error))


def name(value: Any) -> str | None:
    """A readable id for a case's fields."""
    return "-".join(f"{key}={item}" for key, item in value.items()) or "default" if isinstance(value, dict) else ""


@pytest.mark.parametrize(("fields", "flags"), OPENS, ids=name)
def test_a_ring_of_these_parameters_works(fields: dict[str, Any], flags: Setup) -> None:
    """It opens with the flags that were asked for, and a request goes through it."""
    with open_or_skip(**fields) as ring:
        assert ring.flags & flags == flags
        if fields.get("disabled"):
            ring.enable()
        assert ring.nop().result(10) is None
        if fields.get("sqpoll") is None:
            assert not ring.flags & Setup.SQPOLL


@pytest.mark.parametrize("field", ["single_issuer", "coop_taskrun", "defer_taskrun", "taskrun_flag", "submit_all"])
def test_what_is_switched_off_stays_off(field: str) -> None:
    """False is a wish too: the flag is not chosen."""
    fields: Any = {field: False}
    with Ring(ENTRIES, Params(**fields)) as ring:
        assert not ring.flags & getattr(Setup, field.upper())
        assert ring.nop().result(10) is None


@pytest.mark.parametrize(("fields", "why"), CONFLICTS, ids=name)
def test_what_cannot_work_is_refused_with_the_reason(fields: dict[str, Any], why: str) -> None:
    """A ValueError before the system call, which would only say EINVAL."""
    with pytest.raises(ValueError, match=why):
        Ring(ENTRIES, Params(**fields))


@pytest.mark.parametrize(
    ("fields", "flag"), [({"sqe_mixed": True}, "SQE_MIXED"), ({"sq_rewind": True, "submit_all": True}, "SQ_REWIND")]
)
def test_a_flag_that_the_kernel_lacks_is_named(fields: dict[str, Any], flag: str) -> None:
    """Unsupported names the flag and the kernel that has it."""
    if probe.setup_flags()[flag]:
        pytest.skip(f"this kernel has IORING_SETUP_{flag}")
    with pytest.raises(uring.Unsupported) as caught:
        Ring(ENTRIES, Params(**fields))
    assert caught.value.feature == f"IORING_SETUP_{flag}"
    assert caught.value.since == probe.SETUP_FLAGS[flag]
    assert os.uname().release in str(caught.value)


@pytest.mark.parametrize("entries", [0, -1, 32769])
def test_entries_out_of_range(entries: int) -> None:
    """The limits are told."""
    with pytest.raises(ValueError, match="entries must be from 1 to 32768"):
        Ring(entries)


@pytest.mark.parametrize("entries", [None, "8", 8.0, True])
def test_entries_that_are_no_number(entries: Any) -> None:
    """Entries are an int."""
    with pytest.raises(TypeError, match="entries must be an int"):
        Ring(entries)


@pytest.mark.parametrize("field", ["cq_entries", "sq_cpu", "sq_idle_ms"])
@pytest.mark.parametrize("value", ["1", 1.5, False])
def test_fields_that_are_no_numbers(field: str, value: Any) -> None:
    """So are the other numbers."""
    with pytest.raises(TypeError, match=f"{field} must be an int"):
        Ring(ENTRIES, Params(sqpoll=True, **{field: value}))


def test_the_sizes_are_those_asked_for() -> None:
    """Entries are rounded up to a power of two, completions are twice as many, or as many as was said."""
    with Ring(5) as ring:
        assert (ring.c_ring.sq.ring_entries, ring.c_ring.cq.ring_entries) == (8, 16)
    with Ring(1, Params(cq_entries=100)) as ring:
        assert (ring.c_ring.sq.ring_entries, ring.c_ring.cq.ring_entries) == (1, 128)


def test_clamp_reduces_what_is_too_large() -> None:
    """With clamp the maximum is taken instead of an error."""
    with Ring(1 << 20, Params(clamp=True, cq_entries=1 << 25)) as ring:
        assert (ring.c_ring.sq.ring_entries, ring.c_ring.cq.ring_entries) == (32768, 65536)


def test_params_are_immutable_values() -> None:
    """Params compare by their fields, take keywords only, and cannot be changed."""
    assert Params(sqpoll=True) == Params(sqpoll=True) != Params()
    with pytest.raises(AttributeError):
        Params().sqpoll = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        Params(64)  # type: ignore[call-arg]


# --- the choice of flags ---------------------------------------------------------------------------


def test_the_best_comes_first_and_nothing_last() -> None:
    """The defaults try DEFER_TASKRUN first, then what older kernels have, at last no flag at all."""
    words = [Setup(word) for word in Params().candidates()]
    best = Setup.SUBMIT_ALL | Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN | Setup.TASKRUN_FLAG
    assert words[0] == best
    assert words[-1] == Setup(0)
    assert len(set(words)) == len(words) == 5
    assert not any(word & (Setup.SQPOLL | Setup.IOPOLL) for word in words)


def test_what_was_asked_for_is_in_every_candidate() -> None:
    """Falling back never drops a flag that the user set, nor sets one that was switched off."""
    params = Params(submit_all=True, single_issuer=False, cqe32=True, clamp=True)
    asked = Setup.SUBMIT_ALL | Setup.CQE32 | Setup.CLAMP
    for word in params.candidates():
        assert Setup(word) & asked == asked
        assert not Setup(word) & (Setup.SINGLE_ISSUER | Setup.DEFER_TASKRUN)


@pytest.mark.parametrize("fields", [fields for fields, _ in OPENS], ids=name)
def test_every_candidate_is_consistent(fields: dict[str, Any]) -> None:
    """No candidate breaks one of the kernel's rules, whatever was left open."""
    for number in Params(**fields).candidates():
        word = Setup(number)
        late = Setup.COOP_TASKRUN | Setup.DEFER_TASKRUN
        assert not (word & Setup.DEFER_TASKRUN and not word & Setup.SINGLE_ISSUER)
        assert not (word & Setup.SQPOLL and word & (late | Setup.TASKRUN_FLAG))
        if fields.get("taskrun_flag") is None:
            assert not (word & Setup.TASKRUN_FLAG and not word & late)


class OldKernel(Ring):
    """A ring whose kernel refuses the flags in `lacks`."""

    lacks = Setup(0)

    def _init(self, entries: int, setup: Any) -> int:
        return -errno.EINVAL if setup.flags & self.lacks else super()._init(entries, setup)


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        (Setup.DEFER_TASKRUN, Setup.SUBMIT_ALL | Setup.SINGLE_ISSUER | Setup.COOP_TASKRUN | Setup.TASKRUN_FLAG),
        (Setup.SINGLE_ISSUER, Setup.SUBMIT_ALL | Setup.COOP_TASKRUN | Setup.TASKRUN_FLAG),
        (Setup.SINGLE_ISSUER | Setup.TASKRUN_FLAG, Setup.SUBMIT_ALL),
        (Setup.SUBMIT_ALL, Setup(0)),
    ],
)
def test_an_older_kernel_gets_the_best_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, lacks: Setup, expected: Setup
) -> None:
    """Flags left open are dropped one set after the other; the ring works."""
    monkeypatch.setattr(OldKernel, "lacks", lacks)
    with OldKernel(ENTRIES) as ring:
        assert ring.flags & ~Setup.NO_SQARRAY == expected
        assert ring.nop().result(10) is None


# --- modes -----------------------------------------------------------------------------------------


def test_attach_wq_shares_the_workers() -> None:
    """A ring attaches to another one, with and without SQPOLL; both work, also after the first is closed."""
    for fields in ({}, {"sqpoll": True, "sq_idle_ms": 10}):
        first = Ring(ENTRIES, Params(**fields))
        with Ring(ENTRIES, Params(attach_wq=first, **fields)) as second:
            assert second.flags & Setup.ATTACH_WQ
            assert first.nop().result(10) is None
            assert second.nop(force_async=True).result(10) is None
            first.close()
            assert second.nop().result(10) is None


def test_attach_wq_needs_a_ring_that_is_open() -> None:
    """No ring, a closed one, or one without the thread to share is refused."""
    with pytest.raises(TypeError, match="attach_wq must be a ring"):
        Ring(ENTRIES, Params(attach_wq=3))  # type: ignore[arg-type]
    closed = Ring(ENTRIES)
    closed.close()
    with pytest.raises(uring.RingClosed):
        Ring(ENTRIES, Params(attach_wq=closed))
    with Ring(ENTRIES) as plain, pytest.raises(ValueError, match="no thread to share"):
        Ring(ENTRIES, Params(sqpoll=True, attach_wq=plain))


def test_the_submission_thread_runs_on_its_cpu() -> None:
    """With sq_cpu the kernel's thread may run on that CPU alone."""
    cpu = min(os.sched_getaffinity(0))
    with Ring(ENTRIES, Params(sqpoll=True, sq_cpu=cpu, sq_idle_ms=50)) as ring:
        ring.nop().result(10)
        threads = [path for path in Path("/proc/self/task").iterdir() if "iou-sqp" in (path / "comm").read_text()]
        allowed = {f"Cpus_allowed_list:\t{cpu}" in (path / "status").read_text() for path in threads}
        assert allowed == {True}


def test_a_registered_ring_has_no_descriptor() -> None:
    """fileno() says why; requests and registering work all the same."""
    with open_or_skip(no_mmap=True, registered_fd_only=True) as ring:
        with pytest.raises(ValueError, match="registered_fd_only"):
            ring.fileno()
        assert ring.nop().result(10) is None
        ring.unregister_personality(ring.register_personality())


def test_a_ring_in_our_own_memory() -> None:
    """With no_mmap the queues lie in a mapping that lives as long as the ring."""
    with open_or_skip(entries=512, no_mmap=True) as ring:
        assert isinstance(ring._memory, mmap.mmap)
        operations = [ring.nop() for _ in range(512)]
        assert ring.wait(512, 10) == operations
        assert select.select([ring], [], [], 0) == ([], [], [])


def test_a_disabled_ring_takes_requests_after_enable() -> None:
    """Before, submitting is refused; requests that were prepared meanwhile go through afterwards."""
    with Ring(ENTRIES, Params(disabled=True)) as ring:
        operation = ring.nop()
        with pytest.raises(OSError, match="submit") as caught:
            ring.submit()
        assert caught.value.errno == errno.EBADFD
        flags = ring.flags
        ring.enable()
        assert flags & Setup.R_DISABLED
        assert ring.flags == flags == ring.c_ring.flags  # how it was set up, not how it is
        assert operation.result(10) is None
        with pytest.raises(OSError, match="register_enable_rings"):
            ring.enable()


def test_the_thread_that_enables_a_ring_owns_it() -> None:
    """The maker is refused from then on; the enabler uses and closes it."""
    ring = Ring(ENTRIES, Params(disabled=True))
    enabled, checked = threading.Event(), threading.Event()
    results: list[Any] = []

    def own() -> None:
        ring.enable()
        enabled.set()
        checked.wait(10)
        results.append(ring.nop().result(10))
        ring.close()

    thread = threading.Thread(target=own)
    thread.start()
    enabled.wait(10)
    for call in (ring.nop, ring.submit, ring.close):
        with pytest.raises(uring.WrongThread):
            call()
    checked.set()
    thread.join(10)
    assert results == [None]
    assert ring.closed


def test_a_polled_ring_on_a_disk_that_cannot_be_polled(tmp_path: Path) -> None:
    """The kernel's answer is an OSError with the operation in it; on a disk with poll queues the read succeeds."""
    path = tmp_path / "direct"
    path.write_bytes(b"d" * 4096)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    try:
        with Ring(ENTRIES, Params(iopoll=True)) as ring:
            read = ring.read(fd, uring.aligned_buffer(4096), offset=0)
            error = read.exception(10)
        if error is None:
            assert read.result() == 4096
        else:
            assert isinstance(error, OSError)
            assert error.errno == errno.EOPNOTSUPP
            assert "read of 4096 bytes at 0" in str(error)
    finally:
        os.close(fd)


def test_the_kernels_struct_gets_every_number() -> None:
    """Sizes, idle time, CPU and the ring to attach to are where the kernel looks for them."""
    with Ring(ENTRIES) as other:
        params = Params(cq_entries=32, sqpoll=True, sq_idle_ms=7, sq_cpu=0, attach_wq=other)
        struct = params.struct(params.candidates()[0])
        assert (struct.cq_entries, struct.sq_thread_idle, struct.sq_thread_cpu) == (32, 7, 0)
        assert struct.wq_fd == other.fileno()
    expected = lib.IORING_SETUP_CQSIZE | lib.IORING_SETUP_SQPOLL | lib.IORING_SETUP_SQ_AFF | lib.IORING_SETUP_ATTACH_WQ
    assert struct.flags & expected == expected
