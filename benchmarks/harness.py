"""Runs lanes against each other, and says what each costs.

A case is a question. Its lanes do the same work in different ways, at each point of its axis. They run one after the
other in each round, every round beginning with another one, so that a busy machine disturbs all alike; a ratio is taken
within a round, and the median of the rounds counts. What lanes have read is compared, outside of the measured time.
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from .workspace import Workspace

Point = Mapping[str, int | str]
NOWHERE: Point = {}
METRICS = ("wall", "cpu", "user", "system")


class Missing(Exception):
    """A lane cannot run here; the message says why."""


class Different(Exception):
    """Lanes that should have done the same have not."""


class Measured(NamedTuple):
    """What a lane in another process has measured itself, for all of its work."""

    wall_ns: float
    user_ns: float
    system_ns: float


class Done(NamedTuple):
    """What one run of a lane has done.

    Attributes:
        operations: how many.
        nbytes: bytes read or written.
        latencies_ns: of single operations.
        measured: by the lane itself, in place of the harness.
        extra: what else it has found, by name.
    """

    operations: int
    nbytes: int = 0
    latencies_ns: Sequence[int] | None = None
    measured: Measured | None = None
    extra: Mapping[str, float] | None = None


class Ready(NamedTuple):
    """A lane that is open.

    Attributes:
        run: does all of the work once; this is measured.
        check: a digest that all lanes of a point must agree on; not measured.
        before: called before each run; not measured.
    """

    run: Callable[[], Done]
    check: Callable[[], str] | None = None
    before: Callable[[], None] | None = None


class Bench(NamedTuple):
    """What lanes are opened with."""

    workspace: Workspace
    quick: bool

    def pick(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full


class Lane(NamedTuple):
    """One way to do the work of a case.

    Attributes:
        name: short, for columns.
        what: what it does, for the reader.
        open: makes what it needs, or raises Missing.
        only: the points where it runs, by the axis' value; None for all.
    """

    name: str
    what: str
    open: Callable[[Bench, Point, ExitStack], Ready]
    only: tuple[int | str, ...] | None = None


class Claim(NamedTuple):
    """What must hold, at a point of a case, as the median of the rounds.

    Attributes:
        text: in words.
        lane: whose.
        rival: what it is divided by; None where the metric itself is limited.
        metric: "wall", "cpu" (of one operation), "rate" (operations a second), "cpu_ns", or a name of `extra`.
        most: the upper limit, or None.
        least: the lower limit, or None.
        at: the axis' value.
        aim: what would be better still.
    """

    text: str
    lane: str
    rival: str | None
    metric: str
    most: float | None = None
    least: float | None = None
    at: int | str | None = None
    aim: float | None = None


class Case(NamedTuple):
    """A question, and the lanes that answer it.

    Attributes:
        name: by which it is chosen.
        title: a sentence.
        lanes: the ways.
        axis: the points' key, or None for a case of one point.
        values: of the axis.
        quick_values: the same for a quick run.
        ours: the lanes that are uring's; the others are rivals.
        claims: what must hold.
        loses: where io_uring is known to lose here, in a sentence.
        notes: what the reader should know.
        rounds: at most so many in a full run.
        shows: "rate" and "cpu", "latency", or a name of `extra`: what is plotted.
        unit: what an operation is.
    """

    name: str
    title: str
    lanes: tuple[Lane, ...]
    axis: str | None = None
    values: tuple[int | str, ...] = ()
    quick_values: tuple[int | str, ...] = ()
    ours: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    loses: str = ""
    notes: str = ""
    rounds: int = 99
    shows: tuple[str, ...] = ("rate", "cpu")
    unit: str = "operation"

    def points(self, quick: bool) -> list[Point]:
        """Where it is measured."""
        if self.axis is None:
            return [NOWHERE]
        return [{self.axis: value} for value in (self.quick_values if quick else self.values)]


class Spent(NamedTuple):
    """What one run took, nanoseconds for one operation."""

    wall: float
    user: float
    system: float
    done: Done
    peak_kib: int

    @property
    def cpu(self) -> float:
        """User and system time."""
        return self.user + self.system


# --- measuring ---------------------------------------------------------------------------------------


def _peak_kib(*, reset: bool = False) -> int:
    """The most memory that this process has held since the last reset."""
    try:
        if reset:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0


def _cpu() -> tuple[float, float]:
    """User and system nanoseconds of this process, its threads of io-wq and SQPOLL included, and of its children."""
    user = system = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        user += usage.ru_utime
        system += usage.ru_stime
    return user * 1e9, system * 1e9


def measure(ready: Ready) -> Spent:
    """Run a lane once."""
    if ready.before is not None:
        ready.before()
    gc.collect()
    _peak_kib(reset=True)
    user, system = _cpu()
    wall = time.perf_counter_ns()
    done = ready.run()
    wall = time.perf_counter_ns() - wall
    user_after, system_after = _cpu()
    peak = _peak_kib()
    taken = done.measured or Measured(wall, user_after - user, system_after - system)
    count = max(1, done.operations)
    return Spent(taken.wall_ns / count, taken.user_ns / count, taken.system_ns / count, done, peak)


def timed(loop: Callable[[int], None], per_batch: int) -> Callable[[int], Done]:
    """A Python loop over batches as what a lane runs."""
    loop(2)

    def run(batches: int) -> Done:
        loop(batches)
        return Done(batches * per_batch)

    return run


# --- rounds ------------------------------------------------------------------------------------------


class Table:
    """What the lanes of a case took at one point, round by round."""

    def __init__(self, case: Case, point: Point) -> None:
        self.case, self.point = case, point
        self.spent: dict[str, list[Spent]] = {}
        self.skipped: dict[str, str] = {}

    def ratio(self, lane: str, rival: str, metric: str) -> float | None:
        """The median over the rounds of a lane's value divided by a rival's."""
        if lane not in self.spent or rival not in self.spent:
            return None
        pairs = zip(self.spent[lane], self.spent[rival], strict=True)
        found = [value(a, metric) / divisor for a, b in pairs if (divisor := value(b, metric))]
        return statistics.median(found) if found else None

    def median(self, lane: str, metric: str) -> float | None:
        """The median of a lane's value."""
        values = [value(each, metric) for each in self.spent.get(lane, ())]
        return statistics.median(values) if values else None


