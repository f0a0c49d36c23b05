"""What others read and write with, as lanes over given places of a file.

Each function opens a lane that does all of a `Job`. Lanes that read into one buffer of their own again and again say
so; what they have read is verified apart from the measured runs, on the first places.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import mmap
import os
import shutil
import subprocess
import sys
from array import array
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from .compiled import compiled, run_program
from .harness import Done, Measured, Missing, Ready

SAMPLE = 200


class Job(NamedTuple):
    """Reads of one file: `size` bytes at each of `offsets`, `depth` at once where a lane can."""

    path: Path
    offsets: array[int]
    offsets_path: Path
    size: int
    depth: int
    direct: bool
    before: Callable[[], None] | None = None

    @property
    def done(self) -> Done:
        """What a run has done."""
        return Done(len(self.offsets), len(self.offsets) * self.size)

    def part(self, count: int) -> Job:
        """Its first places."""
        return self._replace(offsets=self.offsets[:count])

    def open(self, at_end: ExitStack) -> int:
        """A descriptor.

        Raises:
            Missing: a file system without O_DIRECT.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | (os.O_DIRECT if self.direct else 0))
        except OSError as error:
            raise Missing(f"O_DIRECT: {error}") from error
        at_end.callback(os.close, fd)
        return fd

    def buffer(self, count: int = 1) -> memoryview:
        """Aligned memory whose pages are there."""
        memory = mmap.mmap(-1, count * self.size)
        memory.write(bytes(len(memory)))
        return memoryview(memory)

    def ready(self, run: Callable[[], object], read: Callable[[int], bytes] | None) -> Ready:
        """A lane that does all of it, and can read one place by the same means."""

        def whole() -> Done:
            run()
            return self.done

        return Ready(
            whole, None if read is None else lambda: self.digest(map(read, self.offsets[:SAMPLE])), self.before
        )

    @staticmethod
    def digest(pieces: Iterator[bytes]) -> str:
        """Of what was read."""
        found = hashlib.sha256()
        for piece in pieces:
            found.update(piece)
        return found.hexdigest()


class Wrong(Exception):
    """A read of another length than was asked for."""


