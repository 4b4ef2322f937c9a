"""`blackstart prognosis`: when measurements of an asset will meet their limits, from the running daemon's sample log.

Device cycles from the control socket in; per point and limit a time with its 90 % interval out, or why nobody can say.
Thresholds: the 95 % values of IEEE C57.104-2019 for gases, the nameplate's pressures for SF6, or one that is given.
A time to a threshold is not remaining life; insulation life that was used is shown apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table
from gateway.cli_thermal import configured_asset
from models.asset import Asset
from models.dga.gases import MAX_UL_L, Gases
from models.dga.limits import c57_104_status
from models.prognosis import Forecast, forecast

__all__ = ("Threshold", "register_prognosis", "series_of", "thresholds_of")

DAY_S = 86_400.0
GAS_FIELDS = ("h2", "ch4", "c2h6", "c2h4", "c2h2", "co", "co2")
LIFE_NOTE = "insulation life used is loss of life by the thermal model; it is no forecast of remaining life"
TIME_NOTE = "a time to a threshold holds while the cause goes on as it did; it is not remaining life"


class Threshold(NamedTuple):
    """A value that a point should not meet."""

    indicator: str
    value: float
    meaning: str
    upper: bool | None = True  # the trouble is above it; None: beyond it as seen from now


def register_prognosis(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("prognosis")(_prognosis)


def _prognosis(
    asset: Annotated[str, typer.Argument(help="Asset, as in the configuration.")],
    days: Annotated[float, typer.Option(min=0.01, max=366, help="How far back the trend is taken from.")] = 30.0,
    point: Annotated[str | None, typer.Option(help="Only this point, for example SIML.H2ppm.")] = None,
    threshold: Annotated[float | None, typer.Option(help="With --point: its threshold, in the point's unit.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """When measurements will meet their limits, with a 90 % interval, or why nobody can say."""
    machine = configured_asset(config, asset)
    wanted = _wanted(machine, point, threshold)
    history = ask(config, "history", asset=asset, hours=days * 24)
    life = ask(config, "thermal").get(asset)
    rows = [_row(one, history) for one in wanted if one.indicator in history["units"]]
    used_h = life["life_used_since_start_h"] if life else None
    if as_json:
        print_json(
            {"asset": asset, "forecasts": rows, "life_used_since_start_h": used_h, "notes": [TIME_NOTE, LIFE_NOTE]}
        )
        return
    if not rows:
        print(f"{asset}: no point with a threshold; name one with --point and --threshold")
    print_table(f"{asset}: time to threshold", [_shown(row) for row in rows], list(_shown(rows[0])) if rows else [])
    print(TIME_NOTE)
    if used_h is not None:
        print(f"insulation life used since the daemon's start: {used_h:.1f} h; {LIFE_NOTE}")


def _wanted(machine: Asset, point: str | None, threshold: float | None) -> list[Threshold]:
    if threshold is not None:
        if point is None:
            raise BadInput("--threshold needs --point beside it")
        return [Threshold(point, threshold, "given", None)]
    found = [one for one in thresholds_of(machine) if point in (None, one.indicator)]
    if point is not None and not found:
        raise BadInput(f"{point} of {machine.id}: no threshold is known: give --threshold")
    return found


def thresholds_of(asset: Asset) -> Iterator[Threshold]:
    """Thresholds that the standards and the nameplate give."""
    everything = c57_104_status(
        Gases(**dict.fromkeys((f"{gas}_ul_l" for gas in GAS_FIELDS), MAX_UL_L)), asset.nameplate
    )
    for fact in everything.facts:
        gas, _, table = fact.name.partition(" limit, ")
        if table == "C57.104 table 2":
            yield Threshold(f"SIML.{gas}ppm", fact.value, "C57.104 table 2, 95 %")
    for meaning, limit_bara in (
        ("alarm", asset.nameplate.sf6_alarm_bara),
        ("lock-out", asset.nameplate.sf6_lockout_bara),
    ):
        if limit_bara is not None:
            yield Threshold("SIMG.Pres20", limit_bara, meaning, upper=False)


def series_of(history: Mapping[str, Any], indicator: str) -> tuple[list[datetime], list[float]]:
    """Times and values of one point of the daemon's answer, oldest first; of equal times the newest counts."""
    found = {
        datetime.fromisoformat(cycle["time"]): float(cycle["values"][indicator])
        for cycles in history["groups"].values()
        for cycle in cycles
        if indicator in cycle["values"]
    }
    times = sorted(found)
    return times, [found[time] for time in times]


def _row(wanted: Threshold, history: Mapping[str, Any]) -> dict[str, Any]:
    times, values = series_of(history, wanted.indicator)
    seconds = [(time - times[0]).total_seconds() * history["time_factor"] for time in times]
    found: Forecast = forecast(seconds, values, wanted.value, upper=wanted.upper)
    head = {"point": wanted.indicator, "unit": history["units"][wanted.indicator], "meaning": wanted.meaning}
    return head | {"measurements": len(values)} | asdict(found)


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    unit = row["unit"]
    return {
        "point": row["point"],
        "now": "" if row["level"] is None else f"{row['level']:.4g} {unit}",
        "threshold": f"{row['threshold']:g} {unit} ({row['meaning']})",
        "a day": "" if row["rate_per_s"] is None else f"{row['rate_per_s'] * DAY_S:+.3g}",
        "time to threshold": row["abstained"] or _interval([row["median_s"], row["low_s"], row["high_s"]]),
    }


def _interval(times_s: Sequence[float | None]) -> str:
    if times_s[0] == 0.0:
        return "met already"
    median, low, high = ("never" if time_s is None else f"{time_s / DAY_S:.3g} d" for time_s in times_s)
    return f"{median} ({low} to {high})"
