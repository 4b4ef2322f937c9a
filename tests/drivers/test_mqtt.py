"""MQTT 5 against a real broker, mosquitto where it is installed, and a scripted broker for what brokers rarely say."""

import asyncio
import datetime as dt
import ipaddress
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from iotcore import Broker
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from drivers.base import Inbound, Message
from drivers.errors import BadInput, Misconfigured, NotStarted, Refused, Transient
from drivers.mqtt import MqttConfig, MqttSink

_DECIDE_S = 15.0  # how long a test waits for what must happen soon, on a loaded machine
_WILL = Message(message_id="will", topic="site/g1/status", payload=b"offline")
_ALARM = Message(message_id="a:1", topic="site/g1/alarm/a", payload=b'{"alarm_id":"a"}')

_RUMQTTD = """
id = 0
[router]
id = 0
max_connections = 50
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 5000
max_payload_size = 262144
max_inflight_count = 100
dynamic_filters = true
"""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of the embedded broker."""
    port, config = _free_port(), tmp_path_factory.mktemp("rumqttd") / "rumqttd.toml"
    config.write_text(_RUMQTTD.format(port=port))
    with Broker(config_path=str(config)):
        yield port


Open = Callable[..., Awaitable[MqttSink]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    sinks: list[MqttSink] = []

    async def open_(port: int, *, client_id: str = "g1", subscriptions: Sequence[str] = (), **more: object) -> MqttSink:
        config = MqttConfig(host="127.0.0.1", port=port, client_id=client_id, **more)
        sinks.append(MqttSink(config, will=_WILL, subscriptions=subscriptions))
        await sinks[-1].open()
        return sinks[-1]

    yield open_
    for sink in sinks:
        await sink.close()


async def _next(sink: MqttSink) -> Inbound:
    async with asyncio.timeout(_DECIDE_S):
        return await anext(sink.inbound())


async def test_a_message_arrives_and_is_acknowledged(broker: int, opened: Open) -> None:
    scada = await opened(broker, client_id="scada", subscriptions=["site/+/alarm/#"])
    sink = await opened(broker)
    delivery = await sink.send(_ALARM)
    assert (delivery.reason_code, delivery.no_subscriber) == (0, False)
    inbound = await _next(scada)
    assert (inbound.topic, inbound.payload) == (_ALARM.topic, _ALARM.payload)


async def test_concurrent_sends_are_all_acknowledged_in_order(broker: int, opened: Open) -> None:
    scada = await opened(broker, client_id="scada", subscriptions=["site/g1/alarm/#"])
    sink = await opened(broker)
    messages = [Message(message_id=f"a:{n}", topic=_ALARM.topic, payload=b"%d" % n) for n in range(50)]
    async with asyncio.timeout(_DECIDE_S):
        assert len(await asyncio.gather(*(sink.send(message) for message in messages))) == 50
        assert [(await _next(scada)).payload for _ in messages] == [message.payload for message in messages]


async def test_a_message_larger_than_the_sockets_buffer_goes_out_whole(broker: int, opened: Open) -> None:
    reader = await opened(broker, client_id="scada-large", subscriptions=["large/#"])
    sink = await opened(broker, client_id="g-large")
    sink._client._client.socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    payload = bytes(n * 31 % 251 for n in range(200_000))
    messages = [Message(message_id=str(n), topic=f"large/{n}", payload=payload) for n in range(3)]
    await asyncio.gather(*(sink.send(message) for message in messages))
    arrived = [await _next(reader) for _ in messages]
    assert [(each.topic, each.payload == payload) for each in arrived] == [(f"large/{n}", True) for n in range(3)]


async def test_a_retained_message_waits_for_its_reader(broker: int, opened: Open) -> None:
    sink = await opened(broker)
    await sink.send(Message(message_id="s", topic="site/g9/state", payload=b"kept", retain=True))
    late = await opened(broker, client_id="late", subscriptions=["site/g9/state"])
    assert (await _next(late)).payload == b"kept"


async def test_user_properties_come_in(broker: int, opened: Open) -> None:
    sink = await opened(broker, subscriptions=["site/g1/command/#"])
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = ("by", "operator 7")
    async with aiomqtt.Client("127.0.0.1", broker, protocol=aiomqtt.ProtocolVersion.V5) as scada:
        await scada.publish("site/g1/command/verdict", b"{}", qos=1, properties=properties)
    assert await _next(sink) == Inbound("site/g1/command/verdict", b"{}", {"by": "operator 7"})


async def test_commands_beyond_the_queue_are_dropped_and_counted(broker: int, opened: Open, monkeypatch) -> None:
    monkeypatch.setattr("drivers.mqtt.MAX_INBOUND", 3)
    sink = await opened(broker, subscriptions=["site/g1/command/#", "site/g1/end"])
    scada = await opened(broker, client_id="scada")
    for n in range(8):
        await scada.send(Message(message_id=f"{n}", topic="site/g1/command/x", payload=b"%d" % n))
    async with asyncio.timeout(_DECIDE_S):
        while sink.dropped_count < 5:  # noqa: ASYNC110 - the count has no event of its own
            await asyncio.sleep(0.01)
    assert [(await _next(sink)).payload for _ in range(3)] == [b"0", b"1", b"2"]


async def test_the_will_speaks_after_a_loss_and_not_after_a_close(broker: int, opened: Open, proxy_to) -> None:
    scada = await opened(broker, client_id="scada", subscriptions=["site/g1/status"])
    proxy = await proxy_to(broker)
    sink = await opened(proxy.port)
    await sink.close()
    await sink.open()
    await sink.send(Message(message_id="s", topic="site/g1/status", payload=b"online"))
    assert (await _next(scada)).payload == b"online"  # the close before it said nothing
    proxy.cut()
    assert (await _next(scada)).payload == b"offline"


async def test_a_cut_link_is_noticed_and_opens_again(broker: int, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(broker)
    sink = await opened(proxy.port)
    assert sink.connected
    proxy.cut()
    async with asyncio.timeout(_DECIDE_S):
        await sink.wait_lost()
    assert not sink.connected
    with pytest.raises(NotStarted):
        await sink.send(_ALARM)
    await sink.open()
    assert (await sink.send(_ALARM)).reason_code in (0, 0x10)


async def test_a_cut_during_a_publish_is_transient_at_once(broker: int, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(broker)
    sink = await opened(proxy.port, timeout_s=60.0)
    proxy.freeze()
    sending = asyncio.create_task(sink.send(_ALARM))
    waiting = asyncio.create_task(sink.send(_ALARM))
    await asyncio.sleep(0)
    proxy.cut()
    async with asyncio.timeout(_DECIDE_S):
        with pytest.raises(Transient):
            await sending
        with pytest.raises(NotStarted):
            await waiting


async def test_a_silent_broker_is_transient_within_the_time_out(broker: int, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(broker)
    sink = await opened(proxy.port, timeout_s=0.3)
    proxy.freeze()
    with pytest.raises(Transient, match=r"no acknowledgement in 0\.3 s"):
        await sink.send(_ALARM)
    assert not sink.connected
    async with asyncio.timeout(_DECIDE_S):
        await sink.close()


async def test_a_cancelled_send_leaves_the_link_usable(broker: int, opened: Open, proxy_to) -> None:
    proxy = await proxy_to(broker)
    sink = await opened(proxy.port)
    proxy.freeze()
    sending = asyncio.create_task(sink.send(_ALARM))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    proxy.thaw()
    assert (await sink.send(_ALARM)).reason_code in (0, 0x10)


async def test_nobody_listening_is_transient(opened: Open) -> None:
    with pytest.raises(Transient):
        await opened(_free_port())


async def test_before_it_is_opened_nothing_starts() -> None:
    sink = MqttSink(MqttConfig(host="127.0.0.1", port=1, client_id="g1"), will=_WILL)
    assert not sink.connected
    await sink.wait_lost()
    with pytest.raises(NotStarted):
        await sink.send(_ALARM)
    await sink.close()


@pytest.mark.parametrize("topic", ["site/+/x", "site/#", ""])
async def test_a_topic_that_mqtt_does_not_allow_is_bad_input(broker: int, opened: Open, topic: str) -> None:
    sink = await opened(broker)
    with pytest.raises(BadInput):
        await sink.send(Message(message_id="x", topic=topic, payload=b""))
    assert (await sink.send(_ALARM)).reason_code in (0, 0x10)


class Scripted:
    """Speaks just enough MQTT 5 to give any reason code."""

    def __init__(self) -> None:
        self.connack: int | None = 0
        self.suback = 1
        self.puback = 0
        self.port = 0
        self.closed = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                kind = (await reader.readexactly(1))[0] >> 4
                body = await reader.readexactly(await self._length(reader))
                writer.write(self._answer(kind, body))
                await writer.drain()
        self.closed.set()
        writer.close()

    async def _length(self, reader: asyncio.StreamReader) -> int:
        length = shift = 0
        more = True
        while more:
            (byte,) = await reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            more = byte >= 0x80
        return length

    def _answer(self, kind: int, body: bytes) -> bytes:
        if kind == 1:
            return b"" if self.connack is None else bytes([0x20, 3, 0, self.connack, 0])
        if kind == 3:
            topic_end = 2 + int.from_bytes(body[:2])
            return bytes([0x40, 4, *body[topic_end : topic_end + 2], self.puback, 0])
        if kind == 8:
            return bytes([0x90, 4, *body[:2], 0, self.suback])
        return b""


@pytest.fixture
async def scripted() -> AsyncIterator[Scripted]:
    server = Scripted()
    await server.start()
    yield server
    await server.stop()


async def test_a_refused_publish_names_code_and_topic(scripted: Scripted, opened: Open) -> None:
    sink = await opened(scripted.port)
    scripted.puback = 0x97
    with pytest.raises(Refused, match=r"site/g1/alarm/a refused with 0x97, Quota exceeded"):
        await sink.send(_ALARM)
    scripted.puback = 0x10
    delivery = await sink.send(_ALARM)
    assert (delivery.reason_code, delivery.no_subscriber) == (0x10, True)
    assert sink.connected


async def test_a_refused_subscription_refuses_to_open(scripted: Scripted, opened: Open) -> None:
    scripted.suback = 0x87
    with pytest.raises(Refused, match=r"site/g1/command/# refused with 0x87"):
        await opened(scripted.port, subscriptions=["site/g1/command/#"])
    async with asyncio.timeout(_DECIDE_S):
        await scripted.closed.wait()


@pytest.mark.parametrize(("code", "error"), [(0x86, Refused), (0x87, Refused), (0x88, Transient), (0x89, Transient)])
async def test_a_refused_connection(scripted: Scripted, opened: Open, code: int, error: type[Exception]) -> None:
    scripted.connack = code
    with pytest.raises(error):
        await opened(scripted.port, timeout_s=2.0)


async def test_a_broker_that_does_not_answer_is_left(scripted: Scripted, opened: Open) -> None:
    scripted.connack = None
    with pytest.raises(Transient):
        await opened(scripted.port, timeout_s=0.3)
    async with asyncio.timeout(_DECIDE_S):
        await scripted.closed.wait()


async def test_a_cancelled_open_leaves_no_socket_behind(scripted: Scripted, opened: Open) -> None:
    scripted.connack = None
    opening = asyncio.create_task(opened(scripted.port, timeout_s=0.5))
    _, pending = await asyncio.wait({opening}, timeout=0.1)
    assert pending
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(_DECIDE_S):
        await scripted.closed.wait()


def _certify(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "broker.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Scripted]:
    file, server = _certify(tmp_path), Scripted()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(file))
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_REQUIRED
    await server.start(context)
    yield server
    await server.stop()


async def test_over_tls_with_a_client_certificate(secured: Scripted, opened: Open, tmp_path: Path) -> None:
    file = tmp_path / "broker.pem"
    sink = await opened(secured.port, tls={"ca_file": file, "cert_file": file, "key_file": file})
    assert (await sink.send(_ALARM)).reason_code == 0


@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_a_broker_with_a_strange_certificate_is_refused(secured: Scripted, opened: Open, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
        await opened(secured.port, tls={"ca_file": _certify(other)})


async def test_files_that_cannot_be_used_are_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nobody\.pem"):
        await opened(1, tls={"ca_file": tmp_path / "nobody.pem"})
    with pytest.raises(Misconfigured, match="secret"):
        await opened(1, username="g1", password_file=tmp_path / "secret")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password_file": "p"}, "needs username"),
        ({"tls": {"ca_file": "a", "key_file": "k"}}, "belong together"),
        ({"client_id": "a/b"}, "client_id"),
        ({"protocol": "3.1.1"}, "protocol"),
    ],
)
def test_a_wrong_configuration_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MqttConfig.model_validate({"host": "h", "client_id": "g1"} | change)


_MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin") or shutil.which("mosquitto")


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[int]]]:
    started: list[asyncio.subprocess.Process] = []

    async def start(settings: str) -> int:
        port, config = _free_port(), tmp_path / "mosquitto.conf"
        config.write_text(f"user root\nlistener {port} 127.0.0.1\n{settings}\n")
        process = await asyncio.create_subprocess_exec(
            str(_MOSQUITTO), "-c", str(config), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        started.append(process)
        assert process.stderr is not None
        async with asyncio.timeout(_DECIDE_S):
            async for line in process.stderr:
                if b"running" in line:
                    break
        return port

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


needs_mosquitto = pytest.mark.skipif(_MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")


@needs_mosquitto
async def test_mosquitto_says_whether_it_accepts(mosquitto, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite site/g1/#\n")
    port = await mosquitto(f"allow_anonymous true\nacl_file {tmp_path / 'acl'}")
    sink = await opened(port)
    assert (await sink.send(_ALARM)).no_subscriber
    await opened(port, client_id="scada", subscriptions=["site/g1/alarm/#"])
    assert not (await sink.send(_ALARM)).no_subscriber
    with pytest.raises(Refused, match=r"site/g2/alarm/a refused with 0x87, Not authorized"):
        await sink.send(Message(message_id="a:1", topic="site/g2/alarm/a", payload=b"{}"))
    assert sink.connected


@needs_mosquitto
async def test_mosquitto_lets_nobody_in_without_a_name(mosquitto, opened: Open) -> None:
    port = await mosquitto("allow_anonymous false")
    with pytest.raises(Refused, match=r"(?i)not authori[sz]ed"):
        await opened(port)
