"""Rules by what they remember: nothing, means per bin of time, records of operations, an accumulated duty.

Each is told which values it reads and which method judges them (`equipment_rules`), and answers with a `Sight` of the
worst that its methods say.  A rule that remembers judges when it has learnt something and keeps its answer until then;
what it remembers goes into the journal as a `Keepsake` and comes back at boot.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

from drivers.errors import BadInput
from gateway.agents.sight import ABSENT, Sight
from models.asset import BreakerPlate
from models.breaker import Duty, after_reading
from models.features import Cycle, Window
from models.findings import Fact, Family, Severity
from models.trend import BASELINE_VALUES, Assessment, BinSeries, Keepsake

__all__ = ("Aspect", "DutyRule", "Judged", "Reads", "RecordRule", "SeriesRule", "ValueRule")

log = logging.getLogger(__name__)

RECORDS_KEPT = 60  # per rule: the first ones are the baseline and stay, the newest are judged
FACTS_IN_TEXT = 2
DUTY_COLUMNS = tuple(Duty.model_fields)
OTHER = "%s: what was remembered is of other points or another version; it begins anew"
WITH_ASSUMPTIONS = 0.8  # confidence where something had to be assumed

Judged: TypeAlias = Sequence[tuple[str, Assessment]]
"""Indicator that a finding would name, and what its method says."""

Reads: TypeAlias = Callable[[Mapping[str, float]], tuple[float, ...] | None]
"""The asset's newest values → the quantities that are remembered together; None where they are not all there."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """What a rule is about."""

    definition: str  # of the master alarm list
    trigger: str  # the indicator whose device cycle makes the rule look
    method: str
    family: Family


class ValueRule:
    """Judges the newest values alone."""

    lasts_cycles = 1

    def __init__(self, aspect: Aspect, judge: Callable[[Mapping[str, float]], Judged]) -> None:
        self.definition, self.trigger = aspect.definition, aspect.trigger
        self.abstained = ""
        self._aspect, self._judge = aspect, judge

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """What the methods say of the newest values."""
        judged = self._judge(latest) if self.trigger in latest else []
        self.abstained = _reasons(judged)
        return _sight(self._aspect, judged)


class SeriesRule:
    """Judges means per bin of device time, anew when a bin closes.  `columns` name what a row holds behind its time."""

    lasts_cycles = 1

    def __init__(
        self,
        aspect: Aspect,
        columns: tuple[str, ...],
        reads: Reads,
        judge: Callable[[Sequence[tuple[float, ...]]], Judged],
        scale: float,
        bin_s: float,
        bins_kept: int,
    ) -> None:
        """`scale`: device seconds in a second of the clock that stamps measurements; bins in device seconds."""
        self.definition, self.trigger = aspect.definition, aspect.trigger
        self.abstained = ""
        self._aspect, self._columns, self._scale = aspect, columns, scale
        self._reads, self._judge = reads, judge
        self._series = BinSeries(bin_s, bins_kept)
        self._judged: Judged | None = None
        self._puzzle = ""

    def take(self, cycle: Cycle, latest: Mapping[str, float]) -> bool:
        """Add the newest values to the open bin; what no machine shows is kept for `look` to report."""
        try:
            values = self._reads(latest)
        except BadInput as err:
            self._puzzle = str(err)
            return False
        self._puzzle = ""
        if values is None or not self._series.add(cycle.time.timestamp() * self._scale, values):
            return False
        self._judged = None
        return True

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """What the methods say of the closed bins.  Raises BadInput for values that no machine shows."""
        if self._puzzle:
            raise BadInput(self._puzzle)
        if self._judged is None:
            self._judged = self._judge(self._series.rows)
            self.abstained = _reasons(self._judged)
        return _sight(self._aspect, self._judged)

    def keepsake(self) -> Keepsake:
        """The closed bins."""
        return Keepsake(columns=self._columns, rows=self._series.rows)

    def recall(self, kept: Keepsake) -> None:
        """Go on with the bins of the process before."""
        if kept.columns != self._columns:
            log.warning(OTHER, self.definition)
            return
        self._series.recall(kept.rows)
        self._judged = None


