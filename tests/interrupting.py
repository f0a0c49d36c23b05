"""Signals that arrive while a ring is used, and what must hold afterwards."""

from __future__ import annotations

import dis
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any

from scale import LONG

import uring
from uring import Ring

PACKAGE = os.path.dirname(uring.__file__)


class Stop(BaseException):
    """What a signal's handler raises here."""


@contextmanager
def alarms(handler: Callable[[int, FrameType | None], Any], first: float, interval: float = 0.0) -> Iterator[None]:
    """Deliver SIGALRM to `handler` while the block runs."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, first, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raising_once() -> Callable[..., None]:
    """A handler that raises the first time; signals are repeated, since one may come just before the kernel waits."""
    raised = False

    def handler(*_: Any) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise KeyboardInterrupt

    return handler


def assert_idle(ring: Ring) -> None:
    """Nothing is in flight, and every SQE that the kernel took has brought its CQE."""
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.submitted == statistics.completed
    assert not any(ring._table)
    assert not ring._hidden
    assert ring._native.in_flight == 0


def rest_of(ring: Ring) -> list[Any]:
    """What is still handed out; the test fails when that does not end."""
    found: list[Any] = []
    deadline = time.monotonic() + LONG
    while ring._native.in_flight:
        found += ring.wait(0)
        busy = [operation for operation in ring._table if operation is not None]
        numbers = (ring.statistics(), ring._native.managed, len(ring._hidden), ring._has_foreign())
        assert time.monotonic() < deadline, (ring, numbers, busy)
    return found + ring.wait(0)


def _may_strike(frame: FrameType) -> bool:
    """Whether Python looks for signals before the next instruction: at a call's start and end, and a loop's end."""
    code, at = frame.f_code.co_code, frame.f_lasti
    now, before = dis.opname[code[at]], at - 2
    while before > 0 and dis.opname[code[before]] in ("CACHE", "<0>"):
        before -= 2
    ended = before >= 0 and "CALL" in dis.opname[code[before]] and dis.opname[code[before]] != "PRECALL"
    return "RESUME" in now or "JUMP_BACKWARD" in now or ended


@contextmanager
def striking(number: int, action: Callable[[], None], where: str | None = None) -> Iterator[list[int]]:
    """Call `action` at the n-th place in the package where a handler may strike; what it gives counts down to 0.

    Args:
        number: which place, from 1.
        action: called once, untraced; it may raise.
        where: the name of the functions that count, None for all.
    """
    left = [number]

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_name == "__del__":
            return None
        if frame.f_back is not None and frame.f_back.f_code.co_name == "__del__":
            return None
        if isinstance(sys.exc_info()[1], GeneratorExit):  # a generator's end, often by a destructor too
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and left[0] > 0 and where in (None, frame.f_code.co_name) and _may_strike(frame):
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)
                action()
        return trace

    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield left
    finally:
        sys.settrace(None)


def _stop() -> None:
    raise Stop


def interruption(number: int) -> AbstractContextManager[list[int]]:
    """Raise Stop at the n-th such place."""
    return striking(number, _stop)
