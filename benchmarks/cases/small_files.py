"""20,000 small files: reading all of them, and asking what they are; cached, and with nothing cached."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .. import jobs
from ..harness import Bench, Case, Claim, Lane, Outcome, Point, Run, Wrong
from ..workspace import Tree

FILES, QUICK_FILES = 20_000, 2_000
THREADS = 32
READ_FILES, VIEWS, OPEN, STAT_MANY, STAT = (
    "uring.read_files",
    "uring.read_files, views",
    "open().read()",
    "uring.stat_many",
    "os.stat",
)
GROUP = "Many small files"


def tree(bench: Bench) -> Tree:
    """The files."""
    return bench.workspace.tree(QUICK_FILES if bench.quick else FILES)


def make_cold(bench: Bench, _point: Point) -> None:
    """Neither contents nor inodes nor names are in the kernel's caches."""
    bench.workspace.drop_caches(tree(bench).root)


def read_outcome(files: Tree, contents: Sequence[Any]) -> Outcome:
    """What a run has read."""
    if len(contents) != len(files.paths):
        raise Wrong(len(contents))
    return Outcome(len(contents), sum(files.sizes), lambda: jobs.digest_of(contents))


def stat_outcome(files: Tree, sizes: Callable[[], Sequence[int]]) -> Outcome:
    """What a run has found out."""
    return Outcome(
        len(files.paths), 0, lambda: jobs.digest_of([b"".join(size.to_bytes(8, "little") for size in sizes())])
    )


# --- reading -----------------------------------------------------------------------------------------


def read_files(files: Tree, at_end: ExitStack, *, views: bool) -> Run:
    """One call; then the bytes of each, or nothing: views of what was read are for the taking."""
    import uring

    ring = at_end.enter_context(uring.Ring(128))

    def run() -> Outcome:
        result = ring.read_files(files.paths)
        result.raise_for_error()
        if views:
            return read_outcome(files, ViewsOf(result))
        return read_outcome(files, list(result))

    return run


