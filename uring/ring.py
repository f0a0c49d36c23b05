"""The ring: open, submit, wait.

How operations are queued and completions taken in is in flight.py, how a ring ends in closing.py, what is registered
with it in registration.py; the requests themselves are the builders'.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from . import probe
from ._native import ffi, lib
from .builders import AllBuilders
from .builders.arguments import number
from .bulk_calls import BulkCalls
from .closing import Closing, _rings
from .completion import Completion
from .errors import Unsupported, refusal
from .flags import Feature, Setup
from .flight import PASSING, REFUSALS
from .multishot import AGAIN
from .operation import KINDS, Operation
from .params import Params
from .registration import Registration
from .types import Descriptor, Nanoseconds, nanoseconds

if TYPE_CHECKING:
    from .chain import Chain


class Statistics(NamedTuple):
    """Counters of a ring."""

    in_flight: int
    """Operations that are prepared or submitted and not complete."""
    submitted: int
    """SQEs that the kernel has taken."""
    completed: int
    """CQEs that were taken in."""
    overflows: int
    """CQEs that the kernel had to keep back for want of room, or could not keep (`*koverflow`)."""
    sq_space: int
    """SQEs that can be prepared before a submit."""


def _mark_missing(ring: Any) -> None:
    """Find out once which opcodes the running kernel lacks."""
    probed = lib.io_uring_get_probe_ring(ring)
    if probed == ffi.NULL:
        return
    for kind in KINDS:
        if not lib.io_uring_opcode_supported(probed, getattr(lib, f"IORING_OP_{kind.opcode}")):
            kind.set_missing()
    lib.io_uring_free_probe(probed)


_probed: list[bool] = []


class Ring(Closing, Registration, AllBuilders, BulkCalls):
    """A submission and a completion queue shared with the kernel (`struct io_uring`).

    Builders (`read`, `write`, `accept`, ...) prepare requests and return Operations; nothing reaches the kernel before
    `submit`, a wait, or a full queue. Use it as a context manager: leaving it submits what is queued and waits for
    all of it; leaving it by an exception cancels instead. Multishots, which would never end, are cancelled by either.

    A ring belongs to the thread that makes it.

    Args:
        entries: submission queue entries, 1 to 32768; the kernel rounds up to a power of two.
        params: how to set it up; the default is the best set of flags that this kernel accepts.
        exit_timeout: seconds that a clean exit of the `with` block waits for what is in flight, None for no limit.

    Raises:
        TypeError, ValueError: entries or params that cannot work; the message says why.
        Unsupported: this kernel lacks a flag that was asked for.
        OSError: io_uring is denied or out of memory; the message says by what and what to do.

    Kernel: 5.10. Twin: `io_uring_queue_init_params`, `io_uring_queue_init_mem`.
    """

    def __init__(self, entries: int = 64, params: Params | None = None, *, exit_timeout: float | None = None) -> None:
        self.closed = True  # until there is something to close
        self._params = params or Params()
        self._params.check(entries)
        self._exit_timeout = None if exit_timeout is None else nanoseconds(exit_timeout, "exit_timeout")
        self._ring = ffi.new("struct io_uring *")
        self._memory: Any = None
        self._provided: dict[int, list[Any]] = {}
        self._kept: list[Any] = []  # registered memory, until the ring is closed
        self._set_up(entries)
        self._flags, self._features = Setup(self._ring.flags), Feature(self._ring.features)  # never change
        self._take_off()
        self._shares_thread = False
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        if self._params.sqpoll and self._params.attach_wq is not None:
            self._shares_thread = True
            if isinstance(self._params.attach_wq, Ring):
                self._params.attach_wq._shares_thread = True
        self.closed = False
        _rings.add(self)
        self._register_ring_fd()
        if not _probed and not self._params.disabled:
            _mark_missing(self._ring)
            _probed.append(True)

    def _set_up(self, entries: int) -> None:
        code = 0
        for flags in self._params.candidates():
            setup = self._params.struct(flags)
            code = probe.patiently(self._init, entries, setup)
            if code >= 0:
                return
            if code != -errno.EINVAL:
                break
        if code == -errno.EINVAL:
            self._explain_refused_flags(flags)
        denial = probe.explain(-code)
        raise OSError(denial.code, f"io_uring cannot be used here: {denial.reason}; {denial.advice}")

    def _init(self, entries: int, setup: Any) -> int:
        if not self._params.no_mmap:
            return int(lib.io_uring_queue_init_params(entries, self._ring, setup))
        size = lib.io_uring_memory_size_params(entries, setup)
        if size < 0:
            return int(size)
        memory = mmap.mmap(-1, size)
        code = int(lib.io_uring_queue_init_mem(entries, self._ring, setup, ffi.from_buffer(memory), size))
        if code >= 0:
            self._memory = memory
        return code

    def _explain_refused_flags(self, flags: int) -> None:
        """Raise Unsupported for the newest of the flags that this kernel does not have."""
        there = probe.setup_flags()
        for name, since in reversed(probe.SETUP_FLAGS.items()):
            if flags & getattr(lib, f"IORING_SETUP_{name}") and not there[name]:
                raise Unsupported(f"IORING_SETUP_{name}", since)

    def _register_ring_fd(self) -> None:
        """Spare the kernel the look-up of our descriptor at every enter; there are 16 such places a thread."""
        if not self._params.sqpoll and not self._params.disabled and not self._params.registered_fd_only:
            lib.io_uring_register_ring_fd(self._ring)

    def __repr__(self) -> str:
        if self.closed:
            return "<Ring closed>"
        return f"<Ring fd={self._ring.ring_fd} entries={self._ring.sq.ring_entries} in_flight={self._native.in_flight}>"

    @property
    def c_ring(self) -> Any:
        """The `struct io_uring *`, for the calls of `uring.liburing` and `uring.fused` on the same ring.

        Requests that you queue through it yourself are returned by `wait` as Completions, provided that the top
        byte of their user_data is not 0x5A (URING_MARK).
        """
        self._check()
        return self._ring

    @property
    def flags(self) -> Setup:
        """The IORING_SETUP_* flags that the ring was really set up with; enabling it changes none of them."""
        return self._flags

    @property
    def features(self) -> Feature:
        """The IORING_FEAT_* bits of the running kernel."""
        return self._features

    def fileno(self) -> int:
        """The ring's descriptor: readable when a completion is there.

        A completion of a ring with `defer_taskrun`, which is the default, does not wake a wait in an epoll set: use
        `register_eventfd` for an event loop, or a ring with `defer_taskrun=False`.

        Raises:
            RingClosed: the ring is closed.
            ValueError: it was made with registered_fd_only.
        """
        if self.closed:
            raise refusal(lib.URING_CLOSED)
        if self._params.registered_fd_only:
            raise ValueError("a ring with registered_fd_only has no descriptor")
        return int(self._ring.ring_fd)

    def statistics(self) -> Statistics:
        """Counters since the ring was made. Safe from any thread."""
        # The owner neither closes nor resizes it meanwhile. In a fork's child nobody does, and the lock may be held.
        with self._guard if self._pid == os.getpid() else nullcontext():
            if self.closed:
                raise refusal(lib.URING_CLOSED)
            # No other call before these two: a signal's handler could close the ring.
            overflows = self._ring.cq.koverflow[0]
            space = lib.io_uring_sq_space_left(self._ring)
        native = self._native
        in_flight = int(native.in_flight) - len(self._hidden)
        return Statistics(in_flight, int(native.submitted), int(native.reaped), int(overflows), int(space))

    def submit(self) -> int:
        """Hand everything that is queued to the kernel, without waiting for completions.

        Returns:
            The number of SQEs that the kernel took.

        Raises:
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
            RuntimeError: a chain is still open.
            OSError: the kernel refused.

        Kernel: 5.1. Twin: `io_uring_submit`.
        """
        self._not_recording()
        if self._groups:
            self._tend_groups()
        if self._pending or self._notes:
            self._work_off()
        taken = 0
        while True:
            code = int(lib.uring_submit(self._native))
            if code in REFUSALS and lib.uring_check(self._native):
                raise refusal(code)
            if code >= 0:
                taken += code
                # Without SUBMIT_ALL a bad request stops the batch; the rest is still queued.
                if not code or self._params.sqpoll or lib.uring_slot_queued(self._native) <= 0:
                    return taken
            elif code in (-errno.EAGAIN, -errno.EBUSY):
                self._enter(0, 0)  # the completion queue is full: take in what is there
            elif code != -errno.EINTR:
                raise OSError(-code, f"{os.strerror(-code)} [submit]")

    def wait(
        self, n: int = 1, timeout: float | Nanoseconds | None = None, *, messages: bool = False
    ) -> list[Operation[Any] | Completion]:
        """Submit what is queued and wait until at least `n` operations are complete.

        Each completed operation is handed out once, here or by `peek`, iteration, its own `result()` or callback;
        a Multishot whenever it has new shots, when it starves, and at its end.
        Only what the user asked for counts: no notifications, link timeouts, skipped successes.

        Args:
            n: how many; 0 only submits and takes in what is ready.
            timeout: seconds, or Nanoseconds, to wait at most; None for no limit.
            messages: other rings or threads will send something (`msg_ring`, `send_message`, `wake`), so `n` may be
                more than what is in flight. It may be so with a timeout too.

        Returns:
            All completed operations, `n` or more, in the order of their completions; fewer when the timeout has
            passed, when `wake` was called, or when callbacks took some: those count, and are not in the list.
            Messages and requests queued through `c_ring` are Completions.

        Raises:
            ValueError: `n` is negative; or more than what is in flight, with neither `timeout` nor `messages`, so that
                the wait would never end; a bad timeout.
            RuntimeError: a chain is still open.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.
            OSError: the kernel refused the submission.

        Kernel: 5.10. Twin: `io_uring_submit_and_wait_timeout`.
        """
        if self._recording is not None:
            self._not_recording()
        limit = None if timeout is None else nanoseconds(timeout)
        if n < 0:
            raise ValueError(f"n must not be negative: {n}")
        if n > len(self._ready) and n > self._visible():
            self._check()  # before looking into the queue: a closed ring's memory is gone
            if self._multishots:
                self._tend_groups()
                self._reap_ready()  # buffers may have come back to one that starves
            messages = messages or limit is not None
            if not messages and not self._has_foreign() and n > self._visible():
                starved = sum(operation.starved for operation in [*self._multishots])
                more = f", {starved} multishots wait for buffers to be returned" if starved else ""
                why = f"waiting for {n} completions, but only {self._visible()} operations are in flight{more}"
                raise ValueError(f"{why} (messages=True, or a timeout, is for completions that others send)")
            number(n, "n")
        self._wait_until(n, None, limit, lib.uring_wake_wait, messages)
        result: list[Operation[Any] | Completion] = [*self._ready]
        self._ready = {}
        if self._foreign:
            result += self._foreign.values()
            self._foreign = {}
        return result

    def read_exactly(self, fd: Descriptor, buffer: Any, offset: int = -1) -> None:
        """Fill a buffer, continuing short reads, and wait for it.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            buffer: a writable, contiguous buffer.
            offset: bytes from the file's start; -1 is the file's own position.

        Raises:
            EOFError: the file ends before the buffer is full; what was read is in it.
            OSError: a read failed.

        Kernel: 5.6. Twin: `io_uring_prep_read`, repeated.
        """
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            count = self.read(fd, view[done:], offset if offset < 0 else offset + done).result()
            if not count:
                raise EOFError(f"the file ended after {done} of {len(view)} bytes")
            done += count

    def write_all(self, fd: Descriptor, buffer: Any, offset: int = -1) -> None:
        """Write a whole buffer, continuing short writes, and wait for it.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            buffer: a contiguous buffer, bytes included.
            offset: bytes from the file's start; -1 is the file's own position.

        Raises:
            OSError: a write failed; EIO when nothing can be written and no reason is given.

        Kernel: 5.6. Twin: `io_uring_prep_write`, repeated.
        """
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            count = self.write(fd, view[done:], offset if offset < 0 else offset + done).result()
            if not count:
                raise OSError(errno.EIO, f"nothing was written after {done} of {len(view)} bytes")
            done += count

    def peek(self) -> list[Operation[Any] | Completion]:
        """The completed operations that are there now, each handed out once; neither submits nor waits.

        Kernel: 5.1. Twin: `io_uring_peek_batch_cqe`.
        """
        self._reap_ready()
        result: list[Operation[Any] | Completion] = [*self._ready]
        self._ready = {}
        if self._foreign:
            result += self._foreign.values()
            self._foreign = {}
        return result

    def __iter__(self) -> Iterator[Operation[Any] | Completion]:
        """Hand out completions one by one until nothing is in flight, submitting and waiting as needed.

        Operations that are prepared meanwhile are included. Leaving the loop early loses nothing.
        """
        while self._visible():
            self._not_recording()
            self._wait_until(1, None, None)
            # Each is taken off right before it is handed out, and without a call, at the end of which a signal's
            # handler may raise: so nothing is lost, and nothing is left to be put back.
            for operation in [*self._ready]:
                if operation in self._ready:
                    del self._ready[operation]
                    yield operation
            for key in [*self._foreign]:
                if key in self._foreign:
                    completion = self._foreign[key]
                    del self._foreign[key]
                    yield completion

    def chain(self, *, hard: bool = False, timeout: float | Nanoseconds | None = None, drain: bool = False) -> Chain:
        """Link what is built inside the `with` block: each starts when the one before it has succeeded.

        The SQEs are written when the block ends, after room for all of them was made, so a chain is never split; an
        exception inside the block leaves nothing of it queued. When a link fails or falls short, those behind it
        raise ChainBroken, which names it. Chains run in parallel to each other and to everything else.

        The kernel goes on in spite of a failed fsync, sync_file_range, fallocate, ftruncate, madvise, statx, of the
        calls that change directories (mkdirat, renameat, unlinkat, symlinkat, linkat) and of extended attributes. Look
        at their results before relying on what follows them.

        Args:
            hard: go on in spite of failures and short transfers (IOSQE_IO_HARDLINK, 5.5).
            timeout: seconds, or Nanoseconds, that each single link may take from its own start; TimeoutError then.
                `Operation.with_timeout` sets it for one link.
            drain: the chain starts only when everything before it is complete (IOSQE_IO_DRAIN).

        Raises:
            ValueError: more links than the submission queue has entries (from the builder that is one too many).
            RuntimeError: chains do not nest.
            WrongThread, Forked, RingClosed: this is not the ring's owner, or it is closed.

        Kernel: 5.3. See also: io_uring_linked_requests(7).
        """
        from .chain import Chain

        return Chain(self, hard=hard, timeout=timeout, drain=drain)

    def __enter__(self) -> Ring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closed:
            return
        try:
            if kind is None:
                self._finish_all()
        finally:
            self.close()

    def _finish_all(self) -> None:
        """Submit what is queued, cancel multishots, and wait for all of it, exit_timeout at most."""
        deadline = None if self._exit_timeout is None else time.monotonic_ns() + self._exit_timeout
        while self._native.in_flight or self._pending:
            rest = -1 if deadline is None else max(0, deadline - time.monotonic_ns())
            if self._multishots:
                for operation in [*self._multishots]:
                    operation._stop()
                rest = AGAIN if rest < 0 else min(rest, AGAIN)
            code = self._enter(1 if rest else 0, rest)  # without any time left it still submits
            if code < 0 and code not in PASSING:
                raise OSError(-code, f"{os.strerror(-code)} [wait]")
            if not rest and not self._multishots:
                return
            if deadline is not None and time.monotonic_ns() >= deadline:
                return
