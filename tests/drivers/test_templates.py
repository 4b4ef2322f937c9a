"""The delivered register tables, and what a faulty one is told."""

import pytest
from pydantic import ValidationError

from drivers.base import Quality
from drivers.clock import SystemClock
from drivers.errors import Misconfigured
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.modbus_decode import decode_group, decode_register
from drivers.modbus_plan import requests
from drivers.templates import Template, load_template, template_names

# fmt: off
# Worked by hand from the makers' tables, which count registers from 1: address on the wire = register - 1.
_ADDRESSES = {
    "vaisala-opt100": {
        "SIML.CH4ppm": 20,
        "SIML.C2H2ppm": 22,
        "SIML.C2H4ppm": 24,
        "SIML.C2H6ppm": 26,
        "SIML.COppm": 28,
        "SIML.CO2ppm": 30,
        "SIML.CmbuGas": 32,
        "SIML.H2ppm": 34,
        "SIML.H2O": 36,
        "SIML.ChmTmp": 38,
    },
    # Registers are addresses: 171 to 187 and 200 to 219.
    "sel-2414": {
        "GGIO.IntIn171": 171, "GGIO.IntIn172": 172, "GGIO.IntIn173": 173, "GGIO.IntIn174": 174, "GGIO.IntIn175": 175,
        "GGIO.IntIn176": 176, "GGIO.IntIn177": 177, "GGIO.IntIn178": 178, "GGIO.IntIn179": 179, "GGIO.IntIn180": 180,
        "GGIO.IntIn181": 181, "GGIO.IntIn182": 182, "GGIO.IntIn183": 183, "GGIO.IntIn184": 184, "GGIO.IntIn185": 185,
        "GGIO.IntIn186": 186, "GGIO.IntIn187": 187,
        "GGIO.AnIn200": 200, "GGIO.AnIn201": 201, "GGIO.AnIn202": 202, "GGIO.AnIn203": 203, "GGIO.AnIn204": 204,
        "GGIO.AnIn205": 205, "GGIO.AnIn206": 206, "GGIO.AnIn207": 207, "GGIO.AnIn208": 208, "GGIO.AnIn209": 209,
        "GGIO.AnIn210": 210, "GGIO.AnIn211": 211, "GGIO.AnIn212": 212, "GGIO.AnIn213": 213, "GGIO.AnIn214": 214,
        "GGIO.AnIn215": 215, "GGIO.AnIn216": 216, "GGIO.AnIn217": 217, "GGIO.AnIn218": 218, "GGIO.AnIn219": 219,
    },
    # Input registers count from 0.
    "mr-msense": {"SIML.COppm": 0, "SIML.H2ppm": 2, "SIML.H2O": 4, "SIML.Tmp": 6},
    "abb-coresense-m10": {
        "GGIO.IntIn53": 53, "GGIO.IntIn55": 55, "SIML.H2OAct": 56, "SIML.H2O": 57, "GGIO.IntIn61": 61,
        "SIML.H2ppm": 62, "GGIO.IntIn91": 91, "SIML.C2H6ppm": 92, "GGIO.IntIn96": 96, "SIML.CmbuGas": 97,
        "GGIO.IntIn101": 101, "SIML.C3H6ppm": 102, "GGIO.IntIn106": 106, "SIML.C3H8ppm": 107, "GGIO.IntIn111": 111,
        "SIML.Tmp": 112,
    },
    # 4xxxx notation: address on the wire = number - 40001.
    "eaton-tc-50": {
        "SPTR.WndTmp1": 6, "SPTR.WndTmp2": 7, "SPTR.WndTmp3": 8, "STMP.EnvTmp": 9, "GGIO.IntIn40018": 17,
    },
    "qualitrol-118": {
        "GGIO.IntIn40008": 7, "GGIO.IntIn40009": 8, "GGIO.AnIn40010": 9, "GGIO.AnIn40011": 10, "GGIO.AnIn40012": 11,
        "GGIO.AnIn40013": 12, "GGIO.AnIn40014": 13, "GGIO.AnIn40015": 14,
    },
    "analog-inputs-8": {f"GGIO.AnIn{number}": 2 * number - 2 for number in range(1, 9)},
    "vaisala-dpt145": {"SIMG.Tmp": 4, "SIMG.H2O": 20, "SIMG.Pres": 44, "SIMG.Den": 46, "SIMG.Pres20": 48},
}
# fmt: on
_CODES = {"mr-msense": 4}  # the values; all others are holding registers
_WORD_ORDERS = {"analog-inputs-8": "little", "vaisala-opt100": "little", "vaisala-dpt145": "little"}

# Addresses on the wire that the makers document as writable, or as commands.
_WRITABLE = {
    "vaisala-dpt145": [*range(774, 784), *range(1282, 1285), 1536],
    "sel-2414": [*range(1200, 1456), *range(2000, 2003)],
    "qualitrol-118": [49, 51],
}


def test_every_delivered_template_is_known_here() -> None:
    assert set(template_names()) == set(_ADDRESSES)


