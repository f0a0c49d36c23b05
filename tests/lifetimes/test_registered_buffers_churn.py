"""Registered buffers, many times over: no slot has two holders, data lands where it should, and nothing is left."""

from __future__ import annotations

import gc
import os
import queue
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from interrupting import Stop, interruption

from uring import BufferSlot, Operation, RegisteredBuffers, Ring, probe

LONG = 10.0
SCALE = float(os.environ.get("URING_TEST_SCALE", "1"))
SIZE = 4096
DATA = bytes(range(256)) * 16


def scaled(n: int) -> int:
    """So many, times URING_TEST_SCALE; one at least."""
    return max(1, int(n * SCALE))


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """A file of 4 KiB of known bytes."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(number, DATA)
    yield number
    os.close(number)


def usage() -> tuple[int, int, int]:
    """Open descriptors, KiB that the kernel has pinned, KiB that are resident."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if line.startswith("Vm"))
    return len(os.listdir("/proc/self/fd")), int(fields["VmPin"].split()[0]), int(fields["VmRSS"].split()[0])


def assert_no_growth(before: tuple[int, int, int]) -> None:
    """As many descriptors and as much pinned memory as before, and no more than 4 MiB of other memory."""
    gc.collect()
    after = usage()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 4 << 10


class Holders:
    """Who has which slot."""

    def __init__(self, count: int) -> None:
        self.of = [0] * count

    def take(self, slot: BufferSlot) -> int:
        """Count a holder; there must be no other."""
        index = slot.index
        assert self.of[index] == 0, "a slot has two holders"
        self.of[index] = 1
        return index


def is_pinned(buffer: bytearray) -> bool:
    """Whether it cannot be resized."""
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


def test_a_million_leases() -> None:
    """Slots that are lent and given back, all by themselves: each is back at once, and memory does not grow."""
    with Ring(8) as ring, RegisteredBuffers.allocate(ring, 4, SIZE) as table:
        acquire = table.acquire
        for _ in range(1000):
            acquire().release()
        before = usage()
        held: deque[BufferSlot] = deque()
        for _ in range(scaled(500_000)):
            with acquire():
                pass
            held.append(acquire())
            if len(held) == 3:
                del held[0]
        held.clear()
        assert table.free == 4
        assert_no_growth(before)


def test_leases_with_operations_in_flight(fd: int) -> None:
    """Reads on slots whose leases are over by then: no slot is lent while its read goes on, and the data is right."""
    count = scaled(60_000)
    holders = Holders(16)
    with Ring(32) as ring, RegisteredBuffers.allocate(ring, 16, 64) as table:
        owners: dict[Operation[int], int] = {}

        def done(operations: list[Any]) -> None:
            for operation in operations:
                assert operation.result() == 64
                holders.of[owners.pop(operation)] = 0

        before = usage()
        for number in range(count):
            if not table.free:
                done(ring.wait(1, LONG))
            try:
                slot = table.acquire()
            except BufferError:
                continue  # the operations that are complete were not those
            index = holders.take(slot)
            owners[ring.read(fd, slot, number % 256, force_async=number % 64 == 0)] = index
            if number % 3:
                slot.release()
            del slot
        while owners:
            done(ring.wait(1, LONG))
        assert table.free == 16
        for index in range(16):
            start = bytes(table.acquire(index).view)
            assert start in DATA
        assert_no_growth(before)


def test_leases_that_end_in_other_threads() -> None:
    """Views that are dropped in three threads while the owner lends: never two holders, and none is lost."""
    count = 8
    holders = Holders(count)
    handed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    wrong: list[Any] = []

    def use() -> None:
        while True:
            item = handed.get()
            if item is None:
                return
            index, mark, view = item
            if int.from_bytes(view[:8], "little") != mark:
                wrong.append((index, mark, bytes(view[:8])))
            holders.of[index] = 0
            del item, view

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with Ring(8) as ring, RegisteredBuffers.allocate(ring, count, 64) as table:
            deadline = time.monotonic() + LONG
            lent = 0
            while lent < scaled(30_000):
                assert time.monotonic() < deadline
                if not table.free:
                    time.sleep(0)
                    continue
                with table.acquire() as slot:
                    index = holders.take(slot)
                    slot.view[:8] = lent.to_bytes(8, "little")
                    handed.put((index, lent, slot.view))
                lent += 1
            for _ in threads:
                handed.put(None)
            for thread in threads:
                thread.join(LONG)
            assert table.free == count
    finally:
        for _ in threads:
            handed.put(None)
        for thread in threads:
            thread.join(LONG)
    assert wrong == []


