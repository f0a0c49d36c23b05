"""Memory that is registered with a ring: what holds it in place, how the kernel is told, and why it refuses.

The kernel facts this rests on (seen on 6.18):

- Registering pins pages, not addresses, and for writing. Were the memory moved or unmapped, requests would still reach
  the old pages; so the export of each Python buffer is held, which keeps a bytearray from being resized and an mmap
  from being closed. Memory that is mapped read-only is refused (EFAULT), and so is a shared mapping of a file on a disk
  (EFAULT; EOPNOTSUPP before 6.5). Private mappings, tmpfs and memfd are taken, and bytes: their pages are writable.
- A buffer may carry a tag (5.13). When it has left the table and the last request that uses it is done, a CQE with the
  tag comes. A clone carries no tag.
- Kernels before 6.13 let an unregistration wait for requests that use the table; later ones leave those their buffer.
- Pinned pages count against RLIMIT_MEMLOCK, over all processes of a user without CAP_IPC_LOCK, and are taken off that
  count late.
"""

from __future__ import annotations

import errno
import mmap
import os
import resource
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import probe
from ._native import ffi, lib
from .buffer_slots import Lease
from .errors import Unsupported, os_error
from .operation import Kind, Operation, State, nothing
from .tags import new_tag

if TYPE_CHECKING:
    from .buffer_table import BufferTable
    from .flight import Flight
    from .ring import Ring

MOST = 16384
SIZE_MAX = 1 << 30
PAGE = mmap.PAGESIZE
MAP_HUGETLB = 0x40000


class ReleaseOperation(Operation[None]):
    """The kernel's letting go of a registered buffer; nothing is queued for it."""

    __slots__ = ()

    @property
    def state(self) -> State:
        """How far it has come."""
        waiting = self._res is None and not (self._extra is not None and self._extra.abandoned)
        return State.SUBMITTED if waiting else super().state


RELEASE: Kind[None] = Kind("release", "", "5.13", None, nothing, operation=ReleaseOperation)


class Pin:
    """One buffer of a table, held in place.

    Attributes:
        index: its place in the table.
        buffer: the Python object.
        size: bytes.
        readonly: whether Python believes it to be constant, so that the kernel must only read it.
        pointer: the cdata that holds the buffer's export. By this very object a lease names what it gives back.
        offset: where the buffer begins behind `pointer`.
        tag: the user_data of the CQE by which the kernel lets go of it; 0 for none.
        lease: a weak reference to what the user holds of it.
        release: the operation that is complete when the tag has come, once it has left the table.
    """

    __slots__ = ("buffer", "index", "lease", "offset", "pointer", "readonly", "release", "size", "tag")

    def __init__(self, index: int, buffer: Any) -> None:
        with memoryview(buffer) as view:
            self.size, self.readonly, owner = view.nbytes, view.readonly, view.obj
        if not self.size:
            raise ValueError(f"buffer {index} is empty: there is nothing to register")
        if self.size > SIZE_MAX:
            raise ValueError(f"buffer {index} has {self.size} bytes; a registered buffer has 1 GiB at most")
        self.index, self.buffer = index, buffer
        self.pointer, self.offset = ffi.from_buffer("char *", buffer), 0
        if isinstance(buffer, memoryview):
            self._hold_owner(owner)
        self.tag = 0
        self.lease: weakref.ref[Lease] | None = None
        self.release: Operation[None] | None = None

    def _hold_owner(self, owner: Any) -> None:
        """Hold the object behind a memoryview in its place, where that can be.

        Python before 3.12.7 crashes when it collects a cycle with a memoryview whose memory is exported.
        """
        try:
            pointer = ffi.from_buffer("char *", owner)
        except (TypeError, BufferError):
            return
        offset = self.address - int(ffi.cast("uintptr_t", pointer))
        if offset >= 0:
            self.pointer, self.offset = pointer, offset

    @property
    def address(self) -> int:
        """Where it begins."""
        return int(ffi.cast("uintptr_t", self.pointer)) + self.offset

    def open_lease(self) -> Lease | None:
        """The user's lease of it, unless it was given back."""
        lease = None if self.lease is None else self.lease()
        return None if lease is None or lease.anchor is None else lease

    def _let_go(self, flight: Flight, tag: int) -> None:
        """Its tag has come. May be repeated."""
        release = self.release
        if release is not None and tag == self.tag:
            release._flags = release._res = 0
            flight._finish(release)


