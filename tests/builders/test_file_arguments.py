"""What the builders for files, paths and attributes refuse before anything is queued, and what they keep alive."""

from __future__ import annotations

import gc
import mmap
import os
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.ring import Ring
from uring.types import FixedBuffer, FixedFile

Build = Callable[[Ring, Any], Any]

NOWHERE = FixedFile(0)  # a good descriptor as far as a builder can tell; the kernel finds no table


@pytest.fixture(scope="module")
def ring() -> Iterator[Ring]:
    """Open one ring for all, since next to nothing is queued; skip where a builder has no opcode."""
    require_opcode("IORING_OP_FTRUNCATE", "IORING_OP_FIXED_FD_INSTALL", "IORING_OP_READ_MULTISHOT")
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


def refuses(ring: Ring, error: type[Exception] | tuple[type[Exception], ...], call: Callable[[], Any]) -> None:
    """Check that a call raises that, by itself and in a chain, of which nothing is queued then."""
    with pytest.raises(error):
        call()
    with pytest.raises(error), ring.chain():  # noqa: PT012 - the chain has to be a real one
        ring.nop()
        call()
    assert L.io_uring_sq_ready(ring.c_ring) == 0
    assert ring.statistics().in_flight == 0


# Descriptors

BY_DESCRIPTOR: dict[str, Build] = {
    "read": lambda ring, fd: ring.read(fd, bytearray(8), 0),
    "read list": lambda ring, fd: ring.read(fd, [bytearray(8)], 0),
    "read flags": lambda ring, fd: ring.read(fd, bytearray(8), 0, rw_flags=os.RWF_HIPRI),
    "read registered": lambda ring, fd: ring.read(fd, FixedBuffer(0, bytearray(8)), 0),
    "write": lambda ring, fd: ring.write(fd, b"8 bytes.", 0),
    "write list": lambda ring, fd: ring.write(fd, [b"8 bytes."], 0),
    "fsync": lambda ring, fd: ring.fsync(fd),
    "fdatasync": lambda ring, fd: ring.fdatasync(fd),
    "sync_file_range": lambda ring, fd: ring.sync_file_range(fd),
    "fallocate": lambda ring, fd: ring.fallocate(fd, 0, 1),
    "ftruncate": lambda ring, fd: ring.ftruncate(fd, 1),
    "fadvise": lambda ring, fd: ring.fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL),
    "splice in": lambda ring, fd: ring.splice(fd, -1, NOWHERE, -1, 1),
    "splice out": lambda ring, fd: ring.splice(NOWHERE, -1, fd, -1, 1),
    "tee in": lambda ring, fd: ring.tee(fd, NOWHERE, 1),
    "tee out": lambda ring, fd: ring.tee(NOWHERE, fd, 1),
    "files_update": lambda ring, fd: ring.files_update([fd]),
    "statx": lambda ring, fd: ring.statx(fd),
    "fgetxattr": lambda ring, fd: ring.fgetxattr(fd, "user.a"),
    "fsetxattr": lambda ring, fd: ring.fsetxattr(fd, "user.a", b"v"),
}
BY_NUMBER: dict[str, Build] = {
    "close_fd": lambda ring, fd: ring.close_fd(fd),
    "fixed_fd_install": lambda ring, fd: ring.fixed_fd_install(fd),
}


