"""Chains: requests of which each starts when the one before it has succeeded.

The kernel facts this rests on:

- IOSQE_IO_LINK on an SQE makes the next one of the same submit wait for it. On the last SQE of a submit it has no
  effect, so a chain that is split over two submits is broken without a word: its SQEs are written when the block ends,
  after room for all of them was made.
- A failure breaks the chain, and so does a short transfer: all that follows ends with -ECANCELED. A hard link
  (IOSQE_IO_HARDLINK) goes on in spite of both.
- Not every failure breaks a chain: that of an fsync, an fallocate, a rename and a dozen others does not, see _HARMLESS.
- A LINK_TIMEOUT behind a link times that link only. It posts a CQE of its own, before or after that of the link, so a
  link with a timeout counts as complete when both are there: only then is it known why it was cancelled.
- With CQE_SKIP_SUCCESS a link that succeeds posts nothing. That it did is known when a later one posts. When it fails
  or falls short it does post, and then the CQEs of all that follow it are suppressed.
- A request that is malformed (an unknown personality, say) is found out before anything of its chain starts: it gets
  its errno, all others, also those before it and those of a hard chain, end with -ECANCELED.
- The thread of rings that share one (SQPOLL with ATTACH_WQ) takes at most eight SQEs of each in turn, and cuts a chain
  there without a word. A chain is safe if it is the first that the thread finds and fits those eight.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._native import ffi, lib
from .completion import MORE
from .operation import CLOSED, DISCARDED, ECANCELED, SILENT, Kind, Operation, nothing, operation_of
from .types import DRAIN, HARDLINK, LINK, SKIP_SUCCESS, Nanoseconds, timespec

if TYPE_CHECKING:
    from .ring import Ring

LINK_TIMEOUT = Kind("link_timeout", "LINK_TIMEOUT", "5.5", lib.uring_link_timeout, nothing)
ETIME = -errno.ETIME
TIMED_OUT = (ETIME, -errno.EALREADY)
SHARED_BATCH = 8
# As an operation's slot: its CQE has come, and the slot is somebody else's by now. It is beyond every table.
GONE = (1 << 31) - 1


class Chain:
    """A chain that is being recorded, and then the handle of its operations; made by `Ring.chain`.

    Iterating over it gives its operations in order.
    """

    def __init__(
        self, ring: Ring, *, hard: bool = False, timeout: float | Nanoseconds | None = None, drain: bool = False
    ) -> None:
        self._ring = ring
        self._link = HARDLINK if hard else LINK
        self._hard = hard
        self._drain = DRAIN if drain else 0
        self._timeout = None if timeout is None else timespec(timeout)
        self._links: list[tuple[Operation[Any], int, tuple[Any, ...]]] = []
        self._members: list[Operation[Any]] = []
        self._positions: dict[Operation[Any], int] = {}
        self._specs: dict[Operation[Any], Any] = {}
        self._timeouts: dict[Operation[Any], Operation[Any]] = {}
        self._timed: dict[Operation[Any], Operation[Any]] = {}
        self._held: dict[Operation[Any], tuple[int, int]] = {}
        self._strays: list[tuple[Operation[Any], int, tuple[Any, ...]]] = []  # not of it, and queued behind it
        self._places = 0
        self._settled = 0  # no member before this one waits for a later one to tell of its success
        self._cause: Operation[Any] | None = None
        self._open = False

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Operation[Any]]:
        return iter(self._members)

    def __repr__(self) -> str:
        return f"<Chain of {', '.join(operation.name for operation in self._members) or 'nothing yet'}>"

    def __enter__(self) -> Chain:
        ring = self._ring
        ring._check()
        if ring._recording is not None:
            raise RuntimeError("chains do not nest: one is open already")
        if self._members:
            raise RuntimeError("a chain is recorded once; make another one")
        self._open = True
        ring._recording = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:  # the ring was closed inside the block
            return
        if kind is None:
            self._ring._check()
        elif lib.uring_check(self._ring._native):
            return  # an error in a thread or child that does not own the ring, and so cannot end what it records
        self._open = False
        self._ring._recording = None
        try:
            if kind is not None:
                self._discard()
            elif self._links:
                self._write()
        except BaseException:
            while self._links:  # a signal's handler has raised before anything of it was queued, or in _discard
                try:
                    self._discard()
                except BaseException:
                    continue
            raise
        finally:
            self._ring._recording = None
            if self._strays:
                self._queue_strays()

    def _record(self, operation: Operation[Any], options: int, arguments: tuple[Any, ...]) -> None:
        self._ring._check()
        if operation._kind.missing:
            raise operation._kind.unsupported()
        silent = bool(options & SKIP_SUCCESS)
        if not self._open:  # by a destructor or a signal's handler, while the links are written
            if silent:
                raise ValueError("skip_success belongs to a link of a chain that is followed by one that reports")
            self._strays.append((operation, options, arguments))
            return
        if not self._members:
            if silent and (self._drain or options & DRAIN):
                raise ValueError("drain does not go with skip_success: the kernel could not count what is complete")
            if self._hard and silent:
                # Were another link malformed, this one would suppress the CQEs of all. So it posts always, and its
                # success is dropped in _took.
                options &= ~SKIP_SUCCESS
        self._reserve(self._width(operation) + (self._timeout is not None))
        extra = operation._more()
        extra.chain = self
        extra.silent = silent
        self._positions[operation] = len(self._members)
        self._links.append((operation, options, arguments))
        self._members.append(operation)
        if self._timeout is not None:
            self._specs[operation] = self._timeout

    def _reserve(self, more: int) -> None:
        """Count SQEs that the chain will need; ValueError when the queue does not have as many."""
        ring = self._ring
        needed, limit, what = self._places + more, ring._ring.sq.ring_entries, "submission entries"
        if ring._shares_thread and limit > SHARED_BATCH:
            limit, what = SHARED_BATCH, "entries that a shared SQPOLL thread takes at once"
        if needed > limit:
            raise ValueError(f"a chain must fit the queue: this needs {needed} of {limit} {what}")
        self._places = needed

    def _width(self, operation: Operation[Any]) -> int:
        # A 128-byte SQE among small ones takes two places, and may need one more to get around the queue's end.
        mixed = self._ring._ring.flags & lib.IORING_SETUP_SQE_MIXED
        return 3 if mixed and operation.opcode.endswith("128") else 1

    def _set_timeout(self, operation: Operation[Any], spec: Any) -> None:
        if not self._open:
            raise RuntimeError("a link's timeout is set while its chain is being recorded")
        self._ring._check()
        if operation not in self._specs:
            self._reserve(1)
        self._specs[operation] = spec

    def _write(self) -> None:
        """Queue all links, or none."""
        ring = self._ring
        tail = None
        try:
            if self._members[-1]._more().silent:
                raise ValueError("skip_success on the last link: nothing would tell that the chain has ended")
            self._make_room()
            room, take_back = ring._ring.sq.ring_entries, lib.uring_slot_take_back
            slots = ffi.new("int32_t[]", room)
            tail = ring._ring.sq.sqe_tail
            drain = self._drain
            for position, (operation, options, arguments) in enumerate(self._links):
                self._write_link(operation, options | drain, arguments, last=position + 1 == len(self._links))
                drain = 0
        except BaseException:
            if tail is not None:
                # Nothing was submitted meanwhile, so what was written can be taken back. There is no call before.
                take_back(ring._native, tail, slots, room)
            self._discard()
            raise
        del self._links[:]  # no call, at whose end a signal's handler could raise: __exit__ must know

    def _make_room(self) -> None:
        """Make room for all links; from now on what others queue comes behind them."""
        ring = self._ring
        places = ring._ring.sq.ring_entries if ring._shares_thread else self._places
        ring._recording = None  # callbacks run
        while ring._recording is None:
            ring._make_room(places)
            ring._recording = self
            if lib.uring_slot_space(ring._native) < places:  # a signal's handler has queued something in between
                ring._recording = None

    def _queue_strays(self) -> None:
        """Queue what a destructor or a signal's handler wanted queued meanwhile."""
        raised: BaseException | None = None
        while self._strays:
            operation, options, arguments = self._strays[0]
            try:
                if operation._slot < 0 and operation._res is None:
                    self._ring._write(operation, options, arguments)
                del self._strays[0]
            except BaseException as error:
                raised = raised or error
                if isinstance(error, Exception) and operation._slot < 0:  # the ring was closed, for example
                    operation._res = DISCARDED
        try:
            if raised is not None and not self._ring.closed:
                raise raised
        finally:
            raised = None  # no cycle with this frame

    def _write_link(self, operation: Operation[Any], options: int, arguments: tuple[Any, ...], *, last: bool) -> None:
        ring = self._ring
        onward = 0 if last else self._link
        spec = self._specs.get(operation)
        if options & SKIP_SUCCESS:
            ring._has_skipped = True
        ring._write(operation, options | (LINK if spec is not None and last else onward), arguments)
        if operation._more().silent:
            ring._hidden.add(operation)
        if spec is not None:
            timeout = operation_of(ring, LINK_TIMEOUT, spec, ())
            extra = timeout._more()
            extra.hidden, extra.chain = True, self
            self._timeouts[operation] = timeout
            self._timed[timeout] = operation
            ring._write(timeout, onward, (spec, 0))
            ring._hidden.add(timeout)

    def _discard(self) -> None:
        """Nothing of it is queued; its operations never run."""
        self._open = False
        for operation in (*self._positions, *self._timeouts.values()):
            if operation._res is None:  # else a handler has closed the ring, which has done it
                self._ring._let_go(operation)
                operation._res = DISCARDED
        self._links.clear()

    # --- completions of its members ----------------------------------------------------------------

    def _holds_back(self, operation: Operation[Any], res: int, flags: int) -> bool:
        """Whether a link's result has to wait for the CQE of its timeout. May be repeated."""
        timeout = self._timeouts.get(operation)
        if timeout is None or timeout._res is not None:
            return False
        ring = self._ring
        self._held[operation] = (res, flags)
        # The timeout is counted as in flight in place of the link.
        ring._hidden.discard(timeout)
        if flags & MORE:  # the kernel reads the memory until the notification
            ring._hidden.add(operation)
        else:
            ring._let_go(operation)
            operation._slot = GONE
        return True

    def _took(self, operation: Operation[Any]) -> None:
        """A member or a timeout has its result: settle what follows from it. May be repeated."""
        if operation._kind is LINK_TIMEOUT:
            self._release(operation)
            return
        index = self._positions[operation]
        for earlier in self._members[self._settled : index]:
            if earlier._res is None and earlier not in self._held and earlier._more().silent:
                self._settle(earlier, earlier._about[2] if earlier._kind.transfer else 0)
        self._settled = max(self._settled, index)
        if not operation._more().silent or operation._flags == SILENT:
            return
        if not _is_bad(operation):
            operation._more().hidden = True
            operation._flags = SILENT
        elif not self._hard:
            for later in self._members[index + 1 :]:
                if later in self._held:
                    continue
                for following in (later, self._timeouts.get(later)):
                    if following is not None and following._res is None:
                        self._settle(following, ECANCELED)

    def _release(self, timeout: Operation[Any]) -> None:
        """A timeout's CQE is there: deliver the link that it belongs to, if that was only waiting for this."""
        operation = self._timed[timeout]
        if operation not in self._held:
            return
        ring = self._ring
        if operation._slot == GONE:
            operation._slot = -1
        keep = operation._slot >= 0 and ring._table[operation._slot] is operation
        operation._res, operation._flags = self._held[operation]
        ring._finish(operation, keep=keep)
        del self._held[operation]

    def _settle(self, operation: Operation[Any], res: int) -> None:
        """Give a result to a member whose CQE will not come."""
        operation._flags = SILENT
        operation._res = res
        self._ring._release(operation)
        extra = operation._more()
        if extra.callbacks:
            self._ring._due[operation] = None
        elif res < 0 and not extra.hidden and not extra.abandoned:
            self._ring._ready[operation] = None

    # --- why a member did not run --------------------------------------------------------------------

    def _timed_out(self, operation: Operation[Any]) -> bool:
        timeout = self._timeouts.get(operation)
        # The answer to the cancel when that was none: a count for futexes and children, EALREADY for running work.
        return timeout is not None and timeout._res is not None and (timeout._res > 0 or timeout._res in TIMED_OUT)

    def _breaker(self, operation: Operation[Any]) -> Operation[Any] | None:
        """The member that broke the chain for `operation`, or None when it was cancelled itself."""
        if self._cause is None:
            cause = self._find_breaker()
            if self._members[-1]._res is None:  # the culprit may not be known yet
                return None if cause is operation else cause
            self._cause = cause
        return None if self._cause is operation else self._cause

    def _find_breaker(self) -> Operation[Any]:
        first = next(index for index, member in enumerate(self._members) if member._res == ECANCELED)
        if first and _is_bad(self._members[first - 1]):
            return self._members[first - 1]
        if first == 0:
            # A malformed link cancels those before it as well; nothing else makes a link after a cancelled one fail.
            others = [member for member in self._members if member._res != ECANCELED]
            if len(others) == 1 and CLOSED < (others[0]._res or 0) < 0:
                return others[0]
        return self._members[first]


# Requests whose failure does not break a chain: the kernel does not mark them as failed (seen on 6.18).
_HARMLESS = frozenset(
    "FSYNC SYNC_FILE_RANGE FALLOCATE MADVISE FTRUNCATE STATX UNLINKAT RENAMEAT MKDIRAT SYMLINKAT LINKAT "
    "FSETXATTR SETXATTR FGETXATTR GETXATTR".split()
)


def _is_bad(operation: Operation[Any]) -> bool:
    res = operation._res
    if res is None or operation.opcode in _HARMLESS:
        return False
    if res == ETIME and operation.opcode == "TIMEOUT":  # its success
        return False
    return res < 0 or (operation._kind.transfer and res < operation._about[2])
