"""Registered files and direct descriptors: tables, updates, opening into a slot, choosing a slot, tags, installing."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from errno import EBADF, EBUSY, EINVAL, ENFILE, ENXIO
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

ALLOC = L.IORING_FILE_INDEX_ALLOC
FIXED = L.IOSQE_FIXED_FILE
SKIP = L.IORING_REGISTER_FILES_SKIP


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Open three files with the contents a, b and c."""
    fds = []
    for name in "abc":
        (tmp_path / name).write_text(name)
        fds.append(os.open(tmp_path / name, os.O_RDONLY))
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def table(ring: Any) -> int:
    """Register a table of three empty slots; return its size."""
    ret = L.io_uring_register_files_sparse(ring, 3)
    skip_without("IORING_RSRC_REGISTER_SPARSE", ret, EINVAL)
    assert ret == 0
    return 3


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def do(ring: Any, prepare: Callable[..., None], *arguments: Any, flags: int = 0) -> int:
    """Do one request and return its result."""
    sqe = get_sqe(ring)
    prepare(sqe, *arguments)
    sqe.flags |= flags  # a prepare call may have set some
    L.io_uring_sqe_set_data64(sqe, 1)
    [(user_data, res, _flags)] = reap(ring)
    assert user_data == 1
    return res


def letter(ring: Any, index: int) -> str | int:
    """Read the letter in a registered file, or return the errno."""
    buffer = L.ffi.new("char[]", 2)
    res = do(ring, L.io_uring_prep_read, index, buffer, 1, 0, flags=FIXED)
    return L.ffi.string(buffer).decode() if res == 1 else res


def open_direct(ring: Any, path: Path, index: int, flags: int = os.O_RDONLY) -> int:
    """Open a file into a slot and return the result."""
    name = L.ffi.new("char[]", os.fsencode(path))
    return do(ring, L.io_uring_prep_openat_direct, -100, name, flags, 0, index)


# The table


def test_registered_file_is_read_by_its_index(ring: Any, files: list[int]) -> None:
    """With FIXED_FILE the descriptor of a request is an index into the table."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    assert [letter(ring, index) for index in range(3)] == ["a", "b", "c"]


def test_index_beyond_the_table(ring: Any, files: list[int]) -> None:
    """An index that the table does not have fails with -EBADF, and so does a negative one."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    assert letter(ring, 3) == -EBADF
    assert letter(ring, -1) == -EBADF


def test_table_is_registered_once(ring: Any, files: list[int]) -> None:
    """A second table is refused with -EBUSY until the first is unregistered; then there is nothing to unregister."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    assert L.io_uring_register_files(ring, files, 3) == -EBUSY
    assert L.io_uring_unregister_files(ring) == 0
    assert L.io_uring_unregister_files(ring) == -ENXIO
    assert letter(ring, 0) == -EBADF


def test_empty_table_is_refused(ring: Any, files: list[int]) -> None:
    """A table of no files is refused with -EINVAL."""
    assert L.io_uring_register_files(ring, files, 0) == -EINVAL


def test_bad_descriptor_registers_nothing(ring: Any, files: list[int]) -> None:
    """A descriptor that is not open makes the whole registration fail with -EBADF."""
    assert L.io_uring_register_files(ring, [files[0], 1_000_000], 2) == -EBADF
    assert L.io_uring_unregister_files(ring) == -ENXIO


def test_ring_cannot_register_itself(ring: Any) -> None:
    """A ring's own descriptor is refused with -EBADF: it would never be freed."""
    assert L.io_uring_register_files(ring, [ring.ring_fd], 1) == -EBADF


def test_minus_one_is_an_empty_slot(ring: Any, files: list[int]) -> None:
    """A -1 among the files leaves its slot empty."""
    assert L.io_uring_register_files(ring, [files[0], -1, files[2]], 3) == 0
    assert [letter(ring, index) for index in range(3)] == ["a", -EBADF, "c"]


def test_registered_file_outlives_its_descriptor(ring: Any, files: list[int]) -> None:
    """The table keeps a file open whose descriptor was closed."""
    duplicate = os.dup(files[1])
    assert L.io_uring_register_files(ring, [duplicate], 1) == 0
    os.close(duplicate)
    assert letter(ring, 0) == "b"


