"""Futexes and child processes: waiting, waking, words in all kinds of memory, how children end."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from c_style import require_opcode

from uring.errors import ChainBroken, OperationCancelled
from uring.flags import Futex2
from uring.operation import Operation, State
from uring.ring import Ring

PRIVATE = Futex2.SIZE_U32 | Futex2.PRIVATE


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds; skip without futex and waitid requests."""
    require_opcode("IORING_OP_FUTEX_WAIT", "IORING_OP_FUTEX_WAKE", "IORING_OP_FUTEX_WAITV", "IORING_OP_WAITID")
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def word() -> mmap.mmap:
    """Make shared memory that starts with a futex of value 0."""
    return mmap.mmap(-1, mmap.PAGESIZE)


def is_waiting(ring: Ring, operation: Operation[Any]) -> bool:
    """Submit, and return whether the operation is still in flight."""
    ring.submit()
    ring.wait(0)
    return operation.state is State.SUBMITTED


def code_of(operation: Operation[Any]) -> int | None:
    """Return the errno that an operation fails with."""
    error = operation.exception(timeout=10)
    assert isinstance(error, OSError)
    return error.errno


# One futex


def test_wake_completes_a_wait(ring: Ring, word: mmap.mmap) -> None:
    """A wait stays in flight until a wake, which tells how many it woke."""
    wait = ring.futex_wait(word, 0)
    assert is_waiting(ring, wait)
    assert ring.futex_wake(word).result(timeout=10) == 1
    assert wait.result(timeout=10) is None
    assert ring.futex_wake(word).result(timeout=10) == 0


def test_wait_compares_the_value(ring: Ring, word: mmap.mmap) -> None:
    """A wait for another value than the word has is a BlockingIOError; the highest value is no negative one."""
    with pytest.raises(BlockingIOError):
        ring.futex_wait(word, 1).result(timeout=10)
    word[:4] = b"\xff" * 4
    wait = ring.futex_wait(word, 0xFFFF_FFFF)
    assert is_waiting(ring, wait)
    assert ring.futex_wake(word).result(timeout=10) == 1
    assert wait.result(timeout=10) is None


def test_wake_wakes_as_many_as_asked(ring: Ring, word: mmap.mmap) -> None:
    """A wake of 2 of 3 waiters leaves one."""
    waits = [ring.futex_wait(word, 0) for _ in range(3)]
    ring.submit()
    assert ring.futex_wake(word, 2).result(timeout=10) == 2
    assert [wait.result(timeout=10) for wait in waits[:2]] == [None, None]
    assert not waits[2].done()
    assert ring.futex_wake(word, 2).result(timeout=10) == 1
    assert waits[2].result(timeout=10) is None


def test_mask_selects_waiters(ring: Ring, word: mmap.mmap) -> None:
    """A wake reaches only waiters whose mask has a bit in common with its own."""
    one, two = ring.futex_wait(word, 0, 0b01), ring.futex_wait(word, 0, 0b10)
    ring.submit()
    assert ring.futex_wake(word, 2, 0b100).result(timeout=10) == 0
    assert ring.futex_wake(word, 2, 0b110).result(timeout=10) == 1
    assert two.result(timeout=10) is None
    assert ring.futex_wake(word, 2, 0b001).result(timeout=10) == 1
    assert one.result(timeout=10) is None


def test_private_futexes_are_apart(ring: Ring) -> None:
    """A shared wake does not reach a private wait on private memory, a private one does."""
    word = bytearray(8)
    wait = ring.futex_wait(word, 0, flags=PRIVATE)
    assert is_waiting(ring, wait)
    assert ring.futex_wake(word, flags=PRIVATE).result(timeout=10) == 1
    assert wait.result(timeout=10) is None


