"""How long the tests of lifetimes are."""

from __future__ import annotations

import os

LONG = 10.0
"""Seconds, a deadline against hangs."""
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
"""What their loops are multiplied by: less on slow machines, more in search of what is rare."""


def scaled(n: int) -> int:
    """So many, times URING_TEST_SCALE; one at least."""
    return max(1, int(n * SCALE))
