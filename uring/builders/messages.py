"""Messages from ring to ring: completions, and registered files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._native import lib
from ..errors import Unsupported
from ..file_slots import RegisteredFile
from ..operation import Kind, Operation, nothing
from ..types import Descriptor, FixedFile, Options, pack
from .arguments import INT_MAX, U32_MAX, number, reporting
from .base import Builder, file_of
from .direct import ALLOC, slot_result
from .zero_copy import SEND_ZC

if TYPE_CHECKING:
    from typing_extensions import Unpack

MSG_RING = Kind("msg_ring", "MSG_RING", "5.18", lib.uring_msg_ring, nothing)
MSG_RING_FLAGS = Kind("msg_ring", "MSG_RING", "6.3", lib.uring_msg_ring_cqe_flags, nothing)
MSG_RING_FD = Kind("msg_ring_fd", "MSG_RING", "6.0", lib.uring_msg_ring_fd, slot_result)


def _user_data_of(user_data: int) -> int:
    """A message's user_data, which must not pass for that of an Operation: its memory would be let go of too early."""
    value = number(user_data, "user_data", (1 << 64) - 1)
    if value >> 56 == lib.URING_MARK:
        raise ValueError(f"the top byte of user_data must not be 0x5A, the mark of operations: {value:#x}")
    return value


class MessageBuilders(Builder):
    """Messages from ring to ring. A target is a Ring, also this one, or the descriptor of a ring."""

    _ring: Any  # the `struct io_uring *`

    def msg_ring(
        self,
        target: Descriptor,
        res: int,
        user_data: int,
        *,
        cqe_flags: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[None]:
        """Post a completion into another ring, whose `wait` or `peek` returns it as a Completion.

        Args:
            target: the ring.
            res: the completion's result, 32 bits, signed or not.
            user_data: the completion's user_data, 64 bits, of which the top byte is not 0x5A.
            cqe_flags: the completion's flags, where they are not 0 (6.3).
            options: see Options.

        Returns:
            An Operation whose result is None. OSError: the target is no ring or a disabled one (EBADFD), or cannot
            take more (EOVERFLOW).

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.
            RingClosed: a target that is closed.
            Unsupported: a kernel before 5.18, or before 6.3 with `cqe_flags`.

        Kernel: 5.18. Twins: `io_uring_prep_msg_ring`, `io_uring_prep_msg_ring_cqe_flags`.
        """
        file, packed, keep = file_of(target, pack(options), self)
        length = number(res, "res", U32_MAX, low=-INT_MAX - 1) & U32_MAX
        data = _user_data_of(user_data)
        if cqe_flags is None:
            return self._start(MSG_RING, keep, (file,), packed, file, length, data, 0)
        flags = number(cqe_flags, "cqe_flags", U32_MAX)
        if not self._ring.features & lib.IORING_FEAT_REG_REG_RING:  # of the same kernel
            raise Unsupported("IORING_MSG_RING_FLAGS_PASS", MSG_RING_FLAGS.since)
        return self._start(MSG_RING_FLAGS, keep, (file,), packed, file, length, data, 0, flags)

    def msg_ring_fd(
        self,
        target: Descriptor,
        source: int,
        slot: int = ALLOC,
        user_data: int = 0,
        *,
        skip_cqe: bool = False,
        **options: Unpack[Options],
    ) -> Operation[FixedFile]:
        """Put one of this ring's registered files into another ring's table, and post a completion there.

        Args:
            target: the ring; not this one.
            source: the file's index in this ring's table, a FixedFile or a RegisteredFile.
            slot: its index in the target's table, in place of what is there; ALLOC lets the kernel choose a free one.
                A RegisteredFiles table on the other side takes over what the kernel chose with its `adopt`; or it
                has reserved a slot and told you its number.
            user_data: the completion's user_data, as for `msg_ring`. Its res is the slot with ALLOC, else 0.
            skip_cqe: post no completion there.
            options: see Options; `skip_success` is refused, since the slot would be lost.

        Returns:
            An Operation whose result is the FixedFile in the target's table. OSError: as for `msg_ring`, and there is
            no such file (EBADF), no table or no free slot (ENXIO, ENFILE).

        Raises:
            TypeError, ValueError: no descriptor, a number out of range, a source that is closed or another ring's.
            RingClosed: a target that is closed.
            Unsupported: a kernel before 6.0.

        Kernel: 6.0. Twins: `io_uring_prep_msg_ring_fd`, `io_uring_prep_msg_ring_fd_alloc`.
        """
        file, packed, keep = file_of(target, reporting(options, "msg_ring_fd"), self)
        index, kept = number(source, "source"), None
        if isinstance(source, RegisteredFile):
            kept = source._pin(self, packed)
        place = ALLOC if slot == ALLOC and not isinstance(slot, bool) else number(slot, "slot")
        data = _user_data_of(user_data)
        if SEND_ZC[0].missing:  # of the same kernel
            raise Unsupported("IORING_MSG_SEND_FD", MSG_RING_FD.since)
        flags = lib.IORING_MSG_RING_CQE_SKIP if skip_cqe else 0
        about = (file, None, None, place)
        # C takes the slot as an int, and ALLOC is all ones there.
        as_int = place if place <= INT_MAX else place - (1 << 32)
        return self._start(MSG_RING_FD, (keep, kept), about, packed, file, index, as_int, data, flags)
