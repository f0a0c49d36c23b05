"""The example reg-wait: waits whose arguments lie in a registered region, beside the C original."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def skip_on_old_kernel(done: subprocess.CompletedProcess[str]) -> None:
    """Skip the test when the example says that the kernel is too old."""
    if done.returncode == 1 and "lacks registered waits" in done.stderr:
        pytest.skip("this kernel lacks IORING_MEM_REGION_REG_WAIT_ARG")


def test_both_waits_end_as_in_the_original(run_example: Run, upstream_example: Callable[[str], Path]) -> None:
    """The first wait times out and the second submits its reads and ends, silently, here and in the C program."""
    ours = run_example("reg_wait")
    skip_on_old_kernel(ours)
    original = subprocess.run([upstream_example("reg-wait")], capture_output=True, text=True, check=False)
    # On a busy machine a wait ends late: the C program calls that a failure, ours only mentions it.
    late = "amount of time" in original.stderr
    assert (original.returncode, original.stdout) == (int(late), "")
    assert (ours.returncode, ours.stdout) == (0, ""), ours.stderr
    assert all("msec, not" in line for line in ours.stderr.splitlines())


def test_arguments_are_refused(run_example: Run, upstream_example: Callable[[str], Path]) -> None:
    """An argument is refused before any wait, as in the C program, but as an error."""
    ours = run_example("reg_wait", "10")
    original = subprocess.run([upstream_example("reg-wait"), "10"], capture_output=True, text=True, check=True)
    assert "no arguments" in original.stdout
    assert (ours.returncode, ours.stdout) == (1, "")
    assert "no arguments" in ours.stderr
