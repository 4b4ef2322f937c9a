"""Damage of every kind to the log and the headers: it always boots, what is kept is a true prefix, losses are told."""

import random
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal.opening
from journal.commit_log import LOG_NAME
from journal.damage import HEADERS_BYTES, checksum, damaged_header, leftover_bytes, mended_length
from journal.engine.ports import Entry
from journal.insert import Inserter
from journal.opening import DATABASE_NAME, SNAPSHOT_NAME, WAL_NAME
from journal.reader import SessionLost
from journal.rescue import MARK_NAME, Booted, boot
from journal.writer import Limits, Unit, Writer

KEY = b"k" * 32
ROWS = 40
FEW_ROWS = 22
SAMPLE = 60  # states in the normal run
FILES = (DATABASE_NAME, WAL_NAME, MARK_NAME)


def entry(number: int) -> Entry:
    """Payloads of equal words, to which DuckDB's checksum is blind, of noise, and one beyond the row."""
    size = (number * 977) % 1500
    payload = random.Random(number).randbytes(size) if number % 3 else b"p" * size
    return Entry(kind="step.done", run_id="r", key=f"s#{number}", payload=payload)


def made(tmp_path_factory: pytest.TempPathFactory, *, taken_over: bool, rows: int = ROWS) -> Path:
    """A state folder as a cut leaves it: 20 rows in the database, the others in a log, the mark at the last one."""
    live = tmp_path_factory.mktemp("live")
    writer = Writer(boot(live, lambda: KEY), key=KEY, boot_id="b", limits=Limits(ballast_bytes=0))
    for number in range(1, rows + 1):
        wall = datetime(2026, 3, 1, tzinfo=UTC)
        writer.commit([Unit(entries=(entry(number),), wall=wall, size_bytes=0)])
        if number == ROWS // 2:
            writer.checkpoint()
        if taken_over:
            assert writer.reader  # so that its row is in DuckDB's log, in a transaction of its own
    folder = tmp_path_factory.mktemp("cut") / "state"
    shutil.copytree(live, folder)
    writer.close()
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest 20 rows are in DuckDB's log alone: what that one loses would come back from ours."""
    folder = made(tmp_path_factory, taken_over=True)
    (folder / LOG_NAME).unlink()
    return folder


@pytest.fixture(scope="module")
def cut_few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With so few rows in DuckDB's log that each of its bits can be flipped."""
    folder = made(tmp_path_factory, taken_over=True, rows=FEW_ROWS)
    (folder / LOG_NAME).unlink()
    return folder


@pytest.fixture(scope="module")
def cut_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The newest 20 rows are in `journal.log` alone."""
    return made(tmp_path_factory, taken_over=False)


def frames(content: bytes) -> list[int]:
    """Where each frame of a clean log begins, and its end."""
    walks = []
    for start in (at for at in range(8, 160) if content[at - 2 : at] == b"\xff\xff"):
        offsets = [start]
        while offsets[-1] + 16 <= len(content):
            offsets.append(offsets[-1] + 16 + struct.unpack_from("<Q", content, offsets[-1])[0])
        walks.append(offsets)
    return max((walk for walk in walks if walk[-1] == len(content)), key=len)


def truncations(log: bytes) -> Iterator[tuple[str, bytes]]:
    """At each class of offsets: in the version record, a frame's start, length, checksum, payload and last byte."""
    yield from ((f"cut {at}", log[:at]) for at in (0, 1, 20))
    for at in frames(log)[:-1]:
        yield from ((f"cut {at}+{more}", log[: at + more]) for more in (0, 1, 8, 15, 16, 17))
    yield from ((f"cut {at}", log[:at]) for at in range(len(log) - 20, len(log)))


def zeroed(log: bytes) -> Iterator[tuple[str, bytes]]:
    """A sector of zeros anywhere, and zeros to the end from each class of offsets."""
    for at in range(0, len(log), 512):
        yield f"sector {at}", log[:at] + bytes(min(512, len(log) - at)) + log[at + 512 :]
    for at in frames(log)[:-1]:
        for more in (0, 8, 16, 30):
            yield f"zeros from {at}+{more}", (log[: at + more] + bytes(len(log)))[: len(log)]
    yield "4 KiB of zeros behind", log + bytes(4096)


