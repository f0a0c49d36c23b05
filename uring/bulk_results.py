"""What bulk calls return: one object for all requests, with a count and an error for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, overload

from ._native import ffi, lib
from .errors import os_error
from .stat_result import StatResult, stat_result


def array_of(memory: Any, count: int, size: int) -> Any:
    """Integers of `size` bytes, an array without a copy: numpy's when numpy is installed, else a memoryview."""
    data = ffi.buffer(memory, count * size)
    try:
        import numpy
    except ImportError:
        return memoryview(data).cast("q" if size == 8 else "i")
    dtype = f"int{8 * size}"
    return numpy.frombuffer(data, dtype) if count else numpy.empty(0, dtype)


class BulkResult:
    """What became of the requests of a bulk call, in their order.

    Attributes:
        backend: "io_uring", or "threads" where the caller has allowed that and io_uring is denied.
        retried: how many requests were made again, because they were short or interrupted.
    """

    def __init__(self, name: str, count: int, subject: Callable[[int], tuple[str, Any]]) -> None:
        self._name, self._count, self._subject = name, count, subject
        self._errors = ffi.new("int32_t[]", count)
        counts = ffi.new("int64_t[]", count)
        self._blank(counts)
        self._counts = counts
        self.backend = "io_uring"
        self.retried = 0
        self._failed = 0

    def _blank(self, counts: Any) -> None:
        """Fill in what stands for no result: 0."""

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._count} requests, {self._failed} failed, by {self.backend}>"

    @property
    def errors(self) -> Any:
        """The errno of each request, 0 for success: an array of 32-bit integers."""
        return array_of(self._errors, self._count, 4)

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return self._failed

    def error(self, index: int) -> OSError | None:
        """What went wrong with one request, or None.

        Raises:
            IndexError: there is no such request.
        """
        code = int(self._errors[self._place(index)])
        if not code:
            return None
        what, path = self._subject(self._place(index))
        return os_error(code, what, path, transfer=path is None)

    def raise_for_error(self) -> None:
        """Do nothing when all requests were successful.

        Raises:
            OSError: the error of the first request that failed, in their order; its message tells how many did.
        """
        if not self._failed:
            return
        index = next(index for index, code in enumerate(ffi.unpack(self._errors, self._count)) if code)
        what, path = self._subject(index)
        more = f"; request {index} of {self._count}, {self._failed} failed" if self._count > 1 else ""
        raise os_error(int(self._errors[index]), what + more, path, transfer=path is None)

    def _place(self, index: int) -> int:
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(f"there are {self._count} requests, and no {index}")
        return place

    def _require(self, index: int) -> int:
        error = self.error(index)
        if error is not None:
            raise error
        return self._place(index)


class TransferResult(BulkResult):
    """What `read_many` and `write_many` return.

    Attributes:
        out: the memory: the caller's buffer or buffers, or what was allocated for them, a memoryview.
    """

    def __init__(self, name: str, count: int, subject: Any, out: Any, part: Callable[[int], memoryview]) -> None:
        super().__init__(name, count, subject)
        self.out = out
        self._part = part

    @property
    def counts(self) -> Any:
        """The bytes that each request has transferred: an array of 64-bit integers.

        Fewer than asked for is the end of the file, or what was done before an error.
        """
        return array_of(self._counts, self._count, 8)

    @property
    def total(self) -> int:
        """Bytes that all requests have transferred."""
        return sum(ffi.unpack(self._counts, self._count))

    def __getitem__(self, index: int) -> memoryview:
        """The bytes that one request has transferred, a view of `out`. It does not tell of errors."""
        place = self._place(index)
        return self._part(place)[: int(self._counts[place])]


