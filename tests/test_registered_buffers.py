"""Registered buffers: what can be registered, leases and how long they last, exchanging buffers, limits."""

from __future__ import annotations

import array
import ctypes
import errno
import gc
import itertools
import mmap
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

import uring
from uring import BufferSlot, FixedBuffer, Params, RegisteredBuffers, Ring, RingClosed, State, WrongThread, probe
from uring import liburing as L

LONG = 10.0
PAGE = mmap.PAGESIZE
SIZE = 4096
DATA = bytes(range(256)) * 16


def require_clone() -> None:
    """Skip on kernels that do not clone buffers."""
    if not probe.register_ops()["REGISTER_CLONE_BUFFERS"]:
        pytest.skip("this kernel lacks IORING_REGISTER_CLONE_BUFFERS")


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 16 entries."""
    with Ring(16, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def other() -> Iterator[Ring]:
    """Another ring."""
    with Ring(16, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def table(ring: Ring) -> Iterator[RegisteredBuffers]:
    """Two buffers of a page."""
    with RegisteredBuffers.allocate(ring, 2, SIZE) as opened:
        yield opened


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file of 4 KiB of known bytes."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(number, DATA)
    yield number
    os.close(number)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends: a read of it is in flight for as long as a test wants."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def is_pinned(buffer: bytearray) -> bool:
    """Whether it cannot be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


def pinned() -> int:
    """Bytes that the kernel has pinned for this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmPin"))


# --- plain use -------------------------------------------------------------------------------------


def test_a_slot_is_read_into_and_written_from(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """The requests for registered memory are used, and move the right bytes."""
    with table.acquire() as slot:
        read = ring.read(fd, slot, 0)
        assert (read.result(LONG), read.opcode) == (SIZE, "READ_FIXED")
        assert bytes(slot.view) == DATA
        slot.view[:5] = b"hello"
        write = ring.write(fd, slot, 100)
        assert (write.result(LONG), write.opcode) == (SIZE, "WRITE_FIXED")
    assert os.pread(fd, 300, 100)[:300] == b"hello" + DATA[5:300]


def test_a_slice_is_registered_too(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """A part of a slot, and a part of that, is transferred by the same requests and touches nothing else."""
    with table.acquire() as slot:
        part = slot[100:200][10:]
        assert len(part) == 90
        read = ring.read(fd, part, 7)
        assert (read.result(LONG), read.opcode) == (90, "READ_FIXED")
        assert bytes(slot.view) == bytes(110) + DATA[7:97] + bytes(SIZE - 200)
        assert bytes(part.view) == DATA[7:97]
        assert len(slot[5:2]) == 0
        for wrong, error in ((slice(0, 10, 2), ValueError), (slice(None, None, -1), ValueError), (3, TypeError)):
            with pytest.raises(error):
                slot[wrong]  # type: ignore[index]


def test_parts_of_a_slot(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """A list of slices is one vectored request on registered memory."""
    require_opcode("IORING_OP_READV_FIXED")
    with table.acquire() as slot:
        read = ring.read(fd, [slot[10:20], slot[:10]], 0)
        assert (read.result(LONG), read.opcode) == (20, "READV_FIXED")
        assert bytes(slot.view[:20]) == DATA[10:20] + DATA[:10]
        write = ring.write(fd, [slot[:10], slot[10:20]], 1000)
        assert (write.result(LONG), write.opcode) == (20, "WRITEV_FIXED")
        assert os.pread(fd, 20, 1000) == DATA[10:20] + DATA[:10]
        with table.acquire() as second, pytest.raises(ValueError, match="one registered buffer"):
            ring.read(fd, [slot[:4], second[:4]], 0)


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            yield client, peer


def test_a_slot_is_sent_without_copying(
    ring: Ring, table: RegisteredBuffers, tcp: tuple[socket.socket, socket.socket]
) -> None:
    """A slot, or a part of it, is sent from registered memory, and is lent again after the notification."""
    require_opcode("IORING_OP_SEND_ZC")
    with table.acquire(0) as slot:
        slot.view[:10] = b"0123456789"
        send = ring.send_zc(tcp[0], slot[2:8])
    assert send.result(LONG) == 6
    assert tcp[1].recv(100) == b"234567"
    table.acquire(0, timeout=LONG).release()


def test_parts_are_sent_without_copying(
    ring: Ring, table: RegisteredBuffers, tcp: tuple[socket.socket, socket.socket]
) -> None:
    """Parts of one slot are sent as one message from registered memory."""
    require_opcode("IORING_OP_READV_FIXED")  # of the same kernel
    with table.acquire() as slot:
        slot.view[:10] = b"0123456789"
        assert ring.sendmsg_zc(tcp[0], [slot[5:8], slot[:2]]).result(LONG) == 5
    assert tcp[1].recv(100) == b"56701"


def test_a_chain_over_one_slot(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """A read and a write behind it use the slot one after the other, after its block was left."""
    with table.acquire() as slot, ring.chain():
        ring.read(fd, slot[:100], 50)
        write = ring.write(fd, slot[:100], 3000)
    assert write.result(LONG) == 100
    assert os.pread(fd, 100, 3000) == DATA[50:150]


# --- what can be registered ---------------------------------------------------------------------------


def private_mapping() -> mmap.mmap:
    """An anonymous private mapping."""
    return mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


MEMORY: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(100),
    "mmap": lambda: mmap.mmap(-1, PAGE),
    "private mmap": private_mapping,
    "memoryview": lambda: memoryview(bytearray(300))[100:200],
    "array": lambda: array.array("d", [1.0] * 20),
    "ctypes": ctypes.c_char * 100,
    "numpy": lambda: pytest.importorskip("numpy").zeros((5, 8), dtype="int32"),
    "aligned_buffer": lambda: uring.aligned_buffer(5000),
}


@pytest.mark.parametrize("kind", MEMORY)
def test_writable_memory_of_any_kind(ring: Ring, fd: int, kind: str) -> None:
    """A read into the slot lands in the object that was registered."""
    memory = MEMORY[kind]()
    with RegisteredBuffers(ring, [bytearray(1), memory]) as table, table.acquire(1) as slot:
        size = memoryview(memory).nbytes
        assert len(slot) == size
        assert ring.read(fd, slot, 3).result(LONG) == min(size, len(DATA) - 3)
        assert memoryview(memory).cast("B")[:50] == DATA[3:53]


@pytest.mark.parametrize("kind", [bytes, lambda data: memoryview(bytearray(data)).toreadonly()])
def test_read_only_memory_is_only_written_from(ring: Ring, fd: int, kind: Callable[[bytes], Any]) -> None:
    """Constant memory can be registered; its slot is read-only, and reading into it is refused."""
    with RegisteredBuffers(ring, [kind(b"constant" * 20)]) as table, table.acquire() as slot:
        assert slot.view.readonly
        assert ring.write(fd, slot[:8], 0).result(LONG) == 8
        assert os.pread(fd, 8, 0) == b"constant"
        with pytest.raises(TypeError, match="read-only"):
            ring.read(fd, slot, 0)
        with pytest.raises(TypeError, match="read-only"):
            ring.read(fd, [slot[:3], slot[3:]], 0)


@pytest.mark.parametrize(
    ("buffers", "error"),
    [
        ([], ValueError),
        ([b""], ValueError),
        ([bytearray(1)] * 16385, ValueError),
        ([memoryview(bytearray(10))[::2]], BufferError),
        ([5], TypeError),
        (["text"], TypeError),
        ([None], TypeError),
        (bytearray(5), TypeError),
        (5, TypeError),
    ],
    ids=["none", "empty", "too many", "not contiguous", "int", "str", "None", "no list", "no iterable"],
)
def test_what_cannot_be_registered(ring: Ring, buffers: Any, error: type[Exception]) -> None:
    """It is refused before the kernel is asked, and the ring takes a table afterwards."""
    with pytest.raises(error):
        RegisteredBuffers(ring, buffers)
    RegisteredBuffers(ring, [bytearray(1)]).close()


def test_a_buffer_beyond_a_gibibyte(ring: Ring) -> None:
    """The limit of one buffer is told beforehand."""
    with mmap.mmap(-1, (1 << 30) + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        with pytest.raises(ValueError, match="1 GiB"):
            RegisteredBuffers(ring, [memory])
        with RegisteredBuffers(ring, [bytearray(1)]) as table, pytest.raises(ValueError, match="1 GiB"):
            table.update(0, memory)


def test_no_ring() -> None:
    """The table's first argument is a Ring."""
    with pytest.raises(TypeError, match="Ring"):
        RegisteredBuffers(5, [bytearray(1)])  # type: ignore[arg-type]


