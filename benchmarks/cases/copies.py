"""Copies: a large file, and a folder with 20,000 small ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .. import jobs
from ..harness import Bench, Case, Lane, Missing, Outcome, Point, Run, Wrong

MIB = 1 << 20
FILES, QUICK_FILES = 20_000, 1_000
CHUNK = MIB

Copy = Callable[[Path, Path], object]


def command(*words: str) -> Copy:
    """A program that copies; {} and {} in its words are source and target.

    Raises:
        Missing: it is not installed.
    """
    program = shutil.which(words[0])
    if program is None:
        raise Missing(f"{words[0]} is not installed")

    def copy(source: Path, target: Path) -> None:
        given = [word.format(source=source, target=target) for word in words[1:]]
        done = subprocess.run([program, *given], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"{words[0]} failed: {done.stderr.strip()}")

    return copy


# --- a file ------------------------------------------------------------------------------------------


def large(bench: Bench) -> Path:
    """The file."""
    return bench.workspace.file((32 if bench.quick else 256) * MIB)


def copy_of(bench: Bench) -> Path:
    """Where it is copied to."""
    return bench.workspace.root / "copy"


def fresh(bench: Bench, _point: Point) -> None:
    """The source is cached, there is no target, and no old copy waits to be written back."""
    copy_of(bench).unlink(missing_ok=True)
    bench.workspace.warm(large(bench))
    os.sync()


def digest_of_file(path: Path) -> str:
    """Of its contents."""
    with path.open("rb") as file:
        return jobs.digest_of(iter(lambda: file.read(CHUNK), b""))


def by_uring() -> Copy:
    """uring.copy.copy_file."""
    from uring.copy import copy_file

    return copy_file


def in_the_kernel() -> Copy:
    """os.copy_file_range."""

    def copy(source: Path, target: Path) -> None:
        with source.open("rb") as reading, target.open("wb") as writing:
            left = os.fstat(reading.fileno()).st_size
            while left:
                left -= os.copy_file_range(reading.fileno(), writing.fileno(), left)

    return copy


def by_read_and_write() -> Copy:
    """A loop of os.readv and os.write with one buffer of 1 MiB."""

    def copy(source: Path, target: Path) -> None:
        memory = memoryview(bytearray(CHUNK))
        with source.open("rb", buffering=0) as reading, target.open("wb", buffering=0) as writing:
            while count := reading.readinto(memory):
                done = 0
                while done < count:
                    done += writing.write(memory[done:count])

    return copy


def file_lane(name: str, what: str, make: Callable[[], Copy]) -> Lane:
    """A lane that copies the file."""

    def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        copy, source, target = make(), large(bench), copy_of(bench)
        at_end.callback(target.unlink, missing_ok=True)

        def run() -> Outcome:
            copy(source, target)
            return Outcome(1, source.stat().st_size, lambda: digest_of_file(target))

        return run

    return Lane(name, what, opened, fresh)


# --- a folder ----------------------------------------------------------------------------------------


def copied_tree(bench: Bench) -> Path:
    """Where the folder is copied to."""
    return bench.workspace.root / "copied"


def small(bench: Bench) -> Any:
    """The folder."""
    return bench.workspace.tree(QUICK_FILES if bench.quick else FILES)


def fresh_tree(bench: Bench, _point: Point) -> None:
    """The source is cached, there is no target, and no old copy waits to be written back."""
    shutil.rmtree(copied_tree(bench), ignore_errors=True)
    bench.workspace.warm(small(bench).root)
    os.sync()


def digest_of_tree(root: Path, paths: list[str]) -> str:
    """Of names and contents, in order; other files there show, too."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.encode() + b"\0" + (root / path).read_bytes())
    present = sum(len(names) for _folder, _folders, names in os.walk(root))
    return f"{present} {found.hexdigest()}"


def tree_by_uring() -> Copy:
    """uring.copy_tree.

    Raises:
        Missing: there is none yet.
    """
    import uring
    import uring.copy

    found = getattr(uring, "copy_tree", None) or getattr(uring.copy, "copy_tree", None)
    if found is None:
        raise Missing("there is no uring.copy_tree yet")
    copy: Copy = found
    return copy


def tree_lane(name: str, what: str, make: Callable[[], Copy]) -> Lane:
    """A lane that copies the folder."""

    def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        copy, source, target = make(), small(bench), copied_tree(bench)
        at_end.callback(shutil.rmtree, target, ignore_errors=True)
        names = [os.path.relpath(path, source.root) for path in source.paths] + ["complete"]

        def run() -> Outcome:
            copy(source.root, target)
            return Outcome(len(source.paths), sum(source.sizes), lambda: digest_of_tree(target, names))

        return run

    return Lane(name, what, opened, fresh_tree)


CASES = (
    Case(
        name="copy-file",
        title="A copy of a large file, from cache to cache",
        group="Copies",
        unit="bytes",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            file_lane("uring.copy", "uring.copy.copy_file: linked reads and writes of 128 KiB, 32 in flight", by_uring),
            file_lane("shutil.copyfile", "as the standard library does it", lambda: shutil.copyfile),
            file_lane("os.copy_file_range", "in the kernel", in_the_kernel),
            file_lane("readinto, write", "a loop with one buffer of 1 MiB", by_read_and_write),
            file_lane("cp", "coreutils, a process", lambda: command("cp", "--reflink=never", "{source}", "{target}")),
            file_lane(
                "dd",
                "coreutils, bs=1M, a process",
                lambda: command("dd", "if={source}", "of={target}", "bs=1M", "status=none"),
            ),
        ),
        loses="What is cached is copied by the CPU, whoever asks.",
    ),
    Case(
        name="copy-tree",
        title="A copy of a folder with 20,000 small files, from cache to cache",
        group="Copies",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            tree_lane("uring.copy_tree", "as it comes", tree_by_uring),
            tree_lane("shutil.copytree", "as the standard library does it", lambda: shutil.copytree),
            tree_lane("cp -a", "coreutils, a process", lambda: command("cp", "-a", "{source}", "{target}")),
        ),
    ),
)
