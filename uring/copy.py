"""Copying a file through linked read -> write pairs.

Many blocks are in flight at once, each as a chain of two requests: a read, and, linked behind it, the write of the
same block. The kernel starts the write when the read is complete, without a trip back to Python.

What can come back, and what it means:

- A short read breaks the link: the write ends with -ECANCELED although nothing is wrong. The rest of the block is
  read by a new pair, whose write is of the whole block again.
- A short write: the rest is written by a request of its own.
- -EAGAIN, -EINTR: the same request once more.
- A read of 0 bytes before the size that the file had: somebody shortened it. A copy that is neither the old file nor
  the new one is not passed off as success.
- After the last block the source is read on until its end: it may have grown, and files in /proc have no size.

The blocks' memory is one mapping that lives until the last completion; on an error or a signal everything in flight
is cancelled and waited for before it is let go. An exception from a signal handler can come between any two steps in
Python, so what is in flight is counted in C and the memory is pinned from the start.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from . import fused, probe
from ._native import ffi, lib
from .record import Record

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Progress = Callable[[int, int], object]

DEPTH = 32
BLOCK_SIZE = 128 << 10

_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR)
_LINK = fused.options(flags=lib.IOSQE_IO_LINK)
_CURRENT_POSITION = (1 << 64) - 1
_CANCEL_TAG = (1 << 64) - 2
_READ, _WRITE = 0, 1

# Memory that the kernel may touch: from before the first request until the last completion, or for good when waiting
# for that was interrupted.
_pinned: set[mmap.mmap] = set()


class CopyResult(Record):
    """What a copy did.

    Attributes:
        size: bytes copied.
        seconds: wall time of the transfer.
        short_transfers: short reads and writes that were continued.
        retries: requests repeated after -EAGAIN or -EINTR.
    """

    size: int
    seconds: float
    short_transfers: int
    retries: int


def _error(code: int, doing: str, name: PathLike, why: str | None = None) -> OSError:
    """The OSError subclass for errno `code`, with `doing`, a phrase in which {} stands for the file."""
    error = OSError(code, why or os.strerror(code), os.fspath(name))
    error.doing = doing  # type: ignore[attr-defined]
    return error


@contextmanager
def _doing(phrase: str, name: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _error(error.errno or errno.EIO, phrase, name) from error


class _Block:
    """One block of the file in flight, and how far it has come."""

    __slots__ = ("index", "length", "offset", "outcome", "pending", "read", "written")

    def __init__(self, index: int, offset: int, length: int) -> None:
        self.index, self.offset, self.length = index, offset, length
        self.read = self.written = self.pending = 0
        self.outcome: list[int | None] = [None, None]


class _Engine:
    """One copy: a ring, the blocks' memory, and the two open files."""

    def __init__(self, names: tuple[PathLike, PathLike], depth: int, block_size: int) -> None:
        self.names, self.depth, self.block_size = names, depth, block_size
        self.source = self.target = -1
        self.copied = self.short_transfers = self.retries = 0
        self.blocks: dict[int, _Block] = {}
        self.memory = mmap.mmap(-1, depth * block_size)
        self.address = ffi.cast("char *", ffi.from_buffer(self.memory))
        self.c_ring = ffi.new("struct io_uring *")
        # A pair for each block always fits, so a chain is never split between two submits.
        ret = probe.patiently(lib.io_uring_queue_init, 2 * depth, self.c_ring, 0)
        if ret < 0:
            denial = probe.explain(-ret)
            raise OSError(denial.code, f"io_uring cannot be used here: {denial.reason}")
        self.ring = fused.attach(self.c_ring, 2 * depth)
        _pinned.add(self.memory)

    def close(self) -> None:
        """Cancel and await what is in flight, then let go of the ring, the memory and the files.

        When even this is interrupted, the memory is kept for good and the files stay open: a linked write looks up
        its descriptor when it runs, and must not find another file there.
        """
        try:
            for block in self.blocks.values():
                self._queue(lib.uring_cancel64, _CANCEL_TAG, 0, block.index << 1 | _READ, 0)
            while self._in_flight():
                self._reap()
        finally:
            fused.detach(self.ring)
            lib.io_uring_queue_exit(self.c_ring)
        _pinned.discard(self.memory)
        try:
            if self.target >= 0:
                # Network file systems report a failed write only here.
                with _doing("error writing {}", self.names[_WRITE]):
                    os.close(self.target)
        finally:
            if self.source >= 0:
                os.close(self.source)

    def _in_flight(self) -> int:
        """How many requests are queued or submitted and have not been reaped, by the counters in C."""
        return int(self.ring.submitted + lib.io_uring_sq_ready(self.c_ring) - self.ring.reaped)

    def _queue(self, call: Any, *arguments: Any) -> None:
        while (answer := call(self.ring, *arguments)) == fused.FULL:
            submitted = fused.uring_submit(self.ring)
            if submitted < 0 and submitted not in (*_TRY_AGAIN, -errno.EBUSY):
                raise OSError(-submitted, os.strerror(-submitted))
        if answer:
            raise OSError(-answer, os.strerror(-answer))

    def _reap(self) -> list[tuple[int, int]]:
        """Submit what is queued and wait for at least one completion: (user_data, result) of each that came.

        Empty after a signal, so that its Python handler runs.
        """
        count = fused.uring_wait(self.ring, 1, -1)
        if count < 0:
            if count in (*_TRY_AGAIN, -errno.EBUSY):
                return []
            raise OSError(-count, os.strerror(-count))
        return [(tag, res) for tag, res, _flags in fused.completions(self.ring, count) if tag != _CANCEL_TAG]

    def _failed(self, step: int, code: int, why: str | None = None) -> OSError:
        return _error(code, ("error reading {}", "error writing {}")[step], self.names[step], why)

    # --- many blocks at once ---------------------------------------------------------------------

    def copy_blocks(self, size: int, progress: Progress | None) -> None:
        """Copy bytes 0 to `size` through chains in parallel."""
        offset = 0
        free = list(range(self.depth))
        while offset < size or self.blocks:
            while free and offset < size:
                block = _Block(free.pop(), offset, min(self.block_size, size - offset))
                self.blocks[block.index] = block
                self._queue_pair(block)
                offset += block.length
            completions = self._reap()
            if self.ring.error == 0 and lib.io_uring_sq_ready(self.c_ring):
                # Where the kernel stops in a submit it also ends a chain: a write may have lost its link.
                raise OSError(errno.ENOMEM, "the kernel took only a part of the requests")
            for tag, res in completions:
                block = self.blocks[tag >> 1]
                block.outcome[tag & 1] = res
                block.pending -= 1
                if not block.pending and self._is_finished(block):
                    del self.blocks[block.index]
                    free.append(block.index)
                    self.copied += block.length
            if progress:
                progress(self.copied, size)

    def _queue_pair(self, block: _Block) -> None:
        memory = self.address + block.index * self.block_size + block.read
        rest, position = block.length - block.read, block.offset + block.read
        block.pending = 2
        self._queue(lib.uring_read, block.index << 1 | _READ, _LINK, self.source, memory, rest, position)
        self._queue_write(block)

    def _queue_write(self, block: _Block) -> None:
        memory = self.address + block.index * self.block_size + block.written
        rest, position = block.length - block.written, block.offset + block.written
        block.pending = block.pending or 1
        self._queue(lib.uring_write, block.index << 1 | _WRITE, 0, self.target, memory, rest, position)

    def _is_finished(self, block: _Block) -> bool:
        """Take the outcome of a block's requests; queue what is still to be done."""
        read, wrote = block.outcome
        block.outcome = [None, None]
        if read is not None:
            self._took_read(block, read)
            if block.read < block.length:
                # The link is broken, so the write did not run.
                self._queue_pair(block)
                return False
        if wrote is None or wrote in (-errno.ECANCELED, *_TRY_AGAIN):
            self.retries += wrote in _TRY_AGAIN
        elif wrote < 0:
            raise self._failed(_WRITE, -wrote)
        elif wrote == 0:
            raise self._failed(_WRITE, errno.EIO, "nothing was written")
        else:
            block.written += wrote
            self.short_transfers += block.written < block.length
        if block.written < block.length:
            self._queue_write(block)
            return False
        return True

    def _took_read(self, block: _Block, read: int) -> None:
        if read in _TRY_AGAIN:
            self.retries += 1
        elif read < 0:
            raise self._failed(_READ, -read)
        elif read == 0:
            raise self._failed(_READ, errno.EIO, f"the file shrank to {block.offset + block.read} bytes while copied")
        else:
            block.read += read
            self.short_transfers += block.read < block.length

    # --- one request after the other ---------------------------------------------------------------

    def copy_stream(self, size: int, progress: Progress | None, *, seekable: tuple[bool, bool]) -> None:
        """Copy from byte `self.copied` to the source's end, whatever it is: a pipe, a grown file, one in /proc."""
        while count := self._request(lib.uring_read, _READ, 0, self.block_size, seekable=seekable[_READ]):
            done = 0
            while done < count:
                done += self._request(lib.uring_write, _WRITE, done, count - done, seekable=seekable[_WRITE])
            self.copied += count
            if progress:
                progress(self.copied, size and max(size, self.copied))

    def _request(self, call: Any, step: int, start: int, length: int, *, seekable: bool) -> int:
        fd = (self.source, self.target)[step]
        position = self.copied + start if seekable else _CURRENT_POSITION
        while True:
            # In self.blocks while in flight, so that close() cancels it.
            self.blocks[0] = _Block(0, 0, 0)
            self._queue(call, _READ, 0, fd, self.address + start, length, position)
            while not (came := self._reap()):
                pass
            del self.blocks[0]
            res = came[0][1]
            if res == 0 and step == _WRITE:
                raise self._failed(step, errno.EIO, "nothing was written")
            if res >= 0:
                return res
            if res not in _TRY_AGAIN:
                raise self._failed(step, -res)
            self.retries += 1


