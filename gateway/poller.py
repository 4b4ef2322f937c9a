"""One poller per physical link: source → samples, on time, with staleness that a dead link cannot hide.

Two loops: one reads, one watches.  The reader never overlaps itself: a late tick is skipped and counted.  The
watcher marks each point STALE before two poll periods have passed without a sample, whatever the reader is doing.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from drivers.base import Clock, Measured, Point, Quality, Sample, Source
from drivers.errors import Refused, Transient
from drivers.judge import Judge
from drivers.stamps import Stamps
from gateway.supervisor import Backoff, heed_cancellation
from gateway.watchdog import Heartbeats

__all__ = ("Deliver", "PollStats", "Poller")

log = logging.getLogger(__name__)

MINUTE_S = 60.0
CONNECTS_PER_MINUTE_MAX = 6  # a peer that accepts and closes must not be hammered
STALE_AFTER_PERIODS = 1.6  # noticed at the next look, a quarter period later: before two periods in any case
LOOKS_PER_PERIOD = 5
STABLE_S = 10.0  # of good reads, before a lost link is tried again after the shortest wait
RECENT_S = 600.0  # over which losses are counted
LOSSES_MAX = 1_000  # remembered: at six connects a minute far more than ten minutes hold
OPEN_TIMEOUT_S = 15.0  # an OPC UA session over a slow link; the watcher goes on meanwhile

Deliver = Callable[[Sequence[Sample]], None]
"""Where samples go; must not block."""


@dataclass(slots=True)
class PollStats:
    """Counters of one link since start."""

    polls: int = 0
    samples: int = 0
    failures: int = 0
    skipped_ticks: int = 0
    connects: int = 0
    stale_points: int = 0
    bad_samples: int = 0
    uncertain_samples: int = 0
    historical_samples: int = 0
    last_read_s: float = 0.0  # how long the newest read took
    connected: bool = False


@dataclass(slots=True)
class Poller:
    """Reads one source every `period_s` seconds and delivers what it says."""

    source: Source
    period_s: float
    deliver: Deliver
    clock: Clock
    heartbeats: Heartbeats
    stats: PollStats = field(default_factory=PollStats)
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, most_s=60.0))
    _seen_ns: dict[str, int] = field(default_factory=dict)
    _stale: set[str] = field(default_factory=set)
    _connects_ns: deque[int] = field(default_factory=lambda: deque(maxlen=CONNECTS_PER_MINUTE_MAX))
    _losses_ns: deque[int] = field(default_factory=lambda: deque(maxlen=LOSSES_MAX))
    _boost_until_ns: int = 0
    _stamps: Stamps = field(init=False)
    _judge: Judge = field(init=False)

    def __post_init__(self) -> None:
        self._stamps = Stamps(self.source.points)
        self._judge = Judge(self.source.points)

    def metrics(self) -> dict[str, float]:
        """Counters and figures of the link since start, by metric name; with those that its driver counts."""
        stats, recent_ns = self.stats, self.clock.monotonic_ns() - int(RECENT_S * 1e9)
        own = {
            "state": float(stats.connected),
            "points": float(len(self.source.points)),
            "points_stale": float(stats.stale_points),
            "polls_total": float(stats.polls),
            "ticks_skipped_total": float(stats.skipped_ticks),
            "samples_total": float(stats.samples),
            "samples_bad_total": float(stats.bad_samples),
            "samples_uncertain_total": float(stats.uncertain_samples),
            "samples_historical_total": float(stats.historical_samples),
            "connects_total": float(stats.connects),
            "failures_total": float(stats.failures),
            "disconnections_last_600s": float(sum(lost_ns >= recent_ns for lost_ns in self._losses_ns)),
            "read_last_s": stats.last_read_s,
        }
        return own | dict(self.source.metrics()) if isinstance(self.source, Measured) else own

    @property
    def assets(self) -> Collection[str]:
        """Assets that this link sees."""
        return {point.asset_id for point in self.source.points}

    def boost(self, for_s: float) -> None:
        """Poll twice as often for a while: a neighbour is in trouble."""
        self._boost_until_ns = self.clock.monotonic_ns() + int(for_s * 1e9)

    async def run(self) -> None:
        """Poll until cancelled; link failures are handled here and never leave."""
        now_ns = self.clock.monotonic_ns()
        self._seen_ns = {point.id: now_ns for point in self.source.points}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_forever(), name=f"{self.source.name}.read")
                tasks.create_task(self._watch_forever(), name=f"{self.source.name}.watch")
        finally:
            self.heartbeats.forget(f"{self.source.name}.read")
            self.heartbeats.forget(f"{self.source.name}.watch")

    async def _read_forever(self) -> None:
        pause_s = max(self.backoff.most_s, MINUTE_S)
        self.heartbeats.expect(f"{self.source.name}.read", OPEN_TIMEOUT_S + 4 * self.period_s + pause_s)
        try:
            while True:
                heed_cancellation()
                try:
                    await self._connect()
                    await self._read_while_connected()
                except (Transient, Refused, TimeoutError) as err:
                    await self._lost(err)
        finally:
            await self.source.close()

    async def _connect(self) -> None:
        self._connects_ns.append(self.clock.monotonic_ns())
        self.stats.connects += 1
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            await self.source.open()
        self.stats.connected = True
        log.info("%s: connected, %d points", self.source.name, len(self.source.points))

    async def _read_while_connected(self) -> None:
        loop = asyncio.get_running_loop()
        due = began_s = loop.time()
        while True:
            self.heartbeats.beat(f"{self.source.name}.read")
            asked_s = loop.time()
            samples = await self.source.read()
            heed_cancellation()
            self.stats.last_read_s = loop.time() - asked_s
            self._accept(self._judge(self._stamps(samples)))
            if samples and loop.time() - began_s >= STABLE_S:
                self.backoff.reset()
            period_s = self._period_now_s()
            due += period_s
            late_ticks = int(max(0.0, loop.time() - due) / period_s)
            self.stats.skipped_ticks += late_ticks
            due += late_ticks * period_s
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _period_now_s(self) -> float:
        boosted = self.clock.monotonic_ns() < self._boost_until_ns
        return self.period_s / 2 if boosted else self.period_s

    def _accept(self, samples: Sequence[Sample]) -> None:
        self.stats.polls += 1
        self.stats.samples += len(samples)
        for sample in samples:
            self._count(sample)
            if sample.historical:
                continue  # says nothing of now
            self._seen_ns[sample.point_id] = sample.monotonic_ns
            self._stale.discard(sample.point_id)
        self.stats.stale_points = len(self._stale)
        if samples:
            self.deliver(samples)

    def _count(self, sample: Sample) -> None:
        self.stats.bad_samples += sample.quality is Quality.BAD
        self.stats.uncertain_samples += sample.quality is Quality.UNCERTAIN
        self.stats.historical_samples += sample.historical

    async def _lost(self, err: Exception) -> None:
        if self.stats.connected or self.stats.failures == 0:
            log.warning("%s: link lost: %s", self.source.name, err or type(err).__name__)
        if self.stats.connected:
            self._losses_ns.append(self.clock.monotonic_ns())
        self.stats.connected = False
        self.stats.failures += 1
        await self.source.close()
        await asyncio.sleep(max(self.backoff.next_s(), self._connect_allowed_in_s()))
        self.heartbeats.beat(f"{self.source.name}.read")

    def _connect_allowed_in_s(self) -> float:
        if len(self._connects_ns) < CONNECTS_PER_MINUTE_MAX:
            return 0.0
        return MINUTE_S - (self.clock.monotonic_ns() - self._connects_ns[0]) / 1e9

    async def _watch_forever(self) -> None:
        self.heartbeats.expect(f"{self.source.name}.watch", 4 * self.period_s + 5)
        while True:
            await asyncio.sleep(self.period_s / LOOKS_PER_PERIOD)
            self.heartbeats.beat(f"{self.source.name}.watch")
            self._mark_stale()

    def _mark_stale(self) -> None:
        now_ns = self.clock.monotonic_ns()
        limit_ns = int(STALE_AFTER_PERIODS * self.period_s * 1e9)
        fresh_stale = [
            point
            for point in self.source.points
            if point.id not in self._stale and now_ns - self._seen_ns.get(point.id, now_ns) > limit_ns
        ]
        if fresh_stale:
            self._stale.update(point.id for point in fresh_stale)
            self.stats.stale_points = len(self._stale)
            self.deliver([self._stale_sample(point, now_ns) for point in fresh_stale])

    def _stale_sample(self, point: Point, now_ns: int) -> Sample:
        return Sample(
            point_id=point.id,
            value=None,
            quality=Quality.STALE,
            reason=f"nothing from {self.source.name} for {STALE_AFTER_PERIODS} poll periods",
            received_time=self.clock.now(),
            monotonic_ns=now_ns,
            clock_trusted=self.clock.trusted(),
        )
