"""`blackstart browse` against a server: paths that can be pasted, and what is said where nothing is found."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asyncua import Server
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import app

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
[[link]]
protocol = "opcua"
name = "bay"
url = "{url}"
namespace_uri = "urn:test:tree"
security = "none"
[[link.points]]
browse = "Plant/T1/Oil"
asset = "T1"
indicator = "SIML.Tmp"
unit = "degC"
"""


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Path]:
    server = Server()
    await server.init()
    server.set_endpoint("opc.tcp://127.0.0.1:0/")
    index = await server.register_namespace("urn:test:tree")
    plant = await server.nodes.objects.add_folder(index, "Plant")
    asset = await plant.add_folder(index, "T1")
    await asset.add_variable(f"ns={index};s=oil", "Oil", 60.0)
    await server.start()
    port = server.bserver._server.sockets[0].getsockname()[1]
    path = tmp_path / "blackstart.toml"
    path.write_text(_CONFIG.format(url=f"opc.tcp://127.0.0.1:{port}/"), encoding="utf-8")
    yield path
    await server.stop()


async def _browse(config: Path, *words: str) -> Result:
    """In a thread: the command runs a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["browse", *words, "--config", str(config)])


async def test_what_it_lists_and_what_it_says_where_there_is_nothing(config: Path) -> None:
    result = await _browse(config, "bay", "Pl*", "--depth", "2", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["path"], row["kind"], row["node"]) for row in rows][1:] == [
        ("Plant/T1", "object", "i=2"),
        ("Plant/T1/Oil", "variable", "s=oil"),
    ]
    assert "Plant" in (await _browse(config, "bay")).stdout
    missing = await _browse(config, "bay", "Plant/T9")
    assert str(missing.exception) == "bay: no node matches 'Plant/T9': below Plant there is T1"
    assert "configured are: bay" in str((await _browse(config, "yard")).exception)
    assert "at most 12 levels" in str((await _browse(config, "bay", "a/b", "--depth", "11")).exception)
