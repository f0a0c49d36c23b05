"""Direct descriptors: files that a request opens into the ring's table of registered files.

There are two ways. With a number or ALLOC the slot is the caller's to look after: one that the kernel chose and nobody
was told of is emptied again, as an ordinary descriptor would be closed; one that the caller chose is emptied only when
the operation is abandoned. With a RegisteredFiles table, or a slot that it has reserved, the result is a
RegisteredFile, and file_slots.py looks after the slot.

For the second way the table has to know what has become of a slot in the very moment when the completion is handled:
before another operation's completion tells that the kernel has filled the slot again. So these operations notice that
their result is being set.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from .._native import ffi, lib
from ..errors import Unsupported
from ..file_slots import FileTable, RegisteredFile, Token
from ..multishot import Multishot
from ..operation import DescriptorOperation, Operation, T
from ..types import FixedFile
from .arguments import number
from .paths import MKDIRAT

if TYPE_CHECKING:
    from ..ring import Ring

ALLOC: int = lib.IORING_FILE_INDEX_ALLOC
"""As `direct=`: the kernel chooses a free slot (IORING_FILE_INDEX_ALLOC, 5.19)."""


class Place(NamedTuple):
    """Where a new file goes, as `direct=` says."""

    slot: int
    """For C: an index, or ALLOC."""
    target: int | RegisteredFile | Token
    """For `about`: the same, or whose slot it is; with a token about its table where the kernel will choose one."""
    keep: Any
    """What the operation has to keep."""
    managed: bool
    """Whether the result is a RegisteredFile."""
    named: bool
    """Whether the caller knows the slot without the result."""


def place_of(ring: Any, direct: int | FileTable) -> Place:
    """Where `direct=` puts a file.

    Raises:
        TypeError: not an int, a FixedFile or a table.
        ValueError: negative, or too large for an index; a table or RegisteredFile of another ring, or a closed one.
        OSError: a table in which the kernel does not choose has no free slot (ENFILE).
        Unsupported: a kernel before direct descriptors, which would ignore the slot.
    """
    if MKDIRAT.missing:  # of the same kernel, 5.15; direct descriptors themselves cannot be asked for
        raise Unsupported("direct descriptors", "5.15")
    named = True
    if isinstance(direct, FileTable):
        table, named = direct, False
        reserved = table._direct(ring)
        if reserved is None:
            return Place(ALLOC, table._slots.opening.token(table), None, managed=True, named=False)
        direct = reserved
    if isinstance(direct, RegisteredFile):
        return Place(int(direct), direct, direct._pin(ring, 0), managed=True, named=named)
    if direct == ALLOC and not isinstance(direct, bool):
        return Place(ALLOC, ALLOC, None, managed=False, named=False)
    slot = number(direct, "direct")
    return Place(slot, slot, None, managed=False, named=True)


def slot_result(operation: Operation[FixedFile], res: int) -> FixedFile:
    """The result of an operation with its slot as the fourth item of `about`."""
    slot = operation._about[3]
    return FixedFile(res if slot == ALLOC else slot)


def empty_slot(ring: Ring, slot: int) -> None:
    """Take a file out of the ring's table, if this thread may; else the slot stays in use until the ring is closed."""
    if not lib.uring_check(ring._native):
        lib.io_uring_register_files_update(ring._ring, slot, ffi.new("int[]", [-1]), 1)


class DirectOperation(DescriptorOperation[FixedFile]):
    """An operation whose result is a direct descriptor; the fourth item of `about` is its slot or ALLOC."""

    __slots__ = ()

    def _close(self, fd: int) -> None:
        empty_slot(self._ring, slot_result(self, fd))

    def __del__(self) -> None:
        if hasattr(self, "_res") and self._about[3] == ALLOC:
            self._dispose()


class LandingOperation(Operation[T]):
    """An operation that acts in the moment when its result is set, whoever sets it."""

    __slots__ = ("_landed",)

    @property
    def _res(self) -> int | None:
        return self._landed

    @_res.setter
    def _res(self, res: int | None) -> None:
        if res is not None and self._landed is None:
            self._land(res)  # first, so that it is repeated when a signal's handler raises in it
        self._landed: int | None = res

    def _land(self, res: int) -> None:
        """Act on the result; may be interrupted anywhere, and is repeated then."""


