"""Rings that end without their owner: in another thread, after its end, at the interpreter's exit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from memory_in_flight import (
    DATA,
    Memory,
    MiB,
    bystanders,
    disk_traffic,
    dropping,
    fill,
    left_in,
    start_large,
    untouched,
    written_to,
)
from observing import is_pinned
from scale import LONG

import uring
from uring import Ring, State, closing
from uring import liburing as L

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
