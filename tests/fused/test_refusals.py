"""What the fused calls refuse: a full queue, strangers, a closed ring; and what can be attached."""

from __future__ import annotations

import contextlib
import gc
import os
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from fused_calls import DEADLINE_S, SECOND, all_calls, in_thread, queue_nops, reap_all

from uring import fused
from uring import liburing as L

ffi = L.ffi


# --- refusals ------------------------------------------------------------------------------------


def test_full_queue_answers_full(attach: Callable[..., Any]) -> None:
    """With no free SQE the call changes nothing; after a submit it works again."""
    r = attach(4)
    queue_nops(r, range(4))
    assert fused.uring_nop(r, 9, 0) == fused.FULL
    assert fused.uring_close(r, 9, 0, -1) == fused.FULL
    assert [r.ring.sq.sqes[slot].user_data for slot in range(4)] == [0, 1, 2, 3]
    assert fused.uring_submit(r) == 4
    assert fused.uring_nop(r, 4, 0) == 0
    assert [tag for tag, _, _ in reap_all(r, 5)] == [0, 1, 2, 3, 4]


def test_another_thread_is_refused(attach: Callable[..., Any]) -> None:
    """Each call answers WRONG_THREAD, leaves the queue alone, and the owner goes on."""
    r = attach()
    queue_nops(r, range(2))
    answers = in_thread(lambda: all_calls(r))
    assert answers == dict.fromkeys(answers, fused.WRONG_THREAD)
    assert L.io_uring_sq_ready(r.ring) == 2
    assert [tag for tag, _, _ in reap_all(r, 2)] == [0, 1]


def test_thread_may_use_the_ring_that_it_attached(make_ring: Callable[..., Any]) -> None:
    """The owner is the thread that attaches, whoever made the ring; everybody else is refused."""
    ring = make_ring()
    attached = []

    def roundtrip() -> int:
        attached.append(fused.attach(ring))
        fused.uring_nop(attached[0], 1, 0)
        return int(fused.uring_wait(attached[0], 1, int(DEADLINE_S * SECOND)))

    assert in_thread(roundtrip) == 1
    assert fused.uring_nop(attached[0], 2, 0) == fused.WRONG_THREAD
    # A later thread may get the ended one's identifiers from the system, but not its number.
    assert in_thread(lambda: fused.uring_nop(attached[0], 2, 0)) == fused.WRONG_THREAD


def test_threads_have_numbers_of_their_own() -> None:
    """A thread's number stays the same, and is never given again."""
    numbers = [in_thread(lambda: (fused.uring_thread(), fused.uring_thread())) for _ in range(10)]
    assert all(first == second for first, second in numbers)
    assert len({first for first, _ in numbers} | {fused.uring_thread()}) == 11


def in_child(check: Callable[[], bool]) -> bool:
    """Whether `check` is true in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 2
        with contextlib.suppress(BaseException):
            status = 0 if check() else 1
        os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def test_forked_child_is_refused_and_the_parent_unharmed(attach: Callable[..., Any]) -> None:
    """Each call answers FORKED in the child, also after a queue was half filled; the parent loses nothing."""
    r = attach()
    queue_nops(r, range(3))

    def all_refused() -> bool:
        return set(all_calls(r).values()) == {fused.FORKED}

    assert in_child(all_refused)
    queue_nops(r, range(3, 5))
    assert [tag for tag, _, _ in reap_all(r, 5)] == [0, 1, 2, 3, 4]


def test_forked_child_sees_a_detached_ring_as_closed(attach: Callable[..., Any]) -> None:
    """What was closed before the fork stays closed after it."""
    r = attach()
    fused.detach(r)
    assert in_child(lambda: set(all_calls(r).values()) == {fused.CLOSED})


def test_forked_child_may_have_a_ring_of_its_own(attach: Callable[..., Any]) -> None:
    """Refusing the parent's ring does not stop the child from making one."""
    r = attach()

    def roundtrip() -> bool:
        own = L.io_uring()
        if L.io_uring_queue_init(4, own, 0):
            return False
        mine = fused.attach(own)
        return (
            fused.uring_nop(mine, 1, 0) == 0
            and fused.uring_wait(mine, 1, int(DEADLINE_S * SECOND)) == 1
            and fused.uring_nop(r, 1, 0) == fused.FORKED
        )

    assert in_child(roundtrip)


