"""Provided buffers of the older kind: handing over, use, taking back, and how long their memory is pinned."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from c_style import require_opcode

from uring.errors import OperationCancelled, RingClosed
from uring.operation import Operation
from uring.params import Params
from uring.ring import Ring

GROUP, SIZE = 7, 16
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    require_opcode("IORING_OP_PROVIDE_BUFFERS", "IORING_OP_REMOVE_BUFFERS")
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Connect two sockets."""
    one, two = socket.socketpair()
    with one, two:
        yield one, two


def is_pinned(memory: bytearray) -> bool:
    """Return whether something holds a bytearray in place."""
    try:
        memory.append(0)
    except BufferError:
        return True
    memory.pop()
    return False


def receive(ring: Ring, sock: socket.socket) -> Operation[int]:
    """Start a receive into a buffer of the group; the memory that it names itself is not used."""
    return ring.recv(sock, bytearray(SIZE), buffer_group=GROUP)


def provide(ring: Ring, count: int = 4, **arguments: Any) -> bytearray:
    """Provide buffers, and return their memory."""
    memory = bytearray(SIZE * count)
    assert ring.provide_buffers(memory, SIZE, GROUP, **arguments).result(timeout=10) is None
    return memory


def test_received_data_lies_in_a_provided_buffer(ring: Ring, pair: Pair) -> None:
    """A receive takes a buffer out of the group and tells which; each is used once."""
    memory = provide(ring, first_id=100)
    used = []
    for text in (b"first", b"second"):
        pair[1].send(text)
        operation = receive(ring, pair[0])
        assert operation.result(timeout=10) == len(text)
        buffer_id = operation.completion.buffer_id
        assert buffer_id is not None
        place = (buffer_id - 100) * SIZE
        assert memory[place : place + len(text)] == text
        used.append(buffer_id)
    assert len(set(used)) == 2
    assert set(used) <= set(range(100, 104))


def test_empty_group_is_an_error(ring: Ring, pair: Pair) -> None:
    """A receive from a group without buffers is ENOBUFS, and works again with new ones."""
    pair[1].send(b"data")
    error = receive(ring, pair[0]).exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOBUFS
    provide(ring, 1)
    assert receive(ring, pair[0]).result(timeout=10) == 4


def test_remove_tells_how_many(ring: Ring, pair: Pair) -> None:
    """A remove takes out as many as asked, or all that there are."""
    provide(ring, 4)
    pair[1].send(b"data")
    assert receive(ring, pair[0]).result(timeout=10) == 4
    assert ring.remove_buffers(2, GROUP).result(timeout=10) == 2
    assert ring.remove_buffers(9, GROUP).result(timeout=10) == 1


def test_remove_from_no_group(ring: Ring) -> None:
    """A group that does not exist is FileNotFoundError, with the numbers in the message."""
    with pytest.raises(FileNotFoundError, match="remove_buffers of 3 buffers from group 9"):
        ring.remove_buffers(3, 9).result(timeout=10)


# How long memory is pinned


def test_memory_is_pinned_while_provided(ring: Ring) -> None:
    """Memory cannot be resized from when it is provided until its group is known to be empty."""
    memory = bytearray(SIZE * 4)
    providing = ring.provide_buffers(memory, SIZE, GROUP)
    assert is_pinned(memory)
    providing.result(timeout=10)
    assert is_pinned(memory)
    assert ring.remove_buffers(3, GROUP).result(timeout=10) == 3
    assert is_pinned(memory)
    assert ring.remove_buffers(4, GROUP).result(timeout=10) == 1
    assert not is_pinned(memory)


def test_removing_exactly_all_unpins(ring: Ring) -> None:
    """A remove of as many as were provided shows that none is left."""
    memory, other = provide(ring, 3), provide(ring, 1, first_id=3)
    assert ring.remove_buffers(4, GROUP).result(timeout=10) == 4
    assert not is_pinned(memory)
    assert not is_pinned(other)


def test_other_groups_stay_pinned(ring: Ring) -> None:
    """Emptying one group lets go of that group's memory only."""
    memory, other = provide(ring), bytearray(SIZE)
    ring.provide_buffers(other, SIZE, GROUP + 1).result(timeout=10)
    assert ring.remove_buffers(100, GROUP).result(timeout=10) == 4
    assert not is_pinned(memory)
    assert is_pinned(other)


def test_memory_is_kept_without_references(ring: Ring, pair: Pair) -> None:
    """Provided memory that nobody else refers to can be written to."""
    ring.provide_buffers(bytearray(SIZE), SIZE, GROUP).result(timeout=10)
    gc.collect()
    pair[1].send(b"data")
    assert receive(ring, pair[0]).result(timeout=10) == 4


def test_memory_provided_later_stays_pinned(ring: Ring) -> None:
    """What is provided after a remove was queued is not let go of by its result."""
    memory = provide(ring)
    removal = ring.remove_buffers(100, GROUP)
    later = bytearray(SIZE)
    providing = ring.provide_buffers(later, SIZE, GROUP)
    assert providing.result(timeout=10) is None
    assert removal.result(timeout=10) == 4
    assert not is_pinned(memory)
    assert is_pinned(later)


def test_memory_that_is_not_provided_yet_stays_pinned(ring: Ring) -> None:
    """A remove that overtakes the request that provides buffers does not let go of their memory."""
    provide(ring, 1)
    memory = bytearray(SIZE)
    reader, writer = os.pipe()
    with ring.chain():
        ring.poll_add(reader)
        providing = ring.provide_buffers(memory, SIZE, GROUP)
    assert ring.remove_buffers(100, GROUP).result(timeout=10) == 1
    assert is_pinned(memory)
    os.write(writer, b"x")
    assert providing.result(timeout=10) is None
    assert is_pinned(memory)
    assert ring.remove_buffers(100, GROUP).result(timeout=10) == 1
    assert not is_pinned(memory)
    os.close(reader)
    os.close(writer)


