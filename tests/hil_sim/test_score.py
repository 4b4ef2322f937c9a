"""The scorer against runs whose score is known: each kind of loss and lie is counted, and nothing else is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter

from hil_sim.ear import Heard
from hil_sim.scenario import Event, Scenario
from hil_sim.score import Score, score
from hil_sim.substation import DeviceCycle, Tick
from hil_sim.truth import Truth

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
WALL_MINUS_LOOP_S = 1_000_000.0
GASES = dict.fromkeys(("h2", "ch4", "c2h6", "c2h4", "c2h2", "co", "co2", "tdcg", "moisture", "chamber"), 1.0)
D2 = {"h2": 210, "ch4": 43, "c2h6": 12, "c2h4": 102, "c2h2": 187}


@pytest.fixture
def scenario() -> Scenario:
    return Scenario.model_validate(
        {
            "seed": 1,
            "time_factor": 3600,
            "tick_s": 360,
            "ambient": {"mean": 15},
            "transformers": [{"id": "T1", "healthy": D2}],
            "breakers": [{"id": "Q1"}],
            "devices": [
                {"name": "d1", "asset": "T1", "template": "vaisala-opt100"},
                {"name": "d2", "asset": "Q1", "template": "vaisala-dpt145"},
            ],
        }
    )


class Run:
    """One hundred seconds in which a test says what happened and what was heard."""

    def __init__(self, scenario: Scenario) -> None:
        self.truth = Truth(scenario)
        self.heard: list[Heard] = []
        self._scenario = scenario

    def event(self, at_s: float, **fields: Any) -> None:
        self.truth.happened(EVENT.validate_python({"id": f"e{at_s:g}", "at_s": 0, **fields}), at_s)

    def shows(self, at_s: float, h2: float) -> None:
        cycle = DeviceCycle(self._scenario.devices[0], 0, GASES | {"h2": h2}, "wire_ok")
        self.truth.ticked(Tick(time_s=0, plant={}, cycles=(cycle,), happenings=()), at_s)

    def alarm(self, at_s: float, alarm_id: str = "a", revision: int = 1, **fields: Any) -> None:
        content = {
            "alarm_id": alarm_id,
            "message_id": f"{alarm_id}.{revision}",
            "asset_id": "T1",
            "definition": "DgaFault",
            "active_state": "Active",
            "code": "D2",
            **fields,
        }
        self.heard.append(Heard(at_s, f"blackstart/gw-bench/alarm/{alarm_id}", content, retained=False))

    def evidence(self, at_s: float, value: float, taken_s: float) -> None:
        stamp = datetime.fromtimestamp(taken_s + WALL_MINUS_LOOP_S, UTC)
        sample = {"point_id": "T1/SIML.H2ppm", "value": value, "quality": "GOOD", "time": stamp.isoformat()}
        self.alarm(at_s, finding={"evidence": [sample]})

    def score(self) -> Score:
        return score(self.truth, self.heard, began_s=0.0, ended_s=100.0, wall_minus_loop_s=WALL_MINUS_LOOP_S)


@pytest.fixture
def run(scenario: Scenario) -> Run:
    return Run(scenario)


@pytest.fixture
def arcing(run: Run) -> Run:
    run.event(20, kind="gases", asset="T1", fault="D2", target=D2)
    return run


def test_an_alarm_in_time_with_the_right_diagnosis_is_clean(arcing: Run) -> None:
    arcing.alarm(24)
    arcing.alarm(26, revision=2, diagnosis={"abstained": False, "hypotheses": [{"code": "D2", "probability": 0.9}]})
    result = arcing.score()
    assert result.clean
    assert (result.detection_delay_s_p50, result.diagnoses_right, result.alarms) == (4.0, 1, 1)


def test_silence_is_a_lost_alarm(arcing: Run) -> None:
    assert (arcing.score().lost, arcing.score().clean) == (1, False)


def test_beyond_what_is_allowed_it_is_late(arcing: Run) -> None:
    arcing.alarm(60)
    assert (arcing.score().late, arcing.score().lost) == (1, 0)


def test_time_without_a_broker_is_not_held_against_the_gateway(arcing: Run) -> None:
    arcing.event(19, kind="broker_down")
    arcing.event(59, kind="broker_up")
    arcing.alarm(60)
    result = arcing.score()
    assert (result.late, result.detection_delay_s_p50) == (0, 1.0)


def test_two_alarms_for_one_condition_are_a_duplicate(arcing: Run) -> None:
    arcing.alarm(24)
    arcing.alarm(50, "b")
    assert (arcing.score().duplicates, arcing.score().false_alarms) == (1, 0)


def test_the_same_message_twice_is_no_second_alarm(arcing: Run) -> None:
    arcing.alarm(24)
    arcing.alarm(25)
    assert (arcing.score().redelivered, arcing.score().clean) == (1, True)


@pytest.mark.parametrize(("share", "false_alarms"), [(1.0, 1), (0.99, 0)])
def test_a_leak_may_be_told_as_soon_as_gas_has_gone(
    run: Run, scenario: Scenario, share: float, false_alarms: int
) -> None:
    """When days of samples suffice is the gateway's affair: from the first loss on both answers are right."""
    bara = share * scenario.breakers[0].fill_bara
    gas = {"temperature": 20.0, "moisture": 50.0, "pressure": bara, "density": 40.0, "pressure_20": bara}
    cycle = DeviceCycle(scenario.devices[1], 0, gas, "wire_ok")
    run.truth.ticked(Tick(time_s=0, plant={}, cycles=(cycle,), happenings=()), 20)
    run.alarm(30, asset_id="Q1", definition="GasLeak", code="GasLeak")
    assert run.score().false_alarms == false_alarms


