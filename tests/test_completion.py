"""A CQE, copied out: what its flags say, and that it stays as it was."""

from __future__ import annotations

import errno

import pytest

import uring
from uring import Completion, CqeFlag
from uring.fused import lib


def test_a_completion_is_an_immutable_triple() -> None:
    """It unpacks, compares, and cannot be changed."""
    completion = Completion(1, -2, 3)
    user_data, res, flags = completion
    assert (user_data, res, flags) == (1, -2, 3) == completion
    with pytest.raises(AttributeError):
        completion.res = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        (CqeFlag.MORE, "more"),
        (CqeFlag.NOTIF, "notification"),
        (CqeFlag.BUF_MORE, "buffer_more"),
        (CqeFlag.SOCK_NONEMPTY, "sock_nonempty"),
    ],
)
def test_each_flag_has_a_property(flag: CqeFlag, name: str) -> None:
    """It is true for that flag, alone or with all others, and false without it."""
    everything = 0xFFFF
    assert getattr(Completion(0, 0, flag), name) is True
    assert getattr(Completion(0, 0, everything), name) is True
    assert getattr(Completion(0, 0, everything & ~flag), name) is False


@pytest.mark.parametrize("buffer_id", [0, 1, 0xFFFF])
def test_the_buffer_id_is_the_upper_half(buffer_id: int) -> None:
    """With F_BUFFER it is a number, 0 included; without it None."""
    flags = buffer_id << lib.IORING_CQE_BUFFER_SHIFT
    assert Completion(0, 0, flags | CqeFlag.BUFFER).buffer_id == buffer_id
    assert Completion(0, 0, flags).buffer_id is None


def test_an_operation_shows_its_completion() -> None:
    """The raw result and flags, also of a failure; before it came there is none."""
    with uring.Ring(8) as ring:
        operation = ring.nop(result=-errno.EPIPE)
        with pytest.raises(RuntimeError, match="has no completion: it is prepared"):
            _ = operation.completion
        ring.wait(1, 10)
        completion = operation.completion
        ring.nop().result(10)
    assert completion == (0, -errno.EPIPE, 0)
    assert operation.completion == completion


def test_a_discarded_operation_has_no_completion() -> None:
    """What was never submitted has none, and says so."""
    ring = uring.Ring(8)
    operation = ring.nop()
    with pytest.warns(ResourceWarning, match="never submitted"):
        ring.close()
    with pytest.raises(RuntimeError, match="it is discarded"):
        _ = operation.completion
