"""Bulk writes: what is asked for is in the file, flushed in the order that was asked for."""

from __future__ import annotations

import array
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uring import RegisteredBuffers, RegisteredFiles, Ring


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid():
        pytest.skip("only root can mount a tmpfs")
    folder = tmp_path / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 5000), max_size=30),
    gaps=st.lists(st.integers(0, 5000), min_size=30, max_size=30),
    flush=st.sampled_from(
        [{}, {"sync": "fsync"}, {"sync": "fdatasync", "sync_every": 1}, {"sync": "fsync", "sync_every": 4}]
    ),
)
def test_writes_are_those_of_pwrite(
    calls: Any, target: int, lengths: list[int], gaps: list[int], flush: dict[str, Any]
) -> None:
    """Pieces at increasing places, with holes between them."""
    os.ftruncate(target, 0)
    content, offsets, end = os.urandom(sum(lengths)), [], 0
    model = bytearray()
    for length, gap in zip(lengths, gaps, strict=False):
        end += gap
        offsets.append(end)
        end += length
    at = 0
    for offset, length in zip(offsets, lengths, strict=True):
        if length:
            model.extend(bytes(max(0, offset + length - len(model))))
            model[offset : offset + length] = content[at : at + length]
        at += length
    result = calls.write_many(target, offsets, lengths, content, **flush)
    result.raise_for_error()
    assert result.counts.tolist() == lengths
    assert os.pread(target, len(model) + 1, 0) == model


def test_data_of_all_kinds(calls: Any, target: int) -> None:
    """Bytes, views, arrays, numpy's, lists of these."""
    expected = bytes(range(64))
    for data in (expected, bytearray(expected), memoryview(expected), array.array("B", expected)):
        os.ftruncate(target, 0)
        calls.write_many(target, range(0, 64, 16), 16, data).raise_for_error()
        assert os.pread(target, 100, 0) == expected
    os.ftruncate(target, 0)
    calls.write_many(target, [0, 8], 8, np.frombuffer(expected[:16], "u1").reshape(4, 4)).raise_for_error()
    assert os.pread(target, 100, 0) == expected[:16]
    calls.write_many(target, [3, 0], None, [b"four", bytearray(b"abc")]).raise_for_error()
    assert os.pread(target, 7, 0) == b"abcfour"
    calls.write_many(target, [0, 3], 3, b"..xyz...", positions=[2, 0]).raise_for_error()
    assert os.pread(target, 6, 0) == b"xyz..x"


def test_registered_everything(ring: Ring, target: int) -> None:
    """From a registered buffer to a registered file."""
    with RegisteredFiles(ring, [target]) as table, RegisteredBuffers(ring, [bytearray(b"0123456789")]) as pool:
        with pool.acquire() as slot:
            ring.write_many(table[0], [5, 0], 5, slot, sync="fdatasync").raise_for_error()
        assert os.pread(target, 20, 0) == b"5678901234"
    assert ring.write_many(target, [0], 3, bytearray(b"abc"), register=True).failed == 0
    assert os.pread(target, 3, 0) == b"abc"


def test_a_full_file_system(calls: Any, full: Path) -> None:
    """ENOSPC is the error of those requests that found no room; what was written before stands in the counts."""
    fd = os.open(full / "f", os.O_RDWR | os.O_CREAT)
    try:
        result = calls.write_many(fd, range(0, 40 * 4096, 4096), 4096, bytes(40 * 4096), depth=1)
        assert result.errors.tolist() == [0] * 16 + [errno.ENOSPC] * 24
        assert result.counts.tolist() == [4096] * 16 + [0] * 24
        partial = calls.write_many(fd, [15 * 4096], 8192, bytes(8192))
        assert partial.errors.tolist() == [errno.ENOSPC]
        assert partial.counts.tolist() == [4096]
    finally:
        os.close(fd)


