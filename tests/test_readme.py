"""The programs in README.md run."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Program, output_of, programs_of

README = Path(__file__).resolve().parent.parent / "README.md"
PROGRAMS = programs_of(README)


def test_the_readme_shows_programs() -> None:
    """A change of the README's form must not silently empty the test below."""
    assert len(PROGRAMS) >= 4


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_each_program_prints_the_file_that_it_reads(program: Program) -> None:
    """Each program of the README runs as it stands and prints README.md's beginning."""
    assert README.read_text(encoding="utf-8")[:1000] in output_of(program.text, README.parent)
