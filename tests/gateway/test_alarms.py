"""The alarm book as a state machine: whatever comes in whatever order, receivers can rely on ids and revisions."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.alarms import DEFINITIONS, INACTIVE_KEPT_MAX, Acked, Active, Alarm, AlarmBook, Judgement, Revision, Stage
from gateway.schemas import schemas
from journal.engine import decode, encode
from models.asset import Asset, AssetKind
from models.findings import Diagnosis, Family, FaultCode, Finding, Severity, Verdict

START = datetime(2026, 3, 1, tzinfo=UTC)
ALARM_SCHEMA = jsonschema.Draft202012Validator(schemas()["blackstart.alarm-1.json"])
SEVERITIES = st.sampled_from([Severity.ADVISORY, Severity.WARNING, Severity.CRITICAL])
FAMILIES = st.sampled_from([Family.DISCHARGE, Family.THERMAL, Family.MIXED])
ASSETS = st.sampled_from(["T1", "T2"])
NAMES = st.sampled_from(sorted(DEFINITIONS))
VERDICT = Verdict(
    outcome="confirmed", final_code="D2", basis="internal_inspection", observed_at=START, by="inspector", note="arcing"
)


class _Clock:
    def now(self) -> datetime:
        return START

    def monotonic_ns(self) -> int:
        return 0

    def trusted(self) -> bool:
        return False


def _book(site: str = "Riverside") -> AlarmBook:
    assets = [Asset(id=name, kind=AssetKind.POWER_TRANSFORMER, bay="B1") for name in ("T1", "T2")]
    return AlarmBook("g1", site, assets, _Clock(), simulated=False)


def _finding(asset_id: str, definition: str, severity: Severity, number: int, family: Family) -> Finding:
    time = START + timedelta(hours=number)
    return Finding(
        id=f"f{number}",
        asset_id=asset_id,
        indicator="SIML.CmbuGas",
        method="m",
        code=definition,
        family=family,
        severity=severity,
        confidence=0.5,
        first_time=time,
        last_time=time,
        evidence=(),
    )


def _diagnosis(severity: Severity) -> Diagnosis:
    return Diagnosis(code=FaultCode.D2, family=Family.DISCHARGE, hypotheses=(), votes={"m": "D2"}, severity=severity)


def _validate(revision: Revision) -> None:
    content = json.loads(revision.message.payload) | {"publish_time": START.isoformat()}
    ALARM_SCHEMA.validate(content)


class AlarmLife(RuleBasedStateMachine):
    """`self.kept` is the journal: the newest state of each alarm, as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.book = _book()
        self.kept: dict[str, bytes] = {}
        self.known: dict[str, Alarm] = {}
        self.number = 0

    def take(self, revision: Revision) -> None:
        alarm, before = revision.alarm, self.known.get(revision.alarm.alarm_id)
        assert alarm.revision == (before.revision if before else 0) + 1
        assert revision.raised == (before is None)
        assert alarm.message_id == f"{alarm.alarm_id}.{alarm.revision}" == revision.message.message_id
        assert alarm.severity >= (before.severity if before else Severity.ADVISORY)
        assert len(alarm.text) <= 80
        assert revision.message.topic == f"blackstart/g1/alarm/{alarm.alarm_id}"
        assert revision.message.retain
        _validate(revision)
        self.known[alarm.alarm_id] = alarm
        self.kept[alarm.alarm_id] = encode(alarm)

    @rule(asset=ASSETS, name=NAMES, severity=SEVERITIES, family=FAMILIES, value=st.text(max_size=200))
    def see(self, asset: str, name: str, severity: Severity, family: Family, value: str) -> None:
        self.number += 1
        before = self.book.find(asset, name)
        finding = _finding(asset, name, severity, self.number, family)
        revision = self.book.judge(Judgement(asset_id=asset, definition=name, finding=finding, value=value))
        after = self.book.find(asset, name)
        assert after is not None
        assert before is None or after.alarm_id == before.alarm_id
        assert after.severity == max(severity, before.severity if before else severity)
        must = before is None or severity > before.severity
        may = before is None or family is not before.family  # once it has lasted: see the test of its own
        assert revision is not None or not must
        assert revision is None or must or may
        for one in [revision] if revision else []:
            self.take(one)

    @rule(asset=ASSETS, name=NAMES)
    def see_nothing(self, asset: str, name: str) -> None:
        before = self.book.find(asset, name)
        revision = self.book.judge(Judgement(asset_id=asset, definition=name, finding=None))
        assert self.book.find(asset, name) is None
        assert (revision is None) == (before is None)
        for one in [revision] if revision else []:
            assert one.alarm.active_state is Active.INACTIVE
            self.take(one)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), severity=st.sampled_from(list(Severity)))
    def diagnose(self, data: st.DataObject, severity: Severity) -> None:
        before = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        revision = self.book.diagnose(before.alarm_id, _diagnosis(severity), "run-1")
        assert revision is not None
        after = revision.alarm
        assert after.severity == max(severity, before.severity)
        assert after.time_to_respond_h == DEFINITIONS[after.definition].time_to_respond_h[after.severity]
        assert (after.stage, after.run_id) == (Stage.DIAGNOSED, "run-1")
        assert after.active_state is before.active_state
        self.take(revision)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def hear_verdict(self, data: st.DataObject) -> None:
        before = self.known[data.draw(st.sampled_from(sorted(self.known)))]
        revision = self.book.record_verdict(before.alarm_id, VERDICT)
        assert revision is not None
        assert revision.alarm.verdict == VERDICT
        self.take(revision)

    @rule()
    def restart(self) -> None:
        self.book = _book()
        self.book.restore(decode(payload, Alarm) for payload in self.kept.values())

    @initialize()
    def diagnose_nobody(self) -> None:
        assert self.book.diagnose("unknown", _diagnosis(Severity.CRITICAL), "run-1") is None
        assert self.book.record_verdict("unknown", VERDICT) is None

    @invariant()
    def one_standing_alarm_each(self) -> None:
        active = [alarm for alarm in self.known.values() if alarm.active_state is Active.ACTIVE]
        assert len({(alarm.asset_id, alarm.definition) for alarm in active}) == len(active)
        assert sorted(self.book.standing(), key=lambda a: a.alarm_id) == sorted(active, key=lambda a: a.alarm_id)

    @invariant()
    def the_most_severe_comes_first(self) -> None:
        severities = [alarm.severity for alarm in self.book.standing()]
        assert severities == sorted(severities, reverse=True)


