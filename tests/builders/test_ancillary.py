"""Messages and ancillary data: descriptors that are passed, and those that nobody takes."""

from __future__ import annotations

import array
import contextlib
import gc
import os
import socket
from collections.abc import Iterator

from observing import in_flight, is_pinned, open_descriptors

from uring.ring import Ring

Pair = tuple[socket.socket, socket.socket]


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
