"""The layers of uring as lanes over a Job. Each function makes ready, and returns what does all of the work once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from .harness import Outcome, Run, Wrong
from .jobs import Job

if TYPE_CHECKING:
    from uring import Params, Ring

BATCH = 32


def in_turn(job: Job, slots: int) -> array[int]:
    """Where in the memory each transfer's bytes are: so many buffers, used in turn."""
    turn = array("q", range(0, slots * job.size, job.size))
    return (turn * (len(job.offsets) // slots + 1))[: len(job.offsets)]


def bulk(
    job: Job, at_end: ExitStack, *, plan: bool = False, register: bool | None = None, params: Params | None = None
) -> Run:
    """`read_many` or `write_many`, or a plan of it that is made once and run again."""
    import uring

    fd = job.open(at_end)
    ring = at_end.enter_context(uring.Ring(job.entries, params))
    slots = min(job.depth, len(job.offsets))
    where: dict[str, Any] = {"positions": in_turn(job, slots), "depth": job.depth, "register": register}
    memory = job.memory(slots)
    if job.write and job.sync_every:
        where |= {"sync": "fdatasync", "sync_every": job.sync_every}
    if plan:
        planned = ring.plan_writes if job.write else ring.plan_reads
        call: Callable[[], Any] = at_end.enter_context(planned(fd, job.offsets, job.size, memory, **where)).run
    else:
        transfer: Any = ring.write_many if job.write else ring.read_many
        call = partial(transfer, fd, job.offsets, job.size, memory, **where)

    def read(done: Any, sample: array[int]) -> Iterator[Any]:
        complete(done, job)
        memory = job.memory(len(sample))
        with uring.Ring(job.entries, params) as other:  # the plan's may have a table of registered files already
            result = other.read_many(fd, sample, job.size, memory, depth=job.depth, register=register)
        result.raise_for_error()
        return (result[index] for index in range(len(result)))

    def run() -> Outcome:
        result = call()
        if result.failed:
            result.raise_for_error()
        return job.outcome(partial(read, result))

    return run


def complete(result: Any, job: Job) -> None:
    """That each transfer was of all bytes.

    Raises:
        Wrong: one was not.
    """
    if bytes(result.counts) != (array("q", [job.size]) * len(job.offsets)).tobytes():
        raise Wrong(f"a count is not {job.size}")


class Window:
    """A window of transfers in flight, written in Python: what `operations` and `fused_calls` share."""

    def __init__(self, job: Job, at_end: ExitStack, buffers: bool, files: bool, params: Params | None) -> None:
        import uring

        self.job, self.depth = job, min(job.depth, len(job.offsets))
        self.wanted = max(1, min(BATCH, self.depth // 4))
        self.fd = job.open(at_end)
        self.ring: Ring = at_end.enter_context(uring.Ring(job.entries, params))
        self.file: Any = self.fd
        if files:
            self.file = at_end.enter_context(uring.RegisteredFiles(self.ring, [self.fd]))[0]
        self.memory: list[Any]
        if buffers:
            allocate = uring.RegisteredBuffers.allocate
            table = at_end.enter_context(allocate(self.ring, self.depth, job.size, huge_pages=False))
            self.memory = [table.acquire(index) for index in range(self.depth)]
            self.views = [slot.memory for slot in self.memory]
            for view in self.views:
                view[:] = job.block() if job.write else bytes(job.size)
        else:
            self.memory = self.views = job.buffers(self.depth)

    def transfer(self, offsets: Sequence[int]) -> None:
        """Transfer at these places, the next buffer for each."""
        raise NotImplementedError

    def flush(self) -> None:
        """An fdatasync."""
        self.ring.fsync(self.file, datasync=True).result()

    def read(self, offsets: Sequence[int]) -> Iterator[bytes]:
        """The bytes at these places."""
        for start in range(0, len(offsets), self.depth):
            part = offsets[start : start + self.depth]
            self.transfer(part)
            yield from (bytes(view) for view in self.views[: len(part)])

    def run(self) -> Outcome:
        """All of the job."""
        every = self.job.sync_every
        for start in range(0, len(self.job.offsets), every) if every else ():
            self.transfer(self.job.offsets[start : start + every])
            self.flush()
        if not every:
            self.transfer(self.job.offsets)
        return self.job.outcome(self.read)


class Operations(Window):
    """uring.Ring: an Operation for each."""

    def transfer(self, offsets: Sequence[int]) -> None:
        """As Window's."""
        ring, file, buffers, size = self.ring, self.file, self.memory, self.job.size
        start, wait, depth, wanted = ring.write if self.job.write else ring.read, ring.wait, self.depth, self.wanted
        in_flight = slot = 0
        for offset in offsets:
            if in_flight == depth:
                done: list[Any] = wait(wanted)
                for operation in done:
                    if operation.result() != size:
                        raise Wrong(operation)
                in_flight -= len(done)
            start(file, buffers[slot], offset)
            in_flight += 1
            slot += 1
            if slot == depth:
                slot = 0
        rest: list[Any] = wait(in_flight)
        for operation in rest:
            if operation.result() != size:
                raise Wrong(operation)


class FusedCalls(Window):
    """uring.fused: a call for each; memory is the caller's."""

    def __init__(self, job: Job, at_end: ExitStack, buffers: bool, files: bool, params: Params | None) -> None:
        from uring import fused
        from uring import liburing as L

        super().__init__(job, at_end, buffers, files, params)
        self.attached = fused.attach(self.ring.c_ring, self.job.entries * 2)
        at_end.callback(fused.detach, self.attached)
        self.options = L.IOSQE_FIXED_FILE if files else 0
        self.addresses = [L.ffi.from_buffer(view) for view in self.views]
        self.fixed = buffers

    def transfer(self, offsets: Sequence[int]) -> None:
        """As Window's."""
        from uring import fused

        r, fd, options, addresses = self.attached, int(self.file), self.options, self.addresses
        size, depth, wanted = self.job.size, self.depth, self.wanted
        wait, completions = fused.uring_wait, fused.completions
        plain = fused.uring_write if self.job.write else fused.uring_read
        fixed = (fused.uring_write_fixed if self.job.write else fused.uring_read_fixed) if self.fixed else None
        in_flight = slot = 0
        for offset in offsets:
            if in_flight == depth:
                for _user_data, res, _flags in completions(r, wait(r, wanted, -1)):
                    if res != size:
                        raise Wrong(res)
                    in_flight -= 1
            if fixed is None:
                plain(r, slot, options, fd, addresses[slot], size, offset)
            else:
                fixed(r, slot, options, fd, addresses[slot], size, offset, slot)
            in_flight += 1
            slot += 1
            if slot == depth:
                slot = 0
        while in_flight:
            for _user_data, res, _flags in completions(r, wait(r, in_flight, -1)):
                if res != size:
                    raise Wrong(res)
                in_flight -= 1


def operations(
    job: Job, at_end: ExitStack, *, buffers: bool = False, files: bool = False, params: Params | None = None
) -> Run:
    """uring.Ring: an Operation for each, and its result."""
    return Operations(job, at_end, buffers, files, params).run


def fused_calls(
    job: Job, at_end: ExitStack, *, buffers: bool = False, files: bool = False, params: Params | None = None
) -> Run:
    """uring.fused: a call for each request, one for many completions."""
    return FusedCalls(job, at_end, buffers, files, params).run


class LeasedOperations(Operations):
    """The same with a registered buffer that is acquired for each transfer and given back after it."""

    def __init__(self, job: Job, at_end: ExitStack) -> None:
        import uring

        super().__init__(job, at_end, buffers=False, files=True, params=None)
        allocate = uring.RegisteredBuffers.allocate
        self.table = at_end.enter_context(allocate(self.ring, self.depth, job.size, huge_pages=False))

    def transfer(self, offsets: Sequence[int]) -> None:
        """As Window's."""
        ring, file, acquire, size = self.ring, self.file, self.table.acquire, self.job.size
        slots: dict[Any, Any] = {}
        for offset in offsets:
            if len(slots) == self.depth:
                done: list[Any] = ring.wait(self.wanted)
                for operation in done:
                    if operation.result() != size:
                        raise Wrong(operation)
                    slots.pop(operation).release()
            slot = acquire()
            slots[ring.read(file, slot, offset)] = slot
        ring.wait(len(slots))
        for operation, slot in slots.items():
            if operation.result() != size:
                raise Wrong(operation)
            slot.release()

    def read(self, offsets: Sequence[int]) -> Iterator[bytes]:
        """As Window's."""
        for offset in offsets:
            with self.table.acquire() as slot:
                self.ring.read(self.file, slot, offset).result()
                yield bytes(slot.memory)


def leased_operations(job: Job, at_end: ExitStack) -> Run:
    """uring.Ring: a lease of a registered buffer, and an Operation, for each."""
    return LeasedOperations(job, at_end).run
