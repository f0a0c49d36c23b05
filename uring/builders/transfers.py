"""Requests that move data over sockets.

A msghdr and what it points to belong to the Operation: they outlive the last CQE, since the result is read from them.

The kernel fact this rests on: a send or receive that moves less than it was given is a failure only with MSG_WAITALL.
Without it a chain goes on behind a short one, and with CQE_SKIP_SUCCESS nobody would learn how short it was.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..addresses import STORAGE_SIZE, Address, decode, sockaddr
from ..errors import Unsupported, os_error
from ..operation import DescriptorOperation, Kind, Operation
from ..types import SKIP_SUCCESS, Descriptor, FixedBuffer, Options, pack
from .ancillary import descriptors, join, split
from .arguments import U32_MAX, number, reporting
from .base import Builder, file_of, readable, registered, registered_vector, vector, writable
from .files import _registered_index as registered_index
from .sockets import family_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

Message = tuple[int, list[tuple[int, int, bytes]], int, Address | None]

CONTROL_MAX = 1 << 20
WAITALL: int = socket.MSG_WAITALL


class TransferOperation(Operation[int]):
    """A transfer over a socket; none of its failures is about the alignment of buffers."""

    __slots__ = ()

    def _error(self) -> Exception:
        if self._res == -errno.EINVAL and not self._kind.missing:
            return os_error(errno.EINVAL, self.description())
        return super()._error()


class MessageOperation(DescriptorOperation[Message]):
    """A recvmsg; descriptors that came with a message that nobody reads are closed.

    The items of `about` behind the third are the msghdr, and the memory for the name and for control messages.
    """

    __slots__ = ()

    def _close(self, fd: int) -> None:
        for received in descriptors(_message(self, fd)[1]):
            os.close(received)


class ReceiveZcOperation(Operation[int]):
    """A zero-copy receive; the fourth item of `about` is its interface queue."""

    __slots__ = ()

    def _error(self) -> Exception:
        if self._res == -errno.EINVAL and not self._kind.missing:
            why = f"interface queue {self._about[3]} is not registered with this ring"
            return os_error(errno.EINVAL, f"{self.description()}: {why}")
        return super()._error()


def _message(operation: Operation[Any], count: int) -> Message:
    header, name, control = operation._about[3:6]
    raw = bytes(ffi.buffer(control, header.msg_controllen)) if control else b""
    address = decode(bytes(ffi.buffer(name)[: header.msg_namelen]))
    # The flag that we set comes back.
    return count, split(raw), int(header.msg_flags) & ~socket.MSG_CMSG_CLOEXEC, address


def _kinds(name: str, opcode: str, since: str, call: Any, *, zero_copy: bool = False) -> tuple[Kind[int], Kind[int]]:
    """The kinds without and with MSG_WAITALL, see the top of this module."""
    kinds = [
        Kind[int](name, opcode, since, call, operation=TransferOperation, transfer=transfer, zero_copy=zero_copy)
        for transfer in (False, True)
    ]
    return kinds[0], kinds[1]


SEND = _kinds("send", "SEND", "5.6", lib.uring_send)
SENDTO = _kinds("send", "SEND", "6.0", lib.uring_sendto)
SENDV = _kinds("send", "SENDMSG", "5.3", lib.uring_sendmsg)
RECV = _kinds("recv", "RECV", "5.6", lib.uring_recv)
RECVV = _kinds("recv", "RECVMSG", "5.3", lib.uring_recvmsg)
SENDMSG = _kinds("sendmsg", "SENDMSG", "5.3", lib.uring_sendmsg)
RECVMSG: Kind[Message] = Kind("recvmsg", "RECVMSG", "5.3", lib.uring_recvmsg, _message, operation=MessageOperation)
SEND_ZC = _kinds("send_zc", "SEND_ZC", "6.0", lib.uring_send_zc, zero_copy=True)
SEND_ZC_FIXED = _kinds("send_zc", "SEND_ZC", "6.0", lib.uring_send_zc_fixed, zero_copy=True)
SENDMSG_ZC = _kinds("sendmsg_zc", "SENDMSG_ZC", "6.1", lib.uring_sendmsg_zc, zero_copy=True)
SENDMSG_ZC_FIXED = _kinds("sendmsg_zc", "SENDMSG_ZC", "6.15", lib.uring_sendmsg_zc_fixed, zero_copy=True)
RECV_ZC: Kind[int] = Kind("recv_zc", "RECV_ZC", "6.15", lib.uring_recv_zc, operation=ReceiveZcOperation)


def _all_of_it(flags: int, packed: int) -> bool:
    """Whether a transfer has MSG_WAITALL, which `skip_success` needs.

    Raises:
        TypeError, ValueError: no flags; `skip_success` without it.
    """
    waitall = bool(number(flags, "flags") & WAITALL)
    if packed & SKIP_SUCCESS and not waitall:
        raise ValueError("skip_success needs MSG_WAITALL: without it a short transfer would not show")
    return waitall


def _list_of(buffers: Any) -> Any:
    if not isinstance(buffers, (list, tuple)):
        raise TypeError(f"buffers must be a list, not {type(buffers).__name__}")
    return buffers


class TransferBuilders(Builder):
    """Requests that move data over sockets. A socket is a descriptor, an object with `fileno()`, or a FixedFile."""

    _ring: Any  # the `struct io_uring *`

    def send(
        self,
        sock: Descriptor,
        buffer: Any,
        flags: int = 0,
        *,
        address: Address | None = None,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """Send a buffer.

        Args:
            sock: the socket.
            buffer: a contiguous buffer, bytes included; or a list of them.
            flags: MSG_*. With MSG_WAITALL all of it is sent before this is complete, unless there is an error, and a
                short send breaks a chain.
            address: where to, for a socket that is not connected (6.0; with a list 5.3).
            options: see Options; `ioprio` takes SendRecv bits, `skip_success` needs MSG_WAITALL.

        Returns:
            An Operation whose result is the number of bytes sent.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffer, no address, no flags.

        Kernel: 5.6. Twins: `io_uring_prep_send`, `io_uring_prep_sendto`; for a list `io_uring_prep_sendmsg`.
        """
        packed = pack(options) if options else 0
        if isinstance(buffer, (list, tuple)):
            return self._sendmsg(SENDV, sock, packed, (buffer, (), flags, address))
        keep = None
        if type(sock) is not int or sock >> 31:
            sock, packed, keep = file_of(sock, packed)
        waitall = _all_of_it(flags, packed) if flags or packed else False
        memory = readable(buffer)
        length = len(memory)
        about = (sock, None, length)
        if address is None:
            return self._start(SEND[waitall], (memory, keep), about, packed, sock, memory, length, flags)
        name, size = sockaddr(address, family_of(keep if keep is not None else sock))
        owned = (memory, name, keep)
        return self._start(SENDTO[waitall], owned, about, packed, sock, memory, length, flags, name, size)

    def recv(self, sock: Descriptor, buffer: Any, flags: int = 0, **options: Unpack[Options]) -> Operation[int]:
        """Receive into a buffer.

        Args:
            sock: the socket.
            buffer: a writable, contiguous buffer; or a list of them, filled in order.
            flags: MSG_*. With MSG_WAITALL the buffer is filled before this is complete, unless the peer closes or
                there is an error, and a short receive breaks a chain.
            options: see Options; `ioprio` takes SendRecv bits, `skip_success` needs MSG_WAITALL.

        Returns:
            An Operation whose result is the number of bytes received, 0 when the peer has closed.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffer, a read-only one, no flags.

        Kernel: 5.6. Twin: `io_uring_prep_recv`; for a list `io_uring_prep_recvmsg`.
        """
        packed = pack(options) if options else 0
        keep = None
        if type(sock) is not int or sock >> 31:
            sock, packed, keep = file_of(sock, packed)
        waitall = _all_of_it(flags, packed) if flags or packed else False
        if isinstance(buffer, (list, tuple)):
            entries, count, total, memories = vector(buffer, write=True)
            header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
            owned = (header, memories, keep)
            return self._start(RECVV[waitall], owned, (sock, None, total), packed, sock, header, flags)
        memory = writable(buffer)
        length = len(memory)
        about = (sock, None, length)
        return self._start(RECV[waitall], (memory, keep), about, packed, sock, memory, length, flags)

    def sendmsg(
        self,
        sock: Descriptor,
        buffers: Sequence[Any],
        ancdata: Sequence[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Address | None = None,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """Send buffers and ancillary data, descriptors for example.

        Args:
            sock: the socket.
            buffers: a list of contiguous buffers.
            ancdata: (level, type, data) tuples as for `socket.sendmsg`; descriptors are
                `(SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))`. Keep those open until this is complete.
            flags: MSG_*; see `send`.
            address: where to, for a socket that is not connected.
            options: see Options; `skip_success` needs MSG_WAITALL.

        Returns:
            An Operation whose result is the number of bytes sent.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffers, no address, more than 1024 buffers.

        Kernel: 5.3. Twin: `io_uring_prep_sendmsg`.
        """
        return self._sendmsg(SENDMSG, sock, pack(options), (_list_of(buffers), ancdata, flags, address))

    def sendmsg_zc(
        self,
        sock: Descriptor,
        buffers: Sequence[Any],
        ancdata: Sequence[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Address | None = None,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """The same without copying: the buffers stay the kernel's until its notification, after the result.

        Args and results are those of `sendmsg`; the buffers may also be FixedBuffers that are parts of one registered
        buffer (6.15), and `skip_success` is refused, since there are two completions.

        Raises:
            TypeError, ValueError, BufferError: as for `sendmsg`.
            Unsupported: a kernel before 6.1.

        Kernel: 6.1. Twins: `io_uring_prep_sendmsg_zc`, `io_uring_prep_sendmsg_zc_fixed`.
        """
        packed = reporting(options, "sendmsg_zc")
        return self._sendmsg(SENDMSG_ZC, sock, packed, (_list_of(buffers), ancdata, flags, address))

    def _sendmsg(
        self,
        kinds: tuple[Kind[int], Kind[int]],
        sock: Descriptor,
        packed: int,
        message: tuple[Sequence[Any], Sequence[tuple[int, int, Any]], int, Address | None],
    ) -> Operation[int]:
        buffers, ancdata, flags, address = message
        file, packed, keep = file_of(sock, packed)
        waitall = _all_of_it(flags, packed)
        index = registered_index(list(buffers)) if kinds is SENDMSG_ZC else None
        if index is None:
            entries, count, total, memories = vector(buffers, write=False)
        else:
            entries, count, total, memories = registered_vector(self, buffers, write=False)
        header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
        raw, control, name = join(ancdata), None, None
        if raw:
            control = ffi.from_buffer(raw)
            header.msg_control, header.msg_controllen = control, len(control)
        if address is not None:
            name, size = sockaddr(address, family_of(sock))
            header.msg_name, header.msg_namelen = name, size
        owned, about = (header, memories, control, name, keep), (file, None, total)
        if index is None:
            return self._start(kinds[waitall], owned, about, packed, file, header, flags)
        return self._start(SENDMSG_ZC_FIXED[waitall], owned, about, packed, file, header, flags, index)

    def recvmsg(
        self,
        sock: Descriptor,
        buffers: Sequence[Any],
        ancbufsize: int = 0,
        flags: int = 0,
        **options: Unpack[Options],
    ) -> Operation[Message]:
        """Receive into buffers, with ancillary data and the sender's address.

        Args:
            sock: the socket.
            buffers: a list of writable, contiguous buffers.
            ancbufsize: bytes of room for ancillary data; `socket.CMSG_SPACE` computes it.
            flags: MSG_*; descriptors that come are not inherited by programs that are started.
            options: see Options; `skip_success` is refused, since the message would be lost.

        Returns:
            An Operation whose result is that of `socket.recvmsg_into`: (bytes received, ancillary data, message flags,
            address or None). If nobody takes it, descriptors that came are closed.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffers, read-only ones; ancbufsize out of range.

        Kernel: 5.3. Twin: `io_uring_prep_recvmsg`.
        """
        room = number(ancbufsize, "ancbufsize", CONTROL_MAX)
        file, packed, keep = file_of(sock, reporting(options, "recvmsg"))
        bits = number(flags, "flags") | socket.MSG_CMSG_CLOEXEC
        entries, count, total, memories = vector(_list_of(buffers), write=True)
        name = ffi.new("char[]", STORAGE_SIZE)
        control = ffi.new("char[]", room) if room else ffi.NULL
        header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
        header.msg_name, header.msg_namelen = name, STORAGE_SIZE
        header.msg_control, header.msg_controllen = control, room
        about = (file, None, total, header, name, control)
        return self._start(RECVMSG, (memories, keep), about, packed, file, header, bits)

    def send_zc(
        self, sock: Descriptor, buffer: Any, flags: int = 0, zc_flags: int = 0, **options: Unpack[Options]
    ) -> Operation[int]:
        """Send a buffer without copying it: it stays the kernel's until its notification, after the result.

        The operation is complete with its result; the buffer can be resized only after the notification, which the
        ring waits for by itself.

        Args:
            sock: the socket, TCP or UDP.
            buffer: a contiguous buffer, or a FixedBuffer.
            flags: MSG_*; see `send`.
            zc_flags: SendRecv.REPORT_USAGE and the like.
            options: see Options; `skip_success` is refused, since there are two completions.

        Returns:
            An Operation whose result is the number of bytes sent.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffer, no flags.
            Unsupported: a kernel before 6.0.

        Kernel: 6.0. Twins: `io_uring_prep_send_zc`, `io_uring_prep_send_zc_fixed`.
        """
        file, packed, keep = file_of(sock, reporting(options, "send_zc"))
        waitall = _all_of_it(flags, packed)
        special = number(zc_flags, "zc_flags", U32_MAX)
        fixed = isinstance(buffer, FixedBuffer)
        if fixed:
            memory, length, owner = registered(self, buffer, write=False)
        else:
            memory = owner = readable(buffer)
            length = len(memory)
        owned, about = (owner, keep), (file, None, length)
        arguments = (file, memory, length, flags, special)
        if fixed:
            return self._start(SEND_ZC_FIXED[waitall], owned, about, packed, *arguments, buffer.index)
        return self._start(SEND_ZC[waitall], owned, about, packed, *arguments)

    def recv_zc(
        self, sock: Descriptor, interface_queue: int, length: int = 0, **options: Unpack[Options]
    ) -> Operation[int]:
        """Receive without copying, from a network device's queue that is registered with the ring. Multishot.

        Args:
            sock: a connected TCP socket whose traffic is steered to that queue.
            interface_queue: the id that its registration returned.
            length: bytes to receive in total, 0 for no limit.
            options: see Options; `skip_success` is refused.

        Returns:
            An Operation; its completions tell where in the registered area data lies.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.
            Unsupported: a kernel before 6.15, or a ring without CQEs of 32 bytes.

        Kernel: 6.15, and a network device with header split and flow steering. IORING_OP_RECV_ZC.
        """
        file, packed, keep = file_of(sock, reporting(options, "recv_zc"))
        size = number(length, "length", U32_MAX)
        queue = number(interface_queue, "interface_queue", U32_MAX)
        if not self._ring.flags & (lib.IORING_SETUP_CQE32 | lib.IORING_SETUP_CQE_MIXED):
            raise Unsupported("IORING_OP_RECV_ZC", "6.15", "the ring must be set up with cqe32 or cqe_mixed")
        about = (file, None, size or None, queue)
        return self._start(RECV_ZC, keep, about, packed, file, size, queue)
