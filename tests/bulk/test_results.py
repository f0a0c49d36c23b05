"""What bulk calls return, what they tell meanwhile, and plans."""

from __future__ import annotations

import array
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contents_bulk import SIZE

import uring
from uring import Ring


def test_arrays_of_numpy(calls: Any, file: int) -> None:
    """With numpy the results are its arrays, without a copy."""
    result = calls.read_many(file, [0, SIZE - 2, 5], 4)
    assert (result.counts.dtype, result.errors.dtype) == (np.dtype("int64"), np.dtype("int32"))
    assert not result.counts.flags.owndata
    assert result.counts.sum() == 10


def test_views_without_numpy(large: Path) -> None:
    """Without numpy they are memoryviews of integers, and all else is the same."""
    code = f"""
import sys
sys.modules["numpy"] = None
import uring
with uring.Ring() as ring, open({str(large)!r}, "rb") as file:
    result = ring.read_many(file, [0, {SIZE - 2}], 4)
    print(type(result.counts).__name__, result.counts.tolist(), list(result.errors), result.counts[1])
    print(len(ring.read_many(file, [], 4).counts))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["memoryview [4, 2] [0, 0] 2", "0"]


def test_indices(calls: Any, file: int, data: bytes) -> None:
    """Negative ones count from the end; others do not exist."""
    result = calls.read_many(file, [0, 7], 4)
    assert result[-1] == data[7:11]
    for index in (2, -3):
        with pytest.raises(IndexError, match="2 requests"):
            result[index]
        with pytest.raises(IndexError):
            result.error(index)
    assert "2 requests, 0 failed" in repr(result)
    assert result.backend == ("io_uring" if isinstance(calls, Ring) else "threads")


def test_what_was_allocated_is_aligned_and_writable(calls: Any, file: int, data: bytes) -> None:
    """Memory that O_DIRECT would take, and that is the caller's to change."""
    result = calls.read_many(file, [1, 2], [3, 5])
    assert bytes(result.out) == data[1:4] + data[2:7]
    result.out[0] = 0
    address = uring.liburing.ffi.cast("uintptr_t", uring.liburing.ffi.from_buffer(result.out))
    assert int(address) % 4096 == 0


def test_progress(calls: Any, file: int) -> None:
    """It is told at most every 100 ms, never goes back, and ends with all."""
    told: list[tuple[int, int]] = []
    start = time.monotonic()
    calls.read_many(file, [0] * 200_000, 16, bytearray(16), positions=0, progress=lambda *now: told.append(now))
    taken = time.monotonic() - start
    assert told == sorted(told)
    assert told[-1] == (200_000, 200_000)
    assert {total for _, total in told} == {200_000}
    assert len(told) <= taken / 0.1 + 2


def test_progress_that_raises_ends_the_call(calls: Any, file: int) -> None:
    """Its exception reaches the caller, and the next call works."""

    def stop(*_: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        calls.read_many(file, [0, 1], 4, progress=stop)
    assert calls.read_many(file, [0, 1], 4).failed == 0


def test_progress_while_nothing_comes(ring: Ring, pipe: tuple[int, int]) -> None:
    """A call that waits tells so, too, and may be ended from there."""
    told = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 3:
            os.write(pipe[1], b"data")

    assert bytes(ring.read_many(pipe[0], [0], 4, progress=tell)[0]) == b"data"
    assert told[:3] == [(0, 1)] * 3


def test_a_plan_runs_often(ring: Ring, file: int, data: bytes) -> None:
    """Arrays that change between runs are read anew, and checked anew; the memory is the same."""
    offsets = array.array("q", range(100))
    out = bytearray(400)
    with ring.plan_reads(file, offsets, 4, out) as plan:
        assert len(plan) == 100
        assert "100 reads" in repr(plan)
        first = plan.run()
        assert out == b"".join(data[at : at + 4] for at in range(100))
        for place in range(100):
            offsets[place] = SIZE - 1 - place
        second = plan.run()
        assert second[50] == data[SIZE - 51 : SIZE - 47]
        assert first.counts.tolist() == [4] * 100
        assert second.counts.tolist()[:4] == [1, 2, 3, 4]
        offsets[7] = -1
        with pytest.raises(ValueError, match="read 7 "):
            plan.run()
        offsets[7] = 0
        assert plan.run().failed == 0
        with pytest.raises(BufferError):
            out.extend(b"more")
    out.extend(b"more")
    assert "closed" in repr(plan)
    with pytest.raises(ValueError, match="closed"):
        plan.run()
    plan.close()


def test_a_plan_of_writes(ring: Ring, target: int) -> None:
    """The data may change between runs."""
    data = bytearray(b"one.two.")
    with ring.plan_writes(target, [0, 4], 4, data, sync="fdatasync") as plan:
        plan.run().raise_for_error()
        data[:] = b"2222zwei"
        plan.run().raise_for_error()
    assert os.pread(target, 9, 0) == b"2222zwei"


def test_a_plan_does_not_run_inside_itself(ring: Ring, file: int) -> None:
    """Nor is it closed there; another call on the same ring is fine."""
    with ring.plan_reads(file, [0] * 1000, 4) as plan:

        def again(*_: int) -> None:
            with pytest.raises(RuntimeError, match="running"):
                plan.run()
            with pytest.raises(RuntimeError, match="running"):
                plan.close()
            assert ring.read_many(file, [0], 4).failed == 0

        assert plan.run(progress=again).failed == 0


def test_a_plan_registers_what_pays(ring: Ring, large: Path, file: int, data: bytes) -> None:
    """Memory of O_DIRECT, and memory that is used again and again; it gives way to nothing, and ends with the plan."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    try:
        with ring.plan_reads(fd, [0, 4096], 4096) as plan:
            plan.run().raise_for_error()
            with pytest.raises(BufferError, match="table"):
                uring.RegisteredBuffers(ring, [bytearray(1)])
        uring.RegisteredBuffers(ring, [bytearray(1)]).close()
        with uring.RegisteredBuffers(ring, [bytearray(1)]), ring.plan_reads(fd, [0, 4096], 4096) as plan:
            plan.run().raise_for_error()
            assert plan.run().out == data[:8192]
    finally:
        os.close(fd)
    with ring.plan_reads(file, [0] * 5000, 16, bytearray(16), positions=0) as plan:
        assert plan.run()[4999] == data[:16]
        with pytest.raises(BufferError, match="table"):
            uring.RegisteredBuffers(ring, [bytearray(1)])
    with pytest.raises(TypeError, match="register"):
        ring.plan_reads(file, [0], 1, register="yes")


def test_nops(ring: Ring) -> None:
    """As many as were asked for, each counted by the kernel."""
    before = ring.statistics().submitted
    assert len(ring.nop_many(12_345)) == 12_345
    assert ring.statistics().submitted - before == 12_345
    assert ring.nop_many(0).failed == 0
    with pytest.raises(ValueError, match="count"):
        ring.nop_many(-1)
