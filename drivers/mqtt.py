"""MQTT 5 to SCADA: a message in, the broker's acknowledged verdict out; commands back through a bounded queue.

`send` returns only after a PUBACK with a success code.  aiomqtt does not look at that code, so the acknowledgement
is taken from paho, the client beneath it.  One client per connection: after a loss the object is thrown away with
whatever it still held, because it would send again what was already reported as failed.
Called by `gateway.alarms` (sending) and `gateway.verdicts` (commands).
"""

import asyncio
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import Field, model_validator

from drivers.base import Delivery, Frozen, Inbound, Message, Name
from drivers.errors import BadInput, Misconfigured, NotStarted, Refused, Transient

__all__ = ("MqttConfig", "MqttSink", "MqttTls")

MAX_INBOUND = 256  # commands that wait to be read; beyond it the newest is dropped and counted
MAX_PACKET_BYTES = 65_536  # told to the broker: a command is at most some hundred bytes
FAILURE = 0x80  # reason codes from here on say that the broker did not accept
NO_SUBSCRIBER = 0x10  # accepted, and nobody listens

# Answers to CONNECT that the same request will get again.
_CONNECT_FOR_GOOD = frozenset({0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x90, 0x9A, 0x9B, 0x9D})


class MqttTls(Frozen):
    """PEM files.  With `cert_file` the gateway proves who it is."""

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _paired(self) -> "MqttTls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        return self


class MqttConfig(Frozen):
    """The broker and how to log in.  The password is in a file of its own."""

    host: str = Field(min_length=1)
    port: int = Field(default=8883, ge=1, le=65535)
    client_id: Name
    keepalive_s: int = Field(default=15, ge=2, le=3600)
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    tls: MqttTls | None = None
    username: str | None = None
    password_file: Path | None = None

    @model_validator(mode="after")
    def _user_first(self) -> "MqttConfig":
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")
        return self


