"""Alarms with ISA-18.2 states and OPC UA Part 9 names: one incident of one definition is one alarm with revisions.

`AlarmBook` is the one authority on standing alarms.  It turns judgements of hard agents and answers of
investigations into journal entries (the alarm's new state and its message, to be committed together) and never
sends anything itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field

from drivers.base import Clock, Frozen, Message
from gateway.equipment_alarms import EQUIPMENT, AlarmDefinition
from models.asset import Asset
from models.findings import Diagnosis, Family, Finding, Severity, Verdict

__all__ = (
    "DEFINITIONS",
    "Acked",
    "Active",
    "Alarm",
    "AlarmBook",
    "AlarmDefinition",
    "Judgement",
    "Revision",
    "Stage",
    "TimeSource",
)

TimeSource: TypeAlias = Literal["device", "server", "poll"]
"""Who stamped a measurement's time: the device itself, the server that speaks for it, or the gateway's poll."""

FAMILY_CYCLES = 3  # measurements in a row that show another fault family before the alarm says so
TEXT_CHARS_MAX = 80  # what a SCADA alarm line shows
INACTIVE_KEPT_MAX = 1_000  # alarms that are over, for answers and verdicts that come late; the journal holds them all


class Active(StrEnum):
    """OPC UA Part 9 ActiveState."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


class Acked(StrEnum):
    """OPC UA Part 9 AckedState."""

    ACKNOWLEDGED = "Acknowledged"
    UNACKNOWLEDGED = "Unacknowledged"


class Stage(StrEnum):
    """How far the reasoning about this alarm has come."""

    DETECTED = "detected"
    DIAGNOSED = "diagnosed"
    VERDICT = "verdict"


