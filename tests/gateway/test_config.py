"""The configuration: every error of a file in one report, each with its key and what would be right."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from drivers.errors import Misconfigured
from gateway.config import CONFIG_BYTES_MAX, Config, gas_accuracy, load, parse
from models.dga.accuracy import DEFAULT_ACCURACY, accuracy_of

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "systemd" / "blackstart.toml"
CASES = sorted((Path(__file__).parent / "cases" / "config").glob("*.toml"))
MINIMAL = """
[gateway]
id = "g1"
state_dir = "state"
[mqtt]
host = "127.0.0.1"
client_id = "g1"
[[asset]]
id = "T1"
kind = "PowerTransformer"
[[link]]
protocol = "modbus_tcp"
name = "dga"
host = "127.0.0.1"
[[link.devices]]
name = "dga"
asset = "T1"
template = "vaisala-opt100"
"""


def report(path: Path) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        load(path)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_error_of_a_file_is_in_one_report(case: Path) -> None:
    """A case is a broken file whose last lines `#! key: text` say what the report must hold, and nothing else."""
    expected = [line.removeprefix("#! ") for line in case.read_text().splitlines() if line.startswith("#! ")]
    head, *lines = report(case)
    assert expected
    assert head == f"{len(expected)} error(s) in the configuration:"
    assert [line.removeprefix(f"  {case}: ") for line in lines] == expected


def test_the_cases_are_there() -> None:
    assert len(CASES) >= 5


def test_the_smallest_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(MINIMAL)
    config = load(path)
    assert config.gateway.time_factor == 1.0
    assert config.asset_by_id("T1").criticality == 3
    assert config.scada.commands == "off"
    assert config.link[0].poll_period_s == 1.0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[gateway\n", "not valid TOML: Expected ']'"),
        (b"a = 1\na = 2\n", "not valid TOML: Cannot overwrite a value"),
        (b'[gateway]\nsite = "\xff"\n', "not UTF-8 text: invalid start byte at byte 18"),
        (b"#" * (CONFIG_BYTES_MAX + 1), f"larger than {CONFIG_BYTES_MAX} bytes"),
    ],
)
def test_what_is_no_configuration_at_all(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match=re.escape(f"{path}: {expected}")):
        load(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"absent\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "absent.toml")
    with pytest.raises(Misconfigured, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("raw", [{}, {"asset": 5}, {"asset": [5]}, {"link": {"a": 1}}, {"edge": [[]], "link": [{}]}])
def test_rubbish_of_any_shape_is_a_report(raw: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="in the configuration"):
        parse(raw, "x")


def test_an_anomaly_model_that_exists_is_fine(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"any")
    path = tmp_path / "c.toml"
    path.write_text(f'{MINIMAL}\n[[anomaly_model]]\nasset = "T1"\nfile = "{tmp_path / "m.onnx"}"\n')
    assert load(path).anomaly_model[0].asset == "T1"


def test_a_gas_monitors_accuracy_is_what_the_file_says_else_its_templates() -> None:
    raw = tomllib.loads(MINIMAL)
    config = parse(raw, "x")
    assert gas_accuracy(config, config.asset[0]) == accuracy_of("vaisala-opt100") != DEFAULT_ACCURACY
    raw["asset"][0]["gas_accuracy"] = {"relative": 0.05}
    config = parse(raw, "x")
    assert gas_accuracy(config, config.asset[0]).relative == 0.05
    raw = tomllib.loads(MINIMAL.replace("vaisala-opt100", "mr-msense"))
    config = parse(raw, "x")
    assert gas_accuracy(config, config.asset[0]) == DEFAULT_ACCURACY


# -- the sample file


def test_the_sample_loads() -> None:
    config = load(SAMPLE)
    assert [asset.id for asset in config.asset] == ["T1", "Q1"]
    assert len(config.link) == 3


def keys_of(model: type[BaseModel]) -> Iterator[str]:
    """Every key that may stand in the file below this model."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in models_in(field.annotation):
            yield from keys_of(inner)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from models_in(part)


def test_the_sample_names_every_key() -> None:
    """As a setting, or commented out with its default."""
    named = set(re.findall(r"^(?:# *)?(?:\[+(?:\w+\.)*)?(\w+)(?:\]| =)", SAMPLE.read_text(), flags=re.MULTILINE))
    keys = set(keys_of(Config))
    assert {"gateway", "expected_constant", "sf6_alarm_bara", "ca_file", "buffer_bytes"} <= keys
    assert keys - named == set(), f"explain them in {SAMPLE.relative_to(ROOT)}"


def test_the_samples_commented_defaults_are_the_defaults() -> None:
    """Uncommented, every `# key = value` of the sample is accepted and changes nothing but what it sets."""
    text = SAMPLE.read_text()
    for line in (line for line in text.splitlines() if re.match(r"# \w+_(s|days|bytes|mb|cycles) = ", line)):
        shown = text.replace(line, line.removeprefix("# "), 1)
        assert parse(tomllib.loads(shown), "x") == load(SAMPLE), line
