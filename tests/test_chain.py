"""Chains on the real kernel: order, breaking, timeouts, skipped successes, room in the queue, rollback."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uring
from uring.builders.timing import NOP128
from uring.fused import lib
from uring.operation import Operation, State

LONG = 10.0  # a deadline against hangs; nothing here takes that long
SHORT = uring.Nanoseconds(1_000_000)
NOWHERE = 77  # credentials that nobody registered: a malformed request


@pytest.fixture
def ring() -> Iterator[uring.Ring]:
    """A ring of 16 entries."""
    with uring.Ring(16, exit_timeout=LONG) as opened:
        yield opened


class Pipe:
    """Both ends of a pipe."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def fill(self, data: bytes = b"x") -> None:
        """Let a blocked read end."""
        os.write(self.write, data)

    def close(self) -> None:
        """Close what is open."""
        for fd in (self.read, self.write):
            if fd >= 0:
                os.close(fd)
        self.read = self.write = -1


@pytest.fixture
def make_pipe() -> Iterator[Callable[[], Pipe]]:
    """A factory of pipes that are closed at the end."""
    pipes: list[Pipe] = []

    def make() -> Pipe:
        pipes.append(Pipe())
        return pipes[-1]

    yield make
    for pipe in pipes:
        pipe.close()


@pytest.fixture
def pipe(make_pipe: Callable[[], Pipe]) -> Pipe:
    """A pipe in which nothing is."""
    return make_pipe()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of 10 bytes."""
    path = tmp_path / "small"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    """A descriptor that every read fails on, when it is tried and not before."""
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def kinds(operations: Any) -> list[type | None]:
    """The class of each operation's exception, None for a success."""
    return [None if (error := operation.exception(LONG)) is None else type(error) for operation in operations]


def assert_empty(ring: uring.Ring) -> None:
    """Nothing is in flight, queued, or owned by the ring."""
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.sq_space == ring.c_ring.sq.ring_entries
    assert [operation for operation in ring._table if operation is not None] == []
    assert ring._hidden == set()


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


# --- timeouts --------------------------------------------------------------------------------------


def test_timeouts_that_do_not_fire_leave_no_trace(ring: uring.Ring) -> None:
    """With time enough every link succeeds, only links are handed out, and their timeouts are gone."""
    with ring.chain(timeout=LONG) as chain:
        for _ in range(4):
            ring.nop()
    assert ring.statistics().sq_space == 16 - 8
    assert ring.statistics().in_flight == 4
    assert ring.wait(4, LONG) == list(chain)
    assert kinds(chain) == [None] * 4
    ring.wait(0)
    assert_empty(ring)


@pytest.mark.parametrize("whole", [True, False], ids=["chain", "with_timeout"])
@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("force_async", [False, True])
def test_a_link_that_takes_too_long_times_out(
    ring: uring.Ring, pipe: Pipe, position: int, whole: bool, force_async: bool
) -> None:
    """First, middle or last: it raises TimeoutError, those before it succeed, those behind it name it."""
    with ring.chain(timeout=SHORT if whole else None) as chain:
        for number in range(3):
            if number == position:
                late = ring.read(pipe.read, bytearray(1), force_async=force_async)
                if not whole:
                    assert late.with_timeout(SHORT) is late
            else:
                # Those before must not be overtaken by their own timeout on a busy machine.
                ring.nop().with_timeout(LONG)
    links = list(chain)
    assert kinds(links) == [None] * position + [TimeoutError] + [uring.ChainBroken] * (2 - position)
    assert "was not complete in its time" in str(late.exception())
    for link in links[position + 1 :]:
        error = link.exception()
        assert isinstance(error, uring.ChainBroken)
        assert error.cause is late
    pipe.fill()
    assert select.select([pipe.read], [], [], 0)[0]  # the cancelled read took nothing
    assert_empty(ring)


def test_a_hard_chain_goes_on_behind_a_timeout(ring: uring.Ring, pipe: Pipe) -> None:
    """In a hard chain the late link alone fails."""
    with ring.chain(hard=True):
        late = ring.read(pipe.read, bytearray(1)).with_timeout(SHORT)
        last = ring.nop()
    assert kinds([late, last]) == [TimeoutError, None]


