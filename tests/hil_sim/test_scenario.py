import pytest

from hil_sim.errors import SimError
from hil_sim.scenario import GasesEvent, load_scenario

GOOD = """
seed = 1
time_factor = 3600
tick_s = 360
ambient = { mean = 15 }
[[transformers]]
id = "T1"
healthy = { h2 = 20, ch4 = 10, c2h6 = 10, c2h4 = 5, c2h2 = 0 }
[[devices]]
name = "opt100-t1"
asset = "T1"
template = "vaisala-opt100"
"""
EVENT = """
[[events]]
id = "e1"
asset = "T1"
kind = "gases"
trigger = "command"
target = { h2 = 1, ch4 = 2, c2h6 = 3, c2h4 = 4, c2h2 = 5 }
"""
# IEEE C57.104-2019, table 1, unknown age, O2/N2 <= 0.2
LIMITS_UL_L = {"h2": 80, "ch4": 90, "c2h6": 90, "c2h4": 50, "c2h2": 1, "co": 900, "co2": 9000}


def refusal(tmp_path, text):
    path = tmp_path / "case.toml"
    path.write_text(text)
    with pytest.raises(SimError) as caught:
        load_scenario(str(path))
    return str(caught.value)


@pytest.mark.parametrize("name", ["demo", "plateaus"])
def test_shipped_scenarios_start_healthy_and_name_the_source_of_each_vector(name):
    scenario = load_scenario(name)
    assert {t.id for t in scenario.transformers} == {"T1", "T2"}
    worst = [t.healthy.model_dump()[gas] / limit for t in scenario.transformers for gas, limit in LIMITS_UL_L.items()]
    assert max(worst) < 0.5
    assert all(event.source for event in scenario.events if isinstance(event, GasesEvent))


def test_plateaus_are_free_of_noise():
    scenario = load_scenario("plateaus")
    profiles = [scenario.ambient, *(t.load for t in scenario.transformers)]
    assert scenario.gas_noise_rel == scenario.noise_degc == 0
    assert {(p.noise, p.daily_swing) for p in profiles} == {(0, 0)}


def test_a_file_by_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + EVENT)
    assert load_scenario(str(path)).events[0].id == "e1"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("seed = 1", "seed = 1\nsede = 2"), "sede: Extra inputs"),
        (('kind = "gases"', 'kind = "gasses"'), "events.0: Input tag 'gasses'"),
        (("h2 = 1,", "h2 = -1,"), "events.0.gases.target.h2"),
        (("h2 = 1,", "h2 = nan,"), "events.0.gases.target.h2"),
        (("h2 = 1,", ""), "events.0.gases.target.h2: Field required"),
        (('trigger = "command"', ""), "needs either at_s"),
        (('trigger = "command"', 'trigger = "command"\nat_s = 5'), "needs either at_s"),
        (('asset = "T1"\nkind', 'asset = "T9"\nkind'), "gases cannot happen to 'T9'; fitting assets: T1"),
        (('asset = "T1"\ntemplate', 'asset = "T9"\ntemplate'), "vaisala-opt100 cannot watch 'T9'"),
        (("tick_s = 360", "tick_s = 1"), "tick_s = 1 is too short at time_factor 3600: at least 18"),
        (("tick_s = 360", "tick_s = 700"), "cycle_s must be a multiple of tick_s"),
        (("seed = 1", "seed ="), "not TOML"),
    ],
)
def test_a_wrong_scenario_is_refused_with_its_key(tmp_path, change, expected):
    assert expected in refusal(tmp_path, (GOOD + EVENT).replace(*change))


def test_every_error_is_in_one_report(tmp_path):
    text = (GOOD + EVENT).replace("seed = 1", 'seed = "x"').replace("c2h2 = 5", "c2h2 = -5")
    assert len(refusal(tmp_path, text).splitlines()) == 2
    assert "event 'e1' is there twice; event 'e1'" not in refusal(tmp_path, GOOD + EVENT + EVENT)
    assert "event 'e1' is there twice" in refusal(tmp_path, GOOD + EVENT + EVENT)


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(SimError, match="shipped scenarios: bench-assets, bench-failures, bench-power, demo, plateaus"):
        load_scenario("dmeo")
