"""Healthy operating data of one transformer, as its commissioning would record them: simulated fast, no sockets.

In: a scenario, an asset, a number of days that end where the script begins.  Out: a CSV with an hourly row.
The anomaly model of that asset is fitted from it.  Called by `hil_sim.__main__`.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hil_sim.errors import SimError
from hil_sim.physics.gassing import GASES
from hil_sim.scenario import Scenario
from hil_sim.substation import Substation

__all__ = ("COLUMNS", "commissioning_rows", "write_commissioning")

SCRIPT_BEGINS = datetime(2026, 1, 1, tzinfo=UTC)  # a label for simulated second 0, not a measured time
DAY_S = 86_400
OTHER_WEATHER = 1_000_003  # a model must not be fitted on the very noise that it will be shown live
PLANT_COLUMNS = (
    ("load_pu", "MMXU.LodPu"),
    ("ambient_degc", "STMP.EnvTmp"),
    ("top_oil_degc", "SIML.Tmp"),
    ("hot_spot_degc", "SPTR.HPTmp"),
)
COLUMNS = ("time", *(column for column, _ in PLANT_COLUMNS), *(f"{gas}_ul_l" for gas in GASES), "moisture_ul_l")


def commissioning_rows(scenario: Scenario, asset: str, *, days: int) -> Iterator[dict[str, str]]:
    """One row per gas analysis of the asset.  Raises SimError when no gas monitor watches it."""
    monitors = [d.name for d in scenario.devices if d.asset == asset and d.template == "vaisala-opt100"]
    if not monitors:
        watched = ", ".join(sorted({d.asset for d in scenario.devices if d.template == "vaisala-opt100"})) or "none"
        raise SimError(f"no gas monitor watches {asset!r}; watched assets: {watched}")
    changes = {"gas_noise_rel": scenario.commission_gas_noise_rel, "seed": scenario.seed + OTHER_WEATHER}
    substation = Substation(scenario.model_copy(update=changes), start_s=-days * DAY_S)
    while substation.time_s < 0:
        begins = SCRIPT_BEGINS + timedelta(seconds=substation.time_s)
        tick = substation.tick()
        for cycle in tick.cycles:
            if cycle.device.name == monitors[0]:
                plant = {column: f"{tick.plant[f'{asset}/{point}']:.4f}" for column, point in PLANT_COLUMNS}
                gases = {f"{gas}_ul_l": f"{cycle.channels[gas]:.4f}" for gas in GASES}
                moisture = {"moisture_ul_l": f"{cycle.channels['moisture']:.4f}"}
                yield {"time": begins.isoformat()} | plant | gases | moisture


def write_commissioning(scenario: Scenario, asset: str, path: Path, *, days: int) -> int:
    """Write the rows to a CSV file and return their number.  Raises SimError when that is not possible."""
    rows = list(commissioning_rows(scenario, asset, days=days))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as err:
        raise SimError(f"{path}: cannot be written: {err.strerror}") from err
    return len(rows)
