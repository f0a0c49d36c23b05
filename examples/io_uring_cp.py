"""Copy a file with reads and writes that are queued one by one: a block's write when its read has completed.

    python examples/io_uring_cp.py INFILE OUTFILE

A port of liburing's examples/io_uring-cp.c by Jens Axboe (MIT), and what link_cp.py does without links: each request
that comes back short is queued again for the rest. That holds here for the last writes too, a source that has become
shorter is an error, and blocks are used over and over. What the two programs have in common is in link_cp.py.
"""

from __future__ import annotations

import sys
from typing import Any

from link_cp import BS, QD, READ, WRITE, Copy, File, main

from uring.liburing import *


class IoData:
    """One block on its way, first into its buffer, then out of it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.buffer = ffi.new("char[]", BS)
        self.iov = iovec(self.buffer)
        self.kind = READ
        self.first_offset = self.offset = self.first_len = 0


class ReadWriteCopy(Copy):
    """The copy by single requests. There is a block for each that the ring has room for, so it is never full."""

    def __init__(self, ring: Any, infile: File, outfile: File) -> None:
        super().__init__(ring, infile, outfile)
        self.blocks = [IoData(index) for index in range(QD)]
        self.free = list(self.blocks)

    def queue_prepped(self, data: IoData) -> None:
        """Queue the block's request as its fields describe it."""
        sqe = io_uring_get_sqe(self.ring)
        if data.kind == READ:
            io_uring_prep_readv(sqe, self.infile.fd, data.iov, 1, data.offset)
        else:
            io_uring_prep_writev(sqe, self.outfile.fd, data.iov, 1, data.offset)
        io_uring_sqe_set_data64(sqe, data.index)

    def queue_whole(self, data: IoData, kind: int) -> None:
        """Queue a read or a write of the whole block."""
        data.kind, data.offset = kind, data.first_offset
        data.iov[0].iov_base, data.iov[0].iov_len = data.buffer, data.first_len
        self.queue_prepped(data)

    def queue_read(self, size: int, offset: int) -> None:
        """Queue the read of the next part of the file into a free block."""
        data = self.free.pop()
        data.first_offset, data.first_len = offset, size
        self.queue_whole(data, READ)

    def queue_write(self, data: IoData) -> None:
        """Queue the write of a block that is read."""
        self.queue_whole(data, WRITE)

    def handle_cqe(self) -> None:
        """Wait for a completion and queue what comes next for its block: the rest, the write, or nothing."""
        index, res = self.wait_cqe()
        data = self.blocks[index]
        moved = self.progress(data.kind, res)
        if moved < data.iov[0].iov_len:
            data.iov[0].iov_base += moved
            data.iov[0].iov_len -= moved
            data.offset += moved
            self.queue_prepped(data)
        elif data.kind == READ:
            self.queue_write(data)
        else:
            self.free.append(data)

    def copy_file(self, insize: int) -> None:
        """Keep all blocks on their way until the last one is written."""
        offset = 0
        try:
            while offset < insize or len(self.free) < len(self.blocks):
                while offset < insize and self.free:
                    this_size = min(BS, insize - offset)
                    self.queue_read(this_size, offset)
                    offset += this_size
                self.submit()
                self.handle_cqe()
                while io_uring_cq_ready(self.ring):
                    self.handle_cqe()
        finally:
            self.drain()


if __name__ == "__main__":
    sys.exit(main(sys.argv, ReadWriteCopy))