def test_memory_that_the_kernel_does_not_pin(ring: Ring) -> None:
    """Memory that is mapped read-only is refused with the buffer named and the reason; the ring is as before."""
    before = bytearray(10)
    with mmap.mmap(-1, PAGE, prot=mmap.PROT_READ) as memory:
        with pytest.raises(OSError, match=r"buffer 1, mmap.*read-only") as caught:
            RegisteredBuffers(ring, [before, memory, bytearray(3)])
        assert caught.value.errno in (errno.EFAULT, errno.EOPNOTSUPP)
        del caught  # its traceback refers to the buffers
        gc.collect()
        assert not is_pinned(before)
        with RegisteredBuffers(ring, [before]) as table:
            with pytest.raises(OSError, match=r"buffer 0, mmap.*read-only"):
                table.update(0, memory)
            table.acquire(0).release()
        gc.collect()


def test_a_file_on_a_disk(ring: Ring, fd: int) -> None:
    """A shared mapping of it is refused with the reason (taken where the file is in memory); a private one is taken."""
    with mmap.mmap(fd, PAGE, flags=mmap.MAP_PRIVATE) as private, RegisteredBuffers(ring, [private]) as table:
        with table.acquire() as slot:
            assert bytes(slot.view) == DATA
        del slot
        table.close()
    with mmap.mmap(fd, PAGE) as shared:
        refused: OSError | None = None
        try:
            RegisteredBuffers(ring, [shared]).close()
        except OSError as error:
            refused = error.with_traceback(None)
        if refused is not None:
            assert refused.errno in (errno.EFAULT, errno.EOPNOTSUPP)
            assert "shared mapping of a file on a disk" in str(refused)


def test_memory_is_held_in_place(ring: Ring) -> None:
    """While registered, memory cannot be resized or closed; when close() returns, it can."""
    buffer, mapping, numbers = bytearray(100), mmap.mmap(-1, PAGE), array.array("i", [1, 2])
    table = RegisteredBuffers(ring, [buffer, mapping, numbers])
    gc.collect()
    assert is_pinned(buffer)
    for change in (mapping.close, lambda: numbers.append(3), lambda: buffer.extend(b"x")):
        with pytest.raises(BufferError):
            change()
    table.close()
    buffer.extend(b"x")
    numbers.append(3)
    mapping.close()


def test_memory_outlives_its_name(ring: Ring, fd: int) -> None:
    """Memory that nobody else refers to stays where the kernel knows it."""
    with RegisteredBuffers(ring, [bytearray(SIZE) for _ in range(50)]) as table:
        gc.collect()
        strangers = [bytearray(SIZE) for _ in range(200)]
        for index in range(50):
            with table.acquire(index) as slot:
                assert ring.read(fd, slot, 0).result(LONG) == SIZE
                assert bytes(slot.view) == DATA
        assert not any(any(stranger) for stranger in strangers)


# --- allocate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alignment", [1, 512, PAGE, 1 << 16, 1 << 22])
def test_allocated_buffers_are_aligned_and_apart(ring: Ring, alignment: int) -> None:
    """Each is of the size that was asked for, zeroed, writable, and overlaps no other."""
    with RegisteredBuffers.allocate(ring, 3, 1000, alignment=alignment, huge_pages=False) as table:
        assert len(table) == 3
        assert not table.huge_pages
        slots = [table.acquire() for _ in range(3)]
        places = sorted(int(L.ffi.cast("uintptr_t", L.ffi.from_buffer(slot.view))) for slot in slots)
        assert all(place % alignment == 0 for place in places)
        assert all(after - before >= 1000 for before, after in itertools.pairwise(places))
        assert all(bytes(slot.view) == bytes(1000) and not slot.view.readonly for slot in slots)


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((0, 10), {}, ValueError),
        ((16385, 10), {}, ValueError),
        ((1, 0), {}, ValueError),
        ((1, (1 << 30) + 1), {}, ValueError),
        ((1.0, 10), {}, TypeError),
        ((1, "10"), {}, TypeError),
        ((1, 10), {"alignment": 3}, ValueError),
        ((1, 10), {"alignment": 0}, ValueError),
    ],
)
def test_allocate_refuses(ring: Ring, arguments: Any, options: Any, error: type[Exception]) -> None:
    """Numbers out of range, and what is no number."""
    with pytest.raises(error):
        RegisteredBuffers.allocate(ring, *arguments, **options)


