"""Immutable values with named fields.

`dataclasses` makes the same, but imports `inspect`, `ast`, `tokenize` and more for it: that and the code it compiles
were a quarter of what `import uring` cost. Type checkers see a frozen dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """What `typing` has since Python 3.11."""
        return lambda kind: kind


@dataclass_transform(frozen_default=True)
class Record:
    """The base of such values: their fields are the annotations of the class, in order, with its defaults.

    Records are equal when their class and fields are. `vars(record)` gives the fields as a dict.
    """

    _fields: ClassVar[dict[str, None]]
    _places: ClassVar[tuple[str, ...]]
    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        cls._fields = dict.fromkeys(cls.__annotations__)
        cls._places = () if kw_only else tuple(cls._fields)
        cls._defaults = {name: getattr(cls, name) for name in cls._fields if hasattr(cls, name)}

    def __init__(self, *values: Any, **named: Any) -> None:
        given = {**self._defaults, **named}
        if values:
            if len(values) > len(self._places):
                raise TypeError(f"{type(self).__name__}() takes {len(self._places)} positional arguments")
            self._refuse("was given twice", named.keys() & self._places[: len(values)])
            given.update(zip(self._places, values, strict=False))
        if given.keys() != self._fields.keys():
            self._refuse("has no", given.keys() - self._fields)
            self._refuse("lacks", self._fields.keys() - given)
        self.__dict__.update(given)

    def _refuse(self, problem: str, names: set[str]) -> None:
        if names:
            raise TypeError(f"{type(self).__name__}() {problem}: {', '.join(sorted(names))}")

    if not TYPE_CHECKING:  # which would accept any name then

        def __setattr__(self, name, value):
            raise AttributeError(f"a {type(self).__name__} cannot be changed: {name}")

        def __delattr__(self, name):
            raise AttributeError(f"a {type(self).__name__} cannot be changed: {name}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"
