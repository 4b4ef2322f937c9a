"""Top oil and hot spot: what was measured and calculated, and what a load to come leads to, with the limits.

Hours and °C; now is 0.  An SVG document.  Called by `gateway.cli_plot`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from gateway.plots.chart import Chart
from models.thermal.overload import Overload

__all__ = ("thermal_svg",)

Course: TypeAlias = Sequence[tuple[float, float]]
HOUR_S = 3_600.0
HUES = {"top oil": 0, "hot spot": 1}  # by the first words of a curve's name
OTHER_HUE = 2


def thermal_svg(
    title: str,
    past: Mapping[str, Course],
    ahead: Overload | None,
    limits: Sequence[tuple[str, float]],
    caption: Sequence[str],
) -> str:
    """`past` by name: (hours, at most 0; °C).  At least one of `past` and `ahead` must show something."""
    curves = {name: list(course) for name, course in past.items() if course}
    if ahead is not None:
        curves["top oil to come"] = [(time_s / HOUR_S, oil_degc) for time_s, oil_degc, _ in ahead.course]
        curves["hot spot to come"] = [(time_s / HOUR_S, spot_degc) for time_s, _, spot_degc in ahead.course]
    points = [point for course in curves.values() for point in course]
    chart = Chart(
        title,
        " ".join(caption),
        [0.0, *(hour for hour, _ in points)],
        [*(degc for _, degc in points), *(limit for _, limit in limits)],
        x_name="hours from now",
        y_name="°C",
    )
    for name, limit_degc in limits:
        chart.limit(limit_degc, f"{name} {limit_degc:g} °C")
    chart.moment(0.0, "now")
    for name, course in curves.items():
        chart.curve(course, next((hue for word, hue in HUES.items() if name.startswith(word)), OTHER_HUE), name)
    chart.caption(caption)
    return chart.render()
