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
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import ffi, lib
from ..addresses import STORAGE_SIZE, Address, decode, sockaddr
from ..errors import Unsupported, os_error
from ..multishot import Multishot
from ..operation import DescriptorOperation, Kind, Operation, nothing
from ..types import BUFFER_SELECT, GROUP_SHIFT, IOPRIO_SHIFT, SKIP_SUCCESS, BufferGroup, Descriptor, Options, pack
from .ancillary import descriptors, join, split
from .arguments import number, reporting
from .base import Builder, file_of, lacks, readable, registered_vector, vector, writable
from .files import PLAIN
from .multishots import group_of, start
from .receiving import ReceivedMessage, RecvmsgMultishot, RecvMultishot
from .selecting import SelectOperation, lease_of, selected
from .sockets import family_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..provided_buffers import ProvidedBuffer

Ancillary = list[tuple[int, int, bytes]]
Message = tuple[int, Ancillary, int, Address | None]
LeasedMessage = tuple["ProvidedBuffer", Ancillary, int, Address | None]

CONTROL_MAX = 1 << 20
WAITALL: int = socket.MSG_WAITALL
# Bits of ioprio, where the packed options have them.
VECTORIZED: int = lib.IORING_SEND_VECTORIZED << IOPRIO_SHIFT
REPORT_USAGE: int = lib.IORING_SEND_ZC_REPORT_USAGE << IOPRIO_SHIFT
BUNDLE: int = lib.IORING_RECVSEND_BUNDLE


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


class SelectMessageOperation(SelectOperation):
    """A recvmsg into a provided buffer; descriptors that came with a message that nobody reads are closed."""

    __slots__ = ()

    def _dispose(self) -> None:
        super()._dispose()
        if self._res is not None and self._res >= 0 and not hasattr(self, "_fetched"):
            self._fetched = True
            for received in descriptors(_message(self, self._res)[1]):
                os.close(received)

    def __del__(self) -> None:
        if hasattr(self, "_res"):
            self._dispose()


def _message(operation: Operation[Any], count: int) -> Message:
    header, name, control = operation._about[3:6]
    raw = bytes(ffi.buffer(control, header.msg_controllen)) if control else b""
    address = decode(bytes(ffi.buffer(name)[: header.msg_namelen]))
    # The flag that we set comes back.
    return count, split(raw), int(header.msg_flags) & ~socket.MSG_CMSG_CLOEXEC, address


def _leased_message(operation: Operation[Any], count: int) -> LeasedMessage:
    return lease_of(operation, count), *_message(operation, count)[1:]


def kinds(
    name: str,
    opcode: str,
    since: str,
    call: Any,
    operation: type[Operation[int]] = TransferOperation,
    *,
    zero_copy: bool = False,
) -> tuple[Kind[int], Kind[int]]:
    """The kinds without and with MSG_WAITALL, see the top of this module."""
    plain, whole = (
        Kind[int](name, opcode, since, call, operation=operation, transfer=transfer, zero_copy=zero_copy)
        for transfer in (False, True)
    )
    return plain, whole


SEND = kinds("send", "SEND", "5.6", lib.uring_send)
SENDTO = kinds("send", "SEND", "6.0", lib.uring_sendto)
SENDV = kinds("send", "SENDMSG", "5.3", lib.uring_sendmsg)
RECV = kinds("recv", "RECV", "5.6", lib.uring_recv)
RECVV = kinds("recv", "RECVMSG", "5.3", lib.uring_recvmsg)
RECV_SELECT = tuple(
    Kind("recv", "RECV", "5.7", lib.uring_recv, lease_of, operation=SelectOperation, transfer=transfer)
    for transfer in (False, True)
)
SENDMSG = kinds("sendmsg", "SENDMSG", "5.3", lib.uring_sendmsg)
RECVMSG: Kind[Message] = Kind("recvmsg", "RECVMSG", "5.3", lib.uring_recvmsg, _message, operation=MessageOperation)
RECVMSG_SELECT: Kind[LeasedMessage] = Kind(
    "recvmsg", "RECVMSG", "5.7", lib.uring_recvmsg, _leased_message, operation=SelectMessageOperation
)
RECV_MULTISHOT: Kind[None] = Kind("recv", "RECV", "6.0", lib.uring_recv_multishot, nothing, operation=RecvMultishot)
RECVMSG_MULTISHOT: Kind[None] = Kind(
    "recvmsg", "RECVMSG", "6.0", lib.uring_recvmsg_multishot, nothing, operation=RecvmsgMultishot
)


