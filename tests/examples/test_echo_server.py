"""examples/echo_server.py, on loopback, beside its C original."""

from __future__ import annotations

import asyncio
import os
import random
import select
import shlex
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from c_style import require_opcode

DEADLINE_S = 30
HOST = "127.0.0.1"


class Server:
    """A running echo server."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection((HOST, self.port), DEADLINE_S)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the server is about to do; fail when it does not, or ends."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, "the server does not get there"
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)
                pytest.fail(f"the server ended: {self.process.communicate()}")

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number: int = signal.SIGTERM) -> dict[str, int]:
        """End it by a signal; return the counts that it prints."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        assert (self.process.returncode, err) == (0, "")
        return {name: int(count) for name, count in (item.split("=") for item in out.split())}


@contextmanager
def started(command: list[str], find_port: Callable[[subprocess.Popen[str]], int]) -> Iterator[Server]:
    """Run a server; kill it at the end if it still runs."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Server(process, find_port(process))
        finally:
            process.kill()


def printed_port(process: subprocess.Popen[str]) -> int:
    """The port that our server prints."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], DEADLINE_S)[0], "the server prints no port"
    line = process.stdout.readline()
    assert line.startswith("listening on port "), (line, process.communicate())
    return int(line.split()[-1])


def listening_port(process: subprocess.Popen[str]) -> int:
    """The port that a process listens on; the original prints the one that it was given, also when that is 0."""
    server = Server(process, 0)

    def look() -> bool:
        inodes = set()
        for name in os.listdir(f"/proc/{process.pid}/fd"):
            with suppress(FileNotFoundError):
                inodes.add(os.readlink(f"/proc/{process.pid}/fd/{name}"))
        for row in Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                server.port = int(fields[1].split(":")[1], 16)
        return server.port != 0

    server.wait_until(look)
    return server.port


@pytest.fixture(autouse=True)
def kernel_6_0() -> None:
    """Multishot recv came with kernel 6.0, as this opcode did, which can be asked for."""
    require_opcode("IORING_OP_SEND_ZC")


@pytest.fixture
def serve(example_command: Callable[..., list[str]]) -> Iterator[Callable[..., Server]]:
    """`serve(*args)`: our server, running on a port that the kernel chose."""
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(
            started(example_command("echo_server", "--port", "0", *map(str, args)), printed_port)
        )


async def converse(port: int, messages: list[bytes]) -> list[bytes]:
    """Send one message after the other, each after the whole echo of the one before."""
    reader, writer = await asyncio.open_connection(HOST, port)
    echoes = []
    for message in messages:
        writer.write(message)
        echoes.append(await reader.readexactly(len(message)))
    writer.close()
    await writer.wait_closed()
    return echoes


async def pour(port: int, data: bytes) -> bytes:
    """Send everything while reading, then EOF; return what comes until the server's EOF."""
    reader, writer = await asyncio.open_connection(HOST, port)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    _sent, echo = await asyncio.gather(send(), reader.read(-1))
    writer.close()
    await writer.wait_closed()
    return echo


def together(make: Callable[[int], object], count: int) -> list[object]:
    """The results of `make(0)` to `make(count - 1)`, coroutines that run at the same time."""

    async def run() -> list[object]:
        return await asyncio.wait_for(asyncio.gather(*(make(number) for number in range(count))), DEADLINE_S)

    return asyncio.run(run())


def random_bytes(seed: int, size: int) -> bytes:
    """Bytes that differ for each connection, so that mixed up ones are noticed."""
    return random.Random(seed).randbytes(size)


def test_same_client_gets_the_same_bytes_from_the_original(
    serve: Callable[..., Server], upstream_example: Callable[[str], Path]
) -> None:
    """The same conversations, 20 at a time, bring the same bytes back from both servers: those that were sent."""
    sizes = (1, 4096, 4097, 20_000, 3)
    messages = [[random_bytes(conn * 10 + turn, size) for turn, size in enumerate(sizes)] for conn in range(20)]

    def talk_to(server: Server) -> list[object]:
        return together(lambda number: converse(server.port, messages[number]), 20)

    ours = serve()
    with started([str(upstream_example("echo-server")), "0"], listening_port) as original:
        from_ours, from_original = talk_to(ours), talk_to(original)
    assert from_ours == from_original == messages
    total = 20 * sum(sizes)
    counts = ours.stop()
    assert (counts["connections"], counts["received"], counts["sent"]) == (20, total, total)


def test_every_byte_of_200_connections_comes_back(serve: Callable[..., Server]) -> None:
    """200 connections that are open at once each get back what they sent, and the server closes them all."""
    server = serve()
    before = server.descriptors()

    async def run() -> list[bytes]:
        async with AsyncExitStack() as stack:
            streams = []
            for _ in range(200):
                reader, writer = await asyncio.open_connection(HOST, server.port)
                stack.push_async_callback(writer.wait_closed)
                stack.callback(writer.close)
                streams.append((reader, writer))
            for number, (_reader, writer) in enumerate(streams):
                writer.write(random_bytes(number, 10_000))
                writer.write_eof()
            return await asyncio.gather(*(reader.read(-1) for reader, _writer in streams))

    echoes = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    assert all(echo == random_bytes(number, 10_000) for number, echo in enumerate(echoes))
    server.wait_until(lambda: server.descriptors() == before)
    counts = server.stop()
    assert (counts["connections"], counts["received"], counts["sent"]) == (200, 2_000_000, 2_000_000)


