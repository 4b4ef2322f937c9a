"""What the control socket answers about runs, and what people may do to them: retry, fork, rewind, cancel, check."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from drivers.errors import BadInput
from gateway.control import Handlers
from gateway.desk import Desk
from journal import Journal
from journal.engine import EngineError, Entry, UnknownRun

__all__ = ("RunViews",)

ROWS_MAX = 500

Question = Mapping[str, Any]


class RunViews:
    """Questions and orders about single runs."""

    def __init__(self, journal: Journal, desk: Desk) -> None:
        self._journal = journal
        self._desk = desk

    def handlers(self) -> Handlers:
        """Question → answer; what the engine refuses is the asker's mistake, in the engine's own words."""
        named: dict[str, Callable[[Question], Awaitable[Any]]] = {
            "run": self.run,
            "run_rows": self.rows,
            "run_retry": self.retry,
            "run_fork": self.fork,
            "run_rewind": self.rewind,
            "run_cancel": self.cancel,
            "runs_check": self.check,
            "clock_confirm": self.confirm_clock,
        }
        return {name: _translated(handler) for name, handler in named.items()}

    async def run(self, question: Question) -> dict[str, Any]:
        """One run with its steps and waits."""
        run_id = _text(question, "run_id")
        run = await self._desk.engine.run(run_id)
        steps = await self._desk.engine.steps(run_id)
        return asdict(run) | {"steps": [asdict(step) for step in steps[:ROWS_MAX]]}

    async def rows(self, question: Question) -> list[dict[str, Any]]:
        """A run's rows behind a sequence number, oldest first."""
        after_seq = question.get("after_seq", 0)
        if not isinstance(after_seq, int):
            raise BadInput(f"after_seq is {after_seq!r}; it is a whole number")
        records = await self._journal.store.history(_text(question, "run_id"))
        found = [record for record in records if record.seq > after_seq][:ROWS_MAX]
        return [{"seq": one.seq, "wall": one.wall, "kind": one.kind, "key": one.key, "name": one.name} for one in found]

    async def retry(self, question: Question) -> str:
        """Let a failed or held run go on."""
        run_id = _text(question, "run_id")
        await self._desk.engine.retry(run_id, by=_text(question, "by"))
        return f"run {run_id} goes on; its failed steps are done again"

    async def fork(self, question: Question) -> str:
        """A new run that shares the past of another."""
        run_id, at = _text(question, "run_id"), _text(question, "at")
        override = question.get("override", {})
        if not isinstance(override, dict):
            raise BadInput(f"override is {override!r}; it is a table of step keys and values")
        fork = await self._desk.engine.fork(run_id, at, override, by=_text(question, "by"))
        return f"run {fork} shares what run {run_id} recorded before {at}"

    async def rewind(self, question: Question) -> str:
        """Take back what was recorded from a step on."""
        run_id, to = _text(question, "run_id"), _text(question, "to")
        await self._desk.engine.rewind(run_id, to, by=_text(question, "by"))
        return f"run {run_id} goes on from {to}"

    async def cancel(self, question: Question) -> str:
        """End a run, with its clean-up."""
        run_id = _text(question, "run_id")
        told = await self._desk.engine.cancel(run_id, by=_text(question, "by"), reason=str(question.get("reason", "")))
        return f"run {run_id} cleans up and ends" if told else f"run {run_id} has ended, or was cancelled before"

    async def check(self, _: Question) -> list[dict[str, Any]]:
        """Open runs that the code of this daemon cannot take further."""
        return [asdict(one) for one in (await self._desk.engine.check())[:ROWS_MAX]]

    async def confirm_clock(self, question: Question) -> str:
        """A person says that the wall clock is right, after it had stepped: deadlines go by it again."""
        by = _text(question, "by")
        await self._journal.store.append([Entry(kind="clock.confirmed", name=by[:64])])
        await self._desk.engine.confirm_clock()
        return "the wall clock is taken for right again"


def _translated(handler: Callable[[Question], Awaitable[Any]]) -> Callable[[Question], Awaitable[Any]]:
    async def answer(question: Question) -> Any:
        try:
            return await handler(question)
        except UnknownRun as err:
            raise BadInput(f"no run {question.get('run_id')!r}; see `blackstart runs list`") from err
        except EngineError as err:
            raise BadInput(str(err)) from err

    return answer


def _text(question: Question, name: str) -> str:
    value = question.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(f"{name} is {value!r}; it is a text")
    return value
