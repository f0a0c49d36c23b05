"""What lanes that read or write a file are given: which file, where, how much, how many at once.

A lane's timed runs bring bytes into few buffers that are used in turn, since keeping them would measure memory. So what
is verified is a sample of the same places, read by the same means into memory of its own, when the clock has stopped.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import subprocess
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from .compiled import SOURCES, compiled
from .harness import Bench, Lane, Measured, Missing, Outcome, Point, Run, Wrong
from .workspace import Workspace

SAMPLE = 128
SAMPLE_BYTES = 16 << 20
SEED = 1


class Places(NamedTuple):
    """Where to read or write, as an array, and as a file of 64-bit integers for programs."""

    offsets: array[int]
    path: Path
    sample: array[int]
    """Some of them, to be verified."""
    sample_path: Path


def places(workspace: Workspace, name: str, size: int, make: Callable[[], Iterable[int]]) -> Places:
    """Places, made once and kept; `name` says what is in them, `size` how many bytes are at each."""
    path, sample_path = (workspace.root / f"places.{name}{end}" for end in ("", ".sample"))
    if not (path.is_file() and sample_path.is_file()):
        made = array("q", make())
        store(path, made)
        count = max(1, min(SAMPLE, SAMPLE_BYTES // size, len(made)))
        store(sample_path, made[:: len(made) // count][:count])
    return Places(loaded(path), path, loaded(sample_path), sample_path)


def store(path: Path, numbers: array[int]) -> None:
    """Write an array to a file that is there whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(numbers.tobytes())
    fresh.replace(path)


def loaded(path: Path) -> array[int]:
    """An array of 64-bit integers from a file."""
    found = array("q")
    found.frombytes(path.read_bytes())
    return found


