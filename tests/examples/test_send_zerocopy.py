"""examples/send_zerocopy.py in both roles, on loopback, beside its C original."""

from __future__ import annotations

import re
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from c_style import require_opcode

DEADLINE_S = 30
ROUNDS = 16  # what a sender does at least, also when its time is 0
PATTERN = b"abcdefghijklmnopqrstuvwxyz"
SIZE = 50_000

KINDS = {
    "fixed buffer": ("-z", "1", "-b", "1"),
    "unregistered buffer": ("-z", "1", "-b", "0"),
    "deferred task work": ("-z", "1", "-d"),
    "plain": ("-z", "0"),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def kernel_6_0() -> None:
    """Zero-copy sends came with kernel 6.0."""
    require_opcode("IORING_OP_SEND_ZC")


def counts(output: str) -> dict[str, int]:
    """The whole numbers that a run printed as name=number; the original's too."""
    return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)(?![.\d])", output)}


class Receiver:
    """A running receiver."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def result(self) -> dict[str, int]:
        """What it counted, once it has ended well."""
        out, err = self.process.communicate(timeout=DEADLINE_S)
        assert (self.process.returncode, err) == (0, "")
        return counts(out)


@contextmanager
def killed_at_the_end(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the test."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def receive(example_command: Callable[..., list[str]]) -> Iterator[Callable[..., Receiver]]:
    """`receive(*args)`: our receiver, running on a port that the kernel chose."""

    def start(*args: str | int) -> Receiver:
        command = example_command("send_zerocopy", "-R", "-p", "0", "-t", str(DEADLINE_S), *map(str, args))
        process = stack.enter_context(killed_at_the_end(command))
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], DEADLINE_S)[0], "the receiver prints no port"
        line = process.stdout.readline()
        assert line.startswith("listening on port "), (line, process.communicate())
        return Receiver(process, int(line.split()[-1]))

    with ExitStack() as stack:
        yield start


@pytest.fixture
def send(run_example: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., dict[str, int]]:
    """`send(*args)`: run our sender for as short as it goes, return what it counted."""

    def run(*args: str | int) -> dict[str, int]:
        done = run_example("send_zerocopy", "-t", "0", *map(str, args))
        assert done.returncode == 0, done.stderr
        return counts(done.stdout)

    return run


@every_kind
def test_tcp_stream_is_the_pattern(example_command: Callable[..., list[str]], kind: tuple[str, ...]) -> None:
    """What the sender counts is what arrives: the pattern, unbroken, whichever way it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        port = str(listener.getsockname()[1])
        options = ("-4", "-p", port, "-t", "0", "-n", "1", "-v", "-s", str(SIZE), *kind)
        with killed_at_the_end(example_command("send_zerocopy", *options, "tcp")) as process:
            with listener.accept()[0] as connection:
                stream = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    assert stream == (PATTERN * (len(stream) // len(PATTERN) + 1))[: len(stream)]
    sent = counts(out)
    assert (sent["packets"], sent["bytes"]) == (ROUNDS, len(stream))


@every_kind
def test_receiver_counts_what_the_sender_counts(
    receive: Callable[..., Receiver], send: Callable[..., dict[str, int]], kind: tuple[str, ...]
) -> None:
    """Over TCP the receiver verifies and counts every byte."""
    receiver = receive("-4", "-v", "tcp")
    sent = send("-4", "-p", receiver.port, "-n", 1, "-v", "-s", SIZE, *kind, "tcp")
    assert sent["bytes"] == receiver.result()["bytes"]
    assert sent["packets"] == ROUNDS


@pytest.mark.parametrize("mode", ["1", "0"])
def test_receiver_gets_the_same_from_the_original_sender(
    receive: Callable[..., Receiver],
    send: Callable[..., dict[str, int]],
    upstream_example: Callable[[str], Path],
    mode: str,
) -> None:
    """The original's sender and ours, with the same options, satisfy the same verifying receiver."""
    options = ("-4", "-D", "127.0.0.1", "-n", "1", "-v", "-s", str(SIZE), "-z", mode)
    receiver = receive("-4", "-v", "tcp")
    ours = send(*options, "-p", receiver.port, "tcp")
    assert receiver.result()["bytes"] == ours["bytes"]
    assert ours["packets"] == ROUNDS

    receiver = receive("-4", "-v", "tcp")
    command = [upstream_example("send-zerocopy"), *options, "-p", str(receiver.port), "-t", "0", "tcp"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert receiver.result()["bytes"] >> 20 == counts(done.stdout)["MB"] > 0


def test_original_receiver_takes_our_stream(
    send: Callable[..., dict[str, int]], upstream_example: Callable[[str], Path]
) -> None:
    """The original's receiver reads our sender's stream to its end, and ends well."""
    with socket.socket() as reserved:
        # Both set SO_REUSEPORT, so the port stays ours until the receiver has bound it too.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        command = [str(upstream_example("send-zerocopy")), "-4", "-D", "127.0.0.1", "-R", "-p", str(port), "tcp"]
        with killed_at_the_end(command) as process:
            wait_for_listener(process, port)
            assert send("-4", "-p", port, "-n", 8, "-s", SIZE, "tcp")["packets"] == ROUNDS * 8
            process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def wait_for_listener(process: subprocess.Popen[str], port: int) -> None:
    """Wait until something listens on the port."""
    listening = f":{port:04X} 00000000:0000 0A "
    for _ in range(100 * DEADLINE_S):
        if listening in Path("/proc/net/tcp").read_text():
            return
        try:
            process.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("the receiver ended")
    pytest.fail("nothing listens")


@every_kind
def test_udp_datagrams_are_the_pattern(
    receive: Callable[..., Receiver], send: Callable[..., dict[str, int]], kind: tuple[str, ...]
) -> None:
    """Over UDP in batches each datagram that arrives has the right length and content; SIGINT ends the receiver."""
    receiver = receive("-4", "-s", 1000, "udp")
    sent = send("-4", "-p", receiver.port, "-n", 4, "-s", 1000, *kind, "udp")
    assert (sent["packets"], sent["bytes"]) == (ROUNDS * 4, ROUNDS * 4 * 1000)
    receiver.process.send_signal(signal.SIGINT)
    received = receiver.result()
    assert 1 <= received["packets"] <= sent["packets"]
    assert received["bytes"] == received["packets"] * 1000


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_ipv6(receive: Callable[..., Receiver], send: Callable[..., dict[str, int]], protocol: str) -> None:
    """With -6 both roles use IPv6."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this kernel lacks IPv6")
    receiver = receive("-6", "-s", 1000, protocol)
    assert send("-6", "-p", receiver.port, "-n", 2, "-s", 1000, protocol)["packets"] == ROUNDS * 2
    if protocol == "udp":
        receiver.process.send_signal(signal.SIGINT)
    assert receiver.result()["bytes"] >= 1000


def test_every_zero_copy_send_brings_a_notification(
    receive: Callable[..., Receiver], send: Callable[..., dict[str, int]]
) -> None:
    """A large batch of zero-copy sends is followed by as many notifications; on loopback each says: copied."""
    receiver = receive("-4", "tcp")
    sent = send("-4", "-p", receiver.port, "-n", 512, "-s", 1000, "-u", "tcp")
    assert sent["packets"] == sent["notifications"] == sent["copied"] == ROUNDS * 512
    assert receiver.result()["bytes"] == sent["bytes"]


def test_plain_sends_bring_no_notification(
    receive: Callable[..., Receiver], send: Callable[..., dict[str, int]]
) -> None:
    """With -z 0 nothing is zero-copy."""
    receiver = receive("-4", "tcp")
    assert send("-4", "-p", receiver.port, "-z", 0, "-u", "tcp")["notifications"] == 0


@pytest.mark.parametrize("kind", [("-z", "1"), ("-z", "0")], ids=["zero copy", "plain"])
def test_sigint_ends_a_sender_that_nobody_reads_from(
    example_command: Callable[..., list[str]], kind: list[str]
) -> None:
    """A sender that is stuck, with sends or notifications that its peer holds back, ends well at SIGINT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        port = str(listener.getsockname()[1])
        command = example_command("send_zerocopy", "-4", "-p", port, "-t", str(DEADLINE_S), *kind, "tcp")
        with killed_at_the_end(command) as process, listener.accept()[0] as connection:
            assert connection.recv(1, socket.MSG_PEEK)
            process.send_signal(signal.SIGINT)
            out, _err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "packets=" in out
    assert "connection failure" not in out


def test_receiver_notices_wrong_tcp_data(receive: Callable[..., Receiver]) -> None:
    """With -v a byte that breaks the pattern ends the receiver with an error."""
    receiver = receive("-4", "-v", "tcp")
    with socket.create_connection(("127.0.0.1", receiver.port), DEADLINE_S) as connection:
        connection.sendall(PATTERN * 100 + b"x")
        connection.shutdown(socket.SHUT_WR)
        _out, err = receiver.process.communicate(timeout=DEADLINE_S)
    assert receiver.process.returncode == 1
    assert "data mismatch" in err


@pytest.mark.parametrize(("datagram", "complaint"), [(b"abx", "data mismatch"), (b"abcd", "a datagram of 4 bytes")])
def test_receiver_notices_wrong_datagrams(receive: Callable[..., Receiver], datagram: bytes, complaint: str) -> None:
    """A datagram of another length, or with other content, ends the receiver with an error."""
    receiver = receive("-4", "-s", len("abc"), "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(datagram, ("127.0.0.1", receiver.port))
    _out, err = receiver.process.communicate(timeout=DEADLINE_S)
    assert receiver.process.returncode == 1
    assert complaint in err


def test_disconnect_is_reported_and_what_was_sent_counts(example_command: Callable[..., list[str]]) -> None:
    """A peer that resets the connection ends the sender well, with a word about it and its counts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        port = str(listener.getsockname()[1])
        command = example_command("send_zerocopy", "-4", "-p", port, "-t", str(DEADLINE_S), "tcp")
        with killed_at_the_end(command) as process:
            with listener.accept()[0] as connection:
                # Closing with unread data resets.
                assert connection.recv(1, socket.MSG_PEEK)
            out, _err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert out.startswith("connection failure: ")
    assert "packets=" in out


def test_refused_connection_is_an_error(run_example: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """A sender that reaches nobody says so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        done = run_example("send_zerocopy", "-4", "-p", str(bound.getsockname()[1]), "-n", "1", "tcp")
    assert (done.returncode, done.stderr) == (1, "[Errno 111] Connection refused\n")


@pytest.mark.parametrize(
    "args", [("-4", "-n", "2", "-v", "tcp"), ("-4", "-n", "513", "udp"), ("-4", "-s", "65536", "udp"), ("tcp",)]
)
def test_wrong_options_are_refused(
    run_example: Callable[..., subprocess.CompletedProcess[str]], args: tuple[str, ...]
) -> None:
    """Options that cannot work together, or out of range, print the usage."""
    done = run_example("send_zerocopy", *args)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
