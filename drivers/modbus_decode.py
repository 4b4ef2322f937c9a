"""Registers of one group into values with a quality.  Pure; called by `drivers.modbus` for each reply.

Modbus carries no types: a wrong word order gives numbers, only wrong ones.  So a group is believed as a whole or
not at all: one implausible value, or a total that is not the sum of its parts, makes every value of it BAD.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from drivers.base import Quality, Value
from drivers.templates import STRING_MAX, Check, Group, Location, Order, Register, StatusRule, WordOrder

__all__ = ("Reading", "decode_check", "decode_group", "decode_register", "status_key")

_HINT = "check word_order"
_CODES = {"int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q"}
_CODES |= {"float32": ">f", "float64": ">d", "bit": ">H"}
_UNPACK = {datatype: struct.Struct(code).unpack for datatype, code in _CODES.items()}
_PACK = {(size, sign): struct.Struct(f"{sign}{size}H").pack for size in range(1, STRING_MAX // 2 + 1) for sign in "<>"}


class Reading(NamedTuple):
    """One decoded value; `value` is None where the quality is BAD."""

    value: Value
    quality: Quality
    reason: str = ""


class _Undecodable(ValueError):
    """Registers that hold nothing of the declared type.  Never leaves this module."""


def status_key(rule: StatusRule) -> str:
    """Under which key `decode_group` looks for the registers of a status rule."""
    return f"status {rule.name}"


def decode_register(register: Register, words: Sequence[int], word_order: WordOrder) -> Value:
    """The value in `register.unit`; None where the device says that it has none (NaN, infinity or a sentinel).

    A float32 becomes the shortest decimal that rounds to the same float32: a device that means 0.1 sends
    0.100000001490116…, and 0.1 is what belongs in limits, logs and comparisons.  Raises ValueError for registers
    that hold nothing of the declared type.
    """
    raw = _raw(register, words, word_order)
    if register.unavailable_bits and int.from_bytes(_bytes(register, words, word_order)) in register.unavailable_bits:
        return None
    if raw is None or isinstance(raw, bool | str):
        return raw
    if raw in register.unavailable:
        return None
    if register.scale == 1.0 and register.offset == 0.0:
        return raw
    return raw * register.scale + register.offset


def decode_group(group: Group, words: Mapping[str, Sequence[int]], word_order: WordOrder) -> dict[str, Reading]:
    """Decode every indicator of `group` from its registers and those of the status rules (`status_key`).

    What is missing in `words` is BAD: the device does not have that register.
    """
    values: dict[str, Value] = {}
    faults: dict[str, Reading] = {}
    for register in group.point:
        indicator = register.indicator
        try:
            values[indicator] = decode_register(register, words[indicator], word_order)
        except KeyError:
            faults[indicator] = Reading(None, Quality.BAD, f"register {register.register_} does not answer")
        except _Undecodable as err:
            faults[indicator] = Reading(None, Quality.BAD, str(err))
    doubt = _implausible(group, words, values) or _inconsistent(group, values)
    doubted = _by_status(group, words, word_order)
    readings: dict[str, Reading] = {}
    for register in group.point:
        indicator = register.indicator
        value = values.get(indicator)
        if indicator in faults:
            readings[indicator] = faults[indicator]
        elif value is None:
            readings[indicator] = Reading(None, Quality.BAD, "unavailable")
        elif doubt:
            readings[indicator] = Reading(None, Quality.BAD, doubt)
        elif indicator in doubted:
            quality, reason = doubted[indicator]
            readings[indicator] = Reading(None if quality is Quality.BAD else value, quality, reason)
        else:
            readings[indicator] = Reading(value, Quality.GOOD)
    return readings


def decode_check(check: Check, words: Sequence[int], word_order: WordOrder) -> str:
    """Why the register of a check is not as expected; empty where it is."""
    try:
        found = _raw(check, words, word_order)
    except _Undecodable as err:
        return f"{check.text}: {err}"
    for expected in check.expected:
        if isinstance(expected, str) or isinstance(found, str):
            if found == expected:
                return ""
        elif found is not None and abs(found - expected) <= check.tolerance:
            return ""
    wanted = " or ".join(f"{expected:g}" if isinstance(expected, float) else expected for expected in check.expected)
    return f"{check.text}: register {check.register_} is {found}, expected {wanted}"


def _bytes(location: Location, words: Sequence[int], word_order: WordOrder) -> bytes:
    """The bytes of a value, the most significant first; a string has an order of bytes, but none of words."""
    order: Order = location.order or ("ABCD" if word_order == "big" else "CDAB")
    if order in ("CDAB", "DCBA") and location.datatype != "string":
        words = words[::-1]
    return _PACK[len(words), "<" if order in ("BADC", "DCBA") else ">"](*words)


def _raw(location: Location, words: Sequence[int], word_order: WordOrder) -> float | int | bool | str | None:
    datatype = location.datatype
    if datatype == "bool":
        return bool(words[0])
    data = _bytes(location, words, word_order)
    unpack = _UNPACK.get(datatype)
    if unpack is None:
        return _text(data[: location.length]) if datatype == "string" else _bcd(data)
    (raw,) = unpack(data)
    if datatype == "bit":
        return bool(raw >> location.bit & 1)
    if datatype in ("float32", "float64") and not math.isfinite(raw):
        return None
    number: float | int = float(str(np.float32(raw))) if datatype == "float32" else raw
    return number


def _text(data: bytes) -> str | None:
    text = data.split(b"\0")[0].decode("latin-1").strip()
    if not text:
        return None
    if not text.isprintable():
        raise _Undecodable(f"no text: {data.hex(' ')}")
    return text


def _bcd(data: bytes) -> int:
    digits = data.hex()
    if not digits.isdecimal():
        raise _Undecodable(f"no binary-coded decimal: 0x{digits}")
    return int(digits)


def _by_status(
    group: Group, words: Mapping[str, Sequence[int]], word_order: WordOrder
) -> dict[str, tuple[Quality, str]]:
    """What the status registers say against their neighbours; the worst word on each counts."""
    doubted: dict[str, tuple[Quality, str]] = {}
    for rule in group.status:
        found = words.get(status_key(rule))
        if found is None:
            quality, reason = Quality.BAD, f"status register {rule.register_} does not answer"
        else:
            raw = _raw(rule, found, word_order)
            assert isinstance(raw, int), "a status rule has an integer datatype"
            if raw & rule.mask in rule.good:
                continue
            quality, reason = Quality(rule.quality), f"{rule.text} (status register {rule.register_} = 0x{raw:X})"
        for indicator in rule.points or [register.indicator for register in group.point]:
            if indicator not in doubted or quality is Quality.BAD:
                doubted[indicator] = quality, reason
    return doubted


def _implausible(group: Group, words: Mapping[str, Sequence[int]], values: Mapping[str, Value]) -> str:
    for register in group.point:
        value = values.get(register.indicator)
        if value is None or isinstance(value, bool | str):
            continue
        too_low = register.low is not None and value < register.low
        too_high = register.high is not None and value > register.high
        if too_low or too_high or 0 < abs(value) < register.smallest:
            raw = " ".join(f"0x{word:04X}" for word in words[register.indicator])
            return f"implausible: {register.indicator} = {value:g} {register.unit} from registers {raw}; {_HINT}"
    return ""


def _inconsistent(group: Group, values: Mapping[str, Value]) -> str:
    for rule in group.sum:
        total = values.get(rule.total)
        parts = [value for part in rule.parts if isinstance(value := values.get(part), int | float)]
        if not isinstance(total, int | float) or len(parts) < len(rule.parts):
            continue
        expected = math.fsum(parts)
        if abs(total - expected) > rule.relative * abs(expected) + rule.absolute:
            return f"inconsistent: {rule.total} = {total:g} but its parts sum to {expected:g}; {_HINT}"
    return ""
