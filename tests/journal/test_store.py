"""What the store promises its callers: groups, atomicity, order, backpressure, reads, the chain."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import duckdb
import pytest

import journal.commit_log
import journal.store
from drivers.errors import BadInput, Fatal, Refused, Transient
from journal.engine.ports import Entry, Record
from journal.insert import Inserter
from journal.opening import DATABASE_NAME
from journal.writer import Limits


def step(run_id: str, number: int, payload: bytes = b"p") -> Entry:
    return Entry(kind="step.done", run_id=run_id, key=f"root/s#{number}", name="s", arg_hash="h", payload=payload)


async def test_what_was_appended_comes_back_after_a_reopen(open_store) -> None:
    store = await open_store()
    entries = [
        Entry(kind="run.started", run_id="r", key="incident-1", name="investigate", payload=b"\x00args"),
        step("r", 1, b"x" * 1024),
        step("r", 2, b"y" * 1025),
        Entry(kind="note", name="nul \0 and \N{GREEK SMALL LETTER OMEGA}", payload=b""),
    ]
    assert await store.append(entries) == [1, 2, 3, 4]
    before = await store.history("r")
    await store.close()
    store = await open_store()
    assert await store.history("r") == before
    assert [(r.kind, r.key, r.name, r.arg_hash, r.payload) for r in before] == [
        (e.kind, e.key, e.name, e.arg_hash, e.payload) for e in entries[:3]
    ]
    assert (before[0].epoch, before[0].wall.isoformat()) == (1, "2026-03-01T12:00:01+00:00")
    assert [row["name"] for row in await store.query("events", kind="note")] == [entries[3].name]
    assert await store.append([step("r", 3)]) == [5]


async def test_concurrent_appends_share_commits(open_store) -> None:
    store = await open_store()
    numbers = await asyncio.gather(*(store.append([step("r", n), step("r", n)]) for n in range(200)))
    assert [seq for pair in numbers for seq in pair] == list(range(1, 401))  # in the order of the calls
    assert store.counters.entries == 400
    assert store.counters.commits < 20


async def test_an_append_is_one_transaction_however_long(open_store) -> None:
    store = await open_store()
    entries = [step("r", n, b"z" * 2000 + n.to_bytes(4, "big")) for n in range(1500)]
    await store.append(entries)
    assert (store.counters.commits, len(await store.history("r"))) == (1, 1500)


def write_half(fd: int, data: bytes, offset: int) -> None:
    os.pwrite(fd, data[: len(data) // 2], offset)
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_failed_group_keeps_nothing_and_the_store_goes_on(open_store, monkeypatch) -> None:
    store = await open_store()
    await store.append([step("r", 1)])
    monkeypatch.setattr(journal.commit_log, "_write_all", write_half)
    with pytest.raises(Transient, match="could not commit"):
        await store.append([step("r", 2), step("r", 3, b"x" * 5000)])
    monkeypatch.undo()
    assert [record.key for record in await store.history("r")] == ["root/s#1"]
    (seq,) = await store.append([step("r", 4, b"x" * 5000)])
    assert seq > 3  # the numbers of the failed append are not given again
    assert [len(record.payload) for record in await store.history("r")] == [1, 5000]
    assert (await store.verify()).broken_seq is None


async def test_a_full_queue_makes_callers_wait_in_order(open_store, monkeypatch) -> None:
    monkeypatch.setattr(journal.store, "MAX_QUEUED_ENTRIES", 10)
    store = await open_store()
    tasks = [asyncio.create_task(store.append([step("r", n) for _ in range(4)])) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store.queued_entries <= 10
    numbers = [await task for task in tasks]
    assert [seq for unit in numbers for seq in unit] == list(range(1, 201))
    assert store.queued_entries == 0


async def test_refuses_what_it_cannot_hold(open_store) -> None:
    store = await open_store()
    with pytest.raises(BadInput, match="more than the queue may hold"):
        await store.append([step("r", 1, bytes(17 << 20))])
    with pytest.raises(BadInput, match="no Unicode"):
        await store.append([Entry(kind="note", name="\ud800")])
    assert await store.append([]) == []
    await store.close()
    with pytest.raises(Transient, match="closed"):
        await store.append([step("r", 1)])


async def test_open_runs_and_keys(open_store) -> None:
    store = await open_store()
    await store.append([Entry(kind="run.started", run_id="a", key="k-a", name="investigate")])
    await store.append([step("a", 1), Entry(kind="run.started", run_id="b", key="k-b", name="consolidate")])
    await store.append([Entry(kind="run.started", run_id="c", name="investigate")])
    await store.append([Entry(kind="run.failed", run_id="c"), Entry(kind="run.paused", run_id="b")])
    live = await store.open_runs()
    assert [(run.run_id, run.workflow, run.first_seq, run.last_seq) for run in live] == [
        ("a", "investigate", 1, 2),
        ("b", "consolidate", 3, 6),
    ]
    assert [await store.find_run(key) for key in ("k-a", "k-b", "none")] == ["a", "b", None]
    await store.close()
    assert await (await open_store()).open_runs() == live


async def test_a_retried_run_is_open_again_also_after_a_restart(open_store) -> None:
    store = await open_store()
    await store.append([Entry(kind="run.started", run_id="a", key="k-a", name="investigate"), step("a", 1)])
    for kind in ("run.cancelled", "run.retried", "run.failed", "run.rewound", "run.done"):
        await store.append([Entry(kind=kind, run_id="a", key="k-a", name="investigate")])
        is_open = kind in ("run.retried", "run.rewound")
        assert [run.workflow for run in await store.open_runs()] == ["investigate"] * is_open
        histories = await store.histories(["a", "none"])
        assert histories == {"a": await store.history("a")}
        assert histories["a"][0].kind == "run.started"
        await store.close()
        store = await open_store()
        assert [run.first_seq for run in await store.open_runs()] == [1] * is_open


async def test_the_same_payload_is_kept_once(open_store, tmp_path: Path) -> None:
    store = await open_store()
    await asyncio.gather(*(store.append([step("r", n, b"same" * 1000)]) for n in range(20)))
    await store.close()
    store = await open_store()
    await store.append([step("r", 20, b"same" * 1000)])
    assert {record.payload for record in await store.history("r")} == {b"same" * 1000}
    await store.close()
    with duckdb.connect(tmp_path / DATABASE_NAME) as connection:
        assert connection.execute("SELECT count(*) FROM blob").fetchall() == [(1,)]


async def test_subscribers_hear_committed_entries_before_the_caller(open_store) -> None:
    store = await open_store()
    heard: list[Record] = []
    store.subscribe("outbox.", heard.append)
    numbers = await store.append([step("r", 1), Entry(kind="outbox.queued", key="m1"), Entry(kind="outboxes")])
    assert [(record.seq, record.kind, record.key) for record in heard] == [(numbers[1], "outbox.queued", "m1")]


async def test_checkpoints_at_the_limit_and_when_idle(open_store, tmp_path: Path, monkeypatch) -> None:
    store = await open_store(limits=Limits(checkpoint_entries=10, ballast_bytes=0))
    for number in range(25):
        await store.append([step("r", number)])
    await store.query("runs")  # served behind the last checkpoint
    assert store.counters.checkpoints == 2
    await store.close()
    assert not (tmp_path / f"{DATABASE_NAME}.wal").exists()
    idle = await open_store(limits=Limits(idle_s=0.01, idle_entries=1, ballast_bytes=0))
    done = threading.Event()
    checkpoint = idle._writer.checkpoint
    monkeypatch.setattr(idle._writer, "checkpoint", lambda: (checkpoint(), done.set()))
    await idle.append([step("r", 99)])
    assert await asyncio.to_thread(done.wait, 10)
    assert not (tmp_path / f"{DATABASE_NAME}.wal").exists()


async def test_the_named_queries(open_store) -> None:
    store = await open_store()
    await store.append(
        [
            Entry(kind="run.started", run_id="a", key="k", name="investigate"),
            step("a", 1),
            Entry(kind="step.in_doubt", run_id="a", key="root/send#1", name="send"),
            Entry(kind="wait.opened", run_id="a", key="root/verdict#1", name="verdict"),
            Entry(kind="timer.set", run_id="a", key="root/sleep#1"),
            Entry(kind="timer.set", run_id="a", key="root/sleep#2"),
            Entry(kind="step.done", run_id="a", key="root/sleep#1"),
            Entry(kind="alarm", key="alarm-1", name="raised", payload=b"1" * 3000),
            Entry(kind="alarm", key="alarm-1", name="amended", payload=b"2" * 3000),
            Entry(kind="outbox.queued", key="m1", name="topic"),
            Entry(kind="outbox.queued", key="m2", name="topic"),
            Entry(kind="outbox.sent", key="m1", name="topic"),
        ]
    )
    (run,) = await store.query("runs")
    assert (run["workflow"], run["key"], run["state"], run["steps_done"]) == ("investigate", "k", "IN_DOUBT", 2)
    assert run["started"].isoformat() == "2026-03-01T12:00:01+00:00"
    states = [(row["key"], row["state"]) for row in await store.query("steps", run_id="a")]
    assert states == [("root/s#1", "done"), ("root/send#1", "in_doubt"), ("root/sleep#1", "done")]
    assert [row["key"] for row in await store.query("in_doubt")] == ["root/send#1"]
    (branch,) = await store.query("branches", run_id="a")
    assert (branch["branch"], branch["steps_done"], branch["failures"]) == ("root", 2, 0)
    assert [(row["name"], row["state"]) for row in await store.query("waits")] == [("verdict", "opened")]
    assert [row["key"] for row in await store.query("timers")] == ["root/sleep#2"]
    (alarm,) = await store.query("alarms")
    assert (alarm["alarm_id"], alarm["name"], alarm["entries"], alarm["payload"]) == (
        "alarm-1",
        "amended",
        2,
        b"2" * 3000,
    )
    assert {row["message_id"]: row["state"] for row in await store.query("outbox")} == {"m1": "sent", "m2": "pending"}
    assert len(await store.query("events", limit=3)) == 3
    with pytest.raises(BadInput, match="needs run_id"):
        await store.query("steps")
    with pytest.raises(BadInput, match="no query is called"):
        await store.query("DROP TABLE event")


TAMPERINGS = {
    "a column": ("UPDATE event SET name = 'other' WHERE seq = 3", 3),
    "a stored payload": ("UPDATE blob SET data = 'other'", 4),
    "a row taken out": ("DELETE FROM event WHERE seq = 2", 3),
    "a row put in": ("INSERT INTO event SELECT * REPLACE (6 AS seq) FROM event WHERE seq = 5", 6),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
async def test_verify_finds_what_was_changed_without_the_key(open_store, tmp_path: Path, tampering: str) -> None:
    store = await open_store()
    for number in range(1, 6):
        await store.append([step("r", number, b"x" * (5000 if number == 4 else 5))])
    found = await store.verify()
    assert (found.rows, found.broken_seq) == (5, None)
    await store.close()
    sql, broken_seq = TAMPERINGS[tampering]
    with duckdb.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute(sql)
    assert (await (await open_store()).verify()).broken_seq == broken_seq


async def test_a_broken_session_stops_the_store_and_says_so(open_store, monkeypatch) -> None:
    store = await open_store()
    await store.append([step("r", 1)])

    def give_up(*_: object) -> None:
        raise duckdb.FatalException("invalidated")

    monkeypatch.setattr(Inserter, "insert", give_up)
    assert await store.append([step("r", 2)]) == [2]  # durable without the database
    with pytest.raises(Fatal, match="gave up"):
        await store.history("r")
    with pytest.raises(Fatal, match="gave up"):
        await store.close()
    with pytest.raises(Fatal, match="gave up"):
        await store.append([step("r", 9)])
    with pytest.raises(Fatal, match="gave up"):
        await store.open_runs()
    monkeypatch.undo()
    store._failure = None  # the fixture closes it again
    assert [record.key for record in await (await open_store()).history("r")] == ["root/s#1", "root/s#2"]


async def test_a_cancelled_caller_disturbs_nobody(open_store) -> None:
    store = await open_store()
    cancelled = asyncio.create_task(store.append([step("r", 1)]))
    other = asyncio.create_task(store.append([step("r", 2)]))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await other == [2]
    assert [record.seq for record in await store.history("r")] == [1, 2]  # it was on its way already


async def test_a_lost_payload_is_refused_and_costs_nothing_else(open_store, tmp_path: Path) -> None:
    store = await open_store()
    await store.append([step("a", 1, b"x" * 2000), step("b", 1)])
    await store.close()
    with duckdb.connect(tmp_path / DATABASE_NAME) as connection:
        connection.execute("DELETE FROM blob")
    store = await open_store()
    with pytest.raises(Refused, match="has lost the payload"):
        await store.history("a")
    assert len(await store.history("b")) == 1
    assert (await store.verify()).broken_seq == 1


async def test_what_the_gateway_watches(open_store) -> None:
    store = await open_store()
    assert (store.last_seq, store.stuck_s) == (0, 0.0)
    await store.append([Entry(kind="alarm", key=key, name=name) for key, name in (("a", "1"), ("b", "1"), ("a", "2"))])
    assert store.last_seq == 3
    assert [(record.key, record.name) for record in await store.latest("alarm")] == [("b", "1"), ("a", "2")]
    assert [record.key for record in await store.latest("alarm", limit=1)] == ["a"]
    deeper = await store.latest("alarm", depth=2)
    assert [(record.key, record.name) for record in deeper] == [("a", "1"), ("b", "1"), ("a", "2")]
