"""The benchmarks run, check their work, and report what they promise. What they find is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("a source distribution has no benchmarks", allow_module_level=True)
sys.path.append(str(ROOT))  # last: the package under test may be installed elsewhere

from benchmarks import compare, output  # noqa: E402
from benchmarks.__main__ import all_cases, main  # noqa: E402
from benchmarks.environment import environment, headline  # noqa: E402
from benchmarks.harness import (  # noqa: E402
    Bench,
    Case,
    Claim,
    Different,
    Done,
    Lane,
    Measured,
    Missing,
    Point,
    Ready,
    percentiles,
    run_case,
    verdict,
)
from benchmarks.workspace import Workspace  # noqa: E402


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A workspace of its own, for full runs of tiny cases."""
    return Bench(Workspace(tmp_path), quick=False)


def fixed(name: str, wall: float, log: list[str] | None = None, **settings: Any) -> Lane:
    """A lane that has measured itself: `wall` nanoseconds for one of ten operations."""

    def prepare(_bench: Bench, _point: Point, _at_end: ExitStack) -> Ready:
        def run() -> Done:
            if log is not None:
                log.append(name)
            return Done(10, 100, settings.get("latencies"), Measured(wall * 10, wall * 8, wall * 2))

        return Ready(run, settings.get("check"))

    return Lane(name, f"takes {wall}", prepare, settings.get("only"))


def missing(name: str, reason: str) -> Lane:
    """A lane that cannot run."""

    def prepare(_bench: Bench, _point: Point, _at_end: ExitStack) -> Ready:
        raise Missing(reason)

    return Lane(name, "", prepare)


def test_rounds_are_interleaved(bench: Bench) -> None:
    """Every lane runs once in a round, and each round begins with another one."""
    log: list[str] = []
    case = Case("x", "X", (fixed("a", 1, log), fixed("b", 1, log), fixed("c", 1, log)))
    run_case(bench, case, 4)
    assert "".join(log) == "abcbcacababc"


def test_ratios_are_taken_within_rounds(bench: Bench) -> None:
    """A lane's number is the median of its rounds, and ours is compared with each other one."""
    case = Case("x", "X", (fixed("ours", 150), fixed("rival", 100)), ours=("ours",))
    [point] = run_case(bench, case, 3)["points"]
    ours, rival = point["lanes"]
    assert ours["wall_ns"] == {"median": 150, "low": 150, "high": 150}
    assert (ours["user_ns"]["median"], ours["system_ns"]["median"], ours["cpu_ns"]["median"]) == (120, 30, 150)
    assert rival["ratio"] == {"ours": {"wall": 1.5, "cpu": 1.5}}
    assert rival["rate"]["median"] == 1e7
    assert rival["bytes_rate"]["median"] == pytest.approx(1e8)
    assert ours["operations"] == 10


def test_lanes_that_read_something_else_end_the_run(bench: Bench) -> None:
    """What lanes have read is compared, and the message names who differs."""
    same = fixed("a", 1, check=lambda: "one"), fixed("b", 1, check=lambda: "one"), fixed("c", 1)
    assert run_case(bench, Case("x", "X", same), 1)["points"]
    with pytest.raises(Different, match="a, b: one; d: two"):
        run_case(bench, Case("x", "X", (*same, fixed("d", 1, check=lambda: "two"))), 1)


def test_a_missing_lane_is_skipped_with_its_reason(bench: Bench) -> None:
    """It is in the report and in the table, and its claims are not judged."""
    claim = Claim("ours, against it", "ours", "gone", "wall", most=1)
    report = run_case(bench, Case("x", "X", (fixed("ours", 1), missing("gone", "no such thing")), claims=(claim,)), 1)
    assert report["points"][0]["skipped"] == {"gone": "no such thing"}
    assert report["claims"][0]["holds"] is None
    assert "skipped: gone: no such thing" in output.table(report)
    assert "not judged" in output.table(report)


