"""Zero-copy sends: what arrives, when the buffer is let go of, what the kernel tells of copies."""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from c_style import require_opcode

from uring import FixedBuffer, Params, Ring, RingClosed, SendRecv, State, Unsupported, WrongThread, ZeroCopyOperation
from uring import liburing as L
from uring.builders.zero_copy import SEND_ZC

LONG = 10.0
MiB = 1 << 20
Pair = tuple[socket.socket, socket.socket]
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
# A send's builder, over a socket and one buffer.
Start = Callable[..., ZeroCopyOperation]
FORMS: dict[str, Start] = {
    "send_zc": lambda ring, sock, data, flags=0, **more: ring.send_zc(sock, data, flags, **more),
    "send_zc of a list": lambda ring, sock, data, flags=0, **more: ring.send_zc(sock, [data], flags, **more),
    "sendmsg_zc": lambda ring, sock, data, flags=0, **more: ring.sendmsg_zc(sock, [data], (), flags, **more),
}

pytestmark = pytest.mark.skipif(SEND_ZC[0].missing, reason="this kernel lacks IORING_OP_SEND_ZC")


def scaled(n: int) -> int:
    """So many, times URING_TEST_SCALE; one at least."""
    return max(1, int(n * SCALE))


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring whose operations must all end within 10 seconds."""
    require_opcode("IORING_OP_SEND_ZC", "IORING_OP_SENDMSG_ZC")
    with Ring(8, exit_timeout=LONG) as ring:
        yield ring


@pytest.fixture(params=FORMS)
def start(request: pytest.FixtureRequest) -> Start:
    """Each form of a zero-copy send."""
    return FORMS[request.param]


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Two connected TCP sockets over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        two, _ = listener.accept()
    with one, two:
        two.settimeout(LONG)
        yield one, two


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Two UDP sockets, not connected."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(LONG)
        yield one, two


def is_pinned(data: bytearray) -> bool:
    """Whether something holds the buffer in place, so that it cannot be resized."""
    try:
        data.append(0)
    except BufferError:
        return True
    data.pop()
    return False


class Reader(threading.Thread):
    """Receive so many bytes, or all until the end."""

    def __init__(self, sock: socket.socket, count: int) -> None:
        super().__init__(daemon=True)
        self.sock, self.count, self.received = sock, count, bytearray()
        self.start()

    def run(self) -> None:
        """Read on."""
        while len(self.received) < self.count:
            part = self.sock.recv(min(1 << 16, self.count - len(self.received)))
            if not part:
                break
            self.received += part

    def end(self) -> bytes:
        """All that came."""
        self.join(LONG)
        assert not self.is_alive(), f"only {len(self.received)} of {self.count} bytes arrived"
        return bytes(self.received)


def stuff(ring: Ring, sock: socket.socket, data: bytearray) -> list[ZeroCopyOperation]:
    """Send until no more fits: the peer reads nothing, so the last ones are the kernel's."""
    sends: list[ZeroCopyOperation] = []
    while True:
        send = ring.send_zc(sock, data, socket.MSG_DONTWAIT)
        if send.exception(LONG) is not None:
            send.wait_released(LONG)
            assert sends, send.exception()
            return sends
        sends.append(send)


# --- what arrives -------------------------------------------------------------------------------------------


def test_large_buffers_arrive_whole(ring: Ring, tcp: Pair, start: Start) -> None:
    """With MSG_WAITALL every byte arrives, in order, and the buffers are free afterwards."""
    parts = [bytearray(os.urandom(3 * MiB + 17)) for _ in range(3)]
    reader = Reader(tcp[1], sum(map(len, parts)))
    wanted = hashlib.sha256(b"".join(parts)).digest()
    for part in parts:
        send = start(ring, tcp[0], part, socket.MSG_WAITALL)
        assert isinstance(send, ZeroCopyOperation)
        assert send.result(LONG) == len(part)
        send.wait_released(LONG)
        part[:] = bytes(len(part))  # ours again, and not what arrives
    assert hashlib.sha256(reader.end()).digest() == wanted


def test_lists_are_sent_in_order(ring: Ring, tcp: Pair) -> None:
    """Many buffers in one request, empty ones among them."""
    parts = [bytes([number]) * (number * 37) for number in range(200)]
    reader = Reader(tcp[1], sum(map(len, parts)))
    send = ring.send_zc(tcp[0], parts, socket.MSG_WAITALL)
    assert send.result(LONG) == sum(map(len, parts))
    assert reader.end() == b"".join(parts)
    assert send.name == "send_zc"


