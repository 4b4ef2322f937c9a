"""Time stamps: duplicates, stamps that go back, clocks that are wrong, and devices that only measure slowly."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Point, Quality, Sample
from drivers.stamps import SKEW_MAX_S, Stamps

_T0 = datetime(2026, 11, 22, tzinfo=UTC)
POINT = Point(id="T1/MMXU.A", unit="A", group="g", update_interval_s=10.0)
HOURLY = Point(id="T1/MMXU.A", unit="A", group="g", update_interval_s=3600.0)


def _sample(value: object, at_s: float, stamp_s: float | None, **more: object) -> Sample:
    usual = {
        "point_id": POINT.id,
        "value": value,
        "quality": Quality.GOOD,
        "received_time": _T0 + timedelta(seconds=at_s),
        "monotonic_ns": int(at_s * 1e9),
        "clock_trusted": True,
        "source_time": None if stamp_s is None else _T0 + timedelta(seconds=stamp_s),
    }
    return Sample(**usual | more)


def _run(stamps: Stamps, *samples: Sample) -> list[Sample]:
    return [stamps([sample])[0] for sample in samples]


def test_an_honest_device_passes_untouched() -> None:
    stamps = Stamps([POINT])
    given_ = [[_sample(n // 10, n, 10 * (n // 10))] for n in range(100)]
    assert all(stamps(read) is read for read in given_)


def test_two_values_with_one_stamp_are_doubted_until_the_next_measurement() -> None:
    samples = [_sample(1, 0, 0), _sample(2, 10, 10), _sample(3, 20, 10), _sample(3, 25, 10), _sample(4, 30, 30)]
    found = _run(Stamps([POINT]), *samples)
    assert [sample.quality for sample in found] == ["GOOD", "GOOD", "UNCERTAIN", "UNCERTAIN", "GOOD"]
    assert found[2].reason == "two values with one time stamp: 2 and 3"


def test_whole_seconds_and_servers_that_never_stamp_anew_are_no_duplicates() -> None:
    fast = [_sample(n, n / 2, n // 2) for n in range(20)]
    assert {sample.quality for sample in _run(Stamps([POINT]), *fast)} == {Quality.GOOD}
    standing = [_sample(n, 10 * n, 0) for n in range(20)]
    assert {sample.quality for sample in _run(Stamps([POINT]), *standing)} == {Quality.GOOD}


def test_a_stamp_that_goes_back_is_doubted_once() -> None:
    samples = [_sample(1, 0, 0), _sample(2, 10, 10), _sample(3, 20, 5), _sample(4, 30, 15)]
    found = _run(Stamps([POINT]), *samples)
    assert [bool(sample.reason) for sample in found] == [False, False, True, False]
    assert found[2].reason == "the time stamp went back by 5 s"


def test_a_clock_two_hours_ahead_is_corrected_and_its_device_stays_watched() -> None:
    samples = [_sample(n, 10 * n + 0.3 * (n % 2), 7200 + 10 * n) for n in range(20)]
    found = _run(Stamps([POINT]), *samples)
    assert {sample.quality for sample in found} == {Quality.GOOD}
    assert "7200 s ahead" in found[0].reason
    steps = [b.source_time - a.source_time for a, b in pairwise(found)]  # type: ignore[operator]
    assert set(steps) == {timedelta(seconds=10)}
    assert found[-1].source_time == _T0 + timedelta(seconds=190)


def test_a_standing_measurement_keeps_its_corrected_stamp() -> None:
    samples = [_sample(1, at_s, 7200) for at_s in range(0, 3600, 60)]
    assert len({sample.source_time for sample in _run(Stamps([HOURLY]), *samples)}) == 1


def test_a_clock_that_is_set_right_is_believed_again() -> None:
    stamps = Stamps([POINT])
    _run(stamps, *[_sample(n, 10 * n, 7200 + 10 * n) for n in range(5)])
    back, right = _run(stamps, _sample(7, 60, 60), _sample(8, 70, 70))
    assert "went back" in back.reason
    assert (right.quality, right.reason, right.source_time) == (Quality.GOOD, "", _T0 + timedelta(seconds=70))


def test_a_clock_behind_is_seen_with_a_new_measurement() -> None:
    found = _run(Stamps([POINT]), *[_sample(n, 10 * n, 10 * n - 7200) for n in range(5)])
    assert [bool(sample.reason) for sample in found] == [False, True, True, True, True]
    assert "behind" in found[1].reason


def test_a_slow_device_is_not_taken_for_late() -> None:
    samples = [_sample(hour, 3600 * hour + 3500, 3600 * hour) for hour in range(10)]  # an analysis takes its hour
    days = [_sample(9, 86_400 * day + 40_000, 3600 * 9) for day in range(1, 5)]  # and a tap stands for days
    assert not any(sample.reason for sample in _run(Stamps([HOURLY]), *samples, *days))


def test_who_does_not_know_the_time_corrects_nobody() -> None:
    (found,) = _run(Stamps([POINT]), _sample(1, 0, 7200, clock_trusted=False))
    assert found.source_time == _T0 + timedelta(hours=2)


def test_history_and_what_is_not_stamped_pass() -> None:
    stamps = Stamps([POINT])
    samples = [_sample(1, 100, None), _sample(2, 100, -90_000, historical=True)]
    assert stamps(samples) is samples


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.sampled_from(list(Quality))), max_size=40))
def test_a_quality_is_only_ever_lowered_and_no_value_changes(rows: list[tuple[int, int, Quality]]) -> None:
    samples = [_sample(value, 10.0 * n, float(stamp), quality=q) for n, (value, stamp, q) in enumerate(rows)]
    for before, after in zip(samples, _run(Stamps([POINT]), *samples), strict=True):
        assert after.value == before.value
        assert after.quality in (before.quality, Quality.UNCERTAIN)
        assert after.quality is before.quality or before.quality is Quality.GOOD
        assert after.source_time is not None
        assert (after.source_time - after.received_time).total_seconds() <= SKEW_MAX_S or "ahead" in after.reason
