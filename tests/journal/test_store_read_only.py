"""A disk that turns read-only while the journal is open: callers are told, nothing acknowledged is lost, it recovers.

The disk is real: ext4 aborts its own journal, as after a write error.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import Fatal, Transient
from journal import Journal, Limits, RetentionPolicy
from journal.engine.ports import Entry

LIMITS = Limits(ballast_bytes=0)
BUSY = Limits(ballast_bytes=0, checkpoint_entries=40)  # the disk turns in the midst of a checkpoint, too


def note(number: int) -> Entry:
    return Entry(kind="note", run_id="r", key=f"{number}", payload=b"%d" % number * 400)


@pytest.fixture
async def journal(failing_disk: Any, clock: Any) -> AsyncIterator[Journal]:
    journal = await Journal.open(failing_disk.folder / "state", clock, limits=LIMITS)
    yield journal
    await journal.close()


async def after_the_repair(disk: Any, clock: Any, kept: list[int]) -> None:
    """What was acknowledged is there, in order and sound, and it goes on."""
    await asyncio.to_thread(disk.mend)
    journal = await Journal.open(disk.folder / "state", clock, limits=LIMITS)
    assert journal.rescue_notes == ()
    assert set(kept) <= {record.seq for record in await journal.store.history("r")}
    assert (await journal.verify()).broken_seq is None
    (seq,) = await journal.store.append([note(0)])
    assert seq > kept[-1]
    await journal.snapshot()
    await journal.close()


CALLS: dict[str, Callable[[Journal, Path], Awaitable[object]]] = {
    "append": lambda journal, _: journal.store.append([note(99)]),
    "alarm": lambda journal, _: journal.store.append([Entry(kind="alarm", key="a1")]),
    "snapshot": lambda journal, _: journal.snapshot(),
    "export": lambda journal, folder: journal.export(folder / "state" / "export"),
    "retain": lambda journal, _: journal.retain(RetentionPolicy(max_rows=1, max_age=timedelta(seconds=1))),
}


async def test_every_call_is_told_and_reads_go_on(failing_disk: Any, journal: Journal, clock: Any) -> None:
    kept = [seq for number in range(30) for seq in await journal.store.append([note(number)])]
    await asyncio.to_thread(failing_disk.turn_read_only)
    for _ in range(2):
        for call in CALLS.values():
            with pytest.raises(Transient):
                await call(journal, failing_disk.folder)
        assert not await journal.store.checkpoint()
        assert [record.seq for record in await journal.store.history("r")] == kept
        assert len(await journal.query("events", kind="note")) == len(kept)
        assert (await journal.verify()).broken_seq is None
    assert journal.store.counters.checkpoints_skipped > 0
    await journal.close()
    await after_the_repair(failing_disk, clock, kept)


async def test_it_turns_read_only_in_the_midst_of_commits(failing_disk: Any, clock: Any) -> None:
    """Many write while the disk turns: what was acknowledged is there, whoever was refused was told."""
    journal = await Journal.open(failing_disk.folder / "state", clock, limits=BUSY)
    outcomes = [asyncio.create_task(journal.store.append([note(number)])) for number in range(3_000)]
    await outcomes[0]
    await asyncio.to_thread(failing_disk.turn_read_only)
    done = await asyncio.gather(*outcomes, return_exceptions=True)
    kept = [one[0] for one in done if isinstance(one, list)]
    assert 0 < len(kept) < len(done)
    assert all(
        isinstance(one, list | Transient | Fatal) for one in done
    )  # Fatal within a checkpoint, or before the mark
    with contextlib.suppress(Fatal):
        await journal.close()
    await after_the_repair(failing_disk, clock, kept)