def test_a_failing_link_with_a_timeout_keeps_its_own_error(ring: uring.Ring) -> None:
    """A failure before the time is up is reported as itself, and breaks the chain."""
    with ring.chain(timeout=LONG):
        failing = ring.nop(result=-errno.EIO)
        last = ring.nop()
    assert kinds([failing, last]) == [OSError, uring.ChainBroken]
    assert_empty(ring)


def test_one_link_may_have_another_timeout_than_its_chain(ring: uring.Ring, pipe: Pipe) -> None:
    """with_timeout replaces the chain's timeout for its link and takes no further place."""
    with ring.chain(timeout=LONG):
        late = ring.read(pipe.read, bytearray(1)).with_timeout(SHORT)
        last = ring.nop()
    assert ring.statistics().sq_space == 16 - 4
    assert kinds([late, last]) == [TimeoutError, uring.ChainBroken]


def test_a_link_waits_for_the_word_of_its_timeout(ring: uring.Ring) -> None:
    """Between a link's CQE and that of its timeout the link counts as in flight, and its slot names nobody else."""
    with ring.chain():
        link = ring.nop().with_timeout(LONG)
    ring.submit()
    (timeout,) = link._extra.chain._timeouts.values()  # type: ignore[union-attr]
    assert link._extra.chain._holds_back(link, 0, 0)  # type: ignore[union-attr]
    assert ring._visible() == 2  # C has not freed the slots here: the link's own, and the timeout in its place
    assert link.user_data == 0
    assert not link.done() or timeout._res is not None
    assert link.exception(LONG) is None


