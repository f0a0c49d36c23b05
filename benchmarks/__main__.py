"""`python -m benchmarks [CASE ...]`: see README.md."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from . import catalogue, compare, front, markdown, session, terminal
from .compiled import BUILD
from .harness import Bench, Case
from .running import Settings
from .workspace import Workspace

QUICK_SECONDS = 100.0
"""For everything with --quick: what must end within two minutes needs some to spare."""
QUICK_SCALE = 0.05


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What uring costs, beside C and beside others."
    )
    add = made.add_argument
    add("cases", nargs="*", metavar="CASE", help="names, groups or patterns; all when none is given")
    add("--list", action="store_true", help="list the cases and their lanes")
    add("--rounds", type=int, help="how often each lane runs at each point (9; 7 or more for a claim)")
    add("--quick", action="store_true", help="everything within two minutes: does it work? judges nothing")
    add("--budget", type=float, metavar="SECONDS", help="at most about so long for everything, with fewer rounds")
    add("--only-lane", action="append", default=[], metavar="NAME", help="run only such lanes (pattern, repeatable)")
    add("--workspace", type=Path, default=BUILD, metavar="FOLDER", help="where files are read and written")
    add("--json", metavar="FILE", help="write all figures there, - for stdout instead of the tables")
    add("--markdown", metavar="FILE", help="write the report there as Markdown")
    add("--html", metavar="FILE", help="write the report there as one page with plots")
    add("--front", metavar="FILE", help="write the plot of the project's front page there, as SVG")
    add("--from", dest="earlier", metavar="FILE", help="run nothing: take the figures of an earlier --json")
    add("--compare", metavar="OLD.json", help="compare with an earlier run")
    add("--breakdown", action="store_true", help="where the nanoseconds of one Operation go: the case nop-parts")
    return made


def main(arguments: Sequence[str] | None = None, *, cases: Sequence[Case] | None = None) -> int:
    """Run cases and report.

    Args:
        arguments: The command line; None: the process's own.
        cases: Choose from these; None: from all there are.

    Returns:
        The exit status: 1 when a case failed, or a claim falls short in a full run.
    """
    makes = parser()
    given = makes.parse_args(arguments)
    if given.rounds is not None and given.rounds < 1:
        makes.error("--rounds must be at least 1")
    if given.breakdown:
        given.cases.append("nop-parts")
    try:
        everything = catalogue.discovered() if cases is None else {case.name: case for case in cases}
        wanted = catalogue.chosen(everything, given.cases)
        earlier = loaded(given.compare) if given.compare else None
        if given.html and importlib.util.find_spec("matplotlib") is None:  # imported when everything is measured
            raise ValueError("--html needs matplotlib (pip install '.[bench]')")
    except (OSError, ValueError) as error:
        makes.error(str(error))
    if given.list:
        print(listing(wanted))
        return 0
    report = loaded(given.earlier) if given.earlier else measured(given, wanted)
    if given.json != "-":
        print(terminal.summary(report))
    write(given, report, earlier)
    return session.status(report)


def measured(given: argparse.Namespace, wanted: Sequence[Case]) -> dict[str, Any]:
    """Run the cases, with tables as they come."""
    settings = Settings(given.rounds or (3 if given.quick else 9), given.quick, tuple(given.only_lane))
    bench = Bench(Workspace(given.workspace), given.quick, QUICK_SCALE if given.quick else 1.0)
    budget = given.budget or (QUICK_SECONDS if given.quick else None)
    progress = terminal.Progress(len(wanted))

    def tell(case: dict[str, Any]) -> None:
        if given.json != "-":
            progress.say(terminal.table(case))
        if "failed" in case:
            progress.say(case["traceback"], to_stdout=False)
        progress.over()

    with progress.bar:
        return session.run_all(wanted, bench, settings, progress, budget=budget, tell=tell)


def write(given: argparse.Namespace, report: dict[str, Any], earlier: dict[str, Any] | None) -> None:
    """Write what was asked for."""
    if earlier is not None:
        print(compare.text(earlier, report), file=sys.stderr if given.json == "-" else sys.stdout)
    if given.json:
        with nullcontext(sys.stdout) if given.json == "-" else open(given.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    if given.markdown:
        Path(given.markdown).write_text(markdown.document(report, earlier), encoding="utf-8")
    if given.front:
        Path(given.front).write_text(front.plot(report), encoding="utf-8")
    if given.html:
        from .report import page

        Path(given.html).write_text(page(report, earlier), encoding="utf-8")


def loaded(path: str) -> dict[str, Any]:
    """The report of an earlier run.

    Raises:
        ValueError: it is not one, or of another format.
    """
    try:
        report = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no report: {error}") from error
    if not isinstance(report, dict) or report.get("format") != session.FORMAT:
        raise ValueError(f"{path}: expected a report of format {session.FORMAT} that --json wrote")
    return report


def listing(cases: Sequence[Case]) -> str:
    """The cases with their lanes, as text."""
    lines: list[str] = []
    group = None
    for case in cases:
        if case.group != group:
            group = case.group
            lines += ["", group]
        lines.append(f"  {case.name}: {case.title}")
        lines += [f"      {lane.name}: {lane.what}" for lane in case.lanes]
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    sys.exit(main())
