"""The ring's table of registered files: made, changed while operations run, and given back.

The kernel facts this rests on:

- A registered file is kept open by the table itself. One that is replaced, removed or unregistered stays open until
  the last request that has looked it up is complete; with a tag, the kernel then posts a completion that bears it.
- A file is looked up when its request starts (see file_slots.py), so a change reaches requests that have not started.
- Without a range for it (6.0) the kernel chooses among all slots (5.19), those included that others mean to fill.
- A table has at most 1048576 slots, and not more than RLIMIT_NOFILE; liburing raises the soft limit where it may.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from . import probe
from ._native import ffi, lib
from .builders.descriptors import _registrable as registrable
from .errors import Unsupported
from .file_slots import FileTable, Lease, RegisteredFile, Slots
from .operation import Extra
from .tags import new_tag
from .types import HasFileno

if TYPE_CHECKING:
    from .ring import Ring

SLOTS_MAX = 1 << 20


class Notice:
    """Waits for the kernel to let go of a file, by a tag, and tells. The ring calls it back like an operation."""

    __slots__ = ("_callback", "_extra", "_file", "_index", "_ring", "_tag")

    def __init__(self, ring: Ring, callback: Callable[[int, Any], object], index: int, file: Any) -> None:
        self._ring, self._callback, self._index, self._file = ring, callback, index, file
        self._extra = Extra()
        self._extra.hidden = True  # no operation that a wait has to count
        self._extra.callbacks.append(self._call)
        self._tag = new_tag()

    def expect(self) -> int:
        """The tag; its completion is waited for from now on."""
        self._ring._tags[self._tag] = self
        return self._tag

    def forget(self) -> None:
        """The kernel did not take the file."""
        self._ring._tags.pop(self._tag, None)

    def _let_go(self, flight: Any, _tag: int) -> None:
        """Its tag has come. May be repeated."""
        flight._due[self] = None

    def _call(self, _: Any) -> None:
        self._callback(self._index, self._file)


class RegisteredFiles(FileTable):
    """The ring's table of registered files: requests on them are spared the look-up of a descriptor.

        with uring.RegisteredFiles(ring, [file, None, None]) as table:
            ring.read(table[0], buffer, 0)                           # a registered file
            data = ring.openat("data", direct=table).result()        # a direct descriptor: it never is an fd

    The table keeps the files open by itself; the descriptors stay the caller's, who may close them. Empty slots serve
    direct descriptors (`direct=`). Some are the kernel's to choose, the others are for `update` and `reserve`. What was
    opened with a mere number or ALLOC as `direct=` the table does not know, until it is told with `adopt`.

    Args:
        ring: the ring; it has one table at most.
        files: a list of descriptors, objects with `fileno()`, and None for empty slots; or the number of slots, all
            empty. 1048576 at most, and not more than the process may have files open (RLIMIT_NOFILE); the soft limit
            is raised where that suffices.
        kernel_slots: how many of the empty slots are the kernel's to choose from (`direct=table`, `direct=ALLOC`): the
            last ones. The default is half of them. With 0, or where the kernel does not choose (before 6.0),
            `direct=table` reserves a slot by itself.
        on_release: called with (index, file) when the kernel lets go of a file that this table has registered, which
            is when it was replaced or removed and the last request on it is complete. It runs in the ring's thread,
            inside whichever call of the ring takes the notice in (5.13). The file is kept alive until then.

    Raises:
        TypeError: no list of descriptors, and no number.
        ValueError: no slots, too many, more `kernel_slots` than are empty; a closed file.
        RuntimeError: the ring has a table already, or operations still use the one that was closed.
        OSError: a bad descriptor or a ring's (EBADF, the message says which), too many (EMFILE), out of memory.
        Unsupported: `on_release` before 5.13, or `kernel_slots` before 6.0.
        WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

    Kernel: 5.1, empty slots 5.5. Twins: `io_uring_register_files`, `io_uring_register_files_sparse`,
    `io_uring_register_files_tags`, `io_uring_register_file_alloc_range`.
    """

    def __init__(
        self,
        ring: Ring,
        files: Sequence[int | HasFileno | None] | int,
        *,
        kernel_slots: int | None = None,
        on_release: Callable[[int, Any], object] | None = None,
    ) -> None:
        ring._check()
        entries = _entries_of(files)
        numbers = [-1 if file is None else registrable(file, 0) for file in entries]
        empty = [slot for slot, fd in enumerate(numbers) if fd < 0]
        kernel = _kernel_range(empty, len(numbers), kernel_slots)
        _retire(ring)
        self._ring = ring
        self._on_release = on_release
        self._slots = ring._file_slots = Slots(len(numbers), ring._notes)
        try:
            self._register(entries, numbers)
            for slot, fd in enumerate(numbers):
                if fd >= 0:
                    self._slots.hold(Lease(self._slots, slot, kept=True))
            self._set_range(kernel, strict=bool(kernel_slots))
        except BaseException:
            self._slots.close_all()  # the next one gives back what may be registered
            raise

    def _register(self, entries: Sequence[Any], numbers: list[int]) -> None:
        ring = self._ring._ring
        code = -errno.EINVAL
        if max(numbers) < 0:
            code = lib.io_uring_register_files_sparse(ring, len(numbers))
        if code == -errno.EINVAL:  # before 5.19, or there are files
            notices = self._notices_for(0, entries)
            table = ffi.new("int[]", numbers)
            code = 0  # what counts when a signal's handler raises at the end of a call
            try:
                if any(notices):
                    tags = ffi.new("__u64[]", [notice.expect() if notice else 0 for notice in notices])
                    code = lib.io_uring_register_files_tags(ring, table, tags, len(numbers))
                else:
                    code = lib.io_uring_register_files(ring, table, len(numbers))
            finally:
                if code < 0:
                    for notice in filter(None, notices):
                        notice.forget()
        if code < 0:
            self._refuse(code, numbers)

    def _refuse(self, code: int, numbers: list[int]) -> None:
        """Raise for a registration that the kernel has refused."""
        if code == -errno.EBUSY:
            self._ring._file_slots = None
            raise RuntimeError("the ring has a table of registered files already, which no RegisteredFiles made")
        if code == -errno.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            advice = f"raise it, up to {hard}" if len(numbers) <= hard else f"its hard limit is {hard}"
            what = f"a table of {len(numbers)} slots needs an RLIMIT_NOFILE of as much, and it is {soft}: {advice}"
            raise OSError(errno.EMFILE, what)
        if code == -errno.EINVAL and self._on_release is not None and not probe.register_ops()["REGISTER_FILES2"]:
            raise Unsupported("IORING_REGISTER_FILES2", "5.13")
        if code == -errno.EBADF:
            raise OSError(errno.EBADF, _bad_file(numbers))
        raise OSError(-code, f"{os.strerror(-code)} [register_files]")

    def _notices_for(self, first: int, entries: Sequence[Any]) -> list[Notice | None]:
        callback = self._on_release
        if callback is None:
            return [None] * len(entries)
        return [
            None if file is None else Notice(self._ring, callback, slot, file)
            for slot, file in enumerate(entries, first)
        ]

    def __len__(self) -> int:
        return self._slots.size

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.in_use} of {len(self)} slots in use"
        return f"<RegisteredFiles {state}>"

    @property
    def in_use(self) -> int:
        """How many slots are in use: by registered files, by RegisteredFiles that were opened or reserved."""
        if self.closed:
            return 0
        if not lib.uring_check(self._ring._native):
            self._slots.work_off(self._ring)
        return len(self._slots.leases)

    @property
    def kernel_range(self) -> range:
        """The slots that the kernel chooses from."""
        return self._slots.kernel

    def __getitem__(self, index: int) -> RegisteredFile:
        """The file that this table has registered at an index.

        Raises:
            TypeError: no index.
            IndexError: out of range.
            LookupError: there is none: the slot is empty, or in the hands of whoever opened or reserved it.
            ValueError: the table is closed.
        """
        if self.closed:
            raise ValueError("the table of registered files is closed")
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"an index must be an int, not {type(index).__name__}")
        if not 0 <= index < self._slots.size:
            raise IndexError(f"an index of this table is from 0 to {self._slots.size - 1}, not {int(index)}")
        lease = self._slots.leases.get(index)
        if lease is None or not lease.kept or lease.pin is None:
            raise LookupError(f"slot {int(index)} has no file that this table has registered")
        return RegisteredFile(self, lease)

    def __iter__(self) -> Iterator[RegisteredFile]:
        """The files that this table has registered, in order."""
        leases = [] if self.closed else sorted(self._slots.leases.items())
        return iter([RegisteredFile(self, lease) for _, lease in leases if lease.kept and lease.pin is not None])

    # --- changes -----------------------------------------------------------------------------------------

    @overload
    def update(self, index: int, files: None) -> None: ...

    @overload
    def update(self, index: int, files: int | HasFileno) -> RegisteredFile: ...

    @overload
    def update(self, index: int, files: Sequence[int | HasFileno | None]) -> list[RegisteredFile | None]: ...

    def update(
        self, index: int, files: Sequence[int | HasFileno | None] | int | HasFileno | None
    ) -> list[RegisteredFile | None] | RegisteredFile | None:
        """Replace files, add some in empty slots, or empty slots, while operations run.

        Operations that have started go on with the file that they have. What is queued is submitted first, so that it
        starts with the file that it was made for. The RegisteredFiles of what is replaced are closed by this.

        Reads, writes, transfers and polls behind one with the option `drain` start late, and then take the new file:
        wait for them before.

        Args:
            index: the slot, of a list the first one.
            files: a descriptor, or an object with `fileno()`; None to empty the slot; or a list of these.

        Returns:
            The new RegisteredFile, None for an empty slot; or a list of these.

        Raises:
            TypeError: no index, no descriptor.
            ValueError: out of range; a slot that is an opened or reserved RegisteredFile's, or the kernel's to choose;
                a closed file; the table is closed.
            RuntimeError: an operation that may not have started yet names the old file: a link of a chain, a multishot,
                which may be requested again, one with `drain` or `force_async`, any on a ring with `sqpoll`, and what a
                worker does: an fsync and whatever else is no read, write, transfer, accept, connect or poll. Wait for
                it, or use another slot.
            OSError: a bad descriptor (EBADF, the message says which). Those before it in the list were updated.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.5, with `on_release` 5.13. Twins: `io_uring_register_files_update`,
        `io_uring_register_files_update_tag`.
        """
        self._check()
        ring, slots = self._ring, self._slots
        first = self._index(index)
        many = isinstance(files, (list, tuple))
        entries: Sequence[Any] = files if many else [files]  # type: ignore[assignment]
        numbers = [-1 if file is None else registrable(file, 0) for file in entries]
        if not numbers:
            return []
        self._index(first + len(numbers) - 1)
        slots.work_off(ring)
        if lib.uring_slot_queued(ring._native):
            ring.submit()
        for slot in range(first, first + len(numbers)):
            self._check_replaceable(slot)
        code = self._exchange(first, entries, numbers)
        result = [self._exchanged(slot, fd) for slot, fd in enumerate(numbers[: max(code, 0)], first)]
        slots.work_off(ring)
        if code < len(numbers):
            bad = max(code, 0)
            if code not in (-errno.EBADF, bad):
                raise OSError(-code, f"{os.strerror(-code)} [register_files_update]")
            raise OSError(errno.EBADF, _bad_file(numbers[bad:], first + bad))
        return result if many else result[0]

    def _check_replaceable(self, slot: int) -> None:
        slots = self._slots
        lease = slots.leases.get(slot)
        if lease is None or lease.gone:
            if slot in slots.kernel:
                raise ValueError(
                    f"slot {slot} is in the range where the kernel chooses, {slots.kernel.start} to "
                    f"{slots.kernel.stop - 1}: see kernel_slots and set_alloc_range"
                )
            return
        if not lease.kept:
            raise ValueError(f"slot {slot} is in the hands of the RegisteredFile that opened or reserved it")
        if lease.pin is not None and lease.pin.late.is_kept():
            raise RuntimeError(
                f"an operation that may not have started yet names registered file {slot}: wait for it, or use "
                "another slot"
            )

    def _exchange(self, first: int, entries: Sequence[Any], numbers: list[int]) -> int:
        """Let the kernel exchange files; how many it did, or a negative errno."""
        ring = self._ring._ring
        notices = self._notices_for(first, entries)
        table = ffi.new("int[]", numbers)
        # What counts when a signal's handler raises at the end of a call: the kernel has done its work by then.
        code = len(numbers)
        try:
            if any(notices):
                tags = ffi.new("__u64[]", [notice.expect() if notice else 0 for notice in notices])
                code = int(lib.io_uring_register_files_update_tag(ring, first, table, tags, len(numbers)))
            else:
                code = int(lib.io_uring_register_files_update(ring, first, table, len(numbers)))
        finally:
            for notice in filter(None, notices[max(code, 0) :]):
                notice.forget()
        return code

    def _exchanged(self, slot: int, fd: int) -> RegisteredFile | None:
        """Note what the kernel has exchanged. It may be filled again at once: what names the old file has started."""
        slots = self._slots
        if fd >= 0:
            lease = Lease(slots, slot, kept=True)
            if slot in slots.free:
                del slots.free[slot]
            slots.hold(lease)
            return RegisteredFile(self, lease)
        old = slots.leases.get(slot)
        if old is not None:
            old.freed = True
            old.pin = None
            del slots.leases[slot]
            if slot not in slots.kernel:
                slots.free[slot] = None
        return None

    def set_alloc_range(self, start: int, length: int) -> None:
        """Choose the slots from which the kernel chooses; the other empty ones are for `update` and `reserve`.

        Args:
            start: the first slot.
            length: how many; 0 leaves the kernel no choice.

        Raises:
            TypeError, ValueError: no range of this table; there is a reserved slot in it; the table is closed.
            RuntimeError: operations for which the kernel will choose a slot are in flight.
            Unsupported: a kernel before 6.0.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 6.0. Twin: `io_uring_register_file_alloc_range`.
        """
        self._check()
        slots = self._slots
        first = self._index(start)
        if not isinstance(length, int) or isinstance(length, bool):
            raise TypeError(f"length must be an int, not {type(length).__name__}")
        if not 0 <= length <= slots.size - first:
            raise ValueError(f"from slot {first} on there are {slots.size - first} slots, not {length}")
        kernel = range(first, first + length)
        slots.work_off(self._ring)
        for slot, lease in [*slots.leases.items()]:
            if slot in kernel and lease.reserved:
                raise ValueError(f"slot {slot} is reserved, so the kernel must not choose it")
        if slots.opening.is_kept():
            raise RuntimeError("the kernel is still to choose slots for operations in flight: wait for them")
        self._set_range(kernel)

    def _set_range(self, kernel: range, *, strict: bool = True) -> None:
        """Let the kernel choose there; where it does not know ranges, and it is not strict, it chooses nowhere."""
        code = lib.io_uring_register_file_alloc_range(self._ring._ring, kernel.start, len(kernel))
        if strict and code == -errno.EINVAL:
            raise Unsupported("IORING_REGISTER_FILE_ALLOC_RANGE", "6.0")
        if strict and code < 0:
            raise OSError(-code, f"{os.strerror(-code)} [register_file_alloc_range]")
        self._slots.share_out(kernel if code >= 0 else range(0))

    # --- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all RegisteredFiles, and give the table back.

        Operations that name its files go on. While some are in flight the kernel keeps the table: call this again, or
        make another one, when they are complete; or close the ring, which closes the table too.

        Raises:
            WrongThread, Forked: this is not the ring's owner.

        Kernel: 5.1. Twin: `io_uring_unregister_files`.
        """
        ring, slots = self._ring, self._slots
        if ring.closed or ring._file_slots is not slots:
            return
        ring._check()
        slots.close_all()
        if slots.is_idle():
            _retire(ring)
        else:
            slots.work_off(ring)

    def __enter__(self) -> RegisteredFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        slots = getattr(self, "_slots", None)
        if slots is not None:
            slots.close_all()  # who makes another table gives this one back


