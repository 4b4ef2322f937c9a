"""Whatever moment a process ends at, rules know the same afterwards: nothing is forgotten, nothing counted twice."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.remembering import Aspect, DutyRule, RecordRule, SeriesRule
from models.asset import BreakerPlate
from models.features import Cycle
from models.findings import Family
from models.trend import Keepsake

START = datetime(2026, 3, 1, tzinfo=UTC)
PLATE = BreakerPlate(wear_curve=((1.2, 10_000), (8, 150), (20, 12)))
COUNTER = "XCBR.OpCnt"
ASPECT = Aspect("D", COUNTER, "m", Family.MECHANISM)
REPLAYED = 24  # cycles that a start finds in the last day of samples


def series() -> SeriesRule:
    return SeriesRule(ASPECT, ("x",), lambda latest: (latest["x"],), lambda _: [], 1.0, 6 * 3600.0, 8)


def records() -> RecordRule:
    return RecordRule(ASPECT, ("x",), lambda latest: (latest["x"],), lambda _: [], rises=True)


def duty() -> DutyRule:
    return DutyRule(ASPECT, PLATE, lambda *_: [], 1.0, lambda latest: (latest["x"], None), counter=COUNTER)


def run(make: Callable[[], Any], cycles: list[Cycle], ends: set[int]) -> Keepsake | None:
    """Feed cycle by cycle; before each of `ends` the process ends and another starts from journal and samples."""
    rule, kept = make(), None
    for index, cycle in enumerate(cycles):
        if index in ends:
            rule = make()
            if kept is not None:
                rule.recall(kept)
            for old in cycles[max(0, index - REPLAYED) : index]:
                if rule.take(old, old.values):
                    kept = rule.keepsake()
        if rule.take(cycle, cycle.values):
            kept = rule.keepsake()
    return kept


steps = st.lists(st.tuples(st.integers(0, 2), st.floats(0.5, 19)), min_size=1, max_size=60)


@given(st.sampled_from([series, records, duty]), steps, st.sets(st.integers(0, 59), max_size=4))
def test_a_restart_at_any_moment_changes_nothing(make: Any, rows: list[tuple[int, float]], ends: set[int]) -> None:
    counter, cycles = 0, []
    for number, (operations, value) in enumerate(rows):
        counter += operations
        time = START + timedelta(hours=number)
        cycles.append(Cycle(number + 1, time, {COUNTER: float(counter), "x": value}))
    assert run(make, cycles, ends) == run(make, cycles, set())


@given(st.sampled_from([series, records, duty]), steps)
def test_what_is_kept_is_bounded(make: Any, rows: list[tuple[int, float]]) -> None:
    cycles = [
        Cycle(number + 1, START + timedelta(hours=3 * number), {COUNTER: float(number), "x": value})
        for number, (_, value) in enumerate(rows * 4)
    ]
    kept = run(make, cycles, set())
    assert kept is None or len(kept.rows) <= 60
