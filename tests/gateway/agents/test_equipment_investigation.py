"""A finding of equipment is investigated: memory is asked, a person is asked, nothing about gas is invented."""

from datetime import timedelta
from typing import Any

import pytest

from gateway.equipment_alarms import EQUIPMENT
from gateway.investigation import investigate
from models.findings import Diagnosis, Fact, Family, Recommendation, Severity

DEADLINE = timedelta(days=14)


@pytest.mark.parametrize(
    ("definition", "indicator", "family"),
    [
        ("BatteryTrend", "ZBAT.IntRes", Family.DC_SUPPLY),
        ("BushingInsulation", "ZBSH.LosFact", Family.BUSHING),
        ("BreakerWear", "SCBR.AbrPrt", Family.CONTACT_WEAR),
        ("GasLeak", "SIMG.Pres20", Family.LOSS_OF_GAS),
    ],
)
async def test_it_is_investigated(
    world: Any, make_finding: Any, definition: str, indicator: str, family: Family
) -> None:
    finding = make_finding(
        asset_id="Q1",
        indicator=indicator,
        method="own_baseline",
        code="Risen",
        family=family,
        severity=Severity.WARNING,
        facts=(Fact(name="change", value=41.0, unit="%"),),
        evidence=(),
    )
    assert definition in {line.name for line in EQUIPMENT}
    incident = await world.open(finding, definition=definition)
    async with world.life() as engine:
        run_id = await engine.start(investigate, incident, DEADLINE, key=incident.id)
        await world.until_open(engine, run_id)
        alarm = world.desk.book.find("Q1", definition)
    diagnosis: Diagnosis = alarm.diagnosis
    assert (diagnosis.code, diagnosis.family) == (None, family)
    refill = family is Family.LOSS_OF_GAS
    assert diagnosis.recommendation is (Recommendation.REFILL_GAS if refill else Recommendation.PLAN_INSPECTION)
    assert bool(diagnosis.causes) is (family is not Family.DC_SUPPLY)  # memory knows no battery yet
