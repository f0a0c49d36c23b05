"""The plot of the project's front page: what a disk gives to one thread, and what that costs, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from .harness import kind_of

CASE, DEPTH = "random-direct", 128
LANES = {
    "uring.read_many": "uring, read_many",
    "uring.Ring": "uring, Operations",
    "fio": "fio, io_uring",
    "C, registered": "C over liburing",
    "threads, tight": "128 threads, tight loops",
    "threads, idiomatic": "128 threads, a task each",
    "os.preadv": "a loop of os.preadv",
}
COLOURS = {"ours": "#1457c8", "floor": "#7b858f", "rival": "#e07a10"}
WIDTH, NAMES, BAR, ROW, TOP = 760, 180, 180, 26, 64
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def text(x: float, y: float, words: str, *, size: int = 13, colour: str = "#16191d", anchor: str = "start") -> str:
    """A line of text."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-family="{FONT}">{escape(words)}</text>'
    )


def bars(x: float, figures: Mapping[str, float], form: str) -> list[str]:
    """A bar for each lane, with its number."""
    most = max(figures.values())
    drawn = []
    for row, (name, figure) in enumerate(figures.items()):
        y, length = TOP + row * ROW, figure / most * BAR
        colour = COLOURS[kind_of(name)]
        drawn.append(f'<rect x="{x:.0f}" y="{y}" width="{length:.1f}" height="{ROW - 8}" rx="3" fill="{colour}"/>')
        drawn.append(text(x + length + 6, y + 13, form.format(figure), size=12))
    return drawn


def plot(report: Mapping[str, Any]) -> str:
    """The plot of a report.

    Args:
        report: What `--json` wrote.

    Raises:
        ValueError: the report lacks the case, or all of its lanes there.
    """
    points = [point for case in report["cases"] if case["name"] == CASE for point in case["points"]]
    lanes = next((point["lanes"] for point in points if point["point"].get("depth") == DEPTH), {})
    shown = {name: lanes[name] for name in LANES if name in lanes}
    if not shown:
        raise ValueError(f"the report has no {CASE} at depth {DEPTH}")
    height = TOP + len(shown) * ROW + 34
    where = report["environment"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Random reads with O_DIRECT: reads a second and CPU time of each way">',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>',
        text(16, 26, f"Random reads of 4 KiB with O_DIRECT, {DEPTH} at once, one process", size=15),
        text(NAMES + 10, 52, "thousand reads a second", size=12, colour="#5d6670"),
        text(NAMES + BAR + 110, 52, "CPU microseconds of one read", size=12, colour="#5d6670"),
        *(text(NAMES, TOP + row * ROW + 13, LANES[name], anchor="end") for row, name in enumerate(shown)),
        *bars(NAMES + 10, {name: lane["rate"]["median"] / 1e3 for name, lane in shown.items()}, "{:.0f}"),
        *bars(NAMES + BAR + 110, {name: lane["cpu_ns"]["median"] / 1e3 for name, lane in shown.items()}, "{:.1f}"),
        text(16, height - 12, f"Medians. {described(where)}", size=11, colour="#5d6670"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def described(environment: Mapping[str, Any]) -> str:
    """Where it was measured, shortly."""
    kernel, python = environment.get("kernel", ""), environment.get("python", "")
    return f"Linux {kernel}, Python {python}; the loop of os.preadv has one read at once."
