"""Nops and timeouts: injected results, time and count, clocks, changing and removing timeouts."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders import timing
from uring.builders.cancelling import CancelResult
from uring.errors import ChainBroken, OperationCancelled, Unsupported
from uring.operation import State
from uring.params import Params
from uring.ring import Ring
from uring.types import Nanoseconds

MS = Nanoseconds(1_000_000)


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def injecting(ring: Ring) -> Ring:
    """Use that ring; skip on kernels whose nops have no results of one's choice."""
    if not ring.features & L.IORING_FEAT_RECVSEND_BUNDLE:
        pytest.skip("this kernel lacks IORING_NOP_INJECT_RESULT")
    return ring


# Nops


def test_nop_completes(ring: Ring) -> None:
    """A nop's result is None."""
    nop = ring.nop()
    assert nop.result(timeout=10) is None
    assert nop.completion.res == 0


@pytest.mark.parametrize("result", [0, 1, 4096, (1 << 31) - 1])
def test_injected_result(injecting: Ring, result: int) -> None:
    """A nop completes with the number it was given."""
    assert injecting.nop(result=result).result(timeout=10) == result


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOENT, errno.ECANCELED])
def test_injected_failure(injecting: Ring, code: int) -> None:
    """A negative errno is the exception that it stands for, and breaks a chain."""
    with injecting.chain():
        nop, after = injecting.nop(result=-code), injecting.nop()
    error = nop.exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == code
    assert type(error) is (OperationCancelled if code == errno.ECANCELED else type(OSError(code, "")))
    broken = after.exception(timeout=10)
    assert isinstance(broken, ChainBroken)
    assert broken.cause is nop


def test_injected_result_out_of_range(ring: Ring) -> None:
    """A result that fits no 32 bits is refused."""
    for result in (1 << 31, -(1 << 31) - 1):
        with pytest.raises(ValueError, match="result"):
            ring.nop(result=result)
    with pytest.raises(TypeError):
        ring.nop(result="0")  # type: ignore[call-overload]


