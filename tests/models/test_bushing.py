"""Bushings: limits of a guide, the relative method, the sum of the currents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.bushing import ONE_SOURCE, OWN_REFERENCE, capacitance, relative, sum_current, tan_delta
from models.findings import Severity

HEALTHY = ((0.050, 90.0), (0.051, -30.0), (0.049, -150.0))


@pytest.mark.parametrize(
    ("c1", "severity"), [(400, "NONE"), (419, "NONE"), (421, "WARNING"), (379, "WARNING"), (441, "CRITICAL")]
)
def test_capacitance_stages(c1, severity):
    verdict = capacitance([c1] * 7, 400.0)
    assert verdict.severity is Severity[severity]
    assert verdict.assumptions == (ONE_SOURCE,)


@pytest.mark.parametrize(("tan", "severity"), [(0.5, "NONE"), (0.79, "NONE"), (0.85, "WARNING"), (1.3, "CRITICAL")])
def test_loss_factor_stages(tan, severity):
    assert tan_delta([tan] * 7, 0.4).severity is Severity[severity]


def test_single_days_are_not_judged():
    assert "6 of 7" in capacitance([500.0] * 6, 400.0).abstained
    assert "13 of 14" in tan_delta([0.4] * 13, None).abstained
    own = tan_delta([0.4] * 7 + [0.9] * 7, None)
    assert (own.severity, own.assumptions) == (Severity.WARNING, (ONE_SOURCE, OWN_REFERENCE))


@given(st.floats(0.5, 2.0))
def test_what_moves_all_three_alike_is_taken_out(common):
    assert relative([400 * common, 410 * common, 390 * common]) == pytest.approx(relative([400, 410, 390]))
    with pytest.raises(BadInput):
        relative([1.0, 2.0])


@given(st.floats(0.9, 1.1), st.floats(-3, 3))
def test_the_grid_does_not_move_the_sum(size, turn):
    now = [(amplitude * size, angle + turn) for amplitude, angle in HEALTHY]
    found = sum_current(now, HEALTHY)
    assert abs(found.c1_percent) < 1e-9
    assert abs(found.tan_delta_percent_points) < 1e-9


@pytest.mark.parametrize(("index", "phase"), [(0, "A"), (1, "B"), (2, "C")])
def test_the_phase_that_changed_is_named(index, phase):
    now = list(HEALTHY)
    amplitude, angle = now[index]
    now[index] = (amplitude * 1.03, angle - 0.2)  # C1 up by 3 %, losses up by 0.2°
    found = sum_current(now, HEALTHY)
    assert found.phase == phase
    assert found.c1_percent == pytest.approx(3, abs=0.05)
    assert found.tan_delta_percent_points == pytest.approx(0.36, abs=0.02)


def test_a_missing_current_is_refused():
    with pytest.raises(BadInput):
        sum_current([(0.0, 0.0), *HEALTHY[1:]], HEALTHY)
