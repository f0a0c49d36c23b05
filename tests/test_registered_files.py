"""The table of registered files: making and changing it, its slots, and what opens into them."""

from __future__ import annotations

import ast
import copy
import errno
import gc
import os
import pickle
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode

import uring
from uring import ALLOC, FixedFile, Params, RegisteredFile, RegisteredFiles, Ring, RingClosed, WrongThread
from uring import liburing as L

LONG = 10.0


@pytest.fixture(autouse=True)
def chosen_slots() -> None:
    """Slots in a range where the kernel chooses."""
    require_opcode("IORING_OP_SEND_ZC")  # of the same kernel, 6.0


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring whose operations end within 10 seconds."""
    with Ring(16, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Three open files that hold "0", "1" and "2"."""
    fds = []
    for number in range(3):
        (tmp_path / str(number)).write_text(str(number))
        fds.append(os.open(tmp_path / str(number), os.O_RDWR))
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that holds "content"."""
    file = tmp_path / "file"
    file.write_bytes(b"content")
    return file


def content(ring: Ring, file: Any) -> bytes | None:
    """What a registered file holds, None when there is none."""
    buffer = bytearray(16)
    operation = ring.read(file, buffer, 0)
    error = operation.exception(timeout=LONG)
    if error is not None:
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF
        return None
    return bytes(buffer[: operation.result()])


def filled(ring: Ring) -> list[int]:
    """The slots with a file in them, as the kernel knows it."""
    return [slot for slot in range(ring._file_slots.size) if content(ring, FixedFile(slot)) is not None]


def in_thread(call: Callable[[], object]) -> None:
    """Run a call in another thread, and raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised.pop()


# Making a table


def test_registered_files_are_read(ring: Ring, files: list[int], path: Path) -> None:
    """Descriptors, objects and empty slots make a table; its files are those of the descriptors, by index."""
    with path.open("rb") as opened, RegisteredFiles(ring, [files[0], None, opened, files[1]]) as table:
        assert [content(ring, file) for file in table] == [b"0", b"content", b"1"]
        assert [int(file) for file in table] == [0, 2, 3]
        assert table[2] == 2
        assert isinstance(table[2], RegisteredFile)
        assert table[2].table is table
        assert (len(table), table.in_use) == (4, 3)
        assert repr(table) == "<RegisteredFiles 3 of 4 slots in use>"
        assert repr(table[2]) == "<RegisteredFile 2>"


def test_files_stay_open_without_their_descriptors(ring: Ring, path: Path) -> None:
    """The table keeps a file open by itself; the descriptor is the caller's to close."""
    fd = os.open(path, os.O_RDONLY)
    with RegisteredFiles(ring, [fd]) as table:
        os.close(fd)
        assert content(ring, table[0]) == b"content"


def test_closing_the_table_leaves_descriptors_open(ring: Ring, files: list[int]) -> None:
    """What was registered is the caller's: its descriptor still works."""
    with RegisteredFiles(ring, files):
        pass
    assert [os.pread(fd, 1, 0) for fd in files] == [b"0", b"1", b"2"]


def test_a_number_makes_empty_slots(ring: Ring) -> None:
    """With a count all slots are empty; half of them are the kernel's to choose."""
    with RegisteredFiles(ring, 9) as table:
        assert (len(table), table.in_use, table.kernel_range) == (9, 0, range(5, 9))
        assert list(table) == []
        assert filled(ring) == []


@pytest.mark.parametrize(
    ("pattern", "kernel_slots", "expected"),
    [
        ("x.x.", None, range(3, 4)),
        (".x.x", 2, range(4)),
        ("..x.", 2, range(1, 4)),
        ("xx", None, range(0)),
        ("..", 0, range(0)),
    ],
)
def test_the_kernel_chooses_at_the_end(
    ring: Ring, files: list[int], pattern: str, kernel_slots: int | None, expected: range
) -> None:
    """Its range goes to the table's end and has as many empty slots as were asked for; half of them by default."""
    entries = [files[0] if mark == "x" else None for mark in pattern]
    with RegisteredFiles(ring, entries, kernel_slots=kernel_slots) as table:
        assert table.kernel_range == expected


@pytest.mark.parametrize(
    ("argument", "options", "error", "message"),
    [
        pytest.param("01", {}, TypeError, "files must be a list", id="str"),
        pytest.param(True, {}, TypeError, "files must be a list", id="bool"),
        pytest.param(["0"], {}, TypeError, "not str", id="list of str"),
        pytest.param([FixedFile(0)], {}, TypeError, "in the table already", id="registered"),
        pytest.param([], {}, ValueError, "from 1 to 1048576", id="nothing"),
        pytest.param(0, {}, ValueError, "from 1 to 1048576", id="no slots"),
        pytest.param((1 << 20) + 1, {}, ValueError, "from 1 to 1048576", id="too many"),
        pytest.param([-1], {}, ValueError, "not negative", id="negative"),
        pytest.param(2, {"kernel_slots": 3}, ValueError, "from 0 to 2", id="kernel_slots"),
        pytest.param(2, {"kernel_slots": -1}, ValueError, "from 0 to 2", id="negative kernel_slots"),
        pytest.param(2, {"kernel_slots": True}, TypeError, "kernel_slots must be an int", id="kernel_slots bool"),
    ],
)
def test_bad_arguments_register_nothing(
    ring: Ring, argument: Any, options: Any, error: type[Exception], message: str
) -> None:
    """What is no table raises before anything is registered, and a good one can follow."""
    with pytest.raises(error, match=message):
        RegisteredFiles(ring, argument, **options)
    with RegisteredFiles(ring, 1) as table:
        assert len(table) == 1


def test_a_closed_file_is_refused(ring: Ring, path: Path) -> None:
    """A file object that is closed raises ValueError."""
    with path.open("rb") as opened:
        pass
    with pytest.raises(ValueError, match="closed"):
        RegisteredFiles(ring, [opened])


