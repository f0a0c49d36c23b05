"""The fused calls: one crossing a request, which comes back as it was prepared."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from fused_calls import TAG, queue_nops

from uring import fused
from uring import liburing as L

ffi = L.ffi

# Every prepare call but the generic one and the one that changes a prepared SQE.
KINDS = sorted(
    {name.removeprefix("io_uring_prep_") for name in dir(L.lib) if name.startswith("io_uring_prep_")}
    - {"rw", "send_set_addr"}
)

BIG = ("nop128", "uring_cmd128")


# --- preparing -----------------------------------------------------------------------------------


def sqe_memory(ring: Any, slot: int) -> Any:
    """The bytes of an SQE in ring memory, all 128 on a ring of big ones."""
    size = 128 if ring.flags & L.IORING_SETUP_SQE128 else 64
    return ffi.buffer(ffi.cast("char *", ring.sq.sqes) + slot * size, size)


def distinct(ctype: Any, position: int) -> Any:
    """An argument that differs from its neighbours."""
    if ctype.kind == "pointer":
        return ffi.cast(ctype, 0x7000_0000_1000 + 64 * position)
    return position + 3


def all_ones(ctype: Any, position: int) -> Any:
    """An argument with every bit set: -1, or the largest."""
    if ctype.kind == "pointer":
        return ffi.cast(ctype, 2**64 - 1 - position)
    return int(ffi.cast(ctype, -1))


def test_each_prepare_call_has_a_fused_twin() -> None:
    """All 101 are there, next to the forms that liburing cannot prepare and the calls that submit, wait and reap."""
    assert len(KINDS) == 101
    calls = {name for name in fused.__all__ if name.startswith("uring_")}
    unprepared = {"uring_cancel_opcode", "uring_command", "uring_nop_result", "uring_recv_zc"}
    others = {"uring_check", "uring_reap", "uring_submit", "uring_thread", "uring_wait"}
    assert calls == {f"uring_{kind}" for kind in KINDS} | unprepared | others


@pytest.mark.parametrize("kind", KINDS)
def test_fused_call_writes_what_its_twin_writes(attach: Callable[..., Any], kind: str) -> None:
    """The SQE is byte for byte the one of get_sqe, prep and set_data64, whatever was in it before."""
    r = attach(4, L.IORING_SETUP_SQE128 if kind in BIG else 0)
    get_sqe = L.io_uring_get_sqe128 if kind in BIG else L.io_uring_get_sqe
    prepare, call = getattr(L, f"io_uring_prep_{kind}"), getattr(fused, f"uring_{kind}")
    ctypes = ffi.typeof(prepare).args[1:]
    for slot in range(4):
        sqe_memory(r.ring, slot)[:] = b"\xa5" * len(sqe_memory(r.ring, slot))

    for slot, argument in ((0, distinct), (2, all_ones)):
        arguments = [argument(ctype, position) for position, ctype in enumerate(ctypes)]
        sqe = get_sqe(r.ring)
        prepare(sqe, *arguments)
        L.io_uring_sqe_set_data64(sqe, TAG)
        assert call(r, TAG, 0, *arguments) == 0
        assert bytes(sqe_memory(r.ring, slot)) == bytes(sqe_memory(r.ring, slot + 1))
    assert L.io_uring_sq_ready(r.ring) == 4


def test_a_command_without_bytes_has_an_empty_area(attach: Callable[..., Any]) -> None:
    """NULL is taken for no bytes, and the command area holds nothing of an earlier request."""
    r = attach()
    sqe_memory(r.ring, 0)[:] = b"\xa5" * 64
    assert fused.uring_command(r, TAG, 0, L.IORING_OP_URING_CMD, 7, 3, ffi.NULL, 0, 0) == 0
    assert bytes(sqe_memory(r.ring, 0))[48:] == bytes(16)
    assert (r.ring.sq.sqes[0].cmd_op, r.ring.sq.sqes[0].fd, r.ring.sq.sqes[0].user_data) == (7, 3, TAG)


def test_options_reach_their_fields(attach: Callable[..., Any]) -> None:
    """Flags, ioprio, personality and buffer group lie in the SQE as given, and nothing else is set."""
    r = attach()
    options = fused.options(flags=0x15, ioprio=0x1234, personality=0x4321, buf_group=0xABCD)
    assert fused.uring_nop(r, TAG, options) == 0
    sqe = r.ring.sq.sqes[0]
    assert (sqe.flags, sqe.ioprio, sqe.personality, sqe.buf_group) == (0x15, 0x1234, 0x4321, 0xABCD)
    assert (sqe.opcode, sqe.user_data) == (L.IORING_OP_NOP, TAG)
    assert (sqe.len, sqe.addr, sqe.off, sqe.nop_flags, sqe.file_index, sqe.addr3) == (0, 0, 0, 0, 0, 0)


def test_options_are_added_to_what_the_prepare_call_sets(attach: Callable[..., Any]) -> None:
    """A prepare call's own flags, ioprio and buffer survive the options."""
    r = attach()
    more = fused.options(flags=L.IOSQE_ASYNC, ioprio=L.IORING_RECVSEND_POLL_FIRST)
    assert fused.uring_recv_multishot(r, 1, more, 0, ffi.NULL, 0, 0) == 0
    assert fused.uring_read_multishot(r, 2, more, 0, 0, 0, 5) == 0
    recv, read = r.ring.sq.sqes[0], r.ring.sq.sqes[1]
    assert (recv.flags, recv.ioprio) == (L.IOSQE_ASYNC, L.IORING_RECV_MULTISHOT | L.IORING_RECVSEND_POLL_FIRST)
    assert (read.flags, read.buf_group) == (L.IOSQE_ASYNC | L.IOSQE_BUFFER_SELECT, 5)


