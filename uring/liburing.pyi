# Written by tools/make_stubs.py; do not edit.
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar, overload, type_check_only

from typing_extensions import Buffer, Self

__all__ = [
    "AT_EMPTY_PATH",
    "AT_FDCWD",
    "AT_REMOVEDIR",
    "AT_STATX_DONT_SYNC",
    "AT_STATX_FORCE_SYNC",
    "AT_STATX_SYNC_AS_STAT",
    "AT_SYMLINK_FOLLOW",
    "AT_SYMLINK_NOFOLLOW",
    "BLOCK_URING_CMD_DISCARD",
    "FUTEX_32",
    "FUTEX_WAITV_MAX",
    "IORING_ACCEPT_DONTWAIT",
    "IORING_ACCEPT_MULTISHOT",
    "IORING_ACCEPT_POLL_FIRST",
    "IORING_ASYNC_CANCEL_ALL",
    "IORING_ASYNC_CANCEL_ANY",
    "IORING_ASYNC_CANCEL_FD",
    "IORING_ASYNC_CANCEL_FD_FIXED",
    "IORING_ASYNC_CANCEL_OP",
    "IORING_ASYNC_CANCEL_USERDATA",
    "IORING_CQE_BUFFER_SHIFT",
    "IORING_CQE_F_32",
    "IORING_CQE_F_BUFFER",
    "IORING_CQE_F_BUF_MORE",
    "IORING_CQE_F_MORE",
    "IORING_CQE_F_NOTIF",
    "IORING_CQE_F_SKIP",
    "IORING_CQE_F_SOCK_NONEMPTY",
    "IORING_CQE_F_TSTAMP_HW",
    "IORING_CQ_EVENTFD_DISABLED",
    "IORING_ENTER_ABS_TIMER",
    "IORING_ENTER_EXT_ARG",
    "IORING_ENTER_EXT_ARG_REG",
    "IORING_ENTER_GETEVENTS",
    "IORING_ENTER_NO_IOWAIT",
    "IORING_ENTER_REGISTERED_RING",
    "IORING_ENTER_SQ_WAIT",
    "IORING_ENTER_SQ_WAKEUP",
    "IORING_FEAT_CQE_SKIP",
    "IORING_FEAT_CUR_PERSONALITY",
    "IORING_FEAT_EXT_ARG",
    "IORING_FEAT_FAST_POLL",
    "IORING_FEAT_LINKED_FILE",
    "IORING_FEAT_MIN_TIMEOUT",
    "IORING_FEAT_NATIVE_WORKERS",
    "IORING_FEAT_NODROP",
    "IORING_FEAT_NO_IOWAIT",
    "IORING_FEAT_POLL_32BITS",
    "IORING_FEAT_RECVSEND_BUNDLE",
    "IORING_FEAT_REG_REG_RING",
    "IORING_FEAT_RSRC_TAGS",
    "IORING_FEAT_RW_ATTR",
    "IORING_FEAT_RW_CUR_POS",
    "IORING_FEAT_SINGLE_MMAP",
    "IORING_FEAT_SQPOLL_NONFIXED",
    "IORING_FEAT_SUBMIT_STABLE",
    "IORING_FILE_INDEX_ALLOC",
    "IORING_FIXED_FD_NO_CLOEXEC",
    "IORING_FSYNC_DATASYNC",
    "IORING_LINK_TIMEOUT_UPDATE",
    "IORING_MEM_REGION_REG_WAIT_ARG",
    "IORING_MEM_REGION_TYPE_USER",
    "IORING_MSG_DATA",
    "IORING_MSG_RING_CQE_SKIP",
    "IORING_MSG_RING_FLAGS_PASS",
    "IORING_MSG_SEND_FD",
    "IORING_NOP_CQE32",
    "IORING_NOP_INJECT_RESULT",
    "IORING_NOTIF_USAGE_ZC_COPIED",
    "IORING_OFF_CQ_RING",
    "IORING_OFF_MMAP_MASK",
    "IORING_OFF_PBUF_RING",
    "IORING_OFF_PBUF_SHIFT",
    "IORING_OFF_SQES",
    "IORING_OFF_SQ_RING",
    "IORING_OP_ACCEPT",
    "IORING_OP_ASYNC_CANCEL",
    "IORING_OP_BIND",
    "IORING_OP_CLOSE",
    "IORING_OP_CONNECT",
    "IORING_OP_EPOLL_CTL",
    "IORING_OP_EPOLL_WAIT",
    "IORING_OP_FADVISE",
    "IORING_OP_FALLOCATE",
    "IORING_OP_FGETXATTR",
    "IORING_OP_FILES_UPDATE",
    "IORING_OP_FIXED_FD_INSTALL",
    "IORING_OP_FSETXATTR",
    "IORING_OP_FSYNC",
    "IORING_OP_FTRUNCATE",
    "IORING_OP_FUTEX_WAIT",
    "IORING_OP_FUTEX_WAITV",
    "IORING_OP_FUTEX_WAKE",
    "IORING_OP_GETXATTR",
    "IORING_OP_LAST",
    "IORING_OP_LINKAT",
    "IORING_OP_LINK_TIMEOUT",
    "IORING_OP_LISTEN",
    "IORING_OP_MADVISE",
    "IORING_OP_MKDIRAT",
    "IORING_OP_MSG_RING",
    "IORING_OP_NOP",
    "IORING_OP_NOP128",
    "IORING_OP_OPENAT",
    "IORING_OP_OPENAT2",
    "IORING_OP_PIPE",
    "IORING_OP_POLL_ADD",
    "IORING_OP_POLL_REMOVE",
    "IORING_OP_PROVIDE_BUFFERS",
    "IORING_OP_READ",
    "IORING_OP_READV",
    "IORING_OP_READV_FIXED",
    "IORING_OP_READ_FIXED",
    "IORING_OP_READ_MULTISHOT",
    "IORING_OP_RECV",
    "IORING_OP_RECVMSG",
    "IORING_OP_RECV_ZC",
    "IORING_OP_REMOVE_BUFFERS",
    "IORING_OP_RENAMEAT",
    "IORING_OP_SEND",
    "IORING_OP_SENDMSG",
    "IORING_OP_SENDMSG_ZC",
    "IORING_OP_SEND_ZC",
    "IORING_OP_SETXATTR",
    "IORING_OP_SHUTDOWN",
    "IORING_OP_SOCKET",
    "IORING_OP_SPLICE",
    "IORING_OP_STATX",
    "IORING_OP_SYMLINKAT",
    "IORING_OP_SYNC_FILE_RANGE",
    "IORING_OP_TEE",
    "IORING_OP_TIMEOUT",
    "IORING_OP_TIMEOUT_REMOVE",
    "IORING_OP_UNLINKAT",
    "IORING_OP_URING_CMD",
    "IORING_OP_URING_CMD128",
    "IORING_OP_WAITID",
    "IORING_OP_WRITE",
    "IORING_OP_WRITEV",
    "IORING_OP_WRITEV_FIXED",
    "IORING_OP_WRITE_FIXED",
    "IORING_POLL_ADD_LEVEL",
    "IORING_POLL_ADD_MULTI",
    "IORING_POLL_UPDATE_EVENTS",
    "IORING_POLL_UPDATE_USER_DATA",
    "IORING_RECVSEND_BUNDLE",
    "IORING_RECVSEND_FIXED_BUF",
    "IORING_RECVSEND_POLL_FIRST",
    "IORING_RECV_MULTISHOT",
    "IORING_REGISTER_BPF_FILTER",
    "IORING_REGISTER_BUFFERS",
    "IORING_REGISTER_BUFFERS2",
    "IORING_REGISTER_BUFFERS_UPDATE",
    "IORING_REGISTER_CLOCK",
    "IORING_REGISTER_CLONE_BUFFERS",
    "IORING_REGISTER_DST_REPLACE",
    "IORING_REGISTER_ENABLE_RINGS",
    "IORING_REGISTER_EVENTFD",
    "IORING_REGISTER_EVENTFD_ASYNC",
    "IORING_REGISTER_FILES",
    "IORING_REGISTER_FILES2",
    "IORING_REGISTER_FILES_SKIP",
    "IORING_REGISTER_FILES_UPDATE",
    "IORING_REGISTER_FILES_UPDATE2",
    "IORING_REGISTER_FILE_ALLOC_RANGE",
    "IORING_REGISTER_IOWQ_AFF",
    "IORING_REGISTER_IOWQ_MAX_WORKERS",
    "IORING_REGISTER_LAST",
    "IORING_REGISTER_MEM_REGION",
    "IORING_REGISTER_NAPI",
    "IORING_REGISTER_PBUF_RING",
    "IORING_REGISTER_PBUF_STATUS",
    "IORING_REGISTER_PERSONALITY",
    "IORING_REGISTER_PROBE",
    "IORING_REGISTER_QUERY",
    "IORING_REGISTER_RESIZE_RINGS",
    "IORING_REGISTER_RESTRICTIONS",
    "IORING_REGISTER_RING_FDS",
    "IORING_REGISTER_SEND_MSG_RING",
    "IORING_REGISTER_SRC_REGISTERED",
    "IORING_REGISTER_SYNC_CANCEL",
    "IORING_REGISTER_USE_REGISTERED_RING",
    "IORING_REGISTER_ZCRX_CTRL",
    "IORING_REGISTER_ZCRX_IFQ",
    "IORING_REG_WAIT_TS",
    "IORING_RESTRICTION_LAST",
    "IORING_RESTRICTION_REGISTER_OP",
    "IORING_RESTRICTION_SQE_FLAGS_ALLOWED",
    "IORING_RESTRICTION_SQE_FLAGS_REQUIRED",
    "IORING_RESTRICTION_SQE_OP",
    "IORING_RSRC_REGISTER_SPARSE",
    "IORING_RW_ATTR_FLAG_PI",
    "IORING_SEND_VECTORIZED",
    "IORING_SEND_ZC_REPORT_USAGE",
    "IORING_SETUP_ATTACH_WQ",
    "IORING_SETUP_CLAMP",
    "IORING_SETUP_COOP_TASKRUN",
    "IORING_SETUP_CQE32",
    "IORING_SETUP_CQE_MIXED",
    "IORING_SETUP_CQSIZE",
    "IORING_SETUP_DEFER_TASKRUN",
    "IORING_SETUP_HYBRID_IOPOLL",
    "IORING_SETUP_IOPOLL",
    "IORING_SETUP_NO_MMAP",
    "IORING_SETUP_NO_SQARRAY",
    "IORING_SETUP_REGISTERED_FD_ONLY",
    "IORING_SETUP_R_DISABLED",
    "IORING_SETUP_SINGLE_ISSUER",
    "IORING_SETUP_SQE128",
    "IORING_SETUP_SQE_MIXED",
    "IORING_SETUP_SQPOLL",
    "IORING_SETUP_SQ_AFF",
    "IORING_SETUP_SQ_REWIND",
    "IORING_SETUP_SUBMIT_ALL",
    "IORING_SETUP_TASKRUN_FLAG",
    "IORING_SQ_CQ_OVERFLOW",
    "IORING_SQ_NEED_WAKEUP",
    "IORING_SQ_TASKRUN",
    "IORING_TIMEOUT_ABS",
    "IORING_TIMEOUT_BOOTTIME",
    "IORING_TIMEOUT_CLOCK_MASK",
    "IORING_TIMEOUT_ETIME_SUCCESS",
    "IORING_TIMEOUT_IMMEDIATE_ARG",
    "IORING_TIMEOUT_MULTISHOT",
    "IORING_TIMEOUT_REALTIME",
    "IORING_TIMEOUT_UPDATE",
    "IORING_TIMEOUT_UPDATE_MASK",
    "IORING_TIMESTAMP_HW_SHIFT",
    "IORING_TIMESTAMP_TYPE_SHIFT",
    "IORING_UNREGISTER_BUFFERS",
    "IORING_UNREGISTER_EVENTFD",
    "IORING_UNREGISTER_FILES",
    "IORING_UNREGISTER_IOWQ_AFF",
    "IORING_UNREGISTER_NAPI",
    "IORING_UNREGISTER_PBUF_RING",
    "IORING_UNREGISTER_PERSONALITY",
    "IORING_UNREGISTER_RING_FDS",
    "IORING_URING_CMD_FIXED",
    "IORING_URING_CMD_MASK",
    "IORING_ZCRX_AREA_DMABUF",
    "IORING_ZCRX_AREA_MASK",
    "IORING_ZCRX_AREA_SHIFT",
    "IOSQE_ASYNC",
    "IOSQE_ASYNC_BIT",
    "IOSQE_BUFFER_SELECT",
    "IOSQE_BUFFER_SELECT_BIT",
    "IOSQE_CQE_SKIP_SUCCESS",
    "IOSQE_CQE_SKIP_SUCCESS_BIT",
    "IOSQE_FIXED_FILE",
    "IOSQE_FIXED_FILE_BIT",
    "IOSQE_IO_DRAIN",
    "IOSQE_IO_DRAIN_BIT",
    "IOSQE_IO_HARDLINK",
    "IOSQE_IO_HARDLINK_BIT",
    "IOSQE_IO_LINK",
    "IOSQE_IO_LINK_BIT",
    "IOU_PBUF_RING_INC",
    "IOU_PBUF_RING_MMAP",
    "IO_URING_BPF_CMD_FILTER",
    "IO_URING_BPF_FILTER_DENY_REST",
    "IO_URING_BPF_FILTER_SZ_STRICT",
    "IO_URING_CHECK_VERSION",
    "IO_URING_OP_SUPPORTED",
    "IO_URING_QUERY_OPCODES",
    "IO_URING_QUERY_SCQ",
    "IO_URING_QUERY_ZCRX",
    "IO_URING_VERSION_MAJOR",
    "IO_URING_VERSION_MINOR",
    "IO_WQ_BOUND",
    "IO_WQ_UNBOUND",
    "LIBURING_UDATA_TIMEOUT",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "SOCKET_URING_OP_GETSOCKNAME",
    "SOCKET_URING_OP_GETSOCKOPT",
    "SOCKET_URING_OP_SETSOCKOPT",
    "SOCKET_URING_OP_SIOCINQ",
    "SOCKET_URING_OP_SIOCOUTQ",
    "SOCKET_URING_OP_TX_TIMESTAMP",
    "SPLICE_F_FD_IN_FIXED",
    "STATX_ALL",
    "STATX_ATIME",
    "STATX_BASIC_STATS",
    "STATX_BLOCKS",
    "STATX_BTIME",
    "STATX_CTIME",
    "STATX_GID",
    "STATX_INO",
    "STATX_MODE",
    "STATX_MTIME",
    "STATX_NLINK",
    "STATX_SIZE",
    "STATX_TYPE",
    "STATX_UID",
    "ZCRX_CTRL_EXPORT",
    "ZCRX_CTRL_FLUSH_RQ",
    "ZCRX_FEATURE_RX_PAGE_SIZE",
    "ZCRX_REG_IMPORT",
    "ZCRX_REG_NODEV",
    "__IO_URING_QUERY_MAX",
    "__ZCRX_CTRL_LAST",
    "__NR_io_uring_enter",
    "__NR_io_uring_register",
    "__NR_io_uring_setup",
    "__io_uring_buf_ring_cq_advance",
    "__io_uring_clone_buffers",
    "__io_uring_clone_buffers_offset",
    "__io_uring_get_cqe",
    "__io_uring_peek_cqe",
    "__io_uring_prep_uring_cmd",
    "__io_uring_sqring_wait",
    "__kernel_timespec",
    "_io_uring_get_sqe",
    "cmsghdr",
    "cpu_set_t",
    "epoll_event",
    "ffi",
    "futex_waitv",
    "in6_addr",
    "in_addr",
    "io_cqring_offsets",
    "io_sqring_offsets",
    "io_timespec",
    "io_uring",
    "io_uring_attr_pi",
    "io_uring_bpf",
    "io_uring_bpf_ctx",
    "io_uring_bpf_filter",
    "io_uring_buf",
    "io_uring_buf_reg",
    "io_uring_buf_ring",
    "io_uring_buf_ring_add",
    "io_uring_buf_ring_advance",
    "io_uring_buf_ring_available",
    "io_uring_buf_ring_cq_advance",
    "io_uring_buf_ring_head",
    "io_uring_buf_ring_init",
    "io_uring_buf_ring_mask",
    "io_uring_buf_status",
    "io_uring_check_version",
    "io_uring_clock_register",
    "io_uring_clone_buffers",
    "io_uring_clone_buffers_offset",
    "io_uring_close_ring_fd",
    "io_uring_cq",
    "io_uring_cq_advance",
    "io_uring_cq_eventfd_enabled",
    "io_uring_cq_eventfd_toggle",
    "io_uring_cq_has_overflow",
    "io_uring_cq_ready",
    "io_uring_cqe",
    "io_uring_cqe_get_data",
    "io_uring_cqe_get_data64",
    "io_uring_cqe_iter",
    "io_uring_cqe_iter_init",
    "io_uring_cqe_iter_next",
    "io_uring_cqe_nr",
    "io_uring_cqe_ptr",
    "io_uring_cqe_seen",
    "io_uring_cqe_shift",
    "io_uring_cqe_shift_from_flags",
    "io_uring_enable_rings",
    "io_uring_enter",
    "io_uring_enter2",
    "io_uring_file_index_range",
    "io_uring_files_update",
    "io_uring_for_each_cqe",
    "io_uring_free_buf_ring",
    "io_uring_free_probe",
    "io_uring_get_events",
    "io_uring_get_probe",
    "io_uring_get_probe_ring",
    "io_uring_get_sqe",
    "io_uring_get_sqe128",
    "io_uring_getevents_arg",
    "io_uring_initialize_sqe",
    "io_uring_load_sq_head",
    "io_uring_major_version",
    "io_uring_mem_region_reg",
    "io_uring_memory_size",
    "io_uring_memory_size_params",
    "io_uring_minor_version",
    "io_uring_mlock_size",
    "io_uring_mlock_size_params",
    "io_uring_napi",
    "io_uring_opcode_supported",
    "io_uring_params",
    "io_uring_peek_batch_cqe",
    "io_uring_peek_cqe",
    "io_uring_prep_accept",
    "io_uring_prep_accept_direct",
    "io_uring_prep_bind",
    "io_uring_prep_cancel",
    "io_uring_prep_cancel64",
    "io_uring_prep_cancel_fd",
    "io_uring_prep_close",
    "io_uring_prep_close_direct",
    "io_uring_prep_cmd_discard",
    "io_uring_prep_cmd_getsockname",
    "io_uring_prep_cmd_sock",
    "io_uring_prep_connect",
    "io_uring_prep_epoll_ctl",
    "io_uring_prep_epoll_wait",
    "io_uring_prep_fadvise",
    "io_uring_prep_fadvise64",
    "io_uring_prep_fallocate",
    "io_uring_prep_fgetxattr",
    "io_uring_prep_files_update",
    "io_uring_prep_fixed_fd_install",
    "io_uring_prep_fsetxattr",
    "io_uring_prep_fsync",
    "io_uring_prep_ftruncate",
    "io_uring_prep_futex_wait",
    "io_uring_prep_futex_waitv",
    "io_uring_prep_futex_wake",
    "io_uring_prep_getxattr",
    "io_uring_prep_link",
    "io_uring_prep_link_timeout",
    "io_uring_prep_linkat",
    "io_uring_prep_listen",
    "io_uring_prep_madvise",
    "io_uring_prep_madvise64",
    "io_uring_prep_mkdir",
    "io_uring_prep_mkdirat",
    "io_uring_prep_msg_ring",
    "io_uring_prep_msg_ring_cqe_flags",
    "io_uring_prep_msg_ring_fd",
    "io_uring_prep_msg_ring_fd_alloc",
    "io_uring_prep_multishot_accept",
    "io_uring_prep_multishot_accept_direct",
    "io_uring_prep_nop",
    "io_uring_prep_nop128",
    "io_uring_prep_open",
    "io_uring_prep_open_direct",
    "io_uring_prep_openat",
    "io_uring_prep_openat2",
    "io_uring_prep_openat2_direct",
    "io_uring_prep_openat_direct",
    "io_uring_prep_pipe",
    "io_uring_prep_pipe_direct",
    "io_uring_prep_poll_add",
    "io_uring_prep_poll_multishot",
    "io_uring_prep_poll_remove",
    "io_uring_prep_poll_update",
    "io_uring_prep_provide_buffers",
    "io_uring_prep_read",
    "io_uring_prep_read_fixed",
    "io_uring_prep_read_multishot",
    "io_uring_prep_readv",
    "io_uring_prep_readv2",
    "io_uring_prep_readv_fixed",
    "io_uring_prep_recv",
    "io_uring_prep_recv_multishot",
    "io_uring_prep_recvmsg",
    "io_uring_prep_recvmsg_multishot",
    "io_uring_prep_remove_buffers",
    "io_uring_prep_rename",
    "io_uring_prep_renameat",
    "io_uring_prep_rw",
    "io_uring_prep_send",
    "io_uring_prep_send_bundle",
    "io_uring_prep_send_set_addr",
    "io_uring_prep_send_zc",
    "io_uring_prep_send_zc_fixed",
    "io_uring_prep_sendmsg",
    "io_uring_prep_sendmsg_zc",
    "io_uring_prep_sendmsg_zc_fixed",
    "io_uring_prep_sendto",
    "io_uring_prep_setxattr",
    "io_uring_prep_shutdown",
    "io_uring_prep_socket",
    "io_uring_prep_socket_direct",
    "io_uring_prep_socket_direct_alloc",
    "io_uring_prep_splice",
    "io_uring_prep_statx",
    "io_uring_prep_symlink",
    "io_uring_prep_symlinkat",
    "io_uring_prep_sync_file_range",
    "io_uring_prep_tee",
    "io_uring_prep_timeout",
    "io_uring_prep_timeout_remove",
    "io_uring_prep_timeout_update",
    "io_uring_prep_unlink",
    "io_uring_prep_unlinkat",
    "io_uring_prep_uring_cmd",
    "io_uring_prep_uring_cmd128",
    "io_uring_prep_waitid",
    "io_uring_prep_write",
    "io_uring_prep_write_fixed",
    "io_uring_prep_writev",
    "io_uring_prep_writev2",
    "io_uring_prep_writev_fixed",
    "io_uring_probe",
    "io_uring_probe_op",
    "io_uring_query_hdr",
    "io_uring_query_opcode",
    "io_uring_query_scq",
    "io_uring_query_zcrx",
    "io_uring_queue_exit",
    "io_uring_queue_init",
    "io_uring_queue_init_mem",
    "io_uring_queue_init_params",
    "io_uring_queue_mmap",
    "io_uring_recvmsg_cmsg_firsthdr",
    "io_uring_recvmsg_cmsg_nexthdr",
    "io_uring_recvmsg_name",
    "io_uring_recvmsg_out",
    "io_uring_recvmsg_payload",
    "io_uring_recvmsg_payload_length",
    "io_uring_recvmsg_validate",
    "io_uring_reg_wait",
    "io_uring_region_desc",
    "io_uring_register",
    "io_uring_register_bpf_filter",
    "io_uring_register_bpf_filter_task",
    "io_uring_register_buf_ring",
    "io_uring_register_buffers",
    "io_uring_register_buffers_sparse",
    "io_uring_register_buffers_tags",
    "io_uring_register_buffers_update_tag",
    "io_uring_register_clock",
    "io_uring_register_eventfd",
    "io_uring_register_eventfd_async",
    "io_uring_register_file_alloc_range",
    "io_uring_register_files",
    "io_uring_register_files_sparse",
    "io_uring_register_files_tags",
    "io_uring_register_files_update",
    "io_uring_register_files_update_tag",
    "io_uring_register_ifq",
    "io_uring_register_iowq_aff",
    "io_uring_register_iowq_max_workers",
    "io_uring_register_napi",
    "io_uring_register_personality",
    "io_uring_register_probe",
    "io_uring_register_query",
    "io_uring_register_region",
    "io_uring_register_restrictions",
    "io_uring_register_ring_fd",
    "io_uring_register_sync_cancel",
    "io_uring_register_sync_msg",
    "io_uring_register_wait_reg",
    "io_uring_register_zcrx_ctrl",
    "io_uring_resize_rings",
    "io_uring_restriction",
    "io_uring_ring_dontfork",
    "io_uring_rsrc_register",
    "io_uring_rsrc_update",
    "io_uring_rsrc_update2",
    "io_uring_set_iowait",
    "io_uring_setup",
    "io_uring_setup_buf_ring",
    "io_uring_sq",
    "io_uring_sq_ready",
    "io_uring_sq_space_left",
    "io_uring_sqe",
    "io_uring_sqe_set_buf_group",
    "io_uring_sqe_set_data",
    "io_uring_sqe_set_data64",
    "io_uring_sqe_set_flags",
    "io_uring_sqe_shift",
    "io_uring_sqe_shift_from_flags",
    "io_uring_sqring_wait",
    "io_uring_submit",
    "io_uring_submit_and_get_events",
    "io_uring_submit_and_wait",
    "io_uring_submit_and_wait_min_timeout",
    "io_uring_submit_and_wait_reg",
    "io_uring_submit_and_wait_timeout",
    "io_uring_sync_cancel_reg",
    "io_uring_task_restriction",
    "io_uring_unregister_buf_ring",
    "io_uring_unregister_buffers",
    "io_uring_unregister_eventfd",
    "io_uring_unregister_files",
    "io_uring_unregister_iowq_aff",
    "io_uring_unregister_napi",
    "io_uring_unregister_personality",
    "io_uring_unregister_ring_fd",
    "io_uring_wait_cqe",
    "io_uring_wait_cqe_nr",
    "io_uring_wait_cqe_timeout",
    "io_uring_wait_cqes",
    "io_uring_wait_cqes_min_timeout",
    "io_uring_zcrx_area_reg",
    "io_uring_zcrx_cqe",
    "io_uring_zcrx_ifq_reg",
    "io_uring_zcrx_offsets",
    "io_uring_zcrx_rq",
    "io_uring_zcrx_rqe",
    "iovec",
    "lib",
    "msghdr",
    "open_how",
    "sigaddset",
    "sigemptyset",
    "siginfo_t",
    "sigset_t",
    "sock_filter",
    "sockaddr",
    "sockaddr_in",
    "sockaddr_in6",
    "sockaddr_storage",
    "sockaddr_un",
    "statx",
    "statx_timestamp",
    "zcrx_ctrl",
    "zcrx_ctrl_export",
    "zcrx_ctrl_flush_rq",
]

