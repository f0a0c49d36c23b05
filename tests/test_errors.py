"""Negative results become the right exceptions, with what was tried in their messages."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import uring
from uring.errors import os_error, refusal
from uring.fused import lib


@pytest.mark.parametrize("code", sorted(set(errno.errorcode) - {errno.ECANCELED, errno.ETIME}))
def test_an_errno_becomes_its_subclass_of_oserror(code: int) -> None:
    """The class is the one that Python gives the errno, and the code and the operation are told."""
    error = os_error(code, "read of 3 bytes at 5 on fd 7")
    assert type(error) is type(OSError(code, ""))
    assert error.errno == code
    assert os.strerror(code) in str(error)
    assert "[read of 3 bytes at 5 on fd 7]" in str(error)


def test_a_path_becomes_the_filename() -> None:
    """As with the functions of os."""
    error = os_error(errno.ENOENT, "openat", b"/nowhere")
    assert isinstance(error, FileNotFoundError)
    assert error.filename == b"/nowhere"


def test_cancelled_and_late_have_classes() -> None:
    """ECANCELED is OperationCancelled; ETIME is TimeoutError with the errno that belongs to it."""
    assert type(os_error(errno.ECANCELED, "nop")) is uring.OperationCancelled
    late = os_error(errno.ETIME, "poll")
    assert type(late) is TimeoutError
    assert late.errno == errno.ETIMEDOUT


@pytest.mark.parametrize(
    ("code", "transfer", "hint"),
    [
        (errno.EINVAL, True, "O_DIRECT"),
        (errno.EBADF, False, "closed, or not open for this"),
        (errno.EFAULT, True, "not mapped"),
        (errno.ENOBUFS, False, "buffer group is empty"),
    ],
)
def test_what_costs_a_system_call_to_know_is_explained(code: int, transfer: bool, hint: str) -> None:
    """The most likely reason stands in the message."""
    assert hint in str(os_error(code, "read", transfer=transfer))
    assert "O_DIRECT" not in str(os_error(errno.EINVAL, "fsync"))


@pytest.mark.parametrize("code", [errno.EPERM, errno.EPIPE, errno.ECONNRESET, errno.EEXIST, errno.EIO, errno.EINTR])
def test_the_result_of_an_operation_raises_it(code: int) -> None:
    """result() raises, exception() returns, each time a new one of the same class."""
    with uring.Ring(8) as ring:
        operation = ring.nop(result=-code)
        error = operation.exception(10)
        assert type(error) is type(OSError(code, ""))
        with pytest.raises(type(error), match=r"\[nop\]"):
            operation.result()
        assert operation.exception() is not error


def test_the_message_names_file_and_range(tmp_path: Path) -> None:
    """Descriptor or path, offset and length are in the message of a real failure."""
    with uring.Ring(8) as ring, open(tmp_path / "file", "wb") as file:
        error = ring.read(file, bytearray(5), offset=3).exception(10)
        assert f"[read of 5 bytes at 3 on fd {file.fileno()}]" in str(error)
        missing = ring.openat(tmp_path / "missing").exception(10)
        assert isinstance(missing, FileNotFoundError)
        assert os.fsdecode(missing.filename) == str(tmp_path / "missing")


def test_unsupported_names_feature_and_kernel() -> None:
    """It is an OSError of EOPNOTSUPP that tells what is missing and which kernel has it."""
    error = uring.Unsupported("IORING_OP_NOP128", "6.19")
    assert isinstance(error, OSError)
    assert error.errno == errno.EOPNOTSUPP
    assert (error.feature, error.since) == ("IORING_OP_NOP128", "6.19")
    assert f"kernel {os.uname().release} lacks IORING_OP_NOP128: it needs Linux 6.19" in str(error)
    assert "no kernel is known to have it" in str(uring.Unsupported("IORING_OP_X", None))
    assert str(uring.Unsupported("X", "1.0", "it was switched off")).endswith("it was switched off")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (lib.URING_CLOSED, uring.RingClosed),
        (lib.URING_FORKED, uring.Forked),
        (lib.URING_WRONG_THREAD, uring.WrongThread),
    ],
)
def test_refusals_are_ring_errors(code: int, expected: type[Exception]) -> None:
    """Each answer of the native calls has its class, and all have one base."""
    error: Any = refusal(code)
    assert type(error) is expected
    assert isinstance(error, uring.RingError)
    assert isinstance(error, RuntimeError)


def test_a_broken_chain_is_a_cancelled_operation() -> None:
    """Who catches OperationCancelled or OSError catches ChainBroken; its cause is an attribute."""
    error = uring.ChainBroken(errno.ECANCELED, "message", "cause")
    assert isinstance(error, uring.OperationCancelled)
    assert isinstance(error, OSError)
    assert (error.errno, error.cause) == (errno.ECANCELED, "cause")
