"""Fixtures of the tests of lifetimes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_in_flight import WAYS, MiB, Start, pipes, sockets
from scale import LONG

from uring import Ring


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 8 entries."""
    with Ring(8, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture(params=["pipe", "socket"])
def source(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """(end to read, end to write) of a pipe and of a socket."""
    with (pipes if request.param == "pipe" else sockets)() as [pair]:
        yield pair


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[Start, int, int]]:
    """(how to start it, end to read, end to write) of each way to wait for data."""
    name = request.param
    with (sockets if name.startswith("recv") else pipes)() as [(reader, writer)]:
        yield WAYS[name], reader, writer


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 32 MiB, each MiB filled with a byte of its own from 1 on, that O_DIRECT can read."""
    path = tmp_path_factory.mktemp("direct") / "large"
    with path.open("wb") as file:
        for number in range(32):
            file.write(bytes([number + 1]) * MiB)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    yield path
    path.unlink()


@pytest.fixture
def direct(large: Path) -> Iterator[int]:
    """That file, opened with O_DIRECT."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    yield fd
    os.close(fd)
