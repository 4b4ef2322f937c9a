"""How fast the gases of a live monitor rise: daily medians, their rises over 1, 7 and 30 days, and what is too much.

Inputs: device cycles with gases in µL/L (`features.Cycle`), the nameplate and the monitor's accuracy.  A day's median
stands for the day, so that neither noise nor the swing of load and temperature counts as a rise; the last whole day is
compared with the days 1, 7 and 30 days before it, or with the oldest one known.  Kept: 37 medians of seven gases and
one day of cycles.

Which cycles count follows Vaisala's OPT100: a value counts where the one before it is at least 75 % of it, and not
before the third cycle after a standstill.  Its alert levels are the user's; here a rise is too much where it exceeds
table 3 of IEEE C57.104-2019, which bounds the rise between two samples taken months apart, and what the monitor's
accuracy alone could make.  The shorter the time it came in, the worse.
Limits of validity: mineral oil; a day counts with five reliable cycles or more that cover half of it.
Called by hard agents.
"""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from models.asset import Fluid, Nameplate
from models.data_sheet import DataSheet, Mark
from models.dga.accuracy import GasAccuracy
from models.dga.limits import rise_limits
from models.features import GAS_FIELDS, MAX_CYCLES, MIN_RELIABLE, Cycle, level_change
from models.findings import Fact, Severity

__all__ = ("DAYS_KEPT", "SHEETS", "GasTrend", "Rise", "RiseVerdict", "judge_rises")

SPANS_DAYS = {1: 0, 7: 1, 30: 4}  # span → how many days older its first day may be where that one is missing
DAYS_KEPT = max(SPANS_DAYS) + max(SPANS_DAYS.values()) + 3
SETTLING_CYCLES = 3  # after a standstill: the monitor's first values are not yet those of the oil
STANDSTILL_SHARE = 0.25  # of a day without a cycle: monitors measure at least every few hours
COVERED_SHARE = 0.5  # of a day between its first and last cycle: gases follow load and temperature through the day
CLEARS_BELOW = 0.9  # of the limit
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_GASES = {indicator: field.removesuffix("_ul_l") for indicator, field in GAS_FIELDS.items()}
_FAULT_INDICATORS = tuple(GAS_FIELDS)[:5]
_SEVERITY = {1: Severity.WARNING, 7: Severity.WARNING, 30: Severity.ADVISORY}

Medians = dict[str, float]  # gas → µL/L


@dataclass(frozen=True, slots=True)
class Rise:
    """How much one gas has risen up to the last whole day."""

    gas: str
    span_days: int
    rise_ul_l: float  # scaled to the span where it begins with an older day
    before_ul_l: float
    after_ul_l: float


@dataclass(frozen=True, slots=True)
class RiseVerdict:
    """What the rises say; `in_band` where none is too much, but one is not yet far enough below its limit to clear."""

    severity: Severity
    exceeded: tuple[str, ...] = ()  # gases, the one that is most above its limit first
    facts: tuple[Fact, ...] = ()
    in_band: bool = False
    known: bool = True  # False while no span has both its days
    text: str = ""  # of the leading gas, for an alarm's line


