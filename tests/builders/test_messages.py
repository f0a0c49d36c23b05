"""Messages between rings: completions with chosen results and flags, registered files, refusals."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest
from c_style import require_opcode

from uring import liburing as L
from uring.builders import messages
from uring.builders.direct import ALLOC
from uring.completion import Completion
from uring.errors import RingClosed, Unsupported
from uring.params import Params
from uring.ring import Ring
from uring.types import FixedFile

DATA = 0x0123_4567_89AB_CDEF


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open the ring that sends; its operations must all end within 10 seconds."""
    require_opcode("IORING_OP_MSG_RING")
    with Ring(8, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def target() -> Iterator[Ring]:
    """Open the ring that receives."""
    with Ring(8, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def tables(ring: Ring, target: Ring) -> None:
    """Give both rings tables of three files: the sender's second is a pipe's reading end with data."""
    require_opcode("IORING_OP_SEND_ZC")  # as old as passing files
    reader, writer = os.pipe()
    os.write(writer, b"through")
    os.close(writer)
    for one in (ring, target):
        assert L.io_uring_register_files_sparse(one.c_ring, 3) == 0
    assert L.io_uring_register_files_update(ring.c_ring, 1, [reader], 1) == 1
    os.close(reader)


def content(ring: Ring, slot: int) -> bytes:
    """Read from a registered file."""
    buffer = bytearray(16)
    return bytes(buffer[: ring.read(FixedFile(slot), buffer).result(timeout=10)])


def code_of(operation: object) -> int | None:
    """Return the errno that an operation fails with."""
    error = operation.exception(timeout=10)  # type: ignore[attr-defined]
    assert isinstance(error, OSError)
    return error.errno


# Completions


@pytest.mark.parametrize(("sent", "received"), [(42, 42), (0, 0), (-5, -5), (0xFFFF_FFFB, -5)])
def test_message_arrives(ring: Ring, target: Ring, sent: int, received: int) -> None:
    """The target gets a completion with the result and user_data of the message."""
    message = ring.msg_ring(target, sent, DATA)
    assert message.result(timeout=10) is None
    assert target.peek() == [Completion(DATA, received, 0)]
    assert ring.peek() == target.peek() == []


def test_user_data_has_64_bits(ring: Ring, target: Ring) -> None:
    """The largest user_data and 0 arrive as they are."""
    for user_data in (0, (1 << 64) - 1):
        ring.msg_ring(target, 1, user_data).result(timeout=10)
        assert target.peek() == [Completion(user_data, 1, 0)]


def test_message_carries_flags(ring: Ring, target: Ring) -> None:
    """A message may set the completion's flags; F_MORE and F_NOTIF do not confuse the target."""
    if not ring.features & L.IORING_FEAT_REG_REG_RING:
        pytest.skip("this kernel lacks IORING_MSG_RING_FLAGS_PASS")
    for flags in (0, 0x50, L.IORING_CQE_F_MORE, L.IORING_CQE_F_NOTIF, 7 << 16 | L.IORING_CQE_F_BUFFER):
        assert ring.msg_ring(target, 9, DATA, cqe_flags=flags).result(timeout=10) is None
        (completion,) = target.peek()
        assert completion == Completion(DATA, 9, flags)
    assert isinstance(completion, Completion)
    assert completion.buffer_id == 7


def test_messages_keep_their_order(ring: Ring, target: Ring) -> None:
    """Messages of one submit arrive in their order, beside the target's own operations."""
    nop = target.nop()
    sent = [ring.msg_ring(target, number, DATA + number) for number in range(6)]
    for message in sent:
        message.result(timeout=10)
    assert nop.result(timeout=10) is None
    assert target.peek() == [Completion(DATA + number, number, 0) for number in range(6)]


def test_ring_sends_to_itself(ring: Ring) -> None:
    """A ring may be its own target."""
    message = ring.msg_ring(ring, 5, DATA)
    assert message.result(timeout=10) is None
    assert ring.peek() == [Completion(DATA, 5, 0)]


def test_target_by_descriptor(ring: Ring, target: Ring) -> None:
    """The target may be given by its descriptor."""
    ring.msg_ring(target.fileno(), 1, DATA).result(timeout=10)
    assert target.peek() == [Completion(DATA, 1, 0)]


def test_message_wakes_a_waiting_thread(ring: Ring) -> None:
    """A thread that waits on its own ring is woken by a message to it."""
    targets: list[Ring] = []
    received: list[object] = []
    ready = threading.Event()

    def wait() -> None:
        with Ring(4) as own:
            unending = own.timeout(600)
            targets.append(own)
            own.submit()
            ready.set()
            received.extend(own.wait(1, timeout=10))
            own.cancel(unending)

    thread = threading.Thread(target=wait)
    thread.start()
    assert ready.wait(10)
    assert ring.msg_ring(targets[0], 3, DATA).result(timeout=10) is None
    thread.join(10)
    assert received == [Completion(DATA, 3, 0)]


def test_target_is_kept_until_the_message_is_sent(ring: Ring) -> None:
    """The target's object lives as long as the message is prepared."""
    message = ring.msg_ring(Ring(2), 1, DATA)
    target = message._memory
    assert isinstance(target, Ring)
    assert message.result(timeout=10) is None
    assert message._memory is None
    target.close()


def test_what_is_no_ring_is_refused(ring: Ring, target: Ring) -> None:
    """A file that is no ring, and a ring that is still disabled, are EBADFD."""
    reader, writer = os.pipe()
    assert code_of(ring.msg_ring(reader, 1, DATA)) == errno.EBADFD
    os.close(reader)
    os.close(writer)
    with Ring(2, Params(disabled=True)) as disabled:
        assert code_of(ring.msg_ring(disabled, 1, DATA)) == errno.EBADFD


def test_closed_target_is_refused(ring: Ring) -> None:
    """A target that was closed raises before anything is queued."""
    target = Ring(2)
    target.close()
    with pytest.raises(RingClosed):
        ring.msg_ring(target, 1, DATA)
    with pytest.raises(RingClosed):
        ring.msg_ring_fd(target, 1)
    assert ring.statistics().in_flight == 0


def test_message_cannot_pass_for_an_operation(ring: Ring, target: Ring) -> None:
    """A user_data with the mark of operations is refused: it could end one whose memory is still in use."""
    timeout = target.timeout(600)
    for user_data in (timeout.user_data, 0x5A << 56):
        with pytest.raises(ValueError, match="0x5A"):
            ring.msg_ring(target, 0, user_data)
        with pytest.raises(ValueError, match="0x5A"):
            ring.msg_ring_fd(target, 0, 0, user_data)
    assert not timeout.done()
    assert timeout.cancel().result(timeout=10)


@pytest.mark.parametrize(
    ("res", "user_data", "flags"),
    [(1 << 32, 0, None), (-(1 << 31) - 1, 0, None), (0, -1, None), (0, 1 << 64, None), (0, 0, -1), (0, 0, 1 << 32)],
)
def test_numbers_out_of_range(ring: Ring, target: Ring, res: int, user_data: int, flags: int | None) -> None:
    """What does not fit a completion is refused."""
    with pytest.raises(ValueError, match="must be"):
        ring.msg_ring(target, res, user_data, cqe_flags=flags)
    assert ring.statistics().in_flight == 0


def test_older_kernels_are_named(ring: Ring, target: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags and files raise Unsupported where the kernel lacks them."""
    with monkeypatch.context() as patch:
        patch.setattr(ring._ring, "features", 0)
        with pytest.raises(Unsupported, match=r"MSG_RING_FLAGS_PASS: it needs Linux 6\.3"):
            ring.msg_ring(target, 0, 0, cqe_flags=1)
        patch.setattr(messages.SEND_ZC[0], "missing", True)
        with pytest.raises(Unsupported, match=r"MSG_SEND_FD: it needs Linux 6\.0"):
            ring.msg_ring_fd(target, 0)


# Files


def test_file_is_passed(ring: Ring, target: Ring, tables: None) -> None:
    """A registered file is put into the slot that was named, and the target is told with res 0."""
    message = ring.msg_ring_fd(target, FixedFile(1), 2, DATA)
    assert message.result(timeout=10) == FixedFile(2)
    assert isinstance(message.result(), FixedFile)
    assert target.peek() == [Completion(DATA, 0, 0)]
    assert content(target, 2) == b"through"


def test_kernel_chooses_the_slot(ring: Ring, target: Ring, tables: None) -> None:
    """With ALLOC, the default, the kernel chooses a free slot and tells both sides."""
    with open(os.devnull) as taken:
        assert L.io_uring_register_files_update(target.c_ring, 0, [taken.fileno()], 1) == 1
    for arguments in ((), (ALLOC,)):
        slot = ring.msg_ring_fd(target, 1, *arguments, user_data=DATA).result(timeout=10)
        assert isinstance(slot, FixedFile)
        assert target.peek() == [Completion(DATA, slot, 0)]
        assert slot in {1, 2}
    assert content(target, 1) == b"through"


def test_file_is_passed_quietly(ring: Ring, target: Ring, tables: None) -> None:
    """With `skip_cqe` the target gets the file and no completion."""
    assert ring.msg_ring_fd(target, 1, 0, DATA, skip_cqe=True).result(timeout=10) == 0
    assert target.peek() == []
    assert content(target, 0) == b"through"


def test_files_that_cannot_be_passed(ring: Ring, target: Ring, tables: None) -> None:
    """An empty slot, a slot beyond the table, and a full table are errors."""
    assert code_of(ring.msg_ring_fd(target, 0, 0)) == errno.EBADF
    assert code_of(ring.msg_ring_fd(target, 1, 99)) == errno.EINVAL
    for _ in range(3):
        ring.msg_ring_fd(target, 1, skip_cqe=True).result(timeout=10)
    assert code_of(ring.msg_ring_fd(target, 1)) == errno.ENFILE
    assert code_of(ring.msg_ring_fd(ring, 1, 0)) == errno.EINVAL


def test_bad_slots_are_refused(ring: Ring, target: Ring) -> None:
    """Slots that are none, and `skip_success`, raise before anything is queued."""
    for source, slot in ((-1, 0), (0, -2), (0, 1 << 31), (1 << 31, 0)):
        with pytest.raises(ValueError, match="must be"):
            ring.msg_ring_fd(target, source, slot)
    with pytest.raises(TypeError):
        ring.msg_ring_fd(target, "0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="skip_success"):
        ring.msg_ring_fd(target, 0, skip_success=True)
    assert ring.statistics().in_flight == 0
