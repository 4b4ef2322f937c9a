"""Station battery: tested capacity, and what is only compared with its own past."""

from math import nan

import pytest

from drivers.errors import BadInput
from models.battery import capacity, rise
from models.findings import Severity


@pytest.mark.parametrize(("percent", "severity"), [(100, "NONE"), (90, "NONE"), (89, "ADVISORY"), (79, "WARNING")])
def test_capacity_stages(percent, severity):
    assert capacity(percent).severity is Severity[severity]


def test_what_is_no_capacity_is_refused():
    with pytest.raises(BadInput):
        capacity(-3)


def test_ohmic_values_are_compared_with_the_own_past_alone():
    days = [2.0] * 10 + [nan] + [2.7] * 5
    verdict = rise("impedance", "mOhm", days, 30.0, "impedance_rise_percent")
    assert (verdict.severity, verdict.code) == (Severity.WARNING, "Risen")
    assert rise("impedance", "mOhm", days, 40.0, "impedance_rise_percent").severity is Severity.NONE
    assert "no published limit" in rise("impedance", "mOhm", days, None, "impedance_rise_percent").abstained
    assert "too few" in rise("impedance", "mOhm", days[:9], 30.0, "impedance_rise_percent").abstained
