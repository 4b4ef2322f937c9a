"""What a rule answers, and what a hard agent may ask of a rule.  Read by every module of rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from models.features import Cycle, Window
from models.findings import Fact, Family, Severity
from models.trend import Keepsake

__all__ = ("ABSENT", "Abstaining", "Remembering", "Rule", "Sight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a rule sees in the latest measurement."""

    severity: Severity
    indicator: str = ""
    method: str = ""
    code: str = ""
    family: Family = Family.NONE
    confidence: float = 0.0
    facts: tuple[Fact, ...] = ()
    assumptions: tuple[str, ...] = ()
    value: str = ""  # for the alarm text


ABSENT = Sight(severity=Severity.NONE)


class Rule(Protocol):
    """One alarm definition's condition."""

    @property
    def definition(self) -> str:
        """Name in the master alarm list."""
        ...

    @property
    def trigger(self) -> str:
        """The indicator whose device cycle makes this rule look."""
        ...

    @property
    def lasts_cycles(self) -> int:
        """How many measurements in a row must show the condition before it counts."""
        ...

    def look(self, window: Window, latest: Mapping[str, float]) -> Sight | None:
        """Judge the newest cycle of the trigger's group; `latest` holds the asset's newest GOOD values.

        Raises BadInput for numbers that no machine shows.
        """
        ...


@runtime_checkable
class Abstaining(Protocol):
    """A rule that can say why it says nothing."""

    @property
    def abstained(self) -> str:
        """The reason at the last look; empty where the rule could judge."""
        ...


@runtime_checkable
class Remembering(Rule, Protocol):
    """A rule that needs more than its window: days, or a life."""

    def take(self, cycle: Cycle, latest: Mapping[str, float]) -> bool:
        """Learn from a cycle of the trigger's group, live or replayed at boot; True: worth keeping now."""
        ...

    def keepsake(self) -> Keepsake:
        """What must not be forgotten over a restart."""
        ...

    def recall(self, kept: Keepsake) -> None:
        """Go on with what a process before this one kept."""
        ...
