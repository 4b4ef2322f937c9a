"""`blackstart journal …`: verify, snapshot, export and rescue, through the daemon where one runs, else on its files.

Exit codes: 0 fine, 1 a finding or a refusal.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.clock import SystemClock
from drivers.errors import Transient
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table
from gateway.config import load

__all__ = ("journal_app",)

journal_app = typer.Typer(help="The journal: is it whole, copy it, mend it.", no_args_is_help=True)
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="Key of the row chain, where no daemon runs. Default: journal.key in the state folder."),
]


@journal_app.command("verify")
def journal_verify(
    config: ConfigOption = DEFAULT_CONFIG,
    head: Annotated[
        list[str] | None,
        typer.Option(help="A head that an earlier verify printed: its row must still be there. May be repeated."),
    ] = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the row chain: was any row changed, removed or put in? Exit code 1 where one was."""

    def on_files(state_dir: Path) -> dict[str, Any]:
        from gateway.journal_views import head_of, heads_of  # noqa: PLC0415 - duckdb loads only where needed
        from journal import verify_files  # noqa: PLC0415

        found, last = verify_files(state_dir, key_file=key, anchors=heads_of(head or []))
        return asdict(found) | {"head": head_of(last)}

    answer = _daemon_or_files(config, on_files, "journal_verify", heads=head or [])
    broken = answer["broken_seq"]
    if as_json:
        print_json(answer)
    elif broken is None:
        print(f"{answer['rows']} rows, each follows from the one before; head {answer['head']}")
    else:
        print(f"row {broken}: {answer['reason']}; the {answer['rows']} rows before it are good")
    raise typer.Exit(int(broken is not None))


@journal_app.command("snapshot")
def journal_snapshot(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Have the daemon copy its database now; it does so daily. A rescue goes back to it as the last resort."""
    answer = ask(config, "journal_snapshot")
    print_json(answer) if as_json else print(answer["file"])


@journal_app.command("export")
def journal_export(
    folder: Annotated[Path, typer.Argument(help="Is made where it is missing; must be writable for the daemon.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write every row and payload as Parquet, for any tool that reads it."""

    def on_files(state_dir: Path) -> dict[str, Any]:
        from journal import export_files  # noqa: PLC0415 - duckdb loads only where needed

        return {"files": [str(path) for path in export_files(state_dir, target)]}

    target = folder.absolute()
    answer = _daemon_or_files(config, on_files, "journal_export", folder=str(target))
    print_json(answer) if as_json else print("\n".join(answer["files"]))


@journal_app.command("rescue")
def journal_rescue(config: ConfigOption = DEFAULT_CONFIG, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Mend a damaged journal while no daemon runs, as its next start would. Exit code 1 where there was damage."""
    from journal import rescue_files  # noqa: PLC0415 - duckdb loads only where needed

    notes = asyncio.run(rescue_files(load(config).gateway.state_dir, SystemClock(), key_file=key))
    if as_json:
        print_json([asdict(note) for note in notes])
    elif not notes:
        print("the journal opens as it is; nothing had to be mended")
    else:
        print_table("what was done", [asdict(note) for note in notes], ["rung", "detail", "set_aside"])
        print(_loss(notes[0].lost_from, notes[0].lost_to))
    raise typer.Exit(int(bool(notes)))


def _loss(lost_from: int | None, lost_to: int | None) -> str:
    if lost_from is None:
        return "no acknowledged row is lost"
    return f"lost: rows {lost_from} to at least {lost_to}; the daemon's next start raises an alarm"


def _daemon_or_files(
    config: Path, on_files: Callable[[Path], dict[str, Any]], cmd: str, **arguments: object
) -> dict[str, Any]:
    """What the daemon answers; where none listens, what the files say, which it would hold."""
    try:
        answer: dict[str, Any] = ask(config, cmd, **arguments)
    except Transient:
        return on_files(load(config).gateway.state_dir)
    return answer
