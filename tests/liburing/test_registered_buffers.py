"""Registered buffers: tables, fixed reads and writes, sparse slots, tags, vectors, clones, and what is out of range."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from errno import EBUSY, EFAULT, EINVAL, ENXIO
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

SIZE = 4096


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """Open an empty file for reading and writing."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


@pytest.fixture
def buffers(ring: Any) -> list[Any]:
    """Register two buffers of 4 KiB."""
    made = [L.ffi.new("char[]", SIZE) for _ in range(2)]
    assert L.io_uring_register_buffers(ring, L.iovec(*made), 2) == 0
    return made


def read_fixed(ring: Any, fd: int, address: Any, length: int, index: int, *, offset: int = 0, flags: int = 0) -> int:
    """Read into a part of a registered buffer; return the result."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read_fixed(sqe, fd, address, length, offset, index)
    L.io_uring_sqe_set_flags(sqe, flags)
    L.io_uring_sqe_set_data64(sqe, 1)
    [(user_data, res, _flags)] = reap(ring)
    assert user_data == 1
    return res


def write_fixed(ring: Any, fd: int, address: Any, length: int, index: int, *, offset: int = 0) -> int:
    """Write from a part of a registered buffer; return the result."""
    sqe = get_sqe(ring)
    L.io_uring_prep_write_fixed(sqe, fd, address, length, offset, index)
    L.io_uring_sqe_set_data64(sqe, 1)
    [(user_data, res, _flags)] = reap(ring)
    assert user_data == 1
    return res


def vector_fixed(ring: Any, prepare: Callable[..., None], fd: int, vector: Any, index: int) -> int:
    """Read or write a vector within a registered buffer; return the result."""
    sqe = get_sqe(ring)
    prepare(sqe, fd, vector, len(vector), 0, 0, index)
    L.io_uring_sqe_set_data64(sqe, 1)
    [(_user_data, res, _flags)] = reap(ring)
    return res


def content(buffer: Any, length: int) -> bytes:
    """Return the first bytes of a buffer."""
    return bytes(L.ffi.buffer(buffer, length))


# The table


def test_table_is_registered_once(ring: Any) -> None:
    """A second table is refused with -EBUSY until the first is unregistered; then there is nothing to unregister."""
    vector = L.iovec(L.ffi.new("char[]", SIZE))
    assert L.io_uring_register_buffers(ring, vector, 1) == 0
    assert L.io_uring_register_buffers(ring, vector, 1) == -EBUSY
    assert L.io_uring_unregister_buffers(ring) == 0
    assert L.io_uring_unregister_buffers(ring) == -ENXIO
    assert L.io_uring_register_buffers(ring, vector, 1) == 0


@pytest.mark.parametrize("count", [0, 1 << 20])
def test_table_of_a_wrong_size_is_refused(ring: Any, count: int) -> None:
    """A table of no buffers, or of more than the kernel's limit, is refused with -EINVAL."""
    assert L.io_uring_register_buffers(ring, L.iovec(L.ffi.new("char[]", SIZE)), count) == -EINVAL


@pytest.mark.parametrize(
    ("address", "length"),
    [
        pytest.param(0, SIZE, id="NULL with a length"),
        pytest.param(1 << 20, SIZE, id="not mapped"),
        pytest.param(1 << 20, (1 << 30) + 1, id="longer than 1 GiB"),
    ],
)
def test_memory_that_cannot_be_pinned_is_refused(ring: Any, address: int, length: int) -> None:
    """Registering memory that is not there, or too long, fails with -EFAULT and leaves no table."""
    good = L.ffi.new("char[]", SIZE)
    assert L.io_uring_register_buffers(ring, L.iovec(good, (L.ffi.cast("void *", address), length)), 2) == -EFAULT
    assert L.io_uring_unregister_buffers(ring) == -ENXIO


# Fixed reads and writes


def test_write_and_read_back(ring: Any, buffers: list[Any], file: int) -> None:
    """What is written from one registered buffer is read back into another."""
    L.ffi.memmove(buffers[0], bytes(range(256)) * 16, SIZE)
    assert write_fixed(ring, file, buffers[0], SIZE, 0) == SIZE
    assert read_fixed(ring, file, buffers[1], SIZE, 1) == SIZE
    assert content(buffers[1], SIZE) == bytes(range(256)) * 16


def test_part_of_a_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """A fixed read may use any part of its buffer, and touches that part alone."""
    os.write(file, b"0123456789")
    assert read_fixed(ring, file, buffers[0] + 100, 5, 0, offset=3) == 5
    assert content(buffers[0], SIZE) == bytes(100) + b"34567" + bytes(SIZE - 105)


