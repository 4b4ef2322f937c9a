"""What really stands in the simulated plant, second by second: conditions, impairments, and every value shown.

In: events and ticks of the simulator with the real second in which they took place.  Out: the truth that a gateway
is judged by.  Knows the limits that make a condition by its own hand, not from the daemon.  Called by
`hil_sim.bench`; read by `hil_sim.score`.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from hil_sim.register_maps import MAPS, on_the_wire
from hil_sim.scenario import (
    DeviceEvent,
    Event,
    GasesEvent,
    LinkEvent,
    Scenario,
    SiteEvent,
    WireEvent,
)
from hil_sim.substation import DeviceCycle, Tick

__all__ = ("GAS_ALARM_SHARE", "GAS_LOCKOUT_SHARE", "INDICATORS", "Condition", "Mask", "Shown", "Truth")

GAS_ALARM_SHARE, GAS_LOCKOUT_SHARE = 0.9, 5 / 6  # of the filling pressure; written into the gateway's nameplate too
TOP_OIL_LIMIT_DEGC, HOT_SPOT_LIMIT_DEGC = 105.0, 120.0  # IEC 60076-7, normal cyclic loading
MARGIN_K = 2.0  # this near to a limit, either answer is right
MARGIN_BARA = 0.02
TIGHT_SHARE = 0.999  # of the filling pressure; below it gas has gone
SHOWN_KEPT = 20_000  # values per point; at a value a second, hours
LOST = "MeasurementLost"

INDICATORS = {
    "vaisala-opt100": {
        "h2": "SIML.H2ppm",
        "ch4": "SIML.CH4ppm",
        "c2h6": "SIML.C2H6ppm",
        "c2h4": "SIML.C2H4ppm",
        "c2h2": "SIML.C2H2ppm",
        "co": "SIML.COppm",
        "co2": "SIML.CO2ppm",
        "tdcg": "SIML.CmbuGas",
        "moisture": "SIML.H2O",
        "chamber": "SIML.ChmTmp",
    },
    "vaisala-dpt145": {
        "temperature": "SIMG.Tmp",
        "moisture": "SIMG.H2O",
        "pressure": "SIMG.Pres",
        "density": "SIMG.Den",
        "pressure_20": "SIMG.Pres20",
    },
    "mr-msense": {"co": "SIML.COppm", "h2": "SIML.H2ppm", "moisture": "SIML.H2O", "oil": "SIML.Tmp"},
    "abb-coresense-m10": {
        "activity": "SIML.H2OAct",
        "moisture": "SIML.H2O",
        "h2": "SIML.H2ppm",
        "c2h6": "SIML.C2H6ppm",
        "tdcg": "SIML.CmbuGas",
        "c3h6": "SIML.C3H6ppm",
        "c3h8": "SIML.C3H8ppm",
        "oil": "SIML.Tmp",
    },
    "sel-2414": {
        "current_a": "GGIO.AnIn200",
        "current_b": "GGIO.AnIn202",
        "current_c": "GGIO.AnIn204",
    },
    "eaton-tc-50": {
        "winding_1": "SPTR.WndTmp1",
        "winding_2": "SPTR.WndTmp2",
        "winding_3": "SPTR.WndTmp3",
        "ambient": "STMP.EnvTmp",
    },
    "qualitrol-118": {},
}


@dataclass(slots=True)
class Condition:
    """Something that a gateway ought to tell: since when, until when, and by which name."""

    asset: str
    definition: str
    began_s: float
    cause: str
    code: str = ""  # the fault type, where there is a right answer
    ended_s: float | None = None


@dataclass(slots=True)
class Mask:
    """A time in which nobody can be told, or nothing be seen: of one asset, or of all (`asset` empty)."""

    asset: str
    began_s: float
    why: str
    ended_s: float | None = None

    def overlap_s(self, begin_s: float, end_s: float) -> float:
        """How much of this span it covers."""
        until_s = end_s if self.ended_s is None else self.ended_s
        return max(0.0, min(end_s, until_s) - max(begin_s, self.began_s))


@dataclass(frozen=True, slots=True)
class Shown:
    """A true value and the real second from which it stood."""

    at_s: float
    value: float


@dataclass(slots=True)
class Truth:
    """Grows with the run; times are real seconds of the bench's loop."""

    scenario: Scenario
    conditions: list[Condition] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    near: dict[tuple[str, str], float] = field(default_factory=dict)  # since when an alarm would not be wrong
    shown: dict[str, deque[Shown]] = field(default_factory=dict)
    _broken: dict[str, set[str]] = field(default_factory=dict)  # asset -> which of its ways to the gateway

    def happened(self, event: Event, at_s: float) -> None:
        """An event has begun."""
        match event:
            case GasesEvent(fault="N"):
                self._end(event.asset, "DgaFault", at_s)
            case GasesEvent() if event.fault:
                self._end(event.asset, "DgaFault", at_s)
                self._begin(event.asset, "DgaFault", at_s, event.id, event.fault)
            case DeviceEvent() | LinkEvent() | WireEvent():
                over = event.kind in {"device_up", "link_thaw", "wire_ok"}
                self._impaired(event.asset, "devices", event, at_s, over=over)
            case SiteEvent(kind="opcua_down" | "opcua_up"):
                for transformer in self.scenario.transformers:
                    self._impaired(transformer.id, "server", event, at_s, over=event.kind == "opcua_up")
            case SiteEvent():
                self._mask("", event.kind, at_s)
            case _:
                pass  # what a leak or a hot day brings is seen in the values

    def ticked(self, tick: Tick, at_s: float) -> None:
        """Values are shown."""
        for cycle in tick.cycles:
            self._cycle(cycle, at_s)
        for point, value in tick.plant.items():
            self._note(point, value, at_s)
            asset, _, indicator = point.partition("/")
            if indicator == "SIML.Tmp":
                self._over(asset, "TopOilHigh", value - TOP_OIL_LIMIT_DEGC, MARGIN_K, at_s)
            elif indicator == "SPTR.HPTmp":
                self._over(asset, "HotSpotHigh", value - HOT_SPOT_LIMIT_DEGC, MARGIN_K, at_s)

    def masked_s(self, asset: str, begin_s: float, end_s: float, *, sight: bool) -> float:
        """Seconds of this span in which nobody could be told or, with `sight`, the asset not be seen."""
        mine = [m for m in self.masks if not m.asset or (sight and m.asset == asset)]
        cuts = sorted({begin_s, end_s, *(t for m in mine for t in (m.began_s, m.ended_s or end_s))})
        spans = [(a, b) for a, b in pairwise(cuts) if begin_s <= a and b <= end_s]
        return sum(b - a for a, b in spans if any(m.overlap_s(a, b) > 0 for m in mine))

    def _cycle(self, cycle: DeviceCycle, at_s: float) -> None:
        asset, template = cycle.device.asset, cycle.device.template
        for channel, indicator in INDICATORS[template].items():
            shown = on_the_wire(MAPS[template], channel, cycle.channels[channel])
            self._note(f"{asset}/{indicator}", shown, at_s)
        if "pressure_20" in cycle.channels:
            fill = next(b.fill_bara for b in self.scenario.breakers if b.id == asset)
            if cycle.channels["pressure_20"] < TIGHT_SHARE * fill:
                self.near.setdefault((asset, "GasLeak"), at_s)  # days of samples decide when it can be told
            self._over(
                asset, "GasDensityLow", GAS_ALARM_SHARE * fill - cycle.channels["pressure_20"], MARGIN_BARA, at_s
            )

    def _note(self, point: str, value: float, at_s: float) -> None:
        self.shown.setdefault(point, deque(maxlen=SHOWN_KEPT)).append(Shown(at_s, value))

    def _over(self, asset: str, definition: str, excess: float, margin: float, at_s: float) -> None:
        if excess > -margin:
            self.near.setdefault((asset, definition), at_s)
        if excess > margin and self._open(asset, definition) is None:
            self._begin(asset, definition, at_s, "values")
        elif excess < -margin:
            self._end(asset, definition, at_s)

    def _impaired(self, asset: str, way: str, event: Event, at_s: float, *, over: bool) -> None:
        """One of the ways on which an asset is seen breaks or is mended; it is seen in full when all are whole."""
        broken = self._broken.setdefault(asset, set())
        if over:
            broken.discard(way)
        elif way not in broken:
            broken.add(way)
            self.masks.append(Mask(asset, at_s, way))
        for mask in self.masks:
            if mask.asset == asset and mask.ended_s is None and mask.why not in broken:
                mask.ended_s = at_s
        if not broken:
            self._end(asset, LOST, at_s)
        elif self._open(asset, LOST) is None:
            self._begin(asset, LOST, at_s, event.id)

    def _mask(self, asset: str, kind: str, at_s: float) -> None:
        what, _, state = kind.rpartition("_")
        if state in {"down", "off"}:
            self.masks.append(Mask(asset, at_s, what))
            return
        for mask in self.masks:
            if mask.why == what and mask.ended_s is None:
                mask.ended_s = at_s

    def _open(self, asset: str, definition: str) -> Condition | None:
        for condition in self.conditions:
            if (condition.asset, condition.definition, condition.ended_s) == (asset, definition, None):
                return condition
        return None

    def _begin(self, asset: str, definition: str, at_s: float, cause: str, code: str = "") -> None:
        self.conditions.append(Condition(asset, definition, at_s, cause, code))

    def _end(self, asset: str, definition: str, at_s: float) -> None:
        condition = self._open(asset, definition)
        if condition is not None:
            condition.ended_s = at_s
