"""Provided buffers: a group of buffers from which the kernel picks when there is something to put into one.

The kernel facts this rests on:

- A CQE that names a buffer has taken it out of the group; it comes again only when the program puts it back. An empty
  group is an error of the request that needs a buffer (ENOBUFS), not a reason to wait.
- One CQE may take several neighbours (a bundle): its result spans them in order.
- With IOU_PBUF_RING_INC a buffer stays in the group while it has room (F_BUF_MORE), and the next CQE that names it goes
  on where the one before ended. A request that runs in a worker thread takes all that is left of it.
- Kernels up to 6.18 may leave out F_BUF_MORE at the end of a pipe and for regular files: the head tells.

When a buffer goes back is decided by Python's references and by nothing else. Each buffer that is lent has an
exporter, an object of its own behind all memoryviews of it, their slices, arrays over them, and operations in flight
that send from it. When the last of these is gone the exporter is collected; a weak reference then notes the buffer in
a list, whatever thread that is in, and the group puts it back at its next ordinary call. So it goes back once, and
never while somebody can still look at it.
"""

from __future__ import annotations

import contextlib
import mmap
import sys
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from ._native import ffi, lib
from .buffer_supply import RequestSupply, RingSupply, refused
from .builders.arguments import INT_MAX, number
from .builders.base import writable
from .completion import BUFFER
from .errors import BuffersExhausted, Unsupported
from .ring import Ring
from .shots import Shots
from .types import BufferGroup

COUNT_MAX = 1 << 15
GROUP_MAX = 0xFFFF
SHIFT: int = lib.IORING_CQE_BUFFER_SHIFT
BUF_MORE: int = lib.IORING_CQE_F_BUF_MORE
NOT_STARTED = (0, None)


class Loan(weakref.ref[Any]):
    """The weak reference to the exporter of a buffer that is lent; it bears the buffer's number."""

    __slots__ = ("number",)

    number: int


