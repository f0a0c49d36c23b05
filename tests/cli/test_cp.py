"""`uring cp`: what it prints, its exit statuses, and how it compares with `cp`."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from commands import CP, SUMMARY, Command, run
from confined import denied, privately

# Runs the rest of its arguments without any capability, so that permissions hold for root too.
UNPRIVILEGED = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
for capability in range(64):
    prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def unprivileged(command: Command) -> Command:
    """The command that runs `command` as somebody for whom permissions hold."""
    return command if os.geteuid() else [sys.executable, "-I", "-S", "-c", UNPRIVILEGED, *command]


# --- cp ----------------------------------------------------------------------------------------------


def test_cp(source: Path, tmp_path: Path) -> None:
    """`uring cp` copies, and ends with the size, the time and the rate; not on standard output."""
    child = run([*CP, source, tmp_path / "target"])
    assert (child.returncode, child.stdout) == (0, "")
    assert re.fullmatch(SUMMARY, child.stderr)
    assert child.stderr.startswith("250.0 KiB in ")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_cp_quietly(source: Path, tmp_path: Path) -> None:
    """`--quiet` leaves only complaints."""
    child = run([*CP, "--quiet", source, tmp_path / "target"])
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")
    child = run([*CP, "-q", tmp_path / "missing", tmp_path / "target"])
    assert child.returncode == 1
    assert "No such file or directory" in child.stderr


def test_cp_of_nothing(tmp_path: Path) -> None:
    """An empty file is copied, and its rate is a number."""
    (tmp_path / "empty").touch()
    child = run([*CP, tmp_path / "empty", tmp_path / "target"])
    assert child.returncode == 0
    assert child.stderr.startswith("0 B in ")
    assert (tmp_path / "target").stat().st_size == 0


def test_cp_with_options(source: Path, tmp_path: Path) -> None:
    """Depth and block size are taken, with units in either case."""
    for number, size in enumerate(("512", "4k", "1M")):
        target = tmp_path / f"target{number}"
        assert run([*CP, "--depth", "2", "--block-size", size, source, target]).returncode == 0
        assert target.read_bytes() == source.read_bytes()


def test_cp_into_a_directory(source: Path, tmp_path: Path) -> None:
    """When the target is a directory the file goes into it, under its own name."""
    (tmp_path / "directory").mkdir()
    assert run([*CP, source, tmp_path / "directory"]).returncode == 0
    assert (tmp_path / "directory/source").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "name", [b"new\nline", b"\xff\xfe", b"-dash", b"quote'", b"{}{0}", "ü\u202e".encode(), b"\x1b[31m"], ids=repr
)
def test_cp_of_strange_names(source: Path, tmp_path: Path, name: bytes) -> None:
    """A name of any bytes is copied, and is quoted in a message without disturbing the terminal."""
    (tmp_path / os.fsdecode(name)).write_bytes(b"contents")
    child = run([*CP, "-q", "--", name, b"copy of " + name], cwd=tmp_path)
    assert (child.returncode, child.stderr) == (0, "")
    assert (tmp_path / os.fsdecode(b"copy of " + name)).read_bytes() == b"contents"
    child = run([*CP, "--", name, b"-missing/" + name], cwd=tmp_path)
    assert child.returncode == 1
    assert child.stderr.endswith(": No such file or directory\n")
    assert child.stderr[:-1].isprintable()


def test_cp_under_seccomp(source: Path, tmp_path: Path) -> None:
    """Where seccomp denies io_uring, `uring cp` says so, makes nothing, and exits with 1, without a traceback."""
    child = run(denied([*CP, source, tmp_path / "target"]))
    assert child.returncode == 1
    assert child.stderr == (
        "uring cp: io_uring cannot be used here: a seccomp filter on this process denies io_uring_setup\n"
    )
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full"])
def test_cp_with_nowhere_to_write(source: Path, tmp_path: Path, closed: str) -> None:
    """Closed or full output streams do not keep a copy from being made, nor its success from being reported."""
    child = run(["sh", "-c", f'exec "$@" {closed}', "sh", *CP, source, tmp_path / "target"])
    assert child.returncode == 0
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    child = run(["sh", "-c", f'exec "$@" {closed}', "sh", *CP, tmp_path / "missing", tmp_path / "target"])
    assert child.returncode == 1


# --- as `cp` does ------------------------------------------------------------------------------------


# What is set up for each case, in an empty directory with a file `source`; then `cp` and `uring cp` are run there.
CASES: dict[str, tuple[str, list[str]]] = {
    "a missing source": ("", ["missing", "target"]),
    "a missing target directory": ("", ["source", "missing/target"]),
    "a missing directory": ("", ["source", "missing/"]),
    "a file as a directory of the source": ("", ["source/x", "target"]),
    "a file as a directory of the target": ("echo > file", ["source", "file/target"]),
    "an unreadable source": ("chmod 200 source", ["source", "target"]),
    "an unwritable target": ("echo > target; chmod 400 target", ["source", "target"]),
    "a read-only target directory": ("mkdir directory; chmod 500 directory", ["source", "directory/target"]),
    "a closed target directory": ("mkdir directory; chmod 600 directory", ["source", "directory/target"]),
    "a directory as the source": ("mkdir directory", ["directory", "target"]),
    "the same file": ("", ["source", "source"]),
    "the same file, in another way": ("", ["source", "./source"]),
    "the same file, in its directory": ("", ["source", "."]),
    "a hard link to the source": ("ln source target", ["source", "target"]),
    "a symbolic link to the source": ("ln -s source target", ["source", "target"]),
    "the source through a symbolic link": ("ln -s source link", ["link", "source"]),
    "a dangling symbolic link as the source": ("ln -s missing link", ["link", "target"]),
    "a dangling symbolic link as the target": ("ln -s missing link", ["source", "link"]),
    "a loop of symbolic links": ("ln -s loop loop", ["loop", "target"]),
    "a full device": ("", ["source", "/dev/full"]),
    "a name that is too long": ("", ["source", "x" * 256]),
    "a directory in the way": ("mkdir -p directory/source", ["source", "directory"]),
    "success": ("", ["source", "target"]),
    "success into a directory": ("mkdir directory", ["source", "directory/"]),
    "success over a file": ("echo > target; chmod 620 target", ["source", "target"]),
    "success through a symbolic link": ("echo > file; ln -s file target", ["source", "target"]),
    "success to a device": ("", ["source", "/dev/null"]),
    "success with an executable": ("chmod 755 source", ["source", "target"]),
}

# Where `uring cp` gives another reason than `cp`, on purpose or because it does not look before it opens.
REASONS = {
    "a missing directory": "Is a directory",
    "a dangling symbolic link as the target": "No such file or directory",
    "a directory in the way": "Is a directory",
}

COMMON = ("are the same file", "omitting directory")


def reason(message: str) -> str:
    """The part of a message that says why."""
    for part in COMMON:
        if part in message:
            return part
    return message.strip().rpartition(": ")[2]


def contents(directory: Path) -> dict[str, tuple[int, bytes | str | None]]:
    """What is in a directory: modes, and contents or what a link points to."""
    found = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        kind = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else None
        found[str(path.relative_to(directory))] = (mode, kind)
    return found


@pytest.fixture(scope="module")
def gnu_cp() -> str:
    """The path of `cp` from GNU coreutils, whose messages are those to compare with."""
    path = shutil.which("cp")
    if path is None or "GNU coreutils" not in run([path, "--version"]).stdout:
        pytest.skip("cp is not that of GNU coreutils")
    return path


@pytest.mark.parametrize("case", CASES)
def test_cp_is_like_cp(tmp_path: Path, gnu_cp: str, case: str) -> None:
    """Exit status, the reason in the message and what is there afterwards are those of `cp`."""
    script, arguments = CASES[case]
    outcomes = []
    for command in ([gnu_cp], [*CP, "-q"]):
        directory = tmp_path / f"{len(outcomes)}"
        directory.mkdir()
        (directory / "source").write_bytes(b"contents" * 1000)
        subprocess.run(["sh", "-ec", script], cwd=directory, timeout=30, check=True)
        child = run(unprivileged([*command, *arguments]), cwd=directory)
        message = child.stderr.replace("uring cp: '/dev/full' is incomplete\n", "")
        assert message.count("\n") == (1 if child.returncode else 0), message
        if case in REASONS and outcomes:
            assert reason(message) == REASONS[case]
        for path in directory.iterdir():
            if path.is_dir():
                path.chmod(0o700)
        outcomes.append((child.returncode, None if case in REASONS else reason(message), contents(directory)))
    assert outcomes[0] == outcomes[1]
    assert case.startswith("success") == (outcomes[0][0] == 0)


def test_cp_to_a_full_file_system(source: Path, tmp_path: Path) -> None:
    """When the disk is full the message is that of `cp`, and a new target is removed; an old one is named."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=64k tmpfs '{small}'; touch '{small}/old'"
    shell = 'set +e; "$@" "$0" new; echo $?; "$@" "$0" old; echo $?; ls'
    command = ["sh", "-c", f"cd '{small}'; {shell}", source, *CP]
    child = run(privately(mount, command))
    assert child.stdout.split() == ["1", "1", "old"]
    assert child.stderr.splitlines() == [
        "uring cp: error writing 'new': No space left on device",
        "uring cp: error writing 'old': No space left on device",
        "uring cp: 'old' is incomplete",
    ]
