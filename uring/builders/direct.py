"""Direct descriptors: files that a request opens into the ring's table of registered files.

The slot is chosen by the caller or, with ALLOC, by the kernel, which then tells its number in the result. A slot that
the kernel chose and nobody was told of is emptied again, as an ordinary descriptor would be closed. One that the caller
chose is the caller's, who need not look at the result to use it; it is emptied only when the operation is abandoned.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..errors import Unsupported
from ..multishot import Multishot
from ..operation import DescriptorOperation, Operation
from ..types import FixedFile
from .arguments import number
from .paths import MKDIRAT

if TYPE_CHECKING:
    from ..ring import Ring

ALLOC: int = lib.IORING_FILE_INDEX_ALLOC
"""As `direct=`: the kernel chooses a free slot (IORING_FILE_INDEX_ALLOC, 5.19)."""


def slot_argument(direct: int) -> int:
    """The slot that `direct=` names, or ALLOC.

    Raises:
        TypeError: not an int or FixedFile.
        ValueError: negative, or too large for an index.
        Unsupported: a kernel before direct descriptors, which would ignore the slot.
    """
    if MKDIRAT.missing:  # of the same kernel, 5.15; direct descriptors themselves cannot be asked for
        raise Unsupported("direct descriptors", "5.15")
    if direct == ALLOC and not isinstance(direct, bool):
        return ALLOC
    return number(direct, "direct")


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
