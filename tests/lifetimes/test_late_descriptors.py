"""Descriptors that are closed while the kernel uses them, and those that it brings when nobody waits any more."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode
from memory_in_flight import DATA, Memory, dropping, left_in
from observing import open_descriptors
from scale import LONG, scaled

from uring import Operation, Ring, State

# --- descriptors in flight ---------------------------------------------------------------------------


@pytest.mark.parametrize("reuse", [False, True])
def test_closing_the_descriptor_in_flight(reuse: bool) -> None:
    """The request goes on with the file that it was given, also when the number is another file's by then."""
    reader, writer = os.pipe()
    other = os.pipe()
    buffer = Memory(64)
    try:
        with Ring(8, exit_timeout=LONG) as ring:
            read = ring.read(reader, buffer)
            ring.submit()
            if reuse:
                os.dup2(other[0], reader)
                os.write(other[1], b"wrong")
            else:
                os.close(reader)
            os.write(writer, DATA)
            assert read.result(LONG) == len(DATA)
        assert buffer[: len(DATA)] == DATA
        assert left_in(other[0]) == (b"wrong" if reuse else b"")
    finally:
        for fd in (writer, *other, *([reader] if reuse else [])):
            os.close(fd)


@pytest.mark.parametrize("dropped", [False, True])
def test_closing_or_dropping_the_file_object_in_flight(dropped: bool) -> None:
    """A file object that is closed changes nothing; one that is dropped is kept until the completion."""

    class File:
        def __init__(self, fd: int) -> None:
            self.fd = fd

        def fileno(self) -> int:
            return self.fd

        def close(self) -> None:
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = -1

        __del__ = close

    reader, writer = os.pipe()
    file: Any = File(reader)
    buffer = Memory(64)
    with Ring(8, exit_timeout=LONG) as ring:
        read = ring.read(file, buffer)
        ring.submit()
        kept = weakref.ref(file)
        if dropped:
            del file
            gc.collect()
            assert kept() is not None
            os.fstat(reader)
        else:
            file.close()
        os.write(writer, DATA)
        assert read.result(LONG) == len(DATA)
        os.close(writer)
        if dropped:
            assert kept() is None
    assert buffer[: len(DATA)] == DATA


# --- descriptors that come late ----------------------------------------------------------------------


def start_descriptor(ring: Ring, name: str, listener: socket.socket) -> Operation[Any]:
    """An operation that brings one descriptor, or two."""
    if name == "accept":
        return ring.accept(listener)
    if name == "openat":
        return ring.openat("/dev/null")
    if name == "pipe":
        require_opcode("IORING_OP_PIPE")
        return ring.pipe()
    require_opcode("IORING_OP_SOCKET")
    return ring.socket()


@pytest.mark.parametrize("name", ["accept", "openat", "pipe", "socket"])
@pytest.mark.parametrize("fate", ["abandoned", "abandoned late", "dropped", "taken by wait", "close", "drop"])
def test_descriptor_that_nobody_takes(pipe: tuple[int, int], name: str, fate: str) -> None:
    """It is closed, whether its operation was given up before or after the result, or the ring went before."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(listener.getsockname()))
        before = open_descriptors()
        ring: Any = Ring(16)
        with ring.chain():
            gate = ring.read(pipe[0], bytearray(1))
            operation: Any = start_descriptor(ring, name, listener)
        ring.submit()
        assert operation.state is State.SUBMITTED
        if fate == "abandoned":
            operation.abandon()
        os.write(pipe[1], b"x")
        if fate == "abandoned":
            assert ring.wait(1, LONG) == [gate]
            while ring._native.in_flight:
                ring._enter(1, 10_000_000_000)
            assert ring.peek() == []
            assert open_descriptors() == before + 1  # the ring's own
        elif fate == "abandoned late":
            ring.wait(2, LONG)
            operation.abandon()
            operation.abandon()
            assert open_descriptors() == before + 1
        elif fate == "dropped":
            del operation
            ring.wait(2, LONG)
        elif fate == "taken by wait":
            assert set(ring.wait(2, LONG)) == {gate, operation}
        elif fate == "drop":
            del gate, operation
            with dropping():
                del ring
            assert open_descriptors() == before
            return
        ring.close()
        operation = gate = None
        gc.collect()
        assert open_descriptors() == before


@pytest.mark.parametrize("name", ["openat", "pipe", "socket"])
def test_abandoned_and_closed_at_once(name: str, tmp_path: Path) -> None:
    """A descriptor that arrives while the ring is being closed does not stay open."""
    with socket.socket() as listener:
        for _ in range(scaled(20)):
            before = open_descriptors()
            ring = Ring(8)
            for _ in range(4):
                start_descriptor(ring, name, listener).abandon()
            ring.submit()
            ring.close()
            gc.collect()
            assert open_descriptors() == before
