"""examples/io_uring_close_test.py on real files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from uring import liburing as L

PAGE = 4096
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def ring_fd_can_be_closed(ring: Any) -> None:
    """Skip where a registered ring fd still needs the open one."""
    if not ring.features & L.IORING_FEAT_REG_REG_RING:
        pytest.skip("this kernel lacks IORING_FEAT_REG_REG_RING")


@pytest.fixture
def closed_ring(example_module: Callable[[str], ModuleType]) -> Iterator[Any]:
    """The example's ring."""
    ring = example_module("io_uring_close_test").setup_context(4)
    yield ring
    L.io_uring_queue_exit(ring)


def ring_descriptors() -> list[str]:
    """The descriptors of this process that are rings."""
    folder = Path("/proc/self/fd")
    links = [folder / name for name in os.listdir(folder)]
    return [str(link) for link in links if link.is_symlink() and str(link.readlink()) == "anon_inode:[io_uring]"]


# As for io_uring_test: sizes at which the C program's verdict does not depend on the order of completions.
@pytest.mark.parametrize("size", [0, 1, PAGE - 1, 4 * PAGE, 100_000])
def test_prints_what_the_c_program_prints(
    size: int, run_example: Run, upstream_example: Callable[[str], Path], tmp_path: Path
) -> None:
    """Output and status are those of the C program."""
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    theirs = subprocess.run(
        [upstream_example("io_uring-close-test"), source], capture_output=True, text=True, check=False
    )
    ours = run_example("io_uring_close_test", source)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (PAGE, "Submitted=2, completed=2, bytes=4096"),
        (2 * PAGE + 100, "Submitted=3, completed=3, bytes=8292"),
        (100_000, "Submitted=4, completed=4, bytes=16384"),
    ],
)
def test_reads_up_to_the_end(size: int, expected: str, run_example: Run, tmp_path: Path) -> None:
    """Four pages at most are read; at the end of a shorter file, a read of nothing counts too."""
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    done = run_example("io_uring_close_test", source)
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")


def test_ring_has_no_descriptor(example_module: Callable[[str], ModuleType], ring: Any) -> None:
    """Setting the ring up leaves one descriptor less than rings, and the ring says so itself."""
    before = ring_descriptors()
    assert len(before) == 1
    closed = example_module("io_uring_close_test").setup_context(4)
    try:
        assert ring_descriptors() == before
        assert closed.ring_fd == -1
    finally:
        L.io_uring_queue_exit(closed)


def test_ring_without_descriptor_reads(
    closed_ring: Any,
    example_module: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Requests through the closed ring fd bring their data."""
    example = example_module("io_uring_test")
    source = tmp_path / "source"
    source.write_bytes(b"a" * PAGE + b"b" * 100)
    iovecs = example.setup_buffers()
    with source.open("rb") as file:
        queued = example.queue_reads(closed_ring, file.fileno(), iovecs, PAGE + 100)
        assert example.reap_reads(closed_ring, example.submit_reads(closed_ring, queued), PAGE + 100)
    assert L.ffi.buffer(iovecs[0].iov_base, PAGE)[:] == b"a" * PAGE
    assert L.ffi.buffer(iovecs[1].iov_base, 100)[:] == b"b" * 100
    assert capsys.readouterr() == (f"Submitted=2, completed=2, bytes={PAGE + 100}\n", "")


def test_registered_ring_fds_are_given_back(example_module: Callable[[str], ModuleType]) -> None:
    """More rings than a thread can register at a time can be used one after the other."""
    setup_context = example_module("io_uring_close_test").setup_context
    for _ in range(40):
        L.io_uring_queue_exit(setup_context(4))


def test_refusal_to_register_ends_the_program(example_module: Callable[[str], ModuleType]) -> None:
    """When all of the thread's slots are taken, the refusal is told and the new ring is exited."""
    setup_context = example_module("io_uring_close_test").setup_context
    rings = []
    try:
        with pytest.raises(SystemExit, match="register_ring_fd: Device or resource busy"):
            rings.extend(setup_context(4) for _ in range(100))
        assert len(ring_descriptors()) == 1
    finally:
        for closed in rings:
            L.io_uring_queue_exit(closed)


def test_failed_reads_end_in_status_1(run_example: Run, tmp_path: Path) -> None:
    """Reads that fail are told and counted, and the program fails."""
    done = run_example("io_uring_close_test", tmp_path)
    assert done.returncode == 1
    assert done.stdout.endswith(", bytes=0\n")
    assert set(done.stderr.splitlines()) >= {"read at 0: Is a directory"}


def test_missing_file_is_refused(run_example: Run, tmp_path: Path) -> None:
    """A file that cannot be opened is an error with its reason."""
    done = run_example("io_uring_close_test", tmp_path / "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"open {tmp_path}/missing: No such file or directory\n"


@pytest.mark.parametrize("arguments", [(), ("one", "two")])
def test_wants_one_name(arguments: tuple[str, ...], run_example: Run) -> None:
    """Anything but one name prints the usage and fails."""
    done = run_example("io_uring_close_test", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: ")
