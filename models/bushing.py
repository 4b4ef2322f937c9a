"""A bushing's condenser core: capacitance C1 and loss factor tan δ against their reference.

Inputs: daily means of C1 in pF and tan δ in percent of one bushing, or of the three of a winding; or the phasors of the
three leakage currents in A and degrees.  Outputs: severity, code, facts.

A fault moves the angle by about 0.1°, the grid moves it by 1 to 1.5°: single samples tell nothing.  Where there are
three bushings each is compared with the mean of the other two (relative method), which takes grid and temperature out;
where the phasors are measured, their sum (sum-current method) does the same.  A week of daily means is judged.
Source of the limits: one maker's guide (Omicron): C1 changed by 5…10 % investigate, above critical; tan δ at 2…3 times
its reference investigate, above critical.  They are no standard's, and each finding says so.
Limits of validity: bushings of equal type on one winding; a reference taken in good health.  Called by hard agents.
"""

import cmath
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, radians
from statistics import fmean

from drivers.errors import BadInput
from models.findings import Fact, Severity
from models.trend import Assessment, mean_of_last

__all__ = ("SumCurrent", "capacitance", "relative", "sum_current", "sum_verdict", "tan_delta")

WEEK = 7  # daily means that are judged together
C1_INVESTIGATE_PERCENT, C1_CRITICAL_PERCENT = 5.0, 10.0
TAN_INVESTIGATE, TAN_CRITICAL = 2.0, 3.0  # times the reference
ONE_SOURCE = "limits of one maker's guide (Omicron), not of a standard"
OWN_REFERENCE = "no reference on the nameplate: own first week taken"
PHASES = 3
SECTOR = radians(15)  # beyond the quarter circle in which both changes are rises: noise of the phasors


@dataclass(frozen=True, slots=True)
class SumCurrent:
    """What a vector sum of the three leakage currents shows against its reference, of the phase it points to."""

    phase: str  # A, B, C, or empty where the change fits none
    c1_percent: float
    tan_delta_percent_points: float


def relative(values: Sequence[float]) -> tuple[float, ...]:
    """Each of three values divided by the mean of the other two; NaN where that cannot be said."""
    if len(values) != PHASES:
        raise BadInput(f"the relative method compares three bushings, not {len(values)}")
    others = [fmean(values[:index] + values[index + 1 :]) for values in [list(values)] for index in range(PHASES)]
    return tuple(value / other if other > 0 else float("nan") for value, other in zip(values, others, strict=True))


def capacitance(days: Sequence[float], reference: float | None, words: str = "C1", unit: str = "pF") -> Assessment:
    """`CapacitanceChanged` of a week's mean against the reference, else the first week: WARNING 5 %, CRITICAL 10 %."""
    found = _compared(days, reference)
    if isinstance(found, str):
        return Assessment(Severity.NONE, abstained=f"{words}: {found}")
    value, base = found
    percent = (value / base - 1) * 100
    severity = _stage(abs(percent), C1_INVESTIGATE_PERCENT, C1_CRITICAL_PERCENT)
    facts = (
        Fact(name=words, value=value, unit=unit),
        Fact(name=f"{words}, reference", value=base, unit=unit),
        Fact(name=f"{words}, change", value=percent, unit="%"),
    )
    return Assessment(severity, "CapacitanceChanged" if severity else "", facts, _notes(reference))


def tan_delta(days: Sequence[float], reference: float | None, words: str = "tan delta", unit: str = "%") -> Assessment:
    """`LossFactorHigh` of a week's mean: WARNING at twice the reference, CRITICAL at three times."""
    found = _compared(days, reference)
    if isinstance(found, str):
        return Assessment(Severity.NONE, abstained=f"{words}: {found}")
    value, base = found
    severity = _stage(value / base, TAN_INVESTIGATE, TAN_CRITICAL)
    facts = (
        Fact(name=words, value=value, unit=unit),
        Fact(name=f"{words}, reference", value=base, unit=unit),
        Fact(name=f"{words}, times its reference", value=value / base, unit="1"),
    )
    return Assessment(severity, "LossFactorHigh" if severity else "", facts, _notes(reference))


def sum_current(now: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]]) -> SumCurrent:
    """Phasors (A, degrees) of the three leakage currents, now and at reference → what changed, and in which phase.

    Each current is divided by its own reference and turned to its nominal place, so that what the grid does to all
    three alike leaves the sum at zero.  A bushing that gains capacitance or losses moves the sum by (ΔC/C - j·Δtan δ)
    along its own phase: the phase in which both are rises is named.  Raises BadInput for missing or empty currents.
    """
    if len(now) != PHASES or len(reference) != PHASES or any(size <= 0 for size, _ in (*now, *reference)):
        raise BadInput("sum current: three phasors above 0 A are needed, and three of the reference")
    nominal = [cmath.rect(1, radians(-120 * index)) for index in range(PHASES)]
    total = sum(
        place * cmath.rect(size / ref_size, radians(angle - ref_angle))
        for place, (size, angle), (ref_size, ref_angle) in zip(nominal, now, reference, strict=True)
    )
    best, at = "", 0j
    for name, place in zip("ABC", nominal, strict=True):
        own = total / place
        if own and -cmath.pi / 2 - SECTOR <= cmath.phase(own) <= SECTOR:
            best, at = name, own
    return SumCurrent(best, at.real * 100, -at.imag * 100)


def sum_verdict(found: SumCurrent, tan_delta_percent: float | None) -> list[tuple[str, Assessment]]:
    """What a change of the sum means, by the limits above; tan δ needs its reference from the nameplate."""
    place = found.phase or "no one phase"
    notes = (ONE_SOURCE, f"the sum points to {place}")
    facts = (
        Fact(name=f"C1 of phase {place}, change", value=found.c1_percent, unit="%"),
        Fact(name=f"tan delta of phase {place}, change", value=found.tan_delta_percent_points, unit="%"),
    )
    c1 = _stage(abs(found.c1_percent), C1_INVESTIGATE_PERCENT, C1_CRITICAL_PERCENT)
    judged = [("ZBSH.React", Assessment(c1, "CapacitanceChanged" if c1 else "", facts, notes))]
    if tan_delta_percent is None:
        lacks = Assessment(Severity.NONE, abstained="nameplate lacks tan_delta_percent")
        return [*judged, ("ZBSH.LosFact", lacks)]
    tan = _stage(1 + found.tan_delta_percent_points / tan_delta_percent, TAN_INVESTIGATE, TAN_CRITICAL)
    return [*judged, ("ZBSH.LosFact", Assessment(tan, "LossFactorHigh" if tan else "", facts[::-1], notes))]


def _compared(days: Sequence[float], reference: float | None) -> tuple[float, float] | str:
    finite = [value for value in days if isfinite(value)]
    base = reference if reference is not None else mean_of_last(finite[:WEEK], WEEK)
    needed = WEEK if reference is not None else 2 * WEEK
    newest = mean_of_last(finite, WEEK)
    if newest is None or base is None or len(finite) < needed:
        return f"{len(finite)} of {needed} daily means"
    return (newest, base) if base > 0 else "the reference is 0"


def _stage(value: float, investigate: float, critical: float) -> Severity:
    if value > critical:
        return Severity.CRITICAL
    return Severity.WARNING if value >= investigate else Severity.NONE


def _notes(reference: float | None) -> tuple[str, ...]:
    return (ONE_SOURCE,) if reference is not None else (ONE_SOURCE, OWN_REFERENCE)
