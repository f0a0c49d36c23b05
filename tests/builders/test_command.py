"""Commands: the command area of small and large entries, socket options and queues, discarding blocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders import command
from uring.errors import RingClosed, Unsupported, WrongThread
from uring.operation import Operation
from uring.params import Params
from uring.ring import Ring
from uring.types import FixedBuffer, FixedFile

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    require_opcode("IORING_OP_URING_CMD")
    with Ring(8, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def null(ring: Ring) -> Iterator[int]:
    """Open /dev/null, which takes any command and does nothing."""
    fd = os.open(os.devnull, os.O_RDWR)
    if isinstance(error := ring.uring_cmd(0, fd).exception(timeout=10), OSError) and error.errno == errno.EOPNOTSUPP:
        os.close(fd)
        pytest.skip("this kernel's /dev/null takes no commands")
    yield fd
    os.close(fd)


@pytest.fixture
def tcp() -> Iterator[Pair]:
    """Connect two TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as one:
        two, _ = listener.accept()
        with two:
            yield one, two


@pytest.fixture
def commands() -> None:
    """Skip on kernels whose sockets take no commands."""
    require_opcode("IORING_OP_WAITID")  # as old as those


def last_entry(ring: Ring, size: int = 64) -> Any:
    """Return the fields of the SQE that was written last, and its raw bytes."""
    c_ring = ring.c_ring
    base = L.ffi.cast("char *", c_ring.sq.sqes) + size * ((c_ring.sq.sqe_tail - 1) & c_ring.sq.ring_mask)
    return L.ffi.cast("struct io_uring_sqe *", base), bytes(L.ffi.buffer(base, size))


def code_of(operation: Operation[Any]) -> int | None:
    """Return the errno that an operation fails with."""
    error = operation.exception(timeout=10)
    assert isinstance(error, OSError)
    return error.errno


# The command area


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(16)), bytearray(b"bytearray"), memoryview(b"view")])
def test_command_fills_its_area(ring: Ring, null: int, content: Any) -> None:
    """The bytes stand in the last 16 of the SQE, with zeros behind, and the driver's answer is the result."""
    ring.uring_cmd(1, null, b"\xff" * 16).result(timeout=10)
    operation = ring.uring_cmd(0x1234, null, content)
    sqe, raw = last_entry(ring)
    assert (sqe.opcode, sqe.fd, sqe.cmd_op, sqe.user_data) == (
        L.IORING_OP_URING_CMD,
        null,
        0x1234,
        operation.user_data,
    )
    assert raw[48:] == bytes(content).ljust(16, b"\0")
    assert operation.result(timeout=10) == 0


