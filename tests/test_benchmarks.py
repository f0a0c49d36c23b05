"""The benchmarks run, check their work, and report what they promise. What they find is not judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if not (Path(__file__).parent.parent / "benchmarks").is_dir():
    pytest.skip("a source distribution has no benchmarks", allow_module_level=True)

OURS = {"uring.liburing", "uring.fused", "uring.Ring", "uring.Ring, counted"}
RIVALS = {"liburing, as shown", "liburing, fastest"}


def run(repository: Path, *arguments: str) -> str:
    """What `python -W error -m benchmarks` prints; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def report(repository: Path) -> Any:
    """The case's report after two short rounds."""
    return json.loads(run(repository, "nop", "--quick", "--rounds", "2", "--json", "-"))


def test_every_lane_ran_or_says_why_not(report: Any) -> None:
    """Each lane is in the report once, with its times or with the reason for which it was skipped."""
    ran = [lane["name"] for lane in report["lanes"]]
    skipped = [lane["name"] for lane in report["skipped"]]
    assert sorted(ran + skipped) == sorted({"C"} | OURS | RIVALS)
    assert set(ran) >= OURS
    assert all(lane["reason"] for lane in report["skipped"])


def test_the_c_floor_is_compiled_where_there_is_a_compiler(report: Any) -> None:
    """The C program is built from the vendored source and runs."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    assert "C" in [lane["name"] for lane in report["lanes"]]


def test_each_lane_has_its_times(report: Any) -> None:
    """Wall and CPU time of one operation come as median and quartiles, with a ratio to each rival that ran."""
    there = RIVALS & {lane["name"] for lane in report["lanes"]}
    for lane in report["lanes"]:
        for kind in ("cpu_ns", "wall_ns"):
            assert 0 < lane[kind]["low"] <= lane[kind]["median"] <= lane[kind]["high"]
        assert lane["cpu_ratio"].keys() == there
        assert lane["what"]


def test_the_report_says_where_and_how(report: Any) -> None:
    """The machine, the settings and the claims are part of it; a claim without its rival is not judged."""
    assert report["case"] == "nop"
    assert report["settings"] == {"rounds": 2, "batches": 50, "per_batch": 32, "quick": True}
    assert report["machine"].keys() == {"kernel", "machine", "python", "cpus", "load"}
    assert [(claim["lane"], claim["limit"], claim["aim"]) for claim in report["claims"]] == [
        ("uring.Ring", 2.2, 1.6),
        ("uring.fused", 0.8, None),
    ]
    ran = {lane["name"] for lane in report["lanes"]}
    for claim in report["claims"]:
        assert (claim["holds"] is not None) == (claim["rival"] in ran)


def test_the_table_is_for_people(repository: Path, tmp_path: Path) -> None:
    """Without --json - a table is printed, and --json FILE writes the report besides."""
    text = run(repository, "nop", "--quick", "--rounds", "1", "--json", str(tmp_path / "report.json"))
    assert "CPU time" in text
    assert "uring.Ring <= 2.2 x liburing, as shown, aim 1.6" in text
    assert json.loads((tmp_path / "report.json").read_text())["case"] == "nop"


def test_the_breakdown_adds_up(repository: Path) -> None:
    """The parts of one Operation, with what is left over, make the whole; the kernel's share is inside another."""
    found = json.loads(run(repository, "nop", "--quick", "--rounds", "2", "--breakdown", "--json", "-"))
    cost = {part["name"]: part["cpu_ns"] for part in found["parts"]}
    cost.pop("kernel", None)
    whole = cost.pop("whole")
    assert sum(cost.values()) == pytest.approx(whole, abs=2)
    assert cost.keys() >= {"builder", "creation", "fields", "fused", "entering", "handing_out", "results"}


@pytest.fixture(scope="module")
def registered(repository: Path) -> Any:
    """The reports on registered buffers and files, after one short round."""
    return json.loads(run(repository, "registered", "--quick", "--rounds", "1", "--json", "-"))


def test_reads_are_measured_in_every_setting(registered: Any) -> None:
    """There is a report for the page cache and for O_DIRECT at each depth, and nothing is claimed."""
    assert [report["case"] for report in registered["reports"]] == [
        f"registered, {storage}, depth {depth}" for storage in ("page cache", "O_DIRECT") for depth in (1, 32, 128)
    ]
    assert registered["claims"] == []


def test_each_way_to_read_ran_or_says_why_not(registered: Any) -> None:
    """Each layer reads with plain and registered buffers and files; ratios are to the layers' plain reads."""
    ways = [f"{layer}, {way}" for layer in ("C", "fused", "Ring") for way in ("plain", "buffers", "files", "both")]
    for report in registered["reports"]:
        ran = {lane["name"] for lane in report["lanes"]}
        assert ran | {lane["name"] for lane in report["skipped"]} == {*ways, "Ring, both, leased"}
        assert all(lane["reason"] for lane in report["skipped"])
        if "page cache" in report["case"]:
            assert {lane for lane in ran if not lane.startswith("C")} == {*ways[4:], "Ring, both, leased"}
        for lane in report["lanes"]:
            rivals = ran & {"C, plain", "fused, plain", "Ring, plain"}
            assert lane["cpu_ratio"].keys() == lane["wall_ratio"].keys() == rivals


@pytest.mark.parametrize("function", ["fused_calls", "operations", "leased_operations"])
@pytest.mark.parametrize("depth", [1, 32])
def test_bytes_that_are_not_the_files_stop_it(repository: Path, function: str, depth: int) -> None:
    """A lane whose reads bring something else than the file has raises instead of reporting a time."""
    program = (
        "from contextlib import ExitStack\n"
        "from benchmarks import registered\n"
        f"form = registered.Form({depth}, False, True, True)\n"
        "with ExitStack() as at_end:\n"
        f"    lane = registered.{function}(form, at_end)\n"
        "    lane(1)\n"
        "    right = registered.content()\n"
        "    last = registered.places()[-1]\n"
        "    wrong = right[:last] + b'x' + right[last + 1 :]\n"
        "    registered.content = lambda: wrong\n"
        "    try:\n"
        "        lane(1)\n"
        "    except registered.Wrong as error:\n"
        "        print(error.args == (form,))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_wrong_completion_stops_it(repository: Path) -> None:
    """A lane whose completions differ from its requests raises instead of reporting a time."""
    program = (
        "from contextlib import ExitStack\n"
        "from uring import fused\n"
        "from benchmarks import nop_layers\n"
        "fused.completions = lambda r, count: iter([(0, -22, 0)])\n"
        "with ExitStack() as at_end:\n"
        "    try:\n"
        "        nop_layers.fused_calls(at_end)(1)\n"
        "    except nop_layers.Wrong as error:\n"
        "        print(error.args)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "(0, -22)\n"