def value(spent: Spent, metric: str) -> float:
    """One number of a run."""
    if metric in METRICS:
        return float(getattr(spent, metric))
    if metric == "cpu_ns":
        return spent.cpu
    if metric == "rate":
        return 1e9 / spent.wall if spent.wall else 0.0
    return float((spent.done.extra or {})[metric])


def run_point(bench: Bench, case: Case, point: Point, rounds: int, tick: Callable[[str], None]) -> Table:
    """All lanes of a case at one point."""
    table = Table(case, point)
    with ExitStack() as at_end:
        ready: dict[str, Ready] = {}
        for lane in case.lanes:
            if lane.only is not None and case.axis is not None and point[case.axis] not in lane.only:
                continue
            try:
                ready[lane.name] = lane.open(bench, point, at_end)
            except Missing as reason:
                table.skipped[lane.name] = str(reason)
        names = list(ready)
        table.spent = {name: [] for name in names}
        for turn in range(rounds):
            start = turn % len(names) if names else 0
            for name in names[start:] + names[:start]:
                tick(name)
                table.spent[name].append(measure(ready[name]))
        compare_digests(case, point, ready)
    return table


def compare_digests(case: Case, point: Point, ready: Mapping[str, Ready]) -> None:
    """All lanes have read the same.

    Raises:
        Different: they have not.
    """
    digests: dict[str, list[str]] = {}
    for name, lane in ready.items():
        if lane.check is not None:
            digests.setdefault(lane.check(), []).append(name)
    if len(digests) > 1:
        shown = "; ".join(f"{', '.join(names)}: {digest[:12]}" for digest, names in digests.items())
        raise Different(f"{case.name} {dict(point)}: what was read differs: {shown}")


