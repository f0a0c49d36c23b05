"""What samples amount to: medians and quartiles, ratios, claims, and where io_uring loses.

A ratio is taken within a round, between lanes that a busy machine disturbs alike, and the median of the rounds counts.
Everything is taken for one operation, so lanes may do different amounts of the same work.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .harness import METRICS, Claim, Point, kind_of, label
from .measuring import CURVE, Sample

PASS, SHORT, OPEN = "pass", "falls short", "not judged"
NOISE = 1.02
"""Ratios nearer to 1 than this are not called a loss."""

Samples = Mapping[str, Sequence[Sample]]
"""Those of each lane at a point, a sample a round."""


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and quartiles."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def figure(sample: Sample, metric: str, unit: str) -> float | None:
    """One figure of a sample, one of harness.METRICS; None when it has none."""
    count = sample.operations
    if metric == "wall":
        return sample.wall_ns / count
    if metric in ("cpu", "cpu_per_op_ns"):
        return sample.cpu_ns / count
    if metric == "rate":
        return (sample.nbytes if unit == "bytes" else count) * 1e9 / sample.wall_ns
    if metric == "bytes_per_op":
        return None if sample.grown_kib is None else sample.grown_kib * 1024 / count
    if metric in ("p50", "p99"):
        return None if sample.curve is None else float(sample.curve[CURVE.index(int(metric[1:]) / 100)])
    raise ValueError(f"expected a metric of harness.METRICS, found {metric!r}")


def ratio(lane: Sequence[Sample], rival: Sequence[Sample], metric: str, unit: str) -> float | None:
    """The median over the rounds of how many times the rival's figure a lane's is; None when it has none."""
    found = [
        (figure(mine, metric, unit), figure(other, metric, unit)) for mine, other in zip(lane, rival, strict=False)
    ]
    pairs = [mine / other for mine, other in found if mine is not None and other]
    return statistics.median(pairs) if pairs else None


def middle(samples: Sequence[Sample], metric: str, unit: str) -> float | None:
    """The median over the rounds of a lane's own figure; the highest of memory."""
    found = [value for sample in samples if (value := figure(sample, metric, unit)) is not None]
    if not found:
        return None
    return max(found) if metric == "bytes_per_op" else statistics.median(found)


def summary(samples: Sequence[Sample], rehearsal: Sample, unit: str) -> dict[str, Any]:
    """What a lane's samples amount to, for one operation."""
    cpu = spread(sample.cpu_ns / sample.operations for sample in samples)
    whole = sum(sample.cpu_ns for sample in samples)
    user = cpu["median"] * sum(sample.user_ns for sample in samples) / whole if whole else 0.0
    grown = [sample.grown_kib for sample in (rehearsal, *samples) if sample.grown_kib is not None]
    found: dict[str, Any] = {
        "operations": samples[-1].operations,
        "nbytes": samples[-1].nbytes,
        "wall_ns": spread(sample.wall_ns / sample.operations for sample in samples),
        "cpu_ns": cpu,
        "user_ns": round(user, 3),
        "system_ns": round(cpu["median"] - user, 3),
        "rate": spread(figure(sample, "rate", unit) or 0 for sample in samples),
        "peak_kib": max(sample.peak_kib for sample in (rehearsal, *samples)),
        "grown_kib": max(grown, default=None),
        "verified": rehearsal.digest is not None,
        "runs": [
            {"wall_ns": sample.wall_ns, "user_ns": sample.user_ns, "system_ns": sample.system_ns} for sample in samples
        ],
    }
    curves = [sample.curve for sample in samples if sample.curve is not None]
    if curves:
        curve = [round(statistics.median(values)) for values in zip(*curves, strict=True)]
        named = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        found["latency_ns"] = {name: curve[CURVE.index(share)] for name, share in named.items()}
        found["latency_curve"] = [[share, value] for share, value in zip(CURVE, curve, strict=True)]
    return found


