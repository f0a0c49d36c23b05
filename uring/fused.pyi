# Written by tools/make_stubs.py; do not edit.
from collections.abc import Iterator
from typing import Final, type_check_only

from .liburing import (
    CData,
    Pointer,
    Struct,
    ffi,
    lib,
    struct___kernel_timespec,
    struct_epoll_event,
    struct_futex_waitv,
    struct_io_uring,
    struct_io_uring_buf_ring,
    struct_iovec,
    struct_msghdr,
    struct_open_how,
    struct_siginfo_t,
    struct_sockaddr,
    struct_statx,
)

__all__ = [
    "CLOSED",
    "FORKED",
    "FULL",
    "NO_BIG_SQE",
    "WRONG_THREAD",
    "attach",
    "completions",
    "detach",
    "ffi",
    "lib",
    "options",
    "uring_accept",
    "uring_accept_direct",
    "uring_bind",
    "uring_cancel",
    "uring_cancel64",
    "uring_cancel_fd",
    "uring_cancel_opcode",
    "uring_check",
    "uring_close",
    "uring_close_direct",
    "uring_cmd_discard",
    "uring_cmd_getsockname",
    "uring_cmd_sock",
    "uring_command",
    "uring_connect",
    "uring_epoll_ctl",
    "uring_epoll_wait",
    "uring_fadvise",
    "uring_fadvise64",
    "uring_fallocate",
    "uring_fgetxattr",
    "uring_files_update",
    "uring_fixed_fd_install",
    "uring_fsetxattr",
    "uring_fsync",
    "uring_ftruncate",
    "uring_futex_wait",
    "uring_futex_waitv",
    "uring_futex_wake",
    "uring_getxattr",
    "uring_link",
    "uring_link_timeout",
    "uring_linkat",
    "uring_listen",
    "uring_madvise",
    "uring_madvise64",
    "uring_mkdir",
    "uring_mkdirat",
    "uring_msg_ring",
    "uring_msg_ring_cqe_flags",
    "uring_msg_ring_fd",
    "uring_msg_ring_fd_alloc",
    "uring_multishot_accept",
    "uring_multishot_accept_direct",
    "uring_nop",
    "uring_nop128",
    "uring_nop_result",
    "uring_open",
    "uring_open_direct",
    "uring_openat",
    "uring_openat2",
    "uring_openat2_direct",
    "uring_openat_direct",
    "uring_pipe",
    "uring_pipe_direct",
    "uring_poll_add",
    "uring_poll_multishot",
    "uring_poll_remove",
    "uring_poll_update",
    "uring_provide_buffers",
    "uring_read",
    "uring_read_fixed",
    "uring_read_multishot",
    "uring_readv",
    "uring_readv2",
    "uring_readv_fixed",
    "uring_reap",
    "uring_recv",
    "uring_recv_multishot",
    "uring_recv_zc",
    "uring_recvmsg",
    "uring_recvmsg_multishot",
    "uring_remove_buffers",
    "uring_rename",
    "uring_renameat",
    "uring_send",
    "uring_send_bundle",
    "uring_send_zc",
    "uring_send_zc_fixed",
    "uring_sendmsg",
    "uring_sendmsg_zc",
    "uring_sendmsg_zc_fixed",
    "uring_sendto",
    "uring_setxattr",
    "uring_shutdown",
    "uring_socket",
    "uring_socket_direct",
    "uring_socket_direct_alloc",
    "uring_splice",
    "uring_statx",
    "uring_submit",
    "uring_symlink",
    "uring_symlinkat",
    "uring_sync_file_range",
    "uring_tee",
    "uring_thread",
    "uring_timeout",
    "uring_timeout_remove",
    "uring_timeout_update",
    "uring_unlink",
    "uring_unlinkat",
    "uring_uring_cmd",
    "uring_uring_cmd128",
    "uring_wait",
    "uring_waitid",
    "uring_write",
    "uring_write_fixed",
    "uring_writev",
    "uring_writev2",
    "uring_writev_fixed",
]

CLOSED: Final[int]
FORKED: Final[int]
FULL: Final[int]
NO_BIG_SQE: Final[int]
WRONG_THREAD: Final[int]

