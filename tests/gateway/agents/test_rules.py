"""Each rule's condition, and which rules an asset gets."""

from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Point, Quality
from gateway.agents.hard import HardAgent
from gateway.agents.rules import (
    INDICATOR_OF,
    UNUSUAL_CYCLES,
    GasRule,
    PressureRule,
    Sight,
    TemperatureRule,
    UnusualRule,
    rules_for,
)
from hil_sim.commission import write_commissioning
from hil_sim.scenario import load_scenario
from models.anomaly import FEATURES, AnomalyModel
from models.asset import Asset, AssetKind, Nameplate, Paper
from models.features import Cycle, Window
from models.findings import Family, Severity
from models.training.anomaly import load_commissioning_csv, train_anomaly

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
UNDECIDED = {"SIML.H2ppm": 986, "SIML.CH4ppm": 282, "SIML.C2H6ppm": 20, "SIML.C2H4ppm": 73, "SIML.C2H2ppm": 11}


def test_a_hot_spot_is_judged_by_the_standards_limits() -> None:
    rule = TemperatureRule(Nameplate(paper=Paper.KRAFT), "HotSpotHigh", "SPTR.HPTmp")
    cool, hot, burning = (rule.look(Window(), {"SPTR.HPTmp": value}) for value in (119.0, 121.0, 141.0))
    assert cool is not None
    assert hot is not None
    assert burning is not None
    assert [cool.severity, hot.severity, burning.severity] == [Severity.NONE, Severity.WARNING, Severity.CRITICAL]
    assert hot.family is Family.OVERHEATING
    assert hot.value == "121 degC, limit 120"
    assert hot.facts[-1].name == "ageing rate"


@pytest.mark.parametrize("trigger", ["SPTR.HPTmp", "SIML.Tmp"])
def test_a_temperature_that_is_not_known_changes_nothing(trigger: str) -> None:
    assert TemperatureRule(Nameplate(), "TopOilHigh", trigger).look(Window(), {}) is None


def test_top_oil_has_limits_of_its_own() -> None:
    rule = TemperatureRule(Nameplate(), "TopOilHigh", "SIML.Tmp")
    cool, hot = rule.look(Window(), {"SIML.Tmp": 104.0}), rule.look(Window(), {"SIML.Tmp": 106.0})
    assert cool is not None
    assert cool.severity is Severity.NONE
    assert hot is not None
    assert hot.severity > Severity.NONE


@pytest.mark.parametrize(
    ("pressure_bara", "code"),
    [(6.5, ""), (5.41, ""), (5.4, "GasLow"), (5.01, "GasLow"), (5.0, "GasLockout"), (0, "GasLockout")],
)
def test_sf6_is_compared_with_the_nameplate(q1: Asset, pressure_bara: float, code: str) -> None:
    sight = PressureRule(q1.nameplate).look(Window(), {"SIMG.Pres20": pressure_bara})
    assert sight is not None
    assert sight.code == code


def test_sf6_without_limits_on_the_nameplate_is_not_judged() -> None:
    assert PressureRule(Nameplate()).look(Window(), {"SIMG.Pres20": 1.0}) is None


def test_gases_that_the_methods_cannot_name_are_a_fault_all_the_same(t1: Asset) -> None:
    """Proportions on which the methods disagree across families: the alarm says so and has no type."""
    rule = GasRule(t1.nameplate, DAY)
    window = Window()
    for number in range(1, 6):
        window.add(Cycle(number, START + number * timedelta(hours=1), UNDECIDED))
    sight = rule.look(window, {})
    assert sight is not None
    assert (sight.code, sight.family) == ("undecided", Family.MIXED)
    assert sight.severity > Severity.NONE
    assert "undecided" in sight.value


