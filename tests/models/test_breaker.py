"""Contact wear, operations that nobody read, drift of times, idle breakers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.errors import BadInput
from models.asset import BreakerPlate
from models.breaker import (
    Duty,
    after_reading,
    drift,
    inactivity,
    motor_energy_j,
    permitted_operations,
    wear_verdict,
)
from models.findings import Severity

EATON_25_KV = ((1.2, 10_000.0), (8.0, 150.0), (20.0, 12.0))
PLATE = BreakerPlate(wear_curve=EATON_25_KV, wear_percent=0)


def operate(duty: Duty | None, current_ka: float | None, times: int, plate: BreakerPlate = PLATE) -> Duty:
    if duty is None:
        duty, _ = after_reading(None, 0, 0.0, None, None, plate)
    for _ in range(times):
        duty, new = after_reading(duty, duty.counter + 1, duty.recorded * 10.0, current_ka, None, plate)
        assert new
    return duty


def test_the_relay_manuals_example():
    """20 operations at 7 kA, 290 at 2.5 kA, 11 at 12 kA wear to 10, 25 and 50 %, as read off a printed graph."""
    duty = operate(None, 7.0, 20)
    assert duty.wear_percent == pytest.approx(10, abs=0.2)
    duty = operate(duty, 2.5, 290)
    assert duty.wear_percent == pytest.approx(25, abs=0.5)
    duty = operate(duty, 12.0, 11)
    assert duty.wear_percent == pytest.approx(50, abs=3.0)  # the manual counts 13 to 24 operations on its graph


def test_the_makers_three_points():
    assert permitted_operations(0.4, EATON_25_KV) == 10_000
    assert permitted_operations(1.2, EATON_25_KV) == 10_000
    assert permitted_operations(8.0, EATON_25_KV) == pytest.approx(150)
    assert permitted_operations(20.0, EATON_25_KV) == pytest.approx(12)
    assert permitted_operations(20.1, EATON_25_KV) == 0
    with pytest.raises(BadInput):
        permitted_operations(1.0, ())


@given(st.floats(0, 30), st.floats(0, 30))
def test_a_larger_current_never_wears_less(one, other):
    low, high = sorted((one, other))
    assert permitted_operations(low, EATON_25_KV) >= permitted_operations(high, EATON_25_KV)


def test_one_interruption_beyond_the_curve_is_full_wear():
    assert wear_verdict(operate(None, 25.0, 1), PLATE).code == "ContactsWorn"


def test_stages_of_wear():
    assert wear_verdict(operate(None, 8.0, 119), PLATE).severity is Severity.NONE
    assert wear_verdict(operate(None, 8.0, 121), PLATE).code == "ContactsWearing"
    assert wear_verdict(operate(None, 8.0, 151), PLATE).severity is Severity.CRITICAL


def test_the_sum_of_i_y_t():
    plate = BreakerPlate(wear_limit=100.0, wear_exponent=2.0, arcing_time_ms=10.0)
    duty = operate(None, 10.0, 90, plate)
    assert duty.sum_iyt == pytest.approx(90.0)
    assert wear_verdict(duty, plate).code == "ContactsWearing"
    measured, _ = after_reading(duty, duty.counter + 1, 0.0, 10.0, 20.0, plate)
    assert measured.sum_iyt == pytest.approx(92.0)
    assert "wear_curve" in wear_verdict(duty, BreakerPlate()).abstained


def test_skipped_operations_are_counted_and_said():
    duty = operate(None, 1.0, 2)
    duty, new = after_reading(duty, duty.counter + 4, 99.0, 1.0, None, PLATE)
    assert new
    assert (duty.recorded, duty.skipped) == (3, 3)
    assert "lower bound" in wear_verdict(duty, PLATE).assumptions[0]
    silent, _ = after_reading(duty, duty.counter + 1, 100.0, None, None, PLATE)
    assert silent.unknown == 1


def test_a_counter_that_goes_back_is_no_operation():
    duty = operate(None, 1.0, 5)
    again, new = after_reading(duty, 0, 50.0, 1.0, None, PLATE)
    assert not new
    assert (again.recorded, again.resets, again.counter) == (5, 1, 0)
    assert any("went back" in note for note in wear_verdict(again, PLATE).assumptions)
    same, new = after_reading(again, 0, 60.0, 1.0, None, PLATE)
    assert (same, new) == (again, False)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_recorded_and_skipped_add_up_to_what_the_counter_counted(counters):
    duty = None
    risen = 0
    for before, counter in zip([counters[0], *counters], counters, strict=False):
        duty, _ = after_reading(duty, counter, 0.0, 1.0, None, PLATE)
        risen += max(0, counter - before)
    assert duty is not None
    assert duty.recorded + duty.skipped == risen


@pytest.mark.parametrize(("counter", "current"), [(-1, 1.0), (1, -1.0), (1, 500.0)])
def test_what_is_no_record_is_refused(counter, current):
    with pytest.raises(BadInput):
        after_reading(None, counter, 0.0, current, None, PLATE)


def test_drift_against_the_nameplate_and_against_the_own_past():
    assert drift("opening time", "ms", [30.0] * 5, 30.0, 10.0).severity is Severity.NONE
    slow = drift("opening time", "ms", [34.0] * 5, 30.0, 10.0)
    assert (slow.severity, slow.code) == (Severity.WARNING, "Drift")
    assert drift("opening time", "ms", [37.0] * 5, 30.0, 10.0).severity is Severity.CRITICAL
    own = drift("opening time", "ms", [30.0] * 10 + [24.0] * 5, None, None)
    assert own.severity is Severity.WARNING
    assert len(own.assumptions) == 2
    assert "too few" in drift("opening time", "ms", [30.0] * 4, 30.0, 10.0).abstained


def test_a_breaker_that_stands_for_too_long():
    plate = BreakerPlate(inactive_days_max=100)
    duty = Duty(counter=3, last_operation_s=0.0)
    assert inactivity(duty, 0.0, 99 * 86_400.0, 86_400.0, plate).severity is Severity.NONE
    assert inactivity(duty, 0.0, 101 * 86_400.0, 86_400.0, plate).code == "Inactive"
    never = inactivity(None, 0.0, 101 * 86_400.0, 86_400.0, plate)
    assert (never.code, len(never.assumptions)) == ("Inactive", 1)
    assert inactivity(duty, 0.0, 0.0, 86_400.0, BreakerPlate()).abstained


def test_motor_energy():
    assert motor_energy_j(110.0, 5.0, 10.0) == 5500.0
    with pytest.raises(BadInput):
        motor_energy_j(110.0, -1.0, 1.0)


@pytest.mark.parametrize(
    "curve", [((1.0, 10.0),), ((2.0, 10.0), (1.0, 5.0)), ((1.0, 5.0), (2.0, 9.0)), ((0.0, 9.0), (1.0, 5.0))]
)
def test_a_curve_that_no_maker_prints_is_refused(curve):
    with pytest.raises(ValidationError, match="wear_curve"):
        BreakerPlate(wear_curve=curve)
