"""Provided buffers under load and under interrupts: every byte arrives once, and no buffer is lost or doubled."""

from __future__ import annotations

import gc
import queue
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from interrupting import Stop, interruption
from scale import LONG, SCALE, scaled

import uring
from uring import BuffersExhausted, Operation, ProvidedBuffer, ProvidedBuffers, Ring, Unsupported
from uring import liburing as L

CONNECTIONS = 200
KINDS: dict[str, dict[str, Any]] = {
    "ring": {},
    "kernel memory": {"kernel_memory": True},
    "incremental": {"incremental": True},
    "requests": {"rings": False},
    "bundles": {},
}
Pair = tuple[socket.socket, socket.socket]


def make(ring: Ring, kind: str, count: int, size: int) -> ProvidedBuffers:
    """Make a group; a kernel that lacks its kind skips the test and says so."""
    if kind == "bundles" and not ring.features & uring.Feature.RECVSEND_BUNDLE:
        pytest.skip("this kernel lacks IORING_RECVSEND_BUNDLE")
    try:
        return ProvidedBuffers(ring, count, size, **KINDS[kind])
    except Unsupported as error:
        pytest.skip(str(error))


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Two hundred connections."""
    opened = [socket.socketpair() for _ in range(CONNECTIONS)]
    yield opened
    for pair in opened:
        for end in pair:
            end.close()


def assert_complete(ring: Ring, pool: ProvidedBuffers) -> None:
    """The group has all its buffers, each once: by its own account, by the kernel's, and by what they receive."""
    count = len(pool)
    if pool.leased:  # an exception's traceback may be in a cycle; collecting takes longer than all else here
        gc.collect()
    assert (pool.available, pool.leased) == (count, 0)
    if pool._supply.__class__.__name__ == "RingSupply":
        there = L.io_uring_buf_ring_available(ring.c_ring, pool._supply._native.entries, pool.group)
        assert there == count
    one, two = socket.socketpair()
    with one, two:
        # Full ones, so that each takes a buffer of its own also where several fit one.
        texts = [b"%d:" % number + bytes([number % 256]) * pool.size for number in range(2 * count)]
        leases: list[ProvidedBuffer] = []
        received: list[bytes] = []
        for text in texts:
            two.send(text[: pool.size])
            operation = ring.recv(one, pool)
            if isinstance(operation.exception(LONG), BuffersExhausted):
                break
            leases.append(operation.result())
            received.append(bytes(leases[-1]))
        assert [bytes(lease) for lease in leases] == received, "two of them lie in one buffer"
        assert count <= len(leases) <= count + 1, "an incremental one may have been begun before"
        assert b"".join(received) == b"".join(text[: pool.size] for text in texts)[: sum(map(len, received))]
        for lease in leases:
            lease.release()
    assert pool.available == count


class Connection:
    """One end of a stream whose bytes are known: what is sent to it, and how much of it was received."""

    def __init__(self, number: int, pair: Pair, messages: int) -> None:
        self.sock, self.peer = pair
        self.random = random.Random(number)
        self.number = number
        self.left = messages
        self.sent = self.received = 0

    def content(self, start: int, end: int) -> bytes:
        """The bytes of the stream at a place."""
        return bytes((self.number * 31 + place * 7) & 0xFF for place in range(start, end))

    def send(self) -> None:
        """Send the next message."""
        length = self.random.randint(1, 300)
        self.peer.sendall(self.content(self.sent, self.sent + length))
        self.sent += length
        self.left -= 1

    def take(self, lease: ProvidedBuffer) -> None:
        """Compare what came; when a message is complete, send another."""
        data = bytes(lease)
        assert data == self.content(self.received, self.received + len(data))
        self.received += len(data)
        if self.received == self.sent and self.left:
            self.send()

    def is_done(self) -> bool:
        """Whether everything was sent and received."""
        return not self.left and self.received == self.sent


