"""`blackstart browse`: what an OPC UA server offers, as lines that can be pasted into the configuration.

A link of the configuration in, with its security; nodes out.  Connects beside the daemon, for as long as it reads.
"""

import asyncio
from typing import Annotated, Any

import typer

from drivers.clock import SystemClock
from drivers.errors import BadInput
from drivers.opcua import OpcuaLinkConfig, OpcuaSource
from drivers.opcua_browse import Found
from drivers.opcua_config import DEPTH_MAX
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table
from gateway.config import Config, load

__all__ = ("register_browse",)


def register_browse(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("browse")(_browse)


def _browse(
    link: Annotated[str, typer.Argument(help="An OPC UA link of the configuration.")],
    pattern: Annotated[str, typer.Argument(help="Browse names from Objects on, with * ? [abc]: 'Plant/T1*/*'.")] = "*",
    depth: Annotated[int, typer.Option(min=0, max=DEPTH_MAX - 1, help="Levels below what it finds.")] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List the nodes that a browse path finds on a server; each line's path can stand in `browse = "…"`."""
    if len(pattern.split("/")) + depth > DEPTH_MAX:
        raise BadInput(f"at most {DEPTH_MAX} levels")
    source = OpcuaSource(_link(load(config), link), SystemClock())
    patterns = [pattern + "/*" * level for level in range(depth + 1)]
    answers = asyncio.run(source.browse(patterns))
    if isinstance(answers[0], str):
        raise BadInput(f"{link}: {answers[0]}")
    found = [each for answer in answers if not isinstance(answer, str) for each in answer]
    rows = [_row(each) for each in sorted(found, key=lambda each: each.path)]
    if as_json:
        print_json(rows)
        return
    print_table(f"{link}: {len(rows)} nodes", rows, ["path", "kind", "namespace_index", "node"])


def _link(config: Config, name: str) -> OpcuaLinkConfig:
    links = {each.name: each for each in config.link if isinstance(each, OpcuaLinkConfig)}
    if name not in links:
        raise BadInput(f"no OPC UA link {name!r}; configured are: {', '.join(links) or 'none'}")
    return links[name]


def _row(found: Found) -> dict[str, Any]:
    _, _, identifier = found.node_id.to_string().rpartition(";")
    return {
        "path": found.path,
        "kind": "variable" if found.is_variable else "object",
        "namespace_index": found.node_id.NamespaceIndex,
        "node": identifier,
    }