_T = TypeVar("_T")

@type_check_only
class CData:
    """Any cdata object. What `ffi.new`, `ffi.cast` and the like return fits every C type: cffi checks it."""

@type_check_only
class Pointer(CData, Generic[_T]):
    """A `T *` or a `T[]`. Only the array has a length and can be iterated."""

    @overload
    def __getitem__(self, index: int, /) -> _T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Pointer[_T]: ...
    @overload
    def __setitem__(self, index: int, value: _T, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[_T] | Pointer[_T], /) -> None: ...
    def __add__(self, items: int, /) -> Pointer[_T]: ...
    @overload
    def __sub__(self, items: int, /) -> Pointer[_T]: ...
    @overload
    def __sub__(self, start: Pointer[_T], /) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[_T]: ...

@type_check_only
class Struct(CData):
    """A struct, a pointer to one, or an array of them: cffi reaches the fields of the first two alike.

    Only the array has a length and can be iterated; its fields are reached through an item.
    """

    def __getitem__(self, index: int | slice, /) -> Self: ...
    def __setitem__(self, index: int, value: Self, /) -> None: ...
    def __add__(self, items: int, /) -> Self: ...
    @overload
    def __sub__(self, items: int, /) -> Self: ...
    @overload
    def __sub__(self, start: Self, /) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Self]: ...

@type_check_only
class FFI:
    """cffi's `ffi` of the extension; see cffi's reference."""

    CData: type[Any]
    CType: type[Any]
    NULL: Any
    errno: int
    error: type[Exception]
    def addressof(self, cdata: Any, /, *fields_or_indexes: str | int) -> Any: ...
    def alignof(self, cdecl: Any, /) -> int: ...
    def buffer(self, cdata: Any, size: int = -1) -> Any: ...
    def cast(self, cdecl: Any, value: Any, /) -> Any: ...
    @overload
    def from_buffer(self, python_buffer: Buffer, /, require_writable: bool = False) -> Pointer[bytes]: ...
    @overload
    def from_buffer(self, cdecl: Any, python_buffer: Buffer, /, require_writable: bool = False) -> Any: ...
    def from_handle(self, handle: Any, /) -> Any: ...
    @overload
    def gc(self, cdata: _T, destructor: Callable[[_T], Any], size: int = 0) -> _T: ...
    @overload
    def gc(self, cdata: Any, destructor: None, size: int = 0) -> None: ...
    def getctype(self, cdecl: Any, replace_with: str = "") -> str: ...
    def list_types(self) -> tuple[list[str], list[str], list[str]]: ...
    def memmove(self, dest: Any, src: Any, n: int) -> None: ...
    def new(self, cdecl: Any, init: Any = None) -> Any: ...
    def new_allocator(self, alloc: Any = None, free: Any = None, should_clear_after_alloc: bool = True) -> Any: ...
    def new_handle(self, x: Any, /) -> Any: ...
    def offsetof(self, cdecl: Any, /, *fields_or_indexes: str | int) -> int: ...
    def release(self, cdata: Any, /) -> None: ...
    def sizeof(self, cdecl: Any, /) -> int: ...
    def string(self, cdata: Any, maxlen: int = -1) -> Any: ...
    def typeof(self, cdecl: Any, /) -> Any: ...
    def unpack(self, cdata: Any, length: int) -> Any: ...

@type_check_only
class Lib:
    """cffi's `lib` of the extension: every function and constant by its C name."""

    def __getattr__(self, name: str, /) -> Any: ...

ffi: Final[FFI]
lib: Final[Lib]

