"""Simulated devices of the field benchmark, in a process of their own so that their CPU is never counted as a client's.

    python -m benchmarks.field_io.devices modbus --servers 10 --units 100 [--dead 10] [--asset-kind gas|sf6]
    python -m benchmarks.field_io.devices opcua --servers 1 --variables 1000 --period-s 0.5

One JSON line on standard output when all listen: `ports` (or `urls`) and `dead_ports`.  Every float of every device
is another number after each period.  `{"leak": n}` on standard input lets the n-th unit of a density sensor lose its
gas at once; the answer is the monotonic time (ns) of the first registers that show it.
"""

import argparse
import asyncio
import random
import sys
import time
from datetime import UTC, datetime

from hil_sim.lines import Lines
from hil_sim.modbus_plc import ModbusPlc
from hil_sim.opcua_plc import OpcuaPlc
from hil_sim.physics.gassing import combustible_sum_ul_l
from hil_sim.register_maps import MAPS

HOST = "127.0.0.1"
INDICATORS = ("SIML.Tmp", "STMP.EnvTmp", "SPTR.HPTmp", "MMXU.LodPu", "YLTC.TapPos")
LEAKED_BARA = 5.2  # between the alarm (5.4) and the lock-out value (5.0) of the benchmark's nameplate
FULL_BARA = 6.0


def variable_names(count: int) -> list[str]:
    """Node names of one OPC UA server: five indicators for each asset."""
    return [f"A{number // len(INDICATORS)}/{INDICATORS[number % len(INDICATORS)]}" for number in range(count)]


def gas_channels(rng: random.Random) -> dict[str, float]:
    """A healthy gas analysis with digits in every place, as a real one has."""
    gases = {"h2": 20.0, "ch4": 10.0, "c2h6": 10.0, "c2h4": 5.0, "c2h2": 0.3, "co": 300.0, "co2": 3000.0}
    gases = {gas: value * rng.uniform(0.98, 1.02) for gas, value in gases.items()}
    rest = {"moisture": 8.0, "chamber": 45.0 + rng.random(), "saturation": 7.0, "gas_pressure": 700.0}
    return gases | {"tdcg": combustible_sum_ul_l(gases)} | rest


def sf6_channels(rng: random.Random, pressure_bara: float) -> dict[str, float]:
    """A density sensor at 20 °C."""
    return {
        "temperature": 20.0 + rng.random() / 10,
        "frost_point": -38.0,
        "frost_point_atmospheric": -52.0,
        "moisture": 40.0,
        "pressure": pressure_bara,
        "density": 6.1 * pressure_bara,
        "pressure_20": pressure_bara,
    }


class ModbusFarm:
    """`servers` sockets of `units` units each, and some that accept and never answer."""

    def __init__(self, servers: int, units: int, dead: int, kind: str) -> None:
        self._kind = kind
        self._rng = random.Random(1)
        template = "vaisala-opt100" if kind == "gas" else "vaisala-dpt145"
        self._plcs = [ModbusPlc(dict.fromkeys(range(1, units + 1), MAPS[template])) for _ in range(servers)]
        self._units = units
        self._dead = dead
        self._pressure: dict[tuple[int, int], float] = {}

    async def start(self) -> dict[str, object]:
        """Listen everywhere."""
        for plc in self._plcs:
            await plc.start()
        silent = [await asyncio.start_server(_say_nothing, HOST, 0) for _ in range(self._dead)]
        self._silent = silent
        self.renew()
        return {
            "ports": [plc.port for plc in self._plcs],
            "dead_ports": [server.sockets[0].getsockname()[1] for server in silent],
        }

    def renew(self) -> None:
        """Another measurement in every device."""
        for server in range(len(self._plcs)):
            for unit in range(1, self._units + 1):
                self._show(server, unit)

    def leak(self, number: int) -> int:
        """The n-th unit loses gas; the monotonic time of the registers that show it."""
        server, unit = number // self._units, number % self._units + 1
        self._pressure[server, unit] = LEAKED_BARA
        self._show(server, unit)
        return time.monotonic_ns()

    def _show(self, server: int, unit: int) -> None:
        pressure = self._pressure.get((server, unit), FULL_BARA)
        gas = self._kind == "gas"
        channels = gas_channels(self._rng) if gas else sf6_channels(self._rng, pressure)
        self._plcs[server].show(unit, channels)


class OpcuaFarm:
    """`servers` OPC UA servers of `variables` variables each."""

    def __init__(self, servers: int, variables: int) -> None:
        self._names = variable_names(variables)
        units = dict.fromkeys(self._names, "-")
        self._servers = [OpcuaPlc(units, lambda: datetime.now(UTC)) for _ in range(servers)]
        self._turn = 0

    async def start(self) -> dict[str, object]:
        """Listen everywhere."""
        for server in self._servers:
            await server.start()
        return {"urls": [server.url for server in self._servers]}

    async def renew(self) -> None:
        """Another value in every variable."""
        self._turn += 1
        values = {name: self._turn + number / 7 for number, name in enumerate(self._names)}
        for server in self._servers:
            await server.show(values)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1024):
        pass
    writer.close()


async def run(options: argparse.Namespace) -> None:
    """Listen, say so, renew until standard input ends."""
    lines = Lines()
    lines.open()
    if options.protocol == "opcua":
        opcua = OpcuaFarm(options.servers, options.variables)
        lines.emit("ready", **await opcua.start())
    else:
        modbus = ModbusFarm(options.servers, options.units, options.dead, options.asset_kind)
        lines.emit("ready", **await modbus.start())

    async def renew() -> None:
        due = time.monotonic()
        while True:
            due = max(due + options.period_s, time.monotonic())
            if options.protocol == "opcua":
                await opcua.renew()
            else:
                modbus.renew()
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    renewing = asyncio.create_task(renew())
    async for command in lines.commands():
        lines.emit("leaked", unit=command["leak"], monotonic_ns=modbus.leak(int(command["leak"])))
    renewing.cancel()
    await lines.close()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=("modbus", "opcua"))
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--dead", type=int, default=0)
    parser.add_argument("--variables", type=int, default=1000)
    parser.add_argument("--asset-kind", choices=("gas", "sf6"), default="gas")
    parser.add_argument("--period-s", type=float, default=1.0)
    asyncio.run(run(parser.parse_args()))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
