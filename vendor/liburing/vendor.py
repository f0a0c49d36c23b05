"""Bring the pinned liburing source into place, and check that it is the pinned one.

`liburing.lock` names a version, its commit and a SHA-256 for every file that `uring` uses. The files
themselves are never committed: the first build puts them under `upstream/`, from the first of these
routes that works:

1. the tree that is already there (an sdist carries it);
2. `URING_LIBURING_SOURCE`: a folder or a tarball of liburing, given by you;
3. upstream's release archive;
4. the distribution's source package, at the addresses apt is configured with.

Whatever the route, only the locked files are taken and every one of them must match its digest.
Nothing is written to `upstream/` before all of them do.

    python vendor/liburing/vendor.py             put the locked version into place
    python vendor/liburing/vendor.py --check     verify the tree that is there; change nothing
    python vendor/liburing/vendor.py --update V  pin version V: fetch it, rewrite lock and tree
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "liburing.lock"
TREE = HERE / "upstream"
SOURCE_VARIABLE = "URING_LIBURING_SOURCE"

CONNECT_TIMEOUT_S = 15
DOWNLOAD_TIMEOUT_S = 120
APT_TIMEOUT_S = 30
ARCHIVE_MAX_BYTES = 64 << 20

# What the build, the wheel's licence notice and the tests that compile upstream's examples need.
# zcrx.c and the BPF programs are GPL and stay out.
WANTED = (
    "LICENSE",
    "src/*.c",
    "src/*.h",
    "src/*.map",
    "examples/helpers.[ch]",
    *(
        f"examples/{name}.c"
        for name in (
            "echo-server",
            "io_uring-close-test",
            "io_uring-cp",
            "io_uring-test",
            "io_uring-udp",
            "kdigest",
            "link-cp",
            "poll-bench",
            "reg-wait",
            "send-zerocopy",
        )
    ),
)

Files = Mapping[str, bytes]


class VendorError(Exception):
    """The pinned source cannot be had, or is not the pinned one. The message says what to do."""


class RouteUnavailable(Exception):
    """One route did not work; the next one is tried."""


@dataclass(frozen=True)
class Lock:
    """What `liburing.lock` pins."""

    version: str
    repository: str
    commit: str
    digest: str
    files: Mapping[str, str]

    @classmethod
    def load(cls, path: Path = LOCK) -> Lock:
        """Read and validate a lock file.

        Raises VendorError when it is missing, malformed, or its own digest does not fit its list.
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise VendorError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise VendorError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(raw, dict):
            raise VendorError(f"{path} must hold one JSON object")
        fields = {}
        for name in ("version", "repository", "commit", "digest"):
            fields[name] = raw.get(name)
            if not isinstance(fields[name], str):
                raise VendorError(f"{path}: {name!r} must be a string")
        files = raw.get("files")
        if not isinstance(files, dict) or not files:
            raise VendorError(f"{path}: 'files' must map paths to SHA-256 digests")
        for name, digest in files.items():
            if not _is_inner_path(name):
                raise VendorError(f"{path}: {name!r} is not a relative path inside the tree")
            if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise VendorError(f"{path}: the digest of {name!r} is not a SHA-256 in hex")
        if total_digest(files) != fields["digest"]:
            raise VendorError(
                f"{path} contradicts itself: its files add up to {total_digest(files)}, "
                f"it claims {fields['digest']}. Take the lock from version control again."
            )
        return cls(files=files, **fields)

    def save(self, path: Path = LOCK) -> None:
        """Write the lock, sorted, so that a change of version is a readable diff."""
        content = {
            "version": self.version,
            "repository": self.repository,
            "commit": self.commit,
            "digest": self.digest,
            "files": dict(sorted(self.files.items())),
        }
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _is_inner_path(name: str) -> bool:
    return bool(name) and not name.startswith("/") and "\\" not in name and ".." not in name.split("/")


