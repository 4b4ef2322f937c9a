"""What the journal's boot ladder did, as an alarm: people must know which history is lost."""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

from drivers.base import Clock
from gateway.alarms import Judgement
from journal import RescueNote
from models.findings import Family, Finding, Severity

__all__ = ("rescue_judgements",)


def rescue_judgements(gateway_id: str, notes: Sequence[RescueNote], clock: Clock) -> list[Judgement]:
    """One alarm of the gateway itself while it has rescued; a clean start clears it."""
    if not notes:
        return [Judgement(asset_id=gateway_id, definition="JournalRescued", finding=None)]
    return [_judgement(gateway_id, note, clock) for note in notes]


def _judgement(gateway_id: str, note: RescueNote, clock: Clock) -> Judgement:
    now = clock.now()
    finding = Finding(
        id=str(uuid5(NAMESPACE_URL, f"{gateway_id}/rescue/{note}")),
        asset_id=gateway_id,
        indicator="LPHD.PhyHealth",
        method="boot_ladder",
        code="JournalRescued",
        family=Family.SENSOR,
        severity=Severity.WARNING,
        confidence=1.0,
        first_time=now,
        last_time=now,
        evidence=(),
    )
    return Judgement(asset_id=gateway_id, definition="JournalRescued", finding=finding, value=str(note))
