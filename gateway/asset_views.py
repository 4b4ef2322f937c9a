"""What the control socket answers about one asset: its thermal state, and its measurements of the last hours.

Questions `thermal` and `history`, JSON values out.  A history is made of device cycles, never of polls, and is thinned
to `CYCLES_MAX` a group by medians.  Used by `blackstart overload`, `prognosis` and `plot`.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from drivers.base import Clock, Point, Sample
from drivers.errors import BadInput
from gateway.control import Handlers
from gateway.reflex import Reflex
from journal import Journal
from models.features import Cycle, CycleDetector

__all__ = ("AssetViews", "cycles_of")

CYCLES_MAX = 300  # of one group: with a dozen points each they stay far below the socket's line
HOURS_MAX = 24 * 366.0


class AssetViews:
    """Read-only views of single assets."""

    def __init__(
        self, journal: Journal, reflex: Reflex, points: Iterable[Point], clock: Clock, time_factor: float
    ) -> None:
        """`time_factor` is device seconds per real second: hours that are asked for are the devices'."""
        self._journal = journal
        self._reflex = reflex
        self._clock = clock
        self._time_factor = time_factor
        self._points: dict[str, list[Point]] = {}
        for point in points:
            self._points.setdefault(point.asset_id, []).append(point)

    def handlers(self) -> Handlers:
        """Question → answer."""
        return {"thermal": self.thermal, "history": self.history}

    async def thermal(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Thermal state of each transformer that shows enough, by asset."""
        return dict(self._reflex.thermal())

    async def history(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Measurements of an asset's last hours, oldest first, group by group; time runs as the devices' does."""
        asset_id, hours = question.get("asset"), question.get("hours")
        points = self._points.get(asset_id) if isinstance(asset_id, str) else None
        if points is None:
            raise BadInput(f"no points of asset {asset_id!r}; there are points of {', '.join(sorted(self._points))}")
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= HOURS_MAX:
            raise BadInput(f"hours is {hours!r}; it is a number up to {HOURS_MAX:.0f}")
        until = self._clock.now()
        since = until - timedelta(hours=hours / self._time_factor)
        samples = await self._journal.samples.history([point.id for point in points], since, until)
        groups = await asyncio.to_thread(cycles_of, points, samples)
        return {
            "asset": asset_id,
            "until": until,
            "time_factor": self._time_factor,
            "units": {point.indicator: point.unit for point in points},
            "groups": {
                name: [{"time": cycle.time, "values": cycle.values} for cycle in _thinned(cycles)]
                for name, cycles in groups.items()
            },
        }


def cycles_of(points: Iterable[Point], samples: Sequence[Sample]) -> dict[str, list[Cycle]]:
    """The device cycles that stored samples show, oldest first, by group; samples in the order of their reception."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    group_of = {point.id: name for name, members in groups.items() for point in members}
    batches: dict[tuple[str, datetime], list[Sample]] = {}
    for sample in samples:
        taken = sample.source_time if sample.historical and sample.source_time else sample.received_time
        batches.setdefault((group_of[sample.point_id], taken), []).append(sample)
    detectors = {name: CycleDetector(members) for name, members in groups.items()}
    found: dict[str, list[Cycle]] = {name: [] for name in groups}
    for name, taken in sorted(batches, key=lambda key: key[1]):
        cycle = detectors[name].feed(batches[name, taken])
        if cycle is not None:
            found[name].append(cycle)
    return {name: sorted(cycles, key=lambda cycle: cycle.time) for name, cycles in found.items()}


def _thinned(cycles: Sequence[Cycle]) -> list[Cycle]:
    """At most `CYCLES_MAX`, each the median of neighbours, at the time of the middle one."""
    if len(cycles) <= CYCLES_MAX:
        return list(cycles)
    ends = [round(number * len(cycles) / CYCLES_MAX) for number in range(CYCLES_MAX + 1)]
    blocks = [cycles[begin:end] for begin, end in pairwise(ends)]
    return [
        Cycle(
            number=block[-1].number,
            time=block[len(block) // 2].time,
            values={name: median(cycle.values[name] for cycle in block) for name in block[0].values},
        )
        for block in blocks
    ]
