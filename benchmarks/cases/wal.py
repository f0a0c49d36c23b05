"""A log: each record is on the disk before the next one is written."""

from __future__ import annotations

import os
import random
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from .. import jobs
from ..harness import Bench, Case, Lane, Missing, Outcome, Point, Run, Wrong

SIZE = 4096
RECORDS = 500


class Log(NamedTuple):
    """A log's file, which is as long already as it will be, and what is appended."""

    path: Path
    records: Path
    length: int
    """Records."""
    folder: Path

    @property
    def blocks(self) -> list[bytes]:
        """The records."""
        return split(self.records.read_bytes())

    def digest(self) -> str:
        """Of what is in the log."""
        with self.path.open("rb") as file:
            return jobs.digest_of([file.read(self.length * SIZE)])

    def outcome(self, latencies: array[int] | None) -> Outcome:
        """What a run has done."""
        return Outcome(self.length, self.length * SIZE, self.digest, latencies)


def split(data: bytes) -> list[bytes]:
    """Records, one behind the other."""
    return [data[start : start + SIZE] for start in range(0, len(data), SIZE)]


def log(bench: Bench) -> Log:
    """The log of all lanes."""
    count = bench.scaled(RECORDS)
    records = bench.workspace.root / f"records.{count}"
    if not records.is_file():
        records.write_bytes(random.Random(count).randbytes(count * SIZE))
    return Log(bench.workspace.scratch(RECORDS * SIZE, "log"), records, count, bench.workspace.root)


def empty(bench: Bench, _point: Point) -> None:
    """Zeros, on the disk: an old record would hide that one is missing."""
    with log(bench).path.open("r+b") as file:
        file.write(bytes(RECORDS * SIZE))
        file.flush()
        os.fsync(file.fileno())


def one_by_one(log: Log, append: Callable[[bytes, int], None]) -> Run:
    """A lane's run, of a function that brings one record to the disk."""
    blocks = log.blocks

    def run() -> Outcome:
        clock, latencies = time.perf_counter_ns, array("q")
        for index, block in enumerate(blocks):
            began = clock()
            append(block, index * SIZE)
            latencies.append(clock() - began)
        return log.outcome(latencies)

    return run


def opened(log: Log, at_end: ExitStack, flags: int = 0) -> int:
    """The log's descriptor."""
    fd = os.open(log.path, os.O_WRONLY | flags)
    at_end.callback(os.close, fd)
    return fd


def write_and_sync(log: Log, at_end: ExitStack) -> Run:
    """os.pwrite, os.fdatasync."""
    fd = opened(log, at_end)

    def append(block: bytes, offset: int) -> None:
        if os.pwrite(fd, block, offset) != SIZE:
            raise Wrong(offset)
        os.fdatasync(fd)

    return one_by_one(log, append)


def synced_write(log: Log, at_end: ExitStack) -> Run:
    """os.pwritev with RWF_DSYNC: one system call."""
    fd = opened(log, at_end)

    def append(block: bytes, offset: int) -> None:
        if os.pwritev(fd, [block], offset, os.RWF_DSYNC) != SIZE:
            raise Wrong(offset)

    return one_by_one(log, append)


def chain(log: Log, at_end: ExitStack) -> Run:
    """Ring.chain: a write, and an fdatasync linked to it."""
    import uring

    fd, ring = opened(log, at_end), at_end.enter_context(uring.Ring())

    def append(block: bytes, offset: int) -> None:
        with ring.chain():
            write = ring.write(fd, block, offset)
            sync = ring.fsync(fd, datasync=True)
        sync.result()
        if write.result() != SIZE:
            raise Wrong(offset)

    return one_by_one(log, append)


