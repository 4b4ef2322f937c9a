"""Retention by the gateway: once a day and on a low disk, told in rows, status and metrics; failed runs stay."""

import os
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import Transient
from gateway import housekeeping
from gateway.cli_metrics import journal_text
from gateway.config import JournalConfig
from gateway.housekeeping import AGAIN_S, EVERY_S, FIRST_S, LOW_EVERY_S, Housekeeping
from journal import Journal, Limits
from journal.engine import Entry, decode

DAY_S = 86_400.0
LIMITS = JournalConfig(max_age_days=30, failed_max_age_days=90, disk_low_bytes=0)


def run(name: str, end: str) -> list[Entry]:
    rows = [Entry(kind="run.started", run_id=name, key=name, name="investigate")]
    rows += [Entry(kind="step.done", run_id=name, key=f"s#{n}", payload=os.urandom(2000)) for n in range(5)]
    return [*rows, Entry(kind=end, run_id=name)]


@pytest.fixture
async def journal(tmp_path: Path, clock: Any) -> AsyncIterator[Journal]:
    journal = await Journal.open(tmp_path, clock, limits=Limits(ballast_bytes=0))
    for number in range(60):
        await journal.store.append(run(f"done-{number}", "run.done"))
    await journal.store.append(run("failed", "run.failed"))
    yield journal
    await journal.close()


@pytest.fixture
def keeper(journal: Journal, clock: Any) -> Callable[..., Housekeeping]:
    return lambda config=LIMITS: Housekeeping(journal, config, clock)


async def runs_of(journal: Journal) -> list[str]:
    return [row["run_id"] for row in await journal.query("runs", limit=100)]


async def test_the_file_shrinks_and_a_failed_run_stays(journal: Journal, clock: Any, keeper: Any) -> None:
    keeping = keeper()
    await keeping.look()
    assert keeping.runs == 0  # not right behind the start
    clock.advance(FIRST_S)
    await keeping.look()
    assert (keeping.runs, keeping.rows_dropped) == (1, 0)
    before = (await keeping.status())["bytes"]
    clock.advance(31 * DAY_S)
    await keeping.look()
    assert await runs_of(journal) == ["failed"]
    status = await keeping.status()
    assert status["bytes"] < before / 2
    assert status["retention"]["rows_dropped"] == 60 * 7 + 1  # and the note that the journal was opened
    assert status["retention"]["reason"] == "daily"
    (row,) = await journal.query("events", kind="journal.retention")
    assert decode(row["payload"])["rows_dropped"] == 60 * 7 + 1
    assert (await journal.verify()).broken_seq is None
    clock.advance(60 * DAY_S)
    await keeping.look()
    assert await runs_of(journal) == []


async def test_it_runs_once_a_day(clock: Any, keeper: Any) -> None:
    keeping = keeper()
    clock.advance(FIRST_S)
    for _ in range(3):
        await keeping.look()
    assert keeping.runs == 1
    clock.advance(EVERY_S)
    await keeping.look()
    assert keeping.runs == 2


async def test_it_waits_while_rows_wait_for_a_commit(
    journal: Journal, clock: Any, keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = keeper()
    clock.advance(FIRST_S)
    with monkeypatch.context() as patch:
        patch.setattr(type(journal.store), "queued_entries", 1)
        await keeping.look()
    assert keeping.runs == 0
    await keeping.look()
    assert keeping.runs == 1


async def test_a_low_disk_takes_a_quarter_an_hour(
    journal: Journal, clock: Any, keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LOW_FLOOR_BYTES", 500_000)
    keeping = keeper(JournalConfig(disk_low_bytes=1_000_000_000_000))
    await journal.store.checkpoint()
    sizes = [(await keeping.status())["bytes"]]
    for _ in range(3):
        await keeping.look()
        await keeping.look()
        sizes.append((await keeping.status())["bytes"])
        clock.advance(LOW_EVERY_S)
    assert (await keeping.status())["disk_low"]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.9 * sizes[0]
    assert sizes[-1] >= 400_000  # what is left does not fill the disk
    assert "failed" in await runs_of(journal)
    assert "bytes are free" in (await keeping.status())["retention"]["reason"]


async def test_a_disk_that_refuses_is_told_and_tried_again(
    journal: Journal, clock: Any, keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise Transient("no room for a checkpoint")

    keeping = keeper()
    clock.advance(FIRST_S)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "retain", refuse)
        await keeping.look()
    assert (keeping.failures, keeping.runs) == (1, 0)
    assert "no room" in (await keeping.status())["retention"]["failure"]
    clock.advance(AGAIN_S)
    await keeping.look()
    assert (await keeping.status())["retention"]["failure"] == ""


async def test_what_goes_is_kept_elsewhere_or_stays(tmp_path: Path, journal: Journal, clock: Any, keeper: Any) -> None:
    (tmp_path / "no folder").touch()
    refused = keeper(LIMITS.model_copy(update={"export_dir": tmp_path / "no folder"}))
    keeping = keeper(LIMITS.model_copy(update={"export_dir": tmp_path / "archive"}))
    clock.advance(31 * DAY_S)
    await refused.look()
    assert (refused.failures, len(await runs_of(journal))) == (1, 61)
    await keeping.look()
    assert await runs_of(journal) == ["failed"]
    assert sorted(path.name.partition(".")[0] for path in (tmp_path / "archive").iterdir()) == ["blob", "event"]


async def test_metrics_name_what_was_freed(clock: Any, keeper: Any) -> None:
    keeping = keeper()
    clock.advance(31 * DAY_S)
    await keeping.look()
    lines = journal_text(await keeping.metrics()).splitlines()
    assert f"blackstart_journal_retention_rows_dropped_total {60 * 7 + 1}" in lines
    assert "# TYPE blackstart_journal_bytes gauge" in lines
    assert "# TYPE blackstart_journal_commits_total counter" in lines


def test_failed_runs_are_never_kept_for_less() -> None:
    with pytest.raises(ValueError, match="failed runs are kept as long or longer"):
        JournalConfig(max_age_days=400, failed_max_age_days=100)
    assert timedelta(days=JournalConfig().failed_max_age_days) > timedelta(days=JournalConfig().max_age_days)
