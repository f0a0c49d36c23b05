"""Waking a ring's owner from other threads, and waiting for what others send."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uring
from uring import ALLOC, Completion, FixedFile, Forked, Params, Ring, RingClosed, Unsupported
from uring import liburing as L
from uring.builders.messages import MSG_RING

LONG = 10.0
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
PLAIN = {"single_issuer": False, "coop_taskrun": False, "defer_taskrun": False}
SETUPS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": PLAIN,
    "coop": {"coop_taskrun": True},
    "sqpoll": {"sqpoll": True},
    "iopoll": {"iopoll": True},
    "cqe32": {"cqe32": True},
    "cqe_mixed": {"cqe_mixed": True},
}

pytestmark = pytest.mark.skipif(MSG_RING.missing, reason="this kernel lacks IORING_OP_MSG_RING")


def scaled(n: int) -> int:
    """So many, times URING_TEST_SCALE; one at least."""
    return max(1, int(n * SCALE))


@pytest.fixture(params=["directly", "through a ring"])
def open_ring(request: pytest.FixtureRequest) -> Iterator[Callable[..., Ring]]:
    """A factory of rings; half of the tests' wakes go through a ring of their own, as on kernels before 6.13."""
    rings: list[Ring] = []

    def make(entries: int = 8, **params: Any) -> Ring:
        try:
            ring = Ring(entries, Params(**params))
        except Unsupported as error:
            pytest.skip(str(error))
        if request.param == "through a ring" and not ring._params.registered_fd_only:
            ring._open_sender()
        rings.append(ring)
        return ring

    yield make
    for ring in rings:
        ring.close()


@pytest.fixture
def ring(open_ring: Callable[..., Ring]) -> Ring:
    """A ring of 8 entries."""
    return open_ring()


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let Python switch threads often: busy threads shall not keep the owner waiting."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's two ends."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


class Thread(threading.Thread):
    """A thread whose exception is raised by `end`."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self) -> None:
        """Keep the exception for the test."""
        try:
            self.work()
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        """Wait for it."""
        self.join(LONG)
        assert not self.is_alive(), "the thread hangs"
        if self.error is not None:
            raise self.error


def when_asleep(act: Callable[[], object]) -> Thread:
    """Do something, in a thread, when the caller's thread sleeps in io_uring_enter (or polls there, with IOPOLL)."""
    call = Path(f"/proc/self/task/{threading.get_native_id()}/syscall")

    def run() -> None:
        deadline = time.monotonic() + LONG
        while not call.read_text().startswith("426 "):
            assert time.monotonic() < deadline, "the owner does not wait"
        act()

    return Thread(run)


# --- one wake ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 100])
@pytest.mark.parametrize("setup", [name for name in SETUPS if name != "iopoll"])
def test_wake_ends_a_wait(open_ring: Callable[..., Ring], setup: str, n: int) -> None:
    """However many completions it waits for, on a ring of any kind, it returns what there is."""
    ring = open_ring(**SETUPS[setup])
    waker = when_asleep(ring.wake)
    assert ring.wait(n, messages=True) == []
    waker.end()
    nop = ring.nop()
    assert ring.wait(1) == [nop]


def test_wake_ends_a_wait_of_a_polled_ring(open_ring: Callable[..., Ring]) -> None:
    """With IOPOLL too, whose waits poll instead of sleeping."""
    ring = open_ring(iopoll=True)
    started = threading.Event()

    def wake() -> None:
        assert started.wait(LONG)
        ring.wake()

    waker = Thread(wake)
    started.set()
    assert ring.wait(1, messages=True) == []
    waker.end()


def test_wake_gives_what_is_complete(ring: Ring, pipe: tuple[int, int]) -> None:
    """A wait for two that is woken returns the one that is there; the other one comes later."""
    ready, blocked = ring.nop(), ring.read(pipe[0], bytearray(1))
    waker = when_asleep(ring.wake)
    assert ring.wait(2) == [ready]
    waker.end()
    os.write(pipe[1], b"x")
    assert ring.wait(1, LONG) == [blocked]


