"""Opening, closing, making, removing, renaming and linking by path, and extended attributes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from errno import (
    EBADF,
    EEXIST,
    EFAULT,
    EINVAL,
    EISDIR,
    ELOOP,
    ENAMETOOLONG,
    ENODATA,
    ENOENT,
    ENOTDIR,
    ENOTEMPTY,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EXDEV,
)
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, reap, require_opcode, skip_without

from uring import liburing as L

# linux/fs.h, which Python does not name.
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def complete(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run one request to its end and return its `res`; its arguments stay alive meanwhile."""
    prepare(get_sqe(ring), *args)
    ((_user_data, res, _flags),) = reap(ring)
    return res


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Open the test's own folder, in which a `file` and a folder `sub` lie."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "sub").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def here(folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make that folder the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_and_close(fd: int) -> bytes:
    """Return what an open file holds, and close it; a failed open fails the test."""
    assert fd >= 0, os.strerror(-fd)
    with open(fd, "rb") as file:
        return file.read()


# Open and close


def test_openat_is_relative_to_its_folder(ring: Any, folder: int) -> None:
    """An openat finds a relative path in the folder whose descriptor it was given."""
    require_opcode("IORING_OP_OPENAT")
    assert read_and_close(complete(ring, L.io_uring_prep_openat, folder, b"file", os.O_RDONLY, 0)) == b"content"


def test_open_is_relative_to_the_current_folder(ring: Any, here: Path) -> None:
    """The plain open finds a relative path in the current folder."""
    require_opcode("IORING_OP_OPENAT")
    assert read_and_close(complete(ring, L.io_uring_prep_open, b"file", os.O_RDONLY, 0)) == b"content"


def test_openat_creates_with_a_mode(ring: Any, folder: int, tmp_path: Path) -> None:
    """O_CREAT makes a file with the mode asked for, less the umask, and a descriptor with the flags asked for."""
    require_opcode("IORING_OP_OPENAT")
    umask = os.umask(0o027)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = complete(ring, L.io_uring_prep_openat, folder, b"new", flags, 0o666)
    finally:
        os.umask(umask)
    assert not os.get_inheritable(fd)
    os.write(fd, b"fresh")
    os.close(fd)
    assert (tmp_path / "new").read_bytes() == b"fresh"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert complete(ring, L.io_uring_prep_openat, folder, b"new", flags, 0o666) == -EEXIST


def test_openat_errors(ring: Any, folder: int) -> None:
    """What is missing, no folder, too long, or not in memory: the errors of openat(2)."""
    require_opcode("IORING_OP_OPENAT")
    prepare = L.io_uring_prep_openat
    assert complete(ring, prepare, folder, b"missing", os.O_RDONLY, 0) == -ENOENT
    assert complete(ring, prepare, folder, b"", os.O_RDONLY, 0) == -ENOENT
    assert complete(ring, prepare, folder, b"file", os.O_DIRECTORY, 0) == -ENOTDIR
    assert complete(ring, prepare, folder, b"sub", os.O_WRONLY, 0) == -EISDIR
    assert complete(ring, prepare, folder, b"a" * 256, os.O_RDONLY, 0) == -ENAMETOOLONG
    assert complete(ring, prepare, folder, L.ffi.cast("char *", 8), os.O_RDONLY, 0) == -EFAULT
    closed = os.dup(folder)
    os.close(closed)
    assert complete(ring, prepare, closed, b"file", os.O_RDONLY, 0) == -EBADF


def test_openat_takes_no_registered_folder(ring: Any, folder: int) -> None:
    """IOSQE_FIXED_FILE on an openat is -EBADF: its folder is always an ordinary descriptor."""
    require_opcode("IORING_OP_OPENAT")
    assert L.io_uring_register_files(ring, L.ffi.new("int[]", [folder]), 1) == 0
    sqe = get_sqe(ring)
    L.io_uring_prep_openat(sqe, 0, b"file", os.O_RDONLY, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_FIXED_FILE)
    assert [res for _user_data, res, _flags in reap(ring)] == [-EBADF]


