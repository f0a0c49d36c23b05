"""Plots of a case as SVG for the page: what they are coloured with is a name there, so one plot fits light and dark.

matplotlib knows no CSS. It is given colours that nobody uses, which are replaced in its output by the page's variables;
texts stay texts, in the page's font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from . import wording
from .harness import kind_of

# A stand-in for each of the page's variables.
INK, MUTED, GRID = "#010101", "#010102", "#010103"
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid"}
KINDS = {"ours": 6, "floor": 5, "rival": 8}
STAND_INS = {
    (kind, index): f"#0{group}02{index:02x}"
    for group, (kind, count) in enumerate(KINDS.items(), 1)
    for index in range(count)
}
VARIABLES.update({colour: f"{kind}{index}" for (kind, index), colour in STAND_INS.items()})
MARKERS = {"ours": "oDsPX*", "floor": "sdx1|", "rival": "^v<>^v<>"}
LINES = {"ours": 2.4, "floor": 1.6, "rival": 1.5}
LOG_FROM = 8
"""Values that differ by more than so many times are shown on a logarithmic scale."""
MEMORY_FROM = 100_000
"""With fewer operations, memory for one is noise: of a page here and there."""
COST_AXES = ("operations", "in_flight")
"""Where the question is whether cost grows: the time of one operation is plotted, not the rate."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "axes.unicode_minus": False,
}


class Plot(NamedTuple):
    """A plot for the page."""

    title: str
    svg: str


class Colours:
    """A colour for each lane, the same in all cases as far as that goes."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, int]] = {}

    def of(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """The colours of a case's lanes, which differ as long as there are enough."""
        found: dict[str, tuple[str, int]] = {}
        for name in names:
            kind = kind_of(name)
            taken = {index for other, index in found.values() if other == kind}
            wanted = self.known.get(name, (kind, sum(other == kind for other, _ in self.known.values())))[1]
            count = KINDS[kind]
            index = next(
                ((wanted + i) % count for i in range(count) if (wanted + i) % count not in taken), wanted % count
            )
            found[name] = self.known.setdefault(name, (kind, index))
            if found[name][1] in taken:
                found[name] = (kind, index)
        return found


class Series(NamedTuple):
    """Points of a case that differ on its axis only."""

    title: str
    points: list[Mapping[str, Any]]


def series(case: Mapping[str, Any]) -> list[Series]:
    """A case's points, apart where anything but the axis differs."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for point in case["points"]:
        if point["lanes"]:
            rest = {key: value for key, value in point["point"].items() if key != case["axis"]}
            found.setdefault(wording.place(rest), []).append(point)
    return [Series(title, points) for title, points in found.items()]


def is_curve(case: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are several points with numbers on the case's axis."""
    places = {point["point"].get(case["axis"]) for point in points} if case["axis"] else set()
    return len(places) > 1 and all(isinstance(place, int) for place in places)


def only_bars(case: Mapping[str, Any]) -> bool:
    """Whether no plot of a case has lines, for which one needs a legend."""
    latencies = any("latency_curve" in lane for point in case["points"] for lane in point["lanes"].values())
    return not latencies and not any(is_curve(case, points) for _, points in series(case))


def plots(case: Mapping[str, Any], colours: Mapping[str, tuple[str, int]]) -> list[Plot]:
    """All plots of a case.

    Args:
        case: Its report.
        colours: Of its lanes, see `Colours`.
    """
    made = []
    with mpl.rc_context(STYLE):
        for title, points in series(case):
            if is_curve(case, points):
                made += curves(case, title, points, colours)
            else:
                for point in points:
                    made += bars(case, point, colours)
            made += latencies(title, points, colours)
    return made


class Measure(NamedTuple):
    """What is plotted upwards."""

    title: str
    key: str
    form: Callable[[float], str]
    best: str
    """Which way is better: "higher" or "lower"."""


def measures(case: Mapping[str, Any]) -> list[Measure]:
    """What to plot of a case: of bytes the cost of a MiB, else that of an operation."""
    unit = case["unit"]
    of = "a MiB" if unit == "bytes" else "an operation"
    first = Measure("Rate", "rate", lambda value: wording.rate(value, unit).replace(" ", ""), "higher")
    if case["axis"] in COST_AXES:
        first = Measure(f"Time {of}", "wall_ns", wording.duration, "lower")
    found = [first, Measure(f"CPU time {of}", "cpu_ns", wording.duration, "lower")]
    if case["axis"] == "operations":
        found.append(Measure("Memory an operation", "bytes_per_op", lambda value: f"{value:g} B", "lower"))
    return found


def share(case: Mapping[str, Any], lane: Mapping[str, Any]) -> float:
    """By what the cost of an operation is multiplied: for bytes, to be that of a MiB."""
    per_operation = lane["nbytes"] / lane["operations"]
    return (1 << 20) / per_operation if case["unit"] == "bytes" and per_operation else 1


