"""The constructors of uring.liburing, its two macros, and cffi's rules for arguments."""

from __future__ import annotations

import array
import errno
import gc
import mmap
import os
import signal
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from c_style import get_sqe, reap, skip_without

from uring import liburing as L

ffi = L.ffi

# Those with a signature of their own; all others take a count or the struct's fields.
OWN_SIGNATURE = {"iovec", "msghdr", "__kernel_timespec", "open_how", "sigset_t", "cpu_set_t", "io_uring_buf_ring"}


def generic_constructors() -> dict[str, Any]:
    """Each struct with a constructor that takes its fields, and its ctype."""
    typedefs, structs, _unions = ffi.list_types()
    types = {name: ffi.typeof(f"struct {name}") for name in structs}
    types |= {name: ffi.typeof(name) for name in typedefs if ffi.typeof(name).cname == name}
    types = {name: ctype for name, ctype in types.items() if ctype.kind == "struct" and ctype.fields is not None}
    return {
        name: ctype
        for name, ctype in types.items()
        if name not in OWN_SIGNATURE and not name.startswith("uring_") and not hasattr(L.lib, name)
    }


def is_zeroed(memory: Any) -> bool:
    """Whether each byte of a struct, or of an array, is 0."""
    return not any(bytes(ffi.buffer(memory)))


def complete_nops(ring: Any, count: int, start: int = 0) -> None:
    """Submit `count` NOPs, numbered by their user_data."""
    for number in range(start, start + count):
        sqe = get_sqe(ring)
        L.io_uring_prep_nop(sqe)
        L.io_uring_sqe_set_data64(sqe, number)
    assert L.io_uring_submit(ring) == count


# --- structs by their fields ---------------------------------------------------------------------


def test_every_struct_has_a_constructor() -> None:
    """Each complete struct of the headers can be made by its name, unless a function has that name."""
    names = generic_constructors()
    assert len(names) > 55
    assert {name for name in names if not callable(getattr(L, name, None)) or name not in L.__all__} == set()
    assert getattr(L, "io_uring_clone_buffers") is L.lib.io_uring_clone_buffers  # noqa: B009 - also a struct


def test_every_integer_field_is_set() -> None:
    """Each integer field takes its largest value by keyword and gives it back, and the rest stays as it was."""
    checked = 0
    for name, ctype in generic_constructors().items():
        for field, description in ctype.fields:
            if description.type.kind == "primitive" and description.type.cname != "char":
                is_signed = int(ffi.cast(description.type, -1)) < 0
                largest = 2 ** (8 * ffi.sizeof(description.type) - is_signed) - 1
                made = getattr(L, name)(**{field: largest})
                assert ffi.typeof(made) is ffi.typeof(ffi.getctype(ctype, "*"))
                assert getattr(made, field) == largest, f"{name}.{field}"
                setattr(made, field, 0)
                assert is_zeroed(made), f"{name}.{field}"
                checked += 1
    assert checked > 250


def test_constructor_without_fields_gives_zeroed_memory() -> None:
    """A fresh struct is all zeros, whatever its memory held before."""
    for name, ctype in generic_constructors().items():
        made = getattr(L, name)()
        assert ffi.sizeof(made[0]) == ffi.sizeof(ctype)
        assert is_zeroed(made), name


def test_unknown_field_is_a_type_error() -> None:
    """A misspelt field names itself and the struct."""
    for name in generic_constructors():
        with pytest.raises(TypeError, match=f"{name} has no field 'no_such_field'"):
            getattr(L, name)(no_such_field=1)
    for name in ("__kernel_timespec", "open_how"):
        with pytest.raises(TypeError, match="no_such_field"):
            getattr(L, name)(no_such_field=1)


def test_count_makes_an_array() -> None:
    """With a number, as many zeroed structs in a row."""
    for name, ctype in generic_constructors().items():
        made = getattr(L, name)(3)
        assert len(made) == 3
        assert ffi.sizeof(made) == 3 * ffi.sizeof(ctype)
        assert is_zeroed(made), name
    assert len(L.io_uring_sqe(0)) == 0


def test_count_and_fields_exclude_each_other() -> None:
    """Fields of which of them would be meant?"""
    with pytest.raises(TypeError, match="a count or fields, not both"):
        L.epoll_event(2, events=1)
    with pytest.raises(ValueError, match="negative"):
        L.epoll_event(-1)


