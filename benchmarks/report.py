"""The report as one page that needs nothing else: claims in front, plots for each case, tables folded beneath."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import compare, environment, plots, wording
from .harness import kind_of
from .judging import PASS, SHORT
from .markdown import flat

CSS = Path(__file__).with_name("report.css")
CLASS = {PASS: "pass", SHORT: "short"}


def page(report: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> str:
    """The whole page.

    Args:
        report: Of a run.
        earlier: Of the run that it is to be compared with.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in report["cases"]:
        groups.setdefault(case["group"], []).append(case)
    colours = plots.Colours()
    lost = losing(report)
    links = [("claims", "Claims"), *([("losing", "Where io_uring loses")] if lost else [])]
    links += [(anchor(group), group) for group in groups] + [("environment", "Environment")]
    parts = [head(report), claims(report), lost]
    for group, cases in groups.items():
        parts.append(f'<h2 id="{anchor(group)}">{escape(group)}</h2>')
        parts += [of_case(case, colours) for case in cases]
    if earlier is not None:
        parts.append(comparison(earlier, report))
        links.insert(-1, ("comparison", "Comparison"))
    parts.insert(1, navigation(links))
    parts.append(machine(report))
    style = CSS.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>uring: benchmarks</title>\n<style>\n{style}</style>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</html>\n"
    )


