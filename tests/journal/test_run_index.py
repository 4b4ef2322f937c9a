"""A key finds its run, open or ended; a new key costs no read; a retried run is read from its own first row."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal import run_index
from journal.engine.ports import Entry, OpenRun, Record
from journal.run_index import RunIndex


def started(run_id: str) -> Entry:
    return Entry(kind="run.started", run_id=run_id, key=f"key of {run_id}", name="w")


@given(seen=st.sets(st.text(max_size=20)), later=st.sets(st.text(max_size=20)))
def test_no_key_is_ever_taken_for_new_that_is_not(seen: set[str], later: set[str]) -> None:
    runs = RunIndex([])
    runs.perhaps("the first question", lambda: seen)
    for key in later:
        runs.note(Entry(kind="run.started", run_id=f"run of {key}", key=key), 1)
        assert runs.open_run(key) == f"run of {key}"
        runs.note(Entry(kind="run.done", run_id=f"run of {key}", key=key), 2)
    assert all(runs.perhaps(key, list) for key in seen | later)
    assert not any(runs.open_run(key) for key in later)


def test_many_keys_leave_new_ones_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the filter and of the hundred thousand runs for which it is made."""
    monkeypatch.setattr(run_index, "_BITS", run_index._BITS // 10)
    runs = RunIndex([])
    assert runs.perhaps("incident-1", lambda: (f"incident-{number}" for number in range(10_000)))
    assert sum(runs.perhaps(f"alarm-{number}", list) for number in range(10_000)) <= 10


def test_the_rows_are_asked_for_once() -> None:
    asked = []

    def seen() -> list[str]:
        asked.append(1)
        return ["k", "old"]

    runs = RunIndex([OpenRun(run_id="r", workflow="w", first_seq=3, last_seq=4, key="k")])
    assert (runs.open_run("k"), asked) == ("r", [])
    assert [runs.perhaps(key, seen) for key in ("k", "old", "new")] == [True, True, False]
    assert asked == [1]


def test_ended_runs_that_were_read_are_remembered_within_a_bound() -> None:
    runs = RunIndex([])
    for number in range(1, 2 * run_index.FIRST_SEQS_MAX):
        row = Record(
            seq=number, epoch=1, wall=datetime(2026, 3, 1, tzinfo=UTC), kind="run.started", run_id=f"r{number}"
        )
        runs.was_read(f"r{number}", [row])
    assert runs.span("r1") == (0, None)
    assert runs.span(f"r{number}") == (number, None)
    assert len(runs._first_seqs) == run_index.FIRST_SEQS_MAX


async def test_a_key_finds_its_run_and_a_new_one_reads_no_rows(
    tmp_path: Path, open_store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store()
    for name in ("a", "b"):
        await store.append([started(name), Entry(kind="step.done", run_id=name)])
    await store.append([Entry(kind="run.done", run_id="a", key="key of a", name="w")])
    for _ in range(2):
        assert await store.find_run("key of a") == "a"
        assert await store.find_run("key of b") == "b"
        with monkeypatch.context() as patch:
            patch.setattr(store._writer.reader, "find_run", None)
            assert await store.find_run("key of nobody") is None
            assert await store.find_run("key of b") == "b"
        await store.close()
        store = await open_store(tmp_path)
    assert [run.key for run in await store.open_runs()] == ["key of b"]


async def test_a_retried_run_is_read_from_its_own_first_row(open_store) -> None:
    store = await open_store()
    await store.append([Entry(kind="note")] * 20)
    first, _ = await store.append([started("a"), Entry(kind="run.failed", run_id="a", key="key of a", name="w")])
    assert len(await store.history("a")) == 2  # as whoever retries it does
    await store.append([Entry(kind="run.retried", run_id="a", key="key of a", name="w")])
    (run,) = await store.open_runs()
    assert (run.first_seq, run.key, await store.find_run("key of a")) == (first, "key of a", "a")
    assert [record.kind for record in await store.history("a")] == ["run.started", "run.failed", "run.retried"]
