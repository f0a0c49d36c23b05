"""Receiving without copying: a network device writes into memory of the program's, which gets it on lease.

The facts this rests on (io_uring/zcrx.c, net/core/netdev_rx_queue.c; the first and third seen on 6.18):

- It takes a ring with DEFER_TASKRUN and CQEs of 32 bytes (-EINVAL otherwise), and CAP_NET_ADMIN.
- The device has to split headers from data (`ethtool -G IF tcp-data-split on hds-thresh 0`), and its traffic has to be
  steered to the queue (`ethtool -X IF equal N`, `ethtool -N IF flow-type tcp4 ... action N`).
- An interface whose driver cannot do it answers -EOPNOTSUPP: lo, veth, ifb, virtio_net among them.
- What has come is posted as CQEs with F_MORE, whose upper half holds the offset in the area. The last CQE has no data.
- A buffer is the program's until it is put into the refill ring, which lies in memory shared with the kernel. A buffer
  that is put there twice would be filled while somebody reads it.
- A registration ends with its ring. The kernel holds the pages of the area itself; unmapping them does no harm.

A lease is over when nothing refers to its memory any more. This may be found out in any thread, by the garbage
collector, so it is noted in a list, and the ring's owner works that off.
"""

from __future__ import annotations

import errno
import mmap
import socket
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import probe
from ._native import ffi, lib
from .builders.arguments import number
from .builders.base import file_of
from .errors import Unsupported, os_error
from .operation import State
from .types import Descriptor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .builders.zero_copy import ReceiveZcOperation
    from .ring import Ring
    from .types import Options

PAGE = mmap.PAGESIZE
ENTRIES_MAX = 32768
OFFSET_MASK = (1 << lib.IORING_ZCRX_AREA_SHIFT) - 1
ENTRY_SIZE = ffi.sizeof("struct io_uring_zcrx_rqe")

# What the kernel refuses a queue for, besides what it cannot do at all.
_REASONS = {
    errno.EINVAL: "header split must be on with threshold 0: ethtool -G tcp-data-split on hds-thresh 0",
    errno.ERANGE: "it has no queue of this number",
    errno.EEXIST: "the queue has a zero-copy receive already, or the interface an XDP program",
    errno.EBUSY: "the queue is used by an AF_XDP socket",
    errno.EPERM: "it needs CAP_NET_ADMIN",
    errno.ENODEV: "there is no such interface",
    errno.ENOMEM: "the area exceeds the limit of locked memory (ulimit -l)",
}


class DmaBuf(NamedTuple):
    """Device memory to receive into, by its dma-buf. The program does not see the data, only where it lies."""

    fd: Descriptor
    """The dma-buf's descriptor, or an object with `fileno()`."""
    length: int
    """Its size in bytes, a multiple of the page size."""


class _Limits(NamedTuple):
    """What a kernel says of its zero-copy receives (IO_URING_QUERY_ZCRX, 7.0); before that it says nothing."""

    register_flags: int = 0
    controls: int = 0
    features: int = 0
    header: int = PAGE
    alignment: int = PAGE


def _limits() -> _Limits:
    answer = ffi.new("struct io_uring_query_zcrx *")
    header = ffi.new("struct io_uring_query_hdr *")
    header.query_op, header.size = lib.IO_URING_QUERY_ZCRX, ffi.sizeof("struct io_uring_query_zcrx")
    header.query_data = int(ffi.cast("uintptr_t", answer))
    if lib.io_uring_register_query(header) < 0 or header.result < 0:
        return _Limits()
    return _Limits(
        int(answer.register_flags),
        int(answer.nr_ctrl_opcodes),
        int(answer.features),
        int(answer.rq_hdr_size) or PAGE,
        int(answer.rq_hdr_alignment) or PAGE,
    )


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _power_of_two(value: Any, name: str, low: int, top: int) -> int:
    checked = number(value, name, top, low)
    if checked & (checked - 1):
        raise ValueError(f"{name} must be a power of two, not {checked}")
    return checked


def _index_of(interface: str | int | None) -> int:
    if interface is None:
        return 0
    if not isinstance(interface, str):
        return number(interface, "interface", low=1)
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise OSError(errno.ENODEV, f"there is no network interface {interface!r}") from error


