"""The running simulator: real sockets over the simulated substation, steered by commands, paced by real time.

In: a scenario and command lines.  Out: event lines (`ready` first), registers, variables and a broker.
Commands: trigger, device_down, device_up, broker_down, broker_up, status, stop; each gets one answer line.
Called by `hil_sim.__main__`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from drivers.base import Frozen
from hil_sim.broker import LoopbackBroker
from hil_sim.errors import SimError
from hil_sim.modbus_plc import HOST, ModbusPlc
from hil_sim.opcua_plc import NAMESPACE_URI, OpcuaPlc
from hil_sim.physics.gassing import GASES
from hil_sim.register_maps import MAPS
from hil_sim.scenario import DeviceEvent, LinkEvent, Scenario, SiteEvent
from hil_sim.substation import PLANT_POINTS, DeviceCycle, Happening, Substation, Tick

__all__ = ("Channel", "Simulator", "first_to_end")

OPCUA_NAME = "opcua"  # the plant's own server dies and returns by this device name
MAX_LAG_TICKS = 10  # behind by more, real time has moved on (a suspended box): pace anew instead of racing after it


class Trigger(Frozen):
    """Let an event of the script begin."""

    cmd: Literal["trigger"]
    id: str


class DeviceCommand(Frozen):
    """Let a device (or "opcua") die or return."""

    cmd: Literal["device_down", "device_up"]
    device: str


class PlainCommand(Frozen):
    """A command without arguments."""

    cmd: Literal["broker_down", "broker_up", "status", "stop"]


Command: TypeAlias = Annotated[Trigger | DeviceCommand | PlainCommand, Field(discriminator="cmd")]
COMMAND: TypeAdapter[Trigger | DeviceCommand | PlainCommand] = TypeAdapter(Command)


class Channel(Protocol):
    """Where events go and commands come from."""

    dropped_count: int

    def emit(self, event: str, **fields: Any) -> None:
        """Say something."""
        ...

    def commands(self) -> AsyncIterator[Mapping[str, Any]]:
        """Commands, until the simulator shall end."""
        ...


class Simulator:
    """One substation on sockets."""

    def __init__(
        self,
        scenario: Scenario,
        lines: Channel,
        *,
        now: Callable[[], datetime],
        with_broker: bool = False,
        ready_file: Path | None = None,
        host: str = HOST,
        first_port: int = 0,
        watch: Callable[[Tick], Awaitable[None]] | None = None,
    ) -> None:
        """Nothing listens yet; `now` gives the wall time that the OPC UA server stamps.

        With `first_port` the devices listen there and behind it, then the OPC UA server, then the broker; without,
        wherever a port is free.  `watch` sees each tick after its values are shown.
        """
        self._scenario = scenario
        self._lines = lines
        self._ready_file = ready_file
        self._substation = Substation(scenario)
        self._watch = watch
        devices = scenario.devices
        ports = [first_port + index if first_port else 0 for index in range(len(devices) + 2)]
        self._plcs = {
            d.name: ModbusPlc({d.unit_id: MAPS[d.template]}, host=host, port=port)
            for d, port in zip(devices, ports[:-2], strict=True)
        }
        points = {
            f"{t.id}/{indicator}": unit for t in scenario.transformers for indicator, unit in PLANT_POINTS.items()
        }
        self._opcua = OpcuaPlc(points, now, host=host, port=ports[-2])
        self._broker = LoopbackBroker(host=host, port=ports[-1]) if with_broker else None

    def trigger(self, event_id: str) -> None:
        """Let an event of the script begin at the next tick.  Raises SimError for one that waits for no command."""
        self._substation.trigger(event_id)

    async def run(self) -> None:
        """Start everything, say `ready`, and play until the input ends or a stop comes.

        Raises SimError when a socket or the broker cannot be had.
        """
        try:
            if self._broker is not None:
                await self._broker.start()
            for plc in self._plcs.values():
                await plc.start()
            await self._opcua.start()
            first = self._substation.tick()
            await self._show(first)
            self._say_ready()
            await self._tell(first)
            await first_to_end(self._obey(), self._keep_ticking())
        finally:
            await self._close()

    async def _close(self) -> None:
        for plc in self._plcs.values():
            plc.thaw()
            await plc.stop()
        await self._opcua.stop()
        if self._broker is not None:
            await self._broker.close()

    def _say_ready(self) -> None:
        mqtt = {"host": self._broker.host, "port": self._broker.port} if self._broker else None
        ready: dict[str, Any] = {
            "time_factor": self._scenario.time_factor,
            "devices": [
                {
                    "name": device.name,
                    "asset": device.asset,
                    "template": device.template,
                    "host": self._plcs[device.name].host,
                    "port": self._plcs[device.name].port,
                    "unit_id": device.unit_id,
                }
                for device in self._scenario.devices
            ],
            "opcua": {
                "url": self._opcua.url,
                "namespace_uri": NAMESPACE_URI,
                "points": [point.as_json() for point in self._opcua.points],
            },
            "mqtt": mqtt,
        }
        if self._ready_file is not None:
            draft = self._ready_file.with_name(self._ready_file.name + ".part")
            draft.write_text(json.dumps({"event": "ready", **ready}), encoding="utf-8")
            draft.replace(self._ready_file)  # who sees the file sees all of it
        self._lines.emit("ready", **ready)  # last: who reads the line finds the file

    async def _keep_ticking(self) -> None:
        loop = asyncio.get_running_loop()
        period_s = self._scenario.tick_real_s
        due_s = loop.time() + period_s
        while True:
            await asyncio.sleep(due_s - loop.time())
            tick = self._substation.tick()
            await self._show(tick)
            await self._tell(tick)
            due_s = max(due_s + period_s, loop.time() - MAX_LAG_TICKS * period_s)

    async def _show(self, tick: Tick) -> None:
        for cycle in tick.cycles:
            if cycle.wire != "frozen":
                self._plcs[cycle.device.name].show(cycle.device.unit_id, cycle.channels, wire=cycle.wire)
        await self._opcua.show(tick.plant)

    async def _tell(self, tick: Tick) -> None:
        for happening in tick.happenings:
            await self._begin(happening)
        for cycle in tick.cycles:
            self._report(cycle, tick.time_s)
        if self._watch is not None:
            await self._watch(tick)

    async def _begin(self, happening: Happening) -> None:
        event = happening.event
        extra = {"source": event.source} if event.source else {}
        self._lines.emit("started", id=event.id, asset=event.asset, kind=event.kind, sim_s=happening.time_s, **extra)
        names = [device.name for device in self._scenario.devices if device.asset == event.asset]
        match event:
            case DeviceEvent():
                for name in names:
                    await self._set_device(name, up=event.kind == "device_up")
            case LinkEvent():
                for name in names:
                    plc = self._plcs[name]
                    (plc.freeze if event.kind == "link_freeze" else plc.thaw)()
            case SiteEvent(kind="broker_down"):
                await self._need_broker().stop()
            case SiteEvent(kind="broker_up"):
                await self._need_broker().start()
            case SiteEvent(kind="opcua_down" | "opcua_up"):
                await self._set_device(OPCUA_NAME, up=event.kind == "opcua_up")
            case _:
                pass  # the substation, or whoever watches, has dealt with it

    def _report(self, cycle: DeviceCycle, time_s: float) -> None:
        """Tell the truth of a gas analysis, whatever the wire makes of it; other devices renew too often to tell."""
        gases = {gas: cycle.channels[gas] for gas in GASES if gas in cycle.channels}
        if gases:
            self._lines.emit(
                "cycle",
                device=cycle.device.name,
                asset=cycle.device.asset,
                cycle=cycle.number,
                sim_s=time_s,
                wire=cycle.wire,
                gases_ul_l=gases,
            )

    async def _obey(self) -> None:
        async for line in self._lines.commands():
            try:
                command = COMMAND.validate_python(line)
                answer = await self._execute(command)
            except ValidationError as err:
                problem = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'cmd'}: {e['msg']}" for e in err.errors())
                self._lines.emit("error", cmd=str(line.get("cmd", "")), message=problem)
            except SimError as err:
                self._lines.emit("error", cmd=str(line.get("cmd", "")), message=str(err))
            else:
                self._lines.emit("ok", **command.model_dump(), **answer)
                if command.cmd == "stop":
                    return

    async def _execute(self, command: Trigger | DeviceCommand | PlainCommand) -> Mapping[str, Any]:
        match command:
            case Trigger():
                self._substation.trigger(command.id)
            case DeviceCommand():
                await self._set_device(command.device, up=command.cmd == "device_up")
            case PlainCommand(cmd="broker_down"):
                await self._need_broker().stop()
            case PlainCommand(cmd="broker_up"):
                await self._need_broker().start()
            case PlainCommand(cmd="status"):
                return self._status()
            case _:
                pass  # stop: the caller ends
        return {}

    def _need_broker(self) -> LoopbackBroker:
        if self._broker is None:
            raise SimError("there is no broker: start the simulator with --broker")
        return self._broker

    async def _set_device(self, name: str, *, up: bool) -> None:
        if name == OPCUA_NAME:
            await (self._opcua.resume() if up else self._opcua.pause())
        elif name in self._plcs:
            await (self._plcs[name].start() if up else self._plcs[name].stop())
        else:
            raise SimError(f"no device {name!r}; there are: {', '.join([*self._plcs, OPCUA_NAME])}")
        self._lines.emit("device_up" if up else "device_down", device=name)

    def _status(self) -> dict[str, Any]:
        running = {name: plc.running for name, plc in self._plcs.items()} | {OPCUA_NAME: self._opcua.running}
        return {
            "sim_s": self._substation.time_s,
            "devices": {name: "up" if up else "down" for name, up in running.items()},
            "broker": None if self._broker is None else ("up" if self._broker.running else "down"),
            "dropped_lines": self._lines.dropped_count,
        }


async def first_to_end(*coroutines: Any) -> None:
    """Run all until the first one ends; stop the others.  Raises what that one raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
