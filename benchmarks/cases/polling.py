"""How requests begin and end: by system calls and interrupts, by SQPOLL's thread, by polling the disk (IOPOLL)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .. import jobs, ours
from ..harness import Bench, Case, Lane, Missing, Point, Run
from ..jobs import Job, job_lane

if TYPE_CHECKING:
    from uring import Params

SIZE = 4096
FILE = 64 << 20
DEPTHS = (1, 8, 32, 128)
IDLE_MS = 20
"""How long a thread that polls goes on without work: short, so that it does not take a CPU from the next lane."""

WAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("interrupts", "as Ring is by default", {}),
    (
        "SQPOLL",
        "a kernel thread takes submissions, and its CPU time is counted",
        {"sqpoll": True, "sq_idle_ms": IDLE_MS},
    ),
    ("IOPOLL", "whoever waits polls the disk", {"iopoll": True}),
    ("hybrid IOPOLL", "the same after a sleep of half the usual time", {"iopoll": True, "hybrid_iopoll": True}),
)


def cached(bench: Bench, point: Point) -> Job:
    """Reads from the page cache."""
    path = bench.workspace.file(FILE)
    bench.workspace.warm(path)
    count = bench.scaled(65_536, 1024)
    return Job(bench, path, jobs.at_random(bench.workspace, FILE, SIZE, count), SIZE, int(point["depth"]))


def direct(bench: Bench, point: Point) -> Job:
    """Reads from the disk."""
    depth = int(point["depth"])
    count = bench.scaled(min(4096 * depth, 32_768), 1024)
    places = jobs.at_random(bench.workspace, FILE, SIZE, count)
    return Job(bench, bench.workspace.file(FILE), places, SIZE, depth, direct=True)


def params(job: Job, settings: dict[str, Any]) -> Params:
    """A ring's set-up, tried out.

    Raises:
        Missing: the kernel or the disk has no such thing.
    """
    import uring

    found = uring.Params(**settings)
    try:
        with ExitStack() as trying:
            fd, ring = job.open(trying), trying.enter_context(uring.Ring(8, found))
            ring.read(fd, job.memory(1), 0).result()
    except OSError as error:
        if settings.get("iopoll") and error.errno == errno.EOPNOTSUPP:
            raise Missing("the disk has no queues that can be polled") from error
        raise Missing(str(error)) from error
    return found


def by(function: Callable[..., Run], settings: dict[str, Any], **more: Any) -> jobs.Open:
    """A lane of ours on such a ring."""
    return lambda job, at_end: function(job, at_end, params=params(job, settings), **more)


def c_by(settings: dict[str, Any]) -> jobs.Open:
    """The C program on such a ring."""

    def opened(job: Job, at_end: ExitStack) -> Run:
        import uring
        from uring.flags import Setup

        with uring.Ring(64, params(job, settings)) as ring:
            setup = int(ring.flags & ~Setup.NO_SQARRAY)
        return jobs.c_lane(job, at_end, setup=setup, idle=settings.get("sq_idle_ms"))

    return opened


def lanes(make: jobs.Make, ways: tuple[tuple[str, str, dict[str, Any]], ...]) -> tuple[Lane, ...]:
    """C, bulk and Operations in each way."""
    found = []
    for way, what, settings in ways:
        found += [
            job_lane(f"C, {way}", f"a sliding window, nothing registered; {what}", make, c_by(settings)),
            job_lane(
                f"uring.read_many, {way}", f"register=False; {what}", make, by(ours.bulk, settings, register=False)
            ),
            job_lane(f"uring.Ring, {way}", f"an Operation for each; {what}", make, by(ours.operations, settings)),
        ]
    return tuple(found)


def case(name: str, title: str, make: jobs.Make, ways: tuple[tuple[str, str, dict[str, Any]], ...]) -> Case:
    """One kind of storage."""
    return Case(
        name=f"polling-{name}",
        title=title,
        group="Polling or interrupts",
        unit="operations",
        axis="depth",
        points=tuple({"depth": depth} for depth in DEPTHS),
        quick_points=({"depth": 32},),
        lanes=lanes(make, ways),
        loses="A thread that polls takes a CPU of its own, which a machine with two misses elsewhere.",
    )


CASES = (
    case("cached", "Random reads of 4 KiB from the page cache: submitted by system calls or SQPOLL", cached, WAYS[:2]),
    case("direct", "Random reads of 4 KiB with O_DIRECT: interrupts, SQPOLL, IOPOLL", direct, WAYS),
)
