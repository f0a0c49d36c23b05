"""What a million requests take in memory, beyond the caller's buffers."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from .. import jobs
from ..harness import Bench, Case, Claim, Lane, Outcome, Point, Run, Wrong
from ..measuring import give_back_memory

SIZE = 64
FILE = 64 << 20
REQUESTS = 1_000_000
READ_MANY = "uring.read_many"
THREADS = 16


def begin_anew(_bench: Bench, _point: Point) -> None:
    """What an earlier run has freed goes back to the kernel, and shows when it is taken again."""
    give_back_memory()


class Reads:
    """Reads of 64 bytes, in random order, from the page cache; the caller's buffers are made before the run."""

    def __init__(self, bench: Bench, at_end: ExitStack, divisor: int = 1) -> None:
        path = bench.workspace.file(FILE)
        bench.workspace.warm(path)
        self.places = jobs.at_random(bench.workspace, FILE, SIZE, bench.scaled(REQUESTS, 1000))
        self.count = len(self.places.offsets) // divisor
        self.offsets = self.places.offsets[: self.count]
        self.fd = os.open(path, os.O_RDONLY)
        at_end.callback(os.close, self.fd)

    def outcome(self, read: Callable[[int], Any]) -> Outcome:
        """What a run has done; `read` tells what each read has brought, and keeps that in memory until it is known."""
        step = max(1, self.count // 1000)
        is_whole = self.count == len(self.places.offsets)

        def digest() -> str:
            return jobs.digest_of(read(index) for index in range(0, self.count, step))

        return Outcome(self.count, self.count * SIZE, digest if is_whole else None)


def bulk(bench: Bench, at_end: ExitStack, *, lengths: str, out: str) -> Run:
    """read_many."""
    import uring

    reads, ring = Reads(bench, at_end), at_end.enter_context(uring.Ring(128))
    length: Any = SIZE if lengths == "one" else array("q", [SIZE]) * reads.count
    buffer = memoryview(bytearray(reads.count * SIZE)) if out == "buffer" else None

    def run() -> Outcome:
        result = ring.read_many(reads.fd, reads.offsets, length, buffer)
        if result.failed:
            result.raise_for_error()
        return reads.outcome(result.__getitem__)

    return run


def nops(bench: Bench, at_end: ExitStack) -> Run:
    """nop_many."""
    import uring

    count, ring = bench.scaled(REQUESTS, 1000), at_end.enter_context(uring.Ring(128))

    def run() -> Outcome:
        result = ring.nop_many(count)
        if result.failed:
            raise Wrong(result)
        return Outcome(len(result))

    return run


def operations(bench: Bench, at_end: ExitStack, *, divisor: int) -> Run:
    """uring.Ring: an Operation for each, all of which are kept, into the caller's buffer."""
    import uring

    reads, ring = Reads(bench, at_end, divisor), at_end.enter_context(uring.Ring(128))
    whole = memoryview(bytearray(reads.count * SIZE))

    def run() -> Outcome:
        done: list[Any] = []
        for start in range(0, reads.count, 128):
            for index in range(start, min(start + 128, reads.count)):
                ring.read(reads.fd, whole[index * SIZE :][:SIZE], reads.offsets[index])
            done += ring.wait(min(128, reads.count - start))
        if sum(operation.result() for operation in done) != reads.count * SIZE:
            raise Wrong("a short read")
        return reads.outcome(lambda index: whole[index * SIZE :][:SIZE])

    return run


def bytes_of_each(bench: Bench, at_end: ExitStack) -> Run:
    """os.pread, into a list."""
    reads = Reads(bench, at_end)

    def run() -> Outcome:
        found = [os.pread(reads.fd, SIZE, offset) for offset in reads.offsets]
        return reads.outcome(found.__getitem__)

    return run


def futures(bench: Bench, at_end: ExitStack, *, divisor: int) -> Run:
    """ThreadPoolExecutor.map of os.pread, into a list."""
    reads, pool = Reads(bench, at_end, divisor), at_end.enter_context(ThreadPoolExecutor(THREADS))

    def run() -> Outcome:
        found = list(pool.map(lambda offset: os.pread(reads.fd, SIZE, offset), reads.offsets))
        return reads.outcome(found.__getitem__)

    return run


def lane(name: str, what: str, function: Callable[..., Run], **options: Any) -> Lane:
    """A lane, which begins without memory left over."""

    def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        return function(bench, at_end, **options)

    return Lane(name, what, opened, begin_anew)


CASES = (
    Case(
        name="memory",
        title="Memory that a million reads of 64 bytes take, beyond the caller's buffers",
        group="Memory",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            lane(READ_MANY, "one length for all, into the caller's buffer", bulk, lengths="one", out="buffer"),
            lane(f"{READ_MANY}, lengths", "a length for each, into the buffer", bulk, lengths="each", out="buffer"),
            lane(
                f"{READ_MANY}, allocating", "into memory that is allocated: 64 bytes more", bulk, lengths="one", out=""
            ),
            lane("uring.nop_many", "as many NOPs", nops),
            lane("uring.Ring", "Operations that are kept; does a 10th of the work", operations, divisor=10),
            lane("os.pread", "a list of bytes", bytes_of_each),
            lane("threads", "ThreadPoolExecutor.map of os.pread; does a 20th of the work", futures, divisor=20),
        ),
        claims=(
            Claim(
                "a bulk request takes at most 48 bytes beyond the caller's buffers",
                READ_MANY,
                None,
                "bytes_per_op",
                "<=",
                48,
            ),
            Claim(
                "the same where each has a length of its own",
                f"{READ_MANY}, lengths",
                None,
                "bytes_per_op",
                "<=",
                48,
            ),
        ),
    ),
)
