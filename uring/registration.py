"""What is registered with a ring once, beside requests: eventfd, credentials, restrictions, workers, clock, NAPI.

Registered buffers and files have modules of their own. Each call here is one io_uring_register(2) and takes effect at
once. A kernel that lacks an operation answers -EINVAL, as it does to a bad argument; which of the two it was is found
out by asking it for the operation's number.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import probe
from ._native import ffi, lib
from .builders.base import file_of
from .builders.cancelling import target_of
from .errors import Unsupported, os_error, refusal
from .operation import Operation
from .types import Descriptor, FixedFile, Nanoseconds, nanoseconds


class Napi(NamedTuple):
    """Settings of busy polling for a ring's sockets."""

    timeout_us: int
    """Microseconds to poll the network device before sleeping."""
    prefer: bool
    """Whether polling is preferred to the device's interrupts."""


class Query(NamedTuple):
    """What a kernel says of itself (IORING_REGISTER_QUERY)."""

    opcodes: int
    """How many opcodes it knows: 0 to opcodes - 1."""
    register_ops: int
    """How many register operations it knows."""
    features: int
    """All IORING_FEAT_* bits."""
    setup_flags: int
    """All IORING_SETUP_* flags that it takes."""
    enter_flags: int
    """All IORING_ENTER_* flags that it takes."""
    sqe_flags: int
    """All IOSQE_* flags that it takes."""


def _require(code: int, operation: str, since: str, what: str) -> int:
    """`code`, unless it is an error: Unsupported for a kernel without the operation, else the OSError."""
    if code >= 0:
        return code
    if code in (-errno.EINVAL, -errno.EOPNOTSUPP) and not probe.register_ops()[operation]:
        raise Unsupported(f"IORING_{operation}", since)
    raise os_error(-code, what)


