"""examples/chain_copier.py on real files, beside its C-style twin."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import uring

BLOCK = 32 * 1024
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def make_file(path: Path, size: int) -> Path:
    """`path`, holding `size` bytes that differ from block to block."""
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 1, and one line on stderr with all of `words` in it."""
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 32 * BLOCK, 32 * BLOCK + 1, 100 * BLOCK + 777])
def test_copies_as_its_twin_does(size: int, run_example: Run, tmp_path: Path) -> None:
    """The copy is the source, for empty, odd and large files, and nothing is printed, as with link_cp.py."""
    source = make_file(tmp_path / "source", size)
    for name in ("chain_copier", "link_cp"):
        done = run_example(name, source, tmp_path / name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / name).read_bytes() == source.read_bytes()


def test_replaces_what_was_there(run_example: Run, tmp_path: Path) -> None:
    """A longer file of the target's name leaves nothing behind."""
    source, target = make_file(tmp_path / "source", 1000), make_file(tmp_path / "target", 3 * BLOCK)
    assert run_example("chain_copier", source, target).returncode == 0
    assert target.read_bytes() == source.read_bytes()


def test_source_is_missing(run_example: Run, tmp_path: Path) -> None:
    """A source that is not there is an error that names it, and no target is made."""
    done = run_example("chain_copier", tmp_path / "missing", tmp_path / "target")
    assert_refused(done, "No such file or directory", str(tmp_path / "missing"))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("source", ["/dev/zero", "/proc/self/stat"])
def test_source_without_a_size(source: str, run_example: Run, tmp_path: Path) -> None:
    """A source that hides its size is refused instead of copied empty."""
    assert_refused(run_example("chain_copier", source, tmp_path / "target"), source)
    assert not (tmp_path / "target").exists()


# What other blocks have queued when the copy fails is dropped, and the ring says so.
@pytest.mark.filterwarnings("ignore:.* operations were never submitted:ResourceWarning")
@pytest.mark.parametrize("remaining", [0, 100, BLOCK, 40 * BLOCK, 40 * BLOCK + 100])
def test_source_that_shrinks(
    remaining: int, example_module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that lost its end after its size was read is an error, not a padded or shorter copy."""
    example = example_module("chain_copier")
    source = make_file(tmp_path / "source", remaining)
    monkeypatch.setattr(example, "size_of", lambda _source: 50 * BLOCK)
    with pytest.raises(EOFError, match="shorter than it was"):
        example.main(str(source), str(tmp_path / "target"))


def test_short_transfers_are_continued(
    example_module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads and writes that move only a part are continued until the copy is whole."""
    example = example_module("chain_copier")
    source = make_file(tmp_path / "source", 40 * BLOCK + 5)
    target = tmp_path / "target"
    dice = random.Random(1)

    with source.open("rb") as infile, target.open("wb") as outfile, uring.Ring(64) as ring:
        copy = example.Copy(ring, infile, outfile, 40 * BLOCK + 5)
        queue = copy.queue_pair

        def in_parts(block: memoryview, offset: int, have: int) -> None:
            if not have and dice.random() < 0.5:  # the first part of the block as if by a read that fell short
                have = ring.read(infile, block[: dice.randrange(1, len(block) + 1) // 2 or 1], offset).result()
            queue(block, offset, have)

        wrote = copy.wrote

        def short(block: memoryview, offset: int, count: int) -> None:
            wrote(block, offset, count if count < 2 or dice.random() < 0.5 else count // 2)

        monkeypatch.setattr(copy, "queue_pair", in_parts)
        monkeypatch.setattr(copy, "wrote", short)
        _finish(copy)
    assert target.read_bytes() == source.read_bytes()


def _finish(copy: Any) -> None:
    for _ in range(32):
        copy.start(memoryview(bytearray(BLOCK)))
    while copy.ring.statistics().in_flight:
        copy.ring.wait()


@pytest.mark.parametrize("way", ["path", "symlink", "hard link"])
def test_target_that_is_the_source(way: str, run_example: Run, tmp_path: Path) -> None:
    """A file is not copied onto itself, whatever its second name, and it keeps its content."""
    source = make_file(tmp_path / "source", 100)
    content, other = source.read_bytes(), tmp_path / "other"
    if way == "symlink":
        other.symlink_to(source)
    elif way == "hard link":
        other.hardlink_to(source)
    else:
        other = source
    assert_refused(run_example("chain_copier", source, other), "are the same file")
    assert source.read_bytes() == content


def test_target_is_a_pipe(run_example: Run, tmp_path: Path) -> None:
    """What cannot be written at an offset is refused: blocks complete in any order."""
    assert_refused(run_example("chain_copier", make_file(tmp_path / "source", 100), "/dev/stdout"), "not seekable")


def test_target_is_full(run_example: Run, tmp_path: Path) -> None:
    """No space is an error that names the request which failed."""
    done = run_example("chain_copier", make_file(tmp_path / "source", 100 * BLOCK), "/dev/full")
    assert_refused(done, "No space left on device", "write of 32768 bytes", "/dev/full")


def test_target_gets_too_large(example_command: Callable[..., list[str]], tmp_path: Path) -> None:
    """A write that a limit cuts short is continued, up to the limit exactly, and then the error is told."""
    limit = 3 * BLOCK + 1024
    source, target = make_file(tmp_path / "source", limit + 1000), tmp_path / "target"
    command = ["sh", "-c", f'ulimit -f {limit // 512} && exec "$@"', "sh"]
    command += example_command("chain_copier", source, target)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused(done, "File too large")
    assert target.read_bytes() == source.read_bytes()[:limit]


def test_descriptors_are_closed_after_a_failure(example_module: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """A copy that fails in the middle leaves no descriptor and no request behind."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="No space left"):
        example_module("chain_copier").main(str(make_file(tmp_path / "source", 100 * BLOCK)), "/dev/full")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("arguments", [(), ("one",), ("one", "two", "three")])
def test_wants_two_names(arguments: tuple[str, ...], run_example: Run) -> None:
    """Anything but two names prints the usage and fails."""
    done = run_example("chain_copier", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: ")
