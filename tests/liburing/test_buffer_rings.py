"""Provided buffers: rings of them, their ids, running dry, giving back, incremental use, bundles, older requests."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Callable, Iterator
from errno import ECANCELED, EEXIST, EINVAL, ENOBUFS, ENOENT
from typing import Any

import pytest
from c_style import get_sqe, is_empty, reap, require_opcode, skip_without

from uring import liburing as L

F_BUFFER, F_BUF_MORE, F_MORE = L.IORING_CQE_F_BUFFER, L.IORING_CQE_F_BUF_MORE, L.IORING_CQE_F_MORE
INC = L.IOU_PBUF_RING_INC
SELECT = L.IOSQE_BUFFER_SELECT


class Group:
    """A buffer group: a buffer ring of `entries`, and memory for as many buffers of `size` bytes."""

    def __init__(self, ring: Any, entries: int, size: int, bgid: int, flags: int) -> None:
        """Set the ring up, with no buffer in it."""
        self.ring, self.entries, self.size, self.bgid = ring, entries, size, bgid
        self.memory = L.ffi.new("char[]", entries * size)
        error = L.ffi.new("int *")
        self.br = L.io_uring_setup_buf_ring(ring, entries, bgid, flags, error)
        if self.br == L.ffi.NULL:
            skip_without("IOU_PBUF_RING_INC" if flags else "IORING_REGISTER_PBUF_RING", error[0], EINVAL)
            pytest.fail(os.strerror(-error[0]))

    def provide(self, *bids: int) -> None:
        """Put buffers into the ring, in this order."""
        mask = L.io_uring_buf_ring_mask(self.entries)
        for offset, bid in enumerate(bids):
            L.io_uring_buf_ring_add(self.br, self.memory + bid * self.size, self.size, bid, mask, offset)
        L.io_uring_buf_ring_advance(self.br, len(bids))

    def content(self, bid: int, length: int, offset: int = 0) -> bytes:
        """Return bytes of a buffer."""
        return bytes(L.ffi.buffer(self.memory + bid * self.size + offset, length))

    def available(self) -> int:
        """Count the buffers that the kernel may still take, or skip on kernels that do not tell."""
        count: int = L.io_uring_buf_ring_available(self.ring, self.br, self.bgid)
        skip_without("IORING_REGISTER_PBUF_STATUS", count, EINVAL)
        return count

    def free(self) -> None:
        """Unregister and unmap the ring."""
        assert L.io_uring_free_buf_ring(self.ring, self.br, self.entries, self.bgid) == 0


@pytest.fixture
def make_group(ring: Any) -> Iterator[Callable[..., Group]]:
    """Make buffer groups on the test's ring, freed at its end."""
    groups = []

    def make(entries: int = 4, size: int = 16, bgid: int = 1, flags: int = 0) -> Group:
        groups.append(Group(ring, entries, size, bgid, flags))
        return groups[-1]

    yield make
    for group in groups:
        group.free()


@pytest.fixture
def group(make_group: Callable[..., Group]) -> Group:
    """Return group 1 of four buffers of 16 bytes, all in the ring."""
    made = make_group()
    made.provide(0, 1, 2, 3)
    return made


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Open a pipe: its reading end and its writing end."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open two connected stream sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def queue_read(ring: Any, fd: int, *, bgid: int = 1, length: int = 0) -> None:
    """Queue a read that selects its buffer; a length of 0 means all of that buffer."""
    sqe = get_sqe(ring)
    L.io_uring_prep_read(sqe, fd, L.ffi.NULL, length, 0)
    L.io_uring_sqe_set_flags(sqe, SELECT)
    L.io_uring_sqe_set_buf_group(sqe, bgid)
    L.io_uring_sqe_set_data64(sqe, 1)


def queue_recv(ring: Any, fd: int, *, bgid: int = 1, ioprio: int = 0) -> None:
    """Queue a receive that selects its buffers."""
    sqe = get_sqe(ring)
    L.io_uring_prep_recv(sqe, fd, L.ffi.NULL, 0, 0)
    sqe.ioprio |= ioprio
    L.io_uring_sqe_set_flags(sqe, SELECT)
    L.io_uring_sqe_set_buf_group(sqe, bgid)
    L.io_uring_sqe_set_data64(sqe, 1)


