"""Bulk reads: each request gets the bytes that os.pread would give it, by io_uring and by threads."""

from __future__ import annotations

import array
import errno
import mmap
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contents_bulk import SIZE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import uring
from uring import Params, RegisteredBuffers, RegisteredFiles, Ring


def test_many_reads_of_one_file(calls: Any, file: int, data: bytes) -> None:
    """Pieces at random places, allocated, packed one behind the other."""
    offsets = [random.Random(1).randrange(SIZE - 100) for _ in range(3000)]
    result = calls.read_many(file, offsets, 100)
    result.raise_for_error()
    assert [bytes(result[i]) for i in range(3000)] == [data[at : at + 100] for at in offsets]
    assert result.counts.tolist() == [100] * 3000
    assert not any(result.errors)
    assert result.total == 300_000
    assert len(result) == 3000


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(st.tuples(st.integers(0, SIZE + 5000), st.integers(0, 9000)), max_size=40),
    depth=st.sampled_from([None, 1, 2, 7, 300]),
)
def test_reads_are_those_of_pread(calls: Any, file: int, requests: list[tuple[int, int]], depth: int | None) -> None:
    """Any offsets and lengths, beyond the end of the file too, in memory that nothing else is written to."""
    offsets, lengths = [at for at, _ in requests], [length for _, length in requests]
    total = sum(lengths)
    out = bytearray(b"\xaa" * (total + 16))
    result = calls.read_many(file, offsets, lengths, out, depth=depth)
    result.raise_for_error()
    expected, at = bytearray(b"\xaa" * (total + 16)), 0
    for index, (offset, length) in enumerate(requests):
        piece = os.pread(file, length, offset)
        expected[at : at + len(piece)] = piece
        assert result.counts[index] == len(piece)
        assert result[index] == piece
        at += length
    assert out == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(st.integers(0, SIZE + 5000), st.integers(0, 20_000), st.integers(0, 3)), min_size=1, max_size=20
    )
)
def test_reads_are_widened_and_trimmed(calls: Any, large: Path, requests: list[tuple[int, int, int]]) -> None:
    """With O_DIRECT, whatever is asked for comes as if it were aligned, and nothing beside it is touched."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    try:
        outs = [bytearray(b"\x55" * (length + spare)) for _, length, spare in requests]
        lengths = [length for _, length, _ in requests]
        result = calls.read_many(fd, [at for at, _, _ in requests], lengths, outs, widen=True)
        result.raise_for_error()
        content = large.read_bytes()
        for index, (offset, length, spare) in enumerate(requests):
            piece = content[offset : offset + length]
            assert result.counts[index] == len(piece)
            assert outs[index] == piece + b"\x55" * (length + spare - len(piece))
    finally:
        os.close(fd)


def test_what_is_not_aligned_fails_without_widening(calls: Any, large: Path) -> None:
    """The kernel's EINVAL is the request's error, explained; aligned ones beside it are read."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    try:
        out = uring.aligned_buffer(3 * 4096)
        result = calls.read_many(fd, [0, 100, 8192], 4096, out)
        assert result.errors.tolist() == [0, errno.EINVAL, 0]
        assert result.failed == 1
        with pytest.raises(OSError, match="logical block size") as raised:
            result.raise_for_error()
        assert "read of 4096 bytes at 100" in str(raised.value)
        assert "request 1 of 3, 1 failed" in str(raised.value)
    finally:
        os.close(fd)


@pytest.mark.parametrize("register", [None, True, False])
def test_direct_reads(ring: Ring, large: Path, data: bytes, register: bool | None) -> None:
    """Aligned O_DIRECT reads into memory that was allocated, registered or not."""
    fd = os.open(large, os.O_RDONLY | os.O_DIRECT)
    try:
        with ring.plan_reads(fd, range(0, SIZE, 4096), 4096, register=register) as plan:
            for _ in range(2):
                result = plan.run()
                result.raise_for_error()
                assert result.out == data
        for table in (RegisteredFiles(ring, [fd]), RegisteredBuffers(ring, [bytearray(1)])):
            table.close()  # the ring takes tables again
    finally:
        os.close(fd)