@type_check_only
class struct_uring_buffers(Struct):
    """`struct uring_buffers`."""

    entries: struct_io_uring_buf_ring
    memory: Pointer[bytes]
    size: int
    mask: int

@type_check_only
class struct_uring_bulk(Struct):
    """`struct uring_bulk`."""

    kind: int
    depth: int
    batch: int
    options: int
    count: int
    files: struct_uring_numbers
    offsets: struct_uring_numbers
    lengths: struct_uring_numbers
    positions: struct_uring_numbers
    memory: Pointer[bytes]
    memory_size: int
    vectors: struct_iovec
    buffer_index: int
    buffer_span: int
    alignment: int
    bounce: Pointer[bytes]
    bounce_size: int
    bounce_index: int
    sync_every: int
    sync_flags: int
    dir_fd: int
    names: Pointer[bytes]
    name_at: struct_uring_numbers
    flags: int
    mode: int
    stats: struct_statx
    direct: struct_uring_numbers
    is_direct: int
    contents: struct_uring_contents
    counts: Pointer[int]
    errors: Pointer[int]
    next: int
    finished: int
    failed: int
    transferred: int
    retried: int
    in_flight: int
    stop_error: int
    places: CData
    outer: struct_uring_bulk
    base: int
    legs: int
    first_free: int
    first_again: int
    last_again: int
    to_cancel: int
    batch_start: int
    batch_end: int
    flush: Pointer[int]
    flush_count: int
    flush_next: int
    flushing: int
    is_eager: int

@type_check_only
class struct_uring_completion(Struct):
    """`struct uring_completion`."""

    user_data: int
    res: int
    flags: int

@type_check_only
class struct_uring_contents(Struct):
    """`struct uring_contents`."""

    files: struct_iovec
    blocks: CData
    room: int
    next: Pointer[bytes]
    count: int

@type_check_only
class struct_uring_numbers(Struct):
    """`struct uring_numbers`."""

    data: CData
    first: int
    step: int
    width: int
    is_unsigned: int

@type_check_only
class struct_uring_outcome(Struct):
    """`struct uring_outcome`."""

    slot: int
    res: int
    flags: int

@type_check_only
class struct_uring_ring(Struct):
    """`struct uring_ring`."""

    ring: struct_io_uring
    owner: int
    completions: struct_uring_completion
    outcomes: struct_uring_outcome
    extra: Pointer[Pointer[int]]
    room: int
    error: int
    filled: int
    last_slot: int
    slots: struct_uring_slot
    slot_count: int
    first_free: int
    first_resting: int
    last_resting: int
    in_flight: int
    managed: int
    taken_head: int
    submitted: int
    reaped: int
    batches: int
    woken: int
    waiting: int
    bulk: struct_uring_bulk
    bulk_cancels: int

@type_check_only
class struct_uring_slot(Struct):
    """`struct uring_slot`."""

    generation: int
    next_free: int

def attach(ring: struct_io_uring, room: int = 256, *, extra: bool = False) -> struct_uring_ring: ...
def completions(r: struct_uring_ring, count: int) -> Iterator[tuple[int, int, int]]: ...
def detach(r: struct_uring_ring) -> None: ...
def options(*, flags: int = 0, ioprio: int = 0, personality: int = 0, buf_group: int = 0) -> int: ...
def uring_accept(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    addr: struct_sockaddr,
    addrlen: Pointer[int],
    flags: int,
    /,
) -> int:
    """`int uring_accept(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct sockaddr *addr,
    socklen_t *addrlen, int flags)`"""

def uring_accept_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    addr: struct_sockaddr,
    addrlen: Pointer[int],
    flags: int,
    file_index: int,
    /,
) -> int:
    """`int uring_accept_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct sockaddr *addr,
    socklen_t *addrlen, int flags, unsigned int file_index)`"""

def uring_bind(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, addr: struct_sockaddr, addrlen: int, /
) -> int:
    """`int uring_bind(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct sockaddr *addr,
    socklen_t addrlen)`"""

def uring_cancel(r: struct_uring_ring, tag: int, sqe_options: int, user_data: bytes | CData, flags: int, /) -> int:
    """`int uring_cancel(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const void *user_data, int flags)`"""

