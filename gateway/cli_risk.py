"""`blackstart risk`: which asset carries most risk and why, and what would happen if one failed.

The configuration in; with a running daemon, also its standing alarms.  Consequences are in the owner's unit: no
currency is printed, because none is known.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.errors import Transient
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, ask, print_json, print_table
from gateway.config import load
from models.failure_risk import if_it_fails, rank_risk
from models.findings import Family, Severity

__all__ = ("register_risk",)

RANKED = ["asset_id", "risk", "share", "failures_per_year", "health", "own", "collateral", "led_by"]
FAILED = ["asset_id", "probability", "expected_consequence", "way"]


def register_risk(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("risk")(_risk)


def _risk(
    config: ConfigOption = DEFAULT_CONFIG,
    fail: Annotated[str | None, typer.Option(help="What if this asset failed now?", metavar="ASSET")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the assets by risk, with the way that carries most of it; needs no daemon, uses its alarms if one runs."""
    checked = load(config)
    if fail is not None:
        hits = if_it_fails(checked.asset, checked.edge, fail)
        total = sum(hit.expected_consequence for hit in hits)
        if as_json:
            print_json({"fails": fail, "total": total, "hits": [hit.model_dump(mode="json") for hit in hits]})
            return
        rows = [
            {
                "asset_id": hit.asset_id,
                "probability": f"{hit.probability:.0%}",
                "expected_consequence": f"{hit.expected_consequence:.4g}",
                "way": _way(hit.path, hit.kinds),
            }
            for hit in hits
        ]
        print_table(f"if {fail} fails", rows, FAILED)
        print(f"expected consequence in all: {total:.4g} (in the unit of the configuration)")
        return
    standing = _standing(config)
    rows_ = rank_risk(checked.asset, checked.edge, standing)
    if as_json:
        answer = [row.model_dump(mode="json") for row in rows_]
        print_json({"live": standing is not None, "rows": answer})
        return
    whole = sum(row.risk for row in rows_) or 1.0
    rows = [
        {
            "asset_id": row.asset_id,
            "risk": f"{row.risk:.4g}",
            "share": f"{row.risk / whole:.0%}",
            "failures_per_year": f"{row.failures_per_year:.2%}",
            "health": f"{row.health_score:.1f}",
            "own": f"{row.own_consequence:.4g}",
            "collateral": f"{row.collateral_consequence:.4g}",
            "led_by": f"{_way(row.path, row.kinds)}, {row.path_share:.0%} of it" if row.path else "itself",
        }
        for row in rows_
    ]
    print_table("risk per year", rows, RANKED)
    print("with the alarms of the running daemon" if standing is not None else "no daemon runs: from age alone")
    for note in sorted({f"{row.asset_id}: {note}" for row in rows_ for note in row.assumptions}):
        print(f"assumed  {note}")


def _way(path: tuple[str, ...], kinds: tuple[str, ...]) -> str:
    """T1 -> fire_exposure -> T2."""
    steps = [path[0]] if path else []
    for kind, asset in zip(kinds, path[1:], strict=True):
        steps += [kind, asset]
    return " -> ".join(steps)


def _standing(config: Path) -> Mapping[str, Severity] | None:
    """The worst severity that stands in each asset; None where no daemon runs.  A lost sensor is no ill machine."""
    try:
        alarms: list[dict[str, Any]] = ask(config, "alarms")
    except Transient:
        return None
    worst: dict[str, Severity] = {}
    for alarm in alarms:
        if alarm["family"] != Family.SENSOR:
            asset = alarm["asset_id"]
            worst[asset] = max(worst.get(asset, Severity.NONE), Severity(alarm["severity"]))
    return worst