AT_EMPTY_PATH: Final[int]
AT_FDCWD: Final[int]
AT_REMOVEDIR: Final[int]
AT_STATX_DONT_SYNC: Final[int]
AT_STATX_FORCE_SYNC: Final[int]
AT_STATX_SYNC_AS_STAT: Final[int]
AT_SYMLINK_FOLLOW: Final[int]
AT_SYMLINK_NOFOLLOW: Final[int]
BLOCK_URING_CMD_DISCARD: Final[int]
FUTEX_32: Final[int]
FUTEX_WAITV_MAX: Final[int]
IORING_ACCEPT_DONTWAIT: Final[int]
IORING_ACCEPT_MULTISHOT: Final[int]
IORING_ACCEPT_POLL_FIRST: Final[int]
IORING_ASYNC_CANCEL_ALL: Final[int]
IORING_ASYNC_CANCEL_ANY: Final[int]
IORING_ASYNC_CANCEL_FD: Final[int]
IORING_ASYNC_CANCEL_FD_FIXED: Final[int]
IORING_ASYNC_CANCEL_OP: Final[int]
IORING_ASYNC_CANCEL_USERDATA: Final[int]
IORING_CQE_BUFFER_SHIFT: Final[int]
IORING_CQE_F_32: Final[int]
IORING_CQE_F_BUFFER: Final[int]
IORING_CQE_F_BUF_MORE: Final[int]
IORING_CQE_F_MORE: Final[int]
IORING_CQE_F_NOTIF: Final[int]
IORING_CQE_F_SKIP: Final[int]
IORING_CQE_F_SOCK_NONEMPTY: Final[int]
IORING_CQE_F_TSTAMP_HW: Final[int]
IORING_CQ_EVENTFD_DISABLED: Final[int]
IORING_ENTER_ABS_TIMER: Final[int]
IORING_ENTER_EXT_ARG: Final[int]
IORING_ENTER_EXT_ARG_REG: Final[int]
IORING_ENTER_GETEVENTS: Final[int]
IORING_ENTER_NO_IOWAIT: Final[int]
IORING_ENTER_REGISTERED_RING: Final[int]
IORING_ENTER_SQ_WAIT: Final[int]
IORING_ENTER_SQ_WAKEUP: Final[int]
IORING_FEAT_CQE_SKIP: Final[int]
IORING_FEAT_CUR_PERSONALITY: Final[int]
IORING_FEAT_EXT_ARG: Final[int]
IORING_FEAT_FAST_POLL: Final[int]
IORING_FEAT_LINKED_FILE: Final[int]
IORING_FEAT_MIN_TIMEOUT: Final[int]
IORING_FEAT_NATIVE_WORKERS: Final[int]
IORING_FEAT_NODROP: Final[int]
IORING_FEAT_NO_IOWAIT: Final[int]
IORING_FEAT_POLL_32BITS: Final[int]
IORING_FEAT_RECVSEND_BUNDLE: Final[int]
IORING_FEAT_REG_REG_RING: Final[int]
IORING_FEAT_RSRC_TAGS: Final[int]
IORING_FEAT_RW_ATTR: Final[int]
IORING_FEAT_RW_CUR_POS: Final[int]
IORING_FEAT_SINGLE_MMAP: Final[int]
IORING_FEAT_SQPOLL_NONFIXED: Final[int]
IORING_FEAT_SUBMIT_STABLE: Final[int]
IORING_FILE_INDEX_ALLOC: Final[int]
IORING_FIXED_FD_NO_CLOEXEC: Final[int]
IORING_FSYNC_DATASYNC: Final[int]
IORING_LINK_TIMEOUT_UPDATE: Final[int]
IORING_MEM_REGION_REG_WAIT_ARG: Final[int]
IORING_MEM_REGION_TYPE_USER: Final[int]
IORING_MSG_DATA: Final[int]
IORING_MSG_RING_CQE_SKIP: Final[int]
IORING_MSG_RING_FLAGS_PASS: Final[int]
IORING_MSG_SEND_FD: Final[int]
IORING_NOP_CQE32: Final[int]
IORING_NOP_INJECT_RESULT: Final[int]
IORING_NOTIF_USAGE_ZC_COPIED: Final[int]
IORING_OFF_CQ_RING: Final[int]
IORING_OFF_MMAP_MASK: Final[int]
IORING_OFF_PBUF_RING: Final[int]
IORING_OFF_PBUF_SHIFT: Final[int]
IORING_OFF_SQES: Final[int]
IORING_OFF_SQ_RING: Final[int]
IORING_OP_ACCEPT: Final[int]
IORING_OP_ASYNC_CANCEL: Final[int]
IORING_OP_BIND: Final[int]
IORING_OP_CLOSE: Final[int]
IORING_OP_CONNECT: Final[int]
IORING_OP_EPOLL_CTL: Final[int]
IORING_OP_EPOLL_WAIT: Final[int]
IORING_OP_FADVISE: Final[int]
IORING_OP_FALLOCATE: Final[int]
IORING_OP_FGETXATTR: Final[int]
IORING_OP_FILES_UPDATE: Final[int]
IORING_OP_FIXED_FD_INSTALL: Final[int]
IORING_OP_FSETXATTR: Final[int]
IORING_OP_FSYNC: Final[int]
IORING_OP_FTRUNCATE: Final[int]
IORING_OP_FUTEX_WAIT: Final[int]
IORING_OP_FUTEX_WAITV: Final[int]
IORING_OP_FUTEX_WAKE: Final[int]
IORING_OP_GETXATTR: Final[int]
IORING_OP_LAST: Final[int]
IORING_OP_LINKAT: Final[int]
IORING_OP_LINK_TIMEOUT: Final[int]
IORING_OP_LISTEN: Final[int]
IORING_OP_MADVISE: Final[int]
IORING_OP_MKDIRAT: Final[int]
IORING_OP_MSG_RING: Final[int]
IORING_OP_NOP: Final[int]
IORING_OP_NOP128: Final[int]
IORING_OP_OPENAT: Final[int]
IORING_OP_OPENAT2: Final[int]
IORING_OP_PIPE: Final[int]
IORING_OP_POLL_ADD: Final[int]
IORING_OP_POLL_REMOVE: Final[int]
IORING_OP_PROVIDE_BUFFERS: Final[int]
IORING_OP_READ: Final[int]
IORING_OP_READV: Final[int]
IORING_OP_READV_FIXED: Final[int]
IORING_OP_READ_FIXED: Final[int]
IORING_OP_READ_MULTISHOT: Final[int]
IORING_OP_RECV: Final[int]
IORING_OP_RECVMSG: Final[int]
IORING_OP_RECV_ZC: Final[int]
IORING_OP_REMOVE_BUFFERS: Final[int]
IORING_OP_RENAMEAT: Final[int]
IORING_OP_SEND: Final[int]
IORING_OP_SENDMSG: Final[int]
IORING_OP_SENDMSG_ZC: Final[int]
IORING_OP_SEND_ZC: Final[int]
IORING_OP_SETXATTR: Final[int]
IORING_OP_SHUTDOWN: Final[int]
IORING_OP_SOCKET: Final[int]
IORING_OP_SPLICE: Final[int]
IORING_OP_STATX: Final[int]
IORING_OP_SYMLINKAT: Final[int]
IORING_OP_SYNC_FILE_RANGE: Final[int]
IORING_OP_TEE: Final[int]
IORING_OP_TIMEOUT: Final[int]
IORING_OP_TIMEOUT_REMOVE: Final[int]
IORING_OP_UNLINKAT: Final[int]
IORING_OP_URING_CMD: Final[int]
IORING_OP_URING_CMD128: Final[int]
IORING_OP_WAITID: Final[int]
IORING_OP_WRITE: Final[int]
IORING_OP_WRITEV: Final[int]
IORING_OP_WRITEV_FIXED: Final[int]
IORING_OP_WRITE_FIXED: Final[int]
IORING_POLL_ADD_LEVEL: Final[int]
IORING_POLL_ADD_MULTI: Final[int]
IORING_POLL_UPDATE_EVENTS: Final[int]
IORING_POLL_UPDATE_USER_DATA: Final[int]
IORING_RECVSEND_BUNDLE: Final[int]
IORING_RECVSEND_FIXED_BUF: Final[int]
IORING_RECVSEND_POLL_FIRST: Final[int]
IORING_RECV_MULTISHOT: Final[int]
IORING_REGISTER_BPF_FILTER: Final[int]
IORING_REGISTER_BUFFERS: Final[int]
IORING_REGISTER_BUFFERS2: Final[int]
IORING_REGISTER_BUFFERS_UPDATE: Final[int]
IORING_REGISTER_CLOCK: Final[int]
IORING_REGISTER_CLONE_BUFFERS: Final[int]
IORING_REGISTER_DST_REPLACE: Final[int]
IORING_REGISTER_ENABLE_RINGS: Final[int]
IORING_REGISTER_EVENTFD: Final[int]
IORING_REGISTER_EVENTFD_ASYNC: Final[int]
IORING_REGISTER_FILES: Final[int]
IORING_REGISTER_FILES2: Final[int]
IORING_REGISTER_FILES_SKIP: Final[int]
IORING_REGISTER_FILES_UPDATE: Final[int]
IORING_REGISTER_FILES_UPDATE2: Final[int]
IORING_REGISTER_FILE_ALLOC_RANGE: Final[int]
IORING_REGISTER_IOWQ_AFF: Final[int]
IORING_REGISTER_IOWQ_MAX_WORKERS: Final[int]
IORING_REGISTER_LAST: Final[int]
IORING_REGISTER_MEM_REGION: Final[int]
IORING_REGISTER_NAPI: Final[int]
IORING_REGISTER_PBUF_RING: Final[int]
IORING_REGISTER_PBUF_STATUS: Final[int]
IORING_REGISTER_PERSONALITY: Final[int]
IORING_REGISTER_PROBE: Final[int]
IORING_REGISTER_QUERY: Final[int]
IORING_REGISTER_RESIZE_RINGS: Final[int]
IORING_REGISTER_RESTRICTIONS: Final[int]
IORING_REGISTER_RING_FDS: Final[int]
IORING_REGISTER_SEND_MSG_RING: Final[int]
IORING_REGISTER_SRC_REGISTERED: Final[int]
IORING_REGISTER_SYNC_CANCEL: Final[int]
IORING_REGISTER_USE_REGISTERED_RING: Final[int]
IORING_REGISTER_ZCRX_CTRL: Final[int]
IORING_REGISTER_ZCRX_IFQ: Final[int]
IORING_REG_WAIT_TS: Final[int]
IORING_RESTRICTION_LAST: Final[int]
IORING_RESTRICTION_REGISTER_OP: Final[int]
IORING_RESTRICTION_SQE_FLAGS_ALLOWED: Final[int]
IORING_RESTRICTION_SQE_FLAGS_REQUIRED: Final[int]
IORING_RESTRICTION_SQE_OP: Final[int]
IORING_RSRC_REGISTER_SPARSE: Final[int]
IORING_RW_ATTR_FLAG_PI: Final[int]
IORING_SEND_VECTORIZED: Final[int]
IORING_SEND_ZC_REPORT_USAGE: Final[int]
IORING_SETUP_ATTACH_WQ: Final[int]
IORING_SETUP_CLAMP: Final[int]
IORING_SETUP_COOP_TASKRUN: Final[int]
IORING_SETUP_CQE32: Final[int]
IORING_SETUP_CQE_MIXED: Final[int]
IORING_SETUP_CQSIZE: Final[int]
IORING_SETUP_DEFER_TASKRUN: Final[int]
IORING_SETUP_HYBRID_IOPOLL: Final[int]
IORING_SETUP_IOPOLL: Final[int]
IORING_SETUP_NO_MMAP: Final[int]
IORING_SETUP_NO_SQARRAY: Final[int]
IORING_SETUP_REGISTERED_FD_ONLY: Final[int]
IORING_SETUP_R_DISABLED: Final[int]
IORING_SETUP_SINGLE_ISSUER: Final[int]
IORING_SETUP_SQE128: Final[int]
IORING_SETUP_SQE_MIXED: Final[int]
IORING_SETUP_SQPOLL: Final[int]
IORING_SETUP_SQ_AFF: Final[int]
IORING_SETUP_SQ_REWIND: Final[int]
IORING_SETUP_SUBMIT_ALL: Final[int]
IORING_SETUP_TASKRUN_FLAG: Final[int]
IORING_SQ_CQ_OVERFLOW: Final[int]
IORING_SQ_NEED_WAKEUP: Final[int]
IORING_SQ_TASKRUN: Final[int]
IORING_TIMEOUT_ABS: Final[int]
IORING_TIMEOUT_BOOTTIME: Final[int]
IORING_TIMEOUT_CLOCK_MASK: Final[int]
IORING_TIMEOUT_ETIME_SUCCESS: Final[int]
IORING_TIMEOUT_IMMEDIATE_ARG: Final[int]
IORING_TIMEOUT_MULTISHOT: Final[int]
IORING_TIMEOUT_REALTIME: Final[int]
IORING_TIMEOUT_UPDATE: Final[int]
IORING_TIMEOUT_UPDATE_MASK: Final[int]
IORING_TIMESTAMP_HW_SHIFT: Final[int]
IORING_TIMESTAMP_TYPE_SHIFT: Final[int]
IORING_UNREGISTER_BUFFERS: Final[int]
IORING_UNREGISTER_EVENTFD: Final[int]
IORING_UNREGISTER_FILES: Final[int]
IORING_UNREGISTER_IOWQ_AFF: Final[int]
IORING_UNREGISTER_NAPI: Final[int]
IORING_UNREGISTER_PBUF_RING: Final[int]
IORING_UNREGISTER_PERSONALITY: Final[int]
IORING_UNREGISTER_RING_FDS: Final[int]
IORING_URING_CMD_FIXED: Final[int]
IORING_URING_CMD_MASK: Final[int]
IORING_ZCRX_AREA_DMABUF: Final[int]
IORING_ZCRX_AREA_MASK: Final[int]
IORING_ZCRX_AREA_SHIFT: Final[int]
IOSQE_ASYNC: Final[int]
IOSQE_ASYNC_BIT: Final[int]
IOSQE_BUFFER_SELECT: Final[int]
IOSQE_BUFFER_SELECT_BIT: Final[int]
IOSQE_CQE_SKIP_SUCCESS: Final[int]
IOSQE_CQE_SKIP_SUCCESS_BIT: Final[int]
IOSQE_FIXED_FILE: Final[int]
IOSQE_FIXED_FILE_BIT: Final[int]
IOSQE_IO_DRAIN: Final[int]
IOSQE_IO_DRAIN_BIT: Final[int]
IOSQE_IO_HARDLINK: Final[int]
IOSQE_IO_HARDLINK_BIT: Final[int]
IOSQE_IO_LINK: Final[int]
IOSQE_IO_LINK_BIT: Final[int]
IOU_PBUF_RING_INC: Final[int]
IOU_PBUF_RING_MMAP: Final[int]
IO_URING_BPF_CMD_FILTER: Final[int]
IO_URING_BPF_FILTER_DENY_REST: Final[int]
IO_URING_BPF_FILTER_SZ_STRICT: Final[int]
IO_URING_OP_SUPPORTED: Final[int]
IO_URING_QUERY_OPCODES: Final[int]
IO_URING_QUERY_SCQ: Final[int]
IO_URING_QUERY_ZCRX: Final[int]
IO_URING_VERSION_MAJOR: Final[int]
IO_URING_VERSION_MINOR: Final[int]
IO_WQ_BOUND: Final[int]
IO_WQ_UNBOUND: Final[int]
LIBURING_UDATA_TIMEOUT: Final[int]
RESOLVE_BENEATH: Final[int]
RESOLVE_IN_ROOT: Final[int]
RESOLVE_NO_MAGICLINKS: Final[int]
RESOLVE_NO_SYMLINKS: Final[int]
RESOLVE_NO_XDEV: Final[int]
SOCKET_URING_OP_GETSOCKNAME: Final[int]
SOCKET_URING_OP_GETSOCKOPT: Final[int]
SOCKET_URING_OP_SETSOCKOPT: Final[int]
SOCKET_URING_OP_SIOCINQ: Final[int]
SOCKET_URING_OP_SIOCOUTQ: Final[int]
SOCKET_URING_OP_TX_TIMESTAMP: Final[int]
SPLICE_F_FD_IN_FIXED: Final[int]
STATX_ALL: Final[int]
STATX_ATIME: Final[int]
STATX_BASIC_STATS: Final[int]
STATX_BLOCKS: Final[int]
STATX_BTIME: Final[int]
STATX_CTIME: Final[int]
STATX_GID: Final[int]
STATX_INO: Final[int]
STATX_MODE: Final[int]
STATX_MTIME: Final[int]
STATX_NLINK: Final[int]
STATX_SIZE: Final[int]
STATX_TYPE: Final[int]
STATX_UID: Final[int]
ZCRX_CTRL_EXPORT: Final[int]
ZCRX_CTRL_FLUSH_RQ: Final[int]
ZCRX_FEATURE_RX_PAGE_SIZE: Final[int]
ZCRX_REG_IMPORT: Final[int]
ZCRX_REG_NODEV: Final[int]
__IO_URING_QUERY_MAX: Final[int]
__NR_io_uring_enter: Final[int]
__NR_io_uring_register: Final[int]
__NR_io_uring_setup: Final[int]
__ZCRX_CTRL_LAST: Final[int]

@type_check_only
class struct_cpu_set_t(Struct):
    """`cpu_set_t`."""

@type_check_only
class struct_siginfo_t(Struct):
    """`siginfo_t`."""

    si_signo: int
    si_errno: int
    si_code: int
    si_pid: int
    si_uid: int
    si_status: int

@type_check_only
class struct_sigset_t(Struct):
    """`sigset_t`."""

@type_check_only
class struct___kernel_timespec(Struct):
    """`struct __kernel_timespec`."""

    tv_sec: int
    tv_nsec: int

@type_check_only
class struct_cmsghdr(Struct):
    """`struct cmsghdr`."""

    cmsg_len: int
    cmsg_level: int
    cmsg_type: int

@type_check_only
class struct_epoll_event(Struct):
    """`struct epoll_event`."""

    events: int
    data: union_epoll_data

@type_check_only
class struct_futex_waitv(Struct):
    """`struct futex_waitv`."""

    val: int
    uaddr: int
    flags: int
    __reserved: int

@type_check_only
class struct_in6_addr(Struct):
    """`struct in6_addr`."""

    s6_addr: Pointer[int]

@type_check_only
class struct_in_addr(Struct):
    """`struct in_addr`."""

    s_addr: int

@type_check_only
class struct_io_cqring_offsets(Struct):
    """`struct io_cqring_offsets`."""

    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    overflow: int
    cqes: int
    flags: int
    resv1: int
    user_addr: int

@type_check_only
class struct_io_sqring_offsets(Struct):
    """`struct io_sqring_offsets`."""

    head: int
    tail: int
    ring_mask: int
    ring_entries: int
    flags: int
    dropped: int
    array: int
    resv1: int
    user_addr: int

@type_check_only
class struct_io_timespec(Struct):
    """`struct io_timespec`."""

    tv_sec: int
    tv_nsec: int

@type_check_only
class struct_io_uring(Struct):
    """`struct io_uring`."""

    sq: struct_io_uring_sq
    cq: struct_io_uring_cq
    flags: int
    ring_fd: int
    features: int
    enter_ring_fd: int
    int_flags: int
    pad: Pointer[int]
    pad2: int

@type_check_only
class struct_io_uring_attr_pi(Struct):
    """`struct io_uring_attr_pi`."""

    flags: int
    app_tag: int
    len: int
    addr: int
    seed: int
    rsvd: int

@type_check_only
class struct_io_uring_bpf(Struct):
    """`struct io_uring_bpf`."""

    cmd_type: int
    cmd_flags: int
    resv: int
    filter: struct_io_uring_bpf_filter

@type_check_only
class struct_io_uring_bpf_ctx_socket(Struct):
    """Has no name in C."""

    family: int
    type: int
    protocol: int

@type_check_only
class struct_io_uring_bpf_ctx_open(Struct):
    """Has no name in C."""

    flags: int
    mode: int
    resolve: int

@type_check_only
class struct_io_uring_bpf_ctx(Struct):
    """`struct io_uring_bpf_ctx`."""

    user_data: int
    opcode: int
    sqe_flags: int
    pdu_size: int
    pad: Pointer[int]
    socket: struct_io_uring_bpf_ctx_socket
    open: struct_io_uring_bpf_ctx_open

@type_check_only
class struct_io_uring_bpf_filter(Struct):
    """`struct io_uring_bpf_filter`."""

    opcode: int
    flags: int
    filter_len: int
    pdu_size: int
    resv: Pointer[int]
    filter_ptr: int
    resv2: Pointer[int]

@type_check_only
class struct_io_uring_buf(Struct):
    """`struct io_uring_buf`."""

    addr: int
    len: int
    bid: int
    resv: int

@type_check_only
class struct_io_uring_buf_reg(Struct):
    """`struct io_uring_buf_reg`."""

    ring_addr: int
    ring_entries: int
    bgid: int
    flags: int
    min_left: int
    resv: Pointer[int]

@type_check_only
class struct_io_uring_buf_ring(Struct):
    """`struct io_uring_buf_ring`."""

    resv1: int
    resv2: int
    resv3: int
    tail: int
    bufs: struct_io_uring_buf

@type_check_only
class struct_io_uring_buf_status(Struct):
    """`struct io_uring_buf_status`."""

    buf_group: int
    head: int
    resv: Pointer[int]

@type_check_only
class struct_io_uring_clock_register(Struct):
    """`struct io_uring_clock_register`."""

    clockid: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_clone_buffers(Struct):
    """`struct io_uring_clone_buffers`."""

    src_fd: int
    flags: int
    src_off: int
    dst_off: int
    nr: int
    pad: Pointer[int]

@type_check_only
class struct_io_uring_cq(Struct):
    """`struct io_uring_cq`."""

    khead: Pointer[int]
    ktail: Pointer[int]
    kring_mask: Pointer[int]
    kring_entries: Pointer[int]
    kflags: Pointer[int]
    koverflow: Pointer[int]
    cqes: struct_io_uring_cqe
    ring_sz: int
    ring_ptr: CData
    ring_mask: int
    ring_entries: int
    pad: Pointer[int]

@type_check_only
class struct_io_uring_cqe(Struct):
    """`struct io_uring_cqe`."""

    user_data: int
    res: int
    flags: int
    big_cqe: Pointer[int]

@type_check_only
class struct_io_uring_cqe_iter(Struct):
    """`struct io_uring_cqe_iter`."""

    cqes: struct_io_uring_cqe
    mask: int
    shift: int
    head: int
    tail: int

@type_check_only
class struct_io_uring_file_index_range(Struct):
    """`struct io_uring_file_index_range`."""

    off: int
    len: int
    resv: int

