"""What can go wrong, as exceptions.

A request that fails raises the OSError subclass of its errno (FileNotFoundError, BrokenPipeError, TimeoutError, ...)
with the operation, the file and the range in its message: `error_of` is the one place where a negative result
becomes an exception. The classes here are for what an errno cannot say.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from ._native import lib


class RingError(RuntimeError):
    """The ring cannot be used this way; the base of the three reasons below."""


class RingClosed(RingError):
    """The ring was closed, or an operation was unfinished when it was."""


class WrongThread(RingError):
    """A ring belongs to the thread that made it (with R_DISABLED: that enabled it); another one used it."""


class Forked(RingError):
    """This process is a fork of the ring's owner. Parent and child share the queue, so the child must not touch it."""


class Unsupported(OSError):
    """The kernel lacks an opcode, a flag or a register operation.

    Attributes:
        feature: its name, as the header has it.
        since: the first kernel that has it, such as "6.7", or None where no kernel is known to.
    """

    def __init__(self, feature: str, since: str | None, why: str = "") -> None:
        release = os.uname().release
        needs = f"it needs Linux {since}" if since else "no kernel is known to have it"
        super().__init__(errno.EOPNOTSUPP, f"kernel {release} lacks {feature}: {why or needs}")
        self.feature = feature
        self.since = since


class BuffersExhausted(OSError):
    """A group of provided buffers was empty when the kernel needed one of them (ENOBUFS).

    Attributes:
        group: the group's id.
        count: how many buffers it has.
        size: bytes of each.
        leased: how many of them were leased out when this was raised.
    """

    def __init__(self, what: str, group: int, count: int, size: int, leased: int) -> None:
        why = f"buffer group {group} was empty: of its {count} buffers of {size} bytes {leased} are leased out now"
        super().__init__(errno.ENOBUFS, f"{os.strerror(errno.ENOBUFS)} [{what}] ({why}; release leases, or make more)")
        self.group, self.count, self.size, self.leased = group, count, size, leased


class OperationCancelled(OSError):
    """The operation ended with ECANCELED: somebody cancelled it."""


class ChainBroken(OperationCancelled):
    """The operation did not run because an earlier link of its chain failed or fell short.

    Attributes:
        cause: the operation that broke the chain.
    """

    cause: Any

    def __init__(self, code: int, message: str, cause: Any) -> None:
        super().__init__(code, message)
        self.cause = cause


def refusal(code: int) -> RingError:
    """The exception for an answer by which the native calls refuse to touch a ring."""
    if code == lib.URING_CLOSED:
        return RingClosed("the ring is closed")
    if code == lib.URING_FORKED:
        return Forked("the ring belongs to the parent process; make a new one after the fork")
    return WrongThread("the ring belongs to another thread; each thread makes its own")


# What costs a system call to know beforehand is explained when the kernel has found it out.
_HINTS = {
    errno.EBADF: "the descriptor is closed, or not open for this",
    errno.EFAULT: "the memory is not mapped, or lies outside the registered buffer",
    errno.ENOBUFS: "the buffer group is empty",
}
# The kernel's own number for "interrupted, start again"; a cancelled splice lets it through to the CQE (seen on 6.18).
ERESTARTSYS = 512
DRAIN_HINT = "if it was to drain: that ends with a ring's first skip_success; use another ring for one of the two"
_DIRECT_HINT = "with O_DIRECT, address, length and offset must be multiples of the logical block size"


def os_error(code: int, what: str, path: Any = None, *, transfer: bool = False, hint: str | None = None) -> OSError:
    """The OSError subclass for errno `code`, its message naming what was tried.

    Args:
        code: a positive errno.
        what: the operation and its range, as in "read of 4096 bytes at 0 from fd 3".
        path: the path it was about, for `filename`.
        transfer: whether it moves a file's bytes, so that EINVAL is most likely about alignment.
        hint: what the ring knows about the cause.
    """
    if code == ERESTARTSYS:
        code = errno.EINTR
    message = f"{os.strerror(code)} [{what}]"
    if hint is None:
        hint = _DIRECT_HINT if transfer and code == errno.EINVAL else _HINTS.get(code)
    if hint:
        message += f" ({hint})"
    if code == errno.ECANCELED:
        return OperationCancelled(code, message)
    if code == errno.ETIME:
        # The same as ETIMEDOUT to a Python program, which has one class for both.
        return TimeoutError(errno.ETIMEDOUT, message)
    if path is None:
        return OSError(code, message)
    return OSError(code, message, path)
