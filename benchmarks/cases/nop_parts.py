"""Where the nanoseconds of one Operation go: each part measured by itself, on the parts that Ring really uses.

Parts are measured apart, with warm caches, so they add up to a little less than the whole. What a part shares with all
others, the loop around it and the clock, is measured in the same run and taken off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from uring._native import lib
from uring.builders.timing import NOP
from uring.flight import OUTCOME_SIZE, unpack
from uring.operation import Operation
from uring.ring import Ring

from .. import nops
from ..harness import Bench, Case, Lane, Measured, Outcome, Point, Run

PER_SUBMIT = 32
ENTRIES = 64
BATCH = range(PER_SUBMIT)
BATCHES = 1000


class Stub:
    """A builder that builds nothing: what calling one costs in the form that all of them have."""

    def nop(self, *, result: int | None = None, **options: Any) -> Any:
        """As Ring.nop."""
        if result is None:
            return self._start(None, None, (), 1 if options else 0)
        return None

    def _start(self, kind: Any, memory: Any, about: tuple[Any, ...], options: int, *arguments: Any) -> Any:
        return None


def clock(part: Callable[[], object]) -> int:
    """CPU nanoseconds of a call."""
    start = time.process_time_ns()
    part()
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

    def queue(self) -> None:
        """A batch of fused calls, to be entered with."""
        self.take_in()
        self.fused()

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


PARTS = (
    # name, what, prepared by, whether the caller's loop is in it
    ("loop", "the caller's `for`", "nothing", False),
    ("builder", "calling the builder, its keywords, and Ring._start: two frames and a dict", "nothing", True),
    ("creation", "an Operation, empty, and its end", "nothing", True),
    ("fields", "its fields", "nothing", True),
    ("fused", "the fused call: crossing into C, owner check, slot, SQE", "take_in", True),
    ("slot_table", "entering the table of operations in flight", "nothing", True),
    ("entering", "uring_wait: the system call, the kernel's 32 NOPs, slots back from user_data", "queue", False),
    ("unpacking", "completions become Python's numbers", "nothing", False),
    (
        "handing_out",
        "completions become numbers, reach their operations, and these the queue of what is ready",
        "lend",
        False,
    ),
    ("listing", "the list that wait() returns", "nothing", False),
    ("results", "Operation.result()", "forget", False),
)


def lane(name: str, what: str, prepared_by: str, is_loop_off: bool) -> Lane:
    """A lane of a part."""

    def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        parts = Parts(at_end.enter_context(Ring(ENTRIES)))
        prepare, part = getattr(parts, prepared_by), getattr(parts, name)
        base = parts.loop if is_loop_off else parts.nothing
        batches = bench.scaled(BATCHES)

        def run() -> Outcome:
            spent = 0
            for _ in range(batches):
                prepare()
                spent += clock(part)
            spent -= sum(clock(base) for _ in range(batches))
            parts.take_in()
            return Outcome(batches * PER_SUBMIT, measured=Measured(max(1, spent), max(0, spent), 0))

        return run

    return Lane(f"uring.Ring: {name.replace('_', ' ')}", what, opened)


def whole(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
    """The whole, as one loop."""
    return nops.operations(bench.scaled(BATCHES) * PER_SUBMIT, PER_SUBMIT, at_end)


def floor(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
    """C."""
    return nops.c_floor(bench.scaled(BATCHES) * PER_SUBMIT, PER_SUBMIT, at_end, like_ring=True)


CASES = (
    Case(
        name="nop-parts",
        title="Where the nanoseconds of one Operation go (a NOP, 32 for each submit)",
        reference="uring.Ring",
        group="Cost of a request",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            Lane("uring.Ring", "the whole, measured as one loop", whole),
            *(lane(*part) for part in PARTS),
            Lane("C", "what the system call and the kernel's NOPs take anybody", floor),
        ),
    ),
)
