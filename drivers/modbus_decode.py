"""Registers of one group into values with a quality.  Pure; called by `drivers.modbus` for each reply.

Modbus carries no types: a wrong word order gives numbers, only wrong ones.  So a group is believed as a whole or
not at all: one implausible value, or a total that is not the sum of its parts, makes every value of it BAD.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from drivers.base import Quality
from drivers.templates import Group, Register, WordOrder

__all__ = ("Reading", "decode_group", "decode_register")

_HINT = "check word_order"


@dataclass(frozen=True, slots=True)
class Reading:
    """One decoded value; `value` is None unless the quality is GOOD."""

    value: float | None
    quality: Quality
    reason: str = ""


def decode_register(register: Register, words: Sequence[int], word_order: WordOrder) -> float | None:
    """The value in `register.unit`; None where the device says that it has none (NaN, infinity or a sentinel).

    A float32 becomes the shortest decimal that rounds to the same float32: a device that means 0.1 sends
    0.100000001490116…, and 0.1 is what belongs in limits, logs and comparisons.
    """
    raw: float
    if register.datatype == "float32":
        high_first = words if word_order == "big" else words[::-1]
        (raw,) = struct.unpack(">f", struct.pack(">HH", *high_first))
        if not math.isfinite(raw):
            return None
        raw = float(str(np.float32(raw)))
    elif register.datatype == "int16":
        (raw,) = struct.unpack(">h", struct.pack(">H", *words))
    else:
        raw = words[0]
    return None if raw in register.unavailable else raw * register.scale


def decode_group(group: Group, words: Mapping[str, Sequence[int]], word_order: WordOrder) -> dict[str, Reading]:
    """Decode the registers of every indicator of `group`; the result has the same keys as `words`."""
    values = {r.indicator: decode_register(r, words[r.indicator], word_order) for r in group.point}
    doubt = _implausible(group, words, values) or _inconsistent(group, values)
    readings: dict[str, Reading] = {}
    for indicator, value in values.items():
        if value is None:
            readings[indicator] = Reading(None, Quality.BAD, "unavailable")
        elif doubt:
            readings[indicator] = Reading(None, Quality.BAD, doubt)
        else:
            readings[indicator] = Reading(value, Quality.GOOD)
    return readings


def _implausible(group: Group, words: Mapping[str, Sequence[int]], values: Mapping[str, float | None]) -> str:
    for register in group.point:
        value = values[register.indicator]
        if value is None:
            continue
        too_low = register.low is not None and value < register.low
        too_high = register.high is not None and value > register.high
        if too_low or too_high or 0 < abs(value) < register.smallest:
            raw = " ".join(f"0x{word:04X}" for word in words[register.indicator])
            return f"implausible: {register.indicator} = {value:g} {register.unit} from registers {raw}; {_HINT}"
    return ""


def _inconsistent(group: Group, values: Mapping[str, float | None]) -> str:
    for rule in group.sum:
        total = values[rule.total]
        parts = [value for part in rule.parts if (value := values[part]) is not None]
        if total is None or len(parts) < len(rule.parts):
            continue
        expected = math.fsum(parts)
        if abs(total - expected) > rule.relative * abs(expected) + rule.absolute:
            return f"inconsistent: {rule.total} = {total:g} but its parts sum to {expected:g}; {_HINT}"
    return ""