Pins = Sequence[Pin | None]


class Registration:
    """The kernel's table of a ring. The ring owns it, with what it has pinned, until it is unregistered."""

    __slots__ = ("_native", "_ring", "_table", "registered", "returned", "untagged")

    def __init__(self, ring: Ring, table: BufferTable, returned: Returned) -> None:
        self._ring, self._native = ring._ring, ring._native
        self._table = weakref.ref(table)
        self.returned = weakref.ref(returned)
        self.registered = False
        self.untagged: dict[Pin, None] = {}  # no CQE tells when the kernel is done with these

    def unregister(self) -> None:
        """Take the table from the kernel, if this thread may."""
        if self.registered and not lib.uring_check(self._native):
            code = lib.io_uring_unregister_buffers(self._ring)
            if code in (0, -errno.ENXIO):
                self.registered = False
                self.untagged = {}

    def end(self, *, wait: bool) -> None:
        """The ring is being closed; with `wait` nothing is in flight, so that the pages can be let go of at once."""
        try:
            if wait:
                self.unregister()
        finally:
            table = self._table()
            if table is not None:
                table._drop()


class Returned(deque[Any]):
    """The pointers of slots that nobody holds any more. Leases append to it, in whichever thread they end.

    It is alive as long as its table is open or anything of a lease is left; so when it dies, nothing uses the kernel's
    table any more.
    """

    __slots__ = ("registration",)

    registration: Registration

    def __del__(self) -> None:
        if hasattr(self, "registration") and lib is not None:  # None at the very end of the interpreter
            self.registration.unregister()


def has_tags(ring: Ring) -> bool:
    """Whether buffers of a table can be exchanged, be empty, and tell when they are let go of."""
    return bool(ring._ring.features & lib.IORING_FEAT_RSRC_TAGS)


def described(pins: Pins, room: int = 0) -> tuple[Any, Any]:
    """(`struct iovec[]`, tags) of buffers; places behind them, up to `room`, are empty."""
    iovecs = ffi.new("struct iovec[]", max(room, len(pins)))
    tags = ffi.new("__u64[]", max(room, len(pins)))
    for place, pin in enumerate(pins):
        if pin is not None:
            iovecs[place].iov_base, iovecs[place].iov_len = pin.pointer + pin.offset, pin.size
            tags[place] = pin.tag
    return iovecs, tags


def register(ring: Ring, registration: Registration, pins: Pins, room: int) -> None:
    """Give the ring a table of these buffers and of empty places up to `room`."""
    present = [pin for pin in pins if pin is not None]
    tagged = has_tags(ring)
    if not tagged and (room > len(present)):
        raise Unsupported("empty places among registered buffers", "5.13")
    for pin in present:
        pin.tag = new_tag() if tagged else 0
    ring._tags.update((pin.tag, pin) for pin in present if tagged)
    registration.untagged = {} if tagged else dict.fromkeys(present)
    iovecs, tags = described(pins, room)

    def attempt() -> int:
        if tagged:
            return int(lib.io_uring_register_buffers_tags(ring._ring, iovecs, tags, room))
        return int(lib.io_uring_register_buffers(ring._ring, iovecs, room))

    registration.registered = True  # first: a signal's handler may raise when the kernel has it
    code = patiently(attempt, present)
    if code < 0:
        registration.registered = False
        registration.untagged = {}
        for pin in present:
            ring._tags.pop(pin.tag, None)
        raise refused(code, present)


def clone(rings: tuple[Ring, Ring], place: int, source_place: int, count: int, flags: int) -> int:
    """Clone buffers into the first ring's table from the second's; 0 for all of them. Returns 0 or -errno."""
    target, source = rings
    arguments = target._ring, source._ring, place, source_place, count
    if source._params.registered_fd_only:  # it is known by its number in this thread's table only
        return int(lib.io_uring_clone_buffers_offset(*arguments, flags))
    return int(lib.__io_uring_clone_buffers_offset(*arguments, flags))


def can_clone() -> bool:
    """Whether the kernel clones buffers."""
    return probe.register_ops()["REGISTER_CLONE_BUFFERS"]


