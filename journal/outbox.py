"""Messages for SCADA that wait for the broker: queued with the state change, sent in order, never dropped.

An `outbox.queued` entry commits in the same append as the alarm that it tells of; sending is at-least-once and
receivers de-duplicate on `message_id`.  Order holds per asset, the more critical asset goes first, and an asset
whose next message must wait (nobody subscribed, a refusal) holds up no other.  Memory is a fold of the journal:
read at boot, kept up by the store's subscription, bounded, the rest read from the journal when there is room.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from drivers.base import Delivery, Frozen, Message
from journal.engine.codec import decode, encode
from journal.engine.errors import Undecodable
from journal.engine.ports import Entry, Record
from journal.store import DuckStore

__all__ = ("QUEUED", "Outbox", "OutboxItem", "Queued")

QUEUED, SENT, REFUSED = "outbox.queued", "outbox.sent", "outbox.refused"

MAX_ITEMS = 4_096  # about 6 MB with alarm messages of 1 KiB; later ones wait in the journal alone
MAX_REFUSALS = 3  # a permanent refusal this often is believed, and the message parked
BACKOFF_FIRST_S = 1.0
BACKOFF_LAST_S = 300.0  # an operator's client that comes back waits no longer than this


@dataclass(slots=True)
class OutboxItem:
    """One message that was neither delivered nor parked."""

    seq: int
    message: Message
    asset_id: str
    criticality: int  # higher goes first
    attempts: int = 0  # deliveries that reached nobody, and refusals
    refusals: int = 0
    not_before_s: float = 0.0  # on the event loop's clock


class Queued(Frozen):
    """What is kept of a queued message beside its id and topic, which stand in the entry's own columns."""

    payload: bytes
    retain: bool
    asset_id: str
    criticality: int