def all_of_it(flags: int, packed: int, *, zero_copy: bool = False) -> bool:
    """Whether a transfer has MSG_WAITALL, which `skip_success` needs.

    Raises:
        TypeError, ValueError: no flags; `skip_success` without it; SendRecv bits that it cannot have.
    """
    waitall = bool(number(flags, "flags") & WAITALL)
    if packed & VECTORIZED:  # the kernel would take what is in the buffer for addresses
        raise ValueError("SendRecv.VECTORIZED is not for a builder: a list of buffers is given as a list")
    if packed & REPORT_USAGE and not zero_copy:
        raise ValueError("SendRecv.REPORT_USAGE is for zero-copy sends")
    if packed & SKIP_SUCCESS and not waitall:
        raise ValueError("skip_success needs MSG_WAITALL: without it a short transfer would not show")
    return waitall


def list_of(buffers: Any) -> Any:
    """`buffers`, which must be a list or tuple."""
    if not isinstance(buffers, (list, tuple)):
        raise TypeError(f"buffers must be a list, not {type(buffers).__name__}")
    return buffers


def message_of(
    ring: Any,
    sock: Descriptor,
    packed: int,
    message: tuple[Sequence[Any], Sequence[tuple[int, int, Any]], int, Address | None],
    index: int | None = None,
) -> tuple[int, int, tuple[Any, ...], int]:
    """(number, options, msghdr and what to keep alive, total bytes) of a message: buffers, ancdata, flags, address.

    With `index` the buffers are FixedBuffers of that registered buffer.
    """
    buffers, ancdata, _, address = message
    file, packed, keep = file_of(sock, packed, ring, at_once=True)
    if index is None:
        entries, count, total, memories = vector(buffers, write=False)
    else:
        entries, count, total, memories = registered_vector(ring, buffers, write=False)
    header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
    raw, control, name = join(ancdata), None, None
    if raw:
        control = ffi.from_buffer(raw)
        header.msg_control, header.msg_controllen = control, len(control)
    if address is not None:
        name, size = sockaddr(address, family_of(sock))
        header.msg_name, header.msg_namelen = name, size
    return file, packed, (header, memories, control, name, keep), total


