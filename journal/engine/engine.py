"""The engine: starts runs, brings open ones back at boot, takes answers, shows where things stand.

One per process and journal.  It knows time and storage only through `ports`.
"""

import asyncio
import logging
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from journal.engine.children import Children
from journal.engine.codec import arguments_hash, convert, decode, encode
from journal.engine.declare import Workflow
from journal.engine.errors import (
    EngineClosed,
    EngineError,
    InDoubt,
    Nondeterministic,
    NotStarted,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunQuarantined,
    RunStopped,
    UnknownRun,
)
from journal.engine.history import History, RunState, RunView, StepView
from journal.engine.identity import BranchFactory, Scope, here
from journal.engine.lives import Lives
from journal.engine.ports import Clock, Entry, Kind, StepObserver, Store
from journal.engine.queues import Queue, Queues
from journal.engine.residence import Residents
from journal.engine.revise import Reviser, new_run_id
from journal.engine.run import Core, Parked, Run
from journal.engine.schedules import Schedule, Schedules
from journal.engine.timers import Timers
from journal.engine.upgrade import Incompatible, Upgrades

__all__ = ("Engine",)

CLEANUP_S = 60.0  # a cancelled run that is not done with cleaning up by then is ended as it is
PARK_ABOVE_S = 5.0  # replaying a run costs about a millisecond; not worth it for a shorter wait

_STOPPED: dict[RunState, type[RunStopped]] = {
    RunState.FAILED: RunFailed,
    RunState.CANCELLED: RunCancelled,
    RunState.PAUSED: RunPaused,
    RunState.QUARANTINED: RunQuarantined,
    RunState.IN_DOUBT: InDoubt,
    RunState.NONDETERMINISTIC: Nondeterministic,
}

_log = logging.getLogger(__name__)


class _Nobody:
    def step_started(self, run_id: str, step_key: str) -> None:
        pass

    def step_committed(self, run_id: str, step_key: str) -> None:
        pass


