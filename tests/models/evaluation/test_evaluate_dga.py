"""The scoring rules, each by a case of its own."""

import json

import numpy as np
import pytest

from models.evaluation.cases import Cases
from models.evaluation.dga import METHODS, evaluate, right, said_by_beliefs, said_by_codes, say, score
from models.findings import Family, FaultCode

D1, D2, DT, T1, T2, S, N = (FaultCode(code) for code in ("D1", "D2", "DT", "T1", "T2", "S", "N"))
INSPECTED = [  # IEC TC10 database
    ((32930, 2397, 157, 0, 0), "PD"),
    ((305, 100, 33, 161, 541), "D1"),
    ((440, 89, 19, 304, 757), "D2"),
    ((1270, 3450, 520, 1390, 8), "T12"),
    ((6709, 10500, 1400, 17700, 750), "T3"),
]
NORMAL = [((10, 5, 3, 2, 0.5), "N"), ((150, 5, 3, 2, 0), "N")]


def cases(rows) -> Cases:
    return Cases(
        amounts=np.array([values for values, _ in rows], dtype=np.float64).reshape(-1, 5),
        labels=tuple(label for _, label in rows),
        origins=("",) * len(rows),
        sha256="0" * 64,
    )


@pytest.mark.parametrize(
    ("answer", "label", "is_right", "family_right", "decided"),
    [
        ((D1,), "D1", True, True, True),
        ((D1,), "D2", False, True, True),
        ((T1,), "D1", False, False, True),
        ((T1,), "T12", True, True, True),
        ((T2,), "T12", True, True, True),
        ((FaultCode.T3,), "T12", False, True, True),
        ((D1, D2), "D2", False, True, False),  # an overlap is undecided, its family is not
        ((D1, T1), "D1", False, False, False),
        ((S,), "T1", False, True, False),
        ((DT,), "D2", False, False, False),
        ((DT,), "T1", False, False, False),
        ((N,), "T1", False, False, False),
        ((), "T1", False, False, False),
    ],
)
def test_the_mapping_table(answer, label, is_right, family_right, decided):
    figures = score(said_by_codes([answer]), [label])
    assert (figures["accuracy"], figures["family_accuracy"], figures["decided"]) == (
        float(is_right),
        float(family_right),
        float(decided),
    )
    assert figures["recall"][label] == float(is_right)
    assert figures["ece"] is figures["tau"] is figures["coverage_at_tau"] is figures["accuracy_at_tau"] is None


def test_family_comes_first_and_no_majority_is_undecided():
    beliefs = np.array(
        [
            [0.0, 0.0, 0.4, 0.2, 0.2, 0.2],  # T3, T2 and T1 together outweigh D2
            [0.4, 0.1, 0.1, 0.2, 0.1, 0.1],
        ]
    )
    said = said_by_beliefs(beliefs, np.array([False, False]), 0.3)
    assert said.codes == ("T1", "")
    assert said.families == (Family.THERMAL, None)
    assert said_by_beliefs(beliefs, np.array([True, True]), 0.3).codes == ("", "")


def test_confidence_threshold_and_calibration_by_hand():
    beliefs = np.array([[0.9, 0, 0.1, 0, 0, 0], [0, 0.7, 0.3, 0, 0, 0], [0, 0.6, 0.4, 0, 0, 0], [0, 0, 0, 1.0, 0, 0]])
    figures = score(said_by_beliefs(beliefs, np.zeros(4, dtype=bool), 0.7), ["PD", "D2", "D1", "T1"])
    assert (figures["coverage_at_tau"], figures["accuracy_at_tau"]) == (0.75, pytest.approx(2 / 3))
    assert figures["ece"] == pytest.approx((0.1 + 0.7 + 0.4 + 0.0) / 4)


def test_the_report_has_every_figure_of_every_method():
    report = json.loads(json.dumps(evaluate(cases(INSPECTED + NORMAL))))
    keys = {"n", "accuracy", "family_accuracy", "decided", "ece", "recall", "vs_triangle_1"}
    keys |= {"coverage_at_tau", "accuracy_at_tau", "accuracy_ci", "false_alarm_rate"}
    for method in METHODS:
        assert keys <= report[method].keys()
        assert report[method]["n"] == len(INSPECTED)
    assert report["duval_triangle_1"]["accuracy"] == 1.0
    assert report["duval_triangle_1"]["vs_triangle_1"]["difference"] == 0.0
    assert report["iec_60599"]["vs_triangle_1"]["right_only_triangle_1"] == 1  # its D1/D2 is undecided
    assert report["consensus"]["recall"] == {"PD": 1, "D1": 1, "D2": 1, "T1": None, "T2": None, "T3": 1, "T12": 1}
    assert report["duval_triangle_1"]["ece"] is None
    assert report["consensus"]["coverage_at_tau"] > 0
    assert report["gate"]["fault_recall"] == 1.0
    assert report["gate"]["normal_pass"] == 0.5


def test_normal_rows_change_no_score_of_a_method():
    with_normal, without = evaluate(cases(INSPECTED + NORMAL)), evaluate(cases(INSPECTED))
    for method in METHODS:
        assert {key: value for key, value in with_normal[method].items() if key != "false_alarm_rate"} == {
            key: value for key, value in without[method].items() if key != "false_alarm_rate"
        }
    assert without["gate"]["normal_pass"] is None
    assert without["consensus"]["false_alarm_rate"] is None


def test_only_normal_rows_leave_nothing_to_score():
    report = evaluate(cases(NORMAL))
    assert report["consensus"]["accuracy"] is None
    assert report["consensus"]["vs_triangle_1"]["difference"] is None
    assert report["gate"]["normal_pass"] == 0.5


def test_without_the_learned_model_its_figures_are_null_with_the_reason():
    report = evaluate(cases(INSPECTED), "not installed")
    assert report["learned"]["absent"] == "not installed"
    assert report["learned"]["accuracy"] is None
    assert report["consensus"]["accuracy"] == 1.0
    assert report["consensus"]["coverage_at_tau"] is not None


def test_methods_are_asked_whatever_the_amounts_are():
    tiny = np.array([[440, 89, 19, 304, 757]], dtype=np.float64) / 1e4
    assert {said.codes for said in say(tiny, "none").values()} == {("D2",), ("D1",), ("",)}
    assert say(tiny, "none")["consensus"].codes == ("D2",)
    nothing = say(np.zeros((1, 5)), "none")
    assert {nothing[method].codes for method in ("consensus", "duval_triangle_1", "duval_pentagon_1")} == {("",)}


def test_right_is_per_row():
    assert right(said_by_codes([(D1,), (D1,)]), ["D1", "D2"]).tolist() == [True, False]
