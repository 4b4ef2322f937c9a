"""A broker that is away costs no alarm: it waits in the journal, survives the daemon's death, and comes in order."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest


@pytest.fixture
async def broker_door(door: Callable[[str, int], Awaitable[Any]]) -> Any:
    """How `start_site` lets the daemon reach the broker through a door: before SCADA listens it must not publish."""

    class Doorkeeper:
        async def change(self, ready: dict[str, Any]) -> dict[str, Any]:
            self.door = await door(ready["mqtt"]["host"], ready["mqtt"]["port"])
            return ready | {"mqtt": {"host": self.door.host, "port": self.door.port}}

    return Doorkeeper()


async def test_alarms_of_a_time_without_broker_arrive_in_order(
    start_site: Any, scenario: Any, quick: Any, broker_door: Any
) -> None:
    async with start_site(scenario("plateaus"), change=broker_door.change, configure=quick) as site:
        await site.daemon.start()
        await site.all_good()
        await broker_door.door.shut()
        await site.sim.command("broker_down")
        await site.sim.command("trigger", id="t1-arcing")
        await site.when("alarms", lambda alarms: any(a["asset_id"] == "T1" and a["diagnosis"] for a in alarms))

        await site.kill_daemon()
        await site.daemon.start()
        (held,) = await site.when("alarms", len)
        assert (await site.ask("status"))["outbox"]["pending"] == held["revision"] == 2
        await site.sim.command("trigger", id="t2-hot")
        both = await site.when("alarms", lambda alarms: len(alarms) == 2 and all(a["diagnosis"] for a in alarms))
        assert site.scada.alarms == {}

        await site.sim.command("broker_up")
        await site.listen()
        broker_door.door.open()
        await site.status_when(lambda status: status["outbox"]["pending"] == 0)
        await site.heard(lambda alarm: alarm["asset_id"] == "T2" and alarm["diagnosis"])
        assert {key: alarm["revision"] for key, alarm in site.scada.alarms.items()} == {a["alarm_id"]: 2 for a in both}
        for alarm_id in site.scada.alarms:
            mine = [message_id for message_id in site.scada.seen if message_id.startswith(alarm_id)]
            assert mine == [f"{alarm_id}.1", f"{alarm_id}.2"]


async def test_a_gateway_with_nothing_to_say_comes_back_to_a_broker_that_was_away(
    start_site: Any, scenario: Any, quick: Any
) -> None:
    async with start_site(scenario("plateaus"), configure=quick) as site:
        await site.daemon.start()
        await site.all_good()
        await site.told(online=True)
        await site.sim.command("broker_down")
        await site.sim.command("broker_up")
        await site.listen()
        await site.told(online=True)