class ZeroCopyLease:
    """Data that was received, in the memory that the device wrote it to; use it in a `with` block, or release it.

    The buffer goes back to the kernel when nothing refers to its memory any more: a slice of `data` that is kept keeps
    it. `bytes(data)` makes a copy that is the program's for good.

    Attributes:
        offset: where it lies in the area, in bytes.
        length: its bytes.
        data: a memoryview of them; None in a DmaBuf, and after the release.
    """

    __slots__ = ("_pointer", "_queue", "data", "length", "offset")

    def __init__(self, queue: ZeroCopyReceive, offset: int, length: int, pointer: Any, *, visible: bool) -> None:
        self._queue, self.offset, self.length, self._pointer = queue, offset, length, pointer
        self.data: memoryview | None = memoryview(ffi.buffer(pointer, length)) if visible else None

    def __len__(self) -> int:
        return self.length

    def __enter__(self) -> ZeroCopyLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the buffer back; `data` cannot be used any more. Twice does nothing.

        In another thread than the ring's it is noted, and the owner gives it back at its next wait for data.

        Raises:
            BufferError: another object has the memory through the buffer protocol, such as a numpy array.
        """
        if self.data is not None:
            self.data.release()
            self.data = None
        self._pointer = None
        self._queue._refill()


class ZeroCopyStream:
    """The data of one socket as it comes: an iterator of leases. It ends when the peer has closed, or at `length`.

    Attributes:
        operation: the multishot receive; a cancel of it ends the iteration with OperationCancelled.
    """

    def __init__(self, queue: ZeroCopyReceive, operation: ReceiveZcOperation) -> None:
        self._queue, self.operation = queue, operation
        self._closed = False

    def __iter__(self) -> Iterator[ZeroCopyLease]:
        return self

    def __next__(self) -> ZeroCopyLease:
        """The next part; waits for it.

        Raises:
            OSError: the receive has failed; with ENOMEM no buffer was left: release leases earlier.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
        """
        operation, queue = self.operation, self._queue
        while not self._closed:
            parts = operation._parts
            if parts:
                return queue._lease(parts)
            if operation._res is not None:
                operation.result()
                raise StopIteration
            queue._refill(flush=True)
            operation._ring._wait_till(lambda: bool(operation._parts) or operation._res is not None, None)
        raise StopIteration

    def __enter__(self) -> ZeroCopyStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Receive no more: the request is cancelled, and what nobody took goes back. Twice does nothing."""
        self._closed = True
        self._queue._left.append(self.operation)
        self._queue._refill()

    def __del__(self) -> None:
        self._queue._left.append(self.operation)  # in any thread: the owner does the rest


