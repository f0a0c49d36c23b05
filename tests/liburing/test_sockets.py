"""Sockets made, connected, asked and shut down through the ring."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from errno import (
    EADDRINUSE,
    EAFNOSUPPORT,
    EAGAIN,
    EBADF,
    ECANCELED,
    ECONNREFUSED,
    EINVAL,
    EISCONN,
    ENOPROTOOPT,
    ENOTCONN,
    ENOTSOCK,
    EOPNOTSUPP,
    EPIPE,
)
from typing import Any

from c_sockets import address, as_sockaddr, host_and_port, start
from c_style import complete, get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

Pair = tuple[socket.socket, socket.socket]
# linux/net_tstamp.h and asm/socket.h, which Python does not name.
SO_TIMESTAMPING = getattr(socket, "SO_TIMESTAMPING", 37)
SOF_TX_SOFTWARE, SOF_SOFTWARE, SOF_OPT_ID, SOF_OPT_CMSG, SOF_OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 10, 1 << 11


# From a socket to a connection


def test_whole_life_of_a_connection(ring: Any) -> None:
    """Socket, bind, listen, connect, accept, send, recv, shutdown and close all work as requests."""
    require_opcode("IORING_OP_SOCKET", "IORING_OP_BIND", "IORING_OP_LISTEN")
    kind = (socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC, 0, 0)
    server = complete(ring, L.io_uring_prep_socket, *kind)
    client = complete(ring, L.io_uring_prep_socket, *kind)
    anywhere = address()
    assert complete(ring, L.io_uring_prep_bind, server, *as_sockaddr(anywhere)) == 0
    assert complete(ring, L.io_uring_prep_listen, server, 4) == 0
    with socket.socket(fileno=os.dup(server)) as name:
        where = address(port=name.getsockname()[1])
    assert complete(ring, L.io_uring_prep_connect, client, *as_sockaddr(where)) == 0
    accepted = complete(ring, L.io_uring_prep_accept, server, L.ffi.NULL, L.ffi.NULL, socket.SOCK_CLOEXEC)
    assert accepted > 0
    buffer = L.ffi.new("char[16]")
    assert complete(ring, L.io_uring_prep_send, client, b"hello", 5, 0) == 5
    assert complete(ring, L.io_uring_prep_recv, accepted, buffer, 16, 0) == 5
    assert L.ffi.string(buffer) == b"hello"
    assert complete(ring, L.io_uring_prep_shutdown, client, socket.SHUT_WR) == 0
    assert complete(ring, L.io_uring_prep_recv, accepted, buffer, 16, 0) == 0
    for fd in (accepted, client, server):
        assert complete(ring, L.io_uring_prep_close, fd) == 0


def test_socket_errors(ring: Any) -> None:
    """An unknown family is -EAFNOSUPPORT, an unknown type -EINVAL."""
    require_opcode("IORING_OP_SOCKET")
    assert complete(ring, L.io_uring_prep_socket, 9999, socket.SOCK_STREAM, 0, 0) == -EAFNOSUPPORT
    assert complete(ring, L.io_uring_prep_socket, socket.AF_INET, 15, 0, 0) == -EINVAL


def test_bind_and_listen_errors(ring: Any, listener: socket.socket, udp: Pair) -> None:
    """A taken address, a socket kind that cannot listen, and no socket at all are refused."""
    require_opcode("IORING_OP_BIND", "IORING_OP_LISTEN")
    taken = address(port=listener.getsockname()[1])
    with socket.socket() as other:
        assert complete(ring, L.io_uring_prep_bind, other.fileno(), *as_sockaddr(taken)) == -EADDRINUSE
    assert complete(ring, L.io_uring_prep_listen, udp[0].fileno(), 4) == -EOPNOTSUPP
    reader, writer = os.pipe()
    try:
        assert complete(ring, L.io_uring_prep_listen, reader, 4) == -ENOTSOCK
    finally:
        os.close(reader)
        os.close(writer)


def test_accept_waits_and_tells_the_peer(ring: Any, listener: socket.socket) -> None:
    """An accept waits for a connection, fills in the peer's address and gives the new socket its flags."""
    peer, length = L.sockaddr_in(), L.ffi.new("socklen_t *", L.ffi.sizeof("struct sockaddr_in"))
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    start(ring, 1, L.io_uring_prep_accept, listener.fileno(), as_sockaddr(peer)[0], length, flags)
    assert is_empty(ring)
    with socket.create_connection(listener.getsockname()) as client:
        ((user_data, fd, _flags),) = reap(ring)
        with socket.socket(fileno=fd) as accepted:
            assert user_data == 1
            assert length[0] == L.ffi.sizeof("struct sockaddr_in")
            assert host_and_port(peer) == client.getsockname() == accepted.getpeername()
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)


