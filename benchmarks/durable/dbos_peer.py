"""DBOS on SQLite, the same shapes of work.  Runs in `.venv-bench`, imports none of ours but `meter`; one JSON line.

    .venv-bench/bin/python -m benchmarks.durable.dbos_peer FOLDER rate --mode full --shape one --steps N
    … pend --runs M        # says it is ready, then waits to be killed
    … resume --runs M --since MONOTONIC_S

Mode `default` is what DBOS does by itself (rollback journal, synchronous FULL), `full` is WAL with synchronous FULL:
one flush a commit, still safe in a power cut.  Shape `sync` is `one` with its plain, not asyncio, steps.
"""

import argparse
import asyncio
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig

from benchmarks.durable.meter import Meter, peak_rss_mb, say

WIDTH = 16
WARM_UP_STEPS = 50
STEPS_EACH = 3

_under_way = 0


@DBOS.step()
async def tick(number: int) -> int:
    """The trivial step."""
    return number


@DBOS.step()
def tick_sync(number: int) -> int:
    """The trivial step without asyncio."""
    return number


@DBOS.step()
async def hang() -> int:
    """A step that is under way when the process dies."""
    global _under_way  # noqa: PLW0603 - the count is the process's
    _under_way += 1
    await asyncio.sleep(86_400)
    return 0


@DBOS.workflow()
async def ticking(count: int) -> int:
    """One step after the other."""
    for number in range(count):
        await tick(number)
    return count


@DBOS.workflow()
def ticking_sync(count: int) -> int:
    """One step after the other, without asyncio."""
    for number in range(count):
        tick_sync(number)
    return count


@DBOS.workflow()
async def branching(count: int) -> int:
    """Sixteen steps at a time; single steps in a gather are what DBOS allows."""
    for begin in range(0, count, WIDTH):
        await asyncio.gather(*(tick(number) for number in range(begin, begin + WIDTH)))
    return count


@DBOS.workflow()
async def pending() -> int:
    """Three steps, and one that hangs."""
    for number in range(STEPS_EACH):
        await tick(number)
    return await hang()


def launch(folder: Path, mode: str) -> None:
    """DBOS on a file in the folder."""
    path = folder / "dbos.sqlite"
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{path}",
        "application_version": "bench",
        "executor_id": "local",
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    if mode == "full":
        config["system_database_engine"] = _wal_engine(path)
    DBOS(config=config)
    DBOS.launch()
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("PRAGMA journal_mode").fetchone()
    assert found == {"full": "wal", "default": "delete"}[mode], found


def _wal_engine(path: Path) -> sqlalchemy.Engine:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")

    @sqlalchemy.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"  # as DBOS sets it on an engine of its own
        for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


async def rate(shape: str, steps: int) -> None:
    """Durable steps a second."""
    if shape == "sync":
        ticking_sync(WARM_UP_STEPS)
        with Meter() as meter:
            ticking_sync(steps)
        say(meter.per(steps))
    await ticking(WARM_UP_STEPS)
    program, width = {"one": (ticking, 1), "runs": (ticking, WIDTH), "branches": (branching, 1)}[shape]
    with Meter() as meter:
        handles = [await DBOS.start_workflow_async(program, steps // width) for _ in range(width)]
        await asyncio.gather(*(handle.get_result(polling_interval_sec=0.01) for handle in handles))
    say(meter.per(steps))


async def all_under_way(runs: int) -> None:
    """Until each run's last step has begun."""
    while _under_way < runs:  # noqa: ASYNC110 - its steps run on a loop of another thread
        await asyncio.sleep(0.001)


async def pend(runs: int) -> None:
    """Leave `runs` runs in the middle of a step and wait for the end."""
    for _ in range(runs):
        await DBOS.start_workflow_async(pending)
    await all_under_way(runs)
    os.write(1, b'{"ready": true}\n')
    await asyncio.sleep(3600)


async def resume(runs: int, since_s: float) -> None:
    """From the start of the process until every pending run's step is under way again."""
    await all_under_way(runs)
    say({"all_s": time.monotonic() - since_s, "rss_mb": peak_rss_mb()})


def main() -> None:
    """One leg."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("leg", choices=("rate", "pend", "resume"))
    parser.add_argument("--mode", choices=("default", "full"), default="full")
    parser.add_argument("--shape", default="one")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--since", type=float, default=0.0)
    asked = parser.parse_args()
    launch(asked.folder, asked.mode)
    legs = {
        "rate": lambda: rate(asked.shape, asked.steps),
        "pend": lambda: pend(asked.runs),
        "resume": lambda: resume(asked.runs, asked.since),
    }
    asyncio.run(legs[asked.leg]())


if __name__ == "__main__":
    main()
