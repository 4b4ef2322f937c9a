"""Runs in the guest as its first process: opens the journal on /mnt, says what it found, appends until the power goes.

OPEN <last number> <rows whose chain holds> <first broken row or None>
ACK <number>
"""

import asyncio
import os
from pathlib import Path

from drivers.clock import SystemClock
from journal import Journal, Limits
from journal.engine.ports import Entry


async def main() -> None:
    limits = Limits(checkpoint_entries=15, ballast_bytes=0)
    journal = await Journal.open(Path("/mnt/state"), SystemClock(), limits=limits)
    found = await journal.verify()
    os.write(1, b"OPEN %d %d %s\n" % (journal.store.last_seq, found.rows, str(found.broken_seq).encode()))
    while True:
        entry = Entry(kind="probe", run_id="r1-probe", key="probe#1", name="probe", payload=os.urandom(300))
        (seq,) = await journal.store.append([entry])
        os.write(1, b"ACK %d\n" % seq)


asyncio.run(main())