def file_digests(files: Files) -> dict[str, str]:
    """SHA-256 of each file, in hex."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def total_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the sorted list of paths and their digests."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def differences(lock: Lock, files: Files) -> list[str]:
    """How `files` differ from the lock: one line a file, empty when they match."""
    found = file_digests(files)
    lines = []
    for name in sorted({*lock.files, *found}):
        expected, actual = lock.files.get(name), found.get(name)
        if actual is None:
            lines.append(f"{name}: missing")
        elif expected is None:
            lines.append(f"{name}: not in the lock")
        elif expected != actual:
            lines.append(f"{name}: expected sha256 {expected}, found {actual}")
    return lines


def _require_match(lock: Lock, files: Files, origin: str, advice: str) -> None:
    wrong = differences(lock, files)
    if not wrong:
        return
    shown = "\n".join(f"    {line}" for line in wrong[:10])
    more = f"\n    and {len(wrong) - 10} more" if len(wrong) > 10 else ""
    raise VendorError(
        f"{origin} is not the pinned liburing {lock.version}.\n"
        f"  expected: commit {lock.commit}, digest {lock.digest}\n"
        f"  found:    digest {total_digest(file_digests(files))}\n{shown}{more}\n"
        f"  {advice}"
    )


# --- reading trees and archives ------------------------------------------------------------------


def read_tree(root: Path) -> dict[str, bytes]:
    """Every file under `root`, by its path relative to it; links are not followed."""
    files = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or path.is_file():
            files[path.relative_to(root).as_posix()] = b"" if path.is_symlink() else path.read_bytes()
    return files


def read_archive(data: bytes, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The wanted regular files of a tarball, without its single top folder."""
    files = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            _, _, inner = member.name.removeprefix("./").partition("/")
            if member.isfile() and _is_inner_path(inner) and wanted(inner):
                stream = archive.extractfile(member)
                assert stream is not None
                files[inner] = stream.read()
    return files


def matches_wanted(name: str) -> bool:
    """Whether a path of a liburing tree is one that `uring` uses."""
    return any(fnmatchcase(name, pattern) for pattern in WANTED)


def _pick(files: Files, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if wanted(name)}


# --- routes --------------------------------------------------------------------------------------


