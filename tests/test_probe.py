"""What `uring.probe` says about the kernel, held against what the kernel does; and why io_uring is denied."""

from __future__ import annotations

import errno
import json
import mmap
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, reap
from confined import denied, privately

from uring import liburing as L
from uring import probe

SUPPORT = """
import json
from uring import probe
print(json.dumps(probe.support(), default=vars))
"""

# What a setup flag needs beside it.
COMPANIONS = {
    "SQ_AFF": L.IORING_SETUP_SQPOLL,
    "TASKRUN_FLAG": L.IORING_SETUP_COOP_TASKRUN,
    "DEFER_TASKRUN": L.IORING_SETUP_SINGLE_ISSUER,
    "HYBRID_IOPOLL": L.IORING_SETUP_IOPOLL,
    "REGISTERED_FD_ONLY": L.IORING_SETUP_NO_MMAP,
}


def supported(command: Sequence[str | bytes | Path]) -> dict[str, Any]:
    """What `support()` found in a child that prints it as JSON."""
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert child.returncode == 0, child.stderr
    found: dict[str, Any] = json.loads(child.stdout)
    return found


def names(pattern: str) -> dict[str, int]:
    """The extension's constants that match a pattern, by its group."""
    matches = {name: re.fullmatch(pattern, name) for name in dir(L.lib)}
    return {match[1]: int(getattr(L.lib, name)) for name, match in matches.items() if match}


def set_up(flag: str) -> int:
    """Make and close a ring with a setup flag through the C names: the answer."""
    flags = getattr(L, f"IORING_SETUP_{flag}") | COMPANIONS.get(flag, 0)
    with_memory = flags & L.IORING_SETUP_NO_MMAP
    plain, ring = L.io_uring(), L.io_uring()
    assert L.io_uring_queue_init(2, plain, 0) == 0
    params = L.io_uring_params(flags=flags, cq_entries=4, wq_fd=plain.ring_fd)
    if flag == "SQ_AFF":
        params.sq_thread_cpu = min(os.sched_getaffinity(0))
    memory = L.ffi.from_buffer(mmap.mmap(-1, 16 * mmap.PAGESIZE))
    if with_memory:
        ret = L.io_uring_queue_init_mem(2, ring, params, memory, len(memory))
    else:
        ret = L.io_uring_queue_init_params(2, ring, params)
    if ret >= 0:
        L.io_uring_queue_exit(ring)
    L.io_uring_queue_exit(plain)
    return int(ret)


@pytest.fixture(scope="module")
def found() -> probe.Support:
    """What the running kernel offers, asked once."""
    return probe.support()


# --- what there is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "pattern"),
    [
        (probe.OPCODES, r"IORING_OP_((?!LAST$)\w+)"),
        (probe.SETUP_FLAGS, r"IORING_SETUP_(\w+)"),
        (probe.FEATURES, r"IORING_FEAT_(\w+)"),
        (
            probe.REGISTER_OPS,
            r"IORING_((?:UN)?REGISTER_"
            r"(?!LAST$|USE_REGISTERED_RING$|FILES_SKIP$|SRC_REGISTERED$|DST_REPLACE$)\w+)",
        ),
    ],
    ids=["opcodes", "setup flags", "features", "register operations"],
)
def test_a_table_has_every_name_in_the_kernels_order(table: dict[str, str], pattern: str) -> None:
    """Each table lists exactly the names that the extension has, ordered by their numbers."""
    numbers = names(pattern)
    assert list(table) == sorted(numbers, key=numbers.__getitem__)


def test_opcodes_and_register_operations_are_numbered_by_their_place() -> None:
    """Opcodes and register operations have no gaps, so a name's place in its table is its number."""
    assert [getattr(L, f"IORING_OP_{name}") for name in probe.OPCODES] == list(range(L.IORING_OP_LAST))
    assert [getattr(L, f"IORING_{name}") for name in probe.REGISTER_OPS] == list(range(L.IORING_REGISTER_LAST))


def test_every_name_has_a_kernel_version() -> None:
    """What introduced a name is given as major.minor."""
    tables = (probe.OPCODES, probe.REGISTER_OPS, probe.SETUP_FLAGS, probe.FEATURES)
    assert all(re.fullmatch(r"\d+\.\d+", since) for table in tables for since in table.values())


