"""Requests that make sockets and connections; `transfers` has those that move data over them.

A sockaddr that the kernel fills in belongs to the Operation and outlives the last CQE: the result is read from it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Literal, overload

from .._native import ffi, lib
from ..addresses import STORAGE_SIZE, Address, decode, sockaddr
from ..errors import Unsupported
from ..multishot import Multishot
from ..operation import DescriptorOperation, Kind, Operation, nothing
from ..types import Descriptor, FixedFile, Options, pack
from .arguments import number, reporting
from .base import Builder, file_of
from .direct import ALLOC, DirectMultishot, DirectOperation, slot_argument, slot_result
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


SOCKET: Kind[int] = Kind("socket", "SOCKET", "5.19", lib.uring_socket, operation=DescriptorOperation)
SOCKET_DIRECT = Kind("socket", "SOCKET", "5.19", lib.uring_socket_direct, slot_result, operation=DirectOperation)
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
ACCEPT_MULTISHOT: Kind[None] = Kind(
    "accept", "ACCEPT", "5.19", lib.uring_multishot_accept, nothing, operation=DescriptorMultishot
)
ACCEPT_MULTISHOT_DIRECT: Kind[None] = Kind(
    "accept", "ACCEPT", "5.19", lib.uring_multishot_accept_direct, nothing, operation=DirectMultishot
)


def _new_file(direct: int | None, name: str, options: Options) -> tuple[int | None, int]:
    """(slot or None, packed options) of a request whose result is a new file."""
    slot = None if direct is None else slot_argument(direct)
    named = slot is not None and slot != ALLOC
    return slot, pack(options) if named else reporting(options, name)


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

    def socket(
        self,
        family: int = AF_INET,
        type: int = SOCK_STREAM,
        protocol: int = 0,
        *,
        direct: int | None = None,
        **options: Unpack[Options],
    ) -> Operation[int] | Operation[FixedFile]:
        """Make a socket; it is not inherited by programs that are started.

        Args:
            family: AF_*.
            type: SOCK_*; SOCK_NONBLOCK may be or-ed in.
            protocol: 0, or the protocol's number.
            direct: make no descriptor, but put the socket into this slot of the ring's registered files; ALLOC lets
                the kernel choose a free one.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the new descriptor, of which `socket.socket(fileno=fd)` makes an object; with
            `direct` a FixedFile. Nobody takes the result: it is closed, but for a slot that was named.

        Raises:
            TypeError, ValueError: a number out of range.
            Unsupported: a kernel before 5.19.

        Kernel: 5.19. Twins: `io_uring_prep_socket`, `io_uring_prep_socket_direct`,
        `io_uring_prep_socket_direct_alloc`.
        """
        slot, packed = _new_file(direct, "socket", options)
        domain, kind = number(family, "family"), number(type, "type")
        which = number(protocol, "protocol")
        if slot is None:
            return self._start(SOCKET, None, (), packed, domain, kind | socket.SOCK_CLOEXEC, which, 0)
        about = (None, None, None, slot)
        # A slot has nothing to inherit, and the kernel refuses the flag there.
        return self._start(SOCKET_DIRECT, None, about, packed, domain, kind & ~socket.SOCK_CLOEXEC, which, slot, 0)

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
        file, packed, keep = file_of(sock, pack(options))
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
        file, packed, keep = file_of(sock, pack(options))
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

    def accept(
        self,
        sock: Descriptor,
        flags: int = 0,
        *,
        address: bool = False,
        direct: int | None = None,
        multishot: bool = False,
        **options: Unpack[Options],
    ) -> Operation[Any]:
        """Accept a connection; its descriptor is not inherited by programs that are started.

        Args:
            sock: a listening socket.
            flags: SOCK_NONBLOCK.
            address: also get the peer's address.
            direct: make no descriptor, but put the connection into this slot of the ring's registered files; ALLOC
                lets the kernel choose a free one.
            multishot: accept every connection that comes. Not with `address`, which the next connection would
                overwrite, nor with a slot that is named, nor in a chain.
            options: see Options; `skip_success` only with a slot that was named, since a descriptor would be lost.

        Returns:
            An Operation whose result is the new descriptor, with `direct` a FixedFile; with `address` it is a tuple
            of that and the peer's address. Nobody takes the result: it is closed, but for a slot that was named.
            With `multishot` a Multishot of descriptors or FixedFiles.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range, what does not go with `multishot`.
            Unsupported: `direct` on a kernel before 5.15, `multishot` before 5.19.

        Kernel: 5.5, direct 5.15, ALLOC and multishot 5.19. Twins: `io_uring_prep_accept`,
        `io_uring_prep_accept_direct`, `io_uring_prep_multishot_accept`, `io_uring_prep_multishot_accept_direct`.
        """
        slot, packed = _new_file(direct, "accept", options)
        file, packed, keep = file_of(sock, packed)
        bits = number(flags, "flags")
        if multishot:
            if address:
                raise ValueError("address does not go with multishot: the next connection would overwrite it")
            return self._accept_all(file, keep, slot, packed, bits)
        name, length = ffi.NULL, ffi.NULL
        about: tuple[Any, ...] = (file, None, None, slot)
        if address:
            storage = ffi.new("struct sockaddr_storage *")
            name, length = ffi.cast("struct sockaddr *", storage), ffi.new("socklen_t *", STORAGE_SIZE)
            about = (*about, storage, length)
        if slot is None:
            bits |= socket.SOCK_CLOEXEC
            return self._start(ACCEPT[address], keep, about, packed, file, name, length, bits)
        return self._start(ACCEPT_DIRECT[address], keep, about, packed, file, name, length, bits, slot)

    def _accept_all(self, file: int, keep: Any, slot: int | None, packed: int, bits: int) -> Multishot[Any]:
        if SOCKET.missing:  # of the same kernel
            raise Unsupported("IORING_ACCEPT_MULTISHOT", ACCEPT_MULTISHOT.since)
        about = (file, None, None, ALLOC)
        operation: Multishot[Any]
        if slot is None:
            arguments = (file, ffi.NULL, ffi.NULL, bits | socket.SOCK_CLOEXEC)
            operation = start(self, ACCEPT_MULTISHOT, keep, about, *arguments, options=packed)
        elif slot == ALLOC:
            arguments = (file, ffi.NULL, ffi.NULL, bits)
            operation = start(self, ACCEPT_MULTISHOT_DIRECT, keep, about, *arguments, options=packed)
        else:
            raise ValueError("direct must be ALLOC with multishot: each connection needs a slot of its own")
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
        file, packed, keep = file_of(sock, pack(options))
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
        file, packed, keep = file_of(sock, pack(options))
        return self._start(SHUTDOWN, keep, (file,), packed, file, number(how, "how"))


def family_of(sock: Descriptor) -> int | None:
    """The address family of a socket object; None for a mere number, where the address's form has to tell."""
    return None if isinstance(sock, int) else getattr(sock, "family", None)
