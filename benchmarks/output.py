"""A report as text: tables for the terminal while it runs, a summary, Markdown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from .environment import headline
from .harness import Point, verdict


class Progress:
    """Which case and lane runs, on the terminal's last line, with the tables of finished cases above it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._bar = tqdm(total=len(names), unit="case", file=sys.stderr, dynamic_ncols=True, disable=None)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def tell(self, case: str, lane: str, point: Point) -> None:
        """What runs now."""
        where = " ".join(f"{key} {value}" for key, value in point.items())
        self._bar.set_postfix_str(f"{case} {where}: {lane}")

    def advance(self, text: str) -> None:
        """A case has ended."""
        if text:
            self._bar.write(text + "\n", file=sys.stdout)
        self._bar.update()


def number(value: float) -> str:
    """Three digits that matter, with a prefix of thousands."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{prefix}" if value / limit < 100 else f"{value / limit:.0f}{prefix}"
    return f"{value:.3g}"


def duration(nanoseconds: float) -> str:
    """A time with its unit."""
    for limit, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= limit:
            return (
                f"{nanoseconds / limit:.3g} {unit}"
                if nanoseconds / limit < 100
                else f"{nanoseconds / limit:.0f} {unit}"
            )
    return f"{nanoseconds:.0f} ns"


def size_of(value: Any, axis: str | None) -> str:
    """A value of the axis."""
    if axis == "size" and isinstance(value, int):
        return f"{value >> 20} MiB" if value >= 1 << 20 else f"{value >> 10} KiB"
    return f"{value:,}" if isinstance(value, int) else str(value)


COLUMNS = ("lane", "wall", "(quartiles)", "CPU", "user", "system", "rate/s", "bytes/s", "p50", "p99", "p99.9", "peak")


def cells(lane: Mapping[str, Any], unit_scale: float = 1) -> list[str]:
    """A lane's row."""
    wall, latency = lane["wall_ns"], lane.get("latency_ns", {})
    return [
        lane["name"],
        duration(wall["median"]),
        f"({duration(wall['low'])} - {duration(wall['high'])})",
        duration(lane["cpu_ns"]["median"]),
        duration(lane["user_ns"]["median"]),
        duration(lane["system_ns"]["median"]),
        number(lane["rate"]["median"] * unit_scale),
        f"{number(lane['bytes_rate']['median'])}B" if "bytes_rate" in lane else "",
        *(duration(latency[key]) if latency else "" for key in ("p50", "p99", "p99.9")),
        f"{lane['peak_kib'] / 1024:.0f} MiB" if lane["peak_kib"] else "",
    ]


def ratio_cells(lane: Mapping[str, Any], ours: Sequence[str]) -> list[str]:
    """How many times a lane's wall and CPU time one of ours takes."""
    found = []
    for own in ours:
        ratio = lane["ratio"].get(own)
        found.append("" if ratio is None else f"{ratio.get('wall', 0):.2f} / {ratio.get('cpu', 0):.2f}")
    return found


def rows_of(case: Mapping[str, Any], point: Mapping[str, Any]) -> list[list[str]]:
    """Header and rows of a point; columns that are empty are left out. The last ones are ratios of ours."""
    ours = [own for own in case["ours"][:2] if any(lane["name"] == own for lane in point["lanes"])]
    rows = [[*COLUMNS, *(f"{own} x" for own in ours)]]
    for lane in point["lanes"]:
        extra = ", ".join(f"{key} {each['median']:.3g}" for key, each in lane.get("extra", {}).items())
        rows.append([*cells(lane), *ratio_cells(lane, ours)])
        if extra:
            rows[-1][0] += f" [{extra}]"
    used = [any(row[column] for row in rows[1:]) for column in range(len(rows[0]))]
    return [[cell for cell, keep in zip(row, used, strict=True) if keep] for row in rows]


def table(case: Mapping[str, Any]) -> str:
    """A case as text."""
    lines = [f"{case['case']}: {case['title']}", f"{case['rounds']} rounds; of one {case['unit']}: median (quartiles)"]
    for point in case["points"]:
        rows = rows_of(case, point)
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
        if case["axis"]:
            lines.append(f"  {case['axis']} {size_of(point['at'][case['axis']], case['axis'])}")
        for row in rows:
            cut = [cell.ljust(widths[0]) if not i else cell.rjust(widths[i]) for i, cell in enumerate(row)]
            lines.append("    " + "  ".join(cut))
        lines += [f"    skipped: {name}: {reason}" for name, reason in point["skipped"].items()]
    lines += [f"  {verdict(claim)}" for claim in case["claims"]]
    if case["loses"]:
        lines.append(f"  where it loses: {case['loses']}")
    return "\n".join(lines)


def lost(report: Mapping[str, Any]) -> list[str]:
    """Every lane of another that was faster than the best of ours at its point."""
    found = []
    for case in report["cases"]:
        for point in case["points"]:
            mine = [lane for lane in point["lanes"] if lane["name"] in case["ours"]]
            if not mine:
                continue
            best = min(mine, key=lambda lane: lane["wall_ns"]["median"])
            for lane in point["lanes"]:
                if lane["name"] in case["ours"] or lane["name"].startswith("C"):
                    continue
                ratio = best["wall_ns"]["median"] / (lane["wall_ns"]["median"] or 1)
                if ratio > 1.02:
                    where = "".join(f", {key} {size_of(value, key)}" for key, value in point["at"].items())
                    found.append(
                        f"{case['case']}{where}: {best['name']} takes {ratio:.2f} x the time of {lane['name']}"
                    )
    return found


def summary(report: Mapping[str, Any]) -> str:
    """Claims, and where others were faster."""
    lines = [headline(report["environment"]), f"{report.get('seconds', 0):.0f} s in all", ""]
    for case in report["cases"]:
        lines += [verdict(claim) for claim in case["claims"]]
    slower = lost(report)
    if slower:
        lines += ["", "Where another was faster:", *(f"  {line}" for line in slower)]
    if report["quick"]:
        lines.append("\nA quick run: too little work for its numbers to mean anything.")
    return "\n".join(lines)


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    found = report["environment"]
    lines = ["# A run of the benchmarks", "", f"{headline(found)}; {found['time']}."]
    lines += ["", "| claim | limit | found | |", "|---|---:|---:|---|"]
    for case in report["cases"]:
        for claim in case["claims"]:
            limit = f"<= {claim['most']:.3g}" if claim["most"] is not None else f">= {claim['least']:.3g}"
            seen = "" if claim["found"] is None else f"{claim['found']:.3g}"
            lines.append(f"| {claim['text']} | {limit} | {seen} | {verdict(claim).split(' ')[0].lower()} |")
    if slower := lost(report):
        lines += ["", "Where another was faster than the best of ours:", "", *(f"- {line}" for line in slower)]
    for case in report["cases"]:
        lines += ["", f"## {case['title']}", ""]
        lines += [text for text in (case["notes"], case["loses"]) if text]
        for point in case["points"]:
            where = f"{case['axis']} {size_of(point['at'][case['axis']], case['axis'])}, " if case["axis"] else ""
            lines += ["", f"{where}{case['rounds']} rounds, of one {case['unit']}:", ""]
            rows = rows_of(case, point)
            lines += [f"| {' | '.join(rows[0])} |", "|---|" + "---:|" * (len(rows[0]) - 1)]
            lines += [f"| {' | '.join(row)} |" for row in rows[1:]]
            lines += ["", *(f"Skipped: {name}: {reason}." for name, reason in point["skipped"].items())]
    return "\n".join(line for line in lines if line is not None) + "\n"
