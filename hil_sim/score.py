"""Scores a gateway from outside: the plant's truth and what the broker received in, a report out.

Nothing that the gateway says of itself counts but its messages.  Evidence is held against the values that the
plant really had: a GOOD value that the device never had is wrong, one that it no longer had is stale.
Called by `hil_sim.bench`.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from hil_sim.ear import Heard
from hil_sim.truth import LOST, Condition, Shown, Truth

__all__ = ("Score", "score")

MATCH_RELATIVE, MATCH_ABSOLUTE = 2e-5, 1e-6  # a float32 on the wire keeps seven digits
STALE_CYCLES = 3.0  # device cycles that a value may be behind: one to be shown, one to be counted, one to be polled
STALE_SLACK_S = 2.0
GAS_CYCLES = 6  # analyses that a careful gateway waits for before it believes a jump of gases
ALWAYS_ALLOWED = ("JournalRescued",)  # about the gateway itself
ODDITIES = ("Anomaly", "DgaRate")  # never asked for, and not wrong of an asset in trouble


@dataclass(slots=True)
class Judged:
    """One condition and how the gateway did."""

    asset: str
    definition: str
    cause: str
    expected_code: str
    began_s: float
    ended_s: float | None
    outcome: str  # detected, late, lost, too_short (none was due)
    delay_s: float | None = None
    told_code: str = ""
    diagnosis: str = ""  # right, wrong, or empty where there is no right answer


@dataclass(slots=True)
class Score:
    """The sums, and the cases behind them."""

    seconds: float
    plant_days: float
    alarms: int = 0
    messages: int = 0
    lost: int = 0
    late: int = 0
    duplicates: int = 0
    false_alarms: int = 0
    false_alarms_per_plant_day: float = 0.0
    wrong_values_as_good: int = 0
    stale_values_as_good: int = 0
    values_judged: int = 0
    diagnoses_right: int = 0
    diagnoses_wrong: int = 0
    detection_delay_s_p50: float | None = None
    detection_delay_s_max: float | None = None
    redelivered: int = 0
    unreadable: int = 0
    offline_noticed_s: list[float] = field(default_factory=list)
    conditions: list[Judged] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    timeline: list[str] = field(default_factory=list)  # what was heard, for whoever looks into a problem

    @property
    def clean(self) -> bool:
        """No loss, no lie, no false alarm."""
        bad = (self.lost, self.late, self.duplicates, self.false_alarms, self.wrong_values_as_good)
        return not any((*bad, self.stale_values_as_good, self.diagnoses_wrong, self.unreadable))

    def as_json(self) -> dict[str, Any]:
        """Everything, numbers rounded to milliseconds."""
        return {"clean": self.clean} | asdict(self)

    def as_text(self) -> str:
        """The report that a person reads."""
        lines = [
            f"{'CLEAN' if self.clean else 'NOT CLEAN'}: {self.seconds:.0f} s, {self.plant_days:.1f} days of the plant",
            f"  alarms {self.alarms}: lost {self.lost}, late {self.late}, duplicate {self.duplicates}",
            f"  false alarms {self.false_alarms}, {self.false_alarms_per_plant_day:.2f} a day of the plant",
            f"  values in evidence {self.values_judged}, wrong shown as good {self.wrong_values_as_good}",
            f"  stale shown as good {self.stale_values_as_good}",
            f"  diagnoses right {self.diagnoses_right}, wrong {self.diagnoses_wrong}",
            f"  detection delay p50 {_s(self.detection_delay_s_p50)}, most {_s(self.detection_delay_s_max)}",
        ]
        for case in self.conditions:
            told = f", told {case.told_code} ({case.diagnosis})" if case.diagnosis else ""
            lines.append(
                f"  {case.began_s:7.1f} s  {case.asset:10} {case.definition:16} {case.cause:22}"
                f" {case.outcome} {_s(case.delay_s)}{told}"
            )
        return "\n".join(lines + [f"  ! {problem}" for problem in self.problems])


@dataclass(slots=True)
class _Alarm:
    """Everything heard of one alarm id."""

    asset: str
    definition: str
    first_s: float
    revisions: list[tuple[float, Mapping[str, Any]]]

    def standing(self, at_s: float) -> bool:
        """Whether its newest revision by then said Active."""
        said = [content for when_s, content in self.revisions if when_s <= at_s]
        return bool(said) and said[-1].get("active_state") == "Active"

    def code(self, until_s: float) -> str:
        """The fault type it told last: the diagnosis' where there is one."""
        said = [content for when_s, content in self.revisions if when_s <= until_s] or [self.revisions[0][1]]
        diagnosis = said[-1].get("diagnosis") or {}
        hypotheses = diagnosis.get("hypotheses") or []
        return str(hypotheses[0]["code"] if hypotheses and not diagnosis.get("abstained") else said[-1].get("code", ""))


