"""examples/worker_pool.py: connections passed from ring to ring, between threads."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from c_style import require_opcode

DEADLINE_S = 30
CONNECTIONS = 200
Command = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def messages() -> None:
    """Skip where files cannot be passed from ring to ring."""
    require_opcode("IORING_OP_MSG_RING", "IORING_OP_SEND_ZC")


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The running program and its port; it is killed at the end if it still runs."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], DEADLINE_S)[0], "the server prints no port"
            line = process.stdout.readline()
            assert line.startswith("listening on port "), (line, process.communicate())
            yield process, int(line.split()[-1])
        finally:
            process.kill()


def served(process: subprocess.Popen[str]) -> list[tuple[int, int]]:
    """(connections, bytes) of each worker, when the program has ended by itself, without a word of complaint."""
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    return [
        (int(count), int(size)) for count, size in re.findall(r"^worker \d+: connections=(\d+) bytes=(\d+)$", out, re.M)
    ]


def connect(port: int) -> socket.socket:
    """A client."""
    return socket.create_connection(("127.0.0.1", port), DEADLINE_S)


def converse(client: socket.socket, data: bytes) -> bytes:
    """What comes back for some bytes, and nothing behind it."""
    sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
    sender.start()
    received = bytearray()
    while part := client.recv(1 << 16):
        received += part
    sender.join(DEADLINE_S)
    return bytes(received)


@pytest.mark.parametrize("workers", [1, 4])
def test_every_byte_of_every_connection(example_command: Command, workers: int) -> None:
    """200 clients, all open at once, get back what they sent; the workers' counts add up, and each has served."""
    source = random.Random(workers)
    data = [source.randbytes(source.choice([0, 1, 100, 5000, 70_000])) for _ in range(CONNECTIONS)]
    command = example_command("worker_pool", "--workers", str(workers), "--connections", str(CONNECTIONS))
    with started(command) as (process, port), ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in data]
        got = dict[int, bytes]()

        def talk(numbers: range) -> None:
            for number in numbers:
                got[number] = converse(clients[number], data[number])

        threads = [threading.Thread(target=talk, args=(range(start, CONNECTIONS, 4),)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert [got.get(number) for number in range(CONNECTIONS)] == data
        counts = served(process)
    assert len(counts) == workers
    assert [count for count, _ in counts] == [CONNECTIONS // workers] * workers
    assert sum(size for _, size in counts) == sum(map(len, data))
    assert all(size > 0 for _, size in counts)


def test_slots_are_used_again(example_command: Command) -> None:
    """More connections, one after the other, than one worker's table has slots for; no descriptor appears."""
    count = 1100
    with started(example_command("worker_pool", "--workers", "1", "--connections", str(count))) as (process, port):
        with connect(port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            before = os.listdir(f"/proc/{process.pid}/fd")
        for number in range(count - 2):
            with connect(port) as client:
                client.sendall(b"%04d" % number)
                assert client.recv(4, socket.MSG_WAITALL) == b"%04d" % number
        with connect(port) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            assert os.listdir(f"/proc/{process.pid}/fd") == before
        assert served(process) == [(count, 4 * (count - 2) + 2)]


def test_an_interrupt_ends_it(example_command: Command) -> None:
    """With clients connected and silent: the workers are woken, and the clients' connections end."""
    with started(example_command("worker_pool", "--workers", "3")) as (process, port), ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in range(9)]
        for client in clients:
            client.sendall(b"hello")
            assert client.recv(5, socket.MSG_WAITALL) == b"hello"
        process.send_signal(signal.SIGINT)
        assert served(process) == [(3, 15)] * 3
        for client in clients:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""


def test_clients_that_vanish(example_command: Command) -> None:
    """A connection that is reset, with data unread, is one client less; the next is served."""
    with started(example_command("worker_pool", "--workers", "2", "--connections", "5")) as (process, port):
        for _ in range(4):
            client = connect(port)
            client.sendall(b"x" * 100_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        with connect(port) as client:
            assert converse(client, b"still there") == b"still there"
        assert [count for count, _ in served(process)] == [3, 2]


def test_port_in_use(example_command: Command) -> None:
    """It is said, and the program ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = example_command("worker_pool", "--port", str(taken.getsockname()[1]))
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