def test_accept_errors(ring: Any, pair: Pair) -> None:
    """A socket that does not listen cannot accept, and a closed one is -EBADF."""
    assert complete(ring, L.io_uring_prep_accept, pair[0].fileno(), L.ffi.NULL, L.ffi.NULL, 0) == -EINVAL
    fd = os.dup(pair[0].fileno())
    os.close(fd)
    assert complete(ring, L.io_uring_prep_accept, fd, L.ffi.NULL, L.ffi.NULL, 0) == -EBADF


def test_accept_dontwait_does_not_wait(ring: Any, listener: socket.socket) -> None:
    """With IORING_ACCEPT_DONTWAIT an accept without a waiting connection is -EAGAIN at once."""
    sqe = get_sqe(ring)
    L.io_uring_prep_accept(sqe, listener.fileno(), L.ffi.NULL, L.ffi.NULL, 0)
    sqe.ioprio = L.IORING_ACCEPT_DONTWAIT
    ((_user_data, res, _flags),) = reap(ring)
    skip_without("IORING_ACCEPT_DONTWAIT", res, EINVAL)
    assert res == -EAGAIN


def test_connect_errors(ring: Any, listener: socket.socket, tcp: Pair) -> None:
    """Nobody listening is -ECONNREFUSED, a socket that is connected already -EISCONN."""
    where = address(port=listener.getsockname()[1])
    assert complete(ring, L.io_uring_prep_connect, tcp[0].fileno(), *as_sockaddr(where)) == -EISCONN
    listener.close()
    with socket.socket() as client:
        assert complete(ring, L.io_uring_prep_connect, client.fileno(), *as_sockaddr(where)) == -ECONNREFUSED


def test_connect_and_send_can_be_linked(ring: Any, listener: socket.socket) -> None:
    """A send linked behind a connect runs once the connection is there."""
    where = address(port=listener.getsockname()[1])
    with socket.socket() as client:
        connect, send = get_sqe(ring), get_sqe(ring)
        L.io_uring_prep_connect(connect, client.fileno(), *as_sockaddr(where))
        L.io_uring_sqe_set_flags(connect, L.IOSQE_IO_LINK)
        L.io_uring_sqe_set_data64(connect, 1)
        L.io_uring_prep_send(send, client.fileno(), b"linked", 6, 0)
        L.io_uring_sqe_set_data64(send, 2)
        assert reap(ring, 2) == [(1, 0, 0), (2, 6, 0)]
        server, _peer = listener.accept()
        with server:
            assert server.recv(16) == b"linked"


# Shutdown


def test_shutdown_ends_a_recv_in_flight(ring: Any, pair: Pair) -> None:
    """Shutting down the reading side completes a recv that waits with 0."""
    require_opcode("IORING_OP_SHUTDOWN")
    one, _two = pair
    buffer = L.ffi.new("char[16]")
    start(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 16, 0)
    start(ring, 2, L.io_uring_prep_shutdown, one.fileno(), socket.SHUT_RD)
    assert sorted(reap(ring, 2)) == [(1, 0, 0), (2, 0, 0)]


def test_shutdown_stops_writing(ring: Any, pair: Pair) -> None:
    """After a shutdown of the writing side a send is -EPIPE, and the other direction still works."""
    require_opcode("IORING_OP_SHUTDOWN")
    one, two = pair
    assert complete(ring, L.io_uring_prep_shutdown, one.fileno(), socket.SHUT_WR) == 0
    assert complete(ring, L.io_uring_prep_send, one.fileno(), b"x", 1, socket.MSG_NOSIGNAL) == -EPIPE
    assert complete(ring, L.io_uring_prep_send, two.fileno(), b"back", 4, 0) == 4
    assert one.recv(16) == b"back"


def test_shutdown_errors(ring: Any, pair: Pair) -> None:
    """An unknown direction is -EINVAL, an unconnected socket -ENOTCONN."""
    require_opcode("IORING_OP_SHUTDOWN")
    assert complete(ring, L.io_uring_prep_shutdown, pair[0].fileno(), 9) == -EINVAL
    with socket.socket() as lonely:
        assert complete(ring, L.io_uring_prep_shutdown, lonely.fileno(), socket.SHUT_RDWR) == -ENOTCONN


# Socket commands


def command(ring: Any, sock: socket.socket, op: int, *option: Any) -> int:
    """Run a socket command, with level, name and value of an option if any; skip when the kernel lacks it."""
    level, name, value = option or (0, 0, L.ffi.NULL)
    length = L.ffi.sizeof(value) if option else 0
    res = complete(ring, L.io_uring_prep_cmd_sock, op, sock.fileno(), level, name, value, length)
    skip_without(f"socket command {op}", res, EOPNOTSUPP)
    return res


def test_siocinq_counts_unread_bytes(ring: Any, tcp: Pair) -> None:
    """SIOCINQ counts what is received and not yet read."""
    require_opcode("IORING_OP_URING_CMD")
    client, server = tcp
    assert command(ring, server, L.SOCKET_URING_OP_SIOCINQ) == 0
    client.send(b"0123456789")
    server.recv(10, socket.MSG_PEEK | socket.MSG_WAITALL)
    assert command(ring, server, L.SOCKET_URING_OP_SIOCINQ) == 10
    server.recv(4)
    assert command(ring, server, L.SOCKET_URING_OP_SIOCINQ) == 6


