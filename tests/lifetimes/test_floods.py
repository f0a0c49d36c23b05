"""Many of everything: completions beyond the queue, operations, rings, and limits that are hit."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import uring
from uring import Completion, Operation, Params, Ring, State
from uring import liburing as L

LONG = 10.0
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
SETUPS = {
    "plain": Params(single_issuer=False, coop_taskrun=False, defer_taskrun=False),
    "coop": Params(coop_taskrun=True),
    "defer": Params(defer_taskrun=True),
    "defer without the flag": Params(defer_taskrun=True, taskrun_flag=False),
}


def scaled(n: int) -> int:
    """So many, times URING_TEST_SCALE; one at least."""
    return max(1, int(n * SCALE))


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


def queue_foreign(ring: Ring, user_data: int) -> None:
    """A NOP of our own through the C names."""
    sqe = L.io_uring_get_sqe(ring.c_ring)
    if sqe == L.ffi.NULL:
        ring.submit()
        sqe = L.io_uring_get_sqe(ring.c_ring)
    assert sqe != L.ffi.NULL, "no free SQE"
    L.io_uring_prep_nop(sqe)
    L.io_uring_sqe_set_data64(sqe, user_data)


def table_size(ring: Ring) -> tuple[int, int, int]:
    """Slots, places of the table, and operations in it."""
    return ring._native.slot_count, len(ring._table), sum(place is not None for place in ring._table)


def memory_pages() -> int:
    """The resident pages of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def locked() -> tuple[int, int]:
    """VmLck and VmPin in KiB."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if line.startswith("Vm"))
    return int(fields["VmLck"].split()[0]), int(fields["VmPin"].split()[0])


# --- the completion queue overflows ------------------------------------------------------------------


@pytest.mark.parametrize("setup", SETUPS)
def test_overflow_loses_and_repeats_nothing(setup: str) -> None:
    """Thousands of completions through a queue of 8, each exactly once and with its own result."""
    count = scaled(4000)
    with Ring(8, Params(**{**vars(SETUPS[setup]), "cq_entries": 8})) as ring:
        operations = [ring.nop(result=number) for number in range(count)]
        seen: list[Any] = []
        deadline = time.monotonic() + LONG
        while len(seen) < count:
            assert time.monotonic() < deadline
            seen += ring.wait(min(100, count - len(seen)), LONG)
        assert Counter(seen) == Counter(operations)
        assert [operation.result() for operation in operations] == list(range(count))
        assert ring.peek() == []
        assert ring.statistics()[:3] == (0, count, count)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("by", ["peek", "done"])
def test_an_overflowed_queue_is_emptied_without_waiting(setup: str, pipe: tuple[int, int], by: str) -> None:
    """Two hundred polls that fire at once on a queue of 8: peek and done() alone get all of them."""
    count = 200
    with Ring(8, Params(**{**vars(SETUPS[setup]), "cq_entries": 8})) as ring:
        polls = [ring.poll_add(pipe[0]) for _ in range(count)]
        ring.submit()
        os.write(pipe[1], b"x")
        seen: list[Any] = []
        deadline = time.monotonic() + LONG
        while len(seen) < count and time.monotonic() < deadline:
            if by == "peek":
                seen += ring.peek()
            else:
                seen = [poll for poll in polls if poll.done()]
        assert Counter(seen) == Counter(polls)
        if by == "done":
            assert Counter(ring.peek()) == Counter(polls)
        assert {poll.result() for poll in polls} == {1}
        assert ring.statistics()[:3] == (0, count, count)


def test_an_overflow_of_operations_and_foreign_requests(ring: Ring) -> None:
    """Both kinds mixed, more than the array that completions are copied to has room for."""
    operations, numbers = [], []
    for number in range(1500):
        if number % 3:
            operations.append(ring.nop(result=number))
        else:
            queue_foreign(ring, number)
            numbers.append(number)
    seen = ring.wait(1500, LONG)
    assert Counter(item.user_data for item in seen if isinstance(item, Completion)) == Counter(numbers)
    assert Counter(item for item in seen if isinstance(item, Operation)) == Counter(operations)
    assert len(seen) == 1500


# --- the submission queue is full ----------------------------------------------------------------------


@pytest.mark.parametrize("entries", [1, 2])
def test_a_tiny_ring_takes_hundreds(entries: int, pipe: tuple[int, int]) -> None:
    """Reads, writes, cancels and nops in the middle of each other; the queue is full nearly all the time."""
    with Ring(entries) as ring:
        total = 0
        for turn in range(150):
            buffer = bytearray(4)
            read = ring.read(pipe[0], buffer)
            nop = ring.nop(result=turn)
            write = ring.write(pipe[1], turn.to_bytes(4, "little"))
            timer = ring.timeout(60)
            cancelled = timer.cancel()
            assert Counter(ring.wait(5, LONG)) == Counter([read, nop, write, timer, cancelled])
            assert int.from_bytes(buffer, "little") == turn
            total += nop.result()
            assert timer.state is State.CANCELLED
        assert total == sum(range(150))
        assert ring.statistics()[:3] == (0, 750, 750)


@pytest.mark.parametrize("entries", [1, 2, 4])
def test_chains_between_what_fills_the_queue(entries: int, pipe: tuple[int, int]) -> None:
    """A chain as long as the queue is never split, though it is full when the chain's block ends."""
    with Ring(entries) as ring:
        for turn in range(100):
            before = [ring.nop() for _ in range(turn % 7)]
            with ring.chain() as chain:
                for place in range(entries):
                    if place % 2:
                        ring.read(pipe[0], bytearray(1))
                    else:
                        ring.write(pipe[1], b"x")
            after = [ring.nop() for _ in range(turn % 5)]
            wanted = [*before, *chain, *after]
            assert Counter(ring.wait(len(wanted), LONG)) == Counter(wanted)
            assert [link.result() for link in chain] == [1] * entries
            if entries == 1:
                assert os.read(pipe[0], 1) == b"x"
            order = [link._slot for link in chain]
            assert len(set(order)) == entries


