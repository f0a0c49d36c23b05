"""A message there and back, through pipes and over loopback, to a peer in C that sends back what it gets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from .. import jobs
from ..compiled import SOURCES, compiled
from ..harness import Bench, Case, Lane, Outcome, Point, Run, Wrong

SIZE = 64
TRIPS = 10_000
MESSAGE = bytes(range(SIZE))


class Line(NamedTuple):
    """Our end of a line whose other end the peer has."""

    bench: Bench
    incoming: int
    outgoing: int
    socket: socket.socket | None
    trips: int

    def outcome(self, latencies: array[int], answer: bytes) -> Outcome:
        """What a run has done."""
        return Outcome(self.trips, 2 * self.trips * SIZE, jobs.digest_of([answer]), latencies)


def line(kind: str, bench: Bench, at_end: ExitStack) -> Line:
    """A line to a peer of its own, which ends when it is closed."""
    program = compiled(SOURCES / "pingpong.c")
    ours: socket.socket | None = None
    if kind == "pipe":
        theirs_in, outgoing = os.pipe()
        incoming, theirs_out = os.pipe()
        closing = [theirs_in, theirs_out]
        for end in (outgoing, incoming):
            at_end.callback(os.close, end)
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            theirs = socket.create_connection(server.getsockname())
            ours, _ = server.accept()
        for each in (ours, theirs):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at_end.callback(ours.close)
        incoming = outgoing = ours.fileno()
        theirs_in = theirs_out = theirs.detach()
        closing = [theirs_in]
    about = [f"in={theirs_in}", f"out={theirs_out}", f"size={SIZE}", "mode=echo"]
    peer = subprocess.Popen([program, *about], pass_fds=closing)
    for end in closing:
        os.close(end)
    ending = at_end.pop_all()
    at_end.callback(peer.wait)  # behind the closing of our ends, which ends it
    at_end.push(ending)
    return Line(bench, incoming, outgoing, ours, bench.scaled(TRIPS))


def timed(line: Line, trip: Callable[[], Any]) -> Run:
    """A lane's run, of a function that makes one round trip and returns the answer."""

    def run() -> Outcome:
        clock, latencies, answer = time.perf_counter_ns, array("q"), b""
        for _ in range(line.trips):
            began = clock()
            answer = trip()
            latencies.append(clock() - began)
        return line.outcome(latencies, bytes(answer))

    return run


def plain(line: Line, _at_end: ExitStack) -> Run:
    """os.write, os.read."""
    outgoing, incoming = line.outgoing, line.incoming

    def trip() -> bytes:
        os.write(outgoing, MESSAGE)
        return os.read(incoming, SIZE)

    return timed(line, trip)


def sockets(line: Line, _at_end: ExitStack) -> Run:
    """socket.send, socket.recv_into."""
    assert line.socket is not None
    send, recv_into, buffer = line.socket.send, line.socket.recv_into, bytearray(SIZE)

    def trip() -> bytearray:
        send(MESSAGE)
        recv_into(buffer)
        return buffer

    return timed(line, trip)


def together(line: Line, at_end: ExitStack) -> Run:
    """uring.Ring: a write and a read, submitted together, in one system call."""
    import uring

    ring, buffer = at_end.enter_context(uring.Ring()), bytearray(SIZE)
    outgoing, incoming = line.outgoing, line.incoming

    def trip() -> bytearray:
        there, back = ring.write(outgoing, MESSAGE), ring.read(incoming, buffer)
        ring.wait(2)
        if there.result() != SIZE or back.result() != SIZE:
            raise Wrong(back)
        return buffer

    return timed(line, trip)


def one_after_the_other(line: Line, at_end: ExitStack) -> Run:
    """uring.Ring: write, result(), read, result(), as one writes it first."""
    import uring

    ring, buffer = at_end.enter_context(uring.Ring()), bytearray(SIZE)
    outgoing, incoming = line.outgoing, line.incoming

    def trip() -> bytearray:
        ring.write(outgoing, MESSAGE).result()
        if ring.read(incoming, buffer).result() != SIZE:
            raise Wrong
        return buffer

    return timed(line, trip)


