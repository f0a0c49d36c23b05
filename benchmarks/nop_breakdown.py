"""Where the nanoseconds of one Operation go: each part measured by itself, on the parts that Ring really uses.

Parts are measured apart, with warm caches, so they add up to a little less than the whole; "the rest" is what the sum
lacks. What a part shares with all others, the loop around it, is measured first and taken off.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from uring._native import lib
from uring.builders.timing import NOP
from uring.flight import OUTCOME_SIZE, unpack
from uring.operation import Operation
from uring.ring import Ring

from .cases.nop import ENTRIES, PER_SUBMIT, c_floor, operations
from .environment import environment, headline
from .harness import Missing, Ready, measure
from .workspace import BUILD

BATCH = range(PER_SUBMIT)


class Stub:
    """A builder that builds nothing: what calling one costs in the form that all of them have."""

    def nop(self, *, result: int | None = None, **options: Any) -> Any:
        """As Ring.nop."""
        if result is None:
            return self._start(None, None, (), 1 if options else 0)
        return None

    def _start(self, kind: Any, memory: Any, about: tuple[Any, ...], options: int, *arguments: Any) -> Any:
        return None


def clock(loop: Callable[[], object]) -> int:
    """CPU nanoseconds of a call."""
    start = time.process_time_ns()
    loop()
    return time.process_time_ns() - start


class Parts:
    """One batch of 32 of each part. What prepares it comes first, and is not measured."""

    def __init__(self, ring: Any) -> None:
        self.ring, self.native, self.stub = ring, ring._native, Stub()
        self.operations: list[Any] = [ring.nop() for _ in BATCH]
        self.slots = [operation._slot for operation in self.operations]
        ring.wait(PER_SUBMIT)
        self.ready = dict.fromkeys(self.operations)

    def nothing(self) -> None:
        """Prepare nothing."""

    def loop(self) -> None:
        """The caller's loop, alone."""
        for _ in BATCH:
            pass

    def builder(self) -> None:
        """A builder's call, and what it calls."""
        stub = self.stub
        for _ in BATCH:
            stub.nop()

    def creation(self) -> None:
        """Operations, made and dropped."""
        for _ in BATCH:
            Operation()

    def fields(self) -> None:
        """All that Ring._start stores."""
        ring, operation = self.ring, self.operations[0]
        for _ in BATCH:
            operation._ring = ring
            operation._kind = NOP
            operation._memory = None
            operation._about = ()
            operation._res = operation._extra = None
            operation._slot = 0

    def take_in(self) -> None:
        """Drain the ring of what `fused` has queued; nobody's, so it is not handed out."""
        lib.uring_wait(self.native, self.native.in_flight, -1)
        self.native.filled = 0
        self.ring._batch = self.native.batches

    def fused(self) -> None:
        """The fused calls."""
        call, native = lib.uring_nop, self.native
        for _ in BATCH:
            call(native, 0, 0)

    def entering(self) -> None:
        """The wait for all of them."""
        lib.uring_wait(self.native, PER_SUBMIT, -1)

    def slot_table(self) -> None:
        """Stores into the table of operations in flight."""
        ring, operation = self.ring, self.operations[0]
        for _ in BATCH:
            ring._table[0] = operation
        ring._table[0] = None

    def unpacking(self) -> None:
        """Completions become numbers."""
        for _slot, _res, _flags in unpack(self.ring._copied[: PER_SUBMIT * OUTCOME_SIZE]):
            pass

    def lend(self) -> None:
        """Put our operations back into flight, with completions in the array."""
        self.native.filled = 0
        self.ring._outcomes_left = None
        self.ring._batch = self.native.batches
        self.ring._ready.clear()
        for index, (slot, operation) in enumerate(zip(self.slots, self.operations, strict=True)):
            outcome = self.ring._outcomes[index]
            outcome.slot, outcome.res, outcome.flags = slot, 0, 0
            self.ring._table[slot] = operation

    def handing_out(self) -> None:
        """Completions, unpacked, reach their operations."""
        self.ring._hand_out(PER_SUBMIT)

    def listing(self) -> None:
        """The list that is returned, walked through."""
        for _operation in [*self.ready]:
            pass

    def forget(self) -> None:
        """Nothing is ready, and every operation is complete."""
        self.ring._ready.clear()
        for operation in self.operations:
            operation._res = 0

    def results(self) -> None:
        """All results."""
        for operation in self.operations:
            operation.result()

    def measure(self, batches: int) -> dict[str, float]:
        """Nanoseconds of one operation in each part, what only measuring costs taken off."""
        order = (
            *((self.nothing, part) for part in (self.loop, self.builder, self.creation, self.fields, self.slot_table)),
            (self.take_in, self.fused),
            (self.nothing, self.entering),  # of what the line above has queued
            (self.nothing, self.unpacking),
            (self.lend, self.handing_out),
            (self.nothing, self.listing),
            (self.forget, self.results),
        )
        spent = dict.fromkeys((part.__name__ for _, part in order), 0)
        for _ in range(batches):
            for prepare, part in order:
                prepare()
                spent[part.__name__] += clock(part)
        idle = sum(clock(self.nothing) for _ in range(batches))
        return {name: (total - idle) / batches / PER_SUBMIT for name, total in spent.items()}