@pytest.mark.parametrize("kind", KINDS)
def test_connections_that_share_a_few_buffers(pairs: list[Pair], kind: str) -> None:
    """Two hundred streams over eight buffers, which run dry all the time: every byte arrives, every buffer comes back.

    Leases are released, dropped, held for a while, and sent on.
    """
    chance = random.Random(1)
    held: deque[ProvidedBuffer | memoryview] = deque()
    dry = 0
    with Ring(256, exit_timeout=LONG) as ring:
        pool = make(ring, kind, 8, 128)
        connections = [Connection(number, pair, scaled(15)) for number, pair in enumerate(pairs)]
        echo = socket.socketpair()
        for end in echo:
            end.setblocking(False)
        waiting: dict[Operation[Any], Connection] = {}

        def dispose(lease: ProvidedBuffer, what: int) -> None:
            if what == 0:
                held.append(lease)
            elif what == 1:
                held.append(lease.views[0])
            elif what == 2:
                ring.send(echo[0], lease.views, socket.MSG_DONTWAIT)
            if what not in (0, 4):
                lease.release()
            if len(held) > 3:
                held.popleft()

        def receive(connection: Connection) -> None:
            waiting[ring.recv(connection.sock, pool, bundle=kind == "bundles")] = connection

        for connection in connections:
            connection.send()
            receive(connection)
        deadline = time.monotonic() + 6 * LONG
        while waiting:
            assert time.monotonic() < deadline
            for operation in ring.wait(1, LONG):
                if operation not in waiting:
                    continue
                connection = waiting.pop(operation)
                try:
                    lease = operation.result()
                except BuffersExhausted:
                    dry += 1
                    while held:  # whoever finds none returns what it holds
                        held.pop()
                    receive(connection)
                    continue
                connection.take(lease)
                dispose(lease, chance.randrange(5))
                del lease
                if not connection.is_done():
                    receive(connection)
                with suppress(BlockingIOError):
                    while echo[1].recv(1 << 16):
                        pass
            operation = None
        while ring.statistics().in_flight:
            ring.wait(1, LONG)
        held.clear()
        for end in echo:
            end.close()
        assert dry > 0
        assert sum(connection.received for connection in connections) == sum(c.sent for c in connections)
        assert_complete(ring, pool)
        pool.close()


@pytest.mark.parametrize("kind", ["ring", "incremental", "requests"])
def test_other_threads_that_release(pairs: list[Pair], kind: str) -> None:
    """Leases that two other threads read, and release or drop, come back to the ring's thread, each once."""
    work: queue.SimpleQueue[Any] = queue.SimpleQueue()
    failures: list[BaseException] = []

    def consume() -> None:
        try:
            while (item := work.get()) is not None:
                lease, expected = item
                assert bytes(lease) == expected
                if expected[0] % 2:
                    lease.release()
                del lease, item
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=consume) for _ in range(2)]
    for thread in threads:
        thread.start()
    with Ring(64, exit_timeout=LONG) as ring:
        pool = make(ring, kind, 16, 256)
        one, two = pairs[0]
        deadline = time.monotonic() + 3 * LONG
        for number in range(scaled(5000)):
            text = b"%d" % number * 5
            two.send(text)
            while True:
                assert time.monotonic() < deadline
                try:
                    lease = ring.recv(one, pool).result(LONG)
                except BuffersExhausted:
                    continue
                work.put((lease, bytes(lease)))
                if len(lease) == len(text):
                    break
                text = text[len(lease) :]  # the end of an incremental buffer
            del lease
        for _ in threads:
            work.put(None)
        for thread in threads:
            thread.join(LONG)
        assert failures == []
        assert_complete(ring, pool)


