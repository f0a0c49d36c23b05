"""A file read from its beginning to its end in blocks of 4 KiB to 1 MiB: cached, cold, and with O_DIRECT."""

from __future__ import annotations

from functools import partial

from .. import jobs, ours, rivals
from ..harness import Bench, Case, Lane, Point
from ..jobs import Job, job_lane

KIB, MIB = 1 << 10, 1 << 20
SIZES = tuple({"size": size} for size in (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB))
IN_FLIGHT = 8 * MIB
DEPTH = 32


def total(bench: Bench) -> int:
    """Bytes of the file."""
    return (32 if bench.quick else 256) * MIB


def job(bench: Bench, point: Point, *, direct: bool = False, warm: bool = False) -> Job:
    """The whole file; 32 blocks are in flight, 8 MiB at most, where a lane can."""
    size = int(point["size"])
    path = bench.workspace.file(total(bench))
    if warm:
        bench.workspace.warm(path)
    places = jobs.in_sequence(bench.workspace, total(bench), size)
    return Job(bench, path, places, size, min(DEPTH, max(2, IN_FLIGHT // size)), direct=direct)


def make_cold(bench: Bench, _point: Point) -> None:
    """Nothing of the file is in the page cache."""
    bench.workspace.drop_caches(bench.workspace.file(total(bench)))


def lanes(kind: str) -> tuple[Lane, ...]:
    """The ways to read it."""
    make = partial(job, direct=kind == "direct", warm=kind == "cached")
    lane = partial(job_lane, before=make_cold if kind == "cold" else None)
    turn = "32 blocks in flight, 8 MiB at most, in buffers used in turn"
    found = [
        lane("C", f"a sliding window, nothing registered; {turn}", make, jobs.c_lane),
        lane("C, pread", "one block after the other into one buffer", make, jobs.c_lane, program_name="plain"),
        lane("uring.read_many", f"one call for all; {turn}", make, ours.bulk),
        lane("uring.Plan", f"made once and run again; {turn}", make, ours.bulk, plan=True),
        lane("uring.fused", f"a call for each block; {turn}", make, ours.fused_calls),
        lane("uring.Ring", f"an Operation for each block; {turn}", make, ours.operations),
        lane("os.read", "one block after the other, new bytes for each", make, rivals.os_read),
        lane("os.preadv", "one block after the other into one buffer", make, rivals.os_preadv),
    ]
    if kind != "direct":
        mapping = "slices of a mapping, new bytes for each" + (", mapped anew for each run" if kind == "cold" else "")
        found.append(lane("mmap", mapping, make, rivals.mmap_slices, anew=kind == "cold"))
    return tuple(found)


def case(kind: str, title: str, loses: str = "") -> Case:
    """The file in one state."""
    return Case(
        name=f"sequential-{kind}",
        title=title,
        group="Reads",
        unit="bytes",
        axis="size",
        points=SIZES,
        quick_points=({"size": 4 * KIB}, {"size": 256 * KIB}),
        lanes=lanes(kind),
        loses=loses,
    )


CASES = (
    case(
        "cached",
        "A file read from its beginning to its end, from the page cache",
        "Large cached blocks are copied by the CPU, whoever asks, and into one buffer, as for os.preadv, better than "
        "into many.",
    ),
    case(
        "cold",
        "The same with nothing of it in the page cache",
        "The kernel reads ahead for a plain loop of reads as well.",
    ),
    case("direct", "The same with O_DIRECT"),
)