def test_injecting_needs_its_kernel(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that would ignore the result is told to lack it."""
    with monkeypatch.context() as patch:
        patch.setattr(ring._ring, "features", 0)
        with pytest.raises(Unsupported, match=r"NOP_INJECT_RESULT: it needs Linux 6\.10"):
            ring.nop(result=1)
    assert ring.nop().result(timeout=10) is None


def test_nop128_without_its_kernel(ring: Ring) -> None:
    """On a kernel that lacks NOP128 it raises Unsupported and queues nothing."""
    if not timing.NOP128.missing:
        pytest.skip("this kernel has IORING_OP_NOP128")
    with pytest.raises(Unsupported, match=r"IORING_OP_NOP128: it needs Linux 6\.19"):
        ring.nop128()
    assert ring.statistics().in_flight == 0


def test_nop128_in_large_entries() -> None:
    """A nop in an SQE of 128 bytes completes, and a ring with small ones refuses it."""
    require_opcode("IORING_OP_NOP128")
    for params in (Params(sqe128=True), Params(sqe_mixed=True)):
        with Ring(4, params) as ring:
            for _ in range(5):
                assert ring.nop128().result(timeout=10) is None
    with Ring(4) as ring, pytest.raises(ValueError, match="sqe128 or sqe_mixed"):
        ring.nop128()


# One timeout


@pytest.mark.parametrize("duration", [0.005, Nanoseconds(5_000_000)], ids=["seconds", "Nanoseconds"])
def test_expiry_is_a_success(ring: Ring, duration: float | Nanoseconds) -> None:
    """A timeout's result is None when its time has come, and not before."""
    started = time.monotonic_ns()
    timeout = ring.timeout(duration)
    assert timeout.result(timeout=10) is None
    assert time.monotonic_ns() - started >= 5 * MS
    assert timeout.exception() is None
    assert timeout.state is State.COMPLETED
    assert timeout.completion.res == -errno.ETIME


def test_zero_expires_at_once(ring: Ring) -> None:
    """A timeout of no time is over at once."""
    assert ring.timeout(0).result(timeout=10) is None


def test_expiry_is_handed_out(ring: Ring) -> None:
    """`wait` returns an expired timeout as any other operation."""
    timeout = ring.timeout(MS)
    assert ring.wait(1, timeout=10) == [timeout]


def test_chain_goes_on_behind_an_expiry(ring: Ring) -> None:
    """A timeout as a link is a pause: what follows runs."""
    if not ring.features & L.IORING_FEAT_CQE_SKIP:
        pytest.skip("this kernel may lack IORING_TIMEOUT_ETIME_SUCCESS")
    started = time.monotonic_ns()
    with ring.chain():
        pause, after = ring.timeout(Nanoseconds(5 * MS)), ring.nop()
    assert after.result(timeout=10) is None
    assert time.monotonic_ns() - started >= 5 * MS
    assert pause.result() is None


def test_expiry_is_not_what_breaks_a_chain(ring: Ring) -> None:
    """A link behind an expired timeout that is cancelled for its own sake does not blame the timeout."""
    if not ring.features & L.IORING_FEAT_CQE_SKIP:
        pytest.skip("this kernel may lack IORING_TIMEOUT_ETIME_SUCCESS")
    reader, writer = os.pipe()
    with ring.chain():
        pause, poll = ring.timeout(MS), ring.poll_add(reader)
    assert pause.result(timeout=10) is None
    while not poll.done():  # it may be on its way into the kernel still
        poll.cancel().result(timeout=10)
    assert type(poll.exception()) is OperationCancelled
    os.close(reader)
    os.close(writer)


def test_quiet_expiry_in_a_chain(ring: Ring) -> None:
    """An expired timeout with `skip_success` posts nothing, and is a success all the same."""
    if not ring.features & L.IORING_FEAT_CQE_SKIP:
        pytest.skip("this kernel lacks IOSQE_CQE_SKIP_SUCCESS")
    with ring.chain():
        pause, after = ring.timeout(MS, skip_success=True), ring.nop()
    assert after.result(timeout=10) is None
    assert pause.result() is None
    assert pause.exception() is None


def test_older_kernels_expire_too(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the flag that keeps chains going an expiry is a success as well."""
    with monkeypatch.context() as patch:
        patch.setattr(ring._ring, "features", 0)
        timeout = ring.timeout(MS)
    assert timeout.result(timeout=10) is None
    assert timeout.exception() is None


def test_cancelled_timeout(ring: Ring) -> None:
    """A cancelled timeout is no success."""
    timeout = ring.timeout(600)
    assert timeout.cancel().result(timeout=10)
    with pytest.raises(OperationCancelled):
        timeout.result(timeout=10)
    assert isinstance(timeout.exception(), OperationCancelled)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((-1,), ValueError),
        ((float("nan"),), ValueError),
        (("1",), TypeError),
        ((None,), TypeError),
        ((1, 0), ValueError),
        ((1, -1), ValueError),
        ((1, 1 << 32), ValueError),
        ((1, 1.5), TypeError),
    ],
)
def test_bad_timeouts_are_refused(ring: Ring, arguments: tuple[float, ...], error: type[Exception]) -> None:
    """No duration, or no count, raises before anything is queued."""
    with pytest.raises(error):
        ring.timeout(*arguments)  # type: ignore[call-overload]
    assert ring.statistics().in_flight == 0


# Count


def test_count_ends_a_timeout(ring: Ring) -> None:
    """A timeout with a count is True when that many other completions came first."""
    timeout = ring.timeout(600, 2)
    ring.nop().result(timeout=10)
    assert not timeout.done()
    ring.nop()
    assert timeout.result(timeout=10) is True
    assert timeout.completion.res == 0


def test_count_that_is_not_reached(ring: Ring) -> None:
    """A timeout with a count is False when its time came first."""
    timeout = ring.timeout(MS, 1000)
    assert timeout.result(timeout=10) is False
    assert timeout.exception() is None


def test_count_must_be_told(ring: Ring) -> None:
    """`skip_success` is refused with a count, since whether it was reached would be lost."""
    with pytest.raises(ValueError, match="skip_success"), ring.chain():
        ring.timeout(1, 1, skip_success=True)


# Clocks


@pytest.mark.parametrize("clock", [time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME, time.CLOCK_REALTIME])
def test_absolute_moment_on_a_clock(ring: Ring, clock: int) -> None:
    """An absolute timeout ends when its clock says so, and not before."""
    require_opcode("IORING_OP_MKDIRAT")  # as old as the other clocks
    when = time.clock_gettime_ns(clock) + 5 * MS
    assert ring.timeout(Nanoseconds(when), absolute=True, clock=clock).result(timeout=10) is None
    assert time.clock_gettime_ns(clock) >= when


def test_absolute_moment_in_seconds(ring: Ring) -> None:
    """An absolute moment may be a float of seconds, as `time.monotonic` gives it."""
    when = time.monotonic() + 0.005
    assert ring.timeout(when, absolute=True).result(timeout=10) is None
    assert time.monotonic() >= when - 1e-6


def test_moment_in_the_past_is_over(ring: Ring) -> None:
    """An absolute time that has passed is over at once."""
    assert ring.timeout(Nanoseconds(1), absolute=True).result(timeout=10) is None


@pytest.mark.parametrize("clock", [time.CLOCK_BOOTTIME, time.CLOCK_REALTIME])
def test_relative_time_on_another_clock(ring: Ring, clock: int) -> None:
    """A relative time may be told by another clock."""
    require_opcode("IORING_OP_MKDIRAT")
    assert ring.timeout(MS, clock=clock).result(timeout=10) is None


def test_unknown_clocks_are_refused(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that timeouts do not know is refused, and on older kernels any but the usual one."""
    with pytest.raises(ValueError, match="clock"):
        ring.timeout(1, clock=time.CLOCK_PROCESS_CPUTIME_ID)
    with monkeypatch.context() as patch:
        patch.setattr(timing.MKDIRAT, "missing", True)
        with pytest.raises(Unsupported, match=r"5\.15"):
            ring.timeout(1, clock=time.CLOCK_BOOTTIME)
        assert ring.timeout(MS, clock=time.CLOCK_MONOTONIC).result(timeout=10) is None


# Removing and updating


def test_removed_timeout_is_cancelled(ring: Ring) -> None:
    """A removed timeout ends with OperationCancelled; one that is over is not found."""
    timeout = ring.timeout(600)
    assert ring.timeout_remove(timeout).result(timeout=10) == CancelResult.CANCELLED
    assert isinstance(timeout.exception(timeout=10), OperationCancelled)
    again = ring.timeout_remove(timeout)
    assert again.result(timeout=10) == CancelResult.NOT_FOUND
    assert again.exception() is None
    assert again.description() == "timeout_remove of timeout"


def test_prepared_timeout_is_removed(ring: Ring) -> None:
    """A timeout that is not submitted yet can be removed."""
    timeout = ring.timeout(600)
    removal = ring.timeout_remove(timeout)
    assert removal.result(timeout=10) == CancelResult.CANCELLED
    assert isinstance(timeout.exception(timeout=10), OperationCancelled)


def test_update_brings_the_expiry_nearer(ring: Ring) -> None:
    """A timeout of ten minutes that is updated to a millisecond expires then."""
    timeout = ring.timeout(600)
    update = ring.timeout_update(timeout, MS)
    assert update.result(timeout=10) is True
    assert timeout.result(timeout=10) is None


def test_update_to_an_absolute_moment(ring: Ring) -> None:
    """An update may name a moment on the timeout's clock."""
    timeout = ring.timeout(600)
    when = time.monotonic_ns() + 5 * MS
    assert ring.timeout_update(timeout, Nanoseconds(when), absolute=True).result(timeout=10) is True
    assert timeout.result(timeout=10) is None
    assert time.monotonic_ns() >= when


def test_update_drops_the_count(ring: Ring) -> None:
    """A timeout that was updated ends by its time alone."""
    timeout = ring.timeout(600, 2)
    assert ring.timeout_update(timeout, 300).result(timeout=10) is True
    for _ in range(4):
        ring.nop().result(timeout=10)
    assert not timeout.done()
    assert ring.timeout_update(timeout, MS).result(timeout=10) is True
    assert timeout.result(timeout=10) is False


def test_update_that_is_too_late(ring: Ring) -> None:
    """An update of a timeout that is over is False, and no exception."""
    timeout = ring.timeout(0)
    timeout.result(timeout=10)
    update = ring.timeout_update(timeout, 1)
    assert update.result(timeout=10) is False
    assert update.exception() is None


def test_only_timeouts_are_removed_and_updated(ring: Ring) -> None:
    """Another kind of operation, another ring's, one of an open chain, and what is no operation are refused."""
    reader, writer = os.pipe()
    poll = ring.poll_add(reader)
    with Ring(4) as other:
        foreign = other.timeout(0)
        for target, error in ((poll, ValueError), (foreign, ValueError), (5, TypeError)):
            with pytest.raises(error):
                ring.timeout_remove(target)  # type: ignore[arg-type]
            with pytest.raises(error):
                ring.timeout_update(target, 1)  # type: ignore[arg-type]
    with ring.chain():
        recorded = ring.timeout(0)
        with pytest.raises(ValueError, match="open chain"):
            ring.timeout_remove(recorded)
    with pytest.raises(ValueError, match="timeout"):
        ring.timeout_update(recorded, -1)
    assert recorded.result(timeout=10) is None
    assert poll.cancel().result(timeout=10)
    os.close(reader)
    os.close(writer)


def test_update_needs_its_kernel(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without the feature bit of 5.11 is told to lack updates."""
    timeout = ring.timeout(600)
    with monkeypatch.context() as patch:
        patch.setattr(ring._ring, "features", 0)
        with pytest.raises(Unsupported, match=r"TIMEOUT_UPDATE: it needs Linux 5\.11"):
            ring.timeout_update(timeout, 1)
    assert timeout.cancel().result(timeout=10)
