"""The benchmarks run, check their work, and report what they promise. What they find is not judged here."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("a source distribution has no benchmarks", allow_module_level=True)
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # behind the installed package: only `benchmarks` is to be found there

H: Any = importlib.import_module("benchmarks.harness")
catalogue: Any = importlib.import_module("benchmarks.catalogue")
compare: Any = importlib.import_module("benchmarks.compare")
judging: Any = importlib.import_module("benchmarks.judging")
main: Any = importlib.import_module("benchmarks.__main__").main
measuring: Any = importlib.import_module("benchmarks.measuring")
running: Any = importlib.import_module("benchmarks.running")
session: Any = importlib.import_module("benchmarks.session")
wording: Any = importlib.import_module("benchmarks.wording")
workspace: Any = importlib.import_module("benchmarks.workspace")

MILLISECOND = 1_000_000


def lane(name: str, run: Callable[[], Any] | None = None, **more: Any) -> Any:
    """A lane that does nothing, or what `run` does."""
    return H.Lane(name, f"what {name} does", lambda bench, point, at_end: run or (lambda: H.Outcome(1)), **more)


def costing(name: str, wall: float, cpu: float | None = None, operations: int = 1000, **more: Any) -> Any:
    """A lane that says what one of its operations costs, in nanoseconds."""
    spent = round(wall * operations), 0, round((wall if cpu is None else cpu) * operations)
    return lane(name, lambda: H.Outcome(operations, measured=H.Measured(*spent), **more))


def case(*lanes: Any, **more: Any) -> Any:
    """A case of such lanes."""
    common = {"name": "tiny", "title": "A tiny case", "group": "Tests", "unit": "operations", "axis": None}
    return H.Case(**{**common, "points": ({},), "quick_points": ({},), "lanes": lanes, **more})


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """What lanes are given, with a workspace of the test's own."""
    return H.Bench(workspace.Workspace(tmp_path / "workspace"), quick=True, scale=0.05)


def run(which: Any, bench: Any, rounds: int = 3, **more: Any) -> Any:
    """The report of a case."""
    return running.run_case(which, bench, running.Settings(rounds, **more))


# Rounds.


def test_each_round_begins_with_another_lane(bench: Any) -> None:
    """After a rehearsal in order, lanes take turns, and each round begins with the next one."""
    seen: list[str] = []

    def noting(name: str) -> Any:
        def work() -> Any:
            seen.append(name)
            return H.Outcome(1)

        return lane(name, work)

    run(case(*map(noting, "abc")), bench, rounds=4)
    assert "".join(seen) == "abc" + "abc" + "bca" + "cab" + "abc"


def test_what_a_lane_wants_done_is_done_before_each_run(bench: Any) -> None:
    """`before` is called before the rehearsal and before each round, with the point."""
    seen: list[Any] = []

    def work() -> Any:
        seen.append("run")
        return H.Outcome(1)

    run(case(lane("a", work, before=lambda bench, point: seen.append(point)), points=({"depth": 2},)), bench, rounds=2)
    assert seen == [{"depth": 2}, "run"] * 3


def test_lanes_are_opened_and_closed_for_each_point(bench: Any) -> None:
    """A lane gets the point when it is opened, and what it gave to the stack is closed before the next point."""
    seen: list[str] = []

    def opened(bench: Any, point: Any, at_end: ExitStack) -> Any:
        seen.append(f"open {point['depth']}")
        at_end.callback(seen.append, f"close {point['depth']}")
        return lambda: H.Outcome(1)

    run(case(H.Lane("a", "", opened), points=({"depth": 1}, {"depth": 2})), bench, rounds=1)
    assert seen == ["open 1", "close 1", "open 2", "close 2"]


def test_a_quick_run_takes_the_quick_points(bench: Any) -> None:
    """With `quick` a case is measured at its quick points."""
    which = case(lane("a"), points=({"depth": 1}, {"depth": 2}), quick_points=({"depth": 2},))
    assert [point["point"] for point in run(which, bench, quick=True)["points"]] == [{"depth": 2}]


