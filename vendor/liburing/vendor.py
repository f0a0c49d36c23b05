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
import http.client
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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

HERE = Path(__file__).resolve().parent
LOCK = HERE / "liburing.lock"
TREE = HERE / "upstream"
SOURCE_VARIABLE = "URING_LIBURING_SOURCE"

# How long a server may stay silent, and how long a download may take altogether.
SILENCE_TIMEOUT_S = 15.0
DOWNLOAD_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 30.0
# liburing packs to half a MiB and unpacks to 4: anything near these limits is something else.
ARCHIVE_MAX_BYTES = 16 << 20
UNPACKED_MAX_BYTES = 64 << 20

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
# Where a tree of liburing says which version it is: read by --update, not kept.
VERSION_FILE = "liburing.spec"
# A file that every tree of liburing has.
LANDMARK = "src/include/liburing.h"

VERSION_PATTERN = r"[0-9]+\.[0-9]+"
COMMIT_PATTERN = r"[0-9a-f]{40}"
DIGEST_PATTERN = r"[0-9a-f]{64}"

Files = dict[str, bytes]
Wanted = Callable[[str], bool]


class VendorError(Exception):
    """The pinned source cannot be had, or is not the pinned one. The message says what to do."""


class RouteError(Exception):
    """One route did not work; the next one is tried."""


# --- the lock ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lock:
    """What `liburing.lock` pins."""

    version: str
    repository: str
    commit: str
    digest: str
    files: Mapping[str, str]

    @classmethod
    def load(cls) -> Lock:
        """Read and validate `liburing.lock`.

        Raises:
            VendorError: it is missing, malformed, or its own digest does not fit its list.
        """
        try:
            return cls(**_validated(json.loads(LOCK.read_text(encoding="utf-8"))))
        except OSError as error:
            found = str(error.strerror)
        except ValueError as error:
            found = str(error)
        raise VendorError(
            f"{LOCK} cannot be used.\n"
            "  expected: the lock as it was committed\n"
            f"  found:    {found}\n"
            "  Take it from version control again."
        )

    def save(self) -> None:
        """Write the lock, sorted, so that a change of version is a readable diff."""
        content = {**asdict(self), "files": dict(sorted(self.files.items()))}
        LOCK.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _validated(raw: object) -> dict[str, Any]:
    """A lock's fields; ValueError says which one is wrong."""
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    patterns = {
        "version": VERSION_PATTERN,
        "repository": r"\w+://\S+",
        "commit": COMMIT_PATTERN,
        "digest": DIGEST_PATTERN,
    }
    for name, pattern in patterns.items():
        if not isinstance(raw.get(name), str) or not re.fullmatch(pattern, raw[name]):
            raise ValueError(f"{name!r} is {raw.get(name)!r}, which does not match {pattern}")
    files = raw.get("files")
    if not isinstance(files, dict) or not files:
        raise ValueError("'files' does not map paths to SHA-256 digests")
    for name, digest in files.items():
        if not is_inner_path(name):
            raise ValueError(f"{name!r} is not a plain path inside the tree")
        if not isinstance(digest, str) or not re.fullmatch(DIGEST_PATTERN, digest):
            raise ValueError(f"the digest of {name!r} is not a SHA-256 in hex")
    if total_digest(files) != raw["digest"]:
        raise ValueError(f"its files add up to the digest {total_digest(files)}, it claims {raw['digest']}")
    return {name: raw[name] for name in (*patterns, "files")}


