"""What the numbers depend on: kernel, processor, disk, file system, and versions of all that takes part."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

SYS = Path("/sys")
RIVALS = ("liburing", "caio", "aiofiles", "numpy", "cffi")
QUEUE = (
    "scheduler",
    "rotational",
    "nr_requests",
    "io_poll",
    "write_cache",
    "rq_affinity",
    "nomerges",
    "read_ahead_kb",
    "logical_block_size",
    "max_sectors_kb",
    "wbt_lat_usec",
)


def described(folder: Path) -> dict[str, Any]:
    """Everything, as it is written to JSON.

    Args:
        folder: Where the cases read and write: its file system and device are described.
    """
    return {
        **machine(),
        "cpu": processor(),
        "mitigations": mitigations(),
        "governor": read(SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "hypervisor": hypervisor(),
        **storage(folder),
        "versions": versions(),
    }


def machine() -> dict[str, Any]:
    """The part of it that fits on a line."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def read(path: Path) -> str:
    """What a file of the kernel says; nothing when it does not."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def processor() -> str:
    """The model of the first CPU."""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", read(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"


def hypervisor() -> str:
    """Whether this is a virtual machine: its CPUs and disk belong to others as well."""
    flags = re.search(r"^flags\s*:(.+)$", read(Path("/proc/cpuinfo")), re.MULTILINE)
    product = read(SYS / "class/dmi/id/sys_vendor") or read(SYS / "hypervisor/type")
    if flags and "hypervisor" in flags[1].split():
        return product or "a virtual machine"
    return ""


def mitigations() -> dict[str, str]:
    """What the kernel does about each flaw of the CPU that affects it: this makes system calls dearer."""
    folder = SYS / "devices/system/cpu/vulnerabilities"
    found = {path.name: read(path) for path in sorted(folder.glob("*"))}
    return {name: text for name, text in found.items() if text != "Not affected"}


def storage(folder: Path) -> dict[str, Any]:
    """The file system below a folder and its device, with the settings of its queue."""
    kind, options, source = mounted(folder)
    device: dict[str, Any] = {"name": source}
    number = folder.stat().st_dev
    block = SYS / f"dev/block/{os.major(number)}:{os.minor(number)}"
    if block.exists():
        disk = block.resolve()
        if not (disk / "queue").is_dir():  # a partition: the queue is the whole disk's
            disk = disk.parent
        device["disk"] = disk.name
        device["model"] = read(disk / "device/model") or read(disk / "device/device/model") or driver(disk)
        device["size_gib"] = int(read(disk / "size") or 0) * 512 >> 30
        device["queue"] = {name: text for name in QUEUE if (text := read(disk / "queue" / name))}
    return {"file_system": kind, "mount_options": options, "device": device}


def driver(disk: Path) -> str:
    """What drives a disk without a model."""
    link = disk / "device/driver"
    return link.resolve().name if link.exists() else ""


def mounted(folder: Path) -> tuple[str, str, str]:
    """File system, options and source of the mount that a folder is in."""
    number = folder.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    best = ("unknown", "", "")
    longest = -1
    for line in read(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, source, *rest) = before.split(), after.split(maxsplit=2)
        point = fields[4].replace("\\040", " ")
        inside = folder.resolve().is_relative_to(point)
        if inside and (len(point) > longest or fields[2] == wanted):
            options = {*fields[5].split(","), *(rest[0].split(",") if rest else ())}
            best, longest = (kind, ",".join(sorted(options)), source), len(point)
    return best


def versions() -> dict[str, str]:
    """Of Python and of all that takes part; "missing" for what is not installed."""
    found = {"python": f"{platform.python_implementation()} {sys.version.split()[0]} ({platform.python_compiler()})"}
    found.update(ours())
    for name in RIVALS:
        try:
            found[f"PyPI {name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[f"PyPI {name}"] = "missing"
    for program in ("fio", os.environ.get("CC", "cc")):
        found[program.split()[0]] = program_version(program.split()[0])
    return found


def ours() -> dict[str, str]:
    """Of `uring`, with its commit where the work tree is at hand, and of the liburing in it."""
    import uring
    from uring import liburing

    commit = program_output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    major, minor = liburing.io_uring_major_version(), liburing.io_uring_minor_version()
    return {"uring": f"{uring.__version__} {commit}".strip(), "liburing": f"{major}.{minor}"}


def program_version(name: str) -> str:
    """The first line of what `NAME --version` says."""
    if not shutil.which(name):
        return "missing"
    return (program_output(name, "--version").splitlines() or ["unknown"])[0]


def program_output(*command: str) -> str:
    """What a program prints; nothing when it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def one_line(environment: dict[str, Any]) -> str:
    """The environment in a sentence."""
    virtual = f" ({environment['hypervisor']})" if environment["hypervisor"] else ""
    disk = environment["device"].get("model") or environment["device"]["name"]
    return (
        f"Linux {environment['kernel']}, {environment['cpus']} x {environment['cpu']}{virtual}, "
        f"{environment['file_system']} on {disk}, Python {environment['python']}, load {environment['load']}"
    )
