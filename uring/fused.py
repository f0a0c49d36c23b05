"""One call a request: for people who write their own loop and count nanoseconds.

Each `io_uring_prep_X(sqe, ...)` of liburing has a twin here, `uring_X(r, user_data, options, ...)`, that takes an
SQE, prepares it and tags it in a single crossing into C; `uring_wait(r, n, timeout_ns)` submits, waits, and copies
many CQEs into one array in another. All pointers are yours: the rules of `uring.liburing` about lifetimes hold::

    from uring import fused, liburing as L

    ring = L.io_uring()
    L.io_uring_queue_init(64, ring, 0)
    r = fused.attach(ring, room=64)
    for number in range(32):
        fused.uring_nop(r, number, 0)
    left = 32
    while left:
        count = fused.uring_wait(r, 1, -1)
        if count < 0:
            continue                          # -EINTR: a signal's handler has run; other errors deserve a look
        for user_data, res, flags in fused.completions(r, count):
            left -= 1
    fused.detach(r)
    L.io_uring_queue_exit(ring)

Four calls have no twin, since liburing prepares no such request: `uring_nop_result` (a NOP with a result of your
choice), `uring_cancel_opcode`, `uring_command` (a uring_cmd with its command bytes) and `uring_recv_zc`.

A fused call returns 0 when the request is queued, else one of

- `FULL`: no free SQE. Submit, then call again.
- `WRONG_THREAD`: the ring was attached by another thread.
- `FORKED`: this process is a fork's child; the queue is shared with the parent and is not touched.
- `CLOSED`: the ring is detached, or NULL.
- `NO_BIG_SQE`: `uring_nop128` or `uring_uring_cmd128` on a ring with neither SQE128 nor SQE_MIXED.

The calls that submit, wait and reap return these too, or a negative errno of the kernel's, or a count.
"""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Iterator
from typing import Any

from ._native import ffi, lib

FULL: int = lib.URING_FULL
WRONG_THREAD: int = lib.URING_WRONG_THREAD
FORKED: int = lib.URING_FORKED
CLOSED: int = lib.URING_CLOSED
NO_BIG_SQE: int = lib.URING_NO_BIG_SQE

COMPLETION = struct.Struct("=QiI")

# Rings that a fork's child must not use, with what each one's C struct points to.
_attached: weakref.WeakKeyDictionary[Any, tuple[Any, ...]] = weakref.WeakKeyDictionary()

# The slots of managed requests, bulk calls, the buffers of groups, wakes and refill rings are the Pythonic layer's own.
_INNER = (
    "uring_keep",
    "uring_slot",
    "uring_buffer",
    "uring_bulk",
    "uring_contents",
    "uring_wake",
    "uring_zcrx",
    "uring_version",
    "uring_refuse",
    "uring_count",
)
_calls = [_name for _name in dir(lib) if _name.startswith("uring_") and not _name.startswith(_INNER)]
globals().update({_name: getattr(lib, _name) for _name in _calls})


def attach(ring: Any, room: int = 256, *, extra: bool = False) -> Any:
    """Make a `struct uring_ring *` for the calling thread over an initialised `struct io_uring *`.

    Args:
        ring: an `io_uring()` after `io_uring_queue_init*`. It is kept alive; exiting it stays your duty, after
            `detach`. The calls of `uring.liburing` may be mixed with the fused ones on it.
        room: how many completions one `uring_wait` or `uring_reap` copies at most.
        extra: also keep the upper 16 bytes of 32-byte CQEs, in `r.extra[i][0]` and `[1]`.

    Raises:
        TypeError: `ring` is not a `struct io_uring *`.
        ValueError: `room` is less than 1, or `ring` is NULL or not initialised.
    """
    if room < 1:
        raise ValueError(f"room must be at least 1, not {room}")
    if ring == ffi.NULL:
        raise ValueError("ring is NULL")
    completions = ffi.new("struct uring_completion[]", room)
    upper = ffi.new("uint64_t[][2]", room) if extra else ffi.NULL
    attached = ffi.new("struct uring_ring *")
    attached.ring = ring
    if not attached.ring.sq.khead:
        raise ValueError("ring is not initialised: call io_uring_queue_init first")
    attached.completions = completions
    attached.extra = upper
    attached.room = room
    attached.first_free = attached.first_resting = attached.last_slot = -1
    attached.owner = lib.uring_thread()
    lib.uring_count_from_here(attached)
    _attached[attached] = (ring, completions, upper)
    return attached


def detach(r: Any) -> None:
    """End the use of an attached ring: every call with it answers `CLOSED` from now on."""
    r.owner = lib.URING_OWNER_CLOSED


def completions(r: Any, count: int) -> Iterator[tuple[int, int, int]]:
    """The first `count` completions of the last reap as `(user_data, res, flags)`.

    They are read from the array as you iterate: finish before the next reap.
    """
    if not 0 <= count <= r.room:
        raise ValueError(f"count must be from 0 to {r.room}, not {count}")
    return COMPLETION.iter_unpack(ffi.buffer(r.completions, count * COMPLETION.size))


def options(*, flags: int = 0, ioprio: int = 0, personality: int = 0, buf_group: int = 0) -> int:
    """Pack what a fused call sets besides the request itself; compute it once, outside the loop.

    Args:
        flags: IOSQE_* bits, or-ed into those that the prepare call sets.
        ioprio: or-ed into the SQE's ioprio; for sends and receives these are IORING_RECVSEND_* bits.
        personality: an id from `io_uring_register_personality`, 0 for none.
        buf_group: the buffer group for IOSQE_BUFFER_SELECT. It shares its field with a fixed buffer's index.

    Raises:
        ValueError: a value that does not fit its field (8 bits for flags, 16 for the others).
    """
    for name, value, bits in (
        ("flags", flags, 8),
        ("ioprio", ioprio, 16),
        ("personality", personality, 16),
        ("buf_group", buf_group, 16),
    ):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must fit {bits} bits, not {value}")
    return flags | ioprio << 8 | personality << 24 | buf_group << 40


def _forbid_in_child() -> None:
    for attached in list(_attached):
        if attached.owner != lib.URING_OWNER_CLOSED:
            attached.owner = lib.URING_OWNER_FORKED


os.register_at_fork(after_in_child=_forbid_in_child)

__all__ = [  # noqa: PLE0604 - the calls are derived from liburing's headers
    *("CLOSED", "FORKED", "FULL", "NO_BIG_SQE", "WRONG_THREAD"),
    *("attach", "completions", "detach", "ffi", "lib", "options"),
    *_calls,
]
