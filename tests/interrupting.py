"""An exception at any one step of the package's code, as a signal's handler may raise it."""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uring

PACKAGE = os.path.dirname(uring.__file__)


class Stop(BaseException):
    """What a signal's handler raises here."""


@contextmanager
def interruption(number: int) -> Iterator[list[int]]:
    """Raise Stop at the n-th place in the package where a signal's handler may: a call's start, its end, a loop's."""
    left = [number]

    def may_strike(frame: FrameType) -> bool:
        code, at = frame.f_code.co_code, frame.f_lasti
        now = dis.opname[code[at]]
        before = at - 2
        while before > 0 and dis.opname[code[before]] in ("CACHE", "<0>"):
            before -= 2
        return (
            "RESUME" in now
            or "JUMP_BACKWARD" in now
            or (before >= 0 and "CALL" in dis.opname[code[before]] and dis.opname[code[before]] != "PRECALL")
        )

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and left[0] > 0 and may_strike(frame):
            left[0] -= 1
            if left[0] == 0:
                raise Stop
        return trace

    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield left
    finally:
        sys.settrace(None)
