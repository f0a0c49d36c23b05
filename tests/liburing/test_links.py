"""Linked requests: what runs after what, what breaks a chain, and the timeout of a link."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from errno import ECANCELED, EINVAL, ENOENT, ETIME
from pathlib import Path
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap

from uring import liburing as L

LINK, HARDLINK = L.IOSQE_IO_LINK, L.IOSQE_IO_HARDLINK
LONG = L.__kernel_timespec(60, 0)
LONGER = L.__kernel_timespec(0, 10_000_000)
SHORT = L.__kernel_timespec(0, 2_000_000)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open two connected stream sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def tag(sqe: Any, user_data: int, flags: int = 0) -> None:
    """Set what a prepared SQE answers with, and or its flags in."""
    sqe.flags |= flags
    L.io_uring_sqe_set_data64(sqe, user_data)


def queue_nop(ring: Any, user_data: int, flags: int = 0) -> None:
    """Queue a NOP."""
    sqe = get_sqe(ring)
    L.io_uring_prep_nop(sqe)
    tag(sqe, user_data, flags)


def queue_failing(ring: Any, user_data: int, flags: int = 0) -> None:
    """Queue what is accepted and fails with -ENOENT when it runs: the removal of a timeout that is not there."""
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout_remove(sqe, 12345, 0)
    tag(sqe, user_data, flags)


def queue_read(ring: Any, fd: int, buffer: Any, user_data: int, flags: int = 0) -> None:
    """Queue a read of a whole buffer."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, buffer, len(buffer), 0)
    tag(sqe, user_data, flags)


def queue_link_timeout(ring: Any, timeout: Any, user_data: int, flags: int = 0) -> None:
    """Queue the timeout of the request before it."""
    sqe = get_sqe(ring)
    L.io_uring_prep_link_timeout(sqe, timeout, 0)
    tag(sqe, user_data, flags)


def results(ring: Any, count: int) -> dict[int, int]:
    """Reap that many completions, and no more, as user_data to result."""
    completions = reap(ring, count)
    assert is_empty(ring)
    found = {user_data: res for user_data, res, _flags in completions}
    assert len(found) == count
    return found


# Chains


@pytest.mark.parametrize("flag", [LINK, HARDLINK], ids=["LINK", "HARDLINK"])
@pytest.mark.parametrize("length", [2, 3, 8])
def test_chain_completes_in_order(ring: Any, flag: int, length: int) -> None:
    """The members of a chain run one after the other, so they complete in order."""
    for number in range(length):
        queue_nop(ring, number, (flag if number < length - 1 else 0) | L.IOSQE_ASYNC)
    assert [user_data for user_data, _res, _flags in reap(ring, length)] == list(range(length))


def test_write_then_read_back(ring: Any, tmp_path: Path) -> None:
    """A read linked behind a write of the same bytes sees them, also when both run in workers."""
    text, buffer = L.ffi.new("char[]", b"linked"), L.ffi.new("char[]", 6)
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        sqe = get_sqe(ring)
        L.io_uring_prep_write(sqe, file.fileno(), text, 6, 0)
        tag(sqe, 1, LINK | L.IOSQE_ASYNC)
        queue_read(ring, file.fileno(), buffer, 2, L.IOSQE_ASYNC)
        assert reap(ring, 2) == [(1, 6, 0), (2, 6, 0)]
    assert bytes(L.ffi.buffer(buffer)) == b"linked"


def test_second_member_waits_for_the_first(ring: Any, pipe: tuple[int, int]) -> None:
    """A request behind a link does not start before the one that it is linked to completes."""
    reader, writer = pipe
    buffer = L.ffi.new("char[]", 4)
    queue_read(ring, reader, buffer, 1, LINK)
    queue_nop(ring, 2)
    queue_nop(ring, 3)
    assert reap(ring) == [(3, 0, 0)]
    assert is_empty(ring)
    os.write(writer, b"abcd")
    assert reap(ring, 2) == [(1, 4, 0), (2, 0, 0)]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_failure_cancels_the_rest_of_the_chain(ring: Any, failing: int) -> None:
    """A member that fails has -ECANCELED complete all that follow it in the chain, and none before it."""
    for number in range(4):
        queue = queue_failing if number == failing else queue_nop
        queue(ring, number, LINK if number < 3 else 0)
    expected = [0] * failing + [-ENOENT] + [-ECANCELED] * (3 - failing)
    assert results(ring, 4) == dict(enumerate(expected))