class TransferBuilders(Builder):
    """Requests that move data over sockets. A socket is a descriptor, an object with `fileno()`, or a FixedFile."""

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
            sock, packed, keep = file_of(sock, packed, self, at_once=True)
        waitall = all_of_it(flags, packed) if flags or packed else False
        memory = readable(buffer)
        length = len(memory)
        about = (sock, None, length)
        if address is None:
            return self._start(SEND[waitall], (memory, keep), about, packed, sock, memory, length, flags)
        name, size = sockaddr(address, family_of(keep if keep is not None else sock))
        owned = (memory, name, keep)
        return self._start(SENDTO[waitall], owned, about, packed, sock, memory, length, flags, name, size)

    @overload
    def recv(
        self,
        sock: Descriptor,
        buffer: BufferGroup,
        flags: int = ...,
        *,
        bundle: bool = ...,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[ProvidedBuffer]: ...

    @overload
    def recv(
        self,
        sock: Descriptor,
        buffer: BufferGroup,
        flags: int = ...,
        *,
        bundle: bool = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[ProvidedBuffer]: ...

    @overload
    def recv(
        self,
        sock: Descriptor,
        buffer: Any,
        flags: int = ...,
        *,
        bundle: Literal[False] = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[int]: ...

    def recv(
        self,
        sock: Descriptor,
        buffer: Any,
        flags: int = 0,
        *,
        bundle: bool = False,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[ProvidedBuffer] | Multishot[ProvidedBuffer]:
        """Receive into a buffer.

        Args:
            sock: the socket.
            buffer: a writable, contiguous buffer; a list of them, filled in order; or ProvidedBuffers, of which the
                kernel picks one when there is something to receive.
            flags: MSG_*. With MSG_WAITALL the buffer is filled before this is complete, unless the peer closes or
                there is an error, and a short receive breaks a chain.
            bundle: take as many of the provided buffers as there is data for (6.10); not with MSG_WAITALL.
            multishot: receive again and again, whenever there is something. Not with MSG_WAITALL, nor in a chain.
            options: see Options; `ioprio` takes SendRecv bits, `skip_success` needs MSG_WAITALL. With `multishot` not
                `buffer_group` and `skip_success`.

        Returns:
            An Operation whose result is the number of bytes received, 0 when the peer has closed. With ProvidedBuffers
            it is the ProvidedBuffer with those bytes, or BuffersExhausted when there was none left; with `multishot` a
            Multishot of them. That ends when the peer has closed; datagrams may be empty, unless the socket is a
            registered file, where an empty one ends it too.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffer, a read-only one, no flags; ProvidedBuffers
                that are closed or of another ring; `bundle` without them; what does not go with `multishot`.
            Unsupported: `bundle` on a kernel before 6.10, `multishot` on one before 6.0.

        Kernel: 5.6; provided buffers 5.7, multishot 6.0. Twins: `io_uring_prep_recv`, `io_uring_prep_recv_multishot`;
        for a list `io_uring_prep_recvmsg`.
        """
        if multishot:
            return self._recv_all(RECV_MULTISHOT, sock, buffer, options, flags=flags, bundle=bundle)
        packed = pack(options) if options else 0
        keep = None
        if type(sock) is not int or sock >> 31:
            sock, packed, keep = file_of(sock, packed, self, at_once=True)
        waitall = all_of_it(flags, packed) if flags or packed else False
        if bundle or (type(buffer) not in PLAIN and isinstance(buffer, BufferGroup)):
            return self._recv_selected((sock, keep), buffer, flags, packed, waitall=waitall, bundle=bundle)
        if isinstance(buffer, (list, tuple)):
            entries, count, total, memories = vector(buffer, write=True)
            header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
            owned = (header, memories, keep)
            return self._start(RECVV[waitall], owned, (sock, None, total), packed, sock, header, flags)
        memory = writable(buffer)
        length = len(memory)
        about = (sock, None, length)
        return self._start(RECV[waitall], (memory, keep), about, packed, sock, memory, length, flags)

    def _recv_selected(
        self, file: tuple[Any, Any], pool: Any, flags: int, packed: int, *, waitall: bool, bundle: bool
    ) -> Operation[ProvidedBuffer]:
        sock, keep = file
        if not isinstance(pool, BufferGroup):
            raise TypeError(f"bundle is for ProvidedBuffers, not {type(pool).__name__}")
        if packed & SKIP_SUCCESS:
            raise ValueError("skip_success is not for a receive into provided buffers: the data would be lost")
        length = pool.size
        if bundle:
            pool._check_bundle()
            if waitall:
                raise ValueError("a bundle takes what there is, so it does not go with MSG_WAITALL")
            packed |= BUNDLE << IOPRIO_SHIFT
            length = 0  # no limit
        packed, pin = selected(self, pool, packed)
        about = (sock, None, length or None, pool)
        return self._start(RECV_SELECT[waitall], (pin, keep), about, packed, sock, ffi.NULL, length, flags)

    def _recv_all(
        self,
        kind: Kind[None],
        sock: Descriptor,
        pool: Any,
        options: Options,
        *,
        flags: int,
        header: Any = None,
        bundle: bool = False,
    ) -> Multishot[Any]:
        name = kind.name
        group, pin = group_of(self, pool, options, name)
        file, packed, keep = file_of(sock, reporting(options, f"a multishot {name}"), self)
        bits = number(flags, "flags")
        if bits & WAITALL:
            raise ValueError(f"MSG_WAITALL does not go with a multishot {name}, which takes what there is")
        if lacks("SEND_ZC"):  # of the same kernel
            raise Unsupported("IORING_RECV_MULTISHOT", kind.since)
        if bundle:
            pool._check_bundle()
            packed |= BUNDLE << IOPRIO_SHIFT
        packed |= BUFFER_SELECT | group << GROUP_SHIFT
        about = (file, None, None, header)
        arguments = (file, ffi.NULL, 0, bits) if header is None else (file, header, bits)
        operation: Multishot[Any] = start(
            self, kind, (pin, pool, keep, header), about, *arguments, options=packed, file=keep, group=pool
        )
        return operation

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
        return self._sendmsg(SENDMSG, sock, pack(options), (list_of(buffers), ancdata, flags, address))

    def _sendmsg(
        self,
        kinds: tuple[Kind[int], Kind[int]],
        sock: Descriptor,
        packed: int,
        message: tuple[Sequence[Any], Sequence[tuple[int, int, Any]], int, Address | None],
    ) -> Operation[int]:
        flags = message[2]
        waitall = all_of_it(flags, packed)
        file, packed, owned, total = message_of(self, sock, packed, message)
        return self._start(kinds[waitall], owned, (file, None, total), packed, file, owned[0], flags)

    @overload
    def recvmsg(
        self,
        sock: Descriptor,
        buffers: BufferGroup,
        ancbufsize: int = ...,
        flags: int = ...,
        *,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[ReceivedMessage]: ...

    @overload
    def recvmsg(
        self,
        sock: Descriptor,
        buffers: BufferGroup,
        ancbufsize: int = ...,
        flags: int = ...,
        *,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[LeasedMessage]: ...

    @overload
    def recvmsg(
        self,
        sock: Descriptor,
        buffers: Sequence[Any],
        ancbufsize: int = ...,
        flags: int = ...,
        *,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[Message]: ...

    def recvmsg(
        self,
        sock: Descriptor,
        buffers: Sequence[Any] | BufferGroup,
        ancbufsize: int = 0,
        flags: int = 0,
        *,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[Message] | Operation[LeasedMessage] | Multishot[ReceivedMessage]:
        """Receive into buffers, with ancillary data and the sender's address.

        Args:
            sock: the socket.
            buffers: a list of writable, contiguous buffers; or ProvidedBuffers, of which the kernel picks one; with
                `multishot` each of them needs room for 144 bytes, ancillary data, and the payload.
            ancbufsize: bytes of room for ancillary data; `socket.CMSG_SPACE` computes it.
            flags: MSG_*; descriptors that come are not inherited by programs that are started.
            multishot: receive again and again, whenever there is a message. Not in a chain.
            options: see Options; `skip_success` is refused, since the message would be lost. With `multishot` not
                `buffer_group`.

        Returns:
            An Operation whose result is that of `socket.recvmsg_into`: (bytes received, ancillary data, message flags,
            address or None), with a ProvidedBuffer in place of the number where that is what was given. If nobody
            takes it, descriptors that came are closed. With `multishot` a Multishot of ReceivedMessages; it ends as
            that of `recv`.

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffers, read-only ones; ancbufsize out of range;
                ProvidedBuffers that are closed or of another ring; what does not go with `multishot`.
            Unsupported: `multishot` on a kernel before 6.0.

        Kernel: 5.3; provided buffers 5.7, multishot 6.0. Twins: `io_uring_prep_recvmsg`,
        `io_uring_prep_recvmsg_multishot`.
        """
        room = number(ancbufsize, "ancbufsize", CONTROL_MAX)
        if multishot:
            header = ffi.new("struct msghdr *", {"msg_namelen": STORAGE_SIZE, "msg_controllen": room})
            bits = number(flags, "flags") | socket.MSG_CMSG_CLOEXEC
            return self._recv_all(RECVMSG_MULTISHOT, sock, buffers, options, flags=bits, header=header)
        file, packed, keep = file_of(sock, reporting(options, "recvmsg"), self, at_once=True)
        bits = number(flags, "flags") | socket.MSG_CMSG_CLOEXEC
        pool = None
        if isinstance(buffers, BufferGroup):
            pool = buffers
            packed, memories = selected(self, pool, packed)
            total, count = pool.size, 1
            entries = ffi.new("struct iovec[]", [(ffi.NULL, total)])
            memories = memories, entries
        else:
            entries, count, total, memories = vector(list_of(buffers), write=True)
        name = ffi.new("char[]", STORAGE_SIZE)
        control = ffi.new("char[]", room) if room else ffi.NULL
        header = ffi.new("struct msghdr *", {"msg_iov": entries, "msg_iovlen": count})
        header.msg_name, header.msg_namelen = name, STORAGE_SIZE
        header.msg_control, header.msg_controllen = control, room
        about = (file, None, total, header, name, control)
        if pool is not None:
            return self._start(RECVMSG_SELECT, (memories, keep), (*about, pool), packed, file, header, bits)
        return self._start(RECVMSG, (memories, keep), about, packed, file, header, bits)
