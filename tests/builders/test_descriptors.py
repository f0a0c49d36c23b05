"""Opening, closing and registering files: what the results are, and that no descriptor and no slot is ever lost."""

from __future__ import annotations

import errno
import gc
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode, skip_without

from uring import liburing as L
from uring.builders.direct import ALLOC
from uring.builders.paths import MKDIRAT
from uring.errors import Unsupported
from uring.flags import Resolve
from uring.operation import Operation, State
from uring.ring import Ring
from uring.types import FixedFile

SLOTS = 3


@pytest.fixture
def ring() -> Iterator[Ring]:
    """Open a ring whose operations must all end within 10 seconds."""
    with Ring(16, exit_timeout=10.0) as ring:
        yield ring


@pytest.fixture
def table(ring: Ring) -> Ring:
    """Register a table of three empty slots with that ring."""
    require_opcode("IORING_OP_SOCKET")  # as old as slots that the kernel chooses
    assert L.io_uring_register_files_sparse(ring.c_ring, SLOTS) == 0
    return ring


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Open the test's own folder, in which a `file` and a folder `sub` lie."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "sub").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read_and_close(fd: int) -> bytes:
    """Return what an open file holds, and close it."""
    with open(fd, "rb") as file:
        return file.read()


def outcome(operation: Operation[Any]) -> int:
    """Return what the kernel answered."""
    operation.exception()
    return operation.completion.res


def content(ring: Ring, slot: int) -> bytes | None:
    """Return what the file in a slot holds, None for an empty slot."""
    buffer = bytearray(16)
    res = outcome(ring.read(FixedFile(slot), buffer, 0))
    assert res >= 0 or res == -errno.EBADF
    return None if res < 0 else bytes(buffer[:res])


def used_slots(ring: Ring) -> list[int]:
    """Return the slots in which there is a readable file."""
    return [slot for slot in range(SLOTS) if content(ring, slot) is not None]


def descriptors() -> set[str]:
    """Return the numbers of all open descriptors."""
    with os.scandir("/proc/self/fd") as entries:
        return {entry.name for entry in entries if os.path.lexists(entry.path)}


def finish(ring: Ring) -> None:
    """Wait until nothing is in flight, and drop what is handed out."""
    for _ in ring:
        pass


# Opening


@pytest.mark.parametrize("form", [str, os.fsencode, Path], ids=["str", "bytes", "PathLike"])
def test_openat_by_any_path(ring: Ring, folder: int, tmp_path: Path, form: Callable[[Path], Any]) -> None:
    """A path is str, bytes or PathLike; the result is a descriptor that other programs do not inherit."""
    fd = ring.openat(form(tmp_path / "file")).result()
    assert type(fd) is int
    assert not os.get_inheritable(fd)
    assert read_and_close(fd) == b"content"


def test_openat_starts_at_dir_fd(ring: Ring, folder: int) -> None:
    """A relative path starts at the directory that `dir_fd` names."""
    assert read_and_close(ring.openat("file", dir_fd=folder).result()) == b"content"


