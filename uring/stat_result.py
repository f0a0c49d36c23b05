"""What statx tells about a file, in the form of os.stat_result."""

from __future__ import annotations

import os
from typing import Any

from .flags import Statx
from .record import Record

SECOND_NS = 1_000_000_000


class StatResult(Record):
    """The attributes of a file, as os.stat names them, and those that only statx(2) knows.

    What was not asked for, or what the file system does not have, is missing in `stx_mask` and mostly 0.

    Attributes:
        st_mode: type and permission bits, for the functions of the module `stat`.
        st_ino: the inode's number.
        st_dev: the device that holds it.
        st_nlink: the number of hard links.
        st_uid: the owner's user id.
        st_gid: the owner's group id.
        st_size: bytes.
        st_atime_ns: when it was read, in nanoseconds since 1970.
        st_mtime_ns: when its contents changed.
        st_ctime_ns: when its inode changed.
        st_btime_ns: when it was made, or None where that is not known.
        st_blocks: blocks of 512 bytes that it takes.
        st_blksize: bytes that are best read at once.
        st_rdev: the device that it is, for a device node.
        st_attributes: STATX_ATTR_* bits that it has: compressed, immutable, append only, encrypted, ...
        st_attributes_mask: those bits that the file system can tell.
        stx_mask: which of these values the kernel has filled in.
    """

    st_mode: int
    st_ino: int
    st_dev: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_size: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_btime_ns: int | None
    st_blocks: int
    st_blksize: int
    st_rdev: int
    st_attributes: int
    st_attributes_mask: int
    stx_mask: Statx

    @property
    def st_atime(self) -> float:
        """When it was read, in seconds since 1970."""
        return _seconds(self.st_atime_ns)

    @property
    def st_mtime(self) -> float:
        """When its contents changed, in seconds since 1970."""
        return _seconds(self.st_mtime_ns)

    @property
    def st_ctime(self) -> float:
        """When its inode changed, in seconds since 1970."""
        return _seconds(self.st_ctime_ns)

    @property
    def st_btime(self) -> float | None:
        """When it was made, in seconds since 1970, or None where that is not known."""
        return None if self.st_btime_ns is None else _seconds(self.st_btime_ns)


def stat_result(raw: Any) -> StatResult:
    """The StatResult of a filled `struct statx`."""
    mask = Statx(raw.stx_mask)
    return StatResult(
        st_mode=raw.stx_mode,
        st_ino=raw.stx_ino,
        st_dev=os.makedev(raw.stx_dev_major, raw.stx_dev_minor),
        st_nlink=raw.stx_nlink,
        st_uid=raw.stx_uid,
        st_gid=raw.stx_gid,
        st_size=raw.stx_size,
        st_atime_ns=_nanoseconds(raw.stx_atime),
        st_mtime_ns=_nanoseconds(raw.stx_mtime),
        st_ctime_ns=_nanoseconds(raw.stx_ctime),
        st_btime_ns=_nanoseconds(raw.stx_btime) if mask & Statx.BTIME else None,
        st_blocks=raw.stx_blocks,
        st_blksize=raw.stx_blksize,
        st_rdev=os.makedev(raw.stx_rdev_major, raw.stx_rdev_minor),
        st_attributes=raw.stx_attributes,
        st_attributes_mask=raw.stx_attributes_mask,
        stx_mask=mask,
    )


def _nanoseconds(timestamp: Any) -> int:
    return int(timestamp.tv_sec) * SECOND_NS + int(timestamp.tv_nsec)


def _seconds(nanoseconds: int) -> float:
    # Rounded in the same two steps as in os.stat, so that both give the same float.
    seconds, rest = divmod(nanoseconds, SECOND_NS)
    return seconds + 1e-9 * rest
