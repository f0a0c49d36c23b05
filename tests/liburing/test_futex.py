"""Waiting for and waking futexes: values, bit masks, several at once, other processes, cancellation."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable
from errno import EAGAIN, ECANCELED, EFAULT, EINVAL, ETIME
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode

from uring import liburing as L

# linux/futex.h, which Python does not name.
FUTEX2_PRIVATE = 128
SHARED = L.FUTEX_32
PRIVATE = L.FUTEX_32 | FUTEX2_PRIVATE
ANY = 0xFFFF_FFFF

pytestmark = pytest.mark.usefixtures("futexes")


@pytest.fixture
def futexes() -> None:
    """Skip on kernels that have no futex requests."""
    require_opcode("IORING_OP_FUTEX_WAIT", "IORING_OP_FUTEX_WAKE", "IORING_OP_FUTEX_WAITV")


@pytest.fixture
def word() -> Any:
    """Make a futex word with value 0."""
    return L.ffi.new("uint32_t *")


def queue(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> Any:
    """Queue a request and return its SQE; the caller keeps its arguments alive."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)
    return sqe


def wait(ring: Any, user_data: int, word: Any, mask: int = ANY) -> None:
    """Start to wait on a private word that is 0, and check that the wait is on."""
    queue(ring, user_data, L.io_uring_prep_futex_wait, word, 0, mask, PRIVATE, 0)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)


def wake(ring: Any, word: Any, count: int = 1, mask: int = ANY) -> list[tuple[int, int]]:
    """Wake up to `count` waiters of a private word.

    Return (user_data, res) of all that completed, sorted; the wake itself has user_data 0 and comes first.
    """
    queue(ring, 0, L.io_uring_prep_futex_wake, word, count, mask, PRIVATE, 0)
    ((_user_data, woken, _flags),) = reap(ring)
    return [(0, woken), *sorted(cqe[:2] for cqe in reap(ring, woken))]


def complete(ring: Any, prepare: Callable[..., None], *args: Any) -> int:
    """Run one request to its end and return its `res`; its arguments stay alive meanwhile."""
    prepare(get_sqe(ring), *args)
    ((_user_data, res, _flags),) = reap(ring)
    return res


def test_wake_completes_a_wait(ring: Any, word: Any) -> None:
    """A wake tells how many it woke, and the wait completes with 0."""
    wait(ring, 1, word)
    assert wake(ring, word) == [(0, 1), (1, 0)]


def test_wake_of_nobody(ring: Any, word: Any) -> None:
    """A wake without a waiter wakes 0, and is not remembered for a later wait."""
    assert wake(ring, word) == [(0, 0)]
    wait(ring, 1, word)
    assert wake(ring, word) == [(0, 1), (1, 0)]


def test_wait_compares_the_value(ring: Any, word: Any) -> None:
    """A wait for a value that the word no longer has is -EAGAIN at once."""
    assert complete(ring, L.io_uring_prep_futex_wait, word, 1, ANY, PRIVATE, 0) == -EAGAIN


def test_wake_wakes_as_many_as_asked(ring: Any, word: Any) -> None:
    """A wake of 2 of 3 waiters wakes the first 2, and the last one stays."""
    for number in (1, 2, 3):
        wait(ring, number, word)
    assert wake(ring, word, 2) == [(0, 2), (1, 0), (2, 0)]
    assert is_empty(ring)
    assert wake(ring, word, 2) == [(0, 1), (3, 0)]


def test_mask_selects_waiters(ring: Any, word: Any) -> None:
    """A wake reaches only waiters whose mask has a bit in common with its own."""
    wait(ring, 1, word, mask=0b0011)
    wait(ring, 2, word, mask=0b0100)
    assert wake(ring, word, 2, mask=0b1000) == [(0, 0)]
    assert wake(ring, word, 2, mask=0b1100) == [(0, 1), (2, 0)]
    assert wake(ring, word, 2, mask=0b0001) == [(0, 1), (1, 0)]


def test_words_are_independent(ring: Any, word: Any) -> None:
    """A wake of another word does not reach the waiter."""
    wait(ring, 1, word)
    assert wake(ring, L.ffi.new("uint32_t *")) == [(0, 0)]
    assert wake(ring, word) == [(0, 1), (1, 0)]


def test_another_thread_wakes(ring: Any, word: Any) -> None:
    """A wake from another thread's ring reaches a waiter of the same process."""
    waiting = threading.Event()
    woken = []

    def wake_from_a_ring_of_its_own() -> None:
        other = L.io_uring()
        assert L.io_uring_queue_init(2, other, 0) == 0
        assert waiting.wait(10)
        woken.append(complete(other, L.io_uring_prep_futex_wake, word, 1, ANY, PRIVATE, 0))
        L.io_uring_queue_exit(other)

    # Started before the wait: when a process gets its first thread, kernels since 6.16 give it a new table of private
    # futexes and leave behind the waits that its rings had.
    thread = threading.Thread(target=wake_from_a_ring_of_its_own)
    thread.start()
    wait(ring, 1, word)
    waiting.set()
    thread.join(10)
    assert woken == [1]
    assert reap(ring) == [(1, 0, 0)]


