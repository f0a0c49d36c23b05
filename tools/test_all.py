"""Run the tests against one wheel, installed for every CPython that is found on PATH and in pyenv.

    python tools/test_all.py [pytest's options]     needs the packages of `pip install -e '.[dist]'`

The wheel is built once, for the stable ABI, and installed into a virtual environment of each Python; a free-threaded
one has no stable ABI and gets a build of its own. The source tree is not importable from there. Prints a table;
exits with 1 when any row failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from dist import ROOT, DistError, Python, build, find_pythons, make_environment, run


def test(python: Python, package: Path, folder: Path, arguments: list[str]) -> tuple[bool, str]:
    """Whether the suite passes with `package` installed for a Python, and its closing line."""
    inner = make_environment(python, folder / "venv", f"{package}[test]")
    where = run(inner, "-c", "import uring; print(uring.__file__)", cwd=folder).strip()
    if not where.startswith(str(folder)):
        raise DistError(f"the tests would import {where}, not the installed package")
    options = ["-p", "no:cacheprovider", f"--rootdir={ROOT}", "-c", f"{ROOT}/pyproject.toml", f"{ROOT}/tests"]
    command = [str(inner), "-m", "pytest", *options, *arguments]
    shown: list[str] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            shown.append(line.strip(" =\n"))
    return process.returncode == 0, next(filter(None, reversed(shown)), "no output")


def main(arguments: list[str]) -> int:
    """Build, test, print the table; 0 when no row failed."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        try:
            sdist, wheel = build(Path(name, "dist"))
        except DistError as error:
            print(f"test_all.py: {error}", file=sys.stderr)
            return 1
        for python in find_pythons():
            if python.refusal:
                rows.append((python, "skipped", python.refusal))
                continue
            print(f"--- Python {python}: {python.path}", flush=True)
            folder = Path(name, str(python))
            folder.mkdir()
            try:
                passed, words = test(python, sdist if python.free_threaded else wheel, folder, arguments)
            except DistError as error:
                print(error)
                passed, words = False, "could not be installed, see above"
            rows.append((python, "passed" if passed else "FAILED", words))
    print()
    for python, result, words in rows:
        print(f"{python!s:6} {result:8} {words}")
    if not rows:
        print("no CPython was found")
    return 0 if rows and all(result != "FAILED" for _, result, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
