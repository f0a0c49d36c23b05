"""Sockets made, connected, used and shut down through the ring, over TCP, UDP and socket pairs."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
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

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

Pair = tuple[socket.socket, socket.socket]
# linux/net_tstamp.h and asm/socket.h, which Python does not name.
SO_TIMESTAMPING = getattr(socket, "SO_TIMESTAMPING", 37)
SOF_TX_SOFTWARE, SOF_SOFTWARE, SOF_OPT_ID, SOF_OPT_CMSG, SOF_OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 10, 1 << 11


def complete(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run one request to its end and return its `res`; its arguments stay alive meanwhile."""
    prepare(get_sqe(ring), *args)
    ((_user_data, res, _flags),) = reap(ring)
    return res


def start(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> Any:
    """Submit one request that is to stay in flight, and return its SQE; the caller keeps its arguments alive."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1
    return sqe


def address(host: str = "127.0.0.1", port: int = 0) -> Any:
    """Make a `struct sockaddr_in *`."""
    (s_addr,) = struct.unpack("=I", socket.inet_aton(host))
    return L.sockaddr_in(sin_family=socket.AF_INET, sin_port=socket.htons(port), sin_addr={"s_addr": s_addr})


def as_sockaddr(name: Any) -> tuple[Any, int]:
    """Cast an address to what bind, connect and sendto take, a pointer and its size; the address needs a name."""
    return L.ffi.cast("struct sockaddr *", name), L.ffi.sizeof(name[0])


def host_and_port(name: Any) -> tuple[str, int]:
    """Return what Python would give for a `struct sockaddr_in *`."""
    return socket.inet_ntoa(struct.pack("=I", name.sin_addr.s_addr)), socket.ntohs(name.sin_port)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Make a connected pair of AF_UNIX stream sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Make a TCP socket that listens on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def tcp(listener: socket.socket) -> Iterator[Pair]:
    """Make a connected pair of TCP sockets."""
    with socket.create_connection(listener.getsockname()) as client:
        server, _peer = listener.accept()
        with server:
            yield client, server


@pytest.fixture
def udp() -> Iterator[Pair]:
    """Make two UDP sockets bound to the loopback, connected to nobody."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        yield one, two


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


# Send and receive


def test_recv_waits_for_data(ring: Any, pair: Pair) -> None:
    """A recv on an empty socket stays in flight until data comes, and 0 is the end of the stream."""
    one, two = pair
    buffer = L.ffi.new("char[16]")
    start(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 16, 0)
    assert is_empty(ring)
    two.send(b"late")
    assert reap(ring) == [(1, 4, 0)]
    assert L.ffi.string(buffer) == b"late"
    two.close()
    assert complete(ring, L.io_uring_prep_recv, one.fileno(), buffer, 16, 0) == 0


def test_recv_flags(ring: Any, pair: Pair) -> None:
    """MSG_DONTWAIT on an empty socket is -EAGAIN, MSG_PEEK leaves the data there."""
    one, two = pair
    buffer = L.ffi.new("char[16]")
    assert complete(ring, L.io_uring_prep_recv, one.fileno(), buffer, 16, socket.MSG_DONTWAIT) == -EAGAIN
    two.send(b"peeked")
    assert complete(ring, L.io_uring_prep_recv, one.fileno(), buffer, 16, socket.MSG_PEEK) == 6
    assert one.recv(16) == L.ffi.string(buffer) == b"peeked"


def test_recv_tells_that_more_is_there(ring: Any, tcp: Pair) -> None:
    """A recv that leaves data in the socket has IORING_CQE_F_SOCK_NONEMPTY set, one that empties it has not."""
    require_opcode("IORING_OP_SOCKET")  # the flag came with it
    client, server = tcp
    buffer = L.ffi.new("char[16]")
    client.send(b"0123456789")
    L.io_uring_prep_recv(get_sqe(ring), server.fileno(), buffer, 4, 0)
    assert [cqe[1:] for cqe in reap(ring)] == [(4, L.IORING_CQE_F_SOCK_NONEMPTY)]
    L.io_uring_prep_recv(get_sqe(ring), server.fileno(), buffer, 16, 0)
    assert [cqe[1:] for cqe in reap(ring)] == [(6, 0)]


def test_recv_waitall_gathers(ring: Any, pair: Pair) -> None:
    """A recv with MSG_WAITALL completes only when its buffer is full, from however many sends."""
    require_opcode("IORING_OP_SOCKET")  # MSG_WAITALL is taken seriously since
    one, two = pair
    buffer = L.ffi.new("char[10]")
    start(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 9, socket.MSG_WAITALL)
    for piece in (b"one", b"two"):
        two.send(piece)
        assert is_empty(ring)
    two.send(b"sixsurplus")
    ((user_data, res, _flags),) = reap(ring)
    assert (user_data, res) == (1, 9)
    assert L.ffi.string(buffer) == b"onetwosix"


def test_recv_waitall_ends_short_at_the_end(ring: Any, pair: Pair) -> None:
    """A recv with MSG_WAITALL returns what came when the peer closes before the buffer is full."""
    require_opcode("IORING_OP_SOCKET")  # MSG_WAITALL is taken seriously since
    one, two = pair
    buffer = L.ffi.new("char[10]")
    start(ring, 1, L.io_uring_prep_recv, one.fileno(), buffer, 9, socket.MSG_WAITALL)
    two.send(b"part")
    two.close()
    assert [cqe[:2] for cqe in reap(ring)] == [(1, 4)]


def test_send_waitall_sends_all(ring: Any, pair: Pair) -> None:
    """A send with MSG_WAITALL of more than the socket holds completes when the peer has read enough."""
    require_opcode("IORING_OP_SOCKET")  # MSG_WAITALL is taken seriously since
    one, two = pair
    two.settimeout(10)
    data = os.urandom(1 << 20)
    start(ring, 1, L.io_uring_prep_send, one.fileno(), data, len(data), socket.MSG_WAITALL)
    assert is_empty(ring)
    received = bytearray()
    while len(received) < len(data):
        received += two.recv(1 << 16)
        is_empty(ring)  # entering the kernel lets the rest go on
    assert reap(ring) == [(1, len(data), 0)]
    assert received == data


def test_send_without_waitall_may_be_short(ring: Any, pair: Pair) -> None:
    """A send with MSG_DONTWAIT of more than the socket holds returns what went in, and then -EAGAIN."""
    one, two = pair
    data = bytes(1 << 20)
    sent = complete(ring, L.io_uring_prep_send, one.fileno(), data, len(data), socket.MSG_DONTWAIT)
    assert 0 < sent < len(data)
    assert complete(ring, L.io_uring_prep_send, one.fileno(), data, len(data), socket.MSG_DONTWAIT) == -EAGAIN
    assert len(two.recv(len(data), socket.MSG_WAITALL | socket.MSG_DONTWAIT)) == sent


def test_poll_first_receives_all_the_same(ring: Any, pair: Pair) -> None:
    """IORING_RECVSEND_POLL_FIRST changes when the kernel tries, not what is received or sent."""
    require_opcode("IORING_OP_SOCKET")  # the flag came with it
    one, two = pair
    buffer = L.ffi.new("char[16]")
    send, recv = get_sqe(ring), get_sqe(ring)
    L.io_uring_prep_send(send, one.fileno(), b"polled", 6, 0)
    L.io_uring_prep_recv(recv, two.fileno(), buffer, 16, 0)
    send.ioprio = recv.ioprio = L.IORING_RECVSEND_POLL_FIRST
    assert [res for _user_data, res, _flags in reap(ring, 2)] == [6, 6]
    assert L.ffi.string(buffer) == b"polled"


def test_vectorized_send_gathers(ring: Any, pair: Pair) -> None:
    """With IORING_SEND_VECTORIZED a plain send takes an iovec array instead of a buffer."""
    require_opcode("IORING_OP_PIPE")  # a release older than the flag
    vector = L.iovec(b"one,", b"two,", b"three")
    sqe = get_sqe(ring)
    L.io_uring_prep_send(sqe, pair[0].fileno(), vector, 3, 0)
    sqe.ioprio = L.IORING_SEND_VECTORIZED
    ((_user_data, res, _flags),) = reap(ring)
    skip_without("IORING_SEND_VECTORIZED", res, EINVAL)
    assert res == 13
    assert pair[1].recv(32) == b"one,two,three"


def test_send_to_nobody(ring: Any, pair: Pair) -> None:
    """A send whose peer is gone is -EPIPE, a send or recv on a pipe -ENOTSOCK."""
    one, two = pair
    two.close()
    assert complete(ring, L.io_uring_prep_send, one.fileno(), b"x", 1, socket.MSG_NOSIGNAL) == -EPIPE
    reader, writer = os.pipe()
    try:
        assert complete(ring, L.io_uring_prep_send, writer, b"x", 1, 0) == -ENOTSOCK
        assert complete(ring, L.io_uring_prep_recv, reader, L.ffi.new("char[1]"), 1, 0) == -ENOTSOCK
    finally:
        os.close(reader)
        os.close(writer)


# Datagrams


def test_send_set_addr_names_the_receiver(ring: Any, udp: Pair) -> None:
    """A send given an address afterwards goes there from an unconnected socket, and so does a sendto."""
    require_opcode("IORING_OP_SENDMSG_ZC")  # addresses for sends came with it
    one, two = udp
    where = address(port=two.getsockname()[1])
    send, sendto = get_sqe(ring), get_sqe(ring)
    L.io_uring_prep_send(send, one.fileno(), b"first", 5, 0)
    L.io_uring_prep_send_set_addr(send, *as_sockaddr(where))
    L.io_uring_prep_sendto(sendto, one.fileno(), b"second", 6, 0, *as_sockaddr(where))
    assert [res for _user_data, res, _flags in reap(ring, 2)] == [5, 6]
    two.settimeout(10)
    assert [two.recvfrom(16) for _ in range(2)] == [(b"first", one.getsockname()), (b"second", one.getsockname())]


def test_recvmsg_tells_the_sender_and_the_truncation(ring: Any, udp: Pair) -> None:
    """A recvmsg scatters a datagram, names its sender, and sets MSG_TRUNC when it was too long."""
    one, two = udp
    one.sendto(b"0123456789", two.getsockname())
    sender, parts = L.sockaddr_in(), (bytearray(3), bytearray(4))
    message = L.msghdr(msg_name=sender, msg_iov=L.iovec(*parts))
    assert complete(ring, L.io_uring_prep_recvmsg, two.fileno(), message, 0) == 7
    assert parts == (b"012", b"3456")
    assert host_and_port(sender) == one.getsockname()
    assert message.msg_namelen == L.ffi.sizeof("struct sockaddr_in")
    assert message.msg_flags & socket.MSG_TRUNC


def test_sendmsg_gathers_to_an_address(ring: Any, udp: Pair) -> None:
    """A sendmsg sends its parts as one datagram to the address in its header."""
    one, two = udp
    message = L.msghdr(msg_name=address(port=two.getsockname()[1]), msg_iov=L.iovec(b"one,", bytearray(b"two")))
    assert complete(ring, L.io_uring_prep_sendmsg, one.fileno(), message, 0) == 7
    two.settimeout(10)
    assert two.recvfrom(16) == (b"one,two", one.getsockname())


# Descriptors in ancillary data


def rights(*fds: int) -> bytearray:
    """Make ancillary data that carries descriptors, or has room for as many."""
    control = bytearray(socket.CMSG_SPACE(4 * len(fds)))
    length = socket.CMSG_LEN(4 * len(fds))
    struct.pack_into(f"@Nii{len(fds)}i", control, 0, length, socket.SOL_SOCKET, socket.SCM_RIGHTS, *fds)
    return control


def test_sendmsg_and_recvmsg_pass_descriptors(ring: Any, pair: Pair) -> None:
    """A descriptor in a sendmsg's ancillary data arrives as a new one in the recvmsg's."""
    one, two = pair
    reader, writer = os.pipe()
    message = L.msghdr(msg_iov=L.iovec(b"!"), msg_control=rights(writer))
    assert complete(ring, L.io_uring_prep_sendmsg, one.fileno(), message, 0) == 1
    os.close(writer)
    control = rights(-1)
    message = L.msghdr(msg_iov=L.iovec(bytearray(1)), msg_control=control)
    assert complete(ring, L.io_uring_prep_recvmsg, two.fileno(), message, socket.MSG_CMSG_CLOEXEC) == 1
    length, level, kind, received = struct.unpack_from("@Niii", control)
    assert (length, level, kind) == (socket.CMSG_LEN(4), socket.SOL_SOCKET, socket.SCM_RIGHTS)
    assert message.msg_controllen >= length
    assert not os.get_inheritable(received)
    os.write(received, b"through")
    os.close(received)
    assert os.read(reader, 16) == b"through"
    assert os.read(reader, 16) == b""
    os.close(reader)


def test_recvmsg_without_room_drops_descriptors(ring: Any, pair: Pair) -> None:
    """A recvmsg without room for ancillary data sets MSG_CTRUNC, and the descriptor is closed on its way."""
    one, two = pair
    reader, writer = os.pipe()
    message = L.msghdr(msg_iov=L.iovec(b"!"), msg_control=rights(writer))
    assert complete(ring, L.io_uring_prep_sendmsg, one.fileno(), message, 0) == 1
    os.close(writer)
    message = L.msghdr(msg_iov=L.iovec(bytearray(1)))
    assert complete(ring, L.io_uring_prep_recvmsg, two.fileno(), message, 0) == 1
    assert message.msg_flags & socket.MSG_CTRUNC
    assert os.read(reader, 1) == b""
    os.close(reader)


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


# Zero-copy sends: two CQEs, the second when the kernel is done with the memory


def test_send_zc_posts_a_notification(ring: Any, tcp: Pair) -> None:
    """A zero-copy send posts its result with F_MORE, then a notification with F_NOTIF and the same user_data."""
    require_opcode("IORING_OP_SEND_ZC")
    client, server = tcp
    data = bytes(range(256)) * 16
    start(ring, 5, L.io_uring_prep_send_zc, client.fileno(), data, len(data), 0, 0)
    assert reap(ring) == [(5, len(data), L.IORING_CQE_F_MORE)]
    assert server.recv(len(data), socket.MSG_WAITALL) == data
    assert reap(ring) == [(5, 0, L.IORING_CQE_F_NOTIF)]


def test_send_zc_reports_that_it_copied(ring: Any, tcp: Pair) -> None:
    """With REPORT_USAGE the notification's res tells that the loopback copied the data after all."""
    require_opcode("IORING_OP_SEND_ZC")
    start(ring, 5, L.io_uring_prep_send_zc, tcp[0].fileno(), b"zc", 2, 0, L.IORING_SEND_ZC_REPORT_USAGE)
    ((_user_data, res, flags),) = reap(ring)
    skip_without("IORING_SEND_ZC_REPORT_USAGE", res, EINVAL)
    assert (res, flags) == (2, L.IORING_CQE_F_MORE)
    assert tcp[1].recv(16) == b"zc"
    ((user_data, usage, flags),) = reap(ring)
    assert (user_data, flags) == (5, L.IORING_CQE_F_NOTIF)
    assert usage & 0xFFFFFFFF == L.IORING_NOTIF_USAGE_ZC_COPIED


def test_send_zc_that_fails_notifies_too(ring: Any, pair: Pair) -> None:
    """A zero-copy send that the socket cannot do fails with -EOPNOTSUPP, and its notification still follows."""
    require_opcode("IORING_OP_SEND_ZC")
    start(ring, 5, L.io_uring_prep_send_zc, pair[0].fileno(), b"zc", 2, 0, 0)
    first = reap(ring)
    assert first[0][:2] == (5, -EOPNOTSUPP)
    if first[0][2] & L.IORING_CQE_F_MORE:
        assert reap(ring) == [(5, 0, L.IORING_CQE_F_NOTIF)]
    assert is_empty(ring)


def test_sendmsg_zc_posts_a_notification(ring: Any, tcp: Pair) -> None:
    """A zero-copy sendmsg gathers its parts and posts the same two CQEs."""
    require_opcode("IORING_OP_SENDMSG_ZC")
    message = L.msghdr(msg_iov=L.iovec(b"one,", b"two"))
    start(ring, 6, L.io_uring_prep_sendmsg_zc, tcp[0].fileno(), message, 0)
    assert reap(ring) == [(6, 7, L.IORING_CQE_F_MORE)]
    assert tcp[1].recv(7, socket.MSG_WAITALL) == b"one,two"
    assert reap(ring) == [(6, 0, L.IORING_CQE_F_NOTIF)]


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
