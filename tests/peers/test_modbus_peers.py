"""Modbus against three stacks that nobody here wrote: npm modbus-serial, Debian's libmodbus and its client mbpoll."""

import json
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.modbus import ModbusDevice, ModbusLinkConfig, ModbusSource
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.register_maps import MAPS

HERE = Path(__file__).parent
# Address on the wire -> number, as both servers hold them.
GASES = {"CH4ppm": 44.0, "C2H2ppm": 5.0, "C2H4ppm": 22.0, "C2H6ppm": 11.0, "COppm": 110.0, "CO2ppm": 1500.0}
GASES |= {"CmbuGas": 225.0, "H2ppm": 33.0, "H2O": 9.5, "ChmTmp": 41.3}
CHANNELS = {"ch4": 44.0, "c2h2": 5.0, "c2h4": 22.0, "c2h6": 11.0, "co": 110.0, "co2": 1500.0, "tdcg": 225.0}
CHANNELS |= {"h2": 33.0, "moisture": 9.5, "chamber": 41.3, "saturation": 7.0, "gas_pressure": 700.0}


@pytest.fixture
async def plc() -> AsyncIterator[ModbusPlc]:
    plc = ModbusPlc({1: MAPS["vaisala-opt100"]})
    await plc.start()
    plc.show(1, CHANNELS)
    yield plc
    await plc.stop()


async def _read(port: int) -> None:
    device = ModbusDevice(name="d", asset="T1", unit_id=1, template="vaisala-opt100")
    config = ModbusLinkConfig(
        name="peer", host="127.0.0.1", port=port, timeout_s=5, poll_period_s=5.0, devices=(device,)
    )
    source = ModbusSource(config, SystemClock())
    await source.open()
    try:
        for _ in range(3):
            samples = await source.read()
            assert {sample.quality for sample in samples} == {Quality.GOOD}
            assert {sample.point_id: sample.value for sample in samples} == {
                f"T1/SIML.{name}": value for name, value in GASES.items()
            }
    finally:
        await source.close()


async def test_our_driver_reads_a_server_of_modbus_serial(npm: Any, start: Any, free_port: int) -> None:
    await start(npm("modbus-serial"), HERE / "modbus_serial.js", "server", str(free_port))
    await _read(free_port)


async def test_our_driver_reads_a_server_of_libmodbus(start: Any, free_port: int) -> None:
    ctypes = pytest.importorskip("ctypes")
    try:
        ctypes.CDLL("libmodbus.so.5")
    except OSError:
        pytest.skip("no libmodbus here; `make peers` installs it")
    await start(sys.executable, HERE / "libmodbus_server.py", str(free_port))
    await _read(free_port)


async def test_modbus_serial_reads_the_simulator_and_cannot_write(npm: Any, ask: Any, plc: ModbusPlc) -> None:
    code, printed = await ask(npm("modbus-serial"), HERE / "modbus_serial.js", "client", str(plc.port), "20", "2")
    words, answer = printed.splitlines()
    low, high = json.loads(words)
    assert (code, struct.unpack(">f", struct.pack(">HH", high, low))[0]) == (0, 44.0)
    assert answer.startswith("refused: exception ")


async def test_mbpoll_reads_the_simulator(program: Any, ask: Any, plc: ModbusPlc) -> None:
    options = ("-m", "tcp", "-p", str(plc.port), "-a", "1", "-t", "4:float", "-r", "21", "-c", "10", "-1")
    code, printed = await ask(program("mbpoll"), *options, "127.0.0.1")
    shown = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("[")]
    assert (code, shown) == (0, pytest.approx(list(GASES.values())))


async def test_mbpoll_is_told_where_nothing_can_be_read(program: Any, ask: Any, plc: ModbusPlc) -> None:
    options = ("-m", "tcp", "-p", str(plc.port), "-a", "1", "-t", "4", "-r", "500", "-1")
    code, printed = await ask(program("mbpoll"), *options, "127.0.0.1")
    assert (code == 0, "Illegal data address" in printed) == (False, True)
