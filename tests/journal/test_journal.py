"""The one door: opens everything, tells what was rescued, keeps its key to itself."""

import asyncio
from pathlib import Path

import pytest

from drivers.base import Message
from drivers.errors import Misconfigured
from journal import Journal, Outbox
from journal.engine.codec import decode
from journal.engine.ports import Entry
from journal.rescue import DATABASE_NAME


async def test_a_day_in_short(tmp_path: Path, clock) -> None:
    journal = await Journal.open(tmp_path / "state", clock, boot_note="first start")
    assert journal.rescue_notes == ()
    message = Message(message_id="a-1", topic="alarm/T1", payload=b"{}")
    alarm = Entry(kind="alarm", key="a", name="active", payload=b"{}")
    await journal.store.append([alarm, Outbox.entry(message, asset_id="T1", criticality=1)])
    assert journal.outbox.next_due().message == message
    await journal.close()
    key = tmp_path / "state" / "journal.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    journal = await Journal.open(tmp_path / "state", clock, boot_note="second start")
    assert [row["name"] for row in await journal.query("events", kind="journal.opened")] == [
        "second start",
        "first start",
    ]
    assert [row["alarm_id"] for row in await journal.query("alarms")] == ["a"]
    assert journal.outbox.next_due().message == message
    assert (await journal.verify()).broken_seq is None
    await journal.close()


async def test_a_rescue_is_in_the_journal(tmp_path: Path, clock) -> None:
    journal = await Journal.open(tmp_path, clock)
    await journal.store.append([Entry(kind="note")] * 10)
    await journal.close()
    (tmp_path / DATABASE_NAME).write_bytes(b"garbage" * 10_000)
    journal = await Journal.open(tmp_path, clock)
    rows = await journal.query("events", kind="journal.rescued")
    assert sorted(row["name"] for row in rows) == ["database_set_aside", "numbers_lost"]
    notes = {note.rung: note for note in journal.rescue_notes}
    assert (notes["numbers_lost"].lost_from, notes["numbers_lost"].lost_to) == (1, 11)
    assert {decode(row["payload"])["lost_to"] for row in rows} == {11}
    assert (journal.store.epoch, [row["seq"] for row in rows]) == (2, [14, 13])
    await journal.close()


async def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path, clock) -> None:
    journal = await Journal.open(tmp_path, clock)
    with pytest.raises(Misconfigured, match="another blackstart daemon"):
        await Journal.open(tmp_path, clock)
    await journal.store.append([Entry(kind="note")])
    await journal.close()


async def test_the_key_may_come_from_outside(tmp_path: Path, clock, monkeypatch) -> None:
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "journal.key").write_bytes(b"short")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    with pytest.raises(Misconfigured, match="needs 32"):
        await Journal.open(state, clock)
    (credentials / "journal.key").write_bytes(b"s" * 40)
    await (await Journal.open(state, clock)).close()  # the refusal above has let go of the lock
    assert not (state / "journal.key").exists()
    with pytest.raises(Misconfigured, match="does not exist"):
        await Journal.open(state, clock, key_file=tmp_path / "none")
    journal = await Journal.open(state, clock, key_file=await asyncio.to_thread(other_key, tmp_path))
    assert (await journal.verify()).broken_seq == 1
    await journal.close()


def other_key(folder: Path) -> Path:
    (folder / "other").write_bytes(b"o" * 32)
    return folder / "other"
