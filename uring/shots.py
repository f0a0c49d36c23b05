"""The inner half of a multishot: taking completions in, requesting it again, ending it, disposing of shots.

The kernel facts this rests on:

- A CQE without F_MORE is the last one, whatever its result. It may carry a shot, and it need not be the end: the
  kernel gives up a multishot when the completion queue is full, and where it cannot go on waiting by itself (a poll of
  a file that is always ready, an empty datagram). Requesting the same again then continues where it stopped:
  connections, data and readiness wait in the kernel meanwhile.
- At the end of a stream a receive or read gives 0, or a recvmsg a message without payload. The same from a datagram
  socket is a datagram of no bytes.
- Without a free buffer in its group a receive or read ends with ENOBUFS at once, also when no data is there.
- A request that is made again looks its file up again, by a number that may belong to another file by then.
- With a link behind it a multishot request never succeeds, so that link never runs.

A completion is handed out by steps that may be interrupted and repeated (flight.py). So taking one in stores (result,
flags) under a key of its own and does nothing else; what follows from it - requesting again, ending, disposing - is
done by `_settle`, later, from ordinary code in the ring's thread. The steps that take a shot off again hold no call
between its use and its removal, at the end of which a signal's handler may raise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from ._native import lib
from .completion import MORE
from .operation import ECANCELED, Kind, Operation, nothing, operation_of
from .types import BufferGroup

ENOBUFS = -errno.ENOBUFS
STOP = Kind("stop", "ASYNC_CANCEL", "5.5", lib.uring_cancel64, nothing)


def _result(res: int, _flags: int) -> int:
    """The maker of shots that are their result."""
    return res


class Shots(Operation[None]):
    """What Multishot does out of its user's sight."""

    __slots__ = (
        "_arguments",
        "_at_end",
        "_count",
        "_file",
        "_found",
        "_fresh",
        "_group",
        "_last",
        "_listening",
        "_on_shots",
        "_options",
        "_shots",
        "_stop_due",
        "_stopper",
        "_stopping",
        "starved",
    )

    _options: int
    _arguments: tuple[Any, ...]
    _group: BufferGroup | None
    _file: Any  # what knows whether the file's number is still its own, None where nothing does
    _shots: dict[Any, tuple[int, int]]  # (result, flags) by completion, in order
    _fresh: dict[Any, Any]  # what shots have become that are not taken off yet
    _found: list[Any]  # what shots became, and nobody took yet
    _last: tuple[int, int, Any] | None  # result, flags and key of the CQE that stopped it
    _count: int  # shots that came
    _stopping: bool  # it was cancelled, and is not requested again
    _stop_due: bool  # the request that cancels it is still to be queued
    _stopper: Operation[Any] | None  # that request
    _listening: bool  # its group will call _refilled
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

    def _view(self, value: Any) -> Any:
        """What the program gets of that value; may be called again."""
        return value

    def _throw_away(self, key: Any) -> None:
        """Dispose of a shot that nobody took."""
        del self._shots[key]

    def _throw_away_value(self, value: Any) -> None:
        """The same of what `_maker` has made."""

    def _next_arguments(self) -> tuple[Any, ...]:
        """The arguments of the call that requests it again."""
        return self._arguments

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
        settled = not self._stop_due if self._slot >= 0 else self._listening
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
            if not self._listening:
                assert self._group is not None
                self._group._when_refilled(self._refilled)
                self._listening = self.starved  # not when there was a buffer already
        elif not self._has_its_file():
            self._finish(-errno.EBADF, 0)
        elif ring._has_room():
            ring._write(self, self._options, self._next_arguments())

    def _has_its_file(self) -> bool:
        """Whether a request would reach the same file: once that is closed, its number may be another one's."""
        if self._file is None:
            return True
        try:
            return bool(self._file.fileno() == self._arguments[0])
        except (ValueError, OSError):
            return False

    def _finish(self, res: int, flags: int) -> None:
        self.starved = self._listening = False
        self._flags = flags
        self._res = res

    def _refilled(self) -> bool:
        """Its group has buffers again, or may have: request it again at the next ordinary call, if it starves."""
        if not self.starved:
            return False
        self.starved = self._listening = False
        self._last = None
        self._ring._pending[self] = None
        return not self._stopping

    def _dispose(self) -> None:
        """Undo what shots have brought that nobody takes."""
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
        if key in self._fresh:
            self._take_off()
        else:
            self._throw_away(key)

    # --- giving it up ---

    def _give_up(self) -> None:
        """Cancel it and have it hidden. May be repeated."""
        ring = self._ring
        self._more().abandoned = True  # first: what is hidden must be known by it
        if self._slot >= 0:
            ring._hidden.add(self)
        ring._taken(self)
        self._stop()

    def _let_down(self, _ring: Any) -> None:
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

    def __del__(self) -> None:
        if hasattr(self, "starved") and (self._shots or self._found or self._fresh):
            if self._ring.closed:
                self._dispose()
            else:  # at any moment, and in any thread: the ring's next ordinary call does it
                self._more().abandoned = True
                self._ring._notes.append(self)
