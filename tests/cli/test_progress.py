"""`uring cp` on a terminal: its progress bar, and what Ctrl-C leaves behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import CP, ENVIRONMENT, SUMMARY, Command, run

# `uring` with SIGINT as an interactive shell leaves it; a shell starts background jobs with SIGINT ignored.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from uring.cli import main
sys.exit(main())
"""


def on_terminal(command: Command, **options: Any) -> tuple[int, str]:
    """Run a command with its stderr on a terminal of 80 columns: its exit status, and all that it wrote there."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = ENVIRONMENT | {"TQDM_MININTERVAL": "0", "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment, **options) as child:
        os.close(terminal)
        written = b""
        try:
            while piece := os.read(master, 65536):
                written += piece
        except OSError:
            pass  # the terminal's other side is closed
        os.close(master)
        child.communicate(timeout=30)
    return child.returncode, written.decode()


def screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end, after carriage returns."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown: list[str] = []
        for piece in line.split("\r"):
            shown[: len(piece)] = piece
        lines.append("".join(shown).rstrip())
    return [line for line in lines if line]


def test_a_progress_bar_on_a_terminal(source: Path, tmp_path: Path) -> None:
    """On a terminal a bar shows the name and the percentage, and is gone in the end, when the summary comes."""
    target = tmp_path / "target"
    status, written = on_terminal([*CP, "--depth=1", "--block-size=32000", source.name, target], cwd=tmp_path)
    assert status == 0
    assert target.read_bytes() == source.read_bytes()
    assert "'source':" in written
    percentages = [int(percentage) for percentage in re.findall(r"(\d+)%", written)]
    assert percentages == sorted(percentages)
    assert len(set(percentages)) > 4
    assert percentages[-1] == 100
    (summary,) = screen(written)
    assert re.fullmatch(SUMMARY.strip("\\n"), summary)


def test_a_progress_bar_for_a_stream(tmp_path: Path) -> None:
    """Where the size is not known the bar counts bytes and claims no percentage."""
    status, written = on_terminal([*CP, "/proc/cpuinfo", tmp_path / "target"])
    assert status == 0
    assert "'/proc/cpuinfo':" in written
    assert "%" not in written


def test_a_progress_bar_goes_before_a_complaint(source: Path) -> None:
    """When a copy fails on a terminal the bar does not stay."""
    status, written = on_terminal([*CP, source, "/dev/full"])
    assert status == 1
    assert screen(written) == [
        "uring cp: error writing '/dev/full': No space left on device",
        "uring cp: '/dev/full' is incomplete",
    ]


def test_a_strange_name_in_the_progress_bar(tmp_path: Path) -> None:
    """A name with a line feed and bytes that are no text does not disturb the bar."""
    name = b"new\nline\xff"
    (tmp_path / os.fsdecode(name)).write_bytes(b"contents")
    status, written = on_terminal([*CP, name, "target"], cwd=tmp_path)
    assert status == 0
    assert r"'new\nline\\xff'" in written
    assert len(screen(written)) == 1


def test_no_progress_bar_when_quiet(source: Path, tmp_path: Path) -> None:
    """`--quiet` writes nothing to the terminal."""
    assert on_terminal([*CP, "--quiet", source, tmp_path / "target"]) == (0, "")


def test_no_progress_bar_without_a_terminal(source: Path, tmp_path: Path) -> None:
    """In a log there are no bars."""
    child = run([*CP, "--depth=1", "--block-size=512", source, tmp_path / "target"])
    assert re.fullmatch(SUMMARY, child.stderr)


def interrupt(command: Command, is_busy: Callable[[], bool]) -> tuple[int, list[str]]:
    """Send a command SIGINT as soon as it is busy: its exit status and what it wrote to stderr."""
    child = subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 20
        while not is_busy():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline, "the copy did not begin"
            time.sleep(0.001)
        child.send_signal(signal.SIGINT)
        _, written = child.communicate(timeout=20)
    finally:
        child.kill()
        child.communicate()
    return child.returncode, written.decode().splitlines()


def has_bytes(path: Path) -> bool:
    """Whether a file is there with more in it than the tests put there."""
    return path.exists() and path.stat().st_size > 10


@pytest.mark.parametrize("existed", [False, True])
def test_an_interrupted_wait(tmp_path: Path, existed: bool) -> None:
    """SIGINT while a pipe is silent ends the copy with 130; a new target is removed, an old one is named."""
    fifo, target = tmp_path / "fifo", tmp_path / "target"
    os.mkfifo(fifo)
    if existed:
        target.write_bytes(b"before")
    writing = os.open(fifo, os.O_RDWR)
    os.write(writing, b"only the beginning")
    status, written = interrupt([sys.executable, "-c", INTERRUPTIBLE, "cp", fifo, target], lambda: has_bytes(target))
    os.close(writing)
    assert status == 130
    expected = [f"uring cp: interrupted while copying '{fifo}'"]
    assert written == expected + [f"uring cp: '{target}' is incomplete"] * existed
    assert target.exists() == existed


def test_an_interrupted_copy(tmp_path: Path) -> None:
    """SIGINT with many blocks in flight ends the copy with 130, and the target is removed."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(8 << 30)
    command = [sys.executable, "-c", INTERRUPTIBLE, "cp", source, target]
    try:
        status, written = interrupt(command, lambda: has_bytes(target))
        assert status == 130
        assert written == [f"uring cp: interrupted while copying '{source}'"]
        assert not target.exists()
    finally:
        target.unlink(missing_ok=True)