def test_a_bad_descriptor_is_named(ring: Ring, files: list[int]) -> None:
    """EBADF says which of the files is no open descriptor."""
    spare = os.dup(files[0])
    os.close(spare)
    with pytest.raises(OSError, match=f"slot 1 is no open descriptor: {spare}") as caught:
        RegisteredFiles(ring, [files[0], spare])
    assert caught.value.errno == errno.EBADF
    with RegisteredFiles(ring, files) as table:
        assert content(ring, table[1]) == b"1"


def test_a_ring_cannot_be_registered(ring: Ring, files: list[int]) -> None:
    """The kernel refuses a ring's descriptor, which is said."""
    with pytest.raises(OSError, match="slot 1 is a ring") as caught:
        RegisteredFiles(ring, [files[0], ring])
    assert caught.value.errno == errno.EBADF


def test_a_ring_has_one_table(ring: Ring, files: list[int]) -> None:
    """A second table raises, and the first one goes on; when it is closed, another may follow."""
    with RegisteredFiles(ring, files) as table:
        with pytest.raises(RuntimeError, match="has a table of registered files already: close it"):
            RegisteredFiles(ring, 3)
        assert content(ring, table[2]) == b"2"
    with RegisteredFiles(ring, files[1:]) as table:
        assert content(ring, table[0]) == b"1"


def test_a_table_made_in_c_is_in_the_way(ring: Ring) -> None:
    """What was registered through c_ring is not taken away."""
    assert L.io_uring_register_files_sparse(ring.c_ring, 2) == 0
    with pytest.raises(RuntimeError, match="which no RegisteredFiles made"):
        RegisteredFiles(ring, 3)
    assert L.io_uring_unregister_files(ring.c_ring) == 0
    with RegisteredFiles(ring, 3) as table:
        assert len(table) == 3


def test_a_dropped_table_makes_room(ring: Ring, files: list[int]) -> None:
    """A table that nobody refers to stays in the kernel until another one is made."""
    table = RegisteredFiles(ring, files)
    assert content(ring, table[0]) == b"0"
    del table
    gc.collect()
    with RegisteredFiles(ring, files[2:]) as table:
        assert content(ring, table[0]) == b"2"


def test_the_limit_on_open_files() -> None:
    """A table larger than RLIMIT_NOFILE raises EMFILE, which tells what is needed and what there is."""
    code = """if True:
        import errno, resource, uring
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
        with uring.Ring(4) as ring:
            try:
                uring.RegisteredFiles(ring, 200)
            except OSError as error:
                assert error.errno == errno.EMFILE
                print(error)
            print(len(uring.RegisteredFiles(ring, 64)))
    """
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "a table of 200 slots needs an RLIMIT_NOFILE of as much, and it is 64: its hard limit is 128" in child.stdout
    assert child.stdout.endswith("\n64\n")


def test_the_largest_table(ring: Ring) -> None:
    """As many slots as the process may have files open are registered."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(soft, 40_000)
    with RegisteredFiles(ring, count) as table:
        assert len(table) == count


@pytest.mark.parametrize("index", [-1, 3])
def test_index_out_of_range(ring: Ring, files: list[int], index: int) -> None:
    """An index beyond the table raises IndexError."""
    with RegisteredFiles(ring, files) as table, pytest.raises(IndexError, match="from 0 to 2"):
        table[index]


def test_index_of_nothing(ring: Ring, files: list[int]) -> None:
    """An empty slot, one that is held by somebody else, or no number, has no file to give out."""
    with RegisteredFiles(ring, [files[0], None, None]) as table:
        reserved = table.reserve()
        for index in (int(reserved), 2):
            with pytest.raises(LookupError, match=f"slot {index} has no file"):
                table[index]
        with pytest.raises(TypeError, match="not str"):
            table["0"]  # type: ignore[index]


# RegisteredFiles as descriptors


def test_builders_refuse_closed_files(ring: Ring, files: list[int]) -> None:
    """A RegisteredFile that is closed, itself or with its table, raises ValueError and queues nothing."""
    with RegisteredFiles(ring, files) as table:
        first, second = table[0], table[1]
        first.close()
        assert first.closed
        assert repr(first) == "<RegisteredFile 0, closed>"
        with pytest.raises(ValueError, match="registered file 0 is closed"):
            ring.read(first, bytearray(1))
        with pytest.raises(LookupError):
            table[0]
        assert filled(ring) == [1, 2]
    for call in (
        lambda: ring.read(second, bytearray(1)),
        lambda: ring.fsync(second),
        lambda: ring.close_fd(second),
        lambda: ring.fixed_fd_install(second),
        lambda: ring.openat("/", direct=second),
        lambda: ring.splice(second, -1, 0, -1, 1),
    ):
        with pytest.raises(ValueError, match="registered file 1 is closed"):
            call()
    assert ring.statistics().in_flight == 0


def test_builders_refuse_files_of_another_ring(ring: Ring, files: list[int]) -> None:
    """An index of one ring's table means nothing, or another file, to another ring."""
    with Ring(8) as other, RegisteredFiles(other, [*files, None, None]) as table, RegisteredFiles(ring, files):
        slot = table.reserve()
        for call in (
            lambda: ring.read(table[1], bytearray(1)),
            lambda: ring.read(table[1], [bytearray(1)]),
            lambda: ring.poll_add(table[1]),
            lambda: ring.close_fd(table[1]),
            lambda: ring.fixed_fd_install(table[1]),
            lambda: ring.tee(0, table[1], 1),
            lambda: ring.msg_ring_fd(other, table[1]),
            lambda: ring.cancel(table[1]),
            lambda: ring.sync_cancel(table[1]),
            lambda: ring.openat("/", direct=slot),
            lambda: ring.openat("/", direct=table),
            lambda: ring.accept(0, direct=table),
            lambda: ring.socket(direct=slot),
            lambda: ring.pipe(direct=table),
        ):
            with pytest.raises(ValueError, match="another ring"):
                call()
        assert ring.statistics().in_flight == 0


