"""Pipes, and moving data through them inside the kernel."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, overload

from .._native import ffi, lib
from ..errors import os_error
from ..operation import DescriptorOperation, Kind, Operation
from ..types import FIXED_FILE, Descriptor, FixedFile, Options, pack
from .arguments import OFFSET_MAX, U32_MAX, number
from .base import Builder, file_of
from .direct import DirectOperation, empty_slot, slot_argument

if TYPE_CHECKING:
    from typing_extensions import Unpack


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

    def pipe(
        self, flags: int = os.O_CLOEXEC, *, direct: int | None = None, **options: Unpack[Options]
    ) -> Operation[tuple[int, int]] | Operation[tuple[FixedFile, FixedFile]]:
        """Make a pipe.

        Args:
            flags: os.O_CLOEXEC, os.O_NONBLOCK, os.O_DIRECT bits, as for os.pipe2. The default is that of os.pipe:
                other programs do not inherit it.
            direct: make no descriptors, but use this slot of the ring's registered files and the next one; ALLOC
                lets the kernel choose.
            options: see Options.

        Returns:
            An Operation whose result is the pair (reading end, writing end); with `direct` they are FixedFiles.
            Nobody takes the result: both are closed, but for slots that were named.

        Raises:
            TypeError, ValueError: flags or a slot that are no number, or out of range.

        Kernel: 6.16. Twins: `io_uring_prep_pipe`, `io_uring_prep_pipe_direct`.
        """
        packed = pack(options)
        bits = number(flags, "flags")
        ends = ffi.new("int[2]")
        if direct is None:
            return self._start(PIPE, ends, (None, None, None, None, ends), packed, ends, bits)
        slot = slot_argument(direct)
        about = (None, None, None, slot, ends)
        return self._start(PIPE_DIRECT, ends, about, packed, ends, bits & ~os.O_CLOEXEC, slot)

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
        source, target, packed, keep, size, bits = _ends(fd_in, fd_out, length, flags, options)
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
        source, target, packed, keep, size, bits = _ends(fd_in, fd_out, length, flags, options)
        return self._start(TEE, keep, (source, -1, size, target, -1), packed, source, target, size, bits)


def _ends(
    fd_in: Descriptor, fd_out: Descriptor, length: int, flags: int, options: Options
) -> tuple[int, int, int, Any, int, int]:
    """What splice and tee have in common: (source, target, options, what to keep alive, length, flags)."""
    size = number(length, "length", U32_MAX)
    bits = number(flags, "flags", U32_MAX)
    source, registered, keep_in = file_of(fd_in, 0)
    if registered & FIXED_FILE:  # its own flag: the one of the SQE is about the target
        bits |= lib.SPLICE_F_FD_IN_FIXED
    target, packed, keep_out = file_of(fd_out, pack(options))
    return source, target, packed, (keep_in, keep_out), size, bits