def test_siocoutq_counts_unsent_bytes(ring: Any, tcp: Pair) -> None:
    """SIOCOUTQ counts what the peer has not taken yet: nothing at first, much once the peer's window is full."""
    require_opcode("IORING_OP_URING_CMD")
    client, _server = tcp
    assert command(ring, client, L.SOCKET_URING_OP_SIOCOUTQ) == 0
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            client.send(bytes(1 << 20))
    assert command(ring, client, L.SOCKET_URING_OP_SIOCOUTQ) > 0


def test_getsockopt_gets(ring: Any, udp: Pair) -> None:
    """The getsockopt command fills the buffer and returns how much; an unknown option is -ENOPROTOOPT."""
    require_opcode("IORING_OP_URING_CMD")
    value = L.ffi.new("int[1]")
    get = L.SOCKET_URING_OP_GETSOCKOPT
    assert command(ring, udp[0], get, socket.SOL_SOCKET, socket.SO_TYPE, value) == 4
    assert value[0] == socket.SOCK_DGRAM
    assert command(ring, udp[0], get, socket.SOL_SOCKET, 9999, value) == -ENOPROTOOPT


def test_setsockopt_sets(ring: Any, tcp: Pair) -> None:
    """The setsockopt command sets options of the socket and of its protocol; a short value is -EINVAL."""
    require_opcode("IORING_OP_URING_CMD")
    client, _server = tcp
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    one, short = L.ffi.new("int[]", [1]), L.ffi.new("char[1]")
    set_option = L.SOCKET_URING_OP_SETSOCKOPT
    assert command(ring, client, set_option, socket.SOL_SOCKET, socket.SO_KEEPALIVE, one) == 0
    assert command(ring, client, set_option, socket.IPPROTO_TCP, socket.TCP_NODELAY, one) == 0
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    assert command(ring, client, set_option, socket.SOL_SOCKET, socket.SO_KEEPALIVE, short) == -EINVAL


def test_getsockname_names_both_ends(ring: Any, tcp: Pair) -> None:
    """The getsockname command gives the socket's own address, or its peer's."""
    require_opcode("IORING_OP_URING_CMD")
    for peer, expected in enumerate((tcp[0].getsockname(), tcp[0].getpeername())):
        name, length = L.sockaddr_in(), L.ffi.new("socklen_t *", L.ffi.sizeof("struct sockaddr_in"))
        where, _size = as_sockaddr(name)
        res = complete(ring, L.io_uring_prep_cmd_getsockname, tcp[0].fileno(), where, length, peer)
        skip_without("SOCKET_URING_OP_GETSOCKNAME", res, EOPNOTSUPP)
        assert res == 0
        assert length[0] == L.ffi.sizeof("struct sockaddr_in")
        assert host_and_port(name) == expected


def test_tx_timestamps_arrive_as_cqes(make_ring: Callable[..., Any], udp: Pair) -> None:
    """The TX_TIMESTAMP command posts a 32-byte CQE for each packet: its number in res, its time behind it."""
    ring = make_ring(8, L.IORING_SETUP_CQE32)
    one, two = udp
    one.setsockopt(
        socket.SOL_SOCKET,
        SO_TIMESTAMPING,
        SOF_TX_SOFTWARE | SOF_SOFTWARE | SOF_OPT_ID | SOF_OPT_CMSG | SOF_OPT_TSONLY,
    )
    before = time.time_ns()
    for _ in range(2):
        one.sendto(b"stamped", two.getsockname())
    prepare = L.io_uring_prep_cmd_sock
    start(ring, 1, prepare, L.SOCKET_URING_OP_TX_TIMESTAMP, one.fileno(), 0, 0, L.ffi.NULL, 0)
    slot = L.io_uring_cqe_ptr()
    for number in range(2):
        assert L.io_uring_wait_cqe_timeout(ring, slot, L.__kernel_timespec(10, 0)) == 0
        cqe = slot[0]
        skip_without("SOCKET_URING_OP_TX_TIMESTAMP", cqe.res, EOPNOTSUPP, EINVAL)
        assert (cqe.user_data, cqe.res) == (1, number)
        assert cqe.flags & L.IORING_CQE_F_MORE
        assert before <= cqe.big_cqe[0] * 10**9 + cqe.big_cqe[1] <= time.time_ns()
        L.io_uring_cqe_seen(ring, cqe)
    cancel = get_sqe(ring)
    L.io_uring_prep_cancel64(cancel, 1, 0)
    L.io_uring_sqe_set_data64(cancel, 2)
    assert (1, -ECANCELED) in [cqe[:2] for cqe in reap(ring, 2)]
