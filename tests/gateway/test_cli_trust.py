"""`blackstart trust`: a server that was turned away is seen, accepted, used, and turned away again."""

import datetime as dt
import json
from pathlib import Path

import pytest
from click.testing import Result
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner

from drivers.errors import BadInput, Refused
from drivers.opcua_identity import OwnIdentity
from drivers.opcua_trust import TrustList
from gateway.cli import app

_NOW = dt.datetime.now(dt.UTC)
_URI = "urn:plant:server"
_LINK = """
[[link]]
protocol = "opcua"
name = "{name}"
url = "opc.tcp://10.0.0.1:4840"
namespace_uri = "urn:plant"
trust_dir = "{folder}"
[[link.points]]
node = "s=oil"
asset = "T1"
indicator = "{indicator}"
unit = "degC"
"""
_HEAD = """
[gateway]
id = "gw"
state_dir = "state"
[mqtt]
host = "h"
client_id = "gw"
[[asset]]
id = "T1"
kind = "PowerTransformer"
"""


@pytest.fixture
def trust_dir(tmp_path: Path) -> Path:
    """A server's certificate has been met and turned away."""
    folder = tmp_path / "pki"
    maker = OwnIdentity(tmp_path / "server", _URI, "server")
    der = maker.current(_NOW, clock_trusted=False).cert_file.read_bytes()
    with pytest.raises(Refused, match="blackstart trust accept"):
        TrustList(folder).check(der, _URI, _NOW)
    return folder


@pytest.fixture
def config(tmp_path: Path, trust_dir: Path) -> Path:
    path = tmp_path / "blackstart.toml"
    path.write_text(_HEAD + _LINK.format(name="bay", folder=trust_dir, indicator="SIML.Tmp"), encoding="utf-8")
    return path


def _run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["trust", *words, "--config", str(config)])


def _rows(config: Path) -> list[dict[str, str]]:
    result = _run(config, "list", "--json")
    assert result.exit_code == 0, result.output
    rows: list[dict[str, str]] = json.loads(result.stdout)
    return rows


def test_a_server_is_accepted_and_rejected_by_its_fingerprint(config: Path, trust_dir: Path) -> None:
    (row,) = _rows(config)
    assert (row["state"], row["subject"], row["links"]) == ("rejected", "CN=Blackstart@server", "bay")
    assert "rejected" in _run(config, "list").stdout
    accepted = _run(config, "accept", row["fingerprint"][:16])
    assert accepted.exit_code == 0
    assert row["fingerprint"] in accepted.stdout
    (trusted,) = TrustList(trust_dir).entries()
    assert trusted.certificate.fingerprint(hashes.SHA256()).hex() == row["fingerprint"]
    assert [each["state"] for each in _rows(config)] == ["trusted"]
    answer = json.loads(_run(config, "reject", row["fingerprint"], "--json").stdout)
    assert answer["state"] == "rejected"


def test_the_own_certificate_is_shown_and_its_successor_taken_on_demand(config: Path, trust_dir: Path) -> None:
    OwnIdentity(trust_dir, "urn:blackstart", "gw").current(_NOW, clock_trusted=False)
    refused = _run(config, "renew")
    assert isinstance(refused.exception, BadInput)
    own, following, _ = _rows(config)
    assert (own["state"], following["state"]) == ("own", "next")
    assert _run(config, "renew").exit_code == 0
    assert [row["fingerprint"] for row in _rows(config) if row["state"] == "own"] == [following["fingerprint"]]


def test_with_several_folders_the_link_must_be_named(config: Path, tmp_path: Path) -> None:
    fingerprint = _rows(config)[0]["fingerprint"]
    more = _LINK.format(name="hall", folder=tmp_path / "other", indicator="SPTR.HPTmp")
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")
    assert "--link" in str(_run(config, "accept", fingerprint).exception)
    assert "bay, hall" in str(_run(config, "accept", fingerprint, "--link", "yard").exception)
    assert _run(config, "accept", fingerprint, "--link", "bay").exit_code == 0
