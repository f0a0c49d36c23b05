"""What the tests of chains share."""

from __future__ import annotations

import os
from typing import Any

import uring

LONG = 10.0  # a deadline against hangs; nothing here takes that long
SHORT = uring.Nanoseconds(1_000_000)
NOWHERE = 77  # credentials that nobody registered: a malformed request


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def fill(self, data: bytes = b"x") -> None:
        """Let a blocked read end."""
        os.write(self.write, data)

    def close(self) -> None:
        """Close what is open."""
        for fd in (self.read, self.write):
            if fd >= 0:
                os.close(fd)
        self.read = self.write = -1


def kinds(operations: Any) -> list[type | None]:
    """The class of each operation's exception, None for a success."""
    return [None if (error := operation.exception(LONG)) is None else type(error) for operation in operations]


def assert_empty(ring: uring.Ring) -> None:
    """Nothing is in flight, queued, or owned by the ring."""
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.sq_space == ring.c_ring.sq.ring_entries
    assert [operation for operation in ring._table if operation is not None] == []
    assert ring._hidden == set()
