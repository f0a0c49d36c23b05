"""Requests about names: what a file is, and making, renaming, linking and removing it.

Of most of these the kernel does not mark a failure as one, so a chain goes on behind it: see arguments.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..flags import Statx
from ..operation import Kind, Operation, nothing
from ..stat_result import StatResult, stat_result
from ..types import FIXED_FILE, HasFileno, Options, Path
from .arguments import U32_MAX, by_path, number, reporting
from .base import Builder, directory_of, file_of, path_of

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TwoPathsOperation(Operation[None]):
    """An operation on two names; the fourth item of `about` is the second."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{super().description()} and {self._about[3]!r}"

    def _error(self) -> Exception:
        error = super()._error()
        if isinstance(error, OSError) and error.filename is not None:
            error.filename2 = self._about[3]
        return error


def _statx(operation: Operation[StatResult], _res: int) -> StatResult:
    return stat_result(operation._about[3])


STATX = Kind("statx", "STATX", "5.6", lib.uring_statx, _statx)
UNLINKAT = Kind("unlinkat", "UNLINKAT", "5.11", lib.uring_unlinkat, nothing)
RENAMEAT = Kind("renameat", "RENAMEAT", "5.11", lib.uring_renameat, nothing, operation=TwoPathsOperation)
MKDIRAT = Kind("mkdirat", "MKDIRAT", "5.15", lib.uring_mkdirat, nothing)
SYMLINKAT = Kind("symlinkat", "SYMLINKAT", "5.15", lib.uring_symlinkat, nothing, operation=TwoPathsOperation)
LINKAT = Kind("linkat", "LINKAT", "5.15", lib.uring_linkat, nothing, operation=TwoPathsOperation)

BASIC_AND_BIRTH = Statx.BASIC_STATS | Statx.BTIME


