"""Durable commits: `DuckStore` beside a bare DuckDB commit and beside append + fdatasync, on the same disk.

    python benchmarks/journal_commit.py [--folder DIR] [--commits 300] [--rounds 5] > journal_commit.json

The variants take turns within a round, because the disk's flush time drifts by a factor of ten between minutes.
Times in milliseconds (median over all commits, spread over the rounds' medians), CPU of the whole process per
entry; rates in entries a second.  Progress goes to standard error, one JSON document to standard output.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import duckdb

from drivers.clock import SystemClock
from journal.engine.ports import Entry
from journal.rescue import CONFIG, boot
from journal.store import DuckStore
from journal.writer import Limits, Writer

PAYLOAD_BYTES = 300
NO_CHECKPOINT = Limits(checkpoint_entries=10**9, checkpoint_bytes=1 << 60, idle_s=3600.0, ballast_bytes=0)


class Stopwatch:
    """Wall and CPU time of the loop alone, without opening and closing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __enter__(self) -> Self:
        self.cpu_s, self.wall_s = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s, self.wall_s = time.process_time() - self.cpu_s, time.perf_counter() - self.wall_s


Variant = Callable[[Path, int], Awaitable[Stopwatch]]


def entry(number: int) -> Entry:
    """A row as the engine writes it."""
    return Entry(
        kind="step.done",
        run_id="0192f0c1-7a5e-7cc0-9d5b-1f2e3d4c5b6a",
        key=f"root/weigh_hypothesis#{number}",
        name="weigh_hypothesis",
        arg_hash="9b74c9897bac770ffc029102a200c5de",
        payload=os.urandom(PAYLOAD_BYTES),
    )


async def plain_append(folder: Path, commits: int) -> Stopwatch:
    """The limit: one write() and one fdatasync()."""

    def run() -> Stopwatch:
        fd = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with Stopwatch() as watch:
            for _ in range(commits):
                content = os.urandom(PAYLOAD_BYTES + 150)
                begin = time.perf_counter()
                os.write(fd, content)
                os.fdatasync(fd)
                watch.times.append(time.perf_counter() - begin)
        os.close(fd)
        return watch

    return await asyncio.to_thread(run)


async def bare_duckdb(folder: Path, commits: int) -> Stopwatch:
    """The peer: one INSERT, auto-committed, into a table of six columns, called directly on one thread."""

    def run() -> Stopwatch:
        connection = duckdb.connect(folder / "bare.duckdb", config=CONFIG)
        columns = "kind VARCHAR, run_id VARCHAR, key VARCHAR, name VARCHAR, arg_hash VARCHAR, payload BLOB"
        connection.execute(f"CREATE TABLE event({columns})")
        connection.execute("CHECKPOINT")
        with Stopwatch() as watch:
            for number in range(commits):
                e = entry(number)
                row = [e.kind, e.run_id, e.key, e.name, e.arg_hash, e.payload]
                begin = time.perf_counter()
                connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", row)
                watch.times.append(time.perf_counter() - begin)
        connection.close()
        return watch

    return await asyncio.to_thread(run)


def store_with(writers: int) -> Variant:
    """`writers` coroutines that each append one entry after the other."""

    async def run(folder: Path, commits: int) -> Stopwatch:
        writer = await asyncio.to_thread(
            lambda: Writer(boot(folder / "state"), key=bytes(32), boot_id="bench", limits=NO_CHECKPOINT)
        )
        store = DuckStore(writer, SystemClock())
        watch = Stopwatch()

        async def write() -> None:
            for number in range(commits):
                one = entry(number)
                begin = time.perf_counter()
                await store.append([one])
                watch.times.append(time.perf_counter() - begin)

        with watch:
            await asyncio.gather(*(write() for _ in range(writers)))
        await store.close()
        return watch

    return run


VARIANTS: dict[str, tuple[int, Variant]] = {
    "append_fdatasync": (1, plain_append),
    "bare_duckdb_commit": (1, bare_duckdb),
    "store_sequential": (1, store_with(1)),
    "store_16_concurrent": (16, store_with(16)),
}


async def measure(parent: Path | None, commits: int, rounds: int) -> dict[str, Any]:
    """All variants, `rounds` times in turn."""
    found: dict[str, dict[str, list[Any]]] = {name: {"times": [], "rates": [], "cpu": []} for name in VARIANTS}
    for number in range(rounds):
        for name, (width, variant) in VARIANTS.items():
            with tempfile.TemporaryDirectory(dir=parent) as folder:
                watch = await variant(Path(folder), commits)
            found[name]["rates"].append(commits * width / watch.wall_s)
            found[name]["cpu"].append(watch.cpu_s * 1e3 / (commits * width))
            found[name]["times"].append(watch.times)
            sys.stderr.write(f"round {number + 1}/{rounds} {name}: {found[name]['rates'][-1]:.0f} entries/s\n")
    return {name: summary(VARIANTS[name][0], values) for name, values in found.items()}


def summary(width: int, values: dict[str, list[Any]]) -> dict[str, Any]:
    """Medians with their spread."""
    medians = [statistics.median(times) * 1e3 for times in values["times"]]
    every = sorted(time_s * 1e3 for times in values["times"] for time_s in times)
    return {
        "width": width,
        "commits": len(every),
        "p50_ms": round(statistics.median(every), 3),
        "p50_ms_rounds": [round(min(medians), 3), round(max(medians), 3)],
        "p90_ms": round(every[int(0.9 * len(every))], 3),
        "p99_ms": round(every[int(0.99 * len(every))], 3),
        "entries_per_s": round(statistics.median(values["rates"]), 1),
        "entries_per_s_rounds": [round(min(values["rates"]), 1), round(max(values["rates"]), 1)],
        "cpu_ms_per_entry": round(statistics.median(values["cpu"]), 3),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write; by default the folder for temporary files")
    parser.add_argument("--commits", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    results = asyncio.run(measure(arguments.folder, arguments.commits, arguments.rounds))
    bare, sequential, wide = (results[n] for n in ("bare_duckdb_commit", "store_sequential", "store_16_concurrent"))
    report = {
        "benchmark": "journal_commit",
        "duckdb": duckdb.__version__,
        "python": sys.version.split()[0],
        "payload_bytes": PAYLOAD_BYTES,
        "fdatasync_p50_ms": results["append_fdatasync"]["p50_ms"],
        "results": results,
        "ratios": {
            "sequential_time_to_bare_duckdb": round(sequential["p50_ms"] / bare["p50_ms"], 2),
            "sequential_cpu_to_bare_duckdb": round(sequential["cpu_ms_per_entry"] / bare["cpu_ms_per_entry"], 2),
            "16_concurrent_rate_to_sequential": round(wide["entries_per_s"] / sequential["entries_per_s"], 1),
        },
    }
    sys.stderr.write(f"fdatasync p50 {report['fdatasync_p50_ms']} ms\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
