"""`blackstart risk` from the configuration alone, and with what a daemon says of its alarms."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.control import serve
from models.findings import Severity

CONFIG = """
[gateway]
id = "g1"
state_dir = "{state}"
[mqtt]
host = "127.0.0.1"
client_id = "g1"
[[asset]]
id = "T1"
kind = "PowerTransformer"
risk.consequence = 100
[[asset]]
id = "T2"
kind = "PowerTransformer"
risk.consequence = 90
[[edge]]
from_asset = "T1"
to_asset = "T2"
kind = "fire_exposure"
attenuation = 0.6
[[link]]
protocol = "modbus_tcp"
name = "dga"
host = "127.0.0.1"
[[link.devices]]
name = "dga"
asset = "T1"
template = "vaisala-opt100"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(CONFIG.format(state=tmp_path / "s"))
    (tmp_path / "s").mkdir()
    return path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["risk", *arguments], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return done.output


def test_without_a_daemon_the_configuration_is_ranked(config: Path) -> None:
    answer = json.loads(run("--config", str(config), "--json"))
    assert answer["live"] is False
    assert [row["asset_id"] for row in answer["rows"]] == ["T1", "T2"]
    assert answer["rows"][0]["collateral_consequence"] == pytest.approx(36)
    text = run("--config", str(config))
    assert "T1 -> fire_exposure -> T2, 26% of it" in text
    assert "no daemon runs" in text
    assert "assumed  T1: failures_per_year unknown" in text


def test_what_if_one_fails(config: Path) -> None:
    answer = json.loads(run("--config", str(config), "--fail", "T1", "--json"))
    assert answer["total"] == pytest.approx(136)
    assert "T1 -> fire_exposure -> T2" in run("--config", str(config), "--fail", "T1")
    refused = CliRunner().invoke(app, ["risk", "--config", str(config), "--fail", "X9"])
    assert "no asset 'X9'; configured are: T1, T2" in str(refused.exception)


async def test_a_daemons_alarms_count(config: Path) -> None:
    async def alarms(_: Any) -> list[dict[str, Any]]:
        return [
            {"asset_id": "T2", "severity": int(Severity.CRITICAL), "family": "discharge"},
            {"asset_id": "T1", "severity": int(Severity.CRITICAL), "family": "sensor"},
        ]

    door = asyncio.create_task(serve(config.parent / "s", {"alarms": alarms}))
    try:
        async with asyncio.timeout(20):
            while not (config.parent / "s" / "control.sock").exists():  # noqa: ASYNC110 - the socket sets no event
                await asyncio.sleep(0.01)
        answer = json.loads(await asyncio.to_thread(run, "--config", str(config), "--json"))
    finally:
        door.cancel()
        await asyncio.wait({door})
    assert answer["live"] is True
    assert [(row["asset_id"], row["health_score"]) for row in answer["rows"]] == [("T2", 8.0), ("T1", 4.0)]
