"""Run the tests of what touches lifetimes with our C, and liburing's, under AddressSanitizer and UBSan.

    python tools/sanitize.py [pytest's options]     needs GCC with libasan and libubsan

The package is copied to build/sanitize/package and compiled there; the normal extension stays as it is. Exits with 1
when a test failed or a sanitizer reported anything, in a child process too. What the kernel writes is not seen:
sanitizers check the accesses of the code that they compiled.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "sanitize"
PACKAGE = FOLDER / "package"
TESTS = ("fused", "test_ring.py", "chain", "lifetimes", "builders", "bulk")
LONGEST = 600  # seconds that the tests may take
# They measure the process's memory, which AddressSanitizer keeps back after it was freed.
NOT_RUN = (
    "test_operations_leave_nothing_behind",
    "test_rings_leave_nothing_behind",
    "test_rings_one_after_another_within_a_small_limit",
    "test_hundreds_of_thousands_of_leases",
    "test_a_million_leases",
    "test_leases_with_operations_in_flight",
    "test_tables_one_after_another",
    "test_updates_while_reads_run",
    "test_many_runs_leave_nothing",
    "test_memory_is_given_back",
    "test_memory_of_a_million_requests",
)
FLAGS = "-fsanitize=address,undefined -fno-omit-frame-pointer -g -O1"

sys.path.insert(0, str(ROOT))
from build_ffi import compiler  # noqa: E402

# What each sanitizer must report, or it does not watch: a write behind memory of Python's, and a misaligned one.
PROVOKE = "from uring._native import ffi, lib; m = ffi.new('char[{}]'); "
PROVOKE += "lib.io_uring_prep_nop(ffi.cast('struct io_uring_sqe *', m + {}))"
PROVOCATIONS = {"heap-buffer-overflow": PROVOKE.format(8, 0), "misaligned address": PROVOKE.format(200, 1)}


def build() -> None:
    """Copy the package and compile it with the sanitizers."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(ROOT / "uring", PACKAGE / "uring", ignore=shutil.ignore_patterns("*.so", "__pycache__", "native"))
    command = [sys.executable, "setup.py", "--quiet", "build_ext", f"--build-lib={PACKAGE}"]
    command.append(f"--build-temp={FOLDER / 'temp'}")
    subprocess.run(command, cwd=ROOT, env={**os.environ, "URING_EXTRA_CFLAGS": FLAGS}, check=True)


def runtime() -> str:
    """Where the compiler's libasan lies, which has to be loaded before all else."""
    command = [*compiler(), "-print-file-name=libasan.so"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not path.is_absolute():
        raise SystemExit(
            f"sanitize.py: no AddressSanitizer.\n  expected: {shlex.join(command)} to print a path\n"
            f"  found:    {path}\n"
            "  Install it (Fedora: dnf install libasan libubsan; Debian's gcc has it), or choose GCC by CC=gcc."
        )
    if path.read_bytes()[:4] == b"\x7fELF":
        return str(path.resolve())
    script = re.search(r"/\S+\.so\S*", path.read_text())  # of the linker, as on Fedora
    assert script, f"{path}: neither a library nor a script that names one"
    return script[0]


def environment(log: Path | None) -> dict[str, str]:
    """What a sanitized Python needs; reports go to files `log`.PID, else to stderr."""
    # Aborting has pytest print the Python stack. CPython itself leaks at exit.
    common = "abort_on_error=1" + (f":log_path={log}" if log else "")
    return {
        **os.environ,
        "LD_PRELOAD": runtime(),
        "ASAN_OPTIONS": f"detect_leaks=0:{common}",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:{common}",
        "PYTHONPATH": str(PACKAGE),
        "PYTHONMALLOC": "malloc",  # the pools of Python's own allocator would hide an overflow
    }


def check() -> None:
    """Stop unless the sanitized build is what gets imported, and both sanitizers report what they should."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=PACKAGE, env=environment(None), capture_output=True, text=True, check=False)

    done = run("import uring, uring._uring as built; print(uring.__file__, built.__file__)")
    print(done.stdout + done.stderr, end="", flush=True)
    if done.returncode or not all(path.startswith(f"{PACKAGE}/") for path in done.stdout.split()):
        raise SystemExit("sanitize.py: the tests would not import the build above")
    for words, code in PROVOCATIONS.items():
        done = run(code)
        if not done.returncode or words not in done.stderr:
            raise SystemExit(f"sanitize.py: a deliberate error was not reported as {words}:\n{done.stderr}")


def main(arguments: list[str]) -> int:
    """Build, check the build, run the tests, show the reports."""
    build()
    check()
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", "-c", f"{ROOT}/pyproject.toml"]
    options += ["-k", f"not ({' or '.join(NOT_RUN)})", *arguments]
    options += [f"{ROOT}/tests/{name}" for name in TESTS]
    # In the package's folder, for `python -m` and `-c` put the current one first.
    command = [sys.executable, "-m", "pytest", *options]
    with subprocess.Popen(command, cwd=PACKAGE, env=environment(FOLDER / "report")) as process:
        try:
            code = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            # Prints where it hangs. pytest's own timeout takes a thread for each test, and a fork's child hangs in this
            # libasan's allocator when another thread of its parent was in there.
            process.send_signal(signal.SIGABRT)
            code = process.wait()
    reports = sorted(FOLDER.glob("report.*"))
    for report in reports:
        print(f"--- {report}\n{report.read_text(errors='replace')}")
    print(f"sanitizers: {len(reports)} reports; pytest: {code}")
    return 1 if code or reports else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