def uring_cancel64(r: struct_uring_ring, tag: int, sqe_options: int, user_data: int, flags: int, /) -> int:
    """`int uring_cancel64(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, __u64 user_data, int flags)`"""

def uring_cancel_fd(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, flags: int, /) -> int:
    """`int uring_cancel_fd(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned int flags)`"""

def uring_cancel_opcode(r: struct_uring_ring, tag: int, options: int, fd: int, opcode: int, flags: int, /) -> int:
    """`int uring_cancel_opcode(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned opcode, unsigned
    flags)`"""

def uring_check(r: struct_uring_ring, /) -> int:
    """`int uring_check(const struct uring_ring *r)`"""

def uring_close(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, /) -> int:
    """`int uring_close(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd)`"""

def uring_close_direct(r: struct_uring_ring, tag: int, sqe_options: int, file_index: int, /) -> int:
    """`int uring_close_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, unsigned file_index)`"""

def uring_cmd_discard(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, offset: int, nbytes: int, /) -> int:
    """`int uring_cmd_discard(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, uint64_t offset,
    uint64_t nbytes)`"""

def uring_cmd_getsockname(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    sockaddr: struct_sockaddr,
    sockaddr_len: Pointer[int],
    peer: int,
    /,
) -> int:
    """`int uring_cmd_getsockname(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct sockaddr
    *sockaddr, socklen_t *sockaddr_len, int peer)`"""

def uring_cmd_sock(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    cmd_op: int,
    fd: int,
    level: int,
    optname: int,
    optval: CData,
    optlen: int,
    /,
) -> int:
    """`int uring_cmd_sock(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int cmd_op, int fd, int level, int
    optname, void *optval, int optlen)`"""

def uring_command(
    r: struct_uring_ring,
    tag: int,
    options: int,
    opcode: int,
    cmd_op: int,
    fd: int,
    cmd: bytes | CData,
    len: int,
    cmd_flags: int,
    /,
) -> int:
    """`int uring_command(struct uring_ring *r, uint64_t tag, uint64_t options, unsigned opcode, int cmd_op, int fd,
    const void *cmd, unsigned len, unsigned cmd_flags)`"""

def uring_connect(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, addr: struct_sockaddr, addrlen: int, /
) -> int:
    """`int uring_connect(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct sockaddr *addr,
    socklen_t addrlen)`"""

def uring_epoll_ctl(
    r: struct_uring_ring, tag: int, sqe_options: int, epfd: int, fd: int, op: int, ev: struct_epoll_event, /
) -> int:
    """`int uring_epoll_ctl(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int epfd, int fd, int op, const
    struct epoll_event *ev)`"""

def uring_epoll_wait(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, events: struct_epoll_event, maxevents: int, flags: int, /
) -> int:
    """`int uring_epoll_wait(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct epoll_event
    *events, int maxevents, unsigned flags)`"""

def uring_fadvise(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, offset: int, len: int, advice: int, /
) -> int:
    """`int uring_fadvise(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, __u64 offset, __u32 len, int
    advice)`"""

def uring_fadvise64(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, offset: int, len: int, advice: int, /
) -> int:
    """`int uring_fadvise64(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, __u64 offset, off_t len,
    int advice)`"""

def uring_fallocate(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, mode: int, offset: int, len: int, /
) -> int:
    """`int uring_fallocate(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, int mode, __u64 offset,
    __u64 len)`"""

def uring_fgetxattr(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    name: bytes | Pointer[bytes],
    value: Pointer[bytes],
    len: int,
    /,
) -> int:
    """`int uring_fgetxattr(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const char *name, char
    *value, unsigned int len)`"""

def uring_files_update(
    r: struct_uring_ring, tag: int, sqe_options: int, fds: Pointer[int], nr_fds: int, offset: int, /
) -> int:
    """`int uring_files_update(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int *fds, unsigned nr_fds, int
    offset)`"""

def uring_fixed_fd_install(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, flags: int, /) -> int:
    """`int uring_fixed_fd_install(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned int
    flags)`"""

