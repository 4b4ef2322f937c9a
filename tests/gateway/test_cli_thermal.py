"""`blackstart overload` from a given state: what it says to people and machines, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.errors import BadInput
from gateway.cli import app
from gateway.cli_thermal import Situation, carried, situation_of, span_text
from models.asset import Asset, AssetKind, Cooling, Nameplate
from models.thermal import ThermalState

SAMPLE = Path(__file__).parents[2] / "systemd" / "blackstart.toml"
GIVEN = ("--top-oil-degc", "60", "--load-before", "0.8", "--ambient", "25", "--config", str(SAMPLE))


def overload(*arguments):
    result = CliRunner().invoke(app, ["overload", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_for_machines():
    answer = json.loads(overload("T1", "--load", "1.3", *GIVEN, "--json"))
    assert answer["state"]["hot_spot_degc"] > 60
    assert answer["hot_spot"]["limit_degc"] == 120
    assert answer["first_limit_after_s"] == answer["hot_spot"]["reached_after_s"] > 0
    assert answer["first_limit_after_s_if_5_k_warmer"] <= answer["first_limit_after_s"]
    assert answer["top_oil"]["reached_after_s"] is None
    assert {"bushings, leads and cable boxes", "the tap changer", "current transformers"} <= set(answer["not_modelled"])
    assert answer["load_above_normal_cyclic_limit_pu"] is None
    assert any("table's 52 K" in assumption for assumption in answer["assumptions"])


def test_for_people():
    text = overload("T1", "--load", "1.4", *GIVEN)
    assert "hot spot 120 °C: after 0 h " in text
    assert "top oil 105 °C: " in text
    assert "the load is above 1.3 pu, normal cyclic loading" in text
    assert "not modelled: bushings" in text
    assert text.endswith("A planning aid: it neither allows nor forbids anything.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("T9", "--load", "1.3", *GIVEN), "no asset 'T9'; there are Q1, T1"),
        (("Q1", "--load", "1.3", *GIVEN), "nameplate lacks cooling"),
        (("T1", "--load", "1.3", "--top-oil-degc", "60", "--config", str(SAMPLE)), "--top-oil-degc needs --ambient"),
    ],
)
def test_refusals_in_words(arguments, words):
    with pytest.raises(BadInput) as refused:
        overload(*arguments)
    assert words in str(refused.value)


def test_a_load_beyond_reason_is_wrong_usage():
    assert "Invalid value for '--load'" in overload("T1", "--load", "9", *GIVEN)


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(0.0, "after 0 h 00 min"), (59.0, "after 0 h 00 min"), (3_660.0, "after 1 h 01 min"), (None, "not within 8 h")],
)
def test_spans_in_words(span_s, text):
    assert span_text(span_s, 8) == text


def test_ambient_must_be_known():
    snapshot = {"top_oil_degc": 50.0, "winding_rise_k": 1.0, "oil_lag_k": 0.0, "ambient_degc": None, "time": "now"}
    snapshot |= {"top_oil_above_expected_k": 4.2, "oil_rise_factor": 1.1}
    with pytest.raises(BadInput, match="T1: ambient temperature is not measured: give --ambient"):
        situation_of(snapshot, "T1", None)
    assert situation_of(snapshot, "T1", 20.0).residual_k == 4.2


def test_what_commissioning_found_shortens_the_time():
    asset = Asset(id="T1", kind=AssetKind.POWER_TRANSFORMER, nameplate=Nameplate(cooling=Cooling.ONAF))
    begin = Situation(ThermalState(60.0, 30.0, 15.0), 25.0, "given")
    plain = carried(asset, begin, 1.1, 120, 105, 24)
    warm = carried(asset, replace(begin, oil_rise_factor=1.2), 1.1, 120, 105, 24)
    assert warm.settled.top_oil_degc - 25 == pytest.approx(1.2 * (plain.settled.top_oil_degc - 25))
    assert (warm.first_s or 1e9) < (plain.first_s or 1e9)
