"""Child workflows: a run of its own that another run waits for, by a recorded id.

The child's start commits together with the parent's row.  While it waits the parent may leave memory; the child's end
brings it back.  A parent that is cancelled, or whose branch is, cancels the child; one that ends cancels what it left.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from journal.engine.codec import arguments_hash, convert
from journal.engine.declare import Branch, Workflow, run_of, submit
from journal.engine.errors import StepFailed
from journal.engine.history import History, RunState
from journal.engine.identity import scope_of
from journal.engine.ports import Entry, Kind
from journal.engine.replay import Op
from journal.engine.residence import Residents
from journal.engine.revise import Reviser, new_run_id
from journal.engine.run import Run

__all__ = ("Children", "start_child", "submit_child")

R = TypeVar("R")


async def start_child(workflow: Workflow[Any, R], *args: object) -> R:
    """Start a run of `workflow` and wait for its value; StepFailed where it failed or was cancelled.

    A child that is held for a person keeps its parent waiting.
    """
    scope = scope_of(f"start_child({workflow.name!r})")
    run = run_of(scope)
    arg_hash = arguments_hash(workflow.signature, args, {})
    children = run.core.children
    assert isinstance(children, Children)
    outcome = await run.perform(
        scope,
        workflow.name,
        arg_hash,
        functools.partial(children.begin, run, workflow, args),
        on_abandon=functools.partial(children.leave, run),
    )
    if outcome.kind is Kind.STEP_FAILED:
        error = outcome.plain["error"]
        raise StepFailed(workflow.name, error["type"], error["message"])
    value: R = convert(outcome.plain["value"], workflow.result)
    return value


def submit_child(workflow: Workflow[Any, R], *args: object, label: str | None = None) -> Branch[R]:
    """As `start_child`, as a branch of its own, named `label` or `t<n>`."""
    return submit(start_child(workflow, *args), f"submit_child({workflow.name!r})", label)


class Children:
    """Of all runs of one engine."""

    def __init__(
        self,
        residents: Residents,
        reviser: Reviser,
        register: Callable[[Workflow[Any, Any]], None],
        begin_run: Callable[[Workflow[Any, Any], tuple[object, ...], str, str], tuple[Entry, History]],
    ) -> None:
        self._residents = residents
        self._reviser = reviser
        self._register = register
        self._begin_run = begin_run
        self._waiting: dict[str, tuple[Run, Op]] = {}  # by child: who waits for it in memory
        self._parents: dict[str, str] = {}  # by child: the run that waits for it, in memory or parked

    def begin(self, run: Run, workflow: Workflow[Any, Any], args: tuple[object, ...], op: Op) -> None:
        """Start the child, or wait for the one that the journal names."""
        self._register(workflow)
        known = run.history.children.get(op.key)
        work = self._start(run, workflow, args, op) if known is None else self._watch(run, op, known)
        run.spawn(work, None, f"{run.info.run_id}/{op.key}.child")

    def leave(self, run: Run, op: Op) -> None:
        """The body no longer waits: cancel the child, unless the parent only leaves memory or is held."""
        child = next((one for one, (_, waiting) in self._waiting.items() if waiting is op), None)
        child = child or run.history.children.get(op.key)
        if child is None or run.gate.dry:
            return
        self._waiting.pop(child, None)
        if not run.leaves_for_now:
            self._parents.pop(child, None)
            self._residents.spawn(self._cancel(run, child), f"{child}.cancel")

    def ended(self, child: str) -> None:
        """A run is over: whoever waits for it goes on."""
        parent = self._parents.pop(child, None)
        waiting = self._waiting.get(child)
        if waiting is not None and not waiting[0].leaving:
            run, op = waiting
            run.spawn(self._watch(run, op, child), None, f"{run.info.run_id}/{op.key}.child")
        elif parent is not None:
            self._residents.wake(parent)

    async def _start(self, run: Run, workflow: Workflow[Any, Any], args: tuple[object, ...], op: Op) -> None:
        await workflow.read_source()
        store = run.core.store
        key = f"{run.info.run_id}/{op.key}/{op.arg_hash[:8]}"
        child = await store.find_run(key)
        row = functools.partial(run.entry, Kind.CHILD_STARTED, key=op.key, name=op.name, arg_hash=op.arg_hash)
        if child is not None:  # of a retried parent
            await run.append([row({"child": child})])
            if (await self._history(run, child)).state in (RunState.FAILED, RunState.CANCELLED):
                await self._reviser.retry(child, "failed", f"run {run.info.run_id}")
        else:
            child = new_run_id(store, key)
            entry, history = self._begin_run(workflow, args, key, child)
            await run.append([row({"child": child}), entry])
            self._residents.launch(history)
        if op.abandoned:
            await self._cancel(run, child)
            return
        await self._watch(run, op, child)

    async def _watch(self, run: Run, op: Op, child: str) -> None:
        self._waiting[child] = (run, op)
        self._parents[child] = run.info.run_id
        history = await self._history(run, child)
        if history.state not in (RunState.DONE, RunState.FAILED, RunState.CANCELLED):
            if history.state is RunState.RUNNING and child not in self._residents:
                await self._residents.load([child])
            run.gate.rest(op)
            return
        if self._waiting.pop(child, None) is None:
            return  # told already
        self._parents.pop(child, None)
        kind, plain = Kind.STEP_DONE, {"value": history.ending.get("value")}
        if history.state is not RunState.DONE:
            kind = Kind.STEP_FAILED
            plain = {"error": history.ending["error"], "attempt": 1, "final": True, "exhausted": False}
        await run.commit(op, [run.entry(kind, plain, key=op.key, name=op.name, arg_hash=op.arg_hash)])

    async def _cancel(self, run: Run, child: str) -> None:
        await self._reviser.cancel(child, f"run {run.info.run_id}", "its parent no longer waits for it")

    async def _history(self, run: Run, child: str) -> History:
        return History.of(child, await run.core.store.history(child))
