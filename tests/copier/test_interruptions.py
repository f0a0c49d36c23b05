"""Signals, exceptions and threads: a copy ends properly at every step."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from copying import BLOCK, Stop, raising_after, write

from uring import copy


def test_signals_during_a_copy(tmp_path: Path, target: Path) -> None:
    """Under a storm of signals their Python handlers run, and the contents are right."""
    source = write(tmp_path / "source", 8 << 20)
    ran = []
    before = signal.signal(signal.SIGALRM, lambda *_: ran.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        while len(ran) < 50:
            copy.copy_file(source, target, depth=8, block_size=BLOCK)
            assert target.read_bytes() == source.read_bytes()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_a_wait_for_a_pipe(tmp_path: Path, target: Path) -> None:
    """An exception from a signal's handler ends a copy that waits for a pipe, and nothing is left."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    opened = os.open(fifo, os.O_RDWR)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(Stop):
            copy.copy_file(fifo, target)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(opened)


@contextmanager
def interruption(number: int) -> Iterator[None]:
    """Raise Stop before the n-th bytecode that runs in the copier's module, as a signal's handler may."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != copy.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Stop
        return trace

    # CPython 3.12 asks at settrace() whether anybody wants opcodes.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def open_descriptors() -> set[int]:
    """The numbers of this process's open descriptors."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def test_an_exception_between_any_two_steps(tmp_path: Path, target: Path, engines: list[Any]) -> None:
    """Wherever a signal's handler raises, the copy ends, memory in use stays, and no wrong target is unannounced."""
    source = write(tmp_path / "source", 5 * 4096 + 7)
    before = open_descriptors()
    kept = []
    number = 1
    while True:
        try:
            with interruption(number):
                copy.copy_file(source, target, depth=3, block_size=4096)
            break
        except Stop as stop:
            announced = getattr(stop, "incomplete", False)
        left = target.read_bytes() if target.exists() else b""
        assert left in (b"", source.read_bytes()) or announced, number
        for engine in engines:
            assert engine.memory in copy._pinned or engine.ring.submitted == engine.ring.reaped, number
        # A descriptor may be lost between the call that opens it and the name that it is given.
        for fd in open_descriptors() - before:
            os.close(fd)
        kept += copy._pinned
        copy._pinned.clear()
        engines.clear()
        target.unlink(missing_ok=True)
        number += 1 + number // 40
    assert target.read_bytes() == source.read_bytes()
    assert number > 1000


def test_memory_is_kept_when_waiting_for_it_is_interrupted(
    source: Path, target: Path, engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the wait for what is in flight is interrupted too, memory and files stay, and a new target is removed."""

    def interrupt(_engine: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(copy._Engine, "_in_flight", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        copy.copy_file(source, target, block_size=BLOCK, progress=raising_after(0))
    assert isinstance(caught.value.__context__, Stop)
    assert not caught.value.incomplete  # type: ignore[attr-defined]
    assert not target.exists()
    assert copy._pinned == {engines[0].memory}
    for fd in (engines[0].source, engines[0].target):
        os.close(fd)
    copy._pinned.clear()


def test_threads_copy_at_the_same_time(tmp_path: Path) -> None:
    """Each of eight threads gets its own file copied."""
    sources = [write(tmp_path / f"source{number}", 50 * BLOCK + number, seed=number) for number in range(8)]
    failures: list[BaseException] = []

    def work(source: Path) -> None:
        try:
            for _ in range(5):
                copy.copy_file(source, source.with_suffix(".copy"), depth=4, block_size=BLOCK)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for source in sources:
        assert source.with_suffix(".copy").read_bytes() == source.read_bytes()
