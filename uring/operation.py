"""One request, from prepared to its last CQE.

The kernel facts this rests on:

- Until the last CQE of a request the kernel may read and write the memory that its SQE points to, whatever becomes of
  the Python objects around it. The last CQE is the one without F_MORE; a zero-copy send posts its result with F_MORE
  first and lets go of the memory at a second CQE, the notification.
- A CQE finds its request by user_data alone. Ours is a mark, a generation, and a slot: a number of a table's place.
  A slot is used again with another generation, so a CQE that comes late can reach no newer operation. Slots and
  generations are kept in C (native/slots.c); Python sees small slot numbers only.

So the ring's table of operations in flight holds every Operation, and the Operation holds the memory, from when its
SQE is written until that last CQE is handled. Dropping the last other reference changes nothing.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .completion import Completion
from .errors import DRAIN_HINT, ERESTARTSYS, ChainBroken, RingClosed, Unsupported, os_error
from .types import FixedFile, Nanoseconds, timespec

if TYPE_CHECKING:
    from .builders.cancelling import CancelResult
    from .chain import Chain
    from .ring import Ring

T = TypeVar("T")

ECANCELED = -errno.ECANCELED
# How an operation ends that its link timeout has stopped: before it ran, or in a worker thread.
STOPPED = (ECANCELED, -errno.EINTR, -ERESTARTSYS)


class Kind(Generic[T]):
    """What all operations of one opcode and form share: immutable, made once for each builder.

    Attributes:
        name: the builder's name.
        opcode: the opcode's name without IORING_OP_; empty where no request stands behind it.
        since: the kernel that introduced it.
        call: the fused call that queues it.
        result: makes the Python result of (operation, res); None where the count itself is the result.
        transfer: whether it moves `length` bytes, so that fewer are a short transfer, which breaks a chain.
        zero_copy: whether a notification follows the result.
        operation: the class of its operations.
        missing: whether the running kernel lacks it; found out when the first ring is made.
    """

    __slots__ = ("call", "missing", "name", "opcode", "operation", "result", "since", "transfer", "zero_copy")

    def __init__(
        self,
        name: str,
        opcode: str,
        since: str,
        call: Any,
        result: Callable[[Any, int], T] | None = None,
        *,
        operation: type[Operation[T]] | None = None,
        transfer: bool = False,
        zero_copy: bool = False,
    ) -> None:
        self.name, self.opcode, self.since, self.call, self.result = name, opcode, since, call, result
        self.operation: type[Operation[T]] = operation or Operation
        self.transfer, self.zero_copy = transfer, zero_copy
        self.missing = False
        if opcode:  # else nothing is queued: a completion that comes by itself
            KINDS.append(self)

    def set_missing(self) -> None:
        """The running kernel lacks it: from now on queueing it raises instead of calling C."""
        self.missing = True

        def refuse(*_: Any) -> None:
            raise self.unsupported()

        self.call = refuse

    def unsupported(self) -> Unsupported:
        """The exception for a kernel without this opcode."""
        return Unsupported(f"IORING_OP_{self.opcode}", self.since)


KINDS: list[Kind[Any]] = []


def nothing(_operation: Any, _res: int) -> None:
    """The result of an operation for which C returns 0."""


def operation_of(
    ring: Ring, kind: Kind[T], memory: Any, about: tuple[Any, ...], make: type[Operation[T]] | None = None
) -> Operation[T]:
    """An operation that is not queued yet; `make` is its class, where that is not the kind's."""
    cls = make or kind.operation
    operation = cls.__new__(cls)
    operation._ring = ring
    operation._kind = kind
    operation._memory = memory
    operation._about = about
    operation._res = operation._extra = None
    operation._slot = -1
    return operation


class State(enum.Enum):
    """How far an operation has come."""

    RECORDED = "recorded"
    """Inside a chain that is still open; nothing is queued."""
    PREPARED = "prepared"
    """Its SQE is written and not yet submitted."""
    SUBMITTED = "submitted"
    """The kernel has it."""
    COMPLETED = "completed"
    """Its result is known, good or bad."""
    CANCELLED = "cancelled"
    """It ended with ECANCELED, or the ring was closed before it ended."""
    DISCARDED = "discarded"
    """It never ran: its chain was left by an exception, or the ring closed before a submit."""
    ABANDONED = "abandoned"
    """Nobody wants its result any more; what it brings is disposed of."""


# Results that no kernel gives (errnos end at 4095).
CLOSED = -10_001
DISCARDED = -10_002


class Extra:
    """What few operations have: kept apart, so that the others stay small."""

    __slots__ = ("abandoned", "callbacks", "chain", "hidden", "silent")

    def __init__(self) -> None:
        self.abandoned = False
        self.hidden = False  # not the user's: a link timeout, a cancel of close()
        self.silent = False  # CQE_SKIP_SUCCESS: no CQE when all is well
        self.callbacks: list[Callable[[Any], object]] = []
        self.chain: Chain | None = None


