"""The one door: opens everything, tells what was rescued, keeps its key to itself."""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from drivers.base import Message
from drivers.errors import BlackstartError, Fatal, Misconfigured
from journal import Journal, Outbox
from journal.engine.codec import decode
from journal.engine.ports import Entry
from journal.opening import DATABASE_NAME


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
    (tmp_path / "journal.log").unlink()
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


async def has_whole_history(journal: Journal) -> bool:
    try:
        return len(await journal.store.history("r")) in (0, 300) and (await journal.verify()).broken_seq is None
    except BlackstartError:
        return False


def damage_page(database: Path, place: float) -> None:
    content = bytearray(database.read_bytes())
    at = 12288 + int((len(content) - 12288) * place) // 4096 * 4096  # behind the headers
    content[at : at + 4096] = bytes(4096)
    database.write_bytes(content)


@pytest.mark.parametrize("place", [0.01, 0.2, 0.4, 0.6, 0.8, 0.99])
async def test_a_bad_block_is_no_crash_loop(tmp_path: Path, clock, place: float) -> None:
    """DuckDB finds a bad block only when it reads it: the start after that one looks closely and begins anew."""
    journal = await Journal.open(tmp_path, clock)
    noise = random.Random(7)
    await journal.store.append([Entry(kind="step.done", run_id="r", payload=noise.randbytes(900)) for _ in range(300)])
    await journal.close()
    damage_page(tmp_path / DATABASE_NAME, place)
    first = await Journal.open(tmp_path, clock)
    whole_at_first = await has_whole_history(first)
    with contextlib.suppress(Fatal):  # its last checkpoint may meet the block
        await first.close()
    second = await Journal.open(tmp_path, clock)
    assert await has_whole_history(second)
    rescued = [note.rung for note in first.rescue_notes + second.rescue_notes]
    assert ("database_set_aside" in rescued) or whole_at_first
    assert (await second.store.append([Entry(kind="note")]))[0] > 301  # no number twice
    await second.close()