class Registration:
    """The part of Ring that registers things; `Ring` supplies the queue."""

    _ring: Any
    _native: Any
    _params: Any
    _guard: Any
    _thread: int
    _pid: int

    def _check(self) -> None:
        raise NotImplementedError

    def submit(self) -> int:
        """See Ring.submit."""
        raise NotImplementedError

    def _registered(self, code: int, operation: str, since: str) -> int:
        return _require(code, operation, since, operation.lower())

    # --- eventfd ---------------------------------------------------------------------------------

    def register_eventfd(self, fd: Descriptor, *, async_only: bool = False) -> None:
        """Write to an eventfd whenever a completion is posted, so that an event loop notices.

        Args:
            fd: an eventfd, as os.eventfd makes it (3.10), or an object with `fileno()`.
            async_only: only for completions that an io-wq worker posts.

        Raises:
            TypeError, ValueError: no descriptor.
            OSError: no eventfd (EBADF, EINVAL), or one is registered already (EBUSY).

        Kernel: 5.2, async_only 5.6. Twins: `io_uring_register_eventfd`, `io_uring_register_eventfd_async`.
        """
        self._check()
        number, _, _ = file_of(fd, 0)
        if async_only:
            code = lib.io_uring_register_eventfd_async(self._ring, number)
            self._registered(code, "REGISTER_EVENTFD_ASYNC", "5.6")
        else:
            self._registered(lib.io_uring_register_eventfd(self._ring, number), "REGISTER_EVENTFD", "5.2")

    def unregister_eventfd(self) -> None:
        """Take the eventfd away.

        Raises:
            OSError: none is registered (ENXIO).

        Kernel: 5.2. Twin: `io_uring_unregister_eventfd`.
        """
        self._check()
        self._registered(lib.io_uring_unregister_eventfd(self._ring), "UNREGISTER_EVENTFD", "5.2")

    @property
    def eventfd_enabled(self) -> bool:
        """Whether completions are announced through the eventfd. Assigning switches that without a system call.

        Kernel: 5.8. Twins: `io_uring_cq_eventfd_enabled`, `io_uring_cq_eventfd_toggle`.
        """
        self._check()
        return bool(lib.io_uring_cq_eventfd_enabled(self._ring))

    @eventfd_enabled.setter
    def eventfd_enabled(self, enabled: bool) -> None:
        self._check()
        if lib.io_uring_cq_eventfd_toggle(self._ring, bool(enabled)) < 0:
            raise Unsupported("IORING_CQ_EVENTFD_DISABLED", "5.8")

    # --- the ring itself ---------------------------------------------------------------------------

    def enable(self) -> None:
        """Let a ring that was made with `disabled=True` take requests. It belongs to the calling thread from now on.

        Raises:
            Forked, RingClosed: it cannot be used here.
            WrongThread: it is enabled already, and belongs to another thread.
            OSError: it is enabled already (EBADFD).

        Kernel: 5.10. Twin: `io_uring_enable_rings`.
        """
        code = lib.uring_check(self._native)
        if code and (code != lib.URING_WRONG_THREAD or not self._params.disabled):
            raise refusal(code)
        answer = lib.io_uring_enable_rings(self._ring)
        if code and answer in (-errno.EBADFD, -errno.EEXIST):  # enabled already, by its owner
            raise refusal(code)
        self._registered(answer, "REGISTER_ENABLE_RINGS", "5.10")
        self._native.owner = lib.uring_thread()
        self._thread = threading.get_ident()

    def resize(self, entries: int, cq_entries: int | None = None) -> None:
        """Give the queues another size while operations are in flight. What is queued is submitted first.

        Args:
            entries: submission queue entries.
            cq_entries: completion queue entries; None is twice as many.

        Raises:
            ValueError: the ring was not set up with defer_taskrun, or with no_mmap.
            Unsupported: a kernel before 6.13.
            OSError: more completions are waiting than would fit (EOVERFLOW), or a size is out of range (EINVAL).

        Kernel: 6.13. Twin: `io_uring_resize_rings`.
        """
        self._check()
        if not self._ring.flags & lib.IORING_SETUP_DEFER_TASKRUN:
            raise ValueError("only a ring with defer_taskrun can be resized")
        if self._params.no_mmap:
            raise ValueError("a ring with no_mmap cannot be resized: its queues lie in memory that does not grow")
        self.submit()
        flags = lib.IORING_SETUP_CQSIZE if cq_entries is not None else 0
        params = ffi.new(
            "struct io_uring_params *", {"sq_entries": entries, "cq_entries": cq_entries or 0, "flags": flags}
        )
        with self._guard:  # other threads look into the queues, for `wake` and `statistics`
            code = lib.io_uring_resize_rings(self._ring, params)
        self._registered(code, "REGISTER_RESIZE_RINGS", "6.13")

    def restrict(
        self,
        *,
        opcodes: Iterable[int] = (),
        register_ops: Iterable[int] = (),
        sqe_flags_allowed: int = 0,
        sqe_flags_required: int = 0,
    ) -> None:
        """Allow only what is listed, for good; before `enable`. Everything else fails with EACCES.

        Allow IORING_REGISTER_SYNC_CANCEL or IORING_OP_ASYNC_CANCEL, or `Ring.close` cannot cancel what is in flight.

        Args:
            opcodes: IORING_OP_* numbers that requests may have.
            register_ops: IORING_REGISTER_* numbers that may be registered. Without REGISTER_ENABLE_RINGS' number the
                ring can still be enabled.
            sqe_flags_allowed: IOSQE_* flags that requests may carry.
            sqe_flags_required: IOSQE_* flags that each request must carry.

        Raises:
            ValueError: a number or a flag word that does not fit 8 bits.
            OSError: the ring is enabled (EBADFD), or restrictions are registered already (EBUSY).

        Kernel: 5.10. Twin: `io_uring_register_restrictions`.
        """
        self._check()
        rules: list[tuple[int, str, int]] = []
        for name, opcode in (("register_op", "REGISTER_OP"), ("sqe_op", "SQE_OP")):
            kind = getattr(lib, f"IORING_RESTRICTION_{opcode}")
            rules += [(kind, name, value) for value in (register_ops if name == "register_op" else opcodes)]
        rules.append((lib.IORING_RESTRICTION_SQE_FLAGS_ALLOWED, "sqe_flags", sqe_flags_allowed))
        if sqe_flags_required:
            rules.append((lib.IORING_RESTRICTION_SQE_FLAGS_REQUIRED, "sqe_flags", sqe_flags_required))
        table = ffi.new("struct io_uring_restriction[]", len(rules))
        for entry, (kind, name, value) in zip(table, rules, strict=True):
            if not 0 <= value <= 0xFF:
                raise ValueError(f"{name} must fit 8 bits, not {value}")
            entry.opcode = kind
            setattr(entry, name, value)
        code = lib.io_uring_register_restrictions(self._ring, table, len(rules))
        self._registered(code, "REGISTER_RESTRICTIONS", "5.10")
        self._required_flags = sqe_flags_required

    def set_iowait(self, enabled: bool) -> None:
        """Whether a wait for completions counts as iowait, which also raises the CPU's frequency.

        Raises:
            Unsupported: a kernel before 6.15.

        Kernel: 6.15. Twin: `io_uring_set_iowait`.
        """
        self._check()
        if lib.io_uring_set_iowait(self._ring, enabled) < 0:
            raise Unsupported("IORING_FEAT_NO_IOWAIT", "6.15")

    def register_clock(self, clock: int) -> None:
        """Choose the clock that timeouts of waits count by.

        Args:
            clock: time.CLOCK_MONOTONIC or time.CLOCK_BOOTTIME.

        Raises:
            Unsupported: a kernel before 6.12.
            OSError: another clock (EINVAL).

        Kernel: 6.12. Twin: `io_uring_register_clock`.
        """
        self._check()
        argument = ffi.new("struct io_uring_clock_register *", {"clockid": clock})
        self._registered(lib.io_uring_register_clock(self._ring, argument), "REGISTER_CLOCK", "6.12")

    # --- io-wq ---------------------------------------------------------------------------------------

    def iowq_affinity(self, cpus: Iterable[int] | None) -> None:
        """Bind the io-wq worker threads to CPUs; None lets them run anywhere again.

        Raises:
            ValueError: a number that is no CPU.
            Unsupported: a kernel before 5.14.

        Kernel: 5.14. Twins: `io_uring_register_iowq_aff`, `io_uring_unregister_iowq_aff`.
        """
        self._check()
        if cpus is None:
            self._registered(lib.io_uring_unregister_iowq_aff(self._ring), "UNREGISTER_IOWQ_AFF", "5.14")
            return
        size = ffi.sizeof("cpu_set_t")
        word = 0
        for cpu in cpus:
            if not 0 <= cpu < 8 * size:
                raise ValueError(f"{cpu} is not a CPU")
            word |= 1 << cpu
        mask = ffi.new("cpu_set_t *")
        ffi.memmove(mask, word.to_bytes(size, "little"), size)
        self._registered(lib.io_uring_register_iowq_aff(self._ring, size, mask), "REGISTER_IOWQ_AFF", "5.14")

    def iowq_max_workers(self, bounded: int = 0, unbounded: int = 0) -> tuple[int, int]:
        """Limit the io-wq worker threads of this thread's rings.

        Args:
            bounded: for work that ends by itself, such as regular files; 0 leaves it as it is.
            unbounded: for what may take for ever, such as pipes; 0 leaves it as it is.

        Returns:
            The limits before: (bounded, unbounded).

        Raises:
            ValueError: a negative number.
            Unsupported: a kernel before 5.15.

        Kernel: 5.15. Twin: `io_uring_register_iowq_max_workers`.
        """
        self._check()
        if bounded < 0 or unbounded < 0:
            raise ValueError("the number of workers must not be negative")
        values = ffi.new("unsigned int[2]", [bounded, unbounded])
        code = lib.io_uring_register_iowq_max_workers(self._ring, values)
        self._registered(code, "REGISTER_IOWQ_MAX_WORKERS", "5.15")
        return int(values[0]), int(values[1])

    # --- credentials -----------------------------------------------------------------------------------

    def register_personality(self) -> int:
        """Keep the calling thread's credentials; requests can run with them later (`personality=`).

        Returns:
            The personality's id.

        Kernel: 5.6. Twin: `io_uring_register_personality`.
        """
        self._check()
        code = lib.io_uring_register_personality(self._ring)
        return self._registered(code, "REGISTER_PERSONALITY", "5.6")

    def unregister_personality(self, personality: int) -> None:
        """Forget credentials.

        Raises:
            OSError: there is no personality of this id (EINVAL).

        Kernel: 5.6. Twin: `io_uring_unregister_personality`.
        """
        self._check()
        code = lib.io_uring_unregister_personality(self._ring, personality)
        self._registered(code, "UNREGISTER_PERSONALITY", "5.6")

    # --- network busy polling -----------------------------------------------------------------------------

    def register_napi(self, timeout_us: int, *, prefer: bool = False) -> Napi:
        """Poll network devices for a while before sleeping in a wait.

        Args:
            timeout_us: microseconds.
            prefer: prefer polling to interrupts.

        Returns:
            The settings before.

        Raises:
            Unsupported: a kernel before 6.9, or one without network busy polling.

        Kernel: 6.9. Twin: `io_uring_register_napi`.
        """
        self._check()
        napi = ffi.new("struct io_uring_napi *", {"busy_poll_to": timeout_us, "prefer_busy_poll": prefer})
        self._napi(lib.io_uring_register_napi(self._ring, napi), "REGISTER_NAPI")
        return Napi(int(napi.busy_poll_to), bool(napi.prefer_busy_poll))

    def unregister_napi(self) -> Napi:
        """Stop busy polling; returns the settings before.

        Kernel: 6.9. Twin: `io_uring_unregister_napi`.
        """
        self._check()
        napi = ffi.new("struct io_uring_napi *")
        self._napi(lib.io_uring_unregister_napi(self._ring, napi), "UNREGISTER_NAPI")
        return Napi(int(napi.busy_poll_to), bool(napi.prefer_busy_poll))

    def _napi(self, code: int, operation: str) -> None:
        if code == -errno.EOPNOTSUPP or (code == -errno.EINVAL and probe.register_ops()[operation]):
            raise Unsupported(f"IORING_{operation}", "6.9", "it is built without network busy polling")
        self._registered(code, operation, "6.9")

    # --- cancelling and messages without a request ----------------------------------------------------------

    def sync_cancel(
        self,
        target: Operation[Any] | Descriptor | None = None,
        *,
        timeout: float | Nanoseconds | None = None,
        every: bool = False,
    ) -> None:
        """Cancel and wait until the kernel has let go, in one call without a request.

        Args:
            target: an operation; a descriptor, object with `fileno()` or FixedFile, for operations on it; None for
                any operation of the ring.
            timeout: seconds, or Nanoseconds, to wait at most for work that is running; None for no limit.
            every: all that match, not just the first.

        Raises:
            TypeError: no descriptor.
            ValueError: an operation of another ring, or recorded in an open chain; a closed file.
            FileNotFoundError: nothing matched.
            TimeoutError: what matched is still running.
            Unsupported: a kernel before 6.0.

        Kernel: 6.0. Twin: `io_uring_register_sync_cancel`.
        """
        self._check()
        limit = (-1, -1) if timeout is None else divmod(nanoseconds(timeout), 1_000_000_000)
        flags = lib.IORING_ASYNC_CANCEL_ALL if every else 0
        register = ffi.new("struct io_uring_sync_cancel_reg *", {"timeout": limit, "fd": -1})
        if isinstance(target, Operation):
            register.addr = target_of(self, target)  # user_data of another ring would name one of ours
        elif target is None:
            flags |= lib.IORING_ASYNC_CANCEL_ANY
        else:
            register.fd = file_of(target, 0, self)[0]
            flags |= lib.IORING_ASYNC_CANCEL_FD
            if isinstance(target, FixedFile):
                flags |= lib.IORING_ASYNC_CANCEL_FD_FIXED
        register.flags = flags
        code = lib.io_uring_register_sync_cancel(self._ring, register)
        self._registered(code, "REGISTER_SYNC_CANCEL", "6.0")

    def query(self) -> Query:
        """What the kernel says of itself.

        Raises:
            Unsupported: a kernel before 6.18.

        Kernel: 6.18. Twin: `io_uring_register_query`.
        """
        answer = ffi.new("struct io_uring_query_opcode *")
        header = ffi.new(
            "struct io_uring_query_hdr *",
            {
                "query_op": lib.IO_URING_QUERY_OPCODES,
                "query_data": int(ffi.cast("uintptr_t", answer)),
                "size": ffi.sizeof("struct io_uring_query_opcode"),
            },
        )
        self._registered(lib.io_uring_register_query(header), "REGISTER_QUERY", "6.18")
        if header.result < 0:
            raise os_error(-header.result, "register_query")
        return Query(
            int(answer.nr_request_opcodes),
            int(answer.nr_register_opcodes),
            int(answer.feature_flags),
            int(answer.ring_setup_flags),
            int(answer.enter_flags),
            int(answer.sqe_flags),
        )


