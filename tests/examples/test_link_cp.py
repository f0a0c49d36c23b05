"""examples/link_cp.py on real files; and, by parameters, io_uring_cp.py where the two promise the same."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from c_style import is_empty

BS = 32 * 1024
READ, WRITE = 0, 1
Run = Callable[..., "subprocess.CompletedProcess[str]"]
OpenCopy = Callable[[str, Path, Path], Any]
TWINS = {"link_cp": "link-cp", "io_uring_cp": "io_uring-cp"}

both = pytest.mark.parametrize("program", list(TWINS))


def content(size: int) -> bytes:
    """Bytes that differ from block to block, the same in every run."""
    return random.Random(size).randbytes(size)


def make_file(path: Path, size: int) -> Path:
    """`path`, holding `size` bytes."""
    path.write_bytes(content(size))
    return path


def assert_refused(done: subprocess.CompletedProcess[str], program: str, *words: str) -> None:
    """Status 1, and one line on stderr that begins with the program and has all of `words` in it."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"{program}.py: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def as_plain_user(command: list[str]) -> list[str]:
    """`command`, without root's right to ignore permission bits."""
    if os.geteuid():
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("as root, permissions need setpriv to be tried")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[Path]:
    """A block device of 1 MiB and 512 bytes over a file in `tmp_path`."""
    backing = make_file(tmp_path / "backing", (1 << 20) + 512)
    if shutil.which("losetup") is None:
        pytest.skip("no block device: losetup is not there")
    made = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no block device: {made.stderr.strip()}")
    device = Path(made.stdout.strip())
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


# --- copies that succeed -------------------------------------------------------------------------


@both
@pytest.mark.parametrize("size", [0, 1, BS - 1, BS, BS + 1, 32 * BS, 64 * BS, 64 * BS + 7, (3 << 20) + 12345])
def test_copies_as_the_c_program_does(
    program: str, size: int, run_example: Run, upstream_example: Callable[[str], Path], tmp_path: Path
) -> None:
    """A file of any length is copied whole, and status, output and copy are those of the C program."""
    source = make_file(tmp_path / "source", size)
    theirs = subprocess.run(
        [upstream_example(TWINS[program]), source, tmp_path / "theirs"], capture_output=True, text=True, check=False
    )
    ours = run_example(program, source, tmp_path / "ours")
    assert (
        (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr) == (0, "", "")
    )
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes() == content(size)


@both
def test_copies_a_block_device(
    program: str, loop_device: Path, run_example: Run, upstream_example: Callable[[str], Path], tmp_path: Path
) -> None:
    """A block device is copied to its end, as by the C program."""
    assert run_example(program, loop_device, tmp_path / "ours").returncode == 0
    subprocess.run([upstream_example(TWINS[program]), loop_device, tmp_path / "theirs"], check=True)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes() == (tmp_path / "backing").read_bytes()


@both
def test_replaces_a_longer_destination(program: str, run_example: Run, tmp_path: Path) -> None:
    """Nothing of a longer destination's old content remains behind the copy."""
    source = make_file(tmp_path / "source", 1000)
    target = make_file(tmp_path / "target", 5 * BS)
    assert run_example(program, source, target).returncode == 0
    assert target.read_bytes() == content(1000)


@both
def test_makes_the_destination_with_the_umask(program: str, run_example: Run, tmp_path: Path) -> None:
    """A new destination has mode 0644 less the umask, as with the C program."""
    source = make_file(tmp_path / "source", 1)
    assert run_example(program, source, tmp_path / "target", umask=0o027).returncode == 0
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o640


