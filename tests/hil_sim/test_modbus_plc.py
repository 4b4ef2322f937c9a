import asyncio
import math
import struct
from contextlib import asynccontextmanager

import pytest
from pymodbus.client import AsyncModbusTcpClient

from hil_sim.errors import SimError
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import MAPS

# Register numbers of the makers' public maps, worked by hand: address on the wire = number - 1.
OPT100_H2_ADDRESS = 34
OPT100_C2H2_ADDRESS = 22
OPT100_FIRST, OPT100_COUNT = 20, 24
DPT145_DENSITY_ADDRESS = 46
DPT145_PNORM_ADDRESS = 48
DPT145_FAULT_ADDRESS = 512

OPT100 = {
    "ch4": 43.0,
    "c2h2": 187.0,
    "c2h4": 102.0,
    "c2h6": 12.0,
    "co": 300.0,
    "co2": 3000.0,
    "tdcg": 854.0,
    "h2": 210.0,
    "moisture": 8.0,
    "chamber": 45.0,
    "saturation": 5.5,
    "gas_pressure": 700.0,
}
DPT145 = {
    "temperature": 15.0,
    "frost_point": -38.0,
    "frost_point_atmospheric": -52.0,
    "moisture": 40.0,
    "pressure": 5.85,
    "density": 38.9,
    "pressure_20": 6.0,
}


@asynccontextmanager
async def serving(units, shown):
    plc = ModbusPlc(units)
    await plc.start()
    for unit_id, channels in shown.items():
        plc.show(unit_id, channels)
    client = AsyncModbusTcpClient(plc.host, port=plc.port, timeout=5, retries=0, reconnect_delay=0)
    try:
        assert await client.connect()
        yield plc, client
    finally:
        client.close()
        await plc.stop()


def least_significant_first(registers):
    low, high = registers
    return struct.unpack(">f", struct.pack(">HH", high, low))[0]


async def floats(client, address, unit_id=1):
    reply = await client.read_holding_registers(address, count=2, device_id=unit_id)
    assert not reply.isError()
    return least_significant_first(reply.registers)


async def test_gas_monitor_registers_at_their_published_places():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: OPT100}) as (_, client):
        assert await floats(client, OPT100_H2_ADDRESS) == 210.0
        assert await floats(client, OPT100_C2H2_ADDRESS) == 187.0
        reply = await client.read_holding_registers(OPT100_FIRST, count=OPT100_COUNT)
    values = [least_significant_first(reply.registers[i : i + 2]) for i in range(0, OPT100_COUNT, 2)]
    assert values == [43.0, 187.0, 102.0, 12.0, 300.0, 3000.0, 854.0, 210.0, 8.0, 45.0, 5.5, 700.0]


async def test_float_210_is_0x4352_0000_with_the_low_word_first():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: OPT100}) as (plc, client):
        right = (await client.read_holding_registers(OPT100_H2_ADDRESS, count=2)).registers
        plc.show(1, OPT100, wire="swap_words")
        swapped = (await client.read_holding_registers(OPT100_H2_ADDRESS, count=2)).registers
        plc.show(1, OPT100, wire="sentinel_8000")
        sentinel = (await client.read_holding_registers(OPT100_H2_ADDRESS, count=2)).registers
    assert right == [0x0000, 0x4352]
    assert swapped == [0x4352, 0x0000]
    assert sentinel == [0x8000, 0x8000]


async def test_density_sensor_registers_at_their_published_places():
    async with serving({1: MAPS["vaisala-dpt145"]}, {1: DPT145}) as (_, client):
        assert await floats(client, 4) == 15.0
        assert await floats(client, 6) == -38.0
        assert await floats(client, 20) == 40.0
        assert await floats(client, 44) == pytest.approx(5.85)
        assert await floats(client, DPT145_DENSITY_ADDRESS) == pytest.approx(38.9)
        assert await floats(client, DPT145_PNORM_ADDRESS) == 6.0
        assert math.isnan(await floats(client, 8))  # a place in the block that no channel fills
        assert (await client.read_holding_registers(DPT145_FAULT_ADDRESS, count=1)).registers == [1]