def uring_fsetxattr(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    name: bytes | Pointer[bytes],
    value: bytes | Pointer[bytes],
    flags: int,
    len: int,
    /,
) -> int:
    """`int uring_fsetxattr(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const char *name, const
    char *value, int flags, unsigned int len)`"""

def uring_fsync(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, fsync_flags: int, /) -> int:
    """`int uring_fsync(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned fsync_flags)`"""

def uring_ftruncate(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, len: int, /) -> int:
    """`int uring_ftruncate(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, loff_t len)`"""

def uring_futex_wait(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    futex: Pointer[int],
    val: int,
    mask: int,
    futex_flags: int,
    flags: int,
    /,
) -> int:
    """`int uring_futex_wait(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const uint32_t *futex, uint64_t
    val, uint64_t mask, uint32_t futex_flags, unsigned int flags)`"""

def uring_futex_waitv(
    r: struct_uring_ring, tag: int, sqe_options: int, futex: struct_futex_waitv, nr_futex: int, flags: int, /
) -> int:
    """`int uring_futex_waitv(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const struct futex_waitv *futex,
    uint32_t nr_futex, unsigned int flags)`"""

def uring_futex_wake(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    futex: Pointer[int],
    val: int,
    mask: int,
    futex_flags: int,
    flags: int,
    /,
) -> int:
    """`int uring_futex_wake(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const uint32_t *futex, uint64_t
    val, uint64_t mask, uint32_t futex_flags, unsigned int flags)`"""

def uring_getxattr(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    name: bytes | Pointer[bytes],
    value: Pointer[bytes],
    path: bytes | Pointer[bytes],
    len: int,
    /,
) -> int:
    """`int uring_getxattr(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *name, char *value,
    const char *path, unsigned int len)`"""

def uring_link(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    oldpath: bytes | Pointer[bytes],
    newpath: bytes | Pointer[bytes],
    flags: int,
    /,
) -> int:
    """`int uring_link(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *oldpath, const char
    *newpath, int flags)`"""

def uring_link_timeout(
    r: struct_uring_ring, tag: int, sqe_options: int, ts: struct___kernel_timespec, flags: int, /
) -> int:
    """`int uring_link_timeout(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const struct __kernel_timespec
    *ts, unsigned flags)`"""

def uring_linkat(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    olddfd: int,
    oldpath: bytes | Pointer[bytes],
    newdfd: int,
    newpath: bytes | Pointer[bytes],
    flags: int,
    /,
) -> int:
    """`int uring_linkat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int olddfd, const char *oldpath, int
    newdfd, const char *newpath, int flags)`"""

def uring_listen(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, backlog: int, /) -> int:
    """`int uring_listen(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, int backlog)`"""

def uring_madvise(r: struct_uring_ring, tag: int, sqe_options: int, addr: CData, length: int, advice: int, /) -> int:
    """`int uring_madvise(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, void *addr, __u32 length, int
    advice)`"""

def uring_madvise64(r: struct_uring_ring, tag: int, sqe_options: int, addr: CData, length: int, advice: int, /) -> int:
    """`int uring_madvise64(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, void *addr, off_t length, int
    advice)`"""

def uring_mkdir(r: struct_uring_ring, tag: int, sqe_options: int, path: bytes | Pointer[bytes], mode: int, /) -> int:
    """`int uring_mkdir(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *path, mode_t mode)`"""

def uring_mkdirat(
    r: struct_uring_ring, tag: int, sqe_options: int, dfd: int, path: bytes | Pointer[bytes], mode: int, /
) -> int:
    """`int uring_mkdirat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, mode_t
    mode)`"""

def uring_msg_ring(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, len: int, data: int, flags: int, /
) -> int:
    """`int uring_msg_ring(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned int len, __u64
    data, unsigned int flags)`"""

def uring_msg_ring_cqe_flags(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, len: int, data: int, flags: int, cqe_flags: int, /
) -> int:
    """`int uring_msg_ring_cqe_flags(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned int len,
    __u64 data, unsigned int flags, unsigned int cqe_flags)`"""

def uring_msg_ring_fd(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, source_fd: int, target_fd: int, data: int, flags: int, /
) -> int:
    """`int uring_msg_ring_fd(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, int source_fd, int
    target_fd, __u64 data, unsigned int flags)`"""