@pytest.mark.parametrize(
    ("claim", "found", "holds"),
    [
        (Claim("", "a", "b", "wall", most=2), 2, True),
        (Claim("", "a", "b", "wall", most=1.9), 2, False),
        (Claim("", "a", "b", "rate", least=0.5), 0.5, True),
        (Claim("", "a", "b", "rate", least=0.6), 0.5, False),
        (Claim("", "a", None, "cpu_ns", most=200), 200, True),
        (Claim("", "b", None, "cpu_ns", least=101), 100, False),
    ],
)
def test_claims_are_judged(bench: Bench, claim: Claim, found: float, holds: bool) -> None:
    """Upper and lower limits, of ratios and of numbers."""
    case = Case("x", "X", (fixed("a", 200), fixed("b", 100)), claims=(claim,))
    [judged] = run_case(bench, case, 3)["claims"]
    assert (judged["found"], judged["holds"]) == (found, holds)
    assert verdict(judged).startswith("pass" if holds else "FALLS SHORT")


def test_points_of_an_axis(bench: Bench) -> None:
    """Each value is measured; a lane may belong to some of them; a claim is judged at its own."""
    case = Case(
        "x",
        "X",
        (fixed("a", 4), fixed("b", 2, only=(8,))),
        axis="depth",
        values=(1, 8),
        quick_values=(8,),
        ours=("a",),
        claims=(Claim("", "a", "b", "wall", most=2, at=8), Claim("", "a", "b", "wall", most=2, at=1)),
    )
    report = run_case(bench, case, 1)
    assert [[lane["name"] for lane in point["lanes"]] for point in report["points"]] == [["a"], ["a", "b"]]
    assert [claim["holds"] for claim in report["claims"]] == [True, None]
    assert len(run_case(bench._replace(quick=True), case, 1)["points"]) == 1


def test_latencies(bench: Bench) -> None:
    """Percentiles over all rounds."""
    assert percentiles(range(1, 1001)) == {"p50": 501, "p99": 991, "p99.9": 1000}
    report = run_case(bench, Case("x", "X", (fixed("a", 1, latencies=[5, 7, 9]),), shows=("latency",)), 2)
    assert report["points"][0]["lanes"][0]["latency_ns"] == {"p50": 7, "p99": 9, "p99.9": 9}


def report_of(bench: Bench, wall: float) -> dict[str, Any]:
    """A whole report of two tiny cases."""
    lanes = (fixed("ours", wall), fixed("rival", 100))
    claim = Claim("ours, against the rival", "ours", "rival", "wall", most=1.2)
    along = Case("along", "By depth", lanes, "depth", (1, 8), (1,), ours=("ours",), loses="Always.", notes="A note.")
    alone = Case("alone", "A < B", lanes, ours=("ours",), claims=(claim,))
    cases = [run_case(bench, case, 2) for case in (along, alone)]
    return {"environment": environment(bench.workspace.folder), "quick": False, "cases": cases, "seconds": 1}


def test_what_others_do_better_is_shown(bench: Bench) -> None:
    """Every place where a rival is faster is listed."""
    summary = output.summary(report_of(bench, 150))
    assert "alone: ours takes 1.50 x the time of rival" in summary
    assert "along, depth 8: ours takes 1.50 x the time of rival" in summary
    assert "FALLS SHORT  ours, against the rival (<= 1.2): 1.50" in summary
    assert "faster" not in output.summary(report_of(bench, 50))


def test_markdown(bench: Bench) -> None:
    """Claims, notes and a table for each point."""
    text = output.markdown(report_of(bench, 150))
    assert "| ours, against the rival | <= 1.2 | 1.5 | falls |" in text
    assert "depth 8, 2 rounds, of one operation:" in text
    assert "A note." in text
    assert "Always." in text


