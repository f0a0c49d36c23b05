"""Pipes made by the ring, and data moved through them inside the kernel."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders.direct import ALLOC
from uring.errors import ChainBroken
from uring.ring import Ring
from uring.types import FixedFile

CONTENT = bytes(range(256)) * 16


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """Open a file of 4 KiB in which no two neighbouring bytes are the same."""
    (tmp_path / "file").write_bytes(CONTENT)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def descriptors() -> set[str]:
    """Return the numbers of all open descriptors."""
    with os.scandir("/proc/self/fd") as entries:
        return {entry.name for entry in entries if os.path.lexists(entry.path)}


# Making pipes


def test_pipe_is_a_pair(ring: Ring) -> None:
    """The result is a reading and a writing end, connected, blocking, and not inherited, as from os.pipe."""
    require_opcode("IORING_OP_PIPE")
    reader, writer = ring.pipe().result()
    try:
        os.write(writer, b"through")
        assert os.read(reader, 16) == b"through"
        for end in (reader, writer):
            assert os.get_blocking(end)
            assert not os.get_inheritable(end)
    finally:
        os.close(reader)
        os.close(writer)


def test_pipe_flags_are_those_of_pipe2(ring: Ring) -> None:
    """Flags replace the default: a pipe made with O_NONBLOCK alone is inherited; one that exists not is EINVAL."""
    require_opcode("IORING_OP_PIPE")
    for end in ring.pipe(os.O_NONBLOCK).result():
        assert not os.get_blocking(end)
        assert os.get_inheritable(end)
        os.close(end)
    with pytest.raises(OSError, match=r"\[pipe\]") as caught:
        ring.pipe(os.O_APPEND).result()
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("way", ["dropped", "abandoned before", "abandoned after"])
def test_pipe_that_nobody_takes_is_closed(ring: Ring, way: str) -> None:
    """Both ends are closed when nobody was told of them."""
    require_opcode("IORING_OP_PIPE")
    before = descriptors()
    operation = ring.pipe()
    if way == "abandoned before":
        operation.abandon()
    ring.nop(drain=True).result()
    ring.peek()
    if way == "abandoned after":
        operation.abandon()
    if way == "dropped":
        assert len(descriptors() - before) == 2
        del operation
        gc.collect()
    assert descriptors() == before


def test_taken_pipe_is_the_callers(ring: Ring) -> None:
    """Ends whose numbers were told stay open when the operation goes."""
    require_opcode("IORING_OP_PIPE")
    operation = ring.pipe()
    ends = operation.result()
    assert operation.result() == ends
    del operation
    gc.collect()
    for end in ends:
        os.close(end)


def test_pipe_into_slots(ring: Ring) -> None:
    """With `direct` both ends are FixedFiles: in a slot and the next one, or where the kernel chooses."""
    require_opcode("IORING_OP_PIPE")
    assert L.io_uring_register_files_sparse(ring.c_ring, 4) == 0
    assert ring.pipe(direct=1).result() == (FixedFile(1), FixedFile(2))
    reader, writer = ring.pipe(direct=ALLOC).result()
    assert {reader, writer} == {FixedFile(0), FixedFile(3)}
    buffer = bytearray(8)
    assert ring.write(writer, b"slots").result() == 5
    assert ring.read(reader, buffer).result() == 5
    assert buffer == b"slots" + bytes(3)
    with pytest.raises(OSError, match=r"\[pipe\]"):
        ring.pipe(direct=ALLOC).result()


def test_slots_are_emptied_when_nobody_takes_them(ring: Ring) -> None:
    """Slots that the kernel chose for a pipe are free again when nobody was told; named ones when it is abandoned."""
    require_opcode("IORING_OP_PIPE")
    assert L.io_uring_register_files_sparse(ring.c_ring, 2) == 0
    for _ in range(2):
        assert ring.pipe(direct=ALLOC).exception() is None  # fails when the slots are in use
        gc.collect()
    named = ring.pipe(direct=0)
    assert named.exception() is None
    named.abandon()
    assert sorted(ring.pipe(direct=ALLOC).result()) == [0, 1]


def test_named_slots_stay(ring: Ring) -> None:
    """Slots that the caller named keep the pipe when the operation goes: their numbers were known before."""
    require_opcode("IORING_OP_PIPE")
    assert L.io_uring_register_files_sparse(ring.c_ring, 2) == 0
    ring.pipe(direct=0).exception()
    gc.collect()
    assert ring.write(FixedFile(1), b"x").result() == 1
    assert ring.read(FixedFile(0), bytearray(1)).result() == 1


# Splice and tee


def test_splice_moves_file_to_pipe_to_file(ring: Ring, fd: int, pipe: tuple[int, int], tmp_path: Path) -> None:
    """A chain of two splices moves bytes at offsets from file to file, through a pipe, by descriptor and object."""
    reader, writer = pipe
    with (tmp_path / "target").open("wb", buffering=0) as target:
        with ring.chain() as chain:
            ring.splice(fd, 100, writer, -1, 300)
            ring.splice(reader, -1, target, 20, 300)
        assert [link.result() for link in chain] == [300, 300]
    assert (tmp_path / "target").read_bytes() == bytes(20) + CONTENT[100:400]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0


def test_splice_goes_on_from_the_position(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """Offset -1 is the file's position, which is advanced."""
    os.lseek(fd, 33, os.SEEK_SET)
    assert ring.splice(fd, -1, pipe[1], -1, 50).result() == 50
    assert os.read(pipe[0], 100) == CONTENT[33:83]
    assert os.lseek(fd, 0, os.SEEK_CUR) == 83


