"""Duval's pentagons with samples: gases in µL/L in, an SVG document out.

Called by `gateway.cli_plot`.
"""

from collections.abc import Sequence
from math import cos, radians, sin

from gateway.plots.diagram import GasSample, caption, description, gas_name
from gateway.plots.svg import Box, Canvas, Pixel
from gateway.plots.zones import Sample, draw_track, draw_zones
from models.dga.duval import pentagon_centroid
from models.dga.gases import Gases
from models.dga.zones import ZONES

__all__ = ("pentagon_svg", "placed")

WIDTH, HEIGHT = 960, 960
CENTRE = (WIDTH / 2, 502.0)
PIXELS_PER_PERCENT = 9.4
EDGE_PERCENT = 40.0  # as published: no centroid lies farther out
FIRST_AXIS_DEG, BETWEEN_AXES_DEG = 90.0, 72.0
NAME_PERCENT = 44.5


def pentagon_svg(name: str, samples: Sequence[GasSample]) -> str:
    """The diagram of that name in `models.dga.zones`, with the samples that have gas, in their order."""
    diagram = ZONES[name]
    canvas = Canvas(WIDTH, HEIGHT, diagram.title, description(name, samples))
    canvas.text((WIDTH / 2, 32), diagram.title, "title")
    corners = [_pixel(_axis(number, EDGE_PERCENT)) for number in range(len(diagram.gases))]
    taken = []
    for number, gas in enumerate(diagram.gases):
        canvas.polyline([CENTRE, corners[number]], "grid")
        middle = _pixel(_axis(number, NAME_PERCENT))
        canvas.text(middle, gas_name(gas), "caption")
        taken.append(Box.around(middle, gas_name(gas), "caption"))
    shapes = [
        (str(zone), [_pixel((x, y)) for x, y, *_ in polygon])
        for zone, polygons in diagram.zones.items()
        for polygon in polygons
    ]
    draw_zones(canvas, shapes, corners, taken)
    places = [(one, placed(one.gases)) for one in samples]
    draw_track(canvas, [Sample(at, one.code(name), one.tip(name)) for one, at in places if at])
    for number, line in enumerate(caption(name, samples)):
        canvas.text((40, HEIGHT - 66 + 30 * number), line, "caption", anchor="start")
    return canvas.render()


def placed(gases: Gases) -> Pixel | None:
    """Where a sample lies in either pentagon; None without gas."""
    centroid = pentagon_centroid(gases)
    return _pixel(centroid) if centroid else None


def _axis(number: int, percent: float) -> Pixel:
    angle = radians(FIRST_AXIS_DEG + number * BETWEEN_AXES_DEG)
    return percent * cos(angle), percent * sin(angle)


def _pixel(point: Pixel) -> Pixel:
    """Percent along the axes, y upwards, as a pixel."""
    return CENTRE[0] + point[0] * PIXELS_PER_PERCENT, CENTRE[1] - point[1] * PIXELS_PER_PERCENT
