"""Daily courses of load and weather: a mean, a daily swing and seeded noise that fades over hours.

Time in seconds of simulated time, which begins at a midnight.  Called by `hil_sim.substation`.
"""

import math
import random

from pydantic import Field

from drivers.base import Frozen

__all__ = ("DailyProfile", "Drift")

DAY_S = 86_400.0
MEMORY_S = 6 * 3_600.0  # weather and load forecasts err for hours, not for minutes


class DailyProfile(Frozen):
    """A quantity that swings once a day around its mean; unit of the quantity."""

    mean: float
    daily_swing: float = Field(default=0.0, ge=0, description="half the difference of highest and lowest")
    peak_hour: float = Field(default=15.0, ge=0, lt=24)
    noise: float = Field(default=0.0, ge=0, description="standard deviation of what the daily course does not explain")

    def at(self, time_s: float) -> float:
        """The expected value at a time."""
        return self.mean + self.daily_swing * math.cos(2 * math.pi * (time_s / DAY_S - self.peak_hour / 24))


class Drift:
    """First-order random deviation from a profile; stands at zero where the profile has no noise."""

    def __init__(self, profile: DailyProfile, rng: random.Random, *, tick_s: float) -> None:
        """Advance by a tick of simulated seconds at each call of `next`."""
        self._keep = math.exp(-tick_s / MEMORY_S)
        self._kick = profile.noise * math.sqrt(1 - self._keep**2)
        self._rng = rng
        self._now = 0.0

    def next(self) -> float:
        """The deviation one tick later."""
        self._now = self._keep * self._now + self._kick * self._rng.gauss(0, 1)
        return self._now
