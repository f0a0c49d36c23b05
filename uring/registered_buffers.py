"""A ring's table of registered buffers, lent slot by slot. How it works inside is in buffer_table.py."""

from __future__ import annotations

import errno
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from ._native import lib
from .buffer_pins import MOST, PAGE, RELEASE, SIZE_MAX, Pin, pool
from .buffer_slots import BufferSlot
from .buffer_table import BufferTable, copies
from .builders.arguments import number
from .errors import os_error
from .flight import PASSING
from .operation import Operation, operation_of
from .ring import Ring
from .types import Nanoseconds, nanoseconds


class RegisteredBuffers(BufferTable):
    """A ring's table of registered buffers: memory that the kernel has pinned once, for all requests that use it.

    Slots are lent by `acquire`. The buffers are held in place: a bytearray cannot be resized and an mmap not be closed
    until the kernel has let go of them. Memory that is read-only to Python (bytes) is lent read-only.

    Requests that use a slot may still be queued or in flight when the table is closed. The kernel's table then stays
    until the last of them is complete, and closing the ring ends it in any case.

    Args:
        ring: a ring without a table.
        buffers: objects with the buffer protocol, 1 to 16384 of them (1024 before 5.13), each 1 byte to 1 GiB.

    Raises:
        TypeError: no ring, no buffers.
        ValueError: too many buffers, or one that is empty or too large.
        BufferError: a buffer that is not contiguous; a table of the ring that is open or still in use.
        OSError: ENOMEM beyond RLIMIT_MEMLOCK; EFAULT (EOPNOTSUPP on older kernels) for memory that the kernel does not
            pin; EBUSY for a table that was registered through the C names.
        WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

    Kernel: 5.1. Twins: `io_uring_register_buffers`, `io_uring_register_buffers_tags`.
    """

    def __init__(self, ring: Ring, buffers: Iterable[Any]) -> None:
        if isinstance(buffers, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"buffers must be a list of buffers, not one {type(buffers).__name__}")
        self._open(ring, [Pin(index, buffer) for index, buffer in enumerate(buffers)])

    _huge_pages = False

    @classmethod
    def allocate(
        cls, ring: Ring, count: int, size: int, *, alignment: int = PAGE, huge_pages: bool | None = None
    ) -> RegisteredBuffers:
        """A table of new, zeroed, aligned buffers in one mapping.

        Args:
            ring: a ring without a table.
            count: buffers, 1 to 16384.
            size: bytes of each, 1 to 1 GiB.
            alignment: bytes, a power of two; each buffer starts at a multiple of it.
            huge_pages: True requires huge pages, False does without; None takes them where there are any.

        Raises:
            TypeError, ValueError: a number out of range.
            OSError: no huge pages where they are required (ENOMEM); otherwise as for the class.

        Kernel: 5.1. Twin: `io_uring_register_buffers`.
        """
        number(count, "count", MOST, low=1)
        number(size, "size", SIZE_MAX, low=1)
        if number(alignment, "alignment", SIZE_MAX, low=1) & (alignment - 1):
            raise ValueError(f"alignment must be a power of two, not {alignment}")
        ring._check()
        pieces, huge = pool(count, size, alignment, huge_pages)
        table = cls(ring, pieces)
        table._huge_pages = huge
        return table

    @classmethod
    def sparse(cls, ring: Ring, count: int) -> RegisteredBuffers:
        """A table of empty slots; `update` fills them.

        Args:
            ring: a ring without a table.
            count: slots, 1 to 16384.

        Raises:
            TypeError, ValueError: a number out of range.
            Unsupported: a kernel before 5.13.

        Kernel: 5.13. Twin: `io_uring_register_buffers_sparse`.
        """
        table = cls.__new__(cls)
        table._open(ring, [None] * number(count, "count", MOST, low=1))
        return table

    @classmethod
    def clone(cls, ring: Ring, source: RegisteredBuffers) -> RegisteredBuffers:
        """A table with the buffers of another ring's, which are not pinned a second time.

        Leases are those of each table by itself: nothing keeps two rings from using the same memory at once.

        Args:
            ring: a ring without a table.
            source: an open table of this process. It may be of another thread, which must not change it meanwhile,
                and whose ring must have been made with `single_issuer=False`.

        Raises:
            TypeError, ValueError: no table, a closed one, or one of the same ring.
            Unsupported: a kernel before 6.12.
            OSError: the rings are accounted to different users (EINVAL); another thread's ring with `single_issuer`
                (EEXIST).

        Kernel: 6.12. Twin: `io_uring_clone_buffers`.
        """
        _require_other(ring, source)
        table = cls.__new__(cls)
        table._open(ring, copies(source, source._entries, 0), source)
        return table

    # --- leases ----------------------------------------------------------------------------------

    def acquire(self, index: int | None = None, *, timeout: float | Nanoseconds | None = 0) -> BufferSlot:
        """Borrow a slot that nothing uses.

        Args:
            index: this one; None for any.
            timeout: seconds, or Nanoseconds, to submit and wait for operations until there is one; None for no limit.
                With 0 completions that are there are taken in, and nothing is submitted.

        Raises:
            TypeError, ValueError: an index out of range or of an empty slot; a closed table.
            BufferError: none is free (and nothing is in flight, with a timeout other than 0).
            TimeoutError: none has become free in time.
            RuntimeError: a wait inside an open chain.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.1.
        """
        self._check()
        limit = None if timeout is None else nanoseconds(timeout)
        if index is not None:
            number(index, "index", len(self._entries) - 1)
            if self._entries[index] is None:
                raise ValueError(f"slot {index} is empty: `update` gives it a buffer")
        pin = self._find(index)
        if pin is None:
            pin = self._wait_for(index, limit)
        return self._lend(pin)

    def _wait_for(self, index: int | None, limit: int | None) -> Pin:
        ring = self._ring
        deadline = None if limit is None else time.monotonic_ns() + limit
        ring._reap_ready()
        while True:
            self._check()  # a callback may have closed it
            pin = self._find(index)
            if pin is not None:
                return pin
            what = f"all {len(self._entries)} slots are empty or in use" if index is None else f"slot {index} is in use"
            if limit == 0 or not ring._native.in_flight:
                raise BufferError(f"{what}, by leases, or by operations, views or arrays that outlive them")
            rest = -1 if deadline is None else deadline - time.monotonic_ns()
            if deadline is not None and rest <= 0:
                raise TimeoutError(errno.ETIMEDOUT, f"{what} for longer than {(limit or 0) / 1e9} seconds")
            ring._not_recording()
            code = ring._enter(1, rest)
            if code < 0 and code not in PASSING:
                raise os_error(-code, "wait")

    # --- changes -----------------------------------------------------------------------------------

    def update(self, index: int, buffer: Any) -> Operation[None]:
        """Put a buffer into a slot, in place of what is there.

        Operations that are in flight go on with the old buffer. What is queued is submitted first; a link that has not
        started, or a request that a worker thread has not begun, may still fail with EFAULT.

        Args:
            index: the slot.
            buffer: an object with the buffer protocol, 1 byte to 1 GiB.

        Returns:
            An Operation that is complete when the kernel has let go of the old buffer, which can then be resized
            or closed. `Ring.wait` does not hand it out.

        Raises:
            TypeError, ValueError: no buffer, an empty or too large one, an index out of range, a closed table.
            BufferError: not contiguous; the slot is leased, or is a clone that is in use.
            OSError: as for the class.
            Unsupported: a kernel before 5.13.

        Kernel: 5.13. Twin: `io_uring_register_buffers_update_tag`.
        """
        return self._replace(index, buffer, empty=False)

    def clear(self, index: int) -> Operation[None]:
        """Empty a slot; otherwise like `update`.

        Kernel: 5.13. Twin: `io_uring_register_buffers_update_tag`.
        """
        return self._replace(index, None, empty=True)

    def _replace(self, index: int, buffer: Any, *, empty: bool) -> Operation[None]:
        self._check_changeable()
        place = number(index, "index", len(self._entries) - 1)
        new = None if empty else Pin(place, buffer)
        self._require_replaceable(place, 1)
        old = self._entries[place]
        release = operation_of(self._ring, RELEASE, None, (None, None, old.size if old else None))
        release._more().hidden = True
        table = weakref.ref(self)
        # What used the old buffer has given it back by then.
        release._more().callbacks.append(lambda _: _take_back(table()))
        self._exchange(place, [new])
        if old is not None and old.tag:
            old.release = release
        else:
            release._more().callbacks.clear()
            release._flags = release._res = 0
        return release

    def clone_from(
        self, source: RegisteredBuffers, *, offset: int = 0, source_offset: int = 0, count: int | None = None
    ) -> None:
        """Put buffers of another ring's table into slots of this one, in place of what is there.

        Args:
            source: the other table; see `clone`.
            offset: the first slot here.
            source_offset: the first slot there.
            count: slots; None for all from `source_offset` on.

        Raises:
            TypeError, ValueError: no table, a closed one, or one of the same ring; slots out of range.
            BufferError: a slot is leased, or is a clone that is in use.
            Unsupported: a kernel before 6.13.
            OSError: as for `clone`.

        Kernel: 6.13. Twin: `io_uring_clone_buffers_offset`.
        """
        self._check_changeable()
        _require_other(self._ring, source)
        number(offset, "offset", len(self) - 1)
        number(source_offset, "source_offset", len(source) - 1)
        most = min(len(source) - source_offset, len(self) - offset)
        size = number(len(source) - source_offset if count is None else count, "count", most, low=1)
        self._require_replaceable(offset, size)
        pins = copies(source, source._entries[source_offset : source_offset + size], offset)
        self._exchange(offset, pins, source, source_offset)

    def grow(self, count: int) -> None:
        """Add empty slots at the end.

        Operations in flight do not notice; on kernels before 6.13, which must register all buffers again for this,
        nothing may be in use.

        Args:
            count: how many.

        Raises:
            TypeError, ValueError: a number out of range, or more than 16384 slots in all; a closed table.
            BufferError: slots are in use, on such a kernel.
            Unsupported: a kernel before 5.13.

        Kernel: 5.13. Twin: `io_uring_clone_buffers_offset`.
        """
        self._check_changeable()
        most = MOST - len(self._entries)
        if number(count, "count", low=1) > most:
            raise ValueError(f"a table has at most {MOST} slots: {most} can be added, not {count}")
        room = min(len(self._entries) + count + 1, MOST)
        if room > self._room:
            self._enlarge(room)
        self._entries += [None] * count

    def shrink(self, count: int) -> None:
        """Take slots off the end, with the buffers in them; see `clear`.

        Args:
            count: how many; one slot at least stays.

        Raises:
            TypeError, ValueError: a number out of range; a closed table.
            BufferError: one of them is leased, or is a clone that is in use.
            Unsupported: a kernel before 5.13.

        Kernel: 5.13. Twin: `io_uring_register_buffers_update_tag`.
        """
        self._check_changeable()
        first = len(self._entries) - number(count, "count", len(self._entries) - 1, low=1)
        self._require_replaceable(first, count)
        self._exchange(first, [None] * count)
        del self._entries[first:]  # the kernel's table keeps its empty places, which cost a pointer each

    # --- the table itself ----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return "<RegisteredBuffers closed>" if self.closed else f"<RegisteredBuffers of {len(self)} slots>"

    @property
    def free(self) -> int:
        """How many slots can be acquired now.

        Raises:
            ValueError: the table is closed.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
        """
        self._check()
        self._find(None)
        return sum(map(self._is_current, self._idle.values()))

    @property
    def huge_pages(self) -> bool:
        """Whether `allocate` got huge pages."""
        return self._huge_pages

    def close(self) -> None:
        """End all leases, and unregister the buffers; closing twice does nothing.

        While operations still use slots, or views and arrays of them are alive, the kernel's table stays; it goes with
        the last of them, or when the ring is closed. The ring takes another table only then.

        Raises:
            WrongThread, Forked: this is not the ring's owner.

        Kernel: 5.1. Twin: `io_uring_unregister_buffers`.
        """
        ring, returned = self._ring, self._returned
        if returned is None:
            return
        if not ring.closed:
            ring._check()
        pending = {pin.tag for pin in self._entries if pin is not None}
        registration = returned.registration
        self._drop()
        del returned  # the last reference, unless leases are left: now it is unregistered
        # The tags, so that the memory is free when this returns.
        while not ring.closed and not registration.registered and pending & ring._tags.keys():
            if ring._enter_with(lib.uring_reap, ring._native) <= 0:
                break

    def __enter__(self) -> RegisteredBuffers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _copies(source: RegisteredBuffers, first: int, count: int | None, place: int) -> list[Pin | None]:
    """The buffers of a part of another table, pinned once more, for the places of a table from `place` on."""
    if not isinstance(source, RegisteredBuffers):
        raise TypeError(f"expected RegisteredBuffers, not {type(source).__name__}")
    if source.closed:
        raise ValueError("the table to clone is closed")
    entries = list(source._entries)
    number(first, "source_offset", len(entries) - 1)
    last = len(entries) if count is None else first + number(count, "count", len(entries) - first, low=1)
    pins = enumerate(entries[first:last], start=place)
    return [None if pin is None else Pin(index, pin.buffer) for index, pin in pins]


def _take_back(table: RegisteredBuffers | None) -> None:
    if table is not None:
        table._take_back()


def _require_other(ring: Ring, source: RegisteredBuffers) -> None:
    """Refuse what is not the table of another ring."""
    if not isinstance(source, RegisteredBuffers):
        raise TypeError(f"expected RegisteredBuffers, not {type(source).__name__}")
    if source._ring is ring:
        raise ValueError("a table is cloned from that of another ring")
