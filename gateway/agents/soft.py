"""The soft agent: decides which findings deserve an investigation.  No driver, no language model on this path.

A finding passes the gate into a bounded episodic buffer and opens an incident, keyed by asset and fault family.
While one is open, findings of that key attach to it; it is investigated again only on rising severity, and not
more often than every `reinvestigate_after_s`.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid5

from drivers.base import Clock
from gateway.incidents import Incident
from models.asset import Asset
from models.findings import Family, Finding, Severity
from models.memory_gate import EpisodicBuffer, Gate, GateContext, GateDecision

__all__ = ("SoftAgent",)

RELATED_MAX = 16  # findings of the asset that an incident carries along
ALARMS_KEPT_MAX = 1_000  # more than ever stand at once; of the oldest it is forgotten what was considered


@dataclass(slots=True)
class _Known:
    """What was made of one alarm so far."""

    news: tuple[str, Severity] | None = None  # code and severity that were last considered
    covered: dict[Family, Severity] = field(default_factory=dict)  # by an incident, open or closed


class SoftAgent:
    """One question: which incidents are there?"""

    def __init__(
        self, gateway_id: str, assets: Iterable[Asset], clock: Clock, *, buffer_bytes: int, reinvestigate_after_s: float
    ) -> None:
        self._gateway_id = gateway_id
        self._assets = {asset.id: asset for asset in assets}
        self._clock = clock
        self._gate = Gate(frozenset(self._assets))
        self._reinvestigate_after_s = reinvestigate_after_s
        self.buffer = EpisodicBuffer(buffer_bytes)
        self._open: dict[tuple[str, Family], Incident] = {}
        self._opened_ns: dict[tuple[str, Family], int] = {}
        self._known: dict[str, _Known] = {}  # by alarm id, the newest last

    def restore(
        self, findings: Iterable[Finding], incidents: Iterable[Incident], closed: Collection[str] = frozenset()
    ) -> None:
        """At boot: admitted findings fill the buffer; incidents stay open but for those whose id is in `closed`."""
        for finding in findings:
            self.buffer.add(finding)
        for incident in incidents:
            self._cover(incident)
            if incident.id not in closed:
                self._open_up(incident)

    @property
    def open_incidents(self) -> list[Incident]:
        """Incidents under investigation or waiting for a verdict."""
        return list(self._open.values())

    def consider(
        self, finding: Finding, alarm_id: str, *, raised_alarm: bool
    ) -> tuple[GateDecision | None, Incident | None]:
        """Gate a finding that says something new; None where it repeats what is known of its alarm.

        The second part is a new incident to investigate, or None where one is open already.
        """
        key = (finding.asset_id, finding.family)
        news = (finding.code, finding.severity)
        known = self._of(alarm_id)
        deserves = self._deserves(key, finding, known)
        if not (raised_alarm or deserves) and known.news == news:
            return None, None
        known.news = news
        repeats = self.buffer.repeats(finding.asset_id, finding.code)
        context = GateContext(raised_alarm=raised_alarm or deserves, repeats=repeats)
        decision = self._gate.decide(finding, context)
        if not decision.admit:
            return decision, None
        related = self.buffer.context(finding.asset_id)[-RELATED_MAX:]
        self.buffer.add(finding)
        if not deserves:
            return decision, None
        incident = self._incident(finding, alarm_id, related)
        self._cover(incident)
        self._open_up(incident)
        return decision, incident

    def close(self, incident_id: str) -> None:
        """The investigation of this incident ended."""
        for key, incident in list(self._open.items()):
            if incident.id == incident_id:
                del self._open[key]

    def _of(self, alarm_id: str) -> _Known:
        known = self._known.pop(alarm_id, None) or _Known()
        self._known[alarm_id] = known
        if len(self._known) > ALARMS_KEPT_MAX:
            del self._known[next(iter(self._known))]
        return known

    def _deserves(self, key: tuple[str, Family], finding: Finding, known: _Known) -> bool:
        """Whether no incident, open or closed, covers this finding's alarm at its severity."""
        if finding.severity <= known.covered.get(finding.family, Severity.NONE):
            return False
        incident = self._open.get(key)
        if incident is None:
            return True
        if finding.severity <= incident.severity:  # it attaches to the open one
            known.covered[finding.family] = finding.severity
            return False
        since_s = (self._clock.monotonic_ns() - self._opened_ns[key]) / 1e9
        return since_s >= self._reinvestigate_after_s

    def _incident(self, finding: Finding, alarm_id: str, related: tuple[Finding, ...]) -> Incident:
        parts = (self._gateway_id, finding.asset_id, finding.family, alarm_id, str(int(finding.severity)))
        return Incident(
            id=str(uuid5(NAMESPACE_URL, "/".join(parts))),
            asset_id=finding.asset_id,
            family=finding.family,
            severity=finding.severity,
            alarm_id=alarm_id,
            opened_time=self._clock.now(),
            finding=finding,
            nameplate=self._assets[finding.asset_id].nameplate,
            related=related,
        )

    def _cover(self, incident: Incident) -> None:
        known = self._of(incident.alarm_id)
        known.news = (incident.finding.code, incident.severity)
        known.covered[incident.family] = incident.severity

    def _open_up(self, incident: Incident) -> None:
        key = (incident.asset_id, incident.family)
        self._open[key] = incident
        self._opened_ns[key] = self._clock.monotonic_ns()
