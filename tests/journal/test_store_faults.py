"""A statement that fails, before or behind its effect, and a disk that refuses a write: callers are told the truth."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from drivers.errors import Fatal, Misconfigured, Transient
from journal.engine.ports import Entry
from journal.rescue import boot
from journal.writer import Limits, Unit, Writer

KEY = b"k" * 32
WALL = datetime(2026, 3, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
LIMITS = Limits(ballast_bytes=0)


class FaultyConnection:
    """A session whose n-th statement fails, with or without having had its effect."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, nth: int, error: duckdb.Error, *, behind: bool) -> None:
        self.connection = connection
        self.left = nth
        self.error = error
        self.behind = behind

    def execute(self, *arguments: object) -> object:
        self.left -= 1
        if self.left == 0 and not self.behind:
            raise self.error
        result = self.connection.execute(*arguments)
        if self.left == 0:
            raise self.error
        return result

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


def unit(number: int) -> Unit:
    """Two rows, every third time with a payload of its own table, which takes a transaction of four statements."""
    payload = b"%d" % number * (1500 if number % 3 == 0 else 10)
    entries = tuple(Entry(kind="step.done", run_id="r", key=f"{number}/{part}", payload=payload) for part in (0, 1))
    return Unit(entries=entries, wall=WALL, size_bytes=0)


def outcome(writer: Writer, number: int) -> tuple[str, list[int]]:
    one = unit(number)
    try:
        writer.commit([one])
    except Transient:
        return "refused", [one.first_seq, one.first_seq + 1]
    except Fatal:
        return "unknown", [one.first_seq, one.first_seq + 1]
    return "kept", [one.first_seq, one.first_seq + 1]


def moved(writer: Writer, number: int) -> bool:
    """Have the database take over what was committed, by a read, then by a checkpoint; False if the writer stopped."""
    try:
        with contextlib.suppress(Transient):
            assert writer.reader
        if number % 5 == 0:
            writer.checkpoint()
    except Fatal:
        return False
    return True


def compare(folder: Path, outcomes: list[tuple[str, list[int]]]) -> None:
    writer = Writer(boot(folder, lambda: KEY), key=KEY, boot_id="b", limits=LIMITS)
    try:
        rows = [record.seq for record in writer.reader.history("r", 0, 10_000)]
        assert len(set(rows)) == len(rows)
        assert {seq for what, seqs in outcomes if what == "kept" for seq in seqs} <= set(rows)
        assert not {seq for what, seqs in outcomes if what == "refused" for seq in seqs} & set(rows)
        assert writer.verify(None, 10_000)[0].broken_seq is None
        later = unit(1)
        writer.commit([later])
        assert later.first_seq > max([0, *rows])
    finally:
        writer.close()


ERRORS = [duckdb.IOException("No space left"), duckdb.TransactionException("failed"), duckdb.FatalException("gone")]


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_each_statement_fails_once(tmp_path: Path, error: duckdb.Error, behind: bool) -> None:
    for nth in range(1, 13, 2):  # single statements, then BEGIN, both INSERTs and COMMIT, CHECKPOINT
        folder = tmp_path / str(nth)
        writer = Writer(boot(folder, lambda: KEY), key=KEY, boot_id="b", limits=LIMITS)
        database = writer._database
        database.connection = FaultyConnection(database.connection, nth, error, behind=behind)
        outcomes = []
        for number in range(1, 9):
            outcomes.append(outcome(writer, number))
            if not moved(writer, number):
                break
        writer.close()
        assert {what for what, _ in outcomes} == {"kept"}  # the log has them, whatever becomes of the database
        compare(folder, outcomes)


CHILD = """
import importlib.util, json, os, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("faults", sys.argv[2])
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)
from drivers.errors import BlackstartError
try:
    writer = faults.Writer(faults.boot(Path(sys.argv[1]), lambda: faults.KEY), key=faults.KEY, boot_id="b",
                           limits=faults.LIMITS)
except BlackstartError:
    sys.exit(0)
for number in range(1, 13):
    what, seqs = faults.outcome(writer, number)
    print(json.dumps([what, seqs]), flush=True)
    if what == "unknown" or not faults.moved(writer, number):
        break
os._exit(0)
"""

REFUSALS = [
    ("write,pwrite64", "ENOSPC", "journal.log", 14),
    ("fdatasync,fsync", "EIO", "journal.log", 14),
    ("write,pwrite64", "ENOSPC", "blackstart.duckdb.wal", 14),
    ("write,pwrite64", "ENOSPC", "blackstart.duckdb", 24),
    ("pwrite64", "EROFS", "journal.mark", 12),
    ("fdatasync,fsync", "EIO", "blackstart.duckdb.wal", 14),
    ("fdatasync,fsync", "EIO", "blackstart.duckdb", 8),
]


def refuse(folder: Path, calls: str, error: str, file: str, when: str) -> None:
    """A writer whose n-th call of that kind on that file fails; then what it said is compared with what is there."""
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(folder / file)]
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    command = [*strace, *inject, sys.executable, "-c", CHILD, str(folder), __file__]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    compare(folder, [tuple(json.loads(line)) for line in done.stdout.splitlines()])


def refusals() -> list[tuple[str, str, str, str]]:
    """Once at each call, and from each call on: a disk that is full for a moment or stays full."""
    return [
        (calls, error, file, f"{nth}{more}")
        for calls, error, file, count in REFUSALS
        for nth in range(1, count + 1)
        for more in ("", "+")
    ]


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: make peers")


@needs_strace
def test_a_sample_of_refused_writes(tmp_path: Path, seed: int) -> None:
    for number, refusal in enumerate(random.Random(seed).sample(refusals(), 4)):
        refuse(tmp_path / str(number), *refusal)


@needs_strace
@pytest.mark.crash_all
def test_all_refused_writes(tmp_path: Path) -> None:
    for number, refusal in enumerate(refusals()):
        refuse(tmp_path / str(number), *refusal)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Root may write anywhere, so a file stands where the folder should be."""
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(Transient, match="fails"):
        boot(tmp_path / "state")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A journal with one entry on a file system that was mounted again without leave to write."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    writer = Writer(boot(folder, lambda: KEY), key=KEY, boot_id="b", limits=LIMITS)
    writer.commit([unit(1)])
    writer.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_is_told_and_harms_nothing(read_only_disk: Path) -> None:
    with pytest.raises((Transient, Misconfigured)):
        boot(read_only_disk, lambda: KEY)
    subprocess.run(["mount", "-o", "remount,rw", str(read_only_disk)], check=True)
    compare(read_only_disk, [("kept", [1, 2])])
