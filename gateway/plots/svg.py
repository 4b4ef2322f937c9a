"""A canvas that turns shapes and text into one SVG document; coordinates in pixels, y downwards.

Colours are classes, so that the document follows the viewer's light or dark scheme; a viewer without schemes shows the
light one.  Text is escaped here and nowhere else.  Called by the other modules of this folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

__all__ = ("Box", "Canvas", "Pixel")

Pixel: TypeAlias = tuple[float, float]
ELEMENTS_MAX = 20_000  # a picture with more shapes shows nobody anything
CHARACTER_EM = 0.62  # mean width of a letter of a sans-serif face, as wide ones have it
LINE_EM = 1.25

_STYLE = """
text { font-family: system-ui, "DejaVu Sans", Arial, sans-serif; fill: #1a1a1a; }
.paper { fill: #ffffff; }
.title { font-size: 28px; font-weight: 600; }
.caption { font-size: 20px; }
.tick { font-size: 18px; fill: #444444; }
.zone-name { font-size: 26px; font-weight: 700; }
.line-name { font-size: 19px; font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 5px; }
.zone { fill-opacity: 0.34; stroke: #555555; stroke-width: 1.5; stroke-linejoin: round; }
.h0 { fill: #7b61c9; } .h1 { fill: #2f80d0; } .h2 { fill: #d64550; } .h3 { fill: #c98a00; } .h4 { fill: #e8c12f; }
.h5 { fill: #e07b39; } .h6 { fill: #3a9d5d; } .h7 { fill: #1f9c9c; } .h8 { fill: #8a8a8a; } .h9 { fill: #9c5a2d; }
.h10 { fill: #c060a8; }
.frame { fill: none; stroke: #1a1a1a; stroke-width: 2; }
.grid { fill: none; stroke: #999999; stroke-opacity: 0.45; stroke-width: 1; }
.leader { fill: none; stroke: #1a1a1a; stroke-width: 1.2; }
.track { fill: none; stroke: #1a1a1a; stroke-opacity: 0.6; stroke-width: 2; }
.sample { fill: #1a1a1a; stroke: #ffffff; stroke-width: 1.5; }
.first { fill: #ffffff; stroke: #1a1a1a; stroke-width: 2.5; }
.last { fill: #1a1a1a; stroke: #ffffff; stroke-width: 3; }
.curve0, .curve1, .curve2, .curve3 { fill: none; stroke-width: 3; stroke-linejoin: round; }
.curve0 { stroke: #2f80d0; } .curve1 { stroke: #d64550; } .curve2 { stroke: #3a9d5d; } .curve3 { stroke: #7b61c9; }
.band { fill: #2f80d0; fill-opacity: 0.22; }
.interval { stroke: #2f80d0; stroke-width: 7; stroke-opacity: 0.8; }
.limit { fill: none; stroke: #b3261e; stroke-width: 2; stroke-dasharray: 9 6; }
.now { fill: none; stroke: #555555; stroke-width: 1.5; stroke-dasharray: 3 5; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f0f0; }
.paper { fill: #14171a; }
.tick { fill: #c4c4c4; }
.line-name { stroke: #14171a; }
.zone { fill-opacity: 0.5; stroke: #b8b8b8; }
.frame, .leader, .track { stroke: #f0f0f0; }
.sample, .last { fill: #f0f0f0; stroke: #14171a; }
.first { fill: #14171a; stroke: #f0f0f0; }
.limit { stroke: #ff8a80; }
.curve0 { stroke: #6db3f2; } .curve1 { stroke: #ff7b86; } .curve2 { stroke: #6fd08f; } .curve3 { stroke: #b3a0f2; }
.now { stroke: #b8b8b8; }
}
"""
SIZES_PX = {"title": 28, "caption": 20, "tick": 18, "zone-name": 26, "line-name": 19}


@dataclass(frozen=True, slots=True)
class Box:
    """Room that a text takes."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, middle: Pixel, text: str, css: str) -> "Box":
        """Of a text of one line that is centred on a pixel."""
        half_width, half_height = len(text) * SIZES_PX[css] * CHARACTER_EM / 2, SIZES_PX[css] * LINE_EM / 2
        x, y = middle
        return cls(x - half_width, y - half_height, x + half_width, y + half_height)

    @property
    def corners(self) -> tuple[Pixel, Pixel, Pixel, Pixel]:
        """Clockwise from the upper left."""
        return (self.left, self.top), (self.right, self.top), (self.right, self.bottom), (self.left, self.bottom)

    def overlaps(self, other: "Box") -> bool:
        """True where both cover a pixel."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


@dataclass(slots=True)
class Canvas:
    """Shapes in the order of drawing.  `title` and `description` are what a screen reader says."""

    width: int
    height: int
    title: str
    description: str
    _elements: list[str] = field(default_factory=list)

    def polygon(self, points: Iterable[Pixel], css: str, **data: str) -> None:
        """A closed shape; `data` becomes data-* attributes."""
        self._add(f'<polygon class="{css}"{_data(data)} points="{_points(points)}"/>')

    def polyline(self, points: Sequence[Pixel], css: str, **data: str) -> None:
        """A line through points."""
        self._add(f'<polyline class="{css}"{_data(data)} points="{_points(points)}"/>')

    def circle(self, centre: Pixel, radius: float, css: str, tip: str = "", **data: str) -> None:
        """A dot with a tool tip."""
        at = f'cx="{centre[0]:.2f}" cy="{centre[1]:.2f}" r="{radius:g}"'
        self._add(f'<circle class="{css}"{_data(data)} {at}><title>{escape(tip)}</title></circle>')

    def text(
        self, at: Pixel, text: str, css: str, *, anchor: str = "middle", turned_deg: float = 0.0, **data: str
    ) -> None:
        """A line of text whose middle height is at the pixel."""
        x, y = at
        turn = f' transform="rotate({turned_deg:g} {x:.2f} {y:.2f})"' if turned_deg else ""
        place = f'x="{x:.2f}" y="{y:.2f}" dy="0.35em" text-anchor="{anchor}"{turn}'
        self._add(f'<text class="{css}"{_data(data)} {place}>{escape(text)}</text>')

    def render(self) -> str:
        """The document."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
            f' height="{self.height}" role="img" aria-labelledby="title description">'
        )
        names = (
            f'<title id="title">{escape(self.title)}</title><desc id="description">{escape(self.description)}</desc>'
        )
        paper = f'<rect class="paper" width="{self.width}" height="{self.height}"/>'
        return "\n".join([head, names, f"<style>{_STYLE}</style>", paper, *self._elements, "</svg>"]) + "\n"

    def _add(self, element: str) -> None:
        assert len(self._elements) < ELEMENTS_MAX, "the caller bounds what it draws"
        self._elements.append(element)


def _points(points: Iterable[Pixel]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _data(data: dict[str, str]) -> str:
    return "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
