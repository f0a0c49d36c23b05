"""The slots of a ring's table of registered files: who holds which, and when one may be emptied.

The kernel facts this rests on:

- A request looks its registered file up when it starts, not when it is queued: a link that waits for the one before
  it, a request behind a drain, one for a worker (fsync and its like always are) or for an SQPOLL thread does so later.
  From then on it keeps the file, whatever becomes of the slot.
- Emptying a slot (files_update with -1) takes effect at once, and does no harm to an empty one.
- With ALLOC the kernel takes an empty slot of a range that can be set. A close of a direct descriptor empties its slot
  at once, so the kernel may fill it again before the close's completion was looked at.

So a slot is emptied when nobody can name it any more: its RegisteredFile is closed or dropped, and no operation that
names it is left. Operations keep a Pin of the slot's Lease, whose end is noted in a list: destructors run anywhere, in
other threads too, and may not call the kernel. The ring works that list off at its next ordinary call, and the table
at its own. What the kernel fills again in the meantime gets a new Lease, and the old one has no say any more.
"""

from __future__ import annotations

import errno
import gc
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._native import ffi, lib
from .types import DRAIN, FORCE_ASYNC, FixedFile

if TYPE_CHECKING:
    from .ring import Ring

EMPTY = ffi.new("int[]", [-1])


class Token:
    """What operations share and keep: while one of them does, it lives. It keeps `what` in turn."""

    __slots__ = ("__weakref__", "what")

    def __init__(self, what: Any = None) -> None:
        self.what = what


class TokenSource:
    """Gives the same Token to all that want one, and tells whether anybody still keeps it."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: weakref.ref[Token] | None = None

    def token(self, what: Any = None) -> Token:
        """The token that is about, or a new one."""
        token = None if self._last is None else self._last()
        if token is None:
            token = Token(what)
            self._last = weakref.ref(token)
        return token

    def is_kept(self) -> bool:
        """Whether anybody keeps it."""
        return self._last is not None and self._last() is not None


class Pin:
    """Kept by a RegisteredFile that is open, and by each operation that names its slot; its end releases the slot.

    Attributes:
        lease: what it belongs to.
        late: for operations that look the file up at an unknown moment; their tokens keep this.
    """

    __slots__ = ("late", "lease")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.late = TokenSource()

    def __del__(self) -> None:
        lease = getattr(self, "lease", None)
        if lease is not None:
            slots = lease.slots
            slots.released.append(lease)
            if not slots.noted:
                slots.noted = True
                slots.notes.append(slots)


class Lease:
    """A slot in the hands of one RegisteredFile, or of its table.

    Attributes:
        slots, slot: which slot it is.
        reserved: whether the slot was empty when it was handed out, and may be filled and closed again and again.
        kept: whether the table keeps it: its RegisteredFiles come and go.
        pin: None when the RegisteredFile is closed.
        closing: a close_fd is queued.
        gone: a close_fd was successful: the kernel has emptied the slot.
        freed: the slot was given back.
        closes: how often a close_fd of a reserved slot was asked for.
    """

    __slots__ = ("closes", "closing", "freed", "gone", "kept", "pin", "reserved", "slot", "slots")

    def __init__(self, slots: Slots, slot: int, *, reserved: bool = False, kept: bool = False) -> None:
        self.slots, self.slot, self.reserved, self.kept = slots, slot, reserved, kept
        self.closing = self.gone = self.freed = False
        self.closes = 0
        self.pin: Pin | None = Pin(self)


class Filling:
    """The file that is in a slot now: what a multishot asks before it names the slot once more."""

    __slots__ = ("closes", "pin")

    def __init__(self, pin: Pin) -> None:
        self.pin, self.closes = pin, pin.lease.closes

    def fileno(self) -> int:
        """The slot.

        Raises:
            ValueError: the file was closed in it, or another one has taken its place.
        """
        lease = self.pin.lease
        changed = lease.gone or lease.closing or lease.closes != self.closes
        if changed or lease.slots.leases.get(lease.slot) is not lease:
            raise ValueError(f"registered file {lease.slot} is closed")
        return lease.slot


class Slots:
    """The books of one table. They do not know their ring, which keeps them.

    Attributes:
        size: slots in all.
        free: those that are empty and ours to choose; the last one is the next.
        kernel: the range where the kernel chooses, without a file of ours or with one.
        leases: by slot, the one that counts.
        released: leases whose slot may be given back; destructors append to it.
        notes: what the ring has to work off; these books are among it when `noted`.
        opening: its token, about the table, is kept by operations for which the kernel is still to choose a slot.
        searched: garbage was collected since the last lease.
        closed: the table takes nothing new.
    """

    __slots__ = (
        "closed",
        "free",
        "kernel",
        "leases",
        "noted",
        "notes",
        "opening",
        "released",
        "searched",
        "size",
        "working",
    )

    def __init__(self, size: int, notes: list[Any]) -> None:
        self.size = size
        self.notes = notes
        self.free: dict[int, None] = {}
        self.kernel = range(0)
        self.leases: dict[int, Lease] = {}
        self.released: list[Lease] = []
        self.opening = TokenSource()
        self.closed = self.noted = self.searched = self.working = False

    def share_out(self, kernel: range) -> None:
        """Let the kernel choose in a range; what is empty elsewhere is ours."""
        self.kernel = kernel
        free = (slot for slot in range(self.size - 1, -1, -1) if slot not in kernel and slot not in self.leases)
        self.free = dict.fromkeys(free)

    def hold(self, lease: Lease) -> None:
        """Let a lease count from now on, in place of the one before."""
        before = self.leases.get(lease.slot)
        self.leases[lease.slot] = lease
        self.searched = False
        if before is not None and before is not lease:
            before.pin = None

    def _let_down(self, ring: Ring) -> None:
        """The ring works off what was noted. May be repeated."""
        self.noted = False  # first: what is released from now on is noted again
        if ring._file_slots is self:  # else its slots are another table's now
            self.work_off(ring)

    def _dispose(self) -> None:
        """The ring has ended, and the kernel's table with it."""

    _forsake = _dispose

    def work_off(self, ring: Any) -> None:
        """Give back the slots that were released. A signal's handler may raise in here: the next call goes on."""
        if not self.released or self.working:
            return
        self.working = True
        try:
            while self.released:
                waiting = self.released[:]
                for lease in waiting:
                    self._give_back(lease, ring)
                del self.released[: len(waiting)]
        finally:
            self.working = False

    def make_room(self, ring: Ring, *, kernel: bool = False) -> None:
        """Work off, and when that leaves no slot to choose, what is only held by garbage, such as finished chains."""
        self.work_off(ring)
        # A slot outside of the kernel's range is leased or free.
        chosen = len(self.leases) + len(self.free) + len(self.kernel) - self.size
        full = chosen >= len(self.kernel) if kernel else not self.free
        if full and not self.searched:
            self.searched = True
            gc.collect()
            self.work_off(ring)

    def _give_back(self, lease: Lease, ring: Any) -> None:
        slot = lease.slot
        if lease.freed or self.leases.get(slot) is not lease:
            return
        # No call from here to the one that empties the slot: at its end a signal's handler may raise.
        lease.freed = True
        del self.leases[slot]
        try:
            if not lease.gone:
                lib.io_uring_register_files_update(ring._ring, slot, EMPTY, 1)
        finally:
            if slot not in self.kernel:
                self.free[slot] = None

    def is_idle(self) -> bool:
        """Whether no operation will look into the table any more, once it is closed."""
        released = set(map(id, self.released))
        leases = [*self.leases.values()]  # a signal's handler may give some back meanwhile
        return not self.opening.is_kept() and all(id(lease) in released for lease in leases)

    def close_all(self) -> None:
        """Close every RegisteredFile."""
        self.closed = True
        for lease in [*self.leases.values()]:
            lease.pin = None

    def usage(self) -> str:
        """How full it is, for messages."""
        where = f"slots {self.kernel.start} to {self.kernel.stop - 1}" if self.kernel else "none"
        return (
            f"of {self.size} slots {len(self.leases)} are in use; the kernel chooses among {where}, and of the others "
            f"{len(self.free)} are free"
        )


