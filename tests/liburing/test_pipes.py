"""Pipes and what is like them: requests that wait, and data that moves without a copy."""

from __future__ import annotations

import fcntl
import mmap
import os
from errno import EBADF, EINVAL, EPIPE, ESPIPE
from pathlib import Path
from typing import Any

from c_style import complete, get_sqe, is_empty, reap, require_opcode
from contents import CONTENT

from uring import liburing as L

CURRENT_POSITION = 2**64 - 1
PAGE = mmap.PAGESIZE


def test_read_of_an_empty_pipe_waits_for_data(ring: Any, pipe: tuple[int, int]) -> None:
    """A read of an empty pipe stays in flight until somebody writes."""
    reader, writer = pipe
    buffer = bytearray(16)
    view = L.ffi.from_buffer(buffer)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, reader, view, 16, CURRENT_POSITION)
    L.io_uring_sqe_set_data64(sqe, 1)
    L.io_uring_submit(ring)
    assert is_empty(ring)
    os.write(writer, b"late")
    assert reap(ring) == [(1, 4, 0)]
    assert buffer[:4] == b"late"


def test_write_to_a_full_pipe_waits_for_room(ring: Any, pipe: tuple[int, int]) -> None:
    """A write to a full pipe stays in flight until somebody reads."""
    reader, writer = pipe
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    os.write(writer, b"a" * PAGE)
    data = b"ten bytes!"
    sqe = get_sqe(ring)
    L.io_uring_prep_write(sqe, writer, data, 10, CURRENT_POSITION)
    L.io_uring_sqe_set_data64(sqe, 1)
    L.io_uring_submit(ring)
    assert is_empty(ring)
    assert os.read(reader, PAGE) == b"a" * PAGE
    assert reap(ring) == [(1, 10, 0)]
    assert os.read(reader, PAGE) == data


def test_read_of_a_pipe_ends_with_its_writer(ring: Any) -> None:
    """A read that waits on a pipe completes with 0 when the last writer goes."""
    reader, writer = os.pipe()
    buffer = L.ffi.new("char[8]")
    L.io_uring_prep_read(get_sqe(ring), reader, buffer, 8, CURRENT_POSITION)
    L.io_uring_submit(ring)
    assert is_empty(ring)
    os.close(writer)
    assert [res for _user_data, res, _flags in reap(ring)] == [0]
    os.close(reader)


def test_write_to_a_pipe_needs_a_reader(ring: Any) -> None:
    """A write to a pipe whose reader is gone is -EPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    assert complete(ring, L.io_uring_prep_write, writer, b"nobody", 6, CURRENT_POSITION) == -EPIPE
    os.close(writer)


def test_pipe_request_makes_a_pipe(ring: Any) -> None:
    """A pipe request returns two connected descriptors with the flags that were asked for."""
    require_opcode("IORING_OP_PIPE")
    fds = L.ffi.new("int[2]")
    assert complete(ring, L.io_uring_prep_pipe, fds, os.O_CLOEXEC | os.O_NONBLOCK) == 0
    reader, writer = fds
    try:
        assert not os.get_inheritable(reader)
        assert not os.get_blocking(writer)
        os.write(writer, b"through")
        assert os.read(reader, 16) == b"through"
    finally:
        os.close(reader)
        os.close(writer)
    assert complete(ring, L.io_uring_prep_pipe, fds, os.O_APPEND) == -EINVAL


def test_splice_moves_file_to_pipe_to_file(ring: Any, fd: int, pipe: tuple[int, int], tmp_path: Path) -> None:
    """Splice moves bytes from a file at an offset into a pipe, and from there into another file at an offset."""
    require_opcode("IORING_OP_SPLICE")
    reader, writer = pipe
    with (tmp_path / "target").open("wb", buffering=0) as target:
        assert complete(ring, L.io_uring_prep_splice, fd, 100, writer, -1, 300, 0) == 300
        assert complete(ring, L.io_uring_prep_splice, reader, -1, target.fileno(), 20, 300, 0) == 300
    assert (tmp_path / "target").read_bytes() == bytes(20) + CONTENT[100:400]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0


def test_splice_without_an_offset_uses_the_position(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """Splice at offset -1 reads on from the file's position and advances it."""
    require_opcode("IORING_OP_SPLICE")
    os.lseek(fd, 33, os.SEEK_SET)
    assert complete(ring, L.io_uring_prep_splice, fd, -1, pipe[1], -1, 50, 0) == 50
    assert os.read(pipe[0], 100) == CONTENT[33:83]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 83


def test_splice_takes_a_registered_file(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """With SPLICE_F_FD_IN_FIXED the input is an index into the registered files."""
    require_opcode("IORING_OP_SPLICE")
    assert L.io_uring_register_files(ring, L.ffi.new("int[]", [-1, fd]), 2) == 0
    assert complete(ring, L.io_uring_prep_splice, 1, 0, pipe[1], -1, 5, L.SPLICE_F_FD_IN_FIXED) == 5
    assert os.read(pipe[0], 100) == CONTENT[:5]
    assert complete(ring, L.io_uring_prep_splice, 0, 0, pipe[1], -1, 5, L.SPLICE_F_FD_IN_FIXED) == -EBADF


def test_splice_needs_a_pipe_without_offset(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """A pipe has no offset, and one of splice's two ends must be a pipe."""
    require_opcode("IORING_OP_SPLICE")
    assert complete(ring, L.io_uring_prep_splice, fd, 0, pipe[1], 0, 5, 0) == -ESPIPE
    assert complete(ring, L.io_uring_prep_splice, fd, 0, fd, 100, 5, 0) == -EINVAL


def test_tee_copies_and_keeps(ring: Any, fd: int, pipe: tuple[int, int]) -> None:
    """Tee copies what is in one pipe to another and leaves it in the first; a file is not a pipe."""
    require_opcode("IORING_OP_TEE")
    reader, writer = pipe
    second_reader, second_writer = os.pipe()
    try:
        os.write(writer, b"twice")
        assert complete(ring, L.io_uring_prep_tee, reader, second_writer, 100, 0) == 5
        assert os.read(second_reader, 100) == b"twice"
        assert os.read(reader, 100) == b"twice"
        assert complete(ring, L.io_uring_prep_tee, fd, second_writer, 100, 0) == -EINVAL
    finally:
        os.close(second_reader)
        os.close(second_writer)


def test_eventfd_read_returns_its_counter(ring: Any) -> None:
    """A read of an eventfd waits for the counter to rise, and returns it."""
    counter = L.ffi.new("uint64_t *")
    event = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        L.io_uring_prep_read(get_sqe(ring), event, counter, 8, CURRENT_POSITION)
        L.io_uring_submit(ring)
        assert is_empty(ring)
        os.eventfd_write(event, 7)
        assert [res for _user_data, res, _flags in reap(ring)] == [8]
        assert counter[0] == 7
    finally:
        os.close(event)
