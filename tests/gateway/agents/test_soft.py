"""The soft agent: which findings pass, which open an incident, and what a restart remembers."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.agents.soft import ALARMS_KEPT_MAX, SoftAgent
from gateway.incidents import Incident
from models.asset import Asset
from models.findings import Family, Finding, Severity

AGAIN_AFTER_S = 600.0
Make = Callable[..., Finding]


@pytest.fixture
def make_soft(t1: Asset, q1: Asset, clock: Any) -> Callable[..., SoftAgent]:
    def make(buffer_bytes: int = 1_000_000) -> SoftAgent:
        return SoftAgent("g1", [t1, q1], clock, buffer_bytes=buffer_bytes, reinvestigate_after_s=AGAIN_AFTER_S)

    return make


@pytest.fixture
def soft(make_soft: Callable[..., SoftAgent]) -> SoftAgent:
    return make_soft()


def opened(result: tuple[Any, Incident | None]) -> Incident:
    assert result[1] is not None
    return result[1]


def test_a_raised_alarm_is_admitted_and_opens_an_incident(soft: SoftAgent, make_finding: Make, t1: Asset) -> None:
    finding = make_finding()
    decision, incident = soft.consider(finding, "a1", raised_alarm=True)
    assert decision is not None
    assert decision.admit
    assert incident is not None
    assert (incident.asset_id, incident.family, incident.alarm_id) == ("T1", Family.DISCHARGE, "a1")
    assert (incident.finding, incident.nameplate) == (finding, t1.nameplate)
    assert soft.open_incidents == [incident]


def test_a_raised_alarm_is_admitted_whatever_the_gate_thinks_of_it(soft: SoftAgent, make_finding: Make) -> None:
    poor = make_finding(severity=Severity.ADVISORY, family=Family.ANOMALY, confidence=0.0, evidence=())
    decision, _ = soft.consider(poor, "a1", raised_alarm=True)
    assert decision is not None
    assert decision.admit
    assert decision.reasons[0] == "raised an alarm"


def test_what_repeats_is_passed_over(soft: SoftAgent, make_finding: Make) -> None:
    opened(soft.consider(make_finding(0), "a1", raised_alarm=True))
    assert [soft.consider(make_finding(hour), "a1", raised_alarm=False) for hour in range(1, 50)] == [(None, None)] * 49
    assert len(soft.buffer) == 1


def test_another_code_of_the_same_family_attaches_to_the_open_incident(soft: SoftAgent, make_finding: Make) -> None:
    opened(soft.consider(make_finding(0), "a1", raised_alarm=True))
    decision, incident = soft.consider(make_finding(1, "D1"), "a1", raised_alarm=False)
    assert decision is not None
    assert incident is None
    assert len(soft.open_incidents) == 1


def test_an_incident_is_keyed_by_asset_and_family(soft: SoftAgent, make_finding: Make) -> None:
    opened(soft.consider(make_finding(), "a1", raised_alarm=True))
    opened(soft.consider(make_finding(1, family=Family.OVERHEATING), "a2", raised_alarm=True))
    opened(soft.consider(make_finding(2, asset_id="Q1"), "a3", raised_alarm=True))
    assert soft.consider(make_finding(3), "a4", raised_alarm=True)[1] is None
    assert len({incident.id for incident in soft.open_incidents}) == 3


def test_the_incident_carries_what_else_is_known_of_the_asset(soft: SoftAgent, make_finding: Make) -> None:
    hot = make_finding(0, family=Family.OVERHEATING)
    soft.consider(hot, "a1", raised_alarm=True)
    soft.consider(make_finding(1, asset_id="Q1"), "a2", raised_alarm=True)
    incident = opened(soft.consider(make_finding(2), "a3", raised_alarm=True))
    assert incident.related == (hot,)


def test_rising_severity_is_investigated_again_but_not_too_often(
    soft: SoftAgent, make_finding: Make, clock: Any
) -> None:
    first = opened(soft.consider(make_finding(0, severity=Severity.WARNING), "a1", raised_alarm=True))
    clock.advance(AGAIN_AFTER_S - 1)
    decision, incident = soft.consider(make_finding(1), "a1", raised_alarm=True)
    assert decision is not None
    assert incident is None
    clock.advance(1)
    second = opened(soft.consider(make_finding(2), "a1", raised_alarm=False))
    assert second.id != first.id
    assert second.severity is Severity.CRITICAL
    assert soft.consider(make_finding(3), "a1", raised_alarm=False) == (None, None)


def test_falling_severity_is_not(soft: SoftAgent, make_finding: Make, clock: Any) -> None:
    opened(soft.consider(make_finding(0), "a1", raised_alarm=True))
    clock.advance(2 * AGAIN_AFTER_S)
    assert soft.consider(make_finding(1, severity=Severity.WARNING), "a1", raised_alarm=False)[1] is None


# -- after the verdict


def test_an_alarm_that_stands_on_after_its_verdict_is_not_investigated_again(
    soft: SoftAgent, make_finding: Make
) -> None:
    soft.close(opened(soft.consider(make_finding(0), "a1", raised_alarm=True)).id)
    later = [soft.consider(make_finding(hour), "a1", raised_alarm=False) for hour in range(1, 20)]
    assert {incident for _, incident in later} == {None}
    assert soft.open_incidents == []


def test_the_next_alarm_of_that_family_is_investigated(soft: SoftAgent, make_finding: Make) -> None:
    first = opened(soft.consider(make_finding(0), "a1", raised_alarm=True))
    soft.close(first.id)
    soft.consider(make_finding(1), "a1", raised_alarm=False)
    assert opened(soft.consider(make_finding(900), "a2", raised_alarm=True)).id != first.id


def test_rising_severity_after_the_verdict_is_investigated(soft: SoftAgent, make_finding: Make) -> None:
    soft.close(opened(soft.consider(make_finding(0, severity=Severity.WARNING), "a1", raised_alarm=True)).id)
    opened(soft.consider(make_finding(1), "a1", raised_alarm=True))


def test_closing_what_is_not_open_changes_nothing(soft: SoftAgent, make_finding: Make) -> None:
    incident = opened(soft.consider(make_finding(), "a1", raised_alarm=True))
    soft.close("another")
    assert soft.open_incidents == [incident]


# -- a restart


def test_an_open_incident_stays_open_over_a_restart(
    soft: SoftAgent, make_soft: Callable[..., SoftAgent], make_finding: Make
) -> None:
    finding = make_finding()
    incident = opened(soft.consider(finding, "a1", raised_alarm=True))
    again = make_soft()
    again.restore([finding], [incident])
    assert again.open_incidents == [incident]
    assert again.buffer.context("T1") == (finding,)
    assert again.consider(make_finding(1), "a1", raised_alarm=False)[1] is None


def test_a_closed_incident_is_not_opened_anew_after_a_restart(
    soft: SoftAgent, make_soft: Callable[..., SoftAgent], make_finding: Make
) -> None:
    incident = opened(soft.consider(make_finding(), "a1", raised_alarm=True))
    again = make_soft()
    again.restore([], [incident], closed={incident.id})
    assert again.open_incidents == []
    assert again.consider(make_finding(1), "a1", raised_alarm=False)[1] is None
    opened(again.consider(make_finding(2), "a2", raised_alarm=True))


def test_the_same_incident_has_the_same_id_in_every_life(
    make_soft: Callable[..., SoftAgent], make_finding: Make
) -> None:
    ids = {opened(make_soft().consider(make_finding(), "a1", raised_alarm=True)).id for _ in range(3)}
    assert len(ids) == 1


# -- bounds


def test_memory_is_bounded(make_soft: Callable[..., SoftAgent], make_finding: Make) -> None:
    soft = make_soft(buffer_bytes=10_000)
    for number in range(ALARMS_KEPT_MAX + 50):
        result = soft.consider(make_finding(number, evidence=()), f"a{number}", raised_alarm=True)
        soft.close(opened(result).id)
    assert soft.buffer.size_bytes <= 10_000
    assert len(soft._known) == ALARMS_KEPT_MAX
