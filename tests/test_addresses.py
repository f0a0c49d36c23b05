"""Socket addresses: Python's forms and C's bytes agree with the socket module, both ways, and bad ones are refused."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uring._native import ffi
from uring.addresses import STORAGE_SIZE, decode, encode, family_of, sockaddr

IPV4, IPV6, UNIX, VSOCK = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_VSOCK
anything = settings(deadline=None, database=None)  # a busy machine is no failure
PORTS = st.integers(0, 65535)


def has_ipv6() -> bool:
    """Return whether sockets can be bound to the IPv6 loopback here."""
    try:
        with socket.socket(IPV6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# The bytes


def test_ipv4_bytes() -> None:
    """An IPv4 address is family, port and number in network order, and 16 bytes long."""
    assert encode(("1.2.3.4", 0x1234)) == struct.pack("=H", IPV4) + b"\x12\x34\x01\x02\x03\x04" + bytes(8)
    assert ffi.sizeof("struct sockaddr_in") == 16


def test_ipv6_bytes() -> None:
    """An IPv6 address has flow label in network order and scope in the machine's, and is 28 bytes long."""
    number = bytes(range(16))
    host = socket.inet_ntop(IPV6, number)
    expected = struct.pack("=H", IPV6) + b"\x12\x34\x00\x01\x23\x45" + number + struct.pack("=I", 7)
    assert encode((host, 0x1234, 0x12345, 7)) == expected
    assert len(expected) == ffi.sizeof("struct sockaddr_in6") == 28


def test_unix_bytes() -> None:
    """A path ends with a null byte, an abstract name does not, and no name is the family alone."""
    family = struct.pack("=H", UNIX)
    assert encode("/tmp/ä") == encode(b"/tmp/\xc3\xa4") == family + b"/tmp/\xc3\xa4\0"
    assert encode(b"\0abstract") == encode("\0abstract") == family + b"\0abstract"
    assert encode("") == family


def test_vsock_bytes() -> None:
    """A VSOCK address is two reserved bytes, port and cid in the machine's order, and 16 bytes long."""
    assert encode((socket.VMADDR_CID_HOST, 0x12345678)) == struct.pack("=HHIIB3x", VSOCK, 0, 0x12345678, 2, 0)
    assert len(encode((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))) == 16


@pytest.mark.parametrize(
    ("family", "address"),
    [(IPV4, ("127.0.0.1", 0)), (IPV4, ("", 0)), (IPV6, ("::1", 0)), (IPV6, ("", 0, 0, 0)), (UNIX, "\0")],
)
def test_kernel_takes_the_bytes(family: int, address: Any) -> None:
    """What the kernel makes of the bytes is what it makes of the socket module's own."""
    if family == IPV6 and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    if family == UNIX:
        address = f"\0uring-test-{os.getpid()}"
    raw = encode(address, family)
    libc = ctypes.CDLL(None)
    with socket.socket(family) as one, socket.socket(family) as two:
        assert libc.bind(one.fileno(), raw, len(raw)) == 0
        if family != UNIX:
            two.bind(address)
            assert one.getsockname()[0] == two.getsockname()[0]
            assert one.getsockname()[1] != 0
        else:
            assert one.getsockname() == address.encode()


# Both ways


@anything
@given(st.ip_addresses(v=4), PORTS)
def test_ipv4_round_trip(host: Any, port: int) -> None:
    """Every IPv4 address comes back as it went."""
    assert decode(encode((str(host), port))) == (str(host), port)


@anything
@given(st.ip_addresses(v=6), PORTS, st.integers(0, (1 << 20) - 1), st.integers(0, (1 << 32) - 1))
def test_ipv6_round_trip(host: Any, port: int, flow: int, scope: int) -> None:
    """Every IPv6 address comes back as it went, with all four items."""
    text = socket.inet_ntop(IPV6, host.packed)
    assert decode(encode((text, port, flow, scope))) == (text, port, flow, scope)
    assert decode(encode((text, port))) == (text, port, 0, 0)
    assert decode(encode((text, port, flow), IPV6)) == (text, port, flow, 0)


@anything
@given(st.binary(min_size=1, max_size=107).filter(lambda path: b"\0" not in path))
def test_unix_path_round_trip(path: bytes) -> None:
    """Every path comes back as str, and names the same file."""
    assert decode(encode(path)) == os.fsdecode(path)
    assert encode(os.fsdecode(path)) == encode(path)


@anything
@given(st.binary(max_size=107))
def test_abstract_name_round_trip(name: bytes) -> None:
    """Every abstract name comes back as bytes with its leading null byte, null bytes within and at the end too."""
    assert decode(encode(b"\0" + name)) == b"\0" + name


