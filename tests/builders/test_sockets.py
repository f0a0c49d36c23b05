"""Sockets: connections over every family, data and messages, descriptors that are passed, zero copy, lifetimes."""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import os
import select
import socket
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders import zero_copy as zero_copies
from uring.builders.direct import ALLOC
from uring.errors import ChainBroken, OperationCancelled, Unsupported
from uring.flags import SendRecv
from uring.operation import Operation, State
from uring.params import Params
from uring.ring import Ring
from uring.types import FixedBuffer, FixedFile

Pair = tuple[socket.socket, socket.socket]
MiB = 1 << 20


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Connect two UNIX stream sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on a free TCP port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def tcp(listener: socket.socket) -> Iterator[Pair]:
    """Connect two TCP sockets."""
    with socket.create_connection(listener.getsockname()) as one:
        two, _ = listener.accept()
        with two:
            yield one, two


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Bind two UDP sockets, connected to nobody."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for sock in (one, two):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(10)
        yield one, two


def in_flight(ring: Ring, operation: Operation[Any]) -> bool:
    """Submit, and return whether the operation is still waiting."""
    ring.submit()
    ring.wait(0)
    return operation.state is State.SUBMITTED


def code_of(operation: Operation[Any]) -> int | None:
    """Return the errno that an operation fails with."""
    error = operation.exception(timeout=10)
    assert isinstance(error, OSError)
    return error.errno


def is_pinned(memory: bytearray) -> bool:
    """Return whether something holds a bytearray in place."""
    try:
        memory.append(0)
    except BufferError:
        return True
    memory.pop()
    return False


def open_descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


# From a socket to a connection


def _needs_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize("family", ["IPv4", "IPv6", "UNIX path", "UNIX path as bytes", "UNIX abstract"])
def test_whole_life_of_a_connection(ring: Ring, tmp_path: Path, family: str) -> None:
    """Socket, bind, listen, connect, accept, send, recv and shutdown work over every family as requests."""
    require_opcode("IORING_OP_SOCKET", "IORING_OP_BIND", "IORING_OP_LISTEN")
    if family == "IPv6":
        _needs_ipv6()
    kind, address = {
        "IPv4": (socket.AF_INET, ("127.0.0.1", 0)),
        "IPv6": (socket.AF_INET6, ("::1", 0)),
        "UNIX path": (socket.AF_UNIX, str(tmp_path / "socket")),
        "UNIX path as bytes": (socket.AF_UNIX, os.fsencode(tmp_path / "socket")),
        "UNIX abstract": (socket.AF_UNIX, b"\0uring-" + os.urandom(8).hex().encode()),
    }[family]
    server = socket.socket(fileno=ring.socket(kind).result(timeout=10))
    client = socket.socket(fileno=ring.socket(kind).result(timeout=10))
    with server, client:
        assert not server.get_inheritable()
        assert ring.bind(server, address).result(timeout=10) is None  # type: ignore[arg-type]
        assert ring.listen(server).result(timeout=10) is None
        accepting = ring.accept(server, address=True)
        assert in_flight(ring, accepting)
        assert ring.connect(client, server.getsockname()).result(timeout=10) is None
        fd, peer = accepting.result(timeout=10)
        with socket.socket(fileno=fd) as connection:
            assert not connection.get_inheritable()
            assert peer == client.getsockname() == connection.getpeername()
            buffer = bytearray(16)
            assert ring.send(client, b"hello").result(timeout=10) == 5
            assert ring.recv(connection, buffer).result(timeout=10) == 5
            assert buffer[:5] == b"hello"
            assert ring.shutdown(client, socket.SHUT_WR).result(timeout=10) is None
            assert ring.recv(connection, buffer).result(timeout=10) == 0


def test_plain_descriptors_connect(ring: Ring, listener: socket.socket) -> None:
    """Descriptors that are mere numbers work as well: the address's form tells the family."""
    require_opcode("IORING_OP_SOCKET")
    fd = ring.socket().result(timeout=10)
    ring.connect(fd, listener.getsockname()).result(timeout=10)
    accepted = ring.accept(listener.fileno()).result(timeout=10)
    assert ring.send(fd, b"x").result(timeout=10) == 1
    assert ring.recv(accepted, bytearray(4)).result(timeout=10) == 1
    for number in (fd, accepted):
        ring.close_fd(number).result(timeout=10)


