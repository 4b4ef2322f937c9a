"""The fusion of the methods into one diagnosis."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.asset import Fluid, Nameplate
from models.dga.accuracy import DEFAULT_ACCURACY
from models.dga.consensus import TAU_ALONE, diagnose, tau
from models.dga.duval import triangle_1
from models.dga.gases import Gases
from models.dga.learned import installed
from models.findings import FAMILY, Family, FaultCode, Recommendation, Severity

DEV = Path(__file__).parents[3] / ".." / "shared" / "data" / "dga" / "dev.csv"
METHODS = ["duval_triangle_1", "duval_pentagon_1", "iec_60599", "rogers"]
amount = st.floats(min_value=0, max_value=1e5, allow_nan=False)


def gases(*values) -> Gases:
    """From H2, CH4, C2H6, C2H4, C2H2."""
    names = ("h2_ul_l", "ch4_ul_l", "c2h6_ul_l", "c2h4_ul_l", "c2h2_ul_l")
    return Gases(**dict(zip(names, values, strict=True)))


def test_worked_example():
    answer = diagnose(Gases(h2_ul_l=31, c2h6_ul_l=130, ch4_ul_l=192, c2h4_ul_l=31, c2h2_ul_l=0))
    assert answer.votes == {
        "duval_triangle_1": "T1",
        "duval_pentagon_1": "T1",
        "iec_60599": "T1",
        "rogers": "no diagnosis",
        "learned": "T1",
        "duval_triangle_4": "O",
        "duval_pentagon_2": "O",
    }
    assert (answer.code, answer.family, answer.deterministic_code) == (FaultCode.T1, Family.THERMAL, FaultCode.T1)
    assert answer.severity is Severity.WARNING
    assert answer.recommendation is Recommendation.PLAN_INSPECTION
    assert "learned" in answer.models_identity


def test_arcing_is_critical_and_names_the_overlap():
    answer = diagnose(gases(440, 89, 19, 304, 757))  # IEC TC10 database, inspected case, D2
    assert answer.votes["iec_60599"] == "D1/D2"
    assert answer.code is FaultCode.D2
    assert (answer.severity, answer.recommendation) == (Severity.CRITICAL, Recommendation.CONSIDER_OUTAGE)
    assert [each.code for each in answer.hypotheses[:2]] == [FaultCode.D2, FaultCode.D1]


@pytest.mark.parametrize(
    ("values", "label"),
    [  # inspected cases of the IEC TC10 database
        ((32930, 2397, 157, 0, 0), "PD"),
        ((37800, 1740, 249, 8, 8), "PD"),
        ((78, 20, 11, 13, 28), "D1"),
        ((305, 100, 33, 161, 541), "D1"),
        ((210, 43, 12, 102, 187), "D2"),
        ((1270, 3450, 520, 1390, 8), "T2"),
        ((3420, 7870, 1500, 6990, 33), "T2"),  # three other methods say T3
        ((6709, 10500, 1400, 17700, 750), "T3"),
    ],
)
def test_inspected_cases(values, label):
    assert diagnose(gases(*values)).code == label
    assert diagnose(gases(*values), model="left out for this test").family is FAMILY[FaultCode(label)]


def test_triangle_outweighs_any_one_other_but_not_all_together():
    one_against = diagnose(gases(440, 89, 19, 304, 757))  # IEC TC10 database, inspected case, D2
    assert (one_against.votes["duval_pentagon_1"], one_against.code) == ("D1", FaultCode.D2)
    all_against = diagnose(gases(8800, 64064, 72128, 95650, 0))  # IEC TC10 database, inspected case, T3
    assert [all_against.votes[method] for method in METHODS] == ["T3", "T2", "T2", "T2"]
    assert [each.code for each in all_against.hypotheses[:2]] == [FaultCode.T2, FaultCode.T3]
    assert all_against.hypotheses[1].probability > 0.2


def test_hydrogen_alone_is_partial_discharge():
    answer = diagnose(gases(2000, 80, 30, 20, 0))  # the triangle does not see H2 and says thermal
    assert (answer.votes["duval_triangle_1"], answer.code) == ("T1", FaultCode.PD)


def test_without_the_learned_model_the_methods_decide_and_it_is_said():
    answer = diagnose(gases(440, 89, 19, 304, 757), model="dga.onnx: cannot be read")
    assert answer.code is FaultCode.D2
    assert "learned" not in answer.votes
    assert "learned" not in answer.models_identity
    assert "learned model not used: dga.onnx: cannot be read" in answer.assumptions


def test_a_code_below_the_threshold_is_called_a_suspicion():
    doubtful, certain = diagnose(gases(3420, 7870, 1500, 6990, 33)), diagnose(gases(440, 89, 19, 304, 757))
    assert doubtful.code is FaultCode.T2
    assert doubtful.hypotheses[0].probability < tau(installed()) <= certain.hypotheses[0].probability
    assert any("suspicion" in assumption for assumption in doubtful.assumptions)
    assert not any("suspicion" in assumption for assumption in certain.assumptions)


def test_the_threshold_without_the_model_is_the_one_of_the_card():
    assert installed().card.tau["consensus_without_model"] == TAU_ALONE


def test_below_the_gate_no_zone_is_told():
    assert not [fact for fact in diagnose(gases(10, 5, 3, 2, 0.5), accuracy=DEFAULT_ACCURACY).facts if fact.unit == "1"]


def test_zones_within_the_accuracy_are_facts_and_move_nothing():
    sample = gases(305, 100, 33, 161, 541)
    plain, with_accuracy = diagnose(sample), diagnose(sample, accuracy=DEFAULT_ACCURACY)
    assert with_accuracy.hypotheses == plain.hypotheses
    shares = {fact.name: fact.value for fact in with_accuracy.facts if fact.unit == "1"}
    assert shares["duval triangle 1 D1 within the assumed accuracy"] > 0.5
    assert shares["duval triangle 1 D2 within the assumed accuracy"] > 0.05


def test_hot_metal_is_critical():
    answer = diagnose(gases(6709, 10500, 1400, 17700, 750))  # IEC TC10 database, inspected case, T3
    assert (answer.code, answer.severity) == (FaultCode.T3, Severity.CRITICAL)
    assert answer.recommendation is Recommendation.REDUCE_LOAD


def test_below_typical_values_nothing_is_diagnosed_but_votes_are_told():
    answer = diagnose(gases(10, 5, 3, 2, 0.5))
    assert (answer.code, answer.family, answer.status) == (FaultCode.N, Family.NONE, 1)
    assert (answer.severity, answer.recommendation) == (Severity.NONE, Recommendation.CONTINUE)
    assert "no diagnosis below typical values" in answer.explanation
    assert list(answer.votes)[:4] == METHODS


def test_families_that_split_the_belief_abstain():
    # Hydrogen with some methane: the triangle does not see H2 and says thermal, the learned model partial discharge.
    answer = diagnose(gases(986, 282, 20, 73, 11))
    assert (answer.votes["duval_triangle_1"], answer.votes["learned"]) == ("T1", "PD")
    assert answer.code is None
    assert "disagree" in answer.abstained
    assert (answer.severity, answer.recommendation) == (Severity.WARNING, Recommendation.RESAMPLE)
    assert sum(each.probability for each in answer.hypotheses) == pytest.approx(1)


def test_carbon_oxides_alone_name_no_fault():
    answer = diagnose(gases(10, 5, 3, 2, 0).model_copy(update={"co_ul_l": 5000.0}))
    assert (answer.code, answer.status, answer.severity) == (None, 3, Severity.WARNING)
    assert "only CO or CO2" in answer.abstained


def test_other_fluids_abstain():
    answer = diagnose(gases(440, 89, 19, 304, 757), Nameplate(fluid=Fluid.SILICONE))
    assert (answer.code, answer.status, answer.severity) == (None, None, Severity.NONE)
    assert set(answer.votes.values()) == {"the methods hold for mineral oil, not for silicone"}


def test_a_previous_sample_opens_the_gate():
    now, before = gases(10, 9, 3, 2, 0.9), gases(10, 9, 3, 2, 0)
    assert diagnose(now).status == 1
    assert diagnose(now, previous=before).status == 2


@given(st.tuples(amount, amount, amount, amount, amount))
def test_every_sample_gets_one_coherent_answer(values):
    answer = diagnose(gases(*values))
    assert answer == diagnose(gases(*values))
    assert list(answer.votes)[:4] == METHODS
    assert (answer.code is None) == bool(answer.abstained)
    assert answer.family is FAMILY.get(answer.code, Family.NONE)
    total = sum(each.probability for each in answer.hypotheses)
    assert not answer.hypotheses or total == pytest.approx(1)
    assert [each.probability for each in answer.hypotheses] == sorted(
        (each.probability for each in answer.hypotheses), reverse=True
    )


@pytest.mark.skipif(not DEV.exists(), reason="the development data are not beside the repository")
def test_consensus_on_the_development_set_is_no_worse_than_the_triangle():
    with DEV.open(newline="") as file:
        rows = list(csv.DictReader(file))
    samples = [gases(*(float(row[name]) for name in ("H2", "CH4", "C2H6", "C2H4", "C2H2"))) for row in rows]
    answers = [diagnose(sample) for sample in samples]
    tally = Counter()
    for row, sample, answer in zip(rows, samples, answers, strict=True):
        kind = "normal" if row["fault"] == "N" else "fault"
        family = FAMILY[row["fault"]]
        triangle = triangle_1(sample)
        tally[kind] += 1
        tally[kind, "alarm"] += answer.severity > Severity.NONE
        tally[kind, "decided"] += answer.code not in (None, FaultCode.N)
        tally[kind, "code"] += answer.code == row["fault"]
        tally[kind, "family"] += answer.family is family
        tally[kind, "triangle family while decided"] += answer.code not in (None, FaultCode.N) and (
            FAMILY.get(triangle, Family.NONE) is family
        )
    print(dict(tally))  # noqa: T201 - the figures are the point of the run with `pytest -s`
    assert tally["fault", "family"] >= tally["fault", "triangle family while decided"]
    assert tally["fault", "alarm"] > 0.9 * tally["fault"]
    assert tally["normal", "alarm"] < 0.3 * tally["normal"]
