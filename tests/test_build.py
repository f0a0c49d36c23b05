"""The build: what stops it, what it delivers, and that what it delivers works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import cffi
import pytest

import uring

# Rooms and files of a work tree that are not the project's own, or not for users.
NOT_SHIPPED = re.compile(
    r"\.|(build|dist|benchmarks)/|(PKG-INFO|setup\.cfg)$|.*(__pycache__/|\.egg-info/|\.so$|/\.incoming-)"
)
UPSTREAM = "vendor/liburing/upstream"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without what steers a build; `changes` are put on top."""
    steering = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PYTHONPATH", "URING_LIBURING_SOURCE", "URING_EXTRA_CFLAGS")
    return {**{name: value for name, value in os.environ.items() if name not in steering}, **changes}


def run(command: list[str | Path], cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def succeed(command: list[str | Path], cwd: Path | None = None, **environment: str) -> str:
    """What a command prints; the test fails when the command does."""
    done = run(command, cwd, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- what stops the build ------------------------------------------------------------------------


def assert_one_message(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The build failed with one message that says what was expected, what was found, and has all `words`."""
    assert done.returncode == 1
    assert done.stderr.count("uring cannot be built: ") == 1
    assert "Traceback" not in done.stderr
    for word in ("  expected: ", "  found:", *words):
        assert word in done.stderr


def test_missing_compiler_stops_the_build(repository: Path) -> None:
    """Without any compiler the message names those that were tried, and the packages to install."""
    done = run([sys.executable, repository / "build_ffi.py"], PATH="")
    assert_one_message(done, "no C compiler", ", cc\n", "apt-get install gcc", "dnf install gcc")


def test_compiler_that_was_asked_for_and_is_missing_stops_the_build(repository: Path) -> None:
    """A CC that cannot be run is an error, not a reason to take another compiler."""
    done = run([sys.executable, repository / "build_ffi.py"], CC="no-such-compiler -m64")
    assert_one_message(done, "no C compiler", "none of: no-such-compiler\n", "name it in CC")


def test_missing_python_headers_stop_the_build(repository: Path, tmp_path: Path) -> None:
    """Without Python.h the message names the file and the package that has it."""
    script = (
        "import runpy, sysconfig\n"
        f"sysconfig.get_path = lambda *_: {str(tmp_path)!r}\n"
        f"runpy.run_path({str(repository / 'build_ffi.py')!r}, run_name='__main__')\n"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    done = run([sys.executable, "-c", script])
    assert_one_message(done, f"expected: {tmp_path / 'Python.h'}\n", f"apt-get install python{version}-dev")


def test_old_kernel_headers_stop_the_build(repository: Path, tmp_path: Path) -> None:
    """Kernel headers older than those that the build was tried with are refused, with both versions."""
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "version.h").write_text(f"#define LINUX_VERSION_CODE {4 << 16 | 19 << 8 | 88}\n")
    done = run([sys.executable, repository / "build_ffi.py"], CFLAGS=f"-I{tmp_path}")
    assert_one_message(done, "expected: linux/version.h of 5.10 or newer\n", "found:    4.19\n", "linux-libc-dev")


def test_missing_system_headers_stop_the_build(repository: Path) -> None:
    """Without the C library's headers the message has the preprocessor's own words, and the packages to install."""
    done = run([sys.executable, repository / "build_ffi.py"], CPPFLAGS="-nostdinc")
    assert_one_message(done, "the C preprocessor fails", "linux/version.h", "apt-get install libc6-dev")


@pytest.fixture
def small_tree(repository: Path, tmp_path: Path) -> Path:
    """A copy of what the build reads before it compiles."""
    tree = tmp_path / "tree"
    shutil.copytree(repository / "vendor", tree / "vendor")
    shutil.copytree(repository / "uring", tree / "uring", ignore=shutil.ignore_patterns("*.so"))
    for name in ("build_ffi.py", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, tree)
    return tree


BUILD_WHEEL = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"
BUILD_SDIST = BUILD_WHEEL.replace("wheel", "sdist")


def test_tampered_source_stops_the_build(small_tree: Path, tmp_path: Path) -> None:
    """A changed byte of liburing stops the build through its backend, before anything is compiled."""
    pytest.importorskip("setuptools", minversion="77")
    source = small_tree / UPSTREAM / "src" / "queue.c"
    source.write_bytes(source.read_bytes() + b"\n")
    done = run([sys.executable, "-c", BUILD_WHEEL, tmp_path], small_tree)
    assert_one_message(done, "src/queue.c: expected ", f"Remove {small_tree / UPSTREAM} and build again")
    assert not (small_tree / "build").exists()


def test_unobtainable_source_stops_the_build(small_tree: Path) -> None:
    """Without the source and without a route to it, the message says how to give it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is neither cc nor gcc on PATH")
    shutil.rmtree(small_tree / UPSTREAM)
    lock = small_tree / "vendor" / "liburing" / "liburing.lock"
    # Port 9 of the loopback interface: refused at once. Without a PATH there is no apt-get either.
    lock.write_text(re.sub(r'("repository": )"[^"]*"', r'\1"http://127.0.0.1:9"', lock.read_text()))
    done = run([sys.executable, "build_ffi.py"], small_tree, CC=compiler, PATH="", no_proxy="*")
    assert_one_message(done, "could not be fetched", "Connection refused", "Set URING_LIBURING_SOURCE to")


# --- an installation that does not fit together --------------------------------------------------


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A folder with a copy of the package that is under test, compiled extension included."""
    package = Path(uring.__file__).parent
    shutil.copytree(package, tmp_path / "uring", ignore=shutil.ignore_patterns("__pycache__", "native"))
    return tmp_path


def run_in(installation: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with the package of that folder."""
    # Without site's .pth files: an editable installation would supply what is missing here.
    path = os.pathsep.join((str(installation), str(Path(cffi.__file__).parent.parent)))
    return run([sys.executable, "-S", "-c", script], installation, PYTHONPATH=path)


def import_error(installation: Path) -> str:
    """How `import uring.liburing` fails there."""
    done = run_in(installation, "import uring.liburing")
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_copy_of_the_package_can_be_imported(installation: Path) -> None:
    """The installation that the next tests break is sound before."""
    done = run_in(installation, "import uring.liburing as L; print(L.__file__)")
    assert (done.stdout.strip(), done.stderr) == (str(installation / "uring" / "liburing.py"), "")


def test_extension_of_another_version_is_refused(installation: Path) -> None:
    """Python files of one version and an extension of another are told apart at import, with what to do."""
    (installation / "uring" / "_version.py").write_text('__version__ = "9.9.9"\n')
    assert import_error(installation) == (
        f"ImportError: uring 9.9.9 found a compiled extension of version {uring.__version__}. "
        "Two installations are mixed; uninstall uring and install it again."
    )


@pytest.mark.parametrize("content", [None, b"not an ELF file"], ids=["missing", "broken"])
def test_extension_that_cannot_be_loaded_is_explained(installation: Path, content: bytes | None) -> None:
    """A missing or broken extension is named as such at import, with what to do."""
    (extension,) = (installation / "uring").glob("_uring.*.so")
    extension.unlink()
    if content is not None:
        extension.write_bytes(content)
    message = import_error(installation)
    assert message.startswith("ImportError: uring's compiled extension cannot be loaded (")
    assert message.endswith("Install the package with pip, or in a source tree run: pip install -e .")


# --- what the build delivers ---------------------------------------------------------------------


def shipped_files(tree: Path) -> set[str]:
    """The project's own files in a work tree, and liburing's as locked."""
    names = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    return {name for name in names if not NOT_SHIPPED.match(name)}


@pytest.fixture(scope="session")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree with remains of other work in it."""
    pytest.importorskip("setuptools", minversion="77")
    source = Path(__file__).resolve().parent.parent
    tree = tmp_path_factory.mktemp("work") / "tree"
    for name in shipped_files(source):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, tree / name)
    for name in (
        *(".gitignore", ".ci/run", ".venv/lib/module.py", "build/lib/uring/old.py", "dist/uring-0.0.1.tar.gz"),
        *("uring/notes.txt", "uring/flags.py~", "uring/_uring.abi3.so", "uring/__pycache__/flags.cpython-310.pyc"),
        *("tests/__pycache__/test.cpython-310.pyc", "tests/core", "vendor/liburing/.incoming-x/tree/src/setup.c"),
        *("docs/page.html", "examples/a.out", "scratch.py"),
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"remains")
    return tree


@pytest.fixture(scope="session")
def sdist(work_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of that tree."""
    folder = tmp_path_factory.mktemp("sdist")
    return folder / succeed([sys.executable, "-c", BUILD_SDIST, folder], work_tree).splitlines()[-1]


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / sdist.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def network_cut() -> list[str]:
    """The command that runs another one without any network; empty where there is none."""
    for command in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        if shutil.which("unshare") and run([*command, "true"]).returncode == 0:
            return command
    return []


@pytest.fixture(scope="session")
def wheel(unpacked: Path, network_cut: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist with the network cut off where that is possible, and apt replaced by a trap."""
    folder = tmp_path_factory.mktemp("wheel")
    trap = folder / "bin" / "apt-get"
    trap.parent.mkdir()
    trap.write_text(f"#!/bin/sh\ntouch '{folder}/apt-was-asked'\nexit 1\n")
    trap.chmod(0o755)
    command = [*network_cut, sys.executable, "-c", BUILD_WHEEL, str(folder)]
    path = f"{trap.parent}{os.pathsep}{os.environ['PATH']}"
    return folder / succeed(command, unpacked, PATH=path, HOME=str(folder)).splitlines()[-1]


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by pip into an otherwise empty folder."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(folder)]
    succeed([sys.executable, "-m", "pip", "install", *options, str(wheel)])
    return folder


@pytest.fixture(scope="session")
def extension(installed: Path) -> Path:
    """The compiled extension of the wheel."""
    (path,) = (installed / "uring").glob("*.so")
    return path


def test_sdist_has_what_is_promised_and_nothing_else(sdist: Path, work_tree: Path) -> None:
    """The sdist carries our sources and the locked part of liburing, and no remains of other work."""
    remains = {"uring/notes.txt", "uring/flags.py~", "tests/core", "docs/page.html", "examples/a.out", "scratch.py"}
    promised = shipped_files(work_tree) - remains
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    generated = {name for name in names if name in ("PKG-INFO", "setup.cfg") or name.startswith("uring.egg-info/")}
    assert names - generated == promised
    assert "PKG-INFO" in generated


def test_sdist_has_the_whole_pinned_liburing(unpacked: Path) -> None:
    """The source tree of liburing in the sdist is exactly the one of the lock, and both licences are there."""
    assert "liburing 2." in succeed([sys.executable, unpacked / "vendor" / "liburing" / "vendor.py", "--check"])
    assert "MIT License" in (unpacked / "LICENSE").read_text()
    assert "Jens Axboe" in (unpacked / UPSTREAM / "LICENSE").read_text()


def test_wheel_is_built_from_the_sdist_without_network(wheel: Path, network_cut: list[str]) -> None:
    """A wheel comes of the sdist alone: no network, no apt."""
    assert not (wheel.parent / "apt-was-asked").exists()
    assert wheel.is_file()
    if not network_cut:
        pytest.skip("the wheel is fine, but this machine lacks the means to cut off the network (unshare -n)")


def test_wheel_has_what_is_promised_and_nothing_else(wheel: Path, work_tree: Path) -> None:
    """The wheel carries the package's Python files, the extension and the metadata; no C, no tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        name
        for name in shipped_files(work_tree)
        if name.startswith("uring/") and name.endswith((".py", ".pyi", "/py.typed"))
    }
    info = f"{wheel.name.split('-cp')[0]}.dist-info"
    metadata = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
    expected = package | {f"{info}/{name}" for name in (*metadata, f"licenses/{UPSTREAM}/LICENSE")}
    (extension,) = names - expected
    assert re.fullmatch(r"uring/_uring\.[^/]*so", extension)
    assert expected <= names


def test_wheel_has_both_licences(wheel: Path, work_tree: Path) -> None:
    """The notices of uring and of liburing are in the wheel's metadata, whole."""
    info = f"{wheel.name.split('-cp')[0]}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        for name in ("LICENSE", f"{UPSTREAM}/LICENSE"):
            assert archive.read(f"{info}/licenses/{name}") == (work_tree / name).read_bytes()
        metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: MIT\n" in metadata


def test_wheel_is_tagged_for_every_python(wheel: Path, extension: Path) -> None:
    """With a GIL the wheel is tagged for the stable ABI from 3.10 on; a free-threaded build has none."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tags = f"{version}-{version}t" if FREE_THREADED else "cp310-abi3"
    assert wheel.name == f"uring-{uring.__version__}-{tags}-{platform}.whl"
    assert (extension.name == "_uring.abi3.so") is not FREE_THREADED


def test_installed_wheel_works(installed: Path) -> None:
    """Installed into an empty folder, the package reads a file through a ring."""
    done = run_in(
        installed,
        """if True:
        import uring
        from uring.liburing import *
        ring, cqe, buffer = io_uring(), io_uring_cqe_ptr(), bytearray(100)
        assert io_uring_queue_init(4, ring, 0) == 0
        with open(uring.__file__, "rb") as file:
            io_uring_prep_read(io_uring_get_sqe(ring), file.fileno(), ffi.from_buffer(buffer), 100, 0)
            assert io_uring_submit_and_wait(ring, 1) == 1
        assert io_uring_wait_cqe(ring, cqe) == 0
        print(buffer[:cqe[0].res].decode(), end="")
        io_uring_queue_exit(ring)
        """,
    )
    assert (done.stdout, done.stderr) == ((installed / "uring" / "__init__.py").read_text()[:100], "")


def binutils(tool: str, *arguments: str | Path) -> str:
    """What a tool of binutils prints."""
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool}")
    return succeed([tool, *arguments])


def test_extension_exports_only_its_entry_point(extension: Path) -> None:
    """No symbol of liburing's leaves the extension, where it could meet a loaded liburing.so."""
    symbols = [line.split()[-1] for line in binutils("nm", "-D", "--defined-only", extension).splitlines()]
    assert symbols == ["PyInit__uring"]


def test_extension_needs_no_liburing(extension: Path) -> None:
    """The extension is linked against the C library alone."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", binutils("readelf", "-dW", extension))
    assert [name for name in needed if not name.startswith(("libc.", "ld-linux", "libpthread.", "libpython"))] == []


def test_extension_is_stripped_and_small(extension: Path) -> None:
    """The extension has neither debug sections nor a symbol table, and at most 640 KiB."""
    sections = re.findall(r"\] (\.\S+)", binutils("readelf", "-SW", extension))
    assert ".text" in sections
    assert [name for name in sections if name.startswith(".debug") or name == ".symtab"] == []
    assert extension.stat().st_size <= 640 << 10