def test_an_asset_gets_the_rules_that_its_points_feed(t1: Asset, q1: Asset, model: AnomalyModel) -> None:
    def definitions(asset: Asset, indicators: Sequence[str], one: AnomalyModel | None = None) -> list[str]:
        return [rule.definition for rule in rules_for(asset, indicators, one, DAY)]

    assert definitions(t1, ["SIML.H2ppm"]) == ["DgaFault"]
    assert definitions(t1, ["SIML.H2ppm"], model) == ["DgaFault", "Anomaly"]
    assert definitions(t1, ["SIML.Tmp", "SPTR.HPTmp"], model) == ["TopOilHigh", "HotSpotHigh"]
    assert definitions(q1, ["SIMG.Pres20", "SIMG.Tmp"]) == ["GasDensityLow", "GasLeak"]
    assert definitions(q1, []) == []
    compartment = t1.model_copy(update={"kind": AssetKind.TAP_CHANGER})
    assert definitions(compartment, ["SIML.H2ppm"]) == []  # the methods are not made for its oil


def test_every_feature_of_a_model_has_its_indicator() -> None:
    assert set(INDICATOR_OF) == set(FEATURES)


# -- the anomaly model, trained from simulated commissioning


@pytest.fixture(scope="module")
def commissioning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commissioning") / "t1.csv"
    write_commissioning(load_scenario("demo"), "T1", path, days=20)
    return path


@pytest.fixture(scope="module")
def model(commissioning: Path) -> AnomalyModel:
    out = commissioning.with_suffix(".onnx")
    train_anomaly(commissioning, "T1", out)
    return AnomalyModel.load(out, asset_id="T1")


@pytest.fixture
def unusual_agent(t1: Asset, clock: Any, model: AnomalyModel) -> HardAgent:
    points = [
        Point(
            id=f"T1/{name}", unit="", group="T1/dga" if name.endswith("ppm") else f"T1/{name}", update_interval_s=3600
        )
        for name in INDICATOR_OF.values()
    ]
    return HardAgent(t1, points, clock, model=model, clear_after_cycles=3)


@pytest.fixture
def healthy_rows(commissioning: Path) -> list[dict[str, float]]:
    data = load_commissioning_csv(commissioning)
    return [dict(zip(data.features, map(float, row), strict=True)) for row in data.matrix]


Feed = Callable[..., list[str]]
Look = Callable[[dict[str, float]], Sight | None]


@pytest.fixture
def feed(unusual_agent: HardAgent, clock: Any, sample: Any) -> Feed:
    """What one row of features, an hour later, raises."""

    def feed_(row: dict[str, float], *, quality: Quality = Quality.GOOD, load: float | None = None) -> list[str]:
        clock.advance(3600)
        plant = [name for name in row if not INDICATOR_OF[name].endswith("ppm")]
        samples = [sample(f"T1/{INDICATOR_OF[name]}", row[name]) for name in plant if name != "load_pu"]
        samples.append(sample("T1/MMXU.LodPu", row["load_pu"] if load is None else load, quality))
        samples += [sample(f"T1/{INDICATOR_OF[name]}", value) for name, value in row.items() if name not in plant]
        changes = unusual_agent.observe(samples)
        return [one.definition for one in changes if one.finding is not None and one.definition != "MeasurementLost"]

    return feed_


def test_commissioning_itself_is_not_unusual(feed: Feed, healthy_rows: list[dict[str, float]]) -> None:
    assert [feed(row) for row in healthy_rows[-48:]] == [[]] * 48


def test_what_lasts_is_unusual_and_a_transient_is_not(feed: Feed, healthy_rows: list[dict[str, float]]) -> None:
    strange = [row | {"hot_spot_degc": row["hot_spot_degc"] + 25} for row in healthy_rows[-10:]]
    assert feed(healthy_rows[-11]) == []
    assert [feed(row) for row in strange[: UNUSUAL_CYCLES - 1]] == [[]] * (UNUSUAL_CYCLES - 1)
    assert feed(healthy_rows[-1]) == []
    assert [feed(row) for row in strange[:4]] == [[], [], ["Anomaly"], ["Anomaly"]]


