"""What a file is, and making, renaming, linking and removing names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.errors import ChainBroken
from uring.flags import Statx
from uring.ring import Ring
from uring.stat_result import StatResult
from uring.types import FixedFile

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


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


# statx

COMMON = (
    "st_mode st_ino st_dev st_nlink st_uid st_gid st_size st_atime st_mtime st_ctime st_atime_ns st_mtime_ns "
    "st_ctime_ns st_blocks st_blksize st_rdev"
).split()


def common(result: Any) -> dict[str, float]:
    """Return the attributes that os.stat_result and StatResult share."""
    return {name: getattr(result, name) for name in COMMON}


@pytest.mark.parametrize("name", ["file", "sub", "/dev/null", "/proc/self"])
def test_statx_is_what_stat_says(ring: Ring, here: Path, name: str) -> None:
    """All attributes that os.stat has are there, with the same values to the last bit."""
    os.utime("file", ns=(-1_500_000_001, 1_234_567_890_123_456_789))
    result = ring.statx(name).result()
    assert isinstance(result, StatResult)
    assert common(result) == common(os.stat(name))
    assert result.stx_mask & Statx.BASIC_STATS == Statx.BASIC_STATS


def test_statx_tells_more_than_stat(ring: Ring, here: Path) -> None:
    """The time of birth is there where the file system knows it, and None where not; so are attribute bits."""
    result = ring.statx("file").result()
    if not result.stx_mask & Statx.BTIME:
        pytest.skip("this kernel lacks a time of birth on the file system of the tests")
    assert result.st_btime_ns is not None
    assert result.st_btime == pytest.approx(result.st_btime_ns / 1e9)
    assert 0 < result.st_btime_ns <= result.st_ctime_ns
    assert result.st_attributes & ~result.st_attributes_mask == 0
    unknown = ring.statx("/proc/self/status").result()
    assert (unknown.st_btime, unknown.st_btime_ns) == (None, None)


def test_statx_of_a_link(ring: Ring, here: Path) -> None:
    """A symbolic link is followed, unless AT_SYMLINK_NOFOLLOW says otherwise."""
    (here / "link").symlink_to("file")
    assert stat.S_ISREG(ring.statx("link").result().st_mode)
    assert stat.S_ISLNK(ring.statx("link", L.AT_SYMLINK_NOFOLLOW).result().st_mode)


def test_statx_starts_at_dir_fd(ring: Ring, folder: int) -> None:
    """A relative path starts at `dir_fd`; with AT_EMPTY_PATH an empty one is that directory itself."""
    assert ring.statx("file", dir_fd=folder).result().st_size == 7
    itself = ring.statx("", L.AT_EMPTY_PATH, dir_fd=folder).result()
    assert itself.st_ino == os.fstat(folder).st_ino


def test_statx_of_a_descriptor(ring: Ring, folder: int, here: Path) -> None:
    """A descriptor, or an object with one, is asked itself, also when its name is gone."""
    with (here / "file").open("rb") as file:
        os.unlink("file")
        for subject in (file, file.fileno()):
            result = ring.statx(subject, mask=Statx.SIZE).result()
            assert (result.st_size, result.st_ino) == (7, os.fstat(file.fileno()).st_ino)


def test_statx_errors_carry_path_or_descriptor(ring: Ring, here: Path) -> None:
    """A missing file is in `filename`; a closed descriptor in the message."""
    with pytest.raises(FileNotFoundError, match="statx on 'missing'") as caught:
        ring.statx("missing").result()
    assert caught.value.filename == "missing"
    fd = os.open("file", os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match=rf"statx on fd {fd}") as closed:
        ring.statx(fd).result()
    assert closed.value.errno == errno.EBADF


def test_statx_refuses(ring: Ring, folder: int) -> None:
    """A descriptor needs no directory, a registered file has no attributes to ask for, an unknown mask no meaning."""
    with pytest.raises(ValueError, match="dir_fd"):
        ring.statx(folder, dir_fd=folder)
    with pytest.raises(TypeError, match="FixedFile"):
        ring.statx(FixedFile(0))
    with pytest.raises(ValueError, match="mask"):
        ring.statx("file", mask=-1)
    with pytest.raises(OSError, match="Invalid argument"):
        ring.statx("file", mask=1 << 31, dir_fd=folder).result()


def test_stat_results_compare(ring: Ring, here: Path) -> None:
    """Two results of an unchanged file are equal, hash alike, and cannot be changed."""
    first, second = ring.statx("file").result(), ring.statx("file").result()
    assert first == second
    assert hash(first) == hash(second)
    assert os.path.samestat(first, os.stat("file"))  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        first.st_size = 0  # type: ignore[misc]


# Making and removing


def test_mkdirat(ring: Ring, folder: int, tmp_path: Path) -> None:
    """A folder is made with its mode, less the umask; one that exists or has no parent is refused."""
    require_opcode("IORING_OP_MKDIRAT")
    umask = os.umask(0o027)
    try:
        assert ring.mkdirat("default", dir_fd=folder).result() is None
        assert ring.mkdirat(tmp_path / "strict", 0o700).result() is None
    finally:
        os.umask(umask)
    assert (tmp_path / "default").stat().st_mode == stat.S_IFDIR | 0o750
    assert (tmp_path / "strict").stat().st_mode == stat.S_IFDIR | 0o700
    with pytest.raises(FileExistsError, match="mkdirat on 'strict'") as caught:
        ring.mkdirat("strict", dir_fd=folder).result()
    assert caught.value.filename == "strict"
    with pytest.raises(FileNotFoundError):
        ring.mkdirat("missing/new", dir_fd=folder).result()


def test_unlinkat_removes_a_file(ring: Ring, folder: int, tmp_path: Path) -> None:
    """A name is removed, once; a folder is refused."""
    require_opcode("IORING_OP_UNLINKAT")
    assert ring.unlinkat("file", dir_fd=folder).result() is None
    assert not (tmp_path / "file").exists()
    with pytest.raises(FileNotFoundError, match="unlinkat on 'file'") as caught:
        ring.unlinkat("file", dir_fd=folder).result()
    assert caught.value.filename == "file"
    with pytest.raises(IsADirectoryError):
        ring.unlinkat("sub", dir_fd=folder).result()


def test_unlinkat_removes_a_folder_when_told(ring: Ring, folder: int, tmp_path: Path) -> None:
    """With rmdir=True an empty folder is removed, and a file is refused."""
    require_opcode("IORING_OP_UNLINKAT")
    (tmp_path / "sub" / "inner").touch()
    with pytest.raises(OSError, match="Directory not empty"):
        ring.unlinkat("sub", dir_fd=folder, rmdir=True).result()
    assert ring.unlinkat("sub/inner", dir_fd=folder).result() is None
    assert ring.unlinkat("sub", dir_fd=folder, rmdir=True).result() is None
    assert not (tmp_path / "sub").exists()
    with pytest.raises(NotADirectoryError):
        ring.unlinkat("file", dir_fd=folder, rmdir=True).result()


def test_paths_without_dir_fd_start_here(ring: Ring, here: Path) -> None:
    """Every name is relative to the current folder when no directory is given."""
    require_opcode("IORING_OP_MKDIRAT")
    ring.mkdirat("new").result()
    ring.linkat("file", "new/hard").result()
    ring.symlinkat("../file", "new/soft").result()
    ring.renameat("new/hard", "new/renamed").result()
    assert (here / "new" / "renamed").samefile(here / "file")
    assert (here / "new" / "soft").read_bytes() == b"content"
    ring.unlinkat("new/soft").result()
    ring.unlinkat("new/renamed").result()
    ring.unlinkat("new", rmdir=True).result()
    assert not (here / "new").exists()


# Renaming and linking


def test_renameat_moves_and_replaces(ring: Ring, folder: int, tmp_path: Path) -> None:
    """A file moves between two directories and replaces what has the name; each side has its own directory."""
    require_opcode("IORING_OP_RENAMEAT")
    (tmp_path / "sub" / "other").write_bytes(b"replaced")
    sub = os.open("sub", os.O_RDONLY, dir_fd=folder)
    try:
        assert ring.renameat("file", "other", src_dir_fd=folder, dst_dir_fd=sub).result() is None
    finally:
        os.close(sub)
    assert (tmp_path / "sub" / "other").read_bytes() == b"content"
    assert not (tmp_path / "file").exists()


def test_renameat_flags(ring: Ring, here: Path) -> None:
    """RENAME_NOREPLACE spares the target, RENAME_EXCHANGE swaps the two."""
    require_opcode("IORING_OP_RENAMEAT")
    (here / "other").write_bytes(b"other")
    with pytest.raises(FileExistsError):
        ring.renameat("file", "other", RENAME_NOREPLACE).result()
    assert ring.renameat("file", "other", RENAME_EXCHANGE).result() is None
    assert ((here / "file").read_bytes(), (here / "other").read_bytes()) == (b"other", b"content")


def test_linkat(ring: Ring, here: Path) -> None:
    """A file gets a second name; of a symbolic link it is the link itself, or what it leads to when told."""
    require_opcode("IORING_OP_LINKAT")
    assert ring.linkat("file", here / "second").result() is None
    assert (here / "second").samefile(here / "file")
    (here / "link").symlink_to("file")
    ring.linkat("link", "same").result()
    ring.linkat("link", "followed", L.AT_SYMLINK_FOLLOW).result()
    assert (here / "same").is_symlink()
    assert not (here / "followed").is_symlink()


def test_symlinkat(ring: Ring, folder: int, tmp_path: Path) -> None:
    """A link says what it was told to, whether that exists or not; over a name there is none."""
    require_opcode("IORING_OP_SYMLINKAT")
    assert ring.symlinkat("no/such/target", "link", dir_fd=folder).result() is None
    assert (tmp_path / "link").readlink() == Path("no/such/target")
    with pytest.raises(FileExistsError):
        ring.symlinkat("other", "link", dir_fd=folder).result()


@pytest.mark.parametrize("name", ["renameat", "linkat", "symlinkat"])
def test_errors_carry_both_paths(ring: Ring, here: Path, name: str) -> None:
    """What concerns two names has both in its error, as in the os module."""
    require_opcode("IORING_OP_LINKAT")
    with pytest.raises(FileNotFoundError, match=rf"{name} on 'missing' and b'no/where'") as caught:
        getattr(ring, name)("missing", b"no/where").result()
    assert (caught.value.filename, caught.value.filename2) == ("missing", b"no/where")


# Chains


def test_chain_of_names_runs_in_order(ring: Ring, here: Path) -> None:
    """A file is written, flushed, closed and put in place in one submit."""
    require_opcode("IORING_OP_RENAMEAT")
    fd = ring.openat("new", os.O_CREAT | os.O_WRONLY).result()
    with ring.chain() as chain:
        ring.write(fd, b"replaced", 0)
        ring.fsync(fd)
        ring.close_fd(fd)
        ring.renameat("new", "file")
    assert [link.result() for link in chain] == [8, None, None, None]
    assert (here / "file").read_bytes() == b"replaced"


QUIET: dict[str, Callable[[Ring, int], Any]] = {
    "fsync": lambda ring, pipe: ring.fsync(pipe),
    "fdatasync": lambda ring, pipe: ring.fdatasync(pipe),
    "sync_file_range": lambda ring, pipe: ring.sync_file_range(pipe),
    "fallocate": lambda ring, pipe: ring.fallocate(pipe, 0, 1),
    "ftruncate": lambda ring, pipe: ring.ftruncate(pipe, 1),
    "madvise": lambda ring, pipe: ring.madvise(bytearray(8), 1 << 20),
    "statx": lambda ring, pipe: ring.statx("missing"),
    "unlinkat": lambda ring, pipe: ring.unlinkat("missing"),
    "renameat": lambda ring, pipe: ring.renameat("missing", "x"),
    "linkat": lambda ring, pipe: ring.linkat("missing", "x"),
    "symlinkat": lambda ring, pipe: ring.symlinkat("x", "missing/x"),
    "mkdirat": lambda ring, pipe: ring.mkdirat("missing/x"),
    "getxattr": lambda ring, pipe: ring.getxattr("user.a", "missing"),
    "setxattr": lambda ring, pipe: ring.setxattr("user.a", b"", "missing"),
    "fgetxattr": lambda ring, pipe: ring.fgetxattr(pipe, "user.a"),
    "fsetxattr": lambda ring, pipe: ring.fsetxattr(pipe, "user.a", b""),
}


@pytest.mark.parametrize("name", QUIET)
def test_failure_that_may_not_break_a_chain(ring: Ring, here: Path, name: str) -> None:
    """Whether or not the kernel lets such a failure break a chain, it raises, and what follows tells the truth."""
    require_opcode("IORING_OP_LINKAT", "IORING_OP_SETXATTR", "IORING_OP_FTRUNCATE")
    reader, writer = os.pipe()
    try:
        with ring.chain():
            failing = QUIET[name](ring, reader)
            follower = ring.mkdirat("made")
        with pytest.raises(OSError, match=name):
            failing.result()
        broken = follower.exception()
        assert (here / "made").is_dir() is (broken is None)
        assert broken is None or (isinstance(broken, ChainBroken) and broken.cause is failing)
    finally:
        os.close(reader)
        os.close(writer)
