"""A journal of each release, as a power cut left it, opens in this one: nothing is lost, the views are ours.

To add one, run this release for a while on an empty folder, cut it and copy the folder here with what is in it.
"""

import asyncio
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal import Journal, RetentionPolicy
from journal.engine.codec import decode

GOLDEN = sorted((Path(__file__).parent / "golden").iterdir())
SINCE = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize("release", GOLDEN, ids=lambda path: path.name)
async def test_a_journal_of_an_earlier_release_opens(tmp_path: Path, clock, release: Path) -> None:
    folder = tmp_path / "state"
    await asyncio.to_thread(shutil.copytree, release, folder)
    expected = json.loads(await asyncio.to_thread((release / "expected.json").read_text))
    journal = await Journal.open(folder, clock)
    assert journal.rescue_notes == ()
    assert (await journal.verify()).broken_seq is None
    assert (await journal.query("events", kind="journal.opened"))[-1]["name"] == f"release {release.name}"
    assert journal.head.seq == expected["last_seq"] + 1  # the note that it was opened
    for run_id, kinds in expected["runs"].items():
        history = await journal.store.history(run_id)
        assert [record.kind for record in history] == kinds
        assert all(decode(record.payload) for record in history)
    assert [run.run_id for run in await journal.store.open_runs()] == expected["open_runs"]
    assert [item.message.message_id for item in journal.outbox.pending()] == expected["outbox"]
    assert [row["branch"] for row in await journal.query("branches", run_id="done")] == expected["branches"]
    assert [row["alarm_id"] for row in await journal.query("alarms")] == expected["alarms"]
    assert len(journal.samples.recent(expected["points"], SINCE)) == expected["samples"]
    await journal.retain(RetentionPolicy(max_rows=1))
    assert (await journal.verify()).broken_seq is None
    await journal.close()
