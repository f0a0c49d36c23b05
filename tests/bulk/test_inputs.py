"""What bulk calls take as numbers, buffers and descriptors, and what they refuse before anything is queued."""

from __future__ import annotations

import array
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from uring import Ring, RingClosed, WrongThread

OFFSETS = [3, 70_000, 12, 0, 99]
NUMPY = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


def all_forms() -> dict[str, Any]:
    """The same five offsets in every form."""
    forms: dict[str, Any] = {
        "list": OFFSETS,
        "tuple": tuple(OFFSETS),
        "generator's list": [np.int64(offset) for offset in OFFSETS],
        "view": memoryview(array.array("q", OFFSETS)),
        "cast": memoryview(array.array("q", OFFSETS).tobytes()).cast("q"),
        "misaligned": memoryview(b"x" + array.array("q", OFFSETS).tobytes())[1:].cast("q"),
        "strided": np.array([[offset, -1] for offset in OFFSETS])[:, 0],
        "backwards": np.array(OFFSETS[::-1])[::-1],
        "strided view": memoryview(array.array("q", [n for offset in OFFSETS for n in (offset, -1)]))[::2],
        "read-only": memoryview(array.array("q", OFFSETS)).toreadonly(),
        "big-endian": np.array(OFFSETS, ">i8"),
        "mmap": _mapped(),
    }
    forms |= {f"array {code}": array.array(code, OFFSETS) for code in "iIlLqQ"}
    forms |= {f"numpy {kind}": np.array(OFFSETS, kind) for kind in NUMPY if np.iinfo(kind).max >= 70_000}
    return forms


def _mapped() -> Any:
    area = mmap.mmap(-1, 40)
    area.write(array.array("q", OFFSETS).tobytes())
    return memoryview(area).cast("q")


@pytest.mark.parametrize("form", all_forms())
def test_offsets_in_every_form(calls: Any, file: int, data: bytes, form: str) -> None:
    """Wherever five numbers come from, they are the same five."""
    offsets = all_forms()[form]
    result = calls.read_many(file, offsets, 7)
    result.raise_for_error()
    assert [bytes(result[i]) for i in range(5)] == [data[at : at + 7] for at in OFFSETS]


@pytest.mark.parametrize(
    "offsets", [range(5), range(0, 50, 10), range(40, -1, -10), range(0), range(7, 8, 3)], ids=repr
)
def test_ranges(calls: Any, file: int, data: bytes, offsets: range) -> None:
    """An arithmetic series, up, down, or empty."""
    result = calls.read_many(file, offsets, 4)
    assert [bytes(result[i]) for i in range(len(offsets))] == [data[at : at + 4] for at in offsets]


def test_small_integers(calls: Any, file: int, data: bytes) -> None:
    """Arrays of one and two bytes each."""
    for form in (array.array("b", [1, 2]), array.array("H", [1, 2]), np.array([1, 2], "uint8"), np.array([1, 2], "i2")):
        result = calls.read_many(file, form, 2)
        assert [bytes(result[i]) for i in range(2)] == [data[1:3], data[2:4]]


def test_one_for_all(calls: Any, file: int, data: bytes) -> None:
    """Python's ints and numpy's scalars stand for every request."""
    for one in (5, np.int64(5), np.uint8(5), np.array(5)):
        result = calls.read_many([file] * 3, one, one)
        assert [bytes(result[i]) for i in range(3)] == [data[5:10]] * 3


class Odd:
    """An object that is nothing."""