DEFINITIONS = {
    definition.name: definition
    for definition in (
        *EQUIPMENT,
        AlarmDefinition(
            name="DgaFault",
            what="DGA",
            cause="Fault gases in the oil above typical values with the pattern of an internal fault.",
            consequence="An internal fault can grow to a winding failure, tank rupture or fire.",
            response="check trend, take oil sample",
            time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 72, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="DgaRate",
            what="DGA trend",
            cause="Gases in the oil rise faster in days than is usual between samples months apart.",
            consequence="A fault is active now, though the amounts may still be typical.",
            response="take oil sample",
            time_to_respond_h={Severity.ADVISORY: 168, Severity.WARNING: 24, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="DgaLaboratory",
            what="oil sample",
            cause="A laboratory found gases above typical values, or rising faster than is usual.",
            consequence="An internal fault can grow to a winding failure, tank rupture or fire.",
            response="compare with monitor, sample again",
            time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 72, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="HotSpotHigh",
            what="hot spot",
            cause="Load, ambient temperature or cooling.",
            consequence="Insulation ages many times faster; above 140 °C gas bubbles can form.",
            response="check cooling, reduce load",
            time_to_respond_h={Severity.ADVISORY: 24, Severity.WARNING: 8, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="TopOilHigh",
            what="top oil",
            cause="Load, ambient temperature or cooling.",
            consequence="Insulation and oil age faster.",
            response="check cooling, reduce load",
            time_to_respond_h={Severity.ADVISORY: 24, Severity.WARNING: 8, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="CoolingFault",
            what="cooling",
            cause="Fans or pumps stand still, radiators are dirty or a valve is closed.",
            consequence="The transformer carries less load, and its insulation ages faster.",
            response="check fans, pumps and valves",
            time_to_respond_h={Severity.ADVISORY: 72, Severity.WARNING: 24, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="GasDensityLow",
            what="SF6 pressure",
            cause="Leak of insulating gas.",
            consequence="Below lock-out the breaker cannot interrupt and insulation is not assured.",
            response="locate leak, plan refill",
            time_to_respond_h={Severity.ADVISORY: 168, Severity.WARNING: 24, Severity.CRITICAL: 1},
        ),
        AlarmDefinition(
            name="Anomaly",
            what="unusual pattern",
            cause="Measurements relate to each other in a way not seen at commissioning.",
            consequence="A fault that no rule names, or a sensor that drifts.",
            response="compare with trend",
            time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 168, Severity.CRITICAL: 24},
        ),
        AlarmDefinition(
            name="MeasurementLost",
            what="no measurement",
            cause="Sensor, link or supply failed.",
            consequence="A fault in this asset would go unseen.",
            response="check sensor and link",
            time_to_respond_h={Severity.ADVISORY: 168, Severity.WARNING: 24, Severity.CRITICAL: 8},
        ),
        AlarmDefinition(
            name="JournalRescued",
            what="journal rescued",
            cause="The journal was damaged, most likely by a power cut on failing media.",
            consequence="History between the stated sequence numbers is lost.",
            response="check storage medium",
            time_to_respond_h={Severity.ADVISORY: 168, Severity.WARNING: 24, Severity.CRITICAL: 8},
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a hard agent holds of one definition after one measurement: the condition is there or it is not."""

    asset_id: str
    definition: str
    finding: Finding | None  # None: the condition is absent, for long enough to clear
    value: str = ""  # for the text: what was measured, with unit and limit
    time_source: TimeSource = "poll"
    time_uncertainty_ms: int = 1000


class Alarm(Frozen):
    """Current state of one alarm; the MQTT payload is this model as JSON."""

    message_schema: Literal["blackstart.alarm/1"] = Field(default="blackstart.alarm/1", serialization_alias="schema")
    alarm_id: str
    revision: int = Field(ge=1)
    message_id: str
    gateway_id: str
    asset_id: str
    definition: str
    family: Family
    code: str
    severity: Severity
    stage: Stage
    active_state: Active
    acked_state: Acked
    text: str = Field(max_length=TEXT_CHARS_MAX)
    cause: str
    consequence: str
    response: str
    time_to_respond_h: float
    event_time: datetime = Field(description="the measurement in which the condition was first seen")
    detection_time: datetime
    time_source: TimeSource
    time_uncertainty_ms: int = Field(description="how much earlier the event may have been than event_time")
    clock_trusted: bool
    journalled: bool = True
    simulated: bool = False
    finding: Finding
    diagnosis: Diagnosis | None = None
    verdict: Verdict | None = None
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """A new state of an alarm and the message that announces it; committed together, then `accept`ed."""

    alarm: Alarm
    message: Message
    raised: bool = False  # the first revision


class AlarmBook:
    """Standing alarms by (asset, definition); one place decides what a new measurement or answer changes."""

    def __init__(
        self,
        gateway_id: str,
        site: str,
        assets: Iterable[Asset],
        clock: Clock,
        *,
        simulated: bool,
        risk: Mapping[str, float] | None = None,
    ) -> None:
        self._gateway_id = gateway_id
        self._site = site
        self._assets = {asset.id: asset for asset in assets}
        self._clock = clock
        self._simulated = simulated
        self._risk = risk or {}  # asset id → orders alarms of one severity, and never changes a severity
        self._latest: dict[str, Alarm] = {}  # alarm_id → latest revision of every standing or recent alarm
        self._standing: dict[tuple[str, str], str] = {}  # (asset, definition) → alarm_id
        self._turning: dict[str, tuple[Family, int]] = {}  # alarm id → other family seen, for how many measurements
        self._inactive: dict[str, None] = {}  # alarm ids, the one revised last at the end

    def restore(self, alarms: Iterable[Alarm]) -> None:
        """At boot: take over what the journal holds; an active alarm is continued, never raised anew."""
        for alarm in alarms:
            known = self._latest.get(alarm.alarm_id)
            if known is None or known.revision < alarm.revision:
                self._keep(alarm)

    def standing(self) -> list[Alarm]:
        """Alarms that are active, the most severe first, of one severity the asset with the highest risk."""
        alarms = [self._latest[alarm_id] for alarm_id in self._standing.values()]
        return sorted(alarms, key=self._urgency)

    def _urgency(self, alarm: Alarm) -> tuple[float, float, datetime, str]:
        return -alarm.severity, -self._risk.get(alarm.asset_id, 0.0), alarm.event_time, alarm.alarm_id

    def get(self, alarm_id: str) -> Alarm | None:
        """The latest revision of an alarm."""
        return self._latest.get(alarm_id)

    def find(self, asset_id: str, definition: str) -> Alarm | None:
        """The standing alarm of this asset and definition."""
        alarm_id = self._standing.get((asset_id, definition))
        return self._latest[alarm_id] if alarm_id else None

    def judge(self, judgement: Judgement) -> Revision | None:
        """Raise, raise in severity or turn to another fault family, or clear; None where nothing changes."""
        standing = self.find(judgement.asset_id, judgement.definition)
        if judgement.finding is None:
            return self._revise(standing, active_state=Active.INACTIVE) if standing else None
        if standing is None:
            return self._raise(judgement, judgement.finding)
        worse = judgement.finding.severity > standing.severity
        if worse or self._has_turned(standing, judgement.finding.family):
            return self._escalate(standing, judgement, judgement.finding)
        return None

    def diagnose(self, alarm_id: str, diagnosis: Diagnosis, run_id: str) -> Revision | None:
        """Amend an alarm with an investigation's answer; severity is kept or raised, never lowered."""
        alarm = self._latest.get(alarm_id)
        if alarm is None:
            return None
        severity = max(alarm.severity, diagnosis.severity)
        return self._revise(
            alarm,
            stage=Stage.DIAGNOSED,
            severity=severity,
            acked_state=Acked.UNACKNOWLEDGED if severity > alarm.severity else alarm.acked_state,
            time_to_respond_h=DEFINITIONS[alarm.definition].time_to_respond_h[severity],
            diagnosis=diagnosis,
            run_id=run_id,
        )

    def record_verdict(self, alarm_id: str, verdict: Verdict) -> Revision | None:
        """Amend an alarm with what people found."""
        alarm = self._latest.get(alarm_id)
        return self._revise(alarm, stage=Stage.VERDICT, verdict=verdict) if alarm else None

    def _has_turned(self, standing: Alarm, family: Family) -> bool:
        """True once another family than the alarm's has lasted: at a zone's border they alternate."""
        seen, cycles = self._turning.pop(standing.alarm_id, (family, 0))
        cycles = cycles + 1 if seen is family else 1
        if family is standing.family:
            return False
        self._turning[standing.alarm_id] = (family, cycles)
        return cycles >= FAMILY_CYCLES

    def _raise(self, judgement: Judgement, finding: Finding) -> Revision:
        onset = finding.first_time.isoformat()
        identity = f"{self._gateway_id}/{judgement.asset_id}/{judgement.definition}/{onset}"
        alarm_id = str(uuid5(NAMESPACE_URL, identity))
        definition = DEFINITIONS[judgement.definition]
        alarm = Alarm(
            alarm_id=alarm_id,
            revision=1,
            message_id=f"{alarm_id}.1",
            gateway_id=self._gateway_id,
            asset_id=judgement.asset_id,
            definition=definition.name,
            family=finding.family,
            code=finding.code,
            severity=finding.severity,
            stage=Stage.DETECTED,
            active_state=Active.ACTIVE,
            acked_state=Acked.UNACKNOWLEDGED,
            text=self._text(judgement, definition),
            cause=definition.cause,
            consequence=definition.consequence,
            response=definition.response,
            time_to_respond_h=definition.time_to_respond_h[finding.severity],
            event_time=finding.first_time,
            detection_time=self._clock.now(),
            time_source=judgement.time_source,
            time_uncertainty_ms=judgement.time_uncertainty_ms,
            clock_trusted=self._clock.trusted(),
            simulated=self._simulated,
            finding=finding,
        )
        return self._issue(alarm, raised=True)

    def _escalate(self, standing: Alarm, judgement: Judgement, finding: Finding) -> Revision:
        definition = DEFINITIONS[judgement.definition]
        severity = max(standing.severity, finding.severity)
        return self._revise(
            standing,
            severity=severity,
            code=finding.code,
            family=finding.family,
            finding=finding,
            stage=Stage.DETECTED,
            acked_state=Acked.UNACKNOWLEDGED,
            text=self._text(judgement, definition),
            time_to_respond_h=definition.time_to_respond_h[severity],
        )

    def _revise(self, alarm: Alarm, **changes: object) -> Revision:
        revision = alarm.revision + 1
        changes |= {"revision": revision, "message_id": f"{alarm.alarm_id}.{revision}"}
        return self._issue(alarm.model_copy(update=changes))

    def _issue(self, alarm: Alarm, *, raised: bool = False) -> Revision:
        self._keep(alarm)
        return Revision(alarm=alarm, message=self._message(alarm), raised=raised)

    def _keep(self, alarm: Alarm) -> None:
        key = (alarm.asset_id, alarm.definition)
        self._turning.pop(alarm.alarm_id, None)
        self._latest[alarm.alarm_id] = alarm
        if alarm.active_state is Active.ACTIVE:
            self._standing[key] = alarm.alarm_id
            return
        if self._standing.get(key) == alarm.alarm_id:
            del self._standing[key]
        self._inactive.pop(alarm.alarm_id, None)
        self._inactive[alarm.alarm_id] = None
        if len(self._inactive) > INACTIVE_KEPT_MAX:
            oldest = next(iter(self._inactive))
            del self._inactive[oldest], self._latest[oldest]

    def _message(self, alarm: Alarm) -> Message:
        return Message(
            message_id=alarm.message_id,
            topic=f"blackstart/{self._gateway_id}/alarm/{alarm.alarm_id}",
            payload=alarm.model_dump_json(by_alias=True).encode(),
            retain=True,
        )

    def _text(self, judgement: Judgement, definition: AlarmDefinition) -> str:
        """Site, bay, asset, what, value, response; where the line is too short, the site goes first, then the bay."""
        asset = self._assets.get(judgement.asset_id)
        place = [part for part in (self._site, asset.bay if asset else "", judgement.asset_id) if part]
        rest = f"{definition.what} {judgement.value}; {definition.response}"
        while len(place) > 1 and len(" ".join(place)) + len(rest) + 2 > TEXT_CHARS_MAX:
            place.pop(0)
        return f"{' '.join(place)}: {rest}"[:TEXT_CHARS_MAX]
