"""Data through the ring over TCP, UDP and socket pairs: what arrives, descriptors included."""

from __future__ import annotations

import os
import socket
import struct
from errno import (
    EAGAIN,
    EINVAL,
    ENOTSOCK,
    EOPNOTSUPP,
    EPIPE,
)
from typing import Any

from c_sockets import address, as_sockaddr, host_and_port, start
from c_style import complete, get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

Pair = tuple[socket.socket, socket.socket]


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
