"""Combinations of failures drawn from one seed: a scenario in, the same plant with another script out.

Each drawn failure begins at a random time, lasts a random time and ends, so that two or three of them overlap now
and then; the same seed gives the same script.  Called by `hil_sim.bench`.
"""

import random
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from hil_sim.register_maps import MAPS
from hil_sim.scenario import Event, Scenario

__all__ = ("drawn",)

GAP_CYCLES = 12  # simulated hours between two beginnings, on average
LAST_CYCLES = (8, 20)  # hours that a failure lasts
HOUR_S = 3600.0
ARCING = {"h2": 210, "ch4": 43, "c2h6": 12, "c2h4": 102, "c2h2": 187}
HOT_METAL = {"h2": 6709, "ch4": 10500, "c2h6": 1400, "c2h4": 17700, "c2h2": 750}
TC10 = "IEC TC10 database, inspected cases"
EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])
Pair = tuple[dict[str, Any], dict[str, Any]]


def drawn(scenario: Scenario, seed: int, count: int, *, power: bool) -> Scenario:
    """`count` failures from the catalogue; of power only where `power` says that somebody can switch it."""
    rng = random.Random(seed)
    catalogue = _catalogue(scenario, power=power)
    free_s = dict.fromkeys(range(len(catalogue)), 0.0)  # a failure cannot begin while it is there
    events: list[dict[str, Any]] = []
    at_s = 4 * HOUR_S
    for number in range(count):
        choices = [index for index, until_s in free_s.items() if until_s <= at_s]
        if not choices:
            break
        index = rng.choice(choices)
        begin, end = catalogue[index]()
        last_s = rng.uniform(*LAST_CYCLES) * HOUR_S
        name = f"{number:02d}-{begin['kind']}-{begin.get('asset', 'site')}"
        events += [begin | {"id": f"{name}-on", "at_s": at_s}, end | {"id": f"{name}-off", "at_s": at_s + last_s}]
        for other in _same_thing(catalogue, index):
            free_s[other] = at_s + last_s + 4 * HOUR_S
        at_s += rng.uniform(0.5, 1.5) * GAP_CYCLES * HOUR_S
    return scenario.model_copy(update={"events": tuple(EVENTS.validate_python(events))})


def _same_thing(catalogue: list[Callable[[], Pair]], index: int) -> list[int]:
    """Failures that cannot be there together: those of one asset's devices, and each with itself."""
    begin, _ = catalogue[index]()
    key = _key(begin)
    return [other for other, make in enumerate(catalogue) if _key(make()[0]) == key]


def _key(begin: dict[str, Any]) -> tuple[str, str]:
    kind = "gases" if begin["kind"] == "gases" else "site" if "asset" not in begin else "device"
    return str(begin.get("asset", begin["kind"])), kind


def _catalogue(scenario: Scenario, *, power: bool) -> list[Callable[[], Pair]]:
    entries: list[Pair] = []
    for transformer in scenario.transformers:
        healthy = {"kind": "gases", "asset": transformer.id, "fault": "N", "target": transformer.healthy.model_dump()}
        for fault, target in (("D2", ARCING), ("T3", HOT_METAL)):
            begin = {"kind": "gases", "asset": transformer.id, "fault": fault, "target": target, "source": TC10}
            entries.append((begin, healthy))
    for asset in sorted({device.asset for device in scenario.devices}):
        entries += [
            ({"kind": "device_down", "asset": asset}, {"kind": "device_up", "asset": asset}),
            ({"kind": "link_freeze", "asset": asset}, {"kind": "link_thaw", "asset": asset}),
            *(
                ({"kind": kind, "asset": asset}, {"kind": "wire_ok", "asset": asset})
                for kind in ("sentinel_nan", "sentinel_8000", "swap_words")
                if all(kind in MAPS[d.template].wires for d in scenario.devices if d.asset == asset)
            ),
        ]
    entries += [
        ({"kind": "broker_down"}, {"kind": "broker_up"}),
        ({"kind": "opcua_down"}, {"kind": "opcua_up"}),
        ({"kind": "clock_skew", "skew_s": 7200.0}, {"kind": "clock_skew", "skew_s": 0.0}),
    ]
    if power:
        entries.append(({"kind": "power_off"}, {"kind": "power_on"}))
    return [lambda pair=pair: pair for pair in entries]  # type: ignore[misc]
