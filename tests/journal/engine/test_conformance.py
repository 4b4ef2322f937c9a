"""The contract of a durable agent on three workflows of ours, and on faulty ones, which it must find."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from journal.engine import Effect, MemoryStore, checkpoint, emit, services, settle, sleep, wait_for, workflow
from journal.engine.conformance import PROPERTIES, Broken, Subject

pytest_plugins = ("journal.engine.conformance.plugin",)


class Verdict(BaseModel):
    code: str


@dataclass
class Plant:
    """The outside world: it survives the crash of the process."""

    lines_down: int = 1
    looks: list[str] = field(default_factory=list)


@checkpoint()
async def ask_model(prompt: str, number: int) -> str:
    for _ in range(2 * number):
        await asyncio.sleep(0)
    return f"{prompt}: answer {number}"


@checkpoint(effect=Effect.IDEMPOTENT, retries=2)
async def look_at(asset: str) -> str:
    plant = services(Plant)
    plant.looks.append(asset)
    if plant.lines_down:
        plant.lines_down -= 1
        raise ConnectionError("no line")
    return f"{asset} hums"


@checkpoint()
async def tell(text: str) -> int:
    emit("outbox.queued", {"text": text}, key=text, name="alarms")
    return len(text)


@checkpoint(effect=Effect.AT_MOST_ONCE)
async def ring(person: str) -> str:
    await asyncio.sleep(0)
    return f"rang {person}"


async def argue(side: str) -> list[str]:
    return [await ask_model(side, number) for number in range(3)]


@workflow("debate")
async def debate() -> list[Any]:
    """Branches that call one and the same step, and a settling."""
    sides = await asyncio.gather(argue("for"), argue("against"))
    branches = [ask_model.submit("judge", number, label=f"judge {number}") for number in range(3)]
    return [*sides, [one.value for one in await settle(branches)]]


@workflow("inspect")
async def inspect(asset: str) -> list[str]:
    """A retry, a person's answer, days of sleep, a queued message."""
    seen = await look_at(asset)
    verdict = await wait_for("verdict", Verdict, timeout=timedelta(days=14))
    await sleep(timedelta(days=3))
    await tell(f"{seen}: {verdict.code}")
    return [seen, verdict.code, await look_at(asset)]


@workflow("call-out")
async def call_out(people: list[str]) -> list[str]:
    """An effect that must never happen twice, between steps that may."""
    rang = []
    for person in people:
        await tell(person)
        rang.append(await ring(person))
    return rang


SUBJECTS = [
    Subject(workflow=debate),
    Subject(workflow=inspect, args=("T1",), answers={"verdict": {"code": "D1"}}, services=Plant),
    Subject(workflow=call_out, args=(["Ada", "Grace"],)),
]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.workflow.name)
async def test_a_workflow_keeps_the_contract(durable_property: Any, subject: Subject) -> None:
    await durable_property(subject)


_lives = 0


@checkpoint()
async def reads_a_global() -> int:
    global _lives  # noqa: PLW0603
    _lives += 1
    return _lives


@workflow("moody")
async def moody() -> int:
    """Its value depends on how often the process ran it."""
    return await reads_a_global() + await reads_a_global()


@workflow("impatient")
async def impatient() -> int:
    return await ring_in_body() + len(await ask_model("x", 0))


async def ring_in_body() -> int:
    global _lives  # noqa: PLW0603 - an effect outside of any step: what the contract forbids
    _lives += 1
    return _lives


@pytest.mark.parametrize(
    ("wf", "name"),
    [(moody, "checkpoint_validity"), (moody, "prefix_continuation"), (impatient, "prefix_continuation")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_a_workflow_that_breaks_the_contract_is_found(wf: Any, name: str) -> None:
    with pytest.raises(Broken):
        await PROPERTIES[name](Subject(workflow=wf))


class Forgetful(MemoryStore):
    """Gives back the history without the last step that is done: as an engine that runs recorded steps again."""

    async def history(self, run_id: str) -> list[Any]:
        records = await super().history(run_id)
        done = [record for record in records if record.kind == "step.done"]
        return [record for record in records if record not in done[-1:]]

    async def histories(self, run_ids: Any) -> dict[str, list[Any]]:
        return {run_id: found for run_id in run_ids if (found := await self.history(run_id))}


@pytest.mark.parametrize("name", ["prefix_continuation", "effects_exactly_once"])
async def test_an_engine_that_forgets_a_step_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("journal.engine.conformance.properties.MemoryStore", Forgetful)
    with pytest.raises(Broken, match=r"again|twice"):
        await PROPERTIES[name](SUBJECTS[0])
