"""The routes by which the pinned source comes into place, and how each of them can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from vendor_room import (
    LOCKED,
    PACKAGE,
    RELEASE,
    UPSTREAM,
    VARIABLE,
    Answer,
    Site,
    assert_in_place,
    assert_nothing_placed,
    body,
    raw,
    refusal,
    silent,
    silent_halfway,
    tarball,
    trickle,
    write_files,
)

# --- the routes ----------------------------------------------------------------------------------


def test_tree_that_is_there_is_used_and_nothing_is_fetched(
    vendor: ModuleType, upstream: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pinned tree in place no other route is looked at, not even the variable."""
    write_files(vendor.TREE, LOCKED)
    monkeypatch.setenv(VARIABLE, "/nowhere")
    assert vendor.materialise() == vendor.TREE
    assert upstream.asked == []
    assert_in_place(vendor)


def test_folder_in_the_variable_is_used(vendor: ModuleType, give: Callable[[Any], Path]) -> None:
    """The locked files of a given folder are copied, its other files are not."""
    give(UPSTREAM)
    assert vendor.materialise() == vendor.TREE
    assert_in_place(vendor)


@pytest.mark.parametrize(("mode", "top"), [("w:gz", "liburing-2.15/"), ("w:xz", "./liburing/"), ("w", "any name/")])
def test_tarball_in_the_variable_is_used(vendor: ModuleType, give: Callable[[Any], Path], mode: str, top: str) -> None:
    """The locked files of a given tarball are unpacked, however it is compressed and its top folder is called."""
    if mode == "w:xz":
        pytest.importorskip("lzma")
    give(tarball(UPSTREAM, mode, top))
    vendor.materialise()
    assert_in_place(vendor)


def test_release_archive_is_used(vendor: ModuleType, upstream: Site) -> None:
    """Without anything given, the release archive is fetched from the repository that the lock names."""
    upstream.answers[RELEASE] = body(tarball(UPSTREAM))
    vendor.materialise()
    assert upstream.asked == [RELEASE]
    assert_in_place(vendor)


def test_source_package_is_found_through_apt(
    vendor: ModuleType, upstream: Site, make_site: Callable[[], Site], apt: Callable[[str], None]
) -> None:
    """Without a release archive, each of apt's sites is asked once for the source package until one has it."""
    empty, full, unused = make_site(), make_site(), make_site()
    full.answers["/debian" + PACKAGE] = body(tarball(UPSTREAM))
    apt(f"echo {empty.url}; echo {empty.url}; echo {full.url}/debian/; echo {unused.url}")
    vendor.materialise()
    assert (upstream.asked, empty.asked, full.asked, unused.asked) == ([RELEASE], [PACKAGE], ["/debian" + PACKAGE], [])
    assert_in_place(vendor)


def test_source_package_of_a_local_mirror_is_used(
    vendor: ModuleType, tmp_path: Path, apt: Callable[[str], None]
) -> None:
    """A site of apt's may be a folder."""
    write_files(tmp_path / "mirror", {PACKAGE[1:]: tarball(UPSTREAM)})
    apt(f"echo file:{tmp_path}/mirror")
    vendor.materialise()
    assert_in_place(vendor)


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ("exit 100", "source package: apt-get indextargets: "),
        ("exit 0", "source package: apt has no site configured"),
        ("echo cdrom://disk", f"source package: cdrom://disk{PACKAGE}: <urlopen error unknown url type: cdrom>"),
        ("echo disk", f"source package: disk{PACKAGE}: unknown url type"),
        ("exec /bin/sleep 10", "timed out after"),
    ],
    ids=["fails", "no site", "unknown scheme", "no scheme", "hangs"],
)
def test_useless_apt_is_one_of_the_reasons(
    vendor: ModuleType, apt: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, commands: str, reason: str
) -> None:
    """An apt that fails, hangs or has no usable site is reported as the reason why its route was no use."""
    if "sleep" in commands:
        monkeypatch.setattr(vendor, "COMMAND_TIMEOUT_S", 0.2)
    apt(commands)
    assert reason in refusal(vendor)
    assert_nothing_placed(vendor)


def test_no_route_is_one_message_with_the_reason_of_each(vendor: ModuleType) -> None:
    """Without any route the build stops with one message: what was expected, why each route failed, what to do."""
    message = refusal(vendor)
    assert f"expected: {vendor.TREE}" in message
    assert f"given source: {VARIABLE} is not set" in message
    assert f"release archive: http://127.0.0.1:9{RELEASE}: " in message
    assert "source package: no apt-get on this machine" in message
    assert f"Set {VARIABLE} to a folder or tarball of liburing 2.15" in message
    assert_nothing_placed(vendor)


