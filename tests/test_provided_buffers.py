"""Provided buffers: the group, what its operations bring, and when a buffer goes back."""

from __future__ import annotations

import array
import errno
import gc
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import uring
from uring import BuffersExhausted, Params, ProvidedBuffer, ProvidedBuffers, Ring, Unsupported
from uring import liburing as L
from uring.provided_buffers import BUF_MORE

COUNT, SIZE = 4, 64
LONG = 10.0
KINDS: dict[str, dict[str, bool]] = {
    "ring": {},
    "kernel memory": {"kernel_memory": True},
    "incremental": {"incremental": True},
    "requests": {"rings": False},
}
WHOLE = [kind for kind in KINDS if kind != "incremental"]
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=LONG) as ring:
        yield ring


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Connect two sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def make(ring: Ring, kind: str = "ring", count: int = COUNT, size: int = SIZE, **options: Any) -> ProvidedBuffers:
    """Make a group; a kernel that lacks its kind skips the test and says so."""
    try:
        return ProvidedBuffers(ring, count, size, **KINDS[kind], **options)
    except Unsupported as error:
        pytest.skip(str(error))


def receive(ring: Ring, pair: Pair, pool: ProvidedBuffers, data: bytes = b"data") -> ProvidedBuffer:
    """Send some bytes and receive them into a buffer of the group."""
    pair[1].send(data)
    return ring.recv(pair[0], pool).result(LONG)


def kernel_has(ring: Ring, pool: ProvidedBuffers) -> int:
    """How many buffers lie in a ring, as the kernel and the ring's tail say."""
    return int(L.io_uring_buf_ring_available(ring.c_ring, pool._supply._native.entries, pool.group))


def is_pinned(memory: bytearray) -> bool:
    """Return whether something holds a bytearray in place."""
    try:
        memory.append(0)
    except BufferError:
        return True
    memory.pop()
    return False


@contextmanager
def thread(run: Any) -> Iterator[None]:
    """Run something in another thread meanwhile, and raise what it raises."""
    raised: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    other = threading.Thread(target=guarded)
    other.start()
    yield
    other.join(LONG)
    assert not other.is_alive()
    if raised:
        raise raised[0]


