"""Only what pyproject.toml cannot say: the CFFI build, and the wheel's stable-ABI tag."""

import sys
import sysconfig
from pathlib import Path

from setuptools import setup

# Before setup(): pyproject.toml's licence files include liburing's, which the first build brings into place.
sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_ffi

build_ffi.prepare_or_exit()

# A free-threaded build has no stable ABI yet (before 3.15), and setuptools refuses to tag one.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["build_ffi.py:make_ffi"],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if STABLE_ABI else {},
)