@pytest.mark.parametrize("timed", [False, True])
def test_a_zero_copy_send_keeps_its_memory_in_a_chain(ring: uring.Ring, timed: bool) -> None:
    """A link with a timeout too holds its memory until the notification, and leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            for _ in range(20):
                with ring.chain(timeout=LONG if timed else None):
                    send = ring.send_zc(client, b"z" * 2000, socket.MSG_WAITALL)
                    after = ring.nop()
                assert send.result(LONG) == 2000
                assert after.result(LONG) is None
                if send._memory is None:
                    assert send not in ring._table
                assert peer.recv(4000, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
    ring._finish_all()
    assert send._memory is None
    assert_empty(ring)


def test_with_timeout_belongs_to_an_open_chain(ring: uring.Ring) -> None:
    """Outside, behind and without a duration it raises, and changes nothing."""
    plain = ring.nop()
    with pytest.raises(RuntimeError, match="being recorded"):
        plain.with_timeout(1)
    with ring.chain():
        link = ring.nop()
        with pytest.raises(ValueError, match="timeout must be from 0"):
            link.with_timeout(-1)
        with pytest.raises(TypeError):
            link.with_timeout("soon")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="being recorded"):
        link.with_timeout(1)
    assert len(ring.wait(2, LONG)) == 2


@pytest.mark.parametrize("timeout", [-1, float("inf"), "1"])
def test_a_bad_timeout_is_refused(ring: uring.Ring, timeout: Any) -> None:
    """No duration, no chain."""
    with pytest.raises((ValueError, TypeError)):
        ring.chain(timeout=timeout)


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


# --- skipped successes -----------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
def test_skipped_successes_are_not_handed_out(ring: uring.Ring, small: int, hard: bool) -> None:
    """Only the last link comes from wait, yet the result of each is known, and none stays in flight."""
    with ring.chain(hard=hard):
        first = ring.read(small, bytearray(4), offset=0, skip_success=True)
        second = ring.nop(skip_success=True)
        last = ring.nop()
    assert ring.statistics().in_flight == 1
    assert ring.wait(1, LONG) == [last]
    assert ring.peek() == []
    assert (first.result(), second.result()) == (4, None)
    assert first.state is State.COMPLETED
    with pytest.raises(RuntimeError, match="has no completion"):
        _ = first.completion
    with pytest.raises(ValueError, match="only 0 operations"):
        ring.wait(1)
    assert_empty(ring)


def test_the_result_of_a_skipped_link_can_be_waited_for(ring: uring.Ring, pipe: Pipe) -> None:
    """Its success is known when the last link completes; before that a wait for it times out."""
    with ring.chain():
        first = ring.nop(skip_success=True)
        last = ring.read(pipe.read, bytearray(1))
    with pytest.raises(TimeoutError):
        first.result(timeout=SHORT)
    pipe.fill()
    assert first.result(LONG) is None
    assert last.result() == 1
    assert_empty(ring)


def test_a_callback_of_a_skipped_success_runs(ring: uring.Ring) -> None:
    """What the kernel does not tell is told all the same to who asked for it."""
    seen: list[Any] = []
    with ring.chain():
        first = ring.nop(skip_success=True)
        first.add_done_callback(seen.append)
        last = ring.nop()
    assert ring.wait(1, LONG) == [last]
    assert seen == [first]


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("failing", range(3))
def test_a_failing_skipped_link_settles_those_behind_it(
    ring: uring.Ring, directory: int, failing: int, timed: bool
) -> None:
    """Its CQE suppresses all that follow; they end as broken, and no slot or timeout stays behind."""
    with ring.chain(timeout=LONG if timed else None) as chain:
        for number in range(4):
            if number == failing:
                ring.read(directory, bytearray(1), skip_success=True)
            else:
                ring.nop(skip_success=number < 3)
    links = list(chain)
    assert kinds(links) == [None] * failing + [IsADirectoryError] + [uring.ChainBroken] * (3 - failing)
    assert all(link.exception().cause is links[failing] for link in links[failing + 1 :])  # type: ignore[union-attr]
    ring._finish_all()
    assert_empty(ring)


def test_a_short_skipped_link_settles_those_behind_it(ring: uring.Ring, small: int) -> None:
    """A short transfer posts in spite of skip_success, and is handed out as the cause."""
    with ring.chain():
        short = ring.read(small, bytearray(100), offset=4, skip_success=True)
        last = ring.nop()
    assert set(ring.wait(1, LONG)) == {short, last}
    assert short.result() == 6
    assert kinds([last]) == [uring.ChainBroken]
    assert_empty(ring)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("bad", range(4))
@pytest.mark.parametrize("skipped", [{0}, {1}, {2}, {0, 1, 2}])
def test_every_malformed_chain_with_skipped_links_ends(
    ring: uring.Ring, bad: int, skipped: set[int], timed: bool, hard: bool
) -> None:
    """Whichever link is malformed and whichever are skipped: all have failed in the end, nothing stays in flight."""
    with ring.chain(hard=hard, timeout=LONG if timed else None) as chain:
        for number in range(4):
            ring.nop(skip_success=number in skipped, personality=NOWHERE if number == bad else 0)
    assert None not in kinds(chain)
    ring._finish_all()
    assert_empty(ring)


@pytest.mark.parametrize("timed", [False, True])
def test_cancelling_a_skipped_head_ends_its_chain(ring: uring.Ring, pipe: Pipe, timed: bool) -> None:
    """A skipped link that is cancelled posts, and those behind it are settled."""
    with ring.chain(timeout=LONG if timed else None):
        head = ring.read(pipe.read, bytearray(1), skip_success=True)
        last = ring.nop()
    ring.submit()
    head.cancel().result(LONG)
    assert kinds([head, last]) == [uring.OperationCancelled, uring.ChainBroken]
    ring._finish_all()
    assert_empty(ring)


def test_a_skipped_link_that_times_out(ring: uring.Ring, pipe: Pipe) -> None:
    """It raises TimeoutError although its success would have been silent."""
    with ring.chain():
        late = ring.read(pipe.read, bytearray(1), skip_success=True).with_timeout(SHORT)
        last = ring.nop()
    assert kinds([late, last]) == [TimeoutError, uring.ChainBroken]
    ring._finish_all()
    assert_empty(ring)


def test_a_failing_skipped_head_does_not_stop_a_hard_chain(ring: uring.Ring, directory: int) -> None:
    """In a hard chain the rest runs, and reports."""
    with ring.chain(hard=True):
        head = ring.read(directory, bytearray(1), skip_success=True)
        second = ring.nop(skip_success=True)
        last = ring.nop()
    assert kinds([head, second, last]) == [IsADirectoryError, None, None]
    assert_empty(ring)


def test_skip_success_on_the_last_link_is_refused(ring: uring.Ring) -> None:
    """Nothing of the chain is queued then."""
    with pytest.raises(ValueError, match="last link"), ring.chain() as chain:  # noqa: PT012
        ring.nop()
        ring.nop(skip_success=True)
    assert [link.state for link in chain] == [State.DISCARDED] * 2
    assert_empty(ring)


def test_skip_success_outside_a_chain_is_refused(ring: uring.Ring) -> None:
    """Nothing would ever tell that such an operation has ended."""
    with pytest.raises(ValueError, match="skip_success"):
        ring.nop(skip_success=True)
    assert_empty(ring)


# --- what a block refuses --------------------------------------------------------------------------


def test_too_long_a_chain_is_refused(ring: uring.Ring) -> None:
    """The builder that is one too many raises; nothing is queued and the ring goes on."""
    with pytest.raises(ValueError, match="needs 17 of 16"), ring.chain() as chain:  # noqa: PT012
        for _ in range(17):
            ring.nop()
    assert len(chain) == 16
    assert {link.state for link in chain} == {State.DISCARDED}
    assert_empty(ring)
    assert ring.nop().result(LONG) is None


def test_the_longest_chain_fits(ring: uring.Ring) -> None:
    """As many links as the queue has entries, or half of it with timeouts."""
    with ring.chain() as chain:
        for _ in range(16):
            ring.nop()
    assert kinds(chain) == [None] * 16
    with ring.chain(timeout=LONG) as chain:
        for _ in range(8):
            ring.nop()
    assert kinds(chain) == [None] * 8


def test_a_timeout_for_which_there_is_no_place_is_refused(ring: uring.Ring) -> None:
    """with_timeout counts the entry that it needs; the chain without it is still good."""
    with ring.chain() as chain:
        links = [ring.nop() for _ in range(16)]
        with pytest.raises(ValueError, match="needs 17 of 16"):
            links[3].with_timeout(1)
    assert kinds(chain) == [None] * 16
    with pytest.raises(ValueError, match="needs 18 of 16"), ring.chain(timeout=1):  # noqa: PT012
        for _ in range(9):
            ring.nop()
    assert_empty(ring)


def test_chains_do_not_nest(ring: uring.Ring) -> None:
    """The inner block is refused; the outer one is not hurt if the error is caught."""
    with ring.chain() as chain:
        first = ring.nop()
        with pytest.raises(RuntimeError, match="nest"), ring.chain():
            pytest.fail("not reached")
        second = ring.nop()
    assert list(chain) == [first, second]
    assert kinds(chain) == [None, None]


def test_an_exception_leaves_nothing_queued(ring: uring.Ring, small: int) -> None:
    """The operations are discarded, their memory is released, and their results say why."""
    buffer = bytearray(10)
    with pytest.raises(ZeroDivisionError), ring.chain(timeout=1) as chain:  # noqa: PT012
        read = ring.read(small, buffer, offset=0)
        with pytest.raises(BufferError):
            buffer.append(1)
        raise ZeroDivisionError
    buffer.append(1)
    assert read.state is State.DISCARDED
    with pytest.raises(uring.RingClosed, match="never submitted"):
        read.result()
    with pytest.raises(RuntimeError, match="being recorded"):
        read.with_timeout(1)
    assert len(chain) == 1
    assert_empty(ring)
    assert ring.nop().result(LONG) is None


def test_waiting_inside_an_open_chain_is_refused(ring: uring.Ring) -> None:
    """Nothing is queued yet that could be waited for, so submit, wait and result raise."""
    before = ring.nop()
    with ring.chain():
        link = ring.nop()
        for call in (ring.submit, ring.wait, link.result, before.result, link.exception):
            with pytest.raises(RuntimeError, match="chain is open"):
                call()
        with pytest.raises(ValueError, match="open chain"):
            link.cancel()
    assert len(ring.wait(2, LONG)) == 2


def test_callbacks_wait_for_the_end_of_the_block(ring: uring.Ring) -> None:
    """What a callback queues does not become a link of a chain that happens to be open."""
    queued: list[Operation[Any]] = []
    early = ring.nop()
    early.add_done_callback(lambda _: queued.append(ring.nop()))
    ring.submit()
    with ring.chain() as chain:
        link = ring.nop()
        assert early.done()
        assert queued == []
    assert list(chain) == [link]
    ring.wait(1, LONG)
    assert [operation.result(LONG) for operation in queued] == [None]


def test_a_foreign_thread_cannot_add_a_link(ring: uring.Ring) -> None:
    """An open chain records for the ring's owner alone."""
    errors: list[Any] = []

    def intrude() -> None:
        for call in (ring.nop, ring.chain().__enter__):
            try:
                call()
            except uring.WrongThread as error:
                errors.append(error)

    with ring.chain() as chain:
        link = ring.nop()
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()
    assert len(errors) == 2
    assert list(chain) == [link]
    assert link.result(LONG) is None


