"""A miniature liburing, and servers on the loopback interface that offer it: what the tests of vendoring share."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from types import ModuleType
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VARIABLE = "URING_LIBURING_SOURCE"
RELEASE = "/archive/refs/tags/liburing-2.15.tar.gz"
PACKAGE = "/pool/main/libu/liburing/liburing_2.15.orig.tar.gz"

# Everything that vendor.py wants of a tree, in small.
LOCKED = {
    "LICENSE": b"MIT\n",
    "src/setup.c": b"int setup;\n" * 200,
    "src/include/liburing.h": b"#define LIBURING\n",
    "src/liburing.map": b"{};\n",
    "examples/helpers.c": b"int helpers;\n",
    "examples/helpers.h": b"extern int helpers;\n",
    **{
        f"examples/{name}.c": f"int {number};\n".encode()
        for number, name in enumerate(
            "echo-server io_uring-close-test io_uring-cp io_uring-test io_uring-udp kdigest link-cp poll-bench "
            "reg-wait send-zerocopy".split()
        )
    },
}
# What upstream has besides.
UNWANTED = {
    "README": b"hello\n",
    "liburing.spec": b"Name: liburing\nVersion: 2.15\n",
    "examples/zcrx.c": b"/* GPL */\n",
    "examples/bpf.bpf.c": b"/* GPL */\n",
    "test/bpf.c": b"/* GPL */\n",
    "man/io_uring.7": b"LGPL\n",
    "src/Makefile": b"all:\n",
}
UPSTREAM = {**LOCKED, **UNWANTED}


def sha256(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def tarball(files: Mapping[str, bytes], mode: str = "w:gz", top: str = "liburing-2.15/") -> bytes:
    """An archive of `files` below one top folder."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def write_files(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write `files` below `root`, and return `root`."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


def read_files(root: Path) -> dict[str, bytes]:
    """What `write_files` wrote."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def pin(vendor: ModuleType, repository: str) -> None:
    """Write the miniature's lock, with upstream at `repository`."""
    digests = vendor.file_digests(LOCKED)
    vendor.Lock("2.15", repository, COMMIT, vendor.total_digest(digests), digests).save()


def assert_in_place(vendor: ModuleType) -> None:
    """The locked files are in place, and nothing else was left behind."""
    assert read_files(vendor.TREE) == LOCKED
    assert sorted(os.listdir(vendor.HERE)) == ["liburing.lock", "upstream", "vendor.py"]


def assert_nothing_placed(vendor: ModuleType) -> None:
    """There is no tree, whole or half, and nothing else was left behind."""
    assert sorted(os.listdir(vendor.HERE)) == ["liburing.lock", "vendor.py"]


def refusal(vendor: ModuleType, call: Callable[[], Any] | None = None) -> str:
    """The message with which `materialise`, or another call, fails."""
    with pytest.raises(vendor.VendorError) as caught:
        (call or vendor.materialise)()
    return str(caught.value)


Answer = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingMixIn, HTTPServer):
    """A site on the loopback interface: a path is answered by `answers[path]`, else with 404."""

    daemon_threads = False

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.told_all = False
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        """End all answers, the thread and the socket."""
        self.over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request to a `Site`."""

    server: Site

    def do_GET(self) -> None:
        """Answer as the test wants it."""
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.send_error(404)
            return
        # A client that gives up does as it should.
        with contextlib.suppress(ConnectionError):
            answer(self)

    def log_message(self, *arguments: Any) -> None:
        """Stay quiet."""


def body(content: bytes, declared: int | None = None) -> Answer:
    """An answer with `content`, and a Content-Length that may not be its length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if declared is None else declared))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def raw(content: bytes) -> Answer:
    """An answer of which every byte is given."""
    return lambda handler: handler.wfile.write(content) and None


def silent(handler: Any) -> None:
    """Never an answer."""
    handler.server.over.wait(10)


def silent_halfway(handler: Any) -> None:
    """Headers and half a body, then nothing any more."""
    body(b"half", declared=8)(handler)
    handler.server.over.wait(10)


def trickle(handler: Any) -> None:
    """A body that arrives byte by byte, for ten seconds."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        if handler.server.over.wait(0.01):
            return
    handler.server.told_all = True
