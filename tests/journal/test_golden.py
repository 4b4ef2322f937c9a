"""A journal of each release, as a power cut left it, opens in this one: nothing is lost, the views are ours.

To add one, run this release for a while on an empty folder, cut it and copy the folder here with what is in it.
Those with runs that were retried, rewound, forked and queued are written by `write_golden.py`.
"""

import asyncio
import importlib.util
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from journal import Journal, RetentionPolicy
from journal.engine.codec import decode

HERE = Path(__file__).parent
REVISED = sorted((HERE / "golden_revised").iterdir())
GOLDEN = sorted((HERE / "golden").iterdir())
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


@pytest.fixture(scope="module")
def written() -> ModuleType:
    """The module that writes them, with the workflows."""
    spec = importlib.util.spec_from_file_location("write_golden_revised", HERE / "write_golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("release", REVISED, ids=lambda path: path.name)
async def test_revised_and_queued_runs_of_an_earlier_release_go_on(
    tmp_path: Path, written: ModuleType, release: Path
) -> None:
    folder = tmp_path / "state"
    await asyncio.to_thread(shutil.copytree, release, folder)
    expected = json.loads(await asyncio.to_thread((release / "expected.json").read_text))
    clock, plant = written.Clock(datetime(2026, 12, 1, tzinfo=UTC)), written.Plant(set())
    journal = await Journal.open(folder, clock)
    assert journal.rescue_notes == ()
    assert (await journal.verify()).broken_seq is None
    assert journal.head.seq == expected["last_seq"] + 1
    assert {row["run_id"]: row["state"] for row in await journal.query("runs")} == expected["states"]
    engine = written.engine_of(journal, clock, plant)
    assert await engine.check() == []
    assert set(await engine.resume()) == {expected[which] for which in ("rewound", "waiting", "working")}
    assert {run_id: (await engine.run(run_id)).state.value for run_id in expected["states"]} == expected["states"]
    assert {run_id: await engine.result(run_id) for run_id in expected["results"]} == expected["results"]
    assert plant.looked == []  # what was recorded did not run again
    plant.gate.set()
    assert [await engine.result(expected[which]) for which in ("working", "queued")] == ["f", "g"]
    assert await engine.answer(expected["waiting"], "go", "on", by="me")
    assert await engine.answer(expected["rewound"], "go", "again", by="me")
    assert [await engine.result(expected[which]) for which in ("waiting", "rewound")] == ["E on", "D again"]
    await engine.retry(expected["failed"], by="me")
    assert await engine.result(expected["failed"]) == "A,B"
    assert plant.looked == ["b"]
    assert (await journal.verify()).broken_seq is None
    await engine.close()
    await journal.close()
