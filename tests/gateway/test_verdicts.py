"""Verdicts: the first one counts, a late one still teaches, and nothing that comes in can break the door."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.base import Inbound
from drivers.clock import SystemClock
from drivers.errors import BadInput, Transient
from gateway.alarms import Stage
from gateway.consolidation import consolidate
from gateway.investigation import investigate
from gateway.memory import known_causes
from gateway.verdicts import PAYLOAD_BYTES_MAX, VerdictCommand, Verdicts
from journal import Journal
from journal.engine import RunState

DEADLINE = timedelta(days=14)
CAUSES = known_causes()
TOPIC = "blackstart/g1/command/verdict"


def command(run_id: str, verdict: Any) -> VerdictCommand:
    return VerdictCommand(run_id=run_id, verdict=verdict)


async def opened(world: Any, engine: Any, finding: Any) -> str:
    incident = await world.open(finding)
    run_id: str = await engine.start(investigate, incident, DEADLINE, key=incident.id)
    await world.until_open(engine, run_id)
    return run_id


async def test_the_first_verdict_is_taken_and_the_second_refused(world: Any, make_finding: Any, verdict: Any) -> None:
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        run_id = await opened(world, engine, make_finding())
        assert await verdicts.submit(command(run_id, verdict())) == f"taken by run {run_id}"
        with pytest.raises(BadInput, match="already has a verdict; the first one counts"):
            await verdicts.submit(command(run_id, verdict(final_code="T1")))
        await engine.result(run_id)
        await world.all_ended()
        with pytest.raises(BadInput, match="already has a verdict"):
            await verdicts.submit(command(run_id, verdict(final_code="T1")))
    assert len(await world.kinds("graph.episode")) == 1


async def test_a_verdict_for_nobody_is_refused(world: Any, make_finding: Any, verdict: Any) -> None:
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        with pytest.raises(BadInput, match="no run 'r1-0'"):
            await verdicts.submit(command("r1-0", verdict()))
        run_id = await opened(world, engine, make_finding())
        await verdicts.submit(command(run_id, verdict()))
        await engine.result(run_id)
        await world.all_ended()
        other = next(r.run_id for r in await world.kinds("run.started") if r.name == consolidate.name)
        with pytest.raises(BadInput, match="is a consolidate, not an investigation"):
            await verdicts.submit(command(other, verdict()))


async def test_a_cause_that_does_not_exist_is_refused_with_what_is_near(
    world: Any, make_finding: Any, verdict: Any
) -> None:
    (cause, *_) = sorted(CAUSES)
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        run_id = await opened(world, engine, make_finding())
        with pytest.raises(BadInput, match=f"is no failure mode of the fault graph; near: .*{cause}"):
            await verdicts.submit(command(run_id, verdict(final_cause=f"{cause}x")))
        assert "taken" in await verdicts.submit(command(run_id, verdict(final_cause=cause)))


async def test_a_late_verdict_still_teaches_memory_once(world: Any, make_finding: Any, verdict: Any) -> None:
    incident = await world.open(make_finding())
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        run_id = await engine.start(investigate, incident, DEADLINE, key=incident.id)
        await world.until_open(engine, run_id)
        world.clock.advance(DEADLINE.total_seconds())
        engine.clock_changed()
        await engine.result(run_id)
        assert await world.kinds("graph.episode") == []
        assert "late for run" in await verdicts.submit(command(run_id, verdict()))
        await world.all_ended()
        with pytest.raises(BadInput, match="already has a late verdict"):
            await verdicts.submit(command(run_id, verdict(final_code="T1")))
        (alarm,) = world.desk.book.standing()
        assert (alarm.verdict, alarm.stage) == (verdict(), Stage.VERDICT)
    assert [entry.key for entry in await world.kinds("outbox.queued")][-1] == alarm.message_id
    (episode,) = await world.kinds("graph.episode")
    assert episode.key == run_id


async def test_a_verdict_survives_a_restart_between_question_and_answer(
    world: Any, make_finding: Any, verdict: Any
) -> None:
    async with world.life() as engine:
        run_id = await opened(world, engine, make_finding())
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        await engine.resume()
        assert "taken" in await verdicts.submit(command(run_id, verdict()))
        await engine.result(run_id)
        await world.all_ended()
        assert (await engine.run(run_id)).state is RunState.DONE


# -- from the broker


async def test_a_good_message_is_taken(world: Any, make_finding: Any, verdict: Any) -> None:
    async with world.life() as engine:
        verdicts = Verdicts(world.desk, CAUSES)
        run_id = await opened(world, engine, make_finding())
        payload = command(run_id, verdict()).model_dump_json().encode()
        await verdicts.hear(Inbound(TOPIC, payload, {}))
        await engine.result(run_id)
        assert verdicts.refused == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)
ALMOST = st.fixed_dictionaries(
    {"run_id": st.text(max_size=10) | JSON, "verdict": JSON | st.just({"outcome": "confirmed"})}
).map(lambda value: json.dumps(value).encode())


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(payload=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | ALMOST)
async def test_whatever_comes_in_is_counted_and_never_raised(world: Any, payload: bytes) -> None:
    async with world.life():
        verdicts = Verdicts(world.desk, frozenset())
        await verdicts.hear(Inbound(TOPIC, payload, {}))
        assert verdicts.refused == 1


@pytest.mark.parametrize(
    "payload",
    [b"[" * 16_000, b'"' + b"a" * PAYLOAD_BYTES_MAX + b'"', b"\xff", b"1e999999", b'{"run_id": "\\ud800"}', b""],
)
async def test_hostile_payloads(world: Any, payload: bytes) -> None:
    async with world.life():
        verdicts = Verdicts(world.desk, frozenset())
        await verdicts.hear(Inbound(TOPIC, payload, {}))
        assert verdicts.refused == 1


@pytest.mark.parametrize("run_id", ["\x00", "'; DROP TABLE event; --", "\N{SNOWMAN}" * 100, "%"], ids=range(4))
async def test_run_ids_that_no_run_has_in_the_real_journal(
    tmp_path: Path, world: Any, verdict: Any, run_id: str
) -> None:
    journal = await Journal.open(tmp_path, SystemClock())
    try:
        world.store = journal.store
        async with world.life():
            verdicts = Verdicts(world.desk, frozenset())
            with pytest.raises(BadInput, match="no run"):
                await verdicts.submit(command(run_id, verdict()))
    finally:
        await journal.close()


def test_a_time_without_its_zone_is_no_time(verdict: Any) -> None:
    with pytest.raises(ValueError, match="timezone"):
        verdict(observed_at=datetime(2026, 3, 2))  # noqa: DTZ001


async def test_a_journal_that_fails_does_not_end_the_session(
    world: Any, verdict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> None:
        raise Transient("no space left")

    async with world.life() as engine:
        verdicts = Verdicts(world.desk, frozenset())
        monkeypatch.setattr(engine, "run", fail)
        await verdicts.hear(Inbound(TOPIC, command("r1-0", verdict()).model_dump_json().encode(), {}))
        assert verdicts.refused == 1