def test_another_process_wakes(ring: Any) -> None:
    """A wake from another process reaches a waiter on shared memory."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    word = L.ffi.cast("uint32_t *", L.ffi.from_buffer(memory))
    queue(ring, 1, L.io_uring_prep_futex_wait, word, 0, ANY, SHARED, 0)
    assert L.io_uring_submit(ring) == 1
    pid = os.fork()
    if pid == 0:
        try:
            own = L.io_uring()
            L.io_uring_queue_init(2, own, 0)
            memory[4] = complete(own, L.io_uring_prep_futex_wake, word, 1, ANY, SHARED, 0)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert memory[4] == 1
    assert reap(ring) == [(1, 0, 0)]


# Several words


def vector(*words: Any) -> Any:
    """Make an array that waits for each word as long as it is 0."""
    entries = L.futex_waitv(len(words))
    for entry, word in zip(entries, words, strict=True):
        entry.uaddr, entry.flags = int(L.ffi.cast("uintptr_t", word)), PRIVATE
    return entries


def test_waitv_tells_which_word_was_woken(ring: Any) -> None:
    """A waitv completes with the index of the word that was woken, and waits on none of them afterwards."""
    words = [L.ffi.new("uint32_t *") for _ in range(4)]
    entries = vector(*words)
    queue(ring, 1, L.io_uring_prep_futex_waitv, entries, 4, 0)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    assert wake(ring, words[2]) == [(0, 1), (1, 2)]
    assert [wake(ring, word) for word in words] == [[(0, 0)]] * 4


def test_waitv_compares_each_value(ring: Any) -> None:
    """A waitv is -EAGAIN when any of its words has another value already."""
    words = [L.ffi.new("uint32_t *", value) for value in (0, 7, 0)]
    assert complete(ring, L.io_uring_prep_futex_waitv, vector(*words), 3, 0) == -EAGAIN


def test_waitv_has_limits(ring: Any, word: Any) -> None:
    """A waitv of no words, or of more than FUTEX_WAITV_MAX, is -EINVAL."""
    entries = vector(*[word] * (L.FUTEX_WAITV_MAX + 1))
    assert complete(ring, L.io_uring_prep_futex_waitv, entries, 0, 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_futex_waitv, entries, L.FUTEX_WAITV_MAX + 1, 0) == -EINVAL


# Ending a wait otherwise


@pytest.mark.parametrize("kind", ["wait", "waitv"])
def test_cancelled_wait(ring: Any, word: Any, kind: str) -> None:
    """A cancelled wait is -ECANCELED, and a later wake finds nobody."""
    entries = vector(word)
    if kind == "wait":
        wait(ring, 1, word)
    else:
        queue(ring, 1, L.io_uring_prep_futex_waitv, entries, 1, 0)
        assert L.io_uring_submit(ring) == 1
    queue(ring, 2, L.io_uring_prep_cancel64, 1, 0)
    results = dict(cqe[:2] for cqe in reap(ring, 2))
    # The count of cancelled requests, though other kinds of request are answered with 0.
    assert results == {1: -ECANCELED, 2: 1}
    assert wake(ring, word) == [(0, 0)]


def test_wait_with_a_linked_timeout(ring: Any, word: Any) -> None:
    """A linked timeout ends a wait that nobody wakes."""
    timeout = L.__kernel_timespec(0, 1_000_000)
    sqe = queue(ring, 1, L.io_uring_prep_futex_wait, word, 0, ANY, PRIVATE, 0)
    L.io_uring_sqe_set_flags(sqe, L.IOSQE_IO_LINK)
    queue(ring, 2, L.io_uring_prep_link_timeout, timeout, 0)
    results = dict(cqe[:2] for cqe in reap(ring, 2))
    assert results[1] == -ECANCELED
    # -ETIME, or the count of what it cancelled.
    assert results[2] in {-ETIME, 1}


def test_bad_arguments(ring: Any, word: Any) -> None:
    """An empty mask, another size than 32 bits, an unknown flag, unaligned or unmapped memory are refused."""
    prepare = L.io_uring_prep_futex_wait
    unaligned = L.ffi.cast("uint32_t *", L.ffi.cast("char *", word) + 1)
    assert complete(ring, prepare, word, 0, 0, PRIVATE, 0) == -EINVAL
    assert complete(ring, L.io_uring_prep_futex_wake, word, 1, 0, PRIVATE, 0) == -EINVAL
    assert complete(ring, prepare, word, 0, ANY, L.FUTEX_32 | 1, 0) == -EINVAL
    assert complete(ring, prepare, word, 0, ANY, PRIVATE, 1) == -EINVAL
    assert complete(ring, prepare, unaligned, 0, ANY, PRIVATE, 0) == -EINVAL
    assert complete(ring, prepare, L.ffi.cast("uint32_t *", 8), 0, ANY, PRIVATE, 0) == -EFAULT
