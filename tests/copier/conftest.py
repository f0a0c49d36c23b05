"""Fixtures of the tests of the copier."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from copying import BLOCK, write

from uring import copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of random bytes: 40 blocks and a bit."""
    return write(tmp_path / "source", 40 * BLOCK + 123)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The name of a file that does not exist."""
    return tmp_path / "target"


@pytest.fixture(autouse=True)
def nothing_in_flight() -> Iterator[None]:
    """Fail a test after which the kernel may still touch the memory of a copy."""
    yield
    assert copy._pinned == set()


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """A factory of block devices over files."""
    losetup = shutil.which("losetup")
    if os.geteuid() or losetup is None:
        pytest.skip("loop devices need root and the losetup command")
    devices: list[str] = []

    def attach(file: Path) -> Path:
        child = subprocess.run(
            [losetup, "--find", "--show", str(file)], capture_output=True, text=True, timeout=30, check=False
        )
        if child.returncode:
            pytest.skip(f"this kernel lacks loop devices: {child.stderr.strip()}")
        devices.append(child.stdout.strip())
        return Path(devices[-1])

    yield attach
    for device in devices:
        subprocess.run([losetup, "--detach", device], timeout=30, check=True)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engines of the copies made in a test, oldest first."""
    seen: list[Any] = []
    initialise = copy._Engine.__init__

    def initialise_and_note(engine: Any, *arguments: Any) -> None:
        initialise(engine, *arguments)
        seen.append(engine)

    monkeypatch.setattr(copy._Engine, "__init__", initialise_and_note)
    return seen
