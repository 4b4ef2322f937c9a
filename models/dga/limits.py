"""IEEE C57.104-2019 status: is there anything in the oil worth diagnosing?  The gate before every method.

Inputs: µL/L of one sample, the nameplate, and where there are any the samples before.  Output: status 1 (all gases at
or below the 90 % values of table 1, no delta above table 3, no rate above table 4), 2 (some gas above table 1, or a
delta above table 3), 3 (some gas above the 95 % values of table 2, or a rate above table 4), with every excess as
facts, every assumption in words, and what could not be judged.
Limits of validity: mineral oil.  The tables are for laboratory samples: of a live monitor hand in medians over at
least 24 h and its accuracy; deltas and rates then count only beyond what that accuracy alone could make.
A measured O2/N2 ratio selects the rows; without it breathing stands in: sealed is taken as <= 0.2, free-breathing as
> 0.2.  Where that is unknown too each gas is held against the lower of its two limits, because a fault missed costs
more than a look.
A rate is the slope of the least-squares line through at least three samples; how the standard's text fits it was not
seen.  Source: the tables as two independent public implementations have them.  Called by `consensus` and hard agents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean

from models.asset import Breathing, Fluid, Nameplate
from models.data_sheet import DataSheet, Mark
from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy
from models.dga.gases import ALL_GASES, FAULT_GASES, DatedGases, Gases
from models.dga.tables import AGE_COLUMNS, RATE_PERIODS, TABLE_1, TABLE_2, TABLE_3, TABLE_4
from models.findings import Fact

__all__ = ("FAULT_GASES", "SHEETS", "Limits", "Rate", "c57_104_status", "gas_rates", "rise_limits")

SAMPLES_MIN = 3  # for a rate: two points make a line whatever they are
SAME_FILLING = 0.75  # of the sample before; degassing takes more than a quarter away, and nothing else does
O2_N2_SEALED_MAX = 0.2
YEAR = timedelta(days=365.25)
MONTH = YEAR / 12


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tables say of one sample; `status` is `None` where they do not apply, with the reason."""

    status: int | None
    exceeded: tuple[str, ...] = ()  # gases above any limit, in the order of `ALL_GASES`
    facts: tuple[Fact, ...] = ()  # per excess the measured value and the limit it exceeds
    assumptions: tuple[str, ...] = ()
    abstained: str = ""
    not_judged: tuple[str, ...] = ()  # tables for which there is no history


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one gas rises, over one period of table 4."""

    gas: str
    period: str  # key of `tables.RATE_PERIODS`
    rate_ul_l_a: float  # µL/L a year
    uncertainty_ul_l_a: float  # half width; 0 where no accuracy was given
    samples: int


@dataclass(frozen=True, slots=True)
class _Selected:
    """Rows (the lower limit of several counts) and age column of the tables, and what had to be assumed."""

    rows: tuple[Breathing, ...]
    column: int
    assumptions: tuple[str, ...]


def c57_104_status(
    gases: Gases,
    nameplate: Nameplate,
    previous: Gases | None = None,
    *,
    history: Sequence[DatedGases] = (),
    accuracy: GasAccuracy | None = None,
) -> Limits:
    """Status 1 to 3 of a sample.

    `previous`, the reliable sample before it, adds the deltas of table 3.  `history`, dated samples up to and with
    this one, oldest first, adds the rates of table 4 and, without `previous`, the deltas.  `accuracy` is a live
    monitor's; laboratory samples go without, their tables were made from such.
    """
    if nameplate.fluid is not Fluid.MINERAL:
        return Limits(status=None, abstained=f"IEEE C57.104 holds for mineral oil, not for {nameplate.fluid}")
    selected = _select(gases, nameplate)
    if previous is None and len(history) > 1:
        previous = history[-2].gases
    rates = gas_rates(history, accuracy)
    status = 1
    exceeded: list[str] = []
    facts: list[Fact] = []
    for gas in ALL_GASES:
        value = gases.of(gas)
        if value is None:
            continue
        judged = (
            _level(gas, value, selected),
            _delta(gas, value, previous.of(gas) if previous else None, selected, accuracy),
            *(_rate(rate, selected) for rate in rates if rate.gas == gas),
        )
        status = max(status, *(reached for reached, _ in judged))
        if passed := [fact for _, found in judged for fact in found]:
            exceeded.append(gas)
            facts += (Fact(name=gas.upper(), value=value, unit="uL/L"), *passed)
    return Limits(
        status=status,
        exceeded=tuple(exceeded),
        facts=tuple(facts),
        assumptions=selected.assumptions + _accuracy_assumed(accuracy),
        not_judged=_not_judged(previous, rates),
    )


def rise_limits(nameplate: Nameplate) -> dict[str, float]:
    """Table 3 for a machine: per gas the rise between two samples, µL/L, above which it is more than usual."""
    rows = _rows_of(nameplate)
    return {gas: min(TABLE_3[row][gas] for row in rows) for gas in ALL_GASES}


def gas_rates(history: Sequence[DatedGases], accuracy: GasAccuracy | None = None) -> tuple[Rate, ...]:
    """Rates in µL/L a year of each gas and period of table 4 that the samples, oldest first, span.

    A period counts with at least `SAMPLES_MIN` samples that hold the gas and span its shortest time.  Samples from
    before the gas fell far, as it does when the oil is degassed or changed, are of another filling and do not count.
    """
    found = []
    for gas in ALL_GASES:
        filling = _since_last_fall(gas, history)
        for period, (least, most) in RATE_PERIODS.items():
            points = [(taken, value) for taken, value in filling if history[-1].taken - taken <= most * MONTH]
            if len(points) < SAMPLES_MIN or points[-1][0] - points[0][0] < least * MONTH:
                continue
            years = [(taken - points[0][0]) / YEAR for taken, _ in points]
            mean = fmean(years)
            spread = sum((year - mean) ** 2 for year in years)
            weighted = [((year - mean) / spread, value) for year, (_, value) in zip(years, points, strict=True)]
            slope = sum(weight * value for weight, value in weighted)
            uncertainty = accuracy.of_sum_ul_l(gas, weighted) if accuracy else 0.0
            found.append(Rate(gas, period, slope, uncertainty, len(points)))
    return tuple(found)


def _since_last_fall(gas: str, history: Sequence[DatedGases]) -> list[tuple[datetime, float]]:
    """Time and amount of one gas since it last fell below `SAME_FILLING` and by more than readings may be off."""
    points: list[tuple[datetime, float]] = []
    for sample in history:
        value = sample.gases.of(gas)
        if value is None:
            continue
        before = points[-1][1] if points else 0.0
        if value < SAME_FILLING * before and before - value > DEFAULT_ACCURACY.uncertainty_ul_l(gas, before):
            points = []
        points.append((sample.taken, value))
    return points


def _level(gas: str, value: float, selected: _Selected) -> tuple[int, tuple[Fact, ...]]:
    """Status by tables 1 and 2 and the higher of them that is exceeded."""
    typical = min(TABLE_1[row][gas][selected.column] for row in selected.rows)
    high = min(TABLE_2[row][gas][selected.column] for row in selected.rows)
    if value <= typical:
        return 1, ()
    status, limit, table = (3, high, "table 2") if value > high else (2, typical, "table 1")
    return status, (Fact(name=f"{gas.upper()} limit, C57.104 {table}", value=limit, unit="uL/L"),)


def _delta(
    gas: str, value: float, before: float | None, selected: _Selected, accuracy: GasAccuracy | None
) -> tuple[int, tuple[Fact, ...]]:
    """Status by table 3."""
    if before is None:
        return 1, ()
    rise = value - before
    limit = min(TABLE_3[row][gas] for row in selected.rows)
    if rise <= limit or (accuracy and rise <= accuracy.of_rise_ul_l(gas, before, value)):
        return 1, ()
    name = f"{gas.upper()} rise"
    return 2, (
        Fact(name=f"{name} since the sample before", value=rise, unit="uL/L"),
        Fact(name=f"{name} limit, C57.104 table 3", value=limit, unit="uL/L"),
    )


def _rate(rate: Rate, selected: _Selected) -> tuple[int, tuple[Fact, ...]]:
    """Status by table 4."""
    limit = min(TABLE_4[rate.period][row][rate.gas] for row in selected.rows)
    if rate.rate_ul_l_a <= max(limit, rate.uncertainty_ul_l_a):
        return 1, ()
    name = f"{rate.gas.upper()} rate over {rate.period}"
    return 3, (
        Fact(name=name, value=rate.rate_ul_l_a, unit="uL/L/a"),
        Fact(name=f"{name} limit, C57.104 table 4", value=limit, unit="uL/L/a"),
    )


def _not_judged(previous: Gases | None, rates: Sequence[Rate]) -> tuple[str, ...]:
    missing = []
    if previous is None:
        missing.append("table 3, deltas: no sample before")
    if not rates:
        missing.append(f"table 4, rates: fewer than {SAMPLES_MIN} samples over 4 to 24 months")
    return tuple(missing)


def _accuracy_assumed(accuracy: GasAccuracy | None) -> tuple[str, ...]:
    if accuracy is None or not accuracy.assumed:
        return ()
    return (f"the monitor's accuracy is not stated: {accuracy.relative:.0%} of the reading assumed",)


def _select(gases: Gases, nameplate: Nameplate) -> _Selected:
    assumptions: list[str] = []
    rows = _rows_of(nameplate)
    if gases.o2_ul_l is not None and gases.n2_ul_l:
        measured = Breathing.SEALED if gases.o2_ul_l / gases.n2_ul_l <= O2_N2_SEALED_MAX else Breathing.FREE
        if nameplate.breathing not in (None, measured):
            assumptions.append(f"O2/N2 measured: rows of {measured} used, though the nameplate says otherwise")
        rows = (measured,)
    elif nameplate.breathing is None:
        assumptions.append("breathing unknown: the lower limit of sealed and free-breathing used")
    column = _age_column(nameplate.age_years)
    if nameplate.age_years is None:
        assumptions.append("age unknown: column 'unknown' used")
    elif nameplate.age_years < 1:
        assumptions.append("age below one year: column '1-9' used")
    return _Selected(rows, AGE_COLUMNS.index(column), tuple(assumptions))


def _rows_of(nameplate: Nameplate) -> tuple[Breathing, ...]:
    return tuple(Breathing) if nameplate.breathing is None else (nameplate.breathing,)


def _age_column(age_years: float | None) -> str:
    if age_years is None:
        return "unknown"
    if age_years < 10:  # noqa: PLR2004 - the columns' own borders, in years
        return "1-9"
    return "10-30" if age_years <= 30 else ">30"  # noqa: PLR2004


SHEETS = (
    DataSheet(
        name="ieee_c57_104_2019",
        title="IEEE C57.104-2019 status",
        function="models.dga.limits.c57_104_status",
        inputs=(
            "H2, CH4, C2H6, C2H4, C2H2, CO, CO2 in uL/L; O2, N2 where they are measured",
            "nameplate: fluid, age, breathing",
            "samples before, with their times",
        ),
        output="status 1 to 3 with the limits of tables 1 to 4 that are exceeded",
        validity=(
            "mineral oil",
            "limits for laboratory samples: of a monitor medians over 24 h, deltas and rates beyond its accuracy",
            "the flow chart's wording was not seen; rates are least-squares slopes of three samples or more",
        ),
        source="IEEE C57.104-2019, tables 1 to 4 as two independent implementations have them",
        mark=Mark.VERIFIED,
    ),
)