def test_field_out_of_range_is_an_overflow_error() -> None:
    """A number that the field cannot hold is refused."""
    for fields in ({"flags": 256}, {"flags": -1}, {"fd": 2**31}, {"user_data": 2**64}):
        with pytest.raises(OverflowError):
            L.io_uring_sqe(**fields)


def test_arrays_nested_structs_and_flexible_members() -> None:
    """Lists, bytes, dicts and lengths initialise what is not a number."""
    assert list(L.io_uring_params(resv=[1, 2, 3]).resv) == [1, 2, 3]
    assert L.io_uring_params(sq_off={"head": 5}).sq_off.head == 5
    assert L.io_uring_sync_cancel_reg(timeout=L.__kernel_timespec(7, 8)[0]).timeout.tv_nsec == 8
    assert ffi.string(L.sockaddr_un(sun_family=1, sun_path=b"/tmp/x").sun_path) == b"/tmp/x"
    assert L.epoll_event(events=1, data={"fd": 4}).data.fd == 4
    assert len(L.io_uring_probe(ops=256).ops) == 256


# --- references ----------------------------------------------------------------------------------


def test_address_goes_into_an_integer_field() -> None:
    """A pointer or an array given for a __u64 is stored as its address."""
    fds = ffi.new("int[]", [7, 8])
    update = L.io_uring_files_update(fds=fds, offset=1)
    assert update.fds == int(ffi.cast("uintptr_t", fds))
    assert ffi.cast("int *", update.fds)[1] == 8
    timeout = L.__kernel_timespec(1, 2)
    assert L.io_uring_getevents_arg(ts=timeout).ts == int(ffi.cast("uintptr_t", timeout))
    with pytest.raises(OverflowError):
        L.io_uring_sqe(opcode=fds)


@pytest.mark.parametrize(
    "make",
    [
        lambda memory: L.io_uring_files_update(fds=memory),
        lambda memory: L.io_uring_zcrx_rq(ring_ptr=memory),
        lambda memory: L.msghdr(msg_name=memory),
        lambda memory: L.msghdr(msg_control=memory),
        lambda memory: L.iovec(b"other", memory),
        lambda memory: L.iovec((memory, 3)),
    ],
    ids=["address", "pointer", "msg_name", "msg_control", "iovec", "iovec of a pair"],
)
def test_struct_keeps_what_it_points_to(make: Callable[[Any], Any]) -> None:
    """Memory given to a constructor lives as long as the struct, and no longer."""
    memory = ffi.new("char[]", b"kept alive")
    alive = weakref.ref(memory)
    made = make(memory)
    address = int(ffi.cast("uintptr_t", memory))
    del memory
    gc.collect()
    assert alive() is not None
    assert ffi.string(ffi.cast("char *", address)) == b"kept alive"
    del made
    gc.collect()
    assert alive() is None


def test_message_keeps_its_vector_and_the_buffers_behind_it() -> None:
    """One name on the msghdr is enough for all that it leads to."""
    buffer = ffi.new("char[]", b"data")
    vector = L.iovec(buffer)
    alive = [weakref.ref(buffer), weakref.ref(vector)]
    header = L.msghdr(msg_iov=vector)
    del buffer, vector
    gc.collect()
    assert all(reference() is not None for reference in alive)
    assert ffi.unpack(ffi.cast("char *", header.msg_iov[0].iov_base), 4) == b"data"
    del header
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


def test_vector_locks_a_bytearray() -> None:
    """A buffer cannot be resized under an iovec; it can be once the vector is gone."""
    data = bytearray(b"0123456789")
    vector = L.iovec(data)
    with pytest.raises(BufferError):
        data.extend(b"more")
    assert vector[0].iov_len == 10
    del vector
    gc.collect()
    data.extend(b"more")


# --- the ones with a signature of their own ------------------------------------------------------