def test_a_wrong_argument_while_the_chain_is_written_takes_it_back(ring: uring.Ring) -> None:
    """C refuses an argument of the third link: none of the chain is queued, and what was queued before stays."""
    before = ring.nop()
    with pytest.raises(TypeError), ring.chain(timeout=LONG) as chain:  # noqa: PT012
        ring.nop()
        ring.nop()
        wrong = ring.nop()
        chain._links[2] = (wrong, 0, ("no argument of a nop",))
        ring.nop()
    assert [link.state for link in chain] == [State.DISCARDED] * 4
    assert ring.statistics().sq_space == 15
    assert ring.wait(1, LONG) == [before]
    assert_empty(ring)
    with ring.chain() as chain:
        ring.nop()
        ring.nop()
    assert kinds(chain) == [None, None]


def test_an_opcode_that_the_kernel_lacks_is_refused_at_once(ring: uring.Ring) -> None:
    """The builder raises inside the block, not the block at its end."""
    if not NOP128.missing:
        pytest.skip("this kernel has NOP128")
    with pytest.raises(uring.Unsupported, match=r"6\.19"), ring.chain():
        ring.nop128()
    assert_empty(ring)


# --- never split -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [2, 7, 15, 16])
def test_a_chain_is_never_split(ring: uring.Ring, make_pipe: Callable[[], Pipe], length: int) -> None:
    """However full the queue is: while the head is blocked no other link has run, and then all do."""
    for level in range(17):
        pipe = make_pipe()
        earlier = [ring.nop() for _ in range(level)]
        with ring.chain() as chain:
            head = ring.read(pipe.read, bytearray(1))
            for _ in range(length - 1):
                ring.nop()
        ring.wait(level, LONG)
        ring.peek()
        assert all(operation.done() for operation in earlier)
        assert not any(link.done() for link in chain), f"split with {level} operations before it"
        pipe.fill()
        assert head.result(LONG) == 1
        assert kinds(chain) == [None] * length
        ring.peek()
        assert_empty(ring)


