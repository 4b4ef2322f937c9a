"""`blackstart journal …` on a journal that a daemon holds, on files at rest, and on damaged ones."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from drivers.clock import SystemClock
from drivers.errors import BadInput, BlackstartError
from gateway import cli_journal, cli_print
from gateway.cli_journal import journal_app
from gateway.control import SOCKET_NAME, serve
from gateway.journal_views import JournalViews, head_of, heads_of
from gateway.rescue_alarm import rescue_judgements
from journal import Journal, Limits
from journal.engine.ports import Entry

pytestmark = pytest.mark.may_block  # the daemon serves its socket from the start; here within a test
PASSES_MAX = 1000
DATABASE, WAL = "blackstart.duckdb", "blackstart.duckdb.wal"
ROWS = 40


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    config = SimpleNamespace(gateway=SimpleNamespace(state_dir=folder))
    for module in (cli_print, cli_journal):
        monkeypatch.setattr(module, "load", lambda _: config)
    return folder


async def written(folder: Path) -> Journal:
    journal = await Journal.open(folder, SystemClock(), limits=Limits(ballast_bytes=0))
    for number in range(ROWS):
        await journal.store.append([Entry(kind="note", key=f"{number}", payload=bytes([number]) * 1500)])
    return journal


@pytest.fixture
async def daemon(state: Path) -> AsyncIterator[Journal]:
    journal = await written(state)
    serving = asyncio.create_task(serve(state, JournalViews(journal).handlers()))
    for _ in range(PASSES_MAX):
        if (state / SOCKET_NAME).exists():
            break
        await asyncio.sleep(0)
    yield journal
    serving.cancel()
    await asyncio.wait([serving])
    await journal.close()


@pytest.fixture
async def resting(state: Path) -> Path:
    """Files that a daemon left in good order."""
    await (await written(state)).close()
    return state


WRITE_AND_DIE = """
import asyncio, os, sys
from pathlib import Path
from drivers.clock import SystemClock
from journal import Journal
from journal.engine.ports import Entry
async def main():
    journal = await Journal.open(Path(sys.argv[1]), SystemClock())
    for number in range(40):
        await journal.store.append([Entry(kind="note", key=f"{number}", payload=bytes([number]) * 500)])
        await journal.store.newest(1)  # each row by itself in DuckDB's log
    os._exit(0)
asyncio.run(main())
"""


@pytest.fixture
async def damaged(state: Path) -> Path:
    """Files after a power cut, with a byte of the log's middle changed."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITE_AND_DIE, str(state))
    assert await child.wait() == 0
    log = bytearray((state / WAL).read_bytes())
    log[len(log) // 2] ^= 0x10
    (state / WAL).write_bytes(log)
    (state / "journal.log").unlink()  # it would give back what DuckDB's log has lost
    return state


@pytest.fixture
def command() -> Callable[..., Any]:
    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, journal_app, [*arguments], env={"COLUMNS": "200"})
        assert result.exit_code == code, (result.output, result.exception)
        return str(result.exception) if isinstance(result.exception, BlackstartError) else result.output

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


