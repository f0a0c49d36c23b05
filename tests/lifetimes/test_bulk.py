"""Bulk calls that are interrupted, nested, closed under, or left behind: nothing is lost, nothing is written late."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from census import locked, memory_pages
from interrupting import Stop, alarms, interruption, raising_once, rest_of, striking
from scale import LONG, scaled

import uring
from uring import Operation, Ring, RingClosed, bulk_job
from uring._native import lib
from uring.types import FORCE_ASYNC

SIZE = 1 << 18


class Quiet:
    """In place of the module `warnings`."""

    @staticmethod
    def warn(*_: Any, **__: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def data() -> bytes:
    """What the file holds."""
    return os.urandom(SIZE)


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Iterator[int]:
    """A file, open for reading."""
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def assert_as_before(ring: Ring) -> None:
    """No bulk call is left on the ring, and it works."""
    assert not ring._bulk
    assert ring._native.bulk == uring.liburing.ffi.NULL
    assert ring._native.bulk_cancels == 0
    rest_of(ring)
    for _ in range(2):
        assert not any(ring._table)
        assert not ring._hidden
        statistics = ring.statistics()
        assert statistics.in_flight == ring._native.in_flight == 0
        assert statistics.submitted <= statistics.completed  # the ends of registrations are completions too
        assert ring.nop_many(300).failed == 0


# --- exceptions --------------------------------------------------------------------------------------


def reading(ring: Ring, file: int, folder: Path) -> None:
    """Reads that register their file, and widen."""
    ring.read_many(file, range(5000), 3)
    ring.read_many(file, [1, 2, 3], 3, widen=True)


def writing(ring: Ring, file: int, folder: Path) -> None:
    """Writes in batches."""
    with open(folder / "out", "wb") as out:
        ring.write_many(out, range(0, 40, 4), 4, bytes(40), sync="fdatasync", sync_every=3)


def names(ring: Ring, file: int, folder: Path) -> None:
    """What takes descriptors and slots."""
    paths = [folder / "file"] * 5
    ring.read_files(paths)
    ring.stat_many(paths)
    with ring.open_many(paths, depth=2) as files:
        assert not files.failed


@pytest.mark.parametrize("work", [reading, writing, names])
def test_an_exception_at_every_step(tmp_path: Path, file: int, work: Callable[..., None]) -> None:
    """Wherever a handler raises: slots, descriptors and registrations are given back, and operations are not lost."""
    number, step, finished = 0, 1, False
    with Ring(16, exit_timeout=LONG) as ring:
        work(ring, file, tmp_path)
        while not finished:
            number += step
            step = max(1, number // 200)
            before = set(os.listdir("/proc/self/fd"))
            operation = ring.nop()
            try:
                with interruption(number) as left:
                    work(ring, file, tmp_path)
                finished = left[0] > 0
            except Stop:
                pass
            except BufferError:
                finished = False
            gc.collect()
            assert set(os.listdir("/proc/self/fd")) <= before, number
            assert operation.result(LONG) is None
            ring.wait(0)
            for job in [*ring._bulk]:
                job.end()
            assert_as_before(ring)
            uring.RegisteredFiles(ring, [file]).close()
    assert number > 100


def test_ctrl_c_in_a_million_reads(ring: Ring, file: int) -> None:
    """It ends the call soon, and nothing is written to the memory afterwards."""
    out = bytearray(64)
    offsets = range(1)
    count = 50_000_000
    numbers = [0] * 1
    assert len(numbers) == len(offsets)
    with alarms(raising_once(), 0.1, 0.1), pytest.raises(KeyboardInterrupt):
        ring.nop_many(count)
    assert_as_before(ring)
    many = memoryview(bytearray(8 * 5_000_000)).cast("q")
    with alarms(raising_once(), 0.2, 0.2), pytest.raises(KeyboardInterrupt):
        ring.read_many(file, many, 64, out, positions=0)
    out[:] = bytes(64)
    assert_as_before(ring)
    assert out == bytes(64)


def test_ctrl_c_while_nothing_comes(ring: Ring, pipe: tuple[int, int]) -> None:
    """Requests that wait are cancelled: what comes later is not theirs."""
    out = bytearray(800)
    with alarms(raising_once(), 0.05, 0.05), pytest.raises(KeyboardInterrupt):
        ring.read_many([pipe[0]] * 100, 0, 8, out)
    os.write(pipe[1], b"x" * 8)
    assert_as_before(ring)
    assert out == bytes(800)
    assert os.read(pipe[0], 8) == b"x" * 8


def test_a_real_sigint(tmp_path: Path) -> None:
    """A program that is interrupted at the terminal ends as Python programs do."""
    code = """