def test_one_file_each(calls: Any, tmp_path: Path) -> None:
    """Descriptors as a list, an array, and numpy's; offsets and lengths for all."""
    names = [tmp_path / str(number) for number in range(50)]
    for number, name in enumerate(names):
        name.write_bytes(b"%05d" % number)
    fds = [os.open(name, os.O_RDONLY) for name in names]
    try:
        for form in (fds, tuple(fds), array.array("i", fds), array.array("q", fds), np.array(fds, np.int32)):
            result = calls.read_many(form, 0, 5)
            assert [bytes(result[i]) for i in range(50)] == [b"%05d" % number for number in range(50)]
    finally:
        for fd in fds:
            os.close(fd)


def test_file_objects(calls: Any, large: Path, data: bytes) -> None:
    """Objects with fileno(), alone and in a list."""
    with large.open("rb") as one, large.open("rb") as two:
        assert calls.read_many(one, [5], 3)[0] == data[5:8]
        result = calls.read_many([one, two, one.fileno()], 7, 2)
        assert [bytes(result[i]) for i in range(3)] == [data[7:9]] * 3


def test_registered_files(ring: Ring, file: int, data: bytes) -> None:
    """One registered file, and one for each request; they may not be mixed with others."""
    with RegisteredFiles(ring, [file, None, file]) as table:
        assert ring.read_many(table[0], [1, 2], 3)[1] == data[2:5]
        result = ring.read_many([table[0], table[2]], [1, 2], 3)
        result.raise_for_error()
        assert [bytes(result[i]) for i in range(2)] == [data[1:4], data[2:5]]
        with pytest.raises(TypeError, match="mixed"):
            ring.read_many([table[0], file], 0, 1)
        held = table[2]
        held.close()
        with pytest.raises(ValueError, match="closed"):
            ring.read_many([table[0], held], [0, 0], 1)
    with Ring(8) as other, RegisteredFiles(other, [file]) as table, pytest.raises(ValueError, match="another ring"):
        ring.read_many(table[0], [0], 1)


def test_many_reads_register_their_file_for_a_while(ring: Ring, file: int, data: bytes) -> None:
    """From 4096 requests on one file is registered; also beside a table of the caller's, which is left alone."""
    offsets = range(5000)
    assert ring.read_many(file, offsets, 1).out == data[:5000]
    with RegisteredFiles(ring, [file]) as table:
        assert ring.read_many(file, offsets, 1).out == data[:5000]
        with pytest.raises(RuntimeError, match="table of registered files already"):
            ring.read_many(file, offsets, 1, register=True)
        assert ring.read_many(table[0], offsets, 1).out == data[:5000]
    assert ring.read_many(file, offsets, 1, register=True).out == data[:5000]


def test_memory_of_all_kinds(calls: Any, file: int, data: bytes) -> None:
    """Bytearrays, arrays, mappings, slices of views, numpy's arrays of any shape."""
    for out in (
        bytearray(64),
        array.array("d", [0] * 8),
        mmap.mmap(-1, 64),
        memoryview(bytearray(100))[3:67],
        np.zeros((4, 4), np.float32),
        np.zeros(80, np.uint8)[8:72],
    ):
        result = calls.read_many(file, range(0, 64, 16), 16, out)
        result.raise_for_error()
        assert bytes(memoryview(out).cast("B")[:64]) == data[:64]
        assert result.out is out
        assert result[2] == data[32:48]


def test_registered_memory(ring: Ring, file: int, data: bytes) -> None:
    """A slot of RegisteredBuffers and slices of it, plain files and registered ones; another ring's is refused."""
    with RegisteredBuffers.allocate(ring, 2, 4096) as pool, pool.acquire(1) as slot:
        result = ring.read_many(file, range(0, 4096, 512), 512, slot)
        result.raise_for_error()
        assert slot.view == data[:4096]
        part = ring.read_many(file, [7, 9], 4, slot[8:16])
        part.raise_for_error()
        assert slot.view[8:16] == data[7:11] + data[9:13]
        assert part[1] == data[9:13]
        with Ring(8) as other, pytest.raises(ValueError, match="another ring"):
            other.read_many(file, [0], 1, slot)
        with pytest.raises(ValueError, match="beyond the end"):
            ring.read_many(file, [0], 4097, slot)


