"""Ping-pong: one byte there and back, between a thread that uses uring or not and a plain one that answers."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from ..harness import Bench, Case, Done, Lane, Point, Ready

Exchange = Callable[[], None]
Make = Callable[[int, int, ExitStack], Exchange]


def pipes(at_end: ExitStack) -> tuple[int, int, int, int]:
    """Descriptors to write to and to read from, and the peer's to read from and to write to."""
    there, back = os.pipe(), os.pipe()
    for fd in (*there, *back):
        at_end.callback(os.close, fd)
    return there[1], back[0], there[0], back[1]


def sockets(at_end: ExitStack) -> tuple[int, int, int, int]:
    """The same of a TCP connection over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = at_end.enter_context(socket.create_connection(listener.getsockname()))
        two = at_end.enter_context(listener.accept()[0])
    for sock in (one, two):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one.fileno(), one.fileno(), two.fileno(), two.fileno()


def by_os(writer: int, reader: int, _at_end: ExitStack) -> Exchange:
    """os.write and os.read."""

    def exchange() -> None:
        os.write(writer, b"x")
        os.read(reader, 1)

    return exchange


def by_operations(writer: int, reader: int, at_end: ExitStack) -> Exchange:
    """Ring.write and Ring.read."""
    import uring

    ring = at_end.enter_context(uring.Ring(8))
    buffer = bytearray(1)

    def exchange() -> None:
        ring.write(writer, b"x")
        ring.read(reader, buffer).result()
        ring.wait(0)

    return exchange


def by_fused(writer: int, reader: int, at_end: ExitStack) -> Exchange:
    """uring.fused: both requests, and one wait."""
    from uring import Ring, fused
    from uring import liburing as L

    ring = at_end.enter_context(Ring(8))
    r = fused.attach(ring.c_ring, 8)
    at_end.callback(fused.detach, r)
    buffer = bytearray(b"x")
    memory, into = L.ffi.from_buffer(buffer), L.ffi.from_buffer(bytearray(1))

    def exchange() -> None:
        fused.uring_write(r, 1, 0, writer, memory, 1, 0)
        fused.uring_read(r, 2, 0, reader, into, 1, 0)
        left = 2
        while left:
            left -= max(0, fused.uring_wait(r, left, -1))

    return exchange


def lane(name: str, what: str, make: Make, connect: Callable[[ExitStack], tuple[int, int, int, int]]) -> Lane:
    """A lane against a thread that answers with system calls."""

    def prepare(bench: Bench, _point: Point, at_end: ExitStack) -> Ready:
        count = bench.pick(5000, 200)
        writer, reader, peer_reader, peer_writer = connect(at_end)

        def answer() -> None:
            while os.read(peer_reader, 1) == b"x":
                os.write(peer_writer, b"y")

        peer = threading.Thread(target=answer)
        peer.start()
        at_end.callback(peer.join)
        at_end.callback(os.write, writer, b"q")
        exchange = make(writer, reader, at_end)

        def run() -> Done:
            taken = []
            now = time.perf_counter_ns
            for _ in range(count):
                start = now()
                exchange()
                taken.append(now() - start)
            return Done(count, latencies_ns=taken)

        return Ready(run)

    return Lane(name, what, prepare)


def case(name: str, title: str, connect: Callable[[ExitStack], tuple[int, int, int, int]]) -> Case:
    """The lanes over one kind of connection."""
    make = partial(lane, connect=connect)
    return Case(
        name=name,
        title=title,
        lanes=(
            make("uring.Ring", "two Operations for each exchange", by_operations),
            make("uring.fused", "two requests and a wait", by_fused),
            make("os.read", "os.write and os.read", by_os),
        ),
        ours=("uring.Ring", "uring.fused"),
        loses="One message at a time is what plain system calls are best at: a ring has nothing to put together.",
        rounds=5,
        shows=("latency",),
        unit="exchange",
    )


CASES = (
    case("pingpong-pipe", "One byte there and back through pipes", pipes),
    case("pingpong-socket", "One byte there and back through a TCP connection on this machine", sockets),
)
