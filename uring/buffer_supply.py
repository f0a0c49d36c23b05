"""How buffers get into a group: through a ring that is shared with the kernel, or by requests.

The kernel facts this rests on:

- A buffer ring (5.19) is an array that the kernel reads from its head to the tail that we move. It looks at nothing
  else of it, so a buffer is handed over by writing an entry and the tail, without a system call.
- Several buffers of one completion (a bundle) are neighbours in the ring. A place of the ring is written again while
  a buffer that lay there may still be on its way to us, so neighbours are noted by buffer, when one is put in.
- Before 5.19 buffers are handed over by PROVIDE_BUFFERS. Requests start in the order of their submission, so one that
  is queued later finds them.

A signal's handler may raise at the end of each call. So what is noted of a buffer is noted by plain assignments right
before the call that hands it over; and where the handing over is a request, by looking at whether it was queued.
"""

from __future__ import annotations

import errno
import functools
import mmap
from typing import TYPE_CHECKING, Any

from . import probe
from ._native import ffi, lib
from .builders.buffers import PROVIDE_BUFFERS
from .errors import Unsupported, os_error
from .operation import Operation, operation_of

if TYPE_CHECKING:
    from .provided_buffers import ProvidedBuffers

ENTRY: int = ffi.sizeof("struct io_uring_buf")
PAST = 1 << 15  # a position of 16 bits that is at most so much ahead of another one is later
MASK = 0xFFFF


class RingSupply:
    """A buffer ring.

    Args:
        pool: the group, with its memory.
        entries: how many fit the ring, a power of two.
        flags: IOU_PBUF_RING_*.
    """

    call = "register_buf_ring"
    behind = False

    def __init__(self, pool: ProvidedBuffers, entries: int, flags: int) -> None:
        count = len(pool)
        self._ring = pool.ring._ring
        self._group = pool.group
        self._flags = flags
        self._entries = entries
        self._memory: Any = None if flags & lib.IOU_PBUF_RING_MMAP else mmap.mmap(-1, entries * ENTRY)
        self._native = ffi.new("struct uring_buffers *")
        self._native.size, self._native.mask, self._native.memory = pool.size, entries - 1, pool._memory
        self._tail = count
        self._last = count - 1
        self._positions = list(range(count))  # of each buffer, when it was put in last
        self.following = [*range(1, count), 0]  # the buffer that was put in next after each
        self._head = ffi.new("uint16_t *")

    def start(self, pool: ProvidedBuffers) -> int:
        """Make the ring known to the kernel and put all buffers in: 0 or a negative errno."""
        request = ffi.new("struct io_uring_buf_reg *", {"ring_entries": self._entries, "bgid": self._group})
        if self._memory is not None:
            entries = ffi.from_buffer("struct io_uring_buf_ring *", self._memory)
            request.ring_addr = int(ffi.cast("uintptr_t", entries))
            self._native.entries = entries
            self._memory = entries  # holds the mapping
        code = int(lib.io_uring_register_buf_ring(self._ring, request, self._flags))
        if code == 0 and self._memory is None:
            code = self._map()
        if code == 0:
            self._tells_head = self._ask_head() == 0
            for number in range(len(pool)):
                lib.uring_buffer_give(self._native, number)
            pool._held[:] = b"\1" * len(pool)
        return code

    def _map(self) -> int:
        size = self._entries * ENTRY
        entries = lib.uring_buffer_map(self._ring, self._group, size)
        if entries == ffi.NULL:
            code = -int(ffi.errno)
            lib.io_uring_unregister_buf_ring(self._ring, self._group)
            return code
        # All of it C: a signal's handler cannot raise in it.
        self._memory = ffi.gc(entries, functools.partial(lib.uring_buffer_unmap, size))
        self._native.entries = entries
        return 0

    def put_back(self, pool: ProvidedBuffers) -> None:
        """Hand over what nobody uses any more."""
        noted, loans, held, give = pool._noted, pool._loans, pool._held, lib.uring_buffer_give
        while noted:
            loan = noted[-1]
            number = loan.number
            if loans[number] is loan:
                position = self._tail & MASK
                # Nothing here is a call, up to the one that hands it over.
                self.following[self._last] = number
                self._last = number
                self._positions[number] = position
                self._tail = position + 1
                loans[number] = None
                held[number] = 1
                give(self._native, number)
            # A destructor may have noted another one, or worked off all of them.
            if noted and noted[-1] is loan:
                del noted[-1]

    def settle(self, pool: ProvidedBuffers) -> None:
        """Nothing is ever half handed over."""

    def has_passed(self, number: int) -> bool:
        """Whether the kernel is done with a buffer that was put in."""
        return self._ask_head() != 0 or 0 < (self._head[0] - self._positions[number]) & MASK <= PAST

    def free(self, pool: ProvidedBuffers) -> int:
        """How many buffers the kernel would find now, an incremental one that was begun included."""
        if not self._tells_head:
            return pool._held.count(1)
        return (self._tail - self.head()) & MASK

    def _ask_head(self) -> int:
        return int(lib.io_uring_buf_ring_head(self._ring, self._group, self._head))

    def head(self) -> int:
        """How many buffers the kernel has taken, modulo 65536."""
        if not self._tells_head:
            raise Unsupported("IORING_REGISTER_PBUF_STATUS", "6.8")
        self._ask_head()
        return int(self._head[0])

    def remove(self, pool: ProvidedBuffers) -> None:
        """Take the group away."""
        code = lib.io_uring_unregister_buf_ring(self._ring, self._group)
        if code < 0 and code not in (-errno.EINVAL, -errno.ENOENT):  # an interrupted close has done it
            raise os_error(-code, f"unregister_buf_ring of group {self._group}")