def module(name: str, extra: str = "") -> Any:
    """A rival's module.

    Raises:
        Missing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"the package {name} is not installed: pip install '.[bench]'{extra}") from error


# --- Python's own ------------------------------------------------------------------------------------


def os_pread(job: Job, at_end: ExitStack) -> Ready:
    """os.pread, a new bytes object for each."""
    fd, size, pread = job.open(at_end), job.size, os.pread
    if job.direct:
        raise Missing("os.pread allocates memory that O_DIRECT does not take")

    def run() -> None:
        for offset in job.offsets:
            if len(pread(fd, size, offset)) != size:
                raise Wrong(offset)

    return job.ready(run, lambda offset: pread(fd, size, offset))


def os_preadv(job: Job, at_end: ExitStack) -> Ready:
    """os.preadv into one buffer that is used again."""
    fd, size, preadv, buffer = job.open(at_end), job.size, os.preadv, job.buffer()
    buffers = [buffer]

    def run() -> None:
        for offset in job.offsets:
            if preadv(fd, buffers, offset) != size:
                raise Wrong(offset)

    def read(offset: int) -> bytes:
        preadv(fd, buffers, offset)
        return bytes(buffer)

    return job.ready(run, read)


def os_read(job: Job, at_end: ExitStack) -> Ready:
    """os.read of one block after the other; the places must be a sequence."""
    fd, size, read = job.open(at_end), job.size, os.read
    if job.direct:
        raise Missing("os.read allocates memory that O_DIRECT does not take")

    def run() -> None:
        os.lseek(fd, job.offsets[0], os.SEEK_SET)
        for offset in job.offsets:
            if len(read(fd, size)) != size:
                raise Wrong(offset)

    return job.ready(run, lambda offset: os.pread(fd, size, offset))


def mmap_slices(job: Job, at_end: ExitStack) -> Ready:
    """Slices of a mapping, a new bytes object for each."""
    if job.direct:
        raise Missing("a mapping goes through the page cache")
    fd, size = job.open(at_end), job.size
    area = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    at_end.callback(area.close)

    def run() -> None:
        for offset in job.offsets:
            if len(area[offset : offset + size]) != size:
                raise Wrong(offset)

    return job.ready(run, lambda offset: area[offset : offset + size])


def threads_idiomatic(job: Job, at_end: ExitStack) -> Ready:
    """A ThreadPoolExecutor with a task for each read, as it is mostly written."""
    fd, size, depth = job.open(at_end), job.size, job.depth
    pool = at_end.enter_context(ThreadPoolExecutor(depth))
    memory = job.buffer(depth)
    free = [memory[i * size : (i + 1) * size] for i in range(depth)]

    def one(offset: int) -> int:
        buffer = free.pop()
        count = os.preadv(fd, [buffer], offset)
        free.append(buffer)
        return count

    def run() -> None:
        for count in pool.map(one, job.offsets):
            if count != size:
                raise Wrong(count)

    def read(offset: int) -> bytes:
        pool.submit(one, offset).result()
        return bytes(free[-1])

    return job.ready(run, read)


def threads_tight(job: Job, at_end: ExitStack) -> Ready:
    """As many threads, each with its share of the places in one loop."""
    fd, size, depth = job.open(at_end), job.size, job.depth
    pool = at_end.enter_context(ThreadPoolExecutor(depth))
    buffers = [job.buffer() for _ in range(depth)]
    shares = [job.offsets[i::depth] for i in range(depth)]

    def work(buffer: memoryview, offsets: array[int]) -> None:
        preadv, into = os.preadv, [buffer]
        for offset in offsets:
            if preadv(fd, into, offset) != size:
                raise Wrong(offset)

    def run() -> None:
        for _ in pool.map(work, buffers, shares):
            pass

    def read(offset: int) -> bytes:
        pool.submit(work, buffers[0], array("q", [offset])).result()
        return bytes(buffers[0])

    return job.ready(run, read)


# --- packages ----------------------------------------------------------------------------------------


def _workers(job: Job, one: Callable[[int], Awaitable[bytes]]) -> Callable[[], Any]:
    """As many tasks of asyncio as the depth, each with its share of the places."""

    async def worker(offsets: array[int]) -> None:
        for offset in offsets:
            if len(await one(offset)) != job.size:
                raise Wrong(offset)

    async def everything() -> None:
        await asyncio.gather(*(worker(job.offsets[i :: job.depth]) for i in range(job.depth)))

    return everything


def caio(job: Job, at_end: ExitStack) -> Ready:
    """The package caio, with its own choice of backend, in asyncio tasks."""
    package = module("caio")
    if job.direct:
        raise Missing("caio allocates memory that O_DIRECT does not take")
    fd, size = job.open(at_end), job.size
    loop = asyncio.new_event_loop()
    at_end.callback(loop.close)
    context = package.AsyncioContext(loop=loop, max_requests=max(32, job.depth))

    def one(offset: int) -> Awaitable[bytes]:
        found: Awaitable[bytes] = context.read(size, fd, offset)
        return found

    async def read(offset: int) -> bytes:
        return await one(offset)

    def close() -> None:
        context.close()

    at_end.callback(close)
    everything = _workers(job, one)
    return job.ready(lambda: loop.run_until_complete(everything()), lambda at: loop.run_until_complete(read(at)))


def aiofiles(job: Job, at_end: ExitStack) -> Ready:
    """The package aiofiles: seek and read in asyncio tasks, a file for each."""
    package = module("aiofiles")
    if job.direct:
        raise Missing("aiofiles allocates memory that O_DIRECT does not take")
    loop = asyncio.new_event_loop()
    at_end.callback(loop.close)
    at_end.callback(lambda: loop.run_until_complete(loop.shutdown_default_executor()))

    async def worker(offsets: array[int]) -> bytes:
        data = b""
        async with package.open(job.path, "rb", buffering=0) as file:
            for offset in offsets:
                await file.seek(offset)
                data = await file.read(job.size)
                if len(data) != job.size:
                    raise Wrong(offset)
        return data

    async def everything() -> None:
        await asyncio.gather(*(worker(job.offsets[i :: job.depth]) for i in range(job.depth)))

    def read(offset: int) -> bytes:
        return loop.run_until_complete(worker(array("q", [offset])))

    return job.ready(lambda: loop.run_until_complete(everything()), read)


def pypi_liburing(job: Job, at_end: ExitStack) -> Ready:
    """The package liburing as its documentation shows it, so many reads for each submit; unsafe."""
    other = module("liburing")
    if job.direct:
        raise Missing("it takes bytes and bytearray only, whose memory O_DIRECT does not take")
    fd, size, depth = job.open(at_end), job.size, job.depth
    ring, cqe = other.Ring(), other.Cqe()
    other.io_uring_queue_init(max(8, depth), ring, 0)
    at_end.callback(other.io_uring_queue_exit, ring)
    buffers = [bytearray(size) for _ in range(depth)]

    def turn(offsets: array[int]) -> None:
        for index, offset in enumerate(offsets):
            sqe = other.io_uring_get_sqe(ring)
            other.io_uring_prep_read(sqe, fd, buffers[index], offset, size)
            other.io_uring_sqe_set_data64(sqe, index)
        other.io_uring_submit_and_wait(ring, len(offsets))
        seen = 0
        walk = other.io_uring_cqe_iter_init(ring)
        while other.io_uring_cqe_iter_next(walk, cqe):
            if cqe[0].res != size:
                raise Wrong(cqe[0].res)
            seen += 1
        other.io_uring_cq_advance(ring, seen)
        if seen != len(offsets):
            raise Wrong(seen)

    def run() -> None:
        for start in range(0, len(job.offsets), depth):
            turn(job.offsets[start : start + depth])

    def read(offset: int) -> bytes:
        turn(array("q", [offset]))
        return bytes(buffers[0])

    return job.ready(run, read)


# --- C -----------------------------------------------------------------------------------------------


def c_window(job: Job, _at_end: ExitStack, *, registered: bool = False, setup: int | None = None) -> Ready:
    """Our C program with a sliding window."""
    program = compiled("window")
    flags = ring_setup() if setup is None else setup
    arguments = (
        *(job.path, job.offsets_path, len(job.offsets), job.size, job.depth),
        *(int(job.direct), int(registered), 0, flags),
    )

    def run() -> Done:
        return run_program(program, len(job.offsets), len(job.offsets) * job.size, *arguments)

    return Ready(run, before=job.before)


def c_pread(job: Job, _at_end: ExitStack) -> Ready:
    """Our C program with pread."""
    program = compiled("pread")
    arguments = job.path, job.offsets_path, len(job.offsets), job.size, int(job.direct)
    return Ready(
        lambda: run_program(program, len(job.offsets), len(job.offsets) * job.size, *arguments), before=job.before
    )


def ring_setup() -> int:
    """The flags that Ring chooses, so that C's ring is set up in the same way."""
    from uring.flags import Setup
    from uring.ring import Ring

    with Ring(64) as ring:
        return int(ring.flags & ~Setup.NO_SQARRAY)  # liburing sets that by itself


