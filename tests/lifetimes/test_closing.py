"""A ring ends with operations in flight: by close(), at the end of its block, by an exception."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from typing import Any

import pytest
from memory_in_flight import (
    DATA,
    PATTERN,
    Memory,
    MiB,
    collecting,
    disk_traffic,
    dropping,
    fill,
    left_in,
    pipes,
    sockets,
    start_large,
    untouched,
    written_to,
)
from observing import is_pinned
from scale import LONG, scaled

import uring
from uring import Ring, State, closing

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
