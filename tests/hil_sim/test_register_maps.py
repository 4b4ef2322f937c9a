"""Seven simulated devices against the daemon's templates: two tables by two hands, and a socket between them."""

import math

import pytest

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.templates import template_names
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import MAPS, encode, on_the_wire
from hil_sim.scenario import Scenario
from hil_sim.substation import Substation
from hil_sim.truth import INDICATORS

OTHER_TEMPLATES = sorted(set(MAPS) - {"vaisala-dpt145"})
SCENARIO = {
    "seed": 5,
    "time_factor": 3600,
    "tick_s": 360,
    "ambient": {"mean": -12.0},
    "transformers": [{"id": "T1", "load": {"mean": 0.8, "daily_swing": 0.1, "peak_hour": 18}}],
    "breakers": [{"id": "Q1"}],
}
HEALTHY = {"h2": 20, "ch4": 10, "c2h6": 10, "c2h4": 5, "c2h2": 0, "co": 300, "co2": 3000}


def scenario(*templates: str, **more: object) -> Scenario:
    devices = [
        {"name": name, "asset": "Q1" if name == "vaisala-dpt145" else "T1", "template": name, "cycle_s": 360}
        for name in templates
    ]
    transformer = SCENARIO["transformers"][0] | {"healthy": HEALTHY}
    return Scenario.model_validate(SCENARIO | {"transformers": [transformer], "devices": devices} | more)


def shown_by(template: str) -> dict[str, float]:
    (cycle,) = Substation(scenario(template)).tick().cycles
    return dict(cycle.channels)


async def read(template: str, wire: str = "wire_ok") -> tuple[dict[str, float], dict[str, tuple[Quality, object]]]:
    """What the plant put in, and what the daemon's driver reads by its template."""
    plc = ModbusPlc({1: MAPS[template]})
    await plc.start()
    channels = shown_by(template)
    plc.show(1, channels, wire=wire)
    device = {"name": "d", "asset": "T1", "template": template}
    link = {"name": "l", "host": plc.host, "port": plc.port, "devices": [device]}
    source = ModbusSource(ModbusLinkConfig.model_validate(link), SystemClock())
    try:
        await source.open()
        samples = await source.read()
    finally:
        await source.close()
        await plc.stop()
    return channels, {sample.point_id.partition("/")[2]: (sample.quality, sample.value) for sample in samples}


def test_every_template_has_a_simulated_device() -> None:
    assert set(MAPS) == set(INDICATORS) == set(template_names()) - {"analog-inputs-8"}  # that one replays rows


@pytest.mark.parametrize("template", sorted(MAPS))
async def test_the_driver_reads_what_the_plant_shows(template: str) -> None:
    channels, samples = await read(template)
    expected = {
        indicator: pytest.approx(on_the_wire(MAPS[template], channel, channels[channel]), rel=1e-6)
        for channel, indicator in INDICATORS[template].items()
    }
    assert {indicator: samples[indicator] for indicator in expected} == {
        indicator: (Quality.GOOD, value) for indicator, value in expected.items()
    }


async def test_a_reserved_register_of_the_relay_is_no_current() -> None:
    channels, samples = await read("sel-2414")
    assert samples["GGIO.AnIn200"] == (Quality.GOOD, round(channels["current_a"]))
    assert samples["GGIO.AnIn203"] == (Quality.GOOD, -1200)  # tenths of a degree
    assert samples["GGIO.AnIn219"] == (Quality.BAD, None)
    assert samples["GGIO.IntIn171"] == (Quality.GOOD, 0)


async def test_the_set_points_are_those_of_the_simulated_engineer() -> None:
    _, samples = await read("qualitrol-118")
    assert [samples[f"GGIO.AnIn400{number}"][1] for number in range(10, 16)] == [65, 80, 95, 5, 5, 5]


@pytest.mark.parametrize(
    ("template", "wire"),
    [("mr-msense", "sentinel_nan"), ("mr-msense", "swap_words"), ("sel-2414", "sentinel_8000")],
)
async def test_nothing_that_a_device_shows_wrongly_is_good(template: str, wire: str) -> None:
    _, samples = await read(template, wire)
    assert {samples[indicator][0] for indicator in INDICATORS[template].values()} == {Quality.BAD}


@pytest.mark.parametrize("template", OTHER_TEMPLATES)
def test_registers_follow_the_plant(template: str) -> None:
    plant = Substation(scenario(template))
    shown = [encode(MAPS[template], cycle.channels) for _ in range(240) for cycle in plant.tick().cycles]
    moving = template != "qualitrol-118"
    assert (len({tuple(registers) for registers in shown}) > 1) == moving


def test_a_channel_that_is_unknown_is_a_sentinel() -> None:
    registers = encode(MAPS["eaton-tc-50"], dict.fromkeys(MAPS["eaton-tc-50"].integers, math.nan))
    assert registers[:4] == [0x8000] * 4


def test_a_script_cannot_ask_a_device_for_what_it_cannot_show() -> None:
    event = {"id": "e", "asset": "T1", "at_s": 0, "kind": "swap_words"}
    with pytest.raises(ValueError, match="eaton-tc-50 cannot show swap_words; it can frozen"):
        scenario("eaton-tc-50", events=[event])
    assert scenario("mr-msense", events=[event]).events
