"""Bulk reads and writes: one call for many requests, with the loop in C and the GIL free.

A plan holds what is to be done, checked and ready for C; running it makes a Job (bulk_job.py). `read_many` and
`write_many` make a plan and run it once.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ._native import ffi, lib
from .builders.arguments import number
from .bulk_input import Integers, Memory, Numbers, constant, count_of, files, memory, numbers, series, view_of
from .bulk_job import Job, Progress
from .bulk_results import BulkResult, TransferResult
from .registered_buffers import RegisteredBuffers
from .registered_files import RegisteredFiles
from .types import FIXED_FILE, SKIP_SUCCESS, Nanoseconds, Options, pack

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .ring import Ring

Sync = Literal["fsync", "fdatasync"]

DEPTH = 128
DEPTH_MAX = 1 << 16
REGISTER_FROM = 4096  # requests: fewer do not earn back what registering a file costs
REUSED = 4  # requests for each page of the memory: fewer do not earn back what registering it costs
PIECE = 1 << 30  # bytes of one registered buffer at most
ALIGNMENT = 4096  # what every disk of today accepts
BOUNCE_MAX = 1 << 20
LONGEST = (1 << 63) - 1
MADV_POPULATE_WRITE = 23
FAULTS = {
    lib.URING_BULK_BAD_FILE: "is not a descriptor",
    lib.URING_BULK_BAD_OFFSET: "has an offset that does not fit 63 bits or is negative",
    lib.URING_BULK_BAD_LENGTH: "has a length that is negative or leads beyond what a file can have",
    lib.URING_BULK_BAD_POSITION: "has a negative position",
    lib.URING_BULK_BAD_END: "reaches beyond the end of its buffer",
}


class Work:
    """Reads or writes, as the caller has given them, checked; what both backends start from.

    Attributes:
        write: whether it writes.
        count: requests.
        files, offsets, lengths, positions: their numbers.
        memory: what they read into or write from, or None where each has a buffer of its own.
        buffers: those buffers.
        out: what the result shows.
        options: packed; with FIXED_FILE where the files are registered ones.
        keep: what the files must keep alive.
        longest: bytes of the longest request.
    """

    def __init__(
        self,
        ring: Any,
        fd: Any,
        offsets: Any,
        lengths: Any,
        given: Any,
        *,
        write: bool,
        positions: Any = None,
        options: Options | None = None,
    ) -> None:
        options = options or {}
        self.write, self.name = write, "write" if write else "read"
        packed = pack(options) if options else 0
        if packed & SKIP_SUCCESS:
            raise ValueError("skip_success is not for bulk calls: each request is reported")
        if options.get("buffer_group") is not None or options.get("drain"):
            raise ValueError("bulk calls take no buffer_group and no drain")
        self.files, self.options, self.keep = files(fd, ring, packed)
        self.offsets = numbers(offsets, "offsets")
        self.buffers: list[Memory] | None = None
        self.memory: Memory | None = None
        if isinstance(given, (list, tuple)):
            self.buffers = [memory(each, ring, write=not write) for each in given]
            if positions is not None:
                raise ValueError("positions are for one buffer: these are several")
        elif given is not None:
            self.memory = memory(given, ring, write=not write)
        elif write:
            raise TypeError("what is to be written is missing")
        sizes = None if self.buffers is None else [each.size for each in self.buffers]
        if lengths is None and sizes is None:
            raise TypeError("lengths may be left out for a list of buffers only, which are then used whole")
        self.lengths = numbers(sizes if lengths is None else lengths, "lengths")
        placed = None if positions is None else numbers(positions, "positions")
        self.count = count_of(
            {
                "fd": self.files.count,
                "offsets": self.offsets.count,
                "lengths": self.lengths.count,
                "positions": None if placed is None else placed.count,
                "buffers": None if sizes is None else len(sizes),
            }
        )
        self.out = given
        self._place(placed)
        self.check()

    def _place(self, placed: Numbers | None) -> None:
        """Decide where each request's bytes are, and allocate memory where none was given."""
        sums = ffi.new("int64_t[2]")
        packed = None
        if placed is None and self.buffers is None and self.lengths.count is not None:
            packed = ffi.new("int64_t[]", self.count)
        wrong = lib.uring_bulk_survey(self.struct(), packed or ffi.NULL, sums)
        if wrong >= 0:
            self._refuse(wrong, lib.URING_BULK_BAD_LENGTH)
        total, self.longest = int(sums[0]), int(sums[1])
        if placed is not None:
            self.positions = placed
        elif packed is not None:
            self.positions = Numbers(self.count, (packed, 0, 0, 8, 0), packed, packed)
        elif self.longest and self.buffers is None:
            self.positions = series(range(0, total, self.longest))
        else:
            self.positions = constant(0)
        if self.memory is None and self.buffers is None:
            if placed is not None:
                raise ValueError("positions are for a buffer that is given")
            fresh = allocate(total)
            self.out, self.memory = fresh, memory(fresh, None, write=True)

    def struct(self) -> Any:
        """The work as a `struct uring_bulk *`, without what belongs to a run."""
        c = ffi.new("struct uring_bulk *")
        self.fill(c)
        return c

    def fill(self, c: Any) -> None:
        """Write the work into a `struct uring_bulk`."""
        c.kind = lib.URING_BULK_WRITE if self.write else lib.URING_BULK_READ
        c.buffer_index = c.bounce_index = -1
        for name in ("files", "offsets", "lengths", "positions"):
            given = getattr(self, name, None)
            if given is not None:
                setattr(c, name, given.fields)
        c.count = getattr(self, "count", 0)
        if self.memory is not None:
            c.memory, c.memory_size = self.memory.address, self.memory.size

    def vectors(self) -> Any:
        """An `iovec` for each buffer of its own, or NULL."""
        if self.buffers is None:
            return ffi.NULL
        return ffi.new("struct iovec[]", [(each.address, each.size) for each in self.buffers])

    def check(self) -> None:
        """Refuse requests that cannot be: numbers out of range, bytes outside of the memory.

        Raises:
            ValueError: the first of them, and why.
        """
        c = self.struct()
        c.vectors = vectors = self.vectors()
        fault = ffi.new("int32_t *")
        wrong = lib.uring_bulk_check(c, fault)
        del vectors
        if wrong >= 0:
            self._refuse(wrong, fault[0])

    def _refuse(self, index: int, fault: int) -> None:
        shown = [f"{name} {numbers[index]}" for name, numbers in (("offset", self.offsets), ("length", self.lengths))]
        raise ValueError(f"{self.name} {index} ({', '.join(shown)}) {FAULTS[fault]}")

    def subject(self, index: int) -> tuple[str, Any]:
        """What one request is about, for messages."""
        where = f"{self.lengths[index]} bytes at {self.offsets[index]}"
        kind = "registered file" if self.options & FIXED_FILE else "fd"
        return f"{self.name} of {where} {'to' if self.write else 'from'} {kind} {self.files[index]}", None

    def part(self, index: int) -> memoryview:
        """The memory of one request, from its beginning on."""
        if isinstance(self.out, (list, tuple)):
            return view_of(self.out[index])
        return view_of(self.out)[self.positions[index] :]

    def release(self) -> None:
        """Let go of memory and numbers, which can be resized then; what messages need stays."""
        self.memory = self.buffers = self.keep = None
        for each in (self.files, self.offsets, self.lengths, self.positions):
            each.release()

    def is_direct(self) -> bool:
        """Whether its first file was opened with O_DIRECT."""
        if self.options & FIXED_FILE or not self.count:
            return False
        try:
            return bool(fcntl.fcntl(self.files[0], fcntl.F_GETFL) & os.O_DIRECT)
        except OSError:
            return False  # the requests themselves will tell