def test_updates_while_reads_run() -> None:
    """Buffers are replaced under reads in flight: each read's data is in the buffer it began with, and nowhere else."""
    source = random.Random(1)
    count = 8
    pipes = [os.pipe() for _ in range(count)]
    try:
        with Ring(32) as ring, RegisteredBuffers.sparse(ring, count) as table:
            current = [bytearray(16) for _ in range(count)]
            for index, buffer in enumerate(current):
                table.update(index, buffer)
            before = usage()
            reading: dict[int, tuple[Operation[int], bytearray, list[Operation[None]]]] = {}
            for number in range(scaled(6000)):
                index = source.randrange(count)
                if index in reading:
                    read, buffer, releases = reading.pop(index)
                    data = number.to_bytes(8, "little")
                    os.write(pipes[index][1], data)
                    assert read.result(LONG) == 8
                    assert buffer == data + bytes(8)
                    for release in releases:
                        release.result(LONG)
                        assert not is_pinned(buffer)
                    buffer[:] = bytes(16)
                else:
                    with table.acquire(index) as slot:
                        reading[index] = (ring.read(pipes[index][0], slot[:8]), current[index], [])
                    if number % 2:
                        ring.submit()
                if index in reading and source.random() < 0.7:
                    current[index] = bytearray(16)
                    reading[index][2].append(table.update(index, current[index]))
            for index, (read, _, _) in reading.items():
                os.write(pipes[index][1], b"12345678")
                assert read.result(LONG) == 8
            assert table.free == count
            assert len(ring._tags) == count
            assert_no_growth(before)
    finally:
        for ends in pipes:
            for end in ends:
                os.close(end)


def test_tables_one_after_another(fd: int) -> None:
    """Tables that are made, used, changed and closed or dropped: all is given back each time."""
    clones = probe.register_ops()["REGISTER_CLONE_BUFFERS"]

    def once(ring: Ring, number: int) -> None:
        table = RegisteredBuffers(ring, [bytearray(64) for _ in range(3)])
        slot = table.acquire()
        ring.read(fd, slot, 0)
        if clones:
            table.grow(2)
        table.update(2 if slot.index != 2 else 1, bytearray(10))
        if number % 2:
            slot.release()
            table.close()
        del table, slot
        ring.wait(1, LONG)

    with Ring(8) as ring:
        for number in range(20):
            once(ring, number)
        before = usage()
        for number in range(scaled(2000)):
            once(ring, number)
        ring.peek()
        assert ring._tags == {}
        assert_no_growth(before)


def work(ring: Ring, fd: int, pipe: tuple[int, int], buffers: list[bytearray], kept: list[Any]) -> None:
    """Everything that a table can do, once."""
    table = RegisteredBuffers(ring, buffers[:3])
    kept.append(table)
    with table.acquire(0) as slot:
        read = ring.read(pipe[0], slot[:4])
    kept.append(read)
    kept.append(table.update(0, buffers[3]))
    os.write(pipe[1], b"data")
    read.result(LONG)
    kept[2].result(LONG)
    with table.acquire(0) as slot:
        ring.read(fd, slot, 0)
        kept.append(slot.view)
    kept.pop()
    table.grow(2)
    table.shrink(3)
    table.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="places of interruption are told by 3.11's instructions")
def test_an_exception_at_every_step(fd: int) -> None:
    """Wherever a signal's handler raises: no slot is lent twice or lost, slots work, and all memory is given back."""
    if not probe.register_ops()["REGISTER_CLONE_BUFFERS"]:
        pytest.skip("this kernel lacks IORING_REGISTER_CLONE_BUFFERS")
    number, finished, before = 0, False, usage()
    while not finished:
        number += 1
        ends = os.pipe()
        buffers = [bytearray(8) for _ in range(4)]
        kept: list[Any] = []
        try:
            with Ring(8) as ring:
                try:
                    with interruption(number):
                        work(ring, fd, ends, buffers, kept)
                    finished = True
                except Stop:
                    pass
                os.write(ends[1], b"12345678")
                deadline = time.monotonic() + LONG
                while ring._native.in_flight:
                    ring.wait(0)
                    assert time.monotonic() < deadline, number
                del kept[1:]
                if kept and not kept[0].closed:
                    table = kept[0]
                    assert table.free == sum(pin is not None for pin in table._entries), number
                    for index in range(len(table)):
                        if table._entries[index] is None:
                            continue
                        with table.acquire(index) as slot:
                            assert ring.read(fd, slot, index).result(LONG) == 8, number
                            assert bytes(slot.view) == DATA[index : index + 8], number
                    lent = [table.acquire() for _ in range(table.free)]
                    assert len({slot.index for slot in lent}) == len(lent), number
                    slot = None
                    del lent, table
                del kept[:]
                with RegisteredBuffers(ring, [bytearray(1)]) as table:  # nothing of the old one is in the way
                    assert table.free == 1
                del table
            assert not any(is_pinned(buffer) for buffer in buffers), number
        finally:
            for end in ends:
                os.close(end)
    assert number > 100
    gc.collect()
    assert usage()[:2] == before[:2]
