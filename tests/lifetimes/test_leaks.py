"""Nothing grows: operations and rings by the thousand, and limits that are hit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import census
import pytest
from census import memory_pages, queue_foreign, table_size
from scale import scaled

from uring import Ring

HELPERS = os.path.dirname(census.__file__)


def test_operations_leave_nothing_behind(ring: Ring, pipe: tuple[int, int]) -> None:
    """Many operations of several kinds and ends, and neither memory, descriptors, slots nor the table grow."""

    def work(turns: int) -> None:
        for turn in range(turns):
            buffer = bytearray(64)
            with ring.chain():
                ring.write(pipe[1], b"0123456789")
                ring.read(pipe[0], buffer)
            for _ in range(10):
                ring.nop()
            ring.nop().abandon()
            ring.nop(result=-22).add_done_callback(lambda _: None)
            timer = ring.timeout(60)
            timer.cancel()
            queue_foreign(ring, turn)
            for _ in ring:
                pass
            ring.openat(os.devnull).abandon()
            ring.nop().result()
            ring.wait(0)
            while ring._native.in_flight:
                ring._enter(1, -1)

    work(300)
    descriptors, sizes, pages = len(os.listdir("/proc/self/fd")), table_size(ring), memory_pages()
    turns = scaled(100_000) // 19
    work(turns)
    growth = (memory_pages() - pages) * resource.getpagesize()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert table_size(ring) == sizes
    assert (ring._ready, ring._foreign, ring._due, ring._hidden) == ({}, {}, {}, set())
    assert growth < 3 << 20, f"{growth} bytes more after {turns} turns"
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.submitted == statistics.completed == (300 + turns) * 19


RINGS = """
import gc, os, sys
sys.path.insert(0, {tests!r})
import uring
from census import locked, memory_pages
ends = os.pipe()
def work(count):
    for number in range(count):
        ring = uring.Ring(8)
        ring.nop().result(10)
        if number % 3:
            ring.read(ends[0], bytearray(1))
            ring.submit()
        ring.close()
work(50)
before = len(os.listdir("/proc/self/fd")), locked()
pages = memory_pages()
work({count})
gc.collect()
after = len(os.listdir("/proc/self/fd")), locked()
assert before == after, (before, after)
growth = (memory_pages() - pages) * os.sysconf("SC_PAGESIZE")
assert growth < 3 << 20, growth
print("nothing is left")
"""

# Locked memory is counted for all processes of a user, so each takes a user of its own.
AS_NOBODY = """
import os, resource
os.setgroups([]); os.setgid(65534); os.setuid(20_000 + os.getpid() % 40_000)
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))
"""


def run(program: str) -> str:
    """What a program prints; the test fails with what it says when it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def as_nobody(program: str, limit: int = 64 << 10) -> str:
    """The program, after it has become an unprivileged user with so much locked memory; modules are loaded before."""
    if os.getuid():
        pytest.skip("only root can become somebody else")
    return "import uring, warnings, subprocess, sysconfig\n" + AS_NOBODY.format(limit=limit) + program


def test_rings_leave_nothing_behind() -> None:
    """Many rings, closed with and without operations in flight: no descriptor, locked memory or memory is lost."""
    program = RINGS.format(tests=HELPERS, count=scaled(1000))
    assert run(program) == "nothing is left\n"


def test_rings_one_after_another_within_a_small_limit() -> None:
    """An unprivileged user with 64 KiB of locked memory, which the kernel gives back only after a while."""
    program = f"import sys; sys.path.insert(0, {HELPERS!r}); import census\n"
    program += as_nobody(RINGS.format(tests=HELPERS, count=scaled(100)))
    assert run(program) == "nothing is left\n"


MEMLOCK = """
import errno
rings = []
try:
    while len(rings) < 100:
        rings.append(uring.Ring(64))
except OSError as error:
    assert error.errno == errno.ENOMEM, error
    assert "RLIMIT_MEMLOCK allows 64 KiB" in str(error) and "ulimit -l" in str(error), error
else:
    raise AssertionError("no limit was hit")
assert rings, "not one ring fits"
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
try:
    uring.Ring(4096)
except OSError as error:
    assert error.errno == errno.ENOMEM, error
else:
    raise AssertionError("no limit was hit")
rings.pop().close()
rings.append(uring.Ring(64))
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
for ring in rings:
    ring.close()
with uring.Ring(64) as ring:
    print(ring.nop(result=5).result(10))
"""


def test_the_limit_of_locked_memory_is_hit() -> None:
    """The error says which limit and how to raise it; the rings that there are work, and closing one makes room."""
    assert run(as_nobody(MEMLOCK)) == "5\n"


EMFILE = """
import errno, os, resource, uring
uring.Ring(2).close()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
rings = []
try:
    while len(rings) < 100:
        rings.append(uring.Ring(8))
except OSError as error:
    assert error.errno == errno.EMFILE, error
    assert "RLIMIT_NOFILE" in str(error) and "ulimit -n" in str(error), error
else:
    raise AssertionError("no limit was hit")
assert len(rings) > 10
first = rings[0]
for attempt in range(3):  # an operation meets the same limit, and says so
    opening = first.openat(os.devnull)
    try:
        opening.result(10)
    except OSError as error:
        assert error.errno == errno.EMFILE and "openat" in str(error), error
    else:
        raise AssertionError("no limit was hit")
assert first.nop(result=7).result(10) == 7
rings.pop().close()
os.close(first.openat(os.devnull).result(10))
rings.append(uring.Ring(8))
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
for ring in rings:
    ring.close()
with uring.Ring(8) as ring:
    print(ring.nop(result=5).result(10))
"""


def test_the_limit_of_descriptors_is_hit() -> None:
    """A ring, and an operation, that finds no free descriptor says so, and both work again when there is one."""
    assert run(EMFILE) == "5\n"
