"""Time to a threshold: measurements of one quantity to when it will meet a limit, or why nobody can say.

Inputs: times in seconds, values and threshold in one unit.  Outputs: seconds from the last measurement.
Model: the quantity drifts at a constant rate and wanders besides (a Wiener process), and is measured with noise.  Rate,
level, wander and noise are all unknown: level and rate have flat priors, the noise Jeffreys', the ratio of wander to
noise is one of `WANDERS`; the posterior is exact but for that grid.  The first passage of each posterior draw is drawn
from its inverse Gaussian law (never, with the probability that the drift leads away).  Seeded: the same measurements
give the same answer.  Cost: bounded by `BLOCKS_MAX` and `DRAWS`, below a millisecond.
Limits of validity: the cause goes on as it did while it was measured; a rate that grows meets it sooner than is said,
one that levels off later, and what jumps is not foreseen.  A time to a threshold is neither remaining nor lost life.
Source: the Wiener degradation process with its inverse Gaussian first passage, a standard of degradation modelling.
Called by `gateway.cli_prognosis` and the plot of trends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from statistics import median

import numpy as np
import numpy.typing as npt

from drivers.errors import BadInput
from models.data_sheet import DataSheet, Mark

__all__ = ("MEASUREMENTS_MIN", "SHEETS", "Forecast", "forecast")

MEASUREMENTS_MIN = 8  # fewer give no trend worth a forecast
MEASUREMENTS_MAX = 2_000  # more are thinned by the caller
BLOCKS_MAX = 32  # medians of neighbours: what the fit sees
DRAWS = 1_000  # the 5 % and 95 % quantiles stand on fifty draws each
SURE = 0.95  # that the drift has a sign at all
WANDERS = (
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
    10_000.0,
)  # wander over the span against noise (variances); never none
SEED = 60599

SHEETS = (
    DataSheet(
        name="wiener_first_passage",
        title="Time to threshold",
        function="models.prognosis.forecast",
        inputs=("times in s", "measurements, never polls, and a threshold in one unit"),
        output="time from the last measurement until the threshold is met, with its 90 % interval",
        validity=(
            f"abstains below {MEASUREMENTS_MIN} measurements and without a significant trend towards the threshold",
            "the cause goes on as it did; neither remaining life nor loss of life",
        ),
        source="Wiener process with drift, seen through noise; inverse Gaussian first passage",
        mark=Mark.OWN,
    ),
)

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a threshold will be met.  Where `abstained` says why not, the times are None."""

    threshold: float
    level: float | None = None  # now, without the measurements' noise
    rate_per_s: float | None = None
    rate_low_per_s: float | None = None  # 90 % interval of the rate
    rate_high_per_s: float | None = None
    median_s: float | None = None
    low_s: float | None = None  # 90 % interval: with 5 % probability it is met sooner
    high_s: float | None = None  # None with a median: with 5 % probability it is never met
    never: float | None = None  # probability that it is never met
    abstained: str = ""


def forecast(
    times_s: Sequence[float], values: Sequence[float], threshold: float, *, upper: bool | None = None
) -> Forecast:
    """When values that move towards `threshold` will meet it; all times are 0 where it is met already.

    `upper` says on which side of it the trouble is: above (true) or below; None: beyond it as seen from now.
    Raises BadInput for lists of different length, for times that do not rise and for what is not finite.
    """
    times, series = _checked(times_s, values, threshold)
    if len(times) < MEASUREMENTS_MIN:
        return Forecast(threshold, abstained=f"{len(times)} of {MEASUREMENTS_MIN} measurements")
    span_s = float(times[-1] - times[0])
    backwards, blocks = _blocks((times[-1] - times) / span_s, series)
    if np.ptp(blocks) == 0.0:
        still = Forecast(threshold, level=float(blocks[-1]))
        return _met(still) if _sign(still, upper) == 0.0 else replace(still, abstained="the value stands still")
    levels, rates, wander_variances = _posterior(backwards, blocks)
    level = float(np.median(levels))
    slow, rate, fast = _quantiles(rates / span_s)
    known = Forecast(threshold, level, rate_per_s=rate, rate_low_per_s=slow, rate_high_per_s=fast)
    sign = _sign(known, upper)
    if sign == 0.0:
        return _met(known)
    towards = float(np.mean(sign * rates > 0))
    if towards < 1 - SURE:
        return replace(known, abstained="it moves away from the threshold")
    if towards < SURE:
        return replace(known, abstained="no significant trend")
    passages = span_s * _first_passages(sign * (threshold - levels), sign * rates, wander_variances)
    low_s, median_s, high_s = (time_s if isfinite(time_s) else None for time_s in _quantiles(passages))
    never = float(np.mean(np.isinf(passages)))
    return replace(known, median_s=median_s, low_s=low_s, high_s=high_s, never=never)


