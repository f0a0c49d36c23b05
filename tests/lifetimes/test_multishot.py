"""Multishots under storms, signals, dropped references and sudden ends: no shot is lost, doubled or leaked."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from c_style import require_opcode
from interrupting import PACKAGE, Stop, alarms, interruption
from scale import LONG, scaled

import uring
from uring import ALLOC, Params, ProvidedBuffers, Ring
from uring import liburing as L


@pytest.fixture(autouse=True)
def modern() -> None:
    """A kernel with multishot receives."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as they are


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as opened:
        yield opened


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def is_idle(ring: Ring) -> bool:
    """Whether nothing is in flight, in the table or on a list."""
    lists = (ring._multishots, ring._pending, ring._hidden, ring._notes, ring._due)
    return not ring._native.in_flight and not any(ring._table) and not any(map(bool, lists))


def settle(ring: Ring) -> None:
    """Let what was cancelled end."""
    deadline = time.monotonic() + LONG
    while not is_idle(ring):
        assert time.monotonic() < deadline, (ring, ring._multishots, ring._pending, ring._hidden)
        ring.submit()
        ring.peek()


def small() -> Ring:
    """A ring whose completion queue is soon full."""
    return Ring(8, Params(cq_entries=8), exit_timeout=LONG)


def sent(sock: socket.socket, data: bytes) -> bool:
    """Send without blocking; whether there was room."""
    try:
        sock.send(data)
    except BlockingIOError:
        return False
    return True


# --- storms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deferred", [True, False])
def test_a_storm_of_connections(listener: socket.socket, deferred: bool) -> None:
    """Thousands through a completion queue of 8, in bursts of 100: each peer is accepted once."""
    peers: Counter[Any] = Counter()
    expected = set()
    with Ring(8, Params(cq_entries=8, defer_taskrun=deferred), exit_timeout=LONG) as ring:
        accepting = ring.accept(listener, multishot=True)
        ring.submit()
        for _ in range(scaled(20)):
            clients = [socket.create_connection(listener.getsockname()) for _ in range(100)]
            burst = {client.getsockname() for client in clients}
            expected |= burst
            deadline = time.monotonic() + LONG
            while not burst <= peers.keys():
                assert time.monotonic() < deadline
                for fd in accepting.take(LONG):
                    with socket.socket(fileno=fd) as connection:
                        peers[connection.getpeername()] += 1
                        # A reset frees the port at once, instead of after a minute.
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            assert set(peers.values()) == {1}
            peers.clear()
            for client in clients:
                client.close()
        assert accepting.take() == []
        accepting.close()
        assert is_idle(ring)


def test_a_storm_of_datagrams() -> None:
    """Thousands through a completion queue of 8 and a pool of 16: numbered, they come complete and in order."""
    total = scaled(20_000)
    one, two = socket.socketpair(type=socket.SOCK_DGRAM)
    two.setblocking(False)
    got: list[int] = []
    sent = 0
    with one, two, small() as ring:
        pool = ProvidedBuffers(ring, 16, 256)
        messages = ring.recvmsg(one, pool, multishot=True)
        while len(got) < total:
            with contextlib.suppress(BlockingIOError):
                while sent < total:
                    two.send(str(sent).encode())
                    sent += 1
            for message in messages.take(LONG):
                got.append(int(bytes(message.payload)))
                message = None  # noqa: PLW2901
        assert got == list(range(total))
        messages.close()
        assert pool.available == 16
        pool.close()