@pytest.mark.parametrize(("buffers", "buf_size"), [(1, 300), (4, 512)])
def test_dry_buffer_ring_loses_nothing(serve: Callable[..., Server], buffers: int, buf_size: int) -> None:
    """Many connections share a few small buffers: recvs end with -ENOBUFS, are armed again, and no byte is lost."""
    server = serve("--buffers", buffers, "--buf-size", buf_size)
    echoes = together(lambda number: pour(server.port, random_bytes(number, 20_000)), 50)
    assert all(echo == random_bytes(number, 20_000) for number, echo in enumerate(echoes))
    counts = server.stop()
    assert counts["nobufs"] > 0
    assert counts["received"] == counts["sent"] == 50 * 20_000


def test_connection_that_idled_through_a_dry_ring_is_served(serve: Callable[..., Server]) -> None:
    """A connection that sends nothing while others empty the buffer ring gets its echo afterwards."""
    server = serve("--buffers", 1, "--buf-size", 64)
    with ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(10)]
        together(lambda number: pour(server.port, random_bytes(number, 2000)), 10)
        for number, connection in enumerate(idle):
            connection.sendall(b"%d" % number)
            assert connection.recv(100) == b"%d" % number
    assert server.stop()["nobufs"] > 0


def test_recv_that_loses_f_more_is_armed_again(serve: Callable[..., Server]) -> None:
    """A completion queue too small for a burst of chunks ends a multishot recv early; the connection goes on."""
    server = serve("--entries", 1, "--buffers", 64, "--buf-size", 16)
    data = random_bytes(0, 64 * 16)
    # The server sees all of it at once: 64 chunks for a completion queue of 8.
    server.process.send_signal(signal.SIGSTOP)
    with server.connect() as connection:
        connection.sendall(data)
        server.process.send_signal(signal.SIGCONT)
        echo = b""
        while len(echo) < len(data):
            echo += connection.recv(4096)
    assert echo == data
    assert server.stop()["rearms"] > 0


def test_short_sends_go_on(serve: Callable[..., Server]) -> None:
    """A client with a small window makes the server's large sends short; the rest follows, in order."""
    server = serve("--buffers", 4, "--buf-size", 1 << 20)
    data = random_bytes(0, 32_000_000)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(DEADLINE_S)
        connection.connect((HOST, server.port))

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        echo = bytearray()
        while part := connection.recv(1 << 16):
            echo += part
        sender.join(DEADLINE_S)
    assert echo == data
    counts = server.stop()
    assert counts["short_sends"] > 0
    assert counts["sent"] == len(data)


def fill(connection: socket.socket) -> None:
    """Send without reading until the connection takes no more for now."""
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection.send(bytes(1 << 16))


def test_reset_connections_give_their_buffers_back(serve: Callable[..., Server]) -> None:
    """Clients that never read and then reset the connection cost neither buffers nor descriptors."""
    server = serve("--buffers", 2)
    before = server.descriptors()
    for _ in range(5):
        with server.connect() as connection:
            fill(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.wait_until(lambda: server.descriptors() == before)
    data = random_bytes(0, 100_000)
    assert together(lambda _number: pour(server.port, data), 1) == [data]
    assert server.stop()["connections"] == 6


def test_accept_out_of_descriptors_waits_for_a_close(example_command: Callable[..., list[str]]) -> None:
    """With no descriptor left, connections wait in the backlog, and each is served when another is closed."""
    command = f"ulimit -n 12; exec {shlex.join(example_command('echo_server', '--port', '0'))}"
    with started(["sh", "-c", command], printed_port) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(12)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%d" % number)
            assert connection.recv(100) == b"%d" % number
            connection.close()
        server.process.terminate()
        out, err = server.process.communicate(timeout=DEADLINE_S)
    assert server.process.returncode == 0
    assert "connections=12" in out
    assert "Too many open files" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(serve: Callable[..., Server], number: int) -> None:
    """A signal ends the server with status 0 and no complaint, with a recv, a blocked send and an accept in flight."""
    server = serve()
    with server.connect() as idle, server.connect() as stuck:
        idle.sendall(b"hello")
        assert idle.recv(100) == b"hello"
        fill(stuck)
        counts = server.stop(number)
        assert idle.recv(100) == b""
    assert counts["connections"] == 2
    assert counts["received"] >= 5


def test_signal_ends_an_idle_server(serve: Callable[..., Server]) -> None:
    """A signal ends a server that nobody ever connected to."""
    assert serve().stop() == dict.fromkeys(("connections", "received", "sent", "short_sends", "nobufs", "rearms"), 0)


def test_port_in_use_is_reported(run_example: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """A port that is taken ends it with the reason."""
    with socket.create_server(("", 0)) as taken:
        done = run_example("echo_server", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
