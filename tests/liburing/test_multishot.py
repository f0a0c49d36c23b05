"""Multishot requests: many completions of one, what ends them, and reading the messages of recvmsg."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from errno import EBADF, EBADFD, ECANCELED, EINVAL, ENOBUFS, ENOENT
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

MORE, F_BUFFER, SHIFT = L.IORING_CQE_F_MORE, L.IORING_CQE_F_BUFFER, L.IORING_CQE_BUFFER_SHIFT
COUNT, SIZE, GROUP = 4, 256, 1  # of the buffers that receives and reads select
IP_TTL, IP_PKTINFO, IP_RECVTTL = 2, 8, 12  # not all in Python's socket module


class Buffers:
    """A buffer ring of four buffers of 256 bytes."""

    def __init__(self, ring: Any) -> None:
        """Set the ring up and put all buffers in."""
        self.memory = L.ffi.new("char[]", COUNT * SIZE)
        error = L.ffi.new("int *")
        self.br = L.io_uring_setup_buf_ring(ring, COUNT, GROUP, 0, error)
        skip_without("IORING_REGISTER_PBUF_RING", error[0], EINVAL)
        assert self.br != L.ffi.NULL
        for bid in range(COUNT):
            self.give_back(bid)

    def give_back(self, bid: int) -> None:
        """Put a buffer into the ring."""
        mask = L.io_uring_buf_ring_mask(COUNT)
        L.io_uring_buf_ring_add(self.br, self.memory + bid * SIZE, SIZE, bid, mask, 0)
        L.io_uring_buf_ring_advance(self.br, 1)

    def take(self, res: int, flags: int) -> bytes:
        """Return the bytes that a completion is about, and give the buffer back."""
        assert flags & F_BUFFER
        found = bytes(L.ffi.buffer(self.memory + (flags >> SHIFT) * SIZE, res))
        self.give_back(flags >> SHIFT)
        return found


@pytest.fixture
def buffers(ring: Any) -> Iterator[Buffers]:
    """Give the test's ring a group of buffers."""
    made = Buffers(ring)
    yield made
    assert L.io_uring_free_buf_ring(ring, made.br, COUNT, GROUP) == 0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open two connected stream sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen on a free port."""
    require_opcode("IORING_OP_SOCKET")  # as old as multishot accept, which no probe names
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """Open a UDP socket on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made


def arm(ring: Any, prepare: Callable[..., None], *arguments: Any, user_data: int = 1, flags: int = 0) -> None:
    """Submit a request."""
    sqe = get_sqe(ring)
    prepare(sqe, *arguments)
    sqe.flags |= flags
    if flags & L.IOSQE_BUFFER_SELECT:
        L.io_uring_sqe_set_buf_group(sqe, GROUP)
    L.io_uring_sqe_set_data64(sqe, user_data)
    assert L.io_uring_submit(ring) == 1


def arm_accept(ring: Any, fd: int) -> None:
    """Submit a multishot accept."""
    arm(ring, L.io_uring_prep_multishot_accept, fd, L.ffi.NULL, L.ffi.NULL, 0)


def arm_recv(ring: Any, fd: int) -> None:
    """Submit a multishot receive."""
    arm(ring, L.io_uring_prep_recv_multishot, fd, L.ffi.NULL, 0, 0, flags=L.IOSQE_BUFFER_SELECT)


def arm_read(ring: Any, fd: int) -> None:
    """Submit a multishot read."""
    require_opcode("IORING_OP_READ_MULTISHOT")
    arm(ring, L.io_uring_prep_read_multishot, fd, 0, 0, GROUP)


def arm_poll(ring: Any, fd: int) -> None:
    """Submit a multishot poll for something to read."""
    arm(ring, L.io_uring_prep_poll_multishot, fd, select.POLLIN)


def one(ring: Any) -> tuple[int, int]:
    """Reap one completion of the armed request as (result, flags) without SOCK_NONEMPTY, a mere hint."""
    [(user_data, res, flags)] = reap(ring)
    assert user_data == 1
    return res, flags & ~L.IORING_CQE_F_SOCK_NONEMPTY


