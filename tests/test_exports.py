"""What `import uring` offers: it exists, is documented, and the documentation has the parts that it needs."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Any

import pytest

import uring
from uring import liburing
from uring.builders import AllBuilders
from uring.registration import Registration

CLASSES = (uring.Ring, uring.Operation, uring.Chain, uring.Params)
# What is known of itself without the kernel: no request, no register call.
LOCAL = {
    *("Ring.c_ring", "Ring.flags", "Ring.features", "Ring.fileno", "Ring.statistics", "Ring.close"),
    *("Operation.description", "Operation.name", "Operation.opcode", "Operation.user_data", "Operation.state"),
    *("Operation.done", "Operation.result", "Operation.exception", "Operation.completion", "Operation.abandon"),
    *("Operation.add_done_callback", "Operation.cancel"),
    *("Params.check", "Params.candidates", "Params.struct"),
}
# Args that need no words: the signature and the summary say it.
SHORT = {"self", "options"}


def public(owner: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class with those that it inherits, by qualified name."""
    for name in dir(owner):
        member = inspect.getattr_static(owner, name)
        if not name.startswith("_") and isinstance(member, types.FunctionType | property):
            yield f"{owner.__name__}.{name}", member


METHODS = dict(pair for owner in CLASSES for pair in public(owner))


def function_of(member: Any) -> Any:
    """The function behind a property."""
    return member.fget if isinstance(member, property) else member


@pytest.mark.parametrize("name", uring.__all__)
def test_every_name_exists_and_is_documented(name: str) -> None:
    """Each name is there; classes and functions have a docstring of their own."""
    value = getattr(uring, name)
    if name == "__version__":
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", value)
        return
    if isinstance(value, int):  # a constant has only the docstring of int
        return
    text = value.__doc__ or ""
    assert text.strip().endswith((".", "`.", ")")), name
    assert not text.startswith(f"{name}("), "the text that a NamedTuple or dataclass gets by itself"


def test_the_list_is_sorted_and_has_no_name_twice() -> None:
    """`from uring import *` gives exactly what is meant to be public."""
    assert sorted(uring.__all__) == uring.__all__
    assert len(set(uring.__all__)) == len(uring.__all__)
    names: dict[str, Any] = {}
    exec("from uring import *", names)
    assert set(names) - {"__builtins__"} == set(uring.__all__)


def test_nothing_else_looks_public() -> None:
    """What is in the package's namespace besides are its modules."""
    others = {name for name in vars(uring) if not name.startswith("_")} - set(uring.__all__)
    assert {name for name in others if not inspect.ismodule(getattr(uring, name))} == set()


def test_classes_and_functions_name_the_package() -> None:
    """Each has a module below uring: nothing of another package is given out as ours."""
    for name in uring.__all__:
        value = getattr(uring, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("uring."), name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_documented(name: str) -> None:
    """A sentence says what it does."""
    text = inspect.cleandoc(function_of(METHODS[name]).__doc__ or "")
    assert re.match(r"[A-Z\"`'].*", text), name
    assert re.search(r"[.:](\s|$)|^See \w+", text), name


@pytest.mark.parametrize("name", sorted(set(METHODS) - LOCAL))
def test_what_reaches_the_kernel_names_it(name: str) -> None:
    """The first kernel that has it stands in the docstring."""
    text = inspect.getdoc(function_of(METHODS[name])) or ""
    assert re.search(r"Kernel: \d+\.\d+", text), name


@pytest.mark.parametrize("name", sorted(name for name in METHODS if name.startswith("Ring.")))
def test_the_twins_exist(name: str) -> None:
    """Each C function that a docstring names is one of liburing."""
    text = inspect.getdoc(function_of(METHODS[name])) or ""
    for twin in re.findall(r"`(io_uring_\w+)`", text):
        assert hasattr(liburing, twin), f"{name}: {twin}"


@pytest.mark.parametrize("name", sorted(vars(Registration).keys() | {n for c in AllBuilders.__mro__ for n in vars(c)}))
def test_builders_and_registrations_name_their_twin(name: str) -> None:
    """Whoever comes from C finds the function that he knows."""
    member = getattr(uring.Ring, name)
    if name.startswith("_") or not inspect.isfunction(member) or name == "submit":
        return
    assert re.search(r"Twins?: |See also: |IORING_OP_RECV_ZC", inspect.getdoc(member) or ""), name


@pytest.mark.parametrize("name", METHODS)
def test_the_sections_fit_the_signature(name: str) -> None:
    """With arguments there is Args and each is in it; with a result, Returns or a sentence about it."""
    member = METHODS[name]
    if isinstance(member, property):
        return
    text = inspect.getdoc(member) or ""
    if text.startswith("See "):
        return
    signature = inspect.signature(member)
    arguments = [parameter.name for parameter in signature.parameters.values() if parameter.name not in SHORT]
    if "Args:" in text:
        section = text.split("Args:", 1)[1].split("\n\n", 1)[0]
        for argument in arguments:
            assert re.search(rf"^\s+(\w+, )*\*{{0,2}}{argument}(, \w+)*:", section, re.MULTILINE), argument
    else:
        # One argument that the summary speaks of needs no section, nor do those of a form of another builder.
        assert len(arguments) <= 1 or re.search(r"(?i)\b(as|see|like|of)( for)? `\w+`", text), f"{name} has no Args"
    if name.startswith("Ring.") and str(signature.return_annotation).startswith("Operation["):
        assert re.search(r"(?i)returns|results are", text), name


def test_raises_sections_name_exceptions() -> None:
    """What a Raises section lists are exceptions that exist, ours or Python's."""
    import builtins

    for name, member in METHODS.items():
        text = inspect.getdoc(function_of(member)) or ""
        if "Raises:" not in text:
            continue
        section = text.split("Raises:", 1)[1].split("\n\n", 1)[0]
        for line in re.findall(r"^    ([A-Z]\w+(?:, [A-Z]\w+)*): ", section, re.MULTILINE):
            for exception in line.split(", "):
                found = getattr(uring, exception, None) or getattr(builtins, exception, None)
                assert isinstance(found, type), f"{name}: {exception}"
                assert issubclass(found, BaseException)
