"""Where each simulated device keeps what: the makers' public register tables, by the simulator's own hand.

They are written here once more on purpose: the daemon's templates must be checked against a second hand, not against
themselves.  Numbers are those of the maker's table; `first_number` is the one that stands at address 0 on the wire.
What a table leaves open is assumed here too, and said.  Channel values in, registers out; called by
`hil_sim.modbus_plc`, `hil_sim.substation` and `hil_sim.truth`.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ("MAPS", "RegisterMap", "encode", "on_the_wire")

SENTINEL = 0x8000  # what some protection relays show in place of a value
READ_DISCRETE_INPUTS, READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS = 2, 3, 4
_FLOAT_WIRES = frozenset({"sentinel_nan", "sentinel_8000", "swap_words", "frozen"})


@dataclass(frozen=True, slots=True)
class RegisterMap:
    """Numbers of the first register of a float, of scaled whole numbers, and of words that never change."""

    floats: Mapping[str, int] = field(default_factory=dict)
    integers: Mapping[str, tuple[int, float]] = field(default_factory=dict)  # channel -> number, units in one count
    words: Mapping[int, int] = field(default_factory=dict)
    flags: tuple[int, ...] = ()  # discrete inputs that are set, by address
    blocks: tuple[range, ...] = ()  # numbers that can be read; outside lies exception 2
    first_number: int = 1
    function_code: int = READ_HOLDING_REGISTERS
    low_word_first: bool = True
    wires: frozenset[str] = _FLOAT_WIRES  # kinds of WireEvent that this device can be made to show

    @property
    def first(self) -> int:
        """Number of the first readable register."""
        return self.blocks[0].start

    @property
    def size(self) -> int:
        """Registers from the first to the last readable one."""
        return self.blocks[-1].stop - self.first


_SEL_BLOCKS = (range(171, 188), range(200, 220))
_M10_STATUSES = (53, 55, 61, 91, 96, 101, 106, 111)
_WHOLE = frozenset({"frozen"})  # a single word has no order, and no bit pattern that says "no value"

MAPS: Mapping[str, RegisterMap] = MappingProxyType(
    {
        "vaisala-opt100": RegisterMap(
            floats={
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
            },
            blocks=(range(21, 45),),
        ),
        "vaisala-dpt145": RegisterMap(
            floats={
                "temperature": 5,
                "frost_point": 7,
                "frost_point_atmospheric": 11,
                "moisture": 21,
                "pressure": 45,
                "density": 47,
                "pressure_20": 49,
            },
            words={513: 1},  # 1: no fault
            blocks=(range(1, 51), range(513, 518)),
        ),
        # Input registers and discrete inputs from 0; inputs 14 to 16 call the values valid.  Word order is assumed.
        "mr-msense": RegisterMap(
            floats={"co": 0, "h2": 2, "moisture": 4, "oil": 6},
            flags=(14, 15, 16),
            blocks=(range(8),),
            first_number=0,
            function_code=READ_INPUT_REGISTERS,
            low_word_first=False,
        ),
        # Groups of status, ppm and three rates; status 1 and numbers that are addresses are assumed.
        "abb-coresense-m10": RegisterMap(
            integers={
                "activity": (56, 0.001),
                "moisture": (57, 1.0),
                "h2": (62, 1.0),
                "c2h6": (92, 1.0),
                "tdcg": (97, 1.0),
                "c3h6": (102, 1.0),
                "c3h8": (107, 1.0),
                "oil": (112, 1.0),
            },
            words=dict.fromkeys(_M10_STATUSES, 1),
            blocks=(range(53, 116),),
            first_number=0,
            wires=_WHOLE,
        ),
        # Which register is which phase is assumed: magnitude and angle in turn, then what is reserved.
        "sel-2414": RegisterMap(
            integers={
                "current_a": (200, 1.0),
                "angle_a": (201, 0.1),
                "current_b": (202, 1.0),
                "angle_b": (203, 0.1),
                "current_c": (204, 1.0),
                "angle_c": (205, 0.1),
            },
            words=dict.fromkeys(range(206, 220), SENTINEL),
            blocks=_SEL_BLOCKS,
            first_number=0,
            wires=frozenset({"frozen", "sentinel_8000"}),
        ),
        "eaton-tc-50": RegisterMap(
            integers={
                "winding_1": (40007, 1.0),
                "winding_2": (40008, 1.0),
                "winding_3": (40009, 1.0),
                "ambient": (40010, 1.0),
            },
            blocks=(range(40007, 40019),),
            first_number=40001,
            wires=_WHOLE,
        ),
        # Set points as a commissioning engineer may have left them; which is which is not in the public table.
        "qualitrol-118": RegisterMap(
            words={40010: 65, 40011: 80, 40012: 95, 40013: 5, 40014: 5, 40015: 5},
            blocks=(range(40008, 40016),),
            first_number=40001,
            wires=_WHOLE,
        ),
    }
)


def encode(register_map: RegisterMap, channels: Mapping[str, float], *, wire: str = "wire_ok") -> list[int]:
    """Registers from the map's first to its last for these channel values.

    `wire` is "wire_ok", "sentinel_nan" (every float unavailable), "sentinel_8000" or "swap_words" (the other word of a
    float first).  Float registers in a readable block that no channel fills are NaN, as Vaisala does it.
    """
    registers = [0] * register_map.size
    first, low_first = register_map.first, register_map.low_word_first != (wire == "swap_words")
    if register_map.floats:
        for number in range(first, register_map.blocks[0].stop - 1, 2):
            _put(registers, number - first, math.nan, low_first=low_first)
    for channel, number in register_map.floats.items():
        value = math.nan if wire == "sentinel_nan" else channels[channel]
        _put(registers, number - first, value, low_first=low_first)
        if wire == "sentinel_8000":
            registers[number - first : number - first + 2] = (SENTINEL, SENTINEL)
    for channel, (number, units) in register_map.integers.items():
        value = channels[channel]
        known = math.isfinite(value) and wire != "sentinel_8000"
        registers[number - first] = round(value / units) & 0xFFFF if known else SENTINEL
    for number, word in register_map.words.items():
        registers[number - first] = word
    return registers


def on_the_wire(register_map: RegisterMap, channel: str, value: float) -> float:
    """What a reader can know of a channel's value: the register's resolution takes the rest."""
    if channel not in register_map.integers:
        return value
    _, units = register_map.integers[channel]
    return round(value / units) * units


def _put(registers: list[int], offset: int, value: float, *, low_first: bool) -> None:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    registers[offset : offset + 2] = (low, high) if low_first else (high, low)
