"""Ancillary data of messages, such as descriptors that are passed: Python's tuples and C's control messages, both ways.

A tuple is (level, type, data), as of `socket.sendmsg` and `socket.recvmsg`.
"""

from __future__ import annotations

import array
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from .._native import ffi

_HEADER = ffi.sizeof("struct cmsghdr")


def join(ancdata: Sequence[tuple[int, int, Any]]) -> bytes:
    """Control messages for the kernel.

    Raises:
        TypeError: not a list of tuples, or data that is no buffer.
        BufferError: data that is not contiguous.
        OverflowError: a level or type that fits no int.
    """
    raw = b""
    for level, kind, data in ancdata:
        content = bytes(ffi.buffer(ffi.from_buffer(data)))
        length = socket.CMSG_LEN(len(content))
        header = ffi.new("struct cmsghdr *", {"cmsg_len": length, "cmsg_level": level, "cmsg_type": kind})
        raw += (bytes(ffi.buffer(header)) + content).ljust(socket.CMSG_SPACE(len(content)), b"\0")
    return raw


def split(raw: bytes) -> list[tuple[int, int, bytes]]:
    """The tuples in control messages that the kernel wrote; the last one may have been cut off."""
    found = []
    while len(raw) >= _HEADER:
        header = ffi.from_buffer("struct cmsghdr *", raw)
        length = int(header.cmsg_len)
        if length < _HEADER:
            break
        found.append((int(header.cmsg_level), int(header.cmsg_type), raw[_HEADER:length]))
        raw = raw[socket.CMSG_SPACE(length - _HEADER) :]
    return found


def descriptors(ancdata: Sequence[tuple[int, int, bytes]]) -> Iterator[int]:
    """The descriptors that came in ancillary data."""
    for level, kind, data in ancdata:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            yield from array.array("i", data[: len(data) - len(data) % 4])
