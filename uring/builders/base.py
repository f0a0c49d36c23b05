"""What the builders of all families share: descriptors, memory and paths become what a fused call takes.

Bad input is refused here, before anything is queued. Whatever a request points to is returned beside the pointer and
becomes the Operation's memory.
"""

from __future__ import annotations

import contextlib
import os
import sys
import weakref
from typing import Any

from .._native import ffi, lib
from ..operation import KINDS, Kind, Operation, T
from ..types import FIXED_FILE, Descriptor, FixedBuffer, FixedFile, Path

AT_FDCWD: int = lib.AT_FDCWD
CURRENT_POSITION = (1 << 64) - 1
LENGTH_MAX = (1 << 32) - 1

from_buffer = ffi.from_buffer


class Builder:
    """The base of the builder families; `Ring` supplies the queue."""

    __slots__ = ()

    def _start(self, kind: Kind[T], memory: Any, about: tuple[Any, ...], options: int, *arguments: Any) -> Operation[T]:
        """Make an operation and write its SQE, or record it for the chain that is open."""
        raise NotImplementedError


def file_of(file: Descriptor, options: int, ring: Any = None, *, at_once: bool = False) -> tuple[int, int, Any]:
    """(number, options, what to keep alive) of a descriptor.

    Args:
        file: a descriptor, an object with `fileno()`, or a FixedFile.
        options: the packed options of the request.
        ring: whose request it is; None where a RegisteredFile makes no sense.
        at_once: whether the kernel looks a registered file up as soon as it takes the request, if nothing holds that
            back. It does not for what it always leaves to a worker, such as fsync; and a multishot that is requested
            again is looked up again.

    Raises:
        TypeError: neither an int nor an object with `fileno()`.
        ValueError: negative; a file object or RegisteredFile that is closed; a RegisteredFile of another ring.
    """
    if isinstance(file, FixedFile):
        options |= FIXED_FILE
        keep = file._pin(ring, options, at_once=at_once)
        if keep is not None:
            return FixedFile(file), options, keep  # not itself: messages name the file, and must not hold its slot
    elif isinstance(file, bool):
        raise TypeError("a descriptor cannot be a bool")
    if isinstance(file, int):
        if not 0 <= file < 1 << 31:
            raise ValueError(f"a descriptor is not negative, and fits 31 bits: {file}")
        return file, options, None
    fileno = getattr(file, "fileno", None)
    if fileno is None:
        raise TypeError(f"expected a descriptor or an object with fileno(), not {type(file).__name__}")
    number = fileno()  # a closed file object raises ValueError itself
    if number < 0:  # a closed socket
        raise ValueError(f"{file!r} is closed")
    return number, options, file


def lacks(opcode: str) -> bool:
    """Whether the running kernel lacks an opcode, and so what came with it and cannot be asked for by itself."""
    return any(kind.missing for kind in KINDS if kind.opcode == opcode)


def directory_of(dir_fd: int | None) -> int:
    """The directory that a relative path starts from: None is the current one.

    Raises:
        TypeError: not an int or None.
        ValueError: negative.
    """
    if dir_fd is None:
        return AT_FDCWD
    if not isinstance(dir_fd, int) or isinstance(dir_fd, bool):
        raise TypeError(f"dir_fd must be an int or None, not {type(dir_fd).__name__}")
    if dir_fd < 0:
        raise ValueError(f"dir_fd must not be negative: {dir_fd}")
    return dir_fd


def path_of(path: Path) -> Any:
    """A path as a `char[]` that C can read.

    Raises:
        TypeError: not str, bytes or PathLike.
        ValueError: it contains a null byte.
    """
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("a path cannot contain a null byte")
    return ffi.new("char[]", name)


def writable(buffer: Any, limit: int = LENGTH_MAX) -> Any:
    """The memory of a buffer that the kernel will write to, as a `char[]` that holds it in place.

    While it lives a bytearray cannot be resized and an mmap not be closed.

    Raises:
        TypeError: no buffer (an int, a str), or a read-only one (bytes).
        BufferError: not contiguous.
        ValueError: larger than `limit`, which is what one request can transfer.
    """
    try:
        if VIEWS_ARE_FRAGILE and type(buffer) is memoryview:
            memory = export_view(buffer, require_writable=True)
        else:
            memory = from_buffer(buffer, require_writable=True)
    except TypeError as error:
        memory = export_view(_view_of(buffer, error), require_writable=True)
    except BufferError as error:
        if memoryview(buffer).readonly:
            raise TypeError(f"the kernel would write into read-only memory: {type(buffer).__name__}") from error
        raise
    if len(memory) > limit:
        raise ValueError(f"a request transfers at most {limit} bytes, not {len(memory)}")
    return memory


