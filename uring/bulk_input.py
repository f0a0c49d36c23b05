"""What bulk calls take: many numbers, descriptors, buffers and paths at once.

Numbers stay where they are when C can read them there (arrays of 32 or 64 bits, ranges, one for all); anything else is
copied into an array of 64 bits. Buffers are held in place by whatever exports them: the buffer protocol, a registered
buffer on loan, or DLPack.

A fact behind the last: the capsule of `__dlpack__` frees the tensor when it is collected, unless a consumer has renamed
it. So it is enough to keep it, and to look where its memory is.
"""

from __future__ import annotations

import array
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ._native import ffi, lib
from .builders.base import exported, file_of, writable
from .types import FIXED_FILE, FixedBuffer, FixedFile, Path

Integers = Sequence[int] | Any
"""An integer for all, a sequence of integers, a range, or a buffer of them such as an array or numpy's."""

_NATIVE = {"little": "<", "big": ">"}[sys.byteorder]
# Of DLPack: devices whose memory the CPU reaches, by what the standard calls them.
_CPU, _CUDA_HOST, _ROCM_HOST = 1, 3, 11


class Numbers:
    """Integers that C reads where they are.

    Attributes:
        count: how many; None when there is one for all.
        fields: the members of a `struct uring_numbers`.
        values: the same for Python: a sequence, or the one for all.
        keep: what holds them in place.
    """

    __slots__ = ("count", "fields", "keep", "values")

    def __init__(self, count: int | None, fields: tuple[Any, int, int, int, int], values: Any, keep: Any) -> None:
        self.count, self.fields, self.values, self.keep = count, fields, values, keep

    def __getitem__(self, index: int) -> int:
        return int(self.values if self.count is None else self.values[index])

    def release(self) -> None:
        """Let go of the caller's array, which cannot be resized before; its items can still be looked at."""
        self.fields, self.keep = (ffi.NULL, 0, 0, 8, 0), None


def constant(value: int) -> Numbers:
    """The same number for all requests."""
    return Numbers(None, (ffi.NULL, value, 0, 8, 0), value, None)


def series(values: range) -> Numbers:
    """An arithmetic series.

    Raises:
        ValueError: it leaves 63 bits.
    """
    if len(values) and max(abs(values[0]), abs(values[-1])) >= 1 << 63:
        raise ValueError(f"{values} does not fit 63 bits")
    return Numbers(len(values), (ffi.NULL, values.start if len(values) else 0, values.step, 8, 0), values, None)


def numbers(values: Any, name: str) -> Numbers:
    """Integers of any kind.

    Raises:
        TypeError: no integers.
        ValueError: a number of more than 64 bits, or an array of several dimensions.
    """
    if isinstance(values, bool):
        raise TypeError(f"{name} cannot be a bool")
    if isinstance(values, int):
        if not 0 <= values < 1 << 63:
            raise ValueError(f"{name} must be from 0 to {(1 << 63) - 1}, not {values}")
        return constant(int(values))
    if isinstance(values, range):
        return series(values)
    if isinstance(values, (str, bytes, bytearray)):
        raise TypeError(f"{name} must be integers, not {type(values).__name__}")
    if not isinstance(values, (list, tuple)):
        try:
            view = memoryview(values)
        except TypeError:
            pass
        else:
            return _in_place(view, values, name)
        index = getattr(values, "__index__", None)
        if index is not None and not hasattr(values, "__len__"):  # a numpy scalar
            return numbers(int(index()), name)
    return _copied(values, name)


def _in_place(view: memoryview, values: Any, name: str) -> Numbers:
    if view.ndim == 0:
        return numbers(int(view[()]), name)
    if view.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {view.ndim}")
    order, code = view.format[:-1], view.format[-1:]
    if code not in "bBhHiIlLqQnN":
        raise TypeError(f"{name} must be integers, not items of format {view.format!r}")
    if order not in ("", "@", "=", _NATIVE) or view.itemsize not in (4, 8) or not view.c_contiguous or not len(view):
        return _copied(values if hasattr(values, "__iter__") else view, name)
    memory = exported(view)
    shown = values if hasattr(values, "__getitem__") else view
    return Numbers(len(view), (memory, 0, 0, view.itemsize, code.isupper()), shown, memory)


def _copied(values: Any, name: str) -> Numbers:
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be an integer, or a sequence of integers, not {type(values).__name__}")
    try:
        copy = array.array("q", values)
    except OverflowError:
        raise ValueError(f"{name} must fit 63 bits each") from None
    except TypeError as error:
        raise TypeError(f"{name} must be integers: {error}") from None
    memory = ffi.from_buffer(copy)
    return Numbers(len(copy), (memory, 0, 0, 8, 0), copy, memory)