def value(case: Mapping[str, Any], lane: Mapping[str, Any], key: str) -> tuple[float, float, float] | None:
    """A lane's figure with its quartiles."""
    if key == "bytes_per_op":
        grown = lane["grown_kib"]
        if grown is None or (case["axis"] and lane["operations"] < MEMORY_FROM):
            return None
        return (grown * 1024 / lane["operations"],) * 3
    cell, factor = lane[key], 1 if key == "rate" else share(case, lane)
    return cell["low"] * factor, cell["median"] * factor, cell["high"] * factor


def curves(
    case: Mapping[str, Any],
    title: str,
    points: Sequence[Mapping[str, Any]],
    colours: Mapping[str, tuple[str, int]],
) -> list[Plot]:
    """A plot of each measure against the case's axis, a line for each lane with a band between its quartiles."""
    made = []
    key = case["axis"]
    for measure in measures(case):
        figure = Figure(figsize=(4.7, 3.3), layout="constrained")
        axes = figure.add_subplot()
        seen: list[float] = []
        for name, colour in colours.items():
            found = [
                (point["point"][key], value(case, point["lanes"][name], measure.key))
                for point in points
                if name in point["lanes"]
            ]
            cells = sorted((x, cell) for x, cell in found if cell is not None)
            if not cells:
                continue
            xs, (low, mid, high) = [x for x, _ in cells], zip(*(cell for _, cell in cells), strict=True)
            draw(axes, name, colour, xs, mid)
            axes.fill_between(xs, low, high, color=STAND_INS[colour], alpha=0.15, linewidth=0)
            seen += mid
        if not seen:
            continue
        across(axes, key, sorted({point["point"][key] for point in points}))
        upwards(axes, seen, measure.form)
        made.append(finished(figure, axes, heading(measure.title, title), f"{measure.best} is better"))
    return made


def draw(axes: Any, name: str, colour: tuple[str, int], xs: Sequence[float], ys: Sequence[float]) -> None:
    """One lane's line."""
    kind = kind_of(name)
    axes.plot(
        xs,
        ys,
        color=STAND_INS[colour],
        linewidth=LINES[kind],
        linestyle="--" if kind == "floor" else "-",
        marker=MARKERS[kind][colour[1]],
        markersize=4.5 if kind != "ours" else 5.5,
        zorder=3 if kind == "ours" else 2,
    )


def across(axes: Any, key: str, xs: Sequence[int]) -> None:
    """The axis that goes across: logarithmic, with the points' own values."""
    if min(xs) > 0 and max(xs) / min(xs) > LOG_FROM / 2:
        axes.set_xscale("log", base=2)
    shown = xs if len(xs) <= 7 else [x for i, x in enumerate(xs) if i % 2 == 0 or len(xs) <= 7]
    axes.set_xticks(shown, [wording.amount(key, x).replace(" ", "") for x in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="x")
    axes.set_xlabel({"in_flight": "in flight"}.get(key, key))


def upwards(axes: Any, seen: Sequence[float], form: Callable[[float], str]) -> None:
    """The axis that goes upwards: from 0, or logarithmic where values are far apart."""
    if min(seen) > 0 and max(seen) / min(seen) > LOG_FROM:
        axes.set_yscale("log")
        low, high = min(seen) / 1.25, max(seen) * 1.25
        axes.set_ylim(low, high)
        wide = math.log10(high / low) > 1.6
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1.0,) if math.log10(high / low) > 3 else (1, 3) if wide else (1, 2, 5))
        )
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, max(seen) * 1.12 or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(form(y)) if y else "0"))


def short(text: str) -> str:
    """Without zeros that say nothing: "20.0 ms" is "20 ms"."""
    return re.sub(r"\.(\d*?)0+(?=\D|$)", lambda found: f".{found[1]}" if found[1] else "", text, count=1)


def heading(what: str, title: str) -> str:
    """The title of a plot, with the series it shows."""
    return f"{what}: {title}" if title else what


def bars(case: Mapping[str, Any], point: Mapping[str, Any], colours: Mapping[str, tuple[str, int]]) -> list[Plot]:
    """Bars for each lane at one point: time, CPU time as user and, paler, system; memory where one claims something."""
    of = "a MiB" if case["unit"] == "bytes" else "an operation"
    wanted = [(f"Time {of}", "wall_ns", "line: quartiles"), (f"CPU time {of}", "cpu_ns", "user, and paler system")]
    if any(claim["metric"] == "bytes_per_op" for claim in case["claims"]):
        wanted.append(("Memory an operation", "bytes_per_op", "beyond what was there before, at most"))
    made = []
    for what, key, note in wanted:
        lanes = [name for name in colours if name in point["lanes"]]
        cells = {name: cell for name in lanes if (cell := value(case, point["lanes"][name], key)) is not None}
        if not cells:
            continue
        figure = Figure(figsize=(4.7, 0.75 + 0.46 * len(cells)), layout="constrained")
        axes = figure.add_subplot()
        room = longest([cell[1] for cell in cells.values()])
        for index, (name, (low, mid, high)) in enumerate(cells.items()):
            lane = point["lanes"][name]
            bar(axes, index, parts_of(lane, key, mid), room, STAND_INS[colours[name]])
            if key == "wall_ns" and high <= room * 1.05:
                axes.plot((low, high), (index, index), color=INK, linewidth=1.1, solid_capstyle="butt")
            weight = "bold" if kind_of(name) == "ours" else "normal"
            axes.text(0, index - 0.27, name, va="bottom", ha="left", fontsize=9.5, fontweight=weight)
            said = said_of(case, lane, key, mid)
            axes.text(room * 1.05, index - 0.27, said, va="bottom", ha="right", fontsize=9.5, color=MUTED)
        axes.set_ylim(len(cells) - 0.6, -0.85)
        axes.set_xlim(0, room * 1.05)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        made.append(finished(figure, axes, heading(what, wording.place(point["point"])), note))
    return made


