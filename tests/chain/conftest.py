"""Fixtures of the tests of chains."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chains import LONG, Pipe

import uring


@pytest.fixture
def ring() -> Iterator[uring.Ring]:
    """A ring of 16 entries."""
    with uring.Ring(16, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def make_pipe() -> Iterator[Callable[[], Pipe]]:
    """A factory of pipes that are closed at the end."""
    pipes: list[Pipe] = []

    def make() -> Pipe:
        pipes.append(Pipe())
        return pipes[-1]

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def pipe(make_pipe: Callable[[], Pipe]) -> Pipe:
    """A pipe in which nothing is."""
    return make_pipe()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of 10 bytes."""
    path = tmp_path / "small"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor that every read fails on, when it is tried and not before."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
