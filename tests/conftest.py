"""Fixtures that every test may use, and the guard against leaked descriptors."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contents import CONTENT

from uring import liburing as L

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--opcode-table=PATH` records which opcodes the tests ran, see opcode_table.py."""
    parser.addoption("--opcode-table", type=Path, metavar="PATH", help="write a table of the opcodes that ran to PATH")


def pytest_configure(config: pytest.Config) -> None:
    """Start recording, if that was asked for."""
    path = config.getoption("--opcode-table")
    if path is not None:
        from opcode_table import OpcodeTable

        config.pluginmanager.register(OpcodeTable(path))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


def _open_descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def _new_descriptors(before: dict[int, str]) -> dict[int, str]:
    return {fd: target for fd, target in _open_descriptors().items() if before.get(fd) != target}


@pytest.fixture(autouse=True)
def no_leaked_descriptors() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = _open_descriptors()
    yield
    leaked = _new_descriptors(before)
    if leaked:  # only then, since collecting takes longer than most tests
        gc.collect()
        leaked = _new_descriptors(before)
    assert not leaked, f"descriptors left open: {leaked}"


@pytest.fixture
def make_ring() -> Iterator[Callable[..., Any]]:
    """A factory of initialised `struct io_uring *`, exited at the end of the test.

    `make_ring(entries, flags, **params)`: the params are fields of `struct io_uring_params`. A setup flag that this
    kernel does not have skips the test and names the flag.
    """
    rings: list[Any] = []

    def make(entries: int = 8, flags: int = 0, **params: int) -> Any:
        ring = L.io_uring()
        ret = L.io_uring_queue_init_params(entries, ring, L.io_uring_params(flags=flags, **params))
        if ret == -22 and flags:
            names = [name for name in dir(L.lib) if name.startswith("IORING_SETUP_") and flags & getattr(L, name)]
            pytest.skip(f"this kernel lacks one of {', '.join(names)}")
        assert ret >= 0, f"io_uring_queue_init_params: {os.strerror(-ret)}"
        rings.append(ring)
        return ring

    yield make
    for ring in rings:
        if ring.ring_fd >= 0 or ring.enter_ring_fd >= 0:
            L.io_uring_queue_exit(ring)


@pytest.fixture
def ring(make_ring: Callable[..., Any]) -> Any:
    """An initialised `struct io_uring *` of 8 entries."""
    return make_ring(8)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends, to read and to write."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 4 KiB in which no two neighbouring bytes are the same."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    """That file, open for reading and writing."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected UNIX stream sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A TCP socket that listens on a free port of the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def tcp(listener: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected TCP sockets: the client, the server."""
    with socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server
