"""The drift chart: it follows slow drift, and learns no fault, however slow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.errors import BadInput
from models.drift import ChartFit, DriftChart, fit_chart

CHANNELS = 4
RESOLUTION = np.full(CHANNELS, 1e-6)


def healthy(rows: int, seed: int = 1) -> np.ndarray:
    """Three trembling channels and one that wanders like a temperature."""
    rng = np.random.default_rng(seed)
    trembling = rng.normal((5.0, -3.0, 100.0), (0.1, 1.0, 4.0), (rows, 3))
    wandering = 60 + 2 * np.sin(np.arange(rows) / 60) + rng.normal(0, 0.01, rows)
    return np.column_stack([trembling, wandering])


@pytest.fixture(scope="module")
def fit() -> ChartFit:
    return fit_chart(healthy(400), RESOLUTION)


def calls(chart: DriftChart, rows: np.ndarray) -> list[bool]:
    return [chart.update(row).anomalous for row in rows]


def spread(fit: ChartFit, channel: int) -> float:
    return fit.spread[channel] * fit.scale[channel]


def test_healthy_rows_are_rarely_anomalous(fit: ChartFit) -> None:
    assert np.mean(calls(DriftChart(fit), healthy(5000, seed=2))) < 0.005


@pytest.mark.parametrize("channel", range(CHANNELS))
def test_a_step_is_seen_and_its_channel_named(fit: ChartFit, channel: int) -> None:
    chart = DriftChart(fit)
    rows = healthy(60, seed=3)
    rows[:, channel] += 15 * spread(fit, channel)
    scores = [chart.update(row) for row in rows]
    assert all(score.anomalous for score in scores[20:])
    assert {score.channel for score in scores[20:]} == {channel}


def test_slow_drift_within_the_band_is_followed(fit: ChartFit) -> None:
    chart = DriftChart(fit)
    rows = healthy(4000, seed=4)
    rows[:, 1] += np.linspace(0, 5 * spread(fit, 1), 4000)
    before = chart.reference[1]
    assert np.mean(calls(chart, rows)) < 0.005
    assert chart.reference[1] - before > 2 * spread(fit, 1)


@given(rows_per_spread=st.integers(3, 150), channel=st.integers(0, CHANNELS - 1), sign=st.sampled_from((-1, 1)))
@settings(max_examples=12, deadline=None)
def test_no_fault_is_too_slow_to_be_seen(fit: ChartFit, rows_per_spread: int, channel: int, sign: int) -> None:
    """A ramp that ends 40 spreads away is standing out at its end, and so is what stays there."""
    chart = DriftChart(fit)
    count = 40 * rows_per_spread
    rows = healthy(count + 200, seed=5)
    ramp = np.minimum(np.arange(count + 200) / rows_per_spread, 40)
    rows[:, channel] += sign * ramp * spread(fit, channel)
    assert all(calls(chart, rows)[-200:])


def test_a_standing_fault_is_never_learnt(fit: ChartFit) -> None:
    chart = DriftChart(fit)
    rows = healthy(5000, seed=6)
    rows[:, 0] -= 12 * spread(fit, 0)
    reference = chart.reference[0]
    assert all(calls(chart, rows)[20:])
    assert abs(chart.reference[0] - reference) < spread(fit, 0)


def test_the_end_of_a_fault_is_seen(fit: ChartFit) -> None:
    chart = DriftChart(fit)
    faulty = healthy(200, seed=7)
    faulty[:, 2] += 300 * spread(fit, 2)
    assert all(calls(chart, faulty)[5:])
    after = healthy(400, seed=8)
    after[:, 2] += 3 * spread(fit, 2)  # nearly, but not quite, where it was
    assert not any(calls(chart, after)[40:])


def test_nothing_is_followed_while_other_checks_find_the_asset_ill(fit: ChartFit) -> None:
    chart = DriftChart(fit)
    before = chart.reference
    for row in healthy(500, seed=9) + 2 * np.array([spread(fit, channel) for channel in range(CHANNELS)]):
        chart.update(row, healthy=False)
    assert chart.reference.tolist() == before.tolist()


def test_a_restart_goes_back_to_commissioning(fit: ChartFit) -> None:
    used = DriftChart(fit)
    begun = used.reference
    calls(used, healthy(300, seed=10) + 0.05)
    assert used.reference.tolist() != begun.tolist()
    assert DriftChart(fit).reference.tolist() == begun.tolist()


@given(waited=st.integers(0, 300))
@settings(max_examples=10, deadline=None)
def test_it_does_not_know_how_long_it_has_run(fit: ChartFit, waited: int) -> None:
    rows = healthy(50, seed=11)
    rows[20:, 0] += 1
    chart = DriftChart(fit)
    expected = [chart.update(row).excess for row in rows]
    later = DriftChart(fit)
    resting = later.reference
    assert not any(calls(later, np.tile(resting, (waited, 1))))
    assert [later.update(row).excess for row in rows] == pytest.approx(expected)


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(gain: float, offset: float) -> None:
    rows = healthy(500, seed=12)
    rows[450:, 1] += 10
    as_is = DriftChart(fit_chart(rows[:400], RESOLUTION))
    converted = DriftChart(fit_chart(rows[:400] * gain + offset, RESOLUTION * gain))
    expected = [as_is.update(row).excess for row in rows[400:]]
    assert [converted.update(row * gain + offset).excess for row in rows[400:]] == pytest.approx(expected, rel=1e-5)


def test_a_channel_that_never_moved_is_no_obstacle() -> None:
    rows = healthy(400)
    rows[:, 2] = 7.0
    chart = DriftChart(fit_chart(rows, np.array([0.01, 0.01, 0.5, 0.01])))
    assert not any(calls(chart, rows[:50]))
    rows[:, 2] = 12.0
    assert chart.update(rows[60]).channel == 2


@pytest.mark.parametrize("bad", [[1.0, 2.0], [1.0, float("nan"), 0.0, 0.0], [[1.0, 2.0, 3.0, 4.0]], [float("inf")] * 4])
def test_a_row_that_is_no_measurement_is_refused_and_leaves_no_trace(fit: ChartFit, bad: list[float]) -> None:
    chart, untouched = DriftChart(fit), DriftChart(fit)
    with pytest.raises(BadInput, match="4 finite numbers"):
        chart.update(bad)
    row = healthy(1)[0]
    assert chart.update(row) == untouched.update(row)


def test_too_little_commissioning_is_refused() -> None:
    with pytest.raises(BadInput, match="100 rows"):
        fit_chart(healthy(99), RESOLUTION)


def test_a_fit_that_cannot_work_is_refused(fit: ChartFit) -> None:
    for change in (
        {"settings": {"smoothing": 2}},
        {"spread": (0.0,) * CHANNELS},
        {"mean": (1.0,)},
        {"reference": (float("nan"),) * CHANNELS},
    ):
        with pytest.raises(ValidationError):
            ChartFit.model_validate(fit.model_dump() | change)


def test_a_fit_survives_json(fit: ChartFit) -> None:
    assert ChartFit.model_validate_json(fit.model_dump_json()) == fit