def fio(job: Job, _at_end: ExitStack) -> Ready:
    """Fio with io_uring, registered files and buffers, and as many random reads."""
    program = shutil.which("fio")
    if program is None:
        raise Missing("fio is not installed")
    count = len(job.offsets)
    options = [
        *("--ioengine=io_uring", "--direct=1", "--rw=randread", f"--bs={job.size}", f"--iodepth={job.depth}"),
        *("--iodepth_batch_submit=32", "--iodepth_batch_complete_max=32", "--registerfiles", "--fixedbufs"),
        *(f"--filename={job.path}", f"--size={job.path.stat().st_size}", f"--io_size={count * job.size}"),
        *("--name=reads", "--allow_file_create=0", "--output-format=json"),
    ]

    def run() -> Done:
        printed = subprocess.run([program, *options], capture_output=True, text=True, check=True).stdout
        found = json.loads(printed[printed.index("{") :])["jobs"][0]
        reads, runtime = found["read"]["total_ios"], found["read"]["iops"]
        wall = reads / runtime * 1e9
        busy = found["job_runtime"] * 1e6 / 100
        return Done(reads, reads * job.size, measured=Measured(wall, found["usr_cpu"] * busy, found["sys_cpu"] * busy))

    return Ready(run, before=job.before)


# --- uring -------------------------------------------------------------------------------------------


