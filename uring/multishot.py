"""Multishot requests: one SQE, and a completion for every connection, datagram, piece of data, event or expiry.

The kernel facts this rests on:

- A CQE without F_MORE is the last one, whatever its result. It may carry a shot, and it need not be the end: the
  kernel gives up a multishot when the completion queue is full, and where it cannot go on waiting by itself (a poll of
  a file that is always ready, an empty datagram). Requesting the same again then continues where it stopped:
  connections, data and readiness wait in the kernel meanwhile.
- At the end of a stream a receive or read gives 0, or a recvmsg a message without payload. The same from a datagram
  socket is a datagram of no bytes.
- Without a free buffer in its group a receive or read ends with ENOBUFS at once, also when no data is there.
- With a link behind it a multishot request never succeeds, so that link never runs.

A completion is handed out by steps that may be interrupted and repeated (flight.py). So taking one in stores (result,
flags) under a key of its own and does nothing else; what follows from it - requesting again, ending, disposing - is
done by `_settle`, later, from ordinary code in the ring's thread. The steps that take a shot off again hold no call
between its use and its removal, at the end of which a signal's handler may raise.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._native import lib
from .completion import MORE, Completion
from .operation import CLOSED, ECANCELED, Kind, Operation, State, nothing, operation_of
from .types import BufferGroup, nanoseconds

T = TypeVar("T")
ENOBUFS = -errno.ENOBUFS
AGAIN = 20_000_000  # nanoseconds after which a cancel that came too early is repeated

STOP = Kind("stop", "ASYNC_CANCEL", "5.5", lib.uring_cancel64, nothing)


def _result(res: int, _flags: int) -> int:
    """The maker of shots that are their result."""
    return res


class Multishot(Operation[None], Generic[T]):
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

    __slots__ = (
        "_arguments",
        "_at_end",
        "_count",
        "_found",
        "_fresh",
        "_group",
        "_last",
        "_on_shots",
        "_options",
        "_shots",
        "_stop_due",
        "_stopper",
        "_stopping",
        "_thrown",
        "starved",
    )

    _options: int
    _arguments: tuple[Any, ...]
    _group: BufferGroup | None
    _shots: dict[Any, tuple[int, int]]  # (result, flags) by completion, in order
    _fresh: dict[Any, Any]  # what a shot has become, while it is being taken off
    _thrown: dict[Any, None]  # a shot that was disposed of, while it is being taken off
    _found: list[Any]  # what shots became, and nobody took yet
    _last: tuple[int, int, Any] | None  # result, flags and key of the CQE that stopped it
    _count: int  # shots that came
    _stopping: bool  # it was cancelled, and is not requested again
    _stop_due: bool  # the request that cancels it is still to be queued
    _stopper: Operation[Any] | None  # that request
    _on_shots: list[Callable[[Any], object]]
    _at_end: list[Callable[[Any], object]]
    starved: bool

    # --- what a family of requests decides ---------------------------------------------------------

    def _is_shot(self, res: int) -> bool:
        """Whether a result is a shot, in contrast to an error."""
        return res >= 0

    def _is_end(self, res: int) -> bool:
        """Whether it ends with this result, which is that of its last CQE and no error."""
        return False

    def _maker(self) -> Callable[[int, int], Any]:
        """What makes a value of a shot's (result, flags), once. If it raises it must have done nothing."""
        return _result

    def _view(self, value: Any) -> T:
        """What the program gets of that value; may be called again."""
        return value  # type: ignore[no-any-return]

    def _throw_away(self, key: Any) -> None:
        """Dispose of a shot that nobody took."""
        del self._shots[key]

    def _throw_away_value(self, value: Any) -> None:
        """The same of what `_maker` has made."""

    def _next_arguments(self) -> tuple[Any, ...]:
        """The arguments of the call that requests it again."""
        return self._arguments

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
                yield value
            self._ring._taken(self)
            self._raise_if_failed()
        finally:
            self._leave()

    def _take_off(self) -> None:
        """Make its value of the first shot. May be interrupted, and called again."""
        shots, fresh = self._shots, self._fresh
        if self._res is None and self._ring._native.filled:  # a hand-out was interrupted, and would store it again
            self._ring._reap_ready()
        for key in shots:  # noqa: B007  # the first one, without a call
            break
        if key not in fresh:
            # In one call, so that the value is in its place before a signal's handler may raise.
            res, flags = shots[key]
            fresh.update(zip((key,), map(self._maker(), (res,), (flags,)), strict=True))
        self._found += [fresh[key]]
        del shots[key]
        del fresh[key]

    def _raise_if_failed(self) -> None:
        if self._res is not None and self._res < 0 and self._res not in (ECANCELED, CLOSED):
            raise self._error()

    def _leave(self) -> None:
        """A loop over it was left: note that for the next ordinary call. Safe at any moment, in any thread."""
        if self._res is None and not self._ring.closed:
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
        while self._res is None and (end or not self._shots):
            if self.starved:
                if tried:
                    message = f"{os.strerror(errno.ENOBUFS)} [{self.description()}] (all buffers of its group are held"
                    raise OSError(errno.ENOBUFS, f"{message} by the program that waits here: return some first)")
                tried = True
                self._refilled()
            if not ring._pass_time(deadline):
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
            while self._res is None:
                if not ring._pass_time(time.monotonic_ns() + AGAIN):
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

    def _give_up(self) -> None:
        """Cancel it and have it hidden. May be repeated."""
        ring = self._ring
        self._more().abandoned = True  # first: what is hidden must be known by it
        if self._slot >= 0:
            ring._hidden.add(self)
        ring._taken(self)
        self._stop()

    def _let_down(self) -> None:
        """A destructor has given it up. May be repeated."""
        if self._res is None:
            self._give_up()
        else:
            self._dispose()

    def _forsake(self) -> None:
        """The ring is given up by a thread that must not touch it: only ordinary descriptors can be closed."""

    def _end_soon(self) -> None:
        """It was cancelled, so it is not requested again."""
        self._stopping = True
        if self._res is None and self._slot < 0:
            self._ring._pending[self] = None

    def _stop(self) -> None:
        """Have it cancelled by a request that nobody sees."""
        self._stopping = self._stop_due = True
        self._ring._pending[self] = None

    def _queue_stop(self) -> None:
        ring, stopper = self._ring, self._stopper
        if stopper is not None and stopper._res is None and stopper._slot >= 0:
            self._stop_due = False  # it is under way already
        elif ring._has_room():
            stopper = self._stopper = operation_of(ring, STOP, None, ())
            stopper._more().hidden = True
            ring._write(stopper, 0, (ring._user_data(self), 0))
            ring._hidden.add(stopper)
            self._stop_due = False

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

    # --- taking completions in, and what follows ------------------------------------------------------

    def _take_in(self, key: Any, slot: int, res: int, flags: int) -> None:
        """Store a completion. Each step may be repeated."""
        ring = self._ring
        if self._is_shot(res):
            if key not in self._shots:
                self._shots[key] = (res, flags)
                self._count += 1
            self._announce()
        if not flags & MORE:
            self._last = (res, flags, key)
            ring._pending[self] = None
            self._slot = -1
            ring._table[slot] = None

    def _announce(self) -> None:
        """Have it handed out."""
        ring, extra = self._ring, self._extra
        assert extra is not None
        if extra.abandoned:
            ring._pending[self] = None
        elif not self._on_shots:
            ring._ready[self] = None
        elif self not in ring._due:
            extra.callbacks += self._on_shots
            ring._due[self] = None

    def _comes_back(self) -> bool:
        """Whether it is not in flight, and will be."""
        return self._slot < 0 and self._res is None and not self.starved and not self._stopping

    def _settle(self) -> None:
        """Do what its last completion asks for; from ordinary code in the ring's thread. May be repeated."""
        ring, extra = self._ring, self._extra
        assert extra is not None
        if self._res is None and self._slot < 0:
            self._go_on_or_end()
        elif self._stop_due and self._res is None:
            self._queue_stop()
        if extra.abandoned:
            self._dispose()
        if self._res is not None:
            self._memory = None
            ring._hidden.discard(self)
            ring._multishots.pop(self, None)
            if self._at_end and not extra.abandoned:  # no call from here on, and none is called twice
                extra.callbacks += self._at_end
                ring._due[self] = None
            elif not extra.abandoned:
                self._announce()
            self._at_end = []
        settled = not self._stop_due if self._slot >= 0 else self.starved
        if self in ring._pending and (settled or self._res is not None):
            del ring._pending[self]

    def _go_on_or_end(self) -> None:
        """Its last CQE has come, or buffers have: request it again, unless this is the end."""
        ring, last = self._ring, self._last
        if last is not None:
            res, flags, key = last
            if self._is_shot(res):
                if self._is_end(res):
                    if res >= 0 and key in self._shots:  # no shot then
                        self._throw_away(key)
                    self._finish(0, flags)
                    return
            elif res != ENOBUFS or self._group is None:
                self._finish(res, flags)
                return
        if self._stopping:
            self._finish(ECANCELED, 0)
        elif last is not None and last[0] == ENOBUFS:
            if not self.starved:
                self.starved = True
                self._announce()
                assert self._group is not None
                self._group._when_refilled(self._refilled)
        elif ring._has_room():
            ring._write(self, self._options, self._next_arguments())

    def _finish(self, res: int, flags: int) -> None:
        self.starved = False
        self._flags = flags
        self._res = res

    def _refilled(self) -> None:
        """Its group has buffers again, or may have: request it again at the next ordinary call."""
        if self.starved:
            self.starved = False
            self._last = None
            self._ring._pending[self] = None

    def _dispose(self) -> None:
        """Undo what shots have brought that nobody takes."""
        if self._fresh:  # what is first among the shots is here already
            self._take_off()
        while self._found or self._shots:
            if self._found:
                found = self._found
                value = found[0]
                del found[0]
                self._throw_away_value(value)
                continue
            for key in self._shots:  # noqa: B007  # the first one, without a call
                break
            self._throw_away_first(key)

    def _throw_away_first(self, key: Any) -> None:
        """Dispose of the first shot, or take it off, so that it is disposed of as a value."""
        self._throw_away(key)

    def __del__(self) -> None:
        if hasattr(self, "starved") and (self._shots or self._found or self._fresh):
            if self._ring.closed:
                self._dispose()
            else:  # at any moment, and in any thread: the ring's next ordinary call does it
                self._more().abandoned = True
                self._ring._notes.append(self)
