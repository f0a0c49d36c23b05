"""Registered buffers and files against plain ones: random reads of 4 KiB, by how many are in flight.

Registering spares each request the pinning of its pages, which only O_DIRECT needs, and the look-up of its descriptor.
That is some tens to some hundreds of nanoseconds, which Python's own cost can hide, so there are four layers. All use
rings with the same set-up.
"""

from __future__ import annotations

from typing import Any

from .. import jobs, ours
from ..harness import Bench, Case, Lane, Point
from ..jobs import Job, job_lane

SIZE = 4096
FILE = 64 << 20
DEPTHS = (1, 32, 128)
WAYS = (
    ("plain", "nothing registered", False, False),
    ("buffers", "a registered buffer for each read", True, False),
    ("files", "a registered file", False, True),
    ("both", "both registered", True, True),
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
    count = bench.scaled(min(4096 * depth, 16_384), 1024)
    places = jobs.at_random(bench.workspace, FILE, SIZE, count)
    return Job(bench, bench.workspace.file(FILE), places, SIZE, depth, direct=True)


def lanes(make: jobs.Make) -> tuple[Lane, ...]:
    """All layers, each in all ways that it has."""
    found = []
    for way, what, buffers, files in WAYS:
        both: dict[str, Any] = {"buffers": buffers, "files": files}
        found += [
            job_lane(f"C, {way}", what, make, jobs.c_lane, buffers=int(buffers), files=int(files)),
            job_lane(f"uring.fused, {way}", f"{what}; memory is the caller's", make, ours.fused_calls, **both),
            job_lane(f"uring.Ring, {way}", f"{what}; result() of each", make, ours.operations, **both),
        ]
    return (
        *found,
        job_lane("uring.Plan, plain", "register=False", make, ours.bulk, plan=True, register=False),
        job_lane("uring.Plan, both", "register=True", make, ours.bulk, plan=True, register=True),
        job_lane("uring.Ring, leased", "both, a buffer acquired and given back for each", make, ours.leased_operations),
    )


def case(name: str, title: str, make: jobs.Make) -> Case:
    """One kind of storage."""
    return Case(
        name=f"registered-{name}",
        title=title,
        group="Registered or plain",
        unit="operations",
        axis="depth",
        points=tuple({"depth": depth} for depth in DEPTHS),
        quick_points=({"depth": 32},),
        lanes=lanes(make),
        loses="With uring.Ring the books of what is registered cost more than the kernel saves.",
    )


CASES = (
    case("cached", "Registered files and buffers: random reads of 4 KiB from the page cache", cached),
    case("direct", "Registered files and buffers: random reads of 4 KiB with O_DIRECT", direct),
)
