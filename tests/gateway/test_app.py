"""How the daemon is put together, as far as nothing else shows it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from drivers.base import Quality, Sample
from gateway.app import _Daemon
from gateway.config import parse


def _config(state_dir: Path, **more: Any) -> dict[str, Any]:
    def link(name: str, template: str) -> dict[str, Any]:
        device = {"name": name, "asset": "T1", "template": template}
        return {"protocol": "modbus_tcp", "name": name, "host": name, "devices": [device]}

    return {
        "gateway": {"id": "gw", "state_dir": str(state_dir)},
        "mqtt": {"host": "h", "client_id": "gw"},
        "asset": [{"id": "T1", "kind": "PowerTransformer"}],
        "link": [link("gas", "mr-msense"), link("windings", "eaton-tc-50")],
    } | more


def test_sensors_of_two_links_that_disagree_reach_the_agents_doubted(
    tmp_path: Path, clock: Any, sample: Callable[..., Sample]
) -> None:
    pair = {"points": ["T1/SIML.Tmp", "T1/SPTR.WndTmp1"], "tolerance": 20.0, "after_comparisons": 1}
    daemon = _Daemon(parse(_config(tmp_path, agreement=[pair]), "x"), clock, None)
    arrived: list[Sample] = []

    def arrive(samples: Sequence[Sample]) -> None:
        arrived.extend(samples)

    daemon._intake.connect(arrive)
    gas, windings = daemon._pollers
    gas.deliver([sample("T1/SIML.Tmp", 50.0)])
    windings.deliver([sample("T1/SPTR.WndTmp1", 130.0)])
    assert [(each.value, each.quality) for each in arrived] == [(50.0, Quality.GOOD), (130.0, Quality.UNCERTAIN)]
