"""The tap changer's drive, contacts, heat and operations."""

from math import nan
from random import Random

import pytest

from drivers.errors import BadInput
from models.asset import TapChangerPlate
from models.findings import Severity
from models.tap_changer import abrasion, drive, operations, warmer_than_tank

PLATE = TapChangerPlate(
    drift_percent=15, abrasion_limit_percent=80, operations_between_overhauls=100_000, temperature_difference_k=3
)


def test_a_drive_that_left_its_pattern():
    random = Random(3)
    healthy = [20 + random.gauss(0, 0.5) for _ in range(40)]
    assert drive("torque", "Nm", healthy, PLATE).severity is Severity.NONE
    stiff = drive("torque", "Nm", [*healthy, *[28.0] * 5], PLATE)
    assert (stiff.severity, stiff.code) == (Severity.WARNING, "Drift")
    assert drive("torque", "Nm", [*healthy, 60.0], PLATE).severity is Severity.NONE  # one odd record is none
    assert "too few" in drive("torque", "Nm", healthy[:14], PLATE).abstained
    assert len(drive("torque", "Nm", healthy, TapChangerPlate()).assumptions) == 2


def test_a_scattered_drive_is_not_called_drifting():
    wild = [10.0, 30.0] * 5 + [24.0] * 5
    assert drive("torque", "Nm", wild, PLATE).severity is Severity.NONE


def test_oil_hotter_than_the_tanks_for_three_days():
    assert warmer_than_tank([-5, -5, -4], PLATE).severity is Severity.NONE
    assert warmer_than_tank([-5, 4, 5, nan, 6], PLATE).code == "TapChangerHot"
    assert warmer_than_tank([-5, 4, 2, 6], PLATE).severity is Severity.NONE
    assert "daily means" in warmer_than_tank([5.0, 5.0], PLATE).abstained
    assert warmer_than_tank([1, 1, 1], TapChangerPlate()).assumptions


def test_limits_are_the_owners():
    assert [abrasion(value, PLATE).severity for value in (50, 75, 81)] == [
        Severity.NONE,
        Severity.ADVISORY,
        Severity.WARNING,
    ]
    assert "differ from maker to maker" in abrasion(99, TapChangerPlate()).abstained
    assert operations(100_000, PLATE).code == "ContactsWorn"
    assert operations(5, TapChangerPlate()).abstained
    with pytest.raises(BadInput):
        abrasion(-1, PLATE)
    with pytest.raises(BadInput):
        operations(-1, PLATE)
