"""What people do to a run: cancel, retry, rewind, fork, reconcile.  All of it as rows; nothing is ever taken away.

A revision names the step keys whose outcomes no longer count.  From there on the run is replayed by key and argument
hash instead of by place: what still matches keeps its outcome, anything else is done and supersedes.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from journal.engine.codec import decode, encode
from journal.engine.errors import NotRevisable, UnknownRun, WouldRepeat
from journal.engine.history import CANCEL_KEY, History, RunState
from journal.engine.ports import Entry, Kind, Record, Store
from journal.engine.residence import Residents
from journal.engine.run import Core

__all__ = ("Reviser", "failed_leaves", "new_run_id")

# Of run ids; never change it: keys find their runs by it.
_NAMESPACE = uuid.UUID("b1ac57a2-7d1e-5c1a-8f3e-0c0a6f6d2b55")

_RESULTS = (Kind.STEP_DONE, Kind.STEP_FAILED, Kind.WAIT_ANSWERED, Kind.WAIT_EXPIRED)


def new_run_id(store: Store, key: str) -> str:
    """The id of the run that is started with this key."""
    return f"r{store.epoch}-{uuid.uuid5(_NAMESPACE, key).hex}"


def failed_leaves(history: History) -> set[str]:
    """Keys of steps that failed for good, of waits that expired without a default and of timeouts that ended theirs."""
    return {
        key
        for key, (_, outcome) in history.events.items()
        if outcome.kind is Kind.STEP_FAILED
        or (outcome.kind is Kind.WAIT_EXPIRED and not outcome.plain["defaulted"])
        or (key in history.timers and history.asked[key].name == "timeout")
    }


class Reviser:
    """See the module.  One revision at a time: each begins by looking at where the run stands."""

    def __init__(self, core: Core, residents: Residents, dropped: Callable[[str], None]) -> None:
        self._dropped = dropped  # is told of a run that ended without having been in memory
        self._core = core
        self._store = core.store
        self._residents = residents
        self._lock = asyncio.Lock()

    async def cancel(self, run_id: str, by: str, reason: str) -> bool:
        """See Engine.cancel."""
        async with self._residents.held(run_id) as run:
            if run is not None:
                await run.gate.caught_up.wait()
                return await run.cancel(by, reason)
        async with self._lock:
            history, _ = await self._read(run_id)
            if not history.state.held and history.state is not RunState.QUEUED:
                return False
            message = "; ".join(part for part in (f"by {by or 'nobody named'}", reason) if part)
            told = {"error": {"type": "Cancelled", "message": message}}
            await self._store.append([self._row(history, Kind.RUN_CANCELLED, told)])
            self._dropped(run_id)
            return True

    async def retry(self, run_id: str, only: str | Collection[str], by: str) -> None:
        """See Engine.retry."""
        async with self._lock:
            history, _ = await self._read(run_id)
            if history.state in (RunState.RUNNING, RunState.QUEUED):
                raise NotRevisable(f"run {run_id} goes on: cancel or rewind it, or wait for its end")
            leaves = failed_leaves(history) if only == "failed" else set(only)
            unknown = leaves - history.events.keys()
            if unknown:
                raise NotRevisable(f"run {run_id} holds no outcome of {', '.join(sorted(unknown))}")
            voided = leaves | _settlings_over(history, leaves)
            _refuse_repeats(history, voided)
            await self._go_on(history, Kind.RUN_RETRIED, {"voided": sorted(voided), "by": by})

    async def rewind(self, run_id: str, to: str, by: str) -> None:
        """See Engine.rewind."""
        async with self._lock:
            history, _ = await self._read(run_id)
            _refuse_repeats(history, _from(history, to))
            if history.state is RunState.RUNNING:
                await self._residents.expel(run_id)
                history, _ = await self._read(run_id)  # its last steps may have come to an end meanwhile
            voided = _from(history, to)
            _refuse_repeats(history, voided)
            await self._go_on(history, Kind.RUN_REWOUND, {"voided": sorted(voided), "to": to, "by": by})

    async def fork(self, run_id: str, at: str, override: Mapping[str, object], key: str, by: str) -> str:
        """See Engine.fork."""
        async with self._lock:
            found = await self._store.find_run(key)
            if found is not None:
                return found
            history, records = await self._read(run_id)
            beyond = _from(history, at)
            kept = {one for one in history.events if one not in beyond or one in override or one in history.once}
            kept.discard(CANCEL_KEY)
            wrong = [one for one in override if one not in kept or (one in beyond and one != at)]
            if wrong:
                raise NotRevisable(f"run {run_id} holds no outcome of {', '.join(wrong)} up to {at!r}")
            fork_id = new_run_id(self._store, key)
            forked = {"of": run_id, "step": at, "overrides": sorted(override), "by": by}
            entries = [
                *_shared(history, records, kept, override),
                self._row(history, Kind.RUN_FORKED, forked),
            ]
            await self._store.append([replace(one, run_id=fork_id, key=_fork_key(one, key)) for one in entries])
            await self._residents.load([fork_id])
            return fork_id

    async def reconcile(self, run_id: str, step: str, happened: bool, value: object, by: str) -> None:
        """See Engine.reconcile."""
        async with self._lock:
            history, _ = await self._read(run_id)
            if history.state is not RunState.IN_DOUBT or step not in history.begun:
                raise NotRevisable(f"run {run_id} is not in doubt about {step!r}")
            asked = history.asked[step]
            done = Entry(
                kind=Kind.STEP_DONE,
                run_id=run_id,
                key=step,
                name=asked.name,
                arg_hash=asked.arg_hash,
                payload=encode({"value": value, "at": self._core.clock.now()}),
            )
            plain = {"voided": [] if happened else [step], "by": by}
            await self._go_on(history, Kind.RUN_RETRIED, plain, [done] if happened else [])

    async def _go_on(self, history: History, kind: Kind, plain: dict[str, Any], before: Sequence[Entry] = ()) -> None:
        await self._store.append([*before, self._row(history, kind, plain)])
        await self._residents.load([history.run_id])

    async def _read(self, run_id: str) -> tuple[History, list[Record]]:
        records = await self._store.history(run_id)
        history = History.of(run_id, records)
        if not history.started:
            raise UnknownRun(f"no run {run_id!r}")
        return history, records

    def _row(self, history: History, kind: Kind, plain: dict[str, Any]) -> Entry:
        payload = encode(plain | {"at": self._core.clock.now()})
        return Entry(kind=kind, run_id=history.run_id, key=history.key, name=history.workflow, payload=payload)


def _settlings_over(history: History, leaves: set[str]) -> set[str]:
    """Each `settle` and `wait_first` over a branch that holds one of the leaves."""
    return {
        key
        for key, (_, outcome) in history.events.items()
        if outcome.kind is Kind.SETTLE_DONE
        and any(leaf.startswith(f"{path}/") for path in outcome.plain["paths"] for leaf in leaves)
    }


def _from(history: History, step: str) -> set[str]:
    """The step and all whose outcome, or asking without one, was recorded after it."""
    if step not in history.events:
        raise NotRevisable(f"run {history.run_id} holds no outcome of {step!r}")
    first = history.events[step][0]
    later = {key for key, (seq, _) in history.events.items() if seq >= first}
    return later | {key for key, asked in history.asked.items() if key not in history.events and asked.seq > first}


def _refuse_repeats(history: History, voided: set[str]) -> None:
    failed = {key for key in voided if key in history.events and history.events[key][1].kind is Kind.STEP_FAILED}
    repeated = voided & history.once - failed  # one that failed is known not to have begun
    if repeated:
        raise WouldRepeat(tuple(sorted(repeated)))


def _shared(history: History, records: Sequence[Record], kept: set[str], override: Mapping[str, object]) -> list[Entry]:
    """The rows that a fork takes over: its start, and what tells the outcomes that are kept."""
    told: dict[int, str | None] = {history.first_seq: None}
    for key in kept:
        told[history.events[key][0]] = key
        told[history.asked[key].seq] = key
    entries = []
    for record in records:
        if record.seq not in told:
            continue
        whose = told[record.seq]
        entry = Entry(
            kind=record.kind,
            key=record.key,
            name=record.name,
            arg_hash=record.arg_hash,
            payload=record.payload,
        )
        if whose is not None and whose in override and record.seq == history.events[whose][0]:
            entry = _overridden(entry, override[whose])
        entries.append(entry)
    return entries


def _overridden(entry: Entry, value: object) -> Entry:
    if entry.kind not in _RESULTS:
        raise NotRevisable(f"{entry.key!r} has no value that could be another")
    plain = decode(entry.payload)
    if entry.kind in (Kind.WAIT_ANSWERED, Kind.WAIT_EXPIRED):
        payload = encode({"value": value, "by": "fork", "at": plain["at"]})
        return replace(entry, kind=Kind.WAIT_ANSWERED, payload=payload)
    return replace(entry, kind=Kind.STEP_DONE, payload=encode({"value": value, "at": plain["at"]}))


def _fork_key(entry: Entry, key: str) -> str:
    return key if entry.kind.startswith("run.") else entry.key
