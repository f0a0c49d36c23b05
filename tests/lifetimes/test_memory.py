"""Memory that the kernel has: data lands in the right memory or nowhere, whatever becomes of Python.

Pipes and sockets give nothing before they are written to, so a request on one is in flight for as long as a test
wants. O_DIRECT reads are what neither a cancel nor the queue's exit can stop.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import socket
import weakref
from typing import Any

import pytest
from c_style import require_opcode
from memory_in_flight import (
    DATA,
    PATTERN,
    WAYS,
    Memory,
    MiB,
    Start,
    bystanders,
    disk_traffic,
    dropping,
    fill,
    left_in,
    pipes,
    sockets,
    start_large,
    stop,
    untouched,
    written_to,
)
from observing import is_pinned
from scale import LONG, scaled

from uring import Operation, Ring

# --- dropped references ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["read", "readv", "recv", "recvmsg", "O_DIRECT"])
def test_dropped_operation_writes_to_its_own_memory(name: str, direct: int) -> None:
    """With every reference gone the data is in the mapping that was given, seen through a second one of it."""
    memory = os.memfd_create("memory")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, memory)
        os.ftruncate(memory, MiB)
        second = stack.enter_context(mmap.mmap(memory, MiB))
        reader, writer = stack.enter_context(sockets() if name.startswith("recv") else pipes())[0]
        ring = stack.enter_context(Ring(8, exit_timeout=LONG))
        given: Any = mmap.mmap(memory, MiB)
        operation: Any = ring.read(direct, given, MiB) if name == "O_DIRECT" else WAYS[name](ring, reader, given)
        alive, owned = weakref.ref(operation), weakref.ref(given)
        ring.submit()
        del given, operation
        gc.collect()
        assert alive() is not None
        assert owned() is not None
        others = bystanders(4096)
        os.write(writer, DATA)
        [done] = ring.wait(1, LONG)
        assert isinstance(done, Operation)
        assert owned() is None
        expected = bytes([2]) * MiB if name == "O_DIRECT" else DATA
        assert done.completion.res == len(expected)
        assert second[: len(expected)] == expected
        assert untouched(others)
        del done
        gc.collect()
        assert alive() is None


def test_dropped_operations_by_the_hundred(source: tuple[int, int]) -> None:
    """Each of many whose references are gone reads into its own part of a mapping; a second mapping shows it."""
    count = scaled(300)
    memory = os.memfd_create("memory")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, memory)
        os.ftruncate(memory, 32 * count)
        second = stack.enter_context(mmap.mmap(memory, 32 * count))
        given: Any = memoryview(mmap.mmap(memory, 32 * count))
        ring = stack.enter_context(Ring(64, exit_timeout=LONG))
        for number in range(count):
            ring.read(source[0], given[32 * number : 32 * number + 16])
        ring.submit()
        del given
        gc.collect()
        others = bystanders(16)
        seen: list[Any] = []
        for number in range(count):
            os.write(source[1], b"%16d" % number)
            seen += ring.wait(1, LONG)
        assert len(set(seen)) == len(seen) == count
        assert sorted(second[32 * number : 32 * number + 16] for number in range(count)) == [
            b"%16d" % number for number in range(count)
        ]
        assert all(second[32 * number + 16 : 32 * number + 32] == bytes(16) for number in range(count))
        assert untouched(others)


# --- memory in flight --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["completion", "cancel", "close", "drop"])
def test_bytearray_cannot_be_resized_in_flight(way: tuple[Start, int, int], end: str) -> None:
    """It can when its operation has ended, whichever way; data that comes afterwards stays where it is."""
    start, reader, writer = way
    buffer = Memory(len(DATA))
    ring = Ring(8)
    operation = start(ring, reader, buffer)
    assert is_pinned(buffer)
    ring.submit()
    for change in (buffer.clear, lambda: buffer.extend(b"x"), lambda: buffer.__delitem__(0)):
        with pytest.raises(BufferError):
            change()
    if end == "completion":
        os.write(writer, DATA)
        assert operation.exception(LONG) is None
        assert bytes(buffer) == DATA
        assert not is_pinned(buffer)
    elif end == "cancel":
        stop(ring, operation)
        assert not is_pinned(buffer)
    elif end == "drop":
        with dropping():
            del ring, operation
        assert not is_pinned(buffer)
        os.write(writer, DATA)
        assert bytes(buffer) == bytes(len(DATA))
        assert left_in(reader) == DATA
        return
    ring.close()
    assert not is_pinned(buffer)
    if end != "completion":
        os.write(writer, DATA)
        assert bytes(buffer) == bytes(len(DATA))
        assert left_in(reader) == DATA
    buffer.clear()


def test_mapping_cannot_be_closed_in_flight(source: tuple[int, int]) -> None:
    """An mmap that the kernel will write to refuses to be closed or resized; after completion it is closed."""
    with Ring(8) as ring:
        memory = mmap.mmap(-1, 4096)
        read = ring.read(source[0], memory)
        ring.submit()
        for change in (memory.close, lambda: memory.resize(8192)):
            with pytest.raises(BufferError):
                change()
        os.write(source[1], DATA)
        assert read.result(LONG) == len(DATA)
        assert memory[: len(DATA)] == DATA
        memory.close()


def test_released_view_keeps_its_memory(source: tuple[int, int]) -> None:
    """What a memoryview shows stays in place, whether the view is released in flight or dropped."""
    memory = Memory(64)
    with Ring(8) as ring:
        view = memoryview(memory)[16:32]
        read = ring.read(source[0], view)
        with contextlib.suppress(BufferError):  # where the view itself is exported
            view.release()
        assert is_pinned(memory)
        del view
        ring.submit()
        assert is_pinned(memory)
        os.write(source[1], DATA)
        assert read.result(LONG) == 16
        assert not is_pinned(memory)
    assert bytes(memory) == bytes(16) + DATA + bytes(32)


# --- cancelling --------------------------------------------------------------------------------------


def test_buffer_is_used_again_after_a_cancel(way: tuple[Start, int, int]) -> None:
    """The cancelled request writes nothing; the next one into the same memory gets the data."""
    start, reader, writer = way
    buffer = Memory(len(DATA))
    with Ring(8, exit_timeout=LONG) as ring:
        for number in range(scaled(20)):
            first = start(ring, reader, buffer)
            ring.submit()
            stop(ring, first)
            buffer[:] = bytes([PATTERN]) * len(DATA)
            second = start(ring, reader, buffer)
            ring.submit()
            assert untouched([buffer])
            data = b"%16d" % number
            os.write(writer, data)
            assert second.exception(LONG) is None
            assert bytes(buffer) == data


def test_large_reads_are_cancelled_and_their_memory_used_again(direct: int) -> None:
    """When all of them have ended, as cancelled or not, the disk writes no more."""
    with Ring(128, exit_timeout=LONG) as ring:
        buffers, reads = start_large(ring, direct)
        for cancel in [read.cancel() for read in reads]:
            cancel.exception(LONG)
        for number, read in enumerate(reads):
            if read.exception(LONG) is None:
                assert buffers[number] == bytes([number + 1]) * MiB
        fill(buffers)
        disk_traffic(direct)
        assert written_to(buffers) == []


# --- zero copy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["drained", "close"])
def test_zero_copy_send_is_pinned_until_the_notification(how: str) -> None:
    """Complete or closed: the memory is the kernel's until the peer has it, and the peer gets what was sent."""
    require_opcode("IORING_OP_SEND_ZC")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        one = stack.enter_context(socket.create_connection(listener.getsockname()))
        two = stack.enter_context(listener.accept()[0])
        two.settimeout(LONG)
        one.setblocking(False)
        data = Memory(bytes(range(256)) * 4096)
        reference, pattern = weakref.ref(data), bytes(range(256)) * 4096
        ring: Any = Ring(8)
        sizes: list[int] = []
        while not sizes or sizes[-1]:
            send: Any = ring.send_zc(one, data, socket.MSG_DONTWAIT)
            sizes.append(send.result(LONG) if send.exception(LONG) is None else 0)
        del send
        assert is_pinned(data)
        if how == "close":
            with pytest.warns(ResourceWarning, match="could not be stopped and are kept in memory"):
                ring.close(0.02)
        assert is_pinned(data)
        del data
        gc.collect()
        assert reference() is not None
        others = [bytearray(MiB) for _ in range(4)]
        for size in sizes:
            received = bytearray()
            while len(received) < size:
                received += two.recv(size - len(received))
            assert bytes(received) == pattern[:size]
        if how == "drained":
            while ring._native.in_flight:
                ring._enter(1, 10_000_000_000)
            gc.collect()
            assert reference() is None
            ring.close()
        else:
            assert reference() is not None
        assert not any(map(any, others))
