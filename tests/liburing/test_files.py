"""Reading, writing and managing open files: what lands in the file, and what the errors are."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from errno import EAGAIN, EBADF, EFAULT, EINVAL, EISDIR, ENOENT, EOPNOTSUPP, ESPIPE
from pathlib import Path
from typing import Any

import pytest
from c_style import complete, get_sqe, reap, require_opcode, skip_without
from contents import CONTENT

from uring import liburing as L

CURRENT_POSITION = 2**64 - 1
PAGE = mmap.PAGESIZE
# linux/falloc.h, which Python does not name.
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
NO_SUCH_RWF_FLAG = 1 << 30


# Plain reads and writes


def test_read_at_an_offset(ring: Any, fd: int) -> None:
    """A read at an offset fills the buffer from there and leaves the file's position alone."""
    buffer = bytearray(100)
    assert complete(ring, L.io_uring_prep_read, fd, L.ffi.from_buffer(buffer), 100, 1000) == 100
    assert bytes(buffer) == CONTENT[1000:1100]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0


def test_write_at_an_offset(ring: Any, fd: int, path: Path) -> None:
    """A write at an offset changes those bytes of the file and no others."""
    data = b"written by the ring"
    assert complete(ring, L.io_uring_prep_write, fd, data, len(data), 500) == len(data)
    assert path.read_bytes() == CONTENT[:500] + data + CONTENT[500 + len(data) :]


def test_write_past_the_end_leaves_a_hole(ring: Any, fd: int, path: Path) -> None:
    """A write beyond the end of the file fills the gap with zeros."""
    assert complete(ring, L.io_uring_prep_write, fd, b"end", 3, 5000) == 3
    assert path.read_bytes() == CONTENT + bytes(5000 - len(CONTENT)) + b"end"


def test_read_at_the_end_is_short(ring: Any, fd: int) -> None:
    """A read across the end of the file returns what is there, and one behind the end returns 0."""
    buffer = bytearray(100)
    view = L.ffi.from_buffer(buffer)
    assert complete(ring, L.io_uring_prep_read, fd, view, 100, len(CONTENT) - 30) == 30
    assert bytes(buffer[:30]) == CONTENT[-30:]
    assert complete(ring, L.io_uring_prep_read, fd, view, 100, len(CONTENT)) == 0


def test_offset_minus_one_reads_on_from_the_position(ring: Any, fd: int) -> None:
    """Reads at offset -1 start at the file's position and advance it, as read(2) does."""
    if not ring.features & L.IORING_FEAT_RW_CUR_POS:
        pytest.skip("this kernel lacks IORING_FEAT_RW_CUR_POS")
    os.lseek(fd, 50, os.SEEK_SET)
    pieces = []
    for _ in range(3):
        buffer = bytearray(40)
        assert complete(ring, L.io_uring_prep_read, fd, L.ffi.from_buffer(buffer), 40, CURRENT_POSITION) == 40
        pieces.append(bytes(buffer))
    assert b"".join(pieces) == CONTENT[50:170]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 170


def test_offset_minus_one_writes_on_from_the_position(ring: Any, fd: int, path: Path) -> None:
    """Writes at offset -1 start at the file's position and advance it, as write(2) does."""
    if not ring.features & L.IORING_FEAT_RW_CUR_POS:
        pytest.skip("this kernel lacks IORING_FEAT_RW_CUR_POS")
    os.lseek(fd, 10, os.SEEK_SET)
    assert complete(ring, L.io_uring_prep_write, fd, b"first ", 6, CURRENT_POSITION) == 6
    assert complete(ring, L.io_uring_prep_write, fd, b"second", 6, CURRENT_POSITION) == 6
    assert path.read_bytes()[:30] == CONTENT[:10] + b"first second" + CONTENT[22:30]


def test_async_requests_give_the_same_bytes(ring: Any, fd: int) -> None:
    """A read forced to a worker with IOSQE_ASYNC reads what an ordinary one does."""
    buffer = bytearray(len(CONTENT))
    view = L.ffi.from_buffer(buffer)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, view, len(buffer), 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_ASYNC)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert reap(ring) == [(1, len(CONTENT), 0)]
    assert bytes(buffer) == CONTENT


