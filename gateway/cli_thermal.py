"""`blackstart overload`: how long a transformer may carry a load, from now's state or from a state that is given.

The nameplate comes from the configuration, the state from the running daemon's control socket or from options; the
answer is calculated here.  A planning aid that says what it leaves out.
"""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from drivers.errors import BadInput
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json
from gateway.config import load as load_config
from models.asset import Asset
from models.thermal import (
    Parameters,
    Regime,
    ThermalState,
    assumptions_of,
    loading_limits,
    parameters_for,
    steady_state,
)
from models.thermal.overload import NOT_MODELLED, Overload, overload

__all__ = (
    "PLANNING_AID",
    "Situation",
    "carried",
    "configured_asset",
    "given_situation",
    "register_thermal",
    "situation_of",
    "span_text",
)

WORTH_SAYING_K = 3.0  # less is weather
WARMER_K = 5.0  # a hot afternoon beside the one that was reckoned with
PLANNING_AID = "A planning aid: it neither allows nor forbids anything."


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a transformer stands."""

    state: ThermalState
    ambient_degc: float
    source: str  # in words
    oil_rise_factor: float = 1.0  # what commissioning found, over the nameplate's
    residual_k: float | None = None  # top oil above what load and ambient explain, where cooling is watched


def register_thermal(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("overload")(_overload)


def _overload(
    asset: Annotated[str, typer.Argument(help="Transformer, as in the configuration.")],
    load: Annotated[float, typer.Option(min=0, max=5, help="Load to carry from now on, per unit of rating.")],
    limit_degc: Annotated[float, typer.Option(help="Hot-spot limit; 120 is IEC 60076-7's for normal loading.")] = 120.0,
    top_oil_limit_degc: Annotated[float, typer.Option(help="Top-oil limit.")] = 105.0,
    ambient: Annotated[float | None, typer.Option(help="Ambient, °C; else the measured one.")] = None,
    top_oil_degc: Annotated[float | None, typer.Option(help="Begin at this top oil instead of now's state.")] = None,
    load_before: Annotated[float, typer.Option(min=0, max=5, help="With --top-oil-degc: the load until now.")] = 0.0,
    horizon_h: Annotated[float, typer.Option(min=0.1, max=168, help="How far to look ahead.")] = 24.0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """How long a transformer may carry a load before its hot spot or top oil meets a limit: a planning aid."""
    machine = configured_asset(config, asset)
    parameters = parameters_for(machine.nameplate)
    if top_oil_degc is None:
        begin = situation_of(ask(config, "thermal").get(asset), asset, ambient)
    else:
        begin = given_situation(parameters, top_oil_degc, load_before, ambient)

    hotter = replace(begin, ambient_degc=begin.ambient_degc + WARMER_K)
    result, warmer = (carried(machine, one, load, limit_degc, top_oil_limit_degc, horizon_h) for one in (begin, hotter))
    limit_pu = loading_limits(Regime.NORMAL, machine.nameplate.cooling).load_pu
    answer = {
        "asset": asset,
        "load_pu": load,
        "ambient_degc": begin.ambient_degc,
        "state": asdict(begin.state) | {"hot_spot_degc": begin.state.hot_spot_degc, "source": begin.source},
        "top_oil_above_expected_k": begin.residual_k,
        "hot_spot": {"limit_degc": limit_degc, "reached_after_s": result.hot_spot_s},
        "top_oil": {"limit_degc": top_oil_limit_degc, "reached_after_s": result.top_oil_s},
        "settles_at_degc": {"top_oil": result.settled.top_oil_degc, "hot_spot": result.settled.hot_spot_degc},
        "horizon_h": horizon_h,
        "first_limit_after_s": result.first_s,
        "first_limit_after_s_if_5_k_warmer": warmer.first_s,
        "life_used_h": result.life_used_h,
        "load_above_normal_cyclic_limit_pu": limit_pu if load > limit_pu else None,
        "assumptions": _assumed(machine, begin),
        "not_modelled": NOT_MODELLED,
        "note": PLANNING_AID,
    }
    print_json(answer) if as_json else print("\n".join(_lines(answer)))


def configured_asset(config_path: Any, asset_id: str) -> Asset:
    """The asset of the configuration.  Raises BadInput naming those that there are."""
    assets = {one.id: one for one in load_config(config_path).asset}
    if asset_id not in assets:
        raise BadInput(f"{config_path}: no asset {asset_id!r}; there are {', '.join(sorted(assets))}")
    return assets[asset_id]


def situation_of(snapshot: Any, asset_id: str, ambient_degc: float | None) -> Situation:
    """The daemon's answer as a state, with this ambient, if any.  Raises BadInput for what is missing."""
    if not snapshot or snapshot["top_oil_degc"] is None:
        raise BadInput(f"{asset_id}: the daemon calculates no hot spot yet: give --top-oil-degc and --ambient")
    ambient_degc = snapshot["ambient_degc"] if ambient_degc is None else ambient_degc
    if ambient_degc is None:
        raise BadInput(f"{asset_id}: ambient temperature is not measured: give --ambient")
    state = ThermalState(snapshot["top_oil_degc"], snapshot["winding_rise_k"], snapshot["oil_lag_k"])
    return Situation(
        state,
        ambient_degc,
        f"measured {snapshot['time']}",
        snapshot["oil_rise_factor"],
        snapshot["top_oil_above_expected_k"],
    )


