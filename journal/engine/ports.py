"""What the engine needs from outside: a store that keeps entries and a clock.  Both can be simulated.

An entry is one immutable row.  The engine writes the kinds in `Kind`; steps may add entries of other kinds
with `emit`, and those commit together with the step's outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ("Clock", "Entry", "OpenRun", "Record", "Store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row to append.  `payload` is already encoded by `codec`; `name` and `key` are plain text."""

    kind: str  # for example run.started, step.done, wait.answered, alarm, outbox.queued
    run_id: str = ""  # empty outside a run
    key: str = ""  # step key within the run, alarm id, message id …
    name: str = ""  # step or workflow name, topic …
    arg_hash: str = ""
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Entry):
    """An entry that the store has accepted."""

    seq: int
    epoch: int
    wall: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """What memory holds for a run that has not ended."""

    run_id: str
    workflow: str
    first_seq: int
    last_seq: int


class Store(Protocol):
    """An append-only log.  All methods may be called from one event loop."""

    @property
    def epoch(self) -> int:
        """Raised by one at each rescue; part of every id."""
        ...

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit the entries as one unit and return their sequence numbers once they are durable.

        Raises drivers-independent OSError or a store error of its own when the commit failed; then none is kept.
        """
        ...

    async def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        ...

    async def open_runs(self) -> list[OpenRun]:
        """Runs that were started and have not ended, in the order of their start."""
        ...

    async def find_run(self, key: str) -> str | None:
        """The run that was started with this idempotency key, if any."""
        ...


class Clock(Protocol):
    """The engine's only source of time."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back within one boot."""
        ...

    def trusted(self) -> bool:
        """True when wall time is synchronised."""
        ...
