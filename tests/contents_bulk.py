"""What the tests of bulk calls read."""

SIZE = 1 << 20
"""Bytes of their file."""