def test_one_page(bench: Bench, tmp_path: Path) -> None:
    """The page holds its plots itself and names nothing outside."""
    report = tmp_path / "report.json"
    report.write_text(json.dumps(report_of(bench, 100)))
    run("--from", str(report), "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 2
    assert "pass: at most 1.2" in page
    assert "A &lt; B" in page
    assert not [word for word in ("<script", "src=", "@import", "<link") if word in page]


def test_a_run_is_compared_with_an_earlier_one(bench: Bench) -> None:
    """What has changed by more than its spread is told; what has not is not."""
    text = compare.compared(report_of(bench, 150), report_of(bench, 300))
    assert "wall 2.00 x (slower), cpu 2.00 x (slower)" in text
    assert "rival" not in text
    assert "none of 6 lanes" in compare.compared(report_of(bench, 150), report_of(bench, 152))


def test_the_environment(tmp_path: Path) -> None:
    """What numbers depend on is there."""
    found = environment(tmp_path)
    assert {"kernel", "cpu", "storage", "python", "liburing", "packages", "load", "fio"} <= found.keys()
    assert {"model", "count", "governor", "mitigations"} <= found["cpu"].keys()
    assert found["storage"]["filesystem"]
    assert found["kernel"] in headline(found)


def test_the_workspace(tmp_path: Path) -> None:
    """Files, places and trees are made once, the same each time."""
    workspace = Workspace(tmp_path)
    path = workspace.file(100_000)
    assert len(path.read_bytes()) == 100_000
    before = path.stat().st_mtime_ns
    assert workspace.file(100_000).stat().st_mtime_ns == before
    offsets, stored = workspace.offsets(1 << 20, 50)
    assert stored.read_bytes() == offsets.tobytes()
    assert all(0 <= at < 1 << 20 and at % 4096 == 0 for at in offsets)
    tree = workspace.tree(300)
    assert all(100 <= path.stat().st_size < 8192 for path in tree)


def test_the_cases_are_whole() -> None:
    """Names are unique and told; lanes of ours and of claims exist; values of claims are measured."""
    cases = all_cases()
    assert {"nop", "random-cached", "random-direct", "files-warm", "files-cold", "memory", "wal", "modes"} <= set(cases)
    for name, case in cases.items():
        lanes = {lane.name for lane in case.lanes}
        assert len(lanes) == len(case.lanes), name
        assert set(case.ours) <= lanes, name
        for claim in case.claims:
            assert {claim.lane, claim.rival} - {None} <= lanes, name
            assert case.axis is None or claim.at in case.values, name
            assert (claim.most is None) != (claim.least is None), name


def run(*arguments: str) -> str:
    """What `python -W error -m benchmarks` prints; it must succeed."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_quick_runs_of_real_cases(tmp_path: Path) -> None:
    """Reads, NOPs, files and messages run for real, agree on what they read, and are written and shown again."""
    names = ["nop", "random-cached", "random-direct", "files-warm", "pingpong-pipe", "memory", "wal", "in-flight"]
    report = tmp_path / "report.json"
    printed = run(*names, "--quick", "--json", str(report), "--markdown", str(tmp_path / "report.md"))
    found = json.loads(report.read_text())
    assert [case["case"] for case in found["cases"]] == names
    for case in found["cases"]:
        for point in case["points"]:
            assert point["lanes"], case["case"]
            assert all(point["skipped"].values())
            for lane in point["lanes"]:
                assert 0 < lane["wall_ns"]["low"] <= lane["wall_ns"]["median"] <= lane["wall_ns"]["high"]
        ran = {lane["name"] for point in case["points"] for lane in point["lanes"]}
        assert ran & set(case["ours"]), case["case"]
    assert "too little work" in printed
    assert (tmp_path / "report.md").read_text().startswith("# A run")
    assert "Compared with the run" in run("--from", str(report), "--compare", str(report))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It lists its cases, and refuses those that it does not have."""
    assert main(["--list"]) == 0
    assert "random-direct" in capsys.readouterr().out
    for wrong in (["nonsense"], ["--rounds", "0"]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "error:" in capsys.readouterr().err


def test_the_breakdown() -> None:
    """The parts of an Operation and the whole are measured."""
    printed = run("--breakdown", "--quick", "--rounds", "2")
    assert "Operation.result()" in printed
    assert "the whole" in printed
