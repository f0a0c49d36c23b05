"""What tests look at from outside: operations, memory, descriptors."""

from __future__ import annotations

import os
from typing import Any

from uring.operation import Operation, State
from uring.ring import Ring


def in_flight(ring: Ring, operation: Operation[Any]) -> bool:
    """Submit, and return whether the operation is still waiting."""
    ring.submit()
    ring.wait(0)
    return operation.state is State.SUBMITTED


def code_of(operation: Operation[Any]) -> int | None:
    """Return the errno that an operation fails with."""
    error = operation.exception(timeout=10)
    assert isinstance(error, OSError)
    return error.errno


def is_pinned(memory: bytearray) -> bool:
    """Return whether something holds a bytearray in place."""
    try:
        memory.append(0)
    except BufferError:
        return True
    memory.pop()
    return False


def open_descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))
