"""Where pollers deliver before the agents stand: a bounded buffer that is emptied into them once."""

from collections import deque
from collections.abc import Sequence

from drivers.base import Sample
from gateway.poller import Deliver

__all__ = ("Intake",)

EARLY_DELIVERIES_MAX = 2_000  # about a minute of twenty links at one poll a second, while the journal opens


class Intake:
    """Delivers to a target that comes later; the oldest deliveries are dropped first, and counted."""

    def __init__(self) -> None:
        self._early: deque[Sequence[Sample]] = deque(maxlen=EARLY_DELIVERIES_MAX)
        self._target: Deliver | None = None
        self.dropped_deliveries = 0

    def __call__(self, samples: Sequence[Sample]) -> None:
        """Take one delivery of a poller."""
        if self._target is not None:
            self._target(samples)
            return
        self.dropped_deliveries += len(self._early) == EARLY_DELIVERIES_MAX
        self._early.append(samples)

    def connect(self, target: Deliver) -> None:
        """From now on deliver to `target`, beginning with what has waited."""
        self._target = target
        while self._early:
            target(self._early.popleft())
