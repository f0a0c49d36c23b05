"""The flags and masks of the kernel's interface, as Python enums.

Values come from the compiled headers, so a flag that a later kernel adds appears with the next liburing. Builders take
these or plain ints; what they return or show (`Ring.flags`, `Completion.flags`) are these. Flags that Python's own
modules name (`os.O_*`, `os.RWF_*`, `os.SPLICE_F_*`, `socket.MSG_*`, `select.POLL*`) are not repeated.
"""

from __future__ import annotations

import enum

from ._native import lib


class Setup(enum.IntFlag):
    """How a ring was set up (IORING_SETUP_*); `Params` describes each."""

    IOPOLL = lib.IORING_SETUP_IOPOLL
    """Completions are polled for instead of announced by interrupts (5.1)."""
    SQPOLL = lib.IORING_SETUP_SQPOLL
    """A kernel thread takes submissions (5.1)."""
    SQ_AFF = lib.IORING_SETUP_SQ_AFF
    """That thread is bound to a CPU (5.1)."""
    CQSIZE = lib.IORING_SETUP_CQSIZE
    """The completion queue's size was given (5.5)."""
    CLAMP = lib.IORING_SETUP_CLAMP
    """Too large sizes were reduced to the maximum (5.6)."""
    ATTACH_WQ = lib.IORING_SETUP_ATTACH_WQ
    """Worker threads are shared with another ring (5.6)."""
    R_DISABLED = lib.IORING_SETUP_R_DISABLED
    """The ring starts disabled (5.10)."""
    SUBMIT_ALL = lib.IORING_SETUP_SUBMIT_ALL
    """One bad request does not stop the rest of a batch (5.18)."""
    COOP_TASKRUN = lib.IORING_SETUP_COOP_TASKRUN
    """The owner is not interrupted to post completions (5.19)."""
    TASKRUN_FLAG = lib.IORING_SETUP_TASKRUN_FLAG
    """A flag in the ring tells of such work (5.19)."""
    SQE128 = lib.IORING_SETUP_SQE128
    """SQEs have 128 bytes (5.19)."""
    CQE32 = lib.IORING_SETUP_CQE32
    """CQEs have 32 bytes (5.19)."""
    SINGLE_ISSUER = lib.IORING_SETUP_SINGLE_ISSUER
    """Only one thread submits (6.0)."""
    DEFER_TASKRUN = lib.IORING_SETUP_DEFER_TASKRUN
    """Completions are posted only when the owner asks (6.1)."""
    NO_MMAP = lib.IORING_SETUP_NO_MMAP
    """The ring lies in the application's memory (6.5)."""
    REGISTERED_FD_ONLY = lib.IORING_SETUP_REGISTERED_FD_ONLY
    """The ring has a registered index and no descriptor (6.5)."""
    NO_SQARRAY = lib.IORING_SETUP_NO_SQARRAY
    """No indirection array; liburing sets it by itself (6.6)."""
    HYBRID_IOPOLL = lib.IORING_SETUP_HYBRID_IOPOLL
    """Sleep a while before polling (6.13)."""
    CQE_MIXED = lib.IORING_SETUP_CQE_MIXED
    """CQEs of both sizes (6.18)."""
    SQE_MIXED = lib.IORING_SETUP_SQE_MIXED
    """SQEs of both sizes (6.19)."""
    SQ_REWIND = lib.IORING_SETUP_SQ_REWIND
    """Submissions start at the first entry each time (7.0)."""


class Feature(enum.IntFlag):
    """What the running kernel can do (IORING_FEAT_*)."""

    SINGLE_MMAP = lib.IORING_FEAT_SINGLE_MMAP
    """Both queues lie in one mapping (5.4)."""
    NODROP = lib.IORING_FEAT_NODROP
    """Completions that find no room are kept (5.5)."""
    SUBMIT_STABLE = lib.IORING_FEAT_SUBMIT_STABLE
    """What describes a request, such as an iovec, is copied at submission (5.5)."""
    RW_CUR_POS = lib.IORING_FEAT_RW_CUR_POS
    """Offset -1 is the file's own position (5.6)."""
    CUR_PERSONALITY = lib.IORING_FEAT_CUR_PERSONALITY
    """Requests run with the submitter's credentials (5.6)."""
    FAST_POLL = lib.IORING_FEAT_FAST_POLL
    """What would block waits by polling, not in a thread (5.7)."""
    POLL_32BITS = lib.IORING_FEAT_POLL_32BITS
    """Poll masks have 32 bits (5.9)."""
    SQPOLL_NONFIXED = lib.IORING_FEAT_SQPOLL_NONFIXED
    """SQPOLL works with any descriptor (5.11)."""
    EXT_ARG = lib.IORING_FEAT_EXT_ARG
    """A wait takes a timeout of its own (5.11)."""
    NATIVE_WORKERS = lib.IORING_FEAT_NATIVE_WORKERS
    """Workers are threads of the process (5.12)."""
    RSRC_TAGS = lib.IORING_FEAT_RSRC_TAGS
    """Registered files and buffers can carry tags (5.13)."""
    CQE_SKIP = lib.IORING_FEAT_CQE_SKIP
    """A success can be kept quiet (5.17)."""
    LINKED_FILE = lib.IORING_FEAT_LINKED_FILE
    """A link takes its registered file only when it runs (5.17)."""
    REG_REG_RING = lib.IORING_FEAT_REG_REG_RING
    """Register calls take a registered ring descriptor (6.3)."""
    RECVSEND_BUNDLE = lib.IORING_FEAT_RECVSEND_BUNDLE
    """Sends and receives can use many provided buffers at once (6.10)."""
    MIN_TIMEOUT = lib.IORING_FEAT_MIN_TIMEOUT
    """A wait takes a minimum time (6.12)."""
    RW_ATTR = lib.IORING_FEAT_RW_ATTR
    """Reads and writes take attributes (6.14)."""
    NO_IOWAIT = lib.IORING_FEAT_NO_IOWAIT
    """Waiting can be kept out of the iowait statistics (6.15)."""


