"""Random writes with and without a flush, and appends that must be on the disk."""

from __future__ import annotations

import os
from array import array
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from .. import rivals
from ..compiled import compiled, run_program
from ..harness import Bench, Case, Done, Lane, Point, Ready
from ..rivals import Wrong

SIZE, BLOCK = 64 << 20, 4096
RECORD = 512


def prepared(bench: Bench) -> tuple[Path, array[int], Path, bytes]:
    """A file to overwrite, places, their file, and what to write at each."""
    count = bench.pick(20_000, 500)
    source = bench.workspace.file(SIZE)
    path = bench.workspace.folder / "overwritten"
    if not path.is_file():
        path.write_bytes(source.read_bytes())
    bench.workspace.cached(path)
    return (path, *bench.workspace.offsets(SIZE, count), os.urandom(BLOCK))


def digest(path: Path, offsets: array[int]) -> str:
    """Of what is at those places."""
    with path.open("rb", buffering=0) as file:
        return rivals.Job.digest(os.pread(file.fileno(), BLOCK, at) for at in offsets[: rivals.SAMPLE])


def lane(name: str, what: str, function: Any, *, sync: bool) -> Lane:
    """A lane that writes one block at every place, and flushes at the end of all of it with `sync`."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        path, offsets, offsets_path, block = prepared(bench)
        fd = os.open(path, os.O_RDWR)
        at_end.callback(os.close, fd)
        done = Done(len(offsets), len(offsets) * BLOCK)
        run = function(fd, path, offsets, offsets_path, block, at_end)

        def whole() -> Done:
            found = run()
            if sync and not isinstance(found, Done):
                os.fdatasync(fd)
            return found if isinstance(found, Done) else done

        def before() -> None:
            os.fdatasync(fd)  # what an earlier lane has left to be written

        def check() -> str:
            whole()
            os.fdatasync(fd)
            expected = rivals.Job.digest(iter([block] * min(rivals.SAMPLE, len(offsets))))
            if not isinstance(run(), Done) and digest(path, offsets) != expected:
                raise Wrong(name)
            return "written"

        return Ready(whole, check, before)

    return Lane(name, what, prepare)


def by_bulk(sync: bool, fd: int, _p: Path, offsets: array[int], _op: Path, block: bytes, at_end: ExitStack) -> Any:
    """Ring.write_many."""
    import uring

    ring = at_end.enter_context(uring.Ring(128))

    def run() -> Done:
        result = ring.write_many(fd, offsets, BLOCK, block, positions=0, sync="fdatasync" if sync else None)
        result.raise_for_error()
        return Done(len(result), result.total)

    return run


def by_pwrite(fd: int, _p: Path, offsets: array[int], _op: Path, block: bytes, _at_end: ExitStack) -> Any:
    """os.pwrite."""

    def run() -> None:
        pwrite = os.pwrite
        for offset in offsets:
            if pwrite(fd, block, offset) != BLOCK:
                raise Wrong(offset)

    return run


def by_operations(fd: int, _p: Path, offsets: array[int], _op: Path, block: bytes, at_end: ExitStack) -> Any:
    """Ring.write, 32 for each submit."""
    import uring

    ring = at_end.enter_context(uring.Ring(64))

    def run() -> None:
        for start in range(0, len(offsets), 32):
            part = offsets[start : start + 32]
            for offset in part:
                ring.write(fd, block, offset)
            for operation in ring.wait(len(part)):
                if operation.result() != BLOCK:
                    raise Wrong(operation)

    return run


def by_threads(fd: int, _p: Path, offsets: array[int], _op: Path, block: bytes, at_end: ExitStack) -> Any:
    """Sixteen threads, each with its share in one loop."""
    from concurrent.futures import ThreadPoolExecutor

    pool = at_end.enter_context(ThreadPoolExecutor(16))

    def work(part: array[int]) -> None:
        for offset in part:
            os.pwrite(fd, block, offset)

    shares = [offsets[i::16] for i in range(16)]
    return lambda: list(pool.map(work, shares)) and None


def by_c(_fd: int, path: Path, offsets: array[int], offsets_path: Path, _block: bytes, _at_end: ExitStack) -> Any:
    """Our C program with a sliding window."""
    program = compiled("window")
    arguments = path, offsets_path, len(offsets), BLOCK, 128, 0, 0, 1, rivals.ring_setup()
    return lambda: run_program(program, len(offsets), len(offsets) * BLOCK, *arguments)


def random_writes(sync: bool) -> Case:
    """The lanes of random writes."""
    lanes = [
        lane("uring bulk", "write_many", partial(by_bulk, sync), sync=sync),
        lane("uring.Ring", "an Operation for each write, 32 for each submit", by_operations, sync=sync),
        lane("os.pwrite", "one after the other", by_pwrite, sync=sync),
        lane("threads, tight", "sixteen, each with its share in one loop", by_threads, sync=sync),
    ]
    if not sync:
        lanes.insert(0, lane("C", "a sliding window in C", by_c, sync=False))
    return Case(
        name="writes-flushed" if sync else "writes",
        title=f"Random writes of 4 KiB to the page cache{', and one fdatasync at the end' if sync else ''}",
        lanes=tuple(lanes),
        ours=("uring bulk", "uring.Ring"),
        loses="Writes to the page cache are copies; a plain os.pwrite may be as fast.",
        rounds=5,
        unit="write",
    )


# --- appends -----------------------------------------------------------------------------------------


def journal(name: str, what: str, function: Any) -> Lane:
    """A lane that appends records to a new file, each on the disk before the next is begun."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        count = bench.pick(400, 20)
        path = bench.workspace.temporary("journal")
        at_end.callback(bench.workspace.remove, path)
        record = os.urandom(RECORD)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        at_end.callback(os.close, fd)
        run = function(fd, record, count, at_end)

        def whole() -> Done:
            run()
            if os.fstat(fd).st_size != count * RECORD:
                raise Wrong(name)
            return Done(count, count * RECORD)

        return Ready(whole, before=lambda: os.ftruncate(fd, 0))

    return Lane(name, what, prepare)


