"""This run against an earlier one: what became faster or slower, by more than both runs' own spread.

Runs are not interleaved with each other, so a busy hour looks like a slow version. C baselines tell: where they moved
as well, it was the machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import wording
from .harness import kind_of
from .terminal import aligned

SHOWN = 25
"""So many are shown on a terminal; Markdown and the page have them all."""
LEAST = 0.05
"""Smaller changes are not shown."""


class Change(NamedTuple):
    """A lane at a point, whose figure moved."""

    case: str
    place: str
    lane: str
    metric: str
    old: float
    new: float

    @property
    def ratio(self) -> float:
        """How many times the old figure the new one is; above 1 is worse."""
        return self.new / self.old


def lanes(report: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any]]]:
    """All lanes of a report, each with the names of its case, its point and itself."""
    for case in report["cases"]:
        for point in case["points"]:
            for name, lane in point["lanes"].items():
                yield (case["name"], wording.place(point["point"]), name), lane


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[Change], int]:
    """What moved, in the order of the new run, and how many figures were compared."""
    before = dict(lanes(old))
    found, count = [], 0
    for key, lane in lanes(new):
        if key not in before:
            continue
        for metric, name in (("wall_ns", "time"), ("cpu_ns", "CPU time")):
            then, now = before[key][metric], lane[metric]
            count += 1
            apart = now["low"] > then["high"] or now["high"] < then["low"]
            if then["median"] and apart and abs(now["median"] / then["median"] - 1) >= LEAST:
                found.append(Change(*key, name, then["median"], now["median"]))
    return found, count


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What differs in the environments, as lines; how busy the machine was is told in any case."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            lines += differences(old.get(key), new.get(key), f"{name} {key}".strip())
        return lines
    return [f"{name}: {old} -> {new}"] if old != new or name.startswith("load") else []


def verdicts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Claims that are judged otherwise than before, as lines."""

    def judged(report: Mapping[str, Any]) -> dict[tuple[str, str], str]:
        return {(case["name"], claim["text"]): claim["verdict"] for case in report["cases"] for claim in case["claims"]}

    then = judged(old)
    return [
        f"{case}: {text}: {then[case, text]} -> {verdict}"
        for (case, text), verdict in judged(new).items()
        if then.get((case, text), verdict) != verdict
    ]


HEADINGS = ("", "", "", "", "then", "now", wording.TIMES)


def table(found: list[Change]) -> list[tuple[str, ...]]:
    """Changes in words, under HEADINGS; a C baseline or fio says so."""
    return [
        (
            change.lane + (" (floor)" if kind_of(change.lane) == "floor" else ""),
            change.case,
            change.place,
            change.metric,
            wording.duration(change.old),
            wording.duration(change.new),
            wording.times(change.ratio),
        )
        for change in found
    ]


def sections(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[Change], list[Change]]:
    """Lines on what was compared, and what became slower and faster, the most first."""
    found, count = changes(old, new)
    slower = sorted((change for change in found if change.ratio > 1), key=lambda change: -change.ratio)
    faster = sorted((change for change in found if change.ratio < 1), key=lambda change: change.ratio)
    same = count - len(found)
    lines = [
        f"Compared with the run of {old['made']}: {len(slower)} of {count} figures are higher, {len(faster)} lower, "
        f"{same} the same within the quartiles or {LEAST:.0%}.",
        *differences(old["environment"], new["environment"]),
        *verdicts(old, new),
    ]
    return lines, slower, faster


def text(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The comparison for a terminal."""
    lines, slower, faster = sections(old, new)
    shown = ["", "== Comparison", *lines]
    for title, some in (("Slower", slower), ("Faster", faster)):
        if some:
            shown += ["", f"-- {title}", *aligned([HEADINGS, *table(some[:SHOWN])])]
            shown += [f"and {len(some) - SHOWN} more"] * (len(some) > SHOWN)
    return "\n".join(shown)
