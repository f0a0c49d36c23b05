"""One CQE, copied out of the queue."""

from __future__ import annotations

from typing import NamedTuple

from ._native import lib

BUFFER: int = lib.IORING_CQE_F_BUFFER
MORE: int = lib.IORING_CQE_F_MORE
NOTIF: int = lib.IORING_CQE_F_NOTIF


class Completion(NamedTuple):
    """An immutable view of one CQE (`struct io_uring_cqe`). It stays valid when the queue has moved on."""

    user_data: int
    """The 64-bit value that the request carried; 0 for an Operation's own, which is found by other means."""
    res: int
    """The result: what the system call of the same name returns, or a negative errno."""
    flags: int
    """IORING_CQE_F_* bits, and in the upper half the buffer id."""

    @property
    def more(self) -> bool:
        """Whether more CQEs of the same request will come (IORING_CQE_F_MORE)."""
        return bool(self.flags & MORE)

    @property
    def notification(self) -> bool:
        """Whether this is the second CQE of a zero-copy send: its memory is free (IORING_CQE_F_NOTIF)."""
        return bool(self.flags & NOTIF)

    @property
    def buffer_id(self) -> int | None:
        """The id of the provided buffer that was used, or None (IORING_CQE_F_BUFFER)."""
        return self.flags >> lib.IORING_CQE_BUFFER_SHIFT if self.flags & BUFFER else None

    @property
    def buffer_more(self) -> bool:
        """Whether the provided buffer is only partly used and stays the kernel's (IORING_CQE_F_BUF_MORE)."""
        return bool(self.flags & lib.IORING_CQE_F_BUF_MORE)

    @property
    def sock_nonempty(self) -> bool:
        """Whether the socket had more data than was received (IORING_CQE_F_SOCK_NONEMPTY)."""
        return bool(self.flags & lib.IORING_CQE_F_SOCK_NONEMPTY)
