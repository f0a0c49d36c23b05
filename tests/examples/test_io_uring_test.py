"""examples/io_uring_test.py on real files."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from c_style import get_sqe, is_empty

from uring import liburing as L

PAGE = 4096
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def direct_folder(tmp_path: Path) -> Path:
    """A folder whose file system takes O_DIRECT."""
    (tmp_path / "probe").touch()
    try:
        os.close(os.open(tmp_path / "probe", os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip(f"the file system of {tmp_path} lacks O_DIRECT")
    return tmp_path


# The C program misjudges a short tail that comes in before a whole page, so there is none behind another read here.
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, 2 * PAGE, 4 * PAGE, 4 * PAGE + 1, 100_000])
def test_prints_what_the_c_program_prints(
    size: int, run_example: Run, upstream_example: Callable[[str], Path], direct_folder: Path
) -> None:
    """Output and status are those of the C program."""
    source = direct_folder / "source"
    source.write_bytes(bytes(size))
    theirs = subprocess.run([upstream_example("io_uring-test"), source], capture_output=True, text=True, check=False)
    ours = run_example("io_uring_test", source)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "Submitted=1, completed=1, bytes=0"),
        (PAGE + 1, "Submitted=2, completed=2, bytes=4097"),
        (3 * PAGE + 1808, "Submitted=4, completed=4, bytes=14096"),
        (100_000, "Submitted=4, completed=4, bytes=16384"),
    ],
)
def test_reads_the_first_four_pages(size: int, expected: str, run_example: Run, direct_folder: Path) -> None:
    """As many pages as the file has are read, four at most, the last one as far as it goes."""
    source = direct_folder / "source"
    source.write_bytes(bytes(size))
    done = run_example("io_uring_test", source)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


def test_bypasses_the_page_cache(example_module: Callable[[str], ModuleType], direct_folder: Path) -> None:
    """The file is open with O_DIRECT, and the pages arrive in their buffers."""
    example = example_module("io_uring_test")
    source = direct_folder / "source"
    source.write_bytes(b"".join(bytes([number]) * PAGE for number in range(1, 5)))
    ring = example.setup_context(4)
    fd, size = example.open_file(str(source), os.O_DIRECT)
    try:
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT
        iovecs = example.setup_buffers()
        assert example.reap_reads(ring, example.submit_reads(ring, example.queue_reads(ring, fd, iovecs, size)), size)
        for number in range(4):
            assert L.ffi.buffer(iovecs[number].iov_base, PAGE)[:] == bytes([number + 1]) * PAGE
    finally:
        os.close(fd)
        L.io_uring_queue_exit(ring)


def test_short_tail_that_comes_first_is_right(
    ring: Any, example_module: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Completions are judged by their own offset: the tail may come in before the pages in front of it."""
    example = example_module("io_uring_test")
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * PAGE + 100))
    iovecs = example.setup_buffers()
    with source.open("rb") as file:
        for number in (2, 1, 0):
            sqe = get_sqe(ring)
            L.io_uring_prep_readv(sqe, file.fileno(), iovecs + number, 1, number * PAGE)
            # Each waits for the one before it, so the order is certain.
            sqe.flags |= L.IOSQE_IO_DRAIN
            L.io_uring_sqe_set_data64(sqe, number)
        assert example.reap_reads(ring, L.io_uring_submit(ring), 2 * PAGE + 100)
    assert capsys.readouterr() == ("Submitted=3, completed=3, bytes=8292\n", "")


def test_wrong_completions_are_told_after_all_came(
    ring: Any, example_module: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Reads that got less than the file should hold are errors, and no completion is left behind them."""
    example = example_module("io_uring_test")
    source = tmp_path / "source"
    source.write_bytes(bytes(PAGE + 100))
    iovecs = example.setup_buffers()
    with source.open("rb") as file:
        submitted = example.submit_reads(ring, example.queue_reads(ring, file.fileno(), iovecs, 3 * PAGE))
        assert not example.reap_reads(ring, submitted, 3 * PAGE)
    out, err = capsys.readouterr()
    assert out == f"Submitted=3, completed=3, bytes={PAGE + 100}\n"
    assert sorted(err.splitlines()) == ["read at 4096: ret=100, wanted 4096", "read at 8192: ret=0, wanted 4096"]
    assert is_empty(ring)


def test_failed_reads_are_told(
    ring: Any, example_module: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A read that the kernel refuses is an error with its reason."""
    example = example_module("io_uring_test")
    iovecs = example.setup_buffers()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert not example.reap_reads(ring, example.submit_reads(ring, example.queue_reads(ring, fd, iovecs, 1)), 1)
    finally:
        os.close(fd)
    assert capsys.readouterr() == ("Submitted=1, completed=1, bytes=0\n", "read at 0: Is a directory\n")


def test_file_without_o_direct_is_refused(run_example: Run) -> None:
    """A file system that does not take O_DIRECT is named as the reason."""
    done = run_example("io_uring_test", "/proc/version")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "open /proc/version: this file, or its file system, does not support O_DIRECT\n"


def test_missing_file_is_refused(run_example: Run, tmp_path: Path) -> None:
    """A file that cannot be opened is an error with its reason."""
    done = run_example("io_uring_test", tmp_path / "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"open {tmp_path}/missing: No such file or directory\n"


@pytest.mark.parametrize("arguments", [(), ("one", "two")])
def test_wants_one_name(arguments: tuple[str, ...], run_example: Run) -> None:
    """Anything but one name prints the usage and fails."""
    done = run_example("io_uring_test", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: ")
