"""The least that a multishot needs of a pool of buffers: a ring of provided buffers whose every buffer is counted."""

from __future__ import annotations

import os
from collections.abc import Callable

from uring import BufferGroup, Ring
from uring import liburing as L


class LittleLease:
    """Bytes in a buffer, which goes back to its pool when this is released or dropped."""

    def __init__(self, pool: LittlePool, number: int | None, length: int) -> None:
        self.pool, self.number, self.start, self.stop = pool, number, 0, length
        self.length = length

    def __bytes__(self) -> bytes:
        return bytes(self.pool.bytes_of(self)[self.start : self.stop])

    def __len__(self) -> int:
        return self.stop - self.start

    def release(self) -> None:
        """Return the buffer."""
        number, self.number = self.number, None
        if number is not None:
            self.pool.put(number)

    def __del__(self) -> None:
        self.release()


class LittlePool(BufferGroup):
    """Buffers of one size. A buffer that is leased or returned twice is a failed assertion."""

    def __init__(self, ring: Ring, count: int, size: int, group: int = 7) -> None:
        self._ring, self.count, self.size, self.group = ring, count, size, group
        error = L.ffi.new("int *")
        self.buffers = L.io_uring_setup_buf_ring(ring.c_ring, count, group, 0, error)
        assert self.buffers != L.ffi.NULL, os.strerror(-error[0])
        self.memory = L.ffi.new("char[]", count * size)
        self._pin = self.memory
        self.out: set[int] = set(range(count))  # not with the kernel, as far as is known
        self.leases = self.drops = 0
        self.callbacks: list[Callable[[], None]] = []
        self.closed = False
        for number in range(count):
            self.put(number)

    def put(self, number: int) -> None:
        """Give a buffer to the kernel."""
        assert number in self.out, f"buffer {number} was returned twice"
        self.out.discard(number)
        if self.closed or self._ring.closed:
            return
        mask = L.io_uring_buf_ring_mask(self.count)
        L.io_uring_buf_ring_add(self.buffers, self.memory + number * self.size, self.size, number, mask, 0)
        L.io_uring_buf_ring_advance(self.buffers, 1)
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()

    def bytes_of(self, lease: LittleLease) -> memoryview:
        """All bytes of a lease's completion."""
        if lease.number is None:
            return memoryview(b"")
        start = lease.number * self.size
        return memoryview(L.ffi.buffer(self.memory))[start : start + lease.length]

    def _number(self, flags: int) -> int | None:
        if not flags & L.IORING_CQE_F_BUFFER:
            return None
        number = int(flags >> L.IORING_CQE_BUFFER_SHIFT)
        assert number not in self.out, f"buffer {number} was used twice"
        self.out.add(number)
        return number

    def _lease(self, res: int, flags: int) -> LittleLease:
        assert res >= 0
        self.leases += 1
        return LittleLease(self, self._number(flags), res)

    def _drop(self, _res: int, flags: int) -> None:
        self.drops += 1
        number = self._number(flags)
        if number is not None:
            self.put(number)

    def _when_refilled(self, callback: Callable[[], None]) -> None:
        if L.io_uring_buf_ring_available(self._ring.c_ring, self.buffers, self.group) > 0:
            callback()
        else:
            self.callbacks.append(callback)

    def _whole(self, lease: LittleLease) -> memoryview:
        return self.bytes_of(lease)

    def _narrow(self, lease: LittleLease, start: int, stop: int) -> None:
        lease.start, lease.stop = start, stop

    def available(self) -> int:
        """Buffers that the kernel has."""
        return int(L.io_uring_buf_ring_available(self._ring.c_ring, self.buffers, self.group))

    def close(self) -> None:
        """Free the ring of buffers."""
        if not self.closed and not self._ring.closed:
            self.closed = True
            L.io_uring_free_buf_ring(self._ring.c_ring, self.buffers, self.count, self.group)
