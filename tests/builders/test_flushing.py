"""Flushing, allocating, truncating and advice: what becomes of the file and of the pages."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode, skip_without
from contents import CONTENT

from uring import liburing as L
from uring.errors import ChainBroken
from uring.ring import Ring

PAGE = mmap.PAGESIZE
PUNCH_HOLE_AND_KEEP_SIZE = 3
KEEP_SIZE = 1


def last_sqe(ring: Ring) -> Any:
    """Return the SQE that was written last."""
    queue = ring.c_ring.sq
    return queue.sqes[(queue.sqe_tail - 1) & queue.ring_mask]


@pytest.mark.parametrize("name", ["fsync", "fdatasync"])
def test_fsync_behind_a_write(ring: Ring, fd: int, path: Path, name: str) -> None:
    """A flush linked behind a write succeeds with None, and the write is in the file."""
    with ring.chain() as chain:
        ring.write(fd, b"durable", 0)
        getattr(ring, name)(fd)
    assert [link.result() for link in chain] == [7, None]
    assert path.read_bytes()[:7] == b"durable"


def test_datasync_is_the_kernels_flag(ring: Ring, fd: int) -> None:
    """An fsync has no flags; fdatasync, and fsync with datasync=True, ask for the data alone."""
    ring.fsync(fd)
    assert last_sqe(ring).fsync_flags == 0
    ring.fsync(fd, datasync=True)
    assert last_sqe(ring).fsync_flags == L.IORING_FSYNC_DATASYNC
    ring.fdatasync(fd)
    assert last_sqe(ring).fsync_flags == L.IORING_FSYNC_DATASYNC
    assert [flush.result() for flush in ring] == [None, None, None]  # type: ignore[union-attr]


def test_fsync_of_a_pipe(ring: Ring, pipe: tuple[int, int]) -> None:
    """What cannot be flushed is EINVAL; the message names fsync or fdatasync, as asked."""
    with pytest.raises(OSError, match=rf"\[fsync on fd {pipe[0]}\]"):
        ring.fsync(pipe[0]).result()
    with pytest.raises(OSError, match=rf"\[fdatasync on fd {pipe[0]}\]"):
        ring.fsync(pipe[0], datasync=True).result()


def test_sync_file_range(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """A part of a file, or all of it, is written to the device; a pipe has no parts."""
    assert ring.sync_file_range(fd).result() is None
    assert ring.sync_file_range(fd, PAGE, 0, 2).result() is None
    with pytest.raises(OSError, match=r"sync_file_range of 10 bytes at 5") as caught:
        ring.sync_file_range(pipe[0], 10, 5).result()
    assert caught.value.errno == errno.ESPIPE


def test_fallocate(ring: Ring, fd: int, path: Path) -> None:
    """Fallocate grows a file with zeros, only reserves with KEEP_SIZE, and punches holes."""
    assert ring.fallocate(fd, len(CONTENT), 6000).result() is None
    assert path.read_bytes() == CONTENT + bytes(6000)
    before = os.fstat(fd)
    assert ring.fallocate(fd, 0, 1 << 20, mode=KEEP_SIZE).result() is None
    after = os.fstat(fd)
    assert after.st_size == before.st_size
    assert after.st_blocks > before.st_blocks
    assert ring.fallocate(fd, 1000, 2000, mode=PUNCH_HOLE_AND_KEEP_SIZE).result() is None
    assert path.read_bytes()[:4096] == CONTENT[:1000] + bytes(2000) + CONTENT[3000:]


def test_fallocate_of_a_read_only_descriptor(ring: Ring, path: Path) -> None:
    """A descriptor that is not open for writing is EBADF, with the range in the message."""
    with path.open("rb") as file, pytest.raises(OSError, match="fallocate of 20 bytes at 10") as caught:
        ring.fallocate(file, 10, 20).result()
    assert caught.value.errno == errno.EBADF


def test_ftruncate(ring: Ring, fd: int, path: Path) -> None:
    """Ftruncate cuts a file off and extends it with zeros."""
    require_opcode("IORING_OP_FTRUNCATE")
    assert ring.ftruncate(fd, 100).result() is None
    assert path.read_bytes() == CONTENT[:100]
    assert ring.ftruncate(fd, 150).result() is None
    assert path.read_bytes() == CONTENT[:100] + bytes(50)


def test_ftruncate_of_a_read_only_descriptor(ring: Ring, path: Path) -> None:
    """A descriptor that is not open for writing is EINVAL, with the length in the message."""
    require_opcode("IORING_OP_FTRUNCATE")
    with path.open("rb") as file, pytest.raises(OSError, match=r"ftruncate of 5 bytes on fd") as caught:
        ring.ftruncate(file, 5).result()
    assert caught.value.errno == errno.EINVAL


def test_fadvise(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """Advice on a file is taken, for its rest and beyond 4 GiB too; on a pipe it is ESPIPE."""
    assert ring.fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL).result() is None
    assert ring.fadvise(fd, 0, PAGE, os.POSIX_FADV_WILLNEED).result() is None
    large = ring.fadvise(fd, 0, 1 << 33, os.POSIX_FADV_DONTNEED)
    large.exception()
    assert large.completion.res in (0, -errno.EINVAL)  # the second on an older kernel
    with pytest.raises(OSError, match=r"fadvise of 10 bytes at 5") as caught:
        ring.fadvise(pipe[0], 5, 10, os.POSIX_FADV_WILLNEED).result()
    assert caught.value.errno == errno.ESPIPE


def test_short_advice_works_on_older_kernels(ring: Ring, fd: int) -> None:
    """Lengths of 32 bits are given where the first kernels with advice look for them, longer ones elsewhere."""
    ring.fadvise(fd, 1, 2, os.POSIX_FADV_NORMAL)
    assert (last_sqe(ring).off, last_sqe(ring).len, last_sqe(ring).addr) == (1, 2, 0)
    ring.fadvise(fd, 1, 1 << 32, os.POSIX_FADV_NORMAL)
    assert (last_sqe(ring).off, last_sqe(ring).len, last_sqe(ring).addr) == (1, 0, 1 << 32)
    ring.madvise(mmap.mmap(-1, PAGE), mmap.MADV_NORMAL)
    assert (last_sqe(ring).off, last_sqe(ring).len) == (0, PAGE)


def test_failed_fadvise_breaks_a_chain(ring: Ring, pipe: tuple[int, int]) -> None:
    """What is linked behind advice that fails does not run, and names it."""
    with ring.chain():
        advice = ring.fadvise(pipe[0], 0, 0, os.POSIX_FADV_WILLNEED)
        follower = ring.nop()
    with pytest.raises(ChainBroken, match="fadvise") as caught:
        follower.result()
    assert caught.value.cause is advice


def test_madvise_discards_pages(ring: Ring) -> None:
    """MADV_DONTNEED on private memory makes it read as zeros; an address that starts no page is EINVAL."""
    memory = mmap.mmap(-1, 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:] = b"x" * 2 * PAGE
    with memoryview(memory) as view, view[:PAGE] as first, view[1:PAGE] as odd:
        assert ring.madvise(first, mmap.MADV_DONTNEED).result() is None
        assert memory[:] == bytes(PAGE) + b"x" * PAGE
        with pytest.raises(OSError, match=rf"madvise of {PAGE - 1} bytes") as caught:
            ring.madvise(odd, mmap.MADV_DONTNEED).result()
    assert caught.value.errno == errno.EINVAL


def test_madvise_does_not_change_constants(ring: Ring) -> None:
    """Advice that discards is refused for bytes; other advice is not, and neither is a read-only mapping."""
    with pytest.raises(TypeError, match="read-only memory: bytes"):
        ring.madvise(bytes(3 * PAGE), mmap.MADV_DONTNEED)
    mapping = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ)
    assert ring.madvise(mapping, mmap.MADV_DONTNEED).result() is None
    assert ring.madvise(mapping, mmap.MADV_WILLNEED).result() is None


def test_madvise_beyond_4_gib(ring: Ring) -> None:
    """Memory of more than 32 bits of length is advised by the 64-bit form."""
    reserve_nothing = 0x4000  # MAP_NORESERVE
    memory = mmap.mmap(-1, (4 << 30) + PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve_nothing)
    memory[-1] = 1
    advice = ring.madvise(memory, mmap.MADV_DONTNEED)
    error = advice.exception()
    skip_without("64-bit lengths in IORING_OP_MADVISE", advice.completion.res, errno.EINVAL)
    assert error is None
    assert memory[-1] == 0


def test_madvise_holds_its_memory(ring: Ring) -> None:
    """A buffer cannot be resized while advice on it is in flight."""
    buffer = bytearray(4 * PAGE)
    advice = ring.madvise(buffer, mmap.MADV_NORMAL)
    with pytest.raises(BufferError):
        buffer.append(0)
    advice.exception()
    buffer.append(0)
