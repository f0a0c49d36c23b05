"""The C names are complete, and each one is what a C compiler makes of the same headers."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from uring import liburing as L

ffi = L.ffi

FUNCTIONS = 231
FAMILIES = {
    r"IORING_OP_(?!LAST)\w+": 65,
    r"IORING_(UN)?REGISTER_(?!LAST|USE_REGISTERED_RING|SRC_|DST_|FILES_SKIP)\w+": 38,
    r"IORING_SETUP_\w+": 21,
    r"IORING_FEAT_\w+": 18,
    r"IOSQE_\w+(?<!_BIT)": 7,
    r"IOSQE_\w+_BIT": 7,
    r"IORING_CQE_F_\w+": 8,
    r"IORING_ENTER_\w+": 8,
    r"IORING_ASYNC_CANCEL_\w+": 6,
    r"IORING_TIMEOUT_\w+": 9,
}
# Macros that are keywords, not values.
NOT_A_VALUE = {"IOURINGINLINE", "_LOCAL_INLINE", "LIBURING_NOEXCEPT"}


# --- the headers, read by hand -------------------------------------------------------------------


class Headers(NamedTuple):
    """The headers' texts without comments, and how to compile with them."""

    folder: Path
    texts: dict[str, str]
    compile: list[str]
    includes: str


def _without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def headers(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Headers:
    """The public headers of liburing; the source is fetched if it is not there."""
    spec = importlib.util.spec_from_file_location("build_ffi", repository / "build_ffi.py")
    assert spec is not None
    assert spec.loader is not None
    build_ffi: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_ffi)
    try:
        compiler = build_ffi.compiler()
    except build_ffi.BuildError:
        pytest.skip("needs a C compiler")
    tree = build_ffi.vendor.materialise()
    generated = tmp_path_factory.mktemp("generated")
    build_ffi.write_version_header(build_ffi.vendor.Lock.load(), generated)
    include = tree / "src" / "include"
    paths = [include / "liburing.h", include / "liburing" / "io_uring.h", *(include / "liburing/io_uring").glob("*.h")]
    texts = {path.name: _without_comments(path.read_text()) for path in paths}
    texts["io_uring_version.h"] = (generated / "liburing" / "io_uring_version.h").read_text()
    defines = [f"-D{name}" if value is None else f"-D{name}={value}" for name, value in build_ffi.DEFINES]
    command = [*compiler, "-std=gnu11", *defines, *build_ffi.include_flags(tree, generated)]
    return Headers(tree / "src", texts, command, build_ffi.INCLUDES)


def _function_names(headers: Headers) -> set[str]:
    names = set()
    for exports in ("liburing.map", "liburing-ffi.map"):
        names |= set(re.findall(r"^\s+(\w+);", (headers.folder / exports).read_text(), re.MULTILINE))
    return names | set(re.findall(r"^IOURINGINLINE\s[^(]*?(\w+)\s*\(", headers.texts["liburing.h"], re.MULTILINE))


def _constant_names(headers: Headers) -> set[str]:
    names = set()
    for text in headers.texts.values():
        # No parenthesis right after the name: a macro with parameters is not a constant.
        names |= set(re.findall(r"^#\s*define[ \t]+(\w+)[ \t]+[^\s\\]", text, re.MULTILINE))
        for members in re.findall(r"\benum\b\s*\w*\s*\{(.*?)\}", text, re.DOTALL):
            names |= set(re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)", members))
    return names - NOT_A_VALUE


# --- the compiler's answers ----------------------------------------------------------------------


def _structs() -> dict[str, Any]:
    """Each complete struct and union, by the name that C spells it with."""
    typedefs, structs, unions = ffi.list_types()
    names = [f"struct {name}" for name in structs] + [f"union {name}" for name in unions] + typedefs
    types = {name: ffi.typeof(name) for name in names}
    return {name: ctype for name, ctype in types.items() if ctype.kind in ("struct", "union")}


def _fields(ctype: Any, path: str = "", start: int = 0) -> Iterator[tuple[str, Any, int]]:
    """Each field's path, type and offset, those of nested structs without a name included."""
    for name, field in ctype.fields:
        yield path + name, field.type, start + field.offset
        if "$" in field.type.cname:
            yield from _fields(field.type, f"{path}{name}.", start + field.offset)


def _is_integer(ctype: Any) -> bool:
    return bool(ctype.kind == "primitive" and ctype.cname not in ("char", "_Bool"))


