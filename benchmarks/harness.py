"""Runs lanes against each other, and says what each costs.

A lane is one way to do the same work. Lanes run one after the other in each round, every round beginning with another
one, so that a busy machine disturbs all alike; a ratio is taken within a round, and the median of the rounds counts.
CPU time decides: it is what a program cannot do otherwise with, and neighbours disturb it least.
"""

from __future__ import annotations

import importlib
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"


class Missing(Exception):
    """A lane cannot run here; the message says why."""


class Spent(NamedTuple):
    """Nanoseconds for one operation."""

    wall: float
    cpu: float


class Lane(NamedTuple):
    """One way to do the work of a case."""

    name: str
    what: str
    """What it does, for the table's reader."""
    open: Callable[[ExitStack], Callable[[int], Spent]]
    """Makes what it needs, or raises Missing; returns the function that runs so many batches, and checks them."""


class Claim(NamedTuple):
    """What must hold: the CPU time of `lane` is at most `limit` times that of `rival`."""

    lane: str
    rival: str
    limit: float
    aim: float | None = None


class Case(NamedTuple):
    """A question, and the lanes that answer it."""

    name: str
    title: str
    lanes: tuple[Lane, ...]
    claims: tuple[Claim, ...]
    rivals: tuple[str, ...]
    """The lanes that the others are compared with, a column each."""
    per_batch: int
    batches: int
    quick_batches: int


def timed(loop: Callable[[int], None], per_batch: int) -> Callable[[int], Spent]:
    """A Python loop over batches as a lane's function."""
    loop(2)

    def run(batches: int) -> Spent:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        loop(batches)
        cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        count = batches * per_batch
        return Spent(wall / count, cpu / count)

    return run


def compiled(source: Path) -> Path:
    """A C program over the vendored liburing, compiled when it or the library is newer.

    Raises:
        Missing: no compiler, no source, or the compiler refuses.
    """
    sys.path.insert(0, str(ROOT))
    try:
        build_ffi: Any = importlib.import_module("build_ffi")
        tree = build_ffi.vendor.materialise()
        compiler = build_ffi.compiler()
    except Exception as error:
        raise Missing(str(error)) from error
    generated = ROOT / "build" / "generated"
    build_ffi.write_version_header(build_ffi.vendor.Lock.load(), generated)
    inputs = [source, *(tree / "src" / name for name in build_ffi.SOURCES)]
    program = BUILD / source.stem
    if program.is_file() and all(path.stat().st_mtime <= program.stat().st_mtime for path in inputs):
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in build_ffi.DEFINES]
    command = [*compiler, "-std=gnu11", "-O2", "-w", *defines, *build_ffi.include_flags(tree, generated)]
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    command += [*map(str, inputs), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{shlex.join(compiler)} refuses {source.name}: {done.stderr.strip()[-300:]}")
    fresh.replace(program)
    return program


def program_lane(source: Path, per_batch: int, *arguments: object) -> Callable[[int], Spent]:
    """A C program, which measures itself, as a lane's function; it takes how many batches of how many, and the rest."""
    program = compiled(source)

    def run(batches: int) -> Spent:
        command = [str(program), str(batches), str(per_batch), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program.name} failed: {done.stderr.strip()}")
        wall, cpu = map(int, done.stdout.split())
        count = batches * per_batch
        return Spent(wall / count, cpu / count)

    return run


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median and quartiles."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return {"median": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def open_lanes(case: Case, at_end: ExitStack) -> tuple[dict[str, Callable[[int], Spent]], list[dict[str, str]]]:
    """The lanes that can run, and why the others cannot."""
    running: dict[str, Callable[[int], Spent]] = {}
    skipped = []
    for lane in case.lanes:
        try:
            running[lane.name] = lane.open(at_end)
        except Missing as reason:
            skipped.append({"name": lane.name, "reason": str(reason)})
    return running, skipped


def run_case(case: Case, rounds: int, *, quick: bool = False) -> dict[str, Any]:
    """Run all lanes that can run; what came out, as it is written to JSON."""
    batches = case.quick_batches if quick else case.batches
    with ExitStack() as at_end:
        running, skipped = open_lanes(case, at_end)
        spent: dict[str, list[Spent]] = {name: [] for name in running}
        names = list(running)
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                spent[name].append(running[name](batches))
    rivals = [name for name in case.rivals if name in spent]
    lanes = [
        {
            "name": lane.name,
            "what": lane.what,
            "cpu_ns": spread(one.cpu for one in spent[lane.name]),
            "wall_ns": spread(one.wall for one in spent[lane.name]),
            "cpu_ratio": {rival: ratio(spent[lane.name], spent[rival]) for rival in rivals},
            "wall_ratio": {rival: ratio(spent[lane.name], spent[rival], "wall") for rival in rivals},
        }
        for lane in case.lanes
        if lane.name in spent
    ]
    return {
        "case": case.name,
        "title": case.title,
        "machine": machine(),
        "settings": {"rounds": rounds, "batches": batches, "per_batch": case.per_batch, "quick": quick},
        "lanes": lanes,
        "skipped": skipped,
        "claims": [judged(claim, spent) for claim in case.claims],
    }


def ratio(lane: list[Spent], rival: list[Spent], kind: str = "cpu") -> float:
    """The median over the rounds of how many times the rival's CPU time, or wall time, a lane takes."""
    pairs = zip(lane, rival, strict=True)
    return round(statistics.median(float(getattr(a, kind) / getattr(b, kind)) for a, b in pairs), 3)


def judged(claim: Claim, spent: dict[str, list[Spent]]) -> dict[str, Any]:
    """Whether a claim holds; None when one of its lanes did not run."""
    found = ratio(spent[claim.lane], spent[claim.rival]) if {claim.lane, claim.rival} <= spent.keys() else None
    return {**claim._asdict(), "ratio": found, "holds": None if found is None else found <= claim.limit}


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    settings, where = report["settings"], report["machine"]
    rivals = list(report["lanes"][0]["cpu_ratio"]) if report["lanes"] else []
    lines = [
        report["title"],
        f"{settings['rounds']} rounds of {settings['batches']} x {settings['per_batch']}, Linux {where['kernel']}, "
        f"Python {where['python']}, {where['cpus']} CPUs, load {where['load']}; ns for one operation: "
        "median (quartiles)",
        "",
        f"{'':30}{'CPU time':>20}{'wall time':>20}" + "".join(f"{'x ' + name:>24}" for name in rivals),
    ]
    for lane in report["lanes"]:
        cells = [
            f"{cell['median']:.0f} ({cell['low']:.0f}-{cell['high']:.0f})" for cell in (lane["cpu_ns"], lane["wall_ns"])
        ]
        ratios = "".join(f"{value:>24.2f}" for value in lane["cpu_ratio"].values())
        lines.append(f"{lane['name']:30}{cells[0]:>20}{cells[1]:>20}{ratios}")
    lines += ["", *(f"{lane['name']}: {lane['what']}" for lane in report["lanes"])]
    lines += [f"skipped: {lane['name']}: {lane['reason']}" for lane in report["skipped"]]
    lines.append("")
    for claim in report["claims"]:
        verdict = {True: "holds", False: "DOES NOT HOLD", None: "not judged, a lane did not run"}[claim["holds"]]
        aim = f", aim {claim['aim']}" if claim["aim"] else ""
        found = "" if claim["ratio"] is None else f" {claim['ratio']:.2f}"
        lines.append(f"{claim['lane']} <= {claim['limit']} x {claim['rival']}{aim}:{found} {verdict}")
    return "\n".join(lines)
