"""An on-load tap changer: its drive, its contacts, its oil's heat, its operations.

Inputs per operation: peak torque in Nm, peak motor current in A (as the drive's monitor records them: a poll cannot see
a waveform of seconds); mean oil temperatures in °C; wear of contacts in percent as the monitor states it; operations
counted.  Outputs: severity, code, facts.
Sources: IEC 61850-7-4 SLTC for what a monitor offers; that the compartment of a healthy tap changer is cooler than the
main tank is common utility practice, since it holds no steady source of heat.  Absolute limits differ from maker to
maker: none is built in, a method without a configured limit abstains.  Dissolved gases of its compartment are the
business of Duval's Triangle 2, which belongs to `models.dga`.  Called by hard agents; no I/O.
"""

from collections.abc import Sequence
from math import isfinite
from statistics import median

from drivers.errors import BadInput
from models.asset import TapChangerPlate
from models.findings import Fact, Severity
from models.trend import BASELINE_VALUES, NEWEST_VALUES, Assessment, mean_of_last

__all__ = ("abrasion", "drive", "operations", "warmer_than_tank")

MAD_TO_SIGMA = 1.4826  # of a normal distribution
SIGMAS = 4.0  # scatter of a healthy drive hardly ever reaches it
DAYS = 3  # a daily mean can be a cold front's: the compartment cools faster than the tank
NEARLY = 0.9  # of a limit: plan the overhaul


def drive(name: str, unit: str, records: Sequence[float], plate: TapChangerPlate) -> Assessment:
    """`Drift` where the newest records left the pattern of the drive's own first ones.

    The median of the last five against median and scatter (median absolute deviation) of the first ten: WARNING beyond
    four standard deviations and, where the owner states it, `drift_percent`.
    """
    if len(records) < BASELINE_VALUES + NEWEST_VALUES:
        return Assessment(Severity.NONE, abstained=f"{len(records)} records of {name} are too few to compare")
    first = records[:BASELINE_VALUES]
    base = median(first)
    sigma = MAD_TO_SIGMA * median(abs(value - base) for value in first)
    newest = median(records[-NEWEST_VALUES:])
    percent = (newest / base - 1) * 100 if base else 0.0
    assumptions: tuple[str, ...] = (f"{name}: the drive's own first {BASELINE_VALUES} operations are the reference",)
    least = plate.drift_percent
    if least is None:
        least = 10.0
        assumptions += ("drift_percent unknown: 10 % taken (engineering judgement)",)
    facts = (
        Fact(name=name, value=newest, unit=unit),
        Fact(name=f"{name}, reference", value=base, unit=unit),
        Fact(name=f"{name}, change", value=percent, unit="%"),
        Fact(name=f"{name}, scatter", value=sigma, unit=unit),
    )
    out = abs(newest - base) > SIGMAS * sigma and abs(percent) > least
    severity, code = (Severity.WARNING, "Drift") if out else (Severity.NONE, "")
    return Assessment(severity, code, facts, assumptions, text=f"{name} {newest:.4g} {unit}, was {base:.4g}")


def warmer_than_tank(differences_k: Sequence[float], plate: TapChangerPlate) -> Assessment:
    """`TapChangerHot` where the daily means of (its oil - main tank) stay above the limit for three days."""
    newest = [value for value in differences_k if isfinite(value)][-DAYS:]
    mean_k = mean_of_last(newest, DAYS)
    if mean_k is None:
        return Assessment(Severity.NONE, abstained=f"{len(newest)} of {DAYS} daily means")
    limit_k = plate.temperature_difference_k
    assumptions: tuple[str, ...] = ()
    if limit_k is None:
        limit_k, assumptions = 0.0, ("temperature_difference_k unknown: hotter than the tank is taken as unusual",)
    facts = (
        Fact(name="tap changer's oil over main tank's", value=mean_k, unit="K"),
        Fact(name="temperature_difference_k", value=limit_k, unit="K"),
    )
    hot = all(value > limit_k for value in newest)
    severity, code = (Severity.WARNING, "TapChangerHot") if hot else (Severity.NONE, "")
    return Assessment(severity, code, facts, assumptions, text=f"{mean_k:.1f} K over the tank's")


def abrasion(percent: float, plate: TapChangerPlate) -> Assessment:
    """`ContactsWorn` WARNING at the owner's limit, `ContactsWearing` ADVISORY at 90 % of it; abstains without one."""
    if not 0 <= percent <= 200:  # noqa: PLR2004 - monitors count on beyond the end of life
        raise BadInput(f"tap changer: {percent} % is no wear of contacts")
    return _against(percent, plate.abrasion_limit_percent, "abrasion_limit_percent", "wear %", "%")


def operations(counted: float, plate: TapChangerPlate) -> Assessment:
    """The same for operations since the last overhaul."""
    if counted < 0:
        raise BadInput(f"tap changer: {counted} operations")
    limit = plate.operations_between_overhauls
    return _against(counted, limit, "operations_between_overhauls", "operations", "1")


def _against(value: float, limit: float | None, key: str, words: str, unit: str) -> Assessment:
    if limit is None:
        return Assessment(Severity.NONE, abstained=f"nameplate lacks {key}; limits differ from maker to maker")
    facts = (Fact(name=words, value=value, unit=unit), Fact(name=key, value=limit, unit=unit))
    text = f"{words} {value:.0f}, limit {limit:.0f}"
    if value >= limit:
        return Assessment(Severity.WARNING, "ContactsWorn", facts, text=text)
    severity, code = (Severity.ADVISORY, "ContactsWearing") if value >= NEARLY * limit else (Severity.NONE, "")
    return Assessment(severity, code, facts, text=text)
