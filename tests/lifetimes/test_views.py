"""Memoryviews in garbage: Python before 3.12.7 crashes when it collects one whose memory is exported."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap

import pytest

import uring
from uring.builders import base

GARBAGE = """
import gc, os, uring
ring = uring.Ring(8)
ends = os.pipe()
view = lambda: memoryview(bytearray(64))
def fails():
    try:
        {call}
    except Exception as error:
        kept = error  # a cycle: the frame, the exception, its traceback, the frame
    else:
        raise SystemExit("nothing was raised")
if {closed}:
    ring.close()
for _ in range(3):
    fails()
    gc.collect()
print("alive")
"""
CALLS = {
    "read": "ring.read(ends[0], view())",
    "write": "ring.write(ends[1], view())",
    "a list": "ring.read(ends[0], [view(), view()], 0)",
    "send": "ring.send(ends[0], view())",
    "madvise": "ring.madvise(view(), 3)",
    "aligned": "ring.read(ends[0], uring.aligned_buffer(64))",
    "a slice": "ring.read(ends[0], uring.aligned_buffer(8192, 8192)[10:20])",
    "a failed result": "ring.write(ends[0], view()).result()",
    "provided buffers": "uring.ProvidedBuffers(ring, 4, 16, memory=view()); raise ValueError",
    "registered buffers": "uring.RegisteredBuffers(ring, [view()]).acquire(); raise ValueError",
}


@pytest.mark.parametrize("name", CALLS)
def test_views_in_garbage(name: str) -> None:
    """A cycle of a traceback and the frames that hold a view's export is collected without a crash."""
    closed = name in ("read", "write", "a list", "send", "madvise", "aligned", "a slice")
    program = textwrap.dedent(GARBAGE).format(call=CALLS[name], closed=closed)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


@pytest.mark.skipif(not base.VIEWS_ARE_FRAGILE, reason="views need no holding since Python 3.12.7")
def test_views_are_held_no_longer_than_needed() -> None:
    """A view is let go of with its operation."""
    gc.collect()
    before = len(base._held_views)
    with uring.Ring(8) as ring:
        operations = [ring.nop(), ring.write(2, memoryview(b"")), ring.write(2, [memoryview(b"")])]
        assert len(base._held_views) > before
        for operation in operations:
            operation.result()
    del operation, operations
    gc.collect()
    assert len(base._held_views) == before