AlarmLife.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestAlarmLife = AlarmLife.TestCase


@pytest.fixture
def judge(make_finding: Callable[..., Finding]) -> Callable[..., Judgement]:
    def make(hour: int = 0, **changes: Any) -> Judgement:
        finding = make_finding(hour, **changes)
        return Judgement(asset_id="T1", definition="DgaFault", finding=finding, value="D2, status 3")

    return make


GONE = Judgement(asset_id="T1", definition="DgaFault", finding=None)


def raise_(book: AlarmBook, judgement: Judgement) -> Alarm:
    revision = book.judge(judgement)
    assert revision is not None
    return revision.alarm


def test_what_scada_shows(judge: Callable[..., Judgement]) -> None:
    alarm = raise_(_book(), judge())
    assert alarm.text == "Riverside B1 T1: DGA D2, status 3; check trend, take oil sample"
    assert alarm.time_to_respond_h == 1
    assert alarm.acked_state is Acked.UNACKNOWLEDGED
    assert (alarm.clock_trusted, alarm.simulated, alarm.journalled) == (False, False, True)


def test_a_long_site_name_leaves_room_for_what_is_wrong(judge: Callable[..., Judgement]) -> None:
    text = raise_(_book("S" * 30), judge()).text
    assert text == "B1 T1: DGA D2, status 3; check trend, take oil sample"


def test_another_family_is_told_once_it_has_lasted(judge: Callable[..., Judgement]) -> None:
    book = _book()
    raise_(book, judge())
    arcing, hot = {"family": Family.DISCHARGE}, {"family": Family.THERMAL, "code": "T3"}
    shown = [
        book.judge(judge(hour, **what)) for hour, what in enumerate((hot, hot, arcing, hot, hot, hot, hot), start=1)
    ]
    assert [revision is not None for revision in shown] == [False] * 5 + [True, False]
    told = shown[5]
    assert told is not None
    assert (told.alarm.code, told.alarm.family, told.alarm.revision) == ("T3", Family.THERMAL, 2)


