"""Multishot operations: shots, iteration, taking, requesting again, starvation, the end, leaving early."""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from c_style import require_opcode

import uring
from uring import ALLOC, Multishot, Params, ProvidedBuffers, Ring, State
from uring import liburing as L

LONG = 10.0
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 8 entries, on a kernel with multishot receives."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as multishot receives are
    with Ring(8, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as opened:
        yield opened


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected stream sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def datagrams() -> Iterator[Pair]:
    """A UDP socket that receives, and one that sends to it."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        sender.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def pool(ring: Ring) -> Iterator[ProvidedBuffers]:
    """Four buffers of 512 bytes."""
    made = ProvidedBuffers(ring, 4, 512)
    yield made
    for operation in [*ring._multishots]:
        operation.close()
    made.close()


def connect(listener: socket.socket, count: int) -> list[socket.socket]:
    """Connections to a listener."""
    return [socket.create_connection(listener.getsockname()) for _ in range(count)]


def is_idle(ring: Ring) -> bool:
    """Whether nothing is in flight, in the table or on a list."""
    empty = (ring._multishots, ring._pending, ring._hidden, ring._notes, ring._due)
    return not ring._native.in_flight and not any(ring._table) and not any(map(bool, empty))


def settle(ring: Ring) -> None:
    """Let what was cancelled end."""
    deadline = time.monotonic() + LONG
    while not is_idle(ring):
        assert time.monotonic() < deadline, (ring, ring._multishots, ring._pending, ring._hidden)
        ring.submit()
        ring.peek()


# --- each form -------------------------------------------------------------------------------------


def test_accept_hands_out_every_connection(ring: Ring, listener: socket.socket) -> None:
    """Each connection is a shot, those made before and those made while the loop runs; they work."""
    clients = connect(listener, 3)
    seen = []
    for fd in ring.accept(listener, multishot=True):
        with socket.socket(fileno=fd) as connection:
            assert not os.get_inheritable(fd)
            seen.append(connection.getpeername())
        if len(seen) < 5:
            clients += connect(listener, 1)
        else:
            break
    assert seen[:5] == [client.getsockname() for client in clients[:5]]
    settle(ring)
    for client in clients:
        client.close()


def test_accept_with_flags(ring: Ring, listener: socket.socket) -> None:
    """SOCK_NONBLOCK holds for every connection."""
    clients = connect(listener, 2)
    with ring.accept(listener, socket.SOCK_NONBLOCK, multishot=True) as connections:
        for client, fd in zip(clients, connections, strict=False):
            assert not os.get_blocking(fd)
            os.close(fd)
            client.close()


def test_accept_into_slots(ring: Ring, listener: socket.socket) -> None:
    """With ALLOC each shot is the FixedFile of a slot; without a free slot it ends and says so."""
    assert L.io_uring_register_files_sparse(ring.c_ring, 3) == 0
    clients = connect(listener, 4)
    connections = ring.accept(listener, direct=ALLOC, multishot=True)
    files: list[uring.FixedFile] = []
    with pytest.raises(OSError, match="no slot is free") as caught:
        files.extend(connections)
    assert caught.value.errno == errno.ENFILE
    assert sorted(files) == [0, 1, 2]
    assert all(isinstance(file, uring.FixedFile) for file in files)
    assert connections.done()
    for client in clients:
        client.close()


def test_slots_work_and_are_emptied_when_nobody_takes_them(ring: Ring, listener: socket.socket) -> None:
    """A FixedFile that was taken is the program's; those that were not are taken out of their slots at the end."""
    assert L.io_uring_register_files_sparse(ring.c_ring, 4) == 0
    clients = connect(listener, 3)
    connections = ring.accept(listener, direct=ALLOC, multishot=True)
    for file in connections:
        assert isinstance(file, uring.FixedFile)
        assert ring.send(file, b"hello").result(LONG) == 5
        assert clients[0].recv(5) == b"hello"
        break
    settle(ring)
    clients[0].settimeout(LONG)
    for client in clients[1:]:
        client.settimeout(LONG)
        assert client.recv(1) == b""  # it was closed, as nothing else refers to it
    assert ring.send(file, b"again").result(LONG) == 5
    for client in clients:
        client.close()


def test_recv_hands_out_every_piece(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """Each piece is a lease; the loop ends with the stream, and every buffer is back."""
    one, two = pair
    pieces = []
    two.send(b"0")
    for lease in ring.recv(one, pool, multishot=True):
        pieces.append(bytes(lease))
        if len(pieces) < 20:
            two.send(str(len(pieces)).encode())
        else:
            two.close()
    assert pieces == [str(number).encode() for number in range(20)]
    del lease
    assert pool.available == 4
    assert is_idle(ring)


def test_recv_of_datagrams_goes_on_after_an_empty_one(ring: Ring, datagrams: Pair, pool: ProvidedBuffers) -> None:
    """A datagram of no bytes is a shot like others, for a socket object and for a mere number."""
    receiver, sender = datagrams
    for sock in (receiver, receiver.fileno()):
        with ring.recv(sock, pool, multishot=True) as received:
            for data in (b"one", b"", b"two", b"", b"three"):
                sender.send(data)
                [lease] = received.take(LONG)
                assert bytes(lease) == data
    del lease
    assert pool.available == 4


def test_recvmsg_tells_the_sender(ring: Ring, datagrams: Pair, pool: ProvidedBuffers) -> None:
    """A shot has payload, address and flags; an empty datagram is one, a datagram that is too long is cut."""
    receiver, sender = datagrams
    sent = [b"hello", b"", b"x" * 512, b"bye"]
    with ring.recvmsg(receiver, pool, multishot=True) as messages:
        for data in sent:
            sender.send(data)
            [message] = messages.take(LONG)
            assert isinstance(message, uring.ReceivedMessage)
            assert bytes(message.payload) == data[: 512 - 144]
            assert message.address == sender.getsockname()
            assert message.flags == (socket.MSG_TRUNC if len(data) > 512 - 144 else 0)
            assert message.ancdata == []
    del message
    assert pool.available == 4


def test_recvmsg_of_a_stream_ends_with_it(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """A message without payload is the end of a stream, and no shot."""
    one, two = pair
    two.send(b"data")
    two.close()
    assert [bytes(message.payload) for message in ring.recvmsg(one, pool, multishot=True)] == [b"data"]
    assert pool.available == 4


def test_recvmsg_receives_descriptors(ring: Ring, pool: ProvidedBuffers, pipe: tuple[int, int]) -> None:
    """Descriptors come as ancillary data, not inheritable; those of messages that nobody takes are closed."""
    one, two = socket.socketpair(type=socket.SOCK_DGRAM)
    room = socket.CMSG_SPACE(8)
    with one, two:
        messages = ring.recvmsg(one, pool, room, multishot=True)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", pipe))]
        two.sendmsg([b"take"], rights)
        [message] = messages.take(LONG)
        [(level, kind, data)] = message.ancdata
        assert (level, kind, bytes(message.payload)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"take")
        received = array.array("i", data)
        for fd, original in zip(received, pipe, strict=True):
            assert os.path.sameopenfile(fd, original)
            assert not os.get_inheritable(fd)
            os.close(fd)
        two.sendmsg([b"leave"], rights)
        assert ring.wait(1, LONG) == [messages]
        messages.close()
    del message
    assert pool.available == 4


def test_recvmsg_with_buffers_that_are_too_small(ring: Ring, datagrams: Pair) -> None:
    """The error says what they need."""
    receiver, sender = datagrams
    small = ProvidedBuffers(ring, 2, 64)
    sender.send(b"x")
    with pytest.raises(OSError, match="larger than 144 bytes") as caught:
        ring.recvmsg(receiver, small, multishot=True).result(LONG)
    assert caught.value.errno == errno.EFAULT
    assert small.available == 2
    small.close()


def test_read_hands_out_every_piece(ring: Ring, pool: ProvidedBuffers) -> None:
    """A pipe is read until its other end is closed."""
    require_opcode("IORING_OP_READ_MULTISHOT")
    reader, writer = os.pipe()
    pieces = []
    os.write(writer, b"0")
    reads = ring.read(reader, pool, multishot=True)
    for lease in reads:
        pieces.append(bytes(lease))
        if len(pieces) < 20:
            os.write(writer, str(len(pieces)).encode())
        else:
            os.close(writer)
    assert pieces == [str(number).encode() for number in range(20)]
    assert reads.result() is None
    os.close(reader)


def test_read_of_a_regular_file(ring: Ring, pool: ProvidedBuffers) -> None:
    """A file that cannot be polled is refused by the kernel, with the operation's name."""
    require_opcode("IORING_OP_READ_MULTISHOT")
    with open(__file__, "rb") as file, pytest.raises(OSError, match="read on fd") as caught:
        ring.read(file, pool, 0, multishot=True).result(LONG)
    assert caught.value.errno == errno.EBADFD


def test_poll_tells_of_every_event(ring: Ring, pipe: tuple[int, int]) -> None:
    """Each write is an event, also while there is unread data."""
    os.write(pipe[1], b"x")
    with ring.poll_add(pipe[0], multishot=True) as events:
        for number, mask in enumerate(events):
            assert mask == select.POLLIN
            if number == 5:
                break
            os.write(pipe[1], b"x")
        else:
            raise AssertionError
    assert is_idle(ring)


def test_poll_of_what_is_always_ready(ring: Ring) -> None:
    """The kernel gives up after one event; it is requested again each time."""
    seen = []
    with open(__file__, "rb") as file:
        for mask in ring.poll_add(file, multishot=True):
            seen.append(mask)
            if len(seen) == 50:
                break
    assert seen == [select.POLLIN] * 50
    settle(ring)


def test_poll_is_updated(ring: Ring, pair: Pair) -> None:
    """Another mask holds from then on."""
    events = ring.poll_add(pair[0], multishot=True)
    assert events.take(0.001) == []
    assert ring.poll_update(events, select.POLLOUT).result(LONG)
    assert events.take(LONG)[0] & select.POLLOUT
    assert events._next_arguments()[1] == select.POLLOUT
    assert ring.poll_remove(events).result(LONG)
    assert list(events) == []
    assert events.state is State.CANCELLED


def test_timeout_expires_again_and_again(ring: Ring) -> None:
    """With a count it ends after so many, without one it goes on; each shot is None."""
    start = time.monotonic()
    ticks = ring.timeout(0.002, 5, multishot=True)
    assert list(ticks) == [None] * 5
    assert time.monotonic() - start >= 0.01
    assert ticks.result() is None
    for number, tick in enumerate(ring.timeout(0.001, multishot=True)):
        assert tick is None
        if number == 10:
            break
    settle(ring)


# --- arguments -------------------------------------------------------------------------------------

Call = Callable[[Ring, Any], Any]
REFUSED: dict[str, tuple[type[Exception], str, Call]] = {
    "accept address": (ValueError, "overwrite", lambda r, _: r.accept(0, address=True, multishot=True)),
    "accept slot": (ValueError, "ALLOC", lambda r, _: r.accept(0, direct=3, multishot=True)),
    "accept skip": (ValueError, "skip_success", lambda r, _: r.accept(0, multishot=True, skip_success=True)),
    "accept fd": (ValueError, "negative", lambda r, _: r.accept(-1, multishot=True)),
    "recv buffer": (TypeError, "pool", lambda r, _: r.recv(0, bytearray(8), multishot=True)),
    "recv number": (TypeError, "pool", lambda r, _: r.recv(0, 7, multishot=True)),
    "recv waitall": (ValueError, "MSG_WAITALL", lambda r, p: r.recv(0, p, socket.MSG_WAITALL, multishot=True)),
    "recv group": (ValueError, "its argument", lambda r, p: r.recv(0, p, multishot=True, buffer_group=1)),
    "recv skip": (ValueError, "skip_success", lambda r, p: r.recv(0, p, multishot=True, skip_success=True)),
    "recv flags": (TypeError, "flags", lambda r, p: r.recv(0, p, "no", multishot=True)),
    "recvmsg list": (TypeError, "pool", lambda r, _: r.recvmsg(0, [bytearray(8)], multishot=True)),
    "recvmsg room": (ValueError, "ancbufsize", lambda r, p: r.recvmsg(0, p, -1, multishot=True)),
    "read buffer": (TypeError, "pool", lambda r, _: r.read(0, bytearray(8), multishot=True)),
    "read offset": (ValueError, "offset", lambda r, p: r.read(0, p, 5, multishot=True)),
    "read flags": (ValueError, "flags", lambda r, p: r.read(0, p, rw_flags=1, multishot=True)),
    "read group": (ValueError, "its argument", lambda r, p: r.read(0, p, multishot=True, buffer_group=1)),
    "read closed": (ValueError, "closed", lambda r, p: r.read(closed_file(), p, multishot=True)),
    "poll mask": (ValueError, "poll_mask", lambda r, _: r.poll_add(0, -1, multishot=True)),
    "poll skip": (ValueError, "skip_success", lambda r, _: r.poll_add(0, multishot=True, skip_success=True)),
    "timeout absolute": (ValueError, "absolute", lambda r, _: r.timeout(1, absolute=True, multishot=True)),
    "timeout zero": (ValueError, "more than 0", lambda r, _: r.timeout(0, multishot=True)),
    "timeout count": (ValueError, "count", lambda r, _: r.timeout(1, 0, multishot=True)),
    "timeout skip": (ValueError, "skip_success", lambda r, _: r.timeout(1, multishot=True, skip_success=True)),
}


def closed_file() -> Any:
    """A file object that was closed."""
    file = open(__file__, "rb")  # noqa: SIM115
    file.close()
    return file


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_queued(ring: Ring, pool: ProvidedBuffers, name: str) -> None:
    """Bad input raises, and nothing of it is queued or kept."""
    error, words, call = REFUSED[name]
    with pytest.raises(error, match=words):
        call(ring, pool)
    assert is_idle(ring)
    assert L.io_uring_sq_ready(ring.c_ring) == 0


def test_buffers_of_another_ring(ring: Ring, pool: ProvidedBuffers, pair: Pair) -> None:
    """They are refused: the group's id would mean another group, or none."""
    with Ring(4) as other, pytest.raises(ValueError, match="another ring"):
        other.recv(pair[0], pool, multishot=True)


FORMS: dict[str, Call] = {
    "accept": lambda ring, _: ring.accept(0, multishot=True),
    "recv": lambda ring, pool: ring.recv(0, pool, multishot=True),
    "recvmsg": lambda ring, pool: ring.recvmsg(0, pool, multishot=True),
    "read": lambda ring, pool: ring.read(0, pool, multishot=True),
    "poll_add": lambda ring, _: ring.poll_add(0, multishot=True),
    "timeout": lambda ring, _: ring.timeout(1, multishot=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_no_link_of_a_chain(ring: Ring, pool: ProvidedBuffers, name: str) -> None:
    """It never succeeds, so nothing could follow it; the chain is discarded by the error."""
    with pytest.raises(ValueError, match="no link of a chain"), ring.chain():  # noqa: PT012
        ring.nop()
        FORMS[name](ring, pool)
    assert is_idle(ring)


@pytest.mark.parametrize("name", FORMS)
def test_owners_alone_start_one(ring: Ring, pool: ProvidedBuffers, name: str) -> None:
    """Another thread gets WrongThread, and a closed ring raises RingClosed."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            FORMS[name](ring, pool)
        except uring.WrongThread as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(LONG)
    assert len(errors) == 1
    assert is_idle(ring)
    ring.close()
    with pytest.raises(uring.RingClosed):
        FORMS[name](ring, pool)


@pytest.mark.parametrize(
    ("kind", "name", "since"),
    [
        (uring.builders.sockets.SOCKET, "accept", "5.19"),
        (uring.builders.zero_copy.SEND_ZC[0], "recv", "6.0"),
        (uring.builders.zero_copy.SEND_ZC[0], "recvmsg", "6.0"),
    ],
)
def test_a_kernel_that_is_too_old(ring: Ring, pool: ProvidedBuffers, kind: Any, name: str, since: str) -> None:
    """Where an opcode of the same kernel is missing, the form is too."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(uring.Unsupported, match="MULTISHOT") as caught:  # noqa: PT012
        patch.setattr(kind, "missing", True)
        FORMS[name](ring, pool)
    assert caught.value.since == since
    assert is_idle(ring)


def test_a_timeout_that_the_kernel_does_not_know(ring: Ring) -> None:
    """EINVAL to a multishot timeout means a kernel before 6.4, as all else was checked."""
    ticks = ring.timeout(1, multishot=True)
    ticks._finish(-errno.EINVAL, 0)
    with pytest.raises(uring.Unsupported, match="TIMEOUT_MULTISHOT"):
        ticks.result()
    ticks._res = None
    ticks.close()


def test_a_multishot_timeout_is_not_updated(ring: Ring) -> None:
    """The kernel would forget its count; it can be removed."""
    ticks = ring.timeout(LONG, 3, multishot=True)
    with pytest.raises(ValueError, match="lose its count"):
        ring.timeout_update(ticks, 1)
    assert ring.timeout_remove(ticks).result(LONG)
    assert list(ticks) == []


# --- taking, waiting, the end ------------------------------------------------------------------------


def test_take_does_not_block(ring: Ring, pipe: tuple[int, int]) -> None:
    """Without a timeout it brings what is there; with one it waits for the first, and no longer."""
    events = ring.poll_add(pipe[0], multishot=True)
    assert events.take() == []
    assert events.state is State.PREPARED  # it did not submit either
    start = time.monotonic()
    assert events.take(0.02) == []
    assert time.monotonic() - start >= 0.02
    assert events.state is State.SUBMITTED
    os.write(pipe[1], b"x")
    assert events.take(None) == [select.POLLIN]
    assert events.take() == []
    with pytest.raises(ValueError, match="timeout"):
        events.take(-1)
    with pytest.raises(TypeError, match="timeout"):
        events.take("1")  # type: ignore[arg-type]


def test_wait_hands_it_out_whenever_it_has_something(ring: Ring, pipe: tuple[int, int]) -> None:
    """The same object comes from wait, peek and iteration with later shots, and once at its end."""
    events = ring.poll_add(pipe[0], multishot=True)
    for hand_out in (lambda: ring.wait(1, LONG), ring.peek, lambda: [next(iter(ring))]):
        ring.submit()
        os.write(pipe[1], b"x")
        assert hand_out() == [events]
        assert ring.peek() == []
        assert events.take() == [select.POLLIN]
    assert events.cancel().result(LONG)
    assert not events._shots
    assert ring.wait(1, LONG) == [events]
    assert events.done()
    assert ring.peek() == []
    with pytest.raises(uring.OperationCancelled):
        events.result()


def test_it_counts_once(ring: Ring, pipe: tuple[int, int]) -> None:
    """In flight and ready is one operation that can be handed out: waiting for two is refused."""
    events = ring.poll_add(pipe[0], multishot=True)
    with pytest.raises(ValueError, match="only 1 operations"):
        ring.wait(2)
    os.write(pipe[1], b"x")
    ring.nop().result(LONG)
    assert events in ring._ready
    with pytest.raises(ValueError, match="only 1 operations"):
        ring.wait(2)
    assert ring.statistics().in_flight == 1
    nop = ring.nop()
    assert set(ring.wait(2, LONG)) == {events, nop}
    with pytest.raises(ValueError, match="only 1 operations"):
        ring.wait(2)
    events.abandon()
    with pytest.raises(ValueError, match="only 0 operations"):
        ring.wait(1)


def test_the_end_is_told_after_the_last_shots(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """Shots and end in one batch: whoever takes the shots and does not ask done() is told of the end by wait."""
    one, two = pair
    two.send(b"last")
    two.close()
    received = ring.recv(one, pool, multishot=True)
    deadline = time.monotonic() + LONG
    while received._res is None:
        assert time.monotonic() < deadline
        ring.wait(0)
    assert [bytes(lease) for lease in received.take()] == [b"last"]
    assert ring.wait(1, LONG) == [received]
    assert received.take() == []
    assert received.done()
    assert ring.peek() == []


def test_done_is_true_when_all_is_taken(ring: Ring) -> None:
    """Not while there are shots; and then wait does not hand it out any more."""
    ticks = ring.timeout(0.001, 2, multishot=True)
    assert ticks.result(LONG) is None
    assert not ticks.done()
    assert ticks.take() == [None, None]
    assert ticks.done()
    assert ring.peek() == []
    assert ticks.completion.res == -errno.ETIME


def test_result_waits_for_the_end(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """Not for shots, which are kept; a timeout leaves it running."""
    one, two = pair
    received = ring.recv(one, pool, multishot=True)
    two.send(b"x")
    with pytest.raises(TimeoutError):
        received.result(0.01)
    with pytest.raises(RuntimeError, match="no last completion"):
        _ = received.completion
    two.close()
    assert received.result(LONG) is None
    assert received.exception() is None
    assert received.completion.res == 0
    assert [bytes(lease) for lease in received.take()] == [b"x"]


def test_an_error_is_raised_behind_the_shots(ring: Ring, pool: ProvidedBuffers) -> None:
    """A reset connection: its data comes first, then the error, from iteration, take and result."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        connection, _ = server.accept()
    with client, connection:
        received = ring.recv(connection, pool, multishot=True)
        client.send(b"data")
        assert [bytes(lease) for lease in received.take(LONG)] == [b"data"]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError, match="recv on fd"):
            list(received)
        with pytest.raises(ConnectionResetError):
            received.take()
        with pytest.raises(ConnectionResetError):
            received.result()
        assert isinstance(received.exception(), ConnectionResetError)
        assert received.done()


def test_accept_on_what_does_not_listen(ring: Ring) -> None:
    """The kernel's error ends it."""
    with socket.socket() as sock, pytest.raises(OSError, match="accept on fd") as caught:
        list(ring.accept(sock, multishot=True))
    assert caught.value.errno == errno.EINVAL


def test_a_cancel_ends_iteration(ring: Ring, pipe: tuple[int, int]) -> None:
    """Shots that came before are still handed out; then the loop ends without an error."""
    events = ring.poll_add(pipe[0], multishot=True)
    ring.submit()
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [events]
    assert events.cancel().result(LONG)
    assert list(events) == [select.POLLIN]
    assert events.state is State.CANCELLED
    with pytest.raises(uring.OperationCancelled):
        events.result()
    assert is_idle(ring)


@pytest.mark.parametrize("way", ["every", "fd", "opcode", "sync"])
def test_other_ways_to_cancel(ring: Ring, pipe: tuple[int, int], way: str) -> None:
    """By file, opcode, everything, or synchronously."""
    events = ring.poll_add(pipe[0], multishot=True)
    ring.submit()
    if way == "sync":
        ring.sync_cancel(events)
    elif way == "every":
        ring.cancel(every=True).result(LONG)
    else:
        target = {"fd": (pipe[0], None), "opcode": (None, "POLL_ADD")}[way]
        ring.cancel(target[0], opcode=target[1]).result(LONG)
    assert list(events) == []
    assert events.done()


def test_callbacks(ring: Ring) -> None:
    """A shot callback is called instead of a hand-out, a done callback once at the end."""
    ticks = ring.timeout(0.001, 5, multishot=True)
    taken: list[None] = []
    ends: list[Any] = []
    ticks.add_shot_callback(lambda operation: taken.extend(operation.take()))
    ticks.add_done_callback(ends.append)
    while not ends:
        assert ring.wait(0, LONG) == []
        ring.wait(0) if not ring._visible() else ring.wait(1, LONG)
    assert taken == [None] * 5
    assert ends == [ticks]
    ticks.add_done_callback(ends.append)
    assert ends == [ticks] * 2
    assert ring.peek() == []


def test_a_shot_callback_that_comes_late(ring: Ring, pipe: tuple[int, int]) -> None:
    """It is called at once when there are shots."""
    events = ring.poll_add(pipe[0], multishot=True)
    os.write(pipe[1], b"x")
    ring.nop().result(LONG)
    seen: list[int] = []
    events.add_shot_callback(lambda operation: seen.extend(operation.take()))
    assert seen == [select.POLLIN]
    assert ring.peek() == []


def test_a_server_of_many(ring: Ring, listener: socket.socket, pool: ProvidedBuffers) -> None:
    """The loop of the documentation: it accepts, receives from all, and learns of every end once."""
    texts = [f"client {number}".encode() for number in range(6)]
    clients = connect(listener, len(texts))
    for client, text in zip(clients, texts, strict=True):
        client.send(text)
        client.shutdown(socket.SHUT_WR)
    accepting = ring.accept(listener, multishot=True)
    receiving: dict[Any, int] = {}
    got: dict[int, bytes] = {}
    ended = []
    while len(ended) < len(texts):
        for operation in ring.wait(1, LONG):
            assert isinstance(operation, Multishot)
            if operation is accepting:
                for fd in operation.take():
                    receiving[ring.recv(fd, pool, multishot=True)] = fd
                continue
            fd = receiving[operation]
            for lease in operation.take():
                got[fd] = got.get(fd, b"") + bytes(lease)
            if operation.done():
                ended.append(fd)
                os.close(receiving.pop(operation))
        lease = None
    assert sorted(got.values()) == texts
    assert not receiving
    for client in clients:
        client.close()


# --- starvation ------------------------------------------------------------------------------------


def test_starving_goes_on_when_a_buffer_comes_back(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """Not an end: the program sees it, returns a buffer, and gets the rest in order."""
    one, two = pair
    received = ring.recv(one, pool, multishot=True)
    two.send(b"x" * 4 * 512 + b"rest")
    leases = []
    deadline = time.monotonic() + LONG
    while not received.starved:
        assert time.monotonic() < deadline
        assert ring.wait(1, LONG) == [received]
        leases += received.take()
    assert [len(lease) for lease in leases] == [512] * 4
    assert received.state is State.SUBMITTED
    assert "starved" in repr(received)
    assert not received.done()
    with pytest.raises(ValueError, match=r"only 0 operations.*1 multishots wait for buffers"):
        ring.wait(1)
    leases.pop().release()
    assert not received.starved
    assert [bytes(lease) for lease in received.take(LONG)] == [b"rest"]


def test_iteration_that_starves_itself(ring: Ring, pair: Pair, pool: ProvidedBuffers) -> None:
    """A program that holds all buffers and waits for more is told so instead of waiting for ever."""
    one, two = pair
    two.send(b"x" * 5 * 512)
    held: list[Any] = []
    with pytest.raises(OSError, match="release leases") as caught:
        held.extend(ring.recv(one, pool, multishot=True))
    assert caught.value.errno == errno.ENOBUFS
    assert len(held) == 4
    settle(ring)
    del held[:]
    assert pool.available == 4


@pytest.mark.parametrize("way", ["take", "result"])
def test_waiting_that_starves_itself(ring: Ring, pair: Pair, pool: ProvidedBuffers, way: str) -> None:
    """The same from take and result; the operation goes on when the buffers are back."""
    one, two = pair
    two.send(b"x" * 5 * 512)
    received = ring.recv(one, pool, multishot=True)
    held: list[Any] = []
    with pytest.raises(OSError, match="release leases"):  # noqa: PT012
        while way == "take":
            held += received.take(None)
        received.result()
    del held[:]
    total = 0
    while total < (512 if way == "take" else 5 * 512):
        total += sum(map(len, received.take(LONG)))
    received.close()
    assert pool.available == 4


def test_a_loop_with_one_buffer(ring: Ring, pair: Pair) -> None:
    """One is enough when the loop's body lets go of it: iteration keeps no reference."""
    one, two = pair
    little = ProvidedBuffers(ring, 1, 16)
    two.send(bytes(range(256)))
    two.close()
    data = b""
    for lease in ring.recv(one, little, multishot=True):
        data += bytes(lease)
        del lease
    assert data == bytes(range(256))
    assert little.available == 1
    little.close()


def test_a_loop_with_few_buffers(ring: Ring, pair: Pair) -> None:
    """Two buffers are enough: the loop's variable holds one while the next shot is waited for."""
    one, two = pair
    little = ProvidedBuffers(ring, 2, 16)
    two.send(bytes(range(256)))
    two.close()
    data = b""
    for lease in ring.recv(one, little, multishot=True):
        data += bytes(lease)
    assert data == bytes(range(256))
    del lease
    assert little.available == 2
    little.close()


def test_several_starve_together(ring: Ring, pool: ProvidedBuffers) -> None:
    """All that share a group go on when it is refilled, and lose nothing."""
    pairs = [socket.socketpair() for _ in range(6)]
    received = {ring.recv(one, pool, multishot=True): b"" for one, _ in pairs}
    for number, (_, two) in enumerate(pairs):
        two.send(bytes([number]) * 2000)
        two.close()
    ends = 0
    while ends < len(pairs):
        for operation in ring.wait(1, LONG):
            for lease in operation.take():  # type: ignore[union-attr]
                received[operation] += bytes(lease)  # type: ignore[index]
                lease.release()
            ends += operation.done()  # type: ignore[union-attr]
    assert list(received.values()) == [bytes([number]) * 2000 for number in range(6)]
    for one, _ in pairs:
        one.close()
    assert pool.available == 4


@pytest.mark.parametrize("rings", [True, False])
def test_a_buffer_is_offered_to_one_of_many(rings: bool) -> None:
    """With a hundred that starve, each buffer that comes back costs a request or two, and not a hundred."""
    count = 100
    pairs = [socket.socketpair() for _ in range(count)]
    with Ring(8, exit_timeout=LONG) as ring:
        few = ProvidedBuffers(ring, 2, 16, rings=rings)
        received = {ring.recv(one, few, multishot=True): b"" for one, _ in pairs}
        for number, (_, two) in enumerate(pairs):
            two.send(bytes([number]) * 64)
            two.close()
        ends = 0
        while ends < count:
            for operation in ring.wait(1, LONG):
                for lease in operation.take():  # type: ignore[union-attr]
                    received[operation] += bytes(lease)  # type: ignore[index]
                    lease.release()
                ends += operation.done()  # type: ignore[union-attr]
        assert list(received.values()) == [bytes([number]) * 64 for number in range(count)]
        # Four pieces and an end of each; ring.submitted counts what hands buffers back too, where there is no ring.
        assert ring.statistics().submitted < count * 5 * 4
        few.close()
    for one, _ in pairs:
        one.close()


def test_those_that_use_no_buffer_hold_up_nobody(ring: Ring) -> None:
    """A buffer that comes back is offered on until somebody takes it: most have nothing to receive, the last has."""
    pairs = [socket.socketpair() for _ in range(20)]
    few = ProvidedBuffers(ring, 1, 16)
    one, two = socket.socketpair()
    two.send(b"first")
    held = ring.recv(one, few).result(LONG)
    received = [ring.recv(one, few, multishot=True) for one, _ in pairs]
    ring.wait(len(received), LONG)
    assert all(operation.starved for operation in received)
    pairs[-1][1].send(b"last")
    held.release()
    assert ring.wait(1, LONG) == [received[-1]]
    assert [bytes(lease) for lease in received[-1].take()] == [b"last"]
    for operation in received:
        operation.close()
    for end in (one, two, *(end for pair in pairs for end in pair)):
        end.close()


@pytest.mark.parametrize("way", ["cancel", "close", "abandon", "ring"])
def test_ending_one_that_starves(ring: Ring, pair: Pair, pool: ProvidedBuffers, way: str) -> None:
    """It is not in flight, and ends all the same."""
    one, two = pair
    received = ring.recv(one, pool, multishot=True)
    two.send(b"x" * 5 * 512)
    held: list[Any] = []
    while not received.starved:
        ring.wait(1, LONG)
        held += received.take()
    if way == "cancel":
        assert received.cancel().result(LONG).name == "NOT_FOUND"
        assert received.take() == []
        with pytest.raises(uring.OperationCancelled):
            received.result(LONG)
    elif way == "ring":
        ring.close()
        assert isinstance(received.exception(), uring.RingClosed)
    else:
        getattr(received, way)()
    assert received.done()
    if way != "ring":
        settle(ring)
        del held[:]
        assert pool.available == 4


# --- requesting again ------------------------------------------------------------------------------


def test_overflow_of_accepts(listener: socket.socket) -> None:
    """More connections at once than the completion queue has room for: each is handed out once."""
    require_opcode("IORING_OP_SEND_ZC")
    with Ring(4, Params(cq_entries=4), exit_timeout=LONG) as ring:
        connections = ring.accept(listener, multishot=True)
        ring.submit()
        clients = connect(listener, 60)
        peers = []
        while len(peers) < 60:
            for fd in connections.take(LONG):
                with socket.socket(fileno=fd) as connection:
                    peers.append(connection.getpeername())
        assert sorted(peers) == sorted(client.getsockname() for client in clients)
        assert connections.take() == []
        for client in clients:
            client.close()


def test_requested_again_while_a_chain_is_recorded(ring: Ring) -> None:
    """It is no link of the chain then."""
    with open(__file__, "rb") as file:
        events = ring.poll_add(file, multishot=True)
        ring.submit()
        with ring.chain() as chain:
            first = ring.nop()
            assert events.take() == [select.POLLIN]
            second = ring.nop()
        assert list(chain) == [first, second]
        assert [link.result(LONG) for link in chain] == [None, None]
        assert events.take(LONG) == [select.POLLIN]
        events.close()


def test_requested_again_with_a_full_queue(ring: Ring) -> None:
    """There is no free SQE at that moment; what is queued is submitted."""
    with open(__file__, "rb") as file:
        events = ring.poll_add(file, multishot=True)
        ring.submit()
        nops = [ring.nop() for _ in range(8)]
        assert L.io_uring_sq_space_left(ring.c_ring) == 0
        assert events.take() == [select.POLLIN]
        assert events.take(LONG) == [select.POLLIN]
        assert [nop.result(LONG) for nop in nops] == [None] * 8
        events.close()


def test_a_count_goes_on_when_requested_again() -> None:
    """The queue is full when it expires: the kernel gives up, and what is left of the count is requested."""
    with Ring(4, Params(cq_entries=4, defer_taskrun=False), exit_timeout=LONG) as ring:
        ticks = ring.timeout(0.02, 5, multishot=True)
        nops = [ring.nop() for _ in range(3)]
        ring.submit()
        nops += [ring.nop()]
        ring.submit()
        deadline = time.monotonic() + LONG
        while not L.io_uring_cq_has_overflow(ring.c_ring):
            assert time.monotonic() < deadline
        ring.wait(0)
        assert ticks._count == 1
        assert ticks._next_arguments()[1] == 4
        assert len(list(ticks)) == ticks._count == 5
        assert [nop.result(LONG) for nop in nops] == [None] * 4


# --- leaving early -----------------------------------------------------------------------------------


def test_break_cancels(ring: Ring, listener: socket.socket) -> None:
    """Leaving the loop ends the request and closes what nobody took, without another call on the object."""
    clients = connect(listener, 5)
    connections = ring.accept(listener, multishot=True)
    for fd in connections:
        os.close(fd)
        break
    settle(ring)
    assert connections._res is not None
    assert connections.take() == []
    assert list(connections) == []
    assert connections.state is State.ABANDONED
    for client in clients:
        client.settimeout(LONG)
        client.close()


def test_an_exception_in_the_loop_cancels(ring: Ring, pipe: tuple[int, int]) -> None:
    """As break does, when the exception was dealt with."""
    os.write(pipe[1], b"x")
    events = ring.poll_add(pipe[0], multishot=True)
    try:
        for _ in events:
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    settle(ring)
    assert events.state is State.ABANDONED


@pytest.mark.parametrize("fails", [False, True])
def test_a_with_block_ends_it(ring: Ring, listener: socket.socket, fails: bool) -> None:
    """Its last completion has come when the block is left, by its end or by an exception; nothing stays open."""
    clients = connect(listener, 5)
    with pytest.raises(ZeroDivisionError) if fails else pytest.MonkeyPatch.context():  # noqa: SIM117
        with ring.accept(listener, multishot=True) as connections:
            for fd in connections:
                os.close(fd)
                if fails:
                    raise ZeroDivisionError
                break
    assert connections._res is not None
    assert is_idle(ring)
    assert ring.peek() == []
    for client in clients:
        client.close()


def test_close_twice(ring: Ring, pipe: tuple[int, int]) -> None:
    """The second does nothing; nor does one after the ring's end."""
    events = ring.poll_add(pipe[0], multishot=True)
    events.close()
    events.close()
    assert events.done()
    assert is_idle(ring)
    other = ring.poll_add(pipe[0], multishot=True)
    ring.submit()
    ring.close()
    other.close()


def test_close_in_an_open_chain(ring: Ring, pipe: tuple[int, int]) -> None:
    """It would wait, so it is refused there; abandon is not."""
    events = ring.poll_add(pipe[0], multishot=True)
    with ring.chain():
        ring.nop()
        with pytest.raises(RuntimeError, match="chain is open"):
            events.close()
        events.abandon()
    for _ in ring:
        pass
    settle(ring)


def test_a_worker_is_stopped(ring: Ring, listener: socket.socket) -> None:
    """force_async: a cancel may come too early or too late, and close() still ends it."""
    for _ in range(20):
        with ring.accept(listener, multishot=True, force_async=True):
            ring.submit()
        assert is_idle(ring)


def test_abandon_disposes(ring: Ring, listener: socket.socket) -> None:
    """What it brought and brings is closed, and nobody is told."""
    clients = connect(listener, 3)
    connections = ring.accept(listener, multishot=True)
    assert ring.wait(1, LONG) == [connections]
    called: list[Any] = []
    connections.add_done_callback(called.append)
    connections.abandon()
    clients += connect(listener, 3)
    settle(ring)
    assert ring.peek() == []
    assert not called
    for client in clients[:1]:
        client.settimeout(LONG)
        assert client.recv(1) == b""
    for client in clients:
        client.close()


def test_leaving_the_ring_ends_it(pipe: tuple[int, int]) -> None:
    """A clean exit waits for the rest and cancels multishots, without a warning."""
    with Ring(8, exit_timeout=LONG) as ring:
        events = ring.poll_add(pipe[0], multishot=True)
        ticks = ring.timeout(0.001, multishot=True)
        ticks.take(LONG)
        nop = ring.nop()
    assert nop.result() is None
    for operation in (events, ticks):
        assert operation.state in (State.CANCELLED, State.COMPLETED)
        assert isinstance(operation.exception(), OSError)


def test_closing_the_ring_after_it_was_requested_again() -> None:
    """The SQE that is not submitted is the ring's own: no warning about what the program forgot."""
    ring = Ring(8)
    with open(__file__, "rb") as file:
        events = ring.poll_add(file, multishot=True)
        ring.submit()
        assert events.take() == [select.POLLIN]
        assert events.state is State.PREPARED
        ring.close()
    assert isinstance(events.exception(), uring.RingClosed)
    assert events.done()
    assert list(events) == []


def test_closing_the_ring_before_a_submit(pipe: tuple[int, int]) -> None:
    """That is a program's mistake, and warned about, as for any operation."""
    ring = Ring(8)
    events = ring.poll_add(pipe[0], multishot=True)
    with pytest.warns(ResourceWarning, match="never submitted"):
        ring.close()
    assert isinstance(events.exception(), uring.RingClosed)


def test_repr_and_name(ring: Ring, pipe: tuple[int, int]) -> None:
    """It says what it does and how many shots wait."""
    events = ring.poll_add(pipe[0], multishot=True)
    os.write(pipe[1], b"x")
    ring.nop().result(LONG)
    assert repr(events) == f"<Operation poll_add on fd {pipe[0]}: submitted, 1 shots>"
    assert (events.name, events.opcode) == ("poll_add", "POLL_ADD")
