"""The floors under a durable step: append + fdatasync, and a bare DuckDB commit.  One leg a process, one JSON line.

    python -m benchmarks.durable.limits FOLDER append|duckdb --steps N

The commit is one INSERT of one such row into the journal's own table with the journal's settings, called on one
thread as DuckDB's manual shows it: no engine, row chain, mark, asyncio or checkpoints.
"""

import argparse
import os
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from benchmarks.durable.meter import Meter, say
from journal.rescue import CONFIG
from journal.schema import CREATE

WARM_UP_STEPS = 50
PAYLOAD = b"\x00\x82\xa5value\x07\xa2at\xd7\x02" + bytes(8)
ROW = ("step.done", "r1-0192f0c17a5e7cc09d5b1f2e3d4c5b6a", "tick#1", "tick", "9b74c9897bac770ffc029102a200c5de")


def append(folder: Path, steps: int) -> None:
    """One write() and one fdatasync() per step, as many bytes as a row of the journal has."""
    content = os.urandom(sum(map(len, ROW)) + len(PAYLOAD) + 32)
    fd = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    times = []
    with Meter() as meter:
        for _ in range(steps):
            os.write(fd, content)
            begin = time.perf_counter()
            os.fdatasync(fd)
            times.append(time.perf_counter() - begin)
    say(meter.per(steps) | {"fdatasync_p50_ms": statistics.median(times) * 1e3})


def commit(folder: Path, steps: int) -> None:
    """One auto-committed INSERT per step."""
    connection = duckdb.connect(folder / "bare.duckdb", config=CONFIG)
    connection.execute(CREATE[0])
    connection.execute("CHECKPOINT")
    sql = f"INSERT INTO event VALUES ({', '.join('?' * 12)})"
    row = [1, 1, datetime.now(UTC), "boot-one", *ROW, PAYLOAD, None, bytes(32)]
    for _ in range(WARM_UP_STEPS):
        connection.execute(sql, row)
    with Meter() as meter:
        for _ in range(steps):
            connection.execute(sql, row)
    say(meter.per(steps))


def main() -> None:
    """One leg."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("leg", choices=("append", "duckdb"))
    parser.add_argument("--steps", type=int, required=True)
    asked = parser.parse_args()
    {"append": append, "duckdb": commit}[asked.leg](asked.folder, asked.steps)


if __name__ == "__main__":
    main()