def parts_of(lane: Mapping[str, Any], key: str, whole: float) -> list[float]:
    """Of what a bar is made: CPU time of user and system."""
    if key != "cpu_ns" or not lane["cpu_ns"]["median"]:
        return [whole]
    user = whole * lane["user_ns"] / lane["cpu_ns"]["median"]
    return [user, whole - user]


def said_of(case: Mapping[str, Any], lane: Mapping[str, Any], key: str, figure: float) -> str:
    """What stands at a bar's end."""
    if key == "bytes_per_op":
        return f"{figure:.1f} B"
    said = wording.duration(figure)
    return f"{wording.rate(lane['rate']['median'], case['unit'])} \u00b7 {said}" if key == "wall_ns" else said


def longest(values: Sequence[float]) -> float:
    """How long a bar can be: the few that are many times as long as the others are cut off."""
    usual = sorted(values)[len(values) // 2]
    return max(value for value in values if value <= 4 * usual) or 1


def bar(axes: Any, index: int, lengths: Sequence[float], room: float, colour: str) -> None:
    """One lane's bar in its parts, each paler than the one before; one without room is cut, and shows it."""
    start, cut = 0.0, sum(lengths) > room * 1.05
    shrunk = room / sum(lengths) if cut else 1
    for length, alpha in zip(lengths, (1, 0.45), strict=False):
        axes.barh(index, length * shrunk, left=start, height=0.34, color=colour, alpha=alpha, linewidth=0)
        start += length * shrunk
    if cut:
        xs = [room * x for x in (1.01, 1.03, 1.05)]
        axes.scatter(xs, [index] * 3, s=5, color=colour, linewidth=0, clip_on=False)


def latencies(title: str, points: Sequence[Mapping[str, Any]], colours: Mapping[str, tuple[str, int]]) -> list[Plot]:
    """Latency curves at the first and the last point that have them: how slow the slowest are, in nines."""
    with_curves = [point for point in points if any("latency_curve" in lane for lane in point["lanes"].values())]
    chosen = with_curves[:1] + with_curves[-1:] if len(with_curves) > 1 else with_curves
    made = []
    for point in chosen:
        figure = Figure(figsize=(4.7, 3.3), layout="constrained")
        axes = figure.add_subplot()
        seen: list[float] = []
        for name, colour in colours.items():
            curve = point["lanes"].get(name, {}).get("latency_curve")
            if curve:
                xs = [1 / (1 - share) for share, _ in curve if share <= 0.9999]
                ys = [max(1, nanoseconds) for share, nanoseconds in curve if share <= 0.9999]
                kind = kind_of(name)
                style = "--" if kind == "floor" else "-"
                axes.plot(xs, ys, color=STAND_INS[colour], linewidth=LINES[kind], linestyle=style)
                seen += ys
        axes.set_xscale("log")
        nines = {1 / (1 - share): f"p{share * 100:g}" for share in (0.5, 0.9, 0.99, 0.999, 0.9999)}
        axes.set_xticks(list(nines), list(nines.values()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(1, 1.2e4)
        upwards(axes, seen, wording.duration)
        where = wording.place(point["point"]) or title
        made.append(finished(figure, axes, heading("Latency", where), "of the slowest: lower is better"))
    return made


def finished(figure: Any, axes: Any, title: str, note: str) -> Plot:
    """The figure as SVG, in the page's colours."""
    axes.set_title(title, pad=18)
    axes.annotate(note, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=MUTED)
    out, canvas = io.BytesIO(), cast("Any", FigureCanvasSVG(figure))
    with mpl.rc_context({"svg.hashsalt": title}):
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(
        r' id="(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib|[A-Za-z]*Collection)[\w.]*_\d+"', "", text
    )
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', r'<svg viewBox="\1" role="img" aria-label="@">', text, count=1)
    text = re.sub(
        r"font: (?:bold )?([\d.]+)px [^;\"]*",
        lambda m: f"font-size: {m[1]}px{'; font-weight: 700' if 'bold' in m[0] else ''}",
        text,
    )
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return Plot(title, re.sub(r"\n\s*", "\n", text).replace('aria-label="@"', f'aria-label="{plain(title)}"'))


def plain(text: str) -> str:
    """Text for an attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
