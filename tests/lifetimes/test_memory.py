"""Memory and descriptors that the kernel has: data lands in the right memory or nowhere, whatever becomes of Python.

Pipes and sockets give nothing before they are written to, so a request on one is in flight for as long as a test
wants. O_DIRECT reads are what neither a cancel nor the queue's exit can stop.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

import uring
from uring import Operation, Ring, State, closing
from uring import liburing as L

LONG = 10.0
MiB = 1 << 20
PATTERN = 0x55
DATA = b"0123456789abcdef"


def scaled(n: int) -> int:
    """`n` times URING_TEST_SCALE, at least 1."""
    return max(1, int(n * float(os.environ.get("URING_TEST_SCALE", "1"))))


class Memory(bytearray):
    """A bytearray that can be referred to weakly."""


def is_pinned(buffer: bytearray) -> bool:
    """Whether it cannot be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


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


@pytest.fixture(params=["pipe", "socket"])
def source(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """(end to read, end to write) of a pipe and of a socket."""
    with (pipes if request.param == "pipe" else sockets)() as [pair]:
        yield pair


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    with pipes() as [pair]:
        yield pair


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


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Start, int, int]]:
    """(how to start it, end to read, end to write) of each way to wait for data."""
    name = request.param
    with (sockets if name.startswith("recv") else pipes)() as [(reader, writer)]:
        yield WAYS[name], reader, writer


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 32 MiB, each MiB filled with a byte of its own from 1 on, that O_DIRECT can read."""
    path = tmp_path_factory.mktemp("direct") / "large"
    with path.open("wb") as file:
        for number in range(32):
            file.write(bytes([number + 1]) * MiB)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    yield path
    path.unlink()


@pytest.fixture
def direct(large: Path) -> Iterator[int]:
    """That file, opened with O_DIRECT."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    yield fd
    os.close(fd)


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
    """A memoryview cannot be released in flight, and one that is dropped keeps what it shows."""
    memory = Memory(64)
    with Ring(8) as ring:
        view = memoryview(memory)[16:32]
        read = ring.read(source[0], view)
        with pytest.raises(BufferError):
            view.release()
        del view
        ring.submit()
        assert is_pinned(memory)
        os.write(source[1], DATA)
        assert read.result(LONG) == 16
        assert not is_pinned(memory)
    assert bytes(memory) == bytes(16) + DATA + bytes(32)


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


# --- close with operations in flight -----------------------------------------------------------------


@pytest.mark.parametrize("make", [pipes, sockets], ids=["pipes", "sockets"])
@pytest.mark.parametrize("params", [uring.Params(), uring.Params(defer_taskrun=False), uring.Params(sqpoll=True)])
def test_close_with_reads_pending(make: Any, params: uring.Params) -> None:
    """After it all buffers are free, and what is written then stays in the pipe or socket."""
    with make(32) as pairs:
        ring = Ring(64, params)
        buffers = [Memory(len(DATA)) for _ in pairs]
        reads = [ring.read(pair[0], buffer) for pair, buffer in zip(pairs, buffers, strict=True)]
        ring.submit()
        ring.close()
        assert not any(is_pinned(buffer) for buffer in buffers)
        for buffer in buffers:
            buffer[:] = bytes([PATTERN]) * len(DATA)
        for reader, writer in pairs:
            os.write(writer, DATA)
            assert left_in(reader) == DATA
        assert untouched([*buffers])
        assert {read.state for read in reads} <= {State.CANCELLED, State.DISCARDED}
        assert all(isinstance(read.exception(), uring.RingClosed) for read in reads)


@pytest.mark.parametrize("how", ["close", "exception", "drop", "exit_timeout"])
def test_nothing_is_written_after_the_end_of_a_ring(direct: int, how: str) -> None:
    """32 reads of 1 MiB are over when the ring is, however it ends: a pattern in their memory stays."""
    for _ in range(scaled(1)):
        ring = Ring(64, exit_timeout=0.0)
        buffers, reads = start_large(ring, direct)
        if how == "close":
            ring.close(LONG)
        elif how == "exception":
            with pytest.raises(ZeroDivisionError), ring:
                raise ZeroDivisionError
        elif how == "exit_timeout":
            with ring:
                pass
        else:
            reads.clear()
            with dropping():
                del ring
        for number, read in enumerate(reads):
            error = read.exception()
            assert error is None or isinstance(error, uring.RingClosed)
            if error is None:
                assert read.result() == MiB
                assert buffers[number] == bytes([number + 1]) * MiB
        fill(buffers)
        disk_traffic(direct)
        assert written_to(buffers) == []


