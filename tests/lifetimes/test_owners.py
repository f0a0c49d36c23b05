"""Whose a ring is: every method refuses other threads and a fork's children, and the owner is not disturbed."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from scale import LONG
from strangers import CALLS, FOREIGN, FREE, NOTHING, drop, expected, in_child, in_thread, outcome, refusals, targets

import uring
from uring import Operation, Params, Ring, State

# --- the table ---------------------------------------------------------------------------------------


def test_the_table_is_complete() -> None:
    """Each public method and property of Ring is refused to strangers, or is named as free."""
    public = {name for name in dir(Ring) if not name.startswith("_")} | {"closed"}
    assert set(CALLS) | FREE | FOREIGN == public
    assert not set(CALLS) & (FREE | FOREIGN)


@pytest.mark.parametrize("submitted", [False, True])
@pytest.mark.parametrize("stranger", ["WrongThread", "Forked"])
def test_strangers_are_refused_everything(ring: Ring, pipe: tuple[int, int], stranger: str, submitted: bool) -> None:
    """Each call raises in another thread and in a child; the operations in flight complete in their owner's hands."""
    wanted = expected(stranger)
    its = targets(ring, pipe[0])
    if submitted:
        ring.submit()
    before = ring.statistics()

    def work() -> str:
        return repr({name: answer for name, answer in refusals(ring, its).items() if answer != wanted[name]})

    assert (in_child(work) if stranger == "Forked" else in_thread(work)) == "{}"
    assert ring.statistics() == before
    assert not ring.closed
    assert {item.state for item in its} == {State.SUBMITTED if submitted else State.PREPARED}
    os.write(pipe[1], b"xy")  # one for the read, and one that the poll sees
    assert its.read.result(LONG) == 1
    assert its.poll.result(LONG) == 1
    its.timer.cancel().result(LONG)
    with pytest.raises(uring.OperationCancelled):
        its.timer.result(LONG)
    assert ring.statistics() == (0, 4, 4, 0, 8)
    assert [ring.nop(result=place).result(LONG) for place in range(20)] == list(range(20))


def test_a_childs_thread_is_refused_as_a_child(ring: Ring) -> None:
    """Both are wrong there; what it is told is about the fork."""
    assert in_child(lambda: type(in_thread(ring.nop)).__name__) == "Forked"
    assert ring.nop().result(LONG) is None


@pytest.mark.parametrize("params", [Params(), Params(defer_taskrun=False, coop_taskrun=False), Params(sqpoll=True)])
def test_a_thread_is_refused_whatever_the_setup(params: Params) -> None:
    """Also where the kernel itself would let it in."""
    with Ring(8, params) as ring:
        operation = ring.nop()
        for call in (ring.nop, ring.submit, ring.peek, ring.close, operation.result):
            assert isinstance(in_thread(call), uring.WrongThread)
        assert operation.result(LONG) is None
        assert ring.statistics()[:1] == (0,)


# --- what is free ------------------------------------------------------------------------------------


def known(ring: Ring, *operations: Operation[Any]) -> list[Any]:
    """All that may be read by anybody."""
    return [
        *((item.description(), repr(item), item.state, item.name, item.opcode) for item in operations),
        *(
            (item.result(), item.exception(), item.done(), item.completion)
            for item in operations
            if item._res is not None
        ),
        *(ring.statistics(), ring.flags, ring.features, ring.fileno(), repr(ring), ring.closed),
    ]