def uring_msg_ring_fd_alloc(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, source_fd: int, data: int, flags: int, /
) -> int:
    """`int uring_msg_ring_fd_alloc(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, int source_fd,
    __u64 data, unsigned int flags)`"""

def uring_multishot_accept(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    addr: struct_sockaddr,
    addrlen: Pointer[int],
    flags: int,
    /,
) -> int:
    """`int uring_multishot_accept(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct sockaddr
    *addr, socklen_t *addrlen, int flags)`"""

def uring_multishot_accept_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    addr: struct_sockaddr,
    addrlen: Pointer[int],
    flags: int,
    /,
) -> int:
    """`int uring_multishot_accept_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct
    sockaddr *addr, socklen_t *addrlen, int flags)`"""

def uring_nop(r: struct_uring_ring, tag: int, sqe_options: int, /) -> int:
    """`int uring_nop(struct uring_ring *r, uint64_t tag, uint64_t sqe_options)`"""

def uring_nop128(r: struct_uring_ring, tag: int, sqe_options: int, /) -> int:
    """`int uring_nop128(struct uring_ring *r, uint64_t tag, uint64_t sqe_options)`"""

def uring_nop_result(r: struct_uring_ring, tag: int, options: int, result: int, /) -> int:
    """`int uring_nop_result(struct uring_ring *r, uint64_t tag, uint64_t options, int result)`"""

def uring_open(
    r: struct_uring_ring, tag: int, sqe_options: int, path: bytes | Pointer[bytes], flags: int, mode: int, /
) -> int:
    """`int uring_open(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *path, int flags, mode_t
    mode)`"""

def uring_open_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    path: bytes | Pointer[bytes],
    flags: int,
    mode: int,
    file_index: int,
    /,
) -> int:
    """`int uring_open_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *path, int flags,
    mode_t mode, unsigned file_index)`"""

def uring_openat(
    r: struct_uring_ring, tag: int, sqe_options: int, dfd: int, path: bytes | Pointer[bytes], flags: int, mode: int, /
) -> int:
    """`int uring_openat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, int flags,
    mode_t mode)`"""

def uring_openat2(
    r: struct_uring_ring, tag: int, sqe_options: int, dfd: int, path: bytes | Pointer[bytes], how: struct_open_how, /
) -> int:
    """`int uring_openat2(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, const
    struct open_how *how)`"""

def uring_openat2_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    dfd: int,
    path: bytes | Pointer[bytes],
    how: struct_open_how,
    file_index: int,
    /,
) -> int:
    """`int uring_openat2_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path,
    const struct open_how *how, unsigned file_index)`"""

def uring_openat_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    dfd: int,
    path: bytes | Pointer[bytes],
    flags: int,
    mode: int,
    file_index: int,
    /,
) -> int:
    """`int uring_openat_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, int
    flags, mode_t mode, unsigned file_index)`"""

def uring_pipe(r: struct_uring_ring, tag: int, sqe_options: int, fds: Pointer[int], pipe_flags: int, /) -> int:
    """`int uring_pipe(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int *fds, int pipe_flags)`"""

def uring_pipe_direct(
    r: struct_uring_ring, tag: int, sqe_options: int, fds: Pointer[int], pipe_flags: int, file_index: int, /
) -> int:
    """`int uring_pipe_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int *fds, int pipe_flags,
    unsigned int file_index)`"""

def uring_poll_add(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, poll_mask: int, /) -> int:
    """`int uring_poll_add(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned poll_mask)`"""

def uring_poll_multishot(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, poll_mask: int, /) -> int:
    """`int uring_poll_multishot(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned
    poll_mask)`"""

def uring_poll_remove(r: struct_uring_ring, tag: int, sqe_options: int, user_data: int, /) -> int:
    """`int uring_poll_remove(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, __u64 user_data)`"""

def uring_poll_update(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    old_user_data: int,
    new_user_data: int,
    poll_mask: int,
    flags: int,
    /,
) -> int:
    """`int uring_poll_update(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, __u64 old_user_data, __u64
    new_user_data, unsigned poll_mask, unsigned flags)`"""

