"""examples/multishot_echo.py: a thousand connections at once, every byte counted, nothing left open."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from c_style import require_opcode

DEADLINE_S = 20
HOST = "127.0.0.1"
CONNECTIONS = 1000
POOL = 256 * 4096
RESET = b"\1\0\0\0\0\0\0\0"
Command = Callable[..., list[str]]


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port
        self.idle = self.descriptors()

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection((HOST, self.port), DEADLINE_S)

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_for(self, descriptors: int) -> None:
        """Wait until it has so many open; fail when it does not get there, or ends."""
        deadline = time.monotonic() + DEADLINE_S
        while self.descriptors() != descriptors:
            assert time.monotonic() < deadline, f"{self.descriptors()} descriptors are open instead of {descriptors}"
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)
                pytest.fail(f"the server ended: {self.process.communicate()}")

    def stop(self) -> None:
        """Interrupt it: it ends well, without a word."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.communicate(timeout=DEADLINE_S) == ("", "")
        assert self.process.returncode == 0


@contextmanager
def started(command: list[str]) -> Iterator[Server]:
    """Run the server; kill it at the end if it still runs."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "the server prints no port"
            line = process.stdout.readline()
            assert line.startswith("listening on port "), (line, process.communicate())
            yield Server(process, int(line.split()[-1]))
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def kernel_6_0() -> None:
    """Multishot receives came with kernel 6.0, as this opcode did, which can be asked for."""
    require_opcode("IORING_OP_SEND_ZC")


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Room for a thousand connections in this process, and in the server, which inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CONNECTIONS + 100
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"RLIMIT_NOFILE: {needed} descriptors are needed, and the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(example_command: Command) -> Iterator[Server]:
    """The server, on a port that the kernel chose."""
    with started(example_command("multishot_echo")) as running:
        yield running


def messages(number: int) -> list[bytes]:
    """What a client sends: no two the same, some larger than the 4096 bytes of a buffer, a few than all buffers."""
    chance = random.Random(number)
    sizes = [chance.choice([1, 100, 4095, 4096, 4097, 20_000, 70_000]) for _ in range(4)]
    if number % 250 == 0:
        sizes.append(2 * POOL + 1)
    return [chance.randbytes(size) for size in sizes]


async def send(writer: asyncio.StreamWriter, parts: list[bytes], *, end: bool) -> None:
    """Send all of them, and with `end` nothing after them: the connection is closed in this direction."""
    for part in parts:
        writer.write(part)
        await writer.drain()
    if end:
        writer.write_eof()


def run(work: Callable[[], object]) -> None:
    """Run a coroutine to its end, or until the deadline."""
    asyncio.run(asyncio.wait_for(work(), DEADLINE_S))  # type: ignore[arg-type]


def test_a_thousand_connections_at_once(server: Server) -> None:
    """All are open when the first byte is sent. Each gets back what it sent, in order, and nothing else.

    They send more than the server has buffers for, all at once: what a client sends fits no pool, and it reads only
    when it has to. A third closes its half when it has sent all, a third when it has received all, and a third is reset
    with data under way.
    """
    expected = 0
    data = [messages(number) for number in range(CONNECTIONS)]
    assert sum(len(part) for parts in data for part in parts) > 10 * POOL
    got: dict[int, bytes] = {}

    async def talk(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = b"".join(data[number])
        way = number % 3
        if way == 2:
            await send(writer, data[number][:2], end=False)
            start = await reader.readexactly(1)
            assert start == whole[:1]
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
            return
        sending = asyncio.ensure_future(send(writer, data[number], end=way == 0))
        got[number] = await reader.read(-1) if way == 0 else await reader.readexactly(len(whole))
        await sending
        if way == 1:
            writer.write_eof()
            got[number] += await reader.read(-1)
        writer.close()
        await writer.wait_closed()

    async def all_of_them() -> None:
        streams = [await asyncio.open_connection(HOST, server.port) for _ in range(CONNECTIONS)]
        while server.descriptors() < server.idle + CONNECTIONS:
            await asyncio.sleep(0.01)  # until the deadline
        await asyncio.gather(*(talk(number, *stream) for number, stream in enumerate(streams)))

    run(all_of_them)
    for number in range(CONNECTIONS):
        if number % 3 != 2:
            assert got[number] == b"".join(data[number]), f"connection {number}"
            expected += len(got[number])
    assert sum(map(len, got.values())) == expected
    server.wait_for(server.idle)
    server.stop()


def test_dry_buffers_are_waited_out(server: Server) -> None:
    """The server receives what is sent while it is stopped, several times the size of its buffers, all at once."""
    count, size = 40, 100_000  # which fits what the kernel keeps of a connection
    data = [random.Random(number).randbytes(size) for number in range(count)]
    assert count * size > 3 * POOL
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(count)]
        server.wait_for(server.idle + count)
        server.process.send_signal(signal.SIGSTOP)
        for client, content in zip(clients, data, strict=True):
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
        server.process.send_signal(signal.SIGCONT)
        for client, content in zip(clients, data, strict=True):
            received = bytearray()
            while part := client.recv(1 << 16):
                received += part
            assert received == content
    server.wait_for(server.idle)
    server.stop()


def test_a_small_window_makes_no_hole(server: Server) -> None:
    """A client that reads slowly, with a small window, gets all of it in order."""
    data = random.Random(0).randbytes(8_000_000)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect((HOST, server.port))
        sent, received = 0, bytearray()
        while len(received) < len(data):
            waiting = select.select([client], [client] if sent < len(data) else [], [], DEADLINE_S)
            assert any(waiting)
            if waiting[1]:
                sent += client.send(data[sent : sent + 100_000])
            if waiting[0]:
                received += client.recv(5000)
        assert received == data
    server.wait_for(server.idle)
    server.stop()


def test_clients_that_never_read_and_vanish(server: Server) -> None:
    """They take all buffers while they are there; when they are reset their buffers and descriptors come back."""
    with server.connect() as other:
        for _ in range(3):
            with server.connect() as client:
                client.setblocking(False)
                with suppress(BlockingIOError):
                    while True:
                        client.send(bytes(1 << 16))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.wait_for(server.idle + 1)
        content = random.Random(0).randbytes(POOL // 2)
        other.setblocking(False)
        received, sent = bytearray(), 0
        while len(received) < len(content):
            ready = select.select([other], [other] if sent < len(content) else [], [], DEADLINE_S)
            assert any(ready)
            if ready[1]:
                sent += other.send(content[sent:])
            if ready[0]:
                received += other.recv(1 << 16)
        assert received == content
    server.wait_for(server.idle)
    server.stop()


def test_out_of_descriptors(example_command: Command) -> None:
    """Connections wait until another one is closed, and each is served."""
    command = f"ulimit -n 12; exec {shlex.join(example_command('multishot_echo'))}"
    with started(["sh", "-c", command]) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
            assert client.recv(100) == b"%d" % number
            client.close()
        server.wait_for(server.idle)
        server.stop()


def test_an_interrupt_ends_it(example_command: Command) -> None:
    """With connections open, idle and stuck in a send; their clients see the end."""
    # Without -W error: what was prepared when the interrupt struck, and not submitted yet, is worth a ResourceWarning.
    command = [sys.executable, example_command("multishot_echo")[-1]]
    with started(command) as server, server.connect() as idle, server.connect() as stuck:
        idle.sendall(b"hello")
        assert idle.recv(100) == b"hello"
        stuck.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                stuck.send(bytes(1 << 16))
        server.stop()
        assert idle.recv(100) == b""


def test_port_in_use(example_command: Command) -> None:
    """It is said, and the program ends."""
    with socket.create_server(("", 0)) as taken:
        command = example_command("multishot_echo", str(taken.getsockname()[1]))
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_it_is_short(repository: object) -> None:
    """The whole program is what a screen shows."""
    text = (repository / "examples" / "multishot_echo.py").read_text()  # type: ignore[operator]
    assert len(text.splitlines()) <= 40