def send_message(target: Descriptor, user_data: int, res: int = 0, *, flags: int | None = None) -> None:
    """Post a completion into another ring, from any thread and without a ring of one's own.

    Args:
        target: the ring, or its descriptor.
        user_data: 64 bits, of which the top byte is not 0x5A.
        res: the completion's result, 32 bits.
        flags: the completion's flags, where the target should see others than 0.

    Raises:
        ValueError: a number out of range.
        Unsupported: a kernel before 6.13.
        OSError: no ring, or a disabled one (EBADFD); its completion queue is full (EOVERFLOW).

    Kernel: 6.13. Twin: `io_uring_register_sync_msg`.
    """
    if not 0 <= user_data < 1 << 64 or user_data >> 56 == lib.URING_MARK:
        raise ValueError(f"user_data must fit 64 bits, and its top byte must not be 0x5A: {user_data:#x}")
    if not -(1 << 31) <= res < 1 << 32:
        raise ValueError(f"res must fit 32 bits: {res}")
    number = file_of(target, 0)[0]
    sqe = ffi.new("struct io_uring_sqe *")
    if flags is None:
        lib.io_uring_prep_msg_ring(sqe, number, res & 0xFFFFFFFF, user_data, 0)
    else:
        lib.io_uring_prep_msg_ring_cqe_flags(sqe, number, res & 0xFFFFFFFF, user_data, 0, flags)
    _require(lib.io_uring_register_sync_msg(sqe), "REGISTER_SEND_MSG_RING", "6.13", "send_message")
