"""Requests on open files: reading and writing, flushing, allocating, advice."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import ffi, lib
from ..multishot import Multishot
from ..operation import Kind, Operation, nothing
from ..types import SKIP_SUCCESS, BufferGroup, Descriptor, FixedBuffer, Options, pack
from .arguments import OFFSET_MAX, U32_MAX, number, reporting
from .base import (
    CURRENT_POSITION,
    Builder,
    exported,
    file_of,
    offset_of,
    readable,
    registered,
    registered_vector,
    vector,
    writable,
)
from .multishots import LeaseMultishot, group_of, start
from .selecting import SelectOperation, lease_of, selected

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..provided_buffers import ProvidedBuffer

READ: Kind[int] = Kind("read", "READ", "5.6", lib.uring_read, transfer=True)
READV: Kind[int] = Kind("read", "READV", "5.1", lib.uring_readv2, transfer=True)
READ_FIXED: Kind[int] = Kind("read", "READ_FIXED", "5.1", lib.uring_read_fixed, transfer=True)
READV_FIXED: Kind[int] = Kind("read", "READV_FIXED", "6.15", lib.uring_readv_fixed, transfer=True)
READ_SELECT: Kind[ProvidedBuffer] = Kind(
    "read", "READ", "5.7", lib.uring_read, lease_of, operation=SelectOperation, transfer=True
)
READ_MULTISHOT: Kind[None] = Kind(
    "read", "READ_MULTISHOT", "6.7", lib.uring_read_multishot, nothing, operation=LeaseMultishot
)
WRITE: Kind[int] = Kind("write", "WRITE", "5.6", lib.uring_write, transfer=True)
WRITEV: Kind[int] = Kind("write", "WRITEV", "5.1", lib.uring_writev2, transfer=True)
WRITE_FIXED: Kind[int] = Kind("write", "WRITE_FIXED", "5.1", lib.uring_write_fixed, transfer=True)
WRITEV_FIXED: Kind[int] = Kind("write", "WRITEV_FIXED", "6.15", lib.uring_writev_fixed, transfer=True)
FSYNC = Kind("fsync", "FSYNC", "5.1", lib.uring_fsync, nothing)
FDATASYNC = Kind("fdatasync", "FSYNC", "5.1", lib.uring_fsync, nothing)
SYNC_FILE_RANGE = Kind("sync_file_range", "SYNC_FILE_RANGE", "5.2", lib.uring_sync_file_range, nothing)
FALLOCATE = Kind("fallocate", "FALLOCATE", "5.6", lib.uring_fallocate, nothing)
FTRUNCATE = Kind("ftruncate", "FTRUNCATE", "6.9", lib.uring_ftruncate, nothing)
FADVISE = Kind("fadvise", "FADVISE", "5.6", lib.uring_fadvise, nothing)
FADVISE64 = Kind("fadvise", "FADVISE", "5.6", lib.uring_fadvise64, nothing)
MADVISE = Kind("madvise", "MADVISE", "5.6", lib.uring_madvise, nothing)
MADVISE64 = Kind("madvise", "MADVISE", "5.6", lib.uring_madvise64, nothing)

# For each direction: registered memory, a list of buffers, parts of registered memory.
READ_FORMS = (READ_FIXED, READV, READV_FIXED)
WRITE_FORMS = (WRITE_FIXED, WRITEV, WRITEV_FIXED)

# What needs one of those, and what is known not to, which is the faster question.
COMPOUND = (list, tuple, FixedBuffer, BufferGroup)
PLAIN = frozenset((bytearray, bytes, memoryview, mmap.mmap))

# SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE and _WAIT_AFTER: when it is complete, the range is written.
WRITE_AND_WAIT = 1 | 2 | 4
# MADV_DONTNEED, _FREE, _REMOVE and _DONTNEED_LOCKED: what was in the memory is lost.
DISCARDING = frozenset((4, 8, 9, 24))


def _registered_index(buffers: list[Any] | tuple[Any, ...]) -> int | None:
    """The index that a list of FixedBuffers has in common; None for a list of plain buffers.

    Raises:
        TypeError: a list of both.
        ValueError: parts of different registered buffers.
    """
    indexes = {buffer.index if isinstance(buffer, FixedBuffer) else None for buffer in buffers}
    if len(indexes) <= 1:
        return indexes.pop() if indexes else None
    if None in indexes:
        raise TypeError("a list holds plain buffers or FixedBuffers, not both")
    raise ValueError("one request takes parts of one registered buffer: the FixedBuffers of a list share their index")


class FileBuilders(Builder):
    """Requests on open files."""

    @overload
    def read(
        self,
        fd: Descriptor,
        buffer: BufferGroup,
        offset: int = ...,
        *,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[ProvidedBuffer]: ...

    @overload
    def read(
        self,
        fd: Descriptor,
        buffer: BufferGroup,
        offset: int = ...,
        *,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[ProvidedBuffer]: ...

    @overload
    def read(
        self,
        fd: Descriptor,
        buffer: Any,
        offset: int = ...,
        *,
        rw_flags: int = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[int]: ...

    def read(
        self,
        fd: Descriptor,
        buffer: Any,
        offset: int = -1,
        *,
        rw_flags: int = 0,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[ProvidedBuffer] | Multishot[ProvidedBuffer]:
        """Read into a buffer.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile. An object is kept from being collected until
                the read is complete; a number is the caller's to keep open.
            buffer: a writable, contiguous buffer; a list of them, filled in order; a FixedBuffer; a list of
                FixedBuffers that are parts of one registered buffer; or ProvidedBuffers, of which the kernel picks one.
            offset: bytes from the file's start; -1 is the file's own position, which is then advanced.
            rw_flags: os.RWF_* bits, as for preadv2(2).
            multishot: read again and again, whenever there is something: from a pipe, a terminal, or another file
                that can be polled, which has no positions. Not with flags, nor in a chain.
            options: see Options; with `multishot` not `buffer_group` and `skip_success`.

        Returns:
            An Operation whose result is the number of bytes read, 0 at the end of the file. With ProvidedBuffers it is
            the ProvidedBuffer with those bytes, or BuffersExhausted when there was none left; with `multishot` a
            Multishot of them, which ends at the end of the file.

        Raises:
            TypeError: no descriptor, no buffer, a read-only one, an offset that is no int.
            ValueError: a closed file, a negative descriptor, an offset out of range, more than 1024 buffers;
                ProvidedBuffers that are closed, of another ring, or with `rw_flags`; what does not go with `multishot`.
            BufferError: a buffer that is not contiguous.
            Unsupported: `multishot` on a kernel before 6.7.

        Kernel: 5.6; provided buffers 5.7; a list, flags, or registered memory 5.1; a list of registered memory, or
        flags with it, 6.15; multishot 6.7. Twins: `io_uring_prep_read`, `io_uring_prep_readv`, `io_uring_prep_readv2`,
        `io_uring_prep_read_fixed`, `io_uring_prep_readv_fixed`, `io_uring_prep_read_multishot`.
        """
        if multishot:
            return self._read_all(fd, buffer, offset, rw_flags, options)
        packed = pack(options) if options else 0
        keep = None
        if type(fd) is not int or fd >> 31:
            fd, packed, keep = file_of(fd, packed, self, at_once=True)
        if rw_flags or (type(buffer) not in PLAIN and isinstance(buffer, COMPOUND)):
            where = offset_of(offset)
            return self._transfer(READ_FORMS, (fd, keep), buffer, where, number(rw_flags, "rw_flags"), options=packed)
        memory = writable(buffer)
        length = len(memory)
        owned = memory if keep is None else (memory, keep)
        return self._start(READ, owned, (fd, offset, length), packed, fd, memory, length, offset_of(offset))

    def _read_all(self, fd: Descriptor, pool: Any, offset: int, rw_flags: int, options: Options) -> Multishot[Any]:
        group, pin = group_of(self, pool, options, "read")
        file, packed, keep = file_of(fd, reporting(options, "a multishot read"), self)
        if offset not in (-1, 0) or isinstance(offset, bool):
            raise ValueError(
                f"the offset of a multishot read is -1 or 0, since such files have no positions: {offset!r}"
            )
        if rw_flags:
            raise ValueError("a multishot read has no flags")
        arguments = (file, 0, offset_of(offset), group)
        operation: Multishot[Any] = start(
            self, READ_MULTISHOT, (pin, pool, keep), (file,), *arguments, options=packed, file=keep, group=pool
        )
        return operation

    def write(
        self, fd: Descriptor, buffer: Any, offset: int = -1, *, rw_flags: int = 0, **options: Unpack[Options]
    ) -> Operation[int]:
        """Write a buffer.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile; see `read`.
            buffer: a contiguous buffer, bytes included; a list of them, written in order; a FixedBuffer; or a list
                of FixedBuffers that are parts of one registered buffer.
            offset: bytes from the file's start; -1 is the file's own position, which is then advanced.
            rw_flags: os.RWF_* bits, as for pwritev2(2).
            options: see Options.

        Returns:
            An Operation whose result is the number of bytes written.

        Raises:
            TypeError, ValueError, BufferError: as for `read`; a read-only buffer is fine.

        Kernel: 5.6; a list, flags, or registered memory 5.1; a list of registered memory, or flags with it, 6.15.
        Twins: `io_uring_prep_write`, `io_uring_prep_writev`, `io_uring_prep_writev2`, `io_uring_prep_write_fixed`,
        `io_uring_prep_writev_fixed`.
        """
        packed = pack(options) if options else 0
        keep = None
        if type(fd) is not int or fd >> 31:
            fd, packed, keep = file_of(fd, packed, self, at_once=True)
        if rw_flags or (type(buffer) not in PLAIN and isinstance(buffer, COMPOUND)):
            where = offset_of(offset)
            return self._transfer(WRITE_FORMS, (fd, keep), buffer, where, number(rw_flags, "rw_flags"), options=packed)
        memory = readable(buffer)
        length = len(memory)
        owned = memory if keep is None else (memory, keep)
        return self._start(WRITE, owned, (fd, offset, length), packed, fd, memory, length, offset_of(offset))

    def _transfer(
        self, forms: tuple[Kind[int], ...], file: tuple[Any, Any], buffer: Any, where: int, flags: int, *, options: int
    ) -> Operation[Any]:
        """Queue the form of a read or write that flags, registered or provided memory, or a list need."""
        fixed, plain, fixed_vector = forms
        into = forms is READ_FORMS
        fd, keep = file
        offset = -1 if where == CURRENT_POSITION else where
        if isinstance(buffer, BufferGroup):
            return self._read_selected(forms, file, buffer, offset, flags, options=options)
        if isinstance(buffer, FixedBuffer) and not flags:
            memory, length, owner = registered(self, buffer, write=into)
            about = (fd, offset, length)
            return self._start(fixed, (owner, keep), about, options, fd, memory, length, where, buffer.index)
        # Only the vectored requests have flags.
        buffers = buffer if isinstance(buffer, (list, tuple)) else [buffer]
        index = _registered_index(buffers)
        if index is None:
            entries, count, total, memories = vector(buffers, write=into)
        else:
            entries, count, total, memories = registered_vector(self, buffers, write=into)
        owned, about = (memories, keep), (fd, offset, total)
        if index is None:
            return self._start(plain, owned, about, options, fd, entries, count, where, flags)
        return self._start(fixed_vector, owned, about, options, fd, entries, count, where, flags, index)

    def _read_selected(
        self, forms: tuple[Kind[int], ...], file: tuple[Any, Any], pool: Any, offset: int, flags: int, *, options: int
    ) -> Operation[ProvidedBuffer]:
        fd, keep = file
        if forms is not READ_FORMS:
            raise TypeError("a write needs a buffer, not a group of them to pick from")
        if flags:
            raise ValueError("rw_flags need a buffer: only the vectored requests have flags")
        if options & SKIP_SUCCESS:
            raise ValueError("skip_success is not for a read into provided buffers: the data would be lost")
        packed, pin = selected(self, pool, options)
        about = (fd, offset, pool.size, pool)
        where = offset & CURRENT_POSITION
        return self._start(READ_SELECT, (pin, keep), about, packed, fd, ffi.NULL, pool.size, where)

    def fsync(self, fd: Descriptor, *, datasync: bool = False, **options: Unpack[Options]) -> Operation[None]:
        """Flush a file to its device.

        It flushes what was written before it runs: link it behind a write, or drain. A failure of it does not break a
        chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            datasync: leave out attributes that reading the data back does not need (IORING_FSYNC_DATASYNC).
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, or `skip_success`.

        Kernel: 5.1. Twin: `io_uring_prep_fsync`.
        """
        return self._fsync(FDATASYNC if datasync else FSYNC, fd, options)

    def fdatasync(self, fd: Descriptor, **options: Unpack[Options]) -> Operation[None]:
        """Flush a file's data to its device, and of its attributes only what reading the data back needs.

        The same as `fsync(fd, datasync=True)`.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            options: as for `fsync`.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: as for `fsync`.

        Kernel: 5.1. Twin: `io_uring_prep_fsync`.
        """
        return self._fsync(FDATASYNC, fd, options)

    def _fsync(self, kind: Kind[None], fd: Descriptor, options: Options) -> Operation[None]:
        file, packed, keep = file_of(fd, reporting(options, kind.name), self)
        flags = lib.IORING_FSYNC_DATASYNC if kind is FDATASYNC else 0
        return self._start(kind, keep, (file,), packed, file, flags)

    def sync_file_range(
        self,
        fd: Descriptor,
        length: int = 0,
        offset: int = 0,
        flags: int = WRITE_AND_WAIT,
        **options: Unpack[Options],
    ) -> Operation[None]:
        """Flush a part of a file's data, without its attributes and the device's own cache: no promise of durability.

        A failure of it does not break a chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            length: bytes, less than 4 GiB; 0 is everything from `offset` on.
            offset: bytes from the file's start.
            flags: SYNC_FILE_RANGE_* bits; the default writes what is dirty and waits for it.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, a number out of range, or `skip_success`.

        Kernel: 5.2. Twin: `io_uring_prep_sync_file_range`.
        """
        file, packed, keep = file_of(fd, reporting(options, "sync_file_range"), self)
        size = number(length, "length", U32_MAX)
        where = number(offset, "offset", OFFSET_MAX)
        bits = number(flags, "flags")
        return self._start(SYNC_FILE_RANGE, keep, (file, where, size), packed, file, size, where, bits)

    def fallocate(
        self, fd: Descriptor, offset: int, length: int, *, mode: int = 0, **options: Unpack[Options]
    ) -> Operation[None]:
        """Reserve, zero or free a range of a file's blocks.

        A failure of it does not break a chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile, open for writing.
            offset: bytes from the file's start.
            length: bytes, more than 0.
            mode: FALLOC_FL_* bits; 0 reserves blocks and makes the file at least `offset + length` bytes long.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, a number out of range, or `skip_success`.

        Kernel: 5.6. Twin: `io_uring_prep_fallocate`.
        """
        file, packed, keep = file_of(fd, reporting(options, "fallocate"), self)
        where = number(offset, "offset", OFFSET_MAX)
        size = number(length, "length", OFFSET_MAX, low=1)
        bits = number(mode, "mode")
        return self._start(FALLOCATE, keep, (file, where, size), packed, file, bits, where, size)

    def ftruncate(self, fd: Descriptor, length: int, **options: Unpack[Options]) -> Operation[None]:
        """Make a file this long: cut it off, or extend it with zeros.

        A failure of it does not break a chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile, open for writing.
            length: bytes.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, a negative length, or `skip_success`.

        Kernel: 6.9. Twin: `io_uring_prep_ftruncate`.
        """
        file, packed, keep = file_of(fd, reporting(options, "ftruncate"), self)
        size = number(length, "length", OFFSET_MAX)
        return self._start(FTRUNCATE, keep, (file, None, size), packed, file, size)

    def fadvise(
        self, fd: Descriptor, offset: int, length: int, advice: int, **options: Unpack[Options]
    ) -> Operation[None]:
        """Tell how a range of a file will be used.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            offset: bytes from the file's start.
            length: bytes; 0 is everything from `offset` on. Older kernels refuse 4 GiB and more with EINVAL.
            advice: one of os.POSIX_FADV_*.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, or a number out of range.

        Kernel: 5.6. Twins: `io_uring_prep_fadvise`, `io_uring_prep_fadvise64`.
        """
        file, packed, keep = file_of(fd, pack(options), self)
        where = number(offset, "offset", OFFSET_MAX)
        size = number(length, "length", OFFSET_MAX)
        kind = FADVISE if size <= U32_MAX else FADVISE64
        return self._start(kind, keep, (file, where, size), packed, file, where, size, number(advice, "advice"))

    def madvise(self, buffer: Any, advice: int, **options: Unpack[Options]) -> Operation[None]:
        """Tell how memory will be used.

        A failure of it does not break a chain.

        Args:
            buffer: a contiguous buffer that starts at a page, as an mmap does. It must be writable, or an mmap, when
                the advice discards what is in it (mmap.MADV_DONTNEED, MADV_FREE, MADV_REMOVE). Older kernels refuse
                4 GiB and more with EINVAL.
            advice: one of mmap.MADV_*.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: no buffer, or a read-only one that would be changed.
            ValueError: advice out of range, or `skip_success`.
            BufferError: a buffer that is not contiguous.

        Kernel: 5.6. Twins: `io_uring_prep_madvise`, `io_uring_prep_madvise64`.
        """
        packed = reporting(options, "madvise")
        hint = number(advice, "advice")
        memory = exported(buffer)
        if hint in DISCARDING:
            _check_discardable(buffer)
        length = len(memory)
        kind = MADVISE if length <= U32_MAX else MADVISE64
        return self._start(kind, memory, (None, None, length), packed, memory, length, hint)


def _check_discardable(buffer: Any) -> None:
    """Refuse memory that Python believes to be constant; what a read-only mmap shows is the file's own."""
    with memoryview(buffer) as view:
        if view.readonly and not isinstance(view.obj, mmap.mmap):
            raise TypeError(f"the advice would discard read-only memory: {type(buffer).__name__}")