def test_vector_over_each_kind_of_buffer() -> None:
    """Address and length in bytes of whatever has a buffer, of cdata, and of a pair."""
    mapped = mmap.mmap(-1, 7)
    mapped[:] = b"mmapped"
    numbers = array.array("I", [1, 2, 3])
    cdata = ffi.new("uint16_t[]", [5, 6])
    view = memoryview(b"a view of bytes")[2:6]
    buffers = [b"bytes", bytearray(b"array of"), view, mapped, numbers, cdata, (cdata + 1, 2), b""]
    expected = [b"bytes", b"array of", b"view", b"mmapped", numbers.tobytes()]
    expected += [bytes(ffi.buffer(cdata)), bytes(ffi.buffer(cdata + 1, 2)), b""]
    vector = L.iovec(*buffers)
    assert len(vector) == len(buffers)
    assert [bytes(ffi.buffer(entry.iov_base, entry.iov_len)) for entry in vector] == expected
    assert len(L.iovec()) == 0
    with pytest.raises(BufferError):
        mapped.close()
    del vector, view
    gc.collect()
    mapped.close()


@pytest.mark.parametrize("wrong", [5, None, "text", [1, 2]])
def test_vector_over_something_else_is_a_type_error(wrong: Any) -> None:
    """What has no memory to give is refused."""
    with pytest.raises(TypeError):
        L.iovec(wrong)


def test_vector_carries_data_through_the_kernel(ring: Any, tmp_path: Any) -> None:
    """A write from several buffers comes back in a read into others."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    source = L.iovec(b"hello", bytearray(b", "), memoryview(b"world"))
    left, right = bytearray(6), ffi.new("char[]", 6)
    target = L.iovec(left, right)
    try:
        L.io_uring_prep_writev(get_sqe(ring), fd, source, len(source), 0)
        assert [res for _, res, _ in reap(ring)] == [12]
        L.io_uring_prep_readv(get_sqe(ring), fd, target, len(target), 0)
        assert [res for _, res, _ in reap(ring)] == [12]
    finally:
        os.close(fd)
    assert bytes(left) + ffi.buffer(right)[:] == b"hello, world"


def test_message_lengths_follow_what_is_given() -> None:
    """Name, vector and control data bring their lengths along; flags are set; the rest is zero."""
    address = L.sockaddr_in(sin_family=2)
    vector = L.iovec(b"a", b"b", b"c")
    header = L.msghdr(msg_name=address, msg_iov=vector, msg_control=bytearray(24), msg_flags=3)
    assert header.msg_name == ffi.cast("void *", address)
    assert header.msg_namelen == ffi.sizeof("struct sockaddr_in")
    assert (header.msg_iov, header.msg_iovlen) == (vector, 3)
    assert (header.msg_controllen, header.msg_flags) == (24, 3)
    assert is_zeroed(L.msghdr())
    assert L.msghdr(msg_iov=vector + 1).msg_iovlen == 1
    assert L.msghdr(msg_name=b"12345").msg_namelen == 5
    assert L.msghdr(msg_control=ffi.new("struct cmsghdr[2]")).msg_controllen == 2 * ffi.sizeof("struct cmsghdr")


def test_message_lengths_can_be_named() -> None:
    """A length given goes before the object's own, and needs no object."""
    vector = L.iovec(b"a", b"b")
    header = L.msghdr(msg_iov=vector, msg_iovlen=1, msg_name=bytearray(16), msg_namelen=4, msg_controllen=9)
    assert (header.msg_iovlen, header.msg_namelen, header.msg_controllen) == (1, 4, 9)
    assert header.msg_control == ffi.NULL


def test_timespec_and_open_how_take_their_fields_in_order() -> None:
    """Both can be written as in C's initialisers, by position or by name."""
    assert (L.__kernel_timespec().tv_sec, L.__kernel_timespec().tv_nsec) == (0, 0)
    for timeout in (L.__kernel_timespec(3, 4), L.__kernel_timespec(tv_nsec=4, tv_sec=3)):
        assert (timeout.tv_sec, timeout.tv_nsec) == (3, 4)
    how = L.open_how(os.O_RDONLY | os.O_CLOEXEC, 0o640, L.RESOLVE_BENEATH)
    assert (how.flags, how.mode, how.resolve) == (os.O_RDONLY | os.O_CLOEXEC, 0o640, L.RESOLVE_BENEATH)
    assert is_zeroed(L.open_how())


def test_signal_set_has_the_given_signals() -> None:
    """Bit n - 1 stands for signal n; a number that is no signal is a ValueError."""
    mask = L.sigset_t(signal.SIGUSR1, signal.SIGALRM)
    assert ffi.cast("uint64_t *", mask)[0] == 1 << signal.SIGUSR1 - 1 | 1 << signal.SIGALRM - 1
    assert ffi.cast("uint64_t *", L.sigset_t())[0] == 0
    for number in (0, -1, 1000):
        with pytest.raises(ValueError, match=f"{number} is not a signal"):
            L.sigset_t(number)