def cancel(ring: Any) -> None:
    """Cancel the armed request, whose last completion then says -ECANCELED and has no F_MORE."""
    arm(ring, L.io_uring_prep_cancel64, 1, 0, user_data=2)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]
    assert is_empty(ring)


# Accept


def test_accept_gives_every_connection(ring: Any, listener: socket.socket) -> None:
    """One multishot accept accepts each connection, those made before and after it, until it is cancelled."""
    peers = [socket.create_connection(listener.getsockname())]
    arm_accept(ring, listener.fileno())
    accepted = []
    for number in range(5):
        fd, flags = one(ring)
        assert (fd >= 0, flags) == (True, MORE)
        accepted.append(socket.socket(fileno=fd))
        if number < 4:
            peers.append(socket.create_connection(listener.getsockname()))
    assert [end.getpeername() for end in accepted] == [peer.getsockname() for peer in peers]
    cancel(ring)
    for end in accepted + peers:
        end.close()


def test_accept_on_something_else_ends(ring: Any, listener: socket.socket, pipe: tuple[int, int]) -> None:
    """A multishot accept on what does not listen fails, once and without F_MORE."""
    with socket.socket() as idle:
        arm_accept(ring, idle.fileno())
        assert one(ring) == (-EINVAL, 0)
    arm_accept(ring, 1_000_000)
    assert one(ring) == (-EBADF, 0)


def test_oneshot_accept_takes_one(ring: Any, listener: socket.socket) -> None:
    """An accept without multishot takes one connection, with its address; the next waits for the next accept."""
    address, length = L.ffi.new("char[]", 16), L.ffi.new("socklen_t *", 16)
    sockaddr = L.ffi.cast("struct sockaddr *", address)
    arm(ring, L.io_uring_prep_accept, listener.fileno(), sockaddr, length, 0)
    with socket.create_connection(listener.getsockname()) as peer, socket.create_connection(listener.getsockname()):
        fd, flags = one(ring)
        os.close(fd)
        assert flags == 0
        assert length[0] == 16
        assert int.from_bytes(L.ffi.buffer(address)[2:4], "big") == peer.getsockname()[1]
        assert is_empty(ring)


# Receive


def test_recv_gives_every_piece(ring: Any, buffers: Buffers, pair: tuple[socket.socket, socket.socket]) -> None:
    """One multishot receive takes what arrives, each piece into a buffer of the group."""
    left, right = pair
    arm_recv(ring, left.fileno())
    for number in range(20):
        right.send(b"%d" % number)
        res, flags = one(ring)
        assert flags & MORE
        assert buffers.take(res, flags) == b"%d" % number
    cancel(ring)


def test_recv_ends_with_the_stream(ring: Any, buffers: Buffers, pair: tuple[socket.socket, socket.socket]) -> None:
    """When the peer shuts its side down a multishot receive completes with 0 and without F_MORE."""
    left, right = pair
    arm_recv(ring, left.fileno())
    right.send(b"last")
    res, flags = one(ring)
    assert buffers.take(res, flags) == b"last"
    right.shutdown(socket.SHUT_WR)
    res, flags = one(ring)
    assert (res, flags & MORE) == (0, 0)
    assert is_empty(ring)


def test_recv_without_a_buffer_ends(ring: Any, buffers: Buffers, pair: tuple[socket.socket, socket.socket]) -> None:
    """A multishot receive ends with -ENOBUFS when the group is empty; armed again, it takes what is left."""
    left, right = pair
    arm_recv(ring, left.fileno())
    used = []
    for number in range(COUNT):
        right.send(b"%d" % number)
        res, flags = one(ring)
        assert (res, flags & MORE) == (1, MORE)
        used.append(flags)
    right.send(b"left")
    res, flags = one(ring)
    assert (res, flags) == (-ENOBUFS, 0)
    assert is_empty(ring)
    assert [buffers.take(1, flags) for flags in used] == [b"0", b"1", b"2", b"3"]
    arm_recv(ring, left.fileno())
    res, flags = one(ring)
    assert buffers.take(res, flags) == b"left"
    cancel(ring)


