"""Extended attributes of files.

The kernel does not mark a failure of these as one, so a chain goes on behind it: see arguments.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..operation import Kind, Operation, T, nothing
from ..types import Descriptor, Options, Path
from .arguments import by_path, number, reporting
from .base import Builder, file_of, path_of, readable

if TYPE_CHECKING:
    from typing_extensions import Unpack

XATTR_SIZE_MAX = 65536
"""Bytes of the longest value that the kernel has."""


class XattrOperation(Operation[T]):
    """An operation on an attribute; the fourth item of `about` is its name, the fifth the memory of its value."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{super().description()}, attribute {self._about[3]!r}"


def _value(operation: Operation[bytes], res: int) -> bytes:
    return bytes(ffi.buffer(operation._about[4], res))


SETXATTR: Kind[None] = Kind("setxattr", "SETXATTR", "5.19", lib.uring_setxattr, nothing, operation=XattrOperation)
FSETXATTR: Kind[None] = Kind("fsetxattr", "FSETXATTR", "5.19", lib.uring_fsetxattr, nothing, operation=XattrOperation)
GETXATTR = Kind("getxattr", "GETXATTR", "5.19", lib.uring_getxattr, _value, operation=XattrOperation)
FGETXATTR = Kind("fgetxattr", "FGETXATTR", "5.19", lib.uring_fgetxattr, _value, operation=XattrOperation)


class XattrBuilders(Builder):
    """Extended attributes of files."""

    def setxattr(
        self, name: str | bytes, value: Any, path: Path, flags: int = 0, **options: Unpack[Options]
    ) -> Operation[None]:
        """Set an extended attribute of a file, given by path. A failure of it does not break a chain.

        Args:
            name: the attribute, with its namespace: "user.comment".
            value: a contiguous buffer, bytes included, of at most 65536 bytes.
            path: str, bytes or PathLike; a symbolic link is followed.
            flags: os.XATTR_CREATE: it must be new; os.XATTR_REPLACE: it must exist.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: no name, no buffer, no path.
            ValueError: a null byte in name or path, flags out of range, `fixed_file`, `skip_success`.
            BufferError: a buffer that is not contiguous.

        Kernel: 5.19. Twin: `io_uring_prep_setxattr`.
        """
        packed = by_path(reporting(options, "setxattr"))
        where, key, memory = path_of(path), _name_of(name), readable(value)
        about = (os.fspath(path), None, len(memory), name)
        arguments = (key, memory, where, number(flags, "flags"), len(memory))
        return self._start(SETXATTR, (where, key, memory), about, packed, *arguments)

    def fsetxattr(
        self, fd: Descriptor, name: str | bytes, value: Any, flags: int = 0, **options: Unpack[Options]
    ) -> Operation[None]:
        """Set an extended attribute of an open file. A failure of it does not break a chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            name: the attribute, with its namespace: "user.comment".
            value: a contiguous buffer, bytes included, of at most 65536 bytes.
            flags: os.XATTR_CREATE: it must be new; os.XATTR_REPLACE: it must exist.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: no descriptor, no name, no buffer.
            ValueError: a closed file, a null byte in the name, flags out of range, `skip_success`.
            BufferError: a buffer that is not contiguous.

        Kernel: 5.19. Twin: `io_uring_prep_fsetxattr`.
        """
        file, packed, keep = file_of(fd, reporting(options, "fsetxattr"), self)
        key, memory = _name_of(name), readable(value)
        about = (file, None, len(memory), name)
        arguments = (file, key, memory, number(flags, "flags"), len(memory))
        return self._start(FSETXATTR, (keep, key, memory), about, packed, *arguments)

    def getxattr(
        self, name: str | bytes, path: Path, size: int = XATTR_SIZE_MAX, **options: Unpack[Options]
    ) -> Operation[bytes]:
        """Read an extended attribute of a file, given by path. A failure of it does not break a chain.

        Args:
            name: the attribute, with its namespace: "user.comment".
            path: str, bytes or PathLike; a symbolic link is followed.
            size: bytes of memory to set aside for the value; a longer one is an OSError of ERANGE. The default takes
                any value.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is the value, as bytes.

        Raises:
            TypeError: no name, no path.
            ValueError: a null byte in name or path, a size that is not from 1 to 65536, `fixed_file`, `skip_success`.

        Kernel: 5.19. Twin: `io_uring_prep_getxattr`.
        """
        packed = by_path(reporting(options, "getxattr"))
        where, key, value = path_of(path), _name_of(name), _room(size)
        about = (os.fspath(path), None, None, name, value)
        return self._start(GETXATTR, (where, key, value), about, packed, key, value, where, len(value))

    def fgetxattr(
        self, fd: Descriptor, name: str | bytes, size: int = XATTR_SIZE_MAX, **options: Unpack[Options]
    ) -> Operation[bytes]:
        """Read an extended attribute of an open file. A failure of it does not break a chain.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            name: the attribute, with its namespace: "user.comment".
            size: bytes of memory to set aside for the value; a longer one is an OSError of ERANGE. The default takes
                any value.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is the value, as bytes.

        Raises:
            TypeError: no descriptor, no name.
            ValueError: a closed file, a null byte in the name, a size that is not from 1 to 65536, `skip_success`.

        Kernel: 5.19. Twin: `io_uring_prep_fgetxattr`.
        """
        file, packed, keep = file_of(fd, reporting(options, "fgetxattr"), self)
        key, value = _name_of(name), _room(size)
        about = (file, None, None, name, value)
        return self._start(FGETXATTR, (keep, key, value), about, packed, file, key, value, len(value))


def _name_of(name: str | bytes) -> Any:
    """An attribute's name as a `char[]`."""
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"an attribute's name is str or bytes, not {type(name).__name__}")
    encoded = os.fsencode(name)
    if b"\0" in encoded:
        raise ValueError("an attribute's name cannot contain a null byte")
    return ffi.new("char[]", encoded)


def _room(size: int) -> Any:
    return ffi.new("char[]", number(size, "size", XATTR_SIZE_MAX, low=1))
