"""Records: immutable values that compare by their fields."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

import uring
from uring.record import Record


class Point(Record):
    """With a default and a property."""

    x: int
    y: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.x + self.y


class Named(Record, kw_only=True):
    """Only by keywords."""

    x: int = 1
    y: str | None = None


class Other(Record):
    """The fields of a Point."""

    x: int
    y: int


def test_fields_are_given_by_place_by_name_or_by_default() -> None:
    """All ways to give the same fields make the same value."""
    values = [Point(3), Point(3, 0), Point(x=3), Point(y=0, x=3), Point(3, y=0)]
    assert [(value.x, value.y, value.total) for value in values] == [(3, 0, 3)] * 5
    assert [vars(value) for value in values] == [{"x": 3, "y": 0}] * 5
    assert (Named().x, Named(y="a").y) == (1, "a")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Point, "Point.. lacks: x"),
        (lambda: Point(1, 2, 3), "Point.. takes 2 positional arguments"),  # type: ignore[call-arg]
        (lambda: Point(1, x=2), r"Point\(\) was given twice: x"),  # type: ignore[misc]
        (lambda: Point(1, z=2), r"Point\(\) has no: z"),  # type: ignore[call-arg]
        (lambda: Point(1, _fields=2), r"Point\(\) has no: _fields"),  # type: ignore[call-arg]
        (lambda: Named(1), "Named.. takes 0 positional arguments"),  # type: ignore[call-arg]
    ],
    ids=["missing", "too many", "twice", "unknown", "not a field", "keywords only"],
)
def test_wrong_fields_are_refused(make: Callable[[], object], message: str) -> None:
    """What is missing, too much, given twice or unknown is named in a TypeError."""
    with pytest.raises(TypeError, match=message):
        make()


def test_a_record_cannot_be_changed() -> None:
    """Fields are neither set nor deleted, and none is added."""
    point = Point(1, 2)
    with pytest.raises(AttributeError, match="a Point cannot be changed: x"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(AttributeError, match="a Point cannot be changed: z"):
        point.z = 3  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="a Point cannot be changed: y"):
        del point.y
    assert vars(point) == {"x": 1, "y": 2}


def test_records_compare_by_class_and_fields() -> None:
    """Equal fields of one class are equal and hash alike; another class or another type never is."""
    assert Point(1, 2) == Point(1, 2)
    assert hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Other(1, 2)
    assert Point(1, 2) != (1, 2)
    assert {Point(1, 2), Point(1, 2), Point(2, 1)} == {Point(1, 2), Point(2, 1)}


def test_a_record_with_a_dict_in_it_has_no_hash() -> None:
    """As with a tuple, what cannot be hashed inside makes the whole unhashable."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Other({}, 1))  # type: ignore[arg-type]


def test_repr_is_the_call_that_makes_it() -> None:
    """Evaluating a record's repr gives an equal one."""
    assert repr(Named(y="a")) == "Named(x=1, y='a')"
    assert eval(repr(Point(1, -2))) == Point(1, -2)


def test_records_are_copied_and_pickled() -> None:
    """Copies and what comes out of a pickle are equal to the original."""
    params = uring.Params(sqpoll=True, sq_cpu=3)
    assert copy.copy(params) == copy.deepcopy(params) == pickle.loads(pickle.dumps(params)) == params
