"""A ring's table of registered buffers, from the inside: which slots are free, lending them, exchanging them.

What keeps it safe:

- A lease is a cdata that the memory of its slot is exported through (`ffi.gc`). Whatever uses that memory keeps it
  alive: the user's slot, views and arrays of it, and operations until their last CQE. When the last of them is gone,
  its destructor appends the slot's pointer to a deque, in C: so it may run in any thread, and no signal's handler can
  raise in it. The next call of the table takes slots from there. No slot is lent twice at once.
- The kernel's table is unregistered when it is closed and no lease is left (see buffer_pins.py), so a request that is
  queued, or a link that has not started, still finds its buffer.
- A buffer that was replaced stays in place until the kernel's tag has come.
- A signal's handler may raise at the end of any call. So the kernel is called inside a list's assignment, which keeps
  the answer whatever happens then, and what follows from it is noted without a call.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

from ._native import ffi, lib
from .buffer_pins import (
    MOST,
    Pin,
    Pins,
    Registration,
    Returned,
    can_clone,
    clone,
    described,
    has_tags,
    patiently,
    refused,
    register,
)
from .buffer_slots import BufferSlot, Lease
from .errors import Unsupported, os_error
from .ring import Ring
from .tags import new_tag


class BufferTable:
    """The inner half of RegisteredBuffers."""

    _ring: Ring
    _entries: list[Pin | None]  # by index
    _room: int  # places of the kernel's table; those behind the entries are empty
    _idle: dict[int, Pin]  # by index: free slots, though maybe replaced since
    _by_pointer: dict[int, Pin]  # by the id of its pointer: what a lease can give back
    _returned: Returned | None  # None: closed

    def _open(self, ring: Ring, pins: Pins, source: BufferTable | None = None) -> None:
        """Register a table of these buffers, or of those of another table."""
        if not isinstance(ring, Ring):
            raise TypeError(f"expected a Ring, not {type(ring).__name__}")
        ring._check()
        if not 1 <= len(pins) <= MOST:
            raise ValueError(f"a table has 1 to {MOST} buffers, not {len(pins)}")
        _require_none(ring)
        self._ring = ring
        self._entries = list(pins)
        self._idle = {pin.index: pin for pin in reversed(pins) if pin is not None}
        self._by_pointer = {id(pin.pointer): pin for pin in self._idle.values()}
        self._returned = returned = Returned()
        returned.registration = registration = Registration(ring, self, returned)
        ring._registered_buffers = registration
        if source is None:
            # One place more than is used stays empty, for `grow`.
            self._room = min(len(pins) + has_tags(ring), MOST)
            register(ring, registration, self._entries, self._room)
            return
        self._room = source._room
        registration.untagged = dict.fromkeys(self._idle.values())
        registration.registered = True  # first, as in `register`
        code = clone((ring, source._ring), 0, 0, 0, 0)
        if code < 0:
            registration.registered = False
            registration.untagged = {}
            raise _clone_refused(code, "IORING_REGISTER_CLONE_BUFFERS", "6.12")

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its ring was."""
        return self._returned is None or self._ring.closed

    def _check(self) -> Returned:
        self._ring._check()
        if self._returned is None:
            raise ValueError("the table of registered buffers is closed")
        return self._returned

    def _check_changeable(self) -> Returned:
        returned = self._check()
        if not has_tags(self._ring):
            raise Unsupported("IORING_REGISTER_BUFFERS_UPDATE", "5.13")
        return returned

    # --- leases ------------------------------------------------------------------------------------

    def _is_current(self, pin: Pin) -> bool:
        return pin.index < len(self._entries) and self._entries[pin.index] is pin

    def _find(self, index: int | None) -> Pin | None:
        """A free slot's buffer, after taking back what was returned."""
        if self._returned:
            self._take_back()
        idle = self._idle
        if index is not None:
            pin = idle.get(index)
            return pin if pin is not None and self._is_current(pin) else None
        for last in reversed(idle):
            if self._is_current(idle[last]):
                return idle[last]
        return None

    def _take_back(self) -> None:
        """Note what leases have given back. May be interrupted anywhere and started again."""
        returned, pins, idle = self._returned, self._by_pointer, self._idle
        while returned:
            key = id(returned[0])
            pin = pins.get(key)
            if pin is not None:
                if self._is_current(pin):
                    idle[pin.index] = pin
                else:
                    del pins[key]
            del returned[0]

    def _lend(self, pin: Pin) -> BufferSlot:
        returned, anchor = self._check(), None
        try:
            del self._idle[pin.index]
            anchor = ffi.gc(pin.pointer, returned.append)
        except BaseException:
            if anchor is None:  # or it has died already, which leads to the same
                self._idle[pin.index] = pin
            raise
        lease = Lease(self, pin, anchor)
        pin.lease = weakref.ref(lease)
        return BufferSlot(lease, pin.offset, pin.offset + pin.size)

    def _drop(self) -> None:
        """End all leases, and hold no memory any more. May be interrupted anywhere and started again."""
        for pin in self._entries:
            lease = None if pin is None else pin.open_lease()
            if lease is not None:
                lease.anchor = None
        self._entries, self._idle, self._by_pointer = [], {}, {}
        if self._returned is not None:
            self._returned.clear()
        self._returned = None

    # --- exchanging buffers --------------------------------------------------------------------------

    def _require_replaceable(self, first: int, count: int) -> None:
        """Refuse slots that must keep their buffers, and let the kernel begin what is queued for the others."""
        self._find(None)
        submit = False
        for place in range(first, first + count):
            pin = self._entries[place]
            if pin is None or self._idle.get(place) is pin:
                continue
            if pin.open_lease() is not None:
                raise BufferError(f"slot {place} is leased: give it back first")
            if not pin.tag:
                raise BufferError(f"slot {place} is a clone and in use: no tag would tell when that ends")
            submit = True
        if submit:
            self._ring.submit()

    def _exchange(self, first: int, pins: Pins, source: BufferTable | None = None, source_first: int = 0) -> None:
        """Put buffers in the place of others, as soon as the kernel has; with `source` clones of its buffers."""
        ring, entries, last = self._ring, self._entries, first + len(pins)
        untagged = self._check().registration.untagged
        old = [pin for pin in entries[first:last] if pin is not None]
        unused = [pin for pin in old if self._idle.get(pin.index) is pin]
        fresh = {pin.index: pin for pin in pins if pin is not None}
        for pin in fresh.values():
            self._by_pointer[id(pin.pointer)] = pin
            if source is None:
                pin.tag = new_tag()
                ring._tags[pin.tag] = pin
            else:
                untagged[pin] = None
        call: Any = lib.io_uring_register_buffers_update_tag
        arguments: tuple[Any, ...] = (ring._ring, first, *described(pins), len(pins))
        if source is not None:
            call = clone
            arguments = ((ring, source._ring), first, source_first, len(pins), lib.IORING_REGISTER_DST_REPLACE)
        answers: list[int] = []
        each = [(argument,) for argument in arguments]

        def attempt() -> int:
            answers[:] = map(call, *each)
            return answers[0]

        try:
            code = patiently(attempt, fresh.values())
        finally:
            if answers and answers[0] >= 0:
                entries[first:last] = pins
                self._idle |= fresh
            else:
                self._forget(fresh.values())
                for pin in fresh.values():
                    ring._tags.pop(pin.tag, None)
        if code < 0 and source is not None:
            raise _clone_refused(code, "IORING_REGISTER_DST_REPLACE", "6.13")
        if code < 0:
            raise refused(code, [*fresh.values()])
        self._forget(unused)
        for pin in old:
            untagged.pop(pin, None)

    def _forget(self, pins: Iterable[Pin]) -> None:
        """These are not in the table, and nobody has a lease of them."""
        returned = self._check()
        for pin in pins:
            self._by_pointer.pop(id(pin.pointer), None)
            returned.registration.untagged.pop(pin, None)
            if self._idle.get(pin.index) is pin:
                del self._idle[pin.index]

    def _enlarge(self, room: int) -> None:
        """Give the kernel's table more empty places."""
        # A table that takes the clone of its own empty place beyond its end is made longer by that.
        code = -errno.EINVAL
        if can_clone():
            code = clone((self._ring, self._ring), room - 1, self._room - 1, 1, lib.IORING_REGISTER_DST_REPLACE)
        if code == -errno.EINVAL:
            self._register_again(room)
        elif code < 0:
            raise os_error(-code, f"a table of {room} registered buffers")
        self._room = room

    def _register_again(self, room: int) -> None:
        """Make a longer table of the same buffers. Nothing must use it, since older kernels would wait for that."""
        registration = self._check().registration
        self._find(None)
        if any(pin is not None and self._idle.get(pin.index) is not pin for pin in self._entries):
            raise BufferError("this kernel can only enlarge a table that nothing uses")
        registration.unregister()
        try:
            register(self._ring, registration, self._entries, room)
        except OSError:
            self._returned = None  # there is no table any more
            raise


def copies(source: BufferTable, entries: Sequence[Pin | None], place: int) -> Pins:
    """Buffers of another table, held in place once more, for the places of a table from `place` on."""
    if source.closed:
        raise ValueError("the table to clone is closed")
    return [None if pin is None else Pin(index, pin.buffer) for index, pin in enumerate(entries, start=place)]


def _clone_refused(code: int, feature: str, since: str) -> Exception:
    if code == -errno.EINVAL and (not can_clone() or since != "6.12"):
        return Unsupported(feature, since)
    what = "cloning registered buffers"
    if code == -errno.EEXIST:
        return os_error(-code, f"{what} of another thread: its ring must be made with single_issuer=False")
    return os_error(-code, f"{what}: the rings must be accounted to the same user")


def _require_none(ring: Ring) -> None:
    """Refuse a second table; one that nothing uses any more is unregistered if it was not yet."""
    registration = ring._registered_buffers
    if registration is None or not registration.registered:
        return
    if registration.returned() is not None:
        raise BufferError(
            "the ring has a table of registered buffers: close it, and wait until nothing of its slots is in use"
        )
    registration.unregister()
