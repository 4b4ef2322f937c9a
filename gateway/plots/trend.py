"""A point's measurements over time with its thresholds and what is forecast: an SVG document.

Times in seconds, oldest first; values and thresholds in the point's unit.  Called by `gateway.cli_plot`.
"""

from collections.abc import Sequence

from gateway.plots.chart import Chart
from models.prognosis import Forecast

__all__ = ("trend_svg",)

DAY_S, HOUR_S = 86_400.0, 3_600.0
AHEAD_SPANS = 2.0  # of what was measured, that the picture looks ahead at most
DAYS_FROM_S = 3 * DAY_S  # shorter spans are shown in hours


def trend_svg(
    title: str,
    unit: str,
    times_s: Sequence[float],
    values: Sequence[float],
    thresholds: Sequence[tuple[str, float]],
    forecast: Forecast | None = None,
    *,
    last: str = "",
) -> str:
    """`forecast` is of one of the thresholds; `last` names the moment of the newest measurement."""
    scale_s, scale = (DAY_S, "days") if times_s[-1] - times_s[0] > DAYS_FROM_S else (HOUR_S, "hours")
    points = [((time_s - times_s[-1]) / scale_s, value) for time_s, value in zip(times_s, values, strict=True)]
    span = -points[0][0]
    said = _words(forecast, scale_s, scale)
    ahead = _ahead(forecast, span, scale_s)
    levels = [value for _, value in thresholds] + [value for _, value in points]
    description = f"{len(values)} measurements from {values[0]:.4g} to {values[-1]:.4g} {unit}. {said}"
    chart = Chart(
        title,
        description,
        [points[0][0], ahead],
        levels,
        x_name=f"{scale} from the last measurement" + (f", {last}" if last else ""),
        y_name=unit,
    )
    for name, value in thresholds:
        chart.limit(value, f"{name} {value:g} {unit}")
    if forecast is not None and ahead > 0:
        _draw_forecast(chart, forecast, ahead, scale_s, min(levels), max(levels))
    chart.canvas.polyline([chart.at(point) for point in points], "track")
    chart.dots(points)
    chart.moment(0.0, "last")
    chart.caption([said] if said else [])
    return chart.render()


def _ahead(forecast: Forecast | None, span: float, scale_s: float) -> float:
    """How far the picture looks ahead: until the latest time, but no farther than can be drawn beside the past."""
    if not (forecast and forecast.median_s):
        return 0.0
    latest_s = forecast.high_s if forecast.high_s is not None else forecast.median_s
    return min(latest_s / scale_s * 1.05, max(span, 1e-9) * AHEAD_SPANS)


def _draw_forecast(chart: Chart, found: Forecast, ahead: float, scale_s: float, low: float, high: float) -> None:
    assert found.level is not None, "a time was given"
    assert found.rate_per_s is not None, "as above"
    assert found.rate_low_per_s is not None, "as above"
    assert found.rate_high_per_s is not None, "as above"
    level = min(max(found.level, low), high)

    def until(rate_per_s: float) -> tuple[float, float]:
        """Where a straight line leaves the picture."""
        value = level + rate_per_s * scale_s * ahead
        if low <= value <= high:
            return ahead, value
        border = high if value > high else low
        return (border - level) / (rate_per_s * scale_s), border

    slow, fast = sorted((until(found.rate_low_per_s), until(found.rate_high_per_s)))
    corner = [(ahead, found.threshold)] if ahead not in (slow[0], fast[0]) else []
    chart.band([(0.0, level), slow, *corner, fast])
    chart.curve([(0.0, level), until(found.rate_per_s)], 0, "trend")
    if found.low_s is not None and found.low_s / scale_s < ahead:
        late = ahead if found.high_s is None else min(ahead, found.high_s / scale_s)
        chart.interval(found.low_s / scale_s, late, found.threshold, "90 %")


def _words(found: Forecast | None, scale_s: float, scale: str) -> str:
    if found is None:
        return ""
    if found.abstained or found.median_s is None or found.low_s is None:
        return f"No forecast: {found.abstained or 'it may never be met'}."
    if found.median_s == 0.0:
        return f"{found.threshold:g} is met already."
    latest = "never" if found.high_s is None else f"{found.high_s / scale_s:.3g}"
    return (
        f"Meets {found.threshold:g} in {found.median_s / scale_s:.3g} {scale}, 90 % interval"
        f" {found.low_s / scale_s:.3g} to {latest}, if the cause goes on as it did."
    )
