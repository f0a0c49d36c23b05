"""Tags of registered resources: the user_data of the completion by which the kernel lets go of one.

They have our mark and a slot that no request ever has (native/uring.h); the ring's `_tags` tells whose they are.
"""

from __future__ import annotations

import itertools

from ._native import lib

_serials = itertools.count(1)


def new_tag() -> int:
    """A tag that no other resource has."""
    serial = next(_serials) % int(lib.URING_NO_TAG)
    return int(lib.URING_MARK << 56 | serial << lib.URING_SLOT_BITS | lib.URING_TAG_SLOT)