def test_support_answers_for_every_name(found: probe.Support) -> None:
    """Where io_uring can be used there is no denial, and each table has an answer for each of its names."""
    assert found.denial is None
    assert probe.denial() is None
    assert found.release == os.uname().release
    assert list(found.opcodes) == list(probe.OPCODES)
    assert list(found.register_ops) == list(probe.REGISTER_OPS)
    assert list(found.setup_flags) == list(probe.SETUP_FLAGS)
    assert list(found.features) == list(probe.FEATURES)


def test_a_supported_opcode_runs(ring: Any, found: probe.Support) -> None:
    """NOP is reported, and runs."""
    assert found.opcodes["NOP"]
    L.io_uring_prep_nop(get_sqe(ring))
    assert reap(ring)[0][1] == 0


def test_an_unsupported_opcode_is_refused(ring: Any, found: probe.Support) -> None:
    """The kernel answers -EINVAL to each opcode that is reported missing."""
    for name, there in found.opcodes.items():
        if not there:
            sqe = get_sqe(ring)
            L.io_uring_prep_nop(sqe)
            sqe.opcode = getattr(L, f"IORING_OP_{name}")
            assert reap(ring)[0][1] == -errno.EINVAL, name


@pytest.mark.parametrize("flag", probe.SETUP_FLAGS)
def test_a_setup_flag_is_reported_when_a_ring_can_be_made_with_it(found: probe.Support, flag: str) -> None:
    """A setup flag is true when a ring with it can be made, else the kernel refuses it."""
    ret = set_up(flag)
    assert found.setup_flags[flag] == (ret >= 0), os.strerror(abs(ret))


def test_features_are_those_of_a_new_ring(ring: Any, found: probe.Support) -> None:
    """A feature is true when its bit is set in a ring that was just made."""
    expected = {name: bool(ring.features & getattr(L, f"IORING_FEAT_{name}")) for name in probe.FEATURES}
    assert found.features == expected


def test_features_are_there_since_the_kernel_that_is_named(found: probe.Support) -> None:
    """A kernel has every feature that an older kernel, or itself, introduced."""
    running = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    older = [name for name, since in probe.FEATURES.items() if tuple(map(int, since.split("."))) <= running]
    assert [name for name in older if not found.features[name]] == []


def test_register_operations_of_kernel_5_10_are_there(found: probe.Support) -> None:
    """The register operations that the oldest promised kernel has are reported on every kernel."""
    old = list(probe.REGISTER_OPS)[: L.IORING_REGISTER_ENABLE_RINGS + 1]
    assert [name for name in old if not found.register_ops[name]] == []


def test_a_missing_register_operation_is_refused(ring: Any, found: probe.Support) -> None:
    """The kernel answers -EINVAL on a real ring to each register operation that is reported missing."""
    for name, there in found.register_ops.items():
        if not there:
            ret = L.io_uring_register(ring.ring_fd, getattr(L, f"IORING_{name}"), L.ffi.NULL, 0)
            assert ret == -errno.EINVAL, name


def test_a_kernel_that_looks_at_the_file_first_is_judged_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every number is refused for the file, the register operations are those of the kernel's version."""
    monkeypatch.setattr(probe, "_register", lambda _fd, _operation: -errno.EOPNOTSUPP)
    assert probe._register_ops("5.15.0-91-generic")["REGISTER_IOWQ_MAX_WORKERS"]
    assert not probe._register_ops("5.15.0-91-generic")["REGISTER_RING_FDS"]
    assert probe._register_ops("6.10-rc1")["REGISTER_NAPI"]
    assert not probe._register_ops("6.10-rc1")["REGISTER_CLOCK"]


def test_two_hundred_calls_leak_no_thread() -> None:
    """The rings that asking makes are closed again, with their polling threads; descriptors are watched as ever."""
    before = len(os.listdir("/proc/self/task"))
    for _ in range(200):
        assert probe.support().denial is None
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/task")) > before:
        assert time.monotonic() < deadline, "kernel threads of closed rings are still there"
        time.sleep(0.01)


# --- why not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES], ids=errno.errorcode.get)
def test_a_seccomp_filter_is_named(code: int) -> None:
    """Under a filter that denies io_uring_setup the reason is seccomp, whatever it answers; the tables are empty."""
    found = supported(denied([sys.executable, "-c", SUPPORT], code))
    assert found["denial"]["code"] == code
    assert "seccomp filter" in found["denial"]["reason"]
    assert "seccomp profile" in found["denial"]["advice"]
    assert not any(found[table] for table in ("opcodes", "register_ops", "setup_flags", "features"))


