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
from .chain import Chain
from .completion import Completion
from .errors import (
    ChainBroken,
    Forked,
    OperationCancelled,
    RingClosed,
    RingError,
    Unsupported,
    WrongThread,
)
from .flags import CqeFlag, Feature, Futex2, Resolve, SendRecv, Setup, Statx
from .operation import Operation, State
from .params import Params
from .registered_buffers import RegisteredBuffers
from .registration import Napi, Query, send_message
from .ring import Ring, Statistics
from .stat_result import StatResult
from .types import FixedBuffer, FixedFile, Nanoseconds, Options, aligned_buffer

__all__ = [
    "ALLOC",
    "BufferSlot",
    "CancelResult",
    "Chain",
    "ChainBroken",
    "Completion",
    "CqeFlag",
    "EpollCtl",
    "Feature",
    "FixedBuffer",
    "FixedFile",
    "Forked",
    "Futex2",
    "Nanoseconds",
    "Napi",
    "Operation",
    "OperationCancelled",
    "Options",
    "Params",
    "Query",
    "RegisteredBuffers",
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
    "__version__",
    "aligned_buffer",
    "send_message",
]
