"""What the steps of durable workflows may reach: alarms, memory, the reasoning core, the engine itself.

Handed to the engine once, at start; steps ask for it with `services(Desk)`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.alarms import AlarmBook, Revision
from gateway.announce import entries
from gateway.incidents import Incident
from journal.engine import Engine, Entry, Store, emit_entry
from journal.fault_graph import FaultGraph
from models.core import Core

__all__ = ("Desk",)


@dataclass(slots=True)
class Desk:
    """The outside world of an investigation."""

    book: AlarmBook
    core: Core
    graph: FaultGraph
    store: Store
    criticality: Callable[[str], int]  # asset id → rank in the outbox
    episode_seq: Callable[[str], Awaitable[int]]  # episode id → its place in the journal: the graph's transaction time
    incident: Callable[[str], Awaitable[Incident]]  # incident id, which is its run's key → what is investigated
    incident_closed: Callable[[str], None]
    _engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine that runs the workflows; set once, right after it is built with this desk."""
        assert self._engine is not None, "the engine is set before any workflow runs"
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine

    def announce(self, revision: Revision) -> None:
        """Let the alarm's new state and its message commit with the running step's outcome."""
        for entry in self._entries(revision):
            emit_entry(entry)

    async def commit(self, revision: Revision) -> None:
        """The same outside of any step."""
        await self.store.append(self._entries(revision))

    def _entries(self, revision: Revision) -> list[Entry]:
        return entries(revision, self.criticality(revision.alarm.asset_id))
