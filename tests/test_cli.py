"""The command `uring`: what it prints, its exit statuses, and how `uring cp` compares with `cp`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_probe import denied, privately

from uring import cli, probe
from uring._version import __version__

Argument = str | bytes | Path
Command = Sequence[Argument]

URING = [sys.executable, "-m", "uring"]
CP = [*URING, "cp"]

# Runs the rest of its arguments without any capability, so that permissions hold for root too.
UNPRIVILEGED = """
import ctypes, os, sys
prctl = ctypes.CDLL(None).prctl
for capability in range(64):
    prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""

# `uring` with SIGINT as an interactive shell leaves it; a shell starts background jobs with SIGINT ignored.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from uring.cli import main
sys.exit(main())
"""

# Python itself reports a failed write differently when its streams are not buffered.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
}


def run(command: Command, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output as text."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT} | options
    return subprocess.run(command, timeout=30, check=False, encoding="utf-8", errors="backslashreplace", **options)


def unprivileged(command: Command) -> Command:
    """The command that runs `command` as somebody for whom permissions hold."""
    return command if os.geteuid() else [sys.executable, "-I", "-S", "-c", UNPRIVILEGED, *command]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to copy."""
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 1000)
    return path


# --- info --------------------------------------------------------------------------------------------


def test_info() -> None:
    """`uring info` prints the versions, that io_uring can be used, and four tables."""
    child = run([*URING, "info"])
    assert (child.returncode, child.stderr) == (0, "")
    lines = child.stdout.splitlines()
    assert lines[0].split() == ["kernel", os.uname().release]
    assert lines[1].startswith(f"liburing  {cli.LIBURING_VERSION}")
    assert lines[2].split() == ["uring", __version__]
    assert lines[3] == "io_uring  can be used"
    found = probe.support()
    for title, table in (
        ("opcodes", found.opcodes),
        ("register operations", found.register_ops),
        ("setup flags", found.setup_flags),
        ("features", found.features),
    ):
        assert f"{title}: {sum(table.values())} of {len(table)}" in lines
        for name, there in table.items():
            assert re.search(rf"(?:^|\s){'[+]' if there else '-'} {name}(?:\s|$)", child.stdout, re.MULTILINE), name
    assert max(map(len, lines)) <= 100


def test_info_names_the_kernel_that_has_what_is_missing() -> None:
    """What the running kernel lacks stands in the table with the kernel that introduced it."""
    opcodes, register_ops = {"NOP": True, "FTRUNCATE": False}, {"REGISTER_NAPI": False}
    found = probe.Support("5.10.0", None, opcodes, register_ops, {"SQ_REWIND": False}, {"RW_ATTR": False})
    text = "\n".join(cli._as_lines(found))
    assert "+ NOP" in text
    assert "- FTRUNCATE (6.9)" in text
    assert "- REGISTER_NAPI (6.9)" in text
    assert "- SQ_REWIND (7.0)" in text
    assert "- RW_ATTR (6.14)" in text


def test_info_as_json() -> None:
    """`uring info --json` has the same contents, with true and false for each name."""
    child = run([*URING, "info", "--json"])
    assert (child.returncode, child.stderr) == (0, "")
    found = probe.support()
    assert json.loads(child.stdout) == {
        "kernel": os.uname().release,
        "liburing": cli.LIBURING_VERSION,
        "uring": __version__,
        "usable": True,
        "denial": None,
        "opcodes": found.opcodes,
        "register_ops": found.register_ops,
        "setup_flags": found.setup_flags,
        "features": found.features,
    }


def test_info_under_seccomp() -> None:
    """Where seccomp denies io_uring, `uring info` says so and exits with 1, without a traceback."""
    child = run(denied([*URING, "info"]))
    assert (child.returncode, child.stderr) == (1, "")
    lines = child.stdout.splitlines()
    assert "io_uring  cannot be used here" in lines
    assert any(line.startswith("reason") and "seccomp" in line for line in lines)
    assert any(line.startswith("advice") and "seccomp profile" in line for line in lines)
    assert "opcodes" not in child.stdout


