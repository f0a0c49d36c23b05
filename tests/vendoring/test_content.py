"""Only the pinned content is accepted, and it comes into place whole or not at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from vendor_room import (
    COMMIT,
    LOCKED,
    PACKAGE,
    RELEASE,
    UPSTREAM,
    VARIABLE,
    Site,
    assert_in_place,
    assert_nothing_placed,
    body,
    read_files,
    refusal,
    sha256,
    tarball,
    write_files,
)

# --- the digest decides --------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["folder", "tarball", "release", "package"])
def test_wrong_content_is_refused_by_every_route(
    vendor: ModuleType, upstream: Site, apt: Callable[[str], None], give: Callable[[Any], Path], route: str
) -> None:
    """A source that differs stops the build with one message: the file, both digests, what to do."""
    wrong = {**UPSTREAM, "src/setup.c": b"int other;\n"}
    if route == "folder":
        give(wrong)
    elif route == "tarball":
        give(tarball(wrong))
    elif route == "release":
        upstream.answers[RELEASE] = body(tarball(wrong))
    # A right source further down the list does not hide a wrong one.
    upstream.answers[PACKAGE] = body(tarball(wrong if route == "package" else UPSTREAM))
    apt(f"echo {upstream.url}")

    message = refusal(vendor)
    assert "is not the pinned liburing 2.15" in message
    assert f"expected: digest {vendor.Lock.load().digest} (commit {COMMIT})" in message
    found = vendor.total_digest(vendor.file_digests({name: wrong[name] for name in LOCKED}))
    assert f"found:    digest {found}" in message
    assert f"src/setup.c: expected {sha256(LOCKED['src/setup.c'])}, found {sha256(wrong['src/setup.c'])}" in message
    assert f"Name the right source in {VARIABLE}" in message
    assert_nothing_placed(vendor)


def test_source_without_a_locked_file_is_refused(vendor: ModuleType, upstream: Site) -> None:
    """A source that lacks a locked file is not the pinned one, and the message names the file."""
    upstream.answers[RELEASE] = body(tarball({k: v for k, v in UPSTREAM.items() if k != "src/liburing.map"}))
    assert "src/liburing.map: missing" in refusal(vendor)
    assert_nothing_placed(vendor)


def test_message_about_another_version_stays_short(vendor: ModuleType, upstream: Site) -> None:
    """When most files differ, ten are named and the rest is counted."""
    upstream.answers[RELEASE] = body(tarball(dict.fromkeys(LOCKED, b"other")))
    message = refusal(vendor)
    assert message.count(": expected ") == 10
    assert f"and {len(LOCKED) - 10} more" in message


def _change(tree: Path) -> str:
    (tree / "src/setup.c").write_bytes(b"I" + LOCKED["src/setup.c"][1:])
    return f"src/setup.c: expected {sha256(LOCKED['src/setup.c'])}, found "


def _add(tree: Path) -> str:
    (tree / "src/include/stdio.h").write_bytes(b"")
    return "src/include/stdio.h: not in the lock"


def _remove(tree: Path) -> str:
    (tree / "LICENSE").unlink()
    return "LICENSE: missing"


def _link(tree: Path) -> str:
    (tree / "src/setup.c").rename(tree.parent / "elsewhere.c")
    (tree / "src/setup.c").symlink_to(tree.parent / "elsewhere.c")
    return "found a symbolic link"


def _link_folder(tree: Path) -> str:
    (tree / "src/more").symlink_to("/usr/include")
    return "src/more: not in the lock"


def _pipe(tree: Path) -> str:
    (tree / "LICENSE").unlink()
    os.mkfifo(tree / "LICENSE")
    return "found a special file"


@pytest.mark.parametrize("tamper", [_change, _add, _remove, _link, _link_folder, _pipe])
def test_tampered_tree_is_refused(vendor: ModuleType, upstream: Site, tamper: Callable[[Path], str]) -> None:
    """A tree that is not exactly the pinned one stops the build; it is neither used nor replaced."""
    upstream.answers[RELEASE] = body(tarball(UPSTREAM))
    words = tamper(write_files(vendor.TREE, LOCKED))
    message = refusal(vendor)
    assert words in message
    assert f"Remove {vendor.TREE} and build again" in message
    assert upstream.asked == []
    assert words in refusal(vendor, lambda: vendor.check(vendor.Lock.load()))


def test_members_that_lead_out_of_the_archive_are_ignored(vendor: ModuleType, upstream: Site, tmp_path: Path) -> None:
    """Absolute and climbing names, links and devices of an archive are not unpacked, whoever names them."""
    packed = io.BytesIO(tarball(UPSTREAM, "w"))
    with tarfile.open(fileobj=packed, mode="a") as archive:
        for name in ("../evil.c", "/evil.c", "liburing-2.15/../evil.c", "liburing-2.15/src/../../evil.c", "evil.c"):
            archive.addfile(tarfile.TarInfo(name))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo("liburing-2.15/LICENSE")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    upstream.answers[RELEASE] = body(packed.getvalue())
    vendor.materialise()
    assert_in_place(vendor)
    assert list(tmp_path.rglob("evil.c")) == []
    for name in ("src/../../evil.c", "/src/evil.c", "src//evil.c"):
        assert not vendor.matches_wanted(name)


# --- placing -------------------------------------------------------------------------------------


def test_write_that_fails_halfway_leaves_nothing(vendor: ModuleType, give: Callable[[Any], Path]) -> None:
    """When the disk takes some files and refuses another, there is a message and no half tree."""
    give(UPSTREAM)
    # No file larger than 1 KiB can be written: src/setup.c is.
    command = f"ulimit -f 1; exec '{sys.executable}' '{vendor.HERE}/vendor.py'"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{vendor.TREE} cannot be written" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_placed(vendor)


def test_two_builds_at_once_end_with_one_tree(vendor: ModuleType, upstream: Site) -> None:
    """Two processes that both found no tree both end well, and one whole tree is there."""
    both_here = threading.Barrier(2)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        both_here.wait(10)
        body(tarball(UPSTREAM))(handler)

    upstream.answers[RELEASE] = answer
    command = [sys.executable, str(vendor.HERE / "vendor.py")]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    printed = [build.communicate(timeout=30)[0].decode() for build in builds]
    assert [build.returncode for build in builds] == [0, 0], printed
    assert_in_place(vendor)


def test_slower_of_two_builds_refuses_the_wrong_tree_of_the_faster(vendor: ModuleType, upstream: Site) -> None:
    """A tree that appears while another build fetches is not overwritten, and is checked like any other."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        write_files(vendor.TREE, {**LOCKED, "LICENSE": b"other"})
        body(tarball(UPSTREAM))(handler)

    upstream.answers[RELEASE] = answer
    assert "LICENSE: expected " in refusal(vendor)
    assert (vendor.TREE / "LICENSE").read_bytes() == b"other"
    assert sorted(os.listdir(vendor.HERE)) == ["liburing.lock", "upstream", "vendor.py"]


# --- the real thing ------------------------------------------------------------------------------


def test_real_tree_is_the_pinned_one_and_mit_licensed(repository: Path) -> None:
    """The tree that this build stands on matches its lock, and each source in it may be used under the MIT licence."""
    script = repository / "vendor" / "liburing" / "vendor.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    files = read_files(repository / "vendor" / "liburing" / "upstream")
    sources = [name for name in files if name.endswith((".c", ".h"))]
    assert len(sources) > 30
    assert [name for name in sources if b"MIT" not in files[name].split(b"\n", 1)[0]] == []
