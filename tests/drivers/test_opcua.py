"""OPC UA against a real server: subscription, verification, quality, and every way to lose the link."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import Misconfigured, Refused, Transient
from drivers.opcua import OpcuaLinkConfig, OpcuaSource

pytestmark = pytest.mark.asyncio(loop_scope="module")

_URI = "urn:test:substation"
_CLIENT_URI = "urn:blackstart:test"
_NODES = {"T1.LodPu": 0.8, "T1.TopOil": 61.5, "T1.TapPos": 9, "T1.Hidden": 1.0}
_DECIDE_S = 15.0  # how long a test waits for what must happen soon, on a loaded machine


class Plant:
    """A server whose values are written from inside."""

    def __init__(self, server: Server, port: int, certs: Path | None) -> None:
        self.server = server
        self.port = port
        self.certs = certs
        self.nodes: dict[str, object] = {}

    async def set(self, node: str, value: object, status: int = ua.StatusCodes.Good) -> None:
        stamp = datetime.now(UTC)
        data = ua.DataValue(ua.Variant(value, ua.VariantType.Double), ua.StatusCode(status), stamp, stamp)
        await self.server.write_attribute_value(self.nodes[node].nodeid, data)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def _certificate(folder: Path, name: str, uri: str, usage: list[object]) -> None:
    key, cert = folder / f"{name}.key.pem", folder / f"{name}.der"
    await setup_self_signed_certificate(key, cert, uri, "localhost", usage, {"commonName": name})


async def _start(namespaces: Sequence[str], certs: Path | None = None) -> Plant:
    server, port = Server(), _free_port()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    policies = [ua.SecurityPolicyType.NoSecurity]
    if certs is not None:
        await server.set_application_uri("urn:test:server")
        await _certificate(certs, "server", "urn:test:server", [ExtendedKeyUsageOID.SERVER_AUTH])
        await _certificate(certs, "client", _CLIENT_URI, [ExtendedKeyUsageOID.CLIENT_AUTH])
        await _certificate(certs, "stranger", "urn:test:server", [ExtendedKeyUsageOID.SERVER_AUTH])
        await server.load_certificate(str(certs / "server.der"))
        await server.load_private_key(str(certs / "server.key.pem"))
        policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
    server.set_security_policy(policies)
    plant = Plant(server, port, certs)
    for uri in namespaces:
        index = await server.register_namespace(uri)
        for name, value in _NODES.items():
            shown = value if uri == _URI else -1.0
            node = await server.nodes.objects.add_variable(ua.NodeId(name, index), f"{name}", float(shown))
            await node.set_writable()
            if uri == _URI:
                plant.nodes[name] = node
    await server.start()
    return plant


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    plant = await _start(["urn:test:other", _URI], tmp_path_factory.mktemp("certs"))
    yield plant
    await plant.server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def plant(server: Plant) -> Plant:
    for name, value in _NODES.items():
        await server.set(name, float(value))
    return server


def _point(node: str, indicator: str, **more: object) -> dict[str, object]:
    return {"node": f"s={node}", "asset": "T1", "indicator": indicator, "unit": "pu"} | more


_POINTS = [
    _point("T1.LodPu", "MMXU.LodPu", low=0.0, high=3.0),
    _point("T1.TopOil", "SIML.Tmp", unit="degC", update_interval_s=60.0),
    _point("T1.TapPos", "YLTC.TapPos", unit="-", expected_constant=True),
]


def _config(port: int, **more: object) -> OpcuaLinkConfig:
    usual = {"name": "bay", "url": f"opc.tcp://127.0.0.1:{port}/", "namespace_uri": _URI, "security": "none"}
    return OpcuaLinkConfig.model_validate(usual | {"poll_period_s": 0.5, "points": _POINTS} | more)


Open = Callable[[OpcuaLinkConfig], Awaitable[OpcuaSource]]


@pytest_asyncio.fixture(loop_scope="module")
async def opened() -> AsyncIterator[Open]:
    sources: list[OpcuaSource] = []

    async def open_(config: OpcuaLinkConfig) -> OpcuaSource:
        source = OpcuaSource(config, SystemClock())
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


def _latest(samples: list[Sample]) -> dict[str, Sample]:
    return {sample.point_id: sample for sample in samples}


async def _until(source: OpcuaSource, wanted: Callable[[dict[str, Sample]], bool]) -> dict[str, Sample]:
    async with asyncio.timeout(_DECIDE_S):
        while True:
            latest = _latest(await source.read())
            if wanted(latest):
                return latest
            await asyncio.sleep(0.02)


async def _until_transient(source: OpcuaSource) -> str:
    async def keep_reading() -> None:
        while True:
            await source.read()
            await asyncio.sleep(0.02)

    with pytest.raises(Transient) as caught:
        await asyncio.wait_for(keep_reading(), _DECIDE_S)
    return str(caught.value)


async def test_the_first_read_has_every_point_with_its_times(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port))
    samples = _latest(await source.read())
    assert set(samples) == {point.id for point in source.points}
    assert {sample.quality for sample in samples.values()} == {Quality.GOOD}
    load = samples["T1/MMXU.LodPu"]
    assert load.value == 0.8
    assert load.source_time is not None
    assert load.source_time.utcoffset() is not None
    assert load.source_time <= load.received_time


async def test_changes_come_by_subscription(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port, verify_period_s=600))
    await source.read()
    await plant.set("T1.LodPu", 1.25)
    samples = await _until(source, lambda latest: latest["T1/MMXU.LodPu"].value == 1.25)
    assert samples["T1/SIML.Tmp"].value == 61.5
    assert source.missed_count == source.dropped_count == 0


async def test_a_standing_value_stays_fresh_with_its_own_source_time(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port, verify_period_s=600))
    first = _latest(await source.read())["T1/YLTC.TapPos"]
    heard = source._heard_ns
    later = (await _until(source, lambda _: source._heard_ns > heard + 1_500_000_000))["T1/YLTC.TapPos"]
    assert (later.value, later.quality, later.source_time) == (9.0, Quality.GOOD, first.source_time)
    assert later.monotonic_ns > first.monotonic_ns
    assert later.received_time > first.received_time


@pytest.mark.parametrize(
    ("value", "status", "quality", "reason"),
    [
        (0.9, ua.StatusCodes.BadSensorFailure, Quality.BAD, "BadSensorFailure"),
        (0.9, ua.StatusCodes.UncertainLastUsableValue, Quality.UNCERTAIN, "UncertainLastUsableValue"),
        (math.nan, ua.StatusCodes.Good, Quality.BAD, "unavailable"),
        (-math.inf, ua.StatusCodes.Good, Quality.BAD, "unavailable"),
        (3.5, ua.StatusCodes.Good, Quality.BAD, "implausible: 3.5 pu"),
    ],
)
async def test_less_than_good_is_said(plant: Plant, opened: Open, value, status, quality, reason) -> None:
    source = await opened(_config(plant.port))
    await plant.set("T1.LodPu", value, status)
    samples = await _until(source, lambda latest: latest["T1/MMXU.LodPu"].quality is not Quality.GOOD)
    load = samples["T1/MMXU.LodPu"]
    assert (load.quality, load.reason) == (quality, reason)
    assert (load.value is None) == (quality is Quality.BAD)
    assert samples["T1/SIML.Tmp"].quality is Quality.GOOD


async def test_a_missing_node_is_bad_and_the_others_go_on(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port, points=[*_POINTS, _point("T1.Nowhere", "SPTR.HPTmp")]))
    samples = _latest(await source.read())
    missing = samples["T1/SPTR.HPTmp"]
    assert missing.quality is Quality.BAD
    assert "T1.Nowhere is not monitored: BadNodeIdUnknown" in missing.reason
    assert samples["T1/MMXU.LodPu"].quality is Quality.GOOD


async def test_the_poll_brings_what_the_subscription_misses(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port, verify_period_s=0.3))
    await source.read()
    source._client.uaclient.session._subscription_callbacks.clear()  # a server that forgets to notify
    await plant.set("T1.LodPu", 1.5)
    await _until(source, lambda latest: latest["T1/MMXU.LodPu"].value == 1.5)
    await _until(source, lambda _: source.missed_count == 1)


async def test_more_events_than_the_queue_holds_are_counted(plant: Plant, opened: Open, monkeypatch) -> None:
    monkeypatch.setattr("drivers.opcua.MAX_EVENTS", 2)
    source = await opened(_config(plant.port))
    samples = await source.read()
    assert source.dropped_count >= 1
    assert {sample.point_id for sample in samples} == {point.id for point in source.points}


async def test_a_write_does_not_leave(plant: Plant, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_config(proxy.port))
    await source.read()
    client, node = source._client, plant.nodes["T1.LodPu"].nodeid
    session = client.uaclient.session
    theirs = client.get_node(node)
    attempts = [
        lambda: theirs.write_value(3.0),
        lambda: session.write(ua.WriteParameters()),
        lambda: session.write_attributes([node], [ua.DataValue(ua.Variant(3.0))]),
        lambda: session.call([ua.CallMethodRequest()]),
        lambda: session.history_update(ua.HistoryUpdateParameters()),
        lambda: session.add_nodes([]),
        lambda: session.add_references([]),
        lambda: session.delete_nodes(ua.DeleteNodesParameters()),
        lambda: session.delete_references([]),
        lambda: client.uaclient.protocol.send_request(ua.WriteRequest()),
    ]
    for attempt in attempts:
        with pytest.raises(Refused, match="only reads"):
            await attempt()
    write_request = b"\x01\x00\xa1\x02"  # type id 673 (WriteRequest, binary encoding) as a four-byte node id
    assert write_request not in proxy.from_client
    assert (await plant.nodes["T1.LodPu"].read_value()) == 0.8
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}


async def test_a_cut_link_is_lost_at_once_and_opens_again(plant: Plant, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_config(proxy.port))
    await source.read()
    proxy.cut()
    assert "connection is gone" in await _until_transient(source)
    await source.close()
    await source.open()
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
    assert proxy.connections == 2


async def test_a_frozen_server_is_lost_within_two_keep_alives(plant: Plant, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    source = await opened(_config(proxy.port, timeout_s=0.5, verify_period_s=600))
    await source.read()
    proxy.freeze()
    assert await _until_transient(source)
    async with asyncio.timeout(_DECIDE_S):
        await source.close()


async def test_an_ended_subscription_is_a_lost_link(plant: Plant, opened: Open) -> None:
    source = await opened(_config(plant.port))
    await source.read()
    await source._client.uaclient.inform_subscriptions(ua.StatusCode(ua.StatusCodes.BadTimeout))
    with pytest.raises(Transient, match="BadTimeout"):
        await source.read()


async def test_nobody_listening_is_transient() -> None:
    source = OpcuaSource(_config(_free_port()), SystemClock())
    with pytest.raises(Transient):
        await source.open()
    with pytest.raises(Transient):
        await source.read()
    await source.close()


async def test_a_peer_that_speaks_something_else_is_transient(opened: Open) -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with other:
        with pytest.raises(Transient):
            await opened(_config(other.sockets[0].getsockname()[1], timeout_s=0.5))


async def test_a_hostile_length_costs_a_bounded_buffer(opened: Open) -> None:
    sent = 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"ACKF" + (0x7FFFFFFF).to_bytes(4, "little"))
        with suppress(OSError):
            while sent < 256:
                writer.write(bytes(1 << 20))
                await writer.drain()
                sent += 1
        writer.transport.abort()

    other = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with other:
        with pytest.raises(Transient):
            await opened(_config(other.sockets[0].getsockname()[1]))
    assert sent < 32  # MiB


async def test_a_missing_namespace_is_refused(plant: Plant, opened: Open) -> None:
    with pytest.raises(Refused, match="urn:test:other"):
        await opened(_config(plant.port, namespace_uri="urn:nowhere"))


async def test_a_restart_with_other_namespace_numbers_gives_no_strange_value(
    plant: Plant, opened: Open, proxy_to
) -> None:
    reordered = await _start([_URI, "urn:test:other"])
    try:
        proxy = await proxy_to(plant.port)
        source = await opened(_config(proxy.port))
        assert _latest(await source.read())["T1/MMXU.LodPu"].value == 0.8
        proxy._target_port = reordered.port
        proxy.cut()
        await _until_transient(source)
        await source.open()
        assert _latest(await source.read())["T1/MMXU.LodPu"].value == 0.8
        await source.close()
    finally:
        await reordered.server.stop()


def _secure(plant: Plant, server_cert: str) -> OpcuaLinkConfig:
    files = {"client_cert_file": "client.der", "client_key_file": "client.key.pem", "server_cert_file": server_cert}
    paths = {key: plant.certs / name for key, name in files.items()}
    return _config(plant.port, security="sign_and_encrypt", application_uri=_CLIENT_URI, timeout_s=2.0, **paths)


async def test_signed_and_encrypted(plant: Plant, opened: Open) -> None:
    source = await opened(_secure(plant, "server.der"))
    assert source._client.security_policy.Mode is ua.MessageSecurityMode.SignAndEncrypt
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}


async def test_another_server_than_the_pinned_one_is_not_talked_to(plant: Plant, opened: Open) -> None:
    with pytest.raises((Transient, Refused)):
        await opened(_secure(plant, "stranger.der"))


async def test_a_missing_certificate_file_is_a_wrong_configuration(plant: Plant, opened: Open) -> None:
    with pytest.raises(Misconfigured, match=r"nobody\.der"):
        await opened(_secure(plant, "nobody.der"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"security": "sign_and_encrypt"}, "client_cert_file, client_key_file, server_cert_file"),
        ({"url": "http://127.0.0.1:4840"}, "url"),
        ({"points": [_POINTS[0], _POINTS[0]]}, "node given twice"),
        ({"points": [_POINTS[0], _POINTS[0] | {"node": "s=x"}]}, "point given twice"),
        ({"points": [_POINTS[0] | {"node": "ns=2;s=x"}]}, "node"),
        ({"points": []}, "points"),
    ],
)
async def test_a_wrong_configuration_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _config(4840, **change)


async def test_security_is_the_default() -> None:
    with pytest.raises(ValidationError, match="sign_and_encrypt"):
        OpcuaLinkConfig.model_validate(_config(4840).model_dump(exclude={"security"}))