def test_without_time_nothing_is_invented(bench: Any) -> None:
    """When time is up, the first lane's rehearsal is its figure; other lanes and points say that there was no time."""
    which = case(costing("a", 5), costing("b", 5), points=({"depth": 1}, {"depth": 2}))
    report = running.run_case(which, bench, running.Settings(9), deadline=time.monotonic())
    first, second = report["points"]
    assert (first["rounds"], list(first["lanes"])) == (0, ["a"])
    assert first["skipped"] == [{"name": "b", "reason": "no time left"}]
    assert not second["lanes"]
    assert {one["reason"] for one in second["skipped"]} == {"no time left"}


# Verified results.


def test_lanes_that_differ_in_what_they_read_are_an_error(bench: Any) -> None:
    """Digests of a point must be one; the error says who found what. Lanes without a digest do not matter."""
    which = case(costing("a", 1, digest="1111"), costing("b", 1), costing("c", 1, digest=lambda: "2222"))
    with pytest.raises(H.Wrong, match="a: 1111; c: 2222"):
        run(which, bench)


def test_a_lane_that_reads_something_else_later_is_found_out(bench: Any) -> None:
    """The last round's digest is compared as well as the first."""
    digests = iter(["right", "right", "wrong"])
    with pytest.raises(H.Wrong, match=r"right.*wrong"):
        run(case(lane("a", lambda: H.Outcome(1, digest=next(digests)))), bench, rounds=2)


def test_hashing_is_not_measured_and_not_done_each_round(bench: Any) -> None:
    """A digest that is a callable is called after the clock has stopped, in the rehearsal and in the last round."""
    calls: list[float] = []

    def digest() -> str:
        calls.append(time.process_time())
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return "same"

    report = run(case(lane("a", lambda: H.Outcome(1, digest=digest))), bench, rounds=4)
    assert len(calls) == 2
    assert report["points"][0]["lanes"]["a"]["cpu_ns"]["high"] < 50 * MILLISECOND
    assert report["points"][0]["lanes"]["a"]["verified"]


def test_a_lane_that_does_nothing_is_an_error(bench: Any) -> None:
    """No operations: nothing to time."""
    with pytest.raises(H.Wrong, match="did no operation"):
        run(case(lane("a", lambda: H.Outcome(0))), bench)


def refusing(*_: Any) -> Any:
    """Cannot run here."""
    raise H.Missing("the package is not installed")


@pytest.mark.parametrize("where", ["open", "before", "run"])
def test_a_lane_that_cannot_run_says_why(bench: Any, where: str) -> None:
    """Missing, wherever it is raised first, skips the lane with its reason, and closes what it had opened."""
    closed: list[str] = []

    def opened(bench: Any, point: Any, at_end: ExitStack) -> Any:
        at_end.callback(closed.append, "closed")
        if where == "open":
            refusing()
        return refusing if where == "run" else lambda: H.Outcome(1)

    which = case(H.Lane("a", "", opened, refusing if where == "before" else None), lane("b"))
    point = run(which, bench)["points"][0]
    assert point["skipped"] == [{"name": "a", "reason": "the package is not installed"}]
    assert list(point["lanes"]) == ["b"]
    assert closed == ["closed"]


# What is measured.


def spin(seconds: float) -> None:
    """Take CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_cpu_time_of_threads_and_children_counts() -> None:
    """CPU time is the process's, with all its threads, and that of children that have ended."""

    def work() -> Any:
        thread = threading.Thread(target=spin, args=(0.1,))
        thread.start()
        thread.join()
        program = "import time\nwhile time.process_time() < 0.1: pass"
        subprocess.run([sys.executable, "-S", "-c", program], check=True)
        return H.Outcome(1)

    assert measuring.measure(work, verify=False).cpu_ns > 190 * MILLISECOND