def test_openat_starts_at_the_current_folder(
    ring: Ring, folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `dir_fd` a relative path starts at the current folder."""
    monkeypatch.chdir(tmp_path)
    assert read_and_close(ring.openat("file").result()) == b"content"


def test_openat_creates(ring: Ring, folder: int, tmp_path: Path) -> None:
    """O_CREAT makes a file with the mode asked for, by default 0o666, less the umask."""
    umask = os.umask(0o027)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        for name, mode, expected in (("default", (), 0o640), ("strict", (0o600,), 0o600)):
            os.close(ring.openat(name, flags, *mode, dir_fd=folder).result())
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == expected
        with pytest.raises(FileExistsError):
            ring.openat("strict", flags, dir_fd=folder).result()
    finally:
        os.umask(umask)


def test_openat_flags_of_an_unnamed_file(ring: Ring, folder: int) -> None:
    """O_TMPFILE makes a file without a name, through openat and openat2 alike."""
    for resolve in (0, Resolve.BENEATH):
        operation = ring.openat(".", os.O_TMPFILE | os.O_RDWR, 0o600, dir_fd=folder, resolve=resolve)
        skip_without("O_TMPFILE on the file system of the tests", outcome(operation), errno.EOPNOTSUPP)
        fd = operation.result()
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
        os.close(fd)


def test_openat_errors_carry_the_path(ring: Ring, folder: int, tmp_path: Path) -> None:
    """A failure is of its class, with the path as it was given in `filename` and the operation in the message."""
    for path in (str(tmp_path / "missing"), os.fsencode(tmp_path / "missing"), tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="openat on") as caught:
            ring.openat(path).result()
        assert caught.value.filename == os.fspath(path)
    with pytest.raises(NotADirectoryError):
        ring.openat("file", os.O_DIRECTORY, dir_fd=folder).result()
    with pytest.raises(IsADirectoryError):
        ring.openat("sub", os.O_WRONLY, dir_fd=folder).result()
    with pytest.raises(OSError, match="File name too long"):
        ring.openat("a" * 256, dir_fd=folder).result()
    closed = os.dup(folder)
    os.close(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        ring.openat("file", dir_fd=closed).result()


def test_resolve_chooses_openat2(ring: Ring, folder: int, tmp_path: Path) -> None:
    """With `resolve` the path is held to rules, and the default mode is no obstacle to openat2."""
    (tmp_path / "link").symlink_to("file")
    inside = ring.openat("file", dir_fd=folder, resolve=Resolve.BENEATH)
    assert inside.opcode == "OPENAT2"
    assert read_and_close(inside.result()) == b"content"
    with pytest.raises(OSError, match="cross-device") as caught:
        ring.openat(f"../{tmp_path.name}/file", dir_fd=folder, resolve=Resolve.BENEATH).result()
    assert caught.value.errno == errno.EXDEV
    with pytest.raises(OSError, match="symbolic links") as caught:
        ring.openat("link", dir_fd=folder, resolve=Resolve.NO_SYMLINKS).result()
    assert caught.value.errno == errno.ELOOP
    made = ring.openat("made", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder, resolve=Resolve.BENEATH)
    os.close(made.result())
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o600


def test_wide_flags_choose_openat2(ring: Ring, folder: int) -> None:
    """Flags that an int cannot hold go to openat2, which refuses those that it does not know."""
    operation = ring.openat("file", 1 << 40, dir_fd=folder)
    assert operation.opcode == "OPENAT2"
    with pytest.raises(OSError, match="Invalid argument"):
        operation.result()


def test_path_is_kept_until_the_end(ring: Ring, folder: int, tmp_path: Path) -> None:
    """The memory of a path lives as long as the operation needs it, and no longer."""
    operation = ring.openat(str(tmp_path / "file"), force_async=True)
    assert operation._memory is not None
    gc.collect()
    assert read_and_close(operation.result()) == b"content"
    assert operation._memory is None


# Descriptors that nobody takes


def test_dropped_descriptor_is_closed(ring: Ring, folder: int) -> None:
    """A descriptor whose operation was handed out and dropped without asking for the result is closed."""
    before = descriptors()
    operations = [ring.openat("file", dir_fd=folder) for _ in range(5)]
    assert len(ring.wait(5)) == 5
    assert len(descriptors() - before) == 5
    operations.clear()
    gc.collect()
    assert descriptors() == before


def test_descriptor_that_was_never_handed_out_is_closed(folder: int) -> None:
    """A descriptor that nobody has waited for is closed with its ring."""
    before = descriptors()
    with Ring(8, exit_timeout=10.0) as ring:
        ring.openat("file", dir_fd=folder)
    gc.collect()
    assert descriptors() == before


def test_taken_descriptor_is_the_callers(ring: Ring, folder: int) -> None:
    """A descriptor whose number was told stays open when the operation goes, even when it is abandoned then."""
    operation = ring.openat("file", dir_fd=folder)
    fd = operation.result()
    operation.abandon()
    del operation
    gc.collect()
    assert read_and_close(fd) == b"content"


def test_abandoned_descriptor_is_closed(ring: Ring, folder: int) -> None:
    """Abandoning an open that is complete closes its descriptor at once."""
    before = descriptors()
    operation = ring.openat("file", dir_fd=folder)
    assert operation.exception() is None
    assert descriptors() != before
    operation.abandon()
    assert descriptors() == before
    assert operation.state is State.ABANDONED


def test_descriptor_that_arrives_late_is_closed(folder: int, tmp_path: Path) -> None:
    """An open that was abandoned while it was in flight closes the descriptor that it brings."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Ring(8, exit_timeout=10.0) as ring:
        operation = ring.openat(fifo, force_async=True)  # waits in a worker for somebody who writes
        ring.submit()
        assert not operation.done()
        operation.abandon()
        writer = os.open(fifo, os.O_WRONLY)
    try:
        assert operation.completion.res >= 0
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"nobody reads")
    finally:
        os.close(writer)


