"""What io_uring can do on this machine, and why not when it cannot be used.

The kernel tells some of it by asking (IORING_REGISTER_PROBE for opcodes, `features` of a new ring) and some only by
trying: a setup flag is there when a ring with it can be made, a register operation when it is refused for its file
and not for its number. Kernels that look at the file first (before 6.2, unless patched) are judged by their version.

A refusal of `io_uring_setup` itself has few causes. ENOSYS: a kernel before 5.1 or built without io_uring, or a
seccomp filter that pretends so. EPERM: the sysctl `kernel.io_uring_disabled`, or a seccomp filter (Docker's default
profile is one). ENOMEM: RLIMIT_MEMLOCK, which the rings of an unprivileged user count against, for a moment even
after they are closed.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import re
import resource
import time
from collections.abc import Callable
from typing import Any

from ._native import ffi, lib
from .record import Record

OPCODES: dict[str, str] = {
    "NOP": "5.1",
    "READV": "5.1",
    "WRITEV": "5.1",
    "FSYNC": "5.1",
    "READ_FIXED": "5.1",
    "WRITE_FIXED": "5.1",
    "POLL_ADD": "5.1",
    "POLL_REMOVE": "5.1",
    "SYNC_FILE_RANGE": "5.2",
    "SENDMSG": "5.3",
    "RECVMSG": "5.3",
    "TIMEOUT": "5.4",
    "TIMEOUT_REMOVE": "5.5",
    "ACCEPT": "5.5",
    "ASYNC_CANCEL": "5.5",
    "LINK_TIMEOUT": "5.5",
    "CONNECT": "5.5",
    "FALLOCATE": "5.6",
    "OPENAT": "5.6",
    "CLOSE": "5.6",
    "FILES_UPDATE": "5.6",
    "STATX": "5.6",
    "READ": "5.6",
    "WRITE": "5.6",
    "FADVISE": "5.6",
    "MADVISE": "5.6",
    "SEND": "5.6",
    "RECV": "5.6",
    "OPENAT2": "5.6",
    "EPOLL_CTL": "5.6",
    "SPLICE": "5.7",
    "PROVIDE_BUFFERS": "5.7",
    "REMOVE_BUFFERS": "5.7",
    "TEE": "5.8",
    "SHUTDOWN": "5.11",
    "RENAMEAT": "5.11",
    "UNLINKAT": "5.11",
    "MKDIRAT": "5.15",
    "SYMLINKAT": "5.15",
    "LINKAT": "5.15",
    "MSG_RING": "5.18",
    "FSETXATTR": "5.19",
    "SETXATTR": "5.19",
    "FGETXATTR": "5.19",
    "GETXATTR": "5.19",
    "SOCKET": "5.19",
    "URING_CMD": "5.19",
    "SEND_ZC": "6.0",
    "SENDMSG_ZC": "6.1",
    "READ_MULTISHOT": "6.7",
    "WAITID": "6.7",
    "FUTEX_WAIT": "6.7",
    "FUTEX_WAKE": "6.7",
    "FUTEX_WAITV": "6.7",
    "FIXED_FD_INSTALL": "6.8",
    "FTRUNCATE": "6.9",
    "BIND": "6.11",
    "LISTEN": "6.11",
    "RECV_ZC": "6.15",
    "EPOLL_WAIT": "6.15",
    "READV_FIXED": "6.15",
    "WRITEV_FIXED": "6.15",
    "PIPE": "6.16",
    "NOP128": "6.19",
    "URING_CMD128": "6.19",
}
"""Each opcode, without its IORING_OP_ prefix, and the kernel that introduced it."""

REGISTER_OPS: dict[str, str] = {
    "REGISTER_BUFFERS": "5.1",
    "UNREGISTER_BUFFERS": "5.1",
    "REGISTER_FILES": "5.1",
    "UNREGISTER_FILES": "5.1",
    "REGISTER_EVENTFD": "5.2",
    "UNREGISTER_EVENTFD": "5.2",
    "REGISTER_FILES_UPDATE": "5.5",
    "REGISTER_EVENTFD_ASYNC": "5.6",
    "REGISTER_PROBE": "5.6",
    "REGISTER_PERSONALITY": "5.6",
    "UNREGISTER_PERSONALITY": "5.6",
    "REGISTER_RESTRICTIONS": "5.10",
    "REGISTER_ENABLE_RINGS": "5.10",
    "REGISTER_FILES2": "5.13",
    "REGISTER_FILES_UPDATE2": "5.13",
    "REGISTER_BUFFERS2": "5.13",
    "REGISTER_BUFFERS_UPDATE": "5.13",
    "REGISTER_IOWQ_AFF": "5.14",
    "UNREGISTER_IOWQ_AFF": "5.14",
    "REGISTER_IOWQ_MAX_WORKERS": "5.15",
    "REGISTER_RING_FDS": "5.18",
    "UNREGISTER_RING_FDS": "5.18",
    "REGISTER_PBUF_RING": "5.19",
    "UNREGISTER_PBUF_RING": "5.19",
    "REGISTER_SYNC_CANCEL": "6.0",
    "REGISTER_FILE_ALLOC_RANGE": "6.0",
    "REGISTER_PBUF_STATUS": "6.8",
    "REGISTER_NAPI": "6.9",
    "UNREGISTER_NAPI": "6.9",
    "REGISTER_CLOCK": "6.12",
    "REGISTER_CLONE_BUFFERS": "6.12",
    "REGISTER_SEND_MSG_RING": "6.13",
    "REGISTER_ZCRX_IFQ": "6.15",
    "REGISTER_RESIZE_RINGS": "6.13",
    "REGISTER_MEM_REGION": "6.13",
    "REGISTER_QUERY": "6.18",
    "REGISTER_ZCRX_CTRL": "6.19",
    "REGISTER_BPF_FILTER": "7.0",
}
"""Each register operation, without its IORING_ prefix, and the kernel that introduced it."""

SETUP_FLAGS: dict[str, str] = {
    "IOPOLL": "5.1",
    "SQPOLL": "5.1",
    "SQ_AFF": "5.1",
    "CQSIZE": "5.5",
    "CLAMP": "5.6",
    "ATTACH_WQ": "5.6",
    "R_DISABLED": "5.10",
    "SUBMIT_ALL": "5.18",
    "COOP_TASKRUN": "5.19",
    "TASKRUN_FLAG": "5.19",
    "SQE128": "5.19",
    "CQE32": "5.19",
    "SINGLE_ISSUER": "6.0",
    "DEFER_TASKRUN": "6.1",
    "NO_MMAP": "6.5",
    "REGISTERED_FD_ONLY": "6.5",
    "NO_SQARRAY": "6.6",
    "HYBRID_IOPOLL": "6.13",
    "CQE_MIXED": "6.18",
    "SQE_MIXED": "6.19",
    "SQ_REWIND": "7.0",
}
"""Each setup flag, without its IORING_SETUP_ prefix, and the kernel that introduced it."""

FEATURES: dict[str, str] = {
    "SINGLE_MMAP": "5.4",
    "NODROP": "5.5",
    "SUBMIT_STABLE": "5.5",
    "RW_CUR_POS": "5.6",
    "CUR_PERSONALITY": "5.6",
    "FAST_POLL": "5.7",
    "POLL_32BITS": "5.9",
    "SQPOLL_NONFIXED": "5.11",
    "EXT_ARG": "5.11",
    "NATIVE_WORKERS": "5.12",
    "RSRC_TAGS": "5.13",
    "CQE_SKIP": "5.17",
    "LINKED_FILE": "5.17",
    "REG_REG_RING": "6.3",
    "RECVSEND_BUNDLE": "6.10",
    "MIN_TIMEOUT": "6.12",
    "RW_ATTR": "6.14",
    "NO_IOWAIT": "6.15",
}
"""Each feature bit, without its IORING_FEAT_ prefix, and the kernel that introduced it."""

# Flags that the kernel refuses alone, with what they need beside them.
_COMPANIONS = {
    "SQ_AFF": lib.IORING_SETUP_SQPOLL,
    "TASKRUN_FLAG": lib.IORING_SETUP_COOP_TASKRUN,
    "DEFER_TASKRUN": lib.IORING_SETUP_SINGLE_ISSUER,
    "HYBRID_IOPOLL": lib.IORING_SETUP_IOPOLL,
    "REGISTERED_FD_ONLY": lib.IORING_SETUP_NO_MMAP,
}

# Answers that tell of this process's limits and not of a flag.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_NO_REGISTER_OP = (1 << 31) - 1


class Denial(Record):
    """Why io_uring cannot be used here.

    Attributes:
        code: the errno of `io_uring_setup`.
        reason: what refuses it.
        advice: what to do.
    """

    code: int
    reason: str
    advice: str


class Support(Record):
    """What the running kernel offers; names are without their IORING_ prefixes.

    Attributes:
        release: the kernel's release, as `uname -r` prints it.
        denial: why io_uring cannot be used, or None when it can. The tables below are empty when it is denied.
        opcodes: whether each opcode can be submitted.
        register_ops: whether each register operation exists.
        setup_flags: whether a ring can be set up with each flag.
        features: whether each feature bit is set on a new ring.
    """

    release: str
    denial: Denial | None
    opcodes: dict[str, bool]
    register_ops: dict[str, bool]
    setup_flags: dict[str, bool]
    features: dict[str, bool]


def _text_of(name: str) -> str:
    with open(name, encoding="utf-8") as file:
        return file.read()


def _sysctl_disabled() -> int:
    try:
        return int(_text_of("/proc/sys/kernel/io_uring_disabled"))
    except (OSError, ValueError):
        return 0  # before 6.6 there is no such switch


def _seccomp_filters() -> bool:
    try:
        status = _text_of("/proc/self/status")
    except OSError:
        return False
    return re.search(r"^Seccomp:\s*2", status, re.MULTILINE) is not None


def explain(code: int) -> Denial:
    """Why `io_uring_setup` answered with errno `code` for a small, plain ring."""
    disabled = _sysctl_disabled()
    if code == errno.EPERM and disabled:
        who = "everybody" if disabled == 2 else "processes without CAP_SYS_ADMIN and outside kernel.io_uring_group"
        return Denial(
            code,
            f"the sysctl kernel.io_uring_disabled is {disabled}: io_uring is switched off for {who}",
            "an administrator can allow it: sysctl kernel.io_uring_disabled=0",
        )
    if code in (errno.EPERM, errno.ENOSYS, errno.EACCES) and _seccomp_filters():
        return Denial(
            code,
            "a seccomp filter on this process denies io_uring_setup",
            "in a container, run it with a seccomp profile that allows io_uring_setup, io_uring_enter and "
            "io_uring_register (Docker's default profile does not)",
        )
    if code == errno.ENOSYS:
        return Denial(
            code,
            f"kernel {os.uname().release} has no io_uring",
            "io_uring needs Linux 5.1 or newer with CONFIG_IO_URING (uring needs 5.10)",
        )
    if code == errno.ENOMEM:
        soft, _hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        limit = "any amount" if soft == resource.RLIM_INFINITY else f"{soft >> 10} KiB"
        return Denial(
            code,
            f"no memory for a ring; RLIMIT_MEMLOCK allows {limit} of locked memory",
            "raise the limit (ulimit -l, or LimitMEMLOCK= of a systemd unit), or close rings that are no longer used",
        )
    if code in (errno.EMFILE, errno.ENFILE):
        return Denial(code, os.strerror(code), "raise RLIMIT_NOFILE (ulimit -n), or close descriptors")
    return Denial(code, f"io_uring_setup: {os.strerror(code)}", "see the io_uring_setup manual page for this error")


def patiently(set_up: Callable[..., int], *arguments: Any) -> int:
    """The answer of a call that makes a ring, which is called again for up to a second while it is -ENOMEM.

    The memory of rings that were closed just before counts against RLIMIT_MEMLOCK until the kernel has freed it.
    """
    for pause in (0.001, 0.01, 0.1, 0.9):
        answer = set_up(*arguments)
        if answer != -errno.ENOMEM:
            return answer
        time.sleep(pause)
    return set_up(*arguments)


def denial() -> Denial | None:
    """Why io_uring cannot be used here, or None when it can. Makes and closes a small ring."""
    ring = ffi.new("struct io_uring *")
    ret = patiently(lib.io_uring_queue_init, 2, ring, 0)
    if ret < 0:
        return explain(-ret)
    lib.io_uring_queue_exit(ring)
    return None


def _opcodes(ring: ffi.CData) -> dict[str, bool]:
    probed = lib.io_uring_get_probe_ring(ring)
    if probed == ffi.NULL:
        return dict.fromkeys(OPCODES, False)
    try:
        return {
            name: bool(lib.io_uring_opcode_supported(probed, getattr(lib, f"IORING_OP_{name}"))) for name in OPCODES
        }
    finally:
        lib.io_uring_free_probe(probed)


def _register_ops(release: str) -> dict[str, bool]:
    fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _register(fd, _NO_REGISTER_OP) == -errno.EINVAL:
            return {name: _register(fd, getattr(lib, f"IORING_{name}")) != -errno.EINVAL for name in REGISTER_OPS}
    finally:
        os.close(fd)
    return {name: _version(since) <= _version(release) for name, since in REGISTER_OPS.items()}


def _register(fd: int, operation: int) -> int:
    return int(lib.io_uring_register(fd, operation, ffi.NULL, 0))


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


def _can_set_up(name: str, plain: ffi.CData) -> bool:
    flag = getattr(lib, f"IORING_SETUP_{name}") | _COMPANIONS.get(name, 0)
    params = ffi.new("struct io_uring_params *", {"flags": flag, "cq_entries": 4, "sq_thread_idle": 1})
    ring = ffi.new("struct io_uring *")
    if name == "ATTACH_WQ":
        params.wq_fd = plain.ring_fd
    if name == "SQ_AFF":
        params.sq_thread_cpu = min(os.sched_getaffinity(0))
    if flag & lib.IORING_SETUP_NO_MMAP:
        memory = mmap.mmap(-1, 4 * mmap.PAGESIZE)
        ret = patiently(lib.io_uring_queue_init_mem, 2, ring, params, ffi.from_buffer(memory), len(memory))
    else:
        ret = patiently(lib.io_uring_queue_init_params, 2, ring, params)
    if -ret in _EXHAUSTED:
        raise OSError(-ret, os.strerror(-ret))
    if ret < 0:
        return False
    lib.io_uring_queue_exit(ring)
    return True


def setup_flags(plain: ffi.CData | None = None) -> dict[str, bool]:
    """Whether a ring can be set up with each flag. `plain` is a ring to attach to; without one it is made."""
    ring = ffi.new("struct io_uring *") if plain is None else plain
    if plain is None and lib.io_uring_queue_init(2, ring, 0) < 0:
        return dict.fromkeys(SETUP_FLAGS, False)
    try:
        return {name: _can_set_up(name, ring) for name in SETUP_FLAGS}
    finally:
        if plain is None:
            lib.io_uring_queue_exit(ring)


@functools.cache
def register_ops() -> dict[str, bool]:
    """Whether each register operation exists on the running kernel."""
    return _register_ops(os.uname().release)


def support() -> Support:
    """Find out what the running kernel offers. Makes and closes about twenty small rings (some milliseconds)."""
    release = os.uname().release
    ring = ffi.new("struct io_uring *")
    ret = patiently(lib.io_uring_queue_init, 2, ring, 0)
    if ret < 0:
        return Support(release, explain(-ret), {}, {}, {}, {})
    try:
        return Support(
            release,
            None,
            _opcodes(ring),
            register_ops(),
            setup_flags(ring),
            {name: bool(ring.features & getattr(lib, f"IORING_FEAT_{name}")) for name in FEATURES},
        )
    except OSError as error:
        return Support(release, explain(error.errno or errno.EIO), {}, {}, {}, {})
    finally:
        lib.io_uring_queue_exit(ring)
