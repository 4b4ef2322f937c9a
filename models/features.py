"""From samples of one device group to measurements, and from measurements to gases that may be diagnosed.

A poll is not a measurement: a gas monitor renews its values about hourly and is read every second.  `CycleDetector`
turns polls into device cycles, `Window` keeps the last of them, `reliable_gases` is the gate before the dissolved-gas
methods (the alert rule of Vaisala's OPT100: five reliable points in 24 h, and gases above what the device resolves).
Inputs: `Sample`s of quality GOOD, µL/L.  Called by hard agents; nothing here does any I/O.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from statistics import median

from drivers.base import Point, Quality, Sample
from models.dga.gases import MAX_UL_L, Gases
from models.findings import EvidenceSample

__all__ = (
    "GAS_FIELDS",
    "MAX_CYCLES",
    "MIN_RELIABLE",
    "Cycle",
    "CycleDetector",
    "Reading",
    "Window",
    "above_detection",
    "level_change",
    "measured_value",
    "reliable_gases",
    "window_of",
)

MAX_CYCLES = 288  # a day of a device that measures every five minutes
MIN_RELIABLE = 5  # cycles at one level before it is diagnosed; odd, so that a median is a measured value
SAME_LEVEL = 0.75  # the smaller of two neighbours is at least this share of the larger, else the level has changed

_LONG_AGO = datetime(1970, 1, 2, tzinfo=UTC)  # stands for the time of an empty window

GAS_FIELDS = {  # indicator → field of Gases
    "SIML.H2ppm": "h2_ul_l",
    "SIML.CH4ppm": "ch4_ul_l",
    "SIML.C2H6ppm": "c2h6_ul_l",
    "SIML.C2H4ppm": "c2h4_ul_l",
    "SIML.C2H2ppm": "c2h2_ul_l",
    "SIML.COppm": "co_ul_l",
    "SIML.CO2ppm": "co2_ul_l",
}
_ACCURACY_UL_L = {"h2_ul_l": 25, "ch4_ul_l": 10, "c2h6_ul_l": 10, "c2h4_ul_l": 10, "c2h2_ul_l": 2}
_SUFFICIENT_UL_L = {"h2_ul_l": 50, "ch4_ul_l": 30, "c2h6_ul_l": 30, "c2h4_ul_l": 30, "c2h2_ul_l": 4}
_FAULT_INDICATORS = tuple(indicator for indicator, field in GAS_FIELDS.items() if field in _ACCURACY_UL_L)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One measurement: what a device group showed between two renewals."""

    number: int  # since the agent first saw the group, from 1
    time: datetime  # the device's own, else when the gateway received it
    values: dict[str, float]  # indicator → value in its point's unit


@dataclass(frozen=True, slots=True)
class Reading:
    """What the gate lets through: medians over `cycles`, or no gases and the reason."""

    gases: Gases | None
    cycles: tuple[Cycle, ...] = ()
    reason: str = ""
    quiet: bool = False  # enough reliable cycles, and nothing in them stands out of the device's noise


class CycleDetector:
    """Tells device cycles from polls, for one group of points that the device renews together.

    A new cycle is a changed source timestamp, else a changed value of the group; where the device stamps nothing, also
    a standing group after `update_interval_s`.  A stamped group that stands still is not measured anew by waiting.
    """

    def __init__(self, points: Sequence[Point], *, last_number: int = 0) -> None:
        self._indicators = {point.id: point.indicator for point in points}
        self._update_interval_ns = max(point.update_interval_s for point in points) * 1e9
        self._number = last_number
        self._values: dict[str, float] = {}
        self._stamps: tuple[datetime | None, ...] = ()
        self._seen_ns = 0

    def feed(self, samples: Sequence[Sample]) -> Cycle | None:
        """The new cycle that one poll shows, else `None`.

        A group that is incomplete or holds anything but GOOD, measured, finite numbers is passed over as a whole and
        leaves no trace: the next good poll is compared with the last good one.
        """
        by_point = {sample.point_id: sample for sample in samples if sample.point_id in self._indicators}
        values = {
            indicator: value
            for point_id, indicator in self._indicators.items()
            if (sample := by_point.get(point_id)) is not None and (value := measured_value(sample)) is not None
        }
        if len(values) < len(self._indicators):
            return None
        stamps = tuple(by_point[point_id].source_time for point_id in self._indicators)
        newest = max(by_point.values(), key=lambda sample: sample.monotonic_ns)
        if not self._is_new(values, stamps, newest.monotonic_ns):
            return None
        self._values, self._stamps, self._seen_ns = values, stamps, newest.monotonic_ns
        self._number += 1
        return Cycle(self._number, newest.source_time or newest.received_time, values)

    def _is_new(self, values: dict[str, float], stamps: tuple[datetime | None, ...], now_ns: int) -> bool:
        if stamps != self._stamps or values != self._values:
            return True
        if any(stamp is not None for stamp in stamps):
            return False
        # A monotonic clock that went back means samples from before a restart: nothing is known of the time between.
        return not 0 <= now_ns - self._seen_ns < self._update_interval_ns


