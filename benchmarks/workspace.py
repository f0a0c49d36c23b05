"""Files and folders that cases work on, made once and kept below build/benchmarks."""

from __future__ import annotations

import array
import mmap
import os
import random
import shutil
import subprocess
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"
BLOCK = 4096


class Workspace:
    """The folder of a run.

    Args:
        folder: where; it must be on the file system that is to be measured.
    """

    def __init__(self, folder: Path = BUILD) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, size: int) -> Path:
        """A file of random bytes, on the disk."""
        path = self.folder / f"data.{size}"
        if not path.is_file() or path.stat().st_size != size:
            source = random.Random(size)
            with path.open("wb") as file:
                for _ in range(0, size, 1 << 20):
                    file.write(source.randbytes(min(1 << 20, size)))
                file.truncate(size)
                file.flush()
                os.fsync(file.fileno())
        return path

    def cached(self, path: Path) -> Path:
        """The same, with all of it in the page cache."""
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass
        return path

    def offsets(self, size: int, count: int, block: int = BLOCK) -> tuple[array.array[int], Path]:
        """So many places of a file of a size at random, and a file of them as 64-bit integers, for C."""
        blocks = size // block
        source = random.Random(count)
        found = array.array("q", (source.randrange(blocks) * block for _ in range(count)))
        path = self.folder / f"offsets.{size}.{count}.{block}"
        if not path.is_file():
            path.write_bytes(found.tobytes())
        return found, path

    def tree(self, count: int) -> list[Path]:
        """So many small files, of 100 bytes to 8 KiB, 250 in a folder."""
        root = self.folder / f"tree.{count}"
        paths = [root / f"{number // 250:04}" / f"file{number:06}" for number in range(count)]
        if not (root / "complete").is_file():
            shutil.rmtree(root, ignore_errors=True)
            source = random.Random(count)
            for number, path in enumerate(paths):
                if not number % 250:
                    path.parent.mkdir(parents=True)
                path.write_bytes(source.randbytes(source.randrange(100, 8192)))
            (root / "complete").touch()
            os.sync()
        return paths

    def temporary(self, name: str) -> Path:
        """A path for what a lane makes; it is gone before and after."""
        path = self.folder / f"made.{name}.{os.getpid()}"
        self.remove(path)
        return path

    def remove(self, path: Path) -> None:
        """Remove a file or a tree."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    @cached_property
    def can_drop_caches(self) -> bool:
        """Whether this process may empty the kernel's caches."""
        return os.access("/proc/sys/vm/drop_caches", os.W_OK) and os.geteuid() == 0

    def drop_caches(self) -> None:
        """Empty the page cache and the caches of names; only root may."""
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")

    def direct_error(self, path: Path) -> str | None:
        """Why a file cannot be read with O_DIRECT, or None."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        except OSError as error:
            return f"no O_DIRECT in {self.folder.name}: {error.strerror}"
        try:
            os.preadv(fd, [mmap.mmap(-1, BLOCK)], 0)
        except OSError as error:
            return f"no O_DIRECT in {self.folder.name}: {error.strerror}"
        finally:
            os.close(fd)
        return None


def output_of(*command: str) -> str | None:
    """What a command prints, or None when it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