def carried(
    machine: Asset,
    begin: Situation,
    load_pu: float,
    hot_spot_limit_degc: float,
    top_oil_limit_degc: float,
    hours: float,
) -> Overload:
    """Carry a load from a situation on, with the oil rise that commissioning found.  Raises BadInput as `overload`."""
    parameters = parameters_for(machine.nameplate)
    return overload(
        begin.state,
        load_pu,
        begin.ambient_degc,
        replace(parameters, oil_rise_k=parameters.oil_rise_k * begin.oil_rise_factor),
        machine.nameplate.paper,
        hot_spot_limit_degc=hot_spot_limit_degc,
        top_oil_limit_degc=top_oil_limit_degc,
        horizon_s=hours * 3600,
    )


def given_situation(
    parameters: Parameters, top_oil_degc: float, load_pu: float, ambient_degc: float | None
) -> Situation:
    """A state from options: top oil, and a winding settled at the load until now.  Raises BadInput without ambient."""
    if ambient_degc is None:
        raise BadInput("--top-oil-degc needs --ambient beside it")
    settled = steady_state(load_pu, ambient_degc, parameters)
    state = ThermalState(top_oil_degc, settled.winding_rise_k, settled.oil_lag_k)
    return Situation(state, ambient_degc, f"given, settled at {load_pu:g} pu")


def _assumed(machine: Asset, begin: Situation) -> tuple[str, ...]:
    if begin.oil_rise_factor == 1.0:
        return assumptions_of(machine.nameplate)
    found = f"top-oil rise {begin.oil_rise_factor:.2f} times the nameplate's, as commissioning found it"
    return (*assumptions_of(machine.nameplate), found)


def span_text(span_s: float | None, horizon_h: float) -> str:
    """`3 h 42 min`, or that it does not happen."""
    if span_s is None:
        return f"not within {horizon_h:g} h"
    hours, minutes = divmod(int(span_s // 60), 60)
    return f"after {hours} h {minutes:02} min"


def _lines(answer: dict[str, Any]) -> list[str]:
    state, settled, horizon_h = answer["state"], answer["settles_at_degc"], answer["horizon_h"]
    head = f"{answer['asset']} at {answer['load_pu']:g} pu, ambient {answer['ambient_degc']:.0f} °C"
    begin = f"top oil {state['top_oil_degc']:.0f} °C and hot spot {state['hot_spot_degc']:.0f} °C ({state['source']})"
    lines = [f"{head}, from {begin}"]
    if answer["top_oil_above_expected_k"] is not None and answer["top_oil_above_expected_k"] >= WORTH_SAYING_K:
        lines.append(
            f"  top oil is {answer['top_oil_above_expected_k']:.0f} K hotter than expected: look at the cooling"
        )
    lines += [
        f"  {name} {answer[key]['limit_degc']:g} °C: {span_text(answer[key]['reached_after_s'], horizon_h)}"
        f" (would settle at {settled[key]:.0f} °C)"
        for key, name in (("hot_spot", "hot spot"), ("top_oil", "top oil"))
    ]
    warmer = span_text(answer["first_limit_after_s_if_5_k_warmer"], horizon_h)
    lines.append(f"  first limit if ambient is 5 K warmer: {warmer}")
    until = "until the first limit" if answer["first_limit_after_s"] is not None else f"within {horizon_h:g} h"
    lines.append(f"  insulation life used {until}: {answer['life_used_h']:.1f} h")
    if answer["load_above_normal_cyclic_limit_pu"] is not None:
        lines.append(f"  the load is above {answer['load_above_normal_cyclic_limit_pu']:g} pu, normal cyclic loading")
    lines += [f"  assumed: {assumption}" for assumption in answer["assumptions"]]
    return [*lines, f"  not modelled: {'; '.join(answer['not_modelled'])}", answer["note"]]
