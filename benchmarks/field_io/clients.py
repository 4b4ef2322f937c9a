"""One client of the field benchmark: reads simulated devices for a while and prints what it cost its own process.

    echo '{"kind": "ours_modbus", "ports": [5020], "units": 100, "polls": 20}' | python -m benchmarks.field_io.clients

Kinds: `ours_modbus`, `bare_modbus`, `ours_opcua`, `bare_opcua_subscription`, `bare_opcua_poll`, `pollers`, `telemetry`.
The bare loops are the least that a program can do with pymodbus and asyncua and still have numbers in hand.
Output: one JSON line with `cpu_s`, `wall_s`, `points`, `good`, `rss_mb`.
"""

import asyncio
import json
import logging
import os
import resource
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asyncua import Client, ua
from pymodbus.client import AsyncModbusTcpClient

from benchmarks.field_io.devices import HOST, variable_names
from drivers.base import Message, Quality, Sample
from drivers.clock import SystemClock
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from drivers.mqtt import MqttConfig, MqttSink
from drivers.opcua import OpcuaLinkConfig, OpcuaPoint, OpcuaSource
from gateway.poller import Poller
from gateway.watchdog import Heartbeats
from hil_sim.opcua_plc import NAMESPACE_URI

FIRST_ADDRESS, REGISTERS = 20, 20  # ten floats of the gas monitor, in the one request that our plan makes as well
SETTLE_S = 1.5
Job = dict[str, Any]


