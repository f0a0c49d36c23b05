"""Writes of 4 KiB at random places of a file that has them already: cached, flushed, and with O_DIRECT."""

from __future__ import annotations

from functools import partial

from .. import jobs, ours, rivals
from ..harness import Bench, Case, Lane, Point
from ..jobs import Job, job_lane

SIZE = 4096
MIB = 1 << 20
BATCH = 64
IDIOMATIC, TIGHT = "threads, idiomatic", "threads, tight"


def job(bench: Bench, point: Point, *, kind: str) -> Job:
    """Writes of the file's first block to others."""
    size, depth = (32 if bench.quick else 256) * MIB, int(point["depth"])
    path = bench.workspace.scratch(size)
    count = {"buffered": 60_000, "synced": 100 * BATCH, "direct": min(2048 * depth, 32_768)}[kind]
    places = jobs.at_random(bench.workspace, size, SIZE, bench.scaled(count, BATCH), first=1)
    return Job(
        bench, path, places, SIZE, depth, kind == "direct", write=True, sync_every=BATCH if kind == "synced" else 0
    )


def lanes(kind: str) -> tuple[Lane, ...]:
    """The ways to write."""
    make = partial(job, kind=kind)

    def spoil(bench: Bench, point: Point) -> None:
        make(bench, point).spoil()

    lane = partial(job_lane, before=spoil)
    window = "depth writes in flight"
    found = [
        lane("C", f"a sliding window, nothing registered; {window}", make, jobs.c_lane),
        lane("uring.write_many", f"one call for all; {window}", make, ours.bulk),
        lane("uring.Plan", f"made once and run again; {window}", make, ours.bulk, plan=True),
        lane("uring.fused", f"a call for each write; {window}", make, ours.fused_calls),
        lane("uring.Ring", f"an Operation for each write; {window}", make, ours.operations),
        lane("os.pwrite", "one by one", make, rivals.os_pwrite),
        lane("os.pwritev", "one by one, from one aligned buffer", make, rivals.os_preadv),
    ]
    if kind != "synced":
        found += [
            lane(IDIOMATIC, "ThreadPoolExecutor.map, depth threads", make, rivals.threads_idiomatic),
            lane(TIGHT, "depth threads, each loops over its share", make, rivals.threads_tight),
        ]
    return tuple(found)


def case(kind: str, title: str, depths: tuple[int, ...], loses: str = "") -> Case:
    """One way to make writes last, or not."""
    return Case(
        name=f"writes-{kind}",
        title=title,
        group="Writes",
        unit="operations",
        axis="depth",
        points=tuple({"depth": depth} for depth in depths),
        quick_points=({"depth": 32},),
        lanes=lanes(kind),
        loses=loses,
    )


CASES = (
    case(
        "buffered",
        "Random writes of 4 KiB into the page cache",
        (1, 32, 128),
        "A write into the page cache is a copy: there is nothing to wait for, and a ring can only make it dearer.",
    ),
    case("synced", f"The same, with an fdatasync after each {BATCH} writes", (1, 8, 32)),
    case("direct", "The same with O_DIRECT, not flushed", (1, 8, 32, 128)),
)