@type_check_only
class struct_io_uring_files_update(Struct):
    """`struct io_uring_files_update`."""

    offset: int
    resv: int
    fds: int

@type_check_only
class struct_io_uring_getevents_arg(Struct):
    """`struct io_uring_getevents_arg`."""

    sigmask: int
    sigmask_sz: int
    min_wait_usec: int
    ts: int

@type_check_only
class struct_io_uring_mem_region_reg(Struct):
    """`struct io_uring_mem_region_reg`."""

    region_uptr: int
    flags: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_napi(Struct):
    """`struct io_uring_napi`."""

    busy_poll_to: int
    prefer_busy_poll: int
    pad: Pointer[int]
    resv: int

@type_check_only
class struct_io_uring_params(Struct):
    """`struct io_uring_params`."""

    sq_entries: int
    cq_entries: int
    flags: int
    sq_thread_cpu: int
    sq_thread_idle: int
    features: int
    wq_fd: int
    resv: Pointer[int]
    sq_off: struct_io_sqring_offsets
    cq_off: struct_io_cqring_offsets

@type_check_only
class struct_io_uring_probe(Struct):
    """`struct io_uring_probe`."""

    last_op: int
    ops_len: int
    resv: int
    resv2: Pointer[int]
    ops: struct_io_uring_probe_op

@type_check_only
class struct_io_uring_probe_op(Struct):
    """`struct io_uring_probe_op`."""

    op: int
    resv: int
    flags: int
    resv2: int

@type_check_only
class struct_io_uring_query_hdr(Struct):
    """`struct io_uring_query_hdr`."""

    next_entry: int
    query_data: int
    query_op: int
    size: int
    result: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_query_opcode(Struct):
    """`struct io_uring_query_opcode`."""

    nr_request_opcodes: int
    nr_register_opcodes: int
    feature_flags: int
    ring_setup_flags: int
    enter_flags: int
    sqe_flags: int
    nr_query_opcodes: int
    __pad: int

@type_check_only
class struct_io_uring_query_scq(Struct):
    """`struct io_uring_query_scq`."""

    hdr_size: int
    hdr_alignment: int

@type_check_only
class struct_io_uring_query_zcrx(Struct):
    """`struct io_uring_query_zcrx`."""

    register_flags: int
    area_flags: int
    nr_ctrl_opcodes: int
    features: int
    rq_hdr_size: int
    rq_hdr_alignment: int
    __resv2: int

@type_check_only
class struct_io_uring_recvmsg_out(Struct):
    """`struct io_uring_recvmsg_out`."""

    namelen: int
    controllen: int
    payloadlen: int
    flags: int

@type_check_only
class struct_io_uring_reg_wait(Struct):
    """`struct io_uring_reg_wait`."""

    ts: struct___kernel_timespec
    min_wait_usec: int
    flags: int
    sigmask: int
    sigmask_sz: int
    pad: Pointer[int]
    pad2: Pointer[int]

@type_check_only
class struct_io_uring_region_desc(Struct):
    """`struct io_uring_region_desc`."""

    user_addr: int
    size: int
    flags: int
    id: int
    mmap_offset: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_restriction(Struct):
    """`struct io_uring_restriction`."""

    opcode: int
    register_op: int
    sqe_op: int
    sqe_flags: int
    resv: int
    resv2: Pointer[int]

@type_check_only
class struct_io_uring_rsrc_register(Struct):
    """`struct io_uring_rsrc_register`."""

    nr: int
    flags: int
    resv2: int
    data: int
    tags: int

@type_check_only
class struct_io_uring_rsrc_update(Struct):
    """`struct io_uring_rsrc_update`."""

    offset: int
    resv: int
    data: int

@type_check_only
class struct_io_uring_rsrc_update2(Struct):
    """`struct io_uring_rsrc_update2`."""

    offset: int
    resv: int
    data: int
    tags: int
    nr: int
    resv2: int

@type_check_only
class struct_io_uring_sq(Struct):
    """`struct io_uring_sq`."""

    khead: Pointer[int]
    ktail: Pointer[int]
    kring_mask: Pointer[int]
    kring_entries: Pointer[int]
    kflags: Pointer[int]
    kdropped: Pointer[int]
    array: Pointer[int]
    sqes: struct_io_uring_sqe
    sqe_head: int
    sqe_tail: int
    ring_sz: int
    ring_ptr: CData
    ring_mask: int
    ring_entries: int
    sqes_sz: int
    pad: int

@type_check_only
class struct_io_uring_sqe(Struct):
    """`struct io_uring_sqe`."""

    opcode: int
    flags: int
    ioprio: int
    fd: int
    off: int
    addr2: int
    cmd_op: int
    __pad1: int
    addr: int
    splice_off_in: int
    level: int
    optname: int
    len: int
    rw_flags: int
    fsync_flags: int
    poll_events: int
    poll32_events: int
    sync_range_flags: int
    msg_flags: int
    timeout_flags: int
    accept_flags: int
    cancel_flags: int
    open_flags: int
    statx_flags: int
    fadvise_advice: int
    splice_flags: int
    rename_flags: int
    unlink_flags: int
    hardlink_flags: int
    xattr_flags: int
    msg_ring_flags: int
    uring_cmd_flags: int
    waitid_flags: int
    futex_flags: int
    install_fd_flags: int
    nop_flags: int
    pipe_flags: int
    user_data: int
    buf_index: int
    buf_group: int
    personality: int
    splice_fd_in: int
    file_index: int
    zcrx_ifq_idx: int
    optlen: int
    addr_len: int
    __pad3: Pointer[int]
    addr3: int
    __pad2: Pointer[int]
    attr_ptr: int
    attr_type_mask: int
    optval: int
    cmd: Pointer[int]

@type_check_only
class struct_io_uring_sync_cancel_reg(Struct):
    """`struct io_uring_sync_cancel_reg`."""

    addr: int
    fd: int
    flags: int
    timeout: struct___kernel_timespec
    opcode: int
    pad: Pointer[int]
    pad2: Pointer[int]

@type_check_only
class struct_io_uring_task_restriction(Struct):
    """`struct io_uring_task_restriction`."""

    flags: int
    nr_res: int
    resv: Pointer[int]
    restrictions: struct_io_uring_restriction

@type_check_only
class struct_io_uring_zcrx_area_reg(Struct):
    """`struct io_uring_zcrx_area_reg`."""

    addr: int
    len: int
    rq_area_token: int
    flags: int
    dmabuf_fd: int
    __resv2: Pointer[int]

@type_check_only
class struct_io_uring_zcrx_cqe(Struct):
    """`struct io_uring_zcrx_cqe`."""

    off: int
    __pad: int

@type_check_only
class struct_io_uring_zcrx_ifq_reg(Struct):
    """`struct io_uring_zcrx_ifq_reg`."""

    if_idx: int
    if_rxq: int
    rq_entries: int
    flags: int
    area_ptr: int
    region_ptr: int
    offsets: struct_io_uring_zcrx_offsets
    zcrx_id: int
    rx_buf_len: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_zcrx_offsets(Struct):
    """`struct io_uring_zcrx_offsets`."""

    head: int
    tail: int
    rqes: int
    __resv2: int
    __resv: Pointer[int]

@type_check_only
class struct_io_uring_zcrx_rq(Struct):
    """`struct io_uring_zcrx_rq`."""

    khead: Pointer[int]
    ktail: Pointer[int]
    rq_tail: int
    ring_entries: int
    rqes: struct_io_uring_zcrx_rqe
    ring_ptr: CData

@type_check_only
class struct_io_uring_zcrx_rqe(Struct):
    """`struct io_uring_zcrx_rqe`."""

    off: int
    len: int
    __pad: int

@type_check_only
class struct_iovec(Struct):
    """`struct iovec`."""

    iov_base: CData
    iov_len: int

@type_check_only
class struct_msghdr(Struct):
    """`struct msghdr`."""

    msg_name: CData
    msg_namelen: int
    msg_iov: struct_iovec
    msg_iovlen: int
    msg_control: CData
    msg_controllen: int
    msg_flags: int

@type_check_only
class struct_open_how(Struct):
    """`struct open_how`."""

    flags: int
    mode: int
    resolve: int

@type_check_only
class struct_sock_filter(Struct):
    """`struct sock_filter`."""

    code: int
    jt: int
    jf: int
    k: int

@type_check_only
class struct_sockaddr(Struct):
    """`struct sockaddr`."""

    sa_family: int
    @property
    def sa_data(self) -> Pointer[bytes]: ...
    @sa_data.setter
    def sa_data(self, value: bytes | Pointer[bytes], /) -> None: ...

@type_check_only
class struct_sockaddr_in(Struct):
    """`struct sockaddr_in`."""

    sin_family: int
    sin_port: int
    sin_addr: struct_in_addr

@type_check_only
class struct_sockaddr_in6(Struct):
    """`struct sockaddr_in6`."""

    sin6_family: int
    sin6_port: int
    sin6_flowinfo: int
    sin6_addr: struct_in6_addr
    sin6_scope_id: int

@type_check_only
class struct_sockaddr_storage(Struct):
    """`struct sockaddr_storage`."""

    ss_family: int

@type_check_only
class struct_sockaddr_un(Struct):
    """`struct sockaddr_un`."""

    sun_family: int
    @property
    def sun_path(self) -> Pointer[bytes]: ...
    @sun_path.setter
    def sun_path(self, value: bytes | Pointer[bytes], /) -> None: ...

@type_check_only
class struct_statx(Struct):
    """`struct statx`."""

    stx_mask: int
    stx_blksize: int
    stx_attributes: int
    stx_nlink: int
    stx_uid: int
    stx_gid: int
    stx_mode: int
    stx_ino: int
    stx_size: int
    stx_blocks: int
    stx_attributes_mask: int
    stx_atime: struct_statx_timestamp
    stx_btime: struct_statx_timestamp
    stx_ctime: struct_statx_timestamp
    stx_mtime: struct_statx_timestamp
    stx_rdev_major: int
    stx_rdev_minor: int
    stx_dev_major: int
    stx_dev_minor: int

@type_check_only
class struct_statx_timestamp(Struct):
    """`struct statx_timestamp`."""

    tv_sec: int
    tv_nsec: int

@type_check_only
class struct_zcrx_ctrl(Struct):
    """`struct zcrx_ctrl`."""

    zcrx_id: int
    op: int
    __resv: Pointer[int]
    zc_export: struct_zcrx_ctrl_export
    zc_flush: struct_zcrx_ctrl_flush_rq

@type_check_only
class struct_zcrx_ctrl_export(Struct):
    """`struct zcrx_ctrl_export`."""

    zcrx_fd: int
    __resv1: Pointer[int]

@type_check_only
class struct_zcrx_ctrl_flush_rq(Struct):
    """`struct zcrx_ctrl_flush_rq`."""

    __resv: Pointer[int]

@type_check_only
class union_epoll_data(Struct):
    """`union epoll_data`."""

    ptr: CData
    fd: int
    u32: int
    u64: int

def IO_URING_CHECK_VERSION(major: int, minor: int) -> bool: ...
def __io_uring_buf_ring_cq_advance(
    ring: struct_io_uring, br: struct_io_uring_buf_ring, cq_count: int, buf_count: int, /
) -> None:
    """`void __io_uring_buf_ring_cq_advance(struct io_uring *ring, struct io_uring_buf_ring *br, int cq_count, int
    buf_count)`"""

def __io_uring_clone_buffers(dst: struct_io_uring, src: struct_io_uring, flags: int, /) -> int:
    """`int __io_uring_clone_buffers(struct io_uring *dst, struct io_uring *src, unsigned int flags)`"""

def __io_uring_clone_buffers_offset(
    dst: struct_io_uring, src: struct_io_uring, dst_off: int, src_off: int, nr: int, flags: int, /
) -> int:
    """`int __io_uring_clone_buffers_offset(struct io_uring *dst, struct io_uring *src, unsigned int dst_off, unsigned
    int src_off, unsigned int nr, unsigned int flags)`"""

def __io_uring_get_cqe(
    ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], submit: int, wait_nr: int, sigmask: struct_sigset_t, /
) -> int:
    """`int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned submit, unsigned wait_nr,
    sigset_t *sigmask)`"""

def __io_uring_peek_cqe(
    ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], nr_available: Pointer[int], /
) -> int:
    """`int __io_uring_peek_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned *nr_available)`"""

def __io_uring_prep_uring_cmd(sqe: struct_io_uring_sqe, op: int, cmd_op: int, fd: int, /) -> None:
    """`void __io_uring_prep_uring_cmd(struct io_uring_sqe *sqe, int op, __u32 cmd_op, int fd)`"""

def __io_uring_sqring_wait(ring: struct_io_uring, /) -> int:
    """`int __io_uring_sqring_wait(struct io_uring *ring)`"""

def __kernel_timespec(tv_sec: int = 0, tv_nsec: int = 0) -> struct___kernel_timespec: ...
def _io_uring_get_sqe(ring: struct_io_uring, /) -> struct_io_uring_sqe:
    """`struct io_uring_sqe *_io_uring_get_sqe(struct io_uring *ring)`"""

def cmsghdr(
    count: int | None = None, /, *, cmsg_len: int = ..., cmsg_level: int = ..., cmsg_type: int = ...
) -> struct_cmsghdr:
    """`struct cmsghdr` with these fields, all others 0; or an array of `count` zeroed ones."""

def cpu_set_t(*cpus: int) -> struct_cpu_set_t: ...
def epoll_event(
    count: int | None = None, /, *, events: int = ..., data: union_epoll_data | dict[str, Any] = ...
) -> struct_epoll_event:
    """`struct epoll_event` with these fields, all others 0; or an array of `count` zeroed ones."""

def futex_waitv(
    count: int | None = None,
    /,
    *,
    val: int | CData = ...,
    uaddr: int | CData = ...,
    flags: int = ...,
    __reserved: int = ...,
) -> struct_futex_waitv:
    """`struct futex_waitv` with these fields, all others 0; or an array of `count` zeroed ones."""

def in6_addr(count: int | None = None, /, *, s6_addr: bytes | Pointer[int] | list[Any] = ...) -> struct_in6_addr:
    """`struct in6_addr` with these fields, all others 0; or an array of `count` zeroed ones."""