# --- sources that are no use ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [None, b"hello", tarball(UPSTREAM)[:200], b"", {"README": b""}],
    ids=["missing", "text", "truncated", "empty", "other folder"],
)
def test_useless_source_in_the_variable_stops_the_build(
    vendor: ModuleType, upstream: Site, give: Callable[[Any], Path], content: Any
) -> None:
    """What somebody gave and cannot be read is an error by itself: no other route hides it."""
    upstream.answers[RELEASE] = body(tarball(UPSTREAM))
    path = give(content or b"")
    if content is None:
        path.unlink()
    message = refusal(vendor)
    assert message.startswith(f"{VARIABLE}={path} cannot be used.\n  expected: a folder or a tarball of liburing\n")
    assert "Correct the variable, or unset it" in message
    assert upstream.asked == []
    assert_nothing_placed(vendor)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (body(tarball(UPSTREAM)[:-30], len(tarball(UPSTREAM))), "cut short, "),
        (body(tarball(UPSTREAM)[:-30]), "not a readable tarball"),
        (body(tarball(UPSTREAM)[:40] + b"\xff" * 400), "not a readable tarball"),
        (body(b"<html>log in first</html>"), "not a readable tarball"),
        (body(b""), "not a readable tarball"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nbody"), "many"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort"), "IncompleteRead"),
        (raw(b"what?\r\n\r\n"), "what?"),
        (raw(b""), "closed connection without response"),
        (lambda handler: handler.send_error(503), "HTTP Error 503"),
        (lambda handler: handler.send_error(404), "HTTP Error 404"),
    ],
    ids=[
        *("truncated body", "truncated archive", "damaged archive", "page", "nothing"),
        *("bad length", "truncated chunk", "no HTTP", "closed", "503", "404"),
    ],
)
def test_bad_answer_makes_way_for_the_next_route(
    vendor: ModuleType, upstream: Site, apt: Callable[[str], None], answer: Answer, reason: str
) -> None:
    """An answer that is no whole archive is named among the reasons, and the next route is tried and may work."""
    upstream.answers[RELEASE] = answer
    apt(f"echo {upstream.url}")
    message = refusal(vendor)
    line = next(line for line in message.splitlines() if "release archive:" in line)
    assert reason in line
    assert_nothing_placed(vendor)

    upstream.answers[PACKAGE] = body(tarball(UPSTREAM))
    vendor.materialise()
    assert_in_place(vendor)


@pytest.mark.parametrize("answer", [silent, silent_halfway], ids=["before the headers", "in the body"])
def test_silent_server_is_given_up(
    vendor: ModuleType, upstream: Site, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """A server that stops talking is given up after SILENCE_TIMEOUT_S."""
    monkeypatch.setattr(vendor, "SILENCE_TIMEOUT_S", 0.2)
    upstream.answers[RELEASE] = answer
    assert "timed out" in refusal(vendor)
    assert_nothing_placed(vendor)


def test_slow_download_is_given_up(vendor: ModuleType, upstream: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that talks, but too slowly, is given up after DOWNLOAD_TIMEOUT_S."""
    monkeypatch.setattr(vendor, "DOWNLOAD_TIMEOUT_S", 0.2)
    upstream.answers[RELEASE] = trickle
    assert "not finished after 0.2 s" in refusal(vendor)
    assert not upstream.told_all
    assert_nothing_placed(vendor)


def test_oversized_download_is_given_up(vendor: ModuleType, upstream: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body larger than any liburing is not read to its end."""
    monkeypatch.setattr(vendor, "ARCHIVE_MAX_BYTES", 1000)
    upstream.answers[RELEASE] = body(b"x" * 5000)
    assert "larger than 1000 bytes" in refusal(vendor)
    assert_nothing_placed(vendor)


def test_archive_that_unpacks_to_too_much_is_given_up(
    vendor: ModuleType, upstream: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive with more in it than any liburing is not unpacked to its end."""
    monkeypatch.setattr(vendor, "UNPACKED_MAX_BYTES", 100_000)
    upstream.answers[RELEASE] = body(tarball({"test/zeros": bytes(200_000), **UPSTREAM}))
    assert "unpacks to more than 100000 bytes" in refusal(vendor)
    assert_nothing_placed(vendor)
