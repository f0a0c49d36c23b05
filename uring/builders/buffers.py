"""Provided buffers of the older kind, one request to hand some over and one to take them back.

A request with the option `buffer_group` takes a buffer out of its group when there is data for it, and tells which in
`completion.buffer_id`; the buffer is the program's again then. Rings of provided buffers are newer (5.19) and faster.

The kernel may write into a buffer from when it is provided until it is known that it is neither in its group nor with
a request that took it out. So its memory is pinned until a `remove_buffers` has shown that its group is empty, and
until all operations are complete that were in flight at that moment; or until the ring is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._native import lib
from ..errors import RingError, Unsupported
from ..operation import Kind, Operation, nothing
from ..types import Options
from .arguments import number, reporting
from .base import Builder, writable

if TYPE_CHECKING:
    from typing_extensions import Unpack

ID_MAX = 0xFFFF
GROUP_MAX = 0xFFFF  # buffers in a group: one less than ids, and the kernel drops what is too many without a word


class Provision:
    """Memory of buffers that were handed over, their number, and the operation that did it."""

    __slots__ = ("count", "memory", "operation")

    def __init__(self, memory: Any, count: int) -> None:
        self.memory, self.count = memory, count
        self.operation: Operation[None] | None = None

    def is_done(self) -> bool:
        """Whether the buffers are in their group; otherwise they may come there at any time."""
        return self.operation is not None and self.operation._res is not None


class ProvideOperation(Operation[None]):
    """Buffers that are handed over; the fourth item of `about` is their number, the fifth their group."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{self.name} of {self._about[3]} buffers to group {self._about[4]}"


class RemoveOperation(Operation[int]):
    """Buffers that are taken back; the fourth and fifth items of `about` are their number and their group."""

    __slots__ = ()

    def description(self) -> str:
        """See Operation.description."""
        return f"{self.name} of {self._about[3]} buffers from group {self._about[4]}"


def _removed(operation: Operation[int], count: int) -> int:
    """The result of a remove; also unpins what it has shown to be out of its group."""
    asked, group, before = operation._about[3:6]
    ring: Any = operation._ring
    provided = ring._provided.get(group, [])
    known = [provision for provision in before if provision in provided]
    alone = len(known) == len(provided) and count >= sum(provision.count for provision in known)
    if (alone or count < asked) and known and not lib.uring_check(ring._native):
        memories = [provision.memory for provision in known]
        for other in ring._table:
            if other is not None:  # it may have taken one of them out
                other._memory = (other._memory, memories)
        for provision in known:
            provided.remove(provision)
            provision.memory = None
    return count


PROVIDE_BUFFERS: Kind[None] = Kind(
    "provide_buffers", "PROVIDE_BUFFERS", "5.7", lib.uring_provide_buffers, nothing, operation=ProvideOperation
)
REMOVE_BUFFERS: Kind[int] = Kind(
    "remove_buffers", "REMOVE_BUFFERS", "5.7", lib.uring_remove_buffers, _removed, operation=RemoveOperation
)


class BufferBuilders(Builder):
    """Provided buffers of the older kind."""

    _provided: dict[int, list[Any]]  # the Provisions of each group
    _groups: dict[int, Any]  # those that are ProvidedBuffers

    def provide_buffers(
        self, memory: Any, size: int, group: int, first_id: int = 0, **options: Unpack[Options]
    ) -> Operation[None]:
        """Hand buffers over to a group, from which requests with the option `buffer_group` take them.

        The memory is held in place until `remove_buffers` has shown the group to be empty, or the ring is closed.

        Args:
            memory: a writable, contiguous buffer, which is cut into at most 65535 buffers of `size` bytes.
            size: bytes of each; the memory must be a multiple of it.
            group: the group's id, 0 to 65535. It is made if there is none.
            first_id: the id of the first buffer; the others follow. Ids are 0 to 65535.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, BufferError: no buffer, a read-only one, one that is not contiguous.
            ValueError: a number out of range, memory that is no multiple of `size`, the group of ProvidedBuffers.
            Unsupported: a kernel before 5.7.

        Kernel: 5.7. Twin: `io_uring_prep_provide_buffers`.
        """
        packed = reporting(options, "provide_buffers")
        buffers = writable(memory)
        length = number(size, "size", low=1)
        if not len(buffers) or len(buffers) % length:
            raise ValueError(f"{len(buffers)} bytes of memory are no multiple of {length}")
        count = len(buffers) // length
        first = number(first_id, "first_id", ID_MAX)
        if count > GROUP_MAX or first + count > ID_MAX + 1:
            raise ValueError(f"{count} buffers from id {first} on: a group has {GROUP_MAX}, and ids up to {ID_MAX}")
        where = number(group, "group", ID_MAX)
        if where in self._groups:
            raise ValueError(f"buffer group {where} belongs to {self._groups[where]!r}")
        about = (None, None, None, count, where)
        # Pinned before it is queued, and unless it is clear that it was not: a signal's handler may raise in between.
        provision = Provision(buffers, count)
        provided = self._provided.setdefault(where, [])
        provided.append(provision)
        try:
            operation = self._start(PROVIDE_BUFFERS, buffers, about, packed, buffers, length, count, where, first)
        except (RingError, Unsupported):
            provided.remove(provision)
            raise
        provision.operation = operation
        return operation

    def remove_buffers(self, count: int, group: int, **options: Unpack[Options]) -> Operation[int]:
        """Take buffers out of a group, those that would be used next.

        Args:
            count: how many at most; asking for more than there are takes all.
            group: the group's id, 0 to 65535.
            options: see Options; `skip_success` is refused, since the number would be lost.

        Returns:
            An Operation whose result is the number that were taken out. When it shows that the group is empty,
            taking the result lets go of the memory. FileNotFoundError: there is no such group.

        Raises:
            TypeError, ValueError: a number out of range.
            Unsupported: a kernel before 5.7.

        Kernel: 5.7. Twin: `io_uring_prep_remove_buffers`.
        """
        packed = reporting(options, "remove_buffers")
        asked = number(count, "count", GROUP_MAX, low=1)
        where = number(group, "group", ID_MAX)
        # Those that are not in their group yet may come there after the remove.
        before = [provision for provision in self._provided.get(where, ()) if provision.is_done()]
        return self._start(REMOVE_BUFFERS, None, (None, None, None, asked, where, before), packed, asked, where)