def test_a_storm_of_polls_and_streams() -> None:
    """Many streams and polls on one ring of 8: every byte arrives, every poll sees its last event."""
    total = scaled(2000)
    pairs = [socket.socketpair() for _ in range(20)]
    for _, two in pairs:
        two.setblocking(False)
    data: dict[Any, bytes] = {}
    with small() as ring:
        pool = ProvidedBuffers(ring, 8, 64)
        for one, _ in pairs:
            data[ring.recv(one, pool, multishot=True)] = b""
        polls = {ring.poll_add(one, select.POLLRDHUP, multishot=True): 0 for one, _ in pairs}

        def serve() -> None:
            for operation in ring.wait(1, LONG):
                for shot in operation.take():  # type: ignore[union-attr]
                    if operation in polls:
                        polls[operation] |= shot  # type: ignore[index]
                    else:
                        data[operation] += bytes(shot)
                        shot.release()
                if operation.done():  # type: ignore[union-attr]
                    ended.append(operation)

        ended: list[Any] = []
        deadline = time.monotonic() + 60
        for number in range(total):
            for _, two in pairs:
                while not sent(two, bytes([number % 251])):
                    assert time.monotonic() < deadline
                    serve()
        for _, two in pairs:
            two.close()
        while len(ended) < len(pairs) or not all(polls.values()):
            assert time.monotonic() < deadline
            serve()
        assert set(data.values()) == {bytes(number % 251 for number in range(total))}
        assert all(mask & select.POLLRDHUP for mask in polls.values())
        assert pool.available == 8
        pool.close()
    for one, _ in pairs:
        one.close()


# --- signals -----------------------------------------------------------------------------------------


def test_a_storm_of_interrupts() -> None:
    """Every wait for datagrams is interrupted, thousands of times: each comes once, in order, and no buffer is lost."""
    total = scaled(6000)
    one, two = socket.socketpair(type=socket.SOCK_DGRAM)
    two.setblocking(False)
    got: list[int] = []
    shots: list[Any] = []
    state = {"sent": 0, "stopped": 0}
    raising = True

    def handler(_: int, frame: FrameType | None) -> None:
        # Only in the package: this file counts. Not in a destructor, whose exceptions go nowhere.
        code = None if frame is None else frame.f_code
        if raising and code is not None and code.co_filename.startswith(PACKAGE) and code.co_name != "__del__":
            raise Stop

    def work(received: Any) -> None:
        while len(got) < total:
            with contextlib.suppress(BlockingIOError):
                while state["sent"] < total:
                    number = state["sent"]
                    two.send(str(number).encode())
                    state["sent"] = number + 1
            if not shots:
                shots.extend(received.take(LONG))
            while shots:
                data = bytes(shots[0])  # which may be interrupted, and is repeated then
                del shots[0]
                got.append(int(data))

    with one, two, small() as ring:
        pool = ProvidedBuffers(ring, 16, 64)
        received = ring.recv(one, pool, multishot=True)
        deadline = time.monotonic() + 60
        with alarms(handler, 100e-6, 100e-6):
            while len(got) < total:
                assert time.monotonic() < deadline
                try:
                    work(received)
                except Stop:
                    state["stopped"] += 1
            raising = False
        assert state["stopped"]
        assert got == list(range(total))
        received.close()
        assert is_idle(ring)
        assert pool.available == 16
        pool.close()


class Accepting:
    """Connections that are accepted by taking, and what was done with them."""

    def __init__(self, ring: Ring) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.clients = [socket.create_connection(self.listener.getsockname()) for _ in range(5)]
        self.got: list[int] = []
        self.operation: Any = None

    def work(self, ring: Ring) -> None:
        """Take all five."""
        self.operation = ring.accept(self.listener, multishot=True)
        while len(self.got) < 5:
            self.got += self.operation.take(LONG)

    def check(self, ring: Ring) -> None:
        """After an interruption the rest can be taken, if the operation is known; each is another client's."""
        if self.operation is not None:
            while len(self.got) < 5:
                self.got += self.operation.take(LONG)
            peers = set()
            for fd in self.got:
                with socket.socket(fileno=fd) as connection:
                    peers.add(connection.getpeername())
            assert peers == {client.getsockname() for client in self.clients}
            self.operation.close()
        else:
            for operation in [*ring._multishots]:
                operation.close()

    def close(self) -> None:
        """The other ends."""
        self.listener.close()
        for client in self.clients:
            client.close()


