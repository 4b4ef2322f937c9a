"""What happened, surviving power loss.

`Journal` is the one door (`journal.journal`).  `engine/` is the durable-execution library, liftable: it imports
nothing of ours.  `store` and `writer` hold the only writer of `blackstart.duckdb`, `rescue` opens it at boot,
`outbox`, `samples` and `fault_graph` are built beside them.
"""

from journal.journal import Journal
from journal.outbox import Outbox, OutboxItem
from journal.reader import Verification
from journal.rescue import RescueNote
from journal.retention import RetentionPolicy
from journal.samples import SampleLog
from journal.store import DuckStore
from journal.upkeep import Retained
from journal.writer import Limits

__all__ = (
    "DuckStore",
    "Journal",
    "Limits",
    "Outbox",
    "OutboxItem",
    "RescueNote",
    "Retained",
    "RetentionPolicy",
    "SampleLog",
    "Verification",
)