@pytest.mark.parametrize("wakes", [1, 2, 1000])
def test_wakes_before_the_wait_count_as_one(ring: Ring, pipe: tuple[int, int], wakes: int) -> None:
    """The next wait returns at once, and the one behind it waits."""
    blocked = ring.read(pipe[0], bytearray(1))
    for _ in range(wakes):
        ring.wake()
    assert ring.wait(1) == []
    writer = when_asleep(lambda: os.write(pipe[1], b"x"))
    assert ring.wait(1) == [blocked]
    writer.end()


def test_wait_that_has_all_leaves_the_wake(ring: Ring, pipe: tuple[int, int]) -> None:
    """Nothing was cut short, so the wake stays due: also behind a wait for nothing, and behind peek."""
    ring.read(pipe[0], bytearray(1)).abandon()
    nop = ring.nop()
    ring.wake()
    assert ring.wait(0) == [nop]
    nop = ring.nop()
    assert ring.wait(1) == [nop]
    assert ring.peek() == []
    assert ring.wait(1, messages=True) == []
    assert ring.wait(1, 0) == []


def test_wake_ends_a_wait_with_a_timeout(ring: Ring, pipe: tuple[int, int]) -> None:
    """Before the time is up."""
    ring.read(pipe[0], bytearray(1)).abandon()
    waker = when_asleep(ring.wake)
    before = time.monotonic()
    assert ring.wait(1, 600) == []
    assert time.monotonic() - before < 300
    waker.end()


def test_wake_after_time_was_up_is_due(ring: Ring) -> None:
    """A wait whose time is up consumes no wake that comes later."""
    assert ring.wait(1, 0.001) == []
    ring.wake()
    assert ring.wait(1, 600) == []


# --- what goes on waiting -----------------------------------------------------------------------------------


def test_result_ignores_wakes(ring: Ring, pipe: tuple[int, int]) -> None:
    """It waits for one operation; the wake stays due."""
    read = ring.read(pipe[0], bytearray(1))

    def act() -> None:
        ring.wake()
        os.write(pipe[1], b"x")

    waker = when_asleep(act)
    assert read.result() == 1
    waker.end()
    assert ring.wait(1, messages=True) == []


def test_iteration_and_exit_ignore_wakes(pipe: tuple[int, int]) -> None:
    """Both go on until nothing is in flight."""

    def act() -> None:
        ring.wake()
        os.write(pipe[1], b"x")

    with Ring(8) as ring:
        read = ring.read(pipe[0], bytearray(1))
        waker = when_asleep(act)
        assert list(ring) == [read]
        waker.end()
        read = ring.read(pipe[0], bytearray(1))
        waker = when_asleep(act)
    waker.end()
    assert read.result() == 1


# --- from where ---------------------------------------------------------------------------------------------


