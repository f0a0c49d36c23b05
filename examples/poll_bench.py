"""Measure how many single-shot polls of a pipe a ring completes in a second.

A Python port of liburing's examples/poll-bench.c by Pavel Begunkov, MIT licence.

Each round queues 32 polls of the pipe's read end, submits them, makes the pipe readable, and reaps 32 completions. The
original runs for ten seconds; here that is the default.

    python examples/poll_bench.py [--seconds S] [--iterations N]
"""

from __future__ import annotations

import argparse
import errno
import os
import select
import sys
import time
from typing import Any

from uring.liburing import *

QD = 32


class PollBenchError(Exception):
    """A step failed; the message says which."""


def check(what: str, ret: int) -> int:
    """Raise when `ret` is a negative errno."""
    if ret < 0:
        raise PollBenchError(f"{what} failed: {os.strerror(-ret)}")
    return ret


def setup_ring(pipe1: tuple[int, int]) -> Any:
    """A ring with both ends of the pipe as its fixed files 0 and 1, and itself registered."""
    ring = io_uring()
    ret = io_uring_queue_init(1024, ring, IORING_SETUP_SINGLE_ISSUER)
    if ret == -errno.EINVAL:
        print("no IORING_SETUP_SINGLE_ISSUER, going on without it", file=sys.stderr)
        ret = io_uring_queue_init(1024, ring, 0)
    check("ring setup", ret)
    try:
        check("io_uring_register_files", io_uring_register_files(ring, list(pipe1), 2))
        check("io_uring_register_ring_fd", io_uring_register_ring_fd(ring))
    except PollBenchError:
        io_uring_queue_exit(ring)
        raise
    return ring


def poll_round(ring: Any, pipe1: tuple[int, int], cqe: Any) -> int:
    """Poll the pipe 32 times, make it readable, reap; returns how many polls completed."""
    for _ in range(QD):
        sqe = io_uring_get_sqe(ring)
        io_uring_prep_poll_add(sqe, 0, select.POLLIN)
        sqe.flags |= IOSQE_FIXED_FILE
        io_uring_sqe_set_data64(sqe, 1)

    ret = check("io_uring_submit", io_uring_submit(ring))
    if ret != QD:
        raise PollBenchError(f"only {ret} of {QD} polls were submitted")

    os.write(pipe1[1], b"\0")
    os.read(pipe1[0], 1)

    for _ in range(QD):
        # Python runs its signal handlers when a call has returned, so a wait that one interrupted just starts again.
        while (ret := io_uring_wait_cqe(ring, cqe)) == -errno.EINTR:
            pass
        check("wait completion", ret)
        res = cqe[0].res
        io_uring_cqe_seen(ring, cqe[0])
        check("poll", res)
    return QD


def poll_bench(seconds: float, iterations: int | None) -> float:
    """Requests per second, over rounds that go on until the time or their number is reached."""
    pipe1 = os.pipe()
    try:
        ring = setup_ring(pipe1)
        try:
            cqe = io_uring_cqe_ptr()
            nr_reqs = rounds = 0
            start = time.monotonic()
            while True:
                nr_reqs += poll_round(ring, pipe1, cqe)
                rounds += 1
                elapsed = time.monotonic() - start
                if elapsed >= seconds or rounds == iterations:
                    return nr_reqs / elapsed
        finally:
            # Polls point to no memory of ours, so any that are left may end after the ring's exit.
            io_uring_queue_exit(ring)
    finally:
        for fd in pipe1:
            os.close(fd)


def at_least_one(text: str) -> int:
    """A count for argparse."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {count}")
    return count


def main(argv: list[str]) -> int:
    """The program: prints requests per second to stderr, as the original does."""
    parser = argparse.ArgumentParser(prog=argv[0], description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to run (default: 10)")
    parser.add_argument("--iterations", type=at_least_one, help="end after this many rounds of 32 polls")
    options = parser.parse_args(argv[1:])
    try:
        rate = poll_bench(options.seconds, options.iterations)
    except (PollBenchError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"requests/s: {rate:.0f}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