@anything
@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1))
def test_vsock_round_trip(cid: int, port: int) -> None:
    """Every VSOCK address comes back as (cid, port)."""
    assert decode(encode((cid, port))) == (cid, port)


@anything
@given(st.binary(max_size=STORAGE_SIZE))
def test_any_bytes_can_be_decoded(raw: bytes) -> None:
    """Whatever a kernel may write, decoding gives an address or None and never fails."""
    address = decode(raw)
    assert address is None or isinstance(address, (tuple, str, bytes))


def test_no_address() -> None:
    """No bytes are no address, an unnamed UNIX socket's is the empty string, another family's its number and bytes."""
    assert decode(b"") is None
    assert decode(struct.pack("=H", UNIX)) == ""
    assert decode(struct.pack("=H", 200) + b"rest") == (200, b"rest")


def test_short_addresses() -> None:
    """An address that is cut off is its family and bytes, not a wrong address."""
    for address in (("1.2.3.4", 5), ("::1", 5, 0, 0), (2, 5)):
        raw = encode(address)
        cut = decode(raw[:6])
        assert cut == (struct.unpack_from("=H", raw)[0], raw[2:6])


# Which family


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (("1.2.3.4", 5), IPV4),
        (("", 5), IPV4),
        (("::1", 5), IPV6),
        (("", 5, 0, 0), IPV6),
        ((2, 5), VSOCK),
        ("path", UNIX),
        (b"\0abstract", UNIX),
    ],
)
def test_form_tells_the_family(address: Any, family: int) -> None:
    """Without a family the address's form tells it."""
    assert family_of(address) == family
    assert encode(address) == encode(address, family)


def test_family_goes_before_form() -> None:
    """An empty host is the wildcard of the family that is given."""
    assert decode(encode(("", 80), IPV6)) == ("::", 80, 0, 0)
    assert decode(encode(("", 80), IPV4)) == ("0.0.0.0", 80)


# Refusals


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (None, None),
        (5, None),
        ((), None),
        (("host",), IPV4),
        (("1.2.3.4", 5, 6), IPV4),
        (("::1", 5, 0, 0, 0), IPV6),
        ((1, 2, 3), None),
        ((1, 2, 3), VSOCK),
        (("1.2.3.4", 5), VSOCK),
        (("1.2.3.4", "5"), IPV4),
        (("1.2.3.4", None), IPV4),
        ((None, 5), IPV4),
        ((b"1.2.3.4", 5), None),
        (("::1", 5, "0", 0), IPV6),
        ("path", IPV4),
        (("1.2.3.4", 5), UNIX),
        (Path("path"), UNIX),
        (("eth0", 1), socket.AF_PACKET),
        ((0, 0), socket.AF_NETLINK),
    ],
)
def test_what_is_no_address(address: Any, family: int | None) -> None:
    """A wrong type, a wrong number of items, or a family without encoding is a TypeError."""
    with pytest.raises(TypeError):
        encode(address, family)


@pytest.mark.parametrize(
    ("address", "family"),
    [
        (("localhost", 80), None),
        (("example.org", 80), IPV4),
        (("1.2.3", 80), IPV4),
        (("1.2.3.4", 80), IPV6),
        (("::1", 80), IPV4),
        (("fe80::1%lo", 80), IPV6),
        (("1.2.3.4", -1), None),
        (("1.2.3.4", 65536), None),
        (("::1", 80, 1 << 20, 0), None),
        (("::1", 80, 0, -1), None),
        ((1 << 32, 5), None),
        ((2, -1), None),
        ("x" * 108, None),
        (b"\0" + b"x" * 108, None),
        ("with\0null", None),
    ],
)
def test_numbers_and_names_out_of_range(address: Any, family: int | None) -> None:
    """A host that is a name, a number out of range, and a path that is too long are ValueErrors."""
    with pytest.raises(ValueError, match=r"numeric|must fit|at most|null byte"):
        encode(address, family)


def test_longest_unix_addresses() -> None:
    """A path has 107 bytes at most, an abstract name 108 with its null byte."""
    assert len(encode("x" * 107)) == len(encode(b"\0" + b"x" * 107)) == ffi.sizeof("struct sockaddr_un") == 110


def test_pointer_owns_its_memory() -> None:
    """A `struct sockaddr *` keeps its bytes for as long as it lives, after garbage collection too."""
    pointers = [sockaddr((f"10.0.0.{number}", number)) for number in range(200)]
    gc.collect()
    junk = [bytes([255] * 28) for _ in range(1000)]
    for number, (pointer, length) in enumerate(pointers):
        assert decode(bytes(ffi.buffer(pointer, length))) == (f"10.0.0.{number}", number)
    assert len(junk) == 1000
