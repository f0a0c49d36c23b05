"""io_uring for Python.

`Ring` and what it gives out are the Pythonic layer: complete, typed, memory-safe. `uring.liburing` holds all of
liburing under its C names, and `uring.fused` the calls for a loop of one's own; all three work on the same ring.

    import uring

    with uring.Ring(64) as ring:
        data = bytearray(4096)
        with open("file", "rb") as file:
            count = ring.read(file, data, offset=0).result()
"""

import importlib
import typing

from ._version import __version__
from .buffer_slots import BufferSlot
from .builders.cancelling import CancelResult
from .builders.direct import ALLOC
from .builders.polling import EpollCtl
from .builders.receiving import ReceivedMessage
from .builders.zero_copy import ZeroCopyOperation
from .chain import Chain
from .completion import Completion
from .errors import (
    BuffersExhausted,
    ChainBroken,
    Forked,
    OperationCancelled,
    RingClosed,
    RingError,
    Unsupported,
    WrongThread,
)
from .file_slots import RegisteredFile
from .flags import CqeFlag, Feature, Futex2, Resolve, SendRecv, Setup, Statx
from .multishot import Multishot
from .operation import Operation, State
from .params import Params
from .provided_buffers import ProvidedBuffer, ProvidedBuffers
from .registered_buffers import RegisteredBuffers
from .registered_files import RegisteredFiles
from .registration import Napi, Query, send_message
from .ring import Ring, Statistics
from .stat_result import StatResult
from .types import BufferGroup, FixedBuffer, FixedFile, Nanoseconds, Options, aligned_buffer
from .zero_copy_receive import DmaBuf, ZeroCopyLease, ZeroCopyReceive, ZeroCopyStream

if typing.TYPE_CHECKING:
    from .bulk import Plan
    from .bulk_results import BulkResult, FilesResult, OpenManyResult, StatManyResult, TransferResult
    from .many import open_many, read_files, read_many, stat_many, unlink_many, write_many

# What `import uring` does not pay for: the module of each name that is imported when it is first asked for.
_LATE = {
    "BulkResult": "bulk_results",
    "FilesResult": "bulk_results",
    "OpenManyResult": "bulk_results",
    "Plan": "bulk",
    "StatManyResult": "bulk_results",
    "TransferResult": "bulk_results",
    "open_many": "many",
    "read_files": "many",
    "read_many": "many",
    "stat_many": "many",
    "unlink_many": "many",
    "write_many": "many",
}


def __getattr__(name: str) -> typing.Any:
    module = _LATE.get(name)
    if module is None:
        raise AttributeError(f"module 'uring' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})


__all__ = [
    "ALLOC",
    "BufferGroup",
    "BufferSlot",
    "BuffersExhausted",
    "BulkResult",
    "CancelResult",
    "Chain",
    "ChainBroken",
    "Completion",
    "CqeFlag",
    "DmaBuf",
    "EpollCtl",
    "Feature",
    "FilesResult",
    "FixedBuffer",
    "FixedFile",
    "Forked",
    "Futex2",
    "Multishot",
    "Nanoseconds",
    "Napi",
    "OpenManyResult",
    "Operation",
    "OperationCancelled",
    "Options",
    "Params",
    "Plan",
    "ProvidedBuffer",
    "ProvidedBuffers",
    "Query",
    "ReceivedMessage",
    "RegisteredBuffers",
    "RegisteredFile",
    "RegisteredFiles",
    "Resolve",
    "Ring",
    "RingClosed",
    "RingError",
    "SendRecv",
    "Setup",
    "StatManyResult",
    "StatResult",
    "State",
    "Statistics",
    "Statx",
    "TransferResult",
    "Unsupported",
    "WrongThread",
    "ZeroCopyLease",
    "ZeroCopyOperation",
    "ZeroCopyReceive",
    "ZeroCopyStream",
    "__version__",
    "aligned_buffer",
    "open_many",
    "read_files",
    "read_many",
    "send_message",
    "stat_many",
    "unlink_many",
    "write_many",
]
