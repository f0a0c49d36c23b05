"""Requests that wait for others: futexes, child processes.

A futex is a 32-bit word in memory that threads or processes share. Shared is the default kind: it works between
threads as well, and unlike a private one it survives that a process gets its first thread. Kernels since 6.16 make a
new table of private futexes at that moment, and waits that a ring had in the old one are woken no more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..flags import Futex2
from ..operation import Kind, Operation, nothing
from ..types import Options, pack
from .arguments import INT_MAX, U32_MAX, number, reporting
from .base import Builder, writable

if TYPE_CHECKING:
    from typing_extensions import Unpack

ANY_BIT = U32_MAX
SHARED = Futex2.SIZE_U32
WAITERS_MAX: int = lib.FUTEX_WAITV_MAX


def _child(operation: Operation[Any], _res: int) -> os.waitid_result | None:
    info = operation._about[3]
    if not info.si_pid:
        return None
    fields = (info.si_pid, info.si_uid, info.si_signo, info.si_status, info.si_code)
    return os.waitid_result([int(field) for field in fields])


FUTEX_WAIT = Kind("futex_wait", "FUTEX_WAIT", "6.7", lib.uring_futex_wait, nothing)
FUTEX_WAKE: Kind[int] = Kind("futex_wake", "FUTEX_WAKE", "6.7", lib.uring_futex_wake)
FUTEX_WAITV: Kind[int] = Kind("futex_waitv", "FUTEX_WAITV", "6.7", lib.uring_futex_waitv)
WAITID = Kind("waitid", "WAITID", "6.7", lib.uring_waitid, _child)


def _word(futex: Any) -> tuple[Any, Any]:
    """(`uint32_t *`, the memory that it lies in) of a buffer's first four bytes.

    Raises:
        TypeError: no buffer, or a read-only one.
        BufferError: not contiguous.
        ValueError: less than four bytes, or not at a multiple of four.
    """
    memory = writable(futex)
    if len(memory) < 4:
        raise ValueError(f"a futex has 4 bytes, not {len(memory)}")
    if int(ffi.cast("uintptr_t", memory)) % 4:
        raise ValueError("a futex must lie at a multiple of 4 in memory")
    return ffi.cast("uint32_t *", memory), memory


def _kind_of(flags: int) -> int:
    bits = number(flags, "flags", U32_MAX)
    if bits & ~Futex2.PRIVATE != Futex2.SIZE_U32:
        raise ValueError(f"a futex is Futex2.SIZE_U32, perhaps with PRIVATE, and nothing else: {flags!r}")
    return bits


def _mask_of(mask: int) -> int:
    return number(mask, "mask", U32_MAX, low=1)


class SyncBuilders(Builder):
    """Requests that wait for others."""

    def futex_wait(
        self, futex: Any, value: int, mask: int = ANY_BIT, flags: int = SHARED, **options: Unpack[Options]
    ) -> Operation[None]:
        """Wait until somebody wakes a futex, if it still has a value.

        Args:
            futex: a writable buffer at a multiple of 4, whose first 4 bytes are the word: a slice of a memoryview, an
                mmap, a ctypes object, ... It is held in place until this is complete.
            value: the unsigned number that the word must have, or there is nothing to wait for.
            mask: which wakes count: those whose mask has a bit in common.
            flags: Futex2 bits; with PRIVATE only this process's own wakes, with PRIVATE too, are seen.
            options: see Options.

        Returns:
            An Operation whose result is None. BlockingIOError: the word has another value already.

        Raises:
            TypeError, ValueError, BufferError: no writable buffer, a misaligned or short one; a number out of range.
            Unsupported: a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_futex_wait`.
        """
        packed = pack(options)
        word, memory = _word(futex)
        arguments = (word, number(value, "value", U32_MAX), _mask_of(mask), _kind_of(flags), 0)
        return self._start(FUTEX_WAIT, memory, (), packed, *arguments)

    def futex_wake(
        self, futex: Any, count: int = 1, mask: int = ANY_BIT, flags: int = SHARED, **options: Unpack[Options]
    ) -> Operation[int]:
        """Wake those who wait on a futex: requests of rings and ordinary waits alike.

        Args:
            futex: as for `futex_wait`.
            count: how many to wake at most.
            mask: wake those whose mask has a bit in common.
            flags: Futex2 bits, PRIVATE if the waiters have it.
            options: see Options; `skip_success` is refused, since the number would be lost.

        Returns:
            An Operation whose result is the number that were woken.

        Raises:
            TypeError, ValueError, BufferError: as for `futex_wait`.
            Unsupported: a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_futex_wake`.
        """
        packed = reporting(options, "futex_wake")
        word, memory = _word(futex)
        arguments = (word, number(count, "count", INT_MAX), _mask_of(mask), _kind_of(flags), 0)
        return self._start(FUTEX_WAKE, memory, (), packed, *arguments)

    def futex_waitv(
        self, waiters: Sequence[tuple[Any, int] | tuple[Any, int, int]], **options: Unpack[Options]
    ) -> Operation[int]:
        """Wait until somebody wakes one of several futexes, if all still have their values.

        Args:
            waiters: 1 to 128 tuples of (futex, value) or (futex, value, flags), each as for `futex_wait`.
            options: see Options; `skip_success` is refused, since the index would be lost.

        Returns:
            An Operation whose result is the index of one that was woken. BlockingIOError: one of the words has
            another value already.

        Raises:
            TypeError, ValueError, BufferError: as for `futex_wait`; none or too many.
            Unsupported: a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_futex_waitv`.
        """
        packed = reporting(options, "futex_waitv")
        if not 1 <= len(waiters) <= WAITERS_MAX:
            raise ValueError(f"futex_waitv takes 1 to {WAITERS_MAX} futexes, not {len(waiters)}")
        entries = ffi.new("struct futex_waitv[]", len(waiters))
        memories = []
        for entry, (futex, value, *rest) in zip(entries, waiters, strict=True):
            word, memory = _word(futex)
            memories.append(memory)
            entry.uaddr = int(ffi.cast("uintptr_t", word))
            entry.val = number(value, "value", U32_MAX)
            entry.flags = _kind_of(rest[0] if rest else SHARED)
        return self._start(FUTEX_WAITV, (entries, memories), (), packed, entries, len(waiters), 0)

    def waitid(
        self, idtype: int, id: int, wait_options: int = os.WEXITED, **options: Unpack[Options]
    ) -> Operation[os.waitid_result | None]:
        """Wait until a child process ends, or does something else.

        Args:
            idtype: os.P_PID, P_PGID, P_PIDFD or P_ALL.
            id: the process, group, or pidfd; not used by P_ALL.
            wait_options: what to wait for: os.WEXITED, WSTOPPED, WCONTINUED; with WNOWAIT the child can be waited for
                once more, with WNOHANG nothing is waited for.
            options: see Options.

        Returns:
            An Operation whose result is that of `os.waitid`: an os.waitid_result, or None with WNOHANG when nothing
            has happened. It is the only notice of a child's end: an operation that is given up takes it along.

        Raises:
            TypeError, ValueError: a number out of range.
            Unsupported: a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_waitid`.
        """
        packed = pack(options)
        info = ffi.new("siginfo_t *")
        what = (number(idtype, "idtype"), number(id, "id"), info, number(wait_options, "wait_options", U32_MAX), 0)
        return self._start(WAITID, info, (None, None, None, info), packed, *what)
