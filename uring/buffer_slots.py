"""Registered memory on loan: what a table of registered buffers hands out."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from ._native import ffi
from .types import FixedBuffer


class Lease:
    """What the slots of one loan share.

    Attributes:
        table: the table that it is of; it has `_ring` and `closed`.
        index: its place there.
        readonly: whether its memory must not be changed.
        anchor: the cdata at its memory that everything that uses it keeps alive; None when it was given back.
    """

    __slots__ = ("__weakref__", "anchor", "index", "readonly", "table")

    def __init__(self, table: Any, pin: Any, anchor: Any) -> None:
        self.table, self.index, self.readonly, self.anchor = table, pin.index, pin.readonly, anchor


class BufferSlot(FixedBuffer):
    """Registered memory on loan, or a part of it: what `RegisteredBuffers.acquire` gives.

    Use it as a context manager; leaving the block gives it back. Operations that use it, and views and arrays of it,
    hold on to the memory for as long as they need it, and only then is it lent again.

    It goes where a FixedBuffer does, and a slice of it too. `view` is its memory as a memoryview; numpy takes it as an
    array without a copy, and from Python 3.12 on it is a buffer itself.
    """

    __slots__ = ("_lease", "_start", "_stop")

    def __init__(self, lease: Lease, start: int, stop: int) -> None:
        self.index = lease.index
        self._lease, self._start, self._stop = lease, start, stop

    def _anchor(self) -> Any:
        anchor = self._lease.anchor
        if anchor is None:
            why = "its table is closed" if self._lease.table.closed else "it was given back"
            raise ValueError(f"the lease of registered buffer {self.index} has ended: {why}")
        return anchor

    @property
    def memory(self) -> memoryview:
        """Its memory; read-only where what was registered is.

        Raises:
            ValueError: it was given back.
        """
        view = memoryview(ffi.buffer(self._anchor(), self._stop))[self._start :]
        return view.toreadonly() if self._lease.readonly else view

    view = memory

    @property
    def released(self) -> bool:
        """Whether it was given back."""
        return self._lease.anchor is None

    def release(self) -> None:
        """Give it back, with all slices of it. Doing it twice does nothing. Safe from any thread."""
        self._lease.anchor = None

    def _lent(self, ring: Any, *, write: bool) -> tuple[Any, int, Any]:
        lease = self._lease
        if lease.table._ring is not ring:
            raise ValueError(f"registered buffer {self.index} belongs to another ring")
        anchor = self._anchor()
        if write and lease.readonly:
            raise TypeError(f"the kernel would write into read-only memory: registered buffer {self.index}")
        return anchor + self._start, self._stop - self._start, anchor

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, part: slice) -> BufferSlot:
        if not isinstance(part, slice):
            raise TypeError("a registered buffer is sliced, not indexed")
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("a slice of a registered buffer is in one piece")
        return BufferSlot(self._lease, self._start + start, self._start + max(start, stop))

    def __buffer__(self, _flags: int) -> memoryview:
        return self.memory

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": (len(self),), "typestr": "|u1", "data": self.memory}

    def __enter__(self) -> BufferSlot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        state = " released" if self.released else ""
        return f"<BufferSlot {self.index} of {len(self)} bytes{state}>"