class ZeroCopyReceive:
    """A receive queue of a network interface that writes into memory of the program's (`io_uring_register_ifq`).

    Receiving through a device was not exercised by the project's tests, for want of one: the refusals and the
    bookkeeping were, and on kernels with it the receive without a device, which copies.

    Args:
        ring: a ring with `defer_taskrun`, the default, and `cqe32=True` or `cqe_mixed=True`.
        interface: its name or index; None receives from any socket, by copying, to try things out (7.1).
        queue: the number of its receive queue, to which traffic is steered.
        area: bytes of memory to receive into, a multiple of the page size; or a DmaBuf (6.16).
        entries: how many buffers can be on their way back, a power of two up to 32768.
        buffer_size: bytes that the device may write to a buffer, a power of two from the page size; None for the
            kernel's choice. A larger one needs memory that is contiguous (7.0).

    Attributes:
        id: the interface queue's id, as `recv_zc` takes it.
        ring: its ring, with which the registration ends.

    Raises:
        TypeError, ValueError: a number out of range, a ring without the flags.
        Unsupported: a kernel before 6.15, or an interface that cannot do it; the message says what is needed.
        OSError: no such interface (ENODEV) or queue (ERANGE), header split is off (EINVAL), no right (EPERM).
        WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

    Kernel: 6.15, and a network device with header split and flow steering. Twin: `io_uring_register_ifq`.
    """

    def __init__(
        self,
        ring: Ring,
        interface: str | int | None,
        queue: int = 0,
        *,
        area: int | DmaBuf = 1 << 20,
        entries: int = 256,
        buffer_size: int | None = None,
    ) -> None:
        ring._check()
        if not ring.flags & lib.IORING_SETUP_DEFER_TASKRUN:
            raise ValueError("a zero-copy receive needs a ring with defer_taskrun")
        if not ring.flags & (lib.IORING_SETUP_CQE32 | lib.IORING_SETUP_CQE_MIXED):
            raise ValueError("a zero-copy receive needs a ring with large completions: cqe32 or cqe_mixed")
        self.ring = ring
        self._limits = _limits()
        self._returned: deque[tuple[int, int]] = deque()  # (offset, length) of leases that are over
        self._left: deque[ReceiveZcOperation] = deque()  # of streams that nobody reads any more
        self._copies = interface is None
        register = ffi.new("struct io_uring_zcrx_ifq_reg *")
        register.if_rxq = number(queue, "queue")
        register.rq_entries = _power_of_two(entries, "entries", 1, ENTRIES_MAX)
        register.rx_buf_len = 0 if buffer_size is None else _power_of_two(buffer_size, "buffer_size", PAGE, 1 << 30)
        where = self._make_area(area)
        register.if_idx = _index_of(interface)
        self._check_limits(register)
        self._register(register, where, interface)
        self.id = int(register.zcrx_id)

    def __repr__(self) -> str:
        return f"<ZeroCopyReceive {self.id} of {self.ring!r}>"

    def receive(self, sock: Descriptor, length: int = 0, **options: Unpack[Options]) -> ZeroCopyStream:
        """Receive from a socket for as long as it brings data: `for lease in queue.receive(sock): ...`.

        Args:
            sock: a connected TCP socket whose traffic is steered to the queue.
            length: bytes to receive in total, 0 for no limit.
            options: see Options; `skip_success` is refused.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 6.15. IORING_OP_RECV_ZC.
        """
        self._refill()
        return ZeroCopyStream(self, self.ring.recv_zc(sock, self.id, length, **options))

    # --- setting it up -------------------------------------------------------------------------------

    def _make_area(self, area: int | DmaBuf) -> Any:
        """The `struct io_uring_zcrx_area_reg`."""
        where = ffi.new("struct io_uring_zcrx_area_reg *")
        self._start: Any = None  # of the memory, which it keeps
        length = area.length if isinstance(area, DmaBuf) else area
        where.len = number(length, "area", OFFSET_MASK, 1)
        if length % PAGE:
            raise ValueError(f"area must be a multiple of the page size, {PAGE}, not {length}")
        if isinstance(area, DmaBuf):
            where.flags, where.dmabuf_fd = lib.IORING_ZCRX_AREA_DMABUF, file_of(area.fd, 0)[0]
        else:
            self._start = ffi.from_buffer(mmap.mmap(-1, length))
            where.addr = int(ffi.cast("uintptr_t", self._start))
        return where

    def _check_limits(self, register: Any) -> None:
        if self._copies:
            register.flags = lib.ZCRX_REG_NODEV
            if not self._limits.register_flags & lib.ZCRX_REG_NODEV:
                raise Unsupported("ZCRX_REG_NODEV", "7.1")
        if register.rx_buf_len and not self._limits.features & lib.ZCRX_FEATURE_RX_PAGE_SIZE:
            raise Unsupported("ZCRX_FEATURE_RX_PAGE_SIZE", "7.0")

    def _register(self, register: Any, where: Any, interface: str | int | None) -> None:
        header = _up(self._limits.header, self._limits.alignment)
        size = _up(header + register.rq_entries * ENTRY_SIZE, PAGE)
        start = ffi.from_buffer(mmap.mmap(-1, size))
        shared = ffi.new("struct io_uring_region_desc *", {"size": size, "flags": lib.IORING_MEM_REGION_TYPE_USER})
        shared.user_addr = int(ffi.cast("uintptr_t", start))
        register.area_ptr = int(ffi.cast("uintptr_t", where))
        register.region_ptr = int(ffi.cast("uintptr_t", shared))
        kept = (self._start, start)
        self.ring._kept.append(kept)  # before the call: a signal's handler may raise as it returns
        code = lib.io_uring_register_ifq(self.ring._ring, register)
        if code < 0:
            self.ring._kept.remove(kept)
            raise self._refused(-code, interface)
        self._area_token = int(where.rq_area_token)
        self._refills = _refill_ring(start, register.offsets, register.rq_entries)

    def _refused(self, code: int, interface: str | int | None) -> OSError:
        what = "zero-copy receive" if interface is None else f"zero-copy receive on interface {interface}"
        if not probe.register_ops()["REGISTER_ZCRX_IFQ"]:
            return Unsupported("IORING_REGISTER_ZCRX_IFQ", "6.15")
        if code == errno.EOPNOTSUPP:
            why = "the interface has no queue that supports it; its driver must split headers from data, steer flows, "
            return Unsupported(what, "6.15", why + "and let queues have memory of their own")
        reason = None if interface is None else _REASONS.get(code)
        return os_error(code, what + (f": {reason}" if reason else ""))

    # --- leases, and what becomes of them --------------------------------------------------------------

    def _lease(self, parts: dict[Any, tuple[int, int]]) -> ZeroCopyLease:
        """Make a lease of the first part and take it out of `parts`. Interrupted anywhere, it is one or the other."""
        key, (encoded, length) = next(iter(parts.items()))
        offset = encoded & OFFSET_MASK
        returned, memory = self._returned, self._start

        def over(_pointer: Any, _owner: Any = memory) -> None:
            if key not in parts:
                returned.append((offset, length))

        # A pointer of its own: all views of the lease hold it, and it calls when the last of them is gone.
        pointer = ffi.gc(ffi.cast("char *", 1) if memory is None else memory + offset, over)
        lease = ZeroCopyLease(self, offset, length, pointer, visible=memory is not None)
        del pointer, parts[key]
        return lease

    def _refill(self, *, flush: bool = False) -> None:
        """Give back what leases have left, and end the receives that nobody reads, if this is the ring's owner."""
        if lib.uring_check(self.ring._native):
            return
        if self._left and self.ring._recording is None:
            self._end_receives()
        before = self._refills.rq_tail
        while self._returned and (self._give_back() or self._flush()):
            pass
        if flush and self._copies and self._refills.rq_tail != before:
            self._flush()  # without a device nobody looks into the ring

    def _give_back(self) -> bool:
        """Put one buffer into the refill ring; False when that is full."""
        offset, length = self._returned[0]
        refills = self._refills
        before = refills.rq_tail
        try:
            lib.uring_zcrx_give_back(refills, self._area_token | offset, length)
        finally:  # no call in here, so that a signal's handler cannot make one buffer two
            given = refills.rq_tail != before
            if given:
                del self._returned[0]
        return bool(given)

    def _flush(self) -> bool:
        """Let the kernel take what is in the refill ring; False when it cannot be asked to (before 6.19).

        Not exercised without a kernel that has it.
        """
        if self._limits.controls <= lib.ZCRX_CTRL_FLUSH_RQ:
            return False
        control = ffi.new("struct zcrx_ctrl *", {"zcrx_id": self.id, "op": lib.ZCRX_CTRL_FLUSH_RQ})
        return bool(lib.io_uring_register_zcrx_ctrl(self.ring._ring, control) >= 0)

    def _end_receives(self) -> None:
        left = self._left
        for _ in range(len(left)):
            operation = left[0]
            if operation.state is not State.ABANDONED:
                operation.abandon()
                if operation._res is None:
                    self.ring.cancel(operation).abandon()
            while operation._parts:
                self._lease(operation._parts)  # over at once
            # Destructors append to it meanwhile, in whichever thread.
            if operation._res is None:
                left.rotate(-1)
            else:
                left.popleft()


def _refill_ring(start: Any, offsets: Any, entries: int) -> Any:
    """The `struct io_uring_zcrx_rq` over shared memory."""
    refills = ffi.new("struct io_uring_zcrx_rq *")
    refills.khead = ffi.cast("uint32_t *", start + offsets.head)
    refills.ktail = ffi.cast("uint32_t *", start + offsets.tail)
    refills.rqes = ffi.cast("struct io_uring_zcrx_rqe *", start + offsets.rqes)
    refills.ring_ptr = start
    refills.ring_entries, refills.rq_tail = entries, 0
    return refills
