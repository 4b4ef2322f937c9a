"""The hard agent: one per asset; samples in, judgements out, by rules and an ONNX model, never a language model.

A poll is not a measurement: samples are gathered into device cycles first, and every rule, delay and window
counts cycles.  BAD, STALE and UNCERTAIN samples never reach a rule.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from drivers.base import Clock, Point, Quality, Sample
from drivers.errors import BadInput
from gateway.agents.gas_rules import HYDROGEN, GasRateRule
from gateway.agents.rules import AMBIENT, LOAD, TOP_OIL, rules_for
from gateway.agents.sight import Abstaining, Remembering, Rule, Sight
from gateway.agents.twin import ThermalTwin
from gateway.alarms import Judgement, TimeSource
from models.asset import Asset
from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy
from models.dga.rates import GasTrend
from models.features import GAS_FIELDS, Cycle, CycleDetector, Window, measured_value
from models.findings import EvidenceSample, Fact, Family, Finding, Severity
from models.thermal.cooling import CoolingFit
from models.trend import Keepsake

if TYPE_CHECKING:  # its onnxruntime costs 30 MB, which a gateway without anomaly models need not have
    from models.anomaly import AnomalyModel

__all__ = ("DAY", "HardAgent", "by_time")

log = logging.getLogger(__name__)

Keep: TypeAlias = Callable[[Sequence[Sample]], None]

DAY = timedelta(days=1)
SILENCE_MAX_NS = 600 * 10**9  # an unchanged group is kept this often all the same: that it was watched is worth a row
EVIDENCE_CYCLES = 5  # five cycles of at most twelve points fit into a finding's 64 samples
EVIDENCE_SAMPLES_MAX = 64


@dataclass(slots=True)
class _Group:
    """Points that the device renews together."""

    points: tuple[Point, ...]
    detector: CycleDetector
    window: Window
    lost_since_ns: int | None = None
    lost_reported: bool = False
    time_source: TimeSource = "poll"
    kept_ns: int = 0
    kept_qualities: tuple[Quality, ...] = ()

    def has_news(self, members: Sequence[Sample]) -> bool:
        """True where a quality changed, or where nothing has been kept for a while; notes that it is kept now."""
        qualities = tuple(sample.quality for sample in members)
        since_ns = members[-1].monotonic_ns - self.kept_ns
        news = qualities != self.kept_qualities or not 0 <= since_ns < SILENCE_MAX_NS
        if news:
            self.kept_ns, self.kept_qualities = members[-1].monotonic_ns, qualities
        return news


@dataclass(slots=True)
class _Watch:
    """One rule and what it saw so far."""

    rule: Rule
    onset: datetime | None = None
    present_cycles: int = 0  # in a row
    absent_cycles: int = 0  # in a row
    puzzled: bool = False  # the last measurement could not be judged


class HardAgent:
    """Watches one asset."""

    def __init__(
        self,
        asset: Asset,
        points: Iterable[Point],
        clock: Clock,
        *,
        model: "AnomalyModel | None" = None,
        gas_accuracy: GasAccuracy = DEFAULT_ACCURACY,
        cooling_fit: CoolingFit | None = None,
        time_factor: float = 1.0,
        clear_after_cycles: int = 20,
        lost_delay_s: float = 30.0,
    ) -> None:
        self.asset = asset
        self._clock = clock
        self._clear_after_cycles = clear_after_cycles
        self._lost_delay_ns = int(lost_delay_s * 1e9)
        self._points = {point.id: point for point in points}
        self._groups = {
            name: _Group(members, CycleDetector(members), Window())
            for name, members in _by_group(self._points.values()).items()
        }
        self._latest: dict[str, float] = {}
        self._quality: dict[str, Quality] = {}
        self._lost_stands = False  # the alarm MeasurementLost, of all groups together
        indicators = [point.indicator for point in self._points.values()]
        self.twin = _twin_of(asset, indicators, time_factor, cooling_fit)
        self._warming = False
        units = {point.indicator: point.unit for point in self._points.values()}
        day = DAY / time_factor
        self.trend = GasTrend(day)
        rules = rules_for(asset, indicators, model, day, units=units, accuracy=gas_accuracy)
        self._watches = [_Watch(rule) for rule in rules]
        if HYDROGEN in indicators and asset.has_main_tank:
            self._watches.append(_Watch(GasRateRule(asset.nameplate, day, self.trend, gas_accuracy)))
        self._remembering = {
            f"{asset.id}/{watch.rule.definition}": watch.rule
            for watch in self._watches
            if isinstance(watch.rule, Remembering)
        }
        self._learnt: set[str] = set()

    @property
    def qualities(self) -> dict[str, Quality]:
        """Last quality of each point, by point id."""
        return dict(self._quality)

    @property
    def cycle_counts(self) -> dict[str, int]:
        """Measurements seen, by group."""
        return {name: group.window.count for name, group in self._groups.items()}

    @property
    def abstentions(self) -> dict[str, str]:
        """Why rules could not judge the newest measurement, by definition."""
        rules = [watch.rule for watch in self._watches]
        return {rule.definition: rule.abstained for rule in rules if isinstance(rule, Abstaining) and rule.abstained}

    def recall(self, kept: Mapping[str, Keepsake]) -> None:
        """At boot, before `warm`: give the rules back what they kept; what fits no rule of today is left."""
        for key, rule in self._remembering.items():
            if key in kept:
                rule.recall(kept[key])

    def keepsakes(self) -> list[tuple[str, Keepsake]]:
        """What rules have learnt since the last call and must not forget, by key; to be journalled."""
        learnt, self._learnt = self._learnt, set()
        return [(key, self._remembering[key].keepsake()) for key in sorted(learnt)]

    @property
    def gas_points(self) -> tuple[Point, ...]:
        """The gases that the device shows which shows hydrogen: what the trend is rebuilt from."""
        hydrogen = self._points.get(f"{self.asset.id}/{HYDROGEN}")
        members = self._groups[hydrogen.group].points if hydrogen else ()
        return tuple(point for point in members if point.indicator in GAS_FIELDS)

    def warm(self, samples: Sequence[Sample]) -> None:
        """Rebuild windows at boot from samples that were kept; judges nothing."""
        self._warming = True
        for batch in by_time(samples):
            self._absorb(batch)
        self._warming = False

    def continue_alarms(self, definitions: Iterable[str]) -> None:
        """At boot: conditions that stand in the journal, so that their end is seen too."""
        if "MeasurementLost" in set(definitions):
            self._lost_stands = True
            now_ns = self._clock.monotonic_ns()
            for group in self._groups.values():
                group.lost_reported = True
                group.lost_since_ns = now_ns  # nobody kept which group it was: each must be seen before it clears

    def measurements(self, indicator: str) -> int:
        """Device cycles seen of the group that this indicator belongs to."""
        point = self._points.get(f"{self.asset.id}/{indicator}")
        return self._groups[point.group].window.count if point else 0

    def observe(self, samples: Sequence[Sample], keep: Keep = lambda _: None) -> list[Judgement]:
        """What the samples of one delivery change; every sample must be of this asset.

        `keep` is handed what is worth keeping, group by group: a poll that shows nothing new is not.
        """
        judgements = []
        for group, cycle in self._absorb(samples, keep):
            judgements += self._judge(group, cycle)
        return judgements + self.silence()

    def _absorb(self, samples: Sequence[Sample], keep: Keep = lambda _: None) -> list[tuple[_Group, Cycle]]:
        by_group: dict[str, list[Sample]] = {}
        if past := [sample for sample in samples if sample.historical]:
            keep(past)  # filled in after a gap: for trends; it is not the state of now, and clears nothing
        for sample in samples:
            if sample.historical:
                continue
            point = self._points[sample.point_id]
            self._quality[point.id] = sample.quality
            value = measured_value(sample)
            if value is None:
                self._latest.pop(point.indicator, None)
            else:
                self._latest[point.indicator] = value
            by_group.setdefault(point.group, []).append(sample)
        cycles = []
        for name, members in by_group.items():
            group = self._groups[name]
            self._note_presence(group)
            cycle = group.detector.feed(members)
            if group.has_news(members) or cycle is not None:
                keep(members)
            if cycle is not None:
                group.time_source = _time_source(members[-1])
                group.window.add(cycle)
                self.trend.feed(cycle)
                cycles.append((group, cycle))
                self._calculate(cycle)
                self._learn(cycle)
        return cycles

    def _learn(self, cycle: Cycle) -> None:
        for key, rule in self._remembering.items():
            if rule.trigger in cycle.values and rule.take(cycle, self._latest):
                self._learnt.add(key)

    def _calculate(self, cycle: Cycle) -> None:
        """Values that no sensor shows, from those of this cycle."""
        load_pu = self._latest.get(LOAD)
        if self.twin is None or TOP_OIL not in cycle.values or load_pu is None:
            return
        healthy = all(watch.onset is None for watch in self._watches)
        learn = None if self._warming else healthy
        self.twin.feed(cycle.time, load_pu, cycle.values[TOP_OIL], self._latest.get(AMBIENT), learn=learn)
        for indicator, value in self.twin.calculated.items():
            if value is None:
                self._latest.pop(indicator, None)
            else:
                self._latest[indicator] = value

    def _judge(self, group: _Group, cycle: Cycle) -> list[Judgement]:
        members = {point.indicator for point in group.points}
        judgements = []
        for watch in self._watches:
            if watch.rule.trigger not in members:
                continue
            sight = self._look(watch, group)
            if sight is not None:
                judgements += self._weigh(watch, sight, group, cycle)
        return judgements

    def _look(self, watch: _Watch, group: _Group) -> Sight | None:
        try:
            sight = watch.rule.look(group.window, self._latest)
        except BadInput as err:  # GOOD by its device's word, and yet a number that no machine shows
            if not watch.puzzled:
                log.warning("%s %s: not judged: %s", self.asset.id, watch.rule.definition, err)
            watch.puzzled = True
            return None
        watch.puzzled = False
        return sight

    def _weigh(self, watch: _Watch, sight: Sight, group: _Group, cycle: Cycle) -> list[Judgement]:
        if sight.severity is Severity.NONE:
            watch.absent_cycles += 1
            watch.present_cycles = 0
            if watch.absent_cycles < self._clear_after_cycles:
                return []
            watch.onset = None
            return [Judgement(asset_id=self.asset.id, definition=watch.rule.definition, finding=None)]
        watch.absent_cycles = 0
        watch.present_cycles += 1
        watch.onset = watch.onset or cycle.time
        if watch.present_cycles < watch.rule.lasts_cycles:
            return []
        finding = self._finding(watch.rule.definition, sight, watch.onset, cycle.time, self._evidence(group))
        return [
            Judgement(
                asset_id=self.asset.id,
                definition=watch.rule.definition,
                finding=finding,
                value=sight.value,
                time_source=group.time_source,
                time_uncertainty_ms=round(max(point.update_interval_s for point in group.points) * 1000),
            )
        ]

    def _finding(
        self, definition: str, sight: Sight, first: datetime, last: datetime, evidence: tuple[EvidenceSample, ...]
    ) -> Finding:
        return Finding(
            id=str(uuid5(NAMESPACE_URL, f"{self.asset.id}/{definition}/{sight.code}/{last.isoformat()}")),
            asset_id=self.asset.id,
            indicator=sight.indicator,
            method=sight.method,
            code=sight.code,
            family=sight.family,
            severity=sight.severity,
            confidence=sight.confidence,
            first_time=first,
            last_time=last,
            evidence=evidence,
            facts=sight.facts,
            assumptions=sight.assumptions,
        )

    def _evidence(self, group: _Group) -> tuple[EvidenceSample, ...]:
        samples = [
            EvidenceSample(
                point_id=f"{self.asset.id}/{indicator}",
                value=value,
                quality=Quality.GOOD,
                time=cycle.time,
                cycle=cycle.number,
            )
            for cycle in list(group.window)[-EVIDENCE_CYCLES:]
            for indicator, value in sorted(cycle.values.items())
        ]
        return tuple(samples[-EVIDENCE_SAMPLES_MAX:])

    def _note_presence(self, group: _Group) -> None:
        if not self._lacking(group):
            group.lost_since_ns = None
        elif group.lost_since_ns is None:
            group.lost_since_ns = self._clock.monotonic_ns()

    def _lacking(self, group: _Group) -> list[Point]:
        """Points without a usable value: without them their group makes no measurement, and a fault goes unseen."""
        return [point for point in group.points if self._quality.get(point.id, Quality.GOOD) is not Quality.GOOD]

    def silence(self) -> list[Judgement]:
        """Raise when a group has lacked a usable value for the delay; clear when none lacks one, not even briefly.

        One alarm stands for the whole asset: were it cleared while another group's delay runs, the same trouble would
        be told a second time under a new id.
        """
        judgements = []
        now_ns = self._clock.monotonic_ns()
        for group in self._groups.values():
            if group.lost_since_ns is None:
                group.lost_reported = False
            elif not group.lost_reported and now_ns - group.lost_since_ns >= self._lost_delay_ns:
                group.lost_reported = self._lost_stands = True
                judgements.append(self._lost_judgement(group))
        if self._lost_stands and all(group.lost_since_ns is None for group in self._groups.values()):
            self._lost_stands = False
            judgements.append(Judgement(asset_id=self.asset.id, definition="MeasurementLost", finding=None))
        return judgements

    def _lost_judgement(self, group: _Group) -> Judgement:
        now = self._clock.now()
        lacking = self._lacking(group) or group.points
        sight = Sight(
            severity=Severity.ADVISORY,
            indicator=lacking[0].indicator,
            method="presence",
            code="MeasurementLost",
            family=Family.SENSOR,
            confidence=1.0,
            facts=(Fact(name="points without a usable value", value=float(len(lacking)), unit="1"),),
        )
        finding = self._finding("MeasurementLost", sight, now, now, ())
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        value = f"of {lacking[0].indicator}{more}"
        return Judgement(asset_id=self.asset.id, definition="MeasurementLost", finding=finding, value=value)


def _twin_of(
    asset: Asset, indicators: Sequence[str], time_factor: float, cooling_fit: CoolingFit | None
) -> ThermalTwin | None:
    if TOP_OIL not in indicators or LOAD not in indicators:
        return None
    try:
        return ThermalTwin(asset.nameplate, time_factor, cooling_fit)
    except BadInput as err:
        log.info("%s: no hot spot is calculated: %s", asset.id, err)
        return None


def _time_source(sample: Sample) -> TimeSource:
    if sample.source_time is not None:
        return "device"
    return "poll" if sample.server_time is None else "server"


def _by_group(points: Iterable[Point]) -> dict[str, tuple[Point, ...]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    return {name: tuple(members) for name, members in groups.items()}


def by_time(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples of one poll share their receipt time to the nanosecond or nearly so; replay them poll by poll."""
    batches: dict[datetime, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.received_time):
        batches.setdefault(sample.received_time, []).append(sample)
    return list(batches.values())
