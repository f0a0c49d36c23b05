"""Copy a file through chains: a read and the write of the same block, linked, many of them in parallel.

    python examples/chain_copier.py INFILE OUTFILE

The Pythonic twin of link_cp.py beside it. The ring owns the buffers while the kernel uses them, a chain is never split,
and a broken one says which link broke it.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from typing import BinaryIO

import uring

BLOCKS = 32
BLOCK = 32 * 1024


class Copy:
    """One copy: the offsets that wait, and the way of a block from its read to its last write."""

    def __init__(self, ring: uring.Ring, source: BinaryIO, target: BinaryIO, size: int) -> None:
        self.ring, self.source, self.target, self.size = ring, source, target, size
        self.waiting = iter(range(0, size, BLOCK))
        self.failed = False

    def start(self, buffer: memoryview) -> None:
        """Use a free buffer for the next block, if there is one."""
        offset = next(self.waiting, None)
        if offset is not None:
            self.queue_pair(buffer[: self.size - offset], offset, 0)

    def queue_pair(self, block: memoryview, offset: int, have: int) -> None:
        """Read what a block lacks; linked behind that, write all of it."""
        with self.ring.chain():
            read = self.ring.read(self.source, block[have:], offset + have)
            write = self.ring.write(self.target, block, offset)

        def finished(write: uring.Operation[int]) -> None:
            if self.failed:  # what fails after the first failure, or is cancelled, is its consequence
                return
            self.failed = True
            try:
                self.wrote(block, offset, write.result())
            except uring.ChainBroken as broken:
                # The read failed, which raises here, or it was short, and the rest of it is read.
                count = read.result()
                if not count:
                    raise EOFError(f"it is shorter than it was: {offset + have} bytes") from broken
                self.queue_pair(block, offset, have + count)
            self.failed = False

        read.add_done_callback(lambda _read: None)
        write.add_done_callback(finished)

    def wrote(self, block: memoryview, offset: int, count: int) -> None:
        """Write what is left of a block, or go on with the next one."""
        if count == len(block):
            self.start(memoryview(block.obj))
        elif not count:
            raise OSError(errno.EIO, "nothing was written")
        else:
            rest = self.ring.write(self.target, block[count:], offset + count)
            rest.add_done_callback(lambda write: self.wrote(block[count:], offset + count, write.result()))


def size_of(source: BinaryIO) -> int:
    """The size of a regular file or block device."""
    size = source.seek(0, os.SEEK_END)
    if not size and os.read(source.fileno(), 1):
        raise OSError(errno.EINVAL, "its size is not known in advance", source.name)
    return size


def empty(target: BinaryIO, source: BinaryIO) -> None:
    """Make room for the copy, unless the target is the source, or cannot be written at an offset."""
    if os.path.sameopenfile(source.fileno(), target.fileno()):
        raise shutil.SameFileError(f"'{source.name}' and '{target.name}' are the same file")
    target.seek(0)
    if stat.S_ISREG(os.fstat(target.fileno()).st_mode):
        target.truncate()


def keep_content(name: str, flags: int) -> int:
    """Open as `open` would, without emptying the file: it could be the source."""
    return os.open(name, flags & ~os.O_TRUNC, 0o666)


def main(source: str, target: str) -> int:
    """Copy one file into another."""
    with open(source, "rb") as infile, uring.Ring(2 * BLOCKS) as ring:
        size = size_of(infile)
        with open(target, "wb", opener=keep_content) as outfile:
            empty(outfile, infile)
            copy = Copy(ring, infile, outfile, size)
            for _ in range(BLOCKS):
                copy.start(memoryview(bytearray(BLOCK)))
            while ring.statistics().in_flight:
                ring.wait()
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} INFILE OUTFILE")
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except (OSError, EOFError) as error:
        sys.exit(f"{sys.argv[1]} -> {sys.argv[2]}: {error}")