def test_signal_set_is_the_mask_of_a_wait(ring: Any) -> None:
    """A pending signal that is in the set does not end a wait; one that is not does."""
    handled: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _frame: handled.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        signal.raise_signal(signal.SIGUSR1)
        slot, timeout = L.io_uring_cqe_ptr(), L.__kernel_timespec(0, 1_000_000)
        assert L.io_uring_wait_cqes(ring, slot, 1, timeout, L.sigset_t(signal.SIGUSR1)) == -errno.ETIME
        assert handled == []
        assert L.io_uring_wait_cqes(ring, slot, 1, timeout, L.sigset_t(signal.SIGUSR2)) == -errno.EINTR
        assert handled == [signal.SIGUSR1]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, previous)


def test_cpu_set_has_the_given_cpus(ring: Any) -> None:
    """A bit for each CPU, also beyond the first word; the kernel takes a set of CPUs that exist."""
    words = ffi.cast("unsigned long *", L.cpu_set_t(0, 3, 64, 1023))
    assert [number for number in range(1024) if words[number // 64] >> number % 64 & 1] == [0, 3, 64, 1023]
    for cpu in (-1, 1024):
        with pytest.raises(ValueError, match=f"{cpu} is not a CPU"):
            L.cpu_set_t(cpu)
    usable = L.cpu_set_t(*os.sched_getaffinity(0))
    ret = L.io_uring_register_iowq_aff(ring, ffi.sizeof("cpu_set_t"), usable)
    skip_without("IORING_REGISTER_IOWQ_AFF", ret, errno.EINVAL)
    assert ret == 0


def test_buffer_ring_is_page_aligned_and_can_be_registered(ring: Any) -> None:
    """The kernel takes the memory, and a read picks its buffer from there."""
    entries, size = 8, 16
    buffer_ring = L.io_uring_buf_ring(entries)
    assert int(ffi.cast("uintptr_t", buffer_ring)) % mmap.PAGESIZE == 0
    assert is_zeroed(buffer_ring.bufs[0 : entries - 1])
    ret = L.io_uring_register_buf_ring(ring, L.io_uring_buf_reg(ring_addr=buffer_ring, ring_entries=entries, bgid=3), 0)
    skip_without("IORING_REGISTER_PBUF_RING", ret, errno.EINVAL)
    assert ret == 0
    memory = ffi.new("char[]", entries * size)
    for number in range(entries):
        mask = L.io_uring_buf_ring_mask(entries)
        L.io_uring_buf_ring_add(buffer_ring, memory + number * size, size, number, mask, number)
    L.io_uring_buf_ring_advance(buffer_ring, entries)

    source, sink = os.pipe()
    try:
        os.write(sink, b"picked by kernel")
        sqe = get_sqe(ring)
        L.io_uring_prep_read(sqe, source, ffi.NULL, size, 0)
        L.io_uring_sqe_set_flags(sqe, L.IOSQE_BUFFER_SELECT)
        L.io_uring_sqe_set_buf_group(sqe, 3)
        ((_, res, flags),) = reap(ring)
    finally:
        os.close(source)
        os.close(sink)
    assert res == size
    assert flags & L.IORING_CQE_F_BUFFER
    picked = flags >> L.IORING_CQE_BUFFER_SHIFT
    assert ffi.buffer(memory + picked * size, size)[:] == b"picked by kernel"
    assert L.io_uring_unregister_buf_ring(ring, 3) == 0


def test_buffer_ring_memory_lives_as_long_as_the_pointer() -> None:
    """All entries can be written and read back while the pointer has a name."""
    rings = [L.io_uring_buf_ring(256) for _ in range(4)]
    gc.collect()
    for bid, made in enumerate(rings):
        made.bufs[255].len = 100 + bid
    assert [made.bufs[255].len for made in rings] == [100, 101, 102, 103]
    assert len({int(ffi.cast("uintptr_t", made)) for made in rings}) == 4


def test_cqe_slots() -> None:
    """One slot for `&cqe`, or as many as asked for, all NULL."""
    assert len(L.io_uring_cqe_ptr()) == 1
    assert list(L.io_uring_cqe_ptr(3)) == [ffi.NULL] * 3


# --- macros --------------------------------------------------------------------------------------


def test_for_each_cqe_visits_without_advancing(ring: Any) -> None:
    """The ready CQEs come in order, twice if asked twice, until the queue is advanced."""
    assert list(L.io_uring_for_each_cqe(ring)) == []
    complete_nops(ring, 3)
    for _ in range(2):
        assert [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)] == [0, 1, 2]
    assert L.io_uring_cq_ready(ring) == 3
    L.io_uring_cq_advance(ring, 2)
    assert [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)] == [2]


