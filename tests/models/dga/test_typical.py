"""TDCG conditions, typical values of IEC 60599 and fault-specific limits."""

import pytest

from models.asset import Fluid, Nameplate
from models.dga.gases import Gases
from models.dga.typical import c57_104_2008, fault_specific_level, iec_60599_typical

QUIET = {"h2_ul_l": 10, "ch4_ul_l": 10, "c2h6_ul_l": 10, "c2h4_ul_l": 10, "c2h2_ul_l": 0}


def quiet_but(**changes) -> Gases:
    return Gases(**(QUIET | changes))


@pytest.mark.parametrize(
    ("changes", "condition", "worst"),
    [
        ({}, 1, "tdcg"),
        ({"h2_ul_l": 100}, 1, "h2"),  # at the limit is not above it
        ({"h2_ul_l": 100.1}, 2, "h2"),
        ({"c2h2_ul_l": 9.5}, 3, "c2h2"),
        ({"c2h4_ul_l": 201}, 4, "c2h4"),
        ({"co2_ul_l": 10001}, 4, "co2"),
        ({"co_ul_l": 350, "h2_ul_l": 100, "ch4_ul_l": 120, "c2h6_ul_l": 65, "c2h4_ul_l": 50}, 1, "h2"),
        (
            {"co_ul_l": 570, "h2_ul_l": 700, "ch4_ul_l": 400, "c2h6_ul_l": 100, "c2h4_ul_l": 100, "c2h2_ul_l": 9},
            2,
            "h2",
        ),
    ],
)
def test_conditions_of_2008(changes, condition, worst):
    judged = c57_104_2008(quiet_but(**changes), Nameplate())
    assert judged.condition == condition
    assert judged.by_gas[worst] == condition


def test_tdcg_is_without_carbon_dioxide_and_says_when_carbon_monoxide_is_missing():
    judged = c57_104_2008(quiet_but(co2_ul_l=5000), Nameplate())
    assert (judged.tdcg_ul_l, judged.assumptions) == (40, ("CO not measured: TDCG without it",))
    with_co = c57_104_2008(quiet_but(co_ul_l=800), Nameplate())
    assert (with_co.tdcg_ul_l, with_co.by_gas["tdcg"], with_co.assumptions) == (840, 2, ())


@pytest.mark.parametrize(
    ("communicates", "exceeded", "assumptions"), [(False, ("c2h2",), 0), (None, ("c2h2",), 1), (True, (), 0)]
)
def test_a_communicating_tap_changer_brings_acetylene(communicates, exceeded, assumptions):
    typical = iec_60599_typical(quiet_but(c2h2_ul_l=21), Nameplate(tap_changer_communicates=communicates))
    assert typical.exceeded == exceeded
    assert len(typical.assumptions) == assumptions
    assert [fact.value for fact in typical.facts] == [21, 20][: 2 * len(exceeded)]


def test_other_fluids_abstain():
    ester = Nameplate(fluid=Fluid.NATURAL_ESTER)
    assert "natural_ester" in c57_104_2008(quiet_but(), ester).abstained
    assert c57_104_2008(quiet_but(), ester).condition is None
    assert "natural_ester" in iec_60599_typical(quiet_but(h2_ul_l=1000), ester).abstained


@pytest.mark.parametrize(("c2h2", "level"), [(3, 0), (3.1, 1), (12.1, 2)])
def test_fault_specific_limits(c2h2, level):
    assert fault_specific_level("D2-P", quiet_but(c2h2_ul_l=c2h2)) == level
    assert fault_specific_level("D1-H", quiet_but(c2h2_ul_l=c2h2)) == 0
