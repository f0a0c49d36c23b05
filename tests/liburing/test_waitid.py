"""Waiting for child processes through the ring: how they ended, which ones, and which are left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from errno import ECANCELED, ECHILD, EINVAL
from typing import Any, NoReturn

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode

from uring import liburing as L

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start children: `start(status)` exits with it, `start()` lives on until it is killed.

    Children that a test leaves behind are killed and waited for.
    """
    require_opcode("IORING_OP_WAITID")
    pids = []

    def run(status: int | None) -> NoReturn:
        if status is None:
            signal.pause()
        os._exit(status or 0)

    def start(status: int | None = None) -> int:
        pid = os.fork()
        if pid == 0:
            run(status)
        pids.append(pid)
        return pid

    yield start
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def queue(ring: Any, user_data: int, prepare: Callable[..., None], *args: Any) -> None:
    """Queue a request; the caller keeps its arguments alive."""
    sqe = get_sqe(ring)
    prepare(sqe, *args)
    L.io_uring_sqe_set_data64(sqe, user_data)


def waitid(ring: Any, kind: int, ident: int, options: int) -> tuple[int, Any]:
    """Wait for children and return the result, and what the kernel says about the child."""
    info = L.siginfo_t()
    queue(ring, 1, L.io_uring_prep_waitid, kind, ident, info, options, 0)
    ((_user_data, res, _flags),) = reap(ring)
    return res, info


def story(info: Any) -> tuple[int, int, int]:
    """Return which child, what happened to it, and its status or signal."""
    assert info.si_signo in {signal.SIGCHLD, 0}
    return info.si_pid, info.si_code, info.si_status


def test_child_that_exited(ring: Any, start: Start) -> None:
    """A child that exited is reaped, and its pid and exit status are told; it can be waited for once."""
    pid = start(3)
    res, info = waitid(ring, os.P_PID, pid, os.WEXITED)
    assert res == 0
    assert story(info) == (pid, os.CLD_EXITED, 3)
    assert waitid(ring, os.P_PID, pid, os.WEXITED)[0] == -ECHILD


def test_wait_stays_in_flight_until_the_child_ends(ring: Any, start: Start) -> None:
    """A wait for a living child completes when that is killed, and tells the signal."""
    pid, info = start(), L.siginfo_t()
    queue(ring, 1, L.io_uring_prep_waitid, os.P_PID, pid, info, os.WEXITED, 0)
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    os.kill(pid, signal.SIGKILL)
    assert reap(ring) == [(1, 0, 0)]
    assert story(info) == (pid, os.CLD_KILLED, signal.SIGKILL)


def test_stop_and_continue(ring: Any, start: Start) -> None:
    """With WSTOPPED and WCONTINUED a wait tells of a living child's stop and of its going on."""
    pid = start()
    os.kill(pid, signal.SIGSTOP)
    res, info = waitid(ring, os.P_PID, pid, os.WSTOPPED)
    assert res == 0
    assert story(info) == (pid, os.CLD_STOPPED, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    res, info = waitid(ring, os.P_PID, pid, os.WCONTINUED)
    assert res == 0
    assert story(info) == (pid, os.CLD_CONTINUED, signal.SIGCONT)


def test_nowait_leaves_the_child(ring: Any, start: Start) -> None:
    """With WNOWAIT the child is looked at only, and can still be waited for."""
    pid = start(5)
    for _ in range(2):
        res, info = waitid(ring, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert res == 0
        assert story(info) == (pid, os.CLD_EXITED, 5)
    assert os.waitpid(pid, 0) == (pid, 5 << 8)


def test_nohang_does_not_wait(ring: Any, start: Start) -> None:
    """With WNOHANG a living child gives 0 at once, and no pid."""
    res, info = waitid(ring, os.P_PID, start(), os.WEXITED | os.WNOHANG)
    assert res == 0
    assert story(info) == (0, 0, 0)


def test_any_child_of_a_group(ring: Any, start: Start) -> None:
    """P_PGID takes whichever child of a process group ends first."""
    outsider, leader, member = start(), start(), start()
    for pid in (leader, member):
        os.setpgid(pid, leader)
    os.kill(outsider, signal.SIGTERM)
    os.kill(member, signal.SIGTERM)
    res, info = waitid(ring, os.P_PGID, leader, os.WEXITED)
    assert res == 0
    assert story(info) == (member, os.CLD_KILLED, signal.SIGTERM)


def test_child_by_pidfd(ring: Any, start: Start) -> None:
    """P_PIDFD waits for the child that a pidfd stands for."""
    start(0)
    pid = start(7)
    pidfd = os.pidfd_open(pid)
    try:
        res, info = waitid(ring, os.P_PIDFD, pidfd, os.WEXITED)
    finally:
        os.close(pidfd)
    assert res == 0
    assert story(info) == (pid, os.CLD_EXITED, 7)


def test_many_waits_each_get_their_child(make_ring: Callable[..., Any], start: Start) -> None:
    """Several waits in flight each complete with their own child."""
    ring = make_ring(8)
    pids = [start() for _ in range(4)]
    infos = [L.siginfo_t() for _ in pids]
    for number, (pid, info) in enumerate(zip(pids, infos, strict=True)):
        queue(ring, number, L.io_uring_prep_waitid, os.P_PID, pid, info, os.WEXITED, 0)
    assert L.io_uring_submit(ring) == 4
    for number in (2, 0, 3, 1):
        os.kill(pids[number], signal.SIGTERM)
        assert reap(ring) == [(number, 0, 0)]
    assert [info.si_pid for info in infos] == pids


def test_cancelled_wait_leaves_the_child(ring: Any, start: Start) -> None:
    """A cancelled wait is -ECANCELED, and the child can be waited for as if nothing was."""
    pid, info = start(), L.siginfo_t()
    queue(ring, 1, L.io_uring_prep_waitid, os.P_PID, pid, info, os.WEXITED, 0)
    assert L.io_uring_submit(ring) == 1
    queue(ring, 2, L.io_uring_prep_cancel64, 1, 0)
    results = dict(cqe[:2] for cqe in reap(ring, 2))
    # The count of cancelled requests, though other kinds of request are answered with 0.
    assert results == {1: -ECANCELED, 2: 1}
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0) == (pid, signal.SIGKILL)


def test_info_may_be_left_out(ring: Any, start: Start) -> None:
    """Without a place for the information the child is reaped all the same."""
    pid = start(0)
    queue(ring, 1, L.io_uring_prep_waitid, os.P_PID, pid, L.ffi.NULL, os.WEXITED, 0)
    assert reap(ring) == [(1, 0, 0)]
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_bad_arguments(ring: Any, start: Start) -> None:
    """Nothing to wait for, an unknown kind of id, and unknown options and flags are -EINVAL."""
    start()
    assert waitid(ring, os.P_ALL, 0, 0)[0] == -EINVAL
    assert waitid(ring, 99, 0, os.WEXITED)[0] == -EINVAL
    assert waitid(ring, os.P_ALL, 0, os.WEXITED | 1 << 20)[0] == -EINVAL
    queue(ring, 1, L.io_uring_prep_waitid, os.P_ALL, 0, L.ffi.NULL, os.WEXITED, 1)
    assert reap(ring) == [(1, -EINVAL, 0)]
