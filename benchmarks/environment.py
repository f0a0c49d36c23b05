"""What the numbers of a run depend on."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .workspace import output_of

PACKAGES = ("uring", "cffi", "liburing", "caio", "aiofiles", "numpy")


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu() -> dict[str, Any]:
    """The processor."""
    info = _text("/proc/cpuinfo") or ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith(("model name", "CPU part"))]
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    mitigations = {path.name: path.read_text().strip() for path in sorted(folder.glob("*"))} if folder.is_dir() else {}
    return {
        "model": names[0] if names else platform.processor(),
        "count": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not told",
        "hypervisor": "hypervisor" in info,
        "mitigations": {name: text for name, text in mitigations.items() if text != "Not affected"},
    }


def storage(folder: Path) -> dict[str, Any]:
    """The file system and the device below a folder."""
    best = ("", "", "", "")
    for line in (_text("/proc/self/mounts") or "").splitlines():
        device, mount, kind, options = line.split()[:4]
        inside = mount == "/" or str(folder).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[1]):
            best = device, mount, kind, options
    number = folder.stat().st_dev
    block = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    queue = next((path for path in (f"{block}/queue", f"{block}/../queue") if os.path.isdir(path)), "")
    settings = ("scheduler", "nr_requests", "rotational", "logical_block_size", "io_poll", "write_cache")
    return {
        "device": os.path.basename(best[0]),
        "filesystem": best[2],
        "options": best[3],
        "queue": {name: _text(f"{queue}/{name}") for name in settings} if queue else {},
    }


def environment(folder: Path) -> dict[str, Any]:
    """All of it."""
    from uring import _native

    lib: Any = _native.lib
    return {
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "liburing": f"{lib.io_uring_major_version()}.{lib.io_uring_minor_version()}",
        "cpu": cpu(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "load": round(os.getloadavg()[0], 2),
        "storage": storage(folder),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "fio": output_of("fio", "--version"),
    }


def headline(found: dict[str, Any]) -> str:
    """One line of it."""
    storage = found["storage"]
    return (
        f"Linux {found['kernel']} {found['machine']}, {found['cpu']['count']} x {found['cpu']['model']}"
        f"{' (virtual)' if found['cpu']['hypervisor'] else ''}, {found['python']}, "
        f"{storage['filesystem']} on {storage['device']}, load {found['load']}"
    )