def test_what_a_lane_measures_itself_takes_precedence() -> None:
    """Of a program that measures itself its own figures count, and the process's for what it does not know."""
    itself = H.Measured(1000, 300, 200, peak_kib=77)
    found = measuring.measure(lambda: H.Outcome(10, 40, measured=itself), verify=False)
    assert found._replace(digest=None) == measuring.Sample(10, 40, None, 1000, 300, 200, 77, None, None)
    found = measuring.measure(lambda: spin(0.02) or H.Outcome(1, measured=H.Measured(5)), verify=False)
    assert found.wall_ns == 5
    assert found.cpu_ns > 15 * MILLISECOND


def test_memory_is_each_runs_own(bench: Any) -> None:
    """What a run needs beyond what was there is in its figure, whatever lanes before it needed."""
    kept = bytearray(b"x" * (16 << 20))

    def large() -> Any:
        return H.Outcome(len(bytearray(b"x" * (48 << 20))))

    report = run(case(lane("before", large), lane("small", lambda: H.Outcome(len(kept)))), bench)
    lanes = report["points"][0]["lanes"]
    assert lanes["before"]["grown_kib"] >= 48 << 10
    assert lanes["small"]["grown_kib"] < 16 << 10
    assert lanes["small"]["peak_kib"] >= 16 << 10


def test_latencies_become_percentiles() -> None:
    """Percentiles are the smallest values that so many do not exceed; the curve ends with the largest."""
    found = measuring.measure(lambda: H.Outcome(1, latencies_ns=range(1, 10001)), verify=False)
    by_share = dict(zip(measuring.CURVE, found.curve, strict=True))
    assert [by_share[share] for share in (0.5, 0.99, 0.999, 1.0)] == [5000, 9900, 9990, 10000]
    which = judging.summary([found], found, "operations")
    assert which["latency_ns"] == {"p50": 5000, "p99": 9900, "p99.9": 9990, "max": 10000}


def test_figures_are_for_one_operation(bench: Any) -> None:
    """Times are for one operation, rates count operations or bytes, and lanes may do different amounts."""
    lanes = costing("uring", 200, 50, operations=10, nbytes=40960), costing("C", 100, 100, operations=1000)
    found = run(case(*lanes, unit="bytes"), bench)["points"][0]
    assert found["lanes"]["uring"]["wall_ns"] == {"median": 200, "low": 200, "high": 200}
    assert found["lanes"]["uring"]["rate"]["median"] == pytest.approx(40960 / 2000e-9)
    assert found["reference"] == "uring"
    assert found["lanes"]["C"]["times"] == {"wall": 0.5, "cpu": 2.0}


# Claims and losses.

US, RIVAL = costing("uring.read_many", 100, 50), costing("os.pread", 150, 200)


@pytest.mark.parametrize(
    ("claim", "found", "verdict"),
    [
        (("uring.read_many", "os.pread", "wall", "<=", 0.7), 0.6667, "pass"),
        (("uring.read_many", "os.pread", "wall", "<=", 0.6), 0.6667, "falls short"),
        (("uring.read_many", "os.pread", "rate", ">=", 1.5), 1.5, "pass"),
        (("uring.read_many", "os.pread", "rate", ">=", 1.6), 1.5, "falls short"),
        (("os.pread", "uring.read_many", "cpu", ">=", 4), 4, "pass"),
        (("uring.read_many", None, "cpu_per_op_ns", "<=", 49), 50, "falls short"),
        (("uring.read_many", None, "rate", ">=", 1e6), 1e7, "pass"),
        (("uring.read_many", None, "p99", "<=", 1), None, "not judged"),
        (("uring.read_many", "fio", "wall", "<=", 1), None, "not judged"),
    ],
)
def test_claims_are_judged(bench: Any, claim: Any, found: float | None, verdict: str) -> None:
    """A claim compares the median of the rounds' ratios, or a lane's own figure, with its limit."""
    fio = H.Lane("fio", "", refusing)
    judged = run(case(US, RIVAL, fio, claims=(H.Claim("text", *claim),)), bench)["claims"][0]
    assert (judged["found"], judged["verdict"]) == (found, verdict)
    if claim[1] == "fio":
        assert judged["reason"] == "fio did not run: the package is not installed"


