"""Requests that wait for files to be ready: poll, epoll."""

from __future__ import annotations

import enum
import select
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import ffi, lib
from ..errors import Unsupported
from ..multishot import Multishot
from ..operation import Kind, Operation, nothing
from ..types import FIXED_FILE, Descriptor, FixedFile, HasFileno, Options, pack
from .arguments import U32_MAX, number, reporting
from .base import Builder, file_of
from .cancelling import CancelOperation, CancelResult, UpdateOperation, about_of, one, target_of, updated
from .multishots import start

if TYPE_CHECKING:
    from typing_extensions import Unpack

U64_MAX = (1 << 64) - 1
# Events are told in an array of 12 or 16 bytes each; the kernel's own limit is that it fits an int.
EVENTS_MAX = 1 << 16


class EpollCtl(enum.IntEnum):
    """What `Ring.epoll_ctl` does with a descriptor (EPOLL_CTL_*)."""

    ADD = 1
    """Watch it."""
    DEL = 2
    """Watch it no longer."""
    MOD = 3
    """Watch it for other events, or with other data."""


def _ready(operation: Operation[list[tuple[int, int]]], count: int) -> list[tuple[int, int]]:
    events, data64 = operation._about[3:5]
    return [
        (int(events[index].data.u64 if data64 else events[index].data.fd), int(events[index].events))
        for index in range(count)
    ]


POLL_ADD: Kind[int] = Kind("poll_add", "POLL_ADD", "5.1", lib.uring_poll_add)
POLL_MULTISHOT: Kind[None] = Kind(
    "poll_add", "POLL_ADD", "5.13", lib.uring_poll_multishot, nothing, operation=Multishot
)
POLL_REMOVE = Kind("poll_remove", "POLL_REMOVE", "5.1", lib.uring_poll_remove, one, operation=CancelOperation)
POLL_UPDATE = Kind("poll_update", "POLL_REMOVE", "5.13", lib.uring_poll_update, updated, operation=UpdateOperation)
EPOLL_CTL = Kind("epoll_ctl", "EPOLL_CTL", "5.6", lib.uring_epoll_ctl, nothing)
EPOLL_WAIT = Kind("epoll_wait", "EPOLL_WAIT", "6.15", lib.uring_epoll_wait, _ready)