def has_no_table(ring: Ring) -> bool:
    """Whether the ring has no table of registered files that is open."""
    return ring._file_slots is None or bool(ring._file_slots.closed)


def allocate(size: int) -> memoryview:
    """Aligned memory whose pages are there already, large ones where there are any."""
    if not size:
        return memoryview(bytearray())
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError, AttributeError):  # a kernel without
        area.madvise(mmap.MADV_HUGEPAGE)
    try:
        area.madvise(MADV_POPULATE_WRITE)
    except OSError:  # before 5.14
        area[:: mmap.PAGESIZE] = bytes(len(range(0, size, mmap.PAGESIZE)))
    return memoryview(area)


def alignment_of(widen: bool | int, write: bool) -> int:
    """Bytes that requests are widened to, 0 for none.

    Raises:
        TypeError, ValueError: no power of two from 512 to 1 MiB; writes, which would take bytes of others along.
    """
    if widen is False:
        return 0
    if write:
        raise ValueError("writes are not widened: that would write bytes that nobody has asked for")
    size = ALIGNMENT if widen is True else number(widen, "widen", BOUNCE_MAX, low=512)
    if size & (size - 1):
        raise ValueError(f"widen must be a power of two, not {size}")
    return size


class Plan:
    """Many reads or writes, checked and ready, to be run as often as you like; made by `Ring.plan_reads`.

    Numbers that were given as arrays of 32 or 64 bits are read where they are, at each run: change them in between, for
    another order or another selection of the same size. The same memory is used by each run.

    It holds on to the files and the memory, and to what was registered for it, until `close`, or the end of its block.
    """

    def __init__(
        self, ring: Ring, work: Work, *, depth: int | None, alignment: int, register: bool | None, often: bool
    ) -> None:
        if register not in (None, True, False):
            raise TypeError(f"register must be True, False or None, not {register!r}")
        self._ring, self._work, self._alignment, self._register = ring, work, alignment, register
        self._depth = None if depth is None else number(depth, "depth", DEPTH_MAX, low=1)
        self._often = often
        self._sync: tuple[int, int] | None = None
        self._files: RegisteredFiles | None = None
        self._buffers: RegisteredBuffers | None = None
        self._slots: list[Any] = []
        self._bounce: Any = None
        self._closed = False
        self._running = False

    def __len__(self) -> int:
        return self._work.count

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self)} {self._work.name}s"
        return f"<Plan {state}>"

    def run(self, *, timeout: float | Nanoseconds | None = None, progress: Progress | None = None) -> TransferResult:
        """Do all of it, and wait for it.

        Args:
            timeout: seconds, or Nanoseconds, for all of it. What is not complete by then is cancelled, and its error
                is ETIMEDOUT.
            progress: called with (complete, all) every 100 ms at most, and at the end.

        Returns:
            A TransferResult. Errors of requests are in it; nothing is raised for them.

        Raises:
            ValueError: the plan is closed, or numbers that were changed cannot be.
            RuntimeError: it is running, or a chain is open.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.6. Twin: `io_uring_prep_read` and its like, in a loop.
        """
        if self._closed:
            raise ValueError("the plan is closed")
        if self._running:
            raise RuntimeError("the plan is running")
        self._running = True
        try:
            self._ring._check()
            if self._often:
                self._work.check()
            work = self._work
            result = TransferResult(work.name, work.count, work.subject, work.out, work.part)
            self._job().run(result, timeout, progress)
            return result
        finally:
            self._running = False

    def _job(self) -> Job:
        work = self._work
        job = Job(self._ring, lib.URING_BULK_READ, work.count, self._depth, DEPTH)
        work.fill(job.c)
        job.set_options(work.options)
        # Not the work itself: it lets go of the memory when the plan is closed, and requests may outlive that.
        if work.memory is not None:
            job.keep.append(work.memory.keep)
        if work.buffers is not None:
            job.c.vectors = vectors = work.vectors()
            job.keep += [vectors, [each.keep for each in work.buffers]]
        if self._sync is not None:
            job.c.sync_flags, job.c.sync_every = self._sync
        self._prepare_bounce(job)
        self._use_registered(job)
        return job

    def _prepare_bounce(self, job: Job) -> None:
        if not self._alignment:
            return
        size = self._work.longest + 2 * self._alignment
        size = min(size + -size % self._alignment, max(BOUNCE_MAX, self._alignment))
        if self._bounce is None or len(self._bounce) < size * job.c.depth:
            self._bounce = allocate(size * job.c.depth)
        job.c.alignment, job.c.bounce_size = self._alignment, size
        job.c.bounce = memory(self._bounce, None, write=True).address
        job.keep.append(self._bounce)

    # --- registering what is used often ------------------------------------------------------------------

    def _use_registered(self, job: Job) -> None:
        work, c = self._work, job.c
        if work.memory is not None and work.memory.registered >= 0:
            c.buffer_index, c.buffer_span = work.memory.registered, max(1, work.memory.size)
        elif self._buffers is None and self._wants_buffers():
            self._buffers = self._registered(self._register_buffers)
        if self._buffers is not None and work.memory is not None:
            c.buffer_index, c.buffer_span = 0, PIECE
        if self._files is None and self._wants_file():
            self._files = self._registered(lambda: RegisteredFiles(self._ring, [work.files[0]], kernel_slots=0))
        if self._files is not None:
            file = self._files[0]
            job.keep.append(file)
            c.files = constant(int(file)).fields
            c.options |= FIXED_FILE

    def _registered(self, register: Callable[[], Any]) -> Any:
        try:
            return register()
        except (OSError, BufferError, RuntimeError):
            if self._register:
                raise
            return None  # the ring has such a table, or there is not enough memory to lock

    def _wants_file(self) -> bool:
        if self._register is False or self._work.options & FIXED_FILE or self._work.files.count is not None:
            return False
        is_free = has_no_table(self._ring) and not self._ring._native.in_flight
        return bool(self._register) or (is_free and self._work.count >= REGISTER_FROM)

    def _wants_buffers(self) -> bool:
        work = self._work
        if self._register is False or work.memory is None or not work.memory.size or self._alignment:
            return False
        # Memory that is used once is pinned once either way, and by reads from the page cache not at all.
        pages = work.memory.size // mmap.PAGESIZE
        is_reused = (self._often and work.is_direct()) or work.count >= max(REGISTER_FROM, REUSED * pages)
        return bool(self._register) or is_reused

    def _register_buffers(self) -> RegisteredBuffers:
        assert self._work.memory is not None
        view = self._work.memory.view()
        pieces = [view[at : at + PIECE] for at in range(0, len(view), PIECE)]
        table = RegisteredBuffers(self._ring, pieces)
        self._slots = [table.acquire(index) for index in range(len(pieces))]
        return table

    def close(self) -> None:
        """Let go of the files, the memory, and what was registered. Closing twice does nothing.

        Raises:
            RuntimeError: it is running.
            WrongThread, Forked: this is not the ring's owner.
        """
        if self._running:
            raise RuntimeError("the plan is running")
        self._closed = True
        self._work.release()
        files, self._files = self._files, None
        buffers, self._buffers = self._buffers, None
        self._slots = []
        if not self._ring.closed:
            if buffers is not None:
                buffers.close()
            if files is not None:
                files.close()

    def __enter__(self) -> Plan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def plan_reads(
    ring: Ring,
    fd: Any,
    offsets: Integers,
    lengths: Integers | None = None,
    out: Any = None,
    *,
    positions: Integers | None = None,
    depth: int | None = None,
    widen: bool | int = False,
    register: bool | None = None,
    often: bool = True,
    **options: Unpack[Options],
) -> Plan:
    """See Ring.plan_reads."""
    ring._check()
    alignment = alignment_of(widen, False)
    work = Work(ring, fd, offsets, lengths, out, write=False, positions=positions, options=options)
    return Plan(ring, work, depth=depth, alignment=alignment, register=register, often=often)