# Updates


def test_sparse_table_is_filled_by_updates(ring: Any, table: int, files: list[int]) -> None:
    """The slots of a sparse table are empty until an update puts files there; it returns their number."""
    assert letter(ring, 1) == -EBADF
    assert L.io_uring_register_files_update(ring, 1, files, 2) == 2
    assert [letter(ring, index) for index in range(3)] == [-EBADF, "a", "b"]


def test_update_replaces_removes_and_skips(ring: Any, files: list[int]) -> None:
    """In an update a descriptor replaces, -1 empties and REGISTER_FILES_SKIP leaves a slot as it is."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    ret = L.io_uring_register_files_update(ring, 0, [files[2], SKIP, -1], 3)
    skip_without("IORING_REGISTER_FILES_SKIP", ret, EBADF)
    assert ret == 3
    assert [letter(ring, index) for index in range(3)] == ["c", "b", -EBADF]


def test_update_beyond_the_table(ring: Any, table: int, files: list[int]) -> None:
    """An update that reaches beyond the table is refused with -EINVAL, and one without a table with -ENXIO."""
    assert L.io_uring_register_files_update(ring, 1, files, 3) == -EINVAL
    assert L.io_uring_unregister_files(ring) == 0
    assert L.io_uring_register_files_update(ring, 0, files, 1) == -ENXIO


def test_update_stops_at_a_bad_descriptor(ring: Any, table: int, files: list[int]) -> None:
    """An update returns how many slots it did before one that failed; -EBADF when it was the first."""
    assert L.io_uring_register_files_update(ring, 0, [files[0], 1_000_000, files[2]], 3) == 1
    assert [letter(ring, index) for index in range(3)] == ["a", -EBADF, -EBADF]
    assert L.io_uring_register_files_update(ring, 0, [1_000_000], 1) == -EBADF


def test_update_leaves_a_request_its_file(ring: Any, pipe: tuple[int, int]) -> None:
    """A request in flight keeps the file that its slot held when it started."""
    buffer = L.ffi.new("char[]", 1)
    assert L.io_uring_register_files(ring, [pipe[0]], 1) == 0
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, 0, buffer, 1, 0)
    L.io_uring_sqe_set_flags(sqe, FIXED)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    assert L.io_uring_register_files_update(ring, 0, [-1], 1) == 1
    os.write(pipe[1], b"x")
    assert reap(ring) == [(1, 1, 0)]


def test_update_as_a_request(ring: Any, table: int, files: list[int]) -> None:
    """A files_update request does what the registration does, and completes with the number."""
    fds = L.ffi.new("int[]", files[:2])
    assert do(ring, L.io_uring_prep_files_update, fds, 2, 1) == 2
    assert [letter(ring, index) for index in range(3)] == [-EBADF, "a", "b"]
    assert do(ring, L.io_uring_prep_files_update, fds, 2, 2) == -EINVAL


def test_update_as_a_request_finds_the_slots(ring: Any, table: int, files: list[int]) -> None:
    """A files_update with FILE_INDEX_ALLOC picks free slots and writes them over the descriptors."""
    assert L.io_uring_register_files_update(ring, 1, files, 1) == 1
    fds = L.ffi.new("int[]", files[1:])
    # The parameter is a signed int, so the constant is -1 there.
    res = do(ring, L.io_uring_prep_files_update, fds, 2, -1)
    skip_without("IORING_FILE_INDEX_ALLOC in IORING_OP_FILES_UPDATE", res, EINVAL)
    assert res == 2
    assert sorted(fds) == [0, 2]
    assert [letter(ring, index) for index in (1, *fds)] == ["a", "b", "c"]


# Direct descriptors


def test_open_into_a_slot(ring: Any, table: int, files: list[int], tmp_path: Path) -> None:
    """Opening into a slot completes with 0 and makes no descriptor."""
    opened = Path("/proc/self/fd")
    before = {link.name for link in opened.iterdir()}
    assert open_direct(ring, tmp_path / "b", 2) == 0
    assert {link.name for link in opened.iterdir()} == before
    assert [letter(ring, index) for index in range(3)] == [-EBADF, -EBADF, "b"]


def test_open_into_a_used_slot_replaces(ring: Any, files: list[int], tmp_path: Path) -> None:
    """Opening into a slot that is in use replaces the file there."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    assert open_direct(ring, tmp_path / "c", 0) == 0
    assert [letter(ring, index) for index in range(3)] == ["c", "b", "c"]


