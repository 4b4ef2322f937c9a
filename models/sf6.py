"""SF6 gas of a breaker: pressure at 20 °C against the nameplate's two thresholds, and the time left to the next.

Inputs: pressure normalised to 20 °C in bara (the density sensor normalises; a raw pressure swings with temperature),
thresholds in bara, times in seconds.  Output: severity, code, facts.
Limits of validity: gaseous SF6; the trend assumes that the leak goes on as it did within the window.
Source: comparison of density with the functional pressures of the nameplate; slope after Theil and Sen, which one
outlier in four cannot turn.  Called by hard agents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from drivers.errors import BadInput
from models.asset import Nameplate
from models.findings import Fact, Severity

__all__ = ("GasPressure", "assess", "pressure_slope_bar_per_s", "time_to_threshold_s")

MIN_SLOPE_POINTS = 8  # fewer give no slope worth a forecast
MAX_SLOPE_POINTS = 200  # 19,900 pairs; a longer window is thinned evenly


@dataclass(frozen=True, slots=True)
class GasPressure:
    """Verdict on one pressure; `code` is empty where nothing is wrong or nothing can be said."""

    severity: Severity
    code: str = ""
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()
    abstained: str = ""


def assess(pressure_20_bara: float, nameplate: Nameplate) -> GasPressure:
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
        return GasPressure(Severity.NONE, abstained="nameplate lacks sf6_alarm_bara and sf6_lockout_bara")
    facts = [Fact(name="pressure at 20 degC", value=pressure_20_bara, unit="bara")]
    for code, severity, key, limit in stages:
        if limit is not None and pressure_20_bara <= limit:
            facts.append(Fact(name=key, value=limit, unit="bara"))
            return GasPressure(severity, code, tuple(facts), missing)
    return GasPressure(Severity.NONE, facts=tuple(facts), assumptions=missing)


def pressure_slope_bar_per_s(times_s: Sequence[float], pressures_bara: Sequence[float]) -> float | None:
    """Median of the slopes of all pairs; `None` with fewer than `MIN_SLOPE_POINTS` points or no time between them."""
    if len(times_s) != len(pressures_bara):
        raise BadInput(f"SF6 trend: {len(times_s)} times for {len(pressures_bara)} pressures")
    if len(times_s) < MIN_SLOPE_POINTS:
        return None
    keep = np.unique(np.linspace(0, len(times_s) - 1, min(len(times_s), MAX_SLOPE_POINTS)).astype(int))
    times, pressures = np.asarray(times_s, float)[keep], np.asarray(pressures_bara, float)[keep]
    first, second = np.triu_indices(len(keep), k=1)
    apart = times[second] - times[first]
    rises = pressures[second] - pressures[first]
    if not np.any(apart != 0):
        return None
    return float(np.median(rises[apart != 0] / apart[apart != 0]))


def time_to_threshold_s(
    times_s: Sequence[float], pressures_bara: Sequence[float], threshold_bara: float
) -> float | None:
    """Seconds from the last point until the trend meets the threshold; 0 at or below it, `None` where it never will."""
    if pressures_bara and pressures_bara[-1] <= threshold_bara:
        return 0.0
    slope = pressure_slope_bar_per_s(times_s, pressures_bara)
    if slope is None or slope >= 0:
        return None
    level_bara = float(
        np.median(np.asarray(pressures_bara, float) - slope * (np.asarray(times_s, float) - times_s[-1]))
    )
    return max(0.0, (threshold_bara - level_bara) / slope)
