"""Change points: found soon, dated well, seldom imagined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import BadInput
from models.change_point import Change, ChangePoints, last_change


def found(values: np.ndarray, mean: float = 0.0, spread: float = 1.0) -> list[Change]:
    watch = ChangePoints(mean, spread)
    return [change for value in values.tolist() if (change := watch.feed(value)) is not None]


def noise(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


def test_steady_rows_hold_hardly_any_change() -> None:
    assert len(found(noise(50_000, 1))) <= 15


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("shift", [2, 3, 6, 20])
def test_a_step_is_found_soon_and_dated_well(shift: float, sign: int) -> None:
    dated, delays = [], []
    for seed in range(60):
        at = 20 + 3 * seed
        values = noise(at + 100, seed)
        values[at:] += sign * shift
        change = next(change for change in found(values) if change.found_row >= at)
        assert np.sign(change.after - change.before) == sign
        dated.append(abs(change.onset_row - at))
        delays.append(change.found_row - at)
    assert max(delays) <= 40 / shift
    assert np.median(dated) <= 2
    assert np.mean(np.array(dated) <= 8) >= 0.9


def test_each_step_of_several_is_found_where_it_is() -> None:
    values = noise(400, 2) * 0.5
    values[100:200] += 5
    values[200:300] -= 5
    changes = found(values)
    assert [round(change.onset_row, -1) for change in changes] == [100, 200, 200, 300]  # the second is refined at once
    assert [changes[index].after for index in (0, 2, 3)] == pytest.approx([5, -5, 0], abs=1)
    assert [changes[index].before for index in (0, 1, 3)] == pytest.approx([0, 5, -5], abs=0.2)


def test_a_slow_ramp_is_found_too() -> None:
    assert found(np.linspace(0, 10, 500) + noise(500, 3) * 0.3)[0].found_row < 150


@given(gain=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(gain: float, offset: float) -> None:
    values = np.r_[noise(50, 4), noise(30, 5) + 6]
    rows = [(change.onset_row, change.found_row) for change in found(values)]
    assert [(c.onset_row, c.found_row) for c in found(values * gain + offset, offset, gain)] == rows


def test_the_newest_change_is_asked_for() -> None:
    values = np.r_[noise(50, 6), noise(50, 7) + 6, noise(50, 8) - 6]
    change = last_change(values.tolist(), 0.0, 1.0)
    assert change is not None
    assert abs(change.onset_row - 100) <= 2
    assert last_change(noise(20, 9).tolist(), 0.0, 1.0) is None


def test_what_is_no_measurement_is_refused_and_leaves_no_trace() -> None:
    watch = ChangePoints(0.0, 1.0)
    assert watch.feed(3.0) is None
    before = watch.evidence
    with pytest.raises(BadInput, match="nan"):
        watch.feed(float("nan"))
    assert watch.evidence == before > 0


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_a_level_without_spread_is_refused(mean: float, spread: float) -> None:
    with pytest.raises(BadInput, match="spread"):
        ChangePoints(mean, spread)
