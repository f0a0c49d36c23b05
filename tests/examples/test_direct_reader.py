"""examples/direct_reader.py on real files, beside its C-style twin."""

from __future__ import annotations

import errno
import io
import itertools
import os
import subprocess
import tokenize
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = 4096
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def code_lines(path: Path) -> int:
    """The lines that hold code: neither blank, nor a comment, nor a string that stands alone."""
    tokens = list(tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline))
    layout = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for before, token in itertools.pairwise(tokens):
        is_docstring = token.type == tokenize.STRING and before.type in layout
        if token.type not in layout and not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


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


@pytest.mark.parametrize(
    "size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 1808, 4 * PAGE - 1, 4 * PAGE, 4 * PAGE + 1, 100_000]
)
def test_prints_what_its_twin_prints(size: int, run_example: Run, direct_folder: Path) -> None:
    """Output and status are those of io_uring_test.py, for empty, odd and large files."""
    source = direct_folder / "source"
    source.write_bytes(bytes(size))
    ours, theirs = (run_example(name, source) for name in ("direct_reader", "io_uring_test"))
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert ours.stdout.endswith(f" bytes={min(size, 4 * PAGE)}\n")


def test_file_that_shrinks_is_told(
    example_module: Callable[[str], ModuleType], direct_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that loses its end between the look at its size and the reads is an error that names the place."""
    example = example_module("direct_reader")
    source = direct_folder / "source"
    source.write_bytes(bytes(3 * PAGE))
    allocate = example.uring.aligned_buffer

    def shrink(size: int) -> Any:
        os.truncate(source, PAGE + 100)
        return allocate(size)

    monkeypatch.setattr(example.uring, "aligned_buffer", shrink)
    with pytest.raises(EOFError, match="100 bytes at 4096"):
        example.main(str(source))


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), ("/proc/version", "Invalid argument")]
)
def test_file_that_cannot_be_opened(name: str, reason: str, run_example: Run, tmp_path: Path) -> None:
    """A file that is not there, or takes no O_DIRECT, is an error that names it."""
    done = run_example("direct_reader", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert str(tmp_path / name) in done.stderr


def test_directory_is_refused(run_example: Run, direct_folder: Path) -> None:
    """A directory is an error that names it."""
    done = run_example("direct_reader", direct_folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(direct_folder) in done.stderr


@pytest.mark.parametrize("arguments", [(), ("one", "two")])
def test_wants_one_name(arguments: tuple[str, ...], run_example: Run) -> None:
    """Anything but one name prints the usage and fails."""
    done = run_example("direct_reader", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize(("twin", "c_style"), [("direct_reader", "io_uring_test"), ("chain_copier", "link_cp")])
def test_twins_are_shorter(twin: str, c_style: str, repository: Path) -> None:
    """Each Pythonic program has less than two thirds of the code of its C-style twin."""
    ours, theirs = (code_lines(repository / "examples" / f"{name}.py") for name in (twin, c_style))
    assert 10 < ours < theirs * 2 / 3, f"{twin} has {ours} lines of code, {c_style} {theirs}"