class Window:
    """The last cycles of one group, oldest first; bounded."""

    def __init__(self, max_cycles: int = MAX_CYCLES) -> None:
        self._cycles: deque[Cycle] = deque(maxlen=max_cycles)

    def __len__(self) -> int:
        return len(self._cycles)

    def __iter__(self) -> Iterator[Cycle]:
        return iter(self._cycles)

    def add(self, cycle: Cycle) -> None:
        """Append the newest cycle; the oldest falls out when the window is full."""
        self._cycles.append(cycle)

    @property
    def newest(self) -> Cycle:
        """The last cycle; the window must not be empty."""
        return self._cycles[-1]

    @property
    def count(self) -> int:
        """Cycles since the agent first saw the group, those included that have fallen out."""
        return self._cycles[-1].number if self._cycles else 0

    def since(self, time: datetime) -> tuple[Cycle, ...]:
        """The cycles at or after `time`, oldest first."""
        return tuple(cycle for cycle in self._cycles if cycle.time >= time)


def window_of(evidence: Sequence[EvidenceSample]) -> Window:
    """The cycles that a finding carries by value, as a window again."""
    cycles: dict[int, Cycle] = {}
    for sample in evidence:
        if isinstance(sample.value, int | float) and sample.quality is Quality.GOOD:
            cycle = cycles.setdefault(sample.cycle, Cycle(sample.cycle, sample.time, {}))
            cycle.values[sample.point_id.partition("/")[2]] = float(sample.value)
    window = Window()
    for number in sorted(cycles):
        window.add(cycles[number])
    return window


def measured_value(sample: Sample) -> float | None:
    """The number, where it is finite, of good quality and measured by the device itself on the live plant."""
    value = sample.value
    if sample.quality is not Quality.GOOD or sample.test or sample.substituted:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)


def above_detection(gases: Gases) -> bool:
    """True when the gases stand out of the device's noise: all above its accuracy, or one well above it."""
    values = gases.model_dump()
    return all(values[gas] > limit for gas, limit in _ACCURACY_UL_L.items()) or any(
        values[gas] > limit for gas, limit in _SUFFICIENT_UL_L.items()
    )


def reliable_gases(window: Window, now: datetime | None = None, span: timedelta = timedelta(hours=24)) -> Reading:
    """The gases to diagnose: medians over the newest `MIN_RELIABLE` cycles of one level within `span` before `now`.

    Without `now` the newest cycle's time is taken, for a device whose clock differs from the gateway's: that nothing
    new comes is then for the samples' quality to tell.

    The level changes where a gas differs from the cycle before by more than the ratio `SAME_LEVEL` and by more than
    the device's accuracy; cycles before a change never count.  So a jump is adopted with the fifth cycle of the new
    level, whose values alone are returned.  A gas that rises by such a change in every one of the last cycles is no
    noise but a fault in the making: then the newest cycle stands for itself.
    """
    now = now or max((cycle.time for cycle in window), default=_LONG_AGO)
    cycles = [cycle for cycle in window.since(now - span) if all(name in cycle.values for name in _FAULT_INDICATORS)]
    if len(cycles) < MIN_RELIABLE:
        return Reading(None, reason=f"{len(cycles)} of {MIN_RELIABLE} measurements within {span}")
    newest = tuple(cycles[-MIN_RELIABLE:])
    changes = [level_change(old, new) for old, new in pairwise(newest)]
    if all(change > 0 for change in changes):
        newest = newest[-1:]
    elif any(changes):
        since = next(age for age, change in enumerate(reversed(changes), start=1) if change)
        return Reading(None, reason=f"the level changed: {since} of {MIN_RELIABLE} measurements since")
    if any(cycle.values.get(indicator, 0.0) > MAX_UL_L for cycle in newest for indicator in GAS_FIELDS):
        return Reading(None, newest, "a value is no concentration")
    gases = _medians(newest)
    if not above_detection(gases):
        return Reading(None, newest, "gases at the device's detection limits", quiet=True)
    return Reading(gases, newest)


def level_change(old: Cycle, new: Cycle) -> int:
    """How the fault gases moved, all of which both cycles must hold.

    0 at the same level, 1 where some gas left it upwards and none downwards, else -1.
    """
    directions = set()
    for indicator in _FAULT_INDICATORS:
        before, after = old.values[indicator], new.values[indicator]
        if abs(after - before) > _ACCURACY_UL_L[GAS_FIELDS[indicator]] and (
            min(before, after) < SAME_LEVEL * max(before, after)
        ):
            directions.add(1 if after > before else -1)
    return min(directions, default=0)


def _medians(cycles: Sequence[Cycle]) -> Gases:
    """Per gas the median; a negative reading near zero is the device's noise around nothing and counts as 0."""
    return Gases(
        **{
            field: max(0.0, median(cycle.values[indicator] for cycle in cycles))
            for indicator, field in GAS_FIELDS.items()
            if all(indicator in cycle.values for cycle in cycles)
        }
    )
