"""The outbox: order per asset, critical first, at least once, parked after three refusals, bounded."""

import asyncio

import pytest

from drivers.base import Delivery, Message
from journal.engine.codec import encode
from journal.engine.ports import Entry
from journal.outbox import QUEUED, Outbox, OutboxItem

HEARD = Delivery(reason_code=0, no_subscriber=False)
UNHEARD = Delivery(reason_code=16, no_subscriber=True)


def queued(asset: str, number: int, criticality: int = 1) -> Entry:
    message = Message(message_id=f"{asset}-{number}", topic=f"alarm/{asset}", payload=b"\xff{}", retain=True)
    return Outbox.entry(message, asset_id=asset, criticality=criticality)


def ids(items: list[OutboxItem]) -> list[str]:
    return [item.message.message_id for item in items]


async def opened(store, **options) -> Outbox:
    outbox = Outbox(store, backoff_first_s=0.02, **options)
    await outbox.open()
    return outbox


async def test_what_is_committed_is_pending_in_order_and_survives(open_store) -> None:
    store = await open_store()
    outbox = await opened(store)
    await store.append([queued("T1", 1), queued("B1", 1, criticality=9), queued("T1", 2)])
    await store.append([Entry(kind="alarm", key="a"), queued("B1", 2, criticality=9), queued("T1", 1)])
    assert ids(outbox.pending()) == ["B1-1", "B1-2", "T1-1", "T1-2"]
    item = outbox.next_due()
    assert item.message == Message(message_id="B1-1", topic="alarm/B1", payload=b"\xff{}", retain=True)
    assert await outbox.mark_sent("B1-1", HEARD)
    assert not await outbox.mark_sent("B1-1", HEARD)  # twice is once
    await store.close()
    store = await open_store()
    again = await opened(store)
    assert ids(again.pending()) == ["B1-2", "T1-1", "T1-2"]
    assert again.pending()[0].message.payload == b"\xff{}"
    states = {row["message_id"]: row["state"] for row in await store.query("outbox")}
    assert states == {"B1-1": "sent", "B1-2": "pending", "T1-1": "pending", "T1-2": "pending"}


async def test_nobody_subscribed_is_not_delivery_and_holds_up_no_other(open_store) -> None:
    store = await open_store()
    outbox = await opened(store)
    await store.append([queued("T1", 1, criticality=5), queued("T1", 2, criticality=5), queued("T2", 1)])
    assert not await outbox.mark_sent("T1-1", UNHEARD)
    assert outbox.unheard_count == 1
    assert outbox.next_due().message.message_id == "T2-1"  # T1-2 must not overtake T1-1
    assert await outbox.mark_sent("T2-1", HEARD)
    assert outbox.next_due() is None
    async with asyncio.timeout(5):
        item = await outbox.wait_due()
    assert (item.message.message_id, item.attempts) == ("T1-1", 1)


async def test_the_third_refusal_parks_a_message(open_store) -> None:
    store = await open_store()
    outbox = await opened(store)
    await store.append([queued("T1", 1), queued("T1", 2)])
    assert [await outbox.mark_refused("T1-1", "payload format invalid") for _ in range(3)] == [False, False, True]
    assert ids(outbox.pending()) == ["T1-2"]
    assert (outbox.refused_count, outbox.sent_count) == (1, 0)
    await store.close()
    assert ids((await opened(await open_store())).pending()) == ["T1-2"]


async def test_waiting_ends_when_something_is_committed(open_store) -> None:
    store = await open_store()
    outbox = await opened(store)
    waiting = asyncio.create_task(outbox.wait_pending())
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.append([queued("T1", 1)])
    await asyncio.wait_for(waiting, 5)


async def test_what_memory_cannot_hold_waits_in_the_journal(open_store) -> None:
    store = await open_store()
    outbox = await opened(store, max_items=10)
    await asyncio.gather(*(store.append([queued(f"T{number % 3}", number)]) for number in range(35)))
    assert (len(outbox.pending()), outbox.overflowed_count) == (10, 25)
    sent = []
    async with asyncio.timeout(20):
        while len(sent) < 40:
            item = await outbox.wait_due()
            assert await outbox.mark_sent(item.message.message_id, HEARD)
            sent.append(item.message.message_id)
            late = [queued("T9", len(sent))] if len(sent) in (3, 9, 20, 21, 30) else []
            await store.append(late)
    assert len(set(sent)) == 40
    for asset in ("T0", "T1", "T2", "T9"):
        numbers = [int(message_id.partition("-")[2]) for message_id in sent if message_id.startswith(asset)]
        assert numbers == sorted(numbers)
    await asyncio.wait_for(outbox.drained(), 5)
    assert (outbox.pending(), outbox.sent_count) == ([], 40)
    assert {row["state"] for row in await store.query("outbox")} == {"sent"}


@pytest.mark.parametrize("payload", [b"", b"\x00\xc1", encode({"payload": 7}), encode(["not", "a", "message"])])
async def test_an_entry_that_is_no_message_keeps_nothing_shut(open_store, payload: bytes) -> None:
    store = await open_store()
    await store.append([Entry(kind=QUEUED, key="odd", payload=payload), queued("T1", 1)])
    outbox = await opened(store)
    assert (ids(outbox.pending()), outbox.unreadable_count) == (["T1-1"], 1)


def test_the_object_form_equals_the_entry() -> None:
    message = Message(message_id="m", topic="t", payload=b"p")
    payload = Outbox.payload(message, asset_id="T1", criticality=3)
    assert encode(payload) == Outbox.entry(message, asset_id="T1", criticality=3).payload
