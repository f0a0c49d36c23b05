"""Multishot requests: one SQE, and a completion for every connection, datagram, piece of data, event or expiry.

Iteration, taking shots, and the end, as a program sees them. What happens out of its sight is in shots.py.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from ._native import lib
from .completion import Completion
from .operation import CLOSED, ECANCELED, Operation, State
from .shots import Shots
from .types import nanoseconds

T = TypeVar("T")
AGAIN = 20_000_000  # nanoseconds after which a cancel that came too early is repeated


class Multishot(Shots, Generic[T]):
    """A request that completes again and again, made by a builder's `multishot=True`; each completion is a shot.

    Iterate over it, or let the ring tell when it has something and take that:

        with ring.accept(listener, multishot=True) as connections:
            for fd in connections:            # waits for the next one, submitting what is queued
                ...                           # leaving the loop cancels the request

        for operation in ring.wait():         # for a server that watches many
            for data in operation.take(): ...
            if operation.done(): ...

    When the kernel stops without an error (a completion queue that was full, for example) it is requested again, by
    the ring, under the same object; nothing is lost or doubled by that. It ends at the end of the stream, after its
    count, with an error, or when it is cancelled; `result()` waits for that.

    `Ring.wait`, `peek` and iteration hand it out whenever it has new shots, when it starves, and at its end; so do
    callbacks. Taking its shots, and `done()` when that is true, count as handing it out.

    Attributes:
        starved: its buffer group has run dry. It goes on when a buffer is returned to it.
    """

    __slots__ = ()

    # --- shots -------------------------------------------------------------------------------------

    def take(self, timeout: float | None = 0.0) -> list[T]:
        """All shots that are there and were not taken yet; does not submit unless it waits.

        Args:
            timeout: seconds to wait for the first, None for no limit; 0 takes what is there now.

        Returns:
            The shots in order; an empty list when there are none in time, or it was cancelled, or has ended well.

        Raises:
            OSError: it has ended with this error, and all shots before that were taken. ENOBUFS: it starves, and the
                program that would wait here holds the buffers itself.
            TypeError, ValueError: no timeout.
            RuntimeError: it would wait, and a chain is open.
            WrongThread, Forked: it has not ended, and this is not the ring's owner.
        """
        limit = None if timeout is None else nanoseconds(timeout)
        ring = self._ring
        if self._res is None and not ring.closed:
            ring._reap_ready()
            if limit != 0 and not self._shots and not self._found:
                self._wait(limit, end=False)
        while self._shots:
            self._take_off()
        shots = [self._view(value) for value in self._found]
        if self in ring._ready:
            ring._taken(self)
        if not shots:
            self._raise_if_failed()
        elif self._res is not None and not lib.uring_check(ring._native):
            self._announce()  # its end is still to be told; `done()` takes it back
        self._found = []
        return shots

    def __iter__(self) -> Iterator[T]:
        """Hand out shots one by one until it ends, submitting and waiting as needed; leaving the loop cancels it.

        Shots that nobody took are disposed of then: descriptors are closed, buffers are returned. To pause, `take`.

        Raises:
            OSError: it has ended with this error. ENOBUFS: it starves, and nobody could return a buffer, since the
                program holds them all and waits here.
        """
        try:
            while True:
                if not self._found:
                    if not self._shots and self._res is None:
                        self._wait(None, end=False)
                    if self._shots:
                        self._take_off()
                    elif self._res is not None:
                        break
                    continue
                if self in self._ring._ready:
                    self._ring._taken(self)
                found = self._found
                value = self._view(found[0])
                del found[0]  # no call from here on: at the end of one a signal's handler may raise
                yield (value, value := None)[0]  # and no reference is left here: a lease is returned with the last one
            self._ring._taken(self)
            self._raise_if_failed()
        finally:
            self._leave()

    def _raise_if_failed(self) -> None:
        if self._res is not None and self._res < 0 and self._res not in (ECANCELED, CLOSED):
            raise self._error()

    def _leave(self) -> None:
        """The loop over it is over: note that for the next ordinary call. Safe at any moment, in any thread."""
        if not self._ring.closed and (self._res is None or self._shots or self._found):
            self._ring._notes.append(self)

    # --- the end -----------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether it has ended and all its shots were taken. Takes in what is ready; does not submit or block.

        When it is true, that counts as handing it out: `Ring.wait` does not return it again.

        Raises:
            WrongThread, Forked: it has not ended, and this is not the ring's owner.
        """
        if not super().done() or self._shots or self._found or self._fresh:
            return False
        self._ring._taken(self)
        return True

    def result(self, timeout: float | None = None) -> None:
        """Wait until it ends. Shots that come meanwhile are kept for `take`.

        Args:
            timeout: seconds to wait at most, None for no limit.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            OSError: it ended with this error; OperationCancelled when it was cancelled. ENOBUFS: it starves, and the
                program that waits here holds the buffers itself.
            RingClosed: the ring was closed before it ended.
            WrongThread, Forked: it has not ended, and this is not the ring's owner.
        """
        self._await(timeout)
        super().result()

    def _await(self, timeout: float | None) -> None:
        if self._res is None:
            self._wait(None if timeout is None else nanoseconds(timeout), end=True)
            if self._res is None:
                raise TimeoutError(errno.ETIMEDOUT, f"{self.description()} has not ended after {timeout} seconds")
        if not self._shots and not self._found:
            self._ring._taken(self)

    def _wait(self, limit: int | None, *, end: bool) -> None:
        """Wait for a shot, or for the end, or until the time is up."""
        ring = self._ring
        ring._check()
        ring._not_recording()
        deadline = None if limit is None else time.monotonic_ns() + limit
        tried = False
        while True:
            batch = ring._batch
            again = ring._tend_groups()
            if self._res is not None or (self._shots and not end):
                return
            if self.starved:
                if tried:  # all buffers are held by the program that waits here
                    assert self._group is not None
                    raise self._group._exhausted(self.description())
                tried = True
                self._refilled()
            if not ring._pass_time(deadline, batch, sleep=not again):
                return

    @property
    def completion(self) -> Completion:
        """Its last CQE, as it came.

        Raises:
            RuntimeError: it has not ended, or no CQE did that.
        """
        if self._res is None or self._last is None:
            raise RuntimeError(f"{self.description()} has no last completion: it is {self.state.value}")
        return Completion(0, *self._last[:2])

    @property
    def state(self) -> State:
        """How far it has come; SUBMITTED while it starves or is about to be requested again."""
        if self._res is None and self._slot < 0 and not self._more().abandoned:
            return State.SUBMITTED
        return super().state

    def _outcome(self) -> str:
        waiting = len(self._shots) + len(self._found)
        text = "starved" if self.starved else super()._outcome()
        return f"{text}, {waiting} shots" if waiting else text

    def close(self) -> None:
        """Cancel it, wait for its last CQE, and dispose of the shots that nobody took. Closing twice does nothing.

        Descriptors are closed, direct descriptors taken out of their slots, buffers returned to their group.

        Raises:
            WrongThread, Forked: it has not ended, and this is not the ring's owner.
            RuntimeError: a chain is open.
        """
        ring = self._ring
        if self._res is None and not ring.closed:
            ring._check()
            ring._not_recording()
        self.abandon()
        if not ring.closed:
            while True:
                batch = ring._batch
                if self._res is not None:
                    return
                if not ring._pass_time(time.monotonic_ns() + AGAIN, batch):
                    self._stop()  # a worker was about to run it, or just ran it

    def __enter__(self) -> Multishot[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def abandon(self) -> None:
        """Give it up: it is cancelled, not handed out any more, and its shots are disposed of as they come."""
        ring = self._ring
        if self._res is None and not ring.closed:
            ring._check()
            self._give_up()
            ring._work_off()
        else:
            ring._taken(self)
            self._more().abandoned = True
            self._dispose()

    # --- callbacks ---------------------------------------------------------------------------------

    def add_done_callback(self, callback: Callable[[Operation[None]], object]) -> None:
        """Call `callback(operation)` when it has ended; at once if it already has. See Operation.add_done_callback.

        There may be shots that were not taken then.
        """
        if self._res is not None:
            super().add_done_callback(callback)
        else:
            self._at_end.append(callback)

    def add_shot_callback(self, callback: Callable[[Multishot[T]], object]) -> None:
        """Call `callback(operation)` whenever it would be handed out: new shots, starvation, the end.

        The callback runs as one of `add_done_callback` does, and takes the shots by `take`; `Ring.wait` does not
        return the operation any more. If there are shots already it is called at once.
        """
        self._on_shots.append(callback)
        if self._shots or self._found or self._res is not None:
            self._ring._taken(self)
            callback(self)