def test_a_broken_chain_in_a_full_queue(pipe: tuple[int, int]) -> None:
    """A chain that breaks at its first link cancels exactly its own others."""
    with Ring(4) as ring:
        for _ in range(100):
            nops = [ring.nop() for _ in range(3)]
            with ring.chain() as chain:
                ring.nop(result=-5)
                ring.nop()
                ring.nop()
            nops += [ring.nop() for _ in range(3)]
            assert Counter(ring.wait(9, LONG)) == Counter([*nops, *chain])
            assert [type(link.exception()) for link in chain] == [OSError, uring.ChainBroken, uring.ChainBroken]
            assert [nop.exception() for nop in nops] == [None] * 6


def test_twenty_thousand_nops_at_once(ring: Ring) -> None:
    """They are all in flight or complete before the first is asked for."""
    count = scaled(20_000)
    operations = [ring.nop() for _ in range(count)]
    assert ring.wait(count, LONG * max(1, SCALE)).__len__() == count
    assert all(operation.state is State.COMPLETED for operation in operations)
    assert table_size(ring)[2] == 0


# --- nothing grows -------------------------------------------------------------------------------------


def test_operations_leave_nothing_behind(ring: Ring, pipe: tuple[int, int]) -> None:
    """Many operations of several kinds and ends, and neither memory, descriptors, slots nor the table grow."""

    def work(turns: int) -> None:
        for turn in range(turns):
            buffer = bytearray(64)
            with ring.chain():
                ring.write(pipe[1], b"0123456789")
                ring.read(pipe[0], buffer)
            for _ in range(10):
                ring.nop()
            ring.nop().abandon()
            ring.nop(result=-22).add_done_callback(lambda _: None)
            timer = ring.timeout(60)
            timer.cancel()
            queue_foreign(ring, turn)
            for _ in ring:
                pass
            ring.openat(os.devnull).abandon()
            ring.nop().result()
            ring.wait(0)
            while ring._native.in_flight:
                ring._enter(1, -1)

    work(300)
    descriptors, sizes, pages = len(os.listdir("/proc/self/fd")), table_size(ring), memory_pages()
    turns = scaled(100_000) // 19
    work(turns)
    growth = (memory_pages() - pages) * resource.getpagesize()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert table_size(ring) == sizes
    assert (ring._ready, ring._foreign, ring._due, ring._hidden) == ({}, {}, {}, set())
    assert growth < 3 << 20, f"{growth} bytes more after {turns} turns"
    statistics = ring.statistics()
    assert statistics.in_flight == 0
    assert statistics.submitted == statistics.completed == (300 + turns) * 19


RINGS = """
import gc, os, sys
sys.path.insert(0, {tests!r})
import uring
from test_floods import locked, memory_pages
ends = os.pipe()
def work(count):
    for number in range(count):
        ring = uring.Ring(8)
        ring.nop().result(10)
        if number % 3:
            ring.read(ends[0], bytearray(1))
            ring.submit()
        ring.close()
work(50)
before = len(os.listdir("/proc/self/fd")), locked()
pages = memory_pages()
work({count})
gc.collect()
after = len(os.listdir("/proc/self/fd")), locked()
assert before == after, (before, after)
growth = (memory_pages() - pages) * os.sysconf("SC_PAGESIZE")
assert growth < 3 << 20, growth
print("nothing is left")
"""
AS_NOBODY = """
import os, resource
os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))
"""