async def test_unavailable_is_nan_before_the_first_cycle_and_on_a_nan_fault():
    async with serving({1: MAPS["vaisala-opt100"]}, {}) as (plc, client):
        assert math.isnan(await floats(client, OPT100_H2_ADDRESS))
        plc.show(1, OPT100)
        assert await floats(client, OPT100_H2_ADDRESS) == 210.0
        plc.show(1, OPT100, wire="sentinel_nan")
        assert math.isnan(await floats(client, OPT100_H2_ADDRESS))


async def test_a_reader_never_sees_half_a_cycle():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: dict.fromkeys(OPT100, 0.0)}) as (plc, client):
        stop = asyncio.Event()

        async def renew():
            cycle = 0
            while not stop.is_set():
                cycle += 1
                plc.show(1, dict.fromkeys(OPT100, float(cycle)))
                await asyncio.sleep(0)

        renewing = asyncio.create_task(renew())
        seen = []
        for _ in range(200):
            reply = await client.read_holding_registers(OPT100_FIRST, count=OPT100_COUNT)
            seen.append({least_significant_first(reply.registers[i : i + 2]) for i in range(0, OPT100_COUNT, 2)})
        stop.set()
        await renewing
    assert {len(values) for values in seen} == {1}
    assert len(set(map(frozenset, seen))) > 100


async def test_reads_outside_the_map_and_writes_are_refused():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: OPT100}) as (_, client):
        outside = await client.read_holding_registers(OPT100_FIRST - 1, count=2)
        behind = await client.read_holding_registers(OPT100_FIRST + OPT100_COUNT, count=1)
        write = await client.write_registers(OPT100_FIRST, [1, 2])
        single = await client.write_register(OPT100_FIRST, 1)
        inputs = await client.read_input_registers(OPT100_FIRST, count=2)
        assert await floats(client, OPT100_H2_ADDRESS) == 210.0
    assert (outside.exception_code, behind.exception_code) == (2, 2)
    assert (write.exception_code, single.exception_code, inputs.exception_code) == (1, 1, 1)


async def test_many_units_share_a_server_and_an_absent_one_does_not_answer():
    units = dict.fromkeys(range(1, 101), MAPS["vaisala-opt100"])
    shown = {unit_id: OPT100 | {"h2": float(unit_id)} for unit_id in units}
    async with serving(units, shown) as (_, client):
        assert [await floats(client, OPT100_H2_ADDRESS, unit_id) for unit_id in (1, 57, 100)] == [1.0, 57.0, 100.0]
        absent = await client.read_holding_registers(OPT100_H2_ADDRESS, count=2, device_id=101)
    assert absent.exception_code == 0x0B


async def test_a_dead_device_cuts_its_clients_and_returns_at_the_same_port():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: OPT100}) as (plc, _):
        port = plc.port
        reader, writer = await asyncio.open_connection(plc.host, port)
        await plc.stop()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert not plc.running
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection(plc.host, port)
        await plc.start()
        await plc.start()  # an order that is already fulfilled
        assert plc.port == port
        again = AsyncModbusTcpClient(plc.host, port=port, timeout=5, retries=0, reconnect_delay=0)
        assert await again.connect()
        assert await floats(again, OPT100_H2_ADDRESS) == 210.0
        again.close()


async def test_a_taken_port_is_named():
    async with serving({1: MAPS["vaisala-opt100"]}, {}) as (plc, _):
        second = ModbusPlc({1: MAPS["vaisala-opt100"]})
        second.port = plc.port
        with pytest.raises(SimError, match=f"cannot listen on 127.0.0.1:{plc.port}"):
            await second.start()
        assert not second.running


async def test_a_frozen_line_takes_requests_and_answers_when_it_thaws():
    async with serving({1: MAPS["vaisala-opt100"]}, {1: OPT100}) as (plc, client):
        plc.freeze()
        asking = asyncio.ensure_future(client.read_holding_registers(OPT100_H2_ADDRESS, count=2, device_id=1))
        _, waiting = await asyncio.wait({asking}, timeout=0.2)
        assert waiting == {asking}
        plc.thaw()
        assert least_significant_first((await asking).registers) == 210.0
