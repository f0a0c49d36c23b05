"""What files of the tests contain."""

from __future__ import annotations

CONTENT = bytes(range(256)) * 16
"""4 KiB in which no two neighbouring bytes are the same."""
