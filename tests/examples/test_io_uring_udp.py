"""examples/io_uring_udp.py, on loopback, beside its C original."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
from c_style import require_opcode

DEADLINE_S = 30
LARGEST = 4096 - 16 - 128  # a buffer minus the header and the room for an address


class Server:
    """A running echo server and a client's socket."""

    def __init__(self, process: subprocess.Popen[str], sock: socket.socket, port: int) -> None:
        self.process, self.sock = process, sock
        self.address = ("::1" if sock.family == socket.AF_INET6 else "127.0.0.1", port)

    def send(self, data: bytes) -> None:
        """Send a datagram to it."""
        self.sock.sendto(data, self.address)

    def receive(self) -> bytes:
        """The next answer."""
        data, sender = self.sock.recvfrom(1 << 16)
        assert sender[:2] == self.address
        return data

    def stop(self, number: int = signal.SIGTERM) -> tuple[dict[str, int], str]:
        """End it by a signal; return the counts that it prints, and its messages."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, err
        return {name: int(count) for name, count in (item.split("=") for item in out.split())}, err


@contextmanager
def started(command: list[str], family: int = socket.AF_INET, port_on_stderr: bool = False) -> Iterator[Server]:
    """Run a server that prints its port at the end of its first line; kill it at the end if it still runs."""
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sock,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        sock.settimeout(DEADLINE_S)
        try:
            yield Server(process, sock, read_port(process.stderr if port_on_stderr else process.stdout))
        finally:
            process.kill()


def read_port(stream: IO[str] | None) -> int:
    """The number at the end of the first line."""
    assert stream is not None
    assert select.select([stream], [], [], DEADLINE_S)[0], "the server prints no port"
    line = stream.readline()
    found = re.search(r" (\d+)$", line)
    assert found, f"no port in {line!r}"
    return int(found[1])


@pytest.fixture
def serve(example_command: Callable[..., list[str]]) -> Iterator[Callable[..., Server]]:
    """`serve(*args, family=AF_INET)`: our server, running on a port that the kernel chose."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as multishot recvmsg is
    with ExitStack() as stack:
        yield lambda *args, family=socket.AF_INET: stack.enter_context(
            started(example_command("io_uring_udp", *map(str, args)), family)
        )


def test_same_client_gets_the_same_datagrams_from_the_original(
    serve: Callable[..., Server], upstream_example: Callable[[str], Path]
) -> None:
    """Both servers answer a datagram of any size that fits, also an empty one, with the same bytes, and drop others."""
    sizes = (0, 1, 100, 1500, LARGEST - 1, LARGEST, LARGEST + 1, 9000, 7)
    datagrams = [bytes(index % 251 for index in range(size)) for size in sizes]
    ours = serve()
    answers = []
    with started([str(upstream_example("io_uring-udp"))], port_on_stderr=True) as original:
        for server in (ours, original):
            for datagram in datagrams:
                server.send(datagram)
            answers.append([server.receive() for size in sizes if size <= LARGEST])
    assert answers[0] == answers[1] == [datagram for datagram in datagrams if len(datagram) <= LARGEST]
    counts, messages = ours.stop()
    assert counts == {"received": 9, "sent": 7, "truncated": 2, "nobufs": 0}
    assert messages.splitlines() == [
        f"truncated datagram: {LARGEST} of {size} bytes fit the buffer" for size in (LARGEST + 1, 9000)
    ]


@pytest.mark.parametrize("buffers", [1, 4])
def test_dry_buffer_ring_loses_nothing(serve: Callable[..., Server], buffers: int) -> None:
    """A burst that empties the buffer ring is answered completely: recvmsg is armed again after -ENOBUFS."""
    server = serve("-n", buffers)
    # The server sees all of it at once.
    server.process.send_signal(signal.SIGSTOP)
    for number in range(60):
        server.send(b"%d" % number)
    server.process.send_signal(signal.SIGCONT)
    assert sorted(int(server.receive()) for _ in range(60)) == list(range(60))
    counts, _messages = server.stop()
    assert counts["received"] == counts["sent"] == 60
    assert counts["nobufs"] > 0


def test_burst_larger_than_the_completion_queue_is_answered(serve: Callable[..., Server]) -> None:
    """Many rounds of datagrams, more of them than there are buffers or queue entries, all come back."""
    server = serve()
    for turn in range(30):
        for number in range(100):
            server.send(b"%d" % (turn * 100 + number))
        assert sorted(int(server.receive()) for _ in range(100)) == list(range(turn * 100, turn * 100 + 100))
    assert server.stop()[0]["sent"] == 3000


def test_each_client_gets_its_own_answers(serve: Callable[..., Server]) -> None:
    """Answers go to the address in the buffer of the datagram that they answer."""
    server = serve()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.settimeout(DEADLINE_S)
            client.sendto(b"%d" % number, server.address)
        assert [int(client.recv(100)) for client in clients] == list(range(20))


def test_verbose_names_the_sender(serve: Callable[..., Server]) -> None:
    """With -v the length of each datagram and the address that it came from are printed."""
    server = serve("-v")
    server.send(b"hello")
    assert server.receive() == b"hello"
    port = server.sock.getsockname()[1]
    assert server.stop()[1] == f"received 5 bytes from [127.0.0.1]:{port}\n"


def test_ipv6(serve: Callable[..., Server]) -> None:
    """With -6 it serves IPv6, and -v prints such addresses."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel lacks IPv6")
    server = serve("-6", "-v", family=socket.AF_INET6)
    server.send(b"hello")
    assert server.receive() == b"hello"
    port = server.sock.getsockname()[1]
    assert server.stop()[1] == f"received 5 bytes from [::1]:{port}\n"


def test_truncated_datagrams_give_their_buffers_back(serve: Callable[..., Server]) -> None:
    """With -b 10 only what fits into 1024 bytes, header and address included, comes back; the rest costs no buffer."""
    fits = 1024 - 16 - 128
    server = serve("-b", 10, "-n", 1)
    for size in (fits + 1, 1024, 5000, fits):
        server.send(bytes(size))
    assert server.receive() == bytes(fits)
    assert server.stop()[0]["truncated"] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(serve: Callable[..., Server], number: int) -> None:
    """A signal ends the server with status 0 and no complaint, and the counts tell what it did."""
    server = serve()
    server.send(b"hello")
    assert server.receive() == b"hello"
    assert server.stop(number) == ({"received": 1, "sent": 1, "truncated": 0, "nobufs": 0}, "")


def test_port_in_use_is_reported(run_example: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """A port that is taken ends it with the reason."""
    require_opcode("IORING_OP_SEND_ZC")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        done = run_example("io_uring_udp", "-p", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr == "[Errno 98] Address already in use\n"
