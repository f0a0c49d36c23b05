"""Requests that move data over sockets without copying it.

The kernel facts this rests on:

- A zero-copy send posts its result first, with F_MORE, also when it fails; the notification (F_NOTIF) comes when the
  network has let go of the memory. Until then the memory is the kernel's. With REPORT_USAGE the notification's res
  tells whether data was copied after all; it is a flag, not an errno.
- Over loopback data is copied when it is received; AF_UNIX has no zero-copy sends.
- A list of buffers, or an address, makes the send a SENDMSG_ZC: the same to the kernel, which has taken that since 6.1,
  registered memory included since 6.15. SEND_ZC with an iovec (IORING_SEND_VECTORIZED, 6.17) does not take registered
  memory, cannot be asked for, and is not measurably faster; the same holds for SEND and SENDMSG.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._native import lib
from ..addresses import Address
from ..errors import RingClosed, Unsupported, os_error
from ..operation import Kind, Operation
from ..types import Descriptor, FixedBuffer, Nanoseconds, Options
from .arguments import U32_MAX, number, reporting
from .base import Builder, file_of, readable, registered
from .files import _registered_index as registered_index
from .transfers import REPORT_USAGE, TransferOperation, all_of_it, kinds, list_of, message_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

COPIED: int = lib.IORING_NOTIF_USAGE_ZC_COPIED


class ZeroCopyOperation(TransferOperation):
    """A zero-copy send: complete with its result, while the kernel may go on reading the buffer until it releases it.

    The fourth item of `about` is whether the notification reports the usage.
    """

    __slots__ = ("_usage",)

    _usage: int  # the notification's res, when it has come

    @property
    def released(self) -> bool:
        """Whether the kernel has let go of the buffer, so that it may be changed. Takes in what is ready.

        Raises:
            WrongThread, Forked: not known yet, and asked by somebody else than the ring's owner.
        """
        if self._memory is not None and not self._ring.closed:
            self._ring._reap_ready()
        return self._memory is None

    def wait_released(self, timeout: float | Nanoseconds | None = None) -> None:
        """Wait until the kernel has let go of the buffer: for the result and its notification. Submits what is queued.

        Over TCP that is when the peer has acknowledged the data. The result is handed out as ever.

        Args:
            timeout: seconds, or Nanoseconds, to wait at most; None for no limit.

        Raises:
            TimeoutError: the buffer is still the kernel's after `timeout` seconds.
            RingClosed: the ring was closed before; the buffer is kept for good.
            RuntimeError: a chain is still open.
            WrongThread, Forked: this is not the ring's owner.
        """
        if self._memory is None:
            return
        if self._ring.closed:
            raise RingClosed(f"the ring was closed before the buffer of {self.description()} was released")
        if not self._ring._wait_till(lambda: self._memory is None, timeout):
            what = f"the buffer of {self.description()} is not released after {timeout} seconds"
            raise TimeoutError(errno.ETIMEDOUT, what)

    @property
    def copied(self) -> bool | None:
        """Whether the kernel has copied data after all, at least some; None when that is not known.

        Only sends with `report_usage=True` tell, and only when they are released.
        """
        if not self._about[3] or not hasattr(self, "_usage"):
            return None
        return bool(self._usage & COPIED)

    def _notified(self, res: int) -> None:
        self._usage = res

    def _error(self) -> Exception:
        if self._res == -errno.EOPNOTSUPP:
            return os_error(errno.EOPNOTSUPP, f"{self.description()}: a socket of this kind has no zero-copy sends")
        if self._res == -errno.EINVAL and self._about[3] and not self._ring.features & lib.IORING_FEAT_REG_REG_RING:
            return Unsupported("IORING_SEND_ZC_REPORT_USAGE", "6.2")  # the feature is of 6.3
        return super()._error()


class ReceiveZcOperation(Operation[int]):
    """A zero-copy receive; the fourth item of `about` is its interface queue."""

    __slots__ = ("_arrived",)

    @property
    def _parts(self) -> dict[Any, tuple[int, int]]:
        """(offset with the area's number in the top bits, length) of what has come and was not taken, in order."""
        if not hasattr(self, "_arrived"):
            self._arrived: dict[Any, tuple[int, int]] = {}
        return self._arrived

    def parts(self) -> list[tuple[int, int]]:
        """Take what has come: (offset, length) pairs as the kernel tells them (`struct io_uring_zcrx_cqe`).

        Each is to be given back through the refill ring when its data is used up.
        """
        taken = [*self._parts.values()]
        self._arrived = {}
        return taken

    def _shot(self, key: Any, res: int, flags: int, position: int) -> None:
        self._parts[key] = int(self._ring._native.extra[position][0]), res

    def _error(self) -> Exception:
        if self._res == -errno.EINVAL and not self._kind.missing:
            why = f"interface queue {self._about[3]} is not registered with this ring"
            return os_error(errno.EINVAL, f"{self.description()}: {why}")
        return super()._error()


def _kinds(opcode: str, since: str, call: Any) -> tuple[Kind[int], Kind[int]]:
    return kinds(opcode.lower(), opcode, since, call, ZeroCopyOperation, zero_copy=True)


SEND_ZC = _kinds("SEND_ZC", "6.0", lib.uring_send_zc)
SEND_ZC_FIXED = _kinds("SEND_ZC", "6.0", lib.uring_send_zc_fixed)
SENDMSG_ZC = _kinds("SENDMSG_ZC", "6.1", lib.uring_sendmsg_zc)
SENDMSG_ZC_FIXED = _kinds("SENDMSG_ZC", "6.15", lib.uring_sendmsg_zc_fixed)
# What send_zc makes of a list, or for an address.
SENDV_ZC = kinds("send_zc", "SENDMSG_ZC", "6.1", lib.uring_sendmsg_zc, ZeroCopyOperation, zero_copy=True)
SENDV_ZC_FIXED = kinds("send_zc", "SENDMSG_ZC", "6.15", lib.uring_sendmsg_zc_fixed, ZeroCopyOperation, zero_copy=True)
RECV_ZC: Kind[int] = Kind("recv_zc", "RECV_ZC", "6.15", lib.uring_recv_zc, operation=ReceiveZcOperation)

Kinds = tuple[Kind[int], Kind[int]]


class ZeroCopyBuilders(Builder):
    """Requests that move data over sockets without copying it."""

    _ring: Any  # the `struct io_uring *`

    def _check(self) -> None:
        raise NotImplementedError

    def send_zc(
        self,
        sock: Descriptor,
        buffer: Any,
        flags: int = 0,
        *,
        address: Address | None = None,
        report_usage: bool = False,
        **options: Unpack[Options],
    ) -> ZeroCopyOperation:
        """Send a buffer without copying it: it stays the kernel's until its notification, after the result.

        The operation is complete with its result. Its `released` and `wait_released` tell when the buffer may be
        changed or resized; the ring waits for that by itself before it closes. Small buffers are cheaper to copy: use
        `send` below some 10 KiB.

        Args:
            sock: the socket, TCP or UDP.
            buffer: a contiguous buffer, or a FixedBuffer; or a list of buffers (6.1), or of FixedBuffers that are parts
                of one registered buffer (6.15).
            flags: MSG_*; see `send`.
            address: where to, for a socket that is not connected (6.1, for a FixedBuffer 6.15).
            report_usage: let `copied` tell whether the kernel has copied data after all (6.2).
            options: see Options; `ioprio` takes SendRecv bits. `skip_success` is refused: there are two completions.

        Returns:
            A ZeroCopyOperation whose result is the number of bytes sent. OSError: the socket has no zero-copy sends,
            as those of AF_UNIX (EOPNOTSUPP).

        Raises:
            TypeError, ValueError, BufferError: no descriptor, no buffer, no address, no flags; more than 1024 buffers.
            Unsupported: a kernel before 6.0.

        Kernel: 6.0. Twins: `io_uring_prep_send_zc`, `io_uring_prep_send_zc_fixed`; for a list or an address
        `io_uring_prep_sendmsg_zc`, `io_uring_prep_sendmsg_zc_fixed`.
        """
        packed = reporting(options, "send_zc")
        many = isinstance(buffer, (list, tuple))
        if many or address is not None:
            message = (buffer if many else [buffer], (), flags, address)
            return self._sendmsg_zc((SENDV_ZC, SENDV_ZC_FIXED), sock, packed, message, report_usage)
        file, packed, keep = file_of(sock, packed, self, at_once=True)
        waitall = all_of_it(flags, packed, zero_copy=True)
        fixed = isinstance(buffer, FixedBuffer)
        if fixed:
            memory, length, owner = registered(self, buffer, write=False)
        else:
            memory = owner = readable(buffer)
            length = len(memory)
        packed, report = _reports(packed, report_usage)
        owned, about = (owner, keep), (file, None, length, report)
        operation: Any
        if fixed:
            kind = SEND_ZC_FIXED[waitall]
            operation = self._start(kind, owned, about, packed, file, memory, length, flags, 0, buffer.index)
        else:
            operation = self._start(SEND_ZC[waitall], owned, about, packed, file, memory, length, flags, 0)
        return operation  # type: ignore[no-any-return]

    def sendmsg_zc(
        self,
        sock: Descriptor,
        buffers: Sequence[Any],
        ancdata: Sequence[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Address | None = None,
        *,
        report_usage: bool = False,
        **options: Unpack[Options],
    ) -> ZeroCopyOperation:
        """Send buffers and ancillary data without copying the buffers: they stay the kernel's until its notification.

        Args:
            sock: the socket, TCP or UDP.
            buffers: a list of contiguous buffers, or of FixedBuffers that are parts of one registered buffer (6.15).
            ancdata: (level, type, data) tuples as for `sendmsg`.
            flags: MSG_*; see `send`.
            address: where to, for a socket that is not connected.
            report_usage: let `copied` tell whether the kernel has copied data after all (6.2).
            options: see Options; `skip_success` is refused, since there are two completions.

        Returns:
            A ZeroCopyOperation whose result is the number of bytes sent; see `send_zc`.

        Raises:
            TypeError, ValueError, BufferError: as for `sendmsg`.
            Unsupported: a kernel before 6.1.

        Kernel: 6.1. Twins: `io_uring_prep_sendmsg_zc`, `io_uring_prep_sendmsg_zc_fixed`.
        """
        packed = reporting(options, "sendmsg_zc")
        message = (list_of(buffers), ancdata, flags, address)
        return self._sendmsg_zc((SENDMSG_ZC, SENDMSG_ZC_FIXED), sock, packed, message, report_usage)

    def _sendmsg_zc(
        self, forms: tuple[Kinds, Kinds], sock: Descriptor, packed: int, message: Any, report_usage: bool
    ) -> ZeroCopyOperation:
        buffers, ancdata, flags, address = message
        waitall = all_of_it(flags, packed, zero_copy=True)
        index = registered_index(list(buffers))
        file, packed, owned, total = message_of(self, sock, packed, (buffers, ancdata, flags, address), index)
        packed, report = _reports(packed, report_usage)
        about = (file, None, total, report)
        operation: Any
        if index is None:
            operation = self._start(forms[0][waitall], owned, about, packed, file, owned[0], flags)
        else:
            operation = self._start(forms[1][waitall], owned, about, packed, file, owned[0], flags, index)
        return operation  # type: ignore[no-any-return]

    def recv_zc(
        self, sock: Descriptor, interface_queue: int, length: int = 0, **options: Unpack[Options]
    ) -> ReceiveZcOperation:
        """Receive without copying, from a network device's queue that is registered with the ring. Multishot.

        `ZeroCopyReceive.receive` is this and the rest: it makes memoryviews of what comes, and gives them back.

        Args:
            sock: a connected TCP socket whose traffic is steered to that queue.
            interface_queue: the id that its registration returned.
            length: bytes to receive in total, 0 for no limit.
            options: see Options; `skip_success` is refused.

        Returns:
            An Operation that is complete when the receive has ended, with 0. Its `parts()` tell where in the registered
            area data lies.

        Raises:
            TypeError, ValueError: no descriptor, a number out of range.
            Unsupported: a kernel before 6.15, or a ring without CQEs of 32 bytes.

        Kernel: 6.15, and a network device with header split and flow steering. IORING_OP_RECV_ZC.
        """
        file, packed, keep = file_of(sock, reporting(options, "recv_zc"), self, at_once=True)
        size = number(length, "length", U32_MAX)
        queue = number(interface_queue, "interface_queue", U32_MAX)
        self._check()
        if not self._ring.flags & (lib.IORING_SETUP_CQE32 | lib.IORING_SETUP_CQE_MIXED):
            raise Unsupported("IORING_OP_RECV_ZC", "6.15", "the ring must be set up with cqe32 or cqe_mixed")
        about = (file, None, size or None, queue)
        operation: Any = self._start(RECV_ZC, keep, about, packed, file, size, queue)
        return operation  # type: ignore[no-any-return]


def _reports(packed: int, report_usage: bool) -> tuple[int, bool]:
    """(packed options, whether the usage is reported), which SendRecv.REPORT_USAGE as `ioprio` asks for too."""
    packed |= REPORT_USAGE if report_usage else 0
    return packed, bool(packed & REPORT_USAGE)
