"""Use a ring without keeping its file descriptor: the ring fd is registered, then closed.

    python examples/io_uring_close_test.py FILE

A port of liburing's examples/io_uring-close-test.c by Jens Axboe (MIT), which is io_uring-test.c with another setup,
so this one borrows from io_uring_test.py. A registered ring fd is an index into a table of the thread that registered
it: other threads cannot use such a ring, and neither can a child after fork.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Any

import io_uring_test
from io_uring_test import QD, check, open_file, read_start

from uring.liburing import *


def setup_context(entries: int) -> Any:
    """Make an initialised ring that has no open file descriptor."""
    ring = io_uring_test.setup_context(entries)
    with ExitStack() as on_failure:
        on_failure.callback(io_uring_queue_exit, ring)
        check("register_ring_fd", io_uring_register_ring_fd(ring))
        check("close_ring_fd", io_uring_close_ring_fd(ring))
        on_failure.pop_all()
    return ring


def main(argv: list[str]) -> int:
    """Read the start of the file named on the command line."""
    if len(argv) != 2:
        print(f"usage: {argv[0]} FILE", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        ring = setup_context(QD)
        stack.callback(io_uring_queue_exit, ring)
        fd, size = open_file(argv[1], 0)
        stack.callback(os.close, fd)
        # One further than the file, as in C: a read at its very end is right to get 0 bytes.
        return read_start(ring, fd, size, end=size + 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
