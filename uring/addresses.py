"""Socket addresses: Python's tuples and C's `struct sockaddr`, both ways.

Names are not resolved here, since that blocks: an IPv4 or IPv6 host is written in numbers, and "" means any address.
An IPv6 scope is the fourth item of the tuple, not part of the host.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from ._native import ffi

Address = tuple[Any, ...] | str | bytes

STORAGE_SIZE: int = ffi.sizeof("struct sockaddr_storage")
_UNIX_PATH_MAX = 108
_VSOCK = struct.Struct("=HHIIB3x")


def family_of(address: Address) -> int:
    """The address family that an address must be meant for."""
    if isinstance(address, (str, bytes)):
        return socket.AF_UNIX
    if isinstance(address, tuple) and address:
        if isinstance(address[0], int) and len(address) == 2:
            return int(socket.AF_VSOCK)
        if isinstance(address[0], str):
            return socket.AF_INET6 if len(address) == 4 or ":" in address[0] else socket.AF_INET
    raise TypeError(
        f"an address is (host, port), (host, port, flowinfo, scope_id), (cid, port), a path, not {address!r}"
    )


def encode(address: Address, family: int | None = None) -> bytes:
    """An address as the bytes of its `struct sockaddr`.

    Args:
        address: (host, port) for IPv4 and IPv6, (host, port, flowinfo, scope_id) for IPv6, a path as str or bytes for
            UNIX (a leading null byte is the abstract namespace), (cid, port) for VSOCK.
        family: the AF_* constant; None infers it from the form.

    Raises:
        TypeError: not an address of the family.
        ValueError: a host that is not numeric, a number out of range, a path that is too long.
    """
    family = family_of(address) if family is None else family
    if family == socket.AF_UNIX:
        return _encode_unix(address)
    if not isinstance(address, tuple):
        raise TypeError(f"an address of family {family} is a tuple, not {address!r}")
    if family == socket.AF_VSOCK and len(address) == 2:
        cid, port = address
        return _VSOCK.pack(family, 0, _ranged(port, 32, "port"), _ranged(cid, 32, "cid"), 0)
    if family == socket.AF_INET and len(address) == 2:
        host, port = address
        number = _numeric(family, "0.0.0.0" if host == "" else host)
        return struct.pack("=H", family) + struct.pack("!H4s8x", _ranged(port, 16, "port"), number)
    if family == socket.AF_INET6 and len(address) in (2, 3, 4):
        host, port, flow, scope = (*address, 0, 0)[:4]
        number = _numeric(family, "::" if host == "" else host)
        middle = struct.pack("!HI16s", _ranged(port, 16, "port"), _ranged(flow, 20, "flowinfo"), number)
        return struct.pack("=H", family) + middle + struct.pack("=I", _ranged(scope, 32, "scope_id"))
    raise TypeError(f"not an address of family {family}: {address!r}")


def sockaddr(address: Address, family: int | None = None) -> tuple[Any, int]:
    """(`struct sockaddr *` that owns its memory, its length) of an address; see `encode`."""
    raw = encode(address, family)
    memory = ffi.new("char[]", len(raw))
    ffi.memmove(memory, raw, len(raw))
    return ffi.gc(ffi.cast("struct sockaddr *", memory), lambda _pointer, _owner=memory: None), len(raw)


def _encode_unix(address: Address) -> bytes:
    if not isinstance(address, (str, bytes)):
        raise TypeError(f"a UNIX address is a path, not {address!r}")
    path = os.fsencode(address)
    abstract = path.startswith(b"\0")
    if not abstract and b"\0" in path:
        raise ValueError("a path cannot contain a null byte")
    # A path ends with a null byte, an abstract name with its last.
    if len(path) + (not abstract) > _UNIX_PATH_MAX:
        raise ValueError(f"a UNIX address has at most {_UNIX_PATH_MAX} bytes")
    return struct.pack("=H", socket.AF_UNIX) + path + (b"" if abstract or not path else b"\0")


def _numeric(family: int, host: str) -> bytes:
    if not isinstance(host, str):
        raise TypeError(f"a host is a str, not {host!r}")
    try:
        return socket.inet_pton(family, host)
    except OSError:
        raise ValueError(f"{host!r} is not a numeric address; resolve names with socket.getaddrinfo") from None


def _ranged(value: int, bits: int, name: str) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {value!r}")
    if not 0 <= value < 1 << bits:
        raise ValueError(f"{name} must fit {bits} bits: {value}")
    return value


def decode(raw: bytes) -> Address | None:
    """The address in the bytes of a `struct sockaddr`, as Python's socket module gives it; None for none at all.

    An address of another family is given as (family, bytes).
    """
    if len(raw) < 2:
        return None
    family = struct.unpack_from("=H", raw)[0]
    if family == socket.AF_INET and len(raw) >= 8:
        port, number = struct.unpack_from("!H4s", raw, 2)
        return socket.inet_ntop(family, number), port
    if family == socket.AF_INET6 and len(raw) >= 28:
        port, flow, number = struct.unpack_from("!HI16s", raw, 2)
        return socket.inet_ntop(family, number), port, flow, struct.unpack_from("=I", raw, 24)[0]
    if family == socket.AF_UNIX:
        path = raw[2:]
        return path if path.startswith(b"\0") else os.fsdecode(path.split(b"\0", 1)[0])
    if family == socket.AF_VSOCK and len(raw) >= _VSOCK.size:
        _, _, port, cid, _ = _VSOCK.unpack_from(raw)
        return cid, port
    return family, raw[2:]
