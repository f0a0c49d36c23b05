"""Finds the cases: each module of `cases/` has some in its CASES."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Sequence

from .harness import Case

GROUPS = ("Reads", "Writes", "Many small files", "Cost of a request", "How cost grows")
"""What one looks for comes first; other groups follow in the order of their modules."""


def discovered() -> dict[str, Case]:
    """All cases by name, those of a group together.

    Raises:
        ValueError: two of one name.
    """
    folder = importlib.import_module(".cases", __package__)
    found: dict[str, Case] = {}
    for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda module: module.name):
        for case in importlib.import_module(f"{folder.__name__}.{module.name}").CASES:
            if case.name in found:
                raise ValueError(f"expected one case named {case.name!r}, found another in cases/{module.name}.py")
            found[case.name] = case
    groups = list(dict.fromkeys([*GROUPS, *(case.group for case in found.values())]))
    return dict(sorted(found.items(), key=lambda item: groups.index(item[1].group)))


def chosen(cases: dict[str, Case], wanted: Sequence[str]) -> list[Case]:
    """The cases that somebody asks for.

    Args:
        cases: All.
        wanted: Names, groups, or patterns of names; nothing: all.

    Raises:
        ValueError: nothing is called so.
    """
    names: dict[str, None] = {}
    for word in wanted or ["*"]:
        found = [
            name
            for name, case in cases.items()
            if fnmatch.fnmatchcase(name, word)
            or case.group.casefold() == word.casefold()
            or name.startswith(f"{word}-")
        ]
        if not found:
            raise ValueError(f"no case is called {word!r}; there are: {', '.join(cases)}")
        names.update(dict.fromkeys(found))
    return [cases[name] for name in names]