class Broken:
    """An object with a descriptor that is none."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        """Return what it was made with."""
        return self.number


@pytest.mark.parametrize("name", BY_DESCRIPTOR | BY_NUMBER)
@pytest.mark.parametrize(
    ("fd", "error"),
    [
        pytest.param(-1, (ValueError, TypeError), id="negative"),
        pytest.param(-100, (ValueError, TypeError), id="AT_FDCWD"),
        pytest.param(1 << 31, (ValueError, TypeError), id="too large"),
        pytest.param(True, TypeError, id="bool"),
        pytest.param(1.0, TypeError, id="float"),
        pytest.param(None, TypeError, id="None"),
        pytest.param(object(), TypeError, id="no fileno()"),
        pytest.param(Broken(-1), (ValueError, TypeError), id="fileno() that is negative"),
        pytest.param(Broken("1"), TypeError, id="fileno() that is no int"),
    ],
)
def test_bad_descriptor(ring: Ring, name: str, fd: Any, error: Any) -> None:
    """A descriptor that cannot be one is refused by every builder that takes one."""
    if (name, fd) == ("files_update", -1):
        return  # refused as well, but for what it would mean: see test_descriptors.py
    build = (BY_DESCRIPTOR | BY_NUMBER)[name]
    refuses(ring, error, lambda: build(ring, fd))


@pytest.mark.parametrize("name", BY_DESCRIPTOR)
def test_closed_object(ring: Ring, name: str, tmp_path: Path) -> None:
    """A closed file or socket is refused by every builder that takes an object."""
    with (tmp_path / "file").open("wb") as file, socket.socket() as connection:
        pass
    for closed in (file, connection):
        refuses(ring, ValueError, lambda closed=closed: BY_DESCRIPTOR[name](ring, closed))


class Holder:
    """An object with a descriptor, whose end can be seen."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        """Return its descriptor."""
        return self.fd


@pytest.mark.parametrize("name", BY_DESCRIPTOR)
def test_object_is_kept_until_the_end(ring: Ring, name: str) -> None:
    """An object with a descriptor lives as long as its operation is in flight, and no longer."""
    with open(os.devnull, "r+b", buffering=0) as null:
        holder = Holder(null.fileno())
        seen = weakref.ref(holder)
        operation = BY_DESCRIPTOR[name](ring, holder)
        del holder
        gc.collect()
        assert seen() is not None
        operation.exception()
        gc.collect()
        assert seen() is None


# Buffers


class NotAlone(bytearray):
    """A buffer that can be referenced weakly."""


INTO: dict[str, Build] = {
    "read": lambda ring, buffer: ring.read(NOWHERE, buffer, 0),
    "read list": lambda ring, buffer: ring.read(NOWHERE, [bytearray(1), buffer], 0),
    "read flags": lambda ring, buffer: ring.read(NOWHERE, buffer, 0, rw_flags=os.RWF_HIPRI),
    "read registered": lambda ring, buffer: ring.read(NOWHERE, FixedBuffer(0, buffer), 0),
    "read registered list": lambda ring, buffer: ring.read(NOWHERE, (FixedBuffer(0, buffer),), 0),
    "madvise": lambda ring, buffer: ring.madvise(buffer, mmap.MADV_DONTNEED),
}
FROM: dict[str, Build] = {
    "write": lambda ring, buffer: ring.write(NOWHERE, buffer, 0),
    "write list": lambda ring, buffer: ring.write(NOWHERE, (b"1", buffer), 0),
    "write flags": lambda ring, buffer: ring.write(NOWHERE, buffer, 0, rw_flags=os.RWF_HIPRI),
    "write registered": lambda ring, buffer: ring.write(NOWHERE, FixedBuffer(0, buffer), 0),
    "write registered list": lambda ring, buffer: ring.write(NOWHERE, [FixedBuffer(0, buffer)], 0),
    "setxattr": lambda ring, buffer: ring.setxattr("user.a", buffer, "x"),
    "fsetxattr": lambda ring, buffer: ring.fsetxattr(NOWHERE, "user.a", buffer),
}


@pytest.mark.parametrize("name", INTO | FROM)
@pytest.mark.parametrize(
    "buffer",
    [
        pytest.param(8, id="int"),
        pytest.param(True, id="bool"),
        pytest.param(None, id="None"),
        pytest.param("text", id="str"),
        pytest.param(1.5, id="float"),
        pytest.param({}, id="dict"),
    ],
)
def test_no_buffer(ring: Ring, name: str, buffer: Any) -> None:
    """What has no buffer is refused, an int above all: it is neither an address nor a length."""
    refuses(ring, TypeError, lambda: (INTO | FROM)[name](ring, buffer))


@pytest.mark.parametrize("name", INTO | FROM)
def test_buffer_with_gaps(ring: Ring, name: str) -> None:
    """A buffer that is not contiguous is refused."""
    refuses(ring, BufferError, lambda: (INTO | FROM)[name](ring, memoryview(bytearray(8))[::2]))


@pytest.mark.parametrize("name", INTO)
@pytest.mark.parametrize("buffer", [b"bytes", memoryview(b"view"), memoryview(bytearray(4)).toreadonly()])
def test_read_only_buffer(ring: Ring, name: str, buffer: Any) -> None:
    """Memory that must not change is refused where the kernel would write."""
    refuses(ring, TypeError, lambda: INTO[name](ring, buffer))


@pytest.mark.parametrize("name", INTO | FROM)
def test_buffer_is_held_until_the_end(ring: Ring, name: str) -> None:
    """A buffer cannot be resized, nor be collected, while its operation is in flight; afterwards it can."""
    buffer = NotAlone(8)
    seen = weakref.ref(buffer)
    operation = (INTO | FROM)[name](ring, buffer)
    with pytest.raises(BufferError):
        buffer.append(0)
    del buffer
    gc.collect()
    held = seen()
    assert held is not None
    operation.exception()
    held.append(0)
    del held
    gc.collect()
    assert seen() is None


# Paths

BY_PATH: dict[str, Build] = {
    "openat": lambda ring, path: ring.openat(path),
    "openat2": lambda ring, path: ring.openat(path, resolve=1),
    "openat direct": lambda ring, path: ring.openat(path, direct=0),
    "statx": lambda ring, path: ring.statx(path),
    "unlinkat": lambda ring, path: ring.unlinkat(path),
    "renameat from": lambda ring, path: ring.renameat(path, "x"),
    "renameat to": lambda ring, path: ring.renameat("x", path),
    "linkat from": lambda ring, path: ring.linkat(path, "x"),
    "linkat to": lambda ring, path: ring.linkat("x", path),
    "symlinkat to": lambda ring, path: ring.symlinkat(path, "x"),
    "symlinkat at": lambda ring, path: ring.symlinkat("x", path),
    "mkdirat": lambda ring, path: ring.mkdirat(path),
    "setxattr": lambda ring, path: ring.setxattr("user.a", b"v", path),
    "setxattr name": lambda ring, path: ring.setxattr(path, b"v", "x"),
    "getxattr": lambda ring, path: ring.getxattr("user.a", path),
    "getxattr name": lambda ring, path: ring.getxattr(path, "x"),
    "fsetxattr name": lambda ring, path: ring.fsetxattr(NOWHERE, path, b"v"),
    "fgetxattr name": lambda ring, path: ring.fgetxattr(NOWHERE, path),
}


@pytest.mark.parametrize("name", BY_PATH)
@pytest.mark.parametrize("path", ["a\0b", b"a\0b", "\0"])
def test_null_byte(ring: Ring, name: str, path: Any) -> None:
    """A null byte would end the name early, so it is refused."""
    refuses(ring, ValueError, lambda: BY_PATH[name](ring, path))


@pytest.mark.parametrize("name", BY_PATH)
@pytest.mark.parametrize("path", [None, 1.5, ["x"], bytearray(b"x"), True])
def test_no_path(ring: Ring, name: str, path: Any) -> None:
    """What is no str, bytes or PathLike is no path."""
    refuses(ring, TypeError, lambda: BY_PATH[name](ring, path))


@pytest.mark.parametrize("name", [name for name in BY_PATH if name != "statx"])
def test_number_is_no_path(ring: Ring, name: str) -> None:
    """A descriptor in the place of a path is refused, but for statx."""
    refuses(ring, TypeError, lambda: BY_PATH[name](ring, 0))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda ring, start: ring.openat("x", dir_fd=start), id="openat"),
        pytest.param(lambda ring, start: ring.statx("x", dir_fd=start), id="statx"),
        pytest.param(lambda ring, start: ring.unlinkat("x", dir_fd=start), id="unlinkat"),
        pytest.param(lambda ring, start: ring.renameat("x", "y", src_dir_fd=start), id="renameat from"),
        pytest.param(lambda ring, start: ring.renameat("x", "y", dst_dir_fd=start), id="renameat to"),
        pytest.param(lambda ring, start: ring.linkat("x", "y", src_dir_fd=start), id="linkat from"),
        pytest.param(lambda ring, start: ring.linkat("x", "y", dst_dir_fd=start), id="linkat to"),
        pytest.param(lambda ring, start: ring.symlinkat("x", "y", dir_fd=start), id="symlinkat"),
        pytest.param(lambda ring, start: ring.mkdirat("x", dir_fd=start), id="mkdirat"),
    ],
)
def test_bad_directory(ring: Ring, build: Build) -> None:
    """A directory is a descriptor that is not negative, or None."""
    refuses(ring, ValueError, lambda: build(ring, -1))
    for start in (True, "x", 1.0):
        refuses(ring, TypeError, lambda start=start: build(ring, start))


@pytest.mark.parametrize("name", [name for name in BY_PATH if not name.startswith(("fsetxattr", "fgetxattr"))])
def test_paths_start_at_no_registered_file(ring: Ring, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option fixed_file has no meaning for a path, and is refused."""
    method = name.partition(" ")[0].replace("openat2", "openat")
    builder = getattr(ring, method)
    monkeypatch.setattr(ring, method, lambda *args, **keywords: builder(*args, **keywords, fixed_file=True))
    refuses(ring, ValueError, lambda: BY_PATH[name](ring, "x"))


