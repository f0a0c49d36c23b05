"""Children of a fork that end in any way, and rings dropped elsewhere: the owner is not disturbed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from scale import LONG
from strangers import CALLS, NOTHING, drop, in_child, in_thread, outcome

import uring
from uring import Ring
from uring import liburing as L

CHILD = """
import gc, os, sys, time, uring
ends = os.pipe()
{prelude}
ring = uring.Ring(8)
first, second = ring.read(ends[0], bytearray(3)), ring.nop(result=4)
ring.submit()
waiting = ring.nop(result=6)  # in the queue at the fork
child = os.fork()
if not child:
    {child}
assert os.waitpid(child, 0)[1] == {status}, "the child failed"
assert not ring.closed and ring.statistics().in_flight == {flying}, ring
os.write(ends[1], b"abc")
assert first.result(10) == 3 and second.result(10) == 4 and waiting.result(10) == 6
assert ring.statistics() == (0, 3, 3, 0, 8), ring.statistics()
assert [ring.nop(result=n).result(10) for n in range(20)] == list(range(20))
ring.close()
print("unharmed")
"""

WAYS = {
    "sys.exit": ("", "sys.exit(3)", 3 << 8),
    "the end of atexit": ("import atexit; atexit.register(gc.collect)", "sys.exit(0)", 0),
    "an exception": ("", "os.close(2); raise KeyError", 1 << 8),
    "dropping the ring": (
        "",
        "fd = ring.fileno(); del ring, first, second, waiting; gc.collect(); os._exit(any(\n"
        "        os.readlink(f'/proc/self/fd/{n}').startswith('anon_inode:[io_uring]')\n"
        "        for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')))",
        0,
    ),
    "leaving its block": ("", "ring.__enter__()\n    try: ring.__exit__(None, None, None)\n"
                              "    except uring.Forked: os._exit(5)", 5 << 8),
    "a ring of its own": (
        "",
        "own = uring.Ring(8); n = own.nop(result=9).result(10); own.close(); os._exit(n)",
        9 << 8,
    ),
    "a child of its own": (
        "",
        "inner = os.fork()\n    if not inner: sys.exit(0)\n    os.waitpid(inner, 0)\n    sys.exit(1)",
        1 << 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_child_that_ends_leaves_the_parent_unharmed(way: str) -> None:
    """However the child ends, what was in flight and in the queue completes, and the counts are right."""
    prelude, child, status = WAYS[way]
    program = CHILD.format(prelude=prelude, child=child, status=status, flying=3)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "unharmed\n", done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_parent_closes_while_a_child_still_has_the_ring(pipe: tuple[int, int]) -> None:
    """The child holds the descriptor open; closing is complete in the parent all the same."""
    reading, writing = os.pipe()
    ring = Ring(8)
    blocked = ring.read(pipe[0], bytearray(1))
    ring.submit()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0 if outcome(CALLS["nop"], ring, NOTHING) == "Forked" else 1)
    ring.close()
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    assert isinstance(blocked.exception(), uring.RingClosed)
    os.write(pipe[1], b"y")
    assert os.read(pipe[0], 1) == b"y", "the read was still running"


def test_a_ring_dropped_in_another_thread_warns() -> None:
    """Nothing of it but its descriptor is touched there."""
    ring: list[Ring] = [Ring(8)]
    operation = ring[0].nop()
    fd = ring[0].fileno()
    del operation
    with pytest.warns(ResourceWarning, match="unclosed"):
        in_thread(lambda: drop(ring))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_the_c_names_on_a_ring_agree_about_the_owner(ring: Ring) -> None:
    """What was taken from c_ring by the owner stays usable by the owner after refusals elsewhere."""
    sqe = L.io_uring_get_sqe(ring.c_ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 77)
    assert isinstance(in_thread(lambda: ring.c_ring), uring.WrongThread)
    assert in_child(lambda: outcome(CALLS["c_ring"], ring, NOTHING)) == "Forked"
    assert ring.wait(1, LONG) == [uring.Completion(77, 0, 0)]