def test_open_finds_a_slot(ring: Any, table: int, files: list[int], tmp_path: Path) -> None:
    """With FILE_INDEX_ALLOC an open completes with the slot that it chose, and -ENFILE when all are in use."""
    first = open_direct(ring, tmp_path / "a", ALLOC)
    skip_without("IORING_FILE_INDEX_ALLOC", first, EINVAL)
    slots = [first, open_direct(ring, tmp_path / "b", ALLOC), open_direct(ring, tmp_path / "c", ALLOC)]
    assert sorted(slots) == [0, 1, 2]
    assert [letter(ring, slot) for slot in slots] == ["a", "b", "c"]
    assert open_direct(ring, tmp_path / "a", ALLOC) == -ENFILE


def test_open_into_no_slot(ring: Any, table: int, tmp_path: Path) -> None:
    """Opening into a slot beyond the table fails with -EINVAL, and without a table with -ENXIO."""
    (tmp_path / "file").touch()
    assert open_direct(ring, tmp_path / "file", 3) == -EINVAL
    assert L.io_uring_unregister_files(ring) == 0
    assert open_direct(ring, tmp_path / "file", 0) == -ENXIO


def test_direct_open_has_no_cloexec(ring: Any, table: int, tmp_path: Path) -> None:
    """O_CLOEXEC means nothing without a descriptor and is refused with -EINVAL."""
    (tmp_path / "file").touch()
    assert open_direct(ring, tmp_path / "file", 0, os.O_RDONLY | os.O_CLOEXEC) == -EINVAL


def test_close_a_slot(ring: Any, files: list[int], tmp_path: Path) -> None:
    """Closing a slot empties it, a second time there is nothing to close, and the slot can be chosen again."""
    assert L.io_uring_register_files(ring, files, 3) == 0
    assert do(ring, L.io_uring_prep_close_direct, 1) == 0
    assert [letter(ring, index) for index in range(3)] == ["a", -EBADF, "c"]
    assert do(ring, L.io_uring_prep_close_direct, 1) == -EBADF
    slot = open_direct(ring, tmp_path / "b", ALLOC)
    skip_without("IORING_FILE_INDEX_ALLOC", slot, EINVAL)
    assert slot == 1


def test_close_beyond_the_table(ring: Any, table: int) -> None:
    """Closing a slot that the table does not have fails with -EINVAL, and without a table with -ENXIO."""
    assert do(ring, L.io_uring_prep_close_direct, 3) == -EINVAL
    assert L.io_uring_unregister_files(ring) == 0
    assert do(ring, L.io_uring_prep_close_direct, 0) == -ENXIO


def test_closing_a_slot_closes_the_file(ring: Any, table: int) -> None:
    """The last reference to a file goes with its slot: a pipe's reader sees the end then."""
    reader, writer = os.pipe()
    try:
        assert L.io_uring_register_files_update(ring, 1, [writer], 1) == 1
        os.close(writer)
        buffer = L.ffi.new("char[]", 1)
        sqe = get_sqe(ring)
        L.io_uring_prep_read(sqe, reader, buffer, 1, 0)
        L.io_uring_sqe_set_data64(sqe, 2)
        assert L.io_uring_submit(ring) == 1
        assert is_empty(ring)
        sqe = get_sqe(ring)
        L.io_uring_prep_close_direct(sqe, 1)
        L.io_uring_sqe_set_data64(sqe, 3)
        assert sorted(reap(ring, 2)) == [(2, 0, 0), (3, 0, 0)]
    finally:
        os.close(reader)


