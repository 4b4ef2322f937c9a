"""docs/indicators.md says what every indicator is used for, and names every alarm that it can raise."""

from pathlib import Path

from gateway.agents.equipment_rules import INDICATORS
from gateway.equipment_alarms import EQUIPMENT

TEXT = (Path(__file__).parents[3] / "docs" / "indicators.md").read_text(encoding="utf-8")


def test_every_indicator_is_on_the_page_with_its_units() -> None:
    lines = TEXT.splitlines()
    for name, units in INDICATORS.items():
        base = name.removesuffix("PhsA").removesuffix("PhsB").removesuffix("PhsC")
        rows = [line for line in lines if line.startswith("|") and f"`{base}" in line]
        assert rows, f"{name} is missing"
        assert any(all(unit in row for unit in units) for row in rows), f"{name}: {units}"


def test_every_alarm_of_equipment_is_on_the_page() -> None:
    assert [line.name for line in EQUIPMENT if f"`{line.name}`" not in TEXT] == []