def test_every_builder_names_its_ring() -> None:
    """Each call that makes a descriptor of a builder's argument says for which ring: otherwise nobody would check."""
    exempt = {"send_message", "_registrable", "register_eventfd"}
    package = Path(uring.__file__).parent
    found = 0
    for module in (*(package / "builders").glob("*.py"), package / "registration.py"):
        for function in ast.walk(ast.parse(module.read_text())):
            if not isinstance(function, ast.FunctionDef) or function.name in exempt:
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "file_of":
                    assert len(node.args) == 3, f"{module.name}: {function.name}"
                    found += 1
    assert found > 30


def test_registered_files_are_not_copied(ring: Ring, files: list[int]) -> None:
    """A copy could not hold the slot: copying and pickling raise."""
    with RegisteredFiles(ring, files) as table:
        for call in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                call(table[0])
        assert content(ring, table[0]) == b"0"


def test_operations_do_not_hold_files_once_complete(ring: Ring, path: Path) -> None:
    """A finished operation that is kept does not keep the slot; its description still names the file."""
    with RegisteredFiles(ring, 2) as table:
        file = ring.openat(path, direct=table).result()
        read = ring.read(file, bytearray(16), 0)
        assert read.result() == 7
        index = int(file)
        del file
        assert filled(ring) != [] or table.in_use == 0
        assert table.in_use == 0
        assert f"registered file {index}" in read.description()


@pytest.mark.parametrize(
    "params",
    [
        Params(single_issuer=False, coop_taskrun=False, defer_taskrun=False),
        Params(coop_taskrun=True),
        Params(sqpoll=True, sq_idle_ms=10),
        Params(cqe32=True),
    ],
    ids=["plain", "coop", "sqpoll", "cqe32"],
)
def test_on_rings_of_every_kind(params: Params, files: list[int], path: Path) -> None:
    """Registered files, direct descriptors, chains and updates work however the ring was set up."""
    with Ring(16, params, exit_timeout=LONG) as ring, RegisteredFiles(ring, [files[0], None, None, None]) as table:
        assert content(ring, table[0]) == b"0"
        assert content(ring, table.update(0, files[1])) == b"1"
        file = ring.openat(path, direct=table).result(timeout=LONG)
        assert content(ring, file) == b"content"
        with table.reserve() as slot:
            with ring.chain() as chain:
                ring.openat(path, direct=slot)
                ring.read(slot, bytearray(7), 0)
                ring.close_fd(slot)
            assert [link.result(timeout=LONG) for link in chain] == [slot, 7, None]
        del chain
        file.close()
        assert filled(ring) == [0]
        assert table.in_use == 1


def test_a_link_that_opens_under_a_timeout(ring: Ring, path: Path) -> None:
    """A file that the kernel has placed is the table's before the link's own timeout has posted."""
    with RegisteredFiles(ring, 4) as table:
        with ring.chain(timeout=LONG):
            opened = ring.openat(path, direct=table)
            ring.nop()
        file = opened.result(timeout=LONG)
        with ring.chain(timeout=LONG):
            read = ring.read(file, bytearray(7), 0)
            closed = ring.close_fd(file)
        assert (read.result(timeout=LONG), closed.result(timeout=LONG)) == (7, None)
        assert table.in_use == 0
        assert filled(ring) == []


# Changing it


def test_update_replaces_a_file(ring: Ring, files: list[int]) -> None:
    """A slot has the new file at once; the RegisteredFile of the old one is closed."""
    with RegisteredFiles(ring, files[:2]) as table:
        old = table[0]
        new = table.update(0, files[2])
        assert not new.closed
        assert old.closed
        with pytest.raises(ValueError, match="closed"):
            ring.read(old, bytearray(1))
        assert [content(ring, file) for file in table] == [b"2", b"1"]
        del old
        gc.collect()
        table.update(1, files[1])
        assert [content(ring, file) for file in table] == [b"2", b"1"]


def test_update_of_several_slots(ring: Ring, files: list[int]) -> None:
    """A list replaces, adds and removes in one go."""
    with RegisteredFiles(ring, [*files, None], kernel_slots=0) as table:
        result = table.update(1, [files[0], None, files[1]])
        assert result == [table[1], None, table[3]]
        assert [content(ring, FixedFile(slot)) for slot in range(4)] == [b"0", b"0", None, b"1"]
        assert table.in_use == 3
        assert table.reserve() == 2
        assert table.update(0, []) == []


def test_update_fills_and_empties_slots(ring: Ring, files: list[int]) -> None:
    """A slot that is emptied can be reserved, one that is filled cannot."""
    with RegisteredFiles(ring, 2, kernel_slots=0) as table:
        file = table.update(0, files[0])
        assert content(ring, file) == b"0"
        other = table.reserve()
        assert other == 1
        with pytest.raises(OSError, match="no slot to reserve: of 2 slots 2 are in use") as caught:
            table.reserve()
        assert caught.value.errno == errno.ENFILE
        assert table.update(0, None) is None
        assert filled(ring) == []
        assert table.reserve() == 0


def test_update_stops_at_a_bad_descriptor(ring: Ring, files: list[int]) -> None:
    """The error names the slot; files before it were exchanged, those behind it were not."""
    spare = os.dup(files[0])
    os.close(spare)
    with RegisteredFiles(ring, files) as table:
        with pytest.raises(OSError, match=f"slot 1 is no open descriptor: {spare}"):
            table.update(0, [files[2], spare, files[0]])
        assert [content(ring, FixedFile(slot)) for slot in range(3)] == [b"2", None, b"2"]
        with pytest.raises(OSError, match="slot 2 is a ring"):
            table.update(2, ring)


