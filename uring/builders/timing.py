"""Requests about time, and nothing: nop, timeouts.

The kernel facts this rests on:

- A timeout that expires posts ETIME, with ETIME_SUCCESS too: that flag only keeps its chain going. 0 means that its
  count of other completions came first.
- An update keeps the timeout's clock, and drops its count: a multishot one, which counts its expiries, never ends then.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import lib
from ..errors import Unsupported
from ..multishot import Multishot
from ..operation import Kind, Operation, T, nothing
from ..types import Nanoseconds, Options, pack, timespec
from .arguments import INT_MAX, U32_MAX, number, reporting
from .base import Builder
from .cancelling import CancelOperation, CancelResult, UpdateOperation, about_of, one, target_of, updated
from .multishots import start
from .paths import MKDIRAT

if TYPE_CHECKING:
    from typing_extensions import Unpack

ETIME = -errno.ETIME


class TimeoutOperation(Operation[T]):
    """A timeout: its expiry, which the kernel calls ETIME, is its success."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> T:
        """See Operation.result."""
        self._await(timeout)
        convert = self._kind.result
        if self._res == ETIME and convert is not None:
            return convert(self, ETIME)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """See Operation.exception."""
        self._await(timeout)
        return None if self._res == ETIME else super().exception(timeout)


class TimeoutMultishot(Multishot[None]):
    """A timeout that expires again and again; the second argument of its call is how often, 0 for ever."""

    __slots__ = ()

    def _is_shot(self, res: int) -> bool:
        return res == ETIME

    def _is_end(self, res: int) -> bool:
        return 0 < int(self._arguments[1]) <= self._count

    def _view(self, value: int) -> None:
        return None

    def _next_arguments(self) -> tuple[Any, ...]:
        spec, count, flags = self._arguments
        return spec, count and count - self._count, flags

    def _error(self) -> Exception:
        if self._res == -errno.EINVAL:
            return Unsupported("IORING_TIMEOUT_MULTISHOT", self._kind.since)
        return super()._error()


def _counted(_operation: Operation[bool], res: int) -> bool:
    return res != ETIME


NOP = Kind("nop", "NOP", "5.1", lib.uring_nop, nothing)
NOP_RESULT: Kind[int] = Kind("nop", "NOP", "6.10", lib.uring_nop_result)
NOP128 = Kind("nop128", "NOP128", "6.19", lib.uring_nop128, nothing)
TIMEOUT: Kind[None] = Kind("timeout", "TIMEOUT", "5.4", lib.uring_timeout, nothing, operation=TimeoutOperation)
TIMEOUT_COUNT = Kind("timeout", "TIMEOUT", "5.4", lib.uring_timeout, _counted, operation=TimeoutOperation)
TIMEOUT_MULTISHOT: Kind[None] = Kind(
    "timeout", "TIMEOUT", "6.4", lib.uring_timeout, nothing, operation=TimeoutMultishot
)
TIMEOUT_REMOVE = Kind(
    "timeout_remove", "TIMEOUT_REMOVE", "5.5", lib.uring_timeout_remove, one, operation=CancelOperation
)
TIMEOUT_UPDATE = Kind(
    "timeout_update", "TIMEOUT_REMOVE", "5.11", lib.uring_timeout_update, updated, operation=UpdateOperation
)

CLOCKS: dict[int, int] = {
    time.CLOCK_MONOTONIC: 0,
    time.CLOCK_BOOTTIME: lib.IORING_TIMEOUT_BOOTTIME,
    time.CLOCK_REALTIME: lib.IORING_TIMEOUT_REALTIME,
}