def test_plain_lists_are_sent_in_order(ring: Ring, tcp: Pair) -> None:
    """The same with a copying send."""
    parts = [b"one", b"", bytearray(b"two"), memoryview(b"three")]
    assert ring.send(tcp[0], parts).result(LONG) == 11
    assert tcp[1].recv(64) == b"onetwothree"


@pytest.mark.parametrize("form", ["buffer", "list", "fixed", "fixed list"])
def test_datagrams_go_to_an_address(ring: Ring, udp: Pair, form: str) -> None:
    """Each form takes an address."""
    memory = bytearray(b"0123456789" * 10)
    fixed = FixedBuffer(0, memory)
    if form.startswith("fixed"):
        require_opcode("IORING_OP_READV_FIXED")  # as old as registered memory for messages
        assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    data: Any = {"buffer": b"abcd", "list": [b"ab", b"cd"], "fixed": fixed[3:7], "fixed list": [fixed[3:5], fixed[5:7]]}
    send = ring.send_zc(udp[0], data[form], address=udp[1].getsockname())
    assert send.result(LONG) == 4
    assert udp[1].recvfrom(64) == (b"3456" if "fixed" in form else b"abcd", udp[0].getsockname())
    send.wait_released(LONG)


def test_ipv6_address(ring: Ring) -> None:
    """A family is known from the socket."""
    try:
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as two,
        ):
            two.bind(("::1", 0))
            assert ring.send_zc(one, b"six", address=two.getsockname()).result(LONG) == 3
            assert two.recv(8) == b"six"
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")


def test_registered_memory_is_sent(ring: Ring, tcp: Pair) -> None:
    """A FixedBuffer of some size, and its release, which unpins nothing of the registration."""
    memory = bytearray(os.urandom(MiB))
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    reader = Reader(tcp[1], MiB)
    send = ring.send_zc(tcp[0], FixedBuffer(0, memory), socket.MSG_WAITALL)
    assert send.result(LONG) == MiB
    send.wait_released(LONG)
    assert reader.end() == memory


# --- when the buffer is let go of -----------------------------------------------------------------------------


def test_released_follows_the_peer(ring: Ring, tcp: Pair) -> None:
    """Complete, and not released, until the peer has read; the buffer cannot be resized before, and can then."""
    data = bytearray(MiB)
    sends = stuff(ring, tcp[0], data)
    last = sends[-1]
    assert last.state is State.COMPLETED
    assert last.completion.more
    assert not last.released
    assert is_pinned(data)
    with pytest.raises(TimeoutError, match=r"send_zc of 1048576 bytes on fd \d+ is not released after 0.01 seconds"):
        last.wait_released(0.01)
    assert is_pinned(data)
    reader = Reader(tcp[1], sum(send.result() for send in sends))
    last.wait_released()
    assert last.released
    for send in sends:
        send.wait_released(LONG)
    assert not is_pinned(data)
    reader.end()
    assert ring.peek() == []


def test_wait_released_submits_and_leaves_the_result(ring: Ring, tcp: Pair, start: Start) -> None:
    """It can be all that is called; the operation is still handed out by wait, once."""
    send = start(ring, tcp[0], b"data")
    assert not send.released
    send.wait_released(LONG)
    assert send.released
    assert ring.wait(0) == [send]
    assert ring.peek() == []
    assert send.result() == 4


def test_the_notification_reaches_nobody_else(ring: Ring, tcp: Pair, start: Start) -> None:
    """A read that is queued right behind a send completes with its own result, many times over."""
    reader, writer = os.pipe()
    try:
        for number in range(scaled(300)):
            os.write(writer, b"%07d" % number)
            data, buffer = bytearray(b"x" * 5000), bytearray(32)
            send = start(ring, tcp[0], data)
            assert send.result(LONG) == 5000
            assert ring.read(reader, buffer).result(LONG) == 7
            assert bytes(buffer[:7]) == b"%07d" % number
            assert len(tcp[1].recv(5000, socket.MSG_WAITALL)) == 5000
    finally:
        os.close(reader)
        os.close(writer)
    assert ring.peek() == []


