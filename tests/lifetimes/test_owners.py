"""Whose a ring is: every method refuses other threads and a fork's children, and the owner is not disturbed."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import uring
from uring import FixedFile, Operation, Params, Ring, State
from uring import liburing as L
from uring.operation import KINDS

LONG = 10.0
NULL = os.devnull
WORD = bytearray(4)


class Targets(NamedTuple):
    """Operations that are not complete, for the calls that are about one."""

    read: Operation[int]
    poll: Operation[int]
    timer: Operation[Any]


Call = Callable[[Ring, Targets], Any]
CALLS: dict[str, Call] = {
    "accept": lambda ring, _: ring.accept(0),
    "bind": lambda ring, _: ring.bind(0, ("127.0.0.1", 0)),
    "cancel": lambda ring, its: ring.cancel(its.read),
    "chain": lambda ring, _: ring.chain().__enter__(),
    "close": lambda ring, _: ring.close(),
    "close_fd": lambda ring, _: ring.close_fd(1000),
    "connect": lambda ring, _: ring.connect(0, ("127.0.0.1", 1)),
    "discard": lambda ring, _: ring.discard(0, 0, 512),
    "enable": lambda ring, _: ring.enable(),
    "epoll_ctl": lambda ring, _: ring.epoll_ctl(0, 1, 1, 1),
    "epoll_wait": lambda ring, _: ring.epoll_wait(0),
    "fadvise": lambda ring, _: ring.fadvise(0, 0, 1, 0),
    "fallocate": lambda ring, _: ring.fallocate(0, 0, 1),
    "fdatasync": lambda ring, _: ring.fdatasync(0),
    "fgetxattr": lambda ring, _: ring.fgetxattr(0, "user.a"),
    "files_update": lambda ring, _: ring.files_update([0], 0),
    "fixed_fd_install": lambda ring, _: ring.fixed_fd_install(FixedFile(0)),
    "fsetxattr": lambda ring, _: ring.fsetxattr(0, "user.a", b"x"),
    "fsync": lambda ring, _: ring.fsync(0),
    "ftruncate": lambda ring, _: ring.ftruncate(0, 1),
    "futex_wait": lambda ring, _: ring.futex_wait(WORD, 0),
    "futex_waitv": lambda ring, _: ring.futex_waitv([(WORD, 0)]),
    "futex_wake": lambda ring, _: ring.futex_wake(WORD),
    "getpeername": lambda ring, _: ring.getpeername(0),
    "getsockname": lambda ring, _: ring.getsockname(0),
    "getsockopt": lambda ring, _: ring.getsockopt(0, socket.SOL_SOCKET, socket.SO_TYPE),
    "getxattr": lambda ring, _: ring.getxattr("user.a", NULL),
    "iowq_affinity": lambda ring, _: ring.iowq_affinity(None),
    "iowq_max_workers": lambda ring, _: ring.iowq_max_workers(),
    "linkat": lambda ring, _: ring.linkat(NULL, "/nowhere/a"),
    "listen": lambda ring, _: ring.listen(0),
    "madvise": lambda ring, _: ring.madvise(WORD, 0),
    "mkdirat": lambda ring, _: ring.mkdirat("/nowhere/a"),
    "msg_ring": lambda ring, _: ring.msg_ring(ring, 0, 1),
    "msg_ring_fd": lambda ring, _: ring.msg_ring_fd(ring, 0),
    "nop": lambda ring, _: ring.nop(),
    "nop128": lambda ring, _: ring.nop128(),
    "openat": lambda ring, _: ring.openat(NULL),
    "peek": lambda ring, _: ring.peek(),
    "pipe": lambda ring, _: ring.pipe(),
    "poll_add": lambda ring, _: ring.poll_add(0),
    "poll_remove": lambda ring, its: ring.poll_remove(its.poll),
    "poll_update": lambda ring, its: ring.poll_update(its.poll, 1),
    "provide_buffers": lambda ring, _: ring.provide_buffers(bytearray(8), 8, 1),
    "read": lambda ring, _: ring.read(0, bytearray(1)),
    "read_exactly": lambda ring, _: ring.read_exactly(0, bytearray(1)),
    "recv": lambda ring, _: ring.recv(0, bytearray(1)),
    "recv_zc": lambda ring, _: ring.recv_zc(0, 0),
    "recvmsg": lambda ring, _: ring.recvmsg(0, [bytearray(1)]),
    "register_clock": lambda ring, _: ring.register_clock(time.CLOCK_MONOTONIC),
    "register_eventfd": lambda ring, _: ring.register_eventfd(0),
    "register_napi": lambda ring, _: ring.register_napi(1),
    "register_personality": lambda ring, _: ring.register_personality(),
    "remove_buffers": lambda ring, _: ring.remove_buffers(1, 1),
    "renameat": lambda ring, _: ring.renameat("/nowhere/a", "/nowhere/b"),
    "resize": lambda ring, _: ring.resize(16),
    "restrict": lambda ring, _: ring.restrict(),
    "send": lambda ring, _: ring.send(0, b"x"),
    "send_zc": lambda ring, _: ring.send_zc(0, b"x"),
    "sendmsg": lambda ring, _: ring.sendmsg(0, [b"x"]),
    "sendmsg_zc": lambda ring, _: ring.sendmsg_zc(0, [b"x"]),
    "set_iowait": lambda ring, _: ring.set_iowait(True),
    "setsockopt": lambda ring, _: ring.setsockopt(0, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    "setxattr": lambda ring, _: ring.setxattr("user.a", b"x", NULL),
    "shutdown": lambda ring, _: ring.shutdown(0),
    "siocinq": lambda ring, _: ring.siocinq(0),
    "siocoutq": lambda ring, _: ring.siocoutq(0),
    "socket": lambda ring, _: ring.socket(),
    "splice": lambda ring, _: ring.splice(0, -1, 1, -1, 1),
    "statx": lambda ring, _: ring.statx(NULL),
    "submit": lambda ring, _: ring.submit(),
    "symlinkat": lambda ring, _: ring.symlinkat("a", "/nowhere/b"),
    "sync_cancel": lambda ring, its: ring.sync_cancel(its.read),
    "sync_file_range": lambda ring, _: ring.sync_file_range(0),
    "tee": lambda ring, _: ring.tee(0, 1, 1),
    "timeout": lambda ring, _: ring.timeout(1),
    "timeout_remove": lambda ring, its: ring.timeout_remove(its.timer),
    "timeout_update": lambda ring, its: ring.timeout_update(its.timer, 1),
    "unlinkat": lambda ring, _: ring.unlinkat("/nowhere/a"),
    "unregister_eventfd": lambda ring, _: ring.unregister_eventfd(),
    "unregister_napi": lambda ring, _: ring.unregister_napi(),
    "unregister_personality": lambda ring, _: ring.unregister_personality(1),
    "uring_cmd": lambda ring, _: ring.uring_cmd(0, 0),
    "uring_cmd128": lambda ring, _: ring.uring_cmd128(0, 0),
    "wait": lambda ring, _: ring.wait(0),
    "waitid": lambda ring, _: ring.waitid(os.P_ALL, 0),
    "write": lambda ring, _: ring.write(1, b"x"),
    "write_all": lambda ring, _: ring.write_all(1, b"x"),
    "c_ring": lambda ring, _: ring.c_ring,
    "eventfd_enabled": lambda ring, _: ring.eventfd_enabled,
}
# Variants, and what an unfinished operation can be asked.
MORE: dict[str, Call] = {
    "wait too many": lambda ring, _: ring.wait(100),
    "wait a moment": lambda ring, _: ring.wait(1, 0),
    "iteration": lambda ring, _: next(iter(ring)),
    "exit": lambda ring, _: ring.__exit__(None, None, None),
    "exit by an error": lambda ring, _: ring.__exit__(KeyError, KeyError(), None),
    "openat direct": lambda ring, _: ring.openat(NULL, direct=0),
    "read vectored": lambda ring, _: ring.read(0, [bytearray(1), bytearray(1)]),
    "write vectored": lambda ring, _: ring.write(1, [b"a", b"b"]),
    "send to": lambda ring, _: ring.send(0, b"x", address=("127.0.0.1", 1)),
    "nop with a result": lambda ring, _: ring.nop(result=1),
    "cancel a descriptor": lambda ring, _: ring.cancel(0, every=True),
    "sync_cancel all": lambda ring, _: ring.sync_cancel(every=True),
    "timeout of a count": lambda ring, _: ring.timeout(1, count=1),
    "result": lambda _, its: its.read.result(),
    "result in time": lambda _, its: its.read.result(0.001),
    "exception": lambda _, its: its.read.exception(),
    "done": lambda _, its: its.read.done(),
    "operation cancel": lambda _, its: its.read.cancel(),
    "abandon": lambda _, its: its.read.abandon(),
}
NOTHING: Any = None
# What any thread and any process may ask.
FREE = {"closed", "features", "fileno", "flags", "query", "statistics"}
ALL = CALLS | MORE


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 8 entries."""
    with Ring(8, exit_timeout=LONG) as opened:
        yield opened