def run(program: str) -> str:
    """What a program prints; the test fails with what it says when it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def as_nobody(program: str, limit: int = 64 << 10) -> str:
    """The program, after it has become an unprivileged user with so much locked memory; modules are loaded before."""
    if os.getuid():
        pytest.skip("only root can become somebody else")
    return "import uring, warnings, subprocess, sysconfig\n" + AS_NOBODY.format(limit=limit) + program


def test_rings_leave_nothing_behind() -> None:
    """Many rings, closed with and without operations in flight: no descriptor, locked memory or memory is lost."""
    program = RINGS.format(tests=os.path.dirname(__file__), count=scaled(1000))
    assert run(program) == "nothing is left\n"


def test_rings_one_after_another_within_a_small_limit() -> None:
    """An unprivileged user with 64 KiB of locked memory, which the kernel gives back only after a while."""
    program = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_floods\n"
    program += as_nobody(RINGS.format(tests=os.path.dirname(__file__), count=scaled(100)))
    assert run(program) == "nothing is left\n"


MEMLOCK = """
import errno
rings = []
try:
    while len(rings) < 100:
        rings.append(uring.Ring(64))
except OSError as error:
    assert error.errno == errno.ENOMEM, error
    assert "RLIMIT_MEMLOCK allows 64 KiB" in str(error) and "ulimit -l" in str(error), error
else:
    raise AssertionError("no limit was hit")
assert rings, "not one ring fits"
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
try:
    uring.Ring(4096)
except OSError as error:
    assert error.errno == errno.ENOMEM, error
else:
    raise AssertionError("no limit was hit")
rings.pop().close()
rings.append(uring.Ring(64))
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
for ring in rings:
    ring.close()
with uring.Ring(64) as ring:
    print(ring.nop(result=5).result(10))
"""


def test_the_limit_of_locked_memory_is_hit() -> None:
    """The error says which limit and how to raise it; the rings that there are work, and closing one makes room."""
    assert run(as_nobody(MEMLOCK)) == "5\n"


EMFILE = """
import errno, os, resource, uring
uring.Ring(2).close()
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
rings = []
try:
    while len(rings) < 100:
        rings.append(uring.Ring(8))
except OSError as error:
    assert error.errno == errno.EMFILE, error
    assert "RLIMIT_NOFILE" in str(error) and "ulimit -n" in str(error), error
else:
    raise AssertionError("no limit was hit")
assert len(rings) > 10
first = rings[0]
for attempt in range(3):  # an operation meets the same limit, and says so
    opening = first.openat(os.devnull)
    try:
        opening.result(10)
    except OSError as error:
        assert error.errno == errno.EMFILE and "openat" in str(error), error
    else:
        raise AssertionError("no limit was hit")
assert first.nop(result=7).result(10) == 7
rings.pop().close()
os.close(first.openat(os.devnull).result(10))
rings.append(uring.Ring(8))
assert [ring.nop(result=7).result(10) for ring in rings] == [7] * len(rings)
for ring in rings:
    ring.close()
with uring.Ring(8) as ring:
    print(ring.nop(result=5).result(10))
