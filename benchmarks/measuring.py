"""One run of a lane, with the clock, the CPU time and the memory around it.

CPU time is that of the whole process, so io-wq's and SQPOLL's threads count, which are threads of it; that of children
is added when they have ended. What kernel threads and interrupts do for it elsewhere nobody counts.

Memory is what became resident at most while it ran, beyond what was there before: buffers that the lane made when it
was opened are not in it. The kernel counts resident pages for each CPU apart, so some hundred KiB are noise.
"""

from __future__ import annotations

import ctypes
import gc
import re
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .harness import Measured, Missing, Outcome, Run, Wrong

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
# Where a latency curve has its points: denser towards its end, which is what one looks for.
CURVE = (*(step / 20 for step in range(1, 19)), 0.92, 0.94, 0.96, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0)


class Sample(NamedTuple):
    """What one run cost."""

    operations: int
    nbytes: int
    digest: str | None
    wall_ns: int
    user_ns: int
    system_ns: int
    peak_kib: int
    """Resident at most, of the process or the program."""
    grown_kib: int | None
    """Of it, what was not there before the run; None for another program."""
    curve: tuple[int, ...] | None
    """Latencies at the quantiles of CURVE, ns."""

    @property
    def cpu_ns(self) -> int:
        """User and system."""
        return self.user_ns + self.system_ns


def memory() -> tuple[int, int]:
    """KiB that are resident, and the most since `forget_peak`."""
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE))
    return int(found["VmRSS"]), int(found["VmHWM"])


def forget_peak() -> None:
    """Let the process's peak of resident memory begin at what is resident now.

    Raises:
        Missing: a kernel without it.
    """
    try:
        CLEAR_REFS.write_text("5")
    except OSError as error:
        raise Missing(f"peak memory needs /proc/self/clear_refs: {error.strerror}") from error


def give_back_memory() -> None:
    """Give what libc keeps of freed memory back to the kernel: the next allocation shows."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return  # another libc than glibc


def children_ns() -> tuple[int, int]:
    """User and system nanoseconds of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(used.ru_utime * 1e9), round(used.ru_stime * 1e9)


def measure(run: Run, *, verify: bool) -> Sample:
    """Run a lane's work once.

    Args:
        run: The lane's function.
        verify: Whether a digest that has to be computed is computed: after the clock has stopped.

    Returns:
        What it cost; what the lane measured itself takes the place of what is seen from here.

    Raises:
        Missing: the lane cannot run here after all.
        Wrong: it did nothing.
    """
    gc.collect()
    forget_peak()
    before, _ = memory()
    children = children_ns()
    own = resource.getrusage(resource.RUSAGE_SELF)
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    outcome = run()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = memory()[1]
    user, system = split(cpu, used.ru_utime - own.ru_utime, used.ru_stime - own.ru_stime)
    theirs = [after - then for after, then in zip(children_ns(), children, strict=True)]
    seen = Measured(wall, user + theirs[0], system + theirs[1], peak)
    return sample(outcome, seen, max(0, peak - before), verify=verify)


def split(cpu: int, user: float, system: float) -> tuple[int, int]:
    """CPU nanoseconds, which the clock knows exactly, as user and system, of which rusage knows the proportion."""
    whole = user + system
    mine = round(cpu * (user / whole if whole else 1))
    return mine, cpu - mine


def sample(outcome: Outcome, seen: Measured, grown_kib: int, *, verify: bool) -> Sample:
    """All of it together; the digest is computed here, so call it when the clock has stopped."""
    if outcome.operations < 1:
        raise Wrong("the lane says that it did no operation")
    grown: int | None = grown_kib
    if (by_lane := outcome.measured) is not None:
        if by_lane.peak_kib is not None:
            grown = None  # of another program
        seen = Measured(
            by_lane.wall_ns,
            seen.user_ns if by_lane.user_ns is None else by_lane.user_ns,
            seen.system_ns if by_lane.system_ns is None else by_lane.system_ns,
            seen.peak_kib if by_lane.peak_kib is None else by_lane.peak_kib,
        )
    digest = outcome.digest
    if callable(digest):
        digest = digest() if verify else None
    return Sample(
        operations=outcome.operations,
        nbytes=outcome.nbytes,
        digest=digest,
        wall_ns=max(1, seen.wall_ns),
        user_ns=max(0, seen.user_ns or 0),
        system_ns=max(0, seen.system_ns or 0),
        peak_kib=seen.peak_kib or 0,
        grown_kib=grown,
        curve=None if outcome.latencies_ns is None else quantiles(outcome.latencies_ns),
    )


def quantiles(values: Sequence[int]) -> tuple[int, ...] | None:
    """The values at the quantiles of CURVE: each the smallest that so much of all values do not exceed."""
    ordered = sorted(values)
    if not ordered:
        return None
    last = len(ordered) - 1
    return tuple(int(ordered[min(last, max(0, -int(-len(ordered) * share // 1) - 1))]) for share in CURVE)