def download(url: str) -> bytes:
    """The body behind `url`, within a deadline and a size limit.

    Raises RouteUnavailable: an answer that is late, cut short, too large or not a success.
    """
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as response:
            declared = response.headers.get("Content-Length")
            while chunk := response.read(1 << 16):
                body += chunk
                if len(body) > ARCHIVE_MAX_BYTES:
                    raise RouteUnavailable(f"{url}: larger than {ARCHIVE_MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise RouteUnavailable(f"{url}: not finished after {DOWNLOAD_TIMEOUT_S} s")
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise RouteUnavailable(f"{url}: {error}") from error
    if declared is not None and len(body) != int(declared):
        raise RouteUnavailable(f"{url}: cut short, {len(body)} of {declared} bytes")
    return bytes(body)


def _from_archive(data: bytes, origin: str, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    try:
        return read_archive(data, wanted)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise RouteUnavailable(f"{origin}: not a readable tarball: {error}") from error


def from_variable(wanted: Callable[[str], bool]) -> tuple[str, dict[str, bytes]]:
    """Route 2: the folder or tarball that `URING_LIBURING_SOURCE` names."""
    value = os.environ.get(SOURCE_VARIABLE)
    if not value:
        raise RouteUnavailable(f"{SOURCE_VARIABLE} is not set")
    path = Path(value).expanduser()
    origin = f"{SOURCE_VARIABLE}={value}"
    if path.is_dir():
        return origin, _pick(read_tree(path), wanted)
    try:
        return origin, _from_archive(path.read_bytes(), origin, wanted)
    except (OSError, RouteUnavailable) as error:
        # Somebody asked for this very source: falling back to another would hide their mistake.
        raise VendorError(
            f"{origin} cannot be used: {error}\n"
            "  expected: a folder or a tarball of liburing\n"
            "  Correct the variable, or unset it to let the build look elsewhere."
        ) from error


def from_release(lock: Lock, wanted: Callable[[str], bool]) -> tuple[str, dict[str, bytes]]:
    """Route 3: the archive of upstream's release tag."""
    url = f"{lock.repository}/archive/refs/tags/liburing-{lock.version}.tar.gz"
    return url, _from_archive(download(url), url, wanted)


def apt_sites() -> list[str]:
    """The base addresses that this machine's apt is configured with, without repetition."""
    if shutil.which("apt-get") is None:
        raise RouteUnavailable("no apt-get on this machine")
    try:
        done = subprocess.run(
            ["apt-get", "indextargets", "--format", "$(SITE)"],
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise RouteUnavailable(f"apt-get indextargets: {error}") from error
    return list(dict.fromkeys(site.rstrip("/") for site in done.stdout.split()))


def from_distribution(lock: Lock, wanted: Callable[[str], bool]) -> tuple[str, dict[str, bytes]]:
    """Route 4: the original tarball of the distribution's source package."""
    reasons = []
    for site in apt_sites():
        for ending in ("gz", "xz"):
            url = f"{site}/pool/main/libu/liburing/liburing_{lock.version}.orig.tar.{ending}"
            try:
                return url, _from_archive(download(url), url, wanted)
            except RouteUnavailable as error:
                reasons.append(str(error))
    raise RouteUnavailable("; ".join(reasons) or "apt has no source configured")


def obtain(lock: Lock, wanted: Callable[[str], bool]) -> tuple[str, dict[str, bytes]]:
    """The wanted files by the first of routes 2 to 4 that works, and where they came from."""
    routes: Iterable[tuple[str, Callable[[], tuple[str, dict[str, bytes]]]]] = (
        ("given source", lambda: from_variable(wanted)),
        ("release archive", lambda: from_release(lock, wanted)),
        ("source package", lambda: from_distribution(lock, wanted)),
    )
    reasons = []
    for name, route in routes:
        try:
            return route()
        except RouteUnavailable as error:
            reasons.append(f"    {name}: {error}")
    raise VendorError(
        f"the source of liburing {lock.version} is not here and could not be fetched.\n"
        f"  expected: {TREE}, or one of the routes below\n  found:\n" + "\n".join(reasons) + "\n"
        f"  Set {SOURCE_VARIABLE} to a folder or tarball of liburing {lock.version}, or build from "
        "an sdist of uring, which carries it."
    )


# --- placing and checking ------------------------------------------------------------------------


def place(files: Files, tree: Path = TREE) -> None:
    """Write `files` as `tree` in one step: the folder is complete or does not exist."""
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=tree.parent))
    try:
        for name, content in files.items():
            target = incoming / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        incoming.chmod(0o755)
        try:
            incoming.rename(tree)
        except OSError:
            # Another build was faster; what counts is that its tree is the right one.
            if not tree.is_dir() or read_tree(tree) != dict(files):
                raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def check(lock: Lock, tree: Path = TREE) -> None:
    """Raise VendorError unless `tree` is exactly what the lock pins."""
    if not tree.is_dir():
        raise VendorError(f"{tree} is not there. Run {Path(__file__).name} without options to fetch it.")
    _require_match(lock, read_tree(tree), str(tree), f"Remove {tree} and build again to get the pinned source.")


def materialise(tree: Path = TREE, lock_path: Path = LOCK) -> Path:
    """The folder with the pinned source, fetched first if need be. Raises VendorError."""
    lock = Lock.load(lock_path)
    if not tree.exists():
        origin, files = obtain(lock, lock.files.__contains__)
        _require_match(lock, files, origin, f"Give the right source in {SOURCE_VARIABLE}, or report this.")
        place(files, tree)
    check(lock, tree)
    return tree


def update(version: str, commit: str | None, tree: Path = TREE, lock_path: Path = LOCK) -> Lock:
    """Pin another version: fetch it, then replace the tree and the lock."""
    old = Lock.load(lock_path)
    wanted = Lock(version, old.repository, commit or "", "", {})
    origin, files = obtain(wanted, matches_wanted)
    for pattern in WANTED:
        if not any(fnmatchcase(name, pattern) for name in files):
            raise VendorError(f"{origin} has no {pattern}: this is not liburing, or its layout changed")
    digests = file_digests(files)
    new = Lock(version, old.repository, commit or _tag_commit(wanted), total_digest(digests), digests)
    shutil.rmtree(tree, ignore_errors=True)
    place(files, tree)
    new.save(lock_path)
    return new


def _tag_commit(lock: Lock) -> str:
    tag = f"refs/tags/liburing-{lock.version}"
    try:
        done = subprocess.run(
            ["git", "ls-remote", lock.repository, tag, f"{tag}^{{}}"],
            capture_output=True,
            text=True,
            timeout=CONNECT_TIMEOUT_S,
            check=True,
        )
        return done.stdout.split("\n")[-2].split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise VendorError(
            f"the commit of {tag} cannot be asked of {lock.repository}. Give it with --commit SHA."
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 when the tree is the pinned one."""
    parser = argparse.ArgumentParser(description="Put the pinned liburing source into place, or check it.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="verify the tree that is there; change nothing")
    action.add_argument("--update", metavar="VERSION", help="pin another version of liburing")
    parser.add_argument("--commit", metavar="SHA", help="with --update: the commit of that version's tag")
    chosen = parser.parse_args(arguments)
    if chosen.commit and not chosen.update:
        parser.error("--commit goes with --update")
    if chosen.commit and not re.fullmatch(r"[0-9a-f]{40}", chosen.commit):
        parser.error("--commit takes 40 hex digits")
    if chosen.update and not re.fullmatch(r"[0-9]+\.[0-9]+", chosen.update):
        parser.error("--update takes a version such as 2.15")
    try:
        if chosen.check:
            lock = Lock.load()
            check(lock)
        elif chosen.update:
            lock = update(chosen.update, chosen.commit)
        else:
            materialise()
            lock = Lock.load()
    except VendorError as error:
        print(f"vendor.py: {error}", file=sys.stderr)
        return 1
    print(f"liburing {lock.version}, {len(lock.files)} files, digest {lock.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
