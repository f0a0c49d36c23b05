"""Running the command `uring`, and what its copies print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Argument = str | bytes | Path
Command = Sequence[Argument]
URING = [sys.executable, "-m", "uring"]
CP = [*URING, "cp"]

# Python itself reports a failed write differently when its streams are not buffered.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
}


def run(command: Command, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its output as text."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT} | options
    return subprocess.run(command, timeout=30, check=False, encoding="utf-8", errors="backslashreplace", **options)


SUMMARY = r"[\d.]+ (B|KiB|MiB) in \d+\.\d\d s, [\d.]+ (B|KiB|MiB|GiB|TiB)/s\n"
