"""The rule of gases that rise: daily medians of a gas monitor in, what they show out.

It stands beside `rules.GasRule`, which judges the amounts, and speaks where that says less: one fault, one alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from gateway.agents.rules import INDICATOR_OF
from gateway.agents.sight import ABSENT, Sight
from models.asset import Nameplate
from models.dga.accuracy import GasAccuracy
from models.dga.consensus import diagnose
from models.dga.rates import GasTrend, judge_rises
from models.features import Window, reliable_gases
from models.findings import Family, Severity

__all__ = ("HYDROGEN", "GasRateRule")

HYDROGEN = INDICATOR_OF["h2_ul_l"]


@dataclass(frozen=True, slots=True)
class GasRateRule:
    """Rises over 1, 7 and 30 days behind the reliability gate; `trend` is fed by the agent."""

    nameplate: Nameplate
    day: timedelta  # 24 hours of device time
    trend: GasTrend
    accuracy: GasAccuracy
    definition: str = "DgaRate"
    trigger: str = HYDROGEN
    lasts_cycles: int = 1  # a day's median has counted them

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """Judge the rises; None, which changes nothing, where none is known and between clearing and limit."""
        rises = judge_rises(self.trend, self.nameplate, self.accuracy)
        if not rises.known or rises.in_band:
            return None
        reading = reliable_gases(window, window.newest.time, self.day)
        if reading.gases is None:
            return ABSENT if reading.quiet else None
        if rises.severity is Severity.NONE:
            return ABSENT
        diagnosis = diagnose(reading.gases, self.nameplate)
        if diagnosis.severity >= rises.severity:
            return ABSENT  # the amounts say it already, and at least as loud
        return Sight(
            severity=rises.severity,
            indicator=f"SIML.{rises.exceeded[0].upper()}ppm",
            method="gas_rate",
            code="GasRising",
            family=Family.MIXED if diagnosis.family is Family.NONE else diagnosis.family,  # unknown is still a fault
            confidence=1.0,
            facts=rises.facts,
            assumptions=diagnosis.assumptions,
            value=rises.text,
        )