def plan_writes(
    ring: Ring,
    fd: Any,
    offsets: Integers,
    lengths: Integers | None,
    data: Any,
    *,
    positions: Integers | None = None,
    sync: Sync | None = None,
    sync_every: int | None = None,
    depth: int | None = None,
    register: bool | None = None,
    often: bool = True,
    **options: Unpack[Options],
) -> Plan:
    """See Ring.plan_writes."""
    ring._check()
    flush = sync_of(sync, sync_every)
    work = Work(ring, fd, offsets, lengths, data, write=True, positions=positions, options=options)
    plan = Plan(ring, work, depth=depth, alignment=0, register=register, often=often)
    plan._sync = flush
    return plan


def sync_of(sync: Sync | None, every: int | None) -> tuple[int, int] | None:
    """(fsync's flags, writes between flushes), or None where nothing is flushed.

    Raises:
        ValueError: an unknown `sync`; `sync_every` without it.
    """
    if sync not in (None, "fsync", "fdatasync"):
        raise ValueError(f"sync must be 'fsync', 'fdatasync' or None, not {sync!r}")
    if sync is None:
        if every is not None:
            raise ValueError("sync_every needs sync: 'fsync' or 'fdatasync'")
        return None
    flags = lib.IORING_FSYNC_DATASYNC if sync == "fdatasync" else 0
    return flags, LONGEST if every is None else number(every, "sync_every", LONGEST, low=1)


def run_once(plan: Plan, timeout: float | Nanoseconds | None, progress: Progress | None) -> TransferResult:
    """Run a plan, and close it."""
    with plan:
        return plan.run(timeout=timeout, progress=progress)


def nop_many(ring: Ring, count: int, *, depth: int | None = None) -> BulkResult:
    """See Ring.nop_many."""
    number(count, "count", LONGEST)
    wanted = None if depth is None else number(depth, "depth", DEPTH_MAX, low=1)
    result = BulkResult("nop", count, lambda index: (f"nop {index}", None))
    Job(ring, lib.URING_BULK_NOP, count, wanted, DEPTH).run(result, None, None)
    return result


__all__ = ["Plan", "nop_many", "plan_reads", "plan_writes", "run_once"]
