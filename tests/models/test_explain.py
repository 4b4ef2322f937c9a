"""Explanations: the template tells the diagnosis's own numbers, and a model's invented one is never shown."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from models.asset import Nameplate
from models.dga.accuracy import DEFAULT_ACCURACY
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.explain import check_text, explanation, merge
from models.findings import Diagnosis, Fact, Family, RankedCause, Recommendation, Severity

FACTS = (
    Fact(name="C2H2", value=84.0, unit="uL/L"),
    Fact(name="H2", value=1234.0, unit="uL/L"),
    Fact(name="hot spot temperature", value=98.76, unit="degC"),
    Fact(name="C2H2 limit, C57.104 table 2", value=2.0, unit="uL/L"),
    Fact(name="load", value=0.4, unit="pu"),
)
# IEC TC10 database, inspected cases: discharge of high energy
GASES = Gases(h2_ul_l=440, ch4_ul_l=89, c2h6_ul_l=19, c2h4_ul_l=304, c2h2_ul_l=757)

numbers = st.floats(min_value=0.01, max_value=1e6, allow_nan=False)
sentences = st.sampled_from(
    (
        "The gas C2H2 reached {}.",
        "Acetylene is {} uL/L, which points to D2.",
        "({})",
        "It rose from 84 to {} ppm within a day",
        "value={}, as IEEE C57.104-2019 says",
        "{} °C",
        "84 uL/L; {}%",
    )
)
styles = st.sampled_from(
    ("{:.0f}", "{:.1f}", "{:.3f}", "{:,.0f}", "{:g}", "{:e}", "+{:.2f}", "-{:.2f}", "{:.0f}k", "x{:.0f}")
)


def test_the_explanation_of_an_arc():
    diagnosis = diagnose(GASES, Nameplate()).model_copy(
        update={
            "causes": (RankedCause(cause="winding_turn_insulation_breakdown", score=0.62),),
            "core_status": "unqualified",
            "core_choice": "T3",
        }
    )
    text = explanation(diagnosis, "TX")
    assert text.startswith("TX: D2, discharge of high energy (arcing); critical.\n")
    assert "C2H2 757 uL/L" in text
    assert "C2H2 above 2 uL/L (C57.104 table 2)" in text
    assert "IEEE C57.104-2019 status: 3 of 3." in text
    assert "duval triangle 1 says D2" in text
    assert f"How sure: D2 {diagnosis.hypotheses[0].probability:.0%};" in text
    assert "Memory offers: winding_turn_insulation_breakdown 62%." in text
    assert "The reasoning core prefers T3 (unqualified: it does not decide)." in text
    assert "Assumed: breathing unknown" in text
    assert text.endswith("To consider: consider an outage.")


def test_a_core_that_gave_no_answer_is_named_and_one_that_was_not_asked_is_not():
    diagnosis = diagnose(GASES, Nameplate())
    assert "reasoning core" not in explanation(diagnosis, "TX")
    silent = diagnosis.model_copy(update={"core_choice": "unavailable: off: closed"})
    assert "The reasoning core gave no answer (unavailable: off: closed)." in explanation(silent, "TX")


def test_an_abstention_says_why():
    text = explanation(diagnose(GASES, Nameplate(fluid="silicone")), "T7")
    assert text.startswith("T7: no fault code is given (")
    assert "silicone" in text
    assert "status" not in text


def test_a_finding_without_a_fault_code_shows_its_limit_on_the_low_side():
    diagnosis = Diagnosis(
        code=None,
        family=Family.LOSS_OF_GAS,
        hypotheses=(),
        votes={},
        severity=Severity.WARNING,
        facts=(
            Fact(name="pressure", value=5.8, unit="bara"),
            Fact(name="pressure limit, first stage", value=6.0, unit="bara"),
        ),
        recommendation=Recommendation.REFILL_GAS,
    )
    assert explanation(diagnosis, "CB1") == (
        "CB1: no fault code is given (the finding is loss_of_gas); serious.\nMeasured: pressure 5.8 bara.\n"
        "Limits passed: pressure below 6 bara (first stage).\nTo consider: plan a gas refill."
    )


@pytest.mark.parametrize(
    "text",
    [
        "C2H2 is 84 uL/L, far above its limit of 2 uL/L.",
        "Acetylene (C₂H₂) reached 84 ppm; H2 1,234 µL/L.",
        "The hot spot is at 98.8 °C, that is about 99°C (98.76 degC).",
        "Load 0.4 pu, so IEC 60599 and IEEE C57.104-2019 call it D1.",
        "No number at all.",
        "",
    ],
)
def test_numbers_of_the_evidence_pass(text):
    assert check_text(text, FACTS) == []


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        ("C2H2 is 85 uL/L.", ["85"]),
        ("C2H2 is -84 uL/L.", ["-84"]),
        ("C2H2 is 84 °C.", ["84"]),
        ("C2H2 is 84 %.", ["84"]),
        ("load is 0 pu", ["0"]),  # 0.4 is not 0
        ("the hot spot is near 100", ["100"]),
        ("84/2 of it", ["84/2"]),
        ("84 / 2", ["/"]),
        ("2^84", ["2^84"]),
        ("84 x 2", ["x"]),
        ("84e2", ["84e2"]),
        ("84k", ["84k"]),
        ("2-84", ["2-84"]),
        ("2 84", ["84"]),
        ("eighty four", ["eighty", "four"]),
        ("it doubled twice, by fifty percent", ["doubled", "twice", "fifty", "percent"]),
        ("three million", ["three", "million"]),
        ("८४ uL/L", ["८", "४"]),
        ("三 uL/L", ["三"]),
        ("½", ["1\N{FRACTION SLASH}2"]),
        ("D1.5 and C2H22", ["D1.5", "C2H22"]),
        ("in 2022", ["2022"]),
    ],
)
def test_what_is_not_plainly_evidence_is_named(text, odd):
    assert set(odd) <= set(check_text(text, FACTS))


@given(numbers, styles, sentences)
@example(84.6, "{:.0f}", "{} °C")
def test_an_invented_number_is_never_accepted(number, style, sentence):
    written = style.format(number)
    plain = abs(float(written.strip("xk").replace(",", "")))
    assume(all(abs(fact.value - plain) > 0.5 for fact in FACTS))
    text = sentence.format(written)
    assert check_text(text, FACTS) != []
    assert merge("D2 template", text, FACTS) == "D2 template"


@given(st.lists(st.tuples(numbers, st.integers(0, 3)), min_size=1, max_size=6))
def test_a_fact_may_be_rounded_by_no_more_than_five_percent(values):
    facts = [Fact(name="H2", value=value, unit="uL/L") for value, _ in values]
    kept = [f"{value:.{digits}f}" for value, digits in values if abs(round(value, digits) - value) <= 0.049 * value]
    assert check_text(" and ".join(f"{number} uL/L" for number in kept), facts) == []


@given(st.text(max_size=100))
def test_any_text_is_judged(text):
    assert all(isinstance(odd, str) for odd in check_text(text, FACTS))


@given(st.text(st.characters(exclude_categories=["L"]), max_size=30), st.characters(categories=["Nd", "No", "Nl"]))
def test_a_numeral_of_any_script_is_refused_where_there_is_no_evidence(text, numeral):
    assert check_text(text + numeral + text, ()) != []


def test_model_text_is_added_only_when_it_is_evidence():
    template = "TX: D2 leads."
    assert merge(template, None, FACTS) == template
    assert merge(template, "  ", FACTS) == template
    assert merge(template, "C2H2 is 84 uL/L:\n arcing, D2.", FACTS) == (
        "TX: D2 leads.\nIn the model's words: C2H2 is 84 uL/L: arcing, D2."
    )
    assert merge(template, "It is T3.", FACTS) == template  # a code that the template does not name
    assert merge(template, "it is t3.", FACTS) == template
    assert merge(template, "arcing " * 200, FACTS) == template
    # what the stock model really wrote about an arc
    raved = "The fault code D1 indicates that a 1.5-liter (2.2 L) fuel tank in a 2022 car is leaking 305 cubic liters."
    assert merge("TX: D1", raved, (*FACTS, Fact(name="H2", value=305, unit="uL/L"))) == "TX: D1"


def test_zones_within_the_accuracy_have_a_sentence_of_their_own():
    sample = Gases(h2_ul_l=305, ch4_ul_l=100, c2h6_ul_l=33, c2h4_ul_l=161, c2h2_ul_l=541)
    lines = explanation(diagnose(sample, accuracy=DEFAULT_ACCURACY), "T1").splitlines()
    (zones,) = [line for line in lines if line.startswith("Zones that errors of measurement may reach: ")]
    assert "duval pentagon 1 D2 within the assumed accuracy" in zones
    assert not [line for line in lines if line.startswith("Measured") and "accuracy" in line]
