"""Imports point one way, modules stay short, and `import uring` stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

# Lowest first. A module imports from lower layers, and from its own layer without a cycle; a package counts as one.
LAYERS = [
    {"_version"},
    {"_native"},
    {"liburing", "fused"},
    {"record"},
    {"types", "flags", "errors", "addresses", "stat_result"},
    {"buffer_slots"},
    {"params", "probe", "completion", "file_slots", "tags"},
    {"operation"},
    {"shots"},
    {"multishot"},
    {"builders", "bulk_calls"},
    {"registration", "flight"},
    {"waiting"},
    {"waking"},
    {"closing"},
    {"buffer_pins"},
    {"ring"},
    {"buffer_supply", "buffer_table"},
    {"chain", "registered_buffers", "registered_files", "provided_buffers", "cancel", "zero_copy_receive"},
    {"bulk_input", "bulk_job", "bulk_results"},
    {"bulk"},
    {"bulk_paths"},
    {"bulk_threads"},
    {"many"},
    {"copy"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# Stricter than their layer.
ONLY = {
    "_native": {"_uring", "_version"},
    "liburing": {"_native"},
    "fused": {"_native"},
    "record": set(),
    "probe": {"_native", "errors", "record", "types", "flags"},
    "completion": {"_native"},
    "flags": {"_native"},
    "types": {"_native"},
    "errors": {"_native"},
    "addresses": {"_native"},
    "params": {"_native", "record", "types"},
    "operation": {"completion", "errors", "types"},
    "shots": {"_native", "completion", "operation", "types"},
    "multishot": {"_native", "completion", "operation", "shots", "types"},
    "builders": {
        "_native",
        "addresses",
        "errors",
        "file_slots",
        "flags",
        "multishot",
        "operation",
        "shots",
        "stat_result",
        "types",
    },
    "file_slots": {"_native", "types"},
    "tags": {"_native"},
    "registered_files": {"_native", "builders", "errors", "file_slots", "operation", "probe", "tags", "types"},
    "registration": {"_native", "builders", "errors", "operation", "probe", "types"},
    "flight": {"_native", "completion", "errors", "fused", "operation", "shots", "types"},
    "waiting": {"_native", "errors", "flight", "operation", "types"},
    "waking": {"_native", "builders", "errors", "waiting"},
    "closing": {"_native", "fused", "operation", "shots", "types", "waking"},
    "buffer_slots": {"_native", "types"},
    "buffer_pins": {"_native", "buffer_slots", "errors", "operation", "probe", "tags"},
    "buffer_table": {"_native", "buffer_pins", "buffer_slots", "errors", "ring", "tags"},
    "chain": {"_native", "completion", "operation", "types"},
    "bulk_calls": {"types"},
    "bulk_input": {"_native", "builders", "types"},
    "bulk_job": {"_native", "builders", "errors", "flight", "operation", "types"},
    "bulk_results": {"_native", "errors", "stat_result"},
    "zero_copy_receive": {"_native", "builders", "errors", "operation", "probe", "types"},
    "cli": {"copy", "probe", "_native", "_version"},
    "__main__": {"cli"},
}

# What gives Ring its convenience methods, which import what lies above it when they are called.
CONVENIENT = {"ring", "bulk_calls"}

MAX_LINES = 550

PACKAGE = Path(__file__).resolve().parent.parent / "uring"
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The module's name in the layers; that of the package for a module of a package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_for_types(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether it is `if TYPE_CHECKING`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"


def statements(tree: ast.AST, *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements that run, with those inside functions when `lazy`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif is_for_types(node):
            continue
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(node, lazy=lazy)


def own_imports(path: Path) -> set[str]:
    """The rooms that a module imports from."""
    found = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in statements(ast.parse(path.read_text()), lazy=room(path) not in CONVENIENT):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif node.level:
            # Beyond the package's own folder it is one of the package's siblings again.
            base = [room(path)] if node.level < depth else []
            rest = node.module.split(".") if node.module else []
            targets = [["uring", *base, *rest, alias.name] for alias in node.names]
        else:
            targets = [[*(node.module or "").split("."), alias.name] for alias in node.names]
        inside = {(target[1] if len(target) > 1 else "") for target in targets if target[0] == "uring"}
        # A name that is no module is one of the package itself.
        found |= {name if name in ROOMS else "__init__" for name in inside}
    return found


ROOMS = {room(path) for path in MODULES} | {"_uring"}
IMPORTS = {path: own_imports(path) - {room(path)} for path in MODULES}


def ids(path: Path) -> str:
    """A module's path below the package."""
    return str(path.relative_to(PACKAGE))


