"""Bulk calls about names: what files are, opening and removing them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from uring import RegisteredFiles, Ring, Statx


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, an empty one, a link to each of two things, a folder, and a name that is no text."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).write_bytes(b"odd")
    return tmp_path


def test_stat_many_is_os_stat(calls: Any, folder: Path) -> None:
    """Each is what os.stat tells of it; what is missing has its error."""
    names = ["file", "empty", "link", "folder", b"\xff\xfe", "dangling", "missing"]
    paths = [os.path.join(os.fsencode(folder), os.fsencode(name)) for name in names]
    result = calls.stat_many(paths)
    assert result.errors.tolist() == [0] * 5 + [errno.ENOENT] * 2
    for place, path in enumerate(paths[:5]):
        expected, found = os.stat(path), result[place]
        for field in ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns"):
            assert getattr(found, field) == getattr(expected, field)
        assert found.st_btime_ns is not None
    assert result.sizes[:2] == [7, 0]
    assert result.sizes[5:] == [-1, -1]
    assert [found.st_size for found in result[:2]] == [7, 0]
    with pytest.raises(FileNotFoundError) as raised:
        result[6]
    assert raised.value.filename == str(folder / "missing")


def test_stat_many_of_links_and_parts(calls: Any, folder: Path) -> None:
    """Symbolic links themselves; and only what was asked for."""
    result = calls.stat_many([folder / "link", folder / "dangling"], follow_symlinks=False)
    assert [stat.S_ISLNK(found.st_mode) for found in result] == [True, True]
    [only] = calls.stat_many([folder / "file"], mask=Statx.SIZE)
    assert only.st_size == 7


def test_paths_start_at_a_directory(calls: Any, folder: Path) -> None:
    """Relative paths start from dir_fd."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert calls.stat_many(["file"], dir_fd=fd).sizes == [7]
        assert list(calls.read_files(["file"], dir_fd=fd)) == [b"content"]
        with calls.open_many(["file"], dir_fd=fd) as files:
            assert os.pread(files[0], 9, 0) == b"content"
        assert calls.unlink_many(["file"], dir_fd=fd).failed == 0
        assert not (folder / "file").exists()
    finally:
        os.close(fd)


def test_open_many(calls: Any, folder: Path) -> None:
    """Descriptors in the order of the paths, closed at the end of the block, not inherited."""
    with calls.open_many([folder / "file", folder / "missing", folder / "empty"]) as files:
        assert files.errors.tolist() == [0, errno.ENOENT, 0]
        assert os.pread(files[0], 9, 0) == b"content"
        assert files.fds[1] == -1
        assert not os.get_inheritable(files[0])
        with pytest.raises(FileNotFoundError):
            files[1]
        numbers = files[::2]
    for fd in numbers:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
    for use in (lambda: files.fds, lambda: files[0], files.detach):
        with pytest.raises(ValueError, match="closed"):
            use()
    files.close()


def test_open_many_makes_files(calls: Any, folder: Path) -> None:
    """Flags and mode are those of os.open; detached descriptors are the caller's."""
    before = os.umask(0)
    try:
        files = calls.open_many([folder / "new1", folder / "new2"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        files.raise_for_error()
        fds = files.detach()
        files.close()
        for number, fd in enumerate(fds, 1):
            os.write(fd, b"x")
            os.close(fd)
            assert stat.S_IMODE((folder / f"new{number}").stat().st_mode) == 0o640
        again = calls.open_many([folder / "new1"], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        assert again.errors.tolist() == [errno.EEXIST]
    finally:
        os.umask(before)


def test_open_many_into_a_table(ring: Ring, folder: Path) -> None:
    """Direct descriptors: RegisteredFiles that are read from; slots of what failed go back."""
    with RegisteredFiles(ring, 8, kernel_slots=0) as table:
        with ring.open_many([folder / "file", folder / "missing", folder / "empty"], direct=table) as files:
            assert files.errors.tolist() == [0, errno.ENOENT, 0]
            assert table.in_use == 2
            assert ring.read_many([files[0], files[2]], 0, 7)[0] == b"content"
            with pytest.raises(ValueError, match="no fd"):
                _ = files.fds
        assert table.in_use == 0
        with pytest.raises(OSError, match="no slot"):
            ring.open_many([folder / "file"] * 9, direct=table)
        assert table.in_use == 0
        with Ring(4) as other, pytest.raises(ValueError, match="another ring"):
            other.open_many([folder / "file"], direct=table)
        with pytest.raises(TypeError, match="table"):
            ring.open_many([folder / "file"], direct=3)


def test_too_many_open_files(calls: Any, folder: Path) -> None:
    """At the limit the rest fails with EMFILE, and what was opened is closed again."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = len(os.listdir("/proc/self/fd")) + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with calls.open_many([folder / "file"] * 30, depth=4) as files:
            assert errno.EMFILE in files.errors.tolist()
            assert 0 < sum(fd >= 0 for fd in files.fds.tolist()) < 30
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_unlink_many(calls: Any, folder: Path) -> None:
    """Names are removed, links and not what they point to; a folder only when that is asked for."""
    result = calls.unlink_many([folder / "link", folder / "missing", folder / "folder", folder / "empty"])
    assert result.errors.tolist() == [0, errno.ENOENT, errno.EISDIR, 0]
    assert (folder / "file").exists()
    assert not (folder / "link").is_symlink()
    assert calls.unlink_many([folder / "folder"], rmdir=True).failed == 0
    assert not (folder / "folder").exists()
    (folder / "folder").mkdir()
    again = calls.unlink_many([folder / "file", folder / "missing", folder / "folder"])
    with pytest.raises(FileNotFoundError, match="request 1 of 3, 2 failed") as raised:
        again.raise_for_error()
    assert raised.value.filename == str(folder / "missing")


def test_many_names(ring: Ring, tmp_path: Path) -> None:
    """Many more than the window: made, asked, read, removed."""
    paths = [tmp_path / str(number) for number in range(5000)]
    for start in range(0, 5000, 500):
        with ring.open_many(paths[start : start + 500], os.O_WRONLY | os.O_CREAT) as files:
            files.raise_for_error()
            ring.write_many(files.fds, 0, None, [b"%d" % start] * 500).raise_for_error()
    assert ring.stat_many(paths).sizes == [len(str(number // 500 * 500)) for number in range(5000)]
    assert list(ring.read_files(paths)) == [b"%d" % (number // 500 * 500) for number in range(5000)]
    ring.unlink_many(paths).raise_for_error()
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_workers_is_as_before(ring: Ring, folder: Path) -> None:
    """Worker threads are allowed for the run only."""
    ring.iowq_max_workers(bounded=3)
    ring.stat_many([folder / "file"] * 100, depth=50)
    assert ring.iowq_max_workers()[0] == 3
