"""Requests on open files: what lands in the file, what the results and the errors are, who owns the memory."""

from __future__ import annotations

import array
import errno
import mmap
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode, skip_without
from contents import CONTENT

from uring import liburing as L
from uring.ring import Ring
from uring.types import FixedBuffer, FixedFile

PAGE = mmap.PAGESIZE


@pytest.fixture
def registered(ring: Ring) -> FixedBuffer:
    """Register a buffer of two pages at index 1."""
    memory = mmap.mmap(-1, 2 * PAGE)
    view = L.ffi.from_buffer(memory)
    vector = L.iovec((L.ffi.NULL, 0), view)
    assert L.io_uring_register_buffers(ring.c_ring, vector, 2) == 0
    return FixedBuffer(1, memory)


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
