"""Waiting: how many completions there can be, and entering until they are there.

The kernel facts this rests on:

- A wait that submitted anything returns the count, also when a signal or the timeout ended it. So what is there decides
  whether to go on, and the clock alone whether the time is up: another request's timeout may end a wait early.
- What a signal's handler takes in, between the count of what is wanted and the system call, does not end the sleep. So
  C is told the number of batches that the count was made after (see uring_slot_wait).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import Any

from ._native import lib
from .errors import RingClosed
from .flight import PASSING, Flight
from .operation import Operation
from .types import Nanoseconds, nanoseconds


class Waiting(Flight):
    """The part of Ring that waits."""

    def _visible(self) -> int:
        """How many operations can still be handed out."""
        visible: int = self._native.in_flight - len(self._hidden) + len(self._ready) + len(self._foreign)
        if self._multishots:
            # In flight and ready is still one; about to be requested again is one too.
            visible -= sum(operation in self._multishots and operation._slot >= 0 for operation in [*self._ready])
            visible += sum(operation._comes_back() and operation not in self._ready for operation in [*self._pending])
        return visible

    def _has_foreign(self) -> bool:
        """Whether SQEs were queued through c_ring: nobody knows how many completions those will bring."""
        native = self._native
        return bool(native.submitted + lib.uring_slot_queued(native) > native.managed)

    def _wait_until(
        self,
        n: int,
        operation: Operation[Any] | None,
        limit: int | None,
        enter: Any = lib.uring_slot_wait,
        elsewhere: bool = False,
    ) -> None:
        """Enter until `n` are ready, or `operation` is complete, or `limit` nanoseconds have passed; at least once.

        With uring_wake_wait to `enter`, a wake ends it. With `elsewhere` it goes on when nothing is in flight.
        """
        deadline = None if limit is None else time.monotonic_ns() + limit
        called = self._called
        while True:
            again = bool(self._groups) and self._tend_groups()
            batch = self._batch  # before the count: see uring_slot_wait
            # What a callback took counts: otherwise a program of callbacks alone would wait for ever.
            wanted = n - len(self._ready) - len(self._foreign) - (self._called - called)
            if operation is not None:
                wanted = operation._res is None
            elif wanted < 0:
                wanted = 0
            rest = -1 if deadline is None else max(0, deadline - time.monotonic_ns())
            code = self._enter_with(enter, self._native, wanted if rest and not again else 0, rest, batch)
            if code < 0 and code not in PASSING:
                raise OSError(-code, f"{os.strerror(-code)} [wait]")
            if operation is not None:
                if operation._res is not None:
                    return
            elif len(self._ready) + len(self._foreign) + self._called - called >= n:
                return
            elif enter is not lib.uring_slot_wait and lib.uring_wake_take(self._native):
                return  # a wake
            elif (
                not (elsewhere or again)
                and self._visible() <= len(self._ready) + len(self._foreign)
                and (self.closed or not self._has_foreign())
            ):
                return  # a callback has taken or abandoned what was waited for
            # Only the clock says that time is up: a wait may end early when another request's timeout fires.
            if deadline is not None and time.monotonic_ns() >= deadline:
                return

    def _pass_time(self, deadline: int | None, batch: int, *, sleep: bool = True) -> bool:
        """Enter once and wait for a completion until then; False when it has passed.

        `batch` is what `_batch` was before it was known that there is something to wait for. Without `sleep` this only
        submits and takes in what is ready.
        """
        rest = -1 if deadline is None else max(0, deadline - time.monotonic_ns())
        code = self._enter_with(lib.uring_slot_wait, self._native, 1 if rest and sleep else 0, rest, batch)
        if code < 0 and code not in PASSING:
            raise OSError(-code, f"{os.strerror(-code)} [wait]")
        return deadline is None or time.monotonic_ns() < deadline

    def _wait_for(self, operation: Operation[Any], timeout: float | Nanoseconds | None) -> None:
        """Wait until one operation is complete; TimeoutError when the time is up first."""
        if self.closed:
            raise RingClosed("the ring is closed")
        self._not_recording()
        self._wait_until(0, operation, None if timeout is None else nanoseconds(timeout))
        if operation._res is None:
            raise TimeoutError(errno.ETIMEDOUT, f"{operation.description()} is not complete after {timeout} seconds")

    def _wait_till(self, arrived: Callable[[], bool], timeout: float | Nanoseconds | None) -> bool:
        """Wait until something about an operation in flight has arrived; False when the time is up first."""
        self._check()
        self._not_recording()
        deadline = None if timeout is None else time.monotonic_ns() + nanoseconds(timeout)
        while not arrived():
            rest = -1 if deadline is None else max(0, deadline - time.monotonic_ns())
            code = self._enter(1 if rest else 0, rest)
            if code < 0 and code not in PASSING:
                raise OSError(-code, f"{os.strerror(-code)} [wait]")
            if not rest:
                return arrived()
        return True
