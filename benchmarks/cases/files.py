"""Many small files: read whole, and asked what they are; from the caches and from the disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ..harness import Bench, Case, Claim, Done, Lane, Missing, Point, Ready

Read = Callable[[list[Path]], Iterable[bytes]]


def before_of(bench: Bench, cold: bool) -> Callable[[], None] | None:
    """What empties the caches."""
    if not cold:
        return None
    if not bench.workspace.can_drop_caches:
        raise Missing("only root may empty the page cache")
    return bench.workspace.drop_caches


def lane(
    name: str, what: str, make: Callable[[ExitStack], Callable[[list[str]], Any]], cold: bool, *, read: bool
) -> Lane:
    """A lane over all files of a tree."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        paths = [str(path) for path in bench.workspace.tree(bench.pick(20_000, 1000))]
        before = before_of(bench, cold)
        function = make(at_end)
        function(paths)  # warm, or with all modules loaded at least

        def run() -> Done:
            found = function(paths)
            return Done(len(paths), sum(map(len, found)) if read else 0)

        def check() -> str:
            digest = hashlib.sha256()
            for each in function(paths[:500]):
                digest.update(each if read else b"%d." % each)
            return digest.hexdigest()

        return Ready(run, check, before)

    return Lane(name, what, prepare)


def by_ring(at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """Ring.read_files, and all contents as bytes."""
    import uring

    ring = at_end.enter_context(uring.Ring(256))
    return lambda paths: list(ring.read_files(paths, depth=128))


def by_open(_at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """open(path, 'rb').read() in a loop."""

    def run(paths: list[str]) -> list[bytes]:
        found = []
        for path in paths:
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    return run


def by_pathlib(_at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """Pathlib."""
    return lambda paths: [Path(path).read_bytes() for path in paths]


def by_os(_at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """os.open, os.read, os.close."""

    def run(paths: list[str]) -> list[bytes]:
        found = []
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            found.append(os.read(fd, 1 << 16))
            os.close(fd)
        return found

    return run


def by_threads(at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """A ThreadPoolExecutor."""
    pool = at_end.enter_context(ThreadPoolExecutor(32))

    def one(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    return lambda paths: list(pool.map(one, paths))


def by_aiofiles(at_end: ExitStack) -> Callable[[list[str]], list[bytes]]:
    """Aiofiles in 32 asyncio tasks."""
    import asyncio

    from ..rivals import module

    package = module("aiofiles")
    loop = asyncio.new_event_loop()
    at_end.callback(loop.close)
    at_end.callback(lambda: loop.run_until_complete(loop.shutdown_default_executor()))

    async def work(paths: list[str], found: list[bytes], start: int) -> None:
        for index in range(start, len(paths), 32):
            async with package.open(paths[index], "rb") as file:
                found[index] = await file.read()

    async def everything(paths: list[str]) -> list[bytes]:
        found = [b""] * len(paths)
        await asyncio.gather(*(work(paths, found, start) for start in range(32)))
        return found

    return lambda paths: loop.run_until_complete(everything(paths))


def stat_by_ring(at_end: ExitStack) -> Callable[[list[str]], list[int]]:
    """Ring.stat_many, and all sizes."""
    import uring

    ring = at_end.enter_context(uring.Ring(256))
    return lambda paths: ring.stat_many(paths, depth=128).sizes


def stat_by_os(_at_end: ExitStack) -> Callable[[list[str]], list[int]]:
    """os.stat in a loop."""
    return lambda paths: [os.stat(path).st_size for path in paths]


def stat_by_threads(at_end: ExitStack) -> Callable[[list[str]], list[int]]:
    """os.stat by 32 threads."""
    pool = at_end.enter_context(ThreadPoolExecutor(32))
    return lambda paths: [found.st_size for found in pool.map(os.stat, paths)]


def reading(cold: bool) -> Case:
    """The lanes that read files whole."""
    make = partial(lane, cold=cold, read=True)
    claim = (
        Claim(
            "cold: open().read() in a loop takes so many times as long",
            "open().read()",
            "uring read_files",
            "wall",
            least=3,
        )
        if cold
        else Claim(
            "warm: read_files, against open().read() in a loop", "uring read_files", "open().read()", "wall", most=1
        )
    )
    return Case(
        name=f"files-{'cold' if cold else 'warm'}",
        title=f"20,000 small files read whole, {'from the disk' if cold else 'from the caches'}",
        lanes=(
            make("uring read_files", "128 at once, contents as bytes", by_ring),
            make("open().read()", "one after the other", by_open),
            make("pathlib", "Path.read_bytes, one after the other", by_pathlib),
            make("os.read", "os.open, os.read, os.close", by_os),
            make("threads", "32, a task for each file", by_threads),
            make("aiofiles", "32 asyncio tasks", by_aiofiles),
        ),
        ours=("uring read_files",),
        claims=(claim,),
        rounds=3,
        unit="file",
    )


def asking(cold: bool) -> Case:
    """The lanes that ask what files are."""
    make = partial(lane, cold=cold, read=False)
    return Case(
        name=f"stat-{'cold' if cold else 'warm'}",
        title=f"What 20,000 files are, {'from the disk' if cold else 'from the caches'}",
        lanes=(
            make("uring stat_many", "128 at once", stat_by_ring),
            make("os.stat", "one after the other", stat_by_os),
            make("threads", "os.stat by 32 threads", stat_by_threads),
        ),
        ours=("uring stat_many",),
        loses=""
        if cold
        else "Cached names cost worker threads and their switches here: more CPU time than os.stat takes.",
        rounds=3,
        unit="file",
    )


CASES = (reading(False), reading(True), asking(False), asking(True))
