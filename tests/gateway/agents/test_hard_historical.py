"""Values out of a server's history after a gap: kept, and neither raising nor clearing anything."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from drivers.base import Point, Sample
from gateway.agents.hard import HardAgent
from models.asset import Asset

CLEAR_AFTER = 4


def test_the_past_neither_raises_nor_clears_and_is_kept(
    t1: Asset, gas_points: Sequence[Point], clock: Any, monitor: Any, gases: Any
) -> None:
    agent = HardAgent(t1, gas_points, clock, clear_after_cycles=CLEAR_AFTER)
    kept: list[Sample] = []

    def past(kind: str) -> list[Sample]:
        return [replace(sample, historical=True) for sample in monitor.measure(gases[kind])]

    for _ in range(3 * CLEAR_AFTER):
        assert not agent.observe(past("D2"), kept.extend)
    assert len(kept) == 3 * CLEAR_AFTER * len(gas_points)
    assert agent.cycle_counts == {"T1/dga": 0}
    raised = [agent.observe(monitor.measure(gases["D2"])) for _ in range(8)]
    assert any(raised)
    qualities = agent.qualities
    for _ in range(3 * CLEAR_AFTER):
        assert not agent.observe(past("healthy"), kept.extend)
    assert agent.qualities == qualities
    assert agent.observe([*past("healthy"), *monitor.measure(gases["D2"])]) != []  # still judged by what is there now