def test_path_may_change_after_submit(ring: Any, folder: int) -> None:
    """The kernel copies a path at submit: overwriting it afterwards does not change what is opened."""
    require_opcode("IORING_OP_OPENAT")
    if not ring.features & L.IORING_FEAT_SUBMIT_STABLE:
        pytest.skip("this kernel lacks IORING_FEAT_SUBMIT_STABLE")
    path = L.ffi.new("char[]", b"file")
    sqe = get_sqe(ring)
    L.io_uring_prep_openat(sqe, folder, path, os.O_RDONLY, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_ASYNC)
    assert L.io_uring_submit(ring) == 1
    L.ffi.buffer(path)[:] = bytes(5)
    ((_user_data, fd, _flags),) = reap(ring)
    assert read_and_close(fd) == b"content"


def test_close_closes(ring: Any, folder: int) -> None:
    """A close request frees the descriptor, once; also one opened with O_PATH."""
    require_opcode("IORING_OP_CLOSE")
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = os.open("file", flags, dir_fd=folder)
        assert complete(ring, L.io_uring_prep_close, fd) == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        assert complete(ring, L.io_uring_prep_close, fd) == -EBADF


# openat2


def openat2(ring: Any, folder: int, path: bytes, resolve: int = 0, *, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Run an openat2 and return its descriptor or error."""
    return complete(ring, L.io_uring_prep_openat2, folder, path, L.open_how(flags, mode, resolve))


def test_openat2_opens(ring: Any, folder: int, tmp_path: Path) -> None:
    """An openat2 opens and creates as openat does."""
    require_opcode("IORING_OP_OPENAT2")
    assert read_and_close(openat2(ring, folder, b"file")) == b"content"
    os.close(openat2(ring, folder, b"sub/new", flags=os.O_CREAT | os.O_WRONLY, mode=0o600))
    assert stat.S_IMODE((tmp_path / "sub" / "new").stat().st_mode) == 0o600


def test_openat2_refuses_what_openat_ignores(ring: Any, folder: int) -> None:
    """A mode without O_CREAT, an unknown flag and an unknown resolve flag are -EINVAL."""
    require_opcode("IORING_OP_OPENAT2")
    assert openat2(ring, folder, b"file", mode=0o600) == -EINVAL
    assert openat2(ring, folder, b"file", flags=1 << 40) == -EINVAL
    assert openat2(ring, folder, b"file", resolve=1 << 40) == -EINVAL


def test_resolve_beneath_keeps_inside(ring: Any, folder: int, tmp_path: Path) -> None:
    """RESOLVE_BENEATH refuses `..` and absolute links that lead out of the folder, and allows what stays inside."""
    require_opcode("IORING_OP_OPENAT2")
    (tmp_path / "absolute").symlink_to("/etc")
    (tmp_path / "inside").symlink_to("sub/../file")
    assert openat2(ring, folder, b"../" + os.fsencode(tmp_path.name) + b"/file", L.RESOLVE_BENEATH) == -EXDEV
    assert openat2(ring, folder, b"absolute", L.RESOLVE_BENEATH) == -EXDEV
    assert read_and_close(openat2(ring, folder, b"inside", L.RESOLVE_BENEATH)) == b"content"


def test_resolve_in_root_makes_the_folder_the_root(ring: Any, folder: int, tmp_path: Path) -> None:
    """RESOLVE_IN_ROOT resolves absolute links and `..` as if the folder were the root."""
    require_opcode("IORING_OP_OPENAT2")
    (tmp_path / "absolute").symlink_to("/file")
    for path in (b"absolute", b"/file", b"../../file"):
        assert read_and_close(openat2(ring, folder, path, L.RESOLVE_IN_ROOT)) == b"content"


def test_resolve_without_links(ring: Any, folder: int, tmp_path: Path) -> None:
    """RESOLVE_NO_SYMLINKS refuses every symbolic link, RESOLVE_NO_MAGICLINKS those of /proc only."""
    require_opcode("IORING_OP_OPENAT2")
    (tmp_path / "link").symlink_to("file")
    magic = b"/proc/self/fd/%d" % folder
    assert openat2(ring, folder, b"link", L.RESOLVE_NO_SYMLINKS) == -ELOOP
    assert read_and_close(openat2(ring, folder, b"link", L.RESOLVE_NO_MAGICLINKS)) == b"content"
    assert openat2(ring, folder, magic, L.RESOLVE_NO_MAGICLINKS) == -ELOOP
    os.close(openat2(ring, folder, magic))


def test_resolve_without_crossing_mounts(ring: Any, folder: int) -> None:
    """RESOLVE_NO_XDEV refuses a path that enters another mount."""
    require_opcode("IORING_OP_OPENAT2")
    root = os.open("/", os.O_PATH)
    try:
        assert openat2(ring, root, b"proc/version", L.RESOLVE_NO_XDEV) == -EXDEV
        os.close(openat2(ring, root, b"proc/version"))
    finally:
        os.close(root)


# Making, removing, renaming, linking


def test_mkdirat(ring: Any, folder: int, tmp_path: Path) -> None:
    """A mkdirat makes a folder with its mode; one that exists or has no parent is refused."""
    require_opcode("IORING_OP_MKDIRAT")
    assert complete(ring, L.io_uring_prep_mkdirat, folder, b"new", 0o700) == 0
    assert (tmp_path / "new").stat().st_mode == stat.S_IFDIR | 0o700
    assert complete(ring, L.io_uring_prep_mkdirat, folder, b"new", 0o700) == -EEXIST
    assert complete(ring, L.io_uring_prep_mkdirat, folder, b"missing/new", 0o700) == -ENOENT
    assert complete(ring, L.io_uring_prep_mkdirat, folder, b"file/new", 0o700) == -ENOTDIR


def test_unlinkat_removes_files(ring: Any, folder: int, tmp_path: Path) -> None:
    """An unlinkat removes a name; an open file lives on without it."""
    require_opcode("IORING_OP_UNLINKAT")
    fd = os.open("file", os.O_RDONLY, dir_fd=folder)
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"file", 0) == 0
    assert not (tmp_path / "file").exists()
    assert read_and_close(fd) == b"content"
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"file", 0) == -ENOENT


def test_unlinkat_removes_folders_only_when_told(ring: Any, folder: int, tmp_path: Path) -> None:
    """AT_REMOVEDIR removes an empty folder; without it a folder, and with it a file, is refused."""
    require_opcode("IORING_OP_UNLINKAT")
    (tmp_path / "sub" / "inner").touch()
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"sub", 0) == -EISDIR
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"sub", L.AT_REMOVEDIR) == -ENOTEMPTY
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"file", L.AT_REMOVEDIR) == -ENOTDIR
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"sub/inner", 0) == 0
    assert complete(ring, L.io_uring_prep_unlinkat, folder, b"sub", L.AT_REMOVEDIR) == 0
    assert not (tmp_path / "sub").exists()


def test_renameat_moves_and_replaces(ring: Any, folder: int, tmp_path: Path) -> None:
    """A renameat moves between folders and replaces what is at the new name."""
    require_opcode("IORING_OP_RENAMEAT")
    (tmp_path / "sub" / "old").write_bytes(b"replaced")
    sub = os.open("sub", os.O_RDONLY, dir_fd=folder)
    try:
        assert complete(ring, L.io_uring_prep_renameat, folder, b"file", sub, b"old", 0) == 0
    finally:
        os.close(sub)
    assert (tmp_path / "sub" / "old").read_bytes() == b"content"
    assert not (tmp_path / "file").exists()
    assert complete(ring, L.io_uring_prep_renameat, folder, b"file", folder, b"x", 0) == -ENOENT
    assert complete(ring, L.io_uring_prep_renameat, folder, b"sub", folder, b"sub/x", 0) == -EINVAL


def test_renameat_flags(ring: Any, folder: int, tmp_path: Path) -> None:
    """RENAME_NOREPLACE spares the target, RENAME_EXCHANGE swaps the two, both together are refused."""
    require_opcode("IORING_OP_RENAMEAT")
    (tmp_path / "other").write_bytes(b"other")
    names = (folder, b"file", folder, b"other")
    assert complete(ring, L.io_uring_prep_renameat, *names, RENAME_NOREPLACE) == -EEXIST
    assert (tmp_path / "other").read_bytes() == b"other"
    assert complete(ring, L.io_uring_prep_renameat, *names, RENAME_EXCHANGE) == 0
    assert (tmp_path / "other").read_bytes() == b"content"
    assert (tmp_path / "file").read_bytes() == b"other"
    assert complete(ring, L.io_uring_prep_renameat, *names, RENAME_NOREPLACE | RENAME_EXCHANGE) == -EINVAL


def test_symlinkat(ring: Any, folder: int, tmp_path: Path) -> None:
    """A symlinkat makes a link with its target as given, whether that exists or not, but over nothing."""
    require_opcode("IORING_OP_SYMLINKAT")
    assert complete(ring, L.io_uring_prep_symlinkat, b"no/such/target", folder, b"link") == 0
    assert (tmp_path / "link").readlink() == Path("no/such/target")
    assert complete(ring, L.io_uring_prep_symlinkat, b"other", folder, b"link") == -EEXIST


def test_linkat(ring: Any, folder: int, tmp_path: Path) -> None:
    """A linkat gives a file a second name; a folder can have none, and a taken name is refused."""
    require_opcode("IORING_OP_LINKAT")
    assert complete(ring, L.io_uring_prep_linkat, folder, b"file", folder, b"second", 0) == 0
    assert (tmp_path / "second").samefile(tmp_path / "file")
    assert (tmp_path / "file").stat().st_nlink == 2
    assert complete(ring, L.io_uring_prep_linkat, folder, b"file", folder, b"second", 0) == -EEXIST
    assert complete(ring, L.io_uring_prep_linkat, folder, b"sub", folder, b"third", 0) == -EPERM


def test_linkat_follows_links_only_when_told(ring: Any, folder: int, tmp_path: Path) -> None:
    """A linkat of a symbolic link links the link itself, with AT_SYMLINK_FOLLOW what it leads to."""
    require_opcode("IORING_OP_LINKAT")
    (tmp_path / "link").symlink_to("file")
    assert complete(ring, L.io_uring_prep_linkat, folder, b"link", folder, b"same", 0) == 0
    assert complete(ring, L.io_uring_prep_linkat, folder, b"link", folder, b"followed", L.AT_SYMLINK_FOLLOW) == 0
    assert (tmp_path / "same").is_symlink()
    assert not (tmp_path / "followed").is_symlink()
    assert (tmp_path / "followed").samefile(tmp_path / "file")


def test_plain_variants_work_in_the_current_folder(ring: Any, here: Path) -> None:
    """Mkdir, link, symlink, rename and unlink without a folder take the current one."""
    require_opcode("IORING_OP_MKDIRAT", "IORING_OP_LINKAT", "IORING_OP_SYMLINKAT", "IORING_OP_RENAMEAT")
    assert complete(ring, L.io_uring_prep_mkdir, b"new", 0o755) == 0
    assert complete(ring, L.io_uring_prep_link, b"file", b"new/hard", 0) == 0
    assert complete(ring, L.io_uring_prep_symlink, b"../file", b"new/soft") == 0
    assert complete(ring, L.io_uring_prep_rename, b"new/hard", b"new/renamed") == 0
    assert (here / "new" / "renamed").samefile(here / "file")
    assert (here / "new" / "soft").read_bytes() == b"content"
    assert complete(ring, L.io_uring_prep_unlink, b"new/soft", 0) == 0
    assert sorted(path.name for path in (here / "new").iterdir()) == ["renamed"]
    assert complete(ring, L.io_uring_prep_unlink, b"new/renamed", 0) == 0
    assert complete(ring, L.io_uring_prep_unlink, b"new", L.AT_REMOVEDIR) == 0
    assert not (here / "new").exists()


def test_missing_memory_is_reported(ring: Any, folder: int) -> None:
    """A path that is not in memory is -EFAULT for each kind of request."""
    require_opcode("IORING_OP_MKDIRAT", "IORING_OP_LINKAT", "IORING_OP_SYMLINKAT", "IORING_OP_RENAMEAT")
    nowhere = L.ffi.cast("char *", 8)
    assert complete(ring, L.io_uring_prep_mkdirat, folder, nowhere, 0o700) == -EFAULT
    assert complete(ring, L.io_uring_prep_unlinkat, folder, nowhere, 0) == -EFAULT
    assert complete(ring, L.io_uring_prep_renameat, folder, b"file", folder, nowhere, 0) == -EFAULT
    assert complete(ring, L.io_uring_prep_symlinkat, nowhere, folder, b"new") == -EFAULT
    assert complete(ring, L.io_uring_prep_linkat, folder, nowhere, folder, b"new", 0) == -EFAULT


def test_linked_requests_see_each_other(ring: Any, folder: int, tmp_path: Path) -> None:
    """A chain of mkdirat, symlinkat into it and renameat of the folder runs in order in one submit."""
    require_opcode("IORING_OP_MKDIRAT", "IORING_OP_SYMLINKAT", "IORING_OP_RENAMEAT")
    chain = (
        (L.io_uring_prep_mkdirat, folder, b"made", 0o700),
        (L.io_uring_prep_symlinkat, b"target", folder, b"made/link"),
        (L.io_uring_prep_renameat, folder, b"made", folder, b"moved", 0),
    )
    for number, (prepare, *args) in enumerate(chain):
        sqe = get_sqe(ring)
        prepare(sqe, *args)
        L.io_uring_sqe_set_flags(sqe, L.IOSQE_IO_LINK if number < 2 else 0)
        L.io_uring_sqe_set_data64(sqe, number)
    assert reap(ring, 3) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    assert (tmp_path / "moved" / "link").readlink() == Path("target")


# Extended attributes


@pytest.fixture
def attributed(ring: Any, folder: int, tmp_path: Path) -> Path:
    """Give the file an attribute through the ring: `user.first`, of 5 bytes."""
    require_opcode("IORING_OP_SETXATTR")
    path = tmp_path / "file"
    res = complete(ring, L.io_uring_prep_setxattr, b"user.first", b"value", os.fsencode(path), 0, 5)
    skip_without("user attributes on the file system of the tests", res, EOPNOTSUPP)
    assert res == 0
    return path


def test_setxattr_sets(attributed: Path) -> None:
    """A setxattr gives the file an attribute that others see."""
    assert os.listxattr(attributed) == ["user.first"]
    assert os.getxattr(attributed, "user.first") == b"value"


def test_getxattr_gets(ring: Any, attributed: Path) -> None:
    """A getxattr returns the length and fills the buffer; with length 0 it only tells the length."""
    path, value = os.fsencode(attributed), L.ffi.new("char[16]")
    assert complete(ring, L.io_uring_prep_getxattr, b"user.first", value, path, 0) == 5
    assert L.ffi.string(value) == b""
    assert complete(ring, L.io_uring_prep_getxattr, b"user.first", value, path, 16) == 5
    assert L.ffi.string(value) == b"value"
    assert complete(ring, L.io_uring_prep_getxattr, b"user.first", value, path, 4) == -ERANGE
    assert complete(ring, L.io_uring_prep_getxattr, b"user.other", value, path, 16) == -ENODATA


def test_fsetxattr_and_fgetxattr(ring: Any, attributed: Path) -> None:
    """The forms for descriptors set and get the same attributes."""
    value = L.ffi.new("char[16]")
    fd = os.open(attributed, os.O_RDWR)
    try:
        assert complete(ring, L.io_uring_prep_fsetxattr, fd, b"user.second", b"by descriptor", 0, 13) == 0
        assert complete(ring, L.io_uring_prep_fgetxattr, fd, b"user.first", value, 16) == 5
    finally:
        os.close(fd)
    assert L.ffi.string(value) == b"value"
    assert os.getxattr(attributed, "user.second") == b"by descriptor"
    assert complete(ring, L.io_uring_prep_fgetxattr, fd, b"user.first", value, 16) == -EBADF


def test_setxattr_flags(ring: Any, attributed: Path) -> None:
    """XATTR_CREATE refuses an attribute that exists, XATTR_REPLACE one that does not."""
    path = os.fsencode(attributed)
    prepare = L.io_uring_prep_setxattr
    assert complete(ring, prepare, b"user.first", b"new", path, os.XATTR_CREATE, 3) == -EEXIST
    assert complete(ring, prepare, b"user.other", b"new", path, os.XATTR_REPLACE, 3) == -ENODATA
    assert os.getxattr(path, "user.first") == b"value"
    assert complete(ring, prepare, b"user.first", b"new", path, os.XATTR_REPLACE, 3) == 0
    assert os.getxattr(path, "user.first") == b"new"


def test_setxattr_errors(ring: Any, attributed: Path) -> None:
    """A missing file is -ENOENT and a name outside the known namespaces is -EOPNOTSUPP."""
    path = os.fsencode(attributed)
    assert complete(ring, L.io_uring_prep_setxattr, b"user.a", b"v", path + b".missing", 0, 1) == -ENOENT
    assert complete(ring, L.io_uring_prep_setxattr, b"nameless", b"v", path, 0, 1) == -EOPNOTSUPP
