"""The bulk calls of a Ring: one call for many requests. What they do is in bulk.py and bulk_paths.py."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from .types import Nanoseconds, Options, Path

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .bulk import Plan
    from .bulk_input import Integers
    from .bulk_job import Progress
    from .bulk_results import BulkResult, FilesResult, OpenManyResult, StatManyResult, TransferResult
    from .flags import Statx
    from .registered_files import RegisteredFiles


class BulkCalls:
    """The part of Ring that makes many requests in one call.

    All of these run in C with the GIL free, keep `depth` requests in flight, and return when all are complete. The
    error of a request is in the result, and never raised by the call. Python's signal handlers run at least every
    100 ms; an exception of theirs cancels what is in flight, waits for it, and goes on to the caller.

    Requests of one call run in any order. Operations of the same ring go on meanwhile, and what completes is handed out
    by the next `wait`, or to its callbacks.
    """

    __slots__ = ()

    def read_many(
        self,
        fd: Any,
        offsets: Integers,
        lengths: Integers | None = None,
        out: Any = None,
        *,
        positions: Integers | None = None,
        depth: int | None = None,
        widen: bool | int = False,
        register: bool | None = None,
        timeout: float | Nanoseconds | None = None,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> TransferResult:
        """Read many pieces of one file, or of many.

            result = ring.read_many(file, range(0, 1 << 30, 4096), 4096)
            result.raise_for_error()
            first = result[0]

        Numbers are one for all, or one for each request: a list, a range, an array, a buffer of integers such as
        numpy's. Short reads are continued until the end of the file; EINTR and EAGAIN are tried again.

        Args:
            fd: a descriptor, an object with `fileno()`, a RegisteredFile; or a sequence or array of them.
            offsets: bytes from the file's start, not negative.
            lengths: bytes of each; None for a list of buffers, which are filled.
            out: where to: one writable, contiguous buffer or CPU tensor (DLPack), a registered buffer, a list of
                buffers, one for each request; or None to allocate aligned memory.
            positions: where in `out` each request's bytes begin, in bytes; None for one behind the other.
            depth: requests in flight at most, 1 to 65536; None for 128, or what the completion queue has room for.
            widen: for O_DIRECT: read what is not aligned through aligned memory, in whole blocks of so many bytes (a
                power of two), True for 4096, and copy what was asked for.
            register: whether to register the file, and `out`, while this lasts. None does what pays: the file, from
                4096 requests on, if the ring has no table of registered files and nothing in flight.
            timeout: seconds, or Nanoseconds, for all of it. What is not complete by then is cancelled, and its error
                is ETIMEDOUT.
            progress: called with (complete, all) every 100 ms at most, and at the end.
            options: see Options; not `skip_success`, `drain`, `buffer_group`.

        Returns:
            A TransferResult: `out`, and for each request `counts` and `errors`.

        Raises:
            TypeError: numbers that are no integers, no buffer or a read-only one, registered files mixed with others.
            ValueError: a number out of range, bytes outside of the buffer, not equally many of each.
            BufferError: a buffer that is not contiguous.
            RuntimeError: a chain is open.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: `io_uring_prep_read`, `io_uring_prep_read_fixed`, in a loop.
        """
        from .bulk import plan_reads, run_once

        plan = plan_reads(
            self,  # type: ignore[arg-type]  # a Ring is all that inherits from this
            fd,
            offsets,
            lengths,
            out,
            positions=positions,
            depth=depth,
            widen=widen,
            register=register,
            often=False,
            **options,
        )
        return run_once(plan, timeout, progress)

    def write_many(
        self,
        fd: Any,
        offsets: Integers,
        lengths: Integers | None,
        data: Any,
        *,
        positions: Integers | None = None,
        sync: Literal["fsync", "fdatasync"] | None = None,
        sync_every: int | None = None,
        depth: int | None = None,
        register: bool | None = None,
        timeout: float | Nanoseconds | None = None,
        progress: Progress | None = None,
        **options: Unpack[Options],
    ) -> TransferResult:
        """Write many pieces of one file, or of many.

        Short writes are continued; EINTR and EAGAIN are tried again.

        With `sync` the writes are done in batches: all of one are complete, and their files are flushed, before the
        next one begins. What could not be flushed has the error of the flush. A batch with an error is the last one:
        later requests have the error ECANCELED, since what they write may rely on it.

        Args:
            fd: a descriptor, an object with `fileno()`, a RegisteredFile; or a sequence or array of them.
            offsets: bytes from the file's start, not negative.
            lengths: bytes of each; None for a list of buffers, which are written whole.
            data: what to write: one contiguous buffer or CPU tensor (DLPack), a registered buffer, or a list of
                buffers, one for each request.
            positions: where in `data` each request's bytes begin, in bytes; None for one behind the other.
            sync: flush the files by "fsync" or "fdatasync".
            sync_every: writes in a batch; None for all in one.
            depth: requests in flight at most, 1 to 65536; None for 128, or what the completion queue has room for.
            register: as for `read_many`.
            timeout: seconds, or Nanoseconds, for all of it. What is not complete by then is cancelled, and its error
                is ETIMEDOUT.
            progress: called with (complete, all) every 100 ms at most, and at the end.
            options: see Options; not `skip_success`, `drain`, `buffer_group`.

        Returns:
            A TransferResult: for each request `counts` and `errors`.

        Raises:
            TypeError, ValueError, BufferError, RuntimeError: as `read_many`; ValueError also for `sync_every` alone.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: `io_uring_prep_write`, `io_uring_prep_write_fixed`, `io_uring_prep_fsync`, in a loop.
        """
        from .bulk import plan_writes, run_once

        plan = plan_writes(
            self,  # type: ignore[arg-type]  # as above
            fd,
            offsets,
            lengths,
            data,
            positions=positions,
            sync=sync,
            sync_every=sync_every,
            depth=depth,
            register=register,
            often=False,
            **options,
        )
        return run_once(plan, timeout, progress)

    def plan_reads(
        self,
        fd: Any,
        offsets: Integers,
        lengths: Integers | None = None,
        out: Any = None,
        *,
        positions: Integers | None = None,
        depth: int | None = None,
        widen: bool | int = False,
        register: bool | None = None,
        **options: Unpack[Options],
    ) -> Plan:
        """Prepare what `read_many` does, to run it often.

            with ring.plan_reads(file, order, 4096) as plan:   # order: an array of 64-bit integers
                for epoch in range(10):
                    shuffle(order)
                    batch = plan.run().out

        Arrays of 32 or 64-bit integers are read where they are, at each run.

        Args:
            fd: as for `read_many`, and so are all but `register`.
            offsets: bytes from the file's start.
            lengths: bytes of each.
            out: where to.
            positions: where in `out` each request's bytes begin.
            depth: requests in flight at most.
            widen: whether to read what is not aligned in whole blocks.
            options: see Options.
            register: as for `read_many`; None also registers `out` for files with O_DIRECT, if the ring has no table of
                registered buffers.

        Returns:
            A Plan; close it, or use it as a context manager.

        Raises:
            TypeError, ValueError, BufferError: as `read_many`.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: as for `read_many`.
        """
        from .bulk import plan_reads

        return plan_reads(
            self,  # type: ignore[arg-type]  # as above
            fd,
            offsets,
            lengths,
            out,
            positions=positions,
            depth=depth,
            widen=widen,
            register=register,
            **options,
        )

    def plan_writes(
        self,
        fd: Any,
        offsets: Integers,
        lengths: Integers | None,
        data: Any,
        *,
        positions: Integers | None = None,
        sync: Literal["fsync", "fdatasync"] | None = None,
        sync_every: int | None = None,
        depth: int | None = None,
        register: bool | None = None,
        **options: Unpack[Options],
    ) -> Plan:
        """Prepare what `write_many` does, to run it often; see `plan_reads`.

        Args:
            fd: as for `write_many`, and so are all but `register`.
            offsets: bytes from the file's start.
            lengths: bytes of each.
            data: what to write.
            positions: where in `data` each request's bytes begin.
            sync: flush the files by "fsync" or "fdatasync".
            sync_every: writes in a batch.
            depth: requests in flight at most.
            options: see Options.
            register: as for `plan_reads`.

        Raises:
            TypeError, ValueError, BufferError: as `write_many`.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: as for `write_many`.
        """
        from .bulk import plan_writes

        return plan_writes(
            self,  # type: ignore[arg-type]  # as above
            fd,
            offsets,
            lengths,
            data,
            positions=positions,
            sync=sync,
            sync_every=sync_every,
            depth=depth,
            register=register,
            **options,
        )

    def nop_many(self, count: int, *, depth: int | None = None) -> BulkResult:
        """Make many requests that do nothing: what a request of a bulk call costs by itself.

        Args:
            count: how many.
            depth: requests in flight at most, 1 to 65536; None for 128, or what the completion queue has room for.

        Raises:
            TypeError, ValueError: a number out of range.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.1. Twin: `io_uring_prep_nop`, in a loop.
        """
        from .bulk import nop_many

        return nop_many(self, count, depth=depth)  # type: ignore[arg-type]  # as above

    def stat_many(
        self,
        paths: Iterable[Path],
        *,
        dir_fd: int | None = None,
        follow_symlinks: bool = True,
        mask: Statx | int | None = None,
        depth: int | None = None,
        timeout: float | Nanoseconds | None = None,
        progress: Progress | None = None,
    ) -> StatManyResult:
        """Tell what many files are.

        Worth it where names have to be fetched from a disk or a server first: the kernel leaves each request to a
        worker thread, which costs more than os.stat when they are cached.

        Args:
            paths: str, bytes or PathLike each.
            dir_fd: the directory that relative paths start from; None is the current one.
            follow_symlinks: whether a symbolic link stands for what it points to.
            mask: Statx bits: what is wanted; None for what os.stat tells, and when the file was made.
            depth: requests in flight at most, 1 to 65536; None for 128.
            timeout: seconds, or Nanoseconds, for all of it; see `read_many`.
            progress: called with (complete, all) every 100 ms at most, and at the end.

        Returns:
            A StatManyResult: a sequence of StatResults, with `errors`.

        Raises:
            TypeError, ValueError: no paths, a null byte in one, a number out of range.
            RuntimeError: a chain is open.
            Unsupported: a kernel before 5.6.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twin: `io_uring_prep_statx`, in a loop.
        """
        from .builders.paths import BASIC_AND_BIRTH
        from .bulk_paths import stat_many

        return stat_many(
            self,  # type: ignore[arg-type]  # as above
            paths,
            dir_fd=dir_fd,
            follow_symlinks=follow_symlinks,
            mask=BASIC_AND_BIRTH if mask is None else mask,
            depth=depth,
            timeout=timeout,
            progress=progress,
        )

    def open_many(
        self,
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
        """Open many files.

        Args:
            paths: str, bytes or PathLike each.
            flags: O_* bits, as for os.open. O_CLOEXEC is added.
            mode: permission bits of files that are made.
            dir_fd: the directory that relative paths start from; None is the current one.
            direct: a table with as many slots to reserve: they become RegisteredFiles instead of descriptors. 5.15.
            depth: requests in flight at most, 1 to 65536; None for 128.
            timeout: seconds, or Nanoseconds, for all of it; see `read_many`.
            progress: called with (complete, all) every 100 ms at most, and at the end.

        Returns:
            An OpenManyResult: a sequence of descriptors, with `errors`. It closes them as a context manager.

        Raises:
            TypeError, ValueError: no paths, a null byte in one, a number out of range, another ring's table.
            OSError: the table has not enough slots (ENFILE).
            RuntimeError: a chain is open.
            Unsupported: `direct` before 5.15.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: `io_uring_prep_openat`, `io_uring_prep_openat_direct`, in a loop.
        """
        from .bulk_paths import open_many

        return open_many(
            self,  # type: ignore[arg-type]  # as above
            paths,
            flags,
            mode,
            dir_fd=dir_fd,
            direct=direct,
            depth=depth,
            timeout=timeout,
            progress=progress,
        )

    def unlink_many(
        self,
        paths: Iterable[Path],
        *,
        dir_fd: int | None = None,
        rmdir: bool = False,
        depth: int | None = None,
        timeout: float | Nanoseconds | None = None,
        progress: Progress | None = None,
    ) -> BulkResult:
        """Remove many names.

        Args:
            paths: str, bytes or PathLike each.
            dir_fd: the directory that relative paths start from; None is the current one.
            rmdir: remove empty directories instead.
            depth: requests in flight at most, 1 to 65536; None for 128.
            timeout: seconds, or Nanoseconds, for all of it; see `read_many`.
            progress: called with (complete, all) every 100 ms at most, and at the end.

        Returns:
            A BulkResult, with `errors`.

        Raises:
            TypeError, ValueError: no paths, a null byte in one, a number out of range.
            RuntimeError: a chain is open.
            Unsupported: a kernel before 5.11.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.11. Twin: `io_uring_prep_unlinkat`, in a loop.
        """
        from .bulk_paths import unlink_many

        return unlink_many(
            self,  # type: ignore[arg-type]  # as above
            paths,
            dir_fd=dir_fd,
            rmdir=rmdir,
            depth=depth,
            timeout=timeout,
            progress=progress,
        )

    def read_files(
        self,
        paths: Iterable[Path],
        *,
        dir_fd: int | None = None,
        depth: int | None = None,
        timeout: float | Nanoseconds | None = None,
        progress: Progress | None = None,
    ) -> FilesResult:
        """Read many files whole.

            for path, data in zip(paths, ring.read_files(paths)):
                ...

        Each is opened and read by one chain, over a direct descriptor where the ring has no table of registered files
        of its own, and read on until its end; nothing asks for its size.

        Args:
            paths: str, bytes or PathLike each.
            dir_fd: the directory that relative paths start from; None is the current one.
            depth: files at once at most, 1 to 65536; None for 128.
            timeout: seconds, or Nanoseconds, for all of it; see `read_many`.
            progress: called with (complete, all) every 100 ms at most, and at the end.

        Returns:
            A FilesResult: a sequence of bytes, with `counts` and `errors`. All of it is in memory.

        Raises:
            TypeError, ValueError: no paths, a null byte in one, a number out of range.
            RuntimeError: a chain is open.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twins: `io_uring_prep_openat_direct`, `io_uring_prep_read`, in a loop.
        """
        from .bulk_paths import read_files

        return read_files(
            self,  # type: ignore[arg-type]  # as above
            paths,
            dir_fd=dir_fd,
            depth=depth,
            timeout=timeout,
            progress=progress,
        )
