"""Fixtures that run the examples, and compile the C originals that they are compared with."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from uring import liburing as L

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "vendor" / "liburing"
UPSTREAM = VENDOR / "upstream"
LIBRARY_SOURCES = ("setup", "queue", "register", "syscall", "version")
DEADLINE_S = 60


class UpstreamExamples:
    """The C originals, each compiled once into `folder`, at its first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiler = shlex.split(os.environ.get("CC", "cc"))

    def compile(self, name: str) -> Path:
        """The program made from upstream's `examples/NAME.c`."""
        binary = self.folder / name
        if not binary.exists():
            if not UPSTREAM.is_dir():
                pytest.skip("liburing's source is not there: run vendor/liburing/vendor.py")
            if shutil.which(self.compiler[0]) is None:
                pytest.skip(f"no C compiler: {self.compiler[0]}")
            self._write_version_header()
            common = [self._object(UPSTREAM / "src" / f"{source}.c") for source in LIBRARY_SOURCES]
            common.append(self._object(UPSTREAM / "examples" / "helpers.c"))
            source = UPSTREAM / "examples" / f"{name}.c"
            self._run(*self._flags(), "-o", binary, source, *common, "-lpthread")
        return binary

    def _write_version_header(self) -> None:
        header = self.folder / "liburing" / "io_uring_version.h"
        header.parent.mkdir(exist_ok=True)
        major, minor = json.loads((VENDOR / "liburing.lock").read_text(encoding="utf-8"))["version"].split(".")
        header.write_text(f"#define IO_URING_VERSION_MAJOR {major}\n#define IO_URING_VERSION_MINOR {minor}\n")

    def _flags(self) -> list[str]:
        folders = (ROOT / "uring" / "native", self.folder, UPSTREAM / "src" / "include", UPSTREAM / "src")
        includes = [f"-I{folder}" for folder in folders]
        # -w: the originals' warnings are not ours to judge.
        return [*includes, "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-DCONFIG_HAVE_MEMFD_CREATE", "-O1", "-w"]

    def _object(self, source: Path) -> Path:
        target = self.folder / f"{source.stem}.o"
        if not target.exists():
            self._run(*self._flags(), "-c", "-o", target, source)
        return target

    def _run(self, *arguments: str | Path) -> None:
        done = subprocess.run([*self.compiler, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"the original does not compile:\n{done.stderr}"


@pytest.fixture(scope="session")
def upstream_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`upstream_example(name)`: the path of the program made from upstream's C example of that name.

    The name is the C file's without its ending, such as "link-cp".
    """
    return UpstreamExamples(tmp_path_factory.mktemp("upstream-examples")).compile


@pytest.fixture(scope="session")
def example_command() -> Callable[..., list[str]]:
    """`example_command(name, *args)`: the command line that runs examples/NAME.py, for tests that start it themselves.

    A warning ends the example, as it would end a test.
    """

    def command(name: str, *args: str | Path) -> list[str]:
        script = ROOT / "examples" / f"{name}.py"
        assert script.is_file(), f"no example {script}"
        return [sys.executable, "-W", "error", str(script), *map(str, args)]

    return command


@pytest.fixture(scope="session")
def run_example(example_command: Callable[..., list[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_example(name, *args, **kw)`: run examples/NAME.py to its end, its output captured as text.

    The keywords are those of `subprocess.run`. An example that does not end fails the test.
    """

    def run(name: str, *args: str | Path, check: bool = False, **kw: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": DEADLINE_S, **kw}
        return subprocess.run(example_command(name, *args), check=check, **options)

    return run


@pytest.fixture
def example_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """`example_module(name)`: examples/NAME.py imported, for tests of its parts."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module


@pytest.fixture
def open_copy(example_module: Callable[[str], ModuleType]) -> Iterator[Callable[[str, Path, Path], Any]]:
    """`open_copy(program, source, target)`: the copier of link_cp or io_uring_cp, ready over open files.

    What each request came back with is recorded in its `results`, as (kind, res); `on_result`, when set, is called
    with them before the copier goes on.
    """
    with ExitStack() as stack:

        def copier(program: str, source: Path, target: Path) -> Any:
            link_cp = example_module("link_cp")
            classes = {"link_cp": "LinkCopy", "io_uring_cp": "ReadWriteCopy"}
            ring = link_cp.setup_context(link_cp.QD)
            stack.callback(L.io_uring_queue_exit, ring)
            files = link_cp.open_infile(str(source)), link_cp.open_outfile(str(target))
            for file in files:
                stack.callback(os.close, file.fd)
            copy = getattr(example_module(program), classes[program])(ring, *files)
            progress = copy.progress

            def record(kind: int, res: int) -> int:
                copy.results.append((kind, res))
                if copy.on_result:
                    copy.on_result(kind, res)
                return progress(kind, res)

            copy.results, copy.on_result, copy.progress = [], None, record
            return copy

        yield copier