def test_update_refuses_bad_arguments(ring: Ring, files: list[int]) -> None:
    """No index, no descriptor, slots beyond the end, and slots in other hands raise, and nothing changes."""
    with RegisteredFiles(ring, [files[0], None, None]) as table:
        reserved = table.reserve()
        bad: list[tuple[Any, Any, type[Exception], str]] = [
            ("0", files[1], TypeError, "index must be an int"),
            (0, "1", TypeError, "not str"),
            (0, table[0], TypeError, "in the table already"),
            (3, files[1], ValueError, "from 0 to 2"),
            (2, [files[1], files[1]], ValueError, "from 0 to 2"),
            (-1, files[1], ValueError, "from 0 to 2"),
            (int(reserved), files[1], ValueError, "opened or reserved it"),
            (int(reserved), None, ValueError, "opened or reserved it"),
            (2, files[1], ValueError, "the range where the kernel chooses, 2 to 2"),
        ]
        for index, file, error, message in bad:
            with pytest.raises(error, match=message):
                table.update(index, file)
        assert filled(ring) == [0]


def test_update_submits_what_is_queued(ring: Ring, files: list[int]) -> None:
    """A read that was prepared before reads the file that it was made for."""
    with RegisteredFiles(ring, files) as table:
        buffers = [bytearray(1), bytearray(1)]
        early = ring.read(table[0], buffers[0], 0)
        table.update(0, files[1])
        late = ring.read(table[0], buffers[1], 0)
        assert (early.result(timeout=LONG), late.result(timeout=LONG)) == (1, 1)
        assert buffers == [b"0", b"1"]


def test_update_while_an_operation_runs(ring: Ring, files: list[int]) -> None:
    """A receive that waits stays with the socket that it has; the slot takes another file meanwhile, or none."""
    near, far = socket.socketpair()
    close, distant = socket.socketpair()
    with near, far, close, distant, RegisteredFiles(ring, [near, close], kernel_slots=0) as table:
        buffers = [bytearray(2), bytearray(2)]
        waiting = [ring.recv(file, buffer) for file, buffer in zip(table, buffers, strict=True)]
        assert content(ring, table.update(0, files[1])) == b"1"
        assert table.update(1, None) is None
        assert not any(operation.done() for operation in waiting)
        far.send(b"ab")
        assert waiting[0].result(timeout=LONG) == 2
        distant.send(b"cd")
        assert waiting[1].result(timeout=LONG) == 2
        assert buffers == [b"ab", b"cd"]
        assert content(ring, table[0]) == b"1"
        assert table.in_use == 1
        assert table.update(1, files[2]) == 1
        assert content(ring, table[1]) == b"2"


def test_update_refuses_while_operations_may_not_have_started(ring: Ring, files: list[int]) -> None:
    """A later link looks its file up when it runs, and would get the new one; so would what is drained or forced."""
    reader, writer = os.pipe()
    with RegisteredFiles(ring, files) as table:
        buffer = bytearray(1)
        with ring.chain() as chain:
            ring.read(reader, bytearray(1))
            ring.read(table[0], buffer, 0)
        ring.submit()
        for file in (files[1], None):
            with pytest.raises(RuntimeError, match="may not have started yet names registered file 0"):
                table.update(0, file)
        assert table.update(1, files[2]) == 1
        os.write(writer, b"x")
        assert [link.result(timeout=LONG) for link in chain] == [1, 1]
        assert buffer == b"0"
        for options in ({"drain": True}, {"force_async": True}):
            operation = ring.read(table[0], buffer, 0, **options)  # type: ignore[arg-type]
            with pytest.raises(RuntimeError, match="may not have started"):
                table.update(0, files[1])
            operation.result(timeout=LONG)
        with ring.chain() as chain:
            ring.read(reader, bytearray(1))
            ring.close_fd(table[1])
        ring.submit()
        with pytest.raises(RuntimeError, match="may not have started"):
            table.update(1, files[0])
        os.write(writer, b"x")
        assert [link.result(timeout=LONG) for link in chain] == [1, None]
        flush = ring.fsync(table[0])  # always a worker's
        with pytest.raises(RuntimeError, match="may not have started"):
            table.update(0, files[1])
        flush.result(timeout=LONG)
        table.update(0, files[1])
        assert content(ring, table[0]) == b"1"
    os.close(reader)
    os.close(writer)


def test_update_of_a_closed_file_that_is_still_in_use(ring: Ring, files: list[int]) -> None:
    """A slot whose RegisteredFile was closed can be filled again although an operation still uses the old file."""
    near, far = socket.socketpair()
    with near, far, RegisteredFiles(ring, [near]) as table:
        waiting = ring.recv(table[0], bytearray(1))
        ring.submit()
        table[0].close()
        assert content(ring, table.update(0, files[1])) == b"1"
        far.send(b"x")
        assert waiting.result(timeout=LONG) == 1
        table.close()
        assert ring._file_slots is None


def test_set_alloc_range(ring: Ring, path: Path) -> None:
    """The kernel chooses within the range, `reserve` outside of it, each until it is used up."""
    with RegisteredFiles(ring, 6) as table:
        table.set_alloc_range(1, 2)
        assert table.kernel_range == range(1, 3)
        opened = [ring.openat(path, direct=table).result() for _ in range(2)]
        assert sorted(opened) == [1, 2]
        with pytest.raises(OSError, match="of 6 slots 2 are in use; the kernel chooses among slots 1 to 2") as caught:
            ring.openat(path, direct=table).result()
        assert caught.value.errno == errno.ENFILE
        reserved = [table.reserve() for _ in range(4)]
        assert sorted(reserved) == [0, 3, 4, 5]
        with pytest.raises(OSError, match="no slot to reserve"):
            table.reserve()
        with pytest.raises(ValueError, match="slot 0 is reserved"):
            table.set_alloc_range(0, 1)
        reserved.clear()
        table.set_alloc_range(3, 3)
        opened.clear()
        assert sorted([table.reserve(), table.reserve(), table.reserve()]) == [0, 1, 2]