def test_splice_of_registered_files(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """Source, target or both may be FixedFiles."""
    assert L.io_uring_register_files(ring.c_ring, [fd, pipe[1]], 2) == 0
    for source, target in ((FixedFile(0), pipe[1]), (fd, FixedFile(1)), (FixedFile(0), FixedFile(1))):
        assert ring.splice(source, 10, target, -1, 5).result() == 5
        assert os.read(pipe[0], 100) == CONTENT[10:15]


def test_short_splice_breaks_a_chain(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """At the end of the file a splice moves less; what is linked behind it does not run and says so."""
    with ring.chain():
        splice = ring.splice(fd, len(CONTENT) - 10, pipe[1], -1, 100)
        follower = ring.nop()
    assert splice.result() == 10
    with pytest.raises(ChainBroken, match="transferred only 10 bytes") as caught:
        follower.result()
    assert caught.value.cause is splice


def test_splice_errors_say_what_was_tried(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """Failures name both descriptors and offsets, and that a pipe is needed."""
    with pytest.raises(OSError, match=rf"splice of 5 bytes from fd {fd} at 0 to fd {fd} at 100: splice needs a pipe"):
        ring.splice(fd, 0, fd, 100, 5).result()
    with pytest.raises(OSError, match=rf"splice of 5 bytes from fd {fd} to fd {pipe[1]} at 7\]") as caught:
        ring.splice(fd, -1, pipe[1], 7, 5).result()
    assert caught.value.errno == errno.ESPIPE


def test_tee_copies_and_keeps(ring: Ring, fd: int, pipe: tuple[int, int]) -> None:
    """Tee copies what is in one pipe to another and leaves it there; a file is not a pipe."""
    second = os.pipe()
    try:
        os.write(pipe[1], b"twice")
        assert ring.tee(pipe[0], second[1], 100).result() == 5
        assert os.read(second[0], 100) == b"twice"
        assert os.read(pipe[0], 100) == b"twice"
        with pytest.raises(OSError, match=rf"tee of 9 bytes from fd {fd} to fd {second[1]}: splice needs") as caught:
            ring.tee(fd, second[1], 9).result()
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(second[0])
        os.close(second[1])