def selected(ring: Any) -> tuple[int, int | None]:
    """Reap one completion as its result and the id of its buffer, None for none."""
    [(user_data, res, flags)] = reap(ring)
    assert user_data == 1
    assert not flags & F_MORE
    return res, flags >> L.IORING_CQE_BUFFER_SHIFT if flags & F_BUFFER else None


# Registering


@pytest.mark.parametrize("entries", [0, 3, 1 << 16])
def test_entries_have_to_be_a_power_of_two(ring: Any, entries: int) -> None:
    """A ring of no entries, of a number that is no power of two, or of more than 32768 is refused."""
    error = L.ffi.new("int *")
    assert L.io_uring_setup_buf_ring(ring, entries, 1, 0, error) == L.ffi.NULL
    assert error[0] == -EINVAL


def test_group_is_registered_once(ring: Any, group: Group) -> None:
    """A group that has a ring is refused another with -EEXIST."""
    error = L.ffi.new("int *")
    assert L.io_uring_setup_buf_ring(ring, 4, group.bgid, 0, error) == L.ffi.NULL
    assert error[0] == -EEXIST


def test_unregister_an_unknown_group(ring: Any, group: Group) -> None:
    """Unregistering a group that has no ring says -ENOENT."""
    assert L.io_uring_unregister_buf_ring(ring, 7) == -ENOENT


def test_ring_in_memory_of_the_program(ring: Any, pipe: tuple[int, int]) -> None:
    """A buffer ring may lie in page-aligned memory that the program brings."""
    memory, br = L.ffi.new("char[]", 32), L.io_uring_buf_ring(2)
    register = L.io_uring_buf_reg(ring_addr=br, ring_entries=2, bgid=5)
    ret = L.io_uring_register_buf_ring(ring, register, 0)
    skip_without("IORING_REGISTER_PBUF_RING", ret, EINVAL)
    assert ret == 0
    L.io_uring_buf_ring_init(br)
    L.io_uring_buf_ring_add(br, memory, 32, 9, L.io_uring_buf_ring_mask(2), 0)
    L.io_uring_buf_ring_advance(br, 1)
    os.write(pipe[1], b"own memory")
    queue_read(ring, pipe[0], bgid=5)
    assert selected(ring) == (10, 9)
    assert L.ffi.string(memory) == b"own memory"
    assert L.io_uring_unregister_buf_ring(ring, 5) == 0


def test_ring_memory_has_to_be_aligned(ring: Any) -> None:
    """A buffer ring whose memory does not start at a page is refused with -EINVAL."""
    view = L.ffi.from_buffer(mmap.mmap(-1, 2 * mmap.PAGESIZE))
    register = L.io_uring_buf_reg(ring_addr=L.ffi.cast("char *", view) + 64, ring_entries=2, bgid=5)
    assert L.io_uring_register_buf_ring(ring, register, 0) == -EINVAL


# Selecting


