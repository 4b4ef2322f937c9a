"""`blackstart methods`: what each method takes, gives and is good for, and how far it has been verified."""

import difflib
from dataclasses import asdict
from typing import Annotated, Any

import typer

from drivers.errors import BadInput
from gateway.cli_print import JsonOption, print_json, print_table

__all__ = ("register_methods",)

NameArgument = Annotated[str | None, typer.Argument(help="One method in full, for example duval_triangle_4.")]


def register_methods(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("methods")(_methods)


def _methods(name: NameArgument = None, as_json: JsonOption = False) -> None:
    """Show the methods with their inputs, limits of validity and sources."""
    from models.methods import METHODS  # noqa: PLC0415 - numpy loads only where it is needed

    sheets: dict[str, dict[str, Any]] = {sheet.name: asdict(sheet) for sheet in METHODS}
    if name is not None and name not in sheets:
        near = ", ".join(difflib.get_close_matches(name, sheets, n=3, cutoff=0.4)) or "see `blackstart methods`"
        raise BadInput(f"no method {name!r}; near: {near}")
    if as_json:
        print_json(sheets[name] if name else list(sheets.values()))
    elif name is None:
        print_table("methods", list(sheets.values()), ["name", "title", "output", "mark"])
    else:
        for key, value in sheets[name].items():
            print(f"{key}: {'; '.join(value) if isinstance(value, tuple) else value}")