def test_accept_flags(ring: Ring, listener: socket.socket) -> None:
    """SOCK_NONBLOCK makes the connection non-blocking; without it, it blocks."""
    for flags, blocking in ((0, True), (socket.SOCK_NONBLOCK, False)):
        with socket.create_connection(listener.getsockname()):
            fd = ring.accept(listener, flags).result(timeout=10)
            assert os.get_blocking(fd) is blocking
            os.close(fd)


def test_accept_of_an_unnamed_peer(ring: Ring, tmp_path: Path) -> None:
    """The address of a UNIX client without a name is the empty string, as from socket.accept."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        client.connect(str(tmp_path / "socket"))
        fd, peer = ring.accept(listener, address=True).result(timeout=10)
        os.close(fd)
    assert peer == ""


def test_connect_and_bind_errors(ring: Ring, listener: socket.socket) -> None:
    """The errors of bind(2), connect(2), listen(2), accept(2) and shutdown(2) come as their exceptions."""
    require_opcode("IORING_OP_BIND", "IORING_OP_LISTEN", "IORING_OP_SOCKET")
    taken = listener.getsockname()
    with socket.socket() as sock:
        assert code_of(ring.bind(sock, taken)) == errno.EADDRINUSE
        assert code_of(ring.accept(sock)) == errno.EINVAL
        assert code_of(ring.shutdown(sock)) == errno.ENOTCONN
        listener.close()
        with pytest.raises(ConnectionRefusedError, match=rf"connect on fd {sock.fileno()}"):
            ring.connect(sock, taken).result(timeout=10)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        assert code_of(ring.listen(sock)) == errno.EOPNOTSUPP
    assert code_of(ring.socket(9999)) == errno.EAFNOSUPPORT


@pytest.mark.parametrize(
    "start",
    [
        lambda ring, sock: ring.bind(sock, ("localhost", 0)),
        lambda ring, sock: ring.connect(sock, ("example.org", 80)),
        lambda ring, sock: ring.connect(sock.fileno(), ("localhost", 80)),
        lambda ring, sock: ring.send(sock, b"x", address=("localhost", 80)),
        lambda ring, sock: ring.sendmsg(sock, [b"x"], (), 0, ("localhost", 80)),
        lambda ring, sock: ring.bind(sock, ("127.0.0.1", 65536)),
        lambda ring, sock: ring.connect(sock, ("::1", 80)),
        lambda ring, sock: ring.socket(-1),
        lambda ring, sock: ring.listen(sock, -1),
        lambda ring, sock: ring.shutdown(sock, -1),
        lambda ring, sock: ring.accept(sock, -1),
        lambda ring, sock: ring.accept(-1),
        lambda ring, sock: ring.accept(sock, skip_success=True),
        lambda ring, sock: ring.socket(skip_success=True),
        lambda ring, sock: ring.send(sock, b"x", 1 << 31),
        lambda ring, sock: ring.recv(sock, bytearray(1), -1),
        lambda ring, sock: ring.recvmsg(sock, [bytearray(1)], -1),
        lambda ring, sock: ring.recvmsg(sock, [bytearray(1)], 1 << 21),
        lambda ring, sock: ring.recvmsg(sock, [bytearray(1)], skip_success=True),
        lambda ring, sock: ring.recvmsg(sock, [bytearray(1)] * 1025),
        lambda ring, sock: ring.send_zc(sock, b"x", ioprio=-1),
        lambda ring, sock: ring.send_zc(sock, b"x", skip_success=True),
        lambda ring, sock: ring.recv_zc(sock, -1),
    ],
)
def test_values_that_are_refused(ring: Ring, start: Callable[[Ring, socket.socket], object]) -> None:
    """Names instead of numbers, and what is out of range, raise before anything is queued."""
    with socket.socket() as sock, pytest.raises(ValueError, match=r"numeric|must|not negative|skip_success|at most"):
        start(ring, sock)
    assert ring.statistics().in_flight == 0


@pytest.mark.parametrize(
    "start",
    [
        lambda ring, sock: ring.connect(sock, "path"),
        lambda ring, sock: ring.connect(sock, None),
        lambda ring, sock: ring.connect("sock", ("127.0.0.1", 1)),
        lambda ring, sock: ring.send(sock, "text"),
        lambda ring, sock: ring.send(sock, 5),
        lambda ring, sock: ring.send(sock, [b"x", 5]),
        lambda ring, sock: ring.recv(sock, b"constant"),
        lambda ring, sock: ring.recv(sock, [bytearray(1), b"constant"]),
        lambda ring, sock: ring.recvmsg(sock, [b"constant"]),
        lambda ring, sock: ring.recvmsg(sock, bytearray(1)),
        lambda ring, sock: ring.sendmsg(sock, b"bytes"),
        lambda ring, sock: ring.sendmsg(sock, [b"x"], [(1, 2)]),
        lambda ring, sock: ring.sendmsg(sock, [b"x"], [(1, 2, 3)]),
        lambda ring, sock: ring.send(sock, b"x", "flags"),
        lambda ring, sock: ring.accept(sock, None),
        lambda ring, sock: ring.send_zc(sock, FixedFile(0)),
    ],
)
def test_types_that_are_refused(ring: Ring, start: Callable[[Ring, Any], object]) -> None:
    """What is no address, no buffer, no descriptor, or only readable raises before anything is queued."""
    with socket.socket() as sock, pytest.raises((TypeError, ValueError)):
        start(ring, sock)
    assert ring.statistics().in_flight == 0


def test_closed_sockets_are_refused(ring: Ring) -> None:
    """A closed socket object raises before anything is queued."""
    sock = socket.socket()
    sock.close()
    for start in (lambda: ring.recv(sock, bytearray(1)), lambda: ring.accept(sock)):
        with pytest.raises(ValueError, match="closed"):
            start()


# Connections that nobody takes


def test_accepted_connection_that_nobody_takes_is_closed(ring: Ring, listener: socket.socket) -> None:
    """A connection whose operation is dropped without its result is closed: the client sees the end."""
    for address in (False, True):
        with socket.create_connection(listener.getsockname()) as client:
            client.settimeout(10)
            accepting = ring.accept(listener, address=address)  # type: ignore[call-overload]
            ring.wait(1, timeout=10)
            assert accepting.done()
            del accepting
            gc.collect()
            assert client.recv(1) == b""


def test_abandoned_accept_closes_what_comes(ring: Ring, listener: socket.socket) -> None:
    """A connection that arrives for an accept that was given up is closed; so is one that had arrived before."""
    accepting = ring.accept(listener)
    assert in_flight(ring, accepting)
    accepting.abandon()
    with socket.create_connection(listener.getsockname()) as client:
        client.settimeout(10)
        ring.poll_add(client, select.POLLRDHUP).result(timeout=10)
        assert client.recv(1) == b""
    with socket.create_connection(listener.getsockname()) as client:
        client.settimeout(10)
        accepting = ring.accept(listener, address=True)
        ring.poll_add(client, select.POLLOUT).result(timeout=10)
        ring.wait(1, timeout=10)
        accepting.abandon()
        assert client.recv(1) == b""


def test_taken_connection_stays_open(ring: Ring, listener: socket.socket) -> None:
    """Once the result was taken the descriptor is the caller's, whatever becomes of the operation."""
    with socket.create_connection(listener.getsockname()) as client:
        accepting = ring.accept(listener)
        fd = accepting.result(timeout=10)
        del accepting
        gc.collect()
        client.send(b"still open")
        assert os.read(fd, 16) == b"still open"
        os.close(fd)