def test_results_after_close(source: tuple[int, int]) -> None:
    """Those that are known stay readable, taken in or not; the others raise RingClosed and say what they were."""
    ring = Ring(8)
    known, failed = ring.nop(result=7), ring.read(source[1], bytearray(1), 5)
    late = ring.recv(source[0], bytearray(1))
    ring.wait(2, LONG)
    waiting = ring.read(source[0], bytearray(3))
    ring.submit()
    ring.close()
    assert known.result() == 7
    assert known.completion.res == 7
    assert isinstance(failed.exception(), OSError)
    assert waiting.state is State.CANCELLED
    with pytest.raises(uring.RingClosed, match=r"closed before read of 3 bytes on fd \d+ was complete"):
        waiting.result()
    with pytest.raises(RuntimeError, match="has no completion"):
        waiting.completion  # noqa: B018
    assert late.exception() is not None
    assert all(operation.done() for operation in (known, failed, waiting, late))


def test_never_submitted_operations_warn(pipe: tuple[int, int]) -> None:
    """Closing and dropping both say how many were never submitted, and nothing of them happens."""
    buffer = Memory(4)
    ring = Ring(8)
    operations = [ring.write(pipe[1], DATA), ring.read(pipe[0], buffer)]
    with pytest.warns(ResourceWarning, match="2 operations were never submitted: <Operation write of 16 bytes"):
        ring.close()
    assert [operation.state for operation in operations] == [State.DISCARDED] * 2
    for operation in operations:
        with pytest.raises(uring.RingClosed, match="was never submitted"):
            operation.result()
    assert not is_pinned(buffer)
    ring = Ring(8)
    ring.write(pipe[1], DATA)
    with pytest.warns(ResourceWarning) as shown, collecting():
        del ring
    assert [str(warning.message).split()[0] for warning in shown] == ["unclosed", "1"]
    assert left_in(pipe[0]) == b""


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_warning_that_raises_does_not_stop_the_closing(
    pipe: tuple[int, int], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where warnings are errors the ring is drained all the same, and its memory is free."""
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(unraisable.exc_type))
    buffer, unsent = Memory(4), Memory(4)
    kept = len(closing._kept_for_good)
    ring = Ring(8)
    ring.read(pipe[0], buffer)
    ring.submit()
    ring.read(pipe[0], unsent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if how == "close":
            with pytest.raises(ResourceWarning, match="1 operations were never submitted"):
                ring.close()
            assert ring.closed
        else:
            del ring
            gc.collect()
            assert raised == [ResourceWarning]
    assert not is_pinned(buffer)
    assert not is_pinned(unsent)
    assert len(closing._kept_for_good) == kept
    os.write(pipe[1], DATA)
    assert bytes(buffer) == bytes(4)
    assert left_in(pipe[0]) == DATA


# --- leaving the block -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.005])
def test_exit_timeout(pipe: tuple[int, int], source: tuple[int, int], seconds: float) -> None:
    """What is queued is submitted even without any time to wait; what does not end in time is cancelled."""
    buffer = Memory(4)
    with Ring(8, exit_timeout=seconds) as ring:
        write, read = ring.write(pipe[1], DATA), ring.read(source[0], buffer)
    assert write.result() == len(DATA)
    assert left_in(pipe[0]) == DATA
    assert isinstance(read.exception(), uring.RingClosed)
    assert not is_pinned(buffer)
    os.write(source[1], DATA)
    assert bytes(buffer) == bytes(4)


def test_exit_waits_without_a_timeout(source: tuple[int, int]) -> None:
    """The block is left when the data has come."""
    buffer = Memory(len(DATA))
    writer = threading.Timer(0.02, os.write, (source[1], DATA))
    with Ring(8) as ring:
        read = ring.read(source[0], buffer)
        writer.start()
    writer.join(LONG)
    assert read.result() == len(DATA)
    assert bytes(buffer) == DATA


# --- the wrong thread --------------------------------------------------------------------------------


class Owner:
    """A thread that makes a ring with a read in flight, hands over the ring, and ends when it is told to."""

    def __init__(self, fd: int, buffer: bytearray) -> None:
        self.rings: list[Ring] = []
        self.operations: list[Any] = []
        self.made, self.end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=(fd, buffer))
        self.thread.start()
        assert self.made.wait(LONG)

    def run(self, fd: int, buffer: bytearray) -> None:
        """The thread."""
        ring = Ring(8)
        self.operations.append(ring.read(fd, buffer))
        ring.submit()
        self.rings.append(ring)
        del ring
        self.made.set()
        self.end.wait(LONG)

    def finish(self) -> None:
        """End the thread."""
        self.end.set()
        self.thread.join(LONG)


@pytest.mark.parametrize("when", ["owner waits", "owner ended"])
def test_ring_dropped_by_another_thread(source: tuple[int, int], when: str) -> None:
    """It warns, closes the descriptor, keeps the memory for good; data that comes is there or still to be read."""
    buffer = Memory(len(DATA))
    reference = weakref.ref(buffer)
    owner = Owner(source[0], buffer)
    try:
        if when == "owner ended":
            owner.finish()
        fd = owner.rings[0].fileno()
        target = os.readlink(f"/proc/self/fd/{fd}")
        assert "io_uring" in target
        owner.operations.clear()
        with dropping():
            owner.rings.clear()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert is_pinned(buffer)
        del buffer
        gc.collect()
        others = bystanders(len(DATA))
        os.write(source[1], DATA)
        got = left_in(source[0])
    finally:
        owner.finish()
    kept = reference()
    assert kept is not None
    deadline = time.monotonic() + LONG
    while not got and bytes(kept) != DATA and time.monotonic() < deadline:
        got = left_in(source[0])
    assert [got, bytes(kept)] in ([DATA, bytes(len(DATA))], [b"", DATA])
    assert is_pinned(kept)
    assert untouched(others)


def test_operations_of_a_thread_that_ended(source: tuple[int, int]) -> None:
    """They cannot be asked about, closing is refused, and their memory stays pinned until after the data has come."""
    buffer = Memory(len(DATA))
    owner = Owner(source[0], buffer)
    owner.finish()
    [operation] = owner.operations
    for call in (operation.done, operation.result, operation.cancel, operation.abandon, owner.rings[0].close):
        with pytest.raises(uring.WrongThread):
            call()
    assert operation.state is State.SUBMITTED
    others = bystanders(len(DATA))
    os.write(source[1], DATA)
    assert left_in(source[0]) == DATA  # the kernel cancelled the request with its thread
    assert is_pinned(buffer)
    assert bytes(buffer) == bytes(len(DATA))
    assert untouched(others)
    del operation, call
    owner.operations.clear()
    with dropping():
        owner.rings.clear()
    assert is_pinned(buffer)


def test_large_reads_of_a_thread_that_ended(direct: int) -> None:
    """What the disk brings after the thread's end goes into memory that is kept, and never elsewhere."""
    made: list[Any] = []

    def run() -> None:
        ring = Ring(64)
        start_large(ring, direct)
        made.append(ring)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    with dropping():
        made.clear()
    others = [uring.aligned_buffer(MiB) for _ in range(32)]
    fill(others)
    disk_traffic(direct)
    assert written_to(others) == []
    operations = [operation for operation in closing._kept_for_good[-1][0] if operation is not None]
    assert len(operations) == 32
    kept = [bytes(L.ffi.buffer(operation._memory)) for operation in sorted(operations, key=lambda one: one._about[1])]
    assert all(set(data) <= {0, number + 1} for number, data in enumerate(kept))


# --- the interpreter's exit --------------------------------------------------------------------------

PRELUDE = """
import gc, os, sys, threading, uring
reader, writer = os.pipe()
buffer = bytearray(1 << 16)
def start():
    ring = uring.Ring(64)
    read = ring.read(reader, buffer)
    ring.submit()
    return ring
"""
ENDS = {
    "in flight": "ring = start()",
    "three rings": "rings = [start() for _ in range(3)]",
    "never submitted": "ring = uring.Ring(8); read = ring.read(reader, buffer)",
    "a cycle": "ring = start(); cycle = [ring]; cycle.append(cycle); del ring; gc.disable()",
    "a thread that ended": """
made = []
thread = threading.Thread(target=lambda: made.append(start()))
thread.start()
thread.join()
""",
    "a daemon that waits": """
waits = threading.Event()
def run():
    ring = start()
    ring.nop().result()
    waits.set()
    ring.wait(1)
threading.Thread(target=run, daemon=True).start()
waits.wait()
""",
    "large reads": """
ring = uring.Ring(64)
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
for number in range(32):
    ring.read(fd, uring.aligned_buffer(1 << 20), number << 20)
ring.submit()
""",
    "sys.exit in the block": """
with start() as ring:
    sys.exit(0)
""",
}


@pytest.mark.parametrize(
    ("name", "dev"), [*((name, True) for name in ENDS), ("in flight", False), ("a daemon that waits", False)]
)
def test_exit_of_the_interpreter(large: Path, name: str, dev: bool) -> None:
    """It ends with status 0 and says nothing but, in development mode, that the ring was not closed."""
    arguments = [*(["-X", "dev"] if dev else []), "-c", PRELUDE + ENDS[name], str(large)]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False, env=child_environment()
    )
    assert done.returncode == 0, done.stderr
    if not dev or name == "sys.exit in the block":
        assert done.stderr == ""
    else:
        assert done.stderr.count("ResourceWarning: unclosed <Ring fd=") == (3 if name == "three rings" else 1)
        assert ("never submitted" in done.stderr) == (name == "never submitted")
        assert "Traceback" not in done.stderr


