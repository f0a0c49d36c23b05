"""Commands to whatever is behind a file: drivers, sockets, block devices."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._native import ffi, lib
from ..addresses import STORAGE_SIZE, Address, decode
from ..errors import Unsupported
from ..operation import Kind, Operation, nothing
from ..types import Descriptor, FixedBuffer, Options, pack
from .arguments import INT_MAX, OFFSET_MAX, U32_MAX, number, reporting
from .base import Builder, file_of, readable, registered, writable
from .sync import WAITID

if TYPE_CHECKING:
    from typing_extensions import Unpack

# The command area of an SQE of 64 bytes, and of one of 128.
SMALL_AREA, LARGE_AREA = 16, 80
BUFFER_INDEX_SHIFT = 40  # in the packed options, where a buffer group would be


class SocketCommand(Operation[Any]):
    """A command to a socket: a kernel that lacks it says so by EOPNOTSUPP."""

    __slots__ = ()

    def _error(self) -> Exception:
        witness = WITNESSES.get(self._kind.since)
        if self._res == -errno.EOPNOTSUPP and witness is not None and witness.missing:
            return Unsupported(FEATURES[self._kind], self._kind.since)
        return super()._error()


def _option(operation: Operation[Any], length: int) -> int | bytes:
    value, as_int = operation._about[3:5]
    return int(ffi.cast("int *", value)[0]) if as_int else bytes(ffi.buffer(value, length))


def _name(operation: Operation[Any], _res: int) -> Address | None:
    storage, length = operation._about[3:5]
    return decode(bytes(ffi.buffer(storage)[: length[0]]))


def _socket_command(name: str, since: str, call: Any, result: Any = None) -> Kind[Any]:
    return Kind(name, "URING_CMD", since, call, result, operation=SocketCommand)


URING_CMD: Kind[int] = Kind("uring_cmd", "URING_CMD", "5.19", lib.uring_command)
URING_CMD128: Kind[int] = Kind("uring_cmd128", "URING_CMD128", "6.19", lib.uring_command)
DISCARD = Kind("discard", "URING_CMD", "6.12", lib.uring_cmd_discard, nothing)
SIOCINQ = _socket_command("siocinq", "6.7", lib.uring_cmd_sock)
SIOCOUTQ = _socket_command("siocoutq", "6.7", lib.uring_cmd_sock)
GETSOCKOPT = _socket_command("getsockopt", "6.7", lib.uring_cmd_sock, _option)
SETSOCKOPT = _socket_command("setsockopt", "6.7", lib.uring_cmd_sock, nothing)
GETSOCKNAME = _socket_command("getsockname", "6.19", lib.uring_cmd_getsockname, _name)
GETPEERNAME = _socket_command("getpeername", "6.19", lib.uring_cmd_getsockname, _name)

FEATURES: dict[Kind[Any], str] = {
    SIOCINQ: "SOCKET_URING_OP_SIOCINQ",
    SIOCOUTQ: "SOCKET_URING_OP_SIOCOUTQ",
    GETSOCKOPT: "SOCKET_URING_OP_GETSOCKOPT",
    SETSOCKOPT: "SOCKET_URING_OP_SETSOCKOPT",
    GETSOCKNAME: "SOCKET_URING_OP_GETSOCKNAME",
    GETPEERNAME: "SOCKET_URING_OP_GETSOCKNAME",
}
# Opcodes of the same kernels: commands themselves cannot be asked for.
WITNESSES: dict[str, Kind[Any]] = {"6.7": WAITID, "6.19": URING_CMD128}


def _command_of(cmd: Any, area: int) -> Any:
    """The memory of a command that must fit its area."""
    command = readable(cmd)
    if len(command) > area:
        raise ValueError(f"the command area of this ring's SQEs has {area} bytes, not {len(command)}")
    return command


class CommandBuilders(Builder):
    """Commands to whatever is behind a file."""

    _ring: Any  # the `struct io_uring *`

    def uring_cmd(
        self,
        cmd_op: int,
        fd: Descriptor,
        cmd: Any = b"",
        *,
        memory: Sequence[Any] = (),
        fixed_buffer: FixedBuffer | None = None,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """Send a command to the driver behind a file; what it means is between the two of you.

        Args:
            cmd_op: the driver's number for the command, 32 bits.
            fd: a descriptor, an object with `fileno()`, or a FixedFile.
            cmd: the command area, at most 16 bytes, or 80 on a ring with `sqe128`; the rest is zeros.
            memory: writable buffers whose addresses are in `cmd`: they are held in place until this is complete.
            fixed_buffer: registered memory that the command is about (IORING_URING_CMD_FIXED).
            options: see Options.

        Returns:
            An Operation whose result is the driver's, 0 or more. OSError EOPNOTSUPP: the file takes no commands.

        Raises:
            TypeError: no descriptor; a command, or memory, that is no buffer.
            ValueError: a command that does not fit its area; a closed file; a number out of range.
            Unsupported: a kernel before 5.19.

        Kernel: 5.19. Twin: `io_uring_prep_uring_cmd`.
        """
        area = LARGE_AREA if self._ring.flags & lib.IORING_SETUP_SQE128 else SMALL_AREA
        command = _command_of(cmd, area)
        return self._command(URING_CMD, (cmd_op, fd, command), memory, fixed_buffer, reporting(options, "uring_cmd"))

    def uring_cmd128(
        self,
        cmd_op: int,
        fd: Descriptor,
        cmd: Any = b"",
        *,
        memory: Sequence[Any] = (),
        fixed_buffer: FixedBuffer | None = None,
        **options: Unpack[Options],
    ) -> Operation[int]:
        """The same in an SQE of 128 bytes, which a ring with `sqe_mixed` has beside small ones.

        Args and results are those of `uring_cmd`; the command area has 80 bytes.

        Raises:
            TypeError, ValueError: as for `uring_cmd`; ValueError also for a ring with neither `sqe_mixed` nor
                `sqe128`.
            Unsupported: a kernel before 6.19.

        Kernel: 6.19. Twin: `io_uring_prep_uring_cmd128`.
        """
        packed = reporting(options, "uring_cmd128")
        if URING_CMD128.missing:
            raise URING_CMD128.unsupported()
        if not self._ring.flags & (lib.IORING_SETUP_SQE128 | lib.IORING_SETUP_SQE_MIXED):
            raise ValueError("uring_cmd128 needs a ring with sqe128 or sqe_mixed")
        command = _command_of(cmd, LARGE_AREA)
        return self._command(URING_CMD128, (cmd_op, fd, command), memory, fixed_buffer, packed)

    def _command(
        self,
        kind: Kind[int],
        what: tuple[int, Descriptor, Any],
        memory: Sequence[Any],
        fixed_buffer: FixedBuffer | None,
        packed: int,
    ) -> Operation[int]:
        cmd_op, fd, command = what
        # A number with the highest bit set is a negative int to C.
        code = (number(cmd_op, "cmd_op", U32_MAX) ^ 1 << 31) - (1 << 31)
        file, packed, keep = file_of(fd, packed, self)
        held = [writable(buffer) for buffer in memory]
        flags = 0
        if fixed_buffer is not None:
            held.append(registered(self, fixed_buffer, write=True)[2])
            packed |= fixed_buffer.index << BUFFER_INDEX_SHIFT
            flags = lib.IORING_URING_CMD_FIXED
        opcode = lib.IORING_OP_URING_CMD128 if kind is URING_CMD128 else lib.IORING_OP_URING_CMD
        return self._start(kind, (held, keep), (file,), packed, opcode, code, file, command, len(command), flags)

    # --- sockets ---------------------------------------------------------------------------------

    def siocinq(self, sock: Descriptor, **options: Unpack[Options]) -> Operation[int]:
        """Ask how many bytes wait in a socket to be received.

        Args:
            sock: the socket.
            options: see Options; `skip_success` is refused, since the number would be lost.

        Returns:
            An Operation whose result is the number of bytes; for a datagram socket it is that of the first datagram.
            OSError EOPNOTSUPP: a family without this, UNIX for one.

        Raises:
            TypeError, ValueError: no descriptor.
            Unsupported: from the result, on a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_cmd_sock`, SOCKET_URING_OP_SIOCINQ.
        """
        return self._ask(SIOCINQ, lib.SOCKET_URING_OP_SIOCINQ, sock, options)

    def siocoutq(self, sock: Descriptor, **options: Unpack[Options]) -> Operation[int]:
        """Ask how many bytes wait in a socket to be sent, or for the peer to acknowledge them.

        Args:
            sock: the socket.
            options: see Options; `skip_success` is refused, since the number would be lost.

        Returns:
            An Operation whose result is the number of bytes. OSError EOPNOTSUPP: as for `siocinq`.

        Raises:
            TypeError, ValueError: no descriptor.
            Unsupported: from the result, on a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_cmd_sock`, SOCKET_URING_OP_SIOCOUTQ.
        """
        return self._ask(SIOCOUTQ, lib.SOCKET_URING_OP_SIOCOUTQ, sock, options)

    def _ask(self, kind: Kind[int], command: int, sock: Descriptor, options: Options) -> Operation[int]:
        file, packed, keep = file_of(sock, reporting(options, kind.name), self)
        return self._start(kind, keep, (file,), packed, command, file, 0, 0, ffi.NULL, 0)

    def getsockopt(
        self, sock: Descriptor, level: int, optname: int, buflen: int = 0, **options: Unpack[Options]
    ) -> Operation[Any]:
        """Ask for a socket's option.

        Args:
            sock: the socket.
            level: SOL_SOCKET; kernels have no other one here yet.
            optname: SO_*.
            buflen: 0 for an option that is an int; else bytes of room for its value.
            options: see Options; `skip_success` is refused, since the value would be lost.

        Returns:
            An Operation whose result is that of `socket.getsockopt`: an int, or bytes with `buflen`. OSError
            EOPNOTSUPP: another level than SOL_SOCKET.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.
            Unsupported: from the result, on a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_cmd_sock`, SOCKET_URING_OP_GETSOCKOPT.
        """
        file, packed, keep = file_of(sock, reporting(options, "getsockopt"), self)
        size = number(buflen, "buflen", 1 << 20) or 4
        value = ffi.new("char[]", size)
        about = (file, None, None, value, not buflen)
        what = (lib.SOCKET_URING_OP_GETSOCKOPT, file, number(level, "level"), number(optname, "optname"))
        return self._start(GETSOCKOPT, (value, keep), about, packed, *what, value, size)

    def setsockopt(
        self, sock: Descriptor, level: int, optname: int, value: Any, **options: Unpack[Options]
    ) -> Operation[None]:
        """Set a socket's option.

        Args:
            sock: the socket.
            level: SOL_SOCKET, IPPROTO_TCP, ...
            optname: the option's number.
            value: an int, or a buffer.
            options: see Options.

        Returns:
            An Operation whose result is None.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range, a value that is neither int nor buffer.
            Unsupported: from the result, on a kernel before 6.7.

        Kernel: 6.7. Twin: `io_uring_prep_cmd_sock`, SOCKET_URING_OP_SETSOCKOPT.
        """
        file, packed, keep = file_of(sock, pack(options), self)
        if isinstance(value, int):  # bools too, as in socket.setsockopt
            value = struct.pack("=i", number(int(value), "value", INT_MAX, low=-INT_MAX - 1))
        memory = readable(value)
        what = (lib.SOCKET_URING_OP_SETSOCKOPT, file, number(level, "level"), number(optname, "optname"))
        return self._start(SETSOCKOPT, (memory, keep), (file,), packed, *what, memory, len(memory))

    def getsockname(self, sock: Descriptor, **options: Unpack[Options]) -> Operation[Address | None]:
        """Ask for a socket's own address.

        Args:
            sock: the socket.
            options: see Options; `skip_success` is refused, since the address would be lost.

        Returns:
            An Operation whose result is that of `socket.getsockname`.

        Raises:
            TypeError, ValueError: no descriptor.
            Unsupported: from the result, on a kernel before 6.19.

        Kernel: 6.19. Twin: `io_uring_prep_cmd_getsockname`.
        """
        return self._name(GETSOCKNAME, sock, 0, options)

    def getpeername(self, sock: Descriptor, **options: Unpack[Options]) -> Operation[Address | None]:
        """Ask for the address that a socket is connected to.

        Args:
            sock: the socket.
            options: see Options; `skip_success` is refused, since the address would be lost.

        Returns:
            An Operation whose result is that of `socket.getpeername`.

        Raises:
            TypeError, ValueError: no descriptor.
            Unsupported: from the result, on a kernel before 6.19.

        Kernel: 6.19. Twin: `io_uring_prep_cmd_getsockname`.
        """
        return self._name(GETPEERNAME, sock, 1, options)

    def _name(self, kind: Kind[Any], sock: Descriptor, peer: int, options: Options) -> Operation[Any]:
        file, packed, keep = file_of(sock, reporting(options, kind.name), self)
        storage = ffi.new("struct sockaddr_storage *")
        length = ffi.new("socklen_t *", STORAGE_SIZE)
        about = (file, None, None, storage, length)
        name = ffi.cast("struct sockaddr *", storage)
        return self._start(kind, (storage, length, keep), about, packed, file, name, length, peer)

    # --- block devices ---------------------------------------------------------------------------

    def discard(self, fd: Descriptor, offset: int, length: int, **options: Unpack[Options]) -> Operation[None]:
        """Tell a block device that a range is no longer used; what is in it is lost.

        Args:
            fd: the device, open for writing.
            offset: bytes from its start, a multiple of its logical block size.
            length: bytes, the same.
            options: see Options.

        Returns:
            An Operation whose result is None. OSError EOPNOTSUPP: no block device, one that cannot discard, or a
            kernel before 6.12.

        Raises:
            TypeError, ValueError: no descriptor, a closed file, a number out of range.
            Unsupported: a kernel before 5.19.

        Kernel: 6.12. Twin: `io_uring_prep_cmd_discard`.
        """
        file, packed, keep = file_of(fd, pack(options), self)
        start, size = number(offset, "offset", OFFSET_MAX), number(length, "length", OFFSET_MAX, low=1)
        return self._start(DISCARD, keep, (file, start, size), packed, file, start, size)
