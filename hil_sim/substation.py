"""The simulated substation: physics, script and device cycles, advanced tick by tick of simulated time.

In: a scenario, and the ids of events that a command triggers.  Out: at each tick what the devices and the plant's
OPC UA server show, and what happened.  Deterministic: the same scenario and the same triggers at the same ticks
give the same values; no wall clock, no sockets.  Called by `hil_sim.control` and `hil_sim.commission`.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hil_sim.errors import SimError
from hil_sim.physics.gassing import GASES, ChamberThermometer, GasModel, combustible_sum_ul_l
from hil_sim.physics.profile import DailyProfile, Drift
from hil_sim.physics.sf6 import SF6Model, pressure_bara
from hil_sim.physics.thermal import COOLING, ThermalModel, ThermalParameters
from hil_sim.scenario import (
    Breaker,
    ClockEvent,
    Device,
    DeviceEvent,
    Event,
    GasesEvent,
    LeakEvent,
    LinkEvent,
    Scenario,
    SiteEvent,
    ThermalEvent,
    Transformer,
    WireEvent,
)

__all__ = ("PLANT_POINTS", "DeviceCycle", "Happening", "Substation", "Tick", "gas_monitor_channels")

SETTLE_S = 2 * 86_400  # oil follows in hours: after two days it has forgotten where it began
REFERENCE_CHAMBER_K = 318.15  # the relative saturation is stated at 45 °C
KELVIN = 273.15
RATED_CURRENT_A = 350.0  # on the side where the relay's transformers sit
PROPENE_SHARE, PROPANE_SHARE = 0.3, 0.5  # of ethylene and ethane, which they accompany; no standard states it
TOTAL_GAS_PRESSURE_HPA = 700.0  # a sealed transformer's ordinary value
MIN_TEMPERATURE_STEP_K = 0.02  # the density sensor's last digits never stand still

PLANT_POINTS: Mapping[str, str] = MappingProxyType(
    {
        "SIML.Tmp": "degC",
        "STMP.EnvTmp": "degC",
        "SPTR.HPTmp": "degC",
        "MMXU.LodPu": "pu",
        "YLTC.TapPos": "-",
    }
)
"""What the plant's own OPC UA server shows of each transformer, with units."""


