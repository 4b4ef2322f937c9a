"""A Store in memory, for tests of workflows: the real one's twin, with crashes where the test wants them.

Faults that may happen: one append fails at a chosen call, either before anything was kept or after everything was
(the acknowledgement is lost); from then on the store is dead, as the process would be.  Faults that do not happen
here: a torn append, a wrong order, a bit flip; the real store's own tests cover those.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from journal.engine.ports import Clock, Entry, Kind, OpenRun, Record

__all__ = ("MemoryStore", "SimulatedCrash")

_ENDS = (Kind.RUN_DONE, Kind.RUN_FAILED, Kind.RUN_CANCELLED)


class SimulatedCrash(OSError):
    """The store is gone, as if the power were."""


class MemoryStore:
    """An append-only list.  `crash_at` is the number of the append call (from 1) that fails."""

    def __init__(
        self,
        clock: Clock,
        *,
        records: Sequence[Record] = (),
        epoch: int = 1,
        crash_at: int | None = None,
        keep_at_crash: bool = False,
    ) -> None:
        self.records: list[Record] = []
        self._by_run: dict[str, list[Record]] = {}
        self._by_key: dict[str, str] = {}
        self._index(records)
        self.appends = 0
        self._clock = clock
        self._epoch = epoch
        self._crash_at = crash_at
        self._keep_at_crash = keep_at_crash
        self.dead = False

    @property
    def epoch(self) -> int:
        """See Store."""
        return self._epoch

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """See Store.  Raises SimulatedCrash at the chosen call and after it."""
        if self.dead:
            raise SimulatedCrash("the store is gone")
        self.appends += 1
        self.dead = self.appends == self._crash_at
        seqs = self._keep(entries, self._clock.now()) if self._keep_at_crash or not self.dead else []
        await asyncio.sleep(0)  # as a real flush, the answer comes later than the call
        if self.appends == self._crash_at and not seqs:
            raise SimulatedCrash("the append failed")
        if self.dead:
            raise SimulatedCrash("the acknowledgement was lost")
        return seqs

    async def history(self, run_id: str) -> list[Record]:
        """See Store."""
        return list(self._by_run.get(run_id, ()))

    async def histories(self, run_ids: Sequence[str]) -> dict[str, list[Record]]:
        """See Store."""
        return {one: list(self._by_run[one]) for one in run_ids if one in self._by_run}

    async def latest(self, kind: str, *, limit: int) -> list[Record]:
        """See Store."""
        newest = {record.key: record for record in self.records if record.kind == kind}
        return sorted(newest.values(), key=lambda record: record.seq)[-limit:]

    async def open_runs(self) -> list[OpenRun]:
        """See Store."""
        newest = {record.run_id: record.kind for record in self.records if record.kind.startswith("run.")}
        last = {record.run_id: record.seq for record in self.records}
        return [
            OpenRun(run_id=one.run_id, workflow=one.name, first_seq=one.seq, last_seq=last[one.run_id])
            for one in self.records
            if one.kind == Kind.RUN_STARTED and newest[one.run_id] not in _ENDS
        ]

    async def find_run(self, key: str) -> str | None:
        """See Store."""
        return self._by_key.get(key)

    def _keep(self, entries: Sequence[Entry], wall: datetime) -> list[int]:
        first = len(self.records) + 1
        kept = [
            Record(
                kind=entry.kind,
                run_id=entry.run_id,
                key=entry.key,
                name=entry.name,
                arg_hash=entry.arg_hash,
                payload=entry.payload,
                seq=first + index,
                epoch=self._epoch,
                wall=wall,
            )
            for index, entry in enumerate(entries)
        ]
        self._index(kept)
        return [record.seq for record in kept]

    def _index(self, records: Sequence[Record]) -> None:
        for record in records:
            self.records.append(record)
            if record.run_id:
                self._by_run.setdefault(record.run_id, []).append(record)
            if record.kind == Kind.RUN_STARTED:
                self._by_key.setdefault(record.key, record.run_id)
