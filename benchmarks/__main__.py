"""`python -m benchmarks nop`, `registered`: see README.md."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from . import nop_breakdown, nop_layers, registered
from .harness import Case, run_case, table

CASES: dict[str, tuple[Case, ...]] = {"nop": (nop_layers.CASE,), "registered": registered.CASES}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one case, or several of one name; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What uring costs.")
    parser.add_argument("case", choices=CASES, help="what to measure")
    parser.add_argument("--rounds", type=int, default=9, help="how often each lane runs; 7 or more for a claim")
    parser.add_argument("--quick", action="store_true", help="short rounds: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the report there, - for stdout instead of the table")
    parser.add_argument("--breakdown", action="store_true", help="where the nanoseconds of one Operation go, instead")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.breakdown and given.case != "nop":
        parser.error("--breakdown takes a NOP apart")
    if given.breakdown:
        report = nop_breakdown.run(given.rounds, quick=given.quick)
        text = nop_breakdown.table(report)
    else:
        reports = [run_case(case, given.rounds, quick=given.quick) for case in CASES[given.case]]
        claims = [claim for each in reports for claim in each["claims"]]
        report = reports[0] if len(reports) == 1 else {"case": given.case, "claims": claims, "reports": reports}
        text = "\n\n".join(map(table, reports))
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
