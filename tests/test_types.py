"""Values that builders take: options, durations, registered files and buffers, aligned memory."""

from __future__ import annotations

import array
import math
import mmap
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uring
from uring import FixedBuffer, FixedFile, Nanoseconds, aligned_buffer, fused
from uring.fused import ffi, lib
from uring.types import nanoseconds, pack, timespec

FLAGS = {
    "fixed_file": lib.IOSQE_FIXED_FILE,
    "drain": lib.IOSQE_IO_DRAIN,
    "force_async": lib.IOSQE_ASYNC,
    "skip_success": lib.IOSQE_CQE_SKIP_SUCCESS,
}
U16 = st.integers(0, 0xFFFF)


# --- options ---------------------------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from(sorted(FLAGS)), st.booleans()),
    st.fixed_dictionaries({}, optional={"ioprio": U16, "personality": U16, "buffer_group": U16}),
)
def test_options_pack_into_the_word_of_the_fused_calls(flags: dict[str, bool], fields: dict[str, int]) -> None:
    """Each combination is what fused.options() makes of the same; a buffer group also selects a buffer."""
    bits = 0
    for name, chosen in flags.items():
        bits |= FLAGS[name] if chosen else 0
    if "buffer_group" in fields:
        bits |= lib.IOSQE_BUFFER_SELECT
    expected = fused.options(
        flags=bits,
        ioprio=fields.get("ioprio", 0),
        personality=fields.get("personality", 0),
        buf_group=fields.get("buffer_group", 0),
    )
    options: Any = {**flags, **fields}
    assert pack(options) == expected


def test_every_option_is_documented_and_packed() -> None:
    """The names of Options are those that pack takes, and its docstring tells of each."""
    for name in uring.Options.__annotations__:
        option: Any = {name: 1}
        assert pack(option) > 0
        assert f"`{name}`" in (uring.Options.__doc__ or "")


@pytest.mark.parametrize("name", ["ioprio", "personality", "buffer_group"])
@pytest.mark.parametrize("value", [-1, 1 << 16, "1", None, 1.0])
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any) -> None:
    """Fields have 16 bits."""
    option: Any = {name: value}
    with pytest.raises(ValueError, match=f"{name} must be an integer from 0 to 65535"):
        pack(option)


def test_an_unknown_option_is_refused() -> None:
    """A slip of the pen raises, and the message lists what there is."""
    option: Any = {"asynchronous": True}
    with pytest.raises(TypeError, match=r"unknown option 'asynchronous'.*force_async"):
        pack(option)
    with uring.Ring(8) as ring, pytest.raises(TypeError, match="unknown option"):
        ring.nop(asynchronous=True)  # type: ignore[call-overload]


def test_options_reach_the_sqe() -> None:
    """Flags, priority and personality stand in the SQE that a builder writes."""
    with uring.Ring(8) as ring:
        personality = ring.register_personality()
        operation = ring.nop(force_async=True, drain=True, personality=personality)
        sqe = ring.c_ring.sq.sqes[0]
        assert sqe.flags == lib.IOSQE_ASYNC | lib.IOSQE_IO_DRAIN
        assert sqe.personality == personality
        assert operation.result(10) is None


# --- durations -------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 63) - 1))
def test_nanoseconds_are_exact(value: int) -> None:
    """Nanoseconds come through unchanged, also as a timespec."""
    assert nanoseconds(Nanoseconds(value)) == value
    spec = timespec(Nanoseconds(value))
    assert (spec.tv_sec, spec.tv_nsec) == divmod(value, 1_000_000_000)


@given(st.floats(0, 1e6))
def test_seconds_are_rounded_to_nanoseconds(value: float) -> None:
    """A float is seconds; nothing is lost beyond the rounding."""
    assert abs(nanoseconds(value) - value * 1e9) <= 1