def uring_provide_buffers(
    r: struct_uring_ring, tag: int, sqe_options: int, addr: CData, len: int, nr: int, bgid: int, bid: int, /
) -> int:
    """`int uring_provide_buffers(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, void *addr, int len, int nr,
    int bgid, int bid)`"""

def uring_read(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, buf: CData, nbytes: int, offset: int, /
) -> int:
    """`int uring_read(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, void *buf, unsigned nbytes,
    __u64 offset)`"""

def uring_read_fixed(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, buf: CData, nbytes: int, offset: int, buf_index: int, /
) -> int:
    """`int uring_read_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, void *buf, unsigned
    nbytes, __u64 offset, int buf_index)`"""

def uring_read_multishot(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, nbytes: int, offset: int, buf_group: int, /
) -> int:
    """`int uring_read_multishot(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned nbytes,
    __u64 offset, int buf_group)`"""

def uring_readv(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, /
) -> int:
    """`int uring_readv(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec *iovecs,
    unsigned nr_vecs, __u64 offset)`"""

def uring_readv2(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    iovecs: struct_iovec,
    nr_vecs: int,
    offset: int,
    flags: int,
    /,
) -> int:
    """`int uring_readv2(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec *iovecs,
    unsigned nr_vecs, __u64 offset, int flags)`"""

def uring_readv_fixed(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    iovecs: struct_iovec,
    nr_vecs: int,
    offset: int,
    flags: int,
    buf_index: int,
    /,
) -> int:
    """`int uring_readv_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec
    *iovecs, unsigned nr_vecs, __u64 offset, int flags, int buf_index)`"""

def uring_reap(r: struct_uring_ring, /) -> int:
    """`int uring_reap(struct uring_ring *r)`"""

def uring_recv(
    r: struct_uring_ring, tag: int, sqe_options: int, sockfd: int, buf: CData, len: int, flags: int, /
) -> int:
    """`int uring_recv(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, void *buf, size_t len, int
    flags)`"""

def uring_recv_multishot(
    r: struct_uring_ring, tag: int, sqe_options: int, sockfd: int, buf: CData, len: int, flags: int, /
) -> int:
    """`int uring_recv_multishot(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, void *buf, size_t
    len, int flags)`"""

def uring_recv_zc(r: struct_uring_ring, tag: int, options: int, fd: int, len: int, ifq: int, /) -> int:
    """`int uring_recv_zc(struct uring_ring *r, uint64_t tag, uint64_t options, int fd, unsigned len, unsigned ifq)`"""

def uring_recvmsg(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, msg: struct_msghdr, flags: int, /) -> int:
    """`int uring_recvmsg(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct msghdr *msg, unsigned
    flags)`"""

def uring_recvmsg_multishot(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, msg: struct_msghdr, flags: int, /
) -> int:
    """`int uring_recvmsg_multishot(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, struct msghdr
    *msg, unsigned flags)`"""

def uring_remove_buffers(r: struct_uring_ring, tag: int, sqe_options: int, nr: int, bgid: int, /) -> int:
    """`int uring_remove_buffers(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int nr, int bgid)`"""

def uring_rename(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    oldpath: bytes | Pointer[bytes],
    newpath: bytes | Pointer[bytes],
    /,
) -> int:
    """`int uring_rename(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *oldpath, const char
    *newpath)`"""

def uring_renameat(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    olddfd: int,
    oldpath: bytes | Pointer[bytes],
    newdfd: int,
    newpath: bytes | Pointer[bytes],
    flags: int,
    /,
) -> int:
    """`int uring_renameat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int olddfd, const char *oldpath,
    int newdfd, const char *newpath, unsigned int flags)`"""

def uring_send(
    r: struct_uring_ring, tag: int, sqe_options: int, sockfd: int, buf: bytes | CData, len: int, flags: int, /
) -> int:
    """`int uring_send(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, const void *buf, size_t
    len, int flags)`"""

def uring_send_bundle(r: struct_uring_ring, tag: int, sqe_options: int, sockfd: int, len: int, flags: int, /) -> int:
    """`int uring_send_bundle(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, size_t len, int
    flags)`"""