def test_a_real_finding_fits_the_schema(judge: Callable[..., Judgement]) -> None:
    book = _book()
    revision = book.judge(judge())
    assert revision is not None
    _validate(revision)


def test_the_schema_refuses_what_is_no_alarm(judge: Callable[..., Judgement]) -> None:
    alarm = raise_(_book(), judge()).model_dump(mode="json", by_alias=True) | {"publish_time": START.isoformat()}
    for broken in (alarm | {"revision": 0}, alarm | {"stage": "guessed"}, alarm | {"text": "x" * 81}, {"schema": 1}):
        with pytest.raises(jsonschema.ValidationError):
            ALARM_SCHEMA.validate(broken)


def test_every_definition_says_what_to_do_at_each_severity() -> None:
    for definition in DEFINITIONS.values():
        assert set(definition.time_to_respond_h) == set(Severity) - {Severity.NONE}
        hours = [definition.time_to_respond_h[severity] for severity in sorted(definition.time_to_respond_h)]
        assert hours == sorted(hours, reverse=True)


def test_a_restart_continues_and_never_raises_anew(judge: Callable[..., Judgement]) -> None:
    alarm = raise_(_book(), judge(0))
    again = _book()
    again.restore([alarm])
    assert again.judge(judge(5)) is None
    cleared = again.judge(GONE)
    assert cleared is not None
    assert (cleared.alarm.alarm_id, cleared.alarm.revision) == (alarm.alarm_id, 2)


def test_a_restart_takes_the_highest_revision_in_whatever_order(judge: Callable[..., Judgement]) -> None:
    book = _book()
    first = raise_(book, judge())
    second = book.record_verdict(first.alarm_id, VERDICT)
    assert second is not None
    for order in ([first, second.alarm], [second.alarm, first]):
        again = _book()
        again.restore(order)
        assert again.get(first.alarm_id) == second.alarm


def test_inactive_alarms_are_kept_up_to_a_bound_and_the_oldest_goes_first(judge: Callable[..., Judgement]) -> None:
    book = _book()
    ids = []
    for number in range(INACTIVE_KEPT_MAX + 3):
        ids.append(raise_(book, judge(number, evidence=())).alarm_id)
        book.judge(GONE)
    standing = raise_(book, judge(90_000, evidence=()))
    assert [book.get(alarm_id) is None for alarm_id in ids] == [True] * 3 + [False] * INACTIVE_KEPT_MAX
    assert book.get(standing.alarm_id) == standing


def test_an_alarm_that_people_still_work_on_is_kept_longest(judge: Callable[..., Judgement]) -> None:
    book = _book()
    first = raise_(book, judge(0, evidence=())).alarm_id
    book.judge(GONE)
    for number in range(1, INACTIVE_KEPT_MAX):
        raise_(book, judge(number, evidence=()))
        book.judge(GONE)
    assert book.diagnose(first, _diagnosis(Severity.CRITICAL), "run-1") is not None
    raise_(book, judge(80_000, evidence=()))
    book.judge(GONE)
    assert book.get(first) is not None


def test_risk_orders_alarms_of_one_severity_and_changes_none() -> None:
    """The riskier asset's alarm comes first among equals, however late it came; never before a more severe one."""
    assets = [Asset(id=name, kind=AssetKind.POWER_TRANSFORMER) for name in ("T1", "T2", "T3")]
    shown = {}
    for risk in ({"T1": 1.0, "T2": 5.0, "T3": 9.0}, {"T1": 5.0, "T2": 1.0, "T3": 0.0}, None):
        book = AlarmBook("g1", "", assets, _Clock(), simulated=False, risk=risk)
        for number, (asset, severity) in enumerate(
            [("T1", Severity.CRITICAL), ("T2", Severity.CRITICAL), ("T3", Severity.WARNING)]
        ):
            finding = _finding(asset, "DgaFault", severity, number, Family.DISCHARGE)
            book.judge(Judgement(asset_id=asset, definition="DgaFault", finding=finding))
        shown[str(risk)] = [(alarm.asset_id, alarm.severity) for alarm in book.standing()]
    first, second, none = shown.values()
    assert [asset for asset, _ in first] == ["T2", "T1", "T3"]
    assert [asset for asset, _ in second] == ["T1", "T2", "T3"]
    assert sorted(first) == sorted(second) == sorted(none)
