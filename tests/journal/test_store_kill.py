"""SIGKILL at any moment: every acknowledged entry is there afterwards, no number is given twice."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 10
WRITERS = 4

CHILD = """
import asyncio, json, sys
from pathlib import Path
from drivers.clock import SystemClock
from journal.engine.ports import Entry
from journal.rescue import boot
from journal.store import DuckStore
from journal.writer import Limits, Writer

async def write(store, round_, writer):
    for number in range(1_000_000):
        entries = [Entry(kind="step.done", run_id=f"r{writer}", key=f"{round_}/{writer}/{number}/{part}",
                         payload=b"x" * (number * 37 % 1500)) for part in range(1 + number % 3)]
        seqs = await store.append(entries)
        print(json.dumps([[seq, entry.key] for seq, entry in zip(seqs, entries)]), flush=True)

async def main(folder, round_):
    booted = boot(Path(folder))
    limits = Limits(checkpoint_entries=40, ballast_bytes=1 << 16)
    store = DuckStore(Writer(booted, key=b"k" * 32, boot_id="b", limits=limits), SystemClock())
    rows = [row for writer in range(4) for row in await store.history(f"r{writer}")]
    found = await store.verify()
    report = {"rows": [[row.seq, row.key] for row in rows], "epoch": store.epoch, "notes": len(booted.notes),
              "broken": found.broken_seq}
    print(json.dumps(report), flush=True)
    if round_ == "last":
        await store.close()
        return
    await asyncio.gather(*(write(store, round_, writer) for writer in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


def start(folder: Path, round_: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD, str(folder), round_]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


@pytest.mark.timeout(120)
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: dict[int, str] = {}
    for round_ in [*map(str, range(KILLS)), "last"]:
        with start(tmp_path, round_) as child:
            report = json.loads(child.stdout.readline())
            rows = dict(report["rows"])
            assert len(rows) == len(report["rows"])  # no number twice
            assert acknowledged.items() <= rows.items()
            assert (report["epoch"], report["notes"], report["broken"]) == (1, 0, None)
            for _ in range(chance.randrange(1, 120) if round_ != "last" else 0):
                acknowledged |= dict(json.loads(child.stdout.readline()))
            child.kill()  # the last one may have ended by itself
            heard = child.stdout.read().splitlines(keepends=True)  # said before the kill, so it counts
            for line in heard:
                acknowledged |= dict(json.loads(line)) if line.endswith(b"\n") else {}
    assert len(acknowledged) > KILLS
