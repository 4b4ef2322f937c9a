from itertools import pairwise

import pytest

from hil_sim.errors import SimError
from hil_sim.scenario import load_scenario
from hil_sim.substation import Substation

CYCLE_TICKS = 10
CASE_D2 = {"h2": 210, "ch4": 43, "c2h6": 12, "c2h4": 102, "c2h2": 187}


def gas_cycles(ticks, device="opt100-t1"):
    return [cycle for tick in ticks for cycle in tick.cycles if cycle.device.name == device]


def test_equal_seeds_and_triggers_give_equal_substations():
    def play():
        substation = Substation(load_scenario("demo"))
        ticks = [substation.tick() for _ in range(25)]
        substation.trigger("arcing-t1")
        return ticks + [substation.tick() for _ in range(25)]

    assert play() == play()


def test_another_seed_gives_another_course():
    scenario = load_scenario("demo")
    other = scenario.model_copy(update={"seed": scenario.seed + 1})
    assert Substation(scenario).tick().plant != Substation(other).tick().plant


def test_a_monitor_renews_once_per_cycle_and_jumps_in_one():
    substation = Substation(load_scenario("demo"))
    before = gas_cycles([substation.tick() for _ in range(CYCLE_TICKS + 5)])
    substation.trigger("arcing-t1")
    after = gas_cycles([substation.tick() for _ in range(3 * CYCLE_TICKS)])
    assert [cycle.number for cycle in before + after] == [0, 1, 2, 3, 4]
    assert before[0].channels["h2"] == before[1].channels["h2"] == 20
    assert all(cycle.channels.items() >= CASE_D2.items() for cycle in after)
    assert after[0].channels["tdcg"] == pytest.approx(210 + 43 + 12 + 102 + 187 + 300)
    chamber = [cycle.channels["chamber"] for cycle in before + after]
    assert min(abs(b - a) for a, b in pairwise(chamber)) >= 0.1


def test_only_the_struck_transformer_gasses():
    substation = Substation(load_scenario("demo"))
    substation.trigger("arcing-t1")
    ticks = [substation.tick() for _ in range(CYCLE_TICKS + 1)]
    assert gas_cycles(ticks, "opt100-t2")[-1].channels["c2h2"] == 0
    assert [h.event.id for tick in ticks for h in tick.happenings] == ["arcing-t1"]


def test_everything_stands_still_on_a_plateau_except_what_must_not():
    substation = Substation(load_scenario("plateaus"))
    ticks = [substation.tick() for _ in range(3 * CYCLE_TICKS)]
    assert ticks[0].plant == pytest.approx(ticks[-1].plant)
    shown = [{k: v for k, v in c.channels.items() if k != "chamber"} for c in gas_cycles(ticks)]
    assert shown[0] == shown[1] == shown[2]
    density = [c.channels["temperature"] for c in gas_cycles(ticks, "dpt145-q1")]
    assert len(set(density)) == len(density)


def test_hot_spot_over_oil_over_ambient():
    plant = Substation(load_scenario("plateaus")).tick().plant
    assert plant["T1/STMP.EnvTmp"] < plant["T1/SIML.Tmp"] < plant["T1/SPTR.HPTmp"]
    assert plant["T1/MMXU.LodPu"] == 0.6
    assert plant["T1/YLTC.TapPos"] == 9


def test_a_leak_lowers_density_and_normalised_pressure_at_any_temperature():
    substation = Substation(load_scenario("demo"))
    first = gas_cycles([substation.tick()], "dpt145-q1")[0].channels
    substation.trigger("leak-q1")
    last = gas_cycles([substation.tick() for _ in range(240)], "dpt145-q1")[-1].channels
    assert first["pressure_20"] == pytest.approx(6.0, abs=1e-6)
    assert last["density"] == pytest.approx(0.98 * first["density"], rel=1e-4)
    assert last["pressure_20"] < 5.92


def test_overload_and_worse_cooling_heat_the_oil():
    substation = Substation(load_scenario("demo"))
    before = substation.tick().plant
    substation.trigger("cooler-t1")
    after = [substation.tick() for _ in range(100)][-1].plant
    assert after["T1/SIML.Tmp"] > before["T1/SIML.Tmp"] + 30
    assert after["T1/MMXU.LodPu"] == 1.1


def test_wire_faults_come_and_go_and_leave_the_truth_alone():
    substation = Substation(load_scenario("demo"))
    wires = []
    for event in ("nan-t2", "sentinel-t2", "swapped-t2", "wire-ok-t2"):
        substation.trigger(event)
        wires.append(gas_cycles([substation.tick() for _ in range(CYCLE_TICKS)], "opt100-t2")[-1])
    assert [c.wire for c in wires] == ["sentinel_nan", "sentinel_8000", "swap_words", "wire_ok"]
    assert {c.channels["h2"] for c in wires} == {18}


def test_scheduled_events_begin_at_their_time():
    scenario = load_scenario("demo")
    event = scenario.events[0].model_copy(update={"at_s": 7200.0, "trigger": None})
    substation = Substation(scenario.model_copy(update={"events": (event,)}))
    begun = [h.time_s for _ in range(30) for h in substation.tick().happenings]
    assert begun == [7200.0]
    with pytest.raises(SimError, match="waits for a command"):
        substation.trigger(event.id)
