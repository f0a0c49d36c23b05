"""The copier: every byte arrives, whatever the kernel answers, and a failure never passes for a copy."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import json
import mmap
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from test_probe import denied, privately

from uring import copy

PAGE = mmap.PAGESIZE
BLOCK = 16 << 10


class Stop(Exception):
    """What a test interrupts a copy with."""


def write(path: Path, size: int, seed: int = 0) -> Path:
    """Make a file of random bytes."""
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of random bytes: 40 blocks and a bit."""
    return write(tmp_path / "source", 40 * BLOCK + 123)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The name of a file that does not exist."""
    return tmp_path / "target"


@pytest.fixture(autouse=True)
def nothing_in_flight() -> Iterator[None]:
    """Fail a test after which the kernel may still touch the memory of a copy."""
    yield
    assert copy._pinned == set()


def run(code: str, *arguments: object) -> Any:
    """What a child that runs `code` with `arguments` in sys.argv prints as JSON."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def attempt(source: Path, target: Path) -> str:
    """The code of a child that copies with one block in flight and prints what became of it as JSON."""
    return f"""
import json, os
from uring import copy
try:
    result = copy.copy_file({str(source)!r}, {str(target)!r}, depth=1, block_size={BLOCK})
    found = dict(size=result.size)
except OSError as error:
    found = dict(errno=error.errno, strerror=error.strerror, filename=error.filename,
                 doing=getattr(error, "doing", None), incomplete=getattr(error, "incomplete", None))
print(json.dumps(found | dict(pinned=len(copy._pinned), exists=os.path.exists({str(target)!r}))))
"""


