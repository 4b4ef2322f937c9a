"""IEEE C57.104-2019 status: is there anything in the oil worth diagnosing?  The gate before every method.

Inputs: µL/L of one sample, the nameplate, and where there is one the sample before.  Output: status 1 (all gases at
or below the 90 % values of table 1 and no delta above table 3), 2 (some gas above table 1, or a delta above
table 3), 3 (some gas above the 95 % values of table 2), with every excess as facts and every assumption in words.
Limits of validity: mineral oil.  Rates (table 4) need months of history and are not judged here.
Breathing stands in for the measured O2/N2 ratio: sealed is taken as <= 0.2, free-breathing as > 0.2.  Where it is
unknown each gas is held against the lower of its two limits, because a fault missed costs more than a look.
Source: the tables as two independent public implementations have them.  Called by `consensus` and hard agents.
"""

from dataclasses import dataclass

from models.asset import Breathing, Fluid, Nameplate
from models.dga.gases import Gases
from models.findings import Fact

__all__ = ("FAULT_GASES", "Limits", "c57_104_status")

FAULT_GASES = ("h2", "ch4", "c2h6", "c2h4", "c2h2")  # the gases from which the methods read a fault
_ALL_GASES = (*FAULT_GASES, "co", "co2")

_AGE_COLUMNS = ("unknown", "1-9", "10-30", ">30")  # years
_Row = tuple[float, float, float, float]


def _all_ages(limit: float) -> _Row:
    return (limit, limit, limit, limit)


_TABLE_1: dict[Breathing, dict[str, _Row]] = {  # 90 % values, µL/L
    Breathing.SEALED: {
        "h2": (80, 75, 75, 100),
        "ch4": (90, 45, 90, 110),
        "c2h6": (90, 30, 90, 150),
        "c2h4": (50, 20, 50, 90),
        "c2h2": _all_ages(1),
        "co": _all_ages(900),
        "co2": (9000, 5000, 10000, 10000),
    },
    Breathing.FREE: {
        "h2": _all_ages(40),
        "ch4": _all_ages(20),
        "c2h6": _all_ages(15),
        "c2h4": (50, 25, 60, 60),
        "c2h2": _all_ages(2),
        "co": _all_ages(500),
        "co2": (5000, 3500, 5500, 5500),
    },
}
_TABLE_2: dict[Breathing, dict[str, _Row]] = {  # 95 % values, µL/L
    Breathing.SEALED: {
        "h2": _all_ages(200),
        "ch4": (150, 100, 150, 200),
        "c2h6": (175, 70, 175, 250),
        "c2h4": (100, 40, 95, 175),
        "c2h2": (2, 2, 2, 4),
        "co": _all_ages(1100),
        "co2": (12500, 7000, 14000, 14000),
    },
    Breathing.FREE: {
        "h2": _all_ages(90),
        "ch4": (50, 60, 60, 30),
        "c2h6": (40, 30, 40, 40),
        "c2h4": (100, 80, 125, 125),
        "c2h2": _all_ages(7),
        "co": _all_ages(600),
        "co2": (7000, 5000, 8000, 8000),
    },
}
_TABLE_3: dict[Breathing, dict[str, float]] = {  # rise between two samples, µL/L; any rise of C2H2 counts
    Breathing.SEALED: {"h2": 40, "ch4": 30, "c2h6": 25, "c2h4": 20, "c2h2": 0, "co": 250, "co2": 2500},
    Breathing.FREE: {"h2": 25, "ch4": 10, "c2h6": 7, "c2h4": 20, "c2h2": 0, "co": 175, "co2": 1750},
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tables say of one sample; `status` is `None` where they do not apply, with the reason."""

    status: int | None
    exceeded: tuple[str, ...] = ()  # gases above any limit, in the order of `_ALL_GASES`
    facts: tuple[Fact, ...] = ()  # per excess the measured value and the limit it exceeds
    assumptions: tuple[str, ...] = ()
    abstained: str = ""


def c57_104_status(gases: Gases, nameplate: Nameplate, previous: Gases | None = None) -> Limits:
    """Status 1 to 3 of a sample; `previous` is the reliable sample before it and adds the deltas of table 3."""
    if nameplate.fluid is not Fluid.MINERAL:
        return Limits(status=None, abstained=f"IEEE C57.104 holds for mineral oil, not for {nameplate.fluid}")
    rows, column, assumptions = _select(nameplate)
    status = 1
    exceeded: list[str] = []
    facts: list[Fact] = []
    for gas in _ALL_GASES:
        value = _concentration(gases, gas)
        if value is None:
            continue
        gas_status, limits = _judge(gas, value, _rise(gases, previous, gas), rows, column)
        status = max(status, gas_status)
        if limits:
            exceeded.append(gas)
            facts += (Fact(name=gas.upper(), value=value, unit="uL/L"), *limits)
    return Limits(status=status, exceeded=tuple(exceeded), facts=tuple(facts), assumptions=assumptions)


def _judge(
    gas: str, value: float, rise: float | None, rows: tuple[Breathing, ...], column: int
) -> tuple[int, tuple[Fact, ...]]:
    """Status of one gas and the limits that it exceeds: the highest of tables 1 and 2, and table 3."""
    typical = min(_TABLE_1[row][gas][column] for row in rows)
    high = min(_TABLE_2[row][gas][column] for row in rows)
    delta = min(_TABLE_3[row][gas] for row in rows)
    name = gas.upper()
    status = 1
    facts: list[Fact] = []
    if value > typical:
        status, limit, table = (3, high, "table 2") if value > high else (2, typical, "table 1")
        facts.append(Fact(name=f"{name} limit, C57.104 {table}", value=limit, unit="uL/L"))
    if rise is not None and rise > delta:
        status = max(status, 2)
        facts.append(Fact(name=f"{name} rise since the sample before", value=rise, unit="uL/L"))
        facts.append(Fact(name=f"{name} rise limit, C57.104 table 3", value=delta, unit="uL/L"))
    return status, tuple(facts)


def _select(nameplate: Nameplate) -> tuple[tuple[Breathing, ...], int, tuple[str, ...]]:
    """Row or rows (the lower limit of several counts), age column, and what had to be assumed."""
    assumptions: list[str] = []
    rows: tuple[Breathing, ...] = tuple(Breathing)
    if nameplate.breathing is None:
        assumptions.append("breathing unknown: the lower limit of sealed and free-breathing used")
    else:
        rows = (nameplate.breathing,)
    column = _age_column(nameplate.age_years)
    if nameplate.age_years is None:
        assumptions.append("age unknown: column 'unknown' used")
    elif nameplate.age_years < 1:
        assumptions.append("age below one year: column '1-9' used")
    return rows, _AGE_COLUMNS.index(column), tuple(assumptions)


def _age_column(age_years: float | None) -> str:
    if age_years is None:
        return "unknown"
    if age_years < 10:  # noqa: PLR2004 - the columns' own borders, in years
        return "1-9"
    return "10-30" if age_years <= 30 else ">30"  # noqa: PLR2004


def _concentration(gases: Gases, gas: str) -> float | None:
    value: float | None = getattr(gases, f"{gas}_ul_l")
    return value


def _rise(gases: Gases, previous: Gases | None, gas: str) -> float | None:
    """Rise since the sample before, µL/L; `None` where either is missing."""
    if previous is None:
        return None
    new, old = _concentration(gases, gas), _concentration(previous, gas)
    return None if new is None or old is None else new - old
