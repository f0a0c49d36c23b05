"""Registered files in large numbers, dropped and interrupted anywhere: no wrong file, no slot lost or given twice."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import queue
import random
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from c_style import require_opcode
from interrupting import Stop, interruption, striking
from scale import LONG, scaled

from uring import ChainBroken, FixedFile, Operation, Params, RegisteredFile, RegisteredFiles, Ring

SIZE = 32
# Of the steps at which a signal's handler may raise, each eleventh is tried; with 1 it takes half a minute.
STRIDE = int(os.environ.get("URING_TEST_STRIDE", "11"))


@pytest.fixture(autouse=True)
def chosen_slots() -> None:
    """Slots in a range where the kernel chooses."""
    require_opcode("IORING_OP_SEND_ZC")  # of the same kernel, 6.0


@pytest.fixture
def ring() -> Iterator[Ring]:
    """A ring of 64 entries."""
    with Ring(64, exit_timeout=LONG) as opened:
        yield opened


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Files of 32 bytes, each full of its own number."""
    found = []
    for number in range(16):
        path = tmp_path / str(number)
        path.write_bytes(bytes([number]) * SIZE)
        found.append(str(path))
    return found


@pytest.fixture
def descriptors(paths: list[str]) -> Iterator[list[int]]:
    """The same, open."""
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    yield fds
    for fd in fds:
        os.close(fd)


def filled(ring: Ring, size: int) -> list[int]:
    """The slots with a file in them, as the kernel knows it."""
    found = []
    for slot in range(size):
        error = ring.poll_add(FixedFile(slot)).exception(timeout=LONG)
        if error is None:
            found.append(slot)
        else:
            assert isinstance(error, OSError)
            assert error.errno == errno.EBADF
    return found


def assert_empty(ring: Ring, table: RegisteredFiles) -> None:
    """No slot is in use, in our books and in the kernel's, and all can be used again, each once."""
    size = len(table)
    assert table.in_use == 0
    assert filled(ring, size) == []
    ours = [table.reserve() for _ in range(size - len(table.kernel_range))]
    with pytest.raises(OSError, match="no slot to reserve"):
        table.reserve()
    opened = [ring.openat("/dev/null", direct=table) for _ in table.kernel_range]
    theirs = [operation.result(timeout=LONG) for operation in opened]
    assert sorted(ours + theirs) == list(range(size))
    del ours, theirs, opened
    assert table.in_use == 0
    assert filled(ring, size) == []


# --- many ----------------------------------------------------------------------------------------------


def test_updates_while_reads_run(ring: Ring, descriptors: list[int]) -> None:
    """A read brings the file that was in the slot when the read was made, whatever replaced it before it ran."""
    chance = random.Random(1)
    there = [chance.randrange(16) for _ in range(8)]
    refused = reads = 0
    with RegisteredFiles(ring, [descriptors[number] for number in there]) as table:
        running: deque[tuple[Operation[int], bytearray, int]] = deque()
        for _ in range(scaled(20_000)):
            slot, number = chance.randrange(8), chance.randrange(16)
            if chance.random() < 0.4:
                try:
                    table.update(slot, descriptors[number])
                    there[slot] = number
                except RuntimeError:  # a forced one may not have started
                    refused += 1
            else:
                buffer = bytearray(SIZE)
                file = table[slot]
                if chance.random() < 0.1:
                    operation = ring.read(file, buffer, 0, force_async=True)
                else:
                    operation = ring.read(file, buffer, 0)
                running.append((operation, buffer, there[slot]))
            if len(running) > 24:
                operation, buffer, expected = running.popleft()
                assert operation.result(timeout=LONG) == SIZE
                assert buffer == bytes([expected]) * SIZE
                reads += 1
        assert refused
        for operation, buffer, expected in running:
            assert operation.result(timeout=LONG) == SIZE
            assert buffer == bytes([expected]) * SIZE
    assert reads