def refused(code: int, pool: ProvidedBuffers, flags: int) -> Exception | None:
    """Why a buffer ring cannot be had; None where the kernel has none, and requests do as well."""
    if code == -errno.EEXIST:
        return ValueError(f"buffer group {pool.group} is in use")
    if code != -errno.EINVAL:
        return os_error(-code, f"{pool._supply.call} of {len(pool)} buffers")
    if not probe.register_ops()["REGISTER_PBUF_RING"]:
        return Unsupported("IORING_REGISTER_PBUF_RING", "5.19") if flags else None
    if flags & lib.IOU_PBUF_RING_INC:
        return Unsupported("IOU_PBUF_RING_INC", "6.12")
    if flags:
        return Unsupported("IOU_PBUF_RING_MMAP", "6.4")
    return os_error(errno.EINVAL, f"register_buf_ring of {len(pool)} buffers")


class ProvideAgain(Operation[None]):
    """Buffers that are handed over by request; the items of `about` behind the fourth are the supply and the first."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{self.name} of {self._about[3]} buffers to group {self._about[4]._group}"

    def _dispose(self) -> None:
        if self._res is not None and self._res < 0:
            self._about[4]._failed(self._about[5], self._about[3])


class RequestSupply:
    """Buffers that are handed over by requests, which the program neither sees nor waits for."""

    call = "provide_buffers"

    def __init__(self, pool: ProvidedBuffers) -> None:
        count = len(pool)
        self._pool = pool
        self._ring = pool.ring
        self._group = pool.group
        self._memory = pool._memory
        self._missing = set(range(count))  # neither in the group nor lent
        self._providing: Any = None  # the request that is being queued
        self._busy = False
        self.following = [0] * count

    def start(self, pool: ProvidedBuffers) -> int:
        """Put all buffers in, and wait until that is done: 0 or a negative errno."""
        operation = self._provide(0, len(pool))
        self._ring._wait_for(operation, None)
        res = operation._res or 0
        return -errno.EEXIST if res == -errno.EINVAL else min(res, 0)  # the group is a ring of the C names

    def put_back(self, pool: ProvidedBuffers) -> None:
        """Queue the requests that hand over what nobody uses any more."""
        if self._busy:  # making room in the queue runs callbacks, which may return buffers
            return
        try:
            self._busy = True
            self.settle(pool)
            noted, loans = pool._noted, pool._loans
            # First into `missing`, which may be repeated; each leaves it when its request is queued.
            self._missing |= {loan.number for loan in noted if loans[loan.number] is loan}
            while self._missing:
                first = min(self._missing)
                count = 1
                while first + count in self._missing:
                    count += 1
                self._provide(first, count)
            while noted and loans[noted[-1].number] is not noted[-1]:
                del noted[-1]
        finally:
            self._busy = False

    def _provide(self, first: int, count: int) -> Operation[None]:
        ring = self._ring
        about = (None, None, None, count, self, first)
        operation = operation_of(ring, PROVIDE_BUFFERS, self._memory, about, ProvideAgain)
        extra = operation._more()
        extra.hidden = extra.abandoned = True
        size = self._pool.size
        arguments = (self._memory + first * size, size, count, self._group, first)
        self._providing = operation
        try:
            ring._hidden.add(operation)
            ring._write(operation, 0, arguments)
        finally:
            if operation._slot < 0:
                ring._hidden.discard(operation)
        self.settle(self._pool)
        return operation

    def settle(self, pool: ProvidedBuffers) -> None:
        """Note what was handed over, if the request was queued. May be repeated; before anything is lent."""
        operation = self._providing
        # While room is made for it completions are taken in, which lead here too: it is still to be queued then.
        if operation is None or operation._slot < 0:
            return
        count, _, first = operation._about[3:]
        for number in range(first, first + count):
            pool._loans[number] = None
            pool._held[number] = 1
        self._missing.difference_update(range(first, first + count))
        self._providing = None

    @property
    def behind(self) -> bool:
        """Whether there is more to hand over than what was noted."""
        return bool(self._missing) or self._providing is not None

    def _failed(self, first: int, count: int) -> None:
        """The kernel did not take them, for want of memory: they are offered again."""
        self.settle(self._pool)
        for number in range(first, first + count):
            self._pool._held[number] = 0
        self._missing.update(range(first, first + count))

    def has_passed(self, number: int) -> bool:
        """A buffer is used as a whole."""
        return True

    def free(self, pool: ProvidedBuffers) -> int:
        """How many buffers the kernel would find now."""
        return pool._held.count(1)

    def head(self) -> int:
        """There is no ring."""
        raise Unsupported("IORING_REGISTER_PBUF_RING", "5.19", "this group has no ring")

    def remove(self, pool: ProvidedBuffers) -> None:
        """Take out what is in the group; waits until that is done."""
        try:
            self._busy = True  # nothing is handed over meanwhile
            self._ring.remove_buffers(len(pool), self._group).result()
        except FileNotFoundError:
            return
        finally:
            self._busy = False
