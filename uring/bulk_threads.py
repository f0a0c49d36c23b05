"""The bulk calls by threads and ordinary system calls: what callers may choose where io_uring is denied.

The work is checked, and the results are filled in, as by io_uring (bulk.py, bulk_paths.py). A thread that is inside a
system call cannot be stopped: after a timeout it is left behind, and what it brings then is not recorded.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from ._native import ffi, lib
from .builders.arguments import number
from .bulk import DEPTH_MAX, Work, alignment_of, sync_of
from .bulk_input import view_of
from .bulk_job import GRACE_NS, SLICE_NS, Progress
from .bulk_paths import PathWork
from .bulk_results import BulkResult, FilesResult, OpenManyResult, StatManyResult, TransferResult
from .types import FIXED_FILE, FixedBuffer, Nanoseconds, nanoseconds

THREADS = 16
CHUNK = 32
BOUNCE = 1 << 20
PIECE = 1 << 18
AGAIN = (errno.EAGAIN, errno.EINTR)


class Team:
    """Threads that work off requests, and record what came of each.

    Args:
        result: what to fill in.
        request: does one request, given its index; returns its count, or raises OSError.
        depth: threads at most; None for 16.
    """

    def __init__(self, result: BulkResult, request: Callable[[int], int], depth: int | None) -> None:
        self.result, self._request = result, request
        self._threads = max(1, min(depth or THREADS, THREADS * 4))
        self._guard = threading.Lock()
        self._complete = bytearray(len(result))
        self._next = self._end = self._finished = 0
        self._stopped = 0
        self._chunk = CHUNK
        result.backend = "threads"

    def run(self, first: int, end: int, deadline: int | None, progress: Progress | None) -> None:
        """Do a range of the requests; `deadline` is of time.monotonic_ns()."""
        self._next, self._end = first, end
        count = max(1, min(self._threads, end - first))
        self._chunk = max(1, min(CHUNK, (end - first) // (4 * count)))
        pool = ThreadPoolExecutor(count, "uring-bulk")
        try:
            tasks = {pool.submit(self._work) for _ in range(count)}
            told = time.monotonic_ns()
            while tasks:
                done, tasks = wait(tasks, SLICE_NS / 1e9 if deadline is None else self._nap(deadline))
                for task in done:
                    task.result()
                now = time.monotonic_ns()
                if progress is not None and now - told >= SLICE_NS and tasks:
                    told = now
                    progress(self._finished, len(self.result))
                if deadline is not None and now >= deadline:
                    self.stop(errno.ETIMEDOUT)
                    if now >= deadline + GRACE_NS:
                        return
        except BaseException:
            self.stop(errno.ECANCELED)
            raise
        finally:
            pool.shutdown(wait=not self._stopped, cancel_futures=True)

    @staticmethod
    def _nap(deadline: int) -> float:
        return min(SLICE_NS, max(1_000_000, deadline - time.monotonic_ns())) / 1e9

    def stop(self, code: int) -> None:
        """Start nothing more; what is not complete gets this errno."""
        with self._guard:
            self._stopped = self._stopped or code

    def end(self) -> None:
        """Record what was not done."""
        with self._guard:
            self._stopped = self._stopped or errno.ECANCELED
            for index in range(len(self._complete)):
                if not self._complete[index]:
                    self._complete[index] = 1
                    self._record(index, -1 if isinstance(self.result, OpenManyResult) else 0, self._stopped)

    def _record(self, index: int, count: int, code: int) -> None:
        result = self.result
        result._counts[index], result._errors[index] = count, code
        result._failed += code != 0
        self._finished += 1

    def _work(self) -> None:
        while True:
            with self._guard:
                first = self._next
                self._next = last = min(first + self._chunk, self._end)
                if first >= last or self._stopped:
                    return
            for index in range(first, last):
                if self._stopped:
                    return
                self._do(index)

    def _do(self, index: int) -> None:
        count, code = -1 if isinstance(self.result, OpenManyResult) else 0, 0
        try:
            count = self._request(index)
        except OSError as error:
            code = error.errno or errno.EIO
            count = getattr(error, "done", count)
        with self._guard:
            if not self._complete[index] and not (self._stopped and code):
                self._complete[index] = 1
                self._record(index, count, code)
            elif not code and isinstance(self.result, OpenManyResult):
                os.close(count)  # too late


def _limits(timeout: float | Nanoseconds | None) -> int | None:
    return None if timeout is None else time.monotonic_ns() + nanoseconds(timeout)


def _finish(team: Team, result: BulkResult, timeout: float | Nanoseconds | None, progress: Progress | None) -> None:
    deadline = _limits(timeout)
    try:
        team.run(0, len(result), deadline, progress)
    finally:
        team.end()
    if progress is not None:
        progress(len(result), len(result))


class _Transfer:
    """One read or write of `work`, by preadv and pwritev."""

    def __init__(self, work: Work, alignment: int) -> None:
        self._work, self._alignment = work, alignment
        self._local = threading.local()

    def _part(self, index: int, length: int) -> memoryview:
        work = self._work
        if isinstance(work.out, (list, tuple)):
            return view_of(work.out[index])[:length]
        at = work.positions[index]
        view = view_of(work.out)
        return view[at : at + length]

    def __call__(self, index: int) -> int:
        work = self._work
        fd, offset, length = work.files[index], work.offsets[index], work.lengths[index]
        part = self._part(index, length)
        done = 0
        while done < length:
            try:
                count = self._once(fd, offset + done, part[done:])
            except OSError as error:
                if error.errno in AGAIN:
                    time.sleep(0.001)
                    continue
                error.done = done  # type: ignore[attr-defined]  # for Team, which records it
                raise
            if not count:
                if work.write:
                    raise OSError(errno.EIO, "nothing was written")
                break
            done += count
        return done

    def _once(self, fd: int, offset: int, part: memoryview) -> int:
        if self._work.write:
            return os.pwritev(fd, [part], offset)
        mask = self._alignment - 1
        if self._alignment and (offset | len(part) | int(ffi.cast("uintptr_t", ffi.from_buffer(part)))) & mask:
            return self._widened(fd, offset, part)
        return os.preadv(fd, [part], offset)

    def _widened(self, fd: int, offset: int, part: memoryview) -> int:
        start = offset & -self._alignment
        size = min(-(-(offset + len(part) - start) // self._alignment) * self._alignment, BOUNCE)
        bounce = getattr(self._local, "bounce", None)
        if bounce is None:
            bounce = self._local.bounce = memoryview(mmap.mmap(-1, BOUNCE))
        count = os.preadv(fd, [bounce[:size]], start) - (offset - start)
        count = max(0, min(count, len(part)))
        part[:count] = bounce[offset - start : offset - start + count]
        return count


def transfer(
    write: bool,
    fd: Any,
    offsets: Any,
    lengths: Any,
    given: Any,
    *,
    positions: Any = None,
    widen: bool | int = False,
    sync: Any = None,
    sync_every: int | None = None,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
    **_ignored: Any,
) -> TransferResult:
    """What `read_many` and `write_many` do."""
    flush = sync_of(sync, sync_every)
    alignment = alignment_of(widen, write)
    if isinstance(given, FixedBuffer):
        raise ValueError("a registered buffer belongs to a ring")
    work = Work(None, fd, offsets, lengths, given, write=write, positions=positions)
    if work.options & FIXED_FILE:
        raise ValueError("a registered file belongs to a ring")
    if depth is not None:
        number(depth, "depth", DEPTH_MAX, low=1)
    result = TransferResult(work.name, work.count, work.subject, work.out, work.part)
    team = Team(result, _Transfer(work, alignment), depth)
    if flush is None:
        _finish(team, result, timeout, progress)
    else:
        _in_batches(team, work, flush, deadline=_limits(timeout), progress=progress)
    work.release()
    return result


def _in_batches(
    team: Team, work: Work, flush: tuple[int, int], *, deadline: int | None, progress: Progress | None
) -> None:
    (flags, every), result = flush, team.result
    call = os.fdatasync if flags else os.fsync
    first = 0
    try:
        while first < work.count and not team._stopped:
            end = min(first + every, work.count)
            team.run(first, end, deadline, progress)
            for fd in sorted({work.files[index] for index in range(first, end)}):
                code = team._stopped or _errno_of(call, fd)
                for index in range(first, end) if code else ():
                    if work.files[index] == fd and not result._errors[index] and team._complete[index]:
                        result._errors[index] = code
                        result._failed += 1
            if any(result._errors[index] for index in range(first, end)):
                team.stop(errno.ECANCELED)
            first = end
    finally:
        team.end()
    if progress is not None:
        progress(work.count, work.count)


def _errno_of(call: Callable[[int], None], fd: int) -> int:
    try:
        call(fd)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def stat_many(
    paths: Any,
    *,
    dir_fd: int | None = None,
    follow_symlinks: bool = True,
    mask: int,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> StatManyResult:
    """What `Ring.stat_many` does."""
    work = PathWork("statx", paths, dir_fd, depth)
    result = StatManyResult(work.name, work.count, work.subject)
    flags = 0 if follow_symlinks else lib.AT_SYMLINK_NOFOLLOW

    def request(index: int) -> int:
        path = ffi.from_buffer(work.paths[index] + b"\0")
        code = lib.uring_bulk_statx(work.dir_fd, path, flags, mask, result._stats + index)
        if code < 0:
            raise OSError(-code, "statx")
        return 0

    _finish(Team(result, request, work.depth), result, timeout, progress)
    return result


def _relative(dir_fd: int | None) -> dict[str, Any]:
    return {} if dir_fd is None else {"dir_fd": dir_fd}


def open_many(
    paths: Any,
    flags: int = os.O_RDONLY,
    mode: int = 0o666,
    *,
    dir_fd: int | None = None,
    direct: Any = None,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> OpenManyResult:
    """What `Ring.open_many` does."""
    if direct is not None:
        raise ValueError("a table of registered files belongs to a ring")
    work = PathWork("openat", paths, dir_fd, depth)
    bits, permissions = number(flags, "flags") | os.O_CLOEXEC, number(mode, "mode", 0o7777)
    result = OpenManyResult(work.name, work.count, work.subject)
    team = Team(result, lambda index: os.open(work.paths[index], bits, permissions, **_relative(dir_fd)), work.depth)
    try:
        _finish(team, result, timeout, progress)
    except BaseException:
        result.close()
        raise
    return result


def unlink_many(
    paths: Any,
    *,
    dir_fd: int | None = None,
    rmdir: bool = False,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> BulkResult:
    """What `Ring.unlink_many` does."""
    work = PathWork("unlinkat", paths, dir_fd, depth)
    result = BulkResult(work.name, work.count, work.subject)
    call = os.rmdir if rmdir else os.unlink

    def request(index: int) -> int:
        call(work.paths[index], **_relative(dir_fd))
        return 0

    _finish(Team(result, request, work.depth), result, timeout, progress)
    return result


def read_files(
    paths: Any,
    *,
    dir_fd: int | None = None,
    depth: int | None = None,
    timeout: float | Nanoseconds | None = None,
    progress: Progress | None = None,
) -> FilesResult:
    """What `Ring.read_files` does."""
    work = PathWork("read_files", paths, dir_fd, depth)
    result = FilesResult(work.name, work.count, work.subject)
    contents = result.by_hand()

    def request(index: int) -> int:
        fd = os.open(work.paths[index], os.O_RDONLY | os.O_CLOEXEC, **_relative(dir_fd))
        try:
            pieces = [os.read(fd, PIECE)]
            while pieces[-1]:
                pieces.append(os.read(fd, PIECE))
        finally:
            os.close(fd)
        data = b"".join(pieces)
        contents[index] = data
        return len(data)

    _finish(Team(result, request, work.depth), result, timeout, progress)
    return result