@pytest.mark.parametrize(
    ("load", "quality"), [(float("nan"), Quality.GOOD), (float("inf"), Quality.GOOD), (0.5, Quality.BAD)]
)
def test_nothing_is_scored_while_another_group_shows_no_measurement(
    feed: Feed, healthy_rows: list[dict[str, float]], load: float, quality: Quality
) -> None:
    strange = [row | {"hot_spot_degc": row["hot_spot_degc"] + 25} for row in healthy_rows[-10:]]
    assert [feed(row, load=load, quality=quality) for row in strange] == [[]] * 10
    assert [feed(row) for row in strange[:UNUSUAL_CYCLES]][-1] == ["Anomaly"]


# -- the same rule with its drift chart, cycle by cycle


@pytest.fixture
def look(model: AnomalyModel, clock: Any) -> Look:
    """What one rule sees in rows of features, an hour apart."""
    rule = UnusualRule(model)
    window = Window()

    def look_(row: dict[str, float]) -> Sight | None:
        clock.advance(3600)
        values = {INDICATOR_OF[name]: value for name, value in row.items()}
        gases = {name: value for name, value in values.items() if name.endswith("ppm")}
        window.add(Cycle(window.count + 1, clock.now(), gases))
        return rule.look(window, values)

    return look_


def test_a_small_shift_that_lasts_is_seen_by_its_drift_and_dated(
    look: Look, healthy_rows: list[dict[str, float]], model: AnomalyModel
) -> None:
    assert model.card.chart is not None
    channel = model.card.features.index("c2h6_ul_l")
    shift = 4.5 * model.card.chart.scale[channel]
    assert all(look(row) == Sight(severity=Severity.NONE) for row in healthy_rows[-60:-30])
    sights = [look(row | {"c2h6_ul_l": row["c2h6_ul_l"] + shift}) for row in healthy_rows[-30:]]
    last = sights[-1]
    assert last is not None
    assert (last.method, last.indicator, last.severity) == ("drift_chart", "SIML.C2H6ppm", Severity.ADVISORY)
    facts = {fact.name: fact.value for fact in last.facts}
    assert facts["distance from slow drift, in limits"] > 1
    assert facts["measurements since the change"] == pytest.approx(30, abs=3)


def test_a_finding_tells_how_often_its_model_errs(
    look: Look, healthy_rows: list[dict[str, float]], model: AnomalyModel
) -> None:
    sight = look(healthy_rows[-1] | {"hot_spot_degc": healthy_rows[-1]["hot_spot_degc"] + 25})
    assert sight is not None
    assert sight.method == "pca_t2_q"
    facts = {fact.name: fact.value for fact in sight.facts}
    assert (facts["FAR at commissioning"], facts["MAR at commissioning"]) == (model.card.far, model.card.mar)


def test_nothing_is_followed_while_the_model_finds_something(
    model: AnomalyModel, clock: Any, healthy_rows: list[dict[str, float]]
) -> None:
    rule, window = UnusualRule(model), Window()
    assert rule.chart is not None

    def followed(row: dict[str, float]) -> bool:
        assert rule.chart is not None
        before = rule.chart.reference.tolist()
        window.add(Cycle(window.count + 1, clock.now(), {}))
        rule.look(window, {INDICATOR_OF[name]: value for name, value in row.items()})
        return rule.chart.reference.tolist() != before

    assert followed(healthy_rows[-1])
    assert not followed(healthy_rows[-1] | {"hot_spot_degc": healthy_rows[-1]["hot_spot_degc"] + 25})


def test_a_model_of_before_there_were_charts_still_judges(
    model: AnomalyModel, clock: Any, healthy_rows: list[dict[str, float]]
) -> None:
    model = copy(model)
    model.card = model.card.model_copy(update={"chart": None, "far": None, "mar": None})
    rule, window = UnusualRule(model), Window()
    row = {INDICATOR_OF[name]: value for name, value in healthy_rows[-1].items()}
    window.add(Cycle(1, clock.now(), {"SIML.H2ppm": row["SIML.H2ppm"]}))
    assert rule.look(window, row) == Sight(severity=Severity.NONE)
    sight = rule.look(window, row | {"SPTR.HPTmp": row["SPTR.HPTmp"] + 25})
    assert sight is not None
    assert [fact.name for fact in sight.facts] == ["T2", "T2 limit", "Q", "Q limit"]