class Tensor:
    """What has its memory by DLPack alone, as torch's tensors do."""

    def __init__(self, array: Any, device: int = 1) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **_: Any) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


def test_tensors(calls: Any, file: int, data: bytes) -> None:
    """Memory by DLPack: contiguous and on the CPU, or it is refused."""
    numbers = np.zeros((3, 4), np.int64)
    result = calls.read_many(file, [0, 10, 20], 32, Tensor(numbers))
    result.raise_for_error()
    assert numbers.tobytes() == data[:32] + data[10:42] + data[20:52]
    assert result[1] == data[10:42]
    with pytest.raises(BufferError, match="contiguous"):
        calls.read_many(file, [0], 8, Tensor(numbers[:, ::2]))
    with pytest.raises(TypeError, match="CPU"):
        calls.read_many(file, [0], 8, Tensor(numbers, device=2))
    with pytest.raises(ValueError, match="beyond the end"):
        calls.read_many(file, [0], 97, Tensor(numbers))


def test_lists_of_buffers(calls: Any, file: int, data: bytes) -> None:
    """A buffer for each request, filled whole when no lengths are given."""
    outs = [bytearray(5), array.array("i", [0, 0]), memoryview(bytearray(3))]
    result = calls.read_many(file, [10, 20, 30], None, outs)
    result.raise_for_error()
    assert [bytes(memoryview(out).cast("B")) for out in outs] == [data[10:15], data[20:28], data[30:33]]
    assert result[1] == data[20:28]
    assert calls.read_many(file, [10, 20, 30], [1, 2, 0], outs).counts.tolist() == [1, 2, 0]


def test_positions(calls: Any, file: int, data: bytes) -> None:
    """Each request's bytes go where they are asked for; many may go to one place."""
    out = bytearray(100)
    calls.read_many(file, [3, 9], 4, out, positions=[50, 10]).raise_for_error()
    assert out == bytes(10) + data[9:13] + bytes(36) + data[3:7] + bytes(46)
    same = calls.read_many(file, [5] * 1000, 8, out, positions=0)
    assert same[999] == data[5:13]


def test_a_pipe_is_read_on(calls: Any, pipe: tuple[int, int]) -> None:
    """Short reads go on until the request is whole, or the pipe has ended."""
    content = os.urandom(300_000)

    def feed() -> None:
        view = memoryview(content)
        for at in range(0, len(content), 7001):
            os.write(pipe[1], view[at : at + 7001])

    writer = threading.Thread(target=feed)
    writer.start()
    try:
        if isinstance(calls, Ring):
            result = calls.read_many(pipe[0], [0], 300_000)
            result.raise_for_error()
            assert result.out == content
            assert result.retried
        else:  # preadv is not for pipes
            assert calls.read_many(pipe[0], [0], 300_000).errors.tolist() == [errno.ESPIPE]
            left = len(content)
            while left:
                left -= len(os.read(pipe[0], left))
    finally:
        writer.join()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_nonblocking_files_are_waited_for(ring: Ring, kind: str) -> None:
    """EAGAIN is no error: the request waits for the file to be ready, and goes on."""
    one, two = socket.socketpair()
    ends = os.pipe2(os.O_NONBLOCK) if kind == "pipe" else (os.dup(one.fileno()), os.dup(two.fileno()))
    one.setblocking(False)
    two.setblocking(False)
    pieces = [b"first", b"second!!"]

    def feed() -> None:
        for piece in pieces:
            os.write(ends[1], piece)

    timer = threading.Timer(0.05, feed)
    timer.start()
    try:
        result = ring.read_many(ends[0], [0], 13, timeout=10)
        result.raise_for_error()
        assert bytes(result[0]) == b"".join(pieces)
    finally:
        timer.join()
        for fd in ends:
            os.close(fd)
        one.close()
        two.close()


