"""Zero copy: the memory stays until the notification, whatever becomes of the send; and zero-copy receives."""

from __future__ import annotations

import errno
import gc
import os
import socket
import weakref

import pytest
from c_style import require_opcode
from observing import code_of, is_pinned

from uring import liburing as L
from uring.builders import zero_copy as zero_copies
from uring.errors import Unsupported
from uring.operation import State
from uring.params import Params
from uring.ring import Ring
from uring.types import FixedBuffer

Pair = tuple[socket.socket, socket.socket]
MiB = 1 << 20


# Zero copy


@pytest.fixture
def zero_copy() -> None:
    """Skip on kernels without zero-copy sends."""
    require_opcode("IORING_OP_SEND_ZC", "IORING_OP_SENDMSG_ZC")


def drain(ring: Ring) -> None:
    """Wait until the ring has nothing in flight, notifications included."""
    while ring._native.in_flight:
        ring._enter(1, 10_000_000_000)


@pytest.mark.parametrize("message", [False, True], ids=["send_zc", "sendmsg_zc"])
def test_zero_copy_over_tcp(ring: Ring, tcp: Pair, zero_copy: None, message: bool) -> None:
    """The result comes first; the buffer is let go of with the notification, which nobody sees."""
    one, two = tcp
    data = bytearray(os.urandom(65536))
    expected = bytes(data)
    send = ring.sendmsg_zc(one, [data], (), socket.MSG_WAITALL) if message else ring.send_zc(one, data)
    sent = send.result(timeout=10)
    assert sent == 65536 if message else 0 < sent <= 65536
    assert send.completion.more
    received = bytearray()
    while len(received) < sent:
        received += two.recv(65536)
    assert received == expected[:sent]
    drain(ring)
    assert not is_pinned(data)
    assert ring.peek() == []
    assert ring.statistics().in_flight == 0


