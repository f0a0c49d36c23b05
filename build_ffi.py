"""The out-of-line CFFI build: vendored source -> declarations -> one extension, `uring._uring`.

The declarations are derived from the headers that are compiled, so they are complete by construction and a new
liburing is a change of the lock. `$CC -E -dD` expands the headers; line markers tell which lines are liburing's and
ours; inline bodies are dropped, constants and enum members become `...` for the compiler to fill in. Only the libc
and kernel types that liburing borrows are written down here, in PRELUDE.

Every `io_uring_prep_X(sqe, ...)` also gets a fused twin, `uring_X(ring, user_data, options, ...)`, that takes the SQE,
prepares it and tags it in one crossing from Python.

Used by setuptools through `setup.py`; `python build_ffi.py` prints the declarations.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cffi import FFI

ROOT = Path(__file__).resolve().parent
VENDOR = ROOT / "vendor" / "liburing"
NATIVE = ROOT / "uring" / "native"
SOURCES = ("setup.c", "queue.c", "register.c", "syscall.c", "version.c")
NATIVE_SOURCES = ("bulk.c", "keep.c", "provided.c", "reap.c", "slots.c", "tensor.c", "wake.c", "zcrx.c")
OLDEST_KERNEL_HEADERS = (5, 10)

sys.path.insert(0, str(VENDOR))
import vendor  # noqa: E402


class BuildError(Exception):
    """The build cannot go on; the message says what was expected, what was found, what to do."""


# Types that liburing's API borrows from libc and the kernel. `...` leaves layout and values to the compiler.
PRELUDE = """
typedef int... __u8; typedef int... __u16; typedef int... __u32; typedef int... __u64;
typedef int... __s8; typedef int... __s16; typedef int... __s32; typedef int... __s64;
typedef int... __kernel_rwf_t; typedef int... __aligned_u64;
typedef int... socklen_t; typedef int... mode_t; typedef int... off_t; typedef int... loff_t; typedef int... id_t;
typedef int... sa_family_t; typedef int... idtype_t; typedef int... pid_t; typedef int... uid_t;
typedef int... in_port_t;

struct iovec { void *iov_base; size_t iov_len; };
struct msghdr {
    void *msg_name; socklen_t msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
    void *msg_control; size_t msg_controllen; int msg_flags; ...;
};
struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; ...; };
struct sockaddr { sa_family_t sa_family; char sa_data[14]; ...; };
struct in_addr { uint32_t s_addr; };
struct in6_addr { unsigned char s6_addr[16]; ...; };
struct sockaddr_in { sa_family_t sin_family; in_port_t sin_port; struct in_addr sin_addr; ...; };
struct sockaddr_in6 {
    sa_family_t sin6_family; in_port_t sin6_port; uint32_t sin6_flowinfo;
    struct in6_addr sin6_addr; uint32_t sin6_scope_id; ...;
};
struct sockaddr_un { sa_family_t sun_family; char sun_path[...]; };
struct sockaddr_storage { sa_family_t ss_family; ...; };
struct __kernel_timespec { int64_t tv_sec; long long tv_nsec; };
struct open_how { uint64_t flags; uint64_t mode; uint64_t resolve; ...; };
struct statx_timestamp { int64_t tv_sec; uint32_t tv_nsec; ...; };
struct statx {
    uint32_t stx_mask; uint32_t stx_blksize; uint64_t stx_attributes; uint32_t stx_nlink; uint32_t stx_uid;
    uint32_t stx_gid; uint16_t stx_mode; uint64_t stx_ino; uint64_t stx_size; uint64_t stx_blocks;
    uint64_t stx_attributes_mask; struct statx_timestamp stx_atime; struct statx_timestamp stx_btime;
    struct statx_timestamp stx_ctime; struct statx_timestamp stx_mtime; uint32_t stx_rdev_major;
    uint32_t stx_rdev_minor; uint32_t stx_dev_major; uint32_t stx_dev_minor; ...;
};
typedef union epoll_data { void *ptr; int fd; uint32_t u32; uint64_t u64; } epoll_data_t;
struct epoll_event { uint32_t events; epoll_data_t data; ...; };
struct futex_waitv { uint64_t val; uint64_t uaddr; uint32_t flags; uint32_t __reserved; ...; };
typedef struct { int si_signo; int si_errno; int si_code; pid_t si_pid; uid_t si_uid; int si_status; ...; } siginfo_t;
typedef struct { ...; } sigset_t;
typedef struct { ...; } cpu_set_t;
struct sock_filter { uint16_t code; uint8_t jt; uint8_t jf; uint32_t k; };