def test_many_reads_in_one_submit_fill_their_own_buffers(make_ring: Callable[..., Any], fd: int) -> None:
    """Each of many reads in flight at once fills the buffer that was given with it."""
    ring = make_ring(32)
    buffers = [bytearray(128) for _ in range(32)]
    views = [L.ffi.from_buffer(buffer) for buffer in buffers]
    for number, view in enumerate(views):
        sqe = get_sqe(ring)
        L.io_uring_prep_read(sqe, fd, view, 128, 128 * (31 - number))
        L.io_uring_sqe_set_data64(sqe, number)
    assert sorted(reap(ring, 32)) == [(number, 128, 0) for number in range(32)]
    assert b"".join(reversed(buffers)) == CONTENT


def test_bad_arguments_are_refused(ring: Any, fd: int, tmp_path: Path) -> None:
    """A closed descriptor, a directory, an address that is not mapped: the errors of read(2)."""
    buffer = L.ffi.new("char[8]")
    closed = os.dup(fd)
    os.close(closed)
    assert complete(ring, L.io_uring_prep_read, closed, buffer, 8, 0) == -EBADF
    assert complete(ring, L.io_uring_prep_read, fd, L.ffi.cast("void *", 8), 8, 0) == -EFAULT
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert complete(ring, L.io_uring_prep_read, directory, buffer, 8, 0) == -EISDIR
    finally:
        os.close(directory)


def test_access_mode_of_the_file_is_respected(ring: Any, path: Path) -> None:
    """A descriptor opened for writing cannot be read, and one opened for reading cannot be written or truncated."""
    require_opcode("IORING_OP_FTRUNCATE")
    buffer = L.ffi.new("char[8]")
    write_only, read_only = os.open(path, os.O_WRONLY), os.open(path, os.O_RDONLY)
    try:
        assert complete(ring, L.io_uring_prep_read, write_only, buffer, 8, 0) == -EBADF
        assert complete(ring, L.io_uring_prep_write, read_only, buffer, 8, 0) == -EBADF
        assert complete(ring, L.io_uring_prep_ftruncate, read_only, 0) == -EINVAL
    finally:
        os.close(write_only)
        os.close(read_only)
    assert path.read_bytes() == CONTENT


# Vectors and per-request flags


def test_readv_scatters(ring: Any, fd: int) -> None:
    """A readv fills its buffers one after the other, and leaves those behind the end of the file untouched."""
    buffers = [bytearray(b"?" * size) for size in (10, 0, 100, 50)]
    start = len(CONTENT) - 100
    assert complete(ring, L.io_uring_prep_readv, fd, L.iovec(*buffers), 4, start) == 100
    assert bytes(buffers[0]) == CONTENT[start : start + 10]
    assert bytes(buffers[2]) == CONTENT[start + 10 :] + b"?" * 10
    assert buffers[3] == b"?" * 50


def test_writev_gathers(ring: Any, fd: int, path: Path) -> None:
    """A writev writes its buffers one behind the other."""
    assert complete(ring, L.io_uring_prep_writev, fd, L.iovec(b"one,", bytearray(b"two,"), b"three"), 3, 8) == 13
    assert path.read_bytes() == CONTENT[:8] + b"one,two,three" + CONTENT[21:]


def test_vector_has_a_limit(ring: Any, fd: int) -> None:
    """A vector of more than IOV_MAX entries is refused, and an empty one reads nothing."""
    limit = os.sysconf("SC_IOV_MAX")
    byte = bytearray(1)
    vector = L.iovec(*[byte] * (limit + 1))
    assert complete(ring, L.io_uring_prep_readv, fd, vector, limit + 1, 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_readv, fd, vector, limit, 0) == limit
    assert complete(ring, L.io_uring_prep_readv, fd, vector, 0, 0) == 0


