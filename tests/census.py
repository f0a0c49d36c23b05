"""What a ring and a process hold, counted; and requests that are not the ring's own."""

from __future__ import annotations

from uring import Ring
from uring import liburing as L


def queue_foreign(ring: Ring, user_data: int) -> None:
    """A NOP of our own through the C names."""
    sqe = L.io_uring_get_sqe(ring.c_ring)
    if sqe == L.ffi.NULL:
        ring.submit()
        sqe = L.io_uring_get_sqe(ring.c_ring)
    assert sqe != L.ffi.NULL, "no free SQE"
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, user_data)


def table_size(ring: Ring) -> tuple[int, int, int]:
    """Slots, places of the table, and operations in it."""
    return ring._native.slot_count, len(ring._table), sum(place is not None for place in ring._table)


def memory_pages() -> int:
    """The resident pages of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def locked() -> tuple[int, int]:
    """VmLck and VmPin in KiB."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if line.startswith("Vm"))
    return int(fields["VmLck"].split()[0]), int(fields["VmPin"].split()[0])
