"""Listens at the broker as SCADA would: every message of every gateway with the second in which it came.

In: an MQTT 5 broker.  Out: a callback per message.  The connection is made again for as long as somebody listens.
Called by `hil_sim.bench`.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiomqtt

__all__ = ("Ear", "Heard")

TOPICS = "blackstart/#"
RETRY_S = 0.3
KEEPALIVE_S = 5

logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # a broker that is away is part of the play


@dataclass(frozen=True, slots=True)
class Heard:
    """One message: loop time, topic, and its content where that is a JSON object."""

    at_s: float
    topic: str
    content: dict[str, Any] | None
    retained: bool


class Ear:
    """One subscriber; `connections` counts how often it had to come back."""

    def __init__(self, host: str, port: int, hear: Callable[[Heard], None]) -> None:
        self._host, self._port, self._hear = host, port, hear
        self.connections = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (aiomqtt.MqttError, OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        client = aiomqtt.Client(
            self._host,
            self._port,
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=KEEPALIVE_S,
            timeout=2 * KEEPALIVE_S,
            max_queued_incoming_messages=10_000,
        )
        # aiomqtt keeps the end of the connection in a future that nobody awaits here: look, or asyncio complains.
        client._disconnected.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # noqa: SLF001
        async with client:
            await client.subscribe(TOPICS, qos=1)
            self.connections += 1
            async for message in client.messages:
                at_s = asyncio.get_running_loop().time()
                payload = bytes(message.payload) if isinstance(message.payload, (bytes, bytearray)) else b""
                self._hear(Heard(at_s, str(message.topic), _object(payload), bool(message.retain)))


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
