"""What crosses the border of `drivers/`: samples in, messages out, and the two protocols that carry them.

Read by every other folder; `Sample` is a slotted dataclass because thousands are made each second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = (
    "Clock",
    "Delivery",
    "Frozen",
    "Inbound",
    "Measured",
    "Message",
    "Name",
    "Point",
    "Quality",
    "Sample",
    "Sink",
    "Source",
    "Value",
)

Value: TypeAlias = float | int | bool | str | None
"""A measured value after scaling; `None` where the device gave nothing usable."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""An identifier that is safe in topics, file names and SQL: letters, digits, `_ . -`, at most 64."""


class Frozen(BaseModel):
    """Base of all border types: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quality(StrEnum):
    """How far a value may be trusted; every sample has one."""

    GOOD = "GOOD"
    UNCERTAIN = "UNCERTAIN"  # plausible, but something about it is open: never diagnosed, shown
    BAD = "BAD"  # the device or the wire says that it is wrong
    STALE = "STALE"  # nothing new came in time


class Clock(Protocol):
    """Time as an input, so that a simulated twin can replace it."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back, also across a suspend."""
        ...

    def trusted(self) -> bool:
        """True when the wall time is known to be synchronised."""
        ...


class Point(Frozen):
    """One value that a device offers.

    `id` is `<asset>/<logical node>.<data object>`, for example `T1/SIML.H2ppm`.  Points of one `group` are
    renewed together by the device (one gas analysis): a changed group is one measurement.  Values outside
    `low`…`high`, or non-zero and smaller than `smallest` in magnitude, are implausible; one implausible value
    makes its whole group BAD, because it means that the registers are not what the template says.
    """

    id: str
    unit: str
    group: str
    update_interval_s: float = Field(gt=0, description="the device renews the value this often")
    expected_constant: bool = Field(default=False, description="standing still is no sign of a fault")
    low: float | None = None
    high: float | None = None
    smallest: float = 0.0
    deadband: float = Field(default=0.0, ge=0, description="changes up to this are not stored")
    max_rate_per_s: float | None = Field(default=None, gt=0, description="a faster change is doubted")
    frozen_after_cycles: int = Field(default=0, ge=0, description="identical measurements of the group; 0: never")
    agrees_with: str = Field(default="", description="indicator of the same asset that measures the same thing")
    agreement: float = Field(default=0.0, ge=0, description="difference to it that is no disagreement")

    @property
    def asset_id(self) -> str:
        """The part before the slash."""
        return self.id.partition("/")[0]

    @property
    def indicator(self) -> str:
        """The part behind the slash, IEC 61850 logical node and data object."""
        return self.id.partition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of one point at one time, with how far it can be trusted.  All times aware UTC."""

    point_id: str
    value: Value
    quality: Quality
    received_time: datetime
    monotonic_ns: int
    clock_trusted: bool
    reason: str = ""  # why the quality is not GOOD
    source_time: datetime | None = None  # stamped by the device
    server_time: datetime | None = None  # stamped by the server that speaks for the device
    historical: bool = False
    test: bool = False
    substituted: bool = False


@runtime_checkable
class Measured(Protocol):
    """A source that counts what it does; the names become metrics `blackstart_link_<name>`."""

    def metrics(self) -> Mapping[str, float]:
        """Name with its unit → number, now."""
        ...


class Source(Protocol):
    """A physical link that samples come from.  Connecting, reading and closing are three steps."""

    @property
    def name(self) -> str:
        """The link's name in the configuration."""
        ...

    @property
    def points(self) -> Sequence[Point]:
        """Every point that this link serves."""
        ...

    async def open(self) -> None:
        """Connect and check the devices.  Raises Transient where the peer is away, Refused where it says no."""
        ...

    async def read(self) -> list[Sample]:
        """What is new since the last call; a device that fails is left out, and its points go STALE.

        Raises Transient when the link itself is lost: the caller closes it and opens it again later.
        """
        ...

    async def close(self) -> None:
        """Let go of the link; never raises for a peer that is already gone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message for SCADA; `message_id` is what receivers de-duplicate on."""

    message_id: str
    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the broker said of a message it accepted."""

    reason_code: int
    no_subscriber: bool


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that came from the broker; untrusted."""

    topic: str
    payload: bytes
    properties: Mapping[str, str]


class Sink(Protocol):
    """Where messages go."""

    async def send(self, message: Message) -> Delivery:
        """Return only after the broker's acknowledgement with a success code.

        Raises Transient when the link is lost or silent, Refused when the broker answers with a failure code.
        """
        ...
