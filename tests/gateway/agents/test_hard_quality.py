"""Models never see what is not GOOD: not in a window, not among the newest values, not in what a rule remembers."""

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import Point, Quality
from gateway.agents import hard as hard_module
from gateway.agents.hard import HardAgent
from gateway.agents.sight import ABSENT, Remembering, Sight
from models.asset import Asset
from models.features import Cycle, Window
from models.trend import Keepsake

GOOD_VALUE, RUBBISH = 50.0, 9999.0
POINTS = [
    Point(id="T1/SIML.Tmp", unit="degC", group="T1/a", update_interval_s=60),
    Point(id="T1/MMXU.LodPu", unit="pu", group="T1/a", update_interval_s=60),
    Point(id="T1/STMP.EnvTmp", unit="degC", group="T1/b", update_interval_s=60),
]


class Witness:
    """A rule that notes every number it is shown."""

    definition, lasts_cycles = "Anomaly", 1

    def __init__(self, trigger: str) -> None:
        self.trigger = trigger
        self.shown: list[float] = []

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:
        self.shown += [*latest.values(), *(value for cycle in window for value in cycle.values.values())]
        return ABSENT

    def take(self, cycle: Cycle, latest: Mapping[str, float]) -> bool:
        self.shown += [*latest.values(), *cycle.values.values()]
        return False

    def keepsake(self) -> Keepsake:
        return Keepsake()

    def recall(self, kept: Keepsake) -> None:
        pass


flaws = st.sampled_from(
    [{"quality": quality} for quality in Quality if quality is not Quality.GOOD]
    + [{"test": True}, {"substituted": True}, {"historical": True}, {"value": float("nan")}, {"value": float("inf")}]
)
deliveries = st.lists(st.lists(st.one_of(st.none(), flaws), min_size=3, max_size=3), max_size=15)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(deliveries)
def test_no_rule_is_ever_shown_what_is_not_good(clock: Any, sample: Any, t1: Asset, rows: list[list[Any]]) -> None:
    witnesses = [Witness("SIML.Tmp"), Witness("STMP.EnvTmp")]
    assert all(isinstance(witness, Remembering) for witness in witnesses)
    rules_for = hard_module.rules_for
    hard_module.rules_for = lambda *_, **__: witnesses  # type: ignore[assignment]
    try:
        agent = HardAgent(t1, POINTS, clock)
    finally:
        hard_module.rules_for = rules_for
    shown_good = 0
    for number, row in enumerate([*rows, [None, None, None]]):
        clock.advance(60)
        samples = []
        for point, flaw in zip(POINTS, row, strict=True):
            fields = {"value": RUBBISH, "quality": Quality.GOOD} | flaw if flaw else {"value": GOOD_VALUE + number}
            value, quality = fields.pop("value"), fields.pop("quality", Quality.GOOD)
            samples.append(sample(point.id, value, quality, **fields))
        agent.observe(samples)
        shown_good += 1
    seen = [value for witness in witnesses for value in witness.shown]
    assert seen
    assert all(GOOD_VALUE <= value <= GOOD_VALUE + shown_good for value in seen)
