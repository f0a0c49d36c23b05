"""The programs in README.md run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_shows_programs() -> None:
    """A change of the README's form must not silently empty the test below."""
    assert len(PROGRAMS) >= 4


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_each_program_prints_the_file_that_it_reads(program: str) -> None:
    """Each program of the README runs as it stands and prints README.md's beginning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=README.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert README.read_text(encoding="utf-8")[:1000] in done.stdout
