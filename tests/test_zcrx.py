"""Zero-copy receives: what is refused and why, leases and how they go back; without a device where the kernel can."""

from __future__ import annotations

import errno
import functools
import gc
import hashlib
import mmap
import os
import random
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from c_style import require_opcode
from interrupting import striking

from uring import (
    DmaBuf,
    Forked,
    OperationCancelled,
    Params,
    Ring,
    RingClosed,
    State,
    Unsupported,
    WrongThread,
    ZeroCopyLease,
    ZeroCopyReceive,
    ZeroCopyStream,
)
from uring import liburing as L
from uring._native import ffi, lib
from uring.zero_copy_receive import _Limits, _refill_ring

LONG = 10.0
PAGE = mmap.PAGESIZE
SETUPS = {"cqe32": Params(cqe32=True), "cqe_mixed": Params(cqe_mixed=True)}


@pytest.fixture(params=SETUPS)
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A ring that a zero-copy receive can be registered with."""
    require_opcode("IORING_OP_RECV_ZC")
    with Ring(8, SETUPS[request.param], exit_timeout=LONG) as ring:
        yield ring


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
    with one, two:
        yield one, two


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
def test_loopback_cannot_do_it(ring: Ring, by_name: bool) -> None:
    """The kernel's -EOPNOTSUPP says what is missing, and nothing stays registered or pinned."""
    interface: str | int = "lo" if by_name else socket.if_nametoindex("lo")
    with pytest.raises(Unsupported, match="no queue that supports it; its driver must split headers") as caught:
        ZeroCopyReceive(ring, interface)
    assert caught.value.since == "6.15"
    assert f"interface {interface}" in str(caught.value)
    assert ring._kept == []
    gc.collect()


def test_interfaces_that_do_not_exist(ring: Ring) -> None:
    """By name or number, before or by the kernel: ENODEV."""
    for interface in ("no such if", (1 << 31) - 1):
        with pytest.raises(OSError, match="interface") as caught:
            ZeroCopyReceive(ring, interface)
        assert caught.value.errno == errno.ENODEV
        assert ring._kept == []