def at_random(workspace: Workspace, file_size: int, size: int, count: int, first: int = 0) -> Places:
    """`count` places of a file in random order: each block once, and all of them again when there are not enough.

    Args:
        workspace: keeps them.
        file_size: bytes of the file.
        size: bytes of a block, which is aligned to that.
        count: how many places.
        first: the first block that is used.
    """

    def make() -> Iterator[int]:
        blocks = list(range(first, file_size // size))
        random.Random(SEED).shuffle(blocks)
        return (blocks[index % len(blocks)] * size for index in range(count))

    return places(workspace, f"random.{file_size}.{size}.{count}.{first}", size, make)


def in_sequence(workspace: Workspace, file_size: int, size: int) -> Places:
    """All blocks of a file, one after the other."""
    return places(workspace, f"sequence.{file_size}.{size}", size, lambda: range(0, file_size, size))


class Job(NamedTuple):
    """Transfers of `size` bytes at places of one file, `depth` at once where a lane can."""

    bench: Bench
    path: Path
    places: Places
    size: int
    depth: int = 1
    direct: bool = False
    write: bool = False
    sync_every: int = 0
    """Writes between two fdatasyncs, of which another one comes at the end; 0: none."""

    @property
    def offsets(self) -> array[int]:
        """Where."""
        return self.places.offsets

    @property
    def entries(self) -> int:
        """Of a ring that has room for it."""
        return min(32768, max(64, self.depth))

    def shorter(self, divisor: int) -> Job:
        """The first places only, for a lane that would take too long; at least as many as are at once."""
        count = min(len(self.offsets), max(2 * self.depth, len(self.offsets) // divisor))
        return self._replace(places=self.places._replace(offsets=self.offsets[:count]))

    def open(self, at_end: ExitStack) -> int:
        """A descriptor.

        Raises:
            Missing: a file system without O_DIRECT.
        """
        flags = os.O_RDWR if self.write else os.O_RDONLY
        if self.direct:
            return self.bench.workspace.open_direct(self.path, flags, at_end)
        fd = os.open(self.path, flags)
        at_end.callback(os.close, fd)
        return fd

    def memory(self, slots: int) -> memoryview:
        """Aligned memory whose pages are there, for so many transfers; with what is to be written."""
        area = mmap.mmap(-1, slots * self.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.write(self.block() * slots if self.write else bytes(len(area)))
        return memoryview(area)

    def block(self) -> bytes:
        """What is written everywhere: the file's first block, where nobody writes. `window.c` does the same."""
        with self.path.open("rb") as file:
            return file.read(self.size)

    def buffers(self, slots: int) -> list[memoryview]:
        """The same memory in pieces."""
        whole = self.memory(slots)
        return [whole[slot * self.size :][: self.size] for slot in range(slots)]

    def outcome(self, read: Callable[[array[int]], Iterable[Any]] | None) -> Outcome:
        """What a run has done.

        Args:
            read: reads given places by the lane's own means; None for writes, of which the file itself tells.
        """
        digest = self.written if self.write or read is None else lambda: digest_of(read(self.places.sample))
        return Outcome(len(self.offsets), len(self.offsets) * self.size, digest)

    def written(self) -> str:
        """The digest of what is in the file at the sample's places, those that a shorter job has."""
        with self.path.open("rb", buffering=0) as file:
            return digest_of(os.pread(file.fileno(), self.size, offset) for offset in self.places.sample)

    def spoil(self) -> None:
        """Overwrite the sample's places, so that it shows when a run does not write there."""
        fd = os.open(self.path, os.O_WRONLY)
        for offset in self.places.sample:
            os.pwrite(fd, bytes(self.size), offset)
        os.fsync(fd)
        os.close(fd)


Make = Callable[[Bench, Point], Job]


Open = Callable[..., Run]


def job_lane(
    name: str,
    what: str,
    make: Make,
    function: Open,
    divisor: int = 1,
    *,
    depths: tuple[int, ...] | None = None,
    before: Callable[[Bench, Point], None] | None = None,
    **options: Any,
) -> Lane:
    """A lane over the job of a point.

    Args:
        name: of the lane.
        what: a line for the reader.
        make: the job of a point.
        function: opens the lane: (job, at_end, **options).
        divisor: it does only this part of the job, and says so: it would take too long.
        depths: where it runs; None: everywhere.
        before: what comes before each run.
        options: for `function`.
    """

    def opened(bench: Bench, point: Point, at_end: ExitStack) -> Run:
        job = make(bench, point)
        if depths is not None and job.depth not in depths:
            raise Missing(f"not at this depth, but at {', '.join(map(str, depths))}")
        return function(job if divisor == 1 else job.shorter(divisor), at_end, **options)

    part = "" if divisor == 1 else f"; does a {divisor}th of the work"
    return Lane(name, what + part, opened, before)


def digest_of(pieces: Iterable[Any]) -> str:
    """Of bytes-like objects, one behind the other."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def program(name: str, operations: int, nbytes: int = 0, pass_fds: tuple[int, ...] = (), **arguments: Any) -> Outcome:
    """Run one of our C programs, which measures itself.

    Args:
        name: of the source, without its suffix.
        operations: that it does.
        nbytes: that it transfers.
        pass_fds: descriptors that it inherits.
        arguments: what it is given, as name=value; None is left out.

    Raises:
        Wrong: it failed.
        Missing: it cannot be compiled.
    """
    command = [str(compiled(SOURCES / f"{name}.c"))]
    command += [f"{key}={value}" for key, value in arguments.items() if value is not None]
    done = subprocess.run(command, capture_output=True, text=True, check=False, pass_fds=pass_fds)
    if done.returncode:
        raise Wrong(f"{name} failed: {done.stderr.strip()}")
    return Outcome(operations, nbytes, measured=Measured(*map(int, done.stdout.split())))


def c_lane(job: Job, _at_end: ExitStack, *, program_name: str = "window", setup: int | None = None, **more: Any) -> Run:
    """Our C program over the same places: `window`, or `plain` without io_uring."""
    compiled(SOURCES / f"{program_name}.c")
    if job.direct:
        with ExitStack() as probing:
            job.open(probing)
    arguments: dict[str, Any] = {"file": job.path, "size": job.size, "direct": int(job.direct), **more}
    if program_name == "window":
        arguments |= {"depth": job.depth, "setup": ring_setup() if setup is None else setup}
    count = len(job.offsets)

    def run() -> Outcome:
        writing: dict[str, Any] = {"write": 1, "sync_every": job.sync_every} if job.write else {}
        done = program(
            program_name, count, count * job.size, offsets=job.places.path, count=count, **arguments, **writing
        )
        return done._replace(digest=job.written if job.write else verified)

    def verified() -> str:
        dumped, sample = job.bench.workspace.root / f"dump.{os.getpid()}", len(job.places.sample)
        slots: dict[str, Any] = {"slots": sample} if program_name == "window" else {}
        try:
            program(program_name, 1, offsets=job.places.sample_path, count=sample, dump=dumped, **arguments, **slots)
            return digest_of([dumped.read_bytes()])
        finally:
            dumped.unlink(missing_ok=True)

    return run


def ring_setup() -> int:
    """The flags that Ring chooses, so that a C program's ring is set up in the same way."""
    from uring.flags import Setup
    from uring.ring import Ring

    with Ring(64) as ring:
        return int(ring.flags & ~Setup.NO_SQARRAY)  # liburing sets that by itself
