"""Everything that a ring can have outstanding, all at once: in small queues, while it is resized, and when it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from c_style import require_opcode
from interrupting import Stop, interruption, striking
from scale import LONG, scaled

from uring import Params, ProvidedBuffers, RegisteredBuffers, RegisteredFiles, Ring, RingClosed, Unsupported

BLOCK = 256


@pytest.fixture(autouse=True)
def modern() -> None:
    """A kernel with multishot receives."""
    require_opcode("IORING_OP_SEND_ZC")  # of kernel 6.0, as they are


def outstanding(ring: Ring, stack: contextlib.ExitStack) -> dict[str, Any]:
    """One of each; the stack closes the descriptors that they are on."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    pairs = [socket.socketpair() for _ in range(4)]
    for sock in sum(pairs, ()):
        stack.enter_context(sock)
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    server = stack.enter_context(listener.accept()[0])
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    stack.callback(os.close, writer)
    files = RegisteredFiles(ring, [pairs[0][0], listener, None, None, None], kernel_slots=3)
    slots = RegisteredBuffers.allocate(ring, 4, BLOCK)
    pool = ProvidedBuffers(ring, 4, BLOCK)
    bundles = ProvidedBuffers(ring, 2, 4 * BLOCK, incremental=has_incremental())
    pairs[1][1].send(b"leased")
    lease = ring.recv(pairs[1][0], pool).result(LONG)
    slot = slots.acquire()
    slot.memory[:4] = b"slot"
    operations = {
        "connections": ring.accept(files[1], multishot=True, direct=files),
        "fixed": ring.recv(files[0], pool, multishot=True),
        "messages": ring.recvmsg(pairs[1][0], pool, ancbufsize=64, multishot=True),
        "bytes": ring.recv(pairs[2][0], bundles, multishot=True),
        "more bytes": ring.recv(pairs[3][0], bundles, multishot=True),
        "ready": ring.poll_add(reader, select.POLLIN, multishot=True),
        "ticks": ring.timeout(3600.0, multishot=True),
        "read": ring.read(reader, slots.acquire()),
        "plain": ring.recv(server, bytearray(BLOCK)),
        "zero copy": ring.send_zc(client, lease),
        "fixed zero copy": ring.send_zc(client, slot[:4]),
    }
    slot.release()
    lease.release()
    return {
        **operations,
        "operations": [*operations.values()],
        "pairs": pairs,
        "address": listener.getsockname(),
        "pools": (pool, bundles),
        "slots": slots,
        "files": files,
        "writer": writer,
        "server": server,
    }


@contextlib.contextmanager
def everything(ring: Ring) -> Iterator[dict[str, Any]]:
    """The same for a block."""
    with contextlib.ExitStack() as stack:
        yield outstanding(ring, stack)


def has_incremental() -> bool:
    """Whether the kernel consumes buffers in parts."""
    with Ring(4) as ring:
        try:
            ProvidedBuffers(ring, 1, 64, incremental=True).close()
        except Unsupported:
            return False
    return True


def shake(ring: Ring, there: dict[str, Any], rounds: int) -> None:
    """Let everything that can bring something bring it, and look whether it was right."""
    for number in range(rounds):
        word = b"%06d" % number
        for _, peer in there["pairs"]:
            peer.send(word)
        with socket.create_connection(there["address"]):
            (connection,) = there["connections"].take(LONG)
            connection.close()
        (fixed,) = there["fixed"].take(LONG)
        assert bytes(fixed) == word
        (message,) = there["messages"].take(LONG)
        assert bytes(message.payload) == word
        del fixed, message
        assert b"".join(map(bytes, there["bytes"].take(LONG))) == word
        assert b"".join(map(bytes, there["more bytes"].take(LONG))) == word


SETUPS = {
    "default": {},
    "small": {"cq_entries": 8},
    "no_mmap": {"no_mmap": True},
    "registered_fd_only": {"no_mmap": True, "registered_fd_only": True},
    "sqpoll": {"sqpoll": True},
    "cqe32": {"cqe32": True},
    "cqe_mixed": {"cqe_mixed": True},
    "disabled": {"disabled": True},
}


def opened(setup: str) -> Ring:
    """A ring of 4 entries, which has taken its first request."""
    try:
        ring = Ring(4, Params(**SETUPS[setup]), exit_timeout=LONG)
    except Unsupported as error:
        pytest.skip(str(error))
    if setup == "disabled":
        ring.enable()
    return ring