def test_end_of_a_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """The last byte of a buffer belongs to it, and the one behind does not."""
    os.write(file, b"0123456789")
    assert read_fixed(ring, file, buffers[0] + SIZE - 4, 4, 0) == 4
    assert read_fixed(ring, file, buffers[0] + SIZE - 4, 5, 0) == -EFAULT


def test_fixed_read_of_a_pipe(ring: Any, buffers: list[Any], pipe: tuple[int, int]) -> None:
    """A fixed read waits for data like any read."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read_fixed(sqe, pipe[0], buffers[1], SIZE, 0, 1)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    os.write(pipe[1], b"later")
    assert reap(ring) == [(1, 5, 0)]
    assert content(buffers[1], 5) == b"later"


def test_fixed_read_in_a_worker(ring: Any, buffers: list[Any], file: int) -> None:
    """A worker finds the registered buffer too."""
    os.write(file, b"worker")
    assert read_fixed(ring, file, buffers[0], SIZE, 0, flags=L.IOSQE_ASYNC) == 6
    assert content(buffers[0], 6) == b"worker"


@pytest.mark.parametrize("index", [2, 65535])
def test_wrong_index(ring: Any, buffers: list[Any], file: int, index: int) -> None:
    """An index beyond the table fails with -EFAULT."""
    assert read_fixed(ring, file, buffers[0], 1, index) == -EFAULT


def test_address_of_another_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """An address that lies in another registered buffer than the index names fails with -EFAULT."""
    os.write(file, b"x")
    assert read_fixed(ring, file, buffers[0], 1, 1) == -EFAULT
    assert read_fixed(ring, file, buffers[0], 1, 0) == 1


def test_address_before_the_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """An address before the buffer's start fails with -EFAULT, and so does one that wraps around."""
    os.write(file, b"x")
    assert read_fixed(ring, file, buffers[0] - 1, 1, 0) == -EFAULT
    assert read_fixed(ring, file, L.ffi.cast("void *", 2**64 - 1), 1, 0) == -EFAULT


def test_fixed_read_without_a_table(ring: Any, file: int) -> None:
    """Without registered buffers a fixed read fails with -EFAULT."""
    buffer = L.ffi.new("char[]", SIZE)
    assert read_fixed(ring, file, buffer, 1, 0) == -EFAULT


def test_buffer_outlives_its_mapping(ring: Any, file: int) -> None:
    """The kernel keeps the pages of a registered buffer: they can be written out after they were unmapped."""
    memory = mmap.mmap(-1, SIZE)
    memory[:5] = b"pages"
    view = L.ffi.from_buffer(memory)
    address = L.ffi.cast("void *", view)
    assert L.io_uring_register_buffers(ring, L.iovec(view), 1) == 0
    L.ffi.release(view)
    memory.close()
    assert write_fixed(ring, file, address, 5, 0) == 5
    assert os.pread(file, 5, 0) == b"pages"


