"""The report as Markdown, for a README or a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import compare, environment, wording
from .judging import OPEN, PASS, SHORT

SIGN = {PASS: "**pass**", SHORT: "**falls short**", OPEN: "not judged"}


def document(report: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> str:
    """The whole report.

    Args:
        report: Of a run.
        earlier: Of the run that it is to be compared with.
    """
    lines = ["# Benchmarks", "", *preface(report), ""]
    lines += [*claims(report), *losing(report)]
    if earlier is not None:
        lines += comparison(earlier, report)
    group = None
    for case in report["cases"]:
        if case["group"] != group:
            group = case["group"]
            lines += [f"## {group}", ""]
        lines += of_case(case)
    lines += machine(report)
    return "\n".join(lines).rstrip() + "\n"


def preface(report: Mapping[str, Any]) -> list[str]:
    """Where and how it was measured."""
    settings = report["settings"]
    how = "a quick run, which proves nothing" if settings["quick"] else f"{settings['rounds']} rounds"
    lines = [
        f"{environment.one_line(report['environment'])} before and {report['environment']['load_after']} after; {how}, "
        f"{report['seconds']:.0f} s, {report['made']}."
    ]
    if report["interrupted"]:
        lines += ["", "**Interrupted: cases are missing.**"]
    return lines


def claims(report: Mapping[str, Any]) -> list[str]:
    """All claims in one table."""
    rows = [
        (case["name"], wording.verdict(claim), SIGN[claim["verdict"]])
        for case in report["cases"]
        for claim in case["claims"]
    ]
    if not rows:
        return []
    passing, short, rest = wording.counted(report)
    title = f"## Claims: {passing} pass, {short} fall short, {rest} not judged"
    return [title, "", *table(("case", "claim", ""), rows, numbers=False), ""]


def losing(report: Mapping[str, Any]) -> list[str]:
    """Where io_uring is not the first."""
    lines: list[str] = []
    for case in report["cases"]:
        if case["losses"] or case["loses"]:
            lines += [f"- **{case['name']}**{': ' + case['loses'] if case['loses'] else ''}"]
            lines += [f"  - {loss}" for loss in wording.losses(case)]
    return ["## Where io_uring is not the first", "", *lines, ""] if lines else []


def comparison(earlier: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """Against an earlier run."""
    said, slower, faster = compare.sections(earlier, report)
    lines = ["## Compared with an earlier run", "", *(f"- {line}" for line in said), ""]
    for title, some in (("Slower", slower), ("Faster", faster)):
        if some:
            lines += [f"{title}:", "", *table(compare.HEADINGS, compare.table(some), numbers=False), ""]
    return lines


def of_case(case: Mapping[str, Any]) -> list[str]:
    """A case: its tables, what was skipped, its claims."""
    lines = [f"### {case['name']}: {case['title']}", ""]
    if "failed" in case:
        return [*lines, f"**Failed**: {case['failed']}", ""]
    for point in case["points"]:
        rows = wording.rows(point, case["unit"])
        where = wording.place(point["point"])
        if where:
            lines += [f"{where}:", ""]
        lines += [*table(wording.HEADINGS, rows), ""] if rows else ["No lane ran.", ""]
    lines += [f"- {lane['name']}: {lane['what']}" for lane in case["lanes"]]
    lines += [f"- skipped: {text}" for text in wording.skipped(case)]
    lines += [f"- {SIGN[claim['verdict']]}: {wording.verdict(claim)}" for claim in case["claims"]]
    return [*lines, ""]


def machine(report: Mapping[str, Any]) -> list[str]:
    """The environment, in full."""
    rows = [(name, value) for name, value in flat(report["environment"]) if value]
    return ["## Environment", "", *table(("", ""), rows, numbers=False)]


def flat(found: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested figures as pairs."""
    rows = []
    for key, value in found.items():
        name = f"{before}{key.replace('_', ' ')}"
        rows += flat(value, f"{name}: ") if isinstance(value, Mapping) else [(name, str(value))]
    return rows


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    """A table; columns without anything are left out.

    Args:
        headings: Of all columns.
        rows: Of all cells.
        numbers: Whether all columns but the first go to the right.
    """
    shown = [index for index in range(len(headings)) if any(row[index] for row in rows)]
    ruler = ["---" if index == 0 or not numbers else "---:" for index in shown]
    lines = [[headings[index] for index in shown], ruler, *([row[index] for index in shown] for row in rows)]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
