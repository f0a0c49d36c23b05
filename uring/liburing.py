"""The whole of liburing under its C names.

Every function, constant and struct of liburing's public headers is an attribute of this module, called with C's
argument order and returning what C returns: a negative errno stays a number and nothing is raised by this layer. The
functions are the compiled ones (`liburing.io_uring_submit is liburing.lib.io_uring_submit`), so a call costs what a
cffi call costs. A C program translates line by line::

    from uring.liburing import *

    ring = io_uring()                                   # struct io_uring ring;
    ret = io_uring_queue_init(4, ring, 0)               # ... &ring, 0);
    sqe = io_uring_get_sqe(ring)
    io_uring_prep_nop(sqe)
    io_uring_submit(ring)
    cqe = io_uring_cqe_ptr()                            # struct io_uring_cqe *cqe;
    io_uring_wait_cqe(ring, cqe)                        # ... &cqe);
    print(cqe[0].res)
    io_uring_cqe_seen(ring, cqe[0])
    io_uring_queue_exit(ring)

What C declares on its stack is made by a constructor named after the struct: `io_uring()`, `io_uring_params()`,
`iovec(buffer, ...)`, `__kernel_timespec(sec, nsec)` and so on; see each one. They return cdata that owns its memory
and keeps alive what it was given. `ffi` and `lib` are there for anything else, such as `ffi.new("int[]", [fd])`.

The two macros of the header exist too: `io_uring_for_each_cqe(ring)` is a generator of CQE pointers that, as in C,
does not advance the queue; `IO_URING_CHECK_VERSION(major, minor)` is true when the compiled liburing is older.

What C callers must mind from Python
------------------------------------

*Lifetimes.* The kernel uses the memory that an SQE points to until the last CQE of the request, and an SQE holds an
address, not a reference. Keep a name on every buffer, iovec, path, timespec, msghdr and sockaddr until then. A
temporary is freed as soon as the call returns: `io_uring_prep_timeout(sqe, [(1, 0)], 0, 0)` and
`io_uring_prep_openat(sqe, AT_FDCWD, b"file", 0, 0)` hand the kernel memory that is gone. Write::

    ts = __kernel_timespec(1, 0)                        # alive until the CQE
    io_uring_prep_timeout(sqe, ts, 0, 0)
    path = ffi.new("char[]", b"file")
    io_uring_prep_openat(sqe, AT_FDCWD, path, 0, 0)

A `bytes` object of yours may be passed for `const void *` while it has a name; a bytearray that is registered or in
flight must not be resized (`ffi.from_buffer` prevents it while the view lives).

*Exit is not completion.* `io_uring_queue_exit` returns before requests in flight have ended, and they go on writing
into their buffers. Cancel and reap first, or keep the buffers. A second `io_uring_queue_exit` unmaps memory that may
belong to somebody else by then.

*SQEs.* `io_uring_get_sqe` returns `ffi.NULL` when the queue is full; preparing a NULL SQE is a segfault, as in C. It
does not clear `user_data`: set it, or find the previous request's there. An SQE or CQE pointer is into ring memory:
copy what you need from a CQE before `io_uring_cqe_seen`, and use neither after `io_uring_queue_exit`.

*The GIL* is released around every call, so a wait stops only its own thread, and also only that thread: two threads
that use one ring need a lock of their own, as in C. *Signals*: a wait returns -EINTR, and Python runs its handlers
between two calls, not inside one; a signal that comes just before a wait does not end it. *Fork*: a child shares the
ring, as in C.

*Names with two underscores*, such as `__kernel_timespec` and `__io_uring_get_cqe`, are mangled by Python inside a class
body, star import or not. Give them another name outside it: `timespec = __kernel_timespec`.

*NULL*: `if not sqe:` is true for a NULL pointer, as in C.

cffi's rules for arguments
--------------------------

====================  ============================================  ===================================================
parameter             accepted                                      write instead of ...
====================  ============================================  ===================================================
`T *`                 cdata `T *` or `T[]`; a list (a temporary!)   `ffi.NULL` for None; `ffi.addressof(x)` for `&x`
`void *`              any pointer cdata; bytes                      `ffi.from_buffer(b)` for bytearray, memoryview,
                                                                    mmap, array, numpy array
`const char *`        bytes; `char[]` cdata                         `os.fsencode(path)` for str
unsigned integers     0 to the maximum                              `2**64 - 1` for -1 (an offset: the file's position);
                                                                    `2**32 - 1` for ~0U
`bool`                True, False, 0, 1
`T **` (an output)    a slot: `ffi.new("T **")`, read as `slot[0]`  `io_uring_cqe_ptr()` for `&cqe`
`int *` (an output)   `ffi.new("int *")`, read as `[0]`             a list (its result would be lost)
user_data pointers    `void *`                                      `io_uring_sqe_set_data64(sqe, n)` for an integer
====================  ============================================  ===================================================

A wrong type raises TypeError and an integer out of range OverflowError, both from cffi and before C is entered.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ._native import ffi, lib

# What a struct made here points to, kept for as long as the struct lives. Keyed by the owning cdata.
_referenced: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


def _keep(owner: Any, *objects: Any) -> Any:
    if objects:
        _referenced.setdefault(owner, []).extend(objects)
    return owner


def _is_address(value: Any) -> bool:
    return isinstance(value, ffi.CData) and ffi.typeof(value).kind in ("pointer", "array", "function")


def _constructor(name: str, ctype: Any) -> Callable[..., Any]:
    """The constructor of a struct: zeroed memory, fields by their C names."""
    types = dict(ctype.fields)
    pointer, array = ffi.getctype(ctype, "*"), ffi.getctype(ctype, "[]")

    def construct(count: int | None = None, /, **fields: Any) -> Any:
        if count is not None:
            if fields:
                raise TypeError(f"{name}() takes a count or fields, not both")
            return ffi.new(array, count)
        kept = []
        for field, value in fields.items():
            if field not in types:
                raise TypeError(f"struct {name} has no field {field!r}")
            if _is_address(value):
                kept.append(value)
                # Many structs of the kernel hold an address in a __u64.
                if types[field].type.kind == "primitive":
                    fields[field] = int(ffi.cast("uintptr_t", value))
        return _keep(ffi.new(pointer, fields), *kept)

    construct.__name__ = construct.__qualname__ = name
    construct.__doc__ = (
        f"`{ctype.cname}`, zeroed, then with the given fields set: a pointer that owns it.\n\n"
        f"With a count instead, an array of that many. Pointers among the fields stay alive with the struct.\n"
        f"Fields: {', '.join(types)}."
    )
    return construct


def _structs() -> dict[str, Callable[..., Any]]:
    """A constructor for each complete struct but our own; a function of the same name has precedence."""
    made = {}
    _typedefs, names, _unions = ffi.list_types()
    for name in names:
        ctype = ffi.typeof(f"struct {name}")
        if not name.startswith("uring_") and not hasattr(lib, name) and ctype.fields is not None:
            made[name] = _constructor(name, ctype)
    made["siginfo_t"] = _constructor("siginfo_t", ffi.typeof("siginfo_t"))
    return made


_compiled = [_name for _name in dir(lib) if not _name.startswith(("uring_", "URING_"))]
_constructors = _structs()
globals().update(_constructors)
globals().update({_name: getattr(lib, _name) for _name in _compiled})


def io_uring_cqe_ptr(count: int = 1, /) -> Any:
    """`struct io_uring_cqe *cqe[count]`: the slot that wait and peek calls write a CQE pointer to.

    Pass it where C passes `&cqe`, read it as `slot[0]`. `io_uring_peek_batch_cqe` takes one with room for many.
    """
    return ffi.new("struct io_uring_cqe *[]", count)


def iovec(*buffers: Any) -> Any:
    """`struct iovec[len(buffers)]`, one entry a buffer, each kept alive.

    Args:
        buffers: objects with the buffer protocol (bytes, bytearray, memoryview, mmap, array, numpy), or cdata
            arrays, or `(pointer, length in bytes)` pairs. The kernel does not know that bytes are read-only in
            Python: give only writable memory to reads.
    """
    vector = ffi.new("struct iovec[]", len(buffers))
    for entry, buffer in zip(vector, buffers, strict=True):
        if isinstance(buffer, tuple):
            base, length = buffer
        elif isinstance(buffer, ffi.CData):
            if ffi.typeof(buffer).kind != "array":
                raise TypeError(f"how long is the memory behind {buffer!r}? Give (pointer, length in bytes)")
            base, length = buffer, ffi.sizeof(buffer)
        else:
            base = ffi.from_buffer(buffer)
            length = ffi.sizeof(base)
        entry.iov_base, entry.iov_len = base, length
        _keep(vector, base)
    return vector


def msghdr(
    *, msg_name: Any = None, msg_iov: Any = None, msg_control: Any = None, msg_flags: int = 0, **lengths: int
) -> Any:
    """`struct msghdr *` over a sockaddr, an iovec array and control data, all kept alive.

    `msg_namelen`, `msg_iovlen` and `msg_controllen` are those of the objects given unless named themselves.
    """
    header = ffi.new("struct msghdr *", {"msg_flags": msg_flags})
    for field, value, length in (
        ("msg_name", msg_name, "msg_namelen"),
        ("msg_iov", msg_iov, "msg_iovlen"),
        ("msg_control", msg_control, "msg_controllen"),
    ):
        if value is None:
            continue
        memory = value if isinstance(value, ffi.CData) else ffi.from_buffer(value)
        is_array = ffi.typeof(memory).kind == "array"
        if field == "msg_iov":
            size = len(memory) if is_array else 1
        else:
            size = ffi.sizeof(memory if is_array else memory[0])
        setattr(header, field, memory)
        setattr(header, length, lengths.pop(length, size))
        _keep(header, memory)
    for field, size in lengths.items():
        if field not in ("msg_namelen", "msg_iovlen", "msg_controllen"):
            raise TypeError(f"struct msghdr has no field {field!r}")
        setattr(header, field, size)
    return header


def __kernel_timespec(tv_sec: int = 0, tv_nsec: int = 0) -> Any:
    """`struct __kernel_timespec *` of whole seconds and nanoseconds."""
    return ffi.new("struct __kernel_timespec *", (tv_sec, tv_nsec))


def open_how(flags: int = 0, mode: int = 0, resolve: int = 0) -> Any:
    """`struct open_how *` for `io_uring_prep_openat2`: O_* flags, mode bits, RESOLVE_* flags."""
    return ffi.new("struct open_how *", {"flags": flags, "mode": mode, "resolve": resolve})


def sigset_t(*signals: int) -> Any:
    """`sigset_t *` with the given signals in it."""
    mask = ffi.new("sigset_t *")
    lib.sigemptyset(mask)
    for number in signals:
        if lib.sigaddset(mask, number):
            raise ValueError(f"{number} is not a signal")
    return mask


def cpu_set_t(*cpus: int) -> Any:
    """`cpu_set_t *` with the given CPUs in it; its size is `ffi.sizeof("cpu_set_t")`."""
    mask = ffi.new("cpu_set_t *")
    words = ffi.cast("unsigned long *", mask)
    bits = 8 * ffi.sizeof("unsigned long")
    for cpu in cpus:
        if not 0 <= cpu < 8 * ffi.sizeof("cpu_set_t"):
            raise ValueError(f"{cpu} is not a CPU that a cpu_set_t can hold")
        words[cpu // bits] |= 1 << cpu % bits
    return mask


def io_uring_buf_ring(entries: int, /) -> Any:
    """`struct io_uring_buf_ring *` over page-aligned memory for `entries` buffers, as registering it asks for.

    Unmap nothing by hand: the memory lives as long as the pointer. `io_uring_setup_buf_ring` allocates and registers
    in one call instead.
    """
    if entries < 1:
        raise ValueError(f"a buffer ring has at least one entry, not {entries}")
    memory = mmap.mmap(-1, entries * ffi.sizeof("struct io_uring_buf"))
    pointer = ffi.cast("struct io_uring_buf_ring *", ffi.from_buffer(memory))
    # A cast owns nothing; gc() makes an owner that holds the mapping until it is dropped.
    return ffi.gc(pointer, lambda _pointer, _memory=memory: None)


def io_uring_for_each_cqe(ring: Any) -> Iterator[Any]:
    """The CQEs that are ready, oldest first, as pointers; the macro of the same name.

    It does not advance the queue: call `io_uring_cq_advance(ring, n)` afterwards, with n the sum of
    `io_uring_cqe_nr(cqe)` where CQEs of two sizes can occur, else their number. The CQEs are those that were ready
    at the first step.
    """
    iterator = ffi.new("struct io_uring_cqe_iter *", lib.io_uring_cqe_iter_init(ring))
    slot = io_uring_cqe_ptr()
    while lib.io_uring_cqe_iter_next(iterator, slot):
        yield slot[0]


def IO_URING_CHECK_VERSION(major: int, minor: int) -> bool:  # noqa: N802 - the macro's own name
    """True when the compiled liburing is older than `major.minor`, as the macro has it."""
    return (major, minor) > (lib.IO_URING_VERSION_MAJOR, lib.IO_URING_VERSION_MINOR)


__all__ = [  # noqa: PLE0604 - most names are derived from the headers
    *("ffi", "lib", "io_uring_cqe_ptr", "sigset_t", "cpu_set_t", "io_uring_for_each_cqe", "IO_URING_CHECK_VERSION"),
    *_compiled,
    *_constructors,
]
