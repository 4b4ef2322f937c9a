"""What all commands share: the options every one takes, the question to the daemon, JSON and tables on the terminal."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gateway.config import load

__all__ = ("DEFAULT_CONFIG", "ConfigOption", "JsonOption", "ask", "print_json", "print_table")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="BLACKSTART_CONFIG", help="Configuration file.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_CONFIG = Path("/etc/blackstart/blackstart.toml")


def print_json(value: object) -> None:
    """For machines."""
    print(json.dumps(value, indent=2, default=str))


def print_table(title: str, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """For people; cells of a column that a row lacks stay empty."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table)


def ask(config: Path, cmd: str, **arguments: object) -> Any:
    """Ask the daemon that runs with this configuration.  Raises as `gateway.control.ask` does."""
    from gateway.control import ask as ask_daemon  # noqa: PLC0415 - the daemon's parts load only where needed

    return ask_daemon(load(config).gateway.state_dir, cmd, **arguments)