class Looping(Accepting):
    """The same in a loop that is left early, and in which an interruption ends the operation."""

    def work(self, ring: Ring) -> None:
        """Take three."""
        self.operation = ring.accept(self.listener, multishot=True)
        with self.operation as connections:
            for fd in connections:
                self.got.append(fd)
                if len(self.got) == 3:
                    break

    def check(self, ring: Ring) -> None:
        """Nothing stays open that was not taken; that is what the fixture for descriptors checks."""
        for fd in self.got:
            os.close(fd)
        assert len(set(self.got)) == len(self.got)
        for operation in [*ring._multishots]:
            operation.close()


class Receiving:
    """Pieces of a stream through two buffers, so that it starves and is requested again all the time."""

    def __init__(self, ring: Ring) -> None:
        self.one, self.two = socket.socketpair()
        self.two.send(bytes(range(64)))
        self.two.close()
        self.pool = ProvidedBuffers(ring, 2, 16)
        self.got = b""
        self.taken: list[Any] = []
        self.operation: Any = None

    def work(self, ring: Ring) -> None:
        """Take all of it."""
        self.operation = ring.recv(self.one, self.pool, multishot=True)
        self.finish()

    def finish(self) -> None:
        """Take what is left."""
        while self.taken or not self.operation.done():
            if not self.taken:
                self.taken.extend(self.operation.take(LONG))
            while self.taken:
                data = bytes(self.taken[0])  # which may be interrupted, and is repeated then
                del self.taken[0]
                self.got += data

    def check(self, ring: Ring) -> None:
        """All of it came, in order, and the buffers are back."""
        if self.operation is not None:
            self.finish()
            assert self.got == bytes(range(64))
        else:
            for operation in [*ring._multishots]:
                operation.close()
        settle(ring)
        assert self.pool.available == 2

    def close(self) -> None:
        """Its end of the stream, and the buffers."""
        self.one.close()


class Closing(Receiving):
    """The same, abandoned with shots that nobody took."""

    def work(self, ring: Ring) -> None:
        """Leave it when there is something."""
        self.operation = ring.recv(self.one, self.pool, multishot=True)
        assert ring.wait(1, LONG) == [self.operation]
        self.operation.close()

    def check(self, ring: Ring) -> None:
        """The buffers are back."""
        for operation in [*ring._multishots]:
            operation.close()
        if self.operation is not None:
            self.operation.close()
        settle(ring)
        assert self.pool.available == 2


@pytest.mark.parametrize("kind", [Accepting, Looping, Receiving, Closing])
@pytest.mark.skipif(sys.version_info < (3, 11), reason="before 3.11 a call's own result may be lost on its way")
def test_an_exception_at_every_step(kind: Any) -> None:
    """Wherever a handler raises: no shot is lost, doubled or leaked, and the ring goes on."""
    number, finished = 0, False
    while not finished:
        number += 1
        with small() as ring:
            scene = kind(ring)
            try:
                with interruption(number):
                    scene.work(ring)
                finished = True
            except Stop:
                pass
            scene.check(ring)
            settle(ring)
            assert ring.nop(result=3).result(LONG) == 3
            scene.close()
    assert number > 100


# --- references --------------------------------------------------------------------------------------


def test_a_dropped_multishot_goes_on(listener: socket.socket) -> None:
    """The ring holds it, and hands it out with its shots; when nobody takes those they are closed."""
    with Ring(8, exit_timeout=LONG) as ring:
        alive = weakref.ref(ring.accept(listener, multishot=True))
        gc.collect()
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        [connections] = ring.wait(1, LONG)
        assert connections is alive()
        fds = connections.take()  # type: ignore[union-attr]
        while len(fds) < 3:
            fds += connections.take(LONG)  # type: ignore[union-attr]
        for fd in fds:
            os.close(fd)
        clients += [socket.create_connection(listener.getsockname()) for _ in range(3)]
        ring.wait(1, LONG)
        connections.cancel().result(LONG)  # type: ignore[union-attr]
        assert ring.wait(1, LONG) == [connections]
        del connections
        gc.collect()
        ring.peek()
        gc.collect()
        assert alive() is None
        assert is_idle(ring)
        for client in clients[3:]:
            client.settimeout(LONG)
        for client in clients:
            client.close()


