"""Any list of (name, vertices) with a label inside each zone, and samples as a track over it; all in pixels.

A label that does not fit into its zone stands outside the figure, with a line that begins inside the zone.  Called by
`triangle` and `pentagon`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, pi, sin
from typing import TypeAlias

from gateway.plots.svg import Box, Canvas, Pixel

__all__ = ("Sample", "draw_track", "draw_zones", "inside", "inside_px")

Shape: TypeAlias = Sequence[Pixel]
HUES = {"PD": 0, "D1": 1, "D2": 2, "DT": 3, "T1": 4, "T2": 5, "T3": 9, "T3-H": 9, "S": 6, "O": 7, "C": 10, "ND": 8}
HUES |= {"N": 6, "X1": 7, "X3": 2}
HUES_COUNT = 11
GRID = 28  # places tried along each side of a zone's bounding box
MARGIN_PX = 3.0  # between a label and its zone's border
CLEAR_PX = 7.0  # between a label outside and the figure
DIRECTIONS = 48  # of a leader
LEADER_STEP_PX, LEADER_STEPS = 6.0, 80
TRACK_MAX = 500  # samples drawn, the newest

assert max(HUES.values()) < HUES_COUNT, "a class for each hue"


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample's place and what the method says of it."""

    at: Pixel
    code: str
    tip: str


def inside_px(point: Pixel, shape: Shape) -> float:
    """How far inside the shape the point lies; negative: outside."""
    nearest = min(_from_edge(point, begin, end) for begin, end in pairwise([*shape, shape[0]]))
    return nearest if inside(point, shape) else -nearest


def draw_zones(canvas: Canvas, zones: Sequence[tuple[str, Shape]], hull: Shape, taken: Sequence[Box]) -> None:
    """Fill each zone and label it; `hull` is the figure's outline, `taken` the room of texts that are there already."""
    for number, (name, shape) in enumerate(zones):
        hue = HUES.get(name, number % HUES_COUNT)
        canvas.polygon(shape, f"zone h{hue}", zone=name)
    canvas.polygon(hull, "frame")
    boxes = list(taken)
    outside = []
    for name, shape in zones:
        middle = _room(name, shape)
        if middle is None:
            outside.append((name, shape))
        else:
            canvas.text(middle, name, "zone-name", label=name)
            boxes.append(Box.around(middle, name, "zone-name"))
    for name, shape in outside:
        anchor = max(_places(shape), key=lambda place: inside_px(place, shape))
        middle = _outside(anchor, name, hull, boxes, canvas)
        canvas.polyline([anchor, _near(middle, name, anchor)], "leader", leader=name)
        canvas.text(middle, name, "zone-name", label=name)
        boxes.append(Box.around(middle, name, "zone-name"))


def draw_track(canvas: Canvas, samples: Sequence[Sample]) -> None:
    """Samples in the order of time: a line, the first one hollow, the last one large."""
    shown = samples[-TRACK_MAX:]
    if len(shown) > 1:
        canvas.polyline([sample.at for sample in shown], "track")
    for number, sample in enumerate(shown):
        if number == len(shown) - 1:
            css, radius = "last", 11.0
        else:
            css, radius = ("first", 8.0) if number == 0 else ("sample", 5.0)
        canvas.circle(sample.at, radius, css, sample.tip, code=sample.code)


def _places(shape: Shape) -> Iterator[Pixel]:
    """Points of a grid that lie inside the shape, and its mean, which a sliver between grid lines needs."""
    xs, ys = [x for x, _ in shape], [y for _, y in shape]
    mean = (sum(xs) / len(xs), sum(ys) / len(ys))
    if inside(mean, shape):
        yield mean
    for row in range(1, GRID):
        for column in range(1, GRID):
            place = (
                min(xs) + (max(xs) - min(xs)) * column / GRID,
                min(ys) + (max(ys) - min(ys)) * row / GRID,
            )
            if inside(place, shape):
                yield place


def _room(name: str, shape: Shape) -> Pixel | None:
    """Where the label stands freest inside the shape; None where it fits nowhere."""
    best: tuple[float, Pixel] | None = None
    for place in _places(shape):
        if inside_px(place, shape) <= (best[0] if best else MARGIN_PX):
            continue
        corners = Box.around(place, name, "zone-name").corners
        free = min(inside_px(corner, shape) for corner in corners)
        if any(inside(vertex, corners) for vertex in shape):  # a corner of another zone that reaches into the label
            continue
        if free > (best[0] if best else MARGIN_PX):
            best = (free, place)
    return best[1] if best else None


def _outside(anchor: Pixel, name: str, hull: Shape, taken: Sequence[Box], canvas: Canvas) -> Pixel:
    """The nearest place outside the figure where the label covers no other text."""
    for step in range(1, LEADER_STEPS):
        for turn in range(DIRECTIONS):
            angle = 2 * pi * turn / DIRECTIONS
            reach = step * LEADER_STEP_PX
            middle = (anchor[0] + reach * cos(angle), anchor[1] + reach * sin(angle))
            box = Box.around(middle, name, "zone-name")
            within = min(box.left, box.top) > 0 and box.right < canvas.width and box.bottom < canvas.height
            clear = all(inside_px(corner, hull) < -CLEAR_PX for corner in (middle, *box.corners))
            covers = any(inside(corner, box.corners) for corner in hull)
            if within and clear and not covers and not any(box.overlaps(other) for other in taken):
                return middle
    return anchor


def _near(middle: Pixel, name: str, anchor: Pixel) -> Pixel:
    """Where the leader ends: at the border of the label, on the side of the anchor."""
    box = Box.around(middle, name, "zone-name")
    dx, dy = anchor[0] - middle[0], anchor[1] - middle[1]
    share = min(
        (box.right - middle[0]) / abs(dx) if dx else 1.0,
        (box.bottom - middle[1]) / abs(dy) if dy else 1.0,
        1.0,
    )
    return middle[0] + share * dx, middle[1] + share * dy


def inside(point: Pixel, shape: Shape) -> bool:
    """Even-odd rule."""
    x, y = point
    crossings = [
        x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        for (x0, y0), (x1, y1) in pairwise([*shape, shape[0]])
        if (y0 > y) != (y1 > y)
    ]
    return sum(crossings) % 2 == 1


def _from_edge(point: Pixel, begin: Pixel, end: Pixel) -> float:
    (x, y), (x0, y0) = point, begin
    dx, dy = end[0] - x0, end[1] - y0
    squared = dx * dx + dy * dy
    along = max(0.0, min(1.0, ((x - x0) * dx + (y - y0) * dy) / squared)) if squared else 0.0
    return hypot(x - x0 - along * dx, y - y0 - along * dy)