def in_addr(count: int | None = None, /, *, s_addr: int = ...) -> struct_in_addr:
    """`struct in_addr` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_cqring_offsets(
    count: int | None = None,
    /,
    *,
    head: int = ...,
    tail: int = ...,
    ring_mask: int = ...,
    ring_entries: int = ...,
    overflow: int = ...,
    cqes: int = ...,
    flags: int = ...,
    resv1: int = ...,
    user_addr: int | CData = ...,
) -> struct_io_cqring_offsets:
    """`struct io_cqring_offsets` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_sqring_offsets(
    count: int | None = None,
    /,
    *,
    head: int = ...,
    tail: int = ...,
    ring_mask: int = ...,
    ring_entries: int = ...,
    flags: int = ...,
    dropped: int = ...,
    array: int = ...,
    resv1: int = ...,
    user_addr: int | CData = ...,
) -> struct_io_sqring_offsets:
    """`struct io_sqring_offsets` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_timespec(
    count: int | None = None, /, *, tv_sec: int | CData = ..., tv_nsec: int | CData = ...
) -> struct_io_timespec:
    """`struct io_timespec` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring(
    count: int | None = None,
    /,
    *,
    sq: struct_io_uring_sq | dict[str, Any] = ...,
    cq: struct_io_uring_cq | dict[str, Any] = ...,
    flags: int = ...,
    ring_fd: int = ...,
    features: int = ...,
    enter_ring_fd: int = ...,
    int_flags: int = ...,
    pad: bytes | Pointer[int] | list[Any] = ...,
    pad2: int = ...,
) -> struct_io_uring:
    """`struct io_uring` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_attr_pi(
    count: int | None = None,
    /,
    *,
    flags: int = ...,
    app_tag: int = ...,
    len: int = ...,
    addr: int | CData = ...,
    seed: int | CData = ...,
    rsvd: int | CData = ...,
) -> struct_io_uring_attr_pi:
    """`struct io_uring_attr_pi` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_bpf(
    count: int | None = None,
    /,
    *,
    cmd_type: int = ...,
    cmd_flags: int = ...,
    resv: int = ...,
    filter: struct_io_uring_bpf_filter | dict[str, Any] = ...,
) -> struct_io_uring_bpf:
    """`struct io_uring_bpf` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_bpf_ctx(
    count: int | None = None,
    /,
    *,
    user_data: int | CData = ...,
    opcode: int = ...,
    sqe_flags: int = ...,
    pdu_size: int = ...,
    pad: bytes | Pointer[int] | list[Any] = ...,
    socket: struct_io_uring_bpf_ctx_socket | dict[str, Any] = ...,
    open: struct_io_uring_bpf_ctx_open | dict[str, Any] = ...,
) -> struct_io_uring_bpf_ctx:
    """`struct io_uring_bpf_ctx` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_bpf_filter(
    count: int | None = None,
    /,
    *,
    opcode: int = ...,
    flags: int = ...,
    filter_len: int = ...,
    pdu_size: int = ...,
    resv: bytes | Pointer[int] | list[Any] = ...,
    filter_ptr: int | CData = ...,
    resv2: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_bpf_filter:
    """`struct io_uring_bpf_filter` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_buf(
    count: int | None = None, /, *, addr: int | CData = ..., len: int = ..., bid: int = ..., resv: int = ...
) -> struct_io_uring_buf:
    """`struct io_uring_buf` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_buf_reg(
    count: int | None = None,
    /,
    *,
    ring_addr: int | CData = ...,
    ring_entries: int = ...,
    bgid: int = ...,
    flags: int = ...,
    min_left: int = ...,
    resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_buf_reg:
    """`struct io_uring_buf_reg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_buf_ring(entries: int, /) -> struct_io_uring_buf_ring: ...
def io_uring_buf_ring_add(
    br: struct_io_uring_buf_ring, addr: CData, len: int, bid: int, mask: int, buf_offset: int, /
) -> None:
    """`void io_uring_buf_ring_add(struct io_uring_buf_ring *br, void *addr, unsigned int len, unsigned short bid, int
    mask, int buf_offset)`"""

def io_uring_buf_ring_advance(br: struct_io_uring_buf_ring, count: int, /) -> None:
    """`void io_uring_buf_ring_advance(struct io_uring_buf_ring *br, int count)`"""

def io_uring_buf_ring_available(ring: struct_io_uring, br: struct_io_uring_buf_ring, bgid: int, /) -> int:
    """`int io_uring_buf_ring_available(struct io_uring *ring, struct io_uring_buf_ring *br, unsigned short bgid)`"""

def io_uring_buf_ring_cq_advance(ring: struct_io_uring, br: struct_io_uring_buf_ring, count: int, /) -> None:
    """`void io_uring_buf_ring_cq_advance(struct io_uring *ring, struct io_uring_buf_ring *br, int count)`"""

def io_uring_buf_ring_head(ring: struct_io_uring, buf_group: int, head: Pointer[int], /) -> int:
    """`int io_uring_buf_ring_head(struct io_uring *ring, int buf_group, uint16_t *head)`"""

def io_uring_buf_ring_init(br: struct_io_uring_buf_ring, /) -> None:
    """`void io_uring_buf_ring_init(struct io_uring_buf_ring *br)`"""

def io_uring_buf_ring_mask(ring_entries: int, /) -> int:
    """`int io_uring_buf_ring_mask(__u32 ring_entries)`"""

def io_uring_buf_status(
    count: int | None = None, /, *, buf_group: int = ..., head: int = ..., resv: Pointer[int] | list[Any] = ...
) -> struct_io_uring_buf_status:
    """`struct io_uring_buf_status` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_check_version(major: int, minor: int, /) -> bool:
    """`_Bool io_uring_check_version(int major, int minor)`"""

def io_uring_clock_register(
    count: int | None = None, /, *, clockid: int = ..., __resv: Pointer[int] | list[Any] = ...
) -> struct_io_uring_clock_register:
    """`struct io_uring_clock_register` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_clone_buffers(dst: struct_io_uring, src: struct_io_uring, /) -> int:
    """`int io_uring_clone_buffers(struct io_uring *dst, struct io_uring *src)`"""

def io_uring_clone_buffers_offset(
    dst: struct_io_uring, src: struct_io_uring, dst_off: int, src_off: int, nr: int, flags: int, /
) -> int:
    """`int io_uring_clone_buffers_offset(struct io_uring *dst, struct io_uring *src, unsigned int dst_off, unsigned int
    src_off, unsigned int nr, unsigned int flags)`"""

def io_uring_close_ring_fd(ring: struct_io_uring, /) -> int:
    """`int io_uring_close_ring_fd(struct io_uring *ring)`"""

def io_uring_cq(
    count: int | None = None,
    /,
    *,
    khead: Pointer[int] = ...,
    ktail: Pointer[int] = ...,
    kring_mask: Pointer[int] = ...,
    kring_entries: Pointer[int] = ...,
    kflags: Pointer[int] = ...,
    koverflow: Pointer[int] = ...,
    cqes: struct_io_uring_cqe = ...,
    ring_sz: int = ...,
    ring_ptr: CData = ...,
    ring_mask: int = ...,
    ring_entries: int = ...,
    pad: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_cq:
    """`struct io_uring_cq` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_cq_advance(ring: struct_io_uring, nr: int, /) -> None:
    """`void io_uring_cq_advance(struct io_uring *ring, unsigned nr)`"""

def io_uring_cq_eventfd_enabled(ring: struct_io_uring, /) -> bool:
    """`_Bool io_uring_cq_eventfd_enabled(const struct io_uring *ring)`"""

def io_uring_cq_eventfd_toggle(ring: struct_io_uring, enabled: bool, /) -> int:
    """`int io_uring_cq_eventfd_toggle(struct io_uring *ring, _Bool enabled)`"""

def io_uring_cq_has_overflow(ring: struct_io_uring, /) -> bool:
    """`_Bool io_uring_cq_has_overflow(const struct io_uring *ring)`"""

def io_uring_cq_ready(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_cq_ready(const struct io_uring *ring)`"""

def io_uring_cqe(
    count: int | None = None,
    /,
    *,
    user_data: int | CData = ...,
    res: int = ...,
    flags: int = ...,
    big_cqe: Pointer[int] | list[Any] | int = ...,
) -> struct_io_uring_cqe:
    """`struct io_uring_cqe` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_cqe_get_data(cqe: struct_io_uring_cqe, /) -> CData:
    """`void *io_uring_cqe_get_data(const struct io_uring_cqe *cqe)`"""

def io_uring_cqe_get_data64(cqe: struct_io_uring_cqe, /) -> int:
    """`__u64 io_uring_cqe_get_data64(const struct io_uring_cqe *cqe)`"""

def io_uring_cqe_iter(
    count: int | None = None,
    /,
    *,
    cqes: struct_io_uring_cqe = ...,
    mask: int = ...,
    shift: int = ...,
    head: int = ...,
    tail: int = ...,
) -> struct_io_uring_cqe_iter:
    """`struct io_uring_cqe_iter` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_cqe_iter_init(ring: struct_io_uring, /) -> struct_io_uring_cqe_iter:
    """`struct io_uring_cqe_iter io_uring_cqe_iter_init(const struct io_uring *ring)`"""

def io_uring_cqe_iter_next(iter: struct_io_uring_cqe_iter, cqe: Pointer[struct_io_uring_cqe], /) -> bool:
    """`_Bool io_uring_cqe_iter_next(struct io_uring_cqe_iter *iter, struct io_uring_cqe **cqe)`"""

def io_uring_cqe_nr(cqe: struct_io_uring_cqe, /) -> int:
    """`unsigned io_uring_cqe_nr(const struct io_uring_cqe *cqe)`"""

def io_uring_cqe_ptr(count: int = 1, /) -> Pointer[struct_io_uring_cqe]: ...
def io_uring_cqe_seen(ring: struct_io_uring, cqe: struct_io_uring_cqe, /) -> None:
    """`void io_uring_cqe_seen(struct io_uring *ring, struct io_uring_cqe *cqe)`"""

def io_uring_cqe_shift(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_cqe_shift(const struct io_uring *ring)`"""

def io_uring_cqe_shift_from_flags(flags: int, /) -> int:
    """`unsigned io_uring_cqe_shift_from_flags(unsigned flags)`"""

def io_uring_enable_rings(ring: struct_io_uring, /) -> int:
    """`int io_uring_enable_rings(struct io_uring *ring)`"""

def io_uring_enter(fd: int, to_submit: int, min_complete: int, flags: int, sig: struct_sigset_t, /) -> int:
    """`int io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags,
    sigset_t *sig)`"""

def io_uring_enter2(fd: int, to_submit: int, min_complete: int, flags: int, arg: CData, sz: int, /) -> int:
    """`int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags, void
    *arg, size_t sz)`"""

def io_uring_file_index_range(
    count: int | None = None, /, *, off: int = ..., len: int = ..., resv: int | CData = ...
) -> struct_io_uring_file_index_range:
    """`struct io_uring_file_index_range` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_files_update(
    count: int | None = None, /, *, offset: int = ..., resv: int = ..., fds: int | CData = ...
) -> struct_io_uring_files_update:
    """`struct io_uring_files_update` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_for_each_cqe(ring: struct_io_uring) -> Iterator[struct_io_uring_cqe]: ...
def io_uring_free_buf_ring(ring: struct_io_uring, br: struct_io_uring_buf_ring, nentries: int, bgid: int, /) -> int:
    """`int io_uring_free_buf_ring(struct io_uring *ring, struct io_uring_buf_ring *br, unsigned int nentries, int
    bgid)`"""

def io_uring_free_probe(probe: struct_io_uring_probe, /) -> None:
    """`void io_uring_free_probe(struct io_uring_probe *probe)`"""

def io_uring_get_events(ring: struct_io_uring, /) -> int:
    """`int io_uring_get_events(struct io_uring *ring)`"""

def io_uring_get_probe() -> struct_io_uring_probe:
    """`struct io_uring_probe *io_uring_get_probe(void)`"""

def io_uring_get_probe_ring(ring: struct_io_uring, /) -> struct_io_uring_probe:
    """`struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)`"""

def io_uring_get_sqe(ring: struct_io_uring, /) -> struct_io_uring_sqe:
    """`struct io_uring_sqe *io_uring_get_sqe(struct io_uring *ring)`"""

def io_uring_get_sqe128(ring: struct_io_uring, /) -> struct_io_uring_sqe:
    """`struct io_uring_sqe *io_uring_get_sqe128(struct io_uring *ring)`"""

def io_uring_getevents_arg(
    count: int | None = None,
    /,
    *,
    sigmask: int | CData = ...,
    sigmask_sz: int = ...,
    min_wait_usec: int = ...,
    ts: int | CData = ...,
) -> struct_io_uring_getevents_arg:
    """`struct io_uring_getevents_arg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_initialize_sqe(sqe: struct_io_uring_sqe, /) -> None:
    """`void io_uring_initialize_sqe(struct io_uring_sqe *sqe)`"""

def io_uring_load_sq_head(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_load_sq_head(const struct io_uring *ring)`"""

def io_uring_major_version() -> int:
    """`int io_uring_major_version(void)`"""

def io_uring_mem_region_reg(
    count: int | None = None,
    /,
    *,
    region_uptr: int | CData = ...,
    flags: int | CData = ...,
    __resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_mem_region_reg:
    """`struct io_uring_mem_region_reg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_memory_size(entries: int, flags: int, /) -> int:
    """`ssize_t io_uring_memory_size(unsigned entries, unsigned flags)`"""

def io_uring_memory_size_params(entries: int, p: struct_io_uring_params, /) -> int:
    """`ssize_t io_uring_memory_size_params(unsigned entries, struct io_uring_params *p)`"""

def io_uring_minor_version() -> int:
    """`int io_uring_minor_version(void)`"""

def io_uring_mlock_size(entries: int, flags: int, /) -> int:
    """`ssize_t io_uring_mlock_size(unsigned entries, unsigned flags)`"""

def io_uring_mlock_size_params(entries: int, p: struct_io_uring_params, /) -> int:
    """`ssize_t io_uring_mlock_size_params(unsigned entries, struct io_uring_params *p)`"""

def io_uring_napi(
    count: int | None = None,
    /,
    *,
    busy_poll_to: int = ...,
    prefer_busy_poll: int = ...,
    pad: bytes | Pointer[int] | list[Any] = ...,
    resv: int | CData = ...,
) -> struct_io_uring_napi:
    """`struct io_uring_napi` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_opcode_supported(p: struct_io_uring_probe, op: int, /) -> int:
    """`int io_uring_opcode_supported(const struct io_uring_probe *p, int op)`"""

def io_uring_params(
    count: int | None = None,
    /,
    *,
    sq_entries: int = ...,
    cq_entries: int = ...,
    flags: int = ...,
    sq_thread_cpu: int = ...,
    sq_thread_idle: int = ...,
    features: int = ...,
    wq_fd: int = ...,
    resv: Pointer[int] | list[Any] = ...,
    sq_off: struct_io_sqring_offsets | dict[str, Any] = ...,
    cq_off: struct_io_cqring_offsets | dict[str, Any] = ...,
) -> struct_io_uring_params:
    """`struct io_uring_params` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_peek_batch_cqe(ring: struct_io_uring, cqes: Pointer[struct_io_uring_cqe], count: int, /) -> int:
    """`unsigned io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count)`"""

def io_uring_peek_cqe(ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], /) -> int:
    """`int io_uring_peek_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr)`"""

def io_uring_prep_accept(
    sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: Pointer[int], flags: int, /
) -> None:
    """`void io_uring_prep_accept(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen, int
    flags)`"""

def io_uring_prep_accept_direct(
    sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: Pointer[int], flags: int, file_index: int, /
) -> None:
    """`void io_uring_prep_accept_direct(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen,
    int flags, unsigned int file_index)`"""

def io_uring_prep_bind(sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: int, /) -> None:
    """`void io_uring_prep_bind(struct io_uring_sqe *sqe, int fd, const struct sockaddr *addr, socklen_t addrlen)`"""

def io_uring_prep_cancel(sqe: struct_io_uring_sqe, user_data: bytes | CData, flags: int, /) -> None:
    """`void io_uring_prep_cancel(struct io_uring_sqe *sqe, const void *user_data, int flags)`"""

def io_uring_prep_cancel64(sqe: struct_io_uring_sqe, user_data: int, flags: int, /) -> None:
    """`void io_uring_prep_cancel64(struct io_uring_sqe *sqe, __u64 user_data, int flags)`"""

def io_uring_prep_cancel_fd(sqe: struct_io_uring_sqe, fd: int, flags: int, /) -> None:
    """`void io_uring_prep_cancel_fd(struct io_uring_sqe *sqe, int fd, unsigned int flags)`"""

def io_uring_prep_close(sqe: struct_io_uring_sqe, fd: int, /) -> None:
    """`void io_uring_prep_close(struct io_uring_sqe *sqe, int fd)`"""

def io_uring_prep_close_direct(sqe: struct_io_uring_sqe, file_index: int, /) -> None:
    """`void io_uring_prep_close_direct(struct io_uring_sqe *sqe, unsigned file_index)`"""

def io_uring_prep_cmd_discard(sqe: struct_io_uring_sqe, fd: int, offset: int, nbytes: int, /) -> None:
    """`void io_uring_prep_cmd_discard(struct io_uring_sqe *sqe, int fd, uint64_t offset, uint64_t nbytes)`"""

def io_uring_prep_cmd_getsockname(
    sqe: struct_io_uring_sqe, fd: int, sockaddr: struct_sockaddr, sockaddr_len: Pointer[int], peer: int, /
) -> None:
    """`void io_uring_prep_cmd_getsockname(struct io_uring_sqe *sqe, int fd, struct sockaddr *sockaddr, socklen_t
    *sockaddr_len, int peer)`"""

def io_uring_prep_cmd_sock(
    sqe: struct_io_uring_sqe, cmd_op: int, fd: int, level: int, optname: int, optval: CData, optlen: int, /
) -> None:
    """`void io_uring_prep_cmd_sock(struct io_uring_sqe *sqe, int cmd_op, int fd, int level, int optname, void *optval,
    int optlen)`"""

def io_uring_prep_connect(sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: int, /) -> None:
    """`void io_uring_prep_connect(struct io_uring_sqe *sqe, int fd, const struct sockaddr *addr, socklen_t addrlen)`"""

def io_uring_prep_epoll_ctl(sqe: struct_io_uring_sqe, epfd: int, fd: int, op: int, ev: struct_epoll_event, /) -> None:
    """`void io_uring_prep_epoll_ctl(struct io_uring_sqe *sqe, int epfd, int fd, int op, const struct epoll_event
    *ev)`"""

def io_uring_prep_epoll_wait(
    sqe: struct_io_uring_sqe, fd: int, events: struct_epoll_event, maxevents: int, flags: int, /
) -> None:
    """`void io_uring_prep_epoll_wait(struct io_uring_sqe *sqe, int fd, struct epoll_event *events, int maxevents,
    unsigned flags)`"""

def io_uring_prep_fadvise(sqe: struct_io_uring_sqe, fd: int, offset: int, len: int, advice: int, /) -> None:
    """`void io_uring_prep_fadvise(struct io_uring_sqe *sqe, int fd, __u64 offset, __u32 len, int advice)`"""

def io_uring_prep_fadvise64(sqe: struct_io_uring_sqe, fd: int, offset: int, len: int, advice: int, /) -> None:
    """`void io_uring_prep_fadvise64(struct io_uring_sqe *sqe, int fd, __u64 offset, off_t len, int advice)`"""

def io_uring_prep_fallocate(sqe: struct_io_uring_sqe, fd: int, mode: int, offset: int, len: int, /) -> None:
    """`void io_uring_prep_fallocate(struct io_uring_sqe *sqe, int fd, int mode, __u64 offset, __u64 len)`"""

def io_uring_prep_fgetxattr(
    sqe: struct_io_uring_sqe, fd: int, name: bytes | Pointer[bytes], value: Pointer[bytes], len: int, /
) -> None:
    """`void io_uring_prep_fgetxattr(struct io_uring_sqe *sqe, int fd, const char *name, char *value, unsigned int
    len)`"""

def io_uring_prep_files_update(sqe: struct_io_uring_sqe, fds: Pointer[int], nr_fds: int, offset: int, /) -> None:
    """`void io_uring_prep_files_update(struct io_uring_sqe *sqe, int *fds, unsigned nr_fds, int offset)`"""

def io_uring_prep_fixed_fd_install(sqe: struct_io_uring_sqe, fd: int, flags: int, /) -> None:
    """`void io_uring_prep_fixed_fd_install(struct io_uring_sqe *sqe, int fd, unsigned int flags)`"""

def io_uring_prep_fsetxattr(
    sqe: struct_io_uring_sqe,
    fd: int,
    name: bytes | Pointer[bytes],
    value: bytes | Pointer[bytes],
    flags: int,
    len: int,
    /,
) -> None:
    """`void io_uring_prep_fsetxattr(struct io_uring_sqe *sqe, int fd, const char *name, const char *value, int flags,
    unsigned int len)`"""

def io_uring_prep_fsync(sqe: struct_io_uring_sqe, fd: int, fsync_flags: int, /) -> None:
    """`void io_uring_prep_fsync(struct io_uring_sqe *sqe, int fd, unsigned fsync_flags)`"""

def io_uring_prep_ftruncate(sqe: struct_io_uring_sqe, fd: int, len: int, /) -> None:
    """`void io_uring_prep_ftruncate(struct io_uring_sqe *sqe, int fd, loff_t len)`"""

def io_uring_prep_futex_wait(
    sqe: struct_io_uring_sqe, futex: Pointer[int], val: int, mask: int, futex_flags: int, flags: int, /
) -> None:
    """`void io_uring_prep_futex_wait(struct io_uring_sqe *sqe, const uint32_t *futex, uint64_t val, uint64_t mask,
    uint32_t futex_flags, unsigned int flags)`"""

def io_uring_prep_futex_waitv(
    sqe: struct_io_uring_sqe, futex: struct_futex_waitv, nr_futex: int, flags: int, /
) -> None:
    """`void io_uring_prep_futex_waitv(struct io_uring_sqe *sqe, const struct futex_waitv *futex, uint32_t nr_futex,
    unsigned int flags)`"""

def io_uring_prep_futex_wake(
    sqe: struct_io_uring_sqe, futex: Pointer[int], val: int, mask: int, futex_flags: int, flags: int, /
) -> None:
    """`void io_uring_prep_futex_wake(struct io_uring_sqe *sqe, const uint32_t *futex, uint64_t val, uint64_t mask,
    uint32_t futex_flags, unsigned int flags)`"""

def io_uring_prep_getxattr(
    sqe: struct_io_uring_sqe,
    name: bytes | Pointer[bytes],
    value: Pointer[bytes],
    path: bytes | Pointer[bytes],
    len: int,
    /,
) -> None:
    """`void io_uring_prep_getxattr(struct io_uring_sqe *sqe, const char *name, char *value, const char *path, unsigned
    int len)`"""

def io_uring_prep_link(
    sqe: struct_io_uring_sqe, oldpath: bytes | Pointer[bytes], newpath: bytes | Pointer[bytes], flags: int, /
) -> None:
    """`void io_uring_prep_link(struct io_uring_sqe *sqe, const char *oldpath, const char *newpath, int flags)`"""

def io_uring_prep_link_timeout(sqe: struct_io_uring_sqe, ts: struct___kernel_timespec, flags: int, /) -> None:
    """`void io_uring_prep_link_timeout(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, unsigned
    flags)`"""

def io_uring_prep_linkat(
    sqe: struct_io_uring_sqe,
    olddfd: int,
    oldpath: bytes | Pointer[bytes],
    newdfd: int,
    newpath: bytes | Pointer[bytes],
    flags: int,
    /,
) -> None:
    """`void io_uring_prep_linkat(struct io_uring_sqe *sqe, int olddfd, const char *oldpath, int newdfd, const char
    *newpath, int flags)`"""

def io_uring_prep_listen(sqe: struct_io_uring_sqe, fd: int, backlog: int, /) -> None:
    """`void io_uring_prep_listen(struct io_uring_sqe *sqe, int fd, int backlog)`"""

def io_uring_prep_madvise(sqe: struct_io_uring_sqe, addr: CData, length: int, advice: int, /) -> None:
    """`void io_uring_prep_madvise(struct io_uring_sqe *sqe, void *addr, __u32 length, int advice)`"""

def io_uring_prep_madvise64(sqe: struct_io_uring_sqe, addr: CData, length: int, advice: int, /) -> None:
    """`void io_uring_prep_madvise64(struct io_uring_sqe *sqe, void *addr, off_t length, int advice)`"""

def io_uring_prep_mkdir(sqe: struct_io_uring_sqe, path: bytes | Pointer[bytes], mode: int, /) -> None:
    """`void io_uring_prep_mkdir(struct io_uring_sqe *sqe, const char *path, mode_t mode)`"""

def io_uring_prep_mkdirat(sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], mode: int, /) -> None:
    """`void io_uring_prep_mkdirat(struct io_uring_sqe *sqe, int dfd, const char *path, mode_t mode)`"""

def io_uring_prep_msg_ring(sqe: struct_io_uring_sqe, fd: int, len: int, data: int, flags: int, /) -> None:
    """`void io_uring_prep_msg_ring(struct io_uring_sqe *sqe, int fd, unsigned int len, __u64 data, unsigned int
    flags)`"""

def io_uring_prep_msg_ring_cqe_flags(
    sqe: struct_io_uring_sqe, fd: int, len: int, data: int, flags: int, cqe_flags: int, /
) -> None:
    """`void io_uring_prep_msg_ring_cqe_flags(struct io_uring_sqe *sqe, int fd, unsigned int len, __u64 data, unsigned
    int flags, unsigned int cqe_flags)`"""

def io_uring_prep_msg_ring_fd(
    sqe: struct_io_uring_sqe, fd: int, source_fd: int, target_fd: int, data: int, flags: int, /
) -> None:
    """`void io_uring_prep_msg_ring_fd(struct io_uring_sqe *sqe, int fd, int source_fd, int target_fd, __u64 data,
    unsigned int flags)`"""

def io_uring_prep_msg_ring_fd_alloc(
    sqe: struct_io_uring_sqe, fd: int, source_fd: int, data: int, flags: int, /
) -> None:
    """`void io_uring_prep_msg_ring_fd_alloc(struct io_uring_sqe *sqe, int fd, int source_fd, __u64 data, unsigned int
    flags)`"""

def io_uring_prep_multishot_accept(
    sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: Pointer[int], flags: int, /
) -> None:
    """`void io_uring_prep_multishot_accept(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen,
    int flags)`"""

def io_uring_prep_multishot_accept_direct(
    sqe: struct_io_uring_sqe, fd: int, addr: struct_sockaddr, addrlen: Pointer[int], flags: int, /
) -> None:
    """`void io_uring_prep_multishot_accept_direct(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t
    *addrlen, int flags)`"""

def io_uring_prep_nop(sqe: struct_io_uring_sqe, /) -> None:
    """`void io_uring_prep_nop(struct io_uring_sqe *sqe)`"""

def io_uring_prep_nop128(sqe: struct_io_uring_sqe, /) -> None:
    """`void io_uring_prep_nop128(struct io_uring_sqe *sqe)`"""

def io_uring_prep_open(sqe: struct_io_uring_sqe, path: bytes | Pointer[bytes], flags: int, mode: int, /) -> None:
    """`void io_uring_prep_open(struct io_uring_sqe *sqe, const char *path, int flags, mode_t mode)`"""

def io_uring_prep_open_direct(
    sqe: struct_io_uring_sqe, path: bytes | Pointer[bytes], flags: int, mode: int, file_index: int, /
) -> None:
    """`void io_uring_prep_open_direct(struct io_uring_sqe *sqe, const char *path, int flags, mode_t mode, unsigned
    file_index)`"""

def io_uring_prep_openat(
    sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], flags: int, mode: int, /
) -> None:
    """`void io_uring_prep_openat(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, mode_t mode)`"""

def io_uring_prep_openat2(
    sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], how: struct_open_how, /
) -> None:
    """`void io_uring_prep_openat2(struct io_uring_sqe *sqe, int dfd, const char *path, const struct open_how *how)`"""

def io_uring_prep_openat2_direct(
    sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], how: struct_open_how, file_index: int, /
) -> None:
    """`void io_uring_prep_openat2_direct(struct io_uring_sqe *sqe, int dfd, const char *path, const struct open_how
    *how, unsigned file_index)`"""

def io_uring_prep_openat_direct(
    sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], flags: int, mode: int, file_index: int, /
) -> None:
    """`void io_uring_prep_openat_direct(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, mode_t mode,
    unsigned file_index)`"""

def io_uring_prep_pipe(sqe: struct_io_uring_sqe, fds: Pointer[int], pipe_flags: int, /) -> None:
    """`void io_uring_prep_pipe(struct io_uring_sqe *sqe, int *fds, int pipe_flags)`"""

def io_uring_prep_pipe_direct(sqe: struct_io_uring_sqe, fds: Pointer[int], pipe_flags: int, file_index: int, /) -> None:
    """`void io_uring_prep_pipe_direct(struct io_uring_sqe *sqe, int *fds, int pipe_flags, unsigned int file_index)`"""

def io_uring_prep_poll_add(sqe: struct_io_uring_sqe, fd: int, poll_mask: int, /) -> None:
    """`void io_uring_prep_poll_add(struct io_uring_sqe *sqe, int fd, unsigned poll_mask)`"""

def io_uring_prep_poll_multishot(sqe: struct_io_uring_sqe, fd: int, poll_mask: int, /) -> None:
    """`void io_uring_prep_poll_multishot(struct io_uring_sqe *sqe, int fd, unsigned poll_mask)`"""

def io_uring_prep_poll_remove(sqe: struct_io_uring_sqe, user_data: int, /) -> None:
    """`void io_uring_prep_poll_remove(struct io_uring_sqe *sqe, __u64 user_data)`"""

def io_uring_prep_poll_update(
    sqe: struct_io_uring_sqe, old_user_data: int, new_user_data: int, poll_mask: int, flags: int, /
) -> None:
    """`void io_uring_prep_poll_update(struct io_uring_sqe *sqe, __u64 old_user_data, __u64 new_user_data, unsigned
    poll_mask, unsigned flags)`"""

def io_uring_prep_provide_buffers(
    sqe: struct_io_uring_sqe, addr: CData, len: int, nr: int, bgid: int, bid: int, /
) -> None:
    """`void io_uring_prep_provide_buffers(struct io_uring_sqe *sqe, void *addr, int len, int nr, int bgid, int bid)`"""

def io_uring_prep_read(sqe: struct_io_uring_sqe, fd: int, buf: CData, nbytes: int, offset: int, /) -> None:
    """`void io_uring_prep_read(struct io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, __u64 offset)`"""

def io_uring_prep_read_fixed(
    sqe: struct_io_uring_sqe, fd: int, buf: CData, nbytes: int, offset: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_read_fixed(struct io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, __u64 offset, int
    buf_index)`"""

def io_uring_prep_read_multishot(
    sqe: struct_io_uring_sqe, fd: int, nbytes: int, offset: int, buf_group: int, /
) -> None:
    """`void io_uring_prep_read_multishot(struct io_uring_sqe *sqe, int fd, unsigned nbytes, __u64 offset, int
    buf_group)`"""

def io_uring_prep_readv(sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, /) -> None:
    """`void io_uring_prep_readv(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64
    offset)`"""

def io_uring_prep_readv2(
    sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, flags: int, /
) -> None:
    """`void io_uring_prep_readv2(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64
    offset, int flags)`"""

def io_uring_prep_readv_fixed(
    sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, flags: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_readv_fixed(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs,
    __u64 offset, int flags, int buf_index)`"""

def io_uring_prep_recv(sqe: struct_io_uring_sqe, sockfd: int, buf: CData, len: int, flags: int, /) -> None:
    """`void io_uring_prep_recv(struct io_uring_sqe *sqe, int sockfd, void *buf, size_t len, int flags)`"""

def io_uring_prep_recv_multishot(sqe: struct_io_uring_sqe, sockfd: int, buf: CData, len: int, flags: int, /) -> None:
    """`void io_uring_prep_recv_multishot(struct io_uring_sqe *sqe, int sockfd, void *buf, size_t len, int flags)`"""

def io_uring_prep_recvmsg(sqe: struct_io_uring_sqe, fd: int, msg: struct_msghdr, flags: int, /) -> None:
    """`void io_uring_prep_recvmsg(struct io_uring_sqe *sqe, int fd, struct msghdr *msg, unsigned flags)`"""

def io_uring_prep_recvmsg_multishot(sqe: struct_io_uring_sqe, fd: int, msg: struct_msghdr, flags: int, /) -> None:
    """`void io_uring_prep_recvmsg_multishot(struct io_uring_sqe *sqe, int fd, struct msghdr *msg, unsigned flags)`"""

def io_uring_prep_remove_buffers(sqe: struct_io_uring_sqe, nr: int, bgid: int, /) -> None:
    """`void io_uring_prep_remove_buffers(struct io_uring_sqe *sqe, int nr, int bgid)`"""

def io_uring_prep_rename(
    sqe: struct_io_uring_sqe, oldpath: bytes | Pointer[bytes], newpath: bytes | Pointer[bytes], /
) -> None:
    """`void io_uring_prep_rename(struct io_uring_sqe *sqe, const char *oldpath, const char *newpath)`"""

def io_uring_prep_renameat(
    sqe: struct_io_uring_sqe,
    olddfd: int,
    oldpath: bytes | Pointer[bytes],
    newdfd: int,
    newpath: bytes | Pointer[bytes],
    flags: int,
    /,
) -> None:
    """`void io_uring_prep_renameat(struct io_uring_sqe *sqe, int olddfd, const char *oldpath, int newdfd, const char
    *newpath, unsigned int flags)`"""

def io_uring_prep_rw(op: int, sqe: struct_io_uring_sqe, fd: int, addr: bytes | CData, len: int, offset: int, /) -> None:
    """`void io_uring_prep_rw(int op, struct io_uring_sqe *sqe, int fd, const void *addr, unsigned len, __u64
    offset)`"""

def io_uring_prep_send(sqe: struct_io_uring_sqe, sockfd: int, buf: bytes | CData, len: int, flags: int, /) -> None:
    """`void io_uring_prep_send(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags)`"""

def io_uring_prep_send_bundle(sqe: struct_io_uring_sqe, sockfd: int, len: int, flags: int, /) -> None:
    """`void io_uring_prep_send_bundle(struct io_uring_sqe *sqe, int sockfd, size_t len, int flags)`"""

def io_uring_prep_send_set_addr(sqe: struct_io_uring_sqe, dest_addr: struct_sockaddr, addr_len: int, /) -> None:
    """`void io_uring_prep_send_set_addr(struct io_uring_sqe *sqe, const struct sockaddr *dest_addr, __u16 addr_len)`"""

def io_uring_prep_send_zc(
    sqe: struct_io_uring_sqe, sockfd: int, buf: bytes | CData, len: int, flags: int, zc_flags: int, /
) -> None:
    """`void io_uring_prep_send_zc(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags,
    unsigned zc_flags)`"""

def io_uring_prep_send_zc_fixed(
    sqe: struct_io_uring_sqe, sockfd: int, buf: bytes | CData, len: int, flags: int, zc_flags: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_send_zc_fixed(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags,
    unsigned zc_flags, unsigned buf_index)`"""

def io_uring_prep_sendmsg(sqe: struct_io_uring_sqe, fd: int, msg: struct_msghdr, flags: int, /) -> None:
    """`void io_uring_prep_sendmsg(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags)`"""

def io_uring_prep_sendmsg_zc(sqe: struct_io_uring_sqe, fd: int, msg: struct_msghdr, flags: int, /) -> None:
    """`void io_uring_prep_sendmsg_zc(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags)`"""

def io_uring_prep_sendmsg_zc_fixed(
    sqe: struct_io_uring_sqe, fd: int, msg: struct_msghdr, flags: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_sendmsg_zc_fixed(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags,
    unsigned buf_index)`"""

def io_uring_prep_sendto(
    sqe: struct_io_uring_sqe,
    sockfd: int,
    buf: bytes | CData,
    len: int,
    flags: int,
    addr: struct_sockaddr,
    addrlen: int,
    /,
) -> None:
    """`void io_uring_prep_sendto(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags, const
    struct sockaddr *addr, socklen_t addrlen)`"""

def io_uring_prep_setxattr(
    sqe: struct_io_uring_sqe,
    name: bytes | Pointer[bytes],
    value: bytes | Pointer[bytes],
    path: bytes | Pointer[bytes],
    flags: int,
    len: int,
    /,
) -> None:
    """`void io_uring_prep_setxattr(struct io_uring_sqe *sqe, const char *name, const char *value, const char *path, int
    flags, unsigned int len)`"""

def io_uring_prep_shutdown(sqe: struct_io_uring_sqe, fd: int, how: int, /) -> None:
    """`void io_uring_prep_shutdown(struct io_uring_sqe *sqe, int fd, int how)`"""

def io_uring_prep_socket(sqe: struct_io_uring_sqe, domain: int, type: int, protocol: int, flags: int, /) -> None:
    """`void io_uring_prep_socket(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned int flags)`"""

def io_uring_prep_socket_direct(
    sqe: struct_io_uring_sqe, domain: int, type: int, protocol: int, file_index: int, flags: int, /
) -> None:
    """`void io_uring_prep_socket_direct(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned
    file_index, unsigned int flags)`"""

def io_uring_prep_socket_direct_alloc(
    sqe: struct_io_uring_sqe, domain: int, type: int, protocol: int, flags: int, /
) -> None:
    """`void io_uring_prep_socket_direct_alloc(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned
    int flags)`"""

def io_uring_prep_splice(
    sqe: struct_io_uring_sqe, fd_in: int, off_in: int, fd_out: int, off_out: int, nbytes: int, splice_flags: int, /
) -> None:
    """`void io_uring_prep_splice(struct io_uring_sqe *sqe, int fd_in, int64_t off_in, int fd_out, int64_t off_out,
    unsigned int nbytes, unsigned int splice_flags)`"""

def io_uring_prep_statx(
    sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], flags: int, mask: int, statxbuf: struct_statx, /
) -> None:
    """`void io_uring_prep_statx(struct io_uring_sqe *sqe, int dfd, const char *path, int flags, unsigned mask, struct
    statx *statxbuf)`"""

def io_uring_prep_symlink(
    sqe: struct_io_uring_sqe, target: bytes | Pointer[bytes], linkpath: bytes | Pointer[bytes], /
) -> None:
    """`void io_uring_prep_symlink(struct io_uring_sqe *sqe, const char *target, const char *linkpath)`"""

def io_uring_prep_symlinkat(
    sqe: struct_io_uring_sqe, target: bytes | Pointer[bytes], newdirfd: int, linkpath: bytes | Pointer[bytes], /
) -> None:
    """`void io_uring_prep_symlinkat(struct io_uring_sqe *sqe, const char *target, int newdirfd, const char
    *linkpath)`"""

def io_uring_prep_sync_file_range(sqe: struct_io_uring_sqe, fd: int, len: int, offset: int, flags: int, /) -> None:
    """`void io_uring_prep_sync_file_range(struct io_uring_sqe *sqe, int fd, unsigned len, __u64 offset, int flags)`"""

def io_uring_prep_tee(sqe: struct_io_uring_sqe, fd_in: int, fd_out: int, nbytes: int, splice_flags: int, /) -> None:
    """`void io_uring_prep_tee(struct io_uring_sqe *sqe, int fd_in, int fd_out, unsigned int nbytes, unsigned int
    splice_flags)`"""

def io_uring_prep_timeout(sqe: struct_io_uring_sqe, ts: struct___kernel_timespec, count: int, flags: int, /) -> None:
    """`void io_uring_prep_timeout(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, unsigned count,
    unsigned flags)`"""

def io_uring_prep_timeout_remove(sqe: struct_io_uring_sqe, user_data: int, flags: int, /) -> None:
    """`void io_uring_prep_timeout_remove(struct io_uring_sqe *sqe, __u64 user_data, unsigned flags)`"""

def io_uring_prep_timeout_update(
    sqe: struct_io_uring_sqe, ts: struct___kernel_timespec, user_data: int, flags: int, /
) -> None:
    """`void io_uring_prep_timeout_update(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, __u64 user_data,
    unsigned flags)`"""

def io_uring_prep_unlink(sqe: struct_io_uring_sqe, path: bytes | Pointer[bytes], flags: int, /) -> None:
    """`void io_uring_prep_unlink(struct io_uring_sqe *sqe, const char *path, int flags)`"""

def io_uring_prep_unlinkat(sqe: struct_io_uring_sqe, dfd: int, path: bytes | Pointer[bytes], flags: int, /) -> None:
    """`void io_uring_prep_unlinkat(struct io_uring_sqe *sqe, int dfd, const char *path, int flags)`"""

def io_uring_prep_uring_cmd(sqe: struct_io_uring_sqe, cmd_op: int, fd: int, /) -> None:
    """`void io_uring_prep_uring_cmd(struct io_uring_sqe *sqe, int cmd_op, int fd)`"""

def io_uring_prep_uring_cmd128(sqe: struct_io_uring_sqe, cmd_op: int, fd: int, /) -> None:
    """`void io_uring_prep_uring_cmd128(struct io_uring_sqe *sqe, int cmd_op, int fd)`"""

def io_uring_prep_waitid(
    sqe: struct_io_uring_sqe, idtype: int, id: int, infop: struct_siginfo_t, options: int, flags: int, /
) -> None:
    """`void io_uring_prep_waitid(struct io_uring_sqe *sqe, idtype_t idtype, id_t id, siginfo_t *infop, int options,
    unsigned int flags)`"""

def io_uring_prep_write(sqe: struct_io_uring_sqe, fd: int, buf: bytes | CData, nbytes: int, offset: int, /) -> None:
    """`void io_uring_prep_write(struct io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, __u64 offset)`"""

def io_uring_prep_write_fixed(
    sqe: struct_io_uring_sqe, fd: int, buf: bytes | CData, nbytes: int, offset: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_write_fixed(struct io_uring_sqe *sqe, int fd, const void *buf, unsigned nbytes, __u64 offset,
    int buf_index)`"""

def io_uring_prep_writev(sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, /) -> None:
    """`void io_uring_prep_writev(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64
    offset)`"""

def io_uring_prep_writev2(
    sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, flags: int, /
) -> None:
    """`void io_uring_prep_writev2(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs, __u64
    offset, int flags)`"""

def io_uring_prep_writev_fixed(
    sqe: struct_io_uring_sqe, fd: int, iovecs: struct_iovec, nr_vecs: int, offset: int, flags: int, buf_index: int, /
) -> None:
    """`void io_uring_prep_writev_fixed(struct io_uring_sqe *sqe, int fd, const struct iovec *iovecs, unsigned nr_vecs,
    __u64 offset, int flags, int buf_index)`"""

def io_uring_probe(
    count: int | None = None,
    /,
    *,
    last_op: int = ...,
    ops_len: int = ...,
    resv: int = ...,
    resv2: Pointer[int] | list[Any] = ...,
    ops: struct_io_uring_probe_op | list[Any] | int = ...,
) -> struct_io_uring_probe:
    """`struct io_uring_probe` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_probe_op(
    count: int | None = None, /, *, op: int = ..., resv: int = ..., flags: int = ..., resv2: int = ...
) -> struct_io_uring_probe_op:
    """`struct io_uring_probe_op` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_query_hdr(
    count: int | None = None,
    /,
    *,
    next_entry: int | CData = ...,
    query_data: int | CData = ...,
    query_op: int = ...,
    size: int = ...,
    result: int = ...,
    __resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_query_hdr:
    """`struct io_uring_query_hdr` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_query_opcode(
    count: int | None = None,
    /,
    *,
    nr_request_opcodes: int = ...,
    nr_register_opcodes: int = ...,
    feature_flags: int | CData = ...,
    ring_setup_flags: int | CData = ...,
    enter_flags: int | CData = ...,
    sqe_flags: int | CData = ...,
    nr_query_opcodes: int = ...,
    __pad: int = ...,
) -> struct_io_uring_query_opcode:
    """`struct io_uring_query_opcode` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_query_scq(
    count: int | None = None, /, *, hdr_size: int | CData = ..., hdr_alignment: int | CData = ...
) -> struct_io_uring_query_scq:
    """`struct io_uring_query_scq` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_query_zcrx(
    count: int | None = None,
    /,
    *,
    register_flags: int | CData = ...,
    area_flags: int | CData = ...,
    nr_ctrl_opcodes: int = ...,
    features: int = ...,
    rq_hdr_size: int = ...,
    rq_hdr_alignment: int = ...,
    __resv2: int | CData = ...,
) -> struct_io_uring_query_zcrx:
    """`struct io_uring_query_zcrx` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_queue_exit(ring: struct_io_uring, /) -> None:
    """`void io_uring_queue_exit(struct io_uring *ring)`"""

def io_uring_queue_init(entries: int, ring: struct_io_uring, flags: int, /) -> int:
    """`int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)`"""

def io_uring_queue_init_mem(
    entries: int, ring: struct_io_uring, p: struct_io_uring_params, buf: CData, buf_size: int, /
) -> int:
    """`int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *p, void *buf,
    size_t buf_size)`"""

def io_uring_queue_init_params(entries: int, ring: struct_io_uring, p: struct_io_uring_params, /) -> int:
    """`int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)`"""

def io_uring_queue_mmap(fd: int, p: struct_io_uring_params, ring: struct_io_uring, /) -> int:
    """`int io_uring_queue_mmap(int fd, struct io_uring_params *p, struct io_uring *ring)`"""

def io_uring_recvmsg_cmsg_firsthdr(o: struct_io_uring_recvmsg_out, msgh: struct_msghdr, /) -> struct_cmsghdr:
    """`struct cmsghdr * io_uring_recvmsg_cmsg_firsthdr(struct io_uring_recvmsg_out *o, struct msghdr *msgh)`"""

def io_uring_recvmsg_cmsg_nexthdr(
    o: struct_io_uring_recvmsg_out, msgh: struct_msghdr, cmsg: struct_cmsghdr, /
) -> struct_cmsghdr:
    """`struct cmsghdr * io_uring_recvmsg_cmsg_nexthdr(struct io_uring_recvmsg_out *o, struct msghdr *msgh, struct
    cmsghdr *cmsg)`"""

def io_uring_recvmsg_name(o: struct_io_uring_recvmsg_out, /) -> CData:
    """`void *io_uring_recvmsg_name(struct io_uring_recvmsg_out *o)`"""

def io_uring_recvmsg_out(
    count: int | None = None, /, *, namelen: int = ..., controllen: int = ..., payloadlen: int = ..., flags: int = ...
) -> struct_io_uring_recvmsg_out:
    """`struct io_uring_recvmsg_out` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_recvmsg_payload(o: struct_io_uring_recvmsg_out, msgh: struct_msghdr, /) -> CData:
    """`void *io_uring_recvmsg_payload(struct io_uring_recvmsg_out *o, struct msghdr *msgh)`"""

def io_uring_recvmsg_payload_length(o: struct_io_uring_recvmsg_out, buf_len: int, msgh: struct_msghdr, /) -> int:
    """`unsigned int io_uring_recvmsg_payload_length(struct io_uring_recvmsg_out *o, int buf_len, struct msghdr
    *msgh)`"""

def io_uring_recvmsg_validate(buf: CData, buf_len: int, msgh: struct_msghdr, /) -> struct_io_uring_recvmsg_out:
    """`struct io_uring_recvmsg_out * io_uring_recvmsg_validate(void *buf, int buf_len, struct msghdr *msgh)`"""

def io_uring_reg_wait(
    count: int | None = None,
    /,
    *,
    ts: struct___kernel_timespec | dict[str, Any] = ...,
    min_wait_usec: int = ...,
    flags: int = ...,
    sigmask: int | CData = ...,
    sigmask_sz: int = ...,
    pad: Pointer[int] | list[Any] = ...,
    pad2: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_reg_wait:
    """`struct io_uring_reg_wait` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_region_desc(
    count: int | None = None,
    /,
    *,
    user_addr: int | CData = ...,
    size: int | CData = ...,
    flags: int = ...,
    id: int = ...,
    mmap_offset: int | CData = ...,
    __resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_region_desc:
    """`struct io_uring_region_desc` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_register(fd: int, opcode: int, arg: bytes | CData, nr_args: int, /) -> int:
    """`int io_uring_register(unsigned int fd, unsigned int opcode, const void *arg, unsigned int nr_args)`"""

def io_uring_register_bpf_filter(ring: struct_io_uring, bpf: struct_io_uring_bpf, /) -> int:
    """`int io_uring_register_bpf_filter(struct io_uring *ring, struct io_uring_bpf *bpf)`"""

def io_uring_register_bpf_filter_task(bpf: struct_io_uring_bpf, /) -> int:
    """`int io_uring_register_bpf_filter_task(struct io_uring_bpf *bpf)`"""

def io_uring_register_buf_ring(ring: struct_io_uring, reg: struct_io_uring_buf_reg, flags: int, /) -> int:
    """`int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned int flags)`"""

def io_uring_register_buffers(ring: struct_io_uring, iovecs: struct_iovec, nr_iovecs: int, /) -> int:
    """`int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iovecs, unsigned nr_iovecs)`"""

def io_uring_register_buffers_sparse(ring: struct_io_uring, nr: int, /) -> int:
    """`int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr)`"""

def io_uring_register_buffers_tags(
    ring: struct_io_uring, iovecs: struct_iovec, tags: list[int] | Pointer[int], nr: int, /
) -> int:
    """`int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iovecs, const __u64 *tags,
    unsigned nr)`"""

def io_uring_register_buffers_update_tag(
    ring: struct_io_uring, off: int, iovecs: struct_iovec, tags: list[int] | Pointer[int], nr: int, /
) -> int:
    """`int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off, const struct iovec *iovecs, const
    __u64 *tags, unsigned nr)`"""

def io_uring_register_clock(ring: struct_io_uring, arg: struct_io_uring_clock_register, /) -> int:
    """`int io_uring_register_clock(struct io_uring *ring, struct io_uring_clock_register *arg)`"""

def io_uring_register_eventfd(ring: struct_io_uring, fd: int, /) -> int:
    """`int io_uring_register_eventfd(struct io_uring *ring, int fd)`"""

def io_uring_register_eventfd_async(ring: struct_io_uring, fd: int, /) -> int:
    """`int io_uring_register_eventfd_async(struct io_uring *ring, int fd)`"""

def io_uring_register_file_alloc_range(ring: struct_io_uring, off: int, len: int, /) -> int:
    """`int io_uring_register_file_alloc_range(struct io_uring *ring, unsigned off, unsigned len)`"""

def io_uring_register_files(ring: struct_io_uring, files: list[int] | Pointer[int], nr_files: int, /) -> int:
    """`int io_uring_register_files(struct io_uring *ring, const int *files, unsigned nr_files)`"""

def io_uring_register_files_sparse(ring: struct_io_uring, nr: int, /) -> int:
    """`int io_uring_register_files_sparse(struct io_uring *ring, unsigned nr)`"""

def io_uring_register_files_tags(
    ring: struct_io_uring, files: list[int] | Pointer[int], tags: list[int] | Pointer[int], nr: int, /
) -> int:
    """`int io_uring_register_files_tags(struct io_uring *ring, const int *files, const __u64 *tags, unsigned nr)`"""

def io_uring_register_files_update(
    ring: struct_io_uring, off: int, files: list[int] | Pointer[int], nr_files: int, /
) -> int:
    """`int io_uring_register_files_update(struct io_uring *ring, unsigned off, const int *files, unsigned nr_files)`"""

def io_uring_register_files_update_tag(
    ring: struct_io_uring, off: int, files: list[int] | Pointer[int], tags: list[int] | Pointer[int], nr_files: int, /
) -> int:
    """`int io_uring_register_files_update_tag(struct io_uring *ring, unsigned off, const int *files, const __u64 *tags,
    unsigned nr_files)`"""

def io_uring_register_ifq(ring: struct_io_uring, reg: struct_io_uring_zcrx_ifq_reg, /) -> int:
    """`int io_uring_register_ifq(struct io_uring *ring, struct io_uring_zcrx_ifq_reg *reg)`"""

def io_uring_register_iowq_aff(ring: struct_io_uring, cpusz: int, mask: struct_cpu_set_t, /) -> int:
    """`int io_uring_register_iowq_aff(struct io_uring *ring, size_t cpusz, const cpu_set_t *mask)`"""

def io_uring_register_iowq_max_workers(ring: struct_io_uring, values: Pointer[int], /) -> int:
    """`int io_uring_register_iowq_max_workers(struct io_uring *ring, unsigned int *values)`"""

def io_uring_register_napi(ring: struct_io_uring, napi: struct_io_uring_napi, /) -> int:
    """`int io_uring_register_napi(struct io_uring *ring, struct io_uring_napi *napi)`"""

def io_uring_register_personality(ring: struct_io_uring, /) -> int:
    """`int io_uring_register_personality(struct io_uring *ring)`"""

def io_uring_register_probe(ring: struct_io_uring, p: struct_io_uring_probe, nr: int, /) -> int:
    """`int io_uring_register_probe(struct io_uring *ring, struct io_uring_probe *p, unsigned nr)`"""

def io_uring_register_query(query: struct_io_uring_query_hdr, /) -> int:
    """`int io_uring_register_query(struct io_uring_query_hdr *query)`"""

def io_uring_register_region(ring: struct_io_uring, reg: struct_io_uring_mem_region_reg, /) -> int:
    """`int io_uring_register_region(struct io_uring *ring, struct io_uring_mem_region_reg *reg)`"""

def io_uring_register_restrictions(ring: struct_io_uring, res: struct_io_uring_restriction, nr_res: int, /) -> int:
    """`int io_uring_register_restrictions(struct io_uring *ring, struct io_uring_restriction *res, unsigned int
    nr_res)`"""

def io_uring_register_ring_fd(ring: struct_io_uring, /) -> int:
    """`int io_uring_register_ring_fd(struct io_uring *ring)`"""

def io_uring_register_sync_cancel(ring: struct_io_uring, reg: struct_io_uring_sync_cancel_reg, /) -> int:
    """`int io_uring_register_sync_cancel(struct io_uring *ring, struct io_uring_sync_cancel_reg *reg)`"""

def io_uring_register_sync_msg(sqe: struct_io_uring_sqe, /) -> int:
    """`int io_uring_register_sync_msg(struct io_uring_sqe *sqe)`"""

def io_uring_register_wait_reg(ring: struct_io_uring, reg: struct_io_uring_reg_wait, nr: int, /) -> int:
    """`int io_uring_register_wait_reg(struct io_uring *ring, struct io_uring_reg_wait *reg, int nr)`"""

def io_uring_register_zcrx_ctrl(ring: struct_io_uring, ctrl: struct_zcrx_ctrl, /) -> int:
    """`int io_uring_register_zcrx_ctrl(struct io_uring *ring, struct zcrx_ctrl *ctrl)`"""

def io_uring_resize_rings(ring: struct_io_uring, p: struct_io_uring_params, /) -> int:
    """`int io_uring_resize_rings(struct io_uring *ring, struct io_uring_params *p)`"""

def io_uring_restriction(
    count: int | None = None,
    /,
    *,
    opcode: int = ...,
    register_op: int = ...,
    sqe_op: int = ...,
    sqe_flags: int = ...,
    resv: int = ...,
    resv2: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_restriction:
    """`struct io_uring_restriction` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_ring_dontfork(ring: struct_io_uring, /) -> int:
    """`int io_uring_ring_dontfork(struct io_uring *ring)`"""

def io_uring_rsrc_register(
    count: int | None = None,
    /,
    *,
    nr: int = ...,
    flags: int = ...,
    resv2: int | CData = ...,
    data: int | CData = ...,
    tags: int | CData = ...,
) -> struct_io_uring_rsrc_register:
    """`struct io_uring_rsrc_register` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_rsrc_update(
    count: int | None = None, /, *, offset: int = ..., resv: int = ..., data: int | CData = ...
) -> struct_io_uring_rsrc_update:
    """`struct io_uring_rsrc_update` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_rsrc_update2(
    count: int | None = None,
    /,
    *,
    offset: int = ...,
    resv: int = ...,
    data: int | CData = ...,
    tags: int | CData = ...,
    nr: int = ...,
    resv2: int = ...,
) -> struct_io_uring_rsrc_update2:
    """`struct io_uring_rsrc_update2` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_set_iowait(ring: struct_io_uring, enable_iowait: bool, /) -> int:
    """`int io_uring_set_iowait(struct io_uring *ring, _Bool enable_iowait)`"""

def io_uring_setup(entries: int, p: struct_io_uring_params, /) -> int:
    """`int io_uring_setup(unsigned int entries, struct io_uring_params *p)`"""

def io_uring_setup_buf_ring(
    ring: struct_io_uring, nentries: int, bgid: int, flags: int, err: Pointer[int], /
) -> struct_io_uring_buf_ring:
    """`struct io_uring_buf_ring *io_uring_setup_buf_ring(struct io_uring *ring, unsigned int nentries, int bgid,
    unsigned int flags, int *err)`"""

def io_uring_sq(
    count: int | None = None,
    /,
    *,
    khead: Pointer[int] = ...,
    ktail: Pointer[int] = ...,
    kring_mask: Pointer[int] = ...,
    kring_entries: Pointer[int] = ...,
    kflags: Pointer[int] = ...,
    kdropped: Pointer[int] = ...,
    array: Pointer[int] = ...,
    sqes: struct_io_uring_sqe = ...,
    sqe_head: int = ...,
    sqe_tail: int = ...,
    ring_sz: int = ...,
    ring_ptr: CData = ...,
    ring_mask: int = ...,
    ring_entries: int = ...,
    sqes_sz: int = ...,
    pad: int = ...,
) -> struct_io_uring_sq:
    """`struct io_uring_sq` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_sq_ready(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_sq_ready(const struct io_uring *ring)`"""

def io_uring_sq_space_left(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_sq_space_left(const struct io_uring *ring)`"""

def io_uring_sqe(
    count: int | None = None,
    /,
    *,
    opcode: int = ...,
    flags: int = ...,
    ioprio: int = ...,
    fd: int = ...,
    off: int | CData = ...,
    addr2: int | CData = ...,
    cmd_op: int = ...,
    __pad1: int = ...,
    addr: int | CData = ...,
    splice_off_in: int | CData = ...,
    level: int = ...,
    optname: int = ...,
    len: int = ...,
    rw_flags: int = ...,
    fsync_flags: int = ...,
    poll_events: int = ...,
    poll32_events: int = ...,
    sync_range_flags: int = ...,
    msg_flags: int = ...,
    timeout_flags: int = ...,
    accept_flags: int = ...,
    cancel_flags: int = ...,
    open_flags: int = ...,
    statx_flags: int = ...,
    fadvise_advice: int = ...,
    splice_flags: int = ...,
    rename_flags: int = ...,
    unlink_flags: int = ...,
    hardlink_flags: int = ...,
    xattr_flags: int = ...,
    msg_ring_flags: int = ...,
    uring_cmd_flags: int = ...,
    waitid_flags: int = ...,
    futex_flags: int = ...,
    install_fd_flags: int = ...,
    nop_flags: int = ...,
    pipe_flags: int = ...,
    user_data: int | CData = ...,
    buf_index: int = ...,
    buf_group: int = ...,
    personality: int = ...,
    splice_fd_in: int = ...,
    file_index: int = ...,
    zcrx_ifq_idx: int = ...,
    optlen: int = ...,
    addr_len: int = ...,
    __pad3: Pointer[int] | list[Any] = ...,
    addr3: int | CData = ...,
    __pad2: Pointer[int] | list[Any] = ...,
    attr_ptr: int | CData = ...,
    attr_type_mask: int | CData = ...,
    optval: int | CData = ...,
    cmd: bytes | Pointer[int] | list[Any] = ...,
) -> struct_io_uring_sqe:
    """`struct io_uring_sqe` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_sqe_set_buf_group(sqe: struct_io_uring_sqe, bgid: int, /) -> None:
    """`void io_uring_sqe_set_buf_group(struct io_uring_sqe *sqe, int bgid)`"""

def io_uring_sqe_set_data(sqe: struct_io_uring_sqe, data: CData, /) -> None:
    """`void io_uring_sqe_set_data(struct io_uring_sqe *sqe, void *data)`"""

def io_uring_sqe_set_data64(sqe: struct_io_uring_sqe, data: int, /) -> None:
    """`void io_uring_sqe_set_data64(struct io_uring_sqe *sqe, __u64 data)`"""

def io_uring_sqe_set_flags(sqe: struct_io_uring_sqe, flags: int, /) -> None:
    """`void io_uring_sqe_set_flags(struct io_uring_sqe *sqe, unsigned flags)`"""

def io_uring_sqe_shift(ring: struct_io_uring, /) -> int:
    """`unsigned io_uring_sqe_shift(const struct io_uring *ring)`"""

def io_uring_sqe_shift_from_flags(flags: int, /) -> int:
    """`unsigned io_uring_sqe_shift_from_flags(unsigned flags)`"""

def io_uring_sqring_wait(ring: struct_io_uring, /) -> int:
    """`int io_uring_sqring_wait(struct io_uring *ring)`"""

def io_uring_submit(ring: struct_io_uring, /) -> int:
    """`int io_uring_submit(struct io_uring *ring)`"""

def io_uring_submit_and_get_events(ring: struct_io_uring, /) -> int:
    """`int io_uring_submit_and_get_events(struct io_uring *ring)`"""

def io_uring_submit_and_wait(ring: struct_io_uring, wait_nr: int, /) -> int:
    """`int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)`"""

def io_uring_submit_and_wait_min_timeout(
    ring: struct_io_uring,
    cqe_ptr: Pointer[struct_io_uring_cqe],
    wait_nr: int,
    ts: struct___kernel_timespec,
    min_wait: int,
    sigmask: struct_sigset_t,
    /,
) -> int:
    """`int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr,
    struct __kernel_timespec *ts, unsigned min_wait, sigset_t *sigmask)`"""

def io_uring_submit_and_wait_reg(
    ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], wait_nr: int, reg_index: int, /
) -> int:
    """`int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, int
    reg_index)`"""

def io_uring_submit_and_wait_timeout(
    ring: struct_io_uring,
    cqe_ptr: Pointer[struct_io_uring_cqe],
    wait_nr: int,
    ts: struct___kernel_timespec,
    sigmask: struct_sigset_t,
    /,
) -> int:
    """`int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr,
    struct __kernel_timespec *ts, sigset_t *sigmask)`"""

def io_uring_sync_cancel_reg(
    count: int | None = None,
    /,
    *,
    addr: int | CData = ...,
    fd: int = ...,
    flags: int = ...,
    timeout: struct___kernel_timespec | dict[str, Any] = ...,
    opcode: int = ...,
    pad: bytes | Pointer[int] | list[Any] = ...,
    pad2: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_sync_cancel_reg:
    """`struct io_uring_sync_cancel_reg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_task_restriction(
    count: int | None = None,
    /,
    *,
    flags: int = ...,
    nr_res: int = ...,
    resv: Pointer[int] | list[Any] = ...,
    restrictions: struct_io_uring_restriction | list[Any] = ...,
) -> struct_io_uring_task_restriction:
    """`struct io_uring_task_restriction` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_unregister_buf_ring(ring: struct_io_uring, bgid: int, /) -> int:
    """`int io_uring_unregister_buf_ring(struct io_uring *ring, int bgid)`"""

def io_uring_unregister_buffers(ring: struct_io_uring, /) -> int:
    """`int io_uring_unregister_buffers(struct io_uring *ring)`"""

def io_uring_unregister_eventfd(ring: struct_io_uring, /) -> int:
    """`int io_uring_unregister_eventfd(struct io_uring *ring)`"""

def io_uring_unregister_files(ring: struct_io_uring, /) -> int:
    """`int io_uring_unregister_files(struct io_uring *ring)`"""

def io_uring_unregister_iowq_aff(ring: struct_io_uring, /) -> int:
    """`int io_uring_unregister_iowq_aff(struct io_uring *ring)`"""

def io_uring_unregister_napi(ring: struct_io_uring, napi: struct_io_uring_napi, /) -> int:
    """`int io_uring_unregister_napi(struct io_uring *ring, struct io_uring_napi *napi)`"""

def io_uring_unregister_personality(ring: struct_io_uring, id: int, /) -> int:
    """`int io_uring_unregister_personality(struct io_uring *ring, int id)`"""

def io_uring_unregister_ring_fd(ring: struct_io_uring, /) -> int:
    """`int io_uring_unregister_ring_fd(struct io_uring *ring)`"""

def io_uring_wait_cqe(ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], /) -> int:
    """`int io_uring_wait_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr)`"""

def io_uring_wait_cqe_nr(ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], wait_nr: int, /) -> int:
    """`int io_uring_wait_cqe_nr(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr)`"""

def io_uring_wait_cqe_timeout(
    ring: struct_io_uring, cqe_ptr: Pointer[struct_io_uring_cqe], ts: struct___kernel_timespec, /
) -> int:
    """`int io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, struct __kernel_timespec
    *ts)`"""

def io_uring_wait_cqes(
    ring: struct_io_uring,
    cqe_ptr: Pointer[struct_io_uring_cqe],
    wait_nr: int,
    ts: struct___kernel_timespec,
    sigmask: struct_sigset_t,
    /,
) -> int:
    """`int io_uring_wait_cqes(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct
    __kernel_timespec *ts, sigset_t *sigmask)`"""

def io_uring_wait_cqes_min_timeout(
    ring: struct_io_uring,
    cqe_ptr: Pointer[struct_io_uring_cqe],
    wait_nr: int,
    ts: struct___kernel_timespec,
    min_ts_usec: int,
    sigmask: struct_sigset_t,
    /,
) -> int:
    """`int io_uring_wait_cqes_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr,
    struct __kernel_timespec *ts, unsigned int min_ts_usec, sigset_t *sigmask)`"""

def io_uring_zcrx_area_reg(
    count: int | None = None,
    /,
    *,
    addr: int | CData = ...,
    len: int | CData = ...,
    rq_area_token: int | CData = ...,
    flags: int = ...,
    dmabuf_fd: int = ...,
    __resv2: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_zcrx_area_reg:
    """`struct io_uring_zcrx_area_reg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_zcrx_cqe(
    count: int | None = None, /, *, off: int | CData = ..., __pad: int | CData = ...
) -> struct_io_uring_zcrx_cqe:
    """`struct io_uring_zcrx_cqe` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_zcrx_ifq_reg(
    count: int | None = None,
    /,
    *,
    if_idx: int = ...,
    if_rxq: int = ...,
    rq_entries: int = ...,
    flags: int = ...,
    area_ptr: int | CData = ...,
    region_ptr: int | CData = ...,
    offsets: struct_io_uring_zcrx_offsets | dict[str, Any] = ...,
    zcrx_id: int = ...,
    rx_buf_len: int = ...,
    __resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_zcrx_ifq_reg:
    """`struct io_uring_zcrx_ifq_reg` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_zcrx_offsets(
    count: int | None = None,
    /,
    *,
    head: int = ...,
    tail: int = ...,
    rqes: int = ...,
    __resv2: int = ...,
    __resv: Pointer[int] | list[Any] = ...,
) -> struct_io_uring_zcrx_offsets:
    """`struct io_uring_zcrx_offsets` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_zcrx_rq(
    count: int | None = None,
    /,
    *,
    khead: Pointer[int] = ...,
    ktail: Pointer[int] = ...,
    rq_tail: int = ...,
    ring_entries: int = ...,
    rqes: struct_io_uring_zcrx_rqe = ...,
    ring_ptr: CData = ...,
) -> struct_io_uring_zcrx_rq:
    """`struct io_uring_zcrx_rq` with these fields, all others 0; or an array of `count` zeroed ones."""

def io_uring_zcrx_rqe(
    count: int | None = None, /, *, off: int | CData = ..., len: int = ..., __pad: int = ...
) -> struct_io_uring_zcrx_rqe:
    """`struct io_uring_zcrx_rqe` with these fields, all others 0; or an array of `count` zeroed ones."""

def iovec(*buffers: Buffer | CData | tuple[CData, int]) -> struct_iovec: ...
def msghdr(
    *,
    msg_name: Buffer | CData | None = None,
    msg_iov: struct_iovec | None = None,
    msg_control: Buffer | CData | None = None,
    msg_flags: int = 0,
    **lengths: int,
) -> struct_msghdr: ...
def open_how(flags: int = 0, mode: int = 0, resolve: int = 0) -> struct_open_how: ...
def sigaddset(set: struct_sigset_t, signum: int, /) -> int:
    """`int sigaddset(sigset_t *set, int signum)`"""

def sigemptyset(set: struct_sigset_t, /) -> int:
    """`int sigemptyset(sigset_t *set)`"""

def siginfo_t(
    count: int | None = None,
    /,
    *,
    si_signo: int = ...,
    si_errno: int = ...,
    si_code: int = ...,
    si_pid: int = ...,
    si_uid: int = ...,
    si_status: int = ...,
) -> struct_siginfo_t:
    """`siginfo_t` with these fields, all others 0; or an array of `count` zeroed ones."""

def sigset_t(*signals: int) -> struct_sigset_t: ...
def sock_filter(
    count: int | None = None, /, *, code: int = ..., jt: int = ..., jf: int = ..., k: int = ...
) -> struct_sock_filter:
    """`struct sock_filter` with these fields, all others 0; or an array of `count` zeroed ones."""

def sockaddr(
    count: int | None = None, /, *, sa_family: int = ..., sa_data: bytes | Pointer[bytes] | list[Any] = ...
) -> struct_sockaddr:
    """`struct sockaddr` with these fields, all others 0; or an array of `count` zeroed ones."""

def sockaddr_in(
    count: int | None = None,
    /,
    *,
    sin_family: int = ...,
    sin_port: int = ...,
    sin_addr: struct_in_addr | dict[str, Any] = ...,
) -> struct_sockaddr_in:
    """`struct sockaddr_in` with these fields, all others 0; or an array of `count` zeroed ones."""

def sockaddr_in6(
    count: int | None = None,
    /,
    *,
    sin6_family: int = ...,
    sin6_port: int = ...,
    sin6_flowinfo: int = ...,
    sin6_addr: struct_in6_addr | dict[str, Any] = ...,
    sin6_scope_id: int = ...,
) -> struct_sockaddr_in6:
    """`struct sockaddr_in6` with these fields, all others 0; or an array of `count` zeroed ones."""

def sockaddr_storage(count: int | None = None, /, *, ss_family: int = ...) -> struct_sockaddr_storage:
    """`struct sockaddr_storage` with these fields, all others 0; or an array of `count` zeroed ones."""

def sockaddr_un(
    count: int | None = None, /, *, sun_family: int = ..., sun_path: bytes | Pointer[bytes] | list[Any] = ...
) -> struct_sockaddr_un:
    """`struct sockaddr_un` with these fields, all others 0; or an array of `count` zeroed ones."""

def statx(
    count: int | None = None,
    /,
    *,
    stx_mask: int = ...,
    stx_blksize: int = ...,
    stx_attributes: int | CData = ...,
    stx_nlink: int = ...,
    stx_uid: int = ...,
    stx_gid: int = ...,
    stx_mode: int = ...,
    stx_ino: int | CData = ...,
    stx_size: int | CData = ...,
    stx_blocks: int | CData = ...,
    stx_attributes_mask: int | CData = ...,
    stx_atime: struct_statx_timestamp | dict[str, Any] = ...,
    stx_btime: struct_statx_timestamp | dict[str, Any] = ...,
    stx_ctime: struct_statx_timestamp | dict[str, Any] = ...,
    stx_mtime: struct_statx_timestamp | dict[str, Any] = ...,
    stx_rdev_major: int = ...,
    stx_rdev_minor: int = ...,
    stx_dev_major: int = ...,
    stx_dev_minor: int = ...,
) -> struct_statx:
    """`struct statx` with these fields, all others 0; or an array of `count` zeroed ones."""

def statx_timestamp(count: int | None = None, /, *, tv_sec: int = ..., tv_nsec: int = ...) -> struct_statx_timestamp:
    """`struct statx_timestamp` with these fields, all others 0; or an array of `count` zeroed ones."""

def zcrx_ctrl(
    count: int | None = None,
    /,
    *,
    zcrx_id: int = ...,
    op: int = ...,
    __resv: Pointer[int] | list[Any] = ...,
    zc_export: struct_zcrx_ctrl_export | dict[str, Any] = ...,
    zc_flush: struct_zcrx_ctrl_flush_rq | dict[str, Any] = ...,
) -> struct_zcrx_ctrl:
    """`struct zcrx_ctrl` with these fields, all others 0; or an array of `count` zeroed ones."""

def zcrx_ctrl_export(
    count: int | None = None, /, *, zcrx_fd: int = ..., __resv1: Pointer[int] | list[Any] = ...
) -> struct_zcrx_ctrl_export:
    """`struct zcrx_ctrl_export` with these fields, all others 0; or an array of `count` zeroed ones."""

def zcrx_ctrl_flush_rq(
    count: int | None = None, /, *, __resv: Pointer[int] | list[Any] = ...
) -> struct_zcrx_ctrl_flush_rq:
    """`struct zcrx_ctrl_flush_rq` with these fields, all others 0; or an array of `count` zeroed ones."""