def test_unix_sockets_refuse(ring: Ring, start: Start) -> None:
    """The failure comes first and says why; the buffer is let go of with its notification."""
    data = bytearray(64)
    one, two = socket.socketpair()
    with one, two:
        send = start(ring, one, data)
        with pytest.raises(OSError, match="has no zero-copy sends") as caught:
            send.result(LONG)
        assert caught.value.errno == errno.EOPNOTSUPP
        send.wait_released(LONG)
        assert not is_pinned(data)
        assert send.copied is None
        assert ring.peek() == []


def test_failure_releases(ring: Ring, tcp: Pair, start: Start) -> None:
    """A send that is refused at once lets go of its buffer too, with a notification or without."""
    data = bytearray(64)
    reader, writer = os.pipe()
    send = start(ring, writer, data)
    os.close(reader)
    with pytest.raises(OSError, match="send"):
        send.result(LONG)
    send.wait_released(LONG)
    os.close(writer)
    assert not is_pinned(data)


def test_cancelled_send_releases(ring: Ring, tcp: Pair, start: Start) -> None:
    """A send that waits for room is cancelled; its buffer is let go of, when the peer has read what went out."""
    sends = stuff(ring, tcp[0], bytearray(MiB))
    data = bytearray(b"late")
    blocked = start(ring, tcp[0], data)
    ring.submit()
    assert not blocked.done()
    assert not blocked.released
    blocked.cancel()
    with pytest.raises(OSError, match="send"):
        blocked.result(LONG)
    reader = Reader(tcp[1], sum(send.result() for send in sends))
    blocked.wait_released(LONG)
    assert not is_pinned(data)
    assert blocked.copied is None
    reader.end()


def test_abandoned_sends_arrive(ring: Ring, tcp: Pair, start: Start) -> None:
    """Given up right after it was queued, it is sent all the same, handed out never, and its buffer is let go of."""
    data = bytearray(b"x" * 9000)
    send = start(ring, tcp[0], data, socket.MSG_WAITALL)
    send.abandon()
    assert len(tcp_read(ring, tcp[1], 9000)) == 9000
    send.wait_released(LONG)
    assert not is_pinned(data)
    assert ring.peek() == []
    assert ring.statistics().in_flight == 0


def tcp_read(ring: Ring, sock: socket.socket, count: int) -> bytes:
    """What arrives when everything is submitted."""
    ring.submit()
    return sock.recv(count, socket.MSG_WAITALL)


def test_dropped_references_keep_the_buffer(ring: Ring, tcp: Pair) -> None:
    """Neither the operation nor the buffer is named by anybody: the ring keeps both until the notification."""
    data = bytearray(os.urandom(MiB))
    expected = bytes(data)
    sends = stuff(ring, tcp[0], data)
    total = sum(send.result() for send in sends)
    operation = weakref.ref(sends[-1])
    sends.clear()
    del data
    gc.collect()
    junk = [bytearray(b"\xff" * MiB) for _ in range(4)]  # would take the memory's place
    assert operation() is not None
    received = Reader(tcp[1], total).end()
    assert received[:MiB] == expected[: min(total, MiB)]
    deadline = time.monotonic() + LONG
    while operation() is not None:
        assert ring.peek() == []
        assert time.monotonic() < deadline, "the operation is kept"
    assert junk


def test_thousands_with_a_tiny_queue(tcp: Pair, start: Start) -> None:
    """Results and notifications in a CQ of 8 entries: each send has one result, each buffer is free in the end."""
    count = scaled(2000)
    with Ring(8, Params(cq_entries=8), exit_timeout=LONG) as ring:
        buffers = [bytearray(b"%08d" % number) for number in range(count)]
        reader = Reader(tcp[1], 8 * count)
        sends = [start(ring, tcp[0], data, socket.MSG_WAITALL) for data in buffers]
        assert [send.result(LONG) for send in sends] == [8] * count
        for send in sends:
            send.wait_released(LONG)
        assert reader.end().count(b"0") > 0
        assert sorted(reader.received[at : at + 8] for at in range(0, 8 * count, 8)) == buffers
        assert not any(map(is_pinned, buffers))
        assert ring.peek() == []
        assert ring.statistics().in_flight == 0


