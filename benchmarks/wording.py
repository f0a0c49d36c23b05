"""Numbers and verdicts in words, the same in the terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .harness import label
from .judging import PASS, SHORT

TIMES = "\u00d7"


def scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """A number with three digits and the largest unit of `steps` that fits it, which come largest first."""
    size, unit = next((step for step in steps if abs(value) >= step[0] * 0.9995), steps[-1])
    value /= size
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f}{unit}"


def duration(nanoseconds: float) -> str:
    """Nanoseconds in words: "1.25 µs"."""
    if abs(nanoseconds) < 1000:
        return f"{nanoseconds:.0f} ns"
    return scaled(nanoseconds, ((1e9, " s"), (1e6, " ms"), (1e3, " µs")))


def rate(value: float, unit: str) -> str:
    """Operations or bytes a second in words: "83.1 k/s", "2.40 GB/s"."""
    if unit == "bytes":
        return scaled(value, ((1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s"), (1, " B/s")))
    return scaled(value, ((1e6, " M/s"), (1e3, " k/s"), (1, " /s")))


def memory(kib: float | None) -> str:
    """KiB in words: "1.20 GiB"."""
    return "" if kib is None else scaled(kib, ((1 << 20, " GiB"), (1 << 10, " MiB"), (1, " KiB")))


def amount(key: str, value: object) -> str:
    """One coordinate of a point in words: sizes in KiB and MiB, large counts in K and M."""
    if not isinstance(value, int):
        return str(value)
    if key in ("size", "nbytes") and value >= 1024:
        return f"{value >> 20} MiB" if value % (1 << 20) == 0 else f"{value / 1024:g} KiB"
    if value >= 1000 and value % 1000 == 0:
        return f"{value // 1000000} M" if value % 1000000 == 0 else f"{value // 1000} K"
    return str(value)


def place(point: Mapping[str, Any]) -> str:
    """A point in words: "depth 32, size 4 KiB"."""
    return label({key: amount(key, value) for key, value in point.items()})


def around(spread: Mapping[str, float], form: Any) -> str:
    """A median with its quartiles, each written by `form`, when they differ."""
    low, middle, high = (form(spread[key]) for key in ("low", "median", "high"))
    return str(middle) if low == high else f"{middle} ({low} - {high})"


class Row(NamedTuple):
    """One lane at one point, in words."""

    lane: str
    rate: str
    wall: str
    cpu: str
    parts: str
    """CPU time as user + system."""
    latency: str
    peak: str
    times: str
    cpu_times: str


HEADINGS = Row(
    lane="",
    rate="rate",
    wall="time/op (quartiles)",
    cpu="CPU/op",
    parts="user + system",
    latency="p50 / p99 / p99.9",
    peak="peak memory",
    times=f"{TIMES} time",
    cpu_times=f"{TIMES} CPU",
)


def row(name: str, lane: Mapping[str, Any], unit: str) -> Row:
    """A lane's figures in words."""
    latency = lane.get("latency_ns")
    return Row(
        name,
        rate(lane["rate"]["median"], unit),
        around(lane["wall_ns"], duration),
        duration(lane["cpu_ns"]["median"]),
        f"{duration(lane['user_ns'])} + {duration(lane['system_ns'])}",
        " / ".join(duration(latency[key]) for key in ("p50", "p99", "p99.9")) if latency else "",
        memory(lane["peak_kib"]),
        times(lane["times"].get("wall")),
        times(lane["times"].get("cpu")),
    )


def times(value: float | None) -> str:
    """A ratio in words."""
    return "" if value is None else scaled(value, ((1, ""),)) if value < 100 else f"{value:.0f}"


def rows(point: Mapping[str, Any], unit: str) -> list[Row]:
    """All lanes of a point, in the order of the case."""
    return [row(name, lane, unit) for name, lane in point["lanes"].items()]


def verdict(claim: Mapping[str, Any]) -> str:
    """What a claim says and what was found, in a sentence without the verdict itself."""
    where = f" at {place(claim['point'])}" if claim["point"] else ""
    if claim["found"] is None:
        return f"{claim['text']}{where}: {claim['reason']}"
    aim = f", aim {number(claim['aim'], claim)}" if claim["aim"] is not None else ""
    return (
        f"{claim['text']}{where}: found {number(claim['found'], claim)}, "
        f"limit {claim['relation'].replace('<=', '≤').replace('>=', '≥')} {number(claim['limit'], claim)}{aim}"
    )


def number(value: float, claim: Mapping[str, Any]) -> str:
    """A claim's figure: a ratio, or with the unit of its metric."""
    if claim["rival"] is not None:
        return f"{value:.4g}{TIMES}" if value < 10 else f"{value:.1f}{TIMES}"
    if claim["metric"] == "bytes_per_op":
        return f"{value:.1f} bytes"
    return f"{value:,.0f}" if claim["metric"] == "rate" else duration(value)


class Loss(NamedTuple):
    """A lane that is ahead of ours, at some or all points of a case."""

    rival: str
    kind: str
    wall: tuple[float, float] | None
    """From how many to how many times the rival's time ours is; None where it is not behind."""
    cpu: tuple[float, float] | None
    where: str

    def __str__(self) -> str:
        """In a line."""
        return f"{self.span} of {self.rival}{f' ({self.where})' if self.where else ''}"

    @property
    def span(self) -> str:
        """The ratios in words."""
        found = [f"{span(each)} the {what}" for each, what in ((self.wall, "time"), (self.cpu, "CPU time")) if each]
        return ", ".join(found)


def span(ends: tuple[float, float]) -> str:
    """From which ratio to which."""
    low, high = (f"{value:.2f}" for value in ends)
    return f"{high}{TIMES}" if low == high else f"{low} to {high}{TIMES}"


def losses(case: Mapping[str, Any]) -> list[Loss]:
    """Where io_uring is not the first in a case: an entry for each lane that is ahead somewhere."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in case["losses"]:
        found.setdefault(entry["rival"], []).append(entry)
    points = sum(bool(point["lanes"]) for point in case["points"])
    lines = []
    for rival, entries in found.items():
        ends: dict[str, tuple[float, float] | None] = {}
        for metric in ("wall", "cpu"):
            ratios = [entry["ratio"] for entry in entries if entry["metric"] == metric]
            ends[metric] = (min(ratios), max(ratios)) if ratios else None
        places = list(dict.fromkeys(place(entry["point"]) for entry in entries))
        worst = place(max(entries, key=lambda entry: float(entry["ratio"]))["point"])
        where = places[0] if len(places) == 1 else f"at {len(places)} of {points} points, most at {worst}"
        lines.append(Loss(rival, entries[0]["kind"], ends["wall"], ends["cpu"], where))
    return lines


def skipped(case: Mapping[str, Any]) -> list[str]:
    """The lanes that did not run, each reason once, with the points where it was so."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for point in case["points"]:
        for lane in point["skipped"]:
            reasons.setdefault((lane["name"], lane["reason"]), []).append(place(point["point"]))
    found = []
    for (name, reason), places in reasons.items():
        where = "" if len(places) == len(case["points"]) else f" ({'; '.join(places)})"
        found.append(f"{name}{where}: {reason}")
    return found


def counted(report: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many claims of a report pass, fall short, and are not judged."""
    verdicts = [claim["verdict"] for case in report["cases"] for claim in case.get("claims", ())]
    passing, short = verdicts.count(PASS), verdicts.count(SHORT)
    return passing, short, len(verdicts) - passing - short