def bulk(job: Job, at_end: ExitStack, *, register: bool | None = None, params: Any = None) -> Ready:
    """A plan of bulk reads into as many buffers as the window has places, again and again."""
    import uring

    fd = job.open(at_end)
    entries = max(64, 1 << (job.depth - 1).bit_length())
    ring = at_end.enter_context(uring.Ring(min(entries, 32768), params))
    memory = job.buffer(job.depth)
    places = array("q", (index % job.depth * job.size for index in range(len(job.offsets))))
    settings: dict[str, Any] = {"depth": job.depth, "register": register}
    plan = at_end.enter_context(ring.plan_reads(fd, job.offsets, job.size, memory, positions=places, **settings))
    keep = uring.aligned_buffer(SAMPLE * job.size)

    def run() -> None:
        if plan.run().failed:
            raise Wrong

    def check() -> str:
        result = ring.read_many(fd, job.offsets[:SAMPLE], job.size, keep, depth=job.depth)
        result.raise_for_error()
        return job.digest(bytes(result[index]) for index in range(len(result)))

    return job.ready(run, None)._replace(check=check)


def operations(job: Job, at_end: ExitStack) -> Ready:
    """uring.Ring: an Operation for each read, so many for each submit."""
    import uring

    fd, size, depth = job.open(at_end), job.size, job.depth
    ring = at_end.enter_context(uring.Ring(max(8, min(depth, 32768))))
    memory = job.buffer(depth)
    buffers = [memory[i * size : (i + 1) * size] for i in range(depth)]

    def run() -> None:
        read, offsets = ring.read, job.offsets
        for start in range(0, len(offsets), depth):
            part = offsets[start : start + depth]
            for buffer, offset in zip(buffers, part, strict=False):
                read(fd, buffer, offset)
            for operation in ring.wait(len(part)):
                if operation.result() != size:
                    raise Wrong(operation)

    def one(offset: int) -> bytes:
        ring.read(fd, buffers[0], offset).result()
        return bytes(buffers[0])

    return job.ready(run, one)


def fused_reads(job: Job, at_end: ExitStack) -> Ready:
    """uring.fused: a call for each read, one for each batch of completions; memory is the caller's."""
    from uring import fused
    from uring import liburing as L

    fd, size, depth = job.open(at_end), job.size, job.depth
    ring = L.io_uring()
    if L.io_uring_queue_init(max(8, depth), ring, ring_setup()) < 0:
        raise Missing("io_uring_queue_init fails")
    at_end.callback(L.io_uring_queue_exit, ring)
    r = fused.attach(ring, max(8, depth))
    at_end.callback(fused.detach, r)
    memory = job.buffer(depth)
    address = L.ffi.from_buffer(memory)
    addresses = [address + i * size for i in range(depth)]

    def turn(offsets: array[int]) -> None:
        read = fused.uring_read
        index = 0
        for offset in offsets:
            read(r, index, 0, fd, addresses[index], size, offset)
            index += 1
        seen = 0
        while seen < index:
            for _user_data, res, _flags in fused.completions(r, fused.uring_wait(r, index - seen, -1)):
                if res != size:
                    raise Wrong(res)
                seen += 1

    def run() -> None:
        for start in range(0, len(job.offsets), depth):
            turn(job.offsets[start : start + depth])

    def one(offset: int) -> bytes:
        turn(array("q", [offset]))
        return bytes(memory[:size])

    return job.ready(run, one)


def child(code: str, *arguments: object) -> str:
    """What a Python program prints in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
