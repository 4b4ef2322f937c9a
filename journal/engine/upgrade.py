"""New code under open runs: whether a run's record still replays, tried without writing a row."""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from journal.engine.declare import Workflow
from journal.engine.errors import Undecodable
from journal.engine.history import History, RunState
from journal.engine.ports import Entry, Kind, Record
from journal.engine.replay import Op
from journal.engine.run import Core, Ending, Run

__all__ = ("Incompatible", "Upgrades", "dry_replay")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incompatible:
    """An open run that the code of today cannot take further."""

    run_id: str
    workflow: str
    reason: str


async def dry_replay(core: Core, history: History, body: Callable[..., Any], read: Callable[..., list[Any]]) -> str:
    """Replay the record up to its end and stop there; why it does not fit, or nothing.

    Nothing is written, no step runs.  `history` is used up.
    """
    try:
        program = functools.partial(body, *read(history.started["args"]))
    except Undecodable as err:
        return f"the recorded arguments do not fit: {err}"
    run = _DryRun(replace(core, ended=lambda _: None, store=_Refusing(core.store)), history, program)
    run.start()
    await run.gate.caught_up.wait()
    run.close()
    await run.gone()
    return run.trouble


class Upgrades:
    """Which open runs today's code can take further."""

    def __init__(self, core: Core, find: Callable[[History], Workflow[Any, Any] | None]) -> None:
        self._core = core
        self._find = find
        self.held: dict[str, Incompatible] = {}  # open in the journal, and not taken up

    async def fits(self, history: History, records: Sequence[Record]) -> bool:
        """True where the run may go on; with changed code only once its record has been replayed dry."""
        workflow = self._find(history)
        self.held.pop(history.run_id, None)
        if workflow is None:
            return True
        await workflow.read_source()
        if history.started.get("code", workflow.code) == workflow.code:
            return True
        reason = await self._misfit(workflow, records)
        if reason:
            _log.error("run %s is held, its record does not fit the changed code: %s", history.run_id, reason)
            self.held[history.run_id] = _incompatible(history, reason)
        return not reason

    async def check(self) -> list[Incompatible]:
        """Open runs that do not fit, whether their code changed or not."""
        found = []
        for one in await self._core.store.open_runs():
            records = await self._core.store.history(one.run_id)
            history = History.of(one.run_id, records)
            workflow = self._find(history)
            reason = "no version of its workflow that may take it is registered"
            if workflow is not None:
                reason = await self._misfit(workflow, records)
            if history.state is RunState.NONDETERMINISTIC:
                reason = reason or history.ending["error"]["message"]
            if reason:
                found.append(_incompatible(history, reason))
        return found

    async def _misfit(self, workflow: Workflow[Any, Any], records: Sequence[Record]) -> str:
        history = History.of(records[0].run_id, records)
        return await dry_replay(self._core, history, workflow.body, workflow.read_arguments)


def _incompatible(history: History, reason: str) -> Incompatible:
    return Incompatible(run_id=history.run_id, workflow=history.workflow, reason=reason)


class _DryRun(Run):
    """A run that ends where its record ends."""

    def __init__(self, core: Core, history: History, program: Callable[[], Any]) -> None:
        super().__init__(core, history, program)
        self.gate.dry = True
        self.trouble = ""

    def _stop(self, ending: Ending) -> None:
        if ending.kind in (Kind.RUN_NONDETERMINISTIC, Kind.RUN_PAUSED) and not self.leaving:
            told = ending.plain["error"]
            self.trouble = told["message"] if told["type"] in ("Nondeterministic", "WouldRepeat") else ""
        super()._stop(replace(ending, kind=None))

    async def doubt(self, op: Op, error: dict[str, str]) -> None:
        """A branch that was left while its step had begun: no matter here."""


class _Refusing:
    """The store, for reading."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Never."""
        raise AssertionError(f"a dry replay writes {entries[0].kind}")