def uring_send_zc(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    sockfd: int,
    buf: bytes | CData,
    len: int,
    flags: int,
    zc_flags: int,
    /,
) -> int:
    """`int uring_send_zc(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, const void *buf, size_t
    len, int flags, unsigned zc_flags)`"""

def uring_send_zc_fixed(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    sockfd: int,
    buf: bytes | CData,
    len: int,
    flags: int,
    zc_flags: int,
    buf_index: int,
    /,
) -> int:
    """`int uring_send_zc_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, const void *buf,
    size_t len, int flags, unsigned zc_flags, unsigned buf_index)`"""

def uring_sendmsg(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, msg: struct_msghdr, flags: int, /) -> int:
    """`int uring_sendmsg(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct msghdr *msg,
    unsigned flags)`"""

def uring_sendmsg_zc(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, msg: struct_msghdr, flags: int, /
) -> int:
    """`int uring_sendmsg_zc(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct msghdr *msg,
    unsigned flags)`"""

def uring_sendmsg_zc_fixed(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, msg: struct_msghdr, flags: int, buf_index: int, /
) -> int:
    """`int uring_sendmsg_zc_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct msghdr
    *msg, unsigned flags, unsigned buf_index)`"""

def uring_sendto(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    sockfd: int,
    buf: bytes | CData,
    len: int,
    flags: int,
    addr: struct_sockaddr,
    addrlen: int,
    /,
) -> int:
    """`int uring_sendto(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int sockfd, const void *buf, size_t
    len, int flags, const struct sockaddr *addr, socklen_t addrlen)`"""

def uring_setxattr(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    name: bytes | Pointer[bytes],
    value: bytes | Pointer[bytes],
    path: bytes | Pointer[bytes],
    flags: int,
    len: int,
    /,
) -> int:
    """`int uring_setxattr(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *name, const char
    *value, const char *path, int flags, unsigned int len)`"""

def uring_shutdown(r: struct_uring_ring, tag: int, sqe_options: int, fd: int, how: int, /) -> int:
    """`int uring_shutdown(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, int how)`"""

def uring_socket(
    r: struct_uring_ring, tag: int, sqe_options: int, domain: int, type: int, protocol: int, flags: int, /
) -> int:
    """`int uring_socket(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int domain, int type, int protocol,
    unsigned int flags)`"""

def uring_socket_direct(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    domain: int,
    type: int,
    protocol: int,
    file_index: int,
    flags: int,
    /,
) -> int:
    """`int uring_socket_direct(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int domain, int type, int
    protocol, unsigned file_index, unsigned int flags)`"""

def uring_socket_direct_alloc(
    r: struct_uring_ring, tag: int, sqe_options: int, domain: int, type: int, protocol: int, flags: int, /
) -> int:
    """`int uring_socket_direct_alloc(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int domain, int type,
    int protocol, unsigned int flags)`"""

def uring_splice(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd_in: int,
    off_in: int,
    fd_out: int,
    off_out: int,
    nbytes: int,
    splice_flags: int,
    /,
) -> int:
    """`int uring_splice(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd_in, int64_t off_in, int
    fd_out, int64_t off_out, unsigned int nbytes, unsigned int splice_flags)`"""

def uring_statx(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    dfd: int,
    path: bytes | Pointer[bytes],
    flags: int,
    mask: int,
    statxbuf: struct_statx,
    /,
) -> int:
    """`int uring_statx(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, int flags,
    unsigned mask, struct statx *statxbuf)`"""

def uring_submit(r: struct_uring_ring, /) -> int:
    """`int uring_submit(struct uring_ring *r)`"""

def uring_symlink(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    target: bytes | Pointer[bytes],
    linkpath: bytes | Pointer[bytes],
    /,
) -> int:
    """`int uring_symlink(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *target, const char
    *linkpath)`"""

def uring_symlinkat(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    target: bytes | Pointer[bytes],
    newdirfd: int,
    linkpath: bytes | Pointer[bytes],
    /,
) -> int:
    """`int uring_symlinkat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *target, int newdirfd,
    const char *linkpath)`"""