@both
def test_memory_does_not_grow_with_the_file(
    program: str, example_command: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A file of 256 MiB needs about as much memory as one of 1 MiB."""

    def peak_kib(size: int) -> int:
        source = tmp_path / "sparse"
        source.touch()
        os.truncate(source, size)
        process = subprocess.Popen(example_command(program, source, "/dev/null"))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    assert peak_kib(256 << 20) - peak_kib(1 << 20) < 16 << 10


def test_short_read_at_the_end_of_the_file_is_completed(open_copy: OpenCopy, tmp_path: Path) -> None:
    """When the last read is short, its write is cancelled; the pair is queued again, submitted and completed."""
    whole = content(3 * BS + 1000)
    source = tmp_path / "source"
    source.write_bytes(whole[:-600])
    copy = open_copy("link_cp", source, tmp_path / "target")

    def complete_the_source(kind: int, res: int) -> None:
        if (kind, res) == (READ, 400):
            with source.open("ab") as file:
                file.write(whole[-600:])

    copy.on_result = complete_the_source
    copy.copy_file(len(whole))
    assert sorted(copy.results) == sorted(
        [*[(READ, BS), (WRITE, BS)] * 3, (READ, 400), (WRITE, -errno.ECANCELED), (READ, 600), (WRITE, 1000)]
    )
    assert (tmp_path / "target").read_bytes() == whole


@both
def test_short_write_is_completed(program: str, open_copy: OpenCopy, tmp_path: Path) -> None:
    """When the file's last write is short, the rest of it is written, without reading the block again."""
    size = 40 * BS + 1000
    copy = open_copy(program, make_file(tmp_path / "source", size), tmp_path / "target")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift_the_limit(kind: int, res: int) -> None:
        if (kind, res) == (WRITE, 300):
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    copy.on_result = lift_the_limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 * BS + 300, limits[1]))
    try:
        copy.copy_file(size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    transfers = [*[(READ, BS), (WRITE, BS)] * 40, (READ, 1000), (WRITE, 300), (WRITE, 700)]
    assert sorted(copy.results) == sorted(transfers)
    assert (tmp_path / "target").read_bytes() == content(size)


# --- copies that fail ----------------------------------------------------------------------------


@both
@pytest.mark.parametrize("arguments", [(), ("one",), ("one", "two", "three")])
def test_wants_two_names(program: str, arguments: tuple[str, ...], run_example: Run, tmp_path: Path) -> None:
    """Anything but two names prints the usage and fails."""
    done = run_example(program, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"usage: {program}.py INFILE OUTFILE\n"


@both
def test_source_that_does_not_exist(program: str, run_example: Run, tmp_path: Path) -> None:
    """A missing source is an error, and the destination is not made."""
    done = run_example(program, tmp_path / "missing", tmp_path / "target")
    assert_refused(done, program, "cannot open", str(tmp_path / "missing"), "No such file or directory")
    assert not (tmp_path / "target").exists()


@both
def test_source_that_is_a_directory(program: str, run_example: Run, tmp_path: Path) -> None:
    """A directory is refused as a source, and an existing destination keeps its content."""
    target = make_file(tmp_path / "target", 100)
    assert_refused(run_example(program, tmp_path, target), program, f"'{tmp_path}'", "Is a directory")
    assert target.read_bytes() == content(100)


@both
def test_source_that_has_no_size(program: str, run_example: Run, tmp_path: Path) -> None:
    """A source that is neither a file nor a block device, or hides its size, is refused instead of copied empty."""
    for source, reason in (("/dev/zero", "Neither a regular file"), ("/proc/self/stat", "size is not known")):
        assert_refused(run_example(program, source, tmp_path / "target"), program, source, reason)
        assert not (tmp_path / "target").exists()


@both
def test_source_that_is_shorter_than_its_size(program: str, run_example: Run, tmp_path: Path) -> None:
    """A source that ends before its size says is an error, not a shorter or padded copy."""
    source = Path("/sys/kernel/fscaps")
    if not source.exists() or source.stat().st_size <= len(source.read_bytes()):
        pytest.skip("this kernel lacks /sys/kernel/fscaps")
    assert_refused(run_example(program, source, tmp_path / "target"), program, str(source), "shorter")


@both
@pytest.mark.parametrize("remaining", [0, 100, BS, 40 * BS, 40 * BS + 100])
def test_source_that_shrinks_while_it_is_copied(
    program: str, remaining: int, open_copy: OpenCopy, tmp_path: Path
) -> None:
    """A source that lost its end after its size was read is an error, with nothing left in flight."""
    source = make_file(tmp_path / "source", 50 * BS)
    copy = open_copy(program, source, tmp_path / "target")
    os.truncate(source, remaining)
    with pytest.raises(Exception, match="shorter than it was"):
        copy.copy_file(50 * BS)
    assert copy.inflight == 0
    assert is_empty(copy.ring)


@both
def test_destination_that_is_a_directory(program: str, run_example: Run, tmp_path: Path) -> None:
    """A directory is refused as a destination."""
    source = make_file(tmp_path / "source", 100)
    assert_refused(run_example(program, source, tmp_path), program, "cannot create", f"'{tmp_path}'", "Is a directory")


@both
@pytest.mark.parametrize("way", ["path", "symlink", "hard link"])
def test_destination_that_is_the_source(program: str, way: str, run_example: Run, tmp_path: Path) -> None:
    """A file is not copied onto itself, whatever its second name, and it keeps its content."""
    source = make_file(tmp_path / "source", 100)
    other = tmp_path / "other"
    if way == "symlink":
        other.symlink_to(source)
    elif way == "hard link":
        other.hardlink_to(source)
    else:
        other = source
    assert_refused(run_example(program, source, other), program, str(other), "are the same file")
    assert source.read_bytes() == content(100)


@both
def test_destination_that_is_a_pipe(program: str, run_example: Run, tmp_path: Path) -> None:
    """What cannot be written at an offset is refused: blocks complete in any order."""
    source = make_file(tmp_path / "source", 100)
    done = run_example(program, source, "/dev/stdout")
    assert_refused(done, program, "/dev/stdout", "Illegal seek")


@both
def test_permission_is_denied(program: str, example_command: Callable[..., list[str]], tmp_path: Path) -> None:
    """A source that may not be read and a destination that may not be written are errors, and nothing changes."""
    source = make_file(tmp_path / "source", 100)
    closed = make_file(tmp_path / "closed", 200)
    closed.chmod(0)
    for pair, words in (((closed, tmp_path / "new"), "for reading"), ((source, closed), "cannot create")):
        command = as_plain_user(example_command(program, *pair))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert_refused(done, program, words, str(closed), "Permission denied")
    assert not (tmp_path / "new").exists()
    closed.chmod(0o600)
    assert closed.read_bytes() == content(200)


@both
def test_device_is_full(program: str, run_example: Run, tmp_path: Path) -> None:
    """No space at all is an error."""
    source = make_file(tmp_path / "source", 100 * BS)
    done = run_example(program, source, "/dev/full")
    assert_refused(done, program, "error writing '/dev/full'", "No space left on device")


@both
def test_file_system_gets_full(program: str, example_command: Callable[..., list[str]], tmp_path: Path) -> None:
    """A file system that gets full in the middle of the copy is an error, after what fitted was written."""
    source = make_file(tmp_path / "source", 2 << 20)
    (tmp_path / "small").mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path / "small")]
    if not shutil.which("unshare") or subprocess.run([*unshare, *mount], capture_output=True, check=False).returncode:
        pytest.skip("no private mounts: unshare --mount is refused")
    target = str(tmp_path / "small" / "target")
    # The file system goes away with the namespace, so the copy's blocks are counted inside.
    script = f'{" ".join(mount)} && {{ "$@"; status=$?; stat -c %b {target}; exit $status; }}'
    command = [*unshare, "sh", "-c", script, "sh", *example_command(program, source, target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"{(1 << 20) // 512}\n"
    done.stdout = ""
    assert_refused(done, program, f"error writing '{target}'", "No space left on device")


@both
def test_file_gets_too_large(program: str, example_command: Callable[..., list[str]], tmp_path: Path) -> None:
    """A write that is cut short by a limit is continued, up to the limit exactly, and then the error is told."""
    limit = 3 * BS + 1024
    source = make_file(tmp_path / "source", limit + 1000)
    target = tmp_path / "target"
    command = ["sh", "-c", f'ulimit -f {limit // 512} && exec "$@"', "sh", *example_command(program, source, target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_refused(done, program, f"error writing '{target}'", "File too large")
    assert target.read_bytes() == source.read_bytes()[:limit]


def test_ring_that_cannot_be_made(example_module: Callable[[str], ModuleType]) -> None:
    """A ring that the kernel refuses is explained, instead of used."""
    link_cp = example_module("link_cp")
    with pytest.raises(link_cp.CopyError, match="queue_init: Invalid argument"):
        link_cp.setup_context(1 << 20)
