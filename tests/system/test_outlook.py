"""What people ask a running daemon: how long an overload may last, when limits are met, pictures of the past."""

import json
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]  # its parts are tested without a daemon

SVG = "{http://www.w3.org/2000/svg}"
ANALYSES = 9  # one more than a forecast needs


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(start_site: Any, quick: Any) -> AsyncIterator[Any]:
    async with start_site("demo", configure=quick) as running:
        await running.ensure_daemon()
        await running.status_when(lambda status: status["measurements"].get("T1/dga", 0) >= ANALYSES)
        yield running


async def _asked(site: Any, blackstart: Any, *arguments: str) -> Any:
    code, output, complaints = await blackstart(*arguments, "--config", str(site.config), "--json")
    assert code == 0, complaints
    return json.loads(output)


async def test_overload_from_the_state_of_now(site: Any, blackstart: Any) -> None:
    answer = await _asked(site, blackstart, "overload", "T1", "--load", "1.5")
    assert answer["state"]["source"].startswith("measured ")
    assert 20 < answer["state"]["top_oil_degc"] < 80
    assert answer["hot_spot"]["reached_after_s"] > 0


async def test_prognosis_of_a_healthy_plant_abstains(site: Any, blackstart: Any) -> None:
    answer = await _asked(site, blackstart, "prognosis", "T1")
    hydrogen = next(row for row in answer["forecasts"] if row["point"] == "SIML.H2ppm")
    assert hydrogen["measurements"] >= ANALYSES - 1
    assert hydrogen["abstained"] == "the value stands still"


async def test_pictures_of_what_was_measured(site: Any, blackstart: Any) -> None:
    out = site.folder / "x.svg"
    track = await _asked(site, blackstart, "plot", "pentagon", "--asset", "T1", "--out", str(out))
    dots = list(ET.parse(out).getroot().iter(f"{SVG}circle"))
    assert len(dots) == track["samples"] >= ANALYSES - 1
    thermal = await _asked(site, blackstart, "plot", "thermal", "T1", "--load", "1.3", "--out", str(out))
    assert {"top oil", "hot spot", "ambient"} == set(thermal["curves"])


async def test_commissioning_of_the_cooling_is_under_way(site: Any) -> None:
    status = await site.ask("status")
    assert status["thermal"]["T1"]["cooling"].startswith("commissioning: ")