def run_case(
    bench: Bench, case: Case, rounds: int, tick: Callable[[str, Point], None] = lambda *_: None
) -> dict[str, Any]:
    """Run a case; what came out, as it is written to JSON."""
    rounds = min(rounds, case.rounds)
    tables = []
    for point in case.points(bench.quick):
        tables.append(run_point(bench, case, point, rounds, lambda name, at=point: tick(name, at)))
    return {
        "case": case.name,
        "title": case.title,
        "axis": case.axis,
        "unit": case.unit,
        "shows": list(case.shows),
        "ours": list(case.ours),
        "loses": case.loses,
        "notes": case.notes,
        "rounds": rounds,
        "lanes": [{"name": lane.name, "what": lane.what} for lane in case.lanes],
        "points": [described(table) for table in tables],
        "claims": [judged(claim, case, tables) for claim in case.claims],
    }


# --- what came out -----------------------------------------------------------------------------------


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and quartiles."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def percentiles(latencies: Iterable[int]) -> dict[str, float]:
    """p50, p99 and p99.9, in nanoseconds."""
    ordered = sorted(latencies)
    last = len(ordered) - 1
    return {f"p{share}": float(ordered[min(last, int(len(ordered) * share / 100))]) for share in (50, 99, 99.9)}


def described(table: Table) -> dict[str, Any]:
    """A point as it is written to JSON."""
    lanes = []
    for name, runs in table.spent.items():
        lane: dict[str, Any] = {
            "name": name,
            "operations": runs[0].done.operations,
            **{f"{metric}_ns": spread(value(run, metric) for run in runs) for metric in METRICS},
            "rate": spread(value(run, "rate") for run in runs),
            "peak_kib": max(run.peak_kib for run in runs),
        }
        if runs[0].done.nbytes:
            lane["bytes_rate"] = spread(
                run.done.nbytes / (run.wall * run.done.operations) * 1e9 for run in runs if run.wall
            )
        latencies = [one for run in runs for one in run.done.latencies_ns or ()]
        if latencies:
            lane["latency_ns"] = percentiles(latencies)
        extra = runs[0].done.extra or {}
        if extra:
            lane["extra"] = {key: spread(value(run, key) for run in runs) for key in extra}
        ours = [own for own in table.case.ours if own in table.spent]
        lane["ratio"] = {
            own: {metric: round(found, 3) for metric in ("wall", "cpu") if (found := table.ratio(own, name, metric))}
            for own in ours
            if own != name
        }
        lanes.append(lane)
    return {"at": dict(table.point), "lanes": lanes, "skipped": table.skipped}


def judged(claim: Claim, case: Case, tables: Sequence[Table]) -> dict[str, Any]:
    """Whether a claim holds; None when a lane of it did not run."""
    found: float | None = None
    for table in tables:
        if case.axis is None or table.point.get(case.axis) == claim.at:
            if claim.rival is None:
                found = table.median(claim.lane, claim.metric)
            else:
                found = table.ratio(claim.lane, claim.rival, claim.metric)
    holds = None
    if found is not None:
        holds = (claim.most is None or found <= claim.most) and (claim.least is None or found >= claim.least)
    return {**claim._asdict(), "found": None if found is None else round(found, 3), "holds": holds}


def verdict(claim: Mapping[str, Any]) -> str:
    """A judged claim in words."""
    words = {True: "pass", False: "FALLS SHORT", None: "not judged: a lane did not run"}[claim["holds"]]
    limit = f"<= {claim['most']:g}" if claim["most"] is not None else f">= {claim['least']:g}"
    aim = f", aim {claim['aim']:g}" if claim["aim"] else ""
    found = "" if claim["found"] is None else f": {claim['found']:.2f}"
    return f"{words:12} {claim['text']} ({limit}{aim}){found}"


def note(text: str) -> None:
    """Tell something beside the table."""
    print(text, file=sys.stderr)