def test_info_as_json_under_seccomp() -> None:
    """Where seccomp denies io_uring, the JSON has the reason, and the exit status is 1."""
    child = run(denied([*URING, "info", "--json"]))
    assert (child.returncode, child.stderr) == (1, "")
    found = json.loads(child.stdout)
    assert found["usable"] is False
    assert found["denial"]["errno"] == 1
    assert "seccomp" in found["denial"]["reason"]
    assert found["denial"]["advice"]
    assert found["opcodes"] == found["register_ops"] == found["setup_flags"] == found["features"] == {}


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--version"], ["--help"]], ids=" ".join)
def test_output_to_a_full_device(arguments: list[str]) -> None:
    """When the output cannot be written the exit status is 1, and one line says why."""
    with open("/dev/full", "w") as full:
        child = run([*URING, *arguments], stdout=full)
    assert (child.returncode, child.stderr) == (1, "uring: write error: No space left on device\n")


@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--version"]], ids=" ".join)
def test_output_to_a_closed_pipe(arguments: list[str]) -> None:
    """When the reader has gone the exit status is 1, silently."""
    reading, writing = os.pipe()
    os.close(reading)
    child = run([*URING, *arguments], stdout=writing)
    os.close(writing)
    assert (child.returncode, child.stderr) == (1, "")


def test_info_without_a_standard_output() -> None:
    """With standard output closed, `uring info` does not pretend that it told anything."""
    child = run(["sh", "-c", 'exec "$@" >&-', "sh", *URING, "info"])
    assert (child.returncode, child.stderr) == (1, "uring: write error: Bad file descriptor\n")


# --- the command line --------------------------------------------------------------------------------


def test_version() -> None:
    """`--version` names uring's and liburing's."""
    child = run([*URING, "--version"])
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == f"uring {__version__} (liburing {cli.LIBURING_VERSION} compiled in)\n"


def test_the_installed_command(source: Path, tmp_path: Path) -> None:
    """The command that an installation puts beside its Python does what `python -m uring` does."""
    command = Path(sys.executable).with_name("uring")
    if not command.exists():
        pytest.skip("uring is not installed here, only found")
    assert run([command, "--version"]).stdout == run([*URING, "--version"]).stdout
    assert run([command, "cp", source, tmp_path / "target"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["mv"], "invalid choice"),
        (["info", "--xml"], "unrecognized arguments: --xml"),
        (["cp", "one"], "required: DST"),
        (["cp", "--depth", "many", "one", "two"], "invalid int value: 'many'"),
        (["cp", "--block-size", "1.5K", "one", "two"], "'1.5K' is not a number of bytes"),
        (["cp", "--block-size", "", "one", "two"], "'' is not a number of bytes"),
        (["cp", "--block-size", "K", "one", "two"], "'K' is not a number of bytes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line(arguments: list[str], message: str) -> None:
    """What cannot be understood is named under the usage, and the exit status is 2."""
    child = run([*URING, *arguments])
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr.startswith("usage: uring")
    assert message in child.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--depth=0", "depth must be from 1 to 4096, not 0"),
        ("--depth=-1", "depth must be from 1 to 4096, not -1"),
        ("--depth=4097", "depth must be from 1 to 4096, not 4097"),
        ("--block-size=511", "block_size must be from 512 bytes to 1 GiB, not 511"),
        ("--block-size=-4K", "block_size must be from 512 bytes to 1 GiB, not -4096"),
        ("--block-size=1025M", "block_size must be from 512 bytes to 1 GiB, not 1074790400"),
    ],
)
def test_a_number_out_of_range(source: Path, tmp_path: Path, option: str, message: str) -> None:
    """A depth or block size that cannot be is named, nothing is copied, and the exit status is 1."""
    child = run([*CP, option, source, tmp_path / "target"])
    assert (child.returncode, child.stderr) == (1, f"uring cp: {message}\n")
    assert not (tmp_path / "target").exists()


# --- cp ----------------------------------------------------------------------------------------------


SUMMARY = r"[\d.]+ (B|KiB|MiB) in \d+\.\d\d s, [\d.]+ (B|KiB|MiB|GiB|TiB)/s\n"


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


# --- progress and interruption -----------------------------------------------------------------------


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
