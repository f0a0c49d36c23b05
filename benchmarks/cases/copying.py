"""Copies of one file, and of a tree of small ones."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ..harness import Bench, Case, Done, Lane, Missing, Point, Ready
from ..rivals import Wrong

Copy = Callable[[Path, Path], object]


def command(*words: str) -> Callable[[], Copy]:
    """A copy by a command, with source and target in place of {0} and {1}."""

    def make() -> Copy:
        if shutil.which(words[0]) is None:
            raise Missing(f"no {words[0]} command")
        return lambda source, target: subprocess.run(
            [word.format(source, target) for word in words], check=True, capture_output=True
        )

    return make


def by_uring() -> Copy:
    """uring.copy.copy_file."""
    from uring.copy import copy_file

    return copy_file


def tree_by_uring() -> Copy:
    """uring.copy_tree."""
    import uring

    if not hasattr(uring, "copy_tree"):
        raise Missing("uring copies no trees yet")
    copy: Copy = uring.copy_tree
    return copy


def lane(name: str, what: str, make: Callable[[], Copy], *, tree: bool, cold: bool) -> Lane:
    """A lane that copies, compares with the source afterwards, and removes the copy before the next run."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        workspace = bench.workspace
        if tree:
            source = workspace.tree(bench.pick(5000, 500))[0].parent.parent
            size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        else:
            size = bench.pick(512 << 20, 16 << 20)
            source = workspace.file(size)
        if cold and not workspace.can_drop_caches:
            raise Missing("only root may empty the page cache")
        target = workspace.temporary("copy")
        at_end.callback(workspace.remove, target)
        copy = make()

        def before() -> None:
            if target.exists() and not same(source, target):
                raise Wrong(name)
            workspace.remove(target)
            os.sync()
            if cold:
                workspace.drop_caches()

        def run() -> Done:
            copy(source, target)
            return Done(1, size)

        return Ready(run, before=before)

    return Lane(name, what, prepare)


def same(source: Path, target: Path) -> bool:
    """Whether a copy is one."""
    if source.is_dir():
        return subprocess.run(["diff", "-rq", source, target], check=False, capture_output=True).returncode == 0
    return filecmp.cmp(source, target, shallow=False)


def one_file(cold: bool) -> Case:
    """The lanes that copy a file."""
    make = partial(lane, tree=False, cold=cold)
    return Case(
        name=f"copy-{'cold' if cold else 'warm'}",
        title=f"A file of 512 MiB copied, {'from the disk' if cold else 'from the page cache'}",
        lanes=(
            make("uring copy_file", "linked reads and writes, many at once", by_uring),
            make("shutil.copyfile", "sendfile", lambda: shutil.copyfile),
            make("cp", "coreutils", command("cp", "{0}", "{1}")),
            make("dd", "blocks of 1 MiB", command("dd", "if={0}", "of={1}", "bs=1M")),
        ),
        ours=("uring copy_file",),
        loses="copy_file reads and writes; cp and sendfile copy inside the kernel, which is less work for cached data.",
        rounds=3,
        unit="copy",
    )


def many_files(cold: bool) -> Case:
    """The lanes that copy a tree."""
    make = partial(lane, tree=True, cold=cold)
    return Case(
        name=f"tree-{'cold' if cold else 'warm'}",
        title=f"A tree of 5,000 small files copied, {'from the disk' if cold else 'from the caches'}",
        lanes=(
            make("uring copy_tree", "many files at once", tree_by_uring),
            make("shutil.copytree", "one after the other", lambda: shutil.copytree),
            make("cp -a", "coreutils", command("cp", "-a", "{0}", "{1}")),
            make("rsync -a", "", command("rsync", "-a", "{0}/", "{1}/")),
        ),
        ours=("uring copy_tree",),
        rounds=3,
        unit="copy",
    )


CASES = (one_file(False), one_file(True), many_files(False), many_files(True))