def free_huge_pages() -> int:
    """How many huge pages nobody uses."""
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields.get("HugePages_Free", "0").split()[0]) - int(fields.get("HugePages_Rsvd", "0").split()[0])


def test_huge_pages_where_there_are_none(ring: Ring) -> None:
    """Required, they are missed with a word on what to do; else ordinary pages do."""
    if free_huge_pages() > 0:
        pytest.skip("this machine has huge pages")
    with pytest.raises(OSError, match="nr_hugepages"):
        RegisteredBuffers.allocate(ring, 2, SIZE, huge_pages=True)
    with RegisteredBuffers.allocate(ring, 2, SIZE) as table:
        assert not table.huge_pages


def test_huge_pages_where_there_are_some(ring: Ring, fd: int) -> None:
    """They are taken unless they are not wanted, and work."""
    if free_huge_pages() < 1:
        pytest.skip("no huge pages are set aside on this machine")
    for wanted in (True, None):
        with RegisteredBuffers.allocate(ring, 2, SIZE, huge_pages=wanted) as table, table.acquire() as slot:
            assert table.huge_pages
            assert ring.read(fd, slot, 0).result(LONG) == SIZE
            assert bytes(slot.view) == DATA
        del slot, table
    with RegisteredBuffers.allocate(ring, 2, SIZE, huge_pages=False) as table:
        assert not table.huge_pages


# --- acquiring ---------------------------------------------------------------------------------------------


def test_slots_are_lent_once(table: RegisteredBuffers) -> None:
    """Each holder has another slot; when all are lent there is none, and one that comes back is lent again."""
    first, second = table.acquire(), table.acquire()
    assert {first.index, second.index} == {0, 1}
    assert table.free == 0
    for index in (None, 0, 1):
        with pytest.raises(BufferError, match="in use"):
            table.acquire(index)
    second.release()
    assert table.free == 1
    assert table.acquire().index == second.index
    del first
    assert table.acquire(1 - second.index).index == 1 - second.index


@pytest.mark.parametrize(("index", "error"), [(2, ValueError), (-1, ValueError), ("0", TypeError), (True, TypeError)])
def test_acquire_refuses_what_is_no_slot(table: RegisteredBuffers, index: Any, error: type[Exception]) -> None:
    """An index is that of a slot of the table."""
    with pytest.raises(error):
        table.acquire(index)
    assert table.free == 2