def readable(buffer: Any) -> Any:
    """The memory of a buffer that the kernel will read, as a `char[]` that holds it in place.

    Raises:
        TypeError: no buffer.
        BufferError: not contiguous.
        ValueError: larger than one request can transfer.
    """
    try:
        if VIEWS_ARE_FRAGILE and type(buffer) is memoryview:
            memory = export_view(buffer)
        else:
            memory = from_buffer(buffer)
    except TypeError as error:
        memory = export_view(_view_of(buffer, error))
    if len(memory) > LENGTH_MAX:
        raise ValueError(f"a request transfers at most {LENGTH_MAX} bytes, not {len(memory)}")
    return memory


# Python before 3.12.7 crashes when it collects garbage with a memoryview whose memory is exported (gh-77894); a
# traceback in a cycle is enough. So what is exported is a view of ours, which is no garbage until the export is gone.
VIEWS_ARE_FRAGILE = sys.version_info < (3, 12, 7)
_held_views: set[HeldView] = set()
lib.uring_keep(id(_held_views))  # at the interpreter's end all is garbage
_new_views: dict[int, memoryview] = {}  # those that a signal's handler has kept from being held


class HeldView(weakref.ref[Any]):
    """The weak reference to an export that holds the memoryview behind it."""

    __slots__ = ("view",)

    view: memoryview
    # Weak references are compared by what they refer to; these stand for themselves.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


def export_view(view: memoryview, *, require_writable: bool = False) -> Any:
    """The memory of a memoryview as a `char[]`, without exporting that view itself."""
    for key, new in [*_new_views.items()]:
        with contextlib.suppress(BufferError):  # it is exported still
            new.release()
            del _new_views[key]
    memory = held = None
    own = memoryview(view)
    number = id(own)
    try:
        _new_views[number] = own
        memory = from_buffer(own, require_writable=require_writable)
        held = HeldView(memory, _held_views.discard)  # in C: a signal's handler that raises would be ignored there
        held.view = own
        _held_views.add(held)
    except BaseException:
        memory = held = None
        own.release()
        raise
    finally:
        _new_views.pop(number, None)  # no call before this one
    return memory


def exported(buffer: Any) -> Any:
    """The memory of a buffer of any length, as a `char[]` that holds it in place; see `readable`."""
    if VIEWS_ARE_FRAGILE and type(buffer) is memoryview:
        return export_view(buffer)
    return from_buffer(buffer)


def _view_of(buffer: Any, refused: TypeError) -> Any:
    """What `__buffer__` gives, where Python itself does not ask for it (before 3.12).

    Raises:
        TypeError: `refused`, when there is no such method.
    """
    method = getattr(type(buffer), "__buffer__", None)
    if method is None:
        raise refused
    return method(buffer, 0)


IOV_MAX = 1024


def vector(buffers: Any, *, write: bool) -> tuple[Any, int, int, Any]:
    """(`struct iovec[]`, its length, total bytes, what to keep alive) over a list of buffers.

    Args:
        buffers: a list or tuple of objects with the buffer protocol.
        write: whether the kernel will write into them.

    Raises:
        TypeError, BufferError, ValueError: as `writable` and `readable`; ValueError also for more than 1024.
    """
    if len(buffers) > IOV_MAX:
        raise ValueError(f"at most {IOV_MAX} buffers in one request, not {len(buffers)}")
    memories = [writable(buffer) if write else readable(buffer) for buffer in buffers]
    entries = ffi.new("struct iovec[]", [(memory, len(memory)) for memory in memories])
    return entries, len(memories), sum(map(len, memories)), (entries, memories)


def registered(ring: Any, buffer: FixedBuffer, *, write: bool) -> tuple[Any, int, Any]:
    """(address, length, what to keep alive) of registered memory.

    Args:
        ring: the ring whose request it is for.
        buffer: the memory.
        write: whether the kernel will write into it.

    Raises:
        TypeError, BufferError: as `writable` and `readable`.
        ValueError: on loan from another ring's table, or given back.
    """
    lent = buffer._lent(ring, write=write)
    if lent is not None:
        return lent
    memory = writable(buffer.memory) if write else readable(buffer.memory)
    return memory, len(memory), memory


def registered_vector(ring: Any, buffers: Any, *, write: bool) -> tuple[Any, int, int, Any]:
    """The same as `vector` over a list of FixedBuffers."""
    if len(buffers) > IOV_MAX:
        raise ValueError(f"at most {IOV_MAX} buffers in one request, not {len(buffers)}")
    parts = [registered(ring, buffer, write=write) for buffer in buffers]
    entries = ffi.new("struct iovec[]", [part[:2] for part in parts])
    return entries, len(parts), sum(part[1] for part in parts), (entries, parts)


def offset_of(offset: int) -> int:
    """A file offset as C takes it: -1, the file's own position, becomes all ones.

    Raises:
        TypeError: not an int.
        ValueError: less than -1, or more than 63 bits.
    """
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"an offset is an int, not {type(offset).__name__}")
    if not -1 <= offset < 1 << 63:
        raise ValueError(f"an offset is -1 (the file's own position) or fits 63 bits, not {offset}")
    return offset & CURRENT_POSITION