def test_a_claim_is_judged_at_its_point(bench: Any) -> None:
    """At the point it names, against the rival at another one if it says so; not judged when that is not measured."""

    def opened(bench: Any, point: Any, at_end: ExitStack) -> Any:
        return lambda: H.Outcome(1, measured=H.Measured(100 + point["depth"], 0, 0))

    points = tuple({"depth": depth} for depth in (0, 100, 200))
    claims = (
        H.Claim("alone", "uring", None, "wall", "<=", 250, {"depth": 100}),
        H.Claim("the last", "uring", None, "wall", "<=", 250),
        H.Claim("grows", "uring", "uring", "wall", "<=", 1.5, {"depth": 100}, rival_point={"depth": 0}),
        H.Claim("elsewhere", "uring", None, "wall", "<=", 1, {"depth": 7}),
    )
    found = run(case(H.Lane("uring", "", opened), axis="depth", points=points, claims=claims), bench)["claims"]
    assert [each["found"] for each in found] == [200, 300, 2, None]
    assert [each["verdict"] for each in found] == ["pass", "falls short", "falls short", "not judged"]
    assert "depth 7" in found[3]["reason"]


def test_ratios_are_taken_within_a_round(bench: Any) -> None:
    """A round in which the machine was slow for all changes no ratio."""
    slow = iter([1, 1, 1, 1, 10, 10, 1, 1])  # rehearsal, then three rounds of two lanes

    def noisy(cost: int) -> Callable[[], Any]:
        return lambda: H.Outcome(1, measured=H.Measured(cost * next(slow), 0, 0))

    claim = H.Claim("text", "uring", "os.read", "wall", "<=", 0.5)
    found = run(case(lane("uring", noisy(100)), lane("os.read", noisy(200)), claims=(claim,)), bench)
    assert found["claims"][0]["found"] == 0.5


def test_a_claim_about_nothing_is_an_error(bench: Any) -> None:
    """A metric that does not exist is a mistake in the case, not a claim that cannot be judged."""
    with pytest.raises(ValueError, match="one of wall, cpu"):
        run(case(US, claims=(H.Claim("text", US.name, None, "walltime", "<=", 1),)), bench)


def test_where_io_uring_loses_is_listed(bench: Any) -> None:
    """The best of ours is compared with each other lane, time and CPU time apart; what is within 2 % is no loss."""
    ours = costing("uring.Ring", 100, 30), costing("uring.Plan", 90, 60)
    others = costing("os.read", 60, 29.9), costing("C, pread", 80, 15), costing("mmap", 89.5, 500)
    found = run(case(*ours, *others), bench)
    losses = [(one["lane"], one["rival"], one["kind"], one["metric"], one["ratio"]) for one in found["losses"]]
    assert losses == [
        ("uring.Plan", "os.read", "rival", "wall", 1.5),
        ("uring.Plan", "C, pread", "floor", "wall", 1.125),
        ("uring.Ring", "C, pread", "floor", "cpu", 2.0),
    ]
    assert str(wording.losses(found)[0]) == "1.50\u00d7 the time of os.read"
    assert run(case(*ours, *others, reference="uring.Ring"), bench)["losses"] == []


# The command line.