def test_recv_needs_a_group(ring: Any, buffers: Buffers, pair: tuple[socket.socket, socket.socket]) -> None:
    """A multishot receive without BUFFER_SELECT is refused with -EINVAL."""
    memory = L.ffi.new("char[]", 8)
    arm(ring, L.io_uring_prep_recv_multishot, pair[0].fileno(), memory, 8, 0)
    assert one(ring) == (-EINVAL, 0)


def test_recv_loses_nothing_in_a_full_queue(make_ring: Callable[..., Any]) -> None:
    """A multishot receive whose completions find no room loses no data, and says so when it ends for that."""
    ring = make_ring(2, L.IORING_SETUP_CQSIZE, cq_entries=2)
    buffers = Buffers(ring)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        arm_recv(ring, left.fileno())
        for number in range(COUNT):
            right.send(b"%d" % number)
            L.io_uring_get_events(ring)
        received, flags = [], MORE
        while len(received) < COUNT:
            if not flags & MORE:
                arm_recv(ring, left.fileno())
            res, flags = one(ring)
            received.append(buffers.take(res, flags))
        assert received == [b"0", b"1", b"2", b"3"]
        if flags & MORE:
            cancel(ring)
    assert L.io_uring_free_buf_ring(ring, buffers.br, COUNT, GROUP) == 0


# Messages


def arm_recvmsg(ring: Any, fd: int, header: Any) -> None:
    """Submit a multishot recvmsg."""
    arm(ring, L.io_uring_prep_recvmsg_multishot, fd, header, 0, flags=L.IOSQE_BUFFER_SELECT)


def address_of(buffers: Buffers, flags: int) -> Any:
    """Return the address of the buffer that a completion names."""
    assert flags & F_BUFFER
    return buffers.memory + (flags >> SHIFT) * SIZE


def test_recvmsg_tells_the_sender(ring: Any, buffers: Buffers, receiver: socket.socket) -> None:
    """Each message of a multishot recvmsg has its sender's address and its payload behind a header."""
    header = L.msghdr(msg_namelen=16)
    arm_recvmsg(ring, receiver.fileno(), header)
    for number in range(6):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            text = b"message %d" % number
            sender.sendto(text, receiver.getsockname())
            res, flags = one(ring)
            assert flags & MORE
            memory = address_of(buffers, flags)
            out = L.io_uring_recvmsg_validate(memory, res, header)
            assert out != L.ffi.NULL
            assert (out.namelen, out.controllen, out.payloadlen, out.flags) == (16, 0, len(text), 0)
            name = bytes(L.ffi.buffer(L.io_uring_recvmsg_name(out), 16))
            assert int.from_bytes(name[2:4], "big") == sender.getsockname()[1]
            length = L.io_uring_recvmsg_payload_length(out, res, header)
            assert bytes(L.ffi.buffer(L.io_uring_recvmsg_payload(out, header), length)) == text
            buffers.give_back(flags >> SHIFT)
    cancel(ring)


def test_recvmsg_gives_control_messages(ring: Any, buffers: Buffers, receiver: socket.socket) -> None:
    """The control messages of a message are walked from the first to the last."""
    receiver.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    receiver.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    header = L.msghdr(msg_namelen=16, msg_controllen=128)
    arm_recvmsg(ring, receiver.fileno(), header)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, IP_TTL, 33)
        sender.sendto(b"payload", receiver.getsockname())
    res, flags = one(ring)
    out = L.io_uring_recvmsg_validate(address_of(buffers, flags), res, header)
    control = {}
    message = L.io_uring_recvmsg_cmsg_firsthdr(out, header)
    while message != L.ffi.NULL:
        assert message.cmsg_level == socket.IPPROTO_IP
        control[message.cmsg_type] = message + 1
        message = L.io_uring_recvmsg_cmsg_nexthdr(out, header, message)
    assert set(control) == {IP_TTL, IP_PKTINFO}
    assert L.ffi.cast("int *", control[IP_TTL])[0] == 33
    assert bytes(L.ffi.buffer(L.io_uring_recvmsg_payload(out, header), 7)) == b"payload"
    cancel(ring)