class PathBuilders(Builder):
    """Requests about names."""

    def statx(
        self,
        path: Path | int | HasFileno,
        flags: int = 0,
        mask: int = BASIC_AND_BIRTH,
        *,
        dir_fd: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[StatResult]:
        """Tell what a file is, as os.stat does. A failure of it does not break a chain.

        Args:
            path: str, bytes or PathLike; or a descriptor or an object with `fileno()`, which is then asked itself.
            flags: AT_SYMLINK_NOFOLLOW and other AT_* bits.
            mask: Statx bits: what is wanted.
            dir_fd: the directory that a relative path starts from; None is the current one.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is a StatResult, with the attributes of os.stat_result and some more.

        Raises:
            TypeError: neither a path nor a descriptor.
            ValueError: a null byte in the path, a closed file, a number out of range, `dir_fd` beside a descriptor,
                `fixed_file`, `skip_success`.

        Kernel: 5.6. Twin: `io_uring_prep_statx`.
        """
        packed = by_path(reporting(options, "statx"))
        bits = number(flags, "flags")
        wanted = number(mask, "mask", U32_MAX)
        raw = ffi.new("struct statx *")
        start = directory_of(dir_fd)
        subject: Any
        if isinstance(path, (str, bytes, os.PathLike)):
            name, subject, keep = path_of(path), os.fspath(path), None
        else:
            if dir_fd is not None:
                raise ValueError("dir_fd is where a path starts; a descriptor needs none")
            start, registered, keep = file_of(path, 0, self)
            if registered & FIXED_FILE:
                raise TypeError("statx takes an ordinary descriptor, no FixedFile")
            name, subject = ffi.new("char[]", b""), start
            bits |= lib.AT_EMPTY_PATH
        about = (subject, None, None, raw)
        return self._start(STATX, (name, raw, keep), about, packed, start, name, bits, wanted, raw)

    def unlinkat(
        self, path: Path, *, dir_fd: int | None = None, rmdir: bool = False, **options: Unpack[Options]
    ) -> Operation[None]:
        """Remove a name, and with the last one the file. A failure of it does not break a chain.

        Args:
            path: str, bytes or PathLike.
            dir_fd: the directory that a relative path starts from; None is the current one.
            rmdir: remove an empty directory instead (AT_REMOVEDIR).
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError: no path, or a directory that is no int.
            ValueError: a null byte in the path, a negative directory, `fixed_file`, `skip_success`.

        Kernel: 5.11. Twins: `io_uring_prep_unlinkat`, `io_uring_prep_unlink`.
        """
        packed = by_path(reporting(options, "unlinkat"))
        name = path_of(path)
        flags = lib.AT_REMOVEDIR if rmdir else 0
        return self._start(UNLINKAT, name, (os.fspath(path),), packed, directory_of(dir_fd), name, flags)

    def renameat(
        self,
        src: Path,
        dst: Path,
        flags: int = 0,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[None]:
        """Rename a file, in place of one that has the name already. A failure of it does not break a chain.

        Args:
            src: str, bytes or PathLike.
            dst: the same; both on one file system.
            flags: RENAME_* bits, as for renameat2(2).
            src_dir_fd: the directory that a relative `src` starts from; None is the current one.
            dst_dir_fd: the same for `dst`.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: as for `unlinkat`; also flags out of range.

        Kernel: 5.11. Twins: `io_uring_prep_renameat`, `io_uring_prep_rename`.
        """
        return self._two_paths(RENAMEAT, (src, src_dir_fd), (dst, dst_dir_fd), flags, options)

    def linkat(
        self,
        src: Path,
        dst: Path,
        flags: int = 0,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[None]:
        """Give a file a second name. A failure of it does not break a chain.

        Args:
            src: str, bytes or PathLike.
            dst: the same; both on one file system.
            flags: AT_SYMLINK_FOLLOW links what a symbolic link leads to, not the link itself.
            src_dir_fd: the directory that a relative `src` starts from; None is the current one.
            dst_dir_fd: the same for `dst`.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: as for `unlinkat`; also flags out of range.

        Kernel: 5.15. Twins: `io_uring_prep_linkat`, `io_uring_prep_link`.
        """
        return self._two_paths(LINKAT, (src, src_dir_fd), (dst, dst_dir_fd), flags, options)

    def _two_paths(
        self,
        kind: Kind[None],
        src: tuple[Path, int | None],
        dst: tuple[Path, int | None],
        flags: int,
        options: Options,
    ) -> Operation[None]:
        packed = by_path(reporting(options, kind.name))
        source, target = path_of(src[0]), path_of(dst[0])
        about = (os.fspath(src[0]), None, None, os.fspath(dst[0]))
        start, end = directory_of(src[1]), directory_of(dst[1])
        bits = number(flags, "flags")
        return self._start(kind, (source, target), about, packed, start, source, end, target, bits)

    def symlinkat(
        self, target: Path, path: Path, *, dir_fd: int | None = None, **options: Unpack[Options]
    ) -> Operation[None]:
        """Make a symbolic link. A failure of it does not break a chain.

        Args:
            target: what it says, whether that exists or not: str, bytes or PathLike.
            path: the link itself.
            dir_fd: the directory that a relative `path` starts from; None is the current one.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: as for `unlinkat`.

        Kernel: 5.15. Twins: `io_uring_prep_symlinkat`, `io_uring_prep_symlink`.
        """
        packed = by_path(reporting(options, "symlinkat"))
        content, name = path_of(target), path_of(path)
        about = (os.fspath(target), None, None, os.fspath(path))
        return self._start(SYMLINKAT, (content, name), about, packed, content, directory_of(dir_fd), name)

    def mkdirat(
        self, path: Path, mode: int = 0o777, *, dir_fd: int | None = None, **options: Unpack[Options]
    ) -> Operation[None]:
        """Make a directory. A failure of it does not break a chain.

        Args:
            path: str, bytes or PathLike.
            mode: its permission bits, less the umask.
            dir_fd: the directory that a relative path starts from; None is the current one.
            options: see Options; `skip_success` is refused, since the kernel would keep a failure quiet too.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: as for `unlinkat`; also a mode out of range.

        Kernel: 5.15. Twins: `io_uring_prep_mkdirat`, `io_uring_prep_mkdir`.
        """
        packed = by_path(reporting(options, "mkdirat"))
        name = path_of(path)
        bits = number(mode, "mode", 0o7777)
        return self._start(MKDIRAT, name, (os.fspath(path),), packed, directory_of(dir_fd), name, bits)
