"""Sends what the outbox holds, in its order, and hears what SCADA says back.

At-least-once: a message is marked sent only after the broker's acknowledgement, so that a crash in between sends
the same `message_id` again and receivers de-duplicate on it.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal

from pydantic import Field

from drivers.base import Clock, Frozen, Inbound, Message
from drivers.errors import BadInput, Refused, Transient
from drivers.mqtt import MqttSink
from gateway.supervisor import heed_cancellation
from gateway.watchdog import Heartbeats
from journal import Outbox, OutboxItem

__all__ = ("Publisher", "Status", "status_message")

log = logging.getLogger(__name__)

BEAT_S = 5.0  # the loop comes round at least this often, also while nothing waits
SEND_S_MAX = 60.0  # the upper bound of the sink's own time-out
LATENCIES_KEPT = 100
HEAD_PERIOD_S = 86_400.0  # what an insider could change unseen is at most a day of the journal

Command = Callable[[Inbound], Awaitable[None]]


class Status(Frozen):
    """Whether this gateway is there; its `offline` form is the last will, said by the broker for a dead gateway."""

    message_schema: Literal["blackstart.status/1"] = Field(default="blackstart.status/1", serialization_alias="schema")
    gateway_id: str
    online: bool
    simulated: bool = Field(description="a simulator stands behind this gateway: nothing here is about a real plant")
    journal_head: str = Field(
        default="",
        description="the journal's newest row as epoch:sequence:link, said anew each day; keep it, and `blackstart "
        "journal verify --head` finds any later change of a row up to it",
    )


def status_message(gateway_id: str, *, online: bool, simulated: bool = False, journal_head: str = "") -> Message:
    """The retained status of this gateway."""
    status = Status(gateway_id=gateway_id, online=online, simulated=simulated, journal_head=journal_head)
    return Message(
        message_id=f"{gateway_id}.status.{'online' if online else 'offline'}",
        topic=f"blackstart/{gateway_id}/status",
        payload=status.model_dump_json(by_alias=True).encode(),
        retain=True,
    )


class Publisher:
    """One MQTT session's life: open, say online, drain the outbox, hand commands over, until the link is lost."""

    def __init__(
        self,
        sink: MqttSink,
        outbox: Outbox,
        online: Callable[[], Message],
        offline: Message,
        on_command: Command,
        clock: Clock,
        heartbeats: Heartbeats,
    ) -> None:
        self._sink = sink
        self._outbox = outbox
        self._online = online
        self._offline = offline
        self._on_command = on_command
        self._clock = clock
        self._heartbeats = heartbeats
        self.first_alarm_latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)  # sample received → PUBACK

    async def run(self) -> None:
        """Publish until the link is lost (raises Transient: the supervisor starts this again) or cancelled."""
        try:
            await self._sink.open()
            heed_cancellation()
            await self._sink.send(self._online())
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._drain(), name="publisher.drain")
                tasks.create_task(self._listen(), name="publisher.listen")
                tasks.create_task(self._watch_link(), name="publisher.link")
                tasks.create_task(self._anchor(), name="publisher.anchor")
        finally:
            await self._leave()

    async def _anchor(self) -> None:
        """Say the status anew, which carries the head of the journal's row chain."""
        while True:
            await asyncio.sleep(HEAD_PERIOD_S)
            await self._sink.send(self._online())

    async def send_now(self, message: Message) -> None:
        """Past the outbox, for when nothing can be journalled.  Raises Transient or Refused."""
        await self._sink.send(self._stamped(message))

    async def _watch_link(self) -> None:
        """A lost link ends this session also while nothing waits to be sent: commands come in over it."""
        await self._sink.wait_lost()
        raise Transient("the link to the broker is lost")

    async def _leave(self) -> None:
        """Say offline ourselves: an orderly close suppresses the last will."""
        try:
            if self._sink.connected:
                await self._sink.send(self._offline)
        except (Transient, Refused) as err:
            log.info("going without a word: %s", err)
        finally:
            await self._sink.close()

    async def _drain(self) -> None:
        self._heartbeats.expect("publisher", SEND_S_MAX + 4 * BEAT_S)
        try:
            while True:
                self._heartbeats.beat("publisher")
                try:
                    async with asyncio.timeout(BEAT_S):
                        item = await self._outbox.wait_due()
                except TimeoutError:
                    continue
                await self._send(item)
        finally:
            self._heartbeats.forget("publisher")

    async def _send(self, item: OutboxItem) -> None:
        try:
            delivery = await self._sink.send(self._stamped(item.message))
        except (Refused, BadInput) as err:
            await self._outbox.mark_refused(item.message.message_id, str(err))
            return
        if await self._outbox.mark_sent(item.message.message_id, delivery) and item.message.message_id.endswith(".1"):
            self._note_latency(item.message)

    def _note_latency(self, message: Message) -> None:
        sampled = datetime.fromisoformat(json.loads(message.payload)["finding"]["last_time"])
        self.first_alarm_latencies_s.append((self._clock.now() - sampled).total_seconds())

    def _stamped(self, message: Message) -> Message:
        """Put the time of this attempt into the payload; the message stays the same message."""
        content = json.loads(message.payload)
        content["publish_time"] = self._clock.now().isoformat()
        return Message(
            message_id=message.message_id,
            topic=message.topic,
            payload=json.dumps(content, separators=(",", ":")).encode(),
            retain=message.retain,
        )

    async def _listen(self) -> None:
        async for inbound in self._sink.inbound():
            await self._on_command(inbound)