def test_unregister_leaves_a_request_its_buffer(ring: Any, buffers: list[Any], pipe: tuple[int, int]) -> None:
    """A request in flight keeps its buffer when the table goes; later ones find none."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read_fixed(sqe, pipe[0], buffers[0], SIZE, 0, 0)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    returned: list[int] = []
    # Kernels before 6.13 wait for the request here.
    thread = threading.Thread(target=lambda: returned.append(L.io_uring_unregister_buffers(ring)))
    thread.start()
    os.write(pipe[1], b"kept")
    assert reap(ring) == [(1, 4, 0)]
    thread.join()
    assert returned == [0]
    assert content(buffers[0], 4) == b"kept"
    assert read_fixed(ring, pipe[0], buffers[0], 1, 0) == -EFAULT


# Sparse tables and updates


def test_sparse_slot_is_filled_by_an_update(ring: Any, file: int) -> None:
    """A slot of a sparse table is empty until an update puts a buffer there."""
    os.write(file, b"sparse")
    ret = L.io_uring_register_buffers_sparse(ring, 4)
    skip_without("IORING_RSRC_REGISTER_SPARSE", ret, EINVAL)
    assert ret == 0
    buffer = L.ffi.new("char[]", SIZE)
    assert read_fixed(ring, file, buffer, 6, 2) == -EFAULT
    assert L.io_uring_register_buffers_update_tag(ring, 2, L.iovec(buffer), L.ffi.NULL, 1) == 1
    assert read_fixed(ring, file, buffer, 6, 2) == 6
    assert read_fixed(ring, file, buffer, 6, 1) == -EFAULT
    assert content(buffer, 6) == b"sparse"


def test_update_replaces_several(ring: Any, buffers: list[Any], file: int) -> None:
    """An update replaces consecutive slots and returns their number; the old buffers are out of the table."""
    os.write(file, b"x")
    new = [L.ffi.new("char[]", SIZE) for _ in range(2)]
    ret = L.io_uring_register_buffers_update_tag(ring, 0, L.iovec(*new), L.ffi.NULL, 2)
    skip_without("IORING_REGISTER_BUFFERS_UPDATE", ret, EINVAL)
    assert ret == 2
    for index in range(2):
        assert read_fixed(ring, file, new[index], 1, index) == 1
        assert read_fixed(ring, file, buffers[index], 1, index) == -EFAULT


def test_update_with_nothing_empties_a_slot(ring: Any, buffers: list[Any], file: int) -> None:
    """An update with an empty iovec takes the buffer out of its slot and leaves the others."""
    os.write(file, b"x")
    ret = L.io_uring_register_buffers_update_tag(ring, 0, L.iovec((L.ffi.NULL, 0)), L.ffi.NULL, 1)
    skip_without("IORING_REGISTER_BUFFERS_UPDATE", ret, EINVAL)
    assert ret == 1
    assert read_fixed(ring, file, buffers[0], 1, 0) == -EFAULT
    assert read_fixed(ring, file, buffers[1], 1, 1) == 1


def test_update_beyond_the_table(ring: Any, buffers: list[Any]) -> None:
    """An update that reaches beyond the table is refused with -EINVAL, and one without a table with -ENXIO."""
    assert L.io_uring_register_buffers_update_tag(ring, 1, L.iovec(*buffers), L.ffi.NULL, 2) == -EINVAL
    assert L.io_uring_unregister_buffers(ring) == 0
    ret = L.io_uring_register_buffers_update_tag(ring, 0, L.iovec(*buffers), L.ffi.NULL, 2)
    skip_without("IORING_REGISTER_BUFFERS_UPDATE", ret, EINVAL)
    assert ret == -ENXIO


# Tags


@pytest.fixture
def tagged(ring: Any) -> list[Any]:
    """Register three buffers with the tags 101, none, 103."""
    if not ring.features & L.IORING_FEAT_RSRC_TAGS:
        pytest.skip("this kernel lacks IORING_FEAT_RSRC_TAGS")
    made = [L.ffi.new("char[]", SIZE) for _ in range(3)]
    assert L.io_uring_register_buffers_tags(ring, L.iovec(*made), [101, 0, 103], 3) == 0
    return made


def test_tags_are_posted_when_the_table_goes(ring: Any, tagged: list[Any]) -> None:
    """Unregistering posts one completion for each tag that is not 0, with the tag as user_data."""
    assert is_empty(ring)
    assert L.io_uring_unregister_buffers(ring) == 0
    assert sorted(reap(ring, 2)) == [(101, 0, 0), (103, 0, 0)]
    assert is_empty(ring)


def test_tag_is_posted_when_its_buffer_is_replaced(ring: Any, tagged: list[Any]) -> None:
    """An update posts the tag of the buffer that it replaced, and gives its own tag to the new one."""
    vector = L.iovec(L.ffi.new("char[]", SIZE))
    assert L.io_uring_register_buffers_update_tag(ring, 0, vector, [201], 1) == 1
    assert reap(ring) == [(101, 0, 0)]
    assert L.io_uring_register_buffers_update_tag(ring, 0, vector, [0], 1) == 1
    assert reap(ring) == [(201, 0, 0)]
    assert L.io_uring_register_buffers_update_tag(ring, 1, vector, [0], 1) == 1
    assert is_empty(ring)


def test_tag_waits_for_the_last_request(ring: Any, tagged: list[Any], pipe: tuple[int, int]) -> None:
    """The tag of a replaced buffer is posted only when the request that still uses it is done."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read_fixed(sqe, pipe[0], tagged[0], SIZE, 0, 0)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    assert L.io_uring_register_buffers_update_tag(ring, 0, L.iovec((L.ffi.NULL, 0)), [0], 1) == 1
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert sorted(reap(ring, 2)) == [(1, 1, 0), (101, 0, 0)]


def test_tag_for_an_empty_slot_is_refused(ring: Any, tagged: list[Any]) -> None:
    """A slot that is emptied cannot have a tag: -EINVAL."""
    assert L.io_uring_register_buffers_update_tag(ring, 0, L.iovec((L.ffi.NULL, 0)), [5], 1) == -EINVAL


# Vectors