def reference(samples: Samples, unit: str, wanted: str | None = None) -> str | None:
    """The lane that the others at a point are compared with: `wanted`, the fastest of ours, or the first."""
    if wanted in samples:
        return wanted
    ours = [name for name in samples if kind_of(name) == "ours"]
    if not ours:
        return next(iter(samples), None)
    return min(ours, key=lambda name: middle(samples[name], "wall", unit) or 0)


def times(samples: Samples, unit: str, base: str | None) -> dict[str, dict[str, float]]:
    """How many times the wall time and CPU time of the reference each lane of a point takes."""
    if base is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    for name, mine in samples.items():
        both = {metric: ratio(mine, samples[base], metric, unit) for metric in ("wall", "cpu")}
        found[name] = {metric: round(value, 4) for metric, value in both.items() if value is not None}
    return found


class Found(NamedTuple):
    """What a case's points brought, in order."""

    points: list[Point]
    samples: list[Samples]
    skipped: list[dict[str, str]]
    """At each point: the lanes that did not run, and why."""

    def lane(self, point: Point, lane: str) -> Sequence[Sample] | str:
        """The samples of a lane at a point, or why there are none."""
        if point not in self.points:
            return f"{label(point) or 'the point'} is not in this run"
        index = self.points.index(point)
        if lane not in self.samples[index]:
            return f"{lane} did not run: {self.skipped[index].get(lane, 'left out')}"
        return self.samples[index][lane]


def losses(found: Found, unit: str) -> list[dict[str, Any]]:
    """Where another lane takes less time than the fastest of ours, or less CPU time than the thriftiest of ours."""
    rows = []
    for point, here in zip(found.points, found.samples, strict=True):
        ours = [name for name in here if kind_of(name) == "ours"]
        for metric in ("wall", "cpu") if ours else ():
            costs = {name: middle(here[name], metric, unit) or 0 for name in ours}
            best = min(ours, key=costs.__getitem__)
            for rival in here:
                value = ratio(here[best], here[rival], metric, unit)
                if rival not in ours and value is not None and value > NOISE:
                    row = {"point": dict(point), "lane": best, "rival": rival, "kind": kind_of(rival)}
                    rows.append({**row, "metric": metric, "ratio": round(value, 3)})
    return rows


def judged(claim: Claim, found: Found, unit: str) -> dict[str, Any]:
    """Whether a claim holds, with what was found; not judged, with the reason, when it cannot be."""
    if claim.metric not in METRICS or claim.relation not in ("<=", ">="):
        raise ValueError(f"{claim.text}: expected <= or >= and one of {', '.join(METRICS)}, found {claim}")
    where = claim.point if claim.point is not None else found.points[-1] if found.points else {}
    row: dict[str, Any] = {**claim._asdict(), "point": dict(where), "found": None, "verdict": OPEN, "reason": ""}
    row["rival_point"] = None if claim.rival_point is None else dict(claim.rival_point)
    value = found_for(claim, where, found, unit)
    if isinstance(value, str):
        return {**row, "reason": value}
    holds = value <= claim.limit if claim.relation == "<=" else value >= claim.limit
    return {**row, "found": round(value, 4), "verdict": PASS if holds else SHORT}


def found_for(claim: Claim, where: Point, found: Found, unit: str) -> float | str:
    """The figure that a claim is about, or why there is none."""
    mine = found.lane(where, claim.lane)
    if isinstance(mine, str):
        return mine
    if claim.rival is None:
        value = middle(mine, claim.metric, unit)
    else:
        other = found.lane(where if claim.rival_point is None else claim.rival_point, claim.rival)
        if isinstance(other, str):
            return other
        if claim.rival_point is None:
            value = ratio(mine, other, claim.metric, unit)
        else:
            above, below = middle(mine, claim.metric, unit), middle(other, claim.metric, unit)
            value = above / below if above is not None and below else None
    return f"no {claim.metric} was measured" if value is None else value