def test_no_batch_follows_one_that_failed(calls: Any, full: Path) -> None:
    """After a batch with an error the later ones are not written, and say so."""
    fd = os.open(full / "f", os.O_RDWR | os.O_CREAT)
    try:
        offsets = [0, 4096, 1 << 20, 8192, 12288]  # the third does not fit
        os.write(fd, bytes(14 * 4096))
        os.posix_fallocate(fd, 14 * 4096, 2 * 4096)
        result = calls.write_many(fd, offsets, 4096, b"x" * 5 * 4096, sync="fsync", sync_every=2)
        assert result.errors.tolist() == [0, 0, errno.ENOSPC, 0, errno.ECANCELED]
        assert os.pread(fd, 1, 12288) == b"\0"
        assert os.pread(fd, 1, 8192) == b"x"
    finally:
        os.close(fd)


def test_a_failed_flush_is_the_error_of_its_writes(ring: Ring, target: int, pipe: tuple[int, int]) -> None:
    """What cannot be flushed fails the batch's requests on that file, and no others."""
    result = ring.write_many([target, pipe[1], target], [0, 0, 4], 4, b"123456789012", sync="fdatasync")
    assert result.errors.tolist() == [0, errno.EINVAL, 0]
    assert result.counts.tolist() == [4, 4, 4]
    result = ring.write_many([pipe[1], target], [0, 0], 4, b"12345678", sync="fsync", sync_every=1)
    assert result.errors.tolist() == [errno.EINVAL, errno.ECANCELED]
    assert os.read(pipe[0], 100) == b"5678" + b"1234"


def test_each_file_of_a_batch_is_flushed_once(ring: Ring, tmp_path: Path) -> None:
    """A batch over three files takes three flushes, whatever the number of writes."""
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in "abc"]
    try:
        before = ring.statistics().submitted
        data = bytes(300)
        result = ring.write_many(fds * 100, range(300), 1, data, sync="fsync", sync_every=150, register=False)
        result.raise_for_error()
        assert ring._native.submitted - before == 300 + 2 * 3
    finally:
        for fd in fds:
            os.close(fd)


def test_settings_that_cannot_be(calls: Any, target: int) -> None:
    """What makes no sense for writes is refused."""
    with pytest.raises(ValueError, match="sync_every needs sync"):
        calls.write_many(target, [0], 1, b"x", sync_every=1)
    with pytest.raises(ValueError, match="'fsync', 'fdatasync' or None"):
        calls.write_many(target, [0], 1, b"x", sync="sync")
    with pytest.raises(ValueError, match="sync_every"):
        calls.write_many(target, [0], 1, b"x", sync="fsync", sync_every=0)
    with pytest.raises(TypeError, match="missing"):
        calls.write_many(target, [0], 1, None)
    with pytest.raises(ValueError, match="beyond the end"):
        calls.write_many(target, [0, 1], 4, b"1234567")
    assert os.fstat(target).st_size == 0


def test_the_limit_of_a_files_size(tmp_path: Path) -> None:
    """EFBIG, and SIGXFSZ is the process's own business."""
    code = f"""
import os, resource, signal, uring
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
fd = os.open({str(tmp_path / "f")!r}, os.O_WRONLY | os.O_CREAT)
print(uring.write_many(fd, [0, 4096, 8192], 4096, bytes(12288)).errors.tolist())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"[0, 0, {errno.EFBIG}]"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert signal.getsignal(signal.SIGXFSZ) is not None


def test_a_slow_reader(ring: Ring, pipe: tuple[int, int]) -> None:
    """Short writes to a pipe are continued until all of it is taken."""
    content = os.urandom(500_000)
    got = bytearray()

    def drain() -> None:
        while len(got) < len(content):
            got.extend(os.read(pipe[0], 3001))

    reader = threading.Thread(target=drain)
    reader.start()
    os.set_blocking(pipe[1], False)  # so that the kernel does not continue by itself
    result = ring.write_many(pipe[1], [0], len(content), content, timeout=30)
    reader.join()
    result.raise_for_error()
    assert got == content
    assert result.retried


def test_a_reader_that_goes_away(ring: Ring) -> None:
    """EPIPE is an error like others."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ring.write_many(writer, [0], 4, b"1234").errors.tolist() == [errno.EPIPE]
    finally:
        os.close(writer)
