"""What the store hands to the writer, how the writer is bounded and what it counts.  Sizes in bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from journal.engine.ports import Entry

__all__ = ("Counters", "Limits", "Unit", "is_alarm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When the writer checkpoints.  The defaults keep replay after a cut near a second on a Raspberry Pi."""

    checkpoint_entries: int = 2_000
    checkpoint_bytes: int = 4 << 20
    idle_s: float = 30.0
    idle_entries: int = 64  # fewer are not worth the blocks that a checkpoint rewrites
    ballast_bytes: int = 16 << 20


@dataclass(slots=True)
class Counters:
    """What the writer has done since it started."""

    commits: int = 0
    entries: int = 0
    checkpoints: int = 0
    checkpoints_skipped: int = 0  # the disk had no room for one
    failed_commits: int = 0
    revivals: int = 0  # sessions that DuckDB gave up on and that were opened anew
    ballast_releases: int = 0


@dataclass(slots=True)
class Unit:
    """The entries of one append(): committed together or not at all."""

    entries: Sequence[Entry]
    wall: datetime
    size_bytes: int
    first_seq: int = 0


def is_alarm(entry: Entry) -> bool:
    """True for kinds that must reach the disk even when it is full."""
    return entry.kind == "alarm" or entry.kind.startswith("alarm.")
