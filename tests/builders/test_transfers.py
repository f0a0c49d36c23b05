"""Data over sockets: what is sent and received, by which flags, and inside chains."""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import Any

import pytest
from c_style import require_opcode
from observing import code_of, in_flight, is_pinned

from uring.errors import ChainBroken, OperationCancelled
from uring.flags import SendRecv
from uring.ring import Ring

Pair = tuple[socket.socket, socket.socket]
MiB = 1 << 20


# Sending and receiving


@pytest.mark.parametrize(
    "data", [b"bytes", bytearray(b"bytearray"), memoryview(b"a view")[2:], array.array("i", [1, 2])]
)
def test_any_buffer_is_sent(ring: Ring, pair: Pair, data: Any) -> None:
    """Everything with the buffer protocol can be sent."""
    size = memoryview(data).nbytes
    assert ring.send(pair[0], data).result(timeout=10) == size
    assert pair[1].recv(64) == bytes(memoryview(data).cast("B"))


def test_lists_are_gathered_and_scattered(ring: Ring, pair: Pair) -> None:
    """A list of buffers is sent in order, and filled in order."""
    send = ring.send(pair[0], [b"one", bytearray(b"two"), memoryview(b"three")])
    assert send.result(timeout=10) == 11
    parts = [bytearray(2), bytearray(5), bytearray(8)]
    recv = ring.recv(pair[1], parts)
    assert recv.result(timeout=10) == 11
    assert parts == [b"on", b"etwot", b"hree\0\0\0\0"]
    assert (send.name, send.opcode, recv.name, recv.opcode) == ("send", "SENDMSG", "recv", "RECVMSG")


def test_recv_waits(ring: Ring, pair: Pair) -> None:
    """A receive stays in flight until data comes; its buffer cannot be resized meanwhile."""
    buffer = bytearray(16)
    recv = ring.recv(pair[0], buffer)
    assert in_flight(ring, recv)
    assert is_pinned(buffer)
    pair[1].send(b"late")
    assert recv.result(timeout=10) == 4
    assert buffer[:4] == b"late"
    assert not is_pinned(buffer)


def test_recv_flags(ring: Ring, pair: Pair) -> None:
    """MSG_PEEK leaves the data, MSG_DONTWAIT without data is BlockingIOError."""
    with pytest.raises(BlockingIOError):
        ring.recv(pair[0], bytearray(1), socket.MSG_DONTWAIT).result(timeout=10)
    pair[1].send(b"data")
    for flags in (socket.MSG_PEEK, 0):
        assert ring.recv(pair[0], bytearray(8), flags).result(timeout=10) == 4
    assert ring.recv(pair[0], bytearray(8), ioprio=SendRecv.POLL_FIRST).cancel().result(timeout=10)


def test_waitall_transfers_all(ring: Ring, pair: Pair) -> None:
    """With MSG_WAITALL a megabyte goes through a small socket as one send and one receive."""
    require_opcode("IORING_OP_SOCKET")  # MSG_WAITALL is taken seriously since
    data, buffer = os.urandom(MiB), bytearray(MiB)
    send = ring.send(pair[0], data, socket.MSG_WAITALL)
    recv = ring.recv(pair[1], buffer, socket.MSG_WAITALL)
    assert (recv.result(timeout=10), send.result(timeout=10)) == (MiB, MiB)
    assert buffer == data


def test_datagrams_to_an_address(ring: Ring, udp: Pair) -> None:
    """A send with an address goes there, from a socket object or a plain descriptor, one buffer or a list."""
    require_opcode("IORING_OP_SEND_ZC")  # as old as an address for SEND
    one, two = udp
    where = two.getsockname()
    for sock in (one, one.fileno()):
        assert ring.send(sock, b"single", address=where).result(timeout=10) == 6
        assert ring.send(sock, [b"li", b"st"], address=where).result(timeout=10) == 4
        assert [two.recvfrom(16) for _ in range(2)] == [(b"single", one.getsockname()), (b"list", one.getsockname())]


def test_send_to_nobody(ring: Ring, pair: Pair) -> None:
    """A send whose peer is gone is BrokenPipeError and no signal, with the length in its message."""
    pair[1].close()
    with pytest.raises(BrokenPipeError, match="send of 4 bytes"):
        ring.send(pair[0], b"data").result(timeout=10)


def test_errors_do_not_speak_of_alignment(ring: Ring, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """EINVAL from a socket is not explained by O_DIRECT."""
    send = ring.send(pair[0], b"x", socket.MSG_WAITALL)
    send.result(timeout=10)
    send._res = -errno.EINVAL
    assert "O_DIRECT" not in str(send.exception())
    assert code_of(send) == errno.EINVAL


# Chains


def test_connect_and_transfers_are_linked(ring: Ring, listener: socket.socket) -> None:
    """A chain connects, sends, and receives the answer."""
    with socket.socket() as client:
        buffer = bytearray(4)
        with ring.chain() as chain:
            ring.connect(client, listener.getsockname())
            ring.send(client, b"ping", socket.MSG_WAITALL)
            ring.recv(client, buffer, socket.MSG_WAITALL)
        ring.submit()
        server, _ = listener.accept()
        with server:
            ring.poll_add(server).result(timeout=10)  # the chain goes on only while somebody enters the kernel
            assert server.recv(4) == b"ping"
            server.send(b"pong")
            assert [operation.result(timeout=10) for operation in chain] == [None, 4, 4]
    assert buffer == b"pong"


def test_short_receive_breaks_a_chain_with_waitall_only(ring: Ring, tcp: Pair) -> None:
    """A short receive with MSG_WAITALL breaks its chain and is named; one without does not break it."""
    require_opcode("IORING_OP_SOCKET")  # MSG_WAITALL is taken seriously since
    one, two = tcp
    one.send(b"data")
    with ring.chain():
        short, after = ring.recv(two, bytearray(8)), ring.nop()
    assert short.result(timeout=10) == 4
    assert after.result(timeout=10) is None
    one.send(b"data")
    one.shutdown(socket.SHUT_WR)
    with ring.chain():
        short, after = ring.recv(two, bytearray(8), socket.MSG_WAITALL), ring.nop()
    assert short.result(timeout=10) == 4
    error = after.exception(timeout=10)
    assert isinstance(error, ChainBroken)
    assert error.cause is short


def test_short_receive_without_waitall_is_not_blamed(ring: Ring, tcp: Pair) -> None:
    """A link that is cancelled for its own sake does not blame a short receive before it."""
    one, two = tcp
    one.send(b"data")
    with ring.chain():
        short, poll = ring.recv(two, bytearray(8)), ring.poll_add(two)
    assert short.result(timeout=10) == 4
    while not poll.done():  # it may be on its way into the kernel still
        poll.cancel().result(timeout=10)
    assert type(poll.exception()) is OperationCancelled


def test_quiet_transfers_need_waitall(ring: Ring, tcp: Pair) -> None:
    """`skip_success` is refused without MSG_WAITALL; with it a success has its full length."""
    one, two = tcp
    for start in (
        lambda: ring.send(one, b"x", skip_success=True),
        lambda: ring.recv(two, bytearray(1), skip_success=True),
        lambda: ring.sendmsg(one, [b"x"], skip_success=True),
        lambda: ring.send(one, [b"x"], skip_success=True),
    ):
        with pytest.raises(ValueError, match="MSG_WAITALL"), ring.chain():
            start()
    with ring.chain():
        send = ring.send(one, b"quiet", socket.MSG_WAITALL, skip_success=True)
        after = ring.nop()
    assert after.result(timeout=10) is None
    assert send.result() == 5
    assert two.recv(8) == b"quiet"
