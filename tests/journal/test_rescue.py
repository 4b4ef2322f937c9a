"""Whatever lies in the state folder, the journal comes up, says what is lost and never gives a number twice."""

import asyncio
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from drivers.errors import Misconfigured
from journal.commit_log import LOG_NAME
from journal.damage import leftover_bytes
from journal.engine.ports import Entry
from journal.mark import Mark, MarkValue
from journal.opening import DATABASE_NAME, WAL_NAME
from journal.rescue import LOCK_NAME, MARK_NAME, boot
from journal.writer import Limits

ROWS = 40


def entry(number: int) -> Entry:
    return Entry(kind="step.done", run_id="r", key=f"s#{number}", payload=b"p" * (number * 7 % 90))


@pytest.fixture
async def cut(open_store, tmp_path: Path) -> Path:
    """A state folder as a cut leaves it: 20 rows checkpointed, 20 in DuckDB's log alone, the mark at 40."""
    live = tmp_path / "live"
    store = await open_store(live, Limits(idle_s=60, ballast_bytes=0))
    for number in range(1, ROWS + 1):
        await store.append([entry(number)])
        await (store.checkpoint() if number == ROWS // 2 else store.history("r"))
    folder = tmp_path / "cut"
    shutil.copytree(live, folder)
    (folder / LOG_NAME).unlink()  # what DuckDB's log has lost would come back from ours
    return folder


def flipped_bit(folder: Path) -> None:
    wal = folder / WAL_NAME
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 4
    wal.write_bytes(content)


def truncated(folder: Path) -> None:
    wal = folder / WAL_NAME
    wal.write_bytes(wal.read_bytes()[: wal.stat().st_size // 2])


def log_gone(folder: Path) -> None:
    (folder / WAL_NAME).unlink()


def zeroed_log(folder: Path) -> None:
    wal = folder / WAL_NAME
    wal.write_bytes(bytes(wal.stat().st_size))


def zeroed_header(folder: Path) -> None:
    with (folder / DATABASE_NAME).open("r+b") as file:
        file.write(bytes(12288))


def garbage_database(folder: Path) -> None:
    size = (folder / DATABASE_NAME).stat().st_size
    (folder / DATABASE_NAME).write_bytes(random.Random(1).randbytes(size))


def database_gone(folder: Path) -> None:
    (folder / DATABASE_NAME).unlink()


def everything_empty(folder: Path) -> None:
    (folder / DATABASE_NAME).write_bytes(b"")
    (folder / WAL_NAME).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "kept_at_least"),
    [
        (flipped_bit, ROWS // 2),
        (truncated, ROWS // 2),
        (log_gone, ROWS // 2),
        (zeroed_log, ROWS // 2),
        (zeroed_header, 0),
        (garbage_database, 0),
        (database_gone, 0),
        (everything_empty, 0),
    ],
)
async def test_damage_never_keeps_the_journal_shut(cut: Path, open_store, damage, kept_at_least: int) -> None:
    damage(cut)
    store = await open_store(cut)
    kept = [record.seq for record in await store.history("r")]
    assert kept == list(range(1, len(kept) + 1))  # a prefix
    assert kept_at_least <= len(kept) < ROWS
    assert store.epoch == 2
    (seq,) = await store.append([entry(99)])
    assert seq == ROWS + 1
    await store.close()
    booted = await asyncio.to_thread(boot, cut)
    booted.close()
    assert (booted.notes, booted.epoch) == ((), 2)  # the second start is an ordinary one


def test_notes_tell_what_is_lost_and_what_was_set_aside(cut: Path) -> None:
    flipped_bit(cut)
    booted = boot(cut)
    rows = [seq for (seq,) in booted.connection.execute("SELECT seq FROM event ORDER BY seq").fetchall()]
    booted.close()
    assert len(rows) > ROWS // 2  # every entry before the damage
    assert {note.rung for note in booted.notes} >= {"wal_cut", "numbers_lost"}
    assert {(note.lost_from, note.lost_to, note.epoch) for note in booted.notes} == {(len(rows) + 1, ROWS, 2)}
    lost = next(note for note in booted.notes if note.rung == "numbers_lost")
    assert lost.detail == f"sequence numbers lost from {len(rows) + 1} up to the mark {ROWS}"
    aside = [name for note in booted.notes for name in note.set_aside]
    assert f"{WAL_NAME}.rescued-1" in aside
    assert all((cut / name).exists() for name in aside)


async def test_a_plain_cut_needs_no_rescue(cut: Path, open_store) -> None:
    store = await open_store(cut)
    assert (store.epoch, len(await store.history("r"))) == (1, ROWS)
    assert (await store.verify()).broken_seq is None
    assert await store.append([entry(99)]) == [ROWS + 1]


def set_mark_back(folder: Path) -> None:
    mark = Mark(folder / MARK_NAME)
    chain = mark.value.chain
    mark.write(MarkValue(1, ROWS - 3, chain))
    mark.write(MarkValue(1, ROWS - 2, chain))
    mark.close()


async def test_rows_behind_the_mark_are_kept_and_counted(cut: Path, open_store) -> None:
    """Killed between COMMIT and the rewrite of the mark."""
    await asyncio.to_thread(set_mark_back, cut)
    store = await open_store(cut)
    assert (store.epoch, len(await store.history("r"))) == (1, ROWS)
    assert await store.append([entry(99)]) == [ROWS + 1]


def test_a_lost_mark_is_noted(cut: Path) -> None:
    (cut / MARK_NAME).unlink()
    booted = boot(cut)
    booted.close()
    assert [note.rung for note in booted.notes] == ["mark_lost"]
    assert (booted.epoch, booted.last_seq) == (2, ROWS)


async def test_random_damage_to_the_log(cut: Path, tmp_path: Path, open_store, seed: int) -> None:
    chance = random.Random(seed)
    original = (cut / WAL_NAME).read_bytes()
    for number in range(25):
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(cut, folder)
        content = bytearray(original[: chance.randrange(len(original) // 2, len(original) + 1)])
        for _ in range(chance.randrange(3)):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (folder / WAL_NAME).write_bytes(content)
        store = await open_store(folder)
        kept = [record.seq for record in await store.history("r")]
        assert kept == list(range(1, len(kept) + 1))
        assert len(kept) >= ROWS // 2
        assert await store.append([entry(99)]) == [ROWS + 1]
        assert (store.epoch == 1) == (len(kept) == ROWS and bytes(content) == original)
        await store.close()


def test_rescued_files_do_not_pile_up(cut: Path) -> None:
    for _ in range(12):
        garbage_database(cut)
        boot(cut).close()
    assert len(list(cut.glob("*.rescued-*"))) == 8


def test_only_one_daemon(cut: Path) -> None:
    booted = boot(cut)
    with pytest.raises(Misconfigured, match=rf"{LOCK_NAME}: another blackstart daemon runs"):
        boot(cut)
    booted.close()
    boot(cut).close()


def test_a_shell_on_the_database_is_not_taken_for_damage(cut: Path) -> None:
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]);print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, cut / DATABASE_NAME]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:  # ends with its stdin
        assert shell.stdout.readline() == b"open\n"
        with pytest.raises(Misconfigured, match="another program has the database open"):
            boot(cut)
        shell.stdin.close()
    assert not list(cut.glob("*.rescued-*"))


def test_another_schema_version_is_refused_not_set_aside(cut: Path) -> None:
    with duckdb.connect(cut / DATABASE_NAME) as connection:
        connection.execute("UPDATE meta SET value = '999'")
    with pytest.raises(Misconfigured, match="schema version"):
        boot(cut)
    assert not list(cut.glob("*.rescued-*"))


def test_frames_of_a_clean_log_end_where_it_ends(cut: Path) -> None:
    content = (cut / WAL_NAME).read_bytes()
    assert leftover_bytes(content) == 0
    assert leftover_bytes(content + b"torn") == 4
    assert leftover_bytes(content + struct.pack("<QQ", 1 << 40, 0)) == 16
    assert leftover_bytes(b"") == 0
