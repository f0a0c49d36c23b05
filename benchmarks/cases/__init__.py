"""The cases: each module has its own in CASES."""
