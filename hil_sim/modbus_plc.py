"""Simulated measuring devices as Modbus TCP servers: channels in, registers on a loopback socket out.

The register maps are the makers' public ones, written here once more on purpose: the daemon's templates must be
checked against a second hand, not against themselves.  Numbers are float32, least significant word first, at
1-based register numbers (address on the wire = number - 1); NaN means unavailable.  Function code 03 alone.
Called by `hil_sim.control` and `hil_sim.replay`.
"""

import asyncio
import logging
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hil_sim.errors import SimError

__all__ = ("MAPS", "ModbusPlc", "RegisterMap", "encode")

HOST = "127.0.0.1"
READ_HOLDING_REGISTERS = 3
SENTINEL = 0x8000  # what some protection relays show in place of a value
UNUSED_UNIT_REGISTERS = 1024  # what a request to an absent unit may ask for before it is told that nobody is there

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a refused request is the client's affair


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """Where a device keeps what: 1-based numbers of the first register of a float, and of single words."""

    floats: Mapping[str, int]
    words: Mapping[int, int]
    blocks: tuple[range, ...]  # 1-based numbers that can be read; outside lies exception 2

    @property
    def first(self) -> int:
        """Number of the first readable register."""
        return self.blocks[0].start

    @property
    def size(self) -> int:
        """Registers from the first to the last readable one."""
        return self.blocks[-1].stop - self.first


MAPS = MappingProxyType(
    {
        "vaisala-opt100": RegisterMap(
            floats=MappingProxyType(
                {
                    "ch4": 21,
                    "c2h2": 23,
                    "c2h4": 25,
                    "c2h6": 27,
                    "co": 29,
                    "co2": 31,
                    "tdcg": 33,
                    "h2": 35,
                    "moisture": 37,
                    "chamber": 39,
                    "saturation": 41,
                    "gas_pressure": 43,
                }
            ),
            words=MappingProxyType({}),
            blocks=(range(21, 45),),
        ),
        "vaisala-dpt145": RegisterMap(
            floats=MappingProxyType(
                {
                    "temperature": 5,
                    "frost_point": 7,
                    "frost_point_atmospheric": 11,
                    "moisture": 21,
                    "pressure": 45,
                    "density": 47,
                    "pressure_20": 49,
                }
            ),
            words=MappingProxyType({513: 1}),  # 1: no fault
            blocks=(range(1, 51), range(513, 518)),
        ),
    }
)


def encode(register_map: RegisterMap, channels: Mapping[str, float], *, wire: str = "wire_ok") -> list[int]:
    """Registers from the map's first to its last for these channel values.

    `wire` is "wire_ok", "sentinel_nan" (every float unavailable), "sentinel_8000" or "swap_words" (most significant
    word first).  Float registers in a readable block that no channel fills are NaN, as the maker does it.
    """
    registers = [0] * register_map.size
    for number in range(register_map.blocks[0].start, register_map.blocks[0].stop, 2):
        _put(registers, number - register_map.first, math.nan, wire)
    for channel, number in register_map.floats.items():
        value = math.nan if wire == "sentinel_nan" else channels[channel]
        _put(registers, number - register_map.first, value, wire)
    for number, word in register_map.words.items():
        registers[number - register_map.first] = word
    return registers


def _put(registers: list[int], offset: int, value: float, wire: str) -> None:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    if wire == "sentinel_8000":
        high = low = SENTINEL
    registers[offset : offset + 2] = (high, low) if wire == "swap_words" else (low, high)


class ModbusPlc:
    """One Modbus TCP server with one or more units; it can die and come back at the same port."""

    def __init__(self, units: Mapping[int, RegisterMap], *, host: str = HOST, port: int = 0) -> None:
        """One register map per unit id (1…247); port 0 takes any that is free."""
        self._maps = dict(units)
        self._banks = {unit_id: _encode_nothing(register_map) for unit_id, register_map in units.items()}
        self._server: ModbusTcpServer | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.host = host
        self.port = port

    @property
    def running(self) -> bool:
        """Whether the socket listens."""
        return self._server is not None

    async def start(self) -> None:
        """Listen: at a free port the first time, at the same one afterwards.  Raises SimError when it is taken."""
        if self._server is not None:
            return
        devices = [self._sim_device(unit_id, register_map) for unit_id, register_map in self._maps.items()]
        server = self._server = ModbusTcpServer([*devices, _nobody()], address=(self.host, self.port))
        try:
            await server.serve_forever(background=True)
        except RuntimeError as err:
            self._server = None
            raise SimError(f"cannot listen on {self.host}:{self.port}") from err
        assert isinstance(server.transport, asyncio.Server), "a listening TCP server holds asyncio's server object"
        self.port = server.transport.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """Take requests and answer none, until `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Answer again, what has been asked meanwhile too."""
        self._flowing.set()

    async def stop(self) -> None:
        """Close the listener and cut every connection."""
        server, self._server = self._server, None
        if server is not None:
            await server.shutdown()  # type: ignore[no-untyped-call]

    def show(self, unit_id: int, channels: Mapping[str, float], *, wire: str = "wire_ok") -> None:
        """Renew all registers of a unit at once: a reader sees the whole old cycle or the whole new one."""
        self._banks[unit_id] = encode(self._maps[unit_id], channels, wire=wire)

    def silence(self) -> None:
        """Make every float of every unit unavailable."""
        self._banks = {unit_id: _encode_nothing(register_map) for unit_id, register_map in self._maps.items()}

    def _sim_device(self, unit_id: int, register_map: RegisterMap) -> SimDevice:
        blocks = [
            SimData(block.start - 1, count=len(block), datatype=DataType.REGISTERS) for block in register_map.blocks
        ]
        return SimDevice(unit_id, simdata=blocks, action=partial(self._answer, unit_id))

    async def _answer(
        self,
        unit_id: int,
        function_code: int,
        _start: int,
        _address: int,
        _count: int,
        registers: list[int],
        _written: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Fill the server's registers for this request; behind the gate nothing awaits before the reply's slice."""
        await self._flowing.wait()
        if function_code != READ_HOLDING_REGISTERS:
            return ExcCodes.ILLEGAL_FUNCTION
        bank = self._banks[unit_id]
        registers[: len(bank)] = bank
        return None


def _encode_nothing(register_map: RegisterMap) -> list[int]:
    """Registers of a device that has not measured yet: every float NaN."""
    return encode(register_map, dict.fromkeys(register_map.floats, math.nan))


def _nobody() -> SimDevice:
    async def refuse(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    registers = SimData(0, count=UNUSED_UNIT_REGISTERS, datatype=DataType.REGISTERS)
    return SimDevice(0, simdata=[registers], action=refuse)
