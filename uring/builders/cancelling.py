"""Requests that end or change other requests: how those are named to the kernel, and its answers; cancelling.

The kernel facts this rests on:

- A cancel finds its target by user_data, by open file, by opcode, or takes any. Without ALL it ends the first match.
- What waits (for data, a timer, a futex, a free worker) is ended at once. What a worker already runs is interrupted
  only, and the answer is EALREADY: it may still succeed.
- For one match the answer is 0 as a rule, and 1 for a futex or waitid; with ALL it is how many matched, also 0.
- The answers ENOENT and EALREADY are failures to the kernel all the same: they break a chain that the cancel is in.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

from .._native import lib
from ..errors import Unsupported
from ..operation import Kind, Operation
from ..shots import Shots
from ..types import Descriptor, Options
from .arguments import number, reporting
from .base import Builder, file_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

ALL: int = lib.IORING_ASYNC_CANCEL_ALL
ANY: int = lib.IORING_ASYNC_CANCEL_ANY
BY_FD: int = lib.IORING_ASYNC_CANCEL_FD

# A user_data that is ours and fits no slot: it names nothing, neither our requests nor anybody else's.
NOBODY: int = lib.URING_MARK << 56 | (1 << 56) - 1


class CancelResult:
    """The kernel's answer to a cancel: CANCELLED, NOT_FOUND or ALREADY_RUNNING.

    Compare it with these (`==`); it is true only when something was cancelled.

    Attributes:
        name: which of the three.
        count: how many requests were cancelled. With `every=True` this includes those that were running already.
    """

    __slots__ = ("count", "name")

    CANCELLED: ClassVar[CancelResult]
    """At least one was; each ends with OperationCancelled, or with the result that it had just then."""
    NOT_FOUND: ClassVar[CancelResult]
    """Nothing matched: it is complete, or never was."""
    ALREADY_RUNNING: ClassVar[CancelResult]
    """A worker is running it. It was interrupted, and ends soon, in whichever way."""

    def __init__(self, name: str, count: int = 0) -> None:
        self.name, self.count = name, count

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, CancelResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __bool__(self) -> bool:
        return self.count > 0

    def __repr__(self) -> str:
        return f"<CancelResult.{self.name}: {self.count}>" if self.count else f"<CancelResult.{self.name}>"


CancelResult.CANCELLED = CancelResult("CANCELLED", 1)
CancelResult.NOT_FOUND = CancelResult("NOT_FOUND")
CancelResult.ALREADY_RUNNING = CancelResult("ALREADY_RUNNING")

# Failures that tell how the target is, and not that something is wrong.
ANSWERS = {
    -errno.ENOENT: CancelResult.NOT_FOUND,
    -errno.EALREADY: CancelResult.ALREADY_RUNNING,
}


class CancelOperation(Operation[CancelResult]):
    """A cancel: that there is nothing to cancel is an answer, not an error.

    The fourth item of `about` is whether all that match are meant, the fifth the target's description or None.
    """

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        target = self._about[4]
        return super().description() if target is None else f"{self.name} of {target}"

    def result(self, timeout: float | None = None) -> CancelResult:
        """See Operation.result."""
        self._await(timeout)
        answer = ANSWERS.get(self._res or 0)
        return super().result(timeout) if answer is None else answer

    def exception(self, timeout: float | None = None) -> Exception | None:
        """See Operation.exception."""
        self._await(timeout)
        return None if self._res in ANSWERS else super().exception(timeout)

    def _error(self) -> Exception:
        feature = FEATURES.get(self._kind)
        if self._res == -errno.EINVAL and feature is not None:
            return Unsupported(feature, self._kind.since)
        return super()._error()


class UpdateOperation(Operation[bool]):
    """A change to a timeout or poll that is in flight: that it is too late is an answer, not an error.

    The fifth item of `about` is the target's description.
    """

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{self.name} of {self._about[4]}"

    def result(self, timeout: float | None = None) -> bool:
        """See Operation.result."""
        self._await(timeout)
        return False if self._res in ANSWERS else super().result(timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """See Operation.exception."""
        self._await(timeout)
        return None if self._res in ANSWERS else super().exception(timeout)


def updated(_operation: Operation[bool], _res: int) -> bool:
    """The result of an update that was in time."""
    return True


def one(_operation: Operation[CancelResult], _res: int) -> CancelResult:
    """The result of a cancel that can match only one request."""
    return CancelResult.CANCELLED


def _matched(operation: Operation[CancelResult], res: int) -> CancelResult:
    every = operation._about[3]
    if not every:
        return CancelResult.CANCELLED
    return CancelResult("CANCELLED", res) if res else CancelResult.NOT_FOUND


CANCEL = Kind("cancel", "ASYNC_CANCEL", "5.5", lib.uring_cancel64, one, operation=CancelOperation)
CANCEL_ANY = Kind("cancel", "ASYNC_CANCEL", "5.19", lib.uring_cancel64, _matched, operation=CancelOperation)
CANCEL_FD = Kind("cancel", "ASYNC_CANCEL", "5.19", lib.uring_cancel_fd, _matched, operation=CancelOperation)
CANCEL_OPCODE = Kind("cancel", "ASYNC_CANCEL", "6.6", lib.uring_cancel_opcode, _matched, operation=CancelOperation)

# Ways to cancel that an older kernel does not know, which answers EINVAL.
FEATURES: dict[Kind[Any], str] = {
    CANCEL_ANY: "IORING_ASYNC_CANCEL_ANY",
    CANCEL_FD: "IORING_ASYNC_CANCEL_FD",
    CANCEL_OPCODE: "IORING_ASYNC_CANCEL_OP",
}


def target_of(ring: Any, operation: Operation[Any], opcode: str | None = None, *, ends: bool = True) -> int:
    """The user_data by which an operation is named to the kernel; NOBODY's when it is complete.

    Args:
        ring: the ring whose operation it must be.
        operation: the target.
        opcode: what it must be, without IORING_OP_; None for anything.
        ends: whether it is named to be cancelled; a multishot is not requested again then.

    Raises:
        TypeError: not an Operation.
        ValueError: of another ring, recorded in a chain that is open, or of another opcode.
    """
    if not isinstance(operation, Operation):
        raise TypeError(f"expected an Operation, not {type(operation).__name__}")
    if operation._ring is not ring:
        raise ValueError(f"{operation.description()} belongs to another ring")
    if operation._res is None and operation._slot < 0 and not isinstance(operation, Shots):
        raise ValueError(f"{operation.description()} is recorded in an open chain; it is not queued yet")
    if opcode is not None and operation.opcode != opcode:
        raise ValueError(f"expected an operation of {opcode}, not {operation.description()}")
    user_data = operation.user_data or NOBODY
    if isinstance(operation, Shots) and ends and ring._recording is None:
        ring._check()
        operation._end_soon()
    return user_data


def about_of(target: Operation[Any]) -> tuple[Any, ...]:
    """The `about` of a CancelOperation for one target."""
    return None, None, None, False, target.description()


def _opcode_of(opcode: str | int) -> int:
    if not isinstance(opcode, str):
        return number(opcode, "opcode", lib.IORING_OP_LAST - 1)
    value = getattr(lib, f"IORING_OP_{opcode}", None)
    if value is None:
        raise ValueError(f"there is no IORING_OP_{opcode}; an opcode is written as in Operation.opcode")
    return int(value)


class CancelBuilders(Builder):
    """Requests that cancel others."""

    def cancel(
        self,
        target: Operation[Any] | Descriptor | None = None,
        *,
        every: bool = False,
        opcode: str | int | None = None,
        **options: Unpack[Options],
    ) -> Operation[CancelResult]:
        """Cancel an operation, or what uses a file, or what has an opcode, or anything.

        What is cancelled completes by itself, with OperationCancelled; wait for it as for any other. An operation that
        is prepared and not submitted can be cancelled too.

        Args:
            target: an operation of this ring; a descriptor, object with `fileno()` or FixedFile, for operations on
                that open file; None for any operation of the ring.
            every: all that match, not just the first.
            opcode: only those of this opcode: its name as in `Operation.opcode`, or the IORING_OP_* number.
            options: see Options; `skip_success` is refused, since the answer would be lost.

        Returns:
            An Operation whose result is a CancelResult: CANCELLED with its `count`, NOT_FOUND, or ALREADY_RUNNING.
            The last two are no exceptions, but they do break a chain.

        Raises:
            TypeError: None without `opcode` or `every`; no descriptor; an opcode that is neither str nor int.
            ValueError: an operation of another ring, or recorded in an open chain; `every` or `opcode` with an
                operation; an unknown opcode; a closed file; `skip_success`.
            Unsupported: from the result, on a kernel without this way to cancel.

        Kernel: 5.5; by descriptor, any, or every 5.19; by opcode 6.6. Twins: `io_uring_prep_cancel64`,
        `io_uring_prep_cancel`, `io_uring_prep_cancel_fd`.
        """
        packed = reporting(options, "cancel")
        flags = ALL if every else 0
        if isinstance(target, Operation):
            if every or opcode is not None:
                raise ValueError("every and opcode select among many operations, and the target is one")
            user_data = target_of(self, target)
            return self._start(CANCEL, None, about_of(target), packed, user_data, 0)
        file, keep = None, None
        if target is not None:
            file, packed, keep = file_of(target, packed, self)
            flags |= BY_FD
        about = (file, None, None, every, None)
        if opcode is not None:
            which = _opcode_of(opcode)
            return self._start(CANCEL_OPCODE, keep, about, packed, -1 if file is None else file, which, flags)
        if file is not None:
            return self._start(CANCEL_FD, keep, about, packed, file, flags)
        if not every:
            raise TypeError("cancel() needs a target, an opcode, or every=True for all operations of the ring")
        return self._start(CANCEL_ANY, None, about, packed, 0, ANY | flags)