# --- use -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_received_bytes_are_leased(ring: Ring, pair: Pair, kind: str) -> None:
    """A receive gives a lease of exactly the bytes that came, and its buffer is the group's again afterwards."""
    pool = make(ring, kind)
    for number in range(3 * COUNT):
        data = b"message %08d" % number  # 16 bytes: four fill a buffer
        with receive(ring, pair, pool, data) as lease:
            assert (bytes(lease), len(lease), lease.view) == (data, len(data), data)
            assert lease[3:].tobytes() == data[3:]
            assert kind == "incremental" or pool.available == COUNT - 1
        assert lease.released
    assert (pool.available, pool.leased) == (COUNT, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_pipe(ring: Ring, kind: str) -> None:
    """A read takes a buffer when there is something in the pipe; at its end the lease is empty and false."""
    pool = make(ring, kind)
    one, two = os.pipe()
    operation = ring.read(one, pool)
    ring.submit()
    os.write(two, b"through the pipe")
    assert bytes(operation.result(LONG)) == b"through the pipe"
    os.close(two)
    lease = ring.read(one, pool).result(LONG)
    assert (len(lease), bool(lease), bytes(lease), lease.view) == (0, False, b"", b"")
    os.close(one)
    del operation, lease
    assert pool.available == COUNT


@pytest.mark.parametrize("kind", KINDS)
def test_reading_a_file_at_offsets(ring: Ring, tmp_path: Path, kind: str) -> None:
    """Reads of a file are leased with what is at their offsets, whole and at its end, and every buffer comes back."""
    pool = make(ring, kind)
    content = bytes(range(250))
    (tmp_path / "file").write_bytes(content)
    with open(tmp_path / "file", "rb") as file:
        for offset in (0, 64, 128, 192, 192, 240, 250, 400, 0):
            with ring.read(file, pool, offset).result(LONG) as lease:
                assert bytes(lease) == content[offset : offset + SIZE]
    assert pool.available == COUNT
    if kind != "requests":
        assert kernel_has(ring, pool) == COUNT


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_with_address_and_descriptors(ring: Ring, pair: Pair, kind: str) -> None:
    """A recvmsg brings a lease in place of a count, and descriptors beside it."""
    pool = make(ring, kind)
    socket.send_fds(pair[1], [b"take this"], [pair[1].fileno()])
    lease, ancillary, flags, address = ring.recvmsg(pair[0], pool, socket.CMSG_SPACE(4)).result(LONG)
    fds = array.array("i", ancillary[0][2])
    os.close(fds[0])
    assert (bytes(lease), flags, address) == (b"take this", 0, None)
    lease.release()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        two.sendto(b"datagram", one.getsockname())
        lease, _, _, address = ring.recvmsg(one, pool).result(LONG)
        assert (bytes(lease), address) == (b"datagram", two.getsockname())
        lease.release()
    assert pool.available == COUNT


def test_a_message_that_nobody_takes(ring: Ring, pair: Pair) -> None:
    """Descriptors that came with a message are closed and its buffer goes back when the operation is dropped."""
    pool = make(ring)
    socket.send_fds(pair[1], [b"take this"], [pair[1].fileno()])
    operation = ring.recvmsg(pair[0], pool, socket.CMSG_SPACE(4))
    assert ring.wait(timeout=LONG) == [operation]
    assert pool.leased == 1
    del operation
    assert pool.leased == 0


def test_many_operations_wait_with_few_buffers(ring: Ring) -> None:
    """More receives can be in flight than there are buffers, since one is taken only when data is there."""
    pool = make(ring, count=1)
    pairs = [socket.socketpair() for _ in range(8)]
    operations = [ring.recv(one, pool) for one, _ in pairs]
    ring.submit()
    for number, (operation, (_, two)) in enumerate(zip(operations, pairs, strict=True)):
        two.send(b"%d" % number)
        with operation.result(LONG) as lease:
            assert bytes(lease) == b"%d" % number
    for one, two in pairs:
        one.close()
        two.close()


def test_a_buffer_is_reused(ring: Ring, pair: Pair) -> None:
    """A group of one buffer serves any number of receives, one after the other."""
    pool = make(ring, count=1)
    for number in range(100):
        receive(ring, pair, pool, b"%d" % number).release()
    assert pool.available == kernel_has(ring, pool) == 1


def test_result_gives_the_same_lease_again(ring: Ring, pair: Pair) -> None:
    """Asking twice for a result leases nothing twice."""
    pool = make(ring)
    pair[1].send(b"data")
    operation = ring.recv(pair[0], pool)
    assert operation.result(LONG) is operation.result()
    assert pool.leased == 1


def test_completions_in_any_order_of_results(ring: Ring, pair: Pair) -> None:
    """Parts of an incremental buffer are told apart by their completions, whatever result is asked for first."""
    pool = make(ring, "incremental", count=1)
    texts = [b"one", b"three", b"fifteen"]
    operations = []
    for text in texts:
        pair[1].send(text)
        operations.append(ring.recv(pair[0], pool))
        ring.submit()
    assert [bytes(operation.result(LONG)) for operation in reversed(operations)] == texts[::-1]


def test_incremental_parts_lie_one_behind_the_other(ring: Ring) -> None:
    """Receives of several sockets fill one buffer in turn; each lease has its own bytes; it goes back once, whole."""
    pool = make(ring, "incremental", count=2)
    pairs = [socket.socketpair() for _ in range(8)]
    operations = [ring.recv(one, pool) for one, _ in pairs]
    ring.submit()
    texts = [bytes([65 + number]) * 12 for number in range(8)]
    for (_, two), text in zip(pairs, texts, strict=True):
        two.send(text)
    done = ring.wait(8, LONG)
    assert len(done) == 8
    leases = [operation.result() for operation in reversed(operations)]
    # The sixth does not fit the first buffer, so it is in two: one receive takes what is left of a buffer.
    received = [bytes(lease) for lease in reversed(leases)]
    assert received[:5] == texts[:5]
    assert received[5] == texts[5][:4]
    assert received[6:] == texts[6:]
    first = leases[-1]
    assert (pool.available, pool.leased) == (1, 1)
    del operations, done
    for lease in leases[:-1]:
        lease.release()
    assert pool.available == 1, "the first buffer is still looked at"
    assert bytes(first) == texts[0]
    first.release()
    assert pool.available == 2
    for one, two in pairs:
        one.close()
        two.close()


@pytest.mark.parametrize("kind", ["ring", "incremental", "kernel memory"])
def test_a_bundle_spans_buffers(ring: Ring, pair: Pair, kind: str) -> None:
    """One receive takes several buffers in their order, also after they were returned in another one."""
    pool = make(ring, kind)
    if not ring.features & uring.Feature.RECVSEND_BUNDLE:
        pytest.skip("this kernel lacks IORING_RECVSEND_BUNDLE")
    leases = [receive(ring, pair, pool, b"." * SIZE) for _ in range(COUNT)]
    for position in (2, 0, 3, 1):
        leases[position].release()
    content = bytes(range(200))
    pair[1].send(content)
    lease = ring.recv(pair[0], pool, bundle=True).result(LONG)
    # The kernel may leave what fills no whole buffer for the next one.
    assert len(lease) in (192, 200)
    assert bytes(lease) == content[: len(lease)]
    assert [len(view) for view in lease.views] == [64, 64, 64, 8][: len(lease.views)]
    for refused in (lambda: lease.view, lambda: lease[0:1], lambda: ring.send(pair[0], lease)):
        with pytest.raises(BufferError, match=r"buffers: use \.views"):
            refused()
    assert ring.send(pair[0], lease.views).result(LONG) == len(lease)
    assert pair[1].recv(300) == content[: len(lease)]
    assert pool.leased >= 3
    lease.release()
    assert pool.available == COUNT


def test_a_bundle_needs_a_ring(ring: Ring, pair: Pair) -> None:
    """A bundle is refused for a plain buffer, for a group without a ring, and with MSG_WAITALL."""
    pool = make(ring)
    with pytest.raises(ValueError, match="buffer ring"):
        ring.recv(pair[0], make(ring, "requests"), bundle=True)
    with pytest.raises(TypeError, match="ProvidedBuffers, not bytearray"):
        ring.recv(pair[0], bytearray(1), bundle=True)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="MSG_WAITALL"):
        ring.recv(pair[0], pool, socket.MSG_WAITALL, bundle=True)


