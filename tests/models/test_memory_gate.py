"""What is remembered: every term of the score has the right sign, alarms always pass, the buffer stays bounded."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Quality
from models.findings import EvidenceSample, Family, Finding, Severity
from models.memory_gate import TYPE_PRIOR, WEIGHTS, EpisodicBuffer, Gate, GateContext

AT = datetime(2026, 3, 1, tzinfo=UTC)
GATE = Gate(frozenset({"T1"}), neighbours=frozenset({"T2"}))
PLAIN = GateContext()


def finding(number: int = 1, **changes: object) -> Finding:
    quality = changes.pop("quality", Quality.GOOD)
    sample = EvidenceSample(point_id="T1/SIML.C2H2ppm", value=9.0, quality=quality, time=AT, cycle=1)
    standard = {
        "id": f"f{number}",
        "asset_id": "T1",
        "indicator": "SIML.C2H2ppm",
        "method": "duval_triangle_1",
        "code": "D2",
        "family": Family.DISCHARGE,
        "severity": Severity.WARNING,
        "confidence": 0.9,
        "first_time": AT,
        "last_time": AT,
        "evidence": (sample,),
    }
    return Finding.model_validate({**standard, **changes})


def score(context: GateContext = PLAIN, **changes: object) -> float:
    return GATE.decide(finding(**changes), context).score


def test_the_weights_are_shares():
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert set(TYPE_PRIOR) == set(Family)


def test_goal_counts():
    assert score() > score(asset_id="T2") > score(asset_id="T9")


def test_type_counts():
    assert score() > score(family=Family.ANOMALY) > score(family=Family.NONE)


def test_severity_counts():
    assert score(severity=Severity.CRITICAL) > score() > score(severity=Severity.ADVISORY)


def test_provenance_counts():
    assert score() > score(confidence=0.2) > score(quality=Quality.UNCERTAIN)


def test_novelty_counts_and_repetition_saturates():
    def repeated(times: int) -> float:
        return score(GateContext(repeats=times))

    assert repeated(0) > repeated(1)
    assert repeated(32) > repeated(4)
    assert repeated(32) == repeated(10_000)


def test_arcing_in_a_watched_transformer_is_remembered():
    decision = GATE.decide(finding(), PLAIN)
    assert decision.admit
    assert any(reason.startswith("goal 1.00") for reason in decision.reasons)


def test_a_slight_anomaly_elsewhere_is_passed_over():
    slight = finding(asset_id="T9", family=Family.ANOMALY, severity=Severity.ADVISORY, confidence=0.5)
    decision = GATE.decide(slight, PLAIN)
    assert not decision.admit
    assert "under" in decision.reasons[0]
    assert GATE.decide(slight, GateContext(raised_alarm=True)).admit


def test_bad_evidence_is_passed_over_unless_it_raised_an_alarm():
    bad = finding(quality=Quality.BAD, severity=Severity.CRITICAL)
    assert GATE.decide(bad, PLAIN).reasons[0] == "no evidence of good quality"
    assert not GATE.decide(bad, PLAIN).admit
    assert not GATE.decide(finding(evidence=()), PLAIN).admit
    assert GATE.decide(bad, GateContext(raised_alarm=True)).admit


@given(
    st.sampled_from(["T1", "T2", "T9"]),
    st.sampled_from(Family),
    st.sampled_from(Severity),
    st.floats(0, 1),
    st.integers(-1, 10**9),
    st.booleans(),
)
def test_the_decision_follows_from_the_score(asset, family, severity, confidence, repeats, alarm):
    item = finding(asset_id=asset, family=family, severity=severity, confidence=confidence)
    decision = GATE.decide(item, GateContext(raised_alarm=alarm, repeats=repeats))
    assert 0 <= decision.score <= 1
    assert decision.admit is (alarm or decision.score >= 0.5)


def test_the_buffer_gives_context_by_asset_and_family():
    buffer = EpisodicBuffer()
    items = [finding(1), finding(2, family=Family.THERMAL, code="T3"), finding(3, asset_id="T2"), finding(4)]
    assert [buffer.add(item) for item in items] == [True] * 4
    assert buffer.context("T1", Family.DISCHARGE) == (items[0], items[3])
    assert buffer.context("T1") == (items[0], items[1], items[3])
    assert buffer.repeats("T1", "D2") == 2
    assert not buffer.add(items[0])
    assert len(buffer) == 4


def test_what_is_larger_than_the_buffer_is_counted():
    buffer = EpisodicBuffer(max_bytes=10)
    assert not buffer.add(finding())
    assert buffer.evicted[Family.DISCHARGE] == 1
    assert buffer.size_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(Family), st.integers(0, 200)), max_size=60))
def test_the_buffer_stays_in_its_bound_and_loses_nothing_uncounted(stream):
    buffer = EpisodicBuffer(max_bytes=3000)
    added = 0
    for number, family, padding in stream:
        added += buffer.add(finding(number, family=family, method="m" * padding))
        assert buffer.size_bytes <= buffer.max_bytes
    kept = buffer.context("T1")
    assert len(kept) == len(buffer) == added - buffer.evicted.total()
    assert buffer.size_bytes == sum(len(item.model_dump_json()) for item in kept)
