"""Scripts drawn from a seed: the same again, every failure ends, and nothing befalls one device twice at a time."""

import pytest

from hil_sim.draw import drawn
from hil_sim.scenario import Scenario, load_scenario


@pytest.fixture
def scenario() -> Scenario:
    return load_scenario("bench-failures")


def test_a_seed_gives_the_same_script_and_another_seed_another(scenario: Scenario) -> None:
    assert drawn(scenario, 1, 10, power=True) == drawn(scenario, 1, 10, power=True)
    assert drawn(scenario, 1, 10, power=True) != drawn(scenario, 2, 10, power=True)


@pytest.mark.parametrize("seed", range(20))
def test_each_failure_ends_before_its_device_fails_again(scenario: Scenario, seed: int) -> None:
    events = drawn(scenario, seed, 12, power=True).events
    begun = {event.id.removesuffix("-on"): event for event in events if event.id.endswith("-on")}
    ended = {event.id.removesuffix("-off"): event for event in events if event.id.endswith("-off")}
    assert begun.keys() == ended.keys()
    devices = ("device_", "link_", "sentinel_", "swap_")
    spans = [(begun[name].asset, begun[name].at_s, ended[name].at_s) for name in begun if devices_only(name, devices)]
    for asset, begin_s, end_s in spans:
        assert not [s for s in spans if s[0] == asset and begin_s < s[1] < end_s]


def devices_only(name: str, kinds: tuple[str, ...]) -> bool:
    return name.partition("-")[2].startswith(kinds)


def test_power_is_drawn_only_where_somebody_can_switch_it(scenario: Scenario) -> None:
    kinds = {event.kind for seed in range(20) for event in drawn(scenario, seed, 12, power=False).events}
    assert "power_off" not in kinds
    assert {"broker_down", "gases", "link_freeze", "swap_words", "clock_skew"} <= kinds
