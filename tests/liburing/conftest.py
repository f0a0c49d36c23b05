"""Fixtures of the tests through the C names."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uring import liburing as L

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Make two UDP sockets bound to the loopback, connected to nobody."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        yield one, two


@pytest.fixture
def disabled(make_ring: Callable[..., Any]) -> Any:
    """Make a ring that is not enabled yet."""
    return make_ring(8, L.IORING_SETUP_R_DISABLED)