def test_recvmsg_without_control_has_no_first_header(ring: Any, buffers: Buffers, receiver: socket.socket) -> None:
    """A message without control messages has no first one."""
    header = L.msghdr(msg_controllen=64)
    arm_recvmsg(ring, receiver.fileno(), header)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", receiver.getsockname())
    res, flags = one(ring)
    out = L.io_uring_recvmsg_validate(address_of(buffers, flags), res, header)
    assert out.controllen == 0
    assert L.io_uring_recvmsg_cmsg_firsthdr(out, header) == L.ffi.NULL
    cancel(ring)


def test_recvmsg_says_what_was_cut(ring: Any, buffers: Buffers, receiver: socket.socket) -> None:
    """A message longer than the buffer is cut: MSG_TRUNC is set, and only what is there counts as payload."""
    header = L.msghdr(msg_namelen=16)
    arm_recvmsg(ring, receiver.fileno(), header)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes(1000), receiver.getsockname())
    res, flags = one(ring)
    out = L.io_uring_recvmsg_validate(address_of(buffers, flags), res, header)
    assert out.flags & socket.MSG_TRUNC
    there = SIZE - L.ffi.sizeof("struct io_uring_recvmsg_out") - 16
    assert L.io_uring_recvmsg_payload_length(out, res, header) == there
    cancel(ring)


@pytest.mark.parametrize("length", [-1, 0, 15, 16 + 16 + 32 - 1])
def test_recvmsg_refuses_a_buffer_that_is_too_short(length: int) -> None:
    """What is too short for the header, the name and the control data is no message."""
    memory, header = L.ffi.new("char[]", 64), L.msghdr(msg_namelen=16, msg_controllen=32)
    assert L.io_uring_recvmsg_validate(memory, length, header) == L.ffi.NULL
    assert L.io_uring_recvmsg_validate(memory, 64, header) == memory


# Read


def test_read_gives_every_piece(ring: Any, buffers: Buffers, pipe: tuple[int, int]) -> None:
    """One multishot read takes what is written into a pipe, each piece into a buffer of the group."""
    arm_read(ring, pipe[0])
    for number in range(20):
        os.write(pipe[1], b"%d" % number)
        res, flags = one(ring)
        assert flags & MORE
        assert buffers.take(res, flags) == b"%d" % number
    cancel(ring)


def test_read_ends_with_the_pipe(ring: Any, buffers: Buffers) -> None:
    """When the last writer closes, a multishot read completes with 0 and without F_MORE."""
    reader, writer = os.pipe()
    arm_read(ring, reader)
    os.write(writer, b"last")
    res, flags = one(ring)
    assert buffers.take(res, flags) == b"last"
    os.close(writer)
    res, flags = one(ring)
    assert (res, flags & MORE) == (0, 0)
    assert is_empty(ring)
    os.close(reader)


def test_read_without_a_buffer_ends(ring: Any, buffers: Buffers, pipe: tuple[int, int]) -> None:
    """A multishot read of more than the buffers hold fills them all and ends with -ENOBUFS."""
    arm_read(ring, pipe[0])
    os.write(pipe[1], bytes(COUNT * SIZE + 10))
    for bid in range(COUNT):
        assert one(ring) == (SIZE, bid << SHIFT | F_BUFFER | MORE)
    assert one(ring) == (-ENOBUFS, 0)
    assert is_empty(ring)
    assert len(os.read(pipe[0], 100)) == 10


