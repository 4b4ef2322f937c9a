"""Which runs are in memory, which have left it to wait, and how one comes back.

A run that waits for longer than `Core.park_above_s` leaves memory: what stays is its id and its deadlines, on the one
heap.  A deadline, an answer, a cancellation or the end of a child brings it back, by replay of its rows.  Loading is
single-flight per run, since a history that was read before somebody else moved the run would be stale.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from journal.engine.declare import Workflow
from journal.engine.errors import CodecError, EngineClosed, Undecodable
from journal.engine.history import History, RunState
from journal.engine.identity import spawn
from journal.engine.ports import Record
from journal.engine.run import Core, Run
from journal.engine.timers import Timer

__all__ = ("Residents",)

LOADED_TOGETHER = 64  # runs whose rows are read at once and that replay at once at boot; bounds memory, not time

_log = logging.getLogger(__name__)


class Residents:
    """See the module."""

    def __init__(
        self,
        core: Core,
        find: Callable[[History], Workflow[Any, Any] | None],
        *,
        fits: Callable[[History, Sequence[Record]], Awaitable[bool]],
        queued: Callable[[History], object],
        entered: Callable[[History], None],
    ) -> None:
        self._core = core
        self._fits = fits  # whether today's code can take the run further
        self._queued = queued  # takes a run whose turn has not come
        self._entered = entered  # is told of each run that comes into memory
        self._find = find
        self._runs: dict[str, Run] = {}
        self._parked: dict[str, dict[str, Timer]] = {}
        self._loading: dict[str, asyncio.Future[Run | None]] = {}
        self._arrivals: dict[str, asyncio.Future[None]] = {}  # of parked runs that somebody waits for
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __contains__(self, run_id: str) -> bool:
        """True for a run that goes on by itself, in memory or parked."""
        return run_id in self._runs or run_id in self._parked or run_id in self._loading

    @property
    def parked_count(self) -> int:
        """Runs that have left memory to wait."""
        return len(self._parked)

    def get(self, run_id: str) -> Run | None:
        """The run, if it is in memory."""
        return self._runs.get(run_id)

    async def expel(self, run_id: str) -> None:
        """Take the run out of memory, open as it is in the journal."""
        run = self._runs.get(run_id)
        if run is not None:
            run.close()
            await run.gone()
        for timer in self._parked.pop(run_id, {}).values():
            timer.cancel()

    def launch(self, history: History) -> Run | None:
        """Put a run into memory and let it go on; None where nobody registered its workflow."""
        workflow = self._find(history)
        if workflow is None or self._closed:
            return None
        deadlines = self._parked.pop(history.run_id, {})
        try:
            program = functools.partial(workflow.body, *workflow.read_arguments(history.started["args"]))
        except Undecodable as err:
            run = self._runs[history.run_id] = Run(self._core, history, _never)
            run.mismatch(f"the recorded arguments do not fit {workflow.name}{workflow.signature}: {err}")
            return run
        run = self._runs[history.run_id] = Run(self._core, history, program, deadlines)
        run.start()
        self._entered(history)
        arrival = self._arrivals.pop(history.run_id, None)
        if arrival is not None:
            arrival.set_result(None)
        return run

    async def load(self, run_ids: Sequence[str]) -> list[Run]:
        """Bring back those of these runs that are open and not in memory."""
        wanted = [one for one in dict.fromkeys(run_ids) if one not in self._runs and one not in self._loading]
        loop = asyncio.get_running_loop()
        futures = {one: loop.create_future() for one in wanted}
        self._loading.update(futures)
        try:
            histories = await self._core.store.histories(wanted)
            found = {one: await self._launch_read(one, histories.get(one, [])) for one in wanted}
        except BaseException as err:
            for one, future in futures.items():
                self._lose(one, err)
                future.set_exception(err if isinstance(err, Exception) else EngineClosed("the engine was closed"))
                future.exception()  # somebody may wait for it
            raise
        finally:
            for one in wanted:
                del self._loading[one]
        for one, future in futures.items():
            future.set_result(found[one])
        return [run for run in found.values() if run is not None]

    async def load_all(self, run_ids: Sequence[str]) -> list[str]:
        """As `load`, a few at a time, each batch once the one before has caught up with its record."""
        loaded = []
        for first in range(0, len(run_ids), LOADED_TOGETHER):
            runs = await self.load([one for one in run_ids[first : first + LOADED_TOGETHER] if one not in self])
            for run in runs:
                await run.gate.caught_up.wait()
            loaded += [run.info.run_id for run in runs]
        return loaded

    @contextlib.asynccontextmanager
    async def held(self, run_id: str) -> AsyncIterator[Run | None]:
        """The run in memory, and kept there meanwhile; None where it is not open or is held for a person."""
        while True:
            run = await self._fetch(run_id)
            if run is None or (self._runs.get(run_id) is run and run.parked is None):
                break
        if run is None:
            yield None
            return
        run.pins += 1
        try:
            yield run
        finally:
            run.unpin()

    async def arrival(self, run_id: str) -> None:
        """Wait until a parked run is back in memory."""
        if run_id in self._loading:
            await asyncio.shield(self._loading[run_id])
        elif run_id in self._parked:
            arrival = self._arrivals.get(run_id)
            if arrival is None:
                arrival = self._arrivals[run_id] = asyncio.get_running_loop().create_future()
            await asyncio.shield(arrival)

    def expect(self, run_id: str) -> None:
        """It waits outside of memory, without a deadline of its own."""
        self._parked.setdefault(run_id, {})

    def unexpect(self, run_id: str) -> None:
        """It does not wait any more."""
        self._parked.pop(run_id, None)
        arrival = self._arrivals.pop(run_id, None)
        if arrival is not None:
            arrival.set_result(None)

    def wake(self, run_id: str) -> None:
        """Bring back a parked run, soon."""
        self.spawn(self._wake(run_id), f"{run_id}.wake")

    def forget(self, run: Run) -> None:
        """The run has left memory: for good, until the next resume, or to wait."""
        run_id = run.info.run_id
        self._runs.pop(run_id, None)
        if run.parked is not None and not self._closed:
            wake = functools.partial(self.wake, run_id)
            self._parked[run_id] = {key: self._core.timers.again(one, wake) for key, one in run.parked.items()}

    async def close(self) -> None:
        """Cancel every run's tasks and leave the runs open in the journal."""
        self._closed = True
        self._parked.clear()
        for arrival in self._arrivals.values():
            arrival.set_exception(EngineClosed("the engine was closed"))
            arrival.exception()
        self._arrivals.clear()
        for task in self._tasks:
            task.cancel()
        enders = [ender for run in list(self._runs.values()) if (ender := run.close()) is not None]
        if waited := [*enders, *self._tasks]:
            await asyncio.wait(waited)

    async def _fetch(self, run_id: str) -> Run | None:
        run = self._runs.get(run_id)
        if run is not None and run.parked is not None:
            await run.gone()
            run = self._runs.get(run_id)
        if run is not None:
            return run
        loading = self._loading.get(run_id)
        if loading is not None:
            return await asyncio.shield(loading)
        return next(iter(await self.load([run_id])), None)

    async def _wake(self, run_id: str) -> None:
        async with self.held(run_id):
            pass

    async def _launch_read(self, run_id: str, records: list[Record]) -> Run | None:
        try:
            history = History.of(run_id, records)
        except CodecError as err:  # one damaged run must not keep the others from going on
            _log.error("run %s stays open: its rows cannot be read: %s", run_id, err)
            return None
        if history.state is RunState.QUEUED and run_id not in self._parked:
            self._queued(history)
        if not history.started or history.state is not RunState.RUNNING or not await self._fits(history, records):
            return None
        return self.launch(history)

    def _lose(self, run_id: str, err: BaseException) -> None:
        """It could not be read: the next resume looks again."""
        for timer in self._parked.pop(run_id, {}).values():
            timer.cancel()
        arrival = self._arrivals.pop(run_id, None)
        if arrival is not None:
            arrival.set_exception(err if isinstance(err, Exception) else EngineClosed("the engine was closed"))
            arrival.exception()

    def spawn(self, coro: Coroutine[Any, Any, None], name: str) -> None:
        """A task of the engine that belongs to no run; its error is logged."""
        if self._closed:
            coro.close()
            return
        task = spawn(coro, None, name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s failed; the next resume tries again", task.get_name(), exc_info=error)


async def _never() -> None:
    raise AssertionError("a run without readable arguments has no body")