def test_set_alloc_range_refuses(ring: Ring, path: Path) -> None:
    """What is no range of the table raises, and so does moving it while the kernel is still to choose."""
    with RegisteredFiles(ring, 4) as table:
        for start, length, error in ((4, 0, ValueError), (2, 3, ValueError), (0, -1, ValueError), (0, True, TypeError)):
            with pytest.raises(error):
                table.set_alloc_range(start, length)
        operation = ring.openat(path, direct=table)
        with pytest.raises(RuntimeError, match="still to choose slots"):
            table.set_alloc_range(0, 2)
        assert operation.result(timeout=LONG) == 2
        table.set_alloc_range(0, 2)
        assert sorted([table.reserve(), operation.result()]) == [2, 3]


# Direct descriptors


def test_open_into_a_table(ring: Ring, path: Path) -> None:
    """The kernel chooses a slot, the result is a RegisteredFile, always the same, and no descriptor is made."""
    before = os.listdir("/proc/self/fd")
    with RegisteredFiles(ring, 4) as table:
        for resolve in (0, uring.Resolve.NO_SYMLINKS):
            operation = ring.openat(path, direct=table, resolve=resolve)
            file = operation.result()
            assert isinstance(file, RegisteredFile)
            assert operation.result() is file
            assert file in table.kernel_range
            assert content(ring, file) == b"content"
        assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("resolve", [0, uring.Resolve.NO_SYMLINKS])
def test_open_into_a_reserved_slot(ring: Ring, path: Path, resolve: int) -> None:
    """A reserved slot is known before it is filled, outside of the kernel's range, and is the result."""
    with RegisteredFiles(ring, 4) as table, table.reserve() as slot:
        assert slot not in table.kernel_range
        assert content(ring, slot) is None
        assert ring.openat(path, direct=slot, resolve=resolve).result() is slot
        assert content(ring, slot) == b"content"
        assert filled(ring) == [int(slot)]
    assert ring._file_slots is None


def test_open_fails(ring: Ring, tmp_path: Path) -> None:
    """A file that is not there leaves the slot empty, whoever chose it."""
    with RegisteredFiles(ring, 4) as table:
        slot = table.reserve()
        for direct in (table, slot):
            with pytest.raises(FileNotFoundError):
                ring.openat(tmp_path / "missing", direct=direct).result()
        assert filled(ring) == []
        assert table.in_use == 1


@pytest.mark.parametrize("address", [False, True])
def test_accept_and_socket(ring: Ring, address: bool) -> None:
    """Connections and sockets go into the table, or into reserved slots."""
    with socket.create_server(("127.0.0.1", 0)) as listener, RegisteredFiles(ring, 8) as table:
        for direct in (table, None):
            client = ring.socket(direct=direct or table.reserve()).result()
            server = ring.accept(listener, address=address, direct=direct or table.reserve())  # type: ignore[call-overload]
            ring.connect(client, listener.getsockname()).result(timeout=LONG)
            accepted = server.result(timeout=LONG)
            if address:
                accepted, peer = accepted
                assert peer[0] == "127.0.0.1"
            assert isinstance(accepted, RegisteredFile)
            assert (accepted in table.kernel_range) == (direct is table)
            ring.send(client, b"hello").result(timeout=LONG)
            buffer = bytearray(5)
            ring.recv(accepted, buffer).result(timeout=LONG)
            assert buffer == b"hello"
        assert table.in_use == 2
        del client, server, accepted
        assert table.in_use == 0


def test_pipe(ring: Ring) -> None:
    """A pipe's ends go into two slots that the kernel chooses, or into a pair that was reserved."""
    require_opcode("IORING_OP_PIPE")
    with RegisteredFiles(ring, 6) as table:
        for direct in (table, table.reserve_pair()):
            reader, writer = ring.pipe(direct=direct).result()
            assert isinstance(reader, RegisteredFile)
            assert ring.write(writer, b"x").result() == 1
            assert ring.read(reader, bytearray(1)).result() == 1
            assert table.in_use == 4 - 2 * (direct is not table) or reader == direct[0]
        with pytest.raises(TypeError, match="two slots side by side"):
            ring.pipe(direct=table.reserve())
        with pytest.raises(TypeError, match="two RegisteredFiles"):
            ring.pipe(direct=(0, 1))  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="side by side"):
            ring.pipe(direct=(writer, reader))


def test_pipe_where_the_kernel_does_not_choose(ring: Ring) -> None:
    """Without slots for the kernel a pipe takes two of ours that lie side by side."""
    require_opcode("IORING_OP_PIPE")
    with RegisteredFiles(ring, 4, kernel_slots=0) as table:
        slots = [table.reserve() for _ in range(4)]
        slots[0].close()
        slots[2].close()
        with pytest.raises(OSError, match="no two slots side by side") as caught:
            ring.pipe(direct=table)
        assert caught.value.errno == errno.ENFILE
        slots[3].close()
        reader, writer = ring.pipe(direct=table).result()
        assert (int(reader), int(writer)) == (2, 3)


def test_reserve_where_the_kernel_does_not_choose(ring: Ring, path: Path) -> None:
    """With kernel_slots=0 `direct=table` takes a slot of ours, and gives it back."""
    with RegisteredFiles(ring, 2, kernel_slots=0) as table:
        files = [ring.openat(path, direct=table).result() for _ in range(2)]
        assert sorted(files) == [0, 1]
        with pytest.raises(OSError, match="no slot to reserve: of 2 slots 2 are in use") as caught:
            ring.openat(path, direct=table)
        assert caught.value.errno == errno.ENFILE
        files.clear()
        with ring.chain():
            ring.nop()
            with pytest.raises(ValueError, match="skip_success"):
                ring.openat(path, direct=table, skip_success=True)
        assert table.in_use == 0