def _layout() -> dict[str, tuple[str, int]]:
    """What cffi believes of sizes, offsets and signs: a C expression for each, and the value."""
    believed = {}
    for name, ctype in _structs().items():
        believed[f"sizeof {name}"] = (f"sizeof({name})", ffi.sizeof(ctype))
        for path, field_type, offset in _fields(ctype):
            place, member = f"{name} . {path}", f"((({name} *) 0)->{path})"
            believed[f"offset of {place}"] = (f"offsetof({name}, {path})", offset)
            if field_type.kind != "array" or field_type.length is not None:
                believed[f"size of {place}"] = (f"sizeof{member}", ffi.sizeof(field_type))
            if _is_integer(field_type):
                sign = int(ffi.cast(field_type, -1)) < 0
                believed[f"sign of {place}"] = (f"((__typeof__{member}) -1 < 0)", int(sign))
    typedefs = [name for name in ffi.list_types()[0] if _is_integer(ffi.typeof(name))]
    believed |= {f"sizeof {name}": (f"sizeof({name})", ffi.sizeof(name)) for name in typedefs}
    return believed


def _ask_compiler(headers: Headers, folder: Path, expressions: dict[str, str]) -> dict[str, int]:
    """The value of each C expression, by a compiled program."""
    lines = [f'\tSHOW("{label}", {expression});' for label, expression in expressions.items()]
    program = (
        f"#include <stdio.h>\n#include <stddef.h>\n{headers.includes}\n"
        '#define SHOW(label, x) printf(label "=%s%llu\\n", (x) < 0 ? "-" : "", \\\n'
        "\t(x) < 0 ? -(unsigned long long) (x) : (unsigned long long) (x))\n"
        "int main(void)\n{\n" + "\n".join(lines) + "\n\treturn 0;\n}\n"
    )
    source, binary = folder / "show.c", folder / "show"
    source.write_text(program)
    subprocess.run([*headers.compile, str(source), "-o", str(binary)], check=True)
    answer = subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
    return {label: int(value) for label, value in (line.split("=") for line in answer.splitlines())}


# --- functions -----------------------------------------------------------------------------------


def test_the_headers_declare_as_many_functions_as_this_version_has(headers: Headers) -> None:
    """The count of exported and inline functions is that of the pinned liburing."""
    assert len(_function_names(headers)) == FUNCTIONS


def test_every_function_is_the_compiled_one(headers: Headers) -> None:
    """Each function is an attribute, a builtin, and the very object of the extension."""
    for name in _function_names(headers):
        function = getattr(L, name)
        assert isinstance(function, BuiltinFunctionType), name
        assert function is getattr(L.lib, name), name
        assert name in L.__all__


def test_star_import_gives_every_name() -> None:
    """`from uring.liburing import *` binds all of `__all__`, also names with leading underscores."""
    names: dict[str, Any] = {}
    exec("from uring.liburing import *", names)
    assert set(L.__all__) <= set(names)
    assert len(set(L.__all__)) == len(L.__all__)


def test_nothing_of_our_own_c_is_exported() -> None:
    """The fused calls and their struct belong to uring.fused."""
    assert [name for name in L.__all__ if name.lower().startswith("uring_")] == []


# --- constants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", FAMILIES)
def test_family_of_constants_is_complete(headers: Headers, pattern: str) -> None:
    """The headers have as many constants of each family as this version of liburing, all of them exported."""
    family = {name for name in _constant_names(headers) if re.fullmatch(pattern, name)}
    assert len(family) == FAMILIES[pattern], sorted(family)
    assert family <= set(L.__all__)


def test_every_constant_has_the_compilers_value(headers: Headers, tmp_path: Path) -> None:
    """Each macro and enum member of the headers, and each constant offered besides, is what C prints."""
    declared = _constant_names(headers)
    offered = {name for name in L.__all__ if isinstance(getattr(L, name), int)}
    assert declared <= offered
    in_c = _ask_compiler(headers, tmp_path, {name: name for name in offered})
    assert {name: getattr(L, name) for name in offered} == in_c


# --- structs -------------------------------------------------------------------------------------


def test_every_struct_of_the_headers_is_complete(headers: Headers) -> None:
    """Each struct that the headers define has its fields in cffi."""
    declared = {name for text in headers.texts.values() for name in re.findall(r"\bstruct\s+(\w+)\s*\{", text)}
    assert len(declared) > 40
    assert {name for name in declared if not ffi.typeof(f"struct {name}").fields} == set()


def test_every_struct_has_the_compilers_layout(headers: Headers, tmp_path: Path) -> None:
    """Sizes, offsets and signs agree with C, for liburing's structs, libc's and ours."""
    believed = _layout()
    in_c = _ask_compiler(headers, tmp_path, {label: expression for label, (expression, _) in believed.items()})
    assert {label: value for label, (_, value) in believed.items()} == in_c