def test_wake_from_a_signal_handler(ring: Ring) -> None:
    """A handler that runs in the owner's thread, in the middle of its wait, ends it."""
    before = signal.signal(signal.SIGUSR1, lambda *_: ring.wake())
    try:
        killer = when_asleep(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert ring.wait(1, messages=True) == []
        killer.end()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_wake_from_a_handler_inside_a_wake(ring: Ring) -> None:
    """The lock is no obstacle to the thread that holds it."""
    with ring._guard:
        ring.wake()
    assert ring.wait(1, messages=True) == []


def test_wake_from_a_callback(ring: Ring, pipe: tuple[int, int]) -> None:
    """A callback's wake ends the wait that runs it, though that waits for more."""
    ring.nop().abandon()  # ends the sleep for two, but does not count
    ring.nop().add_done_callback(lambda _: ring.wake())
    ring.read(pipe[0], bytearray(1))
    assert ring.wait(2) == []


def test_wake_between_rings(open_ring: Callable[..., Ring]) -> None:
    """The owner of one ring wakes another's."""
    one, got = open_ring(), []
    made: deque[Ring] = deque()
    ready = threading.Event()

    def wait() -> None:
        with Ring(4) as other:
            made.append(other)
            ready.set()
            got.append(other.wait(1, messages=True))
            one.wake()

    thread = Thread(wait)
    assert ready.wait(LONG)
    made[0].wake()
    assert one.wait(1, LONG) == []
    thread.end()
    assert got == [[]]


# --- refusals -----------------------------------------------------------------------------------------------


def test_wake_of_a_closed_ring(ring: Ring) -> None:
    """A closed ring is refused, in its thread and in another one."""
    ring.close()
    with pytest.raises(RingClosed):
        ring.wake()
    with pytest.raises(RingClosed):
        Thread(ring.wake).end()


def test_wake_in_a_child_is_refused(ring: Ring) -> None:
    """A child gets Forked, also when a thread of its parent held the lock as it forked; the parent is not woken."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with ring._guard:
            held.set()
            assert done.wait(LONG)

    holder = Thread(hold)
    assert held.wait(LONG)
    child = os.fork()
    if not child:
        signal.alarm(int(LONG))
        try:
            ring.wake()
        except Forked:
            del ring
            gc.collect()
            os._exit(7)
        os._exit(1)
    done.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    holder.end()
    assert ring.wait(1, 0) == []
    ring.wake()
    assert ring.wait(1, messages=True) == []


def test_ring_without_a_descriptor_is_refused(open_ring: Callable[..., Ring]) -> None:
    """No other thread can reach it, so nobody is told that it could."""
    ring = open_ring(no_mmap=True, registered_fd_only=True)
    with pytest.raises(ValueError, match="no descriptor"):
        ring.wake()


def test_kernel_without_messages(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with the kernel that has them."""
    monkeypatch.setattr(MSG_RING, "missing", True)
    with pytest.raises(Unsupported, match=r"MSG_RING: it needs Linux 5\.18"):
        ring.wake()


def test_wake_of_a_disabled_ring(open_ring: Callable[..., Ring]) -> None:
    """Nobody can wait on it yet; the first wait after it is enabled, in another thread, returns."""
    ring = open_ring(disabled=True)
    ring.wake()
    got: list[Any] = []

    def own() -> None:
        ring.enable()
        got.append(ring.wait(1, messages=True))
        ring.close()

    Thread(own).end()
    assert got == [[]]


# --- many -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setup", ["default", "plain", "sqpoll"])
@pytest.mark.parametrize("n", [1, 3])
def test_storm_of_wakes(open_ring: Callable[..., Ring], setup: str, n: int) -> None:
    """Eight threads put work into a list and wake, thousands of times: none is left lying, no wait hangs."""
    ring, inbox = open_ring(4, **SETUPS[setup]), deque[int]()
    count = scaled(10_000 if setup == "default" and n == 1 else 1000)

    def work() -> None:
        for number in range(count):
            inbox.append(number)
            ring.wake()

    threads = [Thread(work) for _ in range(8)]
    got: Counter[int] = Counter()
    while got.total() < 8 * count:
        before = time.monotonic()
        assert ring.wait(n, LONG) == []
        assert time.monotonic() - before < LONG, "a wake was lost"
        while inbox:
            got[inbox.popleft()] += 1
    for thread in threads:
        thread.end()
    assert set(got.values()) == {8}
    assert ring.statistics().in_flight == 0


def test_ping_pong(open_ring: Callable[..., Ring]) -> None:
    """Two owners wake each other in turn: each wake finds a wait that sleeps, or is about to."""
    rounds, made = scaled(2000), deque[Ring]()
    ready = threading.Event()
    one = open_ring()
    turns: list[int] = []

    def other_side() -> None:
        with Ring(4) as ring:
            made.append(ring)
            ready.set()
            for number in range(rounds):
                assert ring.wait(2, LONG) == []
                turns.append(number)
                one.wake()

    thread = Thread(other_side)
    assert ready.wait(LONG)
    for number in range(rounds):
        made[0].wake()
        assert one.wait(1, LONG) == []
        assert len(turns) == number + 1
    thread.end()


def test_wakes_among_completions(ring: Ring, quick_switches: None) -> None:
    """Operations complete once each while other threads wake all the time."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            ring.wake()

    threads = [Thread(work) for _ in range(2)]
    try:
        for _ in range(scaled(500)):
            wanted = {ring.nop() for _ in range(20)}
            got: list[Any] = []
            while len(got) < 20:
                got += ring.wait(20 - len(got))
            assert set(got) == wanted
    finally:
        stop.set()
        for thread in threads:
            thread.end()


def test_close_while_others_wake(open_ring: Callable[..., Ring], quick_switches: None) -> None:
    """They get RingClosed, and never reach the ring that gets the descriptor's number next."""
    current: deque[Ring] = deque([open_ring()])
    stop = threading.Event()
    refused: Counter[bool] = Counter()

    def work() -> None:
        while not stop.is_set():
            mine = current[0]
            for _ in range(50):
                try:
                    mine.wake()
                    refused[False] += 1
                except RingClosed:
                    refused[True] += 1
                    break

    threads = [Thread(work) for _ in range(3)]
    try:
        for _ in range(scaled(100)):
            old, number = current[0], current[0].fileno()
            old.wait(1, 0)
            old.close()
            with Ring(2, Params(**PLAIN)) as bystander:
                assert bystander.fileno() == number
                assert bystander.wait(1, 0) == []
                assert bystander.statistics().completed == 0
                assert bystander._native.woken == 0
            current[0] = open_ring()
    finally:
        stop.set()
        for thread in threads:
            thread.end()
    assert refused[False] > 0


def test_nothing_of_the_rings_that_wake_is_left() -> None:
    """A ring that was opened to send wakes with is closed with the ring that it belongs to."""
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with Ring(4) as ring:
            ring._open_sender()
            ring.wake()
    ring = Ring(4)
    ring._open_sender()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del ring
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_ring_is_dropped_by_a_thread_that_woke_it() -> None:
    """Whoever drops it, its descriptor, and that of the ring that it is woken with, are closed."""
    before = sorted(os.listdir("/proc/self/fd"))
    rings = [Ring(4)]
    rings[0]._open_sender()

    def work() -> None:
        rings[0].wake()
        with pytest.warns(ResourceWarning, match="unclosed"):
            rings.clear()

    Thread(work).end()
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


# --- waiting for messages ----------------------------------------------------------------------------------------


@pytest.fixture
def sync_messages(ring: Ring) -> None:
    """Skip where messages need a ring."""
    if not uring.probe.register_ops()["REGISTER_SEND_MSG_RING"]:
        pytest.skip("this kernel lacks IORING_REGISTER_SEND_MSG_RING")


def test_wait_for_messages_alone(ring: Ring, sync_messages: None) -> None:
    """With nothing in flight a wait for messages waits, as one with a timeout does; without either it is refused."""
    with pytest.raises(ValueError, match="messages=True"):
        ring.wait(1)
    for wait in (lambda: ring.wait(2, messages=True), lambda: ring.wait(2, 600)):
        sender = when_asleep(lambda: [uring.send_message(ring, 7, res) for res in (1, 2)])
        assert wait() == [Completion(7, 1, 0), Completion(7, 2, 0)]
        sender.end()


def test_wait_for_messages_and_operations(ring: Ring, sync_messages: None) -> None:
    """Both count, and arrive in their order."""
    nop = ring.nop()
    ring.submit()
    uring.send_message(ring, 7)
    assert ring.wait(2, messages=True) in ([nop, Completion(7, 0, 0)], [Completion(7, 0, 0), nop])


def test_wait_for_messages_ends_in_time(ring: Ring) -> None:
    """Without any the timeout ends it."""
    assert ring.wait(1, 0.001, messages=True) == []
    assert ring.wait(1, 0) == []


@pytest.mark.parametrize(("n", "error"), [(-1, ValueError), (1 << 31, ValueError), (1 << 70, ValueError)])
def test_bad_numbers(ring: Ring, n: int, error: type[Exception]) -> None:
    """Refused with messages too, and with a timeout."""
    with pytest.raises(error):
        ring.wait(n, messages=True)
    with pytest.raises(error):
        ring.wait(n, 0)


def test_callback_closes_the_ring_during_a_wait(open_ring: Callable[..., Ring], pipe: tuple[int, int]) -> None:
    """The wait ends: by RingClosed when it is for messages, else with what there was."""
    for params, messages in ((PLAIN, True), (PLAIN, False), ({"sqpoll": True}, False)):
        ring = open_ring(**params)
        blocked = ring.read(pipe[0], bytearray(1))
        ring.nop().abandon()  # ends the sleep for two, but does not count
        ring.nop().add_done_callback(lambda _, ring=ring: ring.close())
        if messages:
            with pytest.raises(RingClosed):
                ring.wait(2, messages=True)
        else:
            assert ring.wait(2) == []
        with pytest.raises(RingClosed):
            blocked.result()


@pytest.mark.parametrize("setup", ["default", "plain", "sqpoll"])
def test_no_message_is_lost_in_a_small_queue(open_ring: Callable[..., Ring], setup: str, sync_messages: None) -> None:
    """Eight threads send more than fits, unread at first, with wakes among them: each arrives once, with its result."""
    ring, count = open_ring(2, cq_entries=2, **SETUPS[setup]), scaled(300)

    def send(sender: int) -> None:
        for number in range(count):
            uring.send_message(ring, sender, number)
            if not number % 10:
                ring.wake()

    threads = [Thread(lambda sender=sender: send(sender)) for sender in range(8)]
    threads[0].end()
    got: Counter[tuple[int, int]] = Counter()
    while got.total() < 8 * count:
        before = time.monotonic()
        for completion in ring.wait(1, LONG):
            assert isinstance(completion, Completion)
            got[completion.user_data, completion.res] += 1
        assert time.monotonic() - before < LONG, "a message was lost"
    for thread in threads:
        thread.end()
    assert got == Counter({(sender, number): 1 for sender in range(8) for number in range(count)})
    ring.wait(1, 0)
    assert ring.peek() == []


def test_descriptors_pass_from_thread_to_thread(open_ring: Callable[..., Ring]) -> None:
    """Registered files go to another thread's ring, which is woken by their messages; each is read there, once."""
    if uring.builders.zero_copy.SEND_ZC[0].missing:
        pytest.skip("this kernel lacks IORING_MSG_SEND_FD")
    count, one = scaled(100), open_ring()
    made: deque[Ring] = deque()
    ready = threading.Event()
    read: list[bytes] = []

    def receive() -> None:
        with Ring(4) as ring:
            assert L.io_uring_register_files_sparse(ring.c_ring, count) == 0
            made.append(ring)
            ready.set()
            while len(read) < count:
                for message in ring.wait(1, LONG):
                    assert isinstance(message, Completion)
                    slot, data = FixedFile(message.res), bytearray(16)
                    length = ring.read(slot, data).result(LONG)
                    read.append(bytes(data[:length]))
                    assert L.io_uring_register_files_update(ring.c_ring, int(slot), [-1], 1) == 1

    thread = Thread(receive)
    assert ready.wait(LONG)
    assert L.io_uring_register_files_sparse(one.c_ring, 1) == 0
    for number in range(count):
        reader, writer = os.pipe()
        os.write(writer, b"%d" % number)
        assert L.io_uring_register_files_update(one.c_ring, 0, [reader], 1) == 1
        os.close(reader)
        os.close(writer)
        assert one.msg_ring_fd(made[0], 0, ALLOC, number).result(LONG) >= 0
        assert L.io_uring_register_files_update(one.c_ring, 0, [-1], 1) == 1
    thread.end()
    assert sorted(map(int, read)) == list(range(count))
