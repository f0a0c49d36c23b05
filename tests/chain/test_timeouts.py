"""Link timeouts on the real kernel: what they end, and whom they are told to."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

import pytest
from chains import LONG, SHORT, Pipe, assert_empty, kinds

import uring


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
