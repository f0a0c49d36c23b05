"""`python -m benchmarks [CASE ...]`: see README.md."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import cases, output
from .environment import environment, headline
from .harness import Bench, Case, Point, run_case
from .workspace import Workspace

ROUNDS, QUICK_ROUNDS = 5, 2


def all_cases() -> dict[str, Case]:
    """Every case of every module below cases/, by name."""
    found = {}
    for module in sorted(pkgutil.iter_modules(cases.__path__), key=lambda module: module.name):
        for case in importlib.import_module(f"{cases.__name__}.{module.name}").CASES:
            found[case.name] = case
    return found


def parse(arguments: Sequence[str] | None, known: dict[str, Case]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What uring costs, beside others.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which cases; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="tell what cases there are")
    parser.add_argument("--rounds", type=int, help=f"rounds at most; {ROUNDS} unless it is quick")
    parser.add_argument("--quick", action="store_true", help="little work, two rounds: does it run? Judges nothing")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - for stdout instead of tables")
    parser.add_argument("--markdown", metavar="FILE", help="write it as Markdown")
    parser.add_argument("--html", metavar="FILE", help="write it as one page with plots (needs matplotlib)")
    parser.add_argument("--from", dest="source", metavar="JSON", help="show an earlier report instead of measuring")
    parser.add_argument("--compare", metavar="JSON", help="tell what has changed since an earlier report")
    parser.add_argument("--breakdown", action="store_true", help="where the nanoseconds of one Operation go, instead")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.cases if name not in known]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are: {', '.join(known)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.html:
        try:
            importlib.import_module("matplotlib")
        except ImportError:
            parser.error("--html needs matplotlib: pip install '.[bench]'")
    return given


def measure(given: argparse.Namespace, known: dict[str, Case]) -> dict[str, Any]:
    """Run the cases; the report."""
    workspace = Workspace()
    bench = Bench(workspace, given.quick)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    names = given.cases or list(known)
    report: dict[str, Any] = {"environment": environment(workspace.folder), "quick": given.quick, "cases": []}
    began = time.monotonic()
    quiet = given.json == "-"
    with output.Progress(names) as progress:
        for name in names:
            case = known[name]

            def tick(lane: str, point: Point, case: Case = case) -> None:
                progress.tell(case.name, lane, point)

            found = run_case(bench, case, rounds, tick)
            report["cases"].append(found)
            progress.advance("" if quiet else output.table(found))
    report["seconds"] = round(time.monotonic() - began, 1)
    report["environment"]["load_at_end"] = environment(workspace.folder)["load"]
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, show, write; 1 when a claim falls short in a full run."""
    known = all_cases()
    given = parse(arguments, known)
    if given.list:
        for name, case in known.items():
            print(f"{name:20} {case.title}")
        return 0
    if given.breakdown:
        from . import nop_breakdown

        print(nop_breakdown.table(nop_breakdown.run(given.rounds or ROUNDS, quick=given.quick)))
        return 0
    if given.source:
        report = json.loads(Path(given.source).read_text(encoding="utf-8"))
        print("\n\n".join(map(output.table, report["cases"])))
    else:
        print(headline(environment(Workspace().folder)), file=sys.stderr)
        report = measure(given, known)
    write(given, report)
    claims = [claim for case in report["cases"] for claim in case["claims"]]
    return 1 if not report["quick"] and any(claim["holds"] is False for claim in claims) else 0


def write(given: argparse.Namespace, report: dict[str, Any]) -> None:
    """Put the report where it was asked for."""
    if given.json == "-":
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        print("\n" + output.summary(report))
        if given.json:
            Path(given.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given.markdown:
        Path(given.markdown).write_text(output.markdown(report), encoding="utf-8")
    if given.html:
        from . import html

        Path(given.html).write_text(html.page(report), encoding="utf-8")
    if given.compare:
        from . import compare

        print(compare.compared(json.loads(Path(given.compare).read_text(encoding="utf-8")), report))


if __name__ == "__main__":
    sys.exit(main())
