"""Report by exception: which samples are worth storing.

A group of points is stored as a whole, so that a reader can tell its measurements again: when one of its values has
left its deadband, when a quality or its reason has changed, or when nothing has been stored for the longest silence.
Historical samples always are.  Called by `gateway.reflex` before samples reach the journal's segments.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from drivers.base import Point, Sample, Value

__all__ = ("ByException",)


@dataclass(slots=True)
class _Group:
    silence_ns: int
    stored_ns: int | None = None
    stored: dict[str, Sample] = field(default_factory=dict)


class ByException:
    """In: every sample; out: those to store.  `max_silence_s` holds for groups renewed more often than that."""

    def __init__(self, points: Iterable[Point], max_silence_s: float) -> None:
        self._deadbands: dict[str, float] = {}
        self._group_of: dict[str, _Group] = {}
        groups: dict[str, _Group] = {}
        for point in points:
            group = groups.setdefault(point.group, _Group(0))
            group.silence_ns = max(group.silence_ns, int(max(max_silence_s, point.update_interval_s) * 1e9))
            self._group_of[point.id] = group
            self._deadbands[point.id] = point.deadband
        self.seen_count = 0
        self.stored_count = 0

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples of one delivery that are to be stored, in their order."""
        due: set[int] = set()
        for sample in samples:
            group = self._group_of[sample.point_id]
            if not sample.historical and id(group) not in due and self._is_news(group, sample):
                due.add(id(group))
        kept = []
        for sample in samples:
            group = self._group_of[sample.point_id]
            if sample.historical:
                kept.append(sample)
            elif id(group) in due:
                kept.append(sample)
                group.stored[sample.point_id] = sample
                group.stored_ns = sample.monotonic_ns
        self.seen_count += len(samples)
        self.stored_count += len(kept)
        return kept

    def _is_news(self, group: _Group, sample: Sample) -> bool:
        stored = group.stored.get(sample.point_id)
        if stored is None or group.stored_ns is None:
            return True
        if not 0 <= sample.monotonic_ns - group.stored_ns < group.silence_ns:
            return True
        said = (sample.quality, sample.reason, sample.test, sample.substituted)
        if said != (stored.quality, stored.reason, stored.test, stored.substituted):
            return True
        return _left(stored.value, sample.value, self._deadbands[sample.point_id])


def _left(stored: Value, value: Value, deadband: float) -> bool:
    numbers = isinstance(stored, int | float) and isinstance(value, int | float)
    if not numbers or isinstance(value, bool) or deadband == 0.0:
        return stored != value
    assert isinstance(stored, int | float), "checked above"
    assert isinstance(value, int | float), "checked above"
    return not abs(value - stored) <= deadband  # NaN has left it
