"""Links on the real kernel: their order, what breaks them, and many chains at once."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chains import LONG, NOWHERE, Pipe, assert_empty, kinds

import uring
from uring.operation import State

# --- links in order --------------------------------------------------------------------------------


def test_links_run_in_order(ring: uring.Ring, pipe: Pipe) -> None:
    """Each link starts when the one before it is complete, so what a write puts there its successor reads."""
    back = bytearray(3)
    with ring.chain() as chain:
        write = ring.write(pipe.write, b"abc")
        read = ring.read(pipe.read, back)
    assert len(chain) == 2
    assert list(chain) == [write, read]
    assert ring.wait(2, LONG) == [write, read]
    assert (write.result(), read.result(), bytes(back)) == (3, 3, b"abc")
    assert_empty(ring)


def test_nothing_is_queued_before_the_block_ends(ring: uring.Ring) -> None:
    """Inside the block operations are recorded and the queue stays as it was; behind it they are prepared."""
    with ring.chain():
        operation = ring.nop()
        assert operation.state is State.RECORDED
        assert ring.statistics().sq_space == 16
        assert not operation.done()
    assert operation.state is State.PREPARED
    assert operation.result(LONG) is None


def test_an_empty_chain_does_nothing(ring: uring.Ring) -> None:
    """A block without operations queues nothing, and its repr says so."""
    with ring.chain() as chain:
        assert repr(chain) == "<Chain of nothing yet>"
    assert ring.statistics().sq_space == 16
    assert not list(chain)


def test_a_chain_of_one_is_an_operation(ring: uring.Ring) -> None:
    """One link alone carries no link flag: what is queued behind it does not depend on it."""
    with ring.chain():
        failing = ring.nop(result=-errno.EIO)
    after = ring.nop()
    assert kinds([failing, after]) == [OSError, None]


def test_a_chain_is_recorded_once(ring: uring.Ring) -> None:
    """A chain's handle cannot be entered again after it was written."""
    with ring.chain() as chain:
        ring.nop()
    with pytest.raises(RuntimeError, match="recorded once"), chain:
        pass
    assert repr(chain) == "<Chain of nop>"
    ring.wait(1, LONG)


def test_chains_hand_out_each_link_once(ring: uring.Ring) -> None:
    """Links are handed out like other operations, and their callbacks take them out of that."""
    seen: list[Any] = []
    with ring.chain(timeout=LONG):
        first, second, third = ring.nop(), ring.nop(), ring.nop()
        second.add_done_callback(seen.append)
    assert ring.wait(2, LONG) == [first, third]
    assert seen == [second]
    assert ring.peek() == []
    assert_empty(ring)


# --- breaking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", range(5))
def test_a_failure_breaks_the_chain_and_is_named(ring: uring.Ring, broken: int) -> None:
    """Links before the failing one succeed; those behind it raise ChainBroken with the cause in it."""
    with ring.chain() as chain:
        for number in range(5):
            if number == broken:
                ring.nop(result=-errno.EIO)
            else:
                ring.nop()
    links = list(chain)
    assert kinds(links) == [None] * broken + [OSError] + [uring.ChainBroken] * (4 - broken)
    for link in links[broken + 1 :]:
        error = link.exception()
        assert isinstance(error, uring.ChainBroken)
        assert error.cause is links[broken]
        assert error.errno == errno.ECANCELED
        assert "nop did not run: nop failed: [Errno 5]" in str(error)
        assert link.state is State.CANCELLED
    assert_empty(ring)


def test_a_read_at_the_end_of_the_file_breaks_the_chain(ring: uring.Ring, small: int) -> None:
    """A short transfer is a success for itself and the cause for those behind it."""
    with ring.chain():
        short = ring.read(small, bytearray(100), offset=4)
        after = ring.nop()
    assert short.result(LONG) == 6
    error = after.exception(LONG)
    assert isinstance(error, uring.ChainBroken)
    assert error.cause is short
    assert "transferred only 6 bytes" in str(error)


@pytest.mark.parametrize("flags", [0, socket.MSG_WAITALL])
def test_a_short_receive_breaks_the_chain_only_with_waitall(ring: uring.Ring, flags: int) -> None:
    """Without MSG_WAITALL a receive of less than the buffer is a full success, with it the cause of what follows."""
    left, right = socket.socketpair()
    with left, right:
        left.send(b"abc")
        left.shutdown(socket.SHUT_WR)
        with ring.chain():
            receive = ring.recv(right, bytearray(10), flags)
            after = ring.nop()
        assert receive.result(LONG) == 3
        if flags:
            error = after.exception(LONG)
            assert isinstance(error, uring.ChainBroken)
            assert error.cause is receive
        else:
            assert after.exception(LONG) is None


def test_a_hard_chain_goes_on(ring: uring.Ring, small: int) -> None:
    """Hard links run in spite of failures and short transfers before them."""
    with ring.chain(hard=True):
        failing = ring.nop(result=-errno.EIO)
        short = ring.read(small, bytearray(100), offset=4)
        last = ring.nop()
    assert kinds([failing, short, last]) == [OSError, None, None]
    assert short.result() == 6


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("bad", range(4))
def test_a_malformed_link_cancels_all_and_is_named(ring: uring.Ring, bad: int, hard: bool) -> None:
    """What the kernel refuses before it starts cancels the links before it too; all of them name it."""
    with ring.chain(hard=hard) as chain:
        for number in range(4):
            if number == bad:
                ring.nop(personality=NOWHERE)
            else:
                ring.nop()
    links = list(chain)
    for number, link in enumerate(links):
        error = link.exception(LONG)
        if number == bad:
            assert type(error) is OSError
            assert error.errno == errno.EINVAL
        else:
            assert isinstance(error, uring.ChainBroken)
            assert error.cause is links[bad]
    assert_empty(ring)