@pytest.fixture
def cases() -> list[Any]:
    """Three cases: a curve, bars with latencies, and one whose lanes differ."""
    depths = tuple({"depth": depth} for depth in (1, 8, 64))

    def opened(bench: Any, point: Any, at_end: ExitStack) -> Any:
        cost = 6400 // point["depth"]
        return lambda: H.Outcome(100, 409600, digest="d", measured=H.Measured(100 * cost, 1000, 2000))

    curve = case(
        H.Lane("uring.read_many", "a curve", opened),
        costing("os.pread <&>", 6000, digest="d"),
        H.Lane("fio", "", refusing),
        name="curve",
        axis="depth",
        points=depths,
        quick_points=depths,
        claims=(
            H.Claim("bulk is fast", "uring.read_many", "os.pread <&>", "wall", "<=", 0.5, depths[2]),
            H.Claim("bulk is very fast", "uring.read_many", "os.pread <&>", "wall", "<=", 0.001, depths[2]),
        ),
        loses="Slow at depth 1.",
    )
    single = costing("uring.Ring", 50, latencies_ns=range(100)), costing("os.read", 40, latencies_ns=range(50))
    bars = case(*single, name="bars", group="Others")
    broken = case(costing("uring", 1, digest="1"), costing("os.read", 1, digest="2"), name="broken", group="Others")
    return [curve, bars, broken]


@pytest.fixture
def command(cases: list[Any], tmp_path: Path) -> Callable[..., Any]:
    """Runs the command line over these cases; gives the exit status and the report."""

    def call(*arguments: str) -> tuple[int, Any]:
        file = tmp_path / "report.json"
        where = ["--workspace", str(tmp_path), "--rounds", "2", "--json", str(file)]
        status = main([*arguments, *where], cases=cases)
        return status, json.loads(file.read_text())

    return call


