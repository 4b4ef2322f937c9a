import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.physics.gassing import ChamberThermometer, GasModel, combustible_sum_ul_l
from hil_sim.physics.profile import DailyProfile, Drift
from hil_sim.physics.sf6 import SF6Model, density_kg_m3, pressure_bara
from hil_sim.physics.thermal import COOLING, ThermalModel, ThermalParameters

# IEC 60076-7:2018, worked example: 250 MVA ONAF.
EXAMPLE = ThermalParameters(
    oil_time_constant_min=150,
    winding_time_constant_min=7,
    oil_exponent=0.8,
    winding_exponent=1.3,
    k11=0.5,
    k21=2.0,
    k22=2.0,
    loss_ratio=1000,
    top_oil_rise_k=38.3,
    hot_spot_rise_k=1.4 * 14.5,
)
EXAMPLE_STEPS = [  # until minute, load factor, published top oil, published hot spot
    (190, 1.0, 61.9, 83.8),
    (365, 0.6, 44.4, 54.0),
    (500, 1.5, 89.2, 127.0),
    (705, 0.3, 35.0, 37.5),
    (730, 2.1, 67.9, 138.6),
    (745, 0.0, 60.3, 75.3),
]
HEALTHY = {"h2": 20, "ch4": 10, "c2h6": 10, "c2h4": 5, "c2h2": 0, "co": 300, "co2": 3000}
ARCING = {"h2": 210, "ch4": 43, "c2h6": 12, "c2h4": 102, "c2h2": 187}


@pytest.mark.parametrize("tick_min", [1.0, 5.0])
def test_worked_example_of_iec_60076_7(tick_min):
    model = ThermalModel(EXAMPLE, top_oil_degc=38.3)
    minute = 0.0
    computed = []
    for until, load_pu, _, _ in EXAMPLE_STEPS:
        while minute < until:
            model.advance(tick_min, load_pu=load_pu, ambient_degc=25.6)
            minute += tick_min
        computed.append((model.top_oil_degc, model.hot_spot_degc))
    published = [(oil, hot) for _, _, oil, hot in EXAMPLE_STEPS]
    assert [oil for oil, _ in computed] == pytest.approx([oil for oil, _ in published], abs=1.2)
    assert [hot for _, hot in computed] == pytest.approx([hot for _, hot in published], abs=1.2)


@pytest.mark.parametrize("cooling", sorted(COOLING))
def test_a_settled_transformer_stands_still(cooling):
    parameters = COOLING[cooling]
    model = ThermalModel.settled(parameters, load_pu=1.0, ambient_degc=20)
    model.advance(600, load_pu=1.0, ambient_degc=20)
    assert model.top_oil_degc == pytest.approx(20 + parameters.top_oil_rise_k)
    assert model.hot_spot_degc == pytest.approx(20 + parameters.top_oil_rise_k + parameters.hot_spot_rise_k)


def test_worse_cooling_heats_the_oil():
    model = ThermalModel.settled(COOLING["ONAF"], load_pu=1.0, ambient_degc=20)
    model.scale_oil_rise(1.5)
    model.advance(3000, load_pu=1.0, ambient_degc=20)
    assert model.top_oil_degc == pytest.approx(20 + 1.5 * 52, abs=0.1)


def test_gases_jump_in_one_analysis_and_then_stand_exactly_still():
    model = GasModel(HEALTHY, random.Random(1), noise_rel=0.0)
    before = model.analyse()
    model.aim(ARCING, ramp_cycles=1)
    after = [model.analyse() for _ in range(3)]
    assert before == HEALTHY
    assert after == [HEALTHY | ARCING] * 3


def test_gases_ramp_in_equal_steps_and_land_exactly():
    model = GasModel(HEALTHY, random.Random(1), noise_rel=0.0)
    model.aim({"h2": 120}, ramp_cycles=4)
    assert [model.analyse()["h2"] for _ in range(5)] == pytest.approx([45, 70, 95, 120, 120])
    assert model.analyse()["h2"] == 120


def test_gas_noise_is_seeded_relative_and_never_below_zero():
    shown = [GasModel(HEALTHY, random.Random(7), noise_rel=0.05).analyse() for _ in range(2)]
    assert shown[0] == shown[1]
    assert shown[0]["c2h2"] == 0
    assert shown[0]["co2"] != 3000
    assert shown[0]["co2"] == pytest.approx(3000, rel=0.3)


def test_combustible_sum_leaves_carbon_dioxide_out():
    assert combustible_sum_ul_l(HEALTHY) == 20 + 10 + 10 + 5 + 0 + 300


@given(seed=st.integers(0, 10_000))
def test_the_chamber_moves_by_a_tenth_of_a_kelvin_with_every_cycle(seed):
    chamber = ChamberThermometer(random.Random(seed))
    values = [chamber.next_degc() for _ in range(200)]
    assert min(abs(b - a) for a, b in pairwise(values)) >= 0.1
    assert 43 <= min(values) <= max(values) <= 47


def test_sf6_at_normal_pressure_has_its_known_density():
    # 6.1 kg/m3 at 1.013 bar and 20 °C (handbooks: 6.07 to 6.17)
    assert density_kg_m3(1.013, 20) == pytest.approx(6.12, abs=0.06)


@given(density=st.floats(1, 60), temperature_degc=st.floats(-20, 60))
def test_sf6_pressure_and_density_are_inverse(density, temperature_degc):
    assert density_kg_m3(pressure_bara(density, temperature_degc), temperature_degc) == pytest.approx(density)


def test_a_leak_costs_its_share_per_day_whatever_the_tick():
    once, often = SF6Model(fill_bara=6), SF6Model(fill_bara=6)
    full = once.density_kg_m3
    once.leak_percent_per_day = often.leak_percent_per_day = 2.0
    once.advance(86_400)
    for _ in range(240):
        often.advance(360)
    assert once.density_kg_m3 == pytest.approx(0.98 * full)
    assert often.density_kg_m3 == pytest.approx(0.98 * full)
    assert once.pressure_20_bara < 6.0


def test_a_profile_peaks_at_its_hour_and_a_noiseless_one_does_not_drift():
    profile = DailyProfile(mean=10, daily_swing=4, peak_hour=15)
    drift = Drift(profile, random.Random(1), tick_s=360)
    assert profile.at(15 * 3600) == pytest.approx(14)
    assert profile.at(3 * 3600) == pytest.approx(6)
    assert {drift.next() for _ in range(10)} == {0.0}


def test_drift_keeps_its_declared_spread():
    drift = Drift(DailyProfile(mean=0, noise=2.0), random.Random(1), tick_s=3600)
    values = [drift.next() for _ in range(5000)]
    assert (sum(v * v for v in values) / len(values)) ** 0.5 == pytest.approx(2.0, rel=0.15)
