"""Plain arguments of builders: numbers in range, and options that a request cannot have.

A fact behind the second: of some opcodes the kernel does not mark a failure as one (those about an inode or a name:
fsync, fallocate, ftruncate, madvise, statx, unlink, rename, mkdir, links, extended attributes). Their CQE carries the
errno, but a chain goes on behind it, and with CQE_SKIP_SUCCESS even the CQE is left out. So these refuse
`skip_success`: a failure would pass for a success.
"""

from __future__ import annotations

from typing import Any

from ..types import FIXED_FILE, SKIP_SUCCESS, Options, pack

INT_MAX = (1 << 31) - 1
U32_MAX = (1 << 32) - 1
OFFSET_MAX = (1 << 63) - 1


def number(value: Any, name: str, top: int = INT_MAX, low: int = 0) -> int:
    """An int in a range, such as a length, a mode, or flags.

    Raises:
        TypeError: not an int, or a bool.
        ValueError: less than `low` or more than `top`.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= top:
        raise ValueError(f"{name} must be from {low} to {top}, not {int(value)}")
    return int(value)


def reporting(options: Options, name: str) -> int:
    """The packed options of a request whose completion must be seen.

    Raises:
        TypeError, ValueError: as `pack`; ValueError also for `skip_success`.
    """
    packed = pack(options) if options else 0
    if packed & SKIP_SUCCESS:
        raise ValueError(f"skip_success is not for {name}: its result, or its failure, would be lost")
    return packed


def by_path(packed: int) -> int:
    """Packed options of a request that starts at a directory.

    Raises:
        ValueError: `fixed_file` is among them.
    """
    if packed & FIXED_FILE:
        raise ValueError("fixed_file is not for paths: they start at an ordinary directory")
    return packed
