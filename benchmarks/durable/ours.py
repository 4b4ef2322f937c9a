"""The journal's legs: real engine, real store, trivial steps.  One leg a process; prints one JSON line.

python -m benchmarks.durable.ours FOLDER rate --shape one|runs|branches --steps N
python -m benchmarks.durable.ours FOLDER pend --runs M      # then kills itself, the log at its bound
python -m benchmarks.durable.ours FOLDER resume --runs M --since MONOTONIC_S
python -m benchmarks.durable.ours FOLDER grow --rows N      # a journal of N rows
python -m benchmarks.durable.ours FOLDER open --since MONOTONIC_S
"""

import argparse
import asyncio
import os
import signal
import time
from pathlib import Path

from benchmarks.durable.meter import Meter, peak_rss_mb, say
from drivers.clock import SystemClock
from journal import Journal, Limits
from journal.engine import Engine, checkpoint, workflow
from journal.engine.codec import encode

WIDTH = 16
WARM_UP_STEPS = 50
FILL_ENTRIES = Limits().checkpoint_entries - 1  # the longest log that a start ever finds
STEPS_EACH = 3  # of a pending run, recorded; the fourth is under way
ENTRIES_PER_RUN = 100  # of a grown journal

_under_way = 0


@checkpoint()
async def tick(number: int) -> int:
    """The trivial step."""
    return number


@checkpoint()
async def hang() -> int:
    """A step that is under way when the process dies."""
    global _under_way  # noqa: PLW0603 - the count is the process's
    _under_way += 1
    await asyncio.sleep(86_400)
    return 0


@workflow("ticking")
async def ticking(count: int) -> int:
    """One step after the other."""
    for number in range(count):
        await tick(number)
    return count


@workflow("branching")
async def branching(count: int) -> int:
    """Sixteen steps at a time, in branches."""
    for begin in range(0, count, WIDTH):
        await asyncio.gather(*(tick(number) for number in range(begin, begin + WIDTH)))
    return count


@workflow("pending")
async def pending() -> int:
    """Three steps, and one that hangs."""
    for number in range(STEPS_EACH):
        await tick(number)
    return await hang()


async def rate(folder: Path, shape: str, steps: int) -> None:
    """Durable steps a second."""
    journal = await Journal.open(folder, SystemClock())
    engine = Engine(journal.store, SystemClock())
    await engine.result(await engine.start(ticking, WARM_UP_STEPS))
    program, width = {"one": (ticking, 1), "runs": (ticking, WIDTH), "branches": (branching, 1)}[shape]
    with Meter() as meter:
        runs = await asyncio.gather(*(engine.start(program, steps // width) for _ in range(width)))
        await asyncio.gather(*(engine.result(run) for run in runs))
        assert await journal.store.checkpoint()  # what the log has put off belongs to the price
    say(meter.per(steps))


async def all_under_way(runs: int) -> None:
    """Until each run's last step has begun."""
    while _under_way < runs:  # noqa: ASYNC110 - as the peer does it, whose steps run on another loop
        await asyncio.sleep(0.001)


async def pend(folder: Path, runs: int) -> None:
    """Leave `runs` runs in the middle of a step, fill the log to its bound, die."""
    journal = await Journal.open(folder, SystemClock())
    engine = Engine(journal.store, SystemClock())
    for _ in range(runs):
        await engine.start(pending)
    await all_under_way(runs)
    assert await journal.store.checkpoint()
    await engine.result(await engine.start(ticking, FILL_ENTRIES - 2))  # and its start and end
    os.write(1, b'{"ready": true}\n')
    os.kill(os.getpid(), signal.SIGKILL)


async def resume(folder: Path, runs: int, since_s: float) -> None:
    """From the start of the process until every pending run's step is under way again."""
    journal = await Journal.open(folder, SystemClock())
    opened_s = time.monotonic() - since_s
    engine = Engine(journal.store, SystemClock())
    engine.register(pending, ticking)
    resumed = await engine.resume()
    await all_under_way(runs)
    all_s = time.monotonic() - since_s
    assert len(resumed) == runs, resumed
    say({"opened_s": opened_s, "all_s": all_s, "rss_mb": peak_rss_mb(), "rescues": len(journal.rescue_notes)})


async def grow(folder: Path, rows: int) -> None:
    """A journal of `rows` rows, as the engine writes them, in ended runs; made by SQL, so its chain is not valid."""
    journal = await Journal.open(folder, SystemClock())
    await journal.close()
    import duckdb  # noqa: PLC0415 - the peers' limits apply only here

    from journal.rescue import CONFIG, DATABASE_NAME  # noqa: PLC0415

    connection = duckdb.connect(folder / DATABASE_NAME, config=CONFIG)
    (first,) = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone() or (0,)
    for begin in range(0, rows, 500_000):
        connection.execute(
            f"""INSERT INTO event
            SELECT {first} + i + 1, 1, now(), 'boot-one',
                CASE i % {ENTRIES_PER_RUN} WHEN 0 THEN 'run.started' WHEN {ENTRIES_PER_RUN - 1} THEN 'run.done'
                     ELSE 'step.done' END,
                'r1-' || md5((i // {ENTRIES_PER_RUN})::VARCHAR),
                CASE i % {ENTRIES_PER_RUN} WHEN 0 THEN 'key-' || i WHEN {ENTRIES_PER_RUN - 1} THEN 'key-' || i
                     ELSE 'tick#' || (i % {ENTRIES_PER_RUN}) END,
                CASE i % {ENTRIES_PER_RUN} WHEN 0 THEN 'ticking' WHEN {ENTRIES_PER_RUN - 1} THEN 'ticking'
                     ELSE 'tick' END,
                md5((i * 7)::VARCHAR), ?, NULL, unhex(sha256(i::VARCHAR))
            FROM range({begin}, {min(begin + 500_000, rows)}) t(i)""",
            [encode({"value": 7, "at": SystemClock().now()})],
        )
        connection.execute("CHECKPOINT")
    connection.close()
    journal = await Journal.open(folder, SystemClock())
    await journal.close()
    say({"rows": rows, "file_mb": (folder / DATABASE_NAME).stat().st_size / 2**20})


async def open_only(folder: Path, since_s: float) -> None:
    """From the start of the process until the journal takes entries."""
    journal = await Journal.open(folder, SystemClock())
    all_s = time.monotonic() - since_s
    rescues = len(journal.rescue_notes)
    say({"open_s": all_s, "rss_mb": peak_rss_mb(), "rescues": rescues})


def main() -> None:
    """One leg."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("leg", choices=("rate", "pend", "resume", "grow", "open"))
    parser.add_argument("--shape", default="one")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--since", type=float, default=0.0)
    asked = parser.parse_args()
    legs = {
        "rate": lambda: rate(asked.folder, asked.shape, asked.steps),
        "pend": lambda: pend(asked.folder, asked.runs),
        "resume": lambda: resume(asked.folder, asked.runs, asked.since),
        "grow": lambda: grow(asked.folder, asked.rows),
        "open": lambda: open_only(asked.folder, asked.since),
    }
    asyncio.run(legs[asked.leg]())


if __name__ == "__main__":
    main()
