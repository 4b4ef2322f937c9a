"""Intervals, paired tests and calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.statistics import calibration_error, mcnemar_p, paired_interval, wilson_interval


def test_wilson_as_printed_in_textbooks():
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=1e-4)
    assert wilson_interval(0, 0) is None


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share(case):
    successes, n = case
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1


def test_mcnemar_is_the_exact_binomial():
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(5, 5) == 1.0
    assert mcnemar_p(0, 6) == pytest.approx(2 / 64)
    assert mcnemar_p(1, 9) == mcnemar_p(9, 1) == pytest.approx(22 / 1024)
    assert 0 < mcnemar_p(2000, 1000) < 1e-60


def test_the_paired_interval_is_near_the_normal_one_and_repeats():
    difference = np.repeat([1.0, 0.0, -1.0], [30, 160, 10])
    low, high = paired_interval(difference)
    spread = 1.96 * difference.std() / np.sqrt(len(difference))
    assert (low, high) == pytest.approx((0.1 - spread, 0.1 + spread), abs=0.01)
    assert (low, high) == paired_interval(difference)
    assert paired_interval(np.zeros(0)) is None
    assert paired_interval(np.zeros(5)) == (0.0, 0.0)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 1.0])
    right = np.array([True, True, True, False, True, True])
    # Top bin: five with 4.8 believed and four right; the other bin: 0.55 believed, one right.
    assert calibration_error(confidence, right) == pytest.approx((0.8 + 0.45) / 6)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) is None