def test_closing_the_ring_keeps_a_finished_open(folder: int) -> None:
    """A descriptor that is there when its ring closes can still be taken."""
    with Ring(8, exit_timeout=10.0) as ring:
        operation = ring.openat("file", dir_fd=folder)
    assert read_and_close(operation.result()) == b"content"


# Direct descriptors


def test_open_into_a_named_slot(table: Ring, folder: int) -> None:
    """With `direct` a file goes into that slot, in place of what is there, and there is no new descriptor."""
    before = descriptors()
    for resolve in (0, Resolve.BENEATH):
        file = table.openat("file", dir_fd=folder, direct=2, resolve=resolve).result()
        assert file == FixedFile(2)
        assert isinstance(file, FixedFile)
        assert content(table, 2) == b"content"
    assert descriptors() == before
    assert used_slots(table) == [2]


def test_open_into_a_free_slot(table: Ring, folder: int) -> None:
    """With ALLOC the kernel chooses slots, tells which, and says when none is free."""
    files = [table.openat("file", dir_fd=folder, direct=ALLOC).result() for _ in range(SLOTS)]
    assert sorted(files) == list(range(SLOTS))
    assert all(isinstance(file, FixedFile) for file in files)
    assert used_slots(table) == [0, 1, 2]
    with pytest.raises(OSError, match="openat on 'file'") as caught:
        table.openat("file", dir_fd=folder, direct=ALLOC).result()
    assert caught.value.errno == errno.ENFILE


def test_close_on_exec_means_nothing_in_a_slot(table: Ring, folder: int) -> None:
    """O_CLOEXEC beside `direct` is left out: the kernel would refuse it."""
    assert table.openat("file", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder, direct=0).result() == 0


def test_open_into_no_slot(ring: Ring, folder: int) -> None:
    """Without a table there is no slot: ENXIO."""
    with pytest.raises(OSError, match="openat on 'file'") as caught:
        ring.openat("file", dir_fd=folder, direct=0).result()
    assert caught.value.errno == errno.ENXIO


def test_chain_through_a_slot(table: Ring, folder: int) -> None:
    """A chain opens into a slot, reads from it and closes it, in one submit; its successes can be skipped."""
    if not table.features & L.IORING_FEAT_LINKED_FILE:
        pytest.skip("this kernel lacks IORING_FEAT_LINKED_FILE")
    buffer = bytearray(16)
    with table.chain(hard=True) as chain:
        table.openat("file", dir_fd=folder, direct=1, skip_success=True)
        table.read(FixedFile(1), buffer, 0)
        table.close_fd(FixedFile(1))
    assert [link.result() for link in chain] == [FixedFile(1), 7, None]
    assert buffer[:7] == b"content"
    assert used_slots(table) == []


def test_chosen_slot_is_emptied_when_nobody_takes_it(table: Ring, folder: int) -> None:
    """A slot that the kernel chose is free again when its operation goes without having told the number."""
    operations: list[Operation[Any]] = [table.openat("file", dir_fd=folder, direct=ALLOC) for _ in range(SLOTS)]
    finish(table)
    assert used_slots(table) == [0, 1, 2]
    kept = operations[1].result()
    operations.clear()
    gc.collect()
    assert used_slots(table) == [kept]


def test_named_slot_stays(table: Ring, folder: int) -> None:
    """A slot that the caller named keeps its file when the operation goes: its number was known before."""
    table.openat("file", dir_fd=folder, direct=1)
    finish(table)
    gc.collect()
    assert used_slots(table) == [1]


