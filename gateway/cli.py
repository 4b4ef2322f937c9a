"""The command line: what people type.  Every command takes `--json` for machines.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 70 the process must start afresh, 78 wrong configuration.
"""

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from drivers.clock import SystemClock
from drivers.errors import BadInput
from gateway import __version__
from gateway.cli_browse import register_browse
from gateway.cli_eval import eval_app
from gateway.cli_journal import journal_app
from gateway.cli_methods import register_methods
from gateway.cli_metrics import register_metrics
from gateway.cli_plan import register_plan
from gateway.cli_plot import plot_app
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table
from gateway.cli_prognosis import register_prognosis
from gateway.cli_risk import register_risk
from gateway.cli_runs import runs_app
from gateway.cli_sample import sample_app
from gateway.cli_thermal import register_thermal
from gateway.cli_train_dga import register_train_dga
from gateway.cli_trust import trust_app
from gateway.config import Config, load

__all__ = ("app",)

app = typer.Typer(
    help="Blackstart: watches substation equipment, reasons about faults, loses nothing in a power cut. It only reads.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
graph_app = typer.Typer(help="The fault graph: what memory holds.", no_args_is_help=True)
train_app = typer.Typer(help="Fit models on this box.", no_args_is_help=True)
register_plan(app)
register_browse(app)
register_metrics(app)
register_risk(app)
register_methods(app)
register_thermal(app)
register_prognosis(app)
app.add_typer(runs_app, name="runs")
app.add_typer(journal_app, name="journal")
app.add_typer(trust_app, name="trust")
app.add_typer(sample_app, name="sample")
app.add_typer(graph_app, name="graph")
app.add_typer(plot_app, name="plot")
app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")
register_train_dga(train_app)


def _hush_libraries() -> None:
    """They log a line or a traceback for each failed attempt; the pollers log once when a link goes or returns."""
    for name in ("asyncua", "pymodbus", "mqtt"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options that stand before any command."""
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    log_level: Annotated[Literal["debug", "info", "warning"], typer.Option(help="How much to log.")] = "info",
    ledger: Annotated[
        Path | None, typer.Option(help="Append each step that begins and each that is durable to this file (tests).")
    ] = None,
) -> None:
    """Run the gateway until SIGTERM; what systemd starts."""
    from gateway.app import run_gateway  # noqa: PLC0415
    from gateway.ledger import Ledger  # noqa: PLC0415

    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    _hush_libraries()
    asyncio.run(run_gateway(load(config), SystemClock(), Ledger(ledger) if ledger else None))


@app.command("check-config")
def check_config(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Check a configuration and show every error at once; exit code 78 where there is one."""
    checked = load(config)
    summary = _summary(checked)
    if as_json:
        print_json(summary)
        return
    print(f"{config}: good. " + ", ".join(f"{count} {what}" for what, count in summary.items()))


def _summary(config: Config) -> dict[str, int]:
    return {
        "assets": len(config.asset),
        "links": len(config.link),
        "edges": len(config.edge),
        "anomaly models": len(config.anomaly_model),
    }


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Links, points, alarms, outbox and journal of the running daemon."""
    answer = ask(config, "status")
    if as_json:
        print_json(answer)
        return
    print_table("links", answer["links"], list(answer["links"][0]))
    for key in ("points_by_quality", "thermal", "abstaining", "alarms_standing", "outbox", "journal", "clock", "core"):
        print(f"{key.replace('_', ' ')}: {answer[key]}")


@app.command()
def alarms(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Standing alarms, the most severe first."""
    rows = ask(config, "alarms")
    if as_json:
        print_json(rows)
        return
    print_table("standing alarms", rows, ["severity", "text", "stage", "acked_state", "event_time", "run_id"])


@graph_app.command("show")
def graph_show(
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Edges to show, learned ones first.")] = 30,
    as_json: JsonOption = False,
) -> None:
    """Edges of the fault graph with their counts and sources."""
    rows = ask(config, "graph", limit=limit)
    if as_json:
        print_json(rows)
        return
    columns = ["etype", "src", "dst", "strength", "confirmed", "suspected", "background", "source"]
    print_table("fault graph", rows, columns)


@app.command()
def verdict(
    run_id: Annotated[str, typer.Argument(help="The investigation, as shown by `blackstart alarms`.")],
    outcome: Annotated[Literal["confirmed", "rejected", "no_fault_found"], typer.Option(help="How it ended.")],
    code: Annotated[str, typer.Option(help="IEC 60599 code that was found: PD D1 D2 DT T1 T2 T3 S N.")],
    basis: Annotated[
        Literal["internal_inspection", "electrical_test", "lab_analysis", "operator_judgement"],
        typer.Option(help="What it rests on; only the first two confirm."),
    ],
    by: Annotated[str, typer.Option(help="Who says so.")],
    cause: Annotated[str | None, typer.Option(help="Failure mode, as in `blackstart graph show`.")] = None,
    note: Annotated[str, typer.Option(help="Kept verbatim.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell an investigation what people found; it teaches memory."""
    content = {
        "outcome": outcome,
        "final_code": code,
        "basis": basis,
        "observed_at": SystemClock().now().isoformat(),
        "by": by,
        "final_cause": cause,
        "note": note,
    }
    answer = ask(config, "verdict", run_id=run_id, verdict=content)
    print_json({"result": answer}) if as_json else print(answer)


@app.command()
def diagnose(
    h2: Annotated[float, typer.Option(help="Hydrogen, µL/L (ppm).")],
    ch4: Annotated[float, typer.Option(help="Methane.")],
    c2h6: Annotated[float, typer.Option(help="Ethane.")],
    c2h4: Annotated[float, typer.Option(help="Ethylene.")],
    c2h2: Annotated[float, typer.Option(help="Acetylene.")],
    co: Annotated[float | None, typer.Option(help="Carbon monoxide.")] = None,
    co2: Annotated[float | None, typer.Option(help="Carbon dioxide.")] = None,
    age_years: Annotated[float | None, typer.Option(help="Age of the transformer.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Diagnose one set of dissolved gases; needs no configuration, no daemon, no model."""
    from gateway.oneshot import diagnose_values  # noqa: PLC0415

    result = diagnose_values(h2=h2, ch4=ch4, c2h6=c2h6, c2h4=c2h4, c2h2=c2h2, co=co, co2=co2, age_years=age_years)
    if as_json:
        print_json({"votes": result.votes, "diagnosis": result.model_dump(mode="json")})
        return
    print(result.explanation)


@train_app.command("anomaly")
def train_anomaly(
    csv: Annotated[Path, typer.Argument(help="Commissioning data; columns as `python -m hil_sim commission` writes.")],
    asset: Annotated[str, typer.Option(help="Asset that the data come from.")],
    out: Annotated[Path, typer.Option(help="ONNX file to write.")],
    kind: Annotated[
        Literal["pca", "kernel"], typer.Option(help="PCA T² and Q, or kernel regression for a machine that bends.")
    ] = "pca",
    as_json: JsonOption = False,
) -> None:
    """Fit a model of one asset's healthy state and write it as ONNX; FAR and MAR are of rows it was not fitted on."""
    try:
        from models.training.anomaly import train_anomaly as train  # noqa: PLC0415
    except ModuleNotFoundError as err:
        raise BadInput(f"training needs the extra `train`: pip install 'blackstart[train]' ({err})") from err
    report = train(csv, asset, out, kind)
    result = {
        "file": str(report.path),
        "sha256": report.sha256,
        "features": report.card.features,
        "fitted_rows": report.card.fitted_rows,
        "held_back_rows": report.card.held_back_rows,
        "held_back_alarms": report.held_back_alarms,
        "far": report.card.far,
        "mar": report.card.mar,
        "ignored_columns": report.ignored_columns,
    }
    if as_json:
        print_json(result)
        return
    for key, value in result.items():
        print(f"{key.replace('_', ' ')}: {value}")


@app.command("schemas")
def write_schema_files(
    folder: Annotated[Path, typer.Argument(help="Existing folder; one file per payload is written into it.")],
    as_json: JsonOption = False,
) -> None:
    """Write the JSON Schemas of every MQTT payload: what SCADA will see."""
    from gateway.schemas import schemas, write_schemas  # noqa: PLC0415

    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    write_schemas(folder)
    names = sorted(schemas())
    print_json(names) if as_json else print("\n".join(names))


@app.command()
def replay(
    csv: Annotated[Path, typer.Argument(help="Dissolved-gas rows (H2,CH4,C2H6,C2H4,C2H2,fault) or an ETT file (OT).")],
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows (gases) or hours (oil temperature).")] = 300,
    seed: Annotated[int, typer.Option(help="Which rows are drawn.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Play real measurements through simulated devices, drivers and agents, and compare with the methods alone."""
    from gateway.replay import replay_file  # noqa: PLC0415

    _hush_libraries()
    report = asyncio.run(replay_file(csv, rows, seed))
    if as_json:
        print_json(report)
        return
    from gateway.replay import report_text  # noqa: PLC0415

    print(report_text(report))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="No keyboard; ends by itself.")] = False,
    core: Annotated[Literal["on", "off"], typer.Option(help="Use the reasoning core.")] = "on",
    as_json: JsonOption = False,
) -> None:
    """Tell the whole story on a simulated substation: fault, alarm, power cut, diagnosis, verdict, memory."""
    from gateway.demo import run_demo  # noqa: PLC0415

    raise typer.Exit(asyncio.run(run_demo(once=once, core=core == "on", as_json=as_json)))
