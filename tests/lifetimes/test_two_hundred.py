"""Two hundred multishot receives over a few buffers that run dry all the time: each byte and buffer is counted."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import pytest
from c_style import require_opcode
from scale import LONG, scaled

from uring import Multishot, ProvidedBuffer, ProvidedBuffers, Ring, Unsupported
from uring import liburing as L

CONNECTIONS = 200
COUNT, SIZE = 8, 256
KINDS: dict[str, dict[str, Any]] = {
    "ring": {},
    "incremental": {"incremental": True},
    "kernel memory": {"kernel_memory": True},
    "requests": {"rings": False},
}


@pytest.fixture(autouse=True)
def modern() -> None:
    """A kernel with multishot receives."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as they are


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Two hundred connections."""
    opened = [socket.socketpair() for _ in range(CONNECTIONS)]
    yield opened
    for pair in opened:
        for end in pair:
            end.close()


def stream(number: int, start: int, end: int) -> bytes:
    """The bytes of a connection's stream: those of no two connections, and no two neighbouring places, are alike."""
    return bytes((number * 31 + place * 7 + (place >> 8)) & 0xFF for place in range(start, end))


class Lending(ProvidedBuffers):
    """A group that counts the buffers that completions have named, and that came back, by their ids."""

    lent: Counter[int]

    def _lend(self, res: int, flags: int) -> Any:
        if flags & L.IORING_CQE_F_BUFFER:
            self.lent[flags >> L.IORING_CQE_BUFFER_SHIFT] += 1
        return super()._lend(res, flags)


def make(ring: Ring, kind: str) -> Lending:
    """Make a group; a kernel that lacks its kind skips the test and says so."""
    try:
        pool = Lending(ring, COUNT, SIZE, **KINDS[kind])
    except Unsupported as error:
        pytest.skip(str(error))
    pool.lent = Counter()
    return pool


class Client:
    """One connection: what was sent to it and what came."""

    def __init__(self, number: int, peer: socket.socket, messages: int) -> None:
        self.number, self.peer, self.left = number, peer, messages
        self.chance = random.Random(number)
        self.sent = self.received = 0

    def send(self) -> None:
        """Send another message, larger than a buffer now and then; after the last one, the end."""
        if self.left:
            size = self.chance.choice([1, 17, SIZE - 1, SIZE, SIZE + 1, 3 * SIZE])
            self.peer.sendall(stream(self.number, self.sent, self.sent + size))
            self.sent += size
            self.left -= 1
        else:
            self.peer.shutdown(socket.SHUT_WR)

    def take(self, lease: ProvidedBuffer) -> None:
        """Compare what came with what was sent."""
        data = bytes(lease)
        assert data == stream(self.number, self.received, self.received + len(data))
        self.received += len(data)


def exchange(ring: Ring, pool: Lending, pairs: list[tuple[socket.socket, socket.socket]], messages: int) -> int:
    """Receive `messages` on every connection, and its end; how often one starved.

    Half of the leases are held for a while, so that the group is dry, and those that are held are looked at again.
    """
    clients: dict[Multishot[ProvidedBuffer], Client] = {}
    for number, (one, two) in enumerate(pairs):
        clients[ring.recv(one, pool, multishot=True)] = Client(number, two, messages)
    for client in clients.values():
        client.send()
    chance = random.Random(messages)
    held: deque[tuple[ProvidedBuffer, bytes]] = deque()
    starved = 0
    deadline = time.monotonic() + 6 * LONG
    waiting = set(clients)
    while waiting:
        assert time.monotonic() < deadline, f"{len(waiting)} wait for ever: {pool!r}"
        ready = ring.wait(1, 0.0 if held else LONG)
        if not ready:
            held.popleft()  # those that starve can only wait for this
        for operation in ready:
            assert isinstance(operation, Multishot)
            client = clients[operation]
            starved += operation.starved
            for lease in operation.take():
                client.take(lease)
                if chance.random() < 0.5:
                    held.append((lease, bytes(lease)))
                else:
                    lease.release()
            lease = None  # its buffer goes back with the last reference
            assert pool.leased <= COUNT
            for earlier, content in held:
                assert bytes(earlier) == content, "somebody has written into a buffer that is leased"
            earlier = None
            while len(held) >= COUNT:
                held.popleft()
            if operation.done():
                operation.result()
                waiting.discard(operation)
            elif client.received == client.sent:
                client.send()
    held.clear()
    assert [client.received for client in clients.values()] == [client.sent for client in clients.values()]
    return starved


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_and_every_buffer(pairs: list[tuple[socket.socket, socket.socket]], kind: str) -> None:
    """All bytes arrive in order, nobody writes into what is leased, and in the end each buffer is there once."""
    with Ring(8, exit_timeout=LONG) as ring:
        pool = make(ring, kind)
        starved = exchange(ring, pool, pairs, scaled(10))
        assert starved > 0, "the group was never dry"
        assert (pool.available, pool.leased) == (COUNT, 0)
        assert set(pool.lent) == set(range(COUNT)), "a buffer was lost"
        if kind != "requests":
            there = L.io_uring_buf_ring_available(ring.c_ring, pool._supply._native.entries, pool.group)  # type: ignore[union-attr]
            assert there == COUNT
        # Each is received into at once, and no two are the same.
        before = Counter(pool.lent)
        one, two = socket.socketpair()
        with one, two:
            leases = []
            for number in range(COUNT):
                two.send(bytes([number]) * SIZE)
                leases.append(ring.recv(one, pool).result(LONG))
            if kind != "incremental":  # there the first one may have been begun before
                assert pool.lent - before == Counter(range(COUNT))
                assert [bytes(lease) for lease in leases] == [bytes([number]) * SIZE for number in range(COUNT)]
            for lease in leases:
                lease.release()
        pool.close()


def pages() -> int:
    """The resident pages of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


@pytest.mark.parametrize("kind", ["ring", "incremental"])
def test_nothing_grows(kind: str) -> None:
    """Round after round of two hundred connections, each to its end: no memory, no descriptor, no slot more."""
    sizes: list[int] = []
    descriptors: list[int] = []
    slots: list[int] = []
    rounds = max(4, scaled(30))
    with Ring(8, exit_timeout=LONG) as ring:
        pool = make(ring, kind)
        for _ in range(rounds):
            pairs = [socket.socketpair() for _ in range(CONNECTIONS)]
            exchange(ring, pool, pairs, 2)
            for pair in pairs:
                for end in pair:
                    end.close()
            sizes.append(pages())
            descriptors.append(len(os.listdir("/proc/self/fd")))
            slots.append(ring._native.slot_count)
            assert pool.available == COUNT
            assert not any((ring._multishots, ring._pending, ring._hidden, ring._notes, pool._waiting, pool._noted))
        assert sizes[-1] - sizes[len(sizes) // 2] < 300
        assert len(set(descriptors)) == 1
        assert len(set(slots[1:])) <= 1
        pool.close()


def test_it_takes_what_it_gives(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    """The number of requests grows with what is received, not with how many starve meanwhile."""
    with Ring(8, exit_timeout=LONG) as ring:
        pool = make(ring, "ring")
        exchange(ring, pool, pairs, scaled(5))
        shots = sum(pool.lent.values())
        assert ring.statistics().submitted < 4 * (shots + CONNECTIONS)
        pool.close()
