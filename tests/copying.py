"""What the tests of the copier share."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK = 16 << 10


class Stop(Exception):
    """What a test interrupts a copy with."""


def write(path: Path, size: int, seed: int = 0) -> Path:
    """Make a file of random bytes."""
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def run(code: str, *arguments: object) -> Any:
    """What a child that runs `code` with `arguments` in sys.argv prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def attempt(source: Path, target: Path) -> str:
    """The code of a child that copies with one block in flight and prints what became of it as JSON."""
    return f"""
import json, os
from uring import copy
try:
    result = copy.copy_file({str(source)!r}, {str(target)!r}, depth=1, block_size={BLOCK})
    found = dict(size=result.size)
except OSError as error:
    found = dict(errno=error.errno, strerror=error.strerror, filename=error.filename,
                 doing=getattr(error, "doing", None), incomplete=getattr(error, "incomplete", None))
print(json.dumps(found | dict(pinned=len(copy._pinned), exists=os.path.exists({str(target)!r}))))
"""


def raising_after(calls: int) -> Callable[[int, int], None]:
    """A progress callback that stops the copy."""
    left = iter(range(calls))

    def progress(*_: int) -> None:
        if next(left, None) is None:
            raise Stop

    return progress
