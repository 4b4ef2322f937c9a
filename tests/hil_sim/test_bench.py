"""The bench's command line and what it writes: a configuration that the daemon accepts, complaints that help."""

import tomllib
from pathlib import Path

import pytest

from gateway.config import parse
from hil_sim.__main__ import main
from hil_sim.bench_config import GATEWAY_ID, gateway_config
from hil_sim.opcua_plc import NAMESPACE_URI
from hil_sim.scenario import load_scenario
from hil_sim.substation import PLANT_POINTS

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path.stem for path in (ROOT / "hil_sim" / "scenarios").glob("bench-*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_daemon_accepts_the_configuration_that_the_bench_writes(name: str) -> None:
    scenario = load_scenario(name)
    devices = [
        d.model_dump(include={"name", "asset", "template", "unit_id"}) | {"host": "192.0.2.1", "port": 15020 + index}
        for index, d in enumerate(scenario.devices)
    ]
    points = [
        {"node": f"{t.id}/{indicator}", "asset": t.id, "indicator": indicator, "unit": unit}
        for t in scenario.transformers
        for indicator, unit in PLANT_POINTS.items()
    ]
    opcua = {"url": "opc.tcp://192.0.2.1:15022/x/", "namespace_uri": NAMESPACE_URI, "points": points}
    text = gateway_config(scenario, {"devices": devices, "opcua": opcua}, ("192.0.2.1", 1883), "state")
    config = parse(tomllib.loads(text), origin="bench")
    assert config.gateway.id == GATEWAY_ID
    assert len(config.link) == len(devices) + 1
    assert config.asset_by_id("Q1").nameplate.sf6_alarm_bara == pytest.approx(5.4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo"], "each event needs at_s"),
        (["bench-power"], "give --power-cmd"),
        (["bench-failures", "--broker", "192.0.2.1:1883"], "leave --broker out"),
        (["bench-assets", "--out", "nowhere"], "no such folder"),
        (["bench-none"], "shipped scenarios: bench-assets"),
    ],
)
def test_what_cannot_be_played_is_said_before_anything_listens(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments, "--bind", "127.0.0.1"]) == 78
    assert said in capsys.readouterr().err


def test_a_bench_without_a_gateway_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--bind", "127.0.0.1", "--out", str(tmp_path), "--first-port", "29500", "--online-within-s", "1"]
    assert main(["bench", "bench-assets", *options]) == 78
    assert "no gateway came online within 1 s" in capsys.readouterr().err
    assert (tmp_path / "blackstart.toml").is_file()


def test_a_power_command_that_fails_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--bind", "127.0.0.1", "--out", str(tmp_path), "--first-port", "29600", "--power-cmd", "false"]
    assert main(["bench", "bench-assets", *options]) == 78
    assert "false on ended with exit code 1" in capsys.readouterr().err