def test_exit_where_warnings_are_errors(large: Path) -> None:
    """Every ring is closed although each warning raises."""
    code = PRELUDE + ENDS["three rings"] + "\nimport atexit, uring.closing as c\n"
    code = code.replace("import gc", "import atexit; atexit.register(lambda: report()); import gc", 1)
    code += "def report(): print([ring.closed for ring in rings], len(c._kept_for_good))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=child_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[True, True, True] 0\n"


def child_environment() -> dict[str, str]:
    """This process's, without what changes how warnings are shown, and with the package under test."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONWARNINGS", "PYTHONDEVMODE")}
    environment["PYTHONPATH"] = str(Path(uring.__file__).parent.parent)
    return environment


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


def open_count() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("name", ["accept", "openat", "pipe", "socket"])
@pytest.mark.parametrize("fate", ["abandoned", "abandoned late", "dropped", "taken by wait", "close", "drop"])
def test_descriptor_that_nobody_takes(pipe: tuple[int, int], name: str, fate: str) -> None:
    """It is closed, whether its operation was given up before or after the result, or the ring went before."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(listener.getsockname()))
        before = open_count()
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
            assert open_count() == before + 1  # the ring's own
        elif fate == "abandoned late":
            ring.wait(2, LONG)
            operation.abandon()
            operation.abandon()
            assert open_count() == before + 1
        elif fate == "dropped":
            del operation
            ring.wait(2, LONG)
        elif fate == "taken by wait":
            assert set(ring.wait(2, LONG)) == {gate, operation}
        elif fate == "drop":
            del gate, operation
            with dropping():
                del ring
            assert open_count() == before
            return
        ring.close()
        operation = gate = None
        gc.collect()
        assert open_count() == before


@pytest.mark.parametrize("name", ["openat", "pipe", "socket"])
def test_abandoned_and_closed_at_once(name: str, tmp_path: Path) -> None:
    """A descriptor that arrives while the ring is being closed does not stay open."""
    with socket.socket() as listener:
        for _ in range(scaled(20)):
            before = open_count()
            ring = Ring(8)
            for _ in range(4):
                start_descriptor(ring, name, listener).abandon()
            ring.submit()
            ring.close()
            gc.collect()
            assert open_count() == before


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
