"""Values that several builders take."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable
from typing import Any, Protocol, TypedDict

from ._native import ffi, lib

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class HasFileno(Protocol):
    """An object with a descriptor: a file, a socket, a pipe's end."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


class FixedFile(int):
    """A registered file, by its index in the ring's table. Operations on it set IOSQE_FIXED_FILE.

    `ring.read(FixedFile(3), buffer)` reads from the file registered at index 3.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"FixedFile({int(self)})"

    def _pin(self, ring: Any, options: int, *, at_once: bool = False) -> Any:
        """What an operation of `ring` with these options keeps, so that the slot stays as it is; see file_slots."""


class FixedBuffer:
    """Memory that is registered with the ring, by its index in the ring's table: READ_FIXED and the like are used.

    A slice of it is still fixed: `buffer[100:200]`.

    Args:
        index: its index in the table, 0 to 65535.
        memory: the object that was registered, or part of it.
    """

    __slots__ = ("index", "memory")

    def __init__(self, index: int, memory: Any) -> None:
        if not 0 <= index <= 0xFFFF:
            raise ValueError(f"a registered buffer's index is from 0 to 65535, not {index}")
        self.index = index
        self.memory = memory

    def _lent(self, _ring: Any, *, write: bool) -> tuple[Any, int, Any] | None:
        """(address, length, what a request must own) where it is on loan; None where `memory` itself is used."""
        return None

    def __getitem__(self, part: slice) -> FixedBuffer:
        if not isinstance(part, slice):
            raise TypeError("a registered buffer is sliced, not indexed")
        return FixedBuffer(self.index, memoryview(self.memory).cast("B")[part])

    def __len__(self) -> int:
        return memoryview(self.memory).nbytes


class BufferGroup:
    """Buffers that the kernel picks from when a request has something to put there; see `ProvidedBuffers`.

    Builders take one where a buffer stands. This is what they and `Operation`s need of it.
    """

    __slots__ = ()

    group: int
    """The group's id, 0 to 65535."""
    ring: Any
    """The ring that it belongs to."""
    size: int
    """Bytes of each buffer."""

    @property
    def _pin(self) -> Any:
        """What an operation that selects from it keeps in `_memory`. Raises ValueError when it is closed."""
        raise NotImplementedError

    def _lease(self, res: int, flags: int) -> Any:
        """The buffers that a CQE brought, as a lease, empty without one. Once for each CQE, in their order.

        If it raises it has done nothing, and is called again.
        """
        raise NotImplementedError

    def _lease_to(self, operation: Any, res: int, flags: int) -> None:
        """The same as the operation's `_lease`. May be interrupted anywhere and started again."""
        raise NotImplementedError

    def _check_bundle(self) -> None:
        """Raises ValueError or Unsupported when one receive cannot take several of its buffers."""
        raise NotImplementedError

    def _drop(self, res: int, flags: int) -> None:
        """Give back the buffers of a CQE that nobody wants, or that is an error. May be repeated."""
        raise NotImplementedError

    def _when_refilled(self, callback: Callable[[], object]) -> None:
        """Call once, from an ordinary call in the ring's thread, when there is a buffer for it.

        It returns False when it has no use for one.
        """
        raise NotImplementedError

    def _exhausted(self, what: str) -> OSError:
        """The exception for an operation that found it empty."""
        raise NotImplementedError

    def _span(self, lease: Any) -> memoryview:
        """All bytes of a lease's completion, whatever it was narrowed to."""
        raise NotImplementedError

    def _narrow(self, lease: Any, start: int, stop: int) -> None:
        """From now on the lease is these bytes of its completion. May be repeated."""
        raise NotImplementedError


Descriptor = int | HasFileno | FixedFile


