"""The example poll-bench: polls of a pipe in a second, printed as the C original prints them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# The original runs for ten seconds of gettimeofday: with this clock, for two rounds.
CLOCK = """
#include <sys/time.h>
int gettimeofday(struct timeval *tv, void *tz) { static long now; tv->tv_sec = now += 5; tv->tv_usec = 0; return 0; }
"""


def skip_on_old_kernel(done: subprocess.CompletedProcess[str]) -> None:
    """Skip the test when the kernel has no registered ring fds (before 5.18), without which the C program ends too."""
    if done.returncode == 1 and "io_uring_register_ring_fd" in done.stderr:
        pytest.skip("this kernel lacks IORING_REGISTER_RING_FDS")


@pytest.mark.parametrize("bound", [("--iterations", "1"), ("--iterations", "100"), ("--seconds", "0")])
def test_prints_a_rate_when_its_bound_is_reached(run_example: Run, bound: tuple[str, str]) -> None:
    """Whichever bound ends it, a positive number of requests per second is printed to standard error."""
    done = run_example("poll_bench", *bound)
    skip_on_old_kernel(done)
    assert (done.returncode, done.stdout) == (0, "")
    printed = re.fullmatch(r"(no IORING_SETUP_SINGLE_ISSUER.*\n)?requests/s: (\d+)\n", done.stderr)
    assert printed, done.stderr
    assert int(printed[2]) > 0


def test_prints_what_the_original_prints(
    run_example: Run, upstream_example: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two rounds here and two rounds of the C program print the same but for the figure."""
    ours = run_example("poll_bench", "--iterations", "2")
    skip_on_old_kernel(ours)
    original = upstream_example("poll-bench")
    (tmp_path / "clock.c").write_text(CLOCK)
    clock = tmp_path / "clock.so"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", clock, tmp_path / "clock.c"], check=True)
    theirs = subprocess.run(
        [original], capture_output=True, text=True, check=True, timeout=60, env={"LD_PRELOAD": str(clock)}
    )
    figure = re.compile(r"(?<=requests/s: )\d+")
    assert (ours.returncode, ours.stdout) == (0, theirs.stdout)
    assert figure.sub("N", ours.stderr).splitlines()[-1] == figure.sub("N", theirs.stderr).splitlines()[-1]
    # Two rounds of 32 polls in ten seconds of that clock.
    assert figure.findall(theirs.stderr) == ["6"]


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_bad_number_of_rounds_is_explained(run_example: Run, value: str) -> None:
    """A number of rounds that would never end is refused with a message that names the option."""
    done = run_example("poll_bench", f"--iterations={value}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--iterations" in done.stderr
