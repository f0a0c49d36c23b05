"""`python -m benchmarks nop`: see README.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from . import nop_breakdown, nop_layers
from .harness import Case, run_case, table

CASES: dict[str, Case] = {case.name: case for case in (nop_layers.CASE,)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one case; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What uring costs.")
    parser.add_argument("case", choices=CASES, help="what to measure")
    parser.add_argument("--rounds", type=int, default=9, help="how often each lane runs; 7 or more for a claim")
    parser.add_argument("--quick", action="store_true", help="short rounds: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the report there, - for stdout instead of the table")
    parser.add_argument("--breakdown", action="store_true", help="where the nanoseconds of one Operation go, instead")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.breakdown:
        report = nop_breakdown.run(given.rounds, quick=given.quick)
        text = nop_breakdown.table(report)
    else:
        report = run_case(CASES[given.case], given.rounds, quick=given.quick)
        text = table(report)
    if given.json == "-":
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        print(text)
        if given.json:
            with open(given.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=2)
    failed = any(claim["holds"] is False for claim in report.get("claims", ()))
    return 1 if failed and not given.quick else 0  # short rounds judge nothing


if __name__ == "__main__":
    sys.exit(main())