# Numbers


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda ring, value: ring.read(NOWHERE, bytearray(1), 0, rw_flags=value), id="read flags"),
        pytest.param(lambda ring, value: ring.write(NOWHERE, [b"1"], 0, rw_flags=value), id="write flags"),
        pytest.param(lambda ring, value: ring.sync_file_range(NOWHERE, value), id="sync_file_range length"),
        pytest.param(lambda ring, value: ring.sync_file_range(NOWHERE, 0, value), id="sync_file_range offset"),
        pytest.param(lambda ring, value: ring.sync_file_range(NOWHERE, 0, 0, value), id="sync_file_range flags"),
        pytest.param(lambda ring, value: ring.fallocate(NOWHERE, value, 1), id="fallocate offset"),
        pytest.param(lambda ring, value: ring.fallocate(NOWHERE, 0, value), id="fallocate length"),
        pytest.param(lambda ring, value: ring.fallocate(NOWHERE, 0, 1, mode=value), id="fallocate mode"),
        pytest.param(lambda ring, value: ring.ftruncate(NOWHERE, value), id="ftruncate length"),
        pytest.param(lambda ring, value: ring.fadvise(NOWHERE, value, 0, 0), id="fadvise offset"),
        pytest.param(lambda ring, value: ring.fadvise(NOWHERE, 0, value, 0), id="fadvise length"),
        pytest.param(lambda ring, value: ring.fadvise(NOWHERE, 0, 0, value), id="fadvise advice"),
        pytest.param(lambda ring, value: ring.madvise(bytearray(1), value), id="madvise advice"),
        pytest.param(lambda ring, value: ring.splice(NOWHERE, -1, NOWHERE, -1, value), id="splice length"),
        pytest.param(lambda ring, value: ring.splice(NOWHERE, -1, NOWHERE, -1, 1, value), id="splice flags"),
        pytest.param(lambda ring, value: ring.tee(NOWHERE, NOWHERE, value), id="tee length"),
        pytest.param(lambda ring, value: ring.tee(NOWHERE, NOWHERE, 1, value), id="tee flags"),
        pytest.param(lambda ring, value: ring.pipe(value), id="pipe flags"),
        pytest.param(lambda ring, value: ring.pipe(direct=value), id="pipe slot"),
        pytest.param(lambda ring, value: ring.openat("x", value), id="openat flags"),
        pytest.param(lambda ring, value: ring.openat("x", 0, value), id="openat mode"),
        pytest.param(lambda ring, value: ring.openat("x", resolve=value), id="openat resolve"),
        pytest.param(lambda ring, value: ring.openat("x", direct=value), id="openat slot"),
        pytest.param(lambda ring, value: ring.statx("x", value), id="statx flags"),
        pytest.param(lambda ring, value: ring.statx("x", 0, value), id="statx mask"),
        pytest.param(lambda ring, value: ring.renameat("x", "y", value), id="renameat flags"),
        pytest.param(lambda ring, value: ring.linkat("x", "y", value), id="linkat flags"),
        pytest.param(lambda ring, value: ring.mkdirat("x", value), id="mkdirat mode"),
        pytest.param(lambda ring, value: ring.setxattr("user.a", b"", "x", value), id="setxattr flags"),
        pytest.param(lambda ring, value: ring.fsetxattr(NOWHERE, "user.a", b"", value), id="fsetxattr flags"),
        pytest.param(lambda ring, value: ring.getxattr("user.a", "x", value), id="getxattr size"),
        pytest.param(lambda ring, value: ring.fgetxattr(NOWHERE, "user.a", value), id="fgetxattr size"),
    ],
)
def test_bad_number(ring: Ring, build: Build) -> None:
    """Lengths, offsets, flags and modes are ints within what their C type holds; a bool is none."""
    for value in (-2, 1 << 64):
        refuses(ring, ValueError, lambda value=value: build(ring, value))
    for value in (True, "1", 1.0):
        refuses(ring, TypeError, lambda value=value: build(ring, value))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda ring, offset: ring.read(NOWHERE, bytearray(1), offset), id="read"),
        pytest.param(lambda ring, offset: ring.read(NOWHERE, [bytearray(1)], offset), id="read list"),
        pytest.param(lambda ring, offset: ring.write(NOWHERE, b"1", offset), id="write"),
        pytest.param(lambda ring, offset: ring.write(NOWHERE, [b"1"], offset), id="write list"),
        pytest.param(lambda ring, offset: ring.splice(NOWHERE, offset, NOWHERE, -1, 1), id="splice in"),
        pytest.param(lambda ring, offset: ring.splice(NOWHERE, -1, NOWHERE, offset, 1), id="splice out"),
    ],
)
def test_bad_offset(ring: Ring, build: Build) -> None:
    """An offset is -1 or from 0 to 63 bits."""
    for offset in (-2, 1 << 63):
        refuses(ring, ValueError, lambda offset=offset: build(ring, offset))
    for offset in ("1", 1.0, None):
        refuses(ring, TypeError, lambda offset=offset: build(ring, offset))