class Meter:
    """CPU of this process and wall time from `start` to `result`."""

    def start(self) -> None:
        """From now on."""
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    def result(self, points: int, good: int, **more: object) -> Job:
        """What it cost."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"cpu_s": cpu_s, "wall_s": wall_s, "points": points, "good": good, "rss_mb": rss_mb, **more}


def modbus_source(name: str, port: int, units: int, timeout_s: float = 1.0) -> ModbusSource:
    """One link with `units` gas monitors."""
    devices = tuple(
        ModbusDevice(name=f"d{unit}", asset=f"{name}.{unit}", unit_id=unit, template="vaisala-opt100")
        for unit in range(1, units + 1)
    )
    config = ModbusLinkConfig(name=name, host=HOST, port=port, timeout_s=timeout_s, devices=devices)
    return ModbusSource(config, SystemClock())


def _good(samples: Sequence[Sample]) -> int:
    return sum(sample.quality is Quality.GOOD for sample in samples)


async def ours_modbus(job: Job) -> Job:
    """`ModbusSource.read`, poll after poll, all links at a time."""
    sources = [modbus_source(f"m{port}", port, job["units"]) for port in job["ports"]]
    for source in sources:
        await source.open()
        await source.read()

    async def poll(source: ModbusSource) -> tuple[int, int]:
        points = good = 0
        for _ in range(job["polls"]):
            samples = await source.read()
            points, good = points + len(samples), good + _good(samples)
        return points, good

    meter = Meter()
    meter.start()
    sums = await asyncio.gather(*(poll(source) for source in sources))
    result = meter.result(sum(points for points, _ in sums), sum(good for _, good in sums))
    for source in sources:
        await source.close()
    return result


async def bare_modbus(job: Job) -> Job:
    """Pymodbus alone: read, look for an error, decode ten floats."""
    clients = [AsyncModbusTcpClient(HOST, port=port, timeout=1, retries=0) for port in job["ports"]]
    for client in clients:
        await client.connect()

    async def poll(client: AsyncModbusTcpClient, polls: int) -> int:
        points = 0
        for _ in range(polls):
            for unit in range(1, job["units"] + 1):
                reply = await client.read_holding_registers(FIRST_ADDRESS, count=REGISTERS, device_id=unit)
                if not reply.isError():
                    values = client.convert_from_registers(
                        reply.registers, client.DATATYPE.FLOAT32, word_order="little"
                    )
                    points += len(values)
        return points

    await asyncio.gather(*(poll(client, 1) for client in clients))
    meter = Meter()
    meter.start()
    points = sum(await asyncio.gather(*(poll(client, job["polls"]) for client in clients)))
    result = meter.result(points, points)
    for client in clients:
        client.close()
    return result


async def raw_sockets(job: Job) -> Job:
    """No library at all: one request frame, one reply frame, `struct`.  The floor beneath the floor."""
    points = 0
    connections = [await asyncio.open_connection(HOST, port) for port in job["ports"]]
    meter = Meter()
    meter.start()
    for _ in range(job["polls"]):
        for reader, writer in connections:
            for unit in range(1, job["units"] + 1):
                writer.write(struct.pack(">HHHBBHH", 1, 0, 6, unit, 3, FIRST_ADDRESS, REGISTERS))
                reply = await reader.readexactly(9 + 2 * REGISTERS)
                words = struct.unpack(f">{REGISTERS}H", reply[9:])
                swapped = [word for pair in zip(words[1::2], words[::2], strict=True) for word in pair]
                points += len(struct.unpack(f">{REGISTERS // 2}f", struct.pack(f">{REGISTERS}H", *swapped)))
    result = meter.result(points, points)
    for _, writer in connections:
        writer.close()
    return result


def opcua_source(url: str, variables: int, period_s: float) -> OpcuaSource:
    """One link with all variables of a server."""
    points = tuple(
        OpcuaPoint(node=f"s={name}", asset=name.partition("/")[0], indicator=name.partition("/")[2], unit="-")
        for name in variable_names(variables)
    )
    config = OpcuaLinkConfig(
        name="u", url=url, namespace_uri=NAMESPACE_URI, security="none", poll_period_s=period_s, points=points
    )
    return OpcuaSource(config, SystemClock())


async def ours_opcua(job: Job) -> Job:
    """`OpcuaSource.read` once a period; everything has changed each time."""
    source = opcua_source(job["urls"][0], job["variables"], job["period_s"])
    await source.open()
    await asyncio.sleep(SETTLE_S)
    await source.read()
    points = good = 0
    meter = Meter()
    meter.start()
    due = time.monotonic()
    for _ in range(job["polls"]):
        due += job["period_s"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        samples = await source.read()
        points, good = points + len(samples), good + _good(samples)
    result = meter.result(points, good, missed=source.missed_count, dropped=source.dropped_count)
    await source.close()
    return result


async def _bare_nodes(job: Job) -> tuple[Client, list[Any]]:
    client = Client(job["urls"][0], timeout=10, watchdog_intervall=20)
    await client.connect()
    index = await client.get_namespace_index(NAMESPACE_URI)
    return client, [client.get_node(ua.NodeId(name, index)) for name in variable_names(job["variables"])]


async def bare_opcua_subscription(job: Job) -> Job:
    """Asyncua alone: subscribe at the same interval and keep value, status and source time of each notification."""
    client, nodes = await _bare_nodes(job)
    known: dict[Any, tuple[Any, Any, Any]] = {}
    wanted = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=job["period_s"] * 500,
        RequestedLifetimeCount=60,
        RequestedMaxKeepAliveCount=4,
        MaxNotificationsPerPublish=0,
        PublishingEnabled=True,
        Priority=0,
    )
    subscription = await client.create_subscription(wanted, queue_maxsize=100_000)
    await subscription.subscribe_data_change(nodes, queuesize=10)
    points = 0

    async def listen() -> None:
        nonlocal points
        async for event in subscription:
            data = event.data.monitored_item.Value
            known[event.node] = (event.value, data.StatusCode, data.SourceTimestamp)
            points += 1

    listening = asyncio.create_task(listen())
    await asyncio.sleep(SETTLE_S)
    points = 0
    meter = Meter()
    meter.start()
    await asyncio.sleep(job["polls"] * job["period_s"])
    result = meter.result(points, points)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await client.disconnect()
    return result


async def bare_opcua_poll(job: Job) -> Job:
    """Asyncua alone: read all nodes once a period, 500 in a request, and keep value, status and source time."""
    client, nodes = await _bare_nodes(job)
    known: list[tuple[Any, Any, Any]] = []
    await client.read_attributes(nodes[:500])
    points = 0
    meter = Meter()
    meter.start()
    due = time.monotonic()
    for _ in range(job["polls"]):
        due += job["period_s"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        known.clear()
        for start in range(0, len(nodes), 500):
            values = await client.read_attributes(nodes[start : start + 500])
            known += [(data.Value.Value, data.StatusCode, data.SourceTimestamp) for data in values]
        points += len(known)
    result = meter.result(points, points)
    await client.disconnect()
    return result


async def pollers(job: Job) -> Job:
    """Every link behind its own `Poller`, dead ones among them; rates of the live ones."""
    clock = SystemClock()
    beats = Heartbeats(clock)
    counted: dict[str, int] = {}

    def counter(name: str) -> Callable[[Sequence[Sample]], None]:
        def count(samples: Sequence[Sample]) -> None:
            counted[name] = counted.get(name, 0) + _good(samples)

        return count

    links = [(port, modbus_source(f"live{port}", port, job["units"])) for port in job["ports"]]
    links += [(port, modbus_source(f"dead{port}", port, job["units"])) for port in job["dead_ports"]]
    polling = [Poller(source, job["period_s"], counter(source.name), clock, beats) for _, source in links]
    tasks = [asyncio.create_task(poller.run()) for poller in polling]
    await asyncio.sleep(SETTLE_S + job["period_s"])
    counted.clear()
    before = {poller.source.name: poller.stats.skipped_ticks for poller in polling}
    meter = Meter()
    meter.start()
    await asyncio.sleep(job["seconds"])
    live = [poller for poller in polling if poller.source.name.startswith("live")]
    rates = [counted.get(p.source.name, 0) / len(p.source.points) / job["seconds"] * job["period_s"] for p in live]
    skipped = sum(poller.stats.skipped_ticks - before[poller.source.name] for poller in live)
    points = sum(counted.values())
    result = meter.result(points, points, slowest_link_rate=min(rates), skipped_ticks=skipped)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


async def telemetry(job: Job) -> Job:
    """The same work as a gateway that forwards every value: poll once a period, publish each device's cycle, QoS 1."""
    source = modbus_source("m", job["ports"][0], job["units"])
    will = Message(message_id="will", topic="bench/status", payload=b"offline")
    sink = MqttSink(MqttConfig(host=HOST, port=job["mqtt_port"], client_id="bench-telemetry"), will=will)
    await sink.open()
    await source.open()
    points = 0
    print(json.dumps({"ready": True}), flush=True)
    due = time.monotonic()
    until = due + job["seconds"]
    while time.monotonic() < until:
        due += job["period_s"]
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        by_asset: dict[str, list[Sample]] = {}
        for sample in await source.read():
            by_asset.setdefault(sample.point_id.partition("/")[0], []).append(sample)
        for asset, samples in by_asset.items():
            values = {s.point_id.partition("/")[2]: s.value for s in samples}
            content = {"ts": samples[0].received_time.timestamp(), "values": values}
            payload = json.dumps(content).encode()
            await sink.send(Message(message_id=asset, topic=f"bench/telemetry/{asset}", payload=payload))
            points += len(samples)
    await source.close()
    await sink.close()
    return {"points": points}


KINDS: dict[str, Callable[[Job], Awaitable[Job]]] = {
    "ours_modbus": ours_modbus,
    "bare_modbus": bare_modbus,
    "raw_sockets": raw_sockets,
    "ours_opcua": ours_opcua,
    "bare_opcua_subscription": bare_opcua_subscription,
    "bare_opcua_poll": bare_opcua_poll,
    "pollers": pollers,
    "telemetry": telemetry,
}


def main() -> None:
    """Read the job, do it, print what it cost."""
    logging.disable(logging.WARNING)  # dead devices are part of the play
    job = json.loads(sys.stdin.readline())
    if job.get("core") is not None:
        os.sched_setaffinity(0, {job["core"]})
    print(json.dumps(asyncio.run(KINDS[job["kind"]](job))), flush=True)


if __name__ == "__main__":
    main()
