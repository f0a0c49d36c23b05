"""How cost grows: flat with the number of requests in flight, linear with the number of requests."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .. import jobs, nops, ours
from ..harness import Bench, Case, Claim, Lane, Missing, Outcome, Point, Run, Wrong
from ..jobs import Job

SIZE = 4096
FILE = 64 << 20
IN_FLIGHT = (1, 8, 32, 128, 1024, 8192, 32768)
COUNTS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FEW, MANY = {"operations": 100_000}, {"operations": 10_000_000}
GROUP = "How cost grows"


def in_flight(name: str, what: str, function: Callable[..., Run], times: int = 1, **options: Any) -> Lane:
    """A lane over NOPs, so many for each submit."""

    def opened(bench: Bench, point: Point, at_end: ExitStack) -> Run:
        depth = int(point["in_flight"])
        # What a wait costs is paid for each NOP where there is one at a time.
        count = max(depth, bench.scaled(times * (20_000 if depth == 1 else 65_536), depth))
        return function(count, depth, at_end, **options)

    return Lane(name, what, opened)


def beside_waiting(name: str, what: str, function: Callable[..., Run], times: int = 1) -> Lane:
    """A lane over NOPs, 32 for each submit, while others are in flight."""

    def opened(bench: Bench, point: Point, at_end: ExitStack) -> Run:
        return function(bench.scaled(times * 48_000, 32), 32, at_end, waiting=int(point["in_flight"]))

    return Lane(name, what, opened)


def waiting_ring(waiting: int, at_end: ExitStack) -> Any:
    """A ring with so many polls of a pipe that stays empty until the end: the kernel is slow to cancel so many."""
    import uring

    ends = os.pipe()
    for end in ends:
        at_end.callback(os.close, end)
    ring = uring.Ring(64, uring.Params(cq_entries=min(65536, max(128, waiting))))
    at_end.callback(ring.close, 30.0)
    at_end.callback(os.write, ends[1], b"!")
    for _ in range(waiting):
        ring.poll_add(ends[0], select.POLLIN)
    ring.submit()
    return ring


def operations_beside(count: int, per_submit: int, at_end: ExitStack, *, waiting: int) -> Run:
    """uring.Ring: Operations, and polls that wait."""
    loop = nops.operation_loop(waiting_ring(waiting, at_end), per_submit)
    return nops.in_batches(loop, count, per_submit)


def fused_beside(count: int, per_submit: int, at_end: ExitStack, *, waiting: int) -> Run:
    """uring.fused on such a ring."""
    from uring import fused

    r = fused.attach(waiting_ring(waiting, at_end).c_ring, 64)
    at_end.callback(fused.detach, r)
    return nops.in_batches(nops.fused_loop(r, per_submit), count, per_submit)


def bulk_beside(count: int, per_submit: int, at_end: ExitStack, *, waiting: int) -> Run:
    """nop_many on such a ring."""
    ring = waiting_ring(waiting, at_end)

    def run() -> Outcome:
        if ring.nop_many(count, depth=per_submit).failed:
            raise Wrong(ring)
        return Outcome(count)

    return run


def of_count(name: str, what: str, function: Callable[..., Run], most: int = COUNTS[-1], **options: Any) -> Lane:
    """A lane over so many NOPs, 32 for each submit."""

    def opened(_bench: Bench, point: Point, at_end: ExitStack) -> Run:
        count = int(point["operations"])
        if count > most:
            raise Missing(f"it would take too long: {most} are the most")
        return function(count - count % 32, 32, at_end, **options)

    return Lane(name, what, opened)


def cached_reads(bench: Bench, point: Point) -> Job:
    """So many reads of 4 KiB from the page cache, 128 in flight."""
    path = bench.workspace.file(FILE)
    bench.workspace.warm(path)
    places = jobs.at_random(bench.workspace, FILE, SIZE, int(point["operations"]))
    return Job(bench, path, places, SIZE, 128)


def points(axis: str, values: tuple[int, ...]) -> tuple[Point, ...]:
    """Places on an axis."""
    return tuple({axis: value} for value in values)


def grows(text: str, lane: str, limit: float, *, few: Point, many: Point) -> Claim:
    """That a request costs about the same at both, of CPU time."""
    return Claim(text, lane, lane, "cpu", "<=", limit, many, rival_point=few)


BULK, FUSED, RING, READ_MANY = "uring.nop_many", "uring.fused", "uring.Ring", "uring.read_many"

CASES = (
    Case(
        name="in-flight",
        title="NOPs, so many in flight at once",
        group=GROUP,
        unit="operations",
        axis="in_flight",
        points=points("in_flight", IN_FLIGHT),
        quick_points=points("in_flight", (1, 32, 1024)),
        lanes=(
            in_flight("C", "a batch for each submit, set up like Ring", nops.c_floor, 4, like_ring=True),
            in_flight(BULK, "one call; so many in its window, of which 32 are submitted together", nops.bulk, 4),
            in_flight(FUSED, "a call for each, a batch for each submit", nops.fused_calls),
            in_flight(RING, "an Operation for each, a batch for each submit", nops.operations),
        ),
        claims=(
            grows(
                "bulk: 32768 in flight cost at most 1.5 times what 128 do",
                BULK,
                1.5,
                few={"in_flight": 128},
                many={"in_flight": 32768},
            ),
            grows(
                "Operations: 32768 in flight cost at most 2 times what 128 do",
                RING,
                2.0,
                few={"in_flight": 128},
                many={"in_flight": 32768},
            ),
        ),
    ),
    Case(
        name="in-flight-waiting",
        title="NOPs, 32 for each submit, while so many polls wait",
        group=GROUP,
        unit="operations",
        axis="in_flight",
        points=points("in_flight", IN_FLIGHT),
        quick_points=points("in_flight", (1, 1024)),
        lanes=(
            beside_waiting("C", "a ring without flags", nops.c_floor, 10),
            beside_waiting(BULK, "one call for all NOPs", bulk_beside, 10),
            beside_waiting(FUSED, "a call for each NOP", fused_beside),
            beside_waiting(RING, "an Operation for each NOP, and for each poll", operations_beside),
        ),
        claims=(
            grows(
                "bulk costs the same with 32768 waiting, to 1.2 times",
                BULK,
                1.2,
                few={"in_flight": 1},
                many={"in_flight": 32768},
            ),
            grows(
                "Operations cost the same with 32768 waiting, to 1.2 times",
                RING,
                1.2,
                few={"in_flight": 1},
                many={"in_flight": 32768},
            ),
        ),
    ),
    Case(
        name="operations",
        title="So many NOPs, 32 for each submit",
        group=GROUP,
        unit="operations",
        axis="operations",
        points=points("operations", COUNTS),
        quick_points=points("operations", COUNTS[:3]),
        lanes=(
            of_count("C", "set up like Ring", nops.c_floor, like_ring=True),
            of_count(BULK, "one call for all of them", nops.bulk),
            of_count(FUSED, "a call for each", nops.fused_calls),
            of_count(RING, "an Operation for each", nops.operations),
        ),
        claims=(
            grows("bulk: of ten million one costs at most 1.2 times as of 100,000", BULK, 1.2, few=FEW, many=MANY),
            grows("Operations: the same", RING, 1.2, few=FEW, many=MANY),
        ),
    ),
    Case(
        name="operations-read",
        title="So many random reads of 4 KiB from the page cache, 128 in flight",
        group=GROUP,
        unit="operations",
        axis="operations",
        points=points("operations", COUNTS),
        quick_points=points("operations", COUNTS[:3]),
        lanes=(
            jobs.job_lane("C", "a sliding window, a registered file", cached_reads, jobs.c_lane, files=1),
            jobs.job_lane(READ_MANY, "one call for all of them", cached_reads, ours.bulk),
            jobs.job_lane("uring.Plan", "made once and run again", cached_reads, ours.bulk, plan=True),
        ),
        claims=(
            grows("of ten million reads one costs at most 1.2 times as of 100,000", READ_MANY, 1.2, few=FEW, many=MANY),
        ),
    ),
)
