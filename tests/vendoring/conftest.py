"""Every test here works on a copy of `vendor.py` in a folder of its own, with the lock of a miniature liburing.

The servers are real ones on the loopback interface, and `apt-get` is a script on PATH.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from vendor_room import VARIABLE, Site, pin, write_files


@pytest.fixture
def room(tmp_path: Path, repository: Path) -> Path:
    """A folder with `vendor.py` and nothing else."""
    folder = tmp_path / "room"
    folder.mkdir()
    shutil.copy(repository / "vendor" / "liburing" / "vendor.py", folder)
    return folder


@pytest.fixture
def vendor(room: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The copy of `vendor.py` as a module, on a machine without any route, with a lock of the miniature liburing."""
    for name in list(os.environ):
        if name == VARIABLE or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("PATH", "")
    spec = importlib.util.spec_from_file_location("vendor_under_test", room / "vendor.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec.loader.exec_module(module)
    # Port 9 of the loopback interface: refused at once.
    pin(module, "http://127.0.0.1:9")
    return module


@pytest.fixture
def give(vendor: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Name a folder of files, or a file of bytes, in URING_LIBURING_SOURCE."""

    def make(content: Mapping[str, bytes] | bytes) -> Path:
        path = tmp_path / "given"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            write_files(path, content)
        monkeypatch.setenv(VARIABLE, str(path))
        return path

    return make


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    """A factory of sites, stopped at the end of the test."""
    sites: list[Site] = []

    def make() -> Site:
        sites.append(Site())
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def upstream(make_site: Callable[[], Site], vendor: ModuleType) -> Site:
    """The server that the lock names as upstream; it has nothing yet."""
    site = make_site()
    pin(vendor, site.url)
    return site


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put an `apt-get` on PATH: a shell script that runs the given commands when asked for its sites."""

    def make(commands: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = folder / "apt-get"
        script.write_text(f"#!/bin/sh\n[ \"$*\" = 'indextargets --format $(SITE)' ] || exit 9\n{commands}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return make


@pytest.fixture
def run(vendor: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `vendor.py` with options: its exit code and what it printed to stdout and stderr."""

    def run_main(*arguments: str) -> tuple[int, str, str]:
        try:
            code = vendor.main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run_main