def is_inner_path(name: str) -> bool:
    """Whether `name` is relative, normalised, and stays inside the folder it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and str(path) == name and not path.is_absolute() and ".." not in path.parts


# --- digests -------------------------------------------------------------------------------------


def file_digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, in hex."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def tree_digests(root: Path) -> dict[str, str]:
    """The same for everything below `root`; what is no regular file has words instead, which fit no lock."""
    digests = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            digests[name] = "a symbolic link"
        elif path.is_file():
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not path.is_dir():
            digests[name] = "a special file"
    return digests


def total_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the sorted list of paths and their digests."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def require_match(lock: Lock, digests: Mapping[str, str], origin: str, advice: str) -> None:
    """Raise VendorError, naming the files that differ, unless `digests` are those of the lock."""
    wrong = []
    for name in sorted({*lock.files, *digests}):
        expected, found = lock.files.get(name), digests.get(name)
        if found is None:
            wrong.append(f"{name}: missing")
        elif expected is None:
            wrong.append(f"{name}: not in the lock")
        elif expected != found:
            wrong.append(f"{name}: expected {expected}, found {found}")
    if not wrong:
        return
    shown = "\n".join(f"    {line}" for line in wrong[:10])
    more = f"\n    and {len(wrong) - 10} more" if len(wrong) > 10 else ""
    raise VendorError(
        f"{origin} is not the pinned liburing {lock.version}.\n"
        f"  expected: digest {lock.digest} (commit {lock.commit})\n"
        f"  found:    digest {total_digest(digests)}\n{shown}{more}\n"
        f"  {advice}"
    )


# --- reading folders and archives ----------------------------------------------------------------


def read_folder(root: Path, wanted: Wanted) -> Files:
    """The wanted files below `root`, by their paths relative to it."""
    if not (root / LANDMARK).is_file():
        raise RouteError(f"{root} has no {LANDMARK}")
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*")}
    return {name: path.read_bytes() for name, path in paths.items() if wanted(name) and path.is_file()}


def read_archive(data: bytes, origin: str, wanted: Wanted) -> Files:
    """The wanted regular files of a tarball, by their paths without its single top folder."""
    files: Files = {}
    unpacked = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                unpacked += member.size
                if unpacked > UNPACKED_MAX_BYTES:
                    raise RouteError(f"{origin}: unpacks to more than {UNPACKED_MAX_BYTES} bytes")
                inner = member.name.removeprefix("./").partition("/")[2]
                stream = archive.extractfile(member) if member.isreg() and wanted(inner) else None
                if stream:
                    files[inner] = stream.read()
    except RouteError:
        raise
    except Exception as error:
        # Damaged bytes surface as whatever the decompressor of the day raises.
        raise RouteError(f"{origin}: not a readable tarball: {error}") from error
    return files


def matches_wanted(name: str) -> bool:
    """Whether a path of a liburing tree is one that `uring` uses."""
    return is_inner_path(name) and any(fnmatchcase(name, pattern) for pattern in WANTED)


# --- routes --------------------------------------------------------------------------------------


def download(url: str) -> bytes:
    """The body behind `url`.

    Raises:
        RouteError: the answer is late, cut short, too large or not a success.
    """
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT_S
    body = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_TIMEOUT_S) as response:
            declared = response.headers.get("Content-Length")
            # read1 returns what has arrived; read would let a trickle of bytes outlast the deadline.
            while chunk := response.read1(1 << 16):
                body += chunk
                if len(body) > ARCHIVE_MAX_BYTES:
                    raise RouteError(f"{url}: larger than {ARCHIVE_MAX_BYTES} bytes")
                if time.monotonic() > deadline:
                    raise RouteError(f"{url}: not finished after {DOWNLOAD_TIMEOUT_S:g} s")
    except urllib.error.HTTPError as error:
        with error:
            raise RouteError(f"{url}: {error}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise RouteError(f"{url}: {error}") from error
    if declared not in (None, str(len(body))):
        raise RouteError(f"{url}: cut short, {len(body)} of {declared} bytes")
    return bytes(body)


def from_variable(wanted: Wanted) -> tuple[str, Files]:
    """Route 2: the folder or tarball that `URING_LIBURING_SOURCE` names."""
    value = os.environ.get(SOURCE_VARIABLE)
    if not value:
        raise RouteError(f"{SOURCE_VARIABLE} is not set")
    path = Path(value).expanduser()
    origin = f"{SOURCE_VARIABLE}={value}"
    try:
        if path.is_dir():
            return origin, read_folder(path, wanted)
        return origin, read_archive(path.read_bytes(), value, wanted)
    except (OSError, RouteError) as error:
        # Somebody asked for this very source: falling back to another would hide their mistake.
        raise VendorError(
            f"{origin} cannot be used.\n"
            "  expected: a folder or a tarball of liburing\n"
            f"  found:    {error}\n"
            "  Correct the variable, or unset it to let the build look elsewhere."
        ) from error


def from_release(version: str, repository: str, wanted: Wanted) -> tuple[str, Files]:
    """Route 3: the archive of upstream's release tag."""
    url = f"{repository}/archive/refs/tags/liburing-{version}.tar.gz"
    return url, read_archive(download(url), url, wanted)


def apt_sites() -> list[str]:
    """The base addresses that this machine's apt is configured with, without repetition."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    except FileNotFoundError as error:
        raise RouteError("no apt-get on this machine") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise RouteError(f"apt-get indextargets: {error}") from error
    return list(dict.fromkeys(site.rstrip("/") for site in done.stdout.split()))


def from_distribution(version: str, wanted: Wanted) -> tuple[str, Files]:
    """Route 4: the original tarball of the distribution's source package; not every site has it."""
    reasons = []
    for site in apt_sites():
        url = f"{site}/pool/main/libu/liburing/liburing_{version}.orig.tar.gz"
        try:
            return url, read_archive(download(url), url, wanted)
        except RouteError as error:
            reasons.append(str(error))
    raise RouteError("; ".join(reasons) or "apt has no site configured")


def obtain(version: str, repository: str, wanted: Wanted) -> tuple[str, Files]:
    """Where the first of routes 2 to 4 that works leads to, and the wanted files from there."""
    routes: dict[str, Callable[[], tuple[str, Files]]] = {
        "given source": lambda: from_variable(wanted),
        "release archive": lambda: from_release(version, repository, wanted),
        "source package": lambda: from_distribution(version, wanted),
    }
    reasons = []
    for name, route in routes.items():
        try:
            return route()
        except RouteError as error:
            reasons.append(f"\n    {name}: {error}")
    raise VendorError(
        f"the source of liburing {version} is not here and could not be fetched.\n"
        f"  expected: {TREE}, or one of the routes below\n"
        f"  found:{''.join(reasons)}\n"
        f"  Set {SOURCE_VARIABLE} to a folder or tarball of liburing {version}, or build from "
        "an sdist of uring, which carries it."
    )


