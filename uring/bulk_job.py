"""One run of a bulk call on a ring: begin, go on until it is done, end it whatever happens.

All state is in a `struct uring_bulk` (native/bulk.h), and C's loop returns at least every tenth of a second. In between
Python's signal handlers run, progress is told, and completions of others on the same ring are handed out.

What keeps it safe:

- The ring knows the run from before it begins until it has ended, and so does what it may write to.
- Whatever ends it early, its requests are cancelled and waited for. What cannot be waited for gets an operation that
  nobody wants in the ring's table, which keeps the memory until its completion.
- Callbacks, destructors and signal handlers may use the ring meanwhile: whoever reaps hands the completions of bulk
  slots to the run that they belong to, in C.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._native import ffi, lib
from .builders.descriptors import OPENAT
from .builders.timing import NOP
from .errors import RingClosed, RingError, refusal
from .flight import PASSING
from .operation import Kind, Operation, operation_of
from .types import Nanoseconds, nanoseconds

if TYPE_CHECKING:
    from .ring import Ring

Progress = Callable[[int, int], object]

SLICE_NS = 100_000_000
GRACE_NS = 2_000_000_000
BATCH = 32
# Kinds whose requests are worked on by io-wq's threads, of which there are few at first.
BY_WORKERS = (lib.URING_BULK_STAT, lib.URING_BULK_OPEN, lib.URING_BULK_UNLINK, lib.URING_BULK_READ_FILE)
OPENING = (lib.URING_BULK_OPEN, lib.URING_BULK_READ_FILE)


class Job:
    """A bulk call: what C works on, and what has to stay where it is meanwhile.

    Args:
        ring: the ring.
        kind: URING_BULK_*.
        count: requests.
        depth: requests in flight at most; None for `usual`.
        usual: what is good for this kind.
    """

    __slots__ = ("_holders", "c", "keep", "ring", "running")

    def __init__(self, ring: Ring, kind: int, count: int, depth: int | None, usual: int) -> None:
        self.ring = ring
        self.keep: list[Any] = []
        self.running = False
        self._holders: dict[int, Any] = {}
        self.c = ffi.new("struct uring_bulk *")
        self.c.kind = kind
        self.c.count = count
        self.c.buffer_index = self.c.bounce_index = -1
        self.c.depth = max(1, min(depth or min(usual, ring._ring.cq.ring_entries), count))
        self.c.batch = min(BATCH, self.c.depth, ring._ring.sq.ring_entries)

    def set_options(self, packed: int) -> None:
        """The options of each request."""
        self.c.options = packed | self.ring._required_flags

    def run(self, result: Any, timeout: float | Nanoseconds | None, progress: Progress | None) -> None:
        """Do all of it, and fill in the result.

        Raises:
            RingError: this is not the ring's owner, or it is closed.
            RuntimeError: a chain is open; or a destructor or signal's handler has struck where it cannot wait.
            OSError: the kernel refused to be entered.
        """
        ring, c = self.ring, self.c
        ring._check()
        ring._not_recording()
        if ring._native.filled and ring._is_handing_out():
            raise RuntimeError("a bulk call cannot run inside of what its ring's completions are handed out to")
        limit = None if timeout is None else nanoseconds(timeout)
        for job in [*ring._bulk]:
            if not job.running:  # an earlier one's end was interrupted
                job.end()
        c.counts, c.errors = result._counts, result._errors
        workers = self._more_workers()
        self.running = True  # first: else a handler's own call would end this one
        ring._bulk.append(self)
        try:
            code = lib.uring_bulk_begin(ring._native, c)
            if code:
                raise refusal(code) if lib.uring_check(ring._native) else MemoryError
            self._go_on(limit, progress)
        except BaseException:
            self._wind_up()
            raise
        finally:
            try:
                self.end()
            finally:
                self.running = False
            result._failed, result.retried = int(c.failed), int(c.retried)
            if workers is not None and not ring.closed:
                lib.io_uring_register_iowq_max_workers(ring._ring, workers)

    def _step(self, native: Any) -> int:
        return int(lib.uring_bulk_run(native, self.c, SLICE_NS))

    def _advance(self) -> bool:
        """Go on for a slice; whether all is done."""
        code = self.ring._enter_with(self._step, self.ring._native)
        if self.c.places == ffi.NULL:
            raise RingClosed("the ring was closed in the middle of a bulk call")
        if code < 0 and code not in PASSING:
            raise OSError(-code, f"{os.strerror(-code)} [bulk]")
        return bool(code == lib.URING_BULK_DONE)

    def _go_on(self, limit: int | None, progress: Progress | None) -> None:
        c = self.c
        began = told = time.monotonic_ns()
        while not self._advance():
            now = time.monotonic_ns()
            if limit is not None and now - began >= limit:
                lib.uring_bulk_stop(c, errno.ETIMEDOUT)
                if now - began >= limit + GRACE_NS:
                    break
            if progress is not None and now - told >= SLICE_NS:
                told = now
                progress(int(c.finished), int(c.count))
        if progress is not None:
            progress(int(c.finished), int(c.count))

    def _wind_up(self) -> None:
        """After an exception: cancel what is in flight, and wait for it, but not for ever."""
        if self.ring.closed or lib.uring_check(self.ring._native):
            return
        end = time.monotonic_ns() + GRACE_NS
        lib.uring_bulk_stop(self.c, errno.ECANCELED)
        try:
            while not self._advance() and time.monotonic_ns() < end:
                pass
        except RingError:
            pass  # a callback has closed it

    def end(self, *, warn: bool = True) -> None:
        """Give its slots back; what is still in flight is kept until it is complete. May be repeated."""
        ring = self.ring
        if self in ring._bulk:
            if not ring.closed:
                self._hold_what_is_left()
                lib.uring_bulk_end(ring._native, self.c)
            with contextlib.suppress(ValueError):  # a handler's call was faster
                ring._bulk.remove(self)
        if not warn:
            self._holders = {}
        if self._holders:
            count, self._holders = len(self._holders), {}
            warnings.warn(
                f"{count} requests of a bulk call could not be stopped; their memory is kept until they are complete",
                ResourceWarning,
                stacklevel=3,
                source=ring,
            )

    def _hold_what_is_left(self) -> None:
        ring, c = self.ring, self.c
        if not c.in_flight:
            return
        late: Kind[Any] = OPENAT if c.kind in OPENING and not c.is_direct else NOP
        for leg in range(c.depth * c.legs):
            slot = lib.uring_bulk_slot(c, leg)
            if slot < 0 or slot in self._holders:
                continue
            opens = c.kind == lib.URING_BULK_OPEN or leg % c.legs  # whether a descriptor may still come
            kind: Kind[Any] = late if opens else NOP
            holder: Operation[Any] = operation_of(ring, kind, (c, self.keep), (None,))
            holder._slot = slot
            extra = holder._more()
            extra.abandoned = extra.hidden = True
            ring._table.extend([None] * (slot + 1 - len(ring._table)))
            ring._hidden.add(holder)
            ring._table[slot] = self._holders[slot] = holder

    def _more_workers(self) -> Any:
        """Let as many workers run as requests are in flight; what was set before, or None."""
        if self.c.kind not in BY_WORKERS:
            return None
        wanted = ffi.new("unsigned int[2]", [0, 0])  # 0 only asks
        if lib.io_uring_register_iowq_max_workers(self.ring._ring, wanted) < 0:
            return None  # before 5.15, or a restricted ring
        before = ffi.new("unsigned int[2]", [wanted[0], 0])
        wanted[0], wanted[1] = self.c.depth, 0
        if before[0] >= self.c.depth:
            return None
        lib.io_uring_register_iowq_max_workers(self.ring._ring, wanted)
        return before
