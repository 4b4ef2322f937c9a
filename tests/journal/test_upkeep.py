"""Snapshot, export, retention, verification: the file shrinks, what must stay stays, the chain still holds."""

import asyncio
import os
import shutil
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from drivers.base import Message
from drivers.errors import Transient
from journal import Journal, Outbox, RetentionPolicy
from journal.engine.ports import Entry
from journal.opening import DATABASE_NAME, SNAPSHOT_NAME, WAL_NAME
from journal.retention import DRAFT_NAME, copy


def run(name: str, *, end: str = "", size: int = 2000) -> list[Entry]:
    entries = [Entry(kind="run.started", run_id=name, key=name, name="investigate")]
    entries += [Entry(kind="step.done", run_id=name, key=f"s#{n}", payload=os.urandom(size)) for n in range(5)]
    entries.append(Entry(kind="graph.episode", run_id=name, key=f"episode-{name}", name="confirmed"))
    return [*entries, *([Entry(kind=end, run_id=name)] if end else [])]


def queued(number: int) -> Entry:
    return Outbox.entry(Message(message_id=f"m{number}", topic="t", payload=b"{}"), asset_id="T1", criticality=1)


def names(folder: Path, part: str) -> list[str]:
    return [path.name for path in folder.iterdir() if part in path.name]


async def filled(folder: Path, clock) -> Journal:
    journal = await Journal.open(folder, clock)
    for number in range(60):
        await journal.store.append(run(f"done-{number}", end="run.done"))
    await journal.store.append(run("failed", end="run.failed"))
    await journal.store.append(run("open"))
    await journal.store.append([Entry(kind="alarm", key="a1", name="raised"), queued(1), queued(2)])
    await journal.store.append([Entry(kind="alarm", key="a1", name="cleared"), Entry(kind="outbox.sent", key="m1")])
    return journal


async def kinds(journal: Journal, kind: str) -> list[tuple[str, str]]:
    rows = await journal.query("events", kind=kind, limit=10_000)
    return [(row["run_id"] or row["key"], row["name"]) for row in reversed(rows)]


async def test_retention_keeps_what_must_stay_and_shrinks_the_file(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path, clock)
    head = journal.head
    retained = await journal.retain(RetentionPolicy(max_rows=20), export_to=tmp_path / "old")
    assert retained.bytes_after < retained.bytes_before / 2
    assert (tmp_path / DATABASE_NAME).stat().st_size == retained.bytes_after
    assert len(await kinds(journal, "graph.episode")) == 62
    assert await kinds(journal, "run.started") == [("open", "investigate")]
    assert len(await journal.store.history("open")) == 7
    assert {len(record.payload) for record in await journal.store.history("open")} == {0, 2000}
    assert await kinds(journal, "alarm") == [("a1", "cleared")]
    assert [row["message_id"] for row in await journal.query("outbox") if row["state"] == "pending"] == ["m2"]
    found = await journal.verify([head])
    assert (found.broken_seq, found.reason) == (None, "")
    (old,) = (tmp_path / "old").glob("event.*.parquet")
    with duckdb.connect() as connection:
        exported = connection.execute(f"SELECT count(*) FROM read_parquet('{old}')").fetchall()
    assert exported == [(retained.rows_dropped,)]
    numbers = await journal.store.append(run("later", end="run.done"))
    assert numbers[0] == head.seq + 2  # the tombstone took one
    await journal.close()
    journal = await Journal.open(tmp_path, clock)
    assert (journal.rescue_notes, (await journal.verify()).broken_seq) == ((), None)
    await journal.close()
    assert not names(tmp_path, "rescued")


async def test_retention_again_and_again_keeps_the_chain(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path, clock)
    for number in range(4):
        await journal.retain(RetentionPolicy(max_rows=400 - 100 * number))
        await journal.store.append(run(f"more-{number}", end="run.done"))
        assert (await journal.verify()).broken_seq is None
    await journal.close()


async def test_failed_runs_are_kept_longer(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path, clock)  # the clock moves a second with each append
    clock.looks += 3600
    assert (await journal.retain(RetentionPolicy(max_age=timedelta(hours=2)))).rows_dropped == 0
    await journal.retain(RetentionPolicy(max_age=timedelta(minutes=30)))
    assert [run_id for run_id, _ in await kinds(journal, "run.started")] == ["failed", "open"]
    clock.looks += 3600
    await journal.retain(RetentionPolicy(max_age=timedelta(minutes=30), failed_max_age=timedelta(minutes=31)))
    assert [run_id for run_id, _ in await kinds(journal, "run.started")] == ["open"]
    assert (await journal.verify()).broken_seq is None
    await journal.close()


async def test_age_counts_only_while_the_clock_is_trusted(tmp_path: Path, clock, monkeypatch) -> None:
    journal = await filled(tmp_path, clock)
    clock.looks += 10 * 365 * 86_400
    monkeypatch.setattr(clock, "trusted", lambda: False)
    assert (await journal.retain(RetentionPolicy(max_age=timedelta(days=1)))).rows_dropped == 0
    await journal.close()