class RecordRule:
    """Judges the records of single operations, one for each change of the trigger."""

    lasts_cycles = 1

    def __init__(
        self,
        aspect: Aspect,
        columns: tuple[str, ...],
        reads: Callable[[Mapping[str, float]], tuple[float, ...]],
        judge: Callable[[Sequence[tuple[float, ...]]], Judged],
        *,
        rises: bool,
    ) -> None:
        """`rises`: the trigger is a counter, so that a fall of it is an exchange and no operation."""
        self.definition, self.trigger = aspect.definition, aspect.trigger
        self.abstained = ""
        self._aspect, self._columns, self._rises = aspect, columns, rises
        self._reads, self._judge = reads, judge
        self._last: float | None = None
        self._time_s = float("-inf")
        self._records: list[tuple[float, ...]] = []
        self._judged: Judged | None = None

    def take(self, cycle: Cycle, latest: Mapping[str, float]) -> bool:
        """A changed trigger is an operation; the first reading only says where it stands."""
        now, time_s = cycle.values[self.trigger], cycle.time.timestamp()
        if now == self._last or time_s <= self._time_s:
            return False
        before, self._last, self._time_s = self._last, now, time_s
        if before is None or (self._rises and now < before):
            return True
        record = self._reads(latest)
        if any(map(isfinite, record)):
            self._records.append(record)
            if len(self._records) > RECORDS_KEPT:
                del self._records[BASELINE_VALUES]
            self._judged = None
        return True

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """What the methods say of the records."""
        if self._judged is None:
            self._judged = self._judge(self._records)
            self.abstained = _reasons(self._judged)
        return _sight(self._aspect, self._judged)

    def keepsake(self) -> Keepsake:
        """The records, and where the trigger stands."""
        assert self._last is not None, "a keepsake is asked for after something was learnt"
        numbers = {"last": self._last, "time_s": self._time_s}
        return Keepsake(columns=self._columns, rows=tuple(self._records), numbers=numbers)

    def recall(self, kept: Keepsake) -> None:
        """Go on with the records of the process before; an operation between the two counts when it is seen."""
        if kept.columns != self._columns:
            log.warning(OTHER, self.definition)
            return
        self._records = list(kept.rows)
        self._last, self._time_s = kept.numbers["last"], kept.numbers["time_s"]
        self._judged = None


class DutyRule:
    """Judges what a breaker has done in all."""

    lasts_cycles = 1

    def __init__(
        self,
        aspect: Aspect,
        plate: BreakerPlate,
        judge: Callable[[Duty, float, float], Judged],
        scale: float,
        record: Callable[[Mapping[str, float]], tuple[float | None, float | None]] = lambda _: (None, None),
        *,
        counter: str,
    ) -> None:
        """`judge` gets the duty, the time of the first reading and now, both in device seconds.

        `counter` need not be the trigger: a counter that stands may bring no device cycle for years.
        """
        self.definition, self.trigger = aspect.definition, aspect.trigger
        self.abstained = ""
        self._aspect, self._plate, self._scale, self._counter = aspect, plate, scale, counter
        self._judge, self._record = judge, record
        self._duty: Duty | None = None
        self._first_s = 0.0
        self._time_s = float("-inf")

    def take(self, cycle: Cycle, latest: Mapping[str, float]) -> bool:
        """Reckon with the counter of this cycle and the record that stands beside it."""
        time_s = cycle.time.timestamp() * self._scale
        shown = latest.get(self._counter)
        if time_s <= self._time_s or shown is None:
            return False
        self._time_s = time_s
        if self._duty is None:
            self._first_s = time_s
        before = self._duty
        counter = max(0, int(shown))
        try:
            self._duty, _ = after_reading(before, counter, time_s, *self._record(latest), self._plate)
        except BadInput:  # the counter moved with a record that no breaker makes: the operation counts, its wear not
            self._duty, _ = after_reading(before, counter, time_s, None, None, self._plate)
        return self._duty != before

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:  # noqa: ARG002 - one protocol
        """What the method says of the duty so far."""
        judged = self._judge(self._duty, self._first_s, self._time_s) if self._duty else []
        self.abstained = _reasons(judged)
        return _sight(self._aspect, judged)

    def keepsake(self) -> Keepsake:
        """The duty and its times."""
        assert self._duty is not None, "a keepsake is asked for after something was learnt"
        numbers = self._duty.model_dump(exclude_none=True)
        times = {"first_s": self._first_s, "time_s": self._time_s}
        return Keepsake(columns=DUTY_COLUMNS, numbers=numbers | times)

    def recall(self, kept: Keepsake) -> None:
        """Go on with the duty of the process before; what the counter shows beyond it is a gap."""
        if kept.columns != DUTY_COLUMNS:
            log.warning(OTHER, self.definition)
            return
        numbers = dict(kept.numbers)
        self._first_s, self._time_s = numbers.pop("first_s"), numbers.pop("time_s")
        self._duty = Duty.model_validate(numbers)


def _reasons(judged: Judged) -> str:
    """Why nothing is said, where all methods abstain."""
    reasons = dict.fromkeys(found.abstained for _, found in judged)
    return "" if "" in reasons else "; ".join(reasons)


def _sight(aspect: Aspect, judged: Judged) -> Sight | None:
    spoken = [(indicator, found) for indicator, found in judged if not found.abstained]
    if not spoken:
        return None
    indicator, found = max(spoken, key=lambda item: item[1].severity)
    if found.severity is Severity.NONE:
        return ABSENT
    return Sight(
        severity=found.severity,
        indicator=indicator,
        method=aspect.method,
        code=found.code,
        family=aspect.family,
        confidence=WITH_ASSUMPTIONS if found.assumptions else 1.0,
        facts=found.facts,
        assumptions=found.assumptions,
        value=found.text or _text(found.facts[:FACTS_IN_TEXT]),
    )


def _text(facts: Sequence[Fact]) -> str:
    """`opening time 34 ms, reference 30 ms`: a name that goes on from the first is not said twice."""
    first = f"{facts[0].name}, "
    return ", ".join(
        f"{fact.name.removeprefix(first)} {fact.value:.4g}{'' if fact.unit == '1' else ' ' + fact.unit}"
        for fact in facts
    )