def test_zero_copy_buffer_is_pinned_until_the_notification(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """While the peer has not read, the data is still the kernel's: complete, and pinned all the same."""
    one, two = tcp
    data = bytearray(MiB)
    sends = [ring.send_zc(one, data, socket.MSG_DONTWAIT)]
    while sends[-1].exception(timeout=10) is None and sends[-1].result() == MiB:
        sends.append(ring.send_zc(one, data, socket.MSG_DONTWAIT))
    sends = [send for send in sends if send.exception() is None]  # no more goes in
    sent = sum(send.result() for send in sends)
    send = sends.pop()
    sends.clear()
    assert is_pinned(data)
    assert ring.statistics().in_flight == 0
    assert ring.peek() == []
    reference = weakref.ref(send)
    del send
    gc.collect()
    assert reference() is not None
    two.settimeout(10)
    left = sent
    while left:
        left -= len(two.recv(65536))
    drain(ring)
    gc.collect()
    assert not is_pinned(data)
    assert reference() is None


def test_zero_copy_over_unix_fails_with_a_notification(ring: Ring, pair: Pair, zero_copy: None) -> None:
    """Where there is no zero copy the failure comes first, and its notification is not mistaken for another's."""
    data = bytearray(64)
    for start in (lambda: ring.send_zc(pair[0], data), lambda: ring.sendmsg_zc(pair[0], [data])):
        send, nop = start(), ring.nop()
        assert code_of(send) == errno.EOPNOTSUPP
        assert nop.result(timeout=10) is None
        assert send.state is State.COMPLETED
        drain(ring)
        assert not is_pinned(data)
        assert ring.peek() == []


def test_zero_copy_tells_its_usage(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """REPORT_USAGE, whose notification has a res of its own, does not change the result."""
    send = ring.send_zc(tcp[0], bytearray(4096), report_usage=True)
    assert send.result(timeout=10) == 4096
    assert tcp[1].recv(4096, socket.MSG_WAITALL) == bytes(4096)
    drain(ring)
    assert send.result() == 4096


def test_zero_copy_from_registered_memory(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A FixedBuffer, or a part of one, is sent from registered memory."""
    memory = bytearray(b"0123456789" * 100)
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    send = ring.send_zc(tcp[0], FixedBuffer(0, memory)[10:25])
    assert send.result(timeout=10) == 15
    assert tcp[1].recv(64) == b"012345678901234"
    drain(ring)
    error = ring.send_zc(tcp[0], FixedBuffer(5, memory)).exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == errno.EFAULT


def test_zero_copy_message_from_registered_memory(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A list of parts of one registered buffer is sent from there; parts of two are refused."""
    require_opcode("IORING_OP_READV_FIXED")  # as old as registered memory for messages
    memory = bytearray(b"0123456789" * 100)
    assert L.io_uring_register_buffers(ring.c_ring, L.iovec(memory), 1) == 0
    fixed = FixedBuffer(0, memory)
    send = ring.sendmsg_zc(tcp[0], [fixed[0:4], fixed[8:12]])
    assert send.result(timeout=10) == 8
    assert tcp[1].recv(64) == b"01238901"
    drain(ring)
    with pytest.raises(ValueError, match="one registered buffer"):
        ring.sendmsg_zc(tcp[0], [fixed, FixedBuffer(1, memory)])
    with pytest.raises(TypeError, match="not both"):
        ring.sendmsg_zc(tcp[0], [fixed, b"plain"])


def test_zero_copy_datagrams(ring: Ring, udp: Pair, zero_copy: None) -> None:
    """A zero-copy message may go to an address."""
    one, two = udp
    assert ring.sendmsg_zc(one, [b"data"], (), 0, two.getsockname()).result(timeout=10) == 4
    assert two.recvfrom(8) == (b"data", one.getsockname())
    drain(ring)


def test_zero_copy_in_a_chain(ring: Ring, tcp: Pair, zero_copy: None) -> None:
    """A zero-copy send as a link: the next runs after its result, and both are handed out once."""
    with ring.chain():
        send, after = ring.send_zc(tcp[0], b"data", socket.MSG_WAITALL), ring.nop()
    assert set(ring.wait(2, timeout=10)) == {send, after}
    assert send.result() == 4
    drain(ring)
    assert ring.peek() == []


def test_close_with_a_notification_outstanding(tcp: Pair, zero_copy: None) -> None:
    """Closing the ring waits for the notification, so that nothing is read from memory that is gone."""
    one, two = tcp
    data = bytearray(4096)
    ring = Ring(4)
    send = ring.send_zc(one, data)
    assert send.result(timeout=10) == 4096
    ring.close()
    assert two.recv(4096, socket.MSG_WAITALL) == bytes(4096)
    gc.collect()
    assert not is_pinned(data)
    assert send.result() == 4096


def test_exit_waits_for_notifications(tcp: Pair, zero_copy: None) -> None:
    """Leaving the `with` block waits for the notifications too."""
    data = bytearray(4096)
    with Ring(4, exit_timeout=10.0) as ring:
        send = ring.send_zc(tcp[0], data)
    assert send.result() == 4096
    assert not is_pinned(data)


# Zero-copy receives


def test_recv_zc_needs_large_completions(ring: Ring, pair: Pair) -> None:
    """On a ring with CQEs of 16 bytes a zero-copy receive is refused, saying what is needed."""
    with pytest.raises(Unsupported, match="cqe32 or cqe_mixed"):
        ring.recv_zc(pair[0], 0)
    assert ring.statistics().in_flight == 0


def test_recv_zc_without_an_interface_queue(tcp: Pair) -> None:
    """Without a device's queue a zero-copy receive fails and says why; without the opcode it is Unsupported."""
    with Ring(4, Params(cqe32=True), exit_timeout=10.0) as ring:
        if zero_copies.RECV_ZC.missing:
            with pytest.raises(Unsupported, match=r"RECV_ZC: it needs Linux 6\.15"):
                ring.recv_zc(tcp[0], 3)
            return
        with pytest.raises(OSError, match="interface queue 3 is not registered with this ring") as caught:
            ring.recv_zc(tcp[0], 3).result(timeout=10)
        assert caught.value.errno == errno.EINVAL
