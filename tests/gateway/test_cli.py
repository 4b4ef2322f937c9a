"""The command line as people and machines meet it: exit codes, JSON, refusals in words."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from gateway import __version__
from gateway.cli import app

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "systemd" / "blackstart.toml"
GASES = {"h2": 31, "c2h6": 130, "ch4": 192, "c2h4": 31, "c2h2": 0}


def run(*arguments: str, module: str = "gateway") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def gas_arguments(**changes: float) -> list[str]:
    return [part for gas, value in (GASES | changes).items() for part in (f"--{gas}", str(value))]


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name)) if hasattr(command, "commands") else [((*path, name), command)]


COMMANDS = dict(commands(typer.main.get_command(app)))
DAEMON = {("run",)}  # says nothing that a machine would read; it logs


def test_diagnose_for_machines() -> None:
    done = run("diagnose", *gas_arguments(), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["votes"]["duval_triangle_1"] == "T1"
    assert set(answer["votes"]) >= {"duval_triangle_1", "duval_pentagon_1", "iec_60599", "rogers", "learned"}
    assert answer["diagnosis"]["family"] == "thermal"


def test_diagnose_for_people() -> None:
    done = CliRunner().invoke(app, ["diagnose", *gas_arguments()])
    assert done.exit_code == 0
    assert "T1" in done.stdout
    assert not done.stdout.lstrip().startswith("{")


def test_a_negative_gas_is_refused_in_words() -> None:
    done = run("diagnose", *gas_arguments(h2=-5), "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "blackstart: h2_ul_l: Input should be greater than or equal to 0 (found -5.0)\n"


def test_wrong_usage() -> None:
    assert run("diagnose", "--h2", "x").returncode == 2
    assert CliRunner().invoke(app, ["no-such-command"]).exit_code == 2


def test_check_config() -> None:
    done = run("check-config", "--config", str(SAMPLE), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"assets": 2, "links": 3, "edges": 1, "anomaly models": 0}


def test_a_wrong_configuration_is_exit_78_for_every_command_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[gateway]\nid = 5\n")
    for command in ("check-config", "run"):
        done = run(command, "--config", str(path))
        assert done.returncode == 78
        assert f"{path}: gateway.id: " in done.stderr
        assert f"{path}: mqtt: is missing" in done.stderr
        assert "Traceback" not in done.stderr


def test_no_daemon_is_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(SAMPLE.read_text().replace("/var/lib/blackstart", str(tmp_path)))
    done = run("status", "--config", str(path), "--json")
    assert done.returncode == 1
    assert "no daemon answers" in done.stderr


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_help_of_the_whole() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for name in {path[0] for path in COMMANDS}:
        assert name in done.stdout


@pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)
def test_every_command_says_what_it_does_and_speaks_json(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    options = {name for parameter in command.params for name in parameter.opts}
    assert command.help
    assert ("--json" in options) == (path not in DAEMON)
    assert all(getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help")


def test_the_help_of_a_command_mentions_json() -> None:
    done = CliRunner().invoke(app, ["runs", "list", "--help"])
    assert done.exit_code == 0
    assert "--json" in done.stdout


@pytest.fixture(scope="module")
def commissioning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("commissioning") / "t1.csv"
    done = run("commission", "--asset", "T1", "--days", "20", "--out", str(path), module="hil_sim")
    assert done.returncode == 0, done.stderr
    return path


def test_train_anomaly(commissioning: Path, tmp_path: Path) -> None:
    out = tmp_path / "t1.onnx"
    done = run("train", "anomaly", str(commissioning), "--asset", "T1", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["file"] == str(out)
    assert out.stat().st_size > 0
    assert len(report["sha256"]) == 64
    assert report["fitted_rows"] + report["held_back_rows"] == 20 * 24
    assert "h2_ul_l" in report["features"]


def test_train_anomaly_refuses_what_is_no_commissioning(tmp_path: Path) -> None:
    csv = tmp_path / "x.csv"
    csv.write_text("a,b\n1,2\n")
    done = run("train", "anomaly", str(csv), "--asset", "T1", "--out", str(tmp_path / "m.onnx"))
    assert done.returncode == 1
    assert str(csv) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "m.onnx").exists()
