"""`blackstart plot …`: pictures as SVG files, from values that are typed, a CSV file or the running daemon.

Gases in µL/L.  A track of samples is drawn in the order of its rows, or of time.  The file is replaced in one step.
"""

import csv
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json
from gateway.cli_prognosis import Threshold, series_of, thresholds_of
from gateway.cli_thermal import PLANNING_AID, carried, configured_asset, given_situation, situation_of, span_text
from gateway.plots.diagram import GasSample
from gateway.plots.pentagon import pentagon_svg
from gateway.plots.thermal import thermal_svg
from gateway.plots.trend import trend_svg
from gateway.plots.triangle import triangle_svg
from models.dga.gases import Gases
from models.dga.zones import ZONES
from models.prognosis import forecast
from models.thermal import parameters_for

__all__ = ("parsed_gases", "plot_app", "samples_of_csv", "samples_of_history")

ROWS_MAX = 2_000  # of a CSV file
GASES = ("h2", "ch4", "c2h6", "c2h4", "c2h2")
TIME_COLUMNS = ("time", "date", "sampled_at")
FIRST_TRIANGLE = ZONES["duval_triangle_1"].gases  # Triangles 4 and 5 refine it and need its gases as well

plot_app = typer.Typer(help="Pictures as SVG.", no_args_is_help=True)
OutOption = Annotated[Path, typer.Option(help="SVG file to write.")]
GasesOption = Annotated[str | None, typer.Option(help="One sample, µL/L: H2=31,CH4=192,C2H6=130,C2H4=31,C2H2=0")]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", help="Samples in the order of rows: H2,CH4,C2H6,C2H4,C2H2,time")
]
AssetOption = Annotated[str | None, typer.Option(help="Samples of this asset from the running daemon.")]
DaysOption = Annotated[float, typer.Option(min=0.01, max=366, help="With an asset: how far back.")]


