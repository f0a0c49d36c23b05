"""What one request costs in each layer: NOPs, 32 for each submit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .. import nops, rivals
from ..harness import Bench, Case, Claim, Lane, Point, Run

PER_SUBMIT = 32
C, NAMES, FUSED, RING, COUNTED = "C", "uring.liburing", "uring.fused", "uring.Ring", "uring.Ring, counted"
BULK, SHOWN, FASTEST = "uring.nop_many", "liburing, as shown", "liburing, fastest"


def lane(name: str, what: str, function: Callable[..., Run], times: int = 1, **options: Any) -> Lane:
    """A lane over NOPs; `times` as many where they are too quick to be measured well."""

    def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
        return function(bench.scaled(times * 48_000, PER_SUBMIT), PER_SUBMIT, at_end, **options)

    return Lane(name, what, opened)


CASES = (
    Case(
        name="nop",
        title="One NOP, 32 for each submit, through each layer",
        group="Cost of a request",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=(
            lane(C, "liburing from C, the floor; a ring without flags", nops.c_floor, 10),
            lane("C, set up like Ring", "the same with the flags that Ring chooses", nops.c_floor, 10, like_ring=True),
            lane(
                BULK,
                "one call for all of them; a window of 128 and up to 64 for each submit, by its own choice",
                nops.bulk_by_default,
                10,
            ),
            lane(FUSED, "a call for each, one for each batch of completions; memory is the caller's", nops.fused_calls),
            lane(NAMES, "the C names, one Python call for each C call", nops.c_names),
            lane(RING, "Operations: everything on, result() of each", nops.operations),
            lane(COUNTED, "the same, only counted", nops.operations, results=False),
            lane(SHOWN, f"PyPI's liburing {rivals.LIBURING} as its documentation shows it; unsafe", nops.pypi_as_shown),
            lane(FASTEST, "the same, with unchecked indexing behind one CQE; unsafe", nops.pypi_fastest),
        ),
        claims=(
            Claim("bulk takes at most 1.3 times C's time", BULK, C, "wall", "<=", 1.3),
            Claim("an Operation takes at most 2.2 times liburing's CPU", RING, SHOWN, "cpu", "<=", 2.2, aim=1.6),
            Claim("a fused call takes at most 0.8 times liburing's CPU", FUSED, SHOWN, "cpu", "<=", 0.8),
        ),
        loses="An Operation, which cannot corrupt memory, costs more than the calls of an unsafe binding.",
    ),
)
