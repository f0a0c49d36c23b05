"""Memory that the kernel has: what gives it out, and what tells whether it was written to."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scale import LONG, scaled

import uring
from uring import Operation, Ring

MiB = 1 << 20
PATTERN = 0x55
DATA = b"0123456789abcdef"


class Memory(bytearray):
    """A bytearray that can be referred to weakly."""


def left_in(fd: int) -> bytes:
    """What a pipe or socket still holds, read without blocking."""
    os.set_blocking(fd, False)
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
    finally:
        os.set_blocking(fd, True)


def bystanders(size: int) -> list[bytearray]:
    """Memory of the sizes that an allocator would make from what was just freed."""
    return [bytearray([PATTERN]) * size for _ in range(scaled(200))]


def untouched(buffers: list[bytearray]) -> bool:
    """Whether nothing was written to any of them."""
    return all(bytes(buffer) == bytes([PATTERN]) * len(buffer) for buffer in buffers)


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """Collect what the block drops."""
    yield
    gc.collect()


@contextlib.contextmanager
def dropping() -> Iterator[None]:
    """Expect a warning about a ring that the block drops."""
    with pytest.warns(ResourceWarning, match="unclosed <Ring"), collecting():
        yield


@contextlib.contextmanager
def pipes(count: int = 1) -> Iterator[list[tuple[int, int]]]:
    """Pipes, or rather pairs of (end to read, end to write)."""
    ends: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            ends.append(os.pipe())
        yield ends
    finally:
        for pair in ends:
            for fd in pair:
                os.close(fd)


@contextlib.contextmanager
def sockets(count: int = 1) -> Iterator[list[tuple[int, int]]]:
    """The same of connected sockets."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for _ in range(count):
            one, two = socket.socketpair()
            stack.enter_context(one)
            stack.enter_context(two)
            pairs.append((one.fileno(), two.fileno()))
        yield pairs


Start = Callable[[Ring, int, bytearray], Operation[Any]]

WAYS: dict[str, Start] = {
    "read": lambda ring, fd, buffer: ring.read(fd, buffer),
    "readv": lambda ring, fd, buffer: ring.read(fd, [buffer]),
    "worker": lambda ring, fd, buffer: ring.read(fd, buffer, force_async=True),
    "recv": lambda ring, fd, buffer: ring.recv(fd, buffer),
    "recvmsg": lambda ring, fd, buffer: ring.recvmsg(fd, [buffer]),
}


def stop(ring: Ring, operation: Operation[Any]) -> None:
    """Cancel it until it has ended: a request that a worker is about to run, or just ran, may miss the first cancel."""
    deadline = time.monotonic() + LONG
    while not operation.done():
        assert time.monotonic() < deadline
        operation.cancel().exception(LONG)
        ring.wait(0)
        with contextlib.suppress(TimeoutError):
            operation.exception(0.02)
    assert isinstance(operation.exception(), OSError)


def disk_traffic(fd: int) -> None:
    """Read all of the file through a ring of its own: what was with the disk before has come back by then."""
    buffers = [uring.aligned_buffer(MiB) for _ in range(32)]
    with Ring(64, exit_timeout=LONG) as ring:
        reads = [ring.read(fd, buffer, number * MiB) for number, buffer in enumerate(buffers)]
    assert [read.result() for read in reads] == [MiB] * 32


def start_large(ring: Ring, fd: int) -> tuple[list[memoryview], list[Operation[int]]]:
    """32 reads of 1 MiB that were submitted."""
    buffers = [uring.aligned_buffer(MiB) for _ in range(32)]
    reads = [ring.read(fd, buffer, number * MiB) for number, buffer in enumerate(buffers)]
    ring.submit()
    return buffers, reads


def fill(buffers: list[memoryview]) -> None:
    """Write the pattern over all of it."""
    for buffer in buffers:
        buffer[:] = bytes([PATTERN]) * len(buffer)


def written_to(buffers: list[memoryview]) -> list[int]:
    """Which of them do not hold the pattern any more."""
    expected = bytes([PATTERN]) * MiB
    return [number for number, buffer in enumerate(buffers) if buffer != expected]