def test_chain_of_sends(ring: Ring, tcp: Pair, start: Start) -> None:
    """Links run in order; inside the open chain nothing is released, and nothing can be waited for."""
    parts = [bytearray(os.urandom(50_000)) for _ in range(3)]
    reader = Reader(tcp[1], 150_000)
    with ring.chain(timeout=LONG):
        sends = [start(ring, tcp[0], part, socket.MSG_WAITALL, report_usage=True) for part in parts]
        assert not sends[0].released
        with pytest.raises(RuntimeError, match="chain is open"):
            sends[0].wait_released()
    assert set(ring.wait(3, LONG)) == set(sends)
    assert reader.end() == b"".join(parts)
    for send, part in zip(sends, parts, strict=True):
        send.wait_released(LONG)
        assert not is_pinned(part)
        assert send.copied is not None


def test_exception_in_a_chain_releases(ring: Ring, tcp: Pair, start: Start) -> None:
    """What was recorded and never queued is let go of at once."""
    data, sends = bytearray(64), []

    def record() -> None:
        with ring.chain():
            sends.append(start(ring, tcp[0], data))
            raise KeyError

    with pytest.raises(KeyError):
        record()
    (send,) = sends
    assert send.released
    send.wait_released()
    assert not is_pinned(data)


def test_callbacks_see_the_state(ring: Ring, tcp: Pair, start: Start) -> None:
    """A callback runs with the result; it may ask for the release."""
    seen: list[bool] = []
    send = start(ring, tcp[0], b"data")
    send.add_done_callback(lambda operation: seen.append(operation.released))
    send.wait_released(LONG)
    assert len(seen) == 1
    assert send.released


# --- threads, and the end --------------------------------------------------------------------------------------


