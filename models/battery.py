"""A station battery: capacity as tested, float current and impedance against their own past.

Inputs: capacity in percent of rating from the last discharge test; daily means of float current in A and of impedance
(or conductance's inverse) in mΩ.  Outputs: severity, code, facts.
Sources: capacity: Bureau of Reclamation practice (one source): replace below 80 %, test every year below 90 %.  Ohmic
values have no published limit that holds for all types: only the change against the battery's own baseline is judged,
and only by a limit that the owner sets.
Limits of validity: one battery at steady temperature; a baseline that begins in good health.  Called by hard agents.
"""

from collections.abc import Sequence
from math import isfinite

from drivers.errors import BadInput
from models.findings import Fact, Severity
from models.trend import Assessment, against_baseline

__all__ = ("capacity", "rise")

REPLACE_PERCENT, TEST_YEARLY_PERCENT = 80.0, 90.0
CAPACITY_MAX_PERCENT = 150.0
ONE_SOURCE = "capacity limits of one source (Bureau of Reclamation practice)"


def capacity(percent: float) -> Assessment:
    """`CapacityLow` WARNING below 80 % of rating (replace), ADVISORY below 90 % (test every year).  Raises BadInput."""
    if not 0 <= percent <= CAPACITY_MAX_PERCENT:
        raise BadInput(f"battery: {percent} % is no capacity")
    severity = Severity.NONE
    if percent < TEST_YEARLY_PERCENT:
        severity = Severity.WARNING if percent < REPLACE_PERCENT else Severity.ADVISORY
    limit = REPLACE_PERCENT if severity is Severity.WARNING else TEST_YEARLY_PERCENT
    facts = (Fact(name="capacity", value=percent, unit="%"), Fact(name="capacity, limit", value=limit, unit="%"))
    return Assessment(severity, "CapacityLow" if severity else "", facts, (ONE_SOURCE,))


def rise(name: str, unit: str, days: Sequence[float], limit_percent: float | None, key: str) -> Assessment:
    """`Risen` WARNING where the last days' median is above the first days' by more than the owner's limit."""
    if limit_percent is None:
        return Assessment(Severity.NONE, abstained=f"nameplate lacks {key}; no published limit holds for all types")
    values = [value for value in days if isfinite(value)]
    found = against_baseline(values)
    if found is None:
        return Assessment(Severity.NONE, abstained=f"{len(values)} daily means of {name} are too few to compare")
    facts = (
        Fact(name=name, value=found.value, unit=unit),
        Fact(name=f"{name}, own baseline", value=found.reference, unit=unit),
        Fact(name=f"{name}, change", value=found.percent, unit="%"),
    )
    risen = found.percent > limit_percent
    notes = (f"{name}: the battery's own first days are the reference",)
    return Assessment(Severity.WARNING if risen else Severity.NONE, "Risen" if risen else "", facts, notes)