class RegisteredFile(FixedFile):
    """A file in the ring's table of registered files, by its index there; made by a RegisteredFiles table.

    Builders take it wherever they take a descriptor. Its slot is emptied when it is closed or dropped, and all
    operations that name it are complete. Use it as a context manager, or `close` it, to be sure of the moment.
    """

    _table: FileTable
    _lease: Lease

    def __new__(cls, table: FileTable, lease: Lease) -> RegisteredFile:
        """The file of a lease."""
        self = super().__new__(cls, lease.slot)
        self._table = table
        self._lease = lease
        return self

    def __repr__(self) -> str:
        return f"<RegisteredFile {int(self)}{', closed' if self.closed else ''}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a RegisteredFile belongs to its ring, and is neither copied nor pickled")

    @property
    def closed(self) -> bool:
        """Whether it was closed, its table was, or another file has taken its place."""
        return self._lease.pin is None or self._table.closed

    @property
    def table(self) -> FileTable:
        """The table that it is in."""
        return self._table

    def close(self) -> None:
        """Let go of the slot. It is emptied when the operations that name it are complete.

        Closing twice does nothing, nor does it when the table or the ring is closed.

        Raises:
            WrongThread, Forked: this is not the ring's owner.

        Kernel: 5.5. Twin: `io_uring_register_files_update`.
        """
        if self.closed:
            return
        self._table._ring._check()
        self._lease.pin = None
        self._table._slots.work_off(self._table._ring)

    def __enter__(self) -> RegisteredFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        lease = getattr(self, "_lease", None)
        if lease is not None and not lease.kept:
            lease.pin = None

    def _pin(self, ring: Any, options: int, *, at_once: bool = False) -> Pin | Token:
        """What an operation of `ring` that names this has to keep; see file_of."""
        lease = self._lease
        pin = lease.pin
        if pin is None:
            raise ValueError(f"registered file {int(self)} is closed")
        if lease.closing:
            raise ValueError(f"registered file {int(self)} is being closed by a close_fd")
        if ring is None:
            return pin
        if ring is not self._table._ring:
            raise ValueError(f"registered file {int(self)} belongs to another ring")
        if not at_once or options & (DRAIN | FORCE_ASYNC) or ring._recording is not None or ring._params.sqpoll:
            return pin.late.token(pin)
        return pin