# --- contents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [0, 1, 511, 512, 4095, 4096, 4097, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK, 101 * BLOCK + 777]
)
@pytest.mark.parametrize("depth", [1, 32])
def test_contents_are_equal(tmp_path: Path, target: Path, size: int, depth: int) -> None:
    """A file of any length around the block size arrives whole, with one block in flight and with many."""
    source = write(tmp_path / "source", size)
    result = copy.copy_file(source, target, depth=depth, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()
    assert result.size == size


def test_smallest_blocks(source: Path, target: Path) -> None:
    """One block of 512 bytes at a time copies a file all the same."""
    copy.copy_file(source, target, depth=1, block_size=512)
    assert target.read_bytes() == source.read_bytes()


def test_greatest_depth(source: Path, target: Path) -> None:
    """4096 blocks in flight copy a file all the same."""
    copy.copy_file(source, target, depth=4096, block_size=512)
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("seed", range(50))
def test_random_combinations(tmp_path: Path, target: Path, seed: int) -> None:
    """Contents are equal for sizes, depths and block sizes drawn at random."""
    draw = random.Random(seed)
    depth, block_size = draw.choice([1, 2, 3, 7, 32, 100, 1000]), draw.randrange(512, 100_000)
    source = write(tmp_path / "source", draw.randrange(2_000_000), seed)
    result = copy.copy_file(source, target, depth=depth, block_size=block_size)
    assert target.read_bytes() == source.read_bytes()
    assert result.size == source.stat().st_size


def test_a_sparse_file(tmp_path: Path, target: Path) -> None:
    """Holes are copied as the zeros that they read as."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        for offset in (3 * BLOCK + 5, 64 * BLOCK - 1, 100 * BLOCK):
            file.seek(offset)
            file.write(b"island")
        file.truncate(150 * BLOCK + 9)
    copy.copy_file(source, target, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()


def test_a_file_that_is_one_hole(tmp_path: Path, target: Path) -> None:
    """A file without any data keeps its length."""
    source = tmp_path / "source"
    for size in (PAGE, 10 * BLOCK + 1):
        source.write_bytes(b"")
        os.truncate(source, size)
        copy.copy_file(source, target, block_size=BLOCK)
        assert target.read_bytes() == bytes(size)


def test_the_result(source: Path, target: Path) -> None:
    """The result tells the size and the time, and that nothing had to be done twice."""
    result = copy.copy_file(source, target)
    assert dataclasses.asdict(result) == {
        "size": source.stat().st_size,
        "seconds": result.seconds,
        "short_transfers": 0,
        "retries": result.retries,
    }
    assert result.seconds > 0


def test_names_of_every_kind(tmp_path: Path) -> None:
    """Names may be str, bytes or paths, and of any bytes."""
    source, target = os.fsencode(tmp_path) + b"/\xff\n{}", os.fsencode(tmp_path) + b"/-\xfe"
    Path(os.fsdecode(source)).write_bytes(b"contents")
    copy.copy_file(source, os.fsdecode(target))
    copy.copy_file(Path(os.fsdecode(target)), tmp_path / "third")
    assert (tmp_path / "third").read_bytes() == b"contents"


def test_progress(source: Path, target: Path) -> None:
    """The callback sees the bytes copied rise to the size, and the size as what is expected."""
    seen: list[tuple[int, int]] = []
    copy.copy_file(source, target, depth=4, block_size=BLOCK, progress=lambda *now: seen.append(now))
    size = source.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert {expected for _, expected in seen} == {size}
    assert len(seen) >= 40 // 4


# --- what is a source and what a target --------------------------------------------------------------


def test_a_longer_target_is_cut(source: Path, target: Path) -> None:
    """Nothing of an existing target's contents is left."""
    write(target, 2 * source.stat().st_size, seed=1)
    copy.copy_file(source, target)
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("mode", "umask", "expected"),
    [(0o755, 0o022, 0o755), (0o666, 0o027, 0o640), (0o4777, 0o022, 0o755), (0o444, 0, 0o444)],
)
def test_a_new_target_has_the_sources_permissions(
    source: Path, target: Path, mode: int, umask: int, expected: int
) -> None:
    """Permission bits are the source's less the umask; the set-id bits are not copied."""
    source.chmod(mode)
    before = os.umask(umask)
    try:
        copy.copy_file(source, target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == expected


def test_an_existing_target_keeps_its_permissions(source: Path, target: Path) -> None:
    """Overwriting changes contents, not the mode, nor which file it is."""
    target.touch(mode=0o600)
    inode = target.stat().st_ino
    source.chmod(0o755)
    copy.copy_file(source, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_ino == inode


def test_a_symlinked_target_is_followed(tmp_path: Path, source: Path, target: Path) -> None:
    """The file that a symbolic link names is overwritten; the link stays one."""
    real = write(tmp_path / "real", 10)
    target.symlink_to(real)
    copy.copy_file(source, target)
    assert target.is_symlink()
    assert real.read_bytes() == source.read_bytes()


def test_a_dangling_symlink_is_no_target(tmp_path: Path, source: Path, target: Path) -> None:
    """A symbolic link to nothing is refused, not written through."""
    target.symlink_to(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError) as caught:
        copy.copy_file(source, target)
    assert caught.value.filename == str(target)
    assert not (tmp_path / "nothing").exists()


def test_a_file_of_the_kernels_without_a_size(target: Path) -> None:
    """A file in /proc says that it is empty and is read to its end."""
    copy.copy_file("/proc/self/cmdline", target)
    assert target.read_bytes() == Path("/proc/self/cmdline").read_bytes()


def test_a_file_of_the_kernels_with_a_wrong_size(target: Path) -> None:
    """A file in /sys says that it has a page; what it has less is not taken for a loss."""
    attribute = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not attribute.exists():
        attribute = Path("/sys/kernel/uevent_seqnum")
    assert len(attribute.read_bytes()) < attribute.stat().st_size
    copy.copy_file(attribute, target)
    assert target.read_bytes() == attribute.read_bytes()


def test_a_fifo_as_the_source(tmp_path: Path, source: Path, target: Path) -> None:
    """What comes through a named pipe is copied until its writer closes it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    writer.start()
    seen: list[tuple[int, int]] = []
    copy.copy_file(fifo, target, block_size=BLOCK, progress=lambda *now: seen.append(now))
    writer.join()
    assert target.read_bytes() == source.read_bytes()
    assert seen[-1] == (source.stat().st_size, 0)


def test_a_fifo_as_the_target(tmp_path: Path, source: Path) -> None:
    """A file is written into a named pipe in order."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    copy.copy_file(source, fifo, block_size=BLOCK)
    reader.join()
    assert received == [source.read_bytes()]


def test_a_fifo_without_a_reader_any_more(tmp_path: Path, source: Path) -> None:
    """When the reader of a pipe goes away the copy fails, and the pipe is not removed."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def read_a_little() -> None:
        with fifo.open("rb", buffering=0) as file:
            file.read(10)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    with pytest.raises(BrokenPipeError) as caught:
        copy.copy_file(source, fifo, block_size=BLOCK)
    reader.join()
    assert caught.value.incomplete  # type: ignore[attr-defined]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """A factory of block devices over files."""
    losetup = shutil.which("losetup")
    if os.geteuid() or losetup is None:
        pytest.skip("loop devices need root and the losetup command")
    devices: list[str] = []

    def attach(file: Path) -> Path:
        child = subprocess.run(
            [losetup, "--find", "--show", str(file)], capture_output=True, text=True, timeout=30, check=False
        )
        if child.returncode:
            pytest.skip(f"this kernel lacks loop devices: {child.stderr.strip()}")
        devices.append(child.stdout.strip())
        return Path(devices[-1])

    yield attach
    for device in devices:
        subprocess.run([losetup, "--detach", device], timeout=30, check=True)


def test_a_block_device_as_the_source(tmp_path: Path, target: Path, attach: Callable[[Path], Path]) -> None:
    """A block device is copied whole, with its size as what is expected."""
    image = write(tmp_path / "image", 1 << 20)
    seen: list[tuple[int, int]] = []
    result = copy.copy_file(attach(image), target, progress=lambda *now: seen.append(now))
    assert result.size == 1 << 20
    assert seen[-1] == (1 << 20, 1 << 20)
    assert target.read_bytes() == image.read_bytes()


def test_a_block_device_as_the_target(tmp_path: Path, source: Path, attach: Callable[[Path], Path]) -> None:
    """A file goes to the beginning of a block device; what lies behind it stays."""
    image = write(tmp_path / "image", 1 << 20, seed=1)
    behind = image.read_bytes()[source.stat().st_size :]
    device = attach(image)
    copy.copy_file(source, device)
    assert device.read_bytes() == source.read_bytes() + behind


def test_a_block_device_that_is_too_small(tmp_path: Path, source: Path, attach: Callable[[Path], Path]) -> None:
    """Writing past the end of a block device fails, and the device is named incomplete."""
    device = attach(write(tmp_path / "image", 64 << 10, seed=1))
    with pytest.raises(OSError, match="No space left") as caught:
        copy.copy_file(source, device)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.incomplete  # type: ignore[attr-defined]


# --- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["same name", "hard link", "symbolic link"])
def test_a_file_is_not_copied_onto_itself(source: Path, target: Path, kind: str) -> None:
    """However the target names the source, it is refused, and keeps its contents."""
    contents = source.read_bytes()
    if kind == "same name":
        target = source
    elif kind == "hard link":
        target.hardlink_to(source)
    else:
        target.symlink_to(source)
    with pytest.raises(OSError, match="are the same file") as caught:
        copy.copy_file(source, target)
    assert caught.value.filename == str(source)
    assert not hasattr(caught.value, "incomplete")
    assert source.read_bytes() == contents


def test_a_missing_source(tmp_path: Path, target: Path) -> None:
    """A source that does not exist is named, and no target is made."""
    with pytest.raises(FileNotFoundError) as caught:
        copy.copy_file(tmp_path / "missing", target)
    assert caught.value.filename == str(tmp_path / "missing")
    assert caught.value.doing == "cannot open {} for reading"  # type: ignore[attr-defined]
    assert not target.exists()


def test_a_directory_is_no_source(tmp_path: Path, target: Path) -> None:
    """A directory as the source is refused, and no target is made."""
    with pytest.raises(IsADirectoryError) as caught:
        copy.copy_file(tmp_path, target)
    assert caught.value.filename == str(tmp_path)
    assert not target.exists()


def test_a_directory_is_no_target(tmp_path: Path, source: Path) -> None:
    """A directory as the target is refused."""
    with pytest.raises(IsADirectoryError) as caught:
        copy.copy_file(source, tmp_path)
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be from 1 to 4096, not 0"),
        ({"depth": 4097}, "depth must be from 1 to 4096, not 4097"),
        ({"block_size": 511}, "block_size must be from 512 bytes to 1 GiB, not 511"),
        ({"block_size": (1 << 30) + 1}, "block_size must be from 512 bytes to 1 GiB, not 1073741825"),
    ],
)
def test_values_out_of_range(source: Path, target: Path, options: dict[str, int], message: str) -> None:
    """A depth or block size out of range is refused before any file is opened."""
    with pytest.raises(ValueError, match=message):
        copy.copy_file(source, target, **options)  # type: ignore[arg-type]
    assert not target.exists()


def test_more_memory_than_there_is(source: Path, target: Path) -> None:
    """When there is no memory for the blocks nothing is left behind, not even a ring."""
    found = run(
        f"""
import json, os, resource
from uring import copy
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
before = sorted(os.listdir("/proc/self/fd"))
try:
    copy.copy_file({str(source)!r}, {str(target)!r}, depth=4096, block_size=1 << 30)
except OSError as error:
    print(json.dumps([error.errno, sorted(os.listdir("/proc/self/fd")) == before]))
"""
    )
    assert found == [errno.ENOMEM, True]
    assert not target.exists()


def test_without_io_uring(source: Path, target: Path) -> None:
    """Where io_uring is denied the error says by what, and no target is made."""
    command = denied([sys.executable, "-c", attempt(source, target)])
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    found = json.loads(child.stdout)
    assert found["errno"] == errno.EPERM
    assert found["strerror"].startswith("io_uring cannot be used here: a seccomp filter")
    assert found["filename"] is None
    assert not found["exists"]


# --- short transfers and retries ---------------------------------------------------------------------


def test_a_short_read_breaks_the_chain_and_is_continued(source: Path, target: Path) -> None:
    """When a block's end is missing for a moment, the rest is read once it is there, and written."""
    contents = source.read_bytes()
    middle = BLOCK + 1234

    def progress(copied: int, _expected: int) -> None:
        # The next block is read after this returns, and finds the file ending within it.
        if copied == BLOCK and source.stat().st_size == len(contents):
            os.truncate(source, middle)
        elif source.stat().st_size == middle:
            source.write_bytes(contents)

    result = copy.copy_file(source, target, depth=1, block_size=BLOCK, progress=progress)
    assert target.read_bytes() == contents
    assert result.short_transfers == 1


class Spy:
    """Stands for `lib`: some calls are replaced, the others are the real ones."""

    def __init__(self, **calls: Callable[..., int]) -> None:
        self.__dict__ |= calls

    def __getattr__(self, name: str) -> Any:
        return getattr(copy.fused.lib, name)


@pytest.mark.parametrize("depth", [1, 5, 32])
def test_short_reads_of_many_blocks(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """Blocks that each come in several short reads, all with their links really broken, arrive whole.

    The kernel reads short because it cannot write to the memory behind a certain page; the page is opened when the
    copier goes on with the block.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    real = copy.lib

    def protect(address: int, length: int, how: int) -> None:
        assert libc.mprotect(address, length, how) == 0, os.strerror(ctypes.get_errno())

    def uring_read(*arguments: Any) -> int:
        *_, memory, length, _offset = arguments
        start = int(copy.ffi.cast("uintptr_t", memory))
        first_page, end = start // PAGE * PAGE, -(-(start + length) // PAGE) * PAGE
        protect(first_page, end - first_page, mmap.PROT_READ | mmap.PROT_WRITE)
        if first_page + PAGE < end:
            protect(first_page + PAGE, end - first_page - PAGE, 0)
        return int(real.uring_read(*arguments))

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    write(source, 40 * 4 * PAGE + 123)
    result = copy.copy_file(source, target, depth=depth, block_size=4 * PAGE)
    assert target.read_bytes() == source.read_bytes()
    assert result.short_transfers == 40 * 3


@pytest.mark.parametrize("depth", [1, 5, 32])
def test_short_writes_of_many_blocks(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """Blocks of which each write takes only a part arrive whole.

    Nothing is linked behind a write, so one that is asked for less looks just like one that did less.
    """
    real, draw = copy.lib, random.Random(depth)
    parts = []

    def uring_write(*arguments: Any) -> int:
        *others, length, offset = arguments
        part = draw.randint(1, length)
        if part < length:
            parts.append(part)
        return int(real.uring_write(*others, part, offset))

    monkeypatch.setattr(copy, "lib", Spy(uring_write=uring_write))
    result = copy.copy_file(source, target, depth=depth, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()
    assert result.short_transfers == len(parts) > 40


def test_short_transfers_of_a_stream(
    tmp_path: Path, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pipe gives in pieces, and a file takes in pieces, arrives whole."""
    real = copy.lib
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def uring_write(*arguments: Any) -> int:
        *others, length, offset = arguments
        return int(real.uring_write(*others, -(-length // 2), offset))

    monkeypatch.setattr(copy, "lib", Spy(uring_write=uring_write))
    writer = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    writer.start()
    copy.copy_file(fifo, target, block_size=BLOCK)
    writer.join()
    assert target.read_bytes() == source.read_bytes()


def test_a_read_that_would_block_is_repeated(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that the kernel answers with -EAGAIN breaks the chain, and both requests are made again."""
    real = copy.lib
    engines: list[Any] = []
    refused = []
    attach = copy.fused.attach

    def uring_read(ring: Any, *arguments: Any) -> int:
        ret = int(real.uring_read(ring, *arguments))
        if arguments[-1] not in refused:
            refused.append(arguments[-1])
            queue = engines[0].sq
            # RWF_NOWAIT: rather -EAGAIN than a wait for the disk.
            queue.sqes[(queue.sqe_tail - 1) & queue.ring_mask].rw_flags = 8
        return ret

    def attach_and_keep(ring: Any, room: int) -> Any:
        engines.append(ring)
        return attach(ring, room)

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    monkeypatch.setattr(copy.fused, "attach", attach_and_keep)
    with source.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    result = copy.copy_file(source, target, depth=8, block_size=BLOCK)
    assert target.read_bytes() == source.read_bytes()
    if not result.retries:
        pytest.skip("this file system keeps everything in memory, no read of it would block")


def test_a_chain_that_the_kernel_took_apart_is_an_error(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel stops in the middle of a submit, a write may have lost its link: the copy fails."""
    real = copy.lib
    queued = []

    def uring_read(ring: Any, *arguments: Any) -> int:
        if not queued:
            # What the kernel does not know ends the submit, so that the rest stays in the queue.
            real.uring_nop(ring, copy._CANCEL_TAG, 0)
            ring.ring.sq.sqes[(ring.ring.sq.sqe_tail - 1) & ring.ring.sq.ring_mask].opcode = 255
        queued.append(arguments)
        return int(real.uring_read(ring, *arguments))

    monkeypatch.setattr(copy, "lib", Spy(uring_read=uring_read))
    with pytest.raises(OSError, match="only a part of the requests"):
        copy.copy_file(source, target, depth=5, block_size=BLOCK)
    assert not target.exists()


def test_a_short_write_at_a_limit_is_continued(tmp_path: Path, source: Path, target: Path) -> None:
    """A block that the kernel wrote only up to a limit is written on when the limit is raised."""
    found = run(
        f"""
import json, os, resource, signal
from uring import copy
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, ({BLOCK + 4321}, no_limit[1]))
def progress(copied, expected):
    if os.stat({str(target)!r}).st_size == {BLOCK + 4321}:
        resource.setrlimit(resource.RLIMIT_FSIZE, no_limit)
result = copy.copy_file({str(source)!r}, {str(target)!r}, depth=1, block_size={BLOCK}, progress=progress)
print(json.dumps(result.short_transfers))
"""
    )
    assert found == 1
    assert target.read_bytes() == source.read_bytes()


# --- sources that change -----------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 32])
@pytest.mark.parametrize("existed", [False, True])
def test_a_source_that_shrinks(source: Path, target: Path, depth: int, existed: bool) -> None:
    """When the source gets shorter the copy fails; a new target is removed, an old one is called incomplete."""
    big = write(source, 400 * BLOCK)
    if existed:
        target.write_bytes(b"before")
    with pytest.raises(OSError, match="shrank") as caught:
        copy.copy_file(big, target, depth=depth, block_size=BLOCK, progress=lambda *_: os.truncate(big, 9999))
    assert caught.value.filename == str(big)
    assert caught.value.errno == errno.EIO
    assert caught.value.incomplete is existed  # type: ignore[attr-defined]
    assert target.exists() is existed


def test_a_source_that_grows(source: Path, target: Path) -> None:
    """What is added to the source during the copy is copied too."""
    added = iter([b"x" * (3 * BLOCK + 5), b"y", b"z" * BLOCK])

    def progress(*_: int) -> None:
        with source.open("ab") as file:
            file.write(next(added, b""))

    result = copy.copy_file(source, target, depth=4, block_size=BLOCK, progress=progress)
    assert next(added, None) is None
    assert target.read_bytes() == source.read_bytes()
    assert result.size == source.stat().st_size


# --- failures in between -----------------------------------------------------------------------------


def raising_after(calls: int) -> Callable[[int, int], None]:
    """A progress callback that stops the copy."""
    left = iter(range(calls))

    def progress(*_: int) -> None:
        if next(left, None) is None:
            raise Stop

    return progress


@pytest.mark.parametrize("existed", [False, True])
def test_an_exception_in_progress(source: Path, target: Path, existed: bool) -> None:
    """An exception from the callback ends the copy; a new target is removed, an old one is called incomplete."""
    if existed:
        target.write_bytes(b"before")
    with pytest.raises(Stop) as caught:
        copy.copy_file(source, target, depth=16, block_size=BLOCK, progress=raising_after(2))
    assert caught.value.incomplete is existed  # type: ignore[attr-defined]
    assert target.exists() is existed


def test_an_endless_source_is_interrupted(target: Path) -> None:
    """Copying from a device that never ends goes on until the callback raises."""
    with pytest.raises(Stop):
        copy.copy_file("/dev/zero", target, block_size=BLOCK, progress=raising_after(50))
    assert not target.exists()


def test_a_target_that_was_replaced_is_not_removed(source: Path, target: Path) -> None:
    """A file that somebody put in the target's place during a copy that fails is not ours to remove."""

    def progress(*_: int) -> None:
        target.unlink()
        target.write_bytes(b"somebody's")
        raise Stop

    with pytest.raises(Stop) as caught:
        copy.copy_file(source, target, block_size=BLOCK, progress=progress)
    assert target.read_bytes() == b"somebody's"
    assert caught.value.incomplete  # type: ignore[attr-defined]


@pytest.mark.parametrize("existed", [False, True])
def test_a_full_file_system(tmp_path: Path, source: Path, existed: bool) -> None:
    """ENOSPC names the target; a new one is removed, an old one is called incomplete."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=256k tmpfs '{small}'" + (f"; echo before > '{small}/target'" if existed else "")
    command = privately(mount, [sys.executable, "-c", attempt(source, small / "target")])
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == {
        "errno": errno.ENOSPC,
        "strerror": os.strerror(errno.ENOSPC),
        "filename": str(small / "target"),
        "doing": "error writing {}",
        "incomplete": existed,
        "pinned": 0,
        "exists": existed,
    }


def test_a_device_that_is_full(source: Path) -> None:
    """/dev/full fails with ENOSPC, and is still there."""
    with pytest.raises(OSError, match="No space left") as caught:
        copy.copy_file(source, "/dev/full")
    assert caught.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_limit_on_the_files_size(source: Path, target: Path) -> None:
    """Beyond RLIMIT_FSIZE a write is short, then EFBIG: the copy fails and the target is removed."""
    limit = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({3 * BLOCK + 100}, resource.RLIM_INFINITY))
"""
    found = run(limit + attempt(source, target))
    assert found["errno"] == errno.EFBIG
    assert found["doing"] == "error writing {}"
    assert not found["exists"]


def test_an_unreadable_part_of_the_source(target: Path) -> None:
    """A read error names the source, and the target is removed."""
    with pytest.raises(OSError, match="Input/output error") as caught:
        copy.copy_file("/proc/self/mem", target)
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == "/proc/self/mem"
    assert caught.value.doing == "error reading {}"  # type: ignore[attr-defined]
    assert not target.exists()


# --- signals and threads -----------------------------------------------------------------------------


def test_signals_during_a_copy(tmp_path: Path, target: Path) -> None:
    """Under a storm of signals their Python handlers run, and the contents are right."""
    source = write(tmp_path / "source", 8 << 20)
    ran = []
    before = signal.signal(signal.SIGALRM, lambda *_: ran.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        while len(ran) < 50:
            copy.copy_file(source, target, depth=8, block_size=BLOCK)
            assert target.read_bytes() == source.read_bytes()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_signal_ends_a_wait_for_a_pipe(tmp_path: Path, target: Path) -> None:
    """An exception from a signal's handler ends a copy that waits for a pipe, and nothing is left."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    opened = os.open(fifo, os.O_RDWR)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(Stop):
            copy.copy_file(fifo, target)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(opened)


@contextmanager
def interruption(number: int) -> Iterator[None]:
    """Raise Stop before the n-th bytecode that runs in the copier's module, as a signal's handler may."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != copy.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Stop
        return trace

    # CPython 3.12 asks at settrace() whether anybody wants opcodes.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def open_descriptors() -> set[int]:
    """The numbers of this process's open descriptors."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engines of the copies made in a test, oldest first."""
    seen: list[Any] = []
    initialise = copy._Engine.__init__

    def initialise_and_note(engine: Any, *arguments: Any) -> None:
        initialise(engine, *arguments)
        seen.append(engine)

    monkeypatch.setattr(copy._Engine, "__init__", initialise_and_note)
    return seen


def test_an_exception_between_any_two_steps(tmp_path: Path, target: Path, engines: list[Any]) -> None:
    """Wherever a signal's handler raises, the copy ends, memory in use stays, and no wrong target is unannounced."""
    source = write(tmp_path / "source", 5 * 4096 + 7)
    before = open_descriptors()
    kept = []
    number = 1
    while True:
        try:
            with interruption(number):
                copy.copy_file(source, target, depth=3, block_size=4096)
            break
        except Stop as stop:
            announced = getattr(stop, "incomplete", False)
        left = target.read_bytes() if target.exists() else b""
        assert left in (b"", source.read_bytes()) or announced, number
        for engine in engines:
            assert engine.memory in copy._pinned or engine.ring.submitted == engine.ring.reaped, number
        # A descriptor may be lost between the call that opens it and the name that it is given.
        for fd in open_descriptors() - before:
            os.close(fd)
        kept += copy._pinned
        copy._pinned.clear()
        engines.clear()
        target.unlink(missing_ok=True)
        number += 1 + number // 40
    assert target.read_bytes() == source.read_bytes()
    assert number > 1000


def test_memory_is_kept_when_waiting_for_it_is_interrupted(
    source: Path, target: Path, engines: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the wait for what is in flight is interrupted too, memory and files stay, and a new target is removed."""

    def interrupt(_engine: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(copy._Engine, "_in_flight", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        copy.copy_file(source, target, block_size=BLOCK, progress=raising_after(0))
    assert isinstance(caught.value.__context__, Stop)
    assert not caught.value.incomplete  # type: ignore[attr-defined]
    assert not target.exists()
    assert copy._pinned == {engines[0].memory}
    for fd in (engines[0].source, engines[0].target):
        os.close(fd)
    copy._pinned.clear()


def test_threads_copy_at_the_same_time(tmp_path: Path) -> None:
    """Each of eight threads gets its own file copied."""
    sources = [write(tmp_path / f"source{number}", 50 * BLOCK + number, seed=number) for number in range(8)]
    failures: list[BaseException] = []

    def work(source: Path) -> None:
        try:
            for _ in range(5):
                copy.copy_file(source, source.with_suffix(".copy"), depth=4, block_size=BLOCK)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for source in sources:
        assert source.with_suffix(".copy").read_bytes() == source.read_bytes()


# --- size --------------------------------------------------------------------------------------------


PEAK = """
import json, re, sys
from uring import copy
copy.copy_file(sys.argv[1], sys.argv[2])
with open("/proc/self/status") as file:
    print(json.dumps(int(re.search("VmHWM:\\s*(\\d+) kB", file.read())[1])))
"""


def assert_equal_contents(left: Path, right: Path) -> None:
    """Compare two files piece by piece."""
    pieces = bytearray(1 << 20), bytearray(1 << 20)
    with left.open("rb", buffering=0) as one, right.open("rb", buffering=0) as other:
        while count := one.readinto(pieces[0]):
            assert other.readinto(pieces[1]) == count
            assert pieces[0] == pieces[1]
        assert other.read(1) == b""


def test_a_gibibyte(tmp_path: Path, target: Path) -> None:
    """A file of 1 GiB and an odd number of bytes arrives whole, and takes no more memory than one of 1 MiB."""
    size = (1 << 30) + 12345
    if shutil.disk_usage(tmp_path).free < 3 << 30:
        pytest.skip("there is no room for a copy of 1 GiB")
    draw = random.Random(1)
    source = tmp_path / "source"
    with source.open("wb") as file:
        for offset in (0, size - 1001, *(draw.randrange(size - (1 << 17)) for _ in range(64))):
            file.seek(offset)
            file.write(draw.randbytes(1001 if offset == size - 1001 else 65537))
    assert source.stat().st_size == size
    try:
        peak = run(PEAK, source, target)
        assert_equal_contents(source, target)
    finally:
        target.unlink(missing_ok=True)
    small = run(PEAK, write(tmp_path / "small", 1 << 20), tmp_path / "small copy")
    # 32 blocks of 128 KiB may be in flight, of which 1 MiB touches 8.
    assert peak < small + 6 * 1024
