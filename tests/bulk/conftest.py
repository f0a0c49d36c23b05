"""Fixtures of the tests of bulk calls."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contents_bulk import SIZE

from uring import Ring, bulk_threads
from uring.builders.paths import BASIC_AND_BIRTH


@pytest.fixture(scope="session")
def data() -> bytes:
    """A MiB without a pattern."""
    return random.Random(7).randbytes(SIZE)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> Path:
    """A file of that."""
    path = tmp_path_factory.mktemp("bulk") / "large"
    path.write_bytes(data)
    return path


@pytest.fixture
def file(large: Path) -> Iterator[int]:
    """That file, open for reading."""
    fd = os.open(large, os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """An empty file, open for reading and writing."""
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    yield fd
    os.close(fd)


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 64 entries."""
    with Ring(64, exit_timeout=10.0) as opened:
        yield opened


def by_threads() -> Any:
    """The bulk calls by threads, as methods."""
    calls = SimpleNamespace(
        open_many=bulk_threads.open_many, unlink_many=bulk_threads.unlink_many, read_files=bulk_threads.read_files
    )
    calls.stat_many = lambda paths, **settings: bulk_threads.stat_many(paths, **{"mask": BASIC_AND_BIRTH, **settings})
    calls.write_many = partial(bulk_threads.transfer, True)

    def read_many(fd: Any, offsets: Any, lengths: Any = None, out: Any = None, **settings: Any) -> Any:
        return bulk_threads.transfer(False, fd, offsets, lengths, out, **settings)

    calls.read_many = read_many
    return calls


@pytest.fixture(params=["io_uring", "threads"])
def calls(request: pytest.FixtureRequest) -> Iterator[Any]:
    """What has the bulk calls as methods: a ring, and threads, which must do the same."""
    if request.param == "threads":
        yield by_threads()
    else:
        with Ring(64, exit_timeout=10.0) as opened:
            yield opened