def test_close_with_an_accept_in_flight(listener: socket.socket) -> None:
    """Closing the ring ends an accept, and a later connection is left to others."""
    ring = Ring(4)
    accepting = ring.accept(listener, address=True)
    ring.submit()
    ring.close()
    with pytest.raises(RuntimeError):
        accepting.result()
    with socket.create_connection(listener.getsockname()) as client:
        connection, peer = listener.accept()
        connection.close()
        assert peer == client.getsockname()


# Direct descriptors


def test_direct_sockets_and_connections(ring: Ring, listener: socket.socket) -> None:
    """With `direct` sockets and connections live in slots, chosen by the caller or the kernel."""
    require_opcode("IORING_OP_SOCKET")
    assert L.io_uring_register_files_sparse(ring.c_ring, 4) == 0
    before = open_descriptors()
    client = ring.socket(direct=2).result(timeout=10)
    assert client == FixedFile(2)
    assert isinstance(client, FixedFile)
    ring.connect(client, listener.getsockname()).result(timeout=10)
    server, peer = ring.accept(listener, address=True, direct=ALLOC).result(timeout=10)
    assert isinstance(server, FixedFile)
    assert peer is not None
    assert peer[0] == "127.0.0.1"
    assert ring.send(client, b"direct").result(timeout=10) == 6
    buffer = bytearray(6)
    assert ring.recv(server, buffer).result(timeout=10) == 6
    assert buffer == b"direct"
    ring.close_fd(client).result(timeout=10)
    assert ring.recv(server, buffer).result(timeout=10) == 0
    assert open_descriptors() == before