# --- placing and checking ------------------------------------------------------------------------


def place(files: Files) -> None:
    """Write `files` as the tree in one step: the folder is complete or does not exist."""
    try:
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=HERE) as incoming:
            complete = Path(incoming, "tree")
            for name, content in files.items():
                target = complete / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            try:
                complete.rename(TREE)
            except OSError:
                # Another build was faster. Whether its tree is the right one is for `check` to say.
                if not TREE.is_dir():
                    raise
    except OSError as error:
        raise VendorError(
            f"{TREE} cannot be written.\n"
            "  expected: a folder that the build may write to\n"
            f"  found:    {error}\n"
            "  Build in a writable copy of the source, or from an sdist of uring, which carries liburing."
        ) from error


def check(lock: Lock) -> None:
    """Raise VendorError unless the tree is exactly what the lock pins."""
    if not TREE.is_dir():
        raise VendorError(
            f"there is no source of liburing {lock.version}.\n"
            f"  expected: {TREE}\n"
            "  found:    no such folder\n"
            f"  Run {Path(__file__).name} without options to fetch it."
        )
    try:
        digests = tree_digests(TREE)
    except OSError as error:
        raise VendorError(f"{TREE} cannot be read: {error}. Remove it and build again.") from error
    require_match(lock, digests, str(TREE), f"Remove {TREE} and build again to get the pinned source.")


def materialise() -> Path:
    """The folder with the pinned source, fetched first if need be.

    Raises:
        VendorError: no route leads to it, or what is there is something else.
    """
    lock = Lock.load()
    if not TREE.is_dir():
        origin, files = obtain(lock.version, lock.repository, lock.files.__contains__)
        advice = f"Name the right source in {SOURCE_VARIABLE}; if you trust this one, report the difference."
        require_match(lock, file_digests(files), origin, advice)
        place(files)
    check(lock)
    return TREE


# --- pinning another version ---------------------------------------------------------------------


def update(version: str, commit: str | None) -> None:
    """Pin another version: fetch it, then replace the tree and the lock.

    Raises:
        VendorError: no route leads to it, or what was found is not that version.
    """
    repository = Lock.load().repository
    origin, files = obtain(version, repository, lambda name: name == VERSION_FILE or matches_wanted(name))
    claimed = re.search(rb"^Version:\s*(\S+)", files.pop(VERSION_FILE, b""), re.MULTILINE)
    if not claimed or claimed[1].decode() != version:
        found = claimed[1].decode() if claimed else "none"
        raise VendorError(
            f"{origin} is another version.\n"
            f"  expected: Version: {version} in {VERSION_FILE}\n"
            f"  found:    {found}\n"
            f"  Correct or unset {SOURCE_VARIABLE}."
        )
    for pattern in WANTED:
        if not any(fnmatchcase(name, pattern) for name in files):
            raise VendorError(f"{origin} has no {pattern}: its layout changed. Adapt WANTED in {Path(__file__).name}.")
    digests = file_digests(files)
    new = Lock(version, repository, commit or tag_commit(version, repository), total_digest(digests), digests)
    shutil.rmtree(TREE, ignore_errors=True)
    place(files)
    check(new)
    new.save()


def tag_commit(version: str, repository: str) -> str:
    """The commit that the release's tag stands for, asked of upstream's repository."""
    tag = f"refs/tags/liburing-{version}"
    # An annotated tag has an object of its own; ^{} is the commit behind it, listed last.
    command = ["git", "ls-remote", repository, tag, f"{tag}^{{}}"]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True, env=environment
        )
        return done.stdout.splitlines()[-1].split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise VendorError(
            f"{repository} does not tell the commit of {tag}: {error}. Give it with --commit SHA."
        ) from error


# --- command line --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the tree is the pinned one, 1 after saying why it is not."""
    parser = argparse.ArgumentParser(description="Put the pinned liburing source into place, or check it.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="verify the tree that is there; change nothing")
    action.add_argument("--update", metavar="VERSION", help="pin another version of liburing")
    parser.add_argument("--commit", metavar="SHA", help="with --update: the commit of that version's tag")
    chosen = parser.parse_args(arguments)
    if chosen.commit and not chosen.update:
        parser.error("--commit goes with --update")
    if chosen.commit and not re.fullmatch(COMMIT_PATTERN, chosen.commit):
        parser.error("--commit takes 40 hex digits")
    if chosen.update and not re.fullmatch(VERSION_PATTERN, chosen.update):
        parser.error("--update takes a version such as 2.15")
    try:
        if chosen.update:
            update(chosen.update, chosen.commit)
        elif chosen.check:
            check(Lock.load())
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
