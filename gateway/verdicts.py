"""What people found: checked, addressed to the run that waits for it, and never lost when it comes late."""

import difflib
import json
import logging

from pydantic import Field, ValidationError

from drivers.base import Frozen, Inbound
from drivers.errors import BadInput, Transient
from gateway.consolidation import consolidate
from gateway.desk import Desk
from gateway.investigation import WAIT, episode_of, investigate
from journal.engine import BadAnswer, RunState, StepState, UnknownRun
from models.findings import Diagnosis, Verdict

__all__ = ("VerdictCommand", "Verdicts")

log = logging.getLogger(__name__)

PAYLOAD_BYTES_MAX = 16_384  # a verdict is a few hundred bytes; more is an attack or a mistake


class VerdictCommand(Frozen):
    """Payload of the command topic and of the control socket."""

    run_id: str = Field(min_length=1, max_length=128)
    verdict: Verdict


class Verdicts:
    """Takes verdicts from MQTT and from the command line."""

    def __init__(self, desk: Desk, known_causes: frozenset[str]) -> None:
        self._desk = desk
        self._known_causes = known_causes
        self.refused = 0

    async def hear(self, inbound: Inbound) -> None:
        """A message of the command topic; whatever is wrong with it is counted and logged, never raised."""
        try:
            outcome = await self.submit(_parse(inbound.payload))
        except (BadInput, Transient) as err:
            self.refused += 1
            log.warning("verdict on %s refused: %s", inbound.topic, err)
        else:
            log.info("verdict: %s", outcome)

    async def submit(self, command: VerdictCommand) -> str:
        """Hand a verdict to its run; returns in words what became of it.

        Raises BadInput where no such run exists, where it has a verdict already, or where it asks for none.
        """
        engine = self._desk.engine
        cause = command.verdict.final_cause
        if cause is not None and cause not in self._known_causes:
            near = difflib.get_close_matches(cause, self._known_causes, n=3, cutoff=0.4)
            names = ", ".join(near) or "see `blackstart graph show`"
            raise BadInput(f"final_cause {cause!r} is no failure mode of the fault graph; near: {names}")
        try:
            run = await engine.run(command.run_id)
            if run.workflow != investigate.name:
                raise BadInput(f"run {command.run_id!r} is a {run.workflow}, not an investigation")
            if await engine.answer(command.run_id, WAIT, command.verdict, by=command.verdict.by):
                return f"taken by run {command.run_id}"
        except (BadAnswer, UnknownRun) as err:
            raise BadInput(str(err)) from err
        if run.state is RunState.QUEUED:
            raise BadInput(f"run {command.run_id} has not begun yet; hand it in again in a minute")
        if run.state is RunState.DONE and await self._expired(command.run_id):
            return await self._late(command, run.key)
        raise BadInput(f"run {command.run_id} already has a verdict; the first one counts")

    async def _expired(self, run_id: str) -> bool:
        steps = await self._desk.engine.steps(run_id)
        return any(step.name == WAIT and step.state is StepState.EXPIRED for step in steps)

    async def _late(self, command: VerdictCommand, incident_id: str) -> str:
        """The deadline has passed: the run is over, but what was found still teaches memory."""
        engine = self._desk.engine
        key = f"consolidate/{command.run_id}"
        if await self._desk.store.find_run(key) is not None:
            raise BadInput(f"run {command.run_id} already has a late verdict; the first one counts")
        incident = await self._desk.incident(incident_id)
        diagnosis = await engine.result(command.run_id)
        assert isinstance(diagnosis, Diagnosis), "an investigation returns a diagnosis"
        episode = episode_of(command.run_id, incident, diagnosis, command.verdict)
        run_id = await engine.start(consolidate, episode, key=key)
        revision = self._desk.book.record_verdict(incident.alarm_id, command.verdict)
        if revision is not None:
            await self._desk.commit(revision)
        return f"late for run {command.run_id}; consolidated by run {run_id}"


def _parse(payload: bytes) -> VerdictCommand:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise BadInput(f"{len(payload)} bytes; a verdict has at most {PAYLOAD_BYTES_MAX}")
    try:
        return VerdictCommand.model_validate(json.loads(payload))
    except (ValueError, ValidationError, RecursionError) as err:
        raise BadInput(f"not a verdict: {str(err)[:500]}") from err
