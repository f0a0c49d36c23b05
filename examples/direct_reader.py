"""Read the first blocks of a file past the page cache, all of them in flight at once.

    python examples/direct_reader.py FILE

The Pythonic twin of io_uring_test.py beside it.
"""

from __future__ import annotations

import os
import sys

import uring

DEPTH = 4
BLOCK = 4096


def main(name: str) -> int:
    """Read, check every result, and say how much came."""
    with uring.Ring(DEPTH) as ring, open(os.open(name, os.O_RDONLY | os.O_DIRECT), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        offsets = range(0, min(max(size, 1), DEPTH * BLOCK), BLOCK)  # an empty file is found empty by a read
        reads = [ring.read(file, uring.aligned_buffer(BLOCK), offset) for offset in offsets]
        submitted = ring.submit()
        counts = [read.result() for read in reads]  # an OSError names the request that failed, and says why
        for offset, count in zip(offsets, counts, strict=True):
            if count != min(BLOCK, size - offset):
                raise EOFError(f"{name}: {count} bytes at {offset}: the file shrank while it was read")
        print(f"Submitted={submitted}, completed={len(counts)}, bytes={sum(counts)}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FILE")
    try:
        sys.exit(main(sys.argv[1]))
    except (OSError, EOFError) as error:
        sys.exit(str(error))
