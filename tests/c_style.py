"""What the tests through the C names share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from uring import liburing as L


def require_opcode(*names: str) -> None:
    """Skip the test, naming the opcode, when the running kernel lacks it."""
    probe = L.io_uring_get_probe()
    if probe == L.ffi.NULL:
        pytest.skip("this kernel lacks IORING_REGISTER_PROBE")
    try:
        for name in names:
            if not L.io_uring_opcode_supported(probe, getattr(L, name)):
                pytest.skip(f"this kernel lacks {name}")
    finally:
        L.io_uring_free_probe(probe)


def skip_without(feature: str, ret: int, *answers: int) -> None:
    """Skip the test, naming the feature, when `ret` is one of the errnos by which a kernel says that it lacks it."""
    if -ret in answers:
        pytest.skip(f"this kernel lacks {feature} ({os.strerror(-ret)})")


def get_sqe(ring: Any) -> Any:
    """A free SQE; the test fails when the queue is full."""
    sqe = L.io_uring_get_sqe(ring)
    assert sqe != L.ffi.NULL, "no free SQE"
    return sqe


def reap(ring: Any, count: int = 1, timeout_s: float = 10.0) -> list[tuple[int, int, int]]:
    """Submit what is queued, wait for `count` CQEs, return them as (user_data, res, flags), and mark them seen.

    The test fails when they do not come in time.
    """
    slot = L.io_uring_cqe_ptr()
    deadline = L.__kernel_timespec(int(timeout_s), int(timeout_s % 1 * 1e9))
    L.io_uring_submit(ring)
    seen = []
    while len(seen) < count:
        ret = L.io_uring_wait_cqe_timeout(ring, slot, deadline)
        assert ret == 0, f"{len(seen)} of {count} completions came: {os.strerror(-ret)}"
        seen.append((slot[0].user_data, slot[0].res, slot[0].flags))
        L.io_uring_cqe_seen(ring, slot[0])
    return seen


def complete(ring: Any, prepare: Callable[..., None], *args: Any, **fields: int) -> int:
    """Run one request to its end, with the given fields of its SQE set, and return its `res`.

    Its arguments stay alive meanwhile.
    """
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    for name, value in fields.items():
        setattr(sqe, name, value)
    ((_user_data, res, _flags),) = reap(ring)
    return res


def run_nop(ring: Any, **fields: int) -> int:
    """Run a NOP and return its `res`."""
    return complete(ring, L.io_uring_prep_nop, **fields)


def is_empty(ring: Any) -> bool:
    """Whether no completion is ready, also after asking the kernel for those that it holds back."""
    return L.io_uring_peek_cqe(ring, L.io_uring_cqe_ptr()) == -11
