"""The programs in the tutorials under docs/ run."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Program, output_of, programs_of

DOCS = Path(__file__).resolve().parent.parent / "docs"
WANTED = ("registered", "provided-buffers", "multishot", "zero-copy", "bulk")
PAGES = [page for name in WANTED if (page := DOCS / f"{name}.md").is_file()]
SHOWN = [
    pytest.param(program, id=f"{page.stem}-{place}")
    for page in PAGES
    for place, program in enumerate(programs_of(page))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_tutorial_shows_a_program(page: Path) -> None:
    """A tutorial has a complete program at least; what is no program is not marked as one."""
    assert programs_of(page)


def test_the_tutorials_are_there() -> None:
    """The pages on registered buffers and files, and on zero-copy sends, are among them."""
    assert {page.stem for page in PAGES} >= {"registered", "zero-copy"}


@pytest.mark.parametrize("program", SHOWN)
def test_each_program_runs_as_printed(program: Program, tmp_path: Path) -> None:
    """Each program runs as it stands, in an empty folder, and prints the output that the page shows behind it."""
    printed = output_of(program.text, tmp_path)
    assert program.output is None or printed == program.output