@pytest.mark.parametrize("name", sorted(_ADDRESSES))
def test_addresses_on_the_wire(name: str) -> None:
    template = load_template(name)
    assert template.name == name
    assert {r.indicator: template.address(r) for r in template.registers()} == _ADDRESSES[name]
    assert template.function_code == _CODES.get(name, 3)
    assert template.word_order == _WORD_ORDERS.get(name, "big")


def test_maturity_is_stated() -> None:
    manual = {name for name in template_names() if load_template(name).maturity == "manual"}
    assert manual == {"vaisala-opt100"}  # every other map is from one source, or assumes its base or its word order


@pytest.mark.parametrize("name", sorted(_WRITABLE))
def test_no_request_touches_a_register_that_can_be_written(name: str) -> None:
    template = load_template(name)
    asked = {
        address
        for group in template.group
        for request in requests(template, group)
        for address in range(request.span.address, request.span.address + request.span.count)
    }
    assert not asked & set(_WRITABLE[name])


def test_the_valid_flags_of_the_msense_are_discrete_inputs() -> None:
    template = load_template("mr-msense")
    asked = [(r.function_code, r.span.address, r.span.count) for r in requests(template, template.group[0])]
    assert asked == [(2, 14, 3), (4, 0, 8)]
    words = {"SIML.COppm": [0x4396, 0], "SIML.H2ppm": [0x4248, 0], "SIML.H2O": [0x4140, 0], "SIML.Tmp": [0x4220, 0]}
    flags = {f"status valid-{n}": [1] for n in (14, 15, 16)}
    readings = decode_group(template.group[0], words | flags, "big")
    assert [reading.value for reading in readings.values()] == [300.0, 50.0, 12.0, 40.0]
    readings = decode_group(template.group[0], words | flags | {"status valid-15": [0]}, "big")
    assert {reading.quality for reading in readings.values()} == {Quality.BAD}


def test_the_reserved_value_of_the_sel_2414_is_no_measurement() -> None:
    register = next(r for r in load_template("sel-2414").registers() if r.indicator == "GGIO.AnIn200")
    assert decode_register(register, [0x8000], "big") is None
    assert decode_register(register, [0x8001], "big") == -32767


def test_the_water_activity_of_the_m10_is_in_thousandths() -> None:
    register = next(r for r in load_template("abb-coresense-m10").registers() if r.indicator == "SIML.H2OAct")
    assert decode_register(register, [250], "big") == 0.25


def test_an_unknown_template_names_those_there_are() -> None:
    with pytest.raises(Misconfigured, match="vaisala-opt100"):
        load_template("../../etc/passwd")


_REGISTER = {"indicator": "SIML.H2ppm", "register": 1, "datatype": "float32", "unit": "uL/L"}
_TEMPLATE = {"name": "x", "maturity": "manual", "document": "", "function_code": 3, "address_base": 1} | {
    "word_order": "big",
    "group": [{"name": "g", "update_interval_s": 1.0, "point": [_REGISTER]}],
}
_RULE = {"total": "SIML.H2ppm", "parts": ["SIML.COppm", "SIML.CH4ppm"], "relative": 0.1, "absolute": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"function_code": 6}, "function_code"),
        ({"group": [{"name": "g", "update_interval_s": 1.0, "point": [_REGISTER, _REGISTER]}]}, "twice"),
        ({"group": [{"name": "g", "update_interval_s": 1.0, "point": [_REGISTER | {"register": 0}]}]}, "outside"),
        ({"group": [{"name": "g", "update_interval_s": 1.0, "point": [_REGISTER], "sum": [_RULE]}]}, "SIML.CH4ppm"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_faulty_template_is_refused(change: dict[str, object], said: str) -> None:
    Template.model_validate(_TEMPLATE)
    with pytest.raises(ValidationError, match=said):
        Template.model_validate(_TEMPLATE | change)


def _frozen_after(template: str, **device: object) -> set[int]:
    devices = [{"name": "d", "asset": "T1", "template": template} | device]
    config = ModbusLinkConfig.model_validate({"name": "l", "host": "h", "devices": devices})
    return {point.frozen_after_cycles for point in ModbusSource(config, SystemClock()).points}


def test_a_device_is_taken_for_frozen_as_its_template_says_unless_the_user_says_otherwise() -> None:
    found = {name: _frozen_after(name) for name in template_names()}
    never = {"sel-2414": {0}, "qualitrol-118": {0}, "analog-inputs-8": {0}}  # may stand at zero for weeks
    hours = {"vaisala-opt100": {12}, "mr-msense": {36}, "abb-coresense-m10": {72}}
    assert found == never | hours | {"vaisala-dpt145": {3600}, "eaton-tc-50": {8640}}
    assert _frozen_after("vaisala-opt100", frozen_after_cycles=0) == {0}
    assert _frozen_after("vaisala-opt100", frozen_after_cycles=30) == {30}


@pytest.mark.parametrize("name", template_names())
def test_what_may_stand_still_alone_makes_nothing_frozen(name: str) -> None:
    groups = [group for group in load_template(name).group if group.frozen_after_cycles]
    assert all(any(not register.expected_constant for register in group.point) for group in groups)
