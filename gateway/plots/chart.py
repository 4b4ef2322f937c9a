"""Axes with round numbers, curves, dots and limits over time: values in their unit in, shapes on a canvas out.

The x axis counts hours or days from a moment, to the left before it and to the right after it.  Called by `trend` and
`thermal`.
"""

from collections.abc import Iterable, Sequence
from math import ceil, floor, isclose, log10
from typing import TypeAlias

from gateway.plots.svg import Box, Canvas, Pixel

__all__ = ("Chart", "round_ticks")

Point: TypeAlias = tuple[float, float]
WIDTH, HEIGHT = 1100, 720
LEFT, RIGHT, TOP, BOTTOM = 110.0, 60.0, 90.0, 150.0
TICKS = 6
CAPTION_LINES = 2


def round_ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """About `count` numbers from below `low` to above `high`, a round step apart."""
    if isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        low, high = low - max(1.0, abs(low) * 0.1), high + max(1.0, abs(high) * 0.1)
    rough = (high - low) / count
    power = 10 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = floor(low / step + 1e-9)
    return [number * step for number in range(first, ceil(high / step - 1e-9) + 1)]


class Chart:
    """One plane with its axes; what is drawn must lie within `xs` and `ys`."""

    def __init__(
        self, title: str, description: str, xs: Iterable[float], ys: Iterable[float], *, x_name: str, y_name: str
    ) -> None:
        self.canvas = Canvas(WIDTH, HEIGHT, title, description)
        xs, ys = list(xs), list(ys)
        self._x_ticks, self._y_ticks = round_ticks(min(xs), max(xs)), round_ticks(min(ys), max(ys))
        self._boxes: list[Box] = []
        self.canvas.text((WIDTH / 2, 38), title, "title")
        for x in self._x_ticks:
            self.canvas.polyline([self.at((x, self._y_ticks[0])), self.at((x, self._y_ticks[-1]))], "grid")
            self.canvas.text((self.at((x, 0))[0], HEIGHT - BOTTOM + 22), f"{x:g}", "tick")
        for y in self._y_ticks:
            self.canvas.polyline([self.at((self._x_ticks[0], y)), self.at((self._x_ticks[-1], y))], "grid")
            self.canvas.text((LEFT - 12, self.at((0, y))[1]), f"{y:g}", "tick", anchor="end")
        self.canvas.text((WIDTH / 2, HEIGHT - BOTTOM + 52), x_name, "caption")
        self.canvas.text((32, (TOP + HEIGHT - BOTTOM) / 2), y_name, "caption", turned_deg=-90)

    def at(self, point: Point) -> Pixel:
        """A value as a pixel."""
        x_share = (point[0] - self._x_ticks[0]) / (self._x_ticks[-1] - self._x_ticks[0])
        y_share = (point[1] - self._y_ticks[0]) / (self._y_ticks[-1] - self._y_ticks[0])
        return LEFT + x_share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y_share * (HEIGHT - TOP - BOTTOM)

    def curve(self, points: Sequence[Point], number: int, name: str) -> None:
        """A line with its name at its end."""
        if not points:
            return
        self.canvas.polyline([self.at(point) for point in points], f"curve{number}", curve=name)
        self._name(self.at(points[-1]), name, -1)

    def dots(self, points: Sequence[Point]) -> None:
        """Measurements."""
        for point in points:
            self.canvas.circle(self.at(point), 4, "sample", f"{point[1]:.4g}")

    def band(self, points: Sequence[Point]) -> None:
        """An area of likely values."""
        self.canvas.polygon([self.at(point) for point in points], "band")

    def limit(self, y: float, name: str) -> None:
        """A value that should not be met, over the whole width."""
        ends = [self.at((self._x_ticks[0], y)), self.at((self._x_ticks[-1], y))]
        self.canvas.polyline(ends, "limit", limit=name)
        self._name((LEFT + 14, ends[0][1]), name, -1, anchor="start")
        self._boxes.append(Box(ends[0][0], ends[0][1] - 2, ends[1][0], ends[0][1] + 2))  # no name across the line

    def moment(self, x: float, name: str) -> None:
        """A vertical line."""
        ends = [self.at((x, self._y_ticks[0])), self.at((x, self._y_ticks[-1]))]
        self.canvas.polyline(ends, "now")
        self.canvas.text((ends[1][0], ends[1][1] - 16), name, "tick")

    def interval(self, low: float, high: float, y: float, name: str) -> None:
        """A thick line between two moments, at a value."""
        self.canvas.polyline([self.at((low, y)), self.at((high, y))], "interval", interval=name)

    def caption(self, lines: Sequence[str]) -> None:
        """Below the axes; at most two lines."""
        for number, line in enumerate(lines[:CAPTION_LINES]):
            self.canvas.text((40, HEIGHT - 62 + 30 * number), line, "caption", anchor="start")

    def render(self) -> str:
        """The document."""
        return self.canvas.render()

    def _name(self, at: Pixel, name: str, direction: int, *, anchor: str = "end") -> None:
        """A name beside a line, moved up or down until it covers no other one."""
        for distance in (16.0, -16.0, 38.0, -38.0, 60.0, -60.0):
            y = at[1] + direction * distance
            half_px = Box.around((0, 0), name, "line-name").right
            box = Box.around((at[0] + (half_px if anchor == "start" else -half_px), y), name, "line-name")
            if not any(box.overlaps(other) for other in self._boxes):
                break
        self._boxes.append(box)
        self.canvas.text((at[0], y), name, "line-name", anchor=anchor, label=name)