class Engine:
    """Durable workflows on one event loop.

    A run that waits for more than `park_above_s` seconds leaves memory until it goes on.  `boot_id` names the
    boot of the machine, so that a crash can be told from a power cut.  `services` is what steps get from
    `services(T)`; errors of the types `not_started` in an AT_MOST_ONCE step are taken as plain failures.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        services: object = None,
        observer: StepObserver | None = None,
        not_started: tuple[type[BaseException], ...] = (),
        park_above_s: float = PARK_ABOVE_S,
        cleanup_s: float = CLEANUP_S,
        boot_id: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._timers = Timers(clock)
        self._lives = Lives(store, clock, self._timers, boot_id)
        self._core = Core(
            store=store,
            clock=clock,
            timers=self._timers,
            services=services,
            observer=observer or _Nobody(),
            not_started=(NotStarted, *not_started),
            cleanup_s=cleanup_s,
            park_above_s=park_above_s,
            ended=self._left,
            deaths_since=self._lives.deaths_since,
        )
        self._upgrades = Upgrades(self._core, self._find)
        self._residents = Residents(
            self._core, self._find, fits=self._upgrades.fits, queued=self._take_queued, entered=self._enter_queue
        )
        self._queues = Queues(self._core, self._residents, self._expire)
        self._reviser = Reviser(self._core, self._residents, self._drop)
        self._children = Children(self._residents, self._reviser, self.register, self._first_row)
        self._core.children = self._children
        self._schedules = Schedules(self._core, self._residents, self.start, self.cancel)
        self._workflows: dict[str, dict[int, Workflow[Any, Any]]] = {}  # by name and version
        self._starting: dict[str, asyncio.Lock] = {}
        self._factory: BranchFactory | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def register_queues(self, *queues: Queue) -> None:
        """Name the queues that `resume` may meet.  Raises ValueError where two share a name."""
        for queue in queues:
            self._queues.register(queue)

    def register(self, *workflows: Workflow[Any, Any]) -> None:
        """Name the workflows that `resume` may meet.  Raises ValueError where two share name and version."""
        for workflow in workflows:
            versions = self._workflows.setdefault(workflow.name, {})
            if versions.setdefault(workflow.version, workflow) is not workflow:
                raise ValueError(f"two workflows are named {workflow.name!r}, version {workflow.version}")

    async def start(
        self,
        workflow: Workflow[Any, Any],
        *args: object,
        key: str | None = None,
        queue: Queue | None = None,
        priority: float = 0,
        partition: str = "",
    ) -> str:
        """Start a run, durable on return, and give its id; the same key gives the same run, however often.

        With a `queue` it waits for its turn there: by `priority` (higher first), within the limits of the queue and
        of its `partition`.  Raises TypeError or Undecodable for arguments that do not fit, Unencodable for a type
        that is not kept.
        """
        if isinstance(here(), Scope):
            raise EngineError("a body cannot start a run: start it from a step")
        await self._enter()
        self.register(workflow)
        await workflow.read_source()
        ticket = None
        if queue is not None:
            self._queues.register(queue)
            ticket = self._queues.ticket(queue, priority, partition)
        key = str(uuid.uuid4()) if key is None else key
        lock = self._starting.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                found = await self._store.find_run(key)
                if found is None:
                    return await self._begin(workflow, args, key, ticket)
                if found not in self._residents:
                    await self._residents.load([found])  # it may be open and not yet resumed
                return found
        finally:
            if not lock.locked():
                self._starting.pop(key, None)

    async def resume(self) -> list[str]:
        """Bring back every open run that is not in memory and not held; returns their ids, oldest first."""
        await self._enter()
        return await self._residents.load_all([found.run_id for found in await self._store.open_runs()])

    async def schedule(self, *schedules: Schedule) -> None:
        """Start runs by the clock from now on, and what was missed within `catch_up`; after `resume`, at each boot.

        Raises ValueError where two share a name.
        """
        await self._enter()
        await self._schedules.add(*schedules)

    async def answer(self, run_id: str, wait: str, payload: object, *, by: str) -> bool:
        """Answer a wait, by its name or key; True if this answer counts, False if there was one or nobody asks.

        Raises BadAnswer for a payload that does not fit the wait; nothing is recorded then.
        """
        await self._enter()
        async with self._residents.held(run_id) as run:
            if run is None:
                return False
            await run.gate.caught_up.wait()  # only then is it known which waits are open
            return False if run.ended.done() else await run.waits.answer(wait, payload, by)

    async def result(self, run_id: str) -> Any:
        """Wait for the end and give the value.

        Raises RunFailed, RunPaused, InDoubt or Nondeterministic as the run ended or is held, UnknownRun, and
        EngineClosed or the store's error where the run was cut off and is still open.
        """
        while run_id in self._residents:
            run = self._residents.get(run_id)
            if run is None:
                await self._residents.arrival(run_id)
                continue
            try:
                plain = await asyncio.shield(run.ended)
            except Parked:
                continue
            return self._read_result(run.info.workflow, plain)
        history = await self._history(run_id)
        if history.state is RunState.DONE:
            return self._read_result(history.workflow, history.ending["value"])
        if run_id in self._upgrades.held:
            raise Nondeterministic(run_id, "Incompatible", self._upgrades.held[run_id].reason)
        if history.state is RunState.RUNNING:
            raise EngineClosed(f"run {run_id} is open, but not in memory: resume first")
        error = history.ending["error"]
        raise _STOPPED[history.state](run_id, error["type"], error["message"])

    async def cancel(self, run_id: str, *, by: str = "", reason: str = "") -> bool:
        """Have the body meet CancelledError where it stands, and end the run as CANCELLED once it has cleaned up.

        It may run steps and waits of its own meanwhile, for `cleanup_s` seconds.  False where the run has ended or
        was told before.  Raises UnknownRun.
        """
        await self._enter()
        return await self._reviser.cancel(run_id, by, reason)

    async def retry(self, run_id: str, *, only: Literal["failed"] | Collection[str] = "failed", by: str = "") -> None:
        """Let a run that failed, is held, or ended go on again.

        The failed steps (or those named by `only`) lose their outcome, and so does each `settle` and `wait_first`
        that holds one.  Then the body runs anew: what it asks with the same key and arguments keeps its recorded
        outcome, answers of people too; anything else is done and supersedes.  Nothing sent is unsent: where an
        AT_MOST_ONCE step would be asked with other arguments, the run is held with the list of these.
        Raises UnknownRun, NotRevisable for a run that goes on, WouldRepeat.
        """
        await self._enter()
        await self._reviser.retry(run_id, only, by)

    async def rewind(self, run_id: str, to: str, *, by: str = "") -> None:
        """Take back the outcome of step `to` and of all that was recorded after it, and go on from there.

        Raises UnknownRun, NotRevisable where there is no such outcome, WouldRepeat for AT_MOST_ONCE steps behind it.
        """
        await self._enter()
        await self._reviser.rewind(run_id, to, by)

    async def fork(
        self,
        run_id: str,
        at: str,
        override: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
        by: str = "",
    ) -> str:
        """Start a run that shares what was recorded before step `at`, and return its id.

        `override` gives steps (up to and with `at`) another value.  AT_MOST_ONCE outcomes are shared wherever they
        stand.  Raises UnknownRun, NotRevisable for a step without an outcome there, CodecError for a value.
        """
        await self._enter()
        return await self._reviser.fork(run_id, at, override or {}, key or str(uuid.uuid4()), by)

    async def reconcile(self, run_id: str, step: str, *, happened: bool, value: object = None, by: str = "") -> None:
        """Say what became of a step in doubt: it happened and gave `value`, or it did not and may be done now.

        Raises UnknownRun, NotRevisable where that step is not in doubt, CodecError for the value.
        """
        await self._enter()
        await self._reviser.reconcile(run_id, step, happened, value, by)

    async def runs(self) -> list[RunView]:
        """Every open run, oldest first."""
        found = await self._store.open_runs()
        return [(await self._history(one.run_id)).view() for one in found]

    async def check(self) -> list[Incompatible]:
        """Open runs that the registered code cannot take further; each record is replayed, nothing is written.

        Ask it before an upgrade; after one, such runs are held as they are, so that the old code can take them up.
        """
        await self._enter()
        return await self._upgrades.check()

    async def run(self, run_id: str) -> RunView:
        """One run, open or ended.  Raises UnknownRun."""
        return (await self._history(run_id)).view()

    async def steps(self, run_id: str) -> list[StepView]:
        """Steps, waits and timers of a run, in the order in which they were first recorded.  Raises UnknownRun."""
        return list((await self._history(run_id)).steps.values())

    def clock_changed(self) -> None:
        """Look at every deadline again: the wall clock was set or became trusted."""
        self._timers.check()

    def clock_trusted(self) -> bool:
        """True while the wall clock may decide about deadlines."""
        return self._timers.trusted()

    async def confirm_clock(self) -> None:
        """A person says that the wall clock is right, after it had stepped."""
        await self._enter()
        self._timers.confirm()
        self._lives.note()

    async def close(self) -> None:
        """Cancel every run's tasks and leave the runs open in the journal."""
        self._closed = True
        await self._residents.close()
        await self._lives.close()
        self._timers.close()
        if self._factory is not None and self._loop is not None:
            self._factory.remove(self._loop)
            self._factory = None

    async def _enter(self) -> None:
        if self._closed:
            raise EngineClosed("the engine was closed")
        if self._factory is None:
            self._loop = asyncio.get_running_loop()
            self._factory = BranchFactory.install(self._loop)
        await self._lives.begin()

    async def _begin(self, workflow: Workflow[Any, Any], args: tuple[object, ...], key: str, ticket: object) -> str:
        run_id = new_run_id(self._store, key)
        entry, history = self._first_row(workflow, args, key, run_id, ticket)
        entries = [entry]
        if ticket is not None:
            payload = encode({"at": self._clock.now()})
            entries.append(replace(entry, kind=Kind.RUN_QUEUED, arg_hash="", payload=payload))
        history.first_seq, *_ = await self._store.append(entries)
        if ticket is None:
            self._residents.launch(history)
        elif not self._closed:
            history.state = RunState.QUEUED
            self._queues.add(history)
        return run_id

    def _first_row(
        self, workflow: Workflow[Any, Any], args: tuple[object, ...], key: str, run_id: str, ticket: object = None
    ) -> tuple[Entry, History]:
        arg_hash = arguments_hash(workflow.signature, args, {})
        first = {"args": list(args), "version": workflow.version, "code": workflow.code, "at": self._clock.now()}
        payload = encode(first | ({} if ticket is None else {"queue": ticket}))
        started = decode(payload)
        workflow.read_arguments(started["args"])  # what cannot be read back must not be started
        entry = Entry(
            kind=Kind.RUN_STARTED, run_id=run_id, key=key, name=workflow.name, arg_hash=arg_hash, payload=payload
        )
        return entry, History(run_id, workflow=workflow.name, key=key, started=started)

    def _take_queued(self, history: History) -> None:
        if not self._queues.add(history):
            name = history.started["queue"]["name"]
            _log.error("run %s stays queued: no queue named %r is registered", history.run_id, name)

    def _enter_queue(self, history: History) -> None:
        self._queues.entered(history)

    def _drop(self, run_id: str) -> None:
        self._queues.remove(run_id)
        self._children.ended(run_id)

    async def _expire(self, run_id: str) -> None:
        await self._reviser.cancel(run_id, "its queue", "its turn did not come in time")

    def _left(self, run: Run) -> None:
        self._residents.forget(run)
        self._queues.left(run.info.run_id)
        if run.over:
            self._children.ended(run.info.run_id)

    def _find(self, history: History) -> Workflow[Any, Any] | None:
        versions = self._workflows.get(history.workflow, {})
        version = history.started["version"]
        workflow = versions.get(version) or (versions[max(versions)] if versions else None)
        if workflow is None:
            _log.error("run %s stays open: no workflow named %r is registered", history.run_id, history.workflow)
        elif workflow.pinned and workflow.version != version:
            _log.error("run %s stays open: %r is pinned and has no version %s", history.run_id, workflow.name, version)
            return None
        return workflow

    async def _history(self, run_id: str) -> History:
        history = History.of(run_id, await self._store.history(run_id))
        if not history.started:
            raise UnknownRun(f"no run {run_id!r}")
        return history

    def _read_result(self, workflow: str, plain: object) -> Any:
        known = self._workflows.get(workflow)
        return convert(plain, known[max(known)].result) if known else plain