def fused_chain(log: Log, at_end: ExitStack) -> Run:
    """The same by fused calls."""
    import uring
    from uring import fused
    from uring import liburing as L

    fd, ring = opened(log, at_end), at_end.enter_context(uring.Ring())
    r = fused.attach(ring.c_ring, 8)
    at_end.callback(fused.detach, r)
    link = fused.options(flags=L.IOSQE_IO_LINK)

    def append(block: bytes, offset: int) -> None:
        memory = L.ffi.from_buffer(block)
        fused.uring_write(r, SIZE, link, fd, memory, SIZE, offset)
        fused.uring_fsync(r, 0, 0, fd, L.IORING_FSYNC_DATASYNC)
        seen = 0
        for expected, res, _flags in fused.completions(r, fused.uring_wait(r, 2, -1)):
            if res != expected:
                raise Wrong(res)
            seen += 1
        if seen != 2:
            raise Wrong(seen)

    return one_by_one(log, append)


def bulk(log: Log, at_end: ExitStack, *, every: int) -> Run:
    """write_many with a flush after each record, or after some: a group commit."""
    import uring

    fd, ring = opened(log, at_end), at_end.enter_context(uring.Ring())
    data, offsets = log.records.read_bytes(), range(0, log.length * SIZE, SIZE)

    def run() -> Outcome:
        result = ring.write_many(fd, offsets, SIZE, data, sync="fdatasync", sync_every=every)
        result.raise_for_error()
        return log.outcome(None)

    return run


def grouped(log: Log, at_end: ExitStack, *, every: int) -> Run:
    """os.pwrite of some records, os.fdatasync."""
    fd, blocks = opened(log, at_end), log.blocks

    def run() -> Outcome:
        for index, block in enumerate(blocks):
            if os.pwrite(fd, block, index * SIZE) != SIZE:
                raise Wrong(index)
            if (index + 1) % every == 0 or index + 1 == log.length:
                os.fdatasync(fd)
        return log.outcome(None)

    return run


def in_c(log: Log, _at_end: ExitStack, *, linked: int) -> Run:
    """The C program."""

    def run() -> Outcome:
        taken = log.folder / f"latencies.{os.getpid()}"
        about: dict[str, Any] = {
            "file": log.path,
            "records": log.records,
            "count": log.length,
            "size": SIZE,
            "linked": linked,
        }
        try:
            done = jobs.program("wal", log.length, log.length * SIZE, setup=jobs.ring_setup(), latencies=taken, **about)
            return done._replace(digest=log.digest, latencies_ns=jobs.loaded(taken))
        finally:
            taken.unlink(missing_ok=True)

    return run


def lane(name: str, what: str, function: Callable[..., Run], **options: Any) -> Lane:
    """A lane over the log."""

    def open_lane(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        if not hasattr(os, "RWF_DSYNC"):
            raise Missing("no os.RWF_DSYNC")
        return function(log(bench), at_end, **options)

    return Lane(name, what, open_lane, empty)


CASES = (
    Case(
        name="wal",
        title="A log: 4 KiB are written, and are on the disk before the next record is",
        group="Writes",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            lane("C, linked", "a write and an fdatasync linked to it, one system call", in_c, linked=1),
            lane("C, pwrite", "pwrite, fdatasync", in_c, linked=0),
            lane("uring.Ring, chain", "Ring.chain of a write and an fdatasync, one system call", chain),
            lane("uring.fused, linked", "the same by fused calls", fused_chain),
            lane("uring.write_many", "one call for all, flushed after each record", bulk, every=1),
            lane("os.pwrite, os.fdatasync", "two system calls", write_and_sync),
            lane("os.pwritev, RWF_DSYNC", "one system call", synced_write),
        ),
        loses="The disk decides; a chain's fdatasync takes a worker thread, and more CPU time than two system calls.",
    ),
    Case(
        name="wal-grouped",
        title="A log whose records are flushed together, 16 at a time",
        group="Writes",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            lane("uring.write_many", "one call for all", bulk, every=16),
            lane("os.pwrite, os.fdatasync", "16 writes, a flush", grouped, every=16),
        ),
    ),
)