def in_thread(call: Callable[[], Any]) -> Any:
    """What another thread gets: the result, or the exception."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(call())
        except BaseException as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    assert got, "the call hangs"
    return got[0]


def drop(rings: list[Ring]) -> None:
    """Give up the last references, also those of tracebacks."""
    rings.clear()
    gc.collect()


def outcome(call: Call, ring: Ring, its: Targets) -> str:
    """The name of the exception's class, or "nothing raised"."""
    try:
        call(ring, its)
    except BaseException as error:
        return type(error).__name__
    return "nothing raised"


def in_child(work: Callable[[], str]) -> str:
    """What a fork's child says, which ends by os._exit."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            text = work()
        except BaseException as error:
            text = repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as report:
        text = report.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return text


def refusals(ring: Ring, its: Targets) -> dict[str, str]:
    """Every call's answer."""
    return {name: outcome(call, ring, its) for name, call in ALL.items()}


def targets(ring: Ring, fd: int) -> Targets:
    """Operations that wait for a pipe's byte, or for a minute."""
    return Targets(ring.read(fd, bytearray(1)), ring.poll_add(fd), ring.timeout(60))


def expected(name: str) -> dict[str, str]:
    """The same answer for every call, except where the kernel lacks the opcode, which may be said first."""
    missing = {kind.name for kind in KINDS if kind.missing}
    answers = {call: "Unsupported" if call in missing else name for call in ALL}
    answers["recv_zc"] = "Unsupported"  # the ring's format is looked at first, see its builder
    return answers


