"""Requests that make sockets and connections; `transfers` has those that move data over them.

A sockaddr that the kernel fills in belongs to the Operation and outlives the last CQE: the result is read from it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import ffi, lib
from ..addresses import STORAGE_SIZE, Address, decode, sockaddr
from ..errors import Unsupported
from ..file_slots import FileTable, RegisteredFile
from ..multishot import Multishot
from ..operation import DescriptorOperation, Kind, Operation, nothing
from ..types import Descriptor, FixedFile, Options, pack
from .arguments import number, reporting
from .base import Builder, file_of
from .direct import (
    ALLOC,
    DirectMultishot,
    DirectOperation,
    Place,
    RegisteredMultishot,
    RegisteredOperation,
    file_result,
    place_of,
    slot_result,
)
from .multishots import DescriptorMultishot, start

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Within the class below `socket` is a method.
AF_INET, SOCK_STREAM, SHUT_RDWR = socket.AF_INET, socket.SOCK_STREAM, socket.SHUT_RDWR


def _peer(operation: Operation[Any]) -> Address | None:
    storage, length = operation._about[4:6]
    return decode(bytes(ffi.buffer(storage)[: length[0]]))


def _with_peer(operation: Operation[Any], fd: int) -> tuple[int, Address | None]:
    return fd, _peer(operation)


def _slot_with_peer(operation: Operation[Any], res: int) -> tuple[FixedFile, Address | None]:
    return slot_result(operation, res), _peer(operation)


def _file_with_peer(operation: Operation[Any], res: int) -> tuple[RegisteredFile, Address | None]:
    return file_result(operation, res), _peer(operation)


SOCKET: Kind[int] = Kind("socket", "SOCKET", "5.19", lib.uring_socket, operation=DescriptorOperation)
# Into a slot of the caller's, and of a RegisteredFiles table.
SOCKET_DIRECT: tuple[Kind[Any], Kind[Any]] = (
    Kind("socket", "SOCKET", "5.19", lib.uring_socket_direct, slot_result, operation=DirectOperation),
    Kind("socket", "SOCKET", "5.19", lib.uring_socket_direct, file_result, operation=RegisteredOperation),
)
BIND = Kind("bind", "BIND", "6.11", lib.uring_bind, nothing)
LISTEN = Kind("listen", "LISTEN", "6.11", lib.uring_listen, nothing)
CONNECT = Kind("connect", "CONNECT", "5.5", lib.uring_connect, nothing)
SHUTDOWN = Kind("shutdown", "SHUTDOWN", "5.11", lib.uring_shutdown, nothing)


def _accept(call: Any, result: Any, operation: type[Operation[Any]]) -> Kind[Any]:
    return Kind("accept", "ACCEPT", "5.5", call, result, operation=operation)


# Without and with the peer's address.
ACCEPT = (
    _accept(lib.uring_accept, None, DescriptorOperation),
    _accept(lib.uring_accept, _with_peer, DescriptorOperation),
)
ACCEPT_DIRECT = (
    _accept(lib.uring_accept_direct, slot_result, DirectOperation),
    _accept(lib.uring_accept_direct, _slot_with_peer, DirectOperation),
)
ACCEPT_REGISTERED = (
    _accept(lib.uring_accept_direct, file_result, RegisteredOperation),
    _accept(lib.uring_accept_direct, _file_with_peer, RegisteredOperation),
)
ACCEPT_MULTISHOT: Kind[None] = Kind(
    "accept", "ACCEPT", "5.19", lib.uring_multishot_accept, nothing, operation=DescriptorMultishot
)
ACCEPT_MULTISHOT_DIRECT: Kind[None] = Kind(
    "accept", "ACCEPT", "5.19", lib.uring_multishot_accept_direct, nothing, operation=DirectMultishot
)
ACCEPT_MULTISHOT_REGISTERED: Kind[None] = Kind(
    "accept", "ACCEPT", "5.19", lib.uring_multishot_accept_direct, nothing, operation=RegisteredMultishot
)


def _new_file(ring: Any, direct: int | FileTable | None, name: str, options: Options) -> tuple[Place | None, int]:
    """(place in the table or None, packed options) of a request whose result is a new file."""
    place = None if direct is None else place_of(ring, direct)
    return place, pack(options) if place is not None and place.named else reporting(options, name)


class SocketBuilders(Builder):
    """Requests that make sockets and connections. A socket is a descriptor, an object with `fileno()`, or a FixedFile.

    An address is a Python address with a numeric host, see `uring.addresses`. For a plain descriptor or FixedFile its
    form tells the family: a host with a colon, or four items, is IPv6.
    """

    @overload
    def socket(
        self, family: int = ..., type: int = ..., protocol: int = ..., *, direct: None = ..., **options: Unpack[Options]
    ) -> Operation[int]: ...

    @overload
    def socket(
        self, family: int = ..., type: int = ..., protocol: int = ..., *, direct: int, **options: Unpack[Options]
    ) -> Operation[FixedFile]: ...

    @overload
    def socket(
        self, family: int = ..., type: int = ..., protocol: int = ..., *, direct: FileTable, **options: Unpack[Options]
    ) -> Operation[RegisteredFile]: ...

    def socket(
        self,
        family: int = AF_INET,
        type: int = SOCK_STREAM,
        protocol: int = 0,
        *,
        direct: int | FileTable | None = None,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[FixedFile] | Operation[RegisteredFile]:
        """Make a socket; it is not inherited by programs that are started.

        Args:
            family: AF_*.
            type: SOCK_*; SOCK_NONBLOCK may be or-ed in.
            protocol: 0, or the protocol's number.
            direct: make no descriptor, but put the socket into this slot of the ring's registered files; ALLOC lets
                the kernel choose a free one, and so does a RegisteredFiles table: see `openat`.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the new descriptor, of which `socket.socket(fileno=fd)` makes an object; with
            `direct` a FixedFile, with a table or its slot a RegisteredFile. Nobody takes the result: it is closed,
            but for a slot that was named.

        Raises:
            TypeError, ValueError: a number out of range; a closed table or RegisteredFile.
            OSError: the table has no free slot (ENFILE), where that is known before.
            Unsupported: a kernel before 5.19.

        Kernel: 5.19. Twins: `io_uring_prep_socket`, `io_uring_prep_socket_direct`,
        `io_uring_prep_socket_direct_alloc`.
        """
        place, packed = _new_file(self, direct, "socket", options)
        domain, kind = number(family, "family"), number(type, "type")
        which = number(protocol, "protocol")
        if place is None:
            return self._start(SOCKET, None, (), packed, domain, kind | socket.SOCK_CLOEXEC, which, 0)
        about = (None, None, None, place.target)
        kind &= ~socket.SOCK_CLOEXEC  # a slot has nothing to inherit, and the kernel refuses the flag there
        call = SOCKET_DIRECT[place.managed]
        return self._start(call, place.keep, about, packed, domain, kind, which, place.slot, 0)

    def bind(self, sock: Descriptor, address: Address, **options: Unpack[Options]) -> Operation[None]:
        """Give a socket an address.

        Args:
            sock: the socket.
            address: (host, port) for IPv4 and IPv6, a path for UNIX, (cid, port) for VSOCK.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, no address; a host that is a name.
            Unsupported: a kernel before 6.11.

        Kernel: 6.11. Twin: `io_uring_prep_bind`.
        """
        file, packed, keep = file_of(sock, pack(options), self)
        name, length = sockaddr(address, family_of(sock))
        return self._start(BIND, (name, keep), (file,), packed, file, name, length)

    def listen(self, sock: Descriptor, backlog: int = 128, **options: Unpack[Options]) -> Operation[None]:
        """Let a socket accept connections.

        Args:
            sock: a bound stream socket.
            backlog: connections that may wait to be accepted.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a negative backlog.
            Unsupported: a kernel before 6.11.

        Kernel: 6.11. Twin: `io_uring_prep_listen`.
        """
        file, packed, keep = file_of(sock, pack(options), self)
        return self._start(LISTEN, keep, (file,), packed, file, number(backlog, "backlog"))

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[False] = ...,
        direct: None = ...,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[int]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[False] = ...,
        direct: int,
        multishot: Literal[True],
        **options: Unpack[Options],
    ) -> Multishot[FixedFile]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[False] = ...,
        direct: None = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[int]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[True],
        direct: None = ...,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[tuple[int, Address | None]]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[False] = ...,
        direct: int,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[FixedFile]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[True],
        direct: int,
        multishot: Literal[False] = ...,
        **options: Unpack[Options],
    ) -> Operation[tuple[FixedFile, Address | None]]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[False] = ...,
        direct: FileTable,
        **options: Unpack[Options],
    ) -> Operation[RegisteredFile]: ...

    @overload
    def accept(
        self,
        sock: Descriptor,
        flags: int = ...,
        *,
        address: Literal[True],
        direct: FileTable,
        **options: Unpack[Options],
    ) -> Operation[tuple[RegisteredFile, Address | None]]: ...

    def accept(
        self,
        sock: Descriptor,
        flags: int = 0,
        *,
        address: bool = False,
        direct: int | FileTable | None = None,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[Any]:
        """Accept a connection; its descriptor is not inherited by programs that are started.

        Args:
            sock: a listening socket.
            flags: SOCK_NONBLOCK.
            address: also get the peer's address.
            direct: make no descriptor, but put the connection into this slot of the ring's registered files; ALLOC
                lets the kernel choose a free one, and so does a RegisteredFiles table: see `openat`.
            multishot: accept every connection that comes. Not with `address`, which the next connection would
                overwrite, nor with a slot that is named, nor in a chain.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the new descriptor, with `direct` a FixedFile, with a table or its slot a
            RegisteredFile; with `address` it is a tuple of that and the peer's address. Nobody takes the result: it is
            closed, but for a slot that was named. With `multishot` a Multishot of descriptors, FixedFiles or
            RegisteredFiles.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range; a closed table or RegisteredFile; what does
                not go with `multishot`.
            OSError: the table has no free slot (ENFILE), where that is known before.
            Unsupported: `direct` on a kernel before 5.15, `multishot` before 5.19.

        Kernel: 5.5, direct 5.15, ALLOC and multishot 5.19. Twins: `io_uring_prep_accept`,
        `io_uring_prep_accept_direct`, `io_uring_prep_multishot_accept`, `io_uring_prep_multishot_accept_direct`.
        """
        place, packed = _new_file(self, direct, "accept", options)
        file, packed, keep = file_of(sock, packed, self, at_once=not multishot)
        bits = number(flags, "flags")
        if multishot:
            if address:
                raise ValueError("address does not go with multishot: the next connection would overwrite it")
            return self._accept_all(file, keep, place, packed, bits)
        name, length = ffi.NULL, ffi.NULL
        about: tuple[Any, ...] = (file, None, None, None if place is None else place.target)
        if address:
            storage = ffi.new("struct sockaddr_storage *")
            name, length = ffi.cast("struct sockaddr *", storage), ffi.new("socklen_t *", STORAGE_SIZE)
            about = (*about, storage, length)
        if place is None:
            bits |= socket.SOCK_CLOEXEC
            return self._start(ACCEPT[address], keep, about, packed, file, name, length, bits)
        kinds = ACCEPT_REGISTERED if place.managed else ACCEPT_DIRECT
        owned = (keep, place.keep)
        return self._start(kinds[address], owned, about, packed, file, name, length, bits, place.slot)

    def _accept_all(self, file: int, keep: Any, place: Place | None, packed: int, bits: int) -> Multishot[Any]:
        if SOCKET.missing:  # of the same kernel
            raise Unsupported("IORING_ACCEPT_MULTISHOT", ACCEPT_MULTISHOT.since)
        if place is not None and place.slot != ALLOC:
            raise ValueError(
                "the kernel chooses the slots of a multishot accept: direct is ALLOC, or a table where it can"
            )
        kind = ACCEPT_MULTISHOT
        if place is None:
            bits |= socket.SOCK_CLOEXEC
        else:
            kind = ACCEPT_MULTISHOT_REGISTERED if place.managed else ACCEPT_MULTISHOT_DIRECT
        about = (file, None, None, ALLOC if place is None else place.target)
        operation: Multishot[Any] = start(
            self, kind, keep, about, file, ffi.NULL, ffi.NULL, bits, options=packed, file=keep
        )
        return operation

    def connect(self, sock: Descriptor, address: Address, **options: Unpack[Options]) -> Operation[None]:
        """Connect a socket.

        Args:
            sock: the socket.
            address: as for `bind`.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, no address; a host that is a name.

        Kernel: 5.5. Twin: `io_uring_prep_connect`.
        """
        file, packed, keep = file_of(sock, pack(options), self, at_once=True)
        name, length = sockaddr(address, family_of(sock))
        return self._start(CONNECT, (name, keep), (file,), packed, file, name, length)

    def shutdown(self, sock: Descriptor, how: int = SHUT_RDWR, **options: Unpack[Options]) -> Operation[None]:
        """Shut down one or both halves of a connection.

        Args:
            sock: the socket.
            how: SHUT_RD, SHUT_WR or SHUT_RDWR.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.

        Kernel: 5.11. Twin: `io_uring_prep_shutdown`.
        """
        file, packed, keep = file_of(sock, pack(options), self)
        return self._start(SHUTDOWN, keep, (file,), packed, file, number(how, "how"))


def family_of(sock: Descriptor) -> int | None:
    """The address family of a socket object; None for a mere number, where the address's form has to tell."""
    return None if isinstance(sock, int) else getattr(sock, "family", None)
