"""The equations against an independent implementation, transformer-thermal-model (MPL-2.0), where it is installed."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from models.asset import Cooling, Nameplate, Paper
from models.thermal import ThermalState, ageing_rate, equivalent_ageing, parameters_for, step

pytest.importorskip(
    "transformer_thermal_model", reason="transformer-thermal-model, the independent implementation, is not installed"
)

from transformer_thermal_model.aging import days_aged
from transformer_thermal_model.cooler import CoolerType
from transformer_thermal_model.model import Model
from transformer_thermal_model.schemas import InputProfile, UserTransformerSpecifications
from transformer_thermal_model.transformer import (
    DistributionTransformer,
    PaperInsulationType,
    PowerTransformer,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
CASES = {
    "distribution": (Cooling.ONAN_DISTRIBUTION, DistributionTransformer, None, 5.0, 55.0, 23.0),
    "onan": (Cooling.ONAN, PowerTransformer, CoolerType.ONAN, 6.0, 50.0, 20.0),
    "onaf": (Cooling.ONAF, PowerTransformer, CoolerType.ONAF, 6.0, 52.0, 26.0),
}


def theirs(case, loads_pu, ambients_degc):
    """Their profile at a minute's step; they begin at ambient with a cold winding."""
    _, kind, cooler, loss_ratio, rise_k, gradient_k = CASES[case]
    specs = UserTransformerSpecifications(
        load_loss=1000 * loss_ratio,
        no_load_loss=1000,
        nom_load_sec_side=1.0,
        top_oil_temp_rise=rise_k,
        winding_oil_gradient=gradient_k,
        hot_spot_fac=1.0,
        amb_temp_surcharge=0,
        end_temp_reduction=0,
    )
    transformer = kind(user_specs=specs, cooling_type=cooler) if cooler else kind(user_specs=specs)
    profile = InputProfile.create(
        datetime_index=[START.replace(tzinfo=None) + timedelta(minutes=minute) for minute in range(len(loads_pu))],
        load_profile=loads_pu,
        ambient_temperature_profile=ambients_degc,
    )
    return Model(temperature_profile=profile, transformer=transformer).run()


def ours(case, loads_pu, ambients_degc):
    cooling, _, _, loss_ratio, rise_k, gradient_k = CASES[case]
    parameters = parameters_for(
        Nameplate(cooling=cooling, loss_ratio=loss_ratio, top_oil_rise_k=rise_k, hot_spot_gradient_k=gradient_k)
    )
    states = [ThermalState(ambients_degc[0])]
    for load_pu, ambient_degc in zip(loads_pu[1:], ambients_degc[1:], strict=True):
        states.append(step(states[-1], 60, load_pu, ambient_degc, parameters))
    return states


@pytest.mark.parametrize("case", CASES)
def test_temperatures_agree_over_two_days_of_changing_load(case, seed):
    """They integrate exactly over a step, the standard's difference equations to first order: 0.5 K between them."""
    rng = random.Random(seed)
    hours = [rng.uniform(0.1, 1.4) for _ in range(48)]
    loads_pu = [load_pu for load_pu in hours for _ in range(60)]
    ambients_degc = [degc for degc in [rng.uniform(15, 23) for _ in range(48)] for _ in range(60)]
    profile = theirs(case, loads_pu, ambients_degc)
    states = ours(case, loads_pu, ambients_degc)
    assert [state.top_oil_degc for state in states] == pytest.approx(list(profile.top_oil_temp_profile), abs=0.5)
    worst_k = max(
        abs(state.hot_spot_degc - degc) for state, degc in zip(states, profile.hot_spot_temp_profile, strict=True)
    )
    assert worst_k < 1.5  # at the first minutes of a load step, where the winding moves by kelvins a minute


@pytest.mark.parametrize(
    ("paper", "their_paper"),
    [(Paper.KRAFT, PaperInsulationType.NORMAL), (Paper.UPGRADED, PaperInsulationType.THERMAL_UPGRADED)],
)
def test_ageing_agrees(paper, their_paper, seed):
    pandas = pytest.importorskip("pandas")
    rng = random.Random(seed)
    temperatures = [rng.uniform(60, 140) for _ in range(49)]  # each holds for the hour before it; the first for none
    index = pandas.date_range(START, periods=len(temperatures), freq="h")
    mean = equivalent_ageing([(1.0, ageing_rate(degc, paper)) for degc in temperatures[1:]])
    assert 48 / 24 * mean == pytest.approx(days_aged(pandas.Series(temperatures, index=index), their_paper))