def test_updates_while_receives_wait(ring: Ring) -> None:
    """Receives stay with the socket that they started on through many exchanges of its slot."""
    pairs = [socket.socketpair() for _ in range(20)]
    with contextlib.ExitStack() as stack:
        for ends in pairs:
            for end in ends:
                stack.enter_context(end)
        with RegisteredFiles(ring, [pairs[0][0]]) as table:
            receives = []
            for near, _ in pairs:
                buffer = bytearray(1)
                table.update(0, near)
                receives.append((ring.recv(table[0], buffer), buffer))
            table.update(0, pairs[0][0])
            for number, (_, far) in enumerate(pairs):
                far.send(bytes([number]))
            for number, (receive, buffer) in enumerate(receives):
                assert receive.result(timeout=LONG) == 1
                assert buffer[0] == number
            assert table.in_use == 1


def test_chains_through_eight_slots(ring: Ring, paths: list[str]) -> None:
    """Open, read and close a hundred thousand times through eight slots that were reserved: always the right data."""
    before = len(os.listdir("/proc/self/fd"))
    with RegisteredFiles(ring, 8, kernel_slots=0) as table:
        slots = [table.reserve() for _ in range(8)]
        buffers = [bytearray(SIZE) for _ in slots]
        for turn in range(scaled(100_000) // 8):
            expected = [(turn + number) % 16 for number in range(8)]
            for slot, buffer, number in zip(slots, buffers, expected, strict=True):
                with ring.chain():
                    ring.openat(paths[number], direct=slot, skip_success=True)
                    ring.read(slot, buffer, 0, skip_success=True)
                    ring.close_fd(slot)
            assert len(ring.wait(8, LONG)) == 8
            assert [buffer[0] for buffer in buffers] == [buffer[-1] for buffer in buffers] == expected
        assert filled(ring, 8) == []
        assert table.in_use == 8
        for slot in slots:
            slot.close()
        assert_empty(ring, table)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kernel_slots", [8, 0, 4])
@pytest.mark.parametrize("ending", ["close_fd", "close", "drop"])
def test_opens_through_eight_slots(ring: Ring, paths: list[str], kernel_slots: int, ending: str) -> None:
    """Files that the table places, ended in each way, over and over: no slot is lost and no data is another's."""
    with RegisteredFiles(ring, 8, kernel_slots=kernel_slots) as table:
        for turn in range(scaled(10_000) // (kernel_slots or 8)):
            opened = [ring.openat(paths[(turn + number) % 16], direct=table) for number in range(kernel_slots or 8)]
            files = [operation.result(timeout=LONG) for operation in opened]
            buffers = [bytearray(SIZE) for _ in files]
            for file, buffer in zip(files, buffers, strict=True):
                ring.read(file, buffer, 0)
                if ending == "close_fd":
                    ring.wait(1, LONG)
                    ring.close_fd(file)
                elif ending == "close":
                    file.close()
            del files, file, opened
            while ring.statistics().in_flight:
                ring.wait(1, LONG)
            assert [buffer[0] for buffer in buffers] == [(turn + number) % 16 for number in range(len(buffers))]
        assert_empty(ring, table)


def test_everything_at_random(ring: Ring, paths: list[str], descriptors: list[int]) -> None:
    """Opens, reserved slots, reads, chains, drops, closes, abandons and updates: each read is right, no slot lost."""
    chance = random.Random(2)
    before = len(os.listdir("/proc/self/fd"))
    with RegisteredFiles(ring, [descriptors[0], *[None] * 11]) as table:
        files: list[tuple[RegisteredFile, int]] = []
        reads: deque[tuple[Operation[int], bytearray, int]] = deque()
        for _ in range(scaled(4000)):
            number = chance.randrange(16)
            what = chance.randrange(8)
            if what == 0:
                with contextlib.suppress(OSError):  # five are the kernel's to choose
                    files.append((ring.openat(paths[number], direct=table).result(timeout=LONG), number))
            elif what == 1:
                ring.openat(paths[number], direct=table).abandon()
            elif what == 2 and files:
                file, _ = files.pop(chance.randrange(len(files)))
                chance.choice([file.close, lambda: None, lambda file=file: ring.close_fd(file)])()
                del file
            elif what == 3 and table.in_use < 6:
                with table.reserve() as slot, ring.chain():
                    buffer = bytearray(SIZE)
                    ring.openat(paths[number], direct=slot)
                    reads.append((ring.read(slot, buffer, 0), buffer, number))
                    if chance.random() < 0.5:
                        ring.close_fd(slot)
            elif what == 4:
                with contextlib.suppress(RuntimeError):
                    table.update(0, descriptors[number])
            elif files:
                file, expected = chance.choice(files)
                buffer = bytearray(SIZE)
                reads.append((ring.read(file, buffer, 0), buffer, expected))
                del file
            while len(reads) > 20:
                operation, buffer, expected = reads.popleft()
                assert operation.result(timeout=LONG) == SIZE
                assert buffer == bytes([expected]) * SIZE
        files.clear()
        while ring.statistics().in_flight:
            ring.wait(1, LONG)
        ring.wait(0)
        for operation, buffer, expected in reads:
            assert operation.result(timeout=LONG) == SIZE
            assert buffer == bytes([expected]) * SIZE
        table.update(0, None)
        table.set_alloc_range(6, 6)
        assert_empty(ring, table)
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_tables(descriptors: list[int]) -> None:
    """Tables are made and given back, closed or dropped, on rings that end with them or before: nothing is left."""
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(scaled(100)):
        with Ring(8) as ring:
            for number in range(5):
                table = RegisteredFiles(ring, [*descriptors, None, None])
                slot = table.reserve()
                assert ring.openat("/dev/null", direct=slot).result(timeout=LONG) is slot
                if (turn + number) % 2:
                    table.close()
                del table, slot
    assert len(os.listdir("/proc/self/fd")) == before


# --- chains that break --------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["nothing", "open", "read", "close", "before", "cancelled", "left"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("options", [{}, {"skip_success": True}], ids=["all report", "the last reports"])
def test_a_chain_that_breaks_gives_its_slot_back_once(
    ring: Ring, paths: list[str], broken: str, kept: bool, options: Any
) -> None:
    """Wherever the chain breaks, its slot is empty and free afterwards, and free only once."""
    reader, writer = os.pipe()
    with RegisteredFiles(ring, 4, kernel_slots=0) as table:
        for _ in range(scaled(20)):
            slot = table.reserve()
            buffer = bytearray(SIZE + (broken == "read"))
            with contextlib.suppress(ZeroDivisionError), ring.chain() as chain:
                if broken == "before":
                    ring.nop(result=-errno.EIO)
                elif broken == "cancelled":
                    ring.read(reader, bytearray(1))
                ring.openat(paths[0] + "missing" * (broken == "open"), direct=slot, **options)
                ring.read(slot, buffer, 0, **options)
                if broken == "close":
                    ring.nop(result=-errno.EIO)
                ring.close_fd(slot)
                if broken == "left":
                    raise ZeroDivisionError
            if not kept:
                slot.close()
                with pytest.raises(ValueError, match="closed"):
                    ring.read(slot, buffer)
            if broken == "cancelled":
                ring.submit()
                ring.cancel(next(iter(chain)))
            while ring.statistics().in_flight:
                ring.wait(1, LONG)
            if broken == "nothing":
                assert buffer == bytes(SIZE)
            elif broken not in ("left", "before") and not options:
                assert isinstance([*chain][-1].exception(), ChainBroken)
            assert table.in_use == kept
            slot.close()
            assert table.in_use == 0
        assert_empty(ring, table)
    os.close(reader)
    os.close(writer)


# --- destructors ---------------------------------------------------------------------------------------


def test_files_are_dropped_in_other_threads(ring: Ring, paths: list[str]) -> None:
    """Other threads drop files while the ring's own opens more: all slots come back."""
    hand_over: queue.Queue[Any] = queue.Queue()

    def drop() -> None:
        while hand_over.get() is not None:
            pass

    threads = [threading.Thread(target=drop) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with RegisteredFiles(ring, 64) as table:
            for turn in range(scaled(3000)):
                try:
                    direct: Any = table.reserve() if turn % 2 else table
                    file = ring.openat(paths[turn % 16], direct=direct).result(timeout=LONG)
                except OSError:  # the others are slow
                    continue
                buffer = bytearray(SIZE)
                assert ring.read(file, buffer, 0).result(timeout=LONG) == SIZE
                assert buffer[0] == turn % 16
                hand_over.put(file)
                del file, direct
            for _ in threads:
                hand_over.put(None)
            for thread in threads:
                thread.join()
            assert_empty(ring, table)
    finally:
        for _ in threads:
            hand_over.put(None)
        for thread in threads:
            thread.join()


def test_files_are_collected_at_any_moment(ring: Ring, paths: list[str]) -> None:
    """Files in cycles are collected inside of whichever call of the ring or the table runs just then."""
    before = gc.get_threshold()
    with RegisteredFiles(ring, 16) as table:
        gc.set_threshold(3, 2, 2)
        try:
            for turn in range(scaled(1000)):
                file = ring.openat(paths[turn % 16], direct=table).result(timeout=LONG)
                slot = table.reserve()
                cycle: list[Any] = [file, slot]
                cycle.append(cycle)
                ring.read(file, bytearray(SIZE), 0)
                del cycle, file, slot
                ring.wait(turn % 3 == 0, LONG)
        finally:
            gc.set_threshold(*before)
        while ring.statistics().in_flight:
            ring.wait(1, LONG)
        gc.collect()
        assert_empty(ring, table)


@pytest.mark.parametrize("kernel_slots", [0, 4])
def test_garbage_is_collected_when_slots_run_out(ring: Ring, paths: list[str], kernel_slots: int) -> None:
    """Slots that only finished chains hold are found when there is no other, though nothing else collects them."""
    gc.collect()
    gc.disable()
    try:
        with RegisteredFiles(ring, 4, kernel_slots=kernel_slots) as table:
            for number in range(20):
                buffer = bytearray(SIZE)
                with ring.chain():
                    opened = ring.openat(paths[number % 16], direct=table)
                    if not kernel_slots:
                        ring.read(opened._about[3], buffer, 0)
                    ring.nop()
                assert isinstance(opened.result(timeout=LONG), RegisteredFile)
                ring.wait(0)
            del opened
            gc.collect()
            assert_empty(ring, table)
    finally:
        gc.enable()


@pytest.mark.parametrize("outstanding", [True, False])
def test_files_outlive_ring_and_interpreter(tmp_path: Path, outstanding: bool) -> None:
    """Tables, files and operations that are left at the interpreter's end, in any order, make no noise."""
    (tmp_path / "file").write_bytes(b"content")
    code = f"""if True:
        import os, threading, warnings
        import uring
        warnings.simplefilter("ignore", ResourceWarning)
        ring = uring.Ring(8)
        table = uring.RegisteredFiles(ring, [0, None, None, None, None])
        file = ring.openat({str(tmp_path / "file")!r}, direct=table).result()
        slot = table.reserve()
        cycle = [file, slot, table]
        cycle.append(cycle)
        if {outstanding}:
            late = ring.openat({str(tmp_path / "file")!r}, direct=slot)
            read = ring.read(os.pipe()[0], bytearray(1))
            read_file = ring.read(file, bytearray(1))
            ring.submit()
            threading.local().file = file
        else:
            ring.close()
        print("ended")
    """
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (child.returncode, child.stdout, child.stderr) == (0, "ended\n", "")


def test_a_ring_is_dropped_with_late_opens(paths: list[str]) -> None:
    """A ring that goes with opens into its table outstanding closes their files, and loses no descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(scaled(50)):
        ring = Ring(8, Params())
        table = RegisteredFiles(ring, 4)
        operations = [
            ring.openat(paths[0], direct=table, force_async=True),
            ring.openat(paths[1], direct=table.reserve()),
        ]
        ring.submit()
        ring.close()
        for operation in operations:
            with contextlib.suppress(Exception):
                assert operation.result().closed
        del operations, operation, table, ring
    assert len(os.listdir("/proc/self/fd")) == before


# --- an exception at every step -----------------------------------------------------------------------


def named(ring: Ring, table: RegisteredFiles, paths: list[str]) -> None:
    """A chain over a reserved slot."""
    with table.reserve() as slot:
        with ring.chain():
            ring.openat(paths[0], direct=slot)
            ring.read(slot, bytearray(SIZE), 0)
            ring.close_fd(slot)
        ring.wait(3, LONG)
    table.reserve_pair()


def chosen(ring: Ring, table: RegisteredFiles, paths: list[str]) -> None:
    """Files in slots that the kernel chooses: closed, closed by a request, and dropped."""
    with ring.openat(paths[0], direct=table).result(LONG) as file:
        ring.read(file, bytearray(SIZE), 0).result(LONG)
    file = ring.openat(paths[1], direct=table).result(LONG)
    ring.close_fd(file)
    ring.openat(paths[2], direct=table).abandon()
    ring.wait(0)
    ring.openat(paths[2], direct=table)
    del file
    ring.wait(1, LONG)


def changed(ring: Ring, table: RegisteredFiles, paths: list[str]) -> None:
    """Files that are exchanged while they are read."""
    fd = os.open(paths[0], os.O_RDONLY)
    try:
        file = table.update(0, fd)
        read = ring.read(file, bytearray(SIZE), 0)
        table.update(0, fd)
        assert read.result(LONG) == SIZE
        table.update(0, None)
        table.set_alloc_range(4, 2)
        table.set_alloc_range(3, 3)
    finally:
        os.close(fd)


@pytest.mark.parametrize("work", [named, chosen, changed])
def test_an_exception_at_every_step(paths: list[str], work: Callable[..., None]) -> None:
    """Wherever a signal's handler raises, all slots are free at the end, and each of them once."""
    number = stopped = 0
    finished = False
    while not finished:
        number += STRIDE
        with Ring(8, exit_timeout=LONG) as ring, RegisteredFiles(ring, 6) as table:
            try:
                with interruption(number):
                    work(ring, table, paths)
                finished = True
            except Stop:
                stopped += 1
                if ring._recording is not None:
                    ring._recording.__exit__(Stop, None, None)
            while ring._native.in_flight:
                ring.wait(0)
            ring.wait(0)
            if work is changed:
                # What the kernel has taken, and what we know of it, may differ by an interrupted call: update says.
                table.update(0, None)
                table.set_alloc_range(3, 3)
            gc.collect()
            assert_empty(ring, table)
    assert stopped * STRIDE > 150


def test_a_handler_that_gives_slots_back_while_the_table_is_closed(ring: Ring, descriptors: list[int]) -> None:
    """Wherever it strikes, the table is closed, and the ring takes another one."""
    number, finished = 0, False
    while not finished:
        number += 1
        table = RegisteredFiles(ring, [*descriptors[:3], None, None], kernel_slots=0)
        table.reserve()  # dropped at once: what the handler's call gives back
        with striking(number, lambda: ring.wait(0)) as left:
            table.close()
        finished = left[0] > 0
        table.close()
    RegisteredFiles(ring, descriptors[:1]).close()