REFUSED: dict[str, tuple[Callable[[int], tuple[Any, ...]], type[Exception], str]] = {
    "negative offset": (lambda fd: (fd, [0, -1], 4), ValueError, "read 1 .offset -1, length 4. has an offset"),
    "negative length": (lambda fd: (fd, [0, 1], [4, -4]), ValueError, "read 1 .* length that is negative"),
    "offset of 64 bits": (lambda fd: (fd, [1 << 63], 4), ValueError, "63 bits"),
    "unsigned offset of 64 bits": (lambda fd: (fd, np.array([0, 1 << 63], "uint64"), 4), ValueError, "read 1 "),
    "end of 64 bits": (lambda fd: (fd, [(1 << 63) - 1], 4, bytearray(4)), ValueError, "beyond what a file can have"),
    "total of 64 bits": (lambda fd: (fd, [0, 0], 1 << 62, bytearray(4)), ValueError, "read 1|beyond"),
    "a float": (lambda fd: (fd, [0.5], 4), TypeError, "offsets must be integers"),
    "an array of floats": (lambda fd: (fd, array.array("d", [0.0]), 4), TypeError, "offsets must be integers"),
    "text": (lambda fd: (fd, "123", 4), TypeError, "offsets must be integers"),
    "bytes": (lambda fd: (fd, b"123", 4), TypeError, "offsets must be integers"),
    "a bool": (lambda fd: (fd, True, [4]), TypeError, "bool"),
    "an object": (lambda fd: (fd, Odd(), 4), TypeError, "offsets must be"),
    "None": (lambda fd: (fd, None, 4), TypeError, "offsets must be"),
    "two dimensions": (lambda fd: (fd, np.zeros((2, 2), "int64"), 4), ValueError, "one dimension"),
    "not equally many": (lambda fd: (fd, [0, 1], [1, 2, 3]), ValueError, "2 offsets, 3 lengths"),
    "not as many files": (lambda fd: ([fd] * 4, [0, 1], 1), ValueError, "4 fd, 2 offsets"),
    "not as many buffers": (lambda fd: (fd, [0, 1], 1, [bytearray(1)]), ValueError, "2 offsets, 1 buffers"),
    "nothing says how many": (lambda fd: (fd, 0, 4), TypeError, "how many requests"),
    "no lengths": (lambda fd: (fd, [0]), TypeError, "lengths may be left out"),
    "no lengths, one buffer": (lambda fd: (fd, [0], None, bytearray(9)), TypeError, "lengths may be left out"),
    "a bool as file": (lambda fd: (True, [0], 4), TypeError, "bool"),
    "a negative file": (lambda fd: (-1, [0], 4), ValueError, "negative"),
    "a negative file among others": (lambda fd: ([fd, -1], [0, 0], 4), ValueError, "read 1 .* not a descriptor"),
    "no file": (lambda fd: (Odd(), [0], 4), TypeError, "fd must be"),
    "no file among others": (lambda fd: ([fd, Odd()], [0, 0], 4), TypeError, "fileno"),
    "bytes to read into": (lambda fd: (fd, [0], 4, b"1234"), TypeError, "read-only"),
    "a read-only view": (lambda fd: (fd, [0], 4, memoryview(bytearray(4)).toreadonly()), TypeError, "read-only"),
    "a number as buffer": (lambda fd: (fd, [0], 4, 4), TypeError, "buffer|bytes-like"),
    "text as buffer": (lambda fd: (fd, [0], 4, "abcd"), TypeError, "buffer|bytes-like"),
    "a strided buffer": (lambda fd: (fd, [0], 4, memoryview(bytearray(8))[::2]), BufferError, "contiguous"),
    "a strided array": (lambda fd: (fd, [0], 4, np.zeros((4, 4), "u1")[:, ::2]), (ValueError, BufferError), "contig"),
    "a buffer that is too small": (lambda fd: (fd, [0, 8], 8, bytearray(15)), ValueError, "read 1 .* beyond the end"),
    "one of several too small": (lambda fd: (fd, [0, 8], 8, [bytearray(8), bytearray(7)]), ValueError, "read 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(calls: Any, file: int, case: str) -> None:
    """Each kind of bad input has its exception and its words, and nothing was queued."""
    arguments, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        calls.read_many(*arguments(file))
    if isinstance(calls, Ring):
        assert calls.statistics().submitted == 0


SETTINGS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no depth": ({"depth": 0}, ValueError, "depth must be from 1 to 65536"),
    "depth beyond": ({"depth": 65537}, ValueError, "depth"),
    "depth as text": ({"depth": "4"}, TypeError, "depth"),
    "widen to no power of two": ({"widen": 1000}, ValueError, "power of two"),
    "widen to little": ({"widen": 256}, ValueError, "512"),
    "positions without a buffer": ({"positions": [0, 1]}, ValueError, "given"),
    "negative timeout": ({"timeout": -1}, ValueError, "timeout"),
    "timeout as text": ({"timeout": "1"}, TypeError, "timeout"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_cannot_be(calls: Any, file: int, case: str) -> None:
    """The same for keywords."""
    settings, error, words = SETTINGS[case]
    with pytest.raises(error, match=words):
        calls.read_many(file, [0, 1], 4, **settings)


def test_positions_that_cannot_be(calls: Any, file: int) -> None:
    """Positions outside of the buffer, too few, or for a list of buffers."""
    for positions, words in (([0, -1], "negative position"), ([0, 5], "beyond the end"), ([0], "equally many")):
        with pytest.raises(ValueError, match=words):
            calls.read_many(file, [0, 1], 4, bytearray(8), positions=positions)
    with pytest.raises(ValueError, match="several"):
        calls.read_many(file, [0], 4, [bytearray(4)], positions=[0])


def test_the_caller_gets_his_memory_back(calls: Any, file: int) -> None:
    """When the call returns, buffers and arrays can be resized, though the result is still there."""
    out, offsets, lengths = bytearray(8), array.array("q", [0, 4]), array.array("i", [4, 4])
    positions = array.array("q", [4, 0])
    result = calls.read_many(file, offsets, lengths, out, positions=positions)
    part = bytes(result[1])
    out += b"more"
    for numbers in (offsets, lengths, positions):
        numbers.append(1)
    assert bytes(result[1]) == part
    assert out.endswith(b"more")


def test_numbers_that_change_meanwhile_hurt_nobody(ring: Ring, file: int) -> None:
    """Another thread that spoils the arrays during a run gets errors, and no byte outside of the buffer is written."""
    count = 40_000
    area = bytearray(b"\x11" * (3 * 4096))
    out = memoryview(area)[4096:8192]
    offsets, positions = np.zeros(count, "int64"), np.zeros(count, "int64")
    lengths = np.full(count, 16, "int64")
    going = True

    def spoil() -> None:
        value = 1
        while going:
            for numbers in (positions, lengths, offsets):
                numbers[:] = value
                numbers[:] = 16
            value = -value * 3 if abs(value) < 1 << 60 else 1

    with ring.plan_reads(file, offsets, lengths, out, positions=positions) as plan:
        thread = threading.Thread(target=spoil)
        thread.start()
        try:
            for _ in range(20):
                try:
                    result = plan.run()
                except ValueError:
                    continue  # it was caught by the check
                assert set(result.errors.tolist()) <= {0, 22}
        finally:
            going = False
            thread.join()
    assert area[:4096] == b"\x11" * 4096
    assert area[8192:] == b"\x11" * 4096


def test_the_ring_must_be_ones_own_and_open(ring: Ring, file: int) -> None:
    """Another thread, a closed ring, an open chain."""
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            ring.read_many(file, [0], 1)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [type(error) for error in caught] == [WrongThread]
    with ring.chain():
        ring.nop()
        with pytest.raises(RuntimeError, match="chain"):
            ring.read_many(file, [0], 1)
    closed = Ring(4)
    plan = closed.plan_reads(file, [0], 1)
    closed.close()
    for call in (lambda: closed.read_many(file, [0], 1), lambda: closed.nop_many(3), plan.run):
        with pytest.raises(RingClosed):
            call()
    plan.close()


def test_paths_are_paths(calls: Any) -> None:
    """A single path is no list of them, and no path contains a null byte."""
    for call in (calls.stat_many, calls.open_many, calls.unlink_many, calls.read_files):
        for bad in ("name", b"name"):
            with pytest.raises(TypeError, match="sequence of paths"):
                call(bad)
        with pytest.raises(TypeError):
            call([1])
        with pytest.raises(ValueError, match="null byte"):
            call(["fine", "a\0b"])
        with pytest.raises(ValueError, match="negative"):
            call(["fine"], dir_fd=-1)
        with pytest.raises(ValueError, match="depth"):
            call(["fine"], depth=0)
        assert len(call([])) == 0


def test_a_fork_child_is_refused(ring: Ring, file: int) -> None:
    """The child of a fork cannot use its parent's ring for bulk calls."""
    with ring.plan_reads(file, [0], 1) as plan:
        child = os.fork()
        if not child:
            code = 1
            try:
                plan.run()
            except Exception as error:
                code = 0 if type(error).__name__ == "Forked" else 2
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert plan.run().failed == 0