@dataclass(frozen=True, slots=True)
class DeviceCycle:
    """One renewal of a device's registers: the channels' true values, and how they get onto the wire."""

    device: Device
    number: int
    channels: Mapping[str, float]
    wire: str  # "wire_ok" or the kind of a WireEvent


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of the script that has just begun."""

    event: Event
    time_s: float


@dataclass(frozen=True, slots=True)
class Tick:
    """All that one tick brought."""

    time_s: float
    plant: Mapping[str, float]  # "<asset>/<LN.DO>" -> value
    cycles: tuple[DeviceCycle, ...]
    happenings: tuple[Happening, ...]


class Substation:
    """Two days of history, then one tick after the other."""

    def __init__(self, scenario: Scenario, *, start_s: float = 0.0) -> None:
        """Stand at a simulated time in seconds (negative: before the script begins)."""
        self._scenario = scenario
        self._tick_count = 0
        self._start_s = start_s
        self._ambient = _Course(scenario.ambient, scenario, "ambient")
        first_ambient_degc = self._ambient.expected(start_s - SETTLE_S)
        self._transformers = {
            spec.id: _TransformerState(spec, scenario, start_s - SETTLE_S, first_ambient_degc)
            for spec in scenario.transformers
        }
        self._breakers = {spec.id: _BreakerState(spec, scenario) for spec in scenario.breakers}
        self._devices = [_DeviceState(device) for device in scenario.devices]
        self._events = {event.id: event for event in scenario.events}
        self._triggered: list[Event] = []
        self._scheduled = sorted((e for e in scenario.events if e.at_s is not None), key=lambda e: e.at_s or 0.0)
        for settling in range(int(-SETTLE_S / scenario.tick_s), 0):
            self._advance(start_s + settling * scenario.tick_s)

    @property
    def time_s(self) -> float:
        """Simulated seconds since the script began."""
        return self._start_s + self._tick_count * self._scenario.tick_s

    def trigger(self, event_id: str) -> Event:
        """Let an event begin at the next tick.  Raises SimError when the script has no such commanded event."""
        event = self._events.get(event_id)
        if event is None or event.trigger is None:
            known = ", ".join(e.id for e in self._scenario.events if e.trigger) or "none"
            raise SimError(f"no event {event_id!r} waits for a command; these do: {known}")
        if len(self._triggered) >= len(self._events):
            raise SimError("more triggers than events are waiting for the next tick")
        self._triggered.append(event)
        return event

    def tick(self) -> Tick:
        """Go on by one tick and report."""
        happenings = tuple(Happening(event, self.time_s) for event in self._due())
        for happening in happenings:
            self._begin(happening.event)
        ambient_degc = self._advance(self.time_s)
        cycles = tuple(self._cycle(state, ambient_degc) for state in self._devices if self._renews(state))
        plant = {
            f"{name}/{indicator}": value
            for name, transformer in self._transformers.items()
            for indicator, value in transformer.plant_values(ambient_degc).items()
        }
        self._tick_count += 1
        return Tick(time_s=self.time_s, plant=plant, cycles=cycles, happenings=happenings)

    def _due(self) -> list[Event]:
        due, self._triggered = self._triggered, []
        while self._scheduled and (self._scheduled[0].at_s or 0.0) <= self.time_s:
            due.append(self._scheduled.pop(0))
        return due

    def _begin(self, event: Event) -> None:
        match event:
            case GasesEvent():
                target = event.target.model_dump(exclude_none=True)
                self._transformers[event.asset].gases.aim(target, ramp_cycles=event.ramp_cycles)
            case ThermalEvent():
                self._transformers[event.asset].disturb(event)
            case LeakEvent():
                self._breakers[event.asset].gas.leak_percent_per_day = event.percent_per_day
            case WireEvent():
                for state in self._devices:
                    state.wire = event.kind if state.device.asset == event.asset else state.wire
            case DeviceEvent() | LinkEvent() | SiteEvent() | ClockEvent():
                pass  # sockets and clocks are the caller's: it reads the happening

    def _advance(self, time_s: float) -> float:
        ambient_degc = self._ambient.next(time_s)
        for transformer in self._transformers.values():
            transformer.advance(time_s, ambient_degc)
        for breaker in self._breakers.values():
            breaker.gas.advance(self._scenario.tick_s)
        return ambient_degc

    def _renews(self, state: "_DeviceState") -> bool:
        return self._tick_count % round(state.device.cycle_s / self._scenario.tick_s) == 0

    def _cycle(self, state: "_DeviceState", ambient_degc: float) -> DeviceCycle:
        asset = state.device.asset
        if asset in self._transformers:
            channels = self._transformers[asset].channels(state.device.template, ambient_degc)
        else:
            channels = self._breakers[asset].measure(ambient_degc)
        cycle = DeviceCycle(state.device, state.cycle_count, channels, state.wire)
        state.cycle_count += 1
        return cycle


def gas_monitor_channels(
    gases_ul_l: Mapping[str, float], *, moisture_ul_l: float, chamber_degc: float
) -> dict[str, float]:
    """All channels of a dissolved-gas monitor that shows these gases (µL/L)."""
    return {gas: gases_ul_l[gas] for gas in GASES} | {
        "tdcg": combustible_sum_ul_l(gases_ul_l),
        "moisture": moisture_ul_l,
        "chamber": chamber_degc,
        "saturation": 100 * moisture_ul_l / saturation_ul_l(REFERENCE_CHAMBER_K),
        "gas_pressure": TOTAL_GAS_PRESSURE_HPA,
    }


def saturation_ul_l(temperature_k: float) -> float:
    """Water that mineral oil can hold: log10(ppm) = 7.42 - 1670/T (Oommen)."""
    return float(10 ** (7.42 - 1670.0 / temperature_k))


@dataclass(slots=True)
class _DeviceState:
    device: Device
    wire: str = "wire_ok"
    cycle_count: int = field(default=0)


class _Course:
    """A profile with its own seeded deviation."""

    def __init__(self, profile: DailyProfile, scenario: Scenario, name: str) -> None:
        self._profile = profile
        self._drift = Drift(profile, random.Random(f"{scenario.seed}/{name}"), tick_s=scenario.tick_s)

    def expected(self, time_s: float) -> float:
        return self._profile.at(time_s)

    def next(self, time_s: float) -> float:
        return self._profile.at(time_s) + self._drift.next()


class _TransformerState:
    """Oil, winding, gases and load of one transformer."""

    def __init__(self, spec: Transformer, scenario: Scenario, start_s: float, ambient_degc: float) -> None:
        self._spec = spec
        self._tick_min = scenario.tick_s / 60
        self._noise_degc = scenario.noise_degc
        self._rng = random.Random(f"{scenario.seed}/{spec.id}")
        self._load = _Course(spec.load, scenario, f"{spec.id}/load")
        self._held_load_pu: float | None = None
        self._load_pu = self._load.expected(start_s)
        self._thermal = ThermalModel.settled(_parameters(spec), load_pu=self._load_pu, ambient_degc=ambient_degc)
        healthy = spec.healthy.model_dump()
        self.gases = GasModel(
            healthy, random.Random(f"{scenario.seed}/{spec.id}/gases"), noise_rel=scenario.gas_noise_rel
        )
        self._chamber = ChamberThermometer(random.Random(f"{scenario.seed}/{spec.id}/chamber"))

    def advance(self, time_s: float, ambient_degc: float) -> None:
        expected_pu = max(0.0, self._load.next(time_s))
        self._load_pu = expected_pu if self._held_load_pu is None else self._held_load_pu
        self._thermal.advance(self._tick_min, load_pu=self._load_pu, ambient_degc=ambient_degc)

    def disturb(self, event: ThermalEvent) -> None:
        if event.load_pu is not None:
            self._held_load_pu = event.load_pu
        self._thermal.scale_oil_rise(event.oil_rise_factor)

    def plant_values(self, ambient_degc: float) -> dict[str, float]:
        return {
            "SIML.Tmp": self._shown(self._thermal.top_oil_degc),
            "STMP.EnvTmp": self._shown(ambient_degc),
            "SPTR.HPTmp": self._shown(self._thermal.hot_spot_degc),
            "MMXU.LodPu": self._load_pu,
            "YLTC.TapPos": self._spec.tap_position,
        }

    def channels(self, template: str, ambient_degc: float) -> dict[str, float]:
        """What a device of this kind shows of the transformer now."""
        thermal = self._thermal
        match template:
            case "eaton-tc-50":
                return dict.fromkeys(("winding_1", "winding_2", "winding_3"), thermal.hot_spot_degc) | {
                    "ambient": ambient_degc
                }
            case "sel-2414":
                currents = dict.fromkeys(("current_a", "current_b", "current_c"), RATED_CURRENT_A * self._load_pu)
                return currents | {"angle_a": 0.0, "angle_b": -120.0, "angle_c": 120.0}
            case "qualitrol-118":
                return {}  # settings alone
            case _:
                return self._gas_channels(template)

    def _gas_channels(self, template: str) -> dict[str, float]:
        oil_degc, moisture_ul_l = self._thermal.top_oil_degc, self._spec.moisture_ul_l
        shown = gas_monitor_channels(
            self.gases.analyse(), moisture_ul_l=moisture_ul_l, chamber_degc=self._chamber.next_degc()
        )
        if template == "vaisala-opt100":
            return shown
        shown["oil"] = oil_degc
        if template == "mr-msense":
            return {channel: shown[channel] for channel in ("co", "h2", "moisture", "oil")}
        activity = moisture_ul_l / saturation_ul_l(oil_degc + KELVIN)
        propane = {"c3h6": PROPENE_SHARE * shown["c2h4"], "c3h8": PROPANE_SHARE * shown["c2h6"]}
        return shown | propane | {"activity": min(activity, 1.0)}

    def _shown(self, value_degc: float) -> float:
        return value_degc + self._rng.gauss(0, self._noise_degc)


class _BreakerState:
    """Gas of one breaker, as its density sensor sees it."""

    def __init__(self, spec: Breaker, scenario: Scenario) -> None:
        self._spec = spec
        self._rng = random.Random(f"{scenario.seed}/{spec.id}")
        self._wobble_k = MIN_TEMPERATURE_STEP_K
        self.gas = SF6Model(fill_bara=spec.fill_bara)

    def measure(self, ambient_degc: float) -> dict[str, float]:
        self._wobble_k = -self._wobble_k
        temperature_degc = ambient_degc + self._wobble_k * self._rng.uniform(1, 2)
        return {
            "temperature": temperature_degc,
            "frost_point": -38.0,
            "frost_point_atmospheric": -52.0,
            "moisture": self._spec.moisture_ppm,
            "pressure": pressure_bara(self.gas.density_kg_m3, temperature_degc),
            "density": self.gas.density_kg_m3,
            "pressure_20": self.gas.pressure_20_bara,
        }


def _parameters(spec: Transformer) -> ThermalParameters:
    typical = COOLING[spec.cooling]
    return replace(
        typical,
        top_oil_rise_k=spec.top_oil_rise_k or typical.top_oil_rise_k,
        hot_spot_rise_k=spec.hot_spot_gradient_k or typical.hot_spot_rise_k,
        loss_ratio=spec.loss_ratio or typical.loss_ratio,
    )
