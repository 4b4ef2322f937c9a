"""Scenario files: what stands in the substation, which devices watch it, and what goes wrong when.

TOML in, frozen models out; times in simulated seconds.  Every error of a file is in one report.
Called by `hil_sim.__main__`.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, ValidationError, model_validator

from drivers.base import Frozen, Name
from hil_sim.errors import SimError
from hil_sim.physics.profile import DailyProfile
from hil_sim.register_maps import MAPS

__all__ = (
    "BenchSettings",
    "Breaker",
    "ClockEvent",
    "Device",
    "DeviceEvent",
    "Event",
    "GasTarget",
    "GasesEvent",
    "LeakEvent",
    "LinkEvent",
    "Scenario",
    "SiteEvent",
    "ThermalEvent",
    "Transformer",
    "WireEvent",
    "load_scenario",
)

BREAKER_DEVICES = frozenset({"vaisala-dpt145"})  # every other device watches a transformer
SHIPPED = Path(__file__).parent / "scenarios"
MIN_REAL_TICK_S = 0.005  # below, the loop would do nothing but tick
MAX_UNIT_ID = 247  # highest address of a Modbus device
Concentration = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]  # µL/L; a million is pure gas


class GasTarget(Frozen):
    """Five gases in µL/L, and the carbon oxides where they change too."""

    h2: Concentration
    ch4: Concentration
    c2h6: Concentration
    c2h4: Concentration
    c2h2: Concentration
    co: Concentration | None = None
    co2: Concentration | None = None


class HealthyGases(GasTarget):
    """The full vector that a transformer starts with, µL/L."""

    co: Concentration = 300.0
    co2: Concentration = 3000.0


class Transformer(Frozen):
    """An oil-filled power transformer; heat-run values replace the defaults of its cooling class."""

    id: Name
    cooling: Literal["ONAN-distribution", "ONAF"] = "ONAF"
    top_oil_rise_k: float | None = Field(default=None, gt=0, le=100)
    hot_spot_gradient_k: float | None = Field(default=None, gt=0, le=80)
    loss_ratio: float | None = Field(default=None, gt=0)
    load: DailyProfile = DailyProfile(mean=0.6)
    tap_position: int = Field(default=9, ge=1, le=35)
    moisture_ul_l: float = Field(default=8.0, gt=0, le=100)
    healthy: HealthyGases


class Breaker(Frozen):
    """An SF6 breaker, filled to a pressure at 20 °C."""

    id: Name
    fill_bara: float = Field(default=6.0, gt=1, le=12)
    moisture_ppm: float = Field(default=40.0, gt=0, le=1000)


class Device(Frozen):
    """A Modbus device on a socket of its own, renewing its registers once per cycle."""

    name: Name
    asset: Name
    template: Literal[
        "vaisala-opt100", "vaisala-dpt145", "mr-msense", "abb-coresense-m10", "sel-2414", "eaton-tc-50", "qualitrol-118"
    ]
    unit_id: int = Field(default=1, ge=1, le=MAX_UNIT_ID)
    cycle_s: float = Field(default=3600.0, gt=0, description="simulated seconds")
    frozen_after_cycles: int | None = Field(default=None, ge=0, description="for the gateway under test on the bench")


class _Event(Frozen):
    id: Name
    asset: Name
    at_s: float | None = Field(default=None, ge=0, description="simulated seconds after the start")
    trigger: Literal["command"] | None = None
    source: str = Field(default="", max_length=200, description="where the values come from")

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.at_s is None) == (self.trigger is None):
            raise ValueError('needs either at_s = <simulated seconds> or trigger = "command"')
        return self


class GasesEvent(_Event):
    """The oil's gases move to a target in a number of device cycles."""

    kind: Literal["gases"]
    target: GasTarget
    fault: Literal["PD", "D1", "D2", "T1", "T2", "T3", "N"] | None = None
    ramp_cycles: int = Field(default=1, ge=1, le=10_000)


class ThermalEvent(_Event):
    """The load is held at a value, or the cooling gets worse."""

    kind: Literal["thermal"]
    load_pu: float | None = Field(default=None, ge=0, le=2)
    oil_rise_factor: float = Field(default=1.0, gt=0, le=3)


class LeakEvent(_Event):
    """The breaker loses a share of its gas per day."""

    kind: Literal["leak"]
    percent_per_day: float = Field(ge=0, lt=100)


class DeviceEvent(_Event):
    """The asset's devices die or come back."""

    kind: Literal["device_down", "device_up"]


class LinkEvent(_Event):
    """The line to the asset's devices stands and carries nothing, as behind a radio that is gone; or flows again."""

    kind: Literal["link_freeze", "link_thaw"]


class WireEvent(_Event):
    """What the asset's devices put into their registers: NaN, 0x8000, swapped words, nothing new, or all well again."""

    kind: Literal["sentinel_nan", "sentinel_8000", "swap_words", "frozen", "wire_ok"]


class SiteEvent(_Event):
    """What befalls the site and not one asset: the broker, the plant's OPC UA server, the gateway's supply."""

    asset: Name = "site"
    kind: Literal["broker_down", "broker_up", "opcua_down", "opcua_up", "power_off", "power_on"]


class ClockEvent(_Event):
    """The clock of the plant's OPC UA server goes wrong by this much; 0 mends it."""

    asset: Name = "site"
    kind: Literal["clock_skew"]
    skew_s: float = Field(ge=-86_400 * 3650, le=86_400 * 3650)


