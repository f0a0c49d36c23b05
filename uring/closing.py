"""The end of a ring: taking back, cancelling, waiting, and what is kept when that fails.

Leaving a ring does not stop its requests: 32 large reads went on landing in memory 0.3 s after io_uring_queue_exit.
So close() takes back what was not submitted, cancels the rest, waits for every last CQE, and only then leaves. What
cannot be waited for is kept alive for good: a leak is better than a stray write.

A ring whose last reference is dropped is closed in the same way when that happens in its own thread. In another
thread, or in a fork's child, nothing of it may be touched but its descriptor.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
import threading
import time
import warnings
import weakref
from contextlib import nullcontext
from typing import Any

from . import fused
from ._native import ffi, lib
from .operation import CLOSED, DISCARDED, ECANCELED, Operation
from .shots import Shots
from .types import nanoseconds
from .waking import Waking

CANCEL = (lib.URING_MARK << 56) | ((1 << 56) - 1)  # user_data of a cancel that nobody waits for: it fits no slot

# Operations whose last CQE could not be waited for, and all that they own. The kernel may still write there.
_kept_for_good: list[Any] = []
lib.uring_keep(id(_kept_for_good))  # also when the interpreter ends
_rings: weakref.WeakSet[Closing] = weakref.WeakSet()


class Closing(Waking):
    """The part of Ring that ends it."""

    _memory: Any
    _pid: int
    _thread: int
    _provided: dict[int, Any]
    _required_flags: int = 0  # what restrictions demand of each SQE
    _kept: list[Any]

    def close(self, timeout: float = 2.0) -> None:
        """Cancel everything in flight, wait for it, and give the ring back. Nothing new is submitted.

        `result()` of an operation that was not complete raises RingClosed; results that are known stay readable.
        Closing twice does nothing.

        Args:
            timeout: seconds to wait for what cannot be cancelled (a disk's transfer, a blocked worker thread). What
                is not complete by then is kept in memory for good, and a ResourceWarning says so.

        Raises:
            WrongThread, Forked: this is not the ring's owner.
            RuntimeError: it is called by a destructor or a signal's handler that struck inside a call of this ring.

        Twin: `io_uring_register_sync_cancel`, then `io_uring_queue_exit`.
        """
        if self.closed:
            return
        self._check()
        if self._native.filled and self._is_handing_out():
            raise RuntimeError("a destructor or a signal's handler cannot close a ring that is handing out completions")
        deadline = time.monotonic_ns() + nanoseconds(timeout)
        if self._recording is not None:
            self._recording._discard()
            self._recording = None
        for job in [*self._bulk]:
            job.end(warn=False)  # what it has in flight is cancelled below, as operations
        dropped: list[Operation[Any]] = []
        multishots = [*self._multishots]
        for multishot in multishots:
            multishot._end_soon()
        try:
            dropped = self._take_back()
            unfinished = [operation for operation in self._table if operation is not None]
            self._cancel_and_drain(deadline)
            if multishots or self._notes:
                self._reap_ready()  # those that are not in flight end too
            for multishot in multishots:
                multishot._dispose()
        finally:
            # Also when Ctrl-C ends the wait: the ring is gone then, and what it held is kept.
            left = self._leave()
        for operation in (*unfinished, *multishots):
            if operation._res == ECANCELED:
                operation._res = CLOSED
        # Warnings may be errors, so they come last; memory that is kept is the graver one.
        if left:
            self._warn(f"{len(left)} operations could not be stopped and are kept in memory: {left[0]!r}, ...")
        if dropped:
            self._warn(f"{len(dropped)} operations were never submitted: {dropped[0]!r}, ...")

    def _warn(self, message: str) -> None:
        warnings.warn(message, ResourceWarning, stacklevel=3, source=self)

    def _take_back(self) -> list[Operation[Any]]:
        """Drop what is queued and was never submitted; what the user asked for of it is returned."""
        room = self._ring.sq.ring_entries
        slots = ffi.new("int32_t[]", room)
        start = lib.uring_slot_queue_start(self._native)
        count = lib.uring_slot_take_back(self._native, start, slots, room)
        dropped = []
        for slot in ffi.unpack(slots, count) if count > 0 else ():
            # It is not in the table when this is called by a handler that struck as its SQE was written.
            operation = self._table[slot] if 0 <= slot < len(self._table) else None
            if operation is not None:
                again = isinstance(operation, Shots) and operation._last is not None
                operation._res = CLOSED if again else DISCARDED
                self._let_go(operation)
                if not again:
                    dropped.append(operation)
        return [operation for operation in dropped if operation._extra is None or not operation._extra.hidden]

    def _cancel_and_drain(self, deadline: int) -> None:
        register = ffi.new(
            "struct io_uring_sync_cancel_reg *",
            {"flags": lib.IORING_ASYNC_CANCEL_ANY | lib.IORING_ASYNC_CANCEL_ALL, "timeout": (0, 10_000_000)},
        )
        native = self._native
        while native.in_flight:
            # Before 6.0, and where a restricted ring allows it as a request only.
            if lib.io_uring_register_sync_cancel(self._ring, register) in (-errno.EINVAL, -errno.EACCES):
                for operation in [operation for operation in self._table if operation is not None]:
                    target = self._user_data(operation)
                    if target:
                        self._cancel_unwatched(target)
            rest = deadline - time.monotonic_ns()
            # Links that start only now, and work that was busy, are cancelled by the next round.
            self._enter(1, max(0, min(rest, 20_000_000)))
            if rest <= 0:
                return

    def _cancel_unwatched(self, target: int) -> None:
        """Queue a cancel whose own completion is dropped as stale."""
        while (sqe := lib.io_uring_get_sqe(self._ring)) == ffi.NULL:
            self._enter(0, 0)
        lib.io_uring_prep_cancel64(sqe, target, 0)
        lib.io_uring_sqe_set_data64(sqe, CANCEL)
        sqe.flags |= self._required_flags

    def _leave(self) -> list[Operation[Any]]:
        """Exit the queue; the operations that the kernel still has are returned, and kept for good."""
        with self._guard:  # no other thread is using the descriptor, nor will
            # A callback may have closed it while this waited.
            return [] if self.closed else self._leave_alone()

    def _leave_alone(self) -> list[Operation[Any]]:
        left = [operation for operation in self._table if operation is not None]
        if left:
            memories = [operation._memory for operation in left]
            kept = (left, memories, self._memory, self._provided, self._kept, self._groups, self._registered_memory())
            _kept_for_good.append(kept)
        for operation in (*left, *self._multishots):
            if operation._res is None:
                operation._res = CLOSED
        self._table.clear()
        self._multishots.clear()
        self._pending.clear()
        self._ready = {}
        self._provided = {}
        self._kept = []
        self._groups = {}
        # Closed first: a signal's handler may raise at the end of each call, and none may be made twice.
        self.closed = True
        try:
            if self._registered_buffers is not None:
                self._registered_buffers.end(wait=not left)
        finally:
            try:
                fused.detach(self._native)
            finally:
                try:
                    lib.uring_slots_free(self._native)
                finally:
                    try:
                        lib.io_uring_queue_exit(self._ring)
                    finally:
                        self._close_sender()
        self._tags = {}
        self._registered_buffers = None
        _rings.discard(self)
        for note in self._notes:  # no destructor will look at these again
            note._dispose()
        return left

    def _registered_memory(self) -> tuple[Any, ...]:
        """Registered memory, which the kernel may use as long as operations do."""
        return self._tags, self._registered_buffers

    def _forsake(self) -> None:
        """Give up a ring that this thread or process must not touch: only its descriptor is closed."""
        memories = (self._memory, self._provided, self._kept, self._groups, self._registered_memory())
        _kept_for_good.append((self._table, self._ring, self._native, memories, [*self._multishots]))
        # At the interpreter's exit other threads may still wake it. In a fork's child there are none, but their locks.
        with self._guard if self._pid == os.getpid() else nullcontext():
            self.closed = True
            fused.detach(self._native)
            for multishot in (*self._multishots, *self._notes):
                multishot._forsake()
            if not self._params.registered_fd_only:
                os.close(self._ring.ring_fd)
            self._close_sender()

    def _is_own(self) -> bool:
        return self._thread == threading.get_ident() and self._pid == os.getpid()

    def __del__(self) -> None:
        if getattr(self, "closed", True):
            return
        try:
            if self._pid == os.getpid():
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
        finally:  # also when warnings are errors: the kernel may be writing into what is about to be freed
            if self._is_own() and not lib.uring_check(self._native):
                self.close()
            else:
                self._forsake()


def _close_all() -> None:
    """At the interpreter's exit: no request may write into memory that is being torn down."""
    for ring in list(_rings):
        if ring._pid == os.getpid():
            try:
                ring.__del__()
            except Exception:  # a warning that is an error, a callback's: the other rings still have to be closed
                sys.excepthook(*sys.exc_info())


atexit.register(_close_all)