@pytest.mark.parametrize("collected", [False, True])
def test_an_iterator_dropped_in_another_thread(listener: socket.socket, collected: bool) -> None:
    """Its destructor only notes that it was left: the owner's next call cancels."""
    with Ring(8, exit_timeout=LONG) as ring:
        client = socket.create_connection(listener.getsockname())
        holder: list[Any] = [iter(ring.accept(listener, multishot=True))]
        os.close(next(holder[0]))
        if collected:
            holder.append(holder)

        def drop() -> None:
            holder.pop(0)

        thread = threading.Thread(target=drop)
        thread.start()
        thread.join(LONG)
        gc.collect()
        assert len(ring._notes) == 1
        settle(ring)
        client.close()


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("way", ["close", "drop", "exception", "thread"])
def test_the_ring_ends_with_shots_that_nobody_took(listener: socket.socket, way: str, direct: bool) -> None:
    """They are closed with it, however it ends."""
    clients = [socket.create_connection(listener.getsockname()) for _ in range(5)]
    ring = Ring(8)
    if direct:
        assert L.io_uring_register_files_sparse(ring.c_ring, 8) == 0
    connections: Any = ring.accept(listener, direct=ALLOC if direct else None, multishot=True)  # type: ignore[call-overload]
    ring.wait(1, LONG)
    assert len(connections._shots) == 5
    if way == "close":
        ring.close()
        assert connections.take() == []
    elif way == "exception":
        with pytest.raises(ZeroDivisionError), ring:
            raise ZeroDivisionError
    elif way == "drop":
        del connections
        with pytest.warns(ResourceWarning, match="unclosed <Ring"):  # noqa: PT031
            del ring
            gc.collect()
    else:
        holder = [ring]
        del ring, connections
        with pytest.warns(ResourceWarning, match="unclosed <Ring"):  # noqa: PT031
            thread = threading.Thread(target=lambda: (holder.clear(), gc.collect()))
            thread.start()
            thread.join(LONG)
    for client in clients:
        if not (direct and way == "thread"):  # the slots go with the ring, some time after its end
            client.settimeout(LONG)
            assert client.recv(1) == b""
        client.close()


def test_results_in_another_thread(pipe: tuple[int, int]) -> None:
    """What has ended may be read from any thread; what has not belongs to the owner."""
    with Ring(8, exit_timeout=LONG) as ring:
        ticks = ring.timeout(0.001, 3, multishot=True)
        events = ring.poll_add(pipe[0], multishot=True)
        ticks.result(LONG)
        seen: list[Any] = []

        def look() -> None:
            seen.append(ticks.take())
            for call in (events.take, events.done, events.close, events.abandon, lambda: list(events)):
                with pytest.raises(uring.WrongThread):
                    call()
            seen.append(ticks.done())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(LONG)
        assert seen == [[None] * 3, True]
        events.close()


def test_many_come_and_go(pipe: tuple[int, int]) -> None:
    """A thousand, left in every way, leave nothing behind."""
    os.write(pipe[1], b"x")
    with Ring(8, exit_timeout=LONG) as ring:
        for number in range(scaled(1000)):
            events = ring.poll_add(pipe[0], multishot=True)
            if number % 4 == 0:
                for _ in events:
                    break
            elif number % 4 == 1:
                events.close()
            elif number % 4 == 2:
                events.abandon()
            else:
                events.take(LONG)
                events.cancel().result(LONG)
                events.take()
        settle(ring)
        assert ring._native.slot_count <= 128