def test_time_is_up(ring: Ring, pipe: tuple[int, int], file: int, data: bytes) -> None:
    """What has not come in time has the error ETIMEDOUT, also what was never started; the rest is there."""
    result = ring.read_many([pipe[0], file, pipe[0], file], 0, 4, depth=2, timeout=0.05)
    assert result.errors[0] == errno.ETIMEDOUT
    assert set(result.errors.tolist()) <= {0, errno.ETIMEDOUT}
    assert result.errors[1] or result[1] == data[:4]
    with pytest.raises(TimeoutError):
        result.raise_for_error()
    os.write(pipe[1], b"late")
    assert os.read(pipe[0], 4) == b"late"  # nobody has taken it


def test_errors_are_each_requests_own(calls: Any, file: int, data: bytes, tmp_path: Path) -> None:
    """A bad descriptor, a directory, a file for writing only; the good ones beside them are read."""
    folder = os.open(tmp_path, os.O_RDONLY)
    writing = os.open(tmp_path / "w", os.O_WRONLY | os.O_CREAT)
    try:
        result = calls.read_many([file, 9999, folder, writing, file], [1, 0, 0, 0, 2], 3)
        assert result.errors.tolist() == [0, errno.EBADF, errno.EISDIR, errno.EBADF, 0]
        assert (result[0], result[4]) == (data[1:4], data[2:5])
        assert isinstance(result.error(2), IsADirectoryError)
        assert result.error(0) is None
        assert result.failed == 3
        with pytest.raises(OSError, match="request 1 of 5, 3 failed"):
            result.raise_for_error()
    finally:
        os.close(folder)
        os.close(writing)


def test_nothing_to_do(calls: Any, file: int) -> None:
    """No requests, and requests of no bytes, are fine."""
    assert len(calls.read_many(file, [], 10)) == 0
    assert calls.read_many(file, [], []).total == 0
    assert calls.read_many(file, [0, 5], 0).counts.tolist() == [0, 0]
    assert calls.read_many([], 0, 1).errors.tolist() == []


MODES = {
    "tiny": lambda: Ring(1),
    "plain": lambda: Ring(8, Params(single_issuer=False, defer_taskrun=False, coop_taskrun=False, submit_all=False)),
    "small cq": lambda: Ring(2, Params(cq_entries=2)),
    "sqpoll": lambda: Ring(8, Params(sqpoll=True)),
    "large": lambda: Ring(4096),
    "cqe32": lambda: Ring(8, Params(cqe32=True)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", [None, 1, 3, 1000])
def test_rings_of_all_modes(mode: str, depth: int | None, file: int, data: bytes) -> None:
    """Windows larger and smaller than the queues, on rings of each kind."""
    with MODES[mode]() as ring:
        for options in ({}, {"force_async": True}):
            result = ring.read_many(file, range(0, SIZE, 2048), 2048, depth=depth, **options)
            result.raise_for_error()
            assert result.out == data
        assert ring.nop_many(5000, depth=depth).failed == 0
        assert ring.statistics().in_flight == 0


def test_options(ring: Ring, file: int, data: bytes) -> None:
    """Personality and priority reach each request; what makes no sense is refused."""
    me = ring.register_personality()
    assert ring.read_many(file, [0, 1], 2, personality=me, ioprio=0x4000).failed == 0
    assert ring.read_many(file, [0, 1], 2, personality=me + 1).errors.tolist() == [errno.EINVAL] * 2
    for bad in ({"skip_success": True}, {"drain": True}, {"buffer_group": 1}):
        with pytest.raises(ValueError, match="bulk calls"):
            ring.read_many(file, [0], 1, **bad)
    with pytest.raises(TypeError, match="unknown option"):
        ring.read_many(file, [0], 1, nonsense=1)


def test_beyond_two_gibibytes(ring: Ring, tmp_path: Path) -> None:
    """A request longer than one transfer of the kernel's is continued."""
    path = tmp_path / "sparse"
    with path.open("wb") as sparse:
        sparse.truncate((1 << 31) + 8192)
        sparse.seek((1 << 31) + 4096)
        sparse.write(b"end")
    area = mmap.mmap(-1, (1 << 31) + 8192)
    with path.open("rb") as sparse:
        result = ring.read_many(sparse, [0], (1 << 31) + 8192, area)
        result.raise_for_error()
        assert result.total == (1 << 31) + 8192
        assert result.retried
        assert area[(1 << 31) + 4096 : (1 << 31) + 4099] == b"end"
    del result
    area.close()
