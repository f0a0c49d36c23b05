"""The lock, and the command line by which maintainers check it and pin another version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from vendor_room import (
    COMMIT,
    LOCKED,
    UPSTREAM,
    assert_in_place,
    assert_nothing_placed,
    pin,
    read_files,
    refusal,
    write_files,
)

Run = Callable[..., tuple[int, str, str]]


# --- the lock ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": None}, "'version' is None"),
        ({"version": 2.15}, "'version' is 2.15"),
        ({"version": "2.15-rc1"}, "'version' is '2.15-rc1'"),
        ({"repository": "upstream"}, "'repository' is 'upstream'"),
        ({"commit": "d41bf92"}, "'commit' is 'd41bf92'"),
        ({"digest": ""}, "'digest' is ''"),
        ({"files": None}, "'files' does not map"),
        ({"files": {}}, "'files' does not map"),
        ({"files": ["LICENSE"]}, "'files' does not map"),
        ({"files": {"../LICENSE": "0" * 64}}, "'../LICENSE' is not a plain path"),
        ({"files": {"/LICENSE": "0" * 64}}, "'/LICENSE' is not a plain path"),
        ({"files": {"src/": "0" * 64}}, "'src/' is not a plain path"),
        ({"files": {".": "0" * 64}}, "'.' is not a plain path"),
        ({"files": {"": "0" * 64}}, "'' is not a plain path"),
        ({"files": {"LICENSE": "0" * 63}}, "digest of 'LICENSE' is not a SHA-256"),
        ({"files": {"LICENSE": None}}, "digest of 'LICENSE' is not a SHA-256"),
        ({"files": {"LICENSE": "0" * 64}}, "its files add up to the digest"),
        ({"digest": "0" * 64}, f"it claims {'0' * 64}"),
    ],
)
def test_malformed_lock_is_refused(vendor: ModuleType, change: dict[str, Any], words: str) -> None:
    """A lock with anything wrong in it stops the build and says what is wrong, before any source is looked at."""
    write_files(vendor.TREE, LOCKED)
    vendor.LOCK.write_text(json.dumps({**json.loads(vendor.LOCK.read_text()), **change}))
    message = refusal(vendor)
    assert message.startswith(f"{vendor.LOCK} cannot be used.\n  expected: ")
    assert words in message
    assert "Take it from version control again." in message


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{", "Expecting"), (b"[]", "not a JSON object"), (b"\xff", "decode"), (None, "No such file")],
)
def test_unreadable_lock_is_refused(vendor: ModuleType, content: bytes | None, words: str) -> None:
    """A lock that is missing or no JSON stops the build with a message."""
    vendor.LOCK.unlink()
    if content is not None:
        vendor.LOCK.write_bytes(content)
    assert words in refusal(vendor)


def test_saved_lock_is_the_loaded_one(vendor: ModuleType) -> None:
    """A lock survives being written and read, and is written the same way whatever the order of its files."""
    lock = vendor.Lock.load()
    text = vendor.LOCK.read_text()
    shuffled = dict(reversed(lock.files.items()))
    vendor.Lock(lock.version, lock.repository, lock.commit, lock.digest, shuffled).save()
    assert vendor.LOCK.read_text() == text
    assert vendor.Lock.load() == lock


# --- the command line ----------------------------------------------------------------------------


def test_check_of_the_pinned_tree_succeeds(vendor: ModuleType, run: Run) -> None:
    """`--check` exits with 0 and names version and digest."""
    write_files(vendor.TREE, LOCKED)
    assert run("--check") == (0, f"liburing 2.15, {len(LOCKED)} files, digest {vendor.Lock.load().digest}\n", "")


@pytest.mark.parametrize("state", ["missing", "tampered", "malformed lock"])
def test_check_of_anything_else_fails_and_changes_nothing(
    vendor: ModuleType, give: Callable[[Any], Path], run: Run, state: str
) -> None:
    """`--check` exits with 1 and one message, and fetches nothing although it could."""
    give(UPSTREAM)
    if state != "missing":
        write_files(vendor.TREE, {**LOCKED, "LICENSE": b"other"})
    if state == "malformed lock":
        vendor.LOCK.write_text("{}")
    before = read_files(vendor.HERE)
    code, printed, message = run("--check")
    assert (code, printed) == (1, "")
    assert message.startswith("vendor.py: ")
    assert read_files(vendor.HERE) == before


def test_no_option_puts_the_tree_into_place(vendor: ModuleType, give: Callable[[Any], Path], run: Run) -> None:
    """Without options the pinned version is fetched, and a source that differs gives exit code 1."""
    path = give({**UPSTREAM, "LICENSE": b"other"})
    assert run()[0] == 1
    assert_nothing_placed(vendor)
    write_files(path, UPSTREAM)
    assert run()[0] == 0
    assert_in_place(vendor)


@pytest.mark.parametrize(
    "options",
    ["--update new", f"--commit {COMMIT}", "--update 2.16 --commit abc", "--check --update 2.16"],
)
def test_wrong_options_are_refused(vendor: ModuleType, run: Run, options: str) -> None:
    """Options that make no sense end with exit code 2 and the usage."""
    code, printed, message = run(*options.split())
    assert (code, printed) == (2, "")
    assert message.startswith("usage:")


NEWER = {**UPSTREAM, "src/new.c": b"int news;\n", "liburing.spec": b"Name: liburing\nVersion: 2.16\n"}


def test_update_pins_what_is_given(vendor: ModuleType, give: Callable[[Any], Path], run: Run) -> None:
    """`--update` takes the wanted files of a new version, and none that is GPL, and rewrites lock and tree."""
    write_files(vendor.TREE, LOCKED)
    give(NEWER)
    code, _, message = run("--update", "2.16", "--commit", COMMIT[::-1])
    assert (code, message) == (0, "")
    lock = vendor.Lock.load()
    assert (lock.version, lock.commit, lock.repository) == ("2.16", COMMIT[::-1], "http://127.0.0.1:9")
    assert read_files(vendor.TREE) == {**LOCKED, "src/new.c": b"int news;\n"}
    assert lock.files == vendor.file_digests(read_files(vendor.TREE))
    assert run("--check")[0] == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (UPSTREAM, "expected: Version: 2.16 in liburing.spec\n  found:    2.15"),
        ({k: v for k, v in NEWER.items() if k != "liburing.spec"}, "found:    none"),
        ({k: v for k, v in NEWER.items() if k != "examples/kdigest.c"}, "has no examples/kdigest.c"),
    ],
    ids=["another version", "no version", "a file less"],
)
def test_update_from_something_else_changes_nothing(
    vendor: ModuleType, give: Callable[[Any], Path], run: Run, content: Mapping[str, bytes], words: str
) -> None:
    """`--update` refuses a source of another version or layout, and lock and tree stay."""
    write_files(vendor.TREE, LOCKED)
    before = read_files(vendor.HERE)
    give(content)
    code, _, message = run("--update", "2.16", "--commit", COMMIT)
    assert code == 1
    assert words in message
    assert read_files(vendor.HERE) == before


def test_update_asks_upstream_for_the_commit(
    vendor: ModuleType, give: Callable[[Any], Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--commit`, the commit behind the release's tag is asked of the repository."""
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    work = give(NEWER)

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=work, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "release")
    git("tag", "-a", "liburing-2.16", "-m", "release")
    pin(vendor, f"file://{work}")
    code, _, message = run("--update", "2.16")
    assert (code, message) == (0, "")
    assert vendor.Lock.load().commit == git("rev-parse", "HEAD")


def test_update_without_a_commit_to_be_had_says_so(vendor: ModuleType, give: Callable[[Any], Path], run: Run) -> None:
    """When the repository cannot be asked, `--update` says how to give the commit."""
    give(NEWER)
    code, _, message = run("--update", "2.16")
    assert code == 1
    assert "Give it with --commit SHA." in message