def test_for_each_cqe_sees_what_was_ready_at_its_first_step(ring: Any) -> None:
    """Completions that arrive during the loop are left for the next one."""
    complete_nops(ring, 2)
    visited = []
    for cqe in L.io_uring_for_each_cqe(ring):
        visited.append(cqe.user_data)
        complete_nops(ring, 1, start=10)
    assert visited == [0, 1]
    assert L.io_uring_cq_ready(ring) == 4


@pytest.mark.parametrize("flags", [0, L.IORING_SETUP_CQE32], ids=["CQE16", "CQE32"])
def test_for_each_cqe_goes_around_the_end(make_ring: Callable[..., Any], flags: int) -> None:
    """The order is kept where the queue wraps, for both sizes of CQE."""
    ring = make_ring(8, flags)
    for start in range(0, 70, 7):
        complete_nops(ring, 7, start)
        assert [cqe.user_data for cqe in L.io_uring_for_each_cqe(ring)] == list(range(start, start + 7))
        L.io_uring_cq_advance(ring, sum(L.io_uring_cqe_nr(cqe) for cqe in L.io_uring_for_each_cqe(ring)))


def test_check_version_tells_whether_the_compiled_one_is_older() -> None:
    """As the macro: false for this version and older ones, true for newer ones."""
    major, minor = L.IO_URING_VERSION_MAJOR, L.IO_URING_VERSION_MINOR
    older = [(major, minor), (major, minor - 1), (major - 1, minor + 1)]
    newer = [(major, minor + 1), (major + 1, 0)]
    assert [L.IO_URING_CHECK_VERSION(*version) for version in older] == [False] * 3
    assert [L.IO_URING_CHECK_VERSION(*version) for version in newer] == [True] * 2
    assert [L.io_uring_check_version(*version) for version in older + newer] == [False] * 3 + [True] * 2


# --- cffi's rules, as the module documents them --------------------------------------------------


def test_struct_pointers() -> None:
    """`T *` takes a pointer, an array, ffi.addressof and ffi.NULL; not None, not another struct."""
    array_of_two = L.io_uring_sqe(2)
    for sqe in (L.io_uring_sqe(), array_of_two, ffi.addressof(array_of_two[1]), array_of_two + 1):
        L.io_uring_prep_close(sqe, 5)
        assert sqe[0].fd == 5
    L.io_uring_free_probe(ffi.NULL)
    for wrong in (None, L.io_uring_params(), 0, b"bytes"):
        with pytest.raises(TypeError):
            L.io_uring_prep_nop(wrong)


def test_list_for_a_pointer_is_a_temporary(ring: Any) -> None:
    """A list is read, but what C writes there is lost; `ffi.new` keeps it."""
    as_list, as_array = [0, 0], ffi.new("unsigned int[]", 2)
    ret = L.io_uring_register_iowq_max_workers(ring, as_list)
    skip_without("IORING_REGISTER_IOWQ_MAX_WORKERS", ret, errno.EINVAL)
    assert (ret, as_list) == (0, [0, 0])
    assert L.io_uring_register_iowq_max_workers(ring, as_array) == 0
    assert min(as_array) > 0


