"""The durable waits of one run: opened, answered once, or expired.

An answer goes to a wait by its key, or by its bare name to the oldest open wait of that name.  One that comes before
any wait of its name is kept for the first that opens.  Deciding is marked before the commit, under a lock, so that of
many concurrent answers and the deadline exactly one wins.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from journal.engine.codec import convert, decode, encode
from journal.engine.errors import BadAnswer, CodecError, Undecodable
from journal.engine.history import Outcome
from journal.engine.ports import Kind
from journal.engine.replay import Op

if TYPE_CHECKING:
    from journal.engine.run import Run

__all__ = ("Wait", "Waits")

EARLY_MAX = 64  # answers of one run that no wait has asked for yet


@dataclass(slots=True, eq=False, kw_only=True)
class Wait:
    """What a body waits for."""

    name: str
    type_name: str
    shape: TypeAdapter[Any]
    question: str
    timeout: timedelta | None
    fallback: dict[str, Any]  # {value, defaulted}: what an expiry records
    op: Op | None = None
    decided: bool = False


class Waits:
    """See the module."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._open: dict[str, Wait] = {}
        self._early = run.history.early
        self._names_decided = {key.rpartition("/")[2].partition("#")[0] for key in run.history.decided}
        self._lock = asyncio.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """Keys of the open waits."""
        return tuple(self._open)

    def begin(self, wait: Wait, op: Op) -> None:
        """Open the wait, live; one that the journal holds as open goes on with its deadline."""
        wait.op = op
        opened = self._run.history.opened.get(op.key)
        if opened is None:
            self._run.spawn(self._open_wait(wait, op), None, f"{self._run.info.run_id}/{op.key}.open")
        else:
            self._open[op.key] = wait
            self._arm(wait, op, opened)
            self._run.gate.rest(op)

    def leave(self, op: Op) -> None:
        """The body no longer waits."""
        self._open.pop(op.key, None)
        if op.timer is not None:
            op.timer.cancel()

    def close(self) -> None:
        """Forget every deadline."""
        for wait in list(self._open.values()):
            assert wait.op is not None
            self.leave(wait.op)

    async def answer(self, name: str, payload: object, by: str) -> bool:
        """Give the answer; True if it is the one that counts.  Raises BadAnswer; the store's errors pass."""
        async with self._lock:
            wait = self._find(name)
            if wait is None:
                return await self._keep_early(name, payload, by)
            assert wait.op is not None
            try:
                # Read as the store will give it back, so that what validates here validates in every replay.
                value = convert(decode(encode(payload)), wait.shape)
                plain = {"value": value, "by": by}
                entry = self._run.entry(Kind.WAIT_ANSWERED, plain, key=wait.op.key, name=wait.name)
            except CodecError as err:
                raise BadAnswer(f"wait {name!r} takes {wait.type_name}: {err}") from err
            self._decide(wait, wait.op)
            await self._run.commit(wait.op, [entry])
            return True

    def _find(self, name: str) -> Wait | None:
        if "#" in name:
            return self._open.get(name)
        return next((wait for wait in self._open.values() if wait.name == name), None)

    async def _keep_early(self, name: str, payload: object, by: str) -> bool:
        if "#" in name or name in self._early or name in self._names_decided:
            return False
        if len(self._early) >= EARLY_MAX:
            raise BadAnswer(f"run {self._run.info.run_id} holds {EARLY_MAX} answers that it has not asked for")
        try:
            entry = self._run.entry(Kind.WAIT_ANSWERED, {"value": payload, "by": by}, key=name, name=name)
        except CodecError as err:
            raise BadAnswer(f"wait {name!r}: {err}") from err
        self._early[name] = decode(entry.payload)
        await self._run.append([entry])
        return True

    async def _open_wait(self, wait: Wait, op: Op) -> None:
        run = self._run
        if op.abandoned:
            return
        early = self._early.pop(wait.name, None)
        taken = early is not None and _fits(early["value"], wait.shape)
        remaining_s = None if wait.timeout is None else wait.timeout.total_seconds()
        plan = {"remaining_s": None} if remaining_s is None else run.core.timers.plan(remaining_s)
        plain = {
            "question": wait.question,
            "type": wait.type_name,
            "schema": _schema(wait.shape),
            **plan,
            "early": taken,
        }
        entry = run.entry(Kind.WAIT_OPENED, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)
        if early is not None and taken:
            self._names_decided.add(wait.name)
            answer = run.entry(Kind.WAIT_ANSWERED, early, key=op.key, name=wait.name)
            await run.commit(op, [entry, answer], outcome=Outcome(Kind.WAIT_ANSWERED, decode(answer.payload)))
            return
        self._open[op.key] = wait
        self._arm(wait, op, plan)
        await run.append([entry])
        run.gate.rest(op)

    def _arm(self, wait: Wait, op: Op, opened: dict[str, Any]) -> None:
        if opened["remaining_s"] is not None:
            op.timer = self._run.deadline(op.key, opened, self._expirer(wait, op))

    def _expirer(self, wait: Wait, op: Op) -> Callable[[], None]:
        def expire() -> None:
            if not wait.decided:
                self._decide(wait, op)
                entry = self._run.entry(Kind.WAIT_EXPIRED, wait.fallback, key=op.key, name=wait.name)
                self._run.spawn(self._run.commit(op, [entry]), None, f"{self._run.info.run_id}/{op.key}.expire")

        return expire

    def _decide(self, wait: Wait, op: Op) -> None:
        wait.decided = True
        self._names_decided.add(wait.name)
        self.leave(op)


def _fits(plain: object, shape: TypeAdapter[Any]) -> bool:
    try:
        convert(plain, shape)
    except Undecodable:
        return False
    return True


def _schema(shape: TypeAdapter[Any]) -> dict[str, Any] | None:
    from pydantic import PydanticInvalidForJsonSchema  # noqa: PLC0415

    try:
        return shape.json_schema()
    except PydanticInvalidForJsonSchema:
        return None
