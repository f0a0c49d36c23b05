"""C baselines: our own programs, compiled against the vendored liburing when they are first needed."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .harness import Done, Measured, Missing
from .workspace import BUILD, ROOT

SOURCES = Path(__file__).parent / "c"


def compiled(name: str) -> Path:
    """A C program over the vendored liburing, compiled when it or the library is newer.

    Raises:
        Missing: no compiler, no source, or the compiler refuses.
    """
    source = SOURCES / f"{name}.c"
    sys.path.insert(0, str(ROOT))
    try:
        build_ffi: Any = importlib.import_module("build_ffi")
        tree = build_ffi.vendor.materialise()
        compiler = build_ffi.compiler()
    except Exception as error:
        raise Missing(str(error)) from error
    finally:
        sys.path.remove(str(ROOT))
    generated = ROOT / "build" / "generated"
    build_ffi.write_version_header(build_ffi.vendor.Lock.load(), generated)
    inputs = [source, *(tree / "src" / name for name in build_ffi.SOURCES)]
    program = BUILD / source.stem
    newest = max(path.stat().st_mtime for path in (*inputs, SOURCES / "bench.h"))
    if program.is_file() and newest <= program.stat().st_mtime:
        return program
    BUILD.mkdir(parents=True, exist_ok=True)
    defines = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in build_ffi.DEFINES]
    command = [*compiler, "-std=gnu11", "-O2", "-w", *defines, *build_ffi.include_flags(tree, generated)]
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    command += [*map(str, inputs), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{shlex.join(compiler)} refuses {source.name}: {done.stderr.strip()[-300:]}")
    fresh.replace(program)
    return program


def run_program(program: Path, operations: int, nbytes: int, *arguments: object) -> Done:
    """Run a program that prints the wall, user and system nanoseconds of its work."""
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program.name} failed: {done.stderr.strip()}")
    wall, user, system = map(int, done.stdout.split()[:3])
    return Done(operations, nbytes, measured=Measured(wall, user, system))


def program_lane(name: str, per_batch: int, *arguments: object) -> Callable[[int], Done]:
    """A program that takes how many batches of how many, and the rest, as what a lane runs."""
    program = compiled(name)
    return lambda batches: run_program(program, batches * per_batch, 0, batches, per_batch, *arguments)
