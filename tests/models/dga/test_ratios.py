"""IEC 60599, Rogers and Doernenburg ratios."""

from math import inf, isnan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dga.gases import Gases
from models.dga.ratios import doernenburg, iec_60599, ratios, rogers

# IEC TC10 database, inspected cases: H2 CH4 C2H6 C2H4 C2H2 | IEC 60599, every row that holds | Rogers
TC10 = [
    ((32930, 2397, 157, 0, 0), ("PD",), "PD"),
    ((37800, 1740, 249, 8, 8), ("PD",), None),
    ((78, 20, 11, 13, 28), ("D1",), None),
    ((305, 100, 33, 161, 541), ("D1",), None),
    ((440, 89, 19, 304, 757), ("D2", "D1"), "D2"),
    ((210, 43, 12, 102, 187), ("D2", "D1"), "D2"),
    ((1270, 3450, 520, 1390, 8), ("T2",), "T2"),
    ((3420, 7870, 1500, 6990, 33), ("T3",), "T3"),
    ((6709, 10500, 1400, 17700, 750), ("T3",), "T3"),
    ((8800, 64064, 72128, 95650, 0), ("T2",), "T2"),
]
amount = st.floats(min_value=0, max_value=1e6, allow_nan=False)


def gases(values) -> Gases:
    names = ("h2_ul_l", "ch4_ul_l", "c2h6_ul_l", "c2h4_ul_l", "c2h2_ul_l")
    return Gases(**dict(zip(names, values, strict=True)))


@pytest.mark.parametrize(("values", "iec", "roger"), TC10)
def test_inspected_cases(values, iec, roger):
    assert iec_60599(gases(values)) == iec
    assert rogers(gases(values)) == roger


def test_zero_denominators_are_defined():
    assert ratios(gases((0, 0, 0, 0, 0))) == (0, 0, 0)
    assert ratios(gases((0, 5, 0, 0, 5))) == (inf, inf, 0)
    assert rogers(gases((100, 50, 90, 10, 0))) == "N"


@given(st.tuples(amount, amount, amount, amount, amount))
def test_ratios_are_never_nan_and_only_discharges_overlap(five):
    sample = gases(five)
    assert not any(isnan(ratio) for ratio in ratios(sample))
    codes = iec_60599(sample)
    assert len(codes) <= 1 or codes == ("D2", "D1")


@pytest.mark.parametrize(
    ("values", "family"),
    [
        ((32930, 2397, 157, 0, 0), "partial_discharge"),
        ((1270, 3450, 520, 1390, 8), "thermal"),
        ((6709, 10500, 1400, 17700, 750), "thermal"),
        ((8800, 64064, 72128, 95650, 0), "thermal"),
        ((1000, 300, 66, 100, 200), "discharge"),
    ],
)
def test_doernenburg_names_the_family(values, family):
    answer = doernenburg(gases(values))
    assert (answer.family, answer.abstained) == (family, "")


@pytest.mark.parametrize(
    ("values", "co", "why"),
    [
        ((200, 240, 1000, 100, 2), 1000, "within twice their limits"),  # at twice L1 is not above it
        ((440, 89, 19, 304, 757), None, "neither C2H6 nor CO"),
        ((440, 89, 19, 304, 757), 350, "neither C2H6 nor CO"),
        ((300, 200, 66, 20, 0), None, "no row"),  # CH4/H2 is neither thermal nor partial discharge
    ],
)
def test_doernenburg_says_why_it_abstains(values, co, why):
    answer = doernenburg(gases(values).model_copy(update={"co_ul_l": co}))
    assert answer.family is None
    assert why in answer.abstained


def test_carbon_monoxide_can_open_doernenburg():
    assert doernenburg(gases((440, 89, 19, 304, 757)).model_copy(update={"co_ul_l": 351.0})).family == "discharge"


@given(st.tuples(amount, amount, amount, amount, amount))
def test_doernenburg_answers_or_says_why(five):
    answer = doernenburg(gases(five))
    assert (answer.family is None) == bool(answer.abstained)