async def test_commits_go_on_while_retention_copies(tmp_path: Path, clock, monkeypatch) -> None:
    journal = await filled(tmp_path, clock)
    numbers: list[int] = []
    checkpoints: list[bool] = []  # none while the file is copied

    def copy_while_appending(*arguments: object) -> object:
        draft = copy(*arguments)
        appended = asyncio.run_coroutine_threadsafe(journal.store.append(run("meanwhile")), loop)
        numbers.extend(appended.result(10))
        checkpoints.append(asyncio.run_coroutine_threadsafe(journal.store.checkpoint(), loop).result(10))
        return draft

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("journal.upkeep.copy", copy_while_appending)
    await journal.retain(RetentionPolicy(max_rows=20))
    assert [record.seq for record in await journal.store.history("meanwhile")] == numbers
    assert (checkpoints, await journal.store.checkpoint()) == ([False], True)
    assert [run.run_id for run in await journal.store.open_runs()] == ["open", "meanwhile"]
    assert (await journal.verify()).broken_seq is None
    await journal.close()


async def test_a_row_taken_out_after_retention_is_found(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path, clock)
    await journal.retain(RetentionPolicy(max_rows=20))
    await journal.close()
    with duckdb.connect(tmp_path / DATABASE_NAME) as connection:
        rows = connection.execute("SELECT seq FROM event ORDER BY seq").fetchall()
        connection.execute("DELETE FROM event WHERE seq = ?", [rows[3][0]])
    journal = await Journal.open(tmp_path, clock)
    assert (await journal.verify()).broken_seq == rows[4][0]
    await journal.close()


async def test_an_anchor_finds_rows_taken_from_the_end(tmp_path: Path, clock) -> None:
    """Somebody without the key who cuts the end off and forges the mark, which has none."""
    journal = await Journal.open(tmp_path, clock)
    await journal.store.append([Entry(kind="note")] * 5)
    head = journal.head
    await journal.close()
    with duckdb.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("DELETE FROM event WHERE seq > 3")
    (tmp_path / "journal.mark").unlink()
    (tmp_path / "journal.log").unlink()
    journal = await Journal.open(tmp_path, clock)
    assert (await journal.verify()).broken_seq is None
    assert (await journal.verify([head])).broken_seq == head.seq
    await journal.close()


async def test_a_snapshot_is_the_journal(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path / "a", clock)
    path = await journal.snapshot()
    assert path.name == SNAPSHOT_NAME
    await journal.store.append([Entry(kind="note")])
    await journal.close()
    await asyncio.to_thread(lambda: ((tmp_path / "b").mkdir(), shutil.copyfile(path, tmp_path / "b" / DATABASE_NAME)))
    await asyncio.to_thread(shutil.copyfile, tmp_path / "a" / "journal.key", tmp_path / "b" / "journal.key")
    copy = await Journal.open(tmp_path / "b", clock)
    assert (await copy.verify()).broken_seq is None
    assert len(await kinds(copy, "run.started")) == 62
    assert await kinds(copy, "note") == []
    await copy.close()


async def test_a_snapshot_holds_what_an_unclean_end_left_in_the_log(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path / "live", clock)
    await journal.store.checkpoint()
    await journal.store.append([Entry(kind="note", key="in the log")])
    await asyncio.to_thread(shutil.copytree, tmp_path / "live", tmp_path / "cut")
    await journal.close()
    journal = await Journal.open(tmp_path / "cut", clock)
    path = await journal.snapshot()
    with duckdb.connect(path, read_only=True) as connection:
        assert connection.execute("SELECT key FROM event WHERE kind = 'note'").fetchall() == [("in the log",)]
    await journal.close()


async def test_a_snapshot_is_made_when_it_is_a_day_old(tmp_path: Path, clock, monkeypatch) -> None:
    monkeypatch.setattr("journal.upkeep.FIRST_CHECK_S", 0.01)
    made = asyncio.Event()
    monkeypatch.setattr("journal.upkeep.Upkeep.snapshot", lambda _: asyncio.to_thread(made.set))
    journal = await Journal.open(tmp_path, clock)
    await asyncio.wait_for(made.wait(), 10)
    await journal.close()


async def test_export_holds_every_row(tmp_path: Path, clock) -> None:
    journal = await filled(tmp_path, clock)
    event, blob = await journal.export(tmp_path / "it's here")
    quoted = [str(path).replace("'", "''") for path in (event, blob)]
    with duckdb.connect() as connection:
        counts = [connection.execute(f"SELECT count(*) FROM read_parquet('{path}')").fetchall() for path in quoted]
    assert counts == [[(journal.head.seq,)], [(62 * 5,)]]
    await journal.close()


async def test_retention_that_fails_changes_nothing(tmp_path: Path, clock, monkeypatch) -> None:
    journal = await filled(tmp_path, clock)

    def fail(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    monkeypatch.setattr("journal.writer.complete", fail)
    with pytest.raises(Transient, match="could not finish"):
        await journal.retain(RetentionPolicy(max_rows=20))
    monkeypatch.undo()
    assert not names(tmp_path, DRAFT_NAME)
    assert len(await kinds(journal, "run.started")) == 62
    assert (await journal.verify()).broken_seq is None
    await journal.retain(RetentionPolicy(max_rows=20))
    assert not (tmp_path / WAL_NAME).exists()
    await journal.close()
