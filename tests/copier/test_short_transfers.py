"""Short transfers and retries: every byte arrives, whatever the kernel answers."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copying import BLOCK, run, write

from uring import copy

PAGE = mmap.PAGESIZE


def test_a_short_read_breaks_the_chain_and_is_continued(source: Path, target: Path) -> None:
    """When a block's end is missing for a moment, the rest is read once it is there, and written."""
    contents = source.read_bytes()
    middle = BLOCK + 1234

    def progress(copied: int, _expected: int) -> None:
        # The next block is read after this returns, and finds the file ending within it.
        if copied == BLOCK and source.stat().st_size == len(contents):
            os.truncate(source, middle)
        elif source.stat().st_size == middle:
            source.write_bytes(contents)

    result = copy.copy_file(source, target, depth=1, block_size=BLOCK, progress=progress)
    assert target.read_bytes() == contents
    assert result.short_transfers == 1


class Spy:
    """Stands for `lib`: some calls are replaced, the others are the real ones."""

    def __init__(self, **calls: Callable[..., int]) -> None:
        self.__dict__ |= calls

    def __getattr__(self, name: str) -> Any:
        return getattr(copy.fused.lib, name)


@pytest.mark.parametrize("depth", [1, 5, 32])
def test_short_reads_of_many_blocks(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """Blocks that each come in several short reads, all with their links really broken, arrive whole.

    The kernel reads short because it cannot write to the memory behind a certain page; the page is opened when the
    copier goes on with the block.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    real = copy.lib

    def protect(address: int, length: int, how: int) -> None:
        assert libc.mprotect(address, length, how) == 0, os.strerror(ctypes.get_errno())

    def uring_read(*arguments: Any) -> int:
        *_, memory, length, _offset = arguments
        start = int(copy.ffi.cast("uintptr_t", memory))
        first_page, end = start // PAGE * PAGE, -(-(start + length) // PAGE) * PAGE
        protect(first_page, end - first_page, mmap.PROT_READ | mmap.PROT_WRITE)
        if first_page + PAGE < end:
            protect(first_page + PAGE, end - first_page - PAGE, 0)
        return int(real.uring_read(*arguments))

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    write(source, 40 * 4 * PAGE + 123)
    result = copy.copy_file(source, target, depth=depth, block_size=4 * PAGE)
    assert target.read_bytes() == source.read_bytes()
    assert result.short_transfers == 40 * 3


@pytest.mark.parametrize("depth", [1, 5, 32])
def test_short_writes_of_many_blocks(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """Blocks of which each write takes only a part arrive whole.

    Nothing is linked behind a write, so one that is asked for less looks just like one that did less.
    """
    real, draw = copy.lib, random.Random(depth)
    parts = []

    def uring_write(*arguments: Any) -> int:
        *others, length, offset = arguments
        part = draw.randint(1, length)
        if part < length:
            parts.append(part)
        return int(real.uring_write(*others, part, offset))

    monkeypatch.setattr(copy, "lib", Spy(uring_write=uring_write))
    result = copy.copy_file(source, target, depth=depth, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()
    assert result.short_transfers == len(parts) > 40


def test_short_transfers_of_a_stream(
    tmp_path: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pipe gives in pieces, and a file takes in pieces, arrives whole."""
    real = copy.lib
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def uring_write(*arguments: Any) -> int:
        *others, length, offset = arguments
        return int(real.uring_write(*others, -(-length // 2), offset))

    monkeypatch.setattr(copy, "lib", Spy(uring_write=uring_write))
    writer = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    writer.start()
    copy.copy_file(fifo, target, block_size=BLOCK)
    writer.join()
    assert target.read_bytes() == source.read_bytes()


def test_a_read_that_would_block_is_repeated(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that the kernel answers with -EAGAIN breaks the chain, and both requests are made again."""
    real = copy.lib
    engines: list[Any] = []
    refused = []
    attach = copy.fused.attach

    def uring_read(ring: Any, *arguments: Any) -> int:
        ret = int(real.uring_read(ring, *arguments))
        if arguments[-1] not in refused:
            refused.append(arguments[-1])
            queue = engines[0].sq
            # RWF_NOWAIT: rather -EAGAIN than a wait for the disk.
            queue.sqes[(queue.sqe_tail - 1) & queue.ring_mask].rw_flags = 8
        return ret

    def attach_and_keep(ring: Any, room: int) -> Any:
        engines.append(ring)
        return attach(ring, room)

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    monkeypatch.setattr(copy.fused, "attach", attach_and_keep)
    with source.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    result = copy.copy_file(source, target, depth=8, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()
    if not result.retries:
        pytest.skip("this file system keeps everything in memory, no read of it would block")


def test_a_chain_that_the_kernel_took_apart_is_an_error(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel stops in the middle of a submit, a write may have lost its link: the copy fails."""
    real = copy.lib
    queued = []

    def uring_read(ring: Any, *arguments: Any) -> int:
        if not queued:
            # What the kernel does not know ends the submit, so that the rest stays in the queue.
            real.uring_nop(ring, copy._CANCEL_TAG, 0)
            ring.ring.sq.sqes[(ring.ring.sq.sqe_tail - 1) & ring.ring.sq.ring_mask].opcode = 255
        queued.append(arguments)
        return int(real.uring_read(ring, *arguments))

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    with pytest.raises(OSError, match="only a part of the requests"):
        copy.copy_file(source, target, depth=5, block_size=BLOCK)
    assert not target.exists()


def test_a_short_write_at_a_limit_is_continued(tmp_path: Path, source: Path, target: Path) -> None:
    """A block that the kernel wrote only up to a limit is written on when the limit is raised."""
    found = run(
        f"""
import json, os, resource, signal
from uring import copy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({BLOCK + 4321}, no_limit[1]))
def progress(copied, expected):
    if os.stat({str(target)!r}).st_size == {BLOCK + 4321}:
        resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
result = copy.copy_file({str(source)!r}, {str(target)!r}, depth=1, block_size={BLOCK}, progress=progress)
print(json.dumps(result.short_transfers))
"""
    )
    assert found == 1
    assert target.read_bytes() == source.read_bytes()
