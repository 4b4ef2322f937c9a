"""Device templates: TOML register tables into checked, frozen objects.

A template says where a device keeps its values, in the numbering of the maker's own table, so that a person can
hold the two side by side.  Called by `drivers.modbus` when a link's configuration is read.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints, ValidationError, model_validator

from drivers.base import Frozen, Name
from drivers.errors import Misconfigured

__all__ = (
    "BIT_CODES",
    "STRING_MAX",
    "Check",
    "Datatype",
    "FunctionCode",
    "Group",
    "Location",
    "Order",
    "Register",
    "StatusRule",
    "SumRule",
    "Template",
    "WordOrder",
    "load_template",
    "template_names",
)

WordOrder = Literal["little", "big"]
"""`little`: the least significant word of a value has the lower address."""

Order = Literal["ABCD", "DCBA", "BADC", "CDAB"]
"""How a device lays the bytes ABCD of a value (A the most significant) into its registers, for 16, 32 and 64 bits."""

Datatype = Literal[
    "bool", "bit", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bcd16", "bcd32",
    "string",
]  # fmt: skip
"""`bool` is a coil or a discrete input; `bit` is one bit of a register; `bcd` has a decimal digit in four bits."""

FunctionCode: TypeAlias = Literal[1, 2, 3, 4]
"""Read coils, discrete inputs, holding registers, input registers; no other code exists here."""

Indicator = Annotated[str, StringConstraints(pattern=r"^[A-Z]{4}\.[A-Za-z][A-Za-z0-9]{0,31}$")]
"""IEC 61850 logical node and data object."""

BIT_CODES = frozenset({1, 2})  # these bring single bits
STRING_MAX = 64  # characters: a name plate text, no document
_WIDTH = {"bool": 1, "bit": 1, "string": 0} | {"int16": 1, "uint16": 1, "bcd16": 1}
_WIDTH |= {"int32": 2, "uint32": 2, "float32": 2, "bcd32": 2, "int64": 4, "uint64": 4, "float64": 4}


class Location(Frozen):
    """Where a value stands in the device's table and how it is written there."""

    register_: int = Field(alias="register", ge=0, le=105536, description="number in the maker's table")
    function_code: FunctionCode | None = Field(default=None, description="where it differs from the template's")
    datatype: Datatype
    order: Order | None = Field(default=None, description="where it differs from the device's word order")
    bit: int = Field(default=0, ge=0, le=15, description="for datatype bit: 0 is the least significant")
    length: int = Field(default=0, ge=0, le=STRING_MAX, description="for datatype string: characters, two a register")

    @model_validator(mode="after")
    def _whole(self) -> "Location":
        if (self.datatype == "string") != (self.length > 0):
            raise ValueError("length belongs to datatype string, and there it is needed")
        if self.bit and self.datatype != "bit":
            raise ValueError("bit belongs to datatype bit")
        return self

    @property
    def width(self) -> int:
        """How many 16-bit registers, coils or discrete inputs the value fills."""
        return (self.length + 1) // 2 if self.datatype == "string" else _WIDTH[self.datatype]


class Register(Location):
    """One value in the device's table; its unit is the one that the device states."""

    indicator: Indicator
    unit: str
    scale: float = Field(default=1.0, description="raw number times scale plus offset is the value in `unit`")
    offset: float = 0.0
    unavailable: tuple[float, ...] = Field(default=(), description="raw numbers by which the device says 'no value'")
    unavailable_bits: tuple[int, ...] = Field(default=(), description="the same as bit patterns, for example 0x8000")
    low: float | None = None
    high: float | None = None
    smallest: float = 0.0
    expected_constant: bool = False
    deadband: float = Field(default=0.0, ge=0)
    max_rate_per_s: float | None = Field(default=None, gt=0)
    agrees_with: str = ""
    agreement: float = Field(default=0.0, ge=0)
    note: str = ""


class StatusRule(Location):
    """A register that tells whether its neighbours may be believed; read with them, every time.

    What remains of it under `mask` must be one of `good`; otherwise `points` (all of the group where it is empty)
    have `quality` and `text` as the reason.
    """

    name: Name
    datatype: Literal["bool", "uint16", "uint32"] = "uint16"
    mask: int = Field(default=0xFFFF_FFFF, ge=0)
    good: tuple[int, ...] = Field(min_length=1)
    points: tuple[Indicator, ...] = ()
    quality: Literal["UNCERTAIN", "BAD"] = "BAD"
    text: str