class MqttSink:
    """A `drivers.base.Sink` over one MQTT 5 connection, QoS 1.

    `will` is what the broker says for us when the connection dies; an orderly `close` suppresses it.
    `subscriptions` are topic filters whose messages come out of `inbound`; `dropped_count` counts those that
    found its queue full.  The object may be opened again after a close or a loss.
    """

    def __init__(self, config: MqttConfig, *, will: Message, subscriptions: Sequence[str] = ()) -> None:
        self._config = config
        self._will = will
        self._subscriptions = tuple(subscriptions)
        self._client: aiomqtt.Client | None = None
        self._turn = asyncio.Lock()  # one publish at a time: keeps the order, and brokers answer it fastest
        self._acks: dict[int, asyncio.Future[int]] = {}  # packet id -> reason code of its PUBACK
        self._inbound: asyncio.Queue[Inbound] = asyncio.Queue(MAX_INBOUND)
        self._lost = asyncio.Event()
        self._lost.set()
        self.dropped_count = 0

    @property
    def connected(self) -> bool:
        """Whether the link stands, as far as is known."""
        return not self._lost.is_set()

    async def wait_lost(self) -> None:
        """Return when the link is lost or closed; at once where there is none."""
        await self._lost.wait()

    async def open(self) -> None:
        """Connect and subscribe.

        Raises Transient where the broker is away or busy, Refused where it does not let us in or refuses a
        subscription, Misconfigured where a certificate or password file cannot be used.
        """
        await self.close()
        client = self._make(*await asyncio.to_thread(self._secrets))
        await self._connect(client)
        _paho(client).on_socket_register_write = partial(self._write_at_once, client)
        self._client = client
        self._lost.clear()
        _ended(client).add_done_callback(lambda _: self._lose(client, "the link is lost"))
        subscribed = False
        try:
            for topic in self._subscriptions:
                await self._subscribe(client, topic)
            subscribed = True
        finally:
            if not subscribed:
                await self.close()

    async def send(self, message: Message) -> Delivery:
        """Publish at QoS 1 and return what the broker acknowledged.  May be called concurrently.

        Raises NotStarted where there is no link, Transient when it is lost or silent for `timeout_s` (the message
        may have arrived: receivers de-duplicate), Refused when the broker answers with a failure code, BadInput
        for a topic or payload that MQTT does not allow.
        """
        async with self._turn:
            client = self._client
            if client is None or not self.connected:
                raise NotStarted(f"{self._where}: not connected")
            code = await self._publish(client, message)
        if code >= FAILURE:
            name = ReasonCode(PacketTypes.PUBACK, identifier=code).getName()
            raise Refused(f"{self._where}: publish to {message.topic} refused with 0x{code:02X}, {name}")
        return Delivery(reason_code=code, no_subscriber=code == NO_SUBSCRIBER)

    async def inbound(self) -> AsyncIterator[Inbound]:
        """Messages from the broker as they come, across losses and reopenings; ends only by cancellation."""
        while True:
            yield await self._inbound.get()

    async def close(self) -> None:
        """Say goodbye within `timeout_s` where the broker still listens; never raises for one that does not."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if self.connected:
                with suppress(aiomqtt.MqttError, OSError):
                    await client.__aexit__(None, None, None)
        finally:
            self._lose(client, "closed")

    @property
    def _where(self) -> str:
        return f"mqtt {self._config.host}:{self._config.port}"

    def _secrets(self) -> tuple[ssl.SSLContext | None, str | None]:
        """TLS context and password, from files; runs in a thread."""
        tls, password_file = self._config.tls, self._config.password_file
        try:
            context = None
            if tls is not None:
                context = ssl.create_default_context(cafile=str(tls.ca_file))
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                if tls.cert_file is not None:
                    context.load_cert_chain(tls.cert_file, tls.key_file)
            return context, None if password_file is None else password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as err:
            files = [tls.ca_file, tls.cert_file, tls.key_file] if tls is not None else []
            named = ", ".join(str(file) for file in (*files, password_file) if file is not None)
            raise Misconfigured(f"{self._where}: cannot use one of {named}: {err}") from err

    def _make(self, context: ssl.SSLContext | None, password: str | None) -> aiomqtt.Client:
        config, will = self._config, self._will
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = MAX_PACKET_BYTES
        client = aiomqtt.Client(
            config.host,
            config.port,
            identifier=config.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            username=config.username,
            password=password,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=will.retain),
            keepalive=config.keepalive_s,
            clean_start=True,
            timeout=config.timeout_s,
            tls_context=context,
            properties=limits,
        )
        paho = _paho(client)
        paho.connect_timeout = config.timeout_s
        paho.on_publish = self._on_puback
        paho.on_message = self._on_message  # past aiomqtt's queue, which does not count what it drops
        return client

    async def _connect(self, client: aiomqtt.Client) -> None:
        # The socket is connected in a thread, which cannot be stopped: when we are cancelled it is left to end by
        # itself, within its time-outs, and then hung up on.
        attempt = asyncio.ensure_future(client.__aenter__())
        try:
            await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(lambda done: _hang_up(client, done))
            raise
        except aiomqtt.MqttError as err:
            _hang_up(client)
            if err.__context__ is not None:  # paho leaves the socket of a failed TLS handshake open, in these frames
                traceback.clear_frames(err.__context__.__traceback__)
            raise self._refusal(err) from err
        except ValueError as err:
            _hang_up(client)
            raise Misconfigured(f"{self._where}: {err}") from err

    def _refusal(self, err: aiomqtt.MqttError) -> Refused | Transient:
        untrusted = isinstance(err.__context__, ssl.SSLCertVerificationError)
        code = getattr(getattr(err, "rc", None), "value", None)
        text = f"{self._where}: {err}"
        return Refused(text) if untrusted or code in _CONNECT_FOR_GOOD else Transient(text)

    async def _subscribe(self, client: aiomqtt.Client, topic: str) -> None:
        try:
            codes = await client.subscribe(topic, qos=1)
        except aiomqtt.MqttError as err:
            raise Transient(f"{self._where}: subscribing to {topic}: {err}") from err
        except ValueError as err:
            raise BadInput(f"{topic!r} is no topic filter: {err}") from err
        for code in codes:
            value = code.value if isinstance(code, ReasonCode) else code
            if value >= FAILURE:
                raise Refused(f"{self._where}: subscription to {topic} refused with 0x{value:02X}")

    async def _publish(self, client: aiomqtt.Client, message: Message) -> int:
        """Hand one message to paho and wait for the reason code of its PUBACK."""
        if not message.topic:
            raise BadInput(f"message {message.message_id}: no topic")  # paho would send it, as a topic alias
        try:
            info = _paho(client).publish(message.topic, message.payload, qos=1, retain=message.retain)
        except ValueError as err:
            raise BadInput(f"message {message.message_id}: {err}") from err
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lose(client, f"publishing failed: {info.rc.name}")
            raise Transient(f"{self._where}: publishing failed: {info.rc.name}")
        if not self.connected:
            raise Transient(f"{self._where}: the link is lost")
        ack: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._acks[info.mid] = ack
        try:
            async with asyncio.timeout(self._config.timeout_s):
                return await ack
        except TimeoutError as err:
            self._lose(client, "no acknowledgement")
            raise Transient(f"{self._where}: no acknowledgement in {self._config.timeout_s:g} s") from err
        finally:
            del self._acks[info.mid]

    def _write_at_once(self, client: aiomqtt.Client, paho: PahoClient, _data: object, sock: socket.socket) -> None:
        """Called by paho, in the event loop, when it has something to send.

        aiomqtt wakes the loop through a pipe and waits for the socket to be writable, which it nearly always is: a
        third of what a message costs.  What the socket does not take waits for it, as there.
        """
        self._write(client, paho)
        if paho.want_write() and sock.fileno() >= 0:
            asyncio.get_running_loop().add_writer(sock.fileno(), self._write, client, paho)

    def _write(self, client: aiomqtt.Client, paho: PahoClient) -> None:
        try:
            paho.loop_write()
        except OSError as err:
            self._lose(client, f"sending failed: {err}")

    def _on_puback(self, _client: PahoClient, _data: object, mid: int, code: ReasonCode, _properties: object) -> None:
        """Called by paho, in the event loop, for each PUBACK."""
        ack = self._acks.get(mid)
        if ack is not None and not ack.done():
            ack.set_result(code.value)

    def _on_message(self, _client: PahoClient, _data: object, message: MQTTMessage) -> None:
        """Called by paho, in the event loop, for each message that comes in."""
        try:
            pairs = getattr(message.properties, "UserProperty", ())
            self._inbound.put_nowait(Inbound(message.topic, bytes(message.payload), dict(pairs)))
        except (asyncio.QueueFull, UnicodeDecodeError):
            self.dropped_count += 1

    def _lose(self, client: aiomqtt.Client, why: str) -> None:
        """The one place where the link ends: hang up, tell those who wait."""
        _hang_up(client)
        if client is not self._client and self._client is not None:
            return  # news of an earlier connection
        self._lost.set()
        for ack in self._acks.values():
            if not ack.done():
                ack.set_exception(Transient(f"{self._where}: {why}"))


def _paho(client: aiomqtt.Client) -> PahoClient:
    """The client beneath: the only way to a PUBACK's reason code and to a socket that must go."""
    return client._client  # noqa: SLF001


def _ended(client: aiomqtt.Client) -> asyncio.Future[None]:
    """Done when the connection is over, by whatever cause."""
    return client._disconnected  # noqa: SLF001


def _hang_up(client: aiomqtt.Client, attempt: "asyncio.Future[Any] | None" = None) -> None:
    """Close the socket without a word, so that the broker publishes the will."""
    _paho(client)._sock_close()  # noqa: SLF001 - aiomqtt leaves the socket of a failed CONNECT open
    for future in (_ended(client), attempt):
        if future is not None and future.done() and not future.cancelled():
            future.exception()  # look at it, or the loop complains that nobody did