class PollBuilders(Builder):
    """Requests that wait for files to be ready."""

    _ring: Any  # the `struct io_uring *`

    @overload
    def poll_add(
        self, fd: Descriptor, poll_mask: int = ..., *, multishot: Literal[True], **options: Unpack[Options]
    ) -> Multishot[int]: ...

    @overload
    def poll_add(
        self, fd: Descriptor, poll_mask: int = ..., *, multishot: Literal[False] = ..., **options: Unpack[Options]
    ) -> Operation[int]: ...

    def poll_add(
        self, fd: Descriptor, poll_mask: int = select.POLLIN, *, multishot: bool = False, **options: Unpack[Options]
    ) -> Operation[int] | Multishot[int]:
        """Wait until a file is ready.

        Args:
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            poll_mask: select.POLL* bits to wait for; POLLERR and POLLHUP are always waited for. EPOLLEXCLUSIVE wakes
                only one of several who poll the same file.
            multishot: tell of every event from now on, of what is ready already first. Not in a chain.
            options: see Options; in a chain, `skip_success` makes the result 0. With `multishot` it is refused.

        Returns:
            An Operation whose result is the mask of what the file is ready for. With `multishot` a Multishot of
            masks; several events may be told as one. Of a file that is always ready it brings one after the other.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, no mask of 32 bits, `multishot` in a chain.
            Unsupported: `multishot` on a kernel before 5.13.

        Kernel: 5.1, multishot 5.13. Twins: `io_uring_prep_poll_add`, `io_uring_prep_poll_multishot`.
        """
        if multishot:
            return self._poll_all(fd, poll_mask, options)
        file, packed, keep = file_of(fd, pack(options) if options else 0, self, at_once=True)
        return self._start(POLL_ADD, keep, (file,), packed, file, number(poll_mask, "poll_mask", U32_MAX))

    def _poll_all(self, fd: Descriptor, poll_mask: int, options: Options) -> Multishot[int]:
        file, packed, keep = file_of(fd, reporting(options, "a multishot poll"), self)
        arguments = (file, number(poll_mask, "poll_mask", U32_MAX))
        if not self._ring.features & lib.IORING_FEAT_RSRC_TAGS:  # of the same kernel
            raise Unsupported("IORING_POLL_ADD_MULTI", POLL_MULTISHOT.since)
        operation: Multishot[int] = start(self, POLL_MULTISHOT, keep, (file,), *arguments, options=packed, file=keep)
        return operation

    def poll_remove(self, target: Operation[Any], **options: Unpack[Options]) -> Operation[CancelResult]:
        """Cancel a poll; it ends with OperationCancelled. `cancel` does the same for any operation.

        Args:
            target: a poll of this ring.
            options: see Options; `skip_success` is refused, since the answer would be lost.

        Returns:
            An Operation whose result is a CancelResult: CANCELLED, or NOT_FOUND or ALREADY_RUNNING when it is too
            late.

        Raises:
            TypeError: not an Operation.
            ValueError: not a poll, of another ring, or recorded in an open chain.

        Kernel: 5.1. Twin: `io_uring_prep_poll_remove`.
        """
        packed = reporting(options, "poll_remove")
        user_data = target_of(self, target, "POLL_ADD")
        return self._start(POLL_REMOVE, None, about_of(target), packed, user_data)

    def poll_update(self, target: Operation[Any], poll_mask: int, **options: Unpack[Options]) -> Operation[bool]:
        """Let a poll wait for something else.

        Args:
            target: a poll of this ring.
            poll_mask: select.POLL* bits to wait for instead.
            options: see Options; `skip_success` is refused, since the answer would be lost.

        Returns:
            An Operation whose result is whether the poll was still waiting.

        Raises:
            TypeError: not an Operation, no mask.
            ValueError: not a poll, of another ring, or recorded in an open chain; no mask of 32 bits.
            Unsupported: a kernel before 5.13.

        Kernel: 5.13. Twin: `io_uring_prep_poll_update`.
        """
        packed = reporting(options, "poll_update")
        mask = number(poll_mask, "poll_mask", U32_MAX)
        user_data = target_of(self, target, "POLL_ADD", ends=False)
        if not self._ring.features & lib.IORING_FEAT_RSRC_TAGS:  # of the same kernel
            raise Unsupported("IORING_POLL_UPDATE_EVENTS", POLL_UPDATE.since)
        events = lib.IORING_POLL_UPDATE_EVENTS
        if isinstance(target, Multishot) and not lib.uring_check(target._ring._native):
            target._arguments = (target._arguments[0], mask)  # what it is requested with from now on
        return self._start(POLL_UPDATE, None, about_of(target), packed, user_data, 0, mask, events)

    def epoll_ctl(
        self,
        epfd: int | HasFileno,
        fd: int | HasFileno,
        op: int,
        events: int = 0,
        data: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[None]:
        """Add, change or remove a descriptor of an epoll set.

        Args:
            epfd: the epoll set: a select.epoll, or its descriptor.
            fd: the descriptor to watch, or an object with `fileno()`, which is kept from being collected only until
                this is complete.
            op: EpollCtl.ADD, MOD or DEL.
            events: select.EPOLL* bits; not used by DEL.
            data: 64 bits that come back with its events; the default is the descriptor.
            options: see Options; `fixed_file` is refused, since neither can be a registered file.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, a FixedFile, a number out of range.

        Kernel: 5.6. Twin: `io_uring_prep_epoll_ctl`.
        """
        if isinstance(epfd, FixedFile) or isinstance(fd, FixedFile):
            raise ValueError("an epoll set and what it watches are ordinary descriptors, not registered files")
        number_, packed, keep = file_of(epfd, pack(options), self)
        if packed & FIXED_FILE:
            raise ValueError("fixed_file is not for epoll_ctl: the kernel would take the index for a descriptor")
        watched, _, keep_watched = file_of(fd, 0, self)
        event = ffi.new("struct epoll_event *")
        event.events = number(events, "events", U32_MAX)
        event.data.u64 = watched if data is None else number(data, "data", U64_MAX)
        action = number(op, "op")
        owned = (event, keep, keep_watched)
        return self._start(EPOLL_CTL, owned, (watched,), packed, number_, watched, action, event)

    def epoll_wait(
        self, epfd: Descriptor, maxevents: int = 64, *, data64: bool = False, **options: Unpack[Options]
    ) -> Operation[list[tuple[int, int]]]:
        """Wait until something in an epoll set is ready.

        Args:
            epfd: the epoll set: a select.epoll, its descriptor, or a FixedFile.
            maxevents: how many to tell at most, 1 to 65536.
            data64: tell all 64 bits of what `epoll_ctl` noted. `select.epoll.register` leaves the upper half
                undefined.
            options: see Options; `skip_success` is refused, since the events would be lost.

        Returns:
            An Operation whose result is a list of (descriptor, events), as of `select.epoll.poll`; where `epoll_ctl`
            was given other data, their lower 32 bits, signed, stand for the descriptor. With `data64` it is a list of
            (data, events).

        Raises:
            TypeError, ValueError: no descriptor, a closed file, `maxevents` out of range.
            Unsupported: a kernel before 6.15.

        Kernel: 6.15. Twin: `io_uring_prep_epoll_wait`.
        """
        file, packed, keep = file_of(epfd, reporting(options, "epoll_wait"), self)
        room = number(maxevents, "maxevents", EVENTS_MAX, low=1)
        events = ffi.new("struct epoll_event[]", room)
        about = (file, None, None, events, data64)
        return self._start(EPOLL_WAIT, (events, keep), about, packed, file, events, room, 0)