def anchor(name: str) -> str:
    """A name for a link."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def navigation(links: Sequence[tuple[str, str]]) -> str:
    """The line that stays on top."""
    shown = "".join(f'<a href="#{where}">{escape(text)}</a>' for where, text in links)
    return f"<nav>{shown}</nav>"


def head(report: Mapping[str, Any]) -> str:
    """The title, with where and how it was measured."""
    settings, found = report["settings"], report["environment"]
    how = "a quick run: it shows that everything runs, its ratios prove nothing"
    if not settings["quick"]:
        how = f"{settings['rounds']} rounds, lanes interleaved; medians, ratios taken within a round"
    alarm = '<p class="failed">Interrupted: cases are missing.</p>' if report["interrupted"] else ""
    return (
        "<header><h1>What <code>uring</code> costs, beside C and beside others</h1>"
        f"<p>{escape(environment.one_line(found))} before and {found['load_after']} after</p>"
        f"<p>{escape(how)}; {report['seconds']:.0f} s, {escape(report['made'][:16].replace('T', ' '))} UTC, "
        f"uring {escape(found['versions']['uring'])}, liburing {escape(found['versions']['liburing'])}</p>"
        f"{alarm}</header>"
    )


def claims(report: Mapping[str, Any]) -> str:
    """The headline."""
    passing, short, rest = wording.counted(report)
    score = "".join(
        f'<div class="{kind}"><b>{count}</b>{word}</div>'
        for kind, count, word in (
            ("pass", passing, "pass"),
            ("short", short, "fall short"),
            ("open", rest, "not judged"),
        )
        if count or kind != "open"
    )
    order = {SHORT: 0, PASS: 1}
    every = [(case, claim) for case in report["cases"] for claim in case["claims"]]
    every.sort(key=lambda pair: order.get(pair[1]["verdict"], 2))
    cards = "".join(card(case, claim) for case, claim in every)
    failed = "".join(
        f'<p class="failed">{escape(case["name"])} failed: {escape(case["failed"])}</p>'
        for case in report["cases"]
        if "failed" in case
    )
    return f'<h2 id="claims">Claims</h2>{failed}<div class="score">{score}</div><div class="claims">{cards}</div>'


def card(case: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    """A claim: what it says, what was found, how far from the limit."""
    kind = CLASS.get(claim["verdict"], "open")
    sign = {"<=": "≤", ">=": "≥"}[claim["relation"]]
    limit = f"{sign} {wording.number(claim['limit'], claim)}"
    where = f"{case['name']}{', ' + wording.place(claim['point']) if claim['point'] else ''}"
    found = "" if claim["found"] is None else wording.number(claim["found"], claim)
    reason = f"; {claim['reason']}" if claim["reason"] else ""
    return (
        f'<a class="claim" href="#{anchor(case["name"])}"><span class="text">{escape(claim["text"])}</span>'
        f'<span class="found">{found}</span><span class="where"><span class="badge {kind}">{claim["verdict"]}</span> '
        f'{escape(where + reason)}</span><span class="limit">{limit}</span>{gauge(claim, kind)}</a>'
    )


def gauge(claim: Mapping[str, Any], kind: str) -> str:
    """A dot on a line whose middle is the limit and whose ends are half of it and twice it; right is good."""
    if not claim["found"] or claim["found"] <= 0:
        return ""
    octaves = math.log2(claim["limit"] / claim["found"]) * (1 if claim["relation"] == "<=" else -1)
    return f'<div class="gauge"><i class="{kind}" style="left:{50 + 49 * max(-1, min(1, octaves)):.1f}%"></i></div>'


def losing(report: Mapping[str, Any]) -> str:
    """Where io_uring is not the first: rivals that are ahead, and what is left to C and fio, folded."""
    cards, behind = [], []
    for case in report["cases"]:
        every = wording.losses(case)
        name = escape(case["name"])
        title = f'<a href="#{anchor(case["name"])}">{escape(case["title"])} <span class="muted">{name}</span></a>'
        rivals = "".join(loss(entry) for entry in every if entry.kind == "rival")
        floors = "".join(loss(entry) for entry in every if entry.kind != "rival")
        if rivals or case["loses"]:
            known = f"<p>{escape(case['loses'])}</p>" if case["loses"] else ""
            cards.append(f"<div>{title}{known}{rivals}</div>")
        if floors:
            behind.append(f"<div>{title}{floors}</div>")
    if not (cards or behind):
        return ""
    folded = ""
    if behind:
        cases = "one case" if len(behind) == 1 else f"{len(behind)} cases"
        inside = f'<div class="losing">{"".join(behind)}</div>'
        folded = f'<details class="loose"><summary>Behind C or fio in {cases}</summary>{inside}</details>'
    return (
        '<h2 id="losing">Where io_uring is not the first</h2>'
        '<p class="muted">The best of ours against each lane that takes less: how many times its time or CPU time, '
        f'from 2 % upwards.</p><div class="losing">{"".join(cards)}</div>{folded}'
    )


def loss(entry: wording.Loss) -> str:
    """One rival that is ahead, with a bar from 1 to 4 times."""
    width = min(100.0, 100 * math.log(max(max(ends) for ends in (entry.wall, entry.cpu) if ends)) / math.log(4))
    where = f"{escape(entry.span)}{', ' + escape(entry.where) if entry.where else ''}"
    return (
        f'<div class="bar {entry.kind}">{escape(entry.rival)}<i style="width:{width:.0f}%"></i>'
        f'<span class="muted">{where}</span></div>'
    )


def comparison(earlier: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """Against an earlier run."""
    said, slower, faster = compare.sections(earlier, report)
    lines = "".join(f"<li>{escape(line)}</li>" for line in said)
    parts = [f'<h2 id="comparison">Compared with an earlier run</h2><div class="case"><ul class="plain">{lines}</ul>']
    top = "".join(f"<th>{name}</th>" for name in compare.HEADINGS)
    for title, some in (("Slower", slower), ("Faster", faster)):
        if some:
            rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in compare.table(some))
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            whole = f'<div class="wide"><table class="changes"><tr>{top}</tr>{body}</table></div>'
            parts.append(f"<details><summary>{title}: {len(some)} figures</summary>{whole}</details>")
    return "".join([*parts, "</div>"])


def of_case(case: Mapping[str, Any], colours: plots.Colours) -> str:
    """A case: its plots, its lanes, its table."""
    parts = [f'<section class="case" id="{anchor(case["name"])}"><h3>{escape(case["title"])}</h3>']
    parts.append(f'<p class="muted">{escape(case["name"])}</p>')
    if "failed" in case:
        return "".join([*parts, f'<p class="failed">{escape(case["failed"])}</p></section>'])
    if case["loses"]:
        parts.append(f'<p class="note">{escape(case["loses"])}</p>')
    ran = [lane for lane in case["lanes"] if any(lane["name"] in point["lanes"] for point in case["points"])]
    of = colours.of([lane["name"] for lane in ran])
    drawn = "".join(f"<figure>{plot.svg}</figure>" for plot in plots.plots(case, of))
    keys = "".join(
        f'<li title="{escape(lane["what"])}"><i class="{kind_of(lane["name"])}" '
        f'style="border-color:var(--{of[lane["name"]][0]}{of[lane["name"]][1]})"></i><span>{escape(lane["name"])}</span></li>'
        for lane in ran
    )
    lines = "" if plots.only_bars(case) else f'<ul class="legend">{keys}</ul>'  # bars have their names above them
    parts += [f'<div class="plots">{drawn}</div>', lines, figures(case)]
    return "".join([*parts, "</section>"])


def figures(case: Mapping[str, Any]) -> str:
    """All figures of a case, what its lanes do, and those that were skipped, folded."""
    filled = [(point, wording.rows(point, case["unit"])) for point in case["points"]]
    everything = [row for _, rows in filled for row in rows]
    shown = [i for i in range(len(wording.HEADINGS)) if i == 0 or any(row[i] for row in everything)]
    lines = [f"<tr>{''.join(f'<th>{escape(wording.HEADINGS[i])}</th>' for i in shown)}</tr>"]
    for point, rows in filled:
        where = wording.place(point["point"])
        rounds = f"{point['rounds']} rounds; {wording.TIMES} of {point['reference']}" if rows else "no lane ran"
        text = escape(f"{where}, {rounds}" if where else rounds)
        lines.append(f'<tr class="point"><td colspan="{len(shown)}">{text}</td></tr>')
        lines += [
            f'<tr class="{kind_of(row.lane)}">{"".join(f"<td>{escape(row[i])}</td>" for i in shown)}</tr>'
            for row in rows
        ]
    what = "".join(f"<li><b>{escape(lane['name'])}</b>: {escape(lane['what'])}</li>" for lane in case["lanes"])
    missing = "".join(f"<li>skipped: {escape(text)}</li>" for text in wording.skipped(case))
    skipped = f", {missing.count('<li>')} skipped" if missing else ""
    return (
        f'<details><summary>All figures{skipped}</summary><div class="wide"><table>{"".join(lines)}</table></div>'
        f'<ul class="plain">{what}{missing}</ul></details>'
    )


def machine(report: Mapping[str, Any]) -> str:
    """The environment, in full."""
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="text">{escape(value)}</td></tr>'
        for name, value in flat(report["environment"])
        if value
    )
    return f'<h2 id="environment">Environment</h2><div class="case"><div class="wide"><table>{rows}</table></div></div>'
