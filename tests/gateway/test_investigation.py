"""Investigations with the real engine: what they conclude, what they leave behind, and that nothing runs twice."""

import contextlib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.clock import SystemClock
from drivers.errors import BadInput
from gateway.alarms import Alarm, Stage
from gateway.investigation import begin, investigate
from gateway.verdicts import VerdictCommand, Verdicts
from journal import Journal
from journal.engine import Kind, SimulatedCrash, decode
from journal.fault_graph import Episode
from models.findings import Diagnosis, Fact, Family, FaultCode, Finding, Recommendation, Severity

DEADLINE = timedelta(days=14)
UNDECIDED = (986.0, 282.0, 20.0, 73.0, 11.0)
TYPICAL = (65.0, 40.0, 12.0, 12.0, 0.0)


async def run_to_the_end(world: Any, incident: Any, verdict: Any = None) -> tuple[str, Diagnosis]:
    async with world.life() as engine:
        run_id = await engine.start(investigate, incident, DEADLINE, key=incident.id)
        await world.until_open(engine, run_id)
        if verdict is None:
            world.clock.advance(DEADLINE.total_seconds())
            engine.clock_changed()
        else:
            assert await engine.answer(run_id, "verdict", verdict, by=verdict.by)
        diagnosis = await engine.result(run_id)
        await world.all_ended()
    assert isinstance(diagnosis, Diagnosis)
    return run_id, diagnosis


async def alarms(world: Any) -> list[Alarm]:
    return [decode(record.payload, Alarm) for record in await world.kinds("alarm")]


async def test_an_arcing_fault_is_named_with_votes_branches_and_causes(
    world: Any, make_finding: Any, verdict: Any
) -> None:
    _, diagnosis = await run_to_the_end(world, await world.open(make_finding()), verdict())
    assert diagnosis.code is diagnosis.deterministic_code is FaultCode.D2
    assert diagnosis.votes["duval_triangle_1"] == "D2"
    assert diagnosis.branches[0].code is FaultCode.D2
    assert sum(item.probability for item in diagnosis.hypotheses) == pytest.approx(1.0)
    assert diagnosis.causes
    assert all(cause.paths for cause in diagnosis.causes)
    assert "D2" in diagnosis.explanation
    assert diagnosis.core_status == "off"
    assert diagnosis.core_choice.startswith("unavailable")


async def test_gases_that_rise_while_their_amounts_are_typical_are_not_called_healthy(
    world: Any, make_finding: Any, verdict: Any
) -> None:
    rise = Fact(name="H2 rise in 1 d", value=45.0, unit="uL/L")
    finding = make_finding(
        kind="healthy",
        code="GasRising",
        method="gas_rate",
        family=Family.MIXED,
        severity=Severity.WARNING,
        facts=(rise,),
        evidence=tuple(
            sample.model_copy(update={"value": TYPICAL[index % 5]})
            for index, sample in enumerate(make_finding().evidence)
        ),
    )
    _, diagnosis = await run_to_the_end(world, await world.open(finding, definition="DgaRate"), verdict())
    assert (diagnosis.code, diagnosis.severity, diagnosis.family) == (None, Severity.WARNING, Family.MIXED)
    assert diagnosis.recommendation is Recommendation.RESAMPLE
    assert diagnosis.votes["gas_rate"] == "GasRising"
    assert "H2 rise in 1 d 45 uL/L" in diagnosis.explanation
    assert "only their rise is not" in diagnosis.explanation


async def test_the_alarm_is_amended_twice_and_its_messages_are_queued(
    world: Any, make_finding: Any, verdict: Any
) -> None:
    run_id, diagnosis = await run_to_the_end(world, await world.open(make_finding()), verdict())
    raised, diagnosed, closed = await alarms(world)
    assert len({alarm.alarm_id for alarm in (raised, diagnosed, closed)}) == 1
    assert [alarm.revision for alarm in (raised, diagnosed, closed)] == [1, 2, 3]
    assert [alarm.stage for alarm in (raised, diagnosed, closed)] == [Stage.DETECTED, Stage.DIAGNOSED, Stage.VERDICT]
    assert (diagnosed.diagnosis, diagnosed.run_id) == (diagnosis, run_id)
    assert closed.verdict == verdict()
    queued = [record.key for record in await world.kinds("outbox.queued")]
    assert queued == [diagnosed.message_id, closed.message_id]


async def test_no_verdict_closes_the_incident_and_teaches_nothing(world: Any, make_finding: Any) -> None:
    incident = await world.open(make_finding())
    await run_to_the_end(world, incident)
    assert world.closed == [incident.id]
    assert await world.kinds("graph.episode") == []
    assert [alarm.stage for alarm in await alarms(world)] == [Stage.DETECTED, Stage.DIAGNOSED]


async def test_two_investigate_at_a_time_the_most_severe_first(world: Any, make_finding: Any) -> None:
    severities = [Severity.ADVISORY, Severity.ADVISORY, Severity.ADVISORY, Severity.WARNING, Severity.CRITICAL]
    incidents = [await world.open(make_finding(hour, severity=one)) for hour, one in enumerate(severities)]
    async with world.life() as engine:
        runs = [await begin(engine, incident, DEADLINE, 3) for incident in incidents]
        assert await begin(engine, incidents[4], DEADLINE, 3) == runs[4]
        for run_id in runs:  # one that waits for its verdict has left its place to the next
            await world.until_open(engine, run_id)
        begun = list(dict.fromkeys(run_id for run_id, _ in world.counter.started))
        assert begun == [runs[0], runs[1], runs[4], runs[3], runs[2]]
        turns = [record.seq for record in await world.kinds(Kind.RUN_DEQUEUED)]
        waits = [record.seq for record in await world.kinds(Kind.WAIT_OPENED)]
        assert all(wait < turn for wait, turn in zip(waits, turns[2:], strict=False))


