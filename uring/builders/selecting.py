"""Operations for which the kernel picks the buffer, from a group of provided ones.

The kernel facts this rests on:

- A CQE with F_BUFFER has taken the buffer that it names out of its group, whatever its result: a receive that was
  cancelled in a worker thread has one too, and so has a read at the end of a pipe. A receive of nothing has none.
- Buffers that are consumed in parts lie one behind the other in the order of CQEs, not of results that are asked for.

So what a CQE has taken is leased when the CQE is handed out, and the operation keeps the lease for its result.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ..errors import os_error
from ..operation import Operation
from ..types import BUFFER_SELECT, GROUP_SHIFT, BufferGroup

if TYPE_CHECKING:
    from ..provided_buffers import ProvidedBuffer


class SelectOperation(Operation[Any]):
    """An operation whose result lies in provided buffers; the last item of `about` is their group.

    If nobody takes the result, the lease is dropped with the operation, and the buffers go back.
    """

    __slots__ = ("_fetched", "_lease")

    _fetched: bool
    _lease: ProvidedBuffer

    def _picked(self, res: int, flags: int) -> None:
        pool = self._about[-1]
        if res < 0:
            pool._drop(res, flags)
        elif not hasattr(self, "_lease"):
            pool._lease_to(self, res, flags)

    def _dispose(self) -> None:
        if hasattr(self, "_lease") and not hasattr(self, "_fetched"):
            self._lease._let_go()

    def _error(self) -> Exception:
        if self._res == -errno.ENOBUFS:
            return self._about[-1]._exhausted(self.description())  # type: ignore[no-any-return]
        if self._res == -errno.EINVAL and self.opcode != "READ" and not self._kind.missing:
            return os_error(errno.EINVAL, self.description())  # not about alignment
        return super()._error()


def lease_of(operation: Operation[Any], res: int) -> ProvidedBuffer:
    """The result of such an operation."""
    if not hasattr(operation, "_lease"):
        operation._about[-1]._lease_to(operation, res, 0)  # nothing came, and no buffer
    operation._fetched = True  # type: ignore[attr-defined]
    return operation._lease  # type: ignore[attr-defined,no-any-return]


def selected(ring: Any, pool: BufferGroup, packed: int) -> tuple[int, Any]:
    """(options with the group, what to keep in memory) of a request that selects from `pool`.

    Raises:
        ValueError: a group of another ring, a closed one, or `buffer_group` beside it.
    """
    if pool.ring is not ring:
        raise ValueError(f"{pool!r} belongs to another ring")
    if packed & BUFFER_SELECT:
        raise ValueError("buffer_group is for a plain buffer: these belong to a group of their own")
    return packed | BUFFER_SELECT | pool.group << GROUP_SHIFT, pool._pin