@pytest.mark.parametrize("value", [-1, -0.1, Nanoseconds(-1), 1 << 40, Nanoseconds(1 << 63)])
def test_durations_out_of_range(value: Any) -> None:
    """Negative, or more than the kernel counts."""
    with pytest.raises(ValueError, match="timeout must be from 0 to 292 years"):
        nanoseconds(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_durations_that_are_not_finite(value: float) -> None:
    """There is no endless timeout; None is none."""
    with pytest.raises(ValueError, match="pause must be finite"):
        nanoseconds(value, "pause")


@pytest.mark.parametrize("value", ["1", None, True, b"1", (1, 0)])
def test_what_is_no_duration(value: Any) -> None:
    """Only numbers are durations, and a bool is none."""
    with pytest.raises(TypeError, match="must be seconds as a number"):
        nanoseconds(value)


# --- registered files and buffers ------------------------------------------------------------------


def test_a_fixed_file_is_an_index_with_a_name() -> None:
    """It compares and computes as an int, shows what it is, and sets the flag of its request."""
    assert FixedFile(3) == 3
    assert repr(FixedFile(3)) == "FixedFile(3)"
    with uring.Ring(8) as ring:
        operation = ring.read(FixedFile(3), bytearray(1))
        assert ring.c_ring.sq.sqes[0].flags == lib.IOSQE_FIXED_FILE
        assert isinstance(operation.exception(10), OSError)
        with pytest.raises(ValueError, match="negative"):
            ring.read(FixedFile(-1), bytearray(1))


def test_a_slice_of_a_fixed_buffer_is_fixed() -> None:
    """It keeps the index and refers to a part of the same memory."""
    memory = bytearray(range(100))
    part = FixedBuffer(7, memory)[10:20]
    assert isinstance(part, FixedBuffer)
    assert (part.index, len(part), bytes(part.memory)) == (7, 10, bytes(range(10, 20)))
    assert bytes(part[2:4].memory) == bytes((12, 13))
    memory[12] = 99
    assert part.memory[2] == 99
    assert len(FixedBuffer(0, array.array("q", [1, 2]))) == 16


def test_bad_fixed_buffers_are_refused() -> None:
    """An index of 16 bits; slices only."""
    for index in (-1, 1 << 16):
        with pytest.raises(ValueError, match="from 0 to 65535"):
            FixedBuffer(index, bytearray(1))
    with pytest.raises(TypeError, match="sliced, not indexed"):
        FixedBuffer(0, bytearray(1))[0]  # type: ignore[index]


# --- aligned memory --------------------------------------------------------------------------------


@given(st.integers(1, 1 << 17), st.integers(0, 16))
def test_aligned_memory_is_aligned(size: int, shift: int) -> None:
    """Address, length and contents are as asked for."""
    memory = aligned_buffer(size, 1 << shift)
    assert len(memory) == memory.nbytes == size
    assert int(ffi.cast("uintptr_t", ffi.from_buffer(memory))) % (1 << shift) == 0
    assert not memory.readonly
    assert memory[0] == memory[size - 1] == 0
    memory[size - 1] = 255


def test_aligned_memory_is_aligned_to_pages_by_default() -> None:
    """Which O_DIRECT accepts everywhere."""
    assert int(ffi.cast("uintptr_t", ffi.from_buffer(aligned_buffer(10)))) % mmap.PAGESIZE == 0


def test_aligned_memory_serves_direct_reads(tmp_path: Path) -> None:
    """A file opened with O_DIRECT is read into it."""
    path = tmp_path / "direct"
    path.write_bytes(b"d" * 8192)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        pytest.skip("this file system has no O_DIRECT")
    try:
        memory = aligned_buffer(8192)
        with uring.Ring(8) as ring:
            assert ring.read(fd, memory, offset=0).result(10) == 8192
        assert bytes(memory) == b"d" * 8192
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("size", "alignment", "why"), [(0, 512, "size"), (-1, 1, "size"), (1, 0, "power"), (1, 3, "power")]
)
def test_aligned_memory_out_of_range(size: int, alignment: int, why: str) -> None:
    """At least a byte, and a power of two."""
    with pytest.raises(ValueError, match=why):
        aligned_buffer(size, alignment)
