"""Reads of one file, one after the other and at random places, cached, cold and with O_DIRECT."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from .. import rivals
from ..harness import Bench, Case, Claim, Lane, Missing, Point, Ready
from ..rivals import Job

KIB, MIB = 1 << 10, 1 << 20
DEPTHS = (1, 2, 4, 8, 32, 128, 512)
BULK, PLAIN, RING, FUSED = "uring bulk", "uring bulk, unregistered", "uring.Ring", "uring.fused"
C, C_REGISTERED, PREAD, PREADV = "C", "C, registered", "os.pread", "os.preadv"
IDIOMATIC, TIGHT = "threads, idiomatic", "threads, tight"

Open = Callable[[Job, ExitStack], Ready]
Make = Callable[[Bench, Point], Job]


def lane(name: str, what: str, make: Make, function: Open, only: tuple[int, ...] | None = None) -> Lane:
    """A lane over the job that a case makes of a point."""
    return Lane(name, what, lambda bench, point, at_end: function(make(bench, point), at_end), only)


def random_job(direct: bool, bench: Bench, point: Point) -> Job:
    """4 KiB at random places."""
    size = bench.pick((4096 if direct else 512) * MIB, 64 * MIB)
    depth = int(point["depth"])
    count = bench.pick((min(60_000, 4000 * depth) if direct else 100_000), 3000)
    path = bench.workspace.file(size)
    if not direct:
        bench.workspace.cached(path)
    elif error := bench.workspace.direct_error(path):
        raise Missing(error)
    offsets, offsets_path = bench.workspace.offsets(size, count)
    return Job(path, offsets, offsets_path, 4096, depth, direct)


def random_reads(direct: bool) -> tuple[Lane, ...]:
    """The lanes of random reads."""
    make = partial(random_job, direct)
    slow = (32, 128)
    one = (1,)
    lanes = [
        lane(C, "a sliding window in C, a buffer for each place of it", make, rivals.c_window),
        lane(
            C_REGISTERED,
            "the same with a registered file and registered buffers",
            make,
            partial(rivals.c_window, registered=True),
        ),
        lane(BULK, "a plan of bulk reads, with its defaults: registers what pays", make, rivals.bulk),
        lane(PLAIN, "the same with register=False", make, partial(rivals.bulk, register=False)),
        lane(RING, "an Operation for each read, so many for each submit", make, rivals.operations),
        lane(FUSED, "a fused call for each read; memory is the caller's", make, rivals.fused_reads),
        lane(PREADV, "into one buffer that is used again; at once is one", make, rivals.os_preadv, (1, 128)),
        lane("C, pread", "pread in C into one buffer", make, rivals.c_pread, one),
        lane(
            IDIOMATIC,
            "ThreadPoolExecutor.map, as many threads, a task for each read",
            make,
            rivals.threads_idiomatic,
            slow,
        ),
        lane(TIGHT, "as many threads, each with its share in one loop", make, rivals.threads_tight, slow),
    ]
    if direct:
        lanes.append(lane("fio", "ioengine io_uring, registered, batches of 32", make, rivals.fio, (1, 32, 128)))
        return tuple(lanes)
    lanes += [
        lane(PREAD, "a new bytes object for each; at once is one", make, rivals.os_pread, (1, 128)),
        lane("mmap", "slices of a mapping, a new bytes object for each", make, rivals.mmap_slices, one),
        lane("liburing (PyPI)", "so many reads for each submit; unsafe", make, rivals.pypi_liburing, slow),
        lane("caio", "in as many asyncio tasks", make, rivals.caio, slow),
        lane("aiofiles", "in as many asyncio tasks, a file for each", make, rivals.aiofiles, (32,)),
    ]
    return tuple(lanes)


OURS = (BULK, PLAIN, RING, FUSED)

RANDOM_CACHED = Case(
    name="random-cached",
    title="Random reads of 4 KiB from the page cache",
    lanes=random_reads(False),
    axis="depth",
    values=DEPTHS,
    quick_values=(1, 128),
    ours=OURS,
    claims=(
        Claim("bulk, against the same loop in C, unregistered", PLAIN, C, "wall", most=1.08, at=128),
        Claim("bulk, against the same loop in C, registered", BULK, C_REGISTERED, "wall", most=1.08, at=128),
        Claim("bulk's time, against os.pread", BULK, PREAD, "wall", most=1 / 1.3, at=128),
        Claim("bulk's time, against os.preadv", BULK, PREADV, "wall", most=1 / 1.1, at=128),
    ),
    loses="At depth 1 each cached read through a ring costs more than os.pread: there is nothing to wait for.",
    notes="A read from the page cache is a copy. All lanes read into memory that is used again, none keeps all data.",
    rounds=5,
    unit="read",
)

RANDOM_DIRECT = Case(
    name="random-direct",
    title="Random reads of 4 KiB from the disk, with O_DIRECT",
    lanes=random_reads(True),
    axis="depth",
    values=DEPTHS,
    quick_values=(32,),
    ours=OURS,
    claims=(
        Claim("bulk's IOPS, against fio", BULK, "fio", "rate", least=0.97, at=128),
        Claim("CPU nanoseconds of a bulk read", BULK, None, "cpu_ns", most=3500, at=128),
        Claim("bulk's IOPS, against a loop of os.preadv", BULK, PREADV, "rate", least=4, at=128),
        Claim("bulk's CPU time, against a loop of os.preadv", BULK, PREADV, "cpu", most=1 / 8, at=128),
        Claim("bulk's IOPS, against idiomatic threads", BULK, IDIOMATIC, "rate", least=3.5, at=128),
    ),
    notes="The disk decides the rate; what is saved is CPU time.",
    rounds=5,
    unit="read",
)


# --- one after the other -----------------------------------------------------------------------------


def sequence(kind: str, bench: Bench, point: Point) -> Job:
    """A file from its beginning to its end, in blocks."""
    size = int(point["size"])
    total = bench.pick(256 * MIB, 16 * MIB)
    path = bench.workspace.file(total)
    before = None
    if kind == "cached":
        bench.workspace.cached(path)
    elif kind == "cold":
        if not bench.workspace.can_drop_caches:
            raise Missing("only root may empty the page cache")
        before = bench.workspace.drop_caches
    elif error := bench.workspace.direct_error(path):
        raise Missing(error)
    offsets = array("q", range(0, total, size))
    offsets_path = bench.workspace.folder / f"sequence.{total}.{size}"
    if not offsets_path.is_file():
        offsets_path.write_bytes(offsets.tobytes())
    return Job(path, offsets, offsets_path, size, min(32, max(2, 8 * MIB // size)), kind == "direct", before)


def sequential(kind: str, title: str, loses: str = "") -> Case:
    """The lanes of sequential reads."""
    make = partial(sequence, kind)
    lanes = [
        lane(C, "a sliding window in C", make, rivals.c_window),
        lane(BULK, "a plan of bulk reads", make, rivals.bulk),
        lane(RING, "an Operation for each block", make, rivals.operations),
        lane("os.read", "a new bytes object for each block", make, rivals.os_read),
        lane(PREADV, "into one buffer that is used again", make, rivals.os_preadv),
        lane("mmap", "slices of a mapping, a new bytes object for each", make, rivals.mmap_slices),
    ]
    return Case(
        name=f"sequential-{kind}",
        title=title,
        lanes=tuple(lane for lane in lanes if kind != "direct" or lane.name not in ("os.read", "mmap")),
        axis="size",
        values=(4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB),
        quick_values=(64 * KIB,),
        ours=(BULK, RING),
        loses=loses,
        rounds=3 if kind == "cold" else 5,
        unit="block",
    )


CASES = (
    RANDOM_CACHED,
    RANDOM_DIRECT,
    sequential(
        "cached",
        "A file of 256 MiB from the page cache, one block after the other",
        "Large cached blocks are memory copies: there is little that a ring could save.",
    ),
    sequential("cold", "The same with an empty page cache", "The kernel reads ahead for a plain loop of reads, too."),
    sequential("direct", "The same with O_DIRECT"),
)