"""


def test_the_limit_of_descriptors_is_hit() -> None:
    """A ring, and an operation, that finds no free descriptor says so, and both work again when there is one."""
    assert run(EMFILE) == "5\n"


# --- each is delivered once ------------------------------------------------------------------------------


class Model:
    """A ring, and what it should do as plain Python tells: who is owed to whom."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.ends = os.pipe()
        self.ring = Ring(4, Params(cq_entries=4))
        self.number = 0
        self.owed: dict[Operation[Any], int] = {}  # not handed out; the result it has or will have
        self.called: Counter[int] = Counter()
        self.to_call: Counter[int] = Counter()
        self.foreign: Counter[int] = Counter()
        self.given_up: list[Operation[Any]] = []
        self.stuck: dict[Operation[Any], int] = {}  # reads of the pipe, in order

    def close(self) -> None:
        """End both."""
        self.ring.close()
        for fd in self.ends:
            os.close(fd)

    def take(self, items: list[Any]) -> None:
        """These were handed out: each was owed, and is not any more."""
        for item in items:
            if isinstance(item, Completion):
                assert self.foreign[item.user_data] == 1
                del self.foreign[item.user_data]
            else:
                wanted = self.owed.pop(item)
                assert item.done()
                assert item.result() == wanted

    def idle(self) -> int:
        """How many of what is owed will complete by themselves."""
        return len(self.owed) - len(self.stuck) + len(self.foreign)

    # Steps

    def prepare(self) -> None:
        """A few nops."""
        for _ in range(self.random.randrange(6)):
            self.number += 1
            self.owed[self.ring.nop(result=self.number)] = self.number

    def block(self) -> None:
        """A read that waits for a byte."""
        if len(self.stuck) < 5:
            read = self.ring.read(self.ends[0], bytearray(1))
            self.owed[read] = self.stuck[read] = 1

    def unblock(self) -> None:
        """Bytes for all who wait; they arrive before another read can take one away."""
        self.ring.submit()
        os.write(self.ends[1], b"x" * len(self.stuck))
        deadline = time.monotonic() + LONG
        while not all(read.done() for read in self.stuck):
            assert time.monotonic() < deadline
        self.stuck.clear()

    def link(self) -> None:
        """A chain of nops."""
        with self.ring.chain() as chain:
            for _ in range(self.random.randrange(1, 5)):
                self.ring.nop()
        self.owed.update(dict.fromkeys(chain, None))  # type: ignore[arg-type]

    def queue(self) -> None:
        """A request through the C names."""
        self.number += 1
        self.foreign[self.number] = 1
        queue_foreign(self.ring, self.number)

    def submit(self) -> None:
        """Hand over."""
        self.ring.submit()

    def peek(self) -> None:
        """Take what is there."""
        self.take(self.ring.peek())

    def wait(self) -> None:
        """Take some, or all that can come."""
        n = self.random.randint(0, self.idle())
        got = self.ring.wait(n, LONG)
        assert len(got) >= n
        self.take(got)

    def wait_too_long(self) -> None:
        """More than can ever come, callbacks included, is refused, and changes nothing."""
        called = sum(self.to_call.values()) - sum(self.called.values())
        if not self.ring._has_foreign() and not self.ring._foreign:
            with pytest.raises(ValueError, match="are in flight"):
                self.ring.wait(len(self.owed) + called + 1)

    def iterate(self) -> None:
        """Take a few one by one, preparing others meanwhile, and leave."""
        if not self.idle():
            return
        left = self.random.randrange(1, 5)
        for item in self.ring:
            self.take([item])
            left -= 1
            if self.random.random() < 0.3:
                self.prepare()
            if not left or not self.idle():
                break

    def choose(self) -> Operation[Any] | None:
        """One that is owed and will complete."""
        free = [operation for operation in self.owed if operation not in self.stuck]
        return self.random.choice(free) if free else None

    def ask(self) -> None:
        """One's own result, or exception, twice."""
        operation = self.choose()
        if operation is not None:
            wanted = self.owed.pop(operation)
            if self.random.random() < 0.5:
                assert operation.exception(LONG) is None
            assert operation.result(LONG) == wanted
            assert operation.result() == wanted

    def call(self) -> None:
        """A callback takes it, once."""
        operation = self.choose()
        if operation is not None:
            number = id(operation)
            self.keep = getattr(self, "keep", [])
            self.keep.append(operation)  # so that the number stays its own
            del self.owed[operation]
            self.to_call[number] += 1
            operation.add_done_callback(lambda done: self.called.update([id(done)]))

    def give_up(self) -> None:
        """Nobody wants it."""
        operation = self.choose()
        if operation is not None:
            del self.owed[operation]
            operation.abandon()
            self.given_up.append(operation)

    def forget(self) -> None:
        """Look whether it is done, without taking it."""
        for operation in self.owed:
            operation.done()

    def finish(self) -> None:
        """All that is owed comes, once, and nothing else."""
        self.unblock()
        deadline = time.monotonic() + LONG
        while self.owed or self.foreign or self.ring._native.in_flight:
            assert time.monotonic() < deadline, (self.owed, self.foreign)
            self.take(self.ring.wait(min(1, self.idle()), LONG))
        assert self.ring.peek() == []
        assert self.called == self.to_call
        assert {operation.state for operation in self.given_up} <= {State.ABANDONED}
        assert self.ring.statistics().in_flight == 0
        assert table_size(self.ring)[2] == 0


STEPS = "prepare block unblock link queue submit peek wait wait_too_long iterate".split()
STEPS += ["ask", "call", "give_up", "forget", "prepare", "link"]


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_delivers_each_once(seed: int) -> None:
    """Thousands of steps in random order, against a model in plain Python."""
    model = Model(seed)
    try:
        for step in range(scaled(1000)):
            getattr(model, model.random.choice(STEPS))()
            if step % 200 == 199:
                model.finish()
        model.finish()
    finally:
        model.close()


