"""The wave agent relays a critical finding, and only that."""

from collections.abc import Callable

import pytest

from gateway.agents.wave import ATTENTION_S, WaveAgent
from models.findings import Finding, Severity
from models.risk import AssetEdge

EDGES = (
    AssetEdge(from_asset="T1", to_asset="T2", kind="fire_exposure", attenuation=0.4),
    AssetEdge(from_asset="T2", to_asset="Q1", kind="same_bay", attenuation=0.5),
    AssetEdge(from_asset="T2", to_asset="T1", kind="back_feed", attenuation=0.1),
)


@pytest.fixture
def boosts() -> list[tuple[str, float]]:
    return []


@pytest.fixture
def wave(boosts: list[tuple[str, float]]) -> WaveAgent:
    return WaveAgent(EDGES, lambda asset_id, for_s: boosts.append((asset_id, for_s)))


def test_neighbours_hear_of_a_critical_finding_with_the_way_and_the_evidence(
    wave: WaveAgent, boosts: list[tuple[str, float]], make_finding: Callable[..., Finding]
) -> None:
    finding = make_finding()
    updates = {update.asset_id: update for update in wave.relay(finding)}
    assert set(updates) == {"T2", "Q1"}
    assert updates["T2"].value == pytest.approx(0.6)
    assert updates["Q1"].value == pytest.approx(0.3)
    assert updates["Q1"].path == ("T1", "T2", "Q1")
    assert {update.evidence_ids for update in updates.values()} == {(finding.id,)}
    assert {update.origin_asset_id for update in updates.values()} == {"T1"}
    assert sorted(boosts) == [("Q1", ATTENTION_S), ("T2", ATTENTION_S)]


@pytest.mark.parametrize("severity", [Severity.ADVISORY, Severity.WARNING])
def test_lesser_findings_stay_where_they_are(
    wave: WaveAgent, boosts: list[tuple[str, float]], make_finding: Callable[..., Finding], severity: Severity
) -> None:
    assert wave.relay(make_finding(severity=severity)) == []
    assert boosts == []


def test_an_asset_without_neighbours(wave: WaveAgent, make_finding: Callable[..., Finding]) -> None:
    assert wave.relay(make_finding(asset_id="Q1")) == []