def test_direct_accept_without_an_address(ring: Ring, listener: socket.socket) -> None:
    """Without the address the result is the FixedFile alone; a slot beyond the table is an error."""
    require_opcode("IORING_OP_SOCKET")
    assert L.io_uring_register_files_sparse(ring.c_ring, 2) == 0
    with socket.create_connection(listener.getsockname()) as client:
        assert ring.accept(listener, direct=1).result(timeout=10) == FixedFile(1)
        client.send(b"x")
        assert ring.recv(FixedFile(1), bytearray(1)).result(timeout=10) == 1
    assert code_of(ring.socket(direct=99)) == errno.EINVAL


def test_direct_connection_that_nobody_takes(ring: Ring, listener: socket.socket) -> None:
    """A slot that the kernel chose and nobody was told of is emptied: the client sees the end."""
    require_opcode("IORING_OP_SOCKET")
    assert L.io_uring_register_files_sparse(ring.c_ring, 2) == 0
    with socket.create_connection(listener.getsockname()) as client:
        client.settimeout(10)
        accepting = ring.accept(listener, direct=ALLOC, address=True)
        ring.wait(1, timeout=10)
        assert accepting.done()
        del accepting
        gc.collect()
        assert client.recv(1) == b""


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


# Messages and ancillary data


def rights(*fds: int) -> tuple[int, int, array.array[int]]:
    """Make the ancillary data that carries descriptors."""
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds)


@contextlib.contextmanager
def passed_pipe(sender: socket.socket, copies: int = 1) -> Iterator[int]:
    """Send the writing end of a pipe so many times in one message; yield the reading end, the writing end closed."""
    reader, writer = os.pipe()
    sender.sendmsg([b"!"], [rights(*[writer] * copies)])
    os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)


def test_message_is_that_of_the_socket_module(ring: Ring, udp: Pair) -> None:
    """A received message has the form and contents of socket.recvmsg_into's."""
    one, two = udp
    for expected, size in ((socket.MSG_TRUNC, 4), (0, 16)):
        for _ in range(2):
            one.sendto(b"0123456789", two.getsockname())
        mine, theirs = bytearray(size), bytearray(size)
        message = ring.recvmsg(two, [mine]).result(timeout=10)
        assert message == two.recvmsg_into([theirs])
        assert message == (min(size, 10), [], expected, one.getsockname())
        assert mine == theirs


def test_message_is_scattered_and_gathered(ring: Ring, pair: Pair) -> None:
    """Several buffers are one message; a stream socket tells no address."""
    assert ring.sendmsg(pair[0], [b"one", bytearray(b"two")]).result(timeout=10) == 6
    parts = [bytearray(4), bytearray(4)]
    assert ring.recvmsg(pair[1], parts).result(timeout=10) == (6, [], 0, None)
    assert parts == [b"onet", b"wo\0\0"]


def test_message_to_an_address(ring: Ring, udp: Pair) -> None:
    """A message with an address goes there."""
    one, two = udp
    assert ring.sendmsg(one, [b"data"], (), 0, two.getsockname()).result(timeout=10) == 4
    assert two.recvfrom(8) == (b"data", one.getsockname())