def _slice_of_a_memoryview() -> memoryview:
    return memoryview(bytearray(16))[8:12]


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(4),
        _slice_of_a_memoryview,
        lambda: memoryview(mmap.mmap(-1, mmap.PAGESIZE))[2048:2052],
        lambda: ctypes.c_uint32(0),
        ctypes.c_int * 3,
    ],
    ids=["bytearray", "slice", "mmap", "c_uint32", "ctypes array"],
)
def test_word_in_any_writable_memory(ring: Ring, make: Callable[[], Any]) -> None:
    """Everything with a writable buffer can hold a futex."""
    futex = make()
    wait = ring.futex_wait(futex, 0)
    assert is_waiting(ring, wait)
    assert ring.futex_wake(futex).result(timeout=10) == 1
    assert wait.result(timeout=10) is None


def test_word_stays_in_place(ring: Ring) -> None:
    """The memory of a waiting futex cannot be resized, and can be when the wait is over."""
    futex = bytearray(4)
    wait = ring.futex_wait(futex, 0)
    with pytest.raises(BufferError):
        futex.extend(b"more")
    ring.futex_wake(futex)
    assert wait.result(timeout=10) is None
    ring.wait(1, timeout=10)
    futex.extend(b"more")


@pytest.mark.parametrize(
    ("futex", "error"),
    [
        (bytes(4), TypeError),
        (4096, TypeError),
        ("word", TypeError),
        (bytearray(3), ValueError),
        (bytearray(), ValueError),
        (memoryview(bytearray(12))[2:8], ValueError),
        (memoryview(bytearray(16))[::2], BufferError),
    ],
)
def test_words_that_are_none(ring: Ring, futex: Any, error: type[Exception]) -> None:
    """Read-only, short, misaligned and scattered memory is refused before anything is queued."""
    with pytest.raises(error):
        ring.futex_wait(futex, 0)
    with pytest.raises(error):
        ring.futex_wake(futex)
    with pytest.raises(error):
        ring.futex_waitv([(futex, 0)])
    assert ring.statistics().in_flight == 0