import os, signal, uring
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where this was started
read, (r, w) = uring.read_many, os.pipe()
print("go", flush=True)
read([r] * 10, 0, 1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        while True:
            child.send_signal(signal.SIGINT)  # again, should it come too early
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(2)
                break
        assert child.returncode == -signal.SIGINT
        assert child.stderr is not None
        assert "KeyboardInterrupt" in child.stderr.read()


def test_a_storm_of_signals(ring: Ring, file: int, data: bytes) -> None:
    """Handlers that run all the time, and use the ring, take nothing away."""
    handled = []

    def handler(*_: Any) -> None:
        handled.append(ring.nop())
        ring.submit()

    with alarms(handler, 0.001, 0.001):
        for _ in range(scaled(30)):
            result = ring.read_many(file, range(0, SIZE, 16), 16)
            result.raise_for_error()
            assert result.out == data
    assert handled
    assert {*ring.wait(0)} | {op for op in handled if op.done()} >= {*handled}
    assert_as_before(ring)


def test_what_cannot_be_stopped_is_kept(ring: Ring, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time to wind down is over, memory stays until the completions, and the ring goes on."""
    monkeypatch.setattr(bulk_job, "GRACE_NS", 0)
    monkeypatch.setattr(bulk_job.Job, "_wind_up", lambda _: None)
    out = bytearray(40)
    warned = pytest.warns(ResourceWarning, match="10 requests of a bulk call")
    with alarms(raising_once(), 0.05, 0.05), warned, pytest.raises(KeyboardInterrupt):
        ring.read_many([pipe[0]] * 10, 0, 4, out)
    with pytest.raises(BufferError):
        out.extend(b"more")  # the kernel may write there
    assert ring.statistics().in_flight == 0  # nobody waits for them
    monkeypatch.undo()
    os.write(pipe[1], b"1234" * 10)
    deadline = time.monotonic() + LONG
    while ring._native.in_flight and time.monotonic() < deadline:
        ring.wait(0)
    assert out == b"1234" * 10
    gc.collect()
    out.extend(b"more")
    assert_as_before(ring)


def test_late_descriptors_are_closed(ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is opened after its call was given up does not stay open."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(bulk_job.Job, "_wind_up", lambda _: None)
    monkeypatch.setattr(ring, "_required_flags", FORCE_ASYNC)  # so that opens take a while
    monkeypatch.setattr(bulk_job, "warnings", Quiet)

    def step(job: Any, native: Any) -> int:
        code = int(lib.uring_bulk_run(native, job.c, 0))
        if job.c.in_flight:
            raise KeyboardInterrupt
        return code

    monkeypatch.setattr(bulk_job.Job, "_step", step)
    before = set(os.listdir("/proc/self/fd"))
    late = 0
    for call in (ring.open_many, ring.read_files):
        with uring.RegisteredFiles(ring, [None]):  # so that whole files are read by plain descriptors
            for _ in range(scaled(20)):
                with pytest.raises(KeyboardInterrupt):
                    call([os.fsencode(tmp_path / "file")] * 20_000)
                late += ring._native.in_flight
                rest_of(ring)
        gc.collect()
        assert set(os.listdir("/proc/self/fd")) == before
    assert late
    monkeypatch.undo()
    assert_as_before(ring)


def test_closing_after_a_call_was_given_up(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring's close cancels what was left, and waits for it."""
    monkeypatch.setattr(bulk_job.Job, "_wind_up", lambda _: None)
    ring = Ring(8)
    out = bytearray(40)
    warned = pytest.warns(ResourceWarning, match="bulk call")
    with alarms(raising_once(), 0.05, 0.05), warned, pytest.raises(KeyboardInterrupt):
        ring.read_many([pipe[0]] * 10, 0, 4, out)
    ring.close()
    os.write(pipe[1], b"1234")
    out.extend(b"more")
    assert out == bytes(40) + b"more"


# --- together with other operations -------------------------------------------------------------------


def test_operations_go_on_meanwhile(ring: Ring, file: int, data: bytes, pipe: tuple[int, int]) -> None:
    """What was in flight before completes during the call and is handed out after it, once."""
    before = [ring.nop() for _ in range(5)]
    reads = [ring.read(file, bytearray(4), offset) for offset in range(5)]
    waiting = ring.read(pipe[0], bytearray(2))
    called: list[Operation[Any]] = []
    ring.nop().add_done_callback(called.append)
    result = ring.read_many(file, range(0, SIZE, 64), 64)
    assert result.out == data
    assert len(called) == 1
    assert not waiting.done()
    os.write(pipe[1], b"ab")
    assert waiting.result(LONG) == 2
    assert {*ring.wait(0)} == {*before, *reads}
    assert [read.result() for read in reads] == [4] * 5
    assert_as_before(ring)


def test_callbacks_may_use_the_ring(ring: Ring, file: int, data: bytes) -> None:
    """They wait, make other bulk calls, and chains, in the middle of a bulk call."""
    seen = []

    def callback(_: Any) -> None:
        seen.append(ring.read_many(file, range(0, 4096, 8), 8).out == data[:4096])
        with ring.chain():
            ring.nop()
            last = ring.nop()
        seen.append(last.result(LONG) is None)
        seen.append(ring.nop() in ring.wait(1, LONG))
        seen.append(ring.nop_many(500).failed == 0)
        with pytest.raises(ValueError, match="in flight"):
            ring.wait(1)  # what the outer call has in flight is not counted

    for _ in range(4):
        ring.nop().add_done_callback(callback)
    result = ring.read_many(file, range(0, SIZE, 16), 16)
    assert result.out == data
    assert seen == [True] * 16
    assert_as_before(ring)


@pytest.mark.parametrize("how", ["callback", "progress", "handler"])
def test_closing_the_ring_from_inside(pipe: tuple[int, int], how: str) -> None:
    """The call ends with RingClosed, its requests are cancelled, and its memory is free."""
    ring = Ring(8)
    out = bytearray(40)
    closing: list[Any] = []

    def close(*_: Any) -> None:
        closing.append(ring.close())

    settings: dict[str, Any] = {}
    if how == "callback":
        ring.nop().add_done_callback(close)
    elif how == "progress":
        settings["progress"] = close
    with alarms(close if how == "handler" else lambda *_: None, 0.1, 0.2), pytest.raises(RingClosed):
        ring.read_many([pipe[0]] * 10, 0, 4, out, **settings)
    assert closing
    os.write(pipe[1], b"late")
    out.extend(b"more")
    assert out == bytes(40) + b"more"


def test_a_destructor_cannot_wait_where_completions_are_handed_out(ring: Ring, file: int) -> None:
    """It is told so, and nothing breaks."""
    told: list[Any] = []

    class Late:
        def __del__(self) -> None:
            try:
                told.append(ring.read_many(file, [0], 1).failed)
            except RuntimeError as error:
                told.append(error)

    operation = ring.nop()
    operation._memory = Late()
    ring.wait(1)
    del operation
    gc.collect()
    assert len(told) == 1
    assert told == [0] or "handed out" in str(told[0])
    assert_as_before(ring)


def test_a_signal_handler_at_every_step_makes_bulk_calls(ring: Ring, file: int, data: bytes) -> None:
    """A bulk call inside of another one, from wherever it may come, does not disturb that one."""
    number, finished = 0, False
    while not finished:
        number += 1 + number // 100
        inner: list[Any] = []

        def act(into: list[Any] = inner) -> None:
            try:
                into.append(ring.read_many(file, [5, 6], 2).out == data[5:7] + data[6:8])
            except RuntimeError as error:
                into.append("hand" in str(error))  # completions are being handed out

        other = ring.nop()
        with striking(number, act) as left:
            result = ring.read_many(file, range(0, 320, 8), 8)
        assert result.out == data[:320]
        assert inner == ([] if left[0] > 0 else [True])
        assert other.result(LONG) is None
        ring.wait(0)
        finished = left[0] > 0
    assert_as_before(ring)


# --- limits -------------------------------------------------------------------------------------------


def test_a_window_larger_than_the_completion_queue(file: int, data: bytes) -> None:
    """Completions that overflow the queue are kept by the kernel, and come."""
    with Ring(4, uring.Params(cq_entries=4)) as ring:
        result = ring.read_many(file, range(0, SIZE, 16), 16, depth=4000, force_async=True)
        result.raise_for_error()
        assert result.out == data
        assert_as_before(ring)


def test_many_runs_leave_nothing(ring: Ring, file: int, tmp_path: Path) -> None:
    """Neither memory, nor descriptors, nor slots, nor locked memory."""
    paths = [tmp_path / "file"] * 3
    out = bytearray(64)

    def once() -> None:
        ring.read_many(file, range(0, 64, 8), 8, out)
        ring.read_many(file, [1], 8, out, widen=True)
        ring.read_many(file, [0, 8], 8, out, register=True)
        ring.read_files(paths)
        ring.stat_many(paths)
        ring.open_many(paths).close()

    for _ in range(200):
        once()
    gc.collect()
    before = (memory_pages(), ring._native.slot_count, len(ring._table), locked())
    fds = set(os.listdir("/proc/self/fd"))
    for _ in range(scaled(1500)):
        once()
    gc.collect()
    assert memory_pages() - before[0] < 1000
    assert (ring._native.slot_count, len(ring._table), locked()) == before[1:]
    assert set(os.listdir("/proc/self/fd")) == fds
    assert_as_before(ring)


def test_memory_of_a_million_requests(tmp_path: Path) -> None:
    """At most 48 bytes a request beyond the caller's buffers, also where all numbers are lists."""
    (tmp_path / "file").write_bytes(bytes(4096))
    code = """
import os, uring
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
count = 1_000_000
offsets, lengths, positions = [0] * count, [16] * count, [0] * count
out = bytearray(16)
fd = os.open("file", os.O_RDONLY)
with uring.Ring(64) as ring:
    ring.read_many(fd, [0], [16], out, positions=[0]).counts
    before = peak()
    result = ring.read_many(fd, offsets, lengths, out, positions=positions)
    print((peak() - before) / count, result.failed)
"""
    here = os.path.dirname(os.path.dirname(uring.__file__))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    each, failed = done.stdout.split()
    assert failed == "0"
    assert 0 < float(each) <= 48


def test_each_thread_has_its_ring(file: int, data: bytes) -> None:
    """Many threads read at once, each by a ring of its own."""
    wrong: list[Any] = []

    def work() -> None:
        try:
            with Ring(8) as ring:
                for _ in range(scaled(20)):
                    if ring.read_many(file, range(0, SIZE, 256), 256).out != data:
                        wrong.append("data")
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_buffer_cannot_be_resized_meanwhile(ring: Ring, pipe: tuple[int, int]) -> None:
    """Another thread that tries gets BufferError."""
    out = bytearray(4)
    tried: list[type[BaseException]] = []

    def resize() -> None:
        try:
            out.extend(b"more")
        except BufferError as error:
            tried.append(type(error))
        os.write(pipe[1], b"data")

    timer = threading.Timer(0.05, resize)
    timer.start()
    assert ring.read_many(pipe[0], [0], 4, out).failed == 0
    timer.join()
    assert tried == [BufferError]
    assert out == b"data"


def test_a_fork_during_a_run(ring: Ring, pipe: tuple[int, int]) -> None:
    """The child is refused and leaves the parent's requests alone; the parent's call ends as it should."""
    children: list[int] = []

    def fork(*_: int) -> None:
        if children:
            return
        child = os.fork()
        if not child:
            code = 1
            try:
                ring.nop_many(1)
            except uring.Forked:
                code = 0
            os._exit(code)
        children.append(os.waitpid(child, 0)[1])
        os.write(pipe[1], b"data")

    result = ring.read_many(pipe[0], [0], 4, progress=fork)
    assert bytes(result[0]) == b"data"
    assert children == [0]
    assert_as_before(ring)


def test_restricted_rings(file: int, data: bytes) -> None:
    """A ring that allows reads only reads in bulk, and refuses the rest request by request."""
    with Ring(8, uring.Params(disabled=True)) as ring:
        ring.restrict(opcodes=[uring.liburing.IORING_OP_READ])
        ring.enable()
        assert ring.read_many(file, range(0, SIZE, 4096), 4096, register=False).out == data
        assert ring.read_files(["/etc/passwd"]).errors.tolist() == [errno.EACCES]
        assert ring.nop_many(3).errors.tolist() == [errno.EACCES] * 3


def test_warnings_that_are_errors_lose_nothing(
    ring: Ring, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning about requests that cannot be stopped may be an exception: the ring is sound all the same."""
    monkeypatch.setattr(bulk_job.Job, "_wind_up", lambda _: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with alarms(raising_once(), 0.05, 0.05), pytest.raises((ResourceWarning, KeyboardInterrupt)):
            ring.read_many([pipe[0]] * 3, 0, 4, bytearray(12))
    os.write(pipe[1], b"1234" * 3)
    deadline = time.monotonic() + LONG
    while ring._native.in_flight and time.monotonic() < deadline:
        ring.wait(0)
    assert_as_before(ring)
