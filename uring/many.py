"""The bulk calls as functions: each makes a ring of its own, or does without one where the caller allows that.

They are what a program calls that has no ring, or that must also run where io_uring is denied: with
`fallback="threads"` threads and ordinary system calls do the same then, and the result's `backend` tells.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from .builders.paths import BASIC_AND_BIRTH
from .bulk_job import Progress
from .bulk_results import BulkResult, FilesResult, OpenManyResult, StatManyResult, TransferResult
from .errors import Unsupported
from .flags import Statx
from .ring import Ring
from .types import Nanoseconds, Options, Path

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .bulk_input import Integers


class PathSettings(TypedDict, total=False):
    """What every bulk call about paths takes, as keywords."""

    dir_fd: int | None
    depth: int | None
    timeout: float | Nanoseconds | None
    progress: Progress | None


class StatSettings(PathSettings, total=False):
    """The keywords of `stat_many`."""

    follow_symlinks: bool
    mask: Statx | int | None


class UnlinkSettings(PathSettings, total=False):
    """The keywords of `unlink_many`."""

    rmdir: bool


class TransferSettings(Options, total=False):
    """The keywords of `read_many` and `write_many`."""

    positions: Any
    depth: int | None
    register: bool | None
    timeout: float | Nanoseconds | None
    progress: Progress | None


class ReadSettings(TransferSettings, total=False):
    """The keywords of `read_many`."""

    widen: bool | int


class WriteSettings(TransferSettings, total=False):
    """The keywords of `write_many`."""

    sync: Literal["fsync", "fdatasync"] | None
    sync_every: int | None


R = TypeVar("R")
Fallback = Literal["threads"]

ENTRIES = 128
# How making a ring is refused where there is io_uring and this process may not have it, or where there is none.
DENIED = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOMEM)


def _run(fallback: Fallback | None, entries: int, by_ring: Callable[[Ring], R], by_threads: Callable[[Any], R]) -> R:
    if fallback not in (None, "threads"):
        raise ValueError(f"fallback must be 'threads' or None, not {fallback!r}")
    try:
        ring = Ring(entries)
    except OSError as error:
        if fallback is None or not (isinstance(error, Unsupported) or error.errno in DENIED):
            raise
    else:
        with ring:
            try:
                return by_ring(ring)
            except Unsupported:
                if fallback is None:
                    raise
    from . import bulk_threads

    return by_threads(bulk_threads)


def read_many(
    fd: Any,
    offsets: Integers,
    lengths: Integers | None = None,
    out: Any = None,
    *,
    fallback: Fallback | None = None,
    entries: int = ENTRIES,
    **settings: Unpack[ReadSettings],
) -> TransferResult:
    """Read many pieces of one file, or of many: `Ring.read_many` on a ring that lasts for the call.

    Args:
        fd: a descriptor, an object with `fileno()`, or a sequence or array of them.
        offsets: bytes from the file's start.
        lengths: bytes of each; None for a list of buffers, which are filled.
        out: where to, a buffer or a list of buffers; None to allocate aligned memory.
        fallback: "threads" to use threads where io_uring is denied; None raises then.
        entries: of the ring's submission queue.
        settings: the other arguments of `Ring.read_many`. Threads take no notice of `register` and of options, and
            `depth` is how many threads there are, 64 at most.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError, BufferError: as `Ring.read_many`.

    Kernel: 5.6. Twin: `io_uring_prep_read`, in a loop.
    """
    result: TransferResult = _run(
        fallback,
        entries,
        lambda ring: ring.read_many(fd, offsets, lengths, out, **settings),
        lambda threads: threads.transfer(False, fd, offsets, lengths, out, **settings),
    )
    return result


def write_many(
    fd: Any,
    offsets: Integers,
    lengths: Integers | None,
    data: Any,
    *,
    fallback: Fallback | None = None,
    entries: int = ENTRIES,
    **settings: Unpack[WriteSettings],
) -> TransferResult:
    """Write many pieces of one file, or of many: `Ring.write_many` on a ring that lasts for the call.

    Args:
        fd: a descriptor, an object with `fileno()`, or a sequence or array of them.
        offsets: bytes from the file's start.
        lengths: bytes of each; None for a list of buffers, which are written whole.
        data: what to write, a buffer or a list of buffers.
        fallback: as for `read_many`.
        entries: as for `read_many`.
        settings: the other arguments of the Ring's method.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError, BufferError: as `Ring.write_many`.

    Kernel: 5.6. Twin: `io_uring_prep_write`, in a loop.
    """
    result: TransferResult = _run(
        fallback,
        entries,
        lambda ring: ring.write_many(fd, offsets, lengths, data, **settings),
        lambda threads: threads.transfer(True, fd, offsets, lengths, data, **settings),
    )
    return result


def stat_many(
    paths: Iterable[Path], *, fallback: Fallback | None = None, entries: int = ENTRIES, **settings: Unpack[StatSettings]
) -> StatManyResult:
    """Tell what many files are: `Ring.stat_many` on a ring that lasts for the call.

    Args:
        paths: str, bytes or PathLike each.
        fallback: as for `read_many`.
        entries: as for `read_many`.
        settings: the other arguments of the Ring's method.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError: as `Ring.stat_many`.

    Kernel: 5.6. Twin: `io_uring_prep_statx`, in a loop.
    """
    given = list(paths) if not isinstance(paths, (str, bytes)) else paths
    by_threads = {**settings, "mask": BASIC_AND_BIRTH if settings.get("mask") is None else settings["mask"]}
    result: StatManyResult = _run(
        fallback,
        entries,
        lambda ring: ring.stat_many(given, **settings),
        lambda threads: threads.stat_many(given, **by_threads),
    )
    return result


def open_many(
    paths: Iterable[Path],
    flags: int = 0,
    mode: int = 0o666,
    *,
    fallback: Fallback | None = None,
    entries: int = ENTRIES,
    **settings: Unpack[PathSettings],
) -> OpenManyResult:
    """Open many files: `Ring.open_many` on a ring that lasts for the call.

    Args:
        paths: str, bytes or PathLike each.
        flags: O_* bits, as for os.open. O_CLOEXEC is added.
        mode: permission bits of files that are made.
        fallback: as for `read_many`.
        entries: as for `read_many`.
        settings: the other arguments of the Ring's method, without `direct`: the ring has no table.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError: as `Ring.open_many`.

    Kernel: 5.6. Twin: `io_uring_prep_openat`, in a loop.
    """
    given = list(paths) if not isinstance(paths, (str, bytes)) else paths
    result: OpenManyResult = _run(
        fallback,
        entries,
        lambda ring: ring.open_many(given, flags, mode, **settings),
        lambda threads: threads.open_many(given, flags, mode, **settings),
    )
    return result


def unlink_many(
    paths: Iterable[Path],
    *,
    fallback: Fallback | None = None,
    entries: int = ENTRIES,
    **settings: Unpack[UnlinkSettings],
) -> BulkResult:
    """Remove many names: `Ring.unlink_many` on a ring that lasts for the call.

    Args:
        paths: str, bytes or PathLike each.
        fallback: as for `read_many`.
        entries: as for `read_many`.
        settings: the other arguments of the Ring's method.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError: as `Ring.unlink_many`.

    Kernel: 5.11. Twin: `io_uring_prep_unlinkat`, in a loop.
    """
    given = list(paths) if not isinstance(paths, (str, bytes)) else paths
    result: BulkResult = _run(
        fallback,
        entries,
        lambda ring: ring.unlink_many(given, **settings),
        lambda threads: threads.unlink_many(given, **settings),
    )
    return result


def read_files(
    paths: Iterable[Path], *, fallback: Fallback | None = None, entries: int = ENTRIES, **settings: Unpack[PathSettings]
) -> FilesResult:
    """Read many files whole: `Ring.read_files` on a ring that lasts for the call.

    Args:
        paths: str, bytes or PathLike each.
        fallback: as for `read_many`.
        entries: as for `read_many`.
        settings: the other arguments of the Ring's method.

    Raises:
        OSError: io_uring is denied, and there is no fallback.
        TypeError, ValueError: as `Ring.read_files`.

    Kernel: 5.6. Twins: `io_uring_prep_openat_direct`, `io_uring_prep_read`, in a loop.
    """
    given = list(paths) if not isinstance(paths, (str, bytes)) else paths
    result: FilesResult = _run(
        fallback,
        entries,
        lambda ring: ring.read_files(given, **settings),
        lambda threads: threads.read_files(given, **settings),
    )
    return result
