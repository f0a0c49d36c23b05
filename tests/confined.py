"""Commands that run where io_uring is denied, or with a view of their own of the file system."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

# Runs the rest of its arguments under a seccomp filter that answers io_uring_setup (425 on both machines) with the
# errno in its first argument.
DENY = """
import ctypes, os, platform, struct, sys
answer, command = int(sys.argv[1]), sys.argv[2:]
machine = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
program = b"".join(struct.pack("=HBBI", *step) for step in [
    (0x20, 0, 0, 4),                  # the architecture
    (0x15, 0, 3, machine),
    (0x20, 0, 0, 0),                  # the system call's number
    (0x15, 0, 1, 425),
    (0x06, 0, 0, 0x50000 | answer),   # refused with an errno
    (0x06, 0, 0, 0x7FFF0000),         # allowed
])
memory = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(memory)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.addressof(filter), 0, 0):
    sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
os.execv(command[0], command)
"""


def denied(command: Sequence[str | bytes | Path], code: int = errno.EPERM) -> list[str | bytes | Path]:
    """The command that runs `command` with io_uring_setup denied by seccomp, which answers with `code`."""
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("the seccomp filter here is for x86_64 and aarch64")
    return [sys.executable, "-I", "-S", "-c", DENY, str(code), *command]


def privately(script: str, command: Sequence[str | bytes | Path]) -> list[str | bytes | Path]:
    """The command that runs `command` after a shell script in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command")
    isolate = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--mount"]
    if subprocess.run([*isolate, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this kernel does not let this user have a mount namespace")
    return [*isolate, "sh", "-ec", script + '\nexec "$@"', "sh", *command]
