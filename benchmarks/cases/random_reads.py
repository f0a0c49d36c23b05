"""Reads of 4 KiB at random places of a file, from the page cache and with O_DIRECT, by how many are in flight."""

from __future__ import annotations

from .. import jobs, ours, rivals
from ..harness import Bench, Case, Claim, Lane, Point
from ..jobs import Job, job_lane

SIZE = 4096
MIB = 1 << 20
DEPTHS = (1, 2, 4, 8, 32, 128, 512)
AT = {"depth": 128}
ONE_BY_ONE = (1, 128)
"""The depths at which lanes run that have none: where they are compared."""
MANY = (8, 32, 128)
C, C_FILE, C_BOTH, C_PREAD = "C", "C, registered file", "C, registered", "C, pread"
READ_MANY, PLAIN, PLAN = "uring.read_many", "uring.read_many, unregistered", "uring.Plan"
RING, FUSED, PREAD, PREADV, MMAP = "uring.Ring", "uring.fused", "os.pread", "os.preadv", "mmap"
IDIOMATIC, TIGHT, FIO = "threads, idiomatic", "threads, tight", "fio"


def cached(bench: Bench, point: Point) -> Job:
    """Reads from the page cache."""
    size = (64 if bench.quick else 1024) * MIB
    path = bench.workspace.file(size)
    bench.workspace.warm(path)
    count = bench.scaled(200_000, 1024)
    return Job(bench, path, jobs.at_random(bench.workspace, size, SIZE, count), SIZE, int(point["depth"]))


def direct(bench: Bench, point: Point) -> Job:
    """Reads from the disk: as many as take a second or so where they come one by one."""
    size, depth = (64 if bench.quick else 1024) * MIB, int(point["depth"])
    count = bench.scaled(min(4096 * depth, 40_960), 1024)
    places = jobs.at_random(bench.workspace, size, SIZE, count)
    return Job(bench, bench.workspace.file(size), places, SIZE, depth, direct=True)


def common(make: jobs.Make) -> tuple[Lane, ...]:
    """What both cases have: C and ours, and threads."""
    turn = "depth buffers, used in turn"
    bulk = f"one call for all, as it comes: it registers the file; {turn}"
    plan = "made once and run again, as it comes: it registers the file, and for O_DIRECT the memory too"
    return (
        job_lane(C, f"a sliding window in C, nothing registered; {turn}", make, jobs.c_lane),
        job_lane(C_FILE, "the same with a registered file", make, jobs.c_lane, files=1),
        job_lane(
            C_BOTH, "the same with a registered file and registered buffers", make, jobs.c_lane, files=1, buffers=1
        ),
        job_lane(READ_MANY, bulk, make, ours.bulk),
        job_lane(PLAIN, "the same with register=False", make, ours.bulk, register=False),
        job_lane(PLAN, plan, make, ours.bulk, plan=True),
        job_lane(FUSED, f"a call for each read, one for many completions; {turn}", make, ours.fused_calls),
        job_lane(RING, f"an Operation for each read, result() of each; {turn}", make, ours.operations),
        job_lane(PREADV, "one by one into one buffer", make, rivals.os_preadv, depths=ONE_BY_ONE),
        job_lane(
            C_PREAD,
            "pread in C, one by one into one buffer",
            make,
            jobs.c_lane,
            depths=ONE_BY_ONE,
            program_name="plain",
        ),
    )


def threads(make: jobs.Make, divisor: int = 1) -> tuple[Lane, ...]:
    """Threads with os.preadv."""
    idiomatic = "ThreadPoolExecutor.map, depth threads, a task for each read, a buffer for each thread"
    tight = "depth threads, each loops over its share, a buffer for each"
    return (
        job_lane(IDIOMATIC, idiomatic, make, rivals.threads_idiomatic, divisor, depths=MANY),
        job_lane(TIGHT, tight, make, rivals.threads_tight, depths=MANY),
    )


def packages(make: jobs.Make, divisor: int) -> tuple[Lane, ...]:
    """Packages of others."""
    pypi = f"PyPI's liburing {rivals.LIBURING} as its documentation shows it, depth bytearrays, used in turn; unsafe"
    tasks = "depth asyncio tasks, new bytes for each read"
    return (
        job_lane("liburing", pypi, make, rivals.pypi_liburing),
        job_lane("caio", tasks, make, rivals.caio, divisor, depths=MANY),
        job_lane("aiofiles", f"{tasks}, seek and read", make, rivals.aiofiles, 5 * divisor, depths=MANY),
    )


CACHED = Case(
    name="random-cached",
    title="Random reads of 4 KiB from the page cache",
    group="Reads",
    unit="operations",
    axis="depth",
    points=tuple({"depth": depth} for depth in DEPTHS),
    quick_points=({"depth": 1}, AT),
    lanes=(
        *common(cached),
        job_lane(PREAD, "one by one, new bytes for each", cached, rivals.os_pread, depths=ONE_BY_ONE),
        job_lane(MMAP, "slices of a mapping, new bytes for each", cached, rivals.mmap_slices, depths=ONE_BY_ONE),
        *threads(cached, 4),
        *packages(cached, 4),
    ),
    claims=(
        Claim("bulk takes at most 1.08 times C's time", PLAIN, C, "wall", "<=", 1.08, AT),
        Claim("the same where both register the file", READ_MANY, C_FILE, "wall", "<=", 1.08, AT),
        Claim("bulk is at least 1.3 times as fast as os.pread", READ_MANY, PREAD, "rate", ">=", 1.3, AT),
        Claim("bulk is at least 1.1 times as fast as os.preadv", READ_MANY, PREADV, "rate", ">=", 1.1, AT),
    ),
    loses="A single cached read at depth 1 costs more through a ring than as os.pread: there is nothing to wait for.",
)

DIRECT = Case(
    name="random-direct",
    title="Random reads of 4 KiB from the disk, with O_DIRECT",
    group="Reads",
    unit="operations",
    axis="depth",
    points=tuple({"depth": depth} for depth in DEPTHS),
    quick_points=({"depth": 1}, AT),
    lanes=(
        *common(direct),
        *threads(direct),
        *packages(direct, 1),
        job_lane(FIO, "random reads of its own, registered file and buffers, batches of 32", direct, rivals.fio),
    ),
    claims=(
        Claim("bulk makes at least 0.97 times fio's IOPS", PLAN, FIO, "rate", ">=", 0.97, AT),
        Claim("a bulk read takes at most 3.5 us of CPU", PLAN, None, "cpu_per_op_ns", "<=", 3500, AT),
        Claim("bulk makes at least 4 times os.preadv's IOPS", PLAN, PREADV, "rate", ">=", 4, AT),
        Claim("bulk takes at most an 8th of os.preadv's CPU", PLAN, PREADV, "cpu", "<=", 1 / 8, AT),
        Claim("bulk makes at least 3.5 times the thread pool's IOPS", PLAN, IDIOMATIC, "rate", ">=", 3.5, AT),
    ),
)

CASES = (CACHED, DIRECT)
