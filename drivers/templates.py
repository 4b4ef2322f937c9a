"""Device templates: TOML register tables into checked, frozen objects.

A template says where a device keeps its values, in the numbering of the maker's own table, so that a person can
hold the two side by side.  Called by `drivers.modbus` when a link's configuration is read.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from drivers.base import Frozen, Name
from drivers.errors import Misconfigured

__all__ = ("Group", "Register", "SumRule", "Template", "WordOrder", "load_template", "template_names")

WordOrder = Literal["little", "big"]
"""`little`: the least significant word of a value has the lower address."""

Indicator = Annotated[str, StringConstraints(pattern=r"^[A-Z]{4}\.[A-Za-z][A-Za-z0-9]{0,31}$")]
"""IEC 61850 logical node and data object."""

_WIDTH = {"float32": 2, "int16": 1, "uint16": 1}  # 16-bit registers that one value fills


class Register(Frozen):
    """One value in the device's table; its unit is the one that the device states."""

    indicator: Indicator
    register_: int = Field(alias="register", ge=0, le=65536, description="number in the maker's table")
    datatype: Literal["float32", "int16", "uint16"]
    unit: str
    scale: float = Field(default=1.0, description="raw number times scale is the value in `unit`")
    unavailable: tuple[float, ...] = Field(default=(), description="raw numbers by which the device says 'no value'")
    low: float | None = None
    high: float | None = None
    smallest: float = 0.0
    expected_constant: bool = False
    note: str = ""

    @property
    def width(self) -> int:
        """How many 16-bit registers the value fills."""
        return _WIDTH[self.datatype]


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
    readable: tuple[tuple[int, int], ...] = Field(
        default=(), description="first and last register of ranges that answer throughout, gaps included"
    )
    point: tuple[Register, ...] = Field(min_length=1)
    sum: tuple[SumRule, ...] = ()


class Template(Frozen):
    """One device type as its maker documents it."""

    name: Name
    maturity: Literal["unverified", "manual", "device"] = Field(
        description="unverified: partly assumed; manual: read from the maker's table; device: checked on a device"
    )
    document: str
    function_code: Literal[3, 4]
    address_base: Literal[0, 1] = Field(description="number of the first register in the maker's table")
    word_order: WordOrder
    group: tuple[Group, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Template":
        indicators = [register.indicator for register in self.registers()]
        if len(set(indicators)) < len(indicators):
            raise ValueError("an indicator is given twice")
        for register in self.registers():
            if not 0 <= self.address(register) <= 0x10000 - register.width:
                raise ValueError(f"{register.indicator}: register {register.register_} is outside the address range")
        for group in self.group:
            own = {register.indicator for register in group.point}
            for rule in group.sum:
                if strangers := {rule.total, *rule.parts} - own:
                    raise ValueError(f"group {group.name}: sum rule names {', '.join(sorted(strangers))}")
        return self

    def registers(self) -> Iterator[Register]:
        """Every value of every group."""
        for group in self.group:
            yield from group.point

    def address(self, register: Register) -> int:
        """The address on the wire, which counts from 0."""
        return register.register_ - self.address_base


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
