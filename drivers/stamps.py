"""Doubts about the time stamps of devices: two values with one stamp, stamps that go back, clocks that are wrong.

In: samples of one link's reads, all times aware UTC.  Out: the same samples; UNCERTAIN with the reason where value and
stamp do not belong together; with the stamp moved by a fixed amount where the device's clock is wrong, so that the
machine stays watched and its alarms bear the true time.  A device that is slow to measure is not late: a stamp counts
as behind only when a new measurement comes with it.  What is not stamped passes as it is.  Called by `gateway.poller`,
before `drivers.judge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from drivers.base import Point, Quality, Sample, Value

__all__ = ("Stamps",)

SKEW_MAX_S = 120.0  # a clock without a time server drifts by this in weeks; trends do not mind
RESOLUTION_NS = 2 * 10**9  # devices that stamp whole seconds may show two values in one
AT_ONCE = timedelta(0)


@dataclass(slots=True)
class _Seen:
    """What a point showed last."""

    stamp: datetime
    value: Value
    monotonic_ns: int
    moves: bool = False  # its last change of value came with a new stamp: the device does stamp its measurements
    doubt: str = ""  # lasts until the next measurement
    shift: timedelta = AT_ONCE
    note: str = ""


class Stamps:
    """Watches the stamps of one link's points."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._late_s = {point.id: SKEW_MAX_S + 2 * point.update_interval_s for point in points}
        self._seen: dict[str, _Seen] = {}

    def __call__(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The samples of one read, judged by their stamps.  Historical ones pass as they are."""
        judged: list[Sample] | None = None
        for index, sample in enumerate(samples):
            if sample.source_time is None or sample.historical:
                continue
            found = self._judge(sample, sample.source_time)
            if found is not sample:
                judged = judged or list(samples)
                judged[index] = found
        return samples if judged is None else judged

    def _judge(self, sample: Sample, stamp: datetime) -> Sample:
        seen = self._seen.get(sample.point_id)
        if seen is None:
            seen = self._seen[sample.point_id] = _Seen(stamp, sample.value, sample.monotonic_ns)
            self._set_clock(seen, sample, stamp, new=False)
        elif stamp != seen.stamp or sample.value != seen.value:
            self._compare(seen, sample, stamp)
        if seen.shift:
            sample = replace(sample, source_time=stamp + seen.shift, reason=sample.reason or seen.note)
        if seen.doubt and sample.quality is Quality.GOOD:
            sample = replace(sample, quality=Quality.UNCERTAIN, reason=seen.doubt)
        return sample

    def _compare(self, seen: _Seen, sample: Sample, stamp: datetime) -> None:
        """A new stamp, a new value, or both."""
        apart_ns = sample.monotonic_ns - seen.monotonic_ns
        changed = sample.value != seen.value
        if stamp == seen.stamp:
            usable = sample.quality is Quality.GOOD and seen.value is not None
            if usable and seen.moves and apart_ns > RESOLUTION_NS:
                seen.doubt = f"two values with one time stamp: {seen.value} and {sample.value}"
            seen.moves = seen.moves and not usable
        else:
            back_s = (seen.stamp - stamp).total_seconds()
            seen.doubt = f"the time stamp went back by {back_s:g} s" if back_s > 0 else ""
            seen.moves = changed or seen.moves
            self._set_clock(seen, sample, stamp, new=True)
        seen.stamp, seen.value, seen.monotonic_ns = stamp, sample.value, sample.monotonic_ns

    def _set_clock(self, seen: _Seen, sample: Sample, stamp: datetime, *, new: bool) -> None:
        """How far the device's clock is off; a shift once found stays until it no longer fits, so that stamps stand."""
        ahead_s = (stamp - sample.received_time).total_seconds()
        late = new and -ahead_s > self._late_s[sample.point_id]
        if not sample.clock_trusted or not (ahead_s > SKEW_MAX_S or late):
            seen.shift, seen.note = AT_ONCE, ""
            return
        if not seen.shift or abs(ahead_s + seen.shift.total_seconds()) > SKEW_MAX_S:
            seen.shift = timedelta(seconds=-ahead_s)
            seen.note = f"the device's clock is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}: corrected"