def test_the_table_is_for_people(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each case has a table; claims, losses, and skipped lanes with their reasons are told."""
    status, report = command("curve", "bars")
    text = capsys.readouterr().out
    assert status == 1, "a claim falls short"
    assert "FALLS SHORT bulk is very fast at depth 64: found 0.0167" in text
    assert "pass        bulk is fast at depth 64" in text
    assert "1 pass, 1 fall short, 0 not judged" in text
    assert "skipped: fio: the package is not installed" in text
    assert "1.25\u00d7 the time, 1.25\u00d7 the CPU time of os.read" in text
    assert "Slow at depth 1." in text
    assert [each["name"] for each in report["cases"]] == ["curve", "bars"]


def test_the_report_says_where_and_how(command: Any) -> None:
    """Kernel, processor, mitigations, device, file system and versions are part of it, and how it was measured."""
    _, report = command("bars")
    found = report["environment"]
    assert found.keys() >= {"kernel", "cpu", "cpus", "mitigations", "governor", "load", "device", "file_system"}
    assert found.keys() >= {"mount_options", "load_after"}
    assert found["versions"].keys() >= {"python", "uring", "liburing", "PyPI liburing", "PyPI caio", "fio"}
    assert report["settings"] == {"rounds": 2, "quick": False, "only": [], "budget": None}


def test_a_case_that_fails_is_loud_and_alone(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A failing case has no figures, its reason is shown, other cases still run, and the exit status is 1."""
    status, report = command("broken", "bars")
    shown = capsys.readouterr()
    assert status == 1
    assert "FAILED: broken: Wrong: lanes differ in what they read" in shown.out
    assert "Traceback" in shown.err
    by_name = {each["name"]: each for each in report["cases"]}
    assert not by_name["broken"]["points"]
    assert by_name["bars"]["points"][0]["lanes"]


def test_a_quick_run_judges_nothing(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With --quick a claim that falls short does not fail the run."""
    assert command("curve", "--quick")[0] == 0
    assert "its ratios prove nothing" in capsys.readouterr().out


def test_lanes_can_be_chosen(command: Any) -> None:
    """--only-lane runs lanes by pattern; a claim about another one is not judged."""
    status, report = command("curve", "--only-lane", "uring*")
    assert status == 0
    assert list(report["cases"][0]["points"][0]["lanes"]) == ["uring.read_many"]
    assert report["cases"][0]["claims"][0]["reason"] == "os.pread <&> did not run: left out"


def test_cases_are_chosen_by_name_group_and_pattern(
    command: Any, cases: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """CASE is a name, a group or a pattern; an unknown one is an error that lists what there is."""
    by_name = {each.name: each for each in cases}
    for word, names in (("curve", ["curve"]), ("others", ["bars", "broken"]), ("b*", ["bars", "broken"])):
        assert [each.name for each in catalogue.chosen(by_name, [word])] == names
    assert len(catalogue.chosen(by_name, [])) == 3
    with pytest.raises(SystemExit):
        command("nothing")
    assert "no case is called 'nothing'; there are: curve, bars, broken" in capsys.readouterr().err
    assert main(["--list", "curve"], cases=cases) == 0
    assert "uring.read_many: a curve" in capsys.readouterr().out


def test_an_interrupted_run_keeps_what_it_has(command: Any, cases: list[Any]) -> None:
    """Ctrl-C ends the run; the report of the cases before is written, and says so."""

    def interrupt() -> Any:
        raise KeyboardInterrupt

    cases[1] = case(lane("uring", interrupt), name="bars")
    status, report = command("curve", "bars", "broken")
    assert status == 130
    assert report["interrupted"]
    assert [each["name"] for each in report["cases"]] == ["curve"]


def test_markdown_is_written(command: Any, tmp_path: Path) -> None:
    """--markdown writes claims, losses, a table for each point, skipped lanes and the environment."""
    command("curve", "broken", "--markdown", str(tmp_path / "report.md"))
    text = (tmp_path / "report.md").read_text()
    assert "| curve | bulk is fast at depth 64: found 0.0167\u00d7, limit \u2264 0.5\u00d7 | **pass** |" in text
    assert "**falls short**" in text
    assert text.count("| uring.read_many |") == 3
    assert "**Failed**: Wrong" in text
    assert "## Environment" in text
    assert text.count("Slow at depth 1.") == 1


def test_the_page_needs_nothing_else(command: Any, tmp_path: Path) -> None:
    """--html writes one page: plots in it, colours for light and dark, text escaped, nothing loaded from elsewhere."""
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `bench`, is not installed")
    page = tmp_path / "report.html"
    command("curve", "bars", "broken")
    # In a process of its own: matplotlib keeps descriptors of its fonts open.
    made = [sys.executable, "-m", "benchmarks", "--from", str(tmp_path / "report.json"), "--html", str(page)]
    subprocess.run(made, cwd=ROOT, check=False, timeout=60, capture_output=True)
    text = page.read_text()
    assert text.count("<svg ") == 2 + 3  # rate and CPU time; time, CPU time, latencies
    assert "os.pread &lt;&amp;&gt;" in text
    assert "os.pread <&>" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    assert "var(--ours0)" in text
    assert "#0" not in "".join(part.split("</svg>")[0] for part in text.split("<svg ")[1:])
    for loads in ("src=", "<link", "<script", "url(http", "@import", 'href="http'):
        assert loads not in text
    assert text.index("bulk is very fast") < text.index("bulk is fast")  # what falls short comes first
    assert "lanes differ in what they read" in text


def test_a_report_can_be_made_from_an_earlier_run(command: Any, cases: list[Any], tmp_path: Path) -> None:
    """--from runs nothing, and shows the figures of a file."""
    _, report = command("bars")
    (tmp_path / "earlier.json").write_text(json.dumps(report))
    cases[:] = [case(lane("uring", refusing), name="bars")]
    assert command("--from", str(tmp_path / "earlier.json")) == (0, report)


def test_a_run_is_compared_with_an_earlier_one(
    command: Any, cases: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--compare tells what became slower or faster than both runs' spread, and claims judged otherwise."""
    _, old = command("curve", "bars")
    (tmp_path / "old.json").write_text(json.dumps(old))
    command("curve", "bars", "--compare", str(tmp_path / "old.json"))
    assert "0 of 16 figures are higher, 0 lower, 16 the same" in capsys.readouterr().out
    cases[1] = case(costing("uring.Ring", 75, 50), costing("os.read", 41), name="bars", group="Others")
    cases[0] = cases[0]._replace(claims=(cases[0].claims[0]._replace(limit=0.0),))
    command("curve", "bars", "--compare", str(tmp_path / "old.json"), "--markdown", str(tmp_path / "new.md"))
    text = capsys.readouterr().out
    assert "1 of 16 figures are higher, 0 lower, 15 the same" in text
    assert text.split("-- Slower")[1].split("\n")[2].split() == [
        "uring.Ring",
        "bars",
        "time",
        "50",
        "ns",
        "75",
        "ns",
        "1.50",
    ]
    assert "curve: bulk is fast: pass -> falls short" in text
    assert "| uring.Ring | bars | time | 50 ns | 75 ns | 1.50 |" in (tmp_path / "new.md").read_text()


def test_only_reports_are_compared_with(command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no report is refused before anything runs."""
    (tmp_path / "old.json").write_text('{"case": "nop"}')
    with pytest.raises(SystemExit):
        command("bars", "--compare", str(tmp_path / "old.json"))
    assert "expected a report of format 1" in capsys.readouterr().err


# Files.


def test_files_are_made_once_and_differ_in_each_block(bench: Any) -> None:
    """A file has its size, each of its blocks is another one, and the second call finds what the first one made."""
    path = bench.workspace.file((1 << 20) + 4096 + 100)
    content = path.read_bytes()
    assert len(content) == (1 << 20) + 4096 + 100
    blocks = [content[start : start + 4096] for start in range(0, len(content), 4096)]
    assert len(set(blocks)) == len(blocks)
    made = path.stat().st_mtime_ns
    assert bench.workspace.file(len(content)).stat().st_mtime_ns == made


def test_trees_have_files_of_known_sizes(bench: Any) -> None:
    """A tree has so many files, with the sizes it says, and is made once."""
    tree = bench.workspace.tree(250)
    assert [Path(path).stat().st_size for path in tree.paths] == list(tree.sizes)
    assert len({Path(path).parent for path in tree.paths}) == 3
    assert bench.workspace.tree(250) == tree
    assert set(bench.workspace.tree(10, size=77).sizes) == {77}


def test_a_full_disk_is_a_reason(bench: Any) -> None:
    """A file for which there is no room is Missing, and not begun."""
    with pytest.raises(H.Missing, match="are free"):
        bench.workspace.file(1 << 60)


def test_caches_are_dropped_or_it_is_said(bench: Any) -> None:
    """After drop_caches a file is not in the page cache; a file system that keeps it is a reason to skip."""
    path = bench.workspace.file(1 << 20)
    bench.workspace.warm(path)
    assert workspace.is_cached(path)
    try:
        bench.workspace.drop_caches(path)
    except H.Missing as reason:
        pytest.skip(str(reason))
    assert not workspace.is_cached(path)


# The cases that there are.


@pytest.fixture(scope="module")
def report(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The report of a quick run of some cheap cases, as a command."""
    file = tmp_path_factory.mktemp("benchmarks") / "report.json"
    command = [sys.executable, "-W", "error", "-m", "benchmarks", "nop", "registered", "random-cached"]
    options = ["--quick", "--rounds", "1", "--budget", "15", "--json", str(file)]
    done = subprocess.run(
        [*command, *options], cwd=repository, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(file.read_text())


def test_cases_run_with_verified_results(report: Any) -> None:
    """Each case brings figures; lanes that do not run say why; where something is read, digests were compared."""
    for each in report["cases"]:
        assert "failed" not in each
        assert any(point["lanes"] for point in each["points"])
        for point in each["points"]:
            assert len(point["lanes"]) + len(point["skipped"]) == len(each["lanes"])
            assert all(one["reason"] for one in point["skipped"])
            for figures in point["lanes"].values():
                assert 0 < figures["wall_ns"]["low"] <= figures["wall_ns"]["median"] <= figures["wall_ns"]["high"]
    reads = next(each for each in report["cases"] if each["name"] == "random-cached")
    assert sum(one["verified"] for one in reads["points"][0]["lanes"].values()) >= 2


def test_the_c_floor_is_compiled_where_there_is_a_compiler(report: Any) -> None:
    """The C programs are built from our sources and the vendored liburing, and run."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    nop = next(each for each in report["cases"] if each["name"] == "nop")
    assert "C" in nop["points"][0]["lanes"]


def test_cases_are_well_formed() -> None:
    """Each case has a name of its own, lanes of different names, points with its axis, and claims about its lanes."""
    for name, each in catalogue.discovered().items():
        lanes = [one.name for one in each.lanes]
        assert len(set(lanes)) == len(lanes), name
        assert each.points, name
        assert each.quick_points, name
        if each.axis is not None:
            assert all(each.axis in point for point in (*each.points, *each.quick_points)), name
        for claim in each.claims:
            assert {claim.lane, claim.rival} - {None} <= set(lanes), claim.text
            assert claim.metric in H.METRICS
            for point in (claim.point, claim.rival_point):
                assert point is None or point in each.points, claim.text


def test_the_case_in_the_readme_runs(bench: Any) -> None:
    """The case that README.md shows is whole: its lanes run, agree, and its claim is judged."""
    text = (ROOT / "benchmarks" / "README.md").read_text()
    program = text.split("```python\n")[1].split("```")[0]
    module: dict[str, Any] = {"__name__": "benchmarks.cases.my_case", "__package__": "benchmarks.cases"}
    exec(compile(program, "README.md", "exec"), module)
    found = run(module["CASES"][0], bench, rounds=1, quick=True)
    assert all(one["verified"] for one in found["points"][0]["lanes"].values())
    assert len(found["points"][0]["lanes"]) == 2
    assert found["claims"][0]["verdict"] in ("pass", "falls short")


def test_bytes_that_are_not_the_files_stop_it(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that reads from other places than asked for fails the case instead of reporting a time."""
    uring = importlib.import_module("uring")
    reads = catalogue.discovered()["random-cached"]
    which = reads._replace(lanes=tuple(one for one in reads.lanes if one.name in ("os.preadv", "uring.read_many")))
    assert len(which.lanes) == 2
    assert len(run(which, bench, rounds=1, quick=True)["points"][0]["lanes"]) == 2
    right = uring.Ring.read_many

    def wrong(ring: Any, fd: Any, offsets: Any, *rest: Any, **more: Any) -> Any:
        return right(ring, fd, [offset ^ 4096 for offset in offsets], *rest, **more)

    monkeypatch.setattr(uring.Ring, "read_many", wrong)
    with pytest.raises(H.Wrong, match="lanes differ"):
        run(which, bench, rounds=1, quick=True)


def test_the_front_pages_plot(bench: Any, tmp_path: Path) -> None:
    """It has a bar for each lane that ran, in two panels; a report without the case is refused."""
    front: Any = importlib.import_module("benchmarks.front")
    lanes = costing("uring.read_many", 10_000, 2000), costing("os.preadv", 50_000, 20_000), costing("other", 1)
    places: Any = ({"depth": 1}, {"depth": 128})
    found = {
        "cases": [run(case(*lanes, name="random-direct", axis="depth", points=places, quick_points=places), bench)]
    }
    svg = front.plot({**found, "environment": {"kernel": "6.18", "python": "3.11"}})
    assert svg.count('rx="3"') == 4
    assert "uring, read_many" in svg
    assert ">100<" in svg  # thousand reads a second
    assert ">20.0<" in svg  # microseconds
    assert "other" not in svg.replace("mother", "")
    with pytest.raises(ValueError, match="no random-direct"):
        front.plot({"cases": [], "environment": {}})
