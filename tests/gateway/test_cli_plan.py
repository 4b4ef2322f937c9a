"""`blackstart plan` and the checks between links."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.errors import Misconfigured
from gateway.cli import app
from gateway.cli_metrics import prometheus_text
from gateway.config import load

_CONFIG = """
[gateway]
id = "gw"
state_dir = "state"
[mqtt]
host = "h"
client_id = "gw"
[[asset]]
id = "T1"
kind = "PowerTransformer"
[[asset]]
id = "Q1"
kind = "Breaker"
"""
_LINK = """
[[link]]
protocol = "{protocol}"
name = "{name}"
{more}
[[link.devices]]
name = "{name}"
asset = "{asset}"
template = "{template}"
"""
_OPT100 = {"name": "gas", "asset": "T1", "template": "vaisala-opt100"}
_DPT145 = {"name": "sf6", "asset": "Q1", "template": "vaisala-dpt145"}
_SERIAL = 'sole_master = true\n[link.serial]\nport = "ttyS0"\nbaudrate = 9600'


def _file(tmp_path: Path, *links: dict[str, str]) -> Path:
    usual = {"protocol": "modbus_tcp", "more": 'host = "10.0.0.1"'}
    path = tmp_path / "blackstart.toml"
    path.write_text(_CONFIG + "".join(_LINK.format(**usual | link) for link in links), encoding="utf-8")
    return path


def test_the_requests_of_each_device(tmp_path: Path) -> None:
    path = _file(tmp_path, _OPT100 | {"protocol": "modbus_rtu", "more": _SERIAL}, _DPT145)
    result = CliRunner().invoke(app, ["plan", "--config", str(path), "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    gas = [row for row in rows if row["device"] == "gas"]
    assert [(row["function_code"], row["address"], row["count"]) for row in gas] == [(3, 20, 20)]
    assert gas[0]["points"][0] == "SIML.CH4ppm"
    assert gas[0]["wire_ms"] == pytest.approx((8 + 5 + 40 + 7) * 11 / 9.6, abs=0.1)
    assert {row["maturity"] for row in rows if row["device"] == "sf6"} == {"unverified"}
    table = CliRunner().invoke(app, ["plan", "--config", str(path)])
    assert "read requests" in table.stdout


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ([_OPT100, _DPT145], "share 10.0.0.1:502, which takes 1"),
        ([_OPT100 | {"protocol": "modbus_rtu", "more": _SERIAL.removeprefix("sole_master = true")}], "sole_master"),
        ([_OPT100 | {"protocol": "modbus_rtu_tcp"}], "sole_master"),
        ([_OPT100 | {"protocol": "modbus_tls"}], "needs the table tls"),
        ([_OPT100 | {"protocol": "modbus_rtu", "more": 'sole_master = true\nhost = "h"'}], "needs the table serial"),
        ([_OPT100 | {"more": 'host = "h"\ntimeout_s = 3.0'}], "longer than poll_period_s"),
        ([_OPT100 | {"protocol": "modbus_udp"}], "modbus_rtu_tcp"),
    ],
)
def test_what_must_not_be_is_refused(tmp_path: Path, links: list[dict[str, str]], said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        load(_file(tmp_path, *links))


def test_a_server_that_takes_two_connections_may_have_two_links(tmp_path: Path) -> None:
    more = {"more": 'host = "10.0.0.1"\nmax_connections = 2'}
    assert len(load(_file(tmp_path, _OPT100 | more, _DPT145 | more)).link) == 2


def test_metrics_in_the_text_format_of_prometheus() -> None:
    links = {"b": {"state": 0.0, "polls_total": 3.0}, "a": {"state": 1.0, "read_last_s": 0.25}}
    assert prometheus_text(links).splitlines() == [
        "# TYPE blackstart_link_polls_total counter",
        'blackstart_link_polls_total{link="b"} 3',
        "# TYPE blackstart_link_read_last_s gauge",
        'blackstart_link_read_last_s{link="a"} 0.25',
        "# TYPE blackstart_link_state gauge",
        'blackstart_link_state{link="a"} 1',
        'blackstart_link_state{link="b"} 0',
    ]
