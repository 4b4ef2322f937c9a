"""Decoding: true values come through exactly, wrongly assembled ones never as GOOD."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import Quality
from drivers.modbus_decode import decode_group, decode_register
from drivers.templates import Register, load_template

_DGA = load_template("vaisala-opt100").group[0]
_SF6 = load_template("vaisala-dpt145").group[0]
_COMBUSTIBLE = ("H2ppm", "CH4ppm", "C2H6ppm", "C2H4ppm", "C2H2ppm", "COppm")
_GASES = (*_COMBUSTIBLE, "CO2ppm")
_NAN = (0x0000, 0x7FC0)


def _words(value: float) -> tuple[int, int]:
    """float32, least significant word first, as the monitor sends it."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return low, high


def _analysis(gases: dict[str, float], *, moisture: float = 12.5, chamber: float = 41.3) -> dict[str, tuple[int, int]]:
    numbers = {f"SIML.{gas}": value for gas, value in gases.items()}
    numbers["SIML.CmbuGas"] = sum(gases[gas] for gas in _COMBUSTIBLE)
    numbers |= {"SIML.H2O": moisture, "SIML.ChmTmp": chamber}
    return {indicator: _words(value) for indicator, value in numbers.items()}


_TYPICAL = dict(zip(_GASES, (210.0, 43.0, 12.0, 102.0, 187.0, 390.5, 4100.0), strict=True))  # IEC TC10, inspected cases
_VALUE = st.floats(0.05, 90_000.0).map(lambda v: round(v, 2))
_VECTORS = st.tuples(*[_VALUE] * 7).map(lambda values: dict(zip(_GASES, values, strict=True)))


def test_a_float32_becomes_the_decimal_the_device_meant() -> None:
    register = _DGA.point[0]
    for text in ("0.1", "96.88", "447", "1e+06", "0.0073"):
        assert decode_register(register, _words(float(text)), "little") == float(text)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_loses_nothing(value: float) -> None:
    decoded = decode_register(_DGA.point[0], _words(value), "little")
    assert decoded is not None
    assert struct.pack(">f", decoded) == struct.pack(">f", value)


@pytest.mark.parametrize(
    ("datatype", "word", "expected"),
    [("int16", 0xFFF6, -1.0), ("uint16", 0xFFF6, 6552.6), ("int16", 0x8000, None), ("uint16", 251, 25.1)],
)
def test_scaled_integers_and_sentinels(datatype: str, word: int, expected: float | None) -> None:
    register = Register.model_validate(
        {"indicator": "STMP.Tmp", "register": 1, "datatype": datatype, "unit": "degC", "scale": 0.1}
        | {"unavailable": (-32768.0,)}
    )
    assert decode_register(register, (word,), "big") == pytest.approx(expected)


@given(_VECTORS, st.floats(0.5, 80).map(lambda v: round(v, 1)), st.floats(20, 60).map(lambda v: round(v, 2)))
@settings(max_examples=500, deadline=None)  # a loaded machine is no fault
def test_true_values_are_good_and_swapped_words_never_are(gases, moisture, chamber) -> None:
    words = _analysis(gases, moisture=moisture, chamber=chamber)
    right = decode_group(_DGA, words, "little")
    assert {reading.quality for reading in right.values()} == {Quality.GOOD}
    assert [right[f"SIML.{gas}"].value for gas in _GASES] == pytest.approx(list(gases.values()), rel=1e-6)
    swapped = decode_group(_DGA, words, "big")
    assert {reading.quality for reading in swapped.values()} == {Quality.BAD}
    assert {reading.value for reading in swapped.values()} == {None}


@given(st.floats(-30, 60), st.floats(5, 500), st.floats(1, 9))
@settings(max_examples=500, deadline=None)  # a loaded machine is no fault
def test_swapped_words_of_the_gas_density_sensor_are_never_good(tmp: float, h2o: float, pres20: float) -> None:
    numbers = {"SIMG.Tmp": round(tmp, 2) or 0.01, "SIMG.H2O": round(h2o), "SIMG.Pres20": round(pres20, 3)}
    numbers["SIMG.Pres"] = round(pres20 * (tmp + 273.15) / 293.15, 3)
    numbers["SIMG.Den"] = round(pres20 * 6.2, 2)
    words: dict[str, tuple[int, ...]] = {indicator: _words(value) for indicator, value in numbers.items()}
    words["status faults"] = (1,)
    assert {reading.quality for reading in decode_group(_SF6, words, "little").values()} == {Quality.GOOD}
    assert {reading.quality for reading in decode_group(_SF6, words, "big").values()} == {Quality.BAD}


def test_the_reason_names_point_registers_and_remedy() -> None:
    readings = decode_group(_DGA, _analysis(_TYPICAL), "big")
    reason = readings["SIML.H2ppm"].reason
    assert "SIML.CH4ppm" in reason
    assert "0x0000 0x422C" in reason
    assert "check word_order" in reason


def test_a_missing_value_is_bad_alone() -> None:
    words = _analysis(_TYPICAL) | {"SIML.H2O": _NAN}
    readings = decode_group(_DGA, words, "little")
    assert (readings["SIML.H2O"].quality, readings["SIML.H2O"].reason) == (Quality.BAD, "unavailable")
    others = {reading.quality for indicator, reading in readings.items() if indicator != "SIML.H2O"}
    assert others == {Quality.GOOD}


def test_a_total_that_is_not_its_parts_is_not_believed() -> None:
    words = _analysis(_TYPICAL) | {"SIML.H2ppm": _words(2100.0)}
    readings = decode_group(_DGA, words, "little")
    assert {reading.quality for reading in readings.values()} == {Quality.BAD}
    assert readings["SIML.CO2ppm"].reason.startswith("inconsistent: SIML.CmbuGas")


def test_the_total_is_not_checked_when_a_part_is_missing() -> None:
    words = _analysis(_TYPICAL) | {"SIML.COppm": _NAN, "SIML.CmbuGas": _words(1.0)}
    readings = decode_group(_DGA, words, "little")
    bad = {indicator for indicator, reading in readings.items() if reading.quality is not Quality.GOOD}
    assert bad == {"SIML.COppm"}


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), min_size=10, max_size=10))
def test_any_registers_give_a_quality(raw: list[tuple[int, int]]) -> None:
    words = {register.indicator: pair for register, pair in zip(_DGA.point, raw, strict=True)}
    for reading in decode_group(_DGA, words, "little").values():
        assert (reading.value is None) == (reading.quality is Quality.BAD)
        assert (reading.reason == "") == (reading.quality is Quality.GOOD)
