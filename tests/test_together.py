"""Multishots, provided buffers, and registered files and buffers, used together on one ring."""

from __future__ import annotations

import errno
import gc
import os
import socket
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from c_style import require_opcode

from uring import ProvidedBuffers, RegisteredFiles, Ring

LONG = 10.0
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(autouse=True)
def modern() -> None:
    """A kernel with multishot receives."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as they are


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 8 entries."""
    with Ring(8, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def other() -> Iterator[Pair]:
    """Two more connected sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def starve(ring: Ring, receive: Any, sender: socket.socket) -> list[Any]:
    """Have the one buffer of a multishot receive taken while there is more, b"rest"; the lease of it."""
    sender.send(b"before")
    leases: list[Any] = receive.take(LONG)
    sender.send(b"rest")
    deadline = time.monotonic() + LONG
    while not receive.starved:
        ring.wait(0)
        assert time.monotonic() < deadline
    assert len(leases) == 1
    return leases


# --- a multishot looks its file up again ------------------------------------------------------------------


def test_file_of_a_multishot_is_not_replaced(ring: Ring, pair: Pair, other: Pair) -> None:
    """A slot that a multishot names is not given another file: requested again, it would receive from that one."""
    with RegisteredFiles(ring, [pair[0], None]) as table, ProvidedBuffers(ring, 1, 64) as pool:
        receive = ring.recv(table[0], pool, multishot=True)
        lease = starve(ring, receive, pair[1])
        with pytest.raises(RuntimeError, match="registered file 0"):
            table.update(0, other[0])
        other[1].send(b"stolen")
        lease.clear()
        assert [bytes(shot) for shot in receive.take(LONG)] == [b"rest"]
        receive.close()
        assert table.update(0, other[0]) == 0


def test_multishot_does_not_follow_a_slot_that_was_closed(ring: Ring, pair: Pair, other: Pair) -> None:
    """A multishot whose registered file was closed by a request ends, and receives from no later file of the slot."""
    with RegisteredFiles(ring, [None], kernel_slots=0) as table, ProvidedBuffers(ring, 1, 64) as pool:
        ring.files_update([pair[0].fileno()], 0).result()
        file = table.adopt(0)
        receive = ring.recv(file, pool, multishot=True)
        lease = starve(ring, receive, pair[1])
        ring.close_fd(file).result()
        ring.files_update([other[0].fileno()], 0).result()
        other[1].send(b"stolen")
        lease.clear()
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            receive.result(LONG)
        assert caught.value.errno == errno.EBADF
        assert receive._shots == {}


def test_multishot_does_not_follow_a_reserved_slot_that_is_filled_again(ring: Ring, listener: socket.socket) -> None:
    """A reserved slot may hold one connection after another; a multishot of an earlier one does not go on with it."""
    with (
        RegisteredFiles(ring, 1, kernel_slots=0) as table,
        ProvidedBuffers(ring, 1, 64) as pool,
        table.reserve() as slot,
        socket.create_connection(listener.getsockname()) as client,
    ):
        ring.accept(listener, direct=slot).result()
        receive = ring.recv(slot, pool, multishot=True)
        lease = starve(ring, receive, client)
        ring.close_fd(slot).result()
        with socket.create_connection(listener.getsockname()) as another:
            ring.accept(listener, direct=slot).result()
            another.send(b"stolen")
            lease.clear()
            with pytest.raises(OSError, match="Bad file descriptor"):
                receive.result(LONG)
            assert receive._shots == {}
            again = ring.recv(slot, pool, multishot=True)
            assert [bytes(shot) for shot in again.take(LONG)] == [b"stolen"]
            again.close()


def test_multishot_does_not_follow_a_descriptor_that_was_closed(ring: Ring, other: Pair) -> None:
    """A multishot whose socket object was closed ends, though its number belongs to another socket by then."""
    one, two = socket.socketpair()
    with one, two, ProvidedBuffers(ring, 1, 64) as pool:
        receive = ring.recv(one, pool, multishot=True)
        lease = starve(ring, receive, two)
        number = one.fileno()
        one.close()
        os.dup2(other[0].fileno(), number)
        try:
            other[1].send(b"stolen")
            lease.clear()
            with pytest.raises(OSError, match="Bad file descriptor") as caught:
                receive.result(LONG)
            assert caught.value.errno == errno.EBADF
            assert receive._shots == {}
        finally:
            os.close(number)


# --- groups and what selects from them --------------------------------------------------------------------


def test_group_of_a_starving_multishot_is_not_closed(ring: Ring, pair: Pair) -> None:
    """A multishot that waits for buffers is in nobody's flight, and still keeps its group from being closed."""
    pool = ProvidedBuffers(ring, 1, 64)
    receive = ring.recv(pair[0], pool, multishot=True)
    leases = starve(ring, receive, pair[1])
    with pytest.raises(RuntimeError, match="select from buffer group"):
        pool.close()
    leases.clear()
    assert [bytes(shot) for shot in receive.take(LONG)] == [b"rest"]
    receive.close()
    pool.close()


def test_memory_of_a_group_is_not_held_by_multishots_of_others(ring: Ring, listener: socket.socket) -> None:
    """A multishot that never ends does not keep the memory of all groups that are closed meanwhile."""
    with ring.accept(listener, multishot=True):
        ring.submit()
        pool = ProvidedBuffers(ring, 1, 64)
        memory = weakref.ref(pool._memory)
        pool.close()
        del pool
        gc.collect()
        assert memory() is None


# --- slots of registered files ----------------------------------------------------------------------------


def test_slots_of_dropped_connections_are_accepted_into_again(ring: Ring, listener: socket.socket) -> None:
    """A server that only waits gets back the slots of connections that it drops: a multishot accept goes on."""
    with RegisteredFiles(ring, 2, kernel_slots=2) as table:
        accept = ring.accept(listener, multishot=True, direct=table)
        for _ in range(8):
            with socket.create_connection(listener.getsockname()) as client:
                (connection,) = accept.take(LONG)
                sent = ring.send(connection, b"hello")
                del connection  # the send holds it
                assert client.recv(64) == b"hello" if sent.result() else False
        assert not accept.done()
        accept.close()


def test_shots_of_a_dropped_multishot_are_disposed_of_at_the_end(listener: socket.socket) -> None:
    """Connections that a multishot had brought before it ended and was dropped are closed with the ring."""
    with socket.socket() as client:
        with Ring(8) as ring:
            accept = ring.accept(listener, multishot=True)
            ring.submit()
            client.connect(listener.getsockname())
            while not accept._shots:
                ring.wait()
            accept.cancel().result()
            while accept._res is None:
                ring.wait(0)
            ring.peek()
            del accept
            ring.close()
        client.settimeout(LONG)
        assert client.recv(1) == b""


def test_cancel_of_a_starving_multishot_wakes_who_waits_for_it(ring: Ring, pair: Pair) -> None:
    """A multishot that starves when it is cancelled is handed out by a wait."""
    with ProvidedBuffers(ring, 1, 64) as pool:
        receive = ring.recv(pair[0], pool, multishot=True)
        leases = starve(ring, receive, pair[1])
        ring.peek()
        cancel = receive.cancel()
        found = ring.wait(2, timeout=LONG)
        assert {*found} == {receive, cancel}
        assert receive.done()
        del leases
