"""Operations in flight: queueing them, taking completions in, handing them out. The inner half of Ring.

What keeps it safe:

- The table of operations in flight owns them (see operation.py). An operation is in it as soon as its SQE is written,
  and leaves it when its last CQE is handled.
- A signal handler may raise between any two steps. Reaping copies completions into an array of ours, and handing them
  out from there can be repeated from its start: a completion that was handled is no longer in the table, so nothing
  is lost and nothing counted twice, wherever KeyboardInterrupt strikes.
- The queue belongs to one thread; the fused calls compare it in C. A fork's child shares the queue with its parent
  and is refused by the same comparison.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from operator import length_hint
from typing import TYPE_CHECKING, Any

from . import fused
from ._native import ffi, lib
from .completion import MORE, NOTIF, Completion
from .errors import RingClosed, refusal
from .operation import Kind, Operation, T
from .types import SKIP_SUCCESS, Nanoseconds, nanoseconds

if TYPE_CHECKING:
    from .params import Params

ROOM = 256
OUTCOME = struct.Struct("=iiI")
OUTCOME_SIZE = OUTCOME.size
unpack = OUTCOME.iter_unpack
SPECIAL = MORE | NOTIF
MARK: int = lib.URING_MARK
FULL, NO_BIG_SQE = fused.FULL, fused.NO_BIG_SQE
REFUSALS = frozenset((fused.WRONG_THREAD, fused.FORKED, fused.CLOSED))
# What a wait answers when nothing is wrong: go on, or look at the clock.
PASSING = frozenset((-errno.EINTR, -errno.EAGAIN, -errno.EBUSY, -errno.ETIME))


class Flight:
    """The operations of a ring that the kernel has, and those that are complete and not handed out yet."""

    _params: Params
    _ring: Any
    _native: Any
    closed: bool

    def _take_off(self) -> None:
        """Start with nothing in flight, on the ring that was set up, for the calling thread."""
        self._native = fused.attach(self._ring, ROOM, extra=self._params.cqe32 or self._params.cqe_mixed)
        self._outcomes = ffi.new("struct uring_outcome[]", ROOM)
        self._native.outcomes = self._outcomes
        self._copied = ffi.buffer(self._outcomes)
        self._table: list[Operation[Any] | None] = []  # by slot
        self._ready: dict[Operation[Any], None] = {}  # complete, in order
        self._foreign: dict[tuple[int, int], Completion] = {}  # the same of requests queued through c_ring
        self._due: dict[Operation[Any], None] = {}  # complete, and to be handed to their callbacks
        self._called = 0  # operations that were handed to their callbacks
        self._hidden: set[Operation[Any]] = set()  # in flight, and nobody waits for them
        self._batch = 0
        self._dropped: list[Any] = []  # memory of operations that were handed out, until all that came with them are
        self._recording: Any = None  # the chain that is open
        self._tags: dict[int, Any] = {}  # by tag: registered memory that the kernel has not let go of yet
        self._registered_buffers: Any = None  # what the kernel's table of buffers has pinned

    def _check(self) -> None:
        code = lib.uring_check(self._native)
        if code:
            raise refusal(code)

    def _is_queued(self, operation: Operation[Any]) -> bool:
        return not self.closed and bool(lib.uring_slot_is_queued(self._native, operation._slot))

    def _user_data(self, operation: Operation[Any]) -> int:
        return 0 if self.closed else int(lib.uring_slot_user_data(self._native, operation._slot))

    def _start(self, kind: Kind[T], memory: Any, about: tuple[Any, ...], options: int, *arguments: Any) -> Operation[T]:
        """Make an operation and write its SQE, or record it for the chain that is open.

        Everything is in line here: this and `_hand_out` are what a request costs.
        """
        if options and options & SKIP_SUCCESS and self._recording is None:
            raise ValueError("skip_success belongs to a link of a chain that is followed by one that reports")
        make = kind.operation
        operation = make()
        operation._ring = self  # type: ignore[assignment]  # a Ring is all that inherits from this
        operation._kind = kind
        operation._memory = memory
        operation._about = about
        operation._res = operation._extra = None
        if self._recording is not None:
            operation._slot = -1
            self._recording._record(operation, options, arguments)
            return operation
        try:
            call = kind.call
            if arguments:
                slot = call(self._native, 0, options, *arguments)
            else:
                slot = call(self._native, 0, options)
            if slot >= 0:
                self._table[slot] = operation
                operation._slot = slot
                return operation
        except BaseException as error:
            # No call before the operation is in the table: its start and end are where a signal's handler may raise.
            table, slot = self._table, self._native.last_slot
            if slot >= 0:
                if not table[slot : slot + 1]:
                    table += [None] * self._native.slot_count
                if table[slot] is None or table[slot] is operation:
                    table[slot] = operation
                    operation._slot = slot
            # C refused an argument, and nothing is queued; or the slot was beyond the table's end, and all is well.
            if slot < 0 or table[slot] is not operation or not isinstance(error, IndexError):
                raise
        if slot < 0:
            self._write(operation, options, arguments, slot)
        return operation

    def _write(self, operation: Any, options: int, arguments: tuple[Any, ...], slot: int = FULL) -> None:
        """Write an operation's SQE; `slot` is the answer to an attempt before."""
        kind = operation._kind
        while slot < 0:
            if slot != FULL:
                raise self._refused(kind, slot)
            self._make_room(3 if kind.opcode.endswith("128") else 1)
            try:
                slot = kind.call(self._native, 0, options, *arguments)
                if slot >= 0:
                    self._table[slot] = operation
                    operation._slot = slot
            except BaseException as error:
                table, slot = self._table, self._native.last_slot  # as in _start
                if slot >= 0:
                    if not table[slot : slot + 1]:
                        table += [None] * self._native.slot_count
                    if table[slot] is None or table[slot] is operation:
                        table[slot] = operation
                        operation._slot = slot
                if slot < 0 or table[slot] is not operation or not isinstance(error, IndexError):
                    raise

    def _refused(self, kind: Kind[Any], answer: int) -> Exception:
        if answer == NO_BIG_SQE and kind.opcode.endswith("128"):
            return ValueError(f"{kind.name} needs a ring with sqe128 or sqe_mixed")
        if answer not in REFUSALS:
            return OSError(-answer, f"{os.strerror(-answer)} [{kind.name}]")
        return refusal(answer)

    def _make_room(self, count: int) -> None:
        """Submit until `count` SQEs are free."""
        while self._native.filled or lib.io_uring_sq_space_left(self._ring) < count:
            code = self._enter(0, 0)
            if code < 0 and code not in (-errno.EAGAIN, -errno.EBUSY, -errno.EINTR, -errno.ETIME):
                raise OSError(-code, f"{os.strerror(-code)} [submit]")
            self._check()  # a callback may have closed the ring
            if self._params.sqpoll:
                lib.io_uring_sqring_wait(self._ring)

    def _not_recording(self) -> None:
        if self._recording is not None:
            raise RuntimeError("a chain is open: its links are queued when its block ends")

    def _enter(self, wanted: int, timeout_ns: int) -> int:
        """Submit, wait for `wanted` CQEs (timeout_ns < 0: without limit), hand out what came.

        Returns a count or a negative errno. Callbacks have run when it returns.
        """
        return self._enter_with(lib.uring_wait, self._native, wanted, timeout_ns)

    def _enter_with(self, call: Any, native: Any, *arguments: int) -> int:
        raised: BaseException | None = None
        code: int = 0
        if native.filled:  # a second signal struck while the first was dealt with
            self._hand_out(native.filled)
            native.filled = 0
            self._batch += 1
            del self._dropped[:]
        try:
            code = call(native, *arguments)
        except BaseException as error:  # a signal's handler, as the call returned
            raised = error
        attempts = 0
        filled = native.filled  # each look into C costs as much as a completion
        while filled:
            try:
                while filled:  # twice, as a signal's handler may raise at a loop's end too
                    try:
                        self._hand_out(filled)
                        native.filled = filled = 0
                        self._batch += 1
                        del self._dropped[:]
                    except BaseException as error:
                        raised = error
                        attempts += 1
                        if attempts == 100:  # no signal storm: a fault of ours, better shown than repeated for ever
                            native.filled = filled = 0
            except BaseException as error:
                raised = error
        if self._due and self._recording is None:  # what a callback queues is no link of an open chain
            raised = self._call_back() or raised
        if raised is not None:
            try:
                raise raised
            finally:
                raised = None  # no cycle with this frame: that would keep memory of the callers until it is collected
        if code < 0 and code in REFUSALS:
            refused = lib.uring_check(native)
            if refused:
                raise refusal(refused)
        return code

    def _hand_out(self, count: int) -> None:
        """Give each copied completion to its operation. May be interrupted anywhere and started again."""
        table, ready, drop = self._table, self._ready, self._dropped.append
        outcomes = unpack(self._copied[: count * OUTCOME_SIZE])
        for slot, res, flags in outcomes:
            operation = table[slot] if slot >= 0 else None
            if operation is None or operation._extra is not None or flags & SPECIAL:
                position = count - 1 - length_hint(outcomes)  # asked only here: counting costs every completion
                self._hand_out_special(operation, slot, res, flags, position)
            else:
                operation._flags = flags
                operation._res = res
                drop(operation._memory)  # its destructor may use the ring, so not before all are handed out
                operation._memory = None
                ready[operation] = None
                table[slot] = None

    def _hand_out_special(self, operation: Any, slot: int, res: int, flags: int, position: int) -> None:
        """The same for what is not one completion of one plain operation. Each step may be repeated."""
        key = (self._batch, position)
        if slot < 0:
            user_data = int(self._native.completions[position].user_data)
            if user_data >> 56 == MARK:
                self._tag_came(user_data)
            else:
                self._foreign[key] = Completion(user_data, res, flags)
            return
        if operation is None:
            return  # handled before an interruption
        self._dropped.append(operation._memory)
        if flags & NOTIF:
            self._let_go(operation)
            return
        if flags & MORE and not operation._kind.zero_copy:
            operation._more().shots[key] = Completion(0, res, flags)
            return
        extra = operation._extra
        if extra is not None and extra.chain is not None and extra.chain._holds_back(operation, res, flags):
            return
        operation._flags = flags
        operation._res = res
        self._finish(operation, keep=bool(flags & MORE))

    def _tag_came(self, tag: int) -> None:
        """The kernel has let go of a registered resource. May be repeated."""
        resource = self._tags.get(tag)
        if resource is not None:
            self._dropped.append(resource)
            resource._let_go(self, tag)
            del self._tags[tag]

    def _finish(self, operation: Operation[Any], *, keep: bool = False) -> None:
        """Deliver an operation whose result is known. With `keep` its memory is the kernel's until a notification."""
        extra = operation._extra
        if extra is not None:
            if extra.chain is not None:
                extra.chain._took(operation)
            if extra.abandoned:
                operation._dispose()
            elif extra.callbacks:
                self._due[operation] = None
            elif not extra.hidden:
                self._ready[operation] = None
        else:
            self._ready[operation] = None
        if keep:
            self._hidden.add(operation)
        else:
            self._let_go(operation)

    def _let_go(self, operation: Operation[Any]) -> None:
        """The kernel is done with its memory; its slot is free."""
        operation._memory = None
        self._hidden.discard(operation)
        slot = operation._slot
        if slot >= 0 and self._table[slot] is operation:
            self._table[slot] = None

    def _release(self, operation: Operation[Any]) -> None:
        """The same when no CQE of it will come."""
        if operation._slot >= 0 and self._table[operation._slot] is operation:
            lib.uring_slot_release(self._native, operation._slot)
        self._let_go(operation)

    def _call_back(self) -> BaseException | None:
        """Run the callbacks that are due; the first exception of one, or None."""
        first: BaseException | None = None
        while self._due:
            for operation in self._due:  # noqa: B007  # the first one, without a call
                break
            extra = operation._extra
            callbacks = [] if extra is None else extra.callbacks
            del self._due[operation]
            self._called += extra is None or not extra.hidden
            try:
                while callbacks:
                    try:
                        while callbacks:
                            # No call takes it off: at the end of one a signal's handler may raise.
                            callback = callbacks[0]
                            del callbacks[0]
                            callback(operation)
                    except BaseException as error:
                        first = first or error
            finally:
                if callbacks:
                    self._due[operation] = None
        try:
            return first
        finally:
            first = None  # no cycle of the exception with this frame, as in _enter_with

    def _reap_ready(self) -> None:
        """Take in what is ready, without submitting and without blocking."""
        self._enter_with(lib.uring_reap, self._native)

    def _visible(self) -> int:
        """How many operations can still be handed out."""
        visible: int = self._native.in_flight - len(self._hidden) + len(self._ready) + len(self._foreign)
        return visible

    def _has_foreign(self) -> bool:
        """Whether SQEs were queued through c_ring: nobody knows how many completions those will bring."""
        native = self._native
        return bool(native.submitted + lib.io_uring_sq_ready(self._ring) > native.managed)

    def _wait_until(self, n: int, operation: Operation[Any] | None, limit: int | None) -> None:
        """Enter until `n` are ready, or `operation` is complete, or `limit` nanoseconds have passed; at least once."""
        deadline = None if limit is None else time.monotonic_ns() + limit
        called = self._called
        while True:
            # What a callback took counts: otherwise a program of callbacks alone would wait for ever.
            wanted = n - len(self._ready) - len(self._foreign) - (self._called - called)
            if operation is not None:
                wanted = 1
            elif wanted < 0:
                wanted = 0
            rest = -1 if deadline is None else max(0, deadline - time.monotonic_ns())
            code = self._enter(wanted if rest else 0, rest)
            if code < 0 and code not in PASSING:
                raise OSError(-code, f"{os.strerror(-code)} [wait]")
            if operation is not None:
                if operation._res is not None:
                    return
            elif len(self._ready) + len(self._foreign) + self._called - called >= n:
                return
            elif not self._visible() and not self._has_foreign():
                return  # a callback has taken or abandoned what was waited for
            # Only the clock says that time is up: a wait may end early when another request's timeout fires.
            if deadline is not None and time.monotonic_ns() >= deadline:
                return

    def _wait_for(self, operation: Operation[Any], timeout: float | Nanoseconds | None) -> None:
        """Wait until one operation is complete; TimeoutError when the time is up first."""
        if self.closed:
            raise RingClosed("the ring is closed")
        self._not_recording()
        self._wait_until(0, operation, None if timeout is None else nanoseconds(timeout))
        if operation._res is None:
            raise TimeoutError(errno.ETIMEDOUT, f"{operation.description()} is not complete after {timeout} seconds")

    def _taken(self, operation: Operation[Any]) -> None:
        """An operation was handed out by itself. Safe from any thread."""
        self._ready.pop(operation, None)
