"""What is no copy is refused, and a failure in between never passes for one."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from confined import denied, privately
from copying import BLOCK, Stop, attempt, raising_after, run, write

from uring import copy

# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["same name", "hard link", "symbolic link"])
def test_a_file_is_not_copied_onto_itself(source: Path, target: Path, kind: str) -> None:
    """However the target names the source, it is refused, and keeps its contents."""
    contents = source.read_bytes()
    if kind == "same name":
        target = source
    elif kind == "hard link":
        target.hardlink_to(source)
    else:
        target.symlink_to(source)
    with pytest.raises(OSError, match="are the same file") as caught:
        copy.copy_file(source, target)
    assert caught.value.filename == str(source)
    assert not hasattr(caught.value, "incomplete")
    assert source.read_bytes() == contents


def test_a_missing_source(tmp_path: Path, target: Path) -> None:
    """A source that does not exist is named, and no target is made."""
    with pytest.raises(FileNotFoundError) as caught:
        copy.copy_file(tmp_path / "missing", target)
    assert caught.value.filename == str(tmp_path / "missing")
    assert caught.value.doing == "cannot open {} for reading"  # type: ignore[attr-defined]
    assert not target.exists()


def test_a_directory_is_no_source(tmp_path: Path, target: Path) -> None:
    """A directory as the source is refused, and no target is made."""
    with pytest.raises(IsADirectoryError) as caught:
        copy.copy_file(tmp_path, target)
    assert caught.value.filename == str(tmp_path)
    assert not target.exists()


def test_a_directory_is_no_target(tmp_path: Path, source: Path) -> None:
    """A directory as the target is refused."""
    with pytest.raises(IsADirectoryError) as caught:
        copy.copy_file(source, tmp_path)
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be from 1 to 4096, not 0"),
        ({"depth": 4097}, "depth must be from 1 to 4096, not 4097"),
        ({"block_size": 511}, "block_size must be from 512 bytes to 1 GiB, not 511"),
        ({"block_size": (1 << 30) + 1}, "block_size must be from 512 bytes to 1 GiB, not 1073741825"),
    ],
)
def test_values_out_of_range(source: Path, target: Path, options: dict[str, int], message: str) -> None:
    """A depth or block size out of range is refused before any file is opened."""
    with pytest.raises(ValueError, match=message):
        copy.copy_file(source, target, **options)  # type: ignore[arg-type]
    assert not target.exists()


def test_more_memory_than_there_is(source: Path, target: Path) -> None:
    """When there is no memory for the blocks nothing is left behind, not even a ring."""
    found = run(
        f"""
import json, os, resource
from uring import copy
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
before = sorted(os.listdir("/proc/self/fd"))
try:
    copy.copy_file({str(source)!r}, {str(target)!r}, depth=4096, block_size=1 << 30)
except OSError as error:
    print(json.dumps([error.errno, sorted(os.listdir("/proc/self/fd")) == before]))
