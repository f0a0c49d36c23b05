"""A type checker knows what the builders take and what their operations bring."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = '''
"""A program that uses the Pythonic layer as its documentation shows it."""
import os
import socket
from pathlib import Path
from typing import Any

from typing_extensions import assert_type

import uring


def copy(ring: uring.Ring, source: Path, target: str) -> int:
    opened = ring.openat(source, os.O_RDONLY), ring.openat(target, os.O_WRONLY | os.O_CREAT, mode=0o600)
    infile, outfile = (operation.result() for operation in opened)
    assert_type(infile, int)
    buffer = uring.aligned_buffer(4096)
    with ring.chain(hard=False, timeout=1.5, drain=True) as chain:
        read = ring.read(infile, buffer, 0).with_timeout(uring.Nanoseconds(10**9))
        ring.write(outfile, [buffer, b"tail"], offset=0, drain=True)
        assert_type(ring.fsync(outfile, datasync=True), uring.Operation[None])
    assert_type(chain, uring.Chain)
    assert_type(read, uring.Operation[int])
    assert_type(read.result(timeout=2), int)
    assert_type([operation.exception() for operation in chain], list[Exception | None])
    assert_type(ring.close_fd(infile).result(), None)
    return read.result()


def report(operation: uring.Operation[int]) -> None:
    try:
        count = operation.result()
    except uring.ChainBroken as broken:
        print(broken.cause, broken.errno)
    except uring.Unsupported as error:
        print(error.feature, error.since)
    except (uring.OperationCancelled, uring.RingClosed, TimeoutError):
        print(operation.state is uring.State.CANCELLED)
    else:
        print(count.bit_length(), operation.completion.res)


def serve(ring: uring.Ring, listener: socket.socket) -> None:
    assert_type(ring.accept(listener), uring.Operation[int])
    assert_type(ring.accept(listener, direct=3), uring.Operation[uring.FixedFile])
    connection, peer = ring.accept(listener, address=True, force_async=True).result()
    assert_type(connection, int)
    received = ring.recv(connection, bytearray(16), socket.MSG_WAITALL)
    received.add_done_callback(report)
    if not received.done():
        received.cancel()
    assert_type(ring.send(uring.FixedFile(1), b"hello", fixed_file=True).result(), int)
    assert_type(ring.shutdown(listener).result(), None)
    print(peer)


def serve_many(ring: uring.Ring, listener: socket.socket, pool: uring.BufferGroup) -> None:
    with ring.accept(listener, multishot=True) as connections:
        assert_type(connections, uring.Multishot[int])
        for fd in connections:
            assert_type(fd, int)
    assert_type(ring.accept(listener, direct=uring.ALLOC, multishot=True).take(), list[uring.FixedFile])
    assert_type(ring.poll_add(listener, multishot=True).take(timeout=None), list[int])
    assert_type(ring.timeout(1, 3, multishot=True), uring.Multishot[None])
    for message in ring.recvmsg(listener, pool, multishot=True):
        assert_type(message, uring.ReceivedMessage)
    for operation in ring.wait():
        if isinstance(operation, uring.Multishot) and not operation.done():
            print(operation.starved, operation.take())


options: uring.Options = {"personality": 1, "drain": True}
with uring.Ring(64, uring.Params(cq_entries=256, clamp=True), exit_timeout=1) as ring:
    assert_type(ring, uring.Ring)
    assert_type(ring.nop(**options), uring.Operation[None])
    assert_type(ring.nop(result=3), uring.Operation[int])
    assert_type(ring.timeout(0.5), uring.Operation[None])
    assert_type(ring.statx("file", dir_fd=3).result().st_size, int)
    assert_type(ring.pipe().result(), tuple[int, int])
    assert_type(ring.submit(), int)
    assert_type(ring.wait(2, timeout=uring.Nanoseconds(5)), list[uring.Operation[Any] | uring.Completion])
    for done in ring:
        assert_type(done, uring.Operation[Any] | uring.Completion)
        if isinstance(done, uring.Operation):
            print(done.name, done.opcode, done.description())
    assert_type(ring.statistics().in_flight, int)
    registered = uring.FixedBuffer(0, bytearray(100))
    assert_type(ring.read(0, registered[10:20]), uring.Operation[int])
    with uring.ProvidedBuffers(ring, 8, 4096, incremental=True) as pool:
        assert_type(ring.read(0, pool), uring.Operation[uring.ProvidedBuffer])
        lease = ring.recv(0, pool, socket.MSG_DONTWAIT, bundle=True).result()
        assert_type(ring.recvmsg(0, pool).result()[0], uring.ProvidedBuffer)
        with lease as data:
            print(bytes(data), data[2:].nbytes, len(data.view), pool.available, pool.leased)
            assert_type(ring.send(0, data), uring.Operation[int])
'''

# One mistake each, and the kind of error that names it.
WRONG = {
    "ring.read(0)": "call-overload",
    "ring.read('name', bytearray(1))": "call-overload",
    "ring.read(0, bytearray(1), offset=1.5)": "call-overload",
    "ring.read(0, bytearray(1), force_asynch=True)": "call-overload",
    "ring.write(0, b'', personality='root')": "arg-type",
    "ring.openat(3)": "call-overload",
    "ring.accept()": "call-overload",
    "ring.accept(0, address=True).result().close()": "attr-defined",
    "ring.nop(result='three')": "call-overload",
    "ring.fsync(0, True)": "call-arg",
    "ring.read(0, bytearray(1)).result().decode()": "attr-defined",
    "ring.read(0, bytearray(1)) + 1": "operator",
    "text: str = ring.read(0, bytearray(1)).result()": "assignment",
    "length: int = ring.close_fd(0)": "assignment",
    "ring.statx('file').result().size": "attr-defined",
    "ring.timeout('soon')": "call-overload",
    "ring.chain(soft=True)": "call-arg",
    "ring.wait(timeout='1')": "arg-type",
    "ring.no_such_builder()": "attr-defined",
    "uring.Ring('64')": "arg-type",
    "uring.Params(no_such_flag=True)": "call-arg",
    "uring.FixedBuffer(0, b'')[0]": "index",
    "ring.accept(0, multishot=True, address=True)": "call-overload",
    "fds: list[str] = ring.accept(0, multishot=True).take()": "assignment",
    "ring.recv(0, bytearray(1), multishot=True)": "call-overload",
    "options: uring.Options = {'drains': True}": "typeddict-unknown-key",
}


def _mypy(repository: Path, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Mypy in strict mode over a program; the package is only a source of types."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version=3.10", "--follow-imports=silent"]
    command += ["--config-file=", f"--cache-dir={folder / 'cache'}"]
    return subprocess.run(
        [*command, "--show-error-codes", "--no-error-summary", "program.py"],
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_mypy_accepts_a_right_program(repository: Path, tmp_path: Path) -> None:
    """Strict mypy has no complaint about documented use, and every result has the type that is documented."""
    done = _mypy(repository, tmp_path, RIGHT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_rejects_wrong_programs(repository: Path, tmp_path: Path) -> None:
    """A wrong option, argument or use of a result is an error at its line."""
    head = "import uring\nring = uring.Ring()\n"
    done = _mypy(repository, tmp_path, head + "\n".join(WRONG) + "\n")
    reported = {}
    for line in done.stdout.splitlines():
        place, separator, message = line.partition(": error: ")
        if separator:
            reported[int(place.split(":")[1])] = message.rpartition("[")[2].rstrip("]")
    lines = dict(enumerate(WRONG.values(), start=3))
    assert reported == lines, done.stdout + done.stderr
