"""Files and folders that cases need: made once, kept below build/benchmarks, where the next run finds them.

What is in them follows from their size alone, and no two blocks of 4 KiB are the same, so a lane that reads from the
wrong place is found out by its digest.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from uring.liburing import ffi

from .harness import Missing

BLOCK = 4096
CHUNK = 1 << 20
SPARE = 512 << 20
"""What is left free on the disk at least."""
PER_FOLDER = 100
DROPS = 3
"""How often dropping caches is tried: a page that some CPU has just put away stays."""


class Tree(NamedTuple):
    """A folder with small files in folders of PER_FOLDER each."""

    root: Path
    paths: tuple[str, ...]
    sizes: tuple[int, ...]


def size_of(index: int) -> int:
    """How long the small file of that number is: 1 byte to 8 KiB, 4 KiB in the mean, always the same."""
    return 1 + (index * 2654435761 >> 8) % 8192


def chunks(size: int) -> Iterator[bytes]:
    """What is in a file of `size` bytes, in pieces of 1 MiB: noise, with each block's number in front."""
    noise = bytearray(random.Random(size).randbytes(min(CHUNK, max(size, 1))))
    for start in range(0, size, CHUNK):
        for offset in range(0, min(CHUNK, size - start) - 7, BLOCK):
            struct.pack_into("<Q", noise, offset, (start + offset) // BLOCK)
        yield bytes(noise[: size - start])


class Workspace:
    """A folder for what cases read and write.

    Args:
        root: Where; on the file system that is to be measured.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def file(self, size: int) -> Path:
        """A file of `size` bytes that nobody writes to; made when it is not there yet.

        Raises:
            Missing: The disk has no room for it.
        """
        path = self.root / f"file.{size}"
        if not path.is_file() or path.stat().st_size != size:
            self._write(path, size)
        return path

    def scratch(self, size: int, name: str = "scratch") -> Path:
        """A file of `size` bytes to write to: all of it is written once, so that later writes allocate nothing.

        Its content is what the last user left there, or noise.

        Raises:
            Missing: The disk has no room for it.
        """
        path = self.root / f"{name}.{size}"
        if not path.is_file() or path.stat().st_size != size:
            self._write(path, size)
        return path

    def folder(self, name: str) -> Path:
        """An empty folder of that name; what was in it is removed."""
        path = self.root / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def tree(self, count: int, size: int | None = None) -> Tree:
        """So many small files that nobody writes to, PER_FOLDER to a folder; made when they are not there yet.

        Args:
            count: How many.
            size: Of each, in bytes; None: from 1 byte to 8 KiB, see `size_of`.

        Raises:
            Missing: The disk has no room for them.
        """
        root = self.root / (f"tree.{count}" if size is None else f"tree.{count}.{size}")
        sizes = tuple(size_of(index) if size is None else size for index in range(count))
        folders = [root / f"{number:04}" for number in range(-(-count // PER_FOLDER))]
        paths = tuple(str(folders[index // PER_FOLDER] / f"{index:06}") for index in range(count))
        if (root / "complete").exists():
            return Tree(root, paths, sizes)
        self._need(sum(sizes) + count * BLOCK)
        shutil.rmtree(root, ignore_errors=True)
        for folder in folders:
            folder.mkdir(parents=True)
        noise = random.Random(count).randbytes(max((*sizes, 1)) + count)
        for index, (path, length) in enumerate(zip(paths, sizes, strict=True)):
            Path(path).write_bytes(noise[index : index + length])
        os.sync()
        (root / "complete").touch()
        return Tree(root, paths, sizes)

    def warm(self, path: Path) -> None:
        """Read a file, or all files below a folder, so that it is in the page cache as far as there is room."""
        for each in files(path):
            with each.open("rb", buffering=0) as file:
                while file.read(CHUNK):
                    pass

    def drop_caches(self, path: Path) -> None:
        """Make the next reads of a file, or of all files below a folder, come from the disk.

        For a file only its own pages go. For a folder the kernel's entries and inodes have to go too, which it does for
        the whole machine or not at all.

        Raises:
            Missing: The file system keeps its pages (tmpfs), or a folder without being root.
        """
        for _ in range(DROPS):
            first = dropped(path)
            if first is None or not is_cached(first):
                return
        raise Missing("the file system keeps its pages in memory")

    def open_direct(self, path: Path, flags: int, at_end: ExitStack) -> int:
        """A descriptor with O_DIRECT, closed at the end.

        Args:
            path: The file.
            flags: `os.O_RDONLY` and so on; O_DIRECT is added.
            at_end: Closes it.

        Raises:
            Missing: The file system has no O_DIRECT, or not with blocks of 4 KiB.
        """
        try:
            fd = os.open(path, flags | os.O_DIRECT)
            at_end.callback(os.close, fd)
            if flags & os.O_ACCMODE != os.O_WRONLY:
                with mmap.mmap(-1, BLOCK) as block:
                    os.preadv(fd, [block], 0)
        except OSError as error:
            raise Missing(f"no O_DIRECT here: {error.strerror}") from error
        return fd

    def _write(self, path: Path, size: int) -> None:
        self._need(size)
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            with fresh.open("wb") as file:
                for chunk in chunks(size):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def _need(self, size: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < size + SPARE:
            raise Missing(f"needs {size >> 20} MiB and some to spare, {free >> 20} MiB are free")


def dropped(path: Path) -> Path | None:
    """Drop what is cached of a file or of all below a folder; the first file that is not empty."""
    first = None
    for each in files(path):
        fd = os.open(each, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if first is None and os.fstat(fd).st_size:
                first = each
        finally:
            os.close(fd)
    if path.is_dir():
        try:
            Path("/proc/sys/vm/drop_caches").write_text("3")
        except OSError as error:
            raise Missing(f"a cold start needs root, to drop the kernel's caches: {error.strerror}") from error
    return first


def files(path: Path) -> Iterator[Path]:
    """The file, or all files below a folder."""
    if path.is_dir():
        for folder, _folders, names in os.walk(path):
            yield from (Path(folder, name) for name in names)
    else:
        yield path


def is_cached(path: Path) -> bool:
    """Whether any of a file is in the page cache; looking brings nothing there, as a read with RWF_NOWAIT would."""
    size = path.stat().st_size
    if not size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapping:
        pages = bytearray(-(-size // mmap.PAGESIZE))
        found = (ctypes.c_ubyte * len(pages)).from_buffer(pages)
        with memoryview(mapping) as view:
            address = int(ffi.cast("uintptr_t", ffi.from_buffer(view)))
            if ctypes.CDLL(None, use_errno=True).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), found):
                raise OSError(ctypes.get_errno(), "mincore", str(path))
        return any(page & 1 for page in pages)