int sigemptyset(sigset_t *set);
int sigaddset(sigset_t *set, int signum);
"""

# Constants that a C program has from the headers that liburing.h includes, and Python's os module lacks.
BORROWED_CONSTANTS = """
AT_FDCWD AT_EMPTY_PATH AT_REMOVEDIR AT_SYMLINK_FOLLOW AT_SYMLINK_NOFOLLOW AT_STATX_FORCE_SYNC AT_STATX_DONT_SYNC
AT_STATX_SYNC_AS_STAT STATX_TYPE STATX_MODE STATX_NLINK STATX_UID STATX_GID STATX_ATIME STATX_MTIME STATX_CTIME
STATX_INO STATX_SIZE STATX_BLOCKS STATX_BASIC_STATS STATX_BTIME STATX_ALL
RESOLVE_NO_XDEV RESOLVE_NO_MAGICLINKS RESOLVE_NO_SYMLINKS RESOLVE_BENEATH RESOLVE_IN_ROOT
FUTEX_32 FUTEX_WAITV_MAX BLOCK_URING_CMD_DISCARD
""".split()

INCLUDES = """
#include <sys/epoll.h>
#include <sys/un.h>
#include <netinet/in.h>
#include "liburing.h"
#include "uring.h"
#include "bulk.h"
"""

DEFINES = (
    ("_GNU_SOURCE", None),
    ("_FILE_OFFSET_BITS", "64"),
)


# --- the toolchain -------------------------------------------------------------------------------


def compiler() -> list[str]:
    """The C compiler's command: $CC, else the one that this Python was built with, else `cc`.

    Raises BuildError when none of them can be run.
    """
    chosen = os.environ.get("CC")
    tried = []
    for command in [chosen] if chosen else [sysconfig.get_config_var("CC"), "cc"]:
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words
        tried += words[:1]
    raise BuildError(
        "no C compiler.\n"
        f"  expected: a C compiler such as gcc or clang\n  found:    none of: {', '.join(tried)}\n"
        "  Install one (Debian: apt-get install gcc; Fedora: dnf install gcc), or name it in CC."
    )


def require_python_headers() -> None:
    """Raise BuildError unless this Python's C headers are installed."""
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BuildError(
            f"the C headers of Python {version} are missing.\n"
            f"  expected: {include / 'Python.h'}\n  found:    no such file\n"
            f"  Install them (Debian: apt-get install python{version}-dev; Fedora: dnf install python3-devel)."
        )


def preprocess(source: str, *flags: str) -> str:
    """`source` after the C preprocessor. Raises BuildError with the compiler's own words."""
    # The variables that setuptools gives to the compiler too.
    given = shlex.split(os.environ.get("CFLAGS", "") + " " + os.environ.get("CPPFLAGS", ""))
    command = [*compiler(), "-E", *given, *flags, "-x", "c", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"the C preprocessor fails.\n  expected: {shlex.join(command)} to succeed\n"
            f"  found:    {done.stderr.strip()}\n  Install the C library's and the kernel's headers "
            "(Debian: apt-get install libc6-dev; Fedora: dnf install glibc-devel kernel-headers)."
        )
    return done.stdout