@pytest.mark.parametrize("setup", SETUPS)
def test_everything_at_once(setup: str) -> None:
    """In queues of 4 and 8 entries, of every kind, all bring what they should, and end with the ring."""
    with opened(setup) as ring, everything(ring) as there:
        shake(ring, there, scaled(20))
        assert there["server"] is not None
        os.write(there["writer"], b"x")
        assert there["plain"].result(LONG) > 0
        ring.close()
        for operation in there["operations"]:
            assert operation._memory is None
            assert operation._res is not None
    gc.collect()


def test_the_queue_overflows() -> None:
    """What comes for all of them while nobody looks, more than the completion queue holds, is there afterwards."""
    with opened("small") as ring, everything(ring) as there:
        ring.submit()
        pairs = there["pairs"]
        clients = [socket.create_connection(there["address"]) for _ in range(3)]
        for number in range(3):
            for _, peer in pairs:
                peer.send(b"%d" % number)
        got: dict[str, bytes] = dict.fromkeys(("fixed", "messages", "bytes", "more bytes"), b"")
        accepted: list[Any] = []
        deadline = time.monotonic() + LONG
        while len(accepted) < 3 or any(len(data) < 3 for data in got.values()):
            assert time.monotonic() < deadline, (accepted, got)
            ring.wait(0)
            accepted += there["connections"].take()
            for name in got:
                shots = there[name].take()
                got[name] += b"".join(bytes(getattr(shot, "payload", shot)) for shot in shots)
                del shots
        assert set(got.values()) == {b"012"}
        assert len({int(file) for file in accepted}) == 3
        for client in clients:
            client.close()


def test_resizing_with_everything_outstanding() -> None:
    """A ring that is made larger and smaller goes on with all that it has."""
    with opened("default") as ring, everything(ring) as there:
        for entries in (64, 4, 16) * scaled(3):
            shake(ring, there, 1)
            try:
                ring.resize(entries, 4 * entries)
            except Unsupported as error:
                pytest.skip(str(error))
            for _, peer in there["pairs"]:
                peer.send(b"between")
            ring.resize(2 * entries, 8 * entries)
            for name in ("fixed", "bytes", "more bytes"):
                assert [bytes(shot) for shot in there[name].take(LONG)] == [b"between"]
            assert [bytes(shot.payload) for shot in there["messages"].take(LONG)] == [b"between"]


def test_dropped_in_its_thread() -> None:
    """A ring that is dropped with everything outstanding is closed; slots, connections and buffers go with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with contextlib.ExitStack() as stack:
            ring = opened("default")
            there = outstanding(ring, stack)
            ring.submit()
            client = stack.enter_context(socket.create_connection(there["address"]))
            there["pairs"][1][1].send(b"to nobody")
            ring.wait(0)
            there.clear()
            del ring
            gc.collect()
            client.settimeout(LONG)
            assert client.recv(1) == b""


def test_dropped_in_another_thread() -> None:
    """A ring that its thread has left with everything outstanding gives up its descriptor, and nothing is touched."""
    kept: list[Any] = []

    def work() -> None:
        ring = opened("default")
        context = everything(ring)
        there = context.__enter__()
        shake(ring, there, 2)
        kept.extend((there, context, ring))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        context = kept[1]
        kept.clear()
        gc.collect()
        context.__exit__(None, None, None)
        del context
        gc.collect()


def test_a_child_leaves_the_parents_alone() -> None:
    """A fork's child that drops everything ends without a word, and all of it goes on in the parent."""
    with opened("default") as ring, everything(ring) as there:
        shake(ring, there, 1)
        child = os.fork()
        if not child:
            code = 1
            try:
                for operation in there["operations"]:
                    with contextlib.suppress(OSError, RuntimeError):
                        operation.abandon()
                there.clear()
                del ring, operation
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        shake(ring, there, 2)


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(0)", "import os; os.kill(os.getpid(), 15)"])
def test_the_interpreter_ends(end: str) -> None:
    """A program that ends with everything outstanding ends, without a crash and without waiting."""
    program = f"""if True:
        import signal, sys, warnings
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        sys.path[:0] = {[os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]!r}
        from test_together import everything, opened, shake
        ring = opened("default")
        context = everything(ring)
        there = context.__enter__()
        shake(ring, there, 2)
        {end}
    """
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def closing(ring: Ring, there: dict[str, Any]) -> None:
    """Close the ring."""
    ring.close()


def working(ring: Ring, there: dict[str, Any]) -> None:
    """Use what there is."""
    shake(ring, there, 1)


def giving_up(ring: Ring, there: dict[str, Any]) -> None:
    """Close each of it by itself."""
    for operation in there["operations"]:
        operation.abandon()
    for pool in there["pools"]:
        with contextlib.suppress(RuntimeError):
            pool.close()
    there["slots"].close()
    there["files"].close()