def test_cancelling_a_link_breaks_the_rest(ring: uring.Ring, pipe: Pipe) -> None:
    """The cancelled link raises OperationCancelled itself, those behind it ChainBroken that names it."""
    with ring.chain():
        first = ring.nop()
        blocked = ring.read(pipe.read, bytearray(1))
        last = ring.nop()
    ring.submit()
    assert first.result(LONG) is None
    assert blocked.cancel().result(LONG).name == "CANCELLED"
    assert kinds([blocked, last]) == [uring.OperationCancelled, uring.ChainBroken]
    error = last.exception()
    assert isinstance(error, uring.ChainBroken)
    assert error.cause is blocked
    assert_empty(ring)


def test_the_cause_in_a_long_chain_is_found_in_linear_time() -> None:
    """Asking each of thousands of links for its cause does not walk the chain each time."""
    with uring.Ring(8192) as ring:
        with ring.chain() as chain:
            blocked = ring.nop(result=-errno.EIO)
            for _ in range(8000):
                ring.nop()
        ring.wait(8001, LONG)
        links = list(chain)[1:]
        assert all(link.exception().cause is blocked for link in links)  # type: ignore[union-attr]
        assert_empty(ring)


def test_an_abandoned_link_still_runs(ring: uring.Ring, small: int) -> None:
    """A link that is given up is not handed out, and the chain goes on behind it."""
    with ring.chain():
        first = ring.read(small, bytearray(10), offset=0)
        first.abandon()
        last = ring.nop()
    assert ring.wait(1, LONG) == [last]
    assert ring.peek() == []
    assert last.result() is None
    assert_empty(ring)


def test_an_abandoned_descriptor_is_closed_in_a_broken_chain(ring: uring.Ring, tmp_path: Path) -> None:
    """A file that an abandoned link opened is closed when its completion comes (the leak fixture looks)."""
    (tmp_path / "file").touch()
    with ring.chain():
        ring.openat(tmp_path / "file").abandon()
        failing = ring.nop(result=-errno.EIO)
        ring.openat(tmp_path / "file").abandon()
    assert kinds([failing]) == [OSError]
    ring.wait(0)
    assert_empty(ring)


# --- drain -----------------------------------------------------------------------------------------


def test_a_drained_chain_waits_for_everything_before_it(ring: uring.Ring, pipe: Pipe) -> None:
    """It does not start while an earlier operation is in flight, and does when that is complete."""
    blocked = ring.read(pipe.read, bytearray(1))
    with ring.chain(drain=True):
        first, second = ring.nop(), ring.nop()
    ring.submit()
    assert ring.peek() == []
    assert [first.done(), second.done()] == [False, False]
    pipe.fill()
    assert ring.wait(3, LONG) == [blocked, first, second]


def test_drain_and_a_skipped_head_exclude_each_other(ring: uring.Ring) -> None:
    """The kernel refuses drain from the first skipped success on; what can be seen beforehand raises."""
    with pytest.raises(ValueError, match="drain"), ring.chain(drain=True):
        ring.nop(skip_success=True)
    with pytest.raises(ValueError, match="drain"), ring.chain():
        ring.nop(skip_success=True, drain=True)
    assert_empty(ring)


# --- many chains -----------------------------------------------------------------------------------


def test_chains_run_in_parallel(ring: uring.Ring, pipe: Pipe) -> None:
    """A chain that was submitted first and is blocked does not hold up one that comes later."""
    with ring.chain() as blocked:
        ring.read(pipe.read, bytearray(1))
        ring.nop()
    with ring.chain() as free:
        ring.nop()
        ring.nop()
    assert ring.wait(2, LONG) == list(free)
    assert [link.state for link in blocked] == [State.SUBMITTED] * 2
    pipe.fill()
    assert ring.wait(2, LONG) == list(blocked)


def test_many_blocked_chains_end_in_any_order(make_pipe: Callable[[], Pipe]) -> None:
    """Sixteen chains wait at once; each ends when its own pipe is written, last first."""
    pipes = [make_pipe() for _ in range(16)]
    with uring.Ring(64) as ring:
        chains = []
        for pipe in pipes:
            with ring.chain() as chain:
                ring.read(pipe.read, bytearray(1))
                ring.nop()
            chains.append(chain)
        ring.submit()
        for pipe, chain in zip(reversed(pipes), reversed(chains), strict=True):
            pipe.fill()
            assert ring.wait(2, LONG) == list(chain)


@pytest.mark.parametrize("sqpoll", [False, True])
def test_thousands_of_chains_leave_nothing_behind(sqpoll: bool, small: int) -> None:
    """5,000 chains with timeouts, skipped and failing links: all slots are free afterwards, and few were used."""
    with uring.Ring(32, uring.Params(sqpoll=sqpoll, sq_idle_ms=50 if sqpoll else None)) as ring:
        data = bytearray(10)
        for number in range(5000):
            with ring.chain(timeout=LONG if number % 3 == 0 else None, hard=number % 5 == 0):
                ring.read(small, data, offset=0, skip_success=number % 2 == 0)
                ring.nop(result=-errno.EIO if number % 7 == 0 else 0)
                last = ring.nop()
            if number % 10 == 9:
                last.exception(LONG)
            ring.peek()
        ring._finish_all()
        ring.peek()
        assert_empty(ring)
        assert ring._native.in_flight == 0
        assert ring._native.slot_count <= 1024