def test_what_any_thread_may_read(ring: Ring, pipe: tuple[int, int]) -> None:
    """Finished results, states, words and counters, with some operations in flight and in the queue."""
    finished, submitted = ring.nop(result=5), ring.read(pipe[0], bytearray(3))
    ring.wait(1, LONG)
    prepared = ring.read(pipe[0], bytearray(2))
    with ring.chain():
        recorded = ring.nop()
        mine = known(ring, finished, submitted, prepared, recorded)
        assert in_thread(lambda: known(ring, finished, submitted, prepared, recorded)) == mine
        assert recorded.state is State.RECORDED
    assert mine[:4] == [
        ("nop", "<Operation nop: completed, res=5>", State.COMPLETED, "nop", "NOP"),
        (f"read of 3 bytes on fd {pipe[0]}", repr(submitted), State.SUBMITTED, "read", "READ"),
        (f"read of 2 bytes on fd {pipe[0]}", repr(prepared), State.PREPARED, "read", "READ"),
        ("nop", "<Operation nop: recorded>", State.RECORDED, "nop", "NOP"),
    ]
    assert mine[-6] == (2, 2, 1, 0, 7)
    os.write(pipe[1], b"abcde")
    ring.wait(3, LONG)
    assert sum(item.result(LONG) for item in (submitted, prepared)) == 5


def test_a_child_may_read_what_was_finished(ring: Ring, pipe: tuple[int, int]) -> None:
    """The results that were known at the fork are the child's as well."""
    finished, blocked = ring.nop(result=5), ring.read(pipe[0], bytearray(3))
    ring.wait(1, LONG)
    mine = repr(known(ring, finished, blocked))
    assert in_child(lambda: repr(known(ring, finished, blocked))) == mine
    os.write(pipe[1], b"abc")
    assert blocked.result(LONG) == 3


def test_an_error_that_is_known_is_for_any_thread(ring: Ring) -> None:
    """The exception is made where it is asked for."""
    operation = ring.openat("/nowhere/at/all")
    ring.wait(1, LONG)
    error = in_thread(operation.result)
    assert isinstance(error, FileNotFoundError)
    assert error.filename == "/nowhere/at/all"
    assert isinstance(in_thread(operation.exception), FileNotFoundError)


def test_finished_results_outlive_the_ring_in_any_thread() -> None:
    """Also those that the closing ended."""
    ring = Ring(8)
    finished, blocked = ring.nop(result=7), ring.timeout(60)
    ring.wait(1, LONG)
    ring.close()
    assert in_thread(finished.result) == 7
    assert isinstance(in_thread(blocked.result), uring.RingClosed)
    assert in_thread(lambda: blocked.state) is State.CANCELLED
    assert isinstance(in_thread(ring.nop), uring.RingClosed)
    assert in_thread(ring.close) is None


def test_reading_while_the_owner_works(ring: Ring) -> None:
    """Threads that read counters and states all the time see no nonsense and disturb nothing."""
    stop = threading.Event()
    faults: list[Any] = []
    shown: list[Operation[Any]] = [ring.nop(result=1)]

    def look() -> None:
        try:
            completed = 0
            while not stop.is_set():
                counters, operation = ring.statistics(), shown[-1]
                assert 0 <= counters.in_flight <= 8
                assert counters.completed >= completed
                completed = counters.completed
                assert operation.state in (State.PREPARED, State.SUBMITTED, State.COMPLETED)
                assert repr(operation).startswith("<Operation nop: ")
                assert repr(ring).startswith("<Ring fd=")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            shown[:] = [ring.nop(result=1) for _ in range(7)]
            assert sum(operation.result(LONG) for operation in shown) == 7
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONG)
    assert faults == []


# --- who the owner is ----------------------------------------------------------------------------------


def test_enabling_moves_the_ring() -> None:
    """A disabled ring becomes the property of the thread that enables it, which may close it, too."""
    ring = Ring(8, Params(disabled=True))

    def take() -> Any:
        ring.enable()
        before = ring.nop(result=3).result(LONG), ring.statistics()
        give.set()
        assert refused.wait(LONG)
        ring.close()
        return before

    plain = ("submit", "nop", "read", "wait", "peek", "close", "chain", "enable", "c_ring", "resize")
    give, refused = threading.Event(), threading.Event()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(take()))
    thread.start()
    assert give.wait(LONG)
    answers = {name: outcome(CALLS[name], ring, NOTHING) for name in plain}
    refused.set()
    thread.join(LONG)
    assert got == [(3, (0, 1, 1, 0, 8))]
    assert set(answers.values()) == {"WrongThread"}
    assert ring.closed


