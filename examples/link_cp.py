"""Copy a file with linked requests: the kernel starts each block's write when the block's read has ended well.

    python examples/link_cp.py INFILE OUTFILE

A port of liburing's examples/link-cp.c by Jens Axboe (MIT), with the error handling and the care for short reads that
its comment asks for. A short read breaks the link, so the pair's write ends with -ECANCELED; the pair is queued again
for what is missing. A short write is queued again alone. Each block remembers how far both have come, and the copy
ends when every block is written, not when the last one is queued. Blocks are used over and over: a large file needs
no more memory than a small one.

The source is a regular file or a block device. The destination is anything that can be written at an offset.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from uring.liburing import *

QD = 64
BS = 32 * 1024
BLKGETSIZE64 = 0x80081272  # _IOR(0x12, 114, size_t), which Python does not name

READ, WRITE = 0, 1
RETRY = (-errno.ECANCELED, -errno.EAGAIN, -errno.EINTR)


class CopyError(Exception):
    """The copy cannot go on; the text is for the user."""


class File(NamedTuple):
    """An open file, and what the user calls it."""

    fd: int
    name: str


@contextmanager
def explained(action: str) -> Iterator[None]:
    """Turn an OSError into a CopyError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise CopyError(f"{action}: {error.strerror}") from None


def setup_context(entries: int) -> Any:
    """Make an initialised ring."""
    ring = io_uring()
    ret = io_uring_queue_init(entries, ring, 0)
    if ret < 0:
        raise CopyError(f"queue_init: {os.strerror(-ret)}")
    return ring