def test_a_kernel_without_ranges(path: Path) -> None:
    """Where a range cannot be registered the table chooses all slots; asking for kernel_slots says so."""
    with Ring(8, Params(disabled=True)) as ring:
        allowed = ("FILES2", "FILES", "FILES_UPDATE")
        registers = [getattr(L, f"IORING_REGISTER_{name}") for name in allowed]
        ring.restrict(
            opcodes=[L.IORING_OP_OPENAT, L.IORING_OP_READ],
            register_ops=[*registers, L.IORING_UNREGISTER_FILES],
            sqe_flags_allowed=L.IOSQE_FIXED_FILE,
        )
        ring.enable()
        with pytest.raises(OSError, match="register_file_alloc_range"):
            RegisteredFiles(ring, 4, kernel_slots=2)
        with RegisteredFiles(ring, 4) as table:
            assert table.kernel_range == range(0)
            files = [ring.openat(path, direct=table).result() for _ in range(4)]
            assert sorted(files) == [0, 1, 2, 3]
            assert content(ring, files[2]) == b"content"
            files.clear()
            with pytest.raises(OSError, match="register_file_alloc_range"):
                table.set_alloc_range(0, 1)


def test_numbers_as_direct_keep_working(ring: Ring, path: Path) -> None:
    """With an index or ALLOC the result is a FixedFile that the table does not look after, until it adopts it."""
    with RegisteredFiles(ring, 4) as table:
        named = ring.openat(path, direct=0).result()
        chosen = ring.openat(path, direct=ALLOC).result()
        assert type(named) is type(chosen) is FixedFile
        assert chosen in table.kernel_range
        assert table.in_use == 0
        with table.adopt(named) as first, table.adopt(chosen) as second:
            assert table.in_use == 2
            with table.reserve() as slot:
                assert slot == 1
                with pytest.raises(OSError, match="no slot to reserve"):
                    table.reserve()
            assert content(ring, first) == content(ring, second) == b"content"
            with pytest.raises(ValueError, match=f"slot {int(chosen)} is held"):
                table.adopt(chosen)
        assert filled(ring) == []
        for index, error in ((4, ValueError), ("0", TypeError), (-1, ValueError)):
            with pytest.raises(error):
                table.adopt(index)  # type: ignore[arg-type]


def test_chain_over_a_slot_that_is_not_open_yet(ring: Ring, path: Path) -> None:
    """Open, read and close run as one chain over a reserved slot, as often as one likes."""
    with RegisteredFiles(ring, 2) as table, table.reserve() as slot:
        for options in ({}, {"skip_success": True}):
            buffer = bytearray(7)
            with ring.chain() as chain:
                ring.openat(path, direct=slot, **options)  # type: ignore[call-overload]
                ring.read(slot, buffer, 0)
                ring.close_fd(slot)
            assert [link.result(timeout=LONG) for link in chain] == [slot, 7, None]
            assert buffer == b"content"
            assert filled(ring) == []
        assert not slot.closed


def test_close_fd_closes_the_registered_file(ring: Ring, files: list[int], path: Path) -> None:
    """After a close_fd nothing new names the file, not even before that is complete; its slot is free again."""
    with RegisteredFiles(ring, [files[0], None, None]) as table:
        for file in (table[0], ring.openat(path, direct=table).result()):
            closing = ring.close_fd(file)
            with pytest.raises(ValueError, match="being closed"):
                ring.read(file, bytearray(1))
            assert closing.result(timeout=LONG) is None
            assert file.closed
            with pytest.raises(ValueError, match="is closed"):
                ring.close_fd(file)
        assert table.in_use == 0
        assert sorted(table.reserve() for _ in range(1)) in ([0], [1])


def test_close_fd_that_does_not_run(ring: Ring, path: Path) -> None:
    """When its chain breaks before, or is left by an exception, the file is still open and can be used."""
    with RegisteredFiles(ring, 2) as table:
        file = ring.openat(path, direct=table).result()
        with ring.chain():
            ring.nop(result=-errno.EIO)
            close = ring.close_fd(file)
        assert isinstance(close.exception(timeout=LONG), uring.ChainBroken)
        with pytest.raises(ZeroDivisionError):
            leave_a_chain(ring, file)
        assert content(ring, file) == b"content"
        file.close()
        assert filled(ring) == []


def leave_a_chain(ring: Ring, file: RegisteredFile) -> None:
    """Record a close, and leave the chain by an exception."""
    with ring.chain():
        ring.close_fd(file)
        raise ZeroDivisionError


def test_a_slot_that_the_kernel_fills_again_is_not_emptied(ring: Ring, path: Path, files: list[int]) -> None:
    """A file that close_fd has closed does not take its successor in the same slot along when it is dropped."""
    with RegisteredFiles(ring, 1, kernel_slots=1) as table:
        old = ring.openat(path, direct=table).result()
        with ring.chain():
            ring.close_fd(old)
            opened = ring.openat(files_path(files[1]), direct=table)
        new = opened.result(timeout=LONG)
        assert old == new
        assert old.closed
        del old
        gc.collect()
        assert table.in_use == 1
        assert content(ring, new) == b"1"


def test_a_slot_that_the_kernel_fills_before_we_know(ring: Ring, path: Path) -> None:
    """The slot of a file that close_fd has closed is not emptied: the kernel may have filled it again unnoticed."""
    with RegisteredFiles(ring, 1, kernel_slots=1) as table:
        old = ring.openat(path, direct=table).result()
        pin = old._lease.pin  # as an operation that names it keeps it
        ring.close_fd(old).result(timeout=LONG)
        opened = ring.openat(path, direct=table)
        ring.submit()  # where the open runs at once, the slot is full, and we have not looked at the completion
        assert pin is not None
        del pin
        assert table.in_use == 0
        assert content(ring, opened.result(timeout=LONG)) == b"content"


def files_path(fd: int) -> str:
    """The path of an open file."""
    return os.readlink(f"/proc/self/fd/{fd}")


