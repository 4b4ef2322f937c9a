"""Writes a journal of this release with runs that were retried, rewound, forked and queued, as a power cut leaves it.

`python tests/journal/write_golden.py`, once per release, in the project's folder; test_golden holds later releases
to it.  What an older release wrote is never written again.
"""

import asyncio
import json
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journal import Journal, Limits
from journal.engine import Backoff, Engine, Queue, RunPaused, checkpoint, services, settle, wait_for, workflow

HERE = Path(__file__).parent
RELEASE = "0.1.0"
ONE = Queue(name="one", concurrency=1)
TURNS = 2_000


class Clock:
    """A second with each look."""

    def __init__(self, wall: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> None:
        self.wall = wall
        self.looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return self.wall + timedelta(seconds=self.looks)

    def monotonic_ns(self) -> int:
        return self.looks * 1_000_000_000

    def trusted(self) -> bool:
        return True


class Plant:
    """Which devices are away, what was looked at, and whether work may go on."""

    def __init__(self, away: set[str]) -> None:
        self.away = away
        self.looked: list[str] = []
        self.gate = asyncio.Event()


@checkpoint(retries=1, backoff=Backoff(first_s=0))
async def look(name: str) -> str:
    services(Plant).looked.append(name)
    if name in services(Plant).away:
        raise ConnectionError(f"{name} is away")
    return name.upper()


@checkpoint()
async def work(name: str) -> str:
    await services(Plant).gate.wait()
    return name


@workflow("inspect")
async def inspect(names: list[str]) -> str:
    found = await settle([look.submit(name, label=name) for name in names], min_successful=len(names))
    return ",".join(str(one.value) for one in found)


@workflow("ask")
async def ask(name: str) -> str:
    return f"{await look(name)} {await wait_for('go', str)}"


@workflow("job")
async def job(name: str) -> str:
    return await work(name)


def engine_of(journal: Journal, clock: Clock, plant: Plant) -> Engine:
    engine = Engine(journal.store, clock, services=plant, boot_id="golden")
    engine.register(inspect, ask, job)
    engine.register_queues(ONE)
    return engine


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0.0001)


def copy(folder: Path, target: Path, expected: dict[str, Any]) -> None:
    target.mkdir(parents=True)
    for name in ("blackstart.duckdb", "blackstart.duckdb.wal", "journal.key", "journal.mark"):
        shutil.copyfile(folder / name, target / name)
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


async def write(folder: Path, target: Path) -> None:
    """Let runs come to all places where a cut may find them, and copy the files without closing them."""
    clock, plant = Clock(), Plant({"b"})
    journal = await Journal.open(folder, clock, boot_note=f"release {RELEASE}", limits=Limits(ballast_bytes=0))
    engine = engine_of(journal, clock, plant)
    failed = await engine.start(inspect, ["a", "b"], key="failed")
    retried = await engine.start(inspect, ["c", "b"], key="retried")
    for run_id in (failed, retried):
        try:
            await engine.result(run_id)
        except RunPaused:
            continue
        raise AssertionError("b is away")
    forked = await engine.fork(failed, "b/look#1", {"b/look#1": "other"}, key="forked")
    plant.away.clear()
    await engine.retry(retried, by="golden")
    rewound = await engine.start(ask, "d", key="rewound")
    waiting = await engine.start(ask, "e", key="waiting")
    results = {forked: await engine.result(forked), retried: await engine.result(retried)}
    await turns()
    await engine.answer(rewound, "go", "once", by="golden")
    await engine.result(rewound)
    await engine.rewind(rewound, "go#1", by="golden")
    working, queued = [await engine.start(job, name, key=name, queue=ONE) for name in ("f", "g")]
    await turns()
    runs = [failed, retried, forked, rewound, waiting, working, queued]
    states = {run_id: (await engine.run(run_id)).state.value for run_id in runs}
    expected: dict[str, Any] = {"states": states, "results": results, "rewound": rewound, "waiting": waiting}
    expected |= {"working": working, "queued": queued, "failed": failed, "last_seq": journal.store.last_seq}
    await asyncio.to_thread(copy, folder, target, expected)
    await engine.close()
    await journal.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(write(Path(scratch), HERE / "golden_revised" / RELEASE))
    sys.stdout.write(f"written for {RELEASE}\n")
