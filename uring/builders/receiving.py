"""Multishot receives: what their shots are, and which is the end.

A multishot recvmsg writes into each buffer a header, the sender's address, ancillary data and the payload, the first
three of fixed size.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from .._native import ffi, lib
from ..addresses import Address, decode
from ..types import FIXED_FILE, FixedFile
from .ancillary import descriptors, split
from .multishots import LeaseMultishot

if TYPE_CHECKING:
    from ..provided_buffers import ProvidedBuffer

_CSocket: Any = socket.SocketType
DATAGRAMS = (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_RDM)


class RecvMultishot(LeaseMultishot["ProvidedBuffer"]):
    """Receives; a datagram of no bytes is not the end."""

    __slots__ = ()

    def _is_end(self, res: int) -> bool:
        return res == 0 and not _has_datagrams(self._about[0], self._options)


class ReceivedMessage(NamedTuple):
    """A message of a multishot recvmsg."""

    payload: ProvidedBuffer
    """The lease of its buffer, of which only the payload is to be seen."""
    ancdata: list[tuple[int, int, bytes]]
    """Ancillary data, as of `socket.recvmsg`; descriptors in it are the program's."""
    flags: int
    """MSG_*, MSG_TRUNC for example when the buffer was too small."""
    address: Address | None
    """The sender."""


class RecvmsgMultishot(LeaseMultishot[ReceivedMessage]):
    """Receives of messages; the fourth item of `about` is the msghdr with the sizes of name and ancillary data."""

    __slots__ = ()

    def _is_end(self, res: int) -> bool:
        return res <= _room_of(self._about[3]) and not _has_datagrams(self._about[0], self._options)

    def _view(self, value: Any) -> ReceivedMessage:
        header = self._about[3]
        raw = self._group._span(value)
        # A copy of what comes before the payload: C looks no further.
        memory = ffi.from_buffer(bytes(raw[: _room_of(header)]))
        out = lib.io_uring_recvmsg_validate(memory, len(raw), header)
        if out == ffi.NULL:
            return ReceivedMessage(value, [], 0, None)
        length = int(lib.io_uring_recvmsg_payload_length(out, len(raw), header))
        start, name = ffi.sizeof("struct io_uring_recvmsg_out"), header.msg_namelen
        address = decode(bytes(raw[start : start + min(name, out.namelen)]))
        start += name
        ancdata = split(bytes(raw[start : start + min(header.msg_controllen, out.controllen)]))
        start += header.msg_controllen
        flags = int(out.flags) & ~socket.MSG_CMSG_CLOEXEC
        self._group._narrow(value, start, start + length)
        return ReceivedMessage(value, ancdata, flags, address)

    def _throw_away_value(self, value: Any) -> None:
        for received in descriptors(self._view(value).ancdata):
            os.close(received)

    def _error(self) -> Exception:
        if self._res == -errno.EFAULT:
            why = f"the buffers of its group must be larger than {_room_of(self._about[3])} bytes"
            return OSError(errno.EFAULT, f"{os.strerror(errno.EFAULT)} [{self.description()}] ({why})")
        return super()._error()


def _room_of(header: Any) -> int:
    """What comes before the payload in the buffer of a multishot recvmsg."""
    return int(ffi.sizeof("struct io_uring_recvmsg_out") + header.msg_namelen + header.msg_controllen)


def _has_datagrams(file: int, options: int) -> bool:
    """Whether a socket's messages can be empty without being the end; of a registered file it is not known."""
    if options & FIXED_FILE or isinstance(file, FixedFile):
        return False
    sockets: list[Any] = []
    try:
        # The type in C, which asks the kernel for what it is given no values for. It never owns the descriptor: no
        # signal's handler may raise before it is in the list, nor before it is detached.
        sockets.extend(map(_CSocket, (-1,), (-1,), (-1,), (file,)))
        return sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) in DATAGRAMS
    except OSError:
        return False
    finally:
        for sock in sockets:
            sock.detach()