def require_kernel_headers() -> None:
    """Raise BuildError when the kernel's headers are older than any that the build was tried with."""
    text = preprocess("#include <linux/version.h>\nuring_found LINUX_VERSION_CODE\n", "-P")
    code = int(text.rsplit("uring_found", 1)[1])
    found = (code >> 16, code >> 8 & 0xFF)
    if found < OLDEST_KERNEL_HEADERS:
        raise BuildError(
            "the kernel's headers are too old.\n"
            f"  expected: linux/version.h of {'.'.join(map(str, OLDEST_KERNEL_HEADERS))} or newer\n"
            f"  found:    {found[0]}.{found[1]}\n"
            "  Install newer ones (Debian: apt-get install linux-libc-dev; Fedora: dnf install kernel-headers). "
            "They need not match the running kernel."
        )


# --- declarations --------------------------------------------------------------------------------


class Declarations(NamedTuple):
    """What the headers declare, as C for cffi's parser."""

    types: list[str]
    functions: dict[str, str]
    constants: list[str]

    def cdef(self) -> str:
        """All of it as one text."""
        macros = [f"#define {name} ..." for name in self.constants]
        return "\n".join([*self.types, *self.functions.values(), *macros]) + "\n"


def include_flags(tree: Path, generated: Path) -> list[str]:
    """Where the headers lie. Ours come first: liburing's tree has no compat.h of its own."""
    folders = (NATIVE, generated, tree / "src" / "include", tree / "src")
    return [f"-I{folder}" for folder in folders]


def _define_flags() -> list[str]:
    return [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in DEFINES]


def _own_lines(expanded: str, headers: set[str]) -> Iterator[str]:
    """The lines that come from one of `headers`, line markers dropped."""
    inside = False
    for line in expanded.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            inside = marker[1] in headers
        elif inside:
            yield line


def _statements(text: str) -> Iterator[str]:
    """Top-level C declarations and definitions, one at a time."""
    depth, start = 0, 0
    for match in re.finditer(r"[{};]", text):
        char, end = match[0], match.end()
        depth += (char == "{") - (char == "}")
        is_body = char == "}" and re.search(r"\)\s*\{", text[start:end]) and "(" in text[start:end].split("{", 1)[0]
        if depth == 0 and (char == ";" or is_body):
            yield " ".join(text[start:end].split())
            start = end


def _without_attributes(text: str) -> str:
    text = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", "", text)
    return re.sub(r"\b(?:__extension__|__restrict|extern)\b", "", text)


def _open_enum(statement: str) -> str:
    """An enum whose members' values are left to the compiler."""

    def members(match: re.Match[str]) -> str:
        names = [member.split("=")[0].strip() for member in match[2].split(",")]
        return match[1] + "{ " + ", ".join(f"{name} = ..." for name in names if name) + " }"

    return re.sub(r"(\benum\s+\w*\s*)\{([^{}]*)\}", members, statement)


INTEGER_MACRO = re.compile(r"#define ([A-Za-z_]\w*) (.*\S.*)")
# Macros that stand for types, keywords or builtins rather than for integers.
NOT_A_CONSTANT = re.compile(r"^(__builtin|__attribute|struct|union|typedef|static|inline|noexcept|uring_\w+\()")


def derive(tree: Path, generated: Path) -> Declarations:
    """Read liburing's public headers and our own, as the compiler sees them."""
    include = tree / "src" / "include"
    headers = {
        str(path)
        for path in (
            include / "liburing.h",
            *sorted((include / "liburing").rglob("*.h")),
            generated / "liburing" / "io_uring_version.h",
            NATIVE / "uring.h",
            NATIVE / "bulk.h",
        )
        if path.name not in ("barrier.h", "sanitize.h")
    }
    source = "#define IOURINGINLINE URING_PUBLIC\n#define _LOCAL_INLINE URING_LOCAL\n" + INCLUDES
    flags = [*include_flags(tree, generated), *_define_flags(), "-dD"]
    lines = list(_own_lines(preprocess(source, *flags), headers))
    macros = [line for line in lines if line.startswith("#")]
    code = "\n".join(line for line in lines if not line.startswith("#"))

    types, functions = [], {}
    for statement in _statements(_without_attributes(code)):
        if statement.startswith(("URING_LOCAL", "static inline", "__thread")):
            continue
        prototype = statement.removeprefix("URING_PUBLIC").split("{")[0].rstrip(" ;").strip()
        name = re.search(r"(\w+)\s*\([^()]*\)$", prototype)
        if name and not statement.startswith(("struct {", "union {")) and "{" not in prototype:
            functions[name[1]] = prototype + ";"
        elif statement != ";":
            types.append(_open_enum(statement))
    constants = []
    for line in macros:
        match = INTEGER_MACRO.fullmatch(line.rstrip())
        if match and not NOT_A_CONSTANT.match(match[2]):
            constants.append(match[1])
    return Declarations(types, functions, list(dict.fromkeys(constants)))