def test_acquire_waits_for_an_operation(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """With a timeout it submits, and waits until an operation gives a slot back; what completed is handed out later."""
    for _ in range(2):
        with table.acquire() as slot:
            ring.read(fd, slot, 0)
    assert table.free == 0
    for timeout in (LONG, None):
        table.acquire(timeout=timeout).release()
    assert [operation.result() for operation in ring.wait(2, LONG)] == [SIZE, SIZE]  # type: ignore[union-attr]


def test_acquire_takes_in_what_is_complete(ring: Ring, table: RegisteredBuffers, fd: int) -> None:
    """Without a timeout too, a slot whose operation is complete is there."""
    with table.acquire(0) as slot:
        ring.read(fd, slot, 0, force_async=False)
    ring.submit()
    ring.nop().result(LONG)
    assert table.acquire(0).index == 0


def test_acquire_waits_in_vain(ring: Ring, table: RegisteredBuffers, pipe: tuple[int, int]) -> None:
    """The time being up, and nothing in flight that could give a slot back, are told apart."""
    held = [table.acquire(), table.acquire()]
    for timeout in (0, LONG, None):
        with pytest.raises(BufferError, match="in use"):
            table.acquire(timeout=timeout)
    read = ring.read(pipe[0], held[0])
    with pytest.raises(TimeoutError, match="in use"):
        table.acquire(timeout=0.01)
    with ring.chain(), pytest.raises(RuntimeError, match="chain is open"):
        table.acquire(timeout=LONG)
    os.write(pipe[1], b"x")
    assert read.result(LONG) == 1
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            table.acquire(timeout=timeout)


# --- how long a lease lasts ------------------------------------------------------------------------------------


def test_an_operation_keeps_its_slot(ring: Ring, table: RegisteredBuffers, pipe: tuple[int, int]) -> None:
    """After the block it is not lent again before the operation is complete, whoever forgets what."""
    with table.acquire(0) as slot:
        read = ring.read(pipe[0], slot[:4])
    ring.submit()
    memory = weakref.ref(read)
    del slot, read
    gc.collect()
    assert memory() is not None
    with pytest.raises(BufferError):
        table.acquire(0)
    os.write(pipe[1], b"data")
    ring.wait(1, LONG)
    with table.acquire(0) as slot:
        assert bytes(slot.view[:4]) == b"data"


def test_an_exception_leaves_the_slot_to_its_operation(
    ring: Ring, table: RegisteredBuffers, pipe: tuple[int, int]
) -> None:
    """An exception ends the lease; the slot stays the operation's until its last CQE."""
    with pytest.raises(ZeroDivisionError), table.acquire(0) as slot:  # noqa: PT012  # the block is what is tested
        ring.read(pipe[0], slot)
        raise ZeroDivisionError
    assert slot.released
    ring.submit()
    with pytest.raises(BufferError):
        table.acquire(0)
    os.write(pipe[1], b"x")
    table.acquire(0, timeout=LONG)


@pytest.mark.parametrize("fate", ["cancelled", "discarded", "failed", "abandoned"])
def test_an_operation_that_fails_gives_its_slot_back(
    ring: Ring, table: RegisteredBuffers, pipe: tuple[int, int], fate: str
) -> None:
    """However it ends, the slot is lent again."""
    with table.acquire(0) as slot:
        if fate == "discarded":
            with pytest.raises(ZeroDivisionError), ring.chain():  # noqa: PT012
                ring.read(pipe[0], slot)
                raise ZeroDivisionError
        elif fate == "failed":
            assert isinstance(ring.read(pipe[1], slot).exception(LONG), OSError)
        else:
            read = ring.read(pipe[0], slot)
            if fate == "abandoned":
                read.abandon()
            read.cancel().result(LONG)
    assert table.acquire(0, timeout=LONG).index == 0


def test_views_keep_their_slot(table: RegisteredBuffers) -> None:
    """A memoryview of a slot that was given back still shows its own memory, and keeps it from being lent."""
    with table.acquire(0) as slot:
        view = slot.view[10:20]
    del slot
    with pytest.raises(BufferError):
        table.acquire(0)
    view[:] = b"0123456789"
    del view
    assert bytes(table.acquire(0).view[10:20]) == b"0123456789"


def test_numpy_shares_the_memory(table: RegisteredBuffers) -> None:
    """An array of a slot is a view of it, and keeps it from being lent, as any array made from that does."""
    numpy = pytest.importorskip("numpy")
    with table.acquire(0) as slot:
        numbers = numpy.asarray(slot[8:16]).view("int32")
        numbers[0] = 0x01020304
        assert bytes(slot.view[8:12]) == (0x01020304).to_bytes(4, sys.byteorder)
        slot.view[12:16] = (7).to_bytes(4, sys.byteorder)
        assert numbers[1] == 7
    del slot
    with pytest.raises(BufferError):
        table.acquire(0)
    table.close()
    numbers[:] = 5
    assert list(numbers) == [5, 5]


def test_numpy_cannot_write_to_constants(ring: Ring) -> None:
    """The array of a read-only slot is read-only."""
    numpy = pytest.importorskip("numpy")
    with RegisteredBuffers(ring, [b"constant"]) as table, table.acquire() as slot:
        constant = numpy.asarray(slot)
        assert bytes(constant) == b"constant"
        assert not constant.flags.writeable


@pytest.mark.skipif(sys.version_info < (3, 12), reason="classes have no __buffer__ before Python 3.12")
def test_a_slot_is_a_buffer(ring: Ring, table: RegisteredBuffers) -> None:
    """From 3.12 on it goes where a buffer does, also into requests that have no form for registered memory."""
    with table.acquire(0) as slot:
        with memoryview(slot) as view:  # type: ignore[arg-type,unused-ignore]
            view[:3] = b"abc"
        assert bytes(slot[:3]) == b"abc"  # type: ignore[arg-type,unused-ignore]
        ends = socket.socketpair()
        with ends[0], ends[1]:
            ends[0].send(b"hello")
            receive = ring.recv(ends[1], slot[1:])
            assert receive.result(LONG) == 5
        assert bytes(slot.view[:6]) == b"ahello"
    with pytest.raises(ValueError, match="given back"):
        memoryview(slot)
    assert table.acquire(0).index == 0


def test_release_ends_slices_too(table: RegisteredBuffers) -> None:
    """A slot and all its slices end together, at the end of the block or by release(), and it is lent again at once."""
    with table.acquire(0) as slot:
        part = slot[:10]
        assert not part.released
    assert slot.released
    assert part.released
    for ended in (slot, part):
        for use in (lambda ended=ended: ended.view, lambda ended=ended: ended.memory):
            with pytest.raises(ValueError, match="given back"):
                use()
    again = table.acquire(0)
    slot.release()
    assert not again.released
    part = again[5:]
    part.release()
    assert again.released


def test_a_lease_ends_in_any_thread(table: RegisteredBuffers) -> None:
    """Slots that are given back, or dropped, by another thread are lent again."""
    held = [table.acquire(), table.acquire()]
    held.append(held[0][:5])

    def drop() -> None:
        held[1].release()
        held.clear()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert table.free == 2


# --- what is refused -----------------------------------------------------------------------------------------------

REQUESTS: dict[str, Callable[[Ring, int, Any], Any]] = {
    "read": lambda ring, fd, slot: ring.read(fd, slot, 0),
    "write": lambda ring, fd, slot: ring.write(fd, slot, 0),
    "read with flags": lambda ring, fd, slot: ring.read(fd, slot, 0, rw_flags=8),
    "read list": lambda ring, fd, slot: ring.read(fd, [slot[:1], slot[1:]] if not slot.released else [slot], 0),
    "write list": lambda ring, fd, slot: ring.write(fd, [slot], 0),
    "send_zc": lambda ring, fd, slot: ring.send_zc(fd, slot),
    "sendmsg_zc": lambda ring, fd, slot: ring.sendmsg_zc(fd, [slot]),
    "uring_cmd": lambda ring, fd, slot: ring.uring_cmd(0, fd, fixed_buffer=slot),
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("fault", ["another ring", "given back", "closed"])
def test_slots_that_are_refused(other: Ring, table: RegisteredBuffers, fd: int, request_: str, fault: str) -> None:
    """A slot of another ring, one that was given back, and one of a closed table: ValueError, and nothing is queued."""
    slot = table.acquire()
    user, match = table._ring, "given back"
    if fault == "another ring":
        user, match = other, "another ring"
    elif fault == "closed":
        table.close()
        match = "closed"
    else:
        slot.release()
    with pytest.raises(ValueError, match=match):
        REQUESTS[request_](user, fd, slot)
    assert user.statistics()[:2] == (0, 0)


def test_the_table_refuses_others_than_the_owner(ring: Ring, table: RegisteredBuffers) -> None:
    """Each method checks the thread; what they refuse changes nothing."""
    calls: list[Callable[[], Any]] = [
        table.acquire,
        lambda: table.free,
        lambda: table.update(0, bytearray(1)),
        lambda: table.clear(0),
        lambda: table.grow(1),
        lambda: table.shrink(1),
        table.close,
        lambda: RegisteredBuffers.sparse(ring, 1),
        lambda: RegisteredBuffers.allocate(ring, 1, 1),
        lambda: RegisteredBuffers(ring, [bytearray(1)]),
    ]
    caught: list[type[BaseException]] = []

    def use() -> None:
        for call in calls:
            try:
                call()
            except BaseException as error:
                caught.append(type(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert caught == [WrongThread] * len(calls)
    assert table.free == 2


def test_a_fork_refuses(table: RegisteredBuffers) -> None:
    """The child of a fork cannot use the table, and its destructors leave the parent's alone."""
    slot = table.acquire()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            table.acquire()
        except uring.Forked:
            slot.release()
            del slot
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert table.free == 1
    assert not slot.released


# --- one table a ring, and its end -------------------------------------------------------------------


def test_a_second_table_is_refused(ring: Ring, table: RegisteredBuffers) -> None:
    """A ring has one table; after it was closed it takes another."""
    with pytest.raises(BufferError, match="has a table"):
        RegisteredBuffers(ring, [bytearray(1)])
    assert table.free == 2
    table.close()
    table.close()
    assert table.closed
    assert repr(table) == "<RegisteredBuffers closed>"
    with RegisteredBuffers(ring, [bytearray(1)]) as second:
        assert repr(second) == "<RegisteredBuffers of 1 slots>"
    for call in (table.acquire, lambda: table.free, lambda: table.update(0, b"x"), lambda: table.grow(1)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_table_of_the_c_names(ring: Ring) -> None:
    """One that was registered through them is named as what is in the way."""
    memory = L.ffi.new("char[]", 100)
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    buffer = bytearray(5)
    with pytest.raises(OSError, match="C names") as caught:
        RegisteredBuffers(ring, [buffer])
    assert caught.value.errno == errno.EBUSY
    del caught
    gc.collect()
    assert not is_pinned(buffer)
    assert L.io_uring_unregister_buffers(ring.c_ring) == 0
    RegisteredBuffers(ring, [buffer]).close()


def test_closing_unpins(ring: Ring) -> None:
    """The pages are let go of when close() returns; so it is when the table is dropped, and when the ring is closed."""
    before = pinned()
    table = RegisteredBuffers.allocate(ring, 4, 1 << 16)
    assert pinned() == before + (4 << 16)
    table.close()
    assert pinned() == before
    table = RegisteredBuffers.allocate(ring, 4, 1 << 16)
    del table
    assert pinned() == before
    buffer = bytearray(1 << 16)
    table = RegisteredBuffers(ring, [buffer])
    slot = table.acquire()
    ring.close()
    assert table.closed
    assert slot.released
    del slot
    assert not is_pinned(buffer)
    assert pinned() == before
    with pytest.raises(RingClosed):
        table.acquire()
    table.close()


@pytest.mark.parametrize("submitted", [False, True])
def test_closing_with_operations_outstanding(ring: Ring, fd: int, pipe: tuple[int, int], submitted: bool) -> None:
    """Those that use slots go on, though queued only; the kernel's table goes with the last, and another is taken."""
    buffers = [bytearray(10), bytearray(10), bytearray(10)]
    with RegisteredBuffers(ring, buffers) as table:
        slots = [table.acquire(index) for index in range(3)]
        reads = [ring.read(pipe[0], slots[0]), ring.read(fd, slots[1], 0)]
        if submitted:
            ring.submit()
    assert table.closed
    assert all(slot.released for slot in slots)
    with pytest.raises(BufferError, match="in use"):
        RegisteredBuffers(ring, [bytearray(1)])
    os.write(pipe[1], b"x")
    assert [read.result(LONG) for read in reads] == [1, 10]
    assert buffers == [b"x" + bytes(9), DATA[:10], bytes(10)]
    with RegisteredBuffers(ring, [bytearray(1)]):
        ring.peek()
        assert not any(is_pinned(buffer) for buffer in buffers)


def test_closing_with_a_link_that_has_not_started(ring: Ring, pipe: tuple[int, int], fd: int) -> None:
    """A later link of a chain still finds its registered buffer."""
    buffer = bytearray(10)
    with RegisteredBuffers(ring, [bytearray(1), buffer]) as table, table.acquire(0) as one, table.acquire(1) as two:
        with ring.chain():
            first = ring.read(pipe[0], one)
            second = ring.read(fd, two, 0)
        ring.submit()
    os.write(pipe[1], b"x")
    assert (first.result(LONG), second.result(LONG)) == (1, 10)
    assert buffer == DATA[:10]


def test_closing_while_a_view_is_left(ring: Ring, table: RegisteredBuffers) -> None:
    """The memory of a view stays valid after close(); the ring takes another table when the view is gone."""
    view = table.acquire().view
    table.close()
    view[:] = bytes([7]) * SIZE
    with pytest.raises(BufferError):
        RegisteredBuffers.sparse(ring, 1)
    del view
    RegisteredBuffers.sparse(ring, 1).close()


def test_the_last_use_ends_in_another_thread(ring: Ring, table: RegisteredBuffers) -> None:
    """A table whose last view dies where the ring must not be touched is unregistered by the next one."""
    held = [table.acquire().view]
    table.close()
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    before = pinned()
    with RegisteredBuffers(ring, [bytearray(SIZE)]):
        assert pinned() < before + SIZE


def test_the_ring_is_closed_with_operations_in_flight(pipe: tuple[int, int]) -> None:
    """They are cancelled, the memory is free, and slots that are left do no harm."""
    buffers = [bytearray(10) for _ in range(4)]
    before = pinned()
    with Ring(8) as ring:
        table = RegisteredBuffers(ring, buffers)
        slots = [table.acquire() for _ in range(4)]
        reads = [ring.read(pipe[0], slot) for slot in slots]
        view = slots[0].view
        ring.submit()
        ring.close()
    assert pinned() == before
    assert all(isinstance(read.exception(), RingClosed) for read in reads)
    assert [is_pinned(buffer) for buffer in buffers].count(True) == 1
    del view
    assert not any(is_pinned(buffer) for buffer in buffers)
    del table, slots


def test_a_dropped_ring(pipe: tuple[int, int]) -> None:
    """A ring that is dropped with its table lets go of the memory."""
    buffer = bytearray(10)
    ring = Ring(8)
    table = RegisteredBuffers(ring, [buffer])
    slot = table.acquire()
    ring.read(pipe[0], slot)
    ring.submit()
    with pytest.warns(ResourceWarning, match="unclosed <Ring"):  # noqa: PT031
        del ring, table, slot
        gc.collect()
    assert not is_pinned(buffer)


def test_a_dropped_table_makes_no_cycle(ring: Ring) -> None:
    """Table, slots and slices die without the collector's help."""
    gc.disable()
    try:
        buffer = bytearray(10)
        table = RegisteredBuffers(ring, [buffer])
        slot = table.acquire()[1:]
        watched = [weakref.ref(table), weakref.ref(slot._lease)]
        del table, slot
        assert [watch() for watch in watched] == [None, None]
        ring.peek()
        assert not is_pinned(buffer)
    finally:
        gc.enable()


def test_tables_in_cycles_are_collected(fd: int) -> None:
    """Tables over memoryviews, with slots and operations, that only a collection ends, crash no interpreter."""
    for _ in range(20):
        memory = bytearray(3 * SIZE)
        views = [memoryview(memory)[place : place + SIZE] for place in (0, SIZE, 2 * SIZE)]
        ring = Ring(8)
        table = RegisteredBuffers(ring, views)
        slots = [table.acquire() for _ in range(3)]
        cycle: list[Any] = [views, ring, table, slots, ring.read(fd, slots[0], 0), slots[1].view]
        cycle.append(cycle)
        with pytest.warns(ResourceWarning):  # noqa: PT031
            del cycle, views, ring, table, slots
            gc.collect()
        assert not is_pinned(memory)


# --- exchanging buffers ------------------------------------------------------------------------------


def test_empty_slots_are_filled_and_emptied(ring: Ring, fd: int) -> None:
    """An empty slot is not lent; a buffer that is put there is, until it is taken out again."""
    buffer = bytearray(100)
    with RegisteredBuffers.sparse(ring, 3) as table:
        assert (len(table), table.free) == (3, 0)
        with pytest.raises(ValueError, match="empty"):
            table.acquire(1)
        with pytest.raises(BufferError, match="empty"):
            table.acquire()
        assert table.update(1, buffer).done()
        with table.acquire() as slot:
            assert slot.index == 1
            assert ring.read(fd, slot, 9).result(LONG) == 100
        assert buffer == DATA[9:109]
        assert is_pinned(buffer)
        cleared = table.clear(1)
        assert cleared.result(LONG) is None
        assert not is_pinned(buffer)
        assert table.clear(1).done()
        with pytest.raises(ValueError, match="empty"):
            table.acquire(1)


@pytest.mark.parametrize("way", ["update", "clear"])
def test_a_replaced_buffer_is_held_until_the_kernel_lets_go(
    ring: Ring, pipe: tuple[int, int], fd: int, way: str
) -> None:
    """An operation in flight goes on with the old buffer, which is held until the tag comes; the slot is free."""
    old, new = bytearray(10), bytearray(10)
    with RegisteredBuffers(ring, [old, bytearray(1)]) as table:
        with table.acquire(0) as slot:
            read = ring.read(pipe[0], slot)
        release = table.update(0, new) if way == "update" else table.clear(0)
        assert read.state is State.SUBMITTED
        assert not release.done()
        assert release.state is State.SUBMITTED
        assert "release of 10 bytes" in repr(release)
        with pytest.raises(TimeoutError):
            release.result(0.001)
        assert is_pinned(old)
        if way == "update":
            with table.acquire(0) as slot:
                assert ring.read(fd, slot, 0).result(LONG) == 10
            assert new == DATA[:10]
        os.write(pipe[1], b"0123456789")
        assert read.result(LONG) == 10
        assert release.result(LONG) is None
        assert old == b"0123456789"
        assert not is_pinned(old)
        assert ring.peek() == []


def test_a_release_reports_by_a_callback(ring: Ring, pipe: tuple[int, int]) -> None:
    """It runs when the kernel has let go, and not before."""
    called: list[Any] = []
    with RegisteredBuffers(ring, [bytearray(10)]) as table:
        with table.acquire(0) as slot:
            ring.read(pipe[0], slot)
        release = table.clear(0)
        release.add_done_callback(called.append)
        ring.peek()
        assert called == []
        os.write(pipe[1], b"x")
        ring.wait(1, LONG)
        release.result(LONG)
        assert called == [release]


def test_releases_are_not_handed_out(ring: Ring) -> None:
    """Wait, peek and iteration give operations and foreign completions, and no tags."""
    with RegisteredBuffers(ring, [bytearray(10) for _ in range(5)]) as table:
        for index in range(5):
            table.update(index, bytearray(5))
        with pytest.raises(ValueError, match="in flight"):
            ring.wait(1)
        nop = ring.nop()
        sqe = L.io_uring_get_sqe(ring.c_ring)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, 77)
        found = ring.wait(2, LONG)
        assert len(found) == 2
        assert nop in found
        assert uring.Completion(77, 0, 0) in found
        table.clear(0)
        assert ring.wait(0) == []
        assert list(ring) == []
    assert ring.peek() == []
    assert ring._tags == {}


def test_an_unread_release_of_a_closed_ring() -> None:
    """What did not come before the ring was closed says so."""
    ring = Ring(8)
    table = RegisteredBuffers(ring, [bytearray(10)])
    release = table.clear(0)
    ring.close()
    with pytest.raises(RingClosed):
        release.result()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda table: table.update(2, bytearray(1)), ValueError),
        (lambda table: table.update(-1, bytearray(1)), ValueError),
        (lambda table: table.update("0", bytearray(1)), TypeError),
        (lambda table: table.update(0, b""), ValueError),
        (lambda table: table.update(0, None), TypeError),
        (lambda table: table.update(0, memoryview(bytearray(9))[::3]), BufferError),
        (lambda table: table.clear(2), ValueError),
        (lambda table: table.grow(0), ValueError),
        (lambda table: table.grow(16383), ValueError),
        (lambda table: table.grow(1.5), TypeError),
        (lambda table: table.shrink(2), ValueError),
        (lambda table: table.shrink(0), ValueError),
    ],
)
def test_changes_that_are_refused(table: RegisteredBuffers, change: Any, error: type[Exception]) -> None:
    """Numbers out of range and what is no buffer; the table is as before."""
    with pytest.raises(error):
        change(table)
    assert (len(table), table.free) == (2, 2)


def test_a_leased_slot_keeps_its_buffer(ring: Ring, table: RegisteredBuffers) -> None:
    """Its holder must give it back before it is replaced, emptied or cut off."""
    slot = table.acquire(1)
    for change in (
        lambda: table.update(1, bytearray(5)),
        lambda: table.clear(1),
        lambda: table.shrink(1),
    ):
        with pytest.raises(BufferError, match="slot 1 is leased"):
            change()
    table.update(0, bytearray(5))
    slot.release()
    table.shrink(1)
    assert len(table) == 1


def test_a_view_of_a_replaced_buffer(table: RegisteredBuffers) -> None:
    """It shows the old memory still, and does not stand in the way of the new."""
    view = table.acquire(0).view
    view[:3] = b"old"
    table.update(0, bytearray(b"new"))
    with table.acquire(0) as slot:
        assert bytes(slot.view) == b"new"
        assert bytes(view[:3]) == b"old"
        del view
        with pytest.raises(BufferError):
            table.acquire(0)
    assert table.free == 2


def test_growing_and_shrinking_with_operations_in_flight(ring: Ring, pipe: tuple[int, int], fd: int) -> None:
    """The table gets more slots and fewer, and a read that is in flight all the time lands where it should."""
    require_clone()
    buffer = bytearray(10)
    with RegisteredBuffers(ring, [buffer, bytearray(10)]) as table:
        with table.acquire(0) as slot:
            read = ring.read(pipe[0], slot)
        ring.submit()
        for more in (1, 3, 100, 1000):
            table.grow(more)
            last = len(table) - 1
            table.update(last, bytearray(20))
            with table.acquire(last) as slot:
                assert ring.read(fd, slot, 0).result(LONG) == 20
                assert bytes(slot.view) == DATA[:20]
        with table.acquire(1) as slot:
            assert ring.read(fd, slot, 0).result(LONG) == 10
        assert len(table) == 1106
        table.shrink(1104)
        assert len(table) == 2
        assert table.free == 1
        with pytest.raises(ValueError, match="index"):
            table.acquire(2)
        table.grow(5)
        with pytest.raises(ValueError, match="empty"):
            table.acquire(5)
        os.write(pipe[1], b"there")
        assert read.result(LONG) == 5
        assert buffer[:5] == b"there"


def test_growing_to_the_limit(ring: Ring) -> None:
    """16384 slots, all of which work, and not one more."""
    with RegisteredBuffers(ring, [bytearray(1)]) as table:
        table.grow(16383)
        assert len(table) == 16384
        table.update(16383, bytearray(7))
        assert len(table.acquire(16383)) == 7
        with pytest.raises(ValueError, match="16384"):
            table.grow(1)
        table.shrink(1)
        table.grow(1)
        with pytest.raises(ValueError, match="empty"):
            table.acquire(16383)


def test_shrinking_lets_go(ring: Ring) -> None:
    """The buffers of slots that are cut off can be resized when their tags have come."""
    buffers = [bytearray(10) for _ in range(4)]
    with RegisteredBuffers(ring, buffers) as table:
        table.shrink(3)
        ring.peek()
        assert [is_pinned(buffer) for buffer in buffers] == [True, False, False, False]


def test_registering_again(ring: Ring, pipe: tuple[int, int], fd: int) -> None:
    """What older kernels need to enlarge a table: refused while something is in use, else all buffers stay theirs."""
    buffers = [bytearray(10), bytearray(10)]
    with RegisteredBuffers(ring, buffers) as table:
        table.clear(1)
        slot = table.acquire()
        with pytest.raises(BufferError, match="nothing uses"):
            table._register_again(10)
        slot.release()
        table._register_again(10)
        table.update(1, buffers[1])
        ring.peek()
        for index in range(2):
            assert is_pinned(buffers[index])
            with table.acquire(index) as slot:
                assert ring.read(fd, slot, 0).result(LONG) == 10
                assert buffers[index] == DATA[:10]
        with table.acquire(0) as slot:
            read = ring.read(pipe[0], slot)
        release = table.clear(0)
        assert not release.done()
        os.write(pipe[1], b"x")
        read.result(LONG)
        release.result(LONG)
        assert not is_pinned(buffers[0])


# --- clones ---------------------------------------------------------------------------------------------------------


def test_a_clone_shares_memory_and_lends_by_itself(ring: Ring, other: Ring, fd: int) -> None:
    """The other ring reads into the same buffers, which are pinned once, and stay when the source is closed."""
    require_clone()
    buffers = [bytearray(1 << 16), bytearray(10)]
    with RegisteredBuffers(ring, buffers) as source:
        once = pinned()
        table = RegisteredBuffers.clone(other, source)
        assert pinned() == once
        slot = source.acquire(1)
        with table.acquire(1) as mine:
            assert other.read(fd, mine, 0).result(LONG) == 10
            assert bytes(slot.view) == DATA[:10]
        with pytest.raises(ValueError, match="another ring"):
            other.read(fd, slot)
    with table:
        assert (len(table), table.free) == (2, 2)
        with table.acquire(1) as mine:
            assert other.read(fd, mine, 5).result(LONG) == 10
        assert buffers[1] == DATA[5:15]
        assert is_pinned(buffers[0])
        table.update(0, bytearray(4)).result(LONG)
        ring.peek()
        assert not is_pinned(buffers[0])
        table.grow(4)
        table.update(5, bytearray(3))
        assert len(table.acquire(5)) == 3
    ring.peek()
    assert not is_pinned(buffers[1])


@pytest.mark.parametrize("single_issuer", [False, True])
def test_a_clone_of_another_thread(fd: int, single_issuer: bool) -> None:
    """A thread with a ring of its own shares another's buffers, unless that ring is for its own thread only."""
    require_clone()
    answers: list[Any] = []
    params = None if single_issuer else Params(single_issuer=False, defer_taskrun=False)

    def use(table: RegisteredBuffers) -> None:
        try:
            with Ring(8) as mine, RegisteredBuffers.clone(mine, table) as cloned, cloned.acquire(1) as slot:
                answers.append(mine.read(fd, slot, 3).result(LONG))
        except BaseException as error:
            answers.append(error.with_traceback(None))

    with Ring(8, params) as ring, RegisteredBuffers.allocate(ring, 2, SIZE) as table:
        thread = threading.Thread(target=use, args=(table,))
        thread.start()
        thread.join()
        [answer] = answers
        if single_issuer and isinstance(answer, OSError):  # kernels that do not mind may allow it
            assert answer.errno == errno.EEXIST
            assert "single_issuer=False" in str(answer)
        else:
            assert answer == SIZE - 3
            assert bytes(table.acquire(1).view[:10]) == DATA[3:13]


def test_a_part_of_a_table_is_cloned_into_another(ring: Ring, other: Ring, fd: int) -> None:
    """Slots are replaced by the source's, those around them stay, and what was there is let go of."""
    require_clone()
    theirs = [bytearray(10) for _ in range(4)]
    mine = [bytearray(20) for _ in range(5)]
    with RegisteredBuffers(other, theirs) as source, RegisteredBuffers(ring, mine) as table:
        source.clear(2)
        table.clone_from(source, offset=1, source_offset=1, count=3)
        ring.peek()
        assert [is_pinned(buffer) for buffer in mine] == [True, False, False, False, True]
        assert table.free == 4
        for index, size in ((0, 20), (1, 10), (3, 10), (4, 20)):
            with table.acquire(index) as slot:
                assert len(slot) == size
                assert ring.read(fd, slot, index).result(LONG) == size
        assert theirs[1] == DATA[1:11]
        assert theirs[3] == DATA[3:13]
        with pytest.raises(ValueError, match="empty"):
            table.acquire(2)
        table.clone_from(source)
        assert table.free == 4


def test_a_clone_in_use_is_not_replaced(ring: Ring, other: Ring, pipe: tuple[int, int]) -> None:
    """It has no tag, so nothing would tell when the kernel lets go: that is refused until nothing uses it."""
    require_clone()
    with RegisteredBuffers(other, [bytearray(10)]) as source, RegisteredBuffers.clone(ring, source) as table:
        with table.acquire(0) as slot:
            read = ring.read(pipe[0], slot)
        with pytest.raises(BufferError, match="clone"):
            table.clear(0)
        with pytest.raises(BufferError, match="clone"):
            table.clone_from(source)
        os.write(pipe[1], b"x")
        read.result(LONG)
        assert table.clear(0).done()


def test_clones_that_are_refused(ring: Ring, other: Ring) -> None:
    """No table, the ring's own, a closed one, slots that are not there, or leased."""
    require_clone()
    with RegisteredBuffers(other, [bytearray(10), bytearray(10)]) as source:
        with RegisteredBuffers(ring, [bytearray(5), bytearray(5)]) as table:
            for wrong, error in ((table, ValueError), (None, TypeError), ([b"x"], TypeError)):
                with pytest.raises(error):
                    table.clone_from(wrong)  # type: ignore[arg-type]
            ranges: list[dict[str, int]] = [{"offset": 2}, {"offset": 1}, {"source_offset": 2}, {"count": 0}]
            ranges += [{"count": 3}, {"source_offset": 1, "count": 2}, {"offset": -1}, {"source_offset": -1}]
            for arguments in ranges:
                with pytest.raises(ValueError, match="must be from"):
                    table.clone_from(source, **arguments)
            slot = table.acquire(1)
            with pytest.raises(BufferError, match="leased"):
                table.clone_from(source)
            assert len(slot) == 5
            with pytest.raises(BufferError, match="has a table"):
                RegisteredBuffers.clone(ring, source)
        with pytest.raises(ValueError, match="another ring"):
            RegisteredBuffers.clone(other, source)
        with pytest.raises(TypeError):
            RegisteredBuffers.clone(ring, FixedBuffer(0, b"x"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="closed"):
        RegisteredBuffers.clone(ring, source)
    RegisteredBuffers.sparse(ring, 1).close()


# --- limits -----------------------------------------------------------------------------------------------------------

MEMLOCK = """
import errno, os, resource, sys, uring
ring = uring.Ring(8)
os.setgroups([]); os.setgid(65534); os.setuid(20_000 + os.getpid() % 40_000)  # a user of its own
resource.setrlimit(resource.RLIMIT_MEMLOCK, (256 << 10, 256 << 10))
ring.close()
with uring.Ring(8) as ring:
    for wrong in (lambda: uring.RegisteredBuffers.allocate(ring, 2, 1 << 20),
                  lambda: uring.RegisteredBuffers(ring, [bytearray(1 << 20)])):
        try:
            wrong()
        except OSError as error:
            text = str(error)
            assert error.errno == errno.ENOMEM, error
            assert "RLIMIT_MEMLOCK allows 256 KiB" in text and "ulimit -l" in text and "CAP_IPC_LOCK" in text, text
            assert "needs 2048 KiB" in text or "needs 1028 KiB" in text or "needs 1024 KiB" in text, text
        else:
            raise AssertionError("no limit was hit")
    for _ in range(20):
        with uring.RegisteredBuffers.allocate(ring, 2, 64 << 10) as table:
            try:
                table.update(0, bytearray(1 << 20))
            except OSError as error:
                assert error.errno == errno.ENOMEM and "RLIMIT_MEMLOCK" in str(error)
            else:
                raise AssertionError("no limit was hit")
            assert table.free == 2
for _ in range(20):
    with uring.Ring(8) as ring:
        table = uring.RegisteredBuffers.allocate(ring, 1, 160 << 10)
print("fine")
"""


def test_the_limit_of_locked_memory() -> None:
    """An unprivileged user is told what is needed and allowed, and what was let go of can be registered again."""
    if os.getuid():
        pytest.skip("only root can become somebody else")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEMLOCK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_a_full_table_is_closed_within_the_queue(ring: Ring) -> None:
    """16384 tags through a completion queue of 32: all memory is free when close() returns."""
    buffers = [bytearray(1) for _ in range(16384)]
    RegisteredBuffers(ring, buffers).close()
    assert not any(is_pinned(buffer) for buffer in buffers)
    assert ring._tags == {}
    assert ring.peek() == []


@pytest.mark.parametrize("text", ["RegisteredBuffers", "BufferSlot"])
def test_names_are_public(text: str) -> None:
    """The package offers them."""
    assert getattr(uring, text) in (RegisteredBuffers, BufferSlot)


def test_a_slot_describes_itself(table: RegisteredBuffers) -> None:
    """Its place, its part, and whether it was given back."""
    with table.acquire(1) as slot:
        assert repr(slot[10:20]) == "<BufferSlot 1 of 10 bytes>"
        assert isinstance(slot, FixedBuffer)
    assert repr(slot) == f"<BufferSlot 1 of {SIZE} bytes released>"