def test_command_number_has_32_bits(ring: Ring, null: int) -> None:
    """Numbers with the highest bit set, as ioctl-like ones have, arrive as they are."""
    for number in (0, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
        operation = ring.uring_cmd(number, null)
        assert last_entry(ring)[0].cmd_op == number
        assert operation.result(timeout=10) == 0
    for number in (-1, 1 << 32):
        with pytest.raises(ValueError, match="cmd_op"):
            ring.uring_cmd(number, null)


def test_small_entries_have_16_bytes(ring: Ring, null: int) -> None:
    """A longer command is refused before anything is queued."""
    with pytest.raises(ValueError, match="16 bytes, not 17"):
        ring.uring_cmd(0, null, bytes(17))
    assert ring.statistics().in_flight == 0


def test_large_entries_have_80_bytes() -> None:
    """On a ring with SQE128 a command has 80 bytes; a shorter one leaves nothing of an earlier one there."""
    require_opcode("IORING_OP_URING_CMD")
    with Ring(1, Params(sqe128=True)) as ring, open(os.devnull) as null:
        content = bytes(range(80))
        operation = ring.uring_cmd(1, null, content)
        assert last_entry(ring, 128)[1][48:] == content
        operation.result(timeout=10)
        operation = ring.uring_cmd(1, null, b"short")
        assert last_entry(ring, 128)[1][48:] == b"short".ljust(80, b"\0")
        operation.result(timeout=10)
        with pytest.raises(ValueError, match="80 bytes, not 81"):
            ring.uring_cmd(1, null, bytes(81))


def test_options_reach_a_command(ring: Ring, null: int) -> None:
    """SQE options are set as for other requests, and registered files work."""
    assert L.io_uring_register_files(ring.c_ring, [null], 1) == 0
    operation = ring.uring_cmd(1, FixedFile(0), b"cmd", force_async=True)
    sqe, raw = last_entry(ring)
    assert sqe.flags == L.IOSQE_FIXED_FILE | L.IOSQE_ASYNC
    assert raw[48:51] == b"cmd"
    assert operation.result(timeout=10) == 0


def test_command_on_registered_memory(ring: Ring, null: int) -> None:
    """A command about a registered buffer carries its index and the flag for it, and pins it."""
    memory = bytearray(4096)
    operation = ring.uring_cmd(1, null, b"cmd", fixed_buffer=FixedBuffer(5, memory))
    sqe, raw = last_entry(ring)
    assert (sqe.uring_cmd_flags, sqe.buf_index) == (L.IORING_URING_CMD_FIXED, 5)
    assert raw[48:51] == b"cmd"
    with pytest.raises(BufferError):
        memory.clear()
    operation.exception(timeout=10)
    memory.clear()


def test_memory_of_a_command_stays_in_place(ring: Ring, null: int) -> None:
    """Buffers that the command points to cannot be resized before it is complete."""
    memory = [bytearray(8), bytearray(8)]
    operation = ring.uring_cmd(1, null, b"cmd", memory=memory)
    for buffer in memory:
        with pytest.raises(BufferError):
            buffer.clear()
    assert operation.result(timeout=10) == 0
    for buffer in memory:
        buffer.clear()


def test_command_in_a_chain(ring: Ring, null: int) -> None:
    """A command that a chain records is written with the bytes it was given."""
    with ring.chain():
        first = ring.uring_cmd(1, null, b"first")
        last = ring.uring_cmd(2, null, b"last")
    assert last_entry(ring)[1][48:52] == b"last"
    assert [first.result(timeout=10), last.result(timeout=10)] == [0, 0]


def test_commands_beyond_the_queue(ring: Ring, null: int) -> None:
    """More commands than the queue has entries are submitted as needed."""
    operations = [ring.uring_cmd(number, null, struct.pack("Q", number)) for number in range(50)]
    assert [operation.result(timeout=10) for operation in operations] == [0] * 50


def test_files_without_commands(ring: Ring, tmp_path: Path) -> None:
    """A file whose driver takes no commands is EOPNOTSUPP, and no Unsupported."""
    with (tmp_path / "file").open("wb") as file:
        error = ring.uring_cmd(0, file).exception(timeout=10)
    assert isinstance(error, OSError)
    assert error.errno == errno.EOPNOTSUPP
    assert not isinstance(error, Unsupported)


def test_bad_commands_are_refused(ring: Ring, null: int) -> None:
    """What is no buffer, or read-only memory to write to, raises before anything is queued."""
    for wrong in ("text", 5, None):
        with pytest.raises(TypeError):
            ring.uring_cmd(0, null, wrong)
    with pytest.raises(TypeError, match="read-only"):
        ring.uring_cmd(0, null, memory=[b"constant"])
    with pytest.raises(ValueError, match="skip_success"):
        ring.uring_cmd(0, null, skip_success=True)
    assert ring.statistics().in_flight == 0


@pytest.mark.parametrize(
    "start",
    [
        lambda ring, fd: ring.uring_cmd(0, fd, b"cmd"),
        lambda ring, fd: ring.nop(result=1),
        lambda ring, fd: ring.cancel(opcode="READ"),
    ],
    ids=["uring_cmd", "nop", "cancel"],
)
def test_own_calls_keep_to_the_owner(ring: Ring, null: int, start: Callable[[Ring, int], object]) -> None:
    """Requests that liburing has no call for are refused to other threads, and on a closed ring, like all others."""
    errors: list[BaseException] = []

    def run() -> None:
        with pytest.raises(WrongThread) as caught:
            start(ring, null)
        errors.append(caught.value)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert len(errors) == 1
    assert ring.statistics().in_flight == 0
    ring.close()
    with pytest.raises(RingClosed):
        start(ring, null)


def test_cmd128_without_its_kernel(ring: Ring, null: int) -> None:
    """On a kernel that lacks URING_CMD128 it raises Unsupported and queues nothing."""
    if not command.URING_CMD128.missing:
        pytest.skip("this kernel has IORING_OP_URING_CMD128")
    with pytest.raises(Unsupported, match=r"IORING_OP_URING_CMD128: it needs Linux 6\.19"):
        ring.uring_cmd128(0, null, bytes(80))
    assert ring.statistics().in_flight == 0


def test_cmd128_beside_small_entries() -> None:
    """With SQEs of both sizes a large command has 80 bytes, a small one 16; a plain ring has no large ones."""
    require_opcode("IORING_OP_URING_CMD128")
    with Ring(4, Params(sqe_mixed=True)) as ring, open(os.devnull) as null:
        for _ in range(5):
            assert ring.uring_cmd128(1, null, bytes(range(80))).result(timeout=10) == 0
            assert ring.uring_cmd(1, null, bytes(16)).result(timeout=10) == 0
        with pytest.raises(ValueError, match="16 bytes"):
            ring.uring_cmd(1, null, bytes(17))
        with pytest.raises(ValueError, match="80 bytes"):
            ring.uring_cmd128(1, null, bytes(81))
    with Ring(4) as ring, pytest.raises(ValueError, match="sqe128 or sqe_mixed"):
        ring.uring_cmd128(1, 0)


# Sockets


def test_queues_are_counted(ring: Ring, tcp: Pair, commands: None) -> None:
    """What waits to be received, and to be sent, is told in bytes."""
    one, two = tcp
    assert ring.siocinq(two).result(timeout=10) == 0
    one.send(b"waiting")
    ring.poll_add(two).result(timeout=10)
    assert ring.siocinq(two).result(timeout=10) == 7
    assert ring.siocinq(two.fileno()).result(timeout=10) == 7
    one.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            one.send(bytes(1 << 16))
    assert ring.siocoutq(one).result(timeout=10) > 0


def test_integer_options(ring: Ring, tcp: Pair, commands: None) -> None:
    """Without a length an option is an int, as from socket.getsockopt."""
    for option in (socket.SO_TYPE, socket.SO_RCVBUF, socket.SO_KEEPALIVE, socket.SO_ERROR):
        value = ring.getsockopt(tcp[0], socket.SOL_SOCKET, option).result(timeout=10)
        assert value == tcp[0].getsockopt(socket.SOL_SOCKET, option)
        assert isinstance(value, int)


def test_options_as_bytes(ring: Ring, tcp: Pair, commands: None) -> None:
    """With a length an option is bytes, as many as it has."""
    tcp[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    for room in (8, 100):
        value = ring.getsockopt(tcp[0], socket.SOL_SOCKET, socket.SO_LINGER, room).result(timeout=10)
        assert value == struct.pack("ii", 1, 5)
    assert ring.getsockopt(tcp[0], socket.SOL_SOCKET, socket.SO_TYPE, 4).result(timeout=10) == struct.pack("i", 1)


@pytest.mark.parametrize("value", [1, True, struct.pack("i", 1), bytearray(struct.pack("i", 1))])
def test_options_are_set(ring: Ring, tcp: Pair, commands: None, value: Any) -> None:
    """An option is set from an int or a buffer, on any level."""
    one, two = tcp
    assert ring.setsockopt(one, socket.SOL_SOCKET, socket.SO_KEEPALIVE, value).result(timeout=10) is None
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert ring.setsockopt(two, socket.IPPROTO_TCP, socket.TCP_NODELAY, value).result(timeout=10) is None
    assert two.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_option_errors(ring: Ring, tcp: Pair, commands: None) -> None:
    """An option that does not exist, a value that is too short, and a file that is no socket are told."""
    assert code_of(ring.getsockopt(tcp[0], socket.SOL_SOCKET, 9999)) == errno.ENOPROTOOPT
    assert code_of(ring.setsockopt(tcp[0], socket.SOL_SOCKET, socket.SO_KEEPALIVE, b"1")) == errno.EINVAL
    reader, writer = os.pipe()
    assert code_of(ring.siocinq(reader)) == errno.EOPNOTSUPP
    os.close(reader)
    os.close(writer)


def test_level_without_a_command(ring: Ring, tcp: Pair, commands: None) -> None:
    """A level that the kernel does not serve is EOPNOTSUPP, and not blamed on the kernel's age."""
    operation = ring.getsockopt(tcp[0], socket.IPPROTO_TCP, socket.TCP_NODELAY)
    error = operation.exception(timeout=10)
    if error is None:
        pytest.skip("this kernel serves other levels than SOL_SOCKET")
    assert isinstance(error, OSError)
    assert error.errno == errno.EOPNOTSUPP
    assert not isinstance(error, Unsupported)


def test_older_kernels_are_named(ring: Ring, commands: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """EOPNOTSUPP on a kernel whose sockets have no commands is Unsupported."""
    one, two = socket.socketpair()
    with one, two, monkeypatch.context() as patch:
        patch.setattr(command.WAITID, "missing", True)
        with pytest.raises(Unsupported, match=r"SOCKET_URING_OP_SIOCINQ: it needs Linux 6\.7"):
            ring.siocinq(one).result(timeout=10)


def test_names(ring: Ring, tcp: Pair, commands: None) -> None:
    """The socket's own address and its peer's are those of the socket module, where the kernel has the command."""
    one, two = tcp
    own, peer = ring.getsockname(one), ring.getpeername(one)
    if command.URING_CMD128.missing and own.exception(timeout=10) is not None:
        for operation in (own, peer):
            with pytest.raises(Unsupported, match=r"SOCKET_URING_OP_GETSOCKNAME: it needs Linux 6\.19"):
                operation.result(timeout=10)
        return
    assert own.result(timeout=10) == one.getsockname() == two.getpeername()
    assert peer.result(timeout=10) == one.getpeername()


@pytest.mark.parametrize(
    "start",
    [
        lambda ring, sock: ring.getsockopt(sock, -1, 0),
        lambda ring, sock: ring.getsockopt(sock, 1, 1, -1),
        lambda ring, sock: ring.getsockopt(sock, 1, 1, 1 << 30),
        lambda ring, sock: ring.setsockopt(sock, 1, 1, 1 << 31),
        lambda ring, sock: ring.siocinq(sock, skip_success=True),
        lambda ring, sock: ring.getsockname(sock, skip_success=True),
    ],
)
def test_numbers_out_of_range(ring: Ring, tcp: Pair, start: Callable[[Ring, socket.socket], object]) -> None:
    """What no option has raises before anything is queued."""
    with pytest.raises(ValueError, match=r"must be|skip_success"):
        start(ring, tcp[0])
    assert ring.statistics().in_flight == 0


def test_values_that_are_none(ring: Ring, tcp: Pair) -> None:
    """A value that is neither int nor buffer is refused."""
    for value in (None, "1", 1.5):
        with pytest.raises(TypeError):
            ring.setsockopt(tcp[0], 1, 1, value)


# Block devices

LOOP_CTL_GET_FREE, LOOP_SET_FD, LOOP_CLR_FD = 0x4C82, 0x4C00, 0x4C01


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Make a block device of a file with 1 MiB of data; skip where that is not allowed."""
    image = tmp_path / "image"
    image.write_bytes(b"\xaa" * (1 << 20))
    with contextlib.ExitStack() as stack:
        try:
            control = os.open("/dev/loop-control", os.O_RDWR)
            stack.callback(os.close, control)
            device = os.open(f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}", os.O_RDWR)
            stack.callback(os.close, device)
            backing = os.open(image, os.O_RDWR)
            stack.callback(os.close, backing)
            fcntl.ioctl(device, LOOP_SET_FD, backing)
        except OSError as error:
            pytest.skip(f"no loop device can be made here: {error}")
        stack.callback(fcntl.ioctl, device, LOOP_CLR_FD)
        yield device, image


def test_discard_empties_a_range(ring: Ring, disk: tuple[int, Path]) -> None:
    """The range that was discarded reads as zeros, and what is around it stays."""
    device, image = disk
    operation = ring.discard(device, 65536, 131072)
    error = operation.exception(timeout=10)
    if isinstance(error, OSError) and error.errno == errno.EOPNOTSUPP:
        pytest.skip("this kernel, or the file system below, lacks BLOCK_URING_CMD_DISCARD")
    assert operation.result() is None
    content = image.read_bytes()
    assert content[65536:196608] == bytes(131072)
    assert set(content[:65536] + content[196608:]) == {0xAA}


def test_discard_of_no_block_device(ring: Ring, tmp_path: Path) -> None:
    """A discard of an ordinary file is EOPNOTSUPP, with the range in the message."""
    with (tmp_path / "file").open("wb") as file:
        operation = ring.discard(file, 4096, 8192)
        assert code_of(operation) == errno.EOPNOTSUPP
        assert "discard of 8192 bytes at 4096" in str(operation.exception())


def test_bad_ranges_are_refused(ring: Ring) -> None:
    """A range that is none raises before anything is queued."""
    for offset, length in ((-1, 4096), (0, 0), (0, -1), (1 << 63, 1), (0, 1 << 63)):
        with pytest.raises(ValueError, match="must be"):
            ring.discard(0, offset, length)
    assert ring.statistics().in_flight == 0
