"""One run over many cases: shares out the time, keeps what was found when a case fails or somebody stops it."""

from __future__ import annotations

import datetime
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from . import environment
from .harness import Bench, Case
from .judging import OPEN, SHORT
from .running import Settings, Watcher, run_case

FORMAT = 1


def run_all(
    cases: Sequence[Case],
    bench: Bench,
    settings: Settings,
    watcher: Watcher,
    *,
    budget: float | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda case: None,
) -> dict[str, Any]:
    """Run cases one after the other.

    Args:
        cases: The cases.
        bench: What their lanes are given.
        settings: How they are measured.
        watcher: Is told what happens.
        budget: Seconds for all of it; None: as long as it takes. Each case gets a share of what is left, by its lanes
            and points.
        tell: Is given the report of each case when it is over.

    Returns:
        The report. A case that fails is in it with its reason and without figures; Ctrl-C ends the run, and the report
        has the cases before.
    """
    began = time.monotonic()
    report: dict[str, Any] = {
        "format": FORMAT,
        "made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "settings": {"rounds": settings.rounds, "quick": settings.quick, "only": list(settings.only), "budget": budget},
        "environment": environment.described(bench.workspace.root),
        "cases": [],
        "interrupted": False,
    }
    try:
        for index, case in enumerate(cases):
            now = time.monotonic()
            deadline = None
            if budget is not None:
                mine, *others = (weight(each, settings) for each in cases[index:])
                deadline = now + max(0.0, began + budget - now) * mine / (mine + sum(others))
            found = run_or_failure(case, bench, settings, watcher, deadline)
            found["seconds"] = round(time.monotonic() - now, 2)
            report["cases"].append(found)
            tell(found)
    except KeyboardInterrupt:
        report["interrupted"] = True
    report["seconds"] = round(time.monotonic() - began, 2)
    report["environment"]["load_after"] = environment.machine()["load"]
    return report


def weight(case: Case, settings: Settings) -> int:
    """How much time a case takes beside others: runs, and something to begin with."""
    return len(settings.points(case)) * len(case.lanes) + 4


def run_or_failure(
    case: Case, bench: Bench, settings: Settings, watcher: Watcher, deadline: float | None
) -> dict[str, Any]:
    """A case's report; when it fails, one that says so, and has no figures: they would be of something else."""
    try:
        return run_case(case, bench, settings, watcher, deadline=deadline)
    except Exception as error:
        return {
            **{key: getattr(case, key) for key in ("name", "title", "group", "unit", "axis", "loses")},
            "lanes": [{"name": lane.name, "what": lane.what} for lane in case.lanes],
            "points": [],
            "claims": [failed_claim(claim._asdict()) for claim in case.claims],
            "losses": [],
            "failed": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }


def failed_claim(claim: dict[str, Any]) -> dict[str, Any]:
    """A claim of a case that failed."""
    point = dict(claim["point"] or {})
    return {**claim, "point": point, "found": None, "verdict": OPEN, "reason": "the case failed"}


def status(report: dict[str, Any]) -> int:
    """The exit status: 1 when a case failed, or a claim falls short in a run that is not a quick one."""
    if report["interrupted"]:
        return 130
    failed = any("failed" in case for case in report["cases"])
    short = any(claim["verdict"] == SHORT for case in report["cases"] for claim in case["claims"])
    return 1 if failed or (short and not report["settings"]["quick"]) else 0
