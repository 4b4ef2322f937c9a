"""One step, live: attempts, deadline, effect class, and the commit of its outcome with what it emitted.

The body runs in a task of its own outside the run's scopes, so that cancelling a branch is seen by the workflow at
once, as in replay, while the body still cleans up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from journal.engine.codec import convert, decode
from journal.engine.errors import CodecError
from journal.engine.identity import StepFrame
from journal.engine.ports import Entry, Kind
from journal.engine.replay import Op
from journal.engine.run import Run

__all__ = ("Backoff", "Effect", "StepSpec", "begin_step", "left_while_begun")

RETRIES_MAX = 100  # a step that fails a hundred times needs a person
BACKOFF_S_MAX = 86_400.0  # a pause of a day; what needs longer is a schedule
BACKOFF_FACTOR_MAX = 10.0

_INTERRUPTED = {"type": "Interrupted", "message": "the process ended while the step ran"}

_log = logging.getLogger(__name__)


class Effect(StrEnum):
    """What it means to run a step's body twice."""

    PURE = "PURE"  # nothing: it may run again
    IDEMPOTENT = "IDEMPOTENT"  # the outside drops repetitions by `idempotency_key()`
    AT_MOST_ONCE = "AT_MOST_ONCE"  # harm: never again once begun; an unknown outcome is IN_DOUBT


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between the tries of a step: `first_s`, then `factor` times the one before, at most `most_s`, in seconds.

    Raises ValueError for a pause above a day, a factor outside 1 to 10, or a first pause above the longest.
    """

    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.first_s <= self.most_s <= BACKOFF_S_MAX or not 1 <= self.factor <= BACKOFF_FACTOR_MAX:
            raise ValueError(
                f"{self}: needs 0 <= first_s <= most_s <= {BACKOFF_S_MAX:g} and 1 <= factor <= {BACKOFF_FACTOR_MAX:g}"
            )

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait behind the n-th attempt, from 1."""
        return float(min(self.most_s, self.first_s * self.factor ** (attempt - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """A checkpoint's declaration.  Raises ValueError where the parts do not go together."""

    name: str
    effect: Effect
    retries: int
    timeout_s: float | None
    backoff: Backoff = Backoff()

    def __post_init__(self) -> None:
        if "/" in self.name or "#" in self.name:
            raise ValueError(f"step name {self.name!r}: '/' and '#' are for keys")
        if not 0 <= self.retries <= RETRIES_MAX:
            raise ValueError(f"step {self.name}: retries must be 0 to {RETRIES_MAX}, not {self.retries}")
        if self.effect is Effect.AT_MOST_ONCE and self.retries:
            raise ValueError(f"step {self.name}: AT_MOST_ONCE cannot have retries; declare it IDEMPOTENT or retries=0")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(f"step {self.name}: timeout_s must be above 0, not {self.timeout_s}")


def begin_step(run: Run, spec: StepSpec, shape: TypeAdapter[Any], body: Callable[[], Awaitable[Any]], op: Op) -> None:
    """Start the step, live."""
    run.spawn(_run_step(run, op, spec, shape, body), None, f"{run.info.run_id}/{op.key}.runner")


def left_while_begun(run: Run, op: Op) -> None:
    """The branch was cancelled in replay while the journal holds a start without an outcome: nobody knows."""
    if not run.gate.live and op.key in run.history.begun:
        run.spawn(run.doubt(op, _INTERRUPTED), None, f"{run.info.run_id}/{op.key}.doubt")


async def _run_step(
    run: Run, op: Op, spec: StepSpec, shape: TypeAdapter[Any], body: Callable[[], Awaitable[Any]]
) -> None:
    """Bring the step to an outcome and commit it; without one only where the branch left or the run is stopped."""
    at_most_once = spec.effect is Effect.AT_MOST_ONCE
    if at_most_once:
        if op.key in run.history.begun:
            await run.doubt(op, _INTERRUPTED)
            return
        await run.append([_entry(run, op, Kind.STEP_STARTED, {})])
    failures = run.history.attempts.get(op.key, [])
    if failures:
        await _back_off(run, op, failures[-1])
    for attempt in range(len(failures) + 1, spec.retries + 2):
        if op.abandoned and not at_most_once:
            return
        error = await _attempt(run, op, spec, shape, body)
        if error is None or (op.abandoned and not at_most_once):
            return
        if at_most_once and not isinstance(error, run.core.not_started):
            await run.doubt(op, _data(error))
            return
        final = attempt > spec.retries or isinstance(error, CodecError)
        if final:
            _log.warning("run %s: step %s failed for good", run.info.run_id, op.key, exc_info=error)
        pause_s = None if final else spec.backoff.pause_s(attempt)
        await _record_failure(run, op, error, attempt, pause_s, exhausted=final and spec.retries > 0)
        if final:
            return


async def _attempt(
    run: Run, op: Op, spec: StepSpec, shape: TypeAdapter[Any], body: Callable[[], Awaitable[Any]]
) -> BaseException | None:
    """Run the body once and commit its value; returns what went wrong, None for nothing."""
    frame = StepFrame(run.info, op.key, run.core.services, run.core.clock)
    if op.abandoned:
        return asyncio.CancelledError("the branch was cancelled before the body began")
    run.core.observer.step_started(run.info.run_id, op.key)
    begun_ns = run.core.clock.monotonic_ns()
    task = run.spawn(_call(body), frame, f"{run.info.run_id}/{op.key}", guard=False)
    overdue = False

    def expire() -> None:
        nonlocal overdue
        overdue = True
        task.cancel()

    timer = None if spec.timeout_s is None else run.core.timers.after(spec.timeout_s, expire)
    op.interrupt = task.cancel
    await asyncio.wait({task})
    op.interrupt = None
    if timer is not None:
        timer.cancel()
    if task.cancelled():
        if overdue:
            return TimeoutError(f"no outcome within {spec.timeout_s} s")
        return asyncio.CancelledError("the body was cancelled")
    error = task.exception()
    if error is not None:
        return error
    took_s = (run.core.clock.monotonic_ns() - begun_ns) / 1e9
    return await _record_value(run, op, shape, {"value": task.result(), "took_s": took_s}, frame.emitted)


async def _call(body: Callable[[], Awaitable[Any]]) -> Any:
    return await body()


async def _record_value(
    run: Run, op: Op, shape: TypeAdapter[Any], plain: dict[str, Any], emitted: list[Entry]
) -> CodecError | None:
    try:
        entry = _entry(run, op, Kind.STEP_DONE, plain)
        convert(decode(entry.payload)["value"], shape)  # what replay could not read must not be recorded as done
    except CodecError as err:
        return err
    await run.commit(op, [entry, *emitted], on_durable=run.core.observer.step_committed)
    return None


async def _record_failure(
    run: Run, op: Op, error: BaseException, attempt: int, pause_s: float | None, *, exhausted: bool
) -> None:
    """Final where no pause follows; else the pause, and with it the next attempt, is part of the row."""
    final = pause_s is None
    plain: dict[str, Any] = {"error": _data(error), "attempt": attempt, "final": final, "exhausted": exhausted}
    if pause_s is None:
        await run.commit(op, [_entry(run, op, Kind.STEP_FAILED, plain)], on_durable=run.core.observer.step_committed)
        return
    plan = run.core.timers.plan(pause_s)
    await run.append([_entry(run, op, Kind.STEP_FAILED, plain | plan)])
    await _back_off(run, op, plan)


async def _back_off(run: Run, op: Op, plan: dict[str, Any]) -> None:
    """Wait for the next attempt; shorter only where the branch leaves."""
    if op.abandoned:
        return
    due = asyncio.Event()
    timer = run.core.timers.restore(plan, due.set)
    op.interrupt = due.set
    try:
        await due.wait()
    finally:
        timer.cancel()
        op.interrupt = None


def _entry(run: Run, op: Op, kind: Kind, plain: dict[str, Any]) -> Entry:
    return run.entry(kind, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)


def _data(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": str(error)}
