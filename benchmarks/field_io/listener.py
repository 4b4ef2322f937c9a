"""Listens at the broker and counts the values that a gateway forwards; also a proxy that times its PUBACKs."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv5

from benchmarks.field_io.processes import HOST

PUBLISH, PUBACK = 3, 4
LIMITS_ASKED, LIMITS_ANSWER = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
NO_LIMITS = {"rateLimits": {}, "gatewayRateLimits": {}, "maxInflightMessages": 100, "maxPayloadSize": 65_536}


class Listener:
    """Counts the values under one topic filter, in a thread of paho's.

    It also says what a ThingsBoard server says to a gateway that asks for its rate limits: that there are none.
    Without that answer the peer sends nothing.
    """

    def __init__(self, port: int, topic: str) -> None:
        self.values = 0
        self.messages = 0
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_message = self._hear
        self._client.connect(HOST, port)
        self._client.subscribe([(topic, 0), (f"{LIMITS_ASKED}+", 0)])

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic.startswith(LIMITS_ASKED):
            client.publish(LIMITS_ANSWER + message.topic.removeprefix(LIMITS_ASKED), json.dumps(NO_LIMITS))
            return
        content = json.loads(message.payload)
        cycles = [cycle for item in content.values() if isinstance(item, list) for cycle in item] or [content]
        self.values += sum(len(cycle.get("values", ())) for cycle in cycles)
        self.messages += 1


class PubackClock:
    """A TCP proxy before the broker: when each PUBLISH of the gateway was acknowledged, with its payload."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._open: dict[int, bytes] = {}
        self.acknowledged: list[tuple[int, bytes]] = []  # monotonic ns, the rest of the PUBLISH packet
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._carry, HOST, 0), self._loop).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self._broker_port)
        await asyncio.gather(
            self._pump(reader, far_writer, from_gateway=True),
            self._pump(far_reader, writer, from_gateway=False),
            return_exceptions=True,
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_gateway: bool) -> None:
        pending = b""
        while data := await reader.read(65_536):
            pending += data
            for packet, used in _packets(pending):
                self._note(packet, from_gateway=from_gateway)
                pending = pending[used:]
            writer.write(data)
            await writer.drain()
        writer.close()

    def _note(self, packet: bytes, *, from_gateway: bool) -> None:
        kind, body = packet[0] >> 4, packet[1:]
        if from_gateway and kind == PUBLISH:
            start = 2 + int.from_bytes(body[:2], "big")
            self._open[int.from_bytes(body[start : start + 2], "big")] = body[start + 2 :]
        elif not from_gateway and kind == PUBACK:
            content = self._open.pop(int.from_bytes(body[:2], "big"), b"")
            self.acknowledged.append((time.monotonic_ns(), content))


def _packets(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each whole MQTT packet as its first byte and its body, and how many bytes it takes."""
    start = 0
    while True:
        length, shift, at = 0, 0, start + 1
        while at < len(data) and data[at] & 0x80:
            length |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
        if at >= len(data):
            return
        length |= data[at] << shift
        end = at + 1 + length
        if end > len(data):
            return
        yield data[start : start + 1] + data[at + 1 : end], end - start
        start = end
