"""The soft agent: decides which findings deserve an investigation.  No driver, no language model on this path.

A finding passes the gate into a bounded episodic buffer and opens an incident, keyed by asset and fault family.
While one is open, findings of that key attach to it; it is investigated again only on rising severity, and not
more often than every `reinvestigate_after_s`.
"""

from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

from drivers.base import Clock
from gateway.incidents import Incident
from models.asset import Asset
from models.findings import Family, Finding, Severity
from models.memory_gate import EpisodicBuffer, Gate, GateContext, GateDecision

__all__ = ("SoftAgent",)

RELATED_MAX = 16  # findings of the asset that an incident carries along


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
        self._seen: dict[str, tuple[str, Severity]] = {}  # alarm id → what was last considered

    def restore(self, findings: Iterable[Finding], incidents: Iterable[Incident]) -> None:
        """At boot: admitted findings fill the buffer, incidents whose investigation has not ended stay open."""
        for finding in findings:
            self.buffer.add(finding)
        for incident in incidents:
            self._remember(incident)

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
        deserves = self._deserves(key, finding)
        if not (raised_alarm or deserves) and self._seen.get(alarm_id) == news:
            return None, None
        self._seen[alarm_id] = news
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
        self._remember(incident)
        return decision, incident

    def close(self, incident_id: str) -> None:
        """The investigation of this incident ended."""
        for key, incident in list(self._open.items()):
            if incident.id == incident_id:
                del self._open[key]

    def _deserves(self, key: tuple[str, Family], finding: Finding) -> bool:
        incident = self._open.get(key)
        if incident is None:
            return True
        since_s = (self._clock.monotonic_ns() - self._opened_ns[key]) / 1e9
        return finding.severity > incident.severity and since_s >= self._reinvestigate_after_s

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

    def _remember(self, incident: Incident) -> None:
        key = (incident.asset_id, incident.family)
        self._open[key] = incident
        self._opened_ns[key] = self._clock.monotonic_ns()