# --- the table ---------------------------------------------------------------------------------------


def test_the_table_is_complete() -> None:
    """Each public method and property of Ring is refused to strangers, or is named as free."""
    public = {name for name in dir(Ring) if not name.startswith("_")} | {"closed"}
    assert set(CALLS) | FREE == public
    assert not set(CALLS) & FREE


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


# --- children that end in other ways -------------------------------------------------------------------

CHILD = """
import gc, os, sys, time, uring
ends = os.pipe()
{prelude}
ring = uring.Ring(8)
first, second = ring.read(ends[0], bytearray(3)), ring.nop(result=4)
ring.submit()
waiting = ring.nop(result=6)  # in the queue at the fork
child = os.fork()
if not child:
    {child}
assert os.waitpid(child, 0)[1] == {status}, "the child failed"
assert not ring.closed and ring.statistics().in_flight == {flying}, ring
os.write(ends[1], b"abc")
assert first.result(10) == 3 and second.result(10) == 4 and waiting.result(10) == 6
assert ring.statistics() == (0, 3, 3, 0, 8), ring.statistics()
assert [ring.nop(result=n).result(10) for n in range(20)] == list(range(20))
ring.close()
print("unharmed")
"""
WAYS = {
    "sys.exit": ("", "sys.exit(3)", 3 << 8),
    "the end of atexit": ("import atexit; atexit.register(gc.collect)", "sys.exit(0)", 0),
    "an exception": ("", "os.close(2); raise KeyError", 1 << 8),
    "dropping the ring": (
        "",
        "fd = ring.fileno(); del ring, first, second, waiting; gc.collect(); os._exit(any(\n"
        "        os.readlink(f'/proc/self/fd/{n}').startswith('anon_inode:[io_uring]')\n"
        "        for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')))",
        0,
    ),
    "leaving its block": ("", "ring.__enter__()\n    try: ring.__exit__(None, None, None)\n"
                              "    except uring.Forked: os._exit(5)", 5 << 8),
    "a ring of its own": (
        "",
        "own = uring.Ring(8); n = own.nop(result=9).result(10); own.close(); os._exit(n)",
        9 << 8,
    ),
    "a child of its own": (
        "",
        "inner = os.fork()\n    if not inner: sys.exit(0)\n    os.waitpid(inner, 0)\n    sys.exit(1)",
        1 << 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_child_that_ends_leaves_the_parent_unharmed(way: str) -> None:
    """However the child ends, what was in flight and in the queue completes, and the counts are right."""
    prelude, child, status = WAYS[way]
    program = CHILD.format(prelude=prelude, child=child, status=status, flying=3)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "unharmed\n", done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_parent_closes_while_a_child_still_has_the_ring(pipe: tuple[int, int]) -> None:
    """The child holds the descriptor open; closing is complete in the parent all the same."""
    reading, writing = os.pipe()
    ring = Ring(8)
    blocked = ring.read(pipe[0], bytearray(1))
    ring.submit()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0 if outcome(CALLS["nop"], ring, NOTHING) == "Forked" else 1)
    ring.close()
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    assert isinstance(blocked.exception(), uring.RingClosed)
    os.write(pipe[1], b"y")
    assert os.read(pipe[0], 1) == b"y", "the read was still running"


def test_a_ring_dropped_in_another_thread_warns() -> None:
    """Nothing of it but its descriptor is touched there."""
    ring: list[Ring] = [Ring(8)]
    operation = ring[0].nop()
    fd = ring[0].fileno()
    del operation
    with pytest.warns(ResourceWarning, match="unclosed"):
        in_thread(lambda: drop(ring))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_the_c_names_on_a_ring_agree_about_the_owner(ring: Ring) -> None:
    """What was taken from c_ring by the owner stays usable by the owner after refusals elsewhere."""
    sqe = L.io_uring_get_sqe(ring.c_ring)
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, 77)
    assert isinstance(in_thread(lambda: ring.c_ring), uring.WrongThread)
    assert in_child(lambda: outcome(CALLS["c_ring"], ring, NOTHING)) == "Forked"
    assert ring.wait(1, LONG) == [uring.Completion(77, 0, 0)]
