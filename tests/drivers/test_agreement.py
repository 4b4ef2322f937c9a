"""Two sensors of one quantity on two links: compared by measurements, doubted together, believed together."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.agreement import Agreement, Agreements, agreement_errors
from drivers.base import Point, Quality, Sample

_T0 = datetime(2026, 11, 23, tzinfo=UTC)
_FAST, _SLOW = "T1/SIML.Tmp", "T1/STMP.Tmp"
_POINTS = [
    Point(id=_FAST, unit="degC", group="a", update_interval_s=1.0),
    Point(id=_SLOW, unit="degC", group="b", update_interval_s=60.0),
]


def _sample(point: str, value: object, at_s: float, *, stamp_s: float | None = None, **more: object) -> Sample:
    usual = {"quality": Quality.GOOD if value is not None else Quality.STALE}
    return Sample(
        point_id=point,
        value=value,
        received_time=_T0 + timedelta(seconds=at_s),
        monotonic_ns=int(at_s * 1e9),
        clock_trusted=True,
        source_time=None if stamp_s is None else _T0 + timedelta(seconds=stamp_s),
        **usual | more,
    )


def _pair(**more: object) -> Agreements:
    usual = {"points": (_FAST, _SLOW), "tolerance": 5.0, "after_comparisons": 2}
    return Agreements([Agreement.model_validate(usual | more)], _POINTS)


def _quality(found: object, at: int = 0) -> Quality:
    return found[at].quality


def test_they_are_compared_when_both_have_been_measured_anew() -> None:
    watch = _pair()
    assert _quality(watch([_sample(_SLOW, 60.0, 0)])) is Quality.GOOD
    for second in range(53):  # the fast one runs away within one measurement of the slow one: one comparison
        assert _quality(watch([_sample(_FAST, 70.0 + second, second)])) is Quality.GOOD
        assert _quality(watch([_sample(_SLOW, 60.0, second)])) is Quality.GOOD
    (slow,) = watch([_sample(_SLOW, 61.0, 60)])
    assert slow.quality is Quality.UNCERTAIN
    assert slow.reason == "T1/SIML.Tmp and T1/STMP.Tmp disagree: 122 and 61 degC"
    assert slow.value == 61.0
    assert _quality(watch([_sample(_FAST, 62.0, 61)])) is Quality.UNCERTAIN  # not compared yet
    assert _quality(watch([_sample(_SLOW, 61.5, 120)])) is Quality.GOOD
    assert _quality(watch([_sample(_FAST, 62.5, 121)])) is Quality.GOOD


def test_a_value_that_stands_is_measured_anew_by_its_time_stamp_alone() -> None:
    watch = _pair(after_comparisons=1)
    watch([_sample(_FAST, 50.0, 0, stamp_s=0)])
    assert _quality(watch([_sample(_SLOW, 52.0, 0, stamp_s=0)])) is Quality.GOOD
    watch([_sample(_FAST, 90.0, 300, stamp_s=300)])
    assert _quality(watch([_sample(_SLOW, 52.0, 300, stamp_s=0)])) is Quality.GOOD  # as old as before
    assert _quality(watch([_sample(_SLOW, 52.0, 301, stamp_s=301)])) is Quality.UNCERTAIN


def test_the_doubt_outlasts_one_of_them_going_silent() -> None:
    watch = _pair(after_comparisons=1)
    watch([_sample(_SLOW, 60.0, 0)])
    assert _quality(watch([_sample(_FAST, 80.0, 0)])) is Quality.UNCERTAIN
    silent = watch([_sample(_SLOW, None, 1)])
    assert (silent[0].quality, silent[0].reason) == (Quality.STALE, "")
    assert _quality(watch([_sample(_FAST, 81.0, 2)])) is Quality.UNCERTAIN
    watch([_sample(_SLOW, 80.0, 3)])
    assert _quality(watch([_sample(_FAST, 81.0, 4)])) is Quality.GOOD


def test_history_and_strangers_pass_untouched() -> None:
    watch = _pair(after_comparisons=1)
    watch([_sample(_SLOW, 60.0, 0)])
    past, stranger = _sample(_FAST, 99.0, 1, historical=True), _sample("Q1/SIMG.Tmp", 1.0, 1)
    assert watch([past, stranger]) == [past, stranger]
    alone = [stranger]
    assert watch(alone) is alone


@pytest.mark.parametrize("value", [True, "hot"])
def test_what_is_no_number_is_not_compared(value: object) -> None:
    watch = _pair(after_comparisons=1)
    watch([_sample(_SLOW, 60.0, 0)])
    assert _quality(watch([_sample(_FAST, value, 0)])) is Quality.GOOD


@given(st.lists(st.tuples(st.booleans(), st.floats(-200, 200)), max_size=60), st.integers(1, 4))
def test_both_are_doubted_or_neither_and_only_for_a_disagreement(steps: list[tuple[bool, float]], after: int) -> None:
    watch = _pair(after_comparisons=after)
    values: set[float] = set()
    for second, (fast, value) in enumerate(steps):
        (sample,) = watch([_sample(_FAST if fast else _SLOW, value, second * 100)])
        values.add(value)
        doubts = {pair.doubt for pair in watch._pairs_of[_FAST]}
        assert (sample.quality is Quality.UNCERTAIN) == bool(doubts - {""})
        assert sample.quality is Quality.GOOD or max(values) - min(values) > 5.0


def test_a_pair_that_makes_no_sense_is_refused() -> None:
    pairs = [
        Agreement(points=(_FAST, _FAST), tolerance=1.0),
        Agreement(points=(_FAST, "T9/SIML.Tmp"), tolerance=1.0),
        Agreement(points=(_FAST, "T1/SIML.H2ppm"), tolerance=1.0),
    ]
    units = {_FAST: "degC", "T1/SIML.H2ppm": "uL/L"}
    assert list(agreement_errors(pairs, units)) == [
        "agreement.0.points: T1/SIML.Tmp is compared with itself",
        "agreement.1.points: no point 'T9/SIML.Tmp'; see `blackstart plan` and the links' points",
        "agreement.2.points: T1/SIML.Tmp is in degC, T1/SIML.H2ppm in uL/L: two units",
    ]