def test_fixed_fd_install(ring: Ring, path: Path) -> None:
    """A RegisteredFile becomes an ordinary descriptor, which outlives it."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    with RegisteredFiles(ring, 2) as table:
        file = ring.openat(path, direct=table).result()
        install = ring.fixed_fd_install(file)
        del file
        fd = install.result(timeout=LONG)
        assert table.in_use == 0
        assert os.pread(fd, 16, 0) == b"content"
        os.close(fd)


def test_a_file_goes_to_another_ring(ring: Ring, path: Path) -> None:
    """A message puts a RegisteredFile into another ring's table, which adopts what the kernel chose or it reserved."""
    with Ring(8) as other, RegisteredFiles(ring, 2) as table, RegisteredFiles(other, 4) as theirs:
        file = ring.openat(path, direct=table).result()
        message = ring.msg_ring_fd(other, file, user_data=5)
        chosen = message.result(timeout=LONG)
        (notice,) = other.peek()
        assert isinstance(notice, uring.Completion)
        assert notice.res == chosen
        adopted = theirs.adopt(notice.res)
        reserved = theirs.reserve()
        ring.msg_ring_fd(other, file, int(reserved), skip_cqe=True).result(timeout=LONG)
        file.close()
        assert filled(ring) == []
        assert content(other, adopted) == content(other, reserved) == b"content"
        assert theirs.in_use == 2


# Letting go


def test_a_dropped_file_is_emptied(ring: Ring, path: Path) -> None:
    """A slot is empty at the table's next call after its RegisteredFile is gone, or when that is closed."""
    with RegisteredFiles(ring, 4) as table:
        for direct in (table, table.reserve()):
            opened = ring.openat(path, direct=direct)
            file = opened.result()
            assert filled(ring) == [int(file)]
            del opened, direct
            file.close()
            file.close()
            assert filled(ring) == []
        file = ring.openat(path, direct=table).result()
        del file
        assert table.in_use == 0
        assert filled(ring) == []


def test_a_result_that_nobody_takes_is_emptied(ring: Ring, path: Path) -> None:
    """An open that completes and is dropped, or is abandoned before or after, leaves no file behind."""
    with RegisteredFiles(ring, 4) as table:
        ring.openat(path, direct=table)
        ring.wait()
        gc.collect()
        assert table.in_use == 0
        early = ring.openat(path, direct=table)
        early.abandon()
        late = ring.openat(path, direct=table)
        ring.wait()
        ring.nop(drain=True).result(timeout=LONG)
        assert early.completion.res >= 0
        assert table.in_use == 1
        late.abandon()
        assert table.in_use == 0
        assert filled(ring) == []
        with pytest.raises(ValueError, match="abandoned"):
            late.result()


def test_an_abandoned_open_into_a_reserved_slot(ring: Ring, path: Path) -> None:
    """The slot is emptied when both the open is complete and the slot is dropped, whichever is first."""
    with RegisteredFiles(ring, 2) as table:
        operation = ring.openat(path, direct=table.reserve())
        operation.abandon()
        del operation
        assert table.in_use == 1
        ring.submit()
        ring.nop(drain=True).result(timeout=LONG)
        assert table.in_use == 0
        assert filled(ring) == []


def test_a_slot_outlives_its_file_while_operations_name_it(ring: Ring, path: Path) -> None:
    """Prepared and linked operations keep the slot of a RegisteredFile that is closed, until they are complete."""
    reader, writer = os.pipe()
    with RegisteredFiles(ring, 1, kernel_slots=0) as table:
        file = ring.openat(path, direct=table).result()
        buffers = [bytearray(7), bytearray(7)]
        prepared = ring.read(file, buffers[0], 0)
        with ring.chain():
            ring.read(reader, bytearray(1))
            linked = ring.read(file, buffers[1], 0)
        file.close()
        assert table.in_use == 1
        with pytest.raises(OSError, match="no slot"):
            table.reserve()
        assert prepared.result(timeout=LONG) == 7
        assert table.in_use == 1
        os.write(writer, b"x")
        assert linked.result(timeout=LONG) == 7
        assert buffers == [b"content", b"content"]
        assert table.in_use == 0
        assert table.reserve() == 0
    os.close(reader)
    os.close(writer)


def test_opening_works_off_what_was_dropped(ring: Ring, path: Path) -> None:
    """In a table of one slot the next open succeeds as soon as the file before is dropped."""
    for kernel_slots in (0, 1):
        with RegisteredFiles(ring, 1, kernel_slots=kernel_slots) as table:
            for _ in range(3):
                assert content(ring, ring.openat(path, direct=table).result()) == b"content"


def test_dropped_in_another_thread(ring: Ring, path: Path) -> None:
    """A destructor in another thread only notes it; the ring's thread empties the slot, at its next call."""
    with RegisteredFiles(ring, 2) as table:
        files = [ring.openat(path, direct=table).result()]
        index = int(files[0])
        in_thread(files.clear)
        assert ring._notes == [table._slots]
        assert [lease.slot for lease in table._slots.released] == [index]
        assert filled(ring) == []
        assert table.in_use == 0


def test_another_thread_may_not_use_the_table(ring: Ring, files: list[int]) -> None:
    """Everything but destructors and plain looks raises WrongThread."""
    with RegisteredFiles(ring, [*files, None]) as table:
        for call in (
            lambda: RegisteredFiles(ring, 1),
            lambda: table.update(0, files[1]),
            lambda: table.set_alloc_range(3, 1),
            lambda: table.adopt(3),
            table.reserve,
            table.reserve_pair,
            table.close,
            table[0].close,
            lambda: ring.openat("/", direct=table),
        ):
            with pytest.raises(WrongThread):
                in_thread(call)
        in_thread(lambda: table.in_use)
        assert [content(ring, file) for file in table] == [b"0", b"1", b"2"]


# The end


