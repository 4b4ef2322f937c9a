import csv
import statistics

import pytest

from hil_sim.__main__ import main
from hil_sim.commission import COLUMNS, commissioning_rows
from hil_sim.errors import SimError
from hil_sim.scenario import load_scenario
from hil_sim.substation import Substation


def columns(rows):
    return {name: [float(row[name]) for row in rows] for name in COLUMNS if name != "time"}


def test_sixty_days_are_hourly_healthy_and_varied():
    rows = list(commissioning_rows(load_scenario("demo"), "T1", days=60))
    data = columns(rows)
    assert len(rows) == 60 * 24
    assert (rows[0]["time"], rows[-1]["time"]) == ("2025-11-02T00:00:00+00:00", "2025-12-31T23:00:00+00:00")
    assert all(
        a < t < h for a, t, h in zip(data["ambient_degc"], data["top_oil_degc"], data["hot_spot_degc"], strict=True)
    )
    assert max(data["hot_spot_degc"]) < 98
    assert 0.05 < statistics.stdev(data["load_pu"]) < 0.3
    assert 15 < min(data["h2_ul_l"]) < statistics.mean(data["h2_ul_l"]) < max(data["h2_ul_l"]) < 25
    assert set(data["c2h2_ul_l"]) == {0}


def test_live_operation_lies_within_the_commissioning_data_without_repeating_it():
    scenario = load_scenario("demo")
    recorded = columns(list(commissioning_rows(scenario, "T1", days=60)))
    substation = Substation(scenario)
    live = [substation.tick() for _ in range(240)][::10]
    oil = [tick.plant["T1/SIML.Tmp"] for tick in live]
    assert min(recorded["top_oil_degc"]) < min(oil) < max(oil) < max(recorded["top_oil_degc"])
    assert oil != pytest.approx(recorded["top_oil_degc"][: len(oil)], abs=0.01)
    assert statistics.mean(recorded["h2_ul_l"]) == pytest.approx(20, rel=0.01)
    assert statistics.mean(recorded["load_pu"]) == pytest.approx(0.62, rel=0.05)


def test_the_command_writes_the_same_file_for_the_same_scenario(tmp_path, capsys):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        assert main(["commission", "--scenario", "demo", "--asset", "T2", "--days", "2", "--out", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with paths[0].open(newline="") as file:
        assert tuple(next(csv.reader(file))) == COLUMNS
    assert "48 hourly rows" in capsys.readouterr().out


def test_an_asset_without_gas_monitor_is_refused(tmp_path, capsys):
    with pytest.raises(SimError, match="no gas monitor watches 'Q1'; watched assets: T1, T2"):
        list(commissioning_rows(load_scenario("demo"), "Q1", days=1))
    assert main(["commission", "--asset", "T1", "--days", "1", "--out", str(tmp_path / "no" / "x.csv")]) == 78
    assert "cannot be written" in capsys.readouterr().err