def test_operations_in_flight_keep_the_memory(ring: Ring, pair: Pair) -> None:
    """Whoever was in flight when the group was found empty may have a buffer out of it, and keeps it pinned."""
    memory = provide(ring)
    receiving = receive(ring, pair[0])
    ring.submit()
    assert ring.remove_buffers(100, GROUP).result(timeout=10) in (3, 4)
    assert is_pinned(memory)
    assert receiving.cancel().result(timeout=10)
    assert isinstance(receiving.exception(timeout=10), OperationCancelled)
    assert not is_pinned(memory)


def test_result_may_be_read_again(ring: Ring) -> None:
    """Reading a remove's result twice changes nothing more."""
    memory = provide(ring)
    removal = ring.remove_buffers(100, GROUP)
    assert removal.result(timeout=10) == 4
    again = provide(ring)
    assert removal.result() == 4
    assert not is_pinned(memory)
    assert is_pinned(again)


def test_close_unpins() -> None:
    """Closing the ring lets go of all provided memory."""
    require_opcode("IORING_OP_PROVIDE_BUFFERS")
    memory = bytearray(SIZE)
    ring = Ring(4)
    ring.provide_buffers(memory, SIZE, GROUP).result(timeout=10)
    ring.close()
    gc.collect()
    assert not is_pinned(memory)


def test_close_with_a_receive_in_flight(pair: Pair) -> None:
    """A receive from a group is ended before the memory is let go of: data that comes later reaches nobody."""
    require_opcode("IORING_OP_PROVIDE_BUFFERS")
    memory = bytearray(SIZE)
    ring = Ring(4, Params())
    ring.provide_buffers(memory, SIZE, GROUP).result(timeout=10)
    receive(ring, pair[0])
    ring.submit()
    ring.close()
    pair[1].send(b"late")
    assert pair[0].recv(16) == b"late"
    assert memory == bytes(SIZE)


def test_many_rounds_do_not_grow(ring: Ring) -> None:
    """Providing and removing again and again leaves nothing behind."""
    for _ in range(200):
        provide(ring)
        assert ring.remove_buffers(100, GROUP).result(timeout=10) == 4
    assert not ring._provided.get(GROUP)


def test_interrupted_provide_stays_pinned(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a signal's handler raises just after the request was queued, its memory is pinned all the same."""
    memory = bytearray(SIZE)
    start = ring._start

    def interrupted(*arguments: Any) -> None:
        start(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ring, "_start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ring.provide_buffers(memory, SIZE, GROUP)
    assert len(ring.wait(1, timeout=10)) == 1
    assert is_pinned(memory)
    assert ring.remove_buffers(9, GROUP).result(timeout=10) == 1
    assert is_pinned(memory)


def test_refused_provide_is_not_pinned() -> None:
    """What a closed ring refuses is not pinned."""
    require_opcode("IORING_OP_PROVIDE_BUFFERS")
    ring = Ring(2)
    ring.close()
    memory = bytearray(SIZE)
    with pytest.raises(RingClosed):
        ring.provide_buffers(memory, SIZE, GROUP)
    assert not is_pinned(memory)


# Refusals


@pytest.mark.parametrize(
    ("memory", "arguments", "error"),
    [
        (bytes(16), (16, 0), TypeError),
        (16, (16, 0), TypeError),
        (bytearray(), (16, 0), ValueError),
        (bytearray(17), (16, 0), ValueError),
        (bytearray(16), (0, 0), ValueError),
        (bytearray(16), (-1, 0), ValueError),
        (bytearray(16), (16, -1), ValueError),
        (bytearray(16), (16, 65536), ValueError),
        (bytearray(16), (16, 0, -1), ValueError),
        (bytearray(16), (16, 0, 65536), ValueError),
        (bytearray(32), (16, 0, 65535), ValueError),
        (bytearray(65536), (1, 0), ValueError),
        (memoryview(bytearray(64))[::2], (16, 0), BufferError),
    ],
)
def test_bad_buffers_are_refused(ring: Ring, memory: Any, arguments: tuple[int, ...], error: type[Exception]) -> None:
    """Memory or numbers that are none raise before anything is queued or pinned."""
    with pytest.raises(error):
        ring.provide_buffers(memory, *arguments)
    assert ring.statistics().in_flight == 0
    assert not ring._provided


def test_bad_removes_are_refused(ring: Ring) -> None:
    """Numbers out of range, and `skip_success`, are refused."""
    for count, group in ((0, 0), (-1, 0), (65536, 0), (1, -1), (1, 65536)):
        with pytest.raises(ValueError, match="must be"):
            ring.remove_buffers(count, group)
    with pytest.raises(ValueError, match="skip_success"):
        ring.remove_buffers(1, 0, skip_success=True)
    with pytest.raises(ValueError, match="skip_success"):
        ring.provide_buffers(bytearray(16), 16, 0, skip_success=True)


def test_as_many_as_a_group_has(ring: Ring) -> None:
    """A group takes 65535 buffers, the last with the highest id, and no more."""
    memory = bytearray(65535)
    assert ring.provide_buffers(memory, 1, GROUP, 1).result(timeout=10) is None
    error = ring.provide_buffers(bytearray(1), 1, GROUP).exception(timeout=10)
    assert isinstance(error, OSError)
    assert ring.remove_buffers(65535, GROUP).result(timeout=10) == 65535
    assert ring.remove_buffers(1, GROUP).result(timeout=10) == 0
    assert not is_pinned(memory)