def test_options_pack_into_one_word() -> None:
    """The extremes fit, and no option is 0."""
    assert fused.options() == 0
    most = fused.options(flags=0xFF, ioprio=0xFFFF, personality=0xFFFF, buf_group=0xFFFF)
    assert most == 2**56 - 1


@pytest.mark.parametrize(("field", "bits"), [("flags", 8), ("ioprio", 16), ("personality", 16), ("buf_group", 16)])
def test_options_out_of_range_raise(field: str, bits: int) -> None:
    """A value that its field cannot hold is refused instead of spilling into the next."""
    for value in (-1, 1 << bits):
        with pytest.raises(ValueError, match=f"{field} must fit {bits} bits"):
            fused.options(**{field: value})


# --- the way there and back ----------------------------------------------------------------------


def test_nop_comes_back_with_its_user_data_and_options(attach: Callable[..., Any]) -> None:
    """Requests with a personality and SQE flags complete; each completion carries its 64-bit user_data."""
    r = attach()
    personality = L.io_uring_register_personality(r.ring)
    assert personality > 0
    with_credentials = fused.options(personality=personality, flags=L.IOSQE_IO_DRAIN)
    tags = [0, 1, TAG, 2**64 - 1]
    for tag in tags:
        assert fused.uring_nop(r, tag, with_credentials) == 0
    assert fused.uring_wait(r, len(tags), -1) == len(tags)
    assert list(fused.completions(r, len(tags))) == [(tag, 0, 0) for tag in tags]


def test_wrong_personality_is_the_kernels_error(attach: Callable[..., Any]) -> None:
    """Options are seen by the kernel: an unknown personality fails the request."""
    r = attach()
    fused.uring_nop(r, 5, fused.options(personality=77))
    assert fused.uring_wait(r, 1, -1) == 1
    assert list(fused.completions(r, 1)) == [(5, -errno.EINVAL, 0)]


def test_counters_and_last_error_are_kept(attach: Callable[..., Any]) -> None:
    """The struct tells how many went and came since attach, and the errno of the last call."""
    r = attach()
    queue_nops(r, range(3))
    assert fused.uring_submit(r) == 3
    assert (r.submitted, r.reaped, r.error) == (3, 0, 0)
    assert fused.uring_reap(r) == 3
    assert fused.uring_wait(r, 1, 0) == -errno.ETIME
    assert (r.submitted, r.reaped, r.error) == (3, 3, -errno.ETIME)
    assert fused.uring_submit(r) == 0
    assert r.error == 0


def test_c_names_and_fused_calls_mix_on_one_ring(attach: Callable[..., Any]) -> None:
    """A request prepared through liburing is reaped by the fused call, and the other way round."""
    r = attach()
    sqe = L.io_uring_get_sqe(r.ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 1)
    fused.uring_nop(r, 2, 0)
    assert fused.uring_wait(r, 2, -1) == 2
    assert [tag for tag, _, _ in fused.completions(r, 2)] == [1, 2]
    fused.uring_nop(r, 3, 0)
    fused.uring_submit(r)
    slot = L.io_uring_cqe_ptr()
    assert L.io_uring_wait_cqe(r.ring, slot) == 0
    assert slot[0].user_data == 3
    L.io_uring_cqe_seen(r.ring, slot[0])
    assert fused.uring_reap(r) == 0


def test_completions_checks_the_count(attach: Callable[..., Any]) -> None:
    """A count outside the array, such as a negative errno, raises instead of reading beyond it."""
    r = attach(room=4)
    assert list(fused.completions(r, 0)) == []
    assert len(list(fused.completions(r, 4))) == 4
    for count in (-errno.EINTR, -1, 5):
        with pytest.raises(ValueError, match="count must be from 0 to 4"):
            fused.completions(r, count)
