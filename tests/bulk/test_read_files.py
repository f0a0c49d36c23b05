"""Whole files: as open(path, 'rb').read() gives them, by direct descriptors, plain ones, and threads."""

from __future__ import annotations

import errno
import gc
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from uring import RegisteredFiles, Ring

SIZES = [0, 1, 100, 4095, 4096, 4097, 32767, 32768, 32769, 131071, 131072, 131073, 1 << 20, 5_000_001]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bytes]:
    """Files of many sizes, around those of the buffers, and their contents."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for number, size in enumerate(SIZES + random.Random(3).choices(range(60_000), k=300)):
        path = folder / str(number)
        found[path] = random.Random(number).randbytes(size)
        path.write_bytes(found[path])
    return found


@pytest.mark.parametrize("depth", [None, 1, 3, 1000])
def test_files_of_all_sizes(calls: Any, files: dict[Path, bytes], depth: int | None) -> None:
    """Their contents, in the order of the paths."""
    result = calls.read_files(files, depth=depth)
    result.raise_for_error()
    assert list(result) == list(files.values())
    assert result.counts.tolist() == [len(content) for content in files.values()]
    assert result.total == sum(map(len, files.values()))
    assert result[-1] == list(files.values())[-1]
    assert result[2:4] == [b for _, b in zip(range(4), files.values(), strict=False)][2:4]


def test_beside_a_table_of_the_callers(ring: Ring, files: dict[Path, bytes]) -> None:
    """With a table of registered files the ring reads by plain descriptors, and leaves none behind."""
    with RegisteredFiles(ring, [None] * 4) as table:
        before = set(os.listdir("/proc/self/fd"))
        assert list(ring.read_files(files)) == list(files.values())
        assert ring.read_files([Path("/missing"), next(iter(files))]).errors.tolist() == [errno.ENOENT, 0]
        assert set(os.listdir("/proc/self/fd")) == before
        assert table.in_use == 0


def test_no_descriptor_is_left(calls: Any, files: dict[Path, bytes]) -> None:
    """Neither plain nor direct: files that were read can be unmounted and are not kept open."""
    path = next(iter(files))
    calls.read_files([path] * 100)
    target = os.path.realpath(path)
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    assert target not in [os.readlink(link) for link in links if os.path.lexists(link)]
    if isinstance(calls, Ring):
        RegisteredFiles(calls, [None]).close()


def test_what_cannot_be_read(calls: Any, files: dict[Path, bytes], tmp_path: Path) -> None:
    """A missing one, a folder, a loop of links: each has its error, and the others are read."""
    (tmp_path / "loop").symlink_to("loop")
    good = next(path for path, content in files.items() if content)
    result = calls.read_files([tmp_path / "missing", good, tmp_path, tmp_path / "loop", good])
    assert result.errors.tolist() == [errno.ENOENT, 0, errno.EISDIR, errno.ELOOP, 0]
    assert result.counts.tolist() == [0, len(files[good]), 0, 0, len(files[good])]
    assert result[4] == result[1] == files[good]
    assert files[good] in result
    assert b"nowhere" not in result
    with pytest.raises(FileNotFoundError) as raised:
        list(result)
    assert raised.value.filename == str(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        result.view(2)


def test_files_that_do_not_tell_their_size(calls: Any) -> None:
    """Those of /proc are empty by stat, and are read to their end."""
    for path in ("/proc/self/status", "/proc/cpuinfo", "/proc/self/maps"):
        [content] = calls.read_files([path])
        assert len(content) > 500
        assert content.endswith(b"\n")


def test_a_file_that_grows_meanwhile(ring: Ring, tmp_path: Path) -> None:
    """What is read is a beginning of what the file became."""
    path = tmp_path / "growing"
    path.write_bytes(b"0" * 8)
    going = True

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            for number in range(1, 100_000):
                file.write(b"%08d" % number)
                if not going:
                    return

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for content in ring.read_files([path] * 200):
            pieces = [content[at : at + 8] for at in range(0, len(content) // 8 * 8, 8)]
            assert [int(piece) for piece in pieces] == list(range(len(pieces)))
    finally:
        going = False
        thread.join()


def test_a_fifo_and_the_time(ring: Ring, tmp_path: Path, files: dict[Path, bytes]) -> None:
    """A fifo that nobody writes to ends with the time; the files beside it are there."""
    os.mkfifo(tmp_path / "fifo")
    good = next(path for path, content in files.items() if content)
    result = ring.read_files([tmp_path / "fifo", good], timeout=0.3)
    assert result.errors.tolist() == [errno.ETIMEDOUT, 0]
    assert result[1] == files[good]


def test_views_outlive_the_result(calls: Any, files: dict[Path, bytes]) -> None:
    """A view without a copy keeps what it shows, and cannot be written to."""
    paths = list(files)
    result = calls.read_files(paths)
    views = [result.view(place) for place in range(len(paths))]
    del result
    gc.collect()
    assert views == list(files.values())
    assert all(view.readonly for view in views)


def test_memory_is_given_back(ring: Ring, files: dict[Path, bytes]) -> None:
    """Reading the same files often does not add up."""
    from census import memory_pages

    paths = list(files)
    for _ in range(3):
        ring.read_files(paths)
    before = memory_pages()
    for _ in range(20):
        ring.read_files(paths)
    assert memory_pages() - before < 20_000_000 // 4096
