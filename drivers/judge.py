"""Doubts about values that came in GOOD: too fast a change, a standing device, two sensors that disagree.

All of it counts measurement cycles, never polls: a new cycle of a group is a changed source time, else a changed
value, else `update_interval_s` elapsed.  In: samples of one link's reads; out: the same samples, those in doubt
UNCERTAIN with the reason.  Called by `gateway.poller`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from drivers.base import Point, Quality, Sample, Value

__all__ = ("Judge",)

SLACK = 0.9  # of an update interval: polls do not come to the microsecond


@dataclass(slots=True)
class _Group:
    """Points that the device renews together, and what those last showed that are expected to move."""

    point_ids: tuple[str, ...]
    moving_ids: tuple[str, ...]
    interval_ns: float
    frozen_after_cycles: int
    values: list[Value] = field(default_factory=list)
    stamps: list[datetime | None] = field(default_factory=list)
    cycle_ns: int = 0
    standing_cycles: int = 0


class Judge:
    """Watches the points of one link."""

    def __init__(self, points: Sequence[Point]) -> None:
        groups: dict[str, list[Point]] = {}
        for point in points:
            groups.setdefault(point.group, []).append(point)
        self._points = {point.id: point for point in points}
        self._groups = [_group(members) for members in groups.values() if any(m.frozen_after_cycles for m in members)]
        self._rated = {point.id for point in points if point.max_rate_per_s is not None}
        self._pairs = [
            (point.id, f"{point.asset_id}/{point.agrees_with}", point.agreement)
            for point in points
            if point.agrees_with and f"{point.asset_id}/{point.agrees_with}" in self._points
        ]
        self._last: dict[str, Sample] = {}  # the newest GOOD sample of each point with a rate, by measurement
        self._runaway: dict[str, str] = {}
        self._idle = not (self._groups or self._rated or self._pairs)

    def __call__(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The samples of one read, doubted where there is reason to.  Historical ones pass as they are."""
        if self._idle:
            return samples
        live = {sample.point_id: sample for sample in samples if not sample.historical}
        doubts: dict[str, str] = {}
        for group in self._groups:
            if reason := _frozen(group, live):
                doubts |= dict.fromkeys(group.point_ids, reason)
        for point_id in self._rated & live.keys():
            if reason := self._too_fast(live[point_id]):
                doubts[point_id] = reason
        for one, other, tolerance in self._pairs:
            if reason := _disagree(live.get(one), live.get(other), tolerance):
                doubts[one] = doubts[other] = reason
        if not doubts:
            return samples
        return [
            replace(sample, quality=Quality.UNCERTAIN, reason=doubts[sample.point_id])
            if sample.point_id in doubts and sample.quality is Quality.GOOD and not sample.historical
            else sample
            for sample in samples
        ]

    def _too_fast(self, sample: Sample) -> str:
        """Why a value changed faster than the thing can that it measures; a doubt lasts until the next measurement."""
        point, value = self._points[sample.point_id], _number(sample)
        assert point.max_rate_per_s is not None
        last = self._last.get(sample.point_id)
        if value is None:
            return ""
        if last is None:
            self._last[sample.point_id] = sample
            return ""
        before = _number(last)
        assert before is not None, "only numbers are kept"
        if value == before and sample.source_time == last.source_time:
            return self._runaway.get(sample.point_id, "")
        elapsed_s = _elapsed_s(last, sample, point.update_interval_s)
        self._last[sample.point_id] = sample
        rate = abs(value - before) / elapsed_s
        self._runaway.pop(sample.point_id, None)
        if rate <= point.max_rate_per_s:
            return ""
        reason = f"changed by {rate:g} {point.unit} a second, at most {point.max_rate_per_s:g} is possible"
        self._runaway[sample.point_id] = reason
        return reason


def _group(points: Sequence[Point]) -> _Group:
    return _Group(
        tuple(point.id for point in points),
        tuple(point.id for point in points if not point.expected_constant),
        max(point.update_interval_s for point in points) * 1e9,
        min(point.frozen_after_cycles for point in points if point.frozen_after_cycles),
    )


def _frozen(group: _Group, live: dict[str, Sample]) -> str:
    """Why a group is taken for frozen: every value that should move has stood still for too many cycles."""
    moving = [live[point_id] for point_id in group.moving_ids if point_id in live]
    if not moving or any(sample.quality is not Quality.GOOD for sample in moving):
        return ""
    values, stamps = [sample.value for sample in moving], [sample.source_time for sample in moving]
    now_ns = moving[-1].monotonic_ns
    if values != group.values:
        group.values, group.stamps, group.cycle_ns, group.standing_cycles = values, stamps, now_ns, 0
        return ""
    stamped = any(stamp is not None for stamp in stamps)
    renewed = stamps != group.stamps if stamped else now_ns - group.cycle_ns >= SLACK * group.interval_ns
    if renewed:
        group.stamps, group.cycle_ns = stamps, now_ns
        group.standing_cycles += 1
    if group.standing_cycles < group.frozen_after_cycles:
        return ""
    return f"frozen: the same readings in {group.standing_cycles} measurements"


def _disagree(one: Sample | None, other: Sample | None, tolerance: float) -> str:
    if one is None or other is None:
        return ""
    first, second = _number(one), _number(other)
    if first is None or second is None or abs(first - second) <= tolerance:
        return ""
    names = " and ".join(sample.point_id.partition("/")[2] for sample in (one, other))
    return f"{names} disagree: {first:g} and {second:g}"


def _number(sample: Sample) -> float | None:
    if sample.quality is not Quality.GOOD or isinstance(sample.value, bool | str) or sample.value is None:
        return None
    return float(sample.value)


def _elapsed_s(last: Sample, sample: Sample, interval_s: float) -> float:
    """Between two measurements: by the device's clock where it stamps, and never less than the device can measure."""
    if last.source_time is not None and sample.source_time is not None:
        elapsed_s = abs((sample.source_time - last.source_time).total_seconds())
    else:
        elapsed_s = (sample.monotonic_ns - last.monotonic_ns) / 1e9
    return max(elapsed_s, interval_s * SLACK, 1e-9)
