"""Rebuilds the gas trends of hard agents after a restart: stored samples of the last weeks in, daily medians out.

The agents' windows are warmed from memory at boot; a month of medians is read from the files of the sample log, slice
by slice, some assets at a time and in a thread, while the gateway watches already.  Started once by `gateway.app`.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from drivers.base import Clock, Sample
from gateway.agents.hard import DAY, HardAgent, by_time
from journal.samples import SampleLog
from models.dga.rates import DAYS_KEPT, GasTrend
from models.features import CycleDetector

__all__ = ("rebuild_trends",)

log = logging.getLogger(__name__)

ASSETS_AT_ONCE = 25  # a day of their samples stays below ten megabytes
SLICE_MIN = timedelta(hours=1)  # the log has a file an hour: a shorter slice would read it again


class _Rebuilt:
    """One asset's trend, fed with its past."""

    def __init__(self, agent: HardAgent, day: timedelta) -> None:
        self.agent = agent
        self.trend = GasTrend(day)
        self.point_ids = frozenset(point.id for point in agent.gas_points)
        self._detector = CycleDetector(agent.gas_points)

    def feed(self, samples: Sequence[Sample]) -> None:
        """The next slice, all assets' samples in it."""
        mine = [one for one in samples if one.point_id in self.point_ids and not one.historical]
        for batch in by_time(mine):
            if (cycle := self._detector.feed(batch)) is not None:
                self.trend.feed(cycle)


async def rebuild_trends(samples: SampleLog, agents: Sequence[HardAgent], clock: Clock, time_factor: float) -> None:
    """Give every agent with gases the medians of its last `DAYS_KEPT` days.  Raises Transient: none was changed then.

    `time_factor` is device seconds per real second.
    """
    day = DAY / time_factor
    watched = [_Rebuilt(agent, day) for agent in agents if agent.gas_points]
    now = clock.now()
    for first in range(0, len(watched), ASSETS_AT_ONCE):
        some = watched[first : first + ASSETS_AT_ONCE]
        point_ids = frozenset().union(*(one.point_ids for one in some))
        for since, until in _slices(now - DAYS_KEPT * day, now, max(day, SLICE_MIN)):
            found = await samples.history(point_ids, since, until)
            await asyncio.to_thread(_feed, some, found)
    for one in watched:
        one.agent.trend.restore(one.trend)
    if days := sum(len(one.agent.trend.days) for one in watched):
        log.info("gas trends: %d days of %d assets rebuilt", days, len(watched))


def _feed(some: Sequence[_Rebuilt], samples: Sequence[Sample]) -> None:
    for one in some:
        one.feed(samples)


def _slices(since: datetime, until: datetime, length: timedelta) -> list[tuple[datetime, datetime]]:
    """Half-open in effect: the ends of `SampleLog.history` belong to both sides, so each begins a moment later."""
    count = -((since - until) // length)
    moment = timedelta(microseconds=1)
    return [
        (since + number * length + (moment if number else timedelta(0)), min(since + (number + 1) * length, until))
        for number in range(count)
    ]
