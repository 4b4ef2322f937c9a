"""An alarm's new state and its message as journal entries that commit together: never one without the other."""

from gateway.alarms import Revision
from journal import Outbox
from journal.engine import Entry, encode

__all__ = ("entries",)


def entries(revision: Revision, criticality: int) -> list[Entry]:
    """What to append, or to emit from a step; `criticality` ranks the message in the outbox, 5 first."""
    alarm = revision.alarm
    return [
        Entry(kind="alarm", key=alarm.alarm_id, name=alarm.definition, payload=encode(alarm)),
        Outbox.entry(revision.message, asset_id=alarm.asset_id, criticality=criticality),
    ]
