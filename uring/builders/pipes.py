"""Pipes, and moving data through them inside the kernel."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, overload

from .._native import ffi, lib
from ..errors import os_error
from ..file_slots import FileTable, RegisteredFile
from ..operation import DescriptorOperation, Kind, Operation
from ..types import FIXED_FILE, Descriptor, FixedFile, Options, pack
from .arguments import OFFSET_MAX, U32_MAX, number
from .base import Builder, file_of
from .direct import DirectOperation, RegisteredOperation, empty_slot, file_result, place_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


RegisteredPair = tuple[RegisteredFile, RegisteredFile]


class PipeOperation(DescriptorOperation[tuple[int, int]]):
    """A pipe; the fifth item of `about` is the `int[2]` with its ends."""

    __slots__ = ()

    def _close(self, fd: int) -> None:
        reader, writer = ends_of(self, fd)
        try:
            os.close(reader)
        finally:
            os.close(writer)


class DirectPipeOperation(DescriptorOperation[tuple[FixedFile, FixedFile]]):
    """A pipe in the ring's table; the fourth item of `about` is its first slot or ALLOC, the fifth as above."""

    __slots__ = ()

    def _close(self, fd: int) -> None:
        for slot in ends_of(self, fd):
            empty_slot(self._ring, slot)

    __del__ = DirectOperation.__del__


class RegisteredPipeOperation(RegisteredOperation[RegisteredPair]):
    """A pipe in a RegisteredFiles table; the fifth item of `about` is the `int[2]` with its slots."""

    __slots__ = ()

    def _adopt(self, table: FileTable, res: int) -> RegisteredPair:
        reader, writer = ends_of(self, res)
        return table._adopt(reader), table._adopt(writer)


class SpliceOperation(Operation[int]):
    """A transfer between two descriptors; `about` goes on with the target and its offset."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        source, start, length, target, at = self._about
        text = f"{self.name} of {length} bytes from fd {source}"
        text += f" at {start}" if start >= 0 else ""
        return text + f" to fd {target}" + (f" at {at}" if at >= 0 else "")

    def _error(self) -> Exception:
        if self._res != -errno.EINVAL:
            return super()._error()
        return os_error(errno.EINVAL, f"{self.description()}: splice needs a pipe on one side, tee on both")


def ends_of(operation: Operation[Any], _res: int) -> tuple[int, int]:
    """The result of a pipe: reading end, writing end."""
    reader, writer = operation._about[4]
    return reader, writer


def direct_ends_of(operation: Operation[Any], res: int) -> tuple[FixedFile, FixedFile]:
    """The same for a pipe in the ring's table."""
    reader, writer = ends_of(operation, res)
    return FixedFile(reader), FixedFile(writer)


SPLICE: Kind[int] = Kind("splice", "SPLICE", "5.7", lib.uring_splice, operation=SpliceOperation, transfer=True)
TEE: Kind[int] = Kind("tee", "TEE", "5.8", lib.uring_tee, operation=SpliceOperation, transfer=True)
PIPE = Kind("pipe", "PIPE", "6.16", lib.uring_pipe, ends_of, operation=PipeOperation)
PIPE_DIRECT = Kind("pipe", "PIPE", "6.16", lib.uring_pipe_direct, direct_ends_of, operation=DirectPipeOperation)
PIPE_REGISTERED: Kind[Any] = Kind(
    "pipe", "PIPE", "6.16", lib.uring_pipe_direct, file_result, operation=RegisteredPipeOperation
)


