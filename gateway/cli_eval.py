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


@eval_app.command("dga")
def eval_dga(
    data: Annotated[
        Path,
        typer.Option(
            help="CSV with H2, CH4, C2H6, C2H4, C2H2 in µL/L (0 = not detected) and fault: PD, D1, D2, T1, T2, T3, "
            "T12 (T1 or T2) or N (normal)."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Score the dissolved-gas methods, their consensus and the learned model on labelled samples."""
    from models.evaluation.cases import load_cases  # noqa: PLC0415 - numpy loads only where it is needed
    from models.evaluation.dga import FAULT_LABELS, METHODS, evaluate  # noqa: PLC0415

    report = evaluate(load_cases(data))
    if as_json:
        print_json(report)
        return
    print_table(
        f"{data.name}: {report['n']} faults, {report['n_normal']} normal; in percent",
        [{"method": method, **_scored(report[method])} for method in METHODS],
        ["method", "right", "family", "decided", "difference", "p"],
    )
    print_table(
        "right per label, in percent",
        [{"method": method, **_recalls(report[method])} for method in METHODS],
        ["method", *FAULT_LABELS],
    )
    print_table(
        "how sure",
        [{"method": method, **_sure(report[method])} for method in METHODS if report[method]["tau"] is not None],
        ["method", "calibration error", "τ", "% at τ or above", "right of those"],
    )
    gate = report["gate"]
    print(f"gate ({gate['method']}): passes {_percent(gate['fault_recall'])} % of the faults to the methods,")
    print(f"keeps {_percent(gate['normal_pass'])} % of the normal samples from them.")
    print("Methods are scored on every fault, ungated; an undecided answer is a wrong one.  Intervals are 95 %;")
    print("difference and p (McNemar) are to Triangle 1.")
    if report["trained_on_this_file"]:
        print("The learned model was trained on this very file: its figures, and the consensus's, flatter here.")


def _scored(figures: dict[str, Any]) -> dict[str, str]:
    """One method's row for people."""
    versus = figures["vs_triangle_1"] or {"difference": None, "mcnemar_p": None}
    return {
        "right": _percent(figures["accuracy"], figures["accuracy_ci"]),
        "family": _percent(figures["family_accuracy"], figures["family_accuracy_ci"]),
        "decided": _percent(figures["decided"]),
        "difference": _plain(versus["difference"], "+.1%"),
        "p": _plain(versus["mcnemar_p"], ".2g"),
    }


def _recalls(figures: dict[str, Any]) -> dict[str, str]:
    return {label: _percent(share) for label, share in (figures["recall"] or {}).items()}


def _sure(figures: dict[str, Any]) -> dict[str, str]:
    return {
        "calibration error": _plain(figures["ece"], ".3f"),
        "τ": _plain(figures["tau"], ".2f"),
        "% at τ or above": _percent(figures["coverage_at_tau"]),
        "right of those": _percent(figures["accuracy_at_tau"], figures["accuracy_at_tau_ci"]),
    }


def _percent(share: float | None, interval: tuple[float, float] | None = None) -> str:
    if share is None:
        return "-"
    bounds = f" ({100 * interval[0]:.0f}-{100 * interval[1]:.0f})" if interval else ""
    return f"{100 * share:.1f}{bounds}"


def _plain(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


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
