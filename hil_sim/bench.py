"""Hardware in the loop: the plant with its devices for a gateway on another host, which is scored from outside.

In: a scenario, an address to listen at, and where needed a command that switches the gateway's power.  Out: the
gateway's configuration file, and at the end `score.json` and `score.txt`.  The script begins when the gateway says at
the broker that it is online.  Called by `hil_sim.__main__`.
"""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from hil_sim.bench_config import GATEWAY_ID, gateway_config
from hil_sim.control import Simulator, first_to_end
from hil_sim.ear import Ear, Heard
from hil_sim.errors import SimError
from hil_sim.scenario import ClockEvent, Event, Scenario, SiteEvent
from hil_sim.score import Score, score
from hil_sim.substation import Tick
from hil_sim.truth import Truth

__all__ = ("STATE_DIR", "Bench", "BenchPlan")

POWER_TIMEOUT_S = 60.0  # a command that switches a socket or kills a process
CONFIG_NAME = "blackstart.toml"
STATE_DIR = "/var/lib/blackstart/bench"
HEARD_MAX = 200_000  # messages of one run that are kept; a gateway says more only when it is in a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """What a person asks the bench to do."""

    scenario: Scenario
    bind: str
    out: Path
    first_port: int = 15020
    broker: tuple[str, int] | None = None  # None: one of the bench's own
    power_cmd: str = ""
    state_dir: str = STATE_DIR
    online_within_s: float = 600.0


@dataclass(slots=True)
class _Channel:
    """The simulator's lines: nobody commands it, and what it says is counted, not printed."""

    finished: asyncio.Event
    ready: dict[str, Any] = field(default_factory=dict)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    dropped_count: int = 0

    def emit(self, event: str, **fields: Any) -> None:
        if event == "ready":
            self.ready = fields
            self.is_ready.set()
        elif event in {"started", "error"}:
            print(json.dumps({"event": event, **fields}), flush=True)

    async def commands(self) -> AsyncIterator[Mapping[str, Any]]:
        while not self.finished.is_set():
            await self.finished.wait()
            yield {"cmd": "stop"}


class Bench:
    """One run."""

    def __init__(self, plan: BenchPlan) -> None:
        """Nothing listens yet."""
        self._plan = plan
        self._script = sorted(plan.scenario.events, key=lambda event: event.at_s or 0.0)
        waiting = tuple(e.model_copy(update={"at_s": None, "trigger": "command"}) for e in plan.scenario.events)
        self._truth = Truth(plan.scenario)
        self._due: list[Event] = []
        self._over = asyncio.Event()  # the script has been played
        self._finished = asyncio.Event()  # and the gateway has no power any more
        self._channel = _Channel(self._finished)
        self._skew = timedelta(0)
        self._heard: list[Heard] = []
        self._online = asyncio.Event()
        self._ended_s = 0.0
        self._zero_s: float | None = None  # simulated second at which the script began
        self._sim = Simulator(
            plan.scenario.model_copy(update={"events": waiting}),
            self._channel,
            now=self._plant_now,
            with_broker=plan.broker is None,
            host=plan.bind,
            first_port=plan.first_port,
            watch=self._watch,
        )

    async def run(self) -> Score:
        """Play the script for the gateway and score it.

        Raises SimError when a socket cannot be had, the power command fails or the gateway never comes online.
        """
        began: list[float] = []
        await first_to_end(self._sim.run(), self._conduct(began))
        wall_minus_loop_s = datetime.now(UTC).timestamp() - asyncio.get_running_loop().time()
        result = score(
            self._truth, self._heard, began_s=began[0], ended_s=self._ended_s, wall_minus_loop_s=wall_minus_loop_s
        )
        (self._plan.out / "score.json").write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
        (self._plan.out / "score.txt").write_text(result.as_text() + "\n", encoding="utf-8")
        return result

    async def _conduct(self, began: list[float]) -> None:
        await self._channel.is_ready.wait()
        mqtt = self._plan.broker or (self._channel.ready["mqtt"]["host"], self._channel.ready["mqtt"]["port"])
        text = gateway_config(self._plan.scenario, self._channel.ready, mqtt, self._plan.state_dir)
        config = self._plan.out / CONFIG_NAME
        config.write_text(text, encoding="utf-8")
        print(json.dumps({"event": "listening", "config": str(config), "bind": self._plan.bind}), flush=True)
        listening = asyncio.create_task(Ear(mqtt[0], mqtt[1], self._hear).run())
        try:
            await self._power("on")
            try:
                await self._until_over(began)
            finally:
                await self._power("off")
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        self._finished.set()

    async def _until_over(self, began: list[float]) -> None:
        try:
            async with asyncio.timeout(self._plan.online_within_s):
                await self._online.wait()
        except TimeoutError as err:
            raise SimError(f"no gateway came online within {self._plan.online_within_s:g} s") from err
        began.append(asyncio.get_running_loop().time())
        print(json.dumps({"event": "online"}), flush=True)
        await self._over.wait()
        self._ended_s = asyncio.get_running_loop().time()

    def _hear(self, heard: Heard) -> None:
        own = heard.topic.startswith(f"blackstart/{GATEWAY_ID}/")
        if self._over.is_set() or not own or len(self._heard) >= HEARD_MAX:
            return
        self._heard.append(heard)
        if heard.topic.endswith("/status") and heard.content and heard.content.get("online") is True:
            self._online.set()

    async def _watch(self, tick: Tick) -> None:
        """After each tick: note the truth, and let the script go on."""
        at_s = asyncio.get_running_loop().time()
        for happening in tick.happenings:
            original = next(event for event in self._script if event.id == happening.event.id)
            await self._act(original)
            self._truth.happened(original, at_s)
        self._truth.ticked(tick, at_s)
        if not self._online.is_set():
            return
        if self._zero_s is None:
            self._zero_s = tick.time_s
            self._due = list(self._script)
        while self._due and (self._due[0].at_s or 0.0) <= tick.time_s - self._zero_s:
            self._sim.trigger(self._due.pop(0).id)
        last_s = self._script[-1].at_s or 0.0 if self._script else 0.0
        if not self._due and tick.time_s - self._zero_s >= last_s + self._plan.scenario.bench.settle_s:
            self._over.set()

    async def _act(self, event: Event) -> None:
        match event:
            case ClockEvent():
                self._skew = timedelta(seconds=event.skew_s)
            case SiteEvent(kind="power_off"):
                await self._power("off")
            case SiteEvent(kind="power_on"):
                await self._power("on")
            case _:
                pass  # the simulator has done it

    async def _power(self, state: Literal["on", "off"]) -> None:
        if not self._plan.power_cmd:
            return
        command = [*shlex.split(self._plan.power_cmd), state]
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
            async with asyncio.timeout(POWER_TIMEOUT_S):
                code = await process.wait()
        except (OSError, TimeoutError) as err:
            raise SimError(f"the power command {shlex.join(command)} failed: {err or 'it took too long'}") from err
        if code != 0:
            raise SimError(f"the power command {shlex.join(command)} ended with exit code {code}")

    def _plant_now(self) -> datetime:
        return datetime.now(UTC) + self._skew