class ViewsOf(Sequence[memoryview]):
    """The contents of a result without a copy."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __len__(self) -> int:
        return len(self.result)

    def __getitem__(self, index: Any) -> Any:
        return self.result.view(index) if index < len(self) else self.result[index]

    def __iter__(self) -> Any:
        return (self.result.view(index) for index in range(len(self.result)))


def read_one(path: str) -> bytes:
    """As everybody does it."""
    with open(path, "rb") as file:
        return file.read()


def open_and_read(files: Tree, _at_end: ExitStack) -> Run:
    """A loop of open().read()."""
    return lambda: read_outcome(files, [read_one(path) for path in files.paths])


def by_path(files: Tree, _at_end: ExitStack) -> Run:
    """Path.read_bytes."""
    return lambda: read_outcome(files, [Path(path).read_bytes() for path in files.paths])


def read_by_os(path: str) -> bytes:
    """As fast as it goes with the os module."""
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, 65536)
        while more := os.read(fd, 65536):
            data += more
        return data
    finally:
        os.close(fd)


def by_os(files: Tree, _at_end: ExitStack) -> Run:
    """A loop of os.open, os.read, os.close."""
    return lambda: read_outcome(files, [read_by_os(path) for path in files.paths])


def in_threads(files: Tree, at_end: ExitStack) -> Run:
    """ThreadPoolExecutor.map of open().read()."""
    pool = at_end.enter_context(ThreadPoolExecutor(THREADS))
    return lambda: read_outcome(files, list(pool.map(read_one, files.paths)))


# --- asking ------------------------------------------------------------------------------------------


def stat_many(files: Tree, at_end: ExitStack, *, each: bool) -> Run:
    """One call; then a StatResult of each, or all sizes at once."""
    import uring

    ring = at_end.enter_context(uring.Ring(128))

    def run() -> Outcome:
        result = ring.stat_many(files.paths)
        result.raise_for_error()
        if each:
            stats = list(result)
            return stat_outcome(files, lambda: [stat.st_size for stat in stats])
        return stat_outcome(files, lambda: result.sizes)

    return run


def os_stat(files: Tree, _at_end: ExitStack) -> Run:
    """A loop of os.stat."""

    def run() -> Outcome:
        stats = [os.stat(path) for path in files.paths]
        return stat_outcome(files, lambda: [stat.st_size for stat in stats])

    return run


def stat_in_threads(files: Tree, at_end: ExitStack) -> Run:
    """ThreadPoolExecutor.map of os.stat."""
    pool = at_end.enter_context(ThreadPoolExecutor(THREADS))

    def run() -> Outcome:
        stats = list(pool.map(os.stat, files.paths))
        return stat_outcome(files, lambda: [stat.st_size for stat in stats])

    return run


# --- the floor ---------------------------------------------------------------------------------------


def in_c(files: Tree, _at_end: ExitStack, *, mode: str) -> Run:
    """The C program."""
    listed, dumped = (files.root.with_name(f"{files.root.name}.{name}") for name in ("list", f"dump.{os.getpid()}"))
    listed.write_bytes(b"".join(path.encode() + b"\0" for path in files.paths))

    def digest() -> str:
        try:
            jobs.program("names", 1, list=listed, mode=mode, dump=dumped)
            return jobs.digest_of([dumped.read_bytes()])
        finally:
            dumped.unlink(missing_ok=True)

    def run() -> Outcome:
        done = jobs.program(
            "names", len(files.paths), sum(files.sizes) if mode == "read" else 0, list=listed, mode=mode
        )
        return done._replace(digest=digest)

    return run


def lanes(kind: str, cold: bool) -> tuple[Lane, ...]:
    """The ways."""

    def lane(name: str, what: str, function: Callable[..., Run], **options: Any) -> Lane:
        def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
            return function(tree(bench), at_end, **options)

        return Lane(name, what, opened, make_cold if cold else None)

    if kind == "stat":
        return (
            lane("C, stat", "one by one", in_c, mode="stat"),
            lane(STAT_MANY, "one call for all, then a StatResult of each", stat_many, each=True),
            lane("uring.stat_many, sizes", "the same without StatResults", stat_many, each=False),
            lane(STAT, "a loop", os_stat),
            lane("threads", f"ThreadPoolExecutor.map of os.stat, {THREADS} threads", stat_in_threads),
        )
    return (
        lane("C, open read close", "one by one, with fstat", in_c, mode="read"),
        lane(READ_FILES, "one call for all, then bytes of each", read_files, views=False),
        lane(VIEWS, "the same without bytes: views are for the taking", read_files, views=True),
        lane(OPEN, "with open(path, 'rb') as file: file.read(), in a loop", open_and_read),
        lane("Path.read_bytes", "in a loop", by_path),
        lane("os.open, os.read", "os.open, os.read, os.close, in a loop", by_os),
        lane("threads", f"ThreadPoolExecutor.map of open().read(), {THREADS} threads", in_threads),
    )


def case(kind: str, cold: bool, title: str, claims: tuple[Claim, ...] = (), loses: str = "") -> Case:
    """One thing to do with the files, in one state of the caches."""
    return Case(
        name=f"files-{kind}-{'cold' if cold else 'warm'}",
        title=title,
        group=GROUP,
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=lanes(kind, cold),
        claims=claims,
        loses=loses,
    )


CASES = (
    case(
        "read",
        False,
        "Reading 20,000 small files, all cached",
        (Claim("warm, read_files is not slower than open().read() in a loop", READ_FILES, OPEN, "wall", "<=", 1.0),),
    ),
    case(
        "read",
        True,
        "Reading 20,000 small files, nothing cached",
        (Claim("cold, read_files is at least 3 times as fast", READ_FILES, OPEN, "rate", ">=", 3.0),),
    ),
    case(
        "stat",
        False,
        "What 20,000 small files are, all cached",
        loses="The kernel leaves each statx to a worker thread, which costs more than os.stat of a cached file.",
    ),
    case("stat", True, "What 20,000 small files are, nothing cached"),
)