def test_a_full_queue_submits_what_is_before_the_chain(ring: uring.Ring) -> None:
    """Room is made by submitting earlier operations; the chain itself stays prepared."""
    earlier = [ring.nop() for _ in range(12)]
    with ring.chain() as chain:
        for _ in range(6):
            ring.nop()
    assert [operation.state for operation in chain] == [State.PREPARED] * 6
    assert all(operation.state is not State.PREPARED for operation in earlier)
    assert len(ring.wait(18, LONG)) == 18


@pytest.fixture
def shared() -> Iterator[tuple[uring.Ring, uring.Ring]]:
    """Two rings that share a SQPOLL thread."""
    with (
        uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20)) as first,
        uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20, attach_wq=first)) as second,
    ):
        yield first, second


def test_chains_over_a_shared_submission_thread_are_not_split(
    shared: tuple[uring.Ring, uring.Ring], make_pipe: Callable[[], Pipe]
) -> None:
    """The thread takes eight SQEs of a ring in turn: a longer chain is refused, others stay whole behind anything."""
    for ring in shared:
        with pytest.raises(ValueError, match="shared SQPOLL thread"), ring.chain():  # noqa: PT012
            for _ in range(9):
                ring.nop()
        for level in range(20):
            pipe = make_pipe()
            for _ in range(level):
                ring.nop()
            with ring.chain() as chain:
                head = ring.read(pipe.read, bytearray(1))
                for _ in range(7):
                    ring.nop()
            behind = ring.nop()
            ring.wait(level + 1, LONG)
            assert behind.done()
            assert not any(link.done() for link in chain), f"split with {level} operations before it"
            pipe.fill()
            assert head.result(LONG) == 1
            assert kinds(chain) == [None] * 8
            ring.peek()
            pipe.close()