"""
    )
    assert found == [errno.ENOMEM, True]
    assert not target.exists()


def test_without_io_uring(source: Path, target: Path) -> None:
    """Where io_uring is denied the error says by what, and no target is made."""
    command = denied([sys.executable, "-c", attempt(source, target)])
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    found = json.loads(child.stdout)
    assert found["errno"] == errno.EPERM
    assert found["strerror"].startswith("io_uring cannot be used here: a seccomp filter")
    assert found["filename"] is None
    assert not found["exists"]


# --- sources that change -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 32])
@pytest.mark.parametrize("existed", [False, True])
def test_a_source_that_shrinks(source: Path, target: Path, depth: int, existed: bool) -> None:
    """When the source gets shorter the copy fails; a new target is removed, an old one is called incomplete."""
    big = write(source, 400 * BLOCK)
    if existed:
        target.write_bytes(b"before")
    with pytest.raises(OSError, match="shrank") as caught:
        copy.copy_file(big, target, depth=depth, block_size=BLOCK, progress=lambda *_: os.truncate(big, 9999))
    assert caught.value.filename == str(big)
    assert caught.value.errno == errno.EIO
    assert caught.value.incomplete is existed  # type: ignore[attr-defined]
    assert target.exists() is existed


def test_a_source_that_grows(source: Path, target: Path) -> None:
    """What is added to the source during the copy is copied too."""
    added = iter([b"x" * (3 * BLOCK + 5), b"y", b"z" * BLOCK])

    def progress(*_: int) -> None:
        with source.open("ab") as file:
            file.write(next(added, b""))

    result = copy.copy_file(source, target, depth=4, block_size=BLOCK, progress=progress)
    assert next(added, None) is None
    assert target.read_bytes() == source.read_bytes()
    assert result.size == source.stat().st_size


# --- failures in between -----------------------------------------------------------------------------


@pytest.mark.parametrize("existed", [False, True])
def test_an_exception_in_progress(source: Path, target: Path, existed: bool) -> None:
    """An exception from the callback ends the copy; a new target is removed, an old one is called incomplete."""
    if existed:
        target.write_bytes(b"before")
    with pytest.raises(Stop) as caught:
        copy.copy_file(source, target, depth=16, block_size=BLOCK, progress=raising_after(2))
    assert caught.value.incomplete is existed  # type: ignore[attr-defined]
    assert target.exists() is existed


def test_an_endless_source_is_interrupted(target: Path) -> None:
    """Copying from a device that never ends goes on until the callback raises."""
    with pytest.raises(Stop):
        copy.copy_file("/dev/zero", target, block_size=BLOCK, progress=raising_after(50))
    assert not target.exists()


def test_a_target_that_was_replaced_is_not_removed(source: Path, target: Path) -> None:
    """A file that somebody put in the target's place during a copy that fails is not ours to remove."""

    def progress(*_: int) -> None:
        target.unlink()
        target.write_bytes(b"somebody's")
        raise Stop

    with pytest.raises(Stop) as caught:
        copy.copy_file(source, target, block_size=BLOCK, progress=progress)
    assert target.read_bytes() == b"somebody's"
    assert caught.value.incomplete  # type: ignore[attr-defined]


@pytest.mark.parametrize("existed", [False, True])
def test_a_full_file_system(tmp_path: Path, source: Path, existed: bool) -> None:
    """ENOSPC names the target; a new one is removed, an old one is called incomplete."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=256k tmpfs '{small}'" + (f"; echo before > '{small}/target'" if existed else "")
    command = privately(mount, [sys.executable, "-c", attempt(source, small / "target")])
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == {
        "errno": errno.ENOSPC,
        "strerror": os.strerror(errno.ENOSPC),
        "filename": str(small / "target"),
        "doing": "error writing {}",
        "incomplete": existed,
        "pinned": 0,
        "exists": existed,
    }


def test_a_device_that_is_full(source: Path) -> None:
    """/dev/full fails with ENOSPC, and is still there."""
    with pytest.raises(OSError, match="No space left") as caught:
        copy.copy_file(source, "/dev/full")
    assert caught.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_limit_on_the_files_size(source: Path, target: Path) -> None:
    """Beyond RLIMIT_FSIZE a write is short, then EFBIG: the copy fails and the target is removed."""
    limit = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({3 * BLOCK + 100}, resource.RLIM_INFINITY))
"""
    found = run(limit + attempt(source, target))
    assert found["errno"] == errno.EFBIG
    assert found["doing"] == "error writing {}"
    assert not found["exists"]


def test_an_unreadable_part_of_the_source(target: Path) -> None:
    """A read error names the source, and the target is removed."""
    with pytest.raises(OSError, match="Input/output error") as caught:
        copy.copy_file("/proc/self/mem", target)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == "/proc/self/mem"
    assert caught.value.doing == "error reading {}"  # type: ignore[attr-defined]
    assert not target.exists()
