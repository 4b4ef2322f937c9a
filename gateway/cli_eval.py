"""`blackstart eval`: the models scored on measured data with known truth.

Each command is one function; the figures come from `models.evaluation`.
"""

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.errors import BadInput
from gateway.cli_print import JsonOption, print_json, print_table

__all__ = ("eval_app",)

eval_app = typer.Typer(help="Score the models on measured data with known truth.", no_args_is_help=True)


@eval_app.command("anomaly")
def eval_anomaly(
    data: Annotated[Path, typer.Option(help="Folder of `;` separated runs with a column `anomaly` (SKAB layout).")],
    through_plc: Annotated[
        bool, typer.Option("--through-plc", help="Also play every run through a simulated I/O module and the driver.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score the anomaly detectors: fitted on the first 400 rows of each run, judged on the rest, row by row."""
    if not data.is_dir():
        raise BadInput(f"{data}: no such folder")
    report = _anomaly_report(data, through_plc=through_plc)
    if as_json:
        print_json(report)
        return
    names = [
        name
        for name, value in report.items()
        if isinstance(value, dict) and "random_prefix" in value and name != "best"
    ]
    columns = ["detector", "F1", "FAR", "MAR", "F1, prefix", "ms per row"]
    figures = [(name, report[name], report[name]["random_prefix"]["f1"]) for name in names]
    rows = [
        dict(zip(columns, (name, row["f1"], row["far"], row["mar"], prefix, row.get("ms_per_row", "")), strict=True))
        for name, row, prefix in figures
    ]
    print_table(f"anomaly detection, {report['rows']} rows of {len(report['files'])} runs", rows, columns)
    print(f"best, chosen on development files: {report['best']['detector']}")
    print(
        "FAR: normal rows called anomalous; MAR: anomalous rows missed; prefix: normal rows more or fewer in front; "
        "clock and always: baselines, no detectors"
    )
    if "through_plc" in report:
        wire = report["through_plc"]
        print(f"through the simulated module: F1 {wire['f1']}, {wire['f1_loss']} lost, {wire['values_differing']} of "
              f"{wire['values']} values differ")  # fmt: skip
    for name, reason in report["left_out"].items():
        print(f"left out: {name}: {reason}")


def _anomaly_report(data: Path, *, through_plc: bool) -> dict[str, Any]:
    from models.evaluation.anomaly import evaluate, load_runs, score  # noqa: PLC0415

    try:
        from models.evaluation.detectors import BEST, DETECTORS  # noqa: PLC0415 - onnx and onnxruntime, 60 MB
    except ModuleNotFoundError as err:
        raise BadInput(f"fitting needs the extra `train`: pip install 'blackstart[train]' ({err})") from err
    loaded = load_runs(data)
    report = evaluate(loaded.runs, DETECTORS, BEST)
    report["left_out"] = dict(loaded.left_out)
    if through_plc:
        from gateway.eval_plc import through_plc as play  # noqa: PLC0415

        for name in ("pymodbus", "drivers.modbus"):
            logging.getLogger(name).setLevel(logging.ERROR)  # that the simulated module is no known device is no news
        received = asyncio.run(play(loaded.runs))
        figures = score(received.runs, DETECTORS[BEST])
        report["through_plc"] = figures | {
            "detector": BEST,
            "f1_loss": round(report["best"]["f1"] - figures["f1"], 4),
            "values": received.values,
            "values_differing": received.values_differing,
            "greatest_relative_difference": received.greatest_relative_difference,
        }
    return report