class GasTrend:
    """Daily medians of one machine's gases; fed with every cycle, bounded."""

    def __init__(self, day: timedelta = timedelta(days=1)) -> None:
        """`day` is 24 hours of device time, in real time."""
        self._day = day
        self._medians: dict[int, Medians] = {}  # whole days, by number, oldest first
        self._today: int | None = None
        self._doubted: int | None = None  # the day that one cycle claimed out of turn
        self._cycles: deque[Cycle] = deque(maxlen=MAX_CYCLES)  # today's that count
        self._last: Cycle | None = None
        self._settling = SETTLING_CYCLES

    @property
    def days(self) -> dict[int, Medians]:
        """Medians of whole days by the day's number, oldest first."""
        return dict(self._medians)

    def last_day(self) -> tuple[datetime, Medians] | None:
        """When the newest whole day with a median began, and its medians."""
        if not self._medians:
            return None
        number = max(self._medians)
        return _EPOCH + number * self._day, dict(self._medians[number])

    def feed(self, cycle: Cycle) -> None:
        """Take one cycle; such without all five fault gases are passed over."""
        if any(indicator not in cycle.values for indicator in _FAULT_INDICATORS):
            return
        number = (cycle.time - _EPOCH) // self._day
        if self._today is None or number == self._today + 1:
            self._begin(number)
        elif number == self._today - 1:
            return  # a clock that was set back a little, or a cycle that came late
        elif number != self._today:
            if number != self._doubted:  # a wrong stamp must not cost a month: the next cycle has to agree
                self._doubted = number
                return
            self._begin(number)
        self._doubted = None
        if self._counts(cycle):
            self._cycles.append(cycle)

    def restore(self, earlier: "GasTrend") -> None:
        """At boot: take over the days before today that `earlier` was fed with."""
        today = self._today
        before = {day: medians for day, medians in earlier.days.items() if today is None or day < today}
        merged = self._medians | before
        self._medians = dict(sorted(merged.items())[-DAYS_KEPT:])

    def rises(self) -> tuple[Rise, ...]:
        """Rises of each gas up to the last whole day; no two spans begin with the same day."""
        if self._today is None or (last := self._today - 1) not in self._medians:
            return ()
        starts: dict[int, int] = {}  # day → span, the shortest
        for span, slack in SPANS_DAYS.items():
            if (start := self._start(last - span, slack)) is not None:
                starts.setdefault(start, span)
        return tuple(
            Rise(gas, span, (after - before) * min(1.0, span / (last - start)), before, after)
            for start, span in starts.items()
            for gas, after in self._medians[last].items()
            if (before := self._medians[start].get(gas)) is not None
        )

    def _start(self, day: int, slack: int) -> int | None:
        """The day itself, else the next older one within the slack, else the oldest after it but for the last."""
        known = [*self._medians][:-1]
        older = [one for one in known if day - slack <= one <= day]
        return older[-1] if older else next((one for one in known if one > day), None)

    def _begin(self, number: int) -> None:
        """Close today and begin another day; after a clock was set back days, what lies ahead of it is forgotten."""
        if self._today is not None and len(self._cycles) >= MIN_RELIABLE:
            covered = self._cycles[-1].time - self._cycles[0].time
            if covered >= COVERED_SHARE * self._day:
                self._medians[self._today] = _medians(self._cycles)
        self._cycles.clear()
        self._today = number
        oldest = number - DAYS_KEPT
        self._medians = {day: medians for day, medians in self._medians.items() if oldest <= day < number}

    def _counts(self, cycle: Cycle) -> bool:
        last, self._last = self._last, cycle
        if last is None or not timedelta(0) <= cycle.time - last.time <= STANDSTILL_SHARE * self._day:
            self._settling = SETTLING_CYCLES
        if self._settling:
            self._settling -= 1
            return False
        assert last is not None, "the first cycle of all is settling"
        return level_change(last, cycle) == 0


def judge_rises(trend: GasTrend, nameplate: Nameplate, accuracy: GasAccuracy) -> RiseVerdict:
    """Hold each rise against table 3 and the monitor's accuracy.  Fluids other than mineral oil have no limits."""
    if nameplate.fluid is not Fluid.MINERAL:
        return RiseVerdict(Severity.NONE)
    table = rise_limits(nameplate)
    shares = []  # of its limit, with the rise and the limit
    for rise in trend.rises():
        limit = max(table[rise.gas], accuracy.of_rise_ul_l(rise.gas, rise.before_ul_l, rise.after_ul_l))
        shares.append((rise.rise_ul_l / limit if limit else 0.0, rise, limit))
    above = sorted((one for one in shares if one[0] > 1), key=lambda one: -one[0])
    if not above:
        in_band = any(share >= CLEARS_BELOW for share, _, _ in shares)
        return RiseVerdict(Severity.NONE, in_band=in_band, known=bool(shares))
    _, leader, limit = above[0]
    return RiseVerdict(
        severity=max(_SEVERITY[rise.span_days] for _, rise, _ in above),
        exceeded=tuple(dict.fromkeys(rise.gas for _, rise, _ in above)),
        facts=tuple(fact for _, rise, limit in above for fact in _facts(rise, limit)),
        text=f"{leader.gas.upper()} +{leader.rise_ul_l:.3g} uL/L in {leader.span_days} d, limit {limit:.3g}",
    )


def _facts(rise: Rise, limit_ul_l: float) -> tuple[Fact, Fact]:
    name = f"{rise.gas.upper()} rise in {rise.span_days} d"
    return (
        Fact(name=name, value=rise.rise_ul_l, unit="uL/L"),
        Fact(name=f"{name} limit, C57.104 table 3 or accuracy", value=limit_ul_l, unit="uL/L"),
    )


def _medians(cycles: deque[Cycle]) -> Medians:
    """A negative reading near zero is the device's noise around nothing and counts as 0."""
    return {
        gas: max(0.0, median(cycle.values[indicator] for cycle in cycles))
        for indicator, gas in _GASES.items()
        if all(indicator in cycle.values for cycle in cycles)
    }


SHEETS = (
    DataSheet(
        name="gas_rate",
        title="Gas rises over 1, 7 and 30 days",
        function="models.dga.rates.judge_rises",
        inputs=(
            "device cycles of H2, CH4, C2H6, C2H4, C2H2, CO, CO2 in uL/L",
            "nameplate: fluid, breathing",
            "the monitor's stated accuracy",
        ),
        output="advisory (30 days) or warning (7 days, 1 day) with the rises that are too much",
        validity=(
            "mineral oil",
            "days with five reliable cycles or more over twelve hours",
            "the first three cycles after a standstill never count",
            "table 3 is for samples months apart: the same rise in days is more, never less, than that",
        ),
        source="IEEE C57.104-2019 table 3; reliability rules of Vaisala's OPT100; severities are Blackstart's own",
        mark=Mark.OWN,
    ),
)
