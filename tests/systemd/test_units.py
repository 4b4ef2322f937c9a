"""The unit files as systemd itself reads them, without starting anything."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "systemd").glob("*.service"))
EXPOSURE_LIMIT_TENTHS = 15  # 1.5 on systemd's scale of 0 to 10; an unhardened service has 9.6

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed: apt-get install systemd"
)
each_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=30, check=False)


def installed_elsewhere(unit: Path, folder: Path) -> Path:
    """A copy of the unit whose program exists: `verify` insists on that, and /opt/blackstart is not here."""
    program = folder / "blackstart"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / unit.name
    copy.write_text(unit.read_text().replace("/opt/blackstart/bin/blackstart", str(program)))
    return copy


def settings(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), flags=re.MULTILINE))


def test_there_is_a_unit_to_check() -> None:
    assert "blackstart.service" in {unit.name for unit in UNITS}


@needs_systemd
@each_unit
def test_systemd_understands_every_line(unit: Path, tmp_path: Path) -> None:
    done = analyze("verify", "--man=no", str(installed_elsewhere(unit, tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_line_would_be_seen(tmp_path: Path) -> None:
    copy = installed_elsewhere(UNITS[0], tmp_path)
    copy.write_text(copy.read_text().replace("ProtectSystem=", "ProtektSystem="))
    assert "ProtektSystem" in analyze("verify", "--man=no", str(copy)).stderr


@needs_systemd
@each_unit
def test_the_unit_is_hardened(unit: Path) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE_LIMIT_TENTHS}", "--no-pager", str(unit))
    assert done.returncode == 0, f"too exposed; what is marked with a cross can be closed:\n{done.stdout}"


def test_the_daemon_is_watched_and_comes_back() -> None:
    unit = settings(Path(__file__).parents[2] / "systemd" / "blackstart.service")
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "78",
        "StartLimitIntervalSec": "0",
        "StateDirectory": "blackstart",
    }
    assert expected.items() <= unit.items()
    assert int(unit["WatchdogSec"]) > 0
    assert "PYTHONSAFEPATH=1" in unit["Environment"], "a stray drivers.py in the working folder must not win"


def test_the_unit_allows_what_the_daemon_and_its_core_do() -> None:
    lines = (Path(__file__).parents[2] / "systemd" / "blackstart.service").read_text().splitlines()
    assert "SystemCallFilter=setpriority" in lines, "models.core_worker lowers its priority"
    assert "ProcSubset=pid" not in lines, "journal reads /proc/sys/kernel/random/boot_id"
    assert lines.index("SystemCallFilter=setpriority") > lines.index("SystemCallFilter=~@privileged @resources")
