"""Build the sdist, and from it the wheel, into `dist/`; check both; try the one wheel on every Python that is found.

    python tools/dist.py            needs the packages of `pip install -e '.[dist]'`, and binutils

Exits with 1 and a message at the first thing that is not as promised.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = 10, 14
EXTENSION_MAX_BYTES = 640 << 10
# cffi refuses to be built for free-threaded Pythons before this one.
OLDEST_FREE_THREADED = 14

# What an sdist may hold, besides what setuptools generates: rooms by their kinds of file.
SDIST_ALLOWED = (
    r"(LICENSE|Makefile|MANIFEST\.in|pyproject\.toml|setup\.py|build_ffi\.py|\w+\.md)",
    r"uring/.*\.(py|pyi|c|h|typed)",
    r"(tests|examples|tools)/.*\.(py|md)",
    r"docs/.*\.(md|svg)",
    r"vendor/liburing/(vendor\.py|liburing\.lock|README\.md)",
    r"vendor/liburing/upstream/(LICENSE|src/.*\.(c|h|map)|examples/[^/]*\.[ch])",
    r"(PKG-INFO|setup\.cfg|uring\.egg-info/.*)",
)
SDIST_REQUIRED = (
    *("LICENSE", "README.md", "CHANGELOG.md", "build_ffi.py", "tests/conftest.py", "uring/native/reap.c"),
    *("vendor/liburing/liburing.lock", "vendor/liburing/upstream/LICENSE", "vendor/liburing/upstream/src/setup.c"),
)
WHEEL_ALLOWED = (r"uring/.*\.(py|pyi|typed)", r"uring/_uring\.[^/]*so", r"uring-[^/]*\.dist-info/.*")
WHEEL_REQUIRED = (r"uring/py\.typed", r".*/licenses/LICENSE", r".*/licenses/vendor/liburing/upstream/LICENSE")


class DistError(Exception):
    """Something that was built is not as promised."""


class Python(NamedTuple):
    """A CPython on this machine."""

    path: str
    minor: int
    free_threaded: bool

    def __str__(self) -> str:
        return f"3.{self.minor}{'t' * self.free_threaded}"

    @property
    def refusal(self) -> str | None:
        """Why `uring` cannot be built for it, or None."""
        if self.free_threaded and self.minor < OLDEST_FREE_THREADED:
            return f"cffi refuses free-threaded Pythons before 3.{OLDEST_FREE_THREADED}"
        return None


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command prints. Raises DistError, with all of it, when the command fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise DistError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


# --- the Pythons of this machine -----------------------------------------------------------------


def find_pythons() -> list[Python]:
    """One CPython of each supported kind, from PATH first, then from pyenv, oldest first."""
    names = [f"python3.{minor}{threads}" for minor in range(OLDEST, NEWEST + 1) for threads in ("", "t")]
    candidates = [shutil.which(name) for name in names]
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates += [str(path) for path in sorted(Path(root, "versions").glob("3.*/bin/python3"))]
    found: dict[tuple[int, bool], Python] = {}
    for path in filter(None, candidates):
        python = _inspect(path)
        if python and OLDEST <= python.minor <= NEWEST:
            found.setdefault((python.minor, python.free_threaded), python)
    return [found[kind] for kind in sorted(found)]


def _inspect(path: str) -> Python | None:
    script = (
        "import sys, sysconfig\n"
        "print(sys.implementation.name, sys.version_info[0], sys.version_info[1],"
        " int(bool(sysconfig.get_config_var('Py_GIL_DISABLED'))), sys.executable)"
    )
    try:
        done = subprocess.run([path, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None  # pyenv has shims for versions that are not chosen
    name, major, minor, free_threaded, executable = done.stdout.split(maxsplit=4)
    if (name, major) != ("cpython", "3"):
        return None
    return Python(executable.strip(), int(minor), free_threaded == "1")


def make_environment(python: Python, folder: Path, *requirements: str) -> Path:
    """A virtual environment with `requirements` in it: the path of its Python."""
    run(python.path, "-m", "venv", folder)
    inner = folder / "bin" / "python"
    run(inner, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return inner


# --- building and checking -----------------------------------------------------------------------


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, into `folder`: their paths."""
    # setuptools would add to an sdist what an older list of files names.
    shutil.rmtree(ROOT / "uring.egg-info", ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def _check_names(what: str, names: list[str], allowed: tuple[str, ...], required: tuple[str, ...]) -> None:
    surplus = [name for name in names if not any(re.fullmatch(pattern, name) for pattern in allowed)]
    missing = [pattern for pattern in required if not any(re.fullmatch(pattern, name) for name in names)]
    if surplus or missing:
        raise DistError(f"{what}: has {surplus} that it should not have, lacks {missing}")


def check_sdist(sdist: Path) -> None:
    """Raise DistError unless the sdist holds what is promised and nothing else."""
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    _check_names(sdist.name, names, SDIST_ALLOWED, tuple(map(re.escape, SDIST_REQUIRED)))


def check_wheel(wheel: Path) -> str:
    """Raise DistError unless wheel and extension are as promised; what there is to say about them."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        _check_names(wheel.name, names, WHEEL_ALLOWED, WHEEL_REQUIRED)
        (name,) = (name for name in names if name.endswith(".so"))
        extension = Path(archive.extract(name, folder))
        exported = [line.split()[-1] for line in run("nm", "-D", "--defined-only", extension).splitlines()]
        sections = run("readelf", "-SW", extension)
        size = extension.stat().st_size
    if not sysconfig.get_config_var("Py_GIL_DISABLED") and "-cp310-abi3-" not in wheel.name:
        raise DistError(f"{wheel.name}: expected the tag cp310-abi3")
    if exported != ["PyInit__uring"]:
        raise DistError(f"{name}: expected to export PyInit__uring alone, found {exported}")
    if ".debug" in sections or ".symtab" in sections:
        raise DistError(f"{name}: not stripped")
    if size > EXTENSION_MAX_BYTES:
        raise DistError(f"{name}: {size} bytes, expected at most {EXTENSION_MAX_BYTES}")
    return f"{name}: {size} bytes, exports {exported[0]}"


def try_wheel(wheel: Path, python: Python) -> None:
    """Install the wheel for a Python and copy a file of odd length through the rings. Raises DistError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inner = make_environment(python, folder / "venv", str(wheel))
        content = os.urandom((1 << 20) + 7)
        (folder / "source").write_bytes(content)
        run(inner, "-m", "uring", "cp", "--quiet", "source", "copy", cwd=folder)
        if (folder / "copy").read_bytes() != content:
            raise DistError(f"Python {python}: the copy differs from its source")


def main() -> int:
    """Build, check, try; 0 when everything is as promised."""
    folder = ROOT / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        sdist, wheel = build(folder)
        print(f"{sdist.name}: {sdist.stat().st_size} bytes")
        check_sdist(sdist)
        print(f"{wheel.name}: {wheel.stat().st_size} bytes")
        print(check_wheel(wheel))
        print(run(sys.executable, "-m", "auditwheel", "show", wheel).strip())
        for python in find_pythons():
            if python.free_threaded:
                print(f"Python {python}: skipped, {python.refusal or 'the wheel is for Pythons with a GIL'}")
                continue
            try_wheel(wheel, python)
            print(f"Python {python}: a file was copied through the rings")
    except DistError as error:
        print(f"dist.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
