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
import sys
from operator import length_hint
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import fused
from ._native import ffi, lib
from .completion import BUFFER, MORE, NOTIF, Completion
from .errors import refusal
from .operation import Kind, Operation, T
from .shots import Shots
from .types import SKIP_SUCCESS

if TYPE_CHECKING:
    from .params import Params

ROOM = 256
OUTCOME = struct.Struct("=iiI")
OUTCOME_SIZE = OUTCOME.size
unpack = OUTCOME.iter_unpack
SPECIAL = MORE | NOTIF | BUFFER
MARK: int = lib.URING_MARK
FULL, NO_BIG_SQE = fused.FULL, fused.NO_BIG_SQE
REFUSALS = frozenset((fused.WRONG_THREAD, fused.FORKED, fused.CLOSED))
# What a wait answers when nothing is wrong: go on, or look at the clock.
PASSING = frozenset((-errno.EINTR, -errno.EAGAIN, -errno.EBUSY, -errno.ETIME))


class Flight:
    """The operations of a ring that the kernel has, and those that are complete and not handed out yet."""

    # What every request looks at. As slots, since Python finds the attributes of an instance fast only as long as they
    # are no more than 30.
    __slots__ = (
        "_batch",
        "_bulk",
        "_called",
        "_copied",
        "_dropped",
        "_due",
        "_early",
        "_file_slots",
        "_foreign",
        "_groups",
        "_has_skipped",
        "_hidden",
        "_multishots",
        "_native",
        "_notes",
        "_outcomes",
        "_outcomes_left",
        "_params",
        "_pending",
        "_ready",
        "_recording",
        "_registered_buffers",
        "_resumed",
        "_ring",
        "_table",
        "_tags",
        "closed",
    )

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
        self._early: list[tuple[int, int, int]] = []  # what came for an operation that is still being made
        self._outcomes_left: Any = None  # of the batch that is being handed out
        self._resumed = -1  # the position in it where an interruption struck
        self._groups: dict[int, Any] = {}  # the groups of provided buffers, which pin their memory
        self._multishots: dict[Shots, None] = {}  # those that have not ended, in flight or not
        self._pending: dict[Shots, None] = {}  # those of them that _work_off has to look at
        self._notes: list[Any] = []  # given up by destructors, in whichever thread: Shots, and Slots of files
        self._bulk: list[Any] = []  # bulk calls that run, and those whose end was interrupted
        self._batch = 0
        self._dropped: list[Any] = []  # memory of operations that were handed out, until all that came with them are
        self._recording: Any = None  # the chain that is open
        self._has_skipped = False  # whether a success was to be kept quiet, after which the kernel drains no more
        self._file_slots: Any = None  # the books of the table of registered files
        self._tags: dict[int, Any] = {}  # by tag: registered memory and files that the kernel has not let go of yet
        self._registered_buffers: Any = None  # what the kernel's table of buffers has pinned

    def _check(self) -> None:
        code = lib.uring_check(self._native)
        if code:
            raise refusal(code)

    def _is_queued(self, operation: Operation[Any]) -> bool:
        return not self.closed and bool(lib.uring_slot_is_queued(self._native, operation._slot))

    def _user_data(self, operation: Operation[Any]) -> int:
        return 0 if self.closed else int(lib.uring_slot_user_data(self._native, operation._slot))

    def _start(self, kind: Kind[T], memory: Any, about: tuple[Any, ...], options: int, *arguments: Any) -> Operation[T]:  # noqa: PLR0912
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
        slot = -1
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
            table = self._table
            if self.closed and isinstance(error, IndexError):  # by such a handler
                raise refusal(lib.URING_CLOSED) from None
            if slot < 0:
                slot = self._native.last_slot
            if slot >= 0:
                if not table[slot : slot + 1]:
                    table += [None] * self._native.slot_count
                if table[slot] is None or table[slot] is operation:
                    table[slot] = operation
                    operation._slot = slot
            # C refused an argument, and nothing is queued; or the slot was beyond the table's end, and all is well.
            if slot < 0 or table[slot] is not operation or not isinstance(error, IndexError):
                self._adopt(operation)
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
                table = self._table  # as in _start
                if self.closed and isinstance(error, IndexError):
                    raise refusal(lib.URING_CLOSED) from None
                if slot < 0:
                    slot = self._native.last_slot
                if slot >= 0:
                    if not table[slot : slot + 1]:
                        table += [None] * self._native.slot_count
                    if table[slot] is None or table[slot] is operation:
                        table[slot] = operation
                        operation._slot = slot
                if slot < 0 or table[slot] is not operation or not isinstance(error, IndexError):
                    self._adopt(operation)
                    raise

    def _adopt(self, operation: Operation[Any]) -> None:
        """Look for the slot of an operation whose making was interrupted by a handler that has queued others itself."""
        table = self._table
        if operation in table:
            return
        for slot in range(self._native.slot_count):
            if not (slot < len(table) and table[slot]) and lib.uring_slot_user_data(self._native, slot):
                table.extend([None] * (slot + 1 - len(table)))
                table[slot] = operation
                operation._slot = slot
                return

    def _refused(self, kind: Kind[Any], answer: int) -> Exception:
        if answer == NO_BIG_SQE and kind.opcode.endswith("128"):
            return ValueError(f"{kind.name} needs a ring with sqe128 or sqe_mixed")
        if answer not in REFUSALS:
            return OSError(-answer, f"{os.strerror(-answer)} [{kind.name}]")
        return refusal(answer)

    def _make_room(self, count: int) -> None:
        """Submit until `count` SQEs are free."""
        while lib.uring_slot_space(self._native) < count:
            code = self._enter(0, 0)
            if code < 0 and code not in (-errno.EAGAIN, -errno.EBUSY, -errno.EINTR, -errno.ETIME):
                raise OSError(-code, f"{os.strerror(-code)} [submit]")
            self._check()  # a callback may have closed the ring
            if self._params.sqpoll:
                lib.io_uring_sqring_wait(self._ring)

    def _not_recording(self) -> None:
        if self._recording is not None:
            raise RuntimeError("a chain is open: its links are queued when its block ends")

    def _is_queueing(self) -> bool:
        """Whether a chain is being written, so that no other SQE may come between its links."""
        return self._recording is not None and not self._recording._open

    def _enter(self, wanted: int, timeout_ns: int) -> int:
        """Submit, wait for `wanted` CQEs (timeout_ns < 0: without limit), hand out what came.

        Returns a count or a negative errno. Callbacks have run when it returns.
        """
        return self._enter_with(lib.uring_wait, self._native, wanted, timeout_ns)

    def _enter_with(self, call: Any, native: Any, *arguments: int) -> int:  # noqa: PLR0912  # each try has its signal
        raised: BaseException | None = None
        code: int = 0
        attempts = 0
        # This variable also tells _is_handing_out; and each look into C costs as much as a completion.
        filled = native.filled
        if not filled:
            if self._early and self._hand_out_early():
                return 0
            if (self._pending or self._notes) and self._work_off() and arguments:
                arguments = 0, *arguments[1:]  # what was waited for may have ended by that
            try:
                code = call(native, *arguments)
            except BaseException as error:  # a signal's handler, as the call returned
                raised = error
            filled = native.filled
        elif self._is_handing_out():
            return self._enter_amid(call, native, *arguments)
        # Else a second signal struck while the first was dealt with: what it left comes first.
        while filled:
            try:
                while filled:  # twice, as a signal's handler may raise at a loop's end too
                    try:
                        self._hand_out(filled)
                        native.filled = filled = 0
                        self._outcomes_left = None
                        self._batch += 1
                        del self._dropped[:]
                    except BaseException as error:
                        attempts += 1
                        if isinstance(error, IndexError) and len(self._table) < native.slot_count:
                            self._table += [None] * native.slot_count  # of an operation that is still being made
                            continue
                        raised = error
                        if attempts == 1000:  # no signal storm: a fault of ours, better shown than repeated for ever
                            native.filled = filled = 0
                            self._outcomes_left = None
                            self._batch += 1
            except BaseException as error:
                raised = error
        if self._due or self._pending or self._notes:
            raised = self._follow_up() or raised
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

    def _is_handing_out(self) -> bool:
        """Whether we are called by a destructor or signal's handler that struck while completions are handed out."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is _ENTERING and frame.f_locals["self"] is self and frame.f_locals.get("filled"):
                return True
            frame = frame.f_back
        return False

    def _enter_amid(self, call: Any, native: Any, *arguments: int) -> int:
        """Enter from there: to submit, since more completions are taken in only when the present ones are handed out.

        Raises:
            RuntimeError: this is to wait, which would never end.
        """
        if (arguments and arguments[0]) or lib.uring_check(native):
            raise RuntimeError("a destructor or a signal's handler cannot wait while its ring hands out completions")
        code: int = call(native, *arguments)
        if code < 0 and lib.uring_slot_queued(self._native) > 0:
            raise OSError(-code, f"{os.strerror(-code)} [submit]")
        return code

    def _follow_up(self) -> BaseException | None:
        """Do what completions ask for that were handed out; the first exception of that, or None."""
        raised: BaseException | None = None
        try:
            self._work_off()
        except BaseException as error:
            raised = error
        if self._due and self._recording is None:  # what a callback queues is no link of an open chain
            raised = self._call_back() or raised
        try:
            return raised
        finally:
            raised = None  # no cycle with this frame, as in _enter_with

    def _hand_out(self, count: int) -> None:
        """Give each copied completion to its operation. May be interrupted anywhere and called again."""
        table, ready, drop = self._table, self._ready, self._dropped.append
        # After an interruption go on with the one that was being handed out.
        self._resumed = -1 if self._outcomes_left is None else count - 1 - length_hint(self._outcomes_left)
        first = max(self._resumed, 0) * OUTCOME_SIZE
        self._outcomes_left = outcomes = unpack(self._copied[first : count * OUTCOME_SIZE])
        for slot, res, flags in outcomes:
            operation = table[slot] if slot >= 0 else None
            if operation is None or operation._extra is not None or flags & SPECIAL:
                position = count - 1 - length_hint(outcomes)  # asked only here: counting costs every completion
                self._hand_out_special(operation, slot, res, flags, position)
            else:
                operation._flags = flags
                operation._res = res
                if operation._memory is not None:
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
            if position != self._resumed and self._is_making():
                if not flags & MORE:
                    lib.uring_slot_hold(self._native, slot)
                self._early.append((slot, res, flags))
            return  # else it was handled right before an interruption
        if isinstance(operation, Shots):
            operation._take_in(key, slot, res, flags)
            return
        self._dropped.append(operation._memory)
        if flags & NOTIF:
            operation._notified(res)
            self._let_go(operation)
            return
        if flags & MORE and not operation._kind.zero_copy:
            operation._shot(key, res, flags, position)
            return
        if flags & BUFFER:
            operation._picked(res, flags)
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

    def _is_making(self) -> bool:
        """Whether the code that we interrupt has written an SQE, and its operation is not in the table yet."""
        frame: FrameType | None = sys._getframe(1)
        called = None
        while frame is not None:
            # One that waits for room has written nothing.
            if frame.f_code in _MAKING and called not in _BEFORE and frame.f_locals["self"] is self:
                operation = frame.f_locals.get("operation")
                if operation is not None and operation not in self._table:
                    return True
            called, frame = frame.f_code, frame.f_back
        return False

    def _hand_out_early(self) -> bool:
        """Hand out what came for operations that were still being made; whether there was any that is made by now."""
        made = [outcome for outcome in self._early if any(self._table[outcome[0] : outcome[0] + 1])]
        for outcome in made:
            slot, res, flags = outcome
            self._hand_out_special(self._table[slot], slot, res, flags, -len(self._early))
            self._early.remove(outcome)
            if not flags & MORE:
                lib.uring_slot_release(self._native, slot)
        return bool(made)

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

    def _work_off(self) -> bool:
        """Request multishots again, end them, cancel what was given up. From ordinary code in the ring's thread.

        Returns:
            Whether one of them has ended or starves, so that there may be nothing left to wait for.
        """
        native = self._native
        if lib.uring_check(native) or native.filled or self._is_working_off() or self._is_queueing():
            return False
        ended = False
        while self._notes:
            self._notes[0]._let_down(self)
            del self._notes[0]
        if self._pending:
            for operation in [*self._pending]:
                operation._settle()
                ended = ended or operation._res is not None or operation.starved
        return ended

    def _is_working_off(self) -> bool:
        """Whether we are called by a destructor or signal's handler that struck inside _work_off."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code is _WORKING and frame.f_locals["self"] is self:
                return True
            frame = frame.f_back
        return False

    def _has_room(self) -> bool:
        """Whether an SQE is free, after a submit if need be. Takes nothing in, unlike _make_room."""
        if not lib.uring_slot_space(self._native):
            lib.uring_submit(self._native)
            if self._params.sqpoll:
                lib.io_uring_sqring_wait(self._ring)
        return bool(lib.uring_slot_space(self._native) > 0)

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
            first = None  # no cycle with this frame, as in _enter_with

    def _reap_ready(self) -> None:
        """Take in what is ready, without submitting and without blocking."""
        self._enter_with(lib.uring_reap, self._native)

    def _tend_groups(self) -> bool:
        """Let each group give back what was dropped, and start again what waits for that; see ProvidedBuffers._tend."""
        again = False
        for group in [*self._groups.values()]:
            again |= group._tend()
        return again

    def _taken(self, operation: Operation[Any]) -> None:
        """An operation was handed out by itself. Safe from any thread."""
        self._ready.pop(operation, None)


_ENTERING = Flight._enter_with.__code__
_WORKING = Flight._work_off.__code__
_MAKING = (Flight._start.__code__, Flight._write.__code__)
_BEFORE = (Flight._write.__code__, Flight._make_room.__code__)