class StatManyResult(BulkResult, Sequence[StatResult]):
    """What `stat_many` returns: a sequence of StatResults, made as they are asked for."""

    def __init__(self, name: str, count: int, subject: Any) -> None:
        super().__init__(name, count, subject)
        self._stats = ffi.new("struct statx[]", count)

    @overload
    def __getitem__(self, index: int) -> StatResult: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[StatResult]: ...

    def __getitem__(self, index: int | slice) -> StatResult | Sequence[StatResult]:
        """What one path is, or a list of what several are.

        Raises:
            OSError: it could not be found out.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        return stat_result(self._stats[self._require(index)])

    def __contains__(self, _: object) -> bool:
        raise TypeError("look for a path in the paths that were given")

    @property
    def sizes(self) -> list[int]:
        """The size of each file in bytes, -1 where that could not be found out."""
        pairs = zip(self._stats, ffi.unpack(self._errors, self._count), strict=True)
        return [-1 if error else int(raw.stx_size) for raw, error in pairs]


class OpenManyResult(BulkResult, Sequence[Any]):
    """What `open_many` returns: a sequence of descriptors, or of RegisteredFiles with `direct`.

    It closes them at the end of its block, by `close`, or when it is dropped, unless they were taken by `detach`.
    """

    _open = False

    def __init__(self, name: str, count: int, subject: Any, files: list[Any] | None = None) -> None:
        self._files = files
        super().__init__(name, count, subject)
        self._open = True

    def _blank(self, counts: Any) -> None:
        ffi.buffer(counts)[:] = b"\xff" * ffi.sizeof(counts)  # -1: 0 would be a descriptor

    @property
    def fds(self) -> Any:
        """The descriptors, -1 where a file could not be opened: an array of 64-bit integers.

        Raises:
            ValueError: they are RegisteredFiles, or were closed.
        """
        if self._files is not None:
            raise ValueError("direct descriptors have no fd")
        if not self._open:
            raise ValueError("the files are closed")
        return array_of(self._counts, self._count, 8)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        """One descriptor or RegisteredFile, or a list of several.

        Raises:
            OSError: that file could not be opened.
            ValueError: they were closed.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not self._open:
            raise ValueError("the files are closed")
        place = self._require(index)
        return int(self._counts[place]) if self._files is None else self._files[place]

    def detach(self) -> list[Any]:
        """All that were opened, which are the caller's alone from now on; -1 or None where one was not.

        Raises:
            ValueError: they were closed or detached.
        """
        if not self._open:
            raise ValueError("the files are closed")
        self._open = False
        if self._files is not None:
            return list(self._files)
        fds: list[int] = ffi.unpack(self._counts, self._count)
        self._blank(self._counts)
        return fds

    def close(self) -> None:
        """Close all that were opened; closing twice does nothing."""
        self._open = False
        for place in range(self._count):
            fd = int(self._counts[place])
            if self._files is None and fd >= 0:
                self._counts[place] = -1  # first: a signal's handler may raise as the call returns
                os.close(fd)
            elif self._files is not None and self._files[place] is not None:
                self._files[place].close()

    def __del__(self) -> None:
        if self._files is None and hasattr(self, "_counts"):  # RegisteredFiles look after themselves
            self.close()

    def __enter__(self) -> OpenManyResult:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FilesResult(BulkResult, Sequence[bytes]):
    """What `read_files` returns: a sequence of the files' contents, as bytes that are made when asked for."""

    def __init__(self, name: str, count: int, subject: Any) -> None:
        super().__init__(name, count, subject)
        contents = lib.uring_contents_new(count)
        if contents == ffi.NULL:
            raise MemoryError
        self._contents = ffi.gc(contents, lib.uring_contents_free)
        self._own: list[bytes] | None = None

    def by_hand(self) -> list[bytes]:
        """The list of contents that somebody else than C fills in."""
        self._own = [b""] * self._count
        return self._own

    @property
    def counts(self) -> Any:
        """The bytes of each file, 0 where there was an error: an array of 64-bit integers."""
        return array_of(self._counts, self._count, 8)

    @property
    def total(self) -> int:
        """The bytes of all files."""
        return sum(ffi.unpack(self._counts, self._count))

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        """The contents of one file, or a list of those of several.

        Raises:
            OSError: it could not be read.
        """
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        place = self._require(index)
        if self._own is not None:
            return self._own[place]
        file = self._contents.files[place]
        return bytes(ffi.buffer(file.iov_base, file.iov_len)) if file.iov_len else b""

    def __iter__(self) -> Iterator[bytes]:
        if self._failed or self._own is not None:
            yield from (self[index] for index in range(self._count))
            return
        buffer, contents = ffi.buffer, self._contents  # which this keeps while it lasts
        for file in contents.files[0 : self._count]:
            yield bytes(buffer(file.iov_base, file.iov_len))

    def __contains__(self, data: object) -> bool:
        return any(self.error(index) is None and self[index] == data for index in range(self._count))

    def view(self, index: int) -> memoryview:
        """The contents of one file without a copy; it keeps those of all of them in memory.

        Raises:
            OSError: it could not be read.
        """
        place = self._require(index)
        if self._own is not None:
            return memoryview(self._own[place])
        file = self._contents.files[place]
        if not file.iov_len:
            return memoryview(b"")
        owner = self._contents
        held = ffi.gc(ffi.cast("char *", file.iov_base), lambda _: owner)  # which it keeps alive
        return memoryview(ffi.buffer(held, file.iov_len)).toreadonly()