def test_numbers_out_of_range(ring: Ring, word: mmap.mmap) -> None:
    """Values, masks, counts and flags that no futex has are refused."""
    for arguments in ((-1,), (1 << 32,), (0, 0), (0, 1 << 32), (0, 1, 0), (0, 1, Futex2.SIZE_U32 | 4)):
        with pytest.raises(ValueError, match=r"must be|a futex is"):
            ring.futex_wait(word, *arguments)
    with pytest.raises(ValueError, match="count"):
        ring.futex_wake(word, -1)
    with pytest.raises(TypeError):
        ring.futex_wait(word, "0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="skip_success"):
        ring.futex_wake(word, skip_success=True)


def test_another_thread_wakes(ring: Ring, word: mmap.mmap) -> None:
    """A wake from another thread's ring reaches the waiter, also when it is the process's first thread."""
    wait = ring.futex_wait(word, 0)
    assert is_waiting(ring, wait)
    woken = []

    def wake() -> None:
        with Ring(2) as own:
            woken.append(own.futex_wake(word).result(timeout=10))

    thread = threading.Thread(target=wake)
    thread.start()
    assert wait.result(timeout=10) is None
    thread.join(10)
    assert woken == [1]


def test_another_process_wakes(ring: Ring, word: mmap.mmap) -> None:
    """A wake from another process reaches a waiter on memory that they share."""
    wait = ring.futex_wait(word, 0)
    assert is_waiting(ring, wait)
    pid = os.fork()
    if not pid:
        try:
            word[4] = Ring(2).futex_wake(word).result(timeout=10)
        finally:
            os._exit(0)
    assert ring.waitid(os.P_PID, pid).result(timeout=10) is not None
    assert word[4] == 1
    assert wait.result(timeout=10) is None


def test_wait_and_wake_in_chains(ring: Ring, word: mmap.mmap) -> None:
    """What is linked behind a wait runs after the wake; a wait that fails breaks its chain."""
    with ring.chain():
        wait, after = ring.futex_wait(word, 0), ring.nop()
    assert is_waiting(ring, wait)
    assert not after.done()
    ring.futex_wake(word)
    assert after.result(timeout=10) is None
    with ring.chain():
        wait, after = ring.futex_wait(word, 7), ring.nop()
    error = after.exception(timeout=10)
    assert isinstance(error, ChainBroken)
    assert error.cause is wait


def test_wait_with_a_time_limit(ring: Ring, word: mmap.mmap) -> None:
    """A chain's timeout ends a wait that nobody wakes."""
    with ring.chain(timeout=0.001):
        wait = ring.futex_wait(word, 0)
    with pytest.raises(TimeoutError):
        wait.result(timeout=10)
    assert ring.futex_wake(word).result(timeout=10) == 0


# Several futexes


def test_waitv_tells_which_was_woken(ring: Ring) -> None:
    """A wait on several words is woken by one, tells its index, and then waits on none."""
    words = [bytearray(4) for _ in range(4)]
    wait = ring.futex_waitv([(words[0], 0), (words[1], 0), (words[2], 0, Futex2.SIZE_U32), (words[3], 0, PRIVATE)])
    assert is_waiting(ring, wait)
    assert ring.futex_wake(words[2]).result(timeout=10) == 1
    assert wait.result(timeout=10) == 2
    assert [ring.futex_wake(word).result(timeout=10) for word in words[:3]] == [0, 0, 0]
    assert ring.futex_wake(words[3], flags=PRIVATE).result(timeout=10) == 0


def test_waitv_compares_each_value(ring: Ring) -> None:
    """A word with another value ends the wait at once."""
    wait = ring.futex_waitv([(bytearray(4), 0), (bytearray(b"\7\0\0\0"), 0)])
    with pytest.raises(BlockingIOError):
        wait.result(timeout=10)


def test_waitv_holds_all_words(ring: Ring) -> None:
    """Words that nobody else refers to stay in memory until the wait is over."""
    kept = bytearray(4)
    wait = ring.futex_waitv([(bytearray(4), 0), (kept, 0)])
    with pytest.raises(BufferError):
        kept.clear()
    assert is_waiting(ring, wait)
    ring.futex_wake(kept)
    assert wait.result(timeout=10) == 1
    ring.wait(1, timeout=10)
    kept.clear()


def test_waitv_has_limits(ring: Ring) -> None:
    """From 1 to 128 futexes are taken."""
    words = [(bytearray(4), 0) for _ in range(129)]
    for wrong in ([], words):
        with pytest.raises(ValueError, match="1 to 128"):
            ring.futex_waitv(wrong)
    wait = ring.futex_waitv(words[:128])
    assert is_waiting(ring, wait)
    assert ring.futex_wake(words[127][0]).result(timeout=10) == 1
    assert wait.result(timeout=10) == 127


def test_cancelled_waits(ring: Ring, word: mmap.mmap) -> None:
    """A cancelled wait ends with OperationCancelled, and a later wake finds nobody."""
    for wait in (ring.futex_wait(word, 0), ring.futex_waitv([(word, 0)])):
        assert wait.cancel().result(timeout=10)
        assert isinstance(wait.exception(), OperationCancelled)
    assert ring.futex_wake(word).result(timeout=10) == 0


# Child processes

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start children: `start(status)` exits with it, `start()` lives until it is killed.

    Children that a test leaves behind are killed and waited for.
    """
    pids = []

    def start(status: int | None = None) -> int:
        pid = os.fork()
        if not pid:
            while status is None:
                signal.pause()
            os._exit(status)
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_child_that_exited(ring: Ring, start: Start) -> None:
    """The result is what os.waitid gives, in its type, and the child is reaped."""
    pid = start(3)
    result = ring.waitid(os.P_PID, pid).result(timeout=10)
    assert isinstance(result, os.waitid_result)
    assert (result.si_pid, result.si_uid, result.si_signo) == (pid, os.getuid(), signal.SIGCHLD)
    assert (result.si_code, result.si_status) == (os.CLD_EXITED, 3)
    assert code_of(ring.waitid(os.P_PID, pid)) == errno.ECHILD
    other = start(3)
    assert tuple(os.waitid(os.P_PID, other, os.WEXITED) or ()) == (other, *result[1:])


def test_child_that_is_killed(ring: Ring, start: Start) -> None:
    """A wait stays in flight until the child ends, and tells the signal that it ended by."""
    pid = start()
    wait = ring.waitid(os.P_PID, pid)
    assert is_waiting(ring, wait)
    os.kill(pid, signal.SIGTERM)
    result = wait.result(timeout=10)
    assert result is not None
    assert (result.si_pid, result.si_code, result.si_status) == (pid, os.CLD_KILLED, signal.SIGTERM)


def test_stop_and_continue(ring: Ring, start: Start) -> None:
    """WSTOPPED and WCONTINUED tell of a living child."""
    pid = start()
    os.kill(pid, signal.SIGSTOP)
    stopped = ring.waitid(os.P_PID, pid, os.WSTOPPED).result(timeout=10)
    assert stopped is not None
    assert (stopped.si_code, stopped.si_status) == (os.CLD_STOPPED, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    continued = ring.waitid(os.P_PID, pid, os.WCONTINUED).result(timeout=10)
    assert continued is not None
    assert (continued.si_code, continued.si_status) == (os.CLD_CONTINUED, signal.SIGCONT)


def test_nohang_gives_none(ring: Ring, start: Start) -> None:
    """With WNOHANG a living child gives None, as os.waitid does."""
    assert ring.waitid(os.P_PID, start(), os.WEXITED | os.WNOHANG).result(timeout=10) is None


def test_nowait_leaves_the_child(ring: Ring, start: Start) -> None:
    """With WNOWAIT the child can be waited for again."""
    pid = start(5)
    for options in (os.WEXITED | os.WNOWAIT, os.WEXITED):
        result = ring.waitid(os.P_PID, pid, options).result(timeout=10)
        assert result is not None
        assert result.si_status == 5


def test_child_by_pidfd_and_any(ring: Ring, start: Start) -> None:
    """P_PIDFD names a child by its pidfd, P_ALL takes any."""
    pid = start(7)
    pidfd = os.pidfd_open(pid)
    result = ring.waitid(os.P_PIDFD, pidfd).result(timeout=10)
    os.close(pidfd)
    assert result is not None
    assert (result.si_pid, result.si_status) == (pid, 7)
    pid = start(8)
    result = ring.waitid(os.P_ALL, 0).result(timeout=10)
    assert result is not None
    assert (result.si_pid, result.si_status) == (pid, 8)


def test_many_children_at_once(ring: Ring, start: Start) -> None:
    """Several waits in flight each get their own child, whatever the order."""
    pids = [start() for _ in range(4)]
    waits = {pid: ring.waitid(os.P_PID, pid) for pid in pids}
    ring.submit()
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    for pid, wait in waits.items():
        result = wait.result(timeout=10)
        assert result is not None
        assert result.si_pid == pid


def test_cancelled_waitid_leaves_the_child(ring: Ring, start: Start) -> None:
    """After a cancelled wait the child can be waited for as before."""
    pid = start()
    wait = ring.waitid(os.P_PID, pid)
    ring.submit()
    assert wait.cancel().result(timeout=10)
    assert isinstance(wait.exception(), OperationCancelled)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_bad_waitids(ring: Ring) -> None:
    """Numbers out of range are refused; a kind of id that does not exist is EINVAL."""
    for arguments in ((-1, 0), (os.P_PID, -1), (os.P_PID, 1 << 31), (os.P_PID, 1, -1)):
        with pytest.raises(ValueError, match="must be"):
            ring.waitid(*arguments)
    with pytest.raises(TypeError):
        ring.waitid("P_ALL", 0)  # type: ignore[arg-type]
    assert code_of(ring.waitid(99, 0)) == errno.EINVAL
