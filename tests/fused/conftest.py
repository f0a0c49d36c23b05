"""Fixtures of the tests of the fused calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from uring import fused


@pytest.fixture
def attach(make_ring: Callable[..., Any]) -> Callable[..., Any]:
    """A factory of attached rings; `r.ring` is the ring, exited at the end of the test."""

    def make(entries: int = 8, flags: int = 0, room: int = 256, extra: bool = False, **params: int) -> Any:
        return fused.attach(make_ring(entries, flags, **params), room, extra=extra)

    return make