def get_file_size(fd: int) -> int:
    """Return the size of a regular file or a block device; raise OSError for anything else."""
    st = os.fstat(fd)
    if stat.S_ISBLK(st.st_mode):
        return int.from_bytes(fcntl.ioctl(fd, BLKGETSIZE64, bytes(8)), sys.byteorder)
    if stat.S_ISDIR(st.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(st.st_mode):
        raise OSError(errno.EINVAL, "Neither a regular file nor a block device")
    # The files of /proc claim to be empty, whatever they hold.
    if st.st_size == 0 and os.pread(fd, 1, 0):
        raise OSError(errno.EINVAL, "Its size is not known in advance")
    return st.st_size


class Copy:
    """What the C programs keep in globals: the ring, the two files, the number of requests in flight."""

    def __init__(self, ring: Any, infile: File, outfile: File) -> None:
        self.ring, self.infile, self.outfile = ring, infile, outfile
        self.cqe = io_uring_cqe_ptr()
        self.inflight = 0

    def copy_file(self, insize: int) -> None:
        """Copy `insize` bytes; raise CopyError, with nothing left in flight, when that fails."""
        raise NotImplementedError

    def submit(self) -> None:
        """Submit what is queued."""
        ret = io_uring_submit(self.ring)
        if ret < 0:
            raise CopyError(f"io_uring_submit: {os.strerror(-ret)}")
        self.inflight += ret
        # Submitting the rest later would run a write without the read that it was linked to.
        if io_uring_sq_ready(self.ring):
            raise CopyError("io_uring_submit: the kernel took only a part")

    def wait_cqe(self) -> tuple[int, int]:
        """Wait for a completion and take it off the queue; return its user_data and res."""
        while (ret := io_uring_wait_cqe(self.ring, self.cqe)) == -errno.EINTR:
            pass
        if ret < 0:
            raise CopyError(f"io_uring_wait_cqe: {os.strerror(-ret)}")
        result = self.cqe[0].user_data, self.cqe[0].res
        self.inflight -= 1
        io_uring_cqe_seen(self.ring, self.cqe[0])
        return result

    def drain(self) -> None:
        """Wait out what is in flight: until then the kernel uses the buffers."""
        while self.inflight:
            self.wait_cqe()

    def progress(self, kind: int, res: int) -> int:
        """Return how many bytes a request moved, 0 when it is to be tried again; raise CopyError when it failed."""
        if res > 0:
            return res
        if res in RETRY:
            return 0
        what = (f"error reading '{self.infile.name}'", f"error writing '{self.outfile.name}'")[kind]
        nothing = ("it is shorter than it was", "nothing was written")[kind]
        raise CopyError(f"{what}: {os.strerror(-res) if res < 0 else nothing}")


class IoData:
    """One block on its way: its buffer, and how far reading and writing have come."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.buffer = ffi.new("char[]", BS)
        self.iov = iovec(self.buffer, self.buffer)  # the read's and the write's
        self.offset = self.size = self.inflight = 0
        self.done = [0, 0]


class LinkCopy(Copy):
    """The copy by linked pairs. There is a block for each pair that the ring has room for, so it is never full."""

    def __init__(self, ring: Any, infile: File, outfile: File) -> None:
        super().__init__(ring, infile, outfile)
        self.blocks = [IoData(index) for index in range(QD // 2)]
        self.free = list(self.blocks)

    def queue_rw_pair(self, data: IoData) -> None:
        """Queue what the block still needs: a read and the write that waits for it, or the write alone."""
        if data.done[READ] < data.size:
            sqe = self.queue_rest(data, READ)
            sqe.flags |= IOSQE_IO_LINK
        self.queue_rest(data, WRITE)

    def queue_rest(self, data: IoData, kind: int) -> Any:
        """Prepare the part of the block's read or write that is not done yet; return the SQE."""
        done, iov = data.done[kind], data.iov + kind
        iov.iov_base, iov.iov_len = data.buffer + done, data.size - done
        sqe = io_uring_get_sqe(self.ring)
        if kind == READ:
            io_uring_prep_readv(sqe, self.infile.fd, iov, 1, data.offset + done)
        else:
            io_uring_prep_writev(sqe, self.outfile.fd, iov, 1, data.offset + done)
        io_uring_sqe_set_data64(sqe, data.index * 2 + kind)
        data.inflight += 1
        return sqe

    def handle_cqe(self) -> None:
        """Wait for a completion; when its block has none left in flight, retry the block or free it."""
        user_data, res = self.wait_cqe()
        index, kind = divmod(user_data, 2)
        data = self.blocks[index]
        data.inflight -= 1
        data.done[kind] += self.progress(kind, res)
        if data.inflight:
            return
        if data.done[WRITE] < data.size:
            self.queue_rw_pair(data)
        else:
            self.free.append(data)

    def copy_file(self, insize: int) -> None:
        """Keep all blocks on their way until the last one is written."""
        offset = 0
        try:
            while offset < insize or len(self.free) < len(self.blocks):
                while offset < insize and self.free:
                    data = self.free.pop()
                    data.offset, data.size, data.done = offset, min(BS, insize - offset), [0, 0]
                    self.queue_rw_pair(data)
                    offset += data.size
                self.submit()
                self.handle_cqe()
                while io_uring_cq_ready(self.ring):
                    self.handle_cqe()
        finally:
            self.drain()


def open_infile(name: str) -> File:
    """Open the source."""
    with explained(f"cannot open '{name}' for reading"):
        return File(os.open(name, os.O_RDONLY), name)


def open_outfile(name: str) -> File:
    """Open the destination, which keeps its content for now: it could be the source."""
    with explained(f"cannot create '{name}'"):
        return File(os.open(name, os.O_WRONLY | os.O_CREAT, 0o644), name)


def close_file(file: File) -> None:
    """Close; some file systems report a failed write only here."""
    with explained(f"error closing '{file.name}'"):
        os.close(file.fd)


def truncate_outfile(infile: File, outfile: File) -> None:
    """Empty the destination, unless it is the source or cannot be written at an offset."""
    instat, outstat = os.fstat(infile.fd), os.fstat(outfile.fd)
    devices = all(stat.S_ISBLK(st.st_mode) for st in (instat, outstat))
    if os.path.samestat(instat, outstat) or (devices and instat.st_rdev == outstat.st_rdev):
        raise CopyError(f"'{infile.name}' and '{outfile.name}' are the same file")
    with explained(f"cannot write '{outfile.name}' at an offset"):
        os.lseek(outfile.fd, 0, os.SEEK_SET)
    if stat.S_ISREG(outstat.st_mode):
        with explained(f"cannot truncate '{outfile.name}'"):
            os.ftruncate(outfile.fd, 0)


def main(argv: list[str], copier: type[Copy] = LinkCopy) -> int:
    """Copy the first file named on the command line to the second."""
    # As with the C program, Ctrl-C ends the process at once, and the kernel ends what is in flight.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = Path(argv[0]).name
    if len(argv) != 3:
        print(f"usage: {program} INFILE OUTFILE", file=sys.stderr)
        return 1
    try:
        with ExitStack() as stack:
            ring = setup_context(QD)
            stack.callback(io_uring_queue_exit, ring)
            infile = open_infile(argv[1])
            stack.callback(close_file, infile)
            with explained(f"cannot copy '{infile.name}'"):
                insize = get_file_size(infile.fd)
            outfile = open_outfile(argv[2])
            stack.callback(close_file, outfile)
            truncate_outfile(infile, outfile)
            copier(ring, infile, outfile).copy_file(insize)
    except CopyError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
