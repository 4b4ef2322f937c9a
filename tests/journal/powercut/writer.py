"""Appends rows to a journal on a mounted folder; prints `<row> <length of the device's log>` once each is durable.

    PYTHONPATH=. python tests/journal/powercut/writer.py STATE_FOLDER LOG_FILE ROWS [--no-flush]

`--no-flush` is the negative control: it takes the flushes away, so a power cut must lose rows.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from drivers.clock import SystemClock
from journal import Journal, Limits, rescue
from journal.engine.ports import Entry

LIMITS = Limits(checkpoint_entries=15, ballast_bytes=0)  # a checkpoint every 15 rows: that is where the danger is
BIG_EVERY = 7  # rows whose payload goes to `blob`


async def main(state: Path, log_fd: int, rows: int) -> None:
    journal = await Journal.open(state, SystemClock(), limits=LIMITS)
    for number in range(rows):
        payload = os.urandom(3_000 if number % BIG_EVERY == 0 else 200)
        entry = Entry(kind="probe", run_id="r1-probe", key=f"probe#{number}", name="probe", payload=payload)
        (seq,) = await journal.store.append([entry])
        os.write(1, b"%d %d\n" % (seq, os.fstat(log_fd).st_size))
    os._exit(0)  # the power goes while it is open


def take_flushes_away() -> None:
    rescue.CONFIG["fsync_mode"] = "NONE"

    def nothing(_fd: Any) -> None:
        pass

    os.fsync = os.fdatasync = nothing


if __name__ == "__main__":
    if "--no-flush" in sys.argv:
        take_flushes_away()
    asyncio.run(main(Path(sys.argv[1]), os.open(sys.argv[2], os.O_RDONLY), int(sys.argv[3])))
