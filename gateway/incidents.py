"""Incidents: one fault family in one asset, from its first finding to the end of its investigation."""

from datetime import datetime

from pydantic import Field

from drivers.base import Frozen
from models.asset import Nameplate
from models.findings import Family, Finding, Severity

__all__ = ("CloseReason", "Incident")


class CloseReason(Frozen):
    """Why an incident ended; journalled."""

    incident_id: str
    reason: str


class Incident(Frozen):
    """What an investigation starts from; frozen when it opens, so that a replay sees the same."""

    id: str
    asset_id: str
    family: Family
    severity: Severity
    alarm_id: str
    opened_time: datetime
    finding: Finding
    nameplate: Nameplate
    related: tuple[Finding, ...] = Field(default=(), max_length=16, description="other recent findings of the asset")