class FileTable:
    """What builders know of a table of registered files: it is what `direct=` takes; see RegisteredFiles."""

    _ring: Ring
    _slots: Slots

    @property
    def closed(self) -> bool:
        """Whether the table was closed, or its ring."""
        return self._slots.closed or self._ring.closed

    def _check(self) -> None:
        self._ring._check()
        if self._slots.closed:
            raise ValueError("the table of registered files is closed")

    def reserve(self) -> RegisteredFile:
        """Take an empty slot, for `direct=`: a chain can use the file before it is opened.

            with table.reserve() as slot:
                with ring.chain():
                    ring.openat(path, direct=slot)
                    ring.read(slot, buffer, 0)
                    ring.close_fd(slot)

        It may be filled and closed again as often as you like; the slot is given back when this is closed or dropped,
        and all operations that name it are complete. An operation that has opened it holds it as its result, and the
        operations of a chain hold one another until they are collected: better close it.

        Returns:
            The slot, as a RegisteredFile that nothing is in yet.

        Raises:
            OSError: no slot is free outside of the kernel's range (ENFILE).
            ValueError: the table is closed.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
        """
        self._check()
        slots = self._slots
        slots.make_room(self._ring)
        if not slots.free:
            raise OSError(errno.ENFILE, f"no slot to reserve: {slots.usage()}")
        return self._take(next(reversed(slots.free)))

    def _take(self, slot: int) -> RegisteredFile:
        slots = self._slots
        del slots.free[slot]  # no call up to the `try`, see work_off
        try:
            return self._hand_out(Lease(slots, slot, reserved=True))
        except BaseException:
            if slot not in slots.leases:
                slots.free[slot] = None
            raise

    def reserve_pair(self) -> tuple[RegisteredFile, RegisteredFile]:
        """Take two empty slots that lie side by side, for `pipe(direct=...)`: as `reserve` does for one.

        Raises:
            OSError: there are no such slots outside of the kernel's range (ENFILE).
            ValueError, WrongThread, Forked, RingClosed: as `reserve`.
        """
        self._check()
        slots = self._slots
        slots.work_off(self._ring)
        first = min((slot for slot in slots.free if slot + 1 in slots.free), default=None)
        if first is None:
            raise OSError(errno.ENFILE, f"no two slots side by side to reserve: {slots.usage()}")
        return self._take(first), self._take(first + 1)

    def adopt(self, index: int) -> RegisteredFile:
        """Take over a file that somebody else put into the table: another ring's `msg_ring_fd`, or a C call.

        Args:
            index: its slot; for `msg_ring_fd` with ALLOC the `res` of the completion that comes with it.

        Raises:
            TypeError, ValueError: no index of this table, one that is held by a RegisteredFile; the table is closed.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
        """
        self._check()
        slots = self._slots
        slot = self._index(index)
        slots.work_off(self._ring)
        if slot in slots.leases:
            raise ValueError(f"slot {slot} is held by a RegisteredFile already")
        return self._adopt(slot)

    def _index(self, index: Any) -> int:
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"an index must be an int, not {type(index).__name__}")
        if not 0 <= index < self._slots.size:
            raise ValueError(f"an index of this table is from 0 to {self._slots.size - 1}, not {int(index)}")
        return int(index)

    def _adopt(self, slot: int) -> RegisteredFile:
        """Hold a slot that the kernel has filled. May be repeated: the last one counts."""
        slots = self._slots
        if slot in slots.free:
            del slots.free[slot]
        return self._hand_out(Lease(slots, slot))

    def _hand_out(self, lease: Lease) -> RegisteredFile:
        """The one file of a new lease. It has it before that counts: whatever happens, the slot is given back."""
        file = RegisteredFile(self, lease)
        self._slots.hold(lease)
        if self._slots.closed:  # the file has arrived too late
            lease.pin = None
        return file

    def _direct(self, ring: Any) -> RegisteredFile | None:
        """Where a request with this as `direct=` puts its file: None where the kernel chooses."""
        if ring is not self._ring:
            raise ValueError("the table of registered files belongs to another ring")
        self._check()
        if not self._slots.kernel:
            return self.reserve()
        self._slots.make_room(self._ring, kernel=True)
        return None