def test_a_dma_buf_that_is_none(ring: Ring) -> None:
    """It is for the kernel to look at; on an interface that cannot do it, that is said."""
    with open(os.devnull) as file, pytest.raises(OSError, match="interface lo"):
        ZeroCopyReceive(ring, "lo", area=DmaBuf(file, PAGE))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"interface": 0}, ValueError, "interface"),
        ({"interface": -1}, ValueError, "interface"),
        ({"interface": 1.5}, TypeError, "interface"),
        ({"interface": True}, TypeError, "interface"),
        ({"queue": -1}, ValueError, "queue"),
        ({"queue": "0"}, TypeError, "queue"),
        ({"area": 0}, ValueError, "area"),
        ({"area": -PAGE}, ValueError, "area"),
        ({"area": PAGE + 1}, ValueError, "multiple of the page size"),
        ({"area": bytearray(PAGE)}, TypeError, "area"),
        ({"area": DmaBuf(-1, PAGE)}, ValueError, "descriptor"),
        ({"area": DmaBuf("x", PAGE)}, TypeError, "descriptor"),
        ({"area": DmaBuf(0, 100)}, ValueError, "multiple of the page size"),
        ({"entries": 0}, ValueError, "entries"),
        ({"entries": 100}, ValueError, "power of two"),
        ({"entries": 65536}, ValueError, "entries"),
        ({"buffer_size": 100}, ValueError, "buffer_size"),
        ({"buffer_size": 3 * PAGE}, ValueError, "power of two"),
    ],
)
def test_bad_arguments(ring: Ring, arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    """Refused before the kernel sees them."""
    with pytest.raises(error, match=match):
        ZeroCopyReceive(ring, **{"interface": "lo", **arguments})
    assert ring._kept == []


@pytest.mark.parametrize(
    ("params", "match"),
    [
        (Params(), "cqe32 or cqe_mixed"),
        (Params(cqe32=True, defer_taskrun=False), "defer_taskrun"),
        (Params(cqe32=True, sqpoll=True), "defer_taskrun"),
    ],
)
def test_rings_that_cannot(params: Params, match: str) -> None:
    """The ring's flags are looked at first, and named."""
    with Ring(4, params) as ring, pytest.raises(ValueError, match=match):
        ZeroCopyReceive(ring, "lo")


def test_strangers() -> None:
    """Another thread, a closed ring, a child."""
    ring, got = Ring(4, Params(cqe32=True)), []

    def register() -> None:
        try:
            ZeroCopyReceive(ring, "lo")
        except Exception as error:
            got.append(type(error))

    thread = threading.Thread(target=register)
    thread.start()
    thread.join(LONG)
    child = os.fork()
    if not child:
        register()
        os._exit(7 if got[1:] == [Forked] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ring.close()
    register()
    assert got == [WrongThread, RingClosed]


def test_kernel_without_large_buffers(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this kernel does not have is not asked for."""
    monkeypatch.setattr("uring.zero_copy_receive._limits", _Limits)
    with pytest.raises(Unsupported, match="RX_PAGE_SIZE"):
        ZeroCopyReceive(ring, "lo", buffer_size=4 * PAGE)
    with pytest.raises(Unsupported, match="NODEV"):
        ZeroCopyReceive(ring, None)


def test_recv_zc_looks_at_the_owner_first() -> None:
    """A closed ring is closed, whatever CQEs it had."""
    ring = Ring(4)
    ring.close()
    with pytest.raises(RingClosed):
        ring.recv_zc(0, 0)


# --- leases over memory that no device writes to --------------------------------------------------------------


class Bench:
    """A queue that is not registered: memory, a refill ring that the test empties, and completions by messages."""

    def __init__(self, ring: Ring, entries: int = 4, token: int = 5 << 48) -> None:
        self.ring, self.token = ring, token
        self.region = mmap.mmap(-1, 2 * PAGE)
        offsets = ffi.new("struct io_uring_zcrx_offsets *", {"head": 0, "tail": 4, "rqes": 64})
        queue = ZeroCopyReceive.__new__(ZeroCopyReceive)
        queue.ring, queue.id, queue._limits, queue._copies = ring, 0, _Limits(), False
        queue._returned, queue._left = deque(), deque()
        queue._start = ffi.from_buffer(mmap.mmap(-1, 16 * PAGE))
        queue._area_token = token
        queue._refills = _refill_ring(ffi.from_buffer(self.region), offsets, entries)
        self.queue = queue
        self.taken = 0

    def stream(self, sock: socket.socket) -> ZeroCopyStream:
        """A receive that is prepared and never submitted."""
        return self.queue.receive(sock)

    def write(self, offset: int, data: bytes) -> None:
        """As a device would."""
        ffi.memmove(self.queue._start + offset, data, len(data))

    def arrive(self, stream: ZeroCopyStream, length: int, flags: int = lib.IORING_CQE_F_MORE) -> None:
        """Post a completion for the receive; its upper half, the offset, is 0."""
        sqe = L.io_uring_sqe()
        L.io_uring_prep_msg_ring_cqe_flags(sqe, self.ring.fileno(), length, stream.operation.user_data, 0, flags)
        assert L.io_uring_register_sync_msg(sqe) == 0

    def given_back(self) -> list[tuple[int, int]]:
        """What lies in the refill ring, which is emptied as by the kernel."""
        refills = self.queue._refills
        entries = []
        while self.taken != refills.ktail[0]:
            entry = refills.rqes[self.taken % refills.ring_entries]
            entries.append((entry.off - self.token, entry.len))
            self.taken += 1
        refills.khead[0] = self.taken
        return entries


@pytest.fixture
def bench(ring: Ring) -> Bench:
    """A queue to test with."""
    if not lib.io_uring_register_sync_msg:
        pytest.skip("this kernel lacks IORING_REGISTER_SEND_MSG_RING")
    return Bench(ring)


def take(bench: Bench, *parts: tuple[int, int]) -> list[ZeroCopyLease]:
    """Leases of parts of the area."""
    pending: dict[Any, tuple[int, int]] = dict(enumerate(parts))
    leases = [bench.queue._lease(pending) for _ in parts]
    assert pending == {}
    return leases


def test_lease_shows_the_area(bench: Bench) -> None:
    """A lease's data is the area's memory at the completion's offset, without the area's number."""
    bench.write(2 * PAGE + 10, b"hello")
    (lease,) = take(bench, (3 << 48 | 2 * PAGE + 10, 5))
    assert (lease.offset, lease.length, len(lease)) == (2 * PAGE + 10, 5, 5)
    assert lease.data == b"hello"
    with lease as entered:
        assert entered is lease
        bench.write(2 * PAGE + 10, b"HELLO")
        assert lease.data is not None
        assert bytes(lease.data) == b"HELLO"
        view = lease.data
    assert lease.data is None
    with pytest.raises(ValueError, match="released"):
        view[0]
    assert bench.given_back() == [(2 * PAGE + 10, 5)]
    lease.release()
    assert bench.given_back() == []


def test_slices_keep_the_buffer(bench: Bench) -> None:
    """A released lease of which a slice is kept goes back when the slice is gone, and not before."""
    bench.write(PAGE, b"abcdef")
    (lease,) = take(bench, (PAGE, 6))
    assert lease.data is not None
    part = lease.data[2:4]
    lease.release()
    del lease
    gc.collect()
    bench.queue._refill()
    assert bench.given_back() == []
    assert bytes(part) == b"cd"
    del part
    bench.queue._refill()
    assert bench.given_back() == [(PAGE, 6)]


def test_exports_refuse_the_release(bench: Bench) -> None:
    """While another object has the memory, the lease stays as it is."""
    (lease,) = take(bench, (PAGE, 6))
    assert lease.data is not None
    held = ffi.from_buffer(lease.data)
    with pytest.raises(BufferError):
        lease.release()
    assert len(lease.data) == 6
    del held
    lease.release()
    assert bench.given_back() == [(PAGE, 6)]


def test_dropped_leases_go_back_once(bench: Bench) -> None:
    """Without a release, in another thread, in a cycle: noted, and given back by the owner."""
    leases = take(bench, (0, 1), (PAGE, 2), (2 * PAGE, 3))
    thread = threading.Thread(target=leases.pop)
    thread.start()
    thread.join(LONG)
    cycle: list[Any] = [leases.pop()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert bench.given_back() == []
    leases.pop().release()
    assert bench.given_back() == [(2 * PAGE, 3), (PAGE, 2), (0, 1)]


def test_release_in_another_thread_is_noted(bench: Bench) -> None:
    """The refill ring is the owner's."""
    (lease,) = take(bench, (PAGE, 1))
    thread = threading.Thread(target=lease.release)
    thread.start()
    thread.join(LONG)
    assert bench.given_back() == []
    bench.queue._refill()
    assert bench.given_back() == [(PAGE, 1)]


def test_full_refill_ring(bench: Bench) -> None:
    """What does not fit waits, in order, for the kernel to take some; positions wrap around."""
    wanted, given = [(page * PAGE, 1) for page in range(11)], []
    for lease in take(bench, *wanted):
        lease.release()
    assert len(bench.queue._returned) == 7
    while bench.queue._returned or not given:
        given += bench.given_back()
        bench.queue._refill()
    given += bench.given_back()
    assert given == wanted


def test_positions_of_the_refill_ring_overflow(bench: Bench) -> None:
    """After four thousand million buffers the counters start again."""
    refills = bench.queue._refills
    refills.rq_tail = refills.khead[0] = refills.ktail[0] = bench.taken = (1 << 32) - 2
    for lease in take(bench, *[(page * PAGE, 1) for page in range(4)]):
        lease.release()
    assert refills.ktail[0] == 2
    assert not bench.queue._returned
    assert [refills.rqes[at % 4].off - bench.token for at in (-2, -1, 0, 1)] == [page * PAGE for page in range(4)]


def test_device_memory_has_no_view(bench: Bench) -> None:
    """In a DmaBuf a lease tells where data lies, and goes back as any other."""
    bench.queue._start = None
    one, two = take(bench, (PAGE, 7), (0, 9))
    assert (one.data, one.offset, one.length) == (None, PAGE, 7)
    one.release()
    del two
    bench.queue._refill()
    assert bench.given_back() == [(PAGE, 7), (0, 9)]


def test_leases_outlive_the_ring(tcp: tuple[socket.socket, socket.socket]) -> None:
    """The memory stays readable; giving it back is no use any more, and does no harm."""
    require_opcode("IORING_OP_RECV_ZC")
    with Ring(8, Params(cqe32=True)) as ring:
        bench = Bench(ring)
        bench.write(0, b"late")
        (lease,) = take(bench, (0, 4))
    assert lease.data == b"late"
    lease.release()
    assert bench.given_back() == []


# --- streams of completions -----------------------------------------------------------------------------------


def test_stream_takes_what_arrives(bench: Bench, tcp: tuple[socket.socket, socket.socket]) -> None:
    """Each completion with F_MORE is a lease, none is handed out by wait; the last one ends the stream."""
    bench.write(0, b"data")
    stream = bench.stream(tcp[0])
    for length in (4, 2):
        bench.arrive(stream, length)
    assert bench.ring.peek() == []
    assert bench.ring.statistics().in_flight == 1
    lease = next(stream)
    assert lease.data == b"data"
    second = next(stream)
    assert second.data == b"da"
    bench.arrive(stream, 0, 0)
    assert bench.ring.peek() == [stream.operation]
    with pytest.raises(StopIteration):
        next(stream)
    lease.release()
    del second
    bench.queue._refill()
    assert bench.given_back() == [(0, 4), (0, 2)]
    bench.ring._take_back()


def test_parts_without_a_queue(bench: Bench, tcp: tuple[socket.socket, socket.socket]) -> None:
    """Whoever registers through c_ring gets offsets and lengths, once."""
    stream = bench.stream(tcp[0])
    bench.arrive(stream, 4)
    assert bench.ring.peek() == []
    assert stream.operation.parts() == [(0, 4)]
    assert stream.operation.parts() == []
    bench.ring._take_back()


def test_stream_raises_the_failure(ring: Ring, tcp: tuple[socket.socket, socket.socket]) -> None:
    """No interface queue is registered, and the kernel says so: the iteration raises it, and closing ends it."""
    bench = Bench(ring)
    stream = bench.stream(tcp[0])
    with pytest.raises(OSError, match="interface queue 0 is not registered with this ring"):
        next(stream)
    stream.close()
    with pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize("dropped", [False, True])
def test_stream_that_nobody_reads(bench: Bench, tcp: tuple[socket.socket, socket.socket], dropped: bool) -> None:
    """Closed, or dropped: its request is cancelled, and what came goes back, also what comes late."""
    stream = bench.stream(tcp[0])
    operation = stream.operation
    bench.arrive(stream, 4)
    assert bench.ring.peek() == []
    if dropped:
        del stream
        gc.collect()
        bench.queue._refill()
    else:
        with stream:
            pass
    assert bench.given_back() == [(0, 4)]
    assert operation in bench.queue._left
    while operation._res is None:
        bench.ring._enter(1, int(LONG * 1e9))
    bench.queue._refill()
    assert not bench.queue._left
    assert bench.ring.peek() == []


def test_stream_dropped_while_others_are_ended(bench: Bench, tcp: tuple[socket.socket, socket.socket]) -> None:
    """Wherever another thread's destructor notes a stream while others are being ended, it is ended too."""
    queue, kept = bench.queue, []
    for step in range(1, 100):
        first, second = bench.stream(tcp[0]), bench.stream(tcp[1])
        kept += [first, second]
        with striking(step, functools.partial(queue._left.append, second.operation), "_end_receives") as left:
            first.close()
        if left[0] > 0:
            break
        queue._refill()
        assert second.operation.state is State.ABANDONED
        while first.operation._res is None or second.operation._res is None:
            bench.ring._enter(1, int(LONG * 1e9))
        queue._refill()
        assert not queue._left
    assert step > 2
    assert bench.ring.peek() == []


# --- the whole, without a device ---------------------------------------------------------------------------------


@pytest.fixture
def copying(ring: Ring) -> ZeroCopyReceive:
    """A receive without a device, which copies; the rest is as with one."""
    try:
        return ZeroCopyReceive(ring, None, area=32 * PAGE, entries=16)
    except Unsupported as error:
        pytest.skip(str(error))
    except PermissionError as error:
        pytest.skip(str(error))


class Sender(threading.Thread):
    """Send bytes, then close."""

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        super().__init__(daemon=True)
        self.sock, self.data = sock, data
        self.start()

    def run(self) -> None:
        """All of it."""
        self.sock.sendall(self.data)
        self.sock.shutdown(socket.SHUT_WR)


def test_stream_arrives_whole(copying: ZeroCopyReceive, tcp: tuple[socket.socket, socket.socket]) -> None:
    """Much more than the area holds passes through it, byte for byte, when leases are released."""
    data = random.Random(1).randbytes(200 * PAGE + 123)
    sender = Sender(tcp[1], data)
    digest, count = hashlib.sha256(), 0
    for lease in copying.receive(tcp[0]):
        with lease:
            assert lease.data is not None
            digest.update(lease.data)
            count += lease.length
    sender.join(LONG)
    assert count == len(data)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_used_up_area_is_an_error(copying: ZeroCopyReceive, tcp: tuple[socket.socket, socket.socket]) -> None:
    """When every buffer is leased the receive fails; what is leased stays as it is."""
    data = random.Random(2).randbytes(64 * PAGE)
    Sender(tcp[1], data)
    leases: list[ZeroCopyLease] = []
    with pytest.raises(OSError, match="recv_zc"):
        leases += copying.receive(tcp[0])
    assert b"".join(bytes(lease.data or b"") for lease in leases) == data[: sum(map(len, leases))]


def test_receive_is_cancelled(copying: ZeroCopyReceive, tcp: tuple[socket.socket, socket.socket]) -> None:
    """Cancelled, the iteration ends with that."""
    stream = copying.receive(tcp[0])
    copying.ring.submit()
    stream.operation.cancel()
    with pytest.raises(OperationCancelled):
        next(stream)


def test_length_ends_the_stream(copying: ZeroCopyReceive, tcp: tuple[socket.socket, socket.socket]) -> None:
    """A limited receive stops there; the rest is the next one's."""
    tcp[1].sendall(b"abcdefgh")
    calls: list[Callable[[], ZeroCopyStream]] = [lambda: copying.receive(tcp[0], 5), lambda: copying.receive(tcp[0], 3)]
    assert [b"".join(bytes(lease.data or b"") for lease in call()) for call in calls] == [b"abcde", b"fgh"]