def test_detached_ring_is_closed(attach: Callable[..., Any]) -> None:
    """After detach each call answers CLOSED; the ring can be attached again."""
    r = attach()
    fused.detach(r)
    answers = all_calls(r)
    assert answers == dict.fromkeys(answers, fused.CLOSED)
    assert L.io_uring_sq_ready(r.ring) == 0
    again = fused.attach(r.ring)
    queue_nops(again, range(1))
    assert len(reap_all(again, 1)) == 1
    assert fused.uring_nop(r, 1, 0) == fused.CLOSED


def test_null_is_closed() -> None:
    """A NULL ring is answered, not followed."""
    answers = all_calls(ffi.NULL)
    assert answers == dict.fromkeys(answers, fused.CLOSED)


def test_big_sqe_needs_a_ring_of_big_sqes(attach: Callable[..., Any]) -> None:
    """The 128-byte calls answer NO_BIG_SQE on a ring of 64-byte SQEs, and take no SQE."""
    r = attach()
    assert fused.uring_nop128(r, 1, 0) == fused.NO_BIG_SQE
    assert fused.uring_uring_cmd128(r, 1, 0, 0, 0) == fused.NO_BIG_SQE
    assert L.io_uring_sq_ready(r.ring) == 0


def test_big_sqe_on_a_full_ring_answers_full(attach: Callable[..., Any]) -> None:
    """Where 128-byte SQEs fit, running out of them is FULL."""
    r = attach(2, L.IORING_SETUP_SQE128)
    assert [fused.uring_nop128(r, number, 0) for number in range(3)] == [0, 0, fused.FULL]
    assert fused.uring_nop(r, 3, 0) == fused.FULL


def test_refusals_differ_from_each_other_and_from_success() -> None:
    """A caller can tell them apart by value alone."""
    refusals = {fused.FULL, fused.WRONG_THREAD, fused.FORKED, fused.CLOSED, fused.NO_BIG_SQE}
    assert len(refusals) == 5
    assert max(refusals) < 0


# --- attaching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, -1])
def test_attach_refuses_no_room(ring: Any, room: int) -> None:
    """A ring without room for one completion could never be reaped."""
    with pytest.raises(ValueError, match=f"room must be at least 1, not {room}"):
        fused.attach(ring, room)


def test_attach_refuses_null() -> None:
    """NULL is not a ring."""
    with pytest.raises(ValueError, match="ring is NULL"):
        fused.attach(ffi.NULL)


@pytest.mark.parametrize("wrong", [None, 3, b"ring", L.io_uring_params()])
def test_attach_refuses_other_types(wrong: Any) -> None:
    """Anything but a pointer to struct io_uring is a TypeError."""
    with pytest.raises(TypeError):
        fused.attach(wrong)


def test_attached_ring_keeps_the_ring_alive() -> None:
    """The `struct io_uring` lives as long as what attach returned, and no longer."""
    ring = L.io_uring()
    assert L.io_uring_queue_init(8, ring, 0) == 0
    alive = weakref.ref(ring)
    r = fused.attach(ring)
    del ring
    gc.collect()
    assert alive() is not None
    assert r.ring == alive()
    L.io_uring_queue_exit(r.ring)
    del r
    gc.collect()
    assert alive() is None


def test_attach_refuses_a_ring_that_is_not_initialised() -> None:
    """A struct that no queue_init has seen points nowhere, and is refused before it is looked into."""
    with pytest.raises(ValueError, match="not initialised"):
        fused.attach(L.io_uring())


def test_attached_ring_keeps_its_arrays_alive(ring: Any) -> None:
    """Memory that completions are copied to is not given to anybody else."""
    r = fused.attach(ring, 64, extra=True)
    written = range(0, 64 * 7, 7)
    for position, number in enumerate(written):
        r.completions[position].user_data = number
        r.extra[position][1] = number
    gc.collect()
    others = [ffi.new("char[]", b"\xff" * size) for size in range(512, 2048)]
    assert len(others) == 1536
    assert [tag for tag, _, _ in fused.completions(r, 64)] == list(written)
    assert [r.extra[position][1] for position in range(64)] == list(written)
