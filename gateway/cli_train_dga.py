"""`blackstart train dga`: fits the learned model of dissolved gases and shows what its card says."""

from pathlib import Path
from typing import Annotated

import typer

from drivers.errors import BadInput
from gateway.cli_print import JsonOption, print_json, print_table

__all__ = ("register_train_dga",)


def register_train_dga(train_app: typer.Typer) -> None:
    """Add the command to `blackstart train`."""
    train_app.command("dga")(_train_dga)


def _train_dga(
    csv: Annotated[Path, typer.Argument(help="Labelled samples as for `blackstart eval dga`, with a column `origin`.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write; its card goes beside it as .json.")],
    as_json: JsonOption = False,
) -> None:
    """Fit the learned dissolved-gas model and score it on origins that it has not seen; takes a minute."""
    try:
        from models.training.dga import train_dga  # noqa: PLC0415
    except ModuleNotFoundError as err:
        raise BadInput(f"training needs the extra `train`: pip install 'blackstart[train]' ({err})") from err
    card = train_dga(csv, out).card.model_dump(mode="json")
    if as_json:
        print_json(card)
        return
    rows = [
        {"method": method, "origin left out": origin, **scores}
        for method, origins in card["cross_origin"].items()
        for origin, scores in origins.items()
    ]
    print_table("on origins not seen", rows, list(rows[0]))
    print(f"{out}: {card['members']} networks, SHA-256 {card['sha256']}")
    print(f"τ: {', '.join(f'{method} {value:.2f}' for method, value in card['tau'].items())}")