def files(given: Any, ring: Any, options: int) -> tuple[Numbers, int, Any]:
    """(numbers, options, what to keep alive) of one descriptor or one for each request.

    Args:
        given: a descriptor, an object with `fileno()`, a FixedFile, a sequence of one of these kinds, or an array.
        ring: whose requests they are; None where a RegisteredFile makes no sense.
        options: the packed options of the requests.

    Raises:
        TypeError: no descriptors; registered files mixed with others.
        ValueError: a negative or closed one.
    """
    if isinstance(given, int) or hasattr(given, "fileno"):
        fd, options, keep = file_of(given, options, ring)
        return constant(fd), options, keep
    if not isinstance(given, (list, tuple)):
        return numbers(given, "fd"), options, None
    kinds = set(map(type, given))
    if kinds <= {int}:
        return _copied(given, "fd"), options, None
    fixed = [isinstance(file, FixedFile) for file in given]
    if any(fixed) and not all(fixed):
        raise TypeError("registered files and other descriptors cannot be mixed in one call")
    found = [file_of(file, 0, ring) for file in given]
    if any(fixed):
        options |= FIXED_FILE
    return _copied([fd for fd, _, _ in found], "fd"), options, [keep for _, _, keep in found]


class Memory:
    """A piece of memory that requests read into or write from.

    Attributes:
        address: where it is, as a `char *`.
        size: bytes.
        keep: what holds it in place.
        registered: the index of a registered buffer that it is part of, or -1.
    """

    __slots__ = ("address", "keep", "registered", "size")

    def __init__(self, address: Any, size: int, keep: Any, registered: int = -1) -> None:
        self.address, self.size, self.keep, self.registered = address, size, keep, registered

    def view(self) -> memoryview:
        """Its bytes, which the view holds in place too."""
        return memoryview(ffi.buffer(self.address, self.size))


def view_of(given: Any) -> memoryview:
    """The bytes of what `memory` takes, at this moment; nothing but the view holds them in place."""
    if isinstance(given, FixedBuffer):
        return memoryview(given.memory).cast("B")
    if not _is_buffer(given):
        return memory(given, None, write=False).view()
    view = memoryview(given)
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def memory(given: Any, ring: Any, *, write: bool) -> Memory:
    """The memory of anything that has some.

    Args:
        given: an object with the buffer protocol, a registered buffer, or one with `__dlpack__`.
        ring: whose registered buffers may be given.
        write: whether it will be written into.

    Raises:
        TypeError: no buffer, a read-only one, or a tensor on another device.
        BufferError: not contiguous.
    """
    if isinstance(given, FixedBuffer):
        return _registered(given, ring, write=write)
    if not _is_buffer(given) and hasattr(given, "__dlpack__"):
        return _tensor(given)
    try:
        held = exported(given) if not write else _writable(given)
    except BufferError:
        if write and memoryview(given).readonly:
            raise TypeError(f"the kernel would write into read-only memory: {type(given).__name__}") from None
        raise
    return Memory(held, len(held), held)


def _is_buffer(given: Any) -> bool:
    try:
        memoryview(given).release()
    except TypeError:
        return hasattr(type(given), "__buffer__")
    return True


def _writable(given: Any) -> Any:
    return writable(given, (1 << 63) - 1)


def _registered(given: FixedBuffer, ring: Any, *, write: bool) -> Memory:
    lent = given._lent(ring, write=write)
    if lent is None:
        plain = memory(given.memory, ring, write=write)
        return Memory(plain.address, plain.size, plain.keep, given.index)
    address, size, keep = lent
    return Memory(address, size, keep, given.index)


def _tensor(given: Any) -> Memory:
    device, _number = given.__dlpack_device__()
    if int(device) not in (_CPU, _CUDA_HOST, _ROCM_HOST):
        raise TypeError(f"{type(given).__name__} is not in the CPU's memory (DLPack device {int(device)})")
    capsule = given.__dlpack__()
    description = lib.uring_bulk_tensor(id(capsule))
    if description == ffi.NULL:
        raise TypeError(f"{type(given).__name__}.__dlpack__() gave no DLPack tensor")
    size = lib.uring_bulk_tensor_size(description)
    if size < 0:
        raise BufferError(f"{type(given).__name__} is not contiguous")
    # Whatever looks at it keeps the capsule.
    address = ffi.gc(ffi.cast("char *", lib.uring_bulk_tensor_data(description)), lambda _: capsule)
    return Memory(address, size, address)


def names(paths: Iterable[Path]) -> tuple[list[bytes], Any, Numbers]:
    """(the paths as bytes, all of them in one piece of memory, where each begins).

    Raises:
        TypeError: a single path, or what is no path.
        ValueError: a null byte in a path.
    """
    if isinstance(paths, (str, bytes, os.PathLike)):
        raise TypeError(f"paths must be a sequence of paths, not one {type(paths).__name__}")
    encoded = [os.fsencode(path) for path in paths]
    joined = b"\0".join(encoded) + b"\0"
    if joined.count(b"\0") != max(1, len(encoded)):
        wrong = next(path for path in encoded if b"\0" in path)
        raise ValueError(f"a path cannot contain a null byte: {wrong!r}")
    starts, at = array.array("q"), 0
    for name in encoded:
        starts.append(at)
        at += len(name) + 1
    return encoded, ffi.from_buffer(joined), _copied(starts, "paths")


def count_of(given: dict[str, int | None]) -> int:
    """How many requests these make together, each with its count, or None where it is one for all.

    Raises:
        TypeError: all are one for all.
        ValueError: they differ.
    """
    counts = {name: count for name, count in given.items() if count is not None}
    if not counts:
        raise TypeError(f"one of {', '.join(given)} must be a sequence: it says how many requests there are")
    if len(set(counts.values())) > 1:
        raise ValueError(f"these must be equally many: {', '.join(f'{n} {name}' for name, n in counts.items())}")
    return next(iter(counts.values()))