class TimingBuilders(Builder):
    """Requests about time, and nothing."""

    _ring: Any  # the `struct io_uring *`

    @overload
    def nop(self, *, result: None = ..., **options: Unpack[Options]) -> Operation[None]: ...

    @overload
    def nop(self, *, result: int, **options: Unpack[Options]) -> Operation[int]: ...

    def nop(self, *, result: int | None = None, **options: Unpack[Options]) -> Operation[None] | Operation[int]:
        """Do nothing, and complete.

        Args:
            result: complete with this number instead: a negative errno is a failure, which is good for trying out how
                a program takes one.
            options: see Options.

        Returns:
            An Operation whose result is None, or `result`.

        Raises:
            TypeError, ValueError: `result` is no int, or does not fit 32 bits.
            Unsupported: `result` on a kernel before 6.10.

        Kernel: 5.1, `result` 6.10. Twin: `io_uring_prep_nop`.
        """
        if result is None:
            return self._start(NOP, None, (), pack(options) if options else 0)
        packed = reporting(options, "nop with a result")
        injected = number(result, "result", INT_MAX, low=-INT_MAX - 1)
        if not self._ring.features & lib.IORING_FEAT_RECVSEND_BUNDLE:  # of the same kernel; it has no bit of its own
            raise Unsupported("IORING_NOP_INJECT_RESULT", NOP_RESULT.since)
        return self._start(NOP_RESULT, None, (), packed, injected)

    def nop128(self, **options: Unpack[Options]) -> Operation[None]:
        """Do nothing with an SQE of 128 bytes, and complete.

        Args:
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            ValueError: a ring without `sqe128` or `sqe_mixed`.
            Unsupported: a kernel before 6.19.

        Kernel: 6.19. Twin: `io_uring_prep_nop128`.
        """
        return self._start(NOP128, None, (), pack(options))

    @overload
    def timeout(
        self,
        duration: float | Nanoseconds,
        count: int | None = ...,
        *,
        absolute: Literal[False] = ...,
        clock: int = ...,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[None]: ...

    @overload
    def timeout(
        self,
        duration: float | Nanoseconds,
        count: None = ...,
        *,
        absolute: bool = ...,
        clock: int = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[None]: ...

    @overload
    def timeout(
        self,
        duration: float | Nanoseconds,
        count: int,
        *,
        absolute: bool = ...,
        clock: int = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[bool]: ...

    def timeout(
        self,
        duration: float | Nanoseconds,
        count: int | None = None,
        *,
        absolute: bool = False,
        clock: int = time.CLOCK_MONOTONIC,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[None] | Operation[bool] | Multishot[None]:
        """Complete after a while, at a moment, or when other operations have completed.

        To limit how long one operation may take, use a chain's `timeout` or `Operation.with_timeout`.

        Args:
            duration: seconds, or exact Nanoseconds, from the submission; with `absolute` the moment itself.
            count: complete also when this many other completions have been posted since, whichever is first. With
                `multishot`: how often to expire; None is for ever.
            absolute: `duration` is a time of `clock`, as `time.clock_gettime` tells it; one in the past is over at
                once.
            clock: time.CLOCK_MONOTONIC; CLOCK_BOOTTIME, which goes on while the machine is suspended; or
                CLOCK_REALTIME, which can be set.
            multishot: expire every `duration`, which is more than 0. Not with `absolute`, nor in a chain.
            options: see Options; `skip_success` not with `multishot` or `count`.

        Returns:
            An Operation whose result is None when the time has come: that is a success, and a chain goes on (before
            5.16 it breaks). With `count` it is whether the count was reached first. With `multishot` a Multishot
            of None for each expiry.

        Raises:
            TypeError, ValueError: no duration, a negative one, no count, another clock, what does not go with
                `multishot`.
            Unsupported: another clock than CLOCK_MONOTONIC on a kernel before 5.15; from the end of a `multishot`
                before 6.4.

        Kernel: 5.4, other clocks 5.15, multishot 6.4. Twin: `io_uring_prep_timeout`.
        """
        packed = pack(options) if options else 0
        spec = timespec(duration)
        flags = CLOCKS.get(clock)
        if flags is None:
            raise ValueError(f"clock must be CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME, not {clock!r}")
        if flags and MKDIRAT.missing:  # of the same kernel as the other clocks
            raise Unsupported("IORING_TIMEOUT_BOOTTIME and IORING_TIMEOUT_REALTIME", "5.15")
        if multishot:
            return self._tick(spec, count, flags, absolute=absolute, options=options)
        if absolute:
            flags |= lib.IORING_TIMEOUT_ABS
        if (
            self._ring.features & lib.IORING_FEAT_CQE_SKIP
        ):  # one kernel younger than the flag, which has no bit of its own
            flags |= lib.IORING_TIMEOUT_ETIME_SUCCESS
        if count is None:
            return self._start(TIMEOUT, spec, (), packed, spec, 0, flags)
        packed = reporting(options, "timeout with a count")
        return self._start(TIMEOUT_COUNT, spec, (), packed, spec, number(count, "count", U32_MAX, low=1), flags)

    def _tick(self, spec: Any, count: int | None, flags: int, *, absolute: bool, options: Options) -> Multishot[None]:
        packed = reporting(options, "a multishot timeout")
        if absolute:
            raise ValueError("absolute does not go with multishot: a moment comes once")
        if not spec.tv_sec and not spec.tv_nsec:
            raise ValueError("the duration of a multishot timeout must be more than 0")
        times = 0 if count is None else number(count, "count", INT_MAX, low=1)
        flags |= lib.IORING_TIMEOUT_MULTISHOT
        operation: Multishot[None] = start(self, TIMEOUT_MULTISHOT, spec, (), spec, times, flags, options=packed)
        return operation

    def timeout_remove(self, target: Operation[Any], **options: Unpack[Options]) -> Operation[CancelResult]:
        """Cancel a timeout; it ends with OperationCancelled. `cancel` does the same for any operation.

        Args:
            target: a timeout of this ring.
            options: see Options; `skip_success` is refused, since the answer would be lost.

        Returns:
            An Operation whose result is a CancelResult: CANCELLED, or NOT_FOUND or ALREADY_RUNNING when it is too
            late.

        Raises:
            TypeError: not an Operation.
            ValueError: not a timeout, of another ring, or recorded in an open chain.

        Kernel: 5.5. Twin: `io_uring_prep_timeout_remove`.
        """
        packed = reporting(options, "timeout_remove")
        user_data = target_of(self, target, "TIMEOUT")
        return self._start(TIMEOUT_REMOVE, None, about_of(target), packed, user_data, 0)

    def timeout_update(
        self,
        target: Operation[Any],
        duration: float | Nanoseconds,
        *,
        absolute: bool = False,
        **options: Unpack[Options],
    ) -> Operation[bool]:
        """Give a timeout another time to expire at. Its clock stays; a count that it had no longer ends it.

        Args:
            target: a timeout of this ring.
            duration: seconds, or exact Nanoseconds, from now; with `absolute` a moment on the timeout's own clock.
            absolute: see `duration`.
            options: see Options; `skip_success` is refused, since the answer would be lost.

        Returns:
            An Operation whose result is whether the timeout was still there.

        Raises:
            TypeError: not an Operation, or no duration.
            ValueError: not a timeout, a multishot, of another ring, or recorded in an open chain; a negative duration.
            Unsupported: a kernel before 5.11.

        Kernel: 5.11. Twin: `io_uring_prep_timeout_update`.
        """
        packed = reporting(options, "timeout_update")
        spec = timespec(duration)
        if isinstance(target, Multishot):
            raise ValueError("a multishot timeout cannot be updated, since it would lose its count: make another one")
        user_data = target_of(self, target, "TIMEOUT", ends=False)
        if not self._ring.features & lib.IORING_FEAT_EXT_ARG:  # of the same kernel
            raise Unsupported("IORING_TIMEOUT_UPDATE", TIMEOUT_UPDATE.since)
        flags = lib.IORING_TIMEOUT_ABS if absolute else 0
        return self._start(TIMEOUT_UPDATE, spec, about_of(target), packed, spec, user_data, flags)