def test_the_package_was_found() -> None:
    """The checks below have modules to check, and see their imports."""
    assert {"_native", "builders", "cli", "copy", "fused", "liburing", "operation", "probe", "ring"} <= ROOMS
    assert IMPORTS[PACKAGE / "ring.py"] >= {"builders", "operation", "registration"}
    assert IMPORTS[PACKAGE / "copy.py"] >= {"_native", "fused", "probe"}
    assert IMPORTS[PACKAGE / "__main__.py"] == {"cli"}


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_a_module_has_a_layer(path: Path) -> None:
    """Each module's place in the order is decided here."""
    assert room(path) in RANK


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_native_imports_the_extension(path: Path) -> None:
    """The compiled extension has one importer."""
    assert "_uring" not in IMPORTS[path] or room(path) == "_native"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_point_down(path: Path) -> None:
    """A module imports nothing from a layer above its own, and what names its imports has no others."""
    imports = IMPORTS[path] - {"_uring"}
    assert {name for name in imports if RANK[name] > RANK[room(path)]} == set()
    if room(path) in ONLY:
        assert IMPORTS[path] <= ONLY[room(path)]


def test_the_ring_imports_what_lies_above_it_inside_its_methods() -> None:
    """Modules that take the ring as their first argument are imported by the convenience method that needs them."""
    lazy: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((PACKAGE / "ring.py").read_text())):
        if isinstance(node, ast.FunctionDef):
            for statement in statements(node, lazy=False):
                if isinstance(statement, ast.ImportFrom) and statement.level and statement.module:
                    lazy.setdefault(node.name, set()).add(statement.module)
    assert lazy["chain"] == {"chain"}
    for method, modules in lazy.items():
        assert {name for name in modules if RANK[name.split(".")[0]] <= RANK["ring"]} == set(), method


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_types_alone_may_come_from_above(path: Path) -> None:
    """Under TYPE_CHECKING a module names others for annotations, and only modules that exist."""
    for node in ast.walk(ast.parse(path.read_text())):
        if is_for_types(node):
            for statement in node.body:
                assert isinstance(statement, ast.Import | ast.ImportFrom)
                if isinstance(statement, ast.ImportFrom) and statement.level and statement.module:
                    assert statement.module.split(".")[0] in ROOMS


def test_there_are_no_cycles() -> None:
    """Modules of one layer do not import one another in a circle."""
    edges: dict[str, set[str]] = {}
    for path, imports in IMPORTS.items():
        edges.setdefault(room(path), set()).update(imports)
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for imported in sorted(edges.get(name, ())):
                visit(imported, (*above, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


def test_only_main_imports_the_command_line() -> None:
    """The command line is on top: `python -m uring` alone imports it."""
    assert [ids(path) for path in MODULES if "cli" in IMPORTS[path]] == ["__main__.py"]


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_a_module_is_not_too_long(path: Path) -> None:
    """A module can be read in one sitting."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_importing_the_package_is_cheap() -> None:
    """`import uring` loads nothing that only the command line needs."""
    code = "import sys; before = set(sys.modules); import uring; print(*sorted(set(sys.modules) - before))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = set(child.stdout.split())
    assert "uring" in loaded
    unwanted = {
        "tqdm",
        "argparse",
        "json",
        "asyncio",
        "uring.cli",
        "uring.copy",
        "uring.liburing",
        "typing_extensions",
        "dataclasses",
    }
    assert loaded & unwanted == set()


def test_the_command_line_loads_its_progress_bar_late() -> None:
    """Running `uring` without a terminal does not pay for tqdm."""
    code = "import sys; from uring import cli; print('tqdm' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert child.stdout.strip() == "False"
