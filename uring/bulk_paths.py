"""Bulk calls about names: what files are, opening and removing them, and reading them whole.

The kernel facts this rests on:

- statx, unlinkat, and an open of what is not cached, always go to worker threads of io-wq, of which there are four for
  each CPU at first. So a run raises that number (IORING_REGISTER_IOWQ_MAX_WORKERS) while it lasts.
- A read of nothing is the end of a file, so a file can be read whole without asking for its size.
- A direct descriptor costs no descriptor of the process and no close: the next file that is opened into its slot
  takes its place. Its open and its first read are one chain.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._native import ffi, lib
from .builders.arguments import U32_MAX, by_path, number, reporting
from .builders.base import directory_of, lacks
from .builders.descriptors import OPENAT, OPENAT_DIRECT
from .builders.paths import BASIC_AND_BIRTH, STATX, UNLINKAT
from .bulk import DEPTH_MAX, has_no_table
from .bulk_input import names
from .bulk_job import Job, Progress
from .bulk_results import BulkResult, FilesResult, OpenManyResult, StatManyResult
from .registered_files import RegisteredFiles
from .types import Nanoseconds, Options, Path

if TYPE_CHECKING:
    from .ring import Ring

DEPTH = 128


class PathWork:
    """Paths, as the caller has given them, checked; what both backends start from.

    Attributes:
        name: what is done with each.
        paths: as bytes.
        dir_fd: the directory that relative ones start from, AT_FDCWD for the current one.
        count: how many.
    """

    def __init__(
        self, name: str, paths: Iterable[Path], dir_fd: int | None, depth: int | None, options: Options | None = None
    ) -> None:
        self.name = name
        self.dir_fd = directory_of(dir_fd)
        self.depth = None if depth is None else number(depth, "depth", DEPTH_MAX, low=1)
        self.options = by_path(reporting(options, name)) if options else 0
        self.paths, self._joined, self._starts = names(paths)
        self.count = len(self.paths)

    def subject(self, index: int) -> tuple[str, Any]:
        """What one request is about, for messages."""
        return self.name, os.fsdecode(self.paths[index])

    def job(self, ring: Ring, kind: int) -> Job:
        """A run of it on a ring."""
        job = Job(ring, kind, self.count, self.depth, DEPTH)
        job.set_options(self.options)
        job.c.dir_fd = self.dir_fd
        job.c.names, job.c.name_at = self._joined, self._starts.fields
        job.keep.append(self)
        return job


def stat_many(
    ring: Ring,
    paths: Iterable[Path],
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    mask: int = BASIC_AND_BIRTH,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> StatManyResult:
    """See Ring.stat_many."""
    work = PathWork("statx", paths, dir_fd, depth)
    wanted = number(mask, "mask", U32_MAX)
    if STATX.missing:
        raise STATX.unsupported()
    result = StatManyResult(work.name, work.count, work.subject)
    job = work.job(ring, lib.URING_BULK_STAT)
    job.c.flags = 0 if follow_symlinks else lib.AT_SYMLINK_NOFOLLOW
    job.c.mode, job.c.stats = wanted, result._stats
    job.keep.append(result)
    job.run(result, timeout, progress)
    return result


def unlink_many(
    ring: Ring,
    paths: Iterable[Path],
    *,
    dir_fd: int | None = None,
    rmdir: bool = False,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> BulkResult:
    """See Ring.unlink_many."""
    work = PathWork("unlinkat", paths, dir_fd, depth)
    if UNLINKAT.missing:
        raise UNLINKAT.unsupported()
    result = BulkResult(work.name, work.count, work.subject)
    job = work.job(ring, lib.URING_BULK_UNLINK)
    job.c.flags = lib.AT_REMOVEDIR if rmdir else 0
    job.keep.append(result)
    job.run(result, timeout, progress)
    return result


def open_many(
    ring: Ring,
    paths: Iterable[Path],
    flags: int = os.O_RDONLY,
    mode: int = 0o666,
    *,
    dir_fd: int | None = None,
    direct: RegisteredFiles | None = None,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> OpenManyResult:
    """See Ring.open_many."""
    work = PathWork("openat", paths, dir_fd, depth)
    bits = number(flags, "flags") | (0 if direct is not None else os.O_CLOEXEC)
    permissions = number(mode, "mode", 0o7777)
    if OPENAT.missing:
        raise OPENAT.unsupported()
    slots = None if direct is None else _reserve(ring, direct, work.count)
    result = OpenManyResult(work.name, work.count, work.subject, slots)
    job = work.job(ring, lib.URING_BULK_OPEN)
    job.c.flags, job.c.mode = bits, permissions
    if slots is not None:
        numbers = ffi.new("int64_t[]", [int(slot) for slot in slots])
        job.c.is_direct, job.c.direct = 1, (numbers, 0, 0, 8, 0)
        job.keep += [numbers, slots]
    job.keep.append(result)
    try:
        job.run(result, timeout, progress)
    except BaseException:
        result.close()
        raise
    _drop_failed(result, slots)
    return result


def _reserve(ring: Ring, table: RegisteredFiles, count: int) -> list[Any]:
    if not isinstance(table, RegisteredFiles):
        raise TypeError(f"direct must be a RegisteredFiles table, not {type(table).__name__}")
    if table._ring is not ring:
        raise ValueError("the table of registered files belongs to another ring")
    if lacks("MKDIRAT"):  # which came with direct descriptors
        raise OPENAT_DIRECT[1].unsupported()
    return [table.reserve() for _ in range(count)]


def _drop_failed(result: OpenManyResult, slots: list[Any] | None) -> None:
    """What could not be opened has no descriptor, and gives its slot back."""
    if not result._failed:
        return
    for place, code in enumerate(ffi.unpack(result._errors, len(result))):
        if code and slots is not None:
            slots[place].close()
            slots[place] = None


def read_files(
    ring: Ring,
    paths: Iterable[Path],
    *,
    dir_fd: int | None = None,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> FilesResult:
    """See Ring.read_files."""
    work = PathWork("read_files", paths, dir_fd, depth)
    if OPENAT.missing:
        raise OPENAT.unsupported()
    result = FilesResult(work.name, work.count, work.subject)
    job = work.job(ring, lib.URING_BULK_READ_FILE)
    job.c.flags = os.O_RDONLY
    job.c.contents = result._contents
    job.keep.append(result)
    table = _table_for(ring, job)
    try:
        job.run(result, timeout, progress)
    finally:
        if table is not None and not ring.closed:
            table.close()
    return result


def _table_for(ring: Ring, job: Job) -> RegisteredFiles | None:
    """A table of direct descriptors for the run, or None where there can be none: then plain ones do."""
    # A shared thread cuts chains, see Ring.chain; and 5.15 is the first kernel with direct descriptors.
    cannot = ring._shares_thread or ring._ring.sq.ring_entries < 2 or lacks("MKDIRAT")
    if cannot or not has_no_table(ring) or not job.c.count:
        return None
    try:
        table = RegisteredFiles(ring, int(job.c.depth), kernel_slots=0)
    except (OSError, RuntimeError):
        return None
    job.c.is_direct, job.c.direct = 1, (ffi.NULL, 0, 1, 8, 0)
    job.keep.append(table)
    return table