def test_writev2_append_ignores_the_offset(ring: Any, fd: int, path: Path) -> None:
    """A write with RWF_APPEND goes to the end of the file, whatever its offset."""
    vector = L.iovec(b"appended")
    assert complete(ring, L.io_uring_prep_writev2, fd, vector, 1, 0, os.RWF_APPEND) == 8
    assert path.read_bytes() == CONTENT + b"appended"


def test_writev2_dsync_writes(ring: Any, fd: int, path: Path) -> None:
    """A write with RWF_DSYNC and RWF_SYNC lands like any other."""
    assert complete(ring, L.io_uring_prep_writev2, fd, L.iovec(b"sync"), 1, 4, os.RWF_DSYNC | os.RWF_SYNC) == 4
    assert path.read_bytes()[:8] == CONTENT[:4] + b"sync"


def test_readv2_nowait_does_not_wait(ring: Any, pipe: tuple[int, int]) -> None:
    """A read with RWF_NOWAIT on an empty pipe completes at once with -EAGAIN, and reads what is there later."""
    reader, writer = pipe
    buffer = bytearray(16)
    vector = L.iovec(buffer)
    res = complete(ring, L.io_uring_prep_readv2, reader, vector, 1, 0, os.RWF_NOWAIT)
    if res == -EOPNOTSUPP:
        pytest.skip("this kernel lacks RWF_NOWAIT for pipes")
    assert res == -EAGAIN
    os.write(writer, b"now")
    assert complete(ring, L.io_uring_prep_readv2, reader, vector, 1, 0, os.RWF_NOWAIT) == 3
    assert buffer[:3] == b"now"


def test_unknown_rwf_flag_is_refused(ring: Any, fd: int) -> None:
    """An RWF_ flag that does not exist is -EOPNOTSUPP, for reads and for writes."""
    vector = L.iovec(bytearray(4))
    assert complete(ring, L.io_uring_prep_readv2, fd, vector, 1, 0, NO_SUCH_RWF_FLAG) == -EOPNOTSUPP
    assert complete(ring, L.io_uring_prep_writev2, fd, vector, 1, 0, NO_SUCH_RWF_FLAG) == -EOPNOTSUPP


# O_DIRECT


@pytest.fixture
def direct_fd(path: Path) -> Iterator[int]:
    """Open the file with O_DIRECT."""
    path.write_bytes(CONTENT * 4)
    try:
        fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError:
        pytest.skip("this kernel lacks O_DIRECT on the file system of the tests")
    yield fd
    os.close(fd)


def test_direct_read_and_write(ring: Any, direct_fd: int, path: Path) -> None:
    """O_DIRECT transfers from and to page-aligned memory move whole pages."""
    memory = mmap.mmap(-1, 2 * PAGE)
    view = L.ffi.from_buffer(memory)
    assert complete(ring, L.io_uring_prep_read, direct_fd, view, 2 * PAGE, PAGE) == 2 * PAGE
    assert memory[:] == (CONTENT * 4)[PAGE : 3 * PAGE]
    memory[:] = bytes(reversed(memory[:]))
    assert complete(ring, L.io_uring_prep_write, direct_fd, view, PAGE, 0) == PAGE
    assert path.read_bytes() == memory[:PAGE] + (CONTENT * 4)[PAGE:]


def test_direct_io_needs_alignment(ring: Any, direct_fd: int) -> None:
    """O_DIRECT at an offset or of a length that is no multiple of the block size is -EINVAL."""
    memory = mmap.mmap(-1, 2 * PAGE)
    view = L.ffi.from_buffer(memory)
    if complete(ring, L.io_uring_prep_read, direct_fd, view, PAGE, 1) == PAGE:
        pytest.skip("this kernel lacks alignment rules for O_DIRECT on the file system of the tests")
    assert complete(ring, L.io_uring_prep_read, direct_fd, view, PAGE, 1) == -EINVAL
    assert complete(ring, L.io_uring_prep_write, direct_fd, view, PAGE - 1, 0) == -EINVAL


# Flushing, allocating, advising, truncating