def test_descriptors_are_passed(ring: Ring, pair: Pair) -> None:
    """Descriptors sent in ancillary data arrive as new ones, which are not inherited."""
    reader, writer = os.pipe()
    assert ring.sendmsg(pair[0], [b"!"], [rights(reader, writer)]).result(timeout=10) == 1
    count, ancdata, flags, address = ring.recvmsg(pair[1], [bytearray(4)], socket.CMSG_SPACE(8)).result(timeout=10)
    assert (count, flags, address) == (1, 0, None)
    ((level, kind, data),) = ancdata
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    received = array.array("i", data)
    assert len(received) == 2
    assert not set(received) & {reader, writer}
    os.write(received[1], b"through")
    assert os.read(reader, 16) == b"through"
    assert not any(os.get_inheritable(fd) for fd in received)
    for fd in (reader, writer, *received):
        os.close(fd)


def test_ancillary_data_of_several_kinds(ring: Ring, pair: Pair) -> None:
    """Several control messages go in one message, and come as from the socket module."""
    one, two = pair
    two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    credentials = array.array("i", [os.getpid(), os.getuid(), os.getgid()])
    ancdata = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials), rights(0)]
    assert ring.sendmsg(one, [b"!"], ancdata).result(timeout=10) == 1
    _, received, _, _ = ring.recvmsg(two, [bytearray(4)], 128).result(timeout=10)
    kinds = {kind: data for _, kind, data in received}
    assert kinds[socket.SCM_CREDENTIALS] == credentials.tobytes()
    (fd,) = array.array("i", kinds[socket.SCM_RIGHTS])
    os.close(fd)


def test_ancillary_data_without_room(ring: Ring, pair: Pair) -> None:
    """Descriptors that find no room are cut off, which a flag tells, and none of them is left open."""
    before = open_descriptors()
    with passed_pipe(pair[0], copies=3) as reader:
        message = ring.recvmsg(pair[1], [bytearray(4)]).result(timeout=10)
        assert message[1:] == ([], socket.MSG_CTRUNC, None)
        assert os.read(reader, 1) == b""
    with passed_pipe(pair[0], copies=3) as reader:
        _, ancdata, flags, _ = ring.recvmsg(pair[1], [bytearray(4)], socket.CMSG_LEN(4)).result(timeout=10)
        assert flags == socket.MSG_CTRUNC
        ((_, _, data),) = ancdata
        (fd,) = array.array("i", data)
        os.close(fd)
        assert os.read(reader, 1) == b""
    assert open_descriptors() == before


def test_descriptors_that_nobody_takes_are_closed(ring: Ring, pair: Pair) -> None:
    """Descriptors of a message whose operation is dropped without its result are closed."""
    before = open_descriptors()
    with passed_pipe(pair[0], copies=5) as reader:
        receiving = ring.recvmsg(pair[1], [bytearray(4)], 64)
        ring.wait(1, timeout=10)
        assert receiving.done()
        del receiving
        gc.collect()
        assert os.read(reader, 1) == b""
    assert open_descriptors() == before


def test_descriptors_of_an_abandoned_message_are_closed(ring: Ring, pair: Pair) -> None:
    """Descriptors that arrive for a message that was given up are closed, before and after its completion."""
    before = open_descriptors()
    receiving = ring.recvmsg(pair[1], [bytearray(4)], 64)
    assert in_flight(ring, receiving)
    receiving.abandon()
    with passed_pipe(pair[0], copies=2) as reader:
        ring.poll_add(reader, 0).result(timeout=10)
        assert os.read(reader, 1) == b""
    with passed_pipe(pair[0], copies=2) as reader:
        receiving = ring.recvmsg(pair[1], [bytearray(4)], 64)
        while not receiving.done():
            ring.wait(0)
        receiving.abandon()
        assert os.read(reader, 1) == b""
    assert open_descriptors() == before


def test_descriptors_of_a_taken_message_stay_open(ring: Ring, pair: Pair) -> None:
    """Once the result was taken the descriptors are the caller's."""
    with passed_pipe(pair[0]) as reader:
        receiving = ring.recvmsg(pair[1], [bytearray(4)], 64)
        message = receiving.result(timeout=10)
        receiving.abandon()
        del receiving
        gc.collect()
        (fd,) = array.array("i", message[1][0][2])
        os.write(fd, b"open")
        assert os.read(reader, 8) == b"open"
        os.close(fd)