def by_chain(fd: int, record: bytes, count: int, at_end: ExitStack) -> Any:
    """A chain of a write and its flush for each record."""
    import uring

    ring = at_end.enter_context(uring.Ring(8))

    def run() -> None:
        for number in range(count):
            with ring.chain():
                ring.write(fd, record, number * RECORD)
                flush = ring.fdatasync(fd)
            flush.result()
            ring.wait(0)

    return run


def by_batches(fd: int, record: bytes, count: int, at_end: ExitStack) -> Any:
    """write_many with a flush after each write."""
    import uring

    ring = at_end.enter_context(uring.Ring(8))
    offsets = range(0, count * RECORD, RECORD)
    return lambda: ring.write_many(
        fd, offsets, RECORD, record, positions=0, sync="fdatasync", sync_every=1
    ).raise_for_error()


def by_os(fd: int, record: bytes, count: int, _at_end: ExitStack) -> Any:
    """os.pwrite and os.fdatasync."""

    def run() -> None:
        for number in range(count):
            os.pwrite(fd, record, number * RECORD)
            os.fdatasync(fd)

    return run


WAL = Case(
    name="wal",
    title="Appends of 512 bytes, each on the disk before the next",
    lanes=(
        journal("uring.Ring, chain", "a write linked to its fdatasync", by_chain),
        journal("uring bulk", "write_many with sync_every=1", by_batches),
        journal("os.pwrite", "and os.fdatasync", by_os),
    ),
    ours=("uring.Ring, chain", "uring bulk"),
    loses="The disk's flush is all that counts. As a request it goes by a worker thread, which costs a little.",
    rounds=5,
    unit="record",
)

CASES = (random_writes(False), random_writes(True), WAL)
