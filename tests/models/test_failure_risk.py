"""Probability of failure by health, consequence by the graph, and their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.asset import Asset
from models.failure_risk import (
    ageing_rate_per_year,
    expected_life_years,
    failures_per_year,
    health_score,
    if_it_fails,
    rank_risk,
)
from models.findings import Severity
from models.risk import AssetEdge

ASSETS = ("T1", "T2", "Q1", "B1")


def station(**changes):
    """Two transformers, a breaker, a battery that all depend on; consequences 100, 100, 20, 5."""
    consequences = {"T1": 100.0, "T2": 100.0, "Q1": 20.0, "B1": 5.0} | changes
    kinds = {"T1": "PowerTransformer", "T2": "PowerTransformer", "Q1": "Breaker", "B1": "Battery"}
    return [
        Asset.model_validate({"id": name, "kind": kinds[name], "risk": {"consequence": consequences[name]}})
        for name in ASSETS
    ]


def edge(from_asset, to_asset, attenuation, kind="fire_exposure"):
    return AssetEdge(from_asset=from_asset, to_asset=to_asset, attenuation=attenuation, kind=kind)


def test_ageing_of_the_published_example():
    """CNAIM v2.1, 33 kV transformer: life 54.545 years, beta 0.0439614, score 2.9017 at 40 years; within 0.1 %."""
    life_years = expected_life_years(60.0, 1.0, 1.1)
    rate = ageing_rate_per_year(life_years)
    assert life_years == pytest.approx(54.545, rel=1e-3)
    assert rate == pytest.approx(0.0439614, rel=1e-3)
    assert health_score(rate, 40.0) == pytest.approx(2.9017, rel=1e-3)


def test_age_alone_ends_at_5_5():
    rate = ageing_rate_per_year(50.0)
    assert health_score(rate, 0.0) == 0.5
    assert health_score(rate, 50.0) == pytest.approx(5.5)
    assert health_score(rate, 500.0) == 5.5


@given(st.floats(0, 10), st.floats(0, 10))
def test_worse_health_never_fails_less(one, other):
    low, high = sorted((one, other))
    assert failures_per_year(low, 0.005) <= failures_per_year(high, 0.005) <= 1


def test_good_health_is_the_owners_figure():
    assert failures_per_year(0.5, 0.0053) == pytest.approx(0.0053)
    assert failures_per_year(4.0, 0.0053) == pytest.approx(0.0053)
    assert failures_per_year(10.0, 0.9) == 1.0
    with pytest.raises(BadInput):
        failures_per_year(11, 0.01)
    with pytest.raises(BadInput):
        expected_life_years(0)


def test_collateral_damage_decides_the_order():
    """The battery costs little by itself; what hangs on it makes it the highest risk of all."""
    alone = [row.asset_id for row in rank_risk(station(), [])]
    assert alone[-1] == "B1"
    edges = [edge("B1", name, 0.2, "shared_dc_supply") for name in ("T1", "T2", "Q1")]
    rows = rank_risk(station(), edges)
    assert rows[0].asset_id == "B1"
    assert rows[0].collateral_consequence == pytest.approx(0.8 * 220)
    assert (rows[0].path, rows[0].kinds) == (("B1", "T2"), ("shared_dc_supply",))
    assert rows[0].path_share == pytest.approx(80 / (5 + 176))


def test_a_finding_raises_its_asset():
    rows = {row.asset_id: row for row in rank_risk(station(), [], {"T2": Severity.CRITICAL})}
    assert rows["T2"].risk > 3 * rows["T1"].risk
    assert rows["T2"].health_score == 8.0
    order = [rank_risk(station(), [], {"T1": severity}) for severity in Severity]
    risks = [next(row.risk for row in rows if row.asset_id == "T1") for rows in order]
    assert risks == sorted(risks)


def test_what_is_assumed_is_named():
    notes = " ".join(rank_risk(station(), [])[0].assumptions)
    assert "CIGRE TB 642" in notes
    assert "age_years" in notes
    bare = [Asset(id="T1", kind="PowerTransformer", criticality=5), Asset(id="Q1", kind="Breaker", criticality=2)]
    (first, second) = rank_risk(bare, [])
    assert (first.asset_id, first.own_consequence) == ("T1", 5.0)
    assert any("criticality" in note for note in second.assumptions)
    some = [Asset.model_validate({"id": "T1", "kind": "Breaker", "risk": {"consequence": 3}}), bare[1]]
    assert any("counted as 0" in note for note in rank_risk(some, [])[1].assumptions)


def test_what_if_one_fails():
    edges = [edge("T1", "T2", 0.6), edge("T2", "Q1", 0.5, "back_feed")]
    hits = if_it_fails(station(), edges, "T1")
    assert [(hit.asset_id, round(hit.probability, 3)) for hit in hits] == [("T1", 1.0), ("T2", 0.4), ("Q1", 0.2)]
    assert hits[2].path == ("T1", "T2", "Q1")
    assert sum(hit.expected_consequence for hit in hits) == pytest.approx(100 + 40 + 4)
    with pytest.raises(BadInput, match="no asset 'X'"):
        if_it_fails(station(), edges, "X")


pairs = st.sampled_from([(one, other) for one in ASSETS for other in ASSETS if one != other])
graphs = st.lists(st.builds(lambda ends, held: edge(*ends, held), pairs, st.floats(0, 1)), max_size=10)


@given(graphs, st.data())
def test_a_barrier_never_raises_any_risk(edges, data):
    before = {row.asset_id: row.risk for row in rank_risk(station(), edges)}
    walled = [item.model_copy(update={"attenuation": data.draw(st.floats(item.attenuation, 1))}) for item in edges]
    after = {row.asset_id: row.risk for row in rank_risk(station(), walled)}
    assert all(after[name] <= before[name] + 1e-12 for name in before)
