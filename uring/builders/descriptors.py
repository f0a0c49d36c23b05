"""Requests that make, close and move descriptors: open, close, and the ring's table of registered files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from .._native import ffi, lib
from ..file_slots import FileTable, RegisteredFile
from ..operation import DescriptorOperation, Kind, Operation, nothing
from ..types import FIXED_FILE, FixedFile, HasFileno, Options, Path, pack
from .arguments import INT_MAX, OFFSET_MAX, by_path, number, reporting
from .base import Builder, directory_of, file_of, path_of
from .direct import (
    ALLOC,
    CloseSlotOperation,
    DirectOperation,
    RegisteredOperation,
    empty_slot,
    file_result,
    place_of,
    slot_result,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class FilesUpdateOperation(DescriptorOperation[list[FixedFile]]):
    """A files_update; the fourth item of `about` is its `int[]`, where the kernel stores the slots that it chose."""

    __slots__ = ()

    def _close(self, fd: int) -> None:
        if self._about[1] is None:
            for slot in _updated(self, fd):
                empty_slot(self._ring, slot)


def _updated(operation: Operation[list[FixedFile]], res: int) -> list[FixedFile]:
    _, first, _, slots = operation._about
    if first is None:
        return [FixedFile(slot) for slot in ffi.unpack(slots, res)]
    return [FixedFile(slot) for slot in range(first, first + res)]


OPENAT: Kind[int] = Kind("openat", "OPENAT", "5.6", lib.uring_openat, operation=DescriptorOperation)
OPENAT2: Kind[int] = Kind("openat", "OPENAT2", "5.6", lib.uring_openat2, operation=DescriptorOperation)


def _openat_direct(opcode: str, call: Any) -> tuple[Kind[Any], Kind[Any]]:
    return (
        Kind("openat", opcode, "5.15", call, slot_result, operation=DirectOperation),
        Kind("openat", opcode, "5.15", call, file_result, operation=RegisteredOperation),
    )


# Into a slot of the caller's, and of a RegisteredFiles table.
OPENAT_DIRECT = _openat_direct("OPENAT", lib.uring_openat_direct)
OPENAT2_DIRECT = _openat_direct("OPENAT2", lib.uring_openat2_direct)
CLOSE = Kind("close_fd", "CLOSE", "5.6", lib.uring_close, nothing)
CLOSE_DIRECT = Kind("close_fd", "CLOSE", "5.15", lib.uring_close_direct, nothing)
CLOSE_REGISTERED = Kind("close_fd", "CLOSE", "5.15", lib.uring_close_direct, nothing, operation=CloseSlotOperation)
FIXED_FD_INSTALL: Kind[int] = Kind(
    "fixed_fd_install", "FIXED_FD_INSTALL", "6.8", lib.uring_fixed_fd_install, operation=DescriptorOperation
)
FILES_UPDATE = Kind(
    "files_update", "FILES_UPDATE", "5.6", lib.uring_files_update, _updated, operation=FilesUpdateOperation
)

CREATING = os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY


class DescriptorBuilders(Builder):
    """Requests that make, close and move descriptors."""

    @overload
    def openat(
        self,
        path: Path,
        flags: int = ...,
        mode: int = ...,
        *,
        dir_fd: int | None = ...,
        resolve: int = ...,
        direct: None = ...,
        **options: Unpack[Options],
    ) -> Operation[int]: ...

    @overload
    def openat(
        self,
        path: Path,
        flags: int = ...,
        mode: int = ...,
        *,
        dir_fd: int | None = ...,
        resolve: int = ...,
        direct: int,
        **options: Unpack[Options],
    ) -> Operation[FixedFile]: ...

    @overload
    def openat(
        self,
        path: Path,
        flags: int = ...,
        mode: int = ...,
        *,
        dir_fd: int | None = ...,
        resolve: int = ...,
        direct: FileTable,
        **options: Unpack[Options],
    ) -> Operation[RegisteredFile]: ...

    def openat(
        self,
        path: Path,
        flags: int = os.O_RDONLY,
        mode: int = 0o666,
        *,
        dir_fd: int | None = None,
        resolve: int = 0,
        direct: int | FileTable | None = None,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[FixedFile] | Operation[RegisteredFile]:
        """Open a file.

        As with os.open, the descriptor is not inherited by other programs (O_CLOEXEC).

        Args:
            path: str, bytes or PathLike.
            flags: os.O_* bits.
            mode: permission bits of a file that is created, less the umask.
            dir_fd: the directory that a relative path starts from; None is the current one.
            resolve: Resolve bits: what the path must not do.
            direct: make no descriptor, but put the file into this slot of the ring's registered files, in place of
                what is there; ALLOC lets the kernel choose a free one. A RegisteredFiles table does so too, and then
                looks after the slot, as it does for one that it has reserved.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the descriptor; with `direct` a FixedFile, with a table or its slot a
            RegisteredFile. Nobody takes the result: it is closed, but for a slot that was named.

        Raises:
            TypeError: no path, or a number that is none.
            ValueError: a null byte in the path, a number out of range, `fixed_file`; a closed table or RegisteredFile.
            OSError: the table has no free slot (ENFILE), where that is known before.
            Unsupported: `direct` on a kernel before 5.15.

        Kernel: 5.6, direct 5.15, ALLOC 5.19. Twins: `io_uring_prep_openat`, `io_uring_prep_open`,
        `io_uring_prep_openat2`, and the same with `_direct`; `resolve`, or flags beyond 32 bits, choose openat2.
        """
        place = None if direct is None else place_of(self, direct)
        packed = by_path(pack(options) if place is not None and place.named else reporting(options, "openat"))
        start = directory_of(dir_fd)
        name = path_of(path)
        bits = number(flags, "flags", OFFSET_MAX)
        # A slot has nothing to inherit, and the kernel refuses the flag there.
        bits = bits | os.O_CLOEXEC if place is None else bits & ~os.O_CLOEXEC
        permissions = number(mode, "mode", 0o7777)
        rules = number(resolve, "resolve", OFFSET_MAX)
        about = (os.fspath(path), None, None, None if place is None else place.target)
        if not rules and bits <= INT_MAX:
            if place is None:
                return self._start(OPENAT, name, about, packed, start, name, bits, permissions)
            owned, kind = (name, place.keep), OPENAT_DIRECT[place.managed]
            return self._start(kind, owned, about, packed, start, name, bits, permissions, place.slot)
        # openat2 refuses a mode that creates nothing.
        how = ffi.new("struct open_how *", (bits, permissions if bits & CREATING else 0, rules))
        if place is None:
            return self._start(OPENAT2, (name, how), about, packed, start, name, how)
        all_owned, kind = (name, how, place.keep), OPENAT2_DIRECT[place.managed]
        return self._start(kind, all_owned, about, packed, start, name, how, place.slot)

    def close_fd(self, fd: int | FixedFile, **options: Unpack[Options]) -> Operation[None]:
        """Close a descriptor, or empty a slot of the ring's registered files.

        Operations in flight are not cancelled by it. (`close` is the ring's own.) A RegisteredFile takes no new
        operations from then on, unless its slot was reserved, or this fails. To free its slot without a request, use
        its own `close`.

        Args:
            fd: a descriptor, or a FixedFile. An object with `fileno()` would not learn that it is closed: take the
                number out of it with `detach()`.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: neither an int nor a FixedFile.
            ValueError: a negative descriptor, a RegisteredFile that is closed or another ring's.
            Unsupported: a FixedFile on a kernel before 5.15.

        Kernel: 5.6, FixedFile 5.15. Twins: `io_uring_prep_close`, `io_uring_prep_close_direct`.
        """
        if not isinstance(fd, int):
            raise TypeError(f"close_fd takes a number, as from detach(), or a FixedFile, not {type(fd).__name__}")
        number_, packed, keep = file_of(fd, pack(options), self)
        if packed & FIXED_FILE:
            slot = place_of(self, int(number_)).slot
            if keep is not None and isinstance(fd, RegisteredFile):
                return self._close_registered(fd, packed & ~FIXED_FILE)
            return self._start(CLOSE_DIRECT, None, (slot,), packed & ~FIXED_FILE, slot)
        return self._start(CLOSE, None, (number_,), packed, number_)

    def _close_registered(self, file: RegisteredFile, packed: int) -> Operation[None]:
        lease = file._lease
        pin = lease.pin
        about = (FixedFile(file), None, None, pin)
        operation = self._start(CLOSE_REGISTERED, file._pin(self, 0), about, packed, int(file))
        if lease.reserved:
            lease.closes += 1
        elif operation._res is None:
            lease.closing = True
        return operation

    def fixed_fd_install(self, file: FixedFile, flags: int = 0, **options: Unpack[Options]) -> Operation[int]:
        """Make an ordinary descriptor of a registered file; both refer to the same open file.

        Args:
            file: the FixedFile.
            flags: 0, or IORING_FIXED_FD_NO_CLOEXEC to let other programs inherit it.
            options: see Options; `skip_success` is refused, since the descriptor would be lost.

        Returns:
            An Operation whose result is the descriptor; it is closed if nobody takes it.

        Raises:
            TypeError: no FixedFile.
            ValueError: flags out of range, or `skip_success`.

        Kernel: 6.8. Twin: `io_uring_prep_fixed_fd_install`.
        """
        index, packed, keep = file_of(file, reporting(options, "fixed_fd_install"), self)
        if not packed & FIXED_FILE:
            raise TypeError(f"expected a FixedFile, not {type(file).__name__}")
        return self._start(FIXED_FD_INSTALL, keep, (index,), packed, index, number(flags, "flags"))

    def files_update(
        self, files: Sequence[int | HasFileno], offset: int = ALLOC, **options: Unpack[Options]
    ) -> Operation[list[FixedFile]]:
        """Put files into the ring's table of registered files.

        The table keeps a file open by itself; its descriptor may be closed when this is complete.

        Args:
            files: descriptors, or objects with `fileno()`; with an offset also -1, which empties a slot, and
                IORING_REGISTER_FILES_SKIP (-2), which leaves it as it is.
            offset: the first slot to fill; ALLOC lets the kernel choose free ones.
            options: see Options; `skip_success` is refused, since the slots would be lost.

        Returns:
            An Operation whose result lists the slots that were updated, as FixedFiles: fewer than were asked for when
            one of the files was bad. Slots that the kernel chose are emptied if nobody takes the result.

        Raises:
            TypeError: not a list, or not of descriptors.
            ValueError: an empty list, a closed file, a number out of range, or `skip_success`.

        Kernel: 5.6, ALLOC 5.19. Twin: `io_uring_prep_files_update`.
        """
        packed = reporting(options, "files_update")
        if not isinstance(files, (list, tuple)):
            raise TypeError(f"files must be a list, not {type(files).__name__}")
        if not files:
            raise ValueError("files_update needs at least one file")
        chosen = offset == ALLOC and not isinstance(offset, bool)
        first = -1 if chosen else number(offset, "offset")
        lowest = 0 if chosen else lib.IORING_REGISTER_FILES_SKIP
        fds = ffi.new("int[]", [_registrable(file, lowest) for file in files])
        about: tuple[Any, ...] = (None, None if chosen else first, None, fds)
        return self._start(FILES_UPDATE, (fds, tuple(files)), about, packed, fds, len(fds), first)


def _registrable(file: int | HasFileno, lowest: int) -> int:
    """A descriptor for the table, or one of the two negative numbers that mean something there."""
    if isinstance(file, FixedFile):
        raise TypeError("a FixedFile is in the table already")
    if isinstance(file, int) and lowest <= file < 0:
        return file
    return file_of(file, 0)[0]
