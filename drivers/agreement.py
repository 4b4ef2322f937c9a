"""Two sensors of one quantity, on whatever links: where they disagree, neither is believed.

In: every delivery of every link; out: the same samples, both of a pair UNCERTAIN while they disagree.  They are
compared when both have been measured anew since the last comparison, never poll by poll: one of them may be renewed
each second and the other each hour.  A doubt ends with the next comparison that agrees, not with one of them going
silent: nobody then knows which of the two was right.  Called by `gateway.app`, between pollers and agents.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import Field

from drivers.base import Frozen, Point, Quality, Sample

__all__ = ("Agreement", "Agreements", "agreement_errors")

SLACK = 0.9  # of an update interval: polls do not come to the microsecond


class Agreement(Frozen):
    """A pair, by point id (`T1/SIML.Tmp`), and how far apart it may be."""

    points: tuple[str, str]
    tolerance: float = Field(gt=0, description="in the unit of both")
    after_comparisons: int = Field(default=3, ge=1, le=1000, description="that disagree in a row")


@dataclass(slots=True)
class _Sensor:
    """What one of a pair last measured."""

    point: Point
    value: float | None = None
    stamp: datetime | None = None
    measured_ns: int = 0
    is_new: bool = False  # since the last comparison

    def take(self, sample: Sample) -> None:
        value = sample.value
        if sample.quality is not Quality.GOOD or isinstance(value, bool | str) or value is None:
            self.value, self.is_new = None, False
            return
        if sample.source_time is not None or self.stamp is not None:
            renewed = sample.source_time != self.stamp
        else:
            renewed = sample.monotonic_ns - self.measured_ns >= SLACK * self.point.update_interval_s * 1e9
        if renewed or value != self.value:
            self.value, self.stamp, self.measured_ns = float(value), sample.source_time, sample.monotonic_ns
            self.is_new = True


@dataclass(slots=True)
class _Pair:
    agreement: Agreement
    sensors: tuple[_Sensor, _Sensor]
    disagreed: int = 0  # comparisons in a row
    doubt: str = field(default="")

    def compare(self) -> None:
        one, other = self.sensors
        if not (one.is_new and other.is_new) or one.value is None or other.value is None:
            return
        one.is_new = other.is_new = False
        if abs(one.value - other.value) <= self.agreement.tolerance:
            self.disagreed, self.doubt = 0, ""
            return
        self.disagreed += 1
        if self.disagreed >= self.agreement.after_comparisons:
            names = " and ".join(self.agreement.points)
            self.doubt = f"{names} disagree: {one.value:g} and {other.value:g} {one.point.unit}"


class Agreements:
    """Watches every pair of the configuration; `agreement_errors` has found nothing against them."""

    def __init__(self, agreements: Iterable[Agreement], points: Iterable[Point]) -> None:
        known = {point.id: point for point in points}
        self._pairs_of: dict[str, list[_Pair]] = {}
        self._sensors_of: dict[str, list[_Sensor]] = {}
        for agreement in agreements:
            one, other = (_Sensor(known[point_id]) for point_id in agreement.points)
            pair = _Pair(agreement, (one, other))
            for sensor in pair.sensors:
                self._pairs_of.setdefault(sensor.point.id, []).append(pair)
                self._sensors_of.setdefault(sensor.point.id, []).append(sensor)

    def __call__(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The samples of one delivery, doubted where there is reason to; historical ones pass as they are."""
        if not any(sample.point_id in self._pairs_of for sample in samples):
            return samples
        for sample in samples:
            if not sample.historical:
                for sensor in self._sensors_of.get(sample.point_id, ()):
                    sensor.take(sample)
        for pair in {id(p): p for sample in samples for p in self._pairs_of.get(sample.point_id, ())}.values():
            pair.compare()
        return [self._doubted(sample) for sample in samples]

    def _doubted(self, sample: Sample) -> Sample:
        if sample.historical or sample.quality is not Quality.GOOD:
            return sample
        reason = next((pair.doubt for pair in self._pairs_of.get(sample.point_id, ()) if pair.doubt), "")
        return replace(sample, quality=Quality.UNCERTAIN, reason=reason) if reason else sample


def agreement_errors(agreements: Sequence[Agreement], units: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the pairs; `units` has every point of the configuration."""
    for index, agreement in enumerate(agreements):
        one, other = agreement.points
        if one == other:
            yield f"agreement.{index}.points: {one} is compared with itself"
        for point in agreement.points:
            if point not in units:
                yield f"agreement.{index}.points: no point {point!r}; see `blackstart plan` and the links' points"
        if one in units and other in units and units[one] != units[other]:
            yield f"agreement.{index}.points: {one} is in {units[one]}, {other} in {units[other]}: two units"