def in_thread(call: Callable[[], Any]) -> Any:
    """What another thread gets."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except BaseException as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    return got[0]


def test_other_threads_may_look_at_what_is_known(ring: Ring, tcp: Pair) -> None:
    """Unknown, it is the owner's to ask; known, anybody's."""
    sends = stuff(ring, tcp[0], bytearray(MiB))
    send = sends[-1]
    for ask in (lambda: send.released, send.wait_released):
        assert isinstance(in_thread(ask), WrongThread)
    assert in_thread(lambda: send.copied) is None
    reader = Reader(tcp[1], sum(send.result() for send in sends))
    send.wait_released(LONG)
    reader.end()
    assert in_thread(lambda: send.released) is True
    assert in_thread(send.wait_released) is None


def test_close_between_result_and_notification(tcp: Pair) -> None:
    """What the peer does not read cannot be waited for: the buffer is kept, and a warning says so."""
    ring, data = Ring(8), bytearray(MiB)
    sends = stuff(ring, tcp[0], data)
    with pytest.warns(ResourceWarning, match="could not be stopped and are kept in memory"):
        ring.close(timeout=0.05)
    last = sends[-1]
    assert last.result() > 0
    assert not last.released
    with pytest.raises(RingClosed, match="before the buffer of send_zc"):
        last.wait_released()
    assert is_pinned(data)
    total = sum(send.result() for send in sends)
    sends.clear()
    gc.collect()
    assert len(Reader(tcp[1], total).end()) == total
    assert is_pinned(data)


def test_close_waits_for_the_notification(tcp: Pair) -> None:
    """When the peer reads, closing ends with the release."""
    ring, data = Ring(8), bytearray(MiB)
    sends = stuff(ring, tcp[0], data)
    reader = Reader(tcp[1], sum(send.result() for send in sends))
    ring.close(timeout=LONG)
    assert all(send.released for send in sends)
    assert not is_pinned(data)
    sends[-1].wait_released()
    reader.end()


def test_never_submitted_is_released(tcp: Pair, start: Start) -> None:
    """Closing drops what was only prepared, and its buffer."""
    ring, data = Ring(8), bytearray(64)
    send = start(ring, tcp[0], data)
    with pytest.warns(ResourceWarning, match="never submitted"):
        ring.close()
    assert send.released
    send.wait_released()
    assert send.copied is None
    assert not is_pinned(data)


# --- what the kernel tells of copies ---------------------------------------------------------------------------


def test_usage_is_reported(ring: Ring, tcp: Pair, start: Start) -> None:
    """Over loopback large sends are copied, and said to be; without report_usage nothing is known."""
    if not ring.features & L.IORING_FEAT_REG_REG_RING:
        pytest.skip("this kernel lacks IORING_SEND_ZC_REPORT_USAGE")
    data = bytearray(20_000)
    reader = Reader(tcp[1], 60_000)
    told = start(ring, tcp[0], data, socket.MSG_WAITALL, report_usage=True)
    assert told.result(LONG) == 20_000
    silent = start(ring, tcp[0], data, socket.MSG_WAITALL)
    by_bits = start(ring, tcp[0], data, socket.MSG_WAITALL, ioprio=SendRecv.REPORT_USAGE)
    for send in (told, silent, by_bits):
        send.wait_released(LONG)
    assert told.copied is True
    assert silent.copied is None
    assert by_bits.copied is True
    assert told.result() == 20_000
    assert told.exception() is None
    reader.end()


def test_usage_is_unknown_before_the_notification(ring: Ring, tcp: Pair) -> None:
    """Nothing is said of a send that is not released."""
    if not ring.features & L.IORING_FEAT_REG_REG_RING:
        pytest.skip("this kernel lacks IORING_SEND_ZC_REPORT_USAGE")
    sends = stuff(ring, tcp[0], bytearray(MiB))
    late = ring.send_zc(tcp[0], bytearray(MiB), socket.MSG_WAITALL, report_usage=True)
    ring.submit()
    assert late.copied is None
    reader = Reader(tcp[1], sum(send.result() for send in sends) + MiB)
    late.wait_released(LONG)
    reader.end()
    assert late.copied is True


# --- bad arguments ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ring, sock: ring.send_zc(sock, 5), TypeError),
        (lambda ring, sock: ring.send_zc(sock, [5]), TypeError),
        (lambda ring, sock: ring.send_zc(sock, "text"), TypeError),
        (lambda ring, sock: ring.send_zc(sock, memoryview(b"abcdef")[::2]), BufferError),
        (lambda ring, sock: ring.send_zc(sock, [b""] * 1025), ValueError),
        (lambda ring, sock: ring.send_zc(sock, b"x", -1), ValueError),
        (lambda ring, sock: ring.send_zc(sock, b"x", address=("no.such.host", 1)), ValueError),
        (lambda ring, sock: ring.send_zc(sock, b"x", address=7), TypeError),
        (lambda ring, sock: ring.send_zc(sock, [b"x"], skip_success=True), ValueError),
        (lambda ring, sock: ring.send_zc(sock, b"x", zc_flags=8), TypeError),
        (lambda ring, sock: ring.send_zc(sock, [FixedBuffer(0, bytearray(8)), b"x"]), TypeError),
        (lambda ring, sock: ring.send_zc(sock, [FixedBuffer(i, bytearray(8)) for i in (0, 1)]), ValueError),
        (lambda ring, sock: ring.sendmsg_zc(sock, b"x"), TypeError),
        (lambda ring, sock: ring.send(sock, b"x" * 64, ioprio=SendRecv.VECTORIZED), ValueError),
        (lambda ring, sock: ring.send(sock, [b"x"], ioprio=SendRecv.VECTORIZED), ValueError),
        (lambda ring, sock: ring.send_zc(sock, b"x" * 64, ioprio=SendRecv.VECTORIZED), ValueError),
        (lambda ring, sock: ring.sendmsg_zc(sock, [b"x"], ioprio=SendRecv.VECTORIZED), ValueError),
        (lambda ring, sock: ring.send(sock, b"x", ioprio=SendRecv.REPORT_USAGE), ValueError),
        (lambda ring, sock: ring.sendmsg(sock, [b"x"], ioprio=SendRecv.REPORT_USAGE), ValueError),
    ],
)
def test_bad_arguments(ring: Ring, tcp: Pair, call: Callable[[Ring, socket.socket], object], error: Any) -> None:
    """Refused before anything is queued, also what would make the kernel take a buffer's content for addresses."""
    with pytest.raises(error):
        call(ring, tcp[0])
    assert ring.statistics().in_flight == 0
    assert ring.submit() == 0


def test_kernel_without_the_report(ring: Ring, tcp: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """-EINVAL for a send with report_usage names the feature on a kernel without it."""
    send = ring.send_zc(tcp[0], b"x", report_usage=True, ioprio=1 << 9)  # a bit that no kernel knows
    send.wait_released(LONG)
    assert isinstance(send.exception(), OSError)
    monkeypatch.setattr(Ring, "features", property(lambda _: 0))
    with pytest.raises(Unsupported, match=r"REPORT_USAGE: it needs Linux 6\.2"):
        send.result()


def test_sends_are_refused_in_another_thread(ring: Ring, tcp: Pair, start: Start) -> None:
    """As every request."""
    data = bytearray(8)
    assert isinstance(in_thread(lambda: start(ring, tcp[0], data)), WrongThread)
    gc.collect()
    assert not is_pinned(data)