def test_failure_does_not_reach_the_next_chain(ring: Any) -> None:
    """A chain ends at its first member without LINK; the requests behind it run."""
    queue_failing(ring, 1, LINK)
    queue_nop(ring, 2)
    queue_nop(ring, 3, LINK)
    queue_nop(ring, 4)
    assert results(ring, 4) == {1: -ENOENT, 2: -ECANCELED, 3: 0, 4: 0}


def test_hardlink_survives_a_failure(ring: Any) -> None:
    """A chain of HARDLINK goes on whatever its members' results are."""
    queue_failing(ring, 1, HARDLINK)
    queue_failing(ring, 2, HARDLINK)
    queue_nop(ring, 3)
    assert results(ring, 3) == {1: -ENOENT, 2: -ENOENT, 3: 0}


def test_each_link_decides_for_itself(ring: Any) -> None:
    """In a mixed chain a failure behind HARDLINK is survived, and one behind LINK is not."""
    queue_failing(ring, 1, HARDLINK)
    queue_failing(ring, 2, LINK)
    queue_nop(ring, 3, HARDLINK)
    queue_nop(ring, 4)
    assert results(ring, 4) == {1: -ENOENT, 2: -ENOENT, 3: -ECANCELED, 4: -ECANCELED}


@pytest.mark.parametrize(("flag", "second"), [(LINK, -ECANCELED), (HARDLINK, 0)], ids=["LINK", "HARDLINK"])
def test_short_read(ring: Any, tmp_path: Path, flag: int, second: int) -> None:
    """A read that gets less than it asked for breaks LINK and does not break HARDLINK."""
    path = tmp_path / "file"
    path.write_bytes(b"four")
    buffer = L.ffi.new("char[]", 10)
    with path.open("rb") as file:
        queue_read(ring, file.fileno(), buffer, 1, flag)
        queue_nop(ring, 2)
        assert results(ring, 2) == {1: 4, 2: second}


def test_link_on_the_last_of_a_submit_is_ignored(ring: Any) -> None:
    """A chain ends with the submit: LINK on its last request ties nothing of the next submit to it."""
    queue_failing(ring, 1, LINK)
    assert L.io_uring_submit(ring) == 1
    queue_nop(ring, 2)
    assert results(ring, 2) == {1: -ENOENT, 2: 0}


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("flag", [LINK, HARDLINK], ids=["LINK", "HARDLINK"])
def test_member_that_is_refused_cancels_the_whole_chain(make_ring: Callable[..., Any], flag: int, bad: int) -> None:
    """A member that the kernel refuses at the submit cancels all of its chain, those before it too."""
    ring = make_ring(8, L.IORING_SETUP_SUBMIT_ALL)
    for number in range(3):
        sqe = get_sqe(ring)
        L.io_uring_prep_nop(sqe)
        if number == bad:
            sqe.opcode = 255
        tag(sqe, number, flag if number < 2 else 0)
    queue_nop(ring, 3)
    assert L.io_uring_submit(ring) == 4
    assert results(ring, 4) == {number: -EINVAL if number == bad else -ECANCELED for number in range(3)} | {3: 0}