class CqeFlag(enum.IntFlag):
    """The lower bits of a CQE's flags (IORING_CQE_F_*); the upper half is a buffer id."""

    BUFFER = lib.IORING_CQE_F_BUFFER
    """The upper half is the id of the provided buffer that was used (5.7)."""
    MORE = lib.IORING_CQE_F_MORE
    """More CQEs of this request will come (5.13)."""
    SOCK_NONEMPTY = lib.IORING_CQE_F_SOCK_NONEMPTY
    """The socket had more data (5.19)."""
    NOTIF = lib.IORING_CQE_F_NOTIF
    """The memory of a zero-copy send is free (6.0)."""
    BUF_MORE = lib.IORING_CQE_F_BUF_MORE
    """The provided buffer is only partly used (6.12)."""
    SKIP = lib.IORING_CQE_F_SKIP
    """Padding of a ring with CQEs of both sizes (6.18)."""
    BIG = lib.IORING_CQE_F_32
    """This CQE has 32 bytes (6.18)."""


class Statx(enum.IntFlag):
    """What `Ring.statx` asks for, and which of it came (STATX_*)."""

    TYPE = lib.STATX_TYPE
    """The file's type."""
    MODE = lib.STATX_MODE
    """Its permission bits."""
    NLINK = lib.STATX_NLINK
    """Its number of hard links."""
    UID = lib.STATX_UID
    """Its owner."""
    GID = lib.STATX_GID
    """Its group."""
    ATIME = lib.STATX_ATIME
    """When it was read."""
    MTIME = lib.STATX_MTIME
    """When its contents changed."""
    CTIME = lib.STATX_CTIME
    """When its inode changed."""
    INO = lib.STATX_INO
    """Its inode number."""
    SIZE = lib.STATX_SIZE
    """Its size."""
    BLOCKS = lib.STATX_BLOCKS
    """Its allocated blocks."""
    BASIC_STATS = lib.STATX_BASIC_STATS
    """All of the above."""
    BTIME = lib.STATX_BTIME
    """When it was made."""


class Resolve(enum.IntFlag):
    """How `Ring.openat` resolves a path (RESOLVE_*, openat2(2), 5.6)."""

    NO_XDEV = lib.RESOLVE_NO_XDEV
    """Cross no mount point."""
    NO_MAGICLINKS = lib.RESOLVE_NO_MAGICLINKS
    """Follow no link of /proc's kind."""
    NO_SYMLINKS = lib.RESOLVE_NO_SYMLINKS
    """Follow no symbolic link at all."""
    BENEATH = lib.RESOLVE_BENEATH
    """Stay below the directory where the path starts."""
    IN_ROOT = lib.RESOLVE_IN_ROOT
    """Treat that directory as the root."""


class SendRecv(enum.IntFlag):
    """How a send or receive is carried out (IORING_RECVSEND_* and IORING_SEND_*)."""

    POLL_FIRST = lib.IORING_RECVSEND_POLL_FIRST
    """Do not try at once: the socket is known not to be ready (5.19)."""
    REPORT_USAGE = lib.IORING_SEND_ZC_REPORT_USAGE
    """A zero-copy send's notification tells whether data was copied after all (6.2)."""
    BUNDLE = lib.IORING_RECVSEND_BUNDLE
    """Use many provided buffers at once (6.10)."""
    VECTORIZED = lib.IORING_SEND_VECTORIZED
    """The memory of a send is an iovec array (6.17)."""


class Futex2(enum.IntFlag):
    """What kind of futex a word is (FUTEX2_*, 6.7)."""

    SIZE_U32 = lib.FUTEX_32
    """A 32-bit word, the only size that kernels have."""
    PRIVATE = 128
    """Not shared with other processes."""
