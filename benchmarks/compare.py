"""A run beside an earlier one: what takes longer now, what less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOTICEABLE = 0.05


def lanes(report: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any]]]:
    """Every lane of a report, by case, point and name."""
    for case in report["cases"]:
        for point in case["points"]:
            where = " ".join(f"{key} {value}" for key, value in point["at"].items())
            for lane in point["lanes"]:
                yield (case["case"], where, lane["name"]), lane


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The lanes of both whose CPU or wall time has changed by more than their spread, and by 5 % at least."""
    before = dict(lanes(old))
    lines = [f"Compared with the run of {old['environment']['time']} on Linux {old['environment']['kernel']}:"]
    seen = 0
    for key, lane in lanes(new):
        if key not in before:
            continue
        seen += 1
        changes = [change for metric in ("wall", "cpu") if (change := changed(before[key], lane, f"{metric}_ns"))]
        if changes:
            lines.append(f"  {key[0]:20} {key[1]:16} {key[2]:26} {', '.join(changes)}")
    if len(lines) == 1:
        lines.append(f"  none of {seen} lanes has changed noticeably")
    return "\n".join(lines)


def changed(old: Mapping[str, Any], new: Mapping[str, Any], metric: str) -> str | None:
    """How a metric has changed, in words, or None where the quartiles overlap."""
    was, now = old[metric], new[metric]
    if not was["median"] or (now["low"] <= was["high"] and was["low"] <= now["high"]):
        return None
    ratio = now["median"] / was["median"]
    if abs(ratio - 1) < NOTICEABLE:
        return None
    return f"{metric.removesuffix('_ns')} {ratio:.2f} x ({'slower' if ratio > 1 else 'faster'})"
