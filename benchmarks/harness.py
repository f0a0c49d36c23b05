"""The words of the harness: what a case is made of, and what its lanes are given.

A case is a question. Its lanes are ways to do the same work; its points are places on one axis, such as a depth, at
which all lanes run. `running` runs them, `judging` says what came out, `output`, `markdown` and `report` show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .workspace import Workspace

Point = Mapping[str, int | str]
"""One place on a case's axis, and what else differs there: {"depth": 32}; {} for a case with a single point."""


class Missing(Exception):
    """A lane cannot run here; the message says why."""


class Wrong(Exception):
    """A lane did not do its work, or not the same as the others: there is nothing to time."""


class Measured(NamedTuple):
    """What a lane measured itself, such as a C program around its own loop; it replaces what the harness sees."""

    wall_ns: int
    user_ns: int | None = None
    system_ns: int | None = None
    peak_kib: int | None = None
    """The most memory that was resident at a time, of a program of its own."""


class Outcome(NamedTuple):
    """What one run of a lane's work did."""

    operations: int
    nbytes: int = 0
    digest: str | Callable[[], str] | None = None
    """Of what was read, where the lane can give it: all lanes of a point must agree. A callable is called when the
    clock has stopped, not after each run (hashing takes longer than reading), but after the first and the last."""
    latencies_ns: Sequence[int] | None = None
    """How long each operation took, where operations are single; any sequence or integer buffer."""
    measured: Measured | None = None


Run = Callable[[], Outcome]


class Lane(NamedTuple):
    """One way to do the work of a case."""

    name: str
    """Ours begin with "uring", C baselines with "C", fio is "fio": the report tells them apart by that."""
    what: str
    """A line for the reader."""
    open: Callable[[Bench, Point, ExitStack], Run]
    """Makes what it needs, outside of the measured time, or raises Missing; what it returns does the work once."""
    before: Callable[[Bench, Point], None] | None = None
    """Called before every run, unmeasured: to drop caches for a cold run, to remove what the last run made."""

    @property
    def kind(self) -> str:
        """See `kind_of`."""
        return kind_of(self.name)


class Claim(NamedTuple):
    """What must hold: the ratio of a lane to its rival, or a lane's own figure, is within a limit."""

    text: str
    lane: str
    rival: str | None
    """None: the limit is of the lane's own figure; see also `rival_point`."""
    metric: str
    """One of METRICS."""
    relation: str
    """Of "<=" and ">=": which."""
    limit: float
    point: Point | None = None
    """Where it is judged; None: at the case's last point."""
    aim: float | None = None
    rival_point: Point | None = None
    """The rival stands at another point (of the same lane, too): how cost grows. Such points are measured one after the
    other, so the ratio is that of the medians."""


METRICS = {
    "wall": "wall time an operation, ns",
    "cpu": "CPU time an operation, ns",
    "rate": "operations or bytes a second",
    "cpu_per_op_ns": "CPU time an operation, ns",
    "bytes_per_op": "memory an operation beyond what was there before the run, bytes",
    "p50": "median latency, ns",
    "p99": "99th percentile of latencies, ns",
}


class Case(NamedTuple):
    """A question, and the lanes that answer it."""

    name: str
    title: str
    group: str
    """The heading that it stands under."""
    unit: str
    """What the rate counts: "operations" or "bytes"."""
    axis: str | None
    """The key of `points` that plots have as x: "depth", "size", "operations", "in_flight"."""
    points: tuple[Point, ...]
    quick_points: tuple[Point, ...]
    lanes: tuple[Lane, ...]
    claims: tuple[Claim, ...] = ()
    loses: str = ""
    """Where io_uring is known to lose here, in a sentence."""
    reference: str | None = None
    """The lane that the others are compared with, where all are parts or variants of it and nobody wins or loses; None:
    the fastest of ours at each point."""


class Bench(NamedTuple):
    """What a lane is given."""

    workspace: Workspace
    quick: bool = False
    scale: float = 1.0
    """How much of its usual work a lane does: 1 in a full run, less in a quick one. A lane that does not take its
    number of operations from the point uses `scaled`."""

    def scaled(self, count: int, multiple: int = 1) -> int:
        """So much of `count`, as a multiple of `multiple` that is not 0."""
        return max(1, round(count * self.scale / multiple)) * multiple


def kind_of(lane: str) -> str:
    """What a lane is by its name: "ours", "floor" (C and fio: what there is to be had) or "rival"."""
    first = lane.replace(",", " ").split()[0]
    if first.split(".")[0] == "uring":
        return "ours"
    return "floor" if first in ("C", "fio") else "rival"


def label(point: Point) -> str:
    """A point in words: "depth 32, size 4096"."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in point.items())
