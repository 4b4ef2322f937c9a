"""Published limits of dissolved gases as numbers; `limits` and `typical` judge samples by them.

IEEE C57.104-2019 tables 1 to 4 as two independent public implementations have them, C57.104-2008's conditions, and,
each from one source alone, typical values of IEC 60599 and fault-specific limits.  µL/L, rates in µL/L a year.
"""

from models.asset import Breathing

__all__ = (
    "AGE_COLUMNS",
    "CONDITIONS_2008",
    "FAULT_SPECIFIC",
    "RATE_PERIODS",
    "TABLE_1",
    "TABLE_2",
    "TABLE_3",
    "TABLE_4",
    "TYPICAL_60599",
    "TYPICAL_C2H2_COMMUNICATING_UL_L",
)

AGE_COLUMNS = ("unknown", "1-9", "10-30", ">30")  # years
Row = tuple[float, float, float, float]


def _all_ages(limit: float) -> Row:
    return (limit, limit, limit, limit)


TABLE_1: dict[Breathing, dict[str, Row]] = {  # 90 % values
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
TABLE_2: dict[Breathing, dict[str, Row]] = {  # 95 % values
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
TABLE_3: dict[Breathing, dict[str, float]] = {  # rise between two samples; any rise of C2H2 counts
    Breathing.SEALED: {"h2": 40, "ch4": 30, "c2h6": 25, "c2h4": 20, "c2h2": 0, "co": 250, "co2": 2500},
    Breathing.FREE: {"h2": 25, "ch4": 10, "c2h6": 7, "c2h4": 20, "c2h2": 0, "co": 175, "co2": 1750},
}
RATE_PERIODS = {"4-9 months": (4.0, 9.0), "10-24 months": (10.0, 24.0)}
TABLE_4: dict[str, dict[Breathing, dict[str, float]]] = {  # rise a year, by the months it was seen over
    "4-9 months": {
        Breathing.SEALED: {"h2": 50, "ch4": 15, "c2h6": 15, "c2h4": 10, "c2h2": 0, "co": 200, "co2": 1750},
        Breathing.FREE: {"h2": 25, "ch4": 4, "c2h6": 3, "c2h4": 7, "c2h2": 0, "co": 100, "co2": 1000},
    },
    "10-24 months": {
        Breathing.SEALED: {"h2": 20, "ch4": 10, "c2h6": 9, "c2h4": 7, "c2h2": 0, "co": 100, "co2": 1000},
        Breathing.FREE: {"h2": 10, "ch4": 3, "c2h6": 2, "c2h4": 5, "c2h2": 0, "co": 80, "co2": 800},
    },
}
CONDITIONS_2008: dict[str, tuple[float, float, float]] = {  # upper limits of conditions 1, 2, 3
    "tdcg": (720, 1920, 4630),
    "h2": (100, 700, 1800),
    "ch4": (120, 400, 1000),
    "c2h2": (1, 9, 35),
    "c2h4": (50, 100, 200),
    "c2h6": (65, 100, 150),
    "co": (350, 570, 1400),
    "co2": (2500, 4000, 10000),
}
TYPICAL_60599: dict[str, float] = {
    "h2": 150,
    "ch4": 130,
    "c2h6": 90,
    "c2h4": 280,
    "c2h2": 20,
    "co": 600,
    "co2": 14000,
}
TYPICAL_C2H2_COMMUNICATING_UL_L = 280.0  # where the tap changer's oil reaches the main tank
FAULT_SPECIFIC: dict[str, tuple[str, float, float]] = {  # fault, P in paper and H in oil alone → gas, L1, L2
    "D2-P": ("c2h2", 3, 12),
    "D1-P": ("c2h2", 3, 18),
    "D2-H": ("c2h2", 21, 84),
    "D1-H": ("c2h2", 28, 249),
    "C": ("c2h4", 15, 49),
    "T3-H": ("c2h4", 205, 762),
    "S": ("h2", 140, 484),
    "PD": ("h2", 78, 1234),
    "O": ("c2h6", 165, 1030),
}
