"""What the tests of the fused calls share."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from uring import fused
from uring import liburing as L

ffi = L.ffi
DEADLINE_S = 10.0
SECOND = 1_000_000_000
TAG = 0x0123_4567_89AB_CDEF


def in_thread(function: Callable[[], Any]) -> Any:
    """What `function` returns when another thread calls it."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(function()))
    thread.start()
    thread.join(DEADLINE_S)
    return answers[0]


def reap_all(r: Any, expected: int) -> list[tuple[int, int, int]]:
    """Wait until `expected` completions were copied out; the test fails when they do not come in time."""
    reaped: list[tuple[int, int, int]] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(reaped) < expected:
        count = fused.uring_wait(r, 1, SECOND)
        assert time.monotonic() < deadline, f"{len(reaped)} of {expected} completions came"
        if count not in (-errno.ETIME, -errno.EINTR):
            assert count >= 0, os.strerror(-count)
            reaped += fused.completions(r, count)
    return reaped


def queue_nops(r: Any, numbers: range) -> None:
    """Queue a NOP for each number, which is its user_data."""
    for number in numbers:
        assert fused.uring_nop(r, number, 0) == 0


def all_calls(r: Any) -> dict[str, int]:
    """What each way to use an attached ring answers, by name; none of it blocks."""
    return {
        "nop": fused.uring_nop(r, 1, 0),
        "read": fused.uring_read(r, 1, 0, 0, ffi.NULL, 0, 0),
        "nop128": fused.uring_nop128(r, 1, 0),
        "submit": fused.uring_submit(r),
        "reap": fused.uring_reap(r),
        "wait": fused.uring_wait(r, 1, 0),
    }
