"""Duval's triangles with samples: gases in µL/L in, an SVG document out.

The first gas of the diagram is at the top, the second at the lower left, the third at the lower right, as published.
Called by `gateway.cli_plot`.
"""

from collections.abc import Sequence
from math import sqrt

from gateway.plots.diagram import GasSample, caption, description, gas_name
from gateway.plots.svg import Box, Canvas, Pixel
from gateway.plots.zones import Sample, draw_track, draw_zones
from models.dga.duval import percentages
from models.dga.gases import Gases
from models.dga.zones import ZONES

__all__ = ("placed", "triangle_svg")

WIDTH, HEIGHT = 960, 960
SIDE = 740.0
TOP = (WIDTH / 2, 120.0)
TICKS = (20, 40, 60, 80)
TICK_PX = 24.0  # a number's distance from its side
NAME_PX = 66.0
NAME_HALF_PX = 38.0  # room of a name, turned or not


def triangle_svg(name: str, samples: Sequence[GasSample]) -> str:
    """The diagram of that name in `models.dga.zones`, with the samples that have gas, in their order."""
    diagram = ZONES[name]
    canvas = Canvas(WIDTH, HEIGHT, diagram.title, description(name, samples))
    canvas.text((WIDTH / 2, 42), diagram.title, "title")
    taken = [_tick(canvas, side, percent) for side in range(3) for percent in TICKS]
    taken += [_name(canvas, side, gas_name(gas)) for side, gas in enumerate(diagram.gases)]
    shapes = [
        (str(zone), [_pixel(vertex) for vertex in polygon])
        for zone, polygons in diagram.zones.items()
        for polygon in polygons
    ]
    draw_zones(canvas, shapes, [_pixel(corner) for corner in ((100, 0, 0), (0, 100, 0), (0, 0, 100))], taken)
    places = [(one, placed(name, one.gases)) for one in samples]
    draw_track(canvas, [Sample(at, one.code(name), one.tip(name)) for one, at in places if at])
    for number, line in enumerate(caption(name, samples)):
        canvas.text((40, HEIGHT - 66 + 30 * number), line, "caption", anchor="start")
    return canvas.render()


def placed(name: str, gases: Gases) -> Pixel | None:
    """Where a sample lies in the diagram of that name; None where it has none of its gases."""
    shares = percentages(name, gases)
    return _pixel(shares) if shares else None


def _pixel(shares: Sequence[float]) -> Pixel:
    """Percentages of the three gases as a pixel."""
    top, left, right = (share / 100 for share in shares)
    return TOP[0] + (right - left) * SIDE / 2, TOP[1] + (1 - top) * SIDE * sqrt(3) / 2


def _along(side: int, percent: float) -> Pixel:
    """Where a gas has this share on the side on which it is read: each gas on the side before its corner."""
    shares = [0.0, 0.0, 0.0]
    shares[side] = percent
    shares[(side + 1) % 3] = 100 - percent
    return _pixel(shares)


OUTWARDS = ((-sqrt(3) / 2, -0.5), (0.0, 1.0), (sqrt(3) / 2, -0.5))  # of the sides of the first, second, third gas
TURNED_DEG = (-60.0, 0.0, 60.0)


def _tick(canvas: Canvas, side: int, percent: int) -> Box:
    begin, end = _along(side, percent), _along((side + 2) % 3, 100 - percent)
    middle = begin[0] + OUTWARDS[side][0] * TICK_PX, begin[1] + OUTWARDS[side][1] * TICK_PX
    canvas.polyline([begin, end], "grid")
    canvas.text(middle, str(percent), "tick")
    return Box.around(middle, str(percent), "tick")


def _name(canvas: Canvas, side: int, name: str) -> Box:
    x, y = _along(side, 50)
    middle = x + OUTWARDS[side][0] * NAME_PX, y + OUTWARDS[side][1] * NAME_PX
    canvas.text(middle, f"{name} %", "caption", turned_deg=TURNED_DEG[side])
    x, y = middle
    return Box(x - NAME_HALF_PX, y - NAME_HALF_PX, x + NAME_HALF_PX, y + NAME_HALF_PX)