def fused_calls(line: Line, at_end: ExitStack) -> Run:
    """uring.fused: both requests in one submit."""
    import uring
    from uring import fused
    from uring import liburing as L

    r = fused.attach(at_end.enter_context(uring.Ring()).c_ring, 8)
    at_end.callback(fused.detach, r)
    buffer = bytearray(SIZE)
    message, memory = L.ffi.from_buffer(MESSAGE), L.ffi.from_buffer(buffer)
    outgoing, incoming = line.outgoing, line.incoming
    write, read, wait, completions = fused.uring_write, fused.uring_read, fused.uring_wait, fused.completions

    def trip() -> bytearray:
        write(r, 0, 0, outgoing, message, SIZE, 0)
        read(r, 1, 0, incoming, memory, SIZE, 0)
        left = 2
        while left:
            for _user_data, res, _flags in completions(r, wait(r, left, -1)):
                if res != SIZE:
                    raise Wrong(res)
                left -= 1
        return buffer

    return timed(line, trip)


def streams(line: Line, at_end: ExitStack) -> Run:
    """Streams of asyncio, as most programs use sockets."""
    assert line.socket is not None
    loop = asyncio.new_event_loop()
    at_end.callback(loop.close)
    line.socket.setblocking(False)
    reader, writer = loop.run_until_complete(asyncio.open_connection(sock=line.socket))
    at_end.callback(lambda: loop.run_until_complete(closed(writer)))

    async def trips(latencies: array[int]) -> bytes:
        clock, answer = time.perf_counter_ns, b""
        for _ in range(line.trips):
            began = clock()
            writer.write(MESSAGE)
            answer = await reader.readexactly(SIZE)
            latencies.append(clock() - began)
        return answer

    def run() -> Outcome:
        latencies = array("q")
        return line.outcome(latencies, loop.run_until_complete(trips(latencies)))

    return run


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a stream."""
    writer.close()
    await writer.wait_closed()


def in_c(line: Line, _at_end: ExitStack, *, mode: str) -> Run:
    """Our C program at this end, too."""

    def run() -> Outcome:
        taken = line.bench.workspace.root / f"latencies.{os.getpid()}"
        about: dict[str, Any] = {"mode": mode, "in": line.incoming, "out": line.outgoing, "size": SIZE}
        if mode == "ring":
            about["setup"] = jobs.ring_setup()
        fds = (line.incoming, line.outgoing)
        try:
            done = jobs.program(
                "pingpong", line.trips, 2 * line.trips * SIZE, fds, count=line.trips, latencies=taken, **about
            )
            return done._replace(latencies_ns=jobs.loaded(taken))
        finally:
            taken.unlink(missing_ok=True)

    return run


def case(kind: str, title: str) -> Case:
    """One kind of line."""

    def lane(name: str, what: str, function: Callable[..., Run], **options: Any) -> Lane:
        def opened(bench: Bench, _point: Point, at_end: ExitStack) -> Run:
            return function(line(kind, bench, at_end), at_end, **options)

        return Lane(name, what, opened)

    lanes = [
        lane("C, one submit", "a write and a read, submitted together", in_c, mode="ring"),
        lane("C, write read", "two system calls", in_c, mode="plain"),
        lane("uring.fused", "a write and a read, submitted together", fused_calls),
        lane("uring.Ring", "a write and a read, submitted together", together),
        lane("uring.Ring, result()", "a write and its result, a read and its result", one_after_the_other),
        lane("os.write, os.read", "two system calls", plain),
    ]
    if kind == "socket":
        lanes += [
            lane("socket", "send, recv_into", sockets),
            lane("asyncio streams", "write, readexactly", streams),
        ]
    return Case(
        name=f"ping-pong-{kind}",
        title=title,
        group="Messages",
        unit="operations",
        axis=None,
        points=({},),
        quick_points=({},),
        lanes=tuple(lanes),
        loses="With one message at a time there is nothing to gather: plain system calls cost less.",
    )


CASES = (
    case("pipe", "64 bytes there and back through pipes, one message at a time"),
    case("socket", "64 bytes there and back over loopback, one message at a time"),
)
