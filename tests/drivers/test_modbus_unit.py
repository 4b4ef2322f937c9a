"""One device at the wire: splitting refused requests, checks at connect, probing, and who may not wait for whom."""

import pytest

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.modbus import PROBE_EVERY, ModbusDevice, ModbusLinkConfig, ModbusSource


@pytest.fixture
async def opened():
    sources = []

    async def open_(port: int, *devices: dict[str, object], **more: object) -> ModbusSource:
        usual = {"name": "bay", "host": "127.0.0.1", "port": port, "timeout_s": 0.5}
        config = ModbusLinkConfig.model_validate(usual | more | {"devices": devices})
        source = ModbusSource(config, SystemClock())
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


def _points(*registers: int, **more: object) -> list[dict[str, object]]:
    return [{"indicator": f"MMXU.A{n}", "register": n} | more for n in registers]


def _device(template: str, **more: object) -> dict[str, object]:
    return {"name": "d", "asset": "T1", "template": template} | more


async def _values(source: ModbusSource) -> dict[str, object]:
    return {sample.point_id.partition(".")[2]: (sample.quality, sample.value) for sample in await source.read()}


async def test_a_request_that_is_refused_for_an_address_is_split_once(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.illegal = {5, 9}
    name = template(_points(1, 2, 5, 6, 12), group={"readable": [[1, 12]]})
    source = await opened(device.port, _device(name))
    good = {f"A{n}": (Quality.GOOD, n) for n in (1, 2, 6, 12)}
    assert await _values(source) == good | {"A5": (Quality.BAD, None)}
    device.asked.clear()
    samples = await source.read()
    assert [sample.reason for sample in samples if sample.quality is Quality.BAD] == ["register 5 does not answer"]
    assert [(address, count) for _, _, address, count in device.asked] == [(1, 2), (6, 1), (12, 1)]
    device.illegal.clear()
    await source.open()
    assert await _values(source) == good | {"A5": (Quality.GOOD, 5)}  # the plan is whole again at each connect


async def test_a_device_that_refuses_every_address_is_left_out_and_keeps_its_plan(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.illegal = {1, 2}
    source = await opened(device.port, _device(template(_points(1, 2))))
    assert await source.read() == []
    device.illegal.clear()
    device.asked.clear()
    assert len(await source.read()) == 2
    assert device.asked == [(1, 3, 1, 2)]


async def test_coils_and_discrete_inputs(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.bits = {3, 11, 13}
    points = _points(3, 4, 11, 13, datatype="bool")
    for code in (1, 2):
        device.asked.clear()
        name = template(points, function_code=code, group={"readable": [[3, 13]]})
        source = await opened(device.port, _device(name))
        expected = {"A3": True, "A4": False, "A11": True, "A13": True}
        assert await _values(source) == {key: (Quality.GOOD, value) for key, value in expected.items()}
        assert device.asked == [(1, code, 3, 11)]


async def test_a_status_register_travels_with_its_neighbours(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    status = {"name": "s", "register": 3, "good": [3], "text": "out of service"}
    source = await opened(device.port, _device(template(_points(1, 2), group={"status": [status]})))
    assert {quality for quality, _ in (await _values(source)).values()} == {Quality.GOOD}
    assert device.asked == [(1, 3, 1, 3)]
    device.registers[3] = 7
    assert {sample.reason for sample in await source.read()} == {"out of service (status register 3 = 0x7)"}


_CHECK = {"name": "simulation", "register": 90, "datatype": "uint16", "expected": [0], "text": "simulated values"}


async def test_settings_are_checked_at_every_connect(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.registers[90] = 0
    name = template(_points(1, 2), check=[_CHECK | {"points": ["MMXU.A2"]}])
    source = await opened(device.port, _device(name))
    assert await _values(source) == {"A1": (Quality.GOOD, 1), "A2": (Quality.GOOD, 2)}
    await source.read()
    assert [address for _, _, address, _ in device.asked].count(90) == 1
    device.registers[90] = 1
    await source.open()
    samples = await source.read()
    bad = [sample for sample in samples if sample.quality is Quality.BAD]
    assert [sample.point_id for sample in bad] == ["T1/MMXU.A2"]
    assert (bad[0].value, bad[0].reason) == (None, "simulated values: register 90 is 1, expected 0")
    device.registers[90] = 0
    assert await _values(source) == {"A1": (Quality.GOOD, 1), "A2": (Quality.GOOD, 2)}  # asked anew while it is wrong


async def test_a_setting_may_be_given_with_the_device(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.illegal = {90}
    source = await opened(device.port, _device(template(_points(1)), check=[_CHECK]))
    assert {sample.reason for sample in await source.read()} == {"simulated values: register 90 does not answer"}


async def test_a_device_that_was_away_is_checked_again(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    device.registers[90] = 0
    source = await opened(device.port, _device(template(_points(1), check=[_CHECK])), timeout_s=0.1)
    await source.read()
    device.silent_units = {1}
    assert await source.read() == []
    device.silent_units.clear()
    device.registers[90] = 1  # it came back with its simulation on
    assert {sample.quality for sample in await source.read()} == {Quality.BAD}


async def test_of_many_dead_devices_one_is_probed_at_a_time_and_in_turn(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    name = template(_points(1))
    dead = range(2, 7)
    devices = [_device(name, name=f"d{n}", asset=f"T{n}", unit_id=n) for n in range(1, 7)]
    device.silent_units = set(dead)
    source = await opened(device.port, *devices, timeout_s=0.02)
    for _ in range(2):
        assert len(await source.read()) == 1
    device.asked.clear()
    probes = []
    for _ in range(5 * PROBE_EVERY):
        device.asked.clear()
        assert len(await source.read()) == 1
        assert device.asked[0][0] == 1  # the living one comes first
        probes += [unit for unit, *_ in device.asked[1:]]
    assert sorted(probes) == list(dead)


async def test_a_probe_takes_less_than_half_a_poll(raw_device, opened, template) -> None:
    device = await raw_device("mbap")
    name = template(_points(1))
    device.silent_units = {2}
    devices = [_device(name, name=f"d{n}", asset=f"T{n}", unit_id=n) for n in (1, 2)]
    source = await opened(device.port, *devices, timeout_s=0.2, poll_period_s=0.2)
    for _ in range(2 + PROBE_EVERY - 1):
        await source.read()
    (_, sound), (_, probe) = source._turns()
    assert (sound, probe) == (0.2, pytest.approx(0.08))


def test_a_request_must_fit_into_the_poll() -> None:
    device = ModbusDevice(name="d", asset="T1", template="vaisala-opt100")
    with pytest.raises(ValueError, match="longer than poll_period_s"):
        ModbusLinkConfig(name="bay", host="h", timeout_s=2.0, devices=(device,))


def test_a_devices_own_maximum_must_hold_its_widest_value() -> None:
    with pytest.raises(ValueError, match="wider than a request of 1"):
        ModbusDevice(name="d", asset="T1", template="vaisala-opt100", max_registers=1)
