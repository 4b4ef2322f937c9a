"""SF6 gas of a breaker: what its density is, how far from the nameplate's two thresholds, how fast it leaks.

Inputs: density in kg/m³ (a density sensor comes first), else pressure and gas temperature; pressures in bar, absolute
(`bara`) and gauge (`barg`) never taken for each other; times in seconds.  Outputs: pressure at 20 °C in bara, leak in
percent a year, times to the thresholds, each with what was assumed or why nothing is said.

Density, temperature and pressure are tied by the equation of Beattie and Bridgman in the form that switchgear makers
print (pressure in MPa, density d in kg/m³, temperature T in K; constants after MacCormack and Schneider, J. Chem. Phys.
19, 1951, p. 849, with the exact gas constant):
    p = R/M·d·T·(1 + B) - d²·A,   A = 0.75e-4·(1 - 0.727e-3·d),   B = 2.51e-3·d·(1 - 0.846e-3·d)
The vapour pressure is a Wagner equation fitted to the reference equation of state of Guder and Wagner (2009).
Limits of validity: pure SF6, gaseous, -40…80 °C, to 15 bara; there within 0.7 % of that reference.  Mixtures with N2 or
CF4 and gas that has begun to liquefy abstain.  The trend assumes that the leak goes on as it did.
Called by hard agents; no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, isfinite
from statistics import median

from drivers.errors import BadInput
from models.asset import InsulatingGas, Nameplate
from models.findings import Fact, Severity
from models.trend import MIN_POINTS, Assessment, Slope, slope, time_to_s

__all__ = (
    "Leak",
    "Normalised",
    "absolute_bara",
    "assess",
    "density_kg_m3",
    "leak",
    "leak_verdict",
    "pressure_at_20",
    "pressure_bara",
    "vapour_pressure_bara",
)

KELVIN = 273.15
REFERENCE_DEGC = 20.0
GAS_CONSTANT_MPA = 8.314462618e-6 / 0.1460554  # R/M, MPa·m³/(kg·K)
LOW_DEGC, HIGH_DEGC = -40.0, 80.0  # what breakers are built for, and where the equation was compared
PRESSURE_MAX_BARA = 15.0
DENSITY_MAX_KG_M3 = 120.0  # about 15 bara at 20 °C
CRITICAL_K, CRITICAL_BARA = 318.7232, 37.55
WAGNER = ((1.0, -7.08654), (1.5, 1.61409), (2.5, -1.98687), (5.0, -2.13149))  # within 0.01 % from 224 to 318 K
LIQUEFIES = 0.97  # of the vapour pressure: sensor and equation are not better than the rest
NEWTON_STEPS = 30  # it needs six
STANDARD_ATMOSPHERE_BARA = 1.01325

LIKE_K = 3.0  # samples within this of each other were taken at like temperature
LEAK_DAYS_MIN = 3.0  # device days between first and last sample: sun on a sensor has the period of a day
TOP_UP_SHARE = 0.005  # of the level: no tight or leaking vessel gains this between two samples at like temperature
SOON_DAYS, WATCHED_DAYS = 30.0, 180.0  # time to the alarm stage: plan a refill now, or at the next visit
HORIZON = 10  # times the span of the samples: a trend of three days tells nothing of half a year
DAY_S, YEAR_DAYS = 86_400.0, 365.25

_UNITS = {  # unit → (factor to bar, is gauge)
    "bara": (1.0, False), "barg": (1.0, True), "kPaa": (0.01, False), "kPag": (0.01, True), "MPaa": (10.0, False),
    "MPag": (10.0, True), "psia": (0.0689476, False), "psig": (0.0689476, True),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Normalised:
    """Pressure at 20 °C in bara with what it rests on; None where the method abstains."""

    bara: float | None
    method: str = ""
    assumptions: tuple[str, ...] = ()
    abstained: str = ""


@dataclass(frozen=True, slots=True)
class Leak:
    """Loss of gas with its 90 % interval in percent of the present density a year, and what the trend rests on."""

    percent_per_year: float
    low_percent_per_year: float
    high_percent_per_year: float
    trend: Slope  # of the pressure at 20 °C, bara and device seconds
    at_degc: float | None
    top_ups: int
    span_days: float


def pressure_bara(density: float, temperature_degc: float) -> float:
    """Absolute pressure in bar of SF6 vapour of this density (kg/m³) at this temperature (°C)."""
    a = 0.75e-4 * (1 - 0.727e-3 * density)
    b = 2.51e-3 * density * (1 - 0.846e-3 * density)
    return 10 * (GAS_CONSTANT_MPA * density * (temperature_degc + KELVIN) * (1 + b) - density**2 * a)


def vapour_pressure_bara(temperature_degc: float) -> float:
    """Where SF6 begins to liquefy, bar absolute; infinite above the critical temperature.  From -49 °C upwards."""
    kelvin = temperature_degc + KELVIN
    if kelvin >= CRITICAL_K:
        return float("inf")
    tau = 1 - kelvin / CRITICAL_K
    return CRITICAL_BARA * exp(CRITICAL_K / kelvin * sum(factor * tau**power for power, factor in WAGNER))


def density_kg_m3(absolute: float, temperature_degc: float) -> float:
    """Density of the vapour that shows this absolute pressure (bar) at this temperature (°C).

    Newton's method from the ideal gas, which comes from below since the real gas is denser.  Raises BadInput outside
    the limits of validity, and where the gas would be liquid.
    """
    _check(absolute, temperature_degc)
    if absolute > vapour_pressure_bara(temperature_degc):
        raise BadInput(f"SF6 at {temperature_degc:.1f} degC and {absolute:.2f} bara is liquid")
    density = absolute / 10 / (GAS_CONSTANT_MPA * (temperature_degc + KELVIN))
    for _ in range(NEWTON_STEPS):
        step = 1e-4 * density + 1e-9
        here = pressure_bara(density, temperature_degc)
        rise = (pressure_bara(density + step, temperature_degc) - here) / step
        change = (absolute - here) / rise
        density += change
        if abs(change) < 1e-10 * (density + 1):
            break
    return density


def absolute_bara(value: float, unit: str, atmospheric_bara: float | None) -> tuple[float, tuple[str, ...]]:
    """A pressure in a unit that says whether it is absolute or gauge → bar absolute, and what was assumed.

    Raises BadInput for a unit that does not say it, for example `bar`: it is never guessed.
    """
    if unit not in _UNITS:
        raise BadInput(f"pressure unit {unit!r} does not say absolute or gauge; one of {', '.join(_UNITS)}")
    factor, gauge = _UNITS[unit]
    if not gauge:
        return value * factor, ()
    if atmospheric_bara is None:
        note = f"atmospheric_bara unknown: {STANDARD_ATMOSPHERE_BARA} bara is added to a gauge pressure"
        return value * factor + STANDARD_ATMOSPHERE_BARA, (note,)
    return value * factor + atmospheric_bara, ()


def pressure_at_20(
    nameplate: Nameplate,
    *,
    normalised_bara: float | None = None,
    density: float | None = None,
    absolute: float | None = None,
    temperature_degc: float | None = None,
) -> Normalised:
    """Pressure at 20 °C from the best that is measured: the sensor's own, its density, else pressure and temperature.

    All pressures in bara, density in kg/m³, gas temperature in °C.  Raises BadInput for what no gas shows.
    """
    gas = nameplate.insulating_gas
    assumptions: tuple[str, ...] = () if gas else ("insulating_gas unknown: taken for pure SF6",)
    if gas not in (None, InsulatingGas.SF6) and normalised_bara is None:
        return Normalised(None, abstained=f"{gas} is no pure SF6: only a sensor that normalises itself can tell")
    if normalised_bara is not None:
        _check(normalised_bara, REFERENCE_DEGC)
        if gas not in (None, InsulatingGas.SF6):
            return Normalised(normalised_bara, "sensor", (f"{gas}: liquefaction is not checked",))
        method, inside = "sensor", density_kg_m3(normalised_bara, REFERENCE_DEGC)
    elif density is not None:
        if not 0 <= density <= DENSITY_MAX_KG_M3:
            raise BadInput(f"SF6: {density:g} kg/m3 is outside 0…{DENSITY_MAX_KG_M3:g}")
        method, inside = "density", density
    elif absolute is None or temperature_degc is None:
        return Normalised(None, abstained="neither density nor pressure with gas temperature is measured")
    elif _liquefies(absolute, temperature_degc):
        return Normalised(None, abstained=_liquefied(temperature_degc))
    else:
        method, inside = "beattie_bridgman", density_kg_m3(absolute, temperature_degc)
    if temperature_degc is None:
        assumptions += ("gas temperature unknown: liquefaction is not checked",)
    elif _liquefies(pressure_bara(inside, temperature_degc), temperature_degc):
        return Normalised(None, abstained=_liquefied(temperature_degc))
    return Normalised(pressure_bara(inside, REFERENCE_DEGC), method, assumptions)


def assess(pressure_20_bara: float, nameplate: Nameplate) -> Assessment:
    """At or below lock-out CRITICAL (`GasLockout`), at or below alarm WARNING (`GasLow`); abstains without thresholds.

    Raises BadInput for a pressure that is negative or not finite.
    """
    if not (isfinite(pressure_20_bara) and pressure_20_bara >= 0):
        raise BadInput(f"SF6: {pressure_20_bara} bara is no pressure")
    stages = (
        ("GasLockout", Severity.CRITICAL, "sf6_lockout_bara", nameplate.sf6_lockout_bara),
        ("GasLow", Severity.WARNING, "sf6_alarm_bara", nameplate.sf6_alarm_bara),
    )
    missing = tuple(f"{key} unknown: that stage is not watched" for _, _, key, limit in stages if limit is None)
    if len(missing) == len(stages):
        return Assessment(Severity.NONE, abstained="nameplate lacks sf6_alarm_bara and sf6_lockout_bara")
    facts = [Fact(name="pressure at 20 degC", value=pressure_20_bara, unit="bara")]
    for code, severity, key, limit in stages:
        if limit is not None and pressure_20_bara <= limit:
            facts.append(Fact(name=key, value=limit, unit="bara"))
            return Assessment(severity, code, tuple(facts), missing)
    return Assessment(Severity.NONE, facts=tuple(facts), assumptions=missing)


def leak(rows: Sequence[tuple[float, ...]]) -> Leak | str:
    """Leak from rows of (device time in s, pressure at 20 °C in bara, gas temperature in °C or NaN), oldest first.

    Rows at the most frequent temperature ± `LIKE_K` count; a rise of more than `TOP_UP_SHARE` between two of them is a
    top-up, and no pair across it enters the slope.  A reason in words where there is too little to go by.
    """
    known = [row[2] for row in rows if isfinite(row[2])]
    at_degc = _most_frequent(known) if known else None
    like = [row for row in rows if at_degc is None or abs(row[2] - at_degc) <= LIKE_K]
    if len(like) < MIN_POINTS:
        return f"{len(like)} of {MIN_POINTS} samples at like temperature"
    if like[-1][0] - like[0][0] < LEAK_DAYS_MIN * DAY_S:
        return f"samples of less than {LEAK_DAYS_MIN:.0f} days"
    segments = [0]
    for before, after in pairwise(like):
        segments.append(segments[-1] + (after[1] > before[1] * (1 + TOP_UP_SHARE)))
    trend = slope([row[0] for row in like], [row[1] for row in like], segments)
    if trend is None or trend.level <= 0:
        return "no two samples of one filling"
    density = density_kg_m3(trend.level, REFERENCE_DEGC)
    stiffness = (pressure_bara(density * 1.001, REFERENCE_DEGC) - trend.level) / (0.001 * density)  # bar per kg/m³
    percent = -100 * DAY_S * YEAR_DAYS / (stiffness * density)
    low, high = trend.high_per_s * percent, trend.low_per_s * percent
    span_days = (like[-1][0] - like[0][0]) / DAY_S
    return Leak(trend.per_s * percent, low, high, trend, at_degc, segments[-1], span_days)


def leak_verdict(found: Leak | str, nameplate: Nameplate) -> Assessment:
    """`GasLeak` where the whole interval is a loss and a threshold is near, or the loss above what the owner allows.

    WARNING within 30 days of the alarm stage; ADVISORY within 180, as far as the samples' span carries, or above
    `sf6_leak_percent_per_year`.
    """
    if isinstance(found, str):
        return Assessment(Severity.NONE, abstained=found)
    facts = [
        Fact(name="leak", value=found.percent_per_year, unit="%/a"),
        Fact(name="leak, at least", value=found.low_percent_per_year, unit="%/a"),
        Fact(name="leak, at most", value=found.high_percent_per_year, unit="%/a"),
        Fact(name="samples at like temperature", value=found.trend.points, unit="1"),
        Fact(name="top-ups left out", value=found.top_ups, unit="1"),
    ]
    assumptions: tuple[str, ...] = (
        () if found.at_degc is not None else ("gas temperature unknown: all temperatures taken for like",)
    )
    days: list[float] = []
    for name, limit in (("alarm", nameplate.sf6_alarm_bara), ("lock-out", nameplate.sf6_lockout_bara)):
        if limit is None:
            assumptions += (f"sf6_{name.replace('-', '')}_bara unknown: no time to it",)
            continue
        times = time_to_s(found.trend, limit)
        if times is not None:
            words = (f"time to {name}", f"time to {name}, at least", f"time to {name}, at most")
            facts += [
                Fact(name=word, value=time / DAY_S, unit="d")
                for word, time in zip(words, times, strict=True)
                if time is not None
            ]
            days.append(times[0] / DAY_S)
    allowed = nameplate.sf6_leak_percent_per_year
    if allowed is None:
        assumptions += ("sf6_leak_percent_per_year unknown: only the time to a threshold counts",)
    severity = Severity.NONE
    if found.low_percent_per_year > 0:
        nearest_days = min(days, default=float("inf"))
        if nearest_days <= SOON_DAYS:
            severity = Severity.WARNING
        elif nearest_days <= min(WATCHED_DAYS, HORIZON * found.span_days) or (
            allowed is not None and found.low_percent_per_year > allowed
        ):
            severity = Severity.ADVISORY
    text = f"{found.percent_per_year:.1f} %/a"
    if ahead := [time for time in days if time > 0]:
        text += f", next stage in {min(ahead):.0f} d"
    return Assessment(severity, "GasLeak" if severity else "", tuple(facts), assumptions, text=text)


def _check(pressure: float, temperature_degc: float) -> None:
    if not 0 <= pressure <= PRESSURE_MAX_BARA:
        raise BadInput(f"SF6: {pressure:g} bara is outside 0…{PRESSURE_MAX_BARA:g}")
    if not LOW_DEGC <= temperature_degc <= HIGH_DEGC:
        raise BadInput(f"SF6: {temperature_degc:g} degC is outside {LOW_DEGC:g}…{HIGH_DEGC:g}")


def _liquefies(absolute: float, temperature_degc: float) -> bool:
    return absolute >= LIQUEFIES * vapour_pressure_bara(temperature_degc)


def _liquefied(temperature_degc: float) -> str:
    return f"at {temperature_degc:.0f} degC the gas begins to liquefy: its pressure tells nothing of its mass"


def _most_frequent(temperatures_degc: Sequence[float]) -> float:
    """Centre of the band of ± `LIKE_K` that holds most of them."""
    ordered = sorted(temperatures_degc)
    best: list[float] = []
    end = 0
    for start, low in enumerate(ordered):
        while end < len(ordered) and ordered[end] - low <= 2 * LIKE_K:
            end += 1
        if end - start > len(best):
            best = ordered[start:end]
    return median([best[0], best[-1]])
