"""The example kdigest: a file's digest by the kernel's AF_ALG sockets, compared with hashlib and the C original."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BS = 64 * 1024
SIZES = (0, 1, BS - 1, BS, BS + 1, 10 * BS + 4097, 64 * BS, 150 * BS + 333)
ALGORITHMS = {"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha512": "sha512", "sha3-256": "sha3_256"}


@pytest.fixture
def kdigest(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, imported as a module."""
    spec = importlib.util.spec_from_file_location("kdigest", repository / "examples" / "kdigest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kdigest", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[int], Path]:
    """A factory of files of so many bytes, which repeat no earlier block."""

    def make(size: int) -> Path:
        path = tmp_path / "infile"
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return make


def af_alg_answer(algorithm: str) -> str | None:
    """What the kernel lacks for a hash by this name, or None."""
    try:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0) as sock:
            sock.bind(("hash", algorithm))
    except FileNotFoundError:
        return f"the hash {algorithm}"
    except OSError as error:
        return f"AF_ALG ({error.strerror})"
    return None


def require_hash(algorithm: str) -> None:
    """Skip the test when the kernel cannot digest by this name."""
    if lacking := af_alg_answer(algorithm):
        pytest.skip(f"this kernel lacks {lacking}")


def digest_of(output: str) -> str:
    """The digest in the line that the example prints."""
    return output.rpartition(": ")[2].rstrip("\n")


@pytest.mark.parametrize("size", SIZES)
def test_digest_is_hashlib_s(
    kdigest: ModuleType, make_file: Callable[[int], Path], capsys: pytest.CaptureFixture[str], size: int
) -> None:
    """Files of any size, also empty ones, have the digest that hashlib computes."""
    require_hash("sha256")
    path = make_file(size)
    assert kdigest.main(["kdigest.py", "sha256", str(path)]) == 0
    assert digest_of(capsys.readouterr().out) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_is_hashlib_s(
    kdigest: ModuleType, make_file: Callable[[int], Path], capsys: pytest.CaptureFixture[str], algorithm: str
) -> None:
    """Each of the kernel's algorithms gives what its namesake in hashlib gives."""
    require_hash(algorithm)
    path = make_file(3 * BS + 17)
    assert kdigest.main(["kdigest.py", algorithm, str(path)]) == 0
    expected = hashlib.new(ALGORITHMS[algorithm], path.read_bytes()).hexdigest()
    assert digest_of(capsys.readouterr().out) == expected


def test_linked_sends_give_the_same_digest(kdigest: ModuleType, make_file: Callable[[int], Path]) -> None:
    """The digest is right by linked sends too, which are used where the kernel has no bundles."""
    require_hash("sha256")
    path = make_file(SIZES[-1])
    with (
        path.open("rb") as infile,
        kdigest.alg_socket("sha256") as outfd,
        closing(kdigest.KDigest(infile.fileno(), outfd.fileno(), bundle=False)) as linked,
    ):
        kdigest.digest_file(linked, SIZES[-1])
        assert kdigest.get_result(linked) == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.parametrize("size", [0, BS + 1, 150 * BS + 333])
def test_prints_what_the_original_prints(
    run_example: Callable[..., subprocess.CompletedProcess[str]],
    upstream_example: Callable[[str], Path],
    make_file: Callable[[int], Path],
    size: int,
) -> None:
    """The line on standard output is the C program's to the letter."""
    require_hash("sha1")
    path = make_file(size)
    ours = run_example("kdigest", "sha1", path)
    original = subprocess.run([upstream_example("kdigest"), "sha1", path], capture_output=True, text=True, check=True)
    assert (ours.returncode, ours.stdout, ours.stderr) == (0, original.stdout, "")


def send_through(kdigest: ModuleType, path: Path, size: int, *, bundle: bool) -> bytes:
    """What arrives at the other end of a stream socket when the example's loop sends the file there."""
    received = bytearray()

    def receive() -> None:
        while chunk := far.recv(10_000):
            received.extend(chunk)

    near, far = socket.socketpair()
    with near, far, path.open("rb") as infile:
        # Room for less than a block, so that sends have to wait and more than one batch of reads completes meanwhile.
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        receiver = threading.Thread(target=receive)
        receiver.start()
        try:
            with closing(kdigest.KDigest(infile.fileno(), near.fileno(), bundle=bundle)) as sender:
                if bundle and sender.br is None:
                    pytest.skip("this kernel lacks IORING_FEAT_RECVSEND_BUNDLE")
                kdigest.digest_file(sender, size)
        finally:
            near.shutdown(socket.SHUT_WR)
            receiver.join()
    return bytes(received)


@pytest.mark.parametrize("bundle", [True, False], ids=["bundled", "linked"])
@pytest.mark.parametrize("size", SIZES)
def test_sends_the_file_in_order(
    kdigest: ModuleType, make_file: Callable[[int], Path], size: int, bundle: bool
) -> None:
    """Every byte of the file is sent once and in its place, however the reads complete and the sends are cut."""
    path = make_file(size)
    assert send_through(kdigest, path, size, bundle=bundle) == path.read_bytes()


def test_a_file_that_shrinks_is_an_error(kdigest: ModuleType, make_file: Callable[[int], Path]) -> None:
    """A file that ends before the size that it had is an error, and no endless wait."""
    path = make_file(2 * BS)
    with pytest.raises(kdigest.KDigestError, match="shorter"):
        send_through(kdigest, path, 2 * BS + 1, bundle=False)


@pytest.mark.parametrize("bundle", [True, False], ids=["bundled", "linked"])
def test_a_failing_send_ends_everything_in_flight(
    kdigest: ModuleType, make_file: Callable[[int], Path], bundle: bool
) -> None:
    """When a send fails the error says so, and closing leaves no request in flight."""
    near, far = socket.socketpair()
    with near, make_file(20 * BS).open("rb") as infile:
        far.close()
        sender = kdigest.KDigest(infile.fileno(), near.fileno(), bundle=bundle)
        try:
            with pytest.raises(kdigest.KDigestError, match=f"send: .*{os.strerror(errno.EPIPE)}"):
                kdigest.digest_file(sender, 20 * BS)
        finally:
            sender.close()
        assert sender.inflight == 0


def test_a_kernel_without_the_hash_is_named(run_example: Callable[..., Any], make_file: Callable[[int], Path]) -> None:
    """What the kernel lacks, AF_ALG or the algorithm, is said on standard error, and the exit status is 1."""
    done = run_example("kdigest", "no-such-hash", make_file(1))
    expected = "AF_ALG" if (af_alg_answer("no-such-hash") or "").startswith("AF_ALG") else "/proc/crypto"
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage"),
        (("sha256",), "usage"),
        (("x" * 64, "/dev/null"), "too long"),
        (("sha256", "/no/such/file"), "/no/such/file"),
    ],
)
def test_bad_arguments_are_explained(run_example: Callable[..., Any], arguments: tuple[str, ...], message: str) -> None:
    """Wrong arguments end with status 1, and a message about them on standard error."""
    done = run_example("kdigest", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
