"""A report as one page with plots, which needs nothing but itself."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from typing import Any

from . import output
from .environment import headline

OURS = ("#0b6e99", "#1aa37a", "#7a4fd0", "#c2185b", "#5b8c00")
OTHERS = ("#9a9a9a", "#c58b3a", "#b0665c", "#8a8f5f", "#6f7f8f", "#b89ab0", "#a8a08c", "#7d6a5b")
FLOORS = "#333333"

STYLE = """
:root { --ink: #1c2128; --soft: #5b6672; --paper: #ffffff; --card: #f6f8fa; --line: #d9dfe5;
  --good: #1a7f4b; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa6b2; --paper: #0f1419; --card: #182028;
  --line: #2b3640; --good: #4cc38a; --bad: #ff8a80 } }
* { box-sizing: border-box } body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1.1rem 4rem } h1 { font-size: 1.9rem; margin: 0 0 .3rem }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .4rem } p, li { max-width: 72ch }
.soft { color: var(--soft); font-size: .92rem }
.claims { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: .7rem; margin: 1.4rem 0 }
.claim { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--soft); border-radius: 8px;
  padding: .65rem .85rem } .claim b { display: block; font-size: 1.45rem; line-height: 1.2 }
.claim.pass { border-left-color: var(--good) } .claim.short { border-left-color: var(--bad) }
.claim.pass b { color: var(--good) } .claim.short b { color: var(--bad) }
figure { margin: .6rem 0; background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: .5rem;
  overflow-x: auto }
figure svg { width: 100%; height: auto; min-width: 540px; display: block }
details { margin: .5rem 0 } summary { cursor: pointer; color: var(--soft) } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .84rem; margin: .5rem 0 1rem; white-space: nowrap }
th, td { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } th { color: var(--soft); font-weight: 600 }
tr.ours td:first-child { font-weight: 650 }
"""


def page(report: Mapping[str, Any]) -> str:
    """The page."""
    found = report["environment"]
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1"><title>uring: benchmarks</title>',
        f"<style>{STYLE}</style></head><body><main><h1>What uring costs</h1>",
        f"<p class=soft>{escape(headline(found))}. {escape(found['time'])}.</p>",
        _claims(report),
        _losses(report),
        *(_case(case) for case in report["cases"]),
        _environment(found),
        "</main></body></html>\n",
    ]
    return "".join(parts)


def _claims(report: Mapping[str, Any]) -> str:
    cards = []
    for case in report["cases"]:
        for claim in case["claims"]:
            kind = {True: "pass", False: "short", None: "open"}[claim["holds"]]
            limit = f"at most {claim['most']:.3g}" if claim["most"] is not None else f"at least {claim['least']:.3g}"
            seen = "not run" if claim["found"] is None else f"{claim['found']:.3g}{' x' if claim['rival'] else ''}"
            word = {"pass": "pass", "short": "falls short", "open": "not judged"}[kind]
            cards.append(
                f'<div class="claim {kind}"><b>{escape(seen)}</b>{escape(claim["text"])}'
                f"<div class=soft>{word}: {limit}</div></div>"
            )
    return f"<div class=claims>{''.join(cards)}</div>" if cards else ""


def _losses(report: Mapping[str, Any]) -> str:
    slower = output.lost(report)
    if not slower:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in slower)
    summary = f"Where another was faster: {len(slower)} places"
    return f"<details><summary>{summary}</summary><ul class=soft>{items}</ul></details>"


def _case(case: Mapping[str, Any]) -> str:
    texts = [case["notes"], f"Where it loses: {case['loses']}" if case["loses"] else ""]
    tables = []
    for point in case["points"]:
        where = f"{case['axis']} {output.size_of(point['at'][case['axis']], case['axis'])}" if case["axis"] else ""
        tables.append(f"<p class=soft>{escape(where)}</p><div class=scroll>{_table(case, point)}</div>")
        skipped = "; ".join(f"{name}: {reason}" for name, reason in point["skipped"].items())
        if skipped:
            tables.append(f"<p class=soft>Skipped: {escape(skipped)}</p>")
    lanes = "".join(f"<li><b>{escape(lane['name'])}</b>: {escape(lane['what'])}</li>" for lane in case["lanes"])
    return (
        f"<h2 id={escape(case['case'])}>{escape(case['title'])}</h2>"
        + "".join(f"<p class=soft>{escape(text)}</p>" for text in texts if text)
        + f"<figure>{_plot_of(case)}</figure>"
        + f"<details><summary>Numbers, and what each does</summary><ul class=soft>{lanes}</ul>"
        + "".join((*tables, "</details>"))
    )


def _plot_of(case: Mapping[str, Any]) -> str:
    """Its plot, no wider than its letters need."""
    svg = plot(case)
    return (
        svg.replace("<svg ", '<svg style="max-width: 640px; margin: auto" ', 1) if svg.count('id="axes_') == 1 else svg
    )


def _table(case: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    rows = output.rows_of(case, point)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = []
    for lane, row in zip(point["lanes"], rows[1:], strict=True):
        kind = " class=ours" if lane["name"] in case["ours"] else ""
        body.append(f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _environment(found: Mapping[str, Any]) -> str:
    rows = []

    def flat(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                flat(f"{prefix} {key}".strip(), inner)
        else:
            rows.append(f"<tr><td>{escape(prefix)}</td><td>{escape(str(value))}</td></tr>")

    flat("", found)
    return f"<h2>The machine</h2><div class=scroll><table>{''.join(rows)}</table></div>"


# --- plots -------------------------------------------------------------------------------------------


def colours(case: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each lane: ours vivid, floors in C dark, others pale."""
    found, own, other = {}, 0, 0
    for lane in case["lanes"]:
        name = lane["name"]
        if name in case["ours"]:
            found[name] = OURS[own % len(OURS)]
            own += 1
        elif name == "C" or name.startswith("C,"):
            found[name] = FLOORS
        else:
            found[name] = OTHERS[other % len(OTHERS)]
            other += 1
    return found