def test_a_closed_table_takes_nothing(ring: Ring, files: list[int]) -> None:
    """Each method of a closed table raises ValueError; closing again does nothing."""
    table = RegisteredFiles(ring, files)
    table.close()
    table.close()
    assert table.closed
    assert table.in_use == 0
    assert repr(table) == "<RegisteredFiles closed>"
    assert list(table) == []
    for call in (
        lambda: table[0],
        lambda: table.update(0, files[1]),
        lambda: table.set_alloc_range(0, 1),
        lambda: table.adopt(0),
        table.reserve,
        table.reserve_pair,
        lambda: ring.openat("/", direct=table),
    ):
        with pytest.raises(ValueError, match="table of registered files is closed"):
            call()


def test_the_ring_closes_the_table(files: list[int], path: Path) -> None:
    """Table and files are closed with their ring; dropping them later does no harm."""
    with Ring(8) as ring:
        table = RegisteredFiles(ring, [*files, None, None])
        file = ring.openat(path, direct=table).result()
        slot = table.reserve()
    assert table.closed
    assert file.closed
    with pytest.raises(RingClosed):
        table.reserve()
    with pytest.raises(RingClosed):
        table.update(0, files[1])
    with slot:
        pass
    file.close()
    table.close()
    assert (table.in_use, list(table)) == (0, [])
    del file, slot, table, ring
    gc.collect()


def test_operations_outlive_the_table(files: list[int]) -> None:
    """What is queued when the table's block ends still runs: the kernel keeps its table until it is complete."""
    with Ring(8, exit_timeout=LONG) as ring:
        buffer = bytearray(1)
        with RegisteredFiles(ring, files) as table:
            operation = ring.read(table[1], buffer, 0)
        assert table.closed
        with pytest.raises(RuntimeError, match="operations still use the table"):
            RegisteredFiles(ring, files)
        assert operation.result(timeout=LONG) == 1
        assert buffer == b"1"
        with RegisteredFiles(ring, files[2:]) as table:
            assert content(ring, table[0]) == b"2"


def test_an_open_that_outlives_the_table(ring: Ring, path: Path) -> None:
    """A file that arrives in a table that is closed is closed as well, before another table follows."""
    with RegisteredFiles(ring, 2) as table:
        operation = ring.openat(path, direct=table)
    with pytest.raises(RuntimeError, match="operations still use the table"):
        RegisteredFiles(ring, 2)
    assert operation.exception(timeout=LONG) is None
    assert operation.result().closed
    with RegisteredFiles(ring, 2):
        assert filled(ring) == []


def test_an_exception_in_the_block(files: list[int]) -> None:
    """Leaving by an exception closes table and ring with operations outstanding, and loses no descriptor."""
    outstanding: list[Any] = []

    def fail(near: socket.socket) -> None:
        with Ring(8) as ring, RegisteredFiles(ring, [near, *files]) as table:
            outstanding.append(ring.recv(table[0], bytearray(1)))
            ring.submit()
            raise ZeroDivisionError

    near, far = socket.socketpair()
    with near, far, pytest.raises(ZeroDivisionError):
        fail(near)
    assert isinstance(outstanding[0].exception(), RingClosed)


def test_dropping_the_ring_with_its_table(files: list[int]) -> None:
    """A table does not keep its ring from being closed: when both are dropped there is no cycle between them."""
    gc.collect()
    gc.disable()
    try:
        ring = Ring(4)
        table = RegisteredFiles(ring, files)
        assert content(ring, table[0]) == b"0"
        fd = ring.fileno()
        rings = [(ring, table, table[1])]
        del ring, table
        with pytest.warns(ResourceWarning, match="unclosed"):
            rings.clear()
        assert not os.path.exists(f"/proc/self/fd/{fd}")
    finally:
        gc.enable()


# Notices


def test_on_release(ring: Ring, files: list[int]) -> None:
    """The callback is told of each file once the kernel has let go of it: replaced, removed, or with the table."""
    released: list[tuple[int, Any]] = []
    with RegisteredFiles(ring, [*files, None], on_release=lambda *told: released.append(told)) as table:
        table.update(0, files[1])
        assert ring.peek() == []
        assert released == [(0, files[0])]
        table.update(1, None)
        table[2].close()
        ring.peek()
        assert released[1:] == [(1, files[1]), (2, files[2])]
        spare = os.dup(files[0])
        os.close(spare)
        with pytest.raises(OSError, match="no open descriptor"):
            table.update(1, [files[0], spare])
        del released[:]
    ring.peek()
    assert sorted(released) == [(0, files[1]), (1, files[0])]
    assert ring._tags == {}


def test_on_release_waits_for_operations(ring: Ring, files: list[int]) -> None:
    """A file that an operation still uses is not released; the wait for that operation tells of both."""
    released: list[int] = []
    near, far = socket.socketpair()
    with near, far, RegisteredFiles(ring, [near], on_release=lambda index, _: released.append(index)) as table:
        receive = ring.recv(table[0], bytearray(1))
        table.update(0, files[0])
        assert ring.peek() == []
        assert released == []
        far.send(b"x")
        assert ring.wait(1, timeout=LONG) == [receive]
        ring.peek()
        assert released == [0]


def test_on_release_does_not_count_as_an_operation(ring: Ring, files: list[int]) -> None:
    """A wait for one operation does not end with a notice alone; an exception of the callback is raised by it."""

    def callback(index: int, _: object) -> None:
        if index:
            raise ZeroDivisionError

    with RegisteredFiles(ring, files, on_release=callback) as table:
        timeout = ring.timeout(0.05)
        table.update(0, files[1])
        assert ring.wait(1, timeout=LONG) == [timeout]
        table.update(1, None)
        with pytest.raises(ZeroDivisionError):
            ring.peek()
        table.update(2, None)
        with pytest.raises(ZeroDivisionError):
            ring.peek()


def test_refused_tables_leave_no_notices(ring: Ring, files: list[int]) -> None:
    """When the kernel refuses the files nobody waits to be told."""
    with pytest.raises(OSError, match="slot 1 is a ring"):
        RegisteredFiles(ring, [files[0], ring], on_release=print)
    assert ring._tags == {}