def test_accept_into_a_slot(ring: Any, table: int) -> None:
    """A direct accept puts the connection into a slot: there it receives, as descriptor it does not exist."""
    buffer = L.ffi.new("char[]", 4)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        assert do(ring, L.io_uring_prep_accept_direct, listener.fileno(), L.ffi.NULL, L.ffi.NULL, 0, 1) == 0
        peer.sendall(b"ping")
        assert do(ring, L.io_uring_prep_recv, 1, buffer, 4, socket.MSG_WAITALL, flags=FIXED) == 4
        assert bytes(L.ffi.buffer(buffer)) == b"ping"
        assert do(ring, L.io_uring_prep_close_direct, 1) == 0
        assert peer.recv(1) == b""


def test_multishot_accept_finds_slots(ring: Any, table: int) -> None:
    """A direct multishot accept puts each connection into a free slot, and ends with -ENFILE when there is none."""
    require_opcode("IORING_OP_SOCKET")  # as old as the multishot accept, which no probe names
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sqe = get_sqe(ring)
        L.io_uring_prep_multishot_accept_direct(sqe, listener.fileno(), L.ffi.NULL, L.ffi.NULL, 0)
        L.io_uring_sqe_set_data64(sqe, 1)
        for slot in range(3):
            with socket.create_connection(listener.getsockname()):
                assert reap(ring) == [(1, slot, L.IORING_CQE_F_MORE)]
        with socket.create_connection(listener.getsockname()):
            assert reap(ring) == [(1, -ENFILE, 0)]


def test_socket_into_a_slot(ring: Any, table: int) -> None:
    """A direct socket is made in a slot, chosen or free, and connects from there."""
    require_opcode("IORING_OP_SOCKET")
    assert do(ring, L.io_uring_prep_socket_direct, socket.AF_INET, socket.SOCK_STREAM, 0, 0, 0) == 0
    assert do(ring, L.io_uring_prep_socket_direct_alloc, socket.AF_INET, socket.SOCK_STREAM, 0, 0) == 1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = L.ffi.new("char[]", socket.AF_INET.to_bytes(2, "little") + bytes(14))
        L.ffi.buffer(address)[2:8] = listener.getsockname()[1].to_bytes(2, "big") + bytes((127, 0, 0, 1))
        sockaddr = L.ffi.cast("struct sockaddr *", address)
        assert do(ring, L.io_uring_prep_connect, 0, sockaddr, 16, flags=FIXED) == 0
        listener.accept()[0].close()


def test_pipe_into_slots(ring: Any, table: int) -> None:
    """A direct pipe takes two slots, and what goes into the one comes out of the other."""
    require_opcode("IORING_OP_PIPE")
    ends, text, buffer = L.ffi.new("int[2]"), L.ffi.new("char[]", b"pipe"), L.ffi.new("char[]", 4)
    assert do(ring, L.io_uring_prep_pipe_direct, ends, 0, ALLOC) == 0
    assert sorted(ends) == [0, 1]
    assert do(ring, L.io_uring_prep_write, ends[1], text, 4, 0, flags=FIXED) == 4
    assert do(ring, L.io_uring_prep_read, ends[0], buffer, 4, 0, flags=FIXED) == 4
    assert bytes(L.ffi.buffer(buffer)) == b"pipe"


# The range of slots to choose from


def test_alloc_range_limits_the_choice(ring: Any, table: int, files: list[int], tmp_path: Path) -> None:
    """With an alloc range set, free slots are chosen within it alone; others can still be named."""
    ret = L.io_uring_register_file_alloc_range(ring, 1, 1)
    skip_without("IORING_REGISTER_FILE_ALLOC_RANGE", ret, EINVAL)
    assert ret == 0
    assert open_direct(ring, tmp_path / "b", ALLOC) == 1
    assert open_direct(ring, tmp_path / "c", ALLOC) == -ENFILE
    assert open_direct(ring, tmp_path / "a", 0) == 0
    assert [letter(ring, index) for index in range(3)] == ["a", "b", -EBADF]


def test_alloc_range_beyond_the_table(ring: Any, table: int) -> None:
    """An alloc range that the table does not have is refused with -EINVAL."""
    assert L.io_uring_register_file_alloc_range(ring, 1, 3) == -EINVAL


