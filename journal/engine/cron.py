"""Cron expressions of five fields -> the times that they name, in UTC.

minute 0-59, hour 0-23, day of the month 1-31, month 1-12, day of the week 0-7 (0 and 7 are Sunday), each as `*`, a
number, a range `a-b`, either with `/step`, or a list of these.  As in cron(8), where both days are restricted either
may match.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ("Cron",)

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_DAYS_AHEAD_MAX = 4 * 366 + 1  # the 29th of February comes once in four years, and eight around 2100


@dataclass(frozen=True, slots=True)
class Cron:
    """See the module.  Raises ValueError for an expression that it does not know."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Read five fields."""
        parts = text.split()
        if len(parts) != len(_FIELDS):
            raise ValueError(f"cron {text!r}: five fields are wanted, minute hour day month weekday")
        sets = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
        weekdays = frozenset(day % 7 for day in sets[4])
        every_day, every_weekday = parts[2].startswith("*"), parts[4].startswith("*")
        days = frozenset() if every_day and not every_weekday else frozenset(sets[2])
        if every_weekday and not every_day:
            weekdays = frozenset()
        return cls(tuple(sorted(sets[0])), tuple(sorted(sets[1])), days, frozenset(sets[3]), weekdays)

    def after(self, moment: datetime) -> datetime | None:
        """The first time that it names behind this one; None where there is none in four years."""
        moment = moment.astimezone(UTC)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        for ahead in range(_DAYS_AHEAD_MAX):
            day = midnight + timedelta(days=ahead)
            if day.month not in self.months:
                continue
            if day.day not in self.days and day.isoweekday() % 7 not in self.weekdays:
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    found = day.replace(hour=hour, minute=minute)
                    if found > moment:
                        return found
        return None


def _field(text: str, name: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        first_text, dash, last_text = span.partition("-")
        try:
            step = int(step_text) if step_text else 1
            first = low if span == "*" else int(first_text)
            last = int(last_text) if dash else high if span == "*" or step_text else first
        except ValueError:
            raise ValueError(f"cron {name} {text!r}: {part!r} is no number, range or step") from None
        if not low <= first <= last <= high or step < 1 or part.endswith("/"):
            raise ValueError(f"cron {name} {text!r}: {part!r} is not within {low} to {high}")
        found.update(range(first, last + 1, step))
    return found