class ProvidedBuffer:
    """The bytes that one completion brought, in a provided buffer that is leased until they are done with.

    It is a buffer itself: `bytes(lease)`, `lease[2:10]` (a memoryview), `ring.send(sock, lease)`,
    `numpy.asarray(lease)`. An empty one, at the end of a stream, is false.

    The buffer goes back to its group with `release()`, at the end of a `with` block, or when the lease and its
    operation are dropped; and not before everything that was made of it is dropped too: slices, arrays, operations in
    flight that send it. Any thread may release it; in another thread than the ring's it goes back at the group's next
    call.
    """

    __slots__ = ("__weakref__", "_length", "_parts", "_pool", "_span", "_views")

    def __init__(self, pool: ProvidedBuffers, parts: Iterable[tuple[Any, int, int]], length: int) -> None:
        self._pool = pool
        self._parts: Iterable[tuple[Any, int, int]] | None = parts  # exporters, and what of each is ours
        self._span: Iterable[tuple[Any, int, int]] | None = self._parts  # those of the whole completion
        self._length = length
        self._views: list[memoryview] | None = None

    def __repr__(self) -> str:
        state = ", released" if self.released else ""
        return f"<ProvidedBuffer of {self._length} bytes from group {self._pool.group}{state}>"

    def __len__(self) -> int:
        return self._length

    @property
    def released(self) -> bool:
        """Whether it was released."""
        return self._parts is None

    @property
    def views(self) -> list[memoryview]:
        """The bytes as memoryviews in order: one, or for a bundle one for each buffer.

        Raises:
            ValueError: it was released.
        """
        if self._parts is None:
            raise ValueError("this provided buffer was released")
        if self._views is None:
            views = [memoryview(exporter)[start:end] for exporter, start, end in self._parts]
            self._views = views or [memoryview(b"")]
        return self._views

    @property
    def view(self) -> memoryview:
        """The bytes as a memoryview, which is released with the lease.

        Raises:
            ValueError: it was released.
            BufferError: a bundle that lies in several buffers, which only `views` and `bytes()` give.
        """
        views = self.views
        if len(views) != 1:
            raise BufferError(f"these {self._length} bytes lie in {len(views)} buffers: use .views, or bytes()")
        return views[0]

    def __bytes__(self) -> bytes:
        return b"".join(self.views)

    def __getitem__(self, part: slice) -> memoryview:
        if not isinstance(part, slice):
            raise TypeError("a provided buffer is sliced, not indexed")
        return self.view[part]

    def __buffer__(self, flags: int, /) -> memoryview:
        return self.view

    @property
    def __array_interface__(self) -> dict[str, Any]:
        # A slice: arrays keep this object and not an export of it, so it must not be one that release() invalidates.
        return {"version": 3, "shape": (self._length,), "typestr": "|u1", "data": self.view[:]}

    def release(self) -> None:
        """Give the buffer back to its group; a second time does nothing.

        `view` and `views` raise ValueError from now on. Where something else was made of it (a slice, an array, an
        operation in flight), that stays valid, and the buffer goes back when it is dropped. After the end of the group
        or the ring nothing goes back.

        Kernel: 5.19, with requests 5.7. Twins: `io_uring_buf_ring_add`, `io_uring_buf_ring_advance`.
        """
        self._let_go()
        self._pool._tend()

    def _let_go(self) -> None:
        for view in self._views or ():
            try:
                view.release()
            except BufferError:  # somebody uses it, who has a reference to it now in our place
                continue
        self._views = None
        self._parts = self._span = None

    def __enter__(self) -> ProvidedBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class ProvidedBuffers(BufferGroup):
    """A group of buffers from which the kernel picks: give it to `read`, `recv` or `recvmsg` in place of a buffer.

    The result of such an operation is a ProvidedBuffer, a lease of the buffer with what was received. Many operations
    can wait with few buffers, since one is taken only when there is data for it.

        with uring.ProvidedBuffers(ring, 64, 4096) as pool:
            with ring.recv(sock, pool).result() as data:
                ring.send(sock, data).result()

    An empty group is an error of the operation that needs a buffer, BuffersExhausted.

    Args:
        ring: the ring whose operations pick from it.
        count: how many buffers, 1 to 32768. The ring has room for the next power of two; there are exactly so many.
        size: bytes of each, which limits what one operation receives.
        group: its id, 0 to 65535; None chooses a free one.
        incremental: operations fill a buffer one behind the other, and it goes back when it is full and all of them are
            released. For a few large buffers; reads of regular files take the whole rest of one (6.12).
        kernel_memory: the ring's entries lie in memory of the kernel (6.4).
        memory: a writable, contiguous buffer of at least `count * size` bytes to cut the buffers from. It is held in
            place until the group is closed and all leases are dropped. None takes fresh memory.
        rings: False hands buffers over by requests, as on kernels before 5.19, which have no buffer rings.

    Raises:
        TypeError, ValueError, BufferError: a number out of range, a group that is in use, memory that is too small,
            read-only or not contiguous, or an option that needs a buffer ring.
        Unsupported: this kernel lacks what an option asks for.
        RuntimeError: a chain is open.
        WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
        OSError: the kernel refused.

    Kernel: 5.19, with requests 5.7. Twins: `io_uring_setup_buf_ring`, `io_uring_prep_provide_buffers`.
    """

    def __init__(
        self,
        ring: Ring,
        count: int,
        size: int,
        *,
        group: int | None = None,
        incremental: bool = False,
        kernel_memory: bool = False,
        memory: Any = None,
        rings: bool = True,
    ) -> None:
        if not isinstance(ring, Ring):
            raise TypeError(f"expected a Ring, not {type(ring).__name__}")
        self.ring = ring
        self._count = number(count, "count", COUNT_MAX, low=1)
        self.size = number(size, "size", INT_MAX, low=1)
        self._incremental = bool(incremental)
        if not rings and (incremental or kernel_memory):
            raise ValueError("incremental and kernel_memory need a buffer ring, which rings=False does without")
        if kernel_memory and ring._params.registered_fd_only:
            raise ValueError("a ring with registered_fd_only has no descriptor to map the kernel's memory by")
        ring._check()
        ring._not_recording()
        self._set_memory(memory)
        self._closed = False
        self._places: list[Any] = [None] * count  # each buffer's memory, cut off when it is first lent
        self._loans: list[Loan | None] = [None] * count
        self._held = bytearray(count)  # 1 for what the kernel has
        self._noted: list[Loan] = []  # of exporters that are gone
        self._partial: dict[int, tuple[int, Any]] = {}  # where incremental buffers go on, and their exporters
        self._waiting: list[Callable[[], object]] = []
        self._told = self._told_at = 0  # how many were called since so many requests were submitted
        flags = (lib.IOU_PBUF_RING_INC if incremental else 0) | (lib.IOU_PBUF_RING_MMAP if kernel_memory else 0)
        self._register(group, flags, rings=rings)

    # --- the beginning and the end -----------------------------------------------------------------------

    def _set_memory(self, memory: Any) -> None:
        total = self._count * self.size
        if memory is None:
            memory = mmap.mmap(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory = writable(memory, sys.maxsize)
        if len(self._memory) < total:
            raise ValueError(f"{self._count} buffers of {self.size} bytes need {total}, not {len(self._memory)}")
        self._whole = memoryview(memory).cast("B")

    def _register(self, group: int | None, flags: int, *, rings: bool) -> None:
        """Find a group and fill it. It is pinned before the kernel learns of it, and until it has forgotten it."""
        groups = self.ring._groups
        for candidate in self._candidates(group):
            self.group = candidate
            supply = RingSupply(self, 1 << (self._count - 1).bit_length(), flags) if rings else RequestSupply(self)
            self._supply: RingSupply | RequestSupply = supply
            self._pinned = (self._memory, supply)
            groups[self.group] = self
            try:
                code = supply.start(self)
            except BaseException:
                with contextlib.suppress(OSError):
                    self.close()
                raise
            if code >= 0:
                return
            del groups[self.group]
            error = refused(code, self, flags)
            if error is None:
                self._register(self.group, 0, rings=False)
                return
            if group is not None or not isinstance(error, ValueError):
                raise error
        raise ValueError("all 65536 buffer groups are in use")

    def _candidates(self, group: int | None) -> Iterable[int]:
        taken = {*self.ring._groups, *(used for used, provided in self.ring._provided.items() if provided)}
        if group is None:
            return (free for free in range(GROUP_MAX + 1) if free not in taken)
        if number(group, "group", GROUP_MAX) in taken:
            raise ValueError(f"buffer group {group} is in use")
        return (group,)

    def close(self) -> None:
        """Take the group away from the kernel. Leases stay readable; a second time does nothing.

        A group without a ring waits for its removal; when a signal's handler ends that, close it again.

        Raises:
            RuntimeError: operations in flight select from it, or a chain is open; cancel or wait for them first.
            WrongThread, Forked: this is not the ring's owner.

        Kernel: 5.19, with requests 5.7. Twins: `io_uring_free_buf_ring`, `io_uring_prep_remove_buffers`.
        """
        if self.closed:
            return
        ring = self.ring
        ring._check()
        ring._not_recording()
        # Multishots that starve, or are about to be requested again, are not in the table.
        living = dict.fromkeys((*ring._table, *ring._multishots))
        users = [operation for operation in living if operation is not None and self._is_used_by(operation)]
        if users:
            raise RuntimeError(f"{len(users)} operations in flight select from buffer group {self.group}: {users[0]!r}")
        self._supply.remove(self)
        # Whatever else is in flight may have named the group by its number, and hold one of its buffers. Multishots
        # never do, and may be in flight for as long as there is a ring.
        for operation in ring._table:
            if operation is not None and not isinstance(operation, Shots):
                operation._memory = (operation._memory, self._pinned)
        self._closed = True
        ring._groups.pop(self.group, None)
        self._forget()

    def _is_used_by(self, operation: Any) -> bool:
        waiting = [operation._memory]
        while waiting:
            memory = waiting.pop()
            if memory is self._pinned:
                return True
            if isinstance(memory, (tuple, list)):
                waiting += memory
        return False

    def _forget(self) -> None:
        """Let go of the memory; leases hold the parts that they need."""
        self._pinned = self._memory = self._whole = self._supply = None  # type: ignore[assignment]
        self._held[:] = bytes(self._count)
        self._places = []
        self._partial = {}
        self._waiting = []

    @property
    def closed(self) -> bool:
        """Whether it was closed, or its ring was."""
        return self._closed or self.ring.closed

    def __enter__(self) -> ProvidedBuffers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RuntimeError:
            if kind is None:
                raise
            # The exception that ends the block matters more; the ring's end takes care of the group.

    # --- what it is like ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.available} available, {self.leased} leased"
        return f"<ProvidedBuffers group={self.group}: {self._count} of {self.size} bytes, {state}>"

    def __len__(self) -> int:
        return self._count

    @property
    def incremental(self) -> bool:
        """Whether operations fill a buffer one behind the other."""
        return self._incremental

    @property
    def available(self) -> int:
        """How many buffers the kernel has, as far as completions were taken in; 0 when it is closed."""
        self._tend()
        return self._held.count(1)

    @property
    def leased(self) -> int:
        """How many buffers are leased out, or otherwise in use: those that are not available."""
        return self._count - self.available

    @property
    def exhausted(self) -> bool:
        """Whether no buffer is available."""
        return not self.available

    @property
    def head(self) -> int:
        """How many buffers the kernel has taken, modulo 65536, with those that no completion has told of yet.

        Raises:
            Unsupported: a kernel before 6.8, or a group without a ring.
            ValueError: it is closed.

        Kernel: 6.8. Twin: `io_uring_buf_ring_head`.
        """
        self.ring._check()
        if self._closed:
            raise ValueError(f"buffer group {self.group} is closed")
        return self._supply.head()

    # --- what operations need of it ----------------------------------------------------------------------

    @property
    def _pin(self) -> Any:
        self.ring._check()
        if self._closed:
            raise ValueError(f"buffer group {self.group} is closed")
        self._tend()
        return self._pinned

    def _check_bundle(self) -> None:
        if not self.ring._ring.features & lib.IORING_FEAT_RECVSEND_BUNDLE:
            raise Unsupported("IORING_RECVSEND_BUNDLE", "6.10")
        if isinstance(self._supply, RequestSupply):
            raise ValueError("a bundle needs a buffer ring, which this group does without")

    def _exhausted(self, what: str) -> OSError:
        return BuffersExhausted(what, self.group, self._count, self.size, self._count - self._held.count(1))

    def _lease(self, res: int, flags: int) -> ProvidedBuffer:
        lease, partial = self._lend(res, flags)
        self._partial = partial
        return lease

    def _lease_to(self, operation: Any, res: int, flags: int) -> None:
        lease, partial = self._lend(res, flags)
        # All that is not the same when it is repeated; nothing is a call.
        self._partial = partial
        operation._lease = lease

    def _drop(self, res: int, flags: int) -> None:
        self._lease(res, flags)

    def _span(self, lease: ProvidedBuffer) -> memoryview:
        for exporter, start, end in lease._span or ():
            return memoryview(exporter)[start:end]
        return memoryview(b"")

    def _narrow(self, lease: ProvidedBuffer, start: int, stop: int) -> None:
        for exporter, first, _ in lease._span or ():
            lease._views = None
            lease._parts = ((exporter, first + start, first + stop),)
            lease._length = stop - start
            return

    def _lend(self, res: int, flags: int) -> tuple[ProvidedBuffer, dict[int, tuple[int, Any]]]:
        """A lease of what a CQE has brought, and how the incremental buffers stand after it."""
        partial, size = self._partial, self.size
        if not flags & BUFFER:
            return ProvidedBuffer(self, (), 0), partial
        self._supply.settle(self)
        length = rest = res if res > 0 else 0
        parts: list[tuple[Any, int, int]] = []
        part = flags >> SHIFT
        while True:
            start, exporter = partial.get(part, NOT_STARTED) if partial else NOT_STARTED
            if exporter is None:
                exporter = self._exporter(part)
            end = min(start + rest, size)
            parts.append((exporter, start, end))
            rest -= end - start
            if self._incremental:
                partial = {key: value for key, value in partial.items() if key != part}
                # Only the last one can be unfinished.
                if not rest and (flags & BUF_MORE or (end < size and not self._supply.has_passed(part))):
                    partial[part] = end, exporter
                else:
                    self._held[part] = 0
            if not rest or len(parts) == self._count:
                return ProvidedBuffer(self, parts, length), partial
            part = self._supply.following[part]

    def _exporter(self, part: int) -> Any:
        """The object behind all views of a buffer that is lent. May be repeated."""
        place = self._places[part]
        if place is None:
            place = writable(self._whole[part * self.size : (part + 1) * self.size])
            self._places[part] = place
        exporter = ffi.buffer(place)
        loan = Loan(exporter, self._noted.append)
        loan.number = part
        self._loans[part] = loan
        if not self._incremental:
            self._held[part] = 0
        return exporter

    def _when_refilled(self, callback: Callable[[], object]) -> None:
        self._waiting.append(callback)

    def _tend(self) -> bool:
        """Put back what was noted, and tell those who wait for it. Does nothing where that must not be done now.

        No more are told than there are buffers: were it all of a thousand, each buffer would cost a thousand requests.
        It is true when others still wait, and those who were told may leave a buffer over: look again before sleeping.
        """
        if not (self._noted or self._waiting or (not self._closed and self._supply.behind)):
            return False
        ring = self.ring
        # Not while completions are handed out either: a destructor may have called, and none may be handled twice.
        if self.closed or lib.uring_check(ring._native) or ring._native.filled or ring._is_queueing():
            return False
        self._supply.put_back(self)
        if not self._waiting or ring._recording is not None:
            return False
        if self._told_at != ring._native.submitted:
            self._told_at, self._told = ring._native.submitted, 0
        free = self._supply.free(self)
        if free and free <= self._told:  # those who were told have queued nothing so far, and may never do so
            self._told = 0
            return True
        for _ in range(len(self._waiting)):
            if not self._waiting or self._told >= free:
                break
            callback = self._waiting[0]
            del self._waiting[0]
            self._told += callback() is not False
        return bool(free and self._waiting)