def test_waiting_for_too_many_at_every_stage(ring: Ring, pipe: tuple[int, int]) -> None:
    """What is ready, blocked, abandoned, silent or has a callback: only what can be handed out, or called, counts."""
    ready, blocked, dropped = ring.nop(), ring.read(pipe[0], bytearray(1)), ring.read(pipe[0], bytearray(1))
    dropped.abandon()
    assert ready.exception(LONG) is None
    with ring.chain():
        ring.nop(skip_success=True)
        last = ring.nop()
    for n in (3, 100, 1 << 40):
        with pytest.raises(ValueError, match=f"waiting for {n} completions, but only 2"):
            ring.wait(n)
    assert ring.wait(1, LONG) == [last]
    with pytest.raises(ValueError, match="only 1"):
        ring.wait(2)
    os.write(pipe[1], b"xy")
    assert ring.wait(1, LONG) == [blocked]
    with pytest.raises(ValueError, match="only 0"):
        ring.wait(1)


# --- strangers in the queue --------------------------------------------------------------------------------


def test_a_stale_completion_reaches_nobody(ring: Ring, pipe: tuple[int, int]) -> None:
    """A CQE with the user_data of an earlier operation, whose slot a newer one has, is dropped."""
    first = ring.nop(result=1)
    stale = first.user_data
    assert first.result(LONG) == 1
    newer = ring.read(pipe[0], bytearray(8))
    assert newer.user_data != stale
    assert newer.user_data & 0xFFFFFF == stale & 0xFFFFFF, "it has the same slot"
    for _ in range(30):
        queue_foreign(ring, stale)
    after = ring.nop(result=2)
    assert after.result(LONG) == 2
    assert ring.peek() == []
    assert newer.state is State.SUBMITTED
    assert ring.statistics().in_flight == 1
    os.write(pipe[1], b"abc")
    assert newer.result(LONG) == 3
    assert ring.peek() == []
    assert table_size(ring)[2] == 0


def test_stale_completions_between_thousands(ring: Ring) -> None:
    """Every earlier user_data is tried while newer operations hold the slots; none gets another's result."""
    old: list[int] = []
    for turn in range(200):
        operations: list[Operation[Any]] = []
        numbers = []
        for place in range(10):
            operations.append(ring.nop(result=100 * turn + place))
            numbers.append(operations[-1].user_data)  # before a full queue submits it
        for stale in old:
            queue_foreign(ring, stale)
        assert set(ring.wait(10, LONG)) == set(operations)
        assert [operation.result() for operation in operations] == [100 * turn + place for place in range(10)]
        assert not set(numbers) & set(old)
        old = [*old, *numbers][-20:]
    assert ring.peek() == []


def test_marks_without_a_slot_are_dropped(ring: Ring) -> None:
    """Slots beyond the table, free ones, and generations that never were."""
    ring.nop().result(LONG)  # the first slot's first generation is over
    blocked = ring.timeout(60)
    ring.submit()
    live = blocked.user_data
    mark = 0x5A << 56
    for number in (mark, mark | 0xFFFFFF, mark | (1 << 56) - 1, mark | 63, live + (1 << 24), live + (1 << 55)):
        queue_foreign(ring, number)
    assert ring.nop(result=2).result(LONG) == 2
    assert ring.peek() == []
    assert blocked.state is State.SUBMITTED
    blocked.cancel().result(LONG)
    assert blocked.exception(LONG) is not None


def test_foreign_user_data_comes_out_as_it_went_in(ring: Ring) -> None:
    """Any 64 bits but those with our mark, 0 and all ones included; the same number twice comes twice."""
    source = random.Random(1)
    numbers = [0, 1, (1 << 64) - 1, (1 << 64) - 2, 1 << 63, 0x59 << 56, 0x5B << 56, 0x5A, 0x5A << 48, 7, 7]
    numbers += [number for number in (source.getrandbits(64) for _ in range(500)) if number >> 56 != 0x5A]
    operations = []
    for number in numbers:
        queue_foreign(ring, number)
        operations.append(ring.nop())
    seen = ring.wait(len(numbers) + len(operations), LONG)
    assert [item for item in seen if isinstance(item, Completion)] == [Completion(number, 0, 0) for number in numbers]
    assert [item for item in seen if isinstance(item, Operation)] == operations
    assert ring.statistics().in_flight == 0
    assert ring.peek() == []
