"""The command `uring`: what io_uring can do here (`info`), and a copy through linked chains (`cp`)."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from . import copy, probe
from ._native import lib
from ._version import __version__

LIBURING_VERSION = f"{lib.IO_URING_VERSION_MAJOR}.{lib.IO_URING_VERSION_MINOR}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the result is the exit status."""
    try:
        status = _run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        # Only our own output fails up here.
        _give_up(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            _say(f"uring: write error: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        chosen = _parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version, or a usage error, printed by now
        return int(end.code or 0)
    status: int = chosen.run(chosen)
    return status


def _give_up(stream: TextIO | None) -> None:
    """Send a broken stream's output nowhere: what is still buffered must not fail again at the interpreter's exit."""
    if stream is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _say(message: str) -> None:
    """Print to stderr. When that fails nobody is left to be told; the exit status still speaks."""
    if sys.stderr is not None:
        try:
            print(message, file=sys.stderr, flush=True)
        except OSError:
            _give_up(sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="uring", description="Linux io_uring from Python.")
    parser.add_argument(
        "--version", action="version", version=f"uring {__version__} (liburing {LIBURING_VERSION} compiled in)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="whether io_uring can be used here, and what this kernel offers")
    info.add_argument("--json", action="store_true", help="machine-readable output")
    info.set_defaults(run=_info)

    cp = commands.add_parser("cp", help="copy a file through linked read and write requests")
    cp.add_argument("source", metavar="SRC", help="the file to read")
    cp.add_argument("target", metavar="DST", help="the file to write, or a directory to put it in")
    cp.add_argument("--depth", type=int, default=copy.DEPTH, help="blocks in flight (default: %(default)s)")
    cp.add_argument(
        "--block-size", type=_byte_count, default=copy.BLOCK_SIZE, help="bytes a block, K and M allowed (default: 128K)"
    )
    cp.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no summary")
    cp.set_defaults(run=_cp)
    return parser


# --- info ------------------------------------------------------------------------------------------


def _info(chosen: argparse.Namespace) -> int:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    found = probe.support()
    if chosen.json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        print("\n".join(_as_lines(found)))
    return 1 if found.denial else 0


def _as_json(found: probe.Support) -> dict[str, Any]:
    denial = found.denial
    return {
        "kernel": found.release,
        "liburing": LIBURING_VERSION,
        "uring": __version__,
        "usable": denial is None,
        "denial": denial and {"errno": denial.code, "reason": denial.reason, "advice": denial.advice},
        "opcodes": found.opcodes,
        "register_ops": found.register_ops,
        "setup_flags": found.setup_flags,
        "features": found.features,
    }


def _as_lines(found: probe.Support) -> list[str]:
    lines = [
        f"kernel    {found.release}",
        f"liburing  {LIBURING_VERSION} (compiled in)",
        f"uring     {__version__}",
    ]
    if found.denial:
        return [
            *lines,
            "io_uring  cannot be used here",
            f"reason    {found.denial.reason}",
            f"advice    {found.denial.advice}",
        ]
    lines.append("io_uring  can be used")
    for title, table, since in (
        ("opcodes", found.opcodes, probe.OPCODES),
        ("register operations", found.register_ops, probe.REGISTER_OPS),
        ("setup flags", found.setup_flags, probe.SETUP_FLAGS),
        ("features", found.features, probe.FEATURES),
    ):
        lines += ["", f"{title}: {sum(table.values())} of {len(table)}"]
        lines += _columns([_cell(name, there, since.get(name)) for name, there in table.items()])
    return lines


def _cell(name: str, there: bool, since: str | None) -> str:
    if there:
        return f"+ {name}"
    return f"- {name} ({since})" if since else f"- {name}"


def _columns(cells: Sequence[str], width: int = 100) -> list[str]:
    """Cells in as many equal columns as fit, filled downwards. What is missing shows the kernel that has it."""
    column = max(map(len, cells)) + 2
    count = max(1, width // column)
    rows = -(-len(cells) // count)
    return ["  " + "".join(cell.ljust(column) for cell in cells[row::rows]).rstrip() for row in range(rows)]


# --- cp --------------------------------------------------------------------------------------------


def _byte_count(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20}
    unit = units.get(text[-1:].upper(), 1)
    try:
        return int(text[:-1] if unit > 1 else text) * unit
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes") from None


def _complain(message: str) -> None:
    _say(f"uring cp: {message}")


def _cp(chosen: argparse.Namespace) -> int:
    source, target = chosen.source, chosen.target
    if os.path.isdir(source):
        _complain(f"omitting directory {_quoted(source)}: directories are not copied")
        return 1
    if os.path.isdir(target):
        target = os.path.join(target, os.path.basename(source))
    try:
        with _Bar(_quoted(source), shown=not chosen.quiet and sys.stderr is not None and sys.stderr.isatty()) as bar:
            result = copy.copy_file(
                source, target, depth=chosen.depth, block_size=chosen.block_size, progress=bar.update
            )
    except ValueError as error:
        _complain(str(error))
        return 1
    except OSError as error:
        _complain(_message(error))
        _complain_of_leftover(error, target)
        return 1
    except KeyboardInterrupt as error:
        _complain(f"interrupted while copying {_quoted(source)}")
        _complain_of_leftover(error, target)
        return 128 + signal.SIGINT
    if not chosen.quiet:
        rate = result.size / result.seconds if result.seconds else 0
        _say(f"{_bytes(result.size)} in {result.seconds:.2f} s, {_bytes(rate)}/s")
    return 0


def _message(error: OSError) -> str:
    doing = getattr(error, "doing", None)
    if doing is None:
        return error.strerror or str(error)
    return f"{doing.format(_quoted(error.filename))}: {error.strerror}"


def _complain_of_leftover(error: BaseException, target: str) -> None:
    if getattr(error, "incomplete", False):
        _complain(f"{_quoted(target)} is incomplete")


def _quoted(name: str | bytes) -> str:
    """A file name for a message: control characters and undecodable bytes cannot disturb the terminal."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return f"'{text}'" if text.isprintable() else f"'{text.encode('unicode_escape').decode()}'"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


class _Bar:
    """A progress bar on the terminal, or nothing."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self.name, self.shown = name, shown
        self.bar: Any = None

    def __enter__(self) -> _Bar:
        if self.shown:
            from tqdm import tqdm  # its import costs more than a small copy

            self.bar = tqdm(desc=self.name, unit="B", unit_scale=True, unit_divisor=1024, leave=False)
        return self

    def update(self, copied: int, expected: int) -> None:
        if self.bar is not None:
            self.bar.total = expected or None
            self.bar.update(copied - self.bar.n)

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
