"""Loading limits: which are exceeded, and what each regime allows."""

import pytest

from models.asset import Cooling
from models.findings import Severity
from models.thermal import Regime, loading_limits, overheating


@pytest.mark.parametrize(
    ("top_oil", "hot_spot", "severity", "code"),
    [
        (105, 120, Severity.NONE, ""),
        (105.1, 100, Severity.WARNING, "TopOilHigh"),
        (100, 120.1, Severity.WARNING, "HotSpotHigh"),
        (106, 121, Severity.WARNING, "HotSpotHigh"),
        (106, 140.1, Severity.CRITICAL, "HotSpotHigh"),
        (115.1, 121, Severity.CRITICAL, "TopOilHigh"),
    ],
)
def test_loading_limits(top_oil, hot_spot, severity, code):
    result = overheating(top_oil, hot_spot)
    assert (result.severity, result.code) == (severity, code)
    assert bool(result.facts) == bool(code)


@pytest.mark.parametrize("cooling", [Cooling.ONAN_DISTRIBUTION, Cooling.ONAF, None])
def test_an_emergency_never_allows_less_than_normal_loading(cooling):
    normal, long, short = (loading_limits(regime, cooling) for regime in Regime)
    assert all(a <= b <= c for a, b, c in zip(normal, long, short, strict=True))


def test_a_power_transformer_is_taken_as_large():
    assert loading_limits(Regime.NORMAL, Cooling.ONAF) == (105.0, 120.0, 1.3)
    assert loading_limits(Regime.SHORT_EMERGENCY, None) == (115.0, 160.0, 1.5)
    assert loading_limits(Regime.NORMAL, Cooling.ONAN_DISTRIBUTION).load_pu == 1.5
