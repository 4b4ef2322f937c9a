"""A clock that moves only when told, and lives of an engine on one kept log."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from journal.engine import Engine, MemoryStore, SimulatedCrash, Workflow

PUMPS_MAX = 20_000  # passes of the loop until a run that hangs is given up


class FakeClock:
    def __init__(self) -> None:
        self.wall = datetime(2026, 3, 1, tzinfo=UTC)
        self.elapsed_ns = 0
        self.is_trusted = True

    def now(self) -> datetime:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.elapsed_ns

    def trusted(self) -> bool:
        return self.is_trusted

    def advance(self, by: timedelta) -> None:
        self.wall += by
        self.elapsed_ns += int(by.total_seconds() * 1e9)

    def reboot(self, away: timedelta) -> None:
        """Power off for a while; the monotonic clock begins anew."""
        self.wall += away
        self.elapsed_ns = 0


class Ledger:
    """What really ran, kept outside the journal."""

    def __init__(self) -> None:
        self.started: Counter[str] = Counter()
        self.committed: Counter[str] = Counter()

    def step_started(self, _run_id: str, step_key: str) -> None:
        self.started[step_key] += 1

    def step_committed(self, _run_id: str, step_key: str) -> None:
        self.committed[step_key] += 1


class World:
    """One log that outlives its engines."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.ledger = Ledger()
        self.engine: Any = None
        self.boots: Any = ""  # a number, for tests that count boots and deaths

    @asynccontextmanager
    async def life(self, *workflows: Workflow[Any, Any], **store: Any) -> AsyncIterator[Engine]:
        """A process: a fresh engine on the kept rows; `store` may bring a crash."""
        self.store = MemoryStore(self.clock, records=self.store.records, **store)
        self.ledger = Ledger()
        self.engine = Engine(
            self.store, self.clock, services=self, observer=self.ledger, boot_id=self.boots and f"boot {self.boots}"
        )
        self.engine.register(*workflows)
        try:
            yield self.engine
        finally:
            await self.engine.close()

    async def pump(self, until: Callable[[], bool], step: timedelta = timedelta(0)) -> None:
        """Turn the loop, and the clock with it, until something holds."""
        for _ in range(PUMPS_MAX):
            if until():
                return
            self.clock.advance(step)
            self.engine.clock_changed()
            await asyncio.sleep(0)
        raise AssertionError(f"still not so after {PUMPS_MAX} passes")

    async def finish(self, run_id: str, step: timedelta = timedelta(0)) -> Any:
        """The result of the run, in simulated time."""
        result = asyncio.ensure_future(self.engine.result(run_id))
        await self.pump(lambda: result.done() or self.store.dead, step)
        if not result.done():  # the run itself may be parked, and not know
            result.cancel()
            raise SimulatedCrash("the store is gone")
        return result.result()

    def kinds(self, *prefixes: str) -> list[str]:
        return [record.kind for record in self.store.records if record.kind.startswith(prefixes or "")]

    def keys(self, kind: str) -> list[str]:
        return [record.key for record in self.store.records if record.kind == kind]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> Callable[[], World]:
    return World
