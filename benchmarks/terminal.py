"""What one sees while it runs: progress on standard error, a table for each case when it is over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from . import environment, wording
from .harness import Case, Point
from .judging import OPEN, PASS, SHORT
from .running import Watcher

MARK = {PASS: "pass       ", SHORT: "FALLS SHORT", OPEN: "not judged "}


class Progress(Watcher):
    """A bar on a terminal; elsewhere a line for each case.

    Args:
        cases: How many there are.
    """

    def __init__(self, cases: int) -> None:
        tqdm.monitor_interval = 0  # no thread of its own beside what is measured
        form = "{percentage:3.0f}% |{bar:20}| {elapsed}<{remaining} {desc}"
        self.bar = tqdm(total=cases, disable=None, leave=False, bar_format=form, dynamic_ncols=True)
        self.finished = 0
        self.current = ""

    def doing(self, case: Case, point: Point, lane: str, turn: str) -> None:
        """A lane begins a run."""
        if self.bar.disable:
            if case.name != self.current:
                print(f"[{self.finished + 1}/{self.bar.total}] {case.name}", file=sys.stderr, flush=True)
            self.current = case.name
            return
        self.bar.set_description_str(f"{case.name} {wording.place(point)}: {lane}, {turn}")

    def done(self, share: float) -> None:
        """So much of a case is over."""
        self.bar.n = self.finished + share
        self.bar.refresh()

    def over(self) -> None:
        """A case is over."""
        self.finished += 1
        self.done(0)

    def say(self, text: str, *, to_stdout: bool = True) -> None:
        """Print above the bar."""
        self.bar.clear()
        print(text, file=sys.stdout if to_stdout else sys.stderr, flush=True)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column to the left, the others to the right; columns without anything are left out."""
    shown = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    widths = [max(len(row[index]) for row in rows) for index in shown]
    lines = []
    for row in rows:
        first, *others = (row[index] for index in shown)
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def table(case: dict[str, Any]) -> str:
    """A case as text."""
    lines = [f"== {case['name']}: {case['title']}"]
    if "failed" in case:
        return "\n".join([*lines, f"   FAILED: {case['failed']}", ""])
    for point in case["points"]:
        where = wording.place(point["point"])
        rows = wording.rows(point, case["unit"])
        if not rows:
            lines.append(f"{where or 'nothing'}: no lane ran")
            continue
        of = f"; {wording.TIMES} {point['reference']}" if point["reference"] else ""
        rounds = f"{point['rounds']} round{'s' * (point['rounds'] != 1)}" if point["rounds"] else "rehearsal only"
        head = f"{where + ', ' if where else ''}{rounds}{of}"
        lines += ["", f"-- {head}", *aligned([wording.HEADINGS, *rows])]
    notes = [f"   skipped: {text}" for text in wording.skipped(case)]
    notes += [f"   {MARK[claim['verdict']]} {wording.verdict(claim)}" for claim in case["claims"]]
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def summary(report: dict[str, Any]) -> str:
    """What the whole run amounts to, as text."""
    passing, short, rest = wording.counted(report)
    found = report["environment"]
    lines = ["== Summary", environment.one_line(found), f"load after: {found['load_after']}, {report['seconds']:.0f} s"]
    losing = [
        (case["name"], [str(loss) for loss in wording.losses(case)], case["loses"])
        for case in report["cases"]
        if case["losses"] or case["loses"]
    ]
    if losing:
        lines += ["", "-- Where io_uring is not the first (more than 2 % behind)"]
        for name, entries, known in losing:
            lines += [f"{name}{': ' + known if known else ''}", *(f"   {text}" for text in entries)]
    claims = [claim for case in report["cases"] for claim in case["claims"]]
    if claims:
        lines += ["", f"-- Claims: {passing} pass, {short} fall short, {rest} not judged"]
        lines += [f"   {MARK[claim['verdict']]} {wording.verdict(claim)}" for claim in claims]
        if report["settings"]["quick"]:
            lines.append("   (a quick run shows that everything runs; its ratios prove nothing)")
    lines += [f"FAILED: {case['name']}: {case['failed']}" for case in report["cases"] if "failed" in case]
    if report["interrupted"]:
        lines.append("INTERRUPTED: the cases that are missing did not run")
    return "\n".join(lines)