def test_an_alarm_for_nothing_is_false(run: Run) -> None:
    run.alarm(50)
    result = run.score()
    assert result.false_alarms == 1
    assert result.false_alarms_per_plant_day == pytest.approx(86_400 / 360_000)


def test_another_fault_type_is_a_wrong_diagnosis(arcing: Run) -> None:
    arcing.alarm(24, code="T3")
    assert (arcing.score().diagnoses_wrong, arcing.score().diagnoses_right) == (1, 0)


@pytest.mark.parametrize(
    ("value", "taken_s", "wrong", "stale"), [(20.0, 30, 0, 0), (10.0, 30, 0, 1), (99.0, 30, 1, 0), (10.0, 21, 0, 0)]
)
def test_evidence_is_held_against_what_the_device_had(
    arcing: Run, value: float, taken_s: float, wrong: int, stale: int
) -> None:
    arcing.shows(10, 10.0)
    arcing.shows(20, 20.0)
    arcing.evidence(31, value, taken_s)
    result = arcing.score()
    assert (result.wrong_values_as_good, result.stale_values_as_good, result.values_judged) == (wrong, stale, 1)


def test_a_clock_that_is_ahead_does_not_make_values_stale(arcing: Run) -> None:
    arcing.shows(10, 10.0)
    arcing.evidence(12, 10.0, taken_s=3611)
    published = datetime.fromtimestamp(3612 + WALL_MINUS_LOOP_S, UTC) + timedelta(milliseconds=5)
    arcing.heard[-1].content["publish_time"] = published.isoformat()  # type: ignore[index]
    assert arcing.score().stale_values_as_good == 0


@pytest.mark.parametrize("kind", ["device_down", "link_freeze", "sentinel_nan", "swap_words", "frozen"])
def test_a_measurement_that_is_gone_must_be_told(run: Run, kind: str) -> None:
    run.event(20, kind=kind, asset="Q1")
    assert run.score().lost == 1
    run.alarm(25, asset_id="Q1", definition="MeasurementLost", code="MeasurementLost")
    assert run.score().clean


def test_what_was_over_too_soon_need_not_be_told(run: Run) -> None:
    run.event(20, kind="device_down", asset="Q1")
    run.event(22, kind="device_up", asset="Q1")
    assert [case.outcome for case in run.score().conditions] == ["too_short"]


def test_power_that_goes_must_be_told_by_the_broker(run: Run) -> None:
    run.event(20, kind="power_off")
    assert run.score().problems == ["the gateway lost its power and nobody said that it is offline"]
    run.heard.append(Heard(26.0, "blackstart/gw-bench/status", {"online": False}, retained=False))
    assert (run.score().problems, run.score().offline_noticed_s) == ([], [6.0])


@pytest.mark.parametrize("content", [None, {"alarm_id": "a"}])
def test_what_cannot_be_read_is_counted(run: Run, content: dict[str, Any] | None) -> None:
    run.heard.append(Heard(5.0, "blackstart/gw-bench/alarm/a", content, retained=False))
    assert (run.score().unreadable, run.score().clean) == (1, False)


def test_the_report_names_every_case(arcing: Run) -> None:
    arcing.alarm(24)
    text = arcing.score().as_text()
    assert text.startswith("CLEAN: 100 s")
    assert "T1" in text
    assert "told D2 (right)" in text


def test_json_has_the_sums(arcing: Run) -> None:
    assert arcing.score().as_json()["lost"] == 1


def test_a_late_alarm_of_one_failure_is_not_taken_for_the_next(run: Run) -> None:
    run.event(10, kind="frozen", asset="T1")
    run.event(30, kind="wire_ok", asset="T1")
    run.event(40, kind="device_down", asset="T1")
    run.alarm(43, definition="MeasurementLost", code="MeasurementLost")
    result = run.score()
    assert [case.outcome for case in result.conditions] == ["lost", "detected"]
    assert (result.lost, result.duplicates) == (1, 0)


def test_two_failures_of_one_asset_at_a_time_are_one_condition(run: Run) -> None:
    run.event(10, kind="opcua_down")
    run.event(20, kind="device_down", asset="T1")
    run.event(30, kind="opcua_up")
    run.event(60, kind="device_up", asset="T1")
    run.alarm(13, definition="MeasurementLost", code="MeasurementLost")
    result = run.score()
    assert [(case.began_s, case.ended_s, case.outcome) for case in result.conditions] == [(10.0, 60.0, "detected")]
    assert result.clean
