"""What one request costs in each layer: NOPs, 32 for each submit, all completions looked at.

A NOP is nothing to the kernel, so nearly all that is measured is the way there and back. Every lane tags its
requests, submits 32 in one system call that waits for all of them, looks at user_data and res of each completion (an
Operation: its result), and counts them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..compiled import program_lane
from ..harness import Bench, Case, Claim, Done, Lane, Missing, Point, Ready, timed

PER_SUBMIT = 32
ENTRIES = 64
WANTED = "2026.3.30"

C, NAMES, FUSED, RING, COUNTED = "C", "uring.liburing", "uring.fused", "uring.Ring", "uring.Ring, counted"
BULK = "uring bulk"
SHOWN, FASTEST = "liburing, as shown", "liburing, fastest"


class Wrong(Exception):
    """A completion that is not what was asked for."""


def c_floor(_at_end: ExitStack) -> Callable[[int], Done]:
    """The C program."""
    return program_lane("nop", PER_SUBMIT)


def c_names(at_end: ExitStack) -> Callable[[int], Done]:
    """uring.liburing: a Python call for each C call."""
    from uring import liburing as L

    ring = L.io_uring()
    if (code := L.io_uring_queue_init(ENTRIES, ring, 0)) < 0:
        raise Missing(f"io_uring_queue_init: {os.strerror(-code)}")
    at_end.callback(L.io_uring_queue_exit, ring)
    cqes = L.ffi.new("struct io_uring_cqe *[]", PER_SUBMIT)
    get_sqe, prep_nop, set_data64 = L.io_uring_get_sqe, L.io_uring_prep_nop, L.io_uring_sqe_set_data64
    submit_and_wait, peek, advance = L.io_uring_submit_and_wait, L.io_uring_peek_batch_cqe, L.io_uring_cq_advance

    def loop(batches: int) -> None:
        for _ in range(batches):
            for i in range(PER_SUBMIT):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                set_data64(sqe, i)
            submit_and_wait(ring, PER_SUBMIT)
            count = peek(ring, cqes, PER_SUBMIT)
            for i in range(count):
                cqe = cqes[i]
                if cqe.user_data != i or cqe.res:
                    raise Wrong(cqe.user_data, cqe.res)
            advance(ring, count)
            if count != PER_SUBMIT:
                raise Wrong(count)

    return timed(loop, PER_SUBMIT)


def fused_calls(at_end: ExitStack) -> Callable[[int], Done]:
    """uring.fused: a call for each request, and one for each batch of completions."""
    from uring import fused
    from uring import liburing as L

    ring = L.io_uring()
    if (code := L.io_uring_queue_init(ENTRIES, ring, 0)) < 0:
        raise Missing(f"io_uring_queue_init: {os.strerror(-code)}")
    at_end.callback(L.io_uring_queue_exit, ring)
    r = fused.attach(ring, ENTRIES)
    at_end.callback(fused.detach, r)
    nop, wait, completions = fused.uring_nop, fused.uring_wait, fused.completions

    def loop(batches: int) -> None:
        for _ in range(batches):
            for i in range(PER_SUBMIT):
                nop(r, i, 0)
            seen = 0
            for user_data, res, _flags in completions(r, wait(r, PER_SUBMIT, -1)):
                if user_data != seen or res:
                    raise Wrong(user_data, res)
                seen += 1
            if seen != PER_SUBMIT:
                raise Wrong(seen)

    return timed(loop, PER_SUBMIT)


def operations(at_end: ExitStack) -> Callable[[int], Done]:
    """uring.Ring: an Operation for each request, its result taken."""
    from uring.ring import Ring

    ring = at_end.enter_context(Ring(ENTRIES))

    def loop(batches: int) -> None:
        for _ in range(batches):
            for _i in range(PER_SUBMIT):
                ring.nop()
            done: list[Any] = ring.wait(PER_SUBMIT)
            for operation in done:
                if operation.result() is not None:
                    raise Wrong(operation)
            if len(done) != PER_SUBMIT:
                raise Wrong(len(done))

    return timed(loop, PER_SUBMIT)


def counted_operations(at_end: ExitStack) -> Callable[[int], Done]:
    """The same without a call of result(): for those who want to know that it is over, not how."""
    from uring.ring import Ring

    ring = at_end.enter_context(Ring(ENTRIES))

    def loop(batches: int) -> None:
        for _ in range(batches):
            for _i in range(PER_SUBMIT):
                ring.nop()
            if (count := len(ring.wait(PER_SUBMIT))) != PER_SUBMIT:
                raise Wrong(count)

    return timed(loop, PER_SUBMIT)


def rival() -> Any:
    """The other binding.

    Raises:
        Missing: it is not there, or another version, to which the loops below may not do justice.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("liburing")
        other = importlib.import_module("liburing")
    except (PackageNotFoundError, ImportError) as error:
        raise Missing(f"the package liburing {WANTED} is not installed (pip install '.[bench]'): {error}") from error
    if found != WANTED:
        raise Missing(f"expected the package liburing {WANTED}, found {found}")
    return other


