"""C baselines: our own programs in `c/`, compiled against the vendored liburing when they are first needed."""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from .harness import Missing

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"
SOURCES = Path(__file__).resolve().parent / "c"


def compiled(source: Path) -> Path:
    """A C program over the vendored liburing, compiled when it, a header beside it, or the library is newer.

    Raises:
        Missing: no compiler, no source, or the compiler refuses.
    """
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    try:
        build_ffi: Any = importlib.import_module("build_ffi")
        tree = build_ffi.vendor.materialise()
        compiler = build_ffi.compiler()
    except Exception as error:
        raise Missing(str(error)) from error
    generated = ROOT / "build" / "generated"
    build_ffi.write_version_header(build_ffi.vendor.Lock.load(), generated)
    inputs = [source, *(tree / "src" / name for name in build_ffi.SOURCES)]
    program = BUILD / source.stem
    newest = max(path.stat().st_mtime for path in [*inputs, *source.parent.glob("*.h")])
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