class Options(TypedDict, total=False):
    """What every builder takes besides its own arguments, as keywords.

    - `fixed_file`: the descriptor is an index into the ring's registered files; the same as `FixedFile(index)`.
      IOSQE_FIXED_FILE, 5.1.
    - `drain`: start only when all earlier requests are complete, and before any later one. IOSQE_IO_DRAIN, 5.2.
    - `force_async`: go straight to an io-wq worker thread. Good for what is known to block; bad for sockets.
      IOSQE_ASYNC, 5.6.
    - `skip_success`: in a chain, and not on its last link: post no CQE when all is well. Failures still do. From
      then on the kernel refuses this ring's requests with `drain`. IOSQE_CQE_SKIP_SUCCESS, 5.17.
    - `ioprio`: or-ed into the SQE's ioprio, an I/O priority as for ioprio_set(2), 16 bits.
    - `personality`: the id of registered credentials to run with, from `Ring.register_personality`. 5.6.
    - `buffer_group`: let the kernel pick a buffer from this group. IOSQE_BUFFER_SELECT, 5.7.
    """

    fixed_file: bool
    drain: bool
    force_async: bool
    skip_success: bool
    ioprio: int
    personality: int
    buffer_group: int


FIXED_FILE: int = lib.IOSQE_FIXED_FILE
LINK: int = lib.IOSQE_IO_LINK
HARDLINK: int = lib.IOSQE_IO_HARDLINK
DRAIN: int = lib.IOSQE_IO_DRAIN
FORCE_ASYNC: int = lib.IOSQE_ASYNC
SKIP_SUCCESS: int = lib.IOSQE_CQE_SKIP_SUCCESS
BUFFER_SELECT: int = lib.IOSQE_BUFFER_SELECT

_FLAGS = {
    "fixed_file": FIXED_FILE,
    "drain": DRAIN,
    "force_async": FORCE_ASYNC,
    "skip_success": SKIP_SUCCESS,
}
IOPRIO_SHIFT = 8
GROUP_SHIFT = 40
_FIELDS = {"ioprio": IOPRIO_SHIFT, "personality": 24, "buffer_group": GROUP_SHIFT}


def pack(options: Options) -> int:
    """The options as the word that a fused call takes.

    Raises:
        TypeError: an unknown option.
        ValueError: a value that does not fit 16 bits.
    """
    packed = 0
    for name, value in options.items():
        if name in _FLAGS:
            if value:
                packed |= _FLAGS[name]
        elif name in _FIELDS:
            if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
                raise ValueError(f"{name} must be an integer from 0 to 65535, not {value!r}")
            packed |= value << _FIELDS[name]
            if name == "buffer_group":
                packed |= BUFFER_SELECT
        else:
            raise TypeError(f"unknown option {name!r}; there are: {', '.join((*_FLAGS, *_FIELDS))}")
    return packed


Seconds = float


class Nanoseconds(int):
    """An exact duration or moment, where a float of seconds is not precise enough: `Nanoseconds(1_500_000)`."""

    __slots__ = ()


def nanoseconds(duration: float | Nanoseconds, name: str = "timeout") -> int:
    """A duration in seconds, or exact Nanoseconds, as whole nanoseconds.

    Raises:
        TypeError: not a number.
        ValueError: negative, not finite, or longer than the kernel can count.
    """
    if isinstance(duration, Nanoseconds):
        total = int(duration)
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        if not math.isfinite(duration):
            raise ValueError(f"{name} must be finite, not {duration}")
        total = round(duration * 1_000_000_000)
    else:
        raise TypeError(f"{name} must be seconds as a number, or Nanoseconds, not {type(duration).__name__}")
    if not 0 <= total < 1 << 63:
        raise ValueError(f"{name} must be from 0 to 292 years, not {duration}")
    return total


def timespec(duration: float | Nanoseconds, name: str = "timeout") -> ffi.CData:
    """A `struct __kernel_timespec` for a duration; see `nanoseconds`."""
    return ffi.new("struct __kernel_timespec *", divmod(nanoseconds(duration, name), 1_000_000_000))


def aligned_buffer(size: int, alignment: int = mmap.PAGESIZE) -> memoryview:
    """Zeroed, writable memory whose address O_DIRECT accepts; it is freed when nothing refers to it any more.

    Args:
        size: bytes, at least 1.
        alignment: bytes, a power of two.

    Raises:
        ValueError: a size or alignment out of range.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size}")
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"alignment must be a power of two, not {alignment}")
    # A mapping begins on a page; more than that is found inside a larger one.
    spare = alignment if alignment > mmap.PAGESIZE else 0
    memory = mmap.mmap(-1, size + spare)
    start = -int(ffi.cast("uintptr_t", ffi.from_buffer(memory))) % alignment if spare else 0
    return memoryview(memory)[start : start + size]