# Options

KEEPING_QUIET: dict[str, Callable[..., Any]] = {
    "fsync": lambda ring, **options: ring.fsync(NOWHERE, **options),
    "fdatasync": lambda ring, **options: ring.fdatasync(NOWHERE, **options),
    "sync_file_range": lambda ring, **options: ring.sync_file_range(NOWHERE, **options),
    "fallocate": lambda ring, **options: ring.fallocate(NOWHERE, 0, 1, **options),
    "ftruncate": lambda ring, **options: ring.ftruncate(NOWHERE, 1, **options),
    "madvise": lambda ring, **options: ring.madvise(bytearray(1), 0, **options),
    "openat": lambda ring, **options: ring.openat("x", **options),
    "openat into a chosen slot": lambda ring, **options: ring.openat("x", direct=0xFFFFFFFF, **options),
    "fixed_fd_install": lambda ring, **options: ring.fixed_fd_install(NOWHERE, **options),
    "files_update": lambda ring, **options: ring.files_update([0], **options),
    "statx": lambda ring, **options: ring.statx("x", **options),
    "unlinkat": lambda ring, **options: ring.unlinkat("x", **options),
    "renameat": lambda ring, **options: ring.renameat("x", "y", **options),
    "linkat": lambda ring, **options: ring.linkat("x", "y", **options),
    "symlinkat": lambda ring, **options: ring.symlinkat("x", "y", **options),
    "mkdirat": lambda ring, **options: ring.mkdirat("x", **options),
    "setxattr": lambda ring, **options: ring.setxattr("user.a", b"", "x", **options),
    "getxattr": lambda ring, **options: ring.getxattr("user.a", "x", **options),
    "fsetxattr": lambda ring, **options: ring.fsetxattr(NOWHERE, "user.a", b"", **options),
    "fgetxattr": lambda ring, **options: ring.fgetxattr(NOWHERE, "user.a", **options),
}


