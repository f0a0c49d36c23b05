"""Runs the lanes of a case against each other, at each of its points.

Lanes run one after the other in each round, every round beginning with another one, so that a busy machine disturbs
all alike. Before the rounds each lane runs once as a rehearsal: it warms caches, its bytes are verified, its memory
is looked at while nothing is left over from before, and it tells how long a round takes.
"""

from __future__ import annotations

import fnmatch
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

from .harness import Bench, Case, Lane, Missing, Point, Run, Wrong, label
from .judging import Found, judged, losses, reference, summary, times
from .measuring import Sample, give_back_memory, measure


class Settings(NamedTuple):
    """How it is measured."""

    rounds: int = 9
    quick: bool = False
    only: tuple[str, ...] = ()
    """Patterns of names: other lanes do not run. None: all do."""

    def wants(self, lane: str) -> bool:
        """Whether a lane is to run."""
        return not self.only or any(fnmatch.fnmatchcase(lane, pattern) for pattern in self.only)

    def points(self, case: Case) -> tuple[Point, ...]:
        """Where a case is measured."""
        return case.quick_points if self.quick else case.points


class Watcher:
    """Is told what happens, and shows nothing; `output.Progress` does."""

    def doing(self, case: Case, point: Point, lane: str, turn: str) -> None:
        """A lane begins a run."""

    def done(self, share: float) -> None:
        """So much of a case, 0 to 1, is over."""


class Entry(NamedTuple):
    """A lane that is open at a point."""

    lane: Lane
    run: Run
    rehearsal: Sample
    samples: list[Sample]


class Here(NamedTuple):
    """What came out at a point."""

    entries: list[Entry]
    skipped: dict[str, str]
    rounds: int


def run_case(
    case: Case,
    bench: Bench,
    settings: Settings,
    watcher: Watcher | None = None,
    *,
    deadline: float | None = None,
) -> dict[str, Any]:
    """Run a case at all its points.

    Args:
        case: The case.
        bench: What its lanes are given.
        settings: How it is measured.
        watcher: Is told what happens.
        deadline: When it should be over, by `time.monotonic`; None: never. There are fewer rounds then, and points and
            lanes for which there is no time are left out. A run that takes longer than that is not stopped.

    Returns:
        What came out, as it is written to JSON.

    Raises:
        Wrong: a lane did not do its work, or lanes differ in what they read.
        Exception: whatever a lane raises, except for Missing.
    """
    watcher = watcher or Watcher()
    points = settings.points(case)
    reports = []
    found = Found([], [], [])
    for index, point in enumerate(points):
        share = None if deadline is None else share_of(deadline, len(points) - index)
        if index and share is not None and share <= time.monotonic():
            here = Here([], dict.fromkeys((lane.name for lane in case.lanes), "no time left"), 0)
        else:
            here = Course(case, point, bench, settings, watcher, share).run()
        found.points.append(point)
        found.samples.append({entry.lane.name: entry.samples for entry in here.entries})
        found.skipped.append(here.skipped)
        reports.append(point_report(case, point, here))
        watcher.done((index + 1) / len(points))
    return {
        "name": case.name,
        "title": case.title,
        "group": case.group,
        "unit": case.unit,
        "axis": case.axis,
        "loses": case.loses,
        "lanes": [{"name": lane.name, "what": lane.what} for lane in case.lanes],
        "points": reports,
        "claims": [judged(claim, found, case.unit) for claim in case.claims],
        "losses": losses(found, case.unit) if case.reference is None else [],
    }


def share_of(deadline: float, points: int) -> float:
    """When the next of so many points should be over."""
    now = time.monotonic()
    return now + (deadline - now) / points


def point_report(case: Case, point: Point, here: Here) -> dict[str, Any]:
    """What came out at a point, as it is written to JSON."""
    samples = {entry.lane.name: entry.samples for entry in here.entries}
    base = reference(samples, case.unit, case.reference)
    compared = times(samples, case.unit, base)
    lanes = {
        entry.lane.name: {
            **summary(entry.samples, entry.rehearsal, case.unit),
            "times": compared.get(entry.lane.name, {}),
        }
        for entry in here.entries
    }
    skipped = [{"name": name, "reason": reason} for name, reason in here.skipped.items()]
    return {"point": dict(point), "rounds": here.rounds, "reference": base, "lanes": lanes, "skipped": skipped}


class Course(NamedTuple):
    """One point of a case, to be run."""

    case: Case
    point: Point
    bench: Bench
    settings: Settings
    watcher: Watcher
    deadline: float | None

    def run(self) -> Here:
        """Open the lanes that can run, rehearse them, and run the rounds."""
        with ExitStack() as at_end:
            began = time.monotonic()
            entries, skipped = self.rehearse(at_end)
            turns = self.settings.rounds if entries else 0
            if self.deadline is not None:
                # A rehearsal takes at least as long as a round: it opens and verifies besides.
                left, took = self.deadline - time.monotonic(), time.monotonic() - began
                turns = max(0, min(turns, int(left / max(took, 1e-6))))
            for turn in range(turns):
                start = turn % max(1, len(entries))
                for entry in entries[start:] + entries[:start]:
                    self.watcher.doing(self.case, self.point, entry.lane.name, f"round {turn + 1} of {turns}")
                    try:
                        self.prepare(entry.lane)
                        entry.samples.append(measure(entry.run, verify=turn == turns - 1))
                    except Missing as reason:  # it could before: its figures would be of fewer rounds than others'
                        skipped[entry.lane.name] = f"{reason}, in round {turn + 1}"
                        entries.remove(entry)
                    agree(entries, self.point)
            for entry in entries:
                if not entry.samples:  # no time for a round: better the rehearsal than nothing
                    entry.samples.append(entry.rehearsal)
            return Here(entries, skipped, turns)

    def rehearse(self, at_end: ExitStack) -> tuple[list[Entry], dict[str, str]]:
        """The lanes that can run, each opened and run once, and why the others cannot."""
        entries: list[Entry] = []
        skipped: dict[str, str] = {}
        for lane in self.case.lanes:
            if not self.settings.wants(lane.name):
                continue
            if entries and self.deadline is not None and time.monotonic() >= self.deadline:
                skipped[lane.name] = "no time left"
                continue
            self.watcher.doing(self.case, self.point, lane.name, "rehearsal")
            with ExitStack() as opened:
                try:
                    run = lane.open(self.bench, self.point, opened)
                    self.prepare(lane)
                    give_back_memory()
                    first = measure(run, verify=True)
                except Missing as reason:
                    skipped[lane.name] = str(reason)
                    continue
                at_end.push(opened.pop_all())
            entries.append(Entry(lane, run, first, []))
            agree(entries, self.point)
        return entries, skipped

    def prepare(self, lane: Lane) -> None:
        """What a lane wants done before each run."""
        if lane.before is not None:
            lane.before(self.bench, self.point)


def agree(entries: list[Entry], point: Point) -> None:
    """See that all digests are one.

    Raises:
        Wrong: they are not.
    """
    by_digest: dict[str, list[str]] = {}
    for entry in entries:
        for one in (entry.rehearsal, *entry.samples[-1:]):
            if one.digest is not None and entry.lane.name not in by_digest.setdefault(one.digest, []):
                by_digest[one.digest].append(entry.lane.name)
    if len(by_digest) > 1:
        sides = "; ".join(f"{', '.join(names)}: {digest[:16]}" for digest, names in by_digest.items())
        raise Wrong(f"lanes differ in what they read ({label(point) or 'single point'}): {sides}")
