"""The committed stubs are up to date, complete, and what a type checker needs."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from uring import fused, liburing

RIGHT = '''
"""A program that uses both layers as their documentation shows it."""
from typing import TYPE_CHECKING

from uring import fused
from uring import liburing as L
from uring.liburing import *

if TYPE_CHECKING:
    from uring.liburing import struct_io_uring

def write(ring: "struct_io_uring", fd: int, data: bytes) -> int:
    sqe = L.io_uring_get_sqe(ring)
    if sqe == L.ffi.NULL:
        return -1
    L.io_uring_prep_write(sqe, fd, data, len(data), 2**64 - 1)
    sqe.user_data = 7
    slot = L.io_uring_cqe_ptr()
    ret: int = L.io_uring_submit_and_wait(ring, 1) or L.io_uring_peek_cqe(ring, slot)
    res: int = slot[0].res
    L.io_uring_cqe_seen(ring, slot[0])
    return ret or res

ring = io_uring()
params = io_uring_params(flags=IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, cq_entries=64)
io_uring_queue_init_params(8, ring, params)
depth: int = params.sq_entries
write(ring, 1, b"hello")
buffer = bytearray(16)
io_uring_prep_read(io_uring_get_sqe(ring), 0, ffi.from_buffer(buffer), len(buffer), 0)
vector = iovec(buffer, (ffi.new("char[]", 8), 8))
length: int = len(vector) + vector[1].iov_len
header = msghdr(msg_iov=vector)
io_uring_prep_recvmsg(io_uring_get_sqe(ring), 0, header, 0)
timeout = __kernel_timespec(1, 500)
io_uring_prep_timeout(io_uring_get_sqe(ring), timeout, 0, 0)
io_uring_wait_cqes(ring, io_uring_cqe_ptr(), 1, timeout, ffi.NULL)
io_uring_register_files(ring, [0, 1], 2)
address = sockaddr_un(sun_family=1, sun_path=b"/tmp/x")
io_uring_prep_connect(io_uring_get_sqe(ring), 0, ffi.cast("struct sockaddr *", address), ffi.sizeof(address))
for cqe in io_uring_for_each_cqe(ring):
    print(cqe.user_data.bit_length(), cqe.flags & IORING_CQE_F_MORE)
opcode: int = ring.sq.sqes[0].opcode

r = fused.attach(ring, room=32)
if fused.uring_nop(r, 1, fused.options(flags=IOSQE_ASYNC)) == fused.FULL:
    fused.uring_submit(r)
for user_data, res, flags in fused.completions(r, fused.uring_wait(r, 1, -1)):
    print(user_data + res + flags)
raw: int = r.completions[0].res
fused.detach(r)
io_uring_queue_exit(ring)
'''

# One mistake each, and the kind of error that names it.
WRONG = {
    "L.io_uring_queue_init(8, L.io_uring())": "call-arg",
    "L.io_uring_submit(ring=L.io_uring())": "call-arg",
    "L.io_uring_submit(L.io_uring_params())": "arg-type",
    "L.io_uring_prep_nop(None)": "arg-type",
    "L.io_uring_prep_close(L.io_uring_sqe(), '3')": "arg-type",
    "L.io_uring_prep_open(L.io_uring_sqe(), 'path', 0, 0)": "arg-type",
    "L.io_uring_prep_read(L.io_uring_sqe(), 0, b'immutable', 9, 0)": "arg-type",
    "L.io_uring_prep_timeout(L.io_uring_sqe(), [(1, 0)], 0, 0)": "arg-type",
    "L.io_uring_params(no_such_field=1)": "call-arg",
    "L.io_uring_cqe_ptr()[0].result": "attr-defined",
    "L.io_uring_cqe_ptr().res": "attr-defined",
    "L.IORING_OP_NO_SUCH": "attr-defined",
    "fused.uring_nop(L.io_uring(), 0, 0)": "arg-type",
    "fused.uring_nop(fused.attach(L.io_uring()), 0)": "call-arg",
}


def _stub_names(path: Path) -> tuple[set[str], set[str]]:
    """What a stub defines that exists at run time, and what it exports."""
    defined, exported = set(), set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
        elif isinstance(node, ast.ClassDef):
            # The classes are for type checkers; one without the mark would promise a name that is not there.
            assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["type_check_only"], node.name
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported |= set(ast.literal_eval(node.value))
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            defined |= {alias.name for alias in node.names} & {"ffi", "lib"}
    return defined, exported


@pytest.fixture(scope="module")
def make_stubs(repository: Path) -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("make_stubs", repository / "tools" / "make_stubs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mypy(repository: Path, folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    """Mypy in strict mode over `files`; whatever else they import is only a source of types."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version=3.10", "--follow-imports=silent"]
    command += ["--config-file=", f"--cache-dir={folder / 'cache'}", "--show-error-codes", "--no-error-summary"]
    return subprocess.run(
        [*command, *map(str, files)],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", [liburing, fused], ids=["liburing", "fused"])
def test_stub_has_exactly_the_modules_names(repository: Path, module: ModuleType) -> None:
    """A stub defines and exports `__all__`, no more and no less."""
    name = module.__name__.rpartition(".")[2]
    defined, exported = _stub_names(repository / "uring" / f"{name}.pyi")
    assert defined == set(module.__all__)
    assert exported == set(module.__all__)


def test_committed_stubs_are_what_the_script_writes(make_stubs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """`make_stubs.py --check` finds nothing to change."""
    assert make_stubs.main(["--check"]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out == ""


def test_check_reports_a_stale_stub(
    make_stubs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--check` exits with 1 and a diff and writes nothing; without it the stub is made right."""
    stub = tmp_path / "liburing.pyi"
    stub.write_text("old\nsame\n")
    monkeypatch.setattr(make_stubs, "stubs", lambda: {stub: "new\nsame\n"})
    assert make_stubs.main(["--check"]) == 1
    assert {"-old", "+new", " same"} <= set(capsys.readouterr().out.splitlines())
    assert stub.read_text() == "old\nsame\n"
    assert make_stubs.main([]) == 0
    assert stub.read_text() == "new\nsame\n"
    assert make_stubs.main(["--check"]) == 0


def test_parameter_named_like_a_python_keyword_is_renamed(make_stubs: ModuleType) -> None:
    """C may call a parameter `from` or `in`."""
    assert make_stubs.safe("from") == "from_"
    assert make_stubs.safe("offset") == "offset"


def test_mypy_accepts_the_stubs_and_a_right_program(repository: Path, tmp_path: Path) -> None:
    """Strict mypy has no complaint about the stubs themselves or about documented use."""
    program = tmp_path / "right.py"
    program.write_text(RIGHT)
    stubs = [repository / "uring" / name for name in ("liburing.pyi", "fused.pyi")]
    done = _mypy(repository, tmp_path, program, *stubs)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_rejects_wrong_programs(repository: Path, tmp_path: Path) -> None:
    """A wrong count, type, field or name is an error at its line."""
    program = tmp_path / "wrong.py"
    program.write_text("from uring import fused\nfrom uring import liburing as L\n" + "\n".join(WRONG) + "\n")
    done = _mypy(repository, tmp_path, program)
    reported = {}
    for line in done.stdout.splitlines():
        place, separator, message = line.partition(": error: ")
        if separator:
            reported[int(place.split(":")[1])] = message.rpartition("[")[2].rstrip("]")
    expected = dict(enumerate(WRONG.values(), start=3))
    assert reported == expected, done.stdout + done.stderr
