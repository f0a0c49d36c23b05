"""Extended attributes through the ring."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_style import require_opcode, skip_without

from uring import liburing as L
from uring.ring import Ring
from uring.types import FixedFile


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a file with the attribute `user.first`."""
    require_opcode("IORING_OP_SETXATTR")
    path = tmp_path / "file"
    path.touch()
    with Ring(2) as ring:
        operation = ring.setxattr("user.first", b"value", path)
        operation.exception()
    skip_without("user attributes on the file system of the tests", operation.completion.res, errno.EOPNOTSUPP)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    """Open that file."""
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def test_getxattr_returns_the_value(ring: Ring, path: Path) -> None:
    """The value comes as bytes of its own length; names and paths are str or bytes."""
    assert ring.getxattr("user.first", path).result() == b"value"
    assert ring.getxattr(b"user.first", os.fsencode(path)).result() == b"value"


def test_getxattr_of_any_size(ring: Ring, path: Path) -> None:
    """The default takes long and empty values; less room than the value needs is ERANGE."""
    os.setxattr(path, "user.long", b"x" * 3000)
    os.setxattr(path, "user.empty", b"")
    assert ring.getxattr("user.long", path).result() == b"x" * 3000
    assert ring.getxattr("user.empty", path).result() == b""
    assert ring.getxattr("user.first", path, 5).result() == b"value"
    with pytest.raises(OSError, match=r"getxattr on .*, attribute 'user.first'") as caught:
        ring.getxattr("user.first", path, 4).result()
    assert caught.value.errno == errno.ERANGE


def test_getxattr_errors_carry_path_and_name(ring: Ring, path: Path) -> None:
    """A missing attribute and a missing file are told apart, with the path in `filename`."""
    with pytest.raises(OSError, match=r"attribute 'user\.other'") as caught:
        ring.getxattr("user.other", path).result()
    assert (caught.value.errno, caught.value.filename) == (errno.ENODATA, str(path))
    with pytest.raises(FileNotFoundError) as missing:
        ring.getxattr("user.first", f"{path}.missing").result()
    assert missing.value.filename == f"{path}.missing"


def test_setxattr_sets(ring: Ring, path: Path) -> None:
    """Setting returns None and others see the value, an empty one too; any buffer is a value."""
    for value in (b"bytes", bytearray(b"array"), memoryview(b"?view?")[1:5], b""):
        assert ring.setxattr("user.set", value, path).result() is None
        assert os.getxattr(path, "user.set") == bytes(value)


def test_setxattr_flags(ring: Ring, path: Path) -> None:
    """XATTR_CREATE refuses an attribute that exists, XATTR_REPLACE one that does not."""
    with pytest.raises(FileExistsError, match="setxattr of 3 bytes"):
        ring.setxattr("user.first", b"new", path, os.XATTR_CREATE).result()
    with pytest.raises(OSError, match=r"attribute 'user\.other'") as caught:
        ring.setxattr("user.other", b"new", path, os.XATTR_REPLACE).result()
    assert caught.value.errno == errno.ENODATA
    assert ring.setxattr("user.first", b"new", path, os.XATTR_REPLACE).result() is None
    assert os.getxattr(path, "user.first") == b"new"


def test_setxattr_limits_are_the_kernels(ring: Ring, path: Path) -> None:
    """A value longer than the kernel's limit is E2BIG, a name outside the namespaces EOPNOTSUPP."""
    with pytest.raises(OSError, match="Argument list too long") as caught:
        ring.setxattr("user.set", bytes(65537), path).result()
    assert caught.value.errno == errno.E2BIG
    with pytest.raises(OSError, match="attribute 'nameless'") as caught:
        ring.setxattr("nameless", b"v", path).result()
    assert caught.value.errno == errno.EOPNOTSUPP


def test_forms_for_descriptors(ring: Ring, path: Path, fd: int) -> None:
    """Fsetxattr and fgetxattr take a descriptor, an object or a FixedFile."""
    assert L.io_uring_register_files(ring.c_ring, [fd], 1) == 0
    with path.open("rb") as file:
        for number, target in enumerate((fd, file, FixedFile(0))):
            assert ring.fsetxattr(target, f"user.{number}", b"by descriptor").result() is None
            assert ring.fgetxattr(target, f"user.{number}").result() == b"by descriptor"
    assert os.getxattr(path, "user.2") == b"by descriptor"
    assert ring.fgetxattr(fd, "user.first", 5).result() == b"value"


def test_forms_for_descriptors_fail(ring: Ring, fd: int) -> None:
    """Failures name the descriptor and the attribute."""
    with pytest.raises(OSError, match=rf"fgetxattr on fd {fd}, attribute 'user.other'") as caught:
        ring.fgetxattr(fd, "user.other").result()
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(FileExistsError, match=rf"fsetxattr of 1 bytes on fd {fd}, attribute b'user.first'"):
        ring.fsetxattr(fd, b"user.first", b"v", os.XATTR_CREATE).result()


def test_value_is_held_in_place(ring: Ring, path: Path, fd: int) -> None:
    """A value cannot be resized while it is being set, and can be afterwards."""
    value = bytearray(b"value")
    for start in (lambda: ring.setxattr("user.set", value, path), lambda: ring.fsetxattr(fd, "user.set", value)):
        operation = start()
        with pytest.raises(BufferError):
            value.append(0)
        assert operation.result() is None
        value.append(0)
    assert os.getxattr(path, "user.set") == b"value\0"


@pytest.mark.parametrize("size", [0, -1, 65537])
def test_size_out_of_range(ring: Ring, path: Path, fd: int, size: int) -> None:
    """Room for nothing, or for more than the kernel has, is refused."""
    with pytest.raises(ValueError, match="size must be from 1 to 65536"):
        ring.getxattr("user.first", path, size)
    with pytest.raises(ValueError, match="size must be from 1 to 65536"):
        ring.fgetxattr(fd, "user.first", size)
    assert ring.statistics().in_flight == 0