# --- fused calls ---------------------------------------------------------------------------------

PREPARE = "io_uring_prep_"
# prep_rw is the generic part of all others; prep_send_set_addr changes an SQE that is prepared already.
NOT_FUSED = ("rw", "send_set_addr")
BIG = ("nop128", "uring_cmd128")


def fused_calls(functions: dict[str, str]) -> dict[str, tuple[str, str]]:
    """For each fused call: its declaration, and its definition in C."""
    calls = {}
    for name, prototype in functions.items():
        kind = name.removeprefix(PREPARE)
        if kind == name or kind in NOT_FUSED:
            continue
        parameters = prototype.rstrip(";").split("(", 1)[1].removesuffix(")").split(",")
        # The SQE is the first parameter, but for prep_rw alone.
        rest = [" ".join(parameter.split()) for parameter in parameters[1:]]
        names = [re.search(r"(\w+)(?:\[\])?$", parameter)[1] for parameter in rest]  # type: ignore[index]
        # Names that no prepare call has among its own: those use user_data and options themselves.
        head = ", ".join(["struct uring_ring *r", "uint64_t tag", "uint64_t sqe_options", *rest])
        get = "uring_get_big_sqe" if kind in BIG else "io_uring_get_sqe"
        refusal = "uring_no_big_sqe(r->ring)" if kind in BIG else "URING_FULL"
        calls[f"uring_{kind}"] = (
            f"int uring_{kind}({head});",
            f"static int uring_{kind}({head})\n{{\n"
            "\tstruct io_uring_sqe *sqe;\n\n"
            "\tif (!uring_mine(r))\n\t\treturn uring_refuse(r);\n"
            "\tif (uring_out_of_slots(r))\n\t\treturn -ENOMEM;\n"
            f"\tsqe = {get}(r->ring);\n\tif (!sqe)\n\t\treturn {refusal};\n"
            f"\t{name}({', '.join(['sqe', *names])});\n"
            "\treturn uring_apply(r, sqe, tag, sqe_options);\n}\n",
        )
    return calls


# What makes a request's Python cost is the crossing. cffi drops the GIL and takes it again around every call, which is
# a third of a fused call; queueing an SQE never blocks, so it keeps the GIL. The wrapper's own name decides, at compile
# time: every other call, and above all every wait, releases it as usual.
FUSED_HELPERS = """
static inline __attribute__((always_inline)) int uring_may_block(const char *wrapper)
{
	if (__builtin_strncmp(wrapper, "_cffi_f_uring_", 14))
		return 1;
	wrapper += 14;
	return !__builtin_strcmp(wrapper, "wait") || !__builtin_strcmp(wrapper, "slot_wait") ||
	       !__builtin_strcmp(wrapper, "wake_wait") || !__builtin_strcmp(wrapper, "wake") ||
	       !__builtin_strcmp(wrapper, "submit") || !__builtin_strcmp(wrapper, "reap") ||
	       !__builtin_strcmp(wrapper, "bulk_run") || !__builtin_strcmp(wrapper, "bulk_check") ||
	       !__builtin_strcmp(wrapper, "bulk_survey") ||
	       !__builtin_strcmp(wrapper, "bulk_statx");
}
#undef Py_BEGIN_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *_save = uring_may_block(__func__) ? PyEval_SaveThread() : NULL;
#undef Py_END_ALLOW_THREADS
#define Py_END_ALLOW_THREADS if (uring_may_block(__func__)) PyEval_RestoreThread(_save); }

static inline int uring_no_big_sqe(const struct io_uring *ring)
{
	return ring->flags & (IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED) ? URING_FULL : URING_NO_BIG_SQE;
}
"""


