"""How a ring is set up: flags that fit together, and the best set that this kernel takes.

Facts behind the rules (each is -EINVAL from the kernel, without a word why):

- DEFER_TASKRUN needs SINGLE_ISSUER and excludes SQPOLL; COOP_TASKRUN and TASKRUN_FLAG exclude SQPOLL too, since with
  it another thread does the work; TASKRUN_FLAG needs one of COOP_TASKRUN and DEFER_TASKRUN.
- SQ_AFF needs SQPOLL. HYBRID_IOPOLL needs IOPOLL. REGISTERED_FD_ONLY needs NO_MMAP.
- SQE_MIXED and SQE128 exclude each other, as do CQE_MIXED and CQE32: mixed means that both sizes occur.
- SQ_REWIND needs NO_SQARRAY and excludes SQPOLL.

What is left open (None) is chosen: the most that the running kernel accepts. Completions are then delivered when the
owner asks for them, which is the cheapest way for one thread. SQPOLL is never chosen by itself: it costs a kernel
thread that spins.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ._native import ffi, lib
from .record import Record
from .types import HasFileno

ENTRIES_MAX = 32768

# What is tried for the flags left open, best first; the first set that the kernel takes is used.
_PREFERRED = (
    ("submit_all", "single_issuer", "defer_taskrun", "taskrun_flag"),  # 6.1
    ("submit_all", "single_issuer", "coop_taskrun", "taskrun_flag"),  # 6.0
    ("submit_all", "coop_taskrun", "taskrun_flag"),  # 5.19
    ("submit_all",),  # 5.18
    (),
)
_OPEN = ("submit_all", "single_issuer", "coop_taskrun", "defer_taskrun", "taskrun_flag")

_BITS = {
    "iopoll": lib.IORING_SETUP_IOPOLL,
    "hybrid_iopoll": lib.IORING_SETUP_HYBRID_IOPOLL,
    "sqpoll": lib.IORING_SETUP_SQPOLL,
    "clamp": lib.IORING_SETUP_CLAMP,
    "disabled": lib.IORING_SETUP_R_DISABLED,
    "submit_all": lib.IORING_SETUP_SUBMIT_ALL,
    "coop_taskrun": lib.IORING_SETUP_COOP_TASKRUN,
    "taskrun_flag": lib.IORING_SETUP_TASKRUN_FLAG,
    "sqe128": lib.IORING_SETUP_SQE128,
    "cqe32": lib.IORING_SETUP_CQE32,
    "single_issuer": lib.IORING_SETUP_SINGLE_ISSUER,
    "defer_taskrun": lib.IORING_SETUP_DEFER_TASKRUN,
    "no_mmap": lib.IORING_SETUP_NO_MMAP,
    "registered_fd_only": lib.IORING_SETUP_REGISTERED_FD_ONLY,
    "no_sqarray": lib.IORING_SETUP_NO_SQARRAY,
    "cqe_mixed": lib.IORING_SETUP_CQE_MIXED,
    "sqe_mixed": lib.IORING_SETUP_SQE_MIXED,
    "sq_rewind": lib.IORING_SETUP_SQ_REWIND,
}


def _rounded(entries: int) -> int:
    """The power of two that the kernel makes of it."""
    return 1 << (entries - 1).bit_length()


class Params(Record, kw_only=True):
    """How to set up a ring (`struct io_uring_params`); each field is the setup flag of that name.

    Attributes:
        cq_entries: room for completions; the kernel's default is twice the submission entries. CQSIZE, 5.5.
        clamp: too large numbers of entries become the maximum instead of an error. CLAMP, 5.6.
        iopoll: completions are polled for, not announced by interrupts; only O_DIRECT on a device with poll queues,
            and only reads, writes and a few others. IOPOLL, 5.1.
        hybrid_iopoll: with `iopoll`, sleep a while before polling. HYBRID_IOPOLL, 6.13.
        sqpoll: a kernel thread takes submissions, so that submitting needs no system call. SQPOLL, 5.1 (5.11 for
            any descriptor and without privileges).
        sq_idle_ms: with `sqpoll`, milliseconds without work after which the thread sleeps, at least 1; None is the
            kernel's 1000.
        sq_cpu: with `sqpoll`, the CPU that the thread is bound to. SQ_AFF, 5.1.
        attach_wq: another ring, whose worker threads (and SQPOLL thread) this one shares. ATTACH_WQ, 5.6.
        single_issuer: only one thread submits; a hint that makes things cheaper. SINGLE_ISSUER, 6.0.
        coop_taskrun: do not interrupt the owner to post completions. COOP_TASKRUN, 5.19.
        defer_taskrun: post completions only when the owner asks for them. DEFER_TASKRUN, 6.1.
        taskrun_flag: tell when there is such deferred work. TASKRUN_FLAG, 5.19.
        submit_all: one bad request does not stop the rest of a batch. SUBMIT_ALL, 5.18.
        disabled: made without taking requests, until `Ring.enable`. R_DISABLED, 5.10.
        sqe128: all SQEs have 128 bytes. SQE128, 5.19.
        cqe32: all CQEs have 32 bytes. CQE32, 5.19.
        sqe_mixed: SQEs of both sizes. SQE_MIXED, 6.19.
        cqe_mixed: CQEs of both sizes. CQE_MIXED, 6.18.
        no_mmap: the ring lies in memory of ours instead of the kernel's. NO_MMAP, 6.5.
        registered_fd_only: with `no_mmap`, the ring has no descriptor, only a registered index. 6.5.
        no_sqarray: no indirection array; liburing asks for it by itself where it can. NO_SQARRAY, 6.6.
        sq_rewind: submissions always start at the first entry. SQ_REWIND, 7.0.
    """

    cq_entries: int | None = None
    clamp: bool = False
    iopoll: bool = False
    hybrid_iopoll: bool = False
    sqpoll: bool = False
    sq_idle_ms: int | None = None
    sq_cpu: int | None = None
    attach_wq: HasFileno | None = None
    single_issuer: bool | None = None
    coop_taskrun: bool | None = None
    defer_taskrun: bool | None = None
    taskrun_flag: bool | None = None
    submit_all: bool | None = None
    disabled: bool = False
    sqe128: bool = False
    cqe32: bool = False
    sqe_mixed: bool = False
    cqe_mixed: bool = False
    no_mmap: bool = False
    registered_fd_only: bool = False
    no_sqarray: bool = False
    sq_rewind: bool = False

    def check(self, entries: int) -> None:
        """Refuse what cannot work, before the kernel does.

        Raises:
            TypeError: a number that is not an int; `attach_wq` is no ring.
            ValueError: a number out of range, or flags that exclude each other; the message says why.
        """
        for name, value, limit in (
            ("entries", entries, ENTRIES_MAX),
            ("cq_entries", self.cq_entries, 2 * ENTRIES_MAX),
            ("sq_idle_ms", self.sq_idle_ms, (1 << 32) - 1),
            ("sq_cpu", self.sq_cpu, (1 << 31) - 1),
        ):
            if value is None and name != "entries":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an int, not {type(value).__name__}")
            low, clamped = int(name != "sq_cpu"), self.clamp and name.endswith("entries")
            if value < low or (value > limit and not clamped):
                advice = " (or use clamp=True)" if name.endswith("entries") else ""
                raise ValueError(f"{name} must be from {low} to {limit}{advice}, not {value}")
        if self.attach_wq is not None and not hasattr(self.attach_wq, "fileno"):
            raise TypeError(f"attach_wq must be a ring, not {type(self.attach_wq).__name__}")
        if self.cq_entries is not None and _rounded(self.cq_entries) < _rounded(min(entries, ENTRIES_MAX)):
            raise ValueError(f"cq_entries ({self.cq_entries}) must not be less than entries ({entries})")
        for broken, why in self._conflicts():
            if broken:
                raise ValueError(why)

    def _conflicts(self) -> Iterator[tuple[bool, str]]:
        may_defer = self.defer_taskrun is not False and self.single_issuer is not False
        target = getattr(self.attach_wq, "flags", lib.IORING_SETUP_SQPOLL)  # only a ring has flags
        cpus = os.sysconf("SC_NPROCESSORS_CONF")
        yield bool(self.defer_taskrun and self.sqpoll), "defer_taskrun excludes sqpoll: the owner posts no completions"
        yield bool(self.coop_taskrun and self.sqpoll), "coop_taskrun excludes sqpoll: the owner is never interrupted"
        yield bool(self.taskrun_flag and self.sqpoll), "taskrun_flag excludes sqpoll: no work is left to the owner"
        yield (
            bool(self.defer_taskrun and self.single_issuer is False),
            "defer_taskrun needs single_issuer: completions wait for one thread",
        )
        yield (
            bool(self.taskrun_flag and self.coop_taskrun is False and not may_defer),
            "taskrun_flag needs coop_taskrun or defer_taskrun: otherwise there is nothing to tell",
        )
        yield self.hybrid_iopoll and not self.iopoll, "hybrid_iopoll needs iopoll"
        yield self.sq_cpu is not None and not self.sqpoll, "sq_cpu needs sqpoll: there is no thread to bind"
        yield self.sq_idle_ms is not None and not self.sqpoll, "sq_idle_ms needs sqpoll: there is no thread to idle"
        yield self.registered_fd_only and not self.no_mmap, "registered_fd_only needs no_mmap: a descriptor is mapped"
        yield self.sqe_mixed and self.sqe128, "sqe_mixed excludes sqe128: either all SQEs are large, or some"
        yield self.cqe_mixed and self.cqe32, "cqe_mixed excludes cqe32: either all CQEs are large, or some"
        yield self.sq_rewind and self.sqpoll, "sq_rewind excludes sqpoll: its thread follows the head and tail"
        yield (
            self.sqpoll and not target & lib.IORING_SETUP_SQPOLL,
            "attach_wq with sqpoll needs a ring with sqpoll: there is no thread to share",
        )
        yield (self.sq_cpu or 0) >= cpus, f"sq_cpu must be a CPU of this machine, 0 to {cpus - 1}, not {self.sq_cpu}"

    def candidates(self) -> list[int]:
        """The flag words to try, best first. More than one only where something was left open."""
        fixed = 0
        for name, bit in _BITS.items():
            if getattr(self, name):
                fixed |= bit
        if self.cq_entries is not None:
            fixed |= lib.IORING_SETUP_CQSIZE
        if self.sq_cpu is not None:
            fixed |= lib.IORING_SETUP_SQ_AFF
        if self.attach_wq is not None:
            fixed |= lib.IORING_SETUP_ATTACH_WQ
        if self.sq_rewind:
            fixed |= lib.IORING_SETUP_NO_SQARRAY
        if self.defer_taskrun:
            fixed |= lib.IORING_SETUP_SINGLE_ISSUER
        words = []
        for names in _PREFERRED:
            word = fixed
            for name in names:
                if getattr(self, name) is None and not self._spoils(name, names):
                    word |= _BITS[name]
            words.append(word)
        return list(dict.fromkeys(words))

    def _spoils(self, name: str, names: tuple[str, ...]) -> bool:
        """Whether choosing `name` would contradict what was asked for."""
        if name in ("coop_taskrun", "defer_taskrun", "taskrun_flag") and self.sqpoll:
            return True
        if name == "defer_taskrun":
            return self.single_issuer is False or bool(self.coop_taskrun)
        if name == "coop_taskrun":
            return bool(self.defer_taskrun)
        if name == "taskrun_flag":
            wants = [work for work in ("coop_taskrun", "defer_taskrun") if getattr(self, work) is not False]
            return not any(work in names or getattr(self, work) for work in wants)
        return False

    def struct(self, flags: int) -> Any:
        """A `struct io_uring_params *` with the given flags."""
        params = ffi.new("struct io_uring_params *", {"flags": flags})
        params.cq_entries = self.cq_entries or 0
        params.sq_thread_idle = self.sq_idle_ms or 0
        params.sq_thread_cpu = self.sq_cpu or 0
        params.wq_fd = self.attach_wq.fileno() if self.attach_wq is not None else 0
        return params