def test_vectors_within_a_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """Vectored fixed writes and reads take several parts of one registered buffer, in the vector's order."""
    require_opcode("IORING_OP_READV_FIXED", "IORING_OP_WRITEV_FIXED")
    L.ffi.memmove(buffers[0], b"worldhello ", 11)
    vector = L.iovec((buffers[0] + 5, 6), (buffers[0], 5))
    assert vector_fixed(ring, L.io_uring_prep_writev_fixed, file, vector, 0) == 11
    assert os.pread(file, 20, 0) == b"hello world"
    vector = L.iovec((buffers[1] + 1000, 4), (buffers[1], 7))
    assert vector_fixed(ring, L.io_uring_prep_readv_fixed, file, vector, 1) == 11
    assert content(buffers[1] + 1000, 4) + content(buffers[1], 7) == b"hello world"


def test_vector_that_leaves_its_buffer(ring: Any, buffers: list[Any], file: int) -> None:
    """One entry of a vector that is not within the registered buffer makes the whole request fail with -EFAULT."""
    require_opcode("IORING_OP_READV_FIXED")
    os.write(file, b"0123456789")
    for stray in ((buffers[0] + SIZE - 2, 4), (buffers[1], 4)):
        vector = L.iovec((buffers[0], 4), stray)
        assert vector_fixed(ring, L.io_uring_prep_readv_fixed, file, vector, 0) == -EFAULT
    assert content(buffers[0], 4) == bytes(4)


# Clones


@pytest.fixture
def other(make_ring: Callable[..., Any], ring: Any, buffers: list[Any]) -> Any:
    """Return a second ring, of a kernel that can clone; the first has two buffers."""
    second = make_ring(8)
    ret = L.io_uring_clone_buffers(second, ring)
    skip_without("IORING_REGISTER_CLONE_BUFFERS", ret, EINVAL)
    assert ret == 0
    assert L.io_uring_unregister_buffers(second) == 0
    return second


def test_clone_shares_the_buffers(ring: Any, buffers: list[Any], other: Any, file: int) -> None:
    """Cloned buffers are used by the other ring under the same indexes, also when the source is unregistered."""
    os.write(file, b"clone")
    assert L.io_uring_clone_buffers(other, ring) == 0
    assert L.io_uring_unregister_buffers(ring) == 0
    assert read_fixed(ring, file, buffers[1], 5, 1) == -EFAULT
    assert read_fixed(other, file, buffers[1], 5, 1) == 5
    assert content(buffers[1], 5) == b"clone"


def test_clone_into_a_table_is_refused(ring: Any, other: Any) -> None:
    """A ring that has buffers takes no clone: -EBUSY; a ring without any has none to give: -ENXIO."""
    assert L.io_uring_clone_buffers(ring, other) == -EBUSY
    assert L.io_uring_unregister_buffers(ring) == 0
    assert L.io_uring_clone_buffers(ring, other) == -ENXIO


def test_clone_of_a_part(ring: Any, buffers: list[Any], other: Any, file: int) -> None:
    """A clone with offsets puts some of the source's buffers at another index."""
    os.write(file, b"x")
    ret = L.io_uring_clone_buffers_offset(other, ring, 3, 1, 1, 0)
    skip_without("offsets in IORING_REGISTER_CLONE_BUFFERS", ret, EINVAL)
    assert ret == 0
    assert read_fixed(other, file, buffers[1], 1, 3) == 1
    assert read_fixed(other, file, buffers[1], 1, 1) == -EFAULT
    assert read_fixed(other, file, buffers[0], 1, 0) == -EFAULT


def test_clone_replaces(ring: Any, buffers: list[Any], other: Any, file: int) -> None:
    """With DST_REPLACE a clone goes into a table that exists, and leaves its other slots."""
    os.write(file, b"x")
    own = L.ffi.new("char[]", SIZE)
    assert L.io_uring_register_buffers(other, L.iovec(own, own), 2) == 0
    ret = L.io_uring_clone_buffers_offset(other, ring, 0, 1, 1, L.IORING_REGISTER_DST_REPLACE)
    skip_without("IORING_REGISTER_DST_REPLACE", ret, EINVAL)
    assert ret == 0
    assert read_fixed(other, file, buffers[1], 1, 0) == 1
    assert read_fixed(other, file, own, 1, 0) == -EFAULT
    assert read_fixed(other, file, own, 1, 1) == 1


def test_clone_beyond_the_source(ring: Any, other: Any) -> None:
    """A clone of more buffers than the source has is refused."""
    assert L.io_uring_clone_buffers_offset(other, ring, 0, 1, 2, 0) < 0
    assert L.io_uring_unregister_buffers(other) == -ENXIO