def uring_sync_file_range(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, len: int, offset: int, flags: int, /
) -> int:
    """`int uring_sync_file_range(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, unsigned len, __u64
    offset, int flags)`"""

def uring_tee(
    r: struct_uring_ring, tag: int, sqe_options: int, fd_in: int, fd_out: int, nbytes: int, splice_flags: int, /
) -> int:
    """`int uring_tee(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd_in, int fd_out, unsigned int
    nbytes, unsigned int splice_flags)`"""

def uring_thread() -> int:
    """`uint64_t uring_thread(void)`"""

def uring_timeout(
    r: struct_uring_ring, tag: int, sqe_options: int, ts: struct___kernel_timespec, count: int, flags: int, /
) -> int:
    """`int uring_timeout(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const struct __kernel_timespec *ts,
    unsigned count, unsigned flags)`"""

def uring_timeout_remove(r: struct_uring_ring, tag: int, sqe_options: int, user_data: int, flags: int, /) -> int:
    """`int uring_timeout_remove(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, __u64 user_data, unsigned
    flags)`"""

def uring_timeout_update(
    r: struct_uring_ring, tag: int, sqe_options: int, ts: struct___kernel_timespec, user_data: int, flags: int, /
) -> int:
    """`int uring_timeout_update(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const struct
    __kernel_timespec *ts, __u64 user_data, unsigned flags)`"""

def uring_unlink(r: struct_uring_ring, tag: int, sqe_options: int, path: bytes | Pointer[bytes], flags: int, /) -> int:
    """`int uring_unlink(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, const char *path, int flags)`"""

def uring_unlinkat(
    r: struct_uring_ring, tag: int, sqe_options: int, dfd: int, path: bytes | Pointer[bytes], flags: int, /
) -> int:
    """`int uring_unlinkat(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int dfd, const char *path, int
    flags)`"""

def uring_uring_cmd(r: struct_uring_ring, tag: int, sqe_options: int, cmd_op: int, fd: int, /) -> int:
    """`int uring_uring_cmd(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int cmd_op, int fd)`"""

def uring_uring_cmd128(r: struct_uring_ring, tag: int, sqe_options: int, cmd_op: int, fd: int, /) -> int:
    """`int uring_uring_cmd128(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int cmd_op, int fd)`"""

def uring_wait(r: struct_uring_ring, wait_nr: int, timeout_ns: int, /) -> int:
    """`int uring_wait(struct uring_ring *r, unsigned wait_nr, int64_t timeout_ns)`"""

def uring_waitid(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    idtype: int,
    id: int,
    infop: struct_siginfo_t,
    options: int,
    flags: int,
    /,
) -> int:
    """`int uring_waitid(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, idtype_t idtype, id_t id, siginfo_t
    *infop, int options, unsigned int flags)`"""

def uring_write(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, buf: bytes | CData, nbytes: int, offset: int, /
) -> int:
    """`int uring_write(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const void *buf, unsigned
    nbytes, __u64 offset)`"""

def uring_write_fixed(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    buf: bytes | CData,
    nbytes: int,
    offset: int,
    buf_index: int,
    /,
) -> int:
    """`int uring_write_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const void *buf,
    unsigned nbytes, __u64 offset, int buf_index)`"""

def uring_writev(
    r: struct_uring_ring, tag: int, sqe_options: int, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, /
) -> int:
    """`int uring_writev(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec *iovecs,
    unsigned nr_vecs, __u64 offset)`"""

def uring_writev2(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    iovecs: struct_iovec,
    nr_vecs: int,
    offset: int,
    flags: int,
    /,
) -> int:
    """`int uring_writev2(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec *iovecs,
    unsigned nr_vecs, __u64 offset, int flags)`"""

def uring_writev_fixed(
    r: struct_uring_ring,
    tag: int,
    sqe_options: int,
    fd: int,
    iovecs: struct_iovec,
    nr_vecs: int,
    offset: int,
    flags: int,
    buf_index: int,
    /,
) -> int:
    """`int uring_writev_fixed(struct uring_ring *r, uint64_t tag, uint64_t sqe_options, int fd, const struct iovec
    *iovecs, unsigned nr_vecs, __u64 offset, int flags, int buf_index)`"""
