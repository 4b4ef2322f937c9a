"""A SCADA that de-duplicates as the contract says: on `message_id`, the highest revision of an alarm wins."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from drivers.base import Message
from drivers.mqtt import MqttConfig, MqttSink

__all__ = ("Subscriber",)


class Subscriber:
    """Holds what a control centre would hold after hearing everything."""

    def __init__(self, host: str, port: int, gateway_id: str) -> None:
        config = MqttConfig(host=host, port=port, client_id="scada-demo")
        offline = Message(message_id="scada", topic="scada/demo/status", payload=b"offline")
        topics = [f"blackstart/{gateway_id}/alarm/#", f"blackstart/{gateway_id}/status"]
        self._sink = MqttSink(config, will=offline, subscriptions=topics)
        self._gateway_id = gateway_id
        self._changed = asyncio.Event()
        self.alarms: dict[str, dict[str, Any]] = {}  # alarm id → latest revision
        self.seen: dict[str, int] = {}  # message id → how often it came
        self.statuses: list[bool] = []

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._sink.open()
        try:
            async for inbound in self._sink.inbound():
                content = json.loads(inbound.payload)
                if inbound.topic.endswith("/status"):
                    self.statuses.append(content["online"])
                else:
                    self._hear(content)
                self._changed.set()
        finally:
            await self._sink.close()

    def _hear(self, alarm: dict[str, Any]) -> None:
        self.seen[alarm["message_id"]] = self.seen.get(alarm["message_id"], 0) + 1
        known = self.alarms.get(alarm["alarm_id"])
        if known is None or known["revision"] < alarm["revision"]:
            self.alarms[alarm["alarm_id"]] = alarm

    async def until(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """The first alarm that satisfies `wanted`.  Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                for alarm in self.alarms.values():
                    if wanted(alarm):
                        return alarm
                self._changed.clear()
                await self._changed.wait()

    async def command(self, name: str, content: dict[str, Any]) -> None:
        """Publish a command to the gateway."""
        await self._sink.send(
            Message(
                message_id=f"command.{name}",
                topic=f"blackstart/{self._gateway_id}/command/{name}",
                payload=json.dumps(content).encode(),
            )
        )
