"""Case folders: registers in, samples out, through a socket.  A bug in a device's map becomes another folder.

device.toml      what a user writes in [[link.devices]], but for its name and asset
registers.toml   words by address on the wire, worked by hand from the maker's table, as hexadecimal; `on` and
                 `off` list discrete inputs; whatever is not listed is refused as an illegal address
samples.toml     a number where the sample is GOOD, else its quality, reason and, where there is one, value;
                 `requests` are those of the second poll: function code, address, count
"""

import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.modbus import ModbusLinkConfig, ModbusSource
from drivers.templates import template_names

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/device.toml"))


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _shown(sample: Sample) -> Any:
    if sample.quality is Quality.GOOD and not sample.reason:
        return sample.value
    told = {"quality": sample.quality.value, "reason": sample.reason, "value": sample.value}
    return {key: value for key, value in told.items() if value is not None}


def test_each_template_has_a_case() -> None:
    assert {_toml(case / "device.toml")["template"] for case in CASES} == set(template_names())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_registers_in_samples_out(case: Path, raw_device: Callable[[str], Awaitable[Any]]) -> None:
    registers, expected = _toml(case / "registers.toml"), _toml(case / "samples.toml")
    device = await raw_device("mbap")
    for start, words in registers["words"].items():
        device.registers |= {int(start) + n: int(word, 16) for n, word in enumerate(words.split())}
    device.bits = set(registers.get("on", ()))
    device.illegal = set(range(0x10000)) - device.registers.keys() - device.bits - set(registers.get("off", ()))
    configured = {"name": "d", "asset": "T1"} | _toml(case / "device.toml")
    link = {"name": "l", "host": "127.0.0.1", "port": device.port, "devices": [configured]}
    source = ModbusSource(ModbusLinkConfig.model_validate(link), SystemClock())
    try:
        await source.open()
        first = await source.read()
        checks = expected.get("connect_requests", [])
        assert [list(request) for _, *request in device.asked][: len(checks)] == checks
        device.asked.clear()
        second = await source.read()
    finally:
        await source.close()
    assert [list(request) for _, *request in device.asked] == expected["requests"]
    for samples in (first, second):
        assert {sample.point_id.partition("/")[2]: _shown(sample) for sample in samples} == expected["samples"]