def _is_seekable(fd: int) -> bool:
    """Whether blocks of a file can be transferred in any order."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _size(fd: int) -> int:
    """How many bytes a file has; 0 when that shows only in reading it."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return os.lseek(fd, 0, os.SEEK_END)
    # A file in /sys is said to have a page, whatever it holds.
    is_vague = status.st_blocks == 0 and status.st_size <= mmap.PAGESIZE
    return status.st_size if stat.S_ISREG(status.st_mode) and not is_vague else 0


def _open_source(name: PathLike) -> int:
    with _doing("cannot open {} for reading", name):
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise _error(errno.EISDIR, "cannot copy {}", name)
    return fd


def _open_target(name: PathLike, source: int, source_name: PathLike) -> tuple[int, bool]:
    """The open destination, emptied, and whether it was made just now."""
    status = os.fstat(source)
    with _doing("cannot create regular file {}", name):
        try:
            mode = stat.S_IMODE(status.st_mode) & 0o777
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), True
        except FileExistsError:
            fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        existing = os.fstat(fd)
        # Compared on the open files, before anything is cut off: a race cannot empty the source.
        if os.path.samestat(status, existing):
            raise _error(errno.EINVAL, "cannot copy {}", source_name, "source and destination are the same file")
        if stat.S_ISREG(existing.st_mode):
            with _doing("cannot truncate {}", name):
                os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd, False


