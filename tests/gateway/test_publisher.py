"""The publisher against real brokers: away, killed mid-way, refusing."""

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import jsonschema
import pytest

from drivers.base import Delivery, Inbound, Message
from drivers.clock import SystemClock
from drivers.mqtt import MqttConfig, MqttSink
from gateway import publisher as publisher_module
from gateway.alarms import AlarmBook, Judgement
from gateway.journal_views import head_of
from gateway.publisher import Publisher, status_message
from gateway.schemas import schemas
from gateway.supervisor import Backoff, Child, supervise
from gateway.watchdog import Heartbeats
from hil_sim.broker import LoopbackBroker
from journal import Journal, Outbox, OutboxItem
from journal.engine.ports import Entry
from models.asset import Asset

WITHIN_S = 20.0
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: its ACL refuses a message")


class Gateway:
    """A journal, its outbox and a supervised publisher."""

    def __init__(self, journal: Journal, port: int) -> None:
        clock = SystemClock()
        config = MqttConfig(host="127.0.0.1", port=port, client_id="g1", timeout_s=2.0, keepalive_s=2)
        offline = status_message("g1", online=False)
        self.journal = journal
        self.outbox: Outbox = journal.outbox
        self.heard: list[Inbound] = []
        self.sink = MqttSink(config, will=offline, subscriptions=["blackstart/g1/command/verdict"])
        self.publisher = Publisher(self.sink, self.outbox, self._online, offline, self._hear, clock, Heartbeats(clock))
        self.child = Child("publisher", self.publisher.run, backoff=Backoff(first_s=0.05, most_s=0.2))
        self._clock = clock

    def _online(self) -> Message:
        return status_message("g1", online=True, journal_head=head_of(self.journal.head))

    async def _hear(self, inbound: Inbound) -> None:
        self.heard.append(inbound)

    async def queue(self, asset_id: str, number: int, *, topic: str = "", criticality: int = 3) -> str:
        message_id = f"{asset_id}-{number}"
        message = Message(
            message_id=message_id,
            topic=topic or f"blackstart/g1/alarm/{message_id}",
            payload=json.dumps({"message_id": message_id}).encode(),
            retain=True,
        )
        await self.journal.store.append([self.outbox.entry(message, asset_id=asset_id, criticality=criticality)])
        return message_id

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(supervise(self.child, self._clock))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()

    async def empty(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while self.outbox.pending():  # noqa: ASYNC110 - emptied by a broker's acknowledgements
                await asyncio.sleep(0.02)


@pytest.fixture
async def broker() -> AsyncIterator[LoopbackBroker]:
    broker = LoopbackBroker()
    yield broker
    await broker.close()


@pytest.fixture
async def make_gateway(tmp_path: Path) -> AsyncIterator[Callable[[int], Awaitable[Gateway]]]:
    journals: list[Journal] = []

    async def make(port: int) -> Gateway:
        journals.append(await Journal.open(tmp_path, SystemClock()))
        return Gateway(journals[-1], port)

    yield make
    for journal in journals:
        await journal.close()


class Scada:
    """Listens to everything, and comes back to a broker that comes back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.messages: list[dict[str, Any]] = []
        self.statuses: list[bool] = []
        self.subscribed = asyncio.Event()

    async def listen(self) -> None:
        while True:
            try:
                async with aiomqtt.Client("127.0.0.1", self.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
                    await client.subscribe("blackstart/g1/alarm/#", qos=1)
                    await client.subscribe("blackstart/g1/status", qos=1)
                    self.subscribed.set()
                    async for message in client.messages:
                        self._take(message)
            except aiomqtt.MqttError:
                self.subscribed.clear()
                await asyncio.sleep(0.05)

    def _take(self, message: aiomqtt.Message) -> None:
        content = json.loads(bytes(message.payload))
        if str(message.topic).endswith("/status"):
            self.statuses.append(content["online"])
        else:
            self.messages.append(content)

    def of(self, asset_id: str) -> list[str]:
        return [one["message_id"] for one in self.messages if one["message_id"].startswith(f"{asset_id}-")]


@asynccontextmanager
async def scada_on(port: int) -> AsyncIterator[Scada]:
    scada = Scada(port)
    task = asyncio.create_task(scada.listen())
    try:
        yield scada
    finally:
        task.cancel()
        await asyncio.wait({task})


def first_seen(ids: list[str]) -> list[str]:
    return list(dict.fromkeys(ids))


async def nothing() -> None:
    await asyncio.sleep(0)


Make = Callable[[int], Awaitable[Gateway]]


async def test_a_broker_away_from_the_start_costs_no_alarm(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any
) -> None:
    gateway = await make_gateway(broker.port)
    async with gateway.running():
        wanted = {asset: [await gateway.queue(asset, number) for number in range(5)] for asset in ("T1", "T2")}
        await eventually(lambda: gateway.child.failures > 2)
        assert len(gateway.outbox.pending()) == 10
        await broker.start()
        async with scada_on(broker.port) as scada:
            await gateway.empty()  # what SCADA was too late for comes to it as retained, in any order
            await eventually(lambda: {asset: sorted(set(scada.of(asset))) for asset in wanted} == wanted)
        sent = [record.key for record in await gateway.journal.store.latest("outbox.sent")]
    assert {asset: [one for one in sent if one.startswith(asset)] for asset in wanted} == wanted


async def test_a_broker_killed_midway_costs_no_alarm_and_no_order(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any
) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    at = {20: broker.stop, 40: broker.start}
    wanted: dict[str, list[str]] = {"T1": [], "T2": []}
    async with gateway.running(), scada_on(broker.port) as scada:
        await eventually(scada.subscribed.is_set)
        for number in range(60):
            for asset, ids in wanted.items():
                ids.append(await gateway.queue(asset, number))
            await at.get(number, nothing)()
        await gateway.empty()
        await eventually(lambda: all(scada.of(asset)[-1:] == wanted[asset][-1:] for asset in wanted))
    # As the broker accepted them: what SCADA finds retained when it comes back has no order among what is new.
    sent = [record.key for record in await gateway.journal.store.latest("outbox.sent")]
    assert {asset: [one for one in sent if one in ids] for asset, ids in wanted.items()} == wanted


async def test_a_lost_link_is_noticed_while_nothing_waits(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any
) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    async with gateway.running(), scada_on(broker.port) as scada:
        await eventually(lambda: scada.statuses[-1:] == [True])
        await broker.stop()
        await eventually(lambda: gateway.child.failures > 0)
        scada.statuses.clear()
        await broker.start()
        await eventually(lambda: scada.statuses[-1:] == [True])


async def test_the_status_is_retained_and_an_orderly_end_says_offline(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any
) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    async with gateway.running():
        await eventually(lambda: gateway.sink.connected)
        await gateway.queue("T1", 0)
        async with scada_on(broker.port) as scada:
            await eventually(lambda: scada.statuses == [True])
    async with scada_on(broker.port) as scada:
        await eventually(lambda: scada.statuses == [False])


async def test_the_head_of_the_journal_is_said_anew(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "HEAD_PERIOD_S", 0.05)
    await broker.start()
    gateway = await make_gateway(broker.port)
    config = MqttConfig(host="127.0.0.1", port=broker.port, client_id="auditor", timeout_s=2.0)
    auditor = MqttSink(config, will=status_message("auditor", online=False), subscriptions=["blackstart/g1/status"])
    await auditor.open()
    async with gateway.running(), asyncio.timeout(WITHIN_S):
        await eventually(lambda: gateway.sink.connected)
        await gateway.journal.store.append([Entry(kind="note")])
        wanted = head_of(gateway.journal.head)
        said = (json.loads(inbound.payload)["journal_head"] async for inbound in auditor.inbound())
        assert wanted.startswith("1:")
        async for head in said:
            if head == wanted:
                break
    await auditor.close()


async def test_the_broker_says_offline_for_a_gateway_that_died(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any
) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    async with scada_on(broker.port) as scada:
        await eventually(scada.subscribed.is_set)
        async with gateway.running():
            await eventually(lambda: scada.statuses[-1:] == [True])
            scada.statuses.clear()
            gateway.sink._lose(gateway.sink._client, "pulled out")  # the socket closes without a DISCONNECT
            await eventually(lambda: False in scada.statuses)
            await eventually(lambda: scada.statuses[-1:] == [True])


async def test_commands_are_handed_over(broker: LoopbackBroker, make_gateway: Make, eventually: Any) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    async with gateway.running():
        await eventually(lambda: gateway.sink.connected)
        async with aiomqtt.Client("127.0.0.1", broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.publish("blackstart/g1/command/verdict", b"{}", qos=1)
        await eventually(lambda: [inbound.payload for inbound in gateway.heard] == [b"{}"])


async def test_what_is_published_fits_the_schema_and_says_when(
    broker: LoopbackBroker, make_gateway: Make, eventually: Any, t1: Asset, make_finding: Any
) -> None:
    await broker.start()
    gateway = await make_gateway(broker.port)
    now = datetime.now(UTC)
    book = AlarmBook("g1", "", [t1], SystemClock(), simulated=True)
    revision = book.judge(
        Judgement(asset_id="T1", definition="DgaFault", finding=make_finding(first_time=now, last_time=now))
    )
    assert revision is not None
    entry = gateway.outbox.entry(revision.message, asset_id="T1", criticality=5)
    async with gateway.running(), scada_on(broker.port) as scada:
        await eventually(scada.subscribed.is_set)
        await gateway.journal.store.append([entry])
        await gateway.empty()
        await eventually(lambda: len(scada.messages) == 1)
    jsonschema.validate(scada.messages[0], schemas()["blackstart.alarm-1.json"])
    assert datetime.fromisoformat(scada.messages[0]["publish_time"]) >= now
    (latency_s,) = gateway.publisher.first_alarm_latencies_s
    assert 0 < latency_s < WITHIN_S


async def test_a_topic_that_mqtt_does_not_allow_is_parked(
    broker: LoopbackBroker, tmp_path: Path, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal.outbox.BACKOFF_FIRST_S", 0.01)
    await broker.start()
    journal = await Journal.open(tmp_path, SystemClock())
    gateway = Gateway(journal, broker.port)
    gateway.outbox._backoff_first_s = 0.01
    try:
        async with gateway.running(), scada_on(broker.port) as scada:
            await eventually(scada.subscribed.is_set)
            await gateway.queue("T1", 0, topic="blackstart/g1/alarm/#", criticality=5)
            await gateway.queue("T2", 0)
            await gateway.empty()
            await eventually(lambda: scada.of("T2") == ["T2-0"])
        assert (gateway.outbox.refused_count, gateway.outbox.sent_count) == (1, 1)
        assert gateway.child.failures == 0
    finally:
        await journal.close()


# -- only after the acknowledgement


class SilentSink:
    """Takes a message and answers when it is told to."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.answer: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()

    async def send(self, message: Message) -> Delivery:
        self.taken.append(message)
        return await self.answer


async def test_a_message_is_marked_sent_only_after_the_acknowledgement(make_gateway: Make, eventually: Any) -> None:
    gateway = await make_gateway(1)
    sink = SilentSink()
    gateway.publisher._sink = sink
    await gateway.queue("T1", 0)
    task = asyncio.create_task(gateway.publisher._drain())
    await eventually(lambda: len(sink.taken) == 1)
    (item,) = gateway.outbox.pending()
    assert isinstance(item, OutboxItem)
    assert await gateway.journal.store.latest("outbox.sent") == []
    sink.answer.set_result(Delivery(0, no_subscriber=False))
    await gateway.empty()
    assert len(await gateway.journal.store.latest("outbox.sent")) == 1
    task.cancel()
    await asyncio.wait({task})


# -- a broker that refuses


@pytest.fixture
async def refusing_broker(tmp_path: Path) -> AsyncIterator[int]:
    """mosquitto that lets nobody publish alarms of T9; QoS 1 and MQTT 5, so that it says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    acl = "topic readwrite blackstart/g1/status\ntopic read blackstart/#\n"
    acl += "topic write blackstart/g1/alarm/fine/#\ntopic readwrite blackstart/g1/command/#\n"
    (tmp_path / "acl").write_text(acl)
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nacl_file {tmp_path / 'acl'}\n")
    process = await asyncio.create_subprocess_exec(
        str(MOSQUITTO), "-c", str(config), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        while b"running" not in await process.stderr.readline():
            pass
    yield port
    process.terminate()
    await process.wait()


@needs_mosquitto
async def test_a_refused_message_is_parked_and_blocks_nobody(
    refusing_broker: int, make_gateway: Make, eventually: Any
) -> None:
    gateway = await make_gateway(refusing_broker)
    gateway.outbox._backoff_first_s = 0.01
    async with gateway.running(), scada_on(refusing_broker) as scada:
        await eventually(scada.subscribed.is_set)
        await gateway.queue("T1", 0, criticality=5)
        await gateway.queue("T1", 1, criticality=5, topic="blackstart/g1/alarm/fine/T1-1")
        await gateway.queue("T2", 0, topic="blackstart/g1/alarm/fine/T2-0")
        await gateway.empty()
        await eventually(lambda: len(scada.messages) == 2)
    (refused,) = await gateway.journal.store.latest("outbox.refused")
    assert refused.key == "T1-0"
    assert scada.of("T1") == ["T1-1"]
    assert scada.of("T2") == ["T2-0"]