# --- the extension -------------------------------------------------------------------------------


def package_version() -> str:
    """The version in uring/_version.py."""
    text = (ROOT / "uring" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'__version__ = "([^"]+)"', text)
    if not match:
        raise BuildError('uring/_version.py: expected a line __version__ = "...", found none')
    return match[1]


def write_version_header(lock: vendor.Lock, generated: Path) -> None:
    """liburing/io_uring_version.h, which upstream's configure would generate."""
    major, minor = lock.version.split(".")
    content = f"#define IO_URING_VERSION_MAJOR {major}\n#define IO_URING_VERSION_MINOR {minor}\n"
    header = generated / "liburing" / "io_uring_version.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    if not header.is_file() or header.read_text() != content:
        header.write_text(content)


def prepare() -> tuple[Path, Path, Declarations]:
    """Everything up to the declarations: the source tree, the generated headers, what they declare."""
    require_python_headers()
    compiler()
    require_kernel_headers()
    tree = vendor.materialise()
    generated = ROOT / "build" / "generated"
    write_version_header(vendor.Lock.load(), generated)
    return tree, generated, derive(tree, generated)


def _relative(path: Path) -> str:
    return os.path.relpath(path, ROOT)


def build(tree: Path, generated: Path, declared: Declarations) -> FFI:
    """The FFI object that setuptools compiles."""
    calls = fused_calls(declared.functions)
    ffi = FFI()
    ffi.cdef(PRELUDE + "".join(f"#define {name} ...\n" for name in BORROWED_CONSTANTS))
    ffi.cdef(declared.cdef())
    ffi.cdef("\n".join(declaration for declaration, _ in calls.values()))
    ffi.cdef("extern const char *const uring_version;")
    source = [INCLUDES, FUSED_HELPERS, *(definition for _, definition in calls.values())]
    source.append(f'static const char *const uring_version = "{package_version()}";')
    extra = shlex.split(os.environ.get("URING_EXTRA_CFLAGS", ""))
    ffi.set_source(
        "uring._uring",
        "\n".join(source),
        sources=[
            *(_relative(tree / "src" / name) for name in SOURCES),
            *(_relative(NATIVE / name) for name in NATIVE_SOURCES),
        ],
        # Headers, for setuptools: without them a change of one would not compile anything again.
        depends=[_relative(path) for folder in (NATIVE, generated, tree / "src") for path in folder.rglob("*.h")],
        include_dirs=[_relative(Path(flag[2:])) for flag in include_flags(tree, generated)],
        define_macros=list(DEFINES),
        # -g0: a Python built with -g passes it on, and the debug sections are larger than the code.
        extra_compile_args=["-std=gnu11", "-O2", "-g0", "-fvisibility=hidden", *extra],
        # Flags of one's own are for debugging and sanitizing, which need the symbols.
        extra_link_args=extra or ["-Wl,-s"],
    )
    return ffi


def prepare_or_exit() -> tuple[Path, Path, Declarations]:
    """`prepare`, but what is wrong stops the build with one clear message."""
    try:
        return prepare()
    except (BuildError, vendor.VendorError) as error:
        raise SystemExit(f"\nuring cannot be built: {error}\n") from None


def make_ffi() -> FFI:
    """What setup.py names."""
    prepared = prepare_or_exit()
    # setuptools knows only the compiler that Python was built with: have it use the one that reads the headers.
    os.environ["CC"] = shlex.join(compiler())
    return build(*prepared)


if __name__ == "__main__":
    print(prepare_or_exit()[2].cdef())
