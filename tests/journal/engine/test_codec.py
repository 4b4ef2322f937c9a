"""Values come back as they went in, or are refused by name; hashes leave defaults out."""

import dataclasses
import inspect
import math
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel

from journal.engine import PayloadTooLarge, Undecodable, Unencodable, decode, encode
from journal.engine.codec import MAX_BYTES, arguments_hash, value_hash


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


class Level(IntEnum):
    LOW = 1


class Code(StrEnum):
    D1 = "D1"


class Inner(BaseModel):
    when: datetime
    tags: frozenset[str] = frozenset()


class Outer(BaseModel):
    name: str = Field(alias="theName")
    inner: Inner
    codes: tuple[Code, ...] = ()
    facts: dict[str, float] = Field(default_factory=dict)


class Numbers(RootModel[list[int]]):
    pass


class Pair(NamedTuple):
    left: int
    right: str


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    value: float | int | bool | str | None
    at: datetime
    extra: tuple[int, ...] = ()


AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.uuids()
    | st.timedeltas()
    | st.datetimes(timezones=st.just(UTC))
)
keys = st.text() | st.integers() | st.booleans() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(scalars, max_size=4)
        | st.frozensets(scalars, max_size=4)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """`value` with the type of every part, since 1 == 1.0 == True."""
    match value:
        case list() | tuple():
            return type(value), [typed(item) for item in value]
        case dict():
            return dict, [(typed(key), typed(item)) for key, item in value.items()]
        case set() | frozenset():
            return type(value), {typed(item) for item in value}
        case _:
            return type(value), value


@given(values)
def test_every_plain_value_comes_back_with_its_type(value: Any) -> None:
    assert typed(decode(encode(value))) == typed(value)


@given(st.binary(max_size=200))
def test_damaged_bytes_are_undecodable_and_nothing_worse(data: bytes) -> None:
    try:
        decode(data)
    except Undecodable:
        return


@given(values)
def test_the_hash_of_a_value_is_that_of_its_copy(value: Any) -> None:
    assert value_hash(value) == value_hash(decode(encode(value)))


def test_nan_and_infinities_are_kept() -> None:
    nan, inf, minus = decode(encode([math.nan, math.inf, -math.inf]))
    assert math.isnan(nan)
    assert (inf, minus) == (math.inf, -math.inf)


def test_other_zones_become_utc_at_the_same_instant() -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert decode(encode(local)) == local
    assert decode(encode(local)).tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Colour.RED, Colour),
        (Level.LOW, Level),
        (Code.D1, Code),
        ([Code.D1, Code.D1], list[Code]),
        (Outer(theName="x", inner=Inner(when=AT, tags=frozenset({"a"})), codes=(Code.D1,)), Outer),
        ({Code.D1: Inner(when=AT)}, dict[Code, Inner]),
        (Numbers([1, 2]), Numbers),
        (Pair(1, "r"), Pair),
        (Reading(True, AT, (1, 2)), Reading),
        (Reading(1, AT), Reading),
        (Reading(1.0, AT), Reading),
        ([Reading("s", AT)], list[Reading]),
        ({Reading(2, AT)}, set[Reading]),
        (2**80, int),
        (UUID(int=7), UUID),
        (None, type(None)),
    ],
)
def test_types_come_back_through_the_annotation(value: Any, annotation: Any) -> None:
    back = decode(encode(value), annotation)
    assert back == value
    assert type(back) is type(value)


def test_the_exact_type_of_a_union_is_kept() -> None:
    assert decode(encode(Reading(1, AT)), Reading).value is not True
    assert isinstance(decode(encode(Reading(1.0, AT)), Reading).value, float)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (datetime(2026, 1, 1), "naive datetime"),  # noqa: DTZ001
        (np.float64(1.5), "numpy.float64"),
        (np.zeros(3), "numpy.ndarray"),
        ([{"deep": np.int32(1)}], "numpy.int32"),
        (Path("/etc"), "PosixPath"),
        (object(), "builtins.object"),
        (lambda: None, "function"),
    ],
)
def test_what_is_not_kept_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(Unencodable, match=message):
        encode(value)


def test_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(Unencodable):
        encode(cycle)


def test_size_is_capped_and_large_values_are_compressed() -> None:
    assert len(encode("a" * 100_000)) < 1000
    with pytest.raises(PayloadTooLarge, match="above the cap"):
        encode(b"x" * (MAX_BYTES + 1))


def test_a_value_that_does_not_fit_the_annotation_is_undecodable() -> None:
    with pytest.raises(Undecodable):
        decode(encode({"when": "soon"}), Inner)


class Before(BaseModel):
    limit: float = 1.0


class After(BaseModel):
    limit: float = 1.0
    margin: float = 0.5
    notes: list[str] = Field(default_factory=list)


def hashed(fn: Any, *args: Any, **kwargs: Any) -> str:
    return arguments_hash(inspect.signature(fn), args, kwargs)


def test_arguments_and_fields_at_their_default_do_not_count() -> None:
    def old(a: int, m: Any) -> None: ...
    def new(a: int, m: Any, *, mode: str = "x", seen: frozenset[str] = frozenset()) -> None: ...

    assert hashed(old, 1, Before()) == hashed(new, 1, After()) == hashed(new, m=After(limit=1.0), a=1, mode="x")
    assert hashed(new, 1, After(margin=0.6)) != hashed(new, 1, After())
    assert hashed(new, 1, After(), mode="y") != hashed(new, 1, After())


def test_hashes_do_not_depend_on_order_of_keys_or_members() -> None:
    assert value_hash({"a": 1, "b": 2}) == value_hash({"b": 2, "a": 1})
    assert value_hash({"x", "y", "z"}) == value_hash({"z", "x", "y"})
    assert value_hash([1, 2]) != value_hash([2, 1])
    assert value_hash(1) != value_hash(1.0) != value_hash(True)


def test_hashes_are_the_same_for_ever() -> None:
    value = {"at": AT, "code": Code.D1, "of": (1, 2.5, None, b"x"), "m": Before(limit=2), "big": 2**70}
    assert value_hash(value) == "89317067a035df3825625e32b49eb51e"