def test_abandoned_slot_is_emptied(table: Ring, folder: int) -> None:
    """Abandoning a direct open empties its slot, whoever chose that, before or after it is complete."""
    for slot in (1, ALLOC):
        done = table.openat("file", dir_fd=folder, direct=slot)
        assert done.exception() is None
        assert len(used_slots(table)) == 1
        done.abandon()
        assert used_slots(table) == []
        early = table.openat("file", dir_fd=folder, direct=slot)
        early.abandon()
        table.nop(drain=True).result()
        assert early.completion.res >= 0
        assert used_slots(table) == []


def test_slot_that_is_dropped_in_another_thread(table: Ring, folder: int) -> None:
    """The last reference may go anywhere: another thread must touch neither that ring's table nor its own."""
    operations = [table.openat("file", dir_fd=folder, direct=ALLOC)]
    finish(table)
    theirs: list[int] = []

    def drop() -> None:
        with Ring(8, exit_timeout=10.0) as ring:
            assert L.io_uring_register_files_sparse(ring.c_ring, SLOTS) == 0
            for slot in range(SLOTS):
                ring.openat("file", dir_fd=folder, direct=slot).result()
            operations.clear()
            theirs.extend(used_slots(ring))

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert theirs == list(range(SLOTS))
    assert len(used_slots(table)) == 1


def test_slot_that_is_dropped_after_its_ring(folder: int) -> None:
    """An operation with a slot may outlive its ring, whose table is gone by then."""
    with Ring(8, exit_timeout=10.0) as ring:
        assert L.io_uring_register_files_sparse(ring.c_ring, SLOTS) == 0
        operation = ring.openat("file", dir_fd=folder, direct=ALLOC)
    assert isinstance(operation.result(), FixedFile)
    operation = ring = None  # type: ignore[assignment]
    gc.collect()


