"""What others read and write with: lanes over a Job, each of which says when what it needs is not there.

Lanes of Python's own that work one by one have no depth, and asyncio's and the thread pool's use as many tasks and
threads as the depth. Those that read into memory of their own, which is made for each read, are said to do so.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import mmap
import os
import shutil
import subprocess
import threading
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .harness import Measured, Missing, Outcome, Run, Wrong
from .jobs import Job

LIBURING = "2026.3.30"
TRIED = 32


def package(name: str, wanted: str | None = None) -> Any:
    """A rival's package.

    Args:
        name: of the distribution and the module.
        wanted: the only version that the lanes do justice to.

    Raises:
        Missing: it is not installed, or another version.
    """
    try:
        found = version(name)
        module = importlib.import_module(name)
    except (PackageNotFoundError, ImportError) as error:
        raise Missing(f"the package {name} is not installed (pip install '.[bench]'): {error}") from error
    if wanted is not None and found != wanted:
        raise Missing(f"expected the package {name} {wanted}, found {found}")
    return module


def try_own_memory(job: Job, who: str) -> None:
    """Let Python's own bytes be read into, some at once: with O_DIRECT most disks refuse where they lie.

    Raises:
        Missing: so does this one.
    """
    if not job.direct:
        return
    with ExitStack() as closing:
        fd, kept = job.open(closing), []
        try:
            for _ in range(TRIED):
                kept.append(os.pread(fd, job.size, 0))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise Missing(f"{who} uses Python's own bytes, and O_DIRECT does not take where they lie") from error
            raise


# --- Python's own, one by one ------------------------------------------------------------------------


def os_read(job: Job, at_end: ExitStack) -> Run:
    """os.read, a new bytes object for each; the places must be a sequence."""
    fd, size, read = job.open(at_end), job.size, os.read
    try_own_memory(job, "os.read")

    def run() -> Outcome:
        os.lseek(fd, 0, os.SEEK_SET)
        for _ in job.offsets:
            if len(read(fd, size)) != size:
                raise Wrong("a short read")
        return job.outcome(lambda sample: (seek_and_read(offset) for offset in sample))

    def seek_and_read(offset: int) -> bytes:
        os.lseek(fd, offset, os.SEEK_SET)
        return read(fd, size)

    return run


def os_pread(job: Job, at_end: ExitStack) -> Run:
    """os.pread, a new bytes object for each."""
    fd, size, pread = job.open(at_end), job.size, os.pread
    try_own_memory(job, "os.pread")

    def run() -> Outcome:
        for offset in job.offsets:
            if len(pread(fd, size, offset)) != size:
                raise Wrong(offset)
        return job.outcome(lambda sample: (pread(fd, size, offset) for offset in sample))

    return run


def os_preadv(job: Job, at_end: ExitStack) -> Run:
    """os.preadv, always into one buffer; or os.pwritev from one."""
    fd, size, memory = job.open(at_end), job.size, job.memory(1)
    buffers, transfer = [memory], os.pwritev if job.write else os.preadv
    if job.sync_every:
        return with_syncs(job, fd, lambda offset: transfer(fd, buffers, offset))

    def run() -> Outcome:
        for offset in job.offsets:
            if transfer(fd, buffers, offset) != size:
                raise Wrong(offset)
        return job.outcome(lambda sample: (memory for offset in sample if transfer(fd, buffers, offset)))

    return run


def os_pwrite(job: Job, at_end: ExitStack) -> Run:
    """os.pwrite of bytes."""
    fd, size, block, pwrite = job.open(at_end), job.size, job.block(), os.pwrite
    try_own_memory(job, "os.pwrite")
    if job.sync_every:
        return with_syncs(job, fd, lambda offset: pwrite(fd, block, offset))

    def run() -> Outcome:
        for offset in job.offsets:
            if pwrite(fd, block, offset) != size:
                raise Wrong(offset)
        return job.outcome(None)

    return run


def with_syncs(job: Job, fd: int, write: Callable[[int], int]) -> Run:
    """So many writes, then os.fdatasync."""

    def run() -> Outcome:
        for start in range(0, len(job.offsets), job.sync_every):
            for offset in job.offsets[start : start + job.sync_every]:
                if write(offset) != job.size:
                    raise Wrong(offset)
            os.fdatasync(fd)
        return job.outcome(None)

    return run


def mmap_slices(job: Job, at_end: ExitStack, *, anew: bool = False) -> Run:
    """Slices of a mapping, a new bytes object for each.

    Args:
        job: What to read.
        at_end: Closes what is open.
        anew: Make the mapping in each run: one that stays keeps the file in the page cache.
    """
    if job.direct:
        raise Missing("a mapping goes through the page cache")
    fd, size = job.open(at_end), job.size
    kept = None if anew else at_end.enter_context(mmap.mmap(fd, 0, prot=mmap.PROT_READ))

    def read(area: mmap.mmap) -> None:
        for offset in job.offsets:
            if len(area[offset : offset + size]) != size:
                raise Wrong(offset)

    def sample(offsets: array[int]) -> list[bytes]:
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as area:
            return [area[offset : offset + size] for offset in offsets]

    def run() -> Outcome:
        if kept is not None:
            read(kept)
        else:
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as area:
                read(area)
        return job.outcome(sample)

    return run


# --- threads -----------------------------------------------------------------------------------------


def threads_idiomatic(job: Job, at_end: ExitStack) -> Run:
    """`ThreadPoolExecutor.map`, a task for each transfer; each thread has a buffer."""
    fd, size = job.open(at_end), job.size
    pool = at_end.enter_context(ThreadPoolExecutor(job.depth))
    local, transfer = threading.local(), os.pwritev if job.write else os.preadv

    def one(offset: int) -> int:
        try:
            buffers = local.buffers
        except AttributeError:
            buffers = local.buffers = [job.memory(1)]
        return transfer(fd, buffers, offset)

    def copied(offset: int) -> bytes:
        one(offset)
        return bytes(local.buffers[0])

    def run() -> Outcome:
        for count in pool.map(one, job.offsets):
            if count != size:
                raise Wrong(count)
        return job.outcome(lambda sample: pool.map(copied, sample))

    return run


def threads_tight(job: Job, at_end: ExitStack) -> Run:
    """As many threads, each with its share of the places in one loop, and a buffer."""
    fd, size, depth = job.open(at_end), job.size, job.depth
    pool = at_end.enter_context(ThreadPoolExecutor(depth))
    memories = job.buffers(depth)
    shares = [job.offsets[index::depth] for index in range(depth)]

    def work(memory: memoryview, offsets: array[int]) -> None:
        transfer, buffers = os.pwritev if job.write else os.preadv, [memory]
        for offset in offsets:
            if transfer(fd, buffers, offset) != size:
                raise Wrong(offset)

    def read(sample: array[int]) -> Iterator[bytes]:
        for offset in sample:
            pool.submit(work, memories[0], array("q", [offset])).result()
            yield bytes(memories[0])

    def run() -> Outcome:
        for _ in pool.map(work, memories, shares):
            pass
        return job.outcome(read)

    return run


# --- packages ----------------------------------------------------------------------------------------


def pypi_ring(module: Any, entries: int, at_end: ExitStack) -> Any:
    """A ring of the package liburing."""
    ring = module.Ring()
    module.io_uring_queue_init(entries, ring, 0)
    at_end.callback(module.io_uring_queue_exit, ring)
    return ring


def pypi_liburing(job: Job, at_end: ExitStack) -> Run:
    """The package liburing as its documentation shows it, with a window; memory is the caller's."""
    other = package("liburing", LIBURING)
    if job.direct:
        raise Missing("the package liburing reads into bytearrays, which O_DIRECT does not take")
    fd, size, depth = job.open(at_end), job.size, min(job.depth, len(job.offsets))
    ring, cqe = pypi_ring(other, job.entries, at_end), other.Cqe()
    buffers = [bytearray(size) for _ in range(depth)]
    get_sqe, prep_read, set_data64 = other.io_uring_get_sqe, other.io_uring_prep_read, other.io_uring_sqe_set_data64
    submit_and_wait, advance = other.io_uring_submit_and_wait, other.io_uring_cq_advance
    begin, following = other.io_uring_cqe_iter_init, other.io_uring_cqe_iter_next
    wanted = max(1, min(32, depth // 4))

    def finish(count: int) -> int:
        submit_and_wait(ring, count)
        walk, seen = begin(ring), 0
        while following(walk, cqe):
            if cqe[0].res != size:
                raise Wrong(cqe[0].res)
            seen += 1
        advance(ring, seen)
        return seen

    def transfer(offsets: array[int]) -> None:
        in_flight = slot = 0
        for offset in offsets:
            if in_flight == depth:
                in_flight -= finish(wanted)
            sqe = get_sqe(ring)
            prep_read(sqe, fd, buffers[slot], offset)
            set_data64(sqe, slot)
            in_flight += 1
            slot += 1
            if slot == depth:
                slot = 0
        while in_flight:
            in_flight -= finish(in_flight)

    def read(sample: array[int]) -> Iterator[bytes]:
        for offset in sample:
            transfer(array("q", [offset]))
            yield bytes(buffers[0])

    def run() -> Outcome:
        transfer(job.offsets)
        return job.outcome(read)

    return run


def asyncio_lane(job: Job, at_end: ExitStack, opened: Callable[[], Any]) -> Run:
    """As many asyncio tasks as the depth, each with its share of the places.

    Args:
        job: What to read.
        at_end: Ends the loop.
        opened: Called in each task: an async context manager of a function that reads at a place.
    """
    try_own_memory(job, "this package")
    loop = asyncio.new_event_loop()
    at_end.callback(loop.close)
    at_end.callback(lambda: loop.run_until_complete(loop.shutdown_default_executor()))

    async def task(offsets: Iterable[int], keep: list[bytes] | None) -> None:
        async with opened() as read:
            for offset in offsets:
                data = await read(offset)
                if len(data) != job.size:
                    raise Wrong(offset)
                if keep is not None:
                    keep.append(data)

    async def all_tasks() -> None:
        await asyncio.gather(*(task(job.offsets[index :: job.depth], None) for index in range(job.depth)))

    def complete(coroutine: Coroutine[Any, Any, None]) -> None:
        loop.run_until_complete(coroutine)

    def read(sample: array[int]) -> list[bytes]:
        kept: list[bytes] = []
        complete(task(sample, kept))
        return kept

    def run() -> Outcome:
        complete(all_tasks())
        return job.outcome(read)

    complete(task(job.offsets[:1], []))
    return run


class Shared:
    """An async context manager of what all tasks share."""

    def __init__(self, read: Callable[[int], Awaitable[bytes]]) -> None:
        self.read = read

    async def __aenter__(self) -> Callable[[int], Awaitable[bytes]]:
        return self.read

    async def __aexit__(self, *_: object) -> None:
        pass


def caio(job: Job, at_end: ExitStack) -> Run:
    """The package caio, with the backend that it chooses; new bytes for each."""
    module = package("caio")
    fd, size = job.open(at_end), job.size
    contexts: list[Any] = []

    def opened() -> Shared:
        if not contexts:  # it wants a running loop
            contexts.append(module.AsyncioContext(max_requests=max(32, job.depth)))
            closing.callback(contexts[0].close)
        return Shared(lambda offset: contexts[0].read(size, fd, offset))

    closing = ExitStack()
    run = asyncio_lane(job, at_end, opened)
    at_end.push(closing)  # before the loop is closed
    return run


class AioFile:
    """A file of aiofiles, for one task."""

    def __init__(self, module: Any, job: Job) -> None:
        flags = os.O_RDONLY | (os.O_DIRECT if job.direct else 0)
        self.file = module.open(job.path, "rb", buffering=0, opener=lambda path, _flags: os.open(path, flags))
        self.size = job.size

    async def __aenter__(self) -> Callable[[int], Awaitable[bytes]]:
        file = await self.file.__aenter__()

        async def read(offset: int) -> bytes:
            await file.seek(offset)
            data: bytes = await file.read(self.size)
            return data

        return read

    async def __aexit__(self, *about: object) -> None:
        await self.file.__aexit__(*about)


def aiofiles(job: Job, at_end: ExitStack) -> Run:
    """The package aiofiles: a file for each task, seek and read; new bytes for each."""
    module = package("aiofiles")
    return asyncio_lane(job, at_end, lambda: AioFile(module, job))


# --- fio ---------------------------------------------------------------------------------------------


def fio_command(job: Job) -> list[str]:
    """How fio reads as many blocks of the same file at random, as all comparisons with it are meant.

    Raises:
        Missing: it is not installed.
    """
    program = shutil.which("fio")
    if program is None:
        raise Missing("fio is not installed")
    return [
        *(program, "--name=reads", f"--filename={job.path}", "--allow_file_create=0", "--output-format=json"),
        *("--ioengine=io_uring", "--direct=1", "--rw=randread", f"--bs={job.size}", f"--iodepth={job.depth}"),
        *("--iodepth_batch_submit=32", "--iodepth_batch_complete_max=32", "--registerfiles", "--fixedbufs"),
        *("--time_based=0", f"--size={job.path.stat().st_size}", f"--io_size={len(job.offsets) * job.size}"),
    ]


def fio(job: Job, _at_end: ExitStack) -> Run:
    """The program fio over the same file, all registered; it chooses its own places, and verifies nothing."""
    command = fio_command(job)
    with ExitStack() as probing:
        job.open(probing)

    def run() -> Outcome:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"fio failed: {done.stderr.strip()[-300:]}")
        found = json.loads(done.stdout[done.stdout.index("{") :])["jobs"][0]
        reads, wall = found["read"]["total_ios"], found["read"]["total_ios"] * 1e9 / found["read"]["iops"]
        if found["error"] or reads != len(job.offsets):
            raise Wrong(f"expected {len(job.offsets)} reads, fio made {reads} (error {found['error']})")
        busy = found["job_runtime"] * 1e6 / 100  # of which its percentages are
        return Outcome(
            reads,
            reads * job.size,
            measured=Measured(round(wall), *(round(found[f"{kind}_cpu"] * busy) for kind in ("usr", "sys"))),
        )

    return run
