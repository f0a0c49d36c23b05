"""Signals that arrive while a ring is used, and what must hold afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
