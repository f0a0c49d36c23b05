"""Requests that make, close and move descriptors: open, close, and the ring's table of registered files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from .._native import ffi, lib
from ..operation import DescriptorOperation, Kind, Operation, nothing
from ..types import FIXED_FILE, FixedFile, HasFileno, Options, Path, pack
from .arguments import INT_MAX, OFFSET_MAX, by_path, number, reporting
from .base import Builder, directory_of, file_of, path_of
from .direct import ALLOC, DirectOperation, empty_slot, slot_argument, slot_result

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
OPENAT_DIRECT = Kind("openat", "OPENAT", "5.15", lib.uring_openat_direct, slot_result, operation=DirectOperation)
OPENAT2_DIRECT = Kind("openat", "OPENAT2", "5.15", lib.uring_openat2_direct, slot_result, operation=DirectOperation)
CLOSE = Kind("close_fd", "CLOSE", "5.6", lib.uring_close, nothing)
CLOSE_DIRECT = Kind("close_fd", "CLOSE", "5.15", lib.uring_close_direct, nothing)
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

    def openat(
        self,
        path: Path,
        flags: int = os.O_RDONLY,
        mode: int = 0o666,
        *,
        dir_fd: int | None = None,
        resolve: int = 0,
        direct: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[FixedFile]:
        """Open a file.

        As with os.open, the descriptor is not inherited by other programs (O_CLOEXEC).

        Args:
            path: str, bytes or PathLike.
            flags: os.O_* bits.
            mode: permission bits of a file that is created, less the umask.
            dir_fd: the directory that a relative path starts from; None is the current one.
            resolve: Resolve bits: what the path must not do.
            direct: make no descriptor, but put the file into this slot of the ring's registered files, in place of
                what is there; ALLOC lets the kernel choose a free one.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the descriptor; with `direct` a FixedFile. Nobody takes the result: it is
            closed, but for a slot that was named.

        Raises:
            TypeError: no path, or a number that is none.
            ValueError: a null byte in the path, a number out of range, `fixed_file`.
            Unsupported: `direct` on a kernel before 5.15.

        Kernel: 5.6, direct 5.15, ALLOC 5.19. Twins: `io_uring_prep_openat`, `io_uring_prep_open`,
        `io_uring_prep_openat2`, and the same with `_direct`; `resolve`, or flags beyond 32 bits, choose openat2.
        """
        slot = None if direct is None else slot_argument(direct)
        named = slot is not None and slot != ALLOC
        packed = by_path(pack(options) if named else reporting(options, "openat"))
        start = directory_of(dir_fd)
        name = path_of(path)
        bits = number(flags, "flags", OFFSET_MAX)
        # A slot has nothing to inherit, and the kernel refuses the flag there.
        bits = bits | os.O_CLOEXEC if slot is None else bits & ~os.O_CLOEXEC
        permissions = number(mode, "mode", 0o7777)
        rules = number(resolve, "resolve", OFFSET_MAX)
        about = (os.fspath(path), None, None, slot)
        if not rules and bits <= INT_MAX:
            if slot is None:
                return self._start(OPENAT, name, about, packed, start, name, bits, permissions)
            return self._start(OPENAT_DIRECT, name, about, packed, start, name, bits, permissions, slot)
        # openat2 refuses a mode that creates nothing.
        how = ffi.new("struct open_how *", (bits, permissions if bits & CREATING else 0, rules))
        if slot is None:
            return self._start(OPENAT2, (name, how), about, packed, start, name, how)
        return self._start(OPENAT2_DIRECT, (name, how), about, packed, start, name, how, slot)

    def close_fd(self, fd: int | FixedFile, **options: Unpack[Options]) -> Operation[None]:
        """Close a descriptor, or empty a slot of the ring's registered files.

        Operations in flight are not cancelled by it. (`close` is the ring's own.)

        Args:
            fd: a descriptor, or a FixedFile. An object with `fileno()` would not learn that it is closed: take the
                number out of it with `detach()`.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: neither an int nor a FixedFile.
            ValueError: a negative descriptor.
            Unsupported: a FixedFile on a kernel before 5.15.

        Kernel: 5.6, FixedFile 5.15. Twins: `io_uring_prep_close`, `io_uring_prep_close_direct`.
        """
        if not isinstance(fd, int):
            raise TypeError(f"close_fd takes a number, as from detach(), or a FixedFile, not {type(fd).__name__}")
        number_, packed, _ = file_of(fd, pack(options))
        if packed & FIXED_FILE:
            slot = slot_argument(number_)
            return self._start(CLOSE_DIRECT, None, (slot,), packed & ~FIXED_FILE, slot)
        return self._start(CLOSE, None, (number_,), packed, number_)

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
        index, packed, _ = file_of(file, reporting(options, "fixed_fd_install"))
        if not packed & FIXED_FILE:
            raise TypeError(f"expected a FixedFile, not {type(file).__name__}")
        return self._start(FIXED_FD_INSTALL, None, (index,), packed, index, number(flags, "flags"))

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