def _retire(ring: Ring) -> None:
    """Give back a closed table, if there is one."""
    slots = ring._file_slots
    if slots is None:
        return
    if not slots.closed:
        raise RuntimeError("the ring has a table of registered files already: close it first, or update it")
    slots.close_all()
    if not slots.is_idle():
        raise RuntimeError("operations still use the table of registered files that was closed: wait for them")
    lib.io_uring_unregister_files(ring._ring)
    ring._file_slots = None


def _entries_of(files: Any) -> Sequence[Any]:
    """One entry for each slot.

    Raises:
        TypeError, ValueError: see RegisteredFiles.
    """
    if isinstance(files, (list, tuple)):
        count = len(files)
    elif isinstance(files, int) and not isinstance(files, bool):
        count = files
    else:
        raise TypeError(f"files must be a list, or the number of slots, not {type(files).__name__}")
    if not 1 <= count <= SLOTS_MAX:
        raise ValueError(f"a table has from 1 to {SLOTS_MAX} slots, not {count}")
    return files if isinstance(files, (list, tuple)) else [None] * count


def _kernel_range(empty: list[int], size: int, wanted: int | None) -> range:
    """The end of the table, from where on so many slots are empty."""
    count = len(empty) // 2 if wanted is None else wanted
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"kernel_slots must be an int, not {type(count).__name__}")
    if not 0 <= count <= len(empty):
        raise ValueError(f"kernel_slots must be from 0 to {len(empty)}, the number of empty slots, not {count}")
    return range(empty[-count], size) if count else range(0)


def _bad_file(numbers: list[int], first: int = 0) -> str:
    """What is wrong with one of these descriptors, for EBADF."""
    for slot, fd in enumerate(numbers, first):
        if fd >= 0:
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                return f"the file for slot {slot} is no open descriptor: {fd}"
            if target == "anon_inode:[io_uring]":
                return f"the file for slot {slot} is a ring, which cannot be registered: {fd}"
    return f"{os.strerror(errno.EBADF)} [register_files]"