Event: TypeAlias = Annotated[
    GasesEvent | ThermalEvent | LeakEvent | DeviceEvent | LinkEvent | WireEvent | SiteEvent | ClockEvent,
    Field(discriminator="kind"),
]


class BenchSettings(Frozen):
    """How a gateway on the bench is set up and judged; real seconds but for `settle_s`."""

    poll_period_s: float = Field(default=0.5, gt=0, le=60)
    timeout_s: float = Field(default=0.3, gt=0, le=60)
    lost_delay_s: float = Field(default=3.0, ge=0, le=3600, description="the gateway's measurement_lost_delay_s")
    clear_after_cycles: int = Field(default=5, ge=1, le=1000)
    allow_s: float = Field(default=10.0, gt=0, le=3600, description="later than this a detection is late")
    allow_frozen_s: float = Field(default=0.0, ge=0, le=3600, description="the same, more for registers that stand")
    settle_s: float = Field(default=72_000.0, ge=0, description="simulated seconds after the last event")


class Scenario(Frozen):
    """One simulated substation and its script."""

    seed: int
    time_factor: float = Field(gt=0, le=1e6, description="simulated seconds per real second")
    tick_s: float = Field(gt=0, le=3600, description="simulated seconds per physics tick")
    ambient: DailyProfile
    noise_degc: float = Field(default=0.0, ge=0, le=5, description="standard deviation of shown temperatures")
    gas_noise_rel: float = Field(default=0.0, ge=0, le=0.2, description="relative standard deviation of shown gases")
    commission_gas_noise_rel: float = Field(default=0.03, ge=0, le=0.2, description="the same, for `commission`")
    transformers: tuple[Transformer, ...]
    breakers: tuple[Breaker, ...] = ()
    devices: tuple[Device, ...] = ()
    events: tuple[Event, ...] = ()
    bench: BenchSettings = BenchSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*_duplicates(self), *_tick_problems(self), *_device_problems(self)]
        problems += [*_event_problems(self), *_wire_problems(self)]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def tick_real_s(self) -> float:
        """Real seconds per physics tick."""
        return self.tick_s / self.time_factor


def load_scenario(name_or_path: str) -> Scenario:
    """Read a shipped scenario by name, or any file by path.

    Raises SimError with every error of the file: key, what is wrong, what would be right.
    """
    path = SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise SimError(f"{path}: cannot be read ({err.strerror}); shipped scenarios: {shipped}") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SimError(f"{path}: not TOML: {err}") from err
    try:
        return Scenario.model_validate(data)
    except ValidationError as err:
        lines = [f"{path}: {_key(error['loc'])}: {error['msg']}" for error in err.errors()]
        raise SimError("\n".join(lines)) from err


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "scenario"


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _wire_problems(scenario: Scenario) -> Iterable[str]:
    for event in scenario.events:
        if isinstance(event, WireEvent) and event.kind != "wire_ok":
            for device in scenario.devices:
                wires = MAPS[device.template].wires
                if device.asset == event.asset and event.kind not in wires:
                    can = ", ".join(sorted(wires))
                    yield f"event {event.id!r}: {device.template} cannot show {event.kind}; it can {can}"


def _duplicates(scenario: Scenario) -> Iterable[str]:
    assets = [a.id for a in scenario.transformers] + [b.id for b in scenario.breakers]
    yield from (f"asset {name!r} is there twice" for name in _repeated(assets))
    yield from (f"device {name!r} is there twice" for name in _repeated(d.name for d in scenario.devices))
    yield from (f"event {name!r} is there twice" for name in _repeated(e.id for e in scenario.events))


def _tick_problems(scenario: Scenario) -> Iterable[str]:
    if scenario.tick_real_s < MIN_REAL_TICK_S:
        least = MIN_REAL_TICK_S * scenario.time_factor
        yield f"tick_s = {scenario.tick_s:g} is too short at time_factor {scenario.time_factor:g}: at least {least:g}"
    for device in scenario.devices:
        ticks = device.cycle_s / scenario.tick_s
        if not math.isclose(ticks, max(1, round(ticks)), rel_tol=1e-9):
            yield f"device {device.name!r}: cycle_s must be a multiple of tick_s = {scenario.tick_s:g}"


def _device_problems(scenario: Scenario) -> Iterable[str]:
    transformers, breakers = {asset.id for asset in scenario.transformers}, {asset.id for asset in scenario.breakers}
    for device in scenario.devices:
        fitting = breakers if device.template in BREAKER_DEVICES else transformers
        if device.asset not in fitting:
            known = ", ".join(sorted(fitting)) or "none"
            yield f"device {device.name!r}: {device.template} cannot watch {device.asset!r}; fitting assets: {known}"


def _event_problems(scenario: Scenario) -> Iterable[str]:
    transformers = {asset.id for asset in scenario.transformers}
    breakers = {asset.id for asset in scenario.breakers}
    watched = {device.asset for device in scenario.devices}
    for event in scenario.events:
        if isinstance(event, SiteEvent | ClockEvent):
            continue
        if isinstance(event, GasesEvent | ThermalEvent):
            fitting = transformers
        elif isinstance(event, LeakEvent):
            fitting = breakers
        else:
            fitting = watched
        if event.asset not in fitting:
            known = ", ".join(sorted(fitting)) or "none"
            yield f"event {event.id!r}: {event.kind} cannot happen to {event.asset!r}; fitting assets: {known}"
