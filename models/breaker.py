"""A breaker's contacts and drive, from the records that its IED keeps of each operation.

Inputs: the operation counter, and as they stand when its change is seen: interrupted current in kA, arcing time in ms,
operating times in ms, charging time of the spring in s, energy of its motor in J.  Outputs: wear in percent of what the
contacts bear, drift in percent of a reference, days without an operation.

A poll cannot see milliseconds: every time here was measured by the IED itself, and the gateway reads it.  Operations
that came between two readings are counted as gaps; their wear is unknown, so the sum is a lower bound and says so.
Sources: accumulated I^y·t (y from 1 to 2) and operations per current with interpolation between the logarithms, as the
manuals of protection relays print them; IEC 61850-7-4 SCBR and SOPM for what there is to read.
Limits of validity: the curve holds for the contacts that the maker drew it for.  Beyond its highest current one
interruption counts as full wear; below its lowest the operations of that point hold.  Called by hard agents; no I/O.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import exp, isfinite, log

from drivers.base import Frozen
from drivers.errors import BadInput
from models.asset import BreakerPlate
from models.findings import Fact, Severity
from models.trend import Assessment, against_baseline

__all__ = (
    "Duty",
    "after_reading",
    "drift",
    "inactivity",
    "motor_energy_j",
    "permitted_operations",
    "stated_wear",
    "wear_verdict",
)

CURRENT_MAX_KA = 200.0  # no breaker interrupts more
DRIFT_PERCENT = 10.0  # where the owner states none: engineering judgement, named as an assumption
WORN_PERCENT, NEARLY_PERCENT = 100.0, 80.0  # overhaul is due; plan it (engineering judgement)
FULL_WEAR_PERCENT = 100.0
STATED_MAX_PERCENT = 1000.0  # IEDs count on beyond the end of life


class Duty(Frozen):
    """What a breaker has done since this gateway first read its counter."""

    counter: int
    recorded: int = 0  # operations whose record was read
    skipped: int = 0  # operations that the counter shows and no reading saw
    resets: int = 0  # the counter went back: exchanged or set anew
    unknown: int = 0  # recorded, and no interrupted current with them
    wear_percent: float = 0.0
    sum_iyt: float = 0.0  # kA^y·s
    last_operation_s: float | None = None  # device time


def after_reading(
    duty: Duty | None, counter: int, time_s: float, current_ka: float | None, arc_ms: float | None, plate: BreakerPlate
) -> tuple[Duty, bool]:
    """What a reading of the counter adds, and whether it is a new operation with its record.

    The first reading only sets the counter.  Raises BadInput for a counter or current that no breaker has.
    """
    if counter < 0 or (current_ka is not None and not 0 <= current_ka <= CURRENT_MAX_KA):
        raise BadInput(f"breaker: counter {counter} with {current_ka} kA is no record of an operation")
    if duty is None:
        return Duty(counter=counter), False
    if counter == duty.counter:
        return duty, False
    if counter < duty.counter:
        return duty.model_copy(update={"counter": counter, "resets": duty.resets + 1}), False
    changes: dict[str, float] = {
        "counter": counter,
        "recorded": duty.recorded + 1,
        "skipped": duty.skipped + counter - duty.counter - 1,
        "last_operation_s": time_s,
    }
    if current_ka is None:
        changes["unknown"] = duty.unknown + 1
    else:
        arc = arc_ms if arc_ms is not None else plate.arcing_time_ms
        if plate.wear_curve:
            changes["wear_percent"] = duty.wear_percent + _wear_percent(current_ka, plate.wear_curve)
        if arc is not None:
            changes["sum_iyt"] = duty.sum_iyt + current_ka**plate.wear_exponent * arc / 1000
    return duty.model_copy(update=changes), True


def permitted_operations(current_ka: float, curve: Sequence[tuple[float, float]]) -> float:
    """Operations that the contacts bear at this current: a straight line between the logarithms of two points.

    Below the first point its operations hold; beyond the last none is permitted (0).
    """
    if not curve:
        raise BadInput("breaker: no wear curve")
    if current_ka <= curve[0][0]:
        return curve[0][1]
    for (low_ka, many), (high_ka, few) in pairwise(curve):
        if current_ka <= high_ka:
            share = log(current_ka / low_ka) / log(high_ka / low_ka)
            return exp(log(many) + share * log(few / many))
    return 0.0


def _wear_percent(current_ka: float, curve: Sequence[tuple[float, float]]) -> float:
    operations = permitted_operations(current_ka, curve)
    return FULL_WEAR_PERCENT / operations if operations else FULL_WEAR_PERCENT


def wear_verdict(duty: Duty, plate: BreakerPlate) -> Assessment:
    """`ContactsWorn` CRITICAL at 100 % of what the contacts bear, `ContactsWearing` WARNING at 80 %.

    By the curve where there is one, else by the sum of I^y·t; abstains where the nameplate has neither.
    """
    if plate.wear_curve:
        wear, method = duty.wear_percent, "wear by curve"
    elif plate.wear_limit is not None:
        wear, method = 100 * duty.sum_iyt / plate.wear_limit, "wear by sum of I^y·t"
    else:
        return Assessment(Severity.NONE, abstained="nameplate lacks wear_curve and wear_limit")
    assumptions = []
    if plate.wear_percent is None:
        assumptions.append("wear_percent at the first reading unknown: taken as 0")
    wear += plate.wear_percent or 0.0
    if duty.skipped or duty.unknown:
        assumptions.append(
            f"{duty.skipped} operations unread and {duty.unknown} without a current: the wear is a lower bound"
        )
    if duty.resets:
        assumptions.append(f"the counter went back {duty.resets} times: operations around that are not known")
    facts = (
        Fact(name=method, value=wear, unit="%"),
        Fact(name="operations recorded", value=duty.recorded, unit="1"),
        Fact(name="operations unread", value=duty.skipped, unit="1"),
    )
    return Assessment(*_wear_stage(wear), facts, tuple(assumptions), text=f"worn {wear:.0f} %")


def stated_wear(percent: float) -> Assessment:
    """The same stages for the wear that the IED states itself.  Raises BadInput for what is no wear."""
    if not 0 <= percent <= STATED_MAX_PERCENT:
        raise BadInput(f"breaker: {percent} % is no wear of contacts")
    return Assessment(
        *_wear_stage(percent), (Fact(name="wear by the IED", value=percent, unit="%"),), text=f"worn {percent:.0f} %"
    )


def _wear_stage(percent: float) -> tuple[Severity, str]:
    if percent >= WORN_PERCENT:
        return Severity.CRITICAL, "ContactsWorn"
    return (Severity.WARNING, "ContactsWearing") if percent >= NEARLY_PERCENT else (Severity.NONE, "")


def drift(
    name: str, unit: str, records: Sequence[float], reference: float | None, limit_percent: float | None
) -> Assessment:
    """The last records' median against the nameplate's reference, or against the machine's own first records.

    `Drift` WARNING beyond `limit_percent` either way, CRITICAL beyond twice that.
    """
    found = against_baseline(records, reference)
    if found is None:
        return Assessment(Severity.NONE, abstained=f"{len(records)} records of {name} are too few to compare")
    assumptions: tuple[str, ...] = (
        () if reference is not None else (f"{name}: no reference on the nameplate, own first records taken",)
    )
    if limit_percent is None:
        limit_percent = DRIFT_PERCENT
        assumptions += (f"drift_percent unknown: {DRIFT_PERCENT:g} % taken (engineering judgement)",)
    facts = (
        Fact(name=name, value=found.value, unit=unit),
        Fact(name=f"{name}, reference", value=found.reference, unit=unit),
        Fact(name=f"{name}, change", value=found.percent, unit="%"),
    )
    severity = Severity.NONE
    if abs(found.percent) > limit_percent:
        severity = Severity.CRITICAL if abs(found.percent) > 2 * limit_percent else Severity.WARNING
    text = f"{name} {found.value:.4g} {unit}, was {found.reference:.4g}"
    return Assessment(severity, "Drift" if severity else "", facts, assumptions, text=text)


def inactivity(duty: Duty | None, first_seen_s: float, now_s: float, day_s: float, plate: BreakerPlate) -> Assessment:
    """`Inactive` ADVISORY after more days without an operation than the nameplate allows."""
    if plate.inactive_days_max is None:
        return Assessment(Severity.NONE, abstained="nameplate lacks inactive_days_max")
    last_s = duty.last_operation_s if duty is not None else None
    assumptions = () if last_s is not None else ("no operation seen by this gateway: days since its first reading",)
    days = (now_s - (first_seen_s if last_s is None else last_s)) / day_s
    facts = (
        Fact(name="days without an operation", value=days, unit="d"),
        Fact(name="inactive_days_max", value=plate.inactive_days_max, unit="d"),
    )
    severity, code = (Severity.ADVISORY, "Inactive") if days > plate.inactive_days_max else (Severity.NONE, "")
    return Assessment(
        severity, code, facts, assumptions, text=f"idle {days:.0f} d, limit {plate.inactive_days_max:.0f}"
    )


def motor_energy_j(voltage_v: float, current_a: float, duration_s: float) -> float:
    """Energy of one charge from the motor's supply voltage, mean current and running time.  Raises BadInput."""
    if not all(isfinite(value) and value >= 0 for value in (voltage_v, current_a, duration_s)):
        raise BadInput(f"motor: {voltage_v} V, {current_a} A, {duration_s} s")
    return voltage_v * current_a * duration_s
