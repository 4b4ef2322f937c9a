"""The IEEE C57.104-2019 gate."""

import pytest
from pydantic import ValidationError

from models.asset import Breathing, Fluid, Nameplate
from models.dga.gases import Gases
from models.dga.limits import c57_104_status

QUIET = {"h2_ul_l": 10, "ch4_ul_l": 10, "c2h6_ul_l": 10, "c2h4_ul_l": 10, "c2h2_ul_l": 0}
SEALED_20 = Nameplate(breathing=Breathing.SEALED, age_years=20)
FREE_20 = Nameplate(breathing=Breathing.FREE, age_years=20)


def quiet_but(**changes) -> Gases:
    return Gases(**(QUIET | changes))


@pytest.mark.parametrize(
    ("nameplate", "changes", "status"),
    [
        (SEALED_20, {}, 1),
        (SEALED_20, {"h2_ul_l": 75}, 1),  # at the limit is not above it
        (SEALED_20, {"h2_ul_l": 75.1}, 2),
        (SEALED_20, {"h2_ul_l": 200.1}, 3),
        (SEALED_20, {"c2h2_ul_l": 1.5}, 2),
        (SEALED_20, {"c2h2_ul_l": 2.5}, 3),
        (FREE_20, {"c2h2_ul_l": 1.5}, 1),
        (FREE_20, {"ch4_ul_l": 55}, 2),
        (Nameplate(breathing=Breathing.FREE, age_years=31), {"ch4_ul_l": 55}, 3),  # column > 30 years
        (Nameplate(breathing=Breathing.SEALED, age_years=5), {"c2h4_ul_l": 45}, 3),  # column 1-9 years
        (SEALED_20, {"co_ul_l": 1000}, 2),
        (SEALED_20, {"co2_ul_l": 14001}, 3),
    ],
)
def test_status(nameplate, changes, status):
    assert c57_104_status(quiet_but(**changes), nameplate).status == status


def test_excess_is_told_with_value_and_limit():
    limits = c57_104_status(quiet_but(h2_ul_l=210), SEALED_20)
    assert limits.exceeded == ("h2",)
    assert [(fact.name, fact.value, fact.unit) for fact in limits.facts] == [
        ("H2", 210, "uL/L"),
        ("H2 limit, C57.104 table 2", 200, "uL/L"),
    ]
    assert limits.assumptions == ()


@pytest.mark.parametrize(
    ("rise", "status"), [({}, 1), ({"c2h2_ul_l": 0.1}, 2), ({"h2_ul_l": 50}, 1), ({"h2_ul_l": 51}, 2)]
)
def test_deltas_raise_the_status_to_two(rise, status):
    limits = c57_104_status(quiet_but(**rise), SEALED_20, previous=quiet_but())
    assert limits.status == status


def test_unknown_breathing_takes_the_lower_limit_and_says_so():
    limits = c57_104_status(quiet_but(h2_ul_l=45, c2h2_ul_l=1.5), Nameplate())
    assert limits.status == 2
    assert limits.exceeded == ("h2", "c2h2")
    assert any("breathing unknown" in text for text in limits.assumptions)
    assert "age unknown: column 'unknown' used" in limits.assumptions


def test_other_fluids_abstain():
    limits = c57_104_status(quiet_but(h2_ul_l=1000), Nameplate(fluid=Fluid.NATURAL_ESTER))
    assert limits.status is None
    assert "natural_ester" in limits.abstained


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1e7])
def test_gases_refuse_what_is_no_concentration(value):
    with pytest.raises(ValidationError):
        quiet_but(h2_ul_l=value)
