"""Write `uring/liburing.pyi` and `uring/fused.pyi`, the types of two modules whose names are made at run time.

Names come from the modules, parameters' names and `const` from the headers' prototypes, types from cffi's ctypes, and
the functions written in Python describe themselves. Nothing in the stubs depends on the machine or the Python.

    python tools/make_stubs.py           write both stubs
    python tools/make_stubs.py --check   exit with 1, and a diff, when they are out of date
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import keyword
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# At the end: an installed uring, which has its extension, goes before the source tree.
sys.path.append(str(ROOT))

import build_ffi  # noqa: E402
from uring import fused, liburing  # noqa: E402

ffi = liburing.ffi

WIDTH = 120

GENERATED = """\
# Written by tools/make_stubs.py; do not edit.
"""

# The types that exist for type checkers only, and `ffi` and `lib`.
PREAMBLE = '''\
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
'''

# What the Python functions call Any is known here more exactly: (function, parameter or "return") -> type.
BUFFER = "Buffer | CData | None"
EXACT = {
    ("io_uring_cqe_ptr", "return"): "Pointer[struct_io_uring_cqe]",
    ("iovec", "buffers"): "Buffer | CData | tuple[CData, int]",
    ("msghdr", "msg_name"): BUFFER,
    ("msghdr", "msg_iov"): "struct_iovec | None",
    ("msghdr", "msg_control"): BUFFER,
    ("io_uring_for_each_cqe", "ring"): "struct_io_uring",
    ("io_uring_for_each_cqe", "return"): "Iterator[struct_io_uring_cqe]",
    ("attach", "ring"): "struct_io_uring",
    ("attach", "return"): "struct_uring_ring",
    ("detach", "r"): "struct_uring_ring",
    ("completions", "r"): "struct_uring_ring",
}


# --- C types -------------------------------------------------------------------------------------


def structs_of(module: ModuleType) -> list[Any]:
    """The complete structs and unions that a module works with, sorted by name."""
    typedefs, structs, unions = ffi.list_types()
    spelled = [f"struct {name}" for name in structs] + [f"union {name}" for name in unions]
    # A struct without a tag is known by its typedef.
    spelled += [name for name in typedefs if ffi.typeof(name).cname == name]
    found = [ffi.typeof(name) for name in spelled]
    found = [ctype for ctype in found if ctype.kind in ("struct", "union") and ctype.fields is not None]
    chosen = [ctype for ctype in found if ctype.cname.startswith("struct uring_") == (module is fused)]
    return sorted(chosen, key=lambda ctype: str(ctype.cname))


class Types:
    """How C types are called in the stubs."""

    def __init__(self) -> None:
        """Name the structs that have a tag or a typedef, and those inside them by their place."""
        self.names: dict[Any, str] = {}
        for ctype in structs_of(liburing) + structs_of(fused):
            kind, _, tag = ctype.cname.rpartition(" ")
            self._name(ctype, f"{kind or 'struct'}_{tag}")

    def _name(self, ctype: Any, name: str) -> None:
        self.names[ctype] = name
        for field, description in ctype.fields:
            if "$" in description.type.cname:
                self._name(description.type, f"{name}_{field}")

    def read(self, ctype: Any) -> str:
        """The type of a value that C gives."""
        if ctype in self.names:
            return self.names[ctype]
        if ctype.kind in ("pointer", "array"):
            item = ctype.item
            if item.kind == "void":
                return "CData"
            return self.names.get(item) or f"Pointer[{self.read(item)}]"
        return {"void": "None", "_Bool": "bool", "char": "bytes"}.get(ctype.cname, "int")

    def parameter(self, ctype: Any, is_const: bool, is_read_at_once: bool) -> str:
        """The type of an argument of a C function."""
        if ctype.kind != "pointer":
            return self.read(ctype)
        accepted = self.read(ctype)
        # Also `void *` takes bytes from cffi, but then C may write into an immutable object.
        if is_const and ctype.item.cname in ("void", "char"):
            return f"bytes | {accepted}"
        # A list lives as long as the call: long enough for what C reads at once, not for what an SQE points to.
        if is_const and is_read_at_once and ctype.item.kind == "primitive":
            return f"list[int] | {accepted}"
        return accepted

    def keyword(self, ctype: Any) -> str:
        """The type of a field for a constructor."""
        accepted = self.read(ctype)
        if ctype.kind == "primitive" and ctype.cname == "uint64_t":
            return "int | CData"
        if ctype.kind in ("struct", "union"):
            return f"{accepted} | dict[str, Any]"
        if ctype.kind == "array":
            if ffi.sizeof(ctype.item) == 1:
                accepted = f"bytes | {accepted}"
            return f"{accepted} | list[Any] | int" if ctype.length is None else f"{accepted} | list[Any]"
        return accepted


# --- rendering -----------------------------------------------------------------------------------


def function(name: str, parameters: list[str], returns: str, doc: str = "", indent: str = "") -> str:
    """One `def`, laid out as ruff format does."""
    end = f" -> {returns}:" + ("" if doc else " ...")
    text = f"{indent}def {name}({', '.join(parameters)}){end}"
    if len(text) > WIDTH:
        line = f"{indent}    {', '.join(parameters)}"
        if len(line) > WIDTH:
            line = "".join(f"{indent}    {parameter},\n" for parameter in parameters).rstrip("\n")
        text = f"{indent}def {name}(\n{line}\n{indent}){end}"
    return text + "\n" + (docstring(doc, indent + "    ") + "\n" if doc else "")


def docstring(text: str, indent: str) -> str:
    """`text` between triple quotes, wrapped."""
    lines = textwrap.wrap(f'"""{text}"""', WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines) + "\n"


def safe(name: str) -> str:
    """A C name as a Python parameter's name."""
    return f"{name}_" if keyword.iskeyword(name) else name