def test_fsync(ring: Any, fd: int, path: Path) -> None:
    """An fsync linked behind a write succeeds, whole or data only; the write is in the file."""
    for number, flags in enumerate((0, L.IORING_FSYNC_DATASYNC)):
        write = get_sqe(ring)
        L.io_uring_prep_write(write, fd, b"durable", 7, 7 * number)
        L.io_uring_sqe_set_flags(write, L.IOSQE_IO_LINK)
        L.io_uring_sqe_set_data64(write, 1)
        sync = get_sqe(ring)
        L.io_uring_prep_fsync(sync, fd, flags)
        L.io_uring_sqe_set_data64(sync, 2)
        assert reap(ring, 2) == [(1, 7, 0), (2, 0, 0)]
    assert path.read_bytes()[:16] == b"durable" * 2 + CONTENT[14:16]


def test_fsync_refuses_pipes_and_unknown_flags(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """An fsync of a pipe, or with a flag that does not exist, is -EINVAL."""
    assert complete(ring, L.io_uring_prep_fsync, pipe[0], 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_fsync, fd, L.IORING_FSYNC_DATASYNC << 1) == -EINVAL


def test_sync_file_range(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """A range of a file can be flushed; a pipe has no ranges."""
    require_opcode("IORING_OP_SYNC_FILE_RANGE")
    write_and_wait = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER
    assert complete(ring, L.io_uring_prep_sync_file_range, fd, PAGE, 0, write_and_wait) == 0
    assert complete(ring, L.io_uring_prep_sync_file_range, pipe[0], PAGE, 0, write_and_wait) == -ESPIPE


def test_fallocate_grows_the_file(ring: Any, fd: int, path: Path) -> None:
    """Fallocate extends the file with zeros, and with FALLOC_FL_KEEP_SIZE takes blocks without growing it."""
    require_opcode("IORING_OP_FALLOCATE")
    res = complete(ring, L.io_uring_prep_fallocate, fd, 0, len(CONTENT), 6000)
    skip_without("fallocate on the file system of the tests", res, EOPNOTSUPP)
    assert res == 0
    assert path.read_bytes() == CONTENT + bytes(6000)
    before = os.fstat(fd)
    assert complete(ring, L.io_uring_prep_fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, 1 << 20) == 0
    after = os.fstat(fd)
    assert after.st_size == before.st_size
    assert after.st_blocks > before.st_blocks


def test_fallocate_punches_holes(ring: Any, fd: int, path: Path) -> None:
    """A punched hole reads as zeros and keeps the rest; an empty range is refused."""
    require_opcode("IORING_OP_FALLOCATE")
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    res = complete(ring, L.io_uring_prep_fallocate, fd, mode, 1000, 2000)
    skip_without("holes on the file system of the tests", res, EOPNOTSUPP)
    assert res == 0
    assert path.read_bytes() == CONTENT[:1000] + bytes(2000) + CONTENT[3000:]
    assert complete(ring, L.io_uring_prep_fallocate, fd, 0, 0, 0) == -EINVAL


def test_fadvise(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """Advice on a file is taken, with 32 and 64 bits of length; on a pipe, or unknown advice, it is refused."""
    require_opcode("IORING_OP_FADVISE")
    assert complete(ring, L.io_uring_prep_fadvise, fd, 0, 4096, os.POSIX_FADV_WILLNEED) == 0
    assert complete(ring, L.io_uring_prep_fadvise, pipe[0], 0, 4096, os.POSIX_FADV_WILLNEED) == -ESPIPE
    assert complete(ring, L.io_uring_prep_fadvise, fd, 0, 4096, 99) == -EINVAL


def test_fadvise64_takes_a_length_beyond_4_gib(ring: Any, fd: int) -> None:
    """The 64-bit form takes advice for a range that 32 bits cannot express."""
    require_opcode("IORING_OP_FADVISE")
    res = complete(ring, L.io_uring_prep_fadvise64, fd, 0, 2**33, os.POSIX_FADV_DONTNEED)
    skip_without("64-bit lengths in IORING_OP_FADVISE", res, EINVAL)
    assert res == 0
    assert complete(ring, L.io_uring_prep_fadvise64, fd, 0, 2**33, 99) == -EINVAL


def check_madvise(ring: Any, prepare: Callable[..., None]) -> None:
    """Drop the first of two private pages, and check that only this one is zeros now."""
    memory = mmap.mmap(-1, 2 * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:] = b"x" * 2 * PAGE
    view = L.ffi.from_buffer(memory)
    res = complete(ring, prepare, view, PAGE, mmap.MADV_DONTNEED)
    if prepare is L.io_uring_prep_madvise64:
        skip_without("64-bit lengths in IORING_OP_MADVISE", res, EINVAL)
    assert res == 0
    assert memory[:] == bytes(PAGE) + b"x" * PAGE
    assert complete(ring, prepare, view + 1, PAGE, mmap.MADV_DONTNEED) == -EINVAL


def test_madvise_drops_private_pages(ring: Any) -> None:
    """MADV_DONTNEED on private memory makes it read as zeros again; an unaligned address is refused."""
    require_opcode("IORING_OP_MADVISE")
    check_madvise(ring, L.io_uring_prep_madvise)


def test_madvise64_drops_private_pages(ring: Any) -> None:
    """The 64-bit form of madvise does the same."""
    require_opcode("IORING_OP_MADVISE")
    check_madvise(ring, L.io_uring_prep_madvise64)


def test_ftruncate(ring: Any, fd: int, path: Path) -> None:
    """Ftruncate shortens and extends a file; a negative length is refused."""
    require_opcode("IORING_OP_FTRUNCATE")
    assert complete(ring, L.io_uring_prep_ftruncate, fd, 100) == 0
    assert path.read_bytes() == CONTENT[:100]
    assert complete(ring, L.io_uring_prep_ftruncate, fd, 150) == 0
    assert path.read_bytes() == CONTENT[:100] + bytes(50)
    assert complete(ring, L.io_uring_prep_ftruncate, fd, -1) == -EINVAL


# Metadata


def test_statx_by_path(ring: Any, path: Path) -> None:
    """Statx of a path gives what stat(2) gives."""
    require_opcode("IORING_OP_STATX")
    stat = L.statx()
    name = os.fsencode(path)
    assert complete(ring, L.io_uring_prep_statx, L.AT_FDCWD, name, 0, L.STATX_BASIC_STATS, stat) == 0
    expected = path.stat()
    assert stat.stx_mask & L.STATX_BASIC_STATS == L.STATX_BASIC_STATS
    assert (stat.stx_size, stat.stx_mode, stat.stx_ino) == (expected.st_size, expected.st_mode, expected.st_ino)
    assert (stat.stx_nlink, stat.stx_uid, stat.stx_gid) == (1, expected.st_uid, expected.st_gid)
    assert stat.stx_mtime.tv_sec * 10**9 + stat.stx_mtime.tv_nsec == expected.st_mtime_ns


def test_statx_by_descriptor(ring: Any, fd: int) -> None:
    """Statx with AT_EMPTY_PATH is about the descriptor itself, also when its name is gone."""
    require_opcode("IORING_OP_STATX")
    stat = L.statx()
    assert complete(ring, L.io_uring_prep_statx, fd, b"", L.AT_EMPTY_PATH, L.STATX_SIZE, stat) == 0
    assert stat.stx_size == len(CONTENT)


def test_statx_errors(ring: Any, path: Path) -> None:
    """A missing path is -ENOENT and a result that cannot be stored is -EFAULT."""
    require_opcode("IORING_OP_STATX")
    name, missing = os.fsencode(path), os.fsencode(path) + b".missing"
    assert complete(ring, L.io_uring_prep_statx, L.AT_FDCWD, missing, 0, L.STATX_SIZE, L.statx()) == -ENOENT
    assert complete(ring, L.io_uring_prep_statx, L.AT_FDCWD, name, 0, L.STATX_SIZE, L.ffi.NULL) == -EFAULT
