"""The only importer of the compiled extension, `uring._uring`.

Everything else takes `ffi` and `lib` from here, so there is one place that explains a missing or a foreign build.
"""

from ._version import __version__

try:
    from ._uring import ffi, lib  # type: ignore[import-not-found,unused-ignore]
except ImportError as error:
    raise ImportError(
        f"uring's compiled extension cannot be loaded ({error}). "
        "Install the package with pip, or in a source tree run: pip install -e ."
    ) from error

_built = ffi.string(lib.uring_version).decode()
if _built != __version__:
    raise ImportError(
        f"uring {__version__} found a compiled extension of version {_built}. "
        "Two installations are mixed; uninstall uring and install it again."
    )

__all__ = ["ffi", "lib"]