def patiently(attempt: Callable[[], int], pins: Iterable[Pin]) -> int:
    """The answer of a call that pins memory; it is repeated while memory that was let go of may still be counted."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and _pinned_bytes(pins) > limit:
        return attempt()
    return probe.patiently(attempt)


def _pinned_bytes(pins: Iterable[Pin]) -> int:
    total = 0
    for pin in pins:
        start, end = pin.address, pin.address + pin.size
        total += (-(-end // PAGE) - start // PAGE) * PAGE
    return total


def refused(code: int, pins: Sequence[Pin]) -> Exception:
    """Why the kernel did not take these buffers."""
    what = f"registering {len(pins)} buffers"
    if code == -errno.ENOMEM:
        limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        allowed = "any amount" if limit == resource.RLIM_INFINITY else f"{limit >> 10} KiB"
        needed = f"{_pinned_bytes(pins) >> 10} KiB"
        return OSError(
            errno.ENOMEM,
            f"{what} needs {needed} of locked memory; RLIMIT_MEMLOCK allows {allowed} for everything that this user's "
            "processes have locked. Raise the limit (ulimit -l, or LimitMEMLOCK= of a systemd unit), give the process "
            "CAP_IPC_LOCK, or register less",
        )
    if code in (-errno.EFAULT, -errno.EOPNOTSUPP):
        culprit = _culprit(pins)
        which = "" if culprit is None else f" (buffer {culprit.index}, {type(culprit.buffer).__name__})"
        return OSError(
            -code,
            f"{os.strerror(-code)} [{what}]{which}: the kernel pins pages for writing, so memory that is mapped "
            "read-only, and a shared mapping of a file on a disk, cannot be registered. Map it privately, or use "
            "memory of no file",
        )
    if code == -errno.EBUSY:
        return OSError(errno.EBUSY, "the ring has a table already, which was registered through its C names")
    return os_error(-code, what)


def _culprit(pins: Sequence[Pin]) -> Pin | None:
    """The first of several buffers that the kernel does not take, tried one by one on a ring of its own."""
    if len(pins) == 1:
        return pins[0]
    ring = ffi.new("struct io_uring *")
    if probe.patiently(lib.io_uring_queue_init, 1, ring, 0) < 0:
        return None
    try:
        for pin in pins:
            if lib.io_uring_register_buffers(ring, described([pin])[0], 1) in (-errno.EFAULT, -errno.EOPNOTSUPP):
                return pin
            lib.io_uring_unregister_buffers(ring)
    finally:
        lib.io_uring_queue_exit(ring)
    return None


def huge_page_size() -> int:
    """Bytes of the machine's huge pages; 0 when it has none of them."""
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("Hugepagesize:"):
                return int(line.split()[1]) << 10
    return 0


def pool(count: int, size: int, alignment: int, huge_pages: bool | None) -> tuple[list[memoryview], bool]:
    """`count` aligned pieces of one private mapping, and whether it consists of huge pages.

    Raises:
        OSError: huge pages are required, and there are not enough.
    """
    stride = -(-size // alignment) * alignment
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if huge_pages is not False:
        unit = huge_page_size()
        length = stride * count + (alignment if alignment > unit else 0)
        try:
            if not unit:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            memory = mmap.mmap(-1, -(-length // unit) * unit, flags=private | MAP_HUGETLB)
            return _pieces(memory, count, size, stride, alignment), True
        except OSError as error:
            if huge_pages:
                needed = f"{-(-length // unit)} huge pages of {unit >> 10} KiB" if unit else "huge pages"
                why = f"{error.strerror} [{needed}]: reserve them in /proc/sys/vm/nr_hugepages, or do without"
                raise OSError(error.errno, why) from error
    memory = mmap.mmap(-1, stride * count + (alignment if alignment > PAGE else 0), flags=private)
    return _pieces(memory, count, size, stride, alignment), False


def _pieces(memory: mmap.mmap, count: int, size: int, stride: int, alignment: int) -> list[memoryview]:
    start = -int(ffi.cast("uintptr_t", ffi.from_buffer(memory))) % alignment
    whole = memoryview(memory)
    return [whole[start + place * stride :][:size] for place in range(count)]
