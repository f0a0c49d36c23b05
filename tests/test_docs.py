"""The generated pages are up to date and leave no builder and no opcode out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from uring import Ring
from uring._native import lib
from uring.chain import LINK_TIMEOUT
from uring.operation import KINDS, Kind

OPCODES = {name.removeprefix("IORING_OP_") for name in dir(lib) if name.startswith("IORING_OP_")} - {"LAST"}
BY_CHAINS = {"LINK_TIMEOUT"}  # the only opcode without a builder


@pytest.fixture(scope="module")
def make_docs(repository: Path) -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("make_docs", repository / "tools" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _kinds() -> list[Kind[object]]:
    """The package's own kinds: tests may have made some, too."""
    return [kind for kind in KINDS if getattr(Ring, kind.name, None) or kind is LINK_TIMEOUT]


def test_builders_page_is_what_the_script_writes(make_docs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """`make_docs.py --check` finds nothing to change."""
    assert make_docs.main(["--check"]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out == ""


def test_check_reports_a_stale_page(
    make_docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits with 1 and a diff and writes nothing; without it the page is made right."""
    page = tmp_path / "builders.md"
    page.write_text("old\n")
    monkeypatch.setattr(make_docs, "PAGE", page)
    assert make_docs.main(["--check"]) == 1
    assert "-old" in capsys.readouterr().out.splitlines()
    assert page.read_text() == "old\n"
    assert make_docs.main([]) == 0
    assert make_docs.main(["--check"]) == 0


def test_every_kind_belongs_to_a_listed_builder(make_docs: ModuleType) -> None:
    """No form of a request is without a method that uses it, and the method has the kind's name."""
    listed = {(row.name, kind) for row in make_docs.all_rows() for kind in row.kinds}
    assert {(kind.name, kind) for kind in _kinds() if kind is not LINK_TIMEOUT} <= listed


def test_every_listed_builder_is_a_method_of_ring(make_docs: ModuleType) -> None:
    """Each row names a public method, tells its kernel, and has a summary and twins that exist."""
    for row in make_docs.all_rows():
        assert callable(getattr(Ring, row.name))
        assert re.match(r"\d\.\d", row.kernel), row
        assert row.summary.endswith("."), row
        assert [name for name in row.twins if not hasattr(lib, name)] == []


def test_every_opcode_has_a_builder(make_docs: ModuleType) -> None:
    """All 65 opcodes have one, but for LINK_TIMEOUT, which chains make."""
    assert len(OPCODES) == 65
    assert {kind.opcode for row in make_docs.all_rows() for kind in row.kinds} == OPCODES - BY_CHAINS
    assert LINK_TIMEOUT.opcode in BY_CHAINS


def test_opcode_table_has_a_row_for_every_opcode(repository: Path) -> None:
    """The recorded page names each opcode once, in the order of their numbers."""
    page = (repository / "docs" / "opcodes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z0-9_]+) \|", page, re.MULTILINE)
    assert rows == sorted(OPCODES, key=lambda name: int(getattr(lib, f"IORING_OP_{name}")))
