"""NOPs through each layer, as lanes: so many for each submit, all completions looked at.

A NOP is nothing to the kernel, so nearly all that is measured is the way there and back. Every lane tags its requests,
submits a batch in one system call that waits for all of it, looks at user_data and res of each completion (an
Operation: its result), and counts them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from . import jobs, rivals
from .harness import Missing, Outcome, Run, Wrong

Loop = Callable[[int], None]
"""Makes so many NOPs, a multiple of what is submitted at once."""


def in_batches(loop: Loop, count: int, per_submit: int) -> Run:
    """A loop as a lane's run: `count` NOPs; the first ones, for what is not there yet, come before."""
    loop(2 * per_submit)

    def run() -> Outcome:
        loop(count)
        return Outcome(count)

    return run


def c_floor(count: int, per_submit: int, _at_end: ExitStack, *, waiting: int = 0, like_ring: bool = False) -> Run:
    """The C program.

    Args:
        count: NOPs.
        per_submit: of them in a batch.
        waiting: polls that are in flight meanwhile.
        like_ring: set up as Ring is; else with no flags.
    """
    setup = jobs.ring_setup() if like_ring else 0
    return lambda: jobs.program("nop", count, count=count, per_submit=per_submit, waiting=waiting, setup=setup)


def plain_ring(entries: int, at_end: ExitStack) -> Any:
    """A `struct io_uring` without flags."""
    from uring import liburing as L

    ring = L.io_uring()
    if (code := L.io_uring_queue_init(entries, ring, 0)) < 0:
        raise Missing(f"io_uring_queue_init: {os.strerror(-code)}")
    at_end.callback(L.io_uring_queue_exit, ring)
    return ring


def c_names(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """uring.liburing: a Python call for each C call."""
    from uring import liburing as L

    ring = plain_ring(max(64, per_submit), at_end)
    cqes = L.ffi.new("struct io_uring_cqe *[]", per_submit)
    get_sqe, prep_nop, set_data64 = L.io_uring_get_sqe, L.io_uring_prep_nop, L.io_uring_sqe_set_data64
    submit_and_wait, peek, advance = L.io_uring_submit_and_wait, L.io_uring_peek_batch_cqe, L.io_uring_cq_advance

    def loop(nops: int) -> None:
        for _ in range(nops // per_submit):
            for i in range(per_submit):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                set_data64(sqe, i)
            submit_and_wait(ring, per_submit)
            seen = peek(ring, cqes, per_submit)
            for i in range(seen):
                cqe = cqes[i]
                if cqe.user_data != i or cqe.res:
                    raise Wrong(cqe.user_data, cqe.res)
            advance(ring, seen)
            if seen != per_submit:
                raise Wrong(seen)

    return in_batches(loop, count, per_submit)


def fused_loop(r: Any, per_submit: int) -> Loop:
    """The loop of `fused_calls`, on a ring that is attached."""
    from uring import fused

    nop, wait, completions = fused.uring_nop, fused.uring_wait, fused.completions

    def loop(nops: int) -> None:
        for _ in range(nops // per_submit):
            for i in range(per_submit):
                nop(r, i, 0)
            seen = 0
            for user_data, res, _flags in completions(r, wait(r, per_submit, -1)):
                if user_data != seen or res:
                    raise Wrong(user_data, res)
                seen += 1
            if seen != per_submit:
                raise Wrong(seen)

    return loop


def fused_calls(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """uring.fused: a call for each request, and one for each batch of completions."""
    from uring import fused

    r = fused.attach(plain_ring(max(64, per_submit), at_end), max(64, per_submit))
    at_end.callback(fused.detach, r)
    return in_batches(fused_loop(r, per_submit), count, per_submit)


def operation_loop(ring: Any, per_submit: int, *, results: bool = True) -> Loop:
    """The loop of `operations`; without results it is for those who want to know that it is over, not how."""

    def loop(nops: int) -> None:
        for _ in range(nops // per_submit):
            for _i in range(per_submit):
                ring.nop()
            done: list[Any] = ring.wait(per_submit)
            if results:
                for operation in done:
                    if operation.result() is not None:
                        raise Wrong(operation)
            if len(done) != per_submit:
                raise Wrong(len(done))

    return loop


def operations(count: int, per_submit: int, at_end: ExitStack, *, results: bool = True) -> Run:
    """uring.Ring: an Operation for each request, its result taken or not."""
    from uring import Ring

    ring = at_end.enter_context(Ring(max(64, per_submit)))
    return in_batches(operation_loop(ring, per_submit, results=results), count, per_submit)


def bulk(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """nop_many: one call for all; its window is as large as a batch of the others."""
    from uring import Ring

    ring = at_end.enter_context(Ring(max(64, per_submit)))

    def run() -> Outcome:
        result = ring.nop_many(count, depth=per_submit)
        if result.failed or len(result) != count:
            raise Wrong(result)
        return Outcome(count)

    return run


def bulk_by_default(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """nop_many with the window that it chooses by itself."""
    from uring import Ring

    ring = at_end.enter_context(Ring())

    def run() -> Outcome:
        result = ring.nop_many(count)
        if result.failed or len(result) != count:
            raise Wrong(result)
        return Outcome(count)

    return run


def pypi_as_shown(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """The package liburing as its documentation shows it."""
    other = rivals.package("liburing", rivals.LIBURING)
    ring, cqe = rivals.pypi_ring(other, max(64, per_submit), at_end), other.Cqe()
    get_sqe, prep_nop, set_data64 = other.io_uring_get_sqe, other.io_uring_prep_nop, other.io_uring_sqe_set_data64
    submit_and_wait, advance = other.io_uring_submit_and_wait, other.io_uring_cq_advance
    start, following = other.io_uring_cqe_iter_init, other.io_uring_cqe_iter_next

    def loop(nops: int) -> None:
        for _ in range(nops // per_submit):
            for i in range(per_submit):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                set_data64(sqe, i)
            submit_and_wait(ring, per_submit)
            seen = 0
            walk = start(ring)
            while following(walk, cqe):
                entry = cqe[0]
                if entry.user_data != seen or entry.res:
                    raise Wrong(entry.user_data, entry.res)
                seen += 1
            advance(ring, seen)
            if seen != per_submit:
                raise Wrong(seen)

    return in_batches(loop, count, per_submit)


def pypi_fastest(count: int, per_submit: int, at_end: ExitStack) -> Run:
    """The package liburing in the fastest way found: attributes for calls, and completions by index without a check.

    Whether entries 1 to 31 are there, and where the queue wraps, is left to luck: a queue of 128 entries and batches
    of 32 happen to fit.
    """
    other = rivals.package("liburing", rivals.LIBURING)
    ring, cqe = rivals.pypi_ring(other, max(64, per_submit), at_end), other.Cqe()
    get_sqe, prep_nop = other.io_uring_get_sqe, other.io_uring_prep_nop
    submit_and_wait, wait, advance = other.io_uring_submit_and_wait, other.io_uring_wait_cqe, other.io_uring_cq_advance

    def loop(nops: int) -> None:
        for _ in range(nops // per_submit):
            for i in range(per_submit):
                sqe = get_sqe(ring)
                prep_nop(sqe)
                sqe.user_data = i
            submit_and_wait(ring, per_submit)
            wait(ring, cqe)
            for i in range(per_submit):
                entry = cqe[i]
                if entry.user_data != i or entry.res:
                    raise Wrong(entry.user_data, entry.res)
            advance(ring, per_submit)

    return in_batches(loop, count, per_submit)
