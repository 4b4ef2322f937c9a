"""A device that dies or talks nonsense: its points say so, nothing is concluded from it, everything else goes on."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG_CYCLES = 7  # more than the gate needs to believe a level, were it to count them
NONSENSE = ("nan-t2", "sentinel-t2", "swapped-t2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(start_site: Any, quick: Any, scenario: Any) -> AsyncIterator[Any]:
    async with start_site(scenario("demo"), configure=quick) as running:
        await running.daemon.start()
        await running.all_good()
        yield running


async def test_a_monitor_that_dies_turns_its_points_stale_and_no_others(site: Any) -> None:
    total = (await site.all_good())["points_total"]
    own = next(link["points"] for link in (await site.ask("status"))["links"] if link["name"] == "opt100-t1")
    await site.sim.command("trigger", id="monitor-t1-dies")
    dead = await site.status_when(lambda status: status["points_by_quality"].get("STALE"))
    assert dead["points_by_quality"] == {"GOOD": total - own, "STALE": own}
    assert {link["name"]: link["stale_points"] for link in dead["links"]} == {
        "opt100-t1": own,
        "opt100-t2": 0,
        "dpt145-q1": 0,
        "bay-server": 0,
    }
    await _others_measure(site, "T1/dga")
    await site.sim.command("trigger", id="monitor-t1-returns")
    back = await site.all_good()
    await site.status_when(lambda status: status["measurements"]["T1/dga"] > back["measurements"]["T1/dga"])


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nonsense_on_the_wire_is_never_a_measurement(site: Any, nonsense: str) -> None:
    await site.all_good()
    await site.sim.command("trigger", id=nonsense)
    await site.status_when(lambda status: status["points_by_quality"] != {"GOOD": status["points_total"]})
    await _others_measure(site, "T2/dga")
    await site.sim.command("trigger", id="wire-ok-t2")
    await site.all_good()
    assert _gas_alarms(site) == []
    assert await site.ask("runs") == []


async def test_a_fault_behind_swapped_words_is_seen_once_they_are_right_again(site: Any) -> None:
    await site.all_good()
    await site.sim.command("trigger", id="swapped-t2")
    await site.status_when(lambda status: status["points_by_quality"] != {"GOOD": status["points_total"]})
    await site.sim.command("trigger", id="arcing-t2")
    await _others_measure(site, "T2/dga")
    assert _gas_alarms(site) == []
    await site.sim.command("trigger", id="wire-ok-t2")
    alarm = await site.heard(lambda alarm: alarm["asset_id"] == "T2" and alarm["diagnosis"])
    assert (alarm["code"], alarm["diagnosis"]["code"]) == ("D2", "D2")
    evidence = {sample["value"] for sample in alarm["finding"]["evidence"] if sample["point_id"] == "T2/SIML.C2H2ppm"}
    assert evidence == {187.0}


async def _others_measure(site: Any, stopped: str) -> None:
    """The device is silent or wrong; meanwhile every other group measures on, and its own does not."""
    before = (await site.ask("status"))["measurements"]
    after = (
        await site.status_when(
            lambda status: all(
                count >= before[group] + WRONG_CYCLES
                for group, count in status["measurements"].items()
                if group != stopped and not group.endswith("YLTC.TapPos")
            )
        )
    )["measurements"]
    assert after[stopped] <= before[stopped] + 1  # a cycle may have been under way


def _gas_alarms(site: Any) -> list[str]:
    return [alarm["text"] for alarm in site.scada.alarms.values() if alarm["finding"]["family"] != "sensor"]
