"""io_uring for Python.

`Ring` and what it gives out are the Pythonic layer: complete, typed, memory-safe. `uring.liburing` holds all of
liburing under its C names, and `uring.fused` the calls for a loop of one's own; all three work on the same ring.

    import uring

    with uring.Ring(64) as ring:
        data = bytearray(4096)
        with open("file", "rb") as file:
            count = ring.read(file, data, offset=0).result()
"""

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

__all__ = [
    "ALLOC",
    "BufferGroup",
    "BufferSlot",
    "BuffersExhausted",
    "CancelResult",
    "Chain",
    "ChainBroken",
    "Completion",
    "CqeFlag",
    "DmaBuf",
    "EpollCtl",
    "Feature",
    "FixedBuffer",
    "FixedFile",
    "Forked",
    "Futex2",
    "Multishot",
    "Nanoseconds",
    "Napi",
    "Operation",
    "OperationCancelled",
    "Options",
    "Params",
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
    "StatResult",
    "State",
    "Statistics",
    "Statx",
    "Unsupported",
    "WrongThread",
    "ZeroCopyLease",
    "ZeroCopyOperation",
    "ZeroCopyReceive",
    "ZeroCopyStream",
    "__version__",
    "aligned_buffer",
    "send_message",
]