def test_waitall_fills_the_buffer(ring: Ring, pair: Pair) -> None:
    """With MSG_WAITALL a receive is complete when its buffer is full."""
    pool = make(ring)
    operation = ring.recv(pair[0], pool, socket.MSG_WAITALL)
    ring.submit()
    for _ in range(SIZE // 8):
        assert not operation.done()
        pair[1].send(b"8 bytes.")
    assert bytes(operation.result(LONG)) == b"8 bytes." * (SIZE // 8)


def test_a_receive_in_a_chain(ring: Ring, pair: Pair) -> None:
    """A link can select a buffer; with a link timeout its result comes with that of the timeout."""
    pool = make(ring)
    pair[1].send(b"data")
    with ring.chain(timeout=LONG):
        received = ring.recv(pair[0], pool)
        ring.nop()
    with received.result(LONG) as lease:
        assert bytes(lease) == b"data"
    with ring.chain(timeout=0.01):
        received = ring.recv(pair[0], pool)
    with pytest.raises(TimeoutError):
        received.result(LONG)
    assert pool.available == kernel_has(ring, pool) == COUNT


def test_own_memory_is_cut(ring: Ring, pair: Pair) -> None:
    """Buffers lie in memory of the caller's, which is held in place until the group and its leases are gone."""
    memory = bytearray(COUNT * SIZE + 5)
    pool = make(ring, memory=memory)
    lease = receive(ring, pair, pool, b"data")
    assert memory.count(b"data") == 1
    assert is_pinned(memory)
    pool.close()
    assert bytes(lease) == b"data"
    assert is_pinned(memory)
    lease.release()
    del lease
    assert not is_pinned(memory)


@pytest.mark.parametrize("memory", [mmap.mmap(-1, COUNT * SIZE), array.array("Q", bytes(COUNT * SIZE))], ids=["m", "a"])
def test_any_writable_memory(ring: Ring, pair: Pair, memory: Any) -> None:
    """A mapping and an array of large items are cut into bytes as well."""
    pool = make(ring, memory=memory)
    with receive(ring, pair, pool, b"data") as lease:
        assert bytes(memory).count(b"data") == 1
        assert bytes(lease) == b"data"
    pool.close()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100, 1 << 15])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_buffers(ring: Ring, pair: Pair, kind: str, count: int) -> None:
    """There are exactly as many as asked for, no power of two needed, and each is used once before any comes again."""
    pool = make(ring, kind, count, 16)
    assert len(pool) == pool.available == count
    taken = min(count, 100)
    leases = [receive(ring, pair, pool, b"%016d" % number) for number in range(taken)]
    assert [bytes(lease) for lease in leases] == [b"%016d" % number for number in range(taken)]
    assert (pool.available, pool.exhausted) == (count - taken, count == taken)
    for lease in leases:
        lease.release()
    assert pool.available == count
    pool.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "setup", [{"sqpoll": True}, {"cqe32": True}, {"defer_taskrun": False}, {"cq_entries": 8}], ids=str
)
def test_on_rings_of_other_kinds(pair: Pair, kind: str, setup: dict[str, Any]) -> None:
    """Buffers are picked by a kernel thread, told in large completions, or with those that overflow, just as well."""
    try:
        ring = Ring(8, Params(**setup), exit_timeout=LONG)
    except (Unsupported, PermissionError) as error:
        pytest.skip(str(error))
    with ring:
        pool = make(ring, kind, count=32, size=8)
        pair[1].send(b"".join(b"%08d" % number for number in range(64)))
        for first in (0, 32):
            operations = [ring.recv(pair[0], pool) for _ in range(32)]
            results = [bytes(operation.result(LONG)) for operation in operations]
            assert sorted(results) == [b"%08d" % number for number in range(first, first + 32)]
            assert pool.exhausted
            del operations
            assert pool.available == 32


@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="an address space of 4 GiB")
def test_more_memory_than_one_request_can_transfer(ring: Ring, pair: Pair) -> None:
    """A group of 5 GiB works to its last buffer; what is not used takes no memory."""
    try:
        pool = make(ring, count=5, size=1 << 30)
    except OSError as error:
        pytest.skip(f"no address space: {error}")
    leases = [receive(ring, pair, pool, b"%d" % number) for number in range(5)]
    assert [bytes(lease) for lease in leases] == [b"0", b"1", b"2", b"3", b"4"]


def test_groups_choose_their_ids(ring: Ring, pair: Pair) -> None:
    """A group without an id takes a free one, around those of others, of requests, and of the C names."""
    error = L.ffi.new("int *")
    there = L.io_uring_setup_buf_ring(ring.c_ring, 1, 1, 0, error)
    assert there != L.ffi.NULL, error[0]
    ring.provide_buffers(bytearray(8), 8, 2).result(LONG)
    pools = [make(ring, group=0), make(ring), make(ring, "requests"), make(ring, group=0xFFFF)]
    assert [pool.group for pool in pools] == [0, 3, 4, 0xFFFF]
    for group in (0, 1, 2, 4):
        with pytest.raises(ValueError, match=f"buffer group {group} is in use"):
            ProvidedBuffers(ring, 1, 1, group=group)
    pools[0].close()
    assert make(ring).group == 0
    assert L.io_uring_free_buf_ring(ring.c_ring, there, 1, 1) == 0
    with pytest.raises(ValueError, match="buffer group 3 belongs to <ProvidedBuffers"):
        ring.provide_buffers(bytearray(8), 8, 3)


