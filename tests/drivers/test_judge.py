"""Doubts and storage by exception: both count measurements, not polls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Point, Quality, Sample
from drivers.by_exception import ByException
from drivers.judge import Judge

_T0 = datetime(2026, 11, 22, tzinfo=UTC)


def _point(name: str = "A", **more: object) -> Point:
    usual = {"id": f"T1/MMXU.{name}", "unit": "A", "group": "g", "update_interval_s": 10.0}
    return Point.model_validate(usual | more)


def _sample(value: object, at_s: float, name: str = "A", stamp_s: float | None = None, **more: object) -> Sample:
    usual = {
        "point_id": f"T1/MMXU.{name}",
        "value": value,
        "quality": Quality.GOOD,
        "received_time": _T0 + timedelta(seconds=at_s),
        "monotonic_ns": int(at_s * 1e9),
        "clock_trusted": True,
        "source_time": None if stamp_s is None else _T0 + timedelta(seconds=stamp_s),
    }
    return Sample(**usual | more)


def _doubts(judge: Judge, *samples: Sample) -> list[str]:
    return [sample.reason for sample in judge(samples)]


def test_a_frozen_device_is_doubted_after_measurements_not_polls() -> None:
    judge = Judge([_point(frozen_after_cycles=3)])
    reasons = [_doubts(judge, _sample(5.0, at_s))[0] for at_s in range(35)]  # a poll a second, a measurement in ten
    assert next(n for n, reason in enumerate(reasons) if reason) in range(27, 31)
    assert reasons[31] == "frozen: the same readings in 3 measurements"
    assert _doubts(judge, _sample(5.1, 35)) == [""]


def test_a_device_that_stamps_is_judged_by_its_stamps() -> None:
    judge = Judge([_point(frozen_after_cycles=3)])
    assert all(not _doubts(judge, _sample(5.0, at_s, stamp_s=0.0))[0] for at_s in range(0, 1000, 10))
    reasons = [_doubts(judge, _sample(5.0, 1000 + n, stamp_s=n))[0] for n in range(1, 4)]
    assert [bool(reason) for reason in reasons] == [False, False, True]


def test_one_value_that_moves_shows_that_the_device_lives() -> None:
    points = [
        _point("A", frozen_after_cycles=2),
        _point("B", frozen_after_cycles=2),
        _point("C", expected_constant=True),
    ]
    judge = Judge(points)
    for n in range(10):
        assert (
            _doubts(judge, _sample(0.0, 10 * n), _sample(float(n), 10 * n, "B"), _sample(1.0, 10 * n, "C")) == [""] * 3
        )
    for n in range(10, 13):
        reasons = _doubts(judge, _sample(0.0, 10 * n), _sample(9.0, 10 * n, "B"), _sample(n, 10 * n, "C"))
    assert all(reason.startswith("frozen") for reason in reasons)


def test_what_changes_too_fast_is_doubted_until_the_next_measurement() -> None:
    judge = Judge([_point(max_rate_per_s=0.5)])
    assert _doubts(judge, _sample(10.0, 0)) == [""]
    assert _doubts(judge, _sample(14.0, 10)) == [""]
    (doubted,) = judge([_sample(40.0, 20)])
    assert (doubted.quality, doubted.value) == (Quality.UNCERTAIN, 40.0)
    assert doubted.reason == "changed by 2.6 A a second, at most 0.5 is possible"
    assert _doubts(judge, _sample(40.0, 21)) == [doubted.reason]  # the same measurement, polled again
    assert _doubts(judge, _sample(41.0, 30)) == [""]


def test_a_poll_right_after_the_device_renewed_is_no_rate() -> None:
    judge = Judge([_point(max_rate_per_s=0.5)])
    assert _doubts(judge, _sample(10.0, 0)) == [""]
    assert _doubts(judge, _sample(14.0, 0.1)) == [""]  # two polls around one renewal, ten seconds of the device apart


def test_two_sensors_that_disagree_are_both_doubted() -> None:
    judge = Judge([_point("A", agrees_with="MMXU.B", agreement=1.0), _point("B", group="h")])
    assert _doubts(judge, _sample(10.0, 0), _sample(10.9, 0, "B")) == ["", ""]
    assert _doubts(judge, _sample(10.0, 0), _sample(11.1, 0, "B")) == ["MMXU.A and MMXU.B disagree: 10 and 11.1"] * 2
    assert _doubts(judge, _sample(10.0, 0), _sample(None, 0, "B", quality=Quality.BAD, reason="x")) == ["", "x"]


def test_historical_samples_are_neither_judged_nor_compared_with() -> None:
    judge = Judge([_point(max_rate_per_s=0.5, frozen_after_cycles=1)])
    judge([_sample(10.0, 0)])
    past = _sample(9000.0, 10, historical=True)
    assert list(judge([past, _sample(10.5, 10)])) == [past, _sample(10.5, 10)]


def test_without_rules_samples_pass_untouched() -> None:
    samples = [_sample(1.0, 0)]
    assert Judge([_point()])(samples) is samples


def test_a_group_is_stored_when_a_value_leaves_its_deadband() -> None:
    keep = ByException([_point("A", deadband=0.5), _point("B")], max_silence_s=60.0)

    def stored(a: float, b: float, at_s: float) -> int:
        return len(keep([_sample(a, at_s), _sample(b, at_s, "B")]))

    assert stored(10.0, 1.0, 0) == 2
    assert stored(10.5, 1.0, 1) == 0
    assert stored(9.5, 1.0, 2) == 0
    assert stored(10.6, 1.0, 3) == 2  # from what was stored, not from what was seen last
    assert stored(10.6, 1.1, 4) == 2
    assert stored(10.6, 1.1, 60) == 0
    assert stored(10.6, 1.1, 64) == 2  # the longest silence
    assert (keep.seen_count, keep.stored_count) == (14, 8)


def test_a_change_of_quality_and_the_past_are_always_stored() -> None:
    keep = ByException([_point(deadband=5.0)], max_silence_s=60.0)
    good, bad = _sample(1.0, 0), _sample(None, 1, quality=Quality.BAD, reason="unavailable")
    past = _sample(1.0, 2, historical=True)
    assert keep([good]) == [good]
    assert keep([bad]) == [bad]
    assert keep([replace(bad, monotonic_ns=1_500_000_000)]) == []
    assert keep([past, past]) == [past, past]
    assert keep([_sample(1.0, 3)]) != []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 100))
def test_what_is_stored_is_never_further_from_the_truth_than_the_deadband(values, deadband) -> None:
    keep = ByException([_point(deadband=deadband)], max_silence_s=1e9)
    shown = None
    for n, value in enumerate(values):
        shown = (keep([_sample(value, n)]) or [None])[-1] or shown
        assert abs(value - shown.value) <= deadband