def struct(ctype: Any, types: Types) -> str:
    """The class that describes a struct to type checkers."""
    name = types.names[ctype]
    doc = "Has no name in C." if "$" in ctype.cname else f"`{ctype.cname}`."
    lines = ["@type_check_only\n", f"class {name}(Struct):\n", f'    """{doc}"""\n']
    fields = [(field, types.read(description.type), description.type) for field, description in ctype.fields]
    # A field with a keyword's name can be reached by getattr() only.
    fields = [field for field in fields if not keyword.iskeyword(field[0])]
    lines += ["\n"] if fields else []
    lines += [f"    {field}: {python}\n" for field, python, field_type in fields if not is_text(field_type)]
    for field, python, field_type in fields:
        if is_text(field_type):
            lines += [
                f"    @property\n    def {field}(self) -> {python}: ...\n",
                f"    @{field}.setter\n    def {field}(self, value: bytes | {python}, /) -> None: ...\n",
            ]
    inner = [struct(field_type, types) + "\n" for _, _, field_type in fields if "$" in field_type.cname]
    return "".join(inner) + "".join(lines)


def is_text(ctype: Any) -> bool:
    """Whether this is a `char[n]`, to which cffi lets bytes be assigned."""
    return bool(ctype.kind == "array" and ctype.item.cname == "char")


def constructor(name: str, ctype: Any, types: Types) -> str:
    """The constructor that uring.liburing makes for a struct."""
    parameters = ["count: int | None = None", "/", "*"]
    for field, description in ctype.fields:
        if not keyword.iskeyword(field):
            parameters.append(f"{field}: {types.keyword(description.type)} = ...")
    if not ctype.fields:
        parameters.pop()
    doc = f"`{ctype.cname}` with these fields, all others 0; or an array of `count` zeroed ones."
    return function(name, parameters, types.names[ctype], doc)


def python_function(name: str, value: Any, returned: str | None) -> str:
    """A function that is written in Python, by its own signature."""
    signature = inspect.signature(value)
    parameters = []
    kinds = inspect.Parameter
    stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}
    previous: Any = None
    for parameter in signature.parameters.values():
        if previous is kinds.POSITIONAL_ONLY and parameter.kind is not previous:
            parameters.append("/")
        if parameter.kind is kinds.KEYWORD_ONLY and previous not in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL):
            parameters.append("*")
        previous = parameter.kind
        annotation = EXACT.get((name, parameter.name), parameter.annotation)
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        parameters.append(f"{stars.get(previous, '')}{parameter.name}: {annotation}{default}")
    if previous is kinds.POSITIONAL_ONLY:
        parameters.append("/")
    return function(name, parameters, EXACT.get((name, "return"), returned or signature.return_annotation))


class Prototypes:
    """The declarations of the functions, for what a ctype does not keep: the parameters' names and `const`."""

    def __init__(self) -> None:
        """Read the headers."""
        declared = build_ffi.prepare()[2].functions
        fused_calls = build_ffi.fused_calls(declared)
        borrowed = re.findall(r"^\w+ (\w+)(\([^(){}]*\);)$", build_ffi.PRELUDE, re.MULTILINE)
        self.of = {
            **declared,
            **{name: declaration for name, (declaration, _) in fused_calls.items()},
            **{name: f"int {name}{rest}" for name, rest in borrowed},
        }

    def parameters(self, name: str) -> list[str]:
        """Each parameter of a function as it is declared."""
        inside = self.of[name].rstrip(";").split("(", 1)[1].removesuffix(")")
        return [] if inside.strip() == "void" else inside.split(",")