def test_its_state_is_shown(ring: Ring, pair: Pair) -> None:
    """The group tells its numbers, and so does its repr; a lease tells its own."""
    pool = make(ring, group=9)
    lease = receive(ring, pair, pool)
    assert repr(pool) == "<ProvidedBuffers group=9: 4 of 64 bytes, 3 available, 1 leased>"
    assert repr(lease) == "<ProvidedBuffer of 4 bytes from group 9>"
    lease.release()
    assert repr(lease) == "<ProvidedBuffer of 4 bytes from group 9, released>"
    pool.close()
    assert repr(pool) == "<ProvidedBuffers group=9: 4 of 64 bytes, closed>"
    assert (pool.available, pool.exhausted, len(pool), pool.size) == (0, True, COUNT, SIZE)


def test_head_counts_what_was_taken(ring: Ring, pair: Pair) -> None:
    """The kernel's own count grows with each buffer that it takes."""
    pool = make(ring)
    try:
        assert pool.head == 0
    except Unsupported as error:
        pytest.skip(str(error))
    for number in range(1, 10):
        receive(ring, pair, pool).release()
        assert pool.head == number
    with pytest.raises(Unsupported, match="has no ring"):
        _ = make(ring, "requests").head
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        _ = pool.head


# --- running dry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WHOLE)
def test_running_dry(ring: Ring, pair: Pair, kind: str) -> None:
    """An operation that finds no buffer says whose they are, and works as soon as one was returned."""
    pool = make(ring, kind, group=5)
    leases = [receive(ring, pair, pool) for _ in range(COUNT)]
    assert pool.exhausted
    pair[1].send(b"late")
    with pytest.raises(
        BuffersExhausted, match=r"group 5 was empty: of its 4 buffers of 64 bytes 4 are leased"
    ) as caught:
        ring.recv(pair[0], pool).result(LONG)
    error = caught.value
    assert isinstance(error, OSError)
    assert (error.errno, error.group, error.count, error.size, error.leased) == (errno.ENOBUFS, 5, COUNT, SIZE, COUNT)
    leases.pop().release()
    assert not pool.exhausted
    assert bytes(ring.recv(pair[0], pool).result(LONG)) == b"late"


@pytest.mark.parametrize("kind", WHOLE)
def test_who_waits_for_a_refill_is_called_once(ring: Ring, pair: Pair, kind: str) -> None:
    """A callback runs at the first return after running dry, not before, and only once."""
    pool = make(ring, kind, count=2)
    leases = [receive(ring, pair, pool) for _ in range(2)]
    called: list[int] = []
    pool._when_refilled(lambda: called.append(pool.available))
    ring.wait(0)
    assert called == []
    leases[0].release()
    assert called == [1]
    leases[1].release()
    ring.wait(0)
    assert called == [1]


def test_a_refill_by_another_thread_is_noticed(ring: Ring, pair: Pair) -> None:
    """What another thread returns goes back, and is told to who waits for it, at the ring's next ordinary call."""
    pool = make(ring, count=1)
    lease = receive(ring, pair, pool)
    called: list[int] = []
    pool._when_refilled(lambda: called.append(threading.get_ident()))
    with thread(lease.release):
        pass
    assert called == []
    ring.submit()
    assert called == [threading.get_ident()]
    assert kernel_has(ring, pool) == 1


def test_a_refill_inside_a_chain_waits_for_its_end(ring: Ring, pair: Pair) -> None:
    """What a callback starts becomes no link of a chain that is being recorded."""
    pool = make(ring, count=1)
    lease = receive(ring, pair, pool)
    called: list[Any] = []
    pool._when_refilled(lambda: called.append(ring.nop()))
    with ring.chain() as chain:
        ring.nop()
        lease.release()
        assert called == []
    assert len(chain) == 1
    ring.wait(1, LONG)
    assert len(called) == 1