@pytest.mark.parametrize(("value", "who"), [(2, "everybody"), (1, "CAP_SYS_ADMIN")])
def test_the_sysctl_is_named(tmp_path: Path, value: int, who: str) -> None:
    """When kernel.io_uring_disabled is set and io_uring_setup answers EPERM, the sysctl is the reason.

    The switch itself is the whole machine's, so the file is covered in a mount namespace and seccomp refuses.
    """
    if not Path("/proc/sys/kernel/io_uring_disabled").exists():
        pytest.skip("this kernel lacks the sysctl kernel.io_uring_disabled")
    (tmp_path / "switch").write_text(f"{value}\n")
    cover = f"mount --bind '{tmp_path}/switch' /proc/sys/kernel/io_uring_disabled"
    found = supported(privately(cover, denied([sys.executable, "-c", SUPPORT])))
    assert f"kernel.io_uring_disabled is {value}" in found["denial"]["reason"]
    assert who in found["denial"]["reason"]
    assert "sysctl kernel.io_uring_disabled=0" in found["denial"]["advice"]


def test_the_sysctl_does_not_explain_a_missing_system_call(tmp_path: Path) -> None:
    """ENOSYS is not the sysctl's answer, so the seccomp filter is named even when the sysctl is set."""
    if not Path("/proc/sys/kernel/io_uring_disabled").exists():
        pytest.skip("this kernel lacks the sysctl kernel.io_uring_disabled")
    (tmp_path / "switch").write_text("2\n")
    cover = f"mount --bind '{tmp_path}/switch' /proc/sys/kernel/io_uring_disabled"
    found = supported(privately(cover, denied([sys.executable, "-c", SUPPORT], errno.ENOSYS)))
    assert "seccomp filter" in found["denial"]["reason"]


@pytest.mark.parametrize("spare", [0, 1])
def test_a_lack_of_descriptors_is_named(spare: int) -> None:
    """With too few descriptors left, io_uring is not declared half supported: the reason is EMFILE."""
    few = f"""
import os, resource
from uring import probe
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for fd in taken[:{spare}]:
    os.close(fd)
found = probe.support()
for fd in taken[{spare}:]:
    os.close(fd)
import json
print(json.dumps(found, default=vars))
"""
    found = supported([sys.executable, "-c", few])
    assert found["denial"]["code"] == errno.EMFILE
    assert "RLIMIT_NOFILE" in found["denial"]["advice"]
    assert found["setup_flags"] == {}


# Becomes somebody whose rings count against a limit on locked memory.
UNPRIVILEGED = """
import json, os, resource
from uring import probe
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({0}, {0}))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(20_000 + os.getpid() % 40_000)  # a user of its own, as locked memory is counted for each
found = [probe.support() for _ in range({1})]
print(json.dumps(found, default=vars))
"""


def test_a_lack_of_locked_memory_is_named() -> None:
    """An unprivileged user who may lock no memory is told of RLIMIT_MEMLOCK."""
    (found,) = supported([sys.executable, "-c", UNPRIVILEGED.format(0, 1)])
    if found["denial"] is None:
        pytest.skip("this kernel does not count rings against RLIMIT_MEMLOCK")
    assert found["denial"]["code"] == errno.ENOMEM
    assert "RLIMIT_MEMLOCK allows 0 KiB" in found["denial"]["reason"]


def test_rings_closed_just_before_do_not_make_a_flag_look_missing() -> None:
    """With little lockable memory, of which closed rings still hold a part, every flag is found all the same."""
    expected = probe.support().setup_flags
    for found in supported([sys.executable, "-c", UNPRIVILEGED.format(64 << 10, 3)]):
        assert found["denial"] is None
        assert {name for name in expected if found["setup_flags"][name] != expected[name]} <= {"SQPOLL", "SQ_AFF"}


def test_an_unlimited_user_without_memory_is_not_told_of_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit on locked memory, the reason does not invent one."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "allows any amount" in probe.explain(errno.ENOMEM).reason


def test_an_old_kernel_is_named() -> None:
    """ENOSYS without a seccomp filter is a kernel without io_uring."""
    if re.search(r"^Seccomp:\s*2", Path("/proc/self/status").read_text(), re.MULTILINE):
        pytest.skip("these tests run under a seccomp filter themselves")
    found = probe.explain(errno.ENOSYS)
    assert os.uname().release in found.reason
    assert "CONFIG_IO_URING" in found.advice


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENFILE, errno.EFAULT], ids=errno.errorcode.get)
def test_any_other_errno_is_named(code: int) -> None:
    """An errno with no known cause is passed on with its text."""
    found = probe.explain(code)
    assert found.code == code
    assert os.strerror(code) in found.reason
    assert found.advice
