"""The delivered register tables, and what a faulty one is told."""

import pytest
from pydantic import ValidationError

from drivers.errors import Misconfigured
from drivers.templates import Template, load_template, template_names

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
    "vaisala-dpt145": {"SIMG.Tmp": 4, "SIMG.H2O": 20, "SIMG.Pres": 44, "SIMG.Den": 46, "SIMG.Pres20": 48},
}


def test_every_delivered_template_is_known_here() -> None:
    assert set(template_names()) == set(_ADDRESSES)


@pytest.mark.parametrize("name", sorted(_ADDRESSES))
def test_addresses_on_the_wire(name: str) -> None:
    template = load_template(name)
    assert template.name == name
    assert {r.indicator: template.address(r) for r in template.registers()} == _ADDRESSES[name]
    assert template.function_code == 3
    assert template.word_order == "little"


def test_maturity_is_stated() -> None:
    assert load_template("vaisala-opt100").maturity == "manual"
    assert load_template("vaisala-dpt145").maturity == "unverified"


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