def test_a_long_chain_on_a_submission_thread_of_its_own(pipe: Pipe) -> None:
    """A SQPOLL ring that shares its thread with none takes chains as long as its queue."""
    with uring.Ring(64, uring.Params(sqpoll=True, sq_idle_ms=20)) as ring:
        for level in (0, 30, 63):
            for _ in range(level):
                ring.nop()
            with ring.chain() as chain:
                head = ring.read(pipe.read, bytearray(1))
                for _ in range(63):
                    ring.nop()
            ring.wait(level, LONG)
            assert not any(link.done() for link in chain)
            pipe.fill()
            assert head.result(LONG) == 1
            assert kinds(chain) == [None] * 64
            ring.peek()


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


# --- closing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("timed", [False, True])
def test_closing_with_a_chain_pending(pipe: Pipe, skip: bool, timed: bool) -> None:
    """The blocked link is cancelled, the rest never runs, and all say that the ring was closed."""
    ring = uring.Ring(16)
    with ring.chain(timeout=LONG if timed else None) as chain:
        first = ring.nop()
        ring.read(pipe.read, bytearray(1), skip_success=skip)
        ring.nop()
    ring.submit()
    assert first.result(LONG) is None
    ring.close()
    for link in list(chain)[1:]:
        assert isinstance(link.exception(), uring.RingClosed)
        assert link._memory is None
        assert link.state is State.CANCELLED
    pipe.fill()
    assert os.read(pipe.read, 10) == b"x"


def test_closing_inside_the_block_discards_it() -> None:
    """Nothing was queued, so nothing is warned of; later builders say that the ring is closed."""
    ring = uring.Ring(16)
    with ring.chain() as chain:
        link = ring.nop()
        ring.close()
        with pytest.raises(uring.RingClosed):
            ring.nop()
    assert link.state is State.DISCARDED
    assert list(chain) == [link]


def test_a_chain_that_was_never_submitted_is_warned_of() -> None:
    """A ring closed with a written chain takes it back, counting links and not their timeouts."""
    ring = uring.Ring(16)
    with ring.chain(timeout=1):
        ring.nop()
        last = ring.nop()
    with pytest.warns(ResourceWarning, match="2 operations were never submitted"):
        ring.close()
    assert last.state is State.DISCARDED


def test_a_chain_can_be_collected(ring: uring.Ring) -> None:
    """Dropping a chain and its links while they run changes nothing; the ring hands them out."""
    with ring.chain():
        ring.nop()
        ring.nop()
    gc.collect()
    assert [operation.result() for operation in ring.wait(2, LONG) if isinstance(operation, Operation)] == [None, None]


def test_chain_needs_a_ring_in_use() -> None:
    """A closed ring opens no chain."""
    ring = uring.Ring(8)
    ring.close()
    with pytest.raises(uring.RingClosed), ring.chain():
        pytest.fail("not reached")


def test_the_flags_are_those_of_the_kernel(ring: uring.Ring) -> None:
    """The SQEs of a chain carry LINK or HARDLINK on all but the last, DRAIN on the first."""
    for hard, link in ((False, lib.IOSQE_IO_LINK), (True, lib.IOSQE_IO_HARDLINK)):
        start = ring.c_ring.sq.sqe_tail
        with ring.chain(hard=hard, drain=True):
            ring.nop()
            ring.nop().with_timeout(LONG)
            ring.nop().with_timeout(LONG)
        sq = ring.c_ring.sq
        flags = [sq.sqes[at & sq.ring_mask].flags for at in range(start, sq.sqe_tail)]
        assert flags == [link | lib.IOSQE_IO_DRAIN, link, link, lib.IOSQE_IO_LINK, 0]
        ring.wait(3, LONG)