def test_callbacks_that_fail_lose_no_others(ring: Ring, pair: Pair) -> None:
    """An exception of one is raised by the call that ran it; the next call runs the others."""
    pool = make(ring, count=1)
    lease = receive(ring, pair, pool)
    called: list[int] = []
    pool._when_refilled(lambda: 1 // 0)
    pool._when_refilled(lambda: called.append(1))
    with pytest.raises(ZeroDivisionError):
        lease.release()
    ring.submit()
    assert called == [1]


# --- when a buffer goes back -----------------------------------------------------------------------------------------


def test_a_completion_that_comes_while_a_buffer_is_handed_back(pair: Pair) -> None:
    """The request that hands it back finds the queue full, and making room takes a lease in: it is there once."""
    other = socket.socketpair()
    with other[0], other[1], Ring(2, exit_timeout=LONG) as ring:
        pool = make(ring, "requests", count=2)
        first = receive(ring, pair, pool)
        coming = ring.recv(other[0], pool)
        ring.submit()
        other[1].send(b"second")
        while ring.statistics().sq_space:
            ring.nop()
        first.release()
        assert bytes(coming.result(LONG)) == b"second"
        pair[1].send(b"third")
        third = ring.recv(pair[0], pool).result(LONG)
        pair[1].send(b"fourth")
        with pytest.raises(BuffersExhausted):
            ring.recv(pair[0], pool).result(LONG)
        assert (bytes(third), bytes(coming.result())) == (b"third", b"second")
        third.release()
        coming.result().release()


def test_releasing_twice(ring: Ring, pair: Pair) -> None:
    """A second release does nothing, also when the buffer belongs to another lease by then."""
    pool = make(ring, count=1)
    first = receive(ring, pair, pool, b"first")
    first.release()
    second = receive(ring, pair, pool, b"second")
    first.release()
    assert (bytes(second), pool.available, kernel_has(ring, pool)) == (b"second", 0, 0)
    with pytest.raises(ValueError, match="released"):
        bytes(first)
    second.release()
    assert pool.available == kernel_has(ring, pool) == 1


def test_a_view_ends_with_its_lease(ring: Ring, pair: Pair) -> None:
    """After the release a view raises ValueError instead of showing what somebody else received."""
    pool = make(ring)
    with receive(ring, pair, pool) as lease:
        view = lease.view
    with pytest.raises(ValueError, match="released"):
        bytes(view)
    for use in (lambda: lease.view, lambda: lease[1:], lambda: bytes(lease), lambda: ring.send(pair[0], lease)):
        with pytest.raises(ValueError, match="released"):
            use()
    assert pool.available == COUNT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", ["slice", "export", "array interface", "memoryview of it"])
def test_what_was_made_of_it_keeps_the_buffer(ring: Ring, pair: Pair, kind: str, keep: str) -> None:
    """A buffer that something still looks at does not go back with its lease, but when that is dropped."""
    pool = make(ring, kind, count=1, size=4)
    lease = receive(ring, pair, pool)
    kept: Any = {
        "slice": lambda: lease[1:3],
        "export": lambda: L.ffi.from_buffer(lease.view),
        "array interface": lambda: lease.__array_interface__["data"],
        "memoryview of it": lambda: memoryview(lease.view),
    }[keep]()
    lease.release()
    assert (pool.available, pool.leased) == (0, 1)
    assert bytes(L.ffi.buffer(kept) if keep == "export" else kept) in b"data"
    del kept
    assert (pool.available, pool.leased) == (1, 0)


def test_numpy_arrays_keep_the_buffer(ring: Ring, pair: Pair) -> None:
    """An array over a lease is not copied, and keeps the buffer from being used again."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    pool = make(ring, count=1)
    lease = receive(ring, pair, pool)
    values = numpy.asarray(lease)
    assert (values.dtype, bytes(values)) == (numpy.uint8, b"data")
    values[0] = ord("D")
    assert bytes(lease) == b"Data"
    lease.release()
    assert pool.available == 0
    del values
    assert pool.available == 1


@pytest.mark.parametrize("kind", WHOLE)
def test_a_send_in_flight_keeps_the_buffer(ring: Ring, pair: Pair, kind: str) -> None:
    """A lease that was sent goes back after the send's last completion, though it was released at once."""
    pool = make(ring, kind, count=1)
    with receive(ring, pair, pool) as lease:
        sending = ring.send(pair[0], lease)
    assert pool.available == 0
    assert sending.result(LONG) == 4
    assert pair[1].recv(10) == b"data"
    assert pool.available == 1


@pytest.mark.parametrize("how", ["write", "send", "sendmsg", "list"])
def test_a_lease_is_a_buffer(ring: Ring, pair: Pair, tmp_path: Path, how: str) -> None:
    """Builders take a lease where they take a buffer."""
    pool = make(ring)
    lease = receive(ring, pair, pool)
    if how == "write":
        with open(tmp_path / "file", "w+b") as file:
            assert ring.write(file, lease, 0).result(LONG) == 4
            assert file.read() == b"data"
            assert ring.read(file, lease, 2).result(LONG) == 2
            assert bytes(lease) == b"tata"
        return
    count = {
        "send": lambda: ring.send(pair[0], lease),
        "sendmsg": lambda: ring.sendmsg(pair[0], [lease]),
        "list": lambda: ring.send(pair[0], [b"", lease]),
    }[how]().result(LONG)
    assert pair[1].recv(10) == b"data"[:count] == b"data"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python has __buffer__ since 3.12")
def test_python_itself_takes_it_as_a_buffer(ring: Ring, pair: Pair) -> None:
    """A memoryview of a lease keeps the buffer."""
    pool = make(ring, count=1)
    lease = receive(ring, pair, pool)
    view: Any = memoryview(lease)  # type: ignore[arg-type,unused-ignore]
    lease.release()
    assert (view, pool.available) == (b"data", 0)
    del view
    assert pool.available == 1


@pytest.mark.parametrize("kind", KINDS)
def test_dropped_without_release(ring: Ring, pair: Pair, kind: str) -> None:
    """A lease that is just forgotten goes back at the next call."""
    pool = make(ring, kind, count=2, size=4)
    for _ in range(10):
        receive(ring, pair, pool)
    assert pool.available == 2


def test_dropped_in_another_thread(ring: Ring, pair: Pair) -> None:
    """A lease that is dropped or released by another thread touches the ring from its own one only."""
    pool = make(ring, count=2)
    leases = [receive(ring, pair, pool), receive(ring, pair, pool)]

    def use() -> None:
        assert bytes(leases[0]) == b"data"
        leases.pop().release()
        leases.clear()
        assert pool.available == 0

    with thread(use):
        pass
    assert pool.available == kernel_has(ring, pool) == 2


def test_dropped_by_the_collector(ring: Ring, pair: Pair) -> None:
    """A lease in a cycle goes back when the cycle is collected."""
    pool = make(ring, count=1)
    cycle: list[Any] = [receive(ring, pair, pool).view]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pool.available == 1


def test_exceptions_release_once(ring: Ring, pair: Pair) -> None:
    """Leaving the block by an exception gives the buffer back, whose traceback does not keep it."""
    pool = make(ring, count=1)
    with pytest.raises(KeyError) as caught, receive(ring, pair, pool) as lease:
        raise KeyError(lease.view)
    assert pool.available == kernel_has(ring, pool) == 1
    assert caught.value is not None


@pytest.mark.parametrize("when", ["in flight", "complete"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_operation_that_nobody_asks(ring: Ring, pair: Pair, kind: str, when: str) -> None:
    """The buffer of an operation that was dropped or abandoned goes back."""
    pool = make(ring, kind, count=1, size=4)
    for abandon in (False, True):
        operation = ring.recv(pair[0], pool)
        if when == "complete":
            pair[1].send(b"data")
            while not operation.done():
                ring.submit()
        if abandon:
            operation.abandon()
        ring.submit()
        del operation
        if when == "in flight":
            pair[1].send(b"data")
            while ring.statistics().completed == 0:
                ring.wait(0)
        ring.wait(0)
        while ring.statistics().in_flight:
            ring.wait(1, LONG)
        assert pool.available == 1


def test_abandoned_after_its_result(ring: Ring, pair: Pair) -> None:
    """A lease that was taken stays its taker's."""
    pool = make(ring)
    pair[1].send(b"data")
    operation = ring.recv(pair[0], pool)
    lease = operation.result(LONG)
    operation.abandon()
    assert bytes(lease) == b"data"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_worker_returns_its_buffer(ring: Ring, pair: Pair, kind: str) -> None:
    """A receive in a worker thread has taken a buffer before anything came; cancelling gives it back."""
    pool = make(ring, kind)
    operation = ring.recv(pair[0], pool, force_async=True)
    ring.submit()
    deadline = time.monotonic() + LONG
    while not operation.done():  # a cancel that comes before the worker waits may find nothing to wake
        assert time.monotonic() < deadline
        operation.cancel().result(LONG)
    with pytest.raises(uring.OperationCancelled):
        operation.result()
    del operation
    assert pool.available == COUNT
    if kind != "requests":
        assert kernel_has(ring, pool) == COUNT


def test_a_worker_takes_the_rest_of_an_incremental_buffer(ring: Ring, pair: Pair) -> None:
    """Behind parts of it, a worker's receive takes what is left; nothing overlaps and all of it comes back."""
    pool = make(ring, "incremental", count=2)
    first = receive(ring, pair, pool, b"first")
    pair[1].send(b"second")
    second = ring.recv(pair[0], pool, force_async=True).result(LONG)
    third = receive(ring, pair, pool, b"third")
    assert [bytes(lease) for lease in (first, second, third)] == [b"first", b"second", b"third"]
    assert pool.available == 1
    for lease in (first, second, third):
        lease.release()
    assert pool.available == 2
    assert kernel_has(ring, pool) == 2


def test_a_flag_that_the_kernel_forgot(ring: Ring, pair: Pair) -> None:
    """Without F_BUF_MORE the head decides whether an incremental buffer is used up (kernels up to 6.18 forgot it)."""
    pool = make(ring, "incremental", count=2)
    one, two = os.pipe()
    os.write(two, b"some")
    operation = ring.read(one, pool)
    ring.wait(1, LONG)
    flags = operation.completion.flags
    assert flags & BUF_MORE
    lease = operation.result()
    # The same CQE once more, as such a kernel tells of the pipe's end.
    empty = pool._lease(0, flags & ~BUF_MORE)
    empty.release()
    lease.release()
    assert pool.available == kernel_has(ring, pool) == 2
    os.write(two, b"more")
    with ring.read(one, pool).result(LONG) as lease:
        assert bytes(lease) == b"more"
    os.close(one)
    os.close(two)


# --- the end of a group ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_leases_outlive_their_group_and_ring(pair: Pair, kind: str) -> None:
    """Leases stay readable after the end of both, and releasing them does nothing then."""
    with Ring(8, exit_timeout=LONG) as ring:
        with make(ring, kind) as pool:
            lease = receive(ring, pair, pool, b"of the group")
        assert pool.closed
        assert bytes(lease) == b"of the group"
        other = receive(ring, pair, make(ring, kind), b"of the ring")
    gc.collect()
    assert (bytes(lease), bytes(other)) == (b"of the group", b"of the ring")
    lease.release()
    other.release()
    assert (lease.released, pool.available) == (True, 0)
    del lease, other, pool, ring
    gc.collect()


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_in_use_is_not_closed(ring: Ring, pair: Pair, kind: str) -> None:
    """Closing is refused while operations select from the group, and possible when they are complete."""
    pool = make(ring, kind)
    operation = ring.recv(pair[0], pool)
    message = ring.recvmsg(pair[0], pool)
    with pytest.raises(
        RuntimeError, match=rf"2 operations in flight select from buffer group {pool.group}: <Operation"
    ):
        pool.close()
    ring.submit()
    with pytest.raises(RuntimeError, match="2 operations"):
        pool.close()
    operation.cancel().result(LONG)
    message.cancel().result(LONG)
    for cancelled in (operation, message):
        with pytest.raises(uring.OperationCancelled):
            cancelled.result(LONG)
    pool.close()
    pool.close()
    assert pool.closed
    with pytest.raises(ValueError, match="closed"):
        ring.recv(pair[0], pool)


def test_memory_stays_while_an_operation_may_write(ring: Ring, pair: Pair) -> None:
    """An operation that names the group by number alone holds its memory beyond the group's end."""
    memory = bytearray(COUNT * SIZE)
    pool = make(ring, memory=memory)
    operation = ring.recv(pair[0], bytearray(SIZE), buffer_group=pool.group, force_async=True)
    ring.submit()
    pool.close()
    assert is_pinned(memory)
    pair[1].send(b"data")
    operation.exception(LONG)
    del operation
    assert not is_pinned(memory)


def test_a_group_that_is_forgotten_stays(ring: Ring, pair: Pair) -> None:
    """The ring keeps a group that nobody else refers to, and its memory."""
    operation = ring.recv(pair[0], make(ring))
    gc.collect()
    pair[1].send(b"data")
    assert bytes(operation.result(LONG)) == b"data"
    assert bytes(receive(ring, pair, ring._groups[0])) == b"data"


def test_an_exception_in_the_block_comes_first(pair: Pair) -> None:
    """With operations in flight the block's own exception is raised, and the ring's end takes care of the group."""
    pools = []

    def fail() -> None:
        with Ring(8) as ring, make(ring) as pool:
            pools.append(pool)
            ring.recv(pair[0], pool)
            ring.submit()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert pools[0].closed


def test_closing_the_ring_with_everything_outstanding(pair: Pair) -> None:
    """Receives in flight, leases and a callback that waits do not disturb the ring's end."""
    for kind in KINDS:
        ring = Ring(8)
        pool = make(ring, kind)
        lease = receive(ring, pair, pool)
        operation = ring.recv(pair[0], pool)
        ring.submit()
        pool._when_refilled(lambda: pytest.fail("the ring is closed"))
        ring.close()
        lease.release()
        with pytest.raises(uring.RingClosed):
            operation.result()
        assert pool.closed
        with pytest.raises(uring.RingClosed):
            ring.recv(pair[0], pool)


def test_closing_in_a_chain_is_refused(ring: Ring) -> None:
    """A chain that is being recorded may select from a group, so none is made or closed meanwhile."""
    pool = make(ring)
    with ring.chain():
        ring.nop()
        with pytest.raises(RuntimeError, match="chain is open"):
            pool.close()
        with pytest.raises(RuntimeError, match="chain is open"):
            make(ring)
    pool.close()


def test_memory_does_not_grow(ring: Ring, pair: Pair) -> None:
    """A thousand groups of each kind leave no mapping and no group behind."""

    def mappings() -> int:
        with open("/proc/self/maps") as file:
            return len(file.readlines())

    for kind in KINDS:
        make(ring, kind).close()
        gc.collect()
        before = mappings()
        for _ in range(250):
            with make(ring, kind) as pool:
                receive(ring, pair, pool)
        gc.collect()
        assert mappings() <= before + 5
    assert ring._groups == {}


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, SIZE), {}, ValueError, "count must be from 1 to 32768"),
        (((1 << 15) + 1, SIZE), {}, ValueError, "count must be from 1 to 32768"),
        (("4", SIZE), {}, TypeError, "count must be an int"),
        ((COUNT, 0), {}, ValueError, "size must be from 1"),
        ((COUNT, 1 << 31), {}, ValueError, "size must be from 1"),
        ((COUNT, 1.5), {}, TypeError, "size must be an int"),
        ((COUNT, SIZE), {"group": -1}, ValueError, "group must be from 0 to 65535"),
        ((COUNT, SIZE), {"group": 1 << 16}, ValueError, "group must be from 0 to 65535"),
        ((COUNT, SIZE), {"group": "one"}, TypeError, "group must be an int"),
        ((COUNT, SIZE), {"memory": bytearray(255)}, ValueError, "4 buffers of 64 bytes need 256, not 255"),
        ((COUNT, SIZE), {"memory": bytes(256)}, TypeError, "read-only"),
        ((COUNT, SIZE), {"memory": 256}, TypeError, "bytes-like"),
        ((COUNT, SIZE), {"memory": memoryview(bytearray(999))[::2]}, BufferError, "contiguous"),
        ((COUNT, SIZE), {"rings": False, "incremental": True}, ValueError, "need a buffer ring"),
        ((COUNT, SIZE), {"rings": False, "kernel_memory": True}, ValueError, "need a buffer ring"),
    ],
)
def test_bad_arguments(ring: Ring, arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    """What cannot work is refused before the kernel is asked, and leaves nothing behind."""
    with pytest.raises(error, match=message):
        ProvidedBuffers(ring, *arguments, **options)
    assert ring._groups == {}
    assert make(ring).group == 0


def test_a_ring_that_may_not_register() -> None:
    """A ring whose restrictions forbid it says what was refused, and keeps nothing of the group."""
    with Ring(8, Params(disabled=True)) as ring:
        ring.restrict(opcodes=[L.IORING_OP_NOP], register_ops=[L.IORING_REGISTER_ENABLE_RINGS])
        ring.enable()
        with pytest.raises(PermissionError, match="register_buf_ring of 4 buffers"):
            ProvidedBuffers(ring, COUNT, SIZE)
        with pytest.raises(PermissionError, match="provide_buffers of 4 buffers"):
            ProvidedBuffers(ring, COUNT, SIZE, rings=False)
        assert ring._groups == {}


def test_it_needs_a_ring() -> None:
    """The first argument is a Ring."""
    with pytest.raises(TypeError, match="expected a Ring, not int"):
        ProvidedBuffers(3, COUNT, SIZE)  # type: ignore[arg-type]


def test_kernel_memory_needs_a_descriptor() -> None:
    """A ring without a descriptor has nothing to map the kernel's memory by."""
    try:
        ring = Ring(8, Params(no_mmap=True, registered_fd_only=True))
    except Unsupported as error:
        pytest.skip(str(error))
    with ring:
        with pytest.raises(ValueError, match="registered_fd_only"):
            ProvidedBuffers(ring, COUNT, SIZE, kernel_memory=True)
        ProvidedBuffers(ring, COUNT, SIZE).close()


def test_builders_refuse_what_does_not_fit(ring: Ring, pair: Pair) -> None:
    """A group of another ring, a second group, or an option that would lose the data: nothing is queued."""
    pool = make(ring)
    with Ring(8) as other:
        foreign = make(other)
        for refused in (
            lambda: ring.recv(pair[0], foreign),
            lambda: ring.read(0, foreign),
            lambda: ring.recvmsg(pair[0], foreign),
        ):
            with pytest.raises(ValueError, match="belongs to another ring"):
                refused()
    for refused in (
        lambda: ring.recv(pair[0], pool, buffer_group=1),
        lambda: ring.read(0, pool, buffer_group=1),
        lambda: ring.recv(pair[0], pool, socket.MSG_WAITALL, skip_success=True),
        lambda: ring.recvmsg(pair[0], pool, skip_success=True),
        lambda: ring.read(0, pool, rw_flags=os.RWF_HIPRI),  # type: ignore[call-overload]
        lambda: ring.read(0, pool, -2),
        lambda: ring.recv(-1, pool),
    ):
        with pytest.raises(ValueError, match=r"buffer_group|skip_success|rw_flags|offset|negative"):
            refused()
    for wrong in (lambda: ring.write(0, pool), lambda: ring.send(pair[0], pool), lambda: ring.recv(pair[0], [pool])):
        with pytest.raises(TypeError):
            wrong()
    with ring.chain():
        with pytest.raises(ValueError, match="skip_success"):
            ring.read(0, pool, skip_success=True)
        ring.nop()
    assert ring.statistics().in_flight == 1


def test_failures_name_the_operation(ring: Ring, tmp_path: Path) -> None:
    """What the kernel refuses is the usual OSError, and no buffer is lost by it."""
    pool = make(ring)
    with open(tmp_path / "file", "wb") as file, pytest.raises(OSError, match="read of 64 bytes at 0 on") as caught:
        ring.read(file, pool, 0).result(LONG)
    assert caught.value.errno == errno.EBADF
    with open(tmp_path / "file", "rb") as file, pytest.raises(OSError, match="recv of 64 bytes on") as caught:
        ring.recv(file, pool).result(LONG)
    assert caught.value.errno == errno.ENOTSOCK
    assert pool.available == kernel_has(ring, pool) == COUNT


def test_another_thread_is_refused(ring: Ring, pair: Pair) -> None:
    """Making, using and closing a group is for the ring's thread; looking at it is for all."""
    pool = make(ring)

    def foreign() -> None:
        for refused in (lambda: make(ring), pool.close, lambda: ring.recv(pair[0], pool), lambda: pool.head):
            with pytest.raises(uring.WrongThread):
                refused()
        assert (pool.available, pool.leased, len(pool)) == (COUNT, 0, COUNT)

    with thread(foreign):
        pass
    assert not pool.closed


def test_a_closed_ring_is_refused() -> None:
    """No group is made on a closed ring."""
    ring = Ring(8)
    ring.close()
    with pytest.raises(uring.RingClosed):
        ProvidedBuffers(ring, COUNT, SIZE)


FORK = """
import os, socket, uring
one, two = socket.socketpair()
ring = uring.Ring(8)
pool = uring.ProvidedBuffers(ring, 2, 64, kernel_memory={kernel_memory}, rings={rings})
two.send(b"data")
lease = ring.recv(one, pool).result(10)
child = os.fork()
if not child:
    code = 1
    try:
        assert bytes(lease) == b"data"
        lease.release()
        for refused in (pool.close, lambda: ring.recv(one, pool), lambda: uring.ProvidedBuffers(ring, 1, 1)):
            try:
                refused()
            except uring.Forked:
                continue
            os._exit(2)
        assert pool.leased == 1
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(child, 0)[1] == 0
assert bytes(lease) == b"data" and pool.available == 1
lease.release()
assert pool.available == 2
two.send(b"more")
assert bytes(ring.recv(one, pool).result(10)) == b"more"
ring.close()
"""


@pytest.mark.parametrize(("kernel_memory", "rings"), [(False, True), (True, True), (False, False)])
def test_a_fork_changes_nothing(ring: Ring, kernel_memory: bool, rings: bool) -> None:
    """A child can read leases and cannot return them; the parent's group is as it was."""
    make(ring, "kernel memory" if kernel_memory else "ring" if rings else "requests").close()
    program = FORK.format(kernel_memory=kernel_memory, rings=rings)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


EXIT = """
import socket, uring
one, two = socket.socketpair()
ring = uring.Ring(8)
pool = uring.ProvidedBuffers(ring, 2, 64, kernel_memory=True)
two.send(b"data")
lease = ring.recv(one, pool).result(10)
view = lease.view
waiting = ring.recv(one, pool)
ring.submit()
"""


def test_the_interpreter_exits_with_everything_open(ring: Ring) -> None:
    """A group, a lease, a view and a receive in flight at the interpreter's end do no harm."""
    make(ring, "kernel memory").close()
    done = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
