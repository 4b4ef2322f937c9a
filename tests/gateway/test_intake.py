"""What pollers bring before the agents stand."""

from collections.abc import Sequence
from typing import Any

from drivers.base import Sample
from gateway.intake import EARLY_DELIVERIES_MAX, Intake


def test_what_came_early_is_handed_over_first_and_in_order(sample: Any) -> None:
    intake, taken = Intake(), []
    deliveries = [[sample("T1/SIML.Tmp", float(number))] for number in range(5)]
    for delivery in deliveries[:3]:
        intake(delivery)
    intake.connect(taken.append)
    for delivery in deliveries[3:]:
        intake(delivery)
    assert taken == deliveries
    assert intake.dropped_deliveries == 0


def test_the_oldest_is_dropped_first_and_counted(sample: Any) -> None:
    intake = Intake()
    taken: list[Sequence[Sample]] = []
    for number in range(EARLY_DELIVERIES_MAX + 7):
        intake([sample("T1/SIML.Tmp", float(number))])
    intake.connect(taken.append)
    assert intake.dropped_deliveries == 7
    assert len(taken) == EARLY_DELIVERIES_MAX
    assert taken[0][0].value == 7.0
