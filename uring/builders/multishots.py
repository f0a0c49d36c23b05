"""What the builders of multishot requests share: descriptors and leases as shots, and how a request is started."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from ..file_slots import Filling, Token
from ..multishot import Multishot
from ..operation import Extra, Kind, operation_of
from ..types import BufferGroup, Options

T = TypeVar("T")
close = os.close


class DescriptorMultishot(Multishot[int]):
    """Each shot is a new descriptor."""

    __slots__ = ()

    def _throw_away(self, key: Any) -> None:
        fd = self._shots[key][0]
        del self._shots[key]
        close(fd)

    def _throw_away_value(self, value: Any) -> None:
        close(value)

    def _forsake(self) -> None:
        self._dispose()


class LeaseMultishot(Multishot[T]):
    """Each shot is a lease of a buffer of its group; a stream ends with 0."""

    __slots__ = ()

    _group: BufferGroup

    def _is_end(self, res: int) -> bool:
        return res == 0

    def _take_in(self, key: Any, slot: int, res: int, flags: int) -> None:
        # Leased at once, in the order of completions: buffers that are used in parts are so in that order. And in one
        # call, so that the lease is in its place before a signal's handler may raise.
        if res < 0:
            self._group._drop(res, flags)
        elif key not in self._fresh and key not in self._shots:
            self._fresh.update(zip((key,), map(self._group._lease, (res,), (flags,)), strict=True))
        super()._take_in(key, slot, res, flags)

    def _throw_away(self, key: Any) -> None:
        self._fresh.pop(key, None)  # its buffer goes back with the lease
        del self._shots[key]


def group_of(ring: Any, pool: Any, options: Options, name: str) -> tuple[int, Any]:
    """(group id, what to pin) of the buffers for a multishot.

    Raises:
        TypeError: not a BufferGroup.
        ValueError: the option `buffer_group`, which `pool` is; buffers of another ring.
    """
    if not isinstance(pool, BufferGroup):
        raise TypeError(f"a multishot {name} takes its buffers from a pool of them, not {type(pool).__name__}")
    if "buffer_group" in options:
        raise ValueError(f"the buffer group of a multishot {name} is its argument")
    if pool.ring is not ring:
        raise ValueError(f"the buffers of this multishot {name} belong to another ring")
    return pool.group, pool._pin


def start(
    ring: Any,
    kind: Kind[Any],
    memory: Any,
    about: tuple[Any, ...],
    *arguments: Any,
    options: int,
    file: Any = None,
    group: BufferGroup | None = None,
) -> Any:
    """Make a multishot operation and write its SQE.

    Args:
        ring: whose operation it is.
        kind: what it is.
        memory: what the kernel may touch.
        about: its file first, for messages and results.
        arguments: what the fused call takes; the file comes first.
        options: packed.
        file: what `file_of` says to keep alive of it, which tells whether its number still is that file's.
        group: the buffers that it selects from.

    Raises:
        ValueError: a chain is open.
    """
    ring._check()
    if ring._recording is not None:
        raise ValueError(f"a multishot {kind.name} is no link of a chain: it never succeeds, so none could follow it")
    operation: Any = operation_of(ring, kind, memory, about)
    operation._extra = Extra()
    operation._options, operation._arguments, operation._group = options, arguments, group
    operation._file = Filling(file.what) if isinstance(file, Token) else file
    operation._shots, operation._fresh, operation._found = {}, {}, []
    operation._last = operation._stopper = None
    operation._count, operation._stopping, operation._stop_due = 0, False, False
    operation._on_shots, operation._at_end = [], []
    operation.starved = operation._listening = False
    ring._multishots[operation] = None
    try:
        ring._write(operation, options, arguments)
    except BaseException:
        if operation._slot < 0:
            ring._multishots.pop(operation, None)
        raise
    return operation