def score(truth: Truth, heard: Sequence[Heard], *, began_s: float, ended_s: float, wall_minus_loop_s: float) -> Score:
    """Judge one run between two loop seconds; `wall_minus_loop_s` turns the bench's own clock into loop seconds."""
    result = Score(seconds=ended_s - began_s, plant_days=(ended_s - began_s) * truth.scenario.time_factor / 86_400)
    alarms = _alarms(heard, result)
    result.alarms, result.messages = len(alarms), len(heard)
    result.timeline = [_line(message, began_s) for message in heard]
    explained: set[int] = set()
    for condition in truth.conditions:
        _judge(truth, condition, alarms, explained, ended_s, result)
    for number, alarm in enumerate(alarms):
        if number not in explained and not _allowed(truth, alarm):
            result.false_alarms += 1
            result.problems.append(f"{alarm.first_s - began_s:.1f} s: false alarm {alarm.definition} of {alarm.asset}")
    result.false_alarms_per_plant_day = result.false_alarms / result.plant_days if result.plant_days else 0.0
    _check_evidence(truth, alarms, wall_minus_loop_s, began_s, result)
    _notice_offline(truth, heard, result)
    delays = [case.delay_s for case in result.conditions if case.delay_s is not None]
    if delays:
        result.detection_delay_s_p50 = round(statistics.median(delays), 3)
        result.detection_delay_s_max = round(max(delays), 3)
    for case in result.conditions:
        case.began_s = round(case.began_s - began_s, 3)
        case.ended_s = None if case.ended_s is None else round(case.ended_s - began_s, 3)
    return result


def _line(message: Heard, began_s: float) -> str:
    content = message.content or {}
    told = [str(content[key]) for key in ("asset_id", "definition", "code", "active_state", "online") if key in content]
    return f"{message.at_s - began_s:.2f} {content.get('message_id', message.topic)} {' '.join(told)}"


def _alarms(heard: Sequence[Heard], result: Score) -> list[_Alarm]:
    found: dict[str, _Alarm] = {}
    seen: set[str] = set()
    for message in heard:
        if "/alarm/" not in message.topic:
            continue
        content = message.content
        try:
            assert content is not None
            key, message_id = str(content["alarm_id"]), str(content["message_id"])
            asset, definition = str(content["asset_id"]), str(content["definition"])
        except (AssertionError, KeyError):
            result.unreadable += 1
            continue
        if message_id in seen:
            result.redelivered += 1
            continue
        seen.add(message_id)
        alarm = found.setdefault(key, _Alarm(asset, definition, message.at_s, []))
        alarm.revisions.append((message.at_s, content))
    return list(found.values())


def _judge(
    truth: Truth, condition: Condition, alarms: Sequence[_Alarm], explained: set[int], run_ended_s: float, result: Score
) -> None:
    allow_s = _allowed_s(truth, condition)
    end_s = run_ended_s if condition.ended_s is None else condition.ended_s
    blind_s = truth.masked_s(condition.asset, condition.began_s, end_s, sight=condition.definition != LOST)
    until_s = end_s + allow_s + truth.masked_s("", condition.began_s, end_s + allow_s, sight=False)
    mine = [
        (number, alarm)
        for number, alarm in enumerate(alarms)
        if (alarm.asset, alarm.definition) == (condition.asset, condition.definition)
        and (_meant(truth, alarm, until_s) is condition or alarm.standing(condition.began_s))
    ]
    explained.update(number for number, _ in mine)
    case = Judged(
        condition.asset,
        condition.definition,
        condition.cause,
        condition.code,
        condition.began_s,
        condition.ended_s,
        outcome="lost",
    )
    result.conditions.append(case)
    fresh = [alarm for _, alarm in mine if alarm.first_s >= condition.began_s]
    if len(mine) > 1 and len(fresh) > 1:
        result.duplicates += len(fresh) - 1
        result.problems.append(f"{len(fresh)} alarms for one {condition.definition} of {condition.asset}")
    if not mine:
        due = end_s - condition.began_s - blind_s >= allow_s
        case.outcome = "lost" if due else "too_short"
        result.lost += due
        return
    first = min((alarm for _, alarm in mine), key=lambda alarm: alarm.first_s)
    told_s = max(first.first_s, condition.began_s)
    blind_s = truth.masked_s(condition.asset, condition.began_s, told_s, sight=condition.definition != LOST)
    case.delay_s = round(told_s - condition.began_s - blind_s, 3)
    case.outcome = "late" if case.delay_s > allow_s else "detected"
    result.late += case.outcome == "late"
    if condition.code:
        case.told_code = mine[-1][1].code(until_s)
        case.diagnosis = "right" if case.told_code == condition.code else "wrong"
        result.diagnoses_right += case.diagnosis == "right"
        result.diagnoses_wrong += case.diagnosis == "wrong"