WHAT = {
    "loop": "the caller's `for`",
    "builder": "calling the builder, its keywords, and Ring._start: two Python frames and a dict",
    "creation": "an Operation, empty, and its end",
    "fields": "its seven fields",
    "fused": "the fused call: crossing into C, owner check, slot, SQE",
    "slot_table": "entering the table of operations in flight",
    "entering": "uring_wait: the system call, the kernel's 32 NOPs, slots back from user_data",
    "kernel": "  of which C's own loop takes, system call and NOPs",
    "unpacking": "completions from C's array to Python's numbers",
    "handing_out": "giving them to their Operations, and these to the queue of what is ready",
    "listing": "the list that wait() returns",
    "results": "Operation.result()",
    "rest": "the rest: wait()'s own checks, cold caches, the collector",
    "whole": "the whole, measured as one loop",
}


def run(rounds: int, *, quick: bool = False) -> dict[str, Any]:
    """Measure the parts and the whole, round by round."""
    batches = 50 if quick else 1000
    seen: dict[str, list[float]] = {name: [] for name in WHAT}
    with ExitStack() as at_end:
        whole = operations(at_end)
        try:
            floor = c_floor(at_end)
        except Missing:
            floor = None
        ring = at_end.enter_context(Ring(ENTRIES))
        parts = Parts(ring)
        for _ in range(rounds):
            for name, spent in parts.measure(batches).items():
                seen[name].append(spent)
            seen["whole"].append(measure(Ready(lambda: whole(batches))).cpu)
            if floor is not None:
                seen["kernel"].append(measure(Ready(lambda: floor(batches))).cpu)
    found = {name: statistics.median(values) for name, values in seen.items() if values}
    for name in ("builder", "creation", "fields", "fused", "slot_table"):
        found[name] -= found["loop"]
    found["handing_out"] -= found["unpacking"]
    apart = sum(value for name, value in found.items() if name not in ("kernel", "whole"))  # entering has the kernel's
    found["rest"] = found["whole"] - apart
    return {
        "case": "nop",
        "machine": headline(environment(BUILD)),
        "settings": {"rounds": rounds, "batches": batches, "per_batch": PER_SUBMIT, "quick": quick},
        "parts": [
            {"name": name, "what": what, "cpu_ns": round(found[name], 1)}
            for name, what in WHAT.items()
            if name in found
        ],
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = ["CPU nanoseconds of one Operation (a NOP, 32 for each submit)"]
    lines += [f"{part['cpu_ns']:8.0f}  {part['what']}" for part in report["parts"]]
    return "\n".join(lines)