def flips(log: bytes) -> Iterator[tuple[str, bytes]]:
    """Every bit of the lengths of some frames, and some bits of everything else."""
    chance = random.Random(3)
    places = [at * 8 + bit for at in frames(log)[:-1:7] for bit in range(64)]
    places += [chance.randrange(len(log) * 8) for _ in range(400)]
    for place in places:
        content = bytearray(log)
        content[place // 8] ^= 1 << place % 8
        yield f"bit {place}", bytes(content)


def lost_numbers(booted: Booted) -> set[int]:
    note = booted.notes[0] if booted.notes else None
    return set(range(note.lost_from, note.lost_to + 1)) if note is not None and note.lost_from else set()


def check(folder: Path, name: str, *, at_least: int = ROWS // 2, rows: int = ROWS) -> int:
    """Boot, compare each row kept with what was acknowledged, write on, boot again; how many rows were kept."""
    booted = boot(folder, lambda: KEY)
    writer = Writer(booted, key=KEY, boot_id="b", limits=Limits(ballast_bytes=0))
    kept = {record.seq: (record.key, record.payload) for record in writer.reader.history("r", 0, rows)}
    truth = {number: (entry(number).key, entry(number).payload) for number in range(1, rows + 1)}
    assert kept == {seq: truth[seq] for seq in range(1, len(kept) + 1)}, name
    assert len(kept) >= at_least, name
    assert lost_numbers(booted) == set(range(len(kept) + 1, rows + 1)), name
    assert (booted.epoch > 1) == bool(booted.notes), name
    unit = Unit(entries=(entry(99),), wall=datetime(2026, 3, 2, tzinfo=UTC), size_bytes=0)
    writer.commit([unit])
    assert unit.first_seq == rows + 1, name
    assert writer.verify(None, 1000)[0].broken_seq is None, name
    writer.finish()
    writer.close()
    again = boot(folder, lambda: KEY)
    again.close()
    assert (again.notes, again.state.tail.seq) == ((), rows + 1), name
    return len(kept)


def check_log(cut: Path, tmp_path: Path, name: str, content: bytes, rows: int = ROWS) -> int:
    folder = tmp_path / "state"
    folder.mkdir()
    for file in FILES:
        shutil.copyfile(cut / file, folder / file)
    (folder / WAL_NAME).write_bytes(content)
    kept = check(folder, name, rows=rows)
    shutil.rmtree(folder)
    return kept


MUTATIONS: dict[str, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    "truncated": truncations,
    "zeroed": zeroed,
    "flipped": flips,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_sample_of_damaged_logs(cut: Path, tmp_path: Path, seed: int, mutation: str) -> None:
    states = list(MUTATIONS[mutation]((cut / WAL_NAME).read_bytes()))
    for name, content in random.Random(seed).sample(states, SAMPLE // len(MUTATIONS)):
        check_log(cut, tmp_path, name, content)


@pytest.mark.crash_all
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_all_damaged_logs(cut: Path, tmp_path: Path, mutation: str) -> None:
    for name, content in MUTATIONS[mutation]((cut / WAL_NAME).read_bytes()):
        check_log(cut, tmp_path, name, content)


def own_frames(log: bytes) -> list[int]:
    """Where each entry of `journal.log` begins, and the end of the last one."""
    offsets = [0]
    while log[offsets[-1] : offsets[-1] + 4] == b"BSL1":
        offsets.append(offsets[-1] + 24 + struct.unpack_from("<I", log, offsets[-1] + 4)[0])
    return offsets


def damaged_own(log: bytes) -> Iterator[tuple[str, bytes]]:
    """Cuts, zeros and flipped bits at each class of offsets, and every single bit of some entries."""
    ends = own_frames(log)
    assert len(ends) > ROWS // 2
    for at in ends:
        yield from ((f"cut {at}+{more}", log[: at + more]) for more in (0, 1, 23, 24, 25))
        yield from ((f"zeros from {at}+{more}", log[: at + more] + bytes(len(log) - at - more)) for more in (0, 8, 30))
    for at in range(0, ends[-1], 512):
        yield f"sector {at}", log[:at] + bytes(512) + log[at + 512 :]
    chance = random.Random(3)
    places = [*range(ends[1] * 8, (ends[1] + 64) * 8), *(chance.randrange(ends[-1] * 8) for _ in range(400))]
    for place in places:
        content = bytearray(log)
        content[place // 8] ^= 1 << place % 8
        yield f"bit {place}", bytes(content)


def check_own(cut_early: Path, tmp_path: Path, name: str, content: bytes) -> int:
    folder = tmp_path / "state"
    shutil.copytree(cut_early, folder)
    (folder / LOG_NAME).write_bytes(content)
    kept = check(folder, name)
    shutil.rmtree(folder)
    return kept


def test_a_sample_of_damage_to_our_own_log(cut_early: Path, tmp_path: Path, seed: int) -> None:
    states = list(damaged_own((cut_early / LOG_NAME).read_bytes()))
    for name, content in random.Random(seed).sample(states, SAMPLE // 2):
        check_own(cut_early, tmp_path, name, content)


@pytest.mark.crash_all
def test_all_damage_to_our_own_log(cut_early: Path, tmp_path: Path) -> None:
    for name, content in damaged_own((cut_early / LOG_NAME).read_bytes()):
        check_own(cut_early, tmp_path, name, content)


def test_a_cut_before_the_database_took_over_costs_nothing(cut_early: Path, tmp_path: Path) -> None:
    assert not (cut_early / WAL_NAME).exists() or not (cut_early / WAL_NAME).stat().st_size
    folder = tmp_path / "state"
    shutil.copytree(cut_early, folder)
    assert check(folder, "plain") == ROWS


def test_an_older_database_is_not_mixed_with_newer_rows(cut_early: Path, tmp_path: Path) -> None:
    """The snapshot is older than what the log begins with: the rows between are lost, and those behind kept aside."""
    folder = tmp_path / "state"
    shutil.copytree(cut_early, folder)
    for name in (DATABASE_NAME, MARK_NAME):
        (folder / name).unlink()
    boot(folder, lambda: KEY).close()  # a new journal, whose log is set aside
    aside = folder / f"{LOG_NAME}.rescued-1"
    assert aside.read_bytes() == (cut_early / LOG_NAME).read_bytes()


@pytest.mark.crash_all
@pytest.mark.parametrize("bit", range(8))
def test_every_bit_of_a_log(cut_few: Path, tmp_path: Path, bit: int) -> None:
    log = (cut_few / WAL_NAME).read_bytes()
    for at in range(len(log)):
        content = bytearray(log)
        content[at] ^= 1 << bit
        check_log(cut_few, tmp_path, f"bit {bit} of byte {at}", bytes(content), FEW_ROWS)


def test_a_flipped_length_loses_nothing(cut: Path, tmp_path: Path) -> None:
    """DuckDB takes it for the end of the log and drops every acknowledged commit behind it without a word."""
    log = bytearray((cut / WAL_NAME).read_bytes())
    log[frames(bytes(log))[9] + 1] ^= 4
    assert check_log(cut, tmp_path, "flipped length", bytes(log)) == ROWS


def test_what_the_checksum_is_blind_to_the_chain_sees(cut: Path, tmp_path: Path) -> None:
    log = (cut / WAL_NAME).read_bytes()
    at = log.rindex(b"p" * 512)
    at -= at % 8  # in step with the words over which the checksum runs
    start = next(offset for offset in reversed(frames(log)) if offset + 16 <= at)
    at += (start + 16 - at) % 8
    content = log[:at] + bytes(256) + log[at + 256 :]
    size, expected = struct.unpack_from("<QQ", content, start)
    assert checksum(content[start + 16 : start + 16 + size]) == expected  # blind indeed
    number = next(number for number in range(ROWS, 0, -1) if len(entry(number).payload) >= 512 and number % 3 == 0)
    assert check_log(cut, tmp_path, "blind", content) < number


@pytest.mark.parametrize("page", [4096, 8192])
@pytest.mark.parametrize("damage", ["zeroed", "garbled"])
def test_one_bad_header_costs_nothing(cut: Path, tmp_path: Path, page: int, damage: str) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    bad = bytes(512) if damage == "zeroed" else random.Random(5).randbytes(512)
    with (folder / DATABASE_NAME).open("r+b") as file:
        file.seek(page)
        file.write(bad)
    assert damaged_header((folder / DATABASE_NAME).read_bytes(), b"").offset == page
    assert check(folder, damage) == ROWS
    assert (folder / f"{DATABASE_NAME}.headers.rescued-1").stat().st_size == HEADERS_BYTES


def test_both_headers_bad_goes_back_to_the_snapshot(cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    shutil.copyfile(cut / DATABASE_NAME, folder / SNAPSHOT_NAME)
    with (folder / DATABASE_NAME).open("r+b") as file:
        file.write(bytes(HEADERS_BYTES))
    assert check(folder, "both headers") == ROWS // 2


@pytest.mark.parametrize("damage", ["gone", "empty"])
def test_a_missing_database_comes_back_from_the_snapshot(cut: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    shutil.copyfile(cut / DATABASE_NAME, folder / SNAPSHOT_NAME)
    (folder / DATABASE_NAME).unlink()
    if damage == "empty":
        (folder / DATABASE_NAME).touch()
    assert check(folder, damage) == ROWS // 2


def test_a_bad_snapshot_is_no_crash_loop(cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    for name in (DATABASE_NAME, SNAPSHOT_NAME):
        (folder / name).write_bytes(random.Random(1).randbytes(60_000))
    assert check(folder, "snapshot too", at_least=0) == 0


def test_another_key_costs_no_row(cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    booted = boot(folder, lambda: b"o" * 32)
    rows = booted.connection.execute("SELECT count(*) FROM event").fetchone()
    booted.close()
    assert ([note.rung for note in booted.notes], rows) == (["chain_broken"], (ROWS,))


def test_an_abort_while_opening_is_no_crash_loop(cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last opening killed the process: the next one tries in a child, which here dies as long as there is a log."""
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    (folder / journal.opening.OPENING_NAME).touch()
    dies = "import os, sys\nif os.path.exists(sys.argv[1] + '.wal'):\n    os.abort()\n"
    monkeypatch.setattr(journal.opening, "CHILD", dies + journal.opening.CHILD)
    assert check(folder, "abort") == ROWS // 2
    assert not (folder / journal.opening.OPENING_NAME).exists()


def test_a_sound_journal_passes_the_child(cut: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    shutil.copytree(cut, folder)
    (folder / journal.opening.OPENING_NAME).touch()
    assert check(folder, "child") == ROWS


@given(content=st.binary(max_size=400))
def test_any_bytes_can_be_walked(content: bytes) -> None:
    assert 0 <= leftover_bytes(content) <= len(content)
    mended_length(content)


def test_the_checksum_is_that_of_duckdb(cut: Path, tmp_path: Path) -> None:
    log = (cut / WAL_NAME).read_bytes()
    for at in frames(log)[:-1]:
        size, expected = struct.unpack_from("<QQ", log, at)
        assert checksum(log[at + 16 : at + 16 + size]) == expected
    with duckdb.connect(tmp_path / "other.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1")
    content = (tmp_path / "other.duckdb").read_bytes()
    assert damaged_header(content, b"") is None
    mends = [damaged_header(content[:at] + bytes(4096) + content[at + 4096 :], b"") for at in (4096, 8192)]
    assert [mend.data for mend in mends] == [content[8192:12288], content[4096:8192]]


async def test_a_session_that_gave_up_is_opened_anew(open_store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the commit, behind it, and in a read: nothing is lost, nothing twice, and nobody is told."""
    store = await open_store()
    await store.append([entry(1)])
    insert = Inserter.insert

    def fail_once(*arguments: object, committed: bool) -> None:
        monkeypatch.setattr(Inserter, "insert", insert)
        if committed:
            insert(*arguments)
        raise duckdb.FatalException("invalidated")

    for number, committed in ((2, False), (3, True)):
        monkeypatch.setattr(Inserter, "insert", lambda *a, c=committed: fail_once(*a, committed=c))
        assert await store.append([entry(number)]) == [number]
        assert len(await store.history("r")) == number
    assert store.counters.revivals == 2
    assert [record.key for record in await store.history("r")] == ["s#1", "s#2", "s#3"]
    read = store._writer.history

    def lose_once(_run_id: str) -> object:
        monkeypatch.setattr(store._writer, "history", read)
        raise SessionLost("invalidated")

    monkeypatch.setattr(store._writer, "history", lose_once)
    assert len(await store._call(lambda: store._writer.history("r"))) == 3
    assert store.counters.revivals == 3
    assert await store.append([entry(4)]) == [4]