def test_read_selects_a_buffer(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """A read with BUFFER_SELECT takes the ring's oldest buffer and names its id in the completion's flags."""
    os.write(pipe[1], b"hello")
    queue_read(ring, pipe[0])
    assert selected(ring) == (5, 0)
    assert group.content(0, 5) == b"hello"


def test_buffers_are_taken_in_the_order_of_the_ring(
    ring: Any, make_group: Callable[..., Group], pipe: tuple[int, int]
) -> None:
    """Buffers are used in the order in which they were put in, whatever their ids are."""
    group = make_group()
    group.provide(3, 1, 2)
    taken = []
    for word in (b"one", b"two", b"three"):
        os.write(pipe[1], word)
        queue_read(ring, pipe[0])
        res, bid = selected(ring)
        assert group.content(bid or 0, res) == word
        taken.append(bid)
    assert taken == [3, 1, 2]


@pytest.mark.parametrize(("length", "res"), [(0, 16), (5, 5), (100, 16)])
def test_length_is_that_of_the_buffer_at_most(
    ring: Any, group: Group, pipe: tuple[int, int], length: int, res: int
) -> None:
    """A length of 0 means the whole buffer, a smaller one limits the read, a greater one is cut to the buffer."""
    os.write(pipe[1], bytes(50))
    queue_read(ring, pipe[0], length=length)
    assert selected(ring) == (res, 0)


def test_empty_ring_says_enobufs(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """A request that finds no buffer fails with -ENOBUFS, and the data waits for the next one."""
    os.write(pipe[1], bytes(4 * 16) + b"left")
    for bid in range(4):
        queue_read(ring, pipe[0])
        assert selected(ring) == (16, bid)
    queue_read(ring, pipe[0])
    assert selected(ring) == (-ENOBUFS, None)
    group.provide(2)
    queue_read(ring, pipe[0])
    assert selected(ring) == (4, 2)
    assert group.content(2, 4) == b"left"


def test_unknown_group_says_enobufs(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """A request that names a group that does not exist fails with -ENOBUFS."""
    os.write(pipe[1], b"x")
    queue_read(ring, pipe[0], bgid=7)
    assert selected(ring) == (-ENOBUFS, None)


def test_buffers_go_round(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """Buffers that are given back after use serve many times as many reads as there are buffers."""
    for number in range(100):
        os.write(pipe[1], b"%d" % number)
        queue_read(ring, pipe[0])
        res, bid = selected(ring)
        assert bid is not None
        assert group.content(bid, res) == b"%d" % number
        group.provide(bid)


def test_groups_are_separate(ring: Any, make_group: Callable[..., Group], pipe: tuple[int, int]) -> None:
    """Two groups have buffers of their own: the one runs dry while the other has some."""
    first, second = make_group(bgid=1), make_group(bgid=2, size=32)
    second.provide(3)
    os.write(pipe[1], bytes(20))
    queue_read(ring, pipe[0], bgid=1)
    assert selected(ring) == (-ENOBUFS, None)
    queue_read(ring, pipe[0], bgid=2)
    assert selected(ring) == (20, 3)
    assert first.memory != second.memory


def test_receive_selects_a_buffer(ring: Any, group: Group, pair: tuple[socket.socket, socket.socket]) -> None:
    """A receive takes its buffer only when there is data."""
    left, right = pair
    queue_recv(ring, left.fileno())
    assert L.io_uring_submit(ring) == 1
    assert is_empty(ring)
    assert group.available() == 4
    right.send(b"data")
    assert selected(ring) == (4, 0)
    assert group.content(0, 4) == b"data"
    assert group.available() == 3


def test_cancelled_request_takes_no_buffer(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """A read that is cancelled before there was data leaves all buffers in the ring."""
    queue_read(ring, pipe[0])
    sqe = get_sqe(ring)
    L.io_uring_prep_cancel64(sqe, 1, 0)
    L.io_uring_sqe_set_data64(sqe, 2)
    assert sorted(reap(ring, 2)) == [(1, -ECANCELED, 0), (2, 0, 0)]
    os.write(pipe[1], b"x")
    queue_read(ring, pipe[0])
    assert selected(ring) == (1, 0)


# Head and count


def test_available_counts_down_and_up(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """The number of available buffers falls with each one taken, and rises with each one given back."""
    counts = [group.available()]
    for _ in range(2):
        os.write(pipe[1], b"x")
        queue_read(ring, pipe[0])
        selected(ring)
        counts.append(group.available())
    group.provide(0, 1)
    assert [*counts, group.available()] == [4, 3, 2, 4]


def test_head_moves_with_what_is_taken(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """The head of a buffer ring is the number of buffers that the kernel has taken from it."""
    head = L.ffi.new("uint16_t *")
    ret = L.io_uring_buf_ring_head(ring, 1, head)
    skip_without("IORING_REGISTER_PBUF_STATUS", ret, EINVAL)
    assert (ret, head[0]) == (0, 0)
    os.write(pipe[1], b"x")
    queue_read(ring, pipe[0])
    selected(ring)
    assert L.io_uring_buf_ring_head(ring, 1, head) == 0
    assert head[0] == 1
    assert L.io_uring_buf_ring_head(ring, 7, head) == -ENOENT


def test_buffers_and_completions_are_given_back_together(ring: Any, group: Group, pipe: tuple[int, int]) -> None:
    """One call marks the completions seen and makes the buffers that were added visible."""
    os.write(pipe[1], bytes(64))
    for _ in range(4):
        queue_read(ring, pipe[0])
    assert L.io_uring_submit_and_wait(ring, 4) == 4
    mask = L.io_uring_buf_ring_mask(group.entries)
    for offset, cqe in enumerate(L.io_uring_for_each_cqe(ring)):
        bid = cqe.flags >> L.IORING_CQE_BUFFER_SHIFT
        L.io_uring_buf_ring_add(group.br, group.memory + bid * 16, 16, bid, mask, offset)
    L.io_uring_buf_ring_cq_advance(ring, group.br, 4)
    assert L.io_uring_cq_ready(ring) == 0
    assert group.available() == 4


# Incremental use


def test_incremental_buffer_is_filled_bit_by_bit(
    ring: Any, make_group: Callable[..., Group], pipe: tuple[int, int]
) -> None:
    """With INC reads go on where the last one ended, with F_BUF_MORE until the buffer is full."""
    group = make_group(entries=2, flags=INC)
    group.provide(1, 0)
    seen = []
    for word in (b"0123", b"456789", b"abcdef", b"next"):
        os.write(pipe[1], word)
        queue_read(ring, pipe[0])
        [(_user_data, res, flags)] = reap(ring)
        seen.append((res, flags >> L.IORING_CQE_BUFFER_SHIFT, bool(flags & F_BUF_MORE)))
    assert seen == [(4, 1, True), (6, 1, True), (6, 1, False), (4, 0, True)]
    assert group.content(1, 16) == b"0123456789abcdef"
    assert group.content(0, 4) == b"next"


def test_incremental_buffer_limits_a_read_to_its_rest(
    ring: Any, make_group: Callable[..., Group], pipe: tuple[int, int]
) -> None:
    """With INC a read gets at most what is left of the buffer, and does not go on into the next."""
    group = make_group(entries=2, flags=INC)
    group.provide(0, 1)
    os.write(pipe[1], bytes(10))
    queue_read(ring, pipe[0])
    assert reap(ring)[0][1] == 10
    os.write(pipe[1], b"0123456789")
    queue_read(ring, pipe[0])
    assert reap(ring) == [(1, 6, F_BUFFER)]
    queue_read(ring, pipe[0])
    assert reap(ring) == [(1, 4, 1 << L.IORING_CQE_BUFFER_SHIFT | F_BUFFER | F_BUF_MORE)]
    assert group.content(0, 6, offset=10) + group.content(1, 4) == b"0123456789"


def test_incremental_buffer_counts_until_it_is_full(
    ring: Any, make_group: Callable[..., Group], pipe: tuple[int, int]
) -> None:
    """With INC a buffer that is partly used is still available; a full one is not."""
    group = make_group(entries=2, flags=INC)
    group.provide(0, 1)
    counts = []
    for length in (8, 8):
        os.write(pipe[1], bytes(length))
        queue_read(ring, pipe[0])
        reap(ring)
        counts.append(group.available())
    assert counts == [2, 1]


# Bundles


def test_bundle_receives_into_several_buffers(
    ring: Any, group: Group, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A bundle fills as many buffers as there is data for: one completion, with the first id and the sum."""
    if not ring.features & L.IORING_FEAT_RECVSEND_BUNDLE:
        pytest.skip("this kernel lacks IORING_FEAT_RECVSEND_BUNDLE")
    left, right = pair
    # A whole number of buffers: kernels differ in whether a last one that would not be filled belongs to the bundle.
    text = bytes(range(48))
    right.send(text)
    queue_recv(ring, left.fileno(), ioprio=L.IORING_RECVSEND_BUNDLE)
    assert selected(ring) == (len(text), 0)
    assert b"".join(group.content(bid, 16) for bid in range(3)) == text
    assert group.available() == 1
    right.send(b"more")
    queue_recv(ring, left.fileno(), ioprio=L.IORING_RECVSEND_BUNDLE)
    assert selected(ring) == (4, 3)


def test_bundle_sends_several_buffers(ring: Any, group: Group, pair: tuple[socket.socket, socket.socket]) -> None:
    """A send bundle sends all buffers of the group, in their order, and completes with the sum."""
    if not ring.features & L.IORING_FEAT_RECVSEND_BUNDLE:
        pytest.skip("this kernel lacks IORING_FEAT_RECVSEND_BUNDLE")
    left, right = pair
    text = bytes(range(64))
    L.ffi.memmove(group.memory, text, 64)
    sqe = get_sqe(ring)
    L.io_uring_prep_send_bundle(sqe, left.fileno(), 0, 0)
    L.io_uring_sqe_set_flags(sqe, SELECT)
    L.io_uring_sqe_set_buf_group(sqe, 1)
    L.io_uring_sqe_set_data64(sqe, 1)
    assert selected(ring) == (64, 0)
    assert right.recv(100) == text
    assert group.available() == 0


# The older way: buffers provided by requests


def provide(ring: Any, memory: Any, count: int, first: int, *, bgid: int = 3) -> int:
    """Provide consecutive buffers of 8 bytes; return the request's result."""
    sqe = get_sqe(ring)
    L.io_uring_prep_provide_buffers(sqe, memory, 8, count, bgid, first)
    return reap(ring)[0][1]


def remove(ring: Any, count: int, *, bgid: int = 3) -> int:
    """Take buffers back; return the request's result."""
    sqe = get_sqe(ring)
    L.io_uring_prep_remove_buffers(sqe, count, bgid)
    return reap(ring)[0][1]


def test_provided_buffer_is_selected(ring: Any, pipe: tuple[int, int]) -> None:
    """A read takes a buffer that a request provided, names its id, and takes each one once."""
    require_opcode("IORING_OP_PROVIDE_BUFFERS")
    memory = L.ffi.new("char[]", 16)
    assert provide(ring, memory, 2, 40) >= 0
    taken = {}
    for word in (b"one", b"two"):
        os.write(pipe[1], word)
        queue_read(ring, pipe[0], bgid=3, length=8)
        res, bid = selected(ring)
        assert bid in (40, 41)
        taken[bid] = bytes(L.ffi.buffer(memory + (bid - 40) * 8, res))
    assert sorted(taken.values()) == [b"one", b"two"]
    os.write(pipe[1], b"three")
    queue_read(ring, pipe[0], bgid=3, length=8)
    assert selected(ring) == (-ENOBUFS, None)


def test_provided_buffers_are_removed(ring: Any, pipe: tuple[int, int]) -> None:
    """Removing returns how many buffers were taken back, at most as many as there are."""
    require_opcode("IORING_OP_REMOVE_BUFFERS")
    memory = L.ffi.new("char[]", 32)
    assert provide(ring, memory, 4, 0) >= 0
    assert remove(ring, 1) == 1
    assert remove(ring, 100) == 3
    os.write(pipe[1], b"x")
    queue_read(ring, pipe[0], bgid=3, length=8)
    assert selected(ring) == (-ENOBUFS, None)


def test_remove_from_an_unknown_group(ring: Any) -> None:
    """Removing buffers from a group that does not exist fails with -ENOENT."""
    require_opcode("IORING_OP_REMOVE_BUFFERS")
    assert remove(ring, 1, bgid=9) == -ENOENT


def test_group_is_of_one_kind(ring: Any, group: Group) -> None:
    """A group with a buffer ring takes no buffers from requests, and gives none back to them."""
    memory = L.ffi.new("char[]", 8)
    assert provide(ring, memory, 1, 0, bgid=group.bgid) == -EINVAL
    assert remove(ring, 1, bgid=group.bgid) == -EINVAL
