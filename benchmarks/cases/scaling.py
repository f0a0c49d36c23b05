"""Whether cost stays flat with the number in flight, and linear in the number of operations; and memory."""

from __future__ import annotations

import os
from array import array
from contextlib import ExitStack
from functools import partial
from typing import Any

from .. import rivals
from ..harness import Bench, Case, Claim, Done, Lane, Point, Ready
from ..rivals import Wrong


def nops(bench: Bench, point: Point, at_end: ExitStack) -> Ready:
    """nop_many with a window."""
    import uring

    depth = int(point.get("in_flight", 128))
    count = int(point.get("operations", bench.pick(300_000, 20_000)))
    ring = at_end.enter_context(uring.Ring(min(32768, max(64, depth))))

    def run() -> Done:
        if ring.nop_many(count, depth=depth).failed:
            raise Wrong
        return Done(count)

    return Ready(run)


def operations(bench: Bench, point: Point, at_end: ExitStack) -> Ready:
    """Operations, so many in flight at once."""
    import uring

    depth = int(point.get("in_flight", 128))
    count = int(point.get("operations", max(depth, bench.pick(65_536, 2048))))
    ring = at_end.enter_context(uring.Ring(min(32768, max(64, depth))))

    def run() -> Done:
        for start in range(0, count, depth):
            some = min(depth, count - start)
            for _ in range(some):
                ring.nop()
            if len(ring.wait(some)) != some:
                raise Wrong(some)
        return Done(count)

    return Ready(run)


def reads(bench: Bench, point: Point, at_end: ExitStack) -> Ready:
    """read_many of 64 cached bytes each, results and all."""
    import uring

    count = int(point["operations"])
    path = bench.workspace.cached(bench.workspace.file(1 << 20))
    fd = os.open(path, os.O_RDONLY)
    at_end.callback(os.close, fd)
    ring = at_end.enter_context(uring.Ring(128))
    out = bytearray(64)
    offsets = array("q", bytes(8)) * count

    def run() -> Done:
        if ring.read_many(fd, offsets, 64, out, positions=0).failed:
            raise Wrong
        return Done(count)

    return Ready(run)


MEMORY = """
import array, os, sys, uring
count, kind = int(sys.argv[2]), sys.argv[3]
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
make = {"array": lambda number: array.array("q", [number]) * count, "list": lambda number: [number] * count}[kind]
offsets, lengths, positions = make(0), make(16), make(0)
out = bytearray(16)
fd = os.open(sys.argv[1], os.O_RDONLY)
with uring.Ring(64) as ring:
    ring.read_many(fd, [0], [16], out, positions=[0]).counts
    before = peak()
    result = ring.read_many(fd, offsets, lengths, out, positions=positions)
    print((peak() - before) / count, result.failed)
"""


def memory(kind: str, bench: Bench, _point: Point, _at_end: ExitStack) -> Ready:
    """What a bulk call takes beyond the caller's buffers and numbers, in a process of its own."""
    path = bench.workspace.file(1 << 20)
    count = bench.pick(1_000_000, 200_000)

    def run() -> Done:
        each, failed = rivals.child(MEMORY, path, count, kind).split()
        if failed != "0":
            raise Wrong(failed)
        return Done(count, extra={"bytes_each": float(each)})

    return Ready(run)


BULK, RING = "uring bulk", "uring.Ring"
_EXACT: Any = {"unit": "operation", "rounds": 3}

CASES = (
    Case(
        name="in-flight",
        title="NOPs by how many are in flight: is the cost flat?",
        lanes=(
            Lane(BULK, "nop_many", nops),
            Lane(RING, "Operations", operations),
        ),
        axis="in_flight",
        values=(1, 8, 64, 512, 4096, 32768),
        quick_values=(8, 4096),
        ours=(BULK, RING),
        shows=("cpu",),
        **_EXACT,
    ),
    Case(
        name="operations",
        title="By how many operations there are: is the cost of one the same?",
        lanes=(
            Lane("NOPs in bulk", "nop_many", nops),
            Lane("reads in bulk", "read_many of 64 cached bytes, results and all", reads),
            Lane("Operations", "NOPs, 128 for each submit", operations, only=(1000, 10_000, 100_000, 1_000_000)),
        ),
        axis="operations",
        values=(1000, 10_000, 100_000, 1_000_000, 10_000_000),
        quick_values=(1000, 100_000),
        ours=("NOPs in bulk", "reads in bulk", "Operations"),
        shows=("cpu",),
        **_EXACT,
    ),
    Case(
        name="memory",
        title="Memory of a bulk call of a million reads, beyond the caller's buffers and numbers",
        lanes=(
            Lane("arrays", "offsets, lengths and positions as arrays of 64 bits", partial(memory, "array")),
            Lane("lists", "the same as lists", partial(memory, "list")),
        ),
        ours=("arrays", "lists"),
        claims=(
            Claim("bytes for each request, numbers given as lists", "lists", None, "bytes_each", most=48),
            Claim("bytes for each request, numbers given as arrays", "arrays", None, "bytes_each", most=48),
        ),
        shows=("bytes_each",),
        **_EXACT,
    ),
)