def test_old_kernel_has_no_slots(ring: Ring, folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that would ignore a slot, and so close descriptor 0, is told apart: Unsupported names 5.15."""
    monkeypatch.setattr(MKDIRAT, "missing", True)
    for call in (lambda: ring.openat("file", dir_fd=folder, direct=0), lambda: ring.close_fd(FixedFile(0))):
        with pytest.raises(Unsupported, match="direct descriptors") as caught:
            call()
        assert caught.value.since == "5.15"
    assert ring.statistics().in_flight == 0


# Closing


def test_close_fd_closes(ring: Ring, folder: int) -> None:
    """A descriptor is closed once, with None; a second time it is EBADF."""
    fd = os.dup(folder)
    assert ring.close_fd(fd).result() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    with pytest.raises(OSError, match=rf"close_fd on fd {fd}"):
        ring.close_fd(fd).result()


def test_close_fd_empties_a_slot(table: Ring, folder: int) -> None:
    """A FixedFile, or an int with fixed_file=True, empties its slot, once."""
    for file, options in ((FixedFile(1), {}), (1, {"fixed_file": True})):
        table.openat("file", dir_fd=folder, direct=1).result()
        assert table.close_fd(file, **options).result() is None
        assert used_slots(table) == []
        with pytest.raises(OSError, match="Bad file descriptor"):
            table.close_fd(file, **options).result()


def test_close_fd_takes_no_object(ring: Ring, tmp_path: Path) -> None:
    """An object would not learn that its descriptor is closed, so only what detach() gives is taken."""
    with (tmp_path / "file").open("wb", buffering=0) as file:
        with pytest.raises(TypeError, match="detach"):
            ring.close_fd(file)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="bool"):
            ring.close_fd(True)
        assert file.write(b"still open") == 10


def test_close_of_the_ring_is_another_thing() -> None:
    """`close` without a descriptor is the ring's own."""
    ring = Ring(4)
    ring.close()
    assert ring.closed


# From slots to descriptors and back


def test_fixed_fd_install(table: Ring, folder: int) -> None:
    """A registered file gets an ordinary descriptor of its own, not inherited unless asked for."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    file = table.openat("file", dir_fd=folder, direct=0).result()
    for flags, inheritable in ((0, False), (L.IORING_FIXED_FD_NO_CLOEXEC, True)):
        fd = table.fixed_fd_install(file, flags).result()
        assert os.get_inheritable(fd) is inheritable
        assert os.pread(fd, 16, 0) == b"content"
        os.close(fd)
    assert content(table, 0) == b"content"
    with pytest.raises(OSError, match="Bad file descriptor"):
        table.fixed_fd_install(FixedFile(1)).result()


def test_dropped_install_is_closed(table: Ring, folder: int) -> None:
    """A descriptor that was installed and not taken is closed."""
    require_opcode("IORING_OP_FIXED_FD_INSTALL")
    before = descriptors()
    table.openat("file", dir_fd=folder, direct=0)
    table.fixed_fd_install(FixedFile(0), drain=True)
    finish(table)
    gc.collect()
    assert descriptors() == before


def test_fixed_fd_install_needs_a_registered_file(ring: Ring, folder: int) -> None:
    """An ordinary descriptor is refused at once."""
    with pytest.raises(TypeError, match="expected a FixedFile, not int"):
        ring.fixed_fd_install(folder)  # type: ignore[arg-type]


def test_files_update_fills_named_slots(table: Ring, tmp_path: Path) -> None:
    """Descriptors and objects go into the slots from the offset on, -1 empties one and -2 leaves it."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    with (tmp_path / "a").open("rb") as a, (tmp_path / "b").open("rb") as b:
        updated = table.files_update([a, b.fileno()], 1).result()
        assert updated == [FixedFile(1), FixedFile(2)]
        assert all(isinstance(file, FixedFile) for file in updated)
        assert [content(table, slot) for slot in range(SLOTS)] == [None, b"a", b"b"]
        assert table.files_update([b, -1, L.IORING_REGISTER_FILES_SKIP], 0).result() == [0, 1, 2]
    assert [content(table, slot) for slot in range(SLOTS)] == [b"b", None, b"b"]


def test_files_update_chooses_slots(table: Ring, folder: int, tmp_path: Path) -> None:
    """Without an offset the kernel chooses free slots and the result tells which; the table keeps the file."""
    assert table.openat("file", dir_fd=folder, direct=1).result() == 1
    with (tmp_path / "file").open("rb") as first, (tmp_path / "file").open("rb") as second:
        slots = table.files_update([first, second]).result()
    assert sorted(slots) == [0, 2]
    assert used_slots(table) == [0, 1, 2]
    with (tmp_path / "file").open("rb") as third, pytest.raises(OSError, match="files_update") as caught:
        table.files_update([third]).result()
    assert caught.value.errno == errno.ENFILE


def test_files_update_tells_how_far_it_came(table: Ring, folder: int) -> None:
    """A descriptor that is not open ends the update: the slots before it are the result, EBADF if there is none."""
    with open("/dev/null", "rb") as null:
        closed = os.dup(null.fileno())
        os.close(closed)
        assert table.files_update([null, closed, null], 0).result() == [0]
    with pytest.raises(OSError, match="Bad file descriptor"):
        table.files_update([closed], 0).result()


def test_chosen_slots_of_an_update_are_emptied_when_nobody_takes_them(table: Ring, folder: int, tmp_path: Path) -> None:
    """Slots that the kernel chose are free again when nobody was told of them; named ones stay."""
    with (tmp_path / "file").open("rb") as file:
        table.files_update([file, file])
        finish(table)
        gc.collect()
        assert used_slots(table) == []
        table.files_update([file, file], 0)
        finish(table)
        gc.collect()
        assert used_slots(table) == [0, 1]


@pytest.mark.parametrize(
    ("files", "offset", "error"),
    [
        pytest.param(3, 0, TypeError, id="no list"),
        pytest.param([], 0, ValueError, id="empty list"),
        pytest.param([FixedFile(1)], 0, TypeError, id="registered already"),
        pytest.param([True], 0, TypeError, id="bool"),
        pytest.param(["0"], 0, TypeError, id="str"),
        pytest.param([-3], 0, ValueError, id="no meaning"),
        pytest.param([-1], ALLOC, ValueError, id="nothing to choose a slot for"),
        pytest.param([0], -1, ValueError, id="negative offset"),
        pytest.param([0], 1.0, TypeError, id="offset that is no int"),
        pytest.param([0], True, TypeError, id="offset that is a bool"),
    ],
)
def test_files_update_refuses(ring: Ring, files: Any, offset: Any, error: type[Exception]) -> None:
    """What is no list of descriptors, or no slot, is refused before anything is queued."""
    with pytest.raises(error):
        ring.files_update(files, offset)
    assert ring.statistics().in_flight == 0