def plot(case: Mapping[str, Any]) -> str:
    """What a case shows, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    with mpl.rc_context(
        {"font.size": 10, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    ):
        along = case["axis"] is not None and len(case["points"]) > 1
        panels = case["shows"] if along or "latency" not in case["shows"] else ["latency"]
        rows = max(len(point["lanes"]) for point in case["points"])
        size = (5.4 * len(panels), 3.6) if along else (5.4 * len(panels), 0.9 + 0.33 * rows)
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
        for panel, axis in zip(panels, axes[0], strict=True):
            (lines if along else bars)(case, panel, axis)
        if along:
            handles, labels = axes[0][0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def shown(lane: Mapping[str, Any], panel: str) -> dict[str, float] | None:
    """A lane's numbers of a panel: median and quartiles."""
    if panel == "latency":
        found = lane.get("latency_ns")
        return None if found is None else {"median": found["p50"], "low": found["p50"], "high": found["p99"]}
    if panel in ("rate", "cpu"):
        result: dict[str, float] = lane["rate" if panel == "rate" else "cpu_ns"]
        return result
    extra: dict[str, float] | None = lane.get("extra", {}).get(panel)
    return extra


def label(case: Mapping[str, Any], panel: str) -> str:
    """What an axis counts."""
    many = f"{case['unit']}s".replace("ys", "ies")
    names = {"rate": f"{many} a second", "cpu": f"CPU nanoseconds of one {case['unit']}"}
    return names.get(panel, {"latency": "nanoseconds: p50, and whiskers to p99"}.get(panel, panel.replace("_", " ")))


def lines(case: Mapping[str, Any], panel: str, axis: Any) -> None:
    """Curves over the axis; a lane with one point is a mark."""
    palette = colours(case)
    for name, colour in palette.items():
        points = []
        for point in case["points"]:
            for lane in point["lanes"]:
                if lane["name"] == name and (found := shown(lane, panel)):
                    points.append((point["at"][case["axis"]], found))
        if not points:
            continue
        at = [where for where, _ in points]
        ours = name in case["ours"]
        style = {"color": colour, "linewidth": 2.2 if ours else 1.2, "marker": "o", "markersize": 4 if ours else 3}
        if name == "C" or name.startswith("C,"):
            style["linestyle"] = "--"
        axis.plot(at, [found["median"] for _, found in points], label=name, zorder=3 if ours else 2, **style)
        low, high = [found["low"] for _, found in points], [found["high"] for _, found in points]
        axis.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
    axis.set_xscale("log", base=2 if case["axis"] != "operations" else 10)
    axis.set_yscale("log")
    values = [point["at"][case["axis"]] for point in case["points"]]
    axis.set_xticks(values, [output.size_of(value, case["axis"]) for value in values], rotation=30)
    axis.minorticks_off()
    axis.set_xlabel(case["axis"].replace("_", " "))
    axis.set_title(label(case, panel), fontsize=10)
    axis.yaxis.set_major_formatter(lambda value, _: output.number(value))
    axis.grid(alpha=0.25)


def bars(case: Mapping[str, Any], panel: str, axis: Any) -> None:
    """One bar for each lane."""
    palette = colours(case)
    found = [(lane["name"], each) for lane in case["points"][0]["lanes"] if (each := shown(lane, panel))]
    names = [name for name, _ in found][::-1]
    medians = [each["median"] for _, each in found][::-1]
    errors = [
        [max(0, each["median"] - each["low"]) for _, each in found][::-1],
        [max(0, each["high"] - each["median"]) for _, each in found][::-1],
    ]
    axis.barh(names, medians, color=[palette[name] for name in names], xerr=errors, ecolor="#888888", height=0.66)
    for index, (median, high) in enumerate(zip(medians, errors[1], strict=True)):
        at = (median + high, index)
        axis.annotate(output.number(median), at, va="center", fontsize=8, xytext=(5, 0), textcoords="offset points")
    axis.set_title(label(case, panel), fontsize=10)
    axis.xaxis.set_major_formatter(lambda value, _: output.number(value))
    axis.margins(x=0.16)
    axis.grid(axis="x", alpha=0.25)