def _remove(name: PathLike, made: os.stat_result) -> bool:
    """Remove what a failed copy has made, if the name still means it."""
    try:
        if os.path.samestat(os.lstat(name), made):
            os.unlink(name)
            return True
    except OSError:
        pass
    return False


def copy_file(
    source: PathLike,
    target: PathLike,
    *,
    depth: int = DEPTH,
    block_size: int = BLOCK_SIZE,
    progress: Progress | None = None,
) -> CopyResult:
    """Copy the contents of one file, as `cp source target` does.

    A new target gets the source's permission bits, less the umask; an existing one is overwritten in place. When the
    copy fails, a target that it made is removed again; an existing one is left incomplete, and the error's attribute
    `incomplete` is True.

    Args:
        source: a regular file, a block device, or anything that can be read to its end, such as a pipe.
        target: the file to write. It may be a device or a pipe, not a directory.
        depth: blocks in flight, 1 to 4096. `depth * block_size` bytes of memory are used.
        block_size: bytes a block, at least 512.
        progress: called with the bytes copied and the bytes expected (0: not known), after each batch of completions.

    Returns:
        What was done, as a CopyResult.

    Raises:
        OSError: the subclass for the errno, with `filename`, and in `doing` a phrase for a message in which {}
            stands for the file. io_uring's own refusal is an OSError without a filename.
        ValueError: depth or block_size out of range.

    Kernel: 5.6 (IORING_OP_READ, IORING_OP_WRITE, linked).
    """
    if not 1 <= depth <= 4096:
        raise ValueError(f"depth must be from 1 to 4096, not {depth}")
    if not 512 <= block_size <= 1 << 30:
        raise ValueError(f"block_size must be from 512 bytes to 1 GiB, not {block_size}")
    engine = _Engine((source, target), depth, block_size)
    opened = None
    try:
        with closing(engine):
            engine.source = _open_source(source)
            engine.target, made = _open_target(target, engine.source, source)
            opened = os.fstat(engine.target)
            started = time.monotonic()
            _transfer(engine, progress)
            seconds = time.monotonic() - started
    except BaseException as error:
        if opened is not None:
            error.incomplete = not (made and _remove(target, opened))  # type: ignore[attr-defined]
        raise
    return CopyResult(engine.copied, seconds, engine.short_transfers, engine.retries)


def _transfer(engine: _Engine, progress: Progress | None) -> None:
    size = _size(engine.source)
    seekable = (_is_seekable(engine.source), _is_seekable(engine.target))
    if all(seekable):
        engine.copy_blocks(size, progress)
    engine.copy_stream(size, progress, seekable=seekable)
