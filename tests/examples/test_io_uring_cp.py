"""examples/io_uring_cp.py on its own; what it promises together with link_cp.py is tested in test_link_cp.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_style import is_empty

BS = 32 * 1024
READ, WRITE = 0, 1
OpenCopy = Callable[[str, Path, Path], Any]


def test_short_read_at_the_end_of_the_file_is_completed(open_copy: OpenCopy, tmp_path: Path) -> None:
    """When the last read is short, the rest is read by another, and the block is written once, whole."""
    whole = bytes(range(256)) * (3 * BS // 256) + b"end" * 500
    source = tmp_path / "source"
    source.write_bytes(whole[:-600])
    copy = open_copy("io_uring_cp", source, tmp_path / "target")

    def complete_the_source(kind: int, res: int) -> None:
        if (kind, res) == (READ, 900):
            with source.open("ab") as file:
                file.write(whole[-600:])

    copy.on_result = complete_the_source
    copy.copy_file(len(whole))
    transfers = [*[(READ, BS), (WRITE, BS)] * 3, (READ, 900), (READ, 600), (WRITE, 1500)]
    assert sorted(copy.results) == sorted(transfers)
    assert (tmp_path / "target").read_bytes() == whole


def test_a_block_is_written_only_after_it_is_read(open_copy: OpenCopy, tmp_path: Path) -> None:
    """At no time have more bytes been written than read, and a copy that ended has nothing in flight."""
    source = tmp_path / "source"
    source.write_bytes(bytes(200 * BS))
    copy = open_copy("io_uring_cp", source, tmp_path / "target")
    ahead = []

    def compare(_kind: int, _res: int) -> None:
        moved = [sum(res for kind, res in copy.results if kind == which) for which in (READ, WRITE)]
        ahead.append(moved[READ] - moved[WRITE])

    copy.on_result = compare
    copy.copy_file(200 * BS)
    assert len(ahead) == 400
    assert min(ahead) == ahead[-1] == 0
    assert max(ahead) <= 64 * BS
    assert copy.inflight == 0
    assert is_empty(copy.ring)


def test_failed_copy_leaves_nothing_in_flight(open_copy: OpenCopy, tmp_path: Path) -> None:
    """When a write fails, requests that were already submitted are waited for before the error is raised."""
    source = tmp_path / "source"
    source.write_bytes(bytes(200 * BS))
    copy = open_copy("io_uring_cp", source, Path("/dev/full"))
    with pytest.raises(Exception, match="error writing '/dev/full': No space left on device"):
        copy.copy_file(200 * BS)
    assert copy.inflight == 0
    assert is_empty(copy.ring)