class PipeBuilders(Builder):
    """Pipes, and moving data through them inside the kernel."""

    @overload
    def pipe(
        self, flags: int = ..., *, direct: None = ..., **options: Unpack[Options]
    ) -> Operation[tuple[int, int]]: ...

    @overload
    def pipe(
        self, flags: int = ..., *, direct: int, **options: Unpack[Options]
    ) -> Operation[tuple[FixedFile, FixedFile]]: ...

    @overload
    def pipe(
        self, flags: int = ..., *, direct: FileTable | RegisteredPair, **options: Unpack[Options]
    ) -> Operation[RegisteredPair]: ...

    def pipe(
        self,
        flags: int = os.O_CLOEXEC,
        *,
        direct: int | FileTable | RegisteredPair | None = None,
        **options: Unpack[Options],
    ) -> Operation[tuple[int, int]] | Operation[tuple[FixedFile, FixedFile]] | Operation[RegisteredPair]:
        """Make a pipe.

        Args:
            flags: os.O_CLOEXEC, os.O_NONBLOCK, os.O_DIRECT bits, as for os.pipe2. The default is that of os.pipe:
                other programs do not inherit it.
            direct: make no descriptors, but use this slot of the ring's registered files and the next one; ALLOC
                lets the kernel choose. A RegisteredFiles table does so too, and then looks after the slots, as it
                does for a pair from its `reserve_pair`.
            options: see Options.

        Returns:
            An Operation whose result is the pair (reading end, writing end); with `direct` they are FixedFiles,
            with a table or its slots RegisteredFiles. Nobody takes the result: both are closed, but for slots that
            were named.

        Raises:
            TypeError, ValueError: flags or a slot that are no number, or out of range; slots that are no pair; a
                closed table or RegisteredFile.
            OSError: the table has no free slots (ENFILE), where that is known before.

        Kernel: 6.16. Twins: `io_uring_prep_pipe`, `io_uring_prep_pipe_direct`.
        """
        packed = pack(options)
        bits = number(flags, "flags")
        ends = ffi.new("int[2]")
        if direct is None:
            return self._start(PIPE, ends, (None, None, None, None, ends), packed, ends, bits)
        bits &= ~os.O_CLOEXEC
        if isinstance(direct, FileTable) and not direct._slots.kernel:
            direct = direct.reserve_pair()
        if isinstance(direct, tuple):
            slot, keep = _pair_of(self, direct)
            named = (None, None, None, direct, ends)
            return self._start(PIPE_REGISTERED, (ends, keep), named, packed, ends, bits, slot)
        if isinstance(direct, RegisteredFile):
            raise TypeError("a pipe needs two slots side by side, as from reserve_pair()")
        place = place_of(self, direct)
        about = (None, None, None, place.target, ends)
        kind: Kind[Any] = PIPE_REGISTERED if place.managed else PIPE_DIRECT
        return self._start(kind, (ends, place.keep), about, packed, ends, bits, place.slot)

    def splice(  # noqa: PLR0917 - C's argument list
        self,
        fd_in: Descriptor,
        offset_in: int,
        fd_out: Descriptor,
        offset_out: int,
        length: int,
        flags: int = 0,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """Move data from or into a pipe without copying it through memory of ours; one side must be a pipe.

        Args:
            fd_in: where it comes from: a descriptor, an object with `fileno()`, or a FixedFile.
            offset_in: bytes from the file's start; -1 is its own position, and a must for a pipe.
            fd_out: where it goes to; the option `fixed_file` is about this one.
            offset_out: the same for the target.
            length: bytes to move at most.
            flags: os.SPLICE_F_* bits.
            options: see Options.

        Returns:
            An Operation whose result is the number of bytes moved, 0 at the end of the input.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, or a number out of range.

        Kernel: 5.7. Twin: `io_uring_prep_splice`.
        """
        start = number(offset_in, "offset_in", OFFSET_MAX, low=-1)
        end = number(offset_out, "offset_out", OFFSET_MAX, low=-1)
        source, target, packed, keep, size, bits = _ends(self, fd_in, fd_out, length, flags, options)
        about = (source, start, size, target, end)
        return self._start(SPLICE, keep, about, packed, source, start, target, end, size, bits)

    def tee(
        self, fd_in: Descriptor, fd_out: Descriptor, length: int, flags: int = 0, **options: Unpack[Options]
    ) -> Operation[int]:
        """Copy what is in one pipe into another, and leave it in the first.

        Args:
            fd_in: the pipe to copy from: a descriptor, an object with `fileno()`, or a FixedFile.
            fd_out: the pipe to copy to; the option `fixed_file` is about this one.
            length: bytes to copy at most.
            flags: os.SPLICE_F_* bits.
            options: see Options.

        Returns:
            An Operation whose result is the number of bytes copied.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, or a number out of range.

        Kernel: 5.8. Twin: `io_uring_prep_tee`.
        """
        source, target, packed, keep, size, bits = _ends(self, fd_in, fd_out, length, flags, options)
        return self._start(TEE, keep, (source, -1, size, target, -1), packed, source, target, size, bits)


def _pair_of(ring: Any, pair: RegisteredPair) -> tuple[int, Any]:
    """(first slot, what to keep) of two RegisteredFiles.

    Raises:
        TypeError: not two RegisteredFiles.
        ValueError: not side by side; closed, or another ring's.
    """
    if len(pair) != 2 or not all(isinstance(file, RegisteredFile) for file in pair):
        raise TypeError("a pipe's slots are two RegisteredFiles, as from reserve_pair()")
    first, second = pair
    if second != first + 1:
        raise ValueError(f"a pipe's slots lie side by side, unlike {int(first)} and {int(second)}")
    return int(first), (place_of(ring, first).keep, place_of(ring, second).keep)


def _ends(  # noqa: PLR0917 - what splice and tee were called with
    ring: Any, fd_in: Descriptor, fd_out: Descriptor, length: int, flags: int, options: Options
) -> tuple[int, int, int, Any, int, int]:
    """What splice and tee have in common: (source, target, options, what to keep alive, length, flags)."""
    size = number(length, "length", U32_MAX)
    bits = number(flags, "flags", U32_MAX)
    packed = pack(options)
    source, registered, keep_in = file_of(fd_in, packed & ~FIXED_FILE, ring)
    if registered & FIXED_FILE:  # its own flag: the one of the SQE is about the target
        bits |= lib.SPLICE_F_FD_IN_FIXED
    target, packed, keep_out = file_of(fd_out, packed, ring)
    return source, target, packed, (keep_in, keep_out), size, bits
