"""Requests on open files: what lands in the file, what the results and the errors are, who owns the memory."""

from __future__ import annotations

import array
import errno
import mmap
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode, skip_without

from uring import liburing as L
from uring.errors import ChainBroken
from uring.ring import Ring
from uring.types import FixedBuffer, FixedFile

CONTENT = bytes(range(256)) * 16
PAGE = mmap.PAGESIZE
PUNCH_HOLE_AND_KEEP_SIZE = 3
KEEP_SIZE = 1


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a file of 4 KiB in which no two neighbouring bytes are the same."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    """Open that file for reading and writing."""
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def registered(ring: Ring) -> FixedBuffer:
    """Register a buffer of two pages at index 1."""
    memory = mmap.mmap(-1, 2 * PAGE)
    view = L.ffi.from_buffer(memory)
    vector = L.iovec((L.ffi.NULL, 0), view)
    assert L.io_uring_register_buffers(ring.c_ring, vector, 2) == 0
    return FixedBuffer(1, memory)


def last_sqe(ring: Ring) -> Any:
    """Return the SQE that was written last."""
    queue = ring.c_ring.sq
    return queue.sqes[(queue.sqe_tail - 1) & queue.ring_mask]


# Reading


def test_read_at_an_offset_leaves_the_position(ring: Ring, fd: int) -> None:
    """A read at an offset fills the buffer from there, and the file's position stays where it is."""
    buffer = bytearray(100)
    assert ring.read(fd, buffer, 1000).result() == 100
    assert bytes(buffer) == CONTENT[1000:1100]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0


def test_read_goes_on_from_the_position(ring: Ring, fd: int) -> None:
    """Without an offset a read starts at the file's position and advances it."""
    os.lseek(fd, 50, os.SEEK_SET)
    first, second = bytearray(10), bytearray(20)
    assert ring.read(fd, first).result() == 10
    assert ring.read(fd, second).result() == 20
    assert bytes(first + second) == CONTENT[50:80]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 80