async def test_a_verdict_before_the_turn_is_asked_for_later(world: Any, make_finding: Any, verdict: Any) -> None:
    incidents = [await world.open(make_finding(hour)) for hour in range(3)]
    async with world.life() as engine:
        *_, last = [await begin(engine, incident, DEADLINE, 3) for incident in incidents]
        verdicts = Verdicts(world.desk, frozenset())
        command = VerdictCommand(run_id=last, verdict=verdict())
        with pytest.raises(BadInput, match="has not begun yet"):
            await verdicts.submit(command)
        await world.until_open(engine, last)
        assert await verdicts.submit(command) == f"taken by run {last}"


async def test_a_loss_of_gas_is_investigated_without_gases(world: Any, sf6_finding: Finding, verdict: Any) -> None:
    incident = await world.open(sf6_finding, definition="GasDensityLow")
    _, diagnosis = await run_to_the_end(world, incident, verdict(final_code="N"))
    assert (diagnosis.code, diagnosis.family, diagnosis.branches) == (None, Family.LOSS_OF_GAS, ())
    assert diagnosis.severity is Severity.WARNING
    assert diagnosis.recommendation is Recommendation.REFILL_GAS
    assert diagnosis.causes
    assert diagnosis.abstained
    (record,) = await world.kinds("graph.episode")
    episode = decode(record.payload, Episode)
    assert (episode.suspected_code, episode.final_code, episode.indicators) == ("", "", ("SIMG.Pres20",))


async def test_gases_that_no_method_can_name_are_investigated(world: Any, make_finding: Any, verdict: Any) -> None:
    base = make_finding()
    evidence = tuple(
        sample.model_copy(update={"value": UNDECIDED[index % 5]}) for index, sample in enumerate(base.evidence)
    )
    finding = make_finding(evidence=evidence, code="undecided", family=Family.MIXED, severity=Severity.WARNING)
    _, diagnosis = await run_to_the_end(world, await world.open(finding), verdict(final_code="D1"))
    assert diagnosis.code is None
    assert diagnosis.abstained
    assert len(diagnosis.branches) > 1
    (record,) = await world.kinds("graph.episode")
    episode = decode(record.payload, Episode)
    assert (episode.suspected_code, episode.final_code) == ("", "D1")
    assert episode.indicators == ("SIML.CmbuGas",)


async def test_memory_nudges_and_never_overrules(world: Any, make_finding: Any, verdict: Any) -> None:
    for number in range(5):
        finding = make_finding(number)
        _, diagnosis = await run_to_the_end(world, await world.open(finding), verdict(final_code="T1"))
        assert diagnosis.code is FaultCode.D2


async def test_a_kill_at_every_append_changes_nothing_and_runs_nothing_twice(
    make_world: Any, make_finding: Any, verdict: Any
) -> None:
    whole = make_world()
    incident = await whole.open(make_finding())
    _, expected = await run_to_the_end(whole, incident, verdict())
    steps = [record.key for record in await whole.kinds(Kind.STEP_DONE)]
    appends = whole.store.appends
    assert appends > 10
    for keep in (False, True):
        for crash_at in range(1, appends + 1):
            world = make_world()
            await world.open(make_finding())
            async with world.life(crash_at=crash_at, keep_at_crash=keep) as engine:
                with contextlib.suppress(SimulatedCrash):
                    await drive(world, engine, incident, verdict())
            finished = {(record.run_id, record.key) for record in await world.kinds(Kind.STEP_DONE)}
            async with world.life() as engine:
                diagnosis = await drive(world, engine, incident, verdict())
            where = f"append {crash_at}, {'kept' if keep else 'not kept'}"
            assert diagnosis == expected, where
            assert not finished & set(world.counter.started), where
            kept = [record.key for record in await world.kinds(Kind.STEP_DONE)]
            assert Counter(kept) == Counter(steps), where
            assert [alarm.revision for alarm in await alarms(world)] == [1, 2, 3], where


async def drive(world: Any, engine: Any, incident: Any, verdict: Any) -> Diagnosis:
    """One life of a gateway: resume, start what is not started, answer once, until all runs have ended."""
    await engine.resume()
    run_id = await engine.start(investigate, incident, DEADLINE, key=incident.id)
    await engine.answer(run_id, "verdict", verdict, by="inspector")  # early answers are kept; the first one counts
    diagnosis: Diagnosis = await engine.result(run_id)
    for record in await world.kinds(Kind.RUN_STARTED):
        await engine.result(record.run_id)
    return diagnosis


async def test_it_is_the_same_with_the_real_journal(
    tmp_path: Path, world: Any, make_finding: Any, verdict: Any
) -> None:
    journal = await Journal.open(tmp_path, SystemClock())
    try:
        world.store = journal.store
        run_id, diagnosis = await run_to_the_end(world, await world.open(make_finding()), verdict())
        assert diagnosis.code is FaultCode.D2
        (row,) = [row for row in await journal.query("runs") if row["run_id"] == run_id]
        assert row["state"] == "DONE"
        assert len(await journal.store.latest("outbox.queued")) == 2
    finally:
        await journal.close()