def test_void_pointers() -> None:
    """`void *` takes any pointer and bytes; other buffers only through ffi.from_buffer."""
    sqe = L.io_uring_sqe()
    data = b"bytes"
    for pointer in (ffi.new("int *"), ffi.new("char[]", 3), L.__kernel_timespec(), ffi.cast("void *", 64), ffi.NULL):
        L.io_uring_prep_write(sqe, 0, pointer, 1, 0)
        assert sqe.addr == int(ffi.cast("uintptr_t", pointer))
    L.io_uring_prep_write(sqe, 0, data, len(data), 0)
    assert sqe.addr == int(ffi.cast("uintptr_t", ffi.from_buffer(data)))
    mapped = mmap.mmap(-1, 8)
    for buffer in (bytearray(8), memoryview(data), mapped, array.array("b", [1])):
        with pytest.raises(TypeError):
            L.io_uring_prep_write(sqe, 0, buffer, 1, 0)
        view = ffi.from_buffer(buffer)
        L.io_uring_prep_write(sqe, 0, view, len(view), 0)
        assert sqe.addr == int(ffi.cast("uintptr_t", view))
    del view
    mapped.close()


def test_strings() -> None:
    """`const char *` takes bytes and char arrays; text must be encoded."""
    sqe, path = L.io_uring_sqe(), ffi.new("char[]", b"path")
    L.io_uring_prep_open(sqe, path, 0, 0)
    assert ffi.string(ffi.cast("char *", sqe.addr)) == b"path"
    encoded = os.fsencode("path")
    L.io_uring_prep_open(sqe, encoded, 0, 0)
    assert ffi.string(ffi.cast("char *", sqe.addr)) == b"path"
    with pytest.raises(TypeError):
        L.io_uring_prep_open(sqe, "path", 0, 0)


def test_unsigned_integers() -> None:
    """0 to the maximum; -1 and one too many are OverflowErrors, raised before C is entered."""
    sqe = L.io_uring_sqe()
    L.io_uring_prep_read(sqe, 0, ffi.NULL, 2**32 - 1, 2**64 - 1)
    assert (sqe.len, sqe.off) == (2**32 - 1, 2**64 - 1)
    L.io_uring_prep_close_direct(sqe, 7)
    before = bytes(ffi.buffer(sqe))
    for length, offset in ((0, -1), (0, 2**64), (-1, 0), (2**32, 0)):
        with pytest.raises(OverflowError):
            L.io_uring_prep_read(sqe, 0, ffi.NULL, length, offset)
    with pytest.raises(OverflowError):
        L.io_uring_prep_read(sqe, 2**31, ffi.NULL, 0, 0)
    with pytest.raises(TypeError):
        L.io_uring_prep_read(sqe, 0, ffi.NULL, 1.5, 0)
    assert bytes(ffi.buffer(sqe)) == before


def test_booleans(ring: Any) -> None:
    """`bool` takes True, False, 0 and 1, and no other number."""
    for value in (True, False, 0, 1):
        assert L.io_uring_cq_eventfd_toggle(ring, value) == 0
        assert L.io_uring_cq_eventfd_enabled(ring) is bool(value)
    with pytest.raises(OverflowError):
        L.io_uring_cq_eventfd_toggle(ring, 2)


def test_outputs(ring: Any) -> None:
    """`T **` is a slot that is read as `[0]`, and so is `int *`."""
    complete_nops(ring, 1, start=9)
    for slot in (L.io_uring_cqe_ptr(), ffi.new("struct io_uring_cqe **")):
        assert L.io_uring_peek_cqe(ring, slot) == 0
        assert slot[0].user_data == 9
    error = ffi.new("int *", 99)
    buffer_ring = L.io_uring_setup_buf_ring(ring, 4, 1, 0, error)
    skip_without("IORING_REGISTER_PBUF_RING", error[0], errno.EINVAL)
    assert (buffer_ring != ffi.NULL, error[0]) == (True, 0)
    assert L.io_uring_free_buf_ring(ring, buffer_ring, 4, 1) == 0


def test_user_data_pointers() -> None:
    """The pointer form takes `void *` only; integers have the 64-bit form."""
    sqe = L.io_uring_sqe()
    L.io_uring_sqe_set_data(sqe, ffi.cast("void *", 77))
    assert sqe.user_data == 77
    with pytest.raises(TypeError):
        L.io_uring_sqe_set_data(sqe, 78)
    L.io_uring_sqe_set_data64(sqe, 2**64 - 1)
    assert sqe.user_data == 2**64 - 1


def test_wrong_number_of_arguments_is_a_type_error() -> None:
    """Each parameter must be given, by position."""
    with pytest.raises(TypeError):
        L.io_uring_prep_close(L.io_uring_sqe())
    with pytest.raises(TypeError):
        L.io_uring_prep_nop(sqe=L.io_uring_sqe())
