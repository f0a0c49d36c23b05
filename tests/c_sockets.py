"""What the tests of sockets through the C names share."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from c_style import get_sqe

from uring import liburing as L


def start(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> Any:
    """Submit one request that is to stay in flight, and return its SQE; the caller keeps its arguments alive."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1
    return sqe


def address(host: str = "127.0.0.1", port: int = 0) -> Any:
    """Make a `struct sockaddr_in *`."""
    (s_addr,) = struct.unpack("=I", socket.inet_aton(host))
    return L.sockaddr_in(sin_family=socket.AF_INET, sin_port=socket.htons(port), sin_addr={"s_addr": s_addr})


def as_sockaddr(name: Any) -> tuple[Any, int]:
    """Cast an address to what bind, connect and sendto take, a pointer and its size; the address needs a name."""
    return L.ffi.cast("struct sockaddr *", name), L.ffi.sizeof(name[0])


def host_and_port(name: Any) -> tuple[str, int]:
    """Return what Python would give for a `struct sockaddr_in *`."""
    return socket.inet_ntoa(struct.pack("=I", name.sin_addr.s_addr)), socket.ntohs(name.sin_port)
