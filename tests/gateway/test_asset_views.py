"""An asset's history and thermal state through the control socket, and the commands that live on them."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from drivers.base import Point, Quality
from drivers.errors import BadInput
from gateway import cli_print, cli_thermal
from gateway.agents.hard import HardAgent
from gateway.agents.soft import SoftAgent
from gateway.agents.wave import WaveAgent
from gateway.alarms import AlarmBook
from gateway.asset_views import CYCLES_MAX, AssetViews, cycles_of
from gateway.cli import app
from gateway.control import SOCKET_NAME, serve
from gateway.reflex import Reflex
from gateway.watchdog import Heartbeats
from journal import Journal
from journal.engine import decode
from models.asset import Asset, AssetKind, Cooling, Nameplate
from models.thermal.cooling import CoolingFit

pytestmark = pytest.mark.may_block  # the daemon serves its socket from the start; here within a test
PASSES_MAX = 1000
GASES = ("H2", "CH4", "C2H6", "C2H4", "C2H2")
T1 = Asset(id="T1", kind=AssetKind.POWER_TRANSFORMER, bay="B1", nameplate=Nameplate(cooling=Cooling.ONAF, age_years=22))
Q1 = Asset(id="Q1", kind=AssetKind.BREAKER, nameplate=Nameplate(sf6_alarm_bara=5.4, sf6_lockout_bara=5.0))
POINTS = (
    *(Point(id=f"T1/SIML.{gas}ppm", unit="uL/L", group="T1/dga", update_interval_s=3600) for gas in GASES),
    Point(id="T1/SIML.Tmp", unit="degC", group="T1/oil", update_interval_s=3600),
    Point(id="T1/MMXU.LodPu", unit="pu", group="T1/load", update_interval_s=3600),
    Point(id="T1/STMP.EnvTmp", unit="degC", group="T1/ambient", update_interval_s=3600),
    Point(id="Q1/SIMG.Pres20", unit="bara", group="Q1/sf6", update_interval_s=3600),
)


class Site:
    """A journal, the reflex path and its agents, fed hour by hour."""

    def __init__(self, journal: Journal, clock: Any, sample: Callable[..., Any]) -> None:
        self.journal, self.clock, self.sample = journal, clock, sample
        assets = [T1, Q1]
        hard = {asset.id: HardAgent(asset, [p for p in POINTS if p.asset_id == asset.id], clock) for asset in assets}
        self.reflex = Reflex(
            journal,
            AlarmBook("g1", "", assets, clock, simulated=False),
            assets,
            hard,
            SoftAgent("g1", assets, clock, buffer_bytes=1_000_000, reinvestigate_after_s=600),
            WaveAgent([], lambda *_: None),
            Heartbeats(clock),
        )
        self.views = AssetViews(journal, self.reflex, POINTS, clock, 1.0)

    def hours(self, count: int, *, gas_ul_l: float = 40.0, gas_per_h: float = 0.25) -> None:
        """Gases and pressure that move towards their limits; each hour is polled twice."""
        for hour in range(count):
            self.clock.advance(1800)
            wiggle = 0.1 * math.sin(7 * hour)
            gases = [self.sample(f"T1/SIML.{gas}ppm", gas_ul_l + gas_per_h * hour + wiggle) for gas in GASES]
            plant = [
                self.sample("T1/MMXU.LodPu", 0.6),
                self.sample("T1/STMP.EnvTmp", 20.0 + wiggle),
                self.sample("T1/SIML.Tmp", 48.0 + wiggle),
                self.sample("Q1/SIMG.Pres20", 6.0 - 0.001 * hour + 0.0005 * wiggle),
            ]
            self.reflex.accept([*gases, *plant])
            self.clock.advance(1800)
            self.reflex.accept([self.sample(one.point_id, one.value) for one in [*gases, *plant]])


@pytest.fixture
async def site(tmp_path: Path, clock: Any, sample: Callable[..., Any]) -> AsyncIterator[Site]:
    journal = await Journal.open(tmp_path, clock)
    yield Site(journal, clock, sample)
    await journal.close()


@pytest.fixture
async def command(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """`await command("overload", "T1", ...)` against the site behind a real socket."""
    config = SimpleNamespace(gateway=SimpleNamespace(state_dir=tmp_path), asset=(T1, Q1))
    monkeypatch.setattr(cli_print, "load", lambda _: config)
    monkeypatch.setattr(cli_thermal, "load_config", lambda _: config)
    serving = asyncio.create_task(serve(tmp_path, site.views.handlers()))
    for _ in range(PASSES_MAX):
        if (tmp_path / SOCKET_NAME).exists():
            break
        await asyncio.sleep(0)

    async def run(*arguments: str) -> Any:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments], env={"COLUMNS": "200"})
        if result.exception is not None:
            raise result.exception
        return json.loads(result.output) if "--json" in arguments else result.output

    yield run
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_history_is_made_of_measurements_not_of_polls(site: Site) -> None:
    site.hours(10)
    answer = await site.views.history({"asset": "T1", "hours": 24})
    assert len(answer["groups"]["T1/dga"]) == 10
    assert answer["groups"]["T1/dga"][0]["values"]["SIML.H2ppm"] == 40.0
    assert answer["units"]["SIML.Tmp"] == "degC"
    assert "Q1/sf6" not in answer["groups"]


async def test_a_history_begins_where_it_is_asked_to(site: Site) -> None:
    site.hours(10)
    answer = await site.views.history({"asset": "Q1", "hours": 3.6})
    assert len(answer["groups"]["Q1/sf6"]) == 4


async def test_a_long_history_is_thinned_by_medians(site: Site) -> None:
    site.hours(CYCLES_MAX + 50)
    cycles = (await site.views.history({"asset": "T1", "hours": 8000}))["groups"]["T1/dga"]
    assert len(cycles) == CYCLES_MAX
    values = [cycle["values"]["SIML.H2ppm"] for cycle in cycles]
    assert values == sorted(values)
    assert cycles[0]["time"] < cycles[-1]["time"]


@pytest.mark.parametrize("question", [{"asset": "T9", "hours": 1}, {"asset": None, "hours": 1}, {"hours": 1}])
async def test_an_asset_without_points_is_refused(site: Site, question: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="there are points of Q1, T1"):
        await site.views.history(question)


@pytest.mark.parametrize("hours", [0, -1, 1e9, "24", None, True])
async def test_hours_that_are_none_are_refused(site: Site, hours: Any) -> None:
    with pytest.raises(BadInput, match="hours is"):
        await site.views.history({"asset": "T1", "hours": hours})


def test_bad_samples_and_gaps_make_no_measurement(clock: Any, sample: Callable[..., Any]) -> None:
    samples = []
    for value, quality in ((1.0, Quality.GOOD), (2.0, Quality.BAD), (3.0, Quality.GOOD)):
        clock.advance(3600)
        samples.append(sample("Q1/SIMG.Pres20", value, quality))
    found = cycles_of([POINTS[-1]], samples)
    assert [cycle.values["SIMG.Pres20"] for cycle in found["Q1/sf6"]] == [1.0, 3.0]


def test_what_was_filled_in_after_a_gap_stands_where_it_was_measured(clock: Any, sample: Callable[..., Any]) -> None:
    before, now = clock.now(), clock.now() + timedelta(hours=10)
    filled = [
        sample("Q1/SIMG.Pres20", 6.0 - hour, source_time=before + timedelta(hours=hour), historical=True)
        for hour in (1, 2, 3)
    ]
    clock.advance(36_000)
    found = cycles_of([POINTS[-1]], [*filled, sample("Q1/SIMG.Pres20", 2.0, source_time=now)])
    assert [cycle.values["SIMG.Pres20"] for cycle in found["Q1/sf6"]] == [5.0, 4.0, 3.0, 2.0]


async def test_what_commissioning_learns_is_in_the_journal(site: Site) -> None:
    running = asyncio.create_task(site.reflex.run(_no_incident, _no_message))
    site.hours(90, gas_ul_l=0.5, gas_per_h=0.0)
    await site.reflex.settled()
    records = await site.journal.store.latest("cooling.fit")
    running.cancel()
    await asyncio.wait([running])
    (record,) = records
    assert record.key == "T1"
    assert decode(record.payload, CoolingFit).learnt_h >= 24


async def _no_incident(_: Any) -> None:
    pass


async def _no_message(_: Any) -> None:
    pass


async def test_overload_from_the_state_of_now(site: Site, command: Callable[..., Any]) -> None:
    site.hours(12)
    answer = await command("overload", "T1", "--load", "1.5", "--json")
    assert answer["ambient_degc"] == pytest.approx(20.0, abs=0.2)
    assert answer["state"]["top_oil_degc"] == pytest.approx(48.0, abs=0.2)
    assert answer["state"]["source"].startswith("measured 2026-03-01T")
    assert answer["hot_spot"]["reached_after_s"] > 600
    warm = await command("overload", "T1", "--load", "1.5", "--ambient", "40", "--json")
    assert warm["hot_spot"]["reached_after_s"] < answer["hot_spot"]["reached_after_s"]


async def test_overload_before_anything_is_measured(command: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="T1: the daemon calculates no hot spot yet"):
        await command("overload", "T1", "--load", "1.5")


async def test_prognosis_of_gases(site: Site, command: Callable[..., Any]) -> None:
    site.hours(200)  # 40 to 90 µL/L, 6 a day
    answer = await command("prognosis", "T1", "--json")
    by_point = {row["point"]: row for row in answer["forecasts"]}
    hydrogen = by_point["SIML.H2ppm"]  # 200 is the 95 % value of a transformer of this age, 90 of a breathing one
    assert hydrogen["measurements"] == 200
    assert hydrogen["threshold"] in (90, 200)
    assert hydrogen["rate_per_s"] * 86_400 == pytest.approx(6.0, rel=0.02)
    assert (by_point["SIML.C2H2ppm"]["median_s"], by_point["SIML.C2H2ppm"]["high_s"]) == (0.0, 0.0)
    assert "met already" in await command("prognosis", "T1", "--point", "SIML.C2H2ppm")
    given = await command("prognosis", "T1", "--point", "SIML.H2ppm", "--threshold", "200", "--json")
    assert given["forecasts"][0]["median_s"] == pytest.approx(110 / 6 * 86_400, rel=0.05)
    assert "remaining life" in " ".join(answer["notes"])
    assert answer["life_used_since_start_h"] > 0


async def test_prognosis_of_a_leak_for_people(site: Site, command: Callable[..., Any]) -> None:
    site.hours(200)  # 6.0 to 5.8 bara, 0.024 a day
    shown = await command("prognosis", "Q1")
    assert "5.4 bara (alarm)" in shown
    assert "16.7 d (" in shown
    assert "5 bara (lock-out)" in shown
    assert "not remaining life" in shown


async def test_prognosis_says_why_it_abstains(site: Site, command: Callable[..., Any]) -> None:
    site.hours(5)
    shown = await command("prognosis", "Q1")
    assert "5 of 8 measurements" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("T9",), "no asset 'T9'; there are Q1, T1"),
        (("T1", "--threshold", "5"), "--threshold needs --point"),
        (("T1", "--point", "SIML.Tmp"), "SIML.Tmp of T1: no threshold is known: give --threshold"),
    ],
)
async def test_prognosis_refuses_in_words(command: Callable[..., Any], arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        await command("prognosis", *arguments)
    assert words in str(refused.value)


async def test_pictures_from_the_running_daemon(site: Site, command: Callable[..., Any], tmp_path: Path) -> None:
    site.hours(60)
    out = str(tmp_path / "x.svg")
    track = await command("plot", "triangle", "--asset", "T1", "--out", out, "--json")
    assert (track["samples"], set(track["codes"])) == (60, {"D2"})
    trend = await command("plot", "trend", "T1", "SIML.H2ppm", "--threshold", "100", "--out", out, "--json")
    assert trend["measurements"] == 60
    assert trend["median_s"] == pytest.approx((100 - 54.8) / 6 * 86_400, rel=0.1)
    thermal = await command("plot", "thermal", "T1", "--load", "1.4", "--out", out, "--json")
    assert thermal["curves"] == ["top oil", "ambient"]
    assert thermal["first_limit_after_s"] > 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trend", "T1", "SIML.Nope"), "SIML.Nope of T1: 0 measurements in 30 days; its points are MMXU.LodPu, "),
        (("triangle", "--asset", "Q1"), "Q1: no gas analysis in the last 30 days"),
        (("thermal", "T1"), "T1: no temperatures in the last 12 h, and no --load to come"),
    ],
)
async def test_where_nothing_was_measured_nothing_is_drawn(
    command: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await command("plot", *arguments, "--out", str(tmp_path / "x.svg"))
    assert words in str(refused.value)
    assert not (tmp_path / "x.svg").exists()