def _meant(truth: Truth, alarm: _Alarm, until_s: float) -> Condition | None:
    """The condition that a new alarm can be about: the last of its kind that had begun, where that is not long over."""
    begun = [
        c
        for c in truth.conditions
        if (c.asset, c.definition) == (alarm.asset, alarm.definition) and c.began_s <= alarm.first_s <= until_s
    ]
    return begun[-1] if begun else None


def _allowed_s(truth: Truth, condition: Condition) -> float:
    bench = truth.scenario.bench
    if condition.definition == LOST:
        stuck = any(event.id == condition.cause and event.kind == "frozen" for event in truth.scenario.events)
        return bench.allow_s + bench.lost_delay_s + stuck * bench.allow_frozen_s
    if condition.definition == "DgaFault":
        return bench.allow_s + GAS_CYCLES * _cycle_s(truth, condition.asset)
    return bench.allow_s


def _cycle_s(truth: Truth, asset: str) -> float:
    cycles = [device.cycle_s for device in truth.scenario.devices if device.asset == asset]
    return max(cycles, default=truth.scenario.tick_s) / truth.scenario.time_factor


def _allowed(truth: Truth, alarm: _Alarm) -> bool:
    """Not asked for, and not wrong: near a limit, about the gateway itself, or an oddity of an asset in trouble."""
    if alarm.definition in ALWAYS_ALLOWED:
        return True
    if truth.near.get((alarm.asset, alarm.definition), alarm.first_s + 1) <= alarm.first_s:
        return True
    troubled = [c for c in truth.conditions if c.asset == alarm.asset and c.began_s <= alarm.first_s]
    return alarm.definition in ODDITIES and bool(troubled)


def _check_evidence(
    truth: Truth, alarms: Sequence[_Alarm], wall_minus_loop_s: float, began_s: float, result: Score
) -> None:
    judged: set[tuple[str, str, str]] = set()
    for alarm in alarms:
        for heard_s, content in alarm.revisions:
            ahead_s = _clock_ahead_s(content, heard_s + wall_minus_loop_s)
            for point, value, stamp in _evidence(content):
                if (point, repr(value), stamp) in judged:
                    continue
                judged.add((point, repr(value), stamp))
                result.values_judged += 1
                taken_s = datetime.fromisoformat(stamp).timestamp() - ahead_s - wall_minus_loop_s
                verdict = _hold(truth, point, value, taken_s)
                if verdict:
                    result.wrong_values_as_good += verdict == "wrong"
                    result.stale_values_as_good += verdict == "stale"
                    result.problems.append(
                        f"{taken_s - began_s:.1f} s: {point} = {value:g} is {verdict}, shown as GOOD"
                    )


def _evidence(content: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    for sample in (content.get("finding") or {}).get("evidence", ()):
        value = sample.get("value")
        if sample.get("quality") == "GOOD" and isinstance(value, int | float):
            yield str(sample["point_id"]), float(value), str(sample["time"])


def _clock_ahead_s(content: Mapping[str, Any], heard_wall_s: float) -> float:
    """How far the gateway's clock is ahead of ours, from when it says it published; below a second it is transit."""
    stamp = content.get("publish_time")
    if not isinstance(stamp, str):
        return 0.0
    ahead_s = datetime.fromisoformat(stamp).timestamp() - heard_wall_s
    return ahead_s if abs(ahead_s) > 1 else 0.0


def _hold(truth: Truth, point: str, value: float, taken_s: float) -> str:
    shown = truth.shown.get(point)
    if shown is None:
        return ""  # a point that this plant does not have cannot be judged
    same = [s for s in shown if abs(s.value - value) <= max(MATCH_RELATIVE * abs(value), MATCH_ABSOLUTE)]
    if not same:
        return "wrong"
    bench = truth.scenario.bench
    age_s = STALE_CYCLES * _cycle_s(truth, point.partition("/")[0]) + 2 * bench.poll_period_s + STALE_SLACK_S
    last_s = max((_stood_until_s(shown, s) for s in same if s.at_s <= taken_s + STALE_SLACK_S), default=None)
    return "stale" if last_s is None or last_s < taken_s - age_s else ""


def _stood_until_s(shown: Sequence[Shown], one: Shown) -> float:
    """When the next value took its place; a value that nobody has replaced still stands."""
    later = [s.at_s for s in shown if s.at_s > one.at_s]
    return min(later) if later else float("inf")


def _notice_offline(truth: Truth, heard: Sequence[Heard], result: Score) -> None:
    """A gateway without power is said to be offline by the broker, in its name; unless that is away as well."""
    for mask in truth.masks:
        dumb = any(m.why == "broker" and m.overlap_s(mask.began_s, mask.began_s + 1) for m in truth.masks)
        if mask.why != "power" or dumb:
            continue
        said = [
            m.at_s - mask.began_s
            for m in heard
            if m.topic.endswith("/status") and m.content and m.content.get("online") is False and m.at_s >= mask.began_s
        ]
        if said:
            result.offline_noticed_s.append(round(said[0], 3))
        else:
            result.problems.append("the gateway lost its power and nobody said that it is offline")


def _s(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
