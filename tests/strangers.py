"""Those whom a ring refuses, other threads and a fork's children, and every call that it refuses them."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from scale import LONG

from uring import FixedFile, Operation, Ring
from uring.operation import KINDS

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
    "c_ring": lambda ring, _: ring.c_ring,
    "cancel": lambda ring, its: ring.cancel(its.read),
    "chain": lambda ring, _: ring.chain().__enter__(),
    "close": lambda ring, _: ring.close(),
    "close_fd": lambda ring, _: ring.close_fd(1000),
    "connect": lambda ring, _: ring.connect(0, ("127.0.0.1", 1)),
    "discard": lambda ring, _: ring.discard(0, 0, 512),
    "enable": lambda ring, _: ring.enable(),
    "epoll_ctl": lambda ring, _: ring.epoll_ctl(0, 1, 1, 1),
    "epoll_wait": lambda ring, _: ring.epoll_wait(0),
    "eventfd_enabled": lambda ring, _: ring.eventfd_enabled,
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
    "nop_many": lambda ring, _: ring.nop_many(1),
    "open_many": lambda ring, _: ring.open_many(["/"]),
    "openat": lambda ring, _: ring.openat(NULL),
    "peek": lambda ring, _: ring.peek(),
    "pipe": lambda ring, _: ring.pipe(),
    "plan_reads": lambda ring, _: ring.plan_reads(0, [0], 1),
    "plan_writes": lambda ring, _: ring.plan_writes(0, [0], 1, b"x"),
    "poll_add": lambda ring, _: ring.poll_add(0),
    "poll_remove": lambda ring, its: ring.poll_remove(its.poll),
    "poll_update": lambda ring, its: ring.poll_update(its.poll, 1),
    "provide_buffers": lambda ring, _: ring.provide_buffers(bytearray(8), 8, 1),
    "read": lambda ring, _: ring.read(0, bytearray(1)),
    "read_exactly": lambda ring, _: ring.read_exactly(0, bytearray(1)),
    "read_files": lambda ring, _: ring.read_files(["/"]),
    "read_many": lambda ring, _: ring.read_many(0, [0], 1),
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
    "stat_many": lambda ring, _: ring.stat_many(["/"]),
    "statx": lambda ring, _: ring.statx(NULL),
    "submit": lambda ring, _: ring.submit(),
    "symlinkat": lambda ring, _: ring.symlinkat("a", "/nowhere/b"),
    "sync_cancel": lambda ring, its: ring.sync_cancel(its.read),
    "sync_file_range": lambda ring, _: ring.sync_file_range(0),
    "tee": lambda ring, _: ring.tee(0, 1, 1),
    "timeout": lambda ring, _: ring.timeout(1),
    "timeout_remove": lambda ring, its: ring.timeout_remove(its.timer),
    "timeout_update": lambda ring, its: ring.timeout_update(its.timer, 1),
    "unlink_many": lambda ring, _: ring.unlink_many(["/nowhere"]),
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
    "write_many": lambda ring, _: ring.write_many(0, [0], 1, b"x"),
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
# What any thread may ask, but no child and not of a closed ring: tests/test_wake.py.
FOREIGN = {"wake"}
ALL = CALLS | MORE


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


def _is_ending() -> bool:
    """Whether a thread that was joined is still there. One more is pytest's, which watches for hangs."""
    names = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/self/task/{task}/comm") as comm:
            names.append(comm.read())
    # The kernel's workers run no code of ours.
    return sum(not name.startswith("iou-") for name in names) > threading.active_count() + 1


def in_child(work: Callable[[], str]) -> str:
    """What a fork's child says, which ends by os._exit."""
    # A lock of the C library that a thread holds in its end would be held for ever in the child.
    deadline = time.monotonic() + LONG
    while _is_ending() and time.monotonic() < deadline:
        os.sched_yield()
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
    return {call: "Unsupported" if call in missing else name for call in ALL}
