"""`blackstart eval`: the models scored on measured data with known truth.

Each command is one function; the figures come from `models.evaluation`.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

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