def _sign(known: Forecast, upper: bool | None) -> float:
    """Which way leads from the level to the threshold: 1 up, -1 down, 0 where it is met already."""
    assert known.level is not None, "what is known is the level at least"
    ahead = known.threshold - known.level
    if ahead == 0.0 or upper == (ahead < 0):
        return 0.0
    return 1.0 if ahead > 0 else -1.0


def _met(known: Forecast) -> Forecast:
    return replace(known, median_s=0.0, low_s=0.0, high_s=0.0, never=0.0)


def _checked(times_s: Sequence[float], values: Sequence[float], threshold: float) -> tuple[_Array, _Array]:
    if len(times_s) != len(values) or len(values) > MEASUREMENTS_MAX:
        raise BadInput(f"prognosis: {len(times_s)} times for {len(values)} values, of at most {MEASUREMENTS_MAX}")
    times, series = np.asarray(times_s, float), np.asarray(values, float)
    if not (np.isfinite(times).all() and np.isfinite(series).all() and np.isfinite(threshold)):
        raise BadInput("prognosis: a time, a value or the threshold is not finite")
    if np.any(np.diff(times) <= 0):
        raise BadInput("prognosis: times must rise from one measurement to the next")
    return times, series


def _blocks(backwards: _Array, series: _Array) -> tuple[_Array, _Array]:
    """At most `BLOCKS_MAX` medians of neighbours, oldest first, with the mean of their times."""
    if len(series) <= BLOCKS_MAX:
        return backwards, series
    ends = np.linspace(0, len(series), BLOCKS_MAX + 1).round().astype(int)
    times = np.add.reduceat(backwards, ends[:-1]) / np.diff(ends)
    values = series.tolist()
    return times, np.array([median(values[begin:end]) for begin, end in pairwise(ends.tolist())])


def _posterior(backwards: _Array, series: _Array) -> tuple[_Array, _Array, _Array]:
    """Draws of level, rate and wander variance per span; time runs back from the last measurement, in spans.

    Backwards from its end a Wiener process is one as well, so that the intercept is the level now.
    """
    count = len(series)
    design = np.column_stack([np.ones(count), -backwards])
    wander = np.minimum.outer(backwards, backwards)
    covariances = np.eye(count) + np.asarray(WANDERS)[:, None, None] * wander
    lower = np.linalg.cholesky(covariances)
    white = np.linalg.solve(lower, np.broadcast_to(np.column_stack([design, series]), (len(WANDERS), count, 3)))
    x, y = white[:, :, :2], white[:, :, 2]
    precision = x.transpose(0, 2, 1) @ x
    covariance = np.linalg.inv(precision)
    means = (covariance @ (x.transpose(0, 2, 1) @ y[:, :, None]))[:, :, 0]
    squares = np.maximum(((y - (x @ means[:, :, None])[:, :, 0]) ** 2).sum(axis=1), np.finfo(float).tiny)
    freedom = count - 2
    log_determinants = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    log_weights = -0.5 * (log_determinants + np.linalg.slogdet(precision)[1] + freedom * np.log(squares))
    weights = np.exp(log_weights - log_weights.max())
    rng = np.random.default_rng(SEED)
    chosen = np.repeat(np.arange(len(WANDERS)), rng.multinomial(DRAWS, weights / weights.sum()))
    noise_variances = squares[chosen] / rng.chisquare(freedom, DRAWS)
    factors = np.linalg.cholesky(covariance)[chosen]
    first, second = rng.standard_normal((2, DRAWS)) * np.sqrt(noise_variances)
    levels = means[chosen, 0] + factors[:, 0, 0] * first
    rates = means[chosen, 1] + factors[:, 1, 0] * first + factors[:, 1, 1] * second
    return levels, rates, np.asarray(WANDERS)[chosen] * noise_variances


def _first_passages(distances: _Array, rates: _Array, wander_variances: _Array) -> _Array:
    """Times, in spans, at which a drifting Wiener process first covers the distance; infinite where it never does."""
    rng = np.random.default_rng(SEED + 1)
    passages = np.full(len(distances), np.inf)
    passages[distances <= 0] = 0.0
    ahead = distances > 0
    with np.errstate(under="ignore"):
        reaches = np.exp(np.minimum(0.0, 2 * rates * distances / wander_variances))
    met = ahead & (rates != 0) & (rng.random(len(distances)) < reaches)
    distance, speed = distances[met], np.abs(rates[met])
    passages[met] = rng.wald(distance / speed, distance**2 / wander_variances[met])
    return passages


def _quantiles(draws: _Array) -> tuple[float, float, float]:
    """5 %, 50 % and 95 %; infinite ones count as the longest."""
    ordered = np.sort(draws)
    low, middle, high = (float(ordered[round(share * (len(draws) - 1))]) for share in (0.05, 0.5, 0.95))
    return low, middle, high
