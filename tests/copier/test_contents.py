"""Every byte arrives, from whatever is a source to whatever is a target."""

from __future__ import annotations

import errno
import mmap
import os
import random
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from copying import BLOCK, run, write

from uring import copy

PAGE = mmap.PAGESIZE


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
    assert vars(result) == {
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
