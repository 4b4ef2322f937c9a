"""What happened, surviving power loss.

`Journal` is the one door (`journal.journal`).  `engine/` is the durable-execution library, liftable: it imports
nothing of ours.  `store` and `writer` hold the only writer of `blackstart.duckdb`; `rescue` opens it at boot, with
`opening` (the rungs), `damage` and `pages` (DuckDB's bytes), `tail` (the row chain) and `mark`; `upkeep` and
`retention` keep it usable for years.  `offline` is for the files while no daemon runs.
`outbox`, `samples` (and `sealed`) and `fault_graph` are built beside them.
"""

from journal.journal import Journal
from journal.mark import MarkValue
from journal.offline import export_files, rescue_files, verify_files
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
    "MarkValue",
    "Outbox",
    "OutboxItem",
    "RescueNote",
    "Retained",
    "RetentionPolicy",
    "SampleLog",
    "Verification",
    "export_files",
    "rescue_files",
    "verify_files",
)