class Operation(Generic[T]):
    """One request and, once it is complete, its result; made by the builders of a Ring.

    `result()` waits if it must and returns what the Python function of the same name returns, or raises the OSError
    of the errno. A finished operation may be read from any thread; anything else belongs to the ring's own.
    """

    __slots__ = ("__weakref__", "_about", "_extra", "_flags", "_kind", "_memory", "_res", "_ring", "_slot")

    # Filled in by Ring._start, without a call of __init__, which would be a third of its cost.
    _ring: Ring
    _kind: Kind[T]
    _memory: Any  # what the kernel may touch; dropped at the last CQE
    _about: tuple[Any, ...]  # (fd or path, offset, length, ...) for messages and for the result
    _res: int | None
    _flags: int
    _slot: int  # its place in the ring's table, -1 while a chain records it
    _extra: Extra | None

    def __repr__(self) -> str:
        return f"<Operation {self.description()}: {self._outcome()}>"

    def _outcome(self) -> str:
        state = self.state
        return f"{state.value}, res={self._res}" if state is State.COMPLETED else state.value

    def description(self) -> str:
        """What it does, for messages: "read of 4096 bytes at 0 from fd 3"."""
        return self._kind.name + _range(self._about)

    @property
    def name(self) -> str:
        """The name of the builder that made it."""
        return self._kind.name

    @property
    def opcode(self) -> str:
        """Its opcode, without IORING_OP_."""
        return self._kind.opcode

    @property
    def user_data(self) -> int:
        """The user_data of its SQE while it is in flight, else 0."""
        return self._ring._user_data(self) if self._res is None else 0

    @property
    def state(self) -> State:
        """How far it has come."""
        extra = self._extra
        if extra is not None and extra.abandoned:
            return State.ABANDONED
        if self._res is None:
            if self._slot < 0:
                return State.RECORDED
            return State.PREPARED if self._ring._is_queued(self) else State.SUBMITTED
        if self._res == DISCARDED:
            return State.DISCARDED
        return State.CANCELLED if self._res in (ECANCELED, CLOSED) else State.COMPLETED

    # --- reading the result ------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether the result is known. Takes in what is ready, without blocking; does not submit.

        Raises:
            WrongThread, Forked: not known yet, and asked by somebody else than the ring's owner.
        """
        if self._res is None and not self._ring.closed:
            self._ring._reap_ready()
        return self._res is not None

    def result(self, timeout: float | None = None) -> T:
        """The result; waits for it, submitting what is queued, if it is not known yet.

        The operation counts as handed out then: `Ring.wait` does not return it again.

        Args:
            timeout: seconds to wait at most, None for no limit.

        Raises:
            TimeoutError: it is not complete in time; it goes on, and may be asked again.
            OSError: the subclass for its errno, see `exception`.
            RingClosed: the ring was closed before it was complete.
            WrongThread, Forked: it is not complete, and this is not the ring's owner.
        """
        # `_await` in line: this is a fifth of what a request costs.
        ring = self._ring
        if self._res is None:
            ring._wait_for(self, timeout)
        if ring._ready:
            ring._taken(self)
        res: int = self._res  # type: ignore[assignment]
        if res < 0:
            raise self._error()
        convert = self._kind.result
        if convert is nothing:
            return None  # type: ignore[return-value]
        return res if convert is None else convert(self, res)  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> Exception | None:
        """The exception that `result` would raise, or None; waits as `result` does.

        Raises:
            TimeoutError: it is not complete in time.
        """
        self._await(timeout)
        return self._error() if self._res is not None and self._res < 0 else None

    @property
    def completion(self) -> Completion:
        """The CQE with the result, as it came.

        Raises:
            RuntimeError: it has not come, or never will (a success that was skipped, a ring that was closed).
        """
        if self._res is None or self._res <= CLOSED or self._was_silent():
            raise RuntimeError(f"{self.description()} has no completion: it is {self.state.value}")
        return Completion(0, self._res, self._flags)

    def _was_silent(self) -> bool:
        return self._extra is not None and self._extra.silent and self._flags == SILENT

    def _await(self, timeout: float | None) -> None:
        if self._res is None:
            self._ring._wait_for(self, timeout)
        self._ring._taken(self)

    def _error(self) -> Exception:
        res = self._res
        assert res is not None
        if res == CLOSED:
            return RingClosed(f"the ring was closed before {self.description()} was complete")
        if res == DISCARDED:
            return RingClosed(f"{self.description()} was never submitted")
        if res in STOPPED and self._extra is not None and self._extra.chain is not None:
            if self._extra.chain._timed_out(self):
                return TimeoutError(errno.ETIMEDOUT, f"{self.description()} was not complete in its time")
            cause = self._extra.chain._breaker(self) if res == ECANCELED else None
            if cause is not None:
                return ChainBroken(-res, f"{self.description()} did not run: {cause._why_broken()}", cause)
        if res == -errno.EINVAL and self._kind.missing:
            return self._kind.unsupported()
        path = self._about[0] if self._about and isinstance(self._about[0], (str, bytes)) else None
        hint = DRAIN_HINT if res == -errno.EOPNOTSUPP and self._ring._has_skipped else None
        return os_error(-res, self.description(), path, transfer=self._kind.transfer, hint=hint)

    def _why_broken(self) -> str:
        res = self._res
        if res is not None and res >= 0:
            return f"{self.description()} transferred only {res} bytes"
        return f"{self.description()} failed: {self._error()}"

    # --- what else can be done with it ---------------------------------------------------------------

    def add_done_callback(self, callback: Callable[[Operation[T]], object]) -> None:
        """Call `callback(operation)` when it is complete; at once if it is already.

        The callback runs in the ring's thread, inside whichever call of the ring takes the completion in, after all
        completions that came with it are recorded. The operation counts as handed out then. An exception of a
        callback is raised by that call; nothing else is lost by it.
        """
        if self._res is not None:
            self._ring._taken(self)
            callback(self)
            return
        self._more().callbacks.append(callback)

    def cancel(self) -> Operation[CancelResult]:
        """Ask the kernel to cancel it: `Ring.cancel(self)`, an operation of its own."""
        return self._ring.cancel(self)

    def with_timeout(self, timeout: float | Nanoseconds) -> Operation[T]:
        """Cancel it if it takes longer: a LINK_TIMEOUT is queued behind it. It raises TimeoutError then.

        Only for a link of a chain that is being recorded; it replaces the chain's own timeout for this link.

        Args:
            timeout: seconds, or exact Nanoseconds, from the moment when this link starts.

        Returns:
            The operation itself.

        Raises:
            RuntimeError: it is not in a chain that is being recorded.
            ValueError, TypeError: no duration.

        Kernel: 5.5. Twin: `io_uring_prep_link_timeout`.
        """
        spec = timespec(timeout)
        if self._extra is None or self._extra.chain is None:
            raise RuntimeError("with_timeout() is for a link of a chain that is being recorded")
        self._extra.chain._set_timeout(self, spec)
        return self

    def abandon(self) -> None:
        """Give it up: it is not handed out, and what it brings is disposed of. A descriptor that arrives is closed."""
        if self._res is not None:
            self._ring._taken(self)
            self._dispose()
        elif not self._ring.closed:
            self._ring._check()
            self._more().abandoned = True  # first: a signal's handler may raise, and what is hidden must be known by it
            if self._slot >= 0:
                self._ring._hidden.add(self)
        self._more().abandoned = True

    def _shot(self, key: Any, res: int, flags: int, position: int) -> None:
        """A CQE that more will follow, at `position` of those copied. May be repeated with the same key.

        No builder of plain operations asks for it, but options can: the last one is the result.
        """

    def _notified(self, res: int) -> None:
        """The notification of a zero-copy send. May be repeated."""

    def _more(self) -> Extra:
        if self._extra is None:
            self._extra = Extra()
        return self._extra

    def _dispose(self) -> None:
        """Undo what an unwanted result has brought."""

    def _picked(self, res: int, flags: int) -> None:
        """Its last CQE names a buffer that the kernel took from a group. May be repeated."""


class DescriptorOperation(Operation[T]):
    """An operation whose result is a new descriptor: it is closed if nobody takes it."""

    __slots__ = ("_fetched",)

    _fetched: bool

    def result(self, timeout: float | None = None) -> T:
        """See Operation.result. The descriptor is the caller's from now on."""
        value = super().result(timeout)
        self._fetched = True
        return value

    def _dispose(self) -> None:
        res = self._res
        if res is not None and res >= 0 and not hasattr(self, "_fetched"):
            self._fetched = True
            self._close(res)

    def _close(self, fd: int) -> None:
        os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_res"):
            self._dispose()


# The flags of an operation that completed without a CQE.
SILENT = -1


def _named(file: Any) -> str:
    if isinstance(file, FixedFile):
        return f"registered file {int(file)}"
    return f"fd {file}" if isinstance(file, int) else repr(file)


def _range(about: tuple[Any, ...]) -> str:
    """What a builder noted, as words: the length, the offset, the file."""
    if not about:
        return ""
    file, offset, length = (*about, None, None, None)[:3]
    text = ""
    if length is not None:
        text += f" of {length} bytes"
    if offset is not None and offset != -1:
        text += f" at {offset}"
    if file is not None:
        text += f" on {_named(file)}"
    return text