async def test_the_daemon_verifies_snapshots_and_exports_what_it_holds(
    daemon: Journal, state: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    answer = json.loads(await command("verify", "--json"))
    assert (answer["rows"], answer["broken_seq"]) == (ROWS + 1, None)
    assert answer["head"] == head_of(daemon.head)
    assert f"{ROWS + 1} rows, each follows from the one before; head 1:" in await command("verify")
    await daemon.store.append([Entry(kind="note", key="later")])
    assert json.loads(await command("verify", "--head", answer["head"], "--json"))["broken_seq"] is None
    assert await command("snapshot") == f"{state / 'snapshot.duckdb'}\n"
    files = (await command("export", str(tmp_path / "out"))).split()
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT count(*) FROM read_parquet('{files[0]}')").fetchall() == [(ROWS + 2,)]
    assert "could not be exported" in await command("export", "/proc/none", code=1)


async def test_a_head_that_is_not_there_is_a_finding(daemon: Journal, command: Callable[..., Any]) -> None:
    head = daemon.head
    assert head is not None
    forged = f"{head.epoch}:{head.seq}:{bytes(32).hex()}"
    assert f"row {head.seq}: it is not the row that was published" in await command("verify", "--head", forged, code=1)
    assert "it is epoch:sequence:link" in await command("verify", "--head", "5", code=1)


@pytest.mark.parametrize("text", ["", "1:2", "1:2:xyz", "1:2:00", "-1:2:" + "00" * 32, "1:a:" + "00" * 32])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is no head"):
        heads_of([text])


def test_at_most_a_thousand_heads_are_looked_for() -> None:
    with pytest.raises(BadInput, match="at most 1000"):
        heads_of(["1:1:" + "00" * 32] * 1001)


async def test_rescue_is_refused_while_a_daemon_runs(daemon: Journal, command: Callable[..., Any]) -> None:
    last_seq = daemon.store.last_seq
    assert "stop it first" in await command("rescue", code=1)
    assert (await daemon.verify()).broken_seq is None
    assert daemon.store.last_seq == last_seq


async def test_files_at_rest_are_verified_and_exported_and_stay_as_they_are(
    resting: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    before = contents(resting)
    answer = json.loads(await command("verify", "--json"))
    assert (answer["rows"], answer["broken_seq"]) == (ROWS + 1, None)
    assert answer["head"].startswith(f"1:{ROWS + 1}:")
    files = json.loads(await command("export", str(tmp_path / "out"), "--json"))["files"]
    assert [Path(file).name.partition(".")[0] for file in files] == ["event", "blob"]
    assert contents(resting) == before
    assert "nothing had to be mended" in await command("rescue")


async def test_a_changed_row_is_named(resting: Path, command: Callable[..., Any]) -> None:
    with duckdb.connect(resting / DATABASE) as connection:
        connection.execute("UPDATE event SET name = 'forged' WHERE seq = 7")
    assert "row 7: it does not follow from the row before; the 6 rows before it" in await command("verify", code=1)


async def test_rows_taken_from_the_end_are_found_by_the_mark(resting: Path, command: Callable[..., Any]) -> None:
    with duckdb.connect(resting / DATABASE) as connection:
        connection.execute("DELETE FROM event WHERE seq > 10")
    (resting / "journal.log").unlink()  # it would give them back
    answer = json.loads(await command("verify", "--json", code=1))
    assert answer["broken_seq"] == 11
    assert answer["reason"] == f"rows up to {ROWS + 1} were acknowledged and are not there"


async def test_rescue_shows_its_rungs_and_the_next_start_tells_scada(
    damaged: Path, command: Callable[..., Any]
) -> None:
    refused = await command("verify", code=1)
    assert "journal rescue" in refused or "were acknowledged and are not there" in refused
    notes = json.loads(await command("rescue", "--json", code=1))
    assert {note["rung"] for note in notes} >= {"wal_cut", "numbers_lost"}
    assert notes[0]["lost_to"] >= notes[0]["lost_from"] > 1
    assert await command("rescue") == "the journal opens as it is; nothing had to be mended\n"
    journal = await Journal.open(damaged, SystemClock())
    assert [note.rung for note in journal.rescue_notes] == [note["rung"] for note in notes]
    (first, *_) = rescue_judgements("gw", journal.rescue_notes, SystemClock())
    assert first.finding is not None
    assert (await journal.verify()).broken_seq is None
    await journal.close()
    journal = await Journal.open(damaged, SystemClock())
    assert journal.rescue_notes == ()
    await journal.close()


@pytest.mark.usefixtures("damaged")
async def test_rescue_says_what_is_lost(command: Callable[..., Any]) -> None:
    told = await command("rescue", code=1)
    assert "wal_cut" in told
    assert f"to at least {ROWS + 1}; the daemon's next start raises an alarm" in told


async def test_without_a_journal_or_its_key_nothing_is_made(state: Path, command: Callable[..., Any]) -> None:
    assert "the journal's key is not there; name it with --key" in await command("rescue", code=1)
    assert "the journal's key is not there" in await command("verify", code=1)
    assert "there is no journal" in await command("export", str(state / "out"), code=1)
    assert "no daemon answers" in await command("snapshot", code=1)
    assert contents(state) == {}


async def test_another_key_is_named_on_the_command_line(
    resting: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    key = (resting / "journal.key").rename(tmp_path / "kept.key")
    assert "rows, each follows" in await command("verify", "--key", str(key))
    key.write_bytes(bytes(32))
    assert "row 1: it does not follow" in await command("verify", "--key", str(key), code=1)
