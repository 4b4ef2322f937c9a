"""OPC UA against a real server: who is trusted, who logs in, what it can bear, what it remembers, whether it lives."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Server, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.user_managers import User, UserRole
from asyncua.ua.object_ids import ObjectIds
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.errors import Misconfigured, Refused, Transient
from drivers.opcua import OpcuaLinkConfig, OpcuaSource
from drivers.opcua_client import ReadOnlyClient, _ReadOnlyProtocol
from drivers.opcua_identity import OwnIdentity

pytestmark = pytest.mark.asyncio(loop_scope="module")

_URI = "urn:test:substation"
_SERVER_URI = "urn:test:server"
_COUNT = 12
_POINTS = [
    {"node": f"s=P{n}", "asset": "T1", "indicator": f"MMXU.A{n}", "unit": "-", "update_interval_s": 0.05}
    for n in range(_COUNT)
]
_DECIDE_S = 15.0


class _Users:
    """One name with its password, and one certificate."""

    def __init__(self) -> None:
        self.certificate = b""

    def get_user(self, _server, username=None, password=None, certificate=None) -> User | None:
        known = (username, password) == ("gateway", "s3cret") or (certificate and certificate == self.certificate)
        return User(role=UserRole.User) if known else None


class _LaterClock(SystemClock):
    """The real one, set forward."""

    later = dt.timedelta(0)

    def now(self) -> dt.datetime:
        return super().now() + self.later

    def trusted(self) -> bool:
        return True


class Plant:
    def __init__(self, server: Server, port: int, folder: Path, users: _Users) -> None:
        self.server, self.port, self.folder, self.users = server, port, folder, users
        self.nodes: list[object] = []

    async def set(self, index: int, value: float, stamp: dt.datetime | None = None) -> None:
        stamp = stamp or dt.datetime.now(dt.UTC)
        data = ua.DataValue(ua.Variant(value, ua.VariantType.Double), ua.StatusCode(0), stamp, stamp)
        await self.server.write_attribute_value(self.nodes[index].nodeid, data)

    async def set_own(self, node: int, value: object, kind: ua.VariantType) -> None:
        data = ua.DataValue(ua.Variant(value, kind))
        await self.server.write_attribute_value(ua.NodeId(node), data)


async def _certificate(folder: Path, name: str, uri: str, usage: object) -> None:
    key, cert = folder / f"{name}.key.pem", folder / f"{name}.der"
    await setup_self_signed_certificate(key, cert, uri, "localhost", [usage], {"commonName": name})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    folder, users = tmp_path_factory.mktemp("opcua"), _Users()
    server = Server(user_manager=users)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    await server.set_application_uri(_SERVER_URI)
    await _certificate(folder, "server", _SERVER_URI, ExtendedKeyUsageOID.SERVER_AUTH)
    await _certificate(folder, "user", "urn:a:user", ExtendedKeyUsageOID.CLIENT_AUTH)
    await server.load_certificate(str(folder / "server.der"))
    await server.load_private_key(str(folder / "server.key.pem"))
    server.set_security_policy(
        [
            ua.SecurityPolicyType.NoSecurity,
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
        ]
    )
    server.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken, ua.X509IdentityToken])
    plant = Plant(server, port, folder, users)
    index = await server.register_namespace(_URI)
    for n in range(_COUNT):
        plant.nodes.append(await server.nodes.objects.add_variable(ua.NodeId(f"P{n}", index), f"P{n}", float(n)))
    await server.start()
    yield plant
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def opened() -> AsyncIterator[Callable]:
    sources: list[OpcuaSource] = []

    async def open_(config: OpcuaLinkConfig) -> OpcuaSource:
        source = OpcuaSource(config, SystemClock())
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


def _config(port: int, **more: object) -> OpcuaLinkConfig:
    usual = {"name": "bay", "url": f"opc.tcp://127.0.0.1:{port}/", "namespace_uri": _URI, "timeout_s": 2.0}
    return OpcuaLinkConfig.model_validate(usual | {"poll_period_s": 0.2, "points": _POINTS} | more)


def _secure(plant: Plant, trust: Path, *, trusted: bool = True, **more: object) -> OpcuaLinkConfig:
    (trust / "trusted").mkdir(parents=True, exist_ok=True)
    if trusted:
        (trust / "trusted" / "server.der").write_bytes((plant.folder / "server.der").read_bytes())
    user = {"name": "gateway", "password_file": plant.folder / "password"}
    (plant.folder / "password").write_text("s3cret\n", encoding="utf-8")
    return _config(plant.port, **{"trust_dir": trust, "user": user} | more)


async def _until(source: OpcuaSource, wanted: Callable[[dict], bool]) -> dict:
    async with asyncio.timeout(_DECIDE_S):
        while True:
            latest = {sample.point_id[-2:].lstrip("A"): sample for sample in await source.read()}
            if wanted(latest):
                return latest
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes256Sha256RsaPss"])
async def test_a_trusted_server_and_a_name_with_password(plant: Plant, opened, tmp_path: Path, policy: str) -> None:
    source = await opened(_secure(plant, tmp_path, policy=policy))
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
    assert source._client.security_policy.Mode is ua.MessageSecurityMode.SignAndEncrypt
    assert source._client.security_policy.URI.endswith(
        policy.replace("Sha256Rsa", "_Sha256_Rsa").replace("256_", "256_")
    )
    own = (tmp_path / "own" / "client.der").read_bytes()
    assert source.metrics()["certificate_expires_s"] > 4 * 365 * 86_400
    await source.open()
    assert (tmp_path / "own" / "client.der").read_bytes() == own


async def test_a_session_ends_when_something_is_due_about_the_own_certificate(plant: Plant, tmp_path: Path) -> None:
    clock = _LaterClock()
    source = OpcuaSource(_secure(plant, tmp_path, verify_period_s=0.01), clock)
    try:
        await source.open()
        await source.read()
        old = (tmp_path / "own" / "client.der").read_bytes()
        clock.later = dt.timedelta(days=5 * 365 - 89)
        with pytest.raises(Transient, match="own certificate"):
            await _until(source, lambda _: False)
        assert OwnIdentity(tmp_path, "urn:blackstart", "gw").current(clock.now(), clock_trusted=True)
        assert (tmp_path / "next" / "client.der").exists()
        assert (tmp_path / "own" / "client.der").read_bytes() == old
    finally:
        await source.close()


async def test_an_unknown_server_is_never_accepted(plant: Plant, opened, tmp_path: Path, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    config = _secure(plant, tmp_path, trusted=False).model_copy(update={"url": f"opc.tcp://127.0.0.1:{proxy.port}/"})
    with pytest.raises(Refused, match="unknown server"):
        await opened(config)
    assert b"gateway" not in proxy.from_client  # nobody has said who logs in
    assert len(list((tmp_path / "rejected").iterdir())) == 1


async def test_a_wrong_password_is_refused_for_good(plant: Plant, opened, tmp_path: Path) -> None:
    config = _secure(plant, tmp_path)
    (plant.folder / "password").write_text("wrong", encoding="utf-8")
    with pytest.raises(Refused, match="User"):
        await opened(config)


async def test_a_user_with_a_certificate(plant: Plant, opened, tmp_path: Path) -> None:
    plant.users.certificate = (plant.folder / "user.der").read_bytes()
    user = {"cert_file": plant.folder / "user.der", "key_file": plant.folder / "user.key.pem"}
    source = await opened(_secure(plant, tmp_path, user=user))
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
    plant.users.certificate = b""
    with pytest.raises(Refused, match=r"BadUserAccessDenied|BadIdentityToken"):
        await source.open()


async def test_a_missing_password_file_is_a_wrong_configuration(plant: Plant, opened, tmp_path: Path) -> None:
    config = _secure(plant, tmp_path, user={"name": "gateway", "password_file": tmp_path / "nowhere"})
    with pytest.raises(Misconfigured, match="nowhere"):
        await opened(config)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"security": "none", "user": {"name": "a", "password_file": "p"}}, "in the open"),
        ({"trust_dir": "t", "user": {"name": "a"}}, "either name and password_file"),
        ({"trust_dir": "t", "client_cert_file": "c"}, "belong together"),
        ({}, "needs trust_dir"),
    ],
)
async def test_a_contradiction_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        _config(4840, **more)


def _open_config(plant: Plant, **more: object) -> OpcuaLinkConfig:
    """The server here takes nobody without a name, so its tests of behaviour log in."""
    return _secure(plant, plant.folder / "trust", **more)


async def test_operation_limits_are_obeyed(plant: Plant, monkeypatch) -> None:
    read = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
    subscribe = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall
    await plant.set_own(read, 5, ua.VariantType.UInt32)
    await plant.set_own(subscribe, 4, ua.VariantType.UInt32)
    source = OpcuaSource(_open_config(plant), SystemClock())
    sizes: dict[str, list[int]] = {"ReadRequest": [], "CreateMonitoredItemsRequest": []}

    def note(self, request, *more, **named):
        name = type(request).__name__
        parameters = getattr(request, "Parameters", None)
        nodes = getattr(parameters, "NodesToRead", None) or getattr(parameters, "ItemsToCreate", None)
        sizes.setdefault(name, []).append(len(nodes or ()))
        return original(self, request, *more, **named)

    original = _ReadOnlyProtocol._send_request
    monkeypatch.setattr(_ReadOnlyProtocol, "_send_request", note)
    try:
        await source.open()
        samples = await source.read()
    finally:
        await source.close()
        await plant.set_own(read, 0, ua.VariantType.UInt32)
        await plant.set_own(subscribe, 0, ua.VariantType.UInt32)
    assert len(samples) >= _COUNT
    assert max(sizes["ReadRequest"]) == 5
    assert sizes["CreateMonitoredItemsRequest"] == [4, 4, 4]


async def test_a_server_that_is_not_running_vouches_for_nothing(plant: Plant, opened) -> None:
    state = ObjectIds.Server_ServerStatus_State
    points = [_POINTS[0] | {"update_interval_s": 60.0}]
    source = await opened(_open_config(plant, verify_period_s=0.1, points=points))
    assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
    try:
        await plant.set_own(state, ua.ServerState.Suspended, ua.VariantType.Int32)
        latest = await _until(source, lambda latest: latest["0"].quality is Quality.UNCERTAIN)
        assert latest["0"].reason == "the server's state is Suspended"
        await plant.set_own(state, ua.ServerState.Test, ua.VariantType.Int32)
        latest = await _until(source, lambda latest: latest["0"].test)
        assert latest["0"].quality is Quality.GOOD
    finally:
        await plant.set_own(state, ua.ServerState.Running, ua.VariantType.Int32)
    await _until(source, lambda latest: latest["0"].quality is Quality.GOOD and not latest["0"].test)


async def test_the_servers_clock_is_compared_and_must_go(plant: Plant, opened, monkeypatch) -> None:
    points = [_POINTS[0] | {"update_interval_s": 60.0}]
    source = await opened(_open_config(plant, verify_period_s=0.1, points=points))
    await source.read()
    assert abs(source.metrics()["clock_skew_s"]) < 5
    real, stood = ReadOnlyClient.value_of, dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)

    async def value_of(self, node: int) -> object:
        return stood if node == ObjectIds.Server_ServerStatus_CurrentTime else await real(self, node)

    monkeypatch.setattr(ReadOnlyClient, "value_of", value_of)
    monkeypatch.setattr("drivers.opcua_health.CLOCK_STANDS_S", 0.5)
    latest = await _until(source, lambda latest: latest["0"].quality is Quality.UNCERTAIN)
    assert latest["0"].reason == "the server's clock stands still"
    assert source.metrics()["clock_skew_s"] == pytest.approx(-7200, abs=5)


async def test_a_point_whose_source_time_stands_still_is_doubted(plant: Plant, opened) -> None:
    points = [_POINTS[0], _POINTS[1] | {"expected_constant": True}, _POINTS[2]]
    source = await opened(_open_config(plant, verify_period_s=0.1, points=points))
    moving = asyncio.create_task(_keep_moving(plant, 2))
    try:
        latest = await _until(source, lambda latest: latest["0"].quality is Quality.UNCERTAIN)
        assert latest["0"].reason.startswith("its source time has stood still for ")
        assert latest["0"].value is not None
        assert (latest["1"].quality, latest["2"].quality) == (Quality.GOOD, Quality.GOOD)
        await plant.set(0, 0.5)
        await _until(source, lambda latest: latest["0"].quality is Quality.GOOD)
    finally:
        moving.cancel()
        await asyncio.wait({moving})


async def test_a_clock_that_is_set_back_freezes_nothing(plant: Plant, opened) -> None:
    source = await opened(_open_config(plant, verify_period_s=0.1, points=[_POINTS[6]]))
    await plant.set(6, 6.5)
    await _until(source, lambda latest: latest["6"].value == 6.5)
    moving = asyncio.create_task(_keep_moving(plant, 6, value=6.5, ago=dt.timedelta(hours=2)))
    try:
        an_hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        await _until(source, lambda latest: latest["6"].source_time < an_hour_ago)
        stood_for = asyncio.get_running_loop().time() + 1.0  # twice as long as it takes to doubt a point
        while asyncio.get_running_loop().time() < stood_for:
            assert {sample.quality for sample in await source.read()} == {Quality.GOOD}
            await asyncio.sleep(0.05)
    finally:
        moving.cancel()
        await asyncio.wait({moving})


async def _keep_moving(plant: Plant, index: int, value: float = 2.0, ago: dt.timedelta = dt.timedelta(0)) -> None:
    while True:
        await plant.set(
            index, value, dt.datetime.now(dt.UTC) - ago
        )  # the same value, measured anew: no notification, and yet no standstill
        await asyncio.sleep(0.05)


async def test_a_gap_is_filled_from_the_servers_history(plant: Plant, opened, proxy_to) -> None:
    await plant.server.historize_node_data_change(plant.nodes[3], period=dt.timedelta(hours=1), count=1000)
    proxy = await proxy_to(plant.port)
    config = _open_config(plant, points=[_POINTS[3], _POINTS[4]])
    config = config.model_copy(update={"url": f"opc.tcp://127.0.0.1:{proxy.port}/"})
    source = await opened(config)
    await plant.set(3, 10.0)
    await _until(source, lambda latest: latest["3"].value == 10.0)
    proxy.cut()
    with pytest.raises(Transient):
        await _until(source, lambda _: False)
    for value in (11.0, 12.0, 13.0):
        await plant.set(3, value)
    await source.open()
    await plant.set(3, 14.0)
    seen = []
    async with asyncio.timeout(_DECIDE_S):
        while not any(sample.value == 14.0 for sample in seen):
            seen += await source.read()
            await asyncio.sleep(0.02)
    past = [sample for sample in seen if sample.historical]
    assert [sample.value for sample in past][:2] == [11.0, 12.0]
    assert [sample.source_time for sample in past] == sorted(sample.source_time for sample in past)
    assert {sample.point_id for sample in past} == {"T1/MMXU.A3"}  # the other keeps no history
    assert source._gaps.filled_count == len(past)
    assert not any(sample.historical for sample in await source.read())


async def test_a_server_without_history_is_asked_once(plant: Plant, opened, proxy_to) -> None:
    proxy = await proxy_to(plant.port)
    config = _open_config(plant, points=[_POINTS[5]])
    source = await opened(config.model_copy(update={"url": f"opc.tcp://127.0.0.1:{proxy.port}/"}))
    await _until(source, lambda latest: latest["5"].quality is Quality.GOOD)
    proxy.cut()
    await plant.set(5, 50.0)
    await source.open()
    await _until(source, lambda latest: latest["5"].value == 50.0)
    await _until(source, lambda _: not source._gaps)
    assert source._gaps.filled_count == 0


async def test_a_cut_starts_no_storm_of_requests(plant: Plant, opened, proxy_to) -> None:
    """asyncua's own reconnect asks such a server a thousand times a second to publish again; ours begins anew."""
    proxy = await proxy_to(plant.port)
    source = await opened(_open_config(plant).model_copy(update={"url": f"opc.tcp://127.0.0.1:{proxy.port}/"}))
    await source.read()
    for _ in range(2):
        proxy.cut()
        with pytest.raises(Transient):
            await _until(source, lambda _: False)
        await source.open()
        await source.read()
    sent, connections = len(proxy.from_client), proxy.connections
    await asyncio.sleep(1.0)  # what must not happen needs a while to not happen
    assert len(proxy.from_client) - sent < 20_000
    assert proxy.connections == connections == 4  # the first time, the server is also asked who it is
