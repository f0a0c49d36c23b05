"""The bulk calls as functions, where io_uring is there and where it is denied."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confined import denied

import uring
from uring import bulk_threads as threads

# Reads, writes and names by all six functions; the backend of each, and what came.
PROGRAM = """
import os, sys, uring
how = {"fallback": "threads"} if sys.argv[1] == "threads" else {}
fd = os.open("file", os.O_RDWR | os.O_CREAT)
results = [
    uring.write_many(fd, [0, 4], 4, b"onetwo34", sync="fsync", **how),
    uring.read_many(fd, [0, 2], 4, **how),
    uring.stat_many(["file", "missing"], **how),
    uring.read_files(["file", "missing"], **how),
    uring.open_many(["file", "missing"], **how),
    uring.unlink_many(["file", "missing"], **how),
]
print(results[1].out.tobytes(), results[2].sizes, results[3][0], os.path.exists("file"))
print([result.errors.tolist() for result in results])
print({result.backend for result in results})
"""
EXPECTED = [
    "b'onetetwo' [8, -1] b'onetwo34' False",
    f"[[0, 0], [0, 0], [0, {errno.ENOENT}], [0, {errno.ENOENT}], [0, {errno.ENOENT}], [0, {errno.ENOENT}]]",
]


def run(folder: Path, how: str, code: int | None) -> subprocess.CompletedProcess[str]:
    """The program, with io_uring there or denied with an errno."""
    command = [sys.executable, "-c", PROGRAM, how]
    here = os.path.dirname(os.path.dirname(uring.__file__))
    return subprocess.run(
        command if code is None else denied(command, code),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("how", ["plain", "threads"])
def test_where_io_uring_is_there(tmp_path: Path, how: str) -> None:
    """It is used, whatever may stand in for it."""
    done = run(tmp_path, how, None)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*EXPECTED, "{'io_uring'}"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_where_it_is_denied(tmp_path: Path, code: int) -> None:
    """Threads do the same, and the results tell."""
    done = run(tmp_path, "threads", code)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*EXPECTED, "{'threads'}"]


def test_nothing_stands_in_unasked(tmp_path: Path) -> None:
    """Without a fallback the error says what denies it."""
    done = run(tmp_path, "plain", errno.EPERM)
    assert done.returncode == 1
    assert "PermissionError" in done.stderr
    assert "seccomp" in done.stderr


def test_an_unknown_fallback() -> None:
    """There are threads, or nothing."""
    with pytest.raises(ValueError, match="'threads' or None"):
        uring.read_files([], fallback="magic")  # type: ignore[arg-type]


def test_what_belongs_to_a_ring(tmp_path: Path) -> None:
    """Registered files and buffers are another ring's for these functions, and nobody's for threads."""
    with uring.Ring(4) as ring, (tmp_path / "f").open("wb+") as file:
        with uring.RegisteredFiles(ring, [file]) as table:
            with pytest.raises(ValueError, match="ring"):
                uring.read_many(table[0], [0], 1)
            with pytest.raises(ValueError, match="ring"):
                threads.transfer(False, table[0], [0], 1, None)
            with pytest.raises(ValueError, match="ring"):
                threads.open_many(["f"], direct=table)
        with uring.RegisteredBuffers(ring, [bytearray(4)]) as pool, pool.acquire() as slot:
            with pytest.raises(ValueError, match="ring"):
                uring.read_many(file, [0], 1, slot)
            with pytest.raises(ValueError, match="ring"):
                threads.transfer(False, file, [0], 1, slot)


def test_threads_and_time(pipe: tuple[int, int], tmp_path: Path) -> None:
    """A thread that waits for a fifo is left behind when the time is up."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"data")
    result = threads.read_files([tmp_path / "fifo", tmp_path / "file"], timeout=0.2)
    assert result.errors.tolist() == [errno.ETIMEDOUT, 0]
    os.close(os.open(tmp_path / "fifo", os.O_WRONLY))  # lets that thread end
