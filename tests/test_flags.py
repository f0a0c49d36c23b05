"""The flag enums: complete, with the values of the headers, and documented."""

from __future__ import annotations

import ast
import enum
import inspect
import re

import pytest

from uring import flags, probe
from uring.fused import lib

# Each enum: the names of its family in the extension, and those members whose names differ.
FAMILIES: dict[type[enum.IntFlag], tuple[str, dict[str, str]]] = {
    flags.Setup: (r"IORING_SETUP_(\w+)", {}),
    flags.Feature: (r"IORING_FEAT_(\w+)", {}),
    flags.CqeFlag: (r"IORING_CQE_F_(?!TSTAMP_HW)(\w+)", {"32": "BIG"}),
    # With RESOLVE_CACHED a request would fail where it otherwise goes to a worker: io_uring sets it by itself.
    flags.Resolve: (r"RESOLVE_(?!CACHED)(\w+)", {}),
    flags.SendRecv: (
        r"IORING_(RECVSEND_\w+|SEND_\w+)",
        {
            "RECVSEND_POLL_FIRST": "POLL_FIRST",
            "RECVSEND_FIXED_BUF": "",  # a FixedBuffer says it
            "SEND_ZC_REPORT_USAGE": "REPORT_USAGE",
            "RECVSEND_BUNDLE": "BUNDLE",
            "SEND_VECTORIZED": "VECTORIZED",
        },
    ),
    flags.Statx: (r"STATX_(TYPE|MODE|NLINK|UID|GID|[ABMC]TIME|INO|SIZE|BLOCKS|BASIC_STATS)", {}),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_an_enum_has_all_constants_of_its_family(family: type[enum.IntFlag]) -> None:
    """A constant that a new liburing brings has to be added; values are those of the extension."""
    pattern, renamed = FAMILIES[family]
    expected = {}
    for name in dir(lib):
        match = re.fullmatch(pattern, name)
        if match is not None and (member := renamed.get(match[1], match[1])):
            expected[member] = getattr(lib, name)
    assert expected
    assert {name: int(member) for name, member in family.__members__.items()} == expected


@pytest.mark.parametrize(("family", "table"), [(flags.Setup, probe.SETUP_FLAGS), (flags.Feature, probe.FEATURES)])
def test_the_kernels_of_flags_are_those_of_the_probe(family: type[enum.IntFlag], table: dict[str, str]) -> None:
    """Each docstring names the kernel that the probe's table names."""
    documented = docstrings()[family.__name__]
    for name, since in table.items():
        assert f"({since})." in documented[name], name


def test_the_futex_word_is_of_32_bits() -> None:
    """The two flags that futex builders take have the kernel's values."""
    assert (flags.Futex2.SIZE_U32, flags.Futex2.PRIVATE) == (2, 128)


def docstrings() -> dict[str, dict[str, str]]:
    """The string behind each member, by class and member."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(flags)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        members = found.setdefault(node.name, {})
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                text = following.value if isinstance(following, ast.Expr) else None
                members[statement.targets[0].id] = str(text.value) if isinstance(text, ast.Constant) else ""
    return found


def test_every_enum_and_member_is_documented() -> None:
    """Each member is followed by a sentence, each class has a docstring."""
    documented = docstrings()
    enums = {
        name: value for name, value in vars(flags).items() if inspect.isclass(value) and issubclass(value, enum.IntFlag)
    }
    assert set(documented) == set(enums)
    for name, family in enums.items():
        assert (family.__doc__ or "").endswith(".")
        assert set(documented[name]) == set(family.__members__)
        for member, text in documented[name].items():
            assert re.match(r"[A-Z].*\.$", text, re.DOTALL), f"{name}.{member}"