class Check(Location):
    """A setting, a test value or a simulation flag that is compared at every connect.

    Another value than `expected` makes `points` (all of the device where it is empty) BAD with `text` as the reason.
    """

    name: Name
    expected: tuple[float | str, ...] = Field(min_length=1, description="any of these")
    tolerance: float = Field(default=0.0, ge=0)
    points: tuple[Indicator, ...] = ()
    text: str


class SumRule(Frozen):
    """`total` equals the sum of `parts` within `relative` of the sum plus `absolute`."""

    total: Indicator
    parts: tuple[Indicator, ...] = Field(min_length=2)
    relative: float = Field(ge=0, lt=1)
    absolute: float = Field(ge=0)


class Group(Frozen):
    """Values that the device renews together."""

    name: Name
    update_interval_s: float = Field(gt=0)
    frozen_after_cycles: int = Field(
        default=0, ge=0, description="identical measurements of all that moves, until doubted; 0: never"
    )
    readable: tuple[tuple[int, int], ...] = Field(
        default=(), description="first and last register of ranges that answer throughout, gaps included"
    )
    point: tuple[Register, ...] = Field(min_length=1)
    status: tuple[StatusRule, ...] = ()
    sum: tuple[SumRule, ...] = ()


class Template(Frozen):
    """One device type as its maker documents it."""

    name: Name
    maturity: Literal["unverified", "manual", "device"] = Field(
        description="unverified: partly assumed; manual: read from the maker's table; device: checked on a device"
    )
    document: str
    function_code: FunctionCode
    address_base: Literal[0, 1, 10001, 30001, 40001] = Field(description="number of the first register of the table")
    word_order: WordOrder
    max_registers: int = Field(default=125, ge=1, le=125, description="registers that one request may ask for")
    max_bits: int = Field(default=2000, ge=1, le=2000, description="coils or inputs that one request may ask for")
    group: tuple[Group, ...] = Field(min_length=1)
    check: tuple[Check, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Template":
        indicators = [register.indicator for register in self.registers()]
        if len(set(indicators)) < len(indicators):
            raise ValueError("an indicator is given twice")
        for where, location in self._locations():
            self._reachable(where, location)
        for known, what, named in self._references():
            if strangers := set(named) - known:
                raise ValueError(f"{what} names {', '.join(sorted(strangers))}")
        return self

    def _reachable(self, where: str, location: Location) -> None:
        if not 0 <= self.address(location) <= 0x10000 - location.width:
            raise ValueError(f"{where}: register {location.register_} is outside the address range")
        if (location.datatype == "bool") != (self.code(location) in BIT_CODES):
            raise ValueError(f"{where}: function codes 1 and 2 bring bool and nothing else")
        if location.width > self.max_registers:
            raise ValueError(f"{where}: is wider than a request of {self.max_registers} registers")

    def _references(self) -> Iterator[tuple[set[str], str, tuple[str, ...]]]:
        """Indicators that may be named, who names some, and which."""
        for group in self.group:
            own = {register.indicator for register in group.point}
            yield from ((own, f"group {group.name}: sum rule", (rule.total, *rule.parts)) for rule in group.sum)
            yield from ((own, f"group {group.name}: status {rule.name}", rule.points) for rule in group.status)
        known = {register.indicator for register in self.registers()}
        yield from ((known, f"check {check.name}", check.points) for check in self.check)

    def _locations(self) -> Iterator[tuple[str, Location]]:
        yield from ((register.indicator, register) for register in self.registers())
        yield from ((f"status {rule.name}", rule) for group in self.group for rule in group.status)
        yield from ((f"check {check.name}", check) for check in self.check)

    def registers(self) -> Iterator[Register]:
        """Every value of every group."""
        for group in self.group:
            yield from group.point

    def address(self, location: Location) -> int:
        """The address on the wire, which counts from 0."""
        return location.register_ - self.address_base

    def code(self, location: Location) -> FunctionCode:
        """The function code that reads it."""
        return location.function_code or self.function_code


def template_names() -> tuple[str, ...]:
    """The templates that are delivered with the drivers, sorted."""
    folder = resources.files("drivers") / "templates"
    return tuple(sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")))


@cache
def load_template(name: str) -> Template:
    """The delivered template `name`.  Raises Misconfigured where there is none or it is faulty."""
    if name not in template_names():
        raise Misconfigured(f"template {name!r} is unknown; there are: {', '.join(template_names())}")
    text = (resources.files("drivers") / "templates" / f"{name}.toml").read_text(encoding="utf-8")
    try:
        return Template.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as err:
        raise Misconfigured(f"template {name}.toml: {err}") from err