# Installing


def test_installed_descriptor_is_an_ordinary_one(ring: Any, files: list[int]) -> None:
    """Installing makes a descriptor, close-on-exec, of a registered file, which stays registered."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    assert L.io_uring_register_files(ring, files, 3) == 0
    fd = do(ring, L.io_uring_prep_fixed_fd_install, 1, 0)
    assert fd >= 0
    try:
        assert os.pread(fd, 1, 0) == b"b"
        assert not os.get_inheritable(fd)
        assert letter(ring, 1) == "b"
    finally:
        os.close(fd)


def test_installed_without_cloexec(ring: Any, files: list[int]) -> None:
    """With FIXED_FD_NO_CLOEXEC the installed descriptor is inherited by programs."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    assert L.io_uring_register_files(ring, files, 3) == 0
    fd = do(ring, L.io_uring_prep_fixed_fd_install, 1, L.IORING_FIXED_FD_NO_CLOEXEC)
    assert fd >= 0
    try:
        assert not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    finally:
        os.close(fd)


def test_only_a_registered_file_is_installed(ring: Any, table: int, files: list[int]) -> None:
    """Installing an empty slot, or a descriptor instead of an index, fails with -EBADF."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    assert do(ring, L.io_uring_prep_fixed_fd_install, 0, 0) == -EBADF
    sqe = get_sqe(ring)
    L.io_uring_prep_fixed_fd_install(sqe, files[0], 0)
    sqe.flags &= ~FIXED & 0xFF
    [(_user_data, res, _flags)] = reap(ring)
    assert res == -EBADF


# Tags


@pytest.fixture
def tagged(ring: Any, files: list[int]) -> list[int]:
    """Register three files with the tags 101, none, 103."""
    if not ring.features & L.IORING_FEAT_RSRC_TAGS:
        pytest.skip("this kernel lacks IORING_FEAT_RSRC_TAGS")
    assert L.io_uring_register_files_tags(ring, files, [101, 0, 103], 3) == 0
    return files


def test_tags_are_posted_when_the_table_goes(ring: Any, tagged: list[int]) -> None:
    """Unregistering posts one completion for each tag that is not 0, with the tag as user_data."""
    assert is_empty(ring)
    assert L.io_uring_unregister_files(ring) == 0
    assert sorted(reap(ring, 2)) == [(101, 0, 0), (103, 0, 0)]
    assert is_empty(ring)


def test_tag_is_posted_when_its_file_is_replaced(ring: Any, tagged: list[int]) -> None:
    """An update posts the tag of the file that it replaced, and gives its own tag to the new one."""
    assert L.io_uring_register_files_update_tag(ring, 0, tagged, [201], 1) == 1
    assert reap(ring) == [(101, 0, 0)]
    assert L.io_uring_register_files_update_tag(ring, 0, [-1], [0], 1) == 1
    assert reap(ring) == [(201, 0, 0)]


def test_tag_is_posted_when_its_slot_is_closed(ring: Any, tagged: list[int]) -> None:
    """Closing a slot posts the tag of its file."""
    sqe = get_sqe(ring)
    L.io_uring_prep_close_direct(sqe, 2)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert sorted(reap(ring, 2)) == [(1, 0, 0), (103, 0, 0)]


def test_tag_waits_for_the_last_request(ring: Any, pipe: tuple[int, int]) -> None:
    """The tag of a replaced file is posted only when the request that still uses it is done."""
    if not ring.features & L.IORING_FEAT_RSRC_TAGS:
        pytest.skip("this kernel lacks IORING_FEAT_RSRC_TAGS")
    assert L.io_uring_register_files_tags(ring, [pipe[0]], [101], 1) == 0
    buffer = L.ffi.new("char[]", 1)
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, 0, buffer, 1, 0)
    L.io_uring_sqe_set_flags(sqe, FIXED)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert L.io_uring_submit(ring) == 1
    assert L.io_uring_register_files_update(ring, 0, [-1], 1) == 1
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert sorted(reap(ring, 2)) == [(1, 1, 0), (101, 0, 0)]