@pytest.mark.parametrize("name", KEEPING_QUIET)
def test_skip_success_would_lose_something(ring: Ring, name: str) -> None:
    """Where a skipped completion would hide a failure or a result, skip_success is refused."""
    with pytest.raises(ValueError, match="would be lost"), ring.chain():
        KEEPING_QUIET[name](ring, skip_success=True)
    assert ring.statistics().in_flight == 0


@pytest.mark.parametrize("name", KEEPING_QUIET)
def test_unknown_option(ring: Ring, name: str) -> None:
    """An option that does not exist is a TypeError, as for any keyword."""
    refuses(ring, TypeError, lambda: KEEPING_QUIET[name](ring, no_such_option=True))


def test_skip_success_of_transfers(ring: Ring) -> None:
    """Transfers, splices and pipes may keep a success quiet: their results are known all the same."""
    require_opcode("IORING_OP_PIPE")
    reader, writer = os.pipe()
    try:
        with ring.chain():
            write = ring.write(writer, b"data", skip_success=True)
            made = ring.pipe(skip_success=True)
            last = ring.read(reader, bytearray(4))
        assert last.result() == 4
        assert write.result() == 4
        ends = made.result()
        os.write(ends[1], b"x")
        assert os.read(ends[0], 1) == b"x"
        for end in ends:
            os.close(end)
    finally:
        os.close(reader)
        os.close(writer)
