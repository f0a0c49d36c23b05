"""Fixtures of the tests of builders."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from uring.ring import Ring

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Bind two UDP sockets, connected to nobody."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
        yield one, two