def test_read_at_the_end(ring: Ring, fd: int) -> None:
    """A read across the end of the file is short, and one behind it returns 0."""
    assert ring.read(fd, bytearray(100), len(CONTENT) - 30).result() == 30
    assert ring.read(fd, bytearray(100), len(CONTENT)).result() == 0


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(bytearray, id="bytearray"),
        pytest.param(lambda size: memoryview(bytearray(size + 2))[1:-1], id="memoryview"),
        pytest.param(lambda size: mmap.mmap(-1, size), id="mmap"),
        pytest.param(lambda size: array.array("H", bytes(size)), id="array"),
        pytest.param(lambda size: memoryview(bytearray(size)).cast("B", (2, size // 2)), id="two dimensions"),
    ],
)
def test_read_takes_any_writable_buffer(ring: Ring, fd: int, make: Any) -> None:
    """Whatever has the buffer protocol, is writable and contiguous is filled, whatever its items are."""
    buffer = make(200)
    assert ring.read(fd, buffer, 7).result() == 200
    assert memoryview(buffer).tobytes() == CONTENT[7:207]


def test_read_of_nothing(ring: Ring, fd: int) -> None:
    """An empty buffer, and an empty list of them, read 0 bytes."""
    assert ring.read(fd, bytearray(), 0).result() == 0
    assert ring.read(fd, [], 0).result() == 0


def test_read_fills_a_list_in_order(ring: Ring, fd: int) -> None:
    """A list of buffers, or a tuple, is filled one after the other; what is behind the end stays as it was."""
    for kind in (list, tuple):
        buffers = [bytearray(b"?" * size) for size in (10, 0, 100, 50)]
        start = len(CONTENT) - 100
        assert ring.read(fd, kind(buffers), start).result() == 100
        assert buffers[0] == CONTENT[start : start + 10]
        assert buffers[2] == CONTENT[start + 10 :] + b"?" * 10
        assert buffers[3] == b"?" * 50


def test_read_takes_at_most_1024_buffers(ring: Ring, fd: int) -> None:
    """A list may have as many buffers as the kernel takes; one more is refused at once."""
    byte = bytearray(1)
    assert ring.read(fd, [byte] * 1024, 0).result() == 1024
    with pytest.raises(ValueError, match="1024 buffers"):
        ring.read(fd, [byte] * 1025, 0)


def test_read_flags_are_those_of_preadv2(ring: Ring, pipe: tuple[int, int]) -> None:
    """A read with RWF_NOWAIT fails at once where nothing is there, and reads what is there later."""
    reader, writer = pipe
    buffer = bytearray(8)
    read = ring.read(reader, buffer, rw_flags=os.RWF_NOWAIT)
    error = read.exception()
    skip_without("RWF_NOWAIT for pipes", read.completion.res, errno.EOPNOTSUPP)
    assert isinstance(error, BlockingIOError)
    os.write(writer, b"now")
    assert ring.read(reader, [buffer], rw_flags=os.RWF_NOWAIT).result() == 3
    assert buffer[:3] == b"now"


def test_unknown_flag_is_refused(ring: Ring, fd: int) -> None:
    """An RWF_ flag that no kernel has is EOPNOTSUPP, so flags do reach the kernel."""
    for operation in (ring.read(fd, bytearray(4), 0, rw_flags=1 << 30), ring.write(fd, b"abcd", 0, rw_flags=1 << 30)):
        with pytest.raises(OSError, match="Operation not supported"):
            operation.result()


def test_read_waits_for_data(ring: Ring, pipe: tuple[int, int]) -> None:
    """A read of an empty pipe is in flight until somebody writes, and its buffer is held in place so long."""
    buffer = bytearray(8)
    read = ring.read(pipe[0], buffer)
    ring.submit()
    assert not read.done()
    with pytest.raises(BufferError):
        buffer.append(0)
    os.write(pipe[1], b"late")
    assert read.result() == 4
    buffer.append(0)
    assert buffer == b"late" + bytes(5)


def test_read_of_a_socket_object(ring: Ring) -> None:
    """Anything with fileno() is a descriptor, a socket as well as a file."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"hello")
        buffer = bytearray(5)
        assert ring.read(ours, buffer).result() == 5
        assert buffer == b"hello"


def test_read_of_a_registered_file(ring: Ring, fd: int) -> None:
    """A FixedFile is an index into the ring's table, and so is an int with fixed_file=True."""
    assert L.io_uring_register_files(ring.c_ring, [-1, fd], 2) == 0
    for file, options in ((FixedFile(1), {}), (1, {"fixed_file": True})):
        buffer = bytearray(4)
        assert ring.read(file, buffer, 8, **options).result() == 4
        assert buffer == CONTENT[8:12]
    with pytest.raises(OSError, match="Bad file descriptor"):
        ring.read(FixedFile(0), bytearray(4), 8).result()


def test_options_reach_the_request(ring: Ring, fd: int) -> None:
    """A read that a worker does, behind a drain, reads the same bytes; an unknown personality is refused."""
    buffer = bytearray(16)
    assert ring.read(fd, buffer, 16, force_async=True, drain=True).result() == 16
    assert buffer == CONTENT[16:32]
    with pytest.raises(OSError, match="Invalid argument"):
        ring.read(fd, buffer, 16, personality=4711).result()


# Writing


def test_write_at_an_offset(ring: Ring, fd: int, path: Path) -> None:
    """A write at an offset changes those bytes and no others; bytes and other read-only memory will do."""
    assert ring.write(fd, b"bytes", 100).result() == 5
    assert ring.write(fd, memoryview(b"?view?")[1:5], 200).result() == 4
    expected = bytearray(CONTENT)
    expected[100:105], expected[200:204] = b"bytes", b"view"
    assert path.read_bytes() == expected


def test_write_goes_on_from_the_position(ring: Ring, fd: int, path: Path) -> None:
    """Without an offset a write starts at the file's position and advances it."""
    os.lseek(fd, 10, os.SEEK_SET)
    assert ring.write(fd, b"first ").result() == 6
    assert ring.write(fd, b"second").result() == 6
    assert path.read_bytes()[:30] == CONTENT[:10] + b"first second" + CONTENT[22:30]


def test_write_gathers_a_list(ring: Ring, fd: int, path: Path) -> None:
    """A list of buffers is written one behind the other."""
    assert ring.write(fd, [b"one,", bytearray(b"two,"), memoryview(b"three")], 8).result() == 13
    assert path.read_bytes() == CONTENT[:8] + b"one,two,three" + CONTENT[21:]


def test_write_flags_are_those_of_pwritev2(ring: Ring, fd: int, path: Path) -> None:
    """With RWF_APPEND a write goes to the end of the file, whatever its offset."""
    assert ring.write(fd, b"appended", 0, rw_flags=os.RWF_APPEND).result() == 8
    assert ring.write(fd, [b"in ", b"order"], 0, rw_flags=os.RWF_DSYNC | os.RWF_SYNC).result() == 8
    assert path.read_bytes() == b"in order" + CONTENT[8:] + b"appended"


def test_write_holds_its_buffer(ring: Ring, pipe: tuple[int, int]) -> None:
    """What is being written cannot be resized; a written buffer can, also one of a list."""
    buffers = [bytearray(b"a"), bytearray(b"b")]
    for payload in (buffers[0], buffers):
        write = ring.write(pipe[1], payload)
        for buffer in buffers[: len(payload)]:
            with pytest.raises(BufferError):
                buffer.append(0)
        write.result()
    for buffer in buffers:
        buffer.append(0)
    assert os.read(pipe[0], 8) == b"aab"


# Registered buffers


def test_registered_buffer_is_read_and_written(ring: Ring, registered: FixedBuffer, fd: int, path: Path) -> None:
    """A FixedBuffer, or a slice of one, is transferred by the requests for registered memory."""
    read = ring.read(fd, registered[100:150], 50)
    assert (read.result(), read.opcode) == (50, "READ_FIXED")
    assert registered.memory[99:151] == b"\0" + CONTENT[50:100] + b"\0"
    write = ring.write(fd, registered[100:110], 0)
    assert (write.result(), write.opcode) == (10, "WRITE_FIXED")
    assert path.read_bytes()[:11] == CONTENT[50:60] + CONTENT[10:11]


def test_memory_outside_the_registered_buffer(ring: Ring, registered: FixedBuffer, fd: int) -> None:
    """Memory that is not within the registered buffer of that index is EFAULT, and the message says why."""
    for wrong in (FixedBuffer(1, bytearray(8)), FixedBuffer(0, registered.memory), FixedBuffer(9, registered.memory)):
        with pytest.raises(OSError, match="outside the registered buffer") as caught:
            ring.read(fd, wrong, 0).result()
        assert caught.value.errno == errno.EFAULT


def test_parts_of_a_registered_buffer(ring: Ring, registered: FixedBuffer, fd: int, path: Path) -> None:
    """A list of slices of one registered buffer is one vectored request."""
    require_opcode("IORING_OP_READV_FIXED", "IORING_OP_WRITEV_FIXED")
    parts = [registered[1000:1004], registered[0:7]]
    read = ring.read(fd, parts, 20)
    assert (read.result(), read.opcode) == (11, "READV_FIXED")
    assert registered.memory[1000:1004] + registered.memory[0:7] == CONTENT[20:31]
    write = ring.write(fd, parts[::-1], 0)
    assert (write.result(), write.opcode) == (11, "WRITEV_FIXED")
    assert path.read_bytes()[:12] == CONTENT[24:31] + CONTENT[20:24] + CONTENT[11:12]


def test_flags_with_a_registered_buffer(ring: Ring, registered: FixedBuffer, fd: int, path: Path) -> None:
    """Flags work with registered memory too: an RWF_APPEND write lands at the end."""
    require_opcode("IORING_OP_WRITEV_FIXED")
    registered.memory[:3] = b"end"
    write = ring.write(fd, registered[:3], 0, rw_flags=os.RWF_APPEND)
    assert (write.result(), write.opcode) == (3, "WRITEV_FIXED")
    assert path.read_bytes() == CONTENT + b"end"


def test_list_of_different_registered_buffers(ring: Ring, registered: FixedBuffer, fd: int) -> None:
    """Parts of different registered buffers, or a mix with plain ones, are refused before anything is queued."""
    with pytest.raises(ValueError, match="share their index"):
        ring.read(fd, [registered[:4], FixedBuffer(0, bytearray(4))], 0)
    with pytest.raises(TypeError, match="not both"):
        ring.read(fd, [registered[:4], bytearray(4)], 0)
    assert ring.statistics().in_flight == 0


# Errors


def test_errors_say_what_was_tried(ring: Ring, path: Path) -> None:
    """A failed transfer names the operation, the descriptor, offset and length, and what EBADF may mean."""
    write_only = os.open(path, os.O_WRONLY)
    try:
        read = ring.read(write_only, bytearray(100), 7)
        with pytest.raises(OSError, match=rf"read of 100 bytes at 7 on fd {write_only}.*not open for this") as caught:
            read.result()
        assert caught.value.errno == errno.EBADF
    finally:
        os.close(write_only)
    with pytest.raises(OSError, match=rf"write of 6 bytes on fd {write_only}"):
        ring.write(write_only, [b"abc", b"def"]).result()


def test_errors_are_of_their_class(ring: Ring, tmp_path: Path) -> None:
    """A directory is IsADirectoryError, a pipe without reader BrokenPipeError."""
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            ring.read(folder, bytearray(8), 0).result()
    finally:
        os.close(folder)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with pytest.raises(BrokenPipeError):
            ring.write(writer, b"x").result()
    finally:
        os.close(writer)


def test_direct_io_explains_alignment(ring: Ring, path: Path) -> None:
    """An unaligned O_DIRECT read is EINVAL with a hint; an aligned one reads."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this kernel lacks O_DIRECT on the file system of the tests")
    try:
        memory = mmap.mmap(-1, PAGE)
        assert ring.read(fd, memory, 0).result() == PAGE
        assert memory[:] == CONTENT[:PAGE]
        unaligned = ring.read(fd, memory, 1)
        if unaligned.exception() is None:
            pytest.skip("this kernel lacks alignment rules for O_DIRECT on the file system of the tests")
        with pytest.raises(OSError, match="multiples of the logical block size") as caught:
            unaligned.result()
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(fd)


# Flushing, allocating, truncating, advice


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