def pages() -> int:
    """The resident pages of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


@pytest.mark.parametrize("kind", ["ring", "incremental", "requests"])
def test_hundreds_of_thousands_of_leases(kind: str) -> None:
    """Leasing and returning goes on for ever: positions wrap around, and nothing grows."""
    with Ring(64, exit_timeout=LONG) as ring, open("/dev/zero", "rb") as zero:
        pool = make(ring, kind, 8, 64)
        rounds = scaled(100_000 if kind == "ring" else 20_000)
        before = 0
        for number in range(rounds // 8):
            operations = [ring.read(zero, pool) for _ in range(8)]
            for operation in operations:
                lease = operation.result(LONG)
                if number % 3:
                    lease.release()
            del operations, operation, lease
            if number == rounds // 80:
                before = pages()
        assert pages() - before < 500
        assert len(pool._noted) < 100
        assert_complete(ring, pool)


def use(ring: Ring, pool: ProvidedBuffers, pair: Pair, kind: str) -> None:
    """Receive, look at it, send it on, release it, drop it, run dry, abandon."""
    for text in (b"first", b"second"):
        pair[1].send(text)
        operation = ring.recv(pair[0], pool, bundle=kind == "bundles")
        with operation.result(LONG) as lease:
            lease.view.tobytes()
            ring.send(pair[0], lease.views)
    pair[1].send(b"third")
    ring.recv(pair[0], pool).result(LONG)
    operations = [ring.recv(pair[0], pool) for _ in range(4)]
    operations[3].abandon()
    pair[1].send(b"fourth")
    called: list[int] = []
    pool._when_refilled(lambda: called.append(1))
    for done in ring.wait(1, LONG):
        if isinstance(done, Operation) and done.name == "recv" and done.exception() is None:
            done.result().release()
    for operation in operations:
        operation.cancel()


def give_back(ring: Ring, pool: ProvidedBuffers, pair: Pair, kind: str) -> None:
    """The same at its shortest: receive into a buffer, and release it."""
    pair[1].send(b"x" * pool.size)
    ring.recv(pair[0], pool).result(LONG).release()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("work", "stride"), [(give_back, 1), (use, 9)])
def test_an_exception_at_every_step(work: Any, stride: int, kind: str) -> None:
    """Wherever a signal's handler raises: afterwards each buffer is there once, and receives what is its own."""
    number, step, finished = 0, max(1, round(stride / max(SCALE, 0.1))), False
    while not finished:
        number += step
        one, two = socket.socketpair()
        with one, two, Ring(16, exit_timeout=LONG) as ring:
            pool = make(ring, kind, 2, 64)
            try:
                with interruption(number):
                    work(ring, pool, (one, two), kind)
                finished = True
            except Stop:
                pass
            deadline = time.monotonic() + LONG
            while ring._native.in_flight:
                assert time.monotonic() < deadline, (number, ring, ring._table)
                ring.submit()
                with suppress(OSError):
                    ring.sync_cancel(every=True, timeout=LONG)
                ring.wait(0)
            ring.wait(0)
            assert_complete(ring, pool)
            pool.close()
    assert number > 30


@pytest.mark.parametrize("kind", ["ring", "kernel memory", "requests"])
def test_an_exception_while_a_group_is_made_and_closed(kind: str) -> None:
    """Wherever a handler raises: memory is held while the kernel may use it, and let go of in the end."""
    number, step, finished = 0, max(1, round(5 / max(SCALE, 0.1))), False
    while not finished:
        number += step
        memory = bytearray(256)
        with Ring(8, exit_timeout=LONG) as ring:
            make(ring, kind, 1, 1).close()
            try:
                with interruption(number):
                    pool = ProvidedBuffers(ring, 4, 64, group=3, memory=memory, **KINDS[kind])
                    pool.close()
                finished = True
            except Stop:
                pass
            one, two = socket.socketpair()
            with one, two:
                two.send(b"data")
                # Either there is no group, or it is whole; then its memory cannot move.
                operation = ring.recv(one, bytearray(64), buffer_group=3)
                if operation.exception(LONG) is None:
                    with pytest.raises(BufferError):
                        memory.append(0)
        pool = operation = None  # type: ignore[assignment]
        ring = None  # type: ignore[assignment]
        try:
            memory.append(0)
        except BufferError:
            gc.collect()
            memory.append(0)
    assert number > 20
