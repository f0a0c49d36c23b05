"""The command `uring` and `uring info`: what is printed, and exit statuses."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from commands import CP, URING, run
from confined import denied

from uring import cli, probe
from uring._version import __version__

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
