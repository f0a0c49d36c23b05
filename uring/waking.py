"""Waking a ring's owner from another thread.

A wake is a flag, set from any thread, and as many messages to the ring as the wait for completions that it cuts short
counts (native/wake.c). Their user_data fits no operation, so they are dropped where completions are copied. A wake that
finds no wait stays due until one would sleep; nothing is sent for it.

The ring's descriptor is used by a thread that does not own the ring. A lock keeps the owner from closing it meanwhile:
its number could belong to another file by then. Nobody holds the lock while waiting for the owner.
"""

from __future__ import annotations

import errno
import threading
from typing import Any

from ._native import ffi, lib
from .builders.messages import MSG_RING
from .errors import RingClosed, os_error, refusal
from .waiting import Waiting

# What one message needs: how many more are queued is submitted in between.
SENDER_ENTRIES = 8


class Waking(Waiting):
    """The part of Ring that other threads may call."""

    def _take_off(self) -> None:
        super()._take_off()
        self._guard = threading.RLock()  # a signal's handler may wake while the thread that it struck does
        self._sender: Any = None  # a ring to send messages with, on kernels that need one

    def wake(self) -> None:
        """Make the owner's current `wait` return now, or else its next one; the only call that any thread may make.

        That `wait` returns what is there: fewer completions than it was to wait for, maybe none. Many wakes before it
        returns are one. What waits for something definite goes on waiting: `Operation.result`, iteration, the end of
        a `with` block; the wake stays due for the next `wait` then, also when a `wait` had all that it waited for.

        It may be called from signal handlers and callbacks, in the ring's own thread too. It never waits for the owner.

        Raises:
            RingClosed: the ring is closed.
            Forked: this process is a fork of the ring's owner.
            ValueError: the ring was made with registered_fd_only: no other thread can reach it.
            Unsupported: a kernel before 5.18, which has no messages between rings.

        Kernel: 5.18. Twin: `io_uring_register_sync_msg`; before 6.13 `io_uring_prep_msg_ring` on a ring of its own.
        """
        self._wakeable()
        with self._guard:
            if self.closed:
                raise RingClosed("the ring is closed")
            code = -errno.EINVAL
            if self._sender is None:
                code = lib.uring_wake(self._native, self._ring.ring_fd, ffi.NULL)
            if code == -errno.EINVAL:  # before 6.13
                code = lib.uring_wake(self._native, self._ring.ring_fd, self._open_sender())
        if code < 0:
            raise os_error(-code, "wake")

    def _wakeable(self) -> None:
        """Refuse what can be refused without the lock; in a fork's child somebody may hold that for ever."""
        code = lib.uring_check(self._native)
        if code and code != lib.URING_WRONG_THREAD:
            raise refusal(code)
        if self._params.registered_fd_only:
            raise ValueError("a ring with registered_fd_only has no descriptor that another thread could reach")
        if MSG_RING.missing:
            raise MSG_RING.unsupported()

    def _open_sender(self) -> Any:
        if self._sender is None:
            self._sender = ffi.new("struct io_uring *")
        if not self._sender.sq.khead:
            code = lib.io_uring_queue_init(SENDER_ENTRIES, self._sender, 0)
            if code < 0:
                raise os_error(-code, "the ring that wakes another one")
        return self._sender

    def _close_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None and sender.sq.khead:
            lib.io_uring_queue_exit(sender)