def test_a_disabled_ring_stays_with_the_maker_who_enables_it() -> None:
    """And another thread may not enable it a second time."""
    with Ring(8, Params(disabled=True)) as ring:
        ring.enable()
        assert isinstance(in_thread(ring.enable), uring.WrongThread)
        assert ring.nop().result(LONG) is None


def test_a_child_cannot_enable() -> None:
    """A disabled ring is the parent's as well."""
    with Ring(8, Params(disabled=True)) as ring:
        assert in_child(lambda: outcome(CALLS["enable"], ring, NOTHING)) == "Forked"
        ring.enable()
        assert ring.nop().result(LONG) is None


def test_a_thread_that_comes_after_the_owner_is_refused() -> None:
    """Thread ids are used again, owners are not: the ring is nobody's then."""
    made: list[Ring] = []
    thread = threading.Thread(target=lambda: made.append(Ring(8)))
    thread.start()
    thread.join(LONG)
    for _ in range(5):
        assert isinstance(in_thread(made[0].nop), uring.WrongThread)
    assert isinstance(in_thread(made[0].close), uring.WrongThread)
    with pytest.warns(ResourceWarning, match="unclosed"):
        drop(made)


def test_eight_threads_with_a_ring_each() -> None:
    """They run at the same time, each with pipes, chains and nops of its own, and none meets another's."""
    start = threading.Barrier(8, timeout=LONG)
    results: dict[int, Any] = {}

    def work(number: int) -> None:
        ends = os.pipe()
        try:
            with Ring(4, exit_timeout=LONG) as ring:
                start.wait()
                total = 0
                for turn in range(40):
                    buffer = bytearray(2)
                    with ring.chain():
                        ring.write(ends[1], bytes([number, turn]))
                        read = ring.read(ends[0], buffer)
                    nops = [ring.nop(result=number) for _ in range(10)]
                    assert len(ring.wait(12, LONG)) == 12
                    assert read.result() == 2
                    assert buffer == bytes([number, turn])
                    total += sum(nop.result() for nop in nops)
                results[number] = total, ring.statistics()[:3]
        except BaseException as error:
            results[number] = error
        finally:
            for fd in ends:
                os.close(fd)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert results == {number: (400 * number, (0, 480, 480)) for number in range(8)}


def test_another_thread_cannot_fill_an_open_chain(ring: Ring) -> None:
    """Nor set a link's timeout, nor leave its block without harm to it; what the owner records runs."""
    with ring.chain() as chain:
        first = ring.nop()
        for call in (
            ring.nop,
            lambda: ring.read(0, bytearray(1)),
            lambda: first.with_timeout(1),
            ring.chain().__enter__,
        ):
            assert isinstance(in_thread(call), uring.WrongThread)
        assert list(chain) == [first]
        second = ring.nop()
    assert list(chain) == [first, second]
    assert ring.wait(2, LONG) == [first, second]
    assert isinstance(in_thread(chain.__enter__), uring.WrongThread)


def test_another_thread_cannot_end_an_open_chain(ring: Ring) -> None:
    """The block's end belongs to the owner; a stranger's neither queues nor discards, and hides no error of its own."""
    chain = ring.chain()
    chain.__enter__()
    operation = ring.nop()
    assert isinstance(in_thread(lambda: chain.__exit__(None, None, None)), uring.WrongThread)
    assert in_thread(lambda: chain.__exit__(KeyError, KeyError(), None)) is None
    assert in_child(lambda: outcome(lambda *_: chain.__exit__(None, None, None), ring, NOTHING)) == "Forked"
    assert operation.state is State.RECORDED
    assert ring.statistics().in_flight == 0
    chain.__exit__(None, None, None)
    assert operation.result(LONG) is None
