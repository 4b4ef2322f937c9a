"""Polls to measurements, measurements to gases that may be diagnosed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Point, Quality, Sample
from models.dga.gases import Gases
from models.features import MIN_RELIABLE, Cycle, CycleDetector, Window, above_detection, reliable_gases

START = datetime(2026, 1, 1, tzinfo=UTC)
INDICATORS = ("SIML.H2ppm", "SIML.CH4ppm", "SIML.C2H6ppm", "SIML.C2H4ppm", "SIML.C2H2ppm")
POINTS = [
    Point(id=f"T1/{indicator}", unit="uL/L", group="gas", update_interval_s=3600)
    for indicator in (*INDICATORS, "SIML.ChmTmp")
]
OLD = (60.0, 40.0, 30.0, 20.0, 1.0)
NEW = (440.0, 89.0, 19.0, 304.0, 757.0)  # IEC TC10 database, inspected case


def poll(at_s, gases, chamber=50.0, *, stamp=None, **changes) -> list[Sample]:
    return [
        Sample(
            **{
                "point_id": point.id,
                "value": value,
                "quality": Quality.GOOD,
                "received_time": START + timedelta(seconds=at_s),
                "monotonic_ns": int(at_s * 1e9),
                "clock_trusted": True,
                "source_time": stamp,
            }
            | changes
        )
        for point, value in zip(POINTS, (*gases, chamber), strict=True)
    ]


def plateau(window, gases, count, first=0):
    for number in range(first, first + count):
        window.add(Cycle(number, START + timedelta(hours=number), dict(zip(INDICATORS, gases, strict=True))))


def as_gases(values) -> Gases:
    return Gases(**dict(zip(("h2_ul_l", "ch4_ul_l", "c2h6_ul_l", "c2h4_ul_l", "c2h2_ul_l"), values, strict=True)))


def read(window):
    return reliable_gases(window)


def test_a_poll_is_not_a_measurement():
    detector = CycleDetector(POINTS)
    cycles = [detector.feed(poll(second, OLD)) for second in range(100)]
    assert [cycle.number for cycle in cycles if cycle] == [1]


def test_a_changed_value_marks_a_new_cycle_though_the_gases_stand():
    detector = CycleDetector(POINTS)
    cycles = [detector.feed(poll(second, OLD, chamber=50 + second // 10)) for second in range(30)]
    found = [cycle for cycle in cycles if cycle]
    assert [cycle.number for cycle in found] == [1, 2, 3]
    assert [cycle.time for cycle in found] == [START + timedelta(seconds=second) for second in (0, 10, 20)]
    assert found[-1].values["SIML.ChmTmp"] == 52


def test_without_stamps_a_standing_group_is_measured_once_per_interval():
    detector = CycleDetector(POINTS)
    cycles = [detector.feed(poll(minute * 60, OLD)) for minute in range(181)]
    assert [index for index, cycle in enumerate(cycles) if cycle] == [0, 60, 120, 180]


def test_a_stamped_group_counts_by_its_stamp_and_not_by_waiting():
    detector = CycleDetector(POINTS)
    later = START + timedelta(hours=1)
    assert detector.feed(poll(0, OLD, stamp=START)).time == START
    assert detector.feed(poll(9000, OLD, stamp=START)) is None
    assert detector.feed(poll(9001, OLD, stamp=later)).time == later


@pytest.mark.parametrize(
    "bad",
    [
        poll(1, NEW)[:-1],
        poll(1, NEW, quality=Quality.BAD),
        poll(1, NEW, quality=Quality.UNCERTAIN),
        poll(1, NEW, value=None),
        poll(1, NEW, value=float("nan")),
        poll(1, NEW, value="12"),
        poll(1, NEW, value=True),
        poll(1, NEW, substituted=True),
        poll(1, NEW, test=True),
        [*poll(1, NEW)[:-1], *poll(1, NEW, quality=Quality.STALE)[-1:]],
        [],
    ],
)
def test_a_bad_group_yields_nothing_and_breaks_nothing(bad):
    detector = CycleDetector(POINTS)
    assert detector.feed(poll(0, OLD)).number == 1
    assert detector.feed(bad) is None
    assert detector.feed(poll(2, OLD)) is None
    assert detector.feed(poll(3, NEW)).number == 2


def test_samples_of_other_groups_are_ignored_and_numbers_go_on_after_a_restart():
    detector = CycleDetector(POINTS, last_number=41)
    other = Sample(
        point_id="T1/SIML.Tmp",
        value=None,
        quality=Quality.BAD,
        received_time=START,
        monotonic_ns=0,
        clock_trusted=True,
    )
    cycle = detector.feed([other, *poll(0, OLD)])
    assert cycle.number == 42
    assert set(cycle.values) == {*INDICATORS, "SIML.ChmTmp"}


def test_a_monotonic_clock_that_went_back_does_not_stop_the_count():
    detector = CycleDetector(POINTS)
    detector.feed(poll(50_000, OLD))
    assert detector.feed(poll(5, OLD)).number == 2


def test_the_window_is_bounded():
    window = Window(max_cycles=3)
    plateau(window, OLD, 10)
    assert [cycle.number for cycle in window] == [7, 8, 9]
    assert len(window) == 3


def test_five_measurements_open_the_gate():
    window = Window()
    plateau(window, OLD, MIN_RELIABLE - 1)
    assert read(window).gases is None
    assert "4 of 5" in read(window).reason
    plateau(window, OLD, 1, first=4)
    assert read(window).gases == as_gases(OLD)


def test_an_empty_window_gives_nothing():
    assert reliable_gases(Window()).gases is None


def test_old_measurements_do_not_count():
    window = Window()
    plateau(window, OLD, 5)
    assert reliable_gases(window, START + timedelta(hours=25)).gases is None


def test_a_jump_is_read_from_the_new_level_alone_with_its_fifth_cycle():
    window = Window()
    plateau(window, OLD, 20)
    readings = []
    for number in range(20, 26):
        plateau(window, NEW, 1, first=number)
        readings.append(read(window).gases)
    assert readings == [None] * 4 + [as_gases(NEW)] * 2


@given(
    st.lists(st.floats(0, 1e5), min_size=5, max_size=5),
    st.lists(st.floats(0, 1e5), min_size=5, max_size=5),
    st.integers(1, 12),
    st.integers(1, 8),
)
def test_one_jump_never_gives_a_mixture(old, new, before, after):
    window = Window()
    plateau(window, old, before)
    plateau(window, new, after, first=before)
    gases = read(window).gases
    assert gases in (None, as_gases(old), as_gases(new))
    assert after < MIN_RELIABLE or gases == (as_gases(new) if above_detection(as_gases(new)) else None)


def test_a_single_spike_is_not_diagnosed():
    window = Window()
    plateau(window, OLD, 10)
    plateau(window, NEW, 1, first=10)
    plateau(window, OLD, 5, first=11)
    assert read(window).gases == as_gases(OLD)


def test_a_steep_steady_rise_is_read_from_its_newest_cycle():
    window = Window()
    for number in range(6):
        plateau(window, tuple(value * 2**number for value in NEW), 1, first=number)
    assert read(window).gases == as_gases(tuple(value * 32 for value in NEW))


def test_gases_at_the_detection_limits_are_not_diagnosed():
    assert not above_detection(as_gases((20, 9, 29, 29, 3)))
    assert above_detection(as_gases((26, 11, 11, 11, 2.1)))
    assert above_detection(as_gases((51, 0, 0, 0, 0)))
    assert above_detection(as_gases((0, 0, 0, 0, 4.1)))
    window = Window()
    plateau(window, (20, 9, 29, 29, 3), 5)
    assert "detection limits" in read(window).reason


def test_what_is_no_concentration_is_not_diagnosed():
    window = Window()
    plateau(window, (1e9, 9, 29, 29, 3), 5)
    assert read(window).gases is None
