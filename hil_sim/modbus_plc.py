"""Simulated measuring devices as Modbus TCP servers: channels in, registers on a loopback socket out.

Each device answers the one function code that its map names, and function code 02 where it has discrete inputs; it
takes no writes.  Called by `hil_sim.control` and `hil_sim.replay`.
"""

import asyncio
import logging
import math
from collections.abc import Mapping
from functools import partial

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from hil_sim.errors import SimError
from hil_sim.register_maps import READ_DISCRETE_INPUTS, READ_INPUT_REGISTERS, RegisterMap, encode

__all__ = ("ModbusPlc",)

HOST = "127.0.0.1"
UNUSED_UNIT_REGISTERS = 1024  # what a request to an absent unit may ask for before it is told that nobody is there

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a refused request is the client's affair


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
        zero = register_map.first_number
        blocks = [
            SimData(block.start - zero, count=len(block), datatype=DataType.REGISTERS) for block in register_map.blocks
        ]
        action = partial(self._answer, unit_id)
        if not register_map.flags:
            return SimDevice(unit_id, simdata=blocks, action=action)
        shown = [address in register_map.flags for address in range(max(register_map.flags) + 1)]
        flags, none = SimData(0, values=shown, datatype=DataType.BITS), SimData(0, datatype=DataType.BITS)
        other = [SimData(0, datatype=DataType.REGISTERS)]
        holding, inputs = (other, blocks) if register_map.function_code == READ_INPUT_REGISTERS else (blocks, other)
        return SimDevice(unit_id, simdata=([none], [flags], holding, inputs), action=action)

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
        if function_code == READ_DISCRETE_INPUTS and self._maps[unit_id].flags:
            return None  # they stand as they are
        if function_code != self._maps[unit_id].function_code:
            return ExcCodes.ILLEGAL_FUNCTION
        bank = self._banks[unit_id]
        registers[: len(bank)] = bank
        return None


def _encode_nothing(register_map: RegisterMap) -> list[int]:
    """Registers of a device that has not measured yet: every float NaN."""
    return encode(register_map, dict.fromkeys([*register_map.floats, *register_map.integers], math.nan))


def _nobody() -> SimDevice:
    async def refuse(*_: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    registers = SimData(0, count=UNUSED_UNIT_REGISTERS, datatype=DataType.REGISTERS)
    return SimDevice(0, simdata=[registers], action=refuse)
