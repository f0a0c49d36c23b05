"""The programs that a page of documentation shows, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import uring

_SHOWN = re.compile(r"^```python\n(.*?)^```\n(?:\n*^```output\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


class Program(NamedTuple):
    """A ```python block, and the ```output block behind it, if there is one."""

    text: str
    output: str | None


def programs_of(page: Path) -> list[Program]:
    """The programs of a page, in order."""
    return [Program(*shown.groups()) for shown in _SHOWN.finditer(page.read_text(encoding="utf-8"))]


def output_of(program: str, directory: Path) -> str:
    """What a program prints when it runs there; it must succeed, without a warning.

    A program that needs what this kernel lacks, and is told so by `Unsupported`, skips the test.
    """
    here = os.path.dirname(os.path.dirname(uring.__file__))
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode and (last := done.stderr.splitlines()[-1:]) and last[0].startswith("uring.errors.Unsupported"):
        pytest.skip(f"this kernel lacks {last[0].partition(': ')[2]}")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