def test_cancelled_head_cancels_the_chain(ring: Any, pipe: tuple[int, int]) -> None:
    """Cancelling the member that runs ends the chain behind it."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1, LINK)
    queue_nop(ring, 2, LINK)
    queue_nop(ring, 3)
    assert L.io_uring_submit(ring) == 3
    sqe = get_sqe(ring)
    L.io_uring_prep_cancel64(sqe, 1, 0)
    tag(sqe, 4)
    assert results(ring, 4) == {1: -ECANCELED, 2: -ECANCELED, 3: -ECANCELED, 4: 0}


def test_link_takes_its_descriptor_when_it_runs(ring: Any, tmp_path: Path) -> None:
    """A linked request looks its descriptor up when its turn comes, so a linked open may put it into place."""
    if not ring.features & L.IORING_FEAT_LINKED_FILE:
        pytest.skip("this kernel lacks IORING_FEAT_LINKED_FILE")
    path = tmp_path / "file"
    path.write_bytes(b"content")
    name, buffer = L.ffi.new("char[]", os.fsencode(path)), L.ffi.new("char[]", 7)
    assert L.io_uring_register_files_sparse(ring, 1) == 0
    sqe = get_sqe(ring)
    L.io_uring_prep_openat_direct(sqe, -1, name, os.O_RDONLY, 0, 0)
    tag(sqe, 1, LINK)
    queue_read(ring, 0, buffer, 2, L.IOSQE_FIXED_FILE)
    assert results(ring, 2) == {1: 0, 2: 7}
    assert bytes(L.ffi.buffer(buffer)) == b"content"


# Sockets


def test_waitall_keeps_the_chain_whole(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """A linked receive with MSG_WAITALL waits for all of its bytes, and the next member runs then."""
    left, right = pair
    buffer = L.ffi.new("char[]", 8)
    sqe = get_sqe(ring)
    L.io_uring_prep_recv(sqe, left.fileno(), buffer, 8, socket.MSG_WAITALL)
    tag(sqe, 1, LINK)
    queue_nop(ring, 2)
    right.send(b"four")
    assert L.io_uring_submit(ring) == 2
    assert is_empty(ring)
    right.send(b"more")
    assert results(ring, 2) == {1: 8, 2: 0}
    assert bytes(L.ffi.buffer(buffer)) == b"fourmore"


def test_short_receive_with_waitall_breaks_the_chain(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """A linked receive with MSG_WAITALL that the peer ends early is short, which breaks its link."""
    left, right = pair
    buffer = L.ffi.new("char[]", 8)
    sqe = get_sqe(ring)
    L.io_uring_prep_recv(sqe, left.fileno(), buffer, 8, socket.MSG_WAITALL)
    tag(sqe, 1, LINK)
    queue_nop(ring, 2)
    right.send(b"four")
    right.shutdown(socket.SHUT_WR)
    assert results(ring, 2) == {1: 4, 2: -ECANCELED}


def test_short_receive_without_waitall_does_not(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """Without MSG_WAITALL a receive of fewer bytes than asked for counts as a success of its link."""
    left, right = pair
    buffer = L.ffi.new("char[]", 8)
    right.send(b"four")
    sqe = get_sqe(ring)
    L.io_uring_prep_recv(sqe, left.fileno(), buffer, 8, 0)
    tag(sqe, 1, LINK)
    queue_nop(ring, 2)
    assert results(ring, 2) == {1: 4, 2: 0}


def test_linked_sends_keep_the_order_of_the_stream(ring: Any, pair: tuple[socket.socket, socket.socket]) -> None:
    """Linked sends on one stream put their bytes there in the order of the chain."""
    left, right = pair
    parts = [L.ffi.new("char[]", part) for part in (b"one ", b"two ", b"three ")]
    for number, part in enumerate(parts):
        sqe = get_sqe(ring)
        L.io_uring_prep_send(sqe, left.fileno(), part, len(part) - 1, socket.MSG_WAITALL)
        tag(sqe, number, LINK if number < 2 else 0)
    assert results(ring, 3) == {0: 4, 1: 4, 2: 6}
    assert right.recv(100) == b"one two three "


# Link timeouts


def test_link_timeout_fires(ring: Any, pipe: tuple[int, int]) -> None:
    """A link timeout that runs out cancels the request before it and completes with -ETIME."""
    buffer = L.ffi.new("char[]", 1)
    started = time.monotonic()
    queue_read(ring, pipe[0], buffer, 1, LINK)
    queue_link_timeout(ring, SHORT, 2)
    assert results(ring, 2) == {1: -ECANCELED, 2: -ETIME}
    assert time.monotonic() - started >= 0.002


def test_link_timeout_does_not_fire(ring: Any, pipe: tuple[int, int]) -> None:
    """A request that completes in time has its link timeout complete with -ECANCELED."""
    reader, writer = pipe
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, reader, buffer, 1, LINK)
    queue_link_timeout(ring, LONG, 2)
    assert L.io_uring_submit(ring) == 2
    assert is_empty(ring)
    os.write(writer, b"x")
    assert results(ring, 2) == {1: 1, 2: -ECANCELED}


def test_link_timeout_of_a_request_that_fails(ring: Any) -> None:
    """A request that fails at once has its link timeout complete with -ECANCELED."""
    queue_failing(ring, 1, LINK)
    queue_link_timeout(ring, LONG, 2)
    assert results(ring, 2) == {1: -ENOENT, 2: -ECANCELED}


def test_link_timeout_that_fires_breaks_the_chain(ring: Any, pipe: tuple[int, int]) -> None:
    """The members behind a request that its timeout cancelled are cancelled as well."""
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1, LINK)
    queue_link_timeout(ring, SHORT, 2, LINK)
    queue_nop(ring, 3, LINK)
    queue_nop(ring, 4)
    assert results(ring, 4) == {1: -ECANCELED, 2: -ETIME, 3: -ECANCELED, 4: -ECANCELED}


def test_link_timeout_that_does_not_fire_lets_the_chain_go_on(ring: Any) -> None:
    """The chain goes on behind a request that was in time."""
    queue_nop(ring, 1, LINK)
    queue_link_timeout(ring, LONG, 2, LINK)
    queue_nop(ring, 3)
    assert results(ring, 3) == {1: 0, 2: -ECANCELED, 3: 0}


def test_link_timeout_times_its_predecessor_only(ring: Any, pipe: tuple[int, int]) -> None:
    """The timeout of one link says nothing about the members behind it: they may take longer."""
    reader, writer = pipe
    buffer = L.ffi.new("char[]", 1)
    queue_nop(ring, 1, LINK)
    queue_link_timeout(ring, SHORT, 2, LINK)
    queue_read(ring, reader, buffer, 3)
    assert sorted(reap(ring, 2)) == [(1, 0, 0), (2, -ECANCELED, 0)]
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout(sqe, LONGER, 0, 0)
    tag(sqe, 4)
    assert reap(ring) == [(4, -ETIME, 0)]
    assert is_empty(ring)
    os.write(writer, b"x")
    assert reap(ring) == [(3, 1, 0)]


def test_link_timeout_starts_with_its_request(ring: Any, pipe: tuple[int, int]) -> None:
    """The timeout of a later member does not run while an earlier member does."""
    reader, writer = pipe
    first, second = L.ffi.new("char[]", 1), L.ffi.new("char[]", 1)
    queue_read(ring, reader, first, 1, LINK)
    queue_read(ring, reader, second, 2, LINK)
    queue_link_timeout(ring, SHORT, 3)
    sqe = get_sqe(ring)
    L.io_uring_prep_timeout(sqe, LONGER, 0, 0)
    tag(sqe, 4)
    assert reap(ring) == [(4, -ETIME, 0)]
    assert is_empty(ring)
    os.write(writer, b"xy")
    assert results(ring, 3) == {1: 1, 2: 1, 3: -ECANCELED}


def test_link_timeout_behind_nothing_is_refused(ring: Any) -> None:
    """A link timeout that no request is linked to is refused with -EINVAL."""
    queue_link_timeout(ring, LONG, 1)
    assert results(ring, 1) == {1: -EINVAL}


def test_two_link_timeouts_on_one_request_are_refused(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """A second timeout on the same request is refused, and the whole chain is cancelled."""
    ring = make_ring(8, L.IORING_SETUP_SUBMIT_ALL)
    buffer = L.ffi.new("char[]", 1)
    queue_read(ring, pipe[0], buffer, 1, LINK)
    queue_link_timeout(ring, LONG, 2, LINK)
    queue_link_timeout(ring, LONG, 3)
    assert results(ring, 3) == {1: -ECANCELED, 2: -ECANCELED, 3: -EINVAL}


def test_link_timeout_too_late_for_its_request(make_ring: Callable[..., Any], pipe: tuple[int, int]) -> None:
    """A link timeout that fires when its request has what it needs, but is not complete yet, says -ENOENT."""
    # With DEFER_TASKRUN the read that the write wakes completes only when the ring is entered. The timer fires before.
    ring = make_ring(8, L.IORING_SETUP_SINGLE_ISSUER | L.IORING_SETUP_DEFER_TASKRUN)
    clock = make_ring(1)
    buffer = L.ffi.new("char[]", 1)
    deadline = time.monotonic() + 10
    outcomes = []
    while {1: 1, 2: -ENOENT} not in outcomes:
        assert time.monotonic() < deadline, f"only {outcomes}"
        queue_read(ring, pipe[0], buffer, 1, LINK)
        queue_link_timeout(ring, SHORT, 2)
        assert L.io_uring_submit(ring) == 2
        os.write(pipe[1], b"x")
        sqe = get_sqe(clock)
        L.io_uring_prep_timeout(sqe, LONGER, 0, 0)
        reap(clock)
        outcomes.append(results(ring, 2))
        if outcomes[-1][1] != 1:
            os.read(pipe[0], 1)