def rival_ring(other: Any, at_end: ExitStack) -> Any:
    """A ring of the other binding."""
    ring = other.Ring()
    other.io_uring_queue_init(ENTRIES, ring, 0)
    at_end.callback(other.io_uring_queue_exit, ring)
    return ring


def rival_as_shown(at_end: ExitStack) -> Callable[[int], Done]:
    """The other binding as its documentation shows it."""
    other = rival()
    ring, cqe = rival_ring(other, at_end), other.Cqe()
    get_sqe, prep_nop, set_data64 = other.io_uring_get_sqe, other.io_uring_prep_nop, other.io_uring_sqe_set_data64
    submit_and_wait, advance = other.io_uring_submit_and_wait, other.io_uring_cq_advance
    start, following = other.io_uring_cqe_iter_init, other.io_uring_cqe_iter_next

    def loop(batches: int) -> None:
        for _ in range(batches):
            for i in range(PER_SUBMIT):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                set_data64(sqe, i)
            submit_and_wait(ring, PER_SUBMIT)
            seen = 0
            walk = start(ring)
            while following(walk, cqe):
                entry = cqe[0]
                if entry.user_data != seen or entry.res:
                    raise Wrong(entry.user_data, entry.res)
                seen += 1
            advance(ring, seen)
            if seen != PER_SUBMIT:
                raise Wrong(seen)

    return timed(loop, PER_SUBMIT)


def rival_fastest(at_end: ExitStack) -> Callable[[int], Done]:
    """The other binding in the fastest way we found: attributes for calls, and completions by index without a check.

    Whether entries 1 to 31 are there, and where the queue wraps, is left to luck: a queue of 128 entries and batches
    of 32 happen to fit.
    """
    other = rival()
    ring, cqe = rival_ring(other, at_end), other.Cqe()
    get_sqe, prep_nop = other.io_uring_get_sqe, other.io_uring_prep_nop
    submit_and_wait, wait, advance = other.io_uring_submit_and_wait, other.io_uring_wait_cqe, other.io_uring_cq_advance

    def loop(batches: int) -> None:
        for _ in range(batches):
            for i in range(PER_SUBMIT):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                sqe.user_data = i
            submit_and_wait(ring, PER_SUBMIT)
            wait(ring, cqe)
            for i in range(PER_SUBMIT):
                entry = cqe[i]
                if entry.user_data != i or entry.res:
                    raise Wrong(entry.user_data, entry.res)
            advance(ring, PER_SUBMIT)

    return timed(loop, PER_SUBMIT)


def bulk(at_end: ExitStack) -> Callable[[int], Done]:
    """Ring.nop_many: one call for all of them."""
    from uring.ring import Ring

    ring = at_end.enter_context(Ring(ENTRIES))

    def loop(batches: int) -> None:
        if ring.nop_many(batches * PER_SUBMIT).failed:
            raise Wrong

    return timed(loop, PER_SUBMIT)


def lane(name: str, what: str, function: Callable[[ExitStack], Callable[[int], Done]]) -> Lane:
    """A lane that runs so many batches."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        run, batches = function(at_end), bench.pick(2000, 50)
        return Ready(lambda: run(batches))

    return Lane(name, what, prepare)


CASES = (
    Case(
        name="nop",
        title="What a request costs by itself: NOPs, 32 for each submit, by layer",
        lanes=(
            lane(C, "liburing from C, the floor", c_floor),
            lane(BULK, "nop_many: one call, the loop in C", bulk),
            lane(FUSED, "one call a request, one a batch of completions; memory is the caller's", fused_calls),
            lane(RING, "Operations: everything on, result() of each", operations),
            lane(COUNTED, "the same, only counted", counted_operations),
            lane(NAMES, "the C names, one Python call for each C call", c_names),
            lane(SHOWN, f"PyPI's liburing {WANTED} as its documentation shows it; unsafe", rival_as_shown),
            lane(
                FASTEST, "the same in the fastest way found: unchecked indexing behind one CQE; unsafe", rival_fastest
            ),
        ),
        ours=(BULK, FUSED, RING, COUNTED, NAMES),
        claims=(
            Claim("a NOP in bulk, against C", BULK, C, "wall", most=1.3),
            Claim("an Operation, against the other binding as shown", RING, SHOWN, "cpu", most=2.2, aim=1.6),
            Claim("a fused call, against the other binding as shown", FUSED, SHOWN, "cpu", most=0.8),
        ),
        loses="A single Operation, with all of its safety, costs twice what the fastest unsafe binding takes.",
    ),
)