@plot_app.command("triangle")
def plot_triangle(
    out: OutOption,
    which: Annotated[Literal["1", "2", "4", "5"], typer.Option(help="2 is for tap changers.")] = "1",
    gases: GasesOption = None,
    csv_file: CsvOption = None,
    asset: AssetOption = None,
    days: DaysOption = 30.0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Dissolved gases in one of Duval's triangles."""
    name = f"duval_triangle_{which}"
    samples = _samples(name, gases, csv_file, asset, days, config)
    _write(out, triangle_svg(name, samples), as_json, samples=len(samples), codes=[one.code(name) for one in samples])


@plot_app.command("pentagon")
def plot_pentagon(
    out: OutOption,
    which: Annotated[Literal["1", "2"], typer.Option(help="2 tells the thermal faults apart.")] = "1",
    gases: GasesOption = None,
    csv_file: CsvOption = None,
    asset: AssetOption = None,
    days: DaysOption = 30.0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Dissolved gases in one of Duval's pentagons."""
    name = f"duval_pentagon_{which}"
    samples = _samples(name, gases, csv_file, asset, days, config)
    _write(out, pentagon_svg(name, samples), as_json, samples=len(samples), codes=[one.code(name) for one in samples])


@plot_app.command("trend")
def plot_trend(
    asset: Annotated[str, typer.Argument(help="Asset, as in the configuration.")],
    point: Annotated[str, typer.Argument(help="Its point, for example SIML.H2ppm.")],
    out: OutOption,
    days: DaysOption = 30.0,
    threshold: Annotated[float | None, typer.Option(help="Threshold, in the point's unit.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """A point's measurements, its thresholds, and when the first of them will be met."""
    machine = configured_asset(config, asset)
    history = ask(config, "history", asset=asset, hours=days * 24)
    times, values = series_of(history, point)
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        points = ", ".join(sorted(history["units"]))
        raise BadInput(f"{point} of {asset}: {len(values)} measurements in {days:g} days; its points are {points}")
    seconds = [(time - times[0]).total_seconds() * history["time_factor"] for time in times]
    known = [one for one in thresholds_of(machine) if one.indicator == point]
    wanted = known if threshold is None else [Threshold(point, threshold, "threshold", None)]
    thresholds = [(one.meaning, one.value) for one in wanted]
    found = [forecast(seconds, values, one.value, upper=one.upper) for one in wanted]
    first = min(found, key=lambda one: (one.median_s is None, one.median_s or 0.0), default=None)
    title, last = f"{asset} {point}", times[-1].strftime("%Y-%m-%d %H:%M UTC")
    picture = trend_svg(title, history["units"][point], seconds, values, thresholds, first, last=last)
    _write(out, picture, as_json, measurements=len(values), median_s=first.median_s if first else None)


@plot_app.command("thermal")
def plot_thermal(
    asset: Annotated[str, typer.Argument(help="Transformer, as in the configuration.")],
    out: OutOption,
    load: Annotated[float | None, typer.Option(min=0, max=5, help="A load to come, per unit of rating.")] = None,
    limit_degc: Annotated[float, typer.Option(help="Hot-spot limit.")] = 120.0,
    top_oil_limit_degc: Annotated[float, typer.Option(help="Top-oil limit.")] = 105.0,
    ambient: Annotated[float | None, typer.Option(help="Ambient to come, °C; else the measured one.")] = None,
    top_oil_degc: Annotated[float | None, typer.Option(help="With --load: begin here, without a daemon.")] = None,
    load_before: Annotated[float, typer.Option(min=0, max=5, help="With --top-oil-degc: the load until now.")] = 0.0,
    hours: Annotated[float, typer.Option(min=0.1, max=168, help="How far back, and ahead.")] = 12.0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Temperatures of a transformer until now, and what a load to come leads to."""
    machine = configured_asset(config, asset)
    past: dict[str, list[tuple[float, float]]] = {}
    begin = None
    if top_oil_degc is not None:
        begin = given_situation(parameters_for(machine.nameplate), top_oil_degc, load_before, ambient)
    else:
        past = _past(ask(config, "history", asset=asset, hours=hours))
        if load is not None:
            begin = situation_of(ask(config, "thermal").get(asset), asset, ambient)
    ahead = None
    if load is not None and begin is not None:
        ahead = carried(machine, begin, load, limit_degc, top_oil_limit_degc, hours)
    if ahead is None and not any(past.values()):
        raise BadInput(f"{asset}: no temperatures in the last {hours:g} h, and no --load to come")
    first = f"at {load:g} pu the first limit is met {span_text(ahead.first_s, hours)}" if ahead else ""
    caption = [line for line in (first, PLANNING_AID if ahead else "") if line]
    limits = [("hot-spot limit", limit_degc), ("top-oil limit", top_oil_limit_degc)]
    picture = thermal_svg(f"{asset} temperatures", past, ahead, limits, caption)
    _write(out, picture, as_json, curves=[*past], first_limit_after_s=ahead.first_s if ahead else None)


def _past(history: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Hours before now and °C of the temperatures that are measured."""
    now = datetime.fromisoformat(history["until"])
    courses = {}
    for indicator, name in (("SIML.Tmp", "top oil"), ("SPTR.HPTmp", "hot spot"), ("STMP.EnvTmp", "ambient")):
        times, values = series_of(history, indicator)
        hours = [(time - now).total_seconds() * history["time_factor"] / 3600 for time in times]
        courses[name] = [(min(0.0, hour), value) for hour, value in zip(hours, values, strict=True)]
    return {name: course for name, course in courses.items() if course}


def _samples(
    name: str, gases: str | None, csv_file: Path | None, asset: str | None, days: float, config: Path
) -> list[GasSample]:
    """From the one of three sources that is given."""
    if sum(source is not None for source in (gases, csv_file, asset)) != 1:
        raise BadInput("give the samples in one way: --gases, --csv or --asset")
    if gases is not None:
        return [GasSample(parsed_gases(gases, _needed(name)))]
    if csv_file is not None:
        return samples_of_csv(csv_file, _needed(name))
    samples = samples_of_history(ask(config, "history", asset=asset, hours=days * 24))
    if not samples:
        raise BadInput(f"{asset}: no gas analysis in the last {days:g} days")
    return samples


def _needed(name: str) -> tuple[str, ...]:
    """Gases that the diagram and its method cannot do without."""
    return tuple(gas for gas in GASES if gas in ZONES[name].gases or gas in FIRST_TRIANGLE)


def parsed_gases(text: str, needed: Iterable[str] = GASES) -> Gases:
    """`H2=31,CH4=192`; gases that are not needed may be left out.  Raises BadInput naming the gas."""
    pairs = [part.partition("=") for part in text.replace(" ", "").split(",") if part]
    return _gases({name.lower(): value for name, _, value in pairs}, needed, "--gases")


def samples_of_csv(path: Path, needed: Iterable[str] = GASES) -> list[GasSample]:
    """One sample per row, in the order of the file.  Raises BadInput naming file, row and gas."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [{(key or "").strip().lower(): value for key, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise BadInput(f"{path}: cannot be read: {err}") from err
    if not 0 < len(rows) <= ROWS_MAX:
        raise BadInput(f"{path}: {len(rows)} rows; 1 to {ROWS_MAX} can be drawn")
    return [
        GasSample(
            _gases({gas: row[gas] or "" for gas in GASES if gas in row}, needed, f"{path}, row {number}"),
            next((row[column] for column in TIME_COLUMNS if row.get(column)), ""),
        )
        for number, row in enumerate(rows, start=1)
    ]


def samples_of_history(history: Mapping[str, Any]) -> list[GasSample]:
    """The device cycles that show all five gases; a negative reading is the monitor's noise around nothing."""
    samples = []
    for cycles in history["groups"].values():
        for cycle in cycles:
            values = {gas: cycle["values"].get(f"SIML.{gas.upper()}ppm") for gas in GASES}
            if None not in values.values():
                when = datetime.fromisoformat(cycle["time"]).strftime("%Y-%m-%d %H:%M UTC")
                texts = {gas: str(max(0.0, float(value))) for gas, value in values.items() if value is not None}
                samples.append((cycle["time"], GasSample(_gases(texts, GASES, when), when)))
    return [sample for _, sample in sorted(samples, key=lambda pair: pair[0])]


def _gases(values: Mapping[str, str], needed: Iterable[str], origin: str) -> Gases:
    unknown = sorted(set(values) - set(GASES))
    missing = sorted(set(needed) - {gas for gas, value in values.items() if value})
    if unknown or missing:
        words = [f"unknown {', '.join(unknown)}"] * bool(unknown) + [f"lacks {', '.join(missing)}"] * bool(missing)
        raise BadInput(f"{origin}: {'; '.join(words)}; gases are H2, CH4, C2H6, C2H4, C2H2")
    try:
        return Gases.model_validate({f"{gas}_ul_l": values.get(gas) or 0.0 for gas in GASES})
    except ValidationError as err:
        lines = [f"{detail['loc'][0]}: {detail['msg']} (found {detail['input']})" for detail in err.errors()]
        raise BadInput(f"{origin}: {'; '.join(lines)}") from err


def _write(out: Path, picture: str, as_json: bool, **said: object) -> None:
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(picture, encoding="utf-8")
        part.replace(out)
    except OSError as err:
        raise BadInput(f"{out}: cannot be written: {err.strerror}") from err
    print_json({"file": str(out), **said}) if as_json else print(f"{out}: written")