def test_close_with_a_message_in_flight(pair: Pair) -> None:
    """A message that comes after the ring is closed is left in the socket, its descriptors too."""
    before = open_descriptors()
    ring = Ring(4)
    ring.recvmsg(pair[1], [bytearray(4)], 64)
    ring.submit()
    ring.close()
    with passed_pipe(pair[0]) as reader:
        data, ancdata, _, _ = pair[1].recvmsg(4, 64)
        assert data == b"!"
        (fd,) = array.array("i", ancdata[0][2])
        os.write(fd, b"open")
        assert os.read(reader, 8) == b"open"
        os.close(fd)
    assert open_descriptors() == before


def test_message_is_pinned(ring: Ring, pair: Pair) -> None:
    """The buffers of a waiting message cannot be resized; the result can be read after they were."""
    buffers = [bytearray(2), bytearray(2)]
    receiving = ring.recvmsg(pair[1], buffers, 64)
    assert in_flight(ring, receiving)
    assert all(is_pinned(buffer) for buffer in buffers)
    with passed_pipe(pair[0]):
        while not receiving.done():
            ring.wait(0)
        assert not any(is_pinned(buffer) for buffer in buffers)
        buffers.clear()
        gc.collect()
        count, ((_, _, data),), _, _ = receiving.result()
        assert count == 1
        os.close(array.array("i", data)[0])


# Zero copy


@pytest.fixture
def zero_copy() -> None:
    """Skip on kernels without zero-copy sends."""
    require_opcode("IORING_OP_SEND_ZC", "IORING_OP_SENDMSG_ZC")


def drain(ring: Ring) -> None:
    """Wait until the ring has nothing in flight, notifications included."""
    while ring._native.in_flight:
        ring._enter(1, 10_000_000_000)


@pytest.mark.parametrize("message", [False, True], ids=["send_zc", "sendmsg_zc"])
def test_zero_copy_over_tcp(ring: Ring, tcp: Pair, zero_copy: None, message: bool) -> None:
    """The result comes first; the buffer is let go of with the notification, which nobody sees."""
    one, two = tcp
    data = bytearray(os.urandom(65536))
    expected = bytes(data)
    send = ring.sendmsg_zc(one, [data], (), socket.MSG_WAITALL) if message else ring.send_zc(one, data)
    sent = send.result(timeout=10)
    assert sent == 65536 if message else 0 < sent <= 65536
    assert send.completion.more
    received = bytearray()
    while len(received) < sent:
        received += two.recv(65536)
    assert received == expected[:sent]
    drain(ring)
    assert not is_pinned(data)
    assert ring.peek() == []
    assert ring.statistics().in_flight == 0


