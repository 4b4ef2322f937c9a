"""Every type in every order from registers to values, and what makes a value BAD: by hand-worked registers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Quality
from drivers.modbus_decode import decode_check, decode_group, decode_register, status_key
from drivers.modbus_plan import items, plan, requests, split
from drivers.templates import Check, Group, Register, Template

_WHERE = {"indicator": "MMXU.V", "register": 1, "unit": "-"}


def _register(**more: object) -> Register:
    return Register.model_validate(_WHERE | more)


# 0x11223344 = 287454020; the four orders as a maker would print them.
@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1122, 0x3344]),
        ("CDAB", [0x3344, 0x1122]),
        ("BADC", [0x2211, 0x4433]),
        ("DCBA", [0x4433, 0x2211]),
    ],
)
def test_the_four_orders_of_32_bits(order: str, words: list[int]) -> None:
    assert decode_register(_register(datatype="uint32", order=order), words, "big") == 0x11223344


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("ABCD", [0x1122, 0x3344, 0x5566, 0x7788]),
        ("CDAB", [0x7788, 0x5566, 0x3344, 0x1122]),
        ("BADC", [0x2211, 0x4433, 0x6655, 0x8877]),
        ("DCBA", [0x8877, 0x6655, 0x4433, 0x2211]),
    ],
)
def test_the_four_orders_of_64_bits(order: str, words: list[int]) -> None:
    assert decode_register(_register(datatype="uint64", order=order), words, "little") == 0x1122334455667788


@pytest.mark.parametrize(
    ("more", "words", "value"),
    [
        ({"datatype": "bool", "function_code": 1}, [1], True),
        ({"datatype": "bit", "bit": 0}, [0xFFFE], False),
        ({"datatype": "bit", "bit": 15}, [0x8000], True),
        ({"datatype": "int16"}, [0xFFFF], -1),
        ({"datatype": "int16", "order": "DCBA"}, [0x0100], 1),
        ({"datatype": "uint16", "scale": 0.1, "offset": -40.0}, [651], 25.1),
        ({"datatype": "int32"}, [0xFFFF, 0xFFFE], -2),
        ({"datatype": "int64"}, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD], -3),
        ({"datatype": "float32"}, [0x42F6, 0xE979], 123.456),
        ({"datatype": "float64"}, [0x405E, 0xDD2F, 0x1A9F, 0xBE77], 123.456),
        ({"datatype": "bcd16"}, [0x1234], 1234),
        ({"datatype": "bcd32"}, [0x1234, 0x5678], 12345678),
        ({"datatype": "string", "length": 5}, [0x4F50, 0x5431, 0x3000], "OPT10"),
        ({"datatype": "string", "length": 4, "order": "BADC"}, [0x504F, 0x3154], "OPT1"),
        ({"datatype": "string", "length": 4}, [0x4100, 0x5858], "A"),
        ({"datatype": "string", "length": 2}, [0x0000], None),
        ({"datatype": "int16", "unavailable_bits": [0x8000]}, [0x8000], None),
        ({"datatype": "int32", "unavailable": [-1]}, [0xFFFF, 0xFFFF], None),
        ({"datatype": "float32", "unavailable": [-9999.0]}, [0xC61C, 0x3C00], None),
        ({"datatype": "float64"}, [0x7FF8, 0, 0, 0], None),
        ({"datatype": "float32"}, [0x7F80, 0], None),
    ],
)
def test_every_type(more: dict[str, object], words: list[int], value: object) -> None:
    decoded = decode_register(_register(**more), words, "big")
    assert decoded == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(decoded) is type(value)


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["ABCD", "DCBA", "BADC", "CDAB"]))
def test_an_integer_survives_every_order(value: int, order: str) -> None:
    data = value.to_bytes(8, signed=True)
    words = [data[i : i + 2] for i in range(0, 8, 2)]
    if_swapped = [word[::-1] if order in ("BADC", "DCBA") else word for word in words]
    sent = if_swapped[::-1] if order in ("CDAB", "DCBA") else if_swapped
    registers = [int.from_bytes(word) for word in sent]
    assert decode_register(_register(datatype="int64", order=order), registers, "big") == value


@pytest.mark.parametrize(
    ("more", "words", "said"),
    [
        ({"datatype": "bcd16"}, [0x12A4], "no binary-coded decimal: 0x12a4"),
        ({"datatype": "string", "length": 2}, [0x4107], "no text"),
    ],
)
def test_what_is_not_of_its_type_is_bad_alone(more, words, said) -> None:
    group = Group.model_validate(
        {"name": "g", "update_interval_s": 1, "point": [_WHERE | more, _WHERE | {"indicator": "MMXU.A"} | _INT]}
    )
    readings = decode_group(group, {"MMXU.V": words, "MMXU.A": [7]}, "big")
    assert (readings["MMXU.V"].quality, readings["MMXU.V"].value) == (Quality.BAD, None)
    assert said in readings["MMXU.V"].reason
    assert readings["MMXU.A"].value == 7


_INT = {"register": 2, "datatype": "uint16"}
_STATUS = {"name": "self-test", "register": 9, "mask": 0x0F, "good": [0, 1], "text": "sensor fault"}


def _status_group(**more: object) -> Group:
    points = [_WHERE | _INT | {"indicator": f"MMXU.{name}", "register": n} for n, name in enumerate("ABC", 1)]
    return Group.model_validate({"name": "g", "update_interval_s": 1, "point": points, "status": [_STATUS | more]})


@pytest.mark.parametrize("word", [0x0000, 0x0001, 0xFFF1])
def test_a_good_status_lets_its_neighbours_through(word: int) -> None:
    group = _status_group()
    words = {"MMXU.A": [1], "MMXU.B": [2], "MMXU.C": [3], status_key(group.status[0]): [word]}
    assert {reading.quality for reading in decode_group(group, words, "big").values()} == {Quality.GOOD}


@pytest.mark.parametrize(
    ("more", "word", "expected"),
    [
        ({}, 0x0004, {"MMXU.A": Quality.BAD, "MMXU.B": Quality.BAD, "MMXU.C": Quality.BAD}),
        ({"points": ["MMXU.B"]}, 0x0004, {"MMXU.A": Quality.GOOD, "MMXU.B": Quality.BAD, "MMXU.C": Quality.GOOD}),
        (
            {"points": ["MMXU.B"], "quality": "UNCERTAIN"},
            0x0002,
            {"MMXU.A": Quality.GOOD, "MMXU.B": Quality.UNCERTAIN, "MMXU.C": Quality.GOOD},
        ),
    ],
)
def test_a_status_register_invalidates_its_neighbours(more, word, expected) -> None:
    group = _status_group(**more)
    words = {"MMXU.A": [1], "MMXU.B": [2], "MMXU.C": [3], status_key(group.status[0]): [word]}
    readings = decode_group(group, words, "big")
    assert {indicator: reading.quality for indicator, reading in readings.items()} == expected
    assert readings["MMXU.B"].reason == f"sensor fault (status register 9 = 0x{word:X})"
    assert (readings["MMXU.B"].value is None) == (readings["MMXU.B"].quality is Quality.BAD)


def test_a_status_register_that_does_not_answer_counts_against_its_neighbours() -> None:
    readings = decode_group(_status_group(), {"MMXU.A": [1], "MMXU.B": [2], "MMXU.C": [3]}, "big")
    assert {reading.reason for reading in readings.values()} == {"status register 9 does not answer"}


@pytest.mark.parametrize(
    ("more", "words", "said"),
    [
        ({"datatype": "float32", "expected": [-123.45], "tolerance": 0.001}, (0xC2F6, 0xE666), ""),
        ({"datatype": "int16", "expected": [-12345]}, (0xCFC7,), ""),
        ({"datatype": "string", "length": 4, "expected": ["SF6", "N2"]}, (0x5346, 0x3600), ""),
        ({"datatype": "uint16", "expected": [0, 1]}, (2,), "simulation: register 5 is 2, expected 0 or 1"),
        ({"datatype": "float32", "expected": [-123.45]}, (0xE666, 0xC2F6), "expected -123.45"),
        ({"datatype": "float32", "expected": [1.0]}, (0x7FC0, 0), "register 5 is None"),
        ({"datatype": "string", "length": 2, "expected": ["N2"]}, (0x0707,), "no text"),
    ],
)
def test_a_check_compares(more: dict[str, object], words: tuple[int, ...], said: str) -> None:
    check = Check.model_validate({"name": "c", "register": 5, "text": "simulation"} | more)
    found = decode_check(check, words, "big")
    assert said in found
    assert bool(said) == bool(found)


def _template(points: list[dict[str, object]], **more: object) -> Template:
    group = {"name": "g", "update_interval_s": 1, "point": points} | more.pop("group", {})
    usual = {"name": "x", "maturity": "manual", "document": "", "function_code": 3, "address_base": 0}
    return Template.model_validate(usual | {"word_order": "big", "group": [group]} | more)


def test_bits_and_registers_are_asked_for_by_their_own_function_codes() -> None:
    points = [
        _WHERE | {"indicator": "MMXU.A", "register": 4, "datatype": "uint16", "function_code": 4},
        _WHERE | {"indicator": "MMXU.B", "register": 4, "datatype": "bool", "function_code": 2},
        _WHERE | {"indicator": "MMXU.C", "register": 4, "datatype": "uint16"},
        _WHERE | {"indicator": "MMXU.D", "register": 5, "datatype": "bool", "function_code": 2},
    ]
    template = _template(points)
    asked = [
        (r.function_code, r.span.address, r.span.count, r.span.members) for r in requests(template, template.group[0])
    ]
    assert asked == [(2, 4, 2, (1, 3)), (3, 4, 1, (2,)), (4, 4, 1, (0,))]
    assert [item.key for item in items(template, template.group[0])] == [f"MMXU.{c}" for c in "ABCD"]


def test_a_devices_own_maximum_is_kept_and_no_value_is_split() -> None:
    points = [_WHERE | {"indicator": f"MMXU.A{n}", "register": 2 * n, "datatype": "float32"} for n in range(10)]
    template = _template(points, max_registers=5)
    assert [r.span.count for r in requests(template, template.group[0])] == [4, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("register", "said"),
    [
        ({"datatype": "bool"}, "bring bool and nothing else"),
        ({"datatype": "uint16", "function_code": 1}, "bring bool and nothing else"),
        ({"datatype": "string"}, "length"),
        ({"datatype": "uint16", "length": 4}, "length"),
        ({"datatype": "uint16", "bit": 3}, "bit"),
        ({"datatype": "uint16", "function_code": 6}, "function_code"),
        ({"datatype": "int128"}, "datatype"),
    ],
)
def test_a_contradiction_in_a_template_is_refused(register: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _template([_WHERE | register])


def test_a_refused_span_loses_its_gaps_first_and_is_then_halved() -> None:
    values = [(0, 2), (6, 2), (8, 2), (10, 1), (10, 1)]
    (span,) = plan(values, [(0, 11)])
    parts = split(span, values)
    assert [(part.address, part.count, part.members) for part in parts] == [(0, 2, (0,)), (6, 5, (1, 2, 3, 4))]
    halves = split(parts[1], values)
    assert [(part.address, part.count, part.members) for part in halves] == [(6, 4, (1, 2)), (10, 1, (3, 4))]
    assert split(halves[1], values) == ()


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 4)), min_size=1, max_size=20), st.integers(0, 70))
def test_splitting_ends_and_leaves_out_only_what_holds_the_bad_address(values, bad) -> None:
    waiting = list(plan(values, [(0, 70)]))
    good: set[int] = set()
    rounds = 0
    while waiting:
        rounds += 1
        span = waiting.pop()
        refused = span.address <= bad < span.address + span.count
        parts = split(span, values) if refused else ()
        waiting += parts
        good |= set(span.members) - (set(span.members) if refused else set())
    assert rounds <= 4 * len(values)
    assert good == {i for i, (address, width) in enumerate(values) if not address <= bad < address + width}


def test_float64_is_not_rounded_to_float32() -> None:
    words = struct.unpack(">4H", struct.pack(">d", 0.1234567890123))
    assert decode_register(_register(datatype="float64"), words, "big") == 0.1234567890123
