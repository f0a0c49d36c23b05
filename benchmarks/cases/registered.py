"""Registered buffers and files against plain ones: 4 KiB random reads, 1, 32 or 128 for each submit.

Registering spares each request the pinning of its pages and the look-up of its descriptor. That is some tens to some
hundreds of nanoseconds, which Python's own cost hides. So there are three layers, each with plain and registered
buffers and files: C, `uring.fused`, where little is between the program and the kernel, and `uring.Ring`, where all of
the safety is. All use rings with the same set-up.

Each read's result is looked at while the clock runs. After each round each lane reads 128 more blocks, whose digest is
compared with the file's; the C program compares the blocks of its last submit.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any, NamedTuple

from ..compiled import program_lane
from ..harness import Bench, Case, Done, Lane, Missing, Point, Ready, timed
from ..workspace import BUILD

SIZE = 4096
BLOCKS = 16384
PER_BATCH = 128
ENTRIES = 256
DEPTHS = (1, 32, 128)

Turn = Callable[[Sequence[int]], None]


class Wrong(Exception):
    """A read that did not bring what is in the file."""


class Form(NamedTuple):
    """What a lane does."""

    depth: int
    direct: bool
    buffers: bool
    files: bool


@cache
def content() -> bytes:
    """What is in the file: each block differs."""
    return b"".join(block.to_bytes(8, "little") * (SIZE // 8) for block in range(BLOCKS))


@cache
def places() -> tuple[int, ...]:
    """Offsets of all blocks, each once, as the C program computes them."""

    def walk() -> Iterator[int]:
        place = 0
        while True:
            place = (place * 1103515245 + 12345) % BLOCKS
            yield place * SIZE

    return tuple(itertools.islice(walk(), BLOCKS))


@cache
def stored() -> Any:
    """The file, on a disk and in the page cache; it goes with the process."""
    BUILD.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=BUILD, prefix="reads.")  # noqa: SIM115
    atexit.register(file.close)
    file.write(content())
    file.flush()
    os.fsync(file.fileno())
    return file


def opened(direct: bool, at_end: ExitStack) -> int:
    """A descriptor for the file.

    Raises:
        Missing: a file system without O_DIRECT.
    """
    try:
        fd = os.open(stored().name, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    except OSError as error:
        raise Missing(f"O_DIRECT in {BUILD}: {error}") from error
    at_end.callback(os.close, fd)
    return fd


def checked(form: Form, turn: Turn, memory: Callable[[], bytes]) -> Callable[[int], Done]:
    """A lane's function: runs turns, and then compares what other turns bring with the file."""
    depth, offsets = form.depth, places()
    turns = [offsets[i : i + depth] for i in range(0, BLOCKS, depth)]

    def loop(batches: int) -> None:
        for offsets in itertools.islice(itertools.cycle(turns), batches * PER_BATCH // depth):
            turn(offsets)

    run = timed(loop, PER_BATCH)

    def run_and_compare(batches: int) -> Done:
        done = run(batches)
        found, expected = hashlib.sha256(), hashlib.sha256()
        for offsets in turns[-PER_BATCH // depth :]:
            turn(offsets)
            found.update(memory())
            for offset in offsets:
                expected.update(content()[offset : offset + SIZE])
        if found.digest() != expected.digest():
            raise Wrong(form)
        return done

    return run_and_compare


def c_floor(form: Form, _at_end: ExitStack) -> Callable[[int], Done]:
    """The C program."""
    from uring.flags import Setup
    from uring.ring import Ring

    with Ring(ENTRIES) as ring:
        setup = ring.flags & ~Setup.NO_SQARRAY  # liburing sets that by itself
    arguments = stored().name, form.depth, int(form.direct), int(form.buffers), int(form.files), int(setup)
    with ExitStack() as probing:
        opened(form.direct, probing)
    return program_lane("reads", PER_BATCH, *arguments)


def made_ready(form: Form, at_end: ExitStack) -> tuple[Any, Any, list[Any], Callable[[], bytes]]:
    """A ring, and the file, the buffers, and what is in them all together; registered, or not."""
    import uring

    fd = opened(form.direct, at_end)
    ring = at_end.enter_context(uring.Ring(ENTRIES))
    file: Any = at_end.enter_context(uring.RegisteredFiles(ring, [fd]))[0] if form.files else fd
    if form.buffers:
        table = at_end.enter_context(uring.RegisteredBuffers.allocate(ring, form.depth, SIZE, huge_pages=False))
        slots = [table.acquire(index) for index in range(form.depth)]
        return ring, file, slots, lambda: b"".join(slot.view for slot in slots)
    memory = mmap.mmap(-1, form.depth * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    whole = memoryview(memory)
    return ring, file, [whole[i * SIZE :][:SIZE] for i in range(form.depth)], lambda: bytes(memory)


def fused_calls(form: Form, at_end: ExitStack) -> Callable[[int], Done]:
    """uring.fused: a call for each read, and one for each turn's completions."""
    from uring import fused
    from uring import liburing as L

    ring, file, buffers, memory = made_ready(form, at_end)
    r = fused.attach(ring.c_ring, ENTRIES)
    at_end.callback(fused.detach, r)
    addresses = [L.ffi.from_buffer(buffer.view if form.buffers else buffer) for buffer in buffers]
    fd, options = int(file), L.IOSQE_FIXED_FILE if form.files else 0
    read, read_fixed, wait, completions = fused.uring_read, fused.uring_read_fixed, fused.uring_wait, fused.completions

    def finish() -> None:
        seen = 0
        for _user_data, res, _flags in completions(r, wait(r, form.depth, -1)):
            if res != SIZE:
                raise Wrong(form, res)
            seen += 1
        if seen != form.depth:
            raise Wrong(form, seen)

    def plain(offsets: Sequence[int]) -> None:
        index = 0
        for offset in offsets:
            read(r, index, options, fd, addresses[index], SIZE, offset)
            index += 1
        finish()

    def fixed(offsets: Sequence[int]) -> None:
        index = 0
        for offset in offsets:
            read_fixed(r, index, options, fd, addresses[index], SIZE, offset, index)
            index += 1
        finish()

    return checked(form, fixed if form.buffers else plain, memory)


def looked_at(form: Form, done: list[Any]) -> None:
    """Take the result of each Operation."""
    for operation in done:
        if operation.result() != SIZE:
            raise Wrong(form, operation)
    if len(done) != form.depth:
        raise Wrong(form, len(done))


def operations(form: Form, at_end: ExitStack) -> Callable[[int], Done]:
    """uring.Ring: an Operation for each read, its result taken; a buffer stays on loan."""
    ring, file, buffers, memory = made_ready(form, at_end)

    def turn(offsets: Sequence[int]) -> None:
        for buffer, offset in zip(buffers, offsets, strict=True):
            ring.read(file, buffer, offset)
        looked_at(form, ring.wait(form.depth))

    return checked(form, turn, memory)


def leased_operations(form: Form, at_end: ExitStack) -> Callable[[int], Done]:
    """The same with a buffer that is acquired for each read, and given back after it."""
    import uring

    fd = opened(form.direct, at_end)
    ring = at_end.enter_context(uring.Ring(ENTRIES))
    file = at_end.enter_context(uring.RegisteredFiles(ring, [fd]))[0]
    table = at_end.enter_context(uring.RegisteredBuffers.allocate(ring, form.depth, SIZE, huge_pages=False))
    acquire = table.acquire
    slots: list[Any] = []

    def turn(offsets: Sequence[int]) -> None:
        slots.clear()
        for offset in offsets:
            slot = acquire()
            slots.append(slot)
            ring.read(file, slot, offset)
        looked_at(form, ring.wait(form.depth))
        for slot in slots:
            slot.release()

    def memory() -> bytes:
        found = b""
        for slot in slots:
            with acquire(slot.index) as again:
                found += bytes(again.view)
        return found

    return checked(form, turn, memory)


LAYERS = (("C", c_floor), ("fused", fused_calls), ("Ring", operations))
WAYS = (("plain", False, False), ("buffers", True, False), ("files", False, True), ("both", True, True))
WHAT = {
    "C": "liburing from C",
    "fused": "uring.fused: memory is the caller's",
    "Ring": "uring.Ring: Operations, result() of each",
    "plain": "nothing registered",
    "buffers": "a registered buffer for each read",
    "files": "a registered file",
    "both": "both",
}


def lane(name: str, what: str, direct: bool, function: Any, *, buffers: bool, files: bool) -> Lane:
    """A lane at each depth."""

    def prepare(bench: Bench, point: Point, at_end: ExitStack) -> Ready:
        depth = int(point["depth"])
        run = function(Form(depth, direct, buffers, files), at_end)
        # About as long for each lane and round, whatever one read takes.
        batches = bench.pick({True: {1: 20, 32: 80, 128: 80}, False: dict.fromkeys(DEPTHS, 250)}[direct][depth], 2)
        return Ready(lambda: run(batches))

    return Lane(name, what, prepare)


def case(direct: bool) -> Case:
    """The lanes over one kind of storage."""
    lanes = [
        lane(f"{layer}, {way}", f"{WHAT[layer]}; {WHAT[way]}", direct, function, buffers=buffers, files=files)
        for layer, function in LAYERS
        for way, buffers, files in WAYS
    ]
    what = "Ring, both: a buffer acquired and given back for each read"
    lanes.append(lane("Ring, both, leased", what, direct, leased_operations, buffers=True, files=True))
    source = "with O_DIRECT" if direct else "from the page cache"
    return Case(
        name=f"registered-{'direct' if direct else 'cached'}",
        title=f"Registered files and buffers against plain ones: reads of 4 KiB {source}",
        lanes=tuple(lanes),
        axis="depth",
        values=DEPTHS,
        quick_values=(32,),
        ours=tuple(each.name for each in lanes if not each.name.startswith("C")),
        loses="Through Operations registering costs more than it saves; C, fused and bulk calls gain by it.",
        rounds=5,
        shows=("cpu",),
        unit="read",
    )


CASES = (case(False), case(True))