def test_zero_copy_buffer_is_pinned_until_the_notification(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """While the peer has not read, the data is still the kernel's: complete, and pinned all the same."""
    one, two = tcp
    data = bytearray(MiB)
    sends = [ring.send_zc(one, data, socket.MSG_DONTWAIT)]
    while sends[-1].exception(timeout=10) is None and sends[-1].result() == MiB:
        sends.append(ring.send_zc(one, data, socket.MSG_DONTWAIT))
    sends = [send for send in sends if send.exception() is None]  # no more goes in
    sent = sum(send.result() for send in sends)
    send = sends.pop()
    sends.clear()
    assert is_pinned(data)
    assert ring.statistics().in_flight == 0
    assert ring.peek() == []
    reference = weakref.ref(send)
    del send
    gc.collect()
    assert reference() is not None
    two.settimeout(10)
    left = sent
    while left:
        left -= len(two.recv(65536))
    drain(ring)
    gc.collect()
    assert not is_pinned(data)
    assert reference() is None


def test_zero_copy_over_unix_fails_with_a_notification(ring: Ring, pair: Pair, zero_copy: None) -> None:
    """Where there is no zero copy the failure comes first, and its notification is not mistaken for another's."""
    data = bytearray(64)
    for start in (lambda: ring.send_zc(pair[0], data), lambda: ring.sendmsg_zc(pair[0], [data])):
        send, nop = start(), ring.nop()
        assert code_of(send) == errno.EOPNOTSUPP
        assert nop.result(timeout=10) is None
        assert send.state is State.COMPLETED
        drain(ring)
        assert not is_pinned(data)
        assert ring.peek() == []


def test_zero_copy_tells_its_usage(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """REPORT_USAGE, whose notification has a res of its own, does not change the result."""
    send = ring.send_zc(tcp[0], bytearray(4096), report_usage=True)
    assert send.result(timeout=10) == 4096
    assert tcp[1].recv(4096, socket.MSG_WAITALL) == bytes(4096)
    drain(ring)
    assert send.result() == 4096


def test_zero_copy_from_registered_memory(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A FixedBuffer, or a part of one, is sent from registered memory."""
    memory = bytearray(b"0123456789" * 100)
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    send = ring.send_zc(tcp[0], FixedBuffer(0, memory)[10:25])
    assert send.result(timeout=10) == 15
    assert tcp[1].recv(64) == b"012345678901234"
    drain(ring)
    error = ring.send_zc(tcp[0], FixedBuffer(5, memory)).exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == errno.EFAULT


def test_zero_copy_message_from_registered_memory(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A list of parts of one registered buffer is sent from there; parts of two are refused."""
    require_opcode("IORING_OP_READV_FIXED")  # as old as registered memory for messages
    memory = bytearray(b"0123456789" * 100)
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    fixed = FixedBuffer(0, memory)
    send = ring.sendmsg_zc(tcp[0], [fixed[0:4], fixed[8:12]])
    assert send.result(timeout=10) == 8
    assert tcp[1].recv(64) == b"01238901"
    drain(ring)
    with pytest.raises(ValueError, match="one registered buffer"):
        ring.sendmsg_zc(tcp[0], [fixed, FixedBuffer(1, memory)])
    with pytest.raises(TypeError, match="not both"):
        ring.sendmsg_zc(tcp[0], [fixed, b"plain"])


def test_zero_copy_datagrams(ring: Ring, udp: Pair, zero_copy: None) -> None:
    """A zero-copy message may go to an address."""
    one, two = udp
    assert ring.sendmsg_zc(one, [b"data"], (), 0, two.getsockname()).result(timeout=10) == 4
    assert two.recvfrom(8) == (b"data", one.getsockname())
    drain(ring)


def test_zero_copy_in_a_chain(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A zero-copy send as a link: the next runs after its result, and both are handed out once."""
    with ring.chain():
        send, after = ring.send_zc(tcp[0], b"data", socket.MSG_WAITALL), ring.nop()
    assert set(ring.wait(2, timeout=10)) == {send, after}
    assert send.result() == 4
    drain(ring)
    assert ring.peek() == []


def test_close_with_a_notification_outstanding(tcp: Pair, zero_copy: None) -> None:
    """Closing the ring waits for the notification, so that nothing is read from memory that is gone."""
    one, two = tcp
    data = bytearray(4096)
    ring = Ring(4)
    send = ring.send_zc(one, data)
    assert send.result(timeout=10) == 4096
    ring.close()
    assert two.recv(4096, socket.MSG_WAITALL) == bytes(4096)
    gc.collect()
    assert not is_pinned(data)
    assert send.result() == 4096


def test_exit_waits_for_notifications(tcp: Pair, zero_copy: None) -> None:
    """Leaving the `with` block waits for the notifications too."""
    data = bytearray(4096)
    with Ring(4, exit_timeout=10.0) as ring:
        send = ring.send_zc(tcp[0], data)
    assert send.result() == 4096
    assert not is_pinned(data)


# Zero-copy receives


def test_recv_zc_needs_large_completions(ring: Ring, pair: Pair) -> None:
    """On a ring with CQEs of 16 bytes a zero-copy receive is refused, saying what is needed."""
    with pytest.raises(Unsupported, match="cqe32 or cqe_mixed"):
        ring.recv_zc(pair[0], 0)
    assert ring.statistics().in_flight == 0


def test_recv_zc_without_an_interface_queue(tcp: Pair) -> None:
    """Without a device's queue a zero-copy receive fails and says why; without the opcode it is Unsupported."""
    with Ring(4, Params(cqe32=True), exit_timeout=10.0) as ring:
        if zero_copies.RECV_ZC.missing:
            with pytest.raises(Unsupported, match=r"RECV_ZC: it needs Linux 6\.15"):
                ring.recv_zc(tcp[0], 3)
            return
        with pytest.raises(OSError, match="interface queue 3 is not registered with this ring") as caught:
            ring.recv_zc(tcp[0], 3).result(timeout=10)
        assert caught.value.errno == errno.EINVAL
