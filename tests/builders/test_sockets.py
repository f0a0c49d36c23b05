"""Sockets: connections over every family, whoever takes them, and direct descriptors."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode
from observing import code_of, in_flight, open_descriptors

from uring import liburing as L
from uring.builders.direct import ALLOC
from uring.ring import Ring
from uring.types import FixedFile

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