@pytest.mark.parametrize("action", [closing, working, giving_up])
def test_an_exception_at_every_step(action: Callable[[Ring, dict[str, Any]], None]) -> None:
    """Wherever a signal's handler raises, everything ends with the ring, and no memory stays the kernel's."""
    step = 1
    deadline = time.monotonic() + LONG / 2
    while time.monotonic() < deadline:
        with opened("default") as ring, everything(ring) as there:
            ring.submit()
            try:
                with interruption(step) as left:
                    action(ring, there)
            except Stop:
                pass
            operations = there["operations"]
            if not ring.closed:
                for operation in operations:
                    operation.abandon()
                    ring.cancel(operation).abandon()
                while ring._native.in_flight or ring._pending:
                    ring.wait(0)
                    assert time.monotonic() < deadline + LONG
                assert not any(map(bool, (*ring._table, ring._hidden, ring._multishots, ring._due)))
                ring.close()
            assert all(operation._res is not None for operation in operations)
            if action is not closing:  # whose end an exception may cut short: what was not waited for is kept then
                assert all(operation._memory is None for operation in operations)
        if left[0] > 0:
            break
        step += 1 + 2 * (step > 100)


def queueing(ring: Ring, pool: ProvidedBuffers, lease: Any) -> Any:
    """A handler that queues a request."""
    return ring.nop()


def returning(ring: Ring, pool: ProvidedBuffers, lease: Any) -> Any:
    """One that gives a buffer back, which is a request in groups without a ring."""
    lease.release()


def looking(ring: Ring, pool: ProvidedBuffers, lease: Any) -> Any:
    """One that takes completions in: a multishot that starves may be requested again by that."""
    lease.release()
    ring.peek()


@pytest.mark.parametrize("rings", [True, False], ids=["ring", "requests"])
@pytest.mark.parametrize("action", [queueing, returning, looking])
def test_nothing_comes_between_the_links(action: Callable[..., Any], rings: bool) -> None:
    """Wherever a handler queues something, or has it queued, while a chain is written, the chain stays in one piece."""
    step = 1
    while True:
        with opened("default") as ring, contextlib.ExitStack() as stack:
            pool = ProvidedBuffers(ring, 1, 64, rings=rings)
            one, two = (stack.enter_context(sock) for sock in socket.socketpair())
            reader, writer = os.pipe()
            stack.callback(os.close, reader)
            stack.callback(os.close, writer)
            receive = ring.recv(one, pool, multishot=True)
            two.send(b"first")
            (lease,) = receive.take(LONG)
            two.send(b"second")
            while not receive.starved:
                ring.wait(0)
            ring.peek()
            made: list[Any] = []
            with (
                striking(step, lambda: made.append(action(ring, pool, lease))) as left,  # noqa: B023  # called at once
                ring.chain(),
            ):
                links = [ring.read(reader, bytearray(1)), ring.nop(), ring.nop()]
            ring.submit()
            ring.wait(0)
            assert [link.done() for link in links] == [False] * 3
            os.write(writer, b"x")
            assert [link.result(LONG) for link in links] == [1, None, None]
            for operation in filter(None, made):
                assert operation.result(LONG) is None
            lease.release()
            assert [bytes(shot) for shot in receive.take(LONG)] == [b"second"]
            receive.close()
            pool.close()
        if left[0] > 0:
            break
        step += 1
    assert step > 20


def test_a_handler_closes_the_ring_while_a_chain_is_written() -> None:
    """Wherever a handler closes the ring, the chain's block ends, and no link ever runs."""
    step = 1
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            ring = opened("default")
            links: list[Any] = []
            with contextlib.suppress(RingClosed), striking(step, ring.close) as left, ring.chain():
                links += [ring.nop(), ring.nop(), ring.nop()]
            ring.close()
        for link in links:
            with pytest.raises(RingClosed):
                link.result()
        if left[0] > 0:
            break
        step += 1
    assert step > 10


def test_statistics_while_the_ring_ends() -> None:
    """Another thread that asks for statistics while rings are resized and closed gets them, or RingClosed."""
    current: list[Ring] = []
    stop = threading.Event()
    faults: list[BaseException] = []

    def watch() -> None:
        while not stop.is_set():
            try:
                for ring in [*current]:
                    assert ring.statistics().in_flight == 0
            except RingClosed:
                continue
            except BaseException as error:
                faults.append(error)
                raise

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for _ in range(scaled(300)):
            with Ring(4) as ring:
                current[:] = [ring]
                with contextlib.suppress(Unsupported):
                    ring.resize(64)
    finally:
        stop.set()
        thread.join()
    assert not faults