class RegisteredOperation(LandingOperation[T]):
    """An operation that opens a RegisteredFile; the fourth item of `about` is that, or a token about the table.

    It holds the file like any result: a slot that nobody else holds goes with it. The token is kept until the result is
    known, so that the table knows that the kernel is still to choose; then the table takes its place.
    """

    __slots__ = ("_file",)

    _file: Any

    def _land(self, res: int) -> None:
        target = self._about[3]
        if isinstance(target, Token):
            if res >= 0:
                self._file = self._adopt(target.what, res)
            self._about = (*self._about[:3], target.what, *self._about[4:])
        elif res >= 0 and not isinstance(target, FileTable):
            self._file = target

    def _adopt(self, table: FileTable, res: int) -> Any:
        return table._adopt(res)

    def _dispose(self) -> None:
        self._file = None
        self._about = (*self._about[:3], None, *self._about[4:])

    def _error(self) -> Exception:
        error = super()._error()
        if self._res == -errno.ENFILE and isinstance(self._about[3], FileTable):
            usage = self._about[3]._slots.usage()
            return OSError(errno.ENFILE, f"no free slot for {self.description()}: {usage}")
        return error


def file_result(operation: Any, _res: int) -> RegisteredFile:
    """The result of a RegisteredOperation.

    Raises:
        ValueError: it was abandoned.
    """
    if operation._file is None:
        raise ValueError(f"{operation.description()} was abandoned, and its file is gone")
    file: RegisteredFile = operation._file
    return file


class CloseSlotOperation(LandingOperation[None]):
    """A close of a RegisteredFile; the fourth item of `about` is its pin, until the result is known."""

    __slots__ = ()

    def _land(self, res: int) -> None:
        if len(self._about) > 3:
            lease = self._about[3].lease
            if lease.reserved:
                pass  # it may be filled again, by the next link
            elif res < 0:
                lease.closing = False
            else:
                lease.gone = True
                lease.pin = None
            self._about = self._about[:3]


class DirectMultishot(Multishot[FixedFile]):
    """Each shot is a direct descriptor in a slot that the kernel chose."""

    __slots__ = ()

    def _view(self, value: int) -> FixedFile:
        return FixedFile(value)

    def _throw_away(self, key: Any) -> None:
        slot = self._shots[key][0]
        del self._shots[key]
        empty_slot(self._ring, slot)

    def _throw_away_value(self, value: int) -> None:
        empty_slot(self._ring, value)

    def _error(self) -> Exception:
        if self._res == -errno.ENFILE:
            return OSError(errno.ENFILE, f"{os.strerror(errno.ENFILE)} [{self.description()}] (no slot is free)")
        return super()._error()


class RegisteredMultishot(Multishot[RegisteredFile]):
    """Each shot is a RegisteredFile in a slot that the kernel chose; the fourth item of `about` is as there."""

    __slots__ = ()

    def _take_in(self, key: Any, slot: int, res: int, flags: int) -> None:
        # Adopted at once: the table must know before anybody else may fill the slot. And in one call, so that the file
        # is in its place before a signal's handler may raise.
        if res >= 0 and key not in self._fresh and key not in self._shots:
            self._fresh.update(zip((key,), map(self._about[3].what._adopt, (res,)), strict=True))
        super()._take_in(key, slot, res, flags)

    def _throw_away(self, key: Any) -> None:
        self._fresh.pop(key, None)  # its slot is emptied with it
        del self._shots[key]

    def _finish(self, res: int, flags: int) -> None:
        super()._finish(res, flags)
        if isinstance(self._about[3], Token):
            self._about = (*self._about[:3], self._about[3].what)

    def _error(self) -> Exception:
        if self._res == -errno.ENFILE:
            usage = self._about[3]._slots.usage()
            return OSError(errno.ENFILE, f"no free slot for {self.description()}: {usage}")
        return super()._error()