def test_read_of_a_file_is_refused(ring: Any, buffers: Buffers, tmp_path: Path) -> None:
    """A multishot read of a regular file, which cannot be polled, fails with -EBADFD."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        arm_read(ring, file.fileno())
        assert one(ring) == (-EBADFD, 0)


# Poll


def test_poll_fires_at_every_event(ring: Any, pipe: tuple[int, int]) -> None:
    """One multishot poll completes at every write into a pipe, also while there is unread data."""
    arm_poll(ring, pipe[0])
    for _ in range(5):
        os.write(pipe[1], b"x")
        assert one(ring) == (select.POLLIN, MORE)
        assert is_empty(ring)
    cancel(ring)


def test_poll_fires_at_once_when_ready(ring: Any, pipe: tuple[int, int]) -> None:
    """A multishot poll of what is ready already completes, and goes on."""
    os.write(pipe[1], b"x")
    arm_poll(ring, pipe[0])
    assert one(ring) == (select.POLLIN, MORE)
    assert is_empty(ring)
    os.write(pipe[1], b"x")
    assert one(ring) == (select.POLLIN, MORE)
    cancel(ring)


def test_oneshot_poll_fires_once(ring: Any, pipe: tuple[int, int]) -> None:
    """A poll without multishot completes once, without F_MORE."""
    arm(ring, L.io_uring_prep_poll_add, pipe[0], select.POLLIN)
    for _ in range(2):
        os.write(pipe[1], b"x")
    assert one(ring) == (select.POLLIN, 0)
    assert is_empty(ring)


def test_poll_is_removed(ring: Any, pipe: tuple[int, int]) -> None:
    """Removing a multishot poll ends it with -ECANCELED; a second removal finds none."""
    arm_poll(ring, pipe[0])
    arm(ring, L.io_uring_prep_poll_remove, 1, user_data=2)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]
    arm(ring, L.io_uring_prep_poll_remove, 1, user_data=2)
    assert reap(ring) == [(2, -ENOENT, 0)]


def test_poll_gets_other_events(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """An update changes what a multishot poll waits for; here to what is there already."""
    arm_poll(ring, pair[0].fileno())
    assert is_empty(ring)
    flags = L.IORING_POLL_UPDATE_EVENTS | L.IORING_POLL_ADD_MULTI
    arm(ring, L.io_uring_prep_poll_update, 1, 0, select.POLLOUT, flags, user_data=2)
    assert sorted(reap(ring, 2)) == [(1, select.POLLOUT, MORE), (2, 0, 0)]
    cancel(ring)


def test_poll_gets_another_user_data(ring: Any, pipe: tuple[int, int]) -> None:
    """An update changes the user_data with which a multishot poll completes from then on."""
    arm_poll(ring, pipe[0])
    arm(ring, L.io_uring_prep_poll_update, 1, 7, 0, L.IORING_POLL_UPDATE_USER_DATA, user_data=2)
    assert reap(ring) == [(2, 0, 0)]
    os.write(pipe[1], b"x")
    assert reap(ring) == [(7, select.POLLIN, MORE)]
    arm(ring, L.io_uring_prep_poll_remove, 7, user_data=2)
    assert sorted(reap(ring, 2)) == [(2, 0, 0), (7, -ECANCELED, 0)]


def test_poll_tells_of_the_hangup(ring: Any) -> None:
    """A multishot poll completes with POLLHUP, asked for or not, when the other side is gone."""
    reader, writer = os.pipe()
    arm_poll(ring, reader)
    os.close(writer)
    res, flags = one(ring)
    assert res & select.POLLHUP
    if flags & MORE:
        cancel(ring)
    os.close(reader)


def test_poll_of_a_file_is_ready(ring: Any, tmp_path: Path) -> None:
    """A poll of a regular file, which is always ready, completes at once."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        arm(ring, L.io_uring_prep_poll_add, file.fileno(), select.POLLIN)
        assert one(ring) == (select.POLLIN, 0)


# Timeout


def test_timeout_is_cancelled(ring: Any) -> None:
    """A cancel request ends a multishot timeout as well."""
    minute = L.__kernel_timespec(60, 0)
    arm(ring, L.io_uring_prep_timeout, minute, 0, L.IORING_TIMEOUT_MULTISHOT)
    if L.io_uring_cq_ready(ring):
        skip_without("IORING_TIMEOUT_MULTISHOT", one(ring)[0], EINVAL)
    cancel(ring)
