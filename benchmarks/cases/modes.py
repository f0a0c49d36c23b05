"""A ring's three modes over the same reads with O_DIRECT: interrupts, a polling kernel thread, polled completions."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from .. import rivals
from ..harness import Bench, Case, Lane, Missing, Point, Ready
from .reads import random_job


def lane(name: str, what: str, settings: Callable[[], Any]) -> Lane:
    """Bulk reads on a ring set up in a mode."""

    def prepare(bench: Bench, point: Point, at_end: ExitStack) -> Ready:
        import uring

        job = random_job(True, bench, point)
        params = settings()
        if params is not None and params.iopoll:
            with uring.Ring(8, params) as ring, open(job.path, "rb"):
                fd = job.open(at_end)
                code = int(ring.read_many(fd, [0], job.size, job.buffer()).errors[0])
            if code in (errno.EOPNOTSUPP, errno.EINVAL):
                raise Missing("the disk has no queue that can be polled")
        return rivals.bulk(job, at_end, params=params)

    return Lane(name, what, prepare)


def params(**flags: bool) -> Any:
    """A ring's parameters."""
    import uring

    return uring.Params(**flags)  # type: ignore[arg-type]


CASES = (
    Case(
        name="modes",
        title="Random reads of 4 KiB with O_DIRECT in bulk, by a ring's mode",
        lanes=(
            lane("interrupts", "a ring's default: completions are fetched by the owner", lambda: None),
            lane("SQPOLL", "a kernel thread submits, and spins: it needs a core", partial(params, sqpoll=True)),
            lane("IOPOLL", "completions are polled for", partial(params, iopoll=True)),
        ),
        axis="depth",
        values=(1, 32, 128),
        quick_values=(32,),
        ours=("interrupts", "SQPOLL", "IOPOLL"),
        notes="CPU time counts the kernel's polling thread, which is one of this process.",
        rounds=3,
        unit="read",
    ),
)