def compiled_function(name: str, value: Any, prototypes: Prototypes, types: Types) -> str:
    """A function of the extension. cffi gives it no keyword arguments."""
    ctype = ffi.typeof(value)
    # What a request points to is read after the call that prepares it.
    is_read_at_once = "prep_" not in name and not name.startswith("uring_")
    parameters = []
    for declared, argument in zip(prototypes.parameters(name), ctype.args, strict=True):
        called = re.search(r"(\w+)\s*(?:\[\d*\])?$", declared.strip())
        assert called is not None, declared
        accepted = types.parameter(argument, bool(re.search(r"\bconst\b", declared)), is_read_at_once)
        parameters.append(f"{safe(called[1])}: {accepted}")
    if parameters:
        parameters.append("/")
    return function(name, parameters, types.read(ctype.result), f"`{prototypes.of[name].rstrip(';')}`")


# --- the two stubs -------------------------------------------------------------------------------


class Names(NamedTuple):
    """The definitions of a module's names, by kind."""

    constants: list[str]
    functions: list[str]


def definitions(module: ModuleType, prototypes: Prototypes, types: Types) -> Names:
    """Every name of a module but `ffi` and `lib`."""
    by_name = {name.removeprefix("struct_"): ctype for ctype, name in types.names.items()}
    constants, functions = [], []
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if name in ("ffi", "lib"):
            continue
        if isinstance(value, int):
            constants.append(f"{name}: Final[int]\n")
        elif isinstance(value, ffi.CData):
            constants.append(f"{name}: Final[{types.read(ffi.typeof(value))}]\n")
        elif not inspect.isfunction(value):
            functions.append(compiled_function(name, value, prototypes, types))
        elif value.__code__.co_name == name:
            functions.append(python_function(name, value, types.names.get(by_name.get(name))))
        else:
            functions.append(constructor(name, by_name[name], types))
    return Names(constants, functions)


def exported(module: ModuleType) -> str:
    """`__all__`: without it, `import *` would leave out the names with a leading underscore."""
    names = sorted(module.__all__, key=lambda name: (not name.isupper(), name))
    return "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]\n\n"


def imports(lines: Iterable[tuple[str, str, Iterable[str]]], body: str) -> str:
    """Import statements for those of the names that `body` uses."""
    text = ""
    for before, source, names in lines:
        used = [name for name in names if re.search(rf"\b{name}\b", body)]
        line = f"from {source} import {', '.join(used)}\n"
        if len(line) > WIDTH:
            line = f"from {source} import (\n" + "".join(f"    {name},\n" for name in used) + ")\n"
        text += before + line if used else ""
    return text + "\n"


STANDARD = (
    ("", "collections.abc", ("Callable", "Iterable", "Iterator")),
    ("", "typing", ("Any", "Final", "Generic", "TypeVar", "overload", "type_check_only")),
)


def liburing_stub(prototypes: Prototypes, types: Types) -> str:
    """The text of uring/liburing.pyi."""
    names = definitions(liburing, prototypes, types)
    structs = [struct(ctype, types) for ctype in structs_of(liburing)]
    body = "\n".join([PREAMBLE, "".join(names.constants), *structs, "".join(names.functions)]).rstrip() + "\n"
    head = imports([*STANDARD, ("\n", "typing_extensions", ("Buffer", "Self"))], body)
    return GENERATED + head + exported(liburing) + body


def fused_stub(prototypes: Prototypes, types: Types) -> str:
    """The text of uring/fused.pyi."""
    names = definitions(fused, prototypes, types)
    structs = [struct(ctype, types) for ctype in structs_of(fused)]
    body = "\n".join(["".join(names.constants), *structs, "".join(names.functions)]).rstrip() + "\n"
    others = sorted(types.names[ctype] for ctype in structs_of(liburing))
    theirs = ("CData", "Pointer", "Struct", "ffi", "lib", *others)
    head = imports([*STANDARD, ("\n", ".liburing", theirs)], body + "ffi lib")
    return GENERATED + head + exported(fused) + body


def stubs() -> dict[Path, str]:
    """What each stub should contain."""
    prototypes, types = Prototypes(), Types()
    return {
        ROOT / "uring" / "liburing.pyi": liburing_stub(prototypes, types),
        ROOT / "uring" / "fused.pyi": fused_stub(prototypes, types),
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line; 1 when --check finds a stub that is out of date."""
    parser = argparse.ArgumentParser(description="Write the stubs of uring.liburing and uring.fused, or check them.")
    parser.add_argument("--check", action="store_true", help="compare with what is there; change nothing")
    check = parser.parse_args(arguments).check
    stale = 0
    for path, expected in stubs().items():
        found = path.read_text(encoding="utf-8") if path.is_file() else ""
        if found == expected:
            continue
        if check:
            stale = 1
            names = (f"{path.name} as it is", f"{path.name} as it should be")
            print("\n".join(difflib.unified_diff(found.splitlines(), expected.splitlines(), *names, lineterm="")))
        else:
            path.write_text(expected, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
