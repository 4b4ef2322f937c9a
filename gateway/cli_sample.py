"""`blackstart sample …`: oil analyses of a laboratory, handed to the running daemon and listed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table

__all__ = ("sample_app",)

FILE_BYTES_MAX = 170_000  # as many as the daemon takes
GASES = ("H2", "CH4", "C2H6", "C2H4", "C2H2", "CO", "CO2")

sample_app = typer.Typer(help="Oil analyses of a laboratory, beside the gas monitors' data.", no_args_is_help=True)


@sample_app.command("import")
def import_file(
    csv: Annotated[
        Path,
        typer.Argument(
            help="Columns asset, time (2026-03-01T10:30+01:00 or a date), lab, and in µL/L (ppm) H2 CH4 C2H6 C2H4 C2H2 "
            "and, where measured, CO CO2 O2 N2. '<0.5' is below detection."
        ),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Hand samples to the daemon; all of the file or nothing. The same file again changes nothing."""
    try:
        with csv.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
        text = content.decode()
    except OSError as err:
        raise BadInput(f"{csv}: cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise BadInput(f"{csv}: not UTF-8 text: {err.reason} at byte {err.start}") from err
    if len(content) > FILE_BYTES_MAX:
        raise BadInput(f"{csv}: larger than {FILE_BYTES_MAX} bytes; import it in parts")
    try:
        answer = ask(config, "sample_import", text=text)
    except BadInput as err:
        raise BadInput(f"{csv}: {err}") from err
    if as_json:
        print_json(answer)
        return
    print(f"{answer['new']} new, {answer['corrected']} corrected, {answer['known']} known")
    print_table(
        "newest sample of each machine", answer["assets"], ["asset", "time", "lab", "status", "code", "exceeded"]
    )


@sample_app.command("list")
def list_samples(
    asset: Annotated[str, typer.Argument(help="As configured, for example T1.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """One machine's samples, the newest first, each with its IEEE C57.104-2019 status and why."""
    rows = ask(config, "sample_list", asset=asset)
    if as_json:
        print_json(rows)
        return
    print_table(
        f"samples of {asset}, µL/L", _shown(rows), ["source", "time", "lab", *GASES, "status", "code", "exceeded"]
    )


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For a table: one line per limit that is exceeded, or why there is no status."""
    return [row | {"exceeded": row.get("abstained") or "\n".join(row.get("exceeded", []))} for row in rows]