class Outbox:
    """The queue of one journal.  All methods belong to its event loop."""

    def __init__(
        self, store: DuckStore, *, backoff_first_s: float = BACKOFF_FIRST_S, max_items: int = MAX_ITEMS
    ) -> None:
        self._store = store
        self._backoff_first_s = backoff_first_s
        self._max_items = max_items
        self._items: dict[str, OutboxItem] = {}  # by message id
        self._queues: dict[str, deque[OutboxItem]] = {}  # by asset, oldest first
        self._overflow_seq: int | None = None  # from here on messages are in the journal alone
        self._changed = asyncio.Event()
        self.sent_count = 0
        self.refused_count = 0
        self.unheard_count = 0  # deliveries that no subscriber received
        self.unreadable_count = 0  # queued entries that are no message
        self.overflowed_count = 0  # messages that had to wait in the journal alone

    async def open(self) -> None:
        """Fold what the journal holds, then follow what is committed."""
        self._store.subscribe("outbox.", self._on_entry)
        self._overflow_seq = 0
        await self._refill()

    @staticmethod
    def payload(message: Message, *, asset_id: str, criticality: int) -> "Queued":
        """What an `outbox.queued` entry carries, for a step's `emit(QUEUED, payload, key=message_id, name=topic)`."""
        return Queued(payload=message.payload, retain=message.retain, asset_id=asset_id, criticality=criticality)

    @classmethod
    def entry(cls, message: Message, *, asset_id: str, criticality: int) -> Entry:
        """The entry that queues a message once it is committed, alone or together with an alarm."""
        return Entry(
            kind=QUEUED,
            key=message.message_id,
            name=message.topic,
            payload=encode(cls.payload(message, asset_id=asset_id, criticality=criticality)),
        )

    def pending(self) -> list[OutboxItem]:
        """All messages held in memory, in the order in which they would be sent."""
        return [item for queue in self._by_urgency() for item in queue]

    def next_due(self) -> OutboxItem | None:
        """The message to send now: the oldest of the most critical asset that need not wait."""
        now_s = asyncio.get_running_loop().time()
        return next((queue[0] for queue in self._by_urgency() if queue[0].not_before_s <= now_s), None)

    async def wait_due(self) -> OutboxItem:
        """Wait until there is a message to send and return it; it stays pending until it is marked."""
        loop = asyncio.get_running_loop()
        while (item := self.next_due()) is None:
            self._changed.clear()
            wake_s = min((queue[0].not_before_s for queue in self._queues.values()), default=None)
            try:
                async with asyncio.timeout_at(wake_s):
                    await self._changed.wait()
            except TimeoutError:
                assert wake_s is not None
                assert loop.time() >= wake_s
        return item

    async def drained(self) -> None:
        """Wait until memory holds no message."""
        while self._items:
            self._changed.clear()
            await self._changed.wait()

    async def wait_pending(self) -> None:
        """Wait until there is a message to send."""
        await self.wait_due()

    async def mark_sent(self, message_id: str, delivery: Delivery) -> bool:
        """Note what the broker said; True once the message is delivered and that is on record.

        A message that no subscriber received is not delivered: it stays, and is due again later.
        """
        item = self._items.get(message_id)
        if item is None:
            return False
        if delivery.no_subscriber:
            self.unheard_count += 1
            self._put_off(item)
            return False
        await self._store.append([self._outcome(SENT, item, {"reason_code": delivery.reason_code})])
        await self._refill()
        return True

    async def mark_refused(self, message_id: str, reason: str) -> bool:
        """Note a permanent refusal; True once the third one has parked the message, and that is on record."""
        item = self._items.get(message_id)
        if item is None:
            return False
        item.refusals += 1
        if item.refusals < MAX_REFUSALS:
            self._put_off(item)
            return False
        await self._store.append([self._outcome(REFUSED, item, {"reason": reason, "asset_id": item.asset_id})])
        await self._refill()
        return True

    # -- helpers

    @staticmethod
    def _outcome(kind: str, item: OutboxItem, payload: dict[str, Any]) -> Entry:
        return Entry(kind=kind, key=item.message.message_id, name=item.message.topic, payload=encode(payload))

    def _by_urgency(self) -> list[deque[OutboxItem]]:
        """The assets' queues, the one with the most critical message first, then the one that waited longest."""
        return sorted(self._queues.values(), key=lambda queue: (-max(i.criticality for i in queue), queue[0].seq))

    def _put_off(self, item: OutboxItem) -> None:
        delay_s = min(self._backoff_first_s * 2.0 ** min(item.attempts, 30), BACKOFF_LAST_S)
        item.attempts += 1
        item.not_before_s = asyncio.get_running_loop().time() + delay_s
        self._changed.set()

    def _on_entry(self, record: Record) -> None:
        """The store's subscription: one committed entry, in sequence order."""
        if record.kind == QUEUED:
            if self._overflow_seq is not None or len(self._items) >= self._max_items:
                self.overflowed_count += 1
                self._overflow_seq = record.seq if self._overflow_seq is None else self._overflow_seq
            else:
                self._admit(record)
            return
        item = self._items.pop(record.key, None)
        if item is None:
            return
        self.sent_count += record.kind == SENT
        self.refused_count += record.kind == REFUSED
        queue = self._queues[item.asset_id]
        queue.remove(item)
        if not queue:
            del self._queues[item.asset_id]
        self._changed.set()

    def _admit(self, record: Record) -> None:
        if record.key in self._items:  # a step that ran twice queued it twice: one message
            return
        try:
            content: Queued = decode(record.payload, Queued)
        except Undecodable:  # only a program's mistake can bring this about; it must not keep the journal shut
            self.unreadable_count += 1
            return
        item = OutboxItem(
            seq=record.seq,
            message=Message(message_id=record.key, topic=record.name, payload=content.payload, retain=content.retain),
            asset_id=content.asset_id,
            criticality=content.criticality,
        )
        self._items[record.key] = item
        self._queues.setdefault(item.asset_id, deque()).append(item)
        self._changed.set()

    async def _refill(self) -> None:
        """Take up what had overflowed, once half of the room is free."""
        while self._overflow_seq is not None and len(self._items) <= self._max_items // 2:
            start = self._overflow_seq
            room = self._max_items - len(self._items)
            seen = self.overflowed_count
            records = await self._store.pending_outbox(start, room)
            if self._overflow_seq != start:  # another caller was quicker
                continue
            for record in records:
                self._admit(record)
            if records:
                self._overflow_seq = records[-1].seq + 1
            if len(records) < room and self.overflowed_count == seen:  # nothing was committed behind the read
                self._overflow_seq = None
